"""Galaxies with a continuity history: against exact prior Monte Carlo, emcee, and their own mock galaxies."""

import math
import threading

import astropy.units as u
import numpy as np
import pytest
from scipy import stats

from sc_lab.errors import InputError, ScLabError
from sc_lab.inference.summary import weighted_quantile
from sc_lab.sed import Fixed, Gaussian, LogUniform, Priors, Uniform, fit_photometry, get_filters
from sc_lab.sed._bin_tables import make_bin_tables
from sc_lab.sed._continuity import StudentT, log_posterior_reference, make_problem, parameters_of
from sc_lab.sed._ensemble import draw_log_masses, log_posteriors, run_ensembles
from sc_lab.sed._posterior import mass_tables
from sc_lab.sed._posterior_grid import mass_prior
from sc_lab.sed.model import SedModel

BANDS = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W")
EDGES = (0.0, 30.0, 200.0, 1000.0, 3000.0)
Z = 2.0
PRIORS = Priors(a_v=Uniform(0, 2))
NAMES = ("log_mass", "sfr10", "sfr100", "age_mw", "a_v", "metallicity", "abs_mag_v")


@pytest.fixture(scope="module")
def small():
    """Tables of a history of four bins."""
    return make_bin_tables(SedModel(sfh="continuity", bin_edges=EDGES), get_filters(BANDS), Z, a_v_range=(0.0, 2.0))


def mock(tables, *, snr, seed, log_mass=9.0, steps=(0.2, -0.3, 0.4), metal=0.4, a_v=0.6, log_u=-2.0):
    """Return fluxes with noise, and errors [nJy], of a galaxy of four bins."""
    share = tables.history.fractions(np.array([steps]))
    flux = 10**log_mass * tables.fluxes(share, np.array([metal]), np.array([log_u]), np.array([a_v]))[0, :-1]
    error = np.abs(flux).mean() / snr * np.linspace(0.6, 1.4, len(flux))
    return flux + error * np.random.default_rng(seed).standard_normal(len(flux)), error


def prior_monte_carlo(tables, flux, sigma, priors, n, seed):
    """Draw from the prior in the plainest way, weigh by the likelihood, and sum over log mass on a grid."""
    rng = np.random.default_rng(seed)
    low, high = priors.log_mass_formed.low, priors.log_mass_formed.high
    steps = 0.3 * stats.t.ppf(rng.uniform(*stats.t.cdf([-10 / 0.3, 10 / 0.3], 2), (n, tables.n_sfh - 1)), 2)
    metal, a_v, log_u = (p.ppf(rng.random(n)) for p in (priors.metallicity, priors.a_v, priors.log_u))
    share = tables.history.fractions(steps)
    unit = tables.fluxes(share, metal, log_u, a_v)
    scaled = unit[:, :-1] / sigma
    aa, ab = (scaled**2).sum(axis=1), (scaled * (flux / sigma)).sum(axis=1)
    # Around the best mass of each draw, 7 sigma either way in log mass, is all its likelihood at these errors.
    peak = np.log10(np.maximum(ab / aa, 1e-3))
    width = np.minimum(7 * np.sqrt(1 / aa) / (10**peak * math.log(10)), 2.0)
    nodes = peak[:, None] + width[:, None] * np.linspace(-1, 1, 61)
    mass = 10**nodes
    log_like = -0.5 * (flux**2 / sigma**2).sum() + mass * ab[:, None] - 0.5 * mass**2 * aa[:, None]
    log_like = np.where((nodes > low) & (nodes < high), log_like, -np.inf)
    top = log_like.max()
    like = np.exp(log_like - top)
    weight = np.trapezoid(like, nodes, axis=1) / (high - low)
    constant = -np.log(sigma * math.sqrt(2 * math.pi)).sum()
    log_evidence = math.log(weight.mean()) + top + constant
    # One log mass for each draw, from its own conditional density.
    cdf = np.cumsum(like, axis=1)
    at = (cdf < (rng.random(n) * cdf[:, -1])[:, None]).sum(axis=1).clip(0, nodes.shape[1] - 1)
    log_mass_formed = nodes[np.arange(n), at]
    live = np.einsum("nk,nz,kz->n", share, tables.tables.metallicity_weights(metal), tables.history.live)
    formed = 10**log_mass_formed
    samples = {
        "log_mass": log_mass_formed + np.log10(live),
        "sfr10": formed * (share @ tables.history.sfr10),
        "sfr100": formed * (share @ tables.history.sfr100),
        "age_mw": share @ tables.history.age_mw / 1e6,
        "a_v": a_v,
        "metallicity": metal,
        "abs_mag_v": 31.4 - 2.5 * np.log10(formed * unit[:, -1]) + tables.tables.magnitude_offset,
    }
    return samples, weight, log_evidence


