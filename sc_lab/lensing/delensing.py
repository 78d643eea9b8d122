"""From observed to intrinsic: magnifications with errors, effective radii in parsec and source-plane shapes."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from enum import IntFlag
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.lensing.model import MAX_LN_SCATTER, LensModel, Magnification, magnification_of
from sc_lab.units import FloatArray, value_in

__all__ = ["LensFlag", "delens", "source_covariance"]

#: Half the full width at half maximum of a Gaussian over its standard deviation: its half-light radius.
_HALF_LIGHT = math.sqrt(2.0 * math.log(2.0))
_MAS_PER_RADIAN = math.degrees(1.0) * 3.6e6
#: Where the magnification is no longer to be trusted (photometry practice for cluster fields).
_NEAR_MU = 50.0
_NEAR_SCATTER = 0.5
#: Relative difference between centre and footprint above which an object is too large for one magnification.
_FINITE_SIZE = 0.2
_QUANTILES = (0.158655, 0.5, 0.841345)


class LensFlag(IntFlag):
    """What is to be known about a magnification."""

    NONE = 0
    #: The object is not behind the lens: its magnification is 1.
    FOREGROUND = 1
    #: The position is outside the model's maps.
    OUTSIDE = 2
    #: The redshift is missing.
    NO_REDSHIFT = 4
    #: |mu| > 50, or the scatter of ln|mu| exceeds 0.5.
    NEAR_CRIT = 8
    #: Realisations disagree about the side of the tangential critical curve.
    PARITY_MIXED = 16
    #: No realisations: the errors are the gradient of ln mu times the model's position error.
    GRADIENT_ERROR = 32
    #: That estimate was cut at a scatter of 1.
    CAPPED = 64
    #: The flux-weighted magnification over the image differs from that at its centre by over 20 %.
    FINITE_SIZE = 128
    #: The image reaches across the tangential critical curve.
    CROSSES_CRIT = 256


def source_covariance(covariance: Any, kappa: Any, g1: Any, g2: Any) -> FloatArray:
    """Return the covariance of the surface brightness in the source plane.

    Parameters
    ----------
    covariance : array_like
        In the image plane, frame x West and y North, shape (..., 2, 2).
    kappa, g1, g2 : array_like
        Convergence and shear at the source's redshift, shape (...).

    Returns
    -------
    ndarray
        A C A^T, shape (..., 2, 2), in the unit of ``covariance``.

    Notes
    -----
    A = [[1 - kappa - g1, -g2], [-g2, 1 - kappa + g1]]; (det C)^(1/4) is divided by sqrt|mu| exactly.
    """
    k, g1, g2 = (np.asarray(each, dtype=float) for each in (kappa, g1, g2))
    a = np.stack([np.stack([1 - k - g1, -g2], axis=-1), np.stack([-g2, 1 - k + g1], axis=-1)], axis=-2)
    return np.asarray(a @ np.asarray(covariance, dtype=float) @ np.swapaxes(a, -1, -2))


def delens(
    fits: QTable,
    lens: LensModel | Sequence[LensModel] | Mapping[str, LensModel],
    z: Any = None,
    *,
    n_draws: int = 100,
    rng: Any = 0,
    pixel_scale: Any = None,
    pixel_to_sky: Any = None,
    limit_std: float = 0.4,
    limit: str = "fit",
    psf_fwhm: Any = None,
    cosmology: FLRW | None = None,
    finite_size: bool = True,
    keep_draws: bool = False,
) -> QTable:
    """Return magnifications and intrinsic sizes of fitted clumps.

    Parameters
    ----------
    fits : `~astropy.table.QTable`
        With ra and dec; for sizes also r_eff_obs, r_eff_obs_err, r_eff_obs_limit [mas], size_class and, for shapes
        in the source plane, cov_xx, cov_yy, cov_xy [pixel²].
    lens : LensModel, or a sequence or mapping of them
        Several models stand side by side: the first is the reference, the others fill ``mu_<name>``.
    z : array_like, optional
        Redshift of each row, or one for all; None takes the column ``z``.
    n_draws : int
        Realisations of the lens per model.
    rng : int or `~numpy.random.Generator`
        Seed; with the same one, rows added later share the realisations of the rest.
    pixel_scale : float or `~astropy.units.Quantity`, optional
        Size of the reference pixel [arcsec]; None takes it from the metadata of ``fits``.
    pixel_to_sky : array_like, optional
        Matrix from pixel offsets (x, y) to offsets West and North [arcsec], shape (2, 2) or (n, 2, 2). None takes
        it from the metadata of ``fits``; where they have none, North is up and East to the left.
    limit_std : float
        Resolution limit of the standard deviation [pixel] where the fits give no limit of their own.
    limit : {"fit", "fixed", "psf"}
        Observed limit of what is not resolved: ``r_eff_obs_limit`` of the fits, the half-light radius of a Gaussian
        of ``limit_std``, or half the width of the PSF.
    psf_fwhm : float or `~astropy.units.Quantity`, optional
        Full width at half maximum of the PSF [mas]; needed for ``limit="psf"``.
    cosmology : `~astropy.cosmology.FLRW`, optional
        For parsec; None takes that of the reference model.
    finite_size : bool
        Whether to average the magnification over the image of each clump.
    keep_draws : bool
        Whether to add the columns draws_mu, draws_mu_t and r_eff_draws.

    Returns
    -------
    `~astropy.table.QTable`
        Row by row with ``fits``. Of the catalogue's columns: mu, mu_t (absolute, medians of the realisations) with
        errors, mu_<model> and mu_t_<model>, r_eff [pc] with errors, r_eff_is_limit. Beside them: best_mu, best_mu_t,
        best_mu_r (signed, of the best model), lens_spread (largest over smallest |mu| among the models), effective_mu
        (over the image), source_std_maj, source_std_min [mas], source_theta [deg] (from West towards North), and
        lens_flags (bits of `LensFlag`).

    Raises
    ------
    InputError
        If a column or an option is missing or has the wrong shape.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.2: resolved R = R_obs/sqrt|mu|; resolved along one axis R = R_obs/|mu_t|;
    unresolved R < limit/|mu_t|. Where the convergence exceeds 1 the radial stretch is the larger one, so that the
    larger of the two, 1/| |1 - kappa| - g |, stands for mu_t in the size rules.
    """
    models = _models(lens)
    reference = next(iter(models.values()))
    n = len(fits)
    missing = [name for name in ("ra", "dec") if name not in fits.colnames]
    if missing:
        msg = f"fits has no column {', '.join(missing)}; its columns are {', '.join(fits.colnames)}"
        raise InputError(msg)
    if limit not in ("fit", "fixed", "psf"):
        msg = f"limit is {limit!r}; choose 'fit', 'fixed' or 'psf'"
        raise InputError(msg)
    ra, dec = value_in(fits["ra"], u.deg, "ra"), value_in(fits["dec"], u.deg, "dec")
    if z is None and "z" not in fits.colnames:
        msg = "there is no redshift: give z=, one number or one per row, or a column 'z' in fits"
        raise InputError(msg)
    redshift = value_in(fits["z"] if z is None else z, u.one, "z")
    if redshift.ndim and redshift.shape != (n,):
        msg = f"z has the shape {redshift.shape} for {n} rows; give one number or one per row"
        raise InputError(msg)
    redshift = np.broadcast_to(redshift, (n,))
    generator_seed = _seed(rng)

    jacobian = reference.jacobian(ra, dec, redshift)
    best = magnification_of(*jacobian)
    flags = _basic_flags(reference, redshift, best)
    out = QTable(meta={"lensing": {"models": list(models), "n_draws": int(n_draws), "z_lens": reference.z_lens}})
    if "id" in fits.colnames:
        out["id"] = fits["id"]
    drawn: dict[str, tuple[FloatArray, FloatArray]] = {}
    for k, (name, model) in enumerate(models.items()):
        centre = best if k == 0 else model.magnification(ra, dec, redshift)
        mu, mu_t = (np.abs(each) for each in (centre.mu, centre.mu_t))
        if model.n_realisations or k == 0:
            signed = model.magnification_draws(ra, dec, redshift, n_draws=n_draws, rng=generator_seed)
            drawn[name] = (np.abs(signed[0]), np.abs(signed[1]))
            if k == 0:
                flags |= _draw_flags(model, signed, ra, dec, redshift)
        suffix = "" if k == 0 else f"_{name}"
        for label, value, place in (("mu", mu, 0), ("mu_t", mu_t, 1)):
            draws = drawn[name][place] if name in drawn else None
            _add(out, f"{label}{suffix}", value, draws)
    out["best_mu"], out["best_mu_t"], out["best_mu_r"] = best.mu, best.mu_t, best.mu_r
    if len(models) > 1:
        every = np.stack([np.asarray(out["mu" if k == 0 else f"mu_{name}"]) for k, name in enumerate(models)])
        out["lens_spread"] = np.max(every, axis=0) / np.min(every, axis=0)

    scale = _pixel_matrix(fits, pixel_scale, pixel_to_sky, n)
    if scale is not None and all(name in fits.colnames for name in ("cov_xx", "cov_yy", "cov_xy")):
        shape = _sky_covariance(fits, scale)
        _source_shapes(out, shape, jacobian)
        if finite_size:
            flags |= _finite_size(out, reference, ra, dec, redshift, shape, best)
    if "r_eff_obs" in fits.colnames and "size_class" in fits.colnames:
        distance = reference.cosmology if cosmology is None else cosmology
        observed = _observed_limit(fits, scale, limit, limit_std, psf_fwhm)
        mu_draws, mu_t_draws = drawn[next(iter(models))]
        _sizes(
            out,
            fits,
            observed,
            jacobian,
            best,
            mu_draws,
            mu_t_draws,
            redshift,
            distance,
            generator_seed,
            keep=keep_draws,
        )
    if keep_draws:
        out["draws_mu"], out["draws_mu_t"] = (each.T for each in drawn[next(iter(models))])
    out["lens_flags"] = flags
    return out


# ---- input ------------------------------------------------------------------------------
def _models(lens: Any) -> dict[str, LensModel]:
    """Return the models by catalogue name: the reference first, the others lower case letters and digits."""
    if isinstance(lens, LensModel):
        return {"reference": lens}
    if isinstance(lens, Mapping):
        pairs = list(lens.items())
    else:
        pairs = [(getattr(each, "name", ""), each) for each in lens] if isinstance(lens, Sequence) else []
    if not pairs or not all(isinstance(model, LensModel) for _, model in pairs):
        msg = "lens holds no lens model; give what read_lenstool or read_maps returns, or several of them"
        raise InputError(msg)
    out: dict[str, LensModel] = {}
    for k, (name, model) in enumerate(pairs):
        short = "".join(letter for letter in str(name).lower() if letter.isascii() and letter.isalnum())
        if not short or short in out or short in ("t", "err"):
            short = f"m{k + 1}"
        out[short] = model
    return out


def _seed(rng: Any) -> Any:
    """Return a seed that every model can start from alike."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63 - 1))
    return rng


