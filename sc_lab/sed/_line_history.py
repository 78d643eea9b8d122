"""Histories as they are: exact integrals over lines between the ages that have spectra."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sc_lab.sed._ages import AgeBins
from sc_lab.sed._sampled_history import AGE_STEP, RATE_SPANS
from sc_lab.sed.model import SedModel
from sc_lab.units import FloatArray

__all__ = ["line_ages", "line_rates", "line_rows", "line_weights", "onset_ages"]

IntArray = npt.NDArray[np.intp]

#: Ages of onset between which lines are drawn: up to an age [yr], every so many steps of 0.0025 dex.
_LINE_STEPS = ((3e7, 4), (np.inf, 8))


def onset_ages(bins: AgeBins, age_max: float) -> tuple[FloatArray, IntArray]:
    """Return ages of onset that stand for all, nodes of the tables among them.

    Parameters
    ----------
    bins : AgeBins
        Nodes.
    age_max : float
        Age of the Universe [yr].

    Returns
    -------
    ages : ndarray, shape (n,)
        From 1 Myr on, 0.0025 dex apart [yr].
    nodes : ndarray of int
        Where the nodes are in it.
    """
    n = int((math.log10(age_max) - 6.0) / AGE_STEP) + 2
    steps = 1e6 * 10 ** (AGE_STEP * np.arange(n))
    nodes = np.unique(bins.ages)
    nodes = nodes[(nodes > steps[0] * 1.001) & (nodes < age_max * 0.999)]
    nearest = np.full(n, np.inf)
    if nodes.size:
        after = np.searchsorted(nodes, steps)
        before, after = np.maximum(after - 1, 0), np.minimum(after, nodes.size - 1)
        nearest = np.minimum(np.abs(np.log10(steps / nodes[before])), np.abs(np.log10(steps / nodes[after])))
    # A step next to a node gives way to it, so that no sliver is left between them.
    kept = steps[(nearest > 0.5 * AGE_STEP) & (steps < age_max * 0.999)]
    ages = np.unique(np.concatenate([steps[:1], kept, nodes, [age_max]]))
    return ages, np.searchsorted(ages, nodes)


def line_ages(model: SedModel, ages: FloatArray, nodes: IntArray) -> FloatArray:
    """Return the ages of onset between which fluxes are taken to change along a line.

    Parameters
    ----------
    model : SedModel
        Its history decides.
    ages : ndarray, shape (n,)
        Ages of `onset_ages` [yr].
    nodes : ndarray of int
        Where nodes are in it; lines break there.

    Returns
    -------
    ndarray
        Some of the ages [yr].
    """
    kept = np.zeros(ages.size, dtype=bool)
    kept[[0, -1]] = True
    kept[nodes] = True
    low = 0.0
    for high, every in _LINE_STEPS:
        kept[::every] |= (ages[::every] >= low) & (ages[::every] < high)
        low = high
    if model.sfh != "exponential":  # what is steep follows the clouds that disperse, closely
        turn = model.t_birth_cloud * 1e6 * 10 ** np.array([-0.02, 0.05])
        kept |= (ages > turn[0]) & (ages < turn[1])
    return ages[kept]


def line_rows(lines: FloatArray, age: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the ages of onset before and after each, and how far it is on the way.

    Parameters
    ----------
    lines : ndarray, shape (n_line,)
        Ages of `line_ages` [yr].
    age : ndarray, shape (n,)
        Ages of onset [yr].

    Returns
    -------
    before, after : ndarray of int, shape (n,)
        Indices in ``lines``.
    mix : ndarray, shape (n,)
        0 at the first, 1 at the second.
    """
    after = np.clip(np.searchsorted(lines, age, side="left"), 1, lines.size - 1)
    mix = np.clip((age - lines[after - 1]) / (lines[after] - lines[after - 1]), 0.0, 1.0)
    return after - 1, after, mix


def line_weights(nodes: FloatArray, lower: FloatArray, upper: FloatArray, *, tau: float = math.inf) -> FloatArray:
    """Return the weights of nodes for stars formed between two look-back times at a rate that falls with ``tau``.

    Parameters
    ----------
    nodes : ndarray, shape (n_node,)
        Ages that have spectra [yr]; the same age twice breaks the line.
    lower, upper : ndarray, shape (n,)
        End and onset of star formation [yr of look-back time].
    tau : float, optional
        e-folding time of the rate since the onset [yr].

    Returns
    -------
    ndarray, shape (n, n_node)
        Rows that add to one.

    Notes
    -----
    Spectra are lines between nodes, so that a span counts with its mass and the mean place of its stars on the line.
    """
    weights = np.zeros((upper.size, nodes.size))
    width = np.diff(nodes)
    spans = np.flatnonzero(width > 0)
    begin, step = nodes[spans], width[spans]
    low, high = lower[:, None], upper[:, None]
    start, stop = np.clip(begin, low, high), np.clip(begin + step, low, high)
    if (upper == lower).all():
        inside = np.clip(np.searchsorted(begin + step, upper, side="left"), 0, spans.size - 1)
        mass = np.zeros((upper.size, spans.size))
        mass[np.arange(upper.size), inside] = 1.0
        middle = np.clip((high - begin) / step, 0.0, 1.0)
    else:
        q = (stop - start) / tau
        mass = (stop - start) if math.isinf(tau) else np.exp(-(high - stop) / tau) * -np.expm1(-q)
        mass = mass / mass.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.where(q < 1e-3, 0.5 + q / 12.0, 1.0 / -np.expm1(-q) - 1.0 / q)
        middle = np.clip((start + place * (stop - start) - begin) / step, 0.0, 1.0)
    weights[:, spans] += mass * (1.0 - middle)
    weights[:, spans + 1] += mass * middle
    return weights


def _mass_between(model: SedModel, age: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Return the mass formed between two look-back times [any unit], stably for ages far above and below tau."""
    if model.sfh != "exponential":
        return upper - lower
    tau = model.tau * 1e6
    return np.exp(-(age - upper) / tau) * -np.expm1(-(upper - lower) / tau)


def line_rates(model: SedModel, age: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the rates over 10 and 100 Myr and the mean age, exactly.

    Parameters
    ----------
    model : SedModel
        With an exponential, constant or burst history.
    age : ndarray, shape (n,)
        Ages of onset [yr].

    Returns
    -------
    sfr10, sfr100, age_mw : ndarray, shape (n,)
        Rates for 1 Msun formed [1/yr] and mean age [yr].
    """
    age = np.maximum(age, 1.0)
    if model.sfh == "burst":
        return (age < RATE_SPANS[0]) / RATE_SPANS[0], (age < RATE_SPANS[1]) / RATE_SPANS[1], age.copy()
    start = np.zeros_like(age) if model.duration is None else np.maximum(age - model.duration * 1e6, 0.0)
    total = _mass_between(model, age, start, age)
    spans = (np.clip(span, start, age) for span in RATE_SPANS)
    sfr10, sfr100 = (
        _mass_between(model, age, start, end) / total / span for end, span in zip(spans, RATE_SPANS, strict=True)
    )
    age_mw = 0.5 * (start + age)
    if model.sfh == "exponential":
        # The mean of exp(x / tau) over (0, age); its series where the difference of two large numbers would be lost.
        x = age / (model.tau * 1e6)
        age_mw = np.where(x < 1e-3, age * (0.5 + x / 12.0), age / -np.expm1(-x) - model.tau * 1e6)
    return sfr10, sfr100, age_mw
