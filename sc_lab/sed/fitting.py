"""Fit photometry with star-formation histories: the posterior of age, mass, dust and metals of one source or many."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.errors import InputError, ScLabError
from sc_lab.sed._library_limits import inside_library
from sc_lab.sed._photometry import Photometry, check_photometry
from sc_lab.sed._threads import one_blas_thread
from sc_lab.sed.priors import Priors
from sc_lab.sed.results import SedFit, SedFits
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.model import SedModel

__all__ = ["fit_photometry"]

ENGINES = ("grid", "bagpipes")


def fit_photometry(
    flux: Any,
    flux_err: Any,
    bands: Sequence[Any],
    z: Any,
    *,
    sfh: str = "exponential",
    tau: Any = 1.0,
    duration: Any = None,
    bin_edges: Any = None,
    engine: str = "grid",
    mode: str = "fine",
    library: Any = "bc03",
    priors: Priors | Sequence[Priors] | None = None,
    attenuation: str = "calzetti",
    nebular: bool = True,
    model: SedModel | None = None,
    shape_err: Any = None,
    error_floor: float = 0.03,
    distance: Any = None,
    n_draws: int = 2000,
    rng: np.random.Generator | int | None = None,
    streams: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
    executor: Executor | None = None,
    cosmology: FLRW | None = None,
    **options: Any,
) -> SedFit | SedFits:
    """Return the posterior of the stellar population behind each source's photometry.

    Parameters
    ----------
    flux : array_like or `~astropy.units.Quantity`, shape (n_band,) or (n_source, n_band)
        Flux densities as observed [nJy]; magnified sources stay magnified: divide masses and rates by the
        magnification afterwards. NaN or masked: not observed. Negative fluxes are data like others.
    flux_err : array_like or `~astropy.units.Quantity`
        Their standard deviations [nJy], same shape or one row for all; infinity leaves a band out. An upper limit is
        the measured flux with its error.
    bands : sequence of str, path or Filter, length n_band
        The filters, as `get_filters` takes them.
    z : float, array_like of shape (n_source,), or RedshiftGrid
        Redshift. A `RedshiftGrid`, alone or in a list, is a density that the fit integrates over.
    sfh : {"exponential", "constant", "burst", "continuity"}
        Star-formation history; this and the next seven options are those of `SedModel`.
    tau : float or `~astropy.units.Quantity`
        e-folding time of the exponential history [Myr].
    duration : float or `~astropy.units.Quantity`, optional
        Length of the constant history [Myr]; None: until now.
    bin_edges : sequence of float, optional
        Edges of the continuity bins [Myr of look-back time].
    engine : {"grid", "bagpipes"}
        The exact integration of this package, milliseconds a source; or bagpipes with a nested sampler in a process of
        its own, a minute or more a source.
    mode : {"fine", "compat"}
        Fine ages and wavelengths, or those of bagpipes.
    library : str or Library
        Stellar library.
    priors : Priors or sequence of Priors, optional
        For all sources, or one for each.
    attenuation : str
        Attenuation law.
    nebular : bool
        Whether the gas shines.
    model : SedModel, optional
        Instead of the single options above; these are then ignored.
    shape_err : float or array_like, shape (n_band,) or (n_source, n_band), optional
        Fractional error common to all bands, one standard normal number for the source times these fractions of the
        model, such as that of a galaxy's shape or an aperture correction.
    error_floor : float
        Fraction of the flux added in quadrature to its error.
    distance : float or `~astropy.units.Quantity`, optional
        Luminosity distance [Mpc] of nearby sources; None takes that of the redshift.
    n_draws : int
        Draws that the result holds, all of the same weight.
    rng : Generator or int, optional
        Source of randomness or its seed.
    streams : sequence of int, optional
        A number for each source that, with the seed, decides its draws; None counts them from 0. A source keeps its
        draws whatever else is in the table.
    progress : callable, optional
        Called with the sources done and their number.
    cancel : object with ``is_set()``, optional
        Such as `threading.Event`; once set, no further source is begun.
    executor : `concurrent.futures.Executor`, optional
        Fits sources side by side; None takes a thread for each processor.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means flat, H0 = 70, Om0 = 0.3.
    **options : Any
        Of the engine or of the continuity sampler: see `fit_with_bagpipes` and `fit_continuity`.

    Returns
    -------
    SedFit or SedFits
        For one source, or for the rows of a table.

    Raises
    ------
    InputError
        If a band is not known, fluxes are magnitudes, an error is not above 0, no band is left, a redshift is
        negative, absurd or beyond the tables, or shapes do not fit; the message says how to mend it.
    ScLabError
        If the fit was cancelled.

    Notes
    -----
    Likelihood: Gaussian in flux, independent between bands but for ``shape_err``. The flux of a model is linear in
    its mass, so that the mass is integrated in closed form and drawn afterwards. The other parameters are integrated
    on cells of the prior that are split until the likelihood is smooth inside, with importance draws from the exact
    model (`SedFit.ess` is their effective number). With ``shape_err`` r the likelihood has the covariance
    diag(sigma^2) + (g r)(g r)^T, where g are the fluxes of the best model: taking the model's fluxes and not the data's
    avoids the bias of Peelle's pertinent puzzle (Chiba & Smith 1991; D'Agostini 1994).

    Examples
    --------
    >>> from sc_lab.sed import fit_photometry
    >>> fit = fit_photometry([9.0, 10.0, 11.0], [1.0, 1.0, 1.0], ["F115W", "F150W", "F200W"], 2.0, rng=1)
    >>> fit.ess > 400
    True
    """
    from sc_lab.sed.redshift import holds_grid

    if engine not in ENGINES:
        msg = f"engine is {engine!r}; choose 'grid' or 'bagpipes'"
        raise InputError(msg)
    model = _model(model, sfh, tau, duration, bin_edges, mode, library, attenuation, nebular)
    common: dict[str, Any] = {
        "model": model, "priors": priors, "shape_err": shape_err, "error_floor": error_floor, "distance": distance,
        "n_draws": n_draws, "rng": rng, "progress": progress, "cancel": cancel, "cosmology": cosmology,
    }  # fmt: skip
    if holds_grid(z):
        from sc_lab.sed.redshift import photometry_over_redshift

        more = {"engine": engine, "streams": streams, "executor": executor, **options}
        return photometry_over_redshift(fit_photometry, flux, flux_err, bands, z, **common, **more)  # type: ignore[no-any-return]
    data = check_photometry(flux, flux_err, bands, z, shape_err=shape_err, error_floor=error_floor, distance=distance)
    _check_count(n_draws)
    all_priors = _one_each(priors, len(data.flux))
    if engine == "bagpipes":
        from sc_lab.sed.bagpipes_engine import fit_with_bagpipes

        common |= {
            "filters": data.filters,
            "executor": executor,
            "priors": all_priors if len(data) > 1 else all_priors[0],
        }
        common |= {"shape_err": None if shape_err is None else data.shaped(data.shape_err)}
        flux_njy, err_njy = data.shaped(data.flux), data.shaped(data.flux_err)
        redshift = data.z if data.many else float(data.z[0])
        return fit_with_bagpipes(flux_njy, err_njy, data.bands, redshift, **common, **options)
    if options and model.sfh != "continuity":
        msg = f"{', '.join(sorted(options))} is no option of engine='grid' with sfh={model.sfh!r}; leave it out"
        raise InputError(msg)
    return _fit_all(
        data,
        model,
        all_priors,
        n_draws,
        _seeds(rng, streams, len(data)),
        progress,
        cancel,
        executor,
        cosmology,
        options,
    )


def _model(
    model: SedModel | None,
    sfh: str,
    tau: Any,
    duration: Any,
    bin_edges: Any,
    mode: str,
    library: Any,
    attenuation: str,
    nebular: bool,
) -> SedModel:
    """Return the model that was given, or one made of the single options."""
    from sc_lab.sed.model import SedModel

    if model is None:
        choices: dict[str, Any] = {"sfh": sfh, "tau": tau, "duration": duration, "bin_edges": bin_edges, "mode": mode}
        return SedModel(**choices, library=library, attenuation=attenuation, nebular=nebular)  # type: ignore[arg-type]
    if not isinstance(model, SedModel):
        msg = f"model is a {type(model).__name__}; give a SedModel, or leave it out and give sfh, tau, library ..."
        raise InputError(msg)
    return model


def _check_count(n_draws: int) -> None:
    """Refuse a number of draws that is none."""
    if isinstance(n_draws, bool) or not isinstance(n_draws, int | np.integer) or not 1 <= n_draws <= 200_000:
        msg = f"n_draws is {n_draws!r}; give a whole number from 1 to 200000"
        raise InputError(msg)


def _one_each(priors: Priors | Sequence[Priors] | None, n: int) -> list[Priors]:
    """Return the priors of each source."""
    if priors is None:
        return [Priors()] * n
    if isinstance(priors, Priors):
        return [priors] * n
    each = list(priors) if isinstance(priors, Sequence) and not isinstance(priors, str) else []
    if len(each) != n or not all(isinstance(one, Priors) for one in each):
        msg = f"priors is a {type(priors).__name__} of {len(each)}; give one Priors, or a list of {n}, one for each source"
        raise InputError(msg)
    return each


def _seeds(rng: np.random.Generator | int | None, streams: Sequence[int] | None, n: int) -> list[list[int]]:
    """Return what seeds each source: the number of the call and that of the source."""
    if isinstance(rng, np.random.Generator):
        call = int(rng.integers(2**62))
    elif rng is None:
        call = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    elif isinstance(rng, int | np.integer) and not isinstance(rng, bool) and rng >= 0:
        call = int(rng)
    else:
        msg = f"rng is {rng!r}; give a whole number of at least 0, a numpy Generator, or None"
        raise InputError(msg)
    numbers = list(range(n)) if streams is None else [int(x) for x in streams]
    if len(numbers) != n or min(numbers, default=0) < 0:
        msg = f"streams has {len(numbers)} numbers for {n} sources; give one number of at least 0 for each"
        raise InputError(msg)
    return [[call, number] for number in numbers]


@dataclass(frozen=True, eq=False)
class _Task:
    """All that one source's fit needs; plain values, so that another process can do it."""

    data: Photometry
    model: SedModel
    priors: Priors
    n_draws: int
    seed: list[int]
    cosmology: FLRW | None
    options: dict[str, Any]


