"""One line for the user: escaped, coloured by kind, read out by screen readers."""

from __future__ import annotations

import html

import ipywidgets as ui

from sc_lab_widgets._report import words_of

__all__ = ["Message"]


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
        self.value = f'<span role="{role}" style="color: {colour}">{html.escape(text)}</span>' if text else ""

    def report(self, error: BaseException) -> None:
        """Show an error as its sentence; an unforeseen one with its type.

        Parameters
        ----------
        error : BaseException
            The error.
        """
        self.show(words_of(error), error=True)
