"""The SED panel without a browser: the clump selected is fitted as the controls say, and the printed call agrees."""

import asyncio
import gc
import weakref
from dataclasses import replace

import astropy.units as u
import ipywidgets
import numpy as np
import pytest
from astropy.table import QTable
from sc_lab_widgets import SedPanel, Workbench
from sc_lab_widgets._saving import figure_data
from sc_lab_widgets.panels import sed_apply, sed_choice, sed_controls, sed_engine
from sc_lab_widgets.panels.sed_call import fit_code
from sc_lab_widgets.panels.sed_choice import Choice, choice_from, settings_of
from sc_lab_widgets.panels.sed_corner import CornerView
from sc_lab_widgets.panels.sed_curves import curves_of
from sc_lab_widgets.panels.sed_light import Light, Lights

from sc_lab import sed
from sc_lab.clumps import SedSettings
from sc_lab.errors import InputError, ScLabError
from sc_lab.sed import judging
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import Priors
from sc_lab.sed.results import SedFit
from sc_lab.session import Session

BANDS = ("F115W", "F150W", "F200W", "F277W", "F356W", "F444W")
Q = (0.16, 0.5, 0.84)


class Stand(SedFit):
    """A fit whose spectrum costs nothing, so that these tests are about the panel alone."""

    def spectrum(self, q=Q, *, wavelength=None, n=200):
        wave = np.geomspace(0.3, 30.0, 4000)
        flux = np.nanmedian(np.abs(self.flux)) * (1 + 0.3 * np.sin(5 * np.log(wave)))
        flux[2000] *= 50  # an emission line one sample wide
        return wave, flux * np.array([0.9, 1.0, 1.1])[:, None]

    def sfh(self, q=Q, *, lookback=None, n=500):
        edges = np.array([0.0, 1.0, 10.0, 100.0, 1000.0])
        return edges, np.array([[1.0, 2.0, 0.0, 0.0]]) * (0.5 + np.array(q))[:, None]


class Calls(list):
    """What `fit_photometry` was called with."""


def stand_in(calls):
    """Return a `fit_photometry` that draws a posterior from the settings and the light alone."""

    def fit_photometry(flux, flux_err, bands, z, **options):
        flux, error = (np.asarray(u.Quantity(each).to_value(u.nJy)) for each in (flux, flux_err))
        calls.append({"flux": flux, "bands": tuple(bands), "z": z, **options})
        rng, n = np.random.default_rng([options["rng"], *options["streams"]]), 500
        priors = options.get("priors") or Priors()
        log_mass = rng.normal(6 + np.log10(np.nanmedian(np.abs(flux))), 0.1, n)
        samples = {
            "age": 10 ** rng.normal(1, 0.2, n),
            "log_mass": log_mass,
            "log_mass_formed": log_mass + 0.1,
            "metallicity": 10 ** rng.uniform(-2, 0, n),
            "a_v": rng.uniform(priors.a_v.low, priors.a_v.high, n),
            "log_u": rng.uniform(-3, -1, n),
            "sfr10": 10 ** rng.normal(0, 0.2, n),
        }
        draw_flux = np.nanmedian(flux) * np.exp(rng.normal(0, 0.1, (n, len(flux))))
        return Stand(
            samples=samples,
            weights=np.ones(n),
            bands=tuple(bands),
            flux=flux,
            flux_err=error,
            z=z,
            model=options.get("model") or SedModel(sfh=options["sfh"]),
            priors=priors,
            log_evidence=-12.0,
            ess=450.0,
            best={},
            best_chi2=5.5,
            best_flux=draw_flux[0],
            draw_flux=draw_flux,
            cautions=("the <b>posterior</b> touches a prior",),
        )

    return fit_photometry


@pytest.fixture
def calls(monkeypatch):
    """Let the stand-in answer; returns the list of its calls."""
    calls = Calls()
    monkeypatch.setattr(sed, "fit_photometry", stand_in(calls))
    return calls


def table():
    """Return a catalogue of fluxes: the third clump has no redshift, the fourth one band, the fifth a limit."""
    rng, n = np.random.default_rng(4), 6
    out = QTable({"id": [f"c{i}" for i in range(n)], "field": ["one"] * n})
    out["ra"], out["dec"] = np.arange(n) * u.deg, np.arange(n) * u.deg
    out["z"] = np.array([2.0, 2.0, np.nan, 3.0, 3.0, 6.0])
    out["mu"] = [10.0, 4.0, 5.0, 2.0, 2.0, 100.0]
    out["r_eff"], out["mass"] = np.full(n, 5.0) * u.pc, np.full(n, 1e6) * u.Msun
    out["age_onset"] = np.full(n, 10.0) * u.Myr
    for i, band in enumerate(BANDS):
        flux = rng.uniform(20, 30, n) + i
        flux[3] = flux[3] if band == "F200W" else np.nan
        flux[4] = 0.5 if band == "F115W" else flux[4]
        out[f"flux_{band.lower()}"] = flux * u.nJy
        out[f"flux_{band.lower()}_err"] = np.full(n, 1.0) * u.nJy
    return out


@pytest.fixture
def panel(calls):
    with Session(_validated(table())) as session:
        panel = SedPanel(session)
        calls.clear()
        yield panel
        panel.close()


def _validated(catalog):
    from sc_lab.catalog import validate

    return validate(catalog)


