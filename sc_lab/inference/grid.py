"""Exact posteriors in one or two parameters, for one data set or for many at once.

The posterior of each data set ("population") is boxed first, so that narrow and broad ones are
resolved alike, and then taken at Gauss-Legendre nodes of its box. The polynomial through the
nodes is integrated exactly: a few dozen nodes give marginals, cumulative distributions and the
evidence far beyond the accuracy of any sampler, cut-off posteriors at the edge of the prior included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = [
    "GridPosterior",
    "LogDensity",
    "Marginals",
    "coefficients_from_values",
    "find_boxes",
    "integrate",
    "product",
]

Rows: TypeAlias = npt.NDArray[np.intp]

#: ``log_density(axes, rows)``: ``axes`` holds one array of shape (rows, nodes) per parameter, or
#: (1, nodes) where all rows share it; returns shape (rows, nodes[, nodes]).
LogDensity: TypeAlias = Callable[[tuple[FloatArray, ...], Rows], FloatArray]

#: exp(-18) = 1.5e-8 of the peak: what lies outside the box moves no quantile in use.
_DROP = 18.0
_SCOUTS = 25
_ROUNDS = 12
_FINE = 513
#: Populations integrated at once: their grids stay in the cache of the processor.
_BLOCK = 64


def find_boxes(
    log_density: LogDensity, low: npt.ArrayLike, high: npt.ArrayLike, *, n_populations: int = 1
) -> tuple[FloatArray, FloatArray]:
    """Find, for each population, the box outside which its posterior is negligible.

    Parameters
    ----------
    log_density : callable
        Logarithm of the unnormalised posterior, see `LogDensity`.
    low, high : array_like
        Edges of the prior, shape (n_parameters,).
    n_populations : int
        Number of data sets.

    Returns
    -------
    low, high : ndarray
        Edges of the boxes, shape (n_populations, n_parameters), inside the prior.

    Notes
    -----
    A scouting grid is laid over the box; nodes within exp(-18) of the best one are kept, with one
    node to spare, and the round is repeated until the box stops shrinking. While the peak falls
    between two nodes the threshold is widened by the step to the best neighbour, so that a ridge
    thinner than the grid is not lost.
    """
    lows = np.tile(np.asarray(low, dtype=np.float64), (n_populations, 1))
    highs = np.tile(np.asarray(high, dtype=np.float64), (n_populations, 1))
    n_axes = lows.shape[1]
    unit = np.linspace(0.0, 1.0, _SCOUTS)
    rows: Rows = np.arange(n_populations)
    for turn in range(_ROUNDS):
        share = slice(0, 1) if turn == 0 else slice(None)
        width = highs[rows] - lows[rows]
        axes = tuple(lows[rows][share, d, None] + width[share, d, None] * unit for d in range(n_axes))
        values = log_density(axes, rows)
        profiles = [values.max(axis=2), values.max(axis=1)] if n_axes == 2 else [values]
        best = profiles[0].max(axis=1)
        threshold = np.full(len(rows), _DROP)
        for profile in profiles:
            top = profile.argmax(axis=1)
            every = np.arange(len(rows))
            beside = np.maximum(
                np.where(top > 0, profile[every, np.maximum(top - 1, 0)], -np.inf),
                np.where(top < _SCOUTS - 1, profile[every, np.minimum(top + 1, _SCOUTS - 1)], -np.inf),
            )
            threshold = np.maximum(threshold, np.minimum(_DROP + (best - beside), 1e300))
        narrowed = np.zeros(len(rows), dtype=bool)
        for d, profile in enumerate(profiles):
            inside = profile >= (best - threshold)[:, None]
            first = np.maximum(inside.argmax(axis=1) - 1, 0)
            last = np.minimum(_SCOUTS - 1 - inside[:, ::-1].argmax(axis=1) + 1, _SCOUTS - 1)
            start = lows[rows, d]
            lows[rows, d] = start + width[:, d] * unit[first]
            highs[rows, d] = start + width[:, d] * unit[last]
            narrowed |= (last - first) < 0.7 * (_SCOUTS - 1)
        rows = rows[narrowed]
        if not len(rows):
            break
    return lows, highs


@dataclass(frozen=True, eq=False)
class Marginals:
    """Normalised marginal posteriors of many populations at the Gauss-Legendre nodes of their boxes.

    Attributes
    ----------
    low, high : ndarray
        Boxes, shape (n_populations, n_parameters).
    densities : tuple of ndarray
        Marginal density of each parameter at its nodes, shape (n_populations, nodes).
    log_evidence : ndarray
        Logarithm of the integral of the density over its box, shape (n_populations,).
    """

    low: FloatArray
    high: FloatArray
    densities: tuple[FloatArray, ...]
    log_evidence: FloatArray

    def quantile(self, axis: int, q: npt.ArrayLike) -> FloatArray:
        """Return quantiles of one parameter in every population.

        Parameters
        ----------
        axis : int
            Which parameter.
        q : array_like
            Probabilities, shape (m,) or a scalar.

        Returns
        -------
        ndarray
            Shape (n_populations, m), or (n_populations,) for a scalar.
        """
        density = self.densities[axis]
        probability = np.atleast_1d(np.asarray(q, dtype=np.float64))
        scale = (self.high[:, axis] - self.low[:, axis]) / 2.0
        cdf = product(density, _operators(density.shape[1])[0])
        cdf *= scale[:, None]
        # The polynomial may undulate by 1e-7 in the far tails.
        np.maximum.accumulate(cdf, axis=1, out=cdf)
        cdf /= cdf[:, -1:]
        every = np.arange(len(cdf))
        out = np.empty((len(cdf), len(probability)))
        for k, p in enumerate(probability):
            above = np.clip((cdf < p).sum(axis=1), 1, _FINE - 1)
            left, right = cdf[every, above - 1], cdf[every, above]
            part = np.clip((p - left) / np.where(right > left, right - left, 1.0), 0.0, 1.0)
            out[:, k] = self.low[:, axis] + 2.0 * scale * (above - 1 + part) / (_FINE - 1)
        return out[:, 0] if np.ndim(q) == 0 else out

    def curve(self, axis: int) -> tuple[FloatArray, FloatArray]:
        """Return the marginal density of one parameter on fine, equally spaced points.

        Parameters
        ----------
        axis : int
            Which parameter.

        Returns
        -------
        x, density : ndarray
            Shape (n_populations, points).
        """
        density = self.densities[axis]
        unit = np.linspace(0.0, 1.0, _FINE)
        x = self.low[:, axis, None] + (self.high - self.low)[:, axis, None] * unit
        return x, np.maximum(product(density, _operators(density.shape[1])[1]), 0.0)


def integrate(log_density: LogDensity, low: FloatArray, high: FloatArray, *, nodes: int = 64) -> Marginals:
    """Integrate posteriors over their boxes.

    Parameters
    ----------
    log_density : callable
        Logarithm of the unnormalised posterior, see `LogDensity`.
    low, high : ndarray
        Boxes from `find_boxes`, shape (n_populations, n_parameters).
    nodes : int
        Gauss-Legendre nodes per parameter.

    Returns
    -------
    Marginals
        Marginal densities and evidence of every population.
    """
    x, weight = _gauss_legendre(nodes)
    n, n_axes = low.shape
    scale = (high - low) / 2.0
    axes = tuple((low + scale)[:, d, None] + scale[:, d, None] * x for d in range(n_axes))
    densities = tuple(np.empty((n, nodes)) for _ in range(n_axes))
    evidence = np.empty(n)
    for first in range(0, n, _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, n))
        values = log_density(tuple(axis[rows] for axis in axes), rows)
        peak = values.max(axis=tuple(range(1, values.ndim)), keepdims=True)
        values -= peak
        np.exp(values, out=values)
        if n_axes == 1:
            raw = [values]
        else:
            raw = [
                np.einsum("pij,j->pi", values, weight) * scale[rows, 1, None],
                np.einsum("pij,i->pj", values, weight) * scale[rows, 0, None],
            ]
        total = np.einsum("pi,i->p", raw[0], weight) * scale[rows, 0]
        evidence[rows] = np.log(total) + peak.ravel()
        for density, marginal in zip(densities, raw, strict=True):
            density[rows] = marginal / total[:, None]
    return Marginals(low, high, densities, evidence)


@dataclass(frozen=True, eq=False)
class GridPosterior:
    """The exact posterior of one data set.

    Attributes
    ----------
    log_density : callable
        Logarithm of the unnormalised posterior, see `LogDensity`; row 0 is used.
    prior : tuple of (float, float)
        Edges of the flat prior of each parameter.
    """

    log_density: LogDensity
    prior: tuple[tuple[float, float], ...]

    #: 96 nodes resolve a ridge with a correlation of 0.99.
    nodes: int = 96

    @cached_property
    def marginals(self) -> Marginals:
        """Marginal densities at the nodes of the box."""
        low, high = zip(*self.prior, strict=True)
        return integrate(self.log_density, *find_boxes(self.log_density, low, high), nodes=self.nodes)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean of the density over the flat prior."""
        volume = float(np.prod([high - low for low, high in self.prior]))
        return float(self.marginals.log_evidence[0]) - float(np.log(volume))

    def quantile(self, axis: int, q: npt.ArrayLike) -> FloatArray:
        """Return quantiles of one parameter.

        Parameters
        ----------
        axis : int
            Which parameter.
        q : array_like
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray
            Shape of ``q``.
        """
        _check_probabilities(q)
        return np.asarray(self.marginals.quantile(axis, np.ravel(q))[0].reshape(np.shape(q)), dtype=np.float64)

    def curve(self, axis: int) -> tuple[FloatArray, FloatArray]:
        """Return the marginal density of one parameter.

        Parameters
        ----------
        axis : int
            Which parameter.

        Returns
        -------
        x, density : ndarray
            Shape (points,); the density integrates to 1.
        """
        x, density = self.marginals.curve(axis)
        return x[0], density[0]

    def joint(self, points: int = 121) -> tuple[tuple[FloatArray, ...], FloatArray]:
        """Return the joint density on equally spaced points of the box.

        Parameters
        ----------
        points : int
            Points per parameter.

        Returns
        -------
        axes : tuple of ndarray
            One array of shape (points,) per parameter.
        density : ndarray
            Shape (points,) or (points, points), per unit of the parameters.
        """
        m = self.marginals
        axes = tuple(np.linspace(m.low[0, d], m.high[0, d], points) for d in range(m.low.shape[1]))
        values = self.log_density(tuple(axis[None, :] for axis in axes), np.zeros(1, dtype=np.intp))[0]
        return axes, np.exp(values - m.log_evidence[0])

    @cached_property
    def _cells(self) -> tuple[tuple[FloatArray, ...], FloatArray]:
        """Equal cells of the box, by their centres, and the cumulative probability over them."""
        m = self.marginals
        n = 2048 if m.low.shape[1] == 1 else 192
        axes = tuple(np.linspace(m.low[0, d], m.high[0, d], 2 * n + 1)[1::2] for d in range(m.low.shape[1]))
        values = self.log_density(tuple(axis[None, :] for axis in axes), np.zeros(1, dtype=np.intp))[0]
        total = np.cumsum(np.exp(values - values.max()).ravel())
        return axes, total / total[-1]

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw from the joint posterior.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : `~numpy.random.Generator`
            Source of chance.

        Returns
        -------
        ndarray
            Shape (n, n_parameters).

        Notes
        -----
        A cell of a fine grid is drawn by its probability and a point evenly inside it; the cells are
        a few hundredths of a standard deviation wide.
        """
        axes, cdf = self._cells
        where = np.unravel_index(np.searchsorted(cdf, rng.random(n), side="right"), tuple(map(len, axes)))
        out = np.empty((n, len(axes)))
        for d, (axis, index) in enumerate(zip(axes, where, strict=True)):
            out[:, d] = axis[index] + (rng.random(n) - 0.5) * (axis[1] - axis[0])
        return out


def _check_probabilities(q: npt.ArrayLike) -> None:
    p = np.asarray(q, dtype=np.float64)
    if not np.all((p >= 0) & (p <= 1)):
        msg = f"q is {q!r}; give probabilities between 0 and 1, for instance [0.16, 0.5, 0.84]"
        raise InputError(msg)


@lru_cache(maxsize=16)
def _gauss_legendre(nodes: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights on [-1, 1]; kept, because an eigenvalue problem hides behind them."""
    x, weight = legendre.leggauss(nodes)
    return np.asarray(x, dtype=np.float64), np.asarray(weight, dtype=np.float64)


