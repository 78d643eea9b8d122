"""Loops that sort particles: into planes of cells along x, and in each plane by cell and by part of a cell."""

from __future__ import annotations

from typing import Any

import numpy as np

# Written for the compiler, as are the other loops of friends-of-friends. `Any` stands for arrays, whose kinds differ
# with the input (single and double precision, 32 and 64 bit rows), and for tuples of them. A grid is a tuple: origin,
# cells per length and number of cells of the three axes, and the number of parts that each side of a cell is cut into.

#: Bits that one round of the sort looks at: its counters stay in the fastest memory.
_DIGIT = 12
#: Fewer particles than this are sorted by inserting one after the other.
_FEW = 32


def survey(position: Any, low: int, high: int, lowest: Any, highest: Any) -> None:
    """Write the least and the largest coordinate of some rows; NaN where a coordinate is not finite."""
    for axis in range(3):
        lowest[axis] = np.inf
        highest[axis] = -np.inf
    nothing = 0.0
    for i in range(low, high):
        for axis in range(3):
            x = position[i, axis]
            lowest[axis] = min(lowest[axis], x)
            highest[axis] = max(highest[axis], x)
            nothing += x * 0.0
    # Zero, unless an infinity or a NaN was among the terms.
    for axis in range(3):
        lowest[axis] += nothing
        highest[axis] += nothing


def plane_of(x: float, origin: float, per_length: float, n: int) -> int:
    """Return the number of the cell along one axis; rounding at the edges stays inside."""
    return min(max(int((x - origin) * per_length), 0), n - 1)


def count_planes(position: Any, low: int, high: int, grid: Any, counts: Any) -> None:
    """Count the particles of some rows in each plane of cells along x."""
    origin, per_length, n = grid[0][0], grid[1][0], grid[2][0]
    for i in range(low, high):
        counts[plane_of(position[i, 0], origin, per_length, n)] += 1


def scatter_planes(position: Any, low: int, high: int, grid: Any, cursor: Any, by_plane: Any, order: Any) -> None:
    """Copy particles and their rows plane by plane; ``cursor`` says where the next one of each plane goes."""
    origin, per_length, n = grid[0][0], grid[1][0], grid[2][0]
    for i in range(low, high):
        plane = plane_of(position[i, 0], origin, per_length, n)
        at = cursor[plane]
        cursor[plane] = at + 1
        order[at] = i
        by_plane[at, 0] = position[i, 0]
        by_plane[at, 1] = position[i, 1]
        by_plane[at, 2] = position[i, 2]


def stride_of(n_z: int) -> int:
    """Return the difference of the keys of neighbouring columns: one number stays free, so that ends do not touch."""
    return n_z + 1


def bits_of(parts: int) -> int:
    """Return how many bits the number of a part of a cell takes."""
    return 3 if parts == 2 else 5


def find_keys(position: Any, begin: int, end: int, plane: int, grid: Any, key: Any) -> None:
    """Write for each particle of a plane a number: its column, its cell in the column, the part of the cell."""
    (x0, y0, z0), (per_x, per_y, per_z), (_, n_y, n_z), parts = grid
    stride, bits = stride_of(n_z), bits_of(parts)
    for j in range(end - begin):
        x, y, z = position[begin + j, 0], position[begin + j, 1], position[begin + j, 2]
        in_x, in_y, in_z = (x - x0) * per_x - plane, (y - y0) * per_y, (z - z0) * per_z
        cell_y = min(max(int(in_y), 0), n_y - 1)
        cell_z = min(max(int(in_z), 0), n_z - 1)
        part = min(max(int(in_x * parts), 0), parts - 1)
        part = part * parts + min(max(int((in_y - cell_y) * parts), 0), parts - 1)
        part = part * parts + min(max(int((in_z - cell_z) * parts), 0), parts - 1)
        key[j] = ((cell_y * stride + cell_z) << bits) | part


def sorting_order(key: Any, n_bits: int) -> Any:
    """Return the places of keys in rising order, equal keys as they come."""
    n = key.shape[0]
    place = np.arange(n)
    if n < _FEW:
        for j in range(1, n):
            value = key[j]
            at = j
            while at > 0 and key[place[at - 1]] > value:
                place[at] = place[at - 1]
                at -= 1
            place[at] = j
        return place
    rounds = (n_bits + _DIGIT - 1) // _DIGIT
    width = (n_bits + rounds - 1) // rounds
    mask = (1 << width) - 1
    other = np.empty_like(place)
    for turn in range(rounds):
        down = turn * width
        count = np.zeros(mask + 2, np.int64)
        for j in range(n):
            count[((key[j] >> down) & mask) + 1] += 1
        for digit in range(mask):
            count[digit + 1] += count[digit]
        for j in range(n):
            digit = (key[place[j]] >> down) & mask
            other[count[digit]] = place[j]
            count[digit] += 1
        place, other = other, place
    return place


def sort_plane(position: Any, order: Any, begin: int, end: int, plane: int, grid: Any) -> Any:
    """Sort the particles of a plane by cell and part; return their keys."""
    n = end - begin
    key = np.empty(n, np.int64)
    find_keys(position, begin, end, plane, grid, key)
    largest = (grid[2][1] * stride_of(grid[2][2])) << bits_of(grid[3])
    n_bits = 1
    while largest >> n_bits:
        n_bits += 1
    place = sorting_order(key, n_bits)
    rows = order[begin:end].copy()
    copy = position[begin:end].copy()
    out = np.empty(n, np.int64)
    for j in range(n):
        here = place[j]
        out[j] = key[here]
        order[begin + j] = rows[here]
        position[begin + j, 0] = copy[here, 0]
        position[begin + j, 1] = copy[here, 1]
        position[begin + j, 2] = copy[here, 2]
    return out
