"""The population analysis: right products, and nothing computed twice."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from sc_lab.catalog import values
from sc_lab.cmf import fit_mass_function
from sc_lab.density_size import surface_density
from sc_lab.errors import InputError
from sc_lab.export import catalog_table
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
        ({"gc_box": [(0, 0), (1, 1), (1, 0), (0, 1)]}, "gc_box cannot be used: the polygon crosses"),
        ({"omega_de": 5.0}, "no Big Bang"),
        ({"age_max": 10**400}, "age_max is 1"),
        ({"excluded": {"AS-1": None}}, "excluded names"),
        ({"notes": ["AS-1"]}, "notes is a list"),
        ({"hubble": 70 * u.pc}, "hubble has the unit"),
    ],
)
def test_bad_input_is_refused_in_words(catalog, arguments, words):
    with pytest.raises(InputError, match=words):
        analyse(catalog, **arguments)


def test_reasons_and_notes_are_text(catalog):
    name = str(catalog["id"][0])
    for edits in ({"excluded": {name: None}}, {"notes": {name: 5}}):
        with pytest.raises(InputError, match="give text"):
            analyse(catalog, **edits)


def test_a_lone_identifier_is_one_identifier(catalog):
    name = str(catalog["id"][0])
    assert set(analyse(catalog, excluded=name).excluded) == {name}
    assert analyse(catalog, kept=name).kept == (name,)


def test_settings_take_what_numpy_and_astropy_give(catalog):
    settings = analyse(
        catalog, seed=np.int64(3), gc_cut=np.bool_(False), hubble=70 * u.km / u.s / u.Mpc, mass_max=1e9 * u.Msun
    ).settings
    assert settings.to_dict() == Settings(seed=3, gc_cut=False, mass_max=1e9).to_dict()
    wider = analyse(catalog).replace(size_threshold=0.03 * u.kpc).settings
    assert wider.size_threshold == pytest.approx(30.0)  # 0.03 has no exact double


def test_an_unknown_quantity_has_no_errors_to_give(population):
    with pytest.raises(InputError, match="no quantity named 'colour'"):
        population.errors("colour")


def test_values_without_errors_have_none_rather_than_errors_of_zero():
    table = Table({"id": ["a"], "z": [1.0], "mass": [1e7], "r_eff": [5.0], "age_onset": [10.0]})
    population = analyse(table)
    for name in ("mass", "sigma_mass", "dynamical_age", "z_form"):
        assert np.isnan(population.errors(name)).all(), name
    assert np.isnan(population.columns()["sigma_mass_err_hi"]).all()
    table["mass_err_lo"] = [1e6]
    low, high = analyse(table).errors("mass")
    assert low[0] == pytest.approx(1e6, rel=0.2)  # 500 draws
    assert np.isnan(high[0])


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
    assert {"mass", "mass_err_lo", "mass_err_hi", "mu", "mu_t", "r_eff", "r_eff_err_hi", "sfr", "abs_mag_v"} <= set(
        other
    )
    assert not {"mass", "mu", "r_eff"} & set(population.columns())
    assert np.isfinite(other["mass_err_hi"].value).sum() > 100


def test_a_clump_outside_the_map_of_a_lens_model_is_no_candidate_even_when_a_limit(catalog):
    """Its radius is not known there, which is not the same as a limit without a number."""
    table = catalog.copy()
    inside = np.ones(len(table), dtype=bool)
    limits = np.flatnonzero(analyse(catalog).candidate & np.asarray(table["r_eff_is_limit"]))
    inside[limits[:3]] = False
    table["mu_m9"] = np.ma.array(np.full(len(table), 10.0), mask=~inside)
    population = analyse(table, lens_model="m9", n_populations=5, age_max=1e6, mass_min=1.0, drop_most_massive=False)
    assert not population.candidate[limits[:3]].any()
    assert population.counts["outside_lens_model"] >= 3
    # A candidate in all but its mass is not in any drawn population either.
    rows = np.flatnonzero(population._extremes.limit_without_number)
    assert not set(rows) & set(limits[:3])
    again = analyse(catalog_table(population))
    assert not again.candidate[limits[:3]].any()


def test_a_lens_model_without_any_clump_says_so(catalog):
    table = catalog.copy()
    table["mu_m9"] = np.ma.array(np.ones(len(table)), mask=True)
    counts = analyse(table, lens_model="m9").counts
    assert counts["outside_lens_model"] == counts["clumps"]
    assert counts["candidates"] == 0


def test_an_export_under_another_lens_model_reads_back_as_the_same_population(catalog):
    """The export's reference model is then the other one; errors of the magnification enter once, not twice."""
    other = analyse(catalog, lens_model="m2")
    again = analyse(catalog_table(other, draws=True))
    for name in ("mass", "r_eff", "mu", "sfr", "abs_mag_v", "sigma_mass", "z_form"):
        # Rounding of products in another order.
        np.testing.assert_allclose(again.values(name), other.values(name), rtol=1e-9, err_msg=name)
    for name in ("mass", "mu", "sigma_mass"):
        outside = np.isnan(other.values("mu"))
        for ours, theirs in zip(again.errors(name), other.errors(name), strict=True):
            ratio = ours[~outside] / theirs[~outside]
            # Other draws: each bar differs by about 10 %, the median of 580 of them by 0.5 %.
            assert np.median(ratio) == pytest.approx(1.0, abs=0.02), name


