"""Which points a hand-drawn outline encloses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["enclosed"]


def enclosed(x: Any, y: Any, outline: Any) -> npt.NDArray[np.bool_]:
    """Return which points lie inside an outline, by the even-odd rule.

    Parameters
    ----------
    x, y : array_like
        The points, shape (n,); a point that is not finite lies outside.
    outline : array_like
        Vertices, shape (m, 2), closed by itself. It may cross itself, as a quick hand does: hence
        not the test of `sc_lab.colours`, which refuses such a polygon.

    Returns
    -------
    ndarray of bool
        Shape (n,).
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    points = np.asarray(outline, dtype=float)
    inside = np.zeros(x.shape, dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside & np.isfinite(x) & np.isfinite(y)
