"""The loops of friends-of-friends under the compiler, compiled once for each machine."""

from __future__ import annotations

import functools
from typing import Any

from sc_lab.errors import OptionalDependencyError
from sc_lab.simulations import _fof_loops

__all__ = ["loops"]

_HELPERS = (
    "plane_of",
    "root_of",
    "touching",
    "first_at_least",
    "join_pair",
    "join_column",
    "join_inside",
    "join_wrapped",
)
_LOOPS = ("count_planes", "scatter_planes", "sort_planes", "list_cells", "join_planes", "count_cells", "label")


@functools.cache
def loops() -> dict[str, Any]:
    """Return the loops, compiled at their first call; they hold no lock, so threads run them side by side."""
    try:
        import numba
    except ImportError as err:
        msg = "friends_of_friends needs numba, which is not installed; install it, or use method='tree'"
        raise OptionalDependencyError(msg) from err
    from numba.extending import register_jitable

    for name in _HELPERS:
        register_jitable(getattr(_fof_loops, name))
    out = {}
    for name in _LOOPS:
        loop = getattr(_fof_loops, name)
        try:
            out[name] = numba.njit(nogil=True, cache=True)(loop)
        except RuntimeError:  # no folder that a cache could be written to
            out[name] = numba.njit(nogil=True)(loop)
    return out
