"""What the picker works on: an editor of clumps, its images and lens, and the fits of the list as it stands."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError, ScLabError
from sc_lab_widgets.panels.picker_markers import fitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sc_lab.clumps import Measured
    from sc_lab.images import Field
    from sc_lab.session import Session
    from sc_lab.session.clump_editor import ClumpEditor

__all__ = ["Bench", "as_editor"]

#: Width of the running median that stands for the light of a host [px of the reference band].
_HOST_PIXELS = 21


def as_editor(source: Any, *, lens: Any = None, galaxies: Any = None) -> ClumpEditor:
    """Return the editor of clumps behind whatever a user hands over.

    Parameters
    ----------
    source : ClumpEditor, Observation or Field
        An editor, or what one is made from; its list then begins empty.
    lens : LensModel, sequence or mapping of them, optional
        Lens models, where the source is a field.
    galaxies : sequence of Galaxy, optional
        Galaxies, where the source is a field that has none.

    Returns
    -------
    ClumpEditor
        The editor.

    Raises
    ------
    InputError
        If the source is of another kind.
    """
    from sc_lab.clumps import Observation
    from sc_lab.images import Field
    from sc_lab.session.clump_editor import ClumpEditor

    if isinstance(source, ClumpEditor):
        if lens is not None or galaxies is not None:
            msg = "lens= and galaxies= go with a field; an editor has its own in editor.observation"
            raise InputError(msg)
        return source
    if isinstance(source, Field):
        lenses = lens if lens is None or isinstance(lens, (list, tuple, dict)) else [lens]
        source = Observation(field=source, lenses=lenses, galaxies=galaxies)
    if isinstance(source, Observation):
        return ClumpEditor.start(source)
    msg = (
        f"cannot make a clump picker from {type(source).__name__}; give a Field, an Observation, or a ClumpEditor "
        "(for a session that exists: ClumpEditor(session, Observation(field=...)))"
    )
    raise InputError(msg)


class Bench:
    """An editor of clumps as the picker sees it.

    Parameters
    ----------
    editor : ClumpEditor
        The editor.
    """

    def __init__(self, editor: ClumpEditor) -> None:
        self.editor = editor
        self._catalog: Any = None
        self._fits = QTable({"id": np.array([], dtype="U1"), "x": np.zeros(0), "y": np.zeros(0)})
        self._origins: dict[str, str] = {}
        self._homes: dict[str, str] = {}
        self._ids: list[str] = []

    @property
    def field(self) -> Field:
        """The images."""
        return self.editor.observation.field

    @property
    def reference(self) -> Any:
        """The band whose pixels are the coordinates of the cut-outs."""
        return self.field[self.field.reference]

    @property
    def session(self) -> Session:
        """The session that keeps the edits."""
        return self.editor.session

    @property
    def lens(self) -> Any:
        """The lens model of the session's settings, else the reference; None where there is none."""
        models = self.editor.observation.lens_models
        wanted = self.session.settings.lens_model.lower()
        named = (lens for name, lens in models.items() if name.lower() == wanted)
        return next(named, next(iter(models.values()), None))

    @property
    def galaxies(self) -> tuple[Any, ...]:
        """The galaxies, with the contours that were redrawn."""
        return self.editor.galaxies

    @property
    def catalog(self) -> QTable:
        """The measured list as it stands."""
        return self.session.current_catalog

    # ---- the list as it stands -------------------------------------------------------------
    def _follow(self) -> None:
        """Take over what an edit, an undo or a redo made of the list."""
        catalog = self.catalog
        if catalog is self._catalog:
            return
        editor, clumps = self.editor, self.editor.clumps
        self._ids = [str(name) for name in clumps["id"]]
        self._origins = dict(zip(self._ids, map(str, clumps["provenance"]), strict=True))
        self._homes = dict(zip(self._ids, map(str, clumps["galaxy"]), strict=True))
        if not self._ids:
            self._fits = self._fits[:0]
        else:
            if editor.measured is None or not _is_of(editor.measured, clumps):
                # After an undo the latest measurement is of another list; only what differs is fitted anew.
                from sc_lab.clumps import measure

                observation = dataclasses.replace(editor.observation, galaxies=self.galaxies)
                editor.measured = measure(observation, clumps, previous=editor.measured)
            if editor.measured.fits is not None:
                self._fits = editor.measured.fits
        self._catalog = catalog

    @property
    def fits(self) -> QTable:
        """The fits of the list as it stands; another object whenever a number has changed."""
        self._follow()
        return self._fits

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the clumps are [px of the reference band]: as fitted, or as clicked where the fit found nothing."""
        fits = self.fits
        x, y = fitted(fits, "x"), fitted(fits, "y")
        lost = ~(np.isfinite(x) & np.isfinite(y))
        if lost.any() and "ra_start" in fits.colnames:
            start = self.reference.to_pixel(fitted(fits, "ra_start")[lost], fitted(fits, "dec_start")[lost])
            x[lost], y[lost] = (np.asarray(values, dtype=float) for values in start)
        return x, y

    @property
    def ids(self) -> list[str]:
        """Identifiers on the list."""
        self._follow()
        return self._ids

    def origin(self, name: str) -> str:
        """Return where a position comes from: auto, added, moved, split or merged.

        Parameters
        ----------
        name : str
            The clump.
        """
        self._follow()
        return self._origins.get(name, "auto")

    def model(self, band: str, x0: int, y0: int, nx: int, ny: int) -> np.ndarray:
        """Return the image of all fitted clumps.

        Parameters
        ----------
        band : str
            The band.
        x0, y0, nx, ny : int
            Pixels of that band.

        Returns
        -------
        ndarray, shape (ny, nx)
            In nJy a pixel.
        """
        if not len(self.fits):
            return np.zeros((ny, nx))
        from sc_lab.photometry import render_clumps

        return np.asarray(render_clumps(self.field, self.fits, band, x0, y0, nx, ny))

    def galaxy_of(self, name: str) -> str:
        """Return the galaxy that a clump is of; empty where it is of none.

        Parameters
        ----------
        name : str
            The clump.
        """
        self._follow()
        return self._homes.get(name, "")

    def host_light(self, band: str, data: np.ndarray, *, step: int = 1) -> np.ndarray:
        """Return the smooth light of the galaxy, as detection takes it off.

        Parameters
        ----------
        band : str
            The band.
        data : ndarray, shape (ny, nx)
            Its pixels.
        step : int
            Pixels of the band to a side of a pixel of `data`.

        Returns
        -------
        ndarray, shape (ny, nx)
            A running median, as wide on the sky in every band.
        """
        from sc_lab.detection.host import running_median

        ratio = self.reference.pixel_scale / self.field[band].pixel_scale / step
        return np.asarray(running_median(data, size=max(5, 2 * round(_HOST_PIXELS * ratio / 2) + 1)))

    # ---- edits -----------------------------------------------------------------------------
    def add(self, ra: float, dec: float, *, galaxy: str | None = None) -> str:
        """Add a clump.

        Parameters
        ----------
        ra, dec : float
            Position [deg].
        galaxy : str, optional
            Galaxy that it belongs to where it lies in no contour.

        Returns
        -------
        str
            Its name.
        """
        home = None if self.editor.galaxy_at(ra, dec) is not None else galaxy
        return self.editor.add(ra, dec, galaxy=home)

    def add_those_possible(
        self, places: Sequence[tuple[float, float]], *, galaxy: str | None = None, provenance: str = "auto"
    ) -> tuple[list[str], dict[int, str]]:
        """Add clumps as one step; where one cannot be measured, one by one without it.

        Parameters
        ----------
        places : sequence of (float, float)
            Positions (ra, dec) [deg].
        galaxy : str, optional
            As for `add`.
        provenance : str
            Where the positions come from.

        Returns
        -------
        list of str
            Names of the new clumps.
        dict of int to str
            Why each other place was refused.
        """
        try:
            return self.editor.add_all(places, galaxy=galaxy, provenance=provenance), {}
        except ScLabError:
            names, refused = [], {}
        for number, place in enumerate(places):
            try:
                names += self.editor.add_all([place], galaxy=galaxy, provenance=provenance)
            except ScLabError as error:
                refused[number] = str(error)
        return names, refused

    # ---- proposals -------------------------------------------------------------------------
    def detect(self, galaxy: Any) -> QTable:
        """Return what detection finds in a galaxy, on the list or not.

        Parameters
        ----------
        galaxy : Galaxy or None
            Where to look; None means the whole field.

        Returns
        -------
        QTable
            With ra, dec and snr.
        """
        from sc_lab.detection import detect_clumps

        return detect_clumps(self.field, self.editor.observation.reference_band, galaxy)

    def propose_splits(self) -> QTable:
        """Return second components that the residual asks for."""
        if not len(self.fits):
            return QTable({"ra": np.zeros(0), "dec": np.zeros(0)})
        from sc_lab.photometry import propose_splits

        return propose_splits(self.field, self.fits)


def _is_of(measured: Measured, clumps: QTable) -> bool:
    """Return whether a measurement is of these clumps at these places."""
    columns = measured.columns
    return measured.ids == [str(name) for name in clumps["id"]] and all(
        np.array_equal(np.asarray(columns.get(f"{name}_start", ())), np.asarray(clumps[name], dtype=float))
        for name in ("ra", "dec")
    )
