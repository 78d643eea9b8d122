"""Keeps Python's garbage collector out of gestures: a full collection of a notebook's heap takes 0.1 to 0.2 s."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Iterator

__all__ = ["calm"]

#: Seconds without a gesture after which the collector works again.
_PAUSE = 0.4
#: Seconds after which it works again whatever the user does.
_LONGEST = 5.0

_lock = threading.Lock()
_since: float | None = None
_waiting: threading.Timer | None = None


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Put the garbage collector off until the gesture under way has been answered and painted.

    Yields
    ------
    None
        Outside an event loop the collector works again at the end of the block. One that the user has switched off
        stays off.
    """
    global _since  # noqa: PLW0603 - the collector is one for the whole process
    try:
        asyncio.get_running_loop()
        live = True
    except RuntimeError:
        live = False
    with _lock:
        if gc.isenabled():
            gc.disable()
            _since = time.monotonic()
        ours = _since is not None
    try:
        yield
    finally:
        if ours:
            _resume_later(at_once=not live)


def _resume_later(*, at_once: bool) -> None:
    global _waiting  # noqa: PLW0603 - as above
    with _lock:
        if at_once or (_since is not None and time.monotonic() - _since > _LONGEST):
            _resume()
            return
        if _waiting is not None:
            _waiting.cancel()
        # A thread's timer: that of a loop which ends before would never ring.
        _waiting = threading.Timer(_PAUSE, _resume)
        _waiting.daemon = True
        _waiting.start()


def _resume() -> None:
    global _since  # noqa: PLW0603 - as above
    if _since is not None:
        _since = None
        gc.enable()
