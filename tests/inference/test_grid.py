"""Exact posteriors on a grid, for distributions known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sc_lab.errors import InputError
from sc_lab.inference import GridPosterior, find_boxes, integrate

Q = np.array([0.001, 0.025, 0.16, 0.5, 0.84, 0.975, 0.999])


def normal(mean, sigma):
    """Many one-parameter Gaussians, one a population."""
    mean, sigma = np.atleast_1d(mean).astype(float), np.atleast_1d(sigma).astype(float)
    return lambda axes, rows: -0.5 * ((axes[0] - mean[rows, None]) / sigma[rows, None]) ** 2


def correlated(rho, sigma):
    def log_density(axes, rows):
        x, y = axes[0][:, :, None] / sigma, axes[1][:, None, :] / sigma
        return -0.5 * (x**2 - 2 * rho * x * y + y**2) / (1 - rho**2) + np.zeros((len(rows), 1, 1))

    return log_density


@pytest.mark.parametrize("sigma", [1e-5, 1e-3, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("mean", [-0.99, 0.0, 0.3141, 1.0])
def test_truncated_gaussians_of_any_width(mean, sigma):
    post = GridPosterior(normal(mean, sigma), ((-1.0, 1.0),))
    exact = stats.truncnorm((-1 - mean) / sigma, (1 - mean) / sigma, mean, sigma)
    # Linear steps of the cumulative curve: 1/512 of a box of 12 sigma, squared.
    np.testing.assert_allclose(post.quantile(0, Q), exact.ppf(Q), atol=2e-3 * min(sigma, 1.0), rtol=0)
    inside = stats.norm.cdf(1, mean, sigma) - stats.norm.cdf(-1, mean, sigma)
    closed = math.log(sigma * math.sqrt(2 * math.pi) * inside / 2)
    assert post.log_evidence == pytest.approx(closed, abs=1e-6)  # exp(-18) is left out


def test_populations_of_very_different_width_are_boxed_each_for_itself():
    mean, sigma = np.array([-0.5, 0.0, 0.77, 0.2]), np.array([1e-6, 10.0, 1e-2, 0.3])
    density = normal(mean, sigma)
    low, high = find_boxes(density, [-1.0], [1.0], n_populations=4)
    result = integrate(density, low, high, nodes=36)
    exact = np.array(
        [stats.truncnorm((-1 - m) / s, (1 - m) / s, m, s).ppf(0.5) for m, s in zip(mean, sigma, strict=True)]
    )
    # 36 nodes over a box of 12 to 17 sigma: 1e-3 of sigma.
    assert (np.abs(result.quantile(0, 0.5) - exact) < 1e-3 * np.minimum(sigma, 1.0)).all()


@pytest.mark.parametrize("sigma", [1e-4, 0.05])
@pytest.mark.parametrize("rho", [0.0, 0.9, -0.99])
def test_correlated_ridges(rho, sigma):
    post = GridPosterior(correlated(rho, sigma), ((-1.0, 1.0), (-1.0, 1.0)))
    for axis in (0, 1):
        # 96 nodes resolve a ridge of a tenth of sigma to 1e-3 of sigma.
        np.testing.assert_allclose(post.quantile(axis, Q), sigma * stats.norm.ppf(Q), atol=5e-3 * sigma, rtol=0)
    drawn = post.draw(40_000, np.random.default_rng(1))
    # Noise of 40 000 draws.
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(rho, abs=0.02)


def test_curve_and_joint_are_normalised_densities():
    post = GridPosterior(correlated(0.7, 0.1), ((-1.0, 1.0), (-1.0, 1.0)))
    x, density = post.curve(0)
    # Interpolated through 96 nodes.
    np.testing.assert_allclose(density, stats.norm.pdf(x, 0, 0.1), atol=1e-3)
    axes, joint = post.joint()
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    assert joint.sum() * cell == pytest.approx(1.0, abs=1e-6)  # the rectangle rule is exact for a Gaussian


def test_same_generator_same_draws():
    post = GridPosterior(normal(0.1, 0.2), ((-1.0, 1.0),))
    first, second = (post.draw(100, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    # 100 draws test the shape only; the distribution with 20 000:
    many = post.draw(20_000, np.random.default_rng(4))[:, 0]
    exact = stats.truncnorm(-1.1 / 0.2, 0.9 / 0.2, 0.1, 0.2)
    assert stats.kstest(many, exact.cdf).pvalue > 0.01  # fixed seed


@pytest.mark.parametrize("q", [-0.1, 1.5, [0.5, np.nan], 50])
def test_impossible_probabilities_are_refused(q):
    with pytest.raises(InputError, match="between 0 and 1"):
        GridPosterior(normal(0, 1), ((-1.0, 1.0),)).quantile(0, q)
