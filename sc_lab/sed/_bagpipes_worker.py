"""The program that runs bagpipes in a process of its own: one job in a private folder, events as JSON lines.

It is started by path and imports nothing of SC Lab. ``job.json`` in the folder named on the command line says what
to do; every event is one line of JSON on the output that the process was born with, every result an ``.npz`` in
the folder. Whatever bagpipes prints goes to the log. The input is a lifeline: when it closes, because whoever
started this is gone, the process removes its folder and ends.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
import os
import shutil
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Of the protocol: both sides must be of one version of SC Lab.
PROTOCOL = 1
#: Names of parameters without a meaning, which fill up the two dimensions that nautilus needs.
_IDLE = ("unused_a", "unused_b")
_IGM_FILE = "d_igm_grid_inoue14.fits"
_SECONDS_BETWEEN_REPORTS = 0.2

Event = Callable[..., None]


class RefusedError(Exception):
    """A job that this installation cannot do; its text is for the user."""


# ---- life of the process ---------------------------------------------------------------------------------------------


def _open_channel() -> Event:
    """Keep the original output for events alone, and send everything that is printed to the log."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(event: str, **content: Any) -> None:
        with lock:
            stream.write(json.dumps({"event": event, **content}) + "\n")
            stream.flush()

    return send


def _hold_lifeline(folder: Path) -> threading.Event:
    """End, leaving nothing behind, as soon as the input closes; return the event that says that it did."""
    gone = threading.Event()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        gone.set()
        # The main thread may be writing: a folder is empty only once its next write has failed.
        for _ in range(100):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.02)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()
    return gone


# ---- bagpipes, without a write to where it is installed ---------------------------------------------------------------


def prepare_grids(package: Path, private: Path) -> None:
    """Fill a private folder of grids: links to the installed files, and an IGM table that surely fits.

    bagpipes computes that table at its first import and writes it into its own installation, which may be read-only
    or being written by another process this moment.
    """
    installed = package / "models" / "grids"
    private.mkdir()
    for source in sorted(installed.iterdir()):
        if source.is_file() and source.name != _IGM_FILE:
            target = private / source.name
            try:
                target.symlink_to(source)
            except OSError:
                shutil.copyfile(source, target)
    if _is_whole_igm_table(installed / _IGM_FILE):
        shutil.copyfile(installed / _IGM_FILE, private / _IGM_FILE)
    else:
        _write_igm_table(package, private / _IGM_FILE)


def _igm_axes() -> tuple[Any, Any]:
    """Return redshifts and rest-frame wavelengths [Angstrom] of bagpipes' IGM table."""
    import numpy as np

    return np.arange(0.0, 10.0 + 0.01, 0.01), np.arange(1.0, 1225.01, 1.0)


def _is_whole_igm_table(path: Path) -> bool:
    """Say whether a table is there and of the expected shape: another process may be in the middle of writing it."""
    import numpy as np
    from astropy.io import fits

    z, wavelength = _igm_axes()
    try:
        with fits.open(path, memmap=False) as table:
            return (
                len(table) == 4
                and table[1].data.shape == (z.size, wavelength.size)
                and np.array_equal(table[2].data, wavelength)
                and table[3].data.shape == z.shape
                and bool(np.all(np.isfinite(table[1].data)))
            )
    except Exception:  # noqa: BLE001 - whatever is wrong with the file, it is made anew
        return False


def _write_igm_table(package: Path, path: Path) -> None:
    """Write the IGM table by bagpipes' own function, loaded by itself: importing the package would write elsewhere."""
    import numpy as np
    from astropy.io import fits

    source = package / "models" / "making" / "igm_inoue2014.py"
    spec = importlib.util.spec_from_file_location("_igm_inoue2014", source)
    if spec is None or spec.loader is None:
        msg = f"bagpipes at {package} lacks {source.name}; install it anew"
        raise RefusedError(msg)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    z, wavelength = _igm_axes()
    transmission = np.array([module.get_Inoue14_trans(wavelength, redshift) for redshift in z])
    parts = [fits.PrimaryHDU()]
    parts += [
        fits.ImageHDU(name=name, data=data)
        for name, data in (("trans", transmission), ("wavs", wavelength), ("zred", z))
    ]
    fits.HDUList(parts).writeto(path)


