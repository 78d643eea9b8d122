"""A small memory of computed products, so that a changed setting recomputes only what depends on it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import is_dataclass
from typing import Any, TypeVar, cast

import numpy as np

__all__ = ["Store"]

T = TypeVar("T")


class Store:
    """Products of named stages, each under the key of everything that it depends on.

    Parameters
    ----------
    depth : int
        Products kept per stage; the one unused for longest goes first. A few are enough
        for undo and redo to cost nothing.
    """

    def __init__(self, depth: int = 4) -> None:
        self._depth = depth
        self._stages: dict[str, OrderedDict[Hashable, Any]] = {}
        self._lock = threading.RLock()
        #: How often each stage was really computed; tests hold the slider's path to it.
        self.computed: dict[str, int] = {}

    def get(self, stage: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return the product of a stage, made at most once per key.

        Parameters
        ----------
        stage : str
            Name of the stage.
        key : hashable
            Everything that the product depends on.
        make : callable
            Called without arguments when the product is not there.

        Returns
        -------
        object
            What ``make`` returned, now or earlier; its arrays are read-only, because many share them.
        """
        with self._lock:
            products = self._stages.setdefault(stage, OrderedDict())
            if key in products:
                products.move_to_end(key)
                return cast("T", products[key])
            value = make()
            _freeze(value)
            self.computed[stage] = self.computed.get(stage, 0) + 1
            products[key] = value
            while len(products) > self._depth:
                products.popitem(last=False)
            return value

    def put(self, stage: str, key: Hashable, product: Any) -> None:
        """Keep a product that was made elsewhere.

        Parameters
        ----------
        stage, key : str, hashable
            As for `get`.
        product : object
            The product.
        """
        self.get(stage, key, lambda: product)

    def products(self, stage: str) -> dict[Hashable, Any]:
        """Return what is kept of a stage.

        Parameters
        ----------
        stage : str
            Name of the stage.

        Returns
        -------
        dict
            Products by key; empty where nothing was asked for yet.
        """
        with self._lock:
            return dict(self._stages.get(stage, {}))


def _freeze(product: Any) -> None:
    """Make the arrays of a product read-only: a change of one would silently be a change of all that share it."""
    if isinstance(product, np.ndarray):
        product.setflags(write=False)
    elif isinstance(product, dict):
        for each in product.values():
            _freeze(each)
    elif isinstance(product, tuple):
        for each in product:
            _freeze(each)
    elif is_dataclass(product):
        for each in vars(product).values():
            if isinstance(each, np.ndarray):
                each.setflags(write=False)
