"""The clump editor: each click measures what it touches and becomes one step of the session.

Signature, for those who build on it::

    ClumpEditor(session, observation, *, measure=sc_lab.clumps.measure)
    ClumpEditor.start(observation, clumps=None, *, project=None, name="", progress=None, cancel=None)
    .session, .observation, .galaxies, .clumps (id, ra, dec, galaxy, provenance), .measured (or None), .fits
    .add(ra, dec, *, galaxy=None) -> id            .remove(ids) -> None
    .add_all([(ra, dec), ...], *, galaxy=None, provenance="added") -> [id, ...], one step
    .move(id, ra, dec) -> None                     .split(id, positions=None) -> [id, id]
    .merge(ids) -> id                              .detect(galaxy=None, **options) -> [id, ...]
    .measure_all(*, progress=None, cancel=None) -> bool
    .edit_contour(galaxy, contour) -> bool         .galaxy_at(ra, dec) -> Galaxy or None
    .refit_seds(settings=None, *, ids=None, progress=None, cancel=None) -> bool
    .sed_settings -> SedSettings or None (what the next clump is fitted with)
    .close()

Undo and redo are those of the session; `Session.current_catalog` is the list as it stands, its subscribers
hear "clumps", and `population_of(session, previous=population)` analyses it anew for the price of what changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable, Table

from sc_lab.clumps import PROVENANCES, Measured, Observation, SedSettings, measure
from sc_lab.clumps.sed_fits import warm
from sc_lab.errors import InputError, ProjectError, ScLabError
from sc_lab.session.clump_rows import ClumpRow, rows_from_json, rows_from_table
from sc_lab.session.document import canonical_json, check_vertices
from sc_lab.session.patching import empty_catalog
from sc_lab.session.refitting import own_settings, refit_seds, standing_settings
from sc_lab.session.session import Session
from sc_lab.units import value_in

__all__ = ["ClumpEditor"]

#: A click this far outside every contour [arcsec] still counts as in the nearest galaxy.
_NEAR = 1.0
#: Seconds that a new editor waits for the hashes of the images; those of large mosaics follow later.
_HASH_PATIENCE = 0.5

Measure = Callable[..., Measured]


class ClumpEditor:
    """The clump list of a session over the images that it was measured on.

    Parameters
    ----------
    session : Session
        The session; every edit becomes one step of it.
    observation : Observation
        Images, galaxies, lens models and settings.
    measure : callable
        ``measure(observation, clumps, previous=None) -> Measured``.

    Notes
    -----
    An edit is measured first and written down after, with its numbers: a measurement that fails leaves no
    trace, and a project replays without the images. Edits may come from any thread; they are made one
    after the other.

    Examples
    --------
    >>> from sc_lab.mock import make_field
    >>> field = make_field(seed=1, size=8, bands=["F150W"])
    >>> editor = ClumpEditor.start(Observation(field=field))
    >>> editor.add(*field.galaxies[0].centre)
    'c0001'
    >>> editor.session.undo_label
    'add c0001'
    >>> editor.session.undo(), len(editor.clumps)
    (True, 0)
    """

    def __init__(self, session: Session, observation: Observation, *, measure: Measure = measure) -> None:
        self.session = session
        self.measured: Measured | None = None
        self._observation = observation
        self._measure = measure
        self._lock = threading.RLock()
        self._hashes: dict[str, str] = {}
        self._closing = threading.Event()
        self._tables: threading.Thread | None = None
        weakref.finalize(self, self._closing.set)
        self._begin_hashing(observation.field)
        self._prefetch()

    @classmethod
    def start(
        cls,
        observation: Observation,
        clumps: Table | None = None,
        *,
        project: str | os.PathLike[str] | None = None,
        name: str = "",
        measure: Measure = measure,
        progress: Callable[[int, int], object] | None = None,
        cancel: Any = None,
    ) -> ClumpEditor:
        """Begin a session from images.

        Parameters
        ----------
        observation : Observation
            Images, galaxies, lens models and settings.
        clumps : `~astropy.table.Table`, optional
            Positions to begin with (ra, dec, optionally id, galaxy, provenance), which are measured
            first; the list begins empty without them.
        project : path-like, optional
            Project file. One that exists already and began with the same positions is continued, so that
            a notebook may be run again.
        name : str
            What the list is called in messages; the name of the field when left out.
        measure : callable
            As for the class.
        progress, cancel : optional
            Passed on to the measurement.

        Returns
        -------
        ClumpEditor
            With its session in ``.session``.

        Raises
        ------
        ProjectError
            If the project exists and began with other positions.
        """
        about = observation.about()
        called = name or about["source"]
        places = None if clumps is None or not len(clumps) else _positions(clumps, observation)
        if project is not None and os.path.exists(project):  # noqa: PTH110 - any path-like
            editor = cls(Session.open(project), observation, measure=measure)
            editor._check_places(places)
            return editor
        base: Table = empty_catalog(called)
        measured = None
        if places is not None:
            measured = measure(observation, places, progress=progress, cancel=cancel)
            base = measured.catalog.copy()
        editor = cls(Session(empty_catalog()), observation, measure=measure)
        said = {**about, "source": called, "observation": observation.record(hashes=editor._hashes)}
        base.meta.setdefault("sc_lab", {}).update(said)
        editor.session, editor.measured = Session(base, project=project), measured
        return editor

    def _check_places(self, places: QTable | None) -> None:
        """Refuse a project that began with other positions than those given now."""
        begun = _list_of(self.session.catalog)
        wanted = begun[:0] if places is None else places
        same = begun["id"].tolist() == wanted["id"].tolist() and all(
            np.array_equal(np.asarray(begun[name]), np.asarray(wanted[name]), equal_nan=True) for name in ("ra", "dec")
        )
        if not same:
            path = self.session.path
            self.session.close()
            msg = (
                f"{path} exists and began with other positions ({len(begun)} clumps) than those given ({len(wanted)}); "
                "choose another project file, or go on with ClumpEditor(Session.open(path), observation)"
            )
            raise ProjectError(msg)

    # ------------------------------------------------------------------ reading

    @property
    def observation(self) -> Observation:
        """What is measured on; another one set here holds from the next edit or `measure_all` on."""
        return self._observation

    @observation.setter
    def observation(self, observation: Observation) -> None:
        with self._lock:
            if observation.field is not self._observation.field:
                self._hashes = {}
                self._begin_hashing(observation.field)
            self._observation, self.measured = observation, None
        self._prefetch()

    @property
    def galaxies(self) -> tuple[Any, ...]:
        """The galaxies, with the contours that were redrawn."""
        contours = self.session.contours
        return tuple(
            _with_contour(each, contours[_name_of(each)]) if _name_of(each) in contours else each
            for each in self.observation.galaxy_list
        )

    @property
    def clumps(self) -> QTable:
        """The list as it stands: id, ra, dec [deg], galaxy and provenance of the positions given to the fit."""
        return _list_of(self.session.current_catalog)

    @property
    def fits(self) -> QTable | None:
        """The fits behind the latest measurement, or None before the first."""
        return None if self.measured is None else self.measured.fits

    def galaxy_at(self, ra: float, dec: float) -> Any:
        """Return the galaxy whose contour holds a position.

        Parameters
        ----------
        ra, dec : float
            Position [deg, ICRS].

        Returns
        -------
        Galaxy or None
            The first galaxy around the position, or else the nearest within 1 arcsec.
        """
        return _galaxy_at(self.galaxies, ra, dec)

    # ------------------------------------------------------------------ edits

    def add(self, ra: float, dec: float, *, galaxy: str | None = None) -> str:
        """Add a clump where the user has clicked.

        Parameters
        ----------
        ra, dec : float
            Position [deg, ICRS].
        galaxy : str, optional
            Galaxy that it belongs to; the one whose contour holds it when left out.

        Returns
        -------
        str
            Its name.

        Raises
        ------
        InputError
            If the position is in no galaxy, or cannot be measured. Nothing has changed then.
        """
        with self._lock:
            ra, dec = _place(ra, dec)
            home = self._home(ra, dec, galaxy)
            (name,) = self.session.new_ids(1)
            table = _with(self.clumps, [(name, ra, dec, home, "added")])
            self._take("add_clump", table, ids=[name])
            return name

    def add_all(
        self, positions: Iterable[tuple[float, float]], *, galaxy: str | None = None, provenance: str = "added"
    ) -> list[str]:
        """Add several clumps as one step, for instance proposals that the user has accepted.

        Parameters
        ----------
        positions : iterable of (float, float)
            Where they are [deg, ICRS].
        galaxy : str, optional
            Galaxy of those that are in no contour.
        provenance : str
            Where the positions come from, one of `sc_lab.clumps.PROVENANCES`.

        Returns
        -------
        list of str
            Their names.

        Raises
        ------
        InputError
            If a position is in no galaxy, or cannot be measured. Nothing has changed then.
        """
        if provenance not in PROVENANCES:
            msg = f"provenance is {provenance!r}; give one of {', '.join(PROVENANCES)}"
            raise InputError(msg)
        with self._lock:
            places = [_place(ra, dec) for ra, dec in positions]
            if not places:
                return []
            names = self.session.new_ids(len(places))
            rows = []
            for name, (ra, dec) in zip(names, places, strict=True):
                home = self._home(ra, dec, None if self.galaxy_at(ra, dec) is not None else galaxy)
                rows.append((name, ra, dec, home, provenance))
            self._take("add_clump", _with(self.clumps, rows), ids=names)
            return names

    def remove(self, ids: str | Iterable[str]) -> None:
        """Take clumps off the list.

        Parameters
        ----------
        ids : str or iterable of str
            The clumps.

        Raises
        ------
        InputError
            If one is unknown.
        """
        with self._lock:
            gone = self._known(ids)
            self._take("remove_clump", _without(self.clumps, gone), ids=gone)

    def move(self, id: str, ra: float, dec: float) -> None:  # noqa: A002 - the name of the column
        """Put a clump elsewhere.

        Parameters
        ----------
        id : str
            The clump; it keeps its name and its galaxy unless the new place is in another contour.
        ra, dec : float
            New position [deg, ICRS].

        Raises
        ------
        InputError
            If it is unknown, or cannot be measured there. Nothing has changed then.
        """
        with self._lock:
            (name,) = self._known(id)
            ra, dec = _place(ra, dec)
            table = self.clumps
            row = int(np.flatnonzero(table["id"] == name)[0])
            home = self.galaxy_at(ra, dec)
            galaxy = str(table["galaxy"][row]) if home is None else _name_of(home)
            moved = _with(_without(table, [name]), [(name, ra, dec, galaxy, "moved")], at=row)
            self._take("move_clump", moved, id=name)

    def split(self, id: str, positions: Sequence[tuple[float, float]] | None = None) -> list[str]:  # noqa: A002 - the name of the column
        """Replace a clump by two or more.

        Parameters
        ----------
        id : str
            The clump.
        positions : sequence of (float, float), optional
            Where they are [deg, ICRS]; along the major axis of the fit, a standard deviation to either
            side, when left out.

        Returns
        -------
        list of str
            Their names.

        Raises
        ------
        InputError
            If the clump is unknown, or the parts cannot be measured. Nothing has changed then.
        """
        with self._lock:
            (name,) = self._known(id)
            table = self.clumps
            galaxy = str(table["galaxy"][table["id"] == name][0])
            places = self._halves(name) if positions is None else [_place(ra, dec) for ra, dec in positions]
            if len(places) < 2:
                msg = f"a clump is split into two or more; {len(places)} position was given"
                raise InputError(msg)
            names = self.session.new_ids(len(places))
            parts = [(part, ra, dec, galaxy, "split") for part, (ra, dec) in zip(names, places, strict=True)]
            self._take("split_clump", _with(_without(table, [name]), parts), id=name, into=names)
            return names

    def merge(self, ids: Iterable[str]) -> str:
        """Replace two or more clumps by one.

        Parameters
        ----------
        ids : iterable of str
            The clumps.

        Returns
        -------
        str
            The name of the new one, which begins at their mean position weighted by flux.

        Raises
        ------
        InputError
            If one is unknown, fewer than two are given, or the new one cannot be measured.
        """
        with self._lock:
            gone = self._known(ids)
            if len(gone) < 2:
                msg = f"two or more clumps are merged; got {gone}"
                raise InputError(msg)
            table = self.clumps
            rows = [int(np.flatnonzero(table["id"] == name)[0]) for name in gone]
            weight = self._weights(gone)
            first = float(table["ra"][rows[0]])
            # Around the first: a mean of right ascensions must not fall apart at 0 = 360.
            offsets = (np.asarray(table["ra"], dtype=float)[rows] - first + 180.0) % 360.0 - 180.0
            ra = (first + float(np.average(offsets, weights=weight))) % 360.0
            dec = float(np.average(np.asarray(table["dec"], dtype=float)[rows], weights=weight))
            (name,) = self.session.new_ids(1)
            merged = _with(_without(table, gone), [(name, ra, dec, str(table["galaxy"][rows[0]]), "merged")])
            self._take("merge_clumps", merged, ids=gone, into=name)
            return name

    def detect(self, galaxy: str | None = None, **options: Any) -> list[str]:
        """Find clumps that are not on the list yet, and add them as one step.

        Parameters
        ----------
        galaxy : str, optional
            Galaxy to search; every galaxy when left out.
        **options : Any
            Passed on to `sc_lab.detection.detect_clumps`.

        Returns
        -------
        list of str
            Names of the new clumps; empty when nothing new was found.

        Raises
        ------
        InputError
            If there is no such galaxy.
        """
        from sc_lab.detection import detect_clumps

        with self._lock:
            chosen = [each for each in self.galaxies if galaxy is None or _name_of(each) == galaxy]
            if not chosen:
                names = ", ".join(repr(_name_of(each)) for each in self.galaxies) or "none"
                msg = f"there is no galaxy {galaxy!r} in the observation; it has {names}"
                raise InputError(msg)
            table = self.clumps
            found = []
            for each in chosen:
                peaks = detect_clumps(self.observation.field, self.observation.reference_band, each, **options)
                for ra, dec in zip(_degrees(peaks, "ra"), _degrees(peaks, "dec"), strict=True):
                    found.append((ra, dec, _name_of(each)))
            new = _unlike(found, table, self._match_radius())
            while new:
                ids = self.session.new_ids(len(new))
                rows = [(name, ra, dec, home, "auto") for name, (ra, dec, home) in zip(ids, new, strict=True)]
                try:
                    self._take("add_clump", _with(table, rows), ids=ids)
                except _NotMeasuredError as error:
                    # Two detections of one clump, or one on unusable pixels: the others stand.
                    new = [place for name, place in zip(ids, new, strict=True) if name not in error.names]
                else:
                    return ids
            return []

    def measure_all(self, *, progress: Callable[[int, int], object] | None = None, cancel: Any = None) -> bool:
        """Measure every clump of the list anew, as one step.

        Parameters
        ----------
        progress : callable, optional
            Called as ``progress(done, total)``.
        cancel : object, optional
            With ``is_set()``, such as `threading.Event`; once set, nothing changes.

        Returns
        -------
        bool
            False when no number has changed.

        Raises
        ------
        ScLabError
            If it was cancelled. Nothing has changed then.
        """
        with self._lock:
            table = self.clumps
            if not len(table):
                return False
            fresh = self._measure(self._observed(), table, previous=None, progress=progress, cancel=cancel)
            changed = self._differing(fresh, set(fresh.ids))
            said = self._said()
            done = bool(changed or said) and self.session.do("measure_clumps", rows=fresh.rows(changed), **said)
            self.measured = fresh
            return done

    def edit_contour(self, galaxy: str, contour: Any) -> bool:
        """Redraw the contour of a galaxy; clumps keep the galaxy that they were given to.

        Parameters
        ----------
        galaxy : str
            Its name.
        contour : array_like or None
            Vertices (ra, dec) [deg, ICRS], shape (n, 2); None goes back to the first contour.

        Returns
        -------
        bool
            False when nothing has changed.

        Raises
        ------
        InputError
            If there is no such galaxy, or the contour is not a polygon.
        """
        with self._lock:
            if galaxy not in {_name_of(each) for each in self.observation.galaxy_list}:
                names = ", ".join(repr(_name_of(each)) for each in self.observation.galaxy_list) or "none"
                msg = f"there is no galaxy {galaxy!r} in the observation; it has {names}"
                raise InputError(msg)
            vertices = None if contour is None else np.asarray(contour, dtype=float).tolist()
            if vertices is not None:
                check_vertices(vertices)
                for each in self.observation.galaxy_list:
                    if _name_of(each) == galaxy:
                        _with_contour(each, vertices)  # sides that cross are refused here
            return self.session.do("edit_contour", galaxy=galaxy, contour=vertices)

    def refit_seds(
        self,
        settings: SedSettings | None = None,
        *,
        ids: str | Iterable[str] | None = None,
        progress: Callable[[int, int], object] | None = None,
        cancel: Any = None,
        executor: Any = None,
    ) -> bool:
        """Fit SEDs anew with other settings, as one step; clumps that are added later have them too.

        Parameters
        ----------
        settings : SedSettings, optional
            The settings; those that stand when left out.
        ids : str or iterable of str, optional
            Clumps to fit, which keep these settings for themselves; all when left out.
        progress, cancel, executor : optional
            As for `sc_lab.session.refitting.refit_seds`.

        Returns
        -------
        bool
            False when nothing has changed.

        Raises
        ------
        InputError
            If an id is unknown, or no clump has a redshift and two detected bands.
        ScLabError
            If it was cancelled. Nothing has changed then.
        """
        with self._lock:
            done = refit_seds(
                self.session,
                self.sed_settings if settings is None else settings,
                ids=ids,
                cosmology=self.observation.cosmology,
                progress=progress,
                cancel=cancel,
                executor=executor,
            )
        self._prefetch()
        return done

    @property
    def sed_settings(self) -> SedSettings | None:
        """What the next clump's SED is fitted with: the settings of the latest refit of all, else the observation's."""
        document = self.session.document
        chosen = any(not name for name, _ in document.sed_settings)
        return standing_settings(document) if chosen else self._observation.sed

    def close(self) -> None:
        """End the session of the editor."""
        self._closing.set()
        self.session.close()

    # ------------------------------------------------------------------ helpers

    def _take(self, edit: str, table: QTable, **arguments: Any) -> None:
        """Measure the new list and make the edit with the rows that changed."""
        observation = self._observed()
        if self.measured is None and len(self.clumps):
            # What neighbours were before the edit must be known, or each of them would seem to have changed.
            self.measured = self._measure(observation, self.clumps, previous=None)
        if len(table):
            fresh = self._measure(observation, table, previous=self.measured)
            new = {name for key in ("ids", "into", "id") for name in _listed(arguments.get(key))}
            lost = _unmeasured(fresh, new)
            if lost:
                raise _NotMeasuredError(lost)
            changed = self._differing(fresh, set(fresh.refitted) | new)
            rows = fresh.rows(changed) if changed else None
        else:
            fresh, rows = None, None
        if rows is not None or edit == "remove_clump":
            arguments |= {} if rows is None else {"rows": rows}
        # Subscribers of the session look at the fits too, so they have to be there before the step is taken.
        before, self.measured = self.measured, fresh
        try:
            self.session.do(edit, **arguments, **self._said())
        except BaseException:
            self.measured = before
            raise

    def _differing(self, fresh: Measured, among: set[str]) -> list[int]:
        """Return the rows of a measurement, out of some, that the list does not hold already."""
        candidates = [row for row, name in enumerate(fresh.ids) if name in among]
        if not candidates:
            return []
        document, current = self.session.document, self.session.current_catalog
        held = {row.id: row for row in document.clumps}
        for row in document.seds:
            if row.id in held:
                held[row.id] = _over(held[row.id], row)
        index = {name: row for row, name in enumerate(current["id"].tolist())}
        new = rows_from_json(fresh.rows(candidates))
        opened = [index[row.id] for row in new if row.id in index and row.id not in held]
        if opened:
            held.update((row.id, row) for row in rows_from_json(rows_from_table(current, opened, arrays=False)))
        differ = [row.id not in held or _as_dict(held[row.id]) != _as_dict(row) for row in new]
        return [row for row, changed in zip(candidates, differ, strict=True) if changed]

    def _observed(self) -> Observation:
        """Return the observation with the contours of the document."""
        changes: dict[str, Any] = {"galaxies": self.galaxies} if self.session.contours else {}
        if self.session.document.sed_settings:
            own = {**self.observation.sed_own, **own_settings(self.session.document)}
            changes |= {"sed": self.sed_settings, "sed_own": own}
        return dataclasses.replace(self.observation, **changes) if changes else self.observation

    def _said(self) -> dict[str, Any]:
        """Return the argument that records the observation, where the document does not say the same yet."""
        record, said = self._observed().record(hashes=self._hashes), self.session.document.observation
        if not said:
            about = self.session.catalog.meta.get("sc_lab")
            opened = about.get("observation") if isinstance(about, Mapping) else None
            said = canonical_json(dict(opened)) if isinstance(opened, Mapping) else ""
        return {} if canonical_json(record) == said else {"observation": record}

    def _begin_hashing(self, field: Any) -> None:
        """Work out the hashes of the images beside everything else: those of large mosaics take a while."""

        def run() -> None:
            hashes = getattr(field, "hashes", None)
            with contextlib.suppress(OSError, ValueError, ScLabError):  # what cannot be read has none
                found = {str(b): str(v) for b, v in hashes.items() if v} if isinstance(hashes, Mapping) else {}
                if self._observation.field is field:
                    self._hashes = found

        thread = threading.Thread(target=run, name="sc-lab-hashes", daemon=True)
        thread.start()
        thread.join(_HASH_PATIENCE)

    def _prefetch(self) -> None:
        """Make ready beside everything else what SED fits at the redshifts of the galaxies need.

        The first click in a galaxy is then as fast as the others.
        """
        observation, settings, closing = self._observation, self.sed_settings, self._closing
        if settings is None:
            return
        redshifts = sorted({float(each.z) for each in observation.galaxy_list if float(each.z) > 0})
        main = threading.main_thread()

        def run() -> None:
            for z in redshifts:
                if closing.is_set() or not main.is_alive():
                    return
                with contextlib.suppress(Exception):  # whoever fits will hear of it
                    warm(settings, observation.band_names, z, cosmology=observation.cosmology)

        # Not a daemon: the interpreter must not end in the middle of compiled code. A redshift takes 0.2 s.
        self._tables = threading.Thread(target=run, name="sc-lab-sed-tables")
        self._tables.start()

    def wait_for_tables(self) -> None:
        """Wait until what SED fits at the redshifts of the galaxies need is ready; for benchmarks."""
        if self._tables is not None:
            self._tables.join()

    def _home(self, ra: float, dec: float, galaxy: str | None) -> str:
        """Return the galaxy of a position, or refuse the position."""
        names = [_name_of(each) for each in self.observation.galaxy_list]
        if galaxy is not None:
            if galaxy not in names:
                msg = (
                    f"there is no galaxy {galaxy!r} in the observation; it has {', '.join(map(repr, names)) or 'none'}"
                )
                raise InputError(msg)
            return galaxy
        found = self.galaxy_at(ra, dec)
        if found is not None:
            return _name_of(found)
        if not names:
            return ""
        msg = (
            f"the position ({ra:.6f}, {dec:.6f}) is in no galaxy, so its redshift is not known; "
            f"click inside a contour, redraw one, or give galaxy= one of {', '.join(map(repr, names[:8]))}"
        )
        raise InputError(msg)

    def _known(self, ids: str | Iterable[str]) -> list[str]:
        """Return ids as a list, all of them on the list."""
        names = [ids] if isinstance(ids, str) else [str(name) for name in ids]
        have = set(self.session.clump_ids)
        unknown = [name for name in names if name not in have]
        if unknown or not names or len(set(names)) != len(names):
            msg = f"give different ids of clumps on the list, which has {len(have)}; got {names[:5]}"
            raise InputError(msg)
        return names

    def _halves(self, name: str) -> list[tuple[float, float]]:
        """Return the places of two halves of a clump, along its major axis."""
        table = self.clumps
        row = int(np.flatnonzero(table["id"] == name)[0])
        ra, dec = float(table["ra"][row]), float(table["dec"][row])
        band = self.observation.field[self.observation.reference_band]
        x, y = (float(np.asarray(value)) for value in band.to_pixel(ra, dec))
        step, angle = 1.5, 0.0
        if self.fits is not None and name in self.fits["id"].tolist():
            fit = self.fits[self.fits["id"].tolist().index(name)]
            if np.isfinite(fit["x"]) and np.isfinite(fit["std_maj"]):
                x, y = float(fit["x"]), float(fit["y"])
                step = min(max(float(fit["std_maj"]), 1.0), 3.0)
                angle = float(np.radians(value_in(fit["theta"], u.deg, "theta")))
        shift = step * np.cos(angle), step * np.sin(angle)
        places = [band.to_sky(x + sign * shift[0], y + sign * shift[1]) for sign in (-1.0, 1.0)]
        return [(float(np.asarray(a)), float(np.asarray(d))) for a, d in places]

    def _weights(self, names: list[str]) -> npt.NDArray[np.float64]:
        """Return positive fluxes of clumps in the reference band, or ones."""
        column = f"flux_{self.observation.reference_band.lower()}"
        if self.fits is None or column not in self.fits.colnames:
            return np.ones(len(names))
        index = {name: row for row, name in enumerate(self.fits["id"].tolist())}
        values = np.asarray(getattr(self.fits[column], "value", self.fits[column]), dtype=float)
        out = np.array([values[index[name]] if name in index else np.nan for name in names])
        return out if np.all(np.isfinite(out) & (out > 0)) else np.ones(len(names))

    def _match_radius(self) -> float:
        """Return the distance [arcsec] below which a detection is the clump that is on the list already."""
        scale = self.observation.field[self.observation.reference_band].pixel_scale
        return 2.0 * float(getattr(scale, "value", scale))


class _NotMeasuredError(InputError):
    """The fit has nothing to say of some clumps of an edit."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.names = set(reasons)
        shown = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:3])
        more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        super().__init__(f"the images do not measure what this edit makes ({shown}{more}); choose another place")


