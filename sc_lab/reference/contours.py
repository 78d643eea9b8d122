"""Contours of local cluster populations in the density-size plane, packaged so that they need no network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.reference.tables import packaged_table
from sc_lab.units import FloatArray

__all__ = ["CONTOURS", "Contour", "contour_info", "contours"]

#: The populations with packaged contours, and what a legend calls them.
CONTOURS: dict[str, str] = {
    "ysc": "young star clusters",
    "gc_mw": "Milky Way globular clusters",
    "nsc": "nuclear star clusters",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Contour:
    """One closed line around the densest part of a population.

    Attributes
    ----------
    population : str
        A key of `CONTOURS`.
    level : float
        Fraction of the objects inside all contours of this level.
    log_r_eff : ndarray
        Decimal logarithm of the projected half-light radius [pc]; first vertex repeated at the end.
    log_sigma : ndarray
        Decimal logarithm of mass / (2 pi r_eff^2) [Msun/pc2].
    """

    population: str
    level: float
    log_r_eff: FloatArray
    log_sigma: FloatArray


def contours(name: str, *, level: float | None = None) -> list[Contour]:
    """Return the packaged contours of a local population.

    Parameters
    ----------
    name : str
        A key of `CONTOURS`.
    level : float, optional
        0.68 or 0.95; None = both.

    Returns
    -------
    list of Contour
        Closed polylines in the plane of Claeyssens et al. 2026, figure 7.

    Raises
    ------
    InputError
        If there is no such population or level.

    Notes
    -----
    Highest-density contours of a Gaussian kernel estimate over the full published tables,
    computed by ``tools/make_contours.py``; `citation` names the papers.

    Examples
    --------
    >>> [line.level for line in contours("nsc")]
    [0.68, 0.95]
    """
    _check(name)
    found = [each for each in _all() if each.population == name and (level is None or each.level == level)]
    if not found:
        levels = sorted({each.level for each in _all()})
        msg = f"there is no contour of {name!r} at level {level!r}; the levels are {', '.join(map(str, levels))}"
        raise InputError(msg)
    return found


def contour_info(name: str) -> dict[str, Any]:
    """Return what is known of a population besides its lines.

    Parameters
    ----------
    name : str
        A key of `CONTOURS`.

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
    return dict(packaged_table("local_contours").meta["populations"][name])


def _check(name: str) -> None:
    """Refuse an unknown population."""
    if name not in CONTOURS:
        msg = f"there are no contours of {name!r}; the populations are {', '.join(CONTOURS)}"
        raise InputError(msg)


@lru_cache(maxsize=1)
def _all() -> tuple[Contour, ...]:
    """Return every packaged contour; arrays are read-only because they are shared."""
    table = packaged_table("local_contours")
    population, level, line = (np.asarray(table[name]) for name in ("population", "level", "line"))
    out = []
    for key in dict.fromkeys(zip(population.tolist(), level.tolist(), line.tolist(), strict=True)):
        rows = (population == key[0]) & (level == key[1]) & (line == key[2])
        x, y = (np.array(table[name][rows], dtype=np.float64) for name in ("log_r_eff", "log_sigma"))
        x.flags.writeable = y.flags.writeable = False
        out.append(Contour(population=str(key[0]), level=float(key[1]), log_r_eff=x, log_sigma=y))
    return tuple(out)
