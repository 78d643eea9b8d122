"""Medians and asymmetric errors of draws."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError
from sc_lab.units import FloatArray, value_in

__all__ = ["LEVELS", "summarise"]

#: Quantiles that an error bar spans, and the median between them.
LEVELS = (0.16, 0.5, 0.84)

#: Objects sorted at once; keeps the copy in the cache and the memory flat.
_BLOCK = 2048


def summarise(draws: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the median of draws and the distances to their 16 and 84 % quantiles.

    Parameters
    ----------
    draws : array_like
        Shape (n_draws, n), in any one unit; NaN is passed over.

    Returns
    -------
    median, err_lo, err_hi : ndarray
        Shape (n,), in the unit of the draws, errors positive; NaN where an object has no draw.

    Raises
    ------
    InputError
        If ``draws`` is not two-dimensional or has no draws.

    Notes
    -----
    Quantiles are interpolated linearly between order statistics, as `numpy.nanquantile` does.

    Examples
    --------
    >>> import numpy as np
    >>> from sc_lab.properties import summarise
    >>> [float(part[0].round(2)) for part in summarise(np.arange(101.0)[:, None])]
    [50.0, 34.0, 34.0]
    """
    array = draws if isinstance(draws, np.ndarray) and type(draws) is np.ndarray else value_in(draws, u.one, "draws")
    if array.ndim != 2 or array.shape[0] == 0:
        msg = f"draws has the shape {array.shape}; give (n_draws, n) with at least one draw"
        raise InputError(msg)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    out = np.empty((len(LEVELS), array.shape[1]))
    for start in range(0, array.shape[1], _BLOCK):
        ordered = np.sort(array[:, start : start + _BLOCK].T.copy(), axis=1)
        out[:, start : start + _BLOCK] = _quantiles(ordered)
    low, median, high = out
    return median, median - low, high - median


def _quantiles(ordered: FloatArray) -> FloatArray:
    """Return the `LEVELS` of rows sorted with NaN at their end."""
    count = ordered.shape[1] - np.isnan(ordered).sum(axis=1)
    last = np.maximum(count - 1, 0)
    out = np.empty((len(LEVELS), len(ordered)))
    rows = np.arange(len(ordered))
    for level, row in zip(LEVELS, out, strict=True):
        position = level * last
        below = position.astype(np.intp)
        above = np.minimum(below + 1, last)
        foot = ordered[rows, below].astype(np.float64)
        row[:] = foot + (position - below) * (ordered[rows, above] - foot)
    out[:, count == 0] = np.nan
    return out
