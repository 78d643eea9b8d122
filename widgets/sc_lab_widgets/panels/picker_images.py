"""What the picker shows of the pixels: which part, at which stretch, as bytes for the screen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sc_lab.images import Field

__all__ = [
    "LARGEST",
    "WIDEST",
    "Box",
    "Channels",
    "Place",
    "box_around",
    "covering",
    "cutout",
    "grey",
    "levels",
    "place_of",
    "residual_bytes",
    "shrunk",
    "stretched",
    "thinned",
]

#: Largest side of a picture sent to the browser [px]; beyond it the message would take longer than a click may.
LARGEST = 900
#: Largest side of a cut-out [px]; wider than `LARGEST` it is sent shrunk.
WIDEST = 1800
_SMALLEST = 24
#: White lies at least this far above black [noise].
_DEEP = 20.0


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels of the reference band: first pixel and size."""

    x0: int
    y0: int
    nx: int
    ny: int

    def placement(self) -> dict[str, list[float]]:
        """Return where bokeh has to draw an image of this box; a pixel's centre is at its index."""
        return {"x": [self.x0 - 0.5], "y": [self.y0 - 0.5], "dw": [self.nx], "dh": [self.ny]}

    def contains(self, x: Any, y: Any) -> Any:
        """Return whether positions lie in the box."""
        with np.errstate(invalid="ignore"):
            return (
                (np.asarray(x) >= self.x0 - 0.5)
                & (np.asarray(x) < self.x0 + self.nx - 0.5)
                & (np.asarray(y) >= self.y0 - 0.5)
                & (np.asarray(y) < self.y0 + self.ny - 0.5)
            )


def box_around(x: Any, y: Any, shape: tuple[int, int], *, pad: float = 0.12) -> Box:
    """Return the square cut-out around positions, inside the mosaic where it can be.

    Parameters
    ----------
    x, y : array_like
        Positions [px], for instance the vertices of a contour.
    shape : (int, int)
        Shape of the mosaic (ny, nx).
    pad : float
        Margin on each side, as a fraction of the side.

    Returns
    -------
    Box
        At most `WIDEST` pixels on a side.

    Raises
    ------
    InputError
        If no position is finite.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    if not x.size or not y.size:
        msg = "the contour has no vertex inside the mosaic; give the galaxy a contour on this field"
        raise InputError(msg)
    side = max(float(np.ptp(x)), float(np.ptp(y)), 1.0) * (1 + 2 * pad) + 1
    n = int(np.clip(np.ceil(side), _SMALLEST, WIDEST))
    ny, nx = shape
    x0 = round((x.min() + x.max()) / 2 - (n - 1) / 2)
    y0 = round((y.min() + y.max()) / 2 - (n - 1) / 2)
    # A cut-out that sticks out is moved in; a mosaic smaller than it is shown whole.
    x0, y0 = max(min(x0, nx - n), 0), max(min(y0, ny - n), 0)
    return Box(x0, y0, min(n, nx), min(n, ny))


def shrunk(image: np.ndarray, most: int = LARGEST) -> tuple[np.ndarray, int]:
    """Return an image small enough to be sent, by the mean of square blocks.

    Parameters
    ----------
    image : ndarray, shape (..., ny, nx)
        The image.
    most : int
        Pixels on a side at most.

    Returns
    -------
    image : ndarray, shape (..., ceil(ny / n), ceil(nx / n))
        The means; the image itself where it is small enough.
    n : int
        Side of a block.
    """
    *others, ny, nx = image.shape
    n = -(-max(ny, nx) // most)
    if n < 2:
        return image, 1
    full = np.pad(image, [(0, 0)] * len(others) + [(0, -ny % n), (0, -nx % n)], mode="edge")
    blocks = full.reshape(*others, full.shape[-2] // n, n, full.shape[-1] // n, n)
    return np.asarray(blocks.mean(axis=(-3, -1))), n


def thinned(outline: np.ndarray, most: int = 24) -> np.ndarray:
    """Return a polygon with few enough vertices to be edited by hand.

    Parameters
    ----------
    outline : ndarray, shape (n, 2)
        Vertices [px].
    most : int
        Vertices wanted at most.

    Returns
    -------
    ndarray, shape (m, 2)
        Some of the vertices; all of them where they are few.
    """
    if len(outline) <= most:
        return outline
    from shapely.geometry import Polygon

    tolerance = 0.25
    while len(outline) > most:
        simpler = Polygon(outline).simplify(tolerance)
        if simpler.geom_type != "Polygon" or simpler.is_empty:
            break
        outline = np.asarray(simpler.exterior.coords)[:-1]
        tolerance *= 1.5
    return outline


def levels(image: np.ndarray, *, low: float = 0.25, high: float = 0.9995) -> tuple[float, float, float]:
    """Return black level, white level and noise of an image.

    Parameters
    ----------
    image : ndarray
        The image.
    low, high : float
        Quantiles of the two levels.

    Returns
    -------
    black, white, noise : float
        In units of the image; the noise from the absolute deviations below the median.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0, 1.0
    black, middle, white = (float(q) for q in np.quantile(finite, [low, 0.5, high]))
    below = middle - finite[finite <= middle]
    noise = 1.4826 * float(np.median(below)) if below.size else 0.0
    if not noise > 0:
        noise = max(abs(white - black), 1e-30) / 10
    return black, white if white > black else black + noise, noise


