"""The loops of friends-of-friends: particles into cells whose members are friends outright, then unions of cells."""

from __future__ import annotations

from typing import Any

import numpy as np

# Written for the compiler: flat loops over arrays that the caller owns, nothing allocated but what one plane needs.
# `Any` stands for arrays, whose kinds differ with the input (single and double precision, 32 and 64 bit rows).

#: Pairs of cells with more members than this together are thinned by their distance before pairs are tried.
_THINNED = 64


def plane_of(x: float, origin: float, per_length: float, n: int) -> int:
    """Return the number of the cell along one axis; rounding at the edges stays inside."""
    return min(max(int((x - origin) * per_length), 0), n - 1)


def count_planes(position: Any, low: int, high: int, origin: Any, per_length: Any, shape: Any, counts: Any) -> None:
    """Count the particles of some rows in each plane of cells along x."""
    for i in range(low, high):
        counts[plane_of(position[i, 0], origin[0], per_length[0], shape[0])] += 1


def scatter_planes(
    position: Any, low: int, high: int, origin: Any, per_length: Any, shape: Any, cursor: Any, order: Any
) -> None:
    """Write the rows of particles plane by plane; ``cursor`` says where the next one of each plane goes."""
    for i in range(low, high):
        plane = plane_of(position[i, 0], origin[0], per_length[0], shape[0])
        order[cursor[plane]] = i
        cursor[plane] += 1


def sort_planes(
    position: Any,
    order: Any,
    starts: Any,
    low: int,
    high: int,
    origin: Any,
    per_length: Any,
    shape: Any,
    by_cell: Any,
    n_cells: Any,
) -> None:
    """Sort the particles of some planes by cell, copy their positions in that order, and count the cells."""
    n_y, n_z = shape[1], shape[2]
    for plane in range(low, high):
        begin, end = starts[plane], starts[plane + 1]
        n = end - begin
        if n == 0:
            continue
        keys = np.empty(n, np.int64)
        for j in range(n):
            row = order[begin + j]
            y = plane_of(position[row, 1], origin[1], per_length[1], n_y)
            z = plane_of(position[row, 2], origin[2], per_length[2], n_z)
            keys[j] = y * n_z + z
        place = np.argsort(keys)
        rows = order[begin:end].copy()
        cells = 0
        before = np.int64(-1)
        for j in range(n):
            row = rows[place[j]]
            order[begin + j] = row
            for axis in range(3):
                by_cell[begin + j, axis] = position[row, axis]
            key = keys[place[j]]
            if key != before:
                cells += 1
                before = key
        n_cells[plane] = cells


def list_cells(
    by_cell: Any,
    starts: Any,
    low: int,
    high: int,
    origin: Any,
    per_length: Any,
    shape: Any,
    cell_planes: Any,
    cell_key: Any,
    cell_start: Any,
) -> None:
    """Write key and first particle of each occupied cell of some planes."""
    n_y, n_z = shape[1], shape[2]
    for plane in range(low, high):
        cell = cell_planes[plane]
        before = np.int64(-1)
        for i in range(starts[plane], starts[plane + 1]):
            y = plane_of(by_cell[i, 1], origin[1], per_length[1], n_y)
            z = plane_of(by_cell[i, 2], origin[2], per_length[2], n_z)
            key = y * n_z + z
            if key != before:
                cell_key[cell] = key
                cell_start[cell] = i
                cell += 1
                before = key


def root_of(parent: Any, cell: int) -> int:
    """Return the root of a cell, halving the way to it."""
    while parent[cell] != cell:
        parent[cell] = parent[parent[cell]]
        cell = parent[cell]
    return cell


