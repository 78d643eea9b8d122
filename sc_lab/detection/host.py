"""Removal of the host galaxy's smooth light, so that compact clumps stand out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["HOST_METHODS", "HostSubtracted", "host_subtracted", "running_median", "subtract_host"]

#: What ``method=`` may be.
HOST_METHODS = ("median", "mesh", "none")

#: Pixels along the side of the tile that is ranked at once; small enough for the counters to stay in the cache.
_TILE = 180


@dataclass(frozen=True, eq=False)
class HostSubtracted:
    """A cut-out without its host.

    Attributes
    ----------
    data : ndarray, shape (ny, nx)
        Image minus host [nJy per pixel]; NaN where the image has no value.
    error : ndarray, shape (ny, nx)
        Error of the image [nJy per pixel]; not finite where the pixel cannot be used.
    host : ndarray, shape (ny, nx)
        What was subtracted.
    x0, y0 : int
        Pixel of the band at element (0, 0).
    """

    data: FloatArray
    error: FloatArray
    host: FloatArray
    x0: int
    y0: int


def host_subtracted(
    field: Any, band: str, x0: int, y0: int, nx: int, ny: int, *, method: str = "median", size: int = 21
) -> HostSubtracted:
    """Return a cut-out of a field's band with the smooth light of the host removed.

    Parameters
    ----------
    field : Field
        The images.
    band : str
        Name of the band.
    x0, y0 : int
        First pixel of the cut-out in the band.
    nx, ny : int
        Size of the cut-out.
    method : {'median', 'mesh', 'none'}
        Running median, smoothed mesh of clipped backgrounds, or nothing.
    size : int
        Side of the median's window, odd, or of a cell of the mesh [px].

    Returns
    -------
    HostSubtracted
        Image minus host, error, and host. Pixels beyond the cut-out are read too, so that its rim
        is as good as its middle.

    Raises
    ------
    InputError
        If the method is unknown or the size cannot be used.
    """
    _check(method, size)
    margin = {"median": size // 2, "mesh": 2 * size, "none": 0}[method]
    data, error = field[band].cutout(x0 - margin, y0 - margin, nx + 2 * margin, ny + 2 * margin)
    host = _host(data, error, method=method, size=size)
    inner = (slice(margin, margin + ny), slice(margin, margin + nx))
    return HostSubtracted(data[inner] - host[inner], error[inner], host[inner], x0, y0)


def subtract_host(data: Any, *, error: Any = None, method: str = "median", size: int = 21) -> FloatArray:
    """Return an image without the smooth light of the host.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Image; NaN where there is no value.
    error : array_like, shape (ny, nx), optional
        Its error; pixels with an error that is not finite and positive do not enter the host.
    method : {'median', 'mesh', 'none'}
        As for `host_subtracted`.
    size : int
        As for `host_subtracted`.

    Returns
    -------
    ndarray, shape (ny, nx)
        Image minus host; NaN where the image has no value.

    Raises
    ------
    InputError
        If the method is unknown, the size cannot be used, or the image is not two-dimensional.
    """
    _check(method, size)
    image = np.asarray(data, dtype=np.float64)
    return image - _host(image, None if error is None else np.asarray(error), method=method, size=size)


def running_median(data: Any, *, size: int = 21, mask: Any = None) -> FloatArray:
    """Return the median in a square window around each pixel.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Image; NaN where there is no value.
    size : int
        Side of the window, odd [px].
    mask : array_like of bool, shape (ny, nx), optional
        True where a pixel must not enter any median.

    Returns
    -------
    ndarray, shape (ny, nx)
        Median of the pixels with a value; NaN where a window has none. At the rim the window is
        cut off: nothing is reflected or made up.

    Raises
    ------
    InputError
        If the size is not a positive odd number or the image is not two-dimensional.

    Notes
    -----
    Exact, not binned: the pixels of a tile are ranked once, and the window's counts of ranks are
    kept in three levels while it moves, after Huang, Yang & Tang 1979. The time per pixel grows
    with the side of the window, not with its area.
    """
    _check("median", size)
    image = np.asarray(data, dtype=np.float64)
    if image.ndim != 2:
        msg = f"data has {image.ndim} dimensions; give an image (ny, nx)"
        raise InputError(msg)
    valid = np.isfinite(image)
    if mask is not None:
        valid &= ~np.asarray(mask, dtype=bool)
    median = _compiled_median()
    radius = size // 2
    if median is None:
        return _plain_median(np.where(valid, image, np.nan), radius)
    step = max(64, _TILE - 2 * radius)
    out = np.full(image.shape, np.nan)
    ny, nx = image.shape
    for y0 in range(0, ny, step):
        for x0 in range(0, nx, step):
            y1, x1 = min(y0 + step, ny), min(x0 + step, nx)
            ya, xa, yb, xb = max(y0 - radius, 0), max(x0 - radius, 0), min(y1 + radius, ny), min(x1 + radius, nx)
            values, ranks = _ranked(image[ya:yb, xa:xb], valid[ya:yb, xa:xb])
            median(values, ranks, radius, y0 - ya, x0 - xa, out[y0:y1, x0:x1])
    return out


def _check(method: str, size: int) -> None:
    if method not in HOST_METHODS:
        msg = f"method is {method!r}; choose one of {', '.join(HOST_METHODS)}"
        raise InputError(msg)
    if method == "median" and (int(size) != size or size < 1 or size % 2 == 0):
        msg = f"size is {size}; a running median needs an odd number of pixels, such as 21"
        raise InputError(msg)
    if method == "mesh" and (int(size) != size or size < 3):
        msg = f"size is {size}; a cell of the mesh needs at least 3 pixels"
        raise InputError(msg)


def _host(data: FloatArray, error: npt.NDArray[Any] | None, *, method: str, size: int) -> FloatArray:
    if data.ndim != 2:
        msg = f"data has {data.ndim} dimensions; give an image (ny, nx)"
        raise InputError(msg)
    if method == "none":
        return np.zeros(data.shape)
    bad = ~np.isfinite(data)
    if error is not None:
        # A band without an error map hands out NaN everywhere: its pixels are still pixels.
        unusable = ~(np.isfinite(error) & (error > 0))
        if not unusable.all():
            bad |= unusable
    if method == "median":
        return running_median(data, size=size, mask=bad)
    import sep

    if bad.all():
        return np.full(data.shape, np.nan)
    image = np.ascontiguousarray(np.where(bad, 0.0, data))
    return np.asarray(sep.Background(image, mask=bad, bw=size, bh=size, fw=3, fh=3).back(), dtype=np.float64)


def _ranked(image: FloatArray, valid: npt.NDArray[np.bool_]) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """Return the sorted values of a tile and, for each pixel, its place among them (-1 where invalid)."""
    flat = image[valid]
    order = np.argsort(flat)
    ranks = np.full(image.shape, -1, dtype=np.int32)
    places = np.empty(len(flat), dtype=np.int32)
    places[order] = np.arange(len(flat), dtype=np.int32)
    ranks[valid] = places
    return flat[order], ranks


@cache
def _compiled_median() -> Callable[..., None] | None:
    """Return the compiled window, kept on disk after its first use; None where nothing can be compiled."""
    try:
        from sc_lab.detection._median import median_tile
    except (ImportError, RuntimeError):
        # Not installed, or no folder is writable to keep the machine code in.
        return None
    compiled: Callable[..., None] = median_tile
    return compiled


def _plain_median(image: FloatArray, radius: int) -> FloatArray:
    """Return the running median by sorting every window: slow, obvious, and what the fast one is tested against."""
    size = 2 * radius + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, radius, constant_values=np.nan), (size, size))
    out = np.full(image.shape, np.nan)
    for row, line in zip(out, windows, strict=True):
        known = np.isfinite(line).any(axis=(1, 2))
        if known.any():
            row[known] = np.nanmedian(line[known], axis=(1, 2))
    return out
