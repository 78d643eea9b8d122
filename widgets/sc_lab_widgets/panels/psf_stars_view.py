"""The figures of the star panel: the mosaic with its stars, the stack, one star, and their radial profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, HoverTool, LayoutDOM, LinearColorMapper, Range1d, ResetTool, WheelZoomTool
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from sc_lab_widgets._figures import LIVE, legend_below, new_figure
from sc_lab_widgets._style import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION
from sc_lab_widgets.panels.psf_stars_profiles import DECADES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sc_lab_widgets.panels.picker_images import Place
    from sc_lab_widgets.panels.psf_stars_choice import Star

__all__ = ["STATES", "StarView"]

#: Marker and colour of each state of a star; bright, as the sky is dark in either theme.
STATES: Final[dict[str, tuple[str, str]]] = {
    "in the stack": ("circle", SKY),
    "added": ("square", GREEN),
    "left out": ("x", VERMILION),
}
_FRAME = 460
_SMALL_FRAME = 190
#: What a hover says of a star.
_TOLD = ("id", "state", "snr")


def state_of(star: Star) -> str:
    """Return the state of a star in words, a key of `STATES`.

    Parameters
    ----------
    star : Star
        The star.
    """
    if not star.used:
        return "left out"
    return "added" if star.added else "in the stack"


class StarView:
    """One mosaic, two stamps and the profiles.

    Attributes
    ----------
    figures : dict of str to figure
        ``mosaic``, ``psf``, ``star`` and ``profiles``.
    root : LayoutDOM
        Their layout.
    """

    def __init__(self) -> None:
        picture = ("image", "x", "y", "dw", "dh")
        self.mosaic = ColumnDataSource({name: [] for name in picture}, name="mosaic")
        self.stars = ColumnDataSource({name: [] for name in ("x", "y", *_TOLD, "marker", "color")}, name="stars")
        self.current = ColumnDataSource({"x": [], "y": [], "id": []}, name="current star")
        self.stamps = {name: ColumnDataSource({name: [] for name in picture}, name=name) for name in ("psf", "star")}
        curve = ("radius", "brightness", "star")
        self.curves = {
            name: ColumnDataSource({column: [] for column in curve}, name=name)
            for name in ("profiles of the stars", "profile of the current star", "present PSF", "stack")
        }
        self.x_range, self.y_range = Range1d(0.0, 1.0), Range1d(0.0, 1.0)
        self.side = 1.0
        self.figures: dict[str, figure] = {"mosaic": self._mosaic()}
        for name, title in (("psf", "Stack (log, 4 decades)"), ("star", "Current star")):
            self.figures[name] = self._stamp(name, title)
        self.figures["profiles"] = self._profiles()
        beside = column(row(self.figures["psf"], self.figures["star"]), self.figures["profiles"])
        # Where the page is too narrow the small ones go below: nothing is cut off.
        self.root: LayoutDOM = row(self.figures["mosaic"], beside, styles={"flex-wrap": "wrap"})

    # ---- building ------------------------------------------------------------------------
    def _square(self, plot: figure, frame: int) -> figure:
        plot.update(sizing_mode="fixed", min_width=None, width=None, height=None, frame_width=frame, frame_height=frame)
        plot.tools = [tool for tool in plot.tools if not isinstance(tool, ResetTool)]
        plot.background_fill_color = "#000000"
        plot.xgrid.visible = plot.ygrid.visible = False
        return plot

    def _mosaic(self) -> figure:
        plot = new_figure("mosaic", "Stars", "x [px]", "y [px]", x_range=self.x_range, y_range=self.y_range)
        self._square(plot, _FRAME)
        plot.toolbar.active_scroll = plot.select_one(WheelZoomTool)
        plot.image_rgba("image", "x", "y", "dw", "dh", source=self.mosaic, level="image")
        dots: dict[str, Any] = {"source": self.stars, "size": 14, "marker": "marker", "fill_color": None, **LIVE}
        plot.scatter("x", "y", line_color="#000000", line_alpha=0.55, line_width=4, **dots)
        symbols = plot.scatter("x", "y", line_color="color", line_width=2, **dots)
        plot.scatter(
            "x", "y", source=self.current, size=23, marker="circle", fill_color=None, line_color=ORANGE,
            line_width=2.5, **LIVE,
        )  # fmt: skip
        tips = [("star", "@id"), ("", "@state"), ("S/N", "@snr")]
        plot.add_tools(HoverTool(renderers=[symbols], tooltips=tips))
        for label, (marker, colour) in STATES.items():
            # A layer of each kind with a point that is nowhere makes the legend whole, whatever is on the list.
            plot.scatter(
                [np.nan],
                [np.nan],
                marker=marker,
                size=9,
                fill_color=None,
                line_color=colour,
                line_width=2,
                legend_label=label,
            )
        legend_below(plot)
        plot.legend[0].click_policy = "none"
        return plot

    def _stamp(self, name: str, title: str) -> figure:
        plot = new_figure(name, title, "", "", x_range=(-0.5, 0.5), y_range=(-0.5, 0.5))
        self._square(plot, _SMALL_FRAME)
        plot.toolbar_location = None
        plot.axis.axis_label = None
        plot.axis.ticker.desired_num_ticks = 4
        mapper = LinearColorMapper(palette=list(Viridis256), low=-DECADES, high=0.0)
        shown = plot.image("image", "x", "y", "dw", "dh", source=self.stamps[name], color_mapper=mapper)
        plot.add_tools(HoverTool(renderers=[shown], tooltips=[("dex below the peak", "@image{0.00}")]))
        return plot

    def _profiles(self) -> figure:
        plot = new_figure(
            "profiles",
            "Radial profiles",
            "radius [arcsec]",
            "core fluxes / arcsec²",
            y_log=True,
            x_range=(0.0, 1.0),
            y_range=(1e-3, 1e3),
        )
        plot.update(sizing_mode="fixed", min_width=None, width=2 * _SMALL_FRAME + 70, height=270)
        looks: dict[str, tuple[str, dict[str, Any]]] = {
            "profiles of the stars": ("stars", {"line_color": GREY, "line_width": 1}),
            "present PSF": ("present PSF", {"line_color": VERMILION, "line_width": 2.5, "line_dash": "dashed"}),
            "stack": ("stack", {"line_color": BLUE, "line_width": 2.5}),
            "profile of the current star": ("current star", {"line_color": ORANGE, "line_width": 1.5}),
        }
        told = []
        for name, (label, look) in looks.items():
            source = self.curves[name]
            plot.line("radius", "brightness", source=source, legend_label=label, **look)
            # The pointer finds points more surely than lines.
            dots = plot.scatter("radius", "brightness", source=source, size=5, color=look["line_color"], alpha=0.6)
            told.append(dots)
        plot.add_tools(HoverTool(renderers=told, tooltips=[("", "@star"), ("radius", '@radius{0.000}"')]))
        legend_below(plot)
        return plot

    # ---- filling ---------------------------------------------------------------------------
    def fill_mosaic(self, rgba: np.ndarray, place: Place, title: str) -> None:
        """Show a mosaic, whole.

        Parameters
        ----------
        rgba : ndarray of uint8, shape (ny, nx, 4)
            The picture.
        place : Place
            Where it lies.
        title : str
            What it is.
        """
        packed = np.ascontiguousarray(rgba).view(np.uint32).reshape(rgba.shape[:2])
        self.mosaic.data = {"image": [packed], **place.placement()}
        self.figures["mosaic"].title.text = title
        nx, ny = place.box.nx, place.box.ny
        self.middle, self.side = ((nx - 1) / 2, (ny - 1) / 2), 1.02 * max(nx, ny)
        self.show_all()

    middle = (0.0, 0.0)

    def show_all(self) -> None:
        """Zoom to the whole mosaic."""
        for span, at in zip((self.x_range, self.y_range), self.middle, strict=True):
            span.update(start=at - self.side / 2, end=at + self.side / 2)

    def show_place(self, x: float, y: float) -> None:
        """Move the view, at its present zoom, to a place that lies outside it.

        Parameters
        ----------
        x, y : float
            Pixel of the band.
        """
        spans = ((self.x_range, x), (self.y_range, y))
        if all(min(span.start, span.end) <= at <= max(span.start, span.end) for span, at in spans):
            return
        for span, at in spans:
            half = (span.end - span.start) / 2
            span.update(start=at - half, end=at + half)

    def zoom(self, factor: float) -> None:
        """Zoom about the middle of the view.

        Parameters
        ----------
        factor : float
            Factor on the visible span; below 1 zooms in.
        """
        for span in (self.x_range, self.y_range):
            middle, half = (span.start + span.end) / 2, (span.end - span.start) / 2 * factor
            span.update(start=middle - half, end=middle + half)

    def fill_stars(self, stars: Sequence[Star], current: Star | None) -> None:
        """Show the stars, and ring the current one.

        Parameters
        ----------
        stars : sequence of Star
            The list.
        current : Star or None
            The one that the keys act on.
        """
        states = [state_of(star) for star in stars]
        self.stars.data = {
            "x": np.array([star.x for star in stars]),
            "y": np.array([star.y for star in stars]),
            "id": [star.id for star in stars],
            "state": states,
            "snr": ["not measured" if np.isnan(star.snr) else f"{star.snr:.0f}" for star in stars],
            "marker": [STATES[state][0] for state in states],
            "color": [STATES[state][1] for state in states],
        }
        at = [] if current is None else [current]
        self.current.data = {
            "x": np.array([star.x for star in at]),
            "y": np.array([star.y for star in at]),
            "id": [star.id for star in at],
        }

    def fill_stamp(self, name: str, image: np.ndarray | None, pixel_scale: float, title: str) -> None:
        """Show a stamp; None shows nothing.

        Parameters
        ----------
        name : {"psf", "star"}
            Which figure.
        image : ndarray or None
            Decades below the peak.
        pixel_scale : float
            Arcsec per pixel.
        title : str
            What it is.
        """
        source, plot = self.stamps[name], self.figures[name]
        if plot.title.text != title:
            plot.title.text = title
        if image is None:
            source.data = {key: [] for key in source.data}
            return
        side = image.shape[0] * pixel_scale
        source.data = {"image": [image], "x": [-side / 2], "y": [-side / 2], "dw": [side], "dh": [side]}
        if plot.x_range.end != side / 2:
            plot.x_range.update(start=-side / 2, end=side / 2)
            plot.y_range.update(start=-side / 2, end=side / 2)

    def fill_curves(self, name: str, curves: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
        """Show profiles.

        Parameters
        ----------
        name : str
            Which of ``curves``.
        curves : sequence of (str, ndarray, ndarray)
            Name, radius [arcsec] and brightness of each.
        """
        # A gap ends each line; as one source the points can be hovered over and exported.
        gap = np.array([np.nan])
        radius = [part for _name, r, _b in curves for part in (r, gap)]
        brightness = [part for _name, _r, b in curves for part in (b, gap)]
        self.curves[name].data = {
            "radius": np.concatenate(radius) if radius else np.zeros(0),
            "brightness": np.concatenate(brightness) if brightness else np.zeros(0),
            "star": [label for label, r, _b in curves for _ in range(len(r) + 1)],
        }

    def frame_profiles(self, radius: np.ndarray, brightness: np.ndarray) -> None:
        """Set the limits of the profiles.

        Parameters
        ----------
        radius, brightness : ndarray
            The curve that has to be seen.
        """
        seen = brightness[np.isfinite(brightness)]
        if not seen.size:
            return
        plot = self.figures["profiles"]
        new = (0.0, float(radius[-1]) * 1.03), (float(seen.max()) * 10.0 ** -(DECADES + 0.5), float(seen.max()) * 2)
        for span, (start, end) in zip((plot.x_range, plot.y_range), new, strict=True):
            if (span.start, span.end) != (start, end):
                span.update(start=start, end=end)

    def pixels_per_screen_pixel(self) -> float:
        """Return the size of a screen pixel in pixels of the mosaic."""
        return float(self.x_range.end - self.x_range.start) / _FRAME