# ---- the light of a row ----------------------------------------------------------------------------------------------
def test_fluxes_and_magnitudes_of_the_same_light_agree():
    """M = 31.4 - 2.5 log10(flux / nJy), and an error of e mag is a fraction e / 1.0857 of the flux."""
    fluxes = table()
    magnitudes = fluxes.copy()
    for band in BANDS:
        flux, error = fluxes[f"flux_{band.lower()}"].value, fluxes[f"flux_{band.lower()}_err"].value
        magnitudes[f"mag_{band.lower()}"] = (31.4 - 2.5 * np.log10(flux)) * u.mag
        magnitudes[f"mag_{band.lower()}_err"] = 2.5 / np.log(10) * error / flux * u.mag
        magnitudes.remove_columns([f"flux_{band.lower()}", f"flux_{band.lower()}_err"])
    with Session(_validated(fluxes)) as one, Session(_validated(magnitudes)) as two:
        a, b = (Lights().of(_population(each), 0) for each in (one, two))
    np.testing.assert_allclose(a.flux, b.flux, rtol=1e-12)  # rounding of the logarithm
    np.testing.assert_allclose(a.flux_err, b.flux_err, rtol=1e-12)
    assert a.bands == b.bands == BANDS


def _population(session):
    from sc_lab.session import population_of

    return population_of(session)


def test_a_magnitude_limit_is_no_flux_with_a_third_of_the_limit_as_error():
    out = table()["id", "field", "ra", "dec", "z", "mu"][:1]
    out["mag_f150w"], out["mag_f150w_err"] = [28.9] * u.mag, [np.nan] * u.mag
    out["mag_f150w_is_limit"] = [True]
    with Session(_validated(out)) as session:
        light = Lights().of(_population(session), 0)
    assert light.flux[0] == 0.0
    assert light.flux_err[0] == pytest.approx(10.0 / 3)  # 28.9 mag are 10 nJy


def test_a_band_without_filter_curve_is_left_out_and_said(calls):
    out = table()
    out["flux_f999x"], out["flux_f999x_err"] = np.full(6, 3.0) * u.nJy, np.full(6, 1.0) * u.nJy
    panel = SedPanel(_validated(out))
    assert calls[-1]["bands"] == BANDS
    assert "no filter curve, so left out: F999X" in panel._words.value
    panel.close()


# ---- which clump -----------------------------------------------------------------------------------------------------
def test_the_selected_clump_is_fitted_and_named(panel, calls):
    panel.host.select([5])
    assert calls[-1]["z"] == 6.0
    assert panel.figures["sed"].title.text.startswith("c5 · z = 6 · μ = 100")
    assert list(panel.view.points.data["band"]) == list(BANDS)


def test_of_several_the_last_selected_is_shown(panel):
    panel.host.select([5])
    panel.host.select([0], add=True)
    assert "c0" in panel.figures["sed"].title.text
    assert "the last of 2 selected" in panel.figures["sed"].title.text
    panel.host.select([0], add=True)  # c0 leaves the selection again
    assert panel.figures["sed"].title.text.startswith("c5")


def test_a_clump_that_cannot_be_fitted_gets_a_sentence(panel, calls):
    for row, words in ((2, "c2 has no redshift"), (3, "c3 is observed in 1 band, and an SED needs at least 2")):
        panel.host.select([row])
        assert words in panel._words.value
        assert len(panel.view.line.data["x"]) == 0
        assert panel.message.text == ""
        with pytest.raises(InputError, match=words.split(",")[0]):
            _ = panel.result
    assert calls == []


def test_a_fit_of_limits_alone_is_said_to_tell_nothing(calls):
    out = table()
    for band in BANDS[1:]:
        out[f"flux_{band.lower()}"][1] = 2.0 * u.nJy
    panel = SedPanel(_validated(out))
    panel.host.select([1])
    assert "1 of the bands fitted is a detection" in panel._words.value
    assert np.isfinite(calls[-1]["flux"]).all()
    panel.close()


def test_a_redshift_moved_by_hand_makes_a_fit_possible(panel, calls):
    panel.host.select([2])
    panel.controls.redshift.value = 1.5
    assert calls[-1]["z"] == 1.5
    assert "z = 1.5 (yours)" in panel.figures["sed"].title.text
    panel.host.select([1])
    assert calls[-1]["z"] == 2.0
    assert panel.controls.redshift.value == 2.0


def test_the_name_of_a_clump_shows_it_and_an_unknown_one_is_refused(panel):
    panel.controls.clump.value = "c5"
    assert panel.host.selected_ids == ["c5"]
    panel.controls.clump.value = "<b>nobody</b>"
    assert "no clump named '<b>nobody</b>'" in panel.message.text


def test_a_table_without_any_light_breaks_nothing(calls):
    out = table()["id", "field", "ra", "dec", "z", "mu", "r_eff", "mass", "age_onset"]
    panel = SedPanel(_validated(out))
    assert "click a clump" in panel._words.value
    panel.host.select([1])
    assert "observed in 0 bands" in panel._words.value
    assert calls == []
    panel.close()


# ---- what is fitted --------------------------------------------------------------------------------------------------
def test_every_control_reaches_the_fit(panel, calls):
    panel.host.select([0])
    before = len(calls)
    controls = panel.controls
    controls.tau.value = 10.0
    controls.mode.value = "compat"
    controls.attenuation.value = "smc"
    controls.nebular.value = False
    controls.error_floor.value = 0.1
    controls.age_min.value, controls.age_max.value = 5.0, 300.0
    controls.a_v_max.value = 2.0
    controls.metallicity_min.value = 0.01
    controls.log_u_max.value = -2.0
    assert len(calls) - before == 10  # one fit a change, of this clump alone
    last = calls[-1]
    assert {name: last[name] for name in ("mode", "attenuation", "nebular", "error_floor", "library", "sfh")} == {
        "mode": "compat",
        "attenuation": "smc",
        "nebular": False,
        "error_floor": 0.1,
        "library": "bc03",
        "sfh": "exponential",
    }
    assert last["tau"] == 10 * u.Myr
    priors = last["priors"]
    assert (priors.age.low, priors.age.high) == (5.0, 300.0)
    assert (priors.a_v.low, priors.a_v.high) == (0.0, 2.0)
    assert (priors.metallicity.low, priors.metallicity.high) == (0.01, 1.5)
    assert (priors.log_u.low, priors.log_u.high) == (-3.0, -2.0)
    controls.sfh.value = "constant"
    assert "tau" not in calls[-1]
    assert controls.tau.disabled


