"""The session: one live document about one catalogue, edited, undone, previewed and watched."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from astropy.table import QTable, Table

from sc_lab.errors import InputError, ProjectError, ScLabError
from sc_lab.population.settings import Settings
from sc_lab.session.clump_edits import new_names
from sc_lab.session.clump_rows import row_order
from sc_lab.session.codec import encode_table, fingerprint, kept_as_columns
from sc_lab.session.document import Document, canonical_json, parse_json
from sc_lab.session.edits import apply_edit, describe_edit, plain_arguments
from sc_lab.session.patching import Patcher
from sc_lab.session.project import Project, Step

if TYPE_CHECKING:
    from types import TracebackType

    from sc_lab.population import Population

__all__ = ["History", "Session", "Subscriber", "population_of"]

Subscriber: TypeAlias = "Callable[[Session, frozenset[str]], object]"

_MODEL_COLUMN = re.compile(r"mu_([a-z0-9]+)")


class History:
    """The log of a document: what was done, where the cursor stands, every state on the way.

    Undo is true by construction: it does not compute anything backwards, it goes back to a state
    that was kept. The log only ever grows, because undo and redo are steps of it too; replaying
    it gives the same states and the same cursor.

    Parameters
    ----------
    empty : Document
        The document before the first step.
    ids : frozenset of str
        Ids of the catalogue.
    models : frozenset of str
        Lens models of the catalogue besides the reference.
    """

    def __init__(self, empty: Document, ids: frozenset[str], models: frozenset[str]) -> None:
        self.ids = ids
        self.models = models
        #: Every name that a clump ever had, undone or not: none is given twice.
        self.issued = set(ids)
        self._listed: tuple[Document, frozenset[str]] = (empty, ids)
        self.log: list[Step] = []
        self.states: list[Document] = [empty]
        self.edits: list[Step] = []
        self.cursor = 0
        self.labels = ("", "")  # what undo and redo would do; one object, so that it is read without a lock

    @property
    def document(self) -> Document:
        """The document now."""
        return self.states[self.cursor]

    def after(self, step: Step) -> Document:
        """Return the document that a step would give, changing nothing.

        Parameters
        ----------
        step : dict
            ``name`` and ``arguments``.

        Returns
        -------
        Document
            The document after the step.

        Raises
        ------
        InputError
            If the step cannot be done.
        """
        name, arguments = step["name"], step["arguments"]
        if name in ("undo", "redo"):
            cursor = self.cursor + (1 if name == "redo" else -1)
            if arguments or not 0 <= cursor < len(self.states):
                msg = f"there is nothing to {name}, or it was given arguments: it takes none"
                raise InputError(msg)
            return self.states[cursor]
        again = [each for each in new_names(name, arguments) if each in self.issued]
        if again:
            msg = (
                f"the name {', '.join(map(repr, again[:5]))} belongs to a clump of this session already, or did before "
                "it was undone; take names that Session.new_ids gives"
            )
            raise InputError(msg)
        document = apply_edit(self.document, self.ids_of(self.document), name, arguments)
        self.check_settings(document.settings, document)
        return document

    def ids_of(self, document: Document) -> frozenset[str]:
        """Return the ids of the clump list of a document.

        Parameters
        ----------
        document : Document
            A document of this history.

        Returns
        -------
        frozenset of str
            Those of the catalogue without the removed and with the new ones.
        """
        if not document.clumps and not document.removed:
            return self.ids
        seen, ids = self._listed
        if seen.clumps is not document.clumps or seen.removed is not document.removed:
            ids = self.ids.difference(document.removed).union(row.id for row in document.clumps)
            self._listed = (document, ids)
        return ids

    def accept(self, step: Step, document: Document) -> None:
        """Take a step whose outcome `after` has given.

        Parameters
        ----------
        step : dict
            The step.
        document : Document
            Its outcome.
        """
        if step["name"] == "undo":
            self.cursor -= 1
        elif step["name"] == "redo":
            self.cursor += 1
        else:
            del self.states[self.cursor + 1 :], self.edits[self.cursor :]
            self.states.append(document)
            self.edits.append(step)
            self.cursor += 1
            self.issued.update(new_names(step["name"], step["arguments"]))
        self.log.append(step)
        self.labels = (
            describe_edit(**self.edits[self.cursor - 1]) if self.cursor else "",
            describe_edit(**self.edits[self.cursor]) if self.cursor < len(self.edits) else "",
        )

    def models_of(self, document: Document) -> frozenset[str]:
        """Return the lens models besides the reference that catalogue and measured rows have.

        Parameters
        ----------
        document : Document
            A document of this history.

        Returns
        -------
        frozenset of str
            Their names.
        """
        columns = {row.columns for row in document.clumps}
        return self.models.union(*(_models_among(names) for names in columns))

    def check_settings(self, settings: Settings, document: Document | None = None) -> None:
        """Refuse settings that this catalogue cannot follow.

        Parameters
        ----------
        settings : Settings
            The settings.
        document : Document, optional
            The document that they belong to; that of now by default.

        Raises
        ------
        InputError
            If the catalogue does not have the lens model.
        """
        if not settings.lens_model:
            return
        models = self.models_of(self.document if document is None else document)
        if settings.lens_model not in models:
            has = ", ".join(map(repr, sorted(models))) or "none besides"
            msg = (
                f"the catalogue has no lens model {settings.lens_model!r}; '' is its reference model, and it has {has}"
            )
            raise InputError(msg)


class _Core:
    """What all sessions on one project of this process share."""

    def __init__(self, catalog: QTable, empty: Document, project: Project | None, steps: Sequence[Step]) -> None:
        self.lock = threading.RLock()
        self.catalog = catalog
        self.patcher = Patcher(catalog)
        self.project = project
        self.history = History(empty, _ids_of(catalog), _lens_models_of(catalog))
        self.overlay: dict[str, Any] = {}
        self.settings = empty.settings
        self.subscribers: list[tuple[Session, Subscriber]] = []
        self.errors: list[Exception] = []
        self.uncertain = False
        self.holders = 0
        self.pid = os.getpid()
        self.replay(steps)
        self.settings = self.effective()

    def replay(self, steps: Sequence[Step]) -> None:
        """Take steps that are in the file already."""
        for step in steps:
            try:
                self.history.accept(step, self.history.after(step))
            except ScLabError as error:
                where = self.project.path if self.project is not None else "the log"
                msg = f"step {len(self.history.log) + 1} of {where} cannot be done: {error}"
                raise ProjectError(msg) from error

    def settle(self) -> None:
        """Read the file again after an interrupt that left open whether it has the last step."""
        if self.uncertain and self.project is not None:
            steps = self.project.all_steps()
            self.history = History(self.history.states[0], self.history.ids, self.history.models)
            self.replay(steps)
            self.uncertain = False

    def view(self) -> tuple[Document, Settings]:
        """Return the document with the settings in force, the two belonging together without a lock."""
        document, overlay = self.history.document, self.overlay
        return document, document.settings.replace(**overlay) if overlay else document.settings

    def effective(self) -> Settings:
        """Return the settings of the document with the preview laid over them."""
        return self.view()[1]


#: Projects that this process has open, by real path.
_OPEN: dict[str, _Core] = {}
#: Guards them. It is taken after the lock of a session, never before, and not by the same thread twice.
_OPEN_LOCK = threading.Lock()
#: One entry for each session that has ended and has not been counted off yet.
_ENDED: deque[_Core] = deque()


@contextlib.contextmanager
def _registry() -> Iterator[dict[str, _Core]]:
    """Hold the projects of this process; what ended in the meantime is counted off afterwards."""
    try:
        with _OPEN_LOCK:
            yield _OPEN
    finally:
        _count_off()


class Session:
    """One live document about one catalogue.

    Parameters
    ----------
    catalog : `~astropy.table.QTable`
        A validated catalogue; it is copied, so later changes of yours do not reach the session.
    project : path-like, optional
        Project file. When it exists it must be about the same catalogue and is continued, else it
        is made. Without it everything stays in memory until `save_as`.

    Raises
    ------
    ProjectError
        If the project cannot be used, or is about another catalogue.
    InputError
        If the catalogue is no table or has no usable column ``id``.

    Notes
    -----
    Every method may be called from any thread. Subscribers are called one after the other while
    the session is locked, so they see edits in their order; they must not wait for another thread
    that edits. Reading never waits: whoever holds a lock of his own, while a subscriber waits for
    it, may still ask for document, settings, log and labels. One gesture of the user is one step:
    a drag calls `preview` as often as it likes and `end_preview` once.

    Sessions that this process opens on the same project share everything, so running a notebook
    cell again is safe; the file is let go when the last of them is closed or forgotten.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> session = Session(QTable({"id": ["c1", "c2"], "z": [6.0, 7.0]}))
    >>> session.do("exclude", ids="c2", reason="blend")
    True
    >>> session.undo_label
    'exclude c2'
    >>> session.undo()
    True
    >>> session.document.excluded
    ()
    """

    def __init__(self, catalog: Table, project: str | os.PathLike[str] | None = None) -> None:
        if not isinstance(catalog, Table):
            msg = (
                f"catalog is a {type(catalog).__name__}; give a table as sc_lab.catalog.read_catalog returns it, "
                "or open a project file with Session.open"
            )
            raise InputError(msg)
        with kept_as_columns():
            table = QTable(catalog, copy=True)
        _ids_of(table)
        columns = encode_table(table)
        sha256 = fingerprint(columns)
        empty = Document(catalog_sha256=sha256, catalog_name=_name_of(table))
        if project is None:
            self._attach(_Core(table, empty, None, ()))
            return
        path = _real(project)
        with _registry() as projects:
            if not path.exists():
                core = _Core(table, empty, None, ())
                core.project = Project.create(path, columns, table.meta, empty, ())
                projects[str(path)] = core
                self._attach(core)
                return
            core = _core_at(path)
            found = core.history.document
            if found.catalog_sha256 != sha256:
                core.holders += 1
                _let_go(core)
                msg = (
                    f"{path} is about the catalogue {found.catalog_name!r} "
                    f"({len(core.history.ids)} clumps, contents {found.catalog_sha256[:12]}), "
                    f"not about {empty.catalog_name!r} ({len(table)} clumps, contents {sha256[:12]}); "
                    "choose another project file for it, or continue this one with Session.open"
                )
                raise ProjectError(msg)
            self._attach(core)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Session:
        """Open a project file; the catalogue is inside.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Session
            Read-only, see `read_only_reason`, when another process has it open or when it is
            write-protected.

        Raises
        ------
        ProjectError
            If the file is not a project, is damaged, or comes from a newer version.
        """
        session = cls.__new__(cls)
        with _registry():
            session._attach(_core_at(_real(path)))  # noqa: SLF001
        return session

    def _attach(self, core: _Core) -> None:
        core.holders += 1
        self._core = core
        self._closed = False
        self._finalizer = weakref.finalize(self, _let_go, core)

    # ------------------------------------------------------------------ reading

    @property
    def catalog(self) -> QTable:
        """The catalogue; not to be changed."""
        return self._core.catalog

    @property
    def current_catalog(self) -> QTable:
        """The catalogue with the clumps that were added, measured anew and taken off; not to be changed.

        The very same object until the clump list changes. Without any edit of the list it is `catalog`.
        """
        return self._core.patcher.table(self.document)

    @property
    def clump_ids(self) -> list[str]:
        """Ids of `current_catalog`, in its order."""
        return [str(name) for name in self.current_catalog["id"].tolist()]

    @property
    def contours(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """Vertices (ra, dec) [deg] of the galaxies whose contour was redrawn, by name."""
        return dict(self.document.contours)

    def new_ids(self, number: int, *, prefix: str = "c") -> list[str]:
        """Return names for new clumps that no clump of this session has or ever had.

        Parameters
        ----------
        number : int
            How many.
        prefix : str
            What they begin with.

        Returns
        -------
        list of str
            For instance ``["c0012", "c0013"]``; a name that was undone is not given again.
        """
        issued = list(self._core.history.issued)
        used = [row_order(name) for name in issued]
        first = 1 + max((count for start, count, _ in used if start == prefix), default=0)
        return [f"{prefix}{count:04d}" for count in range(first, first + number)]

    @property
    def document(self) -> Document:
        """The document as it is now, without a preview."""
        return self._core.history.document

    @property
    def settings(self) -> Settings:
        """The settings in force: those of the document, with a running preview laid over them."""
        return self._core.settings

    @property
    def previewing(self) -> bool:
        """Whether a preview is running."""
        return bool(self._core.overlay)

    @property
    def lens_models(self) -> tuple[str, ...]:
        """Names that the setting ``lens_model`` may have; the empty one is the reference."""
        history = self._core.history
        return ("", *sorted(history.models_of(history.document)))

    @property
    def log(self) -> list[Step]:
        """Copy of every step taken, undo and redo among them: ``name`` and ``arguments`` each."""
        return [{"name": s["name"], "arguments": dict(s["arguments"])} for s in list(self._core.history.log)]

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self._core.history.cursor > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return self._core.history.cursor < len(self._core.history.edits)

    @property
    def undo_label(self) -> str:
        """What `undo` would take back, in a few words; empty when there is nothing."""
        return self._core.history.labels[0]

    @property
    def redo_label(self) -> str:
        """What `redo` would do again, in a few words; empty when there is nothing."""
        return self._core.history.labels[1]

    @property
    def path(self) -> Path | None:
        """The project file, or None in memory."""
        return None if self._core.project is None else self._core.project.path

    @property
    def read_only(self) -> bool:
        """Whether edits are refused."""
        return bool(self.read_only_reason)

    @property
    def read_only_reason(self) -> str:
        """Why edits are refused, in words; empty when they are not."""
        return "" if self._core.project is None else self._core.project.read_only_reason

    @property
    def lock(self) -> threading.RLock:
        """The lock of the session; hold it to read several things that belong together."""
        return self._core.lock

    @property
    def subscriber_errors(self) -> tuple[Exception, ...]:
        """What subscribers have raised so far, latest last."""
        return tuple(self._core.errors)

    # ------------------------------------------------------------------ editing

    def do(self, name: str, /, **arguments: Any) -> bool:
        """Make an edit: apply it, write it down, tell the subscribers.

        Parameters
        ----------
        name : str
            Name of the edit, see `sc_lab.session.EDITS`.
        **arguments : Any
            Its arguments.

        Returns
        -------
        bool
            False when the edit changes nothing; it is then not a step.

        Raises
        ------
        InputError
            If the edit cannot be done. Nothing has changed then.
        ReadOnlyError
            If the project is read-only.
        ProjectError
            If the project file cannot be written. Nothing has changed then.
        """
        # Through JSON and back: what is applied now is exactly what a replay will read.
        plain = parse_json(canonical_json(plain_arguments(arguments)), f"the arguments of {name!r}")
        return self._take({"name": name, "arguments": plain})

    def undo(self) -> bool:
        """Take the last step back.

        Returns
        -------
        bool
            False when there is nothing to take back.
        """
        with self._core.lock:
            self._check()
            return self.can_undo and self._take({"name": "undo", "arguments": {}})

    def redo(self) -> bool:
        """Do again what was taken back last.

        Returns
        -------
        bool
            False when there is nothing to do again.
        """
        with self._core.lock:
            self._check()
            return self.can_redo and self._take({"name": "redo", "arguments": {}})

    def _take(self, step: Step) -> bool:
        core = self._core
        with core.lock:
            self._check()
            before = core.history.document
            after = core.history.after(step)
            moves = step["name"] in ("undo", "redo")
            if after == before and not moves:
                return False
            if core.project is not None:
                core.uncertain = True  # an interrupt from here on leaves open whether the file has the step
                try:
                    core.project.append(step)
                except ScLabError:
                    core.uncertain = False
                    raise
            core.history.accept(step, after)
            core.uncertain = False
            was_previewing = bool(core.overlay)
            if step["name"] == "set":
                core.overlay = {k: v for k, v in core.overlay.items() if k not in step["arguments"]}
            elif step["name"] == "reset":
                core.overlay = {}
            self._tell(before, {"history"} | ({"preview"} if was_previewing != bool(core.overlay) else set()))
            return True

    def _check(self) -> None:
        """Refuse to edit a session that is closed or read-only, and settle what an interrupt left open."""
        core = self._core
        self._check_open()
        if core.project is not None:
            core.project.check_writable()
            core.settle()

    def _check_open(self) -> None:
        if self._closed:
            msg = "this session has been closed; open the project again with Session.open"
            raise ProjectError(msg)

    # ------------------------------------------------------------------ preview

    def preview(self, **settings: Any) -> None:
        """Show settings without writing them down, while a drag lasts.

        Parameters
        ----------
        **settings : Any
            Names and values; they add to those of earlier calls.

        Raises
        ------
        InputError
            If a name is unknown or a value impossible. Nothing has changed then.
        ReadOnlyError
            Never: a project that is read-only can be previewed, not committed.
        """
        plain = parse_json(canonical_json(plain_arguments(settings)), "the preview")
        core = self._core
        with core.lock:
            self._check_open()
            overlay = {**core.overlay, **plain}
            core.history.check_settings(core.history.document.settings.replace(**overlay))
            was_previewing = bool(core.overlay)
            core.overlay = overlay
            self._tell(core.history.document, set() if was_previewing == bool(overlay) else {"preview"})

    def end_preview(self, commit: bool = True) -> bool:
        """End the drag: one step for all of it, or none.

        Parameters
        ----------
        commit : bool
            Keep what the preview shows, as one `set` step. False goes back.

        Returns
        -------
        bool
            Whether a step was taken.

        Raises
        ------
        ReadOnlyError
            If the project is read-only; the preview has ended all the same.
        ProjectError
            If the project file cannot be written; the preview has ended all the same.
        """
        core = self._core
        with core.lock:
            if not core.overlay:
                return False
            document, shown = core.history.document.settings.to_dict(), core.settings.to_dict()
            changes = {name: shown[name] for name in core.overlay if shown[name] != document[name]}
            if commit and changes:
                try:
                    return self._take({"name": "set", "arguments": changes})
                except ScLabError:
                    self._drop_preview()
                    raise
            self._drop_preview()
            return False

    def _drop_preview(self) -> None:
        self._core.overlay = {}
        self._tell(self._core.history.document, {"preview"})

    # ------------------------------------------------------------------ watching

    def subscribe(self, function: Subscriber) -> Callable[[], None]:
        """Have a function called after each change of the document or of the preview.

        Parameters
        ----------
        function : callable
            Called as ``function(session, changed)``. ``changed`` holds the names of the settings
            whose value in force has changed, ``excluded``, ``kept``, ``notes``, ``clumps`` (the list
            or a measured row), ``seds`` (SED fits or their settings), ``contours``, ``observation``, and ``history``
            (a step was taken: undo and redo may have changed) and ``preview`` (a preview began
            or ended).

        Returns
        -------
        callable
            Call it to end the subscription; a second call does nothing.

        Notes
        -----
        When a subscriber raises, the edit stands and the others are called all the same; then
        the error is raised from the call that made the edit, and kept in `subscriber_errors`.
        """
        entry = (self, function)
        core = self._core
        with core.lock:
            core.subscribers.append(entry)

        def unsubscribe() -> None:
            with core.lock:
                core.subscribers[:] = [other for other in core.subscribers if other is not entry]

        return unsubscribe

    def _tell(self, before: Document, changed: set[str]) -> None:
        core = self._core
        after = core.history.document
        settings_before, core.settings = core.settings, core.effective()
        if settings_before != core.settings:
            changed |= {n for n in Settings.names() if getattr(settings_before, n) != getattr(core.settings, n)}
        names = ("excluded", "kept", "notes", "clumps", "contours", "observation")
        changed |= {n for n in names if getattr(before, n) != getattr(after, n)}
        if before.removed != after.removed:
            changed.add("clumps")
        if before.seds != after.seds or before.sed_settings != after.sed_settings:
            changed |= {"clumps", "seds"}
        if not changed:
            return
        errors: list[Exception] = []
        for entry in list(core.subscribers):
            if not any(entry is other for other in core.subscribers):
                continue  # an earlier subscriber has just ended it
            session, function = entry
            try:
                function(session, frozenset(changed))
            except Exception as error:  # noqa: BLE001
                error.add_note("raised by a subscriber of the session; the edit itself stands")
                errors.append(error)
        if errors:
            core.errors.extend(errors)
            del core.errors[:-100]
            if len(errors) == 1:
                raise errors[0]
            msg = "subscribers of the session have raised; the edit itself stands"
            raise ExceptionGroup(msg, errors)

    # ------------------------------------------------------------------ files

    def save_as(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a new project file and go on there.

        Parameters
        ----------
        path : path-like
            A file that does not exist yet.

        Raises
        ------
        ProjectError
            If it exists or cannot be written; the session is then as before.
        """
        core = self._core
        target = _real(path)
        with core.lock, _registry() as projects:
            self._check_open()
            new = Project.create(
                target, encode_table(core.catalog), core.catalog.meta, core.history.states[0], core.history.log
            )
            new.new_steps()
            old, core.project = core.project, new
            core.uncertain = False
            for key in [key for key, other in projects.items() if other is core]:
                del projects[key]
            projects[str(target)] = core
            if old is not None:
                old.close()
        with core.lock:
            self._tell(core.history.document, {"history"})

    def refresh(self) -> bool:
        """Read what another process has written since, and take the project over once it is free.

        Returns
        -------
        bool
            Whether anything has changed: new steps, or edits are possible now.

        Raises
        ------
        ProjectError
            If the file cannot be read.
        """
        core = self._core
        with core.lock:
            self._check_open()
            if core.project is None or not core.project.read_only_reason:
                return False
            before = core.history.document
            freed = core.project.try_to_write()
            steps = core.project.new_steps()
            core.replay(steps)
            if steps or freed:
                self._tell(before, {"history"})
            return bool(steps) or freed

    def close(self) -> None:
        """End the session: its subscriptions, and the file once no other session uses it."""
        with self._core.lock:
            if self._closed:
                return
            self._closed = True
            self._core.subscribers[:] = [entry for entry in self._core.subscribers if entry[0] is not self]
            self._finalizer()

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.close()

    def __repr__(self) -> str:
        """Say what the session is about in one line."""
        where = "in memory" if self.path is None else f"in {self.path}"
        how = ", read-only" if self.read_only else ""
        steps = len(self._core.history.log)
        return f"<Session on {self.document.catalog_name!r}, {len(self.catalog)} clumps, {steps} steps, {where}{how}>"


