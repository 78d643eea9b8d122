"""Fit photometry with star-formation histories: the posterior of age, mass, dust and metals of one source or many."""

from __future__ import annotations

from typing import Any

__all__ = ["fit_photometry"]


def fit_photometry(*args: Any, **kwargs: Any) -> Any:
    """Fit photometry; the engine is being built."""
    raise NotImplementedError
