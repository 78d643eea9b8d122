"""A galaxy on the sky: its contour, redshift and place in a system of images, and the pure edits of the contour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError
from sc_lab.units import FloatArray, value_in

__all__ = [
    "Galaxy",
    "delete_vertex",
    "galaxy_at",
    "insert_vertex",
    "move_contour",
    "move_vertex",
    "split_galaxy",
    "subtract_contour",
    "union_galaxies",
]

_HALF_TURN = 180.0
_ARCSEC = 3600.0
_MIN_VERTICES = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Galaxy:
    """One image of one galaxy.

    Attributes
    ----------
    id : str
        Unique name of this image.
    contour : ndarray, shape (n, 2)
        Vertices (ra, dec) [ICRS deg] of a closed polygon; the first vertex is not repeated.
        A repeated last vertex is dropped when the galaxy is made.
    z : float
        Redshift; NaN where unknown.
    system : str
        Name shared by the images of one source; empty for a single image.
    image : str
        Name of this image within its system, for example ``"2.1"``.
    z_spec : bool
        Whether the redshift is spectroscopic.
    dz : float
        Uncertainty of a photometric redshift (half of the 68 % interval); NaN where unknown.
    is_reference : bool
        Whether this image stands for its system where clumps are counted once.
    """

    id: str
    contour: FloatArray
    z: float = math.nan
    system: str = ""
    image: str = ""
    z_spec: bool = False
    dz: float = math.nan
    is_reference: bool = False
    _shape: list[Any] = field(default_factory=list, repr=False, init=False)

    def __post_init__(self) -> None:
        """Check the contour and make it read-only."""
        if not str(self.id):
            msg = "a galaxy has an empty id; give each galaxy a name of its own"
            raise InputError(msg)
        contour = _checked_contour(self.contour, self.id)
        contour.flags.writeable = False
        object.__setattr__(self, "id", str(self.id))
        object.__setattr__(self, "contour", contour)
        z, dz = float(self.z), float(self.dz)
        if z < 0 or math.isinf(z):
            msg = f"galaxy {self.id} has the redshift {z:g}; give a number >= 0, or NaN where it is unknown"
            raise InputError(msg)
        object.__setattr__(self, "z", z)
        object.__setattr__(self, "dz", dz)
        polygon = self.polygon
        if not polygon.is_valid:
            from shapely.validation import explain_validity

            # "Self-intersection[x y]": the place is in arcsec about the first vertex
            why, _, place = str(explain_validity(polygon)).partition("[")
            where = f" {place.rstrip(']').strip()} arcsec from the first vertex (east, north)" if place else ""
            msg = f"the contour of galaxy {self.id} is not a simple polygon ({why.lower()}{where}); its sides may not cross"
            raise InputError(msg)
        if not polygon.area > 0:
            msg = f"the contour of galaxy {self.id} encloses no area; give vertices that do not lie on one line"
            raise InputError(msg)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Galaxy) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.id, self.contour.tobytes()))

    # ---- geometry -----------------------------------------------------------------------

    @property
    def polygon(self) -> Any:
        """Contour as a shapely polygon in arcsec (east, north) about the first vertex."""
        if not self._shape:
            from shapely.geometry import Polygon

            self._shape.append(Polygon(_to_plane(self.contour, self.contour[0])))
        return self._shape[0]

    @property
    def closed(self) -> FloatArray:
        """Contour with the first vertex repeated at the end, shape (n + 1, 2), as a line is drawn."""
        return np.vstack([self.contour, self.contour[:1]])

    @property
    def centre(self) -> tuple[float, float]:
        """Point (ra, dec) [deg] in the middle of the contour; always inside, also for an arc."""
        polygon = self.polygon
        point = polygon.centroid
        if not polygon.contains(point):
            point = polygon.representative_point()
        ra, dec = _to_sky(np.array([[point.x, point.y]]), self.contour[0])[0]
        return float(ra), float(dec)

    @property
    def area(self) -> u.Quantity:
        """Area of the contour [arcsec2]."""
        return float(self.polygon.area) * u.arcsec**2

    def contains(self, ra: Any, dec: Any) -> Any:
        """Return whether positions lie inside the contour.

        Parameters
        ----------
        ra, dec : array_like
            Positions [deg]; any one shape.

        Returns
        -------
        ndarray of bool
            Same shape; False where a position is NaN.
        """
        import shapely

        ra, dec = np.broadcast_arrays(value_in(ra, u.deg, "ra"), value_in(dec, u.deg, "dec"))
        plane = _to_plane(np.stack([ra, dec], axis=-1), self.contour[0])
        return np.asarray(shapely.contains_xy(self.polygon, plane[..., 0], plane[..., 1]))

    def rim_distance(self, ra: Any, dec: Any) -> FloatArray:
        """Return how far positions lie from the contour's line.

        Parameters
        ----------
        ra, dec : array_like
            Positions [deg]; any one shape.

        Returns
        -------
        ndarray
            Same shape [arcsec], inside and outside alike; NaN where a position is NaN.
        """
        import shapely

        ra, dec = np.broadcast_arrays(value_in(ra, u.deg, "ra"), value_in(dec, u.deg, "dec"))
        plane = _to_plane(np.stack([ra, dec], axis=-1), self.contour[0])
        return np.asarray(shapely.distance(self.polygon.exterior, shapely.points(plane)), dtype=np.float64)

    # ---- as JSON ------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the galaxy as JSON values; NaN becomes None.

        Returns
        -------
        dict
            What `from_dict` reads.
        """
        return {
            "id": self.id,
            "contour": self.contour.tolist(),
            "z": self.z if math.isfinite(self.z) else None,
            "system": self.system,
            "image": self.image,
            "z_spec": bool(self.z_spec),
            "dz": self.dz if math.isfinite(self.dz) else None,
            "is_reference": bool(self.is_reference),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Galaxy:
        """Return the galaxy that `to_dict` wrote.

        Parameters
        ----------
        values : mapping
            At least ``id`` and ``contour``.

        Returns
        -------
        Galaxy
            The galaxy.

        Raises
        ------
        InputError
            If a key is missing or unknown, or a value cannot be used.
        """
        known = {"id", "contour", "z", "system", "image", "z_spec", "dz", "is_reference"}
        if missing := {"id", "contour"} - set(values):
            msg = f"a galaxy needs the keys id and contour; missing: {', '.join(sorted(missing))}"
            raise InputError(msg)
        if unknown := set(values) - known:
            msg = f"a galaxy has the unknown keys {', '.join(sorted(map(str, unknown)))}; known are {', '.join(sorted(known))}"
            raise InputError(msg)
        kept = dict(values)
        for key in ("z", "dz"):
            if kept.get(key) is None:
                kept[key] = math.nan
        return cls(**kept)


# ---- pure edits: a galaxy in, a new galaxy out ---------------------------------------------


def move_vertex(galaxy: Galaxy, index: int, ra: float, dec: float) -> Galaxy:
    """Return the galaxy with one vertex elsewhere.

    Parameters
    ----------
    galaxy : Galaxy
        The galaxy.
    index : int
        Number of the vertex, from 0.
    ra, dec : float
        Its new place [deg].

    Returns
    -------
    Galaxy
        The edited galaxy.

    Raises
    ------
    InputError
        If there is no such vertex, or the sides would cross.
    """
    contour = galaxy.contour.copy()
    contour[_index(galaxy, index)] = ra, dec
    return replace(galaxy, contour=contour)


def insert_vertex(galaxy: Galaxy, ra: float, dec: float) -> Galaxy:
    """Return the galaxy with one vertex more, on the side that is nearest to it.

    Parameters
    ----------
    galaxy : Galaxy
        The galaxy.
    ra, dec : float
        Place of the new vertex [deg].

    Returns
    -------
    Galaxy
        The edited galaxy; vertices before the new one keep their numbers.

    Raises
    ------
    InputError
        If the sides would cross.
    """
    plane = _to_plane(galaxy.contour, galaxy.contour[0])
    point = _to_plane(np.array([[ra, dec]], dtype=np.float64), galaxy.contour[0])[0]
    start, step = plane, np.roll(plane, -1, axis=0) - plane
    length2 = np.maximum((step**2).sum(axis=1), np.finfo(float).tiny)
    along = np.clip(((point - start) * step).sum(axis=1) / length2, 0.0, 1.0)
    distance = np.hypot(*(start + along[:, None] * step - point).T)
    after = int(np.argmin(distance))
    return replace(galaxy, contour=np.insert(galaxy.contour, after + 1, (ra, dec), axis=0))


def delete_vertex(galaxy: Galaxy, index: int) -> Galaxy:
    """Return the galaxy with one vertex fewer.

    Parameters
    ----------
    galaxy : Galaxy
        The galaxy.
    index : int
        Number of the vertex, from 0.

    Returns
    -------
    Galaxy
        The edited galaxy.

    Raises
    ------
    InputError
        If there is no such vertex, only three are left, or the sides would cross.
    """
    at = _index(galaxy, index)
    if len(galaxy.contour) <= _MIN_VERTICES:
        msg = f"galaxy {galaxy.id} has only {len(galaxy.contour)} vertices; a contour needs three, so move one instead"
        raise InputError(msg)
    return replace(galaxy, contour=np.delete(galaxy.contour, at, axis=0))


def move_contour(galaxy: Galaxy, d_ra: float, d_dec: float) -> Galaxy:
    """Return the galaxy with its whole contour shifted.

    Parameters
    ----------
    galaxy : Galaxy
        The galaxy.
    d_ra, d_dec : float
        Shift towards the east and the north, on the sky [arcsec].

    Returns
    -------
    Galaxy
        The edited galaxy.
    """
    origin = galaxy.contour[0]
    shift = np.array([d_ra, d_dec], dtype=np.float64)
    return replace(galaxy, contour=_to_sky(_to_plane(galaxy.contour, origin) + shift, origin))


def union_galaxies(
    galaxies: Sequence[Galaxy], *, max_gap: u.Quantity = 1.0 * u.arcsec, name: str | None = None
) -> Galaxy:
    """Return one galaxy whose contour holds all of several, as the segments of one arc are merged.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        At least one; the first lends its redshift, system and image.
    max_gap : `~astropy.units.Quantity`
        Pieces no further apart than this are joined by a narrow bridge.
    name : str, optional
        Id of the result; None keeps the first one's.

    Returns
    -------
    Galaxy
        The merged galaxy.

    Raises
    ------
    InputError
        If the sequence is empty or the pieces are further apart than ``max_gap``.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.1: the catalogue's segments of one arc are merged into one contour.
    A hole that the pieces enclose is filled.
    """
    from shapely.geometry import Polygon
    from shapely.ops import unary_union

    if not galaxies:
        msg = "there are no galaxies to merge; give at least one"
        raise InputError(msg)
    gap = float(value_in(max_gap, u.arcsec, "max_gap"))
    origin = galaxies[0].contour[0]
    pieces = [Polygon(_to_plane(each.contour, origin)) for each in galaxies]
    merged = _joined(unary_union(pieces), gap)
    if merged is None:
        names = ", ".join(each.id for each in galaxies)
        msg = f"the contours of {names} are more than {gap:g} arcsec apart; raise max_gap, or leave them as images of one system"
        raise InputError(msg)
    return replace(galaxies[0], id=galaxies[0].id if name is None else name, contour=_ring(merged, origin))


def subtract_contour(galaxy: Galaxy, contour: Any) -> Galaxy:
    """Return the galaxy without the part that another polygon covers.

    Parameters
    ----------
    galaxy : Galaxy
        The galaxy.
    contour : Galaxy or array_like, shape (n, 2)
        What to cut away; vertices (ra, dec) [deg].

    Returns
    -------
    Galaxy
        The edited galaxy.

    Raises
    ------
    InputError
        If nothing, several pieces or a ring would be left.
    """
    other = contour if isinstance(contour, Galaxy) else Galaxy(id=f"{galaxy.id} (cut)", contour=contour)
    from shapely.geometry import Polygon

    origin = galaxy.contour[0]
    left = galaxy.polygon.difference(Polygon(_to_plane(other.contour, origin)))
    pieces = _polygons(left)
    if len(pieces) != 1:
        what = "nothing" if not pieces else f"{len(pieces)} pieces"
        mend = "cut less" if not pieces else "use split_galaxy, which makes a galaxy of each"
        msg = f"cutting galaxy {galaxy.id} would leave {what}; {mend}"
        raise InputError(msg)
    if pieces[0].interiors:
        msg = f"the cut lies wholly inside galaxy {galaxy.id} and would leave a hole; let it reach over the rim"
        raise InputError(msg)
    return replace(galaxy, contour=_ring(pieces[0], origin))


def split_galaxy(galaxy: Galaxy, line: Any, *, ids: Sequence[str] | None = None) -> tuple[Galaxy, ...]:
    """Return the parts into which a line divides a galaxy.

    Parameters
    ----------
    galaxy : Galaxy
        The galaxy.
    line : array_like, shape (n, 2)
        Points (ra, dec) [deg] of a line that crosses the contour.
    ids : sequence of str, optional
        Names of the parts, the largest first; None appends a, b, c ... to the galaxy's name.

    Returns
    -------
    tuple of Galaxy
        The parts, the largest first.

    Raises
    ------
    InputError
        If the line does not divide the contour, or ``ids`` has another length.
    """
    from shapely.geometry import LineString
    from shapely.ops import split

    points = np.asarray(value_in(line, u.deg, "line"))
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
        msg = f"line has the shape {points.shape}; give at least two finite points (ra, dec)"
        raise InputError(msg)
    origin = galaxy.contour[0]
    parts = _polygons(split(galaxy.polygon, LineString(_to_plane(points, origin))))
    parts.sort(key=lambda part: -part.area)
    if len(parts) < 2:
        msg = f"the line does not divide galaxy {galaxy.id}; let it begin and end outside the contour"
        raise InputError(msg)
    if ids is None:
        ids = [f"{galaxy.id}{_letters(k)}" for k in range(len(parts))]
    if len(ids) != len(parts):
        msg = (
            f"the line makes {len(parts)} parts of galaxy {galaxy.id}, but {len(ids)} ids were given; give one for each"
        )
        raise InputError(msg)
    return tuple(replace(galaxy, id=name, contour=_ring(part, origin)) for name, part in zip(ids, parts, strict=True))


def galaxy_at(galaxies: Sequence[Galaxy], ra: float, dec: float) -> Galaxy | None:
    """Return the galaxy whose contour holds a position.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        Where to look.
    ra, dec : float
        The position [deg].

    Returns
    -------
    Galaxy or None
        The smallest of those that hold it; None where none does.
    """
    held = [each for each in galaxies if each.contains(ra, dec)]
    return min(held, key=lambda each: float(each.polygon.area)) if held else None


# ---- inside -------------------------------------------------------------------------------


def _checked_contour(contour: Any, name: str) -> FloatArray:
    points = np.array(value_in(contour, u.deg, "contour"))
    if points.ndim != 2 or points.shape[1] != 2:
        msg = f"the contour of galaxy {name} has the shape {points.shape}; give vertices (ra, dec) as (n, 2)"
        raise InputError(msg)
    if not np.isfinite(points).all():
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        msg = f"the contour of galaxy {name} is not finite at vertex {', '.join(map(str, bad[:5]))}; give numbers in degrees"
        raise InputError(msg)
    if (np.abs(points[:, 1]) > 90).any():
        msg = f"the contour of galaxy {name} has a declination beyond 90 deg; give (ra, dec) in this order, in degrees"
        raise InputError(msg)
    points[:, 0] %= 360.0
    if len(points) > 1:
        # A vertex that equals the next one (so also the last one that closes the ring) has no side of its own.
        points = points[np.any(points != np.roll(points, -1, axis=0), axis=1)]
    if len(points) < _MIN_VERTICES:
        msg = f"the contour of galaxy {name} has {len(points)} different vertices; a contour needs at least three"
        raise InputError(msg)
    return points


def _to_plane(sky: FloatArray, origin: FloatArray) -> FloatArray:
    """Return offsets (east, north) in arcsec, right ascension wrapped."""
    east = ((sky[..., 0] - origin[0] + _HALF_TURN) % (2 * _HALF_TURN)) - _HALF_TURN
    east = east * math.cos(math.radians(origin[1]))
    return np.stack([east, sky[..., 1] - origin[1]], axis=-1) * _ARCSEC


def _to_sky(plane: FloatArray, origin: FloatArray) -> FloatArray:
    """Return (ra, dec) in degrees: the inverse of ``_to_plane``."""
    ra = origin[0] + plane[..., 0] / (_ARCSEC * math.cos(math.radians(origin[1])))
    return np.stack([ra % 360.0, origin[1] + plane[..., 1] / _ARCSEC], axis=-1)


def _index(galaxy: Galaxy, index: int) -> int:
    n = len(galaxy.contour)
    if not -n <= index < n:
        msg = f"galaxy {galaxy.id} has the vertices 0 to {n - 1}; there is no vertex {index}"
        raise InputError(msg)
    return int(index) % n


def _polygons(shape: Any) -> list[Any]:
    """Return the polygons of a shape that are more than slivers of rounding."""
    parts = getattr(shape, "geoms", [shape])
    return [part for part in parts if part.geom_type == "Polygon" and part.area > 1e-9]


def _ring(polygon: Any, origin: FloatArray) -> FloatArray:
    return _to_sky(np.asarray(polygon.exterior.coords)[:-1], origin)


def _joined(shape: Any, max_gap: float) -> Any:
    """Return one polygon of several, bridged at their nearest points; None where a gap is too wide."""
    from shapely.geometry import LineString
    from shapely.ops import nearest_points, unary_union

    pieces = _polygons(shape)
    joined = pieces.pop(0)
    while pieces:
        nearest = min(pieces, key=joined.distance)
        gap = joined.distance(nearest)
        if gap > max_gap:
            return None
        pieces.remove(nearest)
        # The bridge is a twentieth of an arcsec wide: thinner than any clump, wider than rounding.
        bridge = LineString(nearest_points(joined, nearest)).buffer(0.025, quad_segs=1)
        joined = unary_union([joined, nearest, bridge])
        if joined.geom_type != "Polygon":
            return None
    return joined


def _letters(k: int) -> str:
    text = ""
    k += 1
    while k:
        k, digit = divmod(k - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
