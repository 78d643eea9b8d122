"""Star-formation histories as weights of simple stellar populations in bins of age."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW

from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError
from sc_lab.sed._frame import age_of_universe_yr
from sc_lab.sed.libraries import Library
from sc_lab.sed.model import LEJA_EDGES, SedModel
from sc_lab.units import FloatArray

__all__ = [
    "AgeBins",
    "ContinuityWeights",
    "SfhStates",
    "age_bins",
    "continuity_edges",
    "continuity_weights",
    "sfh_states",
    "state_weights",
]

IntArray = npt.NDArray[np.intp]

#: Steps of bagpipes' grids of ages [dex], from 1 Myr on.
_COMPAT_BIN_STEP, _COMPAT_AGE_STEP = 0.1, 0.0025
#: Ages at which the fine mode has spectra are no closer than this [dex]; below 1 Myr a tenth of a dex is enough.
_FINE_STEP, _FINE_STEP_NEWBORN = 0.0195, 0.3
#: Ages of onset between which the fine mode draws lines [dex], while gas shines and after; whole steps of 0.0025.
_LINE_STEPS = ((3e7, 4), (np.inf, 8))
#: Rates are averaged over the last so many years.
_RATE_SPANS = (1e7, 1e8)
#: A last continuity bin thinner than this fraction of the age of the Universe joins the one before it.
_THINNEST_LAST_BIN = 0.02


@dataclass(frozen=True, eq=False)
class AgeBins:
    """The ages for which stellar populations are tabulated.

    In compat they are bagpipes' bins, with the mean spectrum of each. In fine they are nodes: spectra change along a
    line from node to node, and the weight of a node is what a history has of its half of the two lines.

    Attributes
    ----------
    edges : ndarray, shape (n_bin + 1,)
        Edges of the bins [yr]; in fine the node before each, which is where its weight begins.
    ages : ndarray, shape (n_bin,)
        Age of each [yr]; in fine the age at which birth clouds disperse is there twice, inside them and outside.
    stellar : ndarray, shape (n_bin, n_age)
        Spectrum of each as a mean of the library's spectra.
    nebular : ndarray, shape (n_young, n_na)
        The same for the nebular grids, in the bins that have birth clouds.
    young : ndarray, shape (n_bin,)
        Fraction of the stars of each bin that are in birth clouds.
    live : ndarray, shape (n_bin, n_z)
        Living fraction by metallicity.
    """

    edges: FloatArray
    ages: FloatArray
    stellar: FloatArray
    nebular: FloatArray
    young: FloatArray
    live: FloatArray

    @property
    def n_bin(self) -> int:
        """Number of bins."""
        return self.ages.size

    @property
    def n_young(self) -> int:
        """Number of bins that have birth clouds; they come first."""
        return int(self.nebular.shape[0])

    def upto(self, age: float) -> int:
        """Return how many bins hold stars that are not older than ``age``.

        Parameters
        ----------
        age : float
            Age [yr].

        Returns
        -------
        int
            Number of bins.
        """
        return max(int(np.searchsorted(self.edges[:-1], age, side="left")), self.n_young)


_LOCK = threading.RLock()
_BINS: OrderedDict[tuple[str, str, float], AgeBins] = OrderedDict()
#: Histories whose states stay in memory, 2 MB each; they take milliseconds to make.
_KEPT_STATES = 16


def age_bins(model: SedModel) -> AgeBins:
    """Return all bins of age of a model, from now to the oldest stars.

    Parameters
    ----------
    model : SedModel
        Its mode, library and birth clouds decide.

    Returns
    -------
    AgeBins
        The bins. ``compat``: 0.1 dex as in bagpipes, spectra averaged as there, which takes each to stand for the
        ages nearest to it. ``fine``: the library's own ages, but not closer than 0.02 dex.
    """
    library = model.loaded_library
    key = (model.mode, library.digest, model.t_birth_cloud)
    with _LOCK:
        made = _BINS.get(key)
        if made is None:
            made = _compat_bins(library, model.t_birth_cloud) if model.mode == "compat" else _fine_bins(library, model)
            _BINS[key] = made
            while len(_BINS) > 16:
                _BINS.popitem(last=False)
    return made


def _midpoint_edges(points: FloatArray) -> FloatArray:
    """Return edges half-way between points, the outer ones mirrored."""
    middle = (points[1:] + points[:-1]) / 2
    first, last = points[0] - (points[1] - points[0]) / 2, points[-1] + (points[-1] - points[-2]) / 2
    return np.concatenate([[first], middle, [last]])


@lru_cache(maxsize=1)
def _hubble_time_gyr() -> float:
    """Return the age of the Universe today in bagpipes' cosmology [Gyr]."""
    return float(default_cosmology().age(0.0).value)


