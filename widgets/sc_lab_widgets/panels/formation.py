"""Surface density against formation redshift, coloured by the redshift of observation."""

from __future__ import annotations

from typing import Any

from bokeh.models import Arrow, BoxAnnotation, ColorBar, LayoutDOM, LinearColorMapper, VeeHead

from sc_lab_widgets._figures import LIVE, PlanePlot, limits, new_figure
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._style import ORANGE, SKY
from sc_lab_widgets._symbols import CANDIDATE, SEQUENTIAL

__all__ = ["FormationPanel"]


class FormationPanel(Panel):
    """When the candidates formed, as figure 6 of the paper.

    The shaded bands are cosmic noon (1 < z < 4) and reionisation (z > 6). See `Panel` for
    the parameters.
    """

    title = "Formation redshift"
    settings = ("size_threshold", "lens_model", "hubble", "omega_m", "omega_de")

    def _build(self) -> LayoutDOM:
        host = self.host
        plot = new_figure(
            "formation",
            self.title,
            "formation redshift",
            "mass surface density [M☉ pc⁻²]",
            y_log=True,
            live_title=True,
            x_range=(0.0, 1.0),
            y_range=(1.0, 10.0),
        )
        self.figures["formation"] = plot
        self._frame()
        for left, right, colour in ((1, 4, ORANGE), (6, None, SKY)):
            plot.add_layout(BoxAnnotation(left=left, right=right, fill_color=colour, fill_alpha=0.10, level="underlay"))
        # A mapper each: that of the glyphs tells a bar of changed numbers, which lays the whole figure out anew.
        mapper, bar_mapper = (LinearColorMapper(palette=SEQUENTIAL["default"], low=0, high=10) for _ in range(2))
        self.plane = PlanePlot(
            host,
            plot,
            "z_form",
            "sigma_mass",
            x_error=True,
            y_error=True,
            hover=("z_form", "sigma_mass", "age_onset", "mass", "mu"),
            color={"field": "z", "transform": mapper},
        )
        plot.add_layout(
            Arrow(
                source=host.sources.limits,
                x_start="z_form",
                y_start="sigma_mass",
                x_end="z_form",
                y_end="end_sigma",
                line_alpha=0.6,
                line_color=CANDIDATE,
                end=VeeHead(size=5, fill_color=CANDIDATE, line_color=CANDIDATE),
                **LIVE,
            )
        )
        plot.add_layout(ColorBar(color_mapper=bar_mapper, width=8, title="z observed", label_standoff=4), "right")
        return plot

    def _frame(self) -> None:
        plot, planes = self.figures["formation"], self.host.sources.planes
        bottom, top = limits(planes["sigma_mass"], log=True, tail=0.002)
        plot.x_range.update(start=0.0, end=min(limits(planes["z_form"], log=False, tail=0.01)[1], 25.0))
        plot.y_range.update(start=bottom, end=top)

    def _update(self) -> None:
        counts = self.host.population.counts
        title = f"{counts['formed_before_z4']} formed at z > 4, seen at z < 4"
        plot = self.figures["formation"]
        if plot.title.text != title:
            plot.title.text = title

    @property
    def result(self) -> Any:
        """Formation redshift of every clump, shape (n,); NaN where undefined."""
        return self.host.population.values("z_form")

    def _call(self) -> str:
        return 'population.values("z_form")'