@lru_cache(maxsize=16)
def coefficients_from_values(nodes: int) -> FloatArray:
    """Return the matrix that turns values at Gauss-Legendre nodes into Legendre coefficients.

    Parameters
    ----------
    nodes : int
        Number of nodes.

    Returns
    -------
    ndarray
        Shape (nodes, nodes): coefficient by value.
    """
    x, weight = _gauss_legendre(nodes)
    out = (legendre.legvander(x, nodes - 1) * weight[:, None]).T * (np.arange(nodes)[:, None] + 0.5)
    return np.asarray(out, dtype=np.float64)


@lru_cache(maxsize=16)
def _operators(nodes: int) -> tuple[FloatArray, FloatArray]:
    """Return the matrices from values at the nodes to integral and to value at the fine points."""
    fine = np.linspace(-1.0, 1.0, _FINE)
    basis = legendre.legvander(fine, nodes)
    integral = np.empty((_FINE, nodes))
    integral[:, 0] = fine + 1.0
    order = np.arange(1, nodes)
    integral[:, 1:] = (basis[:, 2:] - basis[:, :-2]) / (2 * order + 1)
    to_coefficients = coefficients_from_values(nodes)
    return (integral @ to_coefficients).T.copy(), (basis[:, :nodes] @ to_coefficients).T.copy()


def product(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the matrix product in pieces that the linear-algebra library keeps on one core.

    Parameters
    ----------
    left, right : ndarray
        Matrices, shapes (a, k) and (k, b).

    Returns
    -------
    ndarray
        Shape (a, b).

    Notes
    -----
    Larger products are spread over all cores and wait for the slowest. While a browser paints on the
    other core, that wait is ten times as long as the product.
    """
    rows = max(1, int(2e5 // max(1, right.size)))
    if rows == 1 or len(left) == 1:
        return np.asarray(np.einsum("ak,kb->ab", left, right), dtype=np.float64)
    out = np.empty((len(left), right.shape[1]))
    for first in range(0, len(left), rows):
        np.matmul(left[first : first + rows], right, out=out[first : first + rows])
    return out
