"""How many clusters there are, by the mass of their stars or of those that formed lately, and how that differs by mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.groups import Groups
from sc_lab.simulations.snapshot import Snapshot
from sc_lab.simulations.stars import interval, new_stars
from sc_lab.units import FloatArray, value_in

__all__ = ["add_new_stars", "number_counts"]

_STARS = 4
#: Star-formation rate [Msun/yr] of a luminosity of 1 erg/s/Hz at 1500 A, and the magnitude of that luminosity, as in the
#: authors' public analysis.
_PER_LUMINOSITY, _ZERO = 1.15e-28, 51.6
#: 68 % of a distribution lies between.
_LEVELS = (0.15865525393145707, 0.8413447460685429)


@check.checked(clusters=check.table("group"), groups=check.groups, snapshot=check.snapshot)
def add_new_stars(
    clusters: Table,
    groups: Groups,
    snapshot: Snapshot,
    *,
    since: Any = None,
    previous: Snapshot | None = None,
    ages: Any = None,
) -> QTable:
    """Return clusters with the stars that have formed in them lately.

    Parameters
    ----------
    clusters : QTable
        From `sc_lab.simulations.measure_clusters`.
    groups : Groups
        The groups they were measured from.
    snapshot : Snapshot
        The particles.
    since : Quantity or float, optional
        Stars no older than this are new [Myr].
    previous : Snapshot, optional
        Instead: an earlier snapshot, in which new stars are not yet; see `sc_lab.simulations.new_stars`.
    ages : array_like or Quantity, optional
        Ages of all stars [Myr], by default from the file.

    Returns
    -------
    QTable
        A copy with ``n_new``, ``mass_new`` [Msun], ``sfr_new`` [Msun/yr]: that mass over the time, and ``m_uv``: the
        absolute AB magnitude at 1500 A that goes with such a rate, NaN without new stars.

    Raises
    ------
    InputError
        If not exactly one of ``since`` and ``previous`` is given, files do not have what it needs, or the clusters are
        not those of the groups.

    Notes
    -----
    Williams et al. 2025, figure 3: objects counted by all of their stars, and by new ones. L = SFR / 1.15e-28 erg/s/Hz,
    M_UV = 51.6 - 2.5 log10 L.
    """
    time = interval(snapshot, since=since, previous=previous)
    new = new_stars(snapshot, since=since, previous=previous, ages=ages)
    labels = groups.labels.get(_STARS, np.empty(0, dtype=np.int64))
    rows = np.asarray(clusters["group"], dtype=np.int64)
    if len(labels) != len(new) or (len(rows) and rows.max() >= len(groups)):
        msg = f"the groups have {len(labels)} stars, the snapshot {len(new)}; give the groups the clusters were measured from"
        raise InputError(msg)
    mass = snapshot.stars["Masses"].to_value(u.Msun) if len(new) else np.empty(0)
    chosen = new & (labels >= 0)
    number = np.bincount(labels[chosen], minlength=len(groups))[rows]
    held = np.bincount(labels[chosen], weights=mass[chosen], minlength=len(groups))[rows]
    rate = held / (1e6 * time)
    out = QTable(clusters, copy=True)
    out["n_new"] = number
    out["mass_new"] = held * u.Msun
    out["sfr_new"] = rate * u.Msun / u.yr
    with np.errstate(divide="ignore"):
        magnitude = _ZERO - 2.5 * np.log10(rate / _PER_LUMINOSITY)
    out["m_uv"] = np.where(number > 0, magnitude, np.nan) * u.mag
    out.meta["new_stars"] = {"interval_myr": time, "previous": None if previous is None else previous.name}
    return out


@check.checked(column=check.text, reference=check.optional(check.text))
def number_counts(
    catalogues: Mapping[str, Table], edges: Any = None, *, column: str = "mass", reference: str | None = "DMP-GS"
) -> QTable:
    """Return how many clusters of each mode there are in bins of mass, and their ratio to one of the modes.

    Parameters
    ----------
    catalogues : mapping of str to QTable
        Catalogues of one snapshot by mode, from `sc_lab.simulations.measure_clusters`.
    edges : array_like or Quantity, optional
        Edges of the bins [Msun], rising; by default three a decade around all clusters.
    column : str
        What is counted by: "mass", or "mass_new" of `add_new_stars`; clusters without any have no bin.
    reference : str or None
        The mode to divide by; None for no ratios.

    Returns
    -------
    QTable
        A row for each mode and bin: ``mode``, ``low``, ``high`` [Msun], ``n`` with ``n_err_lo`` and ``n_err_hi``,
        ``ratio`` with ``ratio_err_lo`` and ``ratio_err_hi``; NaN where the reference has none.

    Raises
    ------
    InputError
        If a catalogue has no such column, the reference is not among them, or the edges do not rise.

    Notes
    -----
    Williams et al. 2025, figure 3. Errors are 68 % intervals: of the mean of a Poisson number with a flat prior, and of the
    ratio of two such means. Modes share stars, so the errors of the ratios are on the safe side.
    """
    if not isinstance(catalogues, Mapping) or not catalogues:
        msg = f"catalogues is {type(catalogues).__name__}; give a mapping of at least one mode to its catalogue"
        raise InputError(msg)
    if reference is not None and reference not in catalogues:
        msg = f"reference is {reference!r}; give one of {', '.join(map(repr, catalogues))}, or None"
        raise InputError(msg)
    masses = {name: _masses(table, column, name) for name, table in catalogues.items()}
    bins = _edges(np.concatenate(list(masses.values()))) if edges is None else value_in(edges, u.Msun, "edges")
    if bins.ndim != 1 or len(bins) < 2 or not (np.all(np.isfinite(bins)) and np.all(np.diff(bins) > 0)):
        msg = f"edges is {edges!r}; give two masses or more, rising"
        raise InputError(msg)
    counts = {name: np.histogram(each, bins)[0] for name, each in masses.items()}
    parts: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for name, n in counts.items():
        low, high = _poisson(n)
        base = None if reference is None else counts[reference]
        ratio, under, over = _ratios(n, base, same=name == reference)
        values = (np.full(len(n), name), bins[:-1], bins[1:], n, n - low, high - n, ratio, ratio - under, over - ratio)
        for key, value in zip(_COLUMNS, values, strict=True):
            parts[key].append(value)
    out = QTable({key: np.concatenate(each) for key, each in parts.items()})
    for key in ("low", "high"):
        out[key] = out[key] * u.Msun
    out.meta |= {"column": column, "reference": reference, "edges": bins.tolist()}
    return out


_COLUMNS = ("mode", "low", "high", "n", "n_err_lo", "n_err_hi", "ratio", "ratio_err_lo", "ratio_err_hi")


def _masses(table: Table, column: str, name: str) -> FloatArray:
    """Return the masses above 0 of a catalogue [Msun]."""
    if column not in getattr(table, "colnames", ()):
        mend = "; add_new_stars makes it" if column == "mass_new" else ""
        msg = f"the catalogue of {name!r} has no column {column!r}{mend}"
        raise InputError(msg)
    values = value_in(table[column], u.Msun, column)
    with np.errstate(invalid="ignore"):
        return values[values > 0]


def _edges(mass: FloatArray) -> FloatArray:
    """Return edges of bins, three a decade, around all masses."""
    if not len(mass):
        return np.array([1e4, 1e5])
    low = np.floor(3 * np.log10(mass.min()) + 1e-9)
    high = max(np.floor(3 * np.log10(mass.max()) + 1e-9) + 1, low + 1)
    return np.asarray(10.0 ** (np.arange(low, high + 1) / 3))


def _poisson(n: Any) -> tuple[FloatArray, FloatArray]:
    """Return the 68 % interval of the mean of Poisson numbers; one-sided for none."""
    from scipy.special import gammaincinv

    low, high = (np.asarray(gammaincinv(n + 1.0, level)) for level in _LEVELS)
    upper = np.asarray(gammaincinv(n + 1.0, _LEVELS[1] - _LEVELS[0]))
    # The number itself is always inside.
    return np.where(n > 0, np.minimum(low, n), 0.0), np.where(n > 0, np.maximum(high, n), upper)


def _ratios(n: Any, base: Any, *, same: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ratios of numbers and their 68 % intervals."""
    from scipy.special import betaincinv

    if base is None:
        nothing = np.full(len(n), np.nan)
        return nothing, nothing, nothing
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(base > 0, n / np.maximum(base, 1), np.nan)
    if same:
        return ratio, ratio, ratio
    # The share of n among both has a beta distribution, and the ratio is share / (1 - share).
    share = [np.asarray(betaincinv(n + 1.0, base + 1.0, level)) for level in _LEVELS]
    low, high = (each / (1.0 - each) for each in share)
    return ratio, np.minimum(low, ratio), np.maximum(high, ratio)
