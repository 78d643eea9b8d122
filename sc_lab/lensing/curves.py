"""Critical curves and caustics: where a model's magnification diverges, and what that is in the source plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.lensing.model import LensModel

__all__ = ["trace"]

#: Side of a cell of the first, coarse grid [arcsec], in boxes of 20 arcsec and more.
_COARSE = 1.0

#: Most points of the finest grid, which keeps its numbers below a gigabyte.
_MOST_POINTS = 1e7


def trace(
    lens: LensModel, ratio: float, kind: str, bounds: tuple[float, float, float, float], step: float
) -> list[FloatArray]:
    """Return the zero lines of an eigenvalue of the Jacobian.

    Parameters
    ----------
    lens : LensModel
        The model.
    ratio : float
        D_LS/D_S of the source.
    kind : {"tangential", "radial"}
        Which eigenvalue.
    bounds : tuple of float
        Part of the image plane [arcsec]: x from, x to, y from, y to.
    step : float
        Distance of the points that the lines are drawn through [arcsec], rounded to 1, 1/2, 1/4, ...

    Returns
    -------
    list of ndarray
        Lines [arcsec], each of shape (n, 2); a closed one ends where it starts.

    Raises
    ------
    InputError
        If the bounds have no area, or the step is not above 0 or so small that the grid would fill the memory.

    Notes
    -----
    A coarse grid, kept with the model for every redshift, shows in which cells the eigenvalue changes sign. They,
    their neighbours and the surroundings of strong galaxies are halved, evaluated, and so on down to ``step``.
    """
    from contourpy import contour_generator

    # In a small box a critical curve may pass between the corners of a cell of an arcsecond.
    width, height = bounds[1] - bounds[0], bounds[3] - bounds[2]
    if not (0 < width < np.inf and 0 < height < np.inf):
        msg = f"bounds are {bounds}; give x from, x to, y from, y to [arcsec], each to larger than its from"
        raise InputError(msg)
    if not 0 < step < np.inf:
        msg = f"step is {step}; give a distance of points above 0 [arcsec], such as 0.25"
        raise InputError(msg)
    finest = np.sqrt(width * height / _MOST_POINTS)
    if step < finest:
        msg = (
            f"step is {step:g} arcsec, {width * height / step**2:.1e} points in {width:g} x {height:g} arcsec; "
            f"give at least {finest:.2g} or smaller bounds"
        )
        raise InputError(msg)
    side = max(width, height)
    coarse = max(min(_COARSE, side / 20.0), step)
    gx, gy, kappa, g1, g2 = lens.jacobian_grid(bounds, coarse)
    values = _eigenvalue(ratio, kind, kappa, g1, g2)
    exact = np.ones(values.shape, dtype=bool)
    hot = lens.hot_spots(ratio)
    while gx[1] - gx[0] > 1.3 * step:
        cells = _cells(values, gx, gy, hot)
        fx, fy = (np.linspace(each[0], each[-1], 2 * each.size - 1) for each in (gx, gy))
        values = _between(values, fy, gy, fx, gx)
        wanted = np.zeros(values.shape, dtype=bool)
        for dj in range(3):
            for di in range(3):
                rows, columns = slice(dj, fy.size - 2 + dj, 2), slice(di, fx.size - 2 + di, 2)
                wanted[rows, columns] |= cells
        known = np.zeros(values.shape, dtype=bool)
        known[::2, ::2] = exact
        at_y, at_x = np.nonzero(wanted & ~known)
        values[at_y, at_x] = _eigenvalue(ratio, kind, *lens.unit_jacobian(fx[at_x], fy[at_y]))
        exact = known | wanted
        gx, gy = fx, fy
    lines = contour_generator(gx, gy, np.ma.masked_invalid(values)).lines(0.0)
    return [np.asarray(line, dtype=float) for line in lines if len(line) > 3]


def _eigenvalue(ratio: float, kind: str, kappa: FloatArray, g1: FloatArray, g2: FloatArray) -> FloatArray:
    shear = np.hypot(g1, g2)
    return np.asarray(1.0 - ratio * (kappa + shear if kind == "tangential" else kappa - shear))


def _between(coarse: FloatArray, fy: FloatArray, gy: FloatArray, fx: FloatArray, gx: FloatArray) -> FloatArray:
    """Return a coarse grid interpolated linearly to a fine one."""
    rows = np.stack([np.interp(fy, gy, column) for column in coarse.T], axis=1)
    return np.asarray(np.stack([np.interp(fx, gx, row) for row in rows]))


def _cells(values: FloatArray, gx: FloatArray, gy: FloatArray, hot: FloatArray) -> FloatArray:
    """Return which cells are halved."""
    from scipy.ndimage import binary_dilation

    four = np.stack([values[:-1, :-1], values[1:, :-1], values[:-1, 1:], values[1:, 1:]])
    cells = (four.min(axis=0) < 0) & (four.max(axis=0) > 0)
    cells = binary_dilation(cells, iterations=1)
    for x, y, radius in hot:
        i = np.searchsorted(gx, (x - radius, x + radius)) - 1
        j = np.searchsorted(gy, (y - radius, y + radius)) - 1
        cells[max(j[0], 0) : j[1] + 1, max(i[0], 0) : i[1] + 1] = True
    return np.asarray(cells)