def _pixel_matrix(fits: QTable, pixel_scale: Any, pixel_to_sky: Any, n: int) -> FloatArray | None:
    """Return matrices from pixel offsets to West and North in mas, shape (n, 2, 2)."""
    if pixel_to_sky is not None:
        matrix = 1000.0 * value_in(pixel_to_sky, u.arcsec, "pixel_to_sky")
        if matrix.shape not in ((2, 2), (n, 2, 2)):
            msg = f"pixel_to_sky has the shape {matrix.shape}; give (2, 2) or ({n}, 2, 2)"
            raise InputError(msg)
        return np.broadcast_to(matrix, (n, 2, 2))
    turned = fits.meta.get("photometry", {}).get("pixel_to_sky")
    if pixel_scale is None and turned is not None:
        return np.broadcast_to(1000.0 * np.asarray(turned, dtype=float), (n, 2, 2))
    if pixel_scale is None:
        pixel_scale = fits.meta.get("photometry", {}).get("pixel_scale")
    if pixel_scale is None:
        return None
    size = float(value_in(pixel_scale, u.arcsec, "pixel_scale"))
    return np.broadcast_to(1000.0 * size * np.eye(2), (n, 2, 2))


def _bare(fits: QTable, name: str) -> FloatArray:
    """Return a column as numbers in whatever unit it has."""
    column = fits[name]
    value: Any = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=float), np.nan)
    return np.asarray(value, dtype=float)


