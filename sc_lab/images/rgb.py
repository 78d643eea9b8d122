"""Colour pictures of a field: three bands brought to one grid and stretched so that colours survive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.images.band import Band
    from sc_lab.images.field import Field

__all__ = ["lupton", "on_reference_grid", "rgb"]

#: Grids that agree to this many pixels are one grid to the eye.
_ALIGNED = 1e-3

Limits = float | Sequence[float] | None


def rgb(
    field: Field,
    bands: Sequence[str],
    x0: int,
    y0: int,
    nx: int,
    ny: int,
    *,
    stretch: float | None = None,
    q: float = 8.0,
    minimum: Limits = None,
    maximum: Limits = None,
) -> npt.NDArray[np.uint8]:
    """Make a colour picture of a rectangle of the reference band.

    Parameters
    ----------
    field : Field
        The field.
    bands : (str, str, str)
        Red, green and blue.
    x0, y0, nx, ny : int
        The rectangle [px of the reference band].
    stretch : float, optional
        Brightness at which the stretch turns from linear to logarithmic [nJy per reference pixel]; None takes eight
        times the noise of the picture.
    q : float, optional
        Asinh softening; larger shows brighter structure.
    minimum : float or three floats, optional
        Black level per channel [nJy per reference pixel]; None is the median of the picture's faint half.
    maximum : float or three floats, optional
        The brightness of each channel that makes equal parts of white: sets the colour balance. None leaves equal
        f_nu white.

    Returns
    -------
    ndarray, shape (ny, nx, 4), uint8
        Red, green, blue and opacity; row 0 is ``y0`` (draw with the origin below). Transparent where no band has
        a value.

    Raises
    ------
    InputError
        If a band is missing, there are not three, or stretch or q is no number above 0.

    Notes
    -----
    The stretch of Lupton et al. 2004 (PASP 116, 133), equation 2: the mean of the channels is scaled, each
    channel keeps its ratio to it.
    """
    if len(bands) != 3:
        msg = f"bands are {', '.join(map(str, bands)) or 'none'}; a colour picture takes three: red, green, blue"
        raise InputError(msg)
    for what, value in (("stretch", stretch), ("q", q)):
        if value is not None and not (isinstance(value, (int, float, np.number)) and 0 < value < np.inf):
            msg = f"{what} is {value!r}; give a number above 0"
            raise InputError(msg)
    cache: dict[str, FloatArray] = {}
    for name in bands:
        band = field[name]
        if band.name not in cache:
            cache[band.name] = on_reference_grid(field, band.name, x0, y0, nx, ny)
    channels = np.stack([cache[field[name].name] for name in bands])
    return lupton(channels, stretch=stretch, q=q, minimum=minimum, maximum=maximum)


def on_reference_grid(field: Field, band: str, x0: int, y0: int, nx: int, ny: int) -> FloatArray:
    """Return a band's pixels on the grid of the reference band, for looking at.

    Parameters
    ----------
    field : Field
        The field.
    band : str
        Band to show.
    x0, y0, nx, ny : int
        Rectangle [px of the reference band].

    Returns
    -------
    ndarray, shape (ny, nx)
        nJy per *reference* pixel, interpolated linearly; NaN where there is no value.
    """
    reference = field[field.reference]
    shown: Band = field[band]
    if shown.name == reference.name:
        return reference.cutout(x0, y0, nx, ny)[0]
    # Over a cut-out the projection is an affine map to a small part of a pixel; nine points fit it.
    gx, gy = np.meshgrid(np.linspace(x0, x0 + nx - 1, 3), np.linspace(y0, y0 + ny - 1, 3))
    px, py = shown.to_pixel(*reference.to_sky(gx, gy))
    if not (np.isfinite(px).all() and np.isfinite(py).all()):
        return np.full((ny, nx), np.nan)
    design = np.column_stack([np.ones(gx.size), gx.ravel(), gy.ravel()])
    (ax, bx, cx), (ay, by, cy) = (np.linalg.lstsq(design, p.ravel(), rcond=None)[0] for p in (px, py))
    if np.allclose([bx, cy], 1, atol=_ALIGNED / max(nx, ny)) and np.allclose([by, cx], 0, atol=_ALIGNED / max(nx, ny)):
        shift_x, shift_y = ax + cx * y0, ay + by * x0
        if max(abs(shift_x - round(shift_x)), abs(shift_y - round(shift_y))) < _ALIGNED:
            # The same pixels: interpolation would lose the outermost ones to what lies beyond them.
            return shown.cutout(x0 + round(shift_x), y0 + round(shift_y), nx, ny)[0]
    area = abs(bx * cy - by * cx)
    columns, rows = np.arange(x0, x0 + nx)[None, :], np.arange(y0, y0 + ny)[:, None]
    at_x, at_y = ax + bx * columns + cx * rows, ay + by * columns + cy * rows
    left, bottom = int(np.floor(at_x.min())) - 1, int(np.floor(at_y.min())) - 1
    right, top = int(np.ceil(at_x.max())) + 1, int(np.ceil(at_y.max())) + 1
    data, _ = shown.cutout(left, bottom, right - left + 1, top - bottom + 1)
    return np.asarray(
        ndimage.map_coordinates(data, [at_y - bottom, at_x - left], order=1, mode="constant", cval=np.nan) * area,
    )


def lupton(
    channels: npt.ArrayLike,
    *,
    stretch: float | None = None,
    q: float = 8.0,
    minimum: Limits = None,
    maximum: Limits = None,
) -> npt.NDArray[np.uint8]:
    """Stretch three images into one colour picture.

    Parameters
    ----------
    channels : array_like, shape (3, ny, nx)
        Red, green, blue; NaN where there is no value.
    stretch, q, minimum, maximum : optional
        As in `rgb`.

    Returns
    -------
    ndarray, shape (ny, nx, 4), uint8
        Red, green, blue and opacity.
    """
    data = np.array(channels, dtype=np.float64)
    if data.ndim != 3 or data.shape[0] != 3:
        msg = f"channels have the shape {data.shape}; give three images (3, ny, nx): red, green, blue"
        raise InputError(msg)
    seen = np.isfinite(data)
    low = _per_channel(minimum, "minimum")
    if low is None:
        low = np.array([_sky_level(data[i][seen[i]]) for i in range(3)])
    high = _per_channel(maximum, "maximum")
    data = np.where(seen, data, low[:, None, None]) - low[:, None, None]
    if high is not None:
        reach = high - low
        if not (reach > 0).all():
            msg = f"maximum {high.tolist()} must lie above minimum {low.tolist()} in every channel"
            raise InputError(msg)
        data *= (reach.mean() / reach)[:, None, None]
    mean = data.mean(axis=0)
    anywhere = seen.any(axis=0)
    if stretch is None:
        values = mean[anywhere]
        # The faint half of a picture mirrors its noise about the sky level, whatever the sources above do.
        faint = values[values < 0]
        stretch = 8 * float(np.sqrt(np.mean(faint**2))) if faint.size else float(np.max(values, initial=0.0)) / 3
        stretch = stretch if stretch > 0 else 1.0
    if not (stretch > 0 and q > 0):
        msg = f"stretch is {stretch} and q is {q}; both are above 0"
        raise InputError(msg)
    slope = 0.1 / np.arcsinh(0.1 * q)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(mean > 0, np.arcsinh(q * mean / stretch) * slope / mean, 0.0)
    scaled = np.clip(data, 0, None) * gain
    # A channel beyond white takes the others down with it, so that bright cores keep their hue.
    brightest = scaled.max(axis=0)
    scaled /= np.maximum(brightest, 1.0)
    out = np.empty((*mean.shape, 4), dtype=np.uint8)
    out[..., :3] = np.moveaxis(np.round(scaled * 255), 0, -1)
    out[..., 3] = np.where(anywhere, 255, 0)
    return out


def _per_channel(limits: Limits, name: str) -> FloatArray | None:
    """Return three limits."""
    if limits is None:
        return None
    values = np.asarray(limits, dtype=np.float64)
    if values.shape not in {(), (3,)} or not np.isfinite(values).all():
        msg = f"{name} is {limits!r}; give one number, or three: red, green, blue [nJy per reference pixel]"
        raise InputError(msg)
    return np.array(np.broadcast_to(values, 3))


def _sky_level(values: FloatArray) -> float:
    """Return the level of the faint half of an image."""
    if not values.size:
        return 0.0
    return float(np.median(values[values <= np.median(values)]) * 0.25 + np.median(values) * 0.75)
