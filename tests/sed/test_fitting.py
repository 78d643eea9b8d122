"""Posteriors of the grid engine: exact symmetries, special cases, bad input."""

from __future__ import annotations

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numba
import numpy as np
import pytest

from sc_lab.errors import InputError, ScLabError, ScLabWarning
from sc_lab.sed import (
    Fixed,
    Gaussian,
    LogUniform,
    Priors,
    SedModel,
    Uniform,
    _kernels,
    fit_photometry,
    get_filters,
    model_fluxes,
)
from sc_lab.sed._posterior import compiled, grid_for

BANDS = ["F115W", "F150W", "F200W", "F277W", "F356W", "F444W"]
TRUTH = {"age": 30.0, "log_mass_formed": 6.5, "metallicity": 0.3, "a_v": 0.3, "log_u": -2.0}
Z = 2.0


@pytest.fixture(scope="module")
def model():
    return SedModel(tau=5.0)


@pytest.fixture(scope="module")
def light(model):
    """Return noiseless fluxes of a young cluster and errors of a tenth."""
    flux = model_fluxes(model, BANDS, Z, TRUTH)[0]
    return flux, 0.1 * flux


@pytest.mark.parametrize(
    ("model", "tolerance"),
    [
        # compat: the four-point interpolation in A_V, relative; fine: lines in age between tabulated histories as well.
        (SedModel(mode="compat"), 1e-5),
        (SedModel(mode="compat", sfh="constant", duration=10.0), 1e-5),
        (SedModel(mode="fine", tau=10.0), 5e-3),
        (SedModel(mode="fine", sfh="burst"), 5e-3),
    ],
    ids=lambda value: getattr(value, "sfh", ""),
)
def test_compiled_fluxes_are_those_of_the_exact_model(model, tolerance):
    rng = np.random.default_rng(2)
    priors, _ = Priors().at(Z)
    filters = get_filters(BANDS)
    grid = grid_for(model, filters, Z, priors)
    n = 300
    values = {
        "age": np.exp(rng.uniform(math.log(1.1), math.log(priors.age.high), n)),
        "metallicity": priors.metallicity.ppf(rng.random(n)),
        "a_v": rng.random(n),
        "log_u": rng.uniform(-3, -1, n),
    }
    exact = model_fluxes(model, filters, Z, {**values, "log_mass_formed": 0.0}, with_v=True)
    compiled()
    model_at = numba.njit(_kernels.model_at)
    out = np.empty(grid.coarse.shape[0])
    apart = []
    for i in range(n):
        state = min(int(np.searchsorted(grid.age_high, values["age"][i])), grid.age_high.size - 1)
        inside = (values["age"][i] - grid.age_low[state]) / (grid.age_high[state] - grid.age_low[state])
        step = grid.cumulative[state + 1] - grid.cumulative[state]
        point = np.array([
            math.log(values["metallicity"][i]), values["a_v"][i], values["log_u"][i], grid.cumulative[state] + inside * step,
        ])  # fmt: skip
        model_at(out, point, grid.arrays)
        if np.isfinite(exact[i]).all():  # bagpipes gives NaN where a short history falls between its sampled ages
            apart.append(np.abs(out[: len(BANDS) + 1] / exact[i] - 1).max())
    assert np.quantile(apart, 0.98) < tolerance
    assert max(apart) < 10 * tolerance  # where a burst's clouds disperse, flux jumps within a line
    assert len(apart) > 0.8 * n


def test_the_truth_is_found_at_very_high_signal_to_noise(model):
    """Signal to noise 300 without a floor: the posterior is a sliver in every dimension."""
    rng = np.random.default_rng(5)
    bands = ["F606W", "F814W", *BANDS]
    flux = model_fluxes(model, bands, Z, TRUTH)[0]
    noisy = flux * (1 + rng.normal(size=flux.size) / 300)
    fit = fit_photometry(noisy, flux / 300, bands, Z, model=model, error_floor=0.0, rng=1)
    assert fit.ess > 400
    assert fit.best_chi2 < 25  # 8 bands, 5 parameters: the truth itself has about 8
    for name in ("age", "log_mass_formed"):
        low, high = fit.quantile(name, [0.001, 0.999])
        assert low <= TRUTH[name] <= high
    assert np.diff(fit.quantile("log_mass_formed", [0.16, 0.84]))[0] < 0.1


