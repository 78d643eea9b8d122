"""What a notebook cell made before: running the cell again closes it, widget tree and all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import ipywidgets as ui

__all__ = ["close_tree", "replace_earlier"]


class _Closable(Protocol):
    def close(self) -> None: ...


@dataclass
class _Run:
    execution: Any
    made: list[_Closable] = field(default_factory=list)


_RUNS: dict[str, _Run] = {}


def _this_cell() -> tuple[str, Any] | None:
    """Return the identity of the running cell and of this run of it, or None outside a notebook."""
    try:
        from IPython import get_ipython  # the notebook is optional

        shell = get_ipython()
        parent = shell.get_parent() if shell is not None else {}
    except (ImportError, AttributeError):
        return None
    cell = (parent.get("metadata") or {}).get("cellId")
    return (cell, (parent.get("header") or {}).get("msg_id")) if cell else None


def replace_earlier(made: _Closable) -> None:
    """Close what an earlier run of this cell made, and remember what this run makes.

    Parameters
    ----------
    made : object
        Anything with a ``close`` method.
    """
    where = _this_cell()
    if where is None:
        return
    cell, execution = where
    run = _RUNS.get(cell)
    if run is None or run.execution != execution:
        for old in run.made if run is not None else ():
            old.close()
        run = _RUNS[cell] = _Run(execution)
    run.made.append(made)


def close_tree(widget: ui.Widget) -> None:
    """Close a widget with all it holds: half a tree would block the reload of the page.

    Parameters
    ----------
    widget : Widget
        The top of the tree.
    """
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for part in (getattr(widget, "layout", None), getattr(widget, "style", None)):
        if isinstance(part, ui.Widget):
            part.close()
    widget.close()