def touching(by_cell: Any, a0: int, a1: int, b0: int, b1: int, shift: Any, square: float) -> bool:
    """Return whether two cells hold a pair within the linking length; the second is moved by ``shift``."""
    if (a1 - a0) * (b1 - b0) <= _THINNED:
        for i in range(a0, a1):
            for j in range(b0, b1):
                dx = by_cell[i, 0] - (by_cell[j, 0] + shift[0])
                dy = by_cell[i, 1] - (by_cell[j, 1] + shift[1])
                dz = by_cell[i, 2] - (by_cell[j, 2] + shift[2])
                if dx * dx + dy * dy + dz * dz <= square:
                    return True
        return False
    # The box around the members of the second cell: what lies beyond reach of it has no friend in it.
    low_x = high_x = by_cell[b0, 0] + shift[0]
    low_y = high_y = by_cell[b0, 1] + shift[1]
    low_z = high_z = by_cell[b0, 2] + shift[2]
    for j in range(b0 + 1, b1):
        x, y, z = by_cell[j, 0] + shift[0], by_cell[j, 1] + shift[1], by_cell[j, 2] + shift[2]
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y = min(low_y, y), max(high_y, y)
        low_z, high_z = min(low_z, z), max(high_z, z)
    for i in range(a0, a1):
        x, y, z = by_cell[i, 0], by_cell[i, 1], by_cell[i, 2]
        dx = max(low_x - x, x - high_x, 0.0)
        dy = max(low_y - y, y - high_y, 0.0)
        dz = max(low_z - z, z - high_z, 0.0)
        if dx * dx + dy * dy + dz * dz > square:
            continue
        for j in range(b0, b1):
            dx = x - (by_cell[j, 0] + shift[0])
            dy = y - (by_cell[j, 1] + shift[1])
            dz = z - (by_cell[j, 2] + shift[2])
            if dx * dx + dy * dy + dz * dz <= square:
                return True
    return False


