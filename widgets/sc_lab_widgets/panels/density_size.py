"""The density-size plane in the paper's four colourings, with local populations and limits."""

from __future__ import annotations

from typing import Any

import ipywidgets as ui
import numpy as np
from bokeh.models import (
    Arrow,
    ColorBar,
    ColumnDataSource,
    Label,
    LayoutDOM,
    LinearColorMapper,
    LogColorMapper,
    Span,
    VeeHead,
)

from sc_lab.density_size import IMBH_DENSITIES, constant_mass_line
from sc_lab.population import QUANTITIES
from sc_lab.reference import CONTOURS, contours
from sc_lab_widgets._figures import LIVE, PlanePlot, legend_below, limits, new_figure, side_by_side
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._simulated import SimulatedLayer, simulated_catalog
from sc_lab_widgets._style import GREY, VERMILION
from sc_lab_widgets._symbols import CANDIDATE, FIELDS, LOCAL, SEQUENTIAL

__all__ = ["COLOURINGS", "DensitySizePanel"]

#: The four colourings of figure 7: source column, label.
COLOURINGS = {"field": "field_code", "mu": "mu", "age_onset": "age_onset", "dynamical_age": "dynamical_age"}
#: Legends have the width of a figure to share.
_SHORT = {"ysc": "local young", "gc_mw": "globular", "nsc": "nuclear"}
_LINES = (1e4, 1e5, 1e6, 1e7, 1e8)


def _label(colouring: str) -> str:
    return "field" if colouring == "field" else QUANTITIES[colouring].label


