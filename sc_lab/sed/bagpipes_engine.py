"""Fit photometry with bagpipes itself and a nested sampler, in a process of its own, for checks and quotations."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW

from sc_lab.errors import InputError, ScLabError
from sc_lab.sed._bagpipes_process import CANCELLED, Report, check_sampler, run_job
from sc_lab.sed._bagpipes_terms import library_arrays, model_terms, our_names, prior_terms, step_terms
from sc_lab.sed._continuity import StudentT
from sc_lab.sed._frame import CM_PER_MPC, frame_at
from sc_lab.sed._library_limits import inside_library
from sc_lab.sed._photometry import check_photometry
from sc_lab.sed.filters import Filter
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import Fixed, Priors
from sc_lab.sed.results import SedFit, SedFits
from sc_lab.sed.tables import v_filter
from sc_lab.units import FloatArray

__all__ = ["fit_with_bagpipes"]

#: Live points below which young solutions, a thousandth of a flat prior in age, may be missed.
_ENOUGH_LIVE = 1000
_ENOUGH_ESS = 400
_THOUSANDTHS = 1000
#: AB magnitude of 1 nJy.
_AB_OF_NJY = 31.4


@dataclass(frozen=True)
class _Source:
    """One source, ready to be sent."""

    flux: FloatArray
    error: FloatArray
    used: npt.NDArray[np.bool_]
    z: float
    priors: Priors
    cautions: tuple[str, ...]
    job: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class _Marked:
    """Whether a file is there: a cancel that also reaches other processes."""

    path: str

    def __call__(self) -> bool:
        return Path(self.path).exists()


def fit_with_bagpipes(
    flux: Any,
    flux_err: Any,
    bands: Sequence[str],
    z: Any,
    *,
    model: SedModel | None = None,
    priors: Priors | Sequence[Priors] | None = None,
    continuity: StudentT | None = None,
    sampler: str = "nautilus",
    n_live: int = 2000,
    n_eff: int = 0,
    n_draws: int = 1000,
    shape_err: Any = None,
    error_floor: float = 0.03,
    filters: Sequence[Filter] | None = None,
    distance: Any = None,
    cosmology: FLRW | None = None,
    rng: np.random.Generator | int | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[Report], None] | None = None,
    cancel: Any = None,
    executor: Executor | None = None,
) -> SedFit | SedFits:
    """Fit photometry with bagpipes and a nested sampler.

    Parameters
    ----------
    flux, flux_err : array_like or `~astropy.units.Quantity`, shape (n_band,) or (n_source, n_band)
        Flux densities and their errors [nJy]; NaN where a band was not observed.
    bands : sequence of str, length n_band
        Names of the bands.
    z : float or array_like, shape (n_source,)
        Redshifts up to 10, where bagpipes' tables end.
    model : SedModel, optional
        Star-formation history, library, dust and gas. bagpipes computes what ``mode="compat"`` reproduces, and the
        result says so.
    priors : Priors or sequence of Priors, optional
        Priors of the free parameters, of all sources or one for each; at least one parameter must be free.
    continuity : StudentT, optional
        Prior of the steps between the bins of ``sfh="continuity"``.
    sampler : {"nautilus", "multinest"}, optional
        The nested sampler; "multinest" needs the library of that name besides its Python package.
    n_live : int, optional
        Live points. bagpipes' own default is 400; with a prior flat in age, where stars younger than 10 Myr fill a
        thousandth of the volume, so few miss the young solution and yet state a small error of the evidence. More
        make that rarer, not impossible: look at chi-squared and at the effective draws, or let `judge` sample ages
        evenly in their logarithm.
    n_eff : int, optional
        Effective draws that nautilus goes on for after it has explored; 0, as in bagpipes, stops there.
    n_draws : int, optional
        Draws that are returned, all of the same weight.
    shape_err : array_like, shape (n_band,) or (n_source, n_band), optional
        Fractional error common to all bands. bagpipes has independent errors only: it is added to each band's own
        in quadrature, and the result carries a caution.
    error_floor : float, optional
        Fraction of the flux added in quadrature to its error.
    filters : sequence of Filter, optional
        The filters of the bands; None finds them by name.
    distance : float or `~astropy.units.Quantity`, optional
        Luminosity distance [Mpc]; None means that of the redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        Only the house default, which is bagpipes' own; for checking.
    rng : Generator or int, optional
        Source of randomness or its seed; a seed makes a fit repeatable on one machine.
    progress : callable, optional
        Called with thousandths done and 1000.
    report : callable, optional
        Called with a report of model calls and fraction of one source, now and then.
    cancel : object with ``is_set()``, optional
        Such as `threading.Event`; once set, the worker is killed and its files are removed.
    executor : `concurrent.futures.Executor`, optional
        Fits sources side by side, each in a worker of its own; None fits one after the other in one worker.

    Returns
    -------
    SedFit or SedFits
        For one source, or for the rows of a table.

    Raises
    ------
    InputError
        If the data, the model or the priors cannot be used; the message says what to change.
    OptionalDependencyError
        If bagpipes or the sampler is not installed.
    ScLabError
        If cancelled, or if the worker ends without an answer.

    Notes
    -----
    bagpipes (Carnall et al. 2018, MNRAS 480, 4379) with nautilus (Lange 2023, MNRAS 525, 3181). It runs in an isolated
    process in a private folder that is removed afterwards; nothing is written to the working folder or to the
    installation, no earlier result is read, and processes never share a model. Star-formation rates are over 10 and
    100 Myr. bagpipes' evidence is for densities per erg/s/cm2/A; the one returned is for densities per nJy.
    """
    check_sampler(sampler, n_live)
    model = replace(SedModel() if model is None else model, mode="compat")
    data = check_photometry(
        flux, flux_err, bands if filters is None else filters, z,
        shape_err=shape_err, error_floor=error_floor, distance=distance,
    )  # fmt: skip
    names = data.bands if filters is None else tuple(str(band) for band in bands)
    values, errors, curves, mpc = data.flux, data.flux_err, data.filters, data.distance
    shape = None if shape_err is None else data.shape_err
    seeds = np.random.default_rng(rng).integers(2**31, size=len(values))
    each = [priors] * len(values) if priors is None or isinstance(priors, Priors) else list(priors)
    sources = [
        _source(
            values[k],
            _widened(values[k], errors[k], data.error_floor, data.shape_err[k]),
            data.used[k],
            float(data.z[k]),
            model,
            each[k] or Priors(),
            continuity or StudentT(),
            mpc,
            cosmology,
            int(seeds[k]),
        )
        for k in range(len(values))
    ]
    common = {
        "sampler": sampler,
        "n_live": int(n_live),
        "n_eff": int(n_eff),
        "n_draws": int(n_draws),
        "sfr_timescale": 1e7,
        "duration_gyr": None if model.duration is None else model.duration / 1000.0,
        "versions": _versions(),
    }
    files = {f"{k}.txt": (curve.wavelength, curve.throughput) for k, curve in enumerate(curves)}
    files["v_rest.txt"] = (v_filter().wavelength, v_filter().throughput)
    runner = _Runner(common, files, library_arrays(model.loaded_library), model, curves)
    answers = runner.run(sources, _Watch(len(sources), progress, report), cancel, executor)
    said = (*data.cautions, *_said(shape is not None, n_live))
    fits = [
        _result(
            source,
            answer,
            errors[k],
            names,
            model,
            curves,
            said,
            common,
            continuity or StudentT(),
            distance=mpc,
            cosmology=cosmology,
            error_floor=data.error_floor,
            shape_err=None if shape is None else shape[k],
        )
        for k, (source, answer) in enumerate(zip(sources, answers, strict=True))
    ]
    return SedFits(fits) if data.many else fits[0]


# ---- what is sent ----------------------------------------------------------------------------------------------------


def _widened(flux: FloatArray, error: FloatArray, floor: float, shape: FloatArray) -> FloatArray:
    """Return errors with the floor, and the error common to all bands taken as if it were each band's own."""
    return np.sqrt(error**2 + (floor**2 + shape**2) * np.nan_to_num(flux) ** 2)