def _compat_bins(library: Library, t_birth_cloud: float) -> AgeBins:
    """Return bagpipes' bins: 0.1 dex from 1 Myr, the first open to zero, the last ending today."""
    logs = np.arange(6.0, np.log10(_hubble_time_gyr()) + 9.0, _COMPAT_BIN_STEP)
    edges = 10 ** _midpoint_edges(logs)
    edges[0], edges[-1] = 0.0, 10**9 * _hubble_time_gyr()
    ages = 10**logs
    split = t_birth_cloud * 1e-3 * 10**9
    index = int((edges < split).sum())
    young = np.zeros(ages.size)
    young[:index] = 1.0
    young[index - 1] = 1.0 - (edges[index] - split) / (edges[index] - edges[index - 1])
    nebular = np.zeros((0, library.nebular_age.size))
    if library.has_nebular:
        if library.nebular_age.size < index or not np.allclose(library.nebular_age[:index], ages[:index], rtol=1e-4):
            msg = (
                f"the nebular grid of {library.title} does not have the ages of bagpipes' grid up to "
                f"{ages[index - 1]:.3g} yr; shorten t_birth_cloud or use mode='fine'"
            )
            raise InputError(msg)
        nebular = np.eye(index, library.nebular_age.size)
    else:
        nebular = np.zeros((index, 0))
    live = np.stack([np.interp(ages, library.age, column) for column in library.live_fraction.T], axis=1)
    return AgeBins(edges, ages, _compat_means(library.age, edges), nebular, young, live)


def _compat_means(age: FloatArray, edges: FloatArray) -> FloatArray:
    """Return how bagpipes averages spectra of the ages ``age`` over bins.

    Each spectrum stands for the ages nearer to it than to others; a bin inside one such span takes that spectrum.
    """
    spans = _midpoint_edges(age)
    widths = np.diff(spans)
    widths[-1] = age[-1] - age[-2]
    widths[0] += spans[0]
    spans[0] = 0.0
    if spans[-1] < edges[-1]:
        widths[-1] += edges[-1] - spans[-1]
        spans[-1] = edges[-1]
    means = np.zeros((edges.size - 1, age.size))
    for j, (low, high) in enumerate(itertools.pairwise(edges)):
        start = int(np.searchsorted(spans[1:], low, side="right"))
        stop = int(np.searchsorted(spans[1:], high, side="left"))
        if start == stop:
            means[j, start] = 1.0
            continue
        part = widths[start : stop + 1].copy()
        part[0] *= (spans[start + 1] - low) / (spans[start + 1] - spans[start])
        part[-1] *= (high - spans[stop]) / (spans[stop + 1] - spans[stop])
        means[j, start : stop + 1] = part / part.sum()
    return means


def _fine_bins(library: Library, model: SedModel) -> AgeBins:
    """Return the nodes of the fine mode: ages of the library, and twice the age at which birth clouds disperse."""
    split = model.t_birth_cloud * 1e6
    nodes = [0.0]
    for age in library.age[library.age > 0]:
        step = _FINE_STEP if age >= 1e6 else _FINE_STEP_NEWBORN
        apart = nodes[-1] == 0.0 or math.log10(age / nodes[-1]) >= step
        if apart and abs(math.log10(age / split)) > 0.5 * _FINE_STEP:
            nodes.append(float(age))
    index = int(np.searchsorted(nodes, split)) + 1
    ages = np.array([*nodes[: index - 1], split, split, *nodes[index - 1 :]])
    young = (np.arange(ages.size) < index).astype(np.float64)
    stellar = _line_shares(library.age, ages)
    nebular = np.zeros((index, 0))
    if library.has_nebular:
        nebular = _line_shares(library.nebular_age, ages[:index])
    edges = np.concatenate([[0.0], ages])
    return AgeBins(edges, ages, stellar, nebular, young, stellar @ library.live_fraction)