def test_controls_are_shown_only_where_they_apply(panel):
    def shown():
        names = ("tau", "duration", "slope", "delta", "bump")
        return {name for name in names if getattr(panel.controls, name).layout.display != "none"}

    controls = panel.controls
    assert shown() == {"tau"}
    controls.sfh.value = "constant"
    assert shown() == {"duration"}
    controls.attenuation.value = "charlot_fall"
    assert shown() == {"duration", "slope"}
    controls.attenuation.value, controls.sfh.value = "salim", "burst"
    assert shown() == {"delta", "bump"}
    panel.host.select([0])
    panel.buttons["reset"].click()
    assert shown() == {"tau"}
    assert "age uniform" in panel._words.value
    controls.sfh.value = "continuity"
    assert controls.age_min.layout.display == "none"
    assert "Student-t" in panel._words.value
    assert "age uniform" not in panel._words.value
    controls.nebular.value = False
    assert controls.log_u_max.layout.display == "none"
    assert "log U" not in panel._words.value


def test_the_duration_of_a_constant_history_and_the_shape_of_dust_reach_fit_call_and_list(panel, calls):
    panel.host.select([0])
    controls = panel.controls
    controls.sfh.value = "constant"
    assert "duration" not in calls[-1], "at its end it is until now"
    controls.duration.value = 20.0
    assert calls[-1]["duration"] == 20 * u.Myr
    assert "duration=20.0 * u.Myr" in panel.code()
    assert "constant for 20 Myr" in panel._words.value
    controls.attenuation.value = "charlot_fall"
    controls.slope.value = 1.3
    assert calls[-1]["model"] == SedModel(sfh="constant", duration=20, attenuation="charlot_fall", slope=1.3)
    assert "Charlot &amp; Fall, n = 1.3" in panel._words.value
    settings, _ = panel._settings(every=True)
    assert settings.model == calls[-1]["model"]
    assert choice_from(settings) == panel.choice
    controls.attenuation.value = "salim"
    assert calls[-1]["model"].slope == 0.0, "without a tilt it is Calzetti's law"
    controls.delta.value, controls.bump.value = -0.5, 2.0
    assert (calls[-1]["model"].slope, calls[-1]["model"].bump) == (-0.5, 2.0)
    exec(panel.code(), scope := {})
    assert scope["result"].model == panel.result.model
    controls.attenuation.value = "smc"
    assert "model" not in calls[-1]
    assert controls.slope.value == 1.3, "what is hidden keeps what the user gave"


def test_a_missing_library_is_refused_in_words_and_nothing_is_lost(tmp_path):
    panel = SedPanel(_validated(table()))
    panel.host.select([0])
    assert panel.result.model.library == "bc03"
    panel.toggle("F444W")
    panel.controls.library.value = str(tmp_path / "none.fits")
    assert "there is no stellar library" in panel._words.value
    with pytest.raises(InputError, match="no stellar library"):
        _ = panel.result
    assert len(panel.view.line.data["x"]) == 0
    panel.apply.all.click()
    assert "there is no stellar library" in panel.message.text
    panel.controls.library.value = "  "
    assert panel.controls.library.value == "  "
    assert panel.message.text == ""
    assert len(panel.view.line.data["x"]) > 0
    assert panel.choice.library == "bc03"
    assert panel.choice.left_out == frozenset({"F444W"}), "nothing of the user's is lost on the way"
    panel.close()


def test_a_library_without_gas_is_said_and_fits_without_it(tmp_path):
    """As a grid that was converted from BPASS files alone."""
    from sc_lab.sed.bpass import write_grid

    bc03 = SedModel().loaded_library
    path = tmp_path / "stars alone.fits"
    write_grid(
        path, bc03.spectra, metallicity=0.02 * bc03.metallicity, age=bc03.age, wavelength=bc03.wavelength,
        live_fraction=bc03.live_fraction,
    )  # fmt: skip
    panel = SedPanel(_validated(table()))
    panel.host.select([0])
    panel.controls.library.value = str(path)
    assert "no nebular grids" in panel._words.value
    panel.controls.nebular.value = False
    assert "stars alone" in panel._words.value
    assert f"library={str(path)!r}" in panel.code()
    panel.apply.one.click()
    assert panel.message.text == ""
    settings = panel.session.current_catalog.meta["sc_lab"]["sed"]["settings_by_clump"]["c0"]
    assert settings["model"]["library"]["path"] == str(path)
    panel.close()


def test_a_library_that_was_handed_over_loaded_stays(calls):
    loaded = SedModel().loaded_library
    panel = SedPanel(_validated(table()))
    panel._usual = replace(panel._usual, library=loaded)
    assert panel.choice.library is loaded, "it is called bc03 too"
    assert "library=library" in panel.code()
    assert "# library: the Library 'bc03' that was handed to the panel" in panel.code()
    panel.close()


