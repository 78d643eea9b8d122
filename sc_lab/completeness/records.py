"""One injected clump as a row: its columns, what became of it, its truth, and the rows as lists for files."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError, UnitMismatchError
from sc_lab.units import FloatArray, value_in

__all__ = [
    "RECORD",
    "Outcome",
    "Records",
    "ab_magnitudes",
    "from_columns",
    "in_pixels",
    "to_columns",
    "true_flux",
    "true_shape",
]

Records: TypeAlias = npt.NDArray[np.void]

#: AB magnitude of 1 nJy.
_ZERO_POINT = 31.4


class Outcome(IntEnum):
    """What became of an injected clump."""

    #: No detection within the match radius.
    MISSED = 0
    #: Detected, and the detection is the clump's own.
    RECOVERED = 1
    #: The detection there was known before: its source was at least half as bright as what is found now.
    PREEXISTING = 2


#: One injected clump: place and truth, outcome, detection, fit. Pixels are those of the band, sizes px, fluxes nJy.
RECORD = np.dtype(
    [
        *((name, np.float64) for name in ("x", "y", "mag", "size", "axis_ratio", "theta", "background")),
        ("outcome", np.int64),
        ("crowded", np.int64),
        *((name, np.float64) for name in ("x_found", "y_found", "snr")),
        ("fit_status", np.int64),
        *((name, np.float64) for name in ("flux", "flux_err", "x_fit", "x_err", "y_fit", "y_err")),
        *((name, np.float64) for name in ("cxx", "cyy", "cxy", "c_err", "std_maj", "std_min", "dchi2_point")),
    ]
)


def true_shape(records: Records) -> FloatArray:
    """Return Cxx, Cyy, Cxy of injected clumps.

    Parameters
    ----------
    records : ndarray of `RECORD`
        Injected clumps.

    Returns
    -------
    ndarray, shape (n, 3)
        Covariance before the PSF [px^2].
    """
    major, minor = records["size"] ** 2 / records["axis_ratio"], records["size"] ** 2 * records["axis_ratio"]
    c, s = np.cos(records["theta"]), np.sin(records["theta"])
    return np.stack([c**2 * major + s**2 * minor, s**2 * major + c**2 * minor, c * s * (major - minor)], axis=-1)


def true_flux(records: Records) -> FloatArray:
    """Return the fluxes of injected clumps.

    Parameters
    ----------
    records : ndarray of `RECORD`
        Injected clumps.

    Returns
    -------
    ndarray, shape (n,)
        Total flux [nJy].
    """
    return np.asarray(10.0 ** ((_ZERO_POINT - records["mag"]) / 2.5), dtype=np.float64)


def ab_magnitudes(values: Any, name: str) -> FloatArray:
    """Return AB magnitudes as numbers.

    Parameters
    ----------
    values : `~astropy.units.Quantity` or array_like
        In mag(AB), mag, or bare.
    name : str
        Name of the argument, for the error message.

    Returns
    -------
    ndarray
        Shape of ``values``.

    Raises
    ------
    UnitMismatchError
        If the values have another unit, or are not numeric.
    """
    unit = getattr(values, "unit", None)
    if unit is not None:
        if str(unit) not in {"mag", "mag(AB)"}:
            msg = f"{name} has the unit '{unit}'; give AB magnitudes, with the unit mag(AB) or without one"
            raise UnitMismatchError(msg)
        # Masked or not, what is left is a bare number.
        mask = getattr(values, "mask", False)
        values = np.where(mask, np.nan, np.asarray(getattr(getattr(values, "unmasked", values), "value", values)))
    return value_in(values, u.dimensionless_unscaled, name)


def in_pixels(values: Any, pixel_scale: float, name: str) -> FloatArray:
    """Return sizes in pixels.

    Parameters
    ----------
    values : `~astropy.units.Quantity` or array_like
        An angle, or pixels, with their unit or bare.
    pixel_scale : float
        Arcsec per pixel.
    name : str
        Name of the argument, for the error message.

    Returns
    -------
    ndarray
        Shape of ``values``.

    Raises
    ------
    UnitMismatchError
        If the values have another unit, or are not numeric.
    """
    unit = getattr(values, "unit", None)
    if unit is not None and unit.is_equivalent(u.arcsec):
        return value_in(values, u.arcsec, name) / pixel_scale
    if unit is not None and unit not in (u.pix, u.dimensionless_unscaled):
        msg = f"{name} has the unit '{unit}'; give pixels, or an angle on the sky such as mas"
        raise UnitMismatchError(msg)
    return value_in(getattr(values, "value", values) if unit == u.pix else values, u.dimensionless_unscaled, name)


def to_columns(records: Records) -> dict[str, list[Any]]:
    """Return records as lists that JSON keeps exactly; None where a number is missing.

    Parameters
    ----------
    records : ndarray of `RECORD`
        Injected clumps.

    Returns
    -------
    dict of list
        By column.
    """
    out = {}
    for name in RECORD.names or ():
        values = records[name]
        out[name] = [None if v != v else v for v in values.tolist()]  # noqa: PLR0124 - only NaN differs from itself
    return out


def from_columns(columns: Any) -> Records:
    """Return the records that `to_columns` made lists of, or refuse others in words.

    Parameters
    ----------
    columns : mapping of list
        By column.

    Returns
    -------
    ndarray of `RECORD`
        Injected clumps.

    Raises
    ------
    InputError
        If a column is missing, of another length or not of numbers.
    """
    names = RECORD.names or ()
    missing = [name for name in names if name not in columns]
    if missing:
        msg = (
            f"the injected clumps have no column {', '.join(missing[:5])}; give a file that Completeness.to_file wrote"
        )
        raise InputError(msg)
    out = np.empty(len(columns["x"]), dtype=RECORD)
    for name in names:
        values = columns[name]
        if len(values) != len(out):
            msg = f"column {name} of the injected clumps has {len(values)} rows, x has {len(out)}; the file is damaged"
            raise InputError(msg)
        try:
            if RECORD[name].kind == "f":
                out[name] = [np.nan if v is None else v for v in values]
            else:
                out[name] = values
        except (TypeError, ValueError, OverflowError):
            msg = f"column {name} of the injected clumps is not of numbers; the file is damaged"
            raise InputError(msg) from None
    return out
