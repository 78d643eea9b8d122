"""bagpipes, run apart: its answers in our units, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError, OptionalDependencyError, ScLabError
from sc_lab.sed import _bagpipes_process as process
from sc_lab.sed import bagpipes_engine
from sc_lab.sed.bagpipes_engine import fit_with_bagpipes
from sc_lab.sed.filters import Filter
from sc_lab.sed.fitting import fit_photometry
from sc_lab.sed.libraries import grid_folder
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import Priors, Uniform
from sc_lab.sed.spectra import model_fluxes

BANDS = ("blue", "green", "red")
FLUX, ERROR = np.array([52.0, 46.0, 34.0]), np.array([5.0, 4.0, 3.0])
#: Everything but the mass is fixed: the posterior of the mass is then a Gaussian cut at the prior's limits.
MASS_ONLY = Priors(age=50.0, metallicity=0.4, a_v=0.2, log_u=-2.0, log_mass_formed=Uniform(7.6, 8.2))
#: Fifty live points: a tenth of a sigma on a median, seconds per fit.
QUICK = {"n_live": 50, "n_draws": 150, "error_floor": 0.0}


def box(low, high):
    """Return a smooth throughput curve between two wavelengths [Angstrom]."""
    wavelength = np.linspace(low, high, 40)
    return Filter.from_curve("box", wavelength, 1.0 - (np.linspace(-1, 1, 40) ** 2) ** 4 + 1e-9)


FILTERS = (box(13300.0, 16700.0), box(17600.0, 22300.0), box(31200.0, 39700.0))
UNSEEN = box(24000.0, 30000.0)
ERROR4 = np.array([*ERROR, np.inf])


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Return the folder in which private folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def mass_posterior(model_flux, log_mass):
    """Return quantiles of log mass and the log evidence [1/nJy each band] by adding up a fine grid."""
    grid = np.linspace(7.6, 8.2, 200_001)
    scale = 10 ** (grid - log_mass)
    chi2 = (((FLUX[:, None] - model_flux[:, None] * scale) / ERROR[:, None]) ** 2).sum(axis=0)
    log_like = -0.5 * chi2 - np.log(ERROR * np.sqrt(2 * np.pi)).sum()
    like = np.exp(log_like - log_like.max())
    cdf = np.cumsum(like) / like.sum()
    return np.interp([0.16, 0.5, 0.84], cdf, grid), log_like.max() + np.log(like.mean())


@pytest.mark.slow
def test_masses_are_those_of_the_closed_form_and_two_runs_disturb_neither_each_other_nor_the_machine(
    temporary, tmp_path, monkeypatch
):
    """Two at once, one of them with an installation that cannot be written to: same answers, nothing left anywhere."""
    installed = grid_folder().parents[1]
    before = sorted(path.name for path in grid_folder().iterdir())
    # An installation of its own, without the table that bagpipes would write there; its large grids stay where they are.
    copy = tmp_path / "site" / "bagpipes"
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("*.fits", "__pycache__"))
    for grid in grid_folder().glob("*.fits"):
        if "igm" not in grid.name:
            (copy / "models" / "grids" / grid.name).symlink_to(grid)
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    listing = sorted(str(path) for path in copy.rglob("*"))
    here = tmp_path / "here"
    here.mkdir()
    # What bagpipes would take for its own earlier work, and a filter, lie in the working folder.
    (here / "pipes" / "posterior").mkdir(parents=True)
    monkeypatch.chdir(here)
    untouched = sorted(str(path) for path in here.rglob("*"))
    progress = []

    def run(flux, keywords):
        return fit_photometry(
            flux, ERROR4, (*FILTERS, UNSEEN), 2.0, engine="bagpipes", priors=MASS_ONLY, rng=7, **QUICK, **keywords
        )

    real = process._import_path
    paths = {"copy": [str(copy.parent), *real()], "installed": real()}
    monkeypatch.setattr(process, "_import_path", lambda: paths[threading.current_thread().name])

    def named(name, flux, keywords):
        threading.current_thread().name = name
        return run(flux, keywords)

    try:
        with ThreadPoolExecutor(2) as pool:
            tasks = [
                pool.submit(named, "copy", [*FLUX, np.nan], {"progress": lambda *step: progress.append(step)}),
                pool.submit(named, "installed", [*FLUX, 77.0] * u.nJy, {}),
            ]
            first, second = (task.result() for task in tasks)
        # bagpipes' model, at the mass of its best draw, gives the Gaussian in mass.
        quantiles, log_evidence = mass_posterior(first.best_flux[:3], first.best["log_mass_formed"])
        width = 0.5 * (quantiles[2] - quantiles[0])
        # 50 live points leave some 250 effective draws: a tenth of a sigma on quantiles, 0.1 in ln Z; 5 of those.
        np.testing.assert_allclose(
            first.quantile("log_mass_formed", [0.16, 0.5, 0.84]), quantiles, atol=0.5 * width, rtol=0
        )
        assert abs(first.log_evidence - log_evidence) < 0.5
        assert first.meta["log_evidence_err"] < 0.1
        # The same seed gives the same draws, whoever else is running; a band of infinite error changes nothing.
        np.testing.assert_array_equal(first.samples["log_mass_formed"], second.samples["log_mass_formed"])
        assert first.log_evidence == second.log_evidence
        # The model that equals bagpipes predicts the band that was not observed, and the V band at rest.
        row = first.parameters([0])
        exact = model_fluxes(first.model, (*FILTERS, UNSEEN), 2.0, row, with_v=True)[0]
        share = 10 ** (first.best["log_mass_formed"] - row["log_mass_formed"][0])
        np.testing.assert_allclose(first.best_flux, exact[:4] * share, rtol=1e-12)
        # The wavelengths of three filters are not quite those of four: lines move by a pixel of one in a hundred.
        assert first.samples["mag_v_obs"][0] == pytest.approx(31.4 - 2.5 * np.log10(exact[4]), abs=0.01)
        assert first.samples["abs_mag_v"][0] - first.samples["mag_v_obs"][0] == pytest.approx(-44.764, abs=0.001)
        fractions = [done / total for done, total in progress]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        assert len(fractions) > 3
        assert (first.engine, first.model.mode) == ("bagpipes", "compat")
        assert any("live points" in said for said in first.cautions)
        # The stars of 50 Myr that formed within a few Myr: nothing in the last 10 Myr, all within 100.
        assert first.samples["sfr10"].max() < 1e-10
        np.testing.assert_allclose(first.samples["sfr100"] * 1e8, 10 ** first.samples["log_mass_formed"], rtol=0.01)
        assert np.all(first.samples["log_mass"] < first.samples["log_mass_formed"])
        np.testing.assert_allclose(first.samples["age_mw"], 49.0, atol=0.5)  # onset less tau, in steps of 0.6 %
    finally:
        for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
    assert list(temporary.iterdir()) == []
    assert sorted(str(path) for path in here.rglob("*")) == untouched
    assert sorted(str(path) for path in copy.rglob("*")) == listing
    assert sorted(path.name for path in grid_folder().iterdir()) == before


def start_in_background(keywords):
    """Start a fit that would take minutes; return its thread's future."""
    pool = ThreadPoolExecutor(1)
    task = pool.submit(
        fit_with_bagpipes, FLUX, ERROR, BANDS, 2.0, model=SedModel(), filters=FILTERS, n_live=2000, **keywords
    )
    pool.shutdown(wait=False)
    return task


