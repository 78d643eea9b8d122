"""Files in five formats to plain tables: no translation yet, and nothing in a file is ever executed."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import Column, MaskedColumn, Table

from sc_lab.errors import CatalogError

__all__ = ["FORMATS", "META_KEY", "format_of", "read_raw", "refuse_objects"]

#: Format name to the file suffixes that mean it.
FORMATS: dict[str, tuple[str, ...]] = {
    "ecsv": (".ecsv",),
    "fits": (".fits", ".fit", ".fits.gz"),
    "votable": (".vot", ".xml", ".votable"),
    "csv": (".csv",),
    "parquet": (".parquet", ".pq"),
}

#: Key of the provenance in the metadata of a table, and its name inside files.
META_KEY = "sc_lab"

_ASTROPY_NAMES = {"ascii.ecsv": "ecsv", "ascii.csv": "csv", "vot": "votable"}
_MAGIC = (
    (b"SIMPLE  =", "fits"),
    (b"PAR1", "parquet"),
    (b"# %ECSV", "ecsv"),
    (b"<?xml", "votable"),
    (b"<VOTABLE", "votable"),
)


def format_of(path: Path, given: str | None = None) -> str:
    """Return the format of a file from what the caller says, its suffix or its first bytes.

    Parameters
    ----------
    path : Path
        The file.
    given : str, optional
        A format name; None = work it out.

    Returns
    -------
    str
        A key of `FORMATS`.

    Raises
    ------
    CatalogError
        If the format is unknown.
    """
    if given is not None:
        name = _ASTROPY_NAMES.get(given, given)
        if name not in FORMATS:
            msg = f"the format {given!r} of {path.name} is unknown; the formats are {', '.join(FORMATS)}"
            raise CatalogError(msg)
        return name
    lower = path.name.lower()
    start = b""
    if path.is_file():
        with path.open("rb") as stream:
            start = stream.read(16).lstrip(b"\xef\xbb\xbf \n\r\t")
    sniffed = next((name for magic, name in _MAGIC if start.startswith(magic)), None)
    for name, suffixes in FORMATS.items():
        if lower.endswith(suffixes):
            # An ECSV file saved as .csv still says what it is in its first line.
            return "ecsv" if name == "csv" and sniffed == "ecsv" else name
    if sniffed is not None:
        return sniffed
    msg = (
        f"the format of {path.name} cannot be told from its name; rename it to one of "
        f"{', '.join(suffix for each in FORMATS.values() for suffix in each)} or give format= one of {', '.join(FORMATS)}"
    )
    raise CatalogError(msg)


def read_raw(path: Path, name: str) -> tuple[Table, list[str]]:
    """Read a file as a plain table.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        A key of `FORMATS`.

    Returns
    -------
    table : Table
        The columns as the file has them; for CSV every column is text.
    remarks : list of str
        Warnings of the reader, for the notes of the catalogue.

    Raises
    ------
    CatalogError
        If the file is missing, empty or cannot be read in this format.
    """
    if not path.exists():
        msg = f"there is no file {path}; check the path (the working directory is {Path.cwd()})"
        raise CatalogError(msg)
    if path.is_dir():
        msg = f"{path} is a folder; give the path of one catalogue file"
        raise CatalogError(msg)
    if path.stat().st_size == 0:
        msg = f"{path.name} is empty (0 bytes); save the catalogue again, or check that its download finished"
        raise CatalogError(msg)
    readers = {
        "ecsv": _read_ecsv,
        "fits": _read_fits,
        "votable": _read_votable,
        "csv": _read_csv,
        "parquet": _read_parquet,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            table = readers[name](path)
        except CatalogError:
            raise
        # Readers of damaged files raise nearly anything: the user needs one sentence, and the cause is chained.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            msg = (
                f"{path.name} could not be read as {name}: {reason}; the file is damaged or of another format "
                f"(name the right one with format=, one of {', '.join(FORMATS)})"
            )
            raise CatalogError(msg) from error
    remarks = sorted({f"reader: {str(each.message).splitlines()[0][:300]}" for each in caught if str(each.message)})
    refuse_objects(table, path.name)
    return table, remarks


def refuse_objects(table: Table, source: str) -> None:
    """Refuse columns that hold Python objects, or astropy mixins other than numbers, flags and text.

    Parameters
    ----------
    table : Table
        Any table.
    source : str
        Name for the message.

    Raises
    ------
    CatalogError
        If a column holds anything else.
    """
    for name in table.colnames:
        column = table[name]
        kind = getattr(getattr(column, "dtype", None), "kind", "object")
        if kind == "O" and column.ndim == 1 and all(map(_is_text, column)):
            continue
        if kind not in tuple("biufSU"):
            msg = (
                f"{source}: column {name!r} holds {getattr(column, 'dtype', type(column).__name__)} values; only numbers, "
                "flags and text are read, never objects: remove the column or save it as one of these"
            )
            raise CatalogError(msg)


def _is_text(value: Any) -> bool:
    """Whether an element of an object column is text or stands for a missing one."""
    return (
        isinstance(value, str)
        or value is None
        or value is np.ma.masked
        or (isinstance(value, float) and np.isnan(value))
    )


def _read_ecsv(path: Path) -> Table:
    """Read an ECSV file; its YAML header is read by astropy's safe loader."""
    return Table.read(path, format="ascii.ecsv")


