"""Errors of callbacks, shown in place instead of vanishing in the notebook's log."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import traitlets

from sc_lab.errors import ScLabError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Reporting", "close_dress", "raise_errors", "words_of"]

_raising = [False]


@contextlib.contextmanager
def raise_errors(*, on: bool = True) -> Iterator[None]:
    """Let callback errors through while the block runs, so that a test fails where a user would read a message."""
    before, _raising[0] = _raising[0], on
    try:
        yield
    finally:
        _raising[0] = before


def words_of(error: BaseException) -> str:
    """Text of an error for its reader: our own errors explain themselves, others need their kind named."""
    text = str(error).strip()
    if isinstance(error, ScLabError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def close_dress(widget: Any) -> None:
    """Close the layout and style that ipywidgets made for a widget: it keeps them, and their traffic, for ever."""
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if part is not None:
            part.close()


class Reporting(traitlets.HasTraits):
    """Mixin of widgets whose callbacks may fail: keeps the last error and its words, never the traceback on screen."""

    error = traitlets.Unicode("", help="what the last failing callback said, or nothing").tag(sync=True)
    last_error: BaseException | None = None

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Show an exception of the block in place and go on (tests: `raise_errors` lets it through)."""
        try:
            yield
        except Exception as error:
            self.last_error = error
            self.error = words_of(error)
            if _raising[0]:
                raise

    def clear_error(self) -> None:
        """Take the message away."""
        self.last_error = None
        self.error = ""
