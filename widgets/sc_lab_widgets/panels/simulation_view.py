"""The figures of the simulation panel: the map of particles with its groups, and the plane of size and density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bokeh.events import RangesUpdate, Tap
from bokeh.layouts import row
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    HoverTool,
    LayoutDOM,
    LinearColorMapper,
    Range1d,
    ResetTool,
    WheelZoomTool,
)
from bokeh.palettes import Inferno256

from sc_lab.density_size import constant_mass_line
from sc_lab.reference import CONTOURS, contours
from sc_lab_widgets._figures import LIVE, legend_below, limits, new_figure
from sc_lab_widgets._simulated import LOOKS, SimulatedLayer
from sc_lab_widgets._style import GREY, ORANGE
from sc_lab_widgets._symbols import CANDIDATE, LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.plotting import figure

__all__ = ["CELLS", "SimulationView"]

#: Cells of the picture along each side: about those of the screen.
CELLS: Final = 600
_FRAME = 460
_LINES = (1e4, 1e5, 1e6, 1e7)
_SHORT = {"ysc": "local young", "gc_mw": "globular", "nsc": "nuclear"}
_TOLD = ("id", "state", "mass", "sigma", "ratio")
#: Bright on the dark map in either theme.
_ON_MAP: Final = {state: look[1] if state != "unbound" else "#d0d0d0" for state, look in LOOKS.items()}


class SimulationView:
    """One map and one plane.

    Attributes
    ----------
    figures : dict of str to figure
        ``map`` and ``density_size``.
    root : LayoutDOM
        Their layout.
    layer : SimulatedLayer
        The clusters in the plane.
    """

    def __init__(self) -> None:
        self.image = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")}, name="particles")
        columns = ("x", "y", "radius", "marker", "color", "row", *_TOLD)
        self.groups = ColumnDataSource({name: [] for name in columns}, name="groups")
        self.members = ColumnDataSource({"x": [], "y": []}, name="stars of the group")
        self.current = ColumnDataSource({"x": [], "y": [], "id": []}, name="current group")
        self.current_plane = ColumnDataSource({"r_eff": [], "sigma_mass": [], "id": []}, name="current cluster")
        self.observed = ColumnDataSource({"r_eff": [], "sigma_mass": [], "id": []}, name="observed")
        self.layer = SimulatedLayer()
        self.x_range, self.y_range = Range1d(0.0, 1.0), Range1d(0.0, 1.0)
        self.whole = (0.0, 1.0, 0.0, 1.0)
        self.figures: dict[str, figure] = {"map": self._map(), "density_size": self._plane()}
        self.root: LayoutDOM = row(self.figures["map"], self.figures["density_size"], styles={"flex-wrap": "wrap"})

    # ---- building ------------------------------------------------------------------------
    def _map(self) -> figure:
        plot = new_figure("map", "Particles", "x [kpc]", "y [kpc]", x_range=self.x_range, y_range=self.y_range)
        plot.update(
            sizing_mode="fixed", min_width=None, width=None, height=None, frame_width=_FRAME, frame_height=_FRAME
        )
        # The picture has to be counted anew for the whole box, which the panel does itself (R).
        plot.tools = [tool for tool in plot.tools if not isinstance(tool, ResetTool)]
        plot.toolbar.active_scroll = plot.select_one(WheelZoomTool)
        plot.background_fill_color = "#000000"
        plot.xgrid.visible = plot.ygrid.visible = False
        mapper = LinearColorMapper(palette=list(Inferno256), low=0, high=255)
        plot.image("image", "x", "y", "dw", "dh", source=self.image, color_mapper=mapper, level="image")
        plot.scatter("x", "y", source=self.members, size=2, color=ORANGE, alpha=0.8, marker="circle")
        ring: dict[str, Any] = {"source": self.groups, "fill_color": None, "line_color": "color"}
        plot.circle("x", "y", radius="radius", line_width=1, line_alpha=0.8, **ring)
        marks = plot.scatter("x", "y", size=11, marker="marker", line_width=1.6, line_alpha=0.95, **ring)
        plot.scatter(
            "x", "y", source=self.current, size=24, marker="circle", fill_color=None, line_color=ORANGE, line_width=2.5,
            **LIVE,
        )  # fmt: skip
        tips = [
            ("group", "@id"),
            ("", "@state"),
            ("mass [M☉]", "@mass"),
            ("Σ [M☉ pc⁻²]", "@sigma"),
            ("|U|/K", "@ratio"),
        ]
        plot.add_tools(HoverTool(renderers=[marks], tooltips=tips, limit=1))
        for state, (marker, *_) in LOOKS.items():
            plot.scatter(
                [np.nan], [np.nan], marker=marker, size=9, fill_color=None, line_color=_ON_MAP[state], line_width=2,
                legend_label=state,
            )  # fmt: skip
        legend_below(plot)
        plot.legend[0].click_policy = "none"
        # Legible on the page in both themes, bright as on the map: the legend keeps the map's ground.
        plot.legend[0].update(background_fill_color="#000000", label_text_color="#e8e8e8", padding=3)
        return plot

    def _plane(self) -> figure:
        plot = new_figure(
            "density_size", "Size and density", "effective radius [pc]", "mass surface density [M☉ pc⁻²]",
            x_log=True, y_log=True, x_range=(0.5, 60.0), y_range=(5.0, 8e5),
        )  # fmt: skip
        plot.update(
            sizing_mode="fixed", min_width=None, width=None, height=None, frame_width=360, frame_height=_FRAME - 30
        )
        self.lines = ColumnDataSource({"xs": [], "ys": []}, name="constant mass")
        plot.multi_line("xs", "ys", source=self.lines, line_color=GREY, line_dash="dotted", line_width=1)
        for population, label in CONTOURS.items():
            outlines = contours(population)
            plot.multi_line(
                [10.0**line.log_r_eff for line in outlines], [10.0**line.log_sigma for line in outlines],
                line_color=LOCAL.get(population, GREY), line_width=1.4, line_alpha=0.8,
                legend_label=_SHORT.get(population, label),
            )  # fmt: skip
        plot.scatter(
            "r_eff", "sigma_mass", source=self.observed, size=5, marker="circle", fill_color=CANDIDATE, line_color=None,
            fill_alpha=0.9, legend_label="observed",
        )  # fmt: skip
        self.layer.draw(plot, legend="")
        plot.scatter(
            "r_eff", "sigma_mass", source=self.current_plane, size=18, marker="circle", fill_color=None,
            line_color=ORANGE, line_width=2.5, **LIVE,
        )  # fmt: skip
        radius = np.array([0.1, 1e4])
        self.lines.data = {
            "xs": [radius] * len(_LINES), "ys": [constant_mass_line(mass, radius).value for mass in _LINES],
        }  # fmt: skip
        legend_below(plot)
        plot.legend[0].ncols = 4
        return plot

    def on_tap(self, callback: Callable[[str, int], Any]) -> None:
        """Call back with the figure and the row of the cluster that was clicked, -1 for none.

        Parameters
        ----------
        callback : callable
            Called with (figure, row).
        """
        for name, plot in self.figures.items():
            # The size of the frame differs from view to view, so it comes with the click.
            plot.js_on_event(Tap, CustomJS(code="const p = cb_obj.origin; p.tags = [p.inner_width, p.inner_height];"))
            plot.on_event(Tap, lambda event, name=name: callback(name, self._row_at(name, event.x, event.y)))

    def on_zoom(self, callback: Callable[[], None]) -> None:
        """Call back when the user has moved or zoomed the map.

        Parameters
        ----------
        callback : callable
            Called without arguments.
        """
        self.figures["map"].on_event(RangesUpdate, lambda _event: callback())

    def _row_at(self, name: str, x: float, y: float) -> int:
        """Return the row of the cluster within reach of a click, -1 for none."""
        plot = self.figures[name]
        if name == "map":
            at_x, at_y = np.asarray(self.groups.data["x"], float), np.asarray(self.groups.data["y"], float)
            rows = np.asarray(self.groups.data["row"], int)
            spans = (self.x_range.end - self.x_range.start, self.y_range.end - self.y_range.start)
            away_x, away_y = (at_x - x) / spans[0], (at_y - y) / spans[1]
        else:
            at_x, at_y = self.layer.r_eff, self.layer.sigma()
            rows = np.arange(len(at_x))
            away_x, away_y = (
                np.log(at / here) / np.log(span.end / span.start)
                for at, here, span in ((at_x, x, plot.x_range), (at_y, y, plot.y_range))
            )
        if not len(rows):
            return -1
        width, height = plot.tags or (plot.frame_width, plot.frame_height)
        away = np.hypot(away_x * width, away_y * height)
        nearest = int(np.argmin(away))
        return int(rows[nearest]) if away[nearest] <= 12.0 else -1

    # ---- filling ---------------------------------------------------------------------------
    @property
    def extent(self) -> tuple[float, float, float, float]:
        """What the map shows: left, right, bottom, top [kpc]."""
        return (
            float(self.x_range.start), float(self.x_range.end), float(self.y_range.start), float(self.y_range.end),
        )  # fmt: skip

    def show_extent(self, extent: tuple[float, float, float, float]) -> None:
        """Move the map.

        Parameters
        ----------
        extent : (float, float, float, float)
            Left, right, bottom, top [kpc].
        """
        self.x_range.update(start=extent[0], end=extent[1])
        self.y_range.update(start=extent[2], end=extent[3])

    def zoom(self, factor: float) -> None:
        """Zoom about the middle.

        Parameters
        ----------
        factor : float
            Factor on the visible span; below 1 zooms in.
        """
        x0, x1, y0, y1 = self.extent
        half_x, half_y = (x1 - x0) / 2 * factor, (y1 - y0) / 2 * factor
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        self.show_extent((x - half_x, x + half_x, y - half_y, y + half_y))

    def fill_image(self, image: np.ndarray, extent: tuple[float, float, float, float], title: str) -> None:
        """Show a picture.

        Parameters
        ----------
        image : ndarray, shape (ny, nx)
            Particles in each cell.
        extent : (float, float, float, float)
            Where it lies [kpc].
        title : str
            What it is, plain text.
        """
        top = max(float(np.quantile(image[image > 0], 0.999)) if (image > 0).any() else 1.0, 3.0)
        scaled = np.minimum(np.log1p(image) / np.log1p(top), 1.0)
        x0, x1, y0, y1 = extent
        self.image.data = {
            "image": [np.round(255 * scaled).astype(np.uint8)], "x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0],
        }  # fmt: skip
        if self.figures["map"].title.text != title:
            self.figures["map"].title.text = title

    def label_axes(self, names: tuple[str, str]) -> None:
        """Say which axes of the box the map shows.

        Parameters
        ----------
        names : (str, str)
            Along and up.
        """
        self.figures["map"].xaxis.axis_label, self.figures["map"].yaxis.axis_label = (f"{name} [kpc]" for name in names)

    def fill_groups(self, x: np.ndarray, y: np.ndarray, radius: np.ndarray, told: dict[str, list[str]]) -> None:
        """Show the groups on the map.

        Parameters
        ----------
        x, y, radius : ndarray
            Places and radii [kpc].
        told : dict of str to list of str
            What a hover says: id, state, mass, sigma, ratio.
        """
        states = told["state"]
        self.groups.data = {
            "x": x, "y": y, "radius": radius, "row": np.arange(len(x)),
            "marker": [LOOKS[state][0] for state in states], "color": [_ON_MAP[state] for state in states], **told,
        }  # fmt: skip

    def fill_current(
        self, at: tuple[float, float] | None, plane: tuple[float, float] | None, name: str, members: Any = None
    ) -> None:
        """Ring the current group in both figures.

        Parameters
        ----------
        at, plane : (float, float) or None
            Its place on the map and in the plane.
        name : str
            Its name.
        members : ndarray, shape (n, 2), optional
            Places of its stars on the map.
        """
        one = [] if at is None else [at]
        self.current.data = {"x": [p[0] for p in one], "y": [p[1] for p in one], "id": [name] * len(one)}
        here = [] if plane is None else [plane]
        self.current_plane.data = {
            "r_eff": [p[0] for p in here], "sigma_mass": [p[1] for p in here], "id": [name] * len(here),
        }  # fmt: skip
        dots = np.empty((0, 2)) if members is None else members
        self.members.data = {"x": dots[:, 0], "y": dots[:, 1]}

    def frame_plane(self) -> None:
        """Set the limits of the plane around everything in it."""
        plot = self.figures["density_size"]
        r = np.concatenate([self.layer.r_eff, np.asarray(self.observed.data["r_eff"], float)])
        sigma = np.concatenate([self.layer.sigma(), np.asarray(self.observed.data["sigma_mass"], float)])
        if not len(r):
            return
        (x0, x1), (y0, y1) = limits(r, log=True), limits(sigma, log=True)
        new = (min(x0, 0.5), max(x1, 60.0)), (min(y0, 5.0), max(y1, 8e5))
        for span, (start, end) in zip((plot.x_range, plot.y_range), new, strict=True):
            if (span.start, span.end) != (start, end):
                span.update(start=start, end=end)
