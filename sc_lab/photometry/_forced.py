"""Fluxes in the other bands: shapes carried over from the band that gives the sizes, neighbours fitted along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.photometry._pixels import BoxReader
from sc_lab.photometry._sizeband import BOX_MARGIN, box_corner
from sc_lab.photometry._template import HostTemplates
from sc_lab.photometry.boxes import fit_boxes
from sc_lab.photometry.flags import FitStatus, PhotometryFlag
from sc_lab.photometry.grouping import neighbours_in_box
from sc_lab.photometry.rendering import kept_kernel, render_batch
from sc_lab.photometry.sizes import clip_shape
from sc_lab.units import FloatArray

IntArray = npt.NDArray[np.int64]

__all__ = ["OUTSIDE_REACH", "ForcedFluxes", "carry_covariance", "carry_shape", "forced_fluxes"]

#: Largest shift of a centre against the band that gives the size [px] (Claeyssens et al. 2026, section 3.1.2).
_MAX_SHIFT = 1.0

#: Width of the centre prior [px]: what registration between bands leaves.
_PRIOR_SIGMA = 0.15

#: Most clumps in one forced fit; the light of farther ones is taken off, or left.
_MAX_SOURCES = 8

#: Clumps up to this far beyond those that are fitted along have their light taken off [px].
OUTSIDE_REACH = 4.0


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
    take_off: bool,
    curved: bool,
    templates: HostTemplates | None,
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
    take_off : bool
        Fit twice, the second time with the light of clumps beyond those fitted along taken off.
    curved : bool
        Allow for curvature of the background, see `fit_boxes`.
    templates : HostTemplates or None
        What the background looks like in the band of the sizes.
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
    out = _nothing(n)
    usable = np.isfinite(x) & np.isfinite(y) & np.isfinite(shape).all(1)
    index = np.nonzero(wanted & usable)[0]
    if index.size == 0:
        return out
    shape = clip_shape(np.where(usable[:, None], shape, 0.0))
    covariance = np.where(np.isfinite(covariance), covariance, 0.0)
    options = _Options(band, box, centre, curved, templates, engine, noise_correlation)
    along, beyond = _neighbours(index, x, y, usable, box)
    if not take_off:
        _fit(out, index, along, x, y, shape, covariance, options, None)
        step(index.size)
        return out
    # The fluxes to take off come from fits of their own, which count for the wanted clumps only.
    first = _nothing(n)
    everyone = np.union1d(index, np.concatenate([index[:0], *beyond]))
    _fit(first, everyone, _neighbours(everyone, x, y, usable, box)[0], x, y, shape, covariance, options, None)
    for name in vars(out):
        getattr(out, name)[index] = getattr(first, name)[index]
    disturbed = np.array([others.size > 0 for others in beyond])
    if disturbed.any():
        again = index[disturbed]
        light = [others for others in beyond if others.size]
        out.flags[again] = 0
        _fit(out, again, [m for m, d in zip(along, disturbed, strict=True) if d], x, y, shape, covariance, options,
             (light, first))  # fmt: skip
    step(index.size)
    return out


@dataclass(frozen=True)
class _Options:
    """What is the same for every box of a band."""

    band: Any
    box: int
    centre: str
    curved: bool
    templates: HostTemplates | None
    engine: str
    noise_correlation: Any


def _nothing(n: int) -> ForcedFluxes:
    """Return fluxes of which none is measured."""
    flux, error, part, shift_x, shift_y = np.full((5, n), np.nan)
    return ForcedFluxes(flux, error, part, shift_x, shift_y, np.zeros(n, dtype=np.int64))


def _neighbours(
    index: IntArray, x: FloatArray, y: FloatArray, usable: npt.NDArray[np.bool_], box: int
) -> tuple[list[list[int]], list[IntArray]]:
    """Return, per clump, those fitted along (itself first) and those whose light is taken off."""
    centre = (box_corner(x[index], y[index], box) + box // 2).astype(np.float64)
    points = np.column_stack([x, y])
    near = neighbours_in_box(points, centre, box / 2 + BOX_MARGIN, usable)
    wide = neighbours_in_box(points, centre, box / 2 + BOX_MARGIN + OUTSIDE_REACH, usable)
    along: list[list[int]] = []
    beyond: list[IntArray] = []
    for i, inside, around in zip(index.tolist(), near, wide, strict=True):
        rest = inside[inside != i]
        rest = rest[np.argsort(np.hypot(x[rest] - x[i], y[rest] - y[i]), kind="stable")][: _MAX_SOURCES - 1]
        members = [i, *rest.tolist()]
        along.append(members)
        beyond.append(np.array([j for j in around.tolist() if j not in members], dtype=np.int64))
    return along, beyond


def _fit(
    out: ForcedFluxes,
    index: IntArray,
    along: list[list[int]],
    x: FloatArray,
    y: FloatArray,
    shape: FloatArray,
    covariance: FloatArray,
    options: _Options,
    light: tuple[list[IntArray], ForcedFluxes] | None,
) -> None:
    """Fit the boxes of the clumps ``index``, those with equally many neighbours together."""
    band, box = options.band, options.box
    corner = box_corner(x[index], y[index], box)
    kernel = kept_kernel(band.psf, box, band.pixel_scale)
    data, error = BoxReader(band, corner[:, 0], corner[:, 1], box).read(corner[:, 0], corner[:, 1], box)
    if light is not None:
        pairs = [(row, i) for row, others in enumerate(light[0]) for i in others.tolist()]
        pairs = [(row, i) for row, i in pairs if np.isfinite(light[1].flux[i])]
        if pairs:
            row, other = np.array(pairs).T
            u, v = x[other] + light[1].shift_x[other], y[other] + light[1].shift_y[other]
            images = render_batch(kernel, u - corner[row, 0], v - corner[row, 1], shape[other], 1)[:, 0]
            np.subtract.at(data, row, (images * light[1].flux[other, None]).reshape(-1, box, box))
    template = None if options.templates is None else options.templates.boxes(band, corner, box, along)
    counts = np.array([len(members) for members in along], dtype=np.int64)
    for count in np.unique(counts).tolist():
        rows = np.nonzero(counts == count)[0]
        members = np.array([along[row] for row in rows.tolist()], dtype=np.int64)
        modes = np.full(members.shape, "fixed" if options.centre == "fixed" else "prior")
        modes[:, 0] = options.centre
        local_x, local_y = x[members] - corner[rows, 0, None], y[members] - corner[rows, 1, None]
        own = np.zeros((*members.shape, 3, 3))
        own[:, 0] = covariance[members[:, 0]]
        fits = fit_boxes(
            data[rows],
            error[rows],
            kernel,
            x=local_x,
            y=local_y,
            shape=shape[members],
            fit_shape=False,
            centre=modes,
            max_shift=_MAX_SHIFT,
            curved=options.curved,
            template=None if template is None else template[rows],
            prior_sigma=_PRIOR_SIGMA,
            shape_covariance=own,
            noise_correlation=options.noise_correlation,
            engine=options.engine,
        )
        at = members[:, 0]
        out.flux[at], out.flux_err[at] = fits.flux[:, 0], fits.flux_err[:, 0]
        out.shape_err[at] = fits.flux_shape_err[:, 0]
        out.shift_x[at], out.shift_y[at] = fits.x[:, 0] - local_x[:, 0], fits.y[:, 0] - local_y[:, 0]
        if count > 1 or light is not None:
            out.flags[at] |= int(PhotometryFlag.NEIGHBOUR)
        out.flags[at[fits.status == FitStatus.TOO_FEW_PIXELS]] |= int(PhotometryFlag.BAND_MISSING)
