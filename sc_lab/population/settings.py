"""The settings of a population analysis: what every control, edit and export names alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, TypeAlias

import astropy.units as u
import numpy as np

from sc_lab.colours import GC_BOX, simple_polygon
from sc_lab.cosmology import age_of_universe, make_cosmology
from sc_lab.errors import InputError
from sc_lab.units import AGE, MASS, RADIUS, value_in

__all__ = ["DEFAULT_GC_BOX", "SETTING_UNITS", "Settings", "Vertices"]

Vertices: TypeAlias = tuple[tuple[float, float], ...]

#: Default box of the globular clusters.
DEFAULT_GC_BOX: Vertices = GC_BOX

#: What a bare number means in the settings that have a unit; a Quantity is converted.
SETTING_UNITS: dict[str, u.UnitBase] = {
    "size_threshold": RADIUS,
    "age_max": AGE,
    "mass_min": MASS,
    "mass_max": MASS,
    "hubble": u.km / u.s / u.Mpc,
}


#: No published Hubble constant of this century comes near; h = 0.7 does [km/s/Mpc].
_LEAST_HUBBLE = 10.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every choice that changes a number of the population analysis.

    Attributes
    ----------
    size_threshold : float
        Candidates have an effective radius (or its upper limit) below this [pc].
    age_max : float
        Oldest age admitted to the mass-function sample [Myr].
    mass_min : float
        Lower mass limit of the mass-function sample, and of its normalisation [Msun].
    mass_max : float or None
        Upper limit of both [Msun]; None means infinity.
    drop_most_massive : bool
        Leave the most massive object out of the mass-function sample, as the paper does.
    gc_cut : bool
        Leave objects inside the globular-cluster colour box out of the sample.
    gc_box : tuple of (float, float)
        Vertices of that box (any simple polygon), x = F200W - F356W, y = F150W - F200W [AB mag].
    lens_model : str
        Name of the lens model; the empty string is the catalogue's reference model.
    within : {"half", "total"}
        Convention of the surface density: M / (2 pi R^2) or M / (pi R^2).
    hubble : float
        Hubble constant [km/s/Mpc].
    omega_m : float
        Matter density today.
    omega_de : float
        Dark-energy density today; curvature takes the rest.
    n_populations : int
        Populations drawn for error bars and for the bootstrap of the mass function.
    seed : int
        Seed of every random step.
    """

    size_threshold: float = 20.0
    age_max: float = 100.0
    mass_min: float = 2e6
    mass_max: float | None = None
    drop_most_massive: bool = True
    gc_cut: bool = True
    gc_box: Vertices = DEFAULT_GC_BOX
    lens_model: str = ""
    within: str = "half"
    hubble: float = 70.0
    omega_m: float = 0.3
    omega_de: float = 0.7
    n_populations: int = 500
    seed: int = 1

    def __post_init__(self) -> None:
        """Check every value, so that no settings object with an impossible one exists."""
        for name in ("size_threshold", "age_max", "mass_min", "hubble"):
            object.__setattr__(self, name, _number(name, getattr(self, name), low=0.0))
        if self.mass_max is not None:
            object.__setattr__(self, "mass_max", _number("mass_max", self.mass_max, low=self.mass_min))
        object.__setattr__(self, "omega_m", _number("omega_m", self.omega_m, low=0.0))
        object.__setattr__(self, "omega_de", _number("omega_de", self.omega_de, low=-math.inf))
        if self.hubble < _LEAST_HUBBLE:
            msg = f"hubble is {self.hubble:g} km/s/Mpc; give H0 itself, such as 70, not h = H0 / 100"
            raise InputError(msg)
        _check_cosmology(self.hubble, self.omega_m, self.omega_de)
        for name in ("drop_most_massive", "gc_cut"):
            if isinstance(getattr(self, name), np.bool_):
                object.__setattr__(self, name, bool(getattr(self, name)))
            if not isinstance(getattr(self, name), bool):
                msg = f"{name} is {getattr(self, name)!r}; it is either True or False"
                raise InputError(msg)
        for name, low in (("n_populations", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, np.integer):
                value = int(value)
                object.__setattr__(self, name, value)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                msg = f"{name} is {value!r}; give a whole number of at least {low}"
                raise InputError(msg)
        if self.within not in ("half", "total"):
            msg = f"within is {self.within!r}; the conventions are 'half' (M / 2 pi R^2) and 'total' (M / pi R^2)"
            raise InputError(msg)
        if not isinstance(self.lens_model, str):
            msg = f"lens_model is {self.lens_model!r}; give the name of a model as text, or '' for the reference"
            raise InputError(msg)
        object.__setattr__(self, "gc_box", _vertices(self.gc_box))

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with some settings changed.

        Parameters
        ----------
        **changes : Any
            Names and values of settings.

        Returns
        -------
        Settings
            The new settings.

        Raises
        ------
        InputError
            If a name is unknown or a value impossible.
        """
        unknown = sorted(set(changes) - set(self.names()))
        if unknown:
            msg = (
                f"there is no setting named {', '.join(map(repr, unknown))}; the settings are {', '.join(self.names())}"
            )
            raise InputError(msg)
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values.

        Returns
        -------
        dict
            One entry a setting.
        """
        out = asdict(self)
        out["gc_box"] = [list(vertex) for vertex in self.gc_box]
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Make settings from plain JSON values; the inverse of `to_dict`.

        Parameters
        ----------
        values : mapping
            Names and values; settings left out keep their defaults.

        Returns
        -------
        Settings
            The settings.

        Raises
        ------
        InputError
            If a name is unknown or a value impossible.
        """
        return cls().replace(**dict(values))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings.

        Returns
        -------
        tuple of str
            In the order of the class.
        """
        return tuple(field.name for field in fields(cls))


def _number(name: str, value: Any, *, low: float) -> float:
    """Return ``value`` as a finite float above ``low``, or refuse it in words."""
    if isinstance(value, u.Quantity) and name in SETTING_UNITS and value.isscalar:
        value = float(value_in(value, SETTING_UNITS[name], name))
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number <= low:
        bound = "" if low == -math.inf else f" greater than {low:g}"
        msg = f"{name} is {value!r}; give a finite number{bound}"
        raise InputError(msg)
    return number


def _vertices(value: Any) -> Vertices:
    """Return the polygon as a tuple of pairs, or refuse it in words."""
    try:
        points = tuple((float(x), float(y)) for x, y in value)
    except (TypeError, ValueError):
        msg = f"gc_box is {value!r}; give at least three (x, y) vertices in AB magnitudes"
        raise InputError(msg) from None
    if len(points) < 3 or not all(math.isfinite(c) for point in points for c in point):
        msg = (
            f"gc_box has {len(points)} vertices or a vertex that is not finite; give at least three finite (x, y) pairs"
        )
        raise InputError(msg)
    _check_polygon(points)
    return points


# Settings are made anew at every step of a slider: what has been found possible is not checked again.
@lru_cache(maxsize=64)
def _check_polygon(points: Vertices) -> None:
    """Refuse a polygon that no clump can lie in, before it is written into a project."""
    try:
        simple_polygon(points)
    except InputError as error:
        msg = f"gc_box cannot be used: {error}"
        raise InputError(msg) from None


@lru_cache(maxsize=64)
def _check_cosmology(hubble: float, omega_m: float, omega_de: float) -> None:
    """Refuse densities without a Big Bang, before they are written into a project."""
    age_of_universe(0.0, cosmology=make_cosmology(hubble, omega_m, omega_de))
