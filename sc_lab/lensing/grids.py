"""Local interpolation of maps, and of their derivatives, from six points along each axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from sc_lab.units import FloatArray

__all__ = ["derivative", "interpolate"]

_NODES = np.arange(-2.0, 4.0)


def _weights(offset: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weights of the Lagrange polynomial through six nodes, and their derivatives, shape (n, 6)."""
    value = np.empty((offset.size, 6))
    slope = np.zeros((offset.size, 6))
    for k in range(6):
        others = np.delete(_NODES, k)
        scale = np.prod(_NODES[k] - others)
        gaps = offset[:, None] - others
        value[:, k] = np.prod(gaps, axis=1) / scale
        for j in range(5):
            slope[:, k] += np.prod(np.delete(gaps, j, axis=1), axis=1)
        slope[:, k] /= scale
    return value, slope


def _stencil(plane: Any, x: FloatArray, y: FloatArray) -> tuple[FloatArray, tuple[FloatArray, ...], Any]:
    """Return the 6 x 6 neighbourhoods, the weights along x and y, and which points lie inside."""
    ny, nx = plane.shape
    inside = (x >= 0) & (x <= nx - 1) & (y >= 0) & (y <= ny - 1)
    safe_x, safe_y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
    # Near the border the stencil is shifted inwards, so that the last pixels count too.
    i = np.clip(np.floor(safe_x).astype(np.intp), 2, nx - 4)
    j = np.clip(np.floor(safe_y).astype(np.intp), 2, ny - 4)
    steps = np.arange(-2, 4)
    patch = np.asarray(plane[(j[:, None] + steps)[:, :, None], (i[:, None] + steps)[:, None, :]], dtype=np.float64)
    patch[~inside] = np.nan
    return patch, (*_weights(safe_x - i), *_weights(safe_y - j)), inside


def interpolate(plane: Any, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return a map between its pixels.

    Parameters
    ----------
    plane : ndarray
        The map, shape (ny, nx), at least six pixels a side; may stay on disk.
    x, y : ndarray
        Pixel coordinates, shape (n,), the centre of a pixel at an integer.

    Returns
    -------
    ndarray
        float64, shape (n,); NaN outside, and where one of the 36 neighbours is NaN.

    Notes
    -----
    The quintic through six points along each axis: its error falls with the sixth power of the pixel, it touches
    no pixel beyond the neighbours, and a hole in the map stays a hole of its own size.
    """
    patch, (wx, _, wy, _), _ = _stencil(plane, np.atleast_1d(x), np.atleast_1d(y))
    return np.asarray(np.einsum("njk,nj,nk->n", patch, wy, wx))


def derivative(plane: Any, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the slopes of a map between its pixels.

    Parameters
    ----------
    plane : ndarray
        The map, shape (ny, nx), at least six pixels a side.
    x, y : ndarray
        Pixel coordinates, shape (n,).

    Returns
    -------
    tuple of ndarray
        Derivatives along x and y [per pixel]; NaN as `interpolate`.
    """
    patch, (wx, dx, wy, dy), _ = _stencil(plane, np.atleast_1d(x), np.atleast_1d(y))
    return np.einsum("njk,nj,nk->n", patch, wy, dx), np.einsum("njk,nj,nk->n", patch, dy, wx)
