"""Simulation-based calibration: truths drawn from the prior must rank evenly in their posteriors.

A truth drawn from the prior and a draw from the posterior of data made with it have the same distribution,
so the rank of the truth is uniform for a correct posterior (Talts et al. 2018), and an interval of 68 % holds
68 % of the truths. Ranks are among 99 equally spaced posterior quantiles: 100 equally likely places.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sc_lab.cmf import MassFunctionGrid, draw_masses

M_MIN = 2e6
N_POPULATIONS = 1000
QUANTILES = np.arange(1, 100) / 100


@pytest.fixture(scope="module", params=[("power_law", 2e12), ("schechter", None), ("schechter", 3e8)], ids=str)
def calibration(request):
    """Truths and their ranks, parameter by parameter; 1000 populations of 60 to 200 objects.

    The power law has an upper limit far out, because without one the slopes next to -1 make masses beyond any number.
    """
    name, m_max = request.param
    generator = np.random.default_rng(20260121)
    grid = MassFunctionGrid(name, M_MIN, m_max)
    truth = {p: generator.uniform(*edges, N_POPULATIONS) for p, edges in grid.prior.items()}
    sizes = generator.integers(60, 201, N_POPULATIONS)
    samples = [
        draw_masses(n, grid.function, rng=generator, **{p: float(truth[p][k]) for p in truth})
        for k, n in enumerate(sizes)
    ]
    quantiles = grid.quantiles(sizes, [np.log(s).sum() for s in samples], [s.sum() for s in samples], QUANTILES)
    ranks = {p: (quantiles[p] < truth[p][:, None]).sum(axis=1) for p in truth}
    return truth, ranks, quantiles


def uniformity(ranks):
    """Chance of so uneven a histogram in ten bins, where each expects a tenth."""
    counts = np.bincount(ranks // 10, minlength=10)
    return stats.chisquare(counts).pvalue


def test_ranks_of_every_parameter_are_uniform(calibration):
    _, ranks, _ = calibration
    for name, rank in ranks.items():
        print(name, uniformity(rank), stats.kstest((rank + 0.5) / 100, "uniform").pvalue)
        # A fixed seed: no flicker. A width wrong by 10 % makes these 1e-4 or less (next test).
        assert uniformity(rank) > 0.01, name
        assert stats.kstest((rank + 0.5) / 100, "uniform").pvalue > 0.01, name


def test_ranks_of_log_mc_are_uniform_where_the_sample_constrains_it(calibration):
    """Constrained: the posterior is narrower than half the prior, which depends on the data alone.

    Selecting by the data keeps the truth a draw from the posterior, so the ranks stay uniform.
    """
    _, ranks, quantiles = calibration
    if "log_mc" not in ranks:
        assert set(ranks) == {"beta"}
        return
    width = quantiles["log_mc"][:, 83] - quantiles["log_mc"][:, 15]
    constrained = width < 0.25 * (9 - math.log10(M_MIN))
    assert 300 < constrained.sum() < 1000  # success trivial otherwise
    assert uniformity(ranks["log_mc"][constrained]) > 0.01  # fixed seed
    assert uniformity(ranks["beta"][constrained]) > 0.01


def test_the_calibration_would_notice_intervals_a_tenth_too_narrow(calibration):
    """The guard of the tests above: the same ranks with the posterior shrunk about its median."""
    truth, _, quantiles = calibration
    middle = quantiles["beta"][:, [49]]
    shrunk = middle + 0.85 * (quantiles["beta"] - middle)
    ranks = (shrunk < truth["beta"][:, None]).sum(axis=1)
    assert uniformity(ranks) < 0.01


def test_intervals_of_68_percent_hold_68_percent_of_the_truths(calibration):
    _, ranks, _ = calibration
    for name, rank in ranks.items():
        inside = np.mean((rank >= 16) & (rank < 84))
        # Binomial error of 1000 populations: 0.015; three of it.
        assert inside == pytest.approx(0.68, abs=0.045), name
