"""What two states of one catalogue have in common, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import Table

__all__ = ["same_rows"]


def same_rows(before: Table, after: Table, *, columns: Sequence[str] | None = None) -> npt.NDArray[np.intp]:
    """Return where the rows of a table stood in an earlier state of it.

    Parameters
    ----------
    before, after : `~astropy.table.Table`
        Tables with a column ``id``, such as validated catalogues.
    columns : sequence of str, optional
        Columns to compare; all that either has by default.

    Returns
    -------
    ndarray of int
        For each row of ``after`` the row of ``before`` with the same id, numbers, flags and texts in every
        column; -1 where there is none. A column that one of them lacks counts as empty there.

    Examples
    --------
    >>> same_rows(Table({"id": ["a", "b"], "z": [1.0, 2.0]}), Table({"id": ["b", "a", "c"], "z": [2.0, 1.5, 2.0]}))
    array([ 1, -1, -1])
    """
    index = {name: row for row, name in enumerate(before["id"].tolist())}
    rows = np.array([index.get(name, -1) for name in after["id"].tolist()], dtype=np.intp)
    here = np.flatnonzero(rows >= 0)
    there = rows[here]
    same = np.ones(len(here), dtype=bool)
    for name in dict.fromkeys([*before.colnames, *after.colnames] if columns is None else columns):
        if name not in before.colnames or name not in after.colnames:
            table, where = (before, there) if name in before.colnames else (after, here)
            same &= ~_said(table[name])[where]
            continue
        old, new = before[name], after[name]
        if getattr(old, "unit", None) != getattr(new, "unit", None):
            return np.full(len(after), -1, dtype=np.intp)
        same &= _equal(old, new, there, here)
    rows[here[~same]] = -1
    return rows


def _bare(column: Any) -> npt.NDArray[Any]:
    """Return a column without unit and mask."""
    plain = getattr(column, "unmasked", column)
    return np.asarray(np.ma.getdata(getattr(plain, "value", plain)))


def _gaps(column: Any, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return where a column says nothing, or None where it says something everywhere."""
    mask = getattr(column, "mask", None)
    gaps = np.isnan(values) if values.dtype.kind == "f" else None
    if mask is not None and np.any(mask):
        gaps = np.asarray(mask, dtype=bool) if gaps is None else gaps | np.asarray(mask, dtype=bool)
    return gaps


def _said(column: Any) -> npt.NDArray[np.bool_]:
    """Return where a column says something: not masked, NaN, False or empty."""
    values = _bare(column)
    out = values != "" if values.dtype.kind in "US" else values.astype(bool) if values.dtype.kind == "b" else None
    said = np.ones(values.shape, dtype=bool) if out is None else np.asarray(out)
    gaps = _gaps(column, values)
    said = said if gaps is None else said & ~gaps
    return np.asarray(said.reshape(len(said), -1).any(axis=1) if said.ndim > 1 else said, dtype=bool)


def _equal(old: Any, new: Any, there: npt.NDArray[np.intp], here: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Return which of the paired rows are equal, gaps being equal to gaps."""
    a, b = _bare(old), _bare(new)
    if a.shape[1:] != b.shape[1:]:
        return np.zeros(len(here), dtype=bool)
    gap_a, gap_b = _gaps(old, a), _gaps(new, b)
    out = np.asarray(a[there] == b[here])
    if gap_a is not None or gap_b is not None:
        none_a = np.zeros(out.shape, dtype=bool) if gap_a is None else gap_a[there]
        none_b = np.zeros(out.shape, dtype=bool) if gap_b is None else gap_b[here]
        out = np.where(none_a | none_b, none_a & none_b, out)
    return np.asarray(out.all(axis=tuple(range(1, out.ndim))), dtype=bool)
