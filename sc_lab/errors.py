"""The exception tree: every refusal says what was given, what is allowed and how to mend it."""

from __future__ import annotations

__all__ = [
    "CatalogError",
    "CosmologyMismatchError",
    "InputError",
    "OptionalDependencyError",
    "ProjectError",
    "ReadOnlyError",
    "ScLabError",
    "ScLabWarning",
    "UnitMismatchError",
]


class ScLabError(Exception):
    """Base of every error that SC Lab raises on purpose."""


class InputError(ScLabError, ValueError):
    """A value, array or option that a function cannot use."""


class UnitMismatchError(InputError):
    """A quantity in a unit of the wrong kind."""


class CosmologyMismatchError(InputError):
    """Two inputs computed with different cosmologies."""


class CatalogError(InputError):
    """A catalogue that does not meet the column registry."""


class ProjectError(ScLabError):
    """A project file that cannot be opened, read or written."""


class ReadOnlyError(ProjectError):
    """An edit of a project that another process holds."""


class OptionalDependencyError(ScLabError, ImportError):
    """A feature whose optional package is not installed."""


class ScLabWarning(UserWarning):
    """Something the user should know although the result stands."""
