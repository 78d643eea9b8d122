"""The mock population: the paper's shape, honest errors, and a truth that analyses recover."""

import re
from contextlib import contextmanager

import numpy as np
import pytest
from scipy.special import gamma, gammaincc
from scipy.stats import kstest, spearmanr

from sc_lab.catalog import flags, texts, validate, values
from sc_lab.cmf import MassFunctionGrid, mass_function
from sc_lab.colours import gc_membership
from sc_lab.cosmology import default_cosmology, describe
from sc_lab.density_size import surface_density
from sc_lab.errors import InputError
from sc_lab.mock import make_population
from sc_lab.mock.fields import FIELDS, share
from sc_lab.mock.light import BANDS, GLOBULARS, SOLAR, Light
from sc_lab.mock.population import _masses
from sc_lab.population import analyse
from sc_lab.properties import joint_draws, lens_models, reference_values, select_candidates, summarise
from sc_lab.sed import SedModel, fit_photometry, model_fluxes

#: Claeyssens et al. 2026, table 1: clumps and candidates.
TABLE_1 = {
    "AS1063": (451, 145),
    "A2744": (1920, 25),
    "SMACS0723": (148, 32),
    "WHL0137": (6, 5),
    "SPT0615": (5, 5),
    "MACSJ1423": (10, 10),
}
#: Standard deviations from the median to the 84 % quantile.
Z84 = 0.994458
MODELS = ("", "m2", "m3")


@pytest.fixture(scope="module")
def population():
    return make_population()


@pytest.fixture(scope="module")
def large():
    """Return a mock large enough for sharp statistics."""
    return make_population(n=30_000, rng=7, draws=0)


def _membership(catalog):
    mags = [values(catalog, f"mag_{band}") for band in ("f150w", "f200w", "f356w")]
    errs = {f"err_{band}": values(catalog, f"mag_{band}_err") for band in ("f150w", "f200w", "f356w")}
    return gc_membership(*mags, **errs)


def _candidates(catalog, *, threshold=20.0, lens_model=""):
    ref = reference_values(catalog, lens_model)
    small = select_candidates(ref.r_eff, threshold=threshold, is_limit=ref.r_eff_is_limit)
    return small & ~_membership(catalog).inside


def _pull(catalog, name, truth):
    """Return the deviation in units of the stated errors, for log-normal columns."""
    value, low, high = (values(catalog, name + end) for end in ("", "_err_lo", "_err_hi"))
    deviation = np.log(value / truth)
    width = np.where(deviation > 0, -np.log1p(-low / value), np.log1p(high / value)) / Z84
    pull = deviation / width
    return pull[np.isfinite(pull)]


def test_the_same_seed_gives_the_same_catalogue_and_another_does_not(population):
    again, other = make_population(rng=1), make_population(rng=2)
    assert population.catalog.meta["sc_lab"]["sha256"] == again.catalog.meta["sc_lab"]["sha256"]
    assert population.catalog.meta["sc_lab"]["sha256"] != other.catalog.meta["sc_lab"]["sha256"]
    for name in again.truth.colnames:
        np.testing.assert_array_equal(population.truth[name], again.truth[name])


def test_the_catalogue_is_valid_and_says_where_it_comes_from(population):
    checked = validate(population.catalog)
    assert len(checked) == 2540
    record = checked.meta["sc_lab"]
    assert record["source"] == "mock population, seed 1"
    assert re.fullmatch(r"[0-9a-f]{64}", record["sha256"])
    assert record["cosmology"] == describe(default_cosmology())
    assert any("no real object" in note for note in record["notes"])


def test_fields_have_the_paper_s_numbers_of_clumps(population):
    fields = np.array(texts(population.catalog, "field"))
    assert {name: int((fields == name).sum()) for name in TABLE_1} == {name: n for name, (n, _) in TABLE_1.items()}


@pytest.mark.parametrize("n", [1, 7, 100, 2541, 50_000])
def test_any_number_is_shared_out_completely(n):
    assert share(n).sum() == n
    assert share(n).min() >= 0


