"""SC Lab: star clusters and clumps in lensed galaxies; names are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sc_lab._version import __version__

if TYPE_CHECKING:
    from sc_lab.catalog import read_catalog
    from sc_lab.clumps import Observation, measure
    from sc_lab.cmf import fit_mass_function
    from sc_lab.density_size import dynamical_age, surface_density
    from sc_lab.detection import detect_clumps
    from sc_lab.formation import formation_redshift
    from sc_lab.images import Field
    from sc_lab.lensing import read_lenstool, read_maps
    from sc_lab.mock import make_field, make_population
    from sc_lab.photometry import fit_clumps
    from sc_lab.population import Settings, analyse
    from sc_lab.sed import fit_photometry
    from sc_lab.session import Session
    from sc_lab.simulations import friends_of_friends, read_snapshot

__all__ = [
    "Field",
    "Observation",
    "Session",
    "Settings",
    "__version__",
    "analyse",
    "detect_clumps",
    "dynamical_age",
    "fit_clumps",
    "fit_mass_function",
    "fit_photometry",
    "formation_redshift",
    "friends_of_friends",
    "make_field",
    "make_population",
    "measure",
    "read_catalog",
    "read_lenstool",
    "read_maps",
    "read_snapshot",
    "surface_density",
]

#: Where each public name lives.
_HOME = {
    "Field": "sc_lab.images",
    "Observation": "sc_lab.clumps",
    "Session": "sc_lab.session",
    "Settings": "sc_lab.population",
    "analyse": "sc_lab.population",
    "detect_clumps": "sc_lab.detection",
    "dynamical_age": "sc_lab.density_size",
    "fit_clumps": "sc_lab.photometry",
    "fit_mass_function": "sc_lab.cmf",
    "fit_photometry": "sc_lab.sed",
    "formation_redshift": "sc_lab.formation",
    "friends_of_friends": "sc_lab.simulations",
    "make_field": "sc_lab.mock",
    "make_population": "sc_lab.mock",
    "measure": "sc_lab.clumps",
    "read_catalog": "sc_lab.catalog",
    "read_lenstool": "sc_lab.lensing",
    "read_maps": "sc_lab.lensing",
    "read_snapshot": "sc_lab.simulations",
    "surface_density": "sc_lab.density_size",
}
_MODULES = frozenset(
    {
        "catalog",
        "clumps",
        "cmf",
        "colours",
        "completeness",
        "cosmology",
        "density_size",
        "detection",
        "errors",
        "export",
        "formation",
        "images",
        "inference",
        "lensing",
        "mock",
        "photometry",
        "population",
        "properties",
        "reference",
        "sed",
        "session",
        "simulations",
        "units",
    },
)


def __getattr__(name: str) -> Any:
    """Import a public name or module when it is first used."""
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = import_module(f"sc_lab.{name}")
    else:
        msg = f"module 'sc_lab' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *_HOME, *_MODULES})
