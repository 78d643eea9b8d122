"""The choice of star-cluster candidates by size."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.units import RADIUS, value_in

__all__ = ["DEFAULT_SIZE_THRESHOLD", "select_candidates"]

#: Claeyssens et al. 2026, section 3.2.
DEFAULT_SIZE_THRESHOLD = 20.0 * u.pc


def select_candidates(
    r_eff: Any, *, threshold: Any = DEFAULT_SIZE_THRESHOLD, is_limit: Any = None
) -> npt.NDArray[np.bool_]:
    """Return which clumps are small enough to be star clusters.

    Parameters
    ----------
    r_eff : `~astropy.units.Quantity` or array_like
        Effective radius, or its upper limit [pc], any shape; NaN or masked where there is no number.
    threshold : `~astropy.units.Quantity` or float
        Size threshold [pc]; 20 pc by default. A radius of exactly the threshold is not a candidate.
    is_limit : array_like of bool, optional
        True where ``r_eff`` is an upper limit, same shape; None means nowhere, and so does a masked flag.

    Returns
    -------
    ndarray of bool
        True for a radius or upper limit strictly below the threshold, and for a limit without a
        number: a point source whose limit the source prints as "<0" or leaves out. A missing
        radius that is no limit is not a candidate.

    Raises
    ------
    InputError
        If the threshold is not above zero, a flag is neither true nor false, or the shapes differ.
    UnitMismatchError
        If an input has a unit that is not one of length.

    Notes
    -----
    Claeyssens et al. 2026, sections 3.2 and 5.1, write "R_eff <= 20 pc"; the candidate flag of the
    published SMACS0723 catalogue (Claeyssens et al. 2023) uses "<", as we do: of its clumps two
    have exactly 20.0 pc and no flag.

    Examples
    --------
    >>> from sc_lab.properties import select_candidates
    >>> select_candidates([8.0, 20.0, float("nan")], is_limit=[False, False, True])
    array([ True, False,  True])
    """
    limit_pc = value_in(threshold, RADIUS, "threshold")
    if limit_pc.ndim or not (np.isfinite(limit_pc) and limit_pc > 0):
        msg = f"threshold is {threshold!r}; give one finite size greater than 0 pc"
        raise InputError(msg)
    radius_pc = value_in(r_eff, RADIUS, "r_eff")
    with np.errstate(invalid="ignore"):
        out: npt.NDArray[np.bool_] = np.asarray(radius_pc < limit_pc)
    if is_limit is None:
        return out
    hidden = getattr(is_limit, "mask", None)
    limit = np.asarray(np.ma.getdata(is_limit))
    if limit.dtype != np.bool_ and not np.isin(limit, (0, 1)).all():
        msg = f"is_limit has values such as {limit.ravel()[0]!r}; give True where the radius is an upper limit, else False"
        raise InputError(msg)
    limit = limit.astype(bool)
    if hidden is not None and not callable(hidden):
        limit = limit & ~np.asarray(hidden, dtype=bool)
    if limit.shape != radius_pc.shape:
        msg = f"is_limit has the shape {limit.shape} and r_eff {radius_pc.shape}; give one flag for each radius"
        raise InputError(msg)
    return np.asarray(out | (limit & np.isnan(radius_pc)))
