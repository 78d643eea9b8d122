"""The potential energy of particles: direct sums over pairs, and a tree where there are many."""

from __future__ import annotations

import functools
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError, OptionalDependencyError
from sc_lab.simulations import _pair_loops
from sc_lab.units import FloatArray

__all__ = ["CROSSOVER", "G", "potential_energy"]

#: Newton's constant [kpc km^2 s^-2 Msun^-1] (CODATA 2018 and IAU 2015 solar mass parameter).
G = 4.300917270e-6
#: Particles above which the tree is faster than all pairs; measured with two threads for all pairs, one for the tree.
CROSSOVER = 40_000
_WORTH_A_THREAD = 2_000


def potential_energy(
    positions: Any,
    masses: Any,
    others: tuple[Any, Any] | None = None,
    *,
    softening: float = 0.0,
    method: str = "auto",
    threads: int | None = None,
) -> float:
    """Return the potential energy of particles, or that between two sets of them.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        Positions [kpc], unwrapped: there is no box.
    masses : array_like, shape (n,)
        Masses [Msun].
    others : (array_like, array_like), optional
        Positions (k, 3) and masses (k,) of another set; then the energy between the sets.
    softening : float
        Plummer softening length [kpc]: r becomes sqrt(r^2 + softening^2).
    method : {"auto", "direct", "tree", "reference"}
        All pairs, compiled; the tree of pytreegrav (opening angle 0.5, quadrupoles), whose error is about 1e-5;
        ``"auto"``: direct up to 40 000 particles or where pytreegrav is not installed; ``"reference"``: all pairs in
        plain NumPy.
    threads : int, optional
        Threads of the direct sum; all processors by default.

    Returns
    -------
    float
        -sum G m_i m_j / r_ij [Msun km^2 s^-2]. Pairs in the same place are left out.

    Raises
    ------
    InputError
        If shapes do not fit, or the method is not known.
    OptionalDependencyError
        If ``method="tree"`` and pytreegrav is not installed.

    Notes
    -----
    Williams et al. 2025, equations (1) and (2). The tree: Grudić & Gurvich 2021 (pytreegrav).

    Examples
    --------
    >>> round(potential_energy([[0, 0, 0], [1, 0, 0]], [1e6, 1e6]) / 1e6, 6)
    -4.300917
    """
    first = _set(positions, masses)
    second = None if others is None else _set(*others)
    if method not in ("auto", "direct", "tree", "reference"):
        msg = f"method is {method!r}; give 'auto', 'direct', 'tree' or 'reference'"
        raise InputError(msg)
    n = len(first[1]) if second is None else int(np.sqrt(float(len(first[1])) * len(second[1])))
    if method == "auto":
        method = "tree" if n > CROSSOVER and importlib.util.find_spec("pytreegrav") else "direct"
    if not len(first[1]) or (second is not None and not len(second[1])):
        return 0.0
    if method == "reference":
        return -G * _plain(first, second, softening)
    if method == "tree":
        return _tree(first, second, softening)
    return -G * _direct(first, second, softening, threads)


_Set = tuple[FloatArray, FloatArray]


def _set(positions: Any, masses: Any) -> _Set:
    """Return positions and masses that fit together."""
    points, weight = np.asarray(positions, dtype=np.float64), np.asarray(masses, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or weight.shape != points.shape[:1]:
        msg = f"positions has the shape {points.shape} and masses {weight.shape}; give (n, 3) and (n,)"
        raise InputError(msg)
    return points, weight


def _plain(first: _Set, second: _Set | None, softening: float) -> float:
    """Return the sum of m m / r, row by row."""
    points, mass = first
    total = 0.0
    for i in range(len(mass)):
        to, weight = (points[i + 1 :], mass[i + 1 :]) if second is None else second
        square = ((points[i] - to) ** 2).sum(axis=1)
        apart = square > 0
        total += mass[i] * float(np.sum(weight[apart] / np.sqrt(square[apart] + softening**2)))
    return total


@functools.cache
def _compiled() -> dict[str, Any]:
    """Return the loops, compiled at their first call."""
    try:
        import numba
    except ImportError as err:
        msg = "method='direct' needs numba, which is not installed; install it or use method='reference'"
        raise OptionalDependencyError(msg) from err
    out = {}
    for name in ("self_sum", "cross_sum"):
        # Sums may be reordered, as their order means nothing, and a division by zero is no error: either would keep the
        # compiler from working on several pairs at once.
        options: dict[str, Any] = {
            "nogil": True,
            "error_model": "numpy",
            "fastmath": {"reassoc", "contract", "nsz", "arcp"},
        }
        try:
            out[name] = numba.njit(cache=True, **options)(getattr(_pair_loops, name))
        except RuntimeError:  # no folder that a cache could be written to
            out[name] = numba.njit(**options)(getattr(_pair_loops, name))
    return out


def _direct(first: _Set, second: _Set | None, softening: float, threads: int | None) -> float:
    """Return the sum of m m / r over all pairs."""
    run = _compiled()
    x, y, z = np.ascontiguousarray(first[0].T)
    n = len(first[1])
    wanted = min(threads or os.cpu_count() or 1, max(1, n // _WORTH_A_THREAD))
    # Later rows of the triangle are shorter: more pieces than threads even that out.
    edges = np.linspace(0, n, 8 * wanted + 1).astype(int)
    square = float(softening) ** 2

    def piece(low: int, high: int) -> float:
        if second is None:
            return float(run["self_sum"](x, y, z, first[1], low, high, square))
        return float(run["cross_sum"](x, y, z, first[1], low, high, *other, square))

    other = () if second is None else (*np.ascontiguousarray(second[0].T), second[1])
    if wanted == 1:
        return piece(0, n)
    with ThreadPoolExecutor(wanted) as pool:
        return float(sum(pool.map(piece, edges[:-1].tolist(), edges[1:].tolist())))


def _tree(first: _Set, second: _Set | None, softening: float) -> float:
    """Return the potential energy from pytreegrav."""
    if not importlib.util.find_spec("pytreegrav"):
        msg = "method='tree' needs pytreegrav, which is not installed; pip install pytreegrav, or use method='direct'"
        raise OptionalDependencyError(msg)
    import pytreegrav

    def lengths(n: int) -> npt.NDArray[np.float64]:
        # pytreegrav softens with a spline that ends at 2.8 Plummer lengths.
        return np.full(n, 2.8 * softening)

    options: dict[str, Any] = {"G": G, "theta": 0.5, "quadrupole": True, "method": "tree"}
    points, mass = first
    if second is None:
        well = pytreegrav.Potential(points, mass, lengths(len(mass)), **options)
        return float(0.5 * np.sum(mass * well))
    # The tree is made of the larger set.
    source, target = (first, second) if len(mass) > len(second[1]) else (second, first)
    soft = {"softening_source": lengths(len(source[1])), "softening_target": lengths(len(target[1]))}
    well = pytreegrav.PotentialTarget(target[0], source[0], source[1], **soft, **options)
    return float(np.sum(target[1] * well))
