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
from sc_lab.units import FloatArray

__all__ = ["friends_of_friends"]

#: Planes of cells, of each of which a number is kept; cells in a plane, whose keys must fit in an integer.
_MOST_PLANES = 2**22
_MOST_KEYS = 2**62
#: Fewer cells than this along a periodic axis, and a neighbour may be met on both sides at once.
_FEWEST_CELLS = 5
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
    linking_length : float
        Particles no further apart than this are friends; same unit.
    box_size : float or array_like, shape (3,), optional
        Period of each axis, same unit; 0 or None where an axis has none.
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
        If a position is not finite, the shape is not (n, 3), or a length is not above zero.

    Notes
    -----
    Two particles are friends when their distance, in a periodic box that to the nearest image, is at most the linking
    length; groups are the connected components (Davis et al. 1985). Cells with sides of the linking length over
    the square root of three hold only friends, so that unions are made of cells, not of particles, and two cells are
    joined at the first pair that is close enough. Beyond the positions it needs a copy of them and
    up to 20 bytes for each particle.

    Examples
    --------
    >>> friends_of_friends([[0, 0, 0], [0.5, 0, 0], [9.7, 0, 0], [5, 5, 5]], 1.0, 10.0)
    array([0, 0, 0, 1])
    """
    points = _points(positions)
    length, period = _lengths(linking_length, box_size)
    if min_members < 1:
        msg = f"min_members is {min_members!r}; give 1 or more"
        raise InputError(msg)
    if method not in ("cells", "tree"):
        msg = f"method is {method!r}; give 'cells' or 'tree'"
        raise InputError(msg)
    if not len(points):
        return np.empty(0, dtype=np.int64)
    points = _wrapped(points, period)
    low = np.where(period > 0, 0.0, points.min(axis=0))
    extent = np.where(period > 0, period, points.max(axis=0) - low)
    # A hair below the side at which opposite corners are one linking length apart.
    side = length / np.sqrt(3.0) * (1.0 - 1e-9)
    shape = np.floor(extent / side) + 1
    # Around a box cells must fit exactly, and are smaller for it; below half a linking length two of them are not enough.
    per_length = np.where(period > 0, shape / np.where(period > 0, period, 1.0), 1.0 / side)
    small = bool(np.any((period > 0) & ((shape < _FEWEST_CELLS) | (per_length * length >= 2.0))))
    if method == "tree" or small or shape[0] > _MOST_PLANES or shape[1] * shape[2] > _MOST_KEYS:
        return _ranked(_by_tree(points, length, period), min_members)
    return _by_cells(points, length, period, low, per_length, shape.astype(np.int64), min_members, threads)


# ---------------------------------------------------------------------- what was given


def _points(positions: Any) -> npt.NDArray[Any]:
    """Return positions as an array of floats in rows of three."""
    given = np.asarray(getattr(positions, "value", positions))
    points = given if given.dtype in (np.float32, np.float64) else given.astype(np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        msg = f"positions has the shape {points.shape}; give (n, 3)"
        raise InputError(msg)
    # A sum is enough to find a NaN, and makes no mask of every number.
    if not np.isfinite(points.sum(axis=0)).all():
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        msg = f"{len(bad)} position(s) are not finite, the first in row {bad[0] if len(bad) else 0}; leave them out"
        raise InputError(msg)
    return np.ascontiguousarray(points)


def _lengths(linking_length: Any, box_size: Any) -> tuple[float, FloatArray]:
    """Return linking length and periods, 0 for an axis without."""
    length = float(getattr(linking_length, "value", linking_length))
    if not (np.isfinite(length) and length > 0):
        msg = f"linking_length is {linking_length!r}; give a length above 0, in the unit of the positions"
        raise InputError(msg)
    period = np.zeros(3)
    if box_size is not None:
        period[:] = np.asarray(getattr(box_size, "value", box_size), dtype=float)
    if not np.isfinite(period).all() or np.any(period < 0):
        msg = f"box_size is {box_size!r}; give one length or three, 0 for an axis that is not periodic"
        raise InputError(msg)
    if np.any((period > 0) & (period < 2.0 * length)):
        msg = (
            f"the linking length {length:g} is more than half of the box {period.tolist()}: a particle would be its own "
            "neighbour; check that both have the same unit"
        )
        raise InputError(msg)
    return length, period


def _wrapped(points: npt.NDArray[Any], period: FloatArray) -> npt.NDArray[Any]:
    """Return positions inside the periods; a copy only where one lies outside."""
    for axis in np.flatnonzero(period > 0).tolist():
        column = points[:, axis]
        if column.min() < 0 or column.max() > period[axis]:
            return np.where(period > 0, points - np.floor(points / np.where(period > 0, period, 1.0)) * period, points)
    return points


# ---------------------------------------------------------------------- the readable reference


def _by_tree(points: npt.NDArray[Any], length: float, period: FloatArray) -> npt.NDArray[np.int64]:
    """Return connected components of all pairs within the linking length."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    # SciPy wants positions strictly inside the box, and a huge box stands for none.
    inside = np.where((period > 0) & (points >= period), 0.0, points - np.where(period > 0, 0.0, points.min(axis=0)))
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