def test_identifiers_are_unique_and_speak(population):
    ids = texts(population.catalog, "id")
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Z0-9]+-\d{4}", name) for name in ids)
    assert ids[0] == "AS1063-0001"


def test_candidates_come_out_near_the_paper_s_numbers(large):
    catalog = large.catalog
    scale = len(catalog) / 2540
    fields = np.array(texts(catalog, "field"))
    small = _candidates(catalog)
    for name, (n, wanted) in TABLE_1.items():
        found = (small & (fields == name)).sum() / scale
        # The field models are tuned by eye to a quarter; five Poisson deviations of this realisation on top.
        assert found <= n * 1.05, name
        assert abs(found - wanted) < 0.25 * wanted + 5 * np.sqrt(wanted / scale), name
    for threshold, wanted in ((20, 222), (30, 353), (50, 723)):
        # Tuned to a tenth.
        assert _candidates(catalog, threshold=threshold).sum() / scale == pytest.approx(wanted, rel=0.10)
    # 98 of the 222 are limits.
    assert (small & flags(catalog, "r_eff_is_limit")).sum() / scale == pytest.approx(98, rel=0.2)


def test_the_default_population_is_an_ordinary_one(population):
    catalog = population.catalog
    ref, small = reference_values(catalog), _candidates(catalog)
    # Three to four Poisson deviations about the paper's numbers.
    assert small.sum() == pytest.approx(222, abs=50)
    in_cut = small & (ref.age < 100) & (ref.mass > 2e6)
    assert in_cut.sum() == pytest.approx(61, abs=25)
    z = values(catalog, "z")
    assert 0.5 <= z.min() < 1.0
    assert z.max() == 9.6


def test_the_demonstration_shows_what_the_paper_shows(population):
    """Seed 1 is chosen to be ordinary: numbers near the paper's, and fits near its table 2.

    Beside globular clusters the colour box holds young clusters whose lines fill the F200W band, at z = 0.9 and 3.5.
    """
    analysed = analyse(population.catalog)
    counts = analysed.counts
    assert 215 <= counts["candidates"] <= 230
    assert counts["candidate_limits"] == pytest.approx(98, abs=10)  # one Poisson deviation
    assert 55 <= counts["mass_function"] <= 65
    # 38 in the paper; here some 30 globular clusters, and some 15 young clusters by their lines.
    assert counts["globular_clusters"] == pytest.approx(44, abs=8)
    assert 8 <= counts["formed_before_z4"] <= 14
    power_law, schechter = (analysed.mass_function(model) for model in ("power_law", "schechter"))
    # Half of the paper's intervals.
    assert power_law.quantile("beta", 0.5) == pytest.approx(-1.89, abs=0.07)
    assert schechter.quantile("beta", 0.5) == pytest.approx(-1.70, abs=0.10)
    assert schechter.quantile("log_mc", 0.5) == pytest.approx(8.14, abs=0.23)
    # Peaked inside the prior, which ends at 9; sixty clusters leave some of the tail to reach it, as in the paper.
    assert 7.5 < schechter.mode("log_mc") < 8.3
    density = schechter.posterior("log_mc")[1]
    assert density[-1] < 0.5 * density.max()
    # No cluster stands out from the fit: its chances are uniform.
    mass = analysed.sample_masses
    chance = mass_function("schechter", 2e6).survival(
        mass, *(np.atleast_1d(schechter.quantile(name, 0.5)) for name in ("beta", "log_mc"))
    )[0]
    assert kstest(chance, "uniform").pvalue > 0.2
    assert len(mass) * chance.min() > 0.3


def _exceeding(mass, *, beta, log_mc, above):
    """Return the chance to exceed a mass, by the recurrence of the incomplete gamma function."""
    order = beta + 2  # of the regular function, between 0 and 1
    t = np.asarray(mass) / 10**log_mc
    t0 = above / 10**log_mc

    def upper(x):
        return (gamma(order) * gammaincc(order, x) - x ** (order - 1) * np.exp(-x)) / (order - 1)

    return upper(t) / upper(t0)