def import_bagpipes(private_grids: Path) -> types.ModuleType:
    """Import bagpipes with its folder of grids replaced before any of its modules reads one."""
    spec = importlib.util.find_spec("bagpipes")
    if spec is None or spec.loader is None or not spec.submodule_search_locations:
        msg = "bagpipes is not installed for this Python; install it: pip install bagpipes"
        raise RefusedError(msg)
    prepare_grids(Path(next(iter(spec.submodule_search_locations))), private_grids)
    package = importlib.util.module_from_spec(spec)
    # With the package known but not yet run, its smallest module can be imported and mended first.
    sys.modules["bagpipes"] = package
    utils: Any = importlib.import_module("bagpipes.utils")
    utils.grid_dir = str(private_grids)
    spec.loader.exec_module(package)
    return package


def use_library(config: Any, utils: Any, folder: Path) -> None:
    """Replace bagpipes' grids by those of a user, which lie as arrays in ``folder``, before any model is built."""
    import numpy as np

    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    metallicities = np.array(arrays["metallicity"])
    config.wavelengths, config.raw_stellar_ages = np.array(arrays["wavelength"]), np.array(arrays["age"])
    config.live_frac = np.array(arrays["live_fraction"])
    config.raw_stellar_grid = [types.SimpleNamespace(data=spectra) for spectra in arrays["spectra"]]
    config.metallicities = metallicities
    config.metallicity_bins = utils.make_bins(metallicities, make_rhs=True)[0]
    config.metallicity_bins[0], config.metallicity_bins[-1] = 0.0, 10.0
    if "lines" not in arrays:
        return
    config.logU = np.array(arrays["log_u"])
    config.neb_ages, config.neb_wavs = np.array(arrays["nebular_age"]), np.array(arrays["nebular_wavelength"])
    config.line_wavs = np.array(arrays["line_wavelength"])
    config.line_names = np.array([f"line {wave:.2f}" for wave in config.line_wavs])
    # In bagpipes' files the axes are the first row and column, and an empty part comes first.
    config.cont_grid = [None, *(np.pad(grid, ((1, 0), (1, 0))) for grid in arrays["continuum"])]
    config.line_grid = [None, *(np.pad(grid, ((1, 0), (1, 0))) for grid in arrays["lines"])]


# ---- one source ------------------------------------------------------------------------------------------------------


def instructions_of(model: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return bagpipes' ``fit_instructions``: the fixed model, with priors and fixed values put in.

    ``parameters`` maps "component:key" to a number, or to ``{"prior": name, "limits": [low, high], "mu": …}``.
    """
    out: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in model.items()}
    for name, value in parameters.items():
        component, _, key = name.rpartition(":")
        place = out.setdefault(component, {}) if component else out
        if not isinstance(value, dict):
            place[key] = value
            continue
        place[key] = tuple(value["limits"])
        place[f"{key}_prior"] = value["prior"]
        for hyper in set(value) - {"limits", "prior"}:
            place[f"{key}_prior_{hyper}"] = value[hyper]
    return out


def _pad(parameters: dict[str, Any]) -> dict[str, Any]:
    """Add parameters without a meaning until nautilus has its two; posterior and evidence do not notice."""
    free = sum(isinstance(value, dict) for value in parameters.values())
    idle = {name: {"prior": "uniform", "limits": [0.0, 1.0]} for name in _IDLE[: max(0, 2 - free)]}
    return {**parameters, **idle}


def _let_bursts_last(fitted_class: Any, duration: float) -> None:
    """Make constant star formation end ``duration`` Gyr after its start: bagpipes can only fix both ends apart."""
    plain = fitted_class._update_model_components  # noqa: SLF001 - the one place where parameters become a model

    def update(self: Any, param: Any) -> None:
        plain(self, param)
        component = self.model_components["constant"]
        component["age_min"] = max(component["age_max"] - duration, 0.0)

    fitted_class._update_model_components = update  # noqa: SLF001 - as above


def _reporting(base: Any, seed: int, report: Callable[[Any], None]) -> Any:
    """Return nautilus' sampler with a seed, which bagpipes does not pass on, and with a report after each batch."""

    class Reporting(base):  # type: ignore[misc] # a class that is known at run time only
        """The sampler that reports."""

        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, seed=seed, **keywords)
            report(self)

        def add_samples(self, *args: Any, **keywords: Any) -> Any:
            found = super().add_samples(*args, **keywords)
            report(self)
            return found

    return Reporting