class DensitySizePanel(Panel):
    """Mass surface density against effective radius, as figure 7 of the paper.

    Parameters
    ----------
    source : Session, catalogue, path or None
        As for `Workbench`.
    colourings : tuple of str, optional
        Several of ``field``, ``mu``, ``age_onset``, ``dynamical_age`` side by side; by default
        one, chosen by a control.
    simulated : Table, (Snapshot, Groups), sequence or mapping of these, optional
        Simulated clusters to draw along, from `sc_lab.simulations.measure_clusters` or `sc_lab.simulations.as_catalog`.
        They are not part of the population: no slider moves them.
    **options : Any
        As for `Panel`.
    """

    title = "Density–size plane"
    settings = ("size_threshold", "lens_model", "within")

    def __init__(
        self, source: Any = None, *, colourings: tuple[str, ...] = (), simulated: Any = None, **options: Any
    ) -> None:
        self.colourings = tuple(colourings)
        catalog = simulated_catalog(simulated)
        self.simulated = None if catalog is None else SimulatedLayer(catalog)
        super().__init__(source, **options)

    @classmethod
    def all(cls, source: Any = None, **options: Any) -> DensitySizePanel:
        """Return the panel of all four colourings."""
        return cls(source, colourings=tuple(COLOURINGS), **options)

    def _make_view_controls(self) -> dict[str, Any]:
        controls: dict[str, Any] = {
            "local": ui.Checkbox(
                value=True,
                description="local populations",
                indent=False,
                tooltip="contours of young, globular and nuclear clusters nearby",
            )
        }
        if not self.colourings:
            options = [(_label(name), name) for name in COLOURINGS]
            controls["colour_by"] = ui.Dropdown(
                options=options,
                value="field",
                description="colour by",
                style={"description_width": "7.5em"},
                layout={"width": "auto"},
            )
        return controls

    def _build(self) -> LayoutDOM:
        self.contour_renderers: list[Any] = []
        self.candidates: list[Any] = []
        self.bars: list[ColorBar] = []
        self.mass_lines = ColumnDataSource({"xs": [], "ys": []}, name="constant mass")
        self.mass_labels = ColumnDataSource({"x": [], "y": [], "text": []}, name="constant mass labels")
        shared: dict[str, Any] = {}
        plots = [self._plot(name, shared) for name in self.colourings or ("",)]
        return side_by_side(plots, columns=2) if len(plots) > 1 else plots[0]

    def _room(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return limits of the axes, with room for local populations, smaller than what lensing resolves."""
        planes = self.host.sources.planes
        (x0, x1), (y0, y1) = (limits(planes[name], log=True, tail=0.002) for name in ("r_eff", "sigma_mass"))
        if self.simulated is not None and len(self.simulated.mass):
            (a0, a1), (b0, b1) = (
                limits(values, log=True)
                for values in (self.simulated.r_eff, self.simulated.sigma(self.host.population.settings.within))
            )
            x0, x1, y0, y1 = min(x0, a0), max(x1, a1), min(y0, b0), max(y1, b1)
        return (min(x0, 0.5), max(x1, 60.0)), (min(y0, 5.0), max(y1, 8e5))

    def _frame(self) -> None:
        x, y = self._room()
        for plot in self.figures.values():
            plot.x_range.update(start=x[0], end=x[1])
            plot.y_range.update(start=y[0], end=y[1])

    def _plot(self, colouring: str, shared: dict[str, Any]) -> Any:
        host = self.host
        if not shared:
            shared["x"], shared["y"] = self._room()
        name = f"density_size_{colouring}" if colouring else "density_size"
        plot = new_figure(
            name,
            f"by {_label(colouring)}" if colouring else self.title,
            "effective radius [pc]",
            "mass surface density [M☉ pc⁻²]",
            x_log=True,
            y_log=True,
            x_range=shared["x"],
            y_range=shared["y"],
            height=400 if colouring else 300,
        )
        plot.multi_line("xs", "ys", source=self.mass_lines, line_color=GREY, line_dash="dotted", line_width=1)
        for population, label in CONTOURS.items():
            lines = contours(population)
            self.contour_renderers.append(
                plot.multi_line(
                    [10.0**line.log_r_eff for line in lines],
                    [10.0**line.log_sigma for line in lines],
                    line_color=LOCAL.get(population, GREY),
                    line_width=1.6,
                    legend_label=_SHORT.get(population, label),
                )
            )
        if self.simulated is not None:
            self.simulated.draw(plot)
        plot.text(
            "x",
            "y",
            "text",
            source=self.mass_labels,
            text_font_size="10px",
            text_color=GREY,
            text_align="center",
            text_baseline="bottom",
        )
        for critical in IMBH_DENSITIES:
            plot.add_layout(
                Span(
                    dimension="width",
                    location=float(critical.density.value),
                    line_color=VERMILION,
                    line_dash="dashed",
                    line_alpha=0.7,
                )
            )
            plot.add_layout(
                Label(
                    x=shared["x"][1],
                    x_offset=-3,
                    y=float(critical.density.value),
                    text=f"IMBH, {critical.name}",
                    text_align="right",
                    text_font_size="10px",
                    text_color=VERMILION,
                )
            )
        plane = PlanePlot(
            host,
            plot,
            "r_eff",
            "sigma_mass",
            x_error=True,
            y_error=True,
            hover=("r_eff", "sigma_mass", "mass", "age_onset", "dynamical_age", "mu"),
        )
        plot.add_layout(
            Arrow(
                source=host.sources.limits,
                x_start="r_eff",
                y_start="sigma_mass",
                x_end="end_r",
                y_end="end_sigma",
                line_alpha=0.6,
                line_color=CANDIDATE,
                end=VeeHead(size=5, fill_color=CANDIDATE, line_color=CANDIDATE),
                **LIVE,
            )
        )
        bar = ColorBar(
            color_mapper=LinearColorMapper(palette=SEQUENTIAL["default"], low=0, high=1), width=8, label_standoff=4
        )
        plot.add_layout(bar, "right")
        legend_below(plot)
        if self.simulated is not None:
            plot.legend[0].ncols = 3
        self.candidates.append(plane.candidates)
        self.bars.append(bar)
        self.figures[name] = plot
        return plot

    def _mapper(self, colouring: str) -> tuple[str, Any, str]:
        """Return source column, colour mapper and title of a colouring."""
        population = self.host.population
        if colouring == "field":
            names = list(dict.fromkeys(population.fields))
            palette = [FIELDS[i % len(FIELDS)] for i in range(max(len(names), 1))]
            mapper = LinearColorMapper(palette=palette, low=-0.5, high=len(palette) - 0.5)
            return "field_code", mapper, "field"
        values = population.values(colouring)
        positive = values[np.isfinite(values) & (values > 0)]
        low, high = np.quantile(positive, [0.02, 0.98]) if len(positive) > 1 else (1.0, 10.0)
        palette = SEQUENTIAL["age" if colouring == "age_onset" else "default"]
        mapper = LogColorMapper(palette=palette, low=float(low), high=float(max(high, low * 1.01)))
        return COLOURINGS[colouring], mapper, QUANTITIES[colouring].title

    def _update(self) -> None:
        for renderer in self.contour_renderers:
            if renderer.visible != self.controls.local.value:
                renderer.visible = self.controls.local.value
        settings = self.host.population.settings
        wanted = self.colourings or (self.controls.colour_by.value,)
        state = (wanted, settings.lens_model, settings.within, settings.hubble, settings.omega_m, settings.omega_de)
        if getattr(self, "_state", None) == state:
            return
        self._state = state
        if self.simulated is not None:
            self.simulated.fill(settings.within)
        radius = np.array([0.1, 1e4])
        lines = [constant_mass_line(mass, radius, within=settings.within) for mass in _LINES]
        self.mass_lines.data = {
            "xs": [radius] * len(_LINES),
            "ys": [line.value for line in lines],
        }
        bottom = next(iter(self.figures.values())).y_range.start * 1.3
        # Sigma goes as M / R^2: where each line leaves the frame at its lower edge.
        at = [float(np.sqrt(line.value[0] / bottom) * radius[0]) for line in lines]
        self.mass_labels.data = {
            "x": at[::2],
            "y": [bottom] * len(at[::2]),
            "text": [f"10{'⁰¹²³⁴⁵⁶⁷⁸⁹'[round(np.log10(mass))]} M☉" for mass in _LINES[::2]],
        }
        for colouring, candidates, bar in zip(wanted, self.candidates, self.bars, strict=True):
            column, mapper, title = self._mapper(colouring)
            candidates.glyph.fill_color = {"field": column, "transform": mapper}
            self._show_bar(bar, mapper, title, colouring)

    def _show_bar(self, bar: ColorBar, mapper: Any, title: str, colouring: str) -> None:
        from bokeh.models import (
            BasicTicker,
            FixedTicker,
            LogTicker,
            LogTickFormatter,
            NumeralTickFormatter,
            PlainText,
        )

        # A mapper of its own: that of the glyphs tells its bar of changed numbers at every step, and a bar that is told
        # so lays the whole figure out anew.
        bar.color_mapper = mapper.clone()
        bar.title = title
        # One field needs no key, and its name would take the room of the plot.
        shown = colouring != "field" or len(set(self.host.population.fields)) > 1
        if bar.visible != shown:
            bar.visible = shown
        if colouring == "field":
            names = list(dict.fromkeys(self.host.population.fields))
            bar.ticker = FixedTicker(ticks=list(range(len(names))))
            # Short plain-text names: a field may come from a file and be called anything.
            bar.major_label_overrides = {i: PlainText(text=_short(name)) for i, name in enumerate(names)}
            bar.formatter = NumeralTickFormatter()
        else:
            bar.major_label_overrides = {}
            bar.ticker = LogTicker() if isinstance(mapper, LogColorMapper) else BasicTicker()
            bar.formatter = LogTickFormatter()

    @property
    def result(self) -> Any:
        """Radius [pc] and surface density [Msun/pc2] of every clump, two arrays of shape (n,)."""
        return self.host.population.values("r_eff"), self.host.population.values("sigma_mass")

    def _call(self) -> str:
        return 'population.values("r_eff"), population.values("sigma_mass")'


def _short(name: str) -> str:
    """Return a name short enough to stand beside a plot."""
    return (name if len(name) <= 9 else f"{name[:8]}…") or "–"