def _true_clusters(truth):
    """Return the true masses of young clusters: small sources, each once however many images it has."""
    once = np.asarray(truth["source"]) == np.arange(len(truth))
    chosen = once & (truth["r_eff"].value < 20) & (truth["age_onset"].value < 100)
    return truth["mass"].value[chosen]


def _law(truth):
    return {name: truth.meta["mass_function"][name] for name in ("beta", "log_mc", "above")}


def test_the_catalogue_names_its_true_mass_function(population):
    """The Schechter function of Claeyssens et al. 2026, table 2, first lens model."""
    law = population.truth.meta["mass_function"]
    assert law["model"] == "schechter"
    assert law["beta"] == pytest.approx(-1.70)
    assert law["log_mc"] == pytest.approx(8.14)
    # The sample begins above the break: three deviations of the typical error of ln M, 0.25, lie between.
    assert law["above"] < 2e6 / np.exp(0.7)


def test_true_masses_are_the_inverse_of_the_schechter_function(large):
    """The numerical table against the incomplete gamma function, from the break into the far tail."""
    law = _law(large.truth)
    uniform = np.concatenate([np.linspace(0, 1, 5000, endpoint=False), 1 - np.logspace(-4, -15, 100)])
    mass = _masses(uniform)
    assert (np.diff(_masses(np.sort(uniform))) > 0).all()
    above = mass >= law["above"]
    survival = _exceeding(mass[above], **law)
    share_above = 1 - uniform[above][0]
    # Masses right to 1e-6 are chances right to M / M_c = 30 times that; a uniform of 1 - 1e-12 is rounded by 1e-4.
    wanted = (1 - uniform[above]) / share_above
    well = wanted > 1e-12
    np.testing.assert_allclose(survival[well], wanted[well] * survival[0] / wanted[0], rtol=2e-4)
    assert np.isfinite(mass).all()
    # Flat below the break, and continuous there: equal numbers in equal steps of mass on both sides.
    low = mass[~above]
    np.testing.assert_allclose(np.diff(low[:1000]), np.diff(low[:1000])[0], rtol=1e-6)
    rate_below = (uniform[~above][1] - uniform[~above][0]) / (low[1] - low[0])
    rate_above = (uniform[above][1] - uniform[above][0]) / (mass[above][1] - mass[above][0])
    assert rate_above == pytest.approx(rate_below, rel=0.01)  # one step of 1/5000 above the break


@contextmanager
def bland_light():
    """Make light quickly for tests of masses: every cluster one colour outside the box, globular clusters inside."""

    def one_colour(z, age, a_v, metallicity, log_u, *, bands=BANDS, model=None):
        del z, a_v, metallicity, log_u
        old = model is GLOBULARS
        magnitude = {"f150w": 0.15 if old else -0.2, "f356w": 0.75 if old else 0.2}
        flux = [10 ** (-0.4 * magnitude.get(band, 0.0)) for band in bands]
        n = len(age)
        return Light(np.tile(flux, (n, 1)) * 1e-6, np.full(n, 5.0), np.full(n, 1.2))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sc_lab.mock.population.light", one_colour)
        yield


def test_true_masses_of_young_clusters_follow_the_schechter_function():
    """Kolmogorov-Smirnov over sixty populations: their chances are uniform, and none is odd by itself."""
    chances = []
    for seed in range(60):
        with bland_light():
            truth = make_population(n=800, rng=seed, draws=0).truth
        law = _law(truth)
        mass = _true_clusters(truth)
        mass = mass[mass > law["above"]]
        chances.append(kstest(mass, lambda m, law=law: 1 - _exceeding(m, **law)).pvalue)
    # One false alarm in a thousand, and one in a thousand among sixty.
    assert kstest(chances, "uniform").pvalue > 1e-3
    assert min(chances) > 1e-3 / 60


