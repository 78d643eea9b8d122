"""Sizes and fluxes of clumps through the PSF: exact rendering, fits of stacks of boxes, whole fields."""

from __future__ import annotations

from sc_lab.photometry._engine import ENGINES, choose_engine, compiled_is_ready, prepare
from sc_lab.photometry.boxes import BoxFits, correlation_matrix, fit_boxes
from sc_lab.photometry.clumps import fit_clumps
from sc_lab.photometry.flags import FitStatus, PhotometryFlag, describe_flags
from sc_lab.photometry.rendering import PsfKernel, make_kernel, render, render_batch
from sc_lab.photometry.residuals import render_clumps
from sc_lab.photometry.sizes import HALF_LIGHT, STD_LIMIT, Sizes, clip_shape, measure_sizes, size_classes
from sc_lab.photometry.splits import propose_splits

__all__ = [
    "ENGINES",
    "HALF_LIGHT",
    "STD_LIMIT",
    "BoxFits",
    "FitStatus",
    "PhotometryFlag",
    "PsfKernel",
    "Sizes",
    "choose_engine",
    "clip_shape",
    "compiled_is_ready",
    "correlation_matrix",
    "describe_flags",
    "fit_boxes",
    "fit_clumps",
    "make_kernel",
    "measure_sizes",
    "prepare",
    "propose_splits",
    "render",
    "render_batch",
    "render_clumps",
    "size_classes",
]