def _read_fits(path: Path) -> Table:
    """Read the first table extension of a FITS file, and the provenance beside it."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            msg = f"{path.name} holds no table extension, only images; give the file of the catalogue"
            raise CatalogError(msg)
        table = Table.read(tables[0])
        record = next((hdu for hdu in tables if hdu.name == META_KEY.upper()), None)
        provenance = None if record is None else _record_from_rows(record.data["key"], record.data["value"])
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "S":
            raw = np.ma.filled(column, b"") if isinstance(column, MaskedColumn) else np.asarray(column)
            text = decoded(raw) if len(raw) else raw.astype("U1")
            table.replace_column(name, Column(text, name=name))
    meta: dict[str, Any] = {"comments": [str(each) for each in table.meta.get("comments", [])]}
    table.meta = {key: value for key, value in meta.items() if value}
    if provenance:
        table.meta[META_KEY] = provenance
    return table


def decoded(data: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    """Return bytes as text.

    Parameters
    ----------
    data : ndarray of bytes
        Any shape.

    Returns
    -------
    ndarray of str
        Same shape; read as UTF-8, or as Latin-1, which any bytes are, where they are not UTF-8.
    """
    try:
        return np.char.decode(data, "utf-8")
    except UnicodeDecodeError:
        return np.char.decode(data, "latin-1")


def _record_from_rows(keys: Any, values: Any) -> dict[str, Any]:
    """Join the (key, piece of JSON) rows of a provenance extension."""
    joined: dict[str, str] = {}
    for key, value in zip(keys, values, strict=True):
        joined[str(key)] = joined.get(str(key), "") + str(value)
    try:
        return {key: json.loads(value) for key, value in joined.items()}
    except ValueError:
        return {}


def _read_votable(path: Path) -> Table:
    """Read the first table of a VOTable."""
    from astropy.io.votable import parse

    if b"<!ENTITY" in path.read_bytes().replace(b"\0", b""):
        # Entities can grow without bound or name other files, and no VOTable needs them.
        msg = f"{path.name} declares XML entities, which are not read; save the table again without a DTD"
        raise CatalogError(msg)
    document = parse(path, verify="ignore")
    first = next(iter(document.iter_tables()), None)
    if first is None:
        msg = f"{path.name} holds no table; give a VOTable with one TABLE element"
        raise CatalogError(msg)
    table = first.to_table(use_names_over_ids=True)
    table.meta = {}
    for info in [*document.infos, *first.infos]:
        if info.name == META_KEY:
            record = _json_dict(info.value)
            if record:
                table.meta[META_KEY] = record
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "O" and column.ndim == 1:
            texts = ["" if each is None or each is np.ma.masked else each for each in column]
            if all(isinstance(each, str) for each in texts):
                table.replace_column(name, Column(np.array(texts, dtype=np.str_), name=name))
    return table


def _json_dict(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty dict for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_csv(path: Path) -> Table:
    """Read a CSV file as text: numbers are made later, by column, so that an id 1.10 stays '1.10'."""
    text = path.read_bytes().decode("utf-8-sig")
    if "\0" in text:
        msg = f"{path.name} holds NUL bytes, so it is not a CSV text; check its format"
        raise CatalogError(msg)
    start = 0
    record: dict[str, Any] = {}
    comments = []
    while text.startswith("#", start):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start + 1 : end].strip()
        if line.startswith(f"{META_KEY}:"):
            record = _json_dict(line.removeprefix(f"{META_KEY}:"))
        else:
            comments.append(line)
        start = end + 1
    rows = [row for row in csv.reader(io.StringIO(text[start:], newline=""), strict=True) if row]
    if not rows:
        msg = f"{path.name} has no header line; the first line must name the columns"
        raise CatalogError(msg)
    header = [name.strip() for name in rows[0]]
    for position, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            msg = (
                f"{path.name}: data row {position} has {len(row)} values but the header names {len(header)} columns; "
                'quote text that holds commas, as in "a, b"'
            )
            raise CatalogError(msg)
    repeated = sorted({name for name in header if header.count(name) > 1 or not name})
    if repeated:
        msg = f"{path.name}: column names must differ and not be empty, but these repeat: {', '.join(map(repr, repeated))}"
        raise CatalogError(msg)
    cells = list(zip(*rows[1:], strict=True)) or [()] * len(header)
    table = Table({name: np.array(values, dtype=np.str_) for name, values in zip(header, cells, strict=True)})
    if comments:
        table.meta["comments"] = comments
    if record:
        table.meta[META_KEY] = record
    return table


def _read_parquet(path: Path) -> Table:
    """Read a Parquet file by pyarrow, without pandas and without extension types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pq.ParquetFile(path).read()
    if b"table_meta_yaml" in (arrow.schema.metadata or {}):
        # Astropy spreads masks over columns of their own, and its reader joins them again.
        return Table.read(path, format="parquet")
    out = Table()
    for name, field in zip(arrow.column_names, arrow.schema, strict=True):
        column = _arrow_column(arrow.column(name).combine_chunks(), field.type, path.name, name, pa)
        metadata = field.metadata or {}
        column.unit = metadata.get(b"unit", b"").decode() or None
        column.description = metadata.get(b"description", b"").decode() or None
        out[name] = column
    record = _json_dict((arrow.schema.metadata or {}).get(META_KEY.encode(), b"{}"))
    if record:
        out.meta[META_KEY] = record
    return out


