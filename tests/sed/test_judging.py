"""The judge: the same data and priors, side by side, in the background."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sc_lab.errors import InputError, ScLabError
from sc_lab.sed import judging
from sc_lab.sed._bagpipes_process import Report
from sc_lab.sed.fitting import fit_photometry
from sc_lab.sed.judging import compare, judge, open_judge
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import LogUniform, Priors
from sc_lab.sed.results import SedFit, SedFits
from sc_lab.sed.spectra import model_fluxes


def make_fit(*, shift=0.0, width=0.1, engine="grid", **changes):
    """Return a fit whose posterior of the mass is a Gaussian about 7 + shift."""
    quantiles = (np.arange(2000) + 0.5) / 2000
    from scipy.special import ndtri

    settings = {
        "samples": {"log_mass": 7.0 + shift + width * ndtri(quantiles), "a_v": np.full(2000, 0.2)},
        "weights": np.ones(2000),
        "bands": ("F150W", "F200W"),
        "flux": np.array([50.0, 40.0]),
        "flux_err": np.array([5.0, 4.0]),
        "z": 2.0,
        "model": SedModel(mode="compat"),
        "priors": Priors(),
        "log_evidence": -10.0 - shift,
        "ess": 2000.0,
        "best": {"log_mass": 7.0},
        "best_chi2": 1.0,
        "best_flux": np.array([50.0, 40.0]),
        "engine": engine,
        "error_floor": 0.03,
    }
    return SedFit(**(settings | changes))


def test_the_table_gives_differences_in_sigma_and_leaves_out_what_was_fixed():
    table = compare(make_fit(shift=0.05), make_fit(engine="bagpipes", width=0.2, meta={"log_evidence_err": 0.03}))
    assert list(table["name"]) == ["log_mass"]
    row = table[0]
    # 68 % of a Gaussian is 2 x 0.9945 sigma wide; 2000 draws interpolate it to 1e-4.
    assert row["width"] == pytest.approx(0.09945, rel=1e-3)
    assert row["judge_width"] == pytest.approx(0.1989, rel=1e-3)
    assert row["difference"] == pytest.approx(0.05, abs=1e-9)
    assert row["in_sigma"] == pytest.approx(0.05 / (0.9945 * 0.15), rel=1e-3)
    assert row["width_ratio"] == pytest.approx(0.5, rel=1e-6)
    assert table.meta["log_evidence_difference"] == pytest.approx(-0.05)
    assert table.meta["log_evidence_err"] == pytest.approx(0.03)
    assert table.meta["cautions"] == ()
    assert table.meta["engines"] == ("grid", "bagpipes")


def test_what_makes_two_fits_hard_to_compare_is_said():
    fine = make_fit(model=SedModel(mode="fine"))
    missed = make_fit(engine="bagpipes", best_chi2=300.0)
    said = compare(fine, missed).meta["cautions"]
    assert any("mode 'fine'" in sentence for sentence in said)
    assert any("missed the better solution" in sentence for sentence in said)


def fake_engine(calls):
    """Return a stand-in of the engine that records what it is asked."""

    def fit(flux, flux_err, bands, z, **options):
        calls.append({"flux": flux, "flux_err": flux_err, "bands": bands, "z": z, **options})
        return SedFits([make_fit(engine="bagpipes", z=float(each), meta={"n_calls": 1234}) for each in z])

    return fit


def test_the_judge_is_given_the_same_data_and_priors(monkeypatch):
    calls = []
    monkeypatch.setattr(judging, "fit_with_bagpipes", fake_engine(calls))
    priors = Priors(age=(2.0, 500.0))
    fit = make_fit(priors=priors, shape_err=np.array([0.1, 0.1]), flux=np.array([50.0, np.nan]), distance=9.9)
    assert judge(fit, n_live=300).engine == "bagpipes"
    call = calls[0]
    np.testing.assert_array_equal(call["flux"], [[50.0, np.nan]])
    np.testing.assert_array_equal(call["shape_err"], [[0.1, 0.1]])
    assert call["priors"] == [priors]
    assert (call["n_live"], call["error_floor"], call["distance"], call["bands"]) == (300, 0.03, 9.9, fit.bands)
    both = judge(SedFits([make_fit(), make_fit(z=3.0)]))
    assert [each.z for each in both] == [2.0, 3.0]
    assert calls[1]["shape_err"] is None
    assert len(judge(SedFits([]))) == 0


def test_ages_sampled_in_their_logarithm_are_weighted_back_to_the_flat_prior(monkeypatch):
    """The truth is closed: ages drawn from the log-uniform prior itself become the flat prior, with evidence one."""
    low, high, n = 2.0, 200.0, 4000
    ages = low * (high / low) ** ((np.arange(n) + 0.5) / n)
    asked = []

    def engine(flux, flux_err, bands, z, *, priors, **_):
        asked.extend(priors)
        drawn = make_fit(samples={"age": ages}, weights=np.ones(n), priors=priors[0], log_evidence=-10.0, ess=4000.0)
        return SedFits([drawn])

    monkeypatch.setattr(judging, "fit_with_bagpipes", engine)
    flat = Priors(age=(low, high))
    judged = judge(make_fit(priors=flat), log_age=True)
    assert asked[0].age == LogUniform(low, high)
    assert judged.priors == flat
    # Midpoints of 4000 steps: the sums are exact to their square.
    np.testing.assert_allclose(judged.quantile("age", [0.16, 0.5, 0.84]), flat.age.ppf([0.16, 0.5, 0.84]), rtol=2e-3)
    assert judged.log_evidence == pytest.approx(-10.0, abs=1e-4)
    # Weights in proportion to age: (mean age)^2 over mean age^2 of log-uniform ages.
    expected = 2 * (high - low) ** 2 / (np.log(high / low) * (high**2 - low**2))
    assert judged.ess == pytest.approx(4000 * expected, rel=1e-3)


def test_fits_of_other_models_are_not_judged_together():
    with pytest.raises(InputError, match="differ in model"):
        judge(SedFits([make_fit(), make_fit(model=SedModel(tau=10.0))]))
    with pytest.raises(InputError, match="redshift was fitted"):
        judge(make_fit(samples={"z": np.ones(2000)}))


def test_the_background_tells_how_far_it_is_and_calls_back(monkeypatch):
    go, told = threading.Event(), []

    def slow(flux, flux_err, bands, z, *, report, **options):
        report(Report(0, 0.4, 5000))
        report(Report(0, 0.3, 6000))
        go.wait(30.0)
        return fake_engine([])(flux, flux_err, bands, z, **options)

    monkeypatch.setattr(judging, "fit_with_bagpipes", slow)
    work = open_judge(make_fit())
    work.add_done_callback(told.append)
    with pytest.raises(TimeoutError):
        work.result(0.05)
    assert not work.done()
    assert work.progress[0] == 0.4
    go.set()
    assert work.result(30.0).engine == "bagpipes"
    assert work.progress == (1.0, "done after 1,234 models")
    assert told == [work]
    assert work.exception(1.0) is None


def test_a_cancelled_judge_raises_where_its_result_is_asked_for(monkeypatch):
    def stopped(*_, cancel, **__):
        assert cancel.wait(30.0)
        msg = "the bagpipes fit was cancelled"
        raise ScLabError(msg)

    monkeypatch.setattr(judging, "fit_with_bagpipes", stopped)
    one, other = open_judge(make_fit()), open_judge(make_fit())
    one.cancel()
    with pytest.raises(ScLabError, match="cancelled"):
        one.result(30.0)
    assert one.progress[1] == "cancelled"
    assert one.was_cancelled
    # Two judges share nothing.
    assert not other.done()
    assert not other.was_cancelled
    other.cancel()
    assert isinstance(other.exception(30.0), ScLabError)


@pytest.mark.slow
def test_bagpipes_agrees_with_the_live_engine_where_there_is_one_broad_peak():
    """Age, mass and dust are free at S/N 20; stars younger than 25 Myr would be a second peak that few points miss."""
    bands = ("F115W", "F200W", "F356W")
    model = SedModel(mode="compat")
    truth = {"age": 40.0, "log_mass_formed": 7.0, "metallicity": 0.4, "a_v": 0.3, "log_u": -2.0}
    flux = model_fluxes(model, bands, 2.0, truth)[0]
    priors = Priors(age=(30.0, 70.0), a_v=(0.1, 0.6), metallicity=0.4, log_u=-2.0, log_mass_formed=(6.7, 7.3))
    fit = fit_photometry(flux, 0.05 * flux, bands, 2.0, model=model, priors=priors, error_floor=0.0, rng=1)
    ends = []
    work = open_judge(fit, n_live=60, n_draws=300, rng=1)
    work.add_done_callback(ends.append)
    judged = work.result(300.0)
    table = compare(fit, judged)
    assert set(table["name"]) >= {"age", "log_mass", "log_mass_formed", "a_v", "abs_mag_v", "sfr100"}
    smooth = table[[name in {"age", "log_mass", "a_v"} for name in table["name"]]]
    # Some 200 effective draws: 0.09 sigma on a median, 7 % on a width; five of those.
    assert np.abs(smooth["in_sigma"]).max() < 0.45
    assert np.abs(np.log(smooth["width_ratio"])).max() < 0.35
    # What nautilus states is its counting noise alone; a prior of 60 points leaves several times that.
    assert abs(table.meta["log_evidence_difference"]) < 0.3
    # The same model: what the live engine finds best cannot be much worse than what a sampler comes across.
    assert fit.best_chi2 < judged.best_chi2 + 0.1
    assert judged.priors == fit.priors
    assert ends == [work]
