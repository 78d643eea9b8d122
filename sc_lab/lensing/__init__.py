"""Gravitational lensing: models of clusters from files or potentials, magnifications, images and intrinsic sizes."""

from __future__ import annotations

from sc_lab.lensing.lenstool import read_lenstool
from sc_lab.lensing.model import Deflection, Jacobian, LensModel, Magnification, magnification_of
from sc_lab.lensing.parametric import ParametricLens, Posterior
from sc_lab.lensing.potentials import DPIE, ExternalShear, Potential, scaled_members

__all__ = [
    "DPIE",
    "Deflection",
    "ExternalShear",
    "Jacobian",
    "LensModel",
    "Magnification",
    "ParametricLens",
    "Posterior",
    "Potential",
    "magnification_of",
    "read_lenstool",
    "scaled_members",
]
