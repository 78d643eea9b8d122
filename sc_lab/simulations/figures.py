"""The numbers behind the figures of simulated clusters: densities by redshift, time-scale lines, phases of the gas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.groups import Groups
from sc_lab.simulations.halos import HaloModel
from sc_lab.simulations.snapshot import Snapshot
from sc_lab.simulations.timescales import (
    Relation,
    can_virialise,
    cooling_time,
    dynamical_time,
    fit_relation,
    interaction_time,
)
from sc_lab.units import FloatArray, value_in

__all__ = ["TimescaleLines", "Violin", "box_volume", "gas_phases", "halo_gas", "timescale_lines", "violins"]

#: Hydrogen densities [cm^-3] that stand for the two kinds of haloes until the user's own are known.
PLACEHOLDER_DENSITIES = (0.5, 100.0)
#: kB T = 2/3 u mu m_p: factor from (km/s)^2 to K without mu; protons in a cubic centimetre for 1 Msun/kpc^3.
_KELVIN = 2.0 / 3.0 * 1e10 * 1.67262192e-24 / 1.380649e-16
_PER_CM3 = 1.98840987e33 / (3.0856775814913673e21**3 * 1.67262192e-24)
_HYDROGEN = 0.76


@check.checked(snapshot=check.snapshot)
def box_volume(snapshot: Snapshot) -> u.Quantity:
    """Return the comoving volume of a periodic box.

    Parameters
    ----------
    snapshot : Snapshot
        With the side of its box.

    Returns
    -------
    Quantity
        Volume [Mpc^3, comoving].

    Raises
    ------
    InputError
        If there is no box.
    """
    header = snapshot.header
    if not header.box_size > 0:
        msg = f"{snapshot.name} has no periodic box; give the volume that the clusters were searched in yourself"
        raise InputError(msg)
    side = header.box_size / header.h * header.length_cm / 3.0856775814913673e24
    return side**3 * u.Mpc**3


@dataclass(frozen=True, eq=False)
class Violin:
    """One distribution, as a violin shows it.

    Attributes
    ----------
    label : str
        Whose.
    z : float
        Redshift.
    n : int
        Values.
    grid, density : ndarray
        log10 of the values, and the probability density there; empty for fewer than two different values.
    median, low, high : float
        50, 16 and 84 % of the values; NaN without any.
    """

    label: str
    z: float
    n: int
    grid: FloatArray
    density: FloatArray
    median: float
    low: float
    high: float


def _samples(value: Any, name: str) -> None:
    """Refuse what is no mapping of tables."""
    if not isinstance(value, Mapping):
        msg = f"{name} is a {type(value).__name__}; give a mapping of names to tables"
        raise InputError(msg)
    for each in value.values():
        check.table_with(each, (), name, "with the columns z and what is shown")


@check.checked(samples=_samples, column=check.text, split=check.flag, points=check.count(low=2))
def violins(
    samples: Mapping[str, Table], column: str = "sigma_mass", *, split: bool = True, points: int = 120
) -> list[Violin]:
    """Return distributions by sample and redshift.

    Parameters
    ----------
    samples : mapping of str to Table
        Catalogues with ``z`` and the column, by name; observed ones too.
    column : str
        What is shown, above 0.
    split : bool
        Whether the redshifts of one sample (each snapshot) are distributions of their own; else its median counts.
    points : int
        Points of the curves.

    Returns
    -------
    list of Violin
        In the order of samples, the highest redshift first (Williams et al. 2025, figure 10).

    Raises
    ------
    InputError
        If a table does not have the column.
    """
    out = []
    for label, table in samples.items():
        missing = [name for name in ("z", column) if name not in table.colnames]
        if missing:
            msg = f"{label} has no column {', '.join(missing)}; it has {', '.join(table.colnames[:12])}"
            raise InputError(msg)
        values: FloatArray = np.ma.filled(
            np.ma.asarray(getattr(table[column], "value", table[column]), dtype=float), np.nan
        )
        z: FloatArray = np.ma.filled(np.ma.asarray(table["z"], dtype=float), np.nan)
        good = np.isfinite(values) & (values > 0) & np.isfinite(z)
        whole = np.unique(np.round(z[good], 3))[::-1]
        parts = [(float(each), good & (np.round(z, 3) == each)) for each in whole]
        if not split:
            parts = [(float(np.median(z[good])) if good.any() else np.nan, good)]
        out += [_violin(label, at, values[rows], points) for at, rows in parts]
    return out


def _violin(label: str, z: float, values: FloatArray, points: int) -> Violin:
    """Return one distribution, smoothed with the width of Silverman's rule."""
    if not len(values):
        return Violin(label, z, 0, np.empty(0), np.empty(0), np.nan, np.nan, np.nan)
    x = np.log10(values)
    low, middle, high = (float(each) for each in np.quantile(values, [0.16, 0.5, 0.84]))
    spread = float(min(x.std(), np.subtract(*np.quantile(x, [0.75, 0.25])) / 1.349 or x.std()))
    if len(x) < 2 or not spread > 0:
        return Violin(label, z, len(x), np.empty(0), np.empty(0), middle, low, high)
    width = 0.9 * spread * len(x) ** -0.2
    grid = np.linspace(x.min() - 2 * width, x.max() + 2 * width, points)
    density = np.exp(-0.5 * ((grid[:, None] - x) / width) ** 2).sum(axis=1) / (len(x) * width * np.sqrt(2 * np.pi))
    return Violin(label, z, len(x), grid, density, middle, low, high)


