"""From the clump that is shown to the list: the same settings for one clump or for all, as one step of the session."""

from __future__ import annotations

import asyncio
import html
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import ipywidgets as ui

from sc_lab.errors import InputError, ScLabError
from sc_lab.session.refitting import drop_second_history, recorded_cosmology, refit_seds, sed_rows
from sc_lab_widgets._cells import close_tree
from sc_lab_widgets.panels.sed_choice import list_problem, other_tau

if TYPE_CHECKING:
    from collections.abc import Callable

    from sc_lab.clumps import SedSettings
    from sc_lab.session import Session
    from sc_lab_widgets.panels.sed_choice import Choice

__all__ = ["Apply"]

#: Seconds between two looks at how far the fits are.
_PERIOD: Final = 0.2
_ONE: Final = "give this clump the mass and age of this fit in the list, as one step that U takes back"
_COMPARE: Final = (
    "fit every clump of the list with these settings and with this τ too, as one step that U takes back: histograms then "
    "show the second history dashed"
)
_DROP: Final = "take the second history out of the list, as one step that U takes back; the first one stays as it is"
_OTHER: Final = "a second τ goes with an exponential history: choose that first"
_ALL: Final = "fit every clump of the list with these settings, as one step that U takes back"


class Apply:
    """Buttons that fit clumps of the session anew, with one history or two, a bar, and a way to stop.

    Parameters
    ----------
    session : Session
        The session.
    ask : callable
        Called with whether all clumps are meant; returns the settings and the identifiers, None for all.
    report : callable
        Called with errors.

    Attributes
    ----------
    one, all, compare, stop : Button
        For the clump that is shown, for every clump, for every clump with a second history too (or without it again),
        and to give up.
    bar : FloatProgress
        How far the fits are.
    words : HTML
        The same in words.
    widget, status : Widget
        The buttons in a row, and what is said of their work.
    """

    def __init__(
        self,
        session: Session,
        ask: Callable[[bool], tuple[SedSettings, list[str] | None]],
        report: Callable[[BaseException], None],
    ) -> None:
        self._session, self._ask, self._report = session, ask, report
        #: Called when fits begin: what others said of their work is old news then.
        self.begun: Callable[[], None] = lambda: None
        self._pool: ThreadPoolExecutor | None = None
        self._future: Future[None] | None = None
        self._cancel = threading.Event()
        self._counted = (0, 0)
        self._asked: tuple[SedSettings, list[str] | None]
        self._timer: asyncio.TimerHandle | None = None
        auto = {"width": "auto", "padding": "0 8px"}
        self.one = ui.Button(description="Apply to this clump", tooltip=_ONE, layout=dict(auto))
        self.all = ui.Button(description="Apply to all clumps", tooltip=_ALL, layout=dict(auto))
        self.compare = ui.Button(description="Compare with τ = 10 Myr", layout=dict(auto))
        self.stop = ui.Button(description="Cancel fits", tooltip="stop; nothing has changed then", layout=dict(auto))
        self.bar = ui.FloatProgress(value=0.0, min=0.0, max=1.0, layout={"width": "120px"})
        self.words = ui.HTML()
        self.one.on_click(lambda _button: self.begin(every=False))
        self.all.on_click(lambda _button: self.begin(every=True))
        self.compare.on_click(lambda _button: self.compare_or_drop())
        self.stop.on_click(lambda _button: self.cancel())
        self._second = ""
        self._refused = ""
        self.widget: ui.Widget = ui.HBox([self.one, self.all, self.compare])
        # In a line of its own: buttons must not move while something is under way.
        self.status: ui.Widget = ui.HBox([self.bar, self.stop, self.words])
        self._refuse_compare = False
        self._show(running=False)

    @property
    def running(self) -> bool:
        """Whether fits are under way."""
        return self._future is not None

    def follow(self, choice: Choice, histories: tuple[str, ...]) -> None:
        """Let the buttons say what they would do, and why they cannot.

        Parameters
        ----------
        choice : Choice
            What the controls say.
        histories : tuple of str
            The second histories that the list has, such as ``tau10``.
        """
        second = self._second = histories[0] if histories else ""
        self._refused = list_problem(choice)
        why_not = self._refused or ("" if choice.sfh == "exponential" else _OTHER)
        if second:
            # A second history can always go.
            label, tip, why_not = f"Drop {_tau_words(second)}", _DROP, ""
        else:
            label, tip = f"Compare with τ = {other_tau(choice.tau):g} Myr", _COMPARE
        said = {
            self.one: ("Apply to this clump", self._refused or _ONE),
            self.all: ("Apply to all clumps", self._refused or _ALL),
            self.compare: (label, why_not or tip),
        }
        for button, (words, hint) in said.items():
            if (button.description, button.tooltip) != (words, hint):
                button.description, button.tooltip = words, hint
        self._refuse_compare = bool(why_not)
        self._enable()

    def _enable(self) -> None:
        """Let those buttons be pressed that do something."""
        refused = {self.one: self._refused, self.all: self._refused, self.compare: self._refuse_compare}
        for button, why_not in refused.items():
            disabled = self.running or bool(why_not)
            if button.disabled != disabled:
                button.disabled = disabled

    def compare_or_drop(self) -> None:
        """Fit every clump with a second history too; where the list has one, take it back without a fit."""
        if self.running:
            return
        if not self._second:
            self.begin(every=True, compare=True)
            return
        try:
            self._writable()
            dropped = drop_second_history(self._session)
        except ScLabError as error:
            self._report(error)
            return
        self._say("the second history is gone; U takes that back" if dropped else "nothing has changed")

    def _writable(self) -> None:
        if self._session.read_only:
            msg = f"the session is read-only, so its list stays as it is: {self._session.read_only_reason}"
            raise InputError(msg)

    def begin(self, *, every: bool, compare: bool = False) -> None:
        """Fit clumps of the list with the settings that are shown.

        Parameters
        ----------
        every : bool
            Every clump, or the one that is shown.
        compare : bool
            Whether with a second exponential history too, so that two sets differ in tau alone.
        """
        if self.running:
            return
        try:
            settings, ids = self._ask(every)
            if compare:
                settings = settings.replace(second_tau=other_tau(settings.model.tau))
            self._writable()
        except ScLabError as error:
            self._report(error)
            return
        self._cancel.clear()
        self._counted = (0, 0)
        self.begun()
        loop = _running_loop()
        if loop is None:
            try:
                refit_seds(self._session, settings, ids=ids)
            except ScLabError as error:
                self._report(error)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="sc-lab-sed-list")
        self._asked = (settings, ids)
        self._future = self._pool.submit(self._work, settings, ids)
        self._show(running=True)
        self._timer = loop.call_later(_PERIOD, self._poll, loop)

    def _work(self, settings: SedSettings, ids: list[str] | None) -> None:
        """Make the fits, which are kept: the step itself is then one of milliseconds, in the thread of the clicks."""
        table = self._session.current_catalog
        index = {name: row for row, name in enumerate(self._session.clump_ids)}
        wanted = list(range(len(table))) if ids is None else [index[name] for name in ids]
        cosmology = recorded_cosmology(table)
        sed_rows(table, wanted, settings, cosmology=cosmology, progress=self._count, cancel=self._cancel)

    def _count(self, done: int, total: int) -> None:
        self._counted = (done, total)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        future = self._future
        if future is None:
            return
        if not future.done():
            done, total = self._counted
            self.bar.value = done / total if total else 0.0
            self._say(f"{done} of {total} SEDs" if total else "SED fits begin")
            self._timer = loop.call_later(_PERIOD, self._poll, loop)
            return
        self._future = None
        self._show(running=False)
        stopped = self._cancel.is_set()
        try:
            future.result()
            settings, ids = self._asked
            changed = refit_seds(self._session, settings, ids=ids)
        except Exception as error:  # noqa: BLE001 - whatever a thread raised has to be seen
            self._say("stopped: nothing has changed" if stopped else "")
            if not stopped:
                self._report(error)
            return
        done = self._counted[1]
        self._say(f"{done} SED{'s' * (done != 1)} fitted; U takes it back" if changed else "nothing has changed")

    def cancel(self) -> None:
        """Give up; the list stays as it was."""
        self._cancel.set()

    def _show(self, *, running: bool) -> None:
        self._enable()
        for part in (self.bar, self.stop):
            part.layout.display = None if running else "none"
        if running:
            self.bar.value = 0.0
            self._say("SED fits begin")

    def forget(self) -> None:
        """Say nothing more of work that is done."""
        if not self.running:
            self._say("")

    def _say(self, text: str) -> None:
        value = f'<span role="status" style="line-height: 1.3">{html.escape(text)}</span>' if text else ""
        if self.words.value != value:
            self.words.value = value

    def close(self) -> None:
        """Give up what is under way and free the widgets."""
        self._cancel.set()
        self._future = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for part in (self.widget, self.status):
            close_tree(part)


def _tau_words(history: str) -> str:
    """Return a second history as a button says it."""
    return f"τ = {history.removeprefix('tau').replace('p', '.')} Myr"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