def _by_cells(
    points: npt.NDArray[Any],
    length: float,
    period: FloatArray,
    origin: FloatArray,
    per_length: FloatArray,
    shape: npt.NDArray[np.int64],
    min_members: int,
    threads: int | None,
) -> npt.NDArray[np.int64]:
    """Return the labels by unions of cells."""
    n = len(points)
    wanted = min(threads or os.cpu_count() or 1, max(1, n // _WORTH_A_THREAD))
    with ThreadPoolExecutor(wanted) as pool:

        def each(parts: list[tuple[int, int]], call: Callable[[int, int, int], Any]) -> None:
            for future in [pool.submit(call, number, low, high) for number, (low, high) in enumerate(parts)]:
                future.result()

        order, start, parent = _joined(points, length, period, (origin, per_length, shape), each, wanted)
        return _numbered(order, start, parent, min_members, each, wanted)


def _joined(
    points: npt.NDArray[Any],
    length: float,
    period: FloatArray,
    grid: tuple[FloatArray, FloatArray, npt.NDArray[np.int64]],
    each: Callable[..., None],
    wanted: int,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return rows sorted by cell, where each cell starts, and the cell that each is joined to.

    The sorted copy of the positions and the keys of the cells end with this function.
    """
    from sc_lab.simulations._fof_compiled import loops

    run = loops()
    n, n_planes = len(points), int(grid[2][0])
    row: type[np.signedinteger[Any]] = np.int32 if n <= 2**31 - 1 else np.int64
    rows = _even(n, wanted)
    counts = np.zeros((len(rows), n_planes), dtype=np.int64)
    each(rows, lambda k, a, b: run["count_planes"](points, a, b, *grid, counts[k]))
    starts = np.zeros(n_planes + 1, dtype=np.int64)
    np.cumsum(counts.sum(axis=0), out=starts[1:])
    cursors = starts[:-1] + np.cumsum(counts, axis=0) - counts
    order = np.empty(n, dtype=row)
    each(rows, lambda k, a, b: run["scatter_planes"](points, a, b, *grid, cursors[k], order))

    by_cell = np.empty_like(points)
    cells = np.zeros(n_planes, dtype=np.int64)
    # More pieces than threads, as clustered planes take longer.
    pieces = _balanced(starts, 8 * wanted)
    each(pieces, lambda _, a, b: run["sort_planes"](points, order, starts, a, b, *grid, by_cell, cells))
    cell_planes = np.zeros(n_planes + 1, dtype=np.int64)
    np.cumsum(cells, out=cell_planes[1:])
    n_cells = int(cell_planes[-1])
    key, start = np.empty(n_cells, dtype=np.int64), np.empty(n_cells + 1, dtype=row)
    start[-1] = n
    each(pieces, lambda _, a, b: run["list_cells"](by_cell, starts, a, b, *grid, cell_planes, key, start))
    parent = np.arange(n_cells, dtype=row)

    def join(low: int, high: int, *, crossing: bool) -> None:
        square = length * length
        run["join_planes"](by_cell, cell_planes, key, start, parent, low, high, grid[2], period, square, crossing)

    # Inside its own planes a thread meets no other; what crosses from one to the next is joined afterwards.
    planes = _balanced(starts, wanted)
    each(planes, lambda _, a, b: join(a, b, crossing=False))
    for a, b in planes:
        join(a, b, crossing=True)
    return order, start, parent


def _numbered(
    order: npt.NDArray[Any],
    start: npt.NDArray[Any],
    parent: npt.NDArray[Any],
    min_members: int,
    each: Callable[..., None],
    wanted: int,
) -> npt.NDArray[np.int64]:
    """Return the label of every particle, by falling size of its group and then by first particle."""
    from sc_lab.simulations._fof_compiled import loops

    run = loops()
    n, n_cells, row = len(order), len(parent), order.dtype
    members, first = np.zeros(n_cells, dtype=row), np.full(n_cells, n, dtype=row)
    run["count_cells"](parent, start, order, members, first)
    # Most groups are single particles, and these are ranked by their place alone.
    alone = np.sort(first[members == 1]) if min_members == 1 else np.empty(0, dtype=row)
    roots = np.flatnonzero(members >= max(min_members, 2)).astype(row)
    roots = roots[np.lexsort((first[roots], -members[roots]))]
    del first, members
    rank = np.full(n_cells, -1, dtype=row)
    rank[roots] = np.arange(len(roots), dtype=row)
    labels = np.empty(n, dtype=np.int64)
    each(_even(n_cells, wanted), lambda _, a, b: run["label"](parent, start, order, rank, a, b, labels))
    labels[alone] = np.arange(len(roots), len(roots) + len(alone))
    return labels


def _even(n: int, parts: int) -> list[tuple[int, int]]:
    """Return about equal ranges of 0 to n."""
    edges = np.linspace(0, n, parts + 1).astype(np.int64).tolist()
    return [(low, high) for low, high in itertools.pairwise(edges) if high > low]


def _balanced(starts: npt.NDArray[np.int64], parts: int) -> list[tuple[int, int]]:
    """Return ranges of planes with about equal numbers of particles, three planes at least in each."""
    n_planes = len(starts) - 1
    edges = [0]
    for number in range(1, parts):
        edge = int(np.searchsorted(starts, starts[-1] * number / parts))
        if edge >= edges[-1] + 3 and edge <= n_planes - 3:
            edges.append(edge)
    return list(zip(edges, [*edges[1:], n_planes], strict=True))
