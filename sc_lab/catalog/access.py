"""Columns of a catalogue as plain arrays in house units, fast, whatever their masks."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import Table

from sc_lab.catalog.columns import column
from sc_lab.units import FloatArray, value_in

__all__ = ["flags", "texts", "values"]


def values(table: Table, name: str) -> FloatArray:
    """Return a column of numbers in its house unit.

    Parameters
    ----------
    table : Table
        A catalogue.
    name : str
        Canonical name.

    Returns
    -------
    ndarray
        float64, shape (n,) or (n, k) for draws; NaN where masked. A catalogue without
        the column gives NaN for every row, shape (n,).

    Raises
    ------
    InputError
        If the registry has no such column.
    UnitMismatchError
        If the table was not validated and the column is in a unit of the wrong kind.
    """
    entry = column(name)
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    found = table[name]
    if entry.unit == "mag" and getattr(found, "unit", None) == u.ABmag:
        found = getattr(found, "value", found)
    return value_in(found, entry.astropy_unit, name)


def flags(table: Table, name: str) -> npt.NDArray[np.bool_]:
    """Return a flag column.

    Parameters
    ----------
    table : Table
        A catalogue.
    name : str
        Canonical name.

    Returns
    -------
    ndarray
        bool, shape (n,); False where masked or when the catalogue has no such column.

    Raises
    ------
    InputError
        If the registry has no such column.
    """
    column(name)
    if name not in table.colnames:
        return np.zeros(len(table), dtype=bool)
    found = table[name]
    out = np.array(np.ma.getdata(found), dtype=bool)
    mask = getattr(found, "mask", None)
    if mask is not None:
        out &= ~np.asarray(mask, dtype=bool)
    return out


def texts(table: Table, name: str) -> list[str]:
    """Return a text column.

    Parameters
    ----------
    table : Table
        A catalogue.
    name : str
        Canonical name.

    Returns
    -------
    list of str
        One text a row; empty where masked or when the catalogue has no such column.

    Raises
    ------
    InputError
        If the registry has no such column.
    """
    column(name)
    if name not in table.colnames:
        return [""] * len(table)
    found = table[name]
    out = [str(each) for each in np.ma.getdata(found).tolist()]
    mask = getattr(found, "mask", None)
    if mask is None or not np.any(mask):
        return out
    return ["" if hidden else each for each, hidden in zip(out, np.asarray(mask).tolist(), strict=True)]