def test_a_history_in_bins_is_shown_and_not_offered_to_the_list(panel, calls):
    panel.host.select([0])
    panel.controls.sfh.value = "continuity"
    assert calls[-1]["sfh"] == "continuity"
    for button in (panel.apply.one, panel.apply.all, panel.apply.compare):
        assert button.disabled
        assert "no age of onset" in button.tooltip
    with pytest.raises(InputError, match="no age of onset"):
        panel._settings(every=True)
    panel.controls.sfh.value = "burst"
    assert not panel.apply.all.disabled
    assert panel.apply.compare.disabled
    assert "exponential" in panel.apply.compare.tooltip
    panel.controls.sfh.value = "exponential"
    assert not panel.apply.compare.disabled


def test_the_age_of_a_history_in_bins_is_named_that_of_the_mean_star():
    rng = np.random.default_rng(1)
    draws = {name: rng.normal(0, 1, 200) for name in ("log_mass", "log_age", "a_v", "log_z")}
    view = CornerView()
    view.fill(draws, dict.fromkeys(draws, (0.0, 1.0, 1.0)), mean_age=True)
    assert view.labels["log_age"].text.startswith("log mean age")
    assert any("log mean age [Myr]" in text for text in view.figure.xaxis[0].major_label_overrides.values())


def test_standing_settings_beyond_the_sliders_move_their_ends(calls):
    settings = SedSettings(
        model=SedModel(tau=30, attenuation="charlot_fall", slope=2.5),
        error_floor=0.5,
        priors=Priors(a_v=sed.Uniform(0, 6)),
    )
    panel = SedPanel(_validated(table()))
    sed_controls.set_controls(panel.view_controls, choice_from(settings))
    assert panel.choice == choice_from(settings)
    panel.close()


def test_start_values_of_controls_are_fitted_with(calls):
    panel = SedPanel(_validated(table()), tau=10.0, a_v_max=2.5)
    assert calls[-1]["tau"] == 10 * u.Myr
    assert calls[-1]["priors"].a_v.high == 2.5
    panel.close()


def test_a_band_left_out_is_not_observed_for_the_fit_and_open_in_the_plot(panel, calls):
    panel.host.select([0])
    panel.controls.use_f150w.value = False
    at = BANDS.index("F150W")
    assert calls[-1]["bands"] == BANDS  # the same tables serve
    assert np.isnan(calls[-1]["flux"][at])
    assert panel.view.points.data["fill"][at] == 0.0
    assert panel.view.residuals.data["fill"][at] == 0.0
    assert "5 bands" in panel._words.value
    panel.host.select([1])  # a band is left out of one clump
    assert panel.controls.use_f150w.value is True
    assert np.isfinite(calls[-1]["flux"]).all()
    panel.host.select([0])
    assert panel.controls.use_f150w.value is False


def test_a_click_on_a_point_leaves_its_band_out_and_takes_it_in_again(panel, calls):
    from bokeh.events import Tap

    panel.host.select([0])
    plot, data = panel.figures["sed"], panel.view.points.data
    x, y = float(data["x"][2]), float(data["flux"][2])
    panel.view._tapped(Tap(plot, x=x, y=y))
    assert panel.choice.left_out == frozenset({"F200W"})
    panel.view._tapped(Tap(plot, x=x, y=y * 3))  # far above every point
    assert panel.choice.left_out == frozenset({"F200W"})
    panel.view._tapped(Tap(plot, x=x, y=y))
    assert panel.choice.left_out == frozenset()


def test_too_few_bands_left_is_said(panel):
    panel.host.select([0])
    for band in BANDS[:-1]:
        panel.toggle(band)
    assert "c0 has 1 of its 6 bands left" in panel._words.value
    with pytest.raises(InputError, match="no light in 'F999W'"):
        panel.toggle("F999W")


def test_reset_takes_everything_back(panel, calls):
    panel.host.select([0])
    panel.controls.tau.value, panel.controls.a_v_max.value = 10.0, 2.0
    panel.controls.redshift.value = 4.0
    panel.toggle("F444W")
    panel.buttons["reset"].click()
    assert panel.choice == Choice()
    assert panel.controls.redshift.value == 2.0
    assert panel.controls.use_f444w.value is True


def test_a_prior_upside_down_is_refused_in_words_and_mended(panel):
    panel.host.select([0])
    panel.controls.a_v_min.value = 1.5
    assert "prior of a_v runs from 1.5 to 1" in panel.message.text
    assert len(panel.view.line.data["x"]) == 0
    panel.controls.a_v_max.value = 2.0
    assert panel.message.text == ""
    assert len(panel.view.line.data["x"]) > 0


def test_fits_are_kept(panel, calls):
    panel.host.select([0])
    panel.host.select([1])
    n = len(calls)
    panel.host.select([0])
    panel.controls.tau.value = 10.0
    panel.controls.tau.value = 1.0
    assert len(calls) == n + 1


def test_the_printed_call_gives_the_same_fit(panel):
    """With bands left out, other priors, an open age limit, another redshift: whatever changes the call."""
    panel.host.select([4])
    panel.toggle("F277W")
    panel.controls.age_min.value = 3.0
    panel.controls.metallicity_max.value = 2.0
    panel.controls.redshift.value = 2.5
    panel.controls.tau.value = 10.0
    scope = {}
    exec(panel.code(), scope)
    assert "left out by hand (F277W)" in panel.code()
    ours, theirs = panel.result, scope["result"]
    assert ours is not theirs
    assert ours.samples.keys() == theirs.samples.keys()
    for name in ours.samples:
        np.testing.assert_array_equal(ours.samples[name], theirs.samples[name])


