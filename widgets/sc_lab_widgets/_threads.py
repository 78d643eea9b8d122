"""Linear algebra in one thread while a panel is brought up to date."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    # Looking for the libraries takes milliseconds, limiting them microseconds.
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Keep matrix products in the calling thread.

    Returns
    -------
    context manager
        For a ``with`` statement.

    Notes
    -----
    The matrices are small, and the waiting threads of a pool take the processor from the browser:
    on two cores the same step takes four times as long with them.
    """
    limit: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limit
