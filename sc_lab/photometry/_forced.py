"""Fluxes in the other bands: shapes carried over from the band that gives the sizes, neighbours fitted along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.photometry._pixels import BoxReader
from sc_lab.photometry._sizeband import BOX_MARGIN, box_corner
from sc_lab.photometry.boxes import fit_boxes
from sc_lab.photometry.flags import FitStatus, PhotometryFlag
from sc_lab.photometry.grouping import neighbours_in_box
from sc_lab.photometry.rendering import make_kernel
from sc_lab.photometry.sizes import clip_shape
from sc_lab.units import FloatArray

__all__ = ["ForcedFluxes", "carry_covariance", "carry_shape", "forced_fluxes"]

#: Largest shift of a centre against the band that gives the size [px] (Claeyssens et al. 2026, section 3.1.2).
_MAX_SHIFT = 1.0

#: Width of the centre prior [px]: what registration between bands leaves.
_PRIOR_SIGMA = 0.15

#: Most clumps in one forced fit; farther ones are left out.
_MAX_SOURCES = 6


@dataclass(eq=False)
class ForcedFluxes:
    """Per clump, in one band: nJy, and the shift of the centre in px of that band."""

    flux: FloatArray
    flux_err: FloatArray
    shape_err: FloatArray
    shift_x: FloatArray
    shift_y: FloatArray
    flags: npt.NDArray[np.int64]


def carry_shape(shape: FloatArray, jacobian: FloatArray) -> FloatArray:
    """Return J C J^T of shapes given as (Cxx, Cyy, Cxy).

    Parameters
    ----------
    shape : ndarray
        (n, 3) px^2 of one band.
    jacobian : ndarray
        (n, 2, 2) local pixel-to-pixel matrix.

    Returns
    -------
    ndarray
        (n, 3) px^2 of the other band.
    """
    return np.asarray(np.einsum("nij,nj->ni", _shape_map(jacobian), shape))


def carry_covariance(covariance: FloatArray, jacobian: FloatArray) -> FloatArray:
    """Return the covariance of a shape after `carry_shape`.

    Parameters
    ----------
    covariance : ndarray
        (n, 3, 3) px^4 of one band.
    jacobian : ndarray
        (n, 2, 2) local pixel-to-pixel matrix.

    Returns
    -------
    ndarray
        (n, 3, 3) px^4 of the other band.
    """
    linear = _shape_map(jacobian)
    return np.asarray(linear @ covariance @ linear.swapaxes(1, 2))


def _shape_map(jacobian: FloatArray) -> FloatArray:
    """Return the linear map of (Cxx, Cyy, Cxy) under C -> J C J^T."""
    a, b = jacobian[:, 0, 0], jacobian[:, 0, 1]
    c, d = jacobian[:, 1, 0], jacobian[:, 1, 1]
    rows = [[a * a, b * b, 2 * a * b], [c * c, d * d, 2 * c * d], [a * c, b * d, a * d + b * c]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def forced_fluxes(
    band: Any,
    x: FloatArray,
    y: FloatArray,
    shape: FloatArray,
    covariance: FloatArray,
    wanted: npt.NDArray[np.bool_],
    *,
    box: int,
    centre: str,
    engine: str,
    noise_correlation: Any,
    step: Callable[[int], None],
) -> ForcedFluxes:
    """Measure fluxes with fixed shapes in one band.

    Parameters
    ----------
    band : Band
        Image with a PSF.
    x, y : ndarray
        (n,) positions in px of this band; NaN for clumps without a fit.
    shape, covariance : ndarray
        (n, 3) and (n, 3, 3): shapes in px^2 of this band.
    wanted : ndarray
        (n,) clumps to measure; all with a position serve as neighbours.
    box : int
        Side of the boxes in px.
    centre : str
        "prior", "free" or "fixed".
    engine : str
        See `choose_engine`.
    noise_correlation : ndarray or None
        Autocorrelation of the noise.
    step : callable
        Called with the number of clumps done.

    Returns
    -------
    ForcedFluxes
        NaN where not wanted or not possible.
    """
    n = len(x)
    a, b, c, d, e = np.full((5, n), np.nan)
    out = ForcedFluxes(a, b, c, d, e, np.zeros(n, dtype=np.int64))
    usable = np.isfinite(x) & np.isfinite(y) & np.isfinite(shape).all(1)
    index = np.nonzero(wanted & usable)[0]
    if index.size == 0:
        return out
    shape = clip_shape(np.where(usable[:, None], shape, 0.0))
    covariance = np.where(np.isfinite(covariance), covariance, 0.0)
    corner = box_corner(x[index], y[index], box)
    points = np.column_stack([x, y])
    near = neighbours_in_box(points, (corner + box // 2).astype(np.float64), box / 2 + BOX_MARGIN, usable)
    lists: dict[int, list[tuple[int, list[int]]]] = {}
    for row, (i, others) in enumerate(zip(index.tolist(), near, strict=True)):
        rest = others[others != i]
        rest = rest[np.argsort(np.hypot(x[rest] - x[i], y[rest] - y[i]), kind="stable")][: _MAX_SOURCES - 1]
        lists.setdefault(1 + rest.size, []).append((row, [i, *rest.tolist()]))
    kernel = make_kernel(band.psf, (box, box), pixel_scale=band.pixel_scale)
    reader = BoxReader(band, corner[:, 0], corner[:, 1], box)
    for _, same in sorted(lists.items()):
        rows = np.array([row for row, _ in same])
        members = np.array([m for _, m in same], dtype=np.int64)
        data, error = reader.read(corner[rows, 0], corner[rows, 1], box)
        modes = np.full(members.shape, "fixed" if centre == "fixed" else "prior")
        modes[:, 0] = centre
        local_x, local_y = x[members] - corner[rows, 0, None], y[members] - corner[rows, 1, None]
        own = np.zeros((*members.shape, 3, 3))
        own[:, 0] = covariance[members[:, 0]]
        fits = fit_boxes(
            data,
            error,
            kernel,
            x=local_x,
            y=local_y,
            shape=shape[members],
            fit_shape=False,
            centre=modes,
            max_shift=_MAX_SHIFT,
            prior_sigma=_PRIOR_SIGMA,
            shape_covariance=own,
            noise_correlation=noise_correlation,
            engine=engine,
        )
        at = members[:, 0]
        out.flux[at], out.flux_err[at], out.shape_err[at] = (
            fits.flux[:, 0],
            fits.flux_err[:, 0],
            fits.flux_shape_err[:, 0],
        )
        out.shift_x[at], out.shift_y[at] = fits.x[:, 0] - local_x[:, 0], fits.y[:, 0] - local_y[:, 0]
        if members.shape[1] > 1:
            out.flags[at] |= int(PhotometryFlag.NEIGHBOUR)
        out.flags[at[fits.status == FitStatus.TOO_FEW_PIXELS]] |= int(PhotometryFlag.BAND_MISSING)
        step(len(at))
    return out
