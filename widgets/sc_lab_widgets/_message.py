"""What is said to the user in place: escaped, coloured by kind, read out by screen readers."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import ipywidgets as ui

from sc_lab_widgets._report import words_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Message"]

# Two lines fit where a widget has room for one.
_TIGHT = "line-height: 1.3; padding: 2px 0"


class Message(ui.HTML):
    """A line for the user: plain text in, escaped, read out by screen readers."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.layout.display = "none"
        self.add_class("sclab-message")

    def show(self, text: str, *, error: bool = False) -> None:
        """Show a text; an empty one hides the line.

        Parameters
        ----------
        text : str
            Plain text.
        error : bool
            Whether something went wrong.
        """
        self.text = text
        self.layout.display = "" if text else "none"
        role, colour = ("alert", "var(--jp-error-color1, #b00020)") if error else ("status", "inherit")
        self.value = f'<div role="{role}" style="{_TIGHT}; color: {colour}">{html.escape(text)}</div>' if text else ""

    def show_list(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Show a list of keys and what each does, in columns.

        Parameters
        ----------
        pairs : iterable of (str, str)
            Key and text.
        """
        pairs = list(pairs)
        self.show("; ".join(f"{keys}: {text}" for keys, text in pairs))
        items = "".join(f"<div><b>{html.escape(keys)}</b>: {html.escape(text)}</div>" for keys, text in pairs)
        self.value = f'<div role="status" style="{_TIGHT}; columns: 22em; column-gap: 1.5em">{items}</div>'

    def report(self, error: BaseException) -> None:
        """Show an error as its sentence; an unforeseen one with its type.

        Parameters
        ----------
        error : BaseException
            The error.
        """
        self.show(words_of(error), error=True)
