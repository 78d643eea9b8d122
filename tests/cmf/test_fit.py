"""The exact fit: closed forms, invariances, evidence, curves."""

from __future__ import annotations

import math

import astropy.units as u
import numpy as np
import pytest
from scipy import integrate, optimize, stats

from sc_lab.cmf import MassFunctionGrid, draw_masses, fit_mass_function, mass_function
from sc_lab.errors import InputError

M_MIN = 2e6
Q = np.array([0.025, 0.16, 0.5, 0.84, 0.975])


@pytest.mark.parametrize("beta", [-1.02, -1.3, -1.89, -2.95])
@pytest.mark.parametrize("n", [2, 3, 10, 60, 1000, 10_000, 100_000])
def test_power_law_posterior_is_the_truncated_gamma_distribution(n, beta):
    log_x = np.random.default_rng(n).exponential(1 / abs(beta + 1), n)
    fit = fit_mass_function(M_MIN * np.exp(log_x), model="power_law", m_min=M_MIN, rng=1)
    gamma = stats.gamma(n + 1, scale=1 / log_x.sum())
    low, high = gamma.sf(2.0), 1.0
    exact = -1 - gamma.isf(low + Q * (high - low))
    # Required: 1e-3. Reached: 2e-5 (linear steps of a 513-point cumulative curve).
    np.testing.assert_allclose(fit.quantile("beta", Q), exact, atol=5e-5, rtol=0)
    # ln of the integral of g^n exp(-g S) / 2 over the prior, closed form. The truncated part is
    # what the box leaves out beyond exp(-18).
    closed = math.lgamma(n + 1) - (n + 1) * math.log(log_x.sum()) + math.log1p(-low) - math.log(2)
    jacobian = log_x.sum() + n * math.log(M_MIN)
    assert fit.log_evidence == pytest.approx(closed - jacobian, abs=1e-6 + 1e-12 * abs(jacobian))


def brute_force(masses, function, prior):
    """The slow, obvious posterior: plain sums over a fine grid, the normalisation by adaptive quadrature nodes."""
    points = 321 if len(prior) == 2 else 4001
    axes = [np.linspace(*edges, points) for edges in prior.values()]
    mesh = np.meshgrid(*axes, indexing="ij")
    x = masses / function.m_min
    log_like = mesh[0] * np.log(x).sum() - len(x) * function.log_norm(*mesh)
    if len(mesh) == 2:
        log_like = log_like - function.ratio(mesh[1]) * x.sum()
    like = np.exp(log_like - log_like.max())
    out = {}
    for axis, name in enumerate(prior):
        marginal = like.sum(axis=1 - axis) if len(mesh) == 2 else like
        cdf = integrate.cumulative_simpson(marginal, x=axes[axis], initial=0)
        out[name] = np.interp(Q, cdf / cdf[-1], axes[axis])
    return out


@pytest.mark.parametrize("m_max", [None, 1.5e8])
@pytest.mark.parametrize("n", [5, 60, 400])
def test_fit_equals_plain_sums_over_the_whole_prior(model, n, m_max):
    function = mass_function(model, M_MIN, m_max)
    truth = {"beta": -1.6} | ({"log_mc": 7.8} if model == "schechter" else {})
    masses = draw_masses(n, function, rng=n, **truth)
    # The plain sum cannot hold the edge where a power law without limit diverges.
    prior = (-3.0, -1.0 - 1e-6)
    fit = fit_mass_function(masses, model=model, m_min=M_MIN, m_max=m_max, beta_prior=prior)
    for name, values in brute_force(masses, function, fit.prior).items():
        # The rectangle rule of the plain sum at the edges of the prior: half a step of 1/320 of its range.
        np.testing.assert_allclose(fit.quantile(name, Q), values, atol=4e-3, rtol=0)


