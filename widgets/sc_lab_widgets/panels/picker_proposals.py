"""Proposed clumps: from detection, from the residual, from a region file; accepted or rejected by the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab_widgets._style import ORANGE
from sc_lab_widgets.panels.picker_markers import fitted

if TYPE_CHECKING:
    from sc_lab_widgets.panels.picker import ClumpPicker

__all__ = ["Proposal", "Proposals"]

#: A detection nearer than this to a clump on the list is no news [px of the reference band].
_SAME = 2.0


@dataclass(frozen=True)
class Proposal:
    """A place where a clump may be: pixel of the reference band, sky [deg], and why."""

    x: float
    y: float
    ra: float
    dec: float
    note: str
    provenance: str = "auto"


class Proposals:
    """The proposals of a picker and which of them are selected.

    Parameters
    ----------
    picker : ClumpPicker
        The picker.
    """

    def __init__(self, picker: ClumpPicker) -> None:
        self.picker = picker
        self.items: list[Proposal] = []
        self.picked: set[int] = set()

    @property
    def x(self) -> np.ndarray:
        """Pixels of the reference band, shape (n,)."""
        return np.array([item.x for item in self.items], dtype=float)

    @property
    def y(self) -> np.ndarray:
        """Pixels of the reference band, shape (n,)."""
        return np.array([item.y for item in self.items], dtype=float)

    # ---- where they come from --------------------------------------------------------------
    def detect(self, *, wait: bool = True) -> None:
        """Look for clumps inside the contour.

        Parameters
        ----------
        wait : bool
            Return when they are there; otherwise they come later, and nothing else waits for them.
        """
        picker = self.picker
        galaxy = picker.galaxy
        picker.message.show("looking for clumps …")
        picker.background.ask("proposals", lambda: picker.bench.detect(galaxy), self._take_detections, wait=wait)

    def _take_detections(self, table: Any) -> None:
        bench = self.picker.bench
        snr, (known_x, known_y) = fitted(table, "snr"), bench.places
        items = self._placed(table, [f"detected, S/N {value:.1f}" for value in snr])
        new = [p for p in items if not (np.hypot(known_x - p.x, known_y - p.y) < _SAME).any()]
        self.show(new, f"{len(new)} new of {len(items)} detections: accept (A) or reject them")

    def find_splits(self, *, wait: bool = True) -> None:
        """Look for second components in the residual.

        Parameters
        ----------
        wait : bool
            As for `detect`.
        """
        self.picker.message.show("looking for second components …")
        self.picker.background.ask("proposals", self.picker.bench.propose_splits, self._take_splits, wait=wait)

    def _take_splits(self, table: Any) -> None:
        gain = fitted(table, "dbic")
        items = self._placed(
            table, ["second component" + (f", ΔBIC {value:.0f}" if np.isfinite(value) else "") for value in gain]
        )
        here = int(self.picker.box.contains(*(np.array([getattr(p, axis) for p in items]) for axis in "xy")).sum())
        words = f"{here} second components proposed here: accept (A) or reject them"
        if len(items) > here:
            words += f"; {len(items) - here} more elsewhere in the field"
        self.show(items, words)

    def take_positions(self, ra: np.ndarray, dec: np.ndarray, notes: list[str]) -> None:
        """Propose given positions.

        Parameters
        ----------
        ra, dec : ndarray
            Positions [deg].
        notes : list of str
            Where each comes from.
        """
        items = self._placed({"ra": ra, "dec": dec}, notes, "added")
        ny, nx = self.picker.bench.reference.shape
        inside = [p for p in items if -0.5 <= p.x < nx - 0.5 and -0.5 <= p.y < ny - 0.5]
        words = f"{len(inside)} positions read: accept (A) or reject them"
        if len(inside) < len(items):
            words += f"; {len(items) - len(inside)} more lie outside the images"
        self.show(inside, words)

    def _placed(self, table: Any, notes: list[str], provenance: str = "auto") -> list[Proposal]:
        if not len(notes):
            return []
        ra, dec = (fitted(table, name) if hasattr(table, "colnames") else table[name] for name in ("ra", "dec"))
        x, y = self.picker.bench.reference.to_pixel(ra, dec)
        rows = zip(np.asarray(x, float), np.asarray(y, float), ra, dec, notes, strict=True)
        return [Proposal(float(a), float(b), float(c), float(d), note, provenance) for a, b, c, d, note in rows]

    # ---- what becomes of them --------------------------------------------------------------
    def show(self, items: list[Proposal], words: str = "") -> None:
        """Show other proposals.

        Parameters
        ----------
        items : list of Proposal
            The proposals.
        words : str
            What to say.
        """
        self.items, self.picked = items, set()
        if words:
            self.picker.message.show(words)
        self.update()

    def pick(self, at: int | None, *, add: bool = False) -> None:
        """Select a proposal.

        Parameters
        ----------
        at : int or None
            Which; None selects none.
        add : bool
            Add to the selection, or take out of it, instead of replacing it.
        """
        chosen = set() if at is None else {at}
        self.picked = self.picked ^ chosen if add else chosen
        self.update()

    def update(self) -> None:
        """Bring the cut-outs up to date."""
        colours = [ORANGE if i in self.picked else "#ffffff" for i in range(len(self.items))]
        notes = [item.note for item in self.items]
        with self.picker.held():
            self.picker.view.proposals.data = {"x": self.x, "y": self.y, "color": colours, "note": notes}

    def _wanted(self) -> set[int]:
        """Return the selected proposals, or all of this cut-out."""
        wanted = self.picked or set(np.flatnonzero(self.picker.box.contains(self.x, self.y)).tolist())
        if not wanted:
            msg = "there are no proposals here: press Detect or Propose splits first"
            raise InputError(msg)
        return wanted

    def accept(self) -> list[str]:
        """Take the selected proposals as clumps, or all of this cut-out.

        Returns
        -------
        list of str
            Names of the new clumps.

        Raises
        ------
        InputError
            If there is none.
        """
        wanted = self._wanted()
        taken = [self.items[i] for i in sorted(wanted)]
        left = [item for i, item in enumerate(self.items) if i not in wanted]
        galaxy = self.picker.galaxy
        home = None if galaxy is None else galaxy.id
        with self.picker.held():
            names: list[str] = []
            refused: dict[int, str] = {}
            for kind in dict.fromkeys(item.provenance for item in taken):
                numbers = [i for i, item in enumerate(taken) if item.provenance == kind]
                places = [(taken[i].ra, taken[i].dec) for i in numbers]
                new, not_new = self.picker.bench.add_those_possible(places, galaxy=home, provenance=kind)
                names += new
                refused |= {numbers[i]: why for i, why in not_new.items()}
            self.items, self.picked = left + [taken[i] for i in refused], set()
            self.update()
        words = f"{len(names)} clumps added"
        if refused:
            words += f"; {len(refused)} could not be measured, the first because: {next(iter(refused.values()))}"
        self.picker.message.show(words, error=bool(refused) and not names)
        return names

    def reject(self) -> None:
        """Drop the selected proposals, or all of this cut-out."""
        wanted = self._wanted()
        left = [item for i, item in enumerate(self.items) if i not in wanted]
        self.show(left, f"{len(wanted)} proposals dropped")
