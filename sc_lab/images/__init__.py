"""Mosaics of any number of bands: pixels, errors, PSFs, coordinates and colour pictures."""

from __future__ import annotations

from sc_lab.images.band import Band
from sc_lab.images.field import REFERENCE_ORDER, Field
from sc_lab.images.matching import kernel_residual, match_psf, matching_kernel
from sc_lab.images.noise import SkyNoise
from sc_lab.images.psf import Psf
from sc_lab.images.psf_check import PsfComparison, compare_psfs
from sc_lab.images.registration import align, band_offset
from sc_lab.images.rgb import lupton, on_reference_grid, rgb
from sc_lab.images.stars import propose_stars, psf_from_stars

__all__ = [
    "REFERENCE_ORDER",
    "Band",
    "Field",
    "Psf",
    "PsfComparison",
    "SkyNoise",
    "align",
    "band_offset",
    "compare_psfs",
    "kernel_residual",
    "lupton",
    "match_psf",
    "matching_kernel",
    "on_reference_grid",
    "propose_stars",
    "psf_from_stars",
    "rgb",
]
