"""Star-formation histories as weights of the stellar populations of a table."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW

from sc_lab.errors import InputError
from sc_lab.sed._ages import AgeBins, age_bins, hubble_time_gyr
from sc_lab.sed._continuity_weights import ContinuityWeights, continuity_edges, continuity_weights
from sc_lab.sed._frame import age_of_universe_yr
from sc_lab.sed._line_history import line_ages, line_rates, line_rows, line_weights, onset_ages
from sc_lab.sed._sampled_history import complete_bins, sampled_intervals, sampled_weights
from sc_lab.sed.model import SedModel
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

#: Histories whose states stay in memory, 2 MB each; they take milliseconds to make.
_KEPT_STATES = 16
_LOCK = threading.Lock()


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
        The bins; ``base`` has the first n_bin of them.
    exact : bool
        Whether fluxes vary inside a state (fine) or not (compat).
    age_max : float
        Age of the Universe [yr].
    model : SedModel
        The model.
    line_ages : ndarray
        Ages of onset of the rows of ``base`` in fine [yr]; empty in compat.
    middles : dict
        In fine, what `derived` gives half-way between the ends of every state.
    """

    age_low: FloatArray
    age_high: FloatArray
    age: FloatArray
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
    middles: dict[str, FloatArray]

    @cached_property
    def weights(self) -> FloatArray:
        """Fraction of the mass formed in each bin of age, shape (n_state, n_bin); worked out when it is asked for."""
        return state_weights(self.model, self.age, n_bin=self.base.shape[1])

    @property
    def derived_at_middles(self) -> dict[str, FloatArray]:
        """What `derived` gives half-way between the ends of every state."""
        return self.middles or self.derived(0.5 * (self.age_low + self.age_high))

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
        return line_rows(self.line_ages, age)

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
        if self.exact:
            return _derived(self.model, self.bins, age, self.base.shape[1])
        state = self.locate(age)
        return {"sfr10": self.sfr10[state], "sfr100": self.sfr100[state], "age_mw": self.age_mw[state],
                "live": self.live[state]}  # fmt: skip


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
        low, high, age = sampled_intervals(model, age_max)
        weights, rates = sampled_weights(model, bins, age)
        weights = weights[:, :n_bin]
        formed = np.isfinite(weights).all(axis=1)  # a short history between two sampled ages forms nothing
        low, high, age, weights = low[formed], high[formed], age[formed], weights[formed]
        sfr10, sfr100, age_mw = (each[formed] for each in rates)
        live = weights @ bins.live[:n_bin]
        if model.duration is not None:
            base = full = weights
            base_index = full_index = np.arange(age.size)
            mix = np.zeros(age.size)
        else:
            base_index = full_index = n_bin - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
            mix = weights[np.arange(age.size), full_index]
            base, full = complete_bins(weights, full_index, n_bin), np.eye(n_bin)
        middles: dict[str, FloatArray] = {}
    else:
        cuts, nodes = onset_ages(bins, age_max)
        low, high = cuts[:-1], cuts[1:]
        age = np.sqrt(low * high)
        lines = line_ages(model, cuts, nodes)
        # Redshifts differ in their oldest ages alone; the others are worked out once.
        oldest = _oldest(model)
        known = _same(oldest.cuts, cuts) - 1
        at_age, middles = (
            {name: np.concatenate([values[:known], more[name]]) for name, values in before.items()}
            for before, more in (
                (oldest.at_age, _derived(model, bins, age[known:], n_bin)),
                (oldest.middles, _derived(model, bins, (0.5 * (low + high))[known:], n_bin)),
            )
        )
        sfr10, sfr100, age_mw, live = (at_age[name] for name in ("sfr10", "sfr100", "age_mw", "live"))
        known = _same(oldest.lines, lines)
        base = full = np.concatenate([oldest.base[:known, :n_bin], state_weights(model, lines[known:], n_bin=n_bin)])
        base_index, full_index, mix = line_rows(lines, age)
    return SfhStates(
        age_low=low, age_high=high, age=age, base=base, base_index=base_index, full=full, full_index=full_index, mix=mix,
        sfr10=sfr10, sfr100=sfr100, age_mw=age_mw, live=live, bins=bins, exact=model.mode == "fine", age_max=age_max,
        model=model, line_ages=lines, middles=middles,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Oldest:
    """A history at the largest age: cuts between states, lines and their weights, what follows from the ages."""

    cuts: FloatArray
    lines: FloatArray
    base: FloatArray
    at_age: dict[str, FloatArray]
    middles: dict[str, FloatArray]


@lru_cache(maxsize=8)
def _oldest(model: SedModel) -> _Oldest:
    """Return a history today, where it reaches furthest."""
    bins = age_bins(model)
    cuts, nodes = onset_ages(bins, 1e9 * hubble_time_gyr())
    low, high = cuts[:-1], cuts[1:]
    lines = line_ages(model, cuts, nodes)
    return _Oldest(
        cuts=cuts, lines=lines, base=state_weights(model, lines), at_age=_derived(model, bins, np.sqrt(low * high)),
        middles=_derived(model, bins, 0.5 * (low + high)),
    )  # fmt: skip


def _same(one: FloatArray, other: FloatArray) -> int:
    """Return how many first values of two arrays are the same."""
    n = min(one.size, other.size)
    differ = np.flatnonzero(one[:n] != other[:n])
    return int(differ[0]) if differ.size else n


def _derived(model: SedModel, bins: AgeBins, age: FloatArray, n_bin: int | None = None) -> dict[str, FloatArray]:
    """Return rates, mean age and living fractions at given ages of onset, exact."""
    sfr10, sfr100, age_mw = line_rates(model, age)
    weights = state_weights(model, age, n_bin=n_bin)
    return {"sfr10": sfr10, "sfr100": sfr100, "age_mw": age_mw, "live": weights @ bins.live[: weights.shape[1]]}


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
        return sampled_weights(model, bins, age)[0][:, :n]
    upper = np.maximum(age, 1.0)
    if model.sfh == "burst":
        return line_weights(bins.ages[:n], upper, upper)
    lower = np.zeros_like(upper) if model.duration is None else np.maximum(upper - model.duration * 1e6, 0.0)
    return line_weights(bins.ages[:n], lower, upper, tau=model.tau * 1e6 if model.sfh == "exponential" else math.inf)
