"""The edits: pure functions of a document and JSON arguments, found by name in one registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError
from sc_lab.population.settings import SETTING_UNITS, Settings
from sc_lab.session import clump_edits, sed_edits
from sc_lab.session.document import Document
from sc_lab.units import value_in

__all__ = ["EDITS", "Edit", "apply_edit", "describe_edit", "plain_arguments"]

Edit: TypeAlias = Callable[..., Document]

_SHOWN_IDS = 5


def set_settings(doc: Document, _catalog_ids: Collection[str], /, **settings: Any) -> Document:
    """Change settings.

    Parameters
    ----------
    doc : Document
        The document before.
    _catalog_ids : collection of str
        Ids of the catalogue.
    **settings : Any
        Names and values, see `Settings`.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If a name is unknown or a value impossible.
    """
    return doc.replace(settings=doc.settings.replace(**settings))


def reset(doc: Document, _catalog_ids: Collection[str], /) -> Document:
    """Set every setting back to its default; exclusions and notes stay.

    Parameters
    ----------
    doc : Document
        The document before.
    _catalog_ids : collection of str
        Ids of the catalogue.

    Returns
    -------
    Document
        The document after.
    """
    return doc.replace(settings=Settings())


def exclude(doc: Document, catalog_ids: Collection[str], /, ids: Any, reason: str = "") -> Document:
    """Take clumps out of the analysis.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the catalogue.
    ids : str or list of str
        Clumps to take out.
    reason : str
        Why. Left empty, a clump that is out already keeps its reason.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown or the reason is not text.
    """
    _check_text("reason", reason)
    now = dict(doc.excluded)
    for name in _known(ids, catalog_ids):
        now[name] = reason or now.get(name, "")
    return doc.replace(excluded=tuple(sorted(now.items())))


def restore(doc: Document, catalog_ids: Collection[str], /, ids: Any) -> Document:
    """Take excluded clumps back into the analysis.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the catalogue.
    ids : str or list of str
        Clumps to take back; those that are not excluded stay as they are.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown.
    """
    back = set(_known(ids, catalog_ids))
    return doc.replace(excluded=tuple(pair for pair in doc.excluded if pair[0] not in back))


def keep(doc: Document, catalog_ids: Collection[str], /, ids: Any) -> Document:
    """Keep clumps in the sample although the colour box says globular cluster.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the catalogue.
    ids : str or list of str
        Clumps to keep.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown.
    """
    return doc.replace(kept=tuple(sorted({*doc.kept, *_known(ids, catalog_ids)})))


def unkeep(doc: Document, catalog_ids: Collection[str], /, ids: Any) -> Document:
    """Let the colour box decide again about clumps that were kept.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the catalogue.
    ids : str or list of str
        Clumps to release.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If an id is unknown.
    """
    gone = set(_known(ids, catalog_ids))
    return doc.replace(kept=tuple(name for name in doc.kept if name not in gone))


def note(doc: Document, catalog_ids: Collection[str], /, id: Any, text: str) -> Document:  # noqa: A002
    """Write a note on a clump, replacing the one it has.

    Parameters
    ----------
    doc : Document
        The document before.
    catalog_ids : collection of str
        Ids of the catalogue.
    id : str
        The clump.
    text : str
        The note; the empty text removes it.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If the id is unknown or the note is not text.
    """
    _check_text("text", text)
    if not isinstance(id, str):
        msg = f"id is {id!r}; give the id of one clump as text"
        raise InputError(msg)
    now = dict(doc.notes)
    for name in _known(id, catalog_ids):
        now[name] = text
    return doc.replace(notes=tuple(sorted((name, said) for name, said in now.items() if said)))


#: Every edit there is. A project file names edits; whatever is not in here is refused.
EDITS: Mapping[str, Edit] = {
    "set": set_settings,
    "reset": reset,
    "exclude": exclude,
    "restore": restore,
    "keep": keep,
    "unkeep": unkeep,
    "note": note,
    "add_clump": clump_edits.add_clump,
    "remove_clump": clump_edits.remove_clump,
    "move_clump": clump_edits.move_clump,
    "split_clump": clump_edits.split_clump,
    "merge_clumps": clump_edits.merge_clumps,
    "measure_clumps": clump_edits.measure_clumps,
    "edit_contour": clump_edits.edit_contour,
    "refit_seds": sed_edits.refit_seds,
    "drop_second_history": sed_edits.drop_second_history,
}
#: What the edits of the clump list are called where an undo is offered.
_WORDS = {
    "add_clump": "add",
    "remove_clump": "remove",
    "move_clump": "move",
    "split_clump": "split",
    "merge_clumps": "merge",
    "drop_second_history": "drop the second history",
}


def apply_edit(doc: Document, catalog_ids: Collection[str], name: str, arguments: Mapping[str, Any]) -> Document:
    """Return the document after the edit called ``name``.

    Parameters
    ----------
    doc : Document
        The document before; never changed.
    catalog_ids : collection of str
        Ids of the catalogue.
    name : str
        A name in `EDITS`.
    arguments : mapping
        Plain JSON values by name.

    Returns
    -------
    Document
        The document after.

    Raises
    ------
    InputError
        If there is no such edit, or it does not take these arguments or values.
    """
    edit = EDITS.get(name) if isinstance(name, str) else None
    if edit is None:
        msg = f"there is no edit named {name!r}; the edits are {', '.join(EDITS)}"
        raise InputError(msg)
    try:
        inspect.signature(edit).bind(doc, catalog_ids, **arguments)
    except TypeError as error:
        takes = [p.name for p in inspect.signature(edit).parameters.values() if p.kind is not p.POSITIONAL_ONLY]
        msg = f"the edit {name!r} cannot be done: {error}; it takes {', '.join(takes) or 'no arguments'}"
        raise InputError(msg) from None
    return edit(doc, catalog_ids, **arguments)


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as plain JSON values in house units.

    Parameters
    ----------
    arguments : mapping
        As given from Python: arrays, tuples, numpy scalars and, for the settings that have a
        unit, Quantities are understood.

    Returns
    -------
    dict
        The same with lists, numbers and text only, where that is possible.

    Raises
    ------
    UnitMismatchError
        If a Quantity has a unit of the wrong kind.
    """
    out: dict[str, Any] = {}
    for name, value in arguments.items():
        unit = SETTING_UNITS.get(name)
        if unit is not None and isinstance(value, u.Quantity):
            value = value_in(value, unit, name)  # noqa: PLW2901
        out[name] = _plain(value)
    return out


