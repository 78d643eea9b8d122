"""What is drawn of a mosaic and of PSFs: a small picture of the one, radial profiles of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sc_lab_widgets.panels.picker_images import LARGEST, Box, Place, covering

if TYPE_CHECKING:
    from sc_lab.images import Band, Psf

__all__ = ["DECADES", "decades", "overview", "profile"]

#: Decades below the peak that the picture of a PSF shows.
DECADES = 4.0
#: Rows of a mosaic read at once, so that memory does not grow with it.
_STRIP = 1024


def overview(band: Band, most: int = LARGEST) -> tuple[np.ndarray, Place]:
    """Return a mosaic small enough to be sent, by the mean of square blocks.

    Parameters
    ----------
    band : Band
        The mosaic.
    most : int
        Pixels on a side at most.

    Returns
    -------
    image : ndarray, shape (ceil(ny / n), ceil(nx / n))
        In nJy a pixel; NaN where there are no data.
    place : Place
        Where it lies, in pixels of the band.
    """
    ny, nx = band.shape
    n = -(-max(ny, nx) // most)
    height = n * max(1, _STRIP // n)
    strips = []
    for y0 in range(0, ny, height):
        data, _error = band.cutout(0, y0, nx, min(height, ny - y0))
        full = np.pad(data, [(0, -data.shape[0] % n), (0, -nx % n)], mode="edge")
        strips.append(full.reshape(full.shape[0] // n, n, full.shape[1] // n, n).mean(axis=(1, 3)))
    whole = Place(Box(0, 0, nx, ny), -0.5, -0.5, nx, ny)
    return np.concatenate(strips), covering(whole, n)


def decades(psf: Psf) -> np.ndarray:
    """Return a stamp as decades below its peak.

    Parameters
    ----------
    psf : Psf
        The PSF.

    Returns
    -------
    ndarray of float32, shape (n, n)
        log10 of the stamp over its peak, from -4 to 0; what is not positive counts as -4.
    """
    stamp = psf.stamp / psf.stamp.max()
    return np.asarray(np.log10(np.maximum(stamp, 10.0**-DECADES)), dtype=np.float32)


def profile(psf: Psf, core: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean brightness in rings around the middle.

    Parameters
    ----------
    psf : Psf
        The PSF, or the stamp of one star.
    core : float
        Radius within which the light is set to one [arcsec], so that a noisy outskirt shifts nothing.

    Returns
    -------
    radius : ndarray
        Mean radius of each ring of one pixel [arcsec].
    brightness : ndarray
        Per square arcsecond, for a core of flux one; NaN where it is not positive.
    """
    half = psf.size // 2
    rows, columns = np.indices(psf.stamp.shape) - half
    radius = np.hypot(rows, columns)
    scale = psf.pixel_scale
    flux = float(psf.stamp[radius * scale <= core].sum())
    ring = np.rint(radius).astype(int).ravel()
    inside = ring <= half
    count = np.bincount(ring[inside])
    mean_radius = np.bincount(ring[inside], weights=radius.ravel()[inside]) / count * scale
    mean = np.bincount(ring[inside], weights=psf.stamp.ravel()[inside]) / count / scale**2
    brightness = mean / flux if flux > 0 else np.full(len(mean), np.nan)
    return mean_radius, np.where(brightness > 0, brightness, np.nan)
