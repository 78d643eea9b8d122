"""The chance to be detected inside the normalisation of a mass function.

What is fitted is the density of *detected* masses, p(M) S(M) / integral of p(M') S(M') over [m_min, m_max), with S the
chance that an object of mass M is found. Leaving S out of a sample that lost its faint end makes the slope too shallow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sc_lab.cmf.models import MassFunction, PowerLaw, Schechter, gauss_legendre, log_power_integral
from sc_lab.errors import InputError
from sc_lab.inference.grid import product
from sc_lab.units import MASS, FloatArray, value_in

__all__ = ["Selection", "as_selection", "log_chance", "with_selection"]

#: Beyond M = 45 M_c lies less than 1e-19 of the integral.
_E_FOLDS = 45.0
_WIDEST = 0.6
_NODES = 12
#: Decades above m_min over which a function is tabulated where there is no m_max.
_DECADES = 6.0


@dataclass(frozen=True, eq=False)
class Selection:
    """The chance to be detected as a table over mass, one curve for all objects or one for each.

    Parameters
    ----------
    mass : `~astropy.units.Quantity` or array_like
        Masses [Msun], increasing, shape (k,), k >= 2.
    probability : array_like
        Chance to be detected there, between 0 and 1: shape (k,), or (n, k) with one row for each object of a sample.

    Raises
    ------
    InputError
        If masses or chances are impossible, or an object could never be detected.

    Notes
    -----
    Between the masses the chance is linear in ln M; above the last mass it stays what it is there. A fit refuses a
    table that begins above its m_min.

    One row for each object serves samples at many magnifications and redshifts: the likelihood then is the product of
    p(M_i | detected, mu_i, z_i), which needs no knowledge of how magnifications are distributed. Averaging the rows
    of *detected* objects into one curve would favour the easy places.

    Examples
    --------
    >>> half = Selection([1e6, 1e7], [0.0, 1.0])
    >>> round(float(half(10**6.5)), 12)
    0.5
    """

    mass: FloatArray
    probability: FloatArray

    def __post_init__(self) -> None:
        """Check the table and keep copies that nobody can change."""
        mass = np.atleast_1d(value_in(self.mass, MASS, "mass of the selection"))
        try:
            chance = np.array(self.probability, dtype=np.float64)
        except (TypeError, ValueError):
            msg = "probability of the selection is not numeric; give the chance to be detected, between 0 and 1"
            raise InputError(msg) from None
        if mass.ndim != 1 or len(mass) < 2 or chance.ndim not in (1, 2) or chance.shape[-1] != len(mass):
            msg = (
                f"the selection has masses of shape {mass.shape} and chances of shape {chance.shape}; give k >= 2 masses "
                "and as many chances, (k,) for all objects or (n, k) for each"
            )
            raise InputError(msg)
        if not (np.isfinite(mass).all() and mass[0] > 0 and (np.diff(mass) > 0).all()):
            msg = "the masses of the selection must be finite, greater than 0 and increase; sort them, drop doubles"
            raise InputError(msg)
        with np.errstate(invalid="ignore"):
            bad = ~((chance >= 0) & (chance <= 1))
        if bad.any():
            msg = (
                f"{int(bad.sum())} chance(s) of the selection are outside 0 to 1 or not finite (the first: "
                f"{chance[bad][0]:g}); give fractions, not percent"
            )
            raise InputError(msg)
        for array in (mass, chance):
            array.flags.writeable = False
        object.__setattr__(self, "mass", mass)
        object.__setattr__(self, "probability", chance)

    @property
    def n_objects(self) -> int | None:
        """Objects with a row of their own; None where one curve serves all."""
        return None if self.probability.ndim == 1 else len(self.probability)

    def __call__(self, mass: Any) -> FloatArray:
        """Return the chance to be detected.

        Parameters
        ----------
        mass : `~astropy.units.Quantity` or array_like
            Masses [Msun]; of shape (n,), one for each object, where every object has its own row.

        Returns
        -------
        ndarray
            Shape of ``mass``.

        Raises
        ------
        InputError
            If there are not as many masses as rows.
        """
        values = value_in(mass, MASS, "mass")
        log_mass = np.log(self.mass)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.log(values)
        if self.n_objects is None:
            return np.asarray(np.interp(at, log_mass, self.probability), dtype=np.float64)
        if values.shape != (self.n_objects,):
            msg = (
                f"mass has the shape {values.shape}, the selection one row for each of {self.n_objects} objects; "
                "give as many masses as rows, in the same order"
            )
            raise InputError(msg)
        return np.array([np.interp(x, log_mass, row) for x, row in zip(at, self.probability, strict=True)])

    def rows(self, index: npt.ArrayLike) -> Selection:
        """Return the selection of some of the objects.

        Parameters
        ----------
        index : array_like
            Indices or a mask of the objects.

        Returns
        -------
        Selection
            Itself, where one curve serves all.
        """
        return self if self.n_objects is None else Selection(self.mass, self.probability[np.asarray(index)])

    def same_as(self, other: Selection | None) -> bool:
        """Return whether another selection is the same table.

        Parameters
        ----------
        other : Selection or None
            The other one.

        Returns
        -------
        bool
            True where masses and chances are equal.
        """
        return other is self or (
            other is not None
            and np.array_equal(self.mass, other.mass)
            and np.array_equal(self.probability, other.probability)
        )

    @classmethod
    def from_function(
        cls, function: Callable[[FloatArray], npt.ArrayLike], m_min: Any, m_max: Any = None, *, tolerance: float = 1e-4
    ) -> Selection:
        """Tabulate a function of mass.

        Parameters
        ----------
        function : callable
            ``function(mass)`` with masses [Msun] of shape (k,) returns the chances, shape (k,).
        m_min : `~astropy.units.Quantity` or float
            Where the table begins [Msun].
        m_max : `~astropy.units.Quantity` or float, optional
            Where it ends [Msun]; None means six decades above m_min.
        tolerance : float
            The mesh is halved where the function departs from a straight line in ln M by more.

        Returns
        -------
        Selection
            One curve.

        Raises
        ------
        InputError
            If the function does not return one chance for each mass.
        """
        low = float(value_in(m_min, MASS, "m_min"))
        high = math.inf if m_max is None else float(value_in(m_max, MASS, "m_max"))
        span = min(math.log(high / low), _DECADES * math.log(10)) if math.isfinite(high) else _DECADES * math.log(10)

        def chance(y: FloatArray) -> FloatArray:
            out = np.asarray(function(low * np.exp(y)))
            if out.shape != y.shape or out.dtype.kind not in "bfiu":
                msg = (
                    f"selection returned {'numbers' if out.dtype.kind in 'bfiu' else 'no numbers'} of shape {out.shape} "
                    f"for masses of shape {y.shape}; return one chance between 0 and 1 for each mass"
                )
                raise InputError(msg)
            return out.astype(np.float64)

        y = np.linspace(0.0, span, max(2, math.ceil(span / 0.1)) + 1)
        s = chance(y)
        fresh = np.arange(len(y) - 1)
        # Twelve halvings bring a step to 2e-5 in ln M, far below any error of a mass.
        for _ in range(12):
            middle = (y[fresh] + y[fresh + 1]) / 2
            at = chance(middle)
            bent = np.abs(at - (s[fresh] + s[fresh + 1]) / 2) > tolerance
            if not bent.any():
                break
            where = fresh[bent] + 1
            y, s = np.insert(y, where, middle[bent]), np.insert(s, where, at[bent])
            left = where - 1 + np.arange(len(where))
            fresh = np.sort(np.concatenate([left, left + 1]))
        return cls(low * np.exp(y), s)


def as_selection(selection: Any, function: MassFunction) -> Selection:
    """Return a table of a selection, or refuse it in words.

    Parameters
    ----------
    selection : Selection or callable
        A table, or ``selection(mass)`` with masses [Msun] of shape (k,) returning chances of shape (k,).
    function : PowerLaw or Schechter
        The model whose interval the table has to cover.

    Returns
    -------
    Selection
        The table.

    Raises
    ------
    InputError
        If it is neither, begins above m_min, or detects nothing in the interval.
    """
    if isinstance(selection, Selection):
        table = selection
    elif callable(selection):
        table = Selection.from_function(
            selection, function.m_min, None if math.isinf(function.m_max) else function.m_max
        )
    else:
        msg = (
            f"selection is a {type(selection).__name__}; give a Selection, a function of mass [Msun] that returns "
            "the chance to be detected, or None"
        )
        raise InputError(msg)
    if table.mass[0] > function.m_min * (1 + 1e-9):
        msg = (
            f"the selection begins at {table.mass[0]:g} Msun, above m_min = {function.m_min:g} Msun; extend its "
            "table down to m_min, or raise m_min"
        )
        raise InputError(msg)
    inside = (table.mass > function.m_min) & (table.mass < function.m_max)
    edges = [np.minimum(table.mass[-1], edge) for edge in (function.m_min, function.m_max)]
    chances = np.atleast_2d(table.probability)
    ends = np.array([[np.interp(math.log(m), np.log(table.mass), row) for m in edges] for row in chances])
    blind = np.flatnonzero((chances[:, inside].max(axis=1, initial=0.0) <= 0) & (ends.max(axis=1) <= 0))
    if len(blind):
        who = "" if table.n_objects is None else f" for the object(s) in row(s) {', '.join(map(str, blind[:10]))}"
        msg = (
            f"the selection gives no chance of detection anywhere in [{function.m_min:g}, {function.m_max:g}) Msun{who}; "
            "such objects cannot be in a sample: check the units of its masses"
        )
        raise InputError(msg)
    return table


def with_selection(function: MassFunction, selection: Selection) -> MassFunction:
    """Return the density of detected masses for a mass function and a selection.

    Parameters
    ----------
    function : PowerLaw or Schechter
        The mass function of all objects, detected or not.
    selection : Selection
        The chance to be detected.

    Returns
    -------
    PowerLaw or Schechter
        A model with the same parameters, whose normalisation, density and survival function are those of the detected.
        Where every object has its own row they are averages over the objects. To draw detected masses, draw from the
        plain model and keep each with its chance.
    """
    if isinstance(function, PowerLaw):
        return _SelectedPowerLaw(function.m_min, function.m_max, selection=selection)
    return _SelectedSchechter(function.m_min, function.m_max, selection=selection)


def log_chance(selection: Selection, mass: FloatArray) -> float:
    """Return the sum of ln p(detect) over a sample, or refuse one that could not have been detected.

    Parameters
    ----------
    selection : Selection
        The chance to be detected.
    mass : ndarray
        Masses [Msun], shape (n,).

    Returns
    -------
    float
        The sum.

    Raises
    ------
    InputError
        If a mass has no chance of detection.
    """
    chance = selection(mass)
    missed = mass[chance <= 0]
    if len(missed):
        msg = (
            f"the selection gives {len(missed)} mass(es) of the sample no chance of detection "
            f"({', '.join(f'{m:.4g}' for m in missed[:5])} Msun); correct the selection, or leave those objects out"
        )
        raise InputError(msg)
    return float(np.log(chance).sum())


class _Detected:
    """Integrals over the detected masses, in y = ln(M / m_min), by panels that end where the table bends."""

    m_min: float
    selection: Selection

    @property
    def _knots(self) -> FloatArray:
        return np.log(self.selection.mass / self.m_min)

    @property
    def _curves(self) -> FloatArray:
        return np.atleast_2d(self.selection.probability)

    def _edges(self, end: float, more: FloatArray, widest: float = _WIDEST) -> FloatArray:
        """Return the ends of panels from 0 to ``end``, no wider than ``widest``."""
        knots = self._knots
        edges = np.unique(np.concatenate([[0.0, end], more, knots[(knots > 0) & (knots < end)]]))
        pieces = np.maximum(1, np.ceil(np.diff(edges) / widest)).astype(int)
        if (pieces > 1).any():
            parts = [np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(edges[:-1], edges[1:], pieces, strict=True)]
            edges = np.concatenate([*parts, [end]])
        return edges

    def _nodes(self, edges: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return nodes y, shape (q,), and weights times chances, shape (n, q), panel after panel."""
        x, weight = gauss_legendre(_NODES)
        half = np.diff(edges) / 2
        y = ((edges[1:] + edges[:-1]) / 2)[:, None] + half[:, None] * x
        flat = y.ravel()
        knots = self._knots
        chance = np.array([np.interp(flat, knots, curve) for curve in self._curves])
        return flat, chance * (half[:, None] * weight).ravel()

    def _survival(
        self, integrand: FloatArray, beyond: FloatArray, n_panels: int, index: npt.NDArray[np.intp]
    ) -> FloatArray:
        """Return tails from the given panel edges, averaged over the objects; see `survival`."""
        panels = integrand.reshape(*integrand.shape[:-1], n_panels, _NODES).sum(axis=-1)
        tails = np.concatenate([panels, beyond[..., None]], axis=-1)[..., ::-1].cumsum(axis=-1)[..., ::-1]
        return np.asarray((tails[..., index] / tails[..., :1]).mean(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class _SelectedPowerLaw(_Detected, PowerLaw):
    """The detected masses of a power law."""

    selection: Selection = field(kw_only=True)

    @property
    def _end(self) -> float:
        """Return where the table ends, after which the integral has a closed form."""
        return float(min(self.log_range, max(self._knots[-1], 0.0)))

    def _beyond(self, g: FloatArray, end: float) -> FloatArray:
        """Return the integral beyond the table, times the chance there: shape of ``g`` and (n,)."""
        last = np.array([np.interp(end, self._knots, curve) for curve in self._curves])
        if end >= self.log_range or not last.any():
            return np.zeros((*g.shape, len(last)))
        return np.asarray(np.exp(g * end + log_power_integral(g, self.log_range - end))[..., None] * last)

    def log_norm(self, beta: npt.ArrayLike) -> FloatArray:
        """Return the logarithm of the integral of x^beta S(x), averaged over the objects."""
        slope = np.asarray(beta, dtype=np.float64)
        g, end = slope.ravel() + 1.0, self._end
        out = np.log(self._beyond(g, end)) if end <= 0 else np.empty((len(g), len(self._curves)))
        if end > 0:
            y, weight = self._nodes(self._edges(end, np.empty(0)))
            for block in np.array_split(np.arange(len(g)), max(1, len(g) // 1024)):
                values = product(np.exp(g[block, None] * y), weight.T)
                out[block] = np.log(values + self._beyond(g[block], end))
        return np.asarray(out.mean(axis=1).reshape(slope.shape), dtype=np.float64)

    def log_pdf(self, mass: npt.ArrayLike, beta: npt.ArrayLike) -> FloatArray:
        """Return ln of the density of detected masses, per Msun."""
        with np.errstate(divide="ignore"):
            return np.asarray(super().log_pdf(mass, beta) + np.log(self.selection(mass)), dtype=np.float64)

    def survival(self, mass: FloatArray, beta: FloatArray) -> FloatArray:
        """Return the chance of a detected object to exceed a mass, for every slope, averaged over the objects."""
        g, end = np.asarray(beta, dtype=np.float64) + 1.0, self._end
        y = np.log(np.clip(mass, self.m_min, self.m_max) / self.m_min)
        edges = self._edges(end, y[(y > 0) & (y < end)]) if end > 0 else np.zeros(1)
        at, weight = self._nodes(edges)
        last = len(edges) - 1
        far = y > end
        index = np.append(np.searchsorted(edges, np.minimum(y, end)), last)
        out = np.empty((len(g), len(y)))
        for block in np.array_split(np.arange(len(g)), max(1, len(g) * weight.size // 2_000_000)):
            slope = g[block, None]
            integrand = np.exp(slope[:, :, None] * at) * weight
            near = self._survival(integrand, self._beyond(g[block], end), last, index)
            # Above the table the tail is that of the plain power law.
            with np.errstate(divide="ignore"):
                tail = log_power_integral(slope, self.log_range - y[far]) + slope * (y[far] - end)
                tail -= log_power_integral(slope, self.log_range - end)
            out[block] = near[:, :-1]
            out[block[:, None], np.flatnonzero(far)] = near[:, -1:] * np.exp(tail)
        return out


@dataclass(frozen=True)
class _SelectedSchechter(_Detected, Schechter):
    """The detected masses of a Schechter function."""

    selection: Selection = field(kw_only=True)
    #: The zeros of the integral come twice as near as without a selection, which may leave two heaps of masses.
    nearness: ClassVar[float] = 0.5

    def _regular(self, t: FloatArray) -> FloatArray:
        """Return panel edges that resolve the power law and every exponential."""
        end = min(self.log_range, math.log1p(_E_FOLDS / float(t.min())))
        steep = max(1.0, float(t.max()))
        w = math.log1p(steep * math.expm1(end))
        edges = np.log1p(np.expm1(np.linspace(0.0, w, max(2, math.ceil(w / 0.8)) + 1)) / steep)
        edges[-1] = end
        return np.asarray(edges, dtype=np.float64)

    def log_norm(self, beta: npt.ArrayLike, log_mc: npt.ArrayLike) -> FloatArray:
        """Return the logarithm of the integral of x^beta exp(-t x) S(x), averaged over the objects."""
        beta, t = np.broadcast_arrays(np.asarray(beta, dtype=np.float64), self.ratio(log_mc))
        flat_g, flat_t = beta.ravel() + 1.0, t.ravel()
        out = np.empty(flat_g.shape)
        for block in np.array_split(np.arange(len(out)), max(1, len(out) // 1024)):
            if len(block):
                regular = self._regular(flat_t[block])
                y, weight = self._nodes(self._edges(regular[-1], regular))
                values = np.exp(flat_g[block, None] * y - flat_t[block, None] * np.expm1(y))
                out[block] = np.log(product(values, weight.T)).mean(axis=1) - flat_t[block]
        return out.reshape(beta.shape)

    def log_norm_table(self, beta: FloatArray, log_mc: FloatArray) -> FloatArray:
        """Return `log_norm` + t for every pair of a slope and a truncation mass, shape (a, b)."""
        t = self.ratio(log_mc)
        regular = self._regular(t)
        y, weight = self._nodes(self._edges(regular[-1], regular))
        powers = np.exp((np.asarray(beta)[:, None] + 1.0) * y)
        falls = np.exp(-np.expm1(y)[:, None] * t)
        # One object after another: the tables of all at once would not fit a small computer.
        tables = (np.log(product(powers * row, falls)) for row in weight)
        return np.asarray(sum(tables) / len(weight), dtype=np.float64)

    def log_pdf(self, mass: npt.ArrayLike, beta: npt.ArrayLike, log_mc: npt.ArrayLike) -> FloatArray:
        """Return ln of the density of detected masses, per Msun."""
        with np.errstate(divide="ignore"):
            return np.asarray(super().log_pdf(mass, beta, log_mc) + np.log(self.selection(mass)), dtype=np.float64)

    def survival(self, mass: FloatArray, beta: FloatArray, log_mc: FloatArray) -> FloatArray:
        """Return the chance of a detected object to exceed a mass, for every pair, averaged over the objects."""
        g, t = np.asarray(beta, dtype=np.float64) + 1.0, self.ratio(log_mc)
        if not len(t):
            return np.empty((0, len(mass)))
        regular = self._regular(t)
        y = np.log(np.clip(mass, self.m_min, self.m_max) / self.m_min)
        edges = self._edges(regular[-1], np.concatenate([regular, y[y < regular[-1]]]))
        at, weight = self._nodes(edges)
        index = np.searchsorted(edges, np.minimum(y, edges[-1]))
        out = np.empty((len(g), len(y)))
        for block in np.array_split(np.arange(len(g)), max(1, len(g) * weight.size // 2_000_000)):
            values = np.exp(g[block, None] * at - t[block, None] * np.expm1(at))
            nothing = np.zeros((len(block), len(weight)))
            out[block] = self._survival(values[:, None, :] * weight, nothing, len(edges) - 1, index)
        return out
