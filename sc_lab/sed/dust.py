"""Dust: laws of attenuation, and the light that dust radiates in place of what it absorbs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from sc_lab.errors import InputError
from sc_lab.sed.libraries import grid_folder
from sc_lab.sed.model import ATTENUATIONS, SedModel
from sc_lab.units import FloatArray

__all__ = ["attenuation_curve", "dust_spectrum"]

#: Wavelengths [Angstrom] and A / A_V of the SMC redward of 2760 A, Gordon et al. (2003), with the two values in the
#: near infrared that Gordon et al. (2016, section 2) smooth.
_SMC_RED = (
    (2760.0, 2960.0, 3700.0, 4400.0, 5500.0, 6500.0, 8100.0, 12500.0, 16500.0, 21980.0, 31000.0),
    (2.220, 2.000, 1.672, 1.374, 1.00, 0.801, 0.567, 0.25, 0.169, 0.11, 0.0),
)
#: Starlight and PAH content of the dust, bagpipes' defaults: q_PAH [%], U_min, and fraction at higher intensities.
_Q_PAH, _U_MIN, _GAMMA = 2.0, 1.0, 0.01
_Q_PAH_GRID = (0.10, 0.47, 0.75, 1.12, 1.49, 1.77, 2.37, 2.50, 3.19, 3.90, 4.58)
_U_MIN_GRID = (0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.70, 0.80, 1.00, 1.20, 1.50, 2.00, 2.50, 3.00, 4.00, 5.00, 7.00,
               8.00, 10.0, 12.0, 15.0, 20.0, 25.0)  # fmt: skip


def attenuation_curve(model: SedModel, wavelength: FloatArray) -> FloatArray:
    """Return the attenuation in magnitudes per magnitude of A_V.

    Parameters
    ----------
    model : SedModel
        Its ``attenuation``, ``slope`` and ``bump`` decide.
    wavelength : ndarray, shape (n,)
        Rest wavelength [Angstrom].

    Returns
    -------
    ndarray, shape (n,)
        A(lambda) / A_V.

    Notes
    -----
    ``calzetti``: Calzetti et al. (2000), eq. 4, with a power law of -0.77 below 1200 A and none beyond 3.1 micron.
    ``cardelli``: Cardelli, Clayton & Mathis (1989) with R_V = 3.1; in ``compat`` with bagpipes' 1.41388 for the 1.41338 of
    their equation 3b, which is 0.0002 mag per magnitude at most. ``smc``: bar of the SMC, Gordon et al. (2003).
    ``charlot_fall``: Charlot & Fall (2000), (lambda / 5500 A)^-n. ``salim``: Salim, Boquien & Lee (2018), Calzetti's
    law tilted by delta, with a bump.

    Examples
    --------
    >>> import numpy as np
    >>> from sc_lab.sed import SedModel
    >>> from sc_lab.sed.dust import attenuation_curve
    >>> attenuation_curve(SedModel(), np.array([1500.0, 5500.0])).round(2)
    array([2.55, 1.  ])
    """
    laws: dict[str, Callable[[FloatArray], FloatArray]] = {
        "calzetti": _calzetti,
        "cardelli": lambda wave: _cardelli(wave, 1.41388 if model.mode == "compat" else 1.41338),
        "smc": _smc,
        "charlot_fall": lambda wave: (5500.0 / wave) ** model.slope,
        "salim": lambda wave: _salim(wave, model.slope, model.bump),
    }
    if model.attenuation not in laws:
        msg = f"attenuation is {model.attenuation!r}; choose one of {', '.join(ATTENUATIONS)}"
        raise InputError(msg)
    return laws[model.attenuation](np.asarray(wavelength, dtype=np.float64))


def _calzetti(wavelength: FloatArray) -> FloatArray:
    """Return Calzetti's law: k / 4.05."""
    micron = wavelength * 10**-4

    def blue(x: FloatArray | float) -> FloatArray | float:
        return 4.05 + 2.659 * (-2.156 + 1.509 / x - 0.198 / x**2 + 0.011 / x**3)

    far_blue = (micron / 0.12) ** -0.77 * blue(0.12)
    red = 4.05 + 2.659 * (-1.857 + 1.040 / micron)
    pieces = [wavelength < 1200.0, wavelength < 6300.0, wavelength < 31000.0]
    return np.asarray(np.select(pieces, [far_blue, blue(micron), red], 0.0) / 4.05)


