"""Wavelengths of bands: the pivot of their filter, or what their name says."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from sc_lab.errors import ScLabError
from sc_lab.sed.filters import get_filter

__all__ = ["wavelength"]

_NAME = re.compile(r"F(\d{3,4})(LP|W2|W|M|N|X)?", re.IGNORECASE)
#: Hubble's ACS and UVIS filters, which are named in nm; those of WFC3/IR and of Webb are named in 10 nm.
_IN_NM = frozenset({218, 225, 275, 336, 390, 435, 438, 467, 475, 502, 547, 555, 600, 606, 621, 625, 658, 775, 814, 850})


@lru_cache(maxsize=256)
def wavelength(band: str) -> float:
    """Return the wavelength of a band.

    Parameters
    ----------
    band : str
        Name such as ``"F150W"`` or ``"acs_wfc/F814W"``.

    Returns
    -------
    float
        Pivot wavelength [micron] of the filter; of a name without a curve, such as F438W, the nominal wavelength;
        NaN where the name does not say it.

    Examples
    --------
    >>> round(wavelength("F150W"), 2), round(wavelength("F814W"), 3), wavelength("F438W")
    (1.5, 0.806, 0.438)
    """
    if _NAME.fullmatch(band.strip().rpartition("/")[2]):
        try:
            return get_filter(band).pivot / 1e4
        except ScLabError:  # an instrument without a curve, or no curves at all
            pass
    found = _NAME.fullmatch(band.strip())
    if not found:
        return math.nan
    number = int(found[1])
    medium = (found[2] or "").upper() in ("M", "N")  # F410M, F430M and the like are Webb's
    return number / 1000.0 if number in _IN_NM and not medium else number / 100.0
