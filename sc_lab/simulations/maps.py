"""Pictures of a snapshot: particles counted in the cells of a projection, for millions of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError, OptionalDependencyError
from sc_lab.simulations import _checks as check
from sc_lab.simulations import _map_loops
from sc_lab.simulations.snapshot import TYPES, Snapshot
from sc_lab.units import FloatArray, value_in

__all__ = ["AXES", "ParticleMap", "count_in_cells", "particle_map"]

#: The axes of the picture for a view along each axis of the box; right-handed, so that they look at the viewer.
AXES: dict[str, tuple[int, int]] = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}
_METHODS = ("auto", "compiled", "numpy", "datashader")
_EXTENT = check.array(words="left, right, bottom and top", shape=(4,))
_SHAPE = check.array(words="rows and columns, one cell or more each way", low=1.0, shape=(2,))


@dataclass(frozen=True, eq=False)
class ParticleMap:
    """A projection.

    Attributes
    ----------
    image : ndarray, shape (ny, nx)
        Particles, or mass [Msun], in each cell; rows upwards.
    extent : (float, float, float, float)
        Left, right, bottom and top [kpc, physical].
    axis : str
        The line of sight.
    labels : (str, str)
        The axes of the box along the picture.
    """

    image: FloatArray
    extent: tuple[float, float, float, float]
    axis: str
    labels: tuple[str, str]

    @property
    def surface_density(self) -> FloatArray:
        """What is in the cells by area [kpc^-2]."""
        x0, x1, y0, y1 = self.extent
        rows, columns = self.image.shape
        return np.asarray(self.image / ((x1 - x0) / columns * (y1 - y0) / rows))


@check.checked(
    extent=_EXTENT,
    shape=_SHAPE,
    axis=check.choice(*AXES),
    box_size=check.optional(check.positive(words="the period of all axes, above 0")),
    method=check.choice(*_METHODS),
)
def count_in_cells(
    position: Any,
    extent: tuple[float, float, float, float],
    shape: tuple[int, int],
    *,
    axis: str = "z",
    weights: Any = None,
    box_size: float | None = None,
    method: str = "auto",
) -> FloatArray:
    """Return how many points there are in the cells of a projection.

    Parameters
    ----------
    position : array_like, shape (n, 3)
        Positions, any unit of length.
    extent : (float, float, float, float)
        Left, right, bottom and top of the picture, same unit.
    shape : (int, int)
        Rows and columns.
    axis : {"x", "y", "z"}
        Line of sight.
    weights : array_like, shape (n,), optional
        What is summed instead of counting.
    box_size : float, optional
        Period of every axis, same unit: across an edge the picture goes on at the other side, and every point is in it once
        at most.
    method : {"auto", "compiled", "numpy", "datashader"}
        The compiled loop where numba is installed, else NumPy; or datashader, which gives the same counts.

    Returns
    -------
    ndarray, shape ``shape``
        Sums; what lies outside, or on the right or upper edge, is left out.

    Raises
    ------
    InputError
        If an axis, the shape or the extent cannot be.

    Notes
    -----
    The counts agree. Numba is needed by the rest of the library and datashader by nothing else, so that the loop is the
    default; it is also no slower: 2 ms against 3 for a million particles, 27 against 31 for ten millions, and 0.3 s
    against 0.65 at the first call, in CPU time of one run (``benchmarks/maps.py``). NumPy takes three times as long.
    """
    x0, x1, y0, y1 = (float(each) for each in extent)
    rows, columns = (int(each) for each in shape)
    if not (x1 > x0 and y1 > y0 and np.isfinite([x0, x1, y0, y1]).all()) or rows < 1 or columns < 1:
        msg = f"extent is {extent} and shape {shape}; give left < right, bottom < top, and one cell or more each way"
        raise InputError(msg)
    points = np.asarray(position)
    if box_size is not None and points.ndim == 2 and points.shape[1] == 3:
        points = _images(points, (x0, x1, y0, y1), AXES[axis], float(box_size))
    if points.ndim != 2 or points.shape[1] != 3:
        msg = f"position has the shape {points.shape}; give (n, 3)"
        raise InputError(msg)
    weight = np.empty(0) if weights is None else value_in(getattr(weights, "value", weights), u.one, "weights")
    if weights is not None and weight.shape != (len(points),):
        msg = f"there are {len(points)} positions and weights of the shape {weight.shape}; give one for each"
        raise InputError(msg)
    first, second = AXES[axis]
    if method == "datashader":
        return _by_datashader(points, (first, second), (x0, x1, y0, y1), (rows, columns), weight)
    corner, per_length = np.array([x0, y0]), np.array([columns / (x1 - x0), rows / (y1 - y0)])
    if method != "numpy" and find_spec("numba") is not None:
        out = np.zeros((rows, columns))
        _map_loops.compiled()(points, first, second, corner, per_length, weight, out)
        return out
    across = (points[:, first] - x0) * per_length[0]
    up = (points[:, second] - y0) * per_length[1]
    inside = (across >= 0) & (across < columns) & (up >= 0) & (up < rows)
    cells = up[inside].astype(np.int64) * columns + across[inside].astype(np.int64)
    counted = np.bincount(cells, weight[inside] if len(weight) else None, minlength=rows * columns)
    return np.asarray(counted, dtype=np.float64).reshape(rows, columns)


def _by_datashader(
    points: Any, axes: tuple[int, int], extent: tuple[float, ...], shape: tuple[int, int], weight: FloatArray
) -> FloatArray:
    """Return the same by datashader."""
    try:
        datashader, pd = import_module("datashader"), import_module("pandas")
    except ImportError as err:
        msg = "method='datashader' needs datashader, which is not installed; install it, or use method='auto'"
        raise OptionalDependencyError(msg) from err
    x0, x1, y0, y1 = extent
    canvas = datashader.Canvas(shape[1], shape[0], x_range=(x0, x1), y_range=(y0, y1))
    frame = pd.DataFrame({"x": points[:, axes[0]], "y": points[:, axes[1]]})
    if not len(weight):
        return np.asarray(canvas.points(frame, "x", "y").values, dtype=np.float64)
    frame["w"] = weight
    return np.nan_to_num(np.asarray(canvas.points(frame, "x", "y", datashader.sum("w")).values, dtype=np.float64))


@check.checked(
    snapshot=check.snapshot,
    kind=check.choice(*TYPES),
    axis=check.choice(*AXES),
    extent=check.optional(_EXTENT),
    shape=_SHAPE,
    mass=check.flag,
    method=check.choice(*_METHODS),
)
def particle_map(
    snapshot: Snapshot,
    kind: str = "stars",
    *,
    axis: str = "z",
    extent: tuple[float, float, float, float] | None = None,
    shape: tuple[int, int] = (600, 600),
    mass: bool = False,
    method: str = "auto",
) -> ParticleMap:
    """Return a picture of the particles of one type, read piece by piece.

    Parameters
    ----------
    snapshot : Snapshot
        The particles.
    kind : {"gas", "dm", "stars", "black_holes"}
        Which.
    axis : {"x", "y", "z"}
        Line of sight.
    extent : (float, float, float, float), optional
        Left, right, bottom and top [kpc, physical]; by default the whole box, or all particles where there is none. Across
        an edge of a periodic box it goes on at the other side; every particle is drawn once at most.
    shape : (int, int)
        Rows and columns.
    mass : bool
        Whether masses are summed, in Msun, instead of particles counted.
    method : str
        As in `count_in_cells`.

    Returns
    -------
    ParticleMap
        The picture.

    Raises
    ------
    InputError
        If the type is not known or there are no such particles, or a choice cannot be.
    """
    if not len(snapshot.particles[TYPES.index(kind)]):
        there = [name for name, each in zip(TYPES, snapshot.particles, strict=True) if len(each)]
        msg = f"{snapshot.name} has no particles of {kind!r}; it has {', '.join(there)}"
        raise InputError(msg)
    particles = snapshot.particles[TYPES.index(kind)]
    header = snapshot.header
    unit = header.a / header.h * header.length_cm / 3.0856775814913673e21
    if extent is None:
        extent = _whole(snapshot, kind, axis, unit)
    code = tuple(float(each) / unit for each in extent)
    image = np.zeros(shape)
    for rows, stored in particles.chunks("Coordinates"):
        weights = particles.physical("Masses", rows).to_value(u.Msun) if mass else None
        image += count_in_cells(
            stored,
            (code[0], code[1], code[2], code[3]),
            shape,
            axis=axis,
            weights=weights,
            box_size=header.box_size or None,
            method=method,
        )
    first, second = AXES[axis]
    return ParticleMap(image, extent, axis, ("xyz"[first], "xyz"[second]))


def _images(stored: Any, extent: tuple[float, ...], axes: tuple[int, int], box: float) -> Any:
    """Return positions as the periodic images that lie in a picture, where it reaches over an edge of the box."""
    position = stored
    for axis, (low, high) in zip(axes, (extent[:2], extent[2:]), strict=True):
        if low < 0 or high > box:
            position = np.array(position, dtype=np.float64)
            # A picture wider than the box has the box in its middle.
            begin = low if high - low <= box else 0.5 * (low + high - box)
            position[:, axis] = begin + np.mod(position[:, axis] - begin, box)
    return position


def _whole(snapshot: Snapshot, kind: str, axis: str, unit: float) -> tuple[float, float, float, float]:
    """Return the edges of the box, or of the particles [kpc]."""
    side = snapshot.header.box_size * unit
    if side > 0:
        return 0.0, side, 0.0, side
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for _, position in snapshot.particles[TYPES.index(kind)].chunks("Coordinates"):
        low, high = np.minimum(low, position.min(axis=0)), np.maximum(high, position.max(axis=0))
    spare = 0.02 * np.maximum(high - low, 1e-6)
    low, high = (low - spare) * unit, (high + spare) * unit
    first, second = AXES[axis]
    return float(low[first]), float(high[first]), float(low[second]), float(high[second])
