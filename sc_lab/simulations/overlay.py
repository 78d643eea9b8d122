"""Simulated clusters as a catalogue like an observed one, so that both lie in the same plots from the same code."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import MaskedColumn, QTable, Table, vstack
from astropy.utils.metadata import MergeConflictWarning

from sc_lab.catalog import validate
from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check

__all__ = ["STATES", "as_catalog", "cluster_states", "stack_catalogs"]

#: What a simulated cluster can be, in the order in which plots list them.
STATES = ("virialised", "bound", "unbound")
#: Radii that can stand for the effective one: column, and those of its scatter over the lines of sight.
_SIZES: dict[str, tuple[str, ...]] = {
    "given": ("r_eff",),
    "space": ("r_half",),
    "projected": ("r_projected", "r_projected_lo", "r_projected_hi"),
}
#: Numbers of the measurement that go along, for hovers and exports.
_KEPT = ("virial_ratio", "virial_ratio_stars", "n_star", "mass_dm", "mass_gas", "t_dyn")


@check.checked(clusters=check.table())
def cluster_states(clusters: Table) -> npt.NDArray[np.str_]:
    """Return what each simulated cluster is.

    Parameters
    ----------
    clusters : Table
        From `sc_lab.simulations.measure_clusters` or `as_catalog`.

    Returns
    -------
    ndarray of str, shape (n,)
        One of `STATES`.

    Raises
    ------
    InputError
        If the table does not say which clusters are bound and virialised.
    """
    if not len(clusters):
        return np.empty(0, dtype="<U10")
    missing = [name for name in ("bound", "virialised") if name not in clusters.colnames]
    if missing:
        msg = f"the table has no column {' and no column '.join(missing)}; give one of measure_clusters or as_catalog"
        raise InputError(msg)

    def said(name: str) -> npt.NDArray[np.bool_]:
        return np.ma.filled(np.ma.asarray(clusters[name]), fill_value=False).astype(bool)

    return np.where(said("virialised"), STATES[0], np.where(said("bound"), STATES[1], STATES[2]))


def _several(value: Any, name: str) -> None:
    """Refuse what is no sequence of tables."""
    if isinstance(value, (str, bytes, Mapping, Table, u.Quantity)) or not isinstance(value, Iterable):
        msg = f"{name} is a {type(value).__name__}; give one or more tables, from measure_clusters, in a list"
        raise InputError(msg)


@check.checked(field=check.optional(check.text), size=check.choice(*_SIZES))
def as_catalog(clusters: Table | Iterable[Table], *, field: str | None = None, size: str = "given") -> QTable:
    """Return simulated clusters as a catalogue that every part of the laboratory opens.

    Parameters
    ----------
    clusters : Table or sequence of Table
        From `sc_lab.simulations.measure_clusters`: one mode and snapshot, or several.
    field : str, optional
        What they are called among the fields; by default mode and redshift, such as "SGP z=12".
    size : {"given", "space", "projected"}
        Which radius is the effective one: that of the table, the half-mass radius in space, or its median in
        projection, with its scatter over the lines of sight as error.

    Returns
    -------
    QTable
        A checked catalogue: ``id``, ``field``, ``z``, ``mu`` = 1, ``r_eff`` (never a limit), ``mass``, ages where they
        are known; further ``state``, ``bound``, ``virialised``, ``mode``, ``simulated`` and what was measured.

    Raises
    ------
    InputError
        If the table is not one of clusters or empty, or a choice is not known.

    Notes
    -----
    Surface density and dynamical age are worked out anew from mass, radius and age, as for observed clusters. Clusters
    without mass or radius have no place in a plot and are left out.
    """
    if not isinstance(clusters, Table):
        _several(clusters, "clusters")
        several = list(clusters)
        for each in several:
            check.table_with(each, (), "clusters", "from measure_clusters")
        return stack_catalogs([as_catalog(each, field=field, size=size) for each in several if len(each)])
    wanted = ("id", "z", "mass", *_SIZES[size])
    missing = [name for name in wanted if name not in clusters.colnames]
    if missing:
        msg = f"the table has no column {', '.join(missing)}; give one of sc_lab.simulations.measure_clusters"
        raise InputError(msg)
    if not len(clusters):
        msg = "there are no clusters in the table; find groups with fewer members (min_stars, min_dm) or another b"
        raise InputError(msg)
    states = cluster_states(clusters)
    about = clusters.meta.get("simulation", {})
    mode = str(about.get("mode", ""))
    name = field or f"{mode or 'simulation'} z={float(about.get('redshift', np.nan)):.4g}"
    radius = u.Quantity(clusters[_SIZES[size][0]], u.pc).value
    mass = u.Quantity(clusters["mass"], u.Msun).value
    good = (radius > 0) & (mass > 0)
    out = QTable()
    out["id"] = np.array([f"{name}/{each}" for each in np.asarray(clusters["id"])[good]], dtype=str)
    out["field"] = np.full(int(good.sum()), name)
    out["z"] = np.asarray(clusters["z"], dtype=float)[good]
    out["mu"] = np.ones(int(good.sum()))
    out["r_eff"] = radius[good] * u.pc
    if size == "projected":
        low, high = (u.Quantity(clusters[column], u.pc).value[good] for column in _SIZES[size][1:])
        out["r_eff_err_lo"] = np.maximum(radius[good] - low, 0.0) * u.pc
        out["r_eff_err_hi"] = np.maximum(high - radius[good], 0.0) * u.pc
    out["r_eff_is_limit"] = np.zeros(int(good.sum()), dtype=bool)
    out["mass"] = mass[good] * u.Msun
    for column in ("age_onset", "age_mw"):
        if column in clusters.colnames:
            ages = np.ma.filled(np.ma.asarray(getattr(clusters[column], "value", clusters[column])), np.nan)[good]
            # A star of this very moment has no age yet that a plot on a logarithmic axis could show.
            unknown = ~(ages > 0)
            out[column] = MaskedColumn(np.where(unknown, np.nan, ages), mask=unknown, unit=u.Myr)
    out["state"] = states[good]
    out["bound"] = states[good] != "unbound"
    out["virialised"] = states[good] == "virialised"
    out["simulated"] = np.ones(int(good.sum()), dtype=bool)
    out["mode"] = np.full(int(good.sum()), mode)
    for column in _KEPT:
        if column in clusters.colnames:
            out[column] = clusters[column][good]
    checked = validate(out, source=name)
    checked.meta["simulation"] = dict(about) | {"size": size}
    return checked


@check.checked(catalogs=_several)
def stack_catalogs(catalogs: Iterable[Any]) -> QTable:
    """Return several catalogues, observed or simulated, as one.

    Parameters
    ----------
    catalogs : iterable of tables
        Each is checked first; the names of fields keep them apart.

    Returns
    -------
    QTable
        One checked catalogue. Columns that only some have are masked in the others; ``simulated`` tells
        simulated clusters from observed ones, whose ``state`` is "observed".

    Raises
    ------
    InputError
        If there is none, or identifiers occur in two of them.
    """
    parts = []
    for number, given in enumerate(catalogs):
        table = validate(given, source=f"catalogue {number + 1}")
        part = QTable(table, copy=True)
        part.meta.clear()
        if "simulated" not in part.colnames:
            part["simulated"] = np.zeros(len(part), dtype=bool)
            part["state"] = np.full(len(part), "observed")
        parts.append(part)
    if not parts:
        msg = "there are no catalogues to stack; give at least one"
        raise InputError(msg)
    names = np.concatenate([np.asarray(part["id"], dtype=str) for part in parts])
    unique, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        msg = (
            f"{int((counts > 1).sum())} identifiers are in more than one catalogue, such as {str(unique[counts > 1][0])!r}; "
            "give as_catalog(field=...) a name for each"
        )
        raise InputError(msg)
    # Draws have a length of their own in every catalogue; only those that all share can be kept.
    for column in {name for part in parts for name in part.colnames if name.endswith("_draws")}:
        shapes = {part[column].shape[1:] if column in part.colnames else None for part in parts}
        if len(shapes) > 1:
            for part in parts:
                if column in part.colnames:
                    part.remove_column(column)
    with warnings.catch_warnings():
        # Descriptions of columns with one name differ between files; the first one's is as good.
        warnings.simplefilter("ignore", MergeConflictWarning)
        stacked = vstack(parts, join_type="outer", metadata_conflicts="silent")
    return validate(stacked, source="stacked catalogues")
