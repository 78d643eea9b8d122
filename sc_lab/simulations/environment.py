"""Where simulated clusters live: their nearest dark-matter halo, neighbours, and whether they have a halo at all."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.groups import Groups
from sc_lab.simulations.snapshot import Snapshot
from sc_lab.units import FloatArray

__all__ = ["add_environment", "halo_table"]

_DM = 1


@check.checked(snapshot=check.snapshot, groups=check.groups, min_dm=check.count())
def halo_table(snapshot: Snapshot, groups: Groups, *, min_dm: int = 32) -> QTable:
    """Return place, mass and radius of the dark-matter haloes.

    Parameters
    ----------
    snapshot : Snapshot
        The particles.
    groups : Groups
        Its groups, with dark matter among the linked types.
    min_dm : int
        Haloes need more dark-matter particles than this.

    Returns
    -------
    QTable
        ``group``; ``x``, ``y``, ``z_position`` of the centre of mass [kpc, physical, inside the box]; ``mass_dm``
        [Msun]; ``r_200`` [kpc]: the radius of a sphere of that mass with 200 times the critical density then.

    Raises
    ------
    InputError
        If dark matter was not linked.
    """
    if _DM not in groups.primary:
        msg = f"dark matter is not among the linked types {groups.primary}; find groups with mode 'DMP-GS' or 'SGDMP'"
        raise InputError(msg)
    header = snapshot.header
    chosen = np.flatnonzero(groups.lengths[:, _DM] > min_dm)
    position = snapshot.dm["Coordinates"].to_value(u.kpc)
    mass = snapshot.dm["Masses"].to_value(u.Msun)
    box = _box(snapshot)
    labels = groups.labels[_DM]
    n = len(groups)
    inside = labels >= 0
    total = np.bincount(labels[inside], weights=mass[inside], minlength=n)
    # One image of every halo around its first particle; centres wrap back into the box.
    first = np.full(n, -1)
    rows = np.flatnonzero(inside)[::-1]
    first[labels[rows]] = rows
    offset = position[inside] - position[first[labels[inside]]]
    if box > 0:
        offset -= box * np.round(offset / box)
    centre = np.stack(
        [np.bincount(labels[inside], weights=mass[inside] * offset[:, axis], minlength=n) for axis in range(3)], axis=1
    )
    centre = position[first] + centre / np.where(total > 0, total, 1.0)[:, None]
    if box > 0:
        centre %= box
    density = header.cosmology.critical_density(header.redshift).to_value(u.Msun / u.kpc**3)
    radius = (total[chosen] / (200.0 * density * 4.0 / 3.0 * np.pi)) ** (1.0 / 3.0)
    table = QTable({"group": chosen})
    for axis, name in enumerate(("x", "y", "z_position")):
        table[name] = centre[chosen, axis] * u.kpc
    table["mass_dm"] = total[chosen] * u.Msun
    table["r_200"] = radius * u.kpc
    return table


@check.checked(
    clusters=check.table("x", "y", "z_position", "n_dm"),
    haloes=check.table("x", "y", "z_position", "group", "mass_dm", "r_200", mend="from halo_table"),
    snapshot=check.snapshot,
    radii=check.array(words="comoving radii above 0 [ckpc/h], such as (5, 10)", low=0.0, closed=False, shape=(None,)),
)
def add_environment(
    clusters: QTable, haloes: QTable, snapshot: Snapshot, *, radii: tuple[float, ...] = (5.0, 10.0)
) -> QTable:
    """Return clusters with their nearest halo and the numbers of their neighbours.

    Parameters
    ----------
    clusters : QTable
        From `sc_lab.simulations.measure_clusters`.
    haloes : QTable
        From `halo_table`.
    snapshot : Snapshot
        Box and units.
    radii : tuple of float
        Comoving radii [ckpc/h] in which neighbours are counted (Williams et al. 2025, section 4.4).

    Returns
    -------
    QTable
        A copy with ``halo_group``, ``halo_distance`` [kpc], ``halo_mass`` [Msun], ``in_halo`` (inside its radius),
        ``has_halo_dm`` (dark matter inside the cluster's own radius), ``n_haloes_<r>`` and ``n_clusters_<r>``.
    """
    out = clusters.copy()
    box = _box(snapshot)
    here, there = _positions(clusters), _positions(haloes)
    away, nearest = _nearest(here, there, box)
    known = np.isfinite(away)
    out["halo_group"] = np.where(known, np.asarray(haloes["group"])[nearest] if len(haloes) else -1, -1)
    out["halo_distance"] = away * u.kpc
    mass, radius = (
        np.where(known, haloes[name].to_value(unit)[nearest], np.nan) if len(haloes) else np.full(len(out), np.nan)
        for name, unit in (("mass_dm", u.Msun), ("r_200", u.kpc))
    )
    out["halo_mass"] = mass * u.Msun
    with np.errstate(invalid="ignore"):
        out["in_halo"] = away < radius
    out["has_halo_dm"] = np.asarray(clusters["n_dm"]) > 0
    scale = snapshot.header.a / snapshot.header.h
    for size in radii:
        name = f"{size:g}".replace(".", "_")
        out[f"n_haloes_{name}"] = _counts(here, there, size * scale, box)
        out[f"n_clusters_{name}"] = np.maximum(_counts(here, here, size * scale, box) - 1, 0)
    return out


def _box(snapshot: Snapshot) -> float:
    """Return the physical side of the box [kpc]."""
    header = snapshot.header
    return header.box_size * header.a / header.h * header.length_cm / 3.0856775814913673e21


def _positions(table: QTable) -> FloatArray:
    """Return places [kpc] in rows."""
    return np.stack([table[name].to_value(u.kpc) for name in ("x", "y", "z_position")], axis=-1).reshape(-1, 3)


def _tree(points: FloatArray, box: float) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(_wrapped(points, box), boxsize=box or None)


def _wrapped(points: FloatArray, box: float) -> FloatArray:
    """Return positions strictly inside the box, as SciPy wants them."""
    if not box > 0:
        return points
    inside = points % box
    return np.where(inside >= box, 0.0, inside)


def _nearest(here: FloatArray, there: FloatArray, box: float) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return distance and row of the nearest point, infinity and 0 where there is none."""
    if not len(there) or not len(here):
        return np.full(len(here), np.inf), np.zeros(len(here), dtype=np.int64)
    away, row = _tree(there, box).query(_wrapped(here, box))
    return np.asarray(away), np.asarray(row, dtype=np.int64)


def _counts(here: FloatArray, there: FloatArray, radius: float, box: float) -> npt.NDArray[np.int64]:
    """Return how many points lie within a radius."""
    if not len(there) or not len(here):
        return np.zeros(len(here), dtype=np.int64)
    found = _tree(there, box).query_ball_point(_wrapped(here, box), radius, return_length=True)
    return np.asarray(found, dtype=np.int64)
