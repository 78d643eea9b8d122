"""Posterior-predictive checks: fair to a right model, merciless to a wrong one."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.cmf import draw_masses, fit_mass_function, mass_function, posterior_predictive
from sc_lab.errors import InputError

M_MIN = 2e6


def test_the_right_model_passes(model, masses):
    fit = fit_mass_function(masses, model=model, m_min=M_MIN, rng=1)
    check = posterior_predictive(masses, fit, rng=1)
    assert 0.05 < check.ks < 1.0  # fixed seed
    assert 0.05 < check.anderson_darling < 1.0
    assert check == posterior_predictive(masses, fit, rng=1)


def test_a_right_model_is_rejected_no_more_often_than_it_says(model):
    """Posterior-predictive chances crowd towards one half, so fewer than 10 % may fall below 0.1."""
    function = mass_function(model, M_MIN)
    truth = {"beta": -1.8} | ({"log_mc": 7.6} if model == "schechter" else {})
    low = 0
    for seed in range(60):
        masses = draw_masses(60, function, rng=seed, **truth)
        fit = fit_mass_function(masses, model=model, m_min=M_MIN, rng=seed)
        low += posterior_predictive(masses, fit, n_draws=200, rng=seed).anderson_darling < 0.1
    # 6 expected at most; four binomial errors of 2.3 above.
    assert low <= 15


def test_a_wrong_model_fails():
    """A power law cannot hold masses crowded around 2e7."""
    masses = 2e7 * np.exp(0.2 * np.random.default_rng(1).standard_normal(80))
    fit = fit_mass_function(masses, model="power_law", m_min=M_MIN, rng=1)
    check = posterior_predictive(masses, fit, rng=1)
    assert check.ks < 0.005
    assert check.anderson_darling < 0.005


def test_other_masses_and_impossible_numbers_are_refused(sixty):
    fit = fit_mass_function(sixty, m_min=M_MIN)
    with pytest.raises(InputError, match="give the same masses"):
        posterior_predictive(sixty[:30], fit)
    with pytest.raises(InputError, match="n_draws is 0"):
        posterior_predictive(sixty, fit, n_draws=0)
