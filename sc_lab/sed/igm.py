"""Absorption by the intergalactic medium after Inoue et al. (2014)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sc_lab.sed._frame import COMPAT_MAX_REDSHIFT
from sc_lab.sed.libraries import grid_folder
from sc_lab.units import FloatArray

__all__ = ["LYMAN_ALPHA", "LYMAN_LIMIT", "igm_transmission", "igm_transmission_compat"]

#: Wavelengths of Lyman alpha and of the Lyman limit [Angstrom] in the paper's fits.
LYMAN_ALPHA, LYMAN_LIMIT = 1215.67, 911.8
_COEFFICIENTS = "lyman_series_coefs_inoue_2014_table2.txt"


@lru_cache(maxsize=1)
def _lyman_series() -> FloatArray:
    """Return the wavelengths and amplitudes of the Lyman series, table 2 of the paper."""
    return np.loadtxt(grid_folder() / _COEFFICIENTS)


def igm_transmission(wavelength: FloatArray, z: float) -> FloatArray:
    """Return the mean transmission of the intergalactic medium towards a source.

    Parameters
    ----------
    wavelength : ndarray, shape (n,)
        Wavelength in the frame of the source [Angstrom].
    z : float
        Redshift of the source.

    Returns
    -------
    ndarray, shape (n,)
        Transmission, 1 from Lyman alpha on.

    Notes
    -----
    Inoue, Shimizu, Iwata & Tanaka (2014), MNRAS 442, 1805: equations 21 and 22 (series), 25 to 29 (continuum). The
    coefficients are read from bagpipes' folder.
    """
    result = np.ones_like(wavelength)
    affected = wavelength < LYMAN_ALPHA
    if z > 0 and affected.any():
        observed = wavelength[affected] * (1.0 + z)
        order = np.argsort(observed, kind="stable")
        ranked = observed[order]
        depth = np.empty_like(ranked)
        depth[order] = _series_depth(ranked, z) + _continuum_depth(ranked / LYMAN_LIMIT, 1.0 + z)
        result[affected] = np.exp(-depth)
    return result


def _series_depth(observed: FloatArray, z: float) -> FloatArray:
    """Return the optical depth of the Lyman series, from forest and damped systems; wavelengths must rise."""
    depth = np.zeros_like(observed)
    series = _lyman_series()
    lines = series[:, 1]
    # Every law is a power of the observed wavelength, so that few powers serve all lines of the series. Each holds
    # between two multiples of a line's wavelength, ends left out, and up to the line in the frame of the source.
    last = np.searchsorted(observed, (1.0 + z) * lines, side="left")
    laws = ((2, 1.2, 1.0, 2.2), (3, 3.7, 2.2, 5.7), (4, 5.5, 5.7, np.inf), (5, 2.0, 1.0, 3.0), (6, 3.0, 3.0, np.inf))
    for column, exponent, low, high in laws:
        start = np.searchsorted(observed, low * lines, side="right")
        stop = np.minimum(np.searchsorted(observed, high * lines, side="left"), last)
        reached = np.flatnonzero(stop > start)
        if not reached.size:
            continue
        power = observed**exponent
        amplitude = series[:, column] * lines**-exponent
        for j in reached:
            depth[start[j] : stop[j]] += amplitude[j] * power[start[j] : stop[j]]
    return depth


def _continuum_depth(x: FloatArray, z1: float) -> FloatArray:
    """Return the optical depth of the Lyman continuum; ``x`` is observed wavelength over limit, ``z1`` is 1 + z."""
    depth = np.zeros_like(x)
    inside = (x > 1.0) & (x < z1)
    if not inside.any():
        return depth
    x = x[inside]
    power = {each: x**each for each in (1.2, 2.1, 3.7, 5.5, 2.0, 3.0, -0.3)}
    near, middle, far = x < 2.2, (x > 2.2) & (x < 5.7), x > 5.7
    if z1 < 2.2:
        forest = 0.325 * (power[1.2] - z1**-0.9 * power[2.1])
    elif z1 < 5.7:
        reach = 2.55e-2 * z1**1.6 * power[2.1]
        forest = np.select(
            [near, x > 2.2], [reach + 0.325 * power[1.2] - 0.25 * power[2.1], reach - 2.55e-2 * power[3.7]]
        )
    else:
        reach = 5.22e-4 * z1**3.4 * power[2.1]
        forest = np.select(
            [near, middle, far],
            [
                reach + 0.325 * power[1.2] - 3.14e-2 * power[2.1],
                reach + 0.218 * power[2.1] - 2.55e-2 * power[3.7],
                reach - 5.22e-4 * power[5.5],
            ],
        )
    if z1 < 3.0:
        damped = 0.211 * z1**2.0 - 7.66e-2 * z1**2.3 * power[-0.3] - 0.135 * power[2.0]
    else:
        reach = 4.7e-2 * z1**3.0 - 1.78e-2 * z1**3.3 * power[-0.3]
        damped = np.select(
            [x < 3.0, x > 3.0],
            [reach + 0.634 - 0.135 * power[2.0] - 0.291 * power[-0.3], reach - 2.92e-2 * power[3.0]],
        )
    depth[inside] = forest + damped
    return depth


@lru_cache(maxsize=64)
def _compat_row(index: int) -> tuple[FloatArray, FloatArray]:
    """Return wavelengths and transmissions of one row of the table that bagpipes makes for itself."""
    waves = np.arange(1.0, 1225.01, 1.0)
    z = float(_compat_redshifts()[index])
    row = np.exp(-_series_depth(waves * (1.0 + z), z) - _continuum_depth(waves * (1.0 + z) / LYMAN_LIMIT, 1.0 + z))
    return waves, row


@lru_cache(maxsize=1)
def _compat_redshifts() -> FloatArray:
    """Return the redshifts of that table."""
    return np.arange(0.0, COMPAT_MAX_REDSHIFT + 0.01, 0.01)


def igm_transmission_compat(wavelength: FloatArray, z: float) -> FloatArray:
    """Return the transmission as bagpipes interpolates it in its table.

    Parameters
    ----------
    wavelength : ndarray, shape (n,)
        Wavelength in the frame of the source [Angstrom], rising.
    z : float
        Redshift of the source, at most 10.

    Returns
    -------
    ndarray, shape (n,)
        Transmission: linear in redshift between rows 0.01 apart, in wavelength on either side of Lyman alpha, whose
        own pixel is always absorbed.
    """
    shifts = _compat_redshifts()
    high = max(int((shifts < z).sum()), 1)
    part = (z - shifts[high - 1]) / (shifts[high] - shifts[high - 1]) if z > 0 else 0.0
    rows = []
    for index in (high - 1, high):
        waves, row = _compat_row(index)
        cut, cut_table = np.searchsorted(wavelength, LYMAN_ALPHA), np.searchsorted(waves, LYMAN_ALPHA)
        blue = np.interp(wavelength[:cut], waves[:cut_table], row[:cut_table], left=0.0)
        red = np.interp(wavelength[cut:], waves[cut_table:], row[cut_table:], right=1.0)
        both = np.concatenate([blue, red])
        nearest = int(np.abs(wavelength - LYMAN_ALPHA).argmin())
        if wavelength[nearest] > LYMAN_ALPHA:
            both[nearest] = both[nearest - 1]
        rows.append(both)
    return np.asarray((1.0 - part) * rows[0] + part * rows[1])