def _source(
    flux: FloatArray,
    error: FloatArray,
    used: npt.NDArray[np.bool_],
    z: float,
    model: SedModel,
    priors: Priors,
    continuity: StudentT,
    distance: float | None,
    cosmology: FLRW | None,
    seed: int,
) -> _Source:
    """Say one source in bagpipes' terms."""
    frame_at("compat", z, distance=distance, cosmology=cosmology)  # refuses what bagpipes cannot reach
    here, cautions = priors.at(z)
    here, cut = inside_library(here, model)
    cautions = (*cautions, *cut)
    terms = model_terms(model, z)
    n_step = len(terms["continuity"]["bin_edges"]) - 2 if model.sfh == "continuity" else 0
    parameters: dict[str, Any] = {}
    for name, (term, factor) in our_names(model, n_step).items():
        if name.startswith("dsfr"):
            parameters[term] = step_terms(continuity)
            continue
        parameters[term], caution = prior_terms(name, getattr(here, name), factor=factor)
        cautions += (caution,) if caution else ()
    if not any(isinstance(value, dict) for value in parameters.values()):
        msg = "every parameter is fixed, so that there is nothing to fit; leave at least one free"
        raise InputError(msg)
    job = {
        "flux": flux[used].tolist(),
        "error": error[used].tolist(),
        "filters": [f"{k}.txt" for k in np.flatnonzero(used)],
        "seed": seed,
        "model": terms,
        "parameters": parameters,
        "distance_mpc": distance,
    }
    return _Source(flux, error, used, z, here, cautions, job, seed)


