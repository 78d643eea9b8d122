"""Exact images of Gaussian clumps seen through a PSF, and their derivatives, from one sum of Fourier modes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["PsfKernel", "kept_kernel", "make_kernel", "render", "render_batch"]

#: Smallest period of the Fourier sum, in pixels: a 9 x 9 box and a PSF reaching 15 px never meet their own repeats.
_SMALLEST_PERIOD = 32

#: Room between the box and the period; it holds the part of the PSF and of a wide clump outside the box.
_ROOM = 23

#: Modes whose summed amplitude stays below this fraction of the peak are left out.
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True, eq=False)
class PsfKernel:
    """Fourier modes of a PSF and the tables that turn them into a box of pixels.

    Parameters
    ----------
    otf_plus, otf_minus : ndarray
        Complex, (n_modes, n_modes) indexed [ky, kx], both >= 0: modes (kx, ky) and (-kx, ky),
        with the weight of the half plane and the 1/period^2 of the inverse transform inside.
    frequency : ndarray
        (n_modes,) in cycles per pixel.
    x_table : ndarray
        (2 n_modes, 3 width): image, first and second x derivative out of the modes.
    y_table : ndarray
        (3, height, 2 n_modes): the same along y, real and imaginary rows in turn.
    height, width : int
        Box in pixels.
    energy_fraction : float
        Sum of the PSF stamp: the share of a source's light that the model knows of.
    psf_half_size : float
        Half size of the part of the stamp in use, in pixels of the band.
    """

    otf_plus: npt.NDArray[np.complex128]
    otf_minus: npt.NDArray[np.complex128]
    frequency: FloatArray
    x_table: FloatArray
    y_table: FloatArray
    height: int
    width: int
    energy_fraction: float
    psf_half_size: float

    @property
    def n_modes(self) -> int:
        """Number of frequencies per axis, zero included."""
        return len(self.frequency)

    @cached_property
    def folded(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The same for one side of the middle of the box, as the compiled engine takes it.

        Modes (4, n_modes, n_modes); x weights (2, 3 half widths, n_modes) of even and odd modes; y weights
        (3, 2, half height, n_modes) of real and imaginary rows. Positions count from the middle.
        """
        right, top = self.width // 2, self.height // 2
        x = np.asarray(np.arange(right, self.width) - 0.5 * (self.width - 1), dtype=np.float64)
        y = np.asarray(np.arange(top, self.height) - 0.5 * (self.height - 1), dtype=np.float64)
        modes = np.stack([part for each in (self.otf_plus, self.otf_minus) for part in (each.real, each.imag)])
        x_table = _x_table(self.frequency, x).reshape(2, self.n_modes, -1).transpose(0, 2, 1)
        y_table = _y_table(self.frequency, y).reshape(3, y.size, self.n_modes, 2).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(modes), np.ascontiguousarray(x_table), np.ascontiguousarray(y_table)


def _psf_stamp(psf: Any, pixel_scale: float | None) -> tuple[FloatArray, float]:
    """Return the stamp of a PSF and the size of its pixels in pixels of the image."""
    stamp = np.asarray(getattr(psf, "stamp", psf), dtype=np.float64)
    if stamp.ndim != 2 or stamp.shape[0] != stamp.shape[1] or stamp.shape[0] % 2 == 0:
        msg = f"the PSF stamp has the shape {stamp.shape}; give a square one with an odd side, centred on its middle pixel"
        raise InputError(msg)
    if not np.all(np.isfinite(stamp)) or stamp.sum() <= 0:
        msg = "the PSF stamp holds values that are not finite, or sums to zero or less; give one that sums to its energy fraction"
        raise InputError(msg)
    oversampling = float(getattr(psf, "oversampling", 1) or 1)
    scale = getattr(psf, "pixel_scale", None)
    ratio = 1.0 / oversampling if scale is None or pixel_scale is None else float(scale) / float(pixel_scale)
    return stamp, ratio


