"""The density-size plane: surface densities, dynamical ages, and the lines drawn in it."""

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
    "constant_mass_line",
    "crossing_time",
    "dynamical_age",
    "is_bound",
    "limit_arrow",
    "surface_density",
]