@pytest.fixture(scope="module")
def forty():
    """Masses above 2e6 Msun in forty populations: the true ones and those observed, apart and together."""
    true, observed = [], []
    for seed in range(40):
        with bland_light():
            population = make_population(rng=seed, draws=0)
        mass = _true_clusters(population.truth)
        true.append(mass[mass > 2e6])
        ref = reference_values(population.catalog)
        observed.append(ref.mass[_candidates(population.catalog) & (ref.age < 100) & (ref.mass > 2e6)])
    return true, observed


def test_a_fit_to_true_masses_recovers_the_schechter_function(forty, population):
    """Forty populations together are one sharp sample; apart, 68 % of their intervals hold the truth."""
    true, _ = forty
    law, grid = _law(population.truth), MassFunctionGrid("schechter", m_min=2e6)
    joint = grid.fit(np.concatenate(true), rng=1)
    for name in ("beta", "log_mc"):
        low, middle, high = joint.quantile(name, [0.16, 0.5, 0.84])
        assert high - low < {"beta": 0.1, "log_mc": 0.3}[name]  # constrained, far from its prior
        assert abs(middle - law[name]) < 3 * (high - low) / 2, name
        apart = [grid.fit(mass, rng=1).quantile(name, [0.16, 0.84]) for mass in true]
        held = np.mean([low < law[name] < high for low, high in apart])
        # Three binomial deviations of forty.
        assert held == pytest.approx(0.68, abs=3 * np.sqrt(0.68 * 0.32 / 40)), name


def test_observed_masses_bias_the_fit_by_what_errors_and_the_dropped_cluster_explain(forty):
    """Against the true masses of the same populations, so that chance cancels in part.

    Errors of 0.3 in ln M leave a power law its slope but carry clusters over the exponential cut-off: over 320
    populations log M_c rises by 0.04 and the slope stays within 0.01. Leaving out the most massive cluster of
    every sample, as the paper does, is a cut that the likelihood does not know: log M_c falls by 0.34 and the
    slope flattens by 0.08.
    """
    true, observed = forty
    grid = MassFunctionGrid("schechter", m_min=2e6)
    dropped = [np.sort(mass)[:-1] for mass in observed]
    fits = [grid.fit(np.concatenate(masses), rng=1) for masses in (true, observed, dropped)]
    beta, log_mc = ([fit.quantile(name, 0.5) for fit in fits] for name in ("beta", "log_mc"))
    # Three deviations of forty populations about the bias: 0.035 and 0.085, as each sample has clusters of its own.
    assert beta[1] - beta[0] == pytest.approx(0.0, abs=0.105)
    assert log_mc[1] - log_mc[0] == pytest.approx(0.04, abs=0.255)
    # The same clusters but one in sixty: 0.025 and 0.04.
    assert beta[2] - beta[1] == pytest.approx(0.085, abs=0.075)
    assert log_mc[2] - log_mc[1] == pytest.approx(-0.34, abs=0.12)
    # A power law through the same: near the paper's -1.89, 0.06 steeper for the dropped cluster; five standard
    # errors of the mean of forty (0.12 / sqrt(40) = 0.02).
    power_law = MassFunctionGrid("power_law", m_min=2e6)
    medians = [power_law.fit(mass, rng=1).quantile("beta", 0.5) for mass in dropped]
    assert np.mean(medians) == pytest.approx(-1.95, abs=0.10)
    # A single population scatters as the paper's interval, a little more for clumps with several images.
    assert np.std(medians) == pytest.approx(0.13, abs=0.05)


