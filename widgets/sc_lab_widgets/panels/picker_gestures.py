"""Clicks, drags and keys over the cut-outs, turned into actions of the picker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bokeh.events import DoubleTap, SelectionGeometry, Tap
from bokeh.models import BoxSelectTool

if TYPE_CHECKING:
    from collections.abc import Callable

    from sc_lab_widgets._pane import Key
    from sc_lab_widgets.panels.picker import ClumpPicker

__all__ = ["HELP", "Gestures"]

#: What clicks and keys do, as the help line says it.
HELP: Final = (
    ("click", "select a clump, a proposal or a vertex"),
    ("Shift-click", "add to the selection"),
    ("drag", "an empty place pans; the ring of a selected clump moves it; in contour mode a vertex moves"),
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
    ("U and Shift-U", "undo and redo"),
    ("Escape", "give up what was begun; select nothing"),
    ("?", "this list"),
)
#: Screen distance within which a click finds a clump or a vertex [px].
_REACH = 11.0
#: A ring dragged less far than this has not moved [px of the image].
_STILL = 1e-3


class Gestures:
    """What the pointer and the keyboard do to a picker.

    Parameters
    ----------
    picker : ClumpPicker
        The picker; its figures must not be in a document yet.
    """

    def __init__(self, picker: ClumpPicker) -> None:
        self.picker = picker
        self.moving = ""
        self.vertex: int | None = None
        self._last_tap = (np.nan, np.nan)
        for plot in picker.view.sky:
            plot.on_event(Tap, self._tap)
            plot.on_event(DoubleTap, self._double_tap)
            # Without renderers the tool only reports its outline, as in the other plots.
            plot.add_tools(BoxSelectTool(renderers=[]))
            plot.on_event(SelectionGeometry, self._outline)
        picker.view.picked.on_change("data", self._ring_changed)
        picker.view.contour.on_change("data", self._contour_changed)

    @property
    def on_contour(self) -> bool:
        """Whether clicks mean the contour."""
        return bool(self.picker.view_controls["edit_contour"].value) and self.picker.galaxy is not None

    # ---- clicks ----------------------------------------------------------------------------
    def _nearest(self, x: Any, y: Any, event: Any) -> int | None:
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if not x.size:
            return None
        distance = np.hypot(x - event.x, y - event.y) / self.picker.view.pixels_per_screen_pixel(event.model.name)
        distance[~np.isfinite(distance)] = np.inf
        at = int(np.argmin(distance))
        return at if distance[at] <= _REACH else None

    def _tap(self, event: Tap) -> None:
        self.picker.guarded(lambda: self._tapped(event))

    def _tapped(self, event: Tap) -> None:
        picker, markers, proposals = self.picker, self.picker.markers, self.picker.proposals
        shift = bool((event.modifiers or {}).get("shift", False))
        self._last_tap = (event.x, event.y)
        if self.moving:
            name, self.moving = self.moving, ""
            picker.move(name, event.x, event.y)
            return
        if self.on_contour:
            contour = picker.view.contour.data
            self.vertex = self._nearest(contour["x"], contour["y"], event)
            with picker.held():
                picker.update_contour()
            return
        clump = self._nearest(markers.x, markers.y, event)
        proposal = self._nearest(proposals.x, proposals.y, event)
        if clump is not None:
            picker.select([markers.ids[clump]], add=shift)
        elif proposal is not None:
            proposals.pick(proposal, add=shift)
        elif not shift:
            if proposals.picked:
                proposals.pick(None)
            if len(picker.host.selection):
                picker.host.select([])

    def _double_tap(self, event: DoubleTap) -> None:
        self.picker.guarded(lambda: self._double_tapped(event))

    def _double_tapped(self, event: DoubleTap) -> None:
        x, y = self._last_tap
        if self._nearest([x], [y], event) is None:
            # Two quick clicks on different places are two clicks.
            self._tapped(event)
        elif self.on_contour:
            self.picker.insert_vertex(event.x, event.y)
        elif self._nearest(self.picker.markers.x, self.picker.markers.y, event) is None:
            self.picker.add(event.x, event.y)

    def _outline(self, event: SelectionGeometry) -> None:
        geometry, m = event.geometry, self.picker.markers
        if not event.final or geometry["type"] != "rect":
            return
        low_x, high_x = sorted((geometry["x0"], geometry["x1"]))
        low_y, high_y = sorted((geometry["y0"], geometry["y1"]))
        inside = (m.x >= low_x) & (m.x <= high_x) & (m.y >= low_y) & (m.y <= high_y)
        ids = [name for name, chosen in zip(m.ids, inside, strict=True) if chosen]
        self.picker.guarded(lambda: self.picker.select(ids))

    # ---- drags -----------------------------------------------------------------------------
    def _ring_changed(self, _attr: str, _old: Any, _new: Any) -> None:
        if not self.picker.following:
            self._later(self.take_ring)

    def _contour_changed(self, _attr: str, _old: Any, _new: Any) -> None:
        if not self.picker.following:
            self._later(self.take_vertices)

    def _later(self, action: Callable[[], None]) -> None:
        """Act once the browser's message is through: bokeh is still telling of the change."""
        pane = self.picker.host.pane
        if pane is None:
            action()
        else:
            pane.once_applied(action)

    def take_ring(self) -> None:
        """Take the end of a drag of a ring: the clump moves there."""
        picker = self.picker
        rings, markers = picker.view.picked.data, picker.markers
        here = {name: at for name, *at in zip(markers.ids, markers.x, markers.y, strict=True)}
        moved = [
            (name, float(x), float(y))
            for name, x, y in zip(list(rings["id"]), list(rings["x"]), list(rings["y"]), strict=True)
            if name in here and np.hypot(x - here[name][0], y - here[name][1]) > _STILL
        ]
        for name, x, y in moved:
            picker.guarded(lambda name=name, x=x, y=y: picker.move(name, x, y))  # type: ignore[misc]
        # Refused, or drawn to the peak by the fit: the ring goes to its clump.
        with picker.held():
            picker.show_picked(anew=True)

    def take_vertices(self) -> None:
        """Take the end of a drag of a vertex: the contour changes."""
        picker = self.picker
        contour = picker.view.contour.data
        x, y = (np.array(contour[axis], dtype=float) for axis in "xy")
        picker.guarded(lambda: picker.set_contour(x, y))
        with picker.held():
            # A refused contour returns to where it was.
            picker.update_contour()

    # ---- keys ------------------------------------------------------------------------------
    def press(self, key: Key) -> bool:
        """Do what a key means.

        Parameters
        ----------
        key : Key
            The key.

        Returns
        -------
        bool
            Whether the key was taken.
        """
        picker = self.picker
        name = key.name.lower()
        if name == "escape":
            return self.escape()
        actions: dict[str, Callable[[], Any]] = {
            "[": lambda: picker.step(-1),
            "]": lambda: picker.step(1),
            "b": picker.show_colour if key.shift else picker.blink,
            "r": picker.reset_view,
            "m": self.begin_move,
            "s": picker.split,
            "g": picker.merge,
            "a": picker.proposals.accept,
            "e": picker.toggle_contour,
            "delete": self.delete,
            "backspace": self.delete,
            "+": lambda: picker.zoom(1 / 1.5),
            "=": lambda: picker.zoom(1 / 1.5),
            "-": lambda: picker.zoom(1.5),
            "?": picker.show_help,
        }
        if name not in actions:
            return False
        picker.guarded(actions[name])
        return True

    def escape(self) -> bool:
        """Give up what was begun; returns whether anything was."""
        began = bool(self.moving) or self.vertex is not None or bool(self.picker.proposals.picked)
        self.moving, self.vertex = "", None
        if began:
            self.picker.message.show("")
            self.picker.proposals.pick(None)
            with self.picker.held():
                self.picker.update_contour()
        return began

    def begin_move(self) -> None:
        """Let the next click be the new place of the selected clump."""
        self.moving = self.picker.only_one("move")
        self.picker.message.show(f"click the new place of {self.moving} (Escape gives up)")

    def delete(self) -> None:
        """Remove what is selected: a vertex, proposals, or clumps."""
        picker = self.picker
        if self.vertex is not None and self.on_contour:
            at, self.vertex = self.vertex, None
            picker.delete_vertex(at)
        elif picker.proposals.picked:
            picker.proposals.reject()
        else:
            picker.remove()