def test_paper_width_for_sixty_objects():
    """Claeyssens et al. 2026 find beta = -1.89 +0.13 -0.12 for 60 objects; the mean width must be theirs."""
    grid = MassFunctionGrid("power_law", M_MIN)
    logs = np.random.default_rng(4).gamma(60, 1 / 0.89, 500)
    # The power law does not see the sum of M; equal masses are the least it can be.
    low, high = grid.quantiles(
        np.full(500, 60), logs + 60 * math.log(M_MIN), 60 * M_MIN * np.exp(logs / 60), [0.16, 0.84]
    )["beta"].T
    # 0.89 / sqrt(60) = 0.115; the paper rounds to two digits and quotes 0.12 to 0.13.
    assert np.mean((high - low) / 2) == pytest.approx(0.12, abs=0.01)


def test_units_and_order_do_not_matter(model, masses):
    plain = fit_mass_function(masses, model=model, m_min=M_MIN, m_max=1e10)
    others = [
        fit_mass_function(masses * u.Msun, model=model, m_min=M_MIN * u.Msun, m_max=1e10 * u.Msun),
        fit_mass_function((masses * u.Msun).to(u.kg), model=model, m_min=2 * 1e6 * u.Msun, m_max=1e4 * 1e6 * u.Msun),
        fit_mass_function(masses[::-1], model=model, m_min=M_MIN, m_max=1e10),
    ]
    for other in others:
        for name in plain.parameters:
            # Rounding of the sums.
            np.testing.assert_allclose(other.quantile(name, Q), plain.quantile(name, Q), atol=1e-8, rtol=0)


def test_a_change_of_mass_scale_shifts_log_mc_alone(sixty):
    """Masses, limit and prior times ten: the same slope, log_mc one higher."""
    one = fit_mass_function(sixty, m_min=M_MIN, log_mc_prior=(6.5, 9.0))
    ten = fit_mass_function(10 * sixty, m_min=10 * M_MIN, log_mc_prior=(7.5, 10.0))
    np.testing.assert_allclose(ten.quantile("beta", Q), one.quantile("beta", Q), atol=1e-8)  # rounding
    np.testing.assert_allclose(ten.quantile("log_mc", Q), one.quantile("log_mc", Q) + 1, atol=1e-8)


def test_grid_fit_of_sums_equals_fit_of_masses(model, masses):
    grid = MassFunctionGrid(model, M_MIN)
    by_mass = grid.fit(masses)
    by_sums = grid.fit_statistics(len(masses), np.log(masses).sum(), masses.sum())
    for name in grid.parameters:
        np.testing.assert_allclose(by_sums.quantile(name, Q), by_mass.quantile(name, Q), atol=1e-8)  # rounding


def test_samples_follow_the_posterior_and_repeat_with_the_seed(model, masses):
    fit = fit_mass_function(masses, model=model, m_min=M_MIN, rng=5)
    again = fit_mass_function(masses, model=model, m_min=M_MIN, rng=5)
    for name in fit.parameters:
        assert len(fit.samples[name]) == 50_000
        np.testing.assert_array_equal(fit.samples[name], again.samples[name])
        low, mid, high = fit.quantile(name, [0.16, 0.5, 0.84])
        # 50 000 independent draws place a quantile to 0.007 of the width; three times that.
        np.testing.assert_allclose(
            np.quantile(fit.samples[name], [0.16, 0.5, 0.84]), [low, mid, high], atol=0.02 * (high - low)
        )
    assert not np.array_equal(
        fit.samples["beta"], fit_mass_function(masses, model=model, m_min=M_MIN, rng=6).samples["beta"]
    )


def test_samples_keep_the_correlation_of_slope_and_truncation(sixty):
    fit = fit_mass_function(sixty, m_min=M_MIN, rng=5)
    beta, log_mc, density = fit.joint()
    weight = density / density.sum()
    mean = np.array([(weight.sum(axis=1) * beta).sum(), (weight.sum(axis=0) * log_mc).sum()])
    product = (weight * np.outer(beta - mean[0], log_mc - mean[1])).sum()
    drawn = np.cov(fit.samples["beta"], fit.samples["log_mc"])[0, 1]
    assert product < -0.02  # success trivial otherwise
    # Noise of 50 000 draws is 1 %, the plain sum over 121 points another 1 %.
    assert drawn == pytest.approx(product, rel=0.04)


