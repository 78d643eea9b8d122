"""Keyboard commands inside the plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sc_lab.errors import ScLabError
from sc_lab_widgets._message import Message

if TYPE_CHECKING:
    from sc_lab_widgets._host import Host
    from sc_lab_widgets._pane import Key

__all__ = ["HELP", "KeyBoard"]

#: What each key does, as the help line says it.
HELP = (
    ("click", "select"),
    ("Shift-click", "add to the selection"),
    ("[ and ]", "previous and next candidate"),
    ("Delete", "exclude the selected"),
    ("K", "keep the selected although they lie in the colour box (again: undo that)"),
    ("Escape", "give up a drag; select nothing"),
    ("U", "undo"),
    ("Shift-U", "redo"),
    ("?", "this list"),
)


class KeyBoard:
    """Turns keys pressed inside the plots into edits.

    Parameters
    ----------
    host : Host
        The host whose selection and session the keys act on.
    message : Message
        Where refusals and the list of keys are shown.
    """

    def __init__(self, host: Host, message: Message) -> None:
        self.host, self.message = host, message

    def press(self, key: Key) -> None:
        """Do what a key stands for; other keys do nothing.

        Parameters
        ----------
        key : Key
            The key.
        """
        try:
            self._press(key)
        except ScLabError as error:
            self.message.report(error)

    def _press(self, key: Key) -> None:
        host, session, name = self.host, self.host.session, key.name.lower()
        for panel in host.panels:
            # A panel with keys of its own has them over its figures, and where the pointer is over none.
            if panel.visible and (key.figure in panel.figures or not key.figure) and panel.press(key):
                return
        if not session.read_only:
            self.message.show("")
        if name == "u":
            self.redo() if key.shift else self.undo()
        elif name in ("delete", "backspace"):
            self.exclude()
        elif name == "k":
            self.keep()
        elif name == "escape":
            if session.previewing:
                self.cancel()
            else:
                host.select([])
        elif name in ("[", "]"):
            self.step(1 if name == "]" else -1)
        elif name == "?":
            self.message.show_list(HELP)

    def cancel(self) -> None:
        """Give up the drag in progress: everything returns to where it began."""
        for panel in self.host.panels:
            panel.cancel()
        self.host.session.end_preview(commit=False)
        self.host.refresh()

    def undo(self) -> None:
        """Take the last step back."""
        if self.host.session.can_undo:
            self.host.session.undo()

    def redo(self) -> None:
        """Do the step taken back last again."""
        if self.host.session.can_redo:
            self.host.session.redo()

    def exclude(self, reason: str = "") -> None:
        """Leave the selected clumps out of the sample; those already out come back.

        Parameters
        ----------
        reason : str
            Why, for the record.
        """
        ids = self.host.selected_ids
        if not ids:
            self.message.show("nothing is selected: click a clump, or drag a box around some, first")
            return
        out = set(self.host.population.excluded)
        if all(name in out for name in ids):
            self.host.session.do("restore", ids=ids)
        else:
            self.host.session.do("exclude", ids=[name for name in ids if name not in out], reason=reason)

    def keep(self) -> None:
        """Keep the selected clumps although they lie in the colour box; those already kept are released."""
        ids = self.host.selected_ids
        if not ids:
            self.message.show("nothing is selected: click a clump, or drag a box around some, first")
            return
        kept = set(self.host.population.kept)
        if all(name in kept for name in ids):
            self.host.session.do("unkeep", ids=ids)
        else:
            self.host.session.do("keep", ids=[name for name in ids if name not in kept])

    def step(self, direction: int) -> None:
        """Select the next or previous candidate in the order of the catalogue.

        Parameters
        ----------
        direction : {1, -1}
            Which way.
        """
        rows = [int(row) for row in self.host.population.candidate.nonzero()[0]]
        if not rows:
            return
        now = int(self.host.selection[0]) if len(self.host.selection) else (-1 if direction > 0 else rows[0])
        later = [row for row in rows if (row > now if direction > 0 else row < now)]
        ordered = later or rows
        self.host.select([ordered[0] if direction > 0 else ordered[-1]])
