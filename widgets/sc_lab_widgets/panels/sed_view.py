"""The figures of the SED panel: photometry with the model, residuals, and the star-formation history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from bokeh.core.properties import value
from bokeh.events import Tap
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    FixedTicker,
    HoverTool,
    LogAxis,
    LogScale,
    LogTickFormatter,
    Range1d,
    Span,
)

from sc_lab_widgets._figures import legend_below, limits, new_figure
from sc_lab_widgets._style import BLUE, GREY, ORANGE, SKY, VERMILION
from sc_lab_widgets.panels.sed_light import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.plotting import figure

    from sc_lab_widgets.panels.sed_choice import Choice
    from sc_lab_widgets.panels.sed_curves import Curves
    from sc_lab_widgets.panels.sed_light import Light

__all__ = ["FIGURES", "JUDGE", "UNTITLED", "SedView", "plain"]

#: Names of the figures.
FIGURES: Final = ("sed", "sed_residuals", "sed_sfh")
_DATA, _MODEL, _BAND, JUDGE = ORANGE, BLUE, SKY, VERMILION
#: Length of the arrow of a limit, as a factor in flux.
_ARROW: Final = 0.62
_JUDGED: Final = "bagpipes"
#: The title where there is no clump: a title that begins empty has no room later.
UNTITLED: Final = "SED"
#: Screen distance within which a click finds a photometric point [px].
_REACH: Final = 14.0
#: Wavelengths below and above the bands that the figure shows, as factors.
_MARGIN: Final = (0.72, 1.25)
_POINT: Final = ("x", "flux", "low", "high", "band", "note", "marker", "fill")
_TICKS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0)


def plain(text: str) -> str:
    """Return a text that bokeh draws as it stands: these signs would begin a formula.

    Parameters
    ----------
    text : str
        Any text.
    """
    for sign in ("$$", "\\(", "\\["):
        text = text.replace(sign, sign[0] + "\u2009" + sign[1])
    return text


class SedView:
    """Three figures over shared sources.

    Parameters
    ----------
    toggle : callable
        Called with the name of a band whose point was clicked.

    Attributes
    ----------
    figures : dict of str to figure
        Those of `FIGURES`.
    """

    def __init__(self, toggle: Callable[[str], None]) -> None:
        self._toggle = toggle
        empty: dict[str, Any] = {name: [] for name in _POINT}
        self.points = ColumnDataSource(dict(empty), name="photometry")
        self.limits = ColumnDataSource({name: [] for name in ("x", "top", "bottom", "fill")}, name="3 sigma limits")
        self.model = ColumnDataSource({name: [] for name in ("x", "flux", "low", "high")}, name="model in the bands")
        self.band = ColumnDataSource({name: [] for name in ("x", "low", "high")}, name="model spectrum 68 %")
        self.line = ColumnDataSource({"x": [], "y": []}, name="model spectrum")
        self.residuals = ColumnDataSource(
            {name: [] for name in ("x", "y", "low", "high", "band", "note", "fill")}, name="residuals"
        )
        self.history = ColumnDataSource({name: [] for name in ("x", "y", "low", "high", "mean")}, name="star formation")
        self.judged: dict[str, ColumnDataSource] = {
            "spectrum": ColumnDataSource({"x": [], "y": []}, name="spectrum of bagpipes"),
            "bands": ColumnDataSource({"x": [], "y": []}, name="bagpipes in the bands"),
            "history": ColumnDataSource({"x": [], "y": []}, name="star formation of bagpipes"),
        }
        self.wavelengths = Range1d(0.5, 5.0)
        self.rest = Range1d(0.25, 2.5)
        self.figures: dict[str, figure] = {
            "sed": self._sed(),
            "sed_residuals": self._residuals(),
            "sed_sfh": self._sfh(),
        }
        self._name_judge(shown=False)
        self._places: tuple[np.ndarray, np.ndarray, tuple[str, ...]] = (np.zeros(0), np.zeros(0), ())

    # ---- building ------------------------------------------------------------------------
    def _sed(self) -> figure:
        plot = new_figure(
            "sed", UNTITLED, "observed wavelength [µm]", "flux density [nJy]", height=420, x_log=True, y_log=True,
            x_range=self.wavelengths, y_range=Range1d(1.0, 100.0),
        )  # fmt: skip
        plot.xaxis.ticker = FixedTicker(ticks=list(_TICKS))
        plot.xaxis.formatter.min_exponent = 3
        plot.extra_x_ranges = {"rest": self.rest}
        plot.extra_x_scales = {"rest": LogScale()}
        top = LogAxis(
            x_range_name="rest", axis_label="rest-frame wavelength [µm]", ticker=FixedTicker(ticks=_rest_ticks())
        )
        top.formatter = LogTickFormatter(min_exponent=3)
        plot.add_layout(top, "above")
        plot.varea("x", "low", "high", source=self.band, fill_color=_BAND, fill_alpha=0.35, legend_label="model, 68 %")
        plot.line("x", "y", source=self.line, line_color=_MODEL, line_width=1.3, legend_label="median")
        judged: dict[str, Any] = {"line_color": JUDGE, "legend_label": _JUDGED}
        plot.line("x", "y", source=self.judged["spectrum"], line_width=1.3, line_dash="dashed", **judged)
        plot.scatter(
            "x", "y", source=self.judged["bands"], size=13, marker="diamond", fill_color=None, line_width=1.5,
            line_color=JUDGE,
        )  # fmt: skip
        plot.segment("x", "low", "x", "high", source=self.model, line_color=_MODEL, line_width=1.5)
        plot.scatter(
            "x", "flux", source=self.model, size=10, marker="square", fill_color=None, line_color=_MODEL, line_width=1.5,
            legend_label="model in bands",
        )  # fmt: skip
        plot.segment("x", "low", "x", "high", source=self.points, line_color=_DATA, line_width=1.8)
        plot.segment("x", "top", "x", "bottom", source=self.limits, line_color=_DATA, line_width=1.8)
        plot.scatter(
            "x",
            "bottom",
            source=self.limits,
            size=9,
            marker="inverted_triangle",
            fill_color=_DATA,
            fill_alpha="fill",
            line_color=_DATA,
        )
        dots = plot.scatter(
            "x", "flux", source=self.points, size=10, marker="marker", fill_color=_DATA, fill_alpha="fill",
            line_color=_DATA, line_width=1.8, legend_label="photometry",
        )  # fmt: skip
        plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@band"), ("", "@note")], limit=2))
        # Markers differ by row, which a legend cannot show: points that are nowhere stand for them.
        for words, filled in (("photometry", 1.0), ("left out", 0.0)):
            plot.scatter(
                [np.nan],
                [np.nan],
                size=9,
                marker="circle",
                fill_color=_DATA,
                fill_alpha=filled,
                line_color=_DATA,
                legend_label=words,
            )
        plot.js_on_event(Tap, CustomJS(code="const p = cb_obj.origin; p.tags = [p.inner_width, p.inner_height];"))
        plot.on_event(Tap, self._tapped)
        legend_below(plot)
        return plot

    def _residuals(self) -> figure:
        plot = new_figure(
            "sed_residuals", "Residuals", "observed wavelength [µm]", "(data − model) / σ", height=220, x_log=True,
            x_range=self.wavelengths, y_range=Range1d(-4.0, 4.0),
        )  # fmt: skip
        plot.xaxis.ticker = FixedTicker(ticks=list(_TICKS))
        plot.xaxis.formatter.min_exponent = 3
        plot.add_layout(Span(location=0, dimension="width", line_color=_MODEL, line_width=1.3))
        for level in (-1.0, 1.0):
            plot.add_layout(
                Span(location=level, dimension="width", line_color=GREY, line_dash="dotted", line_width=1.2)
            )
        plot.segment("x", "low", "x", "high", source=self.residuals, line_color=_DATA, line_width=1.8)
        dots = plot.scatter(
            "x",
            "y",
            source=self.residuals,
            size=9,
            fill_color=_DATA,
            fill_alpha="fill",
            line_color=_DATA,
            line_width=1.8,
        )
        plot.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@band"), ("", "@note")], limit=2))
        return plot

    def _sfh(self) -> figure:
        plot = new_figure(
            "sed_sfh", "Star formation", "look-back time [Myr]", "SFR [M☉ / yr]", height=230, x_log=True,
            x_range=Range1d(1.0, 13_000.0), y_range=Range1d(0.0, 1.0),
        )  # fmt: skip
        plot.yaxis.formatter.power_limit_low = -5  # 0.002 reads better than 2.000e-3
        plot.varea("x", "low", "high", source=self.history, fill_color=_BAND, fill_alpha=0.35, legend_label="68 %")
        plot.line("x", "y", source=self.history, line_color=_MODEL, line_width=2, legend_label="median")
        plot.line(
            "x",
            "mean",
            source=self.history,
            line_color=GREY,
            line_width=2,
            line_dash="dotted",
            legend_label="mean",
        )
        plot.line(
            "x", "y", source=self.judged["history"], line_color=JUDGE, line_width=1.5, line_dash="dashed",
            legend_label=_JUDGED,
        )  # fmt: skip
        legend_below(plot)
        return plot

    # ---- filling ---------------------------------------------------------------------------
    def span(self, pivots: np.ndarray) -> tuple[float, float]:
        """Return the wavelengths that the figures show for bands with these pivots [micron]."""
        if not pivots.size:
            return 0.5, 5.0
        return float(pivots.min()) * _MARGIN[0], float(pivots.max()) * _MARGIN[1]

    def fill_light(self, light: Light, choice: Choice, pivots: np.ndarray) -> None:
        """Show the photometry.

        Parameters
        ----------
        light : Light
            The clump.
        choice : Choice
            What of it is fitted.
        pivots : ndarray, shape (n_band,)
            Wavelengths of the bands [micron].
        """
        low, high = self.span(pivots)
        z = choice.redshift(light)
        _set(self.wavelengths, low, high)
        stretch = 1.0 + z if np.isfinite(z) and z > -1 else 1.0
        _set(self.rest, low / stretch, high / stretch)
        seen = light.observed
        bands = np.array(light.bands, dtype=object)[seen]
        x, flux, error = pivots[seen], light.flux[seen], light.flux_err[seen]
        used = choice.used(light)[seen]
        faint = flux < LIMIT * error
        at = np.where(faint, LIMIT * error, flux)
        bottom, top = self._frame(at, error)
        notes = [
            f"{amount:.4g} ± {sigma:.2g} nJy{'' if fitted else ', left out: click to take it in'}"
            for amount, sigma, fitted in zip(flux, error, used, strict=True)
        ]
        fill = np.where(used, 1.0, 0.0)
        self.points.data = {
            "x": x,
            "flux": at,
            "low": np.where(faint, at, np.maximum(flux - error, bottom / 10)),
            "high": np.where(faint, at, flux + error),
            "band": list(bands),
            "note": notes,
            "marker": ["dash" if limit else "circle" for limit in faint],
            "fill": fill,
        }
        self.limits.data = {"x": x[faint], "top": at[faint], "bottom": at[faint] * _ARROW, "fill": fill[faint]}
        self._places = (x, at, tuple(bands))
        _set(self.figures["sed"].y_range, bottom, top)

    @staticmethod
    def _frame(at: np.ndarray, error: np.ndarray) -> tuple[float, float]:
        bottom, top = limits(np.concatenate([at, at + error, at - np.minimum(error, 0.5 * at)]), log=True, pad=0.15)
        # Less than a decade makes noise look like features.
        widen = max(10.0 / (top / bottom), 1.0) ** 0.5
        return bottom / widen, top * widen

    def fill_fit(self, light: Light, choice: Choice, pivots: np.ndarray, curves: Curves) -> None:
        """Show a fit beside the photometry.

        Parameters
        ----------
        light : Light
            The clump.
        choice : Choice
            How it was fitted.
        pivots : ndarray, shape (n_band,)
            Wavelengths of the bands [micron].
        curves : Curves
            The fit.
        """
        floor = float(self.figures["sed"].y_range.start) / 100
        low, middle, high = np.maximum(curves.spectrum, floor).astype(np.float32)
        x = curves.wavelength.astype(np.float32)
        self.band.data = {"x": x, "low": low, "high": high}
        self.line.data = {"x": x, "y": middle}
        low, middle, high = np.maximum(curves.model_flux, floor)
        self.model.data = {"x": pivots, "flux": middle, "low": low, "high": high}
        seen = light.observed
        y = curves.residual[seen]
        reach = min(max(4.0, 1.15 * (float(np.max(np.abs(y), initial=0.0)) + 1)), 60.0)
        _set(self.figures["sed_residuals"].y_range, -reach, reach)
        self.residuals.data = {
            "x": pivots[seen],
            "y": y,
            "low": y - 1,
            "high": y + 1,
            "band": [band for band, there in zip(light.bands, seen, strict=True) if there],
            "note": [f"{pull:+.2f} σ" for pull in y],
            "fill": np.where(choice.used(light)[seen], 1.0, 0.0),
        }
        low, middle, high, mean = curves.sfr
        self.history.data = {"x": curves.time, "y": middle, "low": low, "high": high, "mean": mean}
        plot = self.figures["sed_sfh"]
        most = np.fmax(high, mean)
        known = np.isfinite(most)
        top = float(max(most[known].max(initial=0.0), 1e-12))
        _set(plot.y_range, 0.0, top * 1.08)
        shining = curves.time[known & (most > 1e-3 * top)]
        _set(plot.x_range, 1.0, float(min(max(shining.max(initial=10.0) * 2, 20.0), 14_000.0)))

    def clear_fit(self) -> None:
        """Show no fit: one of other settings beside this photometry would be wrong."""
        for source in (self.model, self.band, self.line, self.residuals, self.history):
            _empty(source)
        self.clear_judge()

    def clear(self) -> None:
        """Show nothing."""
        self.clear_fit()
        _empty(self.points)
        _empty(self.limits)
        self._places = (np.zeros(0), np.zeros(0), ())

    def name_library(self, title: str) -> None:
        """Name the stellar library in the legends: a picture that is saved has to say it."""
        for name in ("sed", "sed_sfh"):
            item = self.figures[name].legend[0].items[0]
            label = f"{plain(title)}, 68 %"
            if item.label.value != label:
                item.label = value(label)

    def _name_judge(self, *, shown: bool) -> None:
        """Have the legends tell of bagpipes only where something of it is drawn."""
        for name in ("sed", "sed_sfh"):
            for item in self.figures[name].legend[0].items:
                if item.label.value == _JUDGED and item.visible != shown:
                    item.visible = shown

    def fill_judge(self, pivots: np.ndarray, curves: Curves) -> None:
        """Show what bagpipes found, over the fit."""
        self._name_judge(shown=True)
        floor = float(self.figures["sed"].y_range.start) / 100
        spectrum = np.maximum(curves.spectrum[1], floor)
        self.judged["spectrum"].data = {"x": curves.wavelength.astype(np.float32), "y": spectrum.astype(np.float32)}
        self.judged["bands"].data = {"x": pivots, "y": np.maximum(curves.model_flux[1], floor)}
        self.judged["history"].data = {"x": curves.time, "y": curves.sfr[1]}

    def clear_judge(self) -> None:
        """Take what bagpipes found away."""
        self._name_judge(shown=False)
        for source in self.judged.values():
            _empty(source)

    # ---- clicks ------------------------------------------------------------------------------
    def _tapped(self, event: Tap) -> None:
        band = self.band_at(event.x, event.y)
        if band is not None:
            self._toggle(band)

    def band_at(self, x: float, y: float) -> str | None:
        """Return the band whose point lies below a click, by the place in data coordinates."""
        at_x, at_y, bands = self._places
        plot = self.figures["sed"]
        if not bands or not (x > 0 and y > 0):
            return None
        # A front end that says nothing has a frame of about the size of the figure.
        width, height = plot.tags or (plot.width, plot.height)
        across = np.log(at_x / x) / np.log(plot.x_range.end / plot.x_range.start) * width
        along = np.log(at_y / y) / np.log(plot.y_range.end / plot.y_range.start) * height
        away = np.hypot(across, along)
        nearest = int(np.argmin(away))
        return bands[nearest] if away[nearest] <= _REACH else None


def _rest_ticks() -> list[float]:
    steps = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    return [round(step * 10.0**decade, 4) for decade in (-2, -1, 0, 1) for step in steps]


def _set(span: Range1d, start: float, end: float) -> None:
    # Only what changed: setting the same range again would draw the figure anew.
    if (span.start, span.end) != (start, end):
        span.update(start=start, end=end, reset_start=start, reset_end=end)


def _empty(source: ColumnDataSource) -> None:
    if any(len(values) for values in source.data.values()):
        source.data = {name: [] for name in source.data}
