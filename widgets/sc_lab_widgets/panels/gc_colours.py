"""The globular-cluster colour-colour plot with its draggable box."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as ui
import numpy as np
from bokeh.models import BoxAnnotation, ColumnDataSource, LayoutDOM, PointDrawTool

from sc_lab.colours import gc_tracks
from sc_lab.errors import OptionalDependencyError, ScLabError
from sc_lab.population import Vertices
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._figures import PlanePlot, limits, new_figure
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._style import ORANGE
from sc_lab_widgets.panels.gc_tracks import TrackLayer
from sc_lab_widgets.panels.picker_background import Background

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["GCColourPanel"]

#: Redshift of Abell S1063, the lens of the paper.
_Z_LENS = 0.351


def _rectangle(vertices: Vertices) -> tuple[float, float, float, float] | None:
    """Return left, right, bottom, top when the polygon is an upright rectangle."""
    xs, ys = sorted({x for x, _ in vertices}), sorted({y for _, y in vertices})
    if len(vertices) == 4 and len(xs) == 2 and len(ys) == 2 and len(set(vertices)) == 4:
        return xs[0], xs[1], ys[0], ys[1]
    return None


def _frame(values: np.ndarray, box: np.ndarray) -> tuple[float, float]:
    """Return axis limits that show nearly all clumps and all of the box with room to drag it."""
    low, high = limits(values, log=False, tail=0.01)
    margin = 0.5 * float(np.ptp(box))
    if not np.isfinite(values).any():
        low, high = float(box.min()), float(box.max())
    return min(low, float(box.min()) - margin), max(high, float(box.max()) + margin)


class GCColourPanel(Panel):
    """F150W−F200W against F200W−F356W; members of the box are taken for globular clusters of the lens.

    Drag the box, its edges or its corners; a box that is no upright rectangle has its
    vertices dragged. The tracks are those of stellar populations at the redshift of the lens
    (`sc_lab.colours.gc_tracks`): ``gc_tracks`` shows or hides them, ``z_lens`` moves them. They
    are made beside the work, once for a redshift. See `Panel` for the parameters.

    Attributes
    ----------
    tracks : QTable or None
        The tracks drawn; None before there are any, or without a stellar library.
    """

    title = "Globular-cluster colours"
    settings = ("gc_cut", "gc_box")

    def _make_view_controls(self) -> dict[str, Any]:
        self.tracks: QTable | None = None
        self._asked: float | None = math.nan  # nothing yet, not even that none are wanted
        self._lacking = ""
        self._background = Background(self._without_tracks)
        return {
            "gc_tracks": ui.Checkbox(
                value=True,
                description="tracks in the colour plot",
                tooltip="colours of stellar populations of one age at the redshift of the lens",
                indent=False,
                layout={"width": "auto"},
            ),
            "z_lens": LiveSlider(
                _Z_LENS,
                0.01,
                3.0,
                0.01,
                label="their lens at z",
                format=".3f",
                hint="redshift of the lens, for the tracks in the colour plot",
            ),
        }

    def _build(self) -> LayoutDOM:
        host = self.host
        box = np.array(host.session.settings.gc_box)
        self.vertices = ColumnDataSource({"x": box[:, 0], "y": box[:, 1]})
        plot = new_figure(
            "gc_colours",
            self.title,
            "F200W − F356W [AB mag]",
            "F150W − F200W [AB mag]",
            x_range=(-1.0, 0.0),
            y_range=(0.0, 1.0),
        )
        self.figures["gc_colours"] = plot
        self._frame()
        hover = ("mass", "r_eff", "age_onset", "mu")
        self.plane = PlanePlot(host, plot, "x", "y", hover=hover, globulars=True)
        # Not the colour of the members: the outline has to be found among them.
        outline: dict[str, Any] = {"line_color": ORANGE, "line_width": 2.5, "fill_color": ORANGE, "fill_alpha": 0.12}
        self.box = BoxAnnotation(
            left=-1, right=-0.5, bottom=0, top=0.3, editable=True, line_alpha=1.0, level="overlay", **outline
        )
        plot.add_layout(self.box)
        self.outline = plot.patch("x", "y", source=self.vertices, level="overlay", visible=False, **outline)
        self.handles = plot.scatter(
            "x",
            "y",
            source=self.vertices,
            size=11,
            marker="square",
            fill_color=ORANGE,
            line_color="white",
            level="overlay",
            visible=False,
        )
        plot.add_tools(PointDrawTool(renderers=[self.handles], add=False))
        self.track_layer = TrackLayer(plot)
        for side in ("left", "right", "bottom", "top"):
            self.box.on_change(side, self._box_moved)
        self.vertices.on_change("data", self._vertex_moved)
        self._following = False
        self._dragged = False
        self._cancelled = False
        return plot

    def _frame(self) -> None:
        plot, planes = self.figures["gc_colours"], self.host.sources.planes
        box = np.array(self.host.session.settings.gc_box)
        # The box is part of the picture even where no clump has the three bands.
        for span, values, side in ((plot.x_range, planes["x"], box[:, 0]), (plot.y_range, planes["y"], box[:, 1])):
            start, end = _frame(values, side)
            span.update(start=start, end=end)
        self._entitle()

    def _entitle(self) -> None:
        known = self.host.population.has_gc_colours
        text = (self.title if known else "no clump has F150W, F200W and F356W") + self._lacking
        plot = self.figures["gc_colours"]
        if plot.title.text != text:
            plot.title.text = text

    def _refine(self) -> None:
        wanted = self.view_controls["z_lens"].value if self.view_controls["gc_tracks"].value else None
        if wanted == self._asked:
            return
        self._asked = wanted
        if wanted is None:
            self._background.forget("tracks")
            self.track_layer.hide()
        else:
            self._background.ask("tracks", partial(gc_tracks, wanted), self._draw_tracks)

    def _draw_tracks(self, tracks: QTable) -> None:
        self.tracks, self._lacking = tracks, ""
        self._in_one_message(partial(self.track_layer.show, tracks))

    def _without_tracks(self, error: BaseException) -> None:
        """Say why there are no tracks; the rest of the panel works without."""
        self.tracks = None
        missing = isinstance(error, OptionalDependencyError | OSError)
        self._lacking = f" (no tracks: {'no stellar library' if missing else 'see the message'})"
        self.message.report(error)
        self._in_one_message(self.track_layer.hide)

    def _in_one_message(self, change: Any) -> None:
        pane = self.host.pane
        with nullcontext() if pane is None else pane.hold():
            change()
            self._entitle()
        if pane is not None:
            pane.flush()

    def _box_moved(self, _attr: str, _old: Any, _new: Any) -> None:
        box = self.box
        (x0, x1), (y0, y1) = sorted((box.left, box.right)), sorted((box.bottom, box.top))
        if not self._following and x0 < x1 and y0 < y1:
            self._drag(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))

    def _vertex_moved(self, _attr: str, _old: Any, new: Any) -> None:
        if not self._following:
            # The browser answers with lists, not arrays.
            self._drag(tuple((float(x), float(y)) for x, y in zip(new["x"], new["y"], strict=True)))

    def _drag(self, vertices: Vertices) -> None:
        self._wanted = [[round(x, 4), round(y, 4)] for x, y in vertices]
        if self.host.pane is None:
            self._show_wanted()
        else:
            # A box that moves changes all its sides: one answer for the four.
            self.host.pane.once_applied(self._show_wanted)

    def _show_wanted(self) -> None:
        if self._cancelled:
            return
        self._dragged = True
        try:
            self.session.preview(gc_box=self._wanted)
        except ScLabError as error:
            self.message.report(error)

    def release(self) -> None:
        """Commit what a drag showed; called when the pointer is let go."""
        if self._cancelled:
            self._cancelled = False
            self.host.refresh()
        if not self._dragged:
            return
        self._dragged = False
        try:
            taken = self.session.end_preview()
        except ScLabError as error:
            self.message.report(error)
            taken = False
        if taken:
            # A box drawn inside out is kept the right way round.
            self.refresh()
        else:
            # Refused, or where it was: the box in the browser has to return.
            self.host.refresh()

    def cancel(self) -> None:
        """Forget a drag; the pointer may still be down, and what it does until let go is not taken."""
        self._dragged = False
        self._cancelled = True

    def _update(self) -> None:
        vertices = self.host.population.settings.gc_box
        self._following = True
        try:
            rectangle = _rectangle(vertices)
            upright = rectangle is not None
            if self.box.visible != upright:
                self.box.visible = upright
                self.outline.visible = self.handles.visible = not upright
            if rectangle is not None:
                new = dict(zip(("left", "right", "bottom", "top"), rectangle, strict=True))
                # While the box is dragged the browser already shows it there: an echo would fight the pointer.
                if not self._dragged:
                    self.box.update(**{side: value for side, value in new.items() if getattr(self.box, side) != value})
            elif not self._dragged:
                points = np.array(vertices)
                self.vertices.data = {"x": points[:, 0], "y": points[:, 1]}
        finally:
            self._following = False

    @property
    def result(self) -> Any:
        """Whether each clump is taken for a globular cluster, shape (n,)."""
        return self.host.population.gc_contaminant

    def _call(self) -> str:
        return "population.gc_contaminant"

    def close(self) -> None:
        """Free the widgets and subscriptions, and stop waiting for tracks."""
        self._background.close()
        super().close()