def _mas(fits: QTable, name: str) -> FloatArray:
    return value_in(fits[name], u.mas, name) if name in fits.colnames else np.full(len(fits), np.nan)


def _sky_covariance(fits: QTable, scale: FloatArray) -> FloatArray:
    """Return the covariance of each image [mas²], frame West and North, clipped to be one."""
    xx, yy, xy = (_bare(fits, name) for name in ("cov_xx", "cov_yy", "cov_xy"))
    pixel = np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)
    bad = ~np.all(np.isfinite(pixel), axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(bad[:, None, None], 0.0, pixel))
    clipped = (vectors * np.maximum(values, 0.0)[:, None, :]) @ np.swapaxes(vectors, -1, -2)
    clipped[bad] = np.nan
    return np.asarray(scale @ clipped @ np.swapaxes(scale, -1, -2))


# ---- flags ------------------------------------------------------------------------------
def _basic_flags(lens: LensModel, z: FloatArray, best: Magnification) -> npt.NDArray[np.int64]:
    flags = np.zeros(z.shape, dtype=np.int64)
    known = np.isfinite(z) & (z >= 0)
    flags[known & (z <= lens.z_lens)] |= LensFlag.FOREGROUND
    flags[~known] |= LensFlag.NO_REDSHIFT
    flags[known & np.isnan(best.mu)] |= LensFlag.OUTSIDE
    flags[np.abs(best.mu) > _NEAR_MU] |= LensFlag.NEAR_CRIT
    return flags


