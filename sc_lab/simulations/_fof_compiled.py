"""The loops of friends-of-friends under the compiler, compiled once for each machine."""

from __future__ import annotations

import functools
from typing import Any

from sc_lab.errors import OptionalDependencyError
from sc_lab.simulations import _fof_joining, _fof_numbering, _fof_sorting

__all__ = ["loops"]

_HELPERS = (
    _fof_sorting.plane_of,
    _fof_sorting.stride_of,
    _fof_sorting.bits_of,
    _fof_sorting.find_keys,
    _fof_sorting.sorting_order,
    _fof_sorting.sort_plane,
    _fof_joining.root_of,
    _fof_joining.unite,
    _fof_joining.are_friends,
    _fof_joining.touching,
    _fof_joining.list_plane,
    _fof_joining.after,
    _fof_joining.join_within,
    _fof_joining.join_cells,
    _fof_joining.join_beside,
    _fof_joining.first_at_least,
    _fof_joining.join_around,
    _fof_joining.join_two,
)
_LOOPS = (
    _fof_sorting.survey,
    _fof_sorting.count_planes,
    _fof_sorting.scatter_planes,
    _fof_joining.join_planes,
    _fof_joining.join_across,
    _fof_numbering.count_members,
    _fof_numbering.write_labels,
    _fof_numbering.number_alone,
)


@functools.cache
def loops() -> dict[str, Any]:
    """Return the loops, compiled at their first call; they hold no lock, so threads run them side by side."""
    try:
        import numba
    except ImportError as err:
        msg = "friends_of_friends needs numba, which is not installed; install it, or use method='tree'"
        raise OptionalDependencyError(msg) from err
    from numba.extending import register_jitable

    for helper in _HELPERS:
        register_jitable(helper)
    out = {}
    for loop in _LOOPS:
        try:
            out[loop.__name__] = numba.njit(nogil=True, cache=True)(loop)
        except RuntimeError:  # no folder that a cache could be written to
            out[loop.__name__] = numba.njit(nogil=True)(loop)
    return out