def test_densities_integrate_to_one_and_peak_at_the_mode(model, masses):
    fit = fit_mass_function(masses, model=model, m_min=M_MIN, rng=1)
    for name in fit.parameters:
        x, density = fit.posterior(name)
        assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-4)  # trapezoid over 513 points
        low, high = fit.quantile(name, [0.16, 0.84])
        # The kernel estimate is noisy where the top is flat.
        assert abs(fit.mode(name) - x[density.argmax()]) < 0.25 * (high - low)
    if model == "schechter":
        beta, log_mc, density = fit.joint()
        total = np.trapezoid(np.trapezoid(density, log_mc, axis=1), beta)
        assert total == pytest.approx(1.0, abs=1e-3)  # trapezoid over 121 points


def test_evidence_equals_the_integral_over_the_prior(sixty):
    fit = fit_mass_function(sixty, m_min=M_MIN)
    function = mass_function("schechter", M_MIN)
    x, weight = np.polynomial.legendre.leggauss(120)
    (b0, b1), (c0, c1) = fit.prior.values()
    beta, log_mc = (b0 + b1) / 2 + (b1 - b0) / 2 * x, (c0 + c1) / 2 + (c1 - c0) / 2 * x
    x_sum, log_sum = (sixty / M_MIN).sum(), np.log(sixty / M_MIN).sum()
    log_like = beta[:, None] * log_sum - function.ratio(log_mc) * x_sum
    log_like -= 60 * (function.log_norm(beta[:, None], log_mc) + math.log(M_MIN))
    top = log_like.max()
    integral = weight @ np.exp(log_like - top) @ weight / 4
    # The box leaves out 1e-7 of the mass.
    assert fit.log_evidence == pytest.approx(top + math.log(integral), abs=1e-5)


def test_evidence_ratio_tells_the_models_apart():
    truncated = draw_masses(300, mass_function("schechter", M_MIN), beta=-1.2, log_mc=7.0, rng=1)
    straight = draw_masses(300, mass_function("power_law", M_MIN), beta=-1.9, rng=1)
    for masses, sign in ((truncated, 1), (straight, -1)):
        schechter, power = (fit_mass_function(masses, model=m, m_min=M_MIN) for m in ("schechter", "power_law"))
        assert sign * schechter.log_bayes_factor(power) > 0
        assert schechter.log_bayes_factor(power) == -power.log_bayes_factor(schechter)


def test_evidence_of_different_samples_is_not_compared(sixty):
    fit = fit_mass_function(sixty, m_min=M_MIN)
    with pytest.raises(InputError, match="different samples"):
        fit.log_bayes_factor(fit_mass_function(sixty[:50], m_min=M_MIN))


def test_cumulative_curves_start_at_the_number_of_objects(model, masses):
    fit = fit_mass_function(masses, model=model, m_min=M_MIN, m_max=1e10, rng=1)
    mass = np.geomspace(1e6, 2e10, 80)
    curves = fit.cumulative(mass, n_draws=37)
    assert curves.shape == (37, 80)
    assert (curves[:, mass <= M_MIN] == 60).all()
    assert (curves[:, mass >= 1e10] == 0).all()
    assert (np.diff(curves, axis=1) <= 1e-9).all()  # rounding of flat parts
    np.testing.assert_array_equal(curves, fit.cumulative(mass * u.Msun, n_draws=37))
    medians = {name: [float(fit.quantile(name, 0.5))] for name in fit.parameters}
    data = (masses[:, None] > mass).sum(axis=0)
    # A fitted curve stays within the Kolmogorov-Smirnov distance of a good fit, 1.6 sqrt(60).
    assert np.abs(fit.cumulative(mass, parameters=medians)[0] - data).max() < 13


