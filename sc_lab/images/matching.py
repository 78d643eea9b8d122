"""Bringing bands to one PSF: kernels, and bands that are convolved where they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import signal

from sc_lab.errors import InputError
from sc_lab.images.fitsfiles import PixelSource
from sc_lab.images.psf import Psf
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.images.band import Band
    from sc_lab.images.field import Field

__all__ = ["kernel_residual", "match_psf", "matching_kernel"]

#: How much wider than its target a PSF may be and still be called equal to it.
_SAME_WIDTH = 1.03
_WORTH_SAYING = 0.08
#: A pixel is kept when this much of its kernel lies on usable ones; in the corner of a mosaic it is a quarter.
_LEAST_COVER = 0.1


def matching_kernel(
    psf: Psf,
    target: Psf,
    *,
    size: int | None = None,
    regularization: float = 1e-5,
) -> FloatArray:
    """Return the kernel that turns one PSF into another.

    Parameters
    ----------
    psf : Psf
        The sharper one; the kernel has its pixels.
    target : Psf
        The broader one, resampled if its pixels differ.
    size : int, optional
        Side of the kernel, odd [px]; None takes the smaller stamp's.
    regularization : float, optional
        Weight of the penalty on small-scale structure. Smaller follows the target more closely and rings more.

    Returns
    -------
    ndarray, shape (size, size)
        Sums to 1, so that fluxes are kept.

    Raises
    ------
    InputError
        If the target is sharper than the PSF.

    Notes
    -----
    Wiener filter with a Laplacian penalty (Boucaud et al. 2016, A&A 596, A63):
    K = S* T / (S S* + r L L*) in Fourier space.
    """
    if not regularization > 0:
        msg = f"regularization is {regularization}; give a small number above 0, such as 1e-5"
        raise InputError(msg)
    if target.fwhm < psf.fwhm / _SAME_WIDTH:
        msg = (
            f'the target PSF ({target.band or "no band"}, FWHM {target.fwhm:.3f}") is sharper than '
            f'{psf.band or "the other"} ({psf.fwhm:.3f}"); a kernel can only broaden: choose the broadest as the target'
        )
        raise InputError(msg)
    if abs(target.pixel_scale / psf.pixel_scale - 1) > 1e-3:
        target = target.resampled(psf.pixel_scale)
    side = min(psf.size, target.size)
    source_stamp, target_stamp = (_tapered(p.trimmed(side).stamp) for p in (psf, target))
    wanted = side if size is None else size
    if wanted % 2 == 0 or wanted < 3:
        msg = f"size is {wanted}; a kernel has an odd side of at least 3 pixels"
        raise InputError(msg)
    laplacian = np.zeros((side, side))
    middle = side // 2
    laplacian[middle, middle] = 4.0
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        laplacian[middle + dy, middle + dx] = -1.0
    s, t, edge = (np.fft.fft2(np.fft.ifftshift(a)) for a in (source_stamp, target_stamp, laplacian))
    filtered = np.conj(s) * t / (np.abs(s) ** 2 + regularization * np.abs(edge) ** 2)
    kernel = np.fft.fftshift(np.fft.ifft2(filtered).real)
    if wanted < side:
        cut = (side - wanted) // 2
        kernel = kernel[cut : cut + wanted, cut : cut + wanted]
    return np.asarray(kernel / kernel.sum())


def kernel_residual(psf: Psf, target: Psf, kernel: FloatArray) -> float:
    """Return how far a kernel misses its target in enclosed energy.

    Parameters
    ----------
    psf, target : Psf
        As given to `matching_kernel`.
    kernel : ndarray
        Its result.

    Returns
    -------
    float
        Largest difference of the enclosed energy beyond half a FWHM of the target, as a share of the whole.
    """
    if abs(target.pixel_scale / psf.pixel_scale - 1) > 1e-3:
        target = target.resampled(psf.pixel_scale)
    side = min(psf.size, target.size)
    source, wanted = (_tapered(p.trimmed(side).stamp) for p in (psf, target))
    got = signal.fftconvolve(source, kernel, mode="same")
    rows, columns = np.indices(wanted.shape) - side // 2
    radius = np.hypot(rows, columns) * psf.pixel_scale
    radii = np.arange(0.5, 3.01, 0.25) * target.fwhm
    return float(max(abs((got - wanted)[radius <= r].sum()) for r in radii))


def match_psf(
    field: Field,
    target: str | Psf | None = None,
    *,
    bands: Sequence[str] | None = None,
    errors: Literal["aperture", "pixel"] = "aperture",
    regularization: float = 1e-5,
) -> Field:
    """Return a field whose bands all have one PSF.

    Parameters
    ----------
    field : Field
        Every band to be matched has a PSF.
    target : str or Psf, optional
        Band or PSF to match to; None takes the band with the broadest PSF.
    bands : sequence of str, optional
        Bands to keep; None keeps all.
    errors : {"aperture", "pixel"}, optional
        What the errors of the matched bands are for. Convolution spreads noise over neighbouring pixels, so no map
        of independent errors says everything: with ``"aperture"`` the squares of a region's errors still add up to
        the variance of its flux; with ``"pixel"`` each is the scatter of its own pixel (taking the given ones
        for independent), and sums over a region come out too small.
    regularization : float, optional
        As in `matching_kernel`.

    Returns
    -------
    Field
        Nothing is convolved yet: each cut-out convolves its own pixels and a margin.

    Raises
    ------
    InputError
        If a PSF is missing or broader than the target.
    """
    names = field.names if bands is None else tuple(field[name].name for name in bands)
    missing = [name for name in names if field[name].psf is None]
    if missing:
        msg = f"no PSF for {', '.join(missing)}; give psfs= when the field is opened, or bands= without them"
        raise InputError(msg)
    if errors not in {"aperture", "pixel"}:
        msg = f'errors is {errors!r}; give "aperture" (add up over regions) or "pixel" (scatter of each pixel)'
        raise InputError(msg)
    psfs = {name: _psf_of(field[name]) for name in names}
    if target is None:
        target = max(names, key=lambda name: psfs[name].fwhm)
    goal = target if isinstance(target, Psf) else psfs.get(field[target].name, field[target].psf)
    if goal is None:
        msg = f"no PSF for the target {target}; give psfs= when the field is opened"
        raise InputError(msg)
    out = []
    for name in names:
        band = field[name]
        if not isinstance(target, Psf) and name == field[target].name:
            out.append(band)
            continue
        native = psfs[name].resampled(band.pixel_scale) if psfs[name].oversampling > 1 else psfs[name]
        kernel = matching_kernel(native, goal, regularization=regularization)
        missed = kernel_residual(native, goal, kernel)
        said = list(band.cautions)
        if missed > _WORTH_SAYING:
            said.append(f"{name}: after matching, the enclosed energy still differs by up to {100 * missed:.1f} %")
        matched = goal.resampled(band.pixel_scale)
        out.append(_convolved(band, kernel, matched, errors, tuple(said)))
    return field.replace(bands=out, reference=field.reference if field.reference in names else None)


def _psf_of(band: Band) -> Psf:
    """Return a band's PSF, which is known to be there."""
    if band.psf is None:
        msg = f"no PSF for {band.name}"
        raise InputError(msg)
    return band.psf


