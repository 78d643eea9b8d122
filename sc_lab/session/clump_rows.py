"""Measured rows of clumps as plain JSON values, exact and checked against the column registry."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import astropy.units as u
import numpy as np
from astropy.table import Table

from sc_lab.catalog.columns import Column, find_column
from sc_lab.catalog.packing import pack_draws, unpack_draws
from sc_lab.errors import InputError

__all__ = ["ClumpRow", "Value", "row_order", "rows_from_json", "rows_from_table", "rows_to_json"]

Value: TypeAlias = str | float | bool | None

_LAST_NUMBER = re.compile(r"(.*?)(\d+)", re.DOTALL)


@dataclass(frozen=True)
class ClumpRow:
    """What was measured of one clump.

    Attributes
    ----------
    id : str
        The clump.
    columns : tuple of str
        Names of the columns besides ``id``.
    units : tuple of str
        Unit of each, empty for pure numbers, flags and text; that of the registry for its columns.
    values : tuple of (str, float, bool or None)
        One value a column; None = not measured. Joint draws are one text, see `sc_lab.catalog.pack_draws`.
    """

    id: str
    columns: tuple[str, ...]
    units: tuple[str, ...]
    values: tuple[Value, ...]


def row_order(row: ClumpRow | str) -> tuple[str, int, str]:
    """Return the sort key of a row: names that end in numbers go by the number.

    Parameters
    ----------
    row : ClumpRow or str
        The row, or its id.

    Returns
    -------
    tuple
        Sort key. New names count upwards, so new rows come last.
    """
    return _order(row if isinstance(row, str) else row.id)


@lru_cache(maxsize=1 << 16)
def _order(name: str) -> tuple[str, int, str]:
    """Return the sort key of a name."""
    found = _LAST_NUMBER.fullmatch(name)
    return (found[1], int(found[2]), name) if found else (name, -1, name)


def rows_to_json(rows: Iterable[ClumpRow]) -> list[dict[str, Any]]:
    """Return rows as JSON tables, one for each set of columns.

    Parameters
    ----------
    rows : iterable of ClumpRow
        The rows.

    Returns
    -------
    list of dict
        Each with ``columns`` (the first is ``id``), ``units`` and ``data``, a list of rows.
    """
    blocks: dict[tuple[tuple[str, ...], tuple[str, ...]], list[list[Value]]] = {}
    for row in rows:
        blocks.setdefault((row.columns, row.units), []).append([row.id, *row.values])
    return [
        {"columns": ["id", *columns], "units": ["", *units], "data": data} for (columns, units), data in blocks.items()
    ]


def rows_from_table(table: Table, rows: Sequence[int] | None = None, *, arrays: bool = True) -> dict[str, Any]:
    """Return rows of a measured catalogue as one JSON table, the argument of the edits.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A validated catalogue.
    rows : sequence of int, optional
        Rows wanted; all by default.
    arrays : bool
        Whether a column of arrays, which an edit cannot keep unless they are the draws of the registry, is
        refused; left out otherwise.

    Returns
    -------
    dict
        ``columns`` (the first is ``id``), ``units`` and ``data``; None where masked or NaN.

    Raises
    ------
    InputError
        If a column holds arrays or something else than numbers, flags and text.
    """
    chosen = np.arange(len(table)) if rows is None else np.asarray(rows, dtype=int)
    packed = {name for name in table.colnames if table[name].ndim == 2 and _is_draws(name)}
    names = ["id"]
    names += [n for n in table.colnames if n != "id" and (arrays or n in packed or table[n].ndim == 1)]
    units, columns = [], []
    for name in names:
        column = table[name]
        bare = getattr(column, "unmasked", column)
        data = np.asarray(np.ma.getdata(getattr(bare, "value", bare)))[chosen]
        mask = np.asarray(getattr(column, "mask", False), dtype=bool)
        mask = np.broadcast_to(mask, column.shape if name in packed else (len(table),))[chosen]
        if name in packed:
            columns.append([pack_draws(row) for row in np.where(mask, np.nan, data)])
            units.append(str(column.unit or ""))
            continue
        if data.ndim != 1 or data.dtype.kind not in "biufU":
            msg = f"the column {name!r} holds {data.dtype} of shape {data.shape[1:]}; an edit keeps one number, flag or text"
            raise InputError(msg)
        if data.dtype.kind in "iuf":
            data = data.astype(float)
            mask = mask | ~np.isfinite(data)
        unit = getattr(column, "unit", None)
        units.append("" if unit is None or unit == u.dimensionless_unscaled else str(unit))
        columns.append([None if gone else value for value, gone in zip(data.tolist(), mask.tolist(), strict=True)])
    return {"columns": names, "units": units, "data": [list(values) for values in zip(*columns, strict=True)]}


def _is_draws(name: str) -> bool:
    """Return whether the registry has a column for draws."""
    entry = find_column(name)
    return entry is not None and entry.draws


def rows_from_json(block: Any) -> list[ClumpRow]:
    """Return the rows of a JSON table; the inverse of `rows_to_json`.

    Parameters
    ----------
    block : mapping
        ``columns``, ``units`` and ``data``.

    Returns
    -------
    list of ClumpRow
        In the order given.

    Raises
    ------
    InputError
        If it is no such table, or holds a value that the column registry does not allow.
    """
    if not isinstance(block, Mapping) or set(block) != {"columns", "units", "data"}:
        msg = "measured rows are a table with columns, units and data, as rows_from_table gives it"
        raise InputError(msg)
    names, units, data = block["columns"], block["units"], block["data"]
    if (
        not all(isinstance(part, list) for part in (names, units, data))
        or not all(isinstance(text, str) for text in (*names, *units))
        or len(names) != len(units)
        or len(set(names)) != len(names)
        or names[:1] != ["id"]
    ):
        msg = "the columns and units of measured rows are lists of text of one length, without repetition, 'id' first"
        raise InputError(msg)
    entries = [_column(name, unit) for name, unit in zip(names, units, strict=True)]
    columns, kept = tuple(names[1:]), tuple(units[1:])
    out = []
    for row in data:
        if not isinstance(row, list) or len(row) != len(names) or not isinstance(row[0], str) or not row[0]:
            msg = f"a measured row has {len(names)} values, the first its id; got {str(row)[:200]}"
            raise InputError(msg)
        values = tuple(
            _value(value, entry, name, row[0]) for value, entry, name in zip(row[1:], entries[1:], columns, strict=True)
        )
        out.append(ClumpRow(row[0], columns, kept, values))
    if len({row.id for row in out}) != len(out):
        msg = "measured rows name a clump twice; give one row a clump"
        raise InputError(msg)
    return out


@lru_cache(maxsize=1024)
def _column(name: str, unit: str) -> Column | None:
    """Return the registry entry of a column, or None for a foreign one; refuse a wrong unit."""
    entry = find_column(name)
    try:
        found = u.Unit(unit) if unit else u.dimensionless_unscaled
    except ValueError:
        msg = f"the unit {unit!r} of the measured column {name!r} is not known; give a standard unit"
        raise InputError(msg) from None
    if entry is not None and found != entry.astropy_unit:
        msg = f"measured rows give {name!r} in {unit!r}; the registry has it in {entry.unit!r}"
        raise InputError(msg)
    return entry


def _value(value: Any, entry: Column | None, name: str, clump: str) -> Value:
    """Return one value, or refuse it naming clump and column."""
    if value is None:
        return None
    if entry is None:
        if isinstance(value, (str, bool)):
            return value
        number = _finite(value)
        if number is not None:
            return number
    elif entry.draws:
        return _draws(value, entry, clump)
    elif entry.kind == "number":
        number = None if isinstance(value, bool) else _finite(value)
        if number is not None:
            above = number >= entry.low if entry.low_inclusive else number > entry.low
            below = number <= entry.high if entry.high_inclusive else number < entry.high
            if above and below:
                return number
    elif isinstance(value, bool if entry.kind == "flag" else str):
        return value
    allowed = "a number, flag or text" if entry is None else f"a {entry.kind} {entry.range_text}".rstrip()
    msg = f"{name} of {clump} is {str(value)[:100]!r}; give {allowed}, or nothing where it was not measured"
    raise InputError(msg)


def _draws(value: Any, entry: Column, clump: str) -> str:
    """Return packed draws, or refuse them naming clump and column."""
    try:
        drawn = unpack_draws(value)
    except InputError as error:
        msg = f"{entry.name} of {clump}: {error}"
        raise InputError(msg) from None
    low, high = (np.fmin.reduce(drawn), np.fmax.reduce(drawn))
    within = (low >= entry.low if entry.low_inclusive else low > entry.low) and high <= entry.high
    if np.isinf(drawn).any() or not within or pack_draws(drawn) != value:
        msg = f"{entry.name} of {clump} holds draws from {low:g} to {high:g}; give finite ones {entry.range_text}".rstrip()
        raise InputError(msg)
    return str(value)


def _finite(value: Any) -> float | None:
    """Return a number as float64, or None for what is none or too large for it."""
    if not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
