"""The paper's sampler against the exact grid, and what it says about itself."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.cmf import fit_mass_function
from sc_lab.errors import InputError, ScLabError

M_MIN = 2e6
Q = [0.16, 0.5, 0.84]


def test_paper_settings_leave_fifty_thousand_draws_and_honest_numbers(model, masses):
    fit = fit_mass_function(masses, model=model, m_min=M_MIN, method="emcee", rng=1)
    assert fit.samples["beta"].shape == (50_000,)
    assert 0.2 < fit.acceptance < 0.9
    for name in fit.parameters:
        # 500 kept steps are 15 to 45 times as long as the walkers' memory: below the 50 that emcee advises.
        assert 10 < fit.autocorrelation_time[name] < 60
        assert any(f"autocorrelation times of {name}" in line for line in fit.warnings)
    assert np.isnan(fit.log_evidence)
    with pytest.raises(InputError, match="gives no evidence"):
        fit.log_bayes_factor(fit)


def test_emcee_and_grid_agree_to_two_hundredths_for_the_slope(sixty):
    """One run is enough for beta: its Monte-Carlo error is 0.003 to 0.006."""
    for model in ("power_law", "schechter"):
        exact = fit_mass_function(sixty, model=model, m_min=M_MIN).quantile("beta", Q)
        chain = fit_mass_function(sixty, model=model, m_min=M_MIN, method="emcee", rng=3)
        # The figure asked for.
        np.testing.assert_allclose(chain.quantile("beta", Q), exact, atol=0.02, rtol=0)


def test_emcee_and_grid_agree_to_two_hundredths_for_the_truncation(sixty):
    """The median of seven runs: one run alone scatters by 0.01 in log_mc, which the test prints and bounds."""
    exact = fit_mass_function(sixty, m_min=M_MIN).quantile("log_mc", Q)
    runs = np.array(
        [fit_mass_function(sixty, m_min=M_MIN, method="emcee", rng=seed).quantile("log_mc", Q) for seed in range(7)]
    )
    print("error of one run:", runs.std(axis=0, ddof=1), "of the median:", np.median(runs, axis=0) - exact)
    # The figure asked for.
    np.testing.assert_allclose(np.median(runs, axis=0), exact, atol=0.02, rtol=0)
    # 50 000 draws with a memory of 25 steps are 2000 independent ones: an error of 0.01 in each quantile.
    assert (runs.std(axis=0, ddof=1) < 0.03).all()


def test_longer_chain_needs_no_warning(sixty):
    fit = fit_mass_function(sixty, model="power_law", m_min=M_MIN, method="emcee", n_steps=2500, rng=1)
    assert not any("autocorrelation" in line for line in fit.warnings)


def test_same_seed_same_chain(model, masses):
    runs = [
        fit_mass_function(masses, model=model, m_min=M_MIN, method="emcee", n_steps=130, rng=seed) for seed in (4, 4, 5)
    ]
    np.testing.assert_array_equal(runs[0].samples["beta"], runs[1].samples["beta"])
    assert not np.array_equal(runs[0].samples["beta"], runs[2].samples["beta"])


def test_global_chance_is_left_alone(sixty):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy state is what must not move
    fit_mass_function(sixty, m_min=M_MIN, method="emcee", n_steps=120, rng=4)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_draws_stay_inside_the_prior_and_curves_describe_them(sixty):
    fit = fit_mass_function(sixty, m_min=M_MIN, method="emcee", rng=1)
    for name in fit.parameters:
        assert fit.samples[name].min() >= fit.prior[name][0]
        assert fit.samples[name].max() <= fit.prior[name][1]
        x, density = fit.posterior(name)
        assert density.sum() * (x[1] - x[0]) == pytest.approx(1)  # a histogram
    beta, log_mc, density = fit.joint()
    assert density.sum() * (beta[1] - beta[0]) * (log_mc[1] - log_mc[0]) == pytest.approx(1)  # a histogram
    assert fit.cumulative([M_MIN, 1e7], n_draws=8).shape == (8, 2)
    assert fit.to_table().meta["log_evidence"] is None


def test_progress_is_told_and_cancel_is_obeyed(sixty):
    seen = []
    options = {"m_min": M_MIN, "method": "emcee", "rng": 1, "progress": lambda done, of: seen.append((done, of))}
    fit_mass_function(sixty, n_steps=110, **options)
    assert seen == [(k, 110) for k in range(1, 111)]
    seen.clear()
    with pytest.raises(ScLabError, match="cancelled after 7 of 600"):
        fit_mass_function(sixty, cancel=lambda: len(seen) >= 7, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_walkers": 3}, "n_walkers is 3; give a whole number of at least 4"),
        ({"n_walkers": 10.5}, "n_walkers"),
        ({"n_walkers": True}, "n_walkers"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_steps": "many"}, "n_steps"),
        ({"n_discard": -1}, "n_discard"),
        ({"n_steps": 100, "n_discard": 100}, "leaves none"),
    ],
)
def test_impossible_options_are_refused_in_words(sixty, options, words):
    with pytest.raises(InputError, match=words):
        fit_mass_function(sixty, m_min=M_MIN, method="emcee", rng=1, **options)
