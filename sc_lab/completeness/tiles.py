"""Where clumps may be injected: pieces of a mosaic, read one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.images.footprint import contour_box, contour_pixels, polygon_coverage
from sc_lab.images.galaxy import Galaxy
from sc_lab.units import FloatArray

__all__ = ["Tile", "Window", "read_tile", "region_windows"]

#: Pixels beyond a contour that the detection looks at, too.
_CONTOUR_MARGIN = 12
#: Side of the pieces of a large region, and what is read beyond them so that rims are as good as middles [px].
_SIDE = 512
_OVERLAP = 48
_LARGEST = 1536


@dataclass(frozen=True, eq=False)
class Window:
    """A rectangle of a band in which clumps are injected.

    Attributes
    ----------
    x0, y0, nx, ny : int
        Rectangle in which a clump's centre may lie [px].
    margin : int
        Pixels that are read beyond it on each side.
    vertices : ndarray, shape (n, 2), or None
        Polygon (x, y) [px of the band] that must hold the centre as well.
    """

    x0: int
    y0: int
    nx: int
    ny: int
    margin: int
    vertices: FloatArray | None

    def inside(self) -> npt.NDArray[np.bool_]:
        """Return which pixels of the rectangle may hold a centre.

        Returns
        -------
        ndarray of bool, shape (ny, nx)
            True inside the polygon.
        """
        if self.vertices is None:
            return np.ones((self.ny, self.nx), dtype=bool)
        return np.asarray(polygon_coverage(self.vertices, self.x0, self.y0, self.nx, self.ny) > 0)


@dataclass(frozen=True, eq=False)
class Tile:
    """The pixels of a window with what is needed to inject and recover there; travels to other processes.

    Attributes
    ----------
    data, error : ndarray, shape (ny, nx)
        Image and its error [nJy per pixel], margin included.
    allowed : ndarray of bool, shape (ny, nx)
        True where a clump's centre may lie: in the region, on a pixel that can be used.
    x0, y0 : int
        Pixel of the band at element (0, 0).
    stamp : ndarray
        PSF, centred; see `sc_lab.images.Psf`.
    stamp_scale, pixel_scale : float
        Arcsec per pixel of the stamp and of the band.
    oversampling : int
        Of the stamp.
    energy_fraction : float
        Share of a point source's light inside the stamp.
    """

    data: FloatArray
    error: FloatArray
    allowed: npt.NDArray[np.bool_]
    x0: int
    y0: int
    stamp: FloatArray
    stamp_scale: float
    pixel_scale: float
    oversampling: int
    energy_fraction: float

    @property
    def psf(self) -> Any:
        """The PSF as an object."""
        from sc_lab.images.psf import Psf

        return Psf(self.stamp, self.stamp_scale, self.energy_fraction, self.oversampling)


def region_windows(field: Any, band: Any, region: Any) -> tuple[Window, ...]:
    """Return the rectangles that cover a region.

    Parameters
    ----------
    field : Field
        Its galaxies are the region where none is given.
    band : Band
        The image.
    region : Galaxy, sequence of Galaxy, array_like (n, 2), 'all' or None
        As in `sc_lab.detection.detect_clumps`.

    Returns
    -------
    tuple of Window
        At least one.

    Raises
    ------
    InputError
        If the region is none of these or lies outside the band.
    """
    ny, nx = band.shape
    if region is None:
        region = tuple(field.galaxies) or "all"
    if isinstance(region, str):
        if region != "all":
            msg = f"region is {region!r}; give a galaxy, a polygon of (ra, dec), 'all', or None"
            raise InputError(msg)
        return tuple(_pieces(0, 0, nx, ny, None))
    if isinstance(region, Galaxy):
        region = (region,)
    elif not (isinstance(region, Sequence) and region and all(isinstance(each, Galaxy) for each in region)):
        region = (Galaxy(id="region", contour=region),)
    out: list[Window] = []
    for galaxy in region:
        x0, y0, width, height = contour_box(band, galaxy)
        if width < 1 or height < 1:
            continue
        vertices = contour_pixels(band, galaxy)
        if max(width, height) > _LARGEST:
            out += _pieces(x0, y0, width, height, vertices)
        else:
            out.append(Window(x0, y0, width, height, _CONTOUR_MARGIN, vertices))
    out = [window for window in out if window.inside().any()]
    if not out:
        names = ", ".join(galaxy.id for galaxy in region)
        msg = f"no pixel of band {band.name} lies inside {names}; check that its contour is (ra, dec) in degrees"
        raise InputError(msg)
    return tuple(out)


def _pieces(x0: int, y0: int, nx: int, ny: int, vertices: FloatArray | None) -> list[Window]:
    """Return pieces of about equal size, so that none is a sliver."""
    edges = [
        np.linspace(start, start + size, max(1, round(size / _SIDE)) + 1).astype(int)
        for start, size in ((x0, nx), (y0, ny))
    ]
    return [
        Window(int(xa), int(ya), int(xb - xa), int(yb - ya), _OVERLAP, vertices)
        for ya, yb in zip(edges[1][:-1], edges[1][1:], strict=True)
        for xa, xb in zip(edges[0][:-1], edges[0][1:], strict=True)
    ]


def read_tile(band: Any, window: Window) -> Tile:
    """Return the pixels of a window.

    Parameters
    ----------
    band : Band
        The image, with a PSF.
    window : Window
        What to read.

    Returns
    -------
    Tile
        Only these pixels are read from the file.
    """
    ny, nx = band.shape
    xa, ya = max(window.x0 - window.margin, 0), max(window.y0 - window.margin, 0)
    xb = min(window.x0 + window.nx + window.margin, nx)
    yb = min(window.y0 + window.ny + window.margin, ny)
    data, error = band.cutout(xa, ya, xb - xa, yb - ya)
    allowed = np.zeros(data.shape, dtype=bool)
    left, bottom = window.x0 - xa, window.y0 - ya
    allowed[bottom : bottom + window.ny, left : left + window.nx] = window.inside()
    allowed &= np.isfinite(data) & np.isfinite(error) & (error > 0)
    psf = band.psf
    return Tile(
        data=data,
        error=error,
        allowed=allowed,
        x0=xa,
        y0=ya,
        stamp=np.asarray(psf.stamp),
        stamp_scale=float(psf.pixel_scale),
        pixel_scale=float(band.pixel_scale),
        oversampling=int(psf.oversampling),
        energy_fraction=float(psf.energy_fraction),
    )
