"""Histories as bagpipes samples them: at ages 0.0025 dex apart, summed into its bins."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sc_lab.sed._ages import AgeBins, hubble_time_gyr, midpoint_edges
from sc_lab.sed.model import SedModel
from sc_lab.units import FloatArray

__all__ = ["AGE_STEP", "RATE_SPANS", "bin_of", "complete_bins", "sampled_ages", "sampled_intervals", "sampled_weights"]

IntArray = npt.NDArray[np.intp]

#: Step of the sampled ages [dex], from 1 Myr on.
AGE_STEP = 0.0025
#: Rates are averaged over the last so many years.
RATE_SPANS = (1e7, 1e8)
_LOCK = threading.Lock()


@lru_cache(maxsize=1)
def sampled_ages() -> tuple[FloatArray, FloatArray]:
    """Return the ages at which bagpipes samples histories.

    Returns
    -------
    ages, widths : ndarray, shape (n,)
        Look-back times, and the time that each stands for [yr].
    """
    hubble = hubble_time_gyr()
    logs = np.arange(6.0, np.log10(hubble) + 9.0 + 2 * AGE_STEP, AGE_STEP)
    edges = 10 ** midpoint_edges(logs)
    edges[0], edges[-1] = 0.0, 10**9 * hubble
    return 10**logs, np.diff(edges)


def sampled_intervals(model: SedModel, age_max: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the intervals of age in which bagpipes' fluxes do not change.

    Parameters
    ----------
    model : SedModel
        With an exponential, constant or burst history.
    age_max : float
        Age of the Universe [yr].

    Returns
    -------
    low, high, age : ndarray, shape (n,)
        Ends of the intervals, and an age inside each [yr].
    """
    ages, _ = sampled_ages()
    alive = ages[ages <= age_max]
    if model.sfh == "burst":
        cuts = 0.5 * (ages[1 : alive.size + 1] + ages[: alive.size])
        high = np.minimum(cuts, age_max)
        return np.concatenate([[0.0], high[:-1]]), high, alive
    cuts = ages[: alive.size]
    if model.duration is not None:
        ends = ages + model.duration * 1e6
        cuts = np.unique(np.concatenate([cuts, ends[ends < age_max]]))
    high = np.append(cuts[1:], age_max)
    keep = high > cuts
    cuts, high = cuts[keep], high[keep]
    return cuts, high, 0.5 * (cuts + high)


