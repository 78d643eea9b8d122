"""Histograms of one quantity, or of all of them, over clumps and candidates."""

from __future__ import annotations

from typing import Any

import ipywidgets as ui
import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LayoutDOM

from sc_lab.population import QUANTITIES
from sc_lab_widgets._figures import LIVE, legend_below, new_figure, side_by_side, up_to_step
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._style import SKY
from sc_lab_widgets._symbols import CANDIDATE, CLUMP

__all__ = ["HistogramPanel"]

_ALL = ("z", "mass", "sigma_mass", "sfr", "sigma_sfr", "r_eff", "age_onset", "mu", "abs_mag_v")


class HistogramPanel(Panel):
    """Clumps above the size threshold against candidates below it, as figure 5 of the paper.

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
        self.sources, plots = [], []
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
            plot.add_tools(
                HoverTool(
                    tooltips=[
                        ("from", "@left{0.[00]}"),
                        ("to", "@right{0.[00]}"),
                        ("clumps", "@clumps"),
                        ("candidates", "@candidates"),
                    ]
                )
            )
            legend_below(plot)
            self.sources.append(source)
            plots.append(plot)
            self.figures[plot.name] = plot
        return side_by_side(plots) if several else plots[0]

    def _update(self) -> None:
        names = self.quantities or (self.controls.quantity.value,)
        for name, source, plot in zip(names, self.sources, self.figures.values(), strict=True):
            histogram = self.host.population.histogram(name)
            entry = histogram.quantity
            source.data = {
                "left": histogram.edges[:-1],
                "right": histogram.edges[1:],
                "clumps": histogram.clumps.astype(np.float32),
                "candidates": histogram.candidates.astype(np.float32),
            }
            low, high = float(histogram.edges[0]), float(histogram.edges[-1])
            margin = 0.05 * (high - low)
            top = up_to_step(max(1.0, 1.05 * float((histogram.clumps + histogram.candidates).max())), steps=10)
            frame = (low - margin, high + margin, top)
            if self._frames.get(plot.name) != frame:
                self._frames[plot.name] = frame
                plot.x_range.update(start=frame[0], end=frame[1])
                plot.y_range.update(start=0, end=top)
            label = f"log₁₀ {entry.title}" if entry.log else entry.title
            title = f"{int(histogram.candidates.sum())} candidates"
            if histogram.n_missing:
                title += f", {histogram.n_missing} without a value"
            if plot.xaxis[0].axis_label != label:
                plot.xaxis[0].axis_label = label
            if plot.title.text != title:
                plot.title.text = title

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