def population_of(
    source: Session | Document, catalog: QTable | None = None, *, previous: Population | None = None
) -> Population:
    """Return the population that a session or a document describes.

    Parameters
    ----------
    source : Session or Document
        A session, with its preview; or a document, which needs its catalogue.
    catalog : `~astropy.table.QTable`, optional
        The catalogue as it was opened; that of the session when left out. The document lays the
        edits of the clump list over it.
    previous : Population, optional
        An earlier population of the same source: what its clumps have in common with those of now
        is taken over instead of computed again, with the same numbers.

    Returns
    -------
    Population
        What `sc_lab.population.analyse` gives.

    Raises
    ------
    InputError
        If a document comes without a catalogue.
    """
    from sc_lab.population import analyse

    if isinstance(source, Session):
        document, settings = source._core.view()  # noqa: SLF001
        patcher = source._core.patcher if catalog is None else Patcher(catalog)  # noqa: SLF001
    elif catalog is None:
        msg = "a document does not hold its catalogue; give it as the second argument"
        raise InputError(msg)
    else:
        document, settings, patcher = source, source.settings, Patcher(catalog)
    table = patcher.checked(document)
    options: dict[str, Any] = {name: getattr(settings, name) for name in Settings.names()}
    options |= {"excluded": dict(document.excluded), "kept": document.kept, "notes": dict(document.notes)}
    if previous is None:
        return analyse(table, **options)
    return previous.replace(catalog=table, **options)