def make_kernel(psf: Any, size: tuple[int, int], *, pixel_scale: float | None = None) -> PsfKernel:
    """Return the Fourier modes of a PSF for boxes of one size.

    Parameters
    ----------
    psf : Psf or ndarray
        PSF of the mosaic (optics, detector pixel, drizzle and output pixel in it): a stamp
        with an odd side, centred on its middle pixel, that sums to the energy fraction it
        holds. A `~sc_lab.images.Psf` may be oversampled or have any pixel scale.
    size : tuple of int
        (height, width) of the boxes in pixels.
    pixel_scale : float, optional
        Pixel scale of the boxes in arcsec, needed when the PSF has a scale of its own that
        is not an integer oversampling of it. None: the PSF's ``oversampling`` says it.

    Returns
    -------
    PsfKernel
        Good for every box of this band and size.

    Notes
    -----
    The value in a pixel is the point sample of clump (x) PSF at its centre: a PSF taken from
    the drizzled mosaic already holds the pixel, and integrating again would shrink every
    size by 1/12 px^2. The modes are evaluated at any pixel scale of the stamp by a direct
    sum, so the PSF is never resampled.
    """
    height, width = size
    stamp, ratio = _psf_stamp(psf, pixel_scale)
    energy = float(stamp.sum())
    period = max(_SMALLEST_PERIOD, max(size) + _ROOM)
    period += period % 2
    half = min((stamp.shape[0] - 1) // 2, int((period - 1) / 2 / ratio))
    middle = (stamp.shape[0] - 1) // 2
    stamp = stamp[middle - half : middle + half + 1, middle - half : middle + half + 1]
    n_modes = int(np.ceil(period * 0.5 / ratio - 1e-9))  # the Nyquist row and column are dropped
    mode = np.arange(n_modes)
    offset = np.arange(-half, half + 1) * ratio
    wave = np.exp(-2j * np.pi / period * mode[:, None] * offset)
    plus = wave @ stamp @ wave.T  # [ky, kx]
    minus = wave @ stamp @ wave.conj().T
    n_modes = _modes_that_matter(plus, minus)
    plus, minus = plus[:n_modes, :n_modes], minus[:n_modes, :n_modes]
    weight = np.full((n_modes, n_modes), 2.0 / period**2)
    weight[0] = 1.0 / period**2
    minus = minus * weight
    minus[:, 0] = 0.0  # the column kx = 0 is its own mirror
    plus = plus * weight
    k = mode[:n_modes] / period
    return PsfKernel(
        otf_plus=np.ascontiguousarray(plus),
        otf_minus=np.ascontiguousarray(minus),
        frequency=k,
        x_table=_x_table(k, np.arange(width, dtype=np.float64)),
        y_table=_y_table(k, np.arange(height, dtype=np.float64)),
        height=height,
        width=width,
        energy_fraction=energy,
        psf_half_size=half * ratio,
    )


@lru_cache(maxsize=64)
def kept_kernel(psf: Any, side: int, pixel_scale: float) -> PsfKernel:
    """Return the Fourier modes of a PSF for square boxes, those of the last few PSFs from memory.

    Parameters
    ----------
    psf : Psf
        PSF of the mosaic.
    side : int
        Side of the boxes in pixels.
    pixel_scale : float
        Pixel scale of the boxes in arcsec.

    Returns
    -------
    PsfKernel
        As of `make_kernel`.
    """
    return make_kernel(psf, (side, side), pixel_scale=pixel_scale)


def _modes_that_matter(plus: npt.NDArray[np.complex128], minus: npt.NDArray[np.complex128]) -> int:
    """Return how many frequencies per axis carry more than a negligible part of the peak."""
    amplitude = np.abs(plus) + np.abs(minus)
    peak = abs(float((plus + minus).real.sum()))
    n_modes = plus.shape[0]
    square = np.cumsum(np.cumsum(amplitude, axis=0), axis=1).diagonal()  # summed amplitude of the first n x n modes
    enough = np.nonzero(square[-1] - square <= _NEGLIGIBLE * peak)[0]
    return int(min(n_modes, enough[0] + 1))


def _x_table(k: FloatArray, x: FloatArray) -> FloatArray:
    """Return the weights of even and odd modes in the image and its two x derivatives."""
    angle = 2 * np.pi * k[:, None] * x
    cos, sin, w = np.cos(angle), np.sin(angle), 2 * np.pi * k[:, None]
    even = np.hstack([cos, w * sin, -0.5 * w**2 * cos])
    odd = np.hstack([sin, -w * cos, -0.5 * w**2 * sin])
    return np.ascontiguousarray(np.vstack([even, odd]))


def _y_table(k: FloatArray, y: FloatArray) -> FloatArray:
    """Return the weights of the real and imaginary rows in the image and its two y derivatives."""
    angle = 2 * np.pi * k * y[:, None]
    cos, sin, w = np.cos(angle), np.sin(angle), 2 * np.pi * k
    table = np.empty((3, y.size, 2 * k.size))
    table[0, :, 0::2], table[0, :, 1::2] = cos, -sin
    table[1, :, 0::2], table[1, :, 1::2] = w * sin, w * cos
    table[2, :, 0::2], table[2, :, 1::2] = -0.5 * w**2 * cos, 0.5 * w**2 * sin
    return table


def render_batch(kernel: PsfKernel, x: FloatArray, y: FloatArray, shape: FloatArray, level: int) -> FloatArray:
    """Return unit-flux images and derivatives of many clumps, one per box.

    Parameters
    ----------
    kernel : PsfKernel
        PSF and box.
    x, y : ndarray
        (n,) centres in pixels of the box.
    shape : ndarray
        (n, 3) covariance (Cxx, Cyy, Cxy) in px^2 of the PSF-free Gaussian; may be slightly negative.
    level : int
        1: image; 2: and centre derivatives; 3: and shape derivatives.

    Returns
    -------
    ndarray
        (n, 1 | 3 | 6, height * width): image, d/dx, d/dy, d/dCxx, d/dCyy, d/dCxy.

    Notes
    -----
    Each derivative is a factor on the modes: -2 pi i kx for x, -2 pi^2 kx^2 for Cxx,
    -4 pi^2 kx ky for Cxy.
    """
    n, m, h, w = x.size, kernel.n_modes, kernel.height, kernel.width
    k = kernel.frequency
    two_pi_sq = 2 * np.pi**2
    damp_x = np.exp(-two_pi_sq * shape[:, 0, None] * k**2) * np.exp(-2j * np.pi * x[:, None] * k)
    damp_y = np.exp(-two_pi_sq * shape[:, 1, None] * k**2) * np.exp(-2j * np.pi * y[:, None] * k)
    cross = np.exp(-2 * two_pi_sq * shape[:, 2, None, None] * (k[:, None] * k))
    plus = kernel.otf_plus * cross * damp_x[:, None, :]
    minus = kernel.otf_minus / cross * damp_x.conj()[:, None, :]
    plus *= damp_y[:, :, None]
    minus *= damp_y[:, :, None]
    modes = np.empty((n, m, 2, 2 * m))  # [ky, re | im, even | odd]
    even, odd = plus + minus, plus - minus
    modes[:, :, 0, :m], modes[:, :, 1, :m] = even.real, even.imag
    modes[:, :, 0, m:], modes[:, :, 1, m:] = -odd.imag, odd.real
    rows = modes.reshape(n, 2 * m, 2 * m) @ kernel.x_table[:, : level * w]  # box by box: digits do not depend on n
    out = np.empty((n, (0, 1, 3, 6)[level], h, w))
    first = kernel.y_table[0] @ rows
    out[:, 0] = first[..., :w]
    if level > 1:
        second = kernel.y_table[1] @ rows[..., : (level - 1) * w]
        out[:, 1], out[:, 2] = first[..., w : 2 * w], second[..., :w]
    if level > 2:
        out[:, 3], out[:, 5] = first[..., 2 * w :], second[..., w : 2 * w]
        out[:, 4] = kernel.y_table[2] @ rows[..., :w]
    return out.reshape(n, out.shape[1], h * w)


def render(
    psf: Any,
    flux: Any,
    x: Any,
    y: Any,
    shape: Any,
    *,
    size: tuple[int, int],
    pixel_scale: float | None = None,
) -> FloatArray:
    """Return images of single clumps, one box each.

    Parameters
    ----------
    psf : Psf, PsfKernel or ndarray
        PSF, see `make_kernel`; a kernel made for this ``size`` saves its making.
    flux : array_like
        (n,) total flux, any unit.
    x, y : array_like
        (n,) centres in pixels of the box; the centre of the first pixel is 0.
    shape : array_like
        (n, 3) covariance (Cxx, Cyy, Cxy) of the PSF-free Gaussian in px^2; 0 is a point.
    size : tuple of int
        (height, width) of the boxes.
    pixel_scale : float, optional
        Arcsec per pixel of the boxes, see `make_kernel`.

    Returns
    -------
    ndarray
        (n, height, width), in the unit of ``flux`` per pixel.

    Notes
    -----
    The light outside the PSF stamp is not drawn: a box sums to at most ``flux`` times the
    energy fraction of the PSF.
    """
    kernel = psf if isinstance(psf, PsfKernel) else make_kernel(psf, size, pixel_scale=pixel_scale)
    shape = np.atleast_2d(np.asarray(shape, dtype=np.float64))
    try:
        flux, x, y, first = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(a, dtype=np.float64)) for a in (flux, x, y)), shape[:, 0]
        )
        shape = np.broadcast_to(shape, (first.size, 3))
    except ValueError:
        lengths = [np.shape(a) for a in (flux, x, y, shape)]
        msg = f"flux, x, y and shape have the shapes {lengths}; give (n,), (n,), (n,) and (n, 3)"
        raise InputError(msg) from None
    out = np.empty((x.size, kernel.height, kernel.width))
    step = max(1, 200_000 // kernel.n_modes**2)  # keeps the modes of one turn within the cache
    for start in range(0, x.size, step):
        part = slice(start, start + step)
        images = render_batch(kernel, x[part], y[part], shape[part], 1)
        out[part] = images[:, 0].reshape(-1, kernel.height, kernel.width) * flux[part, None, None]
    return out
