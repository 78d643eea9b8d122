"""Boxes of pixels out of a band, many at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.units import FloatArray

__all__ = ["BoxReader"]

#: A region of up to this many pixels is read once and cut in memory: faster than one read per clump.
_READ_AT_ONCE = 9_000_000


class BoxReader:
    """Cuts boxes out of a band; close ones from one read.

    Parameters
    ----------
    band : Band
        The image.
    x0, y0 : ndarray
        Lower left pixels of all boxes to come.
    size : int
        Largest side of the boxes.
    """

    def __init__(self, band: Any, x0: npt.NDArray[np.int64], y0: npt.NDArray[np.int64], size: int) -> None:
        self.band = band
        self._region: tuple[int, int, FloatArray, FloatArray] | None = None
        if len(x0) == 0:
            return
        ny, nx = band.shape
        left, bottom = max(int(x0.min()), -size), max(int(y0.min()), -size)
        right, top = min(int(x0.max()) + size, nx + size), min(int(y0.max()) + size, ny + size)
        if (
            right > left
            and top > bottom
            and (right - left) * (top - bottom) <= min(_READ_AT_ONCE, 3000 * len(x0) + 400)
        ):
            data, error = band.cutout(left, bottom, right - left, top - bottom)
            self._region = left, bottom, data, error

    def read(self, x0: npt.NDArray[np.int64], y0: npt.NDArray[np.int64], size: int) -> tuple[FloatArray, FloatArray]:
        """Return data and errors of boxes, (n, size, size) in nJy per pixel; NaN where there is nothing.

        Parameters
        ----------
        x0, y0 : ndarray
            Lower left pixels.
        size : int
            Side of the boxes.

        Returns
        -------
        data, error : ndarray
            (n, size, size).
        """
        out = np.full((2, len(x0), size, size), np.nan)
        for i, (x, y) in enumerate(zip(x0.tolist(), y0.tolist(), strict=True)):
            if self._region is not None:
                left, bottom, data, error = self._region
                u, v = x - left, y - bottom
                if u >= 0 and v >= 0 and u + size <= data.shape[1] and v + size <= data.shape[0]:
                    out[0, i], out[1, i] = data[v : v + size, u : u + size], error[v : v + size, u : u + size]
                    continue
            if x < self.band.shape[1] and y < self.band.shape[0] and x + size > 0 and y + size > 0:
                out[0, i], out[1, i] = self.band.cutout(x, y, size, size)
        return out[0], out[1]
