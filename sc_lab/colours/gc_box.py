"""Membership of a colour box by position, by distance to its edge, and by probability under colour errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from scipy.special import owens_t

from sc_lab.errors import InputError, UnitMismatchError
from sc_lab.units import FloatArray, value_in

__all__ = ["GC_BOX", "GCMembership", "gc_membership", "simple_polygon"]

#: The box of Claeyssens et al. 2026, section 3.1.3: x = F200W - F356W, y = F150W - F200W (AB).
GC_BOX: tuple[tuple[float, float], ...] = ((-1.0, 0.0), (-0.5, 0.0), (-0.5, 0.3), (-1.0, 0.3))

#: Least ratio of an error to the largest of the three bands: keeps the inverse of the covariance where
#: two errors are zero, and enters where they are not with its square, 1e-14.
_LEAST_RATIO = 1e-7


@dataclass(frozen=True)
class GCMembership:
    """Where clumps lie with respect to the colour box.

    Attributes
    ----------
    x : ndarray
        F200W - F356W [AB mag], shape (n,); NaN where a band is missing.
    y : ndarray
        F150W - F200W [AB mag], shape (n,); NaN where a band is missing.
    inside : ndarray of bool
        True strictly inside the box; False where a band is missing.
    probability : ndarray
        Chance that the true colours lie in the box, shape (n,); NaN where a band or an error is missing.
    distance : ndarray
        Distance to the nearest edge [mag], shape (n,); negative inside, NaN where a band is missing.
    """

    x: FloatArray
    y: FloatArray
    inside: npt.NDArray[np.bool_]
    probability: FloatArray
    distance: FloatArray


def gc_membership(
    mag_f150w: Any,
    mag_f200w: Any,
    mag_f356w: Any,
    *,
    err_f150w: Any = None,
    err_f200w: Any = None,
    err_f356w: Any = None,
    vertices: Any = GC_BOX,
) -> GCMembership:
    """Return position, membership and membership probability in the globular-cluster colour box.

    Parameters
    ----------
    mag_f150w, mag_f200w, mag_f356w : `~astropy.units.Quantity` or array_like
        Observed AB magnitudes, shape (n,); NaN or masked where not measured.
    err_f150w, err_f200w, err_f356w : `~astropy.units.Quantity` or array_like, optional
        Their Gaussian errors [mag], scalar or shape (n,). Without all three the probability is NaN.
        An error of zero in all three makes the probability 0 or 1.
    vertices : sequence of (float, float)
        The box: any simple polygon, either sense of turning, in
        x = F200W - F356W and y = F150W - F200W.

    Returns
    -------
    GCMembership
        Arrays of shape (n,).

    Raises
    ------
    InputError
        If the polygon crosses itself or has no area, an error is negative, or shapes differ.
    UnitMismatchError
        If an input has a unit other than magnitudes.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.3. Both colours contain F200W, so their errors have the
    covariance -err_f200w^2. The probability is exact: after whitening, the mass of a standard normal
    over the triangle between its centre and an edge at distance h, from foot a h to foot b h, is
    [arctan b - arctan a] / 2 pi - [T(h, b) - T(h, a)] with Owen's T (Owen 1956), summed over the edges.

    Examples
    --------
    >>> from sc_lab.colours import gc_membership
    >>> near = gc_membership(26.1, 26.0, 26.51, err_f150w=0.05, err_f200w=0.05, err_f356w=0.05)
    >>> bool(near.inside), round(float(near.probability), 3), round(float(near.distance), 2)
    (True, 0.539, -0.01)
    """
    polygon = simple_polygon(vertices)
    mags = [_magnitude(mag, f"mag_{band}") for mag, band in zip((mag_f150w, mag_f200w, mag_f356w), _BANDS, strict=True)]
    shapes = {mag.shape for mag in mags}
    if len(shapes) > 1:
        found = ", ".join(str(mag.shape) for mag in mags)
        msg = f"the magnitudes have the shapes {found}; give one per clump in each band"
        raise InputError(msg)
    f150w, f200w, f356w = mags
    x, y = f200w - f356w, f150w - f200w
    distance = _distance(x, y, polygon)
    inside = distance < 0.0
    errors = [
        _error(err, f"err_{band}", f150w.shape)
        for err, band in zip((err_f150w, err_f200w, err_f356w), _BANDS, strict=True)
    ]
    probability = np.full(x.shape, np.nan)
    if all(err is not None for err in errors):
        s150, s200, s356 = (err for err in errors if err is not None)
        with np.errstate(invalid="ignore"):
            known = np.isfinite(x + y + s150 + s200 + s356)
            exact = known & (s150 == 0) & (s200 == 0) & (s356 == 0)
        spread = known & ~exact
        probability[exact] = inside[exact]
        probability[spread] = _probability(x[spread], y[spread], s150[spread], s200[spread], s356[spread], polygon)
    return GCMembership(x=x, y=y, inside=np.asarray(inside), probability=probability, distance=distance)


_BANDS = ("f150w", "f200w", "f356w")


def _magnitude(value: Any, name: str) -> FloatArray:
    """Return magnitudes as bare numbers; AB and plain magnitudes are the same number."""
    unit = getattr(value, "unit", None)
    if unit is not None and unit == u.ABmag:
        return np.array(value.value, dtype=np.float64)
    return value_in(value, u.mag, name)


def _error(value: Any, name: str, shape: tuple[int, ...]) -> FloatArray | None:
    """Return magnitude errors of every clump, or None where not given."""
    if value is None:
        return None
    err = _magnitude(value, name)
    if err.shape not in ((), shape):
        msg = f"{name} has the shape {err.shape} and the magnitudes {shape}; give one error, or one for each clump"
        raise InputError(msg)
    if np.any(err < 0):
        msg = f"{name} has {np.count_nonzero(err < 0)} negative value(s); give 0 mag or more, NaN where unknown"
        raise InputError(msg)
    return np.broadcast_to(err, shape)


def simple_polygon(vertices: Any) -> FloatArray:
    """Return the vertices of a simple polygon, or refuse them in words.

    Parameters
    ----------
    vertices : sequence of (float, float)
        The vertices in order around it, either sense of turning; the last may repeat the first.

    Returns
    -------
    ndarray
        Shape (k, 2), turning counter-clockwise, without the repeated vertex.

    Raises
    ------
    InputError
        If it has fewer than three vertices, crosses or touches itself, or has no area.
    """
    wanted = "give at least three (x, y) pairs in AB magnitudes"
    try:
        polygon = np.array([[float(x), float(y)] for x, y in vertices], dtype=np.float64)
    except (TypeError, ValueError, UnitMismatchError):
        msg = f"vertices is {vertices!r}; {wanted}"
        raise InputError(msg) from None
    if len(polygon) > 1 and np.array_equal(polygon[0], polygon[-1]):
        polygon = polygon[:-1]
    if len(polygon) < 3 or not np.isfinite(polygon).all():
        msg = f"vertices has {len(polygon)} distinct points or one that is not finite; {wanted}"
        raise InputError(msg)
    following = np.roll(polygon, -1, axis=0)
    if np.any(np.all(polygon == following, axis=1)):
        msg = "the polygon has the same vertex twice in a row; leave one of them out"
        raise InputError(msg)
    area = 0.5 * float(np.sum(polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]))
    crossing = _crossing(polygon.tolist())
    if crossing is not None:
        first, second = crossing
        msg = (
            f"the polygon crosses or touches itself: its edges {first} and {second} (counted from 0) meet; "
            "give the vertices in order around a simple polygon"
        )
        raise InputError(msg)
    if area == 0.0:
        msg = "the polygon has no area; give vertices that do not lie on one line"
        raise InputError(msg)
    return polygon if area > 0 else polygon[::-1].copy()


def _crossing(polygon: Sequence[Sequence[float]]) -> tuple[int, int] | None:
    """Return the first two edges that meet anywhere but at their common vertex, or None."""
    n = len(polygon)
    for i in range(n):
        a, b = polygon[i], polygon[(i + 1) % n]
        for j in range(i + 1, n):
            c, d = polygon[j], polygon[(j + 1) % n]
            if j == i + 1 or (i == 0 and j == n - 1):
                # Neighbours share one vertex; they meet elsewhere only when one folds back on the other.
                shared, p, q = (b, a, d) if j == i + 1 else (a, b, c)
                turn = _turn(shared, p, q)
                ahead = (p[0] - shared[0]) * (q[0] - shared[0]) + (p[1] - shared[1]) * (q[1] - shared[1])
                if turn == 0.0 and ahead > 0.0:
                    return i, j
            elif _meet(a, b, c, d):
                return i, j
    return None


def _turn(a: Sequence[float], b: Sequence[float], c: Sequence[float]) -> float:
    """Return twice the signed area of a triangle."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _meet(a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float]) -> bool:
    """Return whether two segments have a point in common."""
    t1, t2, t3, t4 = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if t1 * t2 < 0 and t3 * t4 < 0:
        return True
    return any(
        turn == 0.0 and min(p[0], q[0]) <= r[0] <= max(p[0], q[0]) and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])
        for turn, p, q, r in ((t1, a, b, c), (t2, a, b, d), (t3, c, d, a), (t4, c, d, b))
    )


