"""The session: a frozen document, pure edits, undo of everything and a project file that survives a kill."""

from __future__ import annotations

from sc_lab.session.document import Document
from sc_lab.session.edits import EDITS
from sc_lab.session.session import Session, population_of

__all__ = ["EDITS", "Document", "Session", "population_of"]