@pytest.mark.parametrize("name", ["mu", "mu_t", "mu_m2", "mu_m3", "age_onset", "mass", "sfr", "r_eff"])
def test_errors_are_honest(large, name):
    """Pulls are standard normals: mean 0, deviation 1, and 68 % within one."""
    catalog, truth = large.catalog, large.truth
    real = np.asarray(truth["mu_t" if name == "mu_t" else name.split("_m")[0] if "_m" in name else name].value)
    ratio = np.asarray(truth["mu"].value) / values(catalog, "mu")
    if name in ("mass", "sfr"):
        real = real * ratio
    if name == "r_eff":
        real = np.where(flags(catalog, "r_eff_is_limit"), np.nan, real * np.sqrt(ratio))
    pull = _pull(catalog, name, real)
    n = len(pull)
    assert n > 1000
    # Five standard errors each. Rates below what can be seen are cut by value, which shifts the faintest.
    slack = 0.05 if name == "sfr" else 0.0
    assert abs(pull.mean()) < 5 / np.sqrt(n) + slack
    assert abs(pull.std() - 1) < 5 / np.sqrt(2 * n) + slack
    assert np.mean(abs(pull) < 1) == pytest.approx(0.6827, abs=5 * np.sqrt(0.6827 * 0.3173 / n) + slack)


@pytest.mark.parametrize("model", MODELS)
def test_intervals_of_joint_draws_hold_68_percent_of_the_truths(population, model):
    catalog, truth = population.catalog, population.truth
    draws = joint_draws(catalog, n_draws=300, lens_model=model, rng=1)
    resolved = ~flags(catalog, "r_eff_is_limit")
    density = surface_density(truth["mass"], truth["r_eff"]).value
    checks = {
        "mass": (draws.mass, truth["mass"].value),
        "age": (draws.age, truth["age_onset"].value),
        "sigma": (surface_density(draws.mass, draws.r_eff).value, np.where(resolved, density, np.nan)),
    }
    for name, (drawn, real) in checks.items():
        median, low, high = summarise(drawn)
        known = np.isfinite(median) & np.isfinite(real)
        inside = (real > median - low) & (real < median + high)
        # Four binomial deviations, 0.02 for 100 posterior draws, and the images of one clump share its truth.
        limit = 4 * np.sqrt(0.68 * 0.32 / known.sum()) + 0.02
        if model:
            # A second model corrects the magnification with which masses were made: its own errors,
            # and still those of the reference, so that it holds no fewer.
            assert 0.68 - limit < inside[known].mean() < 0.80, name
        else:
            assert inside[known].mean() == pytest.approx(0.68, abs=limit), name


def test_size_limits_lie_above_the_truth(large):
    catalog, truth = large.catalog, large.truth
    limit = flags(catalog, "r_eff_is_limit") & ~np.asarray(truth["is_gc"])
    stretched = values(catalog, "r_eff") * values(catalog, "mu_t")
    real = np.asarray((truth["r_eff"] * truth["mu_t"]).value)
    assert limit.any()
    assert (stretched[limit] >= real[limit] * (1 - 1e-12)).all()
    assert np.isnan(values(catalog, "r_eff_err_lo")[limit]).all()


def test_globular_clusters_of_the_lens_lie_in_the_colour_box(large):
    catalog, truth = large.catalog, large.truth
    inside, is_gc = _membership(catalog).inside, np.asarray(truth["is_gc"])
    assert set(np.array(texts(catalog, "field"))[is_gc]) == {"AS1063"}
    # All lie inside in truth, 0.02 to 0.15 mag from its edges; colours of the faintest scatter by 0.15 mag.
    colours = [np.asarray(truth[f"colour_{axis}"].value)[is_gc] for axis in "xy"]
    assert gc_membership(colours[1], np.zeros(is_gc.sum()), -colours[0]).inside.all()
    assert inside[is_gc].mean() > 0.7
    # Lines give a few clusters of 2 to 7 Myr the same colours.
    assert inside[~is_gc].mean() < 0.01
    assert (truth["age_onset"].value[inside & ~is_gc & (values(catalog, "mag_f200w") < 28)] < 10).mean() > 0.9
    # 38 in the paper; five Poisson deviations of the larger sample, and a quarter for the tuning by eye.
    scale = len(catalog) / 2540
    assert inside.sum() / scale == pytest.approx(44, abs=5 * np.sqrt(44 / scale) + 8)
    assert np.isnan(truth["mass"][is_gc]).all()


