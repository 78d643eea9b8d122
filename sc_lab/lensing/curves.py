"""Critical curves and caustics: where a model's magnification diverges, and what that is in the source plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.lensing.model import LensModel

__all__ = ["trace"]

#: Side of a cell of the first, coarse grid [arcsec].
_COARSE = 1.0


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
        Distance of the points that the lines are drawn through [arcsec].

    Returns
    -------
    list of ndarray
        Lines [arcsec], each of shape (n, 2); a closed one ends where it starts.

    Notes
    -----
    A coarse grid, kept with the model for every redshift, shows in which cells the eigenvalue changes sign; only
    they, their neighbours and the surroundings of strong galaxies are evaluated finely.
    """
    from contourpy import contour_generator

    factor = max(1, round(_COARSE / step))
    gx, gy, kappa, g1, g2 = lens.jacobian_grid(bounds, _COARSE)
    coarse = _eigenvalue(ratio, kind, kappa, g1, g2)
    fx = np.linspace(gx[0], gx[-1], (gx.size - 1) * factor + 1)
    fy = np.linspace(gy[0], gy[-1], (gy.size - 1) * factor + 1)
    fine = _between(coarse, fy, gy, fx, gx)
    cells = _cells(coarse, gx, gy, lens.hot_spots(ratio))
    wanted = np.zeros((fy.size, fx.size), dtype=bool)
    for j, i in zip(*np.nonzero(cells), strict=True):
        wanted[j * factor : (j + 1) * factor + 1, i * factor : (i + 1) * factor + 1] = True
    at_y, at_x = np.nonzero(wanted)
    fine[at_y, at_x] = _eigenvalue(ratio, kind, *lens.unit_jacobian(fx[at_x], fy[at_y]))
    lines = contour_generator(fx, fy, np.ma.masked_invalid(fine)).lines(0.0)
    return [np.asarray(line, dtype=float) for line in lines if len(line) > 3]


def _eigenvalue(ratio: float, kind: str, kappa: FloatArray, g1: FloatArray, g2: FloatArray) -> FloatArray:
    shear = np.hypot(g1, g2)
    return np.asarray(1.0 - ratio * (kappa + shear if kind == "tangential" else kappa - shear))


def _between(coarse: FloatArray, fy: FloatArray, gy: FloatArray, fx: FloatArray, gx: FloatArray) -> FloatArray:
    """Return a coarse grid interpolated linearly to a fine one."""
    rows = np.stack([np.interp(fy, gy, column) for column in coarse.T], axis=1)
    return np.stack([np.interp(fx, gx, row) for row in rows])


def _cells(coarse: FloatArray, gx: FloatArray, gy: FloatArray, hot: FloatArray) -> FloatArray:
    """Return which coarse cells are evaluated finely."""
    from scipy.ndimage import binary_dilation

    four = np.stack([coarse[:-1, :-1], coarse[1:, :-1], coarse[:-1, 1:], coarse[1:, 1:]])
    cells = (four.min(axis=0) < 0) & (four.max(axis=0) > 0)
    cells = binary_dilation(cells, iterations=1)
    for x, y, radius in hot:
        i = np.searchsorted(gx, (x - radius, x + radius)) - 1
        j = np.searchsorted(gy, (y - radius, y + radius)) - 1
        cells[max(j[0], 0) : j[1] + 1, max(i[0], 0) : i[1] + 1] = True
    return np.asarray(cells)
