"""From positions on a mock field to a catalogue: truths recovered, changes refitted alone, nothing pretended."""

from __future__ import annotations

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.catalog import read_catalog, validate
from sc_lab.clumps import Measured, Observation, measure
from sc_lab.clumps.bands import wavelength
from sc_lab.clumps.light import mass_to_light, provisional
from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError, ProjectError, ScLabWarning
from sc_lab.export import catalog_table
from sc_lab.images.galaxy import Galaxy
from sc_lab.mock import make_field
from sc_lab.population import analyse
from sc_lab.sed import get_filter
from sc_lab.session import population_of
from sc_lab.session.clump_editor import ClumpEditor

BANDS = ("F150W", "F200W", "F356W")


@pytest.fixture(scope="module")
def field():
    return make_field(seed=2, size=10, bands=BANDS)


@pytest.fixture(scope="module")
def truth(field):
    truth = field.truth
    return truth[(truth["kind"] == "clump") & (truth["snr"] > 15)]


@pytest.fixture(scope="module")
def observation(field):
    return Observation(field=field, n_draws=20)


@pytest.fixture(scope="module")
def measured(observation, truth):
    return measure(observation, truth["id", "ra", "dec", "galaxy"])


def same(one: Measured, two: Measured, names=None):
    """Return whether two measurements agree to rounding: sums over potentials may be grouped differently."""
    for name in one.columns if names is None else names:
        a, b = one.columns[name], two.columns[name]
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-10, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)
    return True


def test_fluxes_magnifications_and_redshifts_are_those_of_the_truth(measured, truth):
    catalog = measured.catalog
    assert catalog["id"].tolist() == truth["id"].tolist()
    np.testing.assert_allclose(catalog["z"], truth["z"])
    # The lens without realisations gives its own value; the fitted place moves it near the critical curve.
    ratio = np.abs(np.asarray(catalog["mu"]) / np.asarray(truth["mu"]))
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    alone = np.array([flag == "" for flag in catalog["photometry_flags"]])
    assert alone.sum() > 10  # success trivial otherwise
    fluxes = np.asarray(catalog["flux_f150w"].value)[alone] / np.asarray(truth["flux_f150w"].value)[alone]
    # S/N > 15 each, and hosts that the local plane does not quite follow.
    assert np.median(fluxes) == pytest.approx(1.0, abs=0.08)


def test_the_columns_are_those_of_the_registry_and_survive_a_file(measured, tmp_path):
    catalog = measured.catalog
    assert {"field", "galaxy", "provenance", "mu_t", "r_eff", "r_eff_is_limit", "size_class", "snr"} <= set(
        catalog.colnames
    )
    assert "not in the registry" not in " ".join(catalog.meta["sc_lab"]["notes"])
    catalog.write(tmp_path / "c.ecsv")
    back = read_catalog(tmp_path / "c.ecsv")
    np.testing.assert_array_equal(np.asarray(back["flux_f356w"].value), np.asarray(catalog["flux_f356w"].value))
    assert analyse(back).n == len(catalog)


def test_a_limit_is_a_flag_and_a_faint_flux_a_limit(measured):
    columns = measured.columns
    limit = columns["r_eff_is_limit"]
    np.testing.assert_array_equal(limit, columns["size_class"] == "unresolved")
    assert np.isnan(columns["r_eff_err_lo"][limit]).all()
    for band in BANDS:
        name = band.lower()
        flux, error = columns[f"flux_{name}"], columns[f"flux_{name}_err"]
        faint = columns[f"mag_{name}_is_limit"]
        np.testing.assert_array_equal(faint, ~(flux > 3 * error) & np.isfinite(flux) & (error > 0))
        expected = 31.4 - 2.5 * np.log10(np.where(faint, 3 * error, flux))
        np.testing.assert_allclose(columns[f"mag_{name}"], expected, rtol=1e-12)


def some_edit(editor, what, name, other, place, galaxy):
    if what == 0:
        editor.add(*place, galaxy=galaxy)
    elif what == 1:
        editor.remove(name)
    elif what == 2:
        editor.move(name, *place)
    elif what == 3:
        editor.split(name)
    elif what == 4:
        editor.merge([name, other])
    else:
        editor.session.undo()


