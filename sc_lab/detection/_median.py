"""Compiled inner loop of the running median; imported where it is first used, because the compiler is slow to load."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True, nogil=True)
def _change(ranks: Any, y0: int, y1: int, x0: int, x1: int, by: int, fine: Any, middle: Any, coarse: Any) -> int:
    """Add (by=1) or remove (by=-1) the pixels of a strip; return the change of the number of pixels."""
    n = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            rank = ranks[y, x]
            if rank >= 0:
                fine[rank] += by
                middle[rank >> 5] += by
                coarse[rank >> 10] += by
                n += by
    return n


@numba.njit(cache=True, nogil=True)
def _place(k: int, fine: Any, middle: Any, coarse: Any) -> int:
    """Return the rank of the k-th smallest pixel in the window."""
    c = 0
    while coarse[c] <= k:
        k -= coarse[c]
        c += 1
    m = c << 5
    while middle[m] <= k:
        k -= middle[m]
        m += 1
    f = m << 5
    while fine[f] <= k:
        k -= fine[f]
        f += 1
    return f


@numba.njit(cache=True, nogil=True)
def median_tile(
    values: npt.NDArray[np.float64],
    ranks: npt.NDArray[np.int32],
    radius: int,
    y0: int,
    x0: int,
    out: npt.NDArray[np.float64],
) -> None:
    """Write the running median of a tile whose first output pixel is (y0, x0) of ``ranks``."""
    ny, nx = ranks.shape
    my, mx = out.shape
    n_coarse = (len(values) >> 10) + 1
    coarse = np.zeros(n_coarse, np.int32)
    middle = np.zeros(n_coarse << 5, np.int32)
    fine = np.zeros(n_coarse << 10, np.int32)
    ya, yb = max(y0 - radius, 0), min(y0 + radius + 1, ny)
    xa, xb = max(x0 - radius, 0), min(x0 + radius + 1, nx)
    n = _change(ranks, ya, yb, xa, xb, 1, fine, middle, coarse)
    i = j = 0
    step = 1
    while True:
        # The window walks to and fro, so that each move changes one row or one column only.
        if n > 0:
            low = values[_place((n - 1) >> 1, fine, middle, coarse)]
            if n & 1:
                out[i, j] = low
            else:
                out[i, j] = 0.5 * (low + values[_place(n >> 1, fine, middle, coarse)])
        else:
            out[i, j] = np.nan
        if 0 <= j + step < mx:
            j += step
            new_a, new_b = max(x0 + j - radius, 0), min(x0 + j + radius + 1, nx)
            if step > 0:
                n += _change(ranks, ya, yb, xa, new_a, -1, fine, middle, coarse)
                n += _change(ranks, ya, yb, xb, new_b, 1, fine, middle, coarse)
            else:
                n += _change(ranks, ya, yb, new_b, xb, -1, fine, middle, coarse)
                n += _change(ranks, ya, yb, new_a, xa, 1, fine, middle, coarse)
            xa, xb = new_a, new_b
        else:
            i += 1
            if i >= my:
                return
            step = -step
            new_a, new_b = max(y0 + i - radius, 0), min(y0 + i + radius + 1, ny)
            n += _change(ranks, ya, new_a, xa, xb, -1, fine, middle, coarse)
            n += _change(ranks, yb, new_b, xa, xb, 1, fine, middle, coarse)
            ya, yb = new_a, new_b