def sampled_weights(
    model: SedModel, bins: AgeBins, age: FloatArray
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """Return weights by bin, rates and mean ages of histories as bagpipes samples them.

    Parameters
    ----------
    model : SedModel
        With an exponential, constant or burst history.
    bins : AgeBins
        bagpipes' bins.
    age : ndarray, shape (n,)
        Ages of onset [yr].

    Returns
    -------
    weights : ndarray, shape (n, n_bin)
        Fractions of the mass formed; NaN where no sampled age has stars.
    rates : tuple of three ndarray, shape (n,)
        Rates over 10 and 100 Myr for 1 Msun formed [1/yr], and mean age [yr].
    """
    if model.sfh == "burst":
        ages, widths = sampled_ages()
        # The sampled age nearest to the one asked for; of two at the same distance the younger.
        at = np.searchsorted(0.5 * (ages[1:] + ages[:-1]), age, side="left")
        weights = np.zeros((age.size, bins.n_bin))
        weights[np.arange(age.size), bin_of(ages, bins)[at]] = 1.0
        rates = tuple((ages[at] < span) / widths[ages < span].sum() for span in RATE_SPANS)
        return weights, (rates[0], rates[1], ages[at])
    if model.duration is None:
        table = _compat_table(model.tau if model.sfh == "exponential" else math.inf, bins)
        sampled = np.searchsorted(sampled_ages()[0], age, side="left")
        weights, rest = table
        return weights[sampled], (rest[sampled, 0], rest[sampled, 1], rest[sampled, 2])
    ages, widths = sampled_ages()
    upper = np.searchsorted(ages, age, side="left")
    lower = np.searchsorted(ages, np.maximum(age - model.duration * 1e6, 0.0), side="right")
    masses = np.zeros((ages.size + 1, bins.n_bin))
    inside = bin_of(ages, bins)
    known = inside < bins.n_bin
    masses[1:][np.flatnonzero(known), inside[known]] = widths[known]
    masses = np.cumsum(masses, axis=0)
    rows = masses[upper] - masses[lower]
    columns = np.stack([*(widths * (ages < span) for span in RATE_SPANS), widths * ages, widths], axis=1)
    sums = np.concatenate([np.zeros((1, 4)), np.cumsum(columns, axis=0)])
    parts = sums[upper] - sums[lower]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(upper > lower, parts[:, 3], np.nan)
        rates = tuple(parts[:, i] / total / widths[ages < span].sum() for i, span in enumerate(RATE_SPANS))
        return rows / total[:, None], (rates[0], rates[1], parts[:, 2] / total)


def bin_of(ages: FloatArray, bins: AgeBins) -> IntArray:
    """Return the bin of each sampled age as a histogram has it.

    Parameters
    ----------
    ages : ndarray, shape (n,)
        Ages [yr].
    bins : AgeBins
        bagpipes' bins.

    Returns
    -------
    ndarray of int, shape (n,)
        Index of the bin; n_bin for ages beyond the last edge.
    """
    found = np.searchsorted(bins.edges, ages, side="right") - 1
    found[ages == bins.edges[-1]] = bins.n_bin - 1
    return np.where(ages > bins.edges[-1], bins.n_bin, found)


_TABLES: OrderedDict[tuple[float, int, float], tuple[FloatArray, FloatArray]] = OrderedDict()


def _compat_table(tau_myr: float, bins: AgeBins) -> tuple[FloatArray, FloatArray]:
    """Return weights and (sfr10, sfr100, age_mw) when the first 0, 1, 2, ... sampled ages have stars.

    Sums run from the youngest age on and are scaled to the oldest at each step, which no exponential overflows.
    """
    key = (tau_myr, bins.n_bin, float(bins.edges[1]))
    found = _TABLES.get(key)
    if found is not None:
        return found
    ages, widths = sampled_ages()
    inside = bin_of(ages, bins)
    spans = [widths[ages < span].sum() for span in RATE_SPANS]
    weights, rest = np.full((ages.size + 1, bins.n_bin), np.nan), np.full((ages.size + 1, 3), np.nan)
    mass = np.zeros(bins.n_bin + 1)
    recent, moment, total = np.zeros(2), 0.0, 0.0
    for i, (age, width) in enumerate(zip(ages, widths, strict=True)):
        decay = math.exp(-(age - ages[i - 1]) / (tau_myr * 1e6)) if i else 0.0
        mass *= decay
        mass[inside[i]] += width
        total = total * decay + width
        moment = moment * decay + width * age
        recent = recent * decay + width * np.array([age < span for span in RATE_SPANS])
        weights[i + 1] = mass[:-1] / total
        rest[i + 1] = recent[0] / total / spans[0], recent[1] / total / spans[1], moment / total
    with _LOCK:
        _TABLES[key] = (weights, rest)
        while len(_TABLES) > 16:
            _TABLES.popitem(last=False)
    return weights, rest


def complete_bins(weights: FloatArray, last: IntArray, n_bin: int) -> FloatArray:
    """Return the weights of the complete bins before each bin.

    Parameters
    ----------
    weights : ndarray, shape (n_state, n_bin)
        Weights of states.
    last : ndarray of int, shape (n_state,)
        Bin of the oldest stars of each.
    n_bin : int
        Number of bins.

    Returns
    -------
    ndarray, shape (n_bin, n_bin)
        Rows that add to one, from any state in which the bin is the last; zero where none is.
    """
    base = np.zeros((n_bin, n_bin))
    for k in range(1, n_bin):
        states = np.flatnonzero(last == k)
        if states.size:
            row = weights[states[0]].copy()
            row[k:] = 0.0
            total = row.sum()
            base[k] = row / total if total > 0 else 0.0
    return base
