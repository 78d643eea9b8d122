"""Reading a catalogue file, and checking a table that is already in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astropy.table import QTable, Table

from sc_lab.catalog.columns import COLUMNS
from sc_lab.catalog.formats import META_KEY, format_of, read_raw, refuse_objects
from sc_lab.catalog.maps import ColumnMap, Source, as_column_map, matching_maps
from sc_lab.catalog.validation import build, content_sha256, finish
from sc_lab.errors import CatalogError

__all__ = ["read_catalog", "validate"]


def read_catalog(
    path: str | os.PathLike[str],
    columns: ColumnMap | Mapping[str, str | Source] | str | None = None,
    *,
    format: str | None = None,  # noqa: A002 - the word that astropy's own readers use
) -> QTable:
    r"""Read a catalogue of clumps from ECSV, FITS, VOTable, CSV or Parquet.

    Parameters
    ----------
    path : path-like
        The file.
    columns : ColumnMap, mapping or str, optional
        How foreign names become canonical ones: a `ColumnMap`, a mapping such as
        ``{"id": "NAME", "z": "zspec"}``, or the name of a built-in map. None = work it out:
        canonical names are taken as they are, and a published table that exactly one
        built-in map recognises is translated by it.
    format : {"ecsv", "fits", "votable", "csv", "parquet"}, optional
        None = from the suffix, or else from the first bytes.

    Returns
    -------
    QTable
        One row an object, canonical columns in house units, in the order of the registry;
        missing values masked, limits flagged; then foreign columns untouched.
        ``meta["sc_lab"]`` records file, hash, column map and every assumption.

    Raises
    ------
    CatalogError
        If the file cannot be read or does not meet the registry; the message names the
        file, the column, the rows and the mend.

    Notes
    -----
    Nothing in a file is executed, and no row is ever dropped. Values that are not a number
    (NaN) are masked. In CSV files text such as ``<12`` is an upper limit where the registry
    has a limit flag.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "clumps.csv"
    ...     _ = file.write_text("name,zspec,mass\nA1,1.4,2e6\nA2,2.1,\n")
    ...     clumps = read_catalog(file, columns={"id": "name", "z": "zspec"})
    >>> clumps["mass"].mask.tolist()
    [False, True]
    """
    file = Path(path)
    mapping = None if columns is None else as_column_map(columns)
    name = format_of(file, format) if file.is_file() else ""
    raw, remarks = read_raw(file, name)
    mapping, recognised = (mapping, []) if mapping is not None else _recognise(raw, file.name)
    table, notes = build(raw, source=file.name, columns=mapping, plain_text=name == "csv")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return finish(
        table,
        raw,
        source=file.name,
        sha256=digest,
        column_map=mapping,
        notes=[*recognised, *notes, *remarks],
    )


def validate(
    table: Any,
    *,
    columns: ColumnMap | Mapping[str, str | Source] | str | None = None,
    source: str = "table",
) -> QTable:
    """Check a table in memory and return it with canonical units, masks and metadata.

    Parameters
    ----------
    table : Table, QTable or pandas.DataFrame
        One row an object.
    columns : ColumnMap, mapping or str, optional
        As in `read_catalog`.
    source : str
        Name for error messages and provenance.

    Returns
    -------
    QTable
        A new table; ``table`` is not changed.

    Raises
    ------
    CatalogError
        If the table does not meet the registry.

    Examples
    --------
    >>> from astropy.table import Table
    >>> clumps = validate(Table({"id": ["a", "b"], "z": [1.4, 1.4], "r_eff": ["<12", "40"]}))
    >>> [str(radius) for radius in clumps["r_eff"]], clumps["r_eff_is_limit"].tolist()
    (['12.0 pc', '40.0 pc'], [True, False])
    """
    raw = _as_table(table, source)
    refuse_objects(raw, source)
    mapping = None if columns is None else as_column_map(columns)
    mapping, recognised = (mapping, []) if mapping is not None else _recognise(raw, source)
    out, notes = build(raw, source=source, columns=mapping)
    record = raw.meta.get(META_KEY)
    if isinstance(record, dict) and mapping is None and record.get("content_sha256") == content_sha256(out):
        # Checked before and unchanged since: it keeps the file that it came from.
        out.meta = dict(raw.meta)
        return out
    finish(out, raw, source=source, sha256="", column_map=mapping, notes=[*recognised, *notes])
    out.meta[META_KEY]["sha256"] = out.meta[META_KEY]["content_sha256"]
    return out


def _as_table(table: Any, source: str) -> Table:
    """Return an astropy table from what a user may give."""
    if isinstance(table, Table):
        return table
    if type(table).__module__.split(".")[0] == "pandas" and hasattr(table, "columns"):
        return Table.from_pandas(table)
    msg = f"{source} is a {type(table).__name__}; give an astropy Table or QTable, or a pandas DataFrame"
    raise CatalogError(msg)


def _recognise(raw: Table, source: str) -> tuple[ColumnMap | None, list[str]]:
    """Return the built-in map that a table without canonical names calls for."""
    if all(name in raw.colnames for name, each in COLUMNS.items() if each.required):
        return None, []
    found = matching_maps(raw.colnames)
    if len(found) == 1:
        return found[0], [f"recognised as {found[0].name}: {found[0].citation}"]
    if found:
        msg = (
            f"{source} fits several built-in maps; name one of them: columns={' or '.join(repr(m.name) for m in found)}"
        )
        raise CatalogError(msg)
    return None, []
