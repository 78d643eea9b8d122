"""Sizes and magnifications of a published catalogue under other lens models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW
from astropy.table import QTable

from sc_lab import catalog as catalogs
from sc_lab.errors import InputError
from sc_lab.lensing.model import LensModel, magnification_of
from sc_lab.units import FloatArray, value_in

__all__ = ["rederive", "rescale_sizes"]

_CLASSES = ("resolved", "one_axis", "unresolved")
_MAS_PER_RADIAN = np.degrees(1.0) * 3.6e6
_QUANTILES = (0.158655, 0.5, 0.841345)
_NAME = re.compile(r"(?!(?:t|err)$)[a-z0-9]+")


def rescale_sizes(
    r_eff: Any,
    size_class: Any,
    *,
    mu: Any,
    mu_new: Any,
    stretch: Any = None,
    stretch_new: Any = None,
) -> FloatArray:
    """Return intrinsic sizes under another magnification than the one they were derived with.

    Parameters
    ----------
    r_eff : array_like or `~astropy.units.Quantity`
        Intrinsic effective radii, or their upper limits [pc], shape (n,).
    size_class : array_like of str
        "resolved", "one_axis" or "unresolved", shape (n,) or one for all.
    mu, mu_new : array_like
        Old and new magnification, shape (n,); signs do not matter.
    stretch, stretch_new : array_like, optional
        Old and new magnification along the direction of the largest stretch, mu_t outside the radial critical
        curve. Where one is missing, sizes that go with it go with sqrt|mu| instead.

    Returns
    -------
    ndarray
        Radii [pc], shape (n,); NaN where a radius or a magnification is.

    Raises
    ------
    InputError
        If a size class is unknown.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.2: R = R_obs/sqrt|mu| where both axes are resolved, R = R_obs/|mu_t| where one
    is, and R < limit/|mu_t| where none is. The observed size drops out of the ratio of new to old.

    Examples
    --------
    >>> from sc_lab.lensing import rescale_sizes
    >>> rescale_sizes([10.0, 10.0], ["resolved", "unresolved"], mu=4, mu_new=16, stretch=2, stretch_new=8)
    array([5. , 2.5])
    """
    radius = value_in(r_eff, u.pc, "r_eff")
    kind = np.broadcast_to(np.asarray(size_class).astype(str), radius.shape)
    unknown = sorted(set(kind.ravel()) - set(_CLASSES))
    if unknown:
        msg = f"size_class holds {', '.join(map(repr, unknown))}; it can be {', '.join(map(repr, _CLASSES))}"
        raise InputError(msg)
    old, new = (np.abs(value_in(each, u.one, "mu")) for each in (mu, mu_new))
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.broadcast_to(np.sqrt(old / new), radius.shape)
        if stretch is None or stretch_new is None:
            return np.asarray(radius * both)
        along = np.abs(value_in(stretch, u.one, "stretch")) / np.abs(value_in(stretch_new, u.one, "stretch_new"))
        along = np.broadcast_to(along, radius.shape)
        return np.asarray(radius * np.where((kind == "resolved") | ~np.isfinite(along), both, along))


def rederive(
    catalog: QTable,
    models: Mapping[str, LensModel],
    *,
    reference: str | None = None,
    observed_limit: Any = None,
    size_class: Any = None,
    n_draws: int = 100,
    rng: Any = 0,
    cosmology: FLRW | None = None,
) -> QTable:
    """Return a published catalogue with the magnifications and sizes of lens models beside its own.

    Parameters
    ----------
    catalog : `~astropy.table.QTable`
        In the registry's columns, with ra, dec, z, mu, r_eff and r_eff_is_limit.
    models : mapping of str to LensModel
        By the names that the columns get: lower-case letters and digits, e.g. ``{"m1": ..., "m2": ...}``.
    reference : str, optional
        The one of ``models`` that the catalogue's own magnifications come from. It lends its mu_t to a catalogue
        that has none, so that limits go with mu_t from model to model.
    observed_limit : float or `~astropy.units.Quantity`, optional
        Observed size limit of the catalogue [mas]. With it limits are derived anew, not carried over, also where
        their numbers are missing; and a measured size that would be below it was resolved along one axis only.
    size_class : array_like of str, optional
        "resolved", "one_axis" or "unresolved" of each row. None takes the catalogue's column; where that says
        nothing, limits are "unresolved" and the rest "resolved".
    n_draws : int
        Joint realisations of each model for its errors.
    rng : int or `~numpy.random.Generator`
        Seed of their choice.
    cosmology : `~astropy.cosmology.FLRW`, optional
        For ``observed_limit`` in parsec; None takes that of each model.

    Returns
    -------
    `~astropy.table.QTable`
        A copy with mu_<model> and mu_t_<model> (absolute, of the best model) with errors, and r_eff_<model> [pc].

    Raises
    ------
    InputError
        If a column is missing, a name is not one, or ``reference`` is not among the models.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.2. The errors are the widths of the realisations about their median, as
    fractions, about the value of the best model: in a model of many parameters the samples may lie to one side of
    the best one, and published values are those of the best one.
    """
    missing = [name for name in ("ra", "dec", "z", "mu", "r_eff", "r_eff_is_limit") if name not in catalog.colnames]
    if missing:
        msg = f"the catalogue has no column {', '.join(missing)}; its columns are {', '.join(catalog.colnames)}"
        raise InputError(msg)
    bad = [name for name in models if not _NAME.fullmatch(name)]
    if bad or not models:
        msg = f"models has the names {sorted(models)}; use lower-case letters and digits, e.g. 'm1', not 't' or 'err'"
        raise InputError(msg)
    if reference is not None and reference not in models:
        msg = f"reference is {reference!r}; it can be {', '.join(map(repr, models))} or None"
        raise InputError(msg)
    place = tuple(catalogs.values(catalog, name) for name in ("ra", "dec", "z"))
    radius, mu = catalogs.values(catalog, "r_eff"), catalogs.values(catalog, "mu")
    stretches = {name: _stretch(model, *place) for name, model in models.items()}
    own = None if reference is None else stretches[reference]
    if own is None and "mu_t" in catalog.colnames:
        own = catalogs.values(catalog, "mu_t")
    limit = None if observed_limit is None else float(value_in(observed_limit, u.mas, "observed_limit"))
    kind = _classes(catalog, size_class)
    seed = int(rng.integers(2**63 - 1)) if isinstance(rng, np.random.Generator) else rng

    # Rows by number are a copy; copy() would try again to make quantities of logarithmic columns, and warn.
    out = catalog[np.arange(len(catalog))]
    for name, model in models.items():
        best = model.magnification(*place)
        draws = model.magnification_draws(*place, n_draws=n_draws, rng=seed)
        for label, value, drawn in (("mu", best.mu, draws[0]), ("mu_t", best.mu_t, draws[1])):
            low, high = _widths(np.abs(drawn))
            out[f"{label}_{name}"] = np.abs(value)
            out[f"{label}_{name}_err_lo"] = np.abs(value) * low
            out[f"{label}_{name}_err_hi"] = np.abs(value) * high
        if limit is None:
            sizes = rescale_sizes(radius, kind, mu=mu, mu_new=best.mu, stretch=own, stretch_new=stretches[name])
        else:
            pc = _parsec_per_mas(model.cosmology if cosmology is None else cosmology, place[2])
            with np.errstate(invalid="ignore"):
                narrow = (kind == "resolved") & (radius * np.sqrt(mu) < limit * pc)
            here = np.where(narrow, "one_axis", kind)
            sizes = rescale_sizes(radius, here, mu=mu, mu_new=best.mu, stretch=own, stretch_new=stretches[name])
            sizes = np.where(kind == "unresolved", limit * pc / stretches[name], sizes)
        out[f"r_eff_{name}"] = sizes * u.pc
    if reference is not None and "mu_t" not in catalog.colnames:
        for part in ("", "_err_lo", "_err_hi"):
            out[f"mu_t{part}"] = out[f"mu_t_{reference}{part}"]
    return out


def _classes(catalog: QTable, size_class: Any) -> npt.NDArray[np.str_]:
    """Return the size class of each row."""
    if size_class is None:
        supposed = np.where(catalogs.flags(catalog, "r_eff_is_limit"), "unresolved", "resolved")
        if "size_class" not in catalog.colnames:
            return supposed
        said = np.ma.filled(np.ma.asarray(catalog["size_class"]).astype(str), "")
        return np.where(np.isin(said, _CLASSES), said, supposed)
    given = np.asarray(size_class).astype(str)
    if given.shape != (len(catalog),):
        msg = f"size_class has the shape {given.shape} for {len(catalog)} rows; give one per row"
        raise InputError(msg)
    return given


def _stretch(model: LensModel, ra: FloatArray, dec: FloatArray, z: FloatArray) -> FloatArray:
    """Return the larger of the two magnifications, absolute."""
    _, mu_t, mu_r = magnification_of(*model.jacobian(ra, dec, z))
    return np.asarray(np.maximum(np.abs(mu_t), np.abs(mu_r)))


def _widths(draws: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the 68 % interval of draws (n_draws, n) about their median, as fractions of it."""
    out = np.full((3, draws.shape[1]), np.nan)
    known = np.isfinite(draws).any(axis=0)
    if known.any():
        out[:, known] = np.nanquantile(draws[:, known], _QUANTILES, axis=0)
    return 1.0 - out[0] / out[1], out[2] / out[1] - 1.0


def _parsec_per_mas(cosmology: FLRW, z: FloatArray) -> FloatArray:
    """Return parsec per milliarcsecond at each redshift; NaN where there is none."""
    out = np.full(z.shape, np.nan)
    known = np.isfinite(z) & (z > 0)
    out[known] = cosmology.angular_diameter_distance(z[known]).to_value(u.pc) / _MAS_PER_RADIAN
    return out