def _versions() -> dict[str, str]:
    """Return the versions that decide a result."""
    out = {}
    for package in ("bagpipes", "nautilus-sampler", "numpy", "sc-lab"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "unknown"
    return out


def _said(shape: bool, n_live: int) -> tuple[str, ...]:
    """Return the cautions of the engine's options."""
    said = []
    if shape:
        said.append(
            "bagpipes knows independent errors only: the error common to all bands was added to each band's own, "
            "so that colours count for less and the mass for more than they should"
        )
    if n_live < _ENOUGH_LIVE:
        said.append(
            f"{n_live} live points often miss young solutions, a thousandth of a prior flat in age; give 2000 or more"
        )
    return tuple(said)


# ---- running ---------------------------------------------------------------------------------------------------------


class _Watch:
    """Turns reports on sources into progress of the whole."""

    def __init__(
        self, n: int, progress: Callable[[int, int], None] | None, report: Callable[[Report], None] | None
    ) -> None:
        self._fractions = [0.0] * n
        self._progress, self._report = progress, report

    def __call__(self, found: Report) -> None:
        self._fractions[found.source] = found.fraction
        if self._report is not None:
            self._report(found)
        if self._progress is not None:
            done = sum(self._fractions) / len(self._fractions)
            self._progress(round(_THOUSANDTHS * done), _THOUSANDTHS)


@dataclass(frozen=True)
class _Runner:
    """What all workers of one call share."""

    common: Mapping[str, Any]
    files: Mapping[str, tuple[FloatArray, FloatArray]]
    library: Mapping[str, FloatArray] | None
    model: SedModel
    curves: tuple[Filter, ...]

    def job(self, sources: Sequence[_Source]) -> dict[str, Any]:
        """Return a job; its name says all that decides the answer, so that no other can be mistaken for it."""
        inside = {**self.common, "sources": [source.job for source in sources]}
        ties = [self.model.loaded_library.digest, *(curve.digest for curve in self.curves)]
        text = json.dumps([inside, ties], sort_keys=True)
        return {**inside, "run": hashlib.sha256(text.encode()).hexdigest()[:20]}

    def run(
        self, sources: Sequence[_Source], watch: _Watch, cancel: Any, executor: Executor | None
    ) -> list[dict[str, Any]]:
        """Run all sources; return their answers in order."""
        if executor is None:
            cancelled = None if cancel is None else cancel.is_set
            return run_job(self.job(sources), self.files, library=self.library, report=watch, cancelled=cancelled)
        answers: dict[int, dict[str, Any]] = {}
        with tempfile.TemporaryDirectory(prefix="sc_lab_bagpipes_") as folder:
            marker = Path(folder) / "cancel"
            pending: dict[Future[list[dict[str, Any]]], int] = {}
            try:
                for k, source in enumerate(sources):
                    task = executor.submit(_run_apart, self.job([source]), self.files, self.library, str(marker))
                    pending[task] = k
                while pending:
                    if cancel is not None and cancel.is_set():
                        raise ScLabError(CANCELLED)
                    for task in wait(pending, timeout=0.1, return_when=FIRST_COMPLETED).done:
                        k = pending.pop(task)
                        answers[k] = _outcome(task)
                        watch(Report(k, 1.0, int(answers[k]["n_calls"])))
            finally:
                marker.touch()
                for task in pending:
                    task.cancel()
                # The marker must outlast the workers that are still to see it.
                wait(pending, timeout=10.0)
        return [answers[k] for k in range(len(sources))]


def _run_apart(
    job: dict[str, Any],
    files: Mapping[str, tuple[FloatArray, FloatArray]],
    library: Mapping[str, FloatArray] | None,
    marker: str,
) -> list[dict[str, Any]]:
    """Run one job in whatever thread or process an executor has."""
    return run_job(job, files, library=library, cancelled=_Marked(marker))


def _outcome(task: Future[list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the answer of one source."""
    try:
        return task.result()[0]
    except BrokenExecutor as problem:
        msg = f"a worker of the executor died ({problem}), perhaps for want of memory; use fewer workers"
        raise ScLabError(msg) from problem


# ---- what comes back -------------------------------------------------------------------------------------------------


def _result(
    source: _Source,
    answer: Mapping[str, Any],
    flux_err: FloatArray,
    bands: tuple[str, ...],
    model: SedModel,
    curves: tuple[Filter, ...],
    said: tuple[str, ...],
    common: Mapping[str, Any],
    continuity: StudentT,
    **settings: Any,
) -> SedFit:
    """Return the answer in our names and units."""
    samples = _samples(source, answer, model)
    frame = frame_at("compat", source.z, distance=settings["distance"])
    samples["mag_v_obs"] = _AB_OF_NJY - 2.5 * np.log10(answer["v_flux"])
    modulus = 5.0 * math.log10(frame.luminosity_distance / CM_PER_MPC["compat"] * 1e5)
    samples["abs_mag_v"] = samples["mag_v_obs"] - modulus + 2.5 * math.log10(1.0 + source.z)
    n = len(answer["draws"])
    best = {name: float(values[-1]) for name, values in samples.items()}
    phot = np.asarray(answer["photometry"])
    draw_flux, best_flux = (phot[:n], phot[n]) if source.used.all() else (None, None)
    draws = {name: values[:n] for name, values in samples.items()}
    ess = float(answer["n_eff"])
    distinct = int(answer["n_distinct"])
    ess = float(distinct) if not np.isfinite(ess) else min(ess, float(n))
    cautions = [*source.cautions, *said]
    if ess < _ENOUGH_ESS:
        cautions.append(f"only {ess:.0f} effective draws: quantiles beyond the 16th and 84th percentile are rough")
    fit = SedFit(
        samples=draws,
        weights=np.ones(n),
        bands=bands,
        flux=np.where(source.used, source.flux, np.nan),
        flux_err=np.where(source.used, flux_err, np.nan),
        z=source.z,
        model=model,
        priors=source.priors,
        log_evidence=float(answer["log_z"] + answer["log_conversion"]),
        ess=ess,
        best=best,
        best_chi2=float(answer["chi2"][n]),
        best_flux=np.full(len(bands), np.nan) if best_flux is None else best_flux,
        draw_flux=draw_flux,
        filters=curves,
        engine="bagpipes",
        cautions=tuple(cautions),
        meta={
            "sampler": common["sampler"],
            "n_live": common["n_live"],
            "n_calls": int(answer["n_calls"]),
            "n_distinct_draws": distinct,
            "log_evidence_err": float(answer["log_z_err"]),
            "cpu_seconds": float(answer["cpu_seconds"]),
            "seed": source.seed,
            **({"continuity_prior": continuity.record()} if model.sfh == "continuity" else {}),
            "versions": dict(common["versions"]),
        },
        **settings,
    )
    if best_flux is None:
        # bagpipes was shown the observed bands alone; the model that equals it predicts the others.
        fit = replace(fit, best_flux=_predicted(fit, source, phot[n]))
    return fit


def _samples(source: _Source, answer: Mapping[str, Any], model: SedModel) -> dict[str, FloatArray]:
    """Return draws by our names, the best model last."""
    table = np.vstack([answer["draws"], answer["best"]])
    columns = {str(name): table[:, k] for k, name in enumerate(answer["names"])}
    n_step = sum(name.startswith("continuity:dsfr") for name in columns)
    samples = {}
    for name, (term, factor) in our_names(model, n_step).items():
        prior = getattr(source.priors, name, None)
        samples[name] = np.full(len(table), prior.value) if isinstance(prior, Fixed) else columns[term] / factor
    derived = ("log_mass", "log_mass_formed", "age_mw", "sfr10", "sfr100")
    return {**samples, **{name: np.asarray(answer[f"derived_{name}"]) for name in derived}}


def _predicted(fit: SedFit, source: _Source, observed: FloatArray) -> FloatArray:
    """Return the best model's fluxes in all bands."""
    single = replace(
        fit, samples={name: np.array([value]) for name, value in fit.best.items()}, weights=np.ones(1), draw_flux=None
    )
    flux = np.array(single.model_flux([0.5])[0])
    flux[source.used] = observed
    return flux
