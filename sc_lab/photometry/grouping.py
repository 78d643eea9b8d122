"""Which clumps are fitted together: chains of close neighbours, cut where they grow too long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sc_lab.units import FloatArray

__all__ = ["MAX_MEMBERS", "Groups", "group_positions", "neighbours_in_box"]

#: Most clumps in one fit.
MAX_MEMBERS = 4


@dataclass(frozen=True, eq=False)
class Groups:
    """Joint fits: lists of clump indices, and which belong to a chain that had to be cut."""

    members: tuple[tuple[int, ...], ...]
    label: npt.NDArray[np.int64]
    chain: npt.NDArray[np.int64]
    cut: npt.NDArray[np.bool_]


def _components(n: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the component number of each of n points."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _cut_chain(points: FloatArray, distance: float, max_members: int) -> npt.NDArray[np.int64]:
    """Return sub-chains of at most ``max_members``: shortest links first, as long as the joined chain stays short."""
    first, second = np.triu_indices(len(points), 1)
    length = np.hypot(*(points[first] - points[second]).T)
    label = np.arange(len(points))
    for link in np.argsort(length, kind="stable"):
        if length[link] >= distance:
            break
        a, b = label[first[link]], label[second[link]]
        if a != b and np.isin(label, (a, b)).sum() <= max_members:
            label[label == b] = a
    return np.unique(label, return_inverse=True)[1]


def group_positions(x: FloatArray, y: FloatArray, distance: float, *, max_members: int = MAX_MEMBERS) -> Groups:
    """Return the joint fits of positions: two closer than ``distance`` share one.

    Parameters
    ----------
    x, y : ndarray
        (n,) positions in px; not finite ones stay alone.
    distance : float
        px; 4 in Claeyssens et al. 2026, section 3.1.2.
    max_members : int, optional
        A longer chain is cut at its longest links.

    Returns
    -------
    Groups
        Numbered by their first member.
    """
    n = len(x)
    chain = np.arange(n)
    good = np.nonzero(np.isfinite(x) & np.isfinite(y))[0]
    if good.size > 1:
        points = np.column_stack([x[good], y[good]])
        pairs = cKDTree(points).query_pairs(distance, output_type="ndarray").astype(np.int64)
        pairs = pairs[np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T) < distance]
        chain = _components(n, good[pairs])
    label, cut = chain.copy(), np.zeros(n, dtype=bool)
    fresh = n
    for each, count in zip(*np.unique(chain, return_counts=True), strict=True):
        if count > max_members:
            inside = np.nonzero(chain == each)[0]
            label[inside] = fresh + _cut_chain(np.column_stack([x[inside], y[inside]]), distance, max_members)
            cut[inside] = True
            fresh += n
    first, number = np.unique(label, return_index=True, return_inverse=True)[1:]
    label = np.argsort(np.argsort(first))[number]
    order = np.argsort(label, kind="stable")
    edges = np.nonzero(np.diff(label[order]))[0] + 1
    members = tuple(tuple(int(i) for i in part) for part in np.split(order, edges)) if n else ()
    return Groups(members=members, label=label, chain=chain, cut=cut)


def neighbours_in_box(
    points: FloatArray, centres: FloatArray, reach: float | FloatArray, usable: npt.NDArray[np.bool_]
) -> list[npt.NDArray[np.int64]]:
    """Return, for each box, the points within a square around its centre.

    Parameters
    ----------
    points : ndarray
        (n, 2) positions in px.
    centres : ndarray
        (m, 2) centres of the squares.
    reach : float or ndarray
        Half side of the squares in px.
    usable : ndarray
        (n,) which points count.

    Returns
    -------
    list of ndarray
        Indices of points, in an order that follows from their positions alone.
    """
    index = np.nonzero(usable & np.isfinite(points).all(1))[0]
    if index.size == 0 or len(centres) == 0:
        return [np.empty(0, dtype=np.int64) for _ in centres]
    found = cKDTree(points[index]).query_ball_point(centres, reach, p=np.inf)
    rank = np.empty(len(points), dtype=np.int64)
    rank[np.lexsort(points.T)] = np.arange(len(points))
    near = (index[np.asarray(each, dtype=np.int64)] for each in found)
    return [each[np.argsort(rank[each])] for each in near]