@one_blas_thread()
def _fit_all(
    data: Photometry,
    model: SedModel,
    priors: list[Priors],
    n_draws: int,
    seeds: list[list[int]],
    progress: Callable[[int, int], None] | None,
    cancel: Any,
    executor: Executor | None,
    cosmology: FLRW | None,
    options: dict[str, Any],
) -> SedFit | SedFits:
    """Fit all sources, side by side where that helps."""
    n = len(data)
    tasks = [_Task(data.source(i), model, priors[i], int(n_draws), seeds[i], cosmology, options) for i in range(n)]
    if n == 1 and executor is None:
        _stop_if(cancel)
        fits = [_fit_one(tasks[0], progress=progress, cancel=cancel)]
        if progress is not None and model.sfh != "continuity":
            progress(1, 1)
        return SedFits(fits) if data.many else fits[0]
    own = None
    if executor is None:
        own = executor = ThreadPoolExecutor(max_workers=max(1, min(n, _processors())))
    found: dict[int, SedFit] = {}
    pending: dict[Future[SedFit], int] = {}
    waiting = iter([(i, tasks[i]) for i in _order(data.z, _processors())])
    try:
        while len(found) < n:
            _stop_if(cancel)
            # A few in hand at a time, so that a cancelled batch has little left to finish.
            for i, task in waiting:
                pending[executor.submit(_fit_one, task)] = i
                if len(pending) >= 4 * _processors():
                    break
            for future in wait(pending, timeout=0.2, return_when=FIRST_COMPLETED).done:
                found[pending.pop(future)] = future.result()
                if progress is not None:
                    progress(len(found), n)
    finally:
        for future in pending:
            future.cancel()
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)
    fits = [found[i] for i in range(n)]
    return SedFits(fits) if data.many else fits[0]


