"""How well measurements agree with the truth of a mock: matched rows, biases and pulls by signal to noise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import QTable, Table
from scipy.spatial import cKDTree

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["match_truth", "recovery_pulls", "recovery_table"]

_MAD = 1.4826


def match_truth(
    truth: Table, found: Table, *, radius: float = 2.0
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return which rows of the truth and of a measured table are the same object.

    Parameters
    ----------
    truth, found : Table
        With columns x and y [px of the reference band].
    radius : float
        Largest distance [px].

    Returns
    -------
    tuple of ndarray of int
        Rows of ``truth`` and of ``found``: pairs that are each other's nearest.
    """
    if not len(truth) or not len(found):
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    here = np.stack([np.asarray(truth["x"], dtype=float), np.asarray(truth["y"], dtype=float)], axis=-1)
    there = np.stack([np.asarray(found["x"], dtype=float), np.asarray(found["y"], dtype=float)], axis=-1)
    usable = np.flatnonzero(np.isfinite(there).all(axis=1))
    distance, nearest = cKDTree(there[usable]).query(here, distance_upper_bound=radius)
    _, back = cKDTree(here).query(there[usable])
    rows = np.flatnonzero(np.isfinite(distance))
    rows = rows[back[nearest[rows]] == rows]
    return rows.astype(np.intp), usable[nearest[rows]].astype(np.intp)


def recovery_pulls(truth: Table, fits: Table, *, bands: Sequence[str] | None = None) -> QTable:
    """Return errors and pulls of matched rows.

    Parameters
    ----------
    truth, fits : Table
        Row by row the same objects: ``truth`` of a `MockField`, ``fits`` of `sc_lab.photometry.fit_clumps`.
    bands : sequence of str, optional
        Bands of the fluxes; None takes those that both tables have.

    Returns
    -------
    QTable
        snr (true), ``flux_<band>`` (measured over true, less 1), ``flux_<band>_pull``, ``r_cir`` (measured less true
        [px]), and, where the fits have the errors, ``x_pull``, ``y_pull`` and pulls of cov_xx, cov_yy, cov_xy.

    Raises
    ------
    InputError
        If the tables differ in length.
    """
    if len(truth) != len(fits):
        msg = f"truth has {len(truth)} and fits {len(fits)} rows; give matched rows, see match_truth"
        raise InputError(msg)
    names = bands or [name[5:] for name in truth.colnames if name.startswith("flux_") and name in fits.colnames]
    out = QTable()
    out["snr"] = _plain(truth["snr"])
    for name in (str(each).lower() for each in names):
        true, value = _plain(truth[f"flux_{name}"]), _plain(fits[f"flux_{name}"])
        with np.errstate(divide="ignore", invalid="ignore"):
            out[f"flux_{name}"] = value / true - 1.0
            out[f"flux_{name}_pull"] = (value - true) / _plain(fits[f"flux_{name}_err"])
    det = _plain(truth["cov_xx"]) * _plain(truth["cov_yy"]) - _plain(truth["cov_xy"]) ** 2
    out["r_cir"] = _plain(fits["r_cir"]) - np.maximum(det, 0.0) ** 0.25
    for name in ("x", "y"):
        if f"{name}_err" in fits.colnames:
            with np.errstate(divide="ignore", invalid="ignore"):
                out[f"{name}_pull"] = (_plain(fits[name]) - _plain(truth[name])) / _plain(fits[f"{name}_err"])
    if "cov_covariance" in fits.colnames:
        covariance = np.asarray(fits["cov_covariance"], dtype=float)
        for k, name in enumerate(("cov_xx", "cov_yy", "cov_xy")):
            error = np.sqrt(covariance[:, k, k])
            out[f"{name}_pull"] = (_plain(fits[name]) - _plain(truth[name])) / error
    return out


def recovery_table(pulls: Table, *, edges: Sequence[float] = (5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)) -> QTable:
    """Return median, scatter and number of each column by true signal to noise.

    Parameters
    ----------
    pulls : Table
        As from `recovery_pulls`; any columns beside ``snr``.
    edges : sequence of float
        Limits of the bins.

    Returns
    -------
    QTable
        snr_low, snr_high, n and, for each column, ``<column>_median`` and ``<column>_width``: 1.4826 times the
        median absolute deviation.
    """
    snr = _plain(pulls["snr"])
    out = QTable()
    out["snr_low"], out["snr_high"] = np.asarray(edges[:-1], float), np.asarray(edges[1:], float)
    members = [(snr >= low) & (snr < high) for low, high in pairwise(edges)]
    out["n"] = [int(each.sum()) for each in members]
    for name in pulls.colnames:
        if name == "snr":
            continue
        values = _plain(pulls[name])
        centres, widths = zip(*(_centre(values[each]) for each in members), strict=True)
        out[f"{name}_median"], out[f"{name}_width"] = centres, widths
    return out


def _centre(values: FloatArray) -> tuple[float, float]:
    """Return the median and the scaled median absolute deviation of what is finite."""
    good = values[np.isfinite(values)]
    if not len(good):
        return np.nan, np.nan
    median = float(np.median(good))
    return median, float(_MAD * np.median(np.abs(good - median)))


def _plain(column: Any) -> FloatArray:
    """Return a column as float64, NaN where it is masked."""
    values: Any = np.ma.asarray(getattr(getattr(column, "unmasked", column), "value", column), dtype=float)
    mask = getattr(column, "mask", False)
    out = np.array(np.ma.filled(values, np.nan), dtype=float)
    if np.any(mask):
        out[np.asarray(mask)] = np.nan
    return out
