"""Uncertain redshifts: fits at nodes, weighed by evidence and p(z), against what is known in closed form."""

import math
import threading

import numpy as np
import pytest

from sc_lab.errors import InputError, ScLabError
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import Priors
from sc_lab.sed.redshift import RedshiftGrid, fit_over_redshift, holds_grid, photometry_over_redshift
from sc_lab.sed.results import SedFit, SedFits


def made(z, log_evidence, log_mass=8.0, n=50):
    """Return a fit whose masses are spread by 0.1 dex about a value."""
    draws = np.random.default_rng(int(1e6 * z) + 1).normal(log_mass, 0.1, n)
    return SedFit(
        samples={"log_mass": draws, "a_v": np.full(n, 0.2)},
        weights=np.ones(n),
        bands=("F150W",),
        flux=np.array([1.0]),
        flux_err=np.array([0.1]),
        z=z,
        model=SedModel(),
        priors=Priors(),
        log_evidence=log_evidence,
        ess=float(n),
        best={"log_mass": log_mass},
        best_chi2=1.0,
        best_flux=np.array([1.0]),
    )


def test_a_flat_likelihood_gives_p_of_z_back():
    grid = RedshiftGrid.gaussian(3.0, 0.2)
    fit = fit_over_redshift(lambda z: made(z, -4.0), grid)
    # Draws stand at nodes that hold at most 5 per cent each, so quantiles are good to half of a node's width there.
    assert fit.quantile("z", [0.16, 0.5, 0.84]) == pytest.approx([2.8011, 3.0, 3.1989], abs=0.015)
    # p(z) integrates to one, so the evidence is that of a single redshift, but for tails of 1e-4.
    assert fit.log_evidence == pytest.approx(-4.0, abs=1e-3)
    assert fit.redshift_density.quantile([0.16, 0.84]) == pytest.approx([2.8011, 3.1989], abs=2e-3)
    assert fit.parts[0].z < 2.4
    assert fit.shares.sum() == pytest.approx(1.0, rel=1e-12)


def test_a_gaussian_likelihood_on_a_flat_prior_gives_the_gaussian():
    """A narrow peak in a wide prior is found by adding nodes, and its evidence is its area times the prior."""
    truth, sigma = 2.37, 0.05

    def at(z):
        return made(z, -0.5 * ((z - truth) / sigma) ** 2, log_mass=8.0 + 2.0 * (z - truth))

    fit = fit_over_redshift(at, RedshiftGrid.uniform(0.0, 8.0))
    assert fit.redshift_density.quantile([0.16, 0.5, 0.84]) == pytest.approx(
        [truth - 0.99446 * sigma, truth, truth + 0.99446 * sigma],
        abs=0.05 * sigma,  # a cubic through nodes that hold 5 per cent each
    )
    assert fit.log_evidence == pytest.approx(math.log(math.sqrt(2 * math.pi) * sigma / 8.0), abs=0.02)
    # Mass and redshift keep together: 2 dex a unit of redshift and 0.1 dex of its own.
    spread = fit.quantile("log_mass", 0.84) - fit.quantile("log_mass", 0.16)
    assert spread == pytest.approx(2 * 0.99446 * math.hypot(0.1, 2 * sigma), rel=0.1)  # 50 draws a node


def test_two_peaks_of_p_of_z_share_by_prior_and_evidence():
    z = np.linspace(0.0, 6.0, 601)
    p = 0.8 * np.exp(-0.5 * ((z - 1.0) / 0.1) ** 2) + 0.2 * np.exp(-0.5 * ((z - 5.0) / 0.1) ** 2)
    fit = fit_over_redshift(lambda z: made(z, math.log(4.0) if z > 3 else 0.0), RedshiftGrid(z, p))
    # 0.8 x 1 against 0.2 x 4: even odds; between the peaks, where ln Z is interpolated, there is no prior.
    assert float(fit.weights[fit.samples["z"] > 3].sum()) == pytest.approx(0.5, abs=0.01)


def test_limits_of_a_catalogue_make_half_gaussians():
    grid = RedshiftGrid.from_interval(2.0, 1.8, 2.6)
    # The two halves have equal heights, so areas as their widths; each ends at 2.5 per cent of its own Gaussian.
    assert float(grid.density(1.8) / grid.density(2.0)) == pytest.approx(math.exp(-0.5 * 1.95996**2), rel=0.02)
    assert float(grid.density(2.6) / grid.density(2.0)) == pytest.approx(math.exp(-0.5 * 1.95996**2), rel=0.02)


def test_sources_with_known_and_uncertain_redshifts_go_together():
    calls = []

    def fit_photometry(flux, _err, _bands, z, **_options):
        calls.append(z)
        return made(float(z), 0.0)

    fits = photometry_over_redshift(
        fit_photometry, np.ones((2, 1)), np.ones((2, 1)), ("F150W",), [1.5, RedshiftGrid.gaussian(2.0, 0.05)]
    )
    assert isinstance(fits, SedFits)
    assert calls[0] == 1.5
    assert "z" not in fits[0].samples
    assert fits[1].quantile("z", 0.5) == pytest.approx(2.0, abs=0.01)
    assert holds_grid([1.5, RedshiftGrid.uniform(1, 2)])
    assert not holds_grid([1.5, 2.0])
    with pytest.raises(InputError, match="2 redshifts for 1 sources"):
        photometry_over_redshift(fit_photometry, np.ones((1, 1)), np.ones((1, 1)), ("F150W",), [1.0, 2.0])