def _arrow_column(array: Any, kind: Any, source: str, name: str, pa: Any) -> Column:
    """Return one Arrow array as a column, nulls masked."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Column(np.array([each or "" for each in array.to_pylist()], dtype=np.str_), name=name)
    if pa.types.is_null(kind):
        return MaskedColumn(np.full(len(array), np.nan), mask=True, name=name)
    mask = np.array(array.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_boolean(kind):
        data = array.fill_null(False).to_numpy(zero_copy_only=False)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        data = array.fill_null(0).to_numpy(zero_copy_only=False)
    elif pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _arrow_lists(array, source, name)
    else:
        msg = (
            f"{source}: column {name!r} holds {kind} values; only numbers, flags and text are read: "
            "remove the column or save it as one of these"
        )
        raise CatalogError(msg)
    if mask.any():
        return MaskedColumn(np.array(data), mask=mask, name=name)
    return Column(np.array(data), name=name)


def _arrow_lists(array: Any, source: str, name: str) -> Column:
    """Return lists of numbers as a two-dimensional column, nulls masked."""
    rows = [[] if row is None else row for row in array.to_pylist()]
    widths = {len(row) for row in rows if row}
    if len(widths) != 1 or any(isinstance(each, str | bytes | list | dict | bool) for row in rows for each in row):
        msg = f"{source}: column {name!r} holds lists of unequal length or of other things than numbers; give k numbers a row"
        raise CatalogError(msg)
    data = np.full((len(rows), widths.pop()), np.nan)
    for index, row in enumerate(rows):
        if row:
            data[index] = [np.nan if each is None else each for each in row]
    return MaskedColumn(data, mask=np.isnan(data), name=name) if np.isnan(data).any() else Column(data, name=name)