def test_mass_scales_exactly_with_flux(model, light):
    """Fluxes and errors a hundredfold: masses a hundredfold, nothing else changes but by the mass prior's ends."""
    one = fit_photometry(*light, BANDS, Z, model=model, rng=3)
    many = fit_photometry(100 * light[0], 100 * light[1], BANDS, Z, model=model, rng=3)
    np.testing.assert_allclose(many.samples["log_mass_formed"], one.samples["log_mass_formed"] + 2, rtol=1e-9)
    for name in ("age", "a_v", "metallicity"):
        np.testing.assert_allclose(many.samples[name], one.samples[name], rtol=1e-9)
    # Six densities, each a hundredth.
    assert many.log_evidence == pytest.approx(one.log_evidence - 6 * math.log(100), abs=1e-6)


def test_a_band_of_infinite_error_changes_nothing(model, light):
    flux, error = light
    without = fit_photometry(flux, error, BANDS, Z, model=model, rng=3)
    more = [*BANDS, "F410M", "F814W"]
    extra = fit_photometry([*flux, 5e3, np.nan], [*error, np.inf, 1.0], more, Z, model=model, rng=3)
    np.testing.assert_allclose(extra.samples["age"], without.samples["age"], rtol=1e-6)  # tables in single precision
    assert extra.log_evidence == pytest.approx(without.log_evidence, abs=1e-5)
    assert np.isnan(extra.flux[-2:]).all()
    assert np.isfinite(extra.best_flux).all()  # left-out bands are predicted


def test_fixed_parameters_leave_the_normal_distribution_of_the_mass(model, light):
    flux, error = light
    fixed = {name: Fixed(value) for name, value in TRUTH.items() if name != "log_mass_formed"}
    fit = fit_photometry(
        flux, error, BANDS, Z, model=model, priors=Priors(**fixed), error_floor=0.0, n_draws=20000, rng=2
    )
    signal = math.sqrt(6.0) / 0.1
    mass = 10 ** (fit.samples["log_mass_formed"] - 6.5)
    # A normal density over M: its mean is 1 - 1 / s^2; 20000 draws know the mean to 0.7 % of sigma.
    assert mass.mean() == pytest.approx(1 - 1 / signal**2, abs=4 / signal / math.sqrt(20000))
    assert mass.std() == pytest.approx(1 / signal, rel=0.03)
    density = -6 * 0.5 * math.log(2 * math.pi) - np.log(error).sum()
    prior = 0.5 * math.log(2 * math.pi) - math.log(signal) - math.log(12 * math.log(10))
    assert fit.log_evidence == pytest.approx(density + prior + math.log1p(signal**-2), abs=1e-4)  # next order 3 / s^4
    assert set(fit.samples["a_v"]) == {0.3}


def test_gaussian_priors_act_as_further_data(model, light):
    """A tight prior of A_V replaces the posterior where the data say little, and a mass prior pulls the mass."""
    flux, _ = light
    priors = Priors(a_v=Gaussian(0.5, 0.05, low=0.0), log_mass_formed=Gaussian(6.0, 0.05))
    fit = fit_photometry(flux, 2.0 * flux, BANDS, Z, model=model, priors=priors, rng=2)
    median, sigma = fit.quantile("a_v", 0.5), np.diff(fit.quantile("a_v", [0.16, 0.84]))[0] / 2
    assert median == pytest.approx(0.5, abs=0.01)
    assert sigma == pytest.approx(0.05, rel=0.1)
    assert fit.quantile("log_mass_formed", 0.5) == pytest.approx(6.0, abs=0.02)


