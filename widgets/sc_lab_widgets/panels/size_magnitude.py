"""The size-magnitude plane with the size threshold, local clusters and lines of constant surface brightness."""

from __future__ import annotations

from typing import Any, Final

import ipywidgets as ui
import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LayoutDOM, Span

from sc_lab.density_size import constant_brightness_line
from sc_lab.reference import MAGNITUDE_CONTOURS, magnitude_contour_info, magnitude_contours
from sc_lab_widgets._figures import LIVE, PlanePlot, legend_below, limits, new_figure
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._sources import magnitude_columns
from sc_lab_widgets._style import GREEN, GREY, PURPLE
from sc_lab_widgets._symbols import CANDIDATE, SELECTED

__all__ = ["SizeMagnitudePanel"]

#: Mean surface brightness inside the effective radius [mag/arcsec2] that a line is drawn for.
_BRIGHTNESS: Final = (8.0, 11.0, 14.0, 17.0, 20.0, 23.0)
#: Radii at which those lines begin and end [pc].
_ENDS: Final = np.array([0.05, 1e4])
#: Reach of the axes that has room for local clusters: faintest magnitude, and radii [pc].
_ROOM: Final = (-4.5, (0.8, 60.0))
_COLOURS: Final = {"gc_mw": PURPLE, "compact": GREEN}
#: Legends have the width of a figure to share.
_SHORT: Final = {"gc_mw": "globular", "compact": "compact nearby"}
_ABSOLUTE_V: Final = "abs_mag_v"