@dataclass(frozen=True, eq=False)
class TimescaleLines:
    """Model time-scales along the mass of the stars.

    Attributes
    ----------
    mass : ndarray, shape (n,)
        Stellar mass [Msun].
    densities : ndarray, shape (k,)
        Hydrogen density of the gas [cm^-3].
    t_cool, t_dyn, t_vir : ndarray, shape (k, n)
        Cooling, dynamical and virialisation time [Myr].
    t_int_local, t_int_nearest : ndarray, shape (n,)
        Interaction time among the haloes around, and with the nearest one [Myr].
    gas, dark : Relation
        Gas and dark-matter mass from the stellar mass, fitted to the catalogue.
    cautions : tuple of str
        What the numbers stand on.
    """

    mass: FloatArray
    densities: FloatArray
    t_cool: FloatArray
    t_dyn: FloatArray
    t_vir: FloatArray
    t_int_local: FloatArray
    t_int_nearest: FloatArray
    gas: Relation
    dark: Relation
    cautions: tuple[str, ...] = ()

    def virialises(self, age: float, *, nearest: bool = False) -> Any:
        """Return where objects of an age can have virialised.

        Parameters
        ----------
        age : float
            Time since they formed [Myr].
        nearest : bool
            Whether the interaction with the nearest halo counts instead of those around.

        Returns
        -------
        ndarray of bool, shape (k, n)
            t_vir < age and t_vir < t_int.
        """
        return can_virialise(self.t_vir, age, self.t_int_nearest if nearest else self.t_int_local)


@check.checked(
    clusters=check.table("mass", "z", "mass_gas", "mass_dm", "mass_dm_group", "r_max"),
    z=check.optional(check.scalar(-1.0, "a redshift", closed=False)),
    mass=check.optional(check.array(u.Msun, words="masses above 0", low=0.0, closed=False, shape=(None,))),
    densities=check.array(
        u.cm**-3, words="densities above 0, such as (0.5, 100)", low=0.0, closed=False, shape=(None,)
    ),
    model=check.optional(check.halo_model),
)
def timescale_lines(
    clusters: Table,
    *,
    z: float | None = None,
    mass: Any = None,
    densities: Sequence[float] = PLACEHOLDER_DENSITIES,
    f_h2: float = 5e-4,
    model: HaloModel | None = None,
) -> TimescaleLines:
    """Return the model lines that are drawn over the dynamical times of clusters.

    Parameters
    ----------
    clusters : Table
        From `sc_lab.simulations.measure_clusters`; gas and dark matter are fitted as functions of its stellar mass.
    z : float, optional
        Redshift; that of the catalogue by default.
    mass : array_like, optional
        Stellar masses [Msun]; by default 60 from half the lightest to twice the heaviest.
    densities : sequence of float
        Hydrogen densities [cm^-3]. The two of the paper are the peaks of its own haloes: take yours from `halo_gas` and
        `sc_lab.simulations.bimodality`.
    f_h2 : float
        Fraction of molecular hydrogen.
    model : HaloModel, optional
        Numbers of haloes.

    Returns
    -------
    TimescaleLines
        The lines (Williams et al. 2025, figures 6 and 13).

    Raises
    ------
    InputError
        If fewer than three clusters have gas, or dark matter, around them.
    """
    stars = u.Quantity(clusters["mass"], u.Msun).value
    at = float(np.median(np.asarray(clusters["z"], dtype=float))) if z is None else float(z)
    cautions = []
    if densities is PLACEHOLDER_DENSITIES:
        cautions.append("the gas densities are placeholders: take them from halo_gas and bimodality")
    dark_name = "mass_dm" if (u.Quantity(clusters["mass_dm"], u.Msun).value > 0).sum() >= 3 else "mass_dm_group"
    gas = fit_relation(stars, clusters["mass_gas"])
    dark = fit_relation(stars, clusters[dark_name])
    cautions += [
        f"the relation of {name} to stellar mass explains {100 * each.r_squared:.0f} % of the scatter of {each.n} clusters"
        for name, each in (("gas mass", gas), ("dark-matter mass", dark))
    ]
    along = np.geomspace(0.5 * stars.min(), 2.0 * stars.max(), 60) if mass is None else value_in(mass, u.Msun, "mass")
    n_h = value_in(densities, u.cm**-3, "densities")[:, None]
    m_gas, m_dark = gas(along), dark(along)
    total = along + m_gas + m_dark
    cool = cooling_time(m_gas[None, :], n_h, f_h2=f_h2)
    settle = dynamical_time(m_gas[None, :], n_h, total=total[None, :])
    made = model or HaloModel()
    radius = np.median(u.Quantity(clusters["r_max"], u.kpc).value)
    around: dict[str, Any] = {"h": made.h, "model": made}
    local = interaction_time(m_dark, radius, at, **around)
    nearest = interaction_time(m_dark, radius, at, neighbours=1.0, distance=1.5 / made.h / (1.0 + at), **around)
    return TimescaleLines(along, n_h[:, 0], cool, settle, cool + settle, local, nearest, gas, dark, tuple(cautions))