@pytest.mark.parametrize("mode", ["paper", "full"])
def test_any_series_of_edits_ends_where_a_measurement_from_scratch_does(field, truth, mode):
    observation = Observation(field=field, n_draws=20, mode=mode)
    rng = np.random.default_rng(4)
    refused = []
    editor = ClumpEditor.start(observation, truth["id", "ra", "dec", "galaxy"])
    for step in range(12):
        ids = editor.session.clump_ids
        name = str(rng.choice(ids))
        row = ids.index(name)
        table = editor.clumps
        ra, dec = float(table["ra"][row]), float(table["dec"][row])
        shift = rng.normal(0, 3e-5, 2)
        try:
            some_edit(editor, step % 6, name, ids[row - 1], (ra + shift[0], dec + shift[1]), str(table["galaxy"][row]))
        except InputError as error:
            refused.append(str(error))
    assert len(refused) < 6, refused  # success trivial otherwise
    fresh = measure(observation, editor.clumps)
    current = editor.session.current_catalog
    assert current["id"].tolist() == fresh.ids
    for name in ("ra", "flux_f150w", "flux_f356w_err", "r_eff", "mu", "mass", "mag_f200w"):
        found = np.ma.filled(np.ma.asarray(getattr(current[name], "unmasked", current[name])), np.nan)
        mask = np.asarray(getattr(current[name], "mask", np.zeros(len(current), dtype=bool)))
        values = np.where(mask, np.nan, np.asarray(getattr(found, "value", found), dtype=float))
        np.testing.assert_allclose(values, fresh.columns[name], rtol=1e-10, err_msg=name)


def test_only_what_a_change_touches_is_new(observation, truth, measured):
    lonely = int(
        np.argmax([np.sort(np.hypot(truth["x"] - x, truth["y"] - y))[1] for x, y in truth["x", "y"].iterrows()])
    )
    table = truth["id", "ra", "dec", "galaxy"][np.arange(len(truth)) != lonely]
    fewer = measure(observation, table, previous=measured)
    assert fewer.refitted == ()
    again = measure(observation, truth["id", "ra", "dec", "galaxy"], previous=fewer)
    assert again.refitted == (truth["id"][lonely],)
    assert same(again, measured)


def test_a_provenance_or_a_galaxy_that_changes_makes_a_row_new(observation, truth, measured):
    table = QTable(truth["id", "ra", "dec", "galaxy"], copy=True)
    table["provenance"] = ["moved" if row == 1 else "auto" for row in range(len(table))]
    other = next(each.id for each in observation.galaxy_list if each.id != table["galaxy"][0])
    table["galaxy"][0] = other
    found = measure(observation, table, previous=measured)
    assert set(found.refitted) == {truth["id"][0], truth["id"][1]}
    assert found.columns["galaxy"][0] == other


def test_another_observation_takes_no_row_over(field, observation, measured, truth):
    few = truth["id", "ra", "dec", "galaxy"]
    for changes in ({"age": 30.0}, {"lenses": ()}, {"n_draws": 21}, {"bands": ("F150W",)}):
        other = dataclasses.replace(observation, **changes)
        found = measure(other, few, previous=measured)
        assert len(found.refitted) == len(few), changes
        assert same(found, measure(other, few))
    assert measure(dataclasses.replace(observation), few, previous=measured).refitted == ()


def test_several_lens_models_stand_side_by_side_and_none_magnifies_nothing(field, truth):
    lens = field.lenses[0]
    few = truth["id", "ra", "dec", "galaxy"][:4]
    two = measure(Observation(field=field, lenses={"first": lens, "m2": lens}, n_draws=20), few)
    np.testing.assert_allclose(two.columns["mu_m2"], two.columns["mu"], rtol=1e-12)
    assert "mu_t_m2" in two.catalog.colnames
    none = measure(Observation(field=field, lenses=()), few)
    assert (none.columns["mu"] == 1).all()
    size = default_cosmology().kpc_proper_per_arcmin(none.columns["z"]).to_value(u.pc / u.mas)
    np.testing.assert_allclose(none.columns["r_eff"], none.columns["r_eff_obs"] * size, rtol=1e-12)


def test_a_galaxy_without_redshift_leaves_the_numbers_empty(field, truth):
    galaxies = [Galaxy(id=each.id, contour=each.contour) for each in field.galaxies]
    found = measure(Observation(field=field, galaxies=galaxies, n_draws=20), truth["id", "ra", "dec", "galaxy"][:3])
    for name in ("z", "r_eff", "mass"):
        assert np.isnan(found.columns[name]).all(), name
    assert found.catalog["z"].mask.all()
    assert not found.columns["mass_is_provisional"].any()
    assert np.isfinite(found.columns["flux_f150w"]).all()
    assert not found.columns["r_eff_is_limit"].any(), "an angular limit is none in parsec, so it makes no candidate"