def first_at_least(cell_key: Any, low: int, high: int, key: int) -> int:
    """Return the first cell from ``low`` to ``high`` whose key is not below ``key``."""
    while low < high:
        middle = (low + high) // 2
        if cell_key[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


def join_pair(by_cell: Any, cell_start: Any, parent: Any, cell: int, other: int, shift: Any, square: float) -> None:
    """Join two cells if they hold friends and are not joined already."""
    mine, theirs = root_of(parent, cell), root_of(parent, other)
    if mine != theirs and touching(
        by_cell, cell_start[cell], cell_start[cell + 1], cell_start[other], cell_start[other + 1], shift, square
    ):
        # The lower number becomes the root, so that the outcome does not depend on the order of the work.
        parent[max(mine, theirs)] = min(mine, theirs)


def join_column(
    by_cell: Any,
    cell_key: Any,
    cell_start: Any,
    parent: Any,
    cell: int,
    first: int,
    last: int,
    low_key: int,
    high_key: int,
    shift: Any,
    square: float,
) -> None:
    """Join a cell with those from ``first`` to ``last`` whose keys lie in a range."""
    other = first_at_least(cell_key, first, last, low_key)
    while other < last and cell_key[other] <= high_key:
        join_pair(by_cell, cell_start, parent, cell, other, shift, square)
        other += 1


def join_inside(
    by_cell: Any,
    cell_key: Any,
    cell_start: Any,
    parent: Any,
    begin: int,
    end: int,
    first: int,
    last: int,
    same: bool,
    n_z: int,
    shift: Any,
    square: float,
) -> None:
    """Join the cells of one plane with those of another, or of the same, without wrapping along y and z.

    Columns of cells are walked side by side, so that nothing is looked for. Where a column ends, the last cells of
    the next or previous one fall into the range of keys; they lie far off and hold no friends.
    """
    for across in range(0 if same else -2, 3):
        pointer = first
        for cell in range(begin, end):
            key = cell_key[cell] + across * n_z
            low = key + 1 if same and across == 0 else key - 2
            while pointer < last and cell_key[pointer] < low:
                pointer += 1
            other = pointer
            while other < last and cell_key[other] <= key + 2:
                join_pair(by_cell, cell_start, parent, cell, other, shift, square)
                other += 1


def join_wrapped(
    by_cell: Any,
    cell_key: Any,
    cell_start: Any,
    parent: Any,
    begin: int,
    end: int,
    first: int,
    last: int,
    same: bool,
    shape: Any,
    box: Any,
    shift: Any,
    square: float,
) -> None:
    """Join the cells at the edges of y and z with those on the other side of the box; restores ``shift``."""
    n_y, n_z = shape[1], shape[2]
    for cell in range(begin, end):
        y, z = cell_key[cell] // n_z, cell_key[cell] % n_z
        if 2 <= y < n_y - 2 and 2 <= z < n_z - 2:
            continue
        for across in range(0 if same else -2, 3):
            row = y + across
            shift[1] = 0.0
            around = row < 0 or row >= n_y
            if around:
                if box[1] == 0.0:
                    continue
                shift[1] = -box[1] if row < 0 else box[1]
                row += n_y if row < 0 else -n_y
            base = row * n_z
            if around:
                shift[2] = 0.0
                low, high = base + max(z - 2, 0), base + min(z + 2, n_z - 1)
                join_column(by_cell, cell_key, cell_start, parent, cell, first, last, low, high, shift, square)
            if box[2] == 0.0:
                continue
            # In its own column a cell meets only the next ones, and those before it around the box.
            if z < 2 and not (same and across == 0):
                shift[2] = -box[2]
                low, high = base + z - 2 + n_z, base + n_z - 1
                join_column(by_cell, cell_key, cell_start, parent, cell, first, last, low, high, shift, square)
            if z >= n_z - 2:
                shift[2] = box[2]
                low, high = base, base + z + 2 - n_z
                join_column(by_cell, cell_key, cell_start, parent, cell, first, last, low, high, shift, square)
    shift[1] = 0.0
    shift[2] = 0.0


def join_planes(
    by_cell: Any,
    cell_planes: Any,
    cell_key: Any,
    cell_start: Any,
    parent: Any,
    low: int,
    high: int,
    shape: Any,
    box: Any,
    square: float,
    crossing: bool,
) -> None:
    """Join the cells of planes from ``low`` to ``high`` with each other or, if ``crossing``, with later planes.

    The second of a pair lies up to two cells further along x, y or z: half of the neighbourhood, as each pair is
    seen once. An axis with a period wraps; ``box`` is zero where there is none.
    """
    shift = np.zeros(3)
    for plane in range(max(low, high - 2) if crossing else low, high):
        begin, end = cell_planes[plane], cell_planes[plane + 1]
        for step in range(3):
            other = plane + step
            if begin == end or crossing == (other < high) or (other >= shape[0] and box[0] == 0.0):
                continue
            shift[0] = 0.0
            if other >= shape[0]:
                other -= shape[0]
                shift[0] = box[0]
            first, last = cell_planes[other], cell_planes[other + 1]
            if first == last:
                continue
            join_inside(
                by_cell, cell_key, cell_start, parent, begin, end, first, last, step == 0, shape[2], shift, square
            )
            if box[1] > 0.0 or box[2] > 0.0:
                join_wrapped(
                    by_cell, cell_key, cell_start, parent, begin, end, first, last, step == 0, shape, box, shift, square
                )


def count_cells(parent: Any, cell_start: Any, order: Any, members: Any, first: Any) -> None:
    """Point every cell at its root; write the number of particles of each root and the first of them."""
    for cell in range(parent.shape[0]):
        root = root_of(parent, cell)
        parent[cell] = root
        members[root] += cell_start[cell + 1] - cell_start[cell]
        for i in range(cell_start[cell], cell_start[cell + 1]):
            first[root] = min(first[root], order[i])


def label(parent: Any, cell_start: Any, order: Any, rank: Any, low: int, high: int, labels: Any) -> None:
    """Write the number of the group of every particle of some cells."""
    for cell in range(low, high):
        group = rank[parent[cell]]
        for i in range(cell_start[cell], cell_start[cell + 1]):
            labels[order[i]] = group
