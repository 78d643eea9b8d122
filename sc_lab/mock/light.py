"""Schematic magnitudes of a star cluster: broken power laws in wavelength that redden and fade with age."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sc_lab.units import FloatArray

__all__ = ["BANDS", "absolute_v", "band_colours"]

#: Pivot wavelengths of the NIRCam wide bands [micron], rounded to what a schematic needs.
BANDS: dict[str, float] = {
    "f090w": 0.90,
    "f115w": 1.15,
    "f150w": 1.50,
    "f200w": 1.99,
    "f277w": 2.78,
    "f356w": 3.57,
    "f444w": 4.40,
}

_V = 0.55
_LYMAN = 0.1216
#: Rest wavelengths where the slope changes: Lyman edge, foot and top of the Balmer break, 1 micron, H- bump.
_KNOTS = (_LYMAN, 0.36, 0.40, 1.0, 1.6, 10.0)


def absolute_v(mass: FloatArray, age: FloatArray, a_v: FloatArray) -> FloatArray:
    """Return absolute V magnitudes.

    Parameters
    ----------
    mass : ndarray
        Mass [Msun], shape (n,).
    age : ndarray
        Age [Myr], shape (n,).
    a_v : ndarray
        Dust attenuation in V [mag], shape (n,).

    Returns
    -------
    ndarray
        AB magnitudes, shape (n,).

    Notes
    -----
    A single burst of 1e6 Msun has about -14.3 while younger than 6 Myr and then fades by 2 mag per
    decade of age, as simple stellar populations do within some tenths.
    """
    fading = 2.05 * np.maximum(np.log10(age / 6.0), 0.0)
    return np.asarray(0.7 + fading - 2.5 * np.log10(mass) + a_v, dtype=float)


def band_colours(
    z: FloatArray, age: FloatArray, a_v: FloatArray, tilt: FloatArray, *, pivots: Sequence[float] | None = None
) -> FloatArray:
    """Return band - V colours of redshifted clusters.

    Parameters
    ----------
    z : ndarray
        Redshift, shape (n,).
    age : ndarray
        Age [Myr], shape (n,).
    a_v : ndarray
        Dust attenuation in V [mag], shape (n,).
    tilt : ndarray
        Change of the near-infrared slopes, shape (n, 2), for objects to differ.
    pivots : sequence of float, optional
        Pivot wavelengths of other bands [micron]; None means those of `BANDS`.

    Returns
    -------
    ndarray
        Observed band minus rest-frame V [AB mag], shape (n, bands) in their order; NaN where
        the band lies below the Lyman edge.

    Notes
    -----
    Schematic, not a stellar population model: flux per frequency is a power law between the knots,
    ultraviolet and optical slopes and the Balmer break grow with log age, and dust goes as
    1 / wavelength. Its slopes beyond 1 micron put old clusters at the redshift of the lens where
    stellar population models put them in the colour box.
    """
    decades = np.log10(np.maximum(age, 1.0))
    rest = np.array(list(BANDS.values() if pivots is None else pivots))[None, :] / (1.0 + z[:, None])
    slopes = np.stack(
        [
            -0.4 + np.clip(decades - 1.0, 0.0, 3.0),
            (0.1 + 0.5 * np.clip(decades - 0.7, 0.0, 2.0)) / (2.5 * np.log10(_KNOTS[2] / _KNOTS[1])),
            -0.2 + 0.7 * np.clip(decades - 0.7, 0.0, 3.0),
            0.43 + tilt[:, 0],
            -1.18 + tilt[:, 1],
        ],
        axis=1,
    )
    place, origin = np.log10(rest), np.log10(_V)
    out = a_v[:, None] * (_V / rest - 1.0)
    for slope, low, high in zip(slopes.T, np.log10(_KNOTS[:-1]), np.log10(_KNOTS[1:]), strict=True):
        out -= 2.5 * slope[:, None] * (np.clip(place, low, high) - np.clip(origin, low, high))
    out[rest < _LYMAN] = np.nan
    return np.asarray(out, dtype=float)
