"""The population analysis: right products, and nothing computed twice."""

import numpy as np
import pytest
from astropy import units as u

from sc_lab.catalog import values
from sc_lab.cmf import fit_mass_function
from sc_lab.density_size import surface_density
from sc_lab.errors import InputError
from sc_lab.mock import make_population
from sc_lab.population import QUANTITIES, STATUS, Settings, analyse
from sc_lab.properties import joint_draws


@pytest.fixture(scope="module")
def catalog():
    return make_population(n=600, rng=3).catalog


@pytest.fixture
def population(catalog):
    return analyse(catalog, n_populations=200)


def test_point_values_are_the_catalogue_s_and_sigma_its_formula(population, catalog):
    assert np.array_equal(population.values("mass"), values(catalog, "mass"), equal_nan=True)
    expected = surface_density(catalog["mass"], catalog["r_eff"]).to_value(u.Msun / u.pc**2)
    np.testing.assert_allclose(population.values("sigma_mass"), expected, rtol=1e-12)


def test_error_bars_are_the_16_and_84_percent_of_the_joint_draws(population, catalog):
    draws = joint_draws(catalog, n_draws=200, rng=1)
    sigma = surface_density(draws.mass, draws.r_eff).value
    low, high = np.nanquantile(sigma, [0.16, 0.84], axis=0)
    err_lo, err_hi = population.errors("sigma_mass")
    value = population.values("sigma_mass")
    known = np.isfinite(value)
    # Single-precision draws: their rounding is 1e-7 of the value, the errors are tenths of it.
    np.testing.assert_allclose(err_lo[known], np.maximum(value - low, 0)[known], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(err_hi[known], np.maximum(high - value, 0)[known], rtol=1e-4, atol=1e-3)


def test_errors_of_some_rows_equal_those_of_all(catalog):
    rows = np.array([5, 3, 77])
    some = analyse(catalog, n_populations=50).errors("dynamical_age", rows)
    whole = analyse(catalog, n_populations=50).errors("dynamical_age")
    for part, full in zip(some, whole, strict=True):
        assert np.array_equal(part, full[rows], equal_nan=True)


def test_a_threshold_step_recomputes_the_selection_and_nothing_above_it(population):
    population.mass_function("schechter")
    population.bootstrap("schechter")
    population.errors("sigma_mass")
    before = dict(population.store.computed)
    wider = population.replace(size_threshold=31.0)
    wider.mass_function("schechter")
    wider.bootstrap("schechter")
    wider.errors("sigma_mass")
    recomputed = {name for name, n in population.store.computed.items() if n != before.get(name, 0)}
    allowed = {"candidate", "in_cmf_sample", "status", "fit schechter", "statistics", "bootstrap schechter"}
    assert "candidate" in recomputed
    assert recomputed <= allowed, recomputed - allowed


def test_going_back_computes_nothing(population):
    population.mass_function("power_law")
    population.replace(age_max=50.0).mass_function("power_law")
    before = dict(population.store.computed)
    population.replace(age_max=50.0).mass_function("power_law")
    population.replace(age_max=population.settings.age_max).mass_function("power_law")
    assert population.store.computed == before


def test_sample_is_the_paper_s_and_leaves_the_most_massive_out(population):
    mass, age = population.values("mass"), population.values("age_onset")
    expected = population.candidate & (age < 100) & (mass > 2e6)
    assert expected.sum() >= 3  # otherwise the next line shows nothing
    assert population.in_cmf_sample.sum() == expected.sum() - 1
    dropped = np.flatnonzero(expected & ~population.in_cmf_sample)
    assert mass[dropped[0]] == mass[expected].max()
    whole = population.replace(drop_most_massive=False)
    assert np.array_equal(whole.in_cmf_sample, expected)


def test_fit_equals_the_plain_call_on_the_same_masses(population):
    ours = population.mass_function("power_law")
    plain = fit_mass_function(
        population.sample_masses * u.Msun, model="power_law", m_min=population.settings.mass_min * u.Msun, rng=1
    )
    assert ours.quantile("beta", [0.16, 0.5, 0.84]) == pytest.approx(
        plain.quantile("beta", [0.16, 0.5, 0.84]), abs=1e-9
    )


def test_statistics_of_drawn_populations_equal_the_slow_reference(population):
    draws, settings = population.draws, population.settings
    limit = population.r_eff_is_limit & np.isnan(population.values("r_eff"))
    n, sum_log, sum_mass = population._statistics()
    for j in (0, 17, 199):
        chosen = (draws.r_eff[j] < settings.size_threshold) | limit
        chosen &= ~population.removed & (draws.age[j] < settings.age_max) & (draws.mass[j] > settings.mass_min)
        mass = np.sort(draws.mass[j][chosen].astype(float))[:-1]  # without the most massive
        assert n[j] == len(mass)
        # Sums in another order and precision.
        assert sum_log[j] == pytest.approx(np.log(mass).sum(), rel=1e-6)
        assert sum_mass[j] == pytest.approx(mass.sum(), rel=1e-6)


def test_excluded_and_box_members_leave_every_sample_and_stay_in_the_table(population):
    name = population.ids[int(np.flatnonzero(population.candidate)[0])]
    without = population.replace(excluded={name: "a star"})
    row = population.index[name]
    assert not without.candidate[row]
    assert STATUS[without.status[row]] == "excluded"
    assert without.n == population.n
    assert without.columns()["exclusion_reason"][row] == "a star"
    assert without.candidate.sum() == population.candidate.sum() - 1


def test_a_kept_member_of_the_box_counts_again(population):
    inside = np.flatnonzero(population.gc_contaminant)
    assert len(inside), "the demonstration has globular clusters"
    name = population.ids[int(inside[0])]
    assert not population.replace(kept=[name]).gc_contaminant[inside[0]]
    assert population.gc_contaminant[inside[0]]


def test_another_lens_model_moves_masses_and_leaves_resolved_densities(population):
    other = population.replace(lens_model="m2")
    resolved = ~population.r_eff_is_limit & np.isfinite(other.values("mass"))
    assert np.abs(other.values("mass")[resolved] / population.values("mass")[resolved] - 1).max() > 0.05
    # Mass goes as 1/mu, the area of a resolved clump too: rounding only.
    np.testing.assert_allclose(
        other.values("sigma_mass")[resolved], population.values("sigma_mass")[resolved], rtol=1e-9
    )


def test_histogram_counts_everybody_once(population):
    for name in QUANTITIES:
        histogram = population.histogram(name)
        members = int((~population.removed).sum())
        assert histogram.clumps.sum() + histogram.candidates.sum() + histogram.n_missing == members, name


def test_histogram_equals_numpy_s(population):
    histogram = population.histogram("mass", bins=17)
    mass = population.scaled("mass")
    expected, _ = np.histogram(mass[population.candidate & np.isfinite(mass)], histogram.edges)
    assert histogram.candidates.tolist() == expected.tolist()


def test_settings_take_quantities(catalog):
    assert analyse(catalog, size_threshold=0.03 * u.kpc).settings.size_threshold == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size_threshold": -1}, "size_threshold is -1"),
        ({"size_threshold": 3 * u.Msun}, "size_threshold has the unit"),
        ({"thresold": 3}, "no setting named 'thresold'"),
        ({"lens_model": "m9"}, "no lens model 'm9'"),
        ({"excluded": ["nobody"]}, "'nobody'"),
        ({"within": "all"}, "within is 'all'"),
        ({"gc_box": [(0, 0)]}, "at least three"),
    ],
)
def test_bad_input_is_refused_in_words(catalog, arguments, words):
    with pytest.raises(InputError, match=words):
        analyse(catalog, **arguments).candidate  # noqa: B018 - the lens model is looked up when first needed


def test_too_small_a_sample_says_what_to_change(population):
    with pytest.raises(InputError, match="raise size_threshold or age_max, or lower mass_min"):
        population.replace(mass_min=1e12).mass_function("schechter")


def test_settings_survive_json():
    settings = Settings(mass_max=1e8, gc_box=((0, 0), (1, 0), (0, 1)), lens_model="m2")
    assert Settings.from_dict(settings.to_dict()) == settings


def test_description_carries_errors_and_limits(population):
    limits = np.flatnonzero(population.r_eff_is_limit & np.isfinite(population.values("r_eff")))
    words = population.describe(int(limits[0]))
    assert words["effective radius"].startswith("< ")
    assert words["mass surface density"].startswith("> ")
    assert "+" in words["stellar mass"]


def test_export_under_another_lens_model_carries_its_values_and_errors(population):
    other = population.replace(lens_model="m2").columns()
    assert {"mass", "mass_err_lo", "mass_err_hi", "mu", "r_eff", "r_eff_err_hi"} <= set(other)
    assert not {"mass", "mu", "r_eff"} & set(population.columns())
    assert np.isfinite(other["mass_err_hi"].value).sum() > 100