def _line_shares(points: FloatArray, at: FloatArray) -> FloatArray:
    """Return the weights (n_at, n_point) of straight lines between points, flat outside."""
    inside = np.clip(at, points[0], points[-1])
    right = np.clip(np.searchsorted(points, inside, side="left"), 1, points.size - 1)
    part = (inside - points[right - 1]) / (points[right] - points[right - 1])
    shares = np.zeros((at.size, points.size))
    rows = np.arange(at.size)
    shares[rows, right - 1], shares[rows, right] = 1.0 - part, part
    return shares


# ---- histories with one age --------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class SfhStates:
    """All distinct states that a history with one age can be in.

    A state is ``(1 - mix) * base[base_index] + mix * full[full_index]``: its flux is the same sum of two rows of
    fluxes, which are few. ``weights`` says it in full. In compat the first row is that of the complete bins and the
    second that of the last one, which fills; in fine they are the histories of the two ages around.

    Attributes
    ----------
    age_low, age_high : ndarray, shape (n_state,)
        The ages of onset that the state stands for [yr]; above the first, up to the second.
    age : ndarray, shape (n_state,)
        Age that represents them [yr].
    weights : ndarray, shape (n_state, n_bin)
        Fraction of the mass formed in each bin of age.
    base : ndarray, shape (n_base, n_bin)
        First rows.
    base_index : ndarray of int, shape (n_state,)
        Which row of ``base``.
    full : ndarray, shape (n_full, n_bin)
        Second rows.
    full_index : ndarray of int, shape (n_state,)
        Which row of ``full``.
    mix : ndarray, shape (n_state,)
        Weight of the second row.
    sfr10, sfr100 : ndarray, shape (n_state,)
        Mean rate of the last 10 and 100 Myr for 1 Msun formed [1/yr].
    age_mw : ndarray, shape (n_state,)
        Mean age of the stars by mass formed [yr].
    live : ndarray, shape (n_state, n_metal)
        Living over formed mass by metallicity.
    bins : AgeBins
        The bins; ``weights`` has the first n_bin of them.
    exact : bool
        Whether fluxes vary inside a state (fine) or not (compat).
    age_max : float
        Age of the Universe [yr].
    model : SedModel
        The model.
    line_ages : ndarray
        Ages of onset of the rows of ``base`` in fine [yr]; empty in compat.
    """

    age_low: FloatArray
    age_high: FloatArray
    age: FloatArray
    weights: FloatArray
    base: FloatArray
    base_index: IntArray
    full: FloatArray
    full_index: IntArray
    mix: FloatArray
    sfr10: FloatArray
    sfr100: FloatArray
    age_mw: FloatArray
    live: FloatArray
    bins: AgeBins
    exact: bool
    age_max: float
    model: SedModel
    line_ages: FloatArray

    def locate(self, age: FloatArray) -> IntArray:
        """Return the state of each age.

        Parameters
        ----------
        age : ndarray, shape (n,)
            Ages of onset [yr].

        Returns
        -------
        ndarray of int, shape (n,)
            Index of the state; ages outside take the first or the last one.
        """
        return np.clip(np.searchsorted(self.age_high, age, side="left"), 0, self.age_high.size - 1)

    def rows(self, age: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Return the two rows at given ages: those of the state in compat, of the lines in between in fine.

        Parameters
        ----------
        age : ndarray, shape (n,)
            Ages of onset [yr].

        Returns
        -------
        base_index, full_index : ndarray of int, shape (n,)
            Rows of ``base`` and ``full``.
        mix : ndarray, shape (n,)
            Weight of the latter.
        """
        if not self.exact:
            state = self.locate(age)
            return self.base_index[state], self.full_index[state], self.mix[state]
        return _line_rows(self.line_ages, age)

    def derived(self, age: FloatArray) -> dict[str, FloatArray]:
        """Return what follows from the age alone: that of the state in compat, exact in fine.

        Parameters
        ----------
        age : ndarray, shape (n,)
            Ages of onset [yr].

        Returns
        -------
        dict
            ``sfr10``, ``sfr100`` [1/yr] and ``age_mw`` [yr], shape (n,), and ``live``, shape (n, n_metal).
        """
        state = self.locate(age)
        if not self.exact:
            return {"sfr10": self.sfr10[state], "sfr100": self.sfr100[state], "age_mw": self.age_mw[state],
                    "live": self.live[state]}  # fmt: skip
        sfr10, sfr100, age_mw = _fine_rates(self.model, age)
        weights = state_weights(self.model, age, n_bin=self.weights.shape[1])
        return {
            "sfr10": sfr10,
            "sfr100": sfr100,
            "age_mw": age_mw,
            "live": weights @ self.bins.live[: weights.shape[1]],
        }


_STATES: OrderedDict[tuple[object, ...], SfhStates] = OrderedDict()


def sfh_states(model: SedModel, z: float, cosmology: FLRW | None = None) -> SfhStates:
    """Return all states of a history at a redshift.

    Parameters
    ----------
    model : SedModel
        With an exponential, constant or burst history.
    z : float
        Redshift; no stars are older than the Universe there.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    SfhStates
        The states. ``compat``: bagpipes samples histories at ages 0.0025 dex apart, so that fluxes depend only on
        which of those are younger than the onset. ``fine``: ages 0.0025 dex apart, of which each represents those
        around it; `SfhStates.rows` draws lines in between, `state_weights` is exact.

    Raises
    ------
    InputError
        For a continuity history, which has no single age, or a redshift out of range.
    """
    if model.sfh == "continuity":
        msg = "a continuity history has no single age; use continuity_weights"
        raise InputError(msg)
    age_max = age_of_universe_yr(model.mode, z, cosmology)
    key = (model, age_max)
    with _LOCK:
        states = _STATES.pop(key, None)
        if states is None:
            states = _make_states(model, age_max)
        _STATES[key] = states
        while len(_STATES) > _KEPT_STATES:
            _STATES.popitem(last=False)
    return states


def _make_states(model: SedModel, age_max: float) -> SfhStates:
    """Work out the states of a history."""
    bins = age_bins(model)
    n_bin = bins.upto(age_max)
    lines = np.empty(0)
    if model.mode == "compat":
        low, high, age = _compat_intervals(model, age_max)
        weights, rates = _compat_weights(model, bins, age)
        weights = weights[:, :n_bin]
        formed = np.isfinite(weights).all(axis=1)  # a short history between two sampled ages forms nothing
        low, high, age, weights = low[formed], high[formed], age[formed], weights[formed]
        sfr10, sfr100, age_mw = (each[formed] for each in rates)
        if model.duration is not None:
            base = full = weights
            base_index = full_index = np.arange(age.size)
            mix = np.zeros(age.size)
        else:
            base_index = full_index = n_bin - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
            mix = weights[np.arange(age.size), full_index]
            base, full = _compat_base(weights, full_index, n_bin), np.eye(n_bin)
    else:
        cuts, nodes = _fine_ages(bins, age_max)
        low, high = cuts[:-1], cuts[1:]
        age = np.sqrt(low * high)
        weights = state_weights(model, age, n_bin=n_bin)
        sfr10, sfr100, age_mw = _fine_rates(model, age)
        lines = _line_ages(model, cuts, nodes)
        base = full = state_weights(model, lines, n_bin=n_bin)
        base_index, full_index, mix = _line_rows(lines, age)
    return SfhStates(
        age_low=low, age_high=high, age=age, weights=weights, base=base, base_index=base_index, full=full,
        full_index=full_index, mix=mix, sfr10=sfr10, sfr100=sfr100, age_mw=age_mw, live=weights @ bins.live[:n_bin],
        bins=bins, exact=model.mode == "fine", age_max=age_max, model=model, line_ages=lines,
    )  # fmt: skip


def _fine_ages(bins: AgeBins, age_max: float) -> tuple[FloatArray, IntArray]:
    """Return ages 0.0025 dex apart from 1 Myr to that of the Universe [yr], nodes among them, and where those are."""
    n = int((math.log10(age_max) - 6.0) / _COMPAT_AGE_STEP) + 2
    steps = 1e6 * 10 ** (_COMPAT_AGE_STEP * np.arange(n))
    nodes = np.unique(bins.ages)
    nodes = nodes[(nodes > steps[0] * 1.001) & (nodes < age_max * 0.999)]
    nearest = np.abs(np.log10(steps[:, None] / nodes)).min(axis=1) if nodes.size else np.full(n, np.inf)
    # A step next to a node gives way to it, so that no sliver is left between them.
    kept = steps[(nearest > 0.5 * _COMPAT_AGE_STEP) & (steps < age_max * 0.999)]
    ages = np.unique(np.concatenate([steps[:1], kept, nodes, [age_max]]))
    return ages, np.searchsorted(ages, nodes)


def _line_ages(model: SedModel, ages: FloatArray, nodes: IntArray) -> FloatArray:
    """Return those ages of onset between which fluxes are taken to change along a line, nodes among them."""
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


def _line_rows(lines: FloatArray, age: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the ages of onset before and after each, and how far it is on the way."""
    after = np.clip(np.searchsorted(lines, age, side="left"), 1, lines.size - 1)
    mix = np.clip((age - lines[after - 1]) / (lines[after] - lines[after - 1]), 0.0, 1.0)
    return after - 1, after, mix


def state_weights(model: SedModel, age: FloatArray, *, n_bin: int | None = None) -> FloatArray:
    """Return the fraction of mass formed at each age of the tables, for given ages of onset.

    Parameters
    ----------
    model : SedModel
        With an exponential, constant or burst history.
    age : ndarray, shape (n,)
        Ages of onset [yr].
    n_bin : int, optional
        How many bins; None is all.

    Returns
    -------
    ndarray, shape (n, n_bin)
        Rows that add to one; NaN where bagpipes samples no star at all.
    """
    bins = age_bins(model)
    n = bins.n_bin if n_bin is None else n_bin
    age = np.asarray(age, dtype=np.float64)
    if model.mode == "compat":
        return _compat_weights(model, bins, age)[0][:, :n]
    upper = np.maximum(age, 1.0)
    if model.sfh == "burst":
        return _line_weights(bins.ages[:n], upper, upper)
    lower = np.zeros_like(upper) if model.duration is None else np.maximum(upper - model.duration * 1e6, 0.0)
    return _line_weights(bins.ages[:n], lower, upper, tau=model.tau * 1e6 if model.sfh == "exponential" else math.inf)


def _line_weights(nodes: FloatArray, lower: FloatArray, upper: FloatArray, *, tau: float = math.inf) -> FloatArray:
    """Return the weights of nodes for stars formed between two look-back times at a rate that falls with ``tau``.

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


def _fine_rates(model: SedModel, age: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the rates over 10 and 100 Myr and the mean age, exactly."""
    age = np.maximum(age, 1.0)
    if model.sfh == "burst":
        return (age < _RATE_SPANS[0]) / _RATE_SPANS[0], (age < _RATE_SPANS[1]) / _RATE_SPANS[1], age.copy()
    start = np.zeros_like(age) if model.duration is None else np.maximum(age - model.duration * 1e6, 0.0)
    total = _mass_between(model, age, start, age)
    spans = (np.clip(span, start, age) for span in _RATE_SPANS)
    sfr10, sfr100 = (
        _mass_between(model, age, start, end) / total / span for end, span in zip(spans, _RATE_SPANS, strict=True)
    )
    age_mw = 0.5 * (start + age)
    if model.sfh == "exponential":
        # The mean of exp(x / tau) over (0, age); its series where the difference of two large numbers would be lost.
        x = age / (model.tau * 1e6)
        age_mw = np.where(x < 1e-3, age * (0.5 + x / 12.0), age / -np.expm1(-x) - model.tau * 1e6)
    return sfr10, sfr100, age_mw


# ---- bagpipes' sampling ------------------------------------------------------------------
@lru_cache(maxsize=1)
def _compat_ages() -> tuple[FloatArray, FloatArray]:
    """Return the ages at which bagpipes samples histories [yr], and the time that each stands for."""
    hubble = _hubble_time_gyr()
    logs = np.arange(6.0, np.log10(hubble) + 9.0 + 2 * _COMPAT_AGE_STEP, _COMPAT_AGE_STEP)
    edges = 10 ** _midpoint_edges(logs)
    edges[0], edges[-1] = 0.0, 10**9 * hubble
    return 10**logs, np.diff(edges)


def _compat_intervals(model: SedModel, age_max: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the intervals of age in which bagpipes' fluxes do not change, and an age inside each."""
    ages, _ = _compat_ages()
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


def _compat_weights(
    model: SedModel, bins: AgeBins, age: FloatArray
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """Return weights by bin, rates and mean ages of histories as bagpipes samples them."""
    if model.sfh == "burst":
        ages, widths = _compat_ages()
        # The sampled age nearest to the one asked for; of two at the same distance the younger.
        at = np.searchsorted(0.5 * (ages[1:] + ages[:-1]), age, side="left")
        weights = np.zeros((age.size, bins.n_bin))
        weights[np.arange(age.size), _bin_of(ages, bins)[at]] = 1.0
        rates = tuple((ages[at] < span) / widths[ages < span].sum() for span in _RATE_SPANS)
        return weights, (rates[0], rates[1], ages[at])
    if model.duration is None:
        table = _compat_table(model.tau if model.sfh == "exponential" else math.inf, bins)
        sampled = np.searchsorted(_compat_ages()[0], age, side="left")
        weights, rest = table
        return weights[sampled], (rest[sampled, 0], rest[sampled, 1], rest[sampled, 2])
    ages, widths = _compat_ages()
    upper = np.searchsorted(ages, age, side="left")
    lower = np.searchsorted(ages, np.maximum(age - model.duration * 1e6, 0.0), side="right")
    masses = np.zeros((ages.size + 1, bins.n_bin))
    inside = _bin_of(ages, bins)
    known = inside < bins.n_bin
    masses[1:][np.flatnonzero(known), inside[known]] = widths[known]
    masses = np.cumsum(masses, axis=0)
    rows = masses[upper] - masses[lower]
    columns = np.stack([*(widths * (ages < span) for span in _RATE_SPANS), widths * ages, widths], axis=1)
    sums = np.concatenate([np.zeros((1, 4)), np.cumsum(columns, axis=0)])
    parts = sums[upper] - sums[lower]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(upper > lower, parts[:, 3], np.nan)
        rates = tuple(parts[:, i] / total / widths[ages < span].sum() for i, span in enumerate(_RATE_SPANS))
        return rows / total[:, None], (rates[0], rates[1], parts[:, 2] / total)


def _bin_of(ages: FloatArray, bins: AgeBins) -> IntArray:
    """Return the bin of each sampled age as a histogram has it; n_bin for those beyond the last edge."""
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
    ages, widths = _compat_ages()
    inside = _bin_of(ages, bins)
    spans = [widths[ages < span].sum() for span in _RATE_SPANS]
    weights, rest = np.full((ages.size + 1, bins.n_bin), np.nan), np.full((ages.size + 1, 3), np.nan)
    mass = np.zeros(bins.n_bin + 1)
    recent, moment, total = np.zeros(2), 0.0, 0.0
    for i, (age, width) in enumerate(zip(ages, widths, strict=True)):
        decay = math.exp(-(age - ages[i - 1]) / (tau_myr * 1e6)) if i else 0.0
        mass *= decay
        mass[inside[i]] += width
        total = total * decay + width
        moment = moment * decay + width * age
        recent = recent * decay + width * np.array([age < span for span in _RATE_SPANS])
        weights[i + 1] = mass[:-1] / total
        rest[i + 1] = recent[0] / total / spans[0], recent[1] / total / spans[1], moment / total
    with _LOCK:
        _TABLES[key] = (weights, rest)
        while len(_TABLES) > 16:
            _TABLES.popitem(last=False)
    return weights, rest


def _compat_base(weights: FloatArray, last: IntArray, n_bin: int) -> FloatArray:
    """Return the weights of the complete bins before each bin, from any state in which it is the last."""
    base = np.zeros((n_bin, n_bin))
    for k in range(1, n_bin):
        states = np.flatnonzero(last == k)
        if states.size:
            row = weights[states[0]].copy()
            row[k:] = 0.0
            total = row.sum()
            base[k] = row / total if total > 0 else 0.0
    return base


# ---- continuity --------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class ContinuityWeights:
    """The bins of a continuity history, the youngest first.

    Attributes
    ----------
    edges : ndarray, shape (n_sfh + 1,)
        Edges [yr of look-back time].
    widths : ndarray, shape (n_sfh,)
        Time that each rate holds for [yr].
    weights : ndarray, shape (n_sfh, n_bin)
        Weights of the bins of age for 1 Msun formed in each.
    sfr10, sfr100, age_mw : ndarray, shape (n_sfh,)
        Rates [1/yr] and mean age [yr] for 1 Msun formed in each.
    live : ndarray, shape (n_sfh, n_metal)
        Living over formed mass.
    bins : AgeBins
        The bins of age.
    """

    edges: FloatArray
    widths: FloatArray
    weights: FloatArray
    sfr10: FloatArray
    sfr100: FloatArray
    age_mw: FloatArray
    live: FloatArray
    bins: AgeBins

    @property
    def n_sfh(self) -> int:
        """Number of bins of the history; it has one dsfr less."""
        return self.widths.size

    def fractions(self, dsfr: FloatArray) -> FloatArray:
        """Return the fraction of mass formed in each bin.

        Parameters
        ----------
        dsfr : ndarray, shape (n, n_sfh - 1)
            log10 of the rate of a bin over that of the next older one, as in bagpipes: the first is that of the
            second-oldest bin.

        Returns
        -------
        ndarray, shape (n, n_sfh)
            Fractions, the youngest bin first.
        """
        dsfr = np.atleast_2d(np.asarray(dsfr, dtype=np.float64))
        if dsfr.shape[1] != self.n_sfh - 1:
            msg = f"the history has {self.n_sfh} bins and {self.n_sfh - 1} ratios dsfr; {dsfr.shape[1]} were given"
            raise InputError(msg)
        steps = np.concatenate([np.zeros((dsfr.shape[0], 1)), np.cumsum(dsfr, axis=1)], axis=1)[:, ::-1]
        mass = 10 ** (steps - steps.max(axis=1, keepdims=True)) * self.widths
        return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def continuity_edges(model: SedModel, z: float, cosmology: FLRW | None = None) -> FloatArray:
    """Return the edges of a continuity history, cut at the age of the Universe.

    Parameters
    ----------
    model : SedModel
        Its ``bin_edges``, or those of Leja et al. (2019).
    z : float
        Redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    ndarray
        Edges [Myr of look-back time], rising. If the given ones reach beyond the age of the Universe, the last is
        a millionth below it, and joins the one before when the last bin would be thinner than 2 per cent of it.
    """
    given = np.array(LEJA_EDGES if model.bin_edges is None else model.bin_edges)
    age_max = age_of_universe_yr(model.mode, z, cosmology) / 1e6
    if given[-1] < age_max:
        return given
    inside = given[given < (1.0 - _THINNEST_LAST_BIN) * age_max]
    if inside.size < 2:
        msg = f"at z = {z:g} the Universe is {age_max:.0f} Myr old: only one of the bins fits; give finer bin_edges"
        raise InputError(msg)
    return np.append(inside, age_max * (1.0 - 1e-6))


def continuity_weights(model: SedModel, z: float, cosmology: FLRW | None = None) -> ContinuityWeights:
    """Return the weights of the bins of a continuity history.

    Parameters
    ----------
    model : SedModel
        With ``sfh="continuity"``.
    z : float
        Redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    ContinuityWeights
        The bins of the history.
    """
    edges = continuity_edges(model, z, cosmology) * 10**6
    bins = age_bins(model)
    n_bin = bins.upto(age_of_universe_yr(model.mode, z, cosmology))
    low, high = edges[:-1], edges[1:]
    if model.mode == "compat":
        ages, times = _compat_ages()
        member = (ages > low[:, None]) & (ages < high[:, None])
        mass = member * times
        widths = mass.sum(axis=1)
        if (widths == 0).any():
            msg = "bin_edges are finer than bagpipes' sampling of ages, 0.0025 dex; widen them or use mode='fine'"
            raise InputError(msg)
        inside = _bin_of(ages, bins)
        weights = (
            np.stack([np.bincount(inside, row, minlength=bins.n_bin + 1)[:n_bin] for row in mass]) / widths[:, None]
        )
        rates = [mass[:, ages < span].sum(axis=1) / widths / times[ages < span].sum() for span in _RATE_SPANS]
        age_mw = mass @ ages / widths
    else:
        widths = high - low
        weights = _line_weights(bins.ages[:n_bin], low, high)
        rates = [np.clip(span - low, 0.0, widths) / widths / span for span in _RATE_SPANS]
        age_mw = 0.5 * (low + high)
    return ContinuityWeights(
        edges=edges, widths=widths, weights=weights, sfr10=rates[0], sfr100=rates[1], age_mw=age_mw,
        live=weights @ bins.live[:n_bin], bins=bins,
    )  # fmt: skip
