"""What the host of clumps looks like in a band: the reference less its clumps, seen through the PSF of that band."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from sc_lab.photometry._pixels import BoxReader
from sc_lab.photometry._sizeband import ShapeFits, box_corner
from sc_lab.photometry.rendering import kept_kernel, render_batch
from sc_lab.units import FloatArray

__all__ = ["HostTemplates"]

#: Side of the part of the reference that one template is made of [px].
TEMPLATE_SIDE = 48

#: Clumps that are drawn in one turn.
_AT_ONCE = 256

#: Half width of the window on the kernel that leads from one PSF to the other [px]: with it, a box of 9 px in the long
#: channel draws on that part alone.
_WINDOW = 16

#: Regularisation of that kernel, relative to the transfer function at zero frequency.
_NOISE = 1e-2


class HostTemplates:
    """Images of the host around clumps, for any band.

    Parameters
    ----------
    reference : Band
        The band that gives the sizes.
    fits : ShapeFits
        Models of the clumps there, in its pixels.
    taken : ndarray of bool
        (n,) clumps whose models are taken off.

    Notes
    -----
    Galaxies look alike in neighbouring bands but for a factor, and the reference is sharper than the bands of long
    wavelengths. What is left in it beside the clumps that are fitted in a box, convolved with a kernel that makes its
    PSF that of the other band, is the shape of the light under them there, undetected clumps and the wings of others
    included; how much there is of it is fitted.
    """

    def __init__(self, reference: Any, fits: ShapeFits, taken: npt.NDArray[np.bool_]) -> None:
        self.reference, self.fits = reference, fits
        self.taken = taken & np.isfinite(fits.flux) & np.isfinite(fits.shape).all(1)
        self._row: dict[tuple[int, ...], int] = {}
        self._corner = np.empty((0, 2), dtype=np.int64)
        self._spectrum = np.empty((0, TEMPLATE_SIDE, TEMPLATE_SIDE // 2 + 1), dtype=np.complex128)

    def _prepare(self, boxes: list[tuple[int, ...]]) -> None:
        """Transform what the reference has around some clumps beside those that are fitted in a box."""
        reference, fits, side = self.reference, self.fits, TEMPLATE_SIDE
        index = np.array([members[0] for members in boxes], dtype=np.int64)
        corner = box_corner(fits.x[index], fits.y[index], side)
        data, error = BoxReader(reference, corner[:, 0], corner[:, 1], side).read(corner[:, 0], corner[:, 1], side)
        good = np.isfinite(data) & np.isfinite(error) & (error > 0)
        data = np.where(good, data, 0.0)
        pairs = [(row, i) for row, members in enumerate(boxes) for i in members if self.taken[i]]
        kernel = kept_kernel(reference.psf, side, reference.pixel_scale)
        for turn in range(0, len(pairs), _AT_ONCE):
            row, i = np.array(pairs[turn : turn + _AT_ONCE]).T
            images = render_batch(kernel, fits.x[i] - corner[row, 0], fits.y[i] - corner[row, 1], fits.shape[i], 1)
            np.subtract.at(data, row, (images[:, 0] * fits.flux[i, None]).reshape(-1, side, side))
        # What is not known is like the rest, and a constant goes into the plane that is fitted beside the template.
        mean = np.where(good, data, 0.0).sum((1, 2)) / np.maximum(good.sum((1, 2)), 1)
        spectrum = np.fft.rfft2(np.where(good, data - mean[:, None, None], 0.0))
        self._row |= {members: len(self._corner) + k for k, members in enumerate(boxes)}
        self._corner = np.concatenate([self._corner, corner])
        self._spectrum = np.concatenate([self._spectrum, spectrum])

    def boxes(self, band: Any, corner: npt.NDArray[np.int64], size: int, along: list[list[int]]) -> FloatArray:
        """Return the templates in boxes of a band.

        Parameters
        ----------
        band : Band
            The other band.
        corner : ndarray
            (m, 2) lower left pixels of the boxes in it.
        size : int
            Their side.
        along : list of list of int
            Clumps that are fitted in each box, the one in the middle first.

        Returns
        -------
        ndarray
            (m, size, size) nJy per pixel of the band, as if the host had no colour.
        """
        reference = self.reference
        members = [tuple(each) for each in along]
        self._prepare([each for each in members if each not in self._row])
        rows = np.array([self._row[each] for each in members], dtype=np.int64)
        middle = corner + 0.5 * (size - 1)
        x, y = (np.asarray(v, dtype=np.float64) for v in reference.to_pixel(*band.to_sky(*middle.T)))
        back = band.jacobian_to(reference, *middle.T)
        turn = np.linalg.inv(np.median(back, axis=0)) * (band.pixel_scale / reference.pixel_scale)
        transfer = _kernel(reference.psf, band.psf, reference.pixel_scale, tuple(np.round(turn, 3).ravel().tolist()))
        images = np.fft.irfft2(self._spectrum[rows] * transfer, s=(TEMPLATE_SIDE, TEMPLATE_SIDE))
        v, u = np.divmod(np.arange(size * size), size)
        offset = np.stack([u, v], axis=-1) - 0.5 * (size - 1)
        place = np.einsum("mij,pj->mpi", back, offset)
        at_x, at_y = x[:, None] + place[..., 0], y[:, None] + place[..., 1]
        local = at_x - self._corner[rows, 0, None], at_y - self._corner[rows, 1, None]
        area = np.abs(np.linalg.det(back))[:, None]
        return np.asarray((_interpolated(images, *local) * area).reshape(-1, size, size))


@lru_cache(maxsize=64)
def _kernel(first: Any, second: Any, scale: float, turn: tuple[float, ...]) -> npt.NDArray[np.complex128]:
    """Return the transfer function that leads from one PSF to another, on the grid of the first.

    ``turn`` is the rotation from the first grid to the second, row by row.
    """
    side = TEMPLATE_SIDE
    start, end = (_stamp(psf, scale) for psf in (first, second))
    matrix = np.array(turn).reshape(2, 2)
    if not np.allclose(matrix, np.eye(2), atol=5e-3):
        middle = (np.array(end.shape) - 1) / 2
        rows, columns = np.indices(end.shape) - middle[:, None, None]
        x, y = np.einsum("ij,jab->iab", matrix, np.stack([columns, rows]))
        end = map_coordinates(end, [y + middle[0], x + middle[1]], order=3, mode="constant")
    a, b = (np.fft.fft2(_wrapped(each / each.sum(), side)) for each in (start, end))
    ratio = b * a.conj() / np.maximum(np.abs(a) ** 2, _NOISE**2)
    # Never sharper than the reference: the noise would grow, and the host has nothing there.
    ratio /= np.maximum(np.abs(ratio), 1.0)
    kernel = np.fft.fftshift(np.fft.ifft2(ratio).real)
    offset = np.hypot(*(np.indices((side, side)) - side // 2)) / _WINDOW
    kernel *= np.where(offset < 1, np.cos(0.5 * np.pi * np.minimum(offset, 1.0) ** 2) ** 2, 0.0)
    return np.asarray(np.fft.rfft2(np.fft.ifftshift(kernel / kernel.sum())))


def _stamp(psf: Any, scale: float) -> FloatArray:
    """Return a PSF sampled in pixels of a scale [arcsec]."""
    if abs(psf.pixel_scale / scale - 1) > 1e-4:
        psf = psf.resampled(scale)
    return np.asarray(psf.stamp, dtype=np.float64)


def _wrapped(stamp: FloatArray, side: int) -> FloatArray:
    """Return the middle of a stamp with its centre in the corner of a square."""
    half = min((stamp.shape[0] - 1) // 2, side // 2 - 1)
    middle = (stamp.shape[0] - 1) // 2
    out = np.zeros((side, side))
    index = np.arange(-half, half + 1)
    out[np.ix_(index % side, index % side)] = stamp[np.ix_(index + middle, index + middle)]
    return out


def _interpolated(images: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return images at places (n, p) by cubic convolution (Keys 1981); what is beyond the rim is that of the rim."""
    n, height, width = images.shape
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    weight_x, weight_y = _cubic(x - column), _cubic(y - row)
    out = np.zeros(x.shape)
    first = np.arange(n)[:, None]
    for j in range(4):
        v = np.clip(row + j - 1, 0, height - 1)
        for i in range(4):
            u = np.clip(column + i - 1, 0, width - 1)
            out += weight_y[j] * weight_x[i] * images[first, v, u]
    return out


def _cubic(t: FloatArray) -> list[FloatArray]:
    """Return the weights of the four samples around a place, a fraction beyond the second."""
    return [
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
