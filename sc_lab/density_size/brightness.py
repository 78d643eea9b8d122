"""The size-magnitude plane: mean surface brightness, and its lines."""

from __future__ import annotations

import math
from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError
from sc_lab.units import value_in

__all__ = ["constant_brightness_line", "surface_brightness"]

#: Surface brightness [mag/arcsec2] of one magnitude at absolute magnitude 0 in one square parsec: 5 log10 of the
#: arcseconds that a parsec has at 10 pc.
_ZERO = 5.0 * math.log10(math.degrees(1.0) * 3600.0 / 10.0)


def surface_brightness(abs_mag: Any, r_eff: Any) -> u.Quantity:
    """Return the mean intrinsic surface brightness inside the effective radius.

    Parameters
    ----------
    abs_mag : array_like or `~astropy.units.Quantity`
        Absolute magnitude [mag].
    r_eff : array_like or `~astropy.units.Quantity`
        Projected half-light radius [pc].

    Returns
    -------
    Quantity
        Brightness [mag / arcsec2], as seen from nearby: without cosmological dimming.

    Raises
    ------
    InputError
        If a radius is zero or negative.

    Notes
    -----
    ``M + 2.5 log10(2 pi R^2) + 21.572`` with R in pc: half of the light shines from ``pi R^2``, and a parsec at 10 pc
    is 20626.5 arcsec long.

    Examples
    --------
    >>> print(surface_brightness(-10.0, 3.0).round(2))
    15.95 mag / arcsec2
    """
    magnitude, radius = value_in(abs_mag, u.mag, "abs_mag"), _radius(r_eff)
    return u.Quantity(magnitude + _area(radius) + _ZERO, u.mag / u.arcsec**2)


def constant_brightness_line(brightness: Any, r_eff: Any) -> u.Quantity:
    """Return the absolute magnitudes along a line of constant surface brightness.

    Parameters
    ----------
    brightness : float or `~astropy.units.Quantity`
        Mean intrinsic surface brightness inside the effective radius [mag / arcsec2].
    r_eff : array_like or `~astropy.units.Quantity`
        Projected half-light radius [pc].

    Returns
    -------
    Quantity
        Absolute magnitude [mag], shape of ``r_eff``.

    Raises
    ------
    InputError
        If a radius is zero or negative.

    Examples
    --------
    >>> print(constant_brightness_line(15.95, 3.0).round(2))
    -10.0 mag
    """
    level = value_in(brightness, u.mag / u.arcsec**2, "brightness")
    return u.Quantity(level - _area(_radius(r_eff)) - _ZERO, u.mag)


def _area(radius: Any) -> Any:
    """Return 2.5 log10 of the area that the whole light would have at the mean brightness of its inner half."""
    return 2.5 * np.log10(2.0 * np.pi * radius**2)


def _radius(r_eff: Any) -> Any:
    """Return radii in parsec, above zero."""
    radius = value_in(r_eff, u.pc, "r_eff")
    if (radius <= 0).any():
        msg = f"r_eff has {float(np.nanmin(radius)):g} pc; radii are above 0"
        raise InputError(msg)
    return radius
