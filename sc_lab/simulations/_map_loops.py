"""The loop that counts particles in the cells of a picture, compiled once for each machine."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["add_counts", "compiled"]


def add_counts(position: Any, first: int, second: int, corner: Any, per_length: Any, weights: Any, out: Any) -> None:
    """Add particles, or their weights where there are any, to the cells of a picture; those outside are left out."""
    n_y, n_x = out.shape
    weighted = len(weights) > 0
    for i in range(len(position)):
        x = (position[i, first] - corner[0]) * per_length[0]
        y = (position[i, second] - corner[1]) * per_length[1]
        if 0.0 <= x < n_x and 0.0 <= y < n_y:
            out[int(y), int(x)] += weights[i] if weighted else 1.0


@functools.cache
def compiled() -> Any:
    """Return the compiled loop; it holds no lock."""
    import numba

    try:
        return numba.njit(nogil=True, cache=True)(add_counts)
    except RuntimeError:  # no folder that a cache could be written to
        return numba.njit(nogil=True)(add_counts)
