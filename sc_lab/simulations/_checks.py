"""Arguments of the simulation functions: numbers, types of particles and tables, or a sentence on what to give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError
from sc_lab.simulations.header import N_TYPES
from sc_lab.units import value_in

__all__ = ["instance", "number", "particle_types", "table_with", "whole"]


def number(
    value: Any,
    name: str,
    allowed: str,
    *,
    unit: u.UnitBase = u.one,
    low: float = 0.0,
    closed: bool = False,
    high: float = np.inf,
) -> float:
    """Return one number.

    Parameters
    ----------
    value : float or Quantity
        What was given.
    name : str
        Name of the argument.
    allowed : str
        What to give, for the message.
    unit : Unit
        Unit of bare numbers.
    low, high : float
        Limits.
    closed : bool
        Whether ``low`` itself is allowed.

    Returns
    -------
    float
        The number in the unit.

    Raises
    ------
    InputError
        If it is none, not finite or beyond the limits.
    """
    refused = isinstance(value, (str, bytes, bool)) or value is None
    found = np.array(np.nan) if refused else value_in(value, unit, name)
    if found.ndim or not np.isfinite(found) or not (low <= found if closed else low < found) or not found <= high:
        msg = f"{name} is {_shown(value)}; give {allowed}"
        raise InputError(msg)
    return float(found)


def whole(value: Any, name: str, allowed: str, *, low: int = 0) -> int:
    """Return one whole number.

    Parameters
    ----------
    value : int
        What was given.
    name : str
        Name of the argument.
    allowed : str
        What to give, for the message.
    low : int
        The least that is allowed.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputError
        If it is none, not whole or too low.
    """
    found = number(value, name, allowed, low=low, closed=True)
    if found != int(found):
        msg = f"{name} is {_shown(value)}; give {allowed}"
        raise InputError(msg)
    return int(found)


def particle_types(value: Any, name: str) -> tuple[int, ...]:
    """Return numbers of particle types.

    Parameters
    ----------
    value : int or sequence of int
        What was given.
    name : str
        Name of the argument.

    Returns
    -------
    tuple of int
        The types.

    Raises
    ------
    InputError
        If one is no type.
    """
    given: Sequence[Any] = (value,) if np.ndim(value) == 0 else tuple(value)
    if not all(
        isinstance(each, (int, np.integer)) and not isinstance(each, bool) and 0 <= each < N_TYPES for each in given
    ):
        msg = f"{name} is {_shown(value)}; give types from 0 to 5: 0 gas, 1 dark matter, 4 stars, 5 black holes"
        raise InputError(msg)
    return tuple(int(each) for each in given)


def instance(value: Any, kind: type, name: str, mend: str) -> None:
    """Refuse what is of another class.

    Parameters
    ----------
    value : object
        What was given.
    kind : type
        What is wanted.
    name : str
        Name of the argument.
    mend : str
        Where such an object comes from.

    Raises
    ------
    InputError
        If it is of another class.
    """
    if not isinstance(value, kind):
        msg = f"{name} is a {type(value).__name__}; give a {kind.__name__}, {mend}"
        raise InputError(msg)


def table_with(value: Any, columns: Iterable[str], name: str, mend: str) -> None:
    """Refuse what is no table with some columns.

    Parameters
    ----------
    value : object
        What was given.
    columns : iterable of str
        Columns that it must have.
    name : str
        Name of the argument.
    mend : str
        Where such a table comes from.

    Raises
    ------
    InputError
        If it is no table, or lacks one of them.
    """
    there = getattr(value, "colnames", None)
    if there is None:
        msg = f"{name} is a {type(value).__name__}; give a table, {mend}"
        raise InputError(msg)
    missing = [each for each in columns if each not in there]
    if missing:
        msg = f"{name} has no column {', '.join(missing)}; give a table, {mend}"
        raise InputError(msg)


def _shown(value: Any) -> str:
    """Return a value as messages show it."""
    said = repr(value)
    return said if len(said) <= 60 else said[:57] + "..."