def _distance(x: FloatArray, y: FloatArray, polygon: FloatArray) -> FloatArray:
    """Return the distance to the nearest edge, negative inside, zero on an edge."""
    nearest = np.full(x.shape, np.inf)
    odd = np.zeros(x.shape, dtype=bool)
    with np.errstate(invalid="ignore", over="ignore"):
        for (ax, ay), (bx, by) in zip(polygon.tolist(), np.roll(polygon, -1, axis=0).tolist(), strict=True):
            dx, dy = bx - ax, by - ay
            along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
            nearest = np.minimum(nearest, np.hypot(x - ax - along * dx, y - ay - along * dy))
            if dy != 0.0:
                # A ray to the right crosses the edge; half-open in y, so that a vertex counts once.
                odd ^= ((y >= ay) != (y >= by)) & (x < ax + (y - ay) * (dx / dy))
    return np.where(odd, -nearest, nearest)


def _probability(
    x: FloatArray, y: FloatArray, s150: FloatArray, s200: FloatArray, s356: FloatArray, polygon: FloatArray
) -> FloatArray:
    """Return the mass of each clump's Gaussian inside the polygon."""
    least = _LEAST_RATIO * np.maximum(np.maximum(s150, s200), s356)
    v150, v200, v356 = (np.maximum(s, least) ** 2 for s in (s150, s200, s356))
    # Cholesky factor of the covariance [[v200 + v356, -v200], [-v200, v150 + v200]]; the last entry is
    # written without the subtraction that would cancel when v200 dominates.
    l11 = np.sqrt(v200 + v356)
    l21 = -v200 / l11
    l22 = np.sqrt(v150 + v200 * v356 / (v200 + v356))
    white_x = (polygon[:, 0] - x[:, None]) / l11[:, None]
    white_y = (polygon[:, 1] - y[:, None] - l21[:, None] * white_x) / l22[:, None]
    next_x, next_y = np.roll(white_x, -1, axis=1), np.roll(white_y, -1, axis=1)
    edge_x, edge_y = next_x - white_x, next_y - white_y
    length = np.hypot(edge_x, edge_y)
    height = (white_x * next_y - white_y * next_x) / length
    start = (white_x * edge_x + white_y * edge_y) / length
    end = start + length
    # The signed mass of the triangle: its angle, less what lies beyond the edge. Sign by the turning sense.
    side = np.abs(height)
    with np.errstate(divide="ignore", invalid="ignore"):
        # An edge through the centre spans no triangle; elsewhere T is odd in the slope.
        mass = np.arctan2(end, side) - np.arctan2(start, side)
        mass /= 2.0 * math.pi
        mass -= owens_t(side, end / side) - owens_t(side, start / side)
    out = np.where(side > 0.0, np.copysign(mass, height), 0.0).sum(axis=1)
    return np.asarray(np.clip(out, 0.0, 1.0), dtype=float)
