"""The catalogue of a population as a table, written byte for byte the same every time."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from sc_lab.catalog.columns import COLUMNS, error_centre, find_column
from sc_lab.catalog.formats import META_KEY, decoded
from sc_lab.catalog.validation import clean_text
from sc_lab.errors import InputError
from sc_lab.export.latex import latex_table
from sc_lab.export.provenance import provenance, record_json
from sc_lab.export.regions import region_text

if TYPE_CHECKING:
    from sc_lab.population import Population

__all__ = ["EXPORT_FORMATS", "catalog_table", "write_atomically", "write_table"]

#: Format name to the suffixes that mean it.
EXPORT_FORMATS: dict[str, tuple[str, ...]] = {
    "ecsv": (".ecsv",),
    "fits": (".fits", ".fit"),
    "votable": (".vot", ".xml", ".votable"),
    "csv": (".csv",),
    "parquet": (".parquet", ".pq"),
    "latex": (".tex",),
    "regions": (".reg",),
}

#: Longest name of a FITS column; with a number behind it, it still fits into one card.
_NAME = 60
#: Longest piece of JSON in one row of a FITS provenance extension.
_PIECE = 1000


def catalog_table(population: Population, *, draws: bool = False) -> QTable:
    """Return the catalogue of a population with every computed column.

    Parameters
    ----------
    population : Population
        The analysed catalogue.
    draws : bool
        Whether the posterior draws of the input are written out again.

    Returns
    -------
    QTable
        One row an object, none left out: the canonical columns of the input in registry
        order, then the computed ones, then foreign columns; each with unit, description and
        UCD. ``meta["sc_lab"]`` is the provenance.
    """
    catalog = population.catalog
    computed = population.columns()
    known = [name for name in COLUMNS if name in catalog.colnames]
    families = [name for name in catalog.colnames if name not in COLUMNS and find_column(name) is not None]
    foreign = [name for name in catalog.colnames if find_column(name) is None]
    out = QTable()
    for name in [*known, *families]:
        entry = find_column(name)
        centre = error_centre(name)
        # A quantity recomputed for another lens model does not keep the errors of the reference one.
        replaced = name in computed or (centre is not None and centre[0] in computed)
        if entry is not None and (not entry.draws or draws) and not entry.computed and not replaced:
            out[name] = catalog[name].copy()
    for name, values in computed.items():
        if draws or not (entry := find_column(name)) or not entry.draws:
            out[name] = _masked(values)
    for name in foreign:
        if name not in out.colnames:
            with warnings.catch_warnings():
                # A masked logarithmic quantity stays a plain column with its unit.
                warnings.simplefilter("ignore")
                out[name] = catalog[name].copy()
    for name in out.colnames:
        entry = find_column(name)
        if entry is not None:
            out[name].info.description = entry.description
            out[name].info.meta = {"ucd": entry.ucd} if entry.ucd else {}
    out.meta[META_KEY] = provenance(population)
    return out


def _masked(values: Any) -> Any:
    """Return a computed column with its missing numbers masked."""
    bare = getattr(values, "value", values)
    if np.asarray(bare).dtype.kind != "f":
        return Column(np.asarray(values))
    missing = np.isnan(bare)
    if isinstance(values, u.Quantity) and values.unit != u.dimensionless_unscaled:
        return Masked(values, mask=missing) if missing.any() else values.copy()
    data = np.array(bare, dtype=np.float64)
    return MaskedColumn(data, mask=missing) if missing.any() else Column(data)


def write_table(
    table: Table,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002 - the word that astropy's own writers use
    overwrite: bool = False,
) -> Path:
    """Write a catalogue; the same table always gives the same bytes.

    Parameters
    ----------
    table : Table
        From `catalog_table`, or any table of numbers, flags and text.
    path : path-like
        The file to write.
    format : {"ecsv", "fits", "votable", "csv", "parquet", "latex", "regions"}, optional
        None = from the suffix.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the format is unknown, the file exists, its folder does not, or a column holds objects.

    Notes
    -----
    The file appears whole or not at all: it is written beside its final place and then
    renamed. The provenance is inside every format: metadata in ECSV and Parquet, a second
    table in FITS, an INFO element in VOTable, and comment lines in CSV (read those with
    ``comment="#"``), LaTeX and region files. Missing numbers are NaN in FITS and empty or
    null elsewhere. Text is UTF-8 throughout, in FITS too; control characters become spaces.
    """
    target = Path(path)
    name = _format(target, format)
    makers: dict[str, Callable[[Table], bytes]] = {
        "ecsv": _ecsv,
        "fits": _fits,
        "votable": _votable,
        "csv": _csv,
        "parquet": _parquet,
        "latex": lambda given: latex_table(given).encode(),
        "regions": lambda given: region_text(given).encode(),
    }
    return write_atomically(target, lambda: makers[name](table), overwrite=overwrite)


def _format(path: Path, given: str | None) -> str:
    """Return the name of the export format."""
    if given is not None:
        if given not in EXPORT_FORMATS:
            msg = f"the export format {given!r} is unknown; the formats are {', '.join(EXPORT_FORMATS)}"
            raise InputError(msg)
        return given
    for name, suffixes in EXPORT_FORMATS.items():
        if path.name.lower().endswith(suffixes):
            return name
    known = ", ".join(suffix for each in EXPORT_FORMATS.values() for suffix in each)
    msg = f"the export format cannot be told from {path.name!r}; end the name with one of {known}, or give format="
    raise InputError(msg)


def write_atomically(path: Path, make: Callable[[], bytes], *, overwrite: bool) -> Path:
    """Write bytes to a file that appears whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    make : callable
        Returns the bytes; called once the file may be written.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the file exists and may not be replaced, is a folder, or cannot be written.
    """
    try:
        is_folder = path.is_dir()
    except OSError as error:
        msg = f"{path} is no name for a file: {error.strerror or error}; give another"
        raise InputError(msg) from error
    if is_folder:
        msg = f"{path} is a folder; give the name of a file in it"
        raise InputError(msg)
    if path.exists() and not overwrite:
        msg = f"{path} exists and is left as it is; give overwrite=True to replace it, or another name"
        raise InputError(msg)
    if not path.parent.is_dir():
        msg = f"the folder {path.parent} does not exist; make it first, or write elsewhere"
        raise InputError(msg)
    content = make()
    # Not made from the name of the file, which may be as long as names can be.
    temporary = path.with_name(f".sc_lab.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        msg = f"{path} could not be written: {error.strerror or error}; check the space and the rights of its folder"
        raise InputError(msg) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


@dataclass(frozen=True, kw_only=True)
class _Flat:
    """One column as plain data: what every writer needs."""

    name: str
    data: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_]
    unit: Any
    description: str
    ucd: str

    @property
    def kind(self) -> str:
        """The numpy kind of the data."""
        return str(self.data.dtype.kind)

    @property
    def unit_text(self) -> str:
        """The unit as text, empty for none."""
        return "" if self.unit is None or self.unit == u.dimensionless_unscaled else str(self.unit)


def _distinct(names: list[str], fold: Callable[[str], str] = str) -> list[str]:
    """Return names of which no two are the same, the later ones numbered."""
    out: list[str] = []
    taken: set[str] = set()
    for name in names:
        tries = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        found = next(each for each in tries if fold(each) not in taken)
        taken.add(fold(found))
        out.append(found)
    return out


def _loses_digits(data: npt.NDArray[Any], *, masked: bool) -> bool:
    """Whether whole numbers, identifiers as a rule, exceed what a long or, with gaps, a double holds exactly."""
    bound = 2**53 if masked else 2**63 - 1
    return bool(data.size) and (int(data.max()) > bound or int(data.min()) < -bound)


def _flatten(table: Table) -> list[_Flat]:
    """Return the columns of a table as plain data, texts cleaned, masked numbers NaN."""
    out = []
    names = _distinct([clean_text(name) or "column" for name in table.colnames])
    for original, name in zip(table.colnames, names, strict=True):
        column = table[original]
        bare = getattr(column, "unmasked", column)
        data = np.asarray(np.ma.getdata(getattr(bare, "value", bare)))
        mask = np.broadcast_to(np.asarray(getattr(column, "mask", False), dtype=bool), data.shape)
        if data.dtype.kind == "S":
            data = decoded(data)
        if data.dtype.kind in "iu" and _loses_digits(data, masked=bool(mask.any())):
            data = data.astype(np.str_)
        if data.dtype.kind == "U":
            texts = [
                "" if m else clean_text(t) for t, m in zip(data.ravel().tolist(), mask.ravel().tolist(), strict=True)
            ]
            if data.ndim > 1:
                # No two formats agree on arrays of text: a row becomes one text, a JSON list.
                rows = np.array(texts, dtype=object).reshape(len(data), -1).tolist()
                texts = [json.dumps(row, ensure_ascii=False) for row in rows]
            data = np.array(texts, dtype=np.str_)
            mask = np.zeros(data.shape, dtype=bool)
        elif data.dtype.kind == "f":
            data = np.where(mask, np.nan, data).astype(np.float64)
            mask = np.isnan(data)
        elif data.dtype.kind == "b" and data.ndim > 1:
            data, mask = (data & ~mask).astype(np.int64), np.zeros(data.shape, dtype=bool)
        elif data.dtype.kind == "b":
            data, mask = data & ~mask, np.zeros(data.shape, dtype=bool)
        elif data.dtype.kind in "iu":
            # Whole numbers have no NaN: with gaps they become floating point.
            data = np.where(mask, np.nan, data) if mask.any() else data.astype(np.int64)
        else:
            msg = f"column {name!r} holds {data.dtype} values, which are not written; remove it or make it numbers or text"
            raise InputError(msg)
        info = column.info
        meta = info.meta if isinstance(info.meta, dict) else {}
        out.append(
            _Flat(
                name=name,
                data=data,
                mask=mask,
                unit=getattr(column, "unit", None),
                description=clean_text(info.description or ""),
                ucd=str(meta.get("ucd", "")),
            )
        )
    return out


def _plain(table: Table) -> Table:
    """Return a table of plain columns: files of Quantity columns are harder to read elsewhere."""
    out = Table()
    for each in _flatten(table):
        kwargs: dict[str, Any] = {"name": each.name, "description": each.description or None}
        if each.unit_text:
            kwargs["unit"] = each.unit
        if each.ucd:
            kwargs["meta"] = {"ucd": each.ucd}
        if each.mask.any():
            out.add_column(MaskedColumn(each.data, mask=each.mask, **kwargs))
        else:
            out.add_column(Column(each.data, **kwargs))
    return out


def _ecsv(table: Table) -> bytes:
    """Return the bytes of an ECSV file."""
    plain = _plain(table)
    plain.meta[META_KEY] = json.loads(record_json(table.meta))
    stream = io.StringIO()
    plain.write(stream, format="ascii.ecsv", delimiter=",")
    # The header ends with the line of names, as many lines after the start as there are comments.
    lines = stream.getvalue().split("\n")
    first = next(number for number, line in enumerate(lines) if not line.startswith("#")) + 1
    lines[first:] = [_as_data(line) for line in lines[first:]]
    return "\n".join(lines).encode()


def _as_data(line: str) -> str:
    """Return a line of a table so that no reader takes it for a comment and drops the row."""
    if not line.startswith("#"):
        return line
    cell, comma, rest = line.partition(",")
    return f'"{cell}"{comma}{rest}'


def _fits(table: Table) -> bytes:
    """Return the bytes of a FITS file: the catalogue, then the provenance as rows of key and JSON."""
    from astropy.io import fits

    columns, cards = [], []
    flat = _flatten(table)
    # FITS names are short and ASCII, and no reader need tell "Mass" from "mass".
    names = _distinct([each.name.encode("ascii", "replace").decode()[:_NAME] for each in flat], str.lower)
    for number, (name, each) in enumerate(zip(names, flat, strict=True), start=1):
        said = each.description or ("" if name == each.name else f"column {each.name}")
        cards += [(f"TCOMM{number}", said), (f"TUCD{number}", each.ucd)]
        columns.append(fits.Column(name=name, unit=_fits_unit(each) or None, **_fits_data(each)))
    catalogue = fits.BinTableHDU.from_columns(columns, name="CATALOG")
    for key, value in cards:
        if value:
            catalogue.header[key] = value.encode("ascii", "replace").decode()
    keys, pieces = [], []
    for key, value in json.loads(record_json(table.meta)).items():
        for piece in _pieces(json.dumps(value, ensure_ascii=True)):
            keys.append(str(key))
            pieces.append(piece)
    hdus = fits.HDUList([fits.PrimaryHDU(), catalogue])
    if keys:
        width = max(map(len, pieces))
        rows = [
            fits.Column(name="key", format=f"{max(map(len, keys))}A", array=np.array(keys)),
            fits.Column(name="value", format=f"{width}A", array=np.array(pieces)),
        ]
        hdus.append(fits.BinTableHDU.from_columns(rows, name=META_KEY.upper()))
    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()


def _pieces(text: str) -> list[str]:
    """Return JSON in pieces without a space at an end, which FITS would lose."""
    out = []
    while text:
        piece, text = text[:_PIECE], text[_PIECE:]
        kept = piece.rstrip(" ")
        # A blank at the cut moves to the next piece, unless the piece is nothing but blanks (then inside a string).
        out.append(kept or "\\u0020" * len(piece))
        text = " " * (len(piece) - len(kept)) + text if kept else text
    return out


def _fits_unit(each: _Flat) -> str:
    """Return a unit in the spelling of FITS, or as astropy writes it where FITS has no word."""
    if not each.unit_text:
        return ""
    try:
        return str(u.Unit(each.unit).to_string("fits"))
    except (ValueError, TypeError, AttributeError):
        return each.unit_text


def _fits_data(each: _Flat) -> dict[str, Any]:
    """Return format and array of a FITS column."""
    depth = "" if each.data.ndim == 1 else str(int(np.prod(each.data.shape[1:])))
    if each.kind == "U":
        encoded = np.char.encode(each.data, "utf-8")
        return {"format": f"{max(encoded.dtype.itemsize, 1)}A", "array": encoded}
    return {"format": depth + {"b": "L", "i": "K"}.get(each.kind, "D"), "array": each.data}


def _votable(table: Table) -> bytes:
    """Return the bytes of a VOTable 1.4 with TABLEDATA.

    Written here, because the C writer of astropy.io.votable corrupts memory
    (astropy issue 20419, seen with astropy 8.0).
    """
    flat = _flatten(table)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">',
        f"<INFO name={quoteattr(META_KEY)} value={quoteattr(record_json(table.meta))}/>",
        '<RESOURCE type="results">',
        f'<TABLE name="catalog" nrows="{len(table)}">',
    ]
    ids = _vo_ids([each.name for each in flat])
    for identifier, each in zip(ids, flat, strict=True):
        depth = "" if each.data.ndim == 1 else f' arraysize="{int(np.prod(each.data.shape[1:]))}"'
        kind = {"U": 'datatype="unicodeChar" arraysize="*"', "b": 'datatype="boolean"', "i": 'datatype="long"'}.get(
            each.kind, 'datatype="double"'
        )
        unit = _vo_unit(each)
        extra = (f" unit={quoteattr(unit)}" if unit else "") + (f" ucd={quoteattr(each.ucd)}" if each.ucd else "")
        lines.append(f'<FIELD ID="{identifier}" name={quoteattr(each.name)} {kind}{depth}{extra}>')
        lines.append(f"<DESCRIPTION>{escape(each.description)}</DESCRIPTION>")
        lines.append("</FIELD>")
    lines.append("<DATA><TABLEDATA>")
    columns = [_vo_cells(each) for each in flat]
    lines += [f"<TR>{''.join(f'<TD>{cell}</TD>' for cell in row)}</TR>" for row in zip(*columns, strict=True)]
    lines += ["</TABLEDATA></DATA>", "</TABLE>", "</RESOURCE>", "</VOTABLE>", ""]
    return "\n".join(lines).encode()


def _vo_ids(names: list[str]) -> list[str]:
    """Return XML identifiers of columns: their names where XML allows them, because astropy names columns by these."""
    plain = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
    free = (other for number in itertools.count() if (other := f"column_{number}") not in names)
    return [name if plain.fullmatch(name) else next(free) for name in names]


def _vo_unit(each: _Flat) -> str:
    """Return a unit in the spelling of the VO, or as astropy writes it where the VO has no word."""
    if not each.unit_text:
        return ""
    try:
        with warnings.catch_warnings():
            # Units that the VO deprecates, such as erg, are written all the same.
            warnings.simplefilter("ignore", u.UnitsWarning)
            return str(u.Unit(each.unit).to_string("vounit"))
    except (ValueError, TypeError, AttributeError):
        return each.unit_text


def _vo_cells(each: _Flat) -> list[str]:
    """Return the cells of a VOTable column; an empty cell is a missing number."""
    if each.data.ndim > 1:
        rows = each.data.reshape(len(each.data), -1).tolist()
        return [" ".join(_vo_number(v, "NaN") for v in row) for row in rows]
    if each.kind == "U":
        return [escape(v) for v in each.data.tolist()]
    if each.kind == "b":
        return ["T" if v else "F" for v in each.data.tolist()]
    if each.kind == "f":
        return [_vo_number(v, "") for v in each.data.tolist()]
    return [str(v) for v in each.data.tolist()]


def _vo_number(value: float, missing: str) -> str:
    """Return a number as VOTable spells it."""
    if math.isnan(value):
        return missing
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _csv(table: Table) -> bytes:
    """Return the bytes of a CSV file: provenance and units as leading comment lines."""
    flat = _flatten(table)
    stream = io.StringIO()
    stream.write(f"# {META_KEY}: {record_json(table.meta)}\n")
    for each in flat:
        unit = f" [{each.unit_text}]" if each.unit_text else ""
        stream.write(f"# {each.name}{unit}: {each.description}\n")
    stream.write(",".join(_quoted(each.name) for each in flat) + "\n")
    cells = [[_quoted(cell) for cell in _cells(each)] for each in flat]
    # A blank line would be no row at all.
    stream.writelines((",".join(row) or '""') + "\n" for row in zip(*cells, strict=True))
    return stream.getvalue().encode()


def _quoted(cell: str) -> str:
    """Return a CSV cell; one with "#" is quoted too, or readers told of comments would drop what follows."""
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"#\r\n') else cell


def _cells(each: _Flat) -> list[str]:
    """Return the cells of a CSV column; draws are JSON lists."""
    if each.data.ndim > 1:
        rows = each.data.reshape(len(each.data), -1).tolist()
        return [json.dumps([None if math.isnan(v) else v for v in row]) for row in rows]
    if each.kind == "f":
        return ["" if gone else repr(v) for v, gone in zip(each.data.tolist(), each.mask.tolist(), strict=True)]
    return [str(v) for v in each.data.tolist()]


def _parquet(table: Table) -> bytes:
    """Return the bytes of a Parquet file; unit, description and UCD are metadata of its fields."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields, arrays = [], []
    for each in _flatten(table):
        if each.data.ndim > 1:
            child = pa.array(each.data.ravel(), mask=np.ascontiguousarray(each.mask).ravel())
            array = pa.FixedSizeListArray.from_arrays(child, int(np.prod(each.data.shape[1:])))
        elif each.kind == "U":
            array = pa.array(each.data.tolist(), type=pa.string())
        else:
            array = pa.array(each.data, mask=np.ascontiguousarray(each.mask))
        metadata = {"unit": each.unit_text, "description": each.description, "ucd": each.ucd}
        fields.append(pa.field(each.name, array.type, metadata={k: v for k, v in metadata.items() if v}))
        arrays.append(array)
    schema = pa.schema(fields, metadata={META_KEY: record_json(table.meta)})
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), stream)
    return stream.getvalue()