def fit(flux, error, **options):
    options = {"priors": PRIORS, "bin_edges": EDGES, "error_floor": 0.0, "rng": 1, **options}
    return fit_photometry(flux * u.nJy, error * u.nJy, BANDS, Z, sfh="continuity", **options)


@pytest.mark.parametrize(
    ("snr", "seed", "n"), [(4.0, 3, 15_000), pytest.param(10.0, 4, 60_000, marks=pytest.mark.slow)]
)
def test_four_bins_agree_with_prior_monte_carlo(small, snr, seed, n):
    """Quantiles and evidence are those of weighted prior draws, which share no code but the tables."""
    flux, error = mock(small, snr=snr, seed=seed)
    result = fit(flux, error, n_draws=20_000)
    truth = [prior_monte_carlo(small, flux, error, PRIORS, n, 10 + k) for k in range(4)]
    weights = np.concatenate([weight * math.exp(z - truth[0][2]) / weight.sum() for _, weight, z in truth])
    ess = weights.sum() ** 2 / (weights**2).sum()
    assert ess > 400
    for name in NAMES:
        values = np.concatenate([samples[name] for samples, _, _ in truth])
        low, middle, high = weighted_quantile(values, [0.16, 0.5, 0.84], weights=weights)
        # The median of n independent draws errs by about 1.25 sigma / sqrt(n), its tails by 1.5: both sides of it.
        noise = 0.5 * (high - low) * math.hypot(1 / math.sqrt(ess), 1 / math.sqrt(result.meta["chain_ess"]))
        assert result.quantile(name, 0.5) == pytest.approx(middle, abs=4 * 1.25 * noise), name
        assert result.quantile(name, 0.16) == pytest.approx(low, abs=4 * 1.7 * noise), name
        assert result.quantile(name, 0.84) == pytest.approx(high, abs=4 * 1.7 * noise), name
    log_z = np.array([z for _, _, z in truth])
    expected = math.log(np.exp(log_z - log_z.max()).mean()) + log_z.max()
    # Four standard errors of both estimates.
    error_z = math.hypot(1 / math.sqrt(ess), result.meta["log_evidence_err"])
    assert result.log_evidence == pytest.approx(expected, abs=4 * error_z)


def test_compiled_posterior_is_the_plain_one(small):
    """The loops, on a fine grid of A_V, give the NumPy posterior from the tables' own nodes, whatever the priors."""
    flux, error = mock(small, snr=15.0, seed=1)
    flux[2] = np.nan
    rng = np.random.default_rng(2)
    shape = np.linspace(0.0, 0.2, len(flux))
    cases = (
        (PRIORS, None, True),
        (PRIORS, shape, True),
        (PRIORS, None, False),
        (Priors(a_v=Fixed(0.3), log_u=Fixed(-2.0)), None, True),
        (Priors(metallicity=Gaussian(0.4, 0.2, low=0.01), log_mass_formed=Gaussian(9.0, 0.5)), shape, True),
        (Priors(a_v=LogUniform(0.01, 2.0), log_mass_formed=Uniform(7.0, 8.0)), None, True),
    )
    for priors, shape_err, marginal in cases:
        problem = make_problem(flux, error, small, priors, shape_err=shape_err, marginalise_mass=marginal)
        points = 0.8 * rng.standard_normal((60, problem.n_dim))
        plain, fast = log_posterior_reference(points, problem), log_posteriors(points, problem.packed)
        assert (np.isfinite(plain) == np.isfinite(fast)).all()
        seen = np.isfinite(plain)
        assert seen.sum() > 15
        # A cubic between A_V nodes 1/32 mag apart errs by 1e-6 of the flux; chi-squared is up to 1e4 here.
        assert np.abs(plain[seen] - fast[seen]).max() < 1e-2 * max(1.0, 1e-3 * np.abs(plain[seen]).max())
        python = log_posteriors(points[:20], problem.packed, engine="python")
        assert python == pytest.approx(fast[:20], rel=1e-9)


