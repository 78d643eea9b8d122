"""Noise measured on blank sky: its scatter beside the error map, and how far neighbouring pixels share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sc_lab.images.fitsfiles import PixelSource, forget_pages
from sc_lab.units import FloatArray

__all__ = ["SkyNoise", "measure_noise"]

Box = tuple[int, int, int, int]

#: Lags of the autocorrelation [px]; drizzled mosaics correlate over two or three pixels.
LAGS = 5
#: Rows and columns of a tile; wide and low in a large mosaic, of which a disk fetches every row by itself.
_TILE, _LARGE_TILE = (128, 128), (64, 256)
_LARGE = 3000**2
_FEWEST_PIXELS = 400
#: Width of the local background under the autocorrelation [px].
_LOCAL = 8.0
_MOST_TILES = 64


@dataclass(frozen=True, eq=False)
class SkyNoise:
    """What the blank sky of a band says about its noise.

    Parameters
    ----------
    scatter : float
        Standard deviation of one pixel; NaN where there is too little sky.
    ratio : float
        Median of the error map on blank sky over the scatter; 1 for an honest map, NaN without a map.
    correlation : ndarray, shape (11, 11), or None
        Autocorrelation, 1 in the middle.
    n_pixels : int
        Blank pixels used.
    unusable_fraction : float
        Share of the sampled, unmasked pixels with data whose error is NaN, zero or negative.
    """

    scatter: float
    ratio: float
    correlation: FloatArray | None
    n_pixels: int
    unusable_fraction: float


def measure_noise(
    image: PixelSource,
    errors: Callable[[Box, FloatArray], FloatArray] | None = None,
    *,
    mask: PixelSource | None = None,
    sky: PixelSource | None = None,
    n_tiles: int = 9,
    lags: int = LAGS,
) -> SkyNoise:
    """Measure the noise of an image on a grid of tiles.

    Parameters
    ----------
    image : PixelSource
        The image.
    errors : callable, optional
        Gives usable errors (NaN elsewhere) for a box (y0, y1, x0, x1) and its pixels, in the image's unit.
    mask : PixelSource, optional
        Not zero = excluded.
    sky : PixelSource, optional
        Blank sky with the same processing; scatter and correlation are then measured there.
    n_tiles : int, optional
        Tiles sampled, spread evenly, so that the cost does not depend on the size of the mosaic.
    lags : int, optional
        Largest lag of the autocorrelation [px].

    Returns
    -------
    SkyNoise
        Medians over tiles, in the image's unit.

    Notes
    -----
    In each tile the local background (a median on a coarse mesh) is taken off, then what stands above 3 sigma after
    a small smoothing is masked together with its surroundings, so that faint wings do not pass for noise. The mesh
    takes off noise too: with cells of 42 px and correlations over 3 px the scatter falls by less than 1 %.
    """
    scatters: list[float] = []
    medians: list[float] = []
    sums: list[FloatArray] = []
    counts: list[FloatArray] = []
    unusable, inside, used = 0, 0, 0
    for box in _tiles(image.shape, n_tiles):
        data = image.read(*box)
        usable = _with_value(data)
        if not usable.any():
            continue
        if mask is not None:
            usable &= mask.read(*box) == 0
        error = None
        if errors is not None:
            error = errors(box, data)
            inside += int(usable.sum())
            unusable += int((usable & np.isnan(error)).sum())
            usable &= np.isfinite(error)
        blank, residual = _blank_sky(data, usable)
        if error is not None and blank.any():
            medians.append(float(np.median(error[blank])))
        if sky is None:
            used += _add_tile(residual, blank, lags, scatters, sums, counts)
        # Tiles lie all over the mosaic and are not wanted again.
        forget_pages()
    if sky is not None:
        for box in _tiles(sky.shape, n_tiles):
            data = sky.read(*box)
            blank, residual = _blank_sky(data, _with_value(data))
            used += _add_tile(residual, blank, lags, scatters, sums, counts)
    share = unusable / inside if inside else 0.0
    if not scatters:
        if n_tiles < _MOST_TILES and image.shape[0] * image.shape[1] > n_tiles * _TILE[0] * _TILE[1]:
            # A turned or patchy mosaic may have no data under the first tiles.
            return measure_noise(image, errors, mask=mask, sky=sky, n_tiles=_MOST_TILES, lags=lags)
        return SkyNoise(np.nan, np.nan, None, 0, share)
    scatter = float(np.median(scatters))
    pairs = np.sum(counts, axis=0)
    covariance = np.sum(sums, axis=0) / np.maximum(pairs, 1)
    correlation = None
    if pairs.min() >= _FEWEST_PIXELS and covariance[lags, lags] > 0:
        # The local background takes some of the noise that pixels share too: a negative level at the largest lags.
        rim = np.concatenate([covariance[0], covariance[-1], covariance[1:-1, 0], covariance[1:-1, -1]])
        covariance = covariance - min(float(rim.mean()), 0.0)
        correlation = covariance / covariance[lags, lags]
    ratio = float(np.median(medians)) / scatter if medians else np.nan
    return SkyNoise(scatter, ratio, correlation, used, share)


def _with_value(data: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which pixels hold data; many zeros are what resampling writes where there was no exposure."""
    finite = np.isfinite(data)
    zero = data == 0
    if np.count_nonzero(zero) > 0.01 * data.size:
        finite &= ~zero
    return finite