class Progress:
    """How far nautilus is: model calls made, and a fraction that never falls.

    Nested sampling ends when the live points hold 1 % of the evidence. Until they begin to lose it nothing tells how
    long the road is, so that a count of calls typical for so many live points speaks for the first part.
    """

    def __init__(self, send: Event, source: int, n_live: int) -> None:
        self._send, self._source, self._n_live = send, source, n_live
        self._fraction, self._last, self.sampler = 0.0, 0.0, None

    def __call__(self, sampler: Any) -> None:
        """Report, unless the last report is fresh."""
        self.sampler = sampler
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_REPORTS:
            return
        self._last = now
        calls = int(sampler.n_like)
        live = sampler.f_live
        along = 1.0 - math.exp(-calls / (20.0 * self._n_live))
        ending = 1.0 if live is None else math.log(max(min(live, 1.0), 0.01)) / math.log(0.01)
        # Exploring takes nearly all of the time; what is left after it is a few batches.
        self._fraction = max(self._fraction, min(0.97, max(0.95 * along, 0.95 * ending)))
        self._send("progress", source=self._source, calls=calls, fraction=self._fraction)


def fit_source(bagpipes: Any, job: dict[str, Any], number: int, send: Event) -> dict[str, Any]:
    """Fit one source with bagpipes itself; return the arrays of the answer."""
    import numpy as np

    begin = time.process_time()
    source = job["sources"][number]
    fit_module = sys.modules["bagpipes.fitting.fit"]
    photometry = np.c_[np.array(source["flux"]), np.array(source["error"])] * 1e-3  # nJy to µJy
    galaxy = bagpipes.galaxy(
        f"source{number}",
        lambda _: photometry,
        filt_list=[f"filters/{name}" for name in source["filters"]],
        spectrum_exists=False,
    )
    instructions = instructions_of(source["model"], _pad(source["parameters"]))
    progress = Progress(send, number, job["n_live"])
    fit_module.Sampler = _reporting(_sampler_class(fit_module), source["seed"], progress)  # type: ignore[attr-defined] # bagpipes' own name for it
    np.random.seed(source["seed"])  # noqa: NPY002 - bagpipes draws from the global generator
    fit = bagpipes.fit(galaxy, instructions, run=job["run"], n_posterior=job["n_draws"])
    options = {"n_eff": job["n_eff"]} if job["sampler"] == "nautilus" else {}
    fit.fit(verbose=False, n_live=job["n_live"], use_MPI=False, sampler=job["sampler"], **options)
    answer = _answer(galaxy, fit, job, progress)
    answer["cpu_seconds"] = np.array(time.process_time() - begin)
    return answer


def _sampler_class(fit_module: Any) -> Any:
    """Return nautilus' own sampler also where an earlier source has put a reporting one in its place."""
    found = getattr(fit_module, "Sampler", None)
    return found.__mro__[1] if found is not None and found.__name__ == "Reporting" else found