def test_a_sample_of_the_prior_returns_when_errors_are_huge(model):
    """Nothing is known: every posterior is its prior."""
    fit = fit_photometry(np.zeros(6), np.full(6, 1e12), BANDS, Z, model=model, rng=2, n_draws=4000)
    priors, _ = Priors().at(Z)
    for name in ("age", "metallicity", "a_v", "log_u"):
        median = fit.quantile(name, 0.5)
        assert float(getattr(priors, name).cdf(median)) == pytest.approx(0.5, abs=0.03)  # 4000 draws: 0.008
    # A Gaussian of zero exponent: only its norm is left of the evidence.
    assert fit.log_evidence == pytest.approx(-6 * (0.5 * math.log(2 * math.pi) + math.log(1e12)), abs=0.01)
    assert any("upper limit" in sentence for sentence in fit.cautions)


def test_what_the_data_do_not_constrain_leaves_the_evidence_as_it_is(model):
    """Every prior adds up to one, also a Gaussian of which a third would lie below zero."""
    priors = Priors(a_v=Gaussian(0.1, 0.3), metallicity=Gaussian(0.2, 0.4), age=Gaussian(50.0, 100.0))
    fit = fit_photometry(np.zeros(6), np.full(6, 1e12), BANDS, Z, model=model, priors=priors, rng=2)
    # The likelihood is 1 wherever the prior is: 6000 draws on it know its sum to well below one in a hundred.
    assert fit.log_evidence == pytest.approx(-6 * (0.5 * math.log(2 * math.pi) + math.log(1e12)), abs=0.01)
    assert fit.samples["a_v"].min() >= 0.0
    assert fit.samples["metallicity"].min() >= 0.0


def test_negative_fluxes_are_upper_limits(model, light):
    flux, _ = light
    fit = fit_photometry(-0.5 * flux, 0.3 * flux, BANDS, Z, model=model, rng=2)
    assert fit.quantile("log_mass_formed", 0.95) < TRUTH["log_mass_formed"] + 0.5
    assert fit.ess > 400
    assert fit.best["log_mass_formed"] == pytest.approx(3.0)  # the least that the prior allows


def test_a_source_keeps_its_draws_whatever_else_is_fitted(model, light):
    flux, _ = light
    table = np.stack([0.5 * flux, flux, 3 * flux])
    together = fit_photometry(table, 0.1 * table, BANDS, [2.0, 2.0, 3.0], model=model, rng=7)
    alone = fit_photometry(table[1], 0.1 * table[1], BANDS, 2.0, model=model, rng=7, streams=[1])
    again = fit_photometry(
        table[::-1], 0.1 * table[::-1], BANDS, [3.0, 2.0, 2.0], model=model, rng=7, streams=[2, 1, 0]
    )
    for name in alone.samples:
        np.testing.assert_array_equal(together[1].samples[name], alone.samples[name])
        np.testing.assert_array_equal(together[0].samples[name], again[2].samples[name])
    with ThreadPoolExecutor(2) as pool:
        apart = fit_photometry(table, 0.1 * table, BANDS, [2.0, 2.0, 3.0], model=model, rng=7, executor=pool)
    np.testing.assert_array_equal(apart[2].samples["age"], together[2].samples["age"])
    assert together.quantile("log_mass", [0.16, 0.5, 0.84]).shape == (3, 3)
    assert (together.ess > 400).all()


def test_units_convert_and_one_row_of_errors_serves_all(model, light):
    flux, error = light
    plain = fit_photometry(flux, error, BANDS, Z, model=model, rng=1)
    with_units = fit_photometry((flux * u.nJy).to(u.uJy), (error * u.nJy).to(u.Jy), BANDS, Z, model=model, rng=1)
    np.testing.assert_allclose(with_units.samples["age"], plain.samples["age"], rtol=1e-9)
    many = fit_photometry(np.stack([flux, flux]), error, BANDS, Z, model=model, rng=1)
    np.testing.assert_array_equal(many[0].samples["age"], plain.samples["age"])


