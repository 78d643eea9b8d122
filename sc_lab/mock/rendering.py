"""Pictures of many Gaussians and of smooth light through a PSF, by one Fourier transform of an oversampled grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from sc_lab.mock.psfs import BOX, SyntheticPsf
from sc_lab.units import FloatArray

__all__ = ["Canvas", "Gaussians"]

#: Finer pixels of the grid on which Gaussians are laid down: four in the place of three.
_FINER, _COARSER = 4, 3
#: Width of the auxiliary Gaussian in fine pixels, and where it is cut in widths of the Gaussian.
_SPREAD, _CUT = 1.5, 6.5


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Elliptical Gaussians on the sky; a covariance of zero is a point.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        Places in arcsec from the corner of the field, where its first pixel begins.
    cov : ndarray, shape (n, 2, 2)
        Covariance [arcsec2].
    """

    x: FloatArray
    y: FloatArray
    cov: FloatArray

    def __len__(self) -> int:
        return len(self.x)


class Canvas:
    """A field of one pixel scale, onto which sources are painted through any PSF.

    Parameters
    ----------
    shape : tuple of int
        Pixels in y and x.
    pixel_scale : float
        Pixel [arcsec].
    gaussians : Gaussians
        Compact sources; their shapes are laid out once for all bands.

    Notes
    -----
    A non-uniform Fourier transform by Gaussian gridding (Greengard & Lee 2004, SIAM Review 46, 443): each
    source, broadened by an auxiliary Gaussian, is sampled on a grid of 4/3 the density; in Fourier space the
    auxiliary Gaussian is divided out, the PSF multiplied in, and frequencies are folded down to the pixels of
    the mosaic. A pixel holds the point sample of the convolved source at its centre. The grid is periodic and
    padded by half the PSF's box.
    """

    def __init__(self, shape: tuple[int, int], pixel_scale: float, gaussians: Gaussians) -> None:
        self.shape = shape
        self.pixel_scale = pixel_scale
        pad = round(BOX / 2 / pixel_scale)
        self._coarse = tuple(_COARSER * fft.next_fast_len(-(-(n + pad) // _COARSER), real=True) for n in shape)
        self._fine = tuple(n * _FINER // _COARSER for n in self._coarse)
        self._step = pixel_scale * _COARSER / _FINER
        self._stamps = [self._stamp(gaussians, k) for k in range(len(gaussians))]
        ky, kx = fft.fftfreq(self._fine[0]), fft.rfftfreq(self._fine[1])
        width = -2.0 * np.pi**2 * _SPREAD**2
        self._gridding = np.exp(width * ky**2)[:, None] * np.exp(width * kx**2)[None, :]

    def _stamp(self, gaussians: Gaussians, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return rows, columns and values of a source on the fine grid."""
        # The first fine sample lies where the first pixel has its centre, half a pixel from the corner.
        x = (gaussians.x[k] - 0.5 * self.pixel_scale) / self._step
        y = (gaussians.y[k] - 0.5 * self.pixel_scale) / self._step
        cov = gaussians.cov[k] / self._step**2 + _SPREAD**2 * np.eye(2)
        reach_x, reach_y = _CUT * np.sqrt(cov[0, 0]), _CUT * np.sqrt(cov[1, 1])
        columns = np.arange(int(np.floor(x - reach_x)), int(np.ceil(x + reach_x)) + 1)
        rows = np.arange(int(np.floor(y - reach_y)), int(np.ceil(y + reach_y)) + 1)
        det = cov[0, 0] * cov[1, 1] - cov[0, 1] ** 2
        dx, dy = (columns - x)[None, :], (rows - y)[:, None]
        chi2 = (cov[1, 1] * dx**2 - 2.0 * cov[0, 1] * dx * dy + cov[0, 0] * dy**2) / det
        values = np.exp(-0.5 * chi2) / (2.0 * np.pi * np.sqrt(det))
        # Far outside on one side would otherwise come back on the other.
        inside_x = (columns >= -self._margin(1)) & (columns < self._fine[1] - self._margin(1))
        inside_y = (rows >= -self._margin(0)) & (rows < self._fine[0] - self._margin(0))
        return (
            (rows[inside_y] % self._fine[0])[:, None],
            (columns[inside_x] % self._fine[1])[None, :],
            values[np.ix_(inside_y, inside_x)],
        )

    def _margin(self, axis: int) -> int:
        """Return half of the padding, in fine pixels."""
        return int(self._coarse[axis] - self.shape[axis]) * _FINER // (2 * _COARSER)

    def paint(self, flux: FloatArray, psf: SyntheticPsf, *, smooth: FloatArray | None = None) -> FloatArray:
        """Return the picture in one band.

        Parameters
        ----------
        flux : ndarray, shape (n,)
            Flux of each source.
        psf : SyntheticPsf
            PSF of the band.
        smooth : ndarray, optional
            Extended light per pixel before the PSF, with the shape of the canvas; light beyond the edge is
            taken to continue as at the edge.

        Returns
        -------
        ndarray
            Flux per pixel.
        """
        fine = np.zeros(self._fine)
        for value, (rows, columns, stamp) in zip(flux, self._stamps, strict=True):
            if value != 0.0:
                fine[rows, columns] += value * stamp
        spectrum = fft.rfft2(fine, workers=1)
        del fine
        spectrum /= self._gridding
        spectrum *= _wrapped_spectrum(psf, self._fine, self._step)
        folded = _folded(spectrum, self._coarse)
        if smooth is not None:
            spare = [full - n for full, n in zip(self._coarse, self.shape, strict=True)]
            # Half of the padding continues each edge; what lies before the first pixel wraps to the far end.
            padded = np.pad(smooth, [(n // 2, n - n // 2) for n in spare], "symmetric")
            padded = np.roll(padded, [-(n // 2) for n in spare], axis=(0, 1))
            spectrum = fft.rfft2(padded, workers=1)
            spectrum *= _wrapped_spectrum(psf, self._coarse, self.pixel_scale)
            folded += spectrum
        picture = fft.irfft2(folded, s=self._coarse, workers=1)
        return np.ascontiguousarray(picture[: self.shape[0], : self.shape[1]])


def _wrapped_spectrum(psf: SyntheticPsf, shape: tuple[int, ...], pixel_scale: float) -> FloatArray:
    """Return the transfer function of a PSF, cut at its box, on the frequencies of a larger grid."""
    stamp = psf.sampled(pixel_scale)
    n = stamp.shape[0]
    field = np.zeros(shape)
    index = np.arange(n) - n // 2
    # On a canvas smaller than the box the far wings wrap: they add.
    np.add.at(field, np.ix_(index % shape[0], index % shape[1]), stamp)
    return np.asarray(fft.rfft2(field, workers=1))


def _folded(spectrum: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return the spectrum of every (4/3)th sample: frequencies beyond the new Nyquist fold back."""
    ny, nx = shape
    fine_y, half_x = spectrum.shape
    rows = np.zeros((ny, half_x), dtype=complex)
    low = ny // 2
    rows[: low + 1] += spectrum[: low + 1]
    rows[low + 1 :] += spectrum[fine_y - (ny - low - 1) :]
    # What lies between the two Nyquist frequencies, from both ends of the axis.
    middle = np.arange(low + 1, fine_y - (ny - low - 1))
    np.add.at(rows, np.where(middle < fine_y / 2, middle, middle - fine_y) % ny, spectrum[middle])
    out = rows[:, : nx // 2 + 1].copy()
    # In x only half is stored: frequency k above the new Nyquist is -(nx - k), the conjugate of (nx - k, -ky).
    above = np.arange(nx // 2 + 1, half_x)
    mirror = (-np.arange(ny)) % ny
    keep = nx - above
    out[:, keep] += np.conj(rows[mirror][:, above])
    return out
