"""Which galaxies are worth a search: a sure redshift and enough magnification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.images.galaxy import Galaxy
from sc_lab.units import FloatArray, value_in

__all__ = ["GalaxySelection", "Magnifier", "select_galaxies"]

#: At most this many places per galaxy; the step grows with the contour.
_MOST_PLACES = 2000


class Magnifier(Protocol):
    """What a lens model must offer to select galaxies."""

    def magnification(self, ra: Any, dec: Any, z: Any) -> Any:
        """Return the signed magnification as the first of its values.

        Parameters
        ----------
        ra, dec : array_like
            Positions [deg].
        z : float
            Redshift of the source.

        Returns
        -------
        tuple
            Magnification first; NaN outside the model.
        """


@dataclass(frozen=True, eq=False)
class GalaxySelection:
    """Result of `select_galaxies`.

    Attributes
    ----------
    kept : tuple of Galaxy
        Galaxies that meet the conditions, in the order given.
    table : QTable
        One row a galaxy: id, system, image, z, z_spec, dz, mu_max (largest absolute magnification in the contour),
        mu_median, covered (fraction of the contour that the lens model covers), kept, reason.
    """

    kept: tuple[Galaxy, ...]
    table: QTable


def select_galaxies(
    galaxies: Sequence[Galaxy],
    lens: Magnifier,
    *,
    max_dz: float = 0.5,
    min_magnification: float = 5.0,
    step: u.Quantity = 0.1 * u.arcsec,
) -> GalaxySelection:
    """Keep galaxies with a sure redshift that are magnified enough.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        Candidates.
    lens : LensModel
        Anything with ``magnification(ra, dec, z)``.
    max_dz : float
        A photometric redshift must be less uncertain than this.
    min_magnification : float
        Least value of the largest absolute magnification inside the contour.
    step : `~astropy.units.Quantity`
        Distance of the places inside a contour at which the magnification is asked for; larger in a large contour.

    Returns
    -------
    GalaxySelection
        Galaxies kept, and a reason for each that is not.

    Raises
    ------
    InputError
        If a limit is not a positive number.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.1: a spectroscopic redshift or dz < 0.5, and mu >= 5 in the segment.
    """
    spacing = float(value_in(step, u.arcsec, "step"))
    for name, value in (("max_dz", max_dz), ("min_magnification", min_magnification), ("step", spacing)):
        if not (value > 0 and math.isfinite(value)):
            msg = f"{name} is {value}; give a number greater than zero"
            raise InputError(msg)
    kept: list[Galaxy] = []
    rows: list[tuple[float, float, float, bool, str]] = []
    for galaxy in galaxies:
        largest, median, covered = _magnification(galaxy, lens, spacing)
        reason = _reason(galaxy, largest, max_dz, min_magnification)
        rows.append((largest, median, covered, not reason, reason))
        if not reason:
            kept.append(galaxy)
    largest_, median_, covered_, kept_, reason_ = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    table = QTable(
        {
            "id": np.array([each.id for each in galaxies], dtype=str),
            "system": np.array([each.system for each in galaxies], dtype=str),
            "image": np.array([each.image for each in galaxies], dtype=str),
            "z": np.array([each.z for each in galaxies], dtype=np.float64),
            "z_spec": np.array([each.z_spec for each in galaxies], dtype=bool),
            "dz": np.array([each.dz for each in galaxies], dtype=np.float64),
            "mu_max": np.array(largest_, dtype=np.float64),
            "mu_median": np.array(median_, dtype=np.float64),
            "covered": np.array(covered_, dtype=np.float64),
            "kept": np.array(kept_, dtype=bool),
            "reason": np.array(reason_, dtype=str),
        }
    )
    table.meta["selection"] = {"max_dz": float(max_dz), "min_magnification": float(min_magnification)}
    return GalaxySelection(tuple(kept), table)


def _reason(galaxy: Galaxy, largest: float, max_dz: float, min_magnification: float) -> str:
    """Return why a galaxy is left out; empty where it is kept."""
    if not math.isfinite(galaxy.z):
        return "no redshift"
    if not galaxy.z_spec and not galaxy.dz < max_dz:
        known = f"{galaxy.dz:.2f}" if math.isfinite(galaxy.dz) else "unknown"
        return f"photometric redshift uncertainty {known}, not below {max_dz:g}"
    if not math.isfinite(largest):
        return "outside the lens model"
    if largest < min_magnification:
        return f"largest magnification {largest:.2f}, below {min_magnification:g}"
    return ""


def _magnification(galaxy: Galaxy, lens: Magnifier, step: float) -> tuple[float, float, float]:
    """Return largest and median absolute magnification in a contour, and the fraction that the model covers."""
    if not math.isfinite(galaxy.z):
        return math.nan, math.nan, math.nan
    ra, dec = _places(galaxy, step)
    mu = np.abs(np.asarray(lens.magnification(ra, dec, galaxy.z)[0], dtype=np.float64))
    known = mu[~np.isnan(mu)]
    if not known.size:
        return math.nan, math.nan, 0.0
    return float(known.max()), float(np.median(known)), known.size / mu.size


def _places(galaxy: Galaxy, step: float) -> tuple[FloatArray, FloatArray]:
    """Return positions on a grid inside the contour, and its vertices."""
    contour = galaxy.contour
    area = float(galaxy.polygon.area)
    step = max(step, math.sqrt(area / _MOST_PLACES))
    west, south, east, north = galaxy.polygon.bounds
    # Offsets in arcsec from the first vertex, as the polygon has them.
    x, y = np.meshgrid(np.arange(west + step / 2, east, step), np.arange(south + step / 2, north, step))
    ra = contour[0, 0] + x.ravel() / 3600.0 / math.cos(math.radians(contour[0, 1]))
    dec = contour[0, 1] + y.ravel() / 3600.0
    inside = galaxy.contains(ra, dec)
    return np.append(ra[inside] % 360.0, contour[:, 0]), np.append(dec[inside], contour[:, 1])
