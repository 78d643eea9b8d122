"""LaTeX tables with asymmetric errors and limits, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from sc_lab.catalog.access import flags, texts, values
from sc_lab.catalog.columns import Column, find_column
from sc_lab.errors import InputError
from sc_lab.export.provenance import record_json

__all__ = ["latex_escape", "latex_table"]

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}

_HEADS = {
    "id": "ID",
    "z": "$z$",
    "mu": r"$\mu$",
    "mu_t": r"$\mu_{\rm t}$",
    "r_eff": r"$R_{\rm eff}$",
    "mass": "$M_*$",
    "age_onset": "Age",
    "sigma_mass": r"$\Sigma_M$",
    "dynamical_age": r"$\Pi$",
    "z_form": r"$z_{\rm form}$",
    "a_v": "$A_V$",
    "abs_mag_v": "$M_V$",
    "sfr": "SFR",
}
_UNITS = {
    "solMass": r"$M_\odot$",
    "pc": "pc",
    "Myr": "Myr",
    "solMass / pc2": r"$M_\odot\,{\rm pc}^{-2}$",
    "solMass / yr": r"$M_\odot\,{\rm yr}^{-1}$",
    "deg": "deg",
    "mag": "mag",
}
_DEFAULT = ("id", "field", "z", "mu", "r_eff", "mass", "age_onset", "sigma_mass", "dynamical_age", "z_form")
#: Limits of a radius or a flux are upper ones; what a limit on the radius makes a lower one.
_LOWER_LIMITS = frozenset({"sigma_mass", "dynamical_age"})
#: Flags of columns that have none of their own name.
_LIMIT_FLAGS = {"dynamical_age": "r_eff_is_limit"}


def latex_escape(text: str) -> str:
    r"""Return text in which LaTeX finds no command.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text with every special character escaped.

    Examples
    --------
    >>> print(latex_escape("50% & more"))
    50\% \& more
    """
    return "".join(_ESCAPES.get(character, character) for character in text)


def latex_table(
    table: Table,
    columns: Sequence[str] | None = None,
    *,
    style: str = "deluxetable",
    caption: str = "",
    label: str = "tab:clumps",
) -> str:
    r"""Return a catalogue as a LaTeX table.

    Parameters
    ----------
    table : Table
        A catalogue.
    columns : sequence of str, optional
        Canonical names; errors and limit flags join their column by themselves. None =
        the usual ones that the catalogue has.
    style : {"deluxetable", "tabular"}
        The AASTeX environment, or a plain one.
    caption : str
        Plain text of the caption.
    label : str
        Label for cross references.

    Returns
    -------
    str
        Values as ``$1.2^{+0.3}_{-0.1}$``, limits as ``$<15$``, missing ones as ``\nodata``
        (or dots); the provenance as comments above.

    Raises
    ------
    InputError
        If a column is unknown or the style is.
    """
    if style not in ("deluxetable", "tabular"):
        msg = f"style is {style!r}; the styles are 'deluxetable' and 'tabular'"
        raise InputError(msg)
    columns = [columns] if isinstance(columns, str) else columns
    names = [name for name in _DEFAULT if name in table.colnames] if columns is None else list(columns)
    entries = []
    for name in names:
        entry = find_column(name)
        if entry is None or name not in table.colnames or entry.draws:
            msg = f"column {name!r} cannot be set in LaTeX; the catalogue has {', '.join(table.colnames)}"
            raise InputError(msg)
        entries.append(entry)
    if not entries:
        msg = "no column to set; name some with columns="
        raise InputError(msg)
    missing = r"\nodata" if style == "deluxetable" else r"$\cdots$"
    cells = [_column_cells(table, entry, missing) for entry in entries]
    rows = [" & ".join(row) + r" \\" for row in zip(*cells, strict=True)]
    return "\n".join(_frame(entries, rows, record_json(table.meta), style=style, caption=caption, label=label)) + "\n"


def _frame(
    entries: Sequence[Column], rows: list[str], record: str, *, style: str, caption: str, label: str
) -> list[str]:
    """Return the lines of the environment around the rows."""
    heads = [_HEADS.get(each.name, latex_escape(each.name)) for each in entries]
    units = [f"({_UNITS.get(each.unit, latex_escape(each.unit))})" if each.unit else "" for each in entries]
    spec = "".join("l" if each.kind == "text" else "c" for each in entries)
    comment = f"% sc_lab: {record}"
    if style == "deluxetable":
        head = " & ".join(f"\\colhead{{{name}}}" for name in heads)
        second = " & ".join(f"\\colhead{{{unit}}}" for unit in units)
        rows = [*rows[:-1], rows[-1].removesuffix(r" \\")]
        return [
            comment,
            f"\\begin{{deluxetable*}}{{{spec}}}",
            f"\\tablecaption{{{latex_escape(caption)}\\label{{{latex_escape(label)}}}}}",
            f"\\tablehead{{{head} \\\\ {second}}}",
            "\\startdata",
            *rows,
            "\\enddata",
            "\\end{deluxetable*}",
        ]
    return [
        comment,
        "\\begin{table*}",
        f"\\caption{{{latex_escape(caption)}}}\\label{{{latex_escape(label)}}}",
        f"\\begin{{tabular}}{{{spec}}}",
        "\\hline",
        " & ".join(heads) + r" \\",
        " & ".join(units) + r" \\",
        "\\hline",
        *rows,
        "\\hline",
        "\\end{tabular}",
        "\\end{table*}",
    ]


def _column_cells(table: Table, entry: Column, missing: str) -> list[str]:
    """Return the cells of one column."""
    if entry.kind == "text":
        return [latex_escape(each) for each in texts(table, entry.name)]
    if entry.kind == "flag":
        return ["yes" if each else "no" for each in flags(table, entry.name)]
    centre = values(table, entry.name)
    low, high = (_side(table, entry.name, end) for end in ("lo", "hi"))
    limit_name = _LIMIT_FLAGS.get(entry.name, f"{entry.name}_is_limit")
    limit = flags(table, limit_name) if find_column(limit_name) else np.zeros(len(table), dtype=bool)
    sign = ">" if entry.name in _LOWER_LIMITS else "<"
    digits = {"deg": 6}.get(entry.unit)
    return [
        _cell(v, lo, hi, sign if is_limit else "", missing, digits)
        for v, lo, hi, is_limit in zip(centre.tolist(), low.tolist(), high.tolist(), limit.tolist(), strict=True)
    ]


def _side(table: Table, name: str, end: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return one side of the errors of a column, NaN where there is none."""
    for each in (f"{name}_err_{end}", f"{name}_err"):
        if find_column(each) is not None and each in table.colnames:
            return values(table, each)
    return np.full(len(table), np.nan)


