"""The size-magnitude plane with the size threshold."""

from __future__ import annotations

from typing import Any

from bokeh.models import LayoutDOM, Span

from sc_lab_widgets._figures import LIVE, PlanePlot, limits, new_figure
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._sources import magnitude_column
from sc_lab_widgets._symbols import SELECTED

__all__ = ["SizeMagnitudePanel"]


class SizeMagnitudePanel(Panel):
    """Effective radius against magnitude; candidates lie below the threshold line.

    See `Panel` for the parameters.
    """

    title = "Size–magnitude"
    settings = ("size_threshold", "lens_model")

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
        self._frame()
        hover = ("mass", "r_eff", "sigma_mass", "age_onset", "mu", "z_form")
        self.plane = PlanePlot(host, plot, "magnitude", "r_eff", y_error=True, hover=hover)
        self.threshold = Span(
            dimension="width", location=1.0, line_color=SELECTED, line_width=2, line_dash="dashed", **LIVE
        )
        plot.add_layout(self.threshold)
        return plot

    def _frame(self) -> None:
        plot, planes = self.figures["size_magnitude"], self.host.sources.planes
        low, high = limits(planes["magnitude"], log=False, tail=0.002)
        bottom, top = limits(planes["r_eff"], log=True, tail=0.002)
        plot.x_range.update(start=high, end=low)  # bright to the right, as radii grow upwards
        plot.y_range.update(start=bottom, end=top)
        _, label = magnitude_column(self.host.population)
        plot.xaxis.axis_label = label or "no magnitude in the catalogue"

    def _update(self) -> None:
        self.threshold.location = self.host.population.settings.size_threshold

    @property
    def result(self) -> Any:
        """Whether each clump is a candidate, shape (n,)."""
        return self.host.population.candidate

    def _call(self) -> str:
        return "population.candidate"
