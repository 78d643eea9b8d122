"""Sky polygons on the pixel grid of a band: boxes, masks and fractions of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.images.galaxy import Galaxy
from sc_lab.units import FloatArray

__all__ = ["contour_box", "contour_coverage", "contour_pixels", "polygon_coverage"]


def polygon_coverage(vertices: Any, x0: int, y0: int, nx: int, ny: int, *, subpixels: int = 1) -> FloatArray:
    """Return how much of each pixel a polygon covers.

    Parameters
    ----------
    vertices : array_like, shape (n, 2)
        Vertices (x, y) in pixels; a pixel's centre has integer coordinates. The last side closes itself.
    x0, y0 : int
        First pixel of the grid.
    nx, ny : int
        Size of the grid.
    subpixels : int
        Points per side of a pixel at which is asked whether they lie inside; 1 asks at the centre.

    Returns
    -------
    ndarray, shape (ny, nx)
        Fraction from 0 to 1.

    Raises
    ------
    InputError
        If the vertices are not finite pairs or ``subpixels`` is not positive.
    """
    points = np.asarray(vertices, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        msg = f"vertices have the shape {points.shape} or are not finite; give (n, 2) finite pixel coordinates"
        raise InputError(msg)
    if subpixels < 1:
        msg = f"subpixels is {subpixels}; give a whole number of at least 1"
        raise InputError(msg)
    s = int(subpixels)
    # Places of the samples, in samples: number k lies at (k + 0.5)/s - 0.5 pixels.
    x = (points[:, 0] - x0 + 0.5) * s - 0.5
    y = (points[:, 1] - y0 + 0.5) * s - 0.5
    x_end, y_end = np.roll(x, -1), np.roll(y, -1)
    low = np.clip(np.ceil(np.minimum(y, y_end)), 0, ny * s).astype(np.intp)
    high = np.clip(np.ceil(np.maximum(y, y_end)), 0, ny * s).astype(np.intp)
    count = high - low
    # Every side crosses the rows from low up to high: one entry for each of these crossings.
    side = np.repeat(np.arange(len(points)), count)
    rows = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + low[side]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x_end - x) / (y_end - y)
    crossing = x[side] + (rows - y[side]) * slope[side]
    columns = np.clip(np.ceil(crossing), 0, nx * s).astype(np.intp)
    width = nx * s + 1
    flips = np.bincount(rows * width + columns, minlength=ny * s * width).reshape(ny * s, width)
    inside = (np.cumsum(flips[:, :-1], axis=1) & 1).astype(np.float64)
    if s == 1:
        return inside
    return np.asarray(inside.reshape(ny, s, nx, s).mean(axis=(1, 3)))


def contour_pixels(band: Any, contour: Any) -> FloatArray:
    """Return the vertices of a contour in pixels of a band.

    Parameters
    ----------
    band : Band
        One image of a field.
    contour : Galaxy or array_like, shape (n, 2)
        Vertices (ra, dec) [deg].

    Returns
    -------
    ndarray, shape (n, 2)
        Vertices (x, y).

    Raises
    ------
    InputError
        If the contour does not fall on the band's sky.
    """
    sky = contour.contour if isinstance(contour, Galaxy) else Galaxy(id="region", contour=contour).contour
    x, y = band.to_pixel(sky[:, 0], sky[:, 1])
    points = np.stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)], axis=-1)
    if not np.isfinite(points).all():
        msg = f"the contour lies on the other side of the sky from band {getattr(band, 'name', '')}; check its degrees"
        raise InputError(msg)
    return points


def contour_box(band: Any, contour: Any, *, margin: int = 0) -> tuple[int, int, int, int]:
    """Return the box of pixels that holds a contour, cut at the rim of the band.

    Parameters
    ----------
    band : Band
        One image of a field.
    contour : Galaxy or array_like, shape (n, 2)
        Vertices (ra, dec) [deg].
    margin : int
        Pixels added on each side.

    Returns
    -------
    tuple of int
        x0, y0, nx, ny; nx or ny is 0 where the contour lies outside the band.
    """
    points = contour_pixels(band, contour)
    ny, nx = band.shape
    # The outer limits first: a contour far away must not become an integer that does not fit.
    low = np.clip(np.floor(points.min(axis=0) + 0.5) - margin, 0, [nx, ny]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) - 0.5) + 1 + margin, 0, [nx, ny]).astype(int)
    size = np.maximum(high - low, 0)
    return int(low[0]), int(low[1]), int(size[0]), int(size[1])


def contour_coverage(band: Any, contour: Any, x0: int, y0: int, nx: int, ny: int, *, subpixels: int = 1) -> FloatArray:
    """Return how much of each pixel of a cut-out a contour covers.

    Parameters
    ----------
    band : Band
        One image of a field.
    contour : Galaxy or array_like, shape (n, 2)
        Vertices (ra, dec) [deg].
    x0, y0 : int
        First pixel of the cut-out.
    nx, ny : int
        Size of the cut-out.
    subpixels : int
        As for `polygon_coverage`.

    Returns
    -------
    ndarray, shape (ny, nx)
        Fraction from 0 to 1.
    """
    return polygon_coverage(contour_pixels(band, contour), x0, y0, nx, ny, subpixels=subpixels)
