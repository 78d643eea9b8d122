"""What the panels of one document share: session, population, sources, selection, one update per change."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.session import Session, population_of
from sc_lab_widgets._calm import calm
from sc_lab_widgets._sources import Sources
from sc_lab_widgets._threads import one_thread

if TYPE_CHECKING:
    from sc_lab.population import Population
    from sc_lab_widgets._figures import PlanePlot
    from sc_lab_widgets._pane import BokehPane
    from sc_lab_widgets._panel import Panel

__all__ = ["Host", "as_session"]

#: The slower parts follow at the latest this long after a change [s], where no page says that it has painted.
_PATIENCE = 0.5

#: Where a session's catalogue was read from, for the text that `Panel.code` prints.
_PATHS: weakref.WeakKeyDictionary[Session, str] = weakref.WeakKeyDictionary()


def as_session(source: Any) -> Session:
    """Return the session behind whatever a user hands over.

    Parameters
    ----------
    source : Session, table, str, path or None
        A session, a project file (``.sclab``), a catalogue file, a table, or None for the
        embedded demonstration.

    Returns
    -------
    Session
        The session; a table or a catalogue file gives one in memory.

    Raises
    ------
    InputError
        If the source is of another kind.
    """
    from os import PathLike

    from astropy.table import Table

    if isinstance(source, Session):
        return source
    if source is None:
        from sc_lab.mock import make_population

        return Session(make_population(rng=1).catalog)
    if isinstance(source, (str, PathLike)):
        path = str(source)
        if path.endswith(".sclab"):
            return Session.open(path)
        from sc_lab.catalog import read_catalog

        session = Session(read_catalog(path))
        _PATHS[session] = path
        return session
    if isinstance(source, Table) or type(source).__module__.startswith("pandas"):
        from sc_lab.catalog import validate

        return Session(validate(source))
    msg = (
        f"cannot make a workbench from {type(source).__name__}; give a catalogue (table or file), "
        "a project file (.sclab), a Session, or nothing for the demonstration"
    )
    raise InputError(msg)


#: What a session reports of a step besides the settings, marks and notes that changed.
_BOOKKEEPING = frozenset({"history", "preview"})


class Host:
    """The analysis that all panels of one bokeh document show.

    Parameters
    ----------
    session : Session
        The session; its changes reach the panels through here, once each.

    Attributes
    ----------
    session : Session
        The session.
    population : Population
        The population under the session's settings of this moment.
    selection : ndarray of int
        Rows selected; view state, so neither logged nor undone.
    select_new : bool
        Whether clumps that an edit adds to the list are selected in place of those that were.
    sources : Sources
        Shared data sources.
    planes : dict of str to PlanePlot
        The planes of clumps, by the names of their figures.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.catalog_path = _PATHS.get(session)
        self.sources = Sources()
        self.selection = np.array([], dtype=int)
        self.select_new = False
        self.population: Population = population_of(session)
        self.pane: BokehPane | None = None
        self.panels: list[Panel] = []
        self.planes: dict[str, PlanePlot] = {}
        self._listeners: list[Callable[[], None]] = []
        self._base_listeners: list[Callable[[], None]] = []
        # Callbacks may run beside a running cell (a subshell thread), depending on the ipykernel.
        self._lock = threading.RLock()
        self._loop = _running_loop()
        self._waiting: asyncio.TimerHandle | None = None
        self._changes = self._refined = 0
        self.sources.update(self.population, self.selection)
        owner = weakref.ref(self)

        def follow(_session: Session, changed: frozenset[str]) -> None:
            host = owner()
            if host is None:
                return
            if changed <= _BOOKKEEPING:
                host.note_step()
            else:
                host.refresh()

        self._unsubscribe = session.subscribe(follow)

    def add(self, panel: Panel) -> None:
        """Let a panel follow.

        Parameters
        ----------
        panel : Panel
            The panel; its `refresh` is called at every change while it is visible.
        """
        self.panels.append(panel)

    def on_update(self, listener: Callable[[], None]) -> None:
        """Call a function after the changes of a gesture (status lines and the like).

        Parameters
        ----------
        listener : callable
            Called without arguments.
        """
        self._listeners.append(listener)

    def on_base(self, listener: Callable[[], None]) -> None:
        """Call a function when the layer of all clumps changed (another lens model, say), and now.

        Parameters
        ----------
        listener : callable
            Called without arguments.
        """
        self._base_listeners.append(listener)
        if self.sources.planes:
            listener()

    def refresh(self) -> None:
        """Bring every visible panel up to date and send it as one message.

        In a notebook the rest (bootstrap, table, status lines) follows when the page has painted
        that and nothing new has come: a drag must not wait for it.
        """
        with calm(), self._lock, one_thread():
            before, self.population = self.population, population_of(self.session, previous=self.population)
            if self.population.catalog is not before.catalog:
                self._follow_list(before)
            self._changes += 1
            if self.pane is None:
                self._refresh()
                self.refine()
                return
            at_once = self._loop is None or not self._loop.is_running() or not self.pane.on_screen
            with self.pane.hold():
                self._refresh()
                if at_once:
                    self.refine()
                else:
                    self.pane.once_painted(partial(self._refine_unless_changed, self._changes))
            self.pane.flush()
        if self._loop is not None and not at_once:
            self._loop.call_soon_threadsafe(self._refine_later, self._loop, self._changes)

    def _follow_list(self, before: Population) -> None:
        """Keep the selection when the list of clumps has changed; what is new can be selected instead."""
        index = self.population.index
        new = [row for name, row in index.items() if name not in before.index] if self.select_new else []
        kept = [index[before.ids[row]] for row in self.selection if before.ids[row] in index]
        self.selection = np.array(sorted(new or kept), dtype=int)

    def _refresh(self) -> None:
        if "base" in self.sources.update(self.population, self.selection):
            for listener in self._base_listeners:
                listener()
        for panel in self.panels:
            if panel.visible:
                panel.refresh()

    def _refine_later(self, loop: asyncio.AbstractEventLoop, change: int) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = loop.call_later(_PATIENCE, self._refine_unless_changed, change)

    def _refine_unless_changed(self, change: int) -> None:
        with self._lock:
            if change == self._changes and self._refined != change and self.pane is not None:
                self.refine()

    def note_step(self) -> None:
        """Follow a step that changed no number, such as the one that ends a drag and keeps what it showed.

        Plots and bootstrap stand, or are on their way; only the listeners (undo, status) hear of it.
        """
        with self._lock:
            if self._refined == self._changes:
                for listener in self._listeners:
                    listener()

    def refine(self) -> None:
        """Bring the slower parts of every visible panel up to date; nothing happens where they are."""
        with self._lock, one_thread():
            self._refined = self._changes
            visible = [panel for panel in self.panels if panel.visible]
            # Plots first, in a message of their own: a table makes the longest one.
            for part in ([p for p in visible if p.figures], [p for p in visible if not p.figures]):
                with nullcontext() if self.pane is None else self.pane.hold():
                    for panel in part:
                        panel.refine()
            for listener in self._listeners:
                listener()

    def select(self, rows: Iterable[int], *, add: bool = False) -> None:
        """Select clumps, in every panel.

        Parameters
        ----------
        rows : iterable of int
            Rows of the catalogue.
        add : bool
            Add to the selection (a row already in it leaves it) instead of replacing it.
        """
        new = np.unique(np.fromiter((int(row) for row in rows), dtype=int))
        if add:
            new = np.setxor1d(self.selection, new) if len(new) == 1 else np.union1d(self.selection, new)
        self.selection = new
        self.refresh()

    @property
    def selected_ids(self) -> list[str]:
        """Identifiers of the selected clumps."""
        return [self.population.ids[row] for row in self.selection]

    def close(self) -> None:
        """Stop following the session."""
        self._unsubscribe()
        if self._waiting is not None:
            self._waiting.cancel()
        self.pane = None
        self.panels.clear()
        self.planes.clear()
        self._listeners.clear()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
