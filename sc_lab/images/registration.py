"""Whether bands lie on top of each other: offsets measured on the images, and fields whose bands are moved by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sc_lab.errors import InputError
from sc_lab.images.rgb import on_reference_grid
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.images.field import Field

__all__ = ["align", "band_offset"]

_LARGEST_BOX = 600
_LEAST_LIKENESS = 0.4


def band_offset(
    field: Field,
    band: str,
    *,
    to: str | None = None,
    box: tuple[int, int, int, int] | None = None,
    reach: float = 1.0,
) -> tuple[float, float, float]:
    """Measure how far a band's picture lies from another's, where their coordinates say that they coincide.

    Parameters
    ----------
    field : Field
        The field.
    band : str
        Band to check.
    to : str, optional
        Band to compare with; None takes the reference.
    box : (x0, y0, nx, ny), optional
        Where to compare [px of the reference band]; None takes the middle 600 px.
    reach : float, optional
        Largest offset looked for [arcsec].

    Returns
    -------
    dx, dy : float
        Offset along the reference band's axes [arcsec]; NaN where the pictures are not alike enough to say.
    likeness : float
        Correlation of the two pictures at that offset.

    Notes
    -----
    The peak of the cross-correlation of both bands on the reference grid, after the sky level is taken off and
    sources are compressed by asinh, so that one bright core does not decide alone. Colour gradients move it by some
    tenths of a reference pixel.
    """
    reference = field[field.reference]
    other = field[to].name if to is not None else reference.name
    if field[band].name == other:
        return 0.0, 0.0, 1.0
    if box is None:
        ny, nx = (min(side, _LARGEST_BOX) for side in reference.shape)
        box = (reference.shape[1] - nx) // 2, (reference.shape[0] - ny) // 2, nx, ny
    images = [_compressed(on_reference_grid(field, name, *box)) for name in (other, field[band].name)]
    norm = np.sqrt((images[0] ** 2).sum() * (images[1] ** 2).sum())
    if not norm > 0:
        return np.nan, np.nan, 0.0
    size = [2 * side for side in images[0].shape]
    product = np.conj(np.fft.rfft2(images[0], size)) * np.fft.rfft2(images[1], size)
    correlation = np.fft.fftshift(np.fft.irfft2(product, size)) / norm
    middle = np.array(size) // 2
    far = max(int(reach / reference.pixel_scale), 2)
    half = np.minimum(far, middle - 2)
    part = correlation[middle[0] - half[0] : middle[0] + half[0] + 1, middle[1] - half[1] : middle[1] + half[1] + 1]
    peak = np.array(np.unravel_index(int(np.argmax(part)), part.shape))
    likeness = float(part[tuple(peak)])
    at_edge = (peak == 0).any() or (peak == np.array(part.shape) - 1).any()
    if likeness < _LEAST_LIKENESS or at_edge:
        return np.nan, np.nan, likeness
    y, x = peak + _summit(part[peak[0] - 1 : peak[0] + 2, peak[1] - 1 : peak[1] + 2]) - half
    return float(x * reference.pixel_scale), float(y * reference.pixel_scale), likeness


def align(
    field: Field,
    *,
    to: str | None = None,
    bands: Sequence[str] | None = None,
    box: tuple[int, int, int, int] | None = None,
) -> Field:
    """Return a field whose bands are moved on top of one of them.

    Parameters
    ----------
    field : Field
        The field.
    to : str, optional
        Band that stays; None takes the reference.
    bands : sequence of str, optional
        Bands to move; None moves all.
    box : (x0, y0, nx, ny), optional
        Where to compare [px of the reference band].

    Returns
    -------
    Field
        Coordinates are changed, pixels are not; its ``cautions`` say by how much.

    Raises
    ------
    InputError
        If two bands are not alike enough to tell their offset.
    """
    moved = {band.name: band for band in field.bands.values()}
    reference = field[field.reference]
    for name in field.names if bands is None else [field[b].name for b in bands]:
        dx, dy, likeness = band_offset(field, name, to=to, box=box)
        if not np.isfinite(dx):
            msg = (
                f"{name} cannot be aligned: its picture is too unlike (correlation {likeness:.2f}); choose a box= with "
                "bright sources, bands= without it, or wcs= when the field is opened"
            )
            raise InputError(msg)
        if dx == dy == 0:
            continue
        band = field[name]
        x, y = (reference.shape[1] - 1) / 2, (reference.shape[0] - 1) / 2
        step = np.array([dx, dy]) / reference.pixel_scale
        shift = reference.jacobian_to(band, x, y) @ step
        wcs = band.wcs.deepcopy()
        wcs.wcs.crpix = np.asarray(wcs.wcs.crpix) + shift
        said = f'{name}: moved by ({-dx:+.3f}", {-dy:+.3f}") along the axes of {reference.name} to lie on it'
        kept = tuple(words for words in band.cautions if "align()" not in words)
        moved[name] = band.with_changes(wcs=wcs, cautions=(*kept, said))
    return field.replace(bands=moved.values())


def _compressed(image: FloatArray) -> FloatArray:
    """Return a picture without sky, noise tamed, bright cores compressed, fading out at its border."""
    good = np.isfinite(image)
    if good.sum() < 100:
        return np.zeros_like(image)
    level = float(np.median(image[good]))
    smooth = ndimage.gaussian_filter(np.where(good, image - level, 0.0), 1.0)
    noise = 1.4826 * float(np.median(np.abs(smooth[good] - np.median(smooth[good]))))
    if not noise > 0:
        noise = float(np.abs(smooth).max()) / 10 or 1.0
    # What does not stand out from the noise says nothing about offsets.
    picture = np.arcsinh(np.clip(smooth / noise - 3, 0, None) / 3)
    window = [np.clip(4 * np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / n, 0, 1) for n in image.shape]
    return np.asarray(picture * window[0][:, None] * window[1])


def _summit(nine: FloatArray) -> FloatArray:
    """Return where a paraboloid through 3 x 3 values has its top, from the middle (y, x)."""
    out = []
    for before, after in ((nine[0, 1], nine[2, 1]), (nine[1, 0], nine[1, 2])):
        bend = 2 * nine[1, 1] - before - after
        out.append(float(np.clip((after - before) / (2 * bend), -0.5, 0.5)) if bend > 0 else 0.0)
    return np.array(out)
