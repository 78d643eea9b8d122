"""Matched filter with a compact template and a local constant: its S/N image and the S/N of given places."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["matched_snr", "peak_template", "template_snr"]

#: Full width at half maximum of the stand-in where a band has no PSF [px]; that of F150W at 0.02 arcsec.
FALLBACK_FWHM = 2.9

_STD_PER_FWHM = 0.42466


def peak_template(psf: Any = None, *, pixel_scale: float | None = None, std: float = 0.0, box: int = 9) -> FloatArray:
    """Return what a compact clump looks like around its peak.

    Parameters
    ----------
    psf : Psf or array_like, shape (n, n), optional
        The PSF; an array is taken to be on the pixels of the image, centred. None is a round
        Gaussian of 2.9 pixels full width at half maximum.
    pixel_scale : float, optional
        Arcsec per pixel of the image, to which a Psf is resampled; None takes the PSF as it is.
    std : float
        Standard deviation of the round Gaussian that the PSF is convolved with [px].
    box : int
        Side of the template, odd [px].

    Returns
    -------
    ndarray, shape (box, box)
        Image of a clump of unit total flux; it sums to the energy fraction within the box.

    Raises
    ------
    InputError
        If the box is not an odd number of at least 3 pixels, or ``std`` is negative.
    """
    if box < 3 or box % 2 == 0:
        msg = f"box is {box}; a template needs an odd number of at least 3 pixels"
        raise InputError(msg)
    if not std >= 0:
        msg = f"std is {std}; give a width of at least 0 pixels"
        raise InputError(msg)
    half = box // 2
    if psf is None:
        width = np.hypot(FALLBACK_FWHM * _STD_PER_FWHM, std)
        axis = np.exp(-0.5 * (np.arange(-half, half + 1) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        return np.asarray(np.outer(axis, axis))
    if hasattr(psf, "stamp"):
        scale = psf.pixel_scale if pixel_scale is None else pixel_scale
        if getattr(psf, "oversampling", 1) != 1 or abs(psf.pixel_scale / scale - 1) > 1e-3:
            psf = psf.resampled(scale)
        psf = psf.stamp
    stamp = np.asarray(psf, dtype=np.float64)
    wing = int(np.ceil(4 * std))
    need = half + wing
    middle = stamp.shape[0] // 2
    if middle < need:
        stamp = np.pad(stamp, need - middle)
        middle = need
    stamp = stamp[middle - need : middle + need + 1, middle - need : middle + need + 1]
    if std > 0:
        stamp = ndimage.gaussian_filter(stamp, std, mode="constant", truncate=4.0)
    return np.asarray(stamp[need - half : need + half + 1, need - half : need + half + 1])


def template_snr(data: FloatArray, weight: FloatArray, template: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the S/N and flux of a template plus a constant, fitted around every pixel.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Image, finite where the weight is not zero.
    weight : ndarray, shape (ny, nx)
        Inverse variance; 0 where a pixel cannot be used.
    template : ndarray, shape (m, m)
        As `peak_template` makes it.

    Returns
    -------
    snr, flux : ndarray, shape (ny, nx)
        NaN where fewer than half of the template's pixels can be used.

    Notes
    -----
    With equal weights this is the template minus its mean in the box. Weights extend it to masked
    pixels and varying noise: the constant drops out of the weighted least squares exactly.
    """
    values = np.where(weight > 0, data, 0.0)
    # Weights of order one keep the differences below accurate whatever the unit.
    usual = float(np.median(weight[weight > 0])) if (weight > 0).any() else 1.0
    w = weight / usual
    ones = np.ones_like(template)
    box = template.shape[0]

    def along(image: FloatArray, kernel: FloatArray) -> FloatArray:
        return np.asarray(ndimage.correlate(image, kernel, mode="constant"))

    def total(image: FloatArray) -> FloatArray:
        return np.asarray(ndimage.uniform_filter(image, box, mode="constant")) * ones.size

    s_w, s_wd = total(w), total(w * values)
    s_wp, s_wpp, s_wpd = along(w, template), along(w, template**2), along(w * values, template)
    used = total((w > 0).astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = s_wpp - s_wp**2 / s_w
        flux = (s_wpd - s_wp * s_wd / s_w) / curvature
        snr = flux * np.sqrt(curvature * usual)
    poor = (used < 0.5 * template.size) | (w <= 0) | ~(curvature > 0)
    snr[poor] = np.nan
    flux[poor] = np.nan
    return snr, flux


def matched_snr(
    data: FloatArray, weight: FloatArray, template: FloatArray, x: npt.NDArray[Any], y: npt.NDArray[Any]
) -> tuple[FloatArray, FloatArray]:
    """Return the S/N and flux of a template without a constant, at given pixels.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Image without its host, finite where the weight is not zero.
    weight : ndarray, shape (ny, nx)
        Inverse variance; 0 where a pixel cannot be used.
    template : ndarray, shape (m, m)
        As `peak_template` makes it.
    x, y : ndarray of int, shape (n,)
        Pixels.

    Returns
    -------
    snr, flux : ndarray, shape (n,)
        S/N = sum(w p d) / sqrt(sum(w p^2)); NaN where no pixel can be used.
    """
    half = template.shape[0] // 2
    values = np.pad(np.where(weight > 0, data, 0.0), half)
    w = np.pad(weight, half)
    offsets = np.arange(template.shape[0])
    rows = np.asarray(y, dtype=np.intp)[:, None, None] + offsets[None, :, None]
    columns = np.asarray(x, dtype=np.intp)[:, None, None] + offsets[None, None, :]
    w_box, d_box = w[rows, columns], values[rows, columns]
    s_wpd = (w_box * d_box * template).sum(axis=(1, 2))
    s_wpp = (w_box * template**2).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return s_wpd / np.sqrt(s_wpp), s_wpd / s_wpp