def test_a_long_name_leaves_the_title_room_and_is_whole_below(calls):
    """Both ends of a name stay in the title; redshift and magnification follow it, and the sentences tell it whole."""
    out = table()
    name = "a_field_with_a_long_name-a_galaxy_with_a_long_name-and_a_clump_of_it-0001"
    out["id"] = ["c0" * 15, *(f"c{i}" for i in range(1, 5)), name]
    panel = SedPanel(_validated(out))
    panel.host.select([5])
    shown, z, mu = panel.figures["sed"].title.text.split(" · ")
    assert len(shown) == 30
    assert shown.startswith("a_field_with")
    assert shown.endswith("of_it-0001")
    assert "…" in shown
    assert (z, mu) == ("z = 6", "μ = 100")
    assert f"clump {name}" in panel._words.value
    panel.host.select([0])
    assert panel.figures["sed"].title.text.startswith("c0" * 15 + " · ")  # thirty letters are not cut
    assert "clump c0" not in panel._words.value
    panel.close()


def test_hostile_names_stay_text(calls):
    out = table()
    name = "c0\nimport os  # $$x$$ <img src=x onerror=alert(1)>"
    out["id"] = [name, *(f"c{i}" for i in range(1, 6))]
    panel = SedPanel(_validated(out))
    panel.host.select([0])
    assert "$$" not in panel.figures["sed"].title.text
    exec(panel.code(), scope := {})
    assert "os" not in scope
    assert "&lt;b&gt;posterior" in panel._words.value
    panel.host.select([2])
    panel.close()


def test_the_shape_error_goes_to_the_fit(calls):
    out = table()
    out["flux_shape_err"] = np.full(6, 0.07)
    panel = SedPanel(_validated(out))
    assert calls[-1]["shape_err"] == 0.07
    assert "shape_err=0.07" in panel.code()
    panel.close()


def test_to_the_list_and_back_a_choice_stays_the_same():
    choice = Choice(
        tau=10.0,
        mode="compat",
        attenuation="smc",
        nebular=False,
        error_floor=0.1,
        limits=(("age", (5.0, 13000.0)), ("metallicity", (0.01, 1.0))),
        left_out=frozenset({"F150W"}),
    )
    assert choice_from(settings_of(choice, SedSettings(seed=7))) == choice
    assert settings_of(choice, SedSettings(seed=7, n_draws=50)).n_draws == 50
    with pytest.raises(InputError, match="redshifts of its catalogue"):
        settings_of(replace(choice, z=3.0), SedSettings())


def test_the_panel_begins_with_the_settings_of_the_list_and_goes_to_it_as_one_step(calls, monkeypatch):
    asked = []

    def refit(session, settings, *, ids=None):
        asked.append((settings, ids))
        return True

    monkeypatch.setattr(sed_apply, "refit_seds", refit)
    panel = SedPanel(_validated(table()))
    panel.host.select([0])
    panel.controls.tau.value = 10.0
    panel.toggle("F115W")
    panel.apply.one.click()
    panel.apply.all.click()
    (settings, ids), (every, none) = asked
    assert ids == ["c0"]
    assert none is None
    assert settings == every == SedSettings(model=SedModel(tau=10.0), excluded=("F115W",))
    panel.controls.redshift.value = 3.0
    panel.apply.all.click()
    assert "redshifts of its catalogue" in panel.message.text
    panel.host.select([2])
    panel.apply.one.click()
    assert "c2 has no redshift" in panel.message.text
    assert len(asked) == 2
    panel.close()


def test_a_second_history_starts_and_stops_from_the_panel(monkeypatch):
    """Of the list as it came, with one set: figure 5 of the paper has both, solid and dashed."""
    panel = SedPanel(_validated(table()))
    session, compare = panel.session, panel.apply.compare
    assert panel.host.population.histories == ("",)
    assert compare.description == "Compare with τ = 10 Myr"
    panel.controls.tau.value = 10.0
    assert compare.description == "Compare with τ = 1 Myr"
    panel.controls.tau.value = 1.0
    compare.click()
    assert panel.message.text == ""
    assert panel.host.population.histories == ("", "tau10")
    assert compare.description == "Drop τ = 10 Myr"
    session.undo()
    assert panel.host.population.histories == ("",)
    assert compare.description == "Compare with τ = 10 Myr"
    session.redo()
    mass = np.array(panel.host.population.values("mass"))
    compare.click()
    assert "the second history is gone" in panel.apply.words.value
    assert panel.host.population.histories == ("",)
    np.testing.assert_array_equal(panel.host.population.values("mass"), mass)
    session.undo()
    assert panel.host.population.histories == ("", "tau10")
    panel.close()


# ---- what is drawn ---------------------------------------------------------------------------------------------------
def test_what_is_drawn_is_the_fit_and_masses_are_intrinsic(panel):
    panel.host.select([0])
    fit, light = panel.result, panel.light
    curves = curves_of(fit, light, panel.choice, low=0.7, high=6.0)
    np.testing.assert_allclose(curves.numbers["log_mass"][0], fit.quantile("log_mass", 0.5) - 1.0)  # mu = 10
    np.testing.assert_allclose(curves.sfr[:, 2], [0.132, 0.2, 0.268, 0.2])  # quantiles and mean of 1 to 3 Msun/yr
    error = np.hypot(light.flux_err, 0.03 * light.flux)
    np.testing.assert_allclose(curves.residual, (light.flux - fit.model_flux([0.5])[0]) / error)
    assert "μ = 10" in panel._words.value
    assert panel.corner.labels["log_mass"].text.startswith(f"log M {curves.numbers['log_mass'][0]:.2f}")


