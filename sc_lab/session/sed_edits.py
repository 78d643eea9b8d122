"""The edit that lays SED fits made anew over the clump list; it carries their numbers, so a replay fits nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sc_lab.clumps.sed_columns import is_sed_column
from sc_lab.errors import InputError
from sc_lab.session.clump_rows import row_order, rows_from_json
from sc_lab.session.document import Document, canonical_json

__all__ = ["refit_seds"]


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
    if not isinstance(settings, dict) or not settings:
        msg = f"settings is {str(settings)[:200]}; give the settings of the fits, as SedSettings.record() returns them"
        raise InputError(msg)
    fitted = rows_from_json(rows)
    names = None if ids is None else [ids] if isinstance(ids, str) else ids
    if names is not None and (
        not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names)
    ):
        msg = f"ids is {str(ids)[:200]}; give at least one id as text, or leave it out for every clump"
        raise InputError(msg)
    strangers = [name for name in [*(row.id for row in fitted), *(names or [])] if name not in catalog_ids]
    if strangers:
        msg = f"not on the list: {', '.join(map(repr, strangers[:5]))}; its ids are in the column 'id'"
        raise InputError(msg)
    foreign = [name for name in (fitted[0].columns if fitted else ()) if not is_sed_column(name)]
    if foreign:
        msg = f"an SED fit says nothing of {', '.join(map(repr, foreign[:5]))}; give its own columns alone"
        raise InputError(msg)
    others = [row.id for row in fitted if names is not None and row.id not in names]
    if others:
        msg = f"rows of {', '.join(map(repr, others[:5]))} came with the settings of others; name them in ids"
        raise InputError(msg)
    text = canonical_json(settings)
    kept = {row.id: row for row in doc.seds} | {row.id: row for row in fitted}
    own = {} if names is None else dict(doc.sed_settings) | dict.fromkeys(names, text)
    return doc.replace(
        seds=tuple(sorted(kept.values(), key=row_order)),
        sed_settings=tuple(sorted(own.items())) if names is not None else (("", text),),
    )
