"""The six lensing fields of the mock: how many clumps, where, how far, how magnified, how large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FIELDS", "LENS_REDSHIFT", "Field", "share"]

#: Redshift of the lens whose globular clusters contaminate the sample (AS1063).
LENS_REDSHIFT = 0.351


@dataclass(frozen=True, kw_only=True)
class Field:
    """One lensing field: what its clumps are drawn from.

    Attributes
    ----------
    name : str
        Name, and the first part of the identifiers.
    weight : int
        Clumps in Claeyssens et al. 2026, table 1; the share of the mock goes by it.
    ra, dec : float
        Centre of the lensing cluster [deg].
    z_low, z_high : float
        Redshift range of the sources.
    clumps_per_galaxy : float
        Mean number of clumps in one image of one source.
    mu_median, mu_sigma : float
        Median magnification and its scatter in ln.
    size_median, size_sigma : float
        Median intrinsic effective radius [pc] and its scatter in ln.
    gc_fraction : float
        Chance that an entry is an intra-cluster globular cluster of the lens.
    """

    name: str
    weight: int
    ra: float
    dec: float
    z_low: float
    z_high: float
    clumps_per_galaxy: float
    mu_median: float
    mu_sigma: float
    size_median: float
    size_sigma: float
    gc_fraction: float = 0.0


#: Sizes and magnifications are chosen so that the numbers of clumps below 20, 30 and 50 pc come out
#: near those of Claeyssens et al. 2026, table 1 and section 5.1; each realisation scatters about them.
FIELDS: tuple[Field, ...] = (
    Field(
        name="AS1063",
        weight=451,
        ra=342.18321,
        dec=-44.53056,
        z_low=0.5,
        z_high=8.2,
        clumps_per_galaxy=7.0,
        mu_median=13.0,
        mu_sigma=0.70,
        size_median=29.0,
        size_sigma=1.45,
        gc_fraction=0.10,
    ),
    Field(
        name="A2744",
        weight=1920,
        ra=3.58750,
        dec=-30.39722,
        z_low=1.0,
        z_high=8.0,
        clumps_per_galaxy=4.0,
        mu_median=5.5,
        mu_sigma=0.55,
        size_median=94.0,
        size_sigma=0.67,
    ),
    Field(
        name="SMACS0723",
        weight=148,
        ra=110.82500,
        dec=-73.45472,
        z_low=1.0,
        z_high=8.5,
        clumps_per_galaxy=8.0,
        mu_median=10.0,
        mu_sigma=0.60,
        size_median=49.0,
        size_sigma=1.30,
    ),
    Field(
        name="WHL0137",
        weight=6,
        ra=24.35417,
        dec=-8.45750,
        z_low=6.2,
        z_high=6.2,
        clumps_per_galaxy=6.0,
        mu_median=60.0,
        mu_sigma=0.40,
        size_median=7.0,
        size_sigma=0.70,
    ),
    Field(
        name="SPT0615",
        weight=5,
        ra=93.96667,
        dec=-57.78111,
        z_low=9.6,
        z_high=9.6,
        clumps_per_galaxy=5.0,
        mu_median=80.0,
        mu_sigma=0.30,
        size_median=1.2,
        size_sigma=0.30,
    ),
    Field(
        name="MACSJ1423",
        weight=10,
        ra=215.95000,
        dec=24.07972,
        z_low=8.3,
        z_high=8.3,
        clumps_per_galaxy=10.0,
        mu_median=22.0,
        mu_sigma=0.30,
        size_median=5.0,
        size_sigma=0.40,
    ),
)


def share(n: int) -> npt.NDArray[np.int64]:
    """Return how many of ``n`` clumps each field gets, by largest remainder.

    Parameters
    ----------
    n : int
        Clumps in all.

    Returns
    -------
    ndarray of int
        One number a field, summing to ``n``; table 1 of the paper for n = 2540.
    """
    weights = np.array([field.weight for field in FIELDS], dtype=float)
    exact = n * weights / weights.sum()
    counts = np.floor(exact).astype(np.int64)
    short = n - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return np.asarray(counts, dtype=np.int64)
