"""Joint posterior draws as short text: float32 in base64, for places that keep one value a cell."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["pack_draws", "unpack_draws"]

_KIND = np.dtype("<f4")


def pack_draws(values: FloatArray) -> str | None:
    """Return the draws of one clump as text.

    Parameters
    ----------
    values : ndarray
        Draws, shape (k,), in any unit; NaN where there is none.

    Returns
    -------
    str or None
        Base64 of little-endian float32: 5.3 characters a draw, 7 digits; None where no draw is a number.

    Notes
    -----
    Two hundred draws of four quantities take 4.3 kB; written out in decimal they take three times that, and twenty
    times as long to read. Making them anew from the photometry instead would tie a project to one version of
    the engine and to files of the stellar library.

    Examples
    --------
    >>> pack_draws(np.array([1.0, 2.0]))
    'AACAPwAAAEA='
    >>> unpack_draws("AACAPwAAAEA=").tolist()
    [1.0, 2.0]
    """
    short = np.ascontiguousarray(values, dtype=_KIND)
    return base64.b64encode(short.tobytes()).decode("ascii") if np.isfinite(short).any() else None


def unpack_draws(text: str) -> FloatArray:
    """Return the draws of one clump from their text; the inverse of `pack_draws`.

    Parameters
    ----------
    text : str
        What `pack_draws` gave.

    Returns
    -------
    ndarray
        float64, shape (k,).

    Raises
    ------
    InputError
        If the text is none of `pack_draws`.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raw = b""
    if not raw or len(raw) % _KIND.itemsize:
        msg = f"{str(text)[:40]!r} does not hold draws; give the text that pack_draws returned (base64 of float32)"
        raise InputError(msg)
    return np.frombuffer(raw, dtype=_KIND).astype(np.float64)