class SizeMagnitudePanel(Panel):
    """Effective radius against magnitude, as figure 3 of the paper; candidates lie below the threshold line.

    Upper limits of the radius are arrows. Against the absolute V magnitude there are contours of local populations and
    dotted lines of constant surface brightness (intrinsic, mean inside the effective radius, in mag per square
    arcsecond).

    See `Panel` for the parameters.
    """

    title = "Size–magnitude"
    settings = ("size_threshold", "lens_model")

    def _make_view_controls(self) -> dict[str, Any]:
        found = magnitude_columns(self.host.population)
        return {
            "magnitude": ui.Dropdown(
                options=_options(found),
                value=next(iter(found), ""),
                description="sizes against",
                tooltip="magnitude of the size–magnitude plane",
                style={"description_width": "7.5em"},
                layout={"width": "auto"},
            ),
            "nearby": ui.Checkbox(
                value=True,
                description="nearby clusters, lines of brightness",
                indent=False,
                tooltip="in the size–magnitude plane, where magnitudes are absolute ones in V: "
                + "; ".join(
                    f"{words} ({magnitude_contour_info(name)['citation']})"
                    for name, words in MAGNITUDE_CONTOURS.items()
                ),
            ),
        }

    def _build(self) -> LayoutDOM:
        host = self.host
        plot = new_figure(
            "size_magnitude",
            self.title,
            "",
            "effective radius [pc]",
            y_log=True,
            x_range=(1.0, 0.0),
            y_range=(1.0, 10.0),
        )
        self.figures["size_magnitude"] = plot
        self._labelled: tuple[Any, ...] = ()
        self._frame()
        self._draw_nearby()
        hover = ("mass", "r_eff", "sigma_mass", "age_onset", "mu", "z_form")
        self.plane = PlanePlot(host, plot, "magnitude", "r_eff", x_error=True, y_error=True, hover=hover)
        # Glyphs, not arrows: these are drawn anew at every step of a slider.
        limit: dict[str, Any] = {"source": host.sources.limits, "line_color": CANDIDATE, **LIVE}
        plot.segment("magnitude", "r_eff", "magnitude", "lower_r", line_alpha=0.6, **limit)
        plot.scatter("magnitude", "lower_r", marker="inverted_triangle", size=4, fill_color=CANDIDATE, **limit)
        self.threshold = Span(
            dimension="width", location=1.0, line_color=SELECTED, line_width=2, line_dash="dashed", **LIVE
        )
        plot.add_layout(self.threshold)
        legend_below(plot)
        return plot

    def _draw_nearby(self) -> None:
        """Draw what a nearby cluster would be compared with."""
        plot = self.figures["size_magnitude"]
        self.brightness = ColumnDataSource({"xs": [], "ys": []}, name="constant surface brightness")
        empty: dict[str, Any] = {name: [] for name in ("x", "y", "text", "align")}
        self.brightness_labels = ColumnDataSource(empty, name="surface brightness labels")
        lines = plot.multi_line(
            "xs", "ys", source=self.brightness, line_color=GREY, line_dash="dotted", line_width=1,
            legend_label="mag/arcsec²",
        )  # fmt: skip
        self._nearby: list[Any] = [lines]
        drawn = []
        for name, label in MAGNITUDE_CONTOURS.items():
            found, info = magnitude_contours(name), magnitude_contour_info(name)
            source = ColumnDataSource(
                {
                    "xs": [line.abs_mag_v for line in found],
                    "ys": [10.0**line.log_r_eff for line in found],
                    "said": [f"{label}: {line.level:.0%} of {info['n']}" for line in found],
                    "citation": [info["citation"]] * len(found),
                },
                name=f"local: {label}",
            )
            drawn.append(
                plot.multi_line(
                    "xs", "ys", source=source, line_color=_COLOURS[name], line_width=1.6, legend_label=_SHORT[name]
                )
            )
        self._nearby += drawn
        plot.add_tools(HoverTool(renderers=drawn, tooltips=[("", "@said"), ("", "@citation")], visible=False))
        words = plot.text(
            "x",
            "y",
            "text",
            source=self.brightness_labels,
            text_font_size="10px",
            text_color=GREY,
            text_align={"field": "align"},
            text_baseline="bottom",
        )
        self._nearby.append(words)
        self._entries = list(plot.legend[0].items)

    def _frame(self) -> None:
        plot, planes = self.figures["size_magnitude"], self.host.sources.planes
        name, label = self.host.sources.magnitude_column(self.host.population)
        low, high = limits(planes["magnitude"], log=False, tail=0.002)
        bottom, top = limits(planes["r_eff"], log=True, tail=0.002)
        if name == _ABSOLUTE_V:
            faint, (smallest, largest) = _ROOM
            high, bottom, top = max(high, faint), min(bottom, smallest), max(top, largest)
        plot.x_range.update(start=high, end=low)  # bright to the right, as radii grow upwards
        plot.y_range.update(start=bottom, end=top)
        plot.xaxis.axis_label = label or "no magnitude in the catalogue"
        self._framed_for, self._corner = name, (low, top)

    def _update(self) -> None:
        sources, population = self.host.sources, self.host.population
        self.threshold.location = population.settings.size_threshold
        control = self.controls.magnitude
        found = magnitude_columns(population)
        if list(control.options) != _options(found):
            # A list that is made from images has no magnitudes until something is measured.
            chosen = control.value if control.value in found else next(iter(found), "")
            control.options, control.value = _options(found), chosen
        if control.value and control.value != (sources.wanted_magnitude or sources.magnitude_column(population)[0]):
            sources.wanted_magnitude = control.value
            sources.update(population, self.host.selection)
        name, _ = sources.magnitude_column(population)
        if name != self._framed_for:
            self._frame()
            self.plane.reframe()
        self._show_nearby(shown=bool(self.controls.nearby.value) and name == _ABSOLUTE_V)

    def _show_nearby(self, *, shown: bool) -> None:
        for each in (*self._nearby, *self._entries):
            if each.visible != shown:
                each.visible = shown
        frame = (self._framed_for, *self._corner)
        if not shown or frame == self._labelled:
            return
        self._labelled = frame
        lines = [constant_brightness_line(level, _ENDS).value for level in _BRIGHTNESS]
        self.brightness.data = {"xs": lines, "ys": [_ENDS] * len(lines)}
        bright, top = self._corner
        top *= 0.55
        places: dict[str, list[Any]] = {"x": [], "y": [], "text": [], "align": []}
        for level in _BRIGHTNESS:
            # Where the line leaves the frame: at its upper edge, or at its bright one. M falls by 5 for each factor of
            # ten in radius.
            x, y = float(constant_brightness_line(level, top).value), top
            if x < bright:
                x, y = bright, top * 10 ** ((x - bright) / 5)
            values = (x, y, f"{level:g} ", "right")
            for name, value in zip(places, values, strict=True):
                places[name].append(value)
        self.brightness_labels.data = places

    @property
    def result(self) -> Any:
        """Whether each clump is a candidate, shape (n,)."""
        return self.host.population.candidate

    def _call(self) -> str:
        return "population.candidate"


def _options(found: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in found.items()] or [("no magnitude", "")]
