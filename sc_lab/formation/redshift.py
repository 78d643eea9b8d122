"""The redshift at which an object of known age began to form stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from sc_lab.cosmology import clock
from sc_lab.errors import InputError
from sc_lab.units import AGE, FloatArray, value_in

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.cosmology import CosmicClock

__all__ = ["formation_redshift", "formation_time", "undefined_fraction"]

#: Values treated at once; keeps the temporary arrays of millions of draws in the cache.
_BLOCK = 16384


def formation_redshift(z_obs: Any, age: Any, *, cosmology: FLRW | None = None) -> FloatArray:
    """Return the redshift at which objects seen at ``z_obs`` with an age began to form.

    Parameters
    ----------
    z_obs : array_like
        Redshift at which the object is seen, zero or above; broadcasts against ``age``,
        e.g. shape (n,) against draws of shape (n_draws, n).
    age : `~astropy.units.Quantity` or array_like
        Time since star formation began [Myr], zero or above.
    cosmology : `~astropy.cosmology.FLRW`, optional
        The cosmology; None means `sc_lab.cosmology.default_cosmology`.

    Returns
    -------
    ndarray
        float64 of the broadcast shape. NaN where an input is NaN and where the age exceeds the age
        of the Universe at ``z_obs``: the redshift is undefined there and never clipped
        (`undefined_fraction` counts it). An age of zero gives ``z_obs`` exactly.

    Raises
    ------
    InputError
        If a redshift or an age is negative, or the shapes do not broadcast.
    UnitMismatchError
        If ``age`` has a unit that is not one of time.

    Notes
    -----
    Solves t(z_form) = t(z_obs) - age (Claeyssens et al. 2026, section 4.2): in closed form for flat
    matter plus cosmological constant, else on a fine monotone table good to 1e-6 of 1 + z.

    Examples
    --------
    >>> from sc_lab.formation import formation_redshift
    >>> formation_redshift(1.5, [0.0, 1000.0, 9000.0]).round(3)
    array([1.5  , 2.017,   nan])
    """
    redshift, age_myr = _checked(z_obs, age)
    ticks = clock(cosmology)
    observed = _age_at(redshift, ticks)
    redshift, observed, age_myr = np.broadcast_arrays(redshift, observed, age_myr)
    out = ticks.redshift(observed - age_myr)
    # Round-off of a tiny age must not put the formation after the observation; NaN stays NaN.
    np.maximum(out, redshift, out=out)
    np.copyto(out, redshift, where=age_myr == 0)
    return out


def formation_time(z_obs: Any, age: Any, *, cosmology: FLRW | None = None) -> u.Quantity:
    """Return the age of the Universe when objects began to form.

    Parameters
    ----------
    z_obs : array_like
        Redshift at which the object is seen, zero or above; broadcasts against ``age``.
    age : `~astropy.units.Quantity` or array_like
        Time since star formation began [Myr], zero or above.
    cosmology : `~astropy.cosmology.FLRW`, optional
        The cosmology; None means `sc_lab.cosmology.default_cosmology`.

    Returns
    -------
    `~astropy.units.Quantity`
        In Myr, of the broadcast shape; NaN where `formation_redshift` is undefined.

    Raises
    ------
    InputError
        If a redshift or an age is negative, or the shapes do not broadcast.
    UnitMismatchError
        If ``age`` has a unit that is not one of time.
    """
    redshift, age_myr = _checked(z_obs, age)
    time = np.asarray(_age_at(redshift, clock(cosmology)) - age_myr)
    return np.where(time > 0, time, np.nan) * AGE


def undefined_fraction(z_form_draws: Any, *, axis: int = 0, age_draws: Any = None) -> FloatArray:
    """Return the fraction of draws whose formation redshift is undefined.

    Parameters
    ----------
    z_form_draws : array_like
        Formation redshifts from `formation_redshift`, e.g. shape (n_draws, n).
    axis : int
        Axis of the draws.
    age_draws : array_like, optional
        The ages that they came from, same shape. Where given, draws without an age do not count,
        and an object without any has the fraction NaN; otherwise every NaN counts as undefined.

    Returns
    -------
    ndarray
        Fraction between 0 and 1, the shape without ``axis``.

    Raises
    ------
    InputError
        If the two arrays differ in shape, or there are no draws along the axis.
    """
    z_form = value_in(z_form_draws, u.one, "z_form_draws")
    if z_form.ndim == 0 or z_form.shape[axis] == 0:
        msg = f"z_form_draws has the shape {z_form.shape}, without draws along axis {axis}; give at least one draw"
        raise InputError(msg)
    undefined = np.isnan(z_form)
    if age_draws is None:
        return np.asarray(undefined.mean(axis=axis), dtype=float)
    known = np.isfinite(value_in(age_draws, AGE, "age_draws"))
    if known.shape != undefined.shape:
        msg = f"age_draws has the shape {known.shape} and z_form_draws {undefined.shape}; give both with the same shape"
        raise InputError(msg)
    total = known.sum(axis=axis)
    lost = (undefined & known).sum(axis=axis)
    return np.asarray(np.where(total > 0, lost / np.maximum(total, 1), np.nan), dtype=float)


def _checked(z_obs: Any, age: Any) -> tuple[FloatArray, FloatArray]:
    """Return redshift and age as arrays, or refuse them in words."""
    redshift, age_myr = value_in(z_obs, u.one, "z_obs"), value_in(age, AGE, "age")
    for name, values, unit in (("z_obs", redshift, ""), ("age", age_myr, " Myr")):
        if values.size and np.fmin.reduce(values, axis=None) < 0:
            negative = values < 0
            where = np.unravel_index(int(np.argmax(negative)), values.shape)
            place = f" first at index {tuple(int(i) for i in where)}" if values.ndim else ""
            msg = (
                f"{name} has {np.count_nonzero(negative)} negative value(s),{place} ({values[where]:g}{unit}); "
                f"give values of 0 or more, and NaN where not measured"
            )
            raise InputError(msg)
    try:
        np.broadcast_shapes(redshift.shape, age_myr.shape)
    except ValueError:
        msg = (
            f"z_obs has the shape {redshift.shape} and age {age_myr.shape}, which do not broadcast; "
            "give draws with the clumps along the last axis, e.g. (n_draws, n) against (n,)"
        )
        raise InputError(msg) from None
    return redshift, age_myr


def _age_at(redshift: FloatArray, ticks: CosmicClock) -> FloatArray:
    """Return the age of the Universe [Myr] block by block."""
    flat = redshift.reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK):
        out[start : start + _BLOCK] = ticks.age_myr(flat[start : start + _BLOCK])
    return out.reshape(redshift.shape)
