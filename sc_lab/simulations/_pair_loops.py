"""The loops of direct sums over pairs of particles."""

from __future__ import annotations

from typing import Any

# Written for the compiler: coordinates in arrays of their own, so that the inner loop runs on several pairs at once. A
# pair in one place divides by zero before it is left out; the compiler must take that for no error.


def self_sum(x: Any, y: Any, z: Any, m: Any, low: int, high: int, softening2: float) -> float:
    """Return the sum of m_i m_j / r_ij over i from ``low`` to ``high`` and j > i; pairs in one place are left out."""
    total = 0.0
    n = x.shape[0]
    for i in range(low, high):
        inner = 0.0
        for j in range(i + 1, n):
            dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            square = dx * dx + dy * dy + dz * dz
            inner += m[j] / (square + softening2) ** 0.5 if square > 0.0 else 0.0
        total += m[i] * inner
    return total


def cross_sum(
    x: Any, y: Any, z: Any, m: Any, low: int, high: int, x2: Any, y2: Any, z2: Any, m2: Any, softening2: float
) -> float:
    """Return the sum of m_i M_j / r_ij over i from ``low`` to ``high`` and all j of the other set."""
    total = 0.0
    n = x2.shape[0]
    for i in range(low, high):
        inner = 0.0
        for j in range(n):
            dx, dy, dz = x[i] - x2[j], y[i] - y2[j], z[i] - z2[j]
            square = dx * dx + dy * dy + dz * dz
            inner += m2[j] / (square + softening2) ** 0.5 if square > 0.0 else 0.0
        total += m[i] * inner
    return total
