"""SED fits of a clump list, with a stand-in for the engine: columns, draws, steps, and nothing fitted twice."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.catalog import validate, values
from sc_lab.cli import main
from sc_lab.clumps import Observation, SedSettings, measure, sed_fits
from sc_lab.clumps.sed_columns import is_sed_column, magnified, tau_suffix
from sc_lab.clumps.sed_fits import can_fit, fit_seds, usable_bands
from sc_lab.errors import InputError, ScLabError
from sc_lab.export import catalog_table, write_table
from sc_lab.mock import make_field
from sc_lab.population import analyse
from sc_lab.properties import joint_draws
from sc_lab.sed import Fixed, Priors, SedModel, Uniform
from sc_lab.session import Session, population_of
from sc_lab.session.clump_editor import ClumpEditor
from sc_lab.session.refitting import catalog_fluxes, drop_second_history, own_settings, refit_seds, standing_settings

BANDS = ("F150W", "F200W", "F356W")


@pytest.fixture
def fitted(monkeypatch):
    """An engine that answers at once, and remembers what it was asked for."""
    calls = []
    monkeypatch.setattr(sed_fits, "_fits", type(sed_fits._fits)())

    # Tables are made ready by other means, at other times.
    monkeypatch.setattr("sc_lab.session.clump_editor.warm", lambda *_, **__: None)

    def posteriors(flux, flux_err, bands, z, *, names, settings, suffix="", cancel=None, progress=None, **_):
        if cancel is not None and cancel.is_set():
            msg = "cancelled"
            raise ScLabError(msg)
        out = []
        for row, name in enumerate(names):
            calls.append(name + suffix)
            seed = [settings.seed, sed_fits._stream(name)]
            rng = np.random.default_rng(seed)
            age = 10 ** (0.1 * settings.models[suffix].tau + rng.normal(1.0, 0.4, 3000))
            log_mass = np.log10(np.nanmax(flux[row]) * 1e6) + 0.7 * np.log10(age / 10) + rng.normal(0, 0.1, 3000)
            samples = {"log_mass": log_mass, "age": age, "age_mw": 0.9 * age, "sfr10": 10**log_mass / 1e7}
            samples |= {"a_v": rng.uniform(0, 1, 3000), "metallicity": 10 ** rng.uniform(-2, 0, 3000)}
            samples |= {"abs_mag_v": rng.normal(-16, 0.1, 3000)}
            fit = SimpleNamespace(samples=samples, weights=rng.uniform(0.5, 1.5, 3000), best_chi2=3.0, ess=2500.0)
            n_bands = int(np.isfinite(flux[row]).sum())
            out.append(sed_fits.summary(fit, n_bands=n_bands, n_draws=settings.n_draws, seed=seed))
            if progress is not None:
                progress(row + 1, len(names))
        return out

    monkeypatch.setattr(sed_fits, "posteriors", posteriors)
    return calls


@pytest.fixture
def settings():
    return SedSettings(n_draws=60)


@pytest.fixture
def light():
    """Six sources of three bands: one faint, one without a redshift."""
    rng = np.random.default_rng(3)
    fluxes = {band: (rng.uniform(20, 200, 6), np.full(6, 2.0)) for band in BANDS}
    for band in BANDS[1:]:
        fluxes[band][0][4] = 1.0
    z = np.array([2.0, 2.0, 6.0, 2.0, 2.0, np.nan])
    return [f"c{row}" for row in range(6)], fluxes, z


@pytest.fixture(scope="module")
def field():
    return make_field(seed=2, size=10, bands=BANDS)


@pytest.fixture(scope="module")
def places(field):
    truth = field.truth
    return truth[(truth["kind"] == "clump") & (truth["snr"] > 15)]["id", "ra", "dec", "galaxy"][:12]


@pytest.fixture
def catalog():
    """A catalogue that never saw an image."""
    n = 8
    rng = np.random.default_rng(1)
    table = QTable({"id": [f"p{row}" for row in range(n)], "z": np.full(n, 3.0)})
    table["mu"] = np.linspace(2, 9, n)
    table["mu_err_lo"] = table["mu_err_hi"] = 0.2 * table["mu"]
    table["r_eff"] = np.full(n, 10.0) * u.pc
    for band in ("f150w", "f200w"):
        table[f"flux_{band}"] = rng.uniform(50, 90, n) * u.nJy
        table[f"flux_{band}_err"] = np.full(n, 3.0) * u.nJy
    table["mag_f444w"] = np.full(n, 27.0) * u.mag
    table["mag_f444w_err"] = np.full(n, 0.1) * u.mag
    table["remark"] = np.arange(3 * n).reshape(n, 3)
    return validate(table)


# ---------------------------------------------------------------- fits and columns


def test_a_fit_needs_a_redshift_and_two_detections(fitted, light, settings):
    ids, fluxes, z = light
    out = fit_seds(ids, fluxes, z, settings=settings)
    assert fitted == ["c0", "c1", "c3", "c2"], "one redshift after the other"
    assert np.isfinite(out["mass"]).tolist() == [True] * 4 + [False] * 2
    assert out["sed_flags"].tolist() == ["", "", "", "", "too_few_detections", "no_redshift"]
    assert out["mass_draws"].shape == (6, 60)
    assert all(is_sed_column(name) for name in out)


def test_the_draws_of_a_clump_do_not_depend_on_other_clumps(fitted, light, settings, monkeypatch):
    ids, fluxes, z = light
    whole = fit_seds(ids, fluxes, z, settings=settings)
    monkeypatch.setattr(sed_fits, "_fits", type(sed_fits._fits)())
    pick = [3, 1]
    part = fit_seds(
        [ids[row] for row in pick], {b: (f[pick], e[pick]) for b, (f, e) in fluxes.items()}, z[pick], settings=settings
    )
    for name in ("mass", "mass_draws", "age_onset_draws", "a_v_draws"):
        np.testing.assert_array_equal(part[name], whole[name][pick])


def test_nothing_is_fitted_twice(fitted, light, settings):
    ids, fluxes, z = light
    first = fit_seds(ids, fluxes, z, settings=settings)
    fitted.clear()
    again = fit_seds(ids, fluxes, z, settings=settings)
    assert fitted == []
    np.testing.assert_array_equal(first["mass_draws"], again["mass_draws"])
    fluxes["F150W"][0][2] *= 1.01
    fit_seds(ids, fluxes, z, settings=settings)
    assert fitted == ["c2"]
    fit_seds(ids, fluxes, z, settings=settings.replace(excluded=("f356w",)))
    assert sorted(fitted[1:]) == ["c0", "c1", "c2", "c3"]


def test_the_draws_have_the_quantiles_of_the_posterior_and_its_correlations(fitted, light, settings):
    ids, fluxes, z = light
    out = fit_seds(ids, fluxes, z, settings=settings.replace(n_draws=200))
    for row in range(4):
        drawn = np.quantile(out["mass_draws"][row], [0.16, 0.5, 0.84])
        low, high = out["mass_err_lo"][row], out["mass_err_hi"][row]
        said = out["mass"][row] + np.array([-low, 0, high])
        # A systematic sample of 200: a quantile is off by at most one part in 200, 1.3 % of the width here.
        np.testing.assert_allclose(drawn, said, atol=0.03 * (low + high))
        both = np.log10([out["mass_draws"][row], out["age_onset_draws"][row]])
        assert np.corrcoef(both)[0, 1] == pytest.approx(0.94, abs=0.03), "0.28 / hypot(0.28, 0.1) as it was drawn"
        order = np.argsort(out["mass_draws"][row])
        assert not np.array_equal(order, np.arange(200)), "draw j of one clump is not the light one of all"


def test_magnification_divides_light_once_and_leaves_ages_alone(fitted, light, settings):
    ids, fluxes, z = light
    out = fit_seds(ids, fluxes, z, settings=settings.replace(second_tau=10))
    mu = np.array([1.0, 2.0, 4.0, np.nan, 1.0, 1.0])
    own = magnified(out, mu)
    for name in ("mass", "mass_err_lo", "mass_err_hi", "sfr", "mass_tau10", "sfr_tau10"):
        np.testing.assert_allclose(own[name], out[name] / mu, err_msg=name)
    np.testing.assert_allclose(own["mass_draws"], out["mass_draws"] / mu[:, None], rtol=1e-7)  # float32
    for name in ("abs_mag_v", "abs_mag_v_tau10"):
        np.testing.assert_allclose(own[name], out[name] + 2.5 * np.log10(mu))
    for name in ("age_onset", "a_v", "metallicity", "abs_mag_v_err", "age_onset_tau10", "sed_chi2_tau10"):
        np.testing.assert_array_equal(own[name], out[name])
    assert (own["age_onset_tau10"][:3] > own["age_onset"][:3]).all(), "the stand-in makes slow histories older"


def test_a_single_clump_may_have_settings_of_its_own(fitted, light, settings):
    ids, fluxes, z = light
    own = settings.replace(excluded=("F200W",), n_draws=30, seed=5)
    out = fit_seds(ids, fluxes, z, settings=settings, own={"c1": own})
    assert out["sed_n_bands"][:2].tolist() == [3, 2]
    assert out["sed_settings"][0] == settings.key != out["sed_settings"][1] == own.key
    assert np.isfinite(out["mass_draws"][1]).all(), "thirty draws stand for sixty"


def test_what_the_engine_refuses_is_flagged_and_the_others_are_fitted(fitted, light, settings, monkeypatch):
    answers = sed_fits.posteriors

    def posteriors(flux, flux_err, bands, z, **options):
        if (z > 5).any():
            msg = "beyond the tables"
            raise InputError(msg)
        return answers(flux, flux_err, bands, z, **options)

    monkeypatch.setattr(sed_fits, "posteriors", posteriors)
    ids, fluxes, z = light
    out = fit_seds(ids, fluxes, z, settings=settings)
    assert np.isfinite(out["mass"]).tolist() == [True, True, False, True, False, False]
    assert out["sed_flags"][2] == "refused"
    alone = {b: (f[2:3], e[2:3]) for b, (f, e) in fluxes.items()}
    with pytest.raises(InputError, match="beyond the tables"):
        fit_seds(ids[2:3], alone, z[2:3], settings=settings, strict=True)


def test_bands_without_a_curve_are_left_out():
    assert usable_bands(["f356w", "CH1", "F150W"]) == (("F150W", "F356W"), ("CH1",))


def test_endings_of_columns_say_the_time():
    assert [tau_suffix(tau) for tau in (10.0, 2.5, 0.3, 100.0)] == ["_tau10", "_tau2p5", "_tau0p3", "_tau100"]


# ---------------------------------------------------------------- settings


def test_settings_come_back_from_their_record(settings):
    other = settings.replace(tau=3.0, attenuation="smc", excluded=("f090w", "F115W"), second_tau=10, error_floor=0.05)
    other = other.replace(priors=Priors(a_v=Uniform(0, 2), metallicity=Fixed(0.2)))
    assert SedSettings.from_record(other.record()) == other
    assert SedSettings.from_record(other.record()).key == other.key != settings.key
    assert other.excluded == ("F090W", "F115W")
    assert other.record()["model"]["library"]["title"]
    assert list(other.models) == ["", "_tau10"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"error_floor": -0.1}, "error_floor"),
        ({"error_floor": "3"}, "error_floor"),
        ({"excluded": "F150W"}, "excluded"),
        ({"n_draws": 0}, "n_draws"),
        ({"n_draws": 2.5}, "n_draws"),
        ({"seed": -1}, "seed"),
        ({"second_tau": 1.0}, "tau itself"),
        ({"second_tau": -1.0}, "tau"),
        ({"sfh": "burst", "second_tau": 10.0}, "exponential"),
        ({"model": "bc03"}, "SedModel"),
        ({"priors": {"a_v": 1}}, "Priors"),
        ({"colour": 3}, "no setting named colour"),
    ],
)
def test_impossible_settings_are_refused_in_words(wrong, word):
    with pytest.raises(InputError, match=word):
        SedSettings().replace(**wrong)


@pytest.mark.parametrize("wrong", [{"model": {"sfh": "x"}}, {"what": 1}, {"model": 3}, {"engine": "bagpipes"}])
def test_a_wrong_record_is_refused(wrong):
    with pytest.raises(InputError, match="SED fits"):
        SedSettings.from_record(wrong)


# ---------------------------------------------------------------- images


def test_clumps_on_images_have_the_mass_of_their_sed(fitted, field, places, settings):
    heard = []
    found = measure(
        Observation(field=field, sed=settings, n_draws=20), places, progress=lambda *step: heard.append(step)
    )
    columns = found.columns
    seen = can_fit({b: (columns[f"flux_{b.lower()}"], columns[f"flux_{b.lower()}_err"]) for b in BANDS}, columns["z"])
    assert len(fitted) == seen.sum() > 6  # success trivial otherwise
    assert [step[0] for step in heard] == sorted(step[0] for step in heard)
    assert heard[-1][0] == heard[-1][1]
    np.testing.assert_array_equal(columns["mass_is_provisional"], ~seen & np.isfinite(columns["mass"]))
    assert (columns["sed_n_bands"] == 3).all()
    assert found.catalog["mass_draws"].shape == (len(places), 60)
    bare = measure(Observation(field=field, sed=None, n_draws=20), places)
    np.testing.assert_array_equal(bare.columns["mass_is_provisional"], np.isfinite(bare.columns["mass"]))
    catalog = found.catalog[seen]
    draws = joint_draws(catalog, n_draws=300, rng=1)
    assert draws.index is not None
    # Draws of the posterior times the scatter of the magnification, once: the catalogue's draws do not have it.
    picked = np.take_along_axis(values(catalog, "mass_draws").T, draws.index, axis=0)
    np.testing.assert_allclose(draws.mass * draws.mu, picked * values(catalog, "mu"), rtol=1e-12)
    assert np.std(draws.mu / values(catalog, "mu"), axis=0).max() > 0.02  # success trivial otherwise


def test_edits_replay_and_export_without_pixels_and_without_fits(fitted, field, places, settings, tmp_path):
    observation = Observation(field=field, sed=settings, n_draws=20)
    editor = ClumpEditor.start(observation, places, project=tmp_path / "x.sclab")
    ra, dec = editor.clumps["ra"][0], editor.clumps["dec"][0]
    galaxy = str(editor.clumps["galaxy"][0])
    # A bright clump far from all that are listed: one beside them may be too uncertain for a fit.
    alone = field.truth[
        (field.truth["kind"] == "clump") & (field.truth["snr"] > 500) & (field.truth["galaxy"] != galaxy)
    ][0]
    elsewhere = alone["ra"], alone["dec"]
    fitted.clear()
    name = editor.add(ra, dec + 0.4 / 3600, galaxy=galaxy)
    assert name in fitted
    assert len(fitted) < 4, "the clump and its neighbours alone"
    editor.remove(editor.session.clump_ids[3])
    editor.refit_seds(settings.replace(second_tau=10, tau=2.0))
    fitted.clear()
    second = editor.add(*elsewhere, galaxy=str(alone["galaxy"]))
    assert {second, f"{second}_tau10"} <= set(fitted)
    assert len(fitted) < 8, "nothing that was fitted already"
    assert [row[0] for row in editor.session.log[-1]["arguments"]["rows"]["data"]][-1] == second
    assert len(editor.session.log[-1]["arguments"]["rows"]["data"]) < 4
    current = editor.session.current_catalog
    fresh = measure(editor._observed(), editor.clumps)
    for column in ("mass", "mass_draws", "mass_tau10", "a_v_err_lo"):
        np.testing.assert_allclose(values(current, column), fresh.columns[column], rtol=1e-10, err_msg=column)
    editor.session.undo()
    editor.session.undo()
    assert "mass_tau10" not in editor.session.current_catalog.colnames
    editor.session.redo()
    write_table(catalog_table(population_of(editor.session), draws=True), tmp_path / "live.ecsv")
    editor.close()
    done = subprocess.run(
        [sys.executable, "-m", "sc_lab", "export", str(tmp_path / "x.sclab"), str(tmp_path / "cli.ecsv"), "--draws"],
        capture_output=True,
        text=True,
    )
    if done.returncode:  # the command may not know draws
        write_table(catalog_table(population_of(Session.open(tmp_path / "x.sclab")), draws=True), tmp_path / "cli.ecsv")
    assert (tmp_path / "cli.ecsv").read_bytes() == (tmp_path / "live.ecsv").read_bytes()


# ---------------------------------------------------------------- refits


def test_a_plain_catalogue_is_fitted_as_one_step(fitted, catalog, settings):
    session = Session(catalog)
    heard = []
    session.subscribe(lambda _, changed: heard.append(changed))
    assert refit_seds(session, settings)
    assert session.undo_label == "refit all SEDs"
    assert heard == [{"clumps", "seds", "history"}]
    table = session.current_catalog
    assert np.isfinite(values(table, "mass")).all()
    assert table["remark"].shape == (8, 3), "columns of others stay"
    assert (values(table, "sed_n_bands") == 3).all(), "two fluxes and a magnitude"
    population = population_of(session)
    record = catalog_table(population).meta["sc_lab"]
    assert record["sed"]["settings"]["model"]["library"]["title"]
    assert not refit_seds(session, settings), "the same numbers again are no step"
    assert refit_seds(session, settings.replace(seed=7), ids="p3")
    assert session.undo_label == "refit the SED of p3"
    assert set(own_settings(session.document)) == {"p3"}
    assert standing_settings(session.document) == settings
    session.undo()
    session.undo()
    assert session.current_catalog is session.catalog


def test_a_population_follows_a_refit_as_one_made_afresh(fitted, catalog, settings):
    session = Session(catalog)
    live = population_of(session)
    for other in (settings, settings.replace(seed=2), settings.replace(n_draws=90)):
        refit_seds(session, other)
        live = population_of(session, previous=live)
        fresh = analyse(session.current_catalog)
        for name in ("mass", "age_onset", "sfr", "sigma_mass", "z_form"):
            np.testing.assert_array_equal(live.errors(name), fresh.errors(name))
        np.testing.assert_array_equal(live.draws.mass, fresh.draws.mass)


def test_a_refit_that_is_cancelled_or_overtaken_leaves_no_trace(fitted, catalog, settings):
    session = Session(catalog)
    stop = threading.Event()
    stop.set()
    with pytest.raises(ScLabError, match="cancelled"):
        refit_seds(session, settings, cancel=stop)
    rows = {"columns": ["id", "z"], "units": ["", ""], "data": [["p1", 2.0]]}
    with pytest.raises(InputError, match="list changed"):
        refit_seds(session, settings, progress=lambda *_: session.do("measure_clumps", rows=rows))
    assert [step["name"] for step in session.log] == ["measure_clumps"]
    with pytest.raises(InputError, match="no SED can be fitted"):
        refit_seds(Session(validate(QTable({"id": ["a"], "z": [1.0]}))), settings)
    for wrong in ("nobody", []):
        with pytest.raises(InputError, match="not on the list"):
            refit_seds(session, settings, ids=wrong)


def test_a_second_history_goes_where_later_settings_have_none(fitted, catalog, settings):
    session = Session(catalog)
    refit_seds(session, settings.replace(second_tau=10))
    assert np.isfinite(values(session.current_catalog, "mass_tau10")).all()
    refit_seds(session, settings)
    assert np.isnan(values(session.current_catalog, "mass_tau10")).all()


def test_a_second_history_is_dropped_as_one_step_and_comes_back_with_an_undo(fitted, catalog, settings):
    session = Session(catalog)
    assert not drop_second_history(session), "there is none"
    refit_seds(session, settings.replace(second_tau=10))
    before = session.current_catalog
    assert population_of(session).histories == ("", "tau10")
    assert drop_second_history(session)
    after = session.current_catalog
    assert population_of(session).histories == ("",)
    assert not any("_tau" in name for name in after.colnames)
    for name in ("mass", "age_onset", "sed_chi2"):
        np.testing.assert_array_equal(values(after, name), values(before, name))
    assert standing_settings(session.document) == settings
    assert session.undo()
    assert population_of(session).histories == ("", "tau10")
    assert standing_settings(session.document).second_tau == 10


def test_a_second_history_that_the_catalogue_came_with_is_silenced_and_its_first_one_stays(catalog):
    table = catalog.copy()
    table["mass"], table["mass_tau10"] = np.full(8, 1e6) * u.Msun, np.full(8, 2e6) * u.Msun
    session = Session(validate(table))
    assert population_of(session).histories == ("", "tau10")
    assert drop_second_history(session)
    assert population_of(session).histories == ("",)
    np.testing.assert_array_equal(values(session.current_catalog, "mass"), 1e6)
    assert session.document.sed_settings == (), "nothing was fitted, so nothing is said of fits"
    session.undo()
    assert population_of(session).histories == ("", "tau10")


def test_draws_of_fits_are_as_many_as_those_that_the_catalogue_came_with(fitted, catalog, settings):
    """Also in columns that the catalogue has not: draw j belongs together across all of them."""
    table = catalog.copy()
    table["mass"], table["mass_draws"] = np.full(8, 1e6) * u.Msun, np.full((8, 20), 1e6) * u.Msun
    session = Session(validate(table))
    refit_seds(session, settings)
    now = session.current_catalog
    assert now["mass_draws"].shape == now["sfr_draws"].shape == (8, 20)
    joint_draws(now)


def test_settings_with_a_library_of_a_path_come_back_from_their_record(tmp_path):
    settings = SedSettings(model=SedModel(library=str(tmp_path / "mine.fits")))
    with pytest.raises(InputError, match="there is no stellar library"):
        settings.record()
    record = SedSettings().record()
    record["model"]["library"] |= {"name": "mine", "path": settings.model.library}
    assert SedSettings.from_record(record) == settings


def test_magnitudes_and_their_limits_become_fluxes(catalog):
    table = catalog.copy()
    table["mag_f277w"] = [28.9, 28.9, *[np.nan] * 6] * u.mag
    table["mag_f277w_err"] = [0.1, *[np.nan] * 7] * u.mag
    table["mag_f277w_is_limit"] = [False, True, *[False] * 6]
    fluxes = catalog_fluxes(validate(table))
    assert set(fluxes) == {"F150W", "F200W", "F277W", "F444W"}
    flux, error = fluxes["F277W"]
    assert flux[:2] == pytest.approx([10.0, 0.0])  # 31.4 is the zero point of 1 nJy
    assert error[:2] == pytest.approx([0.921, 10.0 / 3], rel=1e-3)
    assert np.isnan(flux[2:]).all()


def test_the_command_line_says_with_what_seds_were_fitted(fitted, catalog, settings, tmp_path, capsys):
    session = Session(catalog, project=tmp_path / "x.sclab")
    refit_seds(session, settings.replace(second_tau=10))
    refit_seds(session, settings, ids="p3")
    session.close()
    assert main(["info", str(tmp_path / "x.sclab")]) == 0
    said = capsys.readouterr().out
    title = settings.model.loaded_library.title
    assert f"SEDs fitted with: {title}; exponential, tau = 1 and 10 Myr; calzetti; 60 draws kept" in said
    assert "SEDs with settings of their own: p3" in said


def test_a_project_with_fits_stays_small(fitted, field, places, tmp_path):
    observation = Observation(field=field, n_draws=20, sed=SedSettings())
    editor = ClumpEditor.start(observation, places, project=tmp_path / "x.sclab")
    before = (tmp_path / "x.sclab").stat().st_size
    editor.refit_seds(SedSettings(seed=2))
    grown = (tmp_path / "x.sclab").stat().st_size - before
    editor.close()
    # 4 x 128 draws of 5.3 bytes and some numbers and names for each clump; SQLite adds pages.
    assert grown / len(places) < 4500


def test_what_a_file_claims_to_be_settings_is_refused(catalog, fitted, settings):
    session = Session(catalog)
    refit_seds(session, settings)
    arguments = session.log[-1]["arguments"]
    session.do("refit_seds", rows=arguments["rows"], settings={"model": {"sfh": "<b>"}})
    with pytest.raises(InputError, match="no settings of SED fits"):
        standing_settings(session.document)


def test_observation_takes_settings_or_none(field):
    with pytest.raises(InputError, match="SedSettings"):
        Observation(field=field, sed=True)
    record = Observation(field=field, sed=SedSettings()).record()
    assert record["sed"]["model"]["tau"] == 1.0
    one, two = Observation(field=field, sed=SedSettings()), Observation(field=field, sed=None)
    assert not one.agrees_with(two)
    assert one.agrees_with(dataclasses.replace(one))


# ---------------------------------------------------------------- the engine itself


def test_masses_of_models_come_back_divided_by_the_magnification():
    from sc_lab.sed import get_filters, model_fluxes

    bands, n, z = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F444W"), 6, 2.0
    age = np.geomspace(5, 300, n)
    truth = {"age": age, "log_mass_formed": np.full(n, 8.0), "a_v": np.full(n, 0.2), "log_u": np.full(n, -2.0)}
    truth["metallicity"] = np.full(n, 0.3)
    light = model_fluxes(SedSettings().model, get_filters(bands), z, truth)
    noise = light.max(axis=1, keepdims=True) / 50
    flux = light + noise * np.random.default_rng(1).normal(size=light.shape)
    table = QTable({"id": [f"m{row}" for row in range(n)], "z": np.full(n, z), "mu": np.full(n, 10.0)})
    for at, band in enumerate(bands):
        table[f"flux_{band.lower()}"] = flux[:, at] * u.nJy
        table[f"flux_{band.lower()}_err"] = noise[:, 0] * u.nJy
    session = Session(validate(table))
    heard = []
    assert refit_seds(session, SedSettings(second_tau=10), progress=lambda *step: heard.append(step))
    assert heard[-1] == (2 * n, 2 * n)
    out = session.current_catalog
    # Formed 1e8, magnified tenfold, of which 5 to 40 % have been lost by then.
    off = np.log10(values(out, "mass") / 1e7)
    assert np.abs(off + 0.1).max() < 0.5
    assert np.abs(np.median(off) + 0.1) < 0.15
    pull = (values(out, "age_onset") - age) / np.where(
        values(out, "age_onset") < age, values(out, "age_onset_err_hi"), values(out, "age_onset_err_lo")
    )
    assert np.abs(pull).max() < 4  # of six draws
    assert (values(out, "sed_chi2") < 25).all()  # seven bands
    assert (values(out, "age_onset_tau10") > 0).all()
    assert "BC03" in out["sed_library"][0]
    # As bare numbers these could be magnitudes.
    fluxes = {band: (np.array([24.0]), np.array([0.5])) for band in bands}
    assert fit_seds(["faint"], fluxes, np.array([z]), settings=SedSettings())["sed_n_bands"] == 7
    alone = Session(validate(table[2:3]))
    sed_fits.forget()
    refit_seds(alone, SedSettings(second_tau=10))
    np.testing.assert_array_equal(values(alone.current_catalog, "mass_draws")[0], values(out, "mass_draws")[2])


def test_a_history_without_an_onset_is_refused_in_words_and_bands_must_be_a_list():
    fluxes = {band: (np.array([9.0]), np.array([1.0])) for band in BANDS}
    binned = SedSettings(n_draws=10).replace(sfh="continuity")
    with pytest.raises(InputError, match="no age of its onset"):
        fit_seds(["a"], fluxes, np.array([2.0]), settings=binned, strict=True)
    out = fit_seds(["a"], fluxes, np.array([2.0]), settings=binned)
    assert out["sed_flags"].tolist() == ["refused"]
    assert np.isnan(out["mass"]).all()
    with pytest.raises(InputError, match="names of bands"):
        SedSettings(excluded=None)
