"""Pairing of two lists of positions, and what the pairs say about a detector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.units import FloatArray, value_in

__all__ = ["Match", "completeness_table", "match_pixels", "match_positions"]


@dataclass(frozen=True, eq=False)
class Match:
    """Pairs of two lists; no entry of either list is in two pairs.

    Attributes
    ----------
    first, second : ndarray of int, shape (n_pairs,)
        Rows of the two lists, by rising separation.
    separation : ndarray, shape (n_pairs,)
        Arcsec for sky positions, pixels for pixel positions.
    n_first, n_second : int
        Lengths of the two lists.
    """

    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]
    separation: FloatArray
    n_first: int
    n_second: int

    @property
    def first_matched(self) -> npt.NDArray[np.bool_]:
        """Whether each entry of the first list has a partner, shape (n_first,)."""
        out = np.zeros(self.n_first, dtype=bool)
        out[self.first] = True
        return out

    @property
    def second_matched(self) -> npt.NDArray[np.bool_]:
        """Whether each entry of the second list has a partner, shape (n_second,)."""
        out = np.zeros(self.n_second, dtype=bool)
        out[self.second] = True
        return out

    @property
    def second_partner(self) -> npt.NDArray[np.intp]:
        """Row of the first list that belongs to each of the second, -1 where there is none."""
        out = np.full(self.n_second, -1, dtype=np.intp)
        out[self.second] = self.first
        return out


def match_pixels(x: Any, y: Any, x_other: Any, y_other: Any, *, radius: float = 2.0) -> Match:
    """Pair two lists of pixel positions, nearest pairs first.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        First list [px].
    x_other, y_other : array_like, shape (m,)
        Second list [px].
    radius : float
        Greatest separation of a pair [px].

    Returns
    -------
    Match
        One-to-one pairs; positions that are NaN have no partner.

    Raises
    ------
    InputError
        If the radius is not a positive number.
    """
    first = np.stack([value_in(x, u.pix, "x"), value_in(y, u.pix, "y")], axis=-1).reshape(-1, 2)
    second = np.stack([value_in(x_other, u.pix, "x_other"), value_in(y_other, u.pix, "y_other")], axis=-1).reshape(
        -1, 2
    )
    return _greedy(first, second, float(value_in(radius, u.pix, "radius")))


def match_positions(ra: Any, dec: Any, ra_other: Any, dec_other: Any, *, radius: u.Quantity) -> Match:
    """Pair two lists of sky positions, nearest pairs first.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        First list [deg].
    ra_other, dec_other : array_like, shape (m,)
        Second list [deg].
    radius : `~astropy.units.Quantity`
        Greatest separation of a pair.

    Returns
    -------
    Match
        One-to-one pairs, separations in arcsec; positions that are NaN have no partner.

    Raises
    ------
    InputError
        If the radius is not a positive angle.
    """
    arcsec = float(value_in(radius, u.arcsec, "radius"))
    if not (0 < arcsec < 3600):
        msg = f"radius is {radius}; give an angle greater than zero and below one degree"
        raise InputError(msg)
    first = _unit_vectors(value_in(ra, u.deg, "ra"), value_in(dec, u.deg, "dec"))
    second = _unit_vectors(value_in(ra_other, u.deg, "ra_other"), value_in(dec_other, u.deg, "dec_other"))
    to_arcsec = math.degrees(1.0) * 3600.0
    # The chord of a small angle is the angle, to 1e-5 of it at one degree.
    found = _greedy(first, second, arcsec / to_arcsec)
    return Match(found.first, found.second, found.separation * to_arcsec, found.n_first, found.n_second)


def completeness_table(snr: Any, found: Any, *, edges: Any = (5.0, 8.0, 12.0, 20.0, 50.0, 100.0)) -> QTable:
    """Return the fraction of true clumps that were found, in bins of their true S/N.

    Parameters
    ----------
    snr : array_like, shape (n,)
        True S/N of each clump.
    found : array_like of bool, shape (n,)
        Whether it was detected.
    edges : array_like, shape (k + 1,)
        Rising limits of the bins.

    Returns
    -------
    QTable
        snr_low, snr_high, n, n_found, completeness, completeness_err (binomial, with one success and one
        failure added; completeness is NaN in an empty bin).

    Raises
    ------
    InputError
        If the edges do not rise or the lengths differ.
    """
    values, hit = np.asarray(snr, dtype=np.float64), np.asarray(found, dtype=bool)
    limits = np.asarray(edges, dtype=np.float64)
    if values.shape != hit.shape or values.ndim != 1:
        msg = f"snr has the shape {values.shape} and found {hit.shape}; give one value of each for every clump"
        raise InputError(msg)
    if limits.ndim != 1 or len(limits) < 2 or not (np.diff(limits) > 0).all():
        msg = f"edges are {limits.tolist()}; give at least two rising numbers"
        raise InputError(msg)
    n = np.histogram(values, limits)[0]
    n_found = np.histogram(values[hit], limits)[0]
    with np.errstate(invalid="ignore"):
        fraction = np.where(n > 0, n_found / np.maximum(n, 1), np.nan)
    smooth = (n_found + 1) / (n + 2)
    return QTable(
        {
            "snr_low": limits[:-1],
            "snr_high": limits[1:],
            "n": n,
            "n_found": n_found,
            "completeness": fraction,
            "completeness_err": np.sqrt(smooth * (1 - smooth) / (n + 3)),
        }
    )


def _unit_vectors(ra: FloatArray, dec: FloatArray) -> FloatArray:
    ra, dec = np.radians(np.ravel(ra)), np.radians(np.ravel(dec))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _greedy(first: FloatArray, second: FloatArray, radius: float) -> Match:
    """Return one-to-one pairs, nearest first."""
    if not (radius > 0 and math.isfinite(radius)):
        msg = f"radius is {radius}; give a number greater than zero"
        raise InputError(msg)
    from scipy.spatial import cKDTree

    rows, other_rows = np.flatnonzero(np.isfinite(first).all(axis=1)), np.flatnonzero(np.isfinite(second).all(axis=1))
    a: list[int] = []
    b: list[int] = []
    separation: list[float] = []
    if len(rows) and len(other_rows):
        near = cKDTree(first[rows]).sparse_distance_matrix(cKDTree(second[other_rows]), radius, output_type="ndarray")
        near = near[np.lexsort((near["j"], near["i"], near["v"]))]
        used_a, used_b = np.zeros(len(rows), dtype=bool), np.zeros(len(other_rows), dtype=bool)
        for i, j, v in zip(near["i"].tolist(), near["j"].tolist(), near["v"].tolist(), strict=True):
            if not used_a[i] and not used_b[j]:
                used_a[i] = used_b[j] = True
                a.append(int(rows[i]))
                b.append(int(other_rows[j]))
                separation.append(float(v))
    return Match(np.array(a, dtype=np.intp), np.array(b, dtype=np.intp), np.array(separation), len(first), len(second))