def _unmeasured(measured: Measured, names: set[str]) -> dict[str, str]:
    """Return which clumps have no flux in any band, and what the fit says of them."""
    fluxes = [v for k, v in measured.columns.items() if k.startswith("flux_") and not k.endswith("_err")]
    if not fluxes:
        return {}
    lost = np.atleast_1d(~np.isfinite(fluxes).any(axis=0))
    said = measured.fits["status"].tolist() if measured.fits is not None and "status" in measured.fits.colnames else []
    return {
        name: (str(said[row]) if row < len(said) else "") or "no band has a flux"
        for row, name in enumerate(measured.ids)
        if lost[row] and name in names
    }


def _list_of(catalog: Table) -> QTable:
    """Return the positions given to the fit of every clump of a catalogue."""
    n = len(catalog)
    out = QTable()
    out["id"] = np.array(catalog["id"].tolist(), dtype=np.str_) if n else np.array([], dtype="U1")
    for name in ("ra", "dec"):
        start = _degrees(catalog, f"{name}_start") if f"{name}_start" in catalog.colnames else np.full(n, np.nan)
        found = _degrees(catalog, name) if name in catalog.colnames else np.full(n, np.nan)
        out[name] = np.where(np.isfinite(start), start, found)
    for name, otherwise in (("galaxy", ""), ("provenance", "auto")):
        texts = [str(value) or otherwise for value in catalog[name].tolist()] if name in catalog.colnames else None
        out[name] = np.array(texts if texts is not None else [otherwise] * n, dtype=np.str_)
    return out