def test_some_clumps_have_several_images_that_share_their_truth(population):
    catalog, truth = population.catalog, population.truth
    source = np.asarray(truth["source"])
    again = np.flatnonzero(np.isin(source, np.flatnonzero(np.bincount(source) > 1)))
    assert 100 < len(again) < 800
    system, image = np.array(texts(catalog, "system")), np.array(texts(catalog, "image"))
    for row in again:
        first = source[row]
        assert system[row] == system[first]
        if row != first:
            assert image[row] != image[first]
            assert truth["mass"][row] == truth["mass"][first]
            assert truth["mu"][row] != truth["mu"][first]
            assert truth["z"][row] == truth["z"][first]


def test_lens_models_differ_more_where_magnification_is_high_and_end_at_their_maps(large):
    catalog = large.catalog
    assert lens_models(catalog) == MODELS
    mu = values(catalog, "mu")
    for model in MODELS[1:]:
        other = values(catalog, f"mu_{model}")
        assert 0.005 < np.isnan(other).mean() < 0.2
        scatter = np.log(other / mu)
        assert np.nanstd(scatter[mu > 40]) > 1.5 * np.nanstd(scatter[mu < 15])
        found, reference = (_candidates(catalog, lens_model=name).sum() for name in (model, ""))
        assert found == pytest.approx(reference, rel=0.2)  # 145, 140 and 152 in the paper


def test_posterior_draws_have_the_stated_errors_and_correlate(population):
    catalog = population.catalog
    for name in ("mass", "age_onset"):
        median, low, high = summarise(values(catalog, f"{name}_draws").T)
        value = values(catalog, name)
        # A hundred draws scaled to the right deviation: medians to 0.1 of a width of at most 0.8, ends likewise.
        np.testing.assert_allclose(np.median(np.abs(np.log(median / value))), 0, atol=0.08)
        for drawn, stated in ((low, values(catalog, f"{name}_err_lo")), (high, values(catalog, f"{name}_err_hi"))):
            assert np.median(drawn / stated) == pytest.approx(1, abs=0.05)
    mass, age = values(catalog, "mass_draws"), values(catalog, "age_onset_draws")
    rho = [spearmanr(mass[row], age[row]).statistic for row in range(0, 2540, 50)]
    assert np.mean(rho) == pytest.approx(0.58, abs=0.05)  # rank correlation of a normal one of 0.6
    sizes = values(catalog, "r_eff_draws")
    np.testing.assert_array_equal(np.isnan(sizes).all(axis=1), flags(catalog, "r_eff_is_limit"))


def test_positions_lie_in_their_fields(population):
    catalog = population.catalog
    ra, dec, fields = values(catalog, "ra"), values(catalog, "dec"), np.array(texts(catalog, "field"))
    for field in FIELDS:
        rows = fields == field.name
        offset = np.hypot((ra[rows] - field.ra) * np.cos(np.radians(field.dec)), dec[rows] - field.dec) * 3600
        assert offset.max() < 180  # a NIRCam module is 132 arcsec wide
        assert len(offset) == TABLE_1[field.name][0]


def test_magnitudes_are_honest_and_stop_at_the_lyman_edge(large):
    catalog, truth = large.catalog, large.truth
    x = values(catalog, "mag_f200w") - values(catalog, "mag_f356w")
    width = np.hypot(values(catalog, "mag_f200w_err"), values(catalog, "mag_f356w_err"))
    pull = (x - np.asarray(truth["colour_x"].value)) / width
    pull = pull[np.isfinite(pull)]
    assert abs(pull.std() - 1) < 5 / np.sqrt(2 * len(pull))
    # 0.1216 micron * 8.5 is beyond F090W; what the intergalactic medium lets through is far below the depth.
    far = (values(catalog, "z") > 7.5) & ~np.asarray(truth["is_gc"])
    assert np.isnan(values(catalog, "mag_f090w")[far]).all()


