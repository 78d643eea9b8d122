"""What the edits of the clump list are given, checked: names of clumps, and rows that were measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sc_lab.errors import InputError
from sc_lab.session.clump_rows import ClumpRow, rows_from_json

__all__ = ["names_of", "refuse", "rows_of"]


def names_of(what: str, given: Any, *, one: bool = False) -> list[str]:
    """Return names as a list without repetition, or refuse them in words.

    Parameters
    ----------
    what : str
        The argument that holds them, for the message.
    given : str or list of str
        The names.
    one : bool
        Whether there has to be exactly one.

    Returns
    -------
    list of str
        At least one name.

    Raises
    ------
    InputError
        If it is anything else.
    """
    names = [given] if isinstance(given, str) else given
    sound = isinstance(names, list) and bool(names) and all(isinstance(name, str) and name for name in names)
    if not sound or len(set(names)) != len(names) or (one and len(names) != 1):
        wanted = "one name as text" if one else "at least one name, or a list of different names, as text"
        msg = f"{what} is {json.dumps(given, default=str)[:200]}; give {wanted}"
        raise InputError(msg)
    return list(names)


def rows_of(rows: Any) -> list[ClumpRow]:
    """Return the rows of an edit; none where it carries none.

    Parameters
    ----------
    rows : dict or None
        As `sc_lab.session.clump_rows.rows_from_table` gives them.

    Returns
    -------
    list of ClumpRow
        The rows.
    """
    return [] if rows is None else rows_from_json(rows)


def refuse(what: str, names: Iterable[str], mend: str) -> None:
    """Raise an error that names clumps or columns, if there are any.

    Parameters
    ----------
    what : str
        What is wrong with them.
    names : iterable of str
        The names.
    mend : str
        How to mend it.

    Raises
    ------
    InputError
        If there is a name.
    """
    found = list(names)
    if found:
        shown = ", ".join(map(repr, found[:5])) + (" ..." if len(found) > 5 else "")
        msg = f"{what}: {shown}; {mend}"
        raise InputError(msg)
