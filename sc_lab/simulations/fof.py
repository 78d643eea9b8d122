"""Friends-of-friends: groups of particles that are linked by steps no longer than the linking length."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations._checks import whole
from sc_lab.simulations._fof_input import check_finite, lengths_in, plain_positions, unit_of, wrapped
from sc_lab.units import FloatArray

__all__ = ["friends_of_friends"]

#: Planes of cells, of each of which a number is kept; cells along an axis, whose keys must fit in an integer.
_MOST_PLANES = 2**22
_MOST_CELLS = 2**28
#: Fewer cells than this along a periodic axis, and a neighbour is met on both sides at once.
_FEWEST_CELLS = 3
#: Cells are wider than the linking length by more than rounding moves a particle on the widest grid.
_WIDER = 1.0 + 1e-6
#: Pieces of the work for each thread.
_PIECES = 6
#: Particles below which a second thread costs more than it brings.
_WORTH_A_THREAD = 20_000


def friends_of_friends(
    positions: Any,
    linking_length: float,
    box_size: Any = None,
    *,
    min_members: int = 1,
    threads: int | None = None,
    method: str = "cells",
) -> npt.NDArray[np.int64]:
    """Return the group of every particle.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        Positions, in any unit of length.
    linking_length : float or Quantity
        Particles no further apart than this are friends. Plain numbers are in the unit of the positions; a quantity is
        converted to it.
    box_size : float, Quantity or array_like, shape (3,), optional
        Period of each axis, likewise; 0 or None where an axis has none.
    min_members : int
        Groups with fewer particles get the label -1.
    threads : int, optional
        Threads to use; all processors by default. The answer does not depend on it.
    method : {"cells", "tree"}
        The compiled cells, or the slow and readable pairs of SciPy's KD-tree.

    Returns
    -------
    ndarray of int64, shape (n,)
        0 for the largest group, 1 for the next and so on, groups of one size in the order of their first
        particle; -1 for particles in no group.

    Raises
    ------
    InputError
        If positions are no numbers, not finite or not of the shape (n, 3), a length is not above zero or its unit does
        not fit, or a number of members or threads is not whole and above zero.

    Notes
    -----
    Two particles are friends when their distance, in a periodic box that to the nearest image, is at most the linking
    length; groups are the connected components (Davis et al. 1985). Cells have about the side of the linking length, so
    that friends lie in cells that touch. Where they hold many particles they are cut into parts so small that all in a
    part are friends outright: parts are joined there, not particles, at the first pair that is close enough, and dense
    lumps cost no pairs. Beyond the positions it needs a copy of them and about 10 bytes for each particle.

    Examples
    --------
    >>> friends_of_friends([[0, 0, 0], [0.5, 0, 0], [9.7, 0, 0], [5, 5, 5]], 1.0, 10.0)
    array([0, 0, 0, 1])
    """
    unit = unit_of(positions)
    points = np.ascontiguousarray(plain_positions(positions, unit))
    length, period = lengths_in(linking_length, box_size, unit)
    min_members = whole(min_members, "min_members", "a number of 1 or more", low=1)
    if threads is not None:
        threads = whole(threads, "threads", "a number of 1 or more, or None for all processors", low=1)
    if method not in ("cells", "tree"):
        msg = f"method is {method!r}; give 'cells' or 'tree'"
        raise InputError(msg)
    if not len(points):
        return np.empty(0, dtype=np.int64)
    wanted = min(threads or os.cpu_count() or 1, max(1, len(points) // _WORTH_A_THREAD))
    with ThreadPoolExecutor(wanted) as pool:

        def each(parts: list[tuple[int, int]], call: Callable[[int, int, int], Any]) -> None:
            for future in [pool.submit(call, number, low, high) for number, (low, high) in enumerate(parts)]:
                future.result()

        lowest, highest = _extent(points, each, wanted) if method == "cells" else _plain_extent(points)
        if not np.isfinite(lowest + highest).all():
            check_finite(points)
        if np.any((period > 0) & ((lowest < 0) | (highest > period))):
            points = wrapped(points, period)
        grid = _grid(length, period, lowest, highest)
        if method == "tree" or grid is None:
            return _ranked(_by_tree(points, length, period), min_members)
        order, parent = _joined(points, length, period, grid, each, wanted)
        return _numbered(order, parent, min_members, each, wanted)


# ---------------------------------------------------------------------- the readable reference


def _plain_extent(points: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Return the least and the largest coordinate along each axis, not finite where one of them is not."""
    return points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)


