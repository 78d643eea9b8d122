"""Spectral energy distributions: filters, stellar libraries, model photometry, and posteriors of ages and masses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sc_lab.sed.bagpipes_engine import fit_with_bagpipes
    from sc_lab.sed.bpass import convert_bpass
    from sc_lab.sed.checking import LibraryCheck, check_library
    from sc_lab.sed.continuity import StudentT, fit_continuity
    from sc_lab.sed.filter_files import read_filter
    from sc_lab.sed.filters import Filter, available_filters, get_filter, get_filters
    from sc_lab.sed.fitting import fit_photometry
    from sc_lab.sed.judging import Judging, compare, judge, open_judge
    from sc_lab.sed.libraries import Library, load_library
    from sc_lab.sed.model import SedModel
    from sc_lab.sed.priors import Fixed, Gaussian, LogUniform, Priors, Uniform
    from sc_lab.sed.redshift import RedshiftFit, RedshiftGrid
    from sc_lab.sed.results import SedFit, SedFits
    from sc_lab.sed.sfh import SfhStates, continuity_weights, sfh_states, state_weights
    from sc_lab.sed.spectra import model_fluxes, model_spectra
    from sc_lab.sed.synthetic import ab_magnitude, band_flux, flux_from_magnitude, vega_to_ab
    from sc_lab.sed.tables import BandTables, make_tables

__all__ = [
    "BandTables",
    "Filter",
    "Fixed",
    "Gaussian",
    "Judging",
    "Library",
    "LibraryCheck",
    "LogUniform",
    "Priors",
    "RedshiftFit",
    "RedshiftGrid",
    "SedFit",
    "SedFits",
    "SedModel",
    "SfhStates",
    "StudentT",
    "Uniform",
    "ab_magnitude",
    "available_filters",
    "band_flux",
    "check_library",
    "compare",
    "continuity_weights",
    "convert_bpass",
    "fit_continuity",
    "fit_photometry",
    "fit_with_bagpipes",
    "flux_from_magnitude",
    "get_filter",
    "get_filters",
    "judge",
    "load_library",
    "make_tables",
    "model_fluxes",
    "model_spectra",
    "open_judge",
    "read_filter",
    "sfh_states",
    "state_weights",
    "vega_to_ab",
]

#: Where each public name lives; imported when it is first used.
_HOME = {
    "BandTables": "sc_lab.sed.tables",
    "Filter": "sc_lab.sed.filters",
    "Fixed": "sc_lab.sed.priors",
    "Gaussian": "sc_lab.sed.priors",
    "Judging": "sc_lab.sed.judging",
    "Library": "sc_lab.sed.libraries",
    "LibraryCheck": "sc_lab.sed.checking",
    "LogUniform": "sc_lab.sed.priors",
    "Priors": "sc_lab.sed.priors",
    "RedshiftFit": "sc_lab.sed.redshift",
    "RedshiftGrid": "sc_lab.sed.redshift",
    "SedFit": "sc_lab.sed.results",
    "SedFits": "sc_lab.sed.results",
    "SedModel": "sc_lab.sed.model",
    "SfhStates": "sc_lab.sed.sfh",
    "StudentT": "sc_lab.sed.continuity",
    "Uniform": "sc_lab.sed.priors",
    "ab_magnitude": "sc_lab.sed.synthetic",
    "available_filters": "sc_lab.sed.filters",
    "band_flux": "sc_lab.sed.synthetic",
    "check_library": "sc_lab.sed.checking",
    "compare": "sc_lab.sed.judging",
    "continuity_weights": "sc_lab.sed.sfh",
    "convert_bpass": "sc_lab.sed.bpass",
    "fit_continuity": "sc_lab.sed.continuity",
    "fit_photometry": "sc_lab.sed.fitting",
    "fit_with_bagpipes": "sc_lab.sed.bagpipes_engine",
    "flux_from_magnitude": "sc_lab.sed.synthetic",
    "get_filter": "sc_lab.sed.filters",
    "get_filters": "sc_lab.sed.filters",
    "judge": "sc_lab.sed.judging",
    "load_library": "sc_lab.sed.libraries",
    "make_tables": "sc_lab.sed.tables",
    "model_fluxes": "sc_lab.sed.spectra",
    "model_spectra": "sc_lab.sed.spectra",
    "open_judge": "sc_lab.sed.judging",
    "read_filter": "sc_lab.sed.filter_files",
    "sfh_states": "sc_lab.sed.sfh",
    "state_weights": "sc_lab.sed.sfh",
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
