"""A table as named byte strings and JSON, exactly and without anything that could be executed."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from sc_lab.errors import InputError, ProjectError, ScLabWarning
from sc_lab.session.document import canonical_json, parse_json

__all__ = [
    "StoredColumn",
    "decode_meta",
    "decode_table",
    "encode_meta",
    "encode_table",
    "fingerprint",
    "kept_as_columns",
]

#: Plain numbers, truth values and text; neither objects nor structures.
_DTYPE = re.compile(r"[<>|=]?[biufUS][0-9]{1,6}")
_KINDS = ("column", "masked_column", "quantity", "masked_quantity")


@dataclass(frozen=True, eq=False)
class StoredColumn:
    """One column as it lies in the project file.

    Attributes
    ----------
    name : str
        Name of the column.
    info : str
        Canonical JSON: kind, dtype, shape, unit, description, format and meta.
    values : bytes-like
        The array in C order, zero where it is masked.
    mask : bytes-like or None
        One byte an element, 1 = masked; None without a mask.
    """

    name: str
    info: str
    values: Any
    mask: Any

    @property
    def sha256(self) -> str:
        """Digest over all four parts."""
        digest = hashlib.sha256()
        for part in (self.name.encode("utf-8", "surrogatepass"), self.info.encode("ascii", "replace")):
            digest.update(len(part).to_bytes(8, "big") + part)
        for data in (self.values, self.mask):
            size = -1 if data is None else memoryview(data).nbytes
            digest.update(size.to_bytes(8, "big", signed=True))
            if data is not None:
                digest.update(data)
        return digest.hexdigest()


def encode_table(table: Table) -> list[StoredColumn]:
    """Return the columns of a table as bytes.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Columns of numbers, truth values and text with any shape; Quantities, masks and
        combinations of both.

    Returns
    -------
    list of StoredColumn
        In the order of the table.

    Raises
    ------
    InputError
        If a column holds Python objects, or has a unit that its own text does not give back.
    """
    return [_encode_column(name, table[name]) for name in table.colnames]


def decode_table(columns: Iterable[StoredColumn], meta: dict[str, Any]) -> QTable:
    """Return the table again; the inverse of `encode_table`.

    Parameters
    ----------
    columns : iterable of StoredColumn
        The columns.
    meta : dict
        Metadata of the table.

    Returns
    -------
    `~astropy.table.QTable`
        Its arrays are read-only, so nobody changes the catalogue below an open session.

    Raises
    ------
    ProjectError
        If a column does not describe its own bytes.
    """
    table = QTable(meta=meta)
    for column in columns:
        try:
            with kept_as_columns():
                table[column.name] = _decode_column(column)
        except ProjectError:
            raise
        except Exception as error:
            msg = f"the column {column.name!r} of the stored catalogue cannot be read ({error}); the file is damaged"
            raise ProjectError(msg) from error
    return table


@contextlib.contextmanager
def kept_as_columns() -> Iterator[None]:
    """Let astropy keep a masked column in a logarithmic unit as a column, without saying so each time.

    Yields
    ------
    None
        `~astropy.table.QTable` cannot make a Quantity of it; the column keeps its unit all the same.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*has a unit but is kept as a")
        yield


def fingerprint(columns: Iterable[StoredColumn]) -> str:
    """Return the identity of a catalogue: its columns, not the file name or other metadata.

    Parameters
    ----------
    columns : iterable of StoredColumn
        The columns, in order.

    Returns
    -------
    str
        Hexadecimal SHA-256.
    """
    digest = hashlib.sha256()
    for column in columns:
        digest.update(bytes.fromhex(column.sha256))
    return digest.hexdigest()


def encode_meta(meta: Any) -> str:
    """Return the metadata of a table as JSON, without what JSON cannot say.

    Parameters
    ----------
    meta : mapping
        Metadata; entries that are not plain values are left out with a warning naming them.

    Returns
    -------
    str
        Canonical JSON; order of the keys and the difference between tuples and lists are lost.
    """
    kept: dict[str, Any] = {}
    lost: list[str] = []
    for key, value in dict(meta).items():
        try:
            kept.update(parse_json(canonical_json(_tagged({key: value})), "metadata"))
        except InputError:
            lost.append(repr(key))
    if lost:
        msg = (
            f"the metadata {', '.join(lost)} of the catalogue are not plain text and numbers, so the project file "
            "does not keep them; turn them into text first if they matter"
        )
        warnings.warn(msg, ScLabWarning, stacklevel=2)
    return canonical_json(kept)


def decode_meta(text: str) -> dict[str, Any]:
    """Return metadata from its JSON; the inverse of `encode_meta`.

    Parameters
    ----------
    text : str
        What `encode_meta` gave.

    Returns
    -------
    dict
        The metadata.

    Raises
    ------
    InputError
        If the text is not a JSON object.
    """
    values = parse_json(text, "the metadata of the catalogue")
    if not isinstance(values, dict):
        msg = "the metadata of the catalogue are not an object"
        raise InputError(msg)
    return {key: _untagged(value) for key, value in values.items()}