def _convolved(band: Band, kernel: FloatArray, psf: Psf, errors: str, cautions: tuple[str, ...]) -> Band:
    """Return a band whose pixels are convolved when they are read."""
    image, error, weight, sky = band.sources
    changes: dict[str, object] = {}
    if isinstance(error, (int, float)) or (error is None and weight is None):
        # One number for all pixels: it is the same everywhere after convolution too.
        sigma = float(error) if isinstance(error, (int, float)) else band.noise.scatter
        changes["error"] = sigma * (1.0 if errors == "aperture" else float(np.sqrt((kernel**2).sum())))
    else:
        source: PixelSource = error if error is not None else _AsErrors(weight)  # type: ignore[arg-type]  # one of the two is there
        squared = np.abs(kernel) / np.abs(kernel).sum() if errors == "aperture" else kernel**2
        changes |= {"error": _ConvolvedErrors(source, squared), "weight": None}
    if sky is not None:
        changes["sky"] = _ConvolvedPixels(sky, kernel)
    return band.with_changes(image=_ConvolvedPixels(image, kernel), psf=psf, cautions=cautions, **changes)


@dataclass(frozen=True, eq=False)
class _ConvolvedPixels:
    """Pixels that are convolved when they are read."""

    source: PixelSource
    kernel: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    def read(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        data, inner = _with_margin(self.source, self.kernel.shape[0] // 2, (y0, y1, x0, x1))
        good = np.isfinite(data)
        out = signal.fftconvolve(np.where(good, data, 0.0), self.kernel, mode="same")[inner]
        here = good[inner]
        if not good.all():
            # A hole takes light from its surroundings; dividing by what is left of the kernel mends most of it.
            cover = signal.fftconvolve(good.astype(np.float64), self.kernel, mode="same")[inner]
            out = np.where(here & (cover > _LEAST_COVER), out / np.where(cover > _LEAST_COVER, cover, 1.0), np.nan)
        return np.asarray(out)


@dataclass(frozen=True, eq=False)
class _ConvolvedErrors:
    """Errors whose squares are convolved when they are read."""

    source: PixelSource
    kernel: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    def read(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        error, inner = _with_margin(self.source, self.kernel.shape[0] // 2, (y0, y1, x0, x1))
        good = np.isfinite(error) & (error > 0)
        if not good.any():
            return np.full((y1 - y0, x1 - x0), np.nan)
        variance = np.where(good, error, 0.0) ** 2
        smooth = signal.fftconvolve(variance, self.kernel, mode="same")[inner]
        if not good.all():
            cover = signal.fftconvolve(good.astype(np.float64), self.kernel, mode="same")[inner] / self.kernel.sum()
            smooth = smooth / np.maximum(cover, 0.1)
        # Round-off of the FFT can leave a faint variance below zero beside a bright one.
        floor = 1e-6 * variance[good].min() * self.kernel.sum()
        return np.where(good[inner], np.sqrt(np.maximum(smooth, floor)), np.nan)


@dataclass(frozen=True, eq=False)
class _AsErrors:
    """Inverse variances read as standard deviations."""

    weight: PixelSource

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape

    def read(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        weight = self.weight.read(y0, y1, x0, x1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(weight > 0, 1 / np.sqrt(weight), np.nan)


def _with_margin(
    source: PixelSource,
    margin: int,
    box: tuple[int, int, int, int],
) -> tuple[FloatArray, tuple[slice, slice]]:
    """Read a box and a margin around it; beyond the image's edge there are NaNs."""
    y0, y1, x0, x1 = box
    ny, nx = source.shape
    out = np.full((y1 - y0 + 2 * margin, x1 - x0 + 2 * margin), np.nan)
    bottom, top, left, right = max(y0 - margin, 0), min(y1 + margin, ny), max(x0 - margin, 0), min(x1 + margin, nx)
    out[bottom - y0 + margin : top - y0 + margin, left - x0 + margin : right - x0 + margin] = source.read(
        bottom,
        top,
        left,
        right,
    )
    return out, (slice(margin, margin + y1 - y0), slice(margin, margin + x1 - x0))


def _tapered(stamp: FloatArray) -> FloatArray:
    """Return a stamp that goes to zero at its edge and sums to 1; a jump there would ring all over the kernel."""
    side = stamp.shape[0]
    rows, columns = np.indices(stamp.shape) - side // 2
    radius = np.hypot(rows, columns) / (side / 2)
    taper = 0.5 - 0.5 * np.cos(np.pi * np.clip((1.0 - radius) / 0.2, 0, 1))
    out = stamp * taper
    return np.asarray(out / out.sum())
