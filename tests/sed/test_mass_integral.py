"""The mass that fits a model best is integrated in closed form; here against slow quadrature."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from scipy import integrate, stats

from sc_lab.sed import Fixed, Gaussian, LogUniform, Uniform, _kernels
from sc_lab.sed._posterior import compiled, mass_tables
from sc_lab.sed._posterior_grid import mass_prior

PRIORS = (Uniform(3, 15), Uniform(5, 8), LogUniform(3, 15), Gaussian(6, 0.2), Gaussian(6, 0.2, low=6.1, high=9))


@pytest.fixture(scope="module")
def loops():
    compiled()  # makes the helpers known to the compiler
    integral, draw = numba.njit(_kernels.log_mass_integral), numba.njit(_kernels.draw_log_mass)
    tail, nodes = mass_tables()
    work = np.empty((3, 40 * nodes.shape[1]))

    def average(a, b, prior):
        return integral(a, b, *mass_prior(prior), tail, nodes, work)

    def draws(a, b, prior, n):
        stream = np.array([5], dtype=np.uint64)
        return np.array([draw(a, b, *mass_prior(prior), nodes, work, stream) for _ in range(n)])

    return average, draws


def tabulated(a, b, prior, low=None, high=None):
    """Return log10 mass and the posterior density on a grid, and the log of its integral."""
    low = max(prior.low, 0.0) if low is None else low
    high = min(prior.high, 15.0) if high is None else high
    x = np.linspace(low, high, 400_001)
    mass = 10.0**x
    value = mass * b - 0.5 * mass**2 * a + np.asarray(prior.log_density(x))
    top = value.max()
    density = np.exp(value - top)
    return x, density, top + math.log(integrate.simpson(density, x=x))


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("significance", [-40.0, -3.0, -0.2, 0.0, 1.0, 4.0, 7.9, 8.1, 20.0, 200.0])
@pytest.mark.parametrize("mass", [1e5, 1e6, 1e7])
def test_average_over_the_prior_is_that_of_quadrature(loops, prior, significance, mass):
    """The model of this mass has signal to noise 1, so that the best mass is ``significance`` times it."""
    a, b = mass**-2.0, significance / mass
    expected = tabulated(a, b, prior)[2]
    # 2e-6 is where the asymptotic series begins; steep cut-offs cost both integrations relative precision.
    assert loops[0](a, b, prior) == pytest.approx(expected, abs=3e-6, rel=1e-6)


@pytest.mark.parametrize("mass", [1e2, 3e2, 1e3])
def test_a_limit_inside_the_peak_cuts_it(loops, mass):
    """Best masses of 1 to 10 times the lower limit, with a relative error of 3 %: the case of nearby faint clusters."""
    significance = 30.0
    a, b = (significance / mass) ** 2, significance**2 / mass
    expected = tabulated(a, b, Uniform(3, 15), high=5.0)[2]
    assert loops[0](a, b, Uniform(3, 15)) == pytest.approx(expected, abs=1e-5, rel=1e-6)


def test_a_fixed_mass_is_no_integral(loops):
    assert loops[0](1e-12, 3e-6, Fixed(6.0)) == pytest.approx(3.0 - 0.5, rel=1e-12)


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("significance", [-10.0, -0.5, 1.5, 3.0, 9.0, 60.0])
def test_draws_have_the_conditional_density(loops, prior, significance):
    a, b = 1e-12, significance * 1e-6
    x, density, _ = tabulated(a, b, prior)
    below = integrate.cumulative_simpson(density, x=x, initial=0)
    drawn = loops[1](a, b, prior, 2000) / math.log(10)
    place = np.interp(drawn, x, below / below[-1])
    assert stats.kstest(place, "uniform").pvalue > 1e-4  # 30 cases: 0.3 % to fail by chance
