"""Injected clumps in a table, and an injection run in a file of JSON or ECSV."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from sc_lab.completeness.records import RECORD, Records, from_columns, to_columns
from sc_lab.errors import InputError

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["read_file", "to_qtable", "write_file"]

_FORMAT = "sc-lab completeness"
_VERSION = 1
_UNITS = {
    **dict.fromkeys(("flux", "flux_err"), u.nJy),
    **dict.fromkeys(
        ("x", "y", "size", "x_found", "y_found", "x_fit", "x_err", "y_fit", "y_err", "std_maj", "std_min"), u.pix
    ),
    **dict.fromkeys(("cxx", "cyy", "cxy", "c_err"), u.pix**2),
    "mag": u.ABmag,
    "theta": u.rad,
    "background": u.nJy / u.pix**2,
}


def to_qtable(records: Records) -> QTable:
    """Return injected clumps as a table with units.

    Parameters
    ----------
    records : ndarray of `~sc_lab.completeness.records.RECORD`
        Injected clumps.

    Returns
    -------
    QTable
        One row for each.
    """
    from astropy.table import QTable

    table = QTable()
    for name in RECORD.names or ():
        values = records[name].copy()
        table[name] = values * _UNITS[name] if name in _UNITS else values
    return table


def write_file(
    path: str | os.PathLike[str],
    records: Records,
    *,
    settings: Mapping[str, Any],
    cautions: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Write an injection run.

    Parameters
    ----------
    path : path-like
        Ending in ``.json`` or ``.ecsv``.
    records : ndarray of `~sc_lab.completeness.records.RECORD`
        Injected clumps.
    settings : mapping
        What the run depended on, as JSON values.
    cautions : tuple of str
        What was assumed.
    overwrite : bool
        Whether a file that exists may be replaced.

    Raises
    ------
    InputError
        If the ending is another, the file exists, or cannot be written.
    """
    target = Path(path)
    kind = _kind(target)
    if target.exists() and not overwrite:
        msg = f"{target} exists; give another name, or overwrite=True"
        raise InputError(msg)
    head = {"format": _FORMAT, "version": _VERSION, "settings": dict(settings), "cautions": list(cautions)}
    # Written beside and moved into place: a full disk leaves the old file as it was.
    beside = target.with_name(f".{target.name}.part")
    try:
        if kind == "json":
            beside.write_text(json.dumps({**head, "injections": to_columns(records)}, allow_nan=False))
        else:
            from astropy.table import Table

            table = Table(records)
            for name, unit in _UNITS.items():
                table[name].unit = "mag(AB)" if name == "mag" else unit
            table.meta = head
            table.write(beside, format="ascii.ecsv", overwrite=True)
        beside.replace(target)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        msg = f"{target} cannot be written ({problem.strerror}); give a file in a folder that exists"
        raise InputError(msg) from problem


def read_file(path: str | os.PathLike[str]) -> tuple[Records, dict[str, Any], tuple[str, ...]]:
    """Read what `write_file` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    records, settings, cautions
        As written, to the last digit.

    Raises
    ------
    InputError
        If the file is missing, or is something else.
    """
    source = Path(path)
    kind = _kind(source)
    try:
        if kind == "json":
            head = json.loads(source.read_text())
            columns = head["injections"]
        else:
            from astropy.table import Table

            table = Table.read(source, format="ascii.ecsv")
            head = dict(table.meta)
            columns = {name: np.ma.filled(table[name], np.nan).tolist() for name in table.colnames}
        ours = head["format"] == _FORMAT and head["version"] == _VERSION
        settings, cautions = dict(head["settings"]), tuple(str(each) for each in head["cautions"])
    except OSError as problem:
        msg = f"{source} cannot be read ({problem.strerror or problem}); check its name"
        raise InputError(msg) from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        msg = f"{source} is no completeness file, or is damaged; give one that Completeness.to_file wrote"
        raise InputError(msg) from problem
    if not ours:
        msg = f"{source} is of another kind or a later version of SC Lab; give one that Completeness.to_file wrote"
        raise InputError(msg)
    return from_columns(columns), settings, cautions


def _kind(path: Path) -> str:
    kind = path.suffix.lower().lstrip(".")
    if kind not in {"json", "ecsv"}:
        msg = f"{path} ends in {path.suffix or 'nothing'}; completeness files end in .json or .ecsv"
        raise InputError(msg)
    return kind
