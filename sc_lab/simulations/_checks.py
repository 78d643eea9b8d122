"""Arguments of the simulation functions: numbers, types of particles and tables, or a sentence on what to give."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError
from sc_lab.simulations.header import N_TYPES
from sc_lab.units import value_in

__all__ = [
    "array",
    "checked",
    "choice",
    "count",
    "flag",
    "groups",
    "halo_model",
    "instance",
    "number",
    "optional",
    "particle_types",
    "positive",
    "scalar",
    "seed",
    "snapshot",
    "table",
    "table_with",
    "text",
    "whole",
]

P = ParamSpec("P")
R = TypeVar("R")
#: Takes a value and the name of the argument; raises where it cannot be used.
Rule = Callable[[Any, str], object]


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
    low : float
        The least that is allowed.
    closed : bool
        Whether ``low`` itself is allowed.
    high : float
        The most that is allowed.

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


def checked(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that looks at arguments before a function does.

    Parameters
    ----------
    **rules : callable
        By argument, what raises `InputError` for a value that cannot be used.

    Returns
    -------
    callable
        The decorator.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:
                return function(*args, **kwargs)  # which says what is wrong with the call
            for name, rule in rules.items():
                if name in given:
                    rule(given[name], name)
            return function(*args, **kwargs)

        return call

    return decorate


# ---------------------------------------------------------------------- rules


def snapshot(value: Any, name: str) -> None:
    """Refuse what is no snapshot.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        Name of the argument.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    from sc_lab.simulations.snapshot import Snapshot

    instance(value, Snapshot, name, "from read_snapshot")


def groups(value: Any, name: str) -> None:
    """Refuse what are no groups.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        Name of the argument.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    from sc_lab.simulations.groups import Groups

    instance(value, Groups, name, "from find_groups")


def halo_model(value: Any, name: str) -> None:
    """Refuse what is no model of haloes.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        Name of the argument.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    from sc_lab.simulations.halos import HaloModel

    instance(value, HaloModel, name, "with the cosmology")


def table(*columns: str, mend: str = "from measure_clusters") -> Rule:
    """Return what refuses all but tables with some columns.

    Parameters
    ----------
    *columns : str
        Columns that it must have.
    mend : str
        Where such a table comes from.

    Returns
    -------
    callable
        Takes a value and the name of the argument.
    """
    return lambda value, name: table_with(value, columns, name, mend)


def choice(*names: str) -> Rule:
    """Return what refuses all but some words.

    Parameters
    ----------
    *names : str
        The words.

    Returns
    -------
    callable
        Takes a value and the name of the argument.
    """
    said = " or ".join(map(repr, names)) if len(names) == 2 else ", ".join(map(repr, names))

    def rule(value: Any, name: str) -> None:
        if not isinstance(value, str) or value not in names:
            msg = f"{name} is {_shown(value)}; give {said}"
            raise InputError(msg)

    return rule


def text(value: Any, name: str) -> None:
    """Refuse what is no word.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        Name of the argument.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    if not isinstance(value, str):
        msg = f"{name} is {_shown(value)}; give a word"
        raise InputError(msg)


def flag(value: Any, name: str) -> None:
    """Refuse what is neither True nor False.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        Name of the argument.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    if not isinstance(value, (bool, np.bool_)):
        msg = f"{name} is {_shown(value)}; give True or False"
        raise InputError(msg)


def count(*, low: int = 0) -> Rule:
    """Return what refuses all but whole numbers from one on.

    Parameters
    ----------
    low : int
        The least that is allowed.

    Returns
    -------
    callable
        Takes a value and the name of the argument.
    """
    return lambda value, name: whole(value, name, f"a whole number from {low} on", low=low)


def positive(unit: u.UnitBase = u.one, *, words: str = "a number above 0") -> Rule:
    """Return what refuses all but one number above 0.

    Parameters
    ----------
    unit : Unit
        Unit of bare numbers.
    words : str
        What to give, for the message.

    Returns
    -------
    callable
        Takes a value and the name of the argument.
    """
    return lambda value, name: number(value, name, words, unit=unit)


def scalar(low: float, words: str, *, unit: u.UnitBase = u.one, closed: bool = True, high: float = np.inf) -> Rule:
    """Return what refuses all but one number within limits.

    Parameters
    ----------
    low : float
        The least that is allowed.
    words : str
        What to give, for the message.
    unit : Unit
        Unit of bare numbers.
    closed : bool
        Whether ``low`` itself is allowed.
    high : float
        The most that is allowed.

    Returns
    -------
    callable
        Takes a value and the name of the argument.
    """
    return lambda value, name: number(value, name, words, unit=unit, low=low, closed=closed, high=high)


def array(
    unit: u.UnitBase = u.one,
    *,
    words: str,
    low: float = -np.inf,
    closed: bool = True,
    shape: tuple[int | None, ...] | None = None,
) -> Rule:
    """Return what refuses all but numbers within limits, of some shape.

    Parameters
    ----------
    unit : Unit
        Unit of bare numbers.
    words : str
        What to give, for the message.
    low : float
        The least that is allowed.
    closed : bool
        Whether ``low`` itself is allowed.
    shape : tuple, optional
        The shape, None for an axis of any length.

    Returns
    -------
    callable
        Takes a value and the name of the argument.
    """

    def rule(value: Any, name: str) -> None:
        found = np.array(np.nan) if isinstance(value, (str, bytes)) else value_in(value, unit, name)
        good = (
            bool(found.size)
            and bool(np.isfinite(found).all())
            and bool((found >= low if closed else found > low).all())
        )
        fits = shape is None or (
            found.ndim == len(shape)
            and all(want in (None, have) for want, have in zip(shape, found.shape, strict=True))
        )
        if not (good and fits):
            msg = f"{name} is {_shown(value)}; give {words}"
            raise InputError(msg)

    return rule


def seed(value: Any, name: str) -> None:
    """Refuse what no generator of random numbers begins with.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        Name of the argument.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    try:
        np.random.default_rng(value)
    except (TypeError, ValueError):
        msg = f"{name} is {_shown(value)}; give a whole number from 0 on, or a numpy Generator"
        raise InputError(msg) from None


def optional(rule: Rule) -> Rule:
    """Return a rule that lets None pass.

    Parameters
    ----------
    rule : callable
        What holds for anything but None.

    Returns
    -------
    callable
        Takes a value and the name of the argument.
    """
    return lambda value, name: None if value is None else rule(value, name)


def _shown(value: Any) -> str:
    """Return a value as messages show it."""
    said = " ".join(repr(value).split())
    return said if len(said) <= 60 else said[:57] + "..."