def _place(ra: Any, dec: Any) -> tuple[float, float]:
    """Return a position in degrees, or refuse what is not on the sky."""
    a, d = (np.asarray(value_in(value, u.deg, name)) for value, name in ((ra, "ra"), (dec, "dec")))
    if a.ndim or d.ndim or not (0.0 <= a <= 360.0 and abs(d) <= 90.0):
        msg = f"the position ({ra}, {dec}) is not on the sky; give right ascension and declination in degrees"
        raise InputError(msg)
    return float(a), float(d)


def _degrees(table: Table, name: str) -> npt.NDArray[np.float64]:
    """Return a column of angles in degrees, NaN where masked."""
    column = table[name]
    if getattr(column, "unit", None) is not None:
        column = column.to("deg") if hasattr(column, "to") else column
    bare = getattr(column, "unmasked", column)
    values = np.array(np.ma.getdata(getattr(bare, "value", bare)), dtype=float)
    mask = getattr(column, "mask", None)
    if mask is not None:
        values[np.broadcast_to(np.asarray(mask, dtype=bool), values.shape)] = np.nan
    return values


def _positions(clumps: Table, observation: Observation) -> QTable:
    """Return positions with everything that a list has, names and galaxies worked out where they are not given."""
    n = len(clumps)
    ra, dec = _degrees(clumps, "ra"), _degrees(clumps, "dec")
    table = clumps.copy()
    if "id" not in clumps.colnames or clumps["id"].dtype.kind != "U":
        table["id"] = np.array([f"c{row:04d}" for row in range(1, n + 1)])
    if "galaxy" not in clumps.colnames:
        homes = _homes(observation.galaxy_list, ra, dec)
        table["galaxy"] = np.array(homes, dtype=np.str_)
    if "provenance" not in clumps.colnames:
        table["provenance"] = np.array(["auto"] * n)
    return _list_of(table)