def test_a_fit_made_elsewhere_is_shown_as_it_is(calls):
    fit = sed.fit_photometry(
        np.full(6, 5.0) * u.nJy, np.ones(6) * u.nJy, BANDS, 2.0, sfh="exponential", rng=1, streams=[0]
    )
    panel = SedPanel(fit)
    assert panel.result is fit
    assert len(panel.view.line.data["x"]) > 0
    assert "mass and rates as observed" in panel._words.value
    panel.controls.tau.value = 10.0
    assert panel.result is not fit
    panel.buttons["reset"].click()
    assert panel.result is fit
    panel.close()
    with pytest.raises(InputError, match="cannot be columns"):
        SedPanel(replace(fit, bands=("a/b", *BANDS[1:])))


def test_thinning_a_spectrum_keeps_its_lines(panel):
    panel.host.select([0])
    curves = curves_of(panel.result, panel.light, panel.choice, low=0.3, high=30.0)
    _wave, flux = panel.result.spectrum()
    assert len(curves.wavelength) <= 900
    assert curves.spectrum[1].max() == flux[1].max()
    assert np.all(np.diff(curves.wavelength) > 0)


def test_a_faint_flux_is_drawn_as_a_limit_of_three_sigma(panel):
    panel.host.select([4])
    at = list(panel.view.points.data["band"]).index("F115W")
    assert panel.view.points.data["flux"][at] == pytest.approx(3.0)
    assert list(panel.view.limits.data["top"]) == pytest.approx([3.0])
    assert "0.5 ± 1 nJy" in panel.view.points.data["note"][at]


def test_contours_of_the_corner_hold_68_and_95_percent():
    """Of a Gaussian the contours are circles of 1.52 and 2.45 sigma; bins and smoothing leave 10 %."""
    rng = np.random.default_rng(1)
    draws = {name: rng.normal(0, 1, 20000) for name in ("log_mass", "log_age", "a_v", "log_z")}
    view = CornerView()
    view.fill(draws, dict.fromkeys(draws, (0.0, 1.0, 1.0)))
    low, high = view.ranges["log_mass"]
    x, y = (np.asarray(view.contours.data[name], dtype=float) for name in ("x", "y"))
    cell = (x >= 0) & (x <= 1) & (y >= 2.2) & (y <= 3.2)  # the first cell of the second row
    radius = np.hypot(x[cell] - 0.5, y[cell] - 2.7) * (high - low)
    inner, outer = radius[radius < 2.0], radius[radius > 2.0]
    assert np.median(inner) == pytest.approx(1.52, rel=0.1)
    assert np.median(outer) == pytest.approx(2.45, rel=0.1)


# ---- the panel contract ----------------------------------------------------------------------------------------------
def test_two_panels_are_independent(calls):
    with Session(_validated(table())) as one, Session(_validated(table())) as two:
        a, b = SedPanel(one), SedPanel(two)
        a.host.select([5])
        a.controls.tau.value = 10.0
        a.toggle("F115W")
        assert b.choice == Choice()
        assert b.figures["sed"].title.text.startswith("c0")
        a.close()
        b.close()


def test_undo_returns_the_view(panel):
    def shown():
        return {name: figure_data(figure) for name, figure in panel.figures.items()}

    before = shown()
    panel.session.do("set", size_threshold=60.0)
    panel.session.undo()
    for name, numbers in shown().items():
        assert numbers.pformat(max_lines=-1) == before[name].pformat(max_lines=-1)


def test_close_frees_the_panel_and_its_subscription(calls):
    with Session(_validated(table())) as session:
        listeners, widgets = len(session._core.subscribers), len(ipywidgets.widgets.widget._instances)
        panel = SedPanel(session)
        assert panel.widget is not None
        gone = weakref.ref(panel)
        panel.close()
        assert len(session._core.subscribers) == listeners
        assert len(ipywidgets.widgets.widget._instances) == widgets
        del panel
        gc.collect()
        assert gone() is None


def test_a_cell_run_three_times_keeps_one_subscription(calls, monkeypatch):
    from sc_lab_widgets import _cells

    with Session(_validated(table())) as session:
        counts = []
        for run in range(3):
            monkeypatch.setattr(_cells, "_this_cell", lambda run=run: ("cell of the SED", run))
            panel = SedPanel(session)
            assert panel.widget is not None
            counts.append(len(session._core.subscribers))
        assert len(set(counts)) == 1
        panel.close()


def test_data_of_the_plot_are_written(panel, tmp_path):
    panel.save(tmp_path / "sed.ecsv", "sed")
    assert "photometry" in (tmp_path / "sed.ecsv").read_text()


def test_in_a_workbench_the_sed_follows_the_selection(calls):
    with Session(_validated(table())) as session:
        workbench = Workbench(session)
        workbench.controls.view.value = "SED"
        panel = workbench.panels["SED"]
        assert "click a clump" in panel._words.value
        workbench.select(["c5"])
        assert panel.figures["sed"].title.text.startswith("c5")
        workbench.controls.view.value = "overview"
        n = len(calls)
        workbench.select(["c0"])
        assert len(calls) == n  # nobody looks
        workbench.controls.view.value = "SED"
        assert panel.figures["sed"].title.text.startswith("c0")
        workbench.close()


