"""SED fits of clumps as catalogue columns: medians, errors and joint draws, each clump from random numbers of its own."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.clumps.sed_columns import DRAWN, PROPERTIES, TEXTS
from sc_lab.clumps.sed_settings import SedSettings
from sc_lab.cosmology import default_cosmology, describe
from sc_lab.errors import InputError
from sc_lab.inference.summary import weighted_quantile
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

__all__ = ["can_fit", "detected", "fit_seds", "forget", "posteriors", "usable_bands", "warm"]

#: Below this many sigma a flux is no detection.
_DETECTED = 3.0
#: An SED begins with two detected bands.
_LEAST = 2
#: Independent posterior draws below which quantiles are not to be trusted to a tenth of the error.
_FEW_DRAWS = 400
#: Chance of a larger chi-squared below which no model fits.
_POOR = 1e-3
_LEVELS = (0.16, 0.5, 0.84)
#: Samples by the name of their column; masses and rates are those of the light as it was given.
_SAMPLES = {
    "mass": "log_mass",
    "age_onset": "age",
    "age_mw": "age_mw",
    "sfr": "sfr10",
    "a_v": "a_v",
    "metallicity": "metallicity",
    "abs_mag_v": "abs_mag_v",
}
_SOLAR = 0.02
#: Fits kept in memory, so that undo, redo and a new lens model fit nothing again; 7 kB each.
_DEPTH = 8192

Fit = dict[str, Any]
_fits: OrderedDict[bytes, Fit] = OrderedDict()
_lock = threading.Lock()


def fit_seds(
    ids: Sequence[str],
    fluxes: Mapping[str, tuple[FloatArray, FloatArray]],
    z: FloatArray,
    *,
    settings: SedSettings,
    own: Mapping[str, SedSettings] | None = None,
    shape_err: FloatArray | None = None,
    cosmology: FLRW | None = None,
    strict: bool = False,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
    executor: Any = None,
) -> dict[str, npt.NDArray[Any]]:
    """Fit the SEDs of clumps and return what catalogues say of them.

    Parameters
    ----------
    ids : sequence of str
        Names of the clumps; they seed the draws.
    fluxes : mapping of str to (ndarray, ndarray)
        Observed flux density and error [nJy] by band, shape (n,) each; NaN where not observed.
    z : ndarray
        Redshift, shape (n,); NaN where not known.
    settings : SedSettings
        Model, priors and the rest.
    own : mapping of str to SedSettings, optional
        Settings of single clumps, by id.
    shape_err : ndarray, optional
        Fraction of every flux by which all bands of a clump may be wrong together, shape (n,).
    cosmology : FLRW, optional
        Cosmology of distances and of the age of the Universe; the default one when None.
    strict : bool
        Whether it is an error that the engine refuses every source.
    progress : callable, optional
        Called as ``progress(done, total)``.
    cancel : object, optional
        With ``is_set()``; once set, an error is raised and nothing is returned.
    executor : `~concurrent.futures.Executor`, optional
        Passed on to `sc_lab.sed.fit_photometry`.

    Returns
    -------
    dict of ndarray
        Registry columns of the light as it was given, that is not yet divided by the magnification (see
        `sc_lab.clumps.sed_columns.magnified`): shape (n,), draws (n, n_draws); NaN or empty where no fit is
        possible, for want of a redshift or of two detections.

    Raises
    ------
    ScLabError
        If it was cancelled. What the engine refuses has the flag ``refused``, unless ``strict``.

    Notes
    -----
    Draws of a clump depend on its own photometry, its id and the settings alone, never on other clumps.
    """
    n, own = len(ids), own or {}
    cosmology = default_cosmology() if cosmology is None else cosmology
    fluxes = {band.upper(): pair for band, pair in fluxes.items()}
    chosen = [own.get(name, settings) for name in ids]
    bands, _unknown = usable_bands(fluxes)
    out = _empty(n, chosen or [settings], depth=settings.n_draws)
    light = [_photometry(fluxes, bands, chosen[row], row) for row in range(n)]
    work: list[tuple[int, str]] = []
    for row, (flux, error) in enumerate(light):
        out["sed_n_bands"][row] = np.isfinite(flux).sum()
        if not z[row] > 0:
            out["sed_flags"][row] = "no_redshift"
        elif np.count_nonzero(detected(flux, error)) < _LEAST:
            out["sed_flags"][row] = "too_few_detections"
        else:
            work += [(row, suffix) for suffix in chosen[row].models]
    found: dict[tuple[int, str], Fit] = {}
    missing: dict[tuple[str, str], list[int]] = {}
    names: dict[tuple[int, str], bytes] = {}
    space = {name: value for name, value in describe(cosmology).items() if name not in ("class", "name")}
    shape = np.zeros(n) if shape_err is None else np.where(shape_err > 0, shape_err, 0.0)
    for row, suffix in work:
        said = (ids[row], bands, float(z[row]), float(shape[row]), suffix, chosen[row].key, space)
        names[row, suffix] = name = _name(said, *light[row])
        with _lock:
            fit = _fits.get(name)
            if fit is not None:
                _fits.move_to_end(name)
        if fit is not None:
            found[row, suffix] = fit
        else:
            missing.setdefault((chosen[row].key, suffix), []).append(row)
    done, total = len(found), len(work)
    if progress is not None:
        progress(done, total)
    refused: list[tuple[int, InputError]] = []
    for (_key, suffix), alike in missing.items():
        # One redshift after the other, so that its tables are in memory while they are needed.
        rows = sorted(alike, key=lambda row: float(z[row]))
        tell = None if progress is None else _shifted(progress, done, total)

        def answers(some: list[int], suffix: str = suffix, tell: Any = tell) -> list[Fit]:
            return posteriors(
                np.array([light[row][0] for row in some]),
                np.array([light[row][1] for row in some]),
                bands,
                z[some],
                names=[ids[row] for row in some],
                settings=chosen[some[0]],
                suffix=suffix,
                shape_err=shape[some],
                cosmology=cosmology,
                progress=tell,
                cancel=cancel,
                executor=executor,
            )

        for row, one in _one_by_one(answers, rows, refused):
            found[row, suffix] = one
            _keep(names[row, suffix], one)
        done += len(rows)
        if progress is not None:
            progress(done, total)
    if strict and refused and not found:
        raise refused[0][1]
    for row, _error in refused:
        out["sed_flags"][row] = "refused"
    for (row, suffix), one in found.items():
        _write(out, row, suffix, one, chosen[row])
    return out


def posteriors(
    flux: FloatArray,
    flux_err: FloatArray,
    bands: Sequence[str],
    z: FloatArray,
    *,
    names: Sequence[str],
    settings: SedSettings,
    suffix: str = "",
    shape_err: FloatArray | None = None,
    cosmology: FLRW | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
    executor: Any = None,
) -> list[Fit]:
    """Fit sources and return what is kept of their posteriors.

    Parameters
    ----------
    flux, flux_err : ndarray
        Flux density and error [nJy], shape (n, n_bands); NaN where not observed.
    bands : sequence of str
        Bands.
    z : ndarray
        Redshift, shape (n,).
    names : sequence of str
        Ids, which seed the draws.
    settings : SedSettings
        Model, priors and the rest.
    suffix : str
        Which of `SedSettings.models`.
    shape_err : ndarray, optional
        As for `fit_seds`, shape (n,).
    cosmology, progress, cancel, executor : optional
        As for `fit_seds`.

    Returns
    -------
    list of dict
        For each source its numbers by column name, arrays of joint draws among them, and ``flags``.
    """
    from sc_lab.sed.fitting import fit_photometry
    from sc_lab.sed.results import SedFits

    if settings.models[suffix].sfh == "continuity":
        msg = (
            "a continuity history has no age of its onset, which catalogues of clumps need; choose exponential, constant "
            "or burst, or fit single sources with fit_photometry and galaxies with fit_hosts"
        )
        raise InputError(msg)

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total)

    streams = [_stream(name) for name in names]
    fits = fit_photometry(
        # With their unit: bare numbers near 25 might be magnitudes, and the engine asks.
        flux * u.nJy,
        flux_err * u.nJy,
        list(bands),
        z,
        model=settings.models[suffix],
        priors=settings.priors,
        shape_err=None if shape_err is None else np.repeat(shape_err[:, None], len(bands), axis=1),
        error_floor=settings.error_floor,
        rng=settings.seed,
        streams=streams,
        progress=tell,
        cancel=cancel,
        executor=executor,
        cosmology=cosmology,
    )
    each = fits if isinstance(fits, SedFits) else [fits]
    n_bands = np.isfinite(flux).sum(axis=1).tolist()
    return [
        summary(fit, n_bands=n, n_draws=settings.n_draws, seed=[settings.seed, stream])
        for fit, n, stream in zip(each, n_bands, streams, strict=True)
    ]


def summary(fit: Any, *, n_bands: int, n_draws: int, seed: Sequence[int]) -> Fit:
    """Return what a catalogue keeps of a posterior.

    Parameters
    ----------
    fit : SedFit
        What `sc_lab.sed.fit_photometry` gave.
    n_bands : int
        Bands with a flux.
    n_draws : int
        Joint draws to keep.
    seed : sequence of int
        Seed of their order.

    Returns
    -------
    dict
        Median and errors by column name, joint draws, chi-squared, ESS and flags.

    Notes
    -----
    The draws are a systematic sample of the weighted posterior in order of mass: their quantiles of mass are those of
    the posterior to one part in ``n_draws``, which a random sample of that size would miss by a tenth of the
    error. They are shuffled then, so that draw j of one clump has nothing to do with draw j of another.
    """
    weights = np.asarray(fit.weights, dtype=float)
    weights = weights / weights.sum()
    values = {name: _house(name, np.asarray(fit.samples[sample], dtype=float)) for name, sample in _SAMPLES.items()}
    out: Fit = {}
    for name, each in values.items():
        low, middle, high = weighted_quantile(each, _LEVELS, weights=weights)
        out[name], out[f"{name}_err_lo"], out[f"{name}_err_hi"] = middle, middle - low, high - middle
    out["abs_mag_v_err"] = 0.5 * (out.pop("abs_mag_v_err_lo") + out.pop("abs_mag_v_err_hi"))
    rng = np.random.default_rng(list(seed))
    order = np.argsort(values["mass"])
    steps = (np.arange(n_draws) + rng.random()) / n_draws
    chosen = order[np.minimum(np.searchsorted(np.cumsum(weights[order]), steps), len(order) - 1)]
    chosen = rng.permutation(chosen)
    for name in DRAWN:
        out[f"{name}_draws"] = values[name][chosen]
    # A perfect fit may come out a rounding error below zero.
    out["sed_chi2"], out["sed_ess"] = max(float(fit.best_chi2), 0.0), float(fit.ess)
    out["flags"] = _flags(out, n_bands)
    return out


def detected(flux: FloatArray, error: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which fluxes are detections.

    Parameters
    ----------
    flux, error : ndarray
        Flux density and error in one unit, any shape.

    Returns
    -------
    ndarray of bool
        Above 3 sigma.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(flux > _DETECTED * error)


def can_fit(fluxes: Mapping[str, tuple[FloatArray, FloatArray]], z: FloatArray) -> npt.NDArray[np.bool_]:
    """Return where an SED can be fitted: where there are a redshift and two detected bands.

    Parameters
    ----------
    fluxes : mapping of str to (ndarray, ndarray)
        Flux density and error [nJy] by band.
    z : ndarray
        Redshift, shape (n,).

    Returns
    -------
    ndarray of bool
        Shape (n,).
    """
    fluxes = {band.upper(): pair for band, pair in fluxes.items()}
    seen = np.zeros(len(z), dtype=int)
    for band in usable_bands(fluxes)[0]:
        seen += detected(*fluxes[band])
    with np.errstate(invalid="ignore"):
        return np.asarray((z > 0) & (seen >= _LEAST))


def usable_bands(bands: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which bands have a throughput curve, and which have none.

    Parameters
    ----------
    bands : iterable of str
        Names of bands.

    Returns
    -------
    known, unknown : tuple of str
        Names as throughput curves have them, in capitals and in order; so that fits do not depend on the order of
        columns.
    """
    from sc_lab.sed.filters import get_filter

    known, unknown = [], []
    for band in sorted({band.upper() for band in bands}):
        try:
            get_filter(band)
        except InputError:
            unknown.append(band)
        else:
            known.append(band)
    return tuple(known), tuple(unknown)


