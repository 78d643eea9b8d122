"""Wavelengths of filters from their names, as far as an order of magnitude of light needs them."""

from __future__ import annotations

import math
import re

__all__ = ["wavelength"]

_NAME = re.compile(r"F(\d{3,4})(LP|W2|W|M|N|X)?", re.IGNORECASE)
#: Hubble's ACS and UVIS filters, which are named in nm; those of WFC3/IR and of Webb are named in 10 nm.
_IN_NM = frozenset({218, 225, 275, 336, 390, 435, 438, 467, 475, 502, 547, 555, 600, 606, 621, 625, 658, 775, 814, 850})


def wavelength(band: str) -> float:
    """Return the wavelength of a filter.

    Parameters
    ----------
    band : str
        Name such as ``"F150W"`` or ``"F814W"``.

    Returns
    -------
    float
        Nominal wavelength [micron]; NaN where the name does not say it.

    Examples
    --------
    >>> wavelength("F150W"), wavelength("F814W"), wavelength("F1000W")
    (1.5, 0.814, 10.0)
    """
    found = _NAME.fullmatch(band.strip())
    if not found:
        return math.nan
    number = int(found[1])
    medium = (found[2] or "").upper() in ("M", "N")  # F410M, F430M and the like are Webb's
    return number / 1000.0 if number in _IN_NM and not medium else number / 100.0
