"""Spectral energy distributions: filters, stellar libraries, model photometry, and posteriors of ages and masses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sc_lab.sed.filters import Filter, available_filters, get_filter, get_filters

__all__ = ["Filter", "available_filters", "get_filter", "get_filters"]

#: Where each public name lives; imported when it is first used.
_HOME = {
    "Filter": "sc_lab.sed.filters",
    "available_filters": "sc_lab.sed.filters",
    "get_filter": "sc_lab.sed.filters",
    "get_filters": "sc_lab.sed.filters",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        msg = f"module 'sc_lab.sed' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}"
        raise AttributeError(msg)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *_HOME})