def _tagged(value: Any) -> Any:
    """Return ``value`` with infinities and NaN, which JSON lacks, spelled out."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": repr(value)}
    if isinstance(value, (list, tuple)):
        return [_tagged(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise InputError
        return {key: _tagged(item) for key, item in value.items()}
    return value


def _untagged(value: Any) -> Any:
    """Undo `_tagged`."""
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {"__float__"} and value["__float__"] in ("nan", "inf", "-inf"):
            return float(value["__float__"])
        return {key: _untagged(item) for key, item in value.items()}
    return value


def _encode_column(name: str, column: Any) -> StoredColumn:
    """Return one column as bytes."""
    unit = getattr(column, "unit", None)
    mask: npt.NDArray[np.bool_] | None = None
    if isinstance(column, u.Quantity):
        kind = "quantity"
        values = column
        if isinstance(column, Masked):
            kind = "masked_quantity"
            mask = np.asarray(column.mask, dtype=bool)
            values = column.unmasked
        array = np.asarray(values.value)
    elif isinstance(column, MaskedColumn):
        kind = "masked_column"
        mask = np.broadcast_to(np.ma.getmaskarray(column), column.shape)
        array = np.asarray(column.data.data)
    elif isinstance(column, Column):
        kind = "column"
        array = np.asarray(column.data)
    else:
        msg = (
            f"the column {name!r} is a {type(column).__name__}, which a project file does not keep; "
            "give columns of numbers, text, truth values or Quantities"
        )
        raise InputError(msg)
    if not _DTYPE.fullmatch(array.dtype.str):
        msg = (
            f"the column {name!r} has the type {array.dtype}; a project file keeps numbers, text and truth values, "
            f"never Python objects: convert it first, for instance table[{name!r}] = table[{name!r}].astype(str)"
        )
        raise InputError(msg)
    if mask is not None and mask.any():
        # What lies under a mask is arbitrary: the same catalogue read twice must give the same bytes.
        array = np.where(mask, np.zeros((), dtype=array.dtype), array).astype(array.dtype, copy=False)
    info = {
        "kind": kind,
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "unit": None if unit is None else _unit_text(name, unit),
        "description": _text_or_none(column.info.description),
        "format": _text_or_none(column.info.format),
        "meta": decode_meta(encode_meta(column.info.meta or {})),
    }
    return StoredColumn(
        name=name,
        info=canonical_json(info),
        values=_buffer(array),
        mask=None if mask is None else _buffer(mask),
    )


def _decode_column(column: StoredColumn) -> Any:
    """Return one column from its bytes."""
    info = parse_json(column.info, f"the description of the column {column.name!r}")
    kind, dtype, shape = info["kind"], info["dtype"], info["shape"]
    if kind not in _KINDS or not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        msg = f"the column {column.name!r} claims to be a {kind!r} of {dtype!r}, which a project file never holds"
        raise ProjectError(msg)
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape) or not shape:
        msg = f"the column {column.name!r} claims the shape {shape!r}, which is not one"
        raise ProjectError(msg)
    array = np.frombuffer(column.values, dtype=np.dtype(dtype)).reshape(shape)
    mask = None
    if kind.startswith("masked"):
        mask = np.frombuffer(column.mask, dtype=np.uint8).reshape(shape).astype(bool)
    if not all(isinstance(info[part], (str, NoneType)) for part in ("unit", "description", "format")):
        msg = f"the column {column.name!r} has a unit, description or format that is not text"
        raise ProjectError(msg)
    unit = None if info["unit"] is None else u.Unit(info["unit"])
    out: Any
    if kind.endswith("quantity"):
        out = u.Quantity(array, unit, copy=False, subok=True)
        if mask is not None:
            out = Masked(out, mask=mask)
    elif mask is not None:
        out = MaskedColumn(np.ma.MaskedArray(array, mask=mask), unit=unit, copy=False)
    else:
        out = Column(array, unit=unit, copy=False)
    out.info.description = info["description"]
    out.info.format = info["format"]
    if info["meta"]:
        out.info.meta = info["meta"]
    return out


def _buffer(array: npt.NDArray[Any]) -> Any:
    """Return the bytes of an array without copying them where possible."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""


def _unit_text(name: str, unit: Any) -> str:
    """Return text that gives the unit back, or refuse the unit."""
    text = str(unit.to_string())
    try:
        same = u.Unit(text) == unit
    except ValueError:
        same = False
    if not same:
        msg = f"the unit '{unit}' of the column {name!r} cannot be written as text; convert it to a standard unit"
        raise InputError(msg)
    return text


def _text_or_none(value: Any) -> str | None:
    """Return text; a format that is a function is not kept."""
    return value if isinstance(value, str) else None