def test_over_images_the_sed_of_the_selected_clump_can_be_shown_between_them_and_the_plots(calls):
    from astropy.wcs import WCS

    from sc_lab.images import Field

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-0.02 / 3600, 0.02 / 3600]
    noise = np.random.default_rng(1).normal(0, 1, (40, 40))
    bands = ("F150W", "F277W")
    errors = {band: np.ones((40, 40)) for band in bands}
    field = Field.from_arrays(dict.fromkeys(bands, noise), errors=errors, wcs=dict.fromkeys(bands, wcs), name="noise")
    workbench = Workbench(field)
    images = workbench._views["images"]
    before = list(images.children)
    workbench.controls.with_sed.value = True
    panel = workbench.panels["SED"]
    assert panel.visible
    assert images.children[1].children == [panel.figures["sed"], panel.figures["sed_corner"]]
    workbench.controls.view.value = "overview"
    assert not panel.visible
    workbench.controls.view.value = "images"
    assert panel.visible
    workbench.controls.with_sed.value = False
    assert list(images.children) == before
    assert not panel.visible
    workbench.close()


def test_a_click_where_the_pointer_has_rested_finds_its_fit_made(calls):
    catalog = table()
    catalog["r_eff"] = np.geomspace(1, 30, len(catalog)) * u.pc  # apart in the plane
    catalog["z"][2] = 2.0
    workbench = Workbench(_validated(catalog), view="SED")
    workbench.select(["c2"])
    workbench.select(["c0"])  # with the tables there: it is known from now on that such fits are quick
    panel, population = workbench.panels["SED"], workbench.population
    calls.clear()

    def rest(name, figure="density_size"):
        row = population.index[name]
        x, y = (float(population.values(axis)[row]) for axis in ("r_eff", "sigma_mass"))
        workbench.pane._handle_custom_msg({"type": "rest", "view": "v", "figure": figure, "x": x, "y": y}, [])

    rest("c0")  # shown already
    rest("c1", figure="sed")  # no plane of clumps
    rest("c5")  # another redshift: its tables are not there
    assert not calls
    rest("c1")
    rest("c1")
    assert len(calls) == 1
    assert panel.figures["sed"].title.text.startswith("c0")
    workbench.select(["c1"])
    assert len(calls) == 1
    assert panel.figures["sed"].title.text.startswith("c1")
    workbench.close()


# ---- beside the gestures ---------------------------------------------------------------------------------------------
def test_in_a_notebook_the_first_fit_is_made_beside_the_clicks_and_the_newest_is_shown(calls):
    async def use():
        panel = SedPanel(_validated(table()))
        assert panel.engine.busy
        assert "are being made" in panel._words.value
        panel.host.select([5])
        panel.host.select([1])
        for _ in range(200):
            await asyncio.sleep(0.01)
            if len(panel.view.line.data["x"]):
                break
        assert panel.figures["sed"].title.text.startswith("c1")
        assert "ESS = 450" in panel._words.value
        panel.host.select([0])  # the same redshift: warm, so at once
        assert not panel.engine.busy
        assert "ESS = 450" in panel._words.value
        panel.close()

    asyncio.run(use())


def test_tables_of_the_other_redshifts_are_made_when_the_user_rests(calls, monkeypatch):
    monkeypatch.setattr(sed_engine, "_REST", 0.05)

    async def use():
        panel = SedPanel(_validated(table()))
        for _ in range(300):
            await asyncio.sleep(0.01)
            if {call["z"] for call in calls} == {2.0, 3.0, 6.0}:
                break
        assert {call["z"] for call in calls} == {2.0, 3.0, 6.0}  # not that of the clump in one band
        assert len(calls) == 3
        panel.host.select([5])
        assert not panel.engine.busy
        assert "c5" in panel.figures["sed"].title.text
        assert len(panel.view.line.data["x"]) > 0
        panel.close()

    asyncio.run(use())


def test_an_error_beside_the_clicks_is_shown_in_place(calls, monkeypatch):
    def fails(*_args, **_options):
        msg = "the library has no such <age>"
        raise InputError(msg)

    monkeypatch.setattr(sed, "fit_photometry", fails)

    async def use():
        panel = SedPanel(_validated(table()))
        for _ in range(200):
            await asyncio.sleep(0.01)
            if panel.message.text:
                break
        assert panel.message.text == "the library has no such <age>"
        assert "&lt;age&gt;" in panel.message.value
        panel.close()

    asyncio.run(use())


# ---- the check with bagpipes -----------------------------------------------------------------------------------------
class StubJudging:
    """A judge that is as far as a test says."""

    made: list

    def __init__(self, fit):
        self.fit, self.progress, self.cancelled, self.ended, self.error = fit, (0.0, "starts"), False, False, None

    def done(self):
        return self.ended

    def cancel(self):
        self.cancelled = True

    def result(self, timeout=None):
        if self.error is not None:
            raise self.error
        samples = dict(self.fit.samples) | {"a_v": self.fit.samples["a_v"] + 0.1}
        return replace(self.fit, samples=samples, engine="bagpipes", cautions=("only <i>400</i> live points",))


@pytest.fixture
def judged(monkeypatch):
    made = []

    def open_judge(fit, **_options):
        made.append(StubJudging(fit))
        return made[-1]

    monkeypatch.setattr(judging, "open_judge", open_judge)
    return made


def test_bagpipes_reports_and_its_answer_is_laid_over(panel, judged):
    panel.host.select([0])
    panel.judge.button.click()
    assert panel.judge.running
    assert panel.judge.button.disabled
    judged[0].progress = (0.4, "21,300 models computed, about 40 %")
    panel.judge.poll()
    assert panel.judge.bar.value == 0.4
    assert "21,300 models" in panel.judge.words.value
    judged[0].ended = True
    panel.judge.poll()
    assert not panel.judge.running
    assert len(panel.view.judged["spectrum"].data["x"]) > 0
    assert len(panel.corner.judged.data["x"]) > 0
    assert "A_V" in panel._table.value
    assert "&lt;i&gt;400" in panel._table.value
    panel.host.select([1])
    assert len(panel.view.judged["spectrum"].data["x"]) == 0
    assert panel._table.value == ""
    panel.host.select([0])  # it is remembered for its clump and settings
    assert len(panel.view.judged["spectrum"].data["x"]) > 0