def _answer(galaxy: Any, fit: Any, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Return draws of equal weight, what bagpipes derives from each, and the evidence in its own units."""
    import numpy as np

    samples = np.asarray(fit.results["samples2d"])
    log_like = np.asarray(fit.results["lnlike"])
    best = int(np.argmax(log_like))
    chosen = fit.posterior.indices
    fitted = fit.fitted_model
    conversion = 1e-29 * 2.9979e18 / galaxy.photometry[:, 0] ** 2
    rows = [*samples[chosen], samples[best]]
    phot = np.empty((len(rows), len(galaxy.filt_list)))
    chi2, like, visual = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    v_band = None
    derived = {key: np.empty(len(rows)) for key in ("log_mass", "log_mass_formed", "age_mw", "sfr10", "sfr100")}
    for k, row in enumerate(rows):
        like[k] = fitted.lnlike(row)
        chi2[k] = fitted.chisq_phot
        phot[k] = fitted.model_galaxy.photometry / conversion * 1e3
        if v_band is None:
            v_band = type(fitted.model_galaxy.filter_set)(["filters/v_rest.txt"])
            v_band.resample_filter_curves(fitted.model_galaxy.wavelengths)
            stretch = 1.0 + fitted.model_components["redshift"]
            # A mean over the V band at rest is the same mean over the stretched band where the light arrives.
            to_njy = 1e3 / (1e-29 * 2.9979e18 / (v_band.eff_wavs[0] * stretch) ** 2)
        visual[k] = v_band.get_photometry(fitted.model_galaxy.spectrum_full, 0.0) * to_njy
        sfh = fitted.model_galaxy.sfh
        derived["log_mass"][k], derived["log_mass_formed"][k] = sfh.stellar_mass, sfh.formed_mass
        derived["age_mw"][k] = sfh.mass_weighted_age * 1e3
        for key, span in (("sfr10", job["sfr_timescale"]), ("sfr100", 1e8)):
            recent = sfh.ages < span
            derived[key][k] = np.sum(sfh.sfh[recent] * sfh.age_widths[recent]) / np.sum(sfh.age_widths[recent])
    sampler = progress.sampler
    names = [name for name in fitted.params if name not in _IDLE]
    return {
        "names": np.array(names),
        "draws": np.column_stack([samples[chosen][:, fitted.params.index(name)] for name in names]),
        "best": np.array([samples[best][fitted.params.index(name)] for name in names]),
        "log_like": like,
        "chi2": chi2,
        "photometry": phot,
        "v_flux": visual,
        **{f"derived_{key}": value for key, value in derived.items()},
        "log_z": np.array(float(fit.results["lnz"])),
        "log_z_err": np.array(float(fit.results["lnz_err"])),
        "log_conversion": np.array(float(np.sum(np.log(conversion * 1e-3)))),
        "n_eff": np.array(math.nan if sampler is None else float(sampler.n_eff)),
        "n_calls": np.array(-1 if sampler is None else int(sampler.n_like)),
        "n_distinct": np.array(len(np.unique(samples, axis=0))),
    }


# ---- the job ---------------------------------------------------------------------------------------------------------


def _has_multinest() -> bool:
    """Say whether pymultinest finds the library that it wraps; without it the import prints, or exits."""
    try:
        importlib.import_module("pymultinest")
    except (ImportError, OSError, RuntimeError, SystemExit):
        return False
    return True


def run(folder: Path, send: Event) -> None:
    """Do the job in ``folder``."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    if job["protocol"] != PROTOCOL:
        msg = "the worker of bagpipes is of another version of SC Lab; restart Python"
        raise RefusedError(msg)
    sys.path[:] = [*job["sys_path"], *(entry for entry in sys.path if entry not in job["sys_path"])]
    send("progress", source=0, calls=0, fraction=0.0)
    if job["sampler"] == "multinest" and not _has_multinest():
        msg = (
            "sampler='multinest' needs the MultiNest library itself, which pymultinest does not find (bagpipes would "
            "quietly use nautilus instead); install libmultinest, or give sampler='nautilus'"
        )
        raise RefusedError(msg)
    bagpipes = import_bagpipes(folder / "grids")
    fit_module: Any = sys.modules["bagpipes.fitting.fit"]
    if job["sampler"] == "nautilus" and not fit_module.nautilus_available:
        msg = "sampler='nautilus' needs the package nautilus-sampler; install it: pip install nautilus-sampler"
        raise RefusedError(msg)
    config, utils = bagpipes.config, bagpipes.utils
    config.sfr_timescale = job["sfr_timescale"]
    if (folder / "library").is_dir():
        use_library(config, utils, folder / "library")
    if job["duration_gyr"] is not None:
        _let_bursts_last(sys.modules["bagpipes.fitting.fitted_model"].fitted_model, job["duration_gyr"])
    import numpy as np

    distances = utils.ldist_at_z
    for number, source in enumerate(job["sources"]):
        known = source["distance_mpc"]
        utils.ldist_at_z = distances if known is None else np.full_like(distances, known)
        answer = fit_source(bagpipes, job, number, send)
        name = f"result_{number}.npz"
        np.savez(folder / name, **answer)
        send("result", source=number, file=name, calls=int(answer["n_calls"]))
    send("done")


def main() -> int:
    """Run as a program: the one argument is the private folder."""
    folder = Path(sys.argv[1])
    os.chdir(folder)
    send = _open_channel()
    gone = _hold_lifeline(folder)
    try:
        run(folder, send)
    except RefusedError as problem:
        send("refused", message=str(problem))
        return 2
    finally:
        if gone.is_set():
            time.sleep(60.0)  # the watcher ends the process before
    return 0


if __name__ == "__main__":
    sys.exit(main())
