"""From the units of a simulation code to physical ones: powers of h and of the scale factor, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.simulations.header import Header

__all__ = ["to_physical"]

_LENGTH, _MASS, _SPEED = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_DENSITY, _SPEED2 = (-3.0, 1.0, 0.0), (0.0, 0.0, 2.0)
#: By field: dimensions as powers of length, mass and velocity; power of the scale factor; power of h. As the
#: documentation of AREPO and of GADGET-4 lists them.
_FIELDS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "Coordinates": (_LENGTH, 1.0, -1.0),
    "CenterOfMass": (_LENGTH, 1.0, -1.0),
    "Velocities": (_SPEED, 0.5, 0.0),
    "Masses": (_MASS, 0.0, -1.0),
    "Density": (_DENSITY, -3.0, 2.0),
    "Potential": (_SPEED2, -1.0, 0.0),
    "InternalEnergy": (_SPEED2, 0.0, 0.0),
    "GroupVel": (_SPEED, -1.0, 0.0),
    "SubhaloVel": (_SPEED, 0.0, 0.0),
    "SubhaloVelDisp": (_SPEED, 0.0, 0.0),
    "SubhaloVmax": (_SPEED, 0.0, 0.0),
}
#: Beginnings of the names of lengths and masses in group catalogues.
_LENGTHS = ("GroupPos", "GroupCM", "Group_R_", "SubhaloPos", "SubhaloCM", "SubhaloHalfmassRad", "SubhaloVmaxRad")
_MASSES = ("GroupMass", "Group_M_", "GroupBHMass", "SubhaloMass", "SubhaloBHMass")
#: House units by dimension.
_HOUSE = {_LENGTH: u.kpc, _MASS: u.Msun, _SPEED: u.km / u.s, _DENSITY: u.Msun / u.kpc**3, _SPEED2: (u.km / u.s) ** 2}


def to_physical(
    name: str, header: Header, attributes: Mapping[str, Any] | None = None
) -> tuple[float, u.UnitBase] | None:
    """Return the factor and unit that make a field physical.

    Parameters
    ----------
    name : str
        Name of the field in the file.
    header : Header
        Units, h and scale factor.
    attributes : mapping, optional
        Attributes of the data set; AREPO writes powers and units there, which go before the table.

    Returns
    -------
    (float, Unit) or None
        ``value * factor`` is in the unit; None for a field that is not known and does not say its units.

    Notes
    -----
    Physical value in cgs = value * to_cgs * a^a_scaling * h^h_scaling (documentation of AREPO). The velocities of
    snapshots are peculiar velocities over the square root of the scale factor; those of groups, over its inverse.
    """
    known = _written(attributes or {}) or _tabulated(name)
    if known is None:
        return None
    dimension, a_power, h_power, to_cgs = known
    if to_cgs is None:
        length, mass, speed = dimension
        to_cgs = header.length_cm**length * header.mass_g**mass * header.velocity_cm_s**speed
    length, mass, speed = dimension
    cgs = u.cm**length * u.g**mass * (u.cm / u.s) ** speed
    house = _HOUSE.get(dimension, cgs)
    factor = to_cgs * header.a**a_power * header.h**h_power * float((1.0 * cgs).to_value(house))
    return float(factor), house


def _written(attributes: Mapping[str, Any]) -> tuple[tuple[float, float, float], float, float, float | None] | None:
    """Return what the attributes of a data set say: dimension, powers of a and h, factor to cgs."""
    keys = ("length_scaling", "mass_scaling", "velocity_scaling", "a_scaling", "h_scaling", "to_cgs")
    if not all(key in attributes for key in keys):
        return None
    length, mass, speed, a_power, h_power, to_cgs = (float(np.asarray(attributes[key])) for key in keys)
    # AREPO writes 0 for fields without a unit.
    return ((length, mass, speed), a_power, h_power, to_cgs) if to_cgs > 0 else None


def _tabulated(name: str) -> tuple[tuple[float, float, float], float, float, float | None] | None:
    """Return what is known of a field by its name."""
    if name in _FIELDS:
        return (*_FIELDS[name], None)
    if name.startswith(_LENGTHS):
        return (_LENGTH, 1.0, -1.0, None)
    if name.startswith(_MASSES):
        return (_MASS, 0.0, -1.0, None)
    return None
