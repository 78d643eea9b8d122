"""Translation and checking: any table to a validated QTable, or one error that names column, rows and mend."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import Column as TableColumn
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked

from sc_lab.catalog.columns import COLUMNS, Column, error_centre, find_column
from sc_lab.catalog.formats import META_KEY, decoded
from sc_lab.catalog.maps import ColumnMap, Source
from sc_lab.errors import CatalogError

__all__ = ["build", "clean_text", "content_sha256", "finish"]

#: Texts that stand for "no value" in a column of numbers.
MISSING_TEXTS = frozenset({"", "-", "--", "...", "nan", "none", "null", "n/a", "na", "masked"})
_TRUE_TEXTS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE_TEXTS = frozenset({"false", "f", "no", "n", "0", "0.0"}) | MISSING_TEXTS
#: Digits that a number would lose: leading zeros, and more than a double holds.
_IDENTIFIER = re.compile(r"0\d+|[+-]?\d{16,}")
#: Masses below this are more likely log10(M / Msun) than masses of clumps.
_LARGEST_LOGARITHM = 15.0
_SHOWN = 5
_COMPOSE = re.compile(r"\{([^{}:]+)(?::before ([^{}]+))?\}")


@dataclass
class _Work:
    """What is known while one table is translated."""

    raw: Table
    source: str
    plain_text: bool
    ids: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    limits: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def rows(self, bad: npt.NDArray[np.bool_]) -> str:
        """Return the first bad rows, 1-based and with their ids, in words."""
        found = np.flatnonzero(bad if bad.ndim == 1 else bad.any(axis=1))
        named = [
            f"{i + 1} ({self.ids[i]})" if i < len(self.ids) and self.ids[i] else f"{i + 1}" for i in found[:_SHOWN]
        ]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return f"row{'s' if len(found) > 1 else ''} {', '.join(named)}{more}"

    def problem(self, name: str, text: str) -> None:
        """Remember a reason to refuse the table."""
        self.problems.append(f"column {name!r}: {text}")


def build(raw: Table, *, source: str, columns: ColumnMap | None, plain_text: bool = False) -> tuple[QTable, list[str]]:
    """Translate and check a table.

    Parameters
    ----------
    raw : Table
        Any table of numbers, flags and text.
    source : str
        Name for error messages.
    columns : ColumnMap or None
        The translation; None when the names are canonical.
    plain_text : bool
        Whether all columns are text because the file format has no types (CSV).

    Returns
    -------
    table : QTable
        Canonical columns in registry order of the input, then foreign ones untouched.
    notes : list of str
        What was assumed or changed on the way.

    Raises
    ------
    CatalogError
        If the table does not meet the registry; all problems are in the one message.
    """
    work = _Work(raw=raw, source=source, plain_text=plain_text)
    sources = dict(columns.sources) if columns else {}
    _check_present(work, sources, columns)
    used = {each.column for each in sources.values()} | {
        found[1] for each in sources.values() for found in _COMPOSE.finditer(each.compose)
    }
    for name in raw.colnames:
        if find_column(name) is not None and name not in sources and name not in used:
            sources[name] = Source(column=name)
    missing = [name for name, each in COLUMNS.items() if each.required and name not in sources]
    if missing:
        _raise_missing(work, missing)
    if len(raw) == 0:
        msg = f"{source} holds no rows; give a catalogue with at least one object"
        raise CatalogError(msg)
    out = QTable()
    _ids(work, sources, out)
    for name, spec in _ordered(sources):
        _canonical(work, sources, name, spec, out)
    _add_limits(work, out)
    _check_draws(work, out)
    foreign = _foreign(work, used | {each.column for each in sources.values()}, out)
    if foreign:
        work.notes.append(f"columns kept as they are, not in the registry: {', '.join(foreign)}")
    _note_edits(work, out)
    if work.problems:
        head = f"{source}: " if len(work.problems) == 1 else f"{source} has {len(work.problems)} problems:\n- "
        raise CatalogError(head + "\n- ".join(work.problems))
    return out, work.notes


def _check_present(work: _Work, sources: dict[str, Source], columns: ColumnMap | None) -> None:
    """Refuse a map that names columns which the table does not have."""
    present = set(work.raw.colnames)
    for name, spec in sources.items():
        wanted = [spec.column] if spec.column else [found[1] for found in _COMPOSE.finditer(spec.compose)]
        for each in wanted:
            if each not in present:
                named = f" {columns.name!r}" if columns and columns.name else ""
                work.problem(
                    name,
                    f"the column map{named} takes it from {each!r}, which is not in the table; "
                    f"the table has {', '.join(work.raw.colnames)}",
                )
    if work.problems:
        raise CatalogError(f"{work.source}: " + "\n- ".join(work.problems))


def _raise_missing(work: _Work, missing: Sequence[str]) -> None:
    """Raise the error of required columns that are absent."""
    from sc_lab.catalog.maps import BUILTIN_MAPS

    first = missing[0]
    msg = (
        f"{work.source}: the required column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} "
        f"{'are' if len(missing) > 1 else 'is'} missing; the table has {', '.join(work.raw.colnames)}. Rename, or give a "
        f"column map such as columns={{{first!r}: 'name in the file'}}, or one of the built-in maps {', '.join(BUILTIN_MAPS)}"
    )
    raise CatalogError(msg)


def _ordered(sources: dict[str, Source]) -> Iterable[tuple[str, Source]]:
    """Return the sources in registry order, patterns last, so that the order in a file does not matter."""
    rank = {name: index for index, name in enumerate(COLUMNS)}
    return sorted(
        ((name, spec) for name, spec in sources.items() if name != "id"), key=lambda item: rank.get(item[0], len(rank))
    )


def _ids(work: _Work, sources: dict[str, Source], out: QTable) -> None:
    """Make the id column first: every later message names rows by it."""
    ids = _clean(work, "id", _texts(work, "id", sources["id"]))
    work.ids = ids
    empty = np.array([not each for each in ids])
    if empty.any():
        work.problem("id", f"{work.rows(empty)} without an identifier; give every row one")
    seen: dict[str, list[int]] = {}
    for index, each in enumerate(ids):
        seen.setdefault(each, []).append(index + 1)
    repeated = [(each, rows) for each, rows in seen.items() if len(rows) > 1 and each]
    if repeated:
        shown = "; ".join(f"{each!r} in rows {', '.join(map(str, rows[:_SHOWN]))}" for each, rows in repeated[:_SHOWN])
        more = f" and {len(repeated) - _SHOWN} more" if len(repeated) > _SHOWN else ""
        work.problem("id", f"identifiers must be unique, but {shown}{more}; rename or remove the duplicates")
    _store(out, COLUMNS["id"], np.array(ids, dtype=np.str_), None)


def _canonical(work: _Work, sources: dict[str, Source], name: str, spec: Source, out: QTable) -> None:
    """Translate, check and store one column."""
    entry = find_column(name)
    if entry is None:  # pragma: no cover - ColumnMap and the caller admit canonical names only
        return
    if entry.kind == "text":
        _store(out, entry, np.array(_clean(work, name, _texts(work, name, spec)), dtype=np.str_), None)
        return
    if entry.kind == "flag":
        flags = _flags(work, name, spec)
        if flags is not None:
            _store(out, entry, flags, None)
        return
    data = _house_numbers(work, sources, entry, spec)
    if data is None:
        return
    _check_range(work, entry, data)
    if name == "mass" and np.isfinite(data).any() and np.nanmax(data) < _LARGEST_LOGARITHM:
        work.notes.append(
            f"mass: no value exceeds {np.nanmax(data):g} {entry.unit}; if these are logarithms, "
            "say so with columns={'mass': Source(column=..., log=True)}"
        )
    _store(out, entry, data, np.isnan(data))


def _house_numbers(
    work: _Work, sources: dict[str, Source], entry: Column, spec: Source
) -> npt.NDArray[np.float64] | None:
    """Return the numbers of a column in its house unit, NaN where missing; None after a problem."""
    if spec.constant is not None:
        return np.full(len(work.raw), float(spec.constant))
    data = _numbers(work, entry, spec)
    if data is None:
        return None
    centre = error_centre(entry.name)
    if centre is not None and centre[0] in sources and centre[1]:
        origin = sources[centre[0]]
        if origin.column and _is_dex_error(work, spec, origin):
            value = _numbers(work, replace(entry, name=centre[0]), origin, quiet=True)
            return None if value is None else _linear_error(work, entry, value, data, origin, centre[1]) * spec.scale
    return _to_house(work, entry, spec, data, scale=spec.scale)


def _is_dex_error(work: _Work, spec: Source, origin: Source) -> bool:
    """Whether an error column is in dex, because it says so or because its centre is a bare logarithm."""
    own = _unit(work, spec)
    return spec.log or own == u.dex or (own is None and _is_log(work, origin))


def _linear_error(
    work: _Work,
    entry: Column,
    value: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
    origin: Source,
    side: str,
) -> npt.NDArray[np.float64]:
    """Return the linear size of an error in dex, in the house unit."""
    negative = error < 0
    if negative.any():
        work.problem(entry.name, f"negative error in {work.rows(negative)}; errors are sizes: give them without sign")
    with np.errstate(over="ignore", invalid="ignore"):
        middle = 10.0**value
        linear = middle - 10.0 ** (value - error) if side == "lo" else 10.0 ** (value + error) - middle
    unit = _unit(work, origin)
    physical = getattr(unit, "physical_unit", None)
    if physical is None:
        physical = u.Unit(origin.unit) if origin.unit else entry.astropy_unit
    try:
        return np.asarray(linear * physical.to(entry.astropy_unit), dtype=np.float64)
    except u.UnitConversionError:
        # The centre column has the same wrong unit and reports it.
        return np.full(len(linear), np.nan)


def _unit(work: _Work, spec: Source) -> Any:
    """Return the unit that the file gives a column, or None."""
    return getattr(work.raw[spec.column], "unit", None) if spec.column else None


def _is_log(work: _Work, spec: Source) -> bool:
    """Whether a column holds decimal logarithms."""
    return spec.log or isinstance(_unit(work, spec), u.DexUnit)


def _to_house(
    work: _Work, entry: Column, spec: Source, data: npt.NDArray[np.float64], *, scale: float = 1.0
) -> npt.NDArray[np.float64] | None:
    """Convert numbers from the unit of the file (or of the map) to the house unit."""
    unit = _unit(work, spec)
    house = entry.astropy_unit
    if isinstance(unit, u.UnrecognizedUnit):
        work.problem(entry.name, f"the unit {str(unit)!r} is not known; the column needs {_unit_words(entry)}")
        return None
    if isinstance(unit, u.DexUnit) or spec.log:
        with np.errstate(over="ignore"):
            data = 10.0**data
        unit = getattr(unit, "physical_unit", None)
    if isinstance(unit, u.MagUnit) and unit.physical_unit in (u.AB, u.dimensionless_unscaled):
        unit = u.mag
    if unit is None and spec.unit:
        unit = u.Unit(spec.unit)
    if unit is None:
        if entry.unit and not spec.log:
            work.notes.append(f"{entry.name} has no unit in the file: taken to be in {entry.unit}")
        return data * scale
    if house == u.mag and unit == u.dimensionless_unscaled:
        unit = u.mag
    try:
        factor = (1.0 * unit).to_value(house) if not isinstance(unit, u.function.FunctionUnitBase) else None
    except (u.UnitConversionError, TypeError):
        factor = None
    if factor is None:
        hint = "; give AB magnitudes" if entry.unit == "mag" else ""
        work.problem(
            entry.name,
            f"the unit is '{unit}', which does not convert to {_unit_words(entry)}; correct the unit or the column{hint}",
        )
        return None
    return np.asarray(data * (factor * scale), dtype=np.float64)


def _unit_words(entry: Column) -> str:
    """Return the house unit of a column in words."""
    return f"'{entry.unit}'" if entry.unit else "a pure number (no unit)"


def _numbers(work: _Work, entry: Column, spec: Source, *, quiet: bool = False) -> npt.NDArray[np.float64] | None:
    """Return a column as float64 in its own unit, NaN where missing; None after a problem."""
    column = work.raw[spec.column]
    bare = getattr(column, "unmasked", column)
    kind = bare.dtype.kind
    mask = _mask(column)
    if kind in "SUO":
        parsed = _parse_texts(work, entry, column, quiet=quiet)
        if parsed is None:
            return None
        data = parsed
    elif kind in "iuf":
        data = np.array(getattr(bare, "value", bare), dtype=np.float64)
        if mask is not None:
            data[mask] = np.nan
    else:
        if not quiet:
            work.problem(entry.name, f"holds {bare.dtype} values; give numbers ({_unit_words(entry)})")
        return None
    for sentinel in spec.missing:
        data[data == sentinel] = np.nan
    if spec.negative == "missing":
        data[data < 0] = np.nan
    if entry.draws != (data.ndim == 2):
        if not quiet:
            wanted = "one array of draws a row, shape (rows, draws)" if entry.draws else "one number a row"
            work.problem(entry.name, f"has the shape {data.shape}; give {wanted}")
        return None
    return data


def _mask(column: Any) -> npt.NDArray[np.bool_] | None:
    """Return the mask of a column, or None when nothing is masked."""
    mask = getattr(column, "mask", None)
    if mask is None or not np.any(mask):
        return None
    return np.broadcast_to(np.asarray(mask, dtype=bool), column.shape)


def _strings(column: Any) -> list[str]:
    """Return a text column as a list, '' where masked."""
    mask = _mask(column)
    bare = np.asarray(getattr(column, "filled", lambda _: column)("") if mask is not None else column)
    if bare.dtype.kind == "S":
        bare = decoded(bare)
    texts = ["" if each is None or (isinstance(each, float) and each != each) else str(each) for each in bare.tolist()]  # noqa: PLR0124 - NaN is the one value that differs from itself
    if mask is not None:
        texts = ["" if hidden else each for each, hidden in zip(texts, mask.tolist(), strict=True)]
    return texts


def _parse_texts(work: _Work, entry: Column, column: Any, *, quiet: bool) -> npt.NDArray[np.float64] | None:
    """Return numbers from text: missing words, limits such as '<12', and draws as JSON lists."""
    if column.ndim != 1:
        work.problem(entry.name, "holds arrays of text; give numbers")
        return None
    texts = [each.strip() for each in _strings(column)]
    if entry.draws:
        return _parse_lists(work, entry, texts, quiet=quiet)
    data = np.full(len(texts), np.nan)
    limit = np.zeros(len(texts), dtype=bool)
    bad = np.zeros(len(texts), dtype=bool)
    flag = f"{entry.name}_is_limit"
    takes_limits = find_column(flag) is not None
    for index, text in enumerate(texts):
        each = text
        if takes_limits and each[:1] in ("<", "≤"):
            limit[index] = True
            each = each[1:].lstrip("= ")
        try:
            data[index] = float(each)
        except ValueError:
            bad[index] = each.lower() not in MISSING_TEXTS
        else:
            bad[index] = "_" in each
    if limit.any():
        # "<0" carries no number: it stays a limit without a value.
        data[limit & (data == 0)] = np.nan
        work.limits[flag] = limit
    if bad.any():
        if not quiet:
            example = texts[int(np.flatnonzero(bad)[0])]
            work.problem(
                entry.name,
                f"text such as {example[:40]!r} where numbers belong, in {work.rows(bad)}; give numbers"
                f"{', limits as <12,' if takes_limits else ''} and leave missing values empty",
            )
        return None
    return data


def _parse_lists(work: _Work, entry: Column, texts: list[str], *, quiet: bool) -> npt.NDArray[np.float64] | None:
    """Return draws from JSON lists of numbers and nulls."""
    rows: list[list[float]] = []
    bad = np.zeros(len(texts), dtype=bool)
    for index, text in enumerate(texts):
        try:
            row = json.loads(text) if text else []
            rows.append([np.nan if each is None else float(each) for each in row])
        except (TypeError, ValueError):
            bad[index] = True
            rows.append([])
    widths = {len(row) for row in rows if row}
    if bad.any() or len(widths) != 1:
        if not quiet:
            which = f" in {work.rows(bad)}" if bad.any() else ""
            work.problem(
                entry.name, f"not a list of k numbers a row{which}; write draws as [1.0, 2.0, ...], equally many"
            )
        return None
    width = widths.pop()
    return np.array([row or [np.nan] * width for row in rows], dtype=np.float64)


def _texts(work: _Work, name: str, spec: Source) -> list[str]:
    """Return the texts of a column, composed or taken over."""
    if spec.constant is not None:
        return [str(spec.constant)] * len(work.raw)
    if spec.compose:
        parts = {found[1]: _as_text(work.raw[found[1]]) for found in _COMPOSE.finditer(spec.compose)}
        out = []
        for index in range(len(work.raw)):

            def fill(found: re.Match[str], index: int = index) -> str:
                text = parts[found[1]][index]
                return text.partition(found[2])[0] if found[2] else text

            out.append(_COMPOSE.sub(fill, spec.compose))
        return out
    column = work.raw[spec.column]
    if column.ndim != 1:
        work.problem(name, f"has the shape {column.shape}; give one text a row")
        return [""] * len(work.raw)
    return _as_text(column)


def _as_text(column: Any) -> list[str]:
    """Return any one-dimensional column as text; whole numbers without a decimal point."""
    kind = column.dtype.kind
    if kind in "SUO":
        return _strings(column)
    mask = _mask(column)
    bare = np.asarray(getattr(column, "unmasked", column))
    texts = [f"{each:.0f}" if isinstance(each, float) and each.is_integer() else str(each) for each in bare.tolist()]
    if mask is not None:
        texts = ["" if hidden else each for each, hidden in zip(texts, mask.tolist(), strict=True)]
    return ["" if each == "nan" and kind == "f" else each for each in texts]


def _clean(work: _Work, name: str, texts: list[str]) -> list[str]:
    """Replace characters that no file format carries (control characters, lone surrogates) and trim the ends."""
    out = [clean_text(each) for each in texts]
    changed = sum(a != b for a, b in zip(texts, out, strict=True))
    if changed:
        work.notes.append(f"{name}: control characters and outer spaces removed in {changed} rows")
    return out


def clean_text(text: str) -> str:
    """Return text that every file format carries unchanged.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        Control characters, line separators, lone surrogates and non-characters as spaces,
        outer spaces removed; everything else as it was.
    """
    if not text.isprintable():
        text = "".join(" " if _unsafe(character) else character for character in text)
    return text.strip()


def _unsafe(character: str) -> bool:
    """Whether a character cannot be written to every format."""
    # U+FFFE and U+FFFF and their kin in each plane are not characters, and XML forbids them.
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or (ord(character) & 0xFFFE) == 0xFFFE


def _flags(work: _Work, name: str, spec: Source) -> npt.NDArray[np.bool_] | None:
    """Return a flag column: False where missing."""
    if spec.constant is not None:
        return np.full(len(work.raw), bool(spec.constant))
    column = work.raw[spec.column]
    mask = _mask(column)
    bare = getattr(column, "unmasked", column)
    kind = bare.dtype.kind
    bad = np.zeros(len(work.raw), dtype=bool)
    out = np.zeros(len(work.raw), dtype=bool)
    if column.ndim != 1:
        work.problem(name, f"has the shape {column.shape}; give one flag a row")
        return None
    if kind == "b":
        out = np.array(bare, dtype=bool)
    elif kind in "iuf":
        numbers = np.nan_to_num(np.array(getattr(bare, "value", bare), dtype=np.float64), nan=0.0)
        if spec.negative == "limit":
            out = numbers < 0
        else:
            out = numbers == 1
            bad = ~np.isin(numbers, (0, 1))
    else:
        texts = [each.strip().lower() for each in _strings(column)]
        if spec.negative == "limit":
            out = np.array([each.startswith(("<", "≤", "-")) and each not in MISSING_TEXTS for each in texts])
        else:
            out = np.array([each in _TRUE_TEXTS for each in texts])
            bad = np.array([each not in _TRUE_TEXTS and each not in _FALSE_TEXTS for each in texts])
    if mask is not None:
        out, bad = out & ~mask, bad & ~mask
    if bad.any():
        work.problem(name, f"values that are neither true nor false in {work.rows(bad)}; write True or False")
        return None
    return out


def _add_limits(work: _Work, out: QTable) -> None:
    """Add the limits that texts such as '<12' carry to the flags of the table."""
    for name, limit in work.limits.items():
        entry = find_column(name)
        if entry is None:  # pragma: no cover - only registry names are collected
            continue
        given = np.asarray(out[name]) if name in out.colnames else np.zeros(len(limit), dtype=bool)
        work.notes.append(f"{name}: {int(limit.sum())} limits read from texts such as '<12'")
        _store(out, entry, given | limit, None)


def _note_edits(work: _Work, out: QTable) -> None:
    """Note the manual edits of an earlier export: the next analysis starts without them."""
    found = {
        "exclusions": int(np.count_nonzero(out["excluded"])) if "excluded" in out.colnames else 0,
        "notes": int(np.count_nonzero(np.asarray(out["note"]) != "")) if "note" in out.colnames else 0,
    }
    if any(found.values()):
        words = " and ".join(f"{number} {what}" for what, number in found.items() if number)
        work.notes.append(
            f"{words} of an earlier export are not applied: open its project to go on, or exclude the clumps again"
        )


def _check_range(work: _Work, entry: Column, data: npt.NDArray[np.float64]) -> None:
    """Note infinite values and values outside the allowed range."""
    infinite = np.isinf(data)
    if infinite.any():
        work.problem(entry.name, f"infinite value in {work.rows(infinite)}; give a finite number or leave it empty")
    low = data < entry.low if entry.low_inclusive else data <= entry.low
    high = data > entry.high if entry.high_inclusive else data >= entry.high
    bad = (low | high) & ~infinite
    if bad.any():
        worst = data[bad][0]
        # Sentinels are the usual reason for an impossible value.
        work.problem(
            entry.name,
            f"impossible value {worst:g} in {work.rows(bad)}; {entry.name} must be {entry.range_text}: correct it, or leave "
            f"it empty where it was not measured (columns={{{entry.name!r}: Source(column=..., missing=({worst:g},))}})",
        )


def _check_draws(work: _Work, out: QTable) -> None:
    """Refuse draws columns of unequal depth: draw j must belong together across them."""
    shapes = {name: out[name].shape[1] for name in out.colnames if name.endswith("_draws") and out[name].ndim == 2}
    if len(set(shapes.values())) > 1:
        words = ", ".join(f"{name} has {depth}" for name, depth in shapes.items())
        work.problem(next(iter(shapes)), f"all draws columns need the same number of draws, but {words}")


def _store(out: QTable, entry: Column, data: Any, mask: npt.NDArray[np.bool_] | None) -> None:
    """Put a column into the table with its unit, description and UCD."""
    column: Any
    hidden = mask is not None and bool(mask.any())
    if entry.unit:
        column = u.Quantity(data, entry.astropy_unit, copy=False)
        if hidden:
            column = Masked(column, mask=mask)
    else:
        column = MaskedColumn(data, mask=mask) if hidden else TableColumn(data)
    out[entry.name] = column
    out[entry.name].info.description = entry.description
    out[entry.name].info.meta = {"ucd": entry.ucd} if entry.ucd else {}


def _foreign(work: _Work, used: set[str], out: QTable) -> list[str]:
    """Keep the columns that nobody asked for, and return their names."""
    kept = []
    for name in work.raw.colnames:
        if name in used:
            continue
        target = name
        while target in out.colnames:
            target = f"{target}_original"
        column = work.raw[name]
        if work.plain_text:
            column = _guess(_strings(column))
        elif column.dtype.kind in "SUO":
            flat = column.reshape(-1) if column.ndim > 1 else column
            column = TableColumn(np.array(_clean(work, name, _strings(flat)), dtype=np.str_).reshape(column.shape))
        with warnings.catch_warnings():
            # QTable cannot hold a masked logarithmic quantity and keeps the plain column, which is what is wanted.
            warnings.simplefilter("ignore", AstropyUserWarning)
            out[target] = column
        kept.append(target)
    return kept


def _guess(texts: list[str]) -> Any:
    """Return a foreign CSV column as numbers when all its cells are numbers, otherwise as text."""
    if any(_IDENTIFIER.fullmatch(each.strip()) for each in texts):
        return np.array([" ".join(each.split()) for each in texts], dtype=np.str_)
    try:
        data = np.array([each or "nan" for each in texts], dtype=np.float64)
    except ValueError:
        lowered = {each.lower() for each in texts}
        if lowered <= {"true", "false"}:
            return np.array([each.lower() == "true" for each in texts])
        return np.array([" ".join(each.split()) for each in texts], dtype=np.str_)
    if np.isnan(data).all():
        return np.array(texts, dtype=np.str_)
    return MaskedColumn(data, mask=np.isnan(data)) if np.isnan(data).any() else data


def content_sha256(table: Table) -> str:
    """Return a hash of the names, units and values of a table, for catalogues that are not files.

    Parameters
    ----------
    table : Table
        Any table of plain columns.

    Returns
    -------
    str
        64 hexadecimal digits; equal tables give equal hashes on every machine.
    """
    digest = hashlib.sha256()
    for name in table.colnames:
        column = table[name]
        mask = _mask(column)
        bare = np.asarray(getattr(getattr(column, "unmasked", column), "value", getattr(column, "unmasked", column)))
        if isinstance(bare, np.ma.MaskedArray):
            bare = bare.data
        digest.update(f"{name}|{getattr(column, 'unit', None)}|{bare.shape}|".encode())
        if bare.dtype.kind in "SUO":
            digest.update("\0".join(map(str, bare.ravel().tolist())).encode("utf-8", "replace"))
        else:
            bare = bare.astype(bare.dtype.newbyteorder("<"))
            if bare.dtype.kind == "f":
                # A NaN and a masked value are the same gap, and NaN has many bit patterns.
                mask = np.isnan(bare) if mask is None else mask | np.isnan(bare)
            if mask is not None and mask.any():
                bare = np.where(mask, np.zeros((), dtype=bare.dtype), bare)
                digest.update(np.packbits(mask).tobytes())
            digest.update(np.ascontiguousarray(bare).tobytes())
    return digest.hexdigest()


def finish(
    table: QTable, raw: Table, *, source: str, sha256: str, column_map: ColumnMap | None, notes: list[str]
) -> QTable:
    """Write the provenance into the metadata of a validated table.

    Parameters
    ----------
    table : QTable
        The validated table; changed in place.
    raw : Table
        What it was made from.
    source : str
        File name or other origin.
    sha256 : str
        Hash of the file, or of the content.
    column_map : ColumnMap or None
        The translation used.
    notes : list of str
        What was assumed on the way.

    Returns
    -------
    QTable
        ``table``.
    """
    earlier = raw.meta.get(META_KEY)
    earlier = earlier if isinstance(earlier, dict) else {}
    table.meta = {key: value for key, value in raw.meta.items() if key not in (META_KEY, "__serialized_columns__")}
    cosmology = earlier.get("cosmology")
    lens_model = earlier.get("lens_model")
    table.meta[META_KEY] = {
        "source": source,
        "sha256": sha256,
        "content_sha256": content_sha256(table),
        "column_map": (column_map.name or "given by the user") if column_map else None,
        "citation": column_map.citation if column_map else str(earlier.get("citation", "")),
        "cosmology": cosmology if isinstance(cosmology, dict) else {},
        "lens_model": lens_model if isinstance(lens_model, str) else "",
        "notes": [*(column_map.notes if column_map else ()), *notes],
    }
    return table
