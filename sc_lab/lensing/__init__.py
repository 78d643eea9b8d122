"""Gravitational lensing: models of clusters from files or potentials, magnifications, images and intrinsic sizes."""

from __future__ import annotations

from sc_lab.lensing.delensing import LensFlag, delens, source_covariance
from sc_lab.lensing.families import BackProjection, back_project, read_images
from sc_lab.lensing.lenstool import read_lenstool
from sc_lab.lensing.mapfiles import read_maps
from sc_lab.lensing.maps import MapLens
from sc_lab.lensing.model import Deflection, Jacobian, LensModel, Magnification, magnification_of
from sc_lab.lensing.parametric import ParametricLens, Posterior
from sc_lab.lensing.potentials import DPIE, ExternalShear, Potential, scaled_members
from sc_lab.lensing.rescaling import rederive, rescale_sizes
from sc_lab.lensing.selftest import MapCheck, check_maps

__all__ = [
    "DPIE",
    "BackProjection",
    "Deflection",
    "ExternalShear",
    "Jacobian",
    "LensFlag",
    "LensModel",
    "Magnification",
    "MapCheck",
    "MapLens",
    "ParametricLens",
    "Posterior",
    "Potential",
    "back_project",
    "check_maps",
    "delens",
    "magnification_of",
    "read_images",
    "read_lenstool",
    "read_maps",
    "rederive",
    "rescale_sizes",
    "scaled_members",
    "source_covariance",
]
