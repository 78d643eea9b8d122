"""Weighted quantiles and the kernel mode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sc_lab.errors import InputError
from sc_lab.inference import kde_mode, weighted_quantile


def test_equal_weights_are_no_weights_up_to_the_spacing():
    x = np.random.default_rng(1).normal(size=5000)
    q = [0.05, 0.16, 0.5, 0.84, 0.95]
    # Two conventions of where a quantile lies between neighbours, which are 0.002 apart at 5 %.
    np.testing.assert_allclose(weighted_quantile(x, q, weights=np.ones(5000)), weighted_quantile(x, q), atol=5e-3)
    np.testing.assert_array_equal(weighted_quantile(x, q), np.quantile(x, q))


def test_a_whole_weight_is_a_repetition():
    x, weights = np.array([1.0, 5.0, 2.0, 9.0]), np.array([300, 100, 0, 200])
    repeated = np.repeat(x, weights)
    for q in (0.1, 0.4, 0.9):
        assert weighted_quantile(np.repeat(x, weights), q, weights=np.ones(600)) == pytest.approx(
            np.quantile(repeated, q)
        )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.01, 10)), min_size=1, max_size=20))
def test_quantiles_are_ordered_and_inside(pairs):
    x, w = np.array(pairs).T
    low, mid, high = weighted_quantile(x, [0.1, 0.5, 0.9], weights=w)
    assert x.min() <= low <= mid <= high <= x.max()


@pytest.mark.parametrize(
    ("values", "q", "weights", "words"),
    [
        ([], 0.5, None, "one list of finite"),
        ([1, np.nan], 0.5, None, "1 entries"),
        ([1, 2], 2, None, "between 0 and 1"),
        ([1, 2], 0.5, [1], "one weight a value"),
        ([1, 2], 0.5, [0, 0], "all zero"),
        ([1, 2], 0.5, [1, -1], "negative"),
    ],
)
def test_wrong_input_is_refused_in_words(values, q, weights, words):
    with pytest.raises(InputError, match=words):
        weighted_quantile(values, q, weights=weights)


def test_the_mode_of_a_skewed_distribution():
    x = stats.gamma(3).rvs(50_000, random_state=2)
    # The mode is 2; the kernel broadens and shifts a skewed top, and noise moves a flat one.
    assert kde_mode(x) == pytest.approx(2.0, abs=0.15)


def test_the_mode_is_where_scipy_has_it():
    x = stats.norm(0.3, 0.1).rvs(2000, random_state=2)
    grid = np.linspace(0.1, 0.5, 4001)
    # Steps of the two searches.
    assert kde_mode(x) == pytest.approx(grid[stats.gaussian_kde(x)(grid).argmax()], abs=1e-3)


@pytest.mark.parametrize("samples", [[], [1.0], [2.0, 2.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_no_mode_without_two_different_samples(samples):
    with pytest.raises(InputError, match="at least two different"):
        kde_mode(samples)