def test_each_source_and_redshift_has_its_own_options_and_random_numbers():
    seen = []

    def fit_photometry(flux, err, _bands, z, *, rng, streams, priors, shape_err, **options):
        seen.append((float(flux[0]), float(err[0]), z, rng, streams[0], priors, shape_err, options))
        return made(float(z), 0.0)

    fits = photometry_over_redshift(
        fit_photometry, np.array([[1.0], [2.0]]), np.array([0.5]), ("F150W",), RedshiftGrid.gaussian(2.0, 0.05),
        rng=7, streams=[4, 9], priors=[Priors(), Priors(a_v=0.1)], shape_err=np.array([[0.1], [0.2]]), tau=1.0,
    )  # fmt: skip
    assert len(fits) == 2
    assert len({each[4] for each in seen}) == len(seen)
    assert {each[3] for each in seen} == {7}
    second = [each for each in seen if each[0] == 2.0]
    assert all(each[5].a_v.value == 0.1 and each[6][0] == 0.2 and each[1] == 0.5 for each in second)
    assert all(each[7]["tau"] == 1.0 for each in seen)
    # Draws of all redshifts together are worth no more than there are.
    assert fits[0].ess <= len(fits[0].weights)


def test_refusals_and_cancelling():
    for z, p in (
        ([1.0, 1.0], [1, 1]),
        ([0.0, 1.0], [0, 0]),
        ([0.0, 1.0], [1, -1]),
        ([1.0], [1.0]),
        ([0, np.nan], [1, 1]),
    ):
        with pytest.raises(InputError):
            RedshiftGrid(z, p)
    with pytest.raises(InputError, match="no evidence"):
        fit_over_redshift(lambda z: made(z, math.nan), RedshiftGrid.uniform(1, 2))
    stop = threading.Event()

    def at(z):
        stop.set()
        return made(z, 0.0)

    with pytest.raises(ScLabError, match="cancelled after 1 redshifts"):
        fit_over_redshift(at, RedshiftGrid.uniform(1, 2), cancel=stop)


@pytest.mark.slow
def test_a_cluster_of_uncertain_redshift_agrees_with_joint_prior_monte_carlo():
    """Redshift, mass, dust and evidence are those of prior draws over the redshift too, through the exact model."""
    from sc_lab.inference.summary import weighted_quantile
    from sc_lab.sed import Uniform, fit_photometry, model_fluxes

    bands = ("F115W", "F150W", "F200W", "F277W", "F444W")
    model = SedModel(sfh="constant")
    # A break that falls between two bands at some of these redshifts; ages are old enough for prior draws to meet it.
    priors = Priors(age=Uniform(50.0, 900.0), log_mass_formed=Uniform(5.0, 10.0))
    truth = {"age": 300.0, "log_mass_formed": 7.5, "metallicity": 0.3, "a_v": 0.2, "log_u": -2.0}
    flux = model_fluxes(model, bands, 3.4, truth)[0]
    error = np.full(len(flux), float(np.mean(flux)) / 8)
    data = flux + error * np.random.default_rng(5).standard_normal(len(flux))
    grid = RedshiftGrid.gaussian(3.2, 0.25)
    fit = fit_photometry(data, error, bands, grid, model=model, priors=priors, error_floor=0.0, rng=1)

    rng = np.random.default_rng(6)
    n = 6000
    z = grid.quantile(rng.random(n))
    drawn = {name: getattr(priors, name).ppf(rng.random(n)) for name in ("age", "metallicity", "a_v", "log_u")}
    unit = model_fluxes(model, bands, z, {**drawn, "log_mass_formed": 0.0})
    nodes = np.linspace(5.0, 10.0, 1001)
    scaled = unit / error
    aa, ab = (scaled**2).sum(axis=1), scaled @ (data / error)
    mass = 10**nodes
    log_like = -0.5 * ((data / error) ** 2).sum() + ab[:, None] * mass - 0.5 * aa[:, None] * mass**2
    top = log_like.max()
    like = np.exp(log_like - top)
    weight = like.mean(axis=1)
    expected = math.log(weight.mean()) + top - float(np.log(error * math.sqrt(2 * math.pi)).sum())
    ess = weight.sum() ** 2 / (weight**2).sum()
    assert ess > 300
    # Three standard errors of the prior draws; the grid engine's own error is smaller.
    assert fit.log_evidence == pytest.approx(expected, abs=3 / math.sqrt(ess))
    cdf = np.cumsum(like, axis=1)
    log_mass = nodes[(cdf < (rng.random(n) * cdf[:, -1])[:, None]).sum(axis=1).clip(0, 1000)]
    for name, values in (("z", z), ("log_mass_formed", log_mass), ("a_v", drawn["a_v"]), ("age", drawn["age"])):
        low, middle, high = weighted_quantile(values, [0.16, 0.5, 0.84], weights=weight)
        noise = 0.5 * (high - low) / math.sqrt(ess)
        # Redshifts stand at nodes of at most 5 per cent each: half of one adds to the error.
        step = 0.05 * (high - low) if name == "z" else 0.0
        assert fit.quantile(name, 0.5) == pytest.approx(middle, abs=4 * 1.25 * noise + step), name
        assert fit.quantile(name, 0.16) == pytest.approx(low, abs=4 * 1.7 * noise + step), name
        assert fit.quantile(name, 0.84) == pytest.approx(high, abs=4 * 1.7 * noise + step), name
    # Spectra and histories are those of the parts, each at its own redshift.
    wavelength, band = fit.spectrum()
    assert band.shape == (3, len(wavelength))
    assert (band[0] <= band[2]).all()
    edges, rates = fit.sfh()
    assert rates.shape == (3, len(edges) - 1)
