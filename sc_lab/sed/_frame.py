"""Distance and age of the Universe at a redshift: interpolated as bagpipes does in compat, exact in fine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import astropy.units as u
import numpy as np
from astropy.cosmology import FLRW

from sc_lab.cosmology import check_same, default_cosmology, describe
from sc_lab.errors import CosmologyMismatchError, InputError
from sc_lab.units import FloatArray, value_in

__all__ = ["CM_PER_MPC", "COMPAT_MAX_REDSHIFT", "Frame", "age_of_universe_yr", "frame_at", "frames_at"]

#: bagpipes makes its tables of the intergalactic medium up to this redshift.
COMPAT_MAX_REDSHIFT = 10.0
#: Beyond this the stellar libraries and the intergalactic medium mean nothing.
_MAX_REDSHIFT = 30.0
#: Length of a megaparsec [cm] in bagpipes, and exactly.
CM_PER_MPC = {"compat": 3.086 * 10**24, "fine": float((1.0 * u.Mpc).to_value(u.cm))}


@dataclass(frozen=True)
class Frame:
    """Where a source is.

    Attributes
    ----------
    z : float
        Redshift.
    luminosity_distance : float
        Luminosity distance [cm].
    age_of_universe : float
        Age of the Universe at the redshift [yr].
    """

    z: float
    luminosity_distance: float
    age_of_universe: float

    @property
    def dimming(self) -> float:
        """4 pi d_L^2 (1 + z) [cm^2], which makes a luminosity per rest wavelength a flux per observed one."""
        return 4 * np.pi * self.luminosity_distance**2 * (1.0 + self.z)


def frame_at(mode: str, z: Any, *, distance: Any = None, cosmology: FLRW | None = None) -> Frame:
    """Return the frame of one source.

    Parameters
    ----------
    mode : str
        ``"compat"`` or ``"fine"``.
    z : float
        Redshift.
    distance : float or `~astropy.units.Quantity`, optional
        Luminosity distance [Mpc]; None takes that of the redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3. Only ``fine`` takes another.

    Returns
    -------
    Frame
        The frame.

    Raises
    ------
    InputError
        If the redshift is out of range, zero without a distance, or the cosmology is not bagpipes' in ``compat``.
    """
    shift = value_in(z, u.dimensionless_unscaled, "z")
    if shift.ndim:
        msg = f"z has the shape {shift.shape}; tables are for one redshift"
        raise InputError(msg)
    one = float(shift)
    check_redshift(mode, one)
    cosmo = _checked_cosmology(mode, cosmology)
    if distance is not None:
        mpc = value_in(distance, u.Mpc, "distance")
        if mpc.ndim or not (math.isfinite(float(mpc)) and float(mpc) > 0):
            msg = f"distance is {distance!r}; give one luminosity distance above zero, as a Quantity or in Mpc"
            raise InputError(msg)
        megaparsec = float(mpc)
    elif one == 0.0:
        msg = "z is 0 and no distance is given, so that fluxes would be infinite; give distance= in Mpc"
        raise InputError(msg)
    else:
        megaparsec = _distance_mpc(mode, one, cosmo)
    return Frame(one, CM_PER_MPC[mode] * megaparsec, age_of_universe_yr(mode, one, cosmo))


def frames_at(mode: str, z: FloatArray, cosmology: FLRW | None = None) -> tuple[FloatArray, FloatArray]:
    """Return distances and ages for many redshifts.

    Parameters
    ----------
    mode : str
        ``"compat"`` or ``"fine"``.
    z : ndarray, shape (n,)
        Redshifts above zero.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    distance : ndarray, shape (n,)
        Luminosity distance [cm].
    age : ndarray, shape (n,)
        Age of the Universe [yr].
    """
    cosmo = _checked_cosmology(mode, cosmology)
    for one in (z.min(), z.max()) if z.size else ():
        check_redshift(mode, float(one))
    if mode == "compat":
        grid, ages, distances = _compat_grid(float(z.max()) if z.size else 0.0)
        mpc, age = np.interp(z, grid, distances), 1e9 * np.interp(z, grid, ages)
    else:
        mpc, age = cosmo.luminosity_distance(z).to_value(u.Mpc), cosmo.age(z).to_value(u.yr)
    return CM_PER_MPC[mode] * mpc, age


def age_of_universe_yr(mode: str, z: float, cosmology: FLRW | None = None) -> float:
    """Return the age of the Universe.

    Parameters
    ----------
    mode : str
        ``"compat"`` or ``"fine"``.
    z : float
        Redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    float
        Age [yr].
    """
    check_redshift(mode, z)
    cosmo = _checked_cosmology(mode, cosmology)
    if mode == "fine":
        return float(cosmo.age(z).to_value(u.yr))
    grid, ages, _ = _compat_grid(z)
    return float(10**9 * np.interp(z, grid, ages))


def check_redshift(mode: str, z: float) -> None:
    """Refuse a redshift that means nothing, in the future, or beyond the tables.

    Parameters
    ----------
    mode : str
        ``"compat"`` or ``"fine"``.
    z : float
        Redshift.

    Raises
    ------
    InputError
        If it is not finite, negative or too large.
    """
    if not math.isfinite(z):
        msg = f"z is {z!r}; give a finite redshift"
        raise InputError(msg)
    if z < 0:
        msg = f"z is {z:g}, which lies in the future; give a redshift of 0 or above (at 0 with a distance)"
        raise InputError(msg)
    if mode == "compat" and z > COMPAT_MAX_REDSHIFT:
        msg = f"z is {z:g}, beyond bagpipes' limit of {COMPAT_MAX_REDSHIFT:g}; use mode='fine', which goes further"
        raise InputError(msg)
    if z > _MAX_REDSHIFT:
        msg = f"z is {z:g}; models reach to {_MAX_REDSHIFT:g}, before which no star is known"
        raise InputError(msg)


def _checked_cosmology(mode: str, cosmology: FLRW | None) -> FLRW:
    """Return the cosmology to use; compat has only one."""
    default = default_cosmology()
    if cosmology is None or cosmology is default:
        return default
    if mode == "compat":
        try:
            check_same(describe(cosmology), describe(default))
        except CosmologyMismatchError as err:
            msg = "mode='compat' reproduces bagpipes, whose cosmology is flat, 70, 0.3; use mode='fine' for another"
            raise InputError(msg) from err
    return cosmology


def _distance_mpc(mode: str, z: float, cosmo: FLRW) -> float:
    """Return the luminosity distance [Mpc]."""
    if mode == "fine":
        return float(cosmo.luminosity_distance(z).to_value(u.Mpc))
    grid, _, distances = _compat_grid(z)
    return float(np.interp(z, grid, distances))


def _compat_grid(z: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the redshifts 0, 0.01, ... that reach over ``z``, with ages [Gyr] and luminosity distances [Mpc]."""
    return _grid_up_to(max(2.0, 2.0 * math.ceil((z + 0.02) / 2.0)))


@lru_cache(maxsize=8)
def _grid_up_to(top: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return bagpipes' grid up to a redshift; rounding is that of its own longer grid."""
    grid = np.arange(0.0, 100.0, 0.01)
    grid = grid[: round(100 * top) + 2]
    cosmo = default_cosmology()
    return grid, cosmo.age(grid).value, cosmo.luminosity_distance(grid).value
