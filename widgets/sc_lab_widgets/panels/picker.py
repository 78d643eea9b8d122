"""The clump picker: click clumps in colour cut-outs, see data, model and residual follow."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import ipywidgets as ui
import numpy as np
from bokeh.events import DoubleTap, SelectionGeometry, Tap
from bokeh.models import BoxSelectTool, LayoutDOM

from sc_lab.errors import InputError, ScLabError
from sc_lab_widgets._cells import close_tree, replace_earlier
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._keys import KeyBoard
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._panel import Panel
from sc_lab_widgets.panels.picker_background import Background
from sc_lab_widgets.panels.picker_images import (
    Box,
    Channels,
    Place,
    box_around,
    cutout,
    grey,
    levels,
    place_of,
    residual_bytes,
    stretched,
)
from sc_lab_widgets.panels.picker_markers import Markers, fitted, numbers_html
from sc_lab_widgets.panels.picker_view import CutoutView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sc_lab_widgets._host import Host
    from sc_lab_widgets._pane import Key

__all__ = ["ClumpPicker"]

#: Screen distance within which a click finds a clump or a vertex [px].
_REACH = 11.0
#: A ring dragged less far than this has not moved [px].
_STILL = 1e-3
_COLOUR = "colour"
_WIDE = {"description_width": "6.5em"}
_AUTO = {"width": "auto"}
#: Name of the view that shows the whole mosaic, or as much of it as fits.
WHOLE = "whole field"

_KEYS = (
    ("click", "select a clump, a proposal or a vertex"),
    ("Shift-click", "add to the selection"),
    ("drag", "an empty place pans; a selected clump moves there; in contour mode a vertex moves"),
    ("double-click", "on empty sky adds a clump; in contour mode a vertex"),
    ("Delete", "remove the selected clumps, proposals or vertex"),
    ("M", "move the selected clump to the next click"),
    ("S", "split the selected clump in two"),
    ("G", "merge the selected clumps"),
    ("A", "accept the selected proposals, or all"),
    ("[ and ]", "previous and next galaxy"),
    ("B", "next band (Shift-B: colour)"),
    ("E", "edit the contour, or stop"),
    ("+ and −", "zoom"),
    ("R", "reset the view"),
    ("U, Shift-U", "undo, redo"),
    ("Escape", "give up what was begun; select nothing"),
    ("?", "this list"),
)


class ClumpPicker(Panel):
    """Colour cut-outs of galaxies with their clumps, to be picked by clicking.

    Parameters
    ----------
    source : ClumpEditor, Field or Session
        An editor of clumps, or a field, of which one is made.
    lens : LensModel, optional
        Lens model, where the source is a field.
    host : Host, optional
        The host of a workbench; None makes one.
    **start : Any
        Start values of controls, by name.

    Attributes
    ----------
    editor : ClumpEditor
        What measures: every click is one call of it, and one step of the session.
    sidebar, toolbar : Widget
        Controls, and the row of buttons, for a workbench to place.
    """

    title = "Clump picker"
    keys = _KEYS

    def __init__(self, source: Any, *, lens: Any = None, host: Host | None = None, **start: Any) -> None:
        from sc_lab_widgets.panels.picker_source import as_editor

        self.editor = as_editor(source, lens=lens)
        self._moving = False
        self._images_shown: tuple[Any, ...] = ()
        self._colour_shown: tuple[Any, ...] = ()
        self._models_shown: tuple[Any, ...] = ()
        self._markers_shown: tuple[Any, ...] = ()
        self._lens_shown: tuple[Any, ...] = ()
        self._following = False
        self._vertex: int | None = None
        self._last_tap = (np.nan, np.nan)
        self._picked_proposals: set[int] = set()
        self._proposals: list[dict[str, Any]] = []
        self.markers = Markers()
        super().__init__(self.editor.session if host is None else None, host=host, **start)

    # ---- controls ----------------------------------------------------------------------------
    def _make_view_controls(self) -> dict[str, Any]:
        bands = list(self.editor.field.names)
        red, green, blue = _three(bands)
        galaxies = [galaxy.id for galaxy in self.editor.galaxies]

        def choice(label: str, options: list[str], value: str, tip: str) -> ui.Dropdown:
            return ui.Dropdown(
                options=options, value=value, description=label, tooltip=tip, style=_WIDE, layout=dict(_AUTO)
            )

        def slider(label: str, value: float, low: float, high: float, tip: str) -> LiveSlider:
            return LiveSlider(value, low, high, 0.05, label=label, log=True, hint=tip)

        def check(label: str, tip: str, *, value: bool) -> ui.Checkbox:
            return ui.Checkbox(value=value, description=label, tooltip=tip, indent=False)

        return {
            "galaxy": choice("galaxy", [*galaxies, WHOLE], (galaxies or [WHOLE])[0], "which cut-out ([ and ])"),
            "image": choice("image", [_COLOUR, *bands], _COLOUR, "the large image: colour, or one band (B)"),
            "band": choice("residual of", bands, self.editor.field.reference, "band of data, model and residual"),
            "red": choice("red", bands, red, "band shown as red"),
            "green": choice("green", bands, green, "band shown as green"),
            "blue": choice("blue", bands, blue, "band shown as blue"),
            "softening": slider("stretch", 8.0, 0.5, 200.0, "turns from linear to logarithmic at this many σ"),
            "q": slider("Q", 8.0, 0.5, 100.0, "larger shows brighter structure"),
            **{
                f"{colour}_gain": slider(f"{colour} gain", 1.0, 0.1, 10.0, f"brightness of the {colour} channel")
                for colour in _CHANNELS
            },
            **{
                f"{colour}_black": LiveSlider(
                    0.0,
                    -5.0,
                    20.0,
                    0.25,
                    label=f"{colour} black",
                    unit="σ",
                    hint=f"black level of the {colour} channel",
                )
                for colour in _CHANNELS
            },
            "edit_contour": check(
                "edit contour", "drag vertices, double-click inserts, Delete removes (E)", value=False
            ),
            "show_markers": check("markers", "show the clumps", value=True),
            "critical": check("critical curves", "at the redshift of the galaxy", value=False),
            "counter": check("counter-images", "where the lens model expects the selected clump again", value=False),
        }

    def _build(self) -> LayoutDOM:
        self.view = CutoutView(f"px of {self.editor.field.reference}")
        self.figures.update(self.view.figures)
        for plot in self.figures.values():
            plot.on_event(Tap, self._tap)
            plot.on_event(DoubleTap, self._double_tap)
            # Without renderers the tool only reports its outline, as in the other plots.
            plot.add_tools(BoxSelectTool(renderers=[]))
            plot.on_event(SelectionGeometry, self._outline)
        self.view.picked.on_change("data", self._dragged)
        self.view.contour.on_change("data", self._vertex_dragged)
        self._background = Background(self._report)
        self._numbers = ui.HTML()
        self.toolbar = self._make_toolbar()
        self.sidebar = self._make_sidebar()
        return self.view.root

    def _make_toolbar(self) -> ui.Widget:
        actions: dict[str, tuple[str, str, Callable[[], Any]]] = {
            "previous": ("◀", "previous galaxy ([)", lambda: self.step(-1)),
            "next": ("▶", "next galaxy (])", lambda: self.step(1)),
            "blink": ("Blink", "next band (B)", self.blink),
            "reset": ("Reset view", "show the whole cut-out (R)", self.reset_view),
            "move": ("Move", "then click the new place (M); or drag the ring", self.begin_move),
            "remove": ("Remove", "take the selected clumps off the list (Delete)", self.remove),
            "split": ("Split", "fit the selected clump as two (S)", self.split),
            "merge": ("Merge", "fit the selected clumps as one (G)", self.merge),
            "detect": ("Detect", "propose clumps inside the contour", self.detect),
            "splits": ("Propose splits", "look for second components in the residual", self.propose_splits),
            "accept": ("Accept", "take the selected proposals, or all (A)", self.accept),
            "reject": ("Reject", "drop the selected proposals, or all", self.reject),
            "undo": ("Undo", "take the last step back (U)", self._undo_step),
            "redo": ("Redo", "do it again (Shift-U)", self._redo_step),
            "help": ("Keys", "what clicks and keys do (?)", self.show_help),
        }
        self.buttons = {name: self._button(*action) for name, action in actions.items()}
        return ui.Box(list(self.buttons.values()), layout=ui.Layout(flex_flow="row wrap"))

    def _make_sidebar(self) -> ui.Widget:
        controls = self.controls_of_view
        first = ("galaxy", "image", "band", "show_markers", "edit_contour", "critical", "counter")
        stretch = [name for name in controls if name not in first]
        self._regions = ui.Text(
            value="clumps.reg", description="regions", style=_WIDE, layout=dict(_AUTO), continuous_update=False,
            tooltip="a DS9 region file",
        )  # fmt: skip
        files = ui.VBox(
            [
                self._regions,
                self._button("Read regions", "propose the positions of a DS9 file", self._read_regions),
                self._button("Write regions", "write the clumps as a DS9 file", self._write_regions),
            ]
        )
        folded = ui.Accordion(
            children=[ui.VBox([controls[name] for name in stretch]), files],
            titles=("Stretch and channels", "Region files"),
            selected_index=None,
        )
        return ui.VBox(
            [*(controls[name] for name in first), self._numbers, folded],
            layout=ui.Layout(width="320px", flex="0 0 320px", overflow="visible", padding="0 10px 0 0"),
        )

    @property
    def controls_of_view(self) -> dict[str, Any]:
        """Every control, by name."""
        return self.view_controls

    def _button(self, label: str, tip: str, action: Callable[[], Any]) -> ui.Button:
        button = ui.Button(description=label, tooltip=tip, layout={"width": "auto"})

        def pressed(_button: Any) -> None:
            self._guard(action)

        button.on_click(pressed)
        return button

    def _guard(self, action: Callable[[], Any]) -> Any:
        """Do something a user asked for; what is refused is said in place."""
        try:
            self.message.show("")
            return action()
        except ScLabError as error:
            self.message.report(error)
        except OSError as error:
            self.message.show(f"the file could not be used: {error.strerror or error}", error=True)
        return None

    # ---- what is looked at ---------------------------------------------------------------------
    @property
    def galaxy(self) -> Any:
        """The galaxy of the cut-out, or None where the whole field is shown."""
        name = self.view_controls["galaxy"].value
        return next((galaxy for galaxy in self.editor.galaxies if galaxy.id == name), None)

    @property
    def box(self) -> Box:
        """The cut-out, in pixels of the reference band."""
        field = self.editor.field
        band = field[field.reference]
        galaxy = self.galaxy
        if galaxy is None:
            ny, nx = band.shape
            return box_around([0, nx - 1], [0, ny - 1], band.shape, pad=0.0)
        # The box stays while the contour is edited: a view that moves under the pointer cannot be worked in.
        kept = self._boxes.get(galaxy.id)
        if kept is None:
            x, y = band.to_pixel(galaxy.contour[:, 0], galaxy.contour[:, 1])
            kept = self._boxes[galaxy.id] = box_around(x, y, band.shape)
        return kept

    @property
    def _boxes(self) -> dict[str, Box]:
        if not hasattr(self, "_box_store"):
            self._box_store: dict[str, Box] = {}
        return self._box_store

    @property
    def place(self) -> Place:
        """Where the cut-out of the residual band lies."""
        return place_of(self.editor.field, self.view_controls["band"].value, self.box)

    @property
    def selected(self) -> list[str]:
        """Identifiers of the selected clumps that the picker shows or could show."""
        known = set(self.editor.ids)
        return [name for name in self.host.selected_ids if name in known]

    # ---- bringing up to date -------------------------------------------------------------------
    def _update(self) -> None:
        self._follow_galaxies()
        self._update_colour()
        self._update_bands()
        self._update_markers()
        self._update_contour()

    def _refine(self) -> None:
        self._update_numbers()
        self._update_lens()
        session = self.session
        for name, possible in (("undo", session.can_undo), ("redo", session.can_redo)):
            if self.buttons[name].disabled == possible:
                self.buttons[name].disabled = not possible

    def _follow_galaxies(self) -> None:
        chooser = self.view_controls["galaxy"]
        names = (*(galaxy.id for galaxy in self.editor.galaxies), WHOLE)
        if chooser.options != names:
            value = chooser.value
            chooser.unobserve(self._view_changed, "value")
            chooser.options = names
            chooser.value = value if value in names else names[0]
            chooser.observe(self._view_changed, "value")

    def _update_colour(self) -> None:
        c = {name: control.value for name, control in self.view_controls.items()}
        box = self.box
        shown = (box, c["image"], *(c[name] for name in _STRETCH))
        if shown == self._colour_shown:
            return
        new_box = not self._colour_shown or self._colour_shown[0] != box
        field = self.editor.field
        if c["image"] == _COLOUR:
            rgba = self._composite(c, box)
            place: Any = box
        else:
            place = place_of(field, c["image"], box)
            rgba = grey(cutout(field, c["image"], place.box), softening=c["softening"], black=c["green_black"])
        if new_box:
            self.view.show_box(box)
        self.view.fill_colour(rgba, place)
        self._colour_shown = shown

    def _composite(self, c: dict[str, Any], box: Box) -> np.ndarray:
        bands = (c["red"], c["green"], c["blue"])
        key = (bands, box)
        if self._channels is None or self._channels[0] != key:
            self._channels = (key, Channels.of(self.editor.field, bands, box))
        return self._channels[1].picture(
            gains=(c["red_gain"], c["green_gain"], c["blue_gain"]),
            blacks=(c["red_black"], c["green_black"], c["blue_black"]),
            stretch=c["softening"],
            q=c["q"],
        )

    _channels: tuple[Any, Channels] | None = None

    def _update_bands(self) -> None:
        band, box = self.view_controls["band"].value, self.box
        soft = self.view_controls["softening"].value
        shown = (band, box, soft)
        fits = self.editor.fits
        place = self.place
        if shown != self._images_shown:
            data = cutout(self.editor.field, band, place.box)
            self._data = data
            self._levels_shown = levels(data)
            self._models_shown = ()
        black, top, noise = self._levels_shown
        if not self._models_shown or self._models_shown[0] is not fits:
            model = self.editor.model(band, place.box.x0, place.box.y0, place.box.nx, place.box.ny)
            new = {
                "model": stretched(model + black, black, top, soft * noise),
                "residual": residual_bytes(self._data - model - black, max(8 * noise, 0.25 * (top - black))),
            }
            if shown != self._images_shown:
                new["data"] = stretched(self._data, black, top, soft * noise)
            self.view.fill_images(place, **new)
            self._models_shown = (fits,)
        self._images_shown = shown

    def _update_markers(self) -> None:
        fits, population = self.editor.fits, self.host.population
        visible = self.view_controls["show_markers"].value
        key = (fits, population.gc_contaminant, population.excluded, visible, self.box)
        if len(self._markers_shown) != len(key) or any(
            a is not b and not (isinstance(a, (bool, Box, dict)) and a == b)
            for a, b in zip(key, self._markers_shown, strict=True)
        ):
            self.markers = self._make_markers()
            self.view.fill_markers(self.markers if visible else Markers())
            self._markers_shown = key
        chosen = set(self.host.selected_ids)
        at = [i for i, name in enumerate(self.markers.ids) if name in chosen]
        ids = [self.markers.ids[i] for i in at]
        x, y = self.markers.x[at], self.markers.y[at]
        old = self.view.picked.data
        same = list(old["id"]) == ids and np.array_equal(old["x"], x) and np.array_equal(old["y"], y)
        if not same or self._ring_moved:
            self._ring_moved = False
            self._followed(lambda: self.view.fill_picked(x, y, ids))

    _ring_moved = False

    def _make_markers(self) -> Markers:
        fits = self.editor.fits
        x, y = fitted(fits, "x"), fitted(fits, "y")
        rows = np.flatnonzero(self.box.contains(x, y))
        names = [str(fits["id"][row]) for row in rows]
        snr = fitted(fits, "snr")[rows]
        notes = [f"S/N {value:.0f}" if np.isfinite(value) else "" for value in snr]
        return Markers(tuple(names), x[rows], y[rows], tuple(self._state(fits, row) for row in rows), tuple(notes))

    def _state(self, fits: Any, row: int) -> str:
        population = self.host.population
        name = str(fits["id"][row])
        at = population.index.get(name)
        if name in population.excluded:
            return "excluded"
        if at is not None and population.gc_contaminant[at]:
            return "globular cluster"
        origin = self.editor.origin(name)
        if origin in ("added", "moved"):
            return origin
        if "size_class" in fits.colnames and str(fits["size_class"][row]) == "unresolved":
            return "size limit"
        return "detected"

    def _update_contour(self) -> None:
        galaxy = self.galaxy
        on = bool(self.view_controls["edit_contour"].value) and galaxy is not None
        self.view.editing(on=on)
        band = self.editor.field[self.editor.field.reference]
        x, y = ((), ()) if galaxy is None else band.to_pixel(galaxy.contour[:, 0], galaxy.contour[:, 1])
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        old = self.view.contour.data
        if not (np.array_equal(old["x"], x) and np.array_equal(old["y"], y)):
            self._followed(lambda: setattr(self.view.contour, "data", {"x": x, "y": y}))
        if self._vertex is not None and (not on or self._vertex >= len(x)):
            self._vertex = None
        at = [] if self._vertex is None else [self._vertex]
        if list(self.view.vertex.data["x"]) != list(x[at]) or list(self.view.vertex.data["y"]) != list(y[at]):
            self.view.vertex.data = {"x": x[at], "y": y[at]}

    def _followed(self, change: Callable[[], Any]) -> None:
        """Change a source without taking the change for one of the user's."""
        self._following = True
        try:
            change()
        finally:
            self._following = False

    def _update_numbers(self) -> None:
        chosen = self.selected
        text = ""
        if len(chosen) == 1:
            fits = self.editor.fits
            row = self.editor.ids.index(chosen[0])
            line = {}
            for name in fits.colnames:
                value = fits[name][row]
                line[name] = getattr(value, "value", value)
            text = numbers_html(line, self.editor.field.names, self._state(fits, row), self.editor.describe(chosen[0]))
        elif chosen:
            text = f"<small>{len(chosen)} clumps selected</small>"
        if self._numbers.value != text:
            self._numbers.value = text

    # ---- the lens ------------------------------------------------------------------------------
    def _update_lens(self) -> None:
        curves, counter = self.view_controls["critical"].value, self.view_controls["counter"].value
        lens, galaxy, box = self.editor.lens, self.galaxy, self.box
        if (curves or counter) and lens is None:
            self.message.show("there is no lens model: give the picker one, as in ClumpPicker(field, lens=model)")
            return
        z = self._redshift()
        if (curves or counter) and not np.isfinite(z):
            self.message.show("the redshift of this galaxy is not known; give it one to see critical curves")
            return
        key = ("critical", id(lens), None if galaxy is None else galaxy.id, box, z) if curves else ()
        if key != self._lens_shown:
            self._lens_shown = key
            if not curves:
                self._background.forget("critical")
                self.view.critical.data = {"xs": [], "ys": []}
            else:
                self._background.ask("critical", lambda: self._critical(lens, z, box), self._show_critical)
        chosen = self.selected
        name = chosen[0] if counter and len(chosen) == 1 else ""
        row = self.editor.ids.index(name) if name else -1
        at = (float(fitted(self.editor.fits, "ra")[row]), float(fitted(self.editor.fits, "dec")[row])) if name else ()
        if at != self._counter_shown:
            self._counter_shown = at
            if not at:
                self._background.forget("counter")
                self._show_counter(None)
            else:
                self._background.ask("counter", lambda: lens.counter_images(*at, z), self._show_counter)

    _counter_shown: tuple[float, ...] = ()

    def _redshift(self) -> float:
        return float("nan") if self.galaxy is None else float(self.galaxy.z)

    def _critical(self, lens: Any, z: float, box: Box) -> tuple[list[np.ndarray], list[np.ndarray]]:
        band = self.editor.field[self.editor.field.reference]
        x = np.array([box.x0, box.x0 + box.nx - 1, box.x0 + box.nx - 1, box.x0], dtype=float)
        y = np.array([box.y0, box.y0, box.y0 + box.ny - 1, box.y0 + box.ny - 1], dtype=float)
        ra, dec = (np.asarray(a, dtype=float) for a in band.to_sky(x, y))
        bounds = (ra.min(), ra.max(), dec.min(), dec.max())
        lines = lens.critical_curves(z, bounds=bounds, step=max(box.nx, box.ny) * band.pixel_scale / 200)
        placed = [band.to_pixel(line[:, 0], line[:, 1]) for line in lines]
        return [np.asarray(x) for x, _ in placed], [np.asarray(y) for _, y in placed]

    def _show_critical(self, lines: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
        with self._held():
            self.view.critical.data = {"xs": list(lines[0]), "ys": list(lines[1])}

    def _show_counter(self, table: Any) -> None:
        band = self.editor.field[self.editor.field.reference]
        if table is None or not len(table):
            x = y = np.zeros(0)
            notes: list[str] = []
        else:
            x, y = (np.asarray(a, float) for a in band.to_pixel(fitted(table, "ra"), fitted(table, "dec")))
            notes = [f"predicted image, μ = {mu:.1f}" for mu in fitted(table, "mu")]
            outside = int((~self.box.contains(x, y)).sum())
            self.message.show(
                f"{len(table)} images predicted" + (f", {outside} of them outside this cut-out" if outside else "")
            )
        with self._held():
            self.view.counter.data = {"x": x, "y": y, "note": notes}

    def _held(self) -> Any:
        return nullcontext() if self.host.pane is None else self.host.pane.hold()

    # ---- gestures ------------------------------------------------------------------------------
    def _nearest(self, x: np.ndarray, y: np.ndarray, event: Any) -> int | None:
        if not len(x):
            return None
        distance = np.hypot(x - event.x, y - event.y) / self.view.pixels_per_screen_pixel(event.model.name)
        distance[~np.isfinite(distance)] = np.inf
        at = int(np.argmin(distance))
        return at if distance[at] <= _REACH else None

    def _tap(self, event: Tap) -> None:
        self._guard(lambda: self._tapped(event))

    def _tapped(self, event: Tap) -> None:
        shift = bool((event.modifiers or {}).get("shift", False))
        self._last_tap = (event.x, event.y)
        if self._moving:
            self._moving = False
            self.move(self.selected[0], event.x, event.y)
            return
        if self.view_controls["edit_contour"].value and self.galaxy is not None:
            contour = self.view.contour.data
            self._vertex = self._nearest(np.asarray(contour["x"]), np.asarray(contour["y"]), event)
            with self._held():
                self._update_contour()
            return
        proposal = self._nearest(*self._proposed(), event)
        clump = self._nearest(self.markers.x, self.markers.y, event)
        if proposal is not None and clump is None:
            chosen = {proposal}
            self._picked_proposals = self._picked_proposals ^ chosen if shift else chosen
            self._show_proposals()
            return
        if clump is not None:
            self.select([self.markers.ids[clump]], add=shift)
        elif not shift and (len(self.host.selection) or self._picked_proposals):
            self._picked_proposals = set()
            self._show_proposals()
            self.host.select([])

    def _double_tap(self, event: DoubleTap) -> None:
        self._guard(lambda: self._double_tapped(event))

    def _double_tapped(self, event: DoubleTap) -> None:
        x, y = self._last_tap
        if self._nearest(np.array([x]), np.array([y]), event) is None:
            # Two quick clicks on different places are two clicks.
            self._tapped(event)
        elif self.view_controls["edit_contour"].value and self.galaxy is not None:
            self.insert_vertex(event.x, event.y)
        elif self._nearest(self.markers.x, self.markers.y, event) is None:
            self.add(event.x, event.y)

    def _outline(self, event: SelectionGeometry) -> None:
        geometry = event.geometry
        if not event.final or geometry["type"] != "rect":
            return
        low_x, high_x = sorted((geometry["x0"], geometry["x1"]))
        low_y, high_y = sorted((geometry["y0"], geometry["y1"]))
        m = self.markers
        inside = (m.x >= low_x) & (m.x <= high_x) & (m.y >= low_y) & (m.y <= high_y)
        self._guard(lambda: self.select([name for name, chosen in zip(m.ids, inside, strict=True) if chosen]))

    def _dragged(self, _attr: str, _old: Any, _new: Any) -> None:
        """Take the end of a drag of a ring."""
        if not self._following:
            self._later(self._take_ring)

    def _vertex_dragged(self, _attr: str, _old: Any, _new: Any) -> None:
        """Take the end of a drag of a vertex."""
        if not self._following:
            self._later(self._take_vertices)

    def _later(self, action: Callable[[], None]) -> None:
        """Act once the browser's message is through: bokeh is still telling of the change."""
        if self.host.pane is None:
            action()
        else:
            self.host.pane.once_applied(action)

    def _take_ring(self) -> None:
        rings = self.view.picked.data
        here = {name: (x, y) for name, x, y in zip(self.markers.ids, self.markers.x, self.markers.y, strict=True)}
        self._ring_moved = True
        for name, x, y in zip(list(rings["id"]), list(rings["x"]), list(rings["y"]), strict=True):
            if name in here and np.hypot(x - here[name][0], y - here[name][1]) > _STILL:
                self._guard(lambda name=name, x=float(x), y=float(y): self.move(name, x, y))
        if self._ring_moved:
            # Refused: the ring returns to its clump.
            with self._held():
                self._show_or_report(self._update_markers)

    def _take_vertices(self) -> None:
        contour = self.view.contour.data
        x, y = (np.array(contour[axis], dtype=float) for axis in "xy")
        self._guard(lambda: self.set_contour(x, y))
        with self._held():
            # A refused contour returns to where it was.
            self._show_or_report(self._update_contour)

    def _show_or_report(self, update: Callable[[], None]) -> None:
        try:
            update()
        except ScLabError as error:
            self.message.report(error)

    def press(self, key: Key) -> bool:
        """Do what a key means to the picker.

        Parameters
        ----------
        key : Key
            The key.

        Returns
        -------
        bool
            Whether the key was taken; the others keep their meaning.
        """
        name = key.name.lower()
        actions: dict[str, Callable[[], Any]] = {
            "[": lambda: self.step(-1),
            "]": lambda: self.step(1),
            "b": self.blink if not key.shift else self.show_colour,
            "r": self.reset_view,
            "m": self.begin_move,
            "s": self.split,
            "g": self.merge,
            "a": self.accept,
            "e": self.toggle_contour,
            "delete": self.remove,
            "backspace": self.remove,
            "+": lambda: self.zoom(1 / 1.5),
            "=": lambda: self.zoom(1 / 1.5),
            "-": lambda: self.zoom(1.5),
            "?": self.show_help,
        }
        if name == "escape":
            return self._escape()
        if name not in actions:
            return False
        self._guard(actions[name])
        return True

    def _escape(self) -> bool:
        began = self._moving or self._vertex is not None or bool(self._picked_proposals)
        self._moving, self._vertex, self._picked_proposals = False, None, set()
        if began:
            self.message.show("")
            self._show_proposals()
            self._guarded_refresh()
        return began

    # ---- actions, each with its call ---------------------------------------------------------------
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
        options = list(chooser.options)
        chooser.value = options[(options.index(chooser.value) + 1) % len(options)]

    def show_colour(self) -> None:
        """Show the colour image."""
        self.view_controls["image"].value = _COLOUR

    def reset_view(self) -> None:
        """Show the whole cut-out."""
        with self._held():
            self.view.show_box(self.box)

    def zoom(self, factor: float) -> None:
        """Zoom about the middle of the view.

        Parameters
        ----------
        factor : float
            Factor on the visible span; below 1 zooms in.
        """
        with self._held():
            self.view.zoom(factor)

    def toggle_contour(self) -> None:
        """Begin or end editing the contour."""
        control = self.view_controls["edit_contour"]
        control.value = not control.value

    def _sky(self, x: float, y: float) -> tuple[float, float]:
        """Return the place on the sky of a pixel of the reference band; outside the mosaic there is none."""
        band = self.editor.field[self.editor.field.reference]
        ny, nx = band.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            msg = f"pixel ({x:.1f}, {y:.1f}) is outside the mosaic of {nx} x {ny} pixels; click inside the image"
            raise InputError(msg)
        ra, dec = band.to_sky(x, y)
        return float(ra), float(dec)

    def add(self, x: float, y: float) -> str:
        """Add a clump where it was clicked, fit it, and select it.

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
        ra, dec = self._sky(x, y)
        galaxy = self.galaxy
        with self._held():
            (name,) = self.editor.add([ra], [dec], galaxy=None if galaxy is None else galaxy.id)
            self.select([name])
        return str(name)

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
        ra, dec = self._sky(x, y)
        with self._held():
            self.editor.move(name, ra, dec)

    def begin_move(self) -> None:
        """Let the next click be the new place of the selected clump."""
        self._one("move")
        self._moving = True
        self.message.show(f"click the new place of {self.selected[0]} (Escape gives up)")

    def remove(self) -> None:
        """Remove what is selected: a vertex, proposals, or clumps."""
        if self._vertex is not None:
            self.delete_vertex()
        elif self._picked_proposals:
            self.reject()
        else:
            ids = self.selected
            if not ids:
                msg = "nothing is selected: click a clump first"
                raise InputError(msg)
            with self._held():
                self.editor.remove(ids)

    def split(self) -> None:
        """Fit the selected clump as two."""
        name = self._one("split")
        with self._held():
            ids = self.editor.split(name)
            self.select(list(ids))

    def merge(self) -> None:
        """Fit the selected clumps as one."""
        ids = self.selected
        if len(ids) < 2:
            msg = f"{len(ids)} clumps are selected; Shift-click the ones to merge, two or more"
            raise InputError(msg)
        with self._held():
            name = self.editor.merge(ids)
            self.select([name])

    def _one(self, what: str) -> str:
        ids = self.selected
        if len(ids) != 1:
            msg = f"{len(ids)} clumps are selected; select the one to {what}"
            raise InputError(msg)
        return ids[0]

    # ---- the contour -------------------------------------------------------------------------------
    def set_contour(self, x: np.ndarray, y: np.ndarray) -> None:
        """Give the galaxy another contour.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
            Vertices in pixels of the reference band.

        Raises
        ------
        InputError
            If the polygon is not a simple one.
        """
        band = self.editor.field[self.editor.field.reference]
        ra, dec = band.to_sky(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        self._edit_contour(np.column_stack([ra, dec]))

    def _edit_contour(self, contour: np.ndarray) -> None:
        galaxy = self.galaxy
        if galaxy is None:
            msg = "the whole field has no contour; choose a galaxy"
            raise InputError(msg)
        with self._held():
            self.editor.set_contour(galaxy.id, contour)

    def insert_vertex(self, x: float, y: float) -> None:
        """Insert a vertex in the nearest side of the contour.

        Parameters
        ----------
        x, y : float
            Pixel of the reference band.
        """
        from sc_lab.images.galaxy import insert_vertex

        self._edit_contour(insert_vertex(self.galaxy, *self._sky(x, y)).contour)

    def delete_vertex(self) -> None:
        """Delete the selected vertex."""
        from sc_lab.images.galaxy import delete_vertex

        if self._vertex is None:
            msg = "no vertex is selected: click one first"
            raise InputError(msg)
        at, self._vertex = self._vertex, None
        self._edit_contour(delete_vertex(self.galaxy, at).contour)

    # ---- proposals -----------------------------------------------------------------------------------
    def detect(self) -> None:
        """Propose clumps inside the contour, without blocking what else is clicked."""
        galaxy = self.galaxy
        self.message.show("looking for clumps …")
        self._background.ask("detect", lambda: self.editor.detect(galaxy), self._take_detections)

    def _take_detections(self, table: Any) -> None:
        band = self.editor.field[self.editor.field.reference]
        ra, dec = fitted(table, "ra"), fitted(table, "dec")
        x, y = (np.asarray(a, dtype=float) for a in band.to_pixel(ra, dec))
        snr = fitted(table, "snr")
        known_x, known_y = fitted(self.editor.fits, "x"), fitted(self.editor.fits, "y")
        found = []
        for i in range(len(table)):
            # What is on the list already is no news.
            if len(known_x) and np.nanmin(np.hypot(known_x - x[i], known_y - y[i])) < 2.0:
                continue
            found.append({"x": x[i], "y": y[i], "ra": ra[i], "dec": dec[i], "note": f"detected, S/N {snr[i]:.1f}"})
        self._propose(found, f"{len(found)} new of {len(table)} detections: accept (A) or reject them")

    def propose_splits(self) -> None:
        """Look for second components in the residual."""
        self.message.show("looking for second components …")
        self._background.ask("detect", self.editor.propose_splits, self._take_splits)

    def _take_splits(self, table: Any) -> None:
        band = self.editor.field[self.editor.field.reference]
        ra, dec = fitted(table, "ra"), fitted(table, "dec")
        x, y = (np.asarray(a, dtype=float) for a in band.to_pixel(ra, dec))
        gain = fitted(table, "dbic")
        found = [
            {"x": x[i], "y": y[i], "ra": ra[i], "dec": dec[i], "note": f"second component, ΔBIC {gain[i]:.0f}"}
            for i in range(len(table))
        ]
        self._propose(found, f"{len(found)} second components proposed: accept (A) or reject them")

    def _propose(self, found: list[dict[str, Any]], words: str) -> None:
        self._proposals, self._picked_proposals = found, set()
        self.message.show(words)
        self._show_proposals()

    def _proposed(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([p["x"] for p in self._proposals]), np.array([p["y"] for p in self._proposals])

    def _show_proposals(self) -> None:
        from sc_lab_widgets._style import ORANGE

        x, y = self._proposed()
        colours = [ORANGE if i in self._picked_proposals else "#ffffff" for i in range(len(x))]
        with self._held():
            self.view.proposals.data = {"x": x, "y": y, "color": colours, "note": [p["note"] for p in self._proposals]}

    def _take_proposals(self) -> list[dict[str, Any]]:
        """Take the selected proposals, or all of this cut-out, off the list and return them."""
        if not self._proposals:
            msg = "there are no proposals: press Detect or Propose splits first"
            raise InputError(msg)
        x, y = self._proposed()
        wanted = self._picked_proposals or set(np.flatnonzero(self.box.contains(x, y)).tolist())
        taken = [p for i, p in enumerate(self._proposals) if i in wanted]
        self._proposals = [p for i, p in enumerate(self._proposals) if i not in wanted]
        self._picked_proposals = set()
        return taken

    def accept(self) -> None:
        """Take the selected proposals as clumps, or all of this cut-out."""
        kept, chosen = list(self._proposals), set(self._picked_proposals)
        taken = self._take_proposals()
        galaxy = self.galaxy
        try:
            with self._held():
                ids = self.editor.add(
                    [p["ra"] for p in taken], [p["dec"] for p in taken], galaxy=None if galaxy is None else galaxy.id
                )
                self._show_proposals()
        except ScLabError:
            self._proposals, self._picked_proposals = kept, chosen
            raise
        self.message.show(f"{len(ids)} clumps added")

    def reject(self) -> None:
        """Drop the selected proposals, or all of this cut-out."""
        dropped = self._take_proposals()
        self._show_proposals()
        self.message.show(f"{len(dropped)} proposals dropped")

    # ---- files and the rest ------------------------------------------------------------------------
    def _read_regions(self) -> None:
        from sc_lab_widgets.panels.picker_regions import read_points

        points = read_points(self._regions.value, self.editor.field)
        band = self.editor.field[self.editor.field.reference]
        found = []
        for ra, dec, label in points:
            x, y = (float(a) for a in band.to_pixel(ra, dec))
            found.append({"x": x, "y": y, "ra": ra, "dec": dec, "note": label or "region"})
        self._propose(found, f"{len(found)} positions read: accept (A) or reject them")

    def _write_regions(self) -> None:
        from sc_lab.export import write_regions

        write_regions(self.editor.catalog, self._regions.value)
        self.message.show(f"wrote {self._regions.value}")

    def _undo_step(self) -> None:
        KeyBoard(self.host, self.message).undo()

    def _redo_step(self) -> None:
        KeyBoard(self.host, self.message).redo()

    def show_help(self) -> None:
        """Say what clicks and keys do."""
        self.message.show("; ".join(f"{keys}: {text}" for keys, text in self.keys))

    @property
    def result(self) -> Any:
        """The measured clumps: a catalogue."""
        return self.editor.catalog

    def _call(self) -> str:
        return "population.catalog"

    @property
    def widget(self) -> ui.Widget:
        """The picker as an ipywidget, where it stands alone."""
        if self._widget is None:
            pane = BokehPane(self.root, label="SC Lab clump picker: cut-outs")
            self.host.pane = pane
            pane.on_gesture_end(lambda gesture: self.release() if gesture.kind == "pointer" else None)
            pane.on_key(KeyBoard(self.host, self.message).press)
            replace_earlier(self)
            body = ui.VBox(
                [self.toolbar, self.message, pane], layout=ui.Layout(flex="1 1 0", min_width="0", overflow="auto")
            )
            self._widget = ui.HBox([self.sidebar, body])
            self._widget.add_class("sclab-panel")
        return self._widget

    def close(self) -> None:
        """Free the widgets, the worker and the subscriptions."""
        self._background.close()
        super().close()
        for part in (self.toolbar, self.sidebar):
            close_tree(part)


_CHANNELS = ("red", "green", "blue")
#: Controls on which the large image depends.
_STRETCH = (
    *_CHANNELS,
    "softening",
    "q",
    *(f"{colour}_{what}" for colour in _CHANNELS for what in ("gain", "black")),
)


def _three(bands: Sequence[str]) -> tuple[str, str, str]:
    """Return the bands shown as red, green and blue: the reddest, the middle and the bluest."""
    return bands[-1], bands[len(bands) // 2], bands[0]
