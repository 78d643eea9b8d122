"""Friends-of-friends of more particles than memory holds: slab by slab on any executor, merged exactly."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations._checks import whole
from sc_lab.simulations._fof_input import check_finite, lengths_in, plain_positions, unit_of, wrapped
from sc_lab.simulations.fof import friends_of_friends
from sc_lab.units import FloatArray

__all__ = ["friends_of_friends_in_slabs"]

_PIECE = 1_000_000
_BINS = 4096


def friends_of_friends_in_slabs(
    positions: Any,
    linking_length: float,
    box_size: Any = None,
    *,
    n_slabs: int,
    min_members: int = 1,
    folder: str | Path | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> npt.NDArray[np.int64]:
    """Return the group of every particle, with no more than a slab of them in memory.

    Parameters
    ----------
    positions : array_like, shape (n, 3), or callable
        An array, a memory map, a data set of an HDF5 file, or a function that returns an iterator over arrays of shape
        (k, 3); it is called twice.
    linking_length : float or Quantity
        Particles no further apart than this are friends. Plain numbers are in the unit of the positions; a quantity is
        converted to it.
    box_size : float, Quantity or array_like, shape (3,), optional
        Period of each axis, likewise; 0 or None where an axis has none.
    n_slabs : int
        Slabs along x, of about equal numbers of particles. Each needs the memory of `friends_of_friends` on its own.
    min_members : int
        Groups with fewer particles get the label -1.
    folder : path, optional
        Where slabs and labels are kept on disk, which the workers must see too; a temporary one by default. Given, the
        labels stay there, and are returned as a memory map.
    executor : concurrent.futures.Executor, optional
        Where slabs are worked on; ``dask.distributed.Client().get_executor()`` for many machines. This process by
        default.
    progress : callable, optional
        Called with (slabs done, slabs).
    cancel : object with ``is_set()``, optional
        Stops before the next slab.

    Returns
    -------
    ndarray of int64, shape (n,)
        The labels that one piece gives, number for number.

    Raises
    ------
    InputError
        If a number of slabs or members is not whole and above zero, positions are no numbers, not finite or not of the
        shape (n, 3), a length is not above zero or its unit does not fit, or the work was cancelled.

    Notes
    -----
    Every slab is extended by one linking length to its right, so that each pair of friends lies in some slab whole. A
    particle of an extension has a label at home too: both labels are of one group. The connected components of such
    pairs of labels are the groups.
    """
    n_slabs = whole(n_slabs, "n_slabs", "a number of 1 or more", low=1)
    min_members = whole(min_members, "min_members", "a number of 1 or more", low=1)
    # What a function returns is known when it is read: its unit is then that of the linking length, or none.
    unit = unit_of(linking_length if callable(positions) else positions)
    length, period = lengths_in(linking_length, box_size, unit)
    pieces = _pieces(positions, unit)
    kept = folder is not None
    home = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="sc_lab_fof_"))
    home.mkdir(parents=True, exist_ok=True)
    try:
        n, edges = _edges(pieces, length, period, n_slabs)
        _write_slabs(pieces, home, edges, length, period)
        jobs = [(str(home), slab, length, period.tolist(), len(edges) - 1) for slab in range(len(edges) - 1)]
        groups = _run(jobs, executor, progress, cancel)
        labels = _merged(home, groups, n, min_members, kept=kept)
    finally:
        if not kept:
            shutil.rmtree(home, ignore_errors=True)
        else:
            for path in home.glob("slab_*"):
                path.unlink()
    return labels


# ---------------------------------------------------------------------- reading twice


def _pieces(positions: Any, unit: Any) -> Callable[[], Iterator[FloatArray]]:
    """Return a function that reads the positions from the start, piece by piece."""

    def read() -> Iterator[Any]:
        if callable(positions):
            yield from positions()
        else:
            for low in range(0, len(positions), _PIECE):
                yield positions[low : low + _PIECE]

    def checked() -> Iterator[FloatArray]:
        at = 0
        for each in read():
            points = plain_positions(each, unit).astype(np.float64, copy=False)
            check_finite(points, first=at)
            at += len(points)
            yield points

    return checked


def _edges(
    pieces: Callable[[], Iterator[FloatArray]], length: float, period: FloatArray, n_slabs: int
) -> tuple[int, FloatArray]:
    """Return the number of particles, and edges along x between slabs with about equal numbers."""
    low, high, n = np.inf, -np.inf, 0
    if period[0] > 0:
        low, high = 0.0, float(period[0])
    else:
        for points in pieces():
            if len(points):
                low, high = min(low, points[:, 0].min()), max(high, points[:, 0].max())
    if not np.isfinite(low):
        return 0, np.array([0.0, 1.0])
    bins = np.linspace(low, max(high, low + length), _BINS + 1)
    counts = np.zeros(_BINS, dtype=np.int64)
    for points in pieces():
        n += len(points)
        counts += np.histogram(_inside(points, period)[:, 0], bins)[0]
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    wanted = [int(np.searchsorted(cumulative, n * slab / n_slabs)) for slab in range(1, n_slabs)]
    inner = bins[sorted(set(wanted) - {0, _BINS})]
    # A slab no wider than its extension would hold particles twice.
    chosen = [float(bins[0])]
    for edge in inner.tolist():
        if edge - chosen[-1] > 2.0 * length and bins[-1] - edge > 2.0 * length:
            chosen.append(edge)
    return n, np.array([*chosen, float(bins[-1])])


def _inside(points: FloatArray, period: FloatArray) -> FloatArray:
    """Return positions inside the periods."""
    if not np.any(period > 0):
        return points
    moved = wrapped(points, period)
    # Rounding may put a position just below 0 onto the far edge itself.
    return np.where((period > 0) & (moved >= period), 0.0, moved)


def _write_slabs(
    pieces: Callable[[], Iterator[FloatArray]], folder: Path, edges: FloatArray, length: float, period: FloatArray
) -> None:
    """Write rows and positions of every slab and of its extension to the right."""
    n_slabs = len(edges) - 1
    for slab in range(n_slabs):
        for kind in ("home", "more"):
            for name in ("rows", "points"):
                (folder / f"slab_{slab}_{kind}_{name}.bin").write_bytes(b"")
    at = 0
    for points in pieces():
        inside = _inside(points, period)
        rows = np.arange(at, at + len(points), dtype=np.int64)
        at += len(points)
        slab_of = np.clip(np.searchsorted(edges, inside[:, 0], side="right") - 1, 0, n_slabs - 1)
        for slab in range(n_slabs):
            _append(folder, slab, "home", rows, inside, slab_of == slab)
            if n_slabs == 1:
                continue
            if slab + 1 < n_slabs:
                edge = edges[slab + 1]
                _append(folder, slab, "more", rows, inside, (inside[:, 0] >= edge) & (inside[:, 0] <= edge + length))
            elif period[0] > 0:
                # What follows the last slab is the first, one period on.
                beyond = inside + np.array([period[0], 0.0, 0.0])
                _append(folder, slab, "more", rows, beyond, inside[:, 0] <= length)


def _append(folder: Path, slab: int, kind: str, rows: npt.NDArray[np.int64], points: FloatArray, chosen: Any) -> None:
    """Append some particles to the files of a slab."""
    if not chosen.any():
        return
    for name, values in (("rows", rows), ("points", points)):
        with (folder / f"slab_{slab}_{kind}_{name}.bin").open("ab") as file:
            np.ascontiguousarray(values[chosen]).tofile(file)


# ---------------------------------------------------------------------- one slab, anywhere


def work_on_slab(folder: str, slab: int, length: float, period: list[float], n_slabs: int) -> int:
    """Label the particles of one slab and its extension, in files; return the number of groups.

    Parameters
    ----------
    folder : str
        Where the slabs are.
    slab : int
        Which one.
    length : float
        The linking length.
    period : list of float
        Periods of the axes, 0 for none.
    n_slabs : int
        How many slabs there are: a single one is periodic along x too.

    Returns
    -------
    int
        Groups in the slab.
    """
    at = Path(folder)
    points = np.concatenate(
        [np.fromfile(at / f"slab_{slab}_{kind}_points.bin").reshape(-1, 3) for kind in ("home", "more")]
    )
    box = [period[0] if n_slabs == 1 else 0.0, period[1], period[2]]
    labels = friends_of_friends(points, length, box)
    labels.tofile(at / f"slab_{slab}_labels.bin")
    return int(labels.max(initial=-1)) + 1


def _run(
    jobs: list[tuple[Any, ...]], executor: Executor | None, progress: Callable[[int, int], None] | None, cancel: Any
) -> list[int]:
    """Return the number of groups in every slab."""

    def stopped() -> bool:
        return cancel is not None and bool(cancel.is_set())

    cancelled = "friends-of-friends was cancelled; nothing was kept"
    out = [0] * len(jobs)
    if executor is None:
        for number, job in enumerate(jobs):
            if stopped():
                raise InputError(cancelled)
            out[number] = work_on_slab(*job)
            if progress is not None:
                progress(number + 1, len(jobs))
        return out
    futures: dict[Future[int], int] = {executor.submit(work_on_slab, *job): number for number, job in enumerate(jobs)}
    for done, future in enumerate(_completed(futures), start=1):
        if stopped():
            for each in futures:
                each.cancel()
            raise InputError(cancelled)
        out[futures[future]] = future.result()
        if progress is not None:
            progress(done, len(jobs))
    return out


def _completed(futures: Any) -> Iterator[Any]:
    """Yield futures as they end; those of Dask are no futures of the standard library."""
    if all(isinstance(each, Future) for each in futures):
        yield from as_completed(futures)
    else:
        yield from futures


# ---------------------------------------------------------------------- merging


def _merged(folder: Path, groups: list[int], n: int, min_members: int, *, kept: bool) -> npt.NDArray[np.int64]:
    """Return the labels of all particles from those of the slabs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first_group = np.concatenate([[0], np.cumsum(groups)])
    total = int(first_group[-1])
    rows = [np.fromfile(folder / f"slab_{slab}_home_rows.bin", dtype=np.int64) for slab in range(len(groups))]
    pairs = [
        _links(folder, slab, rows[(slab + 1) % len(groups)], first_group, len(groups))
        for slab in range(len(groups))
        if len(groups) > 1
    ]
    left, right = (np.concatenate(each) for each in zip(*pairs, strict=True)) if pairs else (np.empty(0, int),) * 2
    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(total, total))
    component = connected_components(graph, directed=False)[1].astype(np.int64) if total else np.empty(0, np.int64)
    size = np.zeros(component.max(initial=-1) + 1, dtype=np.int64)
    first = np.full(len(size), n, dtype=np.int64)
    for slab, mine in enumerate(rows):
        group = component[_labels(folder, slab, len(mine)) + first_group[slab]]
        size += np.bincount(group, minlength=len(size))
        # Rows rise within a slab, so the first place of a group holds its first particle.
        found, place = np.unique(group, return_index=True)
        first[found] = np.minimum(first[found], mine[place])
    rank = np.full(len(size), -1, dtype=np.int64)
    chosen = np.flatnonzero(size >= min_members)
    rank[chosen[np.lexsort((first[chosen], -size[chosen]))]] = np.arange(len(chosen))
    if kept and n:
        out: npt.NDArray[np.int64] = np.lib.format.open_memmap(
            folder / "labels.npy", mode="w+", dtype=np.int64, shape=(n,)
        )
    else:
        out = np.empty(n, dtype=np.int64)
    for slab, mine in enumerate(rows):
        out[mine] = rank[component[_labels(folder, slab, len(mine)) + first_group[slab]]]
    return out


def _labels(folder: Path, slab: int, n: int) -> npt.NDArray[np.int64]:
    """Return the labels of a slab's own particles."""
    return np.fromfile(folder / f"slab_{slab}_labels.bin", dtype=np.int64, count=n)


def _links(
    folder: Path, slab: int, neighbour: npt.NDArray[np.int64], first_group: npt.NDArray[np.int64], n_slabs: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs of groups that share a particle of a slab's extension, which is at home in the next slab."""
    more = np.fromfile(folder / f"slab_{slab}_more_rows.bin", dtype=np.int64)
    mine = np.fromfile(folder / f"slab_{slab}_labels.bin", dtype=np.int64)[-len(more) or None :]
    following = (slab + 1) % n_slabs
    theirs = _labels(folder, following, len(neighbour))[np.searchsorted(neighbour, more)]
    return mine[: len(more)] + first_group[slab], theirs + first_group[following]
