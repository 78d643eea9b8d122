"""Clumps: a list of positions on a field becomes a measured, de-lensed catalogue, incrementally."""

from __future__ import annotations

from sc_lab.clumps.hosts import fit_hosts
from sc_lab.clumps.measured import Measured
from sc_lab.clumps.measuring import measure
from sc_lab.clumps.observation import PROVENANCES, Observation
from sc_lab.clumps.sed_settings import SedSettings

__all__ = [
    "PROVENANCES",
    "Measured",
    "Observation",
    "SedSettings",
    "fit_hosts",
    "measure",
]
