"""The cluster mass function: sample, cumulative functions, posteriors, bootstrap and corner plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import contourpy
import numpy as np
from bokeh.models import ColumnDataSource, LayoutDOM, LinearColorMapper, Range1d, Span

from sc_lab.errors import InputError
from sc_lab_widgets._figures import LIVE, legend_below, limits, new_figure, side_by_side, up_to_step
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._symbols import BOOTSTRAP, CANDIDATE, CLUMP, MODEL, OBSERVED, POSTERIOR

if TYPE_CHECKING:
    from sc_lab.cmf import MassFunctionFit

__all__ = ["PARTS", "MassFunctionPanel"]

#: The six parts of figure 8, and figure A.1.
PARTS = (
    "mass_histogram",
    "cumulative_power_law",
    "cumulative_schechter",
    "beta_power_law",
    "beta_schechter",
    "log_mc_schechter",
    "corner",
)
_MODEL_NAME = {"power_law": "power law", "schechter": "Schechter"}
_PARAMETER = {"beta": "β", "log_mc": "log₁₀ (M_c / M☉)"}
_SYMBOL = {"beta": "β", "log_mc": "log M_c"}
#: Curves drawn from a posterior, and masses that each is drawn at: enough for the eye, and quick to paint.
_LINES, _POINTS = 60, 33
#: One colour that fades to nothing serves both themes.
_FADING = [f"{POSTERIOR}{level:02x}" for level in range(0, 256, 4)]


def _fences(curves: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return many curves as one line with gaps: one path to draw, two buffers to send."""
    gaps = np.full((len(curves), 1), np.nan)
    y = np.hstack([curves, gaps]).ravel()
    return {"x": np.tile(np.append(x, np.nan), len(curves)).astype(np.float32), "y": y.astype(np.float32)}


def _parameter_and_model(part: str) -> tuple[str, str]:
    """Return what a posterior plot shows."""
    return ("log_mc", "schechter") if part.startswith("log_mc") else ("beta", part.partition("_")[2])


