"""How much two PSFs differ in width: the error that goes straight into the sizes of clumps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sc_lab.errors import InputError
from sc_lab.images.psf import Psf
from sc_lab.units import FloatArray

__all__ = ["PsfComparison", "compare_psfs"]

#: Below this extra variance a PSF does not bias sizes noticeably; linear resampling alone makes 0.12 px2.
_HARMLESS = 0.03


@dataclass(frozen=True)
class PsfComparison:
    """How a PSF differs from the one that stars show.

    Parameters
    ----------
    extra_xx, extra_yy, extra_xy : float
        Gaussian covariance by which the stars are broader than the PSF [image px^2]. It is added to every clump's
        fitted covariance, whatever its size.
    energy_ratio : float
        Flux of the stars' core over the PSF's, for equal total fluxes.
    residual : float
        Largest difference left in the core after that broadening, as a share of the peak.
    """

    extra_xx: float
    extra_yy: float
    extra_xy: float
    energy_ratio: float
    residual: float

    @property
    def is_harmless(self) -> bool:
        """Whether no axis differs by more than 0.03 px^2."""
        return max(abs(self.extra_xx), abs(self.extra_yy), abs(self.extra_xy)) <= _HARMLESS

    def __str__(self) -> str:
        mean = (self.extra_xx + self.extra_yy) / 2
        if self.is_harmless:
            return f"the PSF is as wide as the stars (within {_HARMLESS} px^2)"
        way, effect = ("narrower", "too large") if mean > 0 else ("wider", "too small")
        return (
            f"the PSF is {way} than the stars by {abs(mean):.2f} px^2 per axis: every fitted covariance comes out "
            f"{effect} by that much; use psf_from_stars, or check the PSF's pixel scale and pixel response"
        )


def compare_psfs(psf: Psf, stars: Psf, *, radius: float = 5.0) -> PsfComparison:
    """Compare a PSF with one that was stacked from stars.

    Parameters
    ----------
    psf : Psf
        The PSF to be checked, such as an optical model.
    stars : Psf
        The result of `psf_from_stars` on the mosaic.
    radius : float, optional
        Radius of the compared core [image px].

    Returns
    -------
    PsfComparison
        The difference in width, energy and shape.

    Raises
    ------
    InputError
        If the stamps are too small for the radius.

    Notes
    -----
    An error dV of the PSF's variance changes every fitted covariance by -dV. It is found as the Gaussian covariance
    (of either sign) that turns one stamp into the other, by Gauss-Newton steps in Fourier space.
    """
    scale = stars.pixel_scale * stars.oversampling
    one, two = (p if abs(p.pixel_scale / scale - 1) < 1e-3 else p.resampled(scale) for p in (psf, stars))
    side = min(one.size, two.size)
    if side < 2 * radius + 3:
        msg = f"the stamps have {side} px, too few for a radius of {radius} px; give a smaller radius="
        raise InputError(msg)
    source, wanted = one.trimmed(side).stamp, two.trimmed(side).stamp
    k = np.fft.fftfreq(side)
    kx, ky = np.meshgrid(k, k)
    spectrum = np.fft.fft2(np.fft.ifftshift(source))
    slopes = (-2 * np.pi**2 * kx**2, -2 * np.pi**2 * ky**2, -4 * np.pi**2 * kx * ky)
    shifts = (-2j * np.pi * kx, -2j * np.pi * ky)
    rows, columns = np.indices(source.shape) - side // 2
    near = np.hypot(rows, columns) <= radius
    shape, place, scaled = np.zeros(3), np.zeros(2), 1.0
    model = source
    for _ in range(20):
        # The exponent is bounded: a sharpening by more than this would only raise noise.
        power = sum(c * slope for c, slope in zip(shape, slopes, strict=True))
        phase = sum(p * shift for p, shift in zip(place, shifts, strict=True))
        transfer = spectrum * np.exp(np.minimum(power, 5.0) + phase)
        model = scaled * _image(transfer)
        columns_of = [model / scaled, *(scaled * _image(transfer * f) for f in (*slopes, *shifts))]
        design = np.stack([column[near] for column in columns_of], axis=1)
        step = np.linalg.lstsq(design, (wanted - model)[near], rcond=None)[0]
        scaled = max(scaled + float(step[0]), 1e-3)
        shape = shape + np.clip(step[1:4], -0.5, 0.5)
        place = place + np.clip(step[4:], -0.5, 0.5)
        if np.abs(step).max() < 1e-7:
            break
    residual = float(np.abs(wanted - model)[near].max() / wanted.max())
    xx, yy, xy = (float(c) for c in shape)
    return PsfComparison(xx, yy, xy, scaled, residual)


def _image(transfer: FloatArray) -> FloatArray:
    """Return the image of a Fourier transform."""
    return np.asarray(np.fft.fftshift(np.fft.ifft2(transfer).real))