def test_fluxes_are_those_of_stellar_population_models_for_the_true_stars(population):
    """Recomputed from the truth table with the public model; observed fluxes carry Gaussian noise of their errors."""
    catalog, truth = population.catalog, population.truth
    rows = np.flatnonzero(~np.asarray(truth["is_gc"]))[::20]
    stars = {
        "age": truth["age_onset"].value[rows],
        "a_v": truth["a_v"].value[rows],
        "metallicity": truth["metallicity"][rows] / SOLAR,
        "log_u": truth["log_u"][rows],
        "log_mass_formed": np.zeros(len(rows)),
    }
    z = np.asarray(truth["z"])[rows]
    unit = model_fluxes(SedModel(tau=1.0), [band.upper() for band in BANDS], z, stars, with_v=True)
    flux = np.stack([truth[f"flux_{band}"].to_value("nJy")[rows] for band in BANDS], axis=1)
    formed = flux[:, 5] / unit[:, 5] / truth["mu"][rows]
    np.testing.assert_allclose(flux, unit[:, :-1] * (formed * truth["mu"][rows])[:, None], rtol=1e-9)
    # Living mass, without what stars have lost: all of it at first, half after some Gyr (Bruzual & Charlot 2003).
    living = truth["mass"].value[rows] / formed
    assert ((living > 0.4) & (living <= 1)).all()
    assert living[stars["age"] < 4].min() > 0.9
    v = 31.4 - 2.5 * np.log10(unit[:, -1] * formed) + 2.5 * np.log10(1 + z)
    np.testing.assert_allclose(v - default_cosmology().distmod(z).value, truth["abs_mag_v"].value[rows], atol=1e-9)
    for band in BANDS:
        error = values(catalog, f"flux_{band}_err")
        pull = ((values(catalog, f"flux_{band}") - truth[f"flux_{band}"].to_value("nJy")) / error)[rows]
        assert abs(pull.std() - 1) < 5 / np.sqrt(2 * len(rows))
        assert abs(pull.mean()) < 5 / np.sqrt(len(rows))


@pytest.mark.slow
def test_fits_of_the_demonstration_s_fluxes_hold_its_truth(population):
    """The bright young clumps of the demonstration: masses without bias, and a good fit for each."""
    catalog, truth = population.catalog, population.truth
    snr = np.stack([values(catalog, f"flux_{band}") / values(catalog, f"flux_{band}_err") for band in BANDS], axis=1)
    rows = np.flatnonzero((np.median(snr, axis=1) > 10) & ~np.asarray(truth["is_gc"]))[:60]
    flux, err = (
        np.stack([values(catalog, f"flux_{band}{end}")[rows] for band in BANDS], axis=1) for end in ("", "_err")
    )
    fits = fit_photometry(flux, err, [band.upper() for band in BANDS], values(catalog, "z")[rows], error_floor=0, rng=1)
    chi2 = np.array([fit.best_chi2 for fit in fits])
    # Nine bands at the best of five parameters: the truth itself has 9 +- 4.2.
    assert np.median(chi2) < 9
    assert chi2.max() < 9 + 5 * np.sqrt(18)
    low, middle, high = fits.quantile("log_mass", [0.16, 0.5, 0.84]).T
    real = np.log10(truth["mass"].value * truth["mu"])[rows]
    # The prior is uniform in age, the truth is young: old solutions of the faintest are heavier, so no more than this.
    assert abs(np.median(middle - real)) < 0.1
    assert np.mean((real > low - 0.05) & (real < high + 0.05)) > 0.5


def test_a_large_population_without_draws_is_made():
    catalog = make_population(n=20_000, draws=0).catalog
    assert len(catalog) == 20_000
    assert not any(name.endswith("_draws") for name in catalog.colnames)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_small_populations_work(n):
    assert len(make_population(n=n, rng=1, draws=5).catalog) == n


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 2.5}, "n is 2.5"),
        ({"n": True}, "n is True"),
        ({"draws": -1}, "draws is -1"),
    ],
)
def test_impossible_numbers_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        make_population(**arguments)
