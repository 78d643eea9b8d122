"""The clump picker: click clumps in colour cut-outs, see data, model and residual follow."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import ipywidgets as ui
import numpy as np
from bokeh.models import LayoutDOM

from sc_lab.errors import InputError, ScLabError
from sc_lab_widgets._cells import close_tree, replace_earlier
from sc_lab_widgets._keys import KeyBoard
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._panel import Panel
from sc_lab_widgets.panels.picker_background import Background
from sc_lab_widgets.panels.picker_controls import CHANNELS, COLOUR, STRETCH, make_controls, make_sidebar, make_toolbar
from sc_lab_widgets.panels.picker_gestures import HELP, Gestures
from sc_lab_widgets.panels.picker_images import (
    WIDEST,
    Box,
    Channels,
    Place,
    box_around,
    covering,
    cutout,
    grey,
    levels,
    place_of,
    residual_bytes,
    shrunk,
    stretched,
    thinned,
)
from sc_lab_widgets.panels.picker_lens import LensOverlay
from sc_lab_widgets.panels.picker_markers import Markers, fitted, numbers_html, with_error
from sc_lab_widgets.panels.picker_proposals import Proposals
from sc_lab_widgets.panels.picker_source import Bench, as_editor
from sc_lab_widgets.panels.picker_view import CutoutView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sc_lab_widgets._host import Host
    from sc_lab_widgets._pane import Key

__all__ = ["ClumpPicker"]

#: The residual is shown up to this many times the noise; with the host in it, up to this share of the white level.
_RESIDUAL_NOISE, _RESIDUAL_SHARE = 8.0, 0.25


class ClumpPicker(Panel):
    """Colour cut-outs of galaxies with their clumps, to be picked by clicking.

    Parameters
    ----------
    source : ClumpEditor, Observation or Field
        An editor of clumps, or what one is made from; its list then begins empty.
    lens : LensModel, optional
        Lens model, or several, where the source is a field.
    galaxies : sequence of Galaxy, optional
        Galaxies, where the source is a field without.
    host : Host, optional
        The host of a workbench, of the editor's session; None makes one.
    **start : Any
        Start values of controls, by name.

    Attributes
    ----------
    editor : ClumpEditor
        What measures: every edit by click or key is one call of it, and one step of the session.
    bench : Bench
        The editor's images, lens, and fits of the list as it stands.
    proposals : Proposals
        Proposed clumps.
    sidebar, toolbar : Widget
        The column of controls and the row of buttons, for a workbench to place.
    buttons : dict of str to Button
        The buttons by name.
    """

    title = "Clump picker"

    def __init__(
        self, source: Any, *, lens: Any = None, galaxies: Any = None, host: Host | None = None, **start: Any
    ) -> None:
        self.editor = as_editor(source, lens=lens, galaxies=galaxies)
        self.bench = Bench(self.editor)
        self.markers = Markers()
        #: Whether the picker itself is changing what the browser can change too.
        self.following = False
        self._boxes: dict[str, Box] = {}
        self._outlines: dict[str, tuple[Any, np.ndarray]] = {}
        self._channels: tuple[Any, Channels] | None = None
        self._followed: list[str] = []
        # What the cut-outs show, so that nothing is sent twice.
        self._shown: dict[str, tuple[Any, ...]] = {}
        super().__init__(self.editor.session if host is None else None, host=host, **start)

    def _make_view_controls(self) -> dict[str, Any]:
        return make_controls(self.bench)

    def _build(self) -> LayoutDOM:
        self.view = CutoutView(f"px of {self.bench.field.reference}", self.bench.field.names)
        self.figures.update(self.view.figures)
        self.background = Background(self._report)
        self.lens_overlay = LensOverlay(self)
        self.proposals = Proposals(self)
        self.gestures = Gestures(self)
        self._numbers = ui.HTML()
        self.toolbar, self.buttons = make_toolbar(self)
        self.sidebar, self.region_path = make_sidebar(self, self._numbers)
        return self.view.root

    # ---- what is looked at -----------------------------------------------------------------
    @property
    def galaxy(self) -> Any:
        """The galaxy of the cut-out, or None where the whole field is shown."""
        name = self.view_controls["galaxy"].value
        return next((galaxy for galaxy in self.bench.galaxies if galaxy.id == name), None)

    @property
    def box(self) -> Box:
        """The cut-out, in pixels of the reference band."""
        band, galaxy = self.bench.reference, self.galaxy
        # It stays while the contour is edited: a view that moves under the pointer cannot be worked in.
        name = "" if galaxy is None else galaxy.id
        if name not in self._boxes:
            if galaxy is None:
                ny, nx = band.shape
                self._boxes[name] = box_around([0, nx - 1], [0, ny - 1], band.shape, pad=0.0)
            else:
                x, y = band.to_pixel(galaxy.contour[:, 0], galaxy.contour[:, 1])
                self._boxes[name] = box_around(x, y, band.shape)
        return self._boxes[name]

    @property
    def place(self) -> Place:
        """Where the cut-out of the residual's band lies."""
        return place_of(self.bench.field, self.view_controls["band"].value, self.box)

    @property
    def selected(self) -> list[str]:
        """Identifiers of the selected clumps that are on the list."""
        known = set(self.bench.ids)
        return [name for name in self.host.selected_ids if name in known]

    def only_one(self, what: str) -> str:
        """Return the selected clump.

        Parameters
        ----------
        what : str
            What is to be done with it, for the message.

        Returns
        -------
        str
            Its identifier.

        Raises
        ------
        InputError
            If none or several are selected.
        """
        ids = self.selected
        if len(ids) != 1:
            msg = f"{len(ids) or 'no'} clumps are selected; click the one to {what}"
            raise InputError(msg)
        return ids[0]

    # ---- bringing up to date ---------------------------------------------------------------
    def _update(self) -> None:
        self._follow_galaxies()
        self._follow_selection()
        self._update_colour()
        self._update_bands()
        self._update_markers()
        self.update_contour()

    def _refine(self) -> None:
        self._update_numbers()
        self.lens_overlay.update()
        for name, possible in (("undo", self.session.can_undo), ("redo", self.session.can_redo)):
            if self.buttons[name].disabled == possible:
                self.buttons[name].disabled = not possible

    def _is_shown(self, what: str, *parts: Any) -> bool:
        """Return whether a picture is of these things already, and remember that it is from now on."""
        old = self._shown.get(what, ())
        same = len(old) == len(parts) and all(
            a is b or (isinstance(a, (str, float, bool, Box)) and a == b) for a, b in zip(old, parts, strict=True)
        )
        self._shown[what] = parts
        return same

    def _follow_galaxies(self) -> None:
        chooser = self.view_controls["galaxy"]
        names = (*(galaxy.id for galaxy in self.bench.galaxies), chooser.options[-1])
        if chooser.options != names:
            value = chooser.value
            chooser.unobserve(self._view_changed, "value")
            chooser.options = names
            chooser.value = value if value in names else names[0]
            chooser.observe(self._view_changed, "value")

    def _update_colour(self) -> None:
        c = {name: control.value for name, control in self.view_controls.items()}
        field, box = self.bench.field, self.box
        if not self._is_shown("view", box):
            self.view.show_box(box)
        self.view.name_cutout(self._title())
        if self._is_shown("colour", box, c["image"], *(c[name] for name in STRETCH)):
            return
        if c["image"] != COLOUR:
            place = place_of(field, c["image"], box)
            pixels, step = shrunk(cutout(field, c["image"], place.box))
            image = grey(pixels, softening=c["stretch"], black=c["green_black"])
            self.view.fill_colour(image, covering(place, step))
            return
        bands = tuple(c[name] for name in CHANNELS)
        if self._channels is None or self._channels[0] != (bands, box):
            self._channels = ((bands, box), Channels.of(field, bands, box))
        gains, blacks = ([c[f"{name}_{what}"] for name in CHANNELS] for what in ("gain", "black"))
        channels = self._channels[1]
        picture = channels.picture(gains=gains, blacks=blacks, stretch=c["stretch"], q=c["q"])
        self.view.fill_colour(picture, covering(place_of(field, field.reference, box), channels.step))

    def _title(self) -> str:
        """Say what the large image is: where, and which bands."""
        c, (ny, nx), box = self.view_controls, self.bench.reference.shape, self.box
        what = c["image"].value
        if what == COLOUR:
            what = ", ".join(c[name].value for name in CHANNELS) + " as red, green, blue"
        where = c["galaxy"].value
        if self.galaxy is None and (box.nx < nx or box.ny < ny):
            where = f"{box.nx} × {box.ny} px of a field of {nx} × {ny}"
        return f"{where} · {what}"

    def _follow_selection(self) -> None:
        """Go to a clump that was selected elsewhere, in a plot of the population or in the table."""
        ids = self.selected
        if ids == self._followed:
            return
        self._followed = ids
        if len(ids) != 1:
            return
        bench, chooser = self.bench, self.view_controls["galaxy"]
        row = bench.ids.index(ids[0])
        x, y = (float(values[row]) for values in bench.places)
        if not np.isfinite(x + y) or self.box.contains(x, y):
            return
        home = bench.galaxy_of(ids[0])
        value = home if home in chooser.options else chooser.options[-1]
        if value != chooser.value:
            self.gestures.vertex = None
            chooser.unobserve(self._view_changed, "value")
            chooser.value = value
            chooser.observe(self._view_changed, "value")
        if not self.box.contains(x, y):
            # In no contour: the part of the field around it.
            chooser.unobserve(self._view_changed, "value")
            chooser.value = chooser.options[-1]
            chooser.observe(self._view_changed, "value")
            half = WIDEST / 2
            self._boxes[""] = box_around([x - half, x + half], [y - half, y + half], bench.reference.shape, pad=0.0)

    def _update_bands(self) -> None:
        band, box, stretch = self.view_controls["band"].value, self.box, self.view_controls["stretch"].value
        fits, new = self.bench.fits, {}
        without_host = bool(self.view_controls["subtract_host"].value)
        same = self._is_shown("bands", band, box, stretch)
        if self._is_shown("model", fits, band, box, stretch, without_host):
            return
        place = self.place
        if not same:
            self._data, self._step = shrunk(cutout(self.bench.field, band, place.box))
            self._levels = levels(self._data)
            self._host_light = None
        black, white, noise = self._levels
        if not same:
            new["data"] = stretched(self._data, black, white, stretch * noise)
        model, _step = shrunk(self.bench.model(band, place.box.x0, place.box.y0, place.box.nx, place.box.ny))
        new["model"] = stretched(model + black, black, white, stretch * noise)
        below: Any = black
        if without_host:
            if self._host_light is None:
                self._host_light = self.bench.host_light(band, self._data, step=self._step)
            below = self._host_light
        reach = max(_RESIDUAL_NOISE * noise, 0.0 if without_host else _RESIDUAL_SHARE * (white - black))
        new["residual"] = residual_bytes(self._data - model - below, reach)
        self.view.name_residual("data − host − model" if without_host else "data − model")
        self.view.fill_images(covering(place, self._step), **new)

    _host_light: np.ndarray | None = None

    def _update_markers(self) -> None:
        population, on = self.host.population, bool(self.view_controls["show_markers"].value)
        excluded = ",".join(sorted(population.excluded))
        if not self._is_shown("markers", self.bench.fits, population.gc_contaminant, excluded, self.box, on):
            self.markers = self._make_markers()
            self.view.fill_markers(self.markers if on else Markers())
        self.show_picked()

    def show_picked(self, *, anew: bool = False) -> None:
        """Ring the selected clumps.

        Parameters
        ----------
        anew : bool
            Also where the kernel sees no difference: the browser may have dragged a ring away.
        """
        chosen = set(self.host.selected_ids)
        at = [i for i, name in enumerate(self.markers.ids) if name in chosen]
        ids = [self.markers.ids[i] for i in at]
        x, y = self.markers.x[at], self.markers.y[at]
        old = self.view.picked.data
        if anew or list(old["id"]) != ids or not (np.array_equal(old["x"], x) and np.array_equal(old["y"], y)):
            with self._following():
                self.view.fill_picked(x, y, ids)

    def _make_markers(self) -> Markers:
        fits = self.bench.fits
        (x, y), snr = self.bench.places, fitted(fits, "snr")
        rows = np.flatnonzero(self.box.contains(x, y))
        names = tuple(str(fits["id"][row]) for row in rows)
        key, none = f"flux_{self.bench.field.reference.lower()}", np.full(len(snr), np.nan)
        numbers = (
            (snr, none, ""),
            (fitted(fits, key), fitted(fits, f"{key}_err"), " nJy"),
            (fitted(fits, "r_eff_obs"), fitted(fits, "r_eff_obs_err"), " mas"),
        )
        notes = tuple(
            tuple(
                with_error(value[row], error[row]) + unit * bool(np.isfinite(value[row]))
                for value, error, unit in numbers
            )
            for row in rows
        )
        return Markers(names, x[rows], y[rows], tuple(self._state(int(row)) for row in rows), notes)

    def _state(self, row: int) -> str:
        population, fits = self.host.population, self.bench.fits
        name = str(fits["id"][row])
        at = population.index.get(name)
        if name in population.excluded:
            return "excluded"
        if not np.isfinite(fitted(fits, "x")[row]):
            return "not measured"
        if at is not None and population.gc_contaminant[at]:
            return "globular cluster"
        origin = self.bench.origin(name)
        if origin in ("added", "moved"):
            return origin
        if "size_class" in fits.colnames and str(fits["size_class"][row]) == "unresolved":
            return "size limit"
        return "detected"

    def update_contour(self) -> None:
        """Bring the contour and its handles up to date."""
        galaxy, on = self.galaxy, self.gestures.on_contour
        self.view.editing(on=on)
        outline = np.zeros((0, 2)) if galaxy is None else self._outline(galaxy)
        x, y = outline[:, 0], outline[:, 1]
        old = self.view.contour.data
        if not (np.array_equal(old["x"], x) and np.array_equal(old["y"], y)):
            with self._following():
                self.view.contour.data = {"x": x, "y": y}
        vertex = self.gestures.vertex
        if vertex is not None and (not on or vertex >= len(x)):
            vertex = self.gestures.vertex = None
        at = [] if vertex is None else [vertex]
        shown = self.view.vertex.data
        if list(shown["x"]) != list(x[at]) or list(shown["y"]) != list(y[at]):
            self.view.vertex.data = {"x": x[at], "y": y[at]}

    def _outline(self, galaxy: Any) -> np.ndarray:
        """Return the vertices of a contour [px], thinned out to what a hand can edit while it is being edited."""
        thin = self.gestures.on_contour
        key = f"{galaxy.id} {thin}"
        if key not in self._outlines or self._outlines[key][0] is not galaxy.contour:
            x, y = self.bench.reference.to_pixel(galaxy.contour[:, 0], galaxy.contour[:, 1])
            outline = np.column_stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
            self._outlines[key] = (galaxy.contour, thinned(outline) if thin else outline)
        return self._outlines[key][1]

    @contextmanager
    def _following(self) -> Iterator[None]:
        """Change a source without taking the change for one of the user's."""
        self.following = True
        try:
            yield
        finally:
            self.following = False

    def _update_numbers(self) -> None:
        chosen, text = self.selected, ""
        self._update_fluxes(chosen)
        if len(chosen) == 1:
            fits, name = self.bench.fits, chosen[0]
            row = self.bench.ids.index(name)
            line = {column: getattr(fits[column][row], "value", fits[column][row]) for column in fits.colnames}
            population = self.host.population
            said = population.describe(population.index[name]) if name in population.index else {}
            more = [(label, words) for label, words in said.items() if label != "id"]
            text = numbers_html(line, self.bench.field.names, self._state(row), more)
        elif chosen:
            text = f"<small>{len(chosen)} clumps selected</small>"
        if self._numbers.value != text:
            self._numbers.value = text

    def _update_fluxes(self, chosen: list[str]) -> None:
        fits, ids = self.bench.fits, self.bench.ids
        if self._is_shown("fluxes", fits, ",".join(chosen)):
            return
        rows = [ids.index(name) for name in chosen]
        keys = [f"flux_{band.lower()}" for band in self.bench.field.names]
        flux, error = (np.stack([fitted(fits, f"{key}{end}")[rows] for key in keys], axis=1) for end in ("", "_err"))
        with self.held():
            self.view.fill_fluxes(chosen, flux, error)

    # ---- how things are done ---------------------------------------------------------------
    def held(self) -> Any:
        """Send everything changed inside the block as one message."""
        return nullcontext() if self.host.pane is None else self.host.pane.hold()

    @contextmanager
    def editing(self) -> Iterator[None]:
        """Select what the edits of the block add, and send everything as one message."""
        self.host.select_new = True
        try:
            with self.held():
                yield
        finally:
            self.host.select_new = False

    def guarded(self, action: Callable[[], Any]) -> Any:
        """Do something that a user asked for; what is refused is said in place.

        Parameters
        ----------
        action : callable
            What to do.

        Returns
        -------
        Any
            What the action returned; None where it was refused.
        """
        try:
            if self.message.text:
                self.message.show("")
            return action()
        except ScLabError as error:
            self.message.report(error)
        except OSError as error:
            self.message.show(f"the file could not be used: {error.strerror or error}", error=True)
        return None

    def press(self, key: Key) -> bool:
        """Do what a key means to the picker; returns whether it took the key."""
        return self.gestures.press(key)

    def cancel(self) -> None:
        """Forget what was begun."""
        self.gestures.escape()

    # ---- the view --------------------------------------------------------------------------
    def select(self, ids: Sequence[str], *, add: bool = False) -> None:
        """Select clumps, in every panel.

        Parameters
        ----------
        ids : sequence of str
            Identifiers.
        add : bool
            Add to the selection instead of replacing it.
        """
        index = self.host.population.index
        self.host.select([index[name] for name in ids if name in index], add=add)

    def step(self, direction: int) -> None:
        """Show the next or previous galaxy.

        Parameters
        ----------
        direction : {1, -1}
            Which way.
        """
        chooser = self.view_controls["galaxy"]
        at = chooser.options.index(chooser.value)
        chooser.value = chooser.options[(at + direction) % len(chooser.options)]

    def blink(self) -> None:
        """Show the next band as the large image; after the last one the colour image."""
        chooser = self.view_controls["image"]
        chooser.value = chooser.options[(chooser.options.index(chooser.value) + 1) % len(chooser.options)]

    def show_colour(self) -> None:
        """Show the colour image."""
        self.view_controls["image"].value = COLOUR

    def reset_view(self) -> None:
        """Show the whole cut-out."""
        with self.held():
            self.view.show_box(self.box)

    def zoom(self, factor: float) -> None:
        """Zoom about the middle of the view.

        Parameters
        ----------
        factor : float
            Factor on the visible span; below 1 zooms in.
        """
        with self.held():
            self.view.zoom(factor)

    def toggle_contour(self) -> None:
        """Begin or end editing the contour."""
        control = self.view_controls["edit_contour"]
        control.value = not control.value

    def show_help(self) -> None:
        """Say what clicks and keys do."""
        self.message.show_list(HELP)

    # ---- edits, each one step of the session -----------------------------------------------
    def _sky(self, x: float, y: float) -> tuple[float, float]:
        """Return the place on the sky of a pixel of the reference band; outside the mosaic there is none."""
        band = self.bench.reference
        ny, nx = band.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            msg = f"pixel ({x:.1f}, {y:.1f}) is outside the mosaic of {nx} x {ny} pixels; click inside the image"
            raise InputError(msg)
        ra, dec = band.to_sky(x, y)
        return float(ra), float(dec)

    def add(self, x: float, y: float) -> str:
        """Add a clump, fit it, and select it.

        Parameters
        ----------
        x, y : float
            Pixel of the reference band.

        Returns
        -------
        str
            Its identifier.

        Raises
        ------
        InputError
            If the place is outside the mosaic, or the editor refuses it.
        """
        place, galaxy = self._sky(x, y), self.galaxy
        with self.editing():
            name = self.bench.add(*place, galaxy=None if galaxy is None else galaxy.id)
        self._say_what_failed([name])
        return name

    def _say_what_failed(self, names: Sequence[str]) -> None:
        """Say of which new clumps the fit found nothing, and why."""
        fits, ids = self.bench.fits, self.bench.ids
        for name in names:
            row = ids.index(name)
            if not np.isfinite(fitted(fits, "x")[row]):
                why = str(fits["status"][row]) if "status" in fits.colnames else ""
                self.message.show(f"{name} could not be measured: {why or 'no reason given'}; undo (U) takes it back")

    def move(self, name: str, x: float, y: float) -> None:
        """Fit a clump anew at another place.

        Parameters
        ----------
        name : str
            The clump.
        x, y : float
            Pixel of the reference band.

        Raises
        ------
        InputError
            If the place is outside the mosaic, or the editor refuses it.
        """
        place = self._sky(x, y)
        with self.held():
            self.editor.move(name, *place)

    def remove(self) -> None:
        """Take the selected clumps off the list.

        Raises
        ------
        InputError
            If none is selected.
        """
        ids = self.selected
        if not ids:
            msg = "nothing is selected: click a clump first"
            raise InputError(msg)
        with self.held():
            self.editor.remove(ids)

    def split(self) -> None:
        """Fit the selected clump as two.

        Raises
        ------
        InputError
            If not exactly one is selected, or the editor refuses it.
        """
        name = self.only_one("split")
        with self.editing():
            parts = self.editor.split(name)
        self._say_what_failed(parts)

    def merge(self) -> None:
        """Fit the selected clumps as one.

        Raises
        ------
        InputError
            If fewer than two are selected, or the editor refuses it.
        """
        ids = self.selected
        if len(ids) < 2:
            msg = f"{len(ids) or 'no'} clumps are selected; Shift-click the ones to merge, two or more"
            raise InputError(msg)
        with self.editing():
            self.editor.merge(ids)

    def set_contour(self, x: np.ndarray, y: np.ndarray) -> None:
        """Give the galaxy another contour.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
            Vertices in pixels of the reference band.

        Raises
        ------
        InputError
            If the whole field is shown, or the polygon is not a simple one.
        """
        galaxy = self.galaxy
        if galaxy is None:
            msg = "the whole field has no contour; choose a galaxy"
            raise InputError(msg)
        from dataclasses import replace

        ra, dec = self.bench.reference.to_sky(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        # The galaxy itself refuses sides that cross.
        edited = replace(galaxy, contour=np.column_stack([ra, dec]))
        with self.held():
            self.editor.edit_contour(galaxy.id, edited.contour)

    def insert_vertex(self, x: float, y: float) -> None:
        """Insert a vertex in the nearest side of the contour.

        Parameters
        ----------
        x, y : float
            Pixel of the reference band.
        """
        outline = np.column_stack([self.view.contour.data["x"], self.view.contour.data["y"]]).astype(float)
        start, step = outline, np.roll(outline, -1, axis=0) - outline
        point = np.array([x, y])
        along = np.clip(((point - start) * step).sum(axis=1) / np.maximum((step**2).sum(axis=1), 1e-12), 0, 1)
        nearest = int(np.argmin(np.hypot(*(start + along[:, None] * step - point).T)))
        outline = np.insert(outline, nearest + 1, point, axis=0)
        self.set_contour(outline[:, 0], outline[:, 1])

    def delete_vertex(self, at: int) -> None:
        """Delete a vertex.

        Parameters
        ----------
        at : int
            Its number, from 0.

        Raises
        ------
        InputError
            If only three are left.
        """
        x, y = (np.delete(np.asarray(self.view.contour.data[axis], dtype=float), at) for axis in "xy")
        if len(x) < 3:
            msg = "a contour needs three vertices; move one instead"
            raise InputError(msg)
        self.set_contour(x, y)

    def undo(self) -> None:
        """Take the last step back."""
        KeyBoard(self.host, self.message).undo()

    def redo(self) -> None:
        """Do the step taken back last again."""
        KeyBoard(self.host, self.message).redo()

    # ---- files -----------------------------------------------------------------------------
    def read_regions(self, path: Any) -> None:
        """Propose the positions of a DS9 region file.

        Parameters
        ----------
        path : path-like
            The file.

        Raises
        ------
        InputError
            If it cannot be read, or holds no position.
        """
        from sc_lab_widgets.panels.picker_regions import read_points

        ra, dec, labels = read_points(path, self.bench.field)
        self.proposals.take_positions(ra, dec, [label or "region" for label in labels])

    def write_regions(self, path: Any, *, overwrite: bool = False) -> None:
        """Write the clumps as a DS9 region file.

        Parameters
        ----------
        path : path-like
            The file.
        overwrite : bool
            Replace a file that exists.

        Raises
        ------
        InputError
            If the file exists, or there is no clump.
        """
        from sc_lab.export import catalog_table, write_regions

        write_regions(catalog_table(self.host.population), path, overwrite=overwrite)
        self.message.show(f"wrote {path}")

    @property
    def result(self) -> Any:
        """The measured clumps, as a catalogue."""
        return self.bench.catalog

    def code(self) -> str:
        """Return the plain-Python text that measures this list without any widget.

        Returns
        -------
        str
            Runnable text that needs the variable ``field``; its last line assigns ``result``.
        """
        from sc_lab_widgets.panels.picker_code import picker_code

        return picker_code(self.editor)

    # ---- as a widget -----------------------------------------------------------------------
    @property
    def widget(self) -> ui.Widget:
        """The picker as an ipywidget, where it stands alone."""
        if self._widget is None:
            pane = BokehPane(self.root, label="SC Lab clump picker: cut-outs")
            self.host.pane = pane
            pane.on_gesture_end(lambda gesture: self.release() if gesture.kind == "pointer" else None)
            pane.on_key(KeyBoard(self.host, self.message).press)
            replace_earlier(self)
            layout = ui.Layout(flex="1 1 0", min_width="0", overflow="auto")
            self._widget = ui.HBox([self.sidebar, ui.VBox([self.toolbar, pane], layout=layout)])
            self._widget.add_class("sclab-panel")
        return self._widget

    def close(self) -> None:
        """Free the widgets, the worker and the subscriptions."""
        self.background.close()
        super().close()
        for part in (self.toolbar, self.sidebar):
            close_tree(part)