def the_worker(temporary, *, sampling):
    """Return the private folder and the process number of the one worker, once it is at work."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        for folder in temporary.glob("sc_lab_bagpipes_*"):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                with_arguments = entry.read_bytes() if entry.exists() else b""
                if str(folder).encode() in with_arguments and (not sampling or list(folder.glob("pipes/posterior/*"))):
                    return folder, int(entry.parent.name)
        time.sleep(0.02)
    pytest.fail("no worker was seen")


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to see processes")


@needs_proc
def test_a_cancel_kills_the_worker_at_once_and_leaves_no_file(temporary):
    stop = threading.Event()
    task = start_in_background({"cancel": stop})
    _, number = the_worker(temporary, sampling=True)
    stop.set()
    begin = time.monotonic()
    with pytest.raises(ScLabError, match="cancelled"):
        task.result(30.0)
    # A poll of 0.1 s and the removal of 10 MB; a loaded machine gets ten times that.
    assert time.monotonic() - begin < 5.0
    assert not Path(f"/proc/{number}").exists()
    assert list(temporary.iterdir()) == []


@needs_proc
def test_a_worker_that_is_killed_is_said_in_a_sentence(temporary):
    task = start_in_background({})
    _, number = the_worker(temporary, sampling=False)
    os.kill(number, signal.SIGKILL)
    with pytest.raises(ScLabError, match="ended by signal 9, perhaps for want of memory"):
        task.result(30.0)
    assert list(temporary.iterdir()) == []


@needs_proc
def test_a_worker_whose_master_is_gone_ends_and_removes_its_folder(temporary):
    folder = Path(tempfile.mkdtemp(prefix="sc_lab_bagpipes_"))
    # Importing bagpipes takes seconds; the end comes long before the job is looked at.
    process._write(folder, {"sources": [{}], "sampler": "nautilus"}, {}, {})
    with (folder / "log.txt").open("wb") as log:
        worker = process._start(folder, log)
    worker.stdin.close()
    assert worker.wait(30.0) == 3
    worker.stdout.close()
    assert not folder.exists()


def test_a_crash_gives_the_last_lines_of_the_worker(temporary):
    """The job lacks an entry, which ends the worker in a traceback before bagpipes is even imported."""
    folder = Path(tempfile.mkdtemp())
    process._write(folder, {"sources": [{}]}, {}, {})
    job = folder / "job.json"
    job.write_text(job.read_text().replace("sys_path", "nothing"))
    with pytest.raises(ScLabError, match=r"ended with code 1 .* KeyError: 'sys_path'") as told:
        process._follow(folder, 1, process._ignore, process._never)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": "emcee"}, "sampler is 'emcee'"),
        ({"n_live": 10}, "50 or more"),
        ({"z": 12.0}, "beyond bagpipes' limit"),
        ({"z": -0.1}, "at least 0"),
        ({"z": 0.0}, "distance"),
        ({"flux": np.full(3, np.nan)}, "no band with a flux"),
        ({"flux": FLUX[:2]}, "for 3 bands"),
        ({"flux_err": np.array([1.0, 0.0, 1.0])}, "give errors above 0"),
        ({"priors": Priors(age=50.0, metallicity=0.4, a_v=0.2, log_u=-2.0, log_mass_formed=8.0)}, "nothing to fit"),
        ({"model": SedModel(dust_emission=False)}, "dust_emission=True"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_a_process_is_started(monkeypatch, change, said):
    monkeypatch.setattr(process.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    call = {"flux": FLUX, "flux_err": ERROR, "z": 2.0, "priors": MASS_ONLY, "filters": FILTERS} | change
    with pytest.raises(InputError, match=said):
        fit_with_bagpipes(call.pop("flux"), call.pop("flux_err"), BANDS, call.pop("z"), **call)


def test_without_bagpipes_the_grid_engine_is_pointed_to(monkeypatch):
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OptionalDependencyError, match="engine='grid'"):
        process.run_job({"sources": []}, {})


def test_multinest_is_refused_in_words_where_its_library_is_missing(temporary):
    """Left alone, bagpipes would quietly take nautilus instead."""
    if find_library("multinest"):
        pytest.skip("libmultinest is installed")
    with pytest.raises(OptionalDependencyError, match="give sampler='nautilus'"):
        fit_with_bagpipes(FLUX, ERROR, BANDS, 2.0, priors=MASS_ONLY, filters=FILTERS, sampler="multinest")
    assert list(temporary.iterdir()) == []


def pretend(job, files, *, library=None, report=None, cancelled=None):
    """Stand in for a worker: wait for a cancel if the source is faint, else answer at once with its flux."""
    flux = job["sources"][0]["flux"][0]
    while flux < 1.0:
        if cancelled():
            raise ScLabError(process.CANCELLED)
        time.sleep(0.01)
    n = 5
    names = ["exponential:age", "exponential:massformed", "exponential:metallicity", "dust:Av", "nebular:logU"]
    derived = {f"derived_{name}": np.full(n + 1, 7.0) for name in ("log_mass", "log_mass_formed", "age_mw", "sfr10")}
    numbers = {"log_z": -5.0, "log_z_err": 0.1, "log_conversion": 1.0, "n_eff": 3.0, "n_calls": 9, "n_distinct": 5}
    answer = {
        "names": np.array(names), "draws": np.full((n, 5), 0.02), "best": np.full(5, 0.02), "chi2": np.zeros(n + 1),
        "photometry": np.full((n + 1, 3), flux), "v_flux": np.ones(n + 1), "derived_sfr100": np.ones(n + 1),
        "cpu_seconds": np.array(1.0), **derived, **{name: np.array(value) for name, value in numbers.items()},
    }  # fmt: skip
    return [answer for _ in job["sources"]]


def test_an_executor_takes_each_source_to_a_worker_of_its_own_and_keeps_the_order(monkeypatch, temporary):
    monkeypatch.setattr(bagpipes_engine, "run_job", pretend)
    steps = []
    fluxes = np.array([[50.0, 40, 30], [60.0, 40, 30], [70.0, 40, 30]])
    with ThreadPoolExecutor(2) as pool:
        fits = fit_with_bagpipes(
            fluxes, ERROR, BANDS, [1.0, 2.0, 3.0], filters=FILTERS, executor=pool, progress=lambda *s: steps.append(s)
        )
    assert [fit.best_flux[0] for fit in fits] == [50.0, 60.0, 70.0]
    assert [fit.z for fit in fits] == [1.0, 2.0, 3.0]
    assert fits[0].log_evidence == -4.0  # in bagpipes' units, and the logarithm of the change of units
    assert fits[0].samples["age"][0] == pytest.approx(20.0)  # Gyr there, Myr here
    assert fits[0].best["sfr10"] == 7.0
    assert steps == [(333, 1000), (667, 1000), (1000, 1000)]
    assert len({fit.meta["seed"] for fit in fits}) == 3
    assert list(temporary.iterdir()) == []


def test_a_cancel_reaches_the_workers_of_an_executor(monkeypatch, temporary):
    monkeypatch.setattr(bagpipes_engine, "run_job", pretend)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with ThreadPoolExecutor(2) as pool, pytest.raises(ScLabError, match="cancelled"):
        fit_with_bagpipes(
            np.full((4, 3), 0.5), ERROR, BANDS, 2.0, filters=FILTERS, executor=pool, cancel=stop, error_floor=0.0
        )
    assert list(temporary.iterdir()) == []


def test_the_common_error_widens_each_band_and_is_said(monkeypatch):
    jobs = []
    monkeypatch.setattr(bagpipes_engine, "run_job", lambda job, *_, **__: jobs.append(job) or pretend(job, {}))
    fit = fit_with_bagpipes(FLUX, ERROR, BANDS, 2.0, filters=FILTERS, shape_err=[0.1, 0.2, 0.0], error_floor=0.03)
    expected = np.sqrt(ERROR**2 + (0.03**2 + np.array([0.1, 0.2, 0.0]) ** 2) * FLUX**2)
    np.testing.assert_allclose(jobs[0]["sources"][0]["error"], expected, rtol=1e-14)
    assert any("independent errors only" in said for said in fit.cautions)
    np.testing.assert_array_equal(fit.flux_err, ERROR)


def test_the_name_of_a_run_tells_data_priors_and_curves_apart(monkeypatch):
    names = []
    monkeypatch.setattr(bagpipes_engine, "run_job", lambda job, *_, **__: names.append(job["run"]) or pretend(job, {}))
    call = {"filters": FILTERS, "priors": Priors(), "rng": 1}
    for change in ({}, {}, {"priors": Priors(a_v=(0.0, 2.0))}, {"filters": (*FILTERS[:2], UNSEEN)}, {"rng": 2}):
        fit_with_bagpipes(FLUX, ERROR, BANDS, 2.0, **(call | change))
    fit_with_bagpipes(FLUX * 1.0001, ERROR, BANDS, 2.0, **call)
    assert names[0] == names[1]
    assert len(set(names)) == 5
