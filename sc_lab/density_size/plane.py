"""Surface density, dynamical age and the guiding lines of the density-size plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.units import AGE, MASS, RADIUS, SURFACE_DENSITY, FloatArray, value_in

__all__ = [
    "GRAVITY",
    "IMBH_DENSITIES",
    "CriticalDensity",
    "constant_mass_line",
    "crossing_time",
    "dynamical_age",
    "is_bound",
    "limit_arrow",
    "surface_density",
]

#: Gravitational constant in house units.
GRAVITY = 0.0044985 * u.pc**3 / (u.Msun * u.Myr**2)
_G = 0.0044985

#: M / (divisor pi R^2) by convention.
_DIVISOR = {"half": 2.0, "total": 1.0}


@dataclass(frozen=True, kw_only=True)
class CriticalDensity:
    """A surface density above which simulations form intermediate-mass black holes.

    Attributes
    ----------
    name : str
        Short name.
    label : str
        What a plot writes at the line.
    density : `~astropy.units.Quantity`
        The surface density [Msun/pc2].
    citation : str
        Where it comes from.
    """

    name: str
    label: str
    density: u.Quantity
    citation: str


#: Densities for black holes above 1e3 Msun at less than a tenth of solar metallicity.
IMBH_DENSITIES: tuple[CriticalDensity, ...] = (
    CriticalDensity(
        name="monolithic",
        label="IMBH, monolithic assembly",
        density=2e5 * SURFACE_DENSITY,
        citation="Rantala et al. 2026, as quoted by Claeyssens et al. 2026, section 4.3",
    ),
    CriticalDensity(
        name="hierarchical",
        label="IMBH, hierarchical assembly",
        density=2e4 * SURFACE_DENSITY,
        citation="Rantala et al. 2025, as quoted by Claeyssens et al. 2026, section 4.3",
    ),
)


def surface_density(mass: Any, r_eff: Any, *, within: str = "half") -> u.Quantity:
    """Return the mean surface density of objects.

    Parameters
    ----------
    mass : `~astropy.units.Quantity` or array_like
        Mass [Msun], any shape; NaN where not measured.
    r_eff : `~astropy.units.Quantity` or array_like
        Effective (projected half-light) radius [pc], broadcasts against ``mass``. From an
        upper limit on the radius follows a lower limit on the density.
    within : {"half", "total"}
        Convention: half the mass inside the effective radius, M / (2 pi R^2), the default and the
        field's custom; or all of it, M / (pi R^2).

    Returns
    -------
    `~astropy.units.Quantity`
        In Msun/pc2, of the broadcast shape; NaN where an input is NaN.

    Raises
    ------
    InputError
        If a radius is not above zero, a mass is negative, the shapes do not broadcast or the convention is unknown.
    UnitMismatchError
        If an input has a unit of the wrong kind.

    Notes
    -----
    Claeyssens et al. 2026, section 3.4.

    Examples
    --------
    >>> from sc_lab.density_size import surface_density
    >>> surface_density(1e6, 10.0).round(1)
    <Quantity 1591.5 solMass / pc2>
    """
    if within not in _DIVISOR:
        msg = f"within is {within!r}; the conventions are 'half' (M / 2 pi R^2) and 'total' (M / pi R^2)"
        raise InputError(msg)
    mass_msun, radius_pc = _mass(mass), _radius(r_eff)
    _refuse_shapes(mass=mass_msun, r_eff=radius_pc)
    return mass_msun / (_DIVISOR[within] * np.pi * radius_pc**2) * SURFACE_DENSITY


def crossing_time(mass: Any, r_eff: Any) -> u.Quantity:
    """Return the crossing time of clusters.

    Parameters
    ----------
    mass : `~astropy.units.Quantity` or array_like
        Mass [Msun], any shape.
    r_eff : `~astropy.units.Quantity` or array_like
        Effective radius [pc], broadcasts against ``mass``; an upper limit gives an upper limit.

    Returns
    -------
    `~astropy.units.Quantity`
        10 (R^3 / (G M))^(1/2) in Myr; NaN where an input is NaN, infinite where the mass is zero.

    Raises
    ------
    InputError
        If a radius is not above zero, a mass is negative or the shapes do not broadcast.
    UnitMismatchError
        If an input has a unit of the wrong kind.

    Notes
    -----
    Gieles & Portegies Zwart 2011, equation 1; G = 0.0044985 pc3 / (Msun Myr2).
    """
    mass_msun, radius_pc = _mass(mass), _radius(r_eff)
    _refuse_shapes(mass=mass_msun, r_eff=radius_pc)
    with np.errstate(divide="ignore"):
        return 10.0 * np.sqrt(radius_pc**3 / (_G * mass_msun)) * AGE


def dynamical_age(mass: Any, r_eff: Any, age: Any) -> FloatArray:
    """Return the dynamical age: the age in crossing times.

    Parameters
    ----------
    mass : `~astropy.units.Quantity` or array_like
        Mass [Msun], any shape.
    r_eff : `~astropy.units.Quantity` or array_like
        Effective radius [pc]; an upper limit gives a lower limit on the dynamical age.
    age : `~astropy.units.Quantity` or array_like
        Age [Myr]; all three broadcast.

    Returns
    -------
    ndarray
        Pure number; above 1 the object is bound. NaN where an input is NaN.

    Raises
    ------
    InputError
        If a radius is not above zero, a mass or an age is negative, or the shapes do not broadcast.
    UnitMismatchError
        If an input has a unit of the wrong kind.

    Notes
    -----
    Gieles & Portegies Zwart 2011; Claeyssens et al. 2026, section 4.3.
    """
    age_myr = value_in(age, AGE, "age")
    _refuse(age_myr < 0, age_myr, "age", "0 Myr or more")
    mass_msun, radius_pc = _mass(mass), _radius(r_eff)
    _refuse_shapes(mass=mass_msun, r_eff=radius_pc, age=age_myr)
    # Written as one product so that a zero mass gives zero, not 0 / inf with a warning.
    return np.asarray(0.1 * age_myr * np.sqrt(_G * mass_msun / radius_pc**3), dtype=float)


def is_bound(mass: Any, r_eff: Any, age: Any) -> npt.NDArray[np.bool_]:
    """Return whether objects have outlived a crossing time.

    Parameters
    ----------
    mass, r_eff, age : `~astropy.units.Quantity` or array_like
        As for `dynamical_age`.

    Returns
    -------
    ndarray of bool
        True where the dynamical age is above 1; False where it is not known.

    Notes
    -----
    Gieles & Portegies Zwart 2011.
    """
    return np.asarray(dynamical_age(mass, r_eff, age) > 1.0)


def constant_mass_line(mass: Any, r_eff: Any, *, within: str = "half") -> u.Quantity:
    """Return the surface densities along lines of constant mass.

    Parameters
    ----------
    mass : `~astropy.units.Quantity` or array_like
        Mass of each line [Msun], scalar or shape (m,).
    r_eff : `~astropy.units.Quantity` or array_like
        Radii at which to draw [pc], shape (k,).
    within : {"half", "total"}
        Convention, as for `surface_density`.

    Returns
    -------
    `~astropy.units.Quantity`
        In Msun/pc2, shape (k,) for one mass and (m, k) for several.

    Raises
    ------
    InputError
        If a radius is not above zero, a mass is negative or the convention is unknown.
    UnitMismatchError
        If an input has a unit of the wrong kind.
    """
    mass_msun, radius_pc = _mass(mass), _radius(r_eff)
    return surface_density(mass_msun[..., None] if mass_msun.ndim else mass_msun, radius_pc, within=within)


def limit_arrow(r_eff: Any, sigma: Any, *, factor: float = 1.6) -> tuple[u.Quantity, u.Quantity]:
    """Return where the arrow of a size limit ends: along the line of constant mass.

    Parameters
    ----------
    r_eff : `~astropy.units.Quantity` or array_like
        Upper limit of the effective radius [pc].
    sigma : `~astropy.units.Quantity` or array_like
        Lower limit of the surface density that follows from it [Msun/pc2].
    factor : float
        Ratio of the radius at the foot to that at the head, above 1.

    Returns
    -------
    r_eff, sigma : `~astropy.units.Quantity`
        The head, in pc and Msun/pc2: smaller by the factor, denser by its square.

    Raises
    ------
    InputError
        If the factor is not above 1, a radius is not above zero or a density is negative.
    UnitMismatchError
        If an input has a unit of the wrong kind.

    Notes
    -----
    Claeyssens et al. 2026, figure 7.
    """
    if not isinstance(factor, (int, float, np.number)) or not (np.isfinite(factor) and factor > 1.0):
        msg = f"factor is {factor!r}; give a finite number greater than 1, so that the arrow points to smaller sizes"
        raise InputError(msg)
    radius_pc = _radius(r_eff)
    density = value_in(sigma, SURFACE_DENSITY, "sigma")
    _refuse(density < 0, density, "sigma", "0 Msun/pc2 or more")
    return radius_pc / factor * RADIUS, density * factor**2 * SURFACE_DENSITY


def _mass(mass: Any) -> FloatArray:
    out = value_in(mass, MASS, "mass")
    _refuse(out < 0, out, "mass", "0 Msun or more")
    return out


def _radius(r_eff: Any) -> FloatArray:
    out = value_in(r_eff, RADIUS, "r_eff")
    _refuse(out <= 0, out, "r_eff", "more than 0 pc, NaN where there is no number")
    return out


def _refuse_shapes(**arrays: FloatArray) -> None:
    """Refuse shapes that do not broadcast in words."""
    try:
        np.broadcast_shapes(*(each.shape for each in arrays.values()))
    except ValueError:
        found = ", ".join(f"{name} has the shape {each.shape}" for name, each in arrays.items())
        msg = f"{found}; these do not broadcast; give one value of each for every object"
        raise InputError(msg) from None


def _refuse(wrong: npt.NDArray[np.bool_], values: FloatArray, name: str, allowed: str) -> None:
    """Refuse impossible values in words."""
    if not np.any(wrong):
        return
    where = np.unravel_index(int(np.argmax(wrong)), values.shape)
    place = f", first at index {tuple(int(i) for i in where)}" if values.ndim else ""
    msg = f"{name} has {np.count_nonzero(wrong)} impossible value(s){place} ({values[where]:g}); give {allowed}"
    raise InputError(msg)