def test_what_an_sed_fit_says_takes_the_place_of_what_is_provisional(field, truth):
    few = truth["id", "ra", "dec", "galaxy"][:3]
    properties = validate(
        QTable({"id": few["id"][:2], "z": [1.0, 1.0], "mass": [2e6, 3e6] * u.Msun, "age_onset": [4, 5] * u.Myr})
    )
    found = measure(Observation(field=field, properties=properties, n_draws=20), few)
    np.testing.assert_array_equal(found.columns["mass"][:2], [2e6, 3e6])
    np.testing.assert_array_equal(found.columns["age_onset"][:2], [4, 5])
    assert np.isnan(found.columns["mass_err_lo"][:2]).all(), "errors of another mass are not kept"
    assert not found.columns["mass_is_provisional"].any(), "the third has an SED of its own"
    assert np.isnan(found.columns["mass_draws"][:2]).all()
    assert found.columns["sed_flags"].tolist()[:2] == ["", ""]
    without = measure(Observation(field=field, properties=properties, sed=None, n_draws=20), few)
    assert without.columns["mass_is_provisional"].tolist() == [False, False, True]
    assert not any(name.startswith("sed_") for name in without.columns)


# ---------------------------------------------------------------- the editor on images


def test_what_the_images_do_not_measure_is_refused_and_leaves_no_trace(observation, truth, field):
    editor = ClumpEditor.start(observation, truth["id", "ra", "dec", "galaxy"][:5])
    ra, dec = editor.clumps["ra"][0], editor.clumps["dec"][0]
    with pytest.raises(InputError, match="do not measure"):
        editor.add(ra, dec + 0.1, galaxy=field.galaxies[0].id)  # far off the mosaic
    assert editor.session.log == []
    assert editor.add(ra * u.deg, (dec * 3600 + 0.3) * u.arcsec, galaxy=field.galaxies[0].id) == "c0001"


def test_detection_adds_what_is_not_on_the_list_yet_as_one_step(observation):
    editor = ClumpEditor.start(observation)
    names = editor.detect()
    assert len(names) > 5  # success trivial otherwise
    assert len(editor.session.log) == 1
    assert set(editor.clumps["provenance"]) == {"auto"}
    assert editor.detect() == []
    editor.remove(names[:2])
    again = editor.detect()
    assert len(again) == 2
    assert not set(again) & set(names), "a name is not given twice"


def test_a_notebook_may_be_run_again_on_its_project(observation, truth, tmp_path):
    path, few = tmp_path / "x.sclab", truth["id", "ra", "dec", "galaxy"][:4]
    editor = ClumpEditor.start(observation, few, project=path)
    editor.remove(few["id"][0])
    with editor.session:
        again = ClumpEditor.start(observation, few, project=path)
        assert again.session.clump_ids == few["id"][1:].tolist()
        again.close()
    with pytest.raises(ProjectError, match="began with other positions"):
        ClumpEditor.start(observation, truth["id", "ra", "dec", "galaxy"][:5], project=path)


def test_the_record_of_the_observation_goes_into_the_export_without_an_edit_too(observation, truth):
    editor = ClumpEditor.start(observation, truth["id", "ra", "dec", "galaxy"][:4])
    record = catalog_table(population_of(editor.session)).meta["sc_lab"]["observation"]
    assert set(record["sha256"]) == set(BANDS)
    assert record["lens_models"] == [observation.field.lenses[0].name]
    assert catalog_table(population_of(editor.session)).meta["sc_lab"]["lens_model"] == observation.field.lenses[0].name
    editor.remove(truth["id"][0])
    assert "observation" not in editor.session.log[0]["arguments"], "what is said already is not said again"
    editor.observation = Observation(field=observation.field, n_draws=20, mode="full")
    assert editor.measure_all()
    record = catalog_table(population_of(editor.session)).meta["sc_lab"]["observation"]
    assert record["mode"] == "full"
    assert editor.session.undo_label == "measure the clumps"