class MassFunctionPanel(Panel):
    """Mass function of the young massive candidates, as figures 8 and A.1 of the paper.

    Parameters
    ----------
    source : Session, catalogue, path or None
        As for `Workbench`.
    parts : tuple of str
        Which of `PARTS`; all by default.
    **options : Any
        As for `Panel`.
    """

    title = "Cluster mass function"
    settings = ("size_threshold", "age_max", "mass_min", "mass_max", "drop_most_massive", "lens_model")

    def __init__(self, source: Any = None, *, parts: tuple[str, ...] = PARTS, **options: Any) -> None:
        unknown = [part for part in parts if part not in PARTS]
        if unknown:
            msg = f"there is no part {', '.join(map(repr, unknown))}; the parts are {', '.join(PARTS)}"
            raise InputError(msg)
        self.parts = tuple(parts)
        super().__init__(source, **options)

    # ---- figures ---------------------------------------------------------------------------
    def _build(self) -> LayoutDOM:
        self.sources: dict[str, ColumnDataSource] = {}
        self.spans: dict[str, list[Span]] = {}
        self._frames: dict[str, tuple[float, float, float, float]] = {}
        self._frame()
        plots = []
        for part in self.parts:
            kind, _, model = part.partition("_")
            if part == "mass_histogram":
                plot = self._mass_histogram()
            elif kind == "cumulative":
                plot = self._cumulative(part, model)
            elif part == "corner":
                plot = self._corner()
            else:
                parameter, _, model = part.rpartition("_") if part.startswith("log_mc") else part.partition("_")
                plot = self._posterior(part, parameter, model)
            self.figures[part] = plot
            plots.append(plot)
        return side_by_side(plots) if len(plots) > 1 else plots[0]

    def _source(self, name: str, *columns: str) -> ColumnDataSource:
        self.sources[name] = ColumnDataSource({column: [] for column in columns})
        return self.sources[name]

    def _mass_histogram(self) -> Any:
        plot = new_figure("mass_histogram", "sample", "log₁₀ mass [M☉]", "objects", live_title=True)
        plot.y_range.start = 0
        for name, colour, alpha in (("candidates", CLUMP, 0.5), ("sample", CANDIDATE, 0.75)):
            source = self._source(f"histogram {name}", "left", "right", "top")
            plot.quad(
                left="left",
                right="right",
                bottom=0,
                top="top",
                source=source,
                fill_color=colour,
                fill_alpha=alpha,
                line_color=colour,
                legend_label=name,
            )
        self.spans["cuts"] = [Span(dimension="height", location=0, line_dash="dashed", line_width=2) for _ in range(2)]
        for span in self.spans["cuts"]:
            plot.add_layout(span)
        legend_below(plot)
        return plot

    def _cumulative(self, part: str, model: str) -> Any:
        plot = new_figure(
            part,
            _MODEL_NAME[model],
            "mass [M☉]",
            "objects more massive",
            x_log=True,
            y_log=True,
            x_range=Range1d(1e6, 1e9),
            y_range=Range1d(0.5, 100),
            live_title=True,
        )
        plot.line(
            "x",
            "y",
            source=self._source(f"{part} bootstrap", "x", "y"),
            line_color=BOOTSTRAP,
            line_alpha=0.35,
            legend_label="bootstrap",
            **LIVE,
        )
        plot.line(
            "x",
            "y",
            source=self._source(f"{part} draws", "x", "y"),
            line_color=POSTERIOR,
            line_alpha=0.35,
            legend_label="posterior",
            **LIVE,
        )
        plot.line(
            "x",
            "y",
            source=self._source(f"{part} median", "x", "y"),
            line_color=MODEL[model],
            line_width=2,
            legend_label=_MODEL_NAME[model],
            **LIVE,
        )
        plot.scatter(
            "x",
            "y",
            source=self._source(f"{part} data", "x", "y"),
            size=4,
            marker="circle",
            fill_color=OBSERVED,
            line_color=None,
            legend_label="observed",
            **LIVE,
        )
        legend_below(plot)
        return plot

    def _posterior(self, part: str, parameter: str, model: str) -> Any:
        plot = new_figure(part, _MODEL_NAME[model], _PARAMETER[parameter], "probability density", live_title=True)
        plot.y_range.start = 0
        plot.quad(
            left="left",
            right="right",
            bottom=0,
            top="top",
            source=self._source(f"{part} bootstrap", "left", "right", "top"),
            fill_color=BOOTSTRAP,
            fill_alpha=0.4,
            line_color=None,
            legend_label="bootstrap medians",
        )
        plot.varea(
            "x",
            "zero",
            "y",
            source=self._source(f"{part} 68", "x", "zero", "y"),
            fill_color=MODEL[model],
            fill_alpha=0.25,
            legend_label="68 %",
        )
        plot.line(
            "x",
            "y",
            source=self._source(f"{part} density", "x", "y"),
            line_color=MODEL[model],
            line_width=2,
            legend_label="posterior",
        )
        legend_below(plot)
        return plot

    def _corner(self) -> Any:
        plot = new_figure(
            "corner",
            "Schechter",
            _PARAMETER["beta"],
            _PARAMETER["log_mc"],
            x_range=Range1d(-3, -1),
            y_range=Range1d(6, 9),
            live_title=True,
        )
        mapper = LinearColorMapper(palette=_FADING, low=0.0, high=1.0)
        plot.image(
            "image",
            x="x",
            y="y",
            dw="dw",
            dh="dh",
            **LIVE,
            color_mapper=mapper,
            source=self._source("corner image", "image", "x", "y", "dw", "dh"),
        )
        plot.line(
            "x",
            "y",
            source=self._source("corner contours", "x", "y"),
            line_color=MODEL["schechter"],
            line_width=2,
            legend_label="68 and 95 %",
            **LIVE,
        )
        plot.scatter(
            "x",
            "y",
            source=self._source("corner bootstrap", "x", "y"),
            size=3,
            marker="square",
            fill_color=BOOTSTRAP,
            fill_alpha=0.7,
            line_color=None,
            legend_label="bootstrap medians",
            **LIVE,
        )
        legend_below(plot)
        return plot

    # ---- updates ---------------------------------------------------------------------------
    def _update(self) -> None:
        population = self.host.population
        state = (population.in_cmf_sample, population.settings)
        previous = getattr(self, "_state", None)
        same_sample = previous is not None and previous[0] is state[0] and previous[1] == state[1]
        if same_sample and getattr(self, "_removed", None) is population.removed:
            return
        self._state, self._removed = state, population.removed
        self._bootstrap_due = False
        if "mass_histogram" in self.parts:
            self._update_histogram()
        try:
            for part in self.parts:
                if part.startswith("cumulative"):
                    self._update_cumulative(part, part.partition("_")[2])
                elif part == "corner":
                    self._update_corner()
                elif part != "mass_histogram":
                    self._update_posterior(part)
        except InputError:
            # Nothing to fit: stale curves beside the sentence would belong to another sample.
            for name, source in self.sources.items():
                if not name.startswith("histogram"):
                    source.data = {column: [] for column in source.data}
            for part in self.parts:
                self._set_title(part, "too few objects for a fit")
            raise
        self._bootstrap_due = True

    def _frame(self) -> None:
        self.mass_range = limits(self.host.population.values("mass"), log=True)

    def _update_histogram(self) -> None:
        population = self.host.population
        mass = population.scaled("mass")
        low, high = np.log10(self.mass_range[0]), np.log10(self.mass_range[1])
        edges = np.linspace(low, high, 31)
        for name, rows in (("candidates", population.candidate), ("sample", population.in_cmf_sample)):
            counts, _ = np.histogram(mass[rows & np.isfinite(mass)], edges)
            self.sources[f"histogram {name}"].data = {
                "left": edges[:-1],
                "right": edges[1:],
                "top": counts.astype(np.float32),
            }
        settings = population.settings
        bottom, top = self.spans["cuts"]
        bottom.location = float(np.log10(settings.mass_min))
        top.visible = settings.mass_max is not None
        if settings.mass_max is not None:
            top.location = float(np.log10(settings.mass_max))
        self._set_title("mass_histogram", f"{int(population.in_cmf_sample.sum())} objects in the sample")

    def _set_title(self, part: str, text: str) -> None:
        # Setting the same text again would redraw the figure.
        if self.figures[part].title.text != text:
            self.figures[part].title.text = text

    def _set_frame(self, part: str, frame: tuple[float, float, float, float]) -> None:
        # Only where the frame itself changes: what a user has zoomed stays.
        if self._frames.get(part) != frame:
            self._frames[part] = frame
            plot = self.figures[part]
            plot.x_range.update(start=frame[0], end=frame[1])
            plot.y_range.update(start=frame[2], end=frame[3])

    def _numbers(self, fit: MassFunctionFit, parameter: str) -> str:
        low, mid, high = fit.quantile(parameter, [0.16, 0.5, 0.84])
        edge = fit.reaches_prior(parameter, above=0.6)
        if edge is not None:
            # The data leave one side open: there the quantiles are the prior's, no measurement.
            sign, value = (">", low) if edge > mid else ("<", high)
            return f"{_SYMBOL[parameter]} {sign} {value:.2f}, open to the prior".replace("-", "−")
        return f"{_SYMBOL[parameter]} = {mid:.2f} +{high - mid:.2f} −{mid - low:.2f}".replace("-", "−")

    def _update_cumulative(self, part: str, model: str) -> None:
        population = self.host.population
        fit = population.mass_function(model)
        data = np.sort(population.sample_masses)[::-1]
        x = self._masses(fit)
        frame = (fit.m_min * 0.8, up_to_step(float(x[-1])), 0.5, up_to_step(max(2.0, len(data) * 1.3)))
        self._set_frame(part, frame)
        self.sources[f"{part} data"].data = {
            "x": data.astype(np.float32),
            "y": np.arange(1, len(data) + 1, dtype=np.float32),
        }
        self.sources[f"{part} draws"].data = _fences(fit.cumulative(x, n_draws=_LINES), x)
        median = fit.cumulative(x, parameters={name: np.array([fit.quantile(name, 0.5)]) for name in fit.parameters})
        self.sources[f"{part} median"].data = {"x": x.astype(np.float32), "y": median[0].astype(np.float32)}
        self._set_title(part, f"N = {fit.n}: {self._numbers(fit, 'beta')}")

    def _masses(self, fit: MassFunctionFit) -> np.ndarray:
        """Return the masses at which the cumulative functions are drawn."""
        return np.geomspace(
            fit.m_min, max(float(self.host.population.sample_masses.max()) * 3, fit.m_min * 60), _POINTS
        )

    def _update_posterior(self, part: str) -> None:
        parameter, model = _parameter_and_model(part)
        population = self.host.population
        fit = population.mass_function(model)
        x, density = fit.posterior(parameter)
        low, high = fit.quantile(parameter, [0.16, 0.84])
        inside = np.linspace(low, high, 40)
        self.sources[f"{part} density"].data = {"x": x.astype(np.float32), "y": density.astype(np.float32)}
        self.sources[f"{part} 68"].data = {
            "x": inside,
            "zero": np.zeros_like(inside),
            "y": np.interp(inside, x, density),
        }
        self._set_title(part, f"{_MODEL_NAME[model]}: {self._numbers(fit, parameter)}")

    def _update_corner(self) -> None:
        population = self.host.population
        fit = population.mass_function("schechter")
        beta, log_mc, density = fit.joint()
        step = max(1, len(beta) // 80), max(1, len(log_mc) // 80)
        beta, log_mc, density = beta[:: step[0]], log_mc[:: step[1]], density[:: step[0], :: step[1]]
        half_x, half_y = (beta[1] - beta[0]) / 2, (log_mc[1] - log_mc[0]) / 2
        self.sources["corner image"].data = {
            "image": [(density.T / density.max()).astype(np.float32)],
            "x": [beta[0] - half_x],
            "y": [log_mc[0] - half_y],
            "dw": [beta[-1] - beta[0] + 2 * half_x],
            "dh": [log_mc[-1] - log_mc[0] + 2 * half_y],
        }
        ranked = np.sort(density.ravel())[::-1]
        mass = np.cumsum(ranked) / ranked.sum()
        levels = [float(ranked[np.searchsorted(mass, p)]) for p in (0.95, 0.68)]
        generator = contourpy.contour_generator(beta, log_mc, density.T)
        gap = np.full((1, 2), np.nan)
        lines: list[Any] = [part for level in levels for line in generator.lines(level) for part in (line, gap)]
        points = np.vstack(lines) if lines else gap
        self.sources["corner contours"].data = {
            "x": points[:, 0].astype(np.float32),
            "y": points[:, 1].astype(np.float32),
        }
        low, high = (float(np.round(edge * 4) / 4) for edge in (log_mc[0] - 0.1, log_mc[-1] + 0.1))
        self._set_frame("corner", (-3.0, -1.0, low, high))
        self._set_title("corner", f"{self._numbers(fit, 'beta')}, {self._numbers(fit, 'log_mc')}")

    def _refine(self) -> None:
        """Show the bootstrap of the sample: 500 fits, where every step of a drag has one."""
        if not self._bootstrap_due:
            return
        self._bootstrap_due = False
        for part in self.parts:
            if part.startswith("cumulative"):
                self._bootstrap_cumulative(part, part.partition("_")[2])
            elif part == "corner":
                medians = self.host.population.bootstrap("schechter")
                self.sources["corner bootstrap"].data = {
                    "x": medians["beta"].astype(np.float32),
                    "y": medians["log_mc"].astype(np.float32),
                }
            elif part != "mass_histogram":
                self._bootstrap_posterior(part)

    def _bootstrap_cumulative(self, part: str, model: str) -> None:
        fit, medians = self.host.population.mass_function(model), self.host.population.bootstrap(model)
        x = self._masses(fit)
        known = np.flatnonzero(np.isfinite(medians["beta"]))[:_LINES]
        curves = fit.cumulative(x, parameters={name: medians[name][known] for name in fit.parameters})
        # Each drawn population has its own number of objects.
        self.sources[f"{part} bootstrap"].data = _fences(curves * (medians["n"][known] / fit.n)[:, None], x)

    def _bootstrap_posterior(self, part: str) -> None:
        parameter, model = _parameter_and_model(part)
        medians = self.host.population.bootstrap(model)[parameter]
        medians = medians[np.isfinite(medians)]
        if len(medians):
            top, edges = np.histogram(medians, bins=20, density=True)
            # Drawn to the posterior's height: the comparison is of position and width.
            _, density = self.host.population.mass_function(model).posterior(parameter)
            top = top / max(top.max(), 1e-300) * density.max()
            self.sources[f"{part} bootstrap"].data = {"left": edges[:-1], "right": edges[1:], "top": top}

    # ---- the same in plain Python -----------------------------------------------------------
    @property
    def result(self) -> Any:
        """The fits, by model."""
        return {model: self.host.population.mass_function(model) for model in _MODEL_NAME}

    def _call(self) -> str:
        return f"{{model: population.mass_function(model) for model in {tuple(_MODEL_NAME)!r}}}"
