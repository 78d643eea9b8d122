"""Spectral energy distributions: filters, stellar libraries, model photometry, and posteriors of ages and masses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sc_lab.sed.filter_files import read_filter
    from sc_lab.sed.filters import Filter, available_filters, get_filter, get_filters
    from sc_lab.sed.fitting import fit_photometry
    from sc_lab.sed.priors import Fixed, Gaussian, LogUniform, Priors, Uniform
    from sc_lab.sed.results import SedFit, SedFits
    from sc_lab.sed.synthetic import ab_magnitude, band_flux, flux_from_magnitude, vega_to_ab

__all__ = [
    "Filter",
    "Fixed",
    "Gaussian",
    "LogUniform",
    "Priors",
    "SedFit",
    "SedFits",
    "Uniform",
    "ab_magnitude",
    "available_filters",
    "band_flux",
    "fit_photometry",
    "flux_from_magnitude",
    "get_filter",
    "get_filters",
    "read_filter",
    "vega_to_ab",
]

#: Where each public name lives; imported when it is first used.
_HOME = {
    "Filter": "sc_lab.sed.filters",
    "Fixed": "sc_lab.sed.priors",
    "Gaussian": "sc_lab.sed.priors",
    "LogUniform": "sc_lab.sed.priors",
    "Priors": "sc_lab.sed.priors",
    "SedFit": "sc_lab.sed.results",
    "SedFits": "sc_lab.sed.results",
    "Uniform": "sc_lab.sed.priors",
    "ab_magnitude": "sc_lab.sed.synthetic",
    "available_filters": "sc_lab.sed.filters",
    "band_flux": "sc_lab.sed.synthetic",
    "fit_photometry": "sc_lab.sed.fitting",
    "flux_from_magnitude": "sc_lab.sed.synthetic",
    "get_filter": "sc_lab.sed.filters",
    "get_filters": "sc_lab.sed.filters",
    "read_filter": "sc_lab.sed.filter_files",
    "vega_to_ab": "sc_lab.sed.synthetic",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        msg = f"module 'sc_lab.sed' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}"
        raise AttributeError(msg)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *_HOME})
