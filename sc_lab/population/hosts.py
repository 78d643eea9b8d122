"""Histograms of host galaxies: stellar mass, star-formation rate, magnification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.population.histograms import bin_edges, scale
from sc_lab.population.quantities import Quantity
from sc_lab.units import FloatArray

__all__ = ["HOST_QUANTITIES", "HostHistogram", "host_histograms"]

#: What Fig. 4 of Claeyssens et al. 2026 shows of the hosts, in its order, and more that the table holds.
HOST_QUANTITIES: dict[str, Quantity] = {
    each.name: each
    for each in (
        Quantity(name="mass", label="stellar mass of the host", unit="M☉"),
        Quantity(name="sfr10", label="SFR over 10 Myr", unit="M☉ yr⁻¹"),
        Quantity(name="mu_median", label="median magnification"),
        Quantity(name="z", label="redshift", log=False),
        Quantity(name="sfr100", label="SFR over 100 Myr", unit="M☉ yr⁻¹"),
        Quantity(name="ssfr", label="specific SFR", unit="yr⁻¹"),
        Quantity(name="a_v", label="A_V", unit="mag", log=False),
        Quantity(name="age_mw", label="mass-weighted age", unit="Myr"),
    )
}

#: Units that the labels name, for tables that have others.
_UNITS: dict[str, u.UnitBase] = {
    "mass": u.Msun,
    "sfr10": u.Msun / u.yr,
    "sfr100": u.Msun / u.yr,
    "ssfr": 1 / u.yr,
    "a_v": u.mag,
    "age_mw": u.Myr,
}


@dataclass(frozen=True)
class HostHistogram:
    """Counts of one quantity over the hosts.

    Attributes
    ----------
    quantity : Quantity
        What was binned.
    edges : ndarray, shape (bins + 1,)
        Bin edges; decimal logarithms where ``quantity.log``.
    counts : ndarray of int, shape (bins,)
        Hosts in each bin.
    median : float
        Median of the values as binned; NaN where there are none.
    n_missing : int
        Hosts without a value.
    """

    quantity: Quantity
    edges: FloatArray
    counts: npt.NDArray[np.int64]
    median: float
    n_missing: int


def host_histograms(
    table: Any, *, quantities: Sequence[str] = ("mass", "sfr10", "mu_median"), bins: int = 12
) -> dict[str, HostHistogram]:
    """Count hosts in bins of their properties.

    Parameters
    ----------
    table : QTable
        What `sc_lab.clumps.fit_hosts` returns; any table with these columns.
    quantities : sequence of str
        Keys of `HOST_QUANTITIES`; by default those of Fig. 4 of Claeyssens et al. 2026: stellar mass, SFR over
        10 Myr, and median magnification.
    bins : int
        Equal bins of each.

    Returns
    -------
    dict of str to HostHistogram
        By name.

    Raises
    ------
    InputError
        If a quantity or its column is not known, or ``bins`` is no number of bins.
    """
    out = {}
    for name in quantities:
        if name not in HOST_QUANTITIES:
            msg = f"there is no host quantity named {name!r}; choose from {', '.join(HOST_QUANTITIES)}"
            raise InputError(msg)
        if name not in table.colnames:
            msg = f"the table has no column {name!r}; give one from fit_hosts, or leave {name!r} out of quantities"
            raise InputError(msg)
        entry = HOST_QUANTITIES[name]
        column = table[name]
        plain = column.to_value(_UNITS[name]) if isinstance(column, u.Quantity) else np.ma.filled(column, np.nan)
        values = scale(np.asarray(plain, dtype=np.float64), log=entry.log)
        edges = bin_edges(values, log=False, bins=bins)
        finite = values[np.isfinite(values)]
        out[name] = HostHistogram(
            quantity=entry,
            edges=edges,
            counts=np.histogram(finite, edges)[0].astype(np.int64),
            median=float(np.median(finite)) if finite.size else math.nan,
            n_missing=int(len(values) - len(finite)),
        )
    return out
