"""Loops that number groups: from the friend each particle points at to labels in the order of the rows."""

from __future__ import annotations

from typing import Any

#: Label of a particle without friends, until it is numbered.
_ALONE = -2


def count_members(parent: Any, order: Any, members: Any, first: Any) -> None:
    """Point every particle at its root; write the number of particles of each root and the first of their rows."""
    for i in range(parent.shape[0]):
        # Particles point at lower ones only, which point at their root already.
        root = parent[parent[i]]
        parent[i] = root
        members[root] += 1
        first[root] = min(first[root], order[i])


def write_labels(parent: Any, order: Any, members: Any, rank: Any, low: int, high: int, labels: Any) -> None:
    """Write the rank of the group of some particles; those without friends are marked."""
    for i in range(low, high):
        root = parent[i]
        labels[order[i]] = _ALONE if members[root] == 1 else rank[root]


def number_alone(labels: Any, number: int, keep: bool) -> None:
    """Give the particles without friends numbers in the order of their rows, or leave them out."""
    for row in range(labels.shape[0]):
        if labels[row] == _ALONE:
            labels[row] = number if keep else -1
            number += 1
