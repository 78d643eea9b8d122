"""Products of matrices in one thread: those of tables are too small to share, and threads that wait for others spin."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

__all__ = ["one_blas_thread"]

_LOCK = threading.Lock()
_inside = 0
_limiter: Any = None


@lru_cache(maxsize=1)
def _controller() -> Any:
    """Return what sets the number of threads, or None without threadpoolctl."""
    if find_spec("threadpoolctl") is None:
        return None
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep matrix products in the calling thread; the setting is the process's and returns when the last one leaves.

    Yields
    ------
    None
        Nothing.
    """
    global _inside, _limiter  # noqa: PLW0603 - the number of threads is a setting of the whole process
    with _LOCK:
        if _inside == 0 and _controller() is not None:
            _limiter = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0 and _limiter is not None:
                _limiter.restore_original_limits()
                _limiter = None