def _draw_flags(
    lens: LensModel, signed: tuple[FloatArray, FloatArray], ra: FloatArray, dec: FloatArray, z: FloatArray
) -> npt.NDArray[np.int64]:
    flags = np.zeros(z.shape, dtype=np.int64)
    if not flags.size:
        return flags
    mu, mu_t = signed
    behind = z > lens.z_lens
    if lens.n_realisations:
        with np.errstate(divide="ignore", invalid="ignore"):
            _, below, above = _interval(np.log(np.abs(mu)))
        scatter = 0.5 * (below + above)
        mixed = (mu_t < 0).any(axis=0) & (mu_t > 0).any(axis=0)
        flags[behind & mixed] |= LensFlag.PARITY_MIXED
    else:
        scatter = lens.gradient_scatter(ra, dec, z)
        flags[behind] |= LensFlag.GRADIENT_ERROR
        flags[behind & (scatter >= MAX_LN_SCATTER)] |= LensFlag.CAPPED
    flags[behind & (scatter > _NEAR_SCATTER)] |= LensFlag.NEAR_CRIT
    return flags


# ---- columns ----------------------------------------------------------------------------
def _interval(draws: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return median and the distances to the 16 and 84 % quantiles; NaN where every draw is."""
    out = np.full((3, draws.shape[1]), np.nan)
    known = np.isfinite(draws).any(axis=0)
    if known.any():
        out[:, known] = np.nanquantile(draws[:, known], _QUANTILES, axis=0)
    return out[1], out[1] - out[0], out[2] - out[1]


def _add(out: QTable, name: str, best: FloatArray, draws: FloatArray | None, unit: u.UnitBase | None = None) -> None:
    """Add a column and its errors: from the draws, or the best value without errors."""
    parts = (best,) if draws is None else _interval(draws)
    for suffix, part in zip(("", "_err_lo", "_err_hi"), parts, strict=False):
        out[f"{name}{suffix}"] = part if unit is None else part * unit


def _source_shapes(out: QTable, shape: FloatArray, jacobian: Sequence[FloatArray]) -> None:
    matrix = source_covariance(shape, *jacobian)
    xx, yy, xy = matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 1]
    half, spread = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    out["source_std_maj"] = np.sqrt(half + spread) * u.mas
    out["source_std_min"] = np.sqrt(np.maximum(half - spread, 0.0)) * u.mas
    out["source_theta"] = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) * u.deg


def _finite_size(
    out: QTable,
    lens: LensModel,
    ra: FloatArray,
    dec: FloatArray,
    z: FloatArray,
    shape: FloatArray,
    best: Magnification,
) -> npt.NDArray[np.int64]:
    """Average 1/|mu| over the Gaussian image of each object, and say where one number is not enough."""
    flags = np.zeros(z.shape, dtype=np.int64)
    known = np.all(np.isfinite(shape), axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(known[:, None, None], shape, 0.0))
    axes = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    coarse, weight, spread = _footprint()
    west, north = (0.001 * (axes[:, i, :1] * coarse[0] + axes[:, i, 1:] * coarse[1]) for i in (0, 1))
    x, y = lens.to_frame(ra, dec)
    points = lens.to_sky(x[:, None] + west, y[:, None] + north)
    # Nine points carry convergence and shear over an image that is small beside the lens.
    # They are summed one by one, so that a row alone has the numbers of the whole table.
    parts = lens.jacobian(*points, z[:, None])
    mu, mu_t, _ = magnification_of(*(sum(part[:, k, None] * spread[k] for k in range(9)) for part in parts))
    effective = np.where(known, 1.0 / np.sum(weight / np.abs(mu), axis=1), np.nan)
    out["effective_mu"] = effective
    with np.errstate(invalid="ignore"):
        flags[known & (np.abs(effective / np.abs(best.mu) - 1.0) > _FINITE_SIZE)] |= LensFlag.FINITE_SIZE
        flags[known & (mu_t < 0).any(axis=1) & (mu_t > 0).any(axis=1)] |= LensFlag.CROSSES_CRIT
    return flags


@functools.cache
def _footprint() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return nine points of a Gaussian [standard deviations], weights of its 37 cells, and the step from nine to 37."""
    three = 2.4 * np.cos(np.radians(30.0)) * np.array([-1.0, 0.0, 1.0])
    seven = np.linspace(-2.4, 2.4, 7)
    basis = np.stack(
        [np.prod([(seven - o) / (each - o) for o in three if o != each], axis=0) for each in three]
    )  # the parabola through three points, shape (3, 7)
    x, y = np.meshgrid(seven, seven)
    inside = x**2 + y**2 <= seven[-1] ** 2 + 1e-9
    weight = np.exp(-0.5 * (x[inside] ** 2 + y[inside] ** 2))
    both = (basis[:, None, :, None] * basis[None, :, None, :]).reshape(9, 7, 7)[:, inside]
    coarse = np.stack([each.ravel() for each in np.meshgrid(three, three)])
    return coarse, weight / weight.sum(), both


def _observed_limit(fits: QTable, scale: FloatArray | None, limit: str, limit_std: float, psf_fwhm: Any) -> FloatArray:
    """Return the observed size limit of each row [mas]."""
    if limit == "psf":
        if psf_fwhm is None:
            msg = "limit='psf' needs psf_fwhm=, the full width at half maximum of the PSF in mas"
            raise InputError(msg)
        return np.full(len(fits), 0.5 * float(value_in(psf_fwhm, u.mas, "psf_fwhm")))
    fixed = np.full(len(fits), np.nan)
    if scale is not None:
        fixed = _HALF_LIGHT * limit_std * np.sqrt(np.abs(np.linalg.det(scale)))
    if limit == "fixed":
        if scale is None:
            msg = "limit='fixed' needs pixel_scale=, the size of the reference pixel in arcsec"
            raise InputError(msg)
        return np.asarray(fixed)
    given = _mas(fits, "r_eff_obs_limit")
    return np.where(np.isfinite(given), given, fixed)


def _sizes(
    out: QTable,
    fits: QTable,
    observed_limit: FloatArray,
    jacobian: Sequence[FloatArray],
    best: Magnification,
    mu_draws: FloatArray,
    mu_t_draws: FloatArray,
    z: FloatArray,
    cosmology: FLRW,
    seed: Any,
    *,
    keep: bool,
) -> None:
    """Add r_eff [pc] with errors and the limit flag."""
    kind = np.asarray(fits["size_class"]).astype(str)
    known = np.isin(kind, ("resolved", "one_axis", "unresolved"))
    observed, error = _mas(fits, "r_eff_obs"), _mas(fits, "r_eff_obs_err")
    is_limit = kind == "unresolved"
    observed = np.where(is_limit, observed_limit, observed)
    error = np.where(is_limit | ~np.isfinite(error), 0.0, error)
    kappa, g1, g2 = jacobian
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = 1.0 / np.abs(np.abs(1.0 - kappa) - np.hypot(g1, g2))
        # Among the realisations the larger stretch is told from |mu| and |mu_t| alone: |mu| = |mu_t| |mu_r|.
        largest_draws = np.maximum(mu_t_draws, mu_draws / mu_t_draws)
        factor = np.where(kind == "resolved", 1.0 / np.sqrt(np.abs(best.mu)), 1.0 / largest)
        factors = np.where(kind == "resolved", 1.0 / np.sqrt(mu_draws), 1.0 / largest_draws)
        # A log-normal of the fit's relative error: sizes stay above zero, as the fit's own parameter does.
        relative = np.where(observed > 0, error / observed, 0.0)
    spread = _row_deviates(fits, mu_draws.shape[0], 0 if seed is None else int(seed))
    pc = _parsec_per_mas(cosmology, z)
    draws = observed * np.exp(relative * spread) * factors * pc
    value = np.where(known, observed * factor * pc, np.nan)
    draws[:, ~known] = np.nan
    _add(out, "r_eff", value, draws, u.pc)
    out["r_eff"][is_limit] = value[is_limit] * u.pc
    out["r_eff_err_lo"][is_limit] = np.nan
    out["r_eff_err_hi"][is_limit] = np.nan
    out["r_eff_is_limit"] = is_limit
    if keep:
        out["r_eff_draws"] = draws.T * u.pc


def _row_deviates(fits: QTable, n_draws: int, seed: int) -> FloatArray:
    """Return normal deviates that depend on a row's identifier only, so that rows added later change none."""
    names = [str(each) for each in fits["id"]] if "id" in fits.colnames else [str(i) for i in range(len(fits))]
    rows = [np.random.default_rng([seed % 2**63, *name.encode()]).standard_normal(n_draws) for name in names]
    return np.array(rows, dtype=float).reshape(len(names), n_draws).T


def _parsec_per_mas(cosmology: FLRW, z: FloatArray) -> FloatArray:
    """Return parsec per milliarcsecond at each redshift; NaN where it is not above zero."""
    out = np.full(z.shape, np.nan)
    for each in np.unique(z[np.isfinite(z) & (z > 0)]):
        out[z == each] = cosmology.angular_diameter_distance(each).to_value(u.pc) / _MAS_PER_RADIAN
    return out
