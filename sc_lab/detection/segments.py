"""Segments of an image, and their outlines as contours of galaxies on the sky."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.detection.sources import measured_noise
from sc_lab.errors import InputError
from sc_lab.images.footprint import contour_box
from sc_lab.images.galaxy import Galaxy, union_galaxies

__all__ = ["Segments", "make_segments", "merge_segments", "segment_galaxies"]


@dataclass(frozen=True, eq=False)
class Segments:
    """A map that says which source each pixel belongs to.

    Attributes
    ----------
    labels : ndarray of int, shape (ny, nx)
        0 is sky; every other number a segment. May come from any program.
    band : Band
        The band whose pixels these are.
    x0, y0 : int
        Pixel of the band at element (0, 0).
    """

    labels: npt.NDArray[np.int32]
    band: Any
    x0: int = 0
    y0: int = 0

    def __post_init__(self) -> None:
        """Check that the map is one of whole numbers."""
        labels = np.asarray(self.labels)
        if labels.ndim != 2 or not np.all(np.isfinite(labels)) or not np.all(labels == np.round(labels)):
            msg = f"labels are {labels.dtype} of shape {labels.shape}; give a map (ny, nx) of whole numbers, 0 for sky"
            raise InputError(msg)
        object.__setattr__(self, "labels", labels.astype(np.int32))

    @property
    def ids(self) -> tuple[int, ...]:
        """Numbers of the segments."""
        return tuple(int(each) for each in np.unique(self.labels) if each > 0)

    def label_at(self, ra: float, dec: float) -> int:
        """Return the segment at a position.

        Parameters
        ----------
        ra, dec : float
            Position [deg].

        Returns
        -------
        int
            Its number; 0 where there is none.
        """
        x, y = self.band.to_pixel(ra, dec)
        column, row = round(float(x)) - self.x0, round(float(y)) - self.y0
        ny, nx = self.labels.shape
        return int(self.labels[row, column]) if 0 <= row < ny and 0 <= column < nx else 0


def make_segments(
    field: Any,
    band: str | None = None,
    region: Any = None,
    *,
    threshold: float = 2.0,
    min_area: int = 30,
    deblend_levels: int = 32,
    deblend_contrast: float = 0.01,
    background_size: int = 128,
) -> Segments:
    """Divide an image into sources.

    Parameters
    ----------
    field : Field
        The images.
    band : str, optional
        Band; None takes the reference band.
    region : Galaxy or array_like, shape (n, 2), optional
        Only the box around this contour of (ra, dec) [deg]; None takes the whole band.
    threshold : float
        Standard deviations above the background.
    min_area : int
        Fewest pixels of a segment.
    deblend_levels : int
        Levels at which a segment is looked at for several peaks.
    deblend_contrast : float
        Fraction of a segment's flux that a part must hold to be a segment of its own.
    background_size : int
        Cell of the background mesh [px]; wider than the galaxies.

    Returns
    -------
    Segments
        The map.

    Raises
    ------
    InputError
        If the region lies outside the band, has no usable pixel, or the extractor gives up.
    """
    import sep

    image = field[field.reference if band is None else band]
    ny, nx = image.shape
    box = (0, 0, nx, ny) if region is None else contour_box(image, region, margin=8)
    if box[2] == 0 or box[3] == 0:
        msg = f"the region lies outside band {getattr(image, 'name', band)}; its mosaic is {nx} x {ny} pixels"
        raise InputError(msg)
    data, error = image.cutout(*box)
    usable = np.isfinite(error) & (error > 0)
    bad = ~np.isfinite(data)
    if usable.any():
        bad |= ~usable
    if bad.all():
        msg = "the region has no usable pixel; choose another region or band"
        raise InputError(msg)
    values = np.ascontiguousarray(np.where(bad, 0.0, data))
    if min(values.shape) > background_size:
        values = values - sep.Background(values, mask=bad, bw=background_size, bh=background_size, fw=3, fh=3).back()
    sigma = np.where(bad, 1.0, error) if usable.any() else np.full(values.shape, measured_noise(values[~bad]))
    if not (sigma > 0).all():
        return Segments(np.zeros(values.shape, dtype=np.int32), image, box[0], box[1])
    try:
        _, labels = sep.extract(
            values,
            threshold,
            err=sigma,
            mask=bad,
            minarea=min_area,
            filter_type="conv",
            deblend_nthresh=deblend_levels,
            deblend_cont=deblend_contrast,
            segmentation_map=True,
        )
    except Exception as problem:
        msg = f"the source extractor gave up ({problem}); raise the threshold or choose a smaller region"
        raise InputError(msg) from problem
    return Segments(labels, image, box[0], box[1])


def segment_galaxies(
    segments: Segments, labels: Iterable[int] | None = None, *, prefix: str = "", tolerance: float = 1.0
) -> tuple[Galaxy, ...]:
    """Return one galaxy per segment, outlined on the sky.

    Parameters
    ----------
    segments : Segments
        The map.
    labels : iterable of int, optional
        Which segments; None takes all.
    prefix : str
        Put before the segment's number to make the galaxy's id.
    tolerance : float
        Vertices are dropped as long as the outline moves by less than this [px]; a contour that is edited by hand
        should not have hundreds of vertices.

    Returns
    -------
    tuple of Galaxy
        Without redshift. A hole within a segment belongs to the galaxy.

    Raises
    ------
    InputError
        If the map has no such segment.
    """
    wanted = segments.ids if labels is None else tuple(int(each) for each in labels)
    return tuple(merge_segments(segments, [label], name=f"{prefix}{label}", tolerance=tolerance) for label in wanted)


def merge_segments(
    segments: Segments,
    labels: Sequence[int],
    *,
    name: str | None = None,
    z: float = float("nan"),
    z_spec: bool = False,
    dz: float = float("nan"),
    system: str = "",
    image: str = "",
    max_gap: u.Quantity = 1.0 * u.arcsec,
    tolerance: float = 1.0,
) -> Galaxy:
    """Return the galaxy that several segments of one arc make up.

    Parameters
    ----------
    segments : Segments
        The map.
    labels : sequence of int
        Numbers of the segments.
    name : str, optional
        Id of the galaxy; None joins the numbers by a plus sign.
    z : float
        Redshift.
    z_spec : bool
        Whether it is spectroscopic.
    dz : float
        Uncertainty of a photometric redshift.
    system : str
        Name of the source.
    image : str
        Name of the image.
    max_gap : `~astropy.units.Quantity`
        Pieces no further apart than this are joined by a narrow bridge.
    tolerance : float
        Vertices are dropped as long as the outline moves by less than this [px].

    Returns
    -------
    Galaxy
        One closed contour.

    Raises
    ------
    InputError
        If the map has no such segment, or the pieces are too far apart.
    """
    numbers = [int(each) for each in labels]
    if not numbers:
        msg = "there are no segments to merge; give at least one number"
        raise InputError(msg)
    mask = np.isin(segments.labels, [each for each in numbers if each > 0])
    present = set(np.unique(segments.labels[mask]).tolist())
    if missing := [each for each in numbers if each not in present]:
        msg = f"the map has no segment {', '.join(map(str, missing))}; its numbers are those of Segments.ids"
        raise InputError(msg)
    identity = "+".join(map(str, numbers)) if name is None else name
    pieces = [
        Galaxy(
            id=identity,
            contour=np.stack(segments.band.to_sky(line[:, 0] + segments.x0, line[:, 1] + segments.y0), axis=1),
            z=z,
            z_spec=z_spec,
            dz=dz,
            system=system,
            image=image,
        )
        for line in _outlines(mask, tolerance)
    ]
    return union_galaxies(pieces, max_gap=max_gap, name=identity)


def _outlines(mask: npt.NDArray[np.bool_], tolerance: float) -> list[npt.NDArray[np.float64]]:
    """Return the outer outlines of a mask in its pixels, the largest first."""
    import contourpy
    from shapely.geometry import Polygon
    from shapely.ops import unary_union

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y0, x0 = int(rows[0]), int(columns[0])
    # A rim of zeros closes every line; half-way between 0 and 1 is where pixels end.
    inner = np.pad(mask[y0 : rows[-1] + 1, x0 : columns[-1] + 1].astype(np.float64), 1)
    lines = contourpy.contour_generator(z=inner).lines(0.5)
    merged = unary_union([Polygon(line).buffer(0) for line in lines if len(line) > 3]).simplify(tolerance)
    parts = [part for part in getattr(merged, "geoms", [merged]) if part.geom_type == "Polygon" and part.area > 0]
    parts.sort(key=lambda part: -part.area)
    corner = np.array([x0 - 1, y0 - 1], dtype=np.float64)
    return [np.asarray(part.exterior.coords)[:-1] + corner for part in parts]