def _cardelli(wavelength: FloatArray, first: float) -> FloatArray:
    """Return a(x) + b(x) / 3.1 of Cardelli et al., equations 2 to 5; ``first`` is the coefficient of y in b(x)."""
    x = 1.0 / (wavelength * 10**-4)
    y = x - 1.82
    a_optical = np.polyval([0.32999, -0.77530, 0.01979, 0.72085, -0.02427, -0.50447, 0.17699, 1.0], y)
    b_optical = np.polyval([-2.09002, 5.30260, -0.62251, -5.38434, 1.07233, 2.28305, first, 0.0], y)
    far = np.where((x >= 5.9) & (x < 8.0), x - 5.9, 0.0)
    a_blue = 1.752 - 0.316 * x - 0.104 / ((x - 4.67) ** 2 + 0.341) - 0.04473 * far**2 - 0.009779 * far**3
    b_blue = -3.09 + 1.825 * x + 1.206 / ((x - 4.62) ** 2 + 0.263) + 0.2130 * far**2 + 0.1207 * far**3
    w = x - 8.0
    a_far = np.polyval([-0.070, 0.137, -0.628, -1.073], w)
    b_far = np.polyval([0.374, -0.420, 4.257, 13.670], w)
    with np.errstate(over="ignore", invalid="ignore"):
        pieces = [(0.574 * x**1.61, -0.527 * x**1.61), (a_optical, b_optical), (a_blue, b_blue), (a_far, b_far)]
        values = [a + b / 3.1 for a, b in pieces]
    return np.asarray(np.select([x < 1.1, x < 3.3, x < 8.0], values[:3], values[3]))


def _smc(wavelength: FloatArray) -> FloatArray:
    """Return the law of the bar of the SMC: Fitzpatrick & Massa's form in the ultraviolet, samples redward."""
    x = 1.0 / (wavelength * 10**-4)
    drude = x**2 / ((x**2 - 4.6**2) ** 2 + x**2)
    rise = np.where(x < 5.9, 0.0, 0.5392 * (x - 5.9) ** 2 + 0.05644 * (x - 5.9) ** 3)
    blue = (-4.959 + 2.264 * x + 0.389 * drude + 0.461 * rise) / 2.74 + 1.0
    return np.where(wavelength > 2760.0, np.interp(wavelength, *_SMC_RED, right=0.0), blue)


def _salim(wavelength: FloatArray, delta: float, bump: float) -> FloatArray:
    """Return Calzetti's law tilted by ``delta``, with a Drude profile at 2175 A."""
    r_v = 4.05 / ((4.05 + 1.0) * (4400.0 / 5500.0) ** delta - 4.05)
    area = wavelength**2 * 350.0**2
    drude = bump * area / ((wavelength**2 - 2175.0**2) ** 2 + area)
    return np.asarray(_calzetti(wavelength) * (wavelength / 5500.0) ** delta + drude / r_v)


@lru_cache(maxsize=1)
def _raw_dust() -> tuple[FloatArray, FloatArray]:
    """Return wavelength [Angstrom] and spectrum of the dust, at the default content and starlight."""
    from astropy.io import fits

    i = int(np.searchsorted(_Q_PAH_GRID, _Q_PAH))
    j = int(np.searchsorted(_U_MIN_GRID, _U_MIN))
    part_q = (_Q_PAH - _Q_PAH_GRID[i - 1]) / (_Q_PAH_GRID[i] - _Q_PAH_GRID[i - 1])
    part_u = (_U_MIN - _U_MIN_GRID[j - 1]) / (_U_MIN_GRID[j] - _U_MIN_GRID[j - 1])
    spectra = []
    for name in ("dl07_grids_umin_only_no_norm.fits", "dl07_grids_umin_umax_no_norm.fits"):
        path = grid_folder() / name
        try:
            with fits.open(path) as hdus:
                low, high = (np.array(hdus[each].data, dtype=np.float64) for each in (i, i + 1))
        except (OSError, ValueError, TypeError, IndexError) as err:
            msg = f"{name} in bagpipes' folder cannot be read ({err}); install bagpipes anew"
            raise InputError(msg) from err
        grid = part_q * high + (1.0 - part_q) * low
        spectra.append((1.0 - part_u) * grid[:, j] + part_u * grid[:, j + 1])
        wavelength = low[:, 0]
    return wavelength, _GAMMA * spectra[1] + (1.0 - _GAMMA) * spectra[0]


def dust_spectrum(wavelength: FloatArray) -> FloatArray:
    """Return the spectrum of dust for one unit of absorbed light.

    Parameters
    ----------
    wavelength : ndarray, shape (n,)
        Rest wavelength [Angstrom], rising, over all of the infrared.

    Returns
    -------
    ndarray, shape (n,)
        Luminosity per Angstrom; its trapezoidal integral is one.

    Notes
    -----
    Draine & Li (2007) with q_PAH = 2 per cent, U_min = 1 and gamma = 0.01, from the grids that bagpipes ships.
    """
    grid, spectrum = _raw_dust()
    sampled = np.interp(wavelength, grid, spectrum, left=0.0, right=0.0)
    return np.asarray(sampled / np.trapezoid(sampled, x=wavelength))
