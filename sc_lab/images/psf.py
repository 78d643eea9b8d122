"""The point-spread function of a band: centred, with its energy known, resampled without a change of width."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.images.fitsfiles import UNPACK_LIMIT, open_image
from sc_lab.images.headers import header_pixel_scale, read_wcs, wcs_pixel_scale
from sc_lab.units import FloatArray

__all__ = ["Psf"]

#: A stamp's sum in this range is taken for the energy inside it; outside, it is a wrong normalisation.
_PLAUSIBLE_ENERGY = (0.80, 1.0 + 1e-3)
_CENTRED = 0.005
_LARGEST_STAMP = 2048
#: Full width at half maximum of NIRCam's optics [arcsec] (JWST User Documentation, NIRCam point spread functions).
#: Drizzled PSFs are up to a half wider; a stamp far from it has another pixel scale than it was taken for.
_OPTICS_FWHM = {
    "F070W": 0.023,
    "F090W": 0.033,
    "F115W": 0.040,
    "F150W": 0.050,
    "F182M": 0.062,
    "F200W": 0.066,
    "F210M": 0.071,
    "F277W": 0.092,
    "F335M": 0.111,
    "F356W": 0.116,
    "F410M": 0.137,
    "F444W": 0.145,
    "F480M": 0.164,
}


@dataclass(frozen=True, eq=False)
class Psf:
    """An effective point-spread function.

    The value of a stamp pixel is the response *at its centre*: optics, detector pixel, drizzle drop and output pixel
    are already in it, so it is never integrated over pixels again.

    Parameters
    ----------
    stamp : ndarray, shape (n, n), n odd
        Centred on the middle pixel, summing to ``energy_fraction``. Build one with `Psf.from_array` or
        `Psf.from_file`, which centre and normalise.
    pixel_scale : float
        Arcsec per stamp pixel.
    energy_fraction : float
        Share of a point source's whole flux inside the stamp. A model made with this stamp then needs no further
        aperture correction.
    oversampling : int, optional
        Stamp pixels per image pixel, along one axis.
    band, source : str, optional
        Where it belongs and where it came from.
    cautions : tuple of str, optional
        What was odd in the stamp and how it was read.

    Examples
    --------
    >>> import numpy as np
    >>> rows, columns = np.indices((32, 32)) - 16
    >>> psf = Psf.from_array(0.9 * np.exp(-(rows**2 + columns**2) / 8) / (8 * np.pi), 0.02)
    >>> psf.size, round(psf.energy_fraction, 3), round(psf.fwhm, 3)
    (31, 0.9, 0.094)
    """

    stamp: FloatArray
    pixel_scale: float
    energy_fraction: float = 1.0
    oversampling: int = 1
    band: str = ""
    source: str = ""
    cautions: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        stamp = np.array(self.stamp, dtype=np.float64)
        name = f"the PSF of {self.band}" if self.band else "the PSF"
        if stamp.ndim != 2 or stamp.shape[0] != stamp.shape[1] or stamp.shape[0] % 2 == 0 or stamp.shape[0] < 3:
            msg = f"{name} has the shape {stamp.shape}; a stamp is square with an odd side; Psf.from_array makes one"
            raise InputError(msg)
        if not np.isfinite(stamp).all():
            msg = (
                f"{name} has {np.count_nonzero(~np.isfinite(stamp))} pixels without a value; Psf.from_array fills them"
            )
            raise InputError(msg)
        if not self.pixel_scale > 0:
            msg = f"{name} has the pixel scale {self.pixel_scale}; give arcsec per stamp pixel, above 0"
            raise InputError(msg)
        if not 0 < self.energy_fraction <= 1.05 or int(self.oversampling) < 1:
            msg = (
                f"{name} has energy_fraction {self.energy_fraction} and oversampling {self.oversampling}; "
                "the first lies in (0, 1], the second is 1, 2, 3 ..."
            )
            raise InputError(msg)
        total = stamp.sum()
        if total <= 0:
            msg = f"{name} sums to {total:.3g}; a PSF stamp has a positive sum"
            raise InputError(msg)
        stamp *= self.energy_fraction / total
        stamp.flags.writeable = False
        object.__setattr__(self, "stamp", stamp)
        object.__setattr__(self, "oversampling", int(self.oversampling))

    @classmethod
    def from_array(
        cls,
        stamp: npt.ArrayLike,
        pixel_scale: float,
        *,
        energy_fraction: float | None = None,
        oversampling: int = 1,
        band: str = "",
        source: str = "array",
    ) -> Psf:
        """Centre and normalise a stamp of any size.

        Parameters
        ----------
        stamp : array_like, shape (ny, nx)
            Any normalisation; the peak anywhere in the middle half.
        pixel_scale : float
            Arcsec per stamp pixel.
        energy_fraction : float, optional
            Share of the whole flux inside the stamp. None takes the stamp's own sum when it is plausible for one
            (0.8 to 1), else 1, and says so.
        oversampling : int, optional
            Stamp pixels per image pixel.
        band, source : str, optional
            Where it belongs and where it came from.

        Returns
        -------
        Psf
            Its ``cautions`` say what was changed.

        Raises
        ------
        InputError
            If the stamp has no peak in its middle or no positive sum.
        """
        data = np.array(stamp, dtype=np.float64)
        name = f"{band} PSF" if band else "PSF"
        if data.ndim != 2 or min(data.shape) < 5:
            msg = f"{name}: the stamp has the shape {data.shape}; give a two-dimensional stamp of at least 5 x 5 pixels"
            raise InputError(msg)
        cautions: list[str] = []
        bad = ~np.isfinite(data)
        if bad.any():
            cautions.append(f"{name}: {np.count_nonzero(bad)} pixels without a value are set to 0")
            data[bad] = 0.0
        given_sum = float(data.sum())
        if not given_sum > 0:
            msg = f"{name}: the stamp sums to {given_sum:.3g}; a PSF has a positive sum"
            raise InputError(msg)
        data, moved = _centred(data, name)
        if moved:
            cautions.append(moved)
        fraction = energy_fraction
        if fraction is None:
            kept = float(data.sum()) / given_sum
            low, high = _PLAUSIBLE_ENERGY
            if low <= given_sum <= high:
                fraction = min(given_sum * kept, 1.0)
                if abs(given_sum - 1) > 1e-3:
                    cautions.append(
                        f"{name}: the stamp sums to {given_sum:.3f}, taken as the energy inside it; "
                        "energy_fraction= overrides",
                    )
            else:
                fraction = min(kept, 1.0)
                cautions.append(
                    f"{name}: the stamp sums to {given_sum:.4g}, which cannot be the energy inside it; it is "
                    "renormalised to 1 (fluxes then miss what lies outside the stamp); energy_fraction= overrides",
                )
        return cls(
            stamp=data,
            pixel_scale=float(pixel_scale),
            energy_fraction=float(fraction),
            oversampling=oversampling,
            band=band,
            source=source,
            cautions=tuple(cautions),
        )

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        pixel_scale: float | None = None,
        energy_fraction: float | None = None,
        oversampling: int = 1,
        band: str = "",
        hdu: int | str | None = None,
        unpack_limit: int = UNPACK_LIMIT,
    ) -> Psf:
        """Read a stamp from a FITS file, then as `from_array`.

        Parameters
        ----------
        path : path-like
            The file.
        pixel_scale : float, optional
            Arcsec per stamp pixel; None takes it from the header.
        energy_fraction, oversampling, band : optional
            As in `from_array`.
        hdu : int or str, optional
            Extension.
        unpack_limit : int, optional
            Bytes that a compressed file may unpack to.

        Returns
        -------
        Psf
            Centred and normalised.

        Raises
        ------
        InputError
            If the header has no pixel scale and none is given.
        """
        stamp, stated, remarks = read_stamp(path, hdu=hdu, unpack_limit=unpack_limit)
        scale = stated if pixel_scale is None else pixel_scale
        if scale is None:
            msg = (
                f"{Path(path).name}: the header does not say how large a PSF pixel is; give it in arcsec, "
                f'psf_scales={{"{band or "F150W"}": 0.02}} (pixel_scale=0.02 for one stamp)'
            )
            raise InputError(msg)
        out = cls.from_array(
            stamp,
            scale,
            energy_fraction=energy_fraction,
            oversampling=oversampling,
            band=band,
            source=Path(path).name,
        )
        return replace(out, cautions=(*remarks, *out.cautions))

    @property
    def size(self) -> int:
        """Side of the stamp [stamp pixels]."""
        return int(self.stamp.shape[0])

    @cached_property
    def fwhm(self) -> float:
        """Diameter of the circle with the area above half the maximum [arcsec]."""
        half = min(self.size // 2, 24)
        middle = self.size // 2
        core = self.stamp[middle - half : middle + half + 1, middle - half : middle + half + 1]
        fine = 11
        positions = np.arange(-half * fine, half * fine + 1) / fine + half
        basis = _interpolation_matrix(core.shape[0], positions)
        smooth = basis @ core @ basis.T
        above = smooth - smooth.max() / 2
        # Cells that the contour crosses count by the share of them that it encloses.
        slope = np.hypot(*np.gradient(smooth))
        share = np.clip(0.5 + above / np.maximum(slope, 1e-12 * smooth.max()), 0, 1)
        pixels = float(share.sum()) / fine**2
        return float(2 * np.sqrt(pixels / np.pi) * self.pixel_scale)

    def trimmed(self, size: int) -> Psf:
        """Return the middle of the stamp; the energy outside is given up and counted.

        Parameters
        ----------
        size : int
            Side of the new stamp, odd [stamp pixels]; a larger one than now returns the stamp as it is.

        Returns
        -------
        Psf
            With the smaller ``energy_fraction``.
        """
        if size % 2 == 0 or size < 3:
            msg = f"size is {size}; a stamp has an odd side of at least 3 pixels"
            raise InputError(msg)
        if size >= self.size:
            return self
        cut = (self.size - size) // 2
        stamp = self.stamp[cut : cut + size, cut : cut + size]
        return replace(self, stamp=stamp, energy_fraction=float(stamp.sum()))

    def resampled(self, pixel_scale: float, size: int | None = None) -> Psf:
        """Return the PSF on another grid, by cosine (Fourier) interpolation.

        Parameters
        ----------
        pixel_scale : float
            Arcsec per new stamp pixel.
        size : int, optional
            Side of the new stamp, odd; None keeps the extent on the sky.

        Returns
        -------
        Psf
            With ``oversampling`` 1; its ``energy_fraction`` is that of the new extent.

        Notes
        -----
        The stamp is sampled at the new pixel centres; nothing is averaged over the new pixels, because the
        effective PSF has its pixel response inside already. Interpolation is by the trigonometric series of the
        mirrored stamp, which is exact for a critically sampled PSF: the variance is kept to 1e-3 px2, while linear
        interpolation would widen it by 0.12 px2.
        """
        if not pixel_scale > 0:
            msg = f"pixel_scale is {pixel_scale}; give arcsec per pixel, above 0"
            raise InputError(msg)
        step = pixel_scale / self.pixel_scale
        if size is None:
            half = int(np.floor((self.size // 2 + 1e-9) / step))
            size = 2 * half + 1
        if size % 2 == 0 or size < 3:
            msg = f"size is {size}; a stamp has an odd side of at least 3 pixels"
            raise InputError(msg)
        middle = self.size // 2
        positions = middle + np.arange(-(size // 2), size // 2 + 1) * step
        basis = _interpolation_matrix(self.size, positions)
        stamp = basis @ self.stamp @ basis.T * step**2
        return replace(
            self,
            stamp=stamp,
            pixel_scale=float(pixel_scale),
            oversampling=1,
            energy_fraction=float(np.clip(stamp.sum(), 1e-6, 1.0)),
        )

    def __repr__(self) -> str:
        sampled = f" ({self.oversampling}x oversampled)" if self.oversampling > 1 else ""
        return (
            f'Psf({self.band or "no band"}, {self.size} px of {self.pixel_scale:.4g}"{sampled}, '
            f'FWHM {self.fwhm:.3f}", energy {self.energy_fraction:.3f})'
        )


def _interpolation_matrix(n: int, positions: npt.ArrayLike) -> FloatArray:
    """Return B such that ``B @ f`` is the cosine-series interpolant of ``f`` at ``positions``; 0 outside the stamp.

    The series is that of the stamp continued by mirroring, so that it has no jump at the edge and no ringing there.
    """
    at = np.asarray(positions, dtype=np.float64)
    k = np.arange(n)
    weight = np.where(k == 0, 1.0, 2.0) / n
    forward = np.cos(np.pi * np.outer(k, np.arange(n) + 0.5) / n)
    backward = np.cos(np.pi * np.outer(at + 0.5, k) / n)
    matrix = (backward * weight) @ forward
    matrix[(at < -0.5) | (at > n - 0.5)] = 0.0
    return np.asarray(matrix)


def core_centroid(stamp: FloatArray, start: Sequence[float], *, sigma: float = 1.5) -> tuple[float, float]:
    """Return the centroid under a Gaussian window that follows it.

    Parameters
    ----------
    stamp : ndarray
        Image of one source.
    start : (float, float)
        First guess (x, y).
    sigma : float, optional
        Width of the window [px].

    Returns
    -------
    x, y : float
        Position [px]; the window makes it independent of the wings and of a neighbour there.
    """
    x, y = float(start[0]), float(start[1])
    rows, columns = np.mgrid[: stamp.shape[0], : stamp.shape[1]]
    for _ in range(50):
        weight = np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2) * stamp
        total = weight.sum()
        if not total > 0:
            break
        # Twice the first moment: a window of the source's own width halves the step.
        dx = 2 * float((weight * (columns - x)).sum() / total)
        dy = 2 * float((weight * (rows - y)).sum() / total)
        x, y = x + dx, y + dy
        if np.hypot(dx, dy) < 1e-6:
            break
    return x, y


def core_sigma(stamp: FloatArray) -> float:
    """Return a Gaussian window's width that suits a stamp's core.

    Parameters
    ----------
    stamp : ndarray
        Image of one source.

    Returns
    -------
    float
        Standard deviation [px].
    """
    # A soft count of the pixels above half the maximum: it hardly changes when the source moves by part of a pixel.
    area = np.clip(2 * stamp / stamp.max() - 0.5, 0, 1).sum()
    return float(max(np.sqrt(area / np.pi) / 1.1774, 0.8))


def shifted(stamp: FloatArray, dx: float, dy: float) -> FloatArray:
    """Move an image by a fraction of a pixel, by cosine interpolation.

    Parameters
    ----------
    stamp : ndarray
        The image.
    dx, dy : float
        How far its content moves [px].

    Returns
    -------
    ndarray
        Same shape; what comes in over the edge is mirrored.
    """
    # The shift theorem on the mirrored image: the cosine series of `_interpolation_matrix`, without its matrices.
    out = np.asarray(stamp, dtype=np.float64)
    for axis, step in ((0, dy), (1, dx)):
        if step == 0:
            continue
        n = out.shape[axis]
        spectrum = np.fft.rfft(np.concatenate([out, np.flip(out, axis)], axis), axis=axis)
        phase = np.exp(-2j * np.pi * np.arange(n + 1) * step / (2 * n))
        phase[-1] = 0.0
        spectrum *= phase[:, None] if axis == 0 else phase
        out = np.take(np.fft.irfft(spectrum, 2 * n, axis=axis), range(n), axis=axis)
    return out


def _centred(data: FloatArray, name: str) -> tuple[FloatArray, str]:
    """Cut a stamp to an odd square around its peak and shift its centroid to the middle."""
    ny, nx = data.shape
    y_peak, x_peak = (int(i) for i in np.unravel_index(int(np.argmax(data)), data.shape))
    if not (nx // 4 <= x_peak < nx - nx // 4 and ny // 4 <= y_peak < ny - ny // 4):
        msg = (
            f"{name}: the brightest pixel, [{y_peak}, {x_peak}] of {ny} x {nx}, is not in the middle half of the stamp; "
            "is a neighbour brighter, or is this no PSF?"
        )
        raise InputError(msg)
    x, y = core_centroid(data, (x_peak, y_peak), sigma=core_sigma(data))
    if np.hypot(x - x_peak, y - y_peak) > 1.5:
        x, y = float(x_peak), float(y_peak)
    x_middle, y_middle = round(x), round(y)
    half = min(x_middle, y_middle, nx - 1 - x_middle, ny - 1 - y_middle)
    words = []
    if (ny, nx) != (2 * half + 1, 2 * half + 1):
        words.append(
            f"{name}: the stamp of {ny} x {nx} pixels has its centre at [{y_middle}, {x_middle}]; it is cut to "
            f"{2 * half + 1} x {2 * half + 1} around it",
        )
    dx, dy = x - x_middle, y - y_middle
    if np.hypot(dx, dy) > _CENTRED:
        whole = data
        data = shifted(whole, -dx, -dy)
        for _ in range(5):
            # An undersampled core does not move by exactly what is asked: ask again, always from the original.
            x, y = core_centroid(data, (x_middle, y_middle), sigma=core_sigma(data))
            if np.hypot(x - x_middle, y - y_middle) < 0.2 * _CENTRED:
                break
            dx, dy = dx + x - x_middle, dy + y - y_middle
            data = shifted(whole, -dx, -dy)
        if np.hypot(dx, dy) > 0.05:
            words.append(f"{name}: moved by ({-dx:+.2f}, {-dy:+.2f}) px to the middle of its pixel")
    cut = data[y_middle - half : y_middle + half + 1, x_middle - half : x_middle + half + 1]
    return np.array(cut), "; ".join(words)


def read_stamp(
    path: str | os.PathLike[str],
    *,
    hdu: int | str | None = None,
    unpack_limit: int = UNPACK_LIMIT,
) -> tuple[FloatArray, float | None, list[str]]:
    """Read a PSF file as it is.

    Parameters
    ----------
    path : path-like
        The file.
    hdu : int or str, optional
        Extension.
    unpack_limit : int, optional
        Bytes that a compressed file may unpack to.

    Returns
    -------
    stamp : ndarray
        Its pixels.
    pixel_scale : float or None
        Arcsec per pixel, if the header says so.
    remarks : list of str
        What was odd.
    """
    pixels, header, remarks = open_image(path, hdu=hdu, unpack_limit=unpack_limit)
    ny, nx = pixels.shape
    if ny * nx > _LARGEST_STAMP**2:
        msg = f"{Path(path).name} has {nx} x {ny} pixels; a PSF stamp has at most {_LARGEST_STAMP} x {_LARGEST_STAMP}"
        raise InputError(msg)
    wcs, _ = read_wcs(header, Path(path).name)
    scale = wcs_pixel_scale(wcs) if wcs is not None else header_pixel_scale(header)[0]
    return pixels.read(0, ny, 0, nx), scale, remarks


def as_psf(
    value: Any,
    *,
    band: str,
    fallback_scale: float,
    pixel_scale: float | None = None,
    energy_fraction: float | None = None,
) -> Psf:
    """Return what a caller gives as a PSF (a `Psf`, a path or an array).

    Parameters
    ----------
    value : Psf, path-like or array_like
        The PSF.
    band : str
        Band name.
    fallback_scale : float
        Arcsec per stamp pixel when neither the caller nor the file says; its use is said.
    pixel_scale : float or None
        Arcsec per stamp pixel.
    energy_fraction : float or None
        Share of the flux inside the stamp.

    Returns
    -------
    Psf
        Named after the band.
    """
    if isinstance(value, Psf):
        out = value if value.band else replace(value, band=band)
        return out if energy_fraction is None else replace(out, energy_fraction=energy_fraction)
    remarks: list[str] = []
    stated, source = None, "array"
    if isinstance(value, (str, os.PathLike)):
        source = Path(value).name
        value, stated, remarks = read_stamp(value)
    scale = pixel_scale if pixel_scale is not None else stated
    if scale is None:
        scale = fallback_scale
        remarks.append(
            f"{band} PSF: its pixel scale is not stated; the band's {scale:.4g}\" is assumed; psf_scales= overrides",
        )
    out = Psf.from_array(value, scale, energy_fraction=energy_fraction, band=band, source=source)
    expected = _OPTICS_FWHM.get(band)
    if expected is not None and not 0.85 < out.fwhm / expected < 1.75:
        remarks.append(
            f'{band} PSF: its FWHM is {out.fwhm:.3f}" while the optics give {expected:.3f}"; is its pixel scale '
            f'{scale:.4g}"? psf_scales= overrides',
        )
    return replace(out, cautions=(*remarks, *out.cautions))