# ---------------------------------------------------------------------- helpers


def _core_at(path: Path) -> _Core:
    """Return the shared state of a project, opening the file if this process has not yet."""
    core = _OPEN.get(str(path))
    if core is not None and core.project is not None and core.project.same_file():
        return core
    project = Project.open(path)
    try:
        steps = project.new_steps()
        core = _Core(project.table(), project.empty, project, steps)
    except BaseException:
        project.close()
        raise
    _OPEN[str(path)] = core
    return core


def _let_go(core: _Core) -> None:
    """Count one session less, and close the project after the last."""
    if core.pid != os.getpid():
        return  # a forked child: file and locks are its parent's
    _ENDED.append(core)
    _count_off()


def _count_off() -> None:
    """Count ended sessions off, unless somebody holds the projects, who then does it.

    The garbage collector ends sessions too, in any thread and at any moment: waiting here could
    be waiting for oneself.
    """
    while _ENDED and _OPEN_LOCK.acquire(blocking=False):
        try:
            while _ENDED:
                core = _ENDED.popleft()
                core.holders -= 1
                if core.holders > 0:
                    continue
                for key in [key for key, other in _OPEN.items() if other is core]:
                    del _OPEN[key]
                if core.project is not None:
                    core.project.close()
        finally:
            _OPEN_LOCK.release()


