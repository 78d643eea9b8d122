"""Multiple images that constrain a model: reading their catalogue and back-projecting them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.lensing.lenstool import read_catalogue, system_of
from sc_lab.lensing.model import LensModel
from sc_lab.units import FloatArray, value_in

__all__ = ["BackProjection", "back_project", "read_images"]


@dataclass(frozen=True, eq=False)
class BackProjection:
    """How well a model brings the images of each system together.

    Attributes
    ----------
    west, north : ndarray
        Offsets [arcsec] of each back-projected image from the source of its system; NaN where the redshift is unknown or
        the system has a single image.
    source_rms : float
        Root mean square of the source-plane offsets [arcsec].
    image_rms : float
        The same carried into the image plane by the inverse Jacobian of each image [arcsec].
    n_images : int
        Images that count.
    """

    west: FloatArray
    north: FloatArray
    source_rms: float
    image_rms: float
    n_images: int


def read_images(path: Any, *, lens: LensModel) -> QTable:
    """Read Lenstool's catalogue of multiple images.

    Parameters
    ----------
    path : path-like
        The file: identifier ``system.image``, right ascension, declination, two axes, an angle, redshift, magnitude.
    lens : LensModel
        Gives the reference position, and the redshifts that were fitted with it.

    Returns
    -------
    `~astropy.table.QTable`
        id, system, ra, dec, z, z_fitted (the redshift is the model's); z is NaN where nobody knows it.

    Raises
    ------
    InputError
        If the file is missing or a line cannot be read.
    """
    path = Path(path)
    names, columns = read_catalogue(path, minimum=6, ra=lens.ra, dec=lens.dec)
    ra, dec = lens.to_sky(columns[0], columns[1])
    systems = [system_of(name) for name in names]
    fitted = getattr(lens, "redshifts", {})
    written = columns[5]
    z = np.array([w if w > 0 else fitted.get(s, math.nan) for w, s in zip(written, systems, strict=True)], dtype=float)
    return QTable(
        {"id": names, "system": systems, "ra": ra * u.deg, "dec": dec * u.deg, "z": z, "z_fitted": written <= 0},
        meta={"source": path.name},
    )


def back_project(lens: LensModel, images: QTable) -> BackProjection:
    """Carry the images of each system back to the source plane.

    Parameters
    ----------
    lens : LensModel
        The model.
    images : `~astropy.table.QTable`
        With the columns system, ra, dec and z.

    Returns
    -------
    BackProjection
        Offsets from the source of each system, and their root mean squares.

    Raises
    ------
    InputError
        If a column is missing or no system has two images with a redshift.

    Notes
    -----
    The source of a system is the mean of its back-projected images, weighed by their magnification: an image that
    is magnified more says more precisely where the source is.
    """
    missing = [name for name in ("system", "ra", "dec", "z") if name not in images.colnames]
    if missing:
        msg = f"images has no column {', '.join(missing)}; give system, ra, dec and z, as read_images does"
        raise InputError(msg)
    ra, dec = value_in(images["ra"], u.deg, "ra"), value_in(images["dec"], u.deg, "dec")
    z = value_in(images["z"], u.one, "z")
    x, y = lens.to_frame(ra, dec)
    alpha = lens.deflection(ra, dec, z)
    k, g1, g2 = lens.jacobian(ra, dec, z)
    det = (1 - k) ** 2 - g1**2 - g2**2
    west, north = x - alpha.west, y - alpha.north
    weight = 1.0 / np.abs(det)
    systems = np.asarray(images["system"]).astype(str)
    for system in np.unique(systems):
        member = systems == system
        here = member & np.isfinite(west) & np.isfinite(weight)
        alone = np.count_nonzero(here) < 2
        for offset in (west, north):
            centre = math.nan if alone else np.average(offset[here], weights=weight[here])
            offset[member & ~here] = math.nan
            offset[here] -= centre
    used = np.isfinite(west)
    if not used.any():
        msg = "no system has two images with a redshift behind the lens; fill in the column z"
        raise InputError(msg)
    # The inverse of A = [[1-k-g1, -g2], [-g2, 1-k+g1]].
    dx, dy = ((1 - k + g1) * west + g2 * north) / det, (g2 * west + (1 - k - g1) * north) / det
    return BackProjection(
        west=west,
        north=north,
        source_rms=float(np.sqrt(np.mean(west[used] ** 2 + north[used] ** 2))),
        image_rms=float(np.sqrt(np.mean(dx[used] ** 2 + dy[used] ** 2))),
        n_images=int(used.sum()),
    )
