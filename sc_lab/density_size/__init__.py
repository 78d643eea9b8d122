"""The density-size and size-magnitude planes: surface densities, dynamical ages, and the lines drawn in them."""

from sc_lab.density_size.brightness import constant_brightness_line, surface_brightness
from sc_lab.density_size.plane import (
    GRAVITY,
    IMBH_DENSITIES,
    CriticalDensity,
    constant_mass_line,
    crossing_time,
    dynamical_age,
    is_bound,
    limit_arrow,
    surface_density,
)

__all__ = [
    "GRAVITY",
    "IMBH_DENSITIES",
    "CriticalDensity",
    "constant_brightness_line",
    "constant_mass_line",
    "crossing_time",
    "dynamical_age",
    "is_bound",
    "limit_arrow",
    "surface_brightness",
    "surface_density",
]