def warm(settings: SedSettings, bands: Sequence[str], z: float, *, cosmology: FLRW | None = None) -> None:
    """Make everything ready that fits at a redshift need, so that the first one is as fast as the others.

    Parameters
    ----------
    settings : SedSettings
        Model, priors and the rest.
    bands : sequence of str
        Bands.
    z : float
        Redshift.
    cosmology : FLRW, optional
        As for `fit_seds`.
    """
    known, _ = usable_bands(bands)
    if len(known) < _LEAST or not z > 0:
        return
    ones = np.ones((1, len(known)))
    for suffix in settings.models:
        at = np.array([float(z)])
        posteriors(10.0 * ones, ones, known, at, names=[""], settings=settings, suffix=suffix, cosmology=cosmology)


def forget() -> None:
    """Let go of the fits that are kept in memory, for benchmarks."""
    with _lock:
        _fits.clear()


# ---------------------------------------------------------------------- helpers


def _photometry(
    fluxes: Mapping[str, tuple[FloatArray, FloatArray]], bands: Sequence[str], settings: SedSettings, row: int
) -> tuple[FloatArray, FloatArray]:
    """Return fluxes and errors of a clump, NaN in the bands that its fit leaves out.

    Every fit at a redshift has the same bands, so that all of them share one set of tables.
    """
    flux, error = (np.array([fluxes[band][part][row] for band in bands], dtype=float) for part in (0, 1))
    out = np.isin(bands, settings.excluded) | ~(np.isfinite(flux) & (error > 0) & (error < np.inf))
    return np.where(out, np.nan, flux), np.where(out, np.nan, error)