def test_curves_of_incomplete_parameters_are_refused(sixty):
    fit = fit_mass_function(sixty, m_min=M_MIN)
    with pytest.raises(InputError, match="give beta and log_mc"):
        fit.cumulative([1e7], parameters={"beta": [-2.0]})
    with pytest.raises(InputError, match="as many values"):
        fit.cumulative([1e7], parameters={"beta": [-2.0, -1.5], "log_mc": [8.0]})
    assert fit.cumulative([1e7, 2e7], parameters={"beta": [], "log_mc": []}).shape == (0, 2)


def test_curves_of_what_is_not_measured_are_nan(model, masses):
    fit = fit_mass_function(masses, model=model, m_min=M_MIN)
    values = {"beta": [-1.9, np.nan, -1.5]} | ({"log_mc": [8.0, 8.0, 8.0]} if model == "schechter" else {})
    curves = fit.cumulative([M_MIN, np.nan, 1e7], parameters=values)
    np.testing.assert_array_equal(np.isnan(curves), [[False, True, False], [True] * 3, [False, True, False]])


def test_large_samples_approach_the_gaussian_at_the_best_point():
    """Bernstein and von Mises: 30 000 objects leave a Gaussian, its place and width known from calculus."""
    function = mass_function("schechter", M_MIN)
    masses = draw_masses(30_000, function, rng=8, beta=-1.7, log_mc=7.5)
    fit = fit_mass_function(masses, m_min=M_MIN)
    x = masses / M_MIN

    def minus_log_like(p):
        t = float(function.ratio(p[1]))
        return -(p[0] * np.log(x).sum() - t * x.sum() - len(x) * float(function.log_norm(p[0], p[1])))

    best = optimize.minimize(
        minus_log_like, [-1.7, 7.5], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}
    ).x
    step = np.array([2e-3, 4e-3])
    hessian = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            e, f = np.eye(2)[i] * step, np.eye(2)[j] * step
            terms = [s * minus_log_like(best + d) for s, d in ((1, e + f), (-1, e - f), (-1, f - e), (1, -e - f))]
            hessian[i, j] = sum(terms) / (4 * step[i] * step[j])
    sigma = np.sqrt(np.diag(np.linalg.inv(hessian)))
    for name, place, width in zip(fit.parameters, best, sigma, strict=True):
        low, mid, high = fit.quantile(name, [0.16, 0.5, 0.84])
        # Corrections to the Gaussian limit are of order 1 / sqrt(N), a few per cent of the width.
        assert mid == pytest.approx(place, abs=0.1 * width)
        assert (high - low) / 2 / width == pytest.approx(0.994, abs=0.05)  # 16 to 84 % is 0.994 sigma


def test_masses_outside_the_limits_are_left_out_and_counted(model, masses):
    more = np.concatenate([masses, [1e5, -3.0, 0.0, 1e10, 2e10]])
    fit = fit_mass_function(more, model=model, m_min=M_MIN, m_max=1e10)
    assert (fit.n, fit.n_outside) == (60, 5)
    assert any("5 of the masses" in line for line in fit.warnings)
    alone = fit_mass_function(masses, model=model, m_min=M_MIN, m_max=1e10)
    np.testing.assert_array_equal(fit.quantile("beta", Q), alone.quantile("beta", Q))


def test_a_posterior_cut_by_its_prior_says_so():
    masses = draw_masses(200, mass_function("power_law", M_MIN), beta=-1.9, rng=1)
    assert any("log_mc runs into its prior at 9" in line for line in fit_mass_function(masses, m_min=M_MIN).warnings)
    assert fit_mass_function(masses, model="power_law", m_min=M_MIN).warnings == ()


def test_table_holds_the_summary(model, masses):
    fit = fit_mass_function(masses, model=model, m_min=M_MIN, rng=1)
    table = fit.to_table()
    assert list(table["parameter"]) == list(fit.parameters)
    assert table["q50"][0] == fit.quantile("beta", 0.5)
    np.testing.assert_allclose(table["q84"] - table["q50"], table["err_hi"])
    assert table.meta["n"] == 60
    assert table.meta["m_max"] is None


def test_input_is_not_changed(model, masses):
    before = masses.copy()
    fit_mass_function(masses, model=model, m_min=5e6)
    np.testing.assert_array_equal(masses, before)
