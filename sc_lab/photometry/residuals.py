"""What a measured list of clumps looks like on the pixels: model images, for data, model and residual."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from sc_lab.errors import InputError
from sc_lab.photometry._forced import carry_shape
from sc_lab.photometry._sizeband import box_corner
from sc_lab.photometry.rendering import make_kernel, render
from sc_lab.photometry.sizes import clip_shape
from sc_lab.units import FloatArray

__all__ = ["model_places", "render_clumps"]

#: Largest half size of the patch that one clump is drawn in [px]; its PSF is at most this wide there.
_LARGEST_PATCH = 30


def model_places(field: Any, table: Table, band: str) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return where and how bright the fitted clumps are in a band.

    Parameters
    ----------
    field : `~sc_lab.images.Field`
        Images.
    table : Table
        Result of `fit_clumps`.
    band : str
        Band name.

    Returns
    -------
    flux : ndarray
        (n,) nJy, NaN for a clump without a fit.
    x, y : ndarray
        (n,) px of the band, the shift fitted there included.
    shape : ndarray
        (n, 3) Cxx, Cyy, Cxy in px^2 of the band; in the band of the sizes as fitted, elsewhere without
        negative eigenvalues.

    Raises
    ------
    InputError
        If the table holds no fluxes of the band.
    """
    name, low = str(band).upper(), str(band).lower()
    if f"flux_{low}" not in table.colnames:
        msg = f"the table has no fluxes of {name}; fit it with bands= including {name!r}"
        raise InputError(msg)
    image = field[name]
    reference = field[table.meta["photometry"]["settings"]["reference"]]
    flux = np.array(u.Quantity(table[f"flux_{low}"], u.nJy).value)
    x, y = (np.array(v, dtype=np.float64) for v in image.to_pixel(table["ra"], table["dec"]))
    shape = np.column_stack([np.asarray(table[c], dtype=np.float64) for c in ("cov_xx", "cov_yy", "cov_xy")])
    own = np.asarray(table["size_band"]).astype(str) == name
    good = np.isfinite(flux) & np.isfinite(shape).all(1) & np.isfinite(x) & np.isfinite(y)
    flux[~good] = np.nan
    shape[good & ~own] = clip_shape(shape[good & ~own])
    if image is not reference and good.any():
        at = [np.asarray(table[c], dtype=np.float64)[good] for c in ("x", "y")]
        shape[good] = carry_shape(shape[good], reference.jacobian_to(image, *at))
    x += np.nan_to_num(np.asarray(table[f"shift_x_{low}"], dtype=np.float64))
    y += np.nan_to_num(np.asarray(table[f"shift_y_{low}"], dtype=np.float64))
    return flux, x, y, shape


def render_clumps(field: Any, table: Table, band: str, x0: int, y0: int, nx: int, ny: int) -> FloatArray:
    """Return the image of all fitted clumps in a rectangle of a band.

    Parameters
    ----------
    field : `~sc_lab.images.Field`
        Images with PSFs.
    table : Table
        Result of `fit_clumps`.
    band : str
        Band name.
    x0, y0 : int
        Lower left pixel of the rectangle in the band.
    nx, ny : int
        Its size in px.

    Returns
    -------
    ndarray
        (ny, nx) nJy per pixel; zero where no clump reaches. Local backgrounds are not part of it.

    Raises
    ------
    InputError
        If the band has no PSF or no fluxes in the table.
    """
    image = field[band]
    if image.psf is None:
        msg = f"{image.name} has no PSF, so there is no model of it; give one with psfs="
        raise InputError(msg)
    flux, x, y, shape = model_places(field, table, band)
    out = np.zeros((int(ny), int(nx)))
    stamp_half = int(image.psf.stamp.shape[0] // 2 * image.psf.pixel_scale / image.pixel_scale)
    half = min(max(stamp_half, 6), _LARGEST_PATCH)
    near = np.isfinite(flux) & (x > x0 - half) & (x < x0 + nx + half) & (y > y0 - half) & (y < y0 + ny + half)
    index = np.nonzero(near)[0]
    if index.size == 0:
        return out
    size = 2 * half + 1
    kernel = make_kernel(image.psf, (size, size), pixel_scale=image.pixel_scale)
    corner = box_corner(x[index], y[index], size)
    patches = render(
        kernel, flux[index], x[index] - corner[:, 0], y[index] - corner[:, 1], shape[index], size=(size, size)
    )
    for patch, (left, bottom) in zip(patches, (corner - [int(x0), int(y0)]).tolist(), strict=True):
        a, b = max(left, 0), min(left + size, out.shape[1])
        c, d = max(bottom, 0), min(bottom + size, out.shape[0])
        if a < b and c < d:
            out[c:d, a:b] += patch[c - bottom : d - bottom, a - left : b - left]
    return out