def test_coordinates_are_standard_normal_under_the_prior(small):
    """Steps follow Student's t of two degrees of freedom and scale 0.3, cut at 10 dex; the others their priors."""
    flux, error = mock(small, snr=15.0, seed=1)
    problem = make_problem(flux, error, small, PRIORS)
    values = parameters_of(np.random.default_rng(3).standard_normal((20_000, problem.n_dim)), problem)
    cut = stats.t.cdf([-10 / 0.3, 10 / 0.3], 2)
    for name in ("dsfr1", "dsfr3"):
        rank = (stats.t.cdf(values[name] / 0.3, 2) - cut[0]) / (cut[1] - cut[0])
        assert stats.kstest(rank, "uniform").pvalue > 1e-3
    for name in ("metallicity", "a_v", "log_u"):
        assert stats.kstest(getattr(PRIORS, name).cdf(values[name]), "uniform").pvalue > 1e-3
    assert StudentT().ppf(np.array([0.1, 0.5, 0.9])) == pytest.approx(
        0.3 * stats.t.ppf(cut[0] + (cut[1] - cut[0]) * np.array([0.1, 0.5, 0.9]), 2), abs=1e-12
    )


def test_masses_are_drawn_from_their_density():
    """At signal-to-noise 12, 2 and -1 the drawn masses follow the closed density of ln M, a cut Gaussian of M."""
    rng = np.random.default_rng(4)
    for s in (12.0, 2.0, -1.0):
        n = 20_000
        drawn = draw_log_masses(
            np.full(n, 1e-16), np.full(n, s * 1e-8), *mass_prior(Uniform(7.0, 12.0)), mass_tables()[1], rng
        )
        x = np.linspace(math.log(1e-1), math.log(1e4), 200_001)
        density = np.exp(s * np.exp(x) - 0.5 * np.exp(2 * x) - max(s, 0) ** 2 / 2)
        cdf = np.cumsum(density) / density.sum()
        rank = np.interp(drawn * math.log(10) + math.log(1e-8), x, cdf)
        assert stats.kstest(rank, "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_emcee_on_the_plain_likelihood_gives_the_same(small):
    """The reference path shares neither sampler nor likelihood with the compiled one."""
    flux, error = mock(small, snr=10.0, seed=5)
    fast = fit(flux, error, n_draws=10_000)
    slow = fit(flux, error, n_draws=10_000, sampler="emcee", max_steps=2500)
    for name in NAMES:
        low, middle, high = fast.quantile(name, [0.16, 0.5, 0.84])
        noise = 0.5 * (high - low) * math.hypot(*(1 / math.sqrt(each.meta["chain_ess"]) for each in (fast, slow)))
        assert slow.quantile(name, 0.5) == pytest.approx(middle, abs=5 * 1.25 * noise), name
    errors = [each.meta["log_evidence_err"] for each in (fast, slow)]
    assert slow.log_evidence == pytest.approx(fast.log_evidence, abs=4 * math.hypot(*errors) + 0.02)


@pytest.mark.slow
def test_ranks_of_mock_galaxies_are_uniform(small):
    """Simulation-based calibration (Talts et al. 2018): truths drawn from the prior fall anywhere in their posteriors."""
    rng = np.random.default_rng(6)
    n, ranks = 120, {name: [] for name in ("log_mass_formed", "dsfr1", "dsfr3", "a_v", "metallicity")}
    priors = Priors(a_v=Uniform(0, 2), log_mass_formed=Uniform(8.0, 10.0))
    for _ in range(n):
        steps = StudentT().ppf(rng.random(3))
        metal, a_v, log_u, log_mass = (
            float(p.ppf(rng.random())) for p in (priors.metallicity, priors.a_v, priors.log_u, priors.log_mass_formed)
        )
        share = small.history.fractions(steps[None])
        flux = 10**log_mass * small.fluxes(share, np.array([metal]), np.array([log_u]), np.array([a_v]))[0, :-1]
        # Errors must not tell the truth: the same for all.
        error = np.full(len(flux), 2.0)
        data = flux + error * rng.standard_normal(len(flux))
        problem = make_problem(data, error, small, priors)
        run = run_ensembles(problem.packed, problem.n_dim, rng=rng, max_steps=2400, evidence=False)
        pick = run.points[rng.choice(len(run.points), 500, replace=False)]
        values = parameters_of(pick, problem)
        unit = small.fluxes(
            small.history.fractions(problem.steps(values)), values["metallicity"], values["log_u"], values["a_v"]
        )[:, :-1]
        aa, ab = (unit**2).sum(axis=1) / 4.0, (unit * data).sum(axis=1) / 4.0
        values["log_mass_formed"] = draw_log_masses(aa, ab, *problem.packed[13:15], problem.packed[16], rng)
        truth = {"log_mass_formed": log_mass, "dsfr1": steps[0], "dsfr3": steps[2], "a_v": a_v, "metallicity": metal}
        for name, each in ranks.items():
            each.append(float((values[name] < truth[name]).mean()))
    for name, each in ranks.items():
        # Five tests, seeded: a chance of 0.5 per cent in all that a right sampler would fail.
        assert stats.kstest(each, "uniform").pvalue > 1e-3, name


def test_histories_are_those_of_the_bins(small):
    """The band of SFR(t) has the truth inside, and rates over 10 and 100 Myr follow from it."""
    steps = (0.2, -0.3, 0.4)
    flux, error = mock(small, snr=200.0, seed=7, steps=steps)
    result = fit(flux, error)
    edges, sfr = result.sfh([0.005, 0.5, 0.995])
    assert edges == pytest.approx(EDGES)
    share = small.history.fractions(np.array([steps]))[0]
    truth = 1e9 * share / (np.diff(EDGES) * 1e6)
    assert ((sfr[0] < truth) & (truth < sfr[2])).all()
    # Ten Myr lie within the first bin, so their rate is that of the bin.
    assert result.quantile("sfr10", 0.5) == pytest.approx(sfr[1, 0], rel=0.1)  # medians of different draws
    assert result.quantile("log_mass", 0.5) < result.quantile("log_mass_formed", 0.5)


def test_mass_and_rates_scale_with_the_flux(small):
    flux, error = mock(small, snr=10.0, seed=8)
    one, ten = fit(flux, error), fit(10 * flux, 10 * error)
    assert ten.samples["log_mass"] - one.samples["log_mass"] == pytest.approx(np.ones(len(one.weights)), abs=1e-4)
    assert ten.samples["sfr10"] == pytest.approx(10 * one.samples["sfr10"], rel=1e-3)
    assert ten.log_evidence - one.log_evidence == pytest.approx(-len(flux) * math.log(10), abs=1e-3)


def test_a_band_of_infinite_error_or_without_flux_changes_nothing(small):
    flux, error = mock(small, snr=10.0, seed=9)
    short = fit_photometry(
        flux[:-1] * u.nJy, error[:-1] * u.nJy, BANDS[:-1], Z, sfh="continuity", bin_edges=EDGES, priors=PRIORS, rng=1,
        error_floor=0.0,
    )  # fmt: skip
    error[-1] = np.inf
    long = fit(flux, error)
    flux[-1] = np.nan
    gone = fit(flux, error)
    for other in (long, gone):
        assert other.samples["log_mass"] == pytest.approx(short.samples["log_mass"], abs=1e-9)
        assert other.log_evidence == pytest.approx(short.log_evidence, abs=1e-9)


def test_shape_error_widens_the_mass(small):
    """An error of 30 per cent common to all bands is one of 0.13 dex in the mass, and of nothing else."""
    flux, error = mock(small, snr=100.0, seed=10)
    plain, common = fit(flux, error), fit(flux, error, shape_err=0.3)

    def width(result, name):
        low, high = result.quantile(name, [0.16, 0.84])
        return 0.5 * (high - low)

    expected = math.hypot(width(plain, "log_mass"), 0.3 / math.log(10))
    # exp of a normal of 0.3 is skewed by a tenth of its width.
    assert width(common, "log_mass") == pytest.approx(expected, rel=0.15)
    assert width(common, "a_v") == pytest.approx(width(plain, "a_v"), rel=0.15)  # noise of the chains


def test_a_gaussian_of_dust_needs_no_limit(small):
    """A narrow one replaces what the data say."""
    flux, error = mock(small, snr=5.0, seed=3)
    fit = fit_photometry(
        flux * u.nJy, error * u.nJy, BANDS, Z, sfh="continuity", bin_edges=EDGES, priors=Priors(a_v=Gaussian(0.6, 0.01)),
        rng=1,
    )  # fmt: skip
    # 1000 draws know the median to 4 % of sigma; data of S/N 5 in 8 bands know A_V twenty times worse.
    assert fit.quantile("a_v", 0.5) == pytest.approx(0.6, abs=0.003)


def test_the_same_seed_gives_the_same_draws(small):
    flux, error = mock(small, snr=10.0, seed=11)
    assert (fit(flux, error).samples["a_v"] == fit(flux, error).samples["a_v"]).all()
    assert (fit(flux, error).samples["a_v"] != fit(flux, error, rng=2).samples["a_v"]).any()


def test_galaxies_of_a_table_are_those_fitted_alone(small):
    """Side by side in threads, each with its own random numbers."""
    rows = [mock(small, snr=10.0, seed=seed) for seed in (21, 22, 23)]
    flux, error = (np.stack(each) for each in zip(*rows, strict=True))
    together = fit(flux, error)
    for k in (0, 2):
        alone = fit(flux[k], error[k], streams=[k])
        assert (alone.samples["log_mass"] == together[k].samples["log_mass"]).all()
    assert together.quantile("sfr10", [0.16, 0.5, 0.84]).shape == (3, 3)


def test_bins_end_below_the_age_of_the_universe():
    flux, error = np.full(len(BANDS), 50.0), np.full(len(BANDS), 5.0)
    for z in (1.0, 4.33, 6.0):
        result = fit_photometry(flux, error, BANDS, z, sfh="continuity", rng=1)
        edges = result.meta["bin_edges_myr"]
        from sc_lab.cosmology import age_of_universe

        assert edges[-1] < age_of_universe(z).to_value(u.Myr)
        assert edges[:4] == [0, 10, 30, 50]
        assert sum(name.startswith("dsfr") for name in result.samples) == len(edges) - 2
        assert "age" not in result.samples


def test_cautions_and_refusals(small):
    flux, error = mock(small, snr=50.0, seed=12, a_v=1.9)
    leaning = fit(flux, error, priors=Priors(a_v=Uniform(0, 0.3)))
    assert any("leans on the upper limit" in each and "a_v" in each for each in leaning.cautions)
    short = fit(flux, error, max_steps=200)
    assert any("independent" in each or "autocorrelation" in each for each in short.cautions)
    with pytest.raises(InputError, match="sampler is 'nuts'"):
        fit(flux, error, sampler="nuts")
    stop = threading.Event()
    with pytest.raises(ScLabError, match="cancelled"):
        fit(flux, error, progress=lambda _done, _total: stop.set(), cancel=stop)