def test_another_cosmology_than_that_of_the_sizes_is_pointed_out(observation, truth):
    editor = ClumpEditor.start(observation, truth["id", "ra", "dec", "galaxy"][:3])
    assert population_of(editor.session).cautions == ()
    editor.wait_for_tables()  # what is said of warnings holds for the whole process, other threads too
    editor.session.do("set", hubble=60.0)
    with pytest.warns(ScLabWarning, match="cosmology"):
        population_of(editor.session)
    editor.remove(truth["id"][0])
    with pytest.warns(ScLabWarning, match="cosmology"):
        population_of(editor.session)


# ---------------------------------------------------------------- light


def test_a_clump_of_known_light_has_the_mass_of_its_mass_to_light_ratio():
    """A 1e6 Msun burst of 10 Myr, M/L 0.02, is 5e7 Lsun: M_V = 4.80 - 2.5 log10(5e7), put at z = 2."""
    cosmology = default_cosmology()
    absolute = 4.80 - 2.5 * np.log10(5e7)
    modulus = float(cosmology.distmod(2.0).value)
    observed = absolute + modulus - 2.5 * np.log10(3.0) - 2.5 * np.log10(10.0)
    flux = 10 ** (0.4 * (31.4 - observed))
    light = provisional(
        {"F165M": (np.array([flux]), np.array([0.1 * flux]))},
        np.array([2.0]),
        np.array([10.0]),
        age=10.0,
        cosmology=cosmology,
    )
    assert light.abs_mag_v[0] == pytest.approx(absolute, abs=1e-9)  # double precision of the logarithms
    assert light.mass[0] == pytest.approx(1e6, rel=1e-9)
    # An age of 100 Myr with this light is 10^0.74 times the mass, and that is the upper error, or a bit more.
    assert 1 + light.mass_err_hi[0] / light.mass[0] == pytest.approx(10**0.74, rel=0.05)
    assert light.age[0] + light.age_err_hi[0] == pytest.approx(100.0)


def test_the_band_nearest_to_v_gives_the_light_and_no_band_none():
    z, mu = np.array([1.0, 1.0, 1.0]), np.ones(3)
    fluxes = {"F115W": (np.array([10.0, 10.0, 1.0]), np.ones(3)), "F444W": (np.array([90.0, 90.0, 1.0]), np.ones(3))}
    fluxes["F115W"][0][1] = 2.0  # no detection: the other band must do
    light = provisional(fluxes, z, mu, age=10.0, cosmology=default_cosmology())
    assert light.mass[1] / light.mass[0] == pytest.approx(9.0)
    assert light.abs_mag_v_err[1] > light.abs_mag_v_err[0]
    assert np.isnan([light.mass[2], light.age[2]]).all()


def test_old_stars_are_dim():
    assert mass_to_light(100.0) == pytest.approx(0.11, rel=0.02)  # 0.02 x 10^0.74, to its two digits
    assert mass_to_light(1000.0) == pytest.approx(0.6, rel=0.1)
    assert mass_to_light(0.1) == mass_to_light(5.0)


@pytest.mark.parametrize(
    ("band", "micron"),
    [
        ("F150W", 1.5),
        ("f444w", 4.44),
        ("F430M", 4.3),
        ("F435W", 0.435),
        ("F814W", 0.814),
        ("F105W", 1.05),
        ("F850LP", 0.85),
        ("F2550W", 25.5),
    ],
)
def test_filters_are_named_in_two_ways(band, micron):
    """Named in nm or in 10 nm; the pivot differs from the name by up to 6 % (F850LP is named by its edge)."""
    assert wavelength(band) == pytest.approx(micron, rel=0.07)


def test_wavelengths_are_pivots_and_without_a_curve_what_the_name_says():
    assert wavelength("F814W") == get_filter("F814W").pivot / 1e4
    assert wavelength("wfc3_uvis/F814W") == get_filter("wfc3_uvis/F814W").pivot / 1e4
    assert wavelength("F438W") == 0.438
    assert wavelength("F999W") == 9.99


def test_a_band_of_another_name_has_no_wavelength():
    assert np.isnan(wavelength("white"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"age": -1.0}, "age is -1.0"),
        ({"age": "young"}, "age is 'young'"),
        ({"age": float("nan")}, "age is nan"),
        ({"bands": "F150W"}, "give a sequence"),
        ({}, "field is None"),
    ],
)
def test_an_observation_that_cannot_be_is_refused_in_words(options, words):
    with pytest.raises(InputError, match=words):
        Observation(field=None, **options)
