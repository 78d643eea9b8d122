"""Fits of the cluster mass function: the exact grid that a slider can drive, and emcee as in the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from sc_lab.cmf.models import LogNormSurface, MassFunction, PowerLaw, Schechter, mass_function
from sc_lab.cmf.selection import Selection, as_selection, log_chance, with_selection
from sc_lab.errors import InputError
from sc_lab.inference import GridPosterior, find_boxes, integrate, kde_mode, run_emcee
from sc_lab.inference.mcmc import whole_number
from sc_lab.units import MASS, FloatArray, value_in

if TYPE_CHECKING:
    from astropy.table import QTable

    from sc_lab.inference.grid import Rows

__all__ = ["MassFunctionFit", "MassFunctionGrid", "fit_mass_function"]

#: Upper edge of the prior on log10(M_c / Msun) in Claeyssens et al. 2026, section 4.4.
_LOG_MC_TOP = 9.0
_BOOTSTRAP_NODES = 36


class _Posterior(Protocol):
    """What a grid and a chain have in common."""

    @property
    def log_evidence(self) -> float: ...

    def quantile(self, axis: int, q: npt.ArrayLike) -> FloatArray: ...

    def curve(self, axis: int) -> tuple[FloatArray, FloatArray]: ...

    def joint(self) -> tuple[tuple[FloatArray, ...], FloatArray]: ...

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class MassFunctionFit:
    """The posterior of a mass function.

    Attributes
    ----------
    model : str
        ``"power_law"`` or ``"schechter"``.
    method : str
        ``"grid"`` or ``"emcee"``.
    n : int
        Objects fitted.
    n_outside : int
        Masses given that lie outside [m_min, m_max) and were left out.
    m_min, m_max : float
        Limits of the sample and of the normalisation [Msun]; m_max may be infinite.
    prior : mapping
        Edges of the flat prior, by parameter.
    acceptance : float
        Accepted fraction of the emcee proposals; NaN for the grid, which proposes nothing.
    autocorrelation_time : mapping
        In steps of the emcee run, by parameter; NaN for the grid.
    selection : Selection or None
        The chance to be detected inside the normalisation; None where every object counts as detected.
    """

    model: str
    method: str
    n: int
    n_outside: int
    m_min: float
    m_max: float
    prior: Mapping[str, tuple[float, float]]
    acceptance: float
    autocorrelation_time: Mapping[str, float]
    _function: MassFunction = field(repr=False)
    _posterior: _Posterior = field(repr=False)
    _seed: int = field(repr=False)
    _n_samples: int = field(repr=False)
    _notes: tuple[str, ...] = field(repr=False)
    _log_chance: float = field(default=0.0, repr=False)
    selection: Selection | None = field(default=None, repr=False)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters: ``beta``, and ``log_mc`` = log10(M_c / Msun) for a Schechter function."""
        return self._function.parameters

    def quantile(self, name: str, q: npt.ArrayLike) -> FloatArray:
        """Return quantiles of a parameter.

        Parameters
        ----------
        name : str
            One of `parameters`.
        q : array_like
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray
            Shape of ``q``.

        Raises
        ------
        InputError
            If there is no such parameter, or a probability is impossible.
        """
        return self._posterior.quantile(self._axis(name), q)

    def mode(self, name: str) -> float:
        """Return the most probable value of a parameter by a Gaussian kernel estimate of its samples.

        Parameters
        ----------
        name : str
            One of `parameters`.

        Returns
        -------
        float
            As `scipy.stats.gaussian_kde` with its default width gives it, the paper's definition.

        Raises
        ------
        InputError
            If there is no such parameter.
        """
        self._axis(name)
        return self._modes(name)

    def posterior(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return the marginal posterior density of a parameter.

        Parameters
        ----------
        name : str
            One of `parameters`.

        Returns
        -------
        x, density : ndarray
            Equally spaced points and the density there, which integrates to 1. A histogram for emcee.

        Raises
        ------
        InputError
            If there is no such parameter.
        """
        return self._posterior.curve(self._axis(name))

    def joint(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the joint posterior density of slope and truncation mass.

        Returns
        -------
        beta, log_mc : ndarray
            Equally spaced points, shapes (a,) and (b,).
        density : ndarray
            Shape (a, b).

        Raises
        ------
        InputError
            If the model has one parameter only.
        """
        if len(self.parameters) < 2:
            msg = f"a {self.model} fit has the one parameter beta; use posterior('beta')"
            raise InputError(msg)
        (beta, log_mc), density = self._posterior.joint()
        return beta, log_mc, density

    @cached_property
    def samples(self) -> Mapping[str, FloatArray]:
        """Draws from the posterior by parameter, made when first asked for; draw i of all belongs together."""
        draws = self.draw(self._n_samples, rng=self._seed) if self.method == "grid" else self._chain
        return MappingProxyType({name: draws[:, axis] for axis, name in enumerate(self.parameters)})

    def draw(self, n: int, *, rng: np.random.Generator | int | None = None) -> FloatArray:
        """Draw from the joint posterior.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : int or `~numpy.random.Generator`, optional
            Seed or source of chance; None repeats the draws of the fit's own seed.

        Returns
        -------
        ndarray
            Shape (n, n_parameters), columns in the order of `parameters`.
        """
        return self._posterior.draw(n, np.random.default_rng(self._seed if rng is None else rng))

    @property
    def log_evidence(self) -> float:
        """Logarithm of the evidence, for masses in Msun and the flat prior; NaN for emcee, which cannot tell."""
        return self._posterior.log_evidence - self.n * math.log(self.m_min) + self._log_chance

    def log_bayes_factor(self, other: MassFunctionFit) -> float:
        """Return ln of the evidence ratio of this model to another, fitted to the same sample.

        Parameters
        ----------
        other : MassFunctionFit
            The other model, by grid too.

        Returns
        -------
        float
            Positive where the data favour this model.

        Raises
        ------
        InputError
            If the fits are of different samples, or one is from emcee.
        """
        for fit in (self, other):
            if fit.method != "grid":
                msg = f"the {fit.model} fit is by emcee, which gives no evidence; fit it with method='grid'"
                raise InputError(msg)
        mine, theirs = ((fit.n, fit.m_min, fit.m_max) for fit in (self, other))
        if mine != theirs:
            msg = (
                f"the fits are of different samples (n, m_min, m_max): {mine} and {theirs}; "
                "an evidence ratio needs the same masses and limits in both"
            )
            raise InputError(msg)
        if not (self.selection is other.selection or (self.selection and self.selection.same_as(other.selection))):
            msg = "the fits have different selections; an evidence ratio compares models of the same detected sample"
            raise InputError(msg)
        return self.log_evidence - other.log_evidence

    def cumulative(
        self, mass: Any, *, n_draws: int = 100, parameters: Mapping[str, npt.ArrayLike] | None = None
    ) -> FloatArray:
        """Return the expected number of objects of the sample above a mass: with a selection, of detected objects.

        Parameters
        ----------
        mass : `~astropy.units.Quantity` or array_like
            Masses [Msun], shape (m,).
        n_draws : int
            Number of posterior draws, where no parameters are given.
        parameters : mapping, optional
            Values by parameter, each of shape (k,); for instance bootstrap medians.

        Returns
        -------
        ndarray
            Shape (n_draws or k, m): N(>M), equal to `n` at m_min and below; NaN where a mass or a parameter is.

        Raises
        ------
        InputError
            If a parameter is missing, or their lengths differ.
        """
        points = np.atleast_1d(value_in(mass, MASS, "mass"))
        if parameters is None:
            whole_number("n_draws", n_draws, 1, "each draw makes one curve")
            columns = list(self.draw(n_draws).T)
        else:
            if set(parameters) != set(self.parameters):
                msg = f"parameters has {', '.join(parameters) or 'nothing'}; give {' and '.join(self.parameters)}"
                raise InputError(msg)
            columns = [np.atleast_1d(np.asarray(parameters[name], dtype=np.float64)) for name in self.parameters]
            if len({column.shape for column in columns}) > 1:
                msg = f"parameters have the shapes {[column.shape for column in columns]}; give as many values of each"
                raise InputError(msg)
        # A population without a fit, or a mass not measured, has no curve; the others do.
        out = np.full((len(columns[0]), len(points)), np.nan)
        rows, known = np.isfinite(columns).all(axis=0), ~np.isnan(points)
        out[np.ix_(rows, known)] = self.n * self._function.survival(points[known], *(c[rows] for c in columns))
        return out

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Plain sentences on what limits the result; empty when nothing does."""
        out = list(self._notes)
        if self.n_outside:
            out.append(f"{self.n_outside} of the masses given lie outside [m_min, m_max) and were left out")
        for name in self.parameters:
            edge = self.reaches_prior(name)
            if edge is not None:
                out.append(
                    f"the posterior of {name} runs into its prior at {edge:.4g}: its quantiles depend on that edge"
                )
        return tuple(out)

    def reaches_prior(self, name: str, *, above: float = 0.1) -> float | None:
        """Return the edge of the prior that a posterior is cut off at, if it is.

        Parameters
        ----------
        name : str
            One of `parameters`.
        above : float
            Fraction of the maximum that the density at an edge has to exceed.

        Returns
        -------
        float or None
            The edge where the density exceeds that fraction; the upper one where both do.

        Raises
        ------
        InputError
            If there is no such parameter.
        """
        x, density = self.posterior(name)
        low, high = self.prior[name]
        for edge, value, end in ((high, density[-1], x[-1]), (low, density[0], x[0])):
            if abs(end - edge) < 0.01 * (high - low) and value > above * density.max():
                return float(edge)
        return None

    def to_table(self) -> QTable:
        """Return the summary as a table.

        Returns
        -------
        QTable
            One row a parameter: 16, 50 and 84 %, the errors between them, and the mode; the rest in ``meta``.
        """
        from astropy.table import QTable

        rows = [(name, *self.quantile(name, [0.16, 0.5, 0.84]), self.mode(name)) for name in self.parameters]
        names, low, mid, high, mode = (list(column) for column in zip(*rows, strict=True))
        selected = {}
        if self.selection is not None:
            table = {"mass": self.selection.mass.tolist(), "probability": self.selection.probability.tolist()}
            selected = {"selection": table}
        return QTable(
            {
                "parameter": names,
                "q16": low,
                "q50": mid,
                "q84": high,
                "err_lo": np.subtract(mid, low),
                "err_hi": np.subtract(high, mid),
                "mode": mode,
            },
            meta={
                "model": self.model,
                "method": self.method,
                "n": self.n,
                "n_outside": self.n_outside,
                "m_min": self.m_min,
                "m_max": None if math.isinf(self.m_max) else self.m_max,
                "prior": {name: list(edges) for name, edges in self.prior.items()},
                "log_evidence": None if math.isnan(self.log_evidence) else self.log_evidence,
                "warnings": list(self.warnings),
                **selected,
            },
        )

    @property
    def _chain(self) -> FloatArray:
        # Asked for only where the method is emcee: its posterior is the chain's draws.
        return np.asarray(self._posterior.draws, dtype=np.float64)  # type: ignore[attr-defined]

    def _axis(self, name: str) -> int:
        if name not in self.parameters:
            msg = f"there is no parameter {name!r}; a {self.model} fit has {' and '.join(self.parameters)}"
            raise InputError(msg)
        return self.parameters.index(name)

    def _modes(self, name: str) -> float:
        known: dict[str, float] = self.__dict__.setdefault("_known_modes", {})
        if name not in known:
            known[name] = kde_mode(self.samples[name])
        return known[name]


class MassFunctionGrid:
    """The live engine: a model between two limits, its normalisation computed once.

    The likelihood depends on the masses only through their number, the sum of ln M and the sum of M,
    so that thousands of samples are fitted in one go.

    Parameters
    ----------
    model : {"power_law", "schechter"}
        The model.
    m_min : `~astropy.units.Quantity` or float
        Lower limit of sample and normalisation [Msun].
    m_max : `~astropy.units.Quantity` or float, optional
        Upper limit of both [Msun]; None means infinity.
    beta_prior : tuple of float
        Edges of the flat prior on the slope.
    log_mc_prior : tuple of float, optional
        Edges of the flat prior on log10(M_c / Msun); None means from log10 m_min to 9.
    selection : Selection or callable, optional
        The chance to be detected, see `fit_mass_function`.

    Raises
    ------
    InputError
        If the model is unknown, or a limit, prior or selection impossible.

    Examples
    --------
    >>> import numpy as np
    >>> grid = MassFunctionGrid("power_law", m_min=2e6)
    >>> masses = 2e6 * np.array([1.2, 1.5, 2.0, 4.0, 9.0])
    >>> fit = grid.fit(masses, rng=1)
    >>> medians = grid.medians([5], [np.log(masses).sum()], [masses.sum()])
    >>> bool(abs(fit.quantile("beta", 0.5) - medians["beta"][0]) < 1e-3)
    True
    """

    def __init__(
        self,
        model: str,
        m_min: Any,
        m_max: Any = None,
        *,
        beta_prior: tuple[float, float] = (-3.0, -1.0),
        log_mc_prior: tuple[float, float] | None = None,
        selection: Selection | Callable[[FloatArray], npt.ArrayLike] | None = None,
    ) -> None:
        self.function = mass_function(model, m_min, m_max)
        self.selection = None if selection is None else as_selection(selection, self.function)
        if self.selection is not None:
            self.function = with_selection(self.function, self.selection)
        beta = _edges(beta_prior, "beta_prior")
        self.prior: Mapping[str, tuple[float, float]]
        if isinstance(self.function, PowerLaw):
            if log_mc_prior is not None:
                msg = f"log_mc_prior is {log_mc_prior!r}, but a power law has no log_mc; leave it out"
                raise InputError(msg)
            if math.isinf(self.function.m_max) and beta[1] > -1:
                msg = (
                    f"beta_prior reaches {beta[1]:g}, but without an m_max a power law needs a beta below -1; "
                    "end the prior at -1 or give m_max"
                )
                raise InputError(msg)
            self.prior = MappingProxyType({"beta": beta})
        else:
            low = math.log10(self.function.m_min)
            if log_mc_prior is None and low >= _LOG_MC_TOP:
                msg = (
                    f"m_min is {self.function.m_min:g} Msun, which leaves nothing of the prior on log_mc, "
                    f"log10(m_min) to {_LOG_MC_TOP:g}; give log_mc_prior"
                )
                raise InputError(msg)
            log_mc = (low, _LOG_MC_TOP) if log_mc_prior is None else _edges(log_mc_prior, "log_mc_prior")
            if log_mc[0] < low - 6 or log_mc[1] > low + 12:
                msg = (
                    f"log_mc_prior is {log_mc}; stay between 6 dex below and 12 dex above log10(m_min) = {low:.2f}: "
                    "beyond, the model is a step or a power law"
                )
                raise InputError(msg)
            self.prior = MappingProxyType({"beta": beta, "log_mc": log_mc})

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.function.parameters

    @cached_property
    def _surface(self) -> LogNormSurface:
        if not isinstance(self.function, Schechter):  # pragma: no cover - only Schechter asks
            raise TypeError
        return LogNormSurface(self.function, self.prior["beta"], self.prior["log_mc"])

    def fit(
        self, mass: Any, *, rng: np.random.Generator | int | None = None, n_samples: int = 50_000
    ) -> MassFunctionFit:
        """Fit masses.

        Parameters
        ----------
        mass : `~astropy.units.Quantity` or array_like
            Masses [Msun], shape (n,); those outside [m_min, m_max) are left out and counted.
        rng : int or `~numpy.random.Generator`, optional
            Seed of the samples.
        n_samples : int
            Number of samples, drawn when first asked for.

        Returns
        -------
        MassFunctionFit
            The exact posterior.

        Raises
        ------
        InputError
            If fewer than two masses lie inside, all are equal, or one is not finite.
        """
        engine, inside, n_outside, chance = self.for_sample(mass)
        x = inside / self.function.m_min
        sums = float(np.log(x).sum()), float((x - 1.0).sum())
        return engine._fit(len(x), *sums, n_outside, rng, n_samples, chance)  # noqa: SLF001 - another of this class

    def for_sample(self, mass: Any) -> tuple[MassFunctionGrid, FloatArray, int, float]:
        """Return what the fit of a sample needs.

        Parameters
        ----------
        mass : `~astropy.units.Quantity` or array_like
            Masses [Msun], shape (n,).

        Returns
        -------
        engine : MassFunctionGrid
            This grid; where each object has its own chance to be detected, one for the objects inside.
        inside : ndarray
            The masses inside [m_min, m_max) [Msun].
        n_outside : int
            How many lie outside.
        log_chance : float
            Sum of ln p(detect) of the masses inside.

        Raises
        ------
        InputError
            If fewer than two masses lie inside, all are equal, one is not finite, or one could not be detected.
        """
        inside, used = _inside(mass, self.function)
        n_outside = len(used) - len(inside)
        if self.selection is None:
            return self, inside, n_outside, 0.0
        n_rows = self.selection.n_objects
        if n_rows not in (None, len(used)):
            msg = (
                f"the selection has a row for each of {n_rows} objects, mass has {len(used)}; give one row for each "
                "mass, in the same order, those outside [m_min, m_max) included"
            )
            raise InputError(msg)
        engine = self
        if n_rows is not None and n_outside:
            options = {"log_mc_prior": self.prior["log_mc"]} if "log_mc" in self.prior else {}
            engine = MassFunctionGrid(
                self.function.name,
                self.function.m_min,
                self.function.m_max,
                beta_prior=self.prior["beta"],
                selection=self.selection.rows(used),
                **options,
            )
        return engine, inside, n_outside, log_chance(self.selection.rows(used), inside)

    def fit_statistics(
        self,
        n: int,
        sum_log: float,
        sum_mass: float,
        *,
        rng: np.random.Generator | int | None = None,
        n_samples: int = 50_000,
    ) -> MassFunctionFit:
        """Fit a sample known by its sufficient statistics.

        Parameters
        ----------
        n : int
            Objects in the sample, all inside [m_min, m_max).
        sum_log : float
            Sum of ln(M / Msun).
        sum_mass : float
            Sum of M [Msun].
        rng : int or `~numpy.random.Generator`, optional
            Seed of the samples.
        n_samples : int
            Number of samples, drawn when first asked for.

        Returns
        -------
        MassFunctionFit
            The exact posterior.

        Raises
        ------
        InputError
            If n is below 2, or no such sample inside the limits exists.
        """
        counts, logs, excess = self._statistics([n], [sum_log], [sum_mass])
        if not counts[0] >= 2:
            msg = f"the sample has {n} object(s) in the cut; a fit needs at least 2: lower m_min or widen the selection"
            raise InputError(msg)
        return self._fit(int(counts[0]), float(logs[0]), float(excess[0]), 0, rng, n_samples)

    def medians(self, n: npt.ArrayLike, sum_log: npt.ArrayLike, sum_mass: npt.ArrayLike) -> dict[str, FloatArray]:
        """Return the posterior median of every parameter for many samples at once.

        Parameters
        ----------
        n : array_like
            Objects in each sample, shape (P,).
        sum_log : array_like
            Sum of ln(M / Msun) of each, shape (P,).
        sum_mass : array_like
            Sum of M [Msun] of each, shape (P,).

        Returns
        -------
        dict of ndarray
            Shape (P,) per parameter; NaN where a sample has fewer than two objects.

        Raises
        ------
        InputError
            If the shapes differ, or a sample cannot lie inside the limits.
        """
        return {name: values[:, 0] for name, values in self.quantiles(n, sum_log, sum_mass, [0.5]).items()}

    def quantiles(
        self, n: npt.ArrayLike, sum_log: npt.ArrayLike, sum_mass: npt.ArrayLike, q: npt.ArrayLike
    ) -> dict[str, FloatArray]:
        """Return posterior quantiles of every parameter for many samples at once.

        Parameters
        ----------
        n, sum_log, sum_mass : array_like
            As for `medians`, shape (P,).
        q : array_like
            Probabilities, shape (m,).

        Returns
        -------
        dict of ndarray
            Shape (P, m) per parameter; NaN where a sample has fewer than two objects.

        Raises
        ------
        InputError
            If the shapes differ, or a sample cannot lie inside the limits.
        """
        counts, logs, excess = self._statistics(n, sum_log, sum_mass)
        probability = np.atleast_1d(np.asarray(q, dtype=np.float64))
        out = {name: np.full((len(counts), len(probability)), np.nan) for name in self.parameters}
        usable = np.flatnonzero(counts >= 2)
        if len(usable):
            density = self._log_density(counts[usable], logs[usable], excess[usable])
            low, high = zip(*self.prior.values(), strict=True)
            boxes = find_boxes(density, low, high, n_populations=len(usable))
            marginals = integrate(density, *boxes, nodes=_BOOTSTRAP_NODES)
            for axis, name in enumerate(self.parameters):
                out[name][usable] = marginals.quantile(axis, probability)
        return out

    def _fit(
        self,
        n: int,
        sum_log_x: float,
        sum_excess: float,
        n_outside: int,
        rng: np.random.Generator | int | None,
        n_samples: int,
        chance: float = 0.0,
    ) -> MassFunctionFit:
        whole_number("n_samples", n_samples, 2, "the summaries by samples need them")
        statistics = (np.array([value]) for value in (float(n), sum_log_x, sum_excess))
        return MassFunctionFit(
            model=self.function.name,
            method="grid",
            n=n,
            n_outside=n_outside,
            m_min=self.function.m_min,
            m_max=self.function.m_max,
            prior=self.prior,
            acceptance=math.nan,
            autocorrelation_time=MappingProxyType(dict.fromkeys(self.parameters, math.nan)),
            _function=self.function,
            _posterior=GridPosterior(self._log_density(*statistics), tuple(self.prior.values())),
            _seed=int(np.random.default_rng(rng).integers(2**63)),
            _n_samples=n_samples,
            _notes=(),
            _log_chance=chance,
            selection=self.selection,
        )

    def _statistics(
        self, n: npt.ArrayLike, sum_log: npt.ArrayLike, sum_mass: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return N, the sum of ln x and the sum of x - 1, x = M / m_min, or refuse impossible ones."""
        if self.selection is not None and self.selection.n_objects is not None:
            msg = (
                f"the selection has a row for each of {self.selection.n_objects} objects, which sums over a sample "
                "cannot tell apart; use fit() with the masses, or one curve for all objects"
            )
            raise InputError(msg)
        counts, logs, masses = (np.atleast_1d(np.asarray(a, dtype=np.float64)) for a in (n, sum_log, sum_mass))
        if not counts.shape == logs.shape == masses.shape or counts.ndim != 1:
            msg = (
                f"n, sum_log and sum_mass have the shapes {counts.shape}, {logs.shape} and {masses.shape}; "
                "give one value of each per sample"
            )
            raise InputError(msg)
        logs = logs - counts * math.log(self.function.m_min)
        excess = masses / self.function.m_min - counts
        used = counts >= 2
        # Rounding of the sums alone may put a sample at m_min a little below it.
        slack = 1e-9 * (counts + np.abs(logs))
        span = self.function.log_range
        with np.errstate(invalid="ignore", over="ignore"):
            # The arithmetic mean of masses is not below their geometric mean.
            least = counts * np.expm1(logs / np.maximum(counts, 1.0))
            bad = ~((logs >= -slack) & (excess >= least * (1 - 1e-9) - slack) & np.isfinite(logs + excess))
            bad = used & (bad | (logs > counts * span + slack))
        if bad.any():
            rows = ", ".join(map(str, np.flatnonzero(bad)[:5]))
            msg = (
                f"{int(bad.sum())} sample(s) (rows {rows}) have sums that no masses inside [{self.function.m_min:g}, "
                f"{self.function.m_max:g}) Msun can have; sum ln(M / Msun) and M over the masses inside the limits only"
            )
            raise InputError(msg)
        return counts, np.maximum(logs, 0.0), np.maximum(excess, 0.0)

    def _log_density(self, n: FloatArray, logs: FloatArray, excess: FloatArray) -> Callable[..., FloatArray]:
        """Return the log-likelihood of every population on grids, see `sc_lab.inference.grid.LogDensity`."""
        function = self.function
        if isinstance(function, PowerLaw):

            def power_law(axes: tuple[FloatArray, ...], rows: Rows) -> FloatArray:
                beta = axes[0]
                return logs[rows, None] * beta - n[rows, None] * function.log_norm(beta)

            return power_law

        def schechter(axes: tuple[FloatArray, ...], rows: Rows) -> FloatArray:
            beta, log_mc = axes
            # The factor exp(-N t) is inside both the sum of t (x - 1) and the table, and cancels.
            out = self._surface(beta, log_mc) * -n[rows, None, None]
            out += (logs[rows, None] * beta)[:, :, None]
            out -= (excess[rows, None] * function.ratio(log_mc))[:, None, :]
            return out

        return schechter


def fit_mass_function(
    mass: Any,
    *,
    model: str = "schechter",
    m_min: Any = 2e6,
    m_max: Any = None,
    method: str = "grid",
    beta_prior: tuple[float, float] = (-3.0, -1.0),
    log_mc_prior: tuple[float, float] | None = None,
    selection: Selection | Callable[[FloatArray], npt.ArrayLike] | None = None,
    rng: np.random.Generator | int | None = None,
    n_samples: int = 50_000,
    n_walkers: int = 100,
    n_steps: int = 600,
    n_discard: int = 100,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> MassFunctionFit:
    """Fit a cluster mass function without binning (Claeyssens et al. 2026, section 4.4).

    Parameters
    ----------
    mass : `~astropy.units.Quantity` or array_like
        Masses [Msun], shape (n,); those outside [m_min, m_max) are left out and counted.
    model : {"schechter", "power_law"}
        p(M) proportional to M^beta exp(-M / M_c), or to M^beta.
    m_min : `~astropy.units.Quantity` or float
        Lower limit of sample and normalisation [Msun].
    m_max : `~astropy.units.Quantity` or float, optional
        Upper limit of both [Msun]; None means infinity.
    method : {"grid", "emcee"}
        Exact posterior on a grid, or the paper's sampler.
    beta_prior : tuple of float
        Edges of the flat prior on the slope.
    log_mc_prior : tuple of float, optional
        Edges of the flat prior on log10(M_c / Msun); None means from log10 m_min to 9.
    selection : Selection or callable, optional
        The chance of an object to be detected: a table, with one curve or a row for each mass given, or a function of
        mass [Msun], shape (k,), that returns chances, shape (k,). It multiplies the model inside its normalisation.
        None means that every object is detected.
    rng : int or `~numpy.random.Generator`, optional
        Seed of samples and walkers.
    n_samples : int
        Samples of the grid's posterior, drawn when first asked for.
    n_walkers, n_steps, n_discard : int
        Settings of emcee; the paper's by default, which leave 50 000 draws.
    progress : callable, optional
        Called by emcee as ``progress(done, n_steps)``.
    cancel : callable, optional
        Asked by emcee after each step; answering True ends the run with an error.

    Returns
    -------
    MassFunctionFit
        Quantiles, mode, samples, evidence and curves.

    Raises
    ------
    InputError
        If fewer than two masses lie inside, all are equal, one is not finite, or an option is impossible.

    Notes
    -----
    Each model is normalised over the interval of the sample,
    p(M) = M^beta exp(-M / M_c) / int_{m_min}^{m_max} M'^beta exp(-M' / M_c) dM'. With a selection S both the model
    and the integrand are multiplied by S(M), so that beta and M_c are those of all objects, detected or not.

    Examples
    --------
    >>> fit = fit_mass_function([2.5e6, 3e6, 4e6, 7e6, 2e7], model="power_law", m_min=2e6, rng=1)
    >>> [round(float(q), 2) for q in fit.quantile("beta", [0.16, 0.5, 0.84])]
    [-2.57, -2.12, -1.73]
    """
    grid = MassFunctionGrid(model, m_min, m_max, beta_prior=beta_prior, log_mc_prior=log_mc_prior, selection=selection)
    if method == "grid":
        return grid.fit(mass, rng=rng, n_samples=n_samples)
    if method != "emcee":
        msg = f"method is {method!r}; the methods are 'grid' (exact) and 'emcee' (the paper's sampler)"
        raise InputError(msg)
    return _fit_emcee(
        grid,
        mass,
        np.random.default_rng(rng),
        n_walkers=n_walkers,
        n_steps=n_steps,
        n_discard=n_discard,
        progress=progress,
        cancel=cancel,
    )


def _fit_emcee(
    grid: MassFunctionGrid,
    mass: Any,
    rng: np.random.Generator,
    *,
    n_walkers: int,
    n_steps: int,
    n_discard: int,
    progress: Callable[[int, int], None] | None,
    cancel: Callable[[], bool] | None,
) -> MassFunctionFit:
    """Run emcee on the unbinned likelihood, its normalisation integrated afresh at every point."""
    grid, inside, n_outside, chance = grid.for_sample(mass)
    function = grid.function
    x = inside / function.m_min
    n, sum_log, sum_x = len(x), float(np.log(x).sum()), float(x.sum())
    low, high = (np.array(edge) for edge in zip(*grid.prior.values(), strict=True))

    def log_posterior(points: FloatArray) -> FloatArray:
        inside_prior = ((points >= low) & (points <= high)).all(axis=1)
        out = np.full(len(points), -np.inf)
        used = points[inside_prior]
        if len(used):
            value = used[:, 0] * sum_log - n * function.log_norm(*used.T)
            if isinstance(function, Schechter):
                value -= function.ratio(used[:, 1]) * sum_x
            out[inside_prior] = value
        return out

    whole_number("n_walkers", n_walkers, 2 * len(low), "emcee moves each half of the walkers by the other")
    # The best of many points from the prior: near the peak, and spread over it.
    trial = low + (high - low) * rng.random((40 * n_walkers, len(low)))
    start = trial[np.argsort(log_posterior(trial))[-n_walkers:]]
    chain = run_emcee(
        log_posterior,
        start,
        names=function.parameters,
        n_steps=n_steps,
        n_discard=n_discard,
        rng=rng,
        progress=progress,
        cancel=cancel,
    )
    return MassFunctionFit(
        model=function.name,
        method="emcee",
        n=n,
        n_outside=n_outside,
        m_min=function.m_min,
        m_max=function.m_max,
        prior=grid.prior,
        acceptance=chain.acceptance,
        autocorrelation_time=MappingProxyType(
            {name: float(time) for name, time in zip(function.parameters, chain.autocorrelation_time, strict=True)}
        ),
        _function=function,
        _posterior=chain,
        _seed=int(rng.integers(2**63)),
        _n_samples=len(chain.draws),
        _notes=chain.warnings,
        _log_chance=chance,
        selection=grid.selection,
    )


def _inside(mass: Any, function: MassFunction) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the masses inside the limits and which they are, or refuse them in words."""
    values = value_in(mass, MASS, "mass")
    if values.ndim != 1:
        msg = f"mass has the shape {values.shape}; give one list of masses in Msun"
        raise InputError(msg)
    lost = np.flatnonzero(~np.isfinite(values))
    if len(lost):
        shown = ", ".join(map(str, lost[:10])) + (" …" if len(lost) > 10 else "")
        msg = f"mass is not finite in {len(lost)} row(s): {shown}; leave those rows out, or measure them"
        raise InputError(msg)
    used = (values >= function.m_min) & (values < function.m_max)
    inside = values[used]
    if len(inside) < 2:
        msg = (
            f"{len(inside)} of {len(values)} masses lie in [{function.m_min:g}, {function.m_max:g}) Msun; "
            "a fit needs at least 2: lower m_min, raise m_max or widen the selection"
        )
        raise InputError(msg)
    if np.ptp(inside) == 0:
        msg = (
            f"all {len(inside)} masses are equal ({inside[0]:g} Msun), which no mass function describes; "
            "give masses that differ"
        )
        raise InputError(msg)
    return inside, used


def _edges(prior: Any, name: str) -> tuple[float, float]:
    try:
        low, high = (float(edge) for edge in prior)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"{name} is {prior!r}; give two finite numbers, the lower edge first"
        raise InputError(msg)
    return low, high
