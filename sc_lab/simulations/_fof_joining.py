"""Loops that join friends: within the cells of a plane, with the cells beside them, and around the box."""

from __future__ import annotations

from typing import Any

import numpy as np

from sc_lab.simulations._fof_sorting import bits_of, find_keys, sort_plane, stride_of

# A cell has at least the side of the linking length, so that friends lie in one cell or in two that touch. It is cut
# into parts whose corners are less than a linking length apart: whoever shares a part is friends. Where a cell holds
# many particles its parts are the units that are joined, so that dense lumps cost no pairs; where it holds few, each
# particle is a unit of its own, which costs less than parts would.
#
# A listed plane is a tuple of arrays: keys of its cells; the first particle of each cell; the first part of each, or
# -1 where particles are the units; the first particle of each part; whether all units of a cell are joined; and the
# cells at an edge of y or z. Loops take it apart before they start, as the compiler hands on single arrays faster.

#: Particles in a cell above which its parts are the units.
_MANY = 8
#: Pairs of units with more pairs of particles than this are thinned by distance before pairs are tried.
_THINNED = 64


def root_of(parent: Any, i: int) -> int:
    """Return the root of a particle, halving the way to it."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def unite(parent: Any, mine: int, theirs: int) -> None:
    """Join two roots: the lower becomes the root, so that the outcome does not depend on the order of the work."""
    parent[max(mine, theirs)] = min(mine, theirs)


def are_friends(position: Any, i: int, j: int, shift: Any, square: float) -> bool:
    """Return whether two particles are within the linking length, the second moved by ``shift``."""
    dx = np.float64(position[i, 0]) - np.float64(position[j, 0]) - shift[0]
    dy = np.float64(position[i, 1]) - np.float64(position[j, 1]) - shift[1]
    dz = np.float64(position[i, 2]) - np.float64(position[j, 2]) - shift[2]
    near: bool = dx * dx + dy * dy + dz * dz <= square
    return near


def touching(position: Any, a0: int, a1: int, b0: int, b1: int, shift: Any, square: float) -> bool:
    """Return whether two units hold a pair of friends."""
    if (a1 - a0) * (b1 - b0) <= _THINNED:
        for i in range(a0, a1):
            for j in range(b0, b1):
                if are_friends(position, i, j, shift, square):
                    return True
        return False
    # The box around the second unit: what lies beyond reach of it has no friend in it.
    low_x = high_x = position[b0, 0] + shift[0]
    low_y = high_y = position[b0, 1] + shift[1]
    low_z = high_z = position[b0, 2] + shift[2]
    for j in range(b0 + 1, b1):
        x, y, z = position[j, 0] + shift[0], position[j, 1] + shift[1], position[j, 2] + shift[2]
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y = min(low_y, y), max(high_y, y)
        low_z, high_z = min(low_z, z), max(high_z, z)
    # Rounding in the box is far below this part of the linking length, and must not hide a pair.
    reach = square * (1.0 + 1e-6)
    for i in range(a0, a1):
        x, y, z = position[i, 0], position[i, 1], position[i, 2]
        dx = max(low_x - x, x - high_x, 0.0)
        dy = max(low_y - y, y - high_y, 0.0)
        dz = max(low_z - z, z - high_z, 0.0)
        if dx * dx + dy * dy + dz * dz > reach:
            continue
        for j in range(b0, b1):
            if are_friends(position, i, j, shift, square):
                return True
    return False


def list_plane(key: Any, begin: int, grid: Any, parent: Any) -> Any:
    """Return the listed plane of sorted keys, the particles of each part joined."""
    n = key.shape[0]
    n_y, n_z = grid[2][1], grid[2][2]
    stride, bits = stride_of(n_z), bits_of(grid[3])
    cells, start, first = np.empty(n, np.int64), np.empty(n + 1, parent.dtype), np.empty(n, np.int32)
    whole, edge = np.empty(n, np.bool_), np.empty(n, np.int32)
    # Each cell that is cut takes the first particle of each part, and an end.
    parts = np.empty(n + n // _MANY, parent.dtype)
    n_cells = n_parts = n_edge = 0
    i = 0
    while i < n:
        cell = key[i] >> bits
        end = i + 1
        while end < n and key[end] >> bits == cell:
            end += 1
        cells[n_cells] = cell
        start[n_cells] = begin + i
        whole[n_cells] = end == i + 1
        first[n_cells] = -1
        if end - i > _MANY:
            first[n_cells] = n_parts
            for j in range(i, end):
                if j == i or key[j] != key[j - 1]:
                    head = begin + j
                    parts[n_parts] = head
                    n_parts += 1
                elif parent[begin + j] == begin + j:
                    parent[begin + j] = head
            parts[n_parts] = begin + end
            n_parts += 1
        y, z = cell // stride, cell % stride
        if y == 0 or y == n_y - 1 or z == 0 or z == n_z - 1:
            edge[n_edge] = n_cells
            n_edge += 1
        n_cells += 1
        i = end
    start[n_cells] = begin + n
    return cells[:n_cells], start[: n_cells + 1], first[:n_cells], parts[:n_parts], whole[:n_cells], edge[:n_edge]


def after(unit: int, part: int, parts: Any) -> int:
    """Return the end of the unit that starts at a particle, and is a part of a cell unless ``part`` is negative."""
    return unit + 1 if part < 0 else parts[part + 1]


def join_within(position: Any, parent: Any, listed: Any, square: float) -> None:
    """Join the units of each cell of a plane."""
    _, start, first, parts, whole, _ = listed
    nowhere = (0.0, 0.0, 0.0)
    for c in range(whole.shape[0]):
        if whole[c]:
            continue
        end = start[c + 1]
        one, part = start[c], first[c]
        while one < end:
            one_end = after(one, part, parts)
            part += part >= 0
            two, other = one_end, part
            while two < end:
                two_end = after(two, other, parts)
                other += other >= 0
                mine, theirs = root_of(parent, one), root_of(parent, two)
                if mine != theirs and touching(position, one, one_end, two, two_end, nowhere, square):
                    unite(parent, mine, theirs)
                two = two_end
            one = one_end
        root = root_of(parent, start[c])
        joined = True
        one, part = start[c], first[c]
        while one < end:
            joined = joined and root_of(parent, one) == root
            one = after(one, part, parts)
            part += part >= 0
        whole[c] = joined


def join_cells(
    position: Any,
    parent: Any,
    p0: int,
    p1: int,
    part: int,
    parts: Any,
    q0: int,
    q1: int,
    q_part: int,
    q_parts: Any,
    both_whole: bool,
    shift: Any,
    square: float,
) -> None:
    """Join the units of a cell, from ``p0`` to ``p1``, with those of another, from ``q0`` to ``q1``."""
    if both_whole and root_of(parent, p0) == root_of(parent, q0):
        return
    one = p0
    while one < p1:
        one_end = after(one, part, parts)
        part += part >= 0
        two, other = q0, q_part
        while two < q1:
            two_end = after(two, other, q_parts)
            other += other >= 0
            if touching(position, one, one_end, two, two_end, shift, square):
                mine, theirs = root_of(parent, one), root_of(parent, two)
                if mine != theirs:
                    unite(parent, mine, theirs)
                if both_whole:
                    return
            two = two_end
        one = one_end


def join_beside(
    position: Any, parent: Any, left: Any, right: Any, offset: int, reach: int, shift: Any, square: float
) -> None:
    """Join the cells of one plane with those of another whose keys are ``offset`` further, give or take ``reach``.

    Both lists rise, so that they are walked side by side and nothing is looked for.
    """
    cells, start, first, parts, whole, _ = left
    others, q_start, q_first, q_parts, q_whole, _ = right
    n = others.shape[0]
    pointer = 0
    for a in range(cells.shape[0]):
        key = cells[a] + offset
        while pointer < n and others[pointer] < key - reach:
            pointer += 1
        b = pointer
        while b < n and others[b] <= key + reach:
            p0, p1, q0, q1 = start[a], start[a + 1], q_start[b], q_start[b + 1]
            if p1 - p0 == 1 and q1 - q0 == 1:
                # Most cells hold one particle; a call would cost more than they do.
                if are_friends(position, p0, q0, shift, square):
                    mine, theirs = root_of(parent, p0), root_of(parent, q0)
                    if mine != theirs:
                        unite(parent, mine, theirs)
            else:
                both = whole[a] and q_whole[b]
                join_cells(position, parent, p0, p1, first[a], parts, q0, q1, q_first[b], q_parts, both, shift, square)
            b += 1


def first_at_least(cells: Any, key: int) -> int:
    """Return the first cell whose key is not below ``key``."""
    low, high = 0, cells.shape[0]
    while low < high:
        middle = (low + high) // 2
        if cells[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


def join_around(
    position: Any, parent: Any, left: Any, right: Any, grid: Any, box: Any, shift_x: float, same: bool, square: float
) -> None:
    """Join the cells at the edges of y and z with those on the other side of the box."""
    cells, start, first, parts, whole, edges = left
    others, q_start, q_first, q_parts, q_whole, _ = right
    n_y, n_z = grid[2][1], grid[2][2]
    stride = stride_of(n_z)
    for a in edges:
        y, z = cells[a] // stride, cells[a] % stride
        # Of a pair in one plane the second lies further on, as each pair is seen once.
        for along_y in range(0 if same else -1, 2):
            for along_z in range(1 if same and along_y == 0 else -1, 2):
                to_y, to_z = y + along_y, z + along_z
                out_y, out_z = to_y < 0 or to_y >= n_y, to_z < 0 or to_z >= n_z
                if not (out_y or out_z) or (out_y and box[1] == 0.0) or (out_z and box[2] == 0.0):
                    continue
                key = (to_y % n_y) * stride + to_z % n_z
                b = first_at_least(others, key)
                if b == others.shape[0] or others[b] != key:
                    continue
                shift = (shift_x, along_y * box[1] if out_y else 0.0, along_z * box[2] if out_z else 0.0)
                p0, p1, q0, q1 = start[a], start[a + 1], q_start[b], q_start[b + 1]
                both = whole[a] and q_whole[b]
                join_cells(position, parent, p0, p1, first[a], parts, q0, q1, q_first[b], q_parts, both, shift, square)


def join_two(
    position: Any, parent: Any, left: Any, right: Any, grid: Any, box: Any, shift_x: float, square: float
) -> None:
    """Join the cells of a plane with those of the next."""
    stride = stride_of(grid[2][2])
    shift = (shift_x, 0.0, 0.0)
    for across in range(-1, 2):
        join_beside(position, parent, left, right, across * stride, 1, shift, square)
    if box[1] > 0.0 or box[2] > 0.0:
        join_around(position, parent, left, right, grid, box, shift_x, False, square)


def join_planes(
    position: Any, order: Any, parent: Any, starts: Any, low: int, high: int, grid: Any, box: Any, square: float
) -> None:
    """Sort the particles of planes from ``low`` to ``high`` by cell, and join the friends among them."""
    stride = stride_of(grid[2][2])
    nowhere = (0.0, 0.0, 0.0)
    empty = list_plane(np.empty(0, np.int64), starts[low], grid, parent)
    before = empty
    for plane in range(low, high):
        if starts[plane] == starts[plane + 1]:
            # In a small region of a wide grid most planes are.
            before = empty
            continue
        key = sort_plane(position, order, starts[plane], starts[plane + 1], plane, grid)
        listed = list_plane(key, starts[plane], grid, parent)
        join_within(position, parent, listed, square)
        join_beside(position, parent, listed, listed, 1, 0, nowhere, square)
        join_beside(position, parent, listed, listed, stride, 1, nowhere, square)
        if box[1] > 0.0 or box[2] > 0.0:
            join_around(position, parent, listed, listed, grid, box, 0.0, True, square)
        if before[0].shape[0]:
            join_two(position, parent, before, listed, grid, box, 0.0, square)
        before = listed


def join_across(
    position: Any, parent: Any, starts: Any, left: int, right: int, grid: Any, box: Any, shift_x: float, square: float
) -> None:
    """Join the friends of two sorted planes, the second moved by ``shift_x``."""
    sides = []
    for plane in (left, right):
        key = np.empty(starts[plane + 1] - starts[plane], np.int64)
        find_keys(position, starts[plane], starts[plane + 1], plane, grid, key)
        listed = list_plane(key, starts[plane], grid, parent)
        join_within(position, parent, listed, square)
        sides.append(listed)
    join_two(position, parent, sides[0], sides[1], grid, box, shift_x, square)
