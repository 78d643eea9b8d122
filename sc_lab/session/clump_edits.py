"""The edits of the clump list: pure functions that carry what was measured, so that a replay needs no pixels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sc_lab.errors import InputError
from sc_lab.session.clump_arguments import names_of, refuse, rows_of
from sc_lab.session.clump_rows import row_order
from sc_lab.session.document import Document, canonical_json, check_vertices

__all__ = [
    "add_clump",
    "edit_contour",
    "measure_clumps",
    "merge_clumps",
    "move_clump",
    "new_names",
    "remove_clump",
    "split_clump",
]


def add_clump(doc: Document, catalog_ids: Collection[str], /, ids: Any, rows: Any, observation: Any = None) -> Document:
    """Add measured clumps to the list.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    ids : str or list of str
        Names of the new clumps; never used before.
    rows : dict
        Their measured rows, and those of neighbours that were fitted anew with them, as
        `sc_lab.session.clump_rows.rows_from_table` gives them.
    observation : dict, optional
        What they were measured on, when that differs from what the document says.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If a name is taken, or a row is missing or not allowed.
    """
    return _changed(doc, catalog_ids, new=names_of("ids", ids), gone=[], rows=rows, observation=observation)


def remove_clump(
    doc: Document, catalog_ids: Collection[str], /, ids: Any, rows: Any = None, observation: Any = None
) -> Document:
    """Take clumps off the list; what is said of them goes with them, and comes back with an undo.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    ids : str or list of str
        The clumps.
    rows : dict, optional
        Rows of neighbours that were fitted anew without them.
    observation : dict, optional
        As for `add_clump`.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown, or a row is not allowed.
    """
    return _changed(doc, catalog_ids, new=[], gone=names_of("ids", ids), rows=rows, observation=observation)


def move_clump(doc: Document, catalog_ids: Collection[str], /, id: Any, rows: Any, observation: Any = None) -> Document:  # noqa: A002 - the key of the stored step
    """Put a clump elsewhere; it keeps its name.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    id : str
        The clump.
    rows : dict
        Its row as measured there, and those of its old and new neighbours.
    observation : dict, optional
        As for `add_clump`.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If the id is unknown, or a row is missing or not allowed.
    """
    (name,) = names_of("id", id, one=True)
    if name not in {row.id for row in rows_of(rows)}:
        msg = f"the rows of the move lack that of {name!r}, the clump that moves; give its row as measured there"
        raise InputError(msg)
    return _changed(doc, catalog_ids, new=[], gone=[], rows=rows, observation=observation)


def split_clump(
    doc: Document,
    catalog_ids: Collection[str],
    /,
    id: Any,  # noqa: A002 - the key of the stored step
    into: Any,
    rows: Any,
    observation: Any = None,
) -> Document:
    """Replace a clump by two or more.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    id : str
        The clump.
    into : list of str
        Names of the new clumps; never used before.
    rows : dict
        Their rows, and those of neighbours that were fitted anew.
    observation : dict, optional
        As for `add_clump`.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If the id is unknown, a name is taken, or a row is missing or not allowed.
    """
    parts = names_of("into", into)
    if len(parts) < 2:
        msg = f"a clump is split into two or more; got {parts}"
        raise InputError(msg)
    return _changed(doc, catalog_ids, new=parts, gone=names_of("id", id, one=True), rows=rows, observation=observation)


def merge_clumps(
    doc: Document, catalog_ids: Collection[str], /, ids: Any, into: Any, rows: Any, observation: Any = None
) -> Document:
    """Replace two or more clumps by one.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    ids : list of str
        The clumps.
    into : str
        Name of the new one; never used before.
    rows : dict
        Its row, and those of neighbours that were fitted anew.
    observation : dict, optional
        As for `add_clump`.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown, the name is taken, or a row is missing or not allowed.
    """
    gone = names_of("ids", ids)
    if len(gone) < 2:
        msg = f"two or more clumps are merged; got {gone}"
        raise InputError(msg)
    return _changed(
        doc, catalog_ids, new=names_of("into", into, one=True), gone=gone, rows=rows, observation=observation
    )


def measure_clumps(doc: Document, catalog_ids: Collection[str], /, rows: Any, observation: Any = None) -> Document:
    """Replace rows of clumps that were measured anew where they are.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    rows : dict
        The rows.
    observation : dict, optional
        As for `add_clump`.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown, or a row is not allowed.
    """
    return _changed(doc, catalog_ids, new=[], gone=[], rows=rows, observation=observation)


def edit_contour(
    doc: Document,
    catalog_ids: Collection[str],
    /,
    galaxy: Any,
    contour: Any,
    rows: Any = None,
    observation: Any = None,
) -> Document:
    """Redraw the contour of a galaxy.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the list as it is.
    galaxy : str
        The galaxy.
    contour : list of (float, float) or None
        Vertices (ra, dec) [deg, ICRS]; None goes back to the contour that the galaxy came with.
    rows : dict, optional
        Rows of clumps that now belong to another galaxy.
    observation : dict, optional
        As for `add_clump`.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If the contour is not a polygon on the sky, or a row is not allowed.
    """
    (name,) = names_of("galaxy", galaxy, one=True)
    now = dict(doc.contours)
    if contour is None:
        now.pop(name, None)
    else:
        now[name] = check_vertices(contour)
    doc = doc.replace(contours=tuple(sorted(now.items())))
    return _changed(doc, catalog_ids, new=[], gone=[], rows=rows, observation=observation)


def new_names(name: str, arguments: Any) -> list[str]:
    """Return the names that an edit gives to new clumps.

    Parameters
    ----------
    name : str
        Name of the edit.
    arguments : mapping
        Its arguments.

    Returns
    -------
    list of str
        Empty for an edit that makes no clump, and for arguments that are none.
    """
    if not isinstance(name, str):
        return []
    key = {"add_clump": "ids", "split_clump": "into", "merge_clumps": "into"}.get(name, "")
    given = arguments.get(key, [])
    given = [given] if isinstance(given, str) else given
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []


# ---------------------------------------------------------------------- helpers


def _changed(
    doc: Document, catalog_ids: Collection[str], *, new: list[str], gone: list[str], rows: Any, observation: Any
) -> Document:
    """Return the document with some clumps new, some gone and some rows measured anew."""
    refuse("not on the list", [name for name in gone if name not in catalog_ids], "its ids are in the column 'id'")
    taken = [name for name in new if name in catalog_ids or name in doc.removed]
    refuse("used already", taken, "take names that Session.new_ids gives")
    measured = rows_of(rows)
    having = {row.id for row in measured}
    refuse("without a measured row", [name for name in new if name not in having], "give the row of every new clump")
    fresh, left = set(new), set(gone)
    strangers = [row.id for row in measured if (row.id not in catalog_ids and row.id not in fresh) or row.id in left]
    refuse("measured and yet not on the list", strangers, "give rows of clumps that the edit adds or keeps")
    kept = {row.id: row for row in doc.clumps if row.id not in left}
    kept.update((row.id, row) for row in measured)
    changes: dict[str, Any] = {"clumps": tuple(sorted(kept.values(), key=row_order))}
    # A measured row says what its SED says too: fits of the clump before it changed are of other light.
    changes["seds"] = tuple(row for row in doc.seds if row.id not in having and row.id not in left)
    if left:
        changes |= {
            "removed": tuple(sorted({*doc.removed, *left})),
            "excluded": tuple(pair for pair in doc.excluded if pair[0] not in left),
            "kept": tuple(name for name in doc.kept if name not in left),
            "notes": tuple(pair for pair in doc.notes if pair[0] not in left),
            "sed_settings": tuple(pair for pair in doc.sed_settings if pair[0] not in left),
        }
    if observation is not None:
        if not isinstance(observation, dict):
            msg = f"observation is {str(observation)[:200]}; give names and values of what was observed, as JSON"
            raise InputError(msg)
        changes["observation"] = canonical_json(observation)
    return doc.replace(**changes)