def _real(path: str | os.PathLike[str]) -> Path:
    """Return the one absolute path of a file."""
    return Path(os.path.realpath(path))


def _ids_of(catalog: Table) -> frozenset[str]:
    """Return the ids of a catalogue, or refuse it."""
    if "id" not in catalog.colnames:
        msg = f"the catalogue has no column 'id', only {catalog.colnames}; read it with sc_lab.catalog.read_catalog"
        raise InputError(msg)
    values = catalog["id"].tolist()
    if not all(isinstance(value, str) and value for value in values):
        msg = "the column 'id' of the catalogue has entries that are masked, empty or not text; give each clump an id"
        raise InputError(msg)
    ids = frozenset(values)
    if len(ids) != len(values):
        twice = [value for value, times in Counter(values).items() if times > 1][:5]
        msg = f"the column 'id' of the catalogue names {', '.join(map(repr, twice))} more than once; ids must differ"
        raise InputError(msg)
    return ids


def _lens_models_of(catalog: Table) -> frozenset[str]:
    """Return the lens models that a catalogue has besides its reference."""
    return _models_among(tuple(catalog.colnames))


@lru_cache(maxsize=64)
def _models_among(columns: tuple[str, ...]) -> frozenset[str]:
    """Return the lens models besides the reference that columns belong to."""
    found = (_MODEL_COLUMN.fullmatch(name) for name in columns)
    return frozenset(match[1] for match in found if match) - {"t", "err"}


def _name_of(catalog: Table) -> str:
    """Return what to call a catalogue in messages."""
    about = catalog.meta.get("sc_lab")
    source = about.get("source") if isinstance(about, Mapping) else None
    return source if isinstance(source, str) and source else "a catalogue in memory"
