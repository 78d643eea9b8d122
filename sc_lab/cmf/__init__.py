"""Cluster mass functions: power law and Schechter, by exact grid and by emcee, with bootstrap and checks."""

from __future__ import annotations

from sc_lab.cmf.bootstrap import Bootstrap, bootstrap_mass_function
from sc_lab.cmf.checks import PredictiveCheck, posterior_predictive
from sc_lab.cmf.fit import MassFunctionFit, MassFunctionGrid, fit_mass_function
from sc_lab.cmf.models import MODELS, PowerLaw, Schechter, draw_masses, mass_function
from sc_lab.cmf.selection import Selection

__all__ = [
    "MODELS",
    "Bootstrap",
    "MassFunctionFit",
    "MassFunctionGrid",
    "PowerLaw",
    "PredictiveCheck",
    "Schechter",
    "Selection",
    "bootstrap_mass_function",
    "draw_masses",
    "fit_mass_function",
    "mass_function",
    "posterior_predictive",
]
