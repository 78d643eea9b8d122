"""Positions from DS9 region files, for the picker to propose."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.errors import InputError

if TYPE_CHECKING:
    from sc_lab.images import Field

__all__ = ["read_points"]

#: A region file larger than this is none that was drawn by hand [bytes].
_LARGEST = 20_000_000


def read_points(path: Any, field: Field) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the positions of a DS9 region file.

    Parameters
    ----------
    path : path-like
        The file; circles, ellipses, boxes, points and their like count by their centres. In sky
        coordinates of any frame, or in pixels (FITS: the first is 1) of the reference band.
    field : Field
        The field whose reference band the pixels are of.

    Returns
    -------
    ra, dec : ndarray
        Positions [deg, ICRS].
    labels : list of str
        Text of each region.

    Raises
    ------
    InputError
        If there is no such file, it is not a region file, or it holds no position.
    """
    from astropy.coordinates import SkyCoord
    from regions import PixCoord, Regions

    path = Path(path)
    if not path.is_file():
        msg = f"there is no region file {str(path)!r}; give the name of a DS9 region file (.reg)"
        raise InputError(msg)
    if path.stat().st_size > _LARGEST:
        msg = f"{path} has {path.stat().st_size / 1e6:.0f} MB, too much for regions drawn by hand; choose another file"
        raise InputError(msg)
    try:
        with warnings.catch_warnings():
            # Attributes of a region that only matter for drawing are of no concern here.
            warnings.simplefilter("ignore")
            regions = Regions.parse(path.read_text(encoding="utf-8", errors="replace"), format="ds9")
    except Exception as error:
        msg = f"{path} cannot be read as a DS9 region file: {str(error)[:200]}; save it from DS9 in its own format"
        raise InputError(msg) from error
    ra, dec, labels = [], [], []
    for region in regions:
        centre = getattr(region, "center", None)
        if isinstance(centre, SkyCoord) and centre.isscalar:
            sky = centre.icrs
            ra.append(float(sky.ra.deg))
            dec.append(float(sky.dec.deg))
        elif isinstance(centre, PixCoord) and centre.isscalar:
            a, d = field[field.reference].to_sky(centre.x, centre.y)
            ra.append(float(a))
            dec.append(float(d))
        else:
            continue
        labels.append(str(region.meta.get("text", "")))
    if not labels:
        msg = f"{path} holds no region with a centre; draw circles or points in DS9"
        raise InputError(msg)
    return np.array(ra), np.array(dec), labels
