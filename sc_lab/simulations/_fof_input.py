"""What friends-of-friends is given: positions, linking length and box, as plain numbers of one unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations._checks import number
from sc_lab.units import FloatArray, value_in

__all__ = ["check_finite", "lengths_in", "plain_positions", "unit_of", "wrapped"]


def unit_of(value: Any) -> Any:
    """Return the unit that a value carries, None for plain numbers.

    Parameters
    ----------
    value : Quantity, unyt_array or array_like
        What was given.

    Returns
    -------
    Unit or None
        Of astropy, whatever the package of the value.
    """
    return getattr(_of_astropy(value), "unit", None)


def plain_positions(positions: Any, unit: Any) -> npt.NDArray[Any]:
    """Return positions as numbers in a unit.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        What was given.
    unit : Unit or None
        Unit of the result, None if positions must have none.

    Returns
    -------
    ndarray of float32 or float64, shape (n, 3)
        The same numbers where possible, not copied.

    Raises
    ------
    InputError
        If they are no numbers, not in rows of three, masked, or one of the two has a unit and the other none.
    """
    given = _of_astropy(positions)
    found = getattr(given, "unit", None)
    if found is not None and unit is None:
        msg = f"positions come in '{found}' but the linking length has no unit; give both with a unit, or both without"
        raise InputError(msg)
    if found is None and unit is not None:
        msg = f"positions come without a unit but the linking length is in '{unit}'; give both with a unit, or both without"
        raise InputError(msg)
    if np.any(getattr(given, "mask", False)) and not callable(given.mask):
        msg = "some positions are masked; leave them out"
        raise InputError(msg)
    if found is not None and found != unit:
        points: npt.NDArray[Any] = value_in(given, unit, "positions")
    else:
        points = _numbers(getattr(given, "value", given), "positions", "numbers in the shape (n, 3)")
    if points.ndim != 2 or points.shape[1] != 3:
        msg = f"positions has the shape {points.shape}; give (n, 3)"
        raise InputError(msg)
    return points if points.dtype in (np.float32, np.float64) else points.astype(np.float64)


def lengths_in(linking_length: Any, box_size: Any, unit: Any) -> tuple[float, FloatArray]:
    """Return linking length and periods as numbers in the unit of the positions.

    Parameters
    ----------
    linking_length : float or Quantity
        What was given; plain numbers are in the unit of the positions.
    box_size : float, Quantity or array_like, shape (3,), or None
        Likewise; None or 0 for an axis without a period.
    unit : Unit or None
        Unit of the positions, None where they have none.

    Returns
    -------
    length : float
        The linking length.
    period : ndarray, shape (3,)
        Period of each axis, 0 for none.

    Raises
    ------
    InputError
        If one is no length, has another unit, or the linking length is more than half of the box.
    """
    for name, value in (("linking_length", linking_length), ("box_size", box_size)):
        if unit is None and unit_of(value) is not None:
            msg = f"{name} is {value} but the positions have no unit; give both with a unit, or both without"
            raise InputError(msg)
    allowed = "a length above 0, in the unit of the positions"
    length = number(_of_astropy(linking_length), "linking_length", allowed, **({} if unit is None else {"unit": unit}))
    period = np.zeros(3)
    if box_size is not None:
        period = _periods(_of_astropy(box_size), unit)
    if np.any((period > 0) & (period < 2.0 * length)):
        msg = (
            f"the linking length {length:g} is more than half of the box {period.tolist()}: a particle would be its own "
            "neighbour; check that both have the same unit"
        )
        raise InputError(msg)
    return length, period


def check_finite(points: npt.NDArray[Any], *, first: int = 0) -> None:
    """Refuse positions that are not finite.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Positions.
    first : int
        Row of the first of them, for the message.

    Raises
    ------
    InputError
        If one is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        msg = f"{len(bad)} position(s) are not finite, the first in row {first + bad[0]}; leave them out"
        raise InputError(msg)


def wrapped(points: npt.NDArray[Any], period: FloatArray) -> npt.NDArray[Any]:
    """Return a copy of the positions inside the periods.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Positions.
    period : ndarray, shape (3,)
        Period of each axis, 0 for none.

    Returns
    -------
    ndarray, shape (n, 3)
        From 0 to, by rounding, the period itself.
    """
    return np.where(period > 0, points - np.floor(points / np.where(period > 0, period, 1.0)) * period, points)


def _of_astropy(value: Any) -> Any:
    """Return arrays of unyt, which yt gives, as quantities of astropy; all else as it is."""
    return value.to_astropy() if callable(getattr(value, "to_astropy", None)) else value


def _numbers(value: Any, name: str, allowed: str) -> npt.NDArray[Any]:
    """Return an array of real numbers; text and booleans are none, though NumPy would convert them."""
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):
        found = np.asarray(None)
    if found.dtype.kind not in "iuf":
        msg = f"{name} is {type(value).__name__} of {found.dtype}; give {allowed}"
        raise InputError(msg)
    return found


def _periods(box_size: Any, unit: Any) -> FloatArray:
    """Return the period of each axis."""
    allowed = "one length or three, 0 for an axis that is not periodic"
    if isinstance(box_size, (list, tuple)):
        box_size = [0.0 if each is None else each for each in box_size]
    if unit_of(box_size) is not None:
        box_size = value_in(box_size, unit, "box_size")
    box = _numbers(box_size, "box_size", allowed).astype(np.float64)
    if box.shape not in ((), (1,), (3,)) or not np.isfinite(box).all() or np.any(box < 0):
        msg = f"box_size is {box_size!r}; give {allowed}"
        raise InputError(msg)
    return np.broadcast_to(box, 3).copy()