def describe_edit(name: str, arguments: Mapping[str, Any]) -> str:
    """Return what an edit does in a few words, for labels such as "Undo: exclude 3 clumps".

    Parameters
    ----------
    name : str
        A name in `EDITS`.
    arguments : mapping
        Its arguments.

    Returns
    -------
    str
        Plain text; ids and texts come from the user and must be escaped where HTML is made.
    """
    if name == "set":
        shown = [
            f"{key} = {value!r}" if isinstance(value, (int, float, str)) or value is None else key
            for key, value in arguments.items()
        ]
        return "set " + ", ".join(shown)
    if name == "note":
        return (
            f"note on {arguments.get('id')}" if arguments.get("text") else f"remove the note on {arguments.get('id')}"
        )
    if name == "edit_contour":
        return f"redraw the contour of {arguments.get('galaxy')}"
    if name == "measure_clumps":
        return "measure the clumps"
    if name == "refit_seds":
        own = arguments.get("ids")
        names = [own] if isinstance(own, str) else own or []
        return f"refit the SED of {names[0]}" if len(names) == 1 else f"refit {len(names) or 'all'} SEDs"
    name, what = _WORDS.get(name, name), arguments.get("ids", arguments.get("id"))
    if what is not None:
        names = [what] if isinstance(what, str) else what
        return f"{name} {names[0]}" if len(names) == 1 else f"{name} {len(names)} clumps"
    return "reset the settings" if name == "reset" else name


def _plain(value: Any) -> Any:
    """Return ``value`` without numpy, tuples and sets; what is not understood is left for JSON to refuse."""
    if isinstance(value, np.ma.MaskedArray) and np.any(value.mask):
        return value  # a masked id or number has no value to log
    if isinstance(value, (np.generic, np.ndarray)) and not isinstance(value, u.Quantity):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    return value


def _known(ids: Any, catalog_ids: Collection[str]) -> list[str]:
    """Return ``ids`` as a list, or refuse those that the catalogue does not have."""
    names = [ids] if isinstance(ids, str) else ids
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        msg = f"ids is {ids!r}; give the id of a clump, or a list of at least one id, as text"
        raise InputError(msg)
    unknown = [name for name in names if name not in catalog_ids]
    if unknown:
        shown = ", ".join(map(repr, unknown[:_SHOWN_IDS])) + (" ..." if len(unknown) > _SHOWN_IDS else "")
        msg = (
            f"{len(unknown)} of {len(names)} ids are not in the catalogue: {shown}; "
            f"it has {len(catalog_ids)} clumps, whose ids are in its column 'id'"
        )
        raise InputError(msg)
    return list(names)


def _check_text(name: str, value: Any) -> None:
    """Refuse what is not text, or text that no file could hold."""
    if not isinstance(value, str):
        msg = f"{name} is {value!r}; give text"
        raise InputError(msg)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        msg = f"{name} holds half a character (a lone surrogate); give text that can be written as UTF-8"
        raise InputError(msg) from None
