"""Bokeh figures as every panel draws them: fixed size, canvas back end, linked selection, plain-text labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.events import SelectionGeometry, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    LassoSelectTool,
    LayoutDOM,
    LogColorMapper,
    PanTool,
    Range1d,
    ResetTool,
    Spacer,
    WheelZoomTool,
)
from bokeh.plotting import figure

from sc_lab_widgets._geometry import enclosed
from sc_lab_widgets._sources import IMAGE_ABOVE, hover_text
from sc_lab_widgets._symbols import CANDIDATE, CLUMP, EXCLUDED, GLOBULAR, SELECTED

if TYPE_CHECKING:
    from bokeh.models import GlyphRenderer

    from sc_lab_widgets._host import Host

__all__ = ["LIVE", "PlanePlot", "legend_below", "limits", "new_figure", "side_by_side", "up_to_step"]

#: What a slider changes lies on bokeh's overlay canvas: axes, grids and the layer of all clumps are not redrawn.
LIVE: dict[str, Any] = {"level": "overlay"}
#: Screen distance within which a click finds a clump [px].
_REACH = 12.0


def limits(values: np.ndarray, *, log: bool, pad: float = 0.06, tail: float = 0.0) -> tuple[float, float]:
    """Return axis limits around the finite values.

    Parameters
    ----------
    values : ndarray
        What the axis shows.
    log : bool
        Whether the axis is logarithmic.
    pad : float
        Free space at either end, as a fraction of the span.
    tail : float
        Fraction of the values at either end that may lie outside, so that a few wild ones do
        not press the others together.

    Returns
    -------
    low, high : float
        Limits; a unit interval (or decade) when there is nothing to show.
    """
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not finite.size:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = (float(bound) for bound in np.quantile(finite, [tail, 1 - tail]))
    if log:
        low, high = np.log10(low), np.log10(high)
    margin = (high - low) * pad or 0.5
    low, high = low - margin, high + margin
    return (10.0**low, 10.0**high) if log else (low, high)


def up_to_step(value: float, steps: int = 4) -> float:
    """Return a round end for an axis, so that it moves seldom: moving axes are hard to read and slow to draw.

    Parameters
    ----------
    value : float
        What the axis has to reach, positive.
    steps : int
        Steps a decade.

    Returns
    -------
    float
        The next step.
    """
    return float(10.0 ** (np.ceil(np.log10(value) * steps) / steps))


def new_figure(
    name: str,
    title: str,
    x_label: str,
    y_label: str,
    *,
    width: int = 330,
    height: int = 300,
    x_log: bool = False,
    y_log: bool = False,
    x_range: Any = None,
    y_range: Any = None,
    tools: list[Any] | None = None,
    live_title: bool = False,
) -> figure:
    """Return an empty figure in the house style.

    Parameters
    ----------
    name : str
        Name by which tests and exports find it.
    title, x_label, y_label : str
        What it says.
    width, height : int
        Size [px]; a figure in a wider place stretches to its width.
    x_log, y_log : bool
        Logarithmic axes.
    x_range, y_range : (float, float) or Range1d, optional
        Start limits.
    tools : list, optional
        Tools besides pan, zoom and reset.
    live_title : bool
        Whether the title tells numbers that follow the sliders; it then lies on the overlay canvas.

    Returns
    -------
    figure
        The figure.
    """
    wheel = WheelZoomTool()
    plot = figure(
        name=name,
        title=title,
        width=width,
        height=height,
        x_axis_type="log" if x_log else "linear",
        y_axis_type="log" if y_log else "linear",
        x_axis_label=x_label,
        y_axis_label=y_label,
        tools=[PanTool(), wheel, ResetTool(), *(tools or [])],
        toolbar_location="above",
        output_backend="canvas",
        min_border=4,
        sizing_mode="stretch_width",
        min_width=260,
    )
    plot.toolbar.active_scroll = None  # the page scrolls; the wheel zooms once its tool is switched on
    plot.toolbar.logo = None
    if live_title:
        plot.title.level = "overlay"
    if x_range is not None:
        plot.x_range = x_range if isinstance(x_range, Range1d) else Range1d(*x_range)
    if y_range is not None:
        plot.y_range = y_range if isinstance(y_range, Range1d) else Range1d(*y_range)
    return plot


def legend_below(plot: figure) -> None:
    """Put the legend of a figure under its axis, where it hides no data.

    Parameters
    ----------
    plot : figure
        The figure, with all its glyphs; a click on an entry hides its layer.
    """
    legend = plot.legend[0]
    plot.center.remove(legend)
    plot.add_layout(legend, "below")
    legend.orientation = "horizontal"
    legend.click_policy = "hide"
    legend.border_line_color = None
    legend.background_fill_color = None
    legend.label_text_font_size = "10px"
    legend.glyph_width = legend.glyph_height = 14
    legend.padding, legend.margin, legend.spacing, legend.label_standoff = 0, 0, 8, 3


def side_by_side(plots: list[Any], columns: int = 3) -> LayoutDOM:
    """Return figures in rows, each as wide as its share of the page.

    Parameters
    ----------
    plots : list
        Figures or layouts, in reading order; None leaves a gap.
    columns : int
        How many to a row.

    Returns
    -------
    LayoutDOM
        The layout. Rows, not a grid: a grid would align the frames and leave the room of one
        figure's colour bar empty in every figure of its column.
    """
    gaps = [None] * (-len(plots) % columns) if len(plots) > columns else []
    cells = [Spacer(sizing_mode="stretch_width", min_width=260) if plot is None else plot for plot in [*plots, *gaps]]
    rows = [row(cells[i : i + columns], sizing_mode="stretch_width") for i in range(0, len(cells), columns)]
    return rows[0] if len(rows) == 1 else column(rows, sizing_mode="stretch_width")


class PlanePlot:
    """One plane of the population: all clumps below, candidates above, selection on top.

    Parameters
    ----------
    host : Host
        Where the sources and the selection live.
    plot : figure
        The figure; must not be in a document yet.
    x, y : str
        Columns of the sources.
    x_error, y_error : bool
        Draw error bars of candidates.
    hover : tuple of str
        Quantities of the hover text.
    globulars : bool
        Draw members of the globular-cluster box in their own colour.
    """

    def __init__(
        self,
        host: Host,
        plot: figure,
        x: str,
        y: str,
        *,
        x_error: bool = False,
        y_error: bool = False,
        hover: tuple[str, ...] = (),
        globulars: bool = False,
        color: Any = None,
    ) -> None:
        self.host, self.plot, self.x, self.y = host, plot, x, y
        sources = host.sources
        self.base: GlyphRenderer | None = None
        if host.population.n >= IMAGE_ABOVE:
            self._draw_image()
        else:
            self.base = plot.scatter(
                x,
                y,
                source=sources.base,
                size=4,
                marker="square",
                fill_color=CLUMP,
                line_color=None,
                fill_alpha=0.45,
            )
        if globulars:
            plot.scatter(
                x,
                y,
                source=sources.globulars,
                size=6,
                marker="triangle",
                fill_color=GLOBULAR,
                line_color=None,
                legend_label="globular clusters",
                **LIVE,
            )
        bar: dict[str, Any] = {"source": sources.candidates, "line_color": CANDIDATE, "line_alpha": 0.4, **LIVE}
        if x_error:
            plot.segment(f"{x}_lo", y, f"{x}_hi", y, **bar)
        if y_error:
            plot.segment(x, f"{y}_lo", x, f"{y}_hi", **bar)
        self.candidates = plot.scatter(
            x,
            y,
            source=sources.candidates,
            size=6,
            marker="circle",
            fill_color=CANDIDATE if color is None else color,
            line_color=None,
            **LIVE,
        )
        plot.scatter(x, y, source=sources.excluded, size=8, marker="x", line_color=EXCLUDED, line_width=2, **LIVE)
        plot.scatter(
            x,
            y,
            source=sources.selected,
            size=13,
            marker="circle",
            fill_color=None,
            line_color=SELECTED,
            line_width=2.5,
            **LIVE,
        )
        if globulars:
            legend_below(plot)
        if hover and self.base is not None:
            plot.add_tools(
                HoverTool(
                    renderers=[self.base],
                    tooltips=[("clump", "@id"), ("field", "@field"), *(hover_text(name) for name in hover)],
                    formatters={f"@{name}{end}": "printf" for name in hover for end in ("", "_lo", "_hi")},
                    point_policy="snap_to_data",
                    limit=1,  # in a crowd a pile of texts would hide it
                )
            )
        # Without renderers a selection tool only reports its outline: the rows are found in Python, so that
        # the answer is the same with glyphs, with an image, from the keyboard and from a call.
        plot.add_tools(BoxSelectTool(renderers=[]), LassoSelectTool(renderers=[]))
        # The size of the frame differs from view to view, so it comes with the click, for which it is needed.
        plot.js_on_event(Tap, CustomJS(code="const p = cb_obj.origin; p.tags = [p.inner_width, p.inner_height];"))
        plot.on_event(Tap, self._tap)
        plot.on_event(SelectionGeometry, self._outline)
        host.planes[plot.name] = self

    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the position of every clump along the axes, in fractions of the visible range."""
        planes = self.host.sources.planes
        return self._fraction(planes[self.x], "x"), self._fraction(planes[self.y], "y")

    def _fraction(self, values: Any, axis: str, start: float | None = None, end: float | None = None) -> np.ndarray:
        bounds = getattr(self.plot, f"{axis}_range")
        start = float(bounds.start if start is None else start)
        end = float(bounds.end if end is None else end)
        values = np.asarray(values, dtype=float)
        if type(getattr(self.plot, f"{axis}_scale")).__name__ == "LogScale":
            with np.errstate(divide="ignore", invalid="ignore"):
                values, start, end = np.log10(values), np.log10(start), np.log10(end)
        return (values - start) / (end - start)

    def _tap(self, event: Tap) -> None:
        add = bool((event.modifiers or {}).get("shift", False))
        row = self.row_at(event.x, event.y)
        if row is not None:
            self.host.select([row], add=add)
        elif not add and self.host.population.n:
            self.host.select([])

    def row_at(self, x: float, y: float) -> int | None:
        """Return the clump that a click finds.

        Parameters
        ----------
        x, y : float
            The place, in data coordinates.

        Returns
        -------
        int or None
            Its row; None where no clump is near.
        """
        at_x, at_y = self._coordinates()
        # A front end that says nothing has frames of about the size of the figure.
        width, height = self.plot.tags or (self.plot.width, self.plot.height)
        with np.errstate(invalid="ignore"):
            dx = (at_x - self._fraction(x, "x")) * width
            dy = (at_y - self._fraction(y, "y")) * height
            distance = np.hypot(dx, dy)
        distance[~np.isfinite(distance)] = np.inf
        near = np.flatnonzero(distance <= _REACH)
        if not len(near):
            return None
        # A candidate on top of other clumps is what the eye picks.
        ranked = sorted(
            near, key=lambda row: (distance[row] > distance[near].min() + 3, -int(self._on_top(row)), distance[row])
        )
        return int(ranked[0])

    def _on_top(self, row: Any) -> bool:
        return bool(self.host.population.candidate[row])

    def _outline(self, event: SelectionGeometry) -> None:
        if not event.final:
            return
        geometry = event.geometry
        planes = self.host.sources.planes
        x, y = np.asarray(planes[self.x], float), np.asarray(planes[self.y], float)
        if geometry["type"] == "rect":
            low_x, high_x = sorted((geometry["x0"], geometry["x1"]))
            low_y, high_y = sorted((geometry["y0"], geometry["y1"]))
            with np.errstate(invalid="ignore"):
                inside = (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)
        elif geometry["type"] == "poly":
            # On logarithmic axes the outline is straight on the screen, so the test is made there.
            outline = np.column_stack([self._fraction(geometry["x"], "x"), self._fraction(geometry["y"], "y")])
            inside = enclosed(*self._coordinates(), outline)
        else:
            return
        # Unlike a tap, an outline comes without its modifier keys; the mode of the tools says whether it adds.
        add = any(tool.mode == "append" for tool in self.plot.select(type=BoxSelectTool))
        self.host.select(np.flatnonzero(inside), add=add)

    def _draw_image(self) -> None:
        """Draw the layer of all clumps as an image of counts; its cells are equal on the axes' scales."""
        plot = self.plot
        self._image = ColumnDataSource({"image": []})
        palette = [f"#{level:02x}{level:02x}{level:02x}" for level in range(205, 85, -4)]
        # The image covers the start limits, whatever is zoomed in when it is drawn anew.
        x0, x1 = sorted((plot.x_range.start, plot.x_range.end))
        y0, y1 = sorted((plot.y_range.start, plot.y_range.end))
        self._frame = (x0, x1, y0, y1)
        mapper = LogColorMapper(palette=palette, low=1, high=100, nan_color="#00000000")
        self._counts = plot.image(
            "image", source=self._image, x=x0, y=y0, dw=x1 - x0, dh=y1 - y0, level="image", color_mapper=mapper
        )
        self.host.on_base(self._fill_image)

    def reframe(self) -> None:
        """Bring the layer of all clumps up to date after the axes show something else."""
        if self.base is None:
            x0, x1 = sorted((self.plot.x_range.start, self.plot.x_range.end))
            y0, y1 = sorted((self.plot.y_range.start, self.plot.y_range.end))
            self._frame = (x0, x1, y0, y1)
            self._counts.glyph.update(x=x0, y=y0, dw=x1 - x0, dh=y1 - y0)
            self._fill_image()

    def _fill_image(self) -> None:
        planes = self.host.sources.planes
        x0, x1, y0, y1 = self._frame
        x, y = self._fraction(planes[self.x], "x", x0, x1), self._fraction(planes[self.y], "y", y0, y1)
        known = np.isfinite(x) & np.isfinite(y)
        counts, _, _ = np.histogram2d(y[known], x[known], bins=(90, 120), range=((0, 1), (0, 1)))
        self._image.data = {"image": [np.where(counts > 0, counts, np.nan).astype(np.float32)]}
