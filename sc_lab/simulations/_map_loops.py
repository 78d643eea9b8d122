"""The loop that counts particles in the cells of a picture, compiled once for each machine."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["add_counts", "compiled"]


def add_counts(position: Any, first: int, second: int, corner: Any, per_length: Any, weights: Any, out: Any) -> None:
    """Add particles to the cells of a picture; those outside are left out.

    Parameters
    ----------
    position : ndarray, shape (n, 3)
        Positions.
    first, second : int
        Axes along the picture and up.
    corner, per_length : ndarray, shape (2,)
        Lower left corner, and cells in a unit of length.
    weights : ndarray, shape (n,) or (0,)
        What is added for each particle; 1 where there are none.
    out : ndarray, shape (ny, nx)
        The picture, added to.
    """
    n_y, n_x = out.shape
    weighted = len(weights) > 0
    for i in range(len(position)):
        x = (position[i, first] - corner[0]) * per_length[0]
        y = (position[i, second] - corner[1]) * per_length[1]
        if 0.0 <= x < n_x and 0.0 <= y < n_y:
            out[int(y), int(x)] += weights[i] if weighted else 1.0


@functools.cache
def compiled() -> Any:
    """Return the compiled loop.

    Returns
    -------
    callable
        `add_counts`, compiled at its first call; it holds no lock.
    """
    import numba

    try:
        return numba.njit(nogil=True, cache=True)(add_counts)
    except RuntimeError:  # no folder that a cache could be written to
        return numba.njit(nogil=True)(add_counts)