@check.checked(snapshot=check.snapshot, groups=check.optional(check.groups), bins=check.count(low=1))
def gas_phases(snapshot: Snapshot, groups: Groups | None = None, *, bins: int = 80) -> tuple[FloatArray, ...]:
    """Return the mass of gas by density and temperature.

    Parameters
    ----------
    snapshot : Snapshot
        With densities and internal energies of the gas.
    groups : Groups, optional
        Only the gas in groups counts.
    bins : int
        Along each axis.

    Returns
    -------
    (ndarray, ndarray, ndarray)
        Mass [Msun], shape (bins, bins), with temperature along the rows; edges of log10 n_H [cm^-3] and log10 T [K]
        (Williams et al. 2025, figure 5).
    """
    density, temperature = _gas(snapshot)
    mass = snapshot.gas["Masses"].to_value(u.Msun)
    rows = np.ones(len(mass), dtype=bool) if groups is None else _gas_labels(groups, len(mass)) >= 0
    x, y = np.log10(density[rows]), np.log10(temperature[rows])
    image, along, up = np.histogram2d(x, y, bins=bins, weights=mass[rows])
    return image.T, along, up


@check.checked(snapshot=check.snapshot, groups=check.groups, min_gas=check.count())
def halo_gas(snapshot: Snapshot, groups: Groups, *, min_gas: int = 20) -> QTable:
    """Return the mean density and temperature of the gas of every group.

    Parameters
    ----------
    snapshot : Snapshot
        With densities and internal energies of the gas.
    groups : Groups
        Its groups.
    min_gas : int
        Groups with fewer gas cells are left out.

    Returns
    -------
    QTable
        ``group``, ``n_gas``, ``mass_gas`` [Msun], mass-weighted ``n_h`` [cm^-3] and ``temperature`` [K]; the two peaks of
        log n_h, which `sc_lab.simulations.bimodality` finds, are the densities of `timescale_lines`.
    """
    density, temperature = _gas(snapshot)
    mass = snapshot.gas["Masses"].to_value(u.Msun)
    labels = _gas_labels(groups, len(mass))
    inside = labels >= 0
    n = len(groups)

    def total(weights: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(labels[inside], weights=weights[inside], minlength=n), dtype=np.float64)

    held, count = total(mass), np.bincount(labels[inside], minlength=n)
    chosen = np.flatnonzero(count >= max(min_gas, 1))
    table = QTable({"group": chosen, "n_gas": count[chosen]})
    table["mass_gas"] = held[chosen] * u.Msun
    table["n_h"] = (total(mass * density)[chosen] / held[chosen]) * u.cm**-3
    table["temperature"] = (total(mass * temperature)[chosen] / held[chosen]) * u.K
    return table


def _gas_labels(groups: Groups, n: int) -> Any:
    return groups.labels.get(0, np.full(n, -1, dtype=np.int64))


def _gas(snapshot: Snapshot) -> tuple[FloatArray, FloatArray]:
    """Return density of hydrogen [cm^-3] and temperature [K] of every gas cell."""
    gas = snapshot.gas
    density = _HYDROGEN * gas["Density"].to_value(u.Msun / u.kpc**3) * _PER_CM3
    free = np.asarray(gas.code("ElectronAbundance"), dtype=float) if "ElectronAbundance" in gas else 0.0
    mu = 4.0 / (1.0 + 3.0 * _HYDROGEN + 4.0 * _HYDROGEN * free)
    return density, np.asarray(gas["InternalEnergy"].to_value(u.km**2 / u.s**2) * mu * _KELVIN)