def _order(z: FloatArray, n_lane: int) -> list[int]:
    """Return the order in which sources are fitted.

    Sources at one redshift come one after the other, so that what is prepared for it need not be kept for long. Those
    of as many redshifts as there are processors take turns: each prepares one of its own, and none waits for another.
    """
    groups: dict[float, list[int]] = {}
    for i in np.argsort(z, kind="stable"):
        groups.setdefault(float(z[i]), []).append(int(i))
    lanes: list[list[int]] = [[] for _ in range(n_lane)]
    for group in groups.values():
        min(lanes, key=len).extend(group)
    turns = itertools.zip_longest(*lanes)
    return [i for turn in turns for i in turn if i is not None]


def _processors() -> int:
    """Return how many processors this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stop_if(cancel: Any) -> None:
    """Raise when a fit was cancelled."""
    if cancel is not None and cancel.is_set():
        msg = "the fit was cancelled"
        raise ScLabError(msg)


def _fit_one(task: _Task, *, progress: Callable[[int, int], None] | None = None, cancel: Any = None) -> SedFit:
    """Fit one source."""
    data, z = task.data, float(task.data.z[0])
    priors, said = task.priors.at(z, cosmology=task.cosmology)
    priors, more = inside_library(priors, task.model)
    said = (*said, *more)
    if task.model.sfh == "continuity":
        from sc_lab.sed.continuity import fit_continuity

        rng = np.random.default_rng(np.random.SeedSequence(task.seed))
        fit = fit_continuity(
            data.flux[0], data.flux_err[0], data.bands, z, model=task.model, filters=data.filters, priors=priors,
            shape_err=data.shape_err[0] if data.shape_err.any() else None, error_floor=data.error_floor,
            distance=data.distance, n_draws=task.n_draws, rng=rng, progress=progress, cancel=cancel,
            cosmology=task.cosmology, **task.options,
        )  # fmt: skip
        return fit.with_cautions(*more, *data.cautions)
    from sc_lab.sed._posterior import grid_for, run_source
    from sc_lab.sed._posterior_summary import summarise

    grid = grid_for(task.model, data.filters, z, priors, distance=data.distance, cosmology=task.cosmology)
    sequence = np.random.SeedSequence(task.seed)
    stream = int(sequence.generate_state(1, np.uint64)[0])
    sigma = np.where(data.used[0], np.hypot(data.flux_err[0], data.error_floor * np.abs(data.flux[0])), np.inf)
    draws = run_source(grid, data.flux[0], sigma, data.shape_err[0], priors, n_draws=task.n_draws, stream=stream)
    return summarise(data, task.model, priors, grid, draws, task.cosmology, (*said, *data.cautions), task.seed)