def _with(table: QTable, rows: list[tuple[str, float, float, str, str]], *, at: int | None = None) -> QTable:
    """Return a list with rows more, at the end or at a place."""
    place = len(table) if at is None else at
    out = QTable()
    for position, name in enumerate(("id", "ra", "dec", "galaxy", "provenance")):
        old = table[name].tolist()
        values = [*old[:place], *(row[position] for row in rows), *old[place:]]
        out[name] = np.array(values, dtype=float if name in ("ra", "dec") else np.str_)
    return out


def _without(table: QTable, names: list[str]) -> QTable:
    """Return a list without some clumps."""
    return table[~np.isin(table["id"], names)]


def _listed(value: Any) -> list[str]:
    """Return a name or names as a list."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _over(below: ClumpRow, above: ClumpRow) -> ClumpRow:
    """Return a row with another laid over it."""
    units = dict(zip(below.columns, below.units, strict=True)) | dict(zip(above.columns, above.units, strict=True))
    values = dict(zip(below.columns, below.values, strict=True)) | dict(zip(above.columns, above.values, strict=True))
    return ClumpRow(below.id, tuple(units), tuple(units.values()), tuple(values.values()))


def _as_dict(row: ClumpRow) -> dict[str, Any]:
    """Return what a row says, without what it does not."""
    said = {name: value for name, value in zip(row.columns, row.values, strict=True) if value not in (None, "", False)}
    return {"id": row.id, **said}


def _name_of(galaxy: Any) -> str:
    """Return the name of a galaxy."""
    return str(galaxy.id)


def _with_contour(galaxy: Any, contour: Any) -> Any:
    """Return a galaxy with another contour."""
    return dataclasses.replace(galaxy, contour=np.asarray(contour, dtype=float))


def _galaxy_at(galaxies: Sequence[Any], ra: float, dec: float) -> Any:
    """Return the galaxy around a position, or else the nearest within reach, or None."""
    (home,) = _homes(galaxies, np.array([ra]), np.array([dec]))
    return next((each for each in galaxies if _name_of(each) == home), None) if home else None


def _homes(galaxies: Sequence[Any], ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> list[str]:
    """Return the name of the smallest galaxy around each position, else of the nearest within reach, else nothing."""
    homes = np.full(len(ra), "", dtype=object)
    for each in sorted(galaxies, key=lambda one: -float(one.polygon.area)):
        homes[np.asarray(each.contains(ra, dec), dtype=bool)] = _name_of(each)
    lost = np.flatnonzero(homes == "")
    if lost.size and galaxies:
        distances = np.array([each.rim_distance(ra[lost], dec[lost]) for each in galaxies])
        distances = np.where(np.isnan(distances), np.inf, distances)
        nearest = distances.argmin(axis=0)
        for row, galaxy, distance in zip(lost.tolist(), nearest.tolist(), distances.min(axis=0).tolist(), strict=True):
            if distance <= _NEAR:
                homes[row] = _name_of(galaxies[galaxy])
    return [str(name) for name in homes]


def _unlike(found: list[tuple[float, float, str]], table: QTable, radius: float) -> list[tuple[float, float, str]]:
    """Return positions farther than a radius [arcsec] from every clump of the list and from each other."""
    ra, dec = list(table["ra"].tolist()), list(table["dec"].tolist())
    out = []
    for a, d, home in found:
        if ra:
            east = ((np.array(ra) - a + 180.0) % 360.0 - 180.0) * np.cos(np.radians(d))
            if np.nanmin(np.hypot(east, np.array(dec) - d), initial=np.inf) * 3600.0 <= radius:
                continue
        out.append((a, d, home))
        ra.append(a)
        dec.append(d)
    return out