def stretched(image: np.ndarray, black: float, white: float, softening: float) -> np.ndarray:
    """Return an image as bytes on an asinh stretch.

    Parameters
    ----------
    image : ndarray
        The image.
    black, white : float
        Levels shown as 0 and 255.
    softening : float
        Below this brightness above black the stretch is linear.

    Returns
    -------
    ndarray of uint8
        The image; pixels without data are 0.
    """
    with np.errstate(invalid="ignore"):
        scaled = np.arcsinh((image - black) / softening) / np.arcsinh((white - black) / softening)
    return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 1) * 255 + 0.5).astype(np.uint8)


def residual_bytes(residual: np.ndarray, reach: float) -> np.ndarray:
    """Return a residual as bytes, 128 meaning zero.

    Parameters
    ----------
    residual : ndarray
        The residual.
    reach : float
        Value shown at the end of the palette.

    Returns
    -------
    ndarray of uint8
        The image; pixels without data count as zero.
    """
    with np.errstate(invalid="ignore"):
        scaled = np.nan_to_num(residual / reach, nan=0.0)
    return np.asarray((np.clip(scaled, -1, 1) + 1) * 127.5 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Place:
    """Which pixels of a band a cut-out takes, and where they lie among those of the reference band."""

    box: Box
    x: float
    y: float
    dw: float
    dh: float

    def placement(self) -> dict[str, list[float]]:
        """Return where bokeh has to draw the image."""
        return {"x": [self.x], "y": [self.y], "dw": [self.dw], "dh": [self.dh]}


def covering(place: Place, n: int) -> Place:
    """Return where an image of blocks lies, the last of which may reach over the edge.

    Parameters
    ----------
    place : Place
        Place of the pixels.
    n : int
        Side of a block.

    Returns
    -------
    Place
        Place of the blocks.
    """
    nx, ny = place.box.nx, place.box.ny
    return replace(place, dw=place.dw * (nx + -nx % n) / nx, dh=place.dh * (ny + -ny % n) / ny)


def place_of(field: Field, band: str, box: Box) -> Place:
    """Return the pixels of a band that cover a cut-out.

    Parameters
    ----------
    field : Field
        The field.
    band : str
        The band.
    box : Box
        The cut-out, in pixels of the reference band.

    Returns
    -------
    Place
        Whole pixels of the band; a band turned against the reference is drawn unturned about the
        middle, which is right to a pixel where the angle times the side is less than one.
    """
    if band == field.reference:
        return Place(box, box.x0 - 0.5, box.y0 - 0.5, box.nx, box.ny)
    reference, other = field[field.reference], field[band]
    x = np.array([box.x0 - 0.5, box.x0 + box.nx - 0.5])
    y = np.array([box.y0 - 0.5, box.y0 + box.ny - 0.5])
    bx, by = other.to_pixel(*reference.to_sky(x, y))
    x0, x1 = sorted(np.asarray(bx, dtype=float).tolist())
    y0, y1 = sorted(np.asarray(by, dtype=float).tolist())
    x0, y0 = int(np.floor(x0 + 0.5)), int(np.floor(y0 + 0.5))
    nx, ny = max(1, int(np.ceil(x1 + 0.5)) - x0), max(1, int(np.ceil(y1 + 0.5)) - y0)
    edges_x = np.array([x0 - 0.5, x0 + nx - 0.5])
    edges_y = np.array([y0 - 0.5, y0 + ny - 0.5])
    rx, ry = reference.to_pixel(*other.to_sky(edges_x, edges_y))
    return Place(Box(x0, y0, nx, ny), float(rx[0]), float(ry[0]), float(rx[1] - rx[0]), float(ry[1] - ry[0]))


def cutout(field: Field, band: str, box: Box) -> np.ndarray:
    """Return the pixels of a band in a box of its own pixels.

    Parameters
    ----------
    field : Field
        The field.
    band : str
        The band.
    box : Box
        Pixels of that band.

    Returns
    -------
    ndarray, shape (ny, nx)
        In nJy a pixel.
    """
    data, _error = field[band].cutout(box.x0, box.y0, box.nx, box.ny)
    return np.asarray(data, dtype=float)


def grey(image: np.ndarray, *, softening: float, black: float = 0.0) -> np.ndarray:
    """Return an image as an opaque grey one.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        The image.
    softening, black : float
        Softening of the stretch and shift of the black level, in units of the noise.

    Returns
    -------
    ndarray of uint8, shape (ny, nx, 4)
        The image.
    """
    low, high, noise = levels(image)
    low += black * noise
    rgba = np.repeat(stretched(image, low, max(high, low + noise), softening * noise)[..., None], 4, axis=2)
    rgba[..., 3] = 255
    return rgba


@dataclass(frozen=True, eq=False)
class Channels:
    """Three bands on the pixels of the reference band, with their levels: what a change of the stretch starts from.

    Attributes
    ----------
    images : ndarray, shape (3, ny, nx)
        Red, green, blue.
    black, white, noise : ndarray, shape (3,)
        Levels of each.
    step : int
        Pixels of the reference band to a side of a pixel here.
    """

    images: np.ndarray
    black: np.ndarray
    white: np.ndarray
    noise: np.ndarray
    step: int = 1

    @classmethod
    def of(cls, field: Field, bands: Sequence[str], box: Box) -> Channels:
        """Read the pixels of a cut-out.

        Parameters
        ----------
        field : Field
            The field.
        bands : sequence of str
            Red, green and blue.
        box : Box
            The cut-out.

        Returns
        -------
        Channels
            The channels.
        """
        from sc_lab.images.rgb import on_reference_grid

        seen = [shrunk(on_reference_grid(field, band, box.x0, box.y0, box.nx, box.ny)) for band in bands]
        images = np.stack([image for image, _step in seen])
        found = np.array([levels(image, high=0.995) for image in images])
        return cls(images, found[:, 0], found[:, 1], found[:, 2], seen[0][1])

    def picture(
        self,
        *,
        gains: Sequence[float] = (1.0, 1.0, 1.0),
        blacks: Sequence[float] = (0.0, 0.0, 0.0),
        stretch: float = 8.0,
        q: float = 8.0,
    ) -> np.ndarray:
        """Return the colour picture.

        Parameters
        ----------
        gains : (float, float, float)
            Brightness of each channel; 1 balances the bright parts of the cut-out to white.
        blacks : (float, float, float)
            Shift of each black level, in units of its noise.
        stretch : float
            Where the stretch turns from linear to logarithmic, in units of the noise of the picture.
        q : float
            Softening of Lupton et al. 2004.

        Returns
        -------
        ndarray of uint8, shape (ny, nx, 4)
            The picture.
        """
        from sc_lab.images.rgb import lupton

        low = self.black + np.asarray(blacks) * self.noise
        # A band of little but noise is not blown up to the brightness of the others.
        reach = np.maximum(self.white - self.black, _DEEP * self.noise) / np.asarray(gains)
        noise = float(np.hypot.reduce(self.noise * reach.mean() / reach)) / 3
        return lupton(self.images, stretch=stretch * noise, q=q, minimum=low, maximum=low + reach)
