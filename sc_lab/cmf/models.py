"""The two mass functions: normalisation, survival function and mock draws, free of cancellation.

Everything is computed for x = M / m_min on 1 <= x < m_max / m_min. With g = beta + 1 and t = m_min / M_c
the integral of x^beta exp(-t (x - 1)) is smooth and of order unity for every beta, and the
incomplete gamma function of negative first argument never appears.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre

from sc_lab.errors import InputError
from sc_lab.inference.grid import coefficients_from_values, product
from sc_lab.units import MASS, FloatArray, value_in

__all__ = [
    "MODELS",
    "MassFunction",
    "PowerLaw",
    "Schechter",
    "draw_masses",
    "gauss_legendre",
    "log_power_integral",
    "mass_function",
]

#: What lies beyond M = 45 M_c is less than 1e-19 of the integral.
_E_FOLDS = 45.0
_PANEL = 1.2
_NODES = 16


@dataclass(frozen=True)
class PowerLaw:
    """p(M) proportional to M^beta on [m_min, m_max).

    Attributes
    ----------
    m_min : float
        Lower limit [Msun].
    m_max : float
        Upper limit [Msun]; infinity means none, and then beta < -1.
    """

    m_min: float
    m_max: float = math.inf
    name: ClassVar[str] = "power_law"
    parameters: ClassVar[tuple[str, ...]] = ("beta",)

    @property
    def log_range(self) -> float:
        """ln(m_max / m_min)."""
        return math.log(self.m_max / self.m_min)

    def log_norm(self, beta: npt.ArrayLike) -> FloatArray:
        """Return the logarithm of the integral of x^beta over x = M / m_min.

        Parameters
        ----------
        beta : array_like
            Slope.

        Returns
        -------
        ndarray
            Shape of ``beta``; infinite where the integral diverges.
        """
        return log_power_integral(np.asarray(beta, dtype=np.float64) + 1.0, self.log_range)

    def log_pdf(self, mass: npt.ArrayLike, beta: npt.ArrayLike) -> FloatArray:
        """Return ln p(M), per Msun.

        Parameters
        ----------
        mass : array_like
            Masses [Msun].
        beta : array_like
            Slope, broadcast against ``mass``.

        Returns
        -------
        ndarray
            -inf outside [m_min, m_max).
        """
        m = np.asarray(mass, dtype=np.float64)
        inside = (m >= self.m_min) & (m < self.m_max)
        log_x = np.log(np.where(inside, m, self.m_min) / self.m_min)
        out = np.asarray(beta) * log_x - self.log_norm(beta) - math.log(self.m_min)
        return np.where(inside, out, -np.inf)

    def survival(self, mass: FloatArray, beta: FloatArray) -> FloatArray:
        """Return the chance of exceeding a mass, for every slope.

        Parameters
        ----------
        mass : ndarray
            Masses [Msun], shape (m,).
        beta : ndarray
            Slopes, shape (k,).

        Returns
        -------
        ndarray
            Shape (k, m): 1 at and below m_min, 0 at and above m_max.
        """
        y = np.log(np.clip(mass, self.m_min, self.m_max) / self.m_min)
        g = (np.asarray(beta, dtype=np.float64) + 1.0)[:, None]
        if math.isinf(self.m_max):
            return np.asarray(np.exp(g * y), dtype=np.float64)
        tail = log_power_integral(g, self.log_range - y)
        return np.asarray(np.exp(g * y + tail - self.log_norm(beta)[:, None]), dtype=np.float64)


@dataclass(frozen=True)
class Schechter:
    """p(M) proportional to M^beta exp(-M / M_c) on [m_min, m_max).

    Attributes
    ----------
    m_min : float
        Lower limit [Msun].
    m_max : float
        Upper limit [Msun]; infinity means none.
    """

    m_min: float
    m_max: float = math.inf
    name: ClassVar[str] = "schechter"
    parameters: ClassVar[tuple[str, ...]] = ("beta", "log_mc")
    #: How near the zeros of the normalisation come, in units of what `LogNormSurface` says.
    nearness: ClassVar[float] = 1.0

    @property
    def log_range(self) -> float:
        """ln(m_max / m_min)."""
        return math.log(self.m_max / self.m_min)

    def ratio(self, log_mc: npt.ArrayLike) -> FloatArray:
        """Return t = m_min / M_c.

        Parameters
        ----------
        log_mc : array_like
            log10(M_c / Msun).

        Returns
        -------
        ndarray
            Shape of ``log_mc``.
        """
        return np.asarray(10.0 ** (math.log10(self.m_min) - np.asarray(log_mc, dtype=np.float64)), dtype=np.float64)

    def log_norm(self, beta: npt.ArrayLike, log_mc: npt.ArrayLike) -> FloatArray:
        """Return the logarithm of the integral of x^beta exp(-t x) over x = M / m_min.

        Parameters
        ----------
        beta, log_mc : array_like
            Slope and log10(M_c / Msun), broadcast against each other.

        Returns
        -------
        ndarray
            With ``m_max`` infinite, ln(t^-(beta+1) Gamma(beta+1, t)).
        """
        beta, t = np.broadcast_arrays(np.asarray(beta, dtype=np.float64), self.ratio(log_mc))
        flat_beta, flat_t = beta.ravel(), t.ravel()
        out = np.empty(flat_beta.shape)
        for block in np.array_split(np.arange(len(out)), max(1, len(out) // 4096)):
            if len(block):
                u, weight = _quadrature(flat_t[block], self.m_max / self.m_min)
                exponent = flat_beta[block, None] * np.log1p(u) - flat_t[block, None] * u
                out[block] = np.log(np.exp(exponent) @ weight) - flat_t[block]
        return out.reshape(beta.shape)

    def log_norm_table(self, beta: FloatArray, log_mc: FloatArray) -> FloatArray:
        """Return `log_norm` + t for every pair of a slope and a truncation mass.

        Parameters
        ----------
        beta : ndarray
            Slopes, shape (a,).
        log_mc : ndarray
            log10(M_c / Msun), shape (b,).

        Returns
        -------
        ndarray
            Shape (a, b).

        Notes
        -----
        With the nodes shared by all pairs, the integrand is a product of a factor of beta and a
        factor of M_c, so that the whole table is one matrix product.
        """
        t = self.ratio(log_mc)
        u, weight = _quadrature(t, self.m_max / self.m_min)
        powers = np.exp(beta[:, None] * np.log1p(u)) * weight
        return np.asarray(np.log(product(powers, np.exp(-u[:, None] * t))), dtype=np.float64)

    def log_pdf(self, mass: npt.ArrayLike, beta: npt.ArrayLike, log_mc: npt.ArrayLike) -> FloatArray:
        """Return ln p(M), per Msun.

        Parameters
        ----------
        mass : array_like
            Masses [Msun].
        beta, log_mc : array_like
            Slope and log10(M_c / Msun), broadcast against ``mass``.

        Returns
        -------
        ndarray
            -inf outside [m_min, m_max).
        """
        m = np.asarray(mass, dtype=np.float64)
        inside = (m >= self.m_min) & (m < self.m_max)
        x = np.where(inside, m, self.m_min) / self.m_min
        out = np.asarray(beta) * np.log(x) - self.ratio(log_mc) * x - self.log_norm(beta, log_mc)
        return np.where(inside, out - math.log(self.m_min), -np.inf)

    def survival(self, mass: FloatArray, beta: FloatArray, log_mc: FloatArray) -> FloatArray:
        """Return the chance of exceeding a mass, for every pair of parameters.

        Parameters
        ----------
        mass : ndarray
            Masses [Msun], shape (m,).
        beta, log_mc : ndarray
            Slope and log10(M_c / Msun), shape (k,).

        Returns
        -------
        ndarray
            Shape (k, m): 1 at and below m_min, 0 at and above m_max.
        """
        beta = np.asarray(beta, dtype=np.float64)
        t = self.ratio(log_mc)
        if not len(t):
            return np.empty((0, len(mass)))
        end = min(self.log_range, math.log1p(_E_FOLDS / float(t.min())))
        y = np.log(np.clip(mass, self.m_min, self.m_max) / self.m_min)
        # Panels end at every mass asked for, so that each tail is a sum of whole panels. One set
        # must serve all t: fine steps where the largest t falls off.
        steep = max(1.0, float(t.max()))
        w = math.log1p(steep * math.expm1(end))
        regular = np.log1p(np.expm1(np.linspace(0.0, w, max(2, math.ceil(w / 0.5)) + 1)) / steep)
        edges = np.unique(np.concatenate([regular, y[y < end]]))
        nodes, weight = gauss_legendre(8)
        half = np.diff(edges) / 2
        at = ((edges[1:] + edges[:-1]) / 2)[:, None] + half[:, None] * nodes
        u = np.expm1(at.ravel())
        values = np.exp((beta + 1.0)[:, None] * at.ravel() - t[:, None] * u)
        panels = np.einsum("tpn,n->tp", values.reshape(len(t), len(half), len(nodes)), weight) * half
        tails = np.zeros((len(t), len(edges)))
        tails[:, :-1] = np.cumsum(panels[:, ::-1], axis=1)[:, ::-1]
        index = np.minimum(np.searchsorted(edges, y), len(edges) - 1)
        return np.asarray(tails[:, index] / tails[:, :1], dtype=np.float64)


MassFunction: TypeAlias = PowerLaw | Schechter

#: Every model by name.
MODELS: Mapping[str, type[PowerLaw | Schechter]] = {"power_law": PowerLaw, "schechter": Schechter}


def mass_function(model: str, m_min: Any, m_max: Any = None) -> MassFunction:
    """Return a model between two limits, or refuse it in words.

    Parameters
    ----------
    model : {"power_law", "schechter"}
        The model.
    m_min : `~astropy.units.Quantity` or float
        Lower limit [Msun].
    m_max : `~astropy.units.Quantity` or float, optional
        Upper limit [Msun]; None means infinity.

    Returns
    -------
    PowerLaw or Schechter
        The model.

    Raises
    ------
    InputError
        If the model is unknown or the limits are impossible.
    """
    if not isinstance(model, str) or model not in MODELS:
        msg = f"model is {model!r}; the models are {' and '.join(map(repr, MODELS))}"
        raise InputError(msg)
    low = _one_mass(m_min, "m_min")
    if not (math.isfinite(low) and low > 0):
        msg = f"m_min is {low:g} Msun; give a finite lower limit greater than 0, for instance 2e6 Msun"
        raise InputError(msg)
    high = math.inf if m_max is None else _one_mass(m_max, "m_max")
    if not high > low:
        msg = f"m_max is {high:g} Msun, m_min is {low:g} Msun; give an m_max above m_min, or None for no upper limit"
        raise InputError(msg)
    return MODELS[model](low, high)


def draw_masses(n: int, function: MassFunction, *, rng: Any = None, **parameters: float) -> FloatArray:
    """Draw masses from a mass function.

    Parameters
    ----------
    n : int
        How many.
    function : PowerLaw or Schechter
        The model with its limits, see `mass_function`.
    rng : int or `~numpy.random.Generator`, optional
        Seed or source of chance.
    **parameters : float
        ``beta``, and ``log_mc`` for a Schechter function.

    Returns
    -------
    ndarray
        Masses [Msun], shape (n,).

    Raises
    ------
    InputError
        If the parameters are not those of the model, or leave it without a finite integral.
    """
    generator = np.random.default_rng(rng)
    if set(parameters) != set(function.parameters):
        msg = f"{function.name} has the parameters {', '.join(function.parameters)}; got {', '.join(parameters) or 'none'}"
        raise InputError(msg)
    if isinstance(function, PowerLaw):
        g, span = parameters["beta"] + 1.0, function.log_range
        if math.isinf(span) and g >= 0:
            msg = f"beta is {parameters['beta']:g}; without an m_max a power law needs a beta below -1"
            raise InputError(msg)
        v = generator.random(n)
        # Inverse of the cumulative distribution; expm1 and log1p keep it exact through beta = -1.
        filled = -1.0 if math.isinf(span) else math.expm1(g * span)
        y = np.log1p(v * filled) / g if g else span * v
        with np.errstate(over="ignore"):
            masses = function.m_min * np.exp(y)
        if not np.isfinite(masses).all():
            msg = f"beta is {parameters['beta']:g}; so close to -1 some masses exceed any number: give an m_max"
            raise InputError(msg)
    else:
        # Proposals from the power law, thinned by the exponential, would fail for steep cut-offs:
        # invert a fine table of ln M instead, whose steps are far below any mass error.
        t = float(function.ratio(parameters["log_mc"]))
        top = min(function.m_max, function.m_min * (1.0 + _E_FOLDS / t))
        steep = max(1.0, t)
        w = np.linspace(0.0, math.log1p(steep * (top / function.m_min - 1.0)), 4097)
        x = 1.0 + np.expm1(w) / steep
        chance = function.survival(function.m_min * x, *(np.array([parameters[p]]) for p in function.parameters))[0]
        masses = function.m_min * np.exp(np.interp(generator.random(n), chance[::-1], np.log(x)[::-1]))
    below_top = np.nextafter(function.m_max, 0.0)
    return np.asarray(np.clip(masses, function.m_min, below_top), dtype=np.float64)


class LogNormSurface:
    """ln of the Schechter normalisation as a polynomial over the prior: exact to 1e-9, cheap anywhere.

    Parameters
    ----------
    function : Schechter
        The model with its limits.
    beta, log_mc : tuple of float
        Ranges covered.
    """

    def __init__(self, function: Schechter, beta: tuple[float, float], log_mc: tuple[float, float]) -> None:
        self.function = function
        self.ranges = (beta, log_mc)
        # The nearest singularities of ln Z lie pi from the real axis in ln t and, being zeros of
        # a truncated power law, about 2 pi / (range of ln M) from it in beta; the convergence
        # of a Legendre series follows from their distance.
        t_min = float(function.ratio(log_mc[1]))
        span = min(function.log_range, math.log1p(_E_FOLDS / t_min))
        orders = (
            _order(function.nearness * 2 * math.pi / span, (beta[1] - beta[0]) / 2),
            _order(function.nearness * math.pi, (log_mc[1] - log_mc[0]) / 2 * math.log(10)),
        )
        axes = [
            (low + high) / 2 + (high - low) / 2 * gauss_legendre(order)[0]
            for (low, high), order in zip(self.ranges, orders, strict=True)
        ]
        left, right = (coefficients_from_values(order) for order in orders)
        coefficients = product(product(left, function.log_norm_table(*axes)), right.T)
        # The surface is so smooth that a dozen products of a function of beta and one of log_mc make it.
        u, strength, v = np.linalg.svd(coefficients, full_matrices=False)
        rank = int((strength > 1e-13 * strength[0]).sum())
        self.factors: tuple[FloatArray, FloatArray] = (u[:, :rank] * strength[:rank], v[:rank].T.copy())

    def __call__(self, beta: FloatArray, log_mc: FloatArray) -> FloatArray:
        """Return ln Z + t on the grid of each row: (rows, a) and (rows, b) make (rows, a, b)."""
        return np.asarray(self._feature(beta, 0) @ self._feature(log_mc, 1).swapaxes(-1, -2), dtype=np.float64)

    def _feature(self, values: FloatArray, axis: int) -> FloatArray:
        low, high = self.ranges[axis]
        unit = (2 * values - (low + high)) / (high - low)
        factor = self.factors[axis]
        return np.asarray(legendre.legvander(unit, len(factor) - 1) @ factor, dtype=np.float64)


def _order(distance: float, half: float) -> int:
    """Return the nodes that leave 1e-10 with a singularity ``distance`` off an interval of given half-length."""
    # Three quarters: with a finite m_max and a wide prior the zeros come that much nearer.
    return math.ceil(22.0 / math.asinh(0.75 * distance / half)) + 6


def _one_mass(value: Any, name: str) -> float:
    array = value_in(value, MASS, name)
    if array.size != 1:
        msg = f"{name} has {array.size} values; give one mass in Msun"
        raise InputError(msg)
    return float(array.reshape(()))


def log_power_integral(g: npt.ArrayLike, span: npt.ArrayLike) -> FloatArray:
    """Return ln of the integral of exp(g y) over 0 < y < span, g = 0 and an infinite span included.

    Parameters
    ----------
    g, span : array_like
        Slope and length, broadcast against each other.

    Returns
    -------
    ndarray
        Infinite where the integral diverges.
    """
    slope, length = np.broadcast_arrays(np.asarray(g, dtype=np.float64), np.asarray(span, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # For g > 0 the exponential is taken out in front, so that nothing overflows.
        product = np.where(np.isinf(length), -np.inf, -np.abs(slope) * length)
        part = np.where(product == 0, 1.0, np.expm1(product) / np.where(product == 0, 1.0, product))
        finite = np.log(length) + np.log(part) + np.maximum(slope, 0.0) * np.where(np.isinf(length), 0.0, length)
        endless = np.where(slope < 0, -np.log(np.abs(slope)), np.inf)
        return np.asarray(np.where(np.isinf(length), endless, finite), dtype=np.float64)


def _quadrature(t: FloatArray, x_max: float) -> tuple[FloatArray, FloatArray]:
    """Return nodes u = x - 1 and weights that integrate (1 + u)^beta exp(-t u) for all given t.

    Panels of equal width in w = ln(1 + a u), a = max(1, t): there the integrand varies on a scale
    of unity both where the exponential falls (u ~ 1/t) and where the power law does (u ~ 1).
    """
    t_low, t_high = float(np.min(t)), float(np.max(t))
    steep = max(1.0, t_high)
    end = math.log1p(steep * min(x_max - 1.0, _E_FOLDS / t_low))
    panels = max(1, math.ceil(end / _PANEL))
    nodes, weight = gauss_legendre(_NODES)
    half = end / panels / 2
    w = ((2 * np.arange(panels) + 1)[:, None] * half + half * nodes).ravel()
    u = np.expm1(w) / steep
    return u, np.tile(weight * half, panels) * np.exp(w) / steep


@lru_cache(maxsize=64)
def gauss_legendre(nodes: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights of Gauss-Legendre quadrature on -1 to 1.

    Parameters
    ----------
    nodes : int
        How many.

    Returns
    -------
    x, weight : ndarray
        Shape (nodes,); shared by all callers, not to be changed.
    """
    x, weight = legendre.leggauss(nodes)
    return np.asarray(x, dtype=np.float64), np.asarray(weight, dtype=np.float64)
