"""Populations of simulated clusters: virial fractions by run and redshift, counts, mass functions, bimodality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.clusters import virial_fraction
from sc_lab.units import FloatArray, value_in

__all__ = ["Bimodality", "bimodality", "cumulative_mass_function", "number_ratio", "virial_fractions", "virial_ks"]


def _tables(value: Any, name: str) -> None:
    """Refuse what is no sequence of catalogues."""
    if isinstance(value, (str, bytes, Mapping, Table, u.Quantity)) or not isinstance(value, Iterable):
        msg = f"{name} is a {type(value).__name__}; give a list of tables from measure_clusters"
        raise InputError(msg)
    for each in value:
        check.table_with(each, ("bound", "virialised"), name, "from measure_clusters")


def _by_mode(value: Any, name: str) -> None:
    """Refuse what is no mapping of catalogues."""
    if not isinstance(value, Mapping):
        msg = f"{name} is a {type(value).__name__}; give a mapping of modes to tables from measure_clusters"
        raise InputError(msg)
    for each in value.values():
        check.table_with(each, (), name, "from measure_clusters")


_EDGES = check.array(u.Msun, words="two masses or more, rising", shape=(None,))


def _masses(table: Table, column: str) -> FloatArray:
    """Return a column of masses [Msun]."""
    check.table_with(table, (column,), "the catalogue", "from measure_clusters")
    return value_in(table[column], u.Msun, column)


@check.checked(catalogues=_tables)
def virial_fractions(catalogues: Sequence[QTable]) -> QTable:
    """Return the share of virialised clusters by mode and redshift.

    Parameters
    ----------
    catalogues : sequence of QTable
        From `sc_lab.simulations.measure_clusters`, one for each mode and snapshot.

    Returns
    -------
    QTable
        ``mode``, ``z``, ``n_bound``, ``n_virialised``, ``fraction`` with ``fraction_err_lo`` and ``fraction_err_hi``:
        the 68 % interval of a binomial share with a flat prior (Williams et al. 2025, table 2 and equation 3).
    """
    from scipy.stats import beta

    rows = []
    for table in catalogues:
        about = table.meta.get("simulation", {})
        bound = int(np.asarray(table["bound"], dtype=bool).sum())
        settled = int((np.asarray(table["bound"], dtype=bool) & np.asarray(table["virialised"], dtype=bool)).sum())
        share = virial_fraction(table)
        low, high = beta.ppf([0.16, 0.84], settled + 1, bound - settled + 1)
        # The share itself may be 0 or 1, at the end of the interval.
        sides = (max(share - low, 0.0), max(high - share, 0.0)) if bound else (np.nan, np.nan)
        rows.append((str(about.get("mode", "")), float(about.get("redshift", np.nan)), bound, settled, share, *sides))
    names = ("mode", "z", "n_bound", "n_virialised", "fraction", "fraction_err_lo", "fraction_err_hi")
    kinds = (str, float, int, int, float, float, float)
    return QTable(rows=rows, names=names, dtype=kinds) if rows else QTable(names=names, dtype=kinds)


@check.checked(clusters=check.table("virialised"), column=check.text)
def virial_ks(clusters: QTable, column: str = "mass") -> tuple[float, float]:
    """Return whether virialised clusters are a random choice of all, by Kolmogorov and Smirnov.

    Parameters
    ----------
    clusters : QTable
        From `sc_lab.simulations.measure_clusters`.
    column : str
        What is compared.

    Returns
    -------
    (float, float)
        Statistic and p-value of the virialised against all, as in Williams et al. 2025; NaN where one is empty. The
        virialised are among all, so the samples are not independent: the p-value is larger than it should be.
    """
    from scipy.stats import ks_2samp

    check.table_with(clusters, (column,), "clusters", "from measure_clusters")
    values = np.asarray(getattr(clusters[column], "value", clusters[column]), dtype=float)
    settled = np.asarray(clusters["virialised"], dtype=bool)
    if not settled.any():
        return float("nan"), float("nan")
    found = ks_2samp(values[settled], values)
    return float(found.statistic), float(found.pvalue)


@check.checked(
    clusters=check.table(), volume=check.positive(u.Mpc**3, words="a comoving volume above 0 Mpc^3"), column=check.text
)
def cumulative_mass_function(clusters: QTable, volume: Any, *, column: str = "mass") -> QTable:
    """Return how many clusters there are above each mass.

    Parameters
    ----------
    clusters : QTable
        The catalogue.
    volume : Quantity or float
        Comoving volume [Mpc^3].
    column : str
        The mass to use.

    Returns
    -------
    QTable
        ``mass``, rising, ``n_above`` and ``density`` = n_above / volume [Mpc^-3] with Poisson errors
        (Williams et al. 2025, figure 12).
    """
    size = float(value_in(volume, u.Mpc**3, "volume"))
    mass = np.sort(_masses(clusters, column))
    above = np.arange(len(mass), 0, -1)
    table = QTable({"mass": mass * u.Msun, "n_above": above})
    table["density"] = above / size * u.Mpc**-3
    table["density_err"] = np.sqrt(above) / size * u.Mpc**-3
    return table


@check.checked(catalogues=_by_mode, reference=check.text, edges=_EDGES, column=check.text)
def number_ratio(
    catalogues: Mapping[str, QTable], reference: str, edges: Any, *, column: str = "mass"
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return counts by mass for several modes, and their ratios to one of them.

    Parameters
    ----------
    catalogues : mapping of str to QTable
        Catalogues of one snapshot by mode.
    reference : str
        The mode to divide by.
    edges : array_like
        Edges of the mass bins [Msun].
    column : str
        The mass to use.

    Returns
    -------
    dict of str to (ndarray, ndarray)
        Counts, and counts over those of the reference (NaN where it has none), by mode (Williams et al. 2025, figure 3).
    """
    if reference not in catalogues:
        msg = f"reference is {reference!r}; give one of {', '.join(map(repr, catalogues))}"
        raise InputError(msg)
    bins = value_in(edges, u.Msun, "edges")
    if len(bins) < 2 or np.any(np.diff(bins) <= 0):
        msg = f"edges is {edges!r}; give two masses or more, rising"
        raise InputError(msg)
    counts = {name: np.histogram(_masses(table, column), bins)[0].astype(float) for name, table in catalogues.items()}
    base = counts[reference]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: (each, np.where(base > 0, each / base, np.nan)) for name, each in counts.items()}