def _by_tree(points: npt.NDArray[Any], length: float, period: FloatArray) -> npt.NDArray[np.int64]:
    """Return connected components of all pairs within the linking length."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    # SciPy wants positions strictly inside the box.
    inside = np.where((period > 0) & (points >= period), 0.0, points)
    tree = cKDTree(inside, boxsize=period if np.any(period > 0) else None)
    pairs = tree.query_pairs(length, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(len(points),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _ranked(component: npt.NDArray[np.int64], min_members: int) -> npt.NDArray[np.int64]:
    """Return labels by falling size, and by first particle where sizes agree."""
    _, first, inverse, size = np.unique(component, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(size), dtype=np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    rank[size < min_members] = -1
    return np.asarray(rank[inverse])


# ---------------------------------------------------------------------- the compiled cells


def _extent(points: npt.NDArray[Any], each: Callable[..., None], wanted: int) -> tuple[FloatArray, FloatArray]:
    """Return what `_plain_extent` does, in one pass."""
    from sc_lab.simulations._fof_compiled import loops

    rows = _even(len(points), wanted)
    lowest, highest = np.empty((2, len(rows), 3))
    each(rows, lambda k, a, b: loops()["survey"](points, a, b, lowest[k], highest[k]))
    return lowest.min(axis=0), highest.max(axis=0)


_Grid = tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...], int]


def _grid(length: float, period: FloatArray, lowest: FloatArray, highest: FloatArray) -> _Grid | None:
    """Return origin, cells per length, number of cells and parts of each side; None where cells do not suit."""
    origin = np.where(period > 0, 0.0, lowest)
    extent = np.where(period > 0, period, highest - lowest)
    least = length * _WIDER
    # Around a box cells must fit exactly, and are larger for it.
    shape = np.floor(extent / least) + np.where(period > 0, 0, 1)
    if np.any((period > 0) & (shape < _FEWEST_CELLS)):
        return None
    if shape.max() > _MOST_CELLS or shape[0] > _MOST_PLANES:
        return None
    side = np.where(period > 0, extent / shape, least)
    # Opposite corners of a part are less than a linking length apart.
    parts = int(np.ceil(np.sqrt((side**2).sum()) / length * _WIDER))
    return tuple(origin.tolist()), tuple((1.0 / side).tolist()), tuple(shape.astype(int).tolist()), parts


def _joined(
    points: npt.NDArray[Any],
    length: float,
    period: FloatArray,
    grid: _Grid,
    each: Callable[..., None],
    wanted: int,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return rows sorted by cell, and for each the place of a friend it is joined to.

    The sorted copy of the positions ends with this function.
    """
    from sc_lab.simulations._fof_compiled import loops

    run = loops()
    n, n_planes = len(points), grid[2][0]
    row: type[np.signedinteger[Any]] = np.int32 if n <= 2**31 - 1 else np.int64
    rows = _even(n, wanted)
    counts = np.zeros((len(rows), n_planes), dtype=np.int64)
    each(rows, lambda k, a, b: run["count_planes"](points, a, b, grid, counts[k]))
    starts = np.zeros(n_planes + 1, dtype=np.int64)
    np.cumsum(counts.sum(axis=0), out=starts[1:])
    cursors = starts[:-1] + np.cumsum(counts, axis=0) - counts
    order, by_plane = np.empty(n, dtype=row), np.empty_like(points)
    each(rows, lambda k, a, b: run["scatter_planes"](points, a, b, grid, cursors[k], by_plane, order))

    parent = np.arange(n, dtype=row)
    box, square = tuple(period.tolist()), length * length
    # More pieces than threads, as clustered planes take longer.
    pieces = _balanced(starts, 1 if wanted == 1 else _PIECES * wanted)
    each(pieces, lambda _, a, b: run["join_planes"](by_plane, order, parent, starts, a, b, grid, box, square))
    # Inside its own planes a thread meets no other; what crosses from one piece to the next is joined afterwards.
    seams = [(b - 1, b, 0.0) for _, b in pieces[:-1]]
    if box[0] > 0:
        seams.append((n_planes - 1, 0, box[0]))
    for left, right, shift in seams:
        run["join_across"](by_plane, parent, starts, left, right, grid, box, shift, square)
    return order, parent


def _numbered(
    order: npt.NDArray[Any], parent: npt.NDArray[Any], min_members: int, each: Callable[..., None], wanted: int
) -> npt.NDArray[np.int64]:
    """Return the label of every particle, by falling size of its group and then by first particle."""
    from sc_lab.simulations._fof_compiled import loops

    run = loops()
    n, row = len(order), order.dtype
    members, first = np.zeros(n, dtype=row), np.full(n, n, dtype=row)
    run["count_members"](parent, order, members, first)
    # Most groups are single particles, and these are numbered by their place alone.
    roots = np.flatnonzero(members >= max(min_members, 2))
    # Two sorts of one key each are several times faster than a lexsort.
    roots = roots[np.argsort(first[roots])]
    roots = roots[np.argsort(-members[roots], kind="stable")]
    rank = first
    rank[:] = -1
    rank[roots] = np.arange(len(roots), dtype=row)
    labels = np.empty(n, dtype=np.int64)
    each(_even(n, wanted), lambda _, a, b: run["write_labels"](parent, order, members, rank, a, b, labels))
    run["number_alone"](labels, len(roots), min_members == 1)
    return labels


def _even(n: int, parts: int) -> list[tuple[int, int]]:
    """Return about equal ranges of 0 to n."""
    edges = np.linspace(0, n, parts + 1).astype(np.int64).tolist()
    return [(low, high) for low, high in itertools.pairwise(edges) if high > low]


def _balanced(starts: npt.NDArray[np.int64], parts: int) -> list[tuple[int, int]]:
    """Return ranges of planes with about equal numbers of particles."""
    n_planes = len(starts) - 1
    edges = [0]
    for number in range(1, parts):
        edge = int(np.searchsorted(starts, starts[-1] * number / parts))
        if edges[-1] < edge < n_planes:
            edges.append(edge)
    return list(zip(edges, [*edges[1:], n_planes], strict=True))
