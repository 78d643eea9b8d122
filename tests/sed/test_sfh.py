"""Histories become weights of ages: complete, additive, and those of the integral they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.sed import SedModel, continuity_weights, sfh_states, state_weights
from sc_lab.sed._line_history import line_weights
from sc_lab.sed.sfh import age_bins, continuity_edges

HISTORIES = [
    {"tau": 1.0},
    {"tau": 10.0},
    {"tau": 1e5},
    {"sfh": "constant"},
    {"sfh": "constant", "duration": 10.0},
    {"sfh": "burst"},
]


@pytest.mark.parametrize("mode", ["compat", "fine"])
@pytest.mark.parametrize("history", HISTORIES)
def test_states_tile_the_ages_and_hold_all_mass(mode, history):
    states = sfh_states(SedModel(mode=mode, **history), 2.0)
    gaps = states.age_high[:-1] != states.age_low[1:]
    # bagpipes forms nothing in a history that is shorter than the step between two sampled ages.
    assert not gaps.any() or (mode == "compat" and "duration" in history and states.age_high[:-1][gaps].min() > 1.7e9)
    assert states.age_high[-1] == states.age_max or gaps.any()
    assert states.age_low[0] == (0.0 if mode == "compat" and history.get("sfh") == "burst" else 1e6)
    np.testing.assert_allclose(states.weights.sum(axis=1), 1.0, rtol=1e-14)
    assert (states.weights >= 0).all()
    assert (states.live > 0.4).all()
    assert (states.live <= 1.0 + 1e-12).all()
    np.testing.assert_array_equal(states.locate(0.5 * (states.age_low + states.age_high)), np.arange(states.age.size))


@pytest.mark.parametrize("mode", ["compat", "fine"])
@pytest.mark.parametrize("history", HISTORIES)
def test_two_rows_make_a_state(mode, history):
    """Exact in compat; in fine a line between histories 0.01 or 0.02 dex apart, so 0.3 % of the mass is elsewhere."""
    states = sfh_states(SedModel(mode=mode, **history), 2.0)
    first, second, mix = states.rows(states.age)
    rows = (1 - mix)[:, None] * states.base[first] + mix[:, None] * states.full[second]
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-14)
    difference = np.abs(rows - states.weights).sum(axis=1)
    if mode == "compat":
        assert difference.max() < 1e-13
    else:
        # A short history inside a line has its stars at both ends of it, with the same mean age.
        assert np.median(difference) < 0.02
        ages = age_bins(states.model).ages[: rows.shape[1]]
        np.testing.assert_allclose(rows @ ages, states.weights @ ages, rtol=2e-3)


def test_compat_states_change_only_between_them():
    """Inside a state the history is the same; across its edge it is not."""
    model = SedModel(mode="compat")
    states = sfh_states(model, 2.0)
    inside = state_weights(model, np.array([states.age_low[40] * (1 + 1e-12), states.age_high[40]]))
    np.testing.assert_array_equal(inside[0], inside[1])
    beyond = state_weights(model, states.age_high[40:41] * (1 + 1e-12))
    assert np.abs(beyond - inside[1]).max() > 0


def _brute_force(nodes, lower, upper, tau, n=400_001):
    """Return the weights of nodes by summing over many stars."""
    x = np.linspace(lower, upper, n)
    rate = np.exp((x - upper) / tau)
    rate[[0, -1]] *= 0.5
    at = np.clip(np.searchsorted(nodes, x, side="left"), 1, nodes.size - 1)
    part = (x - nodes[at - 1]) / (nodes[at] - nodes[at - 1])
    weights = np.bincount(at - 1, rate * (1 - part), nodes.size) + np.bincount(at, rate * part, nodes.size)
    return weights / weights.sum()


@pytest.mark.parametrize(("upper", "tau"), [(2.3e6, 1e6), (8e7, 1e6), (8e7, 1e7), (3e8, 1e12), (5e6, 1e9)])
def test_fine_weights_are_the_integral_over_the_history(upper, tau):
    nodes = np.concatenate([[0.0], 10 ** np.arange(5.5, 9.0, 0.1)])
    weights = line_weights(nodes, np.array([0.0]), np.array([upper]), tau=tau)[0]
    # The sum has 400 000 terms: trapezoids leave 1e-6 where they straddle a node.
    np.testing.assert_allclose(weights, _brute_force(nodes, 0.0, upper, tau), atol=3e-6)


def test_fine_weights_keep_the_mean_age():
    """Lines have the mean age of the history, whatever their nodes."""
    for history in HISTORIES:
        model = SedModel(**history)
        age = np.array([1.5e6, 7e6, 5e7, 1.3e9])
        mean = state_weights(model, age) @ age_bins(model).ages
        np.testing.assert_allclose(sfh_states(model, 2.0).derived(age)["age_mw"], mean, rtol=1e-10)


def test_rates_are_mass_over_time():
    age = np.array([5e6, 5e7, 5e8])
    constant = sfh_states(SedModel(sfh="constant"), 2.0).derived(age)
    np.testing.assert_allclose(constant["sfr10"], np.minimum(1.0, 1e7 / age) / 1e7, rtol=1e-13)
    np.testing.assert_allclose(constant["sfr100"], np.minimum(1.0, 1e8 / age) / 1e8, rtol=1e-13)
    burst = sfh_states(SedModel(sfh="burst"), 2.0).derived(age)
    np.testing.assert_array_equal(burst["sfr10"], [1e-7, 0.0, 0.0])
    declining = sfh_states(SedModel(tau=10.0), 2.0).derived(age)
    share = (np.exp(-np.maximum(age - 1e7, 0) / 1e7) - np.exp(-age / 1e7)) / -np.expm1(-age / 1e7)
    np.testing.assert_allclose(declining["sfr10"], share / 1e7, rtol=1e-12)


def test_the_age_at_which_clouds_disperse_parts_the_stars():
    bins = age_bins(SedModel(t_birth_cloud=7.3))
    assert bins.young.tolist() == [1.0] * bins.n_young + [0.0] * (bins.n_bin - bins.n_young)
    assert bins.ages[bins.n_young - 1] == bins.ages[bins.n_young] == 7.3e6
    half = state_weights(SedModel(sfh="constant", t_birth_cloud=7.3), np.array([14.6e6]))[0]
    np.testing.assert_allclose(half @ bins.young, 0.5, rtol=1e-13)


@pytest.mark.parametrize("mode", ["compat", "fine"])
def test_continuity_bins_hold_all_mass_and_their_own_rates(mode):
    model = SedModel(mode=mode, sfh="continuity")
    history = continuity_weights(model, 1.4)
    np.testing.assert_allclose(history.weights.sum(axis=1), 1.0, rtol=1e-13)
    flat = history.fractions(np.zeros(history.n_sfh - 1))
    np.testing.assert_allclose(flat[0], history.widths / history.widths.sum(), rtol=1e-14)
    # The first ratio is that of the second-oldest bin over the oldest; it lifts all younger bins.
    lifted = history.fractions(np.eye(1, history.n_sfh - 1))[0] / flat[0]
    np.testing.assert_allclose(lifted[:-1] / lifted[-1], 10.0, rtol=1e-12)
    # bagpipes samples ages 0.0025 dex apart, so that its mean ages differ by less than that.
    np.testing.assert_allclose(
        history.age_mw, 0.5 * (history.edges[1:] + history.edges[:-1]), rtol=0.2 if mode == "compat" else 1e-12
    )


def test_continuity_edges_end_below_the_age_of_the_universe():
    for z in (0.1, 0.4, 1.4, 3.0, 6.0):
        edges = continuity_edges(SedModel(sfh="continuity"), z)
        history = continuity_weights(SedModel(sfh="continuity"), z)
        assert edges[0] == 0
        assert edges[-1] <= sfh_states(SedModel(), z).age_max / 1e6
        assert (np.diff(edges) > 0).all()
        assert history.n_sfh == edges.size - 1
    with pytest.raises(InputError, match="only one of the bins"):
        continuity_edges(SedModel(sfh="continuity", bin_edges=(0, 5000.0, 9000.0)), 3.0)


def test_choices_that_make_no_sense_are_refused_in_words():
    for wrong, told in (
        ({"sfh": "delayed"}, "choose one of exponential"),
        ({"attenuation": "gray"}, "choose one of calzetti"),
        ({"mode": "rough"}, "choose one of compat, fine"),
        ({"tau": -1.0}, "above zero"),
        ({"tau": float("nan")}, "above zero"),
        ({"duration": 5.0}, "belongs to sfh='constant'"),
        ({"sfh": "continuity", "bin_edges": (0.0, 30.0, 10.0)}, "rising"),
        ({"escape_fraction": 1.5}, "from 0 to 1"),
        ({"t_birth_cloud": 1000.0}, "between 1 and 100"),
        ({"library": 3}, "name such as 'bc03'"),
    ):
        with pytest.raises(InputError, match=told):
            SedModel(**wrong)
    with pytest.raises(InputError, match="continuity_weights"):
        sfh_states(SedModel(sfh="continuity"), 2.0)
    with pytest.raises(InputError, match="ratios dsfr"):
        continuity_weights(SedModel(sfh="continuity"), 2.0).fractions(np.zeros(2))


def test_models_can_be_compared_kept_and_written():
    import json

    import astropy.units as u

    assert SedModel(tau=0.01 * u.Gyr) == SedModel(tau=10.0)
    assert len({SedModel(tau=10.0), SedModel(tau=0.01 * u.Gyr), SedModel()}) == 2
    record = json.loads(json.dumps(SedModel(sfh="continuity", bin_edges=(0, 10, 1000)).record()))
    assert record["library"]["title"].startswith("BC03-MILES")
    assert record["bin_edges"] == [0, 10, 1000]
    assert SedModel().title.startswith("exponential SFH, tau = 1 Myr; BC03-MILES")
