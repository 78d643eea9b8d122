"""The stars of a snapshot: which of them are stars at all, how old they are, and which are new."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations._checks import instance
from sc_lab.simulations.snapshot import Snapshot
from sc_lab.units import FloatArray, value_in

__all__ = ["given_ages", "interval", "new_stars", "star_ages", "wind_cells"]

#: Fields that hold the scale factor at which a star formed.
_FORMED = ("GFM_StellarFormationTime", "StellarFormationTime")
#: No star is older [Myr]; numbers beyond are in other units.
_OLDEST = 15000.0


def star_ages(snapshot: Snapshot) -> FloatArray | None:
    """Return the ages of all stars.

    Parameters
    ----------
    snapshot : Snapshot
        With the scale factor at which each star formed.

    Returns
    -------
    ndarray, shape (n,) or None
        Ages [Myr], NaN for wind cells (formation times of zero or less); None if the file does not have them.
    """
    instance(snapshot, Snapshot, "snapshot", "from read_snapshot")
    stars = snapshot.stars
    name = next((each for each in _FORMED if each in stars.fields), None)
    if name is None or not snapshot.header.comoving:
        return None
    formed = np.asarray(stars.code(name), dtype=float)
    # Ages on a fine table of scale factors; the relation is smooth.
    at = np.geomspace(max(1e-3, formed[formed > 0].min(initial=1.0) * 0.99), max(snapshot.header.a, 1e-3) * 1.01, 4000)
    times = snapshot.header.cosmology.age(1.0 / at - 1.0).to_value(u.Myr)
    now = float(np.interp(snapshot.header.a, at, times))
    return np.where(formed > 0, now - np.interp(formed, at, times), np.nan)


def wind_cells(snapshot: Snapshot) -> npt.NDArray[np.bool_]:
    """Return which particles of the stars' type are gas on its way out of a galaxy, and no stars.

    Parameters
    ----------
    snapshot : Snapshot
        The particles.

    Returns
    -------
    ndarray of bool, shape (number of stars,)
        True for wind cells: those whose formation time is zero or less. None are known where the file has no such times,
        or where nothing expands: zero is then the start of the run.

    Notes
    -----
    Some models of galaxy formation in AREPO keep wind among the stars while it is decoupled from the gas. Its
    friends-of-friends links and counts them like stars.
    """
    instance(snapshot, Snapshot, "snapshot", "from read_snapshot")
    stars = snapshot.stars
    name = next((each for each in _FORMED if each in stars.fields), None)
    if name is None or not snapshot.header.comoving:
        return np.zeros(len(stars), dtype=bool)
    return np.asarray(np.asarray(stars.code(name)) <= 0)


def given_ages(snapshot: Snapshot, ages: Any) -> FloatArray:
    """Return ages that the user gives for the stars.

    Parameters
    ----------
    snapshot : Snapshot
        With the stars.
    ages : array_like or Quantity
        One for each star, or one for all [Myr]; NaN where it is not known.

    Returns
    -------
    ndarray, shape (number of stars,)
        Ages [Myr].

    Raises
    ------
    InputError
        If their number is not that of the stars, or some are negative or older than any Universe.
    """
    values, number = value_in(ages, u.Myr, "ages"), snapshot.stars.number
    if values.ndim > 1 or (values.ndim == 1 and len(values) != number):
        said = f"{len(values)} values" if values.ndim == 1 else f"the shape {values.shape}"
        msg = f"ages has {said} and the snapshot {number} stars; give one age for each, or one for all [Myr]"
        raise InputError(msg)
    wrong = (values < 0) | (values > _OLDEST)
    if wrong.any():
        msg = f"ages holds {values[wrong].ravel()[0]:g} Myr; give ages from 0 to {_OLDEST:g} Myr, NaN where not known"
        raise InputError(msg)
    return np.array(np.broadcast_to(values, (number,)))


def interval(snapshot: Snapshot, *, since: Any = None, previous: Snapshot | None = None) -> float:
    """Return the time in which stars count as new.

    Parameters
    ----------
    snapshot : Snapshot
        Whose stars they are.
    since : Quantity or float, optional
        The time itself, back from the snapshot [Myr].
    previous : Snapshot, optional
        An earlier snapshot of the same run, from which on they are new.

    Returns
    -------
    float
        Time [Myr].

    Raises
    ------
    InputError
        If not exactly one of the two is given, the time is not above 0, or the other snapshot is not an earlier one.
    """
    if (since is None) == (previous is None):
        msg = "give one of since= (a time back from the snapshot, in Myr) and previous= (an earlier snapshot)"
        raise InputError(msg)
    if previous is None:
        time = value_in(since, u.Myr, "since")
        if time.ndim or not 0 < time <= _OLDEST:
            msg = f"since is {since!r}; give one time back from the snapshot, above 0 and up to {_OLDEST:g} Myr"
            raise InputError(msg)
        return float(time)
    if not isinstance(previous, Snapshot):
        msg = f"previous is a {type(previous).__name__}; give an earlier snapshot, from read_snapshot"
        raise InputError(msg)
    now, before = snapshot.header, previous.header
    if not now.comoving:
        msg = f"{snapshot.name} is not of a cosmological run, so the time between snapshots is not known; give since="
        raise InputError(msg)
    if not before.a < now.a:
        msg = f"previous is {previous.name} at z = {before.redshift:.4g}, not before {snapshot.name} at {now.redshift:.4g}"
        raise InputError(msg)
    return float((now.cosmology.age(now.redshift) - now.cosmology.age(before.redshift)).to_value(u.Myr))


@check.checked(snapshot=check.snapshot)
def new_stars(
    snapshot: Snapshot, *, since: Any = None, previous: Snapshot | None = None, ages: Any = None
) -> npt.NDArray[np.bool_]:
    """Return which stars have formed lately.

    Parameters
    ----------
    snapshot : Snapshot
        With the stars.
    since : Quantity or float, optional
        Stars no older than this are new [Myr]; needs formation times in the file, or ``ages``.
    previous : Snapshot, optional
        Stars whose ``ParticleIDs`` are not among the stars of this earlier snapshot are new: for files without
        formation times, as those of Williams et al. 2025.
    ages : array_like or Quantity, optional
        Ages of all stars [Myr], by default from the file.

    Returns
    -------
    ndarray of bool, shape (number of stars,)
        True for new ones.

    Raises
    ------
    InputError
        If not exactly one of ``since`` and ``previous`` is given, or the files do not have what it needs.
    """
    time = interval(snapshot, since=since, previous=previous)
    if previous is None:
        known = star_ages(snapshot) if ages is None else given_ages(snapshot, ages)
        if known is None:
            msg = f"{snapshot.name} does not say when its stars formed; give previous=, an earlier snapshot, or ages="
            raise InputError(msg)
        with np.errstate(invalid="ignore"):
            return np.asarray((known <= time) & ~wind_cells(snapshot))
    if not len(snapshot.stars):
        return np.zeros(0, dtype=bool)
    # The first stars of a run are all new.
    earlier = previous.stars.code("ParticleIDs") if len(previous.stars) else np.empty(0, dtype=np.uint64)
    return ~np.isin(snapshot.stars.code("ParticleIDs"), earlier) & ~wind_cells(snapshot)
