"""Finding groups beside everything else: one job at a time, the newest wins, with a bar and a way to stop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ui

from sc_lab_widgets._cells import close_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Runner"]

#: Seconds between two looks at a job.
_PERIOD: Final = 0.05
#: A bar that comes and goes at every step would flicker: it waits this many looks.
_PATIENCE: Final = 6


class Runner:
    """Does work in a thread while the notebook goes on.

    Parameters
    ----------
    answer : callable
        Called with the identity of a job and what it gave, in the thread of the notebook.
    report : callable
        Called with errors.

    Attributes
    ----------
    bar : FloatProgress
        How far the job is.
    stop : Button
        Gives it up.
    widget : Widget
        Both in a row.
    """

    def __init__(
        self, answer: Callable[[Hashable, Any], None], report: Callable[[BaseException], None], told: Callable[[], None]
    ) -> None:
        self._answer, self._report, self._told = answer, report, told
        self._pool: ThreadPoolExecutor | None = None
        self._job: Future[Any] | None = None
        self._key: Hashable = None
        self._cancel = threading.Event()
        self._part = 0.0
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None
        self.bar = ui.FloatProgress(value=0.0, min=0.0, max=1.0, layout={"width": "140px"})
        self.stop = ui.Button(
            description="Cancel", tooltip="stop, and keep the groups that are shown", layout={"width": "auto"}
        )
        self.stop.on_click(lambda _button: self.cancel())
        self.widget: ui.Widget = ui.HBox([self.bar, self.stop])
        self._show(visible=False)

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None

    @property
    def key(self) -> Hashable:
        """What the job under way is for; None without one."""
        return self._key if self.running else None

    def ask(self, key: Hashable, work: Callable[..., Any], *, beside: bool) -> None:
        """Do a job, in place of the one under way.

        Parameters
        ----------
        key : hashable
            What it is for.
        work : callable
            Called with ``progress`` and ``cancel``.
        beside : bool
            Whether the notebook may go on meanwhile; where no event loop runs it waits in any case.
        """
        self._cancel.set()
        self._cancel, self._part, self._looks = threading.Event(), 0.0, 0
        cancel = self._cancel

        def progress(done: int, total: int) -> None:
            if cancel is self._cancel:
                self._part = done / max(total, 1)

        loop = _running_loop()
        if loop is None or not beside:
            self._job = None
            self._answer(key, work(progress=progress, cancel=cancel))
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sc-lab-groups")
        if self._job is not None:
            # One that has not begun need not begin.
            self._job.cancel()
        self._key = key
        self._job = self._pool.submit(work, progress=progress, cancel=cancel)
        if self._timer is None:
            self._timer = loop.call_later(_PERIOD, self.poll)

    def poll(self) -> None:
        """Look how far the job is; called again and again by the event loop while it runs."""
        self._timer = None
        if self._job is None:
            return
        if not self._job.done():
            self._looks += 1
            if self._looks == _PATIENCE:
                self._show(visible=True)
                self._told()
            if self._looks >= _PATIENCE:
                self.bar.value = self._part
            loop = _running_loop()
            if loop is not None:
                self._timer = loop.call_later(_PERIOD, self.poll)
            return
        self._finish()

    def wait(self) -> None:
        """Wait for the job under way, and hand over what it gives."""
        if self._job is not None:
            self._finish()

    def _finish(self) -> None:
        job, key, self._job = self._job, self._key, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._show(visible=False)
        if job is None or job.cancelled():
            return
        try:
            found = job.result()
        except Exception as error:  # noqa: BLE001 - whatever the thread raised has to be seen
            self._report(error)
            return
        if not self._cancel.is_set():
            self._answer(key, found)

    def cancel(self) -> None:
        """Give the job up; what is shown stays."""
        if self._job is None:
            return
        self._cancel.set()
        self._job.cancel()
        self._job = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._show(visible=False)
        self._told()

    def _show(self, *, visible: bool) -> None:
        self.bar.value = 0.0
        self.widget.layout.visibility = "visible" if visible else "hidden"

    def close(self) -> None:
        """Give up what is under way and free the widgets."""
        self.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        close_tree(self.widget)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