def test_a_common_error_widens_the_mass_and_leaves_colours(model, light):
    """20 per cent common to all bands is the mass's error; ages stay."""
    flux, _ = light
    own = fit_photometry(flux, 0.02 * flux, BANDS, Z, model=model, error_floor=0.0, rng=1)
    both = fit_photometry(flux, 0.02 * flux, BANDS, Z, model=model, error_floor=0.0, shape_err=0.2, rng=1)
    fixed = Priors(**{name: Fixed(value) for name, value in TRUTH.items() if name != "log_mass_formed"})
    alone = fit_photometry(
        flux, 0.02 * flux, BANDS, Z, model=model, error_floor=0.0, shape_err=0.2, priors=fixed, rng=1, n_draws=8000
    )
    # The flux is M (1 + 0.2 e): for a given flux 1 / M is normal.
    inverse = 10 ** (6.5 - alone.samples["log_mass_formed"])
    assert inverse.std() == pytest.approx(math.hypot(0.2, 0.02 / math.sqrt(6)), rel=0.05)
    for q in (0.16, 0.5, 0.84):
        assert math.log10(both.quantile("age", q)) == pytest.approx(math.log10(own.quantile("age", q)), abs=0.03)


def test_common_errors_leave_masses_unbiased_and_cover(model):
    """No Peelle's puzzle: with errors of 25 % common to all bands, the mean mass is the truth's, and 68 % hold 68 %."""
    rng = np.random.default_rng(8)
    n, common = 250, 0.25
    truth = model_fluxes(model, BANDS, Z, TRUTH)[0]
    flux = truth * (1 + common * rng.normal(size=(n, 1))) + 0.1 * truth * rng.normal(size=(n, 6))
    fixed = Priors(**{name: Fixed(value) for name, value in TRUTH.items() if name != "log_mass_formed"})
    fits = fit_photometry(
        flux, 0.1 * truth, BANDS, Z, model=model, priors=fixed, error_floor=0.0, shape_err=common, n_draws=400, rng=3
    )
    low, middle, high = 10 ** (fits.quantile("log_mass_formed", [0.16, 0.5, 0.84]).T - 6.5)
    # The covariance of the fluxes themselves would be low by tens of per cent; 250 medians know 1.6 %.
    assert middle.mean() == pytest.approx(1.0, abs=0.05)
    assert np.mean((low < 1) & (high > 1)) == pytest.approx(0.68, abs=0.09)  # 250 trials: 0.03


def test_common_errors_that_differ_between_bands_cover(model):
    """Fractions of 5 to 30 per cent with one number: colours move with the mass, and both are in the errors."""
    rng = np.random.default_rng(9)
    n, common = 250, np.linspace(0.05, 0.3, 6)
    truth = model_fluxes(model, BANDS, Z, TRUTH)[0]
    flux = truth * (1 + common * rng.normal(size=(n, 1))) + 0.05 * truth * rng.normal(size=(n, 6))
    fixed = Priors(**{name: Fixed(value) for name, value in TRUTH.items() if name not in ("log_mass_formed", "a_v")})
    fits = fit_photometry(
        flux, 0.05 * truth, BANDS, Z, model=model, priors=fixed, error_floor=0.0, shape_err=common, n_draws=400, rng=3
    )
    for name in ("log_mass_formed", "a_v"):
        low, middle, high = fits.quantile(name, [0.16, 0.5, 0.84]).T
        assert np.mean((low < TRUTH[name]) & (high > TRUTH[name])) == pytest.approx(0.68, abs=0.09)
        assert np.median(middle) == pytest.approx(TRUTH[name], abs=0.03)  # 250 medians of sigma 0.1: 0.008


