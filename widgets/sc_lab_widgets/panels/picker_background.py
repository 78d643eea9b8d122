"""Slow questions of the picker (critical curves, counter-images, detection), answered beside the clicks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sc_lab.errors import ScLabError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["Background"]


class Background:
    """One worker thread; of each kind of question only the newest is answered.

    Parameters
    ----------
    report : callable
        Called with an error that a question ended with.

    Notes
    -----
    Answers are given in the event loop in which the object was made. Without a running loop (a
    script, a test) every question is answered before `ask` returns.
    """

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self._report = report
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._pool: ThreadPoolExecutor | None = None
        self._newest: dict[str, int] = {}
        self._waiting: dict[str, Future[Any]] = {}
        self._closed = False

    def ask(self, kind: str, work: Callable[[], Any], answer: Callable[[Any], None], *, wait: bool = False) -> None:
        """Do some work beside everything else, then call back with what it gave.

        Parameters
        ----------
        kind : str
            Kind of question; an older one of the same kind is forgotten.
        work : callable
            The work; called without arguments.
        answer : callable
            Called with the answer, in the kernel's loop.
        wait : bool
            Answer before this call returns, and raise what goes wrong.
        """
        number = self.forget(kind)
        if wait:
            answer(work())
            return
        if self._loop is None or not self._loop.is_running():
            try:
                answer(work())
            except ScLabError as error:
                self._report(error)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="sc-lab-picker")
        future = self._waiting[kind] = self._pool.submit(work)
        loop = self._loop

        def done(finished: Future[Any]) -> None:
            if not finished.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver, kind, number, finished, answer)

        future.add_done_callback(done)

    def forget(self, kind: str) -> int:
        """Drop a question under way; its answer will not be given.

        Parameters
        ----------
        kind : str
            Kind of question.

        Returns
        -------
        int
            Number of the next question of this kind.
        """
        if kind in self._waiting:
            self._waiting.pop(kind).cancel()
        self._newest[kind] = self._newest.get(kind, 0) + 1
        return self._newest[kind]

    def busy(self, kind: str) -> bool:
        """Return whether an answer of a kind is on its way.

        Parameters
        ----------
        kind : str
            Kind of question.
        """
        return kind in self._waiting

    def _deliver(self, kind: str, number: int, finished: Future[Any], answer: Callable[[Any], None]) -> None:
        if self._closed or self._newest.get(kind) != number:
            return
        self._waiting.pop(kind, None)
        try:
            answer(finished.result())
        except Exception as error:  # noqa: BLE001 - whatever a thread raised has to be seen
            self._report(error)

    def close(self) -> None:
        """Forget every question; the work under way ends unheard."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