def test_absolute_magnitudes_follow_the_lens_model(population):
    other = population.replace(lens_model="m2")
    ratio = other.values("mu") / population.values("mu")
    shift = other.values("abs_mag_v") - population.values("abs_mag_v")
    known = np.isfinite(ratio)
    # Rounding of differences of magnitudes near 20.
    np.testing.assert_allclose(shift[known], 2.5 * np.log10(ratio[known]), atol=1e-9)
    assert np.isnan(other.values("abs_mag_v")[~known]).all()


def test_a_catalogue_of_another_cosmology_is_pointed_out_and_can_be_followed(catalog):
    from sc_lab.cosmology import describe, make_cosmology
    from sc_lab.errors import ScLabWarning

    table = catalog.copy()
    table.meta["sc_lab"] = {**table.meta["sc_lab"], "cosmology": describe(make_cosmology(50.0, 0.3, 0.7))}
    with pytest.warns(ScLabWarning, match="differ in H0"):
        analyse(table)
    assert analyse(table, hubble=50.0).cautions == ()


def test_h_is_not_taken_for_the_hubble_constant(catalog):
    with pytest.raises(InputError, match="not h = H0 / 100"):
        analyse(catalog, hubble=0.7)


def test_a_second_history_changes_what_depends_on_it_and_nothing_else(population):
    catalog = population.catalog.copy()
    catalog["mass_tau10"] = catalog["mass"] * 2
    catalog["age_onset_tau10"] = catalog["age_onset"] * 3
    catalog["sfr_tau10"] = catalog["sfr"] * 0.5
    catalog["abs_mag_v_tau10"] = catalog["abs_mag_v"]
    both = analyse(catalog)
    assert population.histories == ("",)
    assert both.histories == ("", "tau10")
    factors = {"mass": 2, "sigma_mass": 2, "sfr": 0.5, "sigma_sfr": 0.5, "age_onset": 3, "dynamical_age": 3 * 2**0.5}
    for name, factor in factors.items():
        second = both.values(name, history="tau10")
        np.testing.assert_allclose(second, factor * both.values(name), rtol=1e-12, err_msg=name)
    for name in ("z", "r_eff", "mu"):
        assert both.values(name, history="tau10") is both.values(name)
    one, two = both.histogram("mass"), both.histogram("mass", history="tau10")
    assert two.history == "tau10"
    np.testing.assert_array_equal(one.edges, two.edges)
    assert one.candidates.sum() == two.candidates.sum()
    assert not np.array_equal(one.candidates, two.candidates)
    with pytest.raises(InputError, match="no star-formation history 'tau3'"):
        both.values("mass", history="tau3")
    other = both.replace(lens_model=both.lens_models[-1])
    assert other.settings.lens_model
    ratio = other.values("mass", history="tau10") / other.values("mass")
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], 2)
    exported = other.columns()
    np.testing.assert_allclose(exported["mass_tau10"].value, 2 * exported["mass"].value)


def test_a_burst_long_past_counts_in_the_first_bin(population):
    catalog = population.catalog.copy()
    catalog["sfr"][:5] = 1e-40 * catalog["sfr"].unit
    old = analyse(catalog)
    histogram = old.histogram("sfr")
    assert histogram.edges[-1] - histogram.edges[0] <= 8
    members = old.candidate | ~old.removed
    assert histogram.clumps.sum() + histogram.candidates.sum() + histogram.n_missing == members.sum()