def test_progress_is_told_and_a_cancelled_fit_stops(model, light):
    flux, error = light
    seen = []
    fit_photometry(np.stack([flux] * 3), error, BANDS, Z, model=model, rng=1, progress=lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    stop = threading.Event()
    stop.set()
    with pytest.raises(ScLabError, match="cancelled"):
        fit_photometry(flux, error, BANDS, Z, model=model, cancel=stop)


def test_the_result_has_bands_for_plots_and_a_record(model, light):
    fit = fit_photometry(*light, BANDS, Z, model=model, rng=1)
    wavelength, spectrum = fit.spectrum()
    assert spectrum.shape == (3, wavelength.size)
    assert (spectrum[0] <= spectrum[2]).all()
    edges, rate = fit.sfh()
    formed = (rate[1] * np.diff(edges) * 1e6).sum()
    assert rate.shape == (3, edges.size - 1)
    assert formed > 0
    np.testing.assert_allclose(fit.model_flux(0.5), light[0], rtol=0.15)  # within the errors
    assert json.loads(json.dumps(fit.record()))["bands"] == BANDS
    assert fit.samples["log_mass"].max() < fit.samples["log_mass_formed"].max()
    with pytest.raises(InputError, match="log_mass"):
        fit.quantile("mass", 0.5)
    drawn = fit.resampled(50, rng=1)
    assert set(drawn) == set(fit.samples)


def test_the_history_of_a_draw_forms_its_mass(model, light):
    fit = fit_photometry(*light, BANDS, Z, model=model, rng=1)
    edges = np.linspace(0, 4000, 4001)
    from sc_lab.sed._histories import mean_rates

    rates = mean_rates(model, fit.parameters(), edges, Z)
    np.testing.assert_allclose((rates * 1e6).sum(axis=1), 10 ** fit.samples["log_mass_formed"], rtol=1e-9)
    recent = rates[:, :10].mean(axis=1)
    # The same integral done by states of 0.0025 dex, 0.6 % of an age of some e-folding times.
    np.testing.assert_allclose(recent, fit.samples["sfr10"], rtol=0.05, atol=1e-6 * recent.max())


def test_cautions_say_what_weakens_a_fit(model, light):
    flux, error = light
    one = fit_photometry(flux[:1], error[:1], BANDS[:1], Z, model=model, rng=1)
    assert any("no colour" in sentence for sentence in one.cautions)
    wrong = fit_photometry(flux * [1, 5, 1, 0.2, 1, 9], error, BANDS, Z, model=model, rng=1)
    assert any("no model fits" in sentence for sentence in wrong.cautions)
    narrow = Priors(log_mass_formed=Uniform(3, 6), metallicity=LogUniform(0.01, 1.0))
    edge = fit_photometry(flux, error, BANDS, Z, model=model, priors=narrow, rng=1)
    assert any("log_mass_formed piles up at the end of its prior, 6" in sentence for sentence in edge.cautions)
    assert not any("library's lowest" in sentence for sentence in edge.cautions)
    twice = fit_photometry(flux, error, (*BANDS[:5], BANDS[0]), Z, model=model, rng=1)
    assert any(f"{BANDS[0]} stands more than once" in sentence for sentence in twice.cautions)


def test_a_prior_beyond_the_library_is_cut_or_said(model, light):
    flux, error = light
    wide = Priors(log_u=Uniform(-9, 3), metallicity=Uniform(0.1, 10))
    fit = fit_photometry(flux, error, BANDS, Z, model=model, priors=wide, rng=1, n_draws=200)
    assert any("log_u was cut at the ends of the library, -4 to 0" in sentence for sentence in fit.cautions)
    assert any("above its highest, 5 solar" in sentence for sentence in fit.cautions)
    assert fit.samples["log_u"].min() >= -4
    assert fit.samples["log_u"].max() <= 0
    assert np.isfinite(fit.spectrum()[1]).all()  # every draw has a spectrum
    for prior in (Fixed(2.0), Uniform(1, 3)):
        with pytest.raises(InputError, match="log U from -4 to 0"):
            fit_photometry(flux, error, BANDS, Z, model=model, priors=Priors(log_u=prior), rng=1)


def test_a_fit_is_shown_in_a_line_and_refuses_percentages(model, light):
    fit = fit_photometry(*light, BANDS, Z, model=model, rng=1, n_draws=200)
    assert "log_mass" in repr(fit)
    assert len(repr(fit)) < 400
    for function in (fit.spectrum, fit.sfh, fit.model_flux):
        with pytest.raises(InputError, match="probabilities between 0 and 1"):
            function(q=(16, 50, 84))


BAD = [
    ({"bands": ["F115W", "F150W", "F200W", "F277W", "F356W", "F445W"]}, "F445W"),
    ({"bands": "F150W"}, "list of filters"),
    ({"bands": [], "flux": [], "flux_err": []}, "bands is empty"),
    ({"bands": BANDS[:5]}, r"shape \(6,\) for 5 bands"),
    ({"flux": np.full(6, 27.0) * u.ABmag}, "magnitude"),
    ({"flux": np.full(6, 27.0) * u.mag}, "magnitude"),
    ({"flux": np.full(6, 27.0) * u.STmag}, "magnitude"),
    ({"flux": np.full(6, 1.0) * u.kg}, "kg"),
    ({"flux": np.full(6, np.nan)}, "no band with a flux"),
    ({"flux": np.full((2, 6), np.nan)}, "source 0 has no band"),
    ({"flux": [1, 2, np.inf, 4, 5, 6]}, "infinite in F200W"),
    ({"flux_err": np.full(6, np.inf)}, "no band with a flux"),
    ({"flux_err": [1, 1, 0, 1, 1, 1]}, "zero, negative or NaN in F200W"),
    ({"flux_err": [1, 1, -1, 1, -1, 1]}, "F200W and 1 more"),
    ({"flux_err": [1, 1, np.nan, 1, 1, 1]}, "is NaN in F200W"),
    ({"flux_err": np.ones(5)}, r"shape \(5,\)"),
    ({"z": -0.1}, "at least 0"),
    ({"z": np.nan}, "at least 0"),
    ({"z": [1.0, 2.0]}, "one number"),
    ({"z": 2000.0}, "2000"),
    ({"engine": "prospector"}, "'grid' or 'bagpipes'"),
    ({"mode": "rough"}, "compat"),
    ({"error_floor": 1.5}, "error_floor"),
    ({"shape_err": np.ones(4)}, "shape_err"),
    ({"shape_err": -0.1}, "shape_err"),
    ({"distance": -3.0}, "distance"),
    ({"n_draws": 0}, "n_draws"),
    ({"rng": "x"}, "rng"),
    ({"streams": [1, 2]}, "streams"),
    ({"priors": [Priors(), Priors()]}, "one for each source"),
    ({"model": "exponential"}, "SedModel"),
    ({"n_live": 400}, "n_live is no option"),
    ({"priors": Priors(age=Uniform(0.01, 0.5))}, "has light from"),
]


@pytest.mark.parametrize(("change", "match"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_input_is_refused_in_a_sentence(change, match):
    given = {"flux": np.arange(1.0, 7.0), "flux_err": np.ones(6), "bands": BANDS, "z": Z} | change
    with pytest.raises(InputError, match=match):
        fit_photometry(given.pop("flux"), given.pop("flux_err"), given.pop("bands"), given.pop("z"), **given)


def test_numbers_that_look_like_magnitudes_are_warned_of(model):
    with pytest.warns(ScLabWarning, match="flux_from_magnitude"):
        fit = fit_photometry(np.full(6, 27.3), np.full(6, 0.1), BANDS, Z, model=model, rng=1)
    assert any("flux_from_magnitude" in sentence for sentence in fit.cautions)
