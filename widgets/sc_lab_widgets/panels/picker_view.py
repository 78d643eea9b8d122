"""The figures of the clump picker: colour cut-out, data, model, residual and fluxes, and everything drawn on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, HoverTool, LayoutDOM, LinearColorMapper, Range1d, ResetTool, WheelZoomTool
from bokeh.palettes import Greys256
from bokeh.plotting import figure

from sc_lab_widgets._figures import LIVE, legend_below, new_figure
from sc_lab_widgets._style import BLUE, GREEN, GREY, ORANGE, PALETTE, PURPLE, SKY, VERMILION, YELLOW
from sc_lab_widgets.panels.picker_markers import with_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.models import GlyphRenderer

    from sc_lab_widgets.panels.picker_images import Box, Place
    from sc_lab_widgets.panels.picker_markers import Markers

__all__ = ["DRAGGABLE", "SMALL", "STATES", "CutoutView"]

#: Tag of a layer whose points the pointer can take along; the browser's side is in ``_pane.js``.
DRAGGABLE: Final = "draggable"
#: Marker and colour of each state of a clump; bright, as the sky is dark in either theme.
STATES: Final[dict[str, tuple[str, str]]] = {
    "detected": ("circle", SKY),
    "added": ("square", GREEN),
    "moved": ("diamond", YELLOW),
    "size limit": ("inverted_triangle", SKY),
    "globular cluster": ("triangle", VERMILION),
    "excluded": ("x", PURPLE),
    "not measured": ("cross", GREY),
}
#: The cut-outs beside the colour image, with their titles.
SMALL: Final = {"data": "data", "model": "model", "residual": "residual"}
_FRAME = 460
_SMALL_FRAME = 188
#: What a row of the pane has besides the three frames [px]: axis, borders, a scroll bar.
_BESIDE = 84
_MOST = 1.55
_NO_FLUXES = "flux [nJy]: select a clump"
#: What is said of a clump below the pointer, besides its name and state.
_NOTES: Final = ("snr", "flux", "size")
_CONTOUR = ORANGE
_CRITICAL = VERMILION


def _share(frame: int) -> dict[str, list[float]]:
    """Return what the browser reads of a frame: its share of the width of the pane, and its least and largest side."""
    return {"share": [frame / (_FRAME + 2 * _SMALL_FRAME), _BESIDE, frame, _MOST * frame]}


def _diverging() -> list[str]:
    """Return a palette from blue over white to vermilion, for residuals."""
    ends = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in (BLUE, "#ffffff", VERMILION)]
    channels = [
        np.interp(np.arange(256), [0, 127.5, 255], [end[i] for end in ends]).round().astype(int) for i in range(3)
    ]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*channels, strict=True)]


class CutoutView:
    """Four cut-outs that pan and zoom as one, and the fluxes of what is selected in them.

    Parameters
    ----------
    axis : str
        Unit of the pixel coordinates.
    bands : sequence of str
        Bands of the fluxes.

    Attributes
    ----------
    figures : dict of str to figure
        ``cutout``, the three small ones, and ``fluxes``.
    root : LayoutDOM
        Their layout.
    """

    def __init__(self, axis: str, bands: Sequence[str]) -> None:
        self.x_range, self.y_range = Range1d(0.0, 1.0), Range1d(0.0, 1.0)
        nothing: dict[str, Any] = {"x": [], "y": []}
        self.colour = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")}, name="colour image")
        self.images = ColumnDataSource({name: [] for name in (*SMALL, "x", "y", "dw", "dh")}, name="band images")
        self.markers = ColumnDataSource(
            {name: [] for name in ("x", "y", "id", "state", "marker", "color", *_NOTES)}, name="clumps"
        )
        self.picked = ColumnDataSource({**nothing, "id": []}, name="picked clumps")
        self.proposals = ColumnDataSource({**nothing, "color": [], "note": []}, name="proposals")
        self.contour = ColumnDataSource(dict(nothing), name="contour")
        self.vertex = ColumnDataSource(dict(nothing), name="picked vertex")
        self.critical = ColumnDataSource({"xs": [], "ys": [], "alpha": []}, name="critical curves")
        self.counter = ColumnDataSource({**nothing, "note": []}, name="counter-images")
        self.handles: list[GlyphRenderer] = []
        self.shown: list[GlyphRenderer] = []
        self.figures: dict[str, figure] = {"cutout": self._cutout(axis)}
        for name, title in SMALL.items():
            self.figures[name] = self._small(name, title)
        small = [self.figures[name] for name in SMALL]
        self.sky = [self.figures["cutout"], *small]
        self.bands = tuple(bands)
        columns = ("x", "flux", "low", "high", "color", "id", "note")
        self.fluxes = ColumnDataSource({name: [] for name in columns}, name="fluxes")
        last = self.figures["fluxes"] = self._fluxes(bands)
        beside = column(row(small[0], small[1]), row(small[2], last))
        # Where the page is too narrow the small ones go below: nothing is cut off.
        self.root: LayoutDOM = row(self.figures["cutout"], beside, styles={"flex-wrap": "wrap"})

    # ---- building --------------------------------------------------------------------------
    def _plot(self, name: str, title: str, labels: tuple[str, str], frame: int) -> figure:
        plot = new_figure(name, title, *labels, x_range=self.x_range, y_range=self.y_range)
        # Square pixels: frames of a fixed size over ranges of equal length.
        plot.tags = [_share(frame)]
        plot.update(sizing_mode="fixed", min_width=None, width=None, height=None, frame_width=frame, frame_height=frame)
        plot.toolbar.active_scroll = plot.select_one(WheelZoomTool)
        # Reset means the whole cut-out, which Python knows.
        plot.tools = [tool for tool in plot.tools if not isinstance(tool, ResetTool)]
        plot.background_fill_color = "#000000"
        plot.xgrid.visible = plot.ygrid.visible = False
        return plot

    def _cutout(self, axis: str) -> figure:
        plot = self._plot("cutout", "Clumps", (f"x [{axis}]", f"y [{axis}]"), _FRAME)
        plot.image_rgba("image", "x", "y", "dw", "dh", source=self.colour, level="image")
        self._overlays(plot, size=13)
        told = [("clump", "@id"), ("", "@state"), ("S/N", "@snr"), ("flux", "@flux"), ("size", "@size")]
        # In a crowd a text for each would cover the image.
        hover = HoverTool(renderers=[self.shown[0]], tooltips=told, limit=2)
        found = HoverTool(renderers=self._told, tooltips=[("", "@note")])
        plot.add_tools(hover, found)
        self._legend(plot)
        return plot

    def _small(self, name: str, title: str) -> figure:
        plot = self._plot(name, title, ("", ""), _SMALL_FRAME)
        plot.toolbar_location = None
        palette = _diverging() if name == "residual" else list(Greys256)
        # On the overlay canvas: an edit repaints the image without laying out the axes.
        plot.image(
            name,
            "x",
            "y",
            "dw",
            "dh",
            source=self.images,
            color_mapper=LinearColorMapper(palette=palette, low=0, high=255),
            **LIVE,
        )
        # They pan and zoom as one with the large image, which has the numbers.
        plot.axis.major_label_text_font_size = "0px"
        plot.axis.major_label_standoff = 0
        plot.axis.axis_label = None
        plot.axis.ticker.desired_num_ticks = 4
        self._overlays(plot, size=7)
        return plot

    def _fluxes(self, bands: Sequence[str]) -> figure:
        plot = new_figure("fluxes", _NO_FLUXES, "", "", x_range=(-0.5, len(bands) - 0.5), y_range=(0.0, 1.0))
        plot.update(sizing_mode="fixed", min_width=None, width=_SMALL_FRAME + 10, height=None)
        plot.update(frame_height=_SMALL_FRAME, toolbar_location=None, tags=[{**_share(_SMALL_FRAME), "beside": 10}])
        plot.xaxis.ticker = list(range(len(bands)))
        plot.xaxis.major_label_overrides = dict(enumerate(bands))
        plot.xaxis.major_label_orientation = 0.9
        plot.axis.major_label_text_font_size = "9px"
        plot.segment("x", "low", "x", "high", source=self.fluxes, line_color="color", line_width=1.5)
        dots = plot.scatter("x", "flux", source=self.fluxes, size=6, color="color")
        plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@id"), ("", "@note")]))
        return plot

    def _overlays(self, plot: figure, *, size: int) -> None:
        big = size > 10
        plot.multi_line(
            "xs",
            "ys",
            source=self.critical,
            line_color=_CRITICAL,
            line_alpha="alpha",
            line_width=1.5 if big else 1,
            **LIVE,
        )
        plot.patch(
            "x",
            "y",
            source=self.contour,
            fill_color=None,
            line_color=_CONTOUR,
            line_dash="dashed",
            line_width=1.5,
            **LIVE,
        )
        dots: dict[str, Any] = {"source": self.markers, "size": size, "marker": "marker", "fill_color": None, **LIVE}
        halo = plot.scatter("x", "y", line_color="#000000", line_alpha=0.55, line_width=4 if big else 3, **dots)
        symbols = plot.scatter("x", "y", line_color="color", line_width=2 if big else 1.2, **dots)
        self.shown += [symbols, halo]
        hollow: dict[str, Any] = {"size": size + 5, "fill_color": None, **LIVE}
        dark: dict[str, Any] = {"line_color": "#000000", "line_alpha": 0.55, "line_width": 4}
        ring_of: dict[str, Any] = {"source": self.proposals, "marker": "circle", **hollow}
        plot.scatter("x", "y", **ring_of, **dark)
        proposed = plot.scatter("x", "y", **ring_of, line_color="color", line_width=2, line_dash=[3, 3])
        star: dict[str, Any] = {"source": self.counter, "marker": "diamond_cross", **hollow}
        plot.scatter("x", "y", **star, **dark)
        counter = plot.scatter("x", "y", **star, line_color="#ffffff", line_width=2)
        if big:
            self._told = [proposed, counter]
        ring = plot.scatter(
            "x", "y", source=self.picked, size=size + 9, marker="circle", fill_color=None, line_color=ORANGE, line_width=2.5,
            **LIVE,
        )  # fmt: skip
        ring.tags = [DRAGGABLE]
        if not big:
            return
        handles = plot.scatter(
            "x", "y", source=self.contour, size=9, marker="square", fill_color=_CONTOUR, line_color="#ffffff", visible=False,
            **LIVE,
        )  # fmt: skip
        handles.tags = [DRAGGABLE]
        chosen = plot.scatter(
            "x", "y", source=self.vertex, size=16, marker="square", fill_color=None, line_color="#ffffff", line_width=2,
            visible=False, **LIVE,
        )  # fmt: skip
        self.handles += [handles, chosen]

    @staticmethod
    def _legend(plot: figure) -> None:
        # The markers of one layer differ by row, which a legend cannot show: layers with a point nowhere stand for them.
        empty = ColumnDataSource({"x": [np.nan], "y": [np.nan]}, name="legend")
        drawn = {"selected": ("circle", ORANGE), "proposed": ("circle", GREY), "counter-image": ("diamond_cross", GREY)}
        for state, (marker, colour) in {**STATES, **drawn}.items():
            plot.scatter(
                "x", "y", source=empty, marker=marker, size=10, fill_color=None, line_color=colour, line_width=2,
                line_dash="dotted" if state == "proposed" else "solid", legend_label=state,
            )  # fmt: skip
        for what, colour, dash in (("contour", _CONTOUR, "dashed"), ("critical", _CRITICAL, "solid")):
            plot.line("x", "y", source=empty, line_width=1.5, line_color=colour, line_dash=dash, legend_label=what)
        legend_below(plot)
        plot.legend[0].ncols = 6
        plot.legend[0].click_policy = "none"

    # ---- filling ---------------------------------------------------------------------------
    def show_box(self, box: Box) -> None:
        """Zoom to a cut-out.

        Parameters
        ----------
        box : Box
            The cut-out.
        """
        side = max(box.nx, box.ny)
        for span, start, n in ((self.x_range, box.x0, box.nx), (self.y_range, box.y0, box.ny)):
            middle = start - 0.5 + n / 2
            span.update(start=middle - side / 2, end=middle + side / 2)

    def zoom(self, factor: float) -> None:
        """Zoom about the middle of the view.

        Parameters
        ----------
        factor : float
            Factor on the visible span.
        """
        for span in (self.x_range, self.y_range):
            middle, half = (span.start + span.end) / 2, (span.end - span.start) / 2 * factor
            span.update(start=middle - half, end=middle + half)

    def fill_colour(self, rgba: np.ndarray, box: Box | Place) -> None:
        """Show a colour image.

        Parameters
        ----------
        rgba : ndarray of uint8, shape (ny, nx, 4)
            The image.
        box : Box
            Its place.
        """
        packed = np.ascontiguousarray(rgba).view(np.uint32).reshape(rgba.shape[:2])
        self.colour.data = {"image": [packed], **box.placement()}

    def fill_images(self, box: Box | Place, **images: np.ndarray) -> None:
        """Show band images; the ones left out stay.

        Parameters
        ----------
        box : Box
            Their place.
        **images : ndarray of uint8, shape (ny, nx)
            ``data``, ``model`` and ``residual``.
        """
        if set(images) == set(SMALL):
            self.images.data = {**{name: [image] for name, image in images.items()}, **box.placement()}
            return
        for name, image in images.items():
            self.images.data[name] = [image]

    def fill_markers(self, markers: Markers) -> None:
        """Show the clumps.

        Parameters
        ----------
        markers : Markers
            Positions, states and texts.
        """
        self.markers.data = {
            "x": markers.x.astype(np.float32),
            "y": markers.y.astype(np.float32),
            "id": list(markers.ids),
            "state": list(markers.states),
            "marker": [STATES[state][0] for state in markers.states],
            "color": [STATES[state][1] for state in markers.states],
            **{name: [note[i] for note in markers.notes] for i, name in enumerate(_NOTES)},
        }

    def fill_picked(self, x: np.ndarray, y: np.ndarray, ids: Sequence[str]) -> None:
        """Ring the selected clumps.

        Parameters
        ----------
        x, y : ndarray
            Positions [px].
        ids : sequence of str
            Identifiers.
        """
        self.picked.data = {"x": np.array(x, dtype=float), "y": np.array(y, dtype=float), "id": list(ids)}

    def fill_fluxes(self, ids: Sequence[str], flux: np.ndarray, error: np.ndarray) -> None:
        """Show the fluxes of clumps.

        Parameters
        ----------
        ids : sequence of str
            Identifiers.
        flux, error : ndarray, shape (clumps, bands)
            In nJy; NaN where not measured.
        """
        n, bands = flux.shape
        colours = [PALETTE[i % len(PALETTE)] for i in range(n)]
        low, high = flux - np.nan_to_num(error), flux + np.nan_to_num(error)
        self.fluxes.data = {
            "x": np.tile(np.arange(bands) + 0.0, n),
            "flux": flux.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "color": [colour for colour in colours for _ in range(bands)],
            "id": [name for name in ids for _ in range(bands)],
            "note": [
                f"{band} {with_error(value, err)} nJy"
                for values, errors in zip(flux, error, strict=True)
                for band, value, err in zip(self.bands, values, errors, strict=True)
            ],
        }
        title = "flux [nJy]" if n else _NO_FLUXES
        if self.figures["fluxes"].title.text != title:
            self.figures["fluxes"].title.text = title
        if np.isfinite(high).any():
            bottom, top = min(float(np.nanmin(low)), 0.0), float(np.nanmax(high))
            margin = 0.06 * ((top - bottom) or 1.0)
            self.figures["fluxes"].y_range.update(start=bottom - margin, end=top + margin)

    def name_cutout(self, title: str) -> None:
        """Say what the large image is.

        Parameters
        ----------
        title : str
            What it is; plain text, as names may come from a file.
        """
        # Bokeh takes these signs for the begin of a formula.
        for sign in ("$$", "\\(", "\\["):
            title = title.replace(sign, sign[0] + "\u2009" + sign[1])
        if self.figures["cutout"].title.text != title:
            self.figures["cutout"].title.text = title

    def name_residual(self, title: str) -> None:
        """Say what the residual is.

        Parameters
        ----------
        title : str
            What it is.
        """
        if self.figures["residual"].title.text != title:
            self.figures["residual"].title.text = title

    def pixels_per_screen_pixel(self, figure: str) -> float:
        """Return the size of a screen pixel in pixels of the image.

        Parameters
        ----------
        figure : str
            Name of the figure.
        """
        return float(self.x_range.end - self.x_range.start) / (_SMALL_FRAME if figure in SMALL else _FRAME)

    def editing(self, *, on: bool) -> None:
        """Show or hide the handles of the contour.

        Parameters
        ----------
        on : bool
            Whether the contour is being edited.
        """
        for handle in self.handles:
            if handle.visible != on:
                handle.visible = on