def _add_tile(
    residual: FloatArray,
    blank: npt.NDArray[np.bool_],
    lags: int,
    scatters: list[float],
    sums: list[FloatArray],
    counts: list[FloatArray],
) -> int:
    """Add one tile's scatter and lag products; return its number of blank pixels (0 when it is no use)."""
    n = int(blank.sum())
    if n < _FEWEST_PIXELS:
        return 0
    values = residual[blank]
    middle = float(np.median(values))
    scatter = 1.4826 * float(np.median(np.abs(values - middle)))
    if not scatter > 0:
        return 0
    scatters.append(scatter)
    # In units of the scatter, so that no pixel value is too large for a product, and in a deep part as in a shallow one.
    unit = np.where(blank, (residual - middle) / scatter, 0.0)
    product, count = _lag_products(np.where(blank, unit - _local_mean(unit, blank), 0.0), blank, lags)
    sums.append(product)
    counts.append(count)
    return n


def _local_mean(values: FloatArray, blank: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the mean of blank pixels nearby: light of hosts and wings that the coarse mesh leaves."""
    weight = ndimage.gaussian_filter(blank.astype(np.float64), _LOCAL)
    return np.asarray(ndimage.gaussian_filter(values, _LOCAL) / np.maximum(weight, 1e-3))


def _tiles(shape: tuple[int, int], n_tiles: int) -> list[Box]:
    """Return (y0, y1, x0, x1) of tiles spread over an image; a small image is one tile or a few."""
    ny, nx = shape
    tile = _LARGE_TILE if ny * nx > _LARGE else _TILE
    side_y, side_x = min(tile[0], ny), min(tile[1], nx)
    if ny * nx <= 2 * n_tiles * side_y * side_x:
        rows, columns = max(ny // side_y, 1), max(nx // side_x, 1)
    else:
        rows = max(round(np.sqrt(n_tiles * ny / nx)), 1)
        columns = max(n_tiles // rows, 1)
    ys = np.unique(np.round((np.arange(rows) + 0.5) * ny / rows - side_y / 2).astype(int).clip(0, ny - side_y))
    xs = np.unique(np.round((np.arange(columns) + 0.5) * nx / columns - side_x / 2).astype(int).clip(0, nx - side_x))
    return [(int(y), int(y) + side_y, int(x), int(x) + side_x) for y in ys for x in xs]


def _blank_sky(data: FloatArray, finite: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Return which pixels are blank sky, and the data without the local background."""
    blank = finite.copy()
    residual = np.where(finite, data, 0.0)
    if blank.sum() < _FEWEST_PIXELS:
        return np.zeros_like(blank), residual
    for _ in range(4):
        residual = np.where(finite, data, 0.0) - _background(data, blank)
        values = residual[blank]
        middle = np.median(values)
        sigma = 1.4826 * np.median(np.abs(values - middle))
        if not sigma > 0:
            break
        # Sources are wide and positive: look for them in a smoothed image, whose scatter is measured too.
        smooth = ndimage.gaussian_filter(np.where(blank, residual - middle, 0.0), 1.5)
        smooth_sigma = 1.4826 * np.median(np.abs(smooth[blank] - np.median(smooth[blank])))
        raw = np.where(finite, residual - middle, 0.0)
        sources = (ndimage.gaussian_filter(raw, 1.5) > 3 * max(smooth_sigma, 1e-300)) | (np.abs(raw) > 5 * sigma)
        new = finite & ~ndimage.binary_dilation(sources, iterations=3)
        if new.sum() < _FEWEST_PIXELS or (new == blank).all():
            break
        blank = new
    return blank, residual


def _background(data: FloatArray, blank: npt.NDArray[np.bool_], mesh: int = 42) -> FloatArray:
    """Return the median of blank pixels on a coarse mesh, interpolated linearly."""
    ny, nx = data.shape
    rows, columns = max(ny // mesh, 1), max(nx // mesh, 1)
    everywhere = float(np.median(data[blank]))
    grid = np.full((rows, columns), everywhere)
    y_edges, x_edges = np.linspace(0, ny, rows + 1).astype(int), np.linspace(0, nx, columns + 1).astype(int)
    for i in range(rows):
        for j in range(columns):
            cell = np.s_[y_edges[i] : y_edges[i + 1], x_edges[j] : x_edges[j + 1]]
            values = data[cell][blank[cell]]
            if values.size > 50:
                grid[i, j] = np.median(values)
    at_y = (np.arange(ny) + 0.5) * rows / ny - 0.5
    at_x = (np.arange(nx) + 0.5) * columns / nx - 0.5
    points = np.meshgrid(at_y, at_x, indexing="ij")
    return np.asarray(ndimage.map_coordinates(grid, points, order=1, mode="nearest"))


def _lag_products(values: FloatArray, blank: npt.NDArray[np.bool_], lags: int) -> tuple[FloatArray, FloatArray]:
    """Return sums of products of pixels a lag apart, and how many pairs each has."""
    side = 2 * lags + 1
    sums, counts = np.zeros((side, side)), np.zeros((side, side))
    weight = blank.astype(np.float64)
    ny, nx = values.shape
    for dy in range(lags + 1):
        for dx in range(-lags, lags + 1):
            if ny - dy < 1 or nx - abs(dx) < 1:
                continue
            here = np.s_[: ny - dy, max(0, -dx) : nx - max(0, dx)]
            there = np.s_[dy:, max(0, dx) : nx + min(0, dx)]
            product, count = float((values[here] * values[there]).sum()), float((weight[here] * weight[there]).sum())
            sums[lags + dy, lags + dx] = sums[lags - dy, lags - dx] = product
            counts[lags + dy, lags + dx] = counts[lags - dy, lags - dx] = count
    return sums, counts
