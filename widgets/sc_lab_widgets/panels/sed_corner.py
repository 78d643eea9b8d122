"""The corner plot of the SED panel: ten small plots in one figure, which is drawn in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import contourpy
import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, Label, LinearColorMapper, Range1d

from sc_lab_widgets._figures import new_figure
from sc_lab_widgets._style import BLUE, GREY, SKY
from sc_lab_widgets.panels.sed_curves import CORNER
from sc_lab_widgets.panels.sed_view import JUDGE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CornerView"]

#: What the axis of each parameter says.
_AXIS: Final = {"log_mass": "log M [M☉]", "log_age": "log age [Myr]", "a_v": "A_V [mag]", "log_z": "log Z [Z☉]"}
_MEAN_AGE: Final = "log mean age [Myr]"
_SYMBOL: Final = {"log_mass": "log M", "log_age": "log age", "a_v": "A_V", "log_z": "log Z"}
_NAMES: Final = CORNER
_N: Final = len(_NAMES)
#: Side of a cell is 1; cells are this far apart.
_STEP: Final = 1.1
_BINS: Final = 24
_LEVELS: Final = (0.95, 0.68)
_FADING: Final = [f"{SKY}{level:02x}" for level in range(0, 160, 3)]
#: Least width of an axis: a posterior narrower than that is a point to the eye.
_LEAST: Final = {"log_mass": 0.1, "log_age": 0.1, "a_v": 0.05, "log_z": 0.2}
_KERNEL: Final = np.array([0.25, 0.5, 0.25])


def _corner_of(row: int, column: int) -> tuple[float, float]:
    """Return the lower left corner of a cell; rows count from the top."""
    return column * _STEP, (_N - 1 - row) * _STEP


def _smooth(counts: np.ndarray) -> np.ndarray:
    """Return counts with the noise of a thousand draws taken down, so that contours do not fray."""
    padded = np.pad(counts, 1, mode="edge")
    along = sum(weight * padded[i : i + counts.shape[0], :] for i, weight in enumerate(_KERNEL))
    return np.asarray(sum(weight * along[:, i : i + counts.shape[1]] for i, weight in enumerate(_KERNEL)))


def _ticks(low: float, high: float) -> list[float]:
    """Return two or three round numbers inside an interval."""
    span = high - low
    raw = span / 3.6
    step = 10.0 ** np.floor(np.log10(raw))
    for factor in (1, 2, 2.5, 5, 10):
        if step * factor >= raw:
            step *= factor
            break
    first = np.ceil((low + 0.03 * span) / step)
    return [float(round(i * step, 10)) + 0.0 for i in np.arange(first, first + 5) if i * step <= high - 0.03 * span]


class CornerView:
    """Posterior of four parameters, pair by pair.

    Attributes
    ----------
    figure : figure
        The figure.
    """

    def __init__(self) -> None:
        self.images = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")}, name="corner")
        self.contours = ColumnDataSource({"x": [], "y": []}, name="68 and 95 %")
        self.judged = ColumnDataSource({"x": [], "y": []}, name="68 and 95 % of bagpipes")
        self.bars = ColumnDataSource({name: [] for name in ("left", "right", "bottom", "top")}, name="histograms")
        self.judged_steps = ColumnDataSource({"x": [], "y": []}, name="histograms of bagpipes")
        self.marks = ColumnDataSource({name: [] for name in ("x", "low", "high")}, name="quantiles")
        self.ranges: dict[str, tuple[float, float]] = {}
        self._mean_age = False
        size = _N * _STEP - (_STEP - 1)
        plot = new_figure(
            "sed_corner", "Posterior", "", "", height=410, x_range=Range1d(-0.02, size + 0.12),
            y_range=Range1d(-0.02, size + 0.24),
        )  # fmt: skip
        plot.axis.axis_label = None
        plot.grid.visible = False
        plot.outline_line_color = None
        plot.axis.axis_line_color = None
        plot.axis.minor_tick_line_color = None
        plot.axis.major_label_text_font_size = "10px"
        for axis in plot.axis:
            axis.ticker = FixedTicker(ticks=[])
        plot.image(
            "image", "x", "y", "dw", "dh", source=self.images,
            color_mapper=LinearColorMapper(palette=_FADING, low=0.0, high=1.0),
        )  # fmt: skip
        frame: dict[str, list[float]] = {"left": [], "right": [], "bottom": [], "top": []}
        for row in range(_N):
            for column in range(row + 1):
                x, y = _corner_of(row, column)
                for name, value in zip(frame, (x, x + 1, y, y + 1), strict=True):
                    frame[name].append(value)
        plot.quad(**frame, fill_color=None, line_color=GREY, line_width=1)
        plot.quad("left", "right", "top", "bottom", source=self.bars, fill_color=SKY, fill_alpha=0.6, line_color=None)
        plot.segment("x", "low", "x", "high", source=self.marks, line_color=BLUE, line_dash="dashed", line_width=1.2)
        plot.line("x", "y", source=self.contours, line_color=BLUE, line_width=1.5)
        for source in (self.judged, self.judged_steps):
            plot.line("x", "y", source=source, line_color=JUDGE, line_width=1.3, line_dash="dashed")
        self.labels: dict[str, Label] = {}
        for i, name in enumerate(_NAMES):
            x, y = _corner_of(i, i)
            self.labels[name] = Label(x=x, y=y + 1.02, text="", text_font_size="10px")
            plot.add_layout(self.labels[name])
        self.figure = plot

    # ---- filling ---------------------------------------------------------------------------
    def fill(
        self,
        draws: Mapping[str, np.ndarray],
        numbers: Mapping[str, tuple[float, float, float]],
        *,
        mean_age: bool = False,
    ) -> None:
        """Show a posterior.

        Parameters
        ----------
        draws : mapping of str to ndarray
            Draws of equal weight, by parameter.
        numbers : mapping of str to (float, float, float)
            Median and the distances down and up to the 68 % interval.
        mean_age : bool
            Whether the age is that of the mean star: a history in bins has no onset.
        """
        self._mean_age = mean_age
        self.ranges = {name: self._range(name, draws[name]) for name in _NAMES}
        self.images.data, self.contours.data = self._pairs(draws)
        left, right, bottom, top = [], [], [], []
        marks: dict[str, list[float]] = {"x": [], "low": [], "high": []}
        for i, name in enumerate(_NAMES):
            x, y = _corner_of(i, i)
            counts = self._histogram(name, draws[name])
            edges = x + np.linspace(0, 1, _BINS + 1)
            left.append(edges[:-1])
            right.append(edges[1:])
            bottom.append(np.full(_BINS, y))
            top.append(y + 0.92 * counts)
            middle, down, up = numbers[name]
            for value in (middle - down, middle, middle + up):
                place = self._fraction(name, value)
                if 0 <= place <= 1:
                    marks["x"].append(x + place)
                    marks["low"].append(y)
                    marks["high"].append(y + 1)
            symbol = "log mean age" if name == "log_age" and mean_age else _SYMBOL[name]
            text = f"{symbol} {middle:.2f} +{up:.2f} −{down:.2f}".replace("-", "−")
            if self.labels[name].text != text:
                self.labels[name].text = text
        self.bars.data = {
            "left": np.concatenate(left),
            "right": np.concatenate(right),
            "bottom": np.concatenate(bottom),
            "top": np.concatenate(top),
        }
        self.marks.data = marks
        self._label_axes()

    def fill_judge(self, draws: Mapping[str, np.ndarray]) -> None:
        """Show the posterior of bagpipes on the same axes."""
        if not self.ranges:
            return
        _, self.judged.data = self._pairs(draws)
        xs: list[np.ndarray] = []
        ys: list[np.ndarray] = []
        for i, name in enumerate(_NAMES):
            x, y = _corner_of(i, i)
            counts = np.repeat(self._histogram(name, draws[name]), 2)
            edges = np.repeat(np.linspace(0, 1, _BINS + 1), 2)[1:-1]
            xs += [x + edges, np.array([np.nan])]
            ys += [y + 0.92 * counts, np.array([np.nan])]
        self.judged_steps.data = {"x": np.concatenate(xs), "y": np.concatenate(ys)}

    def clear_judge(self) -> None:
        """Take the posterior of bagpipes away."""
        for source in (self.judged, self.judged_steps):
            if len(source.data["x"]):
                source.data = {"x": [], "y": []}

    def clear(self) -> None:
        """Show nothing."""
        self.clear_judge()
        for source in (self.images, self.contours, self.bars, self.marks):
            if any(len(values) for values in source.data.values()):
                source.data = {name: [] for name in source.data}
        for label in self.labels.values():
            if label.text:
                label.text = ""

    # ---- parts -----------------------------------------------------------------------------
    @staticmethod
    def _range(name: str, values: np.ndarray) -> tuple[float, float]:
        finite = values[np.isfinite(values)]
        if not finite.size:
            return 0.0, 1.0
        low, high = (float(q) for q in np.quantile(finite, [0.002, 0.998]))
        pad = max(0.06 * (high - low), (_LEAST[name] - (high - low)) / 2)
        # Dust does not brighten: below zero there is nothing.
        return max(low - pad, 0.0) if name == "a_v" else low - pad, high + pad

    def _fraction(self, name: str, values: Any) -> Any:
        low, high = self.ranges[name]
        return (values - low) / (high - low)

    def _histogram(self, name: str, values: np.ndarray) -> np.ndarray:
        counts, _ = np.histogram(self._fraction(name, values), _BINS, (0.0, 1.0))
        return np.asarray(counts / max(int(counts.max()), 1))

    def _pairs(self, draws: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        image: dict[str, list[Any]] = {name: [] for name in ("image", "x", "y", "dw", "dh")}
        gap = np.full((1, 2), np.nan)
        lines: list[np.ndarray] = [gap]
        middle = (np.arange(_BINS) + 0.5) / _BINS
        for row in range(1, _N):
            for column in range(row):
                x, y = _corner_of(row, column)
                across, up = (self._fraction(name, draws[name]) for name in (_NAMES[column], _NAMES[row]))
                counts, _, _ = np.histogram2d(up, across, _BINS, ((0.0, 1.0), (0.0, 1.0)))
                density = _smooth(counts)
                peak = density.max()
                if not peak > 0:
                    continue
                for name, value in zip(image, ((density / peak).astype(np.float32), x, y, 1.0, 1.0), strict=True):
                    image[name].append(value)
                ranked = np.sort(density.ravel())[::-1]
                held = np.cumsum(ranked) / ranked.sum()
                generator = contourpy.contour_generator(x + middle, y + middle, density)
                for share in _LEVELS:
                    level = float(ranked[min(int(np.searchsorted(held, share)), len(ranked) - 1)])
                    for line in generator.lines(level):
                        lines += [np.asarray(line), gap]
        points = np.vstack(lines)
        return image, {"x": points[:, 0].astype(np.float32), "y": points[:, 1].astype(np.float32)}

    def _label_axes(self) -> None:
        plot = self.figure
        for axis, names in ((plot.xaxis[0], _NAMES), (plot.yaxis[0], _NAMES[1:])):
            places: dict[float, str] = {}
            for name in names:
                i = _NAMES.index(name)
                start = _corner_of(0, i)[0] if axis is plot.xaxis[0] else _corner_of(i, 0)[1]
                for tick in _ticks(*self.ranges[name]):
                    places[round(float(start + self._fraction(name, tick)), 6)] = f"{tick:.4g}".replace("-", "−")
                # The name of the parameter stands at the middle of its cell, beyond the numbers.
                places.setdefault(round(start + 0.5, 6), "")
                if axis is plot.xaxis[0]:
                    label = _MEAN_AGE if name == "log_age" and self._mean_age else _AXIS[name]
                    places[round(start + 0.5, 6)] += f"\n{label}"
            # In place: a new ticker would have bokeh go through all models of the document.
            if list(axis.ticker.ticks) != list(places):
                axis.ticker.ticks = list(places)
            if axis.major_label_overrides != places:
                axis.major_label_overrides = places
        # Rows have the names of the columns: beside the numbers there is no room for them.
