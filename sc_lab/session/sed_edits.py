"""The edits that lay SED fits made anew over the clump list; they carry their numbers, so a replay fits nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sc_lab.clumps.sed_columns import is_second_history, is_sed_column
from sc_lab.errors import InputError
from sc_lab.session.clump_arguments import names_of, refuse, rows_of
from sc_lab.session.clump_rows import ClumpRow, row_order
from sc_lab.session.document import Document, canonical_json

__all__ = ["drop_second_history", "refit_seds"]


def refit_seds(doc: Document, catalog_ids: Collection[str], /, rows: Any, settings: Any, ids: Any = None) -> Document:
    """Replace what SED fits say of clumps.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    rows : dict
        The fitted columns and no others, as `sc_lab.session.refitting.refit_seds` makes them.
    settings : dict
        Settings of the fits, as `sc_lab.clumps.SedSettings.record` gives them.
    ids : list of str, optional
        Clumps that have these settings for themselves from now on; left out, every clump has them, and those that
        are added later.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown, or a row holds a column that no SED fit gives.
    """
    text = _settings(settings)
    fitted = rows_of(rows)
    names = None if ids is None else names_of("ids", ids)
    strangers = [name for name in [*(row.id for row in fitted), *(names or [])] if name not in catalog_ids]
    refuse("not on the list", strangers, "its ids are in the column 'id'")
    foreign = [name for name in (fitted[0].columns if fitted else ()) if not is_sed_column(name)]
    refuse("an SED fit says nothing of", foreign, "give its own columns alone")
    others = [row.id for row in fitted if names is not None and row.id not in names]
    refuse("rows that came with the settings of others", others, "name them in ids")
    kept = {row.id: row for row in doc.seds} | {row.id: row for row in fitted}
    own = {} if names is None else dict(doc.sed_settings) | dict.fromkeys(names, text)
    return doc.replace(
        seds=tuple(sorted(kept.values(), key=row_order)),
        sed_settings=tuple(sorted(own.items())) if names is not None else (("", text),),
    )


def drop_second_history(
    doc: Document, catalog_ids: Collection[str], /, columns: Any = None, units: Any = None, settings: Any = None
) -> Document:
    """Take back what fits with a second star-formation history say, and make none from now on.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    columns, units : list of str, optional
        Columns of a second history that the opened catalogue or its measured rows have, with their units; every
        clump is silent in them.
    settings : dict, optional
        Settings without the second history in place of those with it, by id; under the empty one those of all.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If a column is none of a second history, an id is unknown, or settings are none.
    """
    silent = [] if columns is None else names_of("columns", columns)
    refuse("not of a second history", [name for name in silent if not is_second_history(name)], "give no others")
    given = {} if settings is None else settings
    if not isinstance(given, dict):
        msg = f"settings is {str(settings)[:200]}; give records of settings by id"
        raise InputError(msg)
    strangers = [str(name) for name in given if name and name not in catalog_ids]
    refuse("not on the list", strangers, "its ids are in the column 'id'")
    said = dict(doc.sed_settings) | {name: _settings(record) for name, record in given.items()}
    of_row = {row.id: _without_second(row) for row in doc.seds}
    if silent:
        none = [None] * len(silent)
        table = {"columns": ["id", *silent], "units": ["", *(units or [])], "data": [[i, *none] for i in catalog_ids]}
        of_row |= {row.id: _joined(of_row.get(row.id), row) for row in rows_of(table)}
    return doc.replace(
        seds=tuple(sorted((row for row in of_row.values() if row.columns), key=row_order)),
        sed_settings=tuple(sorted(said.items())),
    )


# ---------------------------------------------------------------------- helpers


def _settings(settings: Any) -> str:
    """Return settings as the text that a document keeps."""
    if not isinstance(settings, dict) or not settings:
        msg = f"settings is {str(settings)[:200]}; give the settings of the fits, as SedSettings.record() returns them"
        raise InputError(msg)
    return canonical_json(settings)


def _without_second(row: ClumpRow) -> ClumpRow:
    """Return a row without the columns of a second history."""
    kept = [each for each in zip(row.columns, row.units, row.values, strict=True) if not is_second_history(each[0])]
    columns, units, values = zip(*kept, strict=True) if kept else ((), (), ())
    return ClumpRow(row.id, tuple(columns), tuple(units), tuple(values))


def _joined(row: ClumpRow | None, more: ClumpRow) -> ClumpRow:
    """Return a row with more columns."""
    if row is None:
        return more
    return ClumpRow(row.id, row.columns + more.columns, row.units + more.units, row.values + more.values)