def test_bagpipes_can_be_stopped_and_its_errors_are_shown(panel, judged):
    panel.host.select([0])
    panel.judge.button.click()
    panel.judge.stop.click()
    assert judged[0].cancelled
    assert not panel.judge.running
    assert "stopped" in panel.judge.words.value
    panel.judge.button.click()
    judged[1].error, judged[1].ended = InputError("bagpipes <failed>"), True
    panel.judge.poll()
    assert panel.message.text == "bagpipes <failed>"
    assert not panel.judge.button.disabled


def test_an_answer_for_a_clump_no_longer_shown_waits(panel, judged):
    panel.host.select([0])
    panel.judge.button.click()
    panel.host.select([1])
    judged[0].ended = True
    panel.judge.poll()
    assert len(panel.view.judged["spectrum"].data["x"]) == 0
    panel.host.select([0])
    assert len(panel.view.judged["spectrum"].data["x"]) > 0


def test_closing_the_panel_stops_bagpipes(calls, judged):
    panel = SedPanel(_validated(table()))
    panel.judge.button.click()
    panel.close()
    assert judged[0].cancelled


def test_nothing_to_check_is_said(panel, judged):
    panel.host.select([2])
    panel.judge.button.click()
    assert "no redshift" in panel.message.text
    assert judged == []


# ---- the real engine -------------------------------------------------------------------------------------------------
def test_with_the_real_engine_the_printed_call_and_the_list_give_the_numbers_of_the_panel():
    """The same seeds, bands and priors: to the last digit, and undo takes the list back."""
    with Session(_validated(table())) as session:
        panel = SedPanel(session, tau=10.0, a_v_max=0.8)
        panel.host.select([0])
        panel.toggle("F115W")
        exec(panel.code(), scope := {})
        fit = panel.result
        for name, values in fit.samples.items():
            np.testing.assert_array_equal(values, scope["result"].samples[name])
        before = float(session.current_catalog["mass"][0].value)
        panel.apply.all.click()
        assert panel.message.text == ""
        after = float(session.current_catalog["mass"][0].value)
        np.testing.assert_allclose(after, 10 ** float(fit.quantile("log_mass", 0.5)) / 10.0, rtol=1e-6)  # mu = 10
        again = SedPanel(session)
        assert again.choice == panel.choice
        session.undo()
        assert float(session.current_catalog["mass"][0].value) == before
        again.close()
        panel.close()


def test_in_a_notebook_the_list_is_fitted_beside_the_clicks_and_can_be_stopped(monkeypatch):
    going, stopped = [], []

    def rows(_table, wanted, _settings, *, cosmology, progress, cancel):
        for i in range(1000):
            going.append(i)
            progress(i, 1000)
            if cancel.wait(0.01):
                stopped.append(i)
                msg = "the fits were stopped"
                raise ScLabError(msg)

    monkeypatch.setattr(sed_apply, "sed_rows", rows)
    monkeypatch.setattr(sed_apply, "_PERIOD", 0.02)

    async def use(calls):
        panel = SedPanel(_validated(table()))
        panel.apply.all.click()
        assert panel.apply.running
        assert panel.apply.all.disabled
        for _ in range(200):
            await asyncio.sleep(0.01)
            if panel.apply.bar.value > 0:
                break
        assert " of 1000 SEDs" in panel.apply.words.value
        panel.apply.stop.click()
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not panel.apply.running:
                break
        assert stopped
        assert "nothing has changed" in panel.apply.words.value
        assert panel.message.text == ""
        assert not panel.apply.all.disabled
        panel.close()

    calls = Calls()
    monkeypatch.setattr(sed, "fit_photometry", stand_in(calls))
    asyncio.run(use(calls))


def test_what_is_said_of_bagpipes_goes_when_the_list_is_fitted_and_one_fit_is_one(monkeypatch):
    def rows(_table, _wanted, _settings, *, cosmology, progress, cancel):
        progress(1, 1)

    async def use():
        panel = SedPanel(_validated(table()))
        panel.judge.words.value = "bagpipes was stopped"
        panel.apply.one.click()
        assert panel.judge.words.value == ""
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not panel.apply.running:
                break
        assert "1 SED fitted" in panel.apply.words.value
        panel.judge._say("bagpipes starts")
        panel.judge.begun()
        assert panel.apply.words.value == ""
        panel.close()

    monkeypatch.setattr(sed_apply, "sed_rows", rows)
    monkeypatch.setattr(sed_apply, "refit_seds", lambda *_args, **_options: True)
    monkeypatch.setattr(sed_apply, "_PERIOD", 0.02)
    monkeypatch.setattr(sed, "fit_photometry", stand_in(Calls()))
    asyncio.run(use())


def test_limits_of_the_panel_are_the_usual_priors():
    """A control at its start must change nothing."""
    usual = Priors()
    for name, (low, high) in sed_choice.LIMITS.items():
        prior = getattr(usual, name)
        assert prior.low == low
        assert prior.high == high or name == "age"
    assert Choice().mode == SedModel().mode
    light = Light("c", BANDS, np.ones(6), np.ones(6), 2.0, 1.0)
    assert "priors" not in fit_code(light, Choice())