def _cell(value: float, low: float, high: float, sign: str, missing: str, digits: int | None) -> str:
    """Return one number with its errors."""
    if math.isnan(value):
        return missing
    if digits is not None:
        return f"${value:.{digits}f}$"
    power = math.floor(math.log10(abs(value))) if value else 0
    scale, tail = (10.0**power, rf"\times10^{{{power}}}") if power >= 4 or power <= -4 else (1.0, "")
    value, low, high = value / scale, low / scale, high / scale
    if sign:
        return f"${sign}{_rounded(value, _places([], value))}{tail}$"
    sizes = [each for each in (low, high) if math.isfinite(each) and each > 0]
    places = _places(sizes, value)
    if math.isnan(low) or math.isnan(high):
        return f"${_rounded(value, places)}{tail}$"
    body = f"{_rounded(value, places)}^{{+{_rounded(high, places)}}}_{{-{_rounded(low, places)}}}"
    return f"${body}{tail}$"


def _places(sizes: list[float], value: float) -> int:
    """Return the decimal places that show two digits of the smaller error, or three of the value."""
    if sizes:
        return min(max(1 - math.floor(math.log10(min(sizes))), 0), 6)
    return min(max(2 - (math.floor(math.log10(abs(value))) if value else 0), 0), 6)


def _rounded(value: float, places: int) -> str:
    """Return a number with fixed decimal places."""
    return f"{value:.{places}f}"
