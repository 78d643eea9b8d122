"""The emcee adapter on a Gaussian known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sc_lab.errors import InputError, ScLabError
from sc_lab.inference import run_emcee


def gaussian(points):
    return -0.5 * (points**2).sum(axis=1)


def start(n_walkers=40, n_parameters=2):
    return np.random.default_rng(0).normal(size=(n_walkers, n_parameters))


def test_a_long_run_follows_the_gaussian():
    chain = run_emcee(gaussian, start(), names=("a", "b"), n_steps=2500, rng=1)
    assert chain.draws.shape == (40 * 2400, 2)
    assert chain.warnings == ()
    # Independent after about 30 steps: every 60th step of each walker.
    thinned = chain.draws.reshape(2400, 40, 2)[::60].reshape(-1, 2)
    for axis in (0, 1):
        assert stats.kstest(thinned[:, axis], "norm").pvalue > 0.01  # fixed seed
    np.testing.assert_array_equal(chain.log_density, gaussian(chain.draws))


def test_a_short_run_says_so():
    chain = run_emcee(gaussian, start(), names=("a", "b"), n_steps=200, rng=1)
    assert any("50 are advised: set n_steps to at least" in line for line in chain.warnings)


def test_a_hopeless_run_says_so():
    """Every proposal is refused where only the starting points have a density."""
    points = start()
    chain = run_emcee(
        lambda p: np.where(np.isin(p[:, 0], points[:, 0]), 0.0, -np.inf), points, names=("a", "b"), n_steps=120, rng=1
    )
    assert chain.acceptance == 0
    assert any("0% of the proposals" in line for line in chain.warnings)
    assert any("cannot be estimated" in line for line in chain.warnings)


def test_the_seed_alone_decides():
    runs = [run_emcee(gaussian, start(), names="ab", n_steps=110, rng=seed).draws for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_picked_draws_do_not_repeat():
    chain = run_emcee(gaussian, start(), names="ab", n_steps=110, rng=1)
    picked = chain.draw(50, np.random.default_rng(1))
    assert picked.shape == (50, 2)
    assert chain.draw(1000, np.random.default_rng(1)).shape == (1000, 2)


def test_cancel_ends_the_run_with_a_sentence():
    asked = iter([False, False, True])
    with pytest.raises(ScLabError, match="cancelled after 3 of 110 steps"):
        run_emcee(gaussian, start(), names="ab", n_steps=110, rng=1, cancel=lambda: next(asked))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_steps": 0}, "n_steps is 0"),
        ({"n_steps": 10, "n_discard": 10}, "leaves none"),
        ({"n_discard": 1.5}, "n_discard"),
    ],
)
def test_impossible_runs_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        run_emcee(gaussian, start(), names="ab", rng=1, **options)
    with pytest.raises(InputError, match="n_walkers is 3"):
        run_emcee(gaussian, start(3), names="ab", rng=1)
