"""Multiple images of a source: where a model puts them, with parity, magnification and arrival order."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.lensing.model import LensModel

__all__ = ["find_images"]

#: Side of the second grid's cells over that of the first.
_REFINE = 6
#: A root is one when the source is met to this [arcsec].
_CLOSURE = 1e-8
#: Roots nearer than this are one image [arcsec].
_SAME = 1e-4
_C_PC_PER_DAY = 299792.458 / 3.0856775814913673e13 * 86400.0
_ARCSEC = math.radians(1.0 / 3600.0)


def find_images(
    lens: LensModel,
    source: tuple[float, float],
    ratio: float,
    *,
    bounds: tuple[float, float, float, float],
    step: float,
) -> FloatArray:
    """Return the images of a point source.

    Parameters
    ----------
    lens : LensModel
        The model.
    source : tuple of float
        Position of the source [arcsec], in the frame of the model.
    ratio : float
        D_LS/D_S of the source.
    bounds : tuple of float
        Part of the image plane that is searched [arcsec]: x from, x to, y from, y to.
    step : float
        Side of a cell of the first grid [arcsec].

    Returns
    -------
    ndarray
        Positions [arcsec], shape (n, 2).

    Notes
    -----
    The deflection on a grid of cells, kept with the model for every redshift, tells which cells may hold the
    source once mapped: those whose corners surround it, with a margin for the curvature of the mapping inside the
    cell. These are divided once more, and Newton's method with step control starts from each cell that is left.
    """
    gx, gy, ax, ay = lens.deflection_grid(bounds, step)
    cells = _candidates(gx[None, :] - ratio * ax, gy[:, None] - ratio * ay, source)
    if not cells[0].size:
        return np.empty((0, 2))
    corners = np.arange(_REFINE + 1) / _REFINE
    fine_x = gx[cells[1]][:, None, None] + step * corners[None, None, :] + np.zeros((1, _REFINE + 1, 1))
    fine_y = gy[cells[0]][:, None, None] + step * corners[None, :, None] + np.zeros((1, 1, _REFINE + 1))
    bx, by = lens.unit_deflection(fine_x.ravel(), fine_y.ravel())
    beta_x = fine_x - ratio * bx.reshape(fine_x.shape)
    beta_y = fine_y - ratio * by.reshape(fine_x.shape)
    starts = []
    for k in range(len(cells[0])):
        j, i = _candidates(beta_x[k], beta_y[k], source)
        middle = step / _REFINE * 0.5
        starts.append(np.stack([fine_x[k, 0, i] + middle, fine_y[k, j, 0] + middle], axis=-1))
    points = np.concatenate(starts)
    points = _newton(lens, points, source, ratio, longest=2 * step / _REFINE)
    inside = (
        (points[:, 0] >= bounds[0])
        & (points[:, 0] <= bounds[1])
        & (points[:, 1] >= bounds[2])
        & (points[:, 1] <= bounds[3])
    )
    return _distinct(points[inside])


def _candidates(beta_x: FloatArray, beta_y: FloatArray, source: tuple[float, float]) -> tuple[Any, Any]:
    """Return row and column of the cells that may be mapped onto the source."""
    near = np.ones((beta_x.shape[0] - 1, beta_x.shape[1] - 1), dtype=bool)
    for beta, target in ((beta_x, source[0]), (beta_y, source[1])):
        four = np.stack([beta[:-1, :-1], beta[1:, :-1], beta[:-1, 1:], beta[1:, 1:]])
        low, high = four.min(axis=0), four.max(axis=0)
        # Twice the departure from a bilinear cell, as the second differences tell it.
        bend = np.zeros_like(beta)
        bend[1:-1, :] = np.maximum(bend[1:-1, :], np.abs(beta[2:, :] - 2 * beta[1:-1, :] + beta[:-2, :]))
        bend[:, 1:-1] = np.maximum(bend[:, 1:-1], np.abs(beta[:, 2:] - 2 * beta[:, 1:-1] + beta[:, :-2]))
        margin = np.maximum.reduce([bend[:-1, :-1], bend[1:, :-1], bend[:-1, 1:], bend[1:, 1:]]) + 0.1 * (high - low)
        with np.errstate(invalid="ignore"):
            near &= (low - margin <= target) & (target <= high + margin)
    rows, columns = np.nonzero(near)
    return rows, columns


def _newton(
    lens: LensModel, points: FloatArray, source: tuple[float, float], ratio: float, *, longest: float
) -> FloatArray:
    """Return the roots that a damped Newton iteration reaches from each start."""
    x, y = points[:, 0].copy(), points[:, 1].copy()

    def residual(at_x: FloatArray, at_y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        ax, ay = lens.unit_deflection(at_x, at_y)
        rx, ry = at_x - ratio * ax - source[0], at_y - ratio * ay - source[1]
        return rx, ry, np.hypot(rx, ry)

    rx, ry, size = residual(x, y)
    damping = np.ones_like(x)
    for _ in range(40):
        open_ = np.isfinite(size) & (size > _CLOSURE) & (damping > 1e-3)
        if not open_.any():
            break
        px, py = x[open_], y[open_]
        k, g1, g2 = (ratio * part for part in lens.unit_jacobian(px, py))
        det = (1 - k) ** 2 - g1**2 - g2**2
        with np.errstate(divide="ignore", invalid="ignore"):
            dx = ((1 - k + g1) * rx[open_] + g2 * ry[open_]) / det
            dy = (g2 * rx[open_] + (1 - k - g1) * ry[open_]) / det
        length = np.hypot(dx, dy)
        shrink = damping[open_] * np.where(length > longest, longest / length, 1.0)
        qx, qy = px - shrink * dx, py - shrink * dy
        nx, ny, new = residual(qx, qy)
        better = new < size[open_]
        index = np.nonzero(open_)[0]
        good = index[better]
        x[good], y[good] = qx[better], qy[better]
        rx[good], ry[good], size[good] = nx[better], ny[better], new[better]
        damping[good] = np.minimum(2 * damping[good], 1.0)
        damping[index[~better]] *= 0.25
    done = size <= 10 * _CLOSURE
    return np.stack([x[done], y[done]], axis=-1)


def _distinct(points: FloatArray) -> FloatArray:
    """Return points without repetitions."""
    kept: list[FloatArray] = []
    for point in points[np.lexsort(points.T)]:
        if all(np.hypot(*(point - other)) > _SAME for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, 2)


def fermat_differences(lens: LensModel, points: FloatArray, source: tuple[float, float], ratio: float) -> FloatArray:
    """Return the Fermat potential of images relative to the first.

    Parameters
    ----------
    lens : LensModel
        The model.
    points : ndarray
        Positions [arcsec], shape (n, 2).
    source : tuple of float
        Position of the source [arcsec].
    ratio : float
        D_LS/D_S of the source.

    Returns
    -------
    ndarray
        In arcsec², shape (n,).

    Notes
    -----
    Its gradient is image - source - deflection, which is integrated along the straight line from the first image,
    so that maps and potentials are treated alike.
    """
    t, w = _quadrature()
    start = points[0]
    steps = points - start
    x = start[0] + steps[:, :1] * t
    y = start[1] + steps[:, 1:] * t
    ax, ay = lens.unit_deflection(x.ravel(), y.ravel())
    gx = x - source[0] - ratio * ax.reshape(x.shape)
    gy = y - source[1] - ratio * ay.reshape(x.shape)
    return np.asarray(((gx * steps[:, :1] + gy * steps[:, 1:]) * w).sum(axis=1))


@functools.cache
def _quadrature() -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights between 0 and 1: 64 panels of eight points, for paths that cross galaxies."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    panels = np.arange(64)[:, None]
    return ((panels + 0.5 * (nodes + 1.0)) / 64).ravel(), np.tile(0.5 * weights / 64, 64)


def counter_images(
    lens: LensModel,
    ra: Any,
    dec: Any,
    z: float,
    *,
    bounds: tuple[float, float, float, float] | None,
    step: float,
    min_mu: float,
    n_draws: int = 0,
    rng: Any = 0,
) -> QTable:
    """Return all images of the source of one or more images; see `LensModel.counter_images`.

    Parameters
    ----------
    lens : LensModel
        The model.
    ra, dec : float or array_like
        Position of the image [deg]; several images of one source share their mean source.
    z : float
        Redshift of the source.
    bounds : tuple of float, optional
        Part of the image plane that is searched [arcsec].
    step : float
        Side of a cell of the first grid [arcsec].
    min_mu : float
        Images fainter than this |mu| are left out.
    n_draws : int
        Realisations of the model for the column scatter.
    rng : int or `~numpy.random.Generator`
        Seed of their choice.

    Returns
    -------
    `~astropy.table.QTable`
        One row per image.
    """
    ratio = float(lens.efficiency(z))
    if not ratio > 0:
        msg = f"the source has z = {z}, the lens z = {lens.z_lens:g}; give one redshift behind the lens"
        raise InputError(msg)
    x, y = (np.atleast_1d(each) for each in lens.to_frame(ra, dec))
    ax, ay = lens.unit_deflection(x, y)
    bx, by = x - ratio * ax, y - ratio * ay
    k, g1, g2 = (ratio * part for part in lens.unit_jacobian(x, y))
    weight = 1.0 / np.abs((1 - k) ** 2 - g1**2 - g2**2)
    known = np.isfinite(bx) & np.isfinite(weight)
    if not known.any():
        msg = "the image lies outside the lens model (or on its critical curve); give a position inside"
        raise InputError(msg)
    source = _mean_source(bx, by, weight)
    points = find_images(lens, source, ratio, bounds=lens.default_bounds() if bounds is None else bounds, step=step)
    from sc_lab.lensing.model import magnification_of

    jacobian = tuple(ratio * part for part in lens.unit_jacobian(points[:, 0], points[:, 1]))
    mu, mu_t, mu_r = magnification_of(*jacobian)
    bright = np.abs(mu) >= min_mu
    points, mu, mu_t, mu_r = points[bright], mu[bright], mu_t[bright], mu_r[bright]
    kappa = jacobian[0][bright]
    fermat = fermat_differences(lens, points, source, ratio) if len(points) else np.empty(0)
    order = np.argsort(fermat)
    points, mu, mu_t, mu_r, kappa, fermat = (each[order] for each in (points, mu, mu_t, mu_r, kappa, fermat))
    kind = np.where(mu < 0, "saddle", np.where(kappa < 1, "minimum", "maximum"))
    sky = lens.to_sky(points[:, 0], points[:, 1])
    distance = lens.cosmology.angular_diameter_distance
    to_lens, to_source = (float(distance(each).to_value(u.pc)) for each in (lens.z_lens, z))
    days = (1 + lens.z_lens) * to_lens * to_source / (ratio * to_source) / _C_PC_PER_DAY * _ARCSEC**2
    separation = np.hypot(points[:, :1] - x, points[:, 1:] - y).min(axis=1) if len(points) else np.empty(0)
    table = QTable(
        {
            "ra": sky[0] * u.deg,
            "dec": sky[1] * u.deg,
            "mu": mu,
            "mu_t": mu_t,
            "mu_r": mu_r,
            "kind": kind.astype("U7"),
            "order": np.arange(1, len(points) + 1),
            "delay": (fermat - fermat[:1].sum()) * days * u.day,
            "offset": separation * u.arcsec,
        },
        meta={"source_ra": float(lens.to_sky(*source)[0]), "source_dec": float(lens.to_sky(*source)[1]), "z": float(z)},
    )
    if n_draws:
        table["scatter"] = _scatter(lens, points, (x, y), ratio, step, n_draws, rng) * u.arcsec
    return table


def _mean_source(bx: FloatArray, by: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Return the mean source of several images, weighed by their magnification."""
    known = np.isfinite(bx) & np.isfinite(weight)
    w = weight[known] / weight[known].sum()
    return float(np.sum(w * bx[known])), float(np.sum(w * by[known]))


def _scatter(
    lens: LensModel,
    points: FloatArray,
    images: tuple[FloatArray, FloatArray],
    ratio: float,
    step: float,
    n_draws: int,
    rng: Any,
) -> FloatArray:
    """Return how far each image moves among realisations, with the given images where they are."""
    sums, counts = np.zeros(len(points)), np.zeros(len(points))
    x, y = images
    for index in lens.realisation_index(n_draws, rng=rng):
        sample = lens.realisation(int(index))
        ax, ay = sample.unit_deflection(x, y)
        k, g1, g2 = (ratio * part for part in sample.unit_jacobian(x, y))
        source = _mean_source(x - ratio * ax, y - ratio * ay, 1.0 / np.abs((1 - k) ** 2 - g1**2 - g2**2))
        for i, start in enumerate(points):
            moved = _newton(sample, start[None, :], source, ratio, longest=step)
            if len(moved):
                sums[i] += np.sum((moved[0] - start) ** 2)
                counts[i] += 1
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(sums / counts))
