"""Contours of local cluster populations in the size-magnitude plane, packaged so that they need no network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.reference.tables import packaged_table
from sc_lab.units import FloatArray

__all__ = ["MAGNITUDE_CONTOURS", "MagnitudeContour", "magnitude_contour_info", "magnitude_contours"]

#: The populations with packaged contours, and what a legend calls them.
MAGNITUDE_CONTOURS: dict[str, str] = {
    "gc_mw": "Milky Way globular clusters",
    "compact": "globular clusters and UCDs",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class MagnitudeContour:
    """One closed line around the densest part of a population.

    Attributes
    ----------
    population : str
        A key of `MAGNITUDE_CONTOURS`.
    level : float
        Fraction of the objects inside all contours of this level.
    log_r_eff : ndarray
        Decimal logarithm of the projected half-light radius [pc]; first vertex repeated at the end.
    abs_mag_v : ndarray
        Absolute V magnitude.
    """

    population: str
    level: float
    log_r_eff: FloatArray
    abs_mag_v: FloatArray


def magnitude_contours(name: str) -> list[MagnitudeContour]:
    """Return the packaged contours of a local population, those of 68 and 95 %.

    Parameters
    ----------
    name : str
        A key of `MAGNITUDE_CONTOURS`.

    Returns
    -------
    list of MagnitudeContour
        Closed polylines in the plane of Claeyssens et al. 2026, figure 3.

    Raises
    ------
    InputError
        If there is no such population.

    Notes
    -----
    As those of `sc_lab.reference.contours`; young clusters are not among them, because their published tables
    have masses and no magnitudes in V.

    Examples
    --------
    >>> sorted({line.level for line in magnitude_contours("gc_mw")})
    [0.68, 0.95]
    """
    _check(name)
    return [each for each in _all() if each.population == name]


def magnitude_contour_info(name: str) -> dict[str, Any]:
    """Return what is known of a population besides its lines.

    Parameters
    ----------
    name : str
        A key of `MAGNITUDE_CONTOURS`.

    Returns
    -------
    dict
        ``label``, ``citation``, ``selection`` and ``n``, the number of objects.

    Raises
    ------
    InputError
        If there is no such population.
    """
    _check(name)
    return dict(packaged_table("local_magnitudes").meta["populations"][name])


def _check(name: str) -> None:
    """Refuse an unknown population."""
    if name not in MAGNITUDE_CONTOURS:
        msg = f"there are no contours of {name!r}; the populations are {', '.join(MAGNITUDE_CONTOURS)}"
        raise InputError(msg)


@lru_cache(maxsize=1)
def _all() -> tuple[MagnitudeContour, ...]:
    """Return every packaged contour; arrays are read-only because they are shared."""
    table = packaged_table("local_magnitudes")
    population, level, line = (np.asarray(table[name]) for name in ("population", "level", "line"))
    out = []
    for key in dict.fromkeys(zip(population.tolist(), level.tolist(), line.tolist(), strict=True)):
        rows = (population == key[0]) & (level == key[1]) & (line == key[2])
        x, y = (np.array(table[name][rows], dtype=np.float64) for name in ("log_r_eff", "abs_mag_v"))
        x.flags.writeable = y.flags.writeable = False
        out.append(MagnitudeContour(population=str(key[0]), level=float(key[1]), log_r_eff=x, abs_mag_v=y))
    return tuple(out)