def _name(said: tuple[Any, ...], flux: FloatArray, error: FloatArray) -> bytes:
    """Return a name of everything that decides a fit."""
    text = repr(said).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text + flux.tobytes() + error.tobytes()).digest()


def _one_by_one(
    fit: Callable[[list[int]], list[Fit]], rows: list[int], refused: list[tuple[int, InputError]]
) -> list[tuple[int, Fit]]:
    """Return fits of sources; where the engine refuses some, those that it takes, the others being noted."""
    try:
        return list(zip(rows, fit(rows), strict=True))
    except InputError as error:
        if len(rows) == 1:
            refused.append((rows[0], error))
            return []
    return [pair for row in rows for pair in _one_by_one(fit, [row], refused)]


def _shifted(progress: Callable[[int, int], object], before: int, total: int) -> Callable[[int, int], object]:
    """Return a progress that counts what was done before."""
    return lambda done, _all: progress(before + done, total)


def _keep(name: bytes, fit: Fit) -> None:
    """Keep a fit; the one unused for longest goes first."""
    with _lock:
        _fits[name] = fit
        while len(_fits) > _DEPTH:
            _fits.popitem(last=False)


def _stream(name: str) -> int:
    """Return the number of a clump's own random numbers."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "little")


def _house(name: str, values: FloatArray) -> FloatArray:
    """Return samples in the house unit of a column, within its range."""
    if name == "mass":
        return np.asarray(10.0**values)
    scale = _SOLAR if name == "metallicity" else 1.0
    return scale * (values if name == "abs_mag_v" else np.maximum(values, 0.0))


def _flags(fit: Fit, n_bands: int) -> str:
    """Return what is to be pointed out of a fit, by name."""
    from scipy.stats import chi2

    found = []
    if fit["sed_ess"] < _FEW_DRAWS:
        found.append("few_posterior_draws")
    if fit["sed_chi2"] > chi2.isf(_POOR, max(n_bands, 1)):
        found.append("poor_fit")
    return " ".join(found)


def _empty(n: int, chosen: Sequence[SedSettings], depth: int) -> dict[str, npt.NDArray[Any]]:
    """Return every column without a value."""
    out: dict[str, npt.NDArray[Any]] = {}
    for suffix in dict.fromkeys(suffix for each in chosen for suffix in each.models):
        for base in PROPERTIES:
            sides = ("", "_err") if base == "abs_mag_v" else ("", "_err_lo", "_err_hi")
            out |= {f"{base}{suffix}{side}": np.full(n, np.nan) for side in sides}
        out[f"sed_chi2{suffix}"] = np.full(n, np.nan)
    out |= {f"{name}_draws": np.full((n, depth), np.nan) for name in DRAWN}
    out |= {name: np.full(n, np.nan) for name in ("sed_n_bands", "sed_ess")}
    out |= {name: np.full(n, "", dtype=object) for name in TEXTS}
    return out


def _write(out: dict[str, npt.NDArray[Any]], row: int, suffix: str, fit: Fit, settings: SedSettings) -> None:
    """Put a fit into its row."""
    for name, value in fit.items():
        if name == "flags":
            continue
        if name.endswith("_draws"):
            if not suffix:
                depth = out[name].shape[1]
                out[name][row] = value[np.arange(depth) * len(value) // depth]
            continue
        for side in ("_err_lo", "_err_hi", "_err", ""):
            if name.endswith(side):
                target = f"{name[: len(name) - len(side)]}{suffix}{side}"
                break
        if target in out:
            out[target][row] = value
    if not suffix:
        out["sed_library"][row] = settings.model.loaded_library.title
        out["sed_settings"][row] = settings.key
        out["sed_flags"][row] = fit["flags"]
