"""Wrong input is refused in words: what was given, what is allowed, how to mend it."""

from __future__ import annotations

import math

import astropy.units as u
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sc_lab.cmf import MassFunctionGrid, fit_mass_function
from sc_lab.errors import InputError, UnitMismatchError

GOOD = [3e6, 4e6, 9e6, 2e7]


@pytest.mark.parametrize("method", ["grid", "emcee"])
@pytest.mark.parametrize(
    ("mass", "options", "words"),
    [
        ([], {}, "0 of 0 masses lie in"),
        ([3e6], {}, "1 of 1 masses lie in"),
        ([1e5, 1e6, 3e6], {}, "1 of 3 masses lie in .* lower m_min"),
        ([3e6, 3e6, 3e6], {}, "all 3 masses are equal"),
        ([2e6, 2e6], {}, "all 2 masses are equal"),
        ([3e6, math.nan, 4e6, math.inf], {}, r"not finite in 2 row\(s\): 1, 3"),
        (np.ma.masked_array([3e6, 4e6, 5e6], [False, True, False]), {}, r"row\(s\): 1"),
        ([[3e6, 4e6]], {}, r"shape \(1, 2\)"),
        (["heavy", "light"], {}, "not numeric"),
        (GOOD * u.pc, {}, "has the unit 'pc'"),
        (GOOD, {"m_min": 0}, "greater than 0"),
        (GOOD, {"m_min": -2e6}, "greater than 0"),
        (GOOD, {"m_min": 2 * u.Myr}, "m_min has the unit 'Myr'"),
        (GOOD, {"m_min": [1e6, 2e6]}, "m_min has 2 values"),
        (GOOD, {"m_max": 2e6}, "above m_min"),
        (GOOD, {"m_max": 3 * u.mag}, "m_max has the unit 'mag'"),
        (GOOD, {"model": "lognormal"}, "the models are 'power_law' and 'schechter'"),
        (GOOD, {"beta_prior": (-1, -3)}, "the lower edge first"),
        (GOOD, {"beta_prior": -2}, "give two finite numbers"),
        (GOOD, {"beta_prior": (-3, math.nan)}, "give two finite numbers"),
        (GOOD, {"log_mc_prior": (9, 7)}, "the lower edge first"),
        (GOOD, {"log_mc_prior": (6, 60)}, "12 dex above"),
        (GOOD, {"model": "power_law", "beta_prior": (-3, 0)}, "end the prior at -1 or give m_max"),
        (GOOD, {"model": "power_law", "log_mc_prior": (6, 9)}, "a power law has no log_mc"),
        ([2e9, 3e9], {"m_min": 1e9}, "give log_mc_prior"),
    ],
)
def test_refused_in_words(method, mass, options, words):
    with pytest.raises(InputError, match=words):
        fit_mass_function(mass, method=method, **{"m_min": 2e6, **options})


def test_unknown_method_parameter_and_probability_are_refused():
    with pytest.raises(InputError, match=r"'grid' .* 'emcee'"):
        fit_mass_function(GOOD, method="nested")
    fit = fit_mass_function(GOOD, m_min=2e6)
    for ask in (lambda: fit.quantile("gamma", 0.5), lambda: fit.mode("Mc"), lambda: fit.posterior("")):
        with pytest.raises(InputError, match="beta and log_mc"):
            ask()
    with pytest.raises(InputError, match="between 0 and 1"):
        fit.quantile("beta", 16)
    with pytest.raises(InputError, match="one parameter"):
        fit_mass_function(GOOD, model="power_law").joint()
    with pytest.raises(InputError, match="n_samples"):
        fit_mass_function(GOOD, n_samples=0)
    with pytest.raises(InputError, match="n_draws"):
        fit.cumulative([1e7], n_draws=0)


def test_a_wrong_unit_is_named_as_such():
    with pytest.raises(UnitMismatchError, match="mass has the unit 's'"):
        fit_mass_function(GOOD * u.s)


def test_slopes_above_minus_one_are_allowed_where_the_integral_exists():
    rising = fit_mass_function([5e6, 6e6, 8e6, 9e6, 9.5e6], model="power_law", m_min=2e6, m_max=1e7, beta_prior=(-3, 3))
    assert float(rising.quantile("beta", 0.5)) > -1
    assert np.isfinite(fit_mass_function(GOOD, beta_prior=(-3, 1)).quantile("beta", 0.5))


anything = st.one_of(
    st.floats(), st.floats(1e5, 1e10), st.integers(-5, 10**9), st.booleans(), st.none(), st.text(max_size=3)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mass=st.lists(anything, max_size=6),
    m_min=anything,
    m_max=anything,
    model=st.sampled_from(["power_law", "schechter", "x"]),
    beta=st.tuples(anything, anything),
    log_mc=st.one_of(st.none(), st.tuples(anything, anything)),
)
def test_any_input_gives_ordered_quantiles_or_a_sentence(mass, m_min, m_max, model, beta, log_mc):
    try:
        fit = fit_mass_function(mass, model=model, m_min=m_min, m_max=m_max, beta_prior=beta, log_mc_prior=log_mc)
    except InputError:
        return  # its words are tested above; any other exception fails
    for name in fit.parameters:
        low, mid, high = fit.quantile(name, [0.16, 0.5, 0.84])
        assert fit.prior[name][0] <= low <= mid <= high <= fit.prior[name][1]


@settings(max_examples=80, deadline=None)
@given(
    log_x=st.lists(st.floats(0, 8), min_size=2, max_size=40, unique=True),
    log_m_min=st.floats(2, 8.9),
    span=st.one_of(st.none(), st.floats(8.1, 20)),
    model=st.sampled_from(["power_law", "schechter"]),
)
def test_any_sample_is_fitted_inside_its_prior(log_x, log_m_min, span, model):
    m_min = 10.0**log_m_min
    masses = m_min * np.exp(log_x)
    if np.ptp(masses) == 0:
        return
    grid = MassFunctionGrid(model, m_min, None if span is None else m_min * np.exp(span))
    fit = grid.fit(masses)
    medians = grid.medians([len(masses)], [np.log(masses).sum()], [masses.sum()])
    assert np.isfinite(fit.log_evidence)
    for name in grid.parameters:
        low, mid, high = fit.quantile(name, [0.16, 0.5, 0.84])
        assert grid.prior[name][0] <= low <= mid <= high <= grid.prior[name][1]
        # The required agreement of bootstrap and fit.
        assert abs(medians[name][0] - mid) < 0.01
