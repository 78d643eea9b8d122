"""Conversion at the public edge: Quantities in, float64 in the house unit inside, Quantities out."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import UnitMismatchError

__all__ = ["AGE", "MASS", "RADIUS", "SURFACE_DENSITY", "FloatArray", "value_in"]

FloatArray = npt.NDArray[np.float64]

#: House units: what a bare number means, argument by argument.
MASS = u.Msun
RADIUS = u.pc
AGE = u.Myr
SURFACE_DENSITY = u.Msun / u.pc**2


def value_in(value: Any, unit: u.UnitBase, name: str) -> FloatArray:
    """Return ``value`` as float64 in ``unit``, with NaN where it is masked.

    Parameters
    ----------
    value : `~astropy.units.Quantity`, masked array, pandas Series or array_like
        Any shape. A bare number is taken to be in ``unit`` already; logarithmic
        quantities (``dex(solMass)``) are made linear.
    unit : `~astropy.units.UnitBase`
        The house unit of the argument.
    name : str
        Name of the argument, for the error message.

    Returns
    -------
    ndarray
        float64, same shape as ``value``; never a view that the caller could mutate
        through a masked array.

    Raises
    ------
    UnitMismatchError
        If ``value`` carries a unit that cannot be converted to ``unit``, or is not numeric.
    """
    if hasattr(value, "to_numpy") and callable(getattr(value, "mask", None)):
        # A pandas object: its "mask" is a method, and its missing values have more than one face.
        value = _from_pandas(value)
    mask = getattr(value, "mask", None)
    bare = getattr(value, "unmasked", value)
    found = getattr(bare, "unit", None)
    if found is not None:
        try:
            # A logarithmic unit knows how to become linear; a plain one how to be converted.
            bare = found.to(unit, np.asarray(getattr(bare, "value", bare), dtype=np.float64))
        except u.UnitConversionError:
            mend = f"give {name} as a Quantity in '{unit}' or as a bare number meaning '{unit}'"
            if unit == u.dimensionless_unscaled:
                mend = f"give {name} as pure numbers"
            msg = f"{name} has the unit '{found}', which does not convert to {_words(unit)}; {mend}"
            raise UnitMismatchError(msg) from None
    elif isinstance(bare, np.ma.MaskedArray):
        bare = bare.data
    try:
        out = None if bare is None else np.array(bare, dtype=np.float64)
    except (TypeError, ValueError):
        out = None
    if out is None:
        msg = f"{name} is not numeric (got {type(value).__name__}); give {_words(unit, numbers=True)}"
        raise UnitMismatchError(msg)
    if mask is not None and np.any(mask):
        out[np.broadcast_to(mask, out.shape)] = np.nan
    return out


def _words(unit: u.UnitBase, *, numbers: bool = False) -> str:
    """Return a unit, or the numbers in it, as messages name them."""
    if unit == u.dimensionless_unscaled:
        return "pure numbers" if numbers else "a pure number"
    return f"numbers in '{unit}'" if numbers else f"'{unit}'"


def _from_pandas(value: Any) -> Any:
    """Return a pandas object as an array, NaN where missing; the object itself where it holds no numbers."""
    try:
        return value.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return value.to_numpy()