@dataclass(frozen=True)
class Bimodality:
    """One normal distribution against two.

    Attributes
    ----------
    means, sigmas, shares : tuple of float
        The two components, the lower mean first.
    delta_bic : float
        BIC of one component less that of two: above 10 two are strongly preferred.
    separation : float
        Distance of the means over the root mean square of the two widths (Ashman's D: above 2 is a clean split).
    """

    means: tuple[float, float]
    sigmas: tuple[float, float]
    shares: tuple[float, float]
    delta_bic: float
    separation: float

    @property
    def bimodal(self) -> bool:
        """Whether two components are strongly preferred and cleanly apart."""
        return self.delta_bic > 10.0 and self.separation > 2.0


@check.checked(iterations=check.count(low=1))
def bimodality(values: Any, *, iterations: int = 500) -> Bimodality:
    """Return whether values are better described by two normal distributions than by one.

    Parameters
    ----------
    values : array_like, shape (n,)
        Such as log10 of surface densities, or of mean gas densities; NaN are left out.
    iterations : int
        Most steps of expectation and maximisation.

    Returns
    -------
    Bimodality
        Both fits.

    Raises
    ------
    InputError
        If fewer than ten values are finite or all are the same.

    Notes
    -----
    Maximum likelihood by expectation and maximisation, started from a split at each of five quantiles; Ashman, Bird &
    Zepf 1994 for the separation.
    """
    x = value_in(values, u.one, "values").ravel()
    x = x[np.isfinite(x)]
    n = len(x)
    if n < 10 or np.ptp(x) == 0:
        msg = f"{n} values are finite; give at least ten that are not all the same"
        raise InputError(msg)
    # A floor on the widths, so that no component shrinks onto one value.
    floor = 0.02 * float(x.std())
    single = float(np.sum(_log_normal(x, x.mean(), x.std())))
    best: tuple[float, FloatArray, FloatArray, FloatArray] | None = None
    for cut in np.quantile(x, [0.2, 0.35, 0.5, 0.65, 0.8]).tolist():
        low, high = x[x <= cut], x[x > cut]
        if len(low) < 2 or len(high) < 2:
            continue
        mean = np.array([low.mean(), high.mean()])
        sigma = np.maximum([low.std(), high.std()], floor)
        share = np.array([len(low), len(high)]) / n
        last = -np.inf
        for _ in range(iterations):
            logs = np.log(share)[:, None] + np.stack([_log_normal(x, mean[k], sigma[k]) for k in (0, 1)])
            whole = np.logaddexp(logs[0], logs[1])
            likelihood = float(whole.sum())
            weight = np.exp(logs - whole)
            size = np.maximum(weight.sum(axis=1), 1e-12)
            mean = (weight * x).sum(axis=1) / size
            sigma = np.maximum(np.sqrt((weight * (x - mean[:, None]) ** 2).sum(axis=1) / size), floor)
            share = np.maximum(size / n, 1e-12)
            if likelihood - last < 1e-9 * n:
                break
            last = likelihood
        if best is None or likelihood > best[0]:
            best = (likelihood, mean, sigma, share)
    if best is None:
        msg = "the values fall into fewer than two groups; give values that are not nearly all the same"
        raise InputError(msg)
    likelihood, mean, sigma, share = best
    order = np.argsort(mean)
    (m0, m1), (s0, s1), (p0, p1) = (each[order].tolist() for each in (mean, sigma, share))
    # Two parameters against five.
    delta = (2 * np.log(n) - 2 * single) - (5 * np.log(n) - 2 * likelihood)
    return Bimodality((m0, m1), (s0, s1), (p0, p1), float(delta), float(np.sqrt(2.0) * (m1 - m0) / np.hypot(s0, s1)))


def _log_normal(x: FloatArray, mean: float, sigma: float) -> FloatArray:
    """Return the logarithm of a normal density."""
    return np.asarray(-0.5 * ((x - mean) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2.0 * np.pi))
