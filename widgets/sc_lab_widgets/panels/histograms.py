"""Histograms of one quantity, or of all of them, over clumps and candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as ui
import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LayoutDOM

from sc_lab.population import QUANTITIES
from sc_lab_widgets._figures import LIVE, legend_below, new_figure, side_by_side, up_to_step
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._style import SKY
from sc_lab_widgets._symbols import CANDIDATE, CLUMP

if TYPE_CHECKING:
    from bokeh.plotting import figure

__all__ = ["HistogramPanel"]

_ALL = ("z", "mass", "sigma_mass", "sfr", "sigma_sfr", "r_eff", "age_onset", "mu", "abs_mag_v")


def _words(history: str) -> str:
    """Return a star-formation history as a legend says it."""
    return f"τ = {history.removeprefix('tau').replace('p', '.')} Myr"


def _counts(drawn: int, candidates: int, missing: int) -> str:
    """Return how many candidates are drawn, of how many; candidates that all are, beside clumps that are not."""
    if drawn < candidates:
        return f"{drawn} of {candidates} candidates have a value"
    return f"{drawn} candidates" + (f", {missing} clump{'s' * (missing != 1)} without a value" if missing else "")


def _outline(counts: np.ndarray) -> np.ndarray:
    """Return the heights of the outline of a histogram, from the axis up and down to it again."""
    return np.concatenate([[0.0], np.repeat(counts, 2), [0.0]]).astype(np.float32)


class HistogramPanel(Panel):
    """Clumps above the size threshold against candidates below it, as figure 5 of the paper.

    A second star-formation history, with columns such as ``mass_tau10`` from SED fits, is drawn dashed over the
    first one.

    Parameters
    ----------
    source : Session, catalogue, path or None
        As for `Workbench`.
    quantities : tuple of str, optional
        Quantities shown side by side; by default one, chosen by a control.
    **options : Any
        As for `Panel`.
    """

    title = "Histograms"
    settings = ("size_threshold", "lens_model")

    def __init__(self, source: Any = None, *, quantities: tuple[str, ...] = (), **options: Any) -> None:
        self.quantities = tuple(quantities)
        super().__init__(source, **options)

    @classmethod
    def all(cls, source: Any = None, **options: Any) -> HistogramPanel:
        """Return the panel of all nine quantities of figure 5."""
        return cls(source, quantities=_ALL, **options)

    def _make_view_controls(self) -> dict[str, Any]:
        if self.quantities:
            return {}
        options = [(QUANTITIES[name].label, name) for name in _ALL]
        return {
            "quantity": ui.Dropdown(
                options=options,
                value="mass",
                description="histogram of",
                style={"description_width": "7.5em"},
                layout={"width": "auto"},
            )
        }

    def _build(self) -> LayoutDOM:
        several = len(self.quantities) > 1
        names = self.quantities or ("",)
        self.sources, self.second, plots = [], [], []
        # One second history has room in a plot; with several it is the first by name.
        self._legends: list[list[Any]] = []
        self._frames: dict[str, tuple[float, ...]] = {}
        for name in names:
            source = ColumnDataSource({"left": [], "right": [], "clumps": [], "candidates": []})
            plot = new_figure(
                f"histogram_{name}" if name else "histogram",
                self.title,
                "",
                "clumps",
                height=250 if several else 300,
                live_title=True,
                x_range=(0, 1),
                y_range=(0, 1),
            )
            for column, colour, alpha in (("clumps", CLUMP, 0.5), ("candidates", CANDIDATE, 0.75)):
                plot.quad(
                    left="left",
                    right="right",
                    bottom=0,
                    top=column,
                    source=source,
                    fill_color=colour,
                    fill_alpha=alpha,
                    line_color=SKY if column == "candidates" else colour,
                    legend_label=column,
                    **LIVE,
                )
            bars = list(plot.renderers)
            dashed = ColumnDataSource({"x": [], "clumps": [], "candidates": []})
            for column, colour in (("clumps", CLUMP), ("candidates", CANDIDATE)):
                plot.line(
                    "x",
                    column,
                    source=dashed,
                    line_color=colour,
                    line_dash="dashed",
                    line_width=2,
                    legend_label=f"{column}, second history",
                    **LIVE,
                )
            self.second.append(dashed)
            self._legends.append(list(plot.legend[0].items[-2:]))
            plot.add_tools(
                HoverTool(
                    renderers=bars,
                    tooltips=[
                        ("from", "@left{0.[00]}"),
                        ("to", "@right{0.[00]}"),
                        ("clumps", "@clumps"),
                        ("candidates", "@candidates"),
                    ],
                )
            )
            legend_below(plot)
            self.sources.append(source)
            plots.append(plot)
            self.figures[plot.name] = plot
        return side_by_side(plots) if several else plots[0]

    def _update(self) -> None:
        names = self.quantities or (self.controls.quantity.value,)
        parts = zip(names, self.sources, self.second, self._legends, self.figures.values(), strict=True)
        for name, source, dashed, legend, plot in parts:
            histogram = self.host.population.histogram(name)
            above = self._update_second(name, dashed, legend, plot)
            entry = histogram.quantity
            source.data = {
                "left": histogram.edges[:-1],
                "right": histogram.edges[1:],
                "clumps": histogram.clumps.astype(np.float32),
                "candidates": histogram.candidates.astype(np.float32),
            }
            low, high = float(histogram.edges[0]), float(histogram.edges[-1])
            margin = 0.05 * (high - low)
            top = up_to_step(
                max(1.0, 1.05 * max(above, float((histogram.clumps + histogram.candidates).max()))), steps=10
            )
            frame = (low - margin, high + margin, top)
            if self._frames.get(plot.name) != frame:
                self._frames[plot.name] = frame
                plot.x_range.update(start=frame[0], end=frame[1])
                plot.y_range.update(start=0, end=top)
            label = f"log₁₀ {entry.title}" if entry.log else entry.title
            title = _counts(
                int(histogram.candidates.sum()), int(self.host.population.candidate.sum()), histogram.n_missing
            )
            if entry.log:
                # Values many decades below the largest would press the others together: they count in the first bin.
                population = self.host.population
                below = int(np.count_nonzero((population.scaled(name) < low) & ~population.removed))
                title += f", first bin holds {below} from below" if below else ""
            if plot.xaxis[0].axis_label != label:
                plot.xaxis[0].axis_label = label
            if plot.title.text != title:
                plot.title.text = title

    def _update_second(self, name: str, dashed: ColumnDataSource, legend: list[Any], plot: figure) -> float:
        """Draw the second star-formation history, where there is one; return how high it reaches."""
        population = self.host.population
        second = population.histories[1:2]
        # Redshift, size and magnification are the same under every history: nothing is drawn twice.
        shown = bool(second) and population.values(name, history=second[0]) is not population.values(name)
        if shown != (plot.legend[0].ncols == 2):
            # Four entries are wider than a third of the page.
            plot.legend[0].ncols = 2 if shown else "auto"
        for item in legend:
            column = item.label.value.partition(",")[0]
            label = f"{column}, {_words(second[0])}" if shown else item.label.value
            if item.label.value != label:
                item.label = {"value": label}
            if item.visible != shown:
                item.visible = shown
        if not shown:
            if len(dashed.data["x"]):
                dashed.data = {"x": [], "clumps": [], "candidates": []}
            return 0.0
        histogram = population.histogram(name, history=second[0])
        dashed.data = {
            "x": np.repeat(histogram.edges, 2),
            "clumps": _outline(histogram.clumps),
            "candidates": _outline(histogram.candidates),
        }
        return float(max(histogram.clumps.max(), histogram.candidates.max()))

    @property
    def result(self) -> Any:
        """The histogram (or a list of them, with several quantities)."""
        population = self.host.population
        if self.quantities:
            return [population.histogram(name) for name in self.quantities]
        return population.histogram(self.controls.quantity.value)

    def _call(self) -> str:
        if self.quantities:
            return f"[population.histogram(name) for name in {list(self.quantities)!r}]"
        return f"population.histogram({self.controls.quantity.value!r})"
