"""Noise of the mock mosaics: depth of the sky, photoelectrons, drizzle-like correlation, and matched filters."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

from sc_lab.mock.psfs import BOX, Filter, SyntheticPsf
from sc_lab.units import FloatArray

__all__ = ["drizzle_kernel", "observe", "sharpness", "sky_noise"]

#: Zodiacal and thermal background [MJy/sr] that the noise of the sky comes from: it sets the size of a
#: photoelectron, and so the noise of bright sources.
_SKY = 0.30
_NJY_PER_MJY_SR = 1e15 * (np.pi / 180.0 / 3600.0) ** 2
#: Radius of the aperture in which depths are quoted [arcsec].
_APERTURE = 0.1


def observe(
    picture: FloatArray, band: Filter, psf: SyntheticPsf, rng: np.random.Generator, *, noise: bool, correlated: bool
) -> tuple[FloatArray, FloatArray]:
    """Return a picture with noise, and its error map.

    Parameters
    ----------
    picture : ndarray
        Flux per pixel without noise [nJy].
    band : Filter
        The band, with its depth.
    psf : SyntheticPsf
        Its PSF.
    rng : Generator
        Source of chance.
    noise : bool
        Whether to add the noise.
    correlated : bool
        Whether the noise of neighbouring pixels is correlated.

    Returns
    -------
    tuple of ndarray
        Picture and standard deviations [nJy], those of the sky and of the photons of the sources.
    """
    sky, photoelectron = sky_noise(band, psf, correlated=correlated)
    error = np.sqrt(sky**2 + photoelectron * np.maximum(picture, 0.0))
    if not noise:
        return picture, error
    unit = rng.standard_normal(picture.shape)
    if correlated:
        kernel = drizzle_kernel()
        for axis in (0, 1):
            unit = correlate1d(unit, kernel, axis=axis, mode="wrap")
    return picture + error * unit, error


def drizzle_kernel() -> FloatArray:
    """Return the weights, along one axis, of white noise in noise like a drizzled mosaic's.

    Returns
    -------
    ndarray, shape (3,)
        Their squares sum to 1.
    """
    weights = np.array([0.35, 1.0, 0.35])
    return np.asarray(weights / np.sqrt((weights**2).sum()))


def sky_noise(band: Filter, psf: SyntheticPsf, *, correlated: bool = False) -> tuple[float, float]:
    """Return the noise of the sky in a pixel and the flux of one photoelectron.

    Parameters
    ----------
    band : Filter
        The band, with its depth.
    psf : SyntheticPsf
        Its PSF.
    correlated : bool
        Whether the noise of neighbouring pixels is correlated; the depth in an aperture is the same.

    Returns
    -------
    tuple of float
        Both in nJy.
    """
    stamp = psf.sampled(band.pixel_scale)
    middle = stamp.shape[0] // 2
    axis = (np.arange(stamp.shape[0]) - middle) * band.pixel_scale
    energy = float(stamp[np.hypot(axis[:, None], axis[None, :]) <= _APERTURE].sum())
    area = np.pi * (_APERTURE / band.pixel_scale) ** 2
    limit = 10.0 ** (0.4 * (31.4 - band.depth))
    sky = limit / 5.0 * energy / np.sqrt(area)
    photoelectron = sky**2 / (_SKY * _NJY_PER_MJY_SR * band.pixel_scale**2)
    # Smoothed noise of the same depth in an aperture is lower in each pixel.
    return (sky / float(drizzle_kernel().sum()) ** 2 if correlated else sky), photoelectron


def sharpness(cov: FloatArray, psf: SyntheticPsf, pixel_scale: float, *, correlated: bool = False) -> FloatArray:
    """Return the S/N of a matched filter for unit flux and unit noise per pixel, by Parseval's theorem.

    Parameters
    ----------
    cov : ndarray, shape (n, 2, 2)
        Shapes before the PSF [arcsec2].
    psf : SyntheticPsf
        The PSF.
    pixel_scale : float
        Pixel [arcsec].
    correlated : bool
        Whether the noise of neighbouring pixels is correlated as `drizzle_kernel` makes it.

    Returns
    -------
    ndarray, shape (n,)
        For white noise the root of the sum of squares of the source's pixels.
    """
    spectrum = np.abs(psf.spectrum)
    # A third of the frequencies: the shapes are smaller than a third of the box.
    half = spectrum.shape[0] // 2
    index = np.arange(-(half // 3), half // 3 + 1) * 3
    power = spectrum[np.ix_(index + half, index + half)] ** 2
    k = index / BOX
    kx, ky = k[None, :], k[:, None]
    weights = drizzle_kernel()
    response = weights[1] + 2.0 * weights[0] * np.cos(2.0 * np.pi * k * pixel_scale)
    coloured = (response[None, :] * response[:, None]) ** 2 if correlated else 1.0
    out = np.empty(len(cov))
    for i, each in enumerate(cov):
        spread = each[0, 0] * kx**2 + each[1, 1] * ky**2 + 2.0 * each[0, 1] * kx * ky
        passed = power * np.exp(-4.0 * np.pi**2 * spread)
        out[i] = passed.sum() / np.sqrt((passed * coloured).sum())
    return np.asarray(out * 3.0 * pixel_scale / BOX)
