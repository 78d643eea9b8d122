"""Provisional masses: the light of a clump times the mass-to-light ratio of an assumed age, with wide errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.clumps.bands import wavelength
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

__all__ = ["Light", "mass_to_light", "provisional"]

_V = 0.551
#: Absolute AB magnitude of the Sun in V (Willmer 2018, table 3).
_SUN_V = 4.80
_YOUNGEST = 5.0
#: The 68 % range of an age that nobody has measured, as factors.
_YOUNGER, _OLDER = 0.3, 10.0
#: Magnitudes by which a flat spectrum errs for each e-folding in wavelength between band and V.
_COLOUR = 0.4
_DETECTED = 3.0
_MAG = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class Light:
    """Provisional properties of clumps; arrays of shape (n,), NaN where there is no light.

    Attributes
    ----------
    mass, mass_err_lo, mass_err_hi : ndarray
        Intrinsic stellar mass and its errors at fixed magnification [Msun].
    age, age_err_lo, age_err_hi : ndarray
        Assumed age and its range [Myr].
    abs_mag_v, abs_mag_v_err : ndarray
        Intrinsic absolute V magnitude (AB) and its error at fixed magnification.
    """

    mass: FloatArray
    mass_err_lo: FloatArray
    mass_err_hi: FloatArray
    age: FloatArray
    age_err_lo: FloatArray
    age_err_hi: FloatArray
    abs_mag_v: FloatArray
    abs_mag_v_err: FloatArray


def mass_to_light(age: npt.ArrayLike) -> FloatArray:
    """Return the mass-to-light ratio in V of a single burst without dust.

    Parameters
    ----------
    age : array_like
        Age [Myr].

    Returns
    -------
    ndarray
        Solar masses per solar luminosity in V.

    Notes
    -----
    0.02 (age / 10 Myr)^0.74, constant below 5 Myr: a schematic fading law of the size of that of single stellar
    populations (such as Bruzual & Charlot 2003). It has not been fitted to a published table; the errors of the
    masses, which span 0.3 to 10 times the assumed age, are far wider than its shape.

    Examples
    --------
    >>> float(mass_to_light(10.0))
    0.02
    """
    return np.asarray(0.02 * (np.maximum(np.asarray(age, dtype=float), _YOUNGEST) / 10.0) ** 0.74)


def provisional(
    fluxes: Mapping[str, tuple[FloatArray, FloatArray]], z: FloatArray, mu: FloatArray, *, age: float, cosmology: FLRW
) -> Light:
    """Return masses of clumps from their light, for an assumed age.

    Parameters
    ----------
    fluxes : mapping of str to (ndarray, ndarray)
        Observed flux density and error [nJy] by band, shape (n,) each.
    z : ndarray
        Redshift, shape (n,).
    mu : ndarray
        Absolute magnification, shape (n,).
    age : float
        Assumed age [Myr].
    cosmology : FLRW
        For luminosity distances.

    Returns
    -------
    Light
        Provisional properties. The errors span ages from 0.3 to 10 times the assumed one, which belong
        together with the masses: an older clump of this light is the more massive one.

    Notes
    -----
    The band nearest to V in the rest frame, among those with a detection above 3 sigma, gives
    M_V = m - DM(z) + 2.5 log10(1 + z) + 2.5 log10 mu (Claeyssens et al. 2026, section 3.4) for a spectrum
    that is flat per frequency between band and V; 0.4 mag for each e-folding in wavelength are added to
    the error for it not being flat.
    """
    z, mu = np.asarray(z, dtype=float), np.asarray(mu, dtype=float)
    flux, error, factor = _nearest(fluxes, z)
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = 31.4 - 2.5 * np.log10(flux) - _distance_modulus(z, cosmology)
        magnitude = magnitude + 2.5 * np.log10(1.0 + z) + 2.5 * np.log10(mu)
        mag_err = np.hypot(_MAG * error / flux, _COLOUR * np.abs(np.log(factor)))
    mass = mass_to_light(age) * 10.0 ** (-0.4 * (magnitude - _SUN_V))
    sides = []
    for other in (_YOUNGER * age, _OLDER * age):
        dex = np.log10(mass_to_light(other) / mass_to_light(age))
        sides.append(np.hypot(dex, 0.4 * mag_err))
    known = np.isfinite(mass)
    years = np.where(known, age, np.nan)
    return Light(
        mass=mass,
        mass_err_lo=mass * (1.0 - 10.0 ** -sides[0]),
        mass_err_hi=mass * (10.0 ** sides[1] - 1.0),
        age=years,
        age_err_lo=years * (1.0 - _YOUNGER),
        age_err_hi=years * (_OLDER - 1.0),
        abs_mag_v=magnitude,
        abs_mag_v_err=mag_err,
    )


def _nearest(
    fluxes: Mapping[str, tuple[FloatArray, FloatArray]], z: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return flux, error and rest wavelength over that of V in the detected band nearest to V, row by row."""
    flux, error, factor = (np.full(z.shape, np.nan) for _ in range(3))
    best = np.full(z.shape, np.inf)
    for band, (value, sigma) in fluxes.items():
        ratio = wavelength(band) / (1.0 + z) / _V
        with np.errstate(invalid="ignore"):
            far = np.abs(np.log(ratio))
            better = (value > _DETECTED * sigma) & (far < best)
        flux[better], error[better], factor[better] = value[better], sigma[better], ratio[better]
        best[better] = far[better]
    return flux, error, factor


def _distance_modulus(z: FloatArray, cosmology: FLRW) -> FloatArray:
    """Return distance moduli, worked out once for each galaxy's redshift."""
    out = np.full(z.shape, np.nan)
    for each in np.unique(z[np.isfinite(z) & (z > 0)]).tolist():
        out[z == each] = 5.0 * np.log10(cosmology.luminosity_distance(each).to_value(u.pc)) - 5.0
    return out
