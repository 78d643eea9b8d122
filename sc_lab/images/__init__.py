"""Mosaics of any number of bands: pixels, errors, PSFs, coordinates and colour pictures."""

from __future__ import annotations

from sc_lab.images.band import Band
from sc_lab.images.field import REFERENCE_ORDER, Field
from sc_lab.images.psf import Psf
from sc_lab.images.rgb import lupton, on_reference_grid, rgb

__all__ = [
    "REFERENCE_ORDER",
    "Band",
    "Field",
    "Psf",
    "lupton",
    "on_reference_grid",
    "rgb",
]
