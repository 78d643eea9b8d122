"""The full local tables from VizieR: fetched once, cached, and done without when there is no network."""

from __future__ import annotations

import math
import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.config import get_cache_dir
from astropy.table import Table

from sc_lab.errors import InputError, ScLabWarning
from sc_lab.reference.contours import CONTOURS, Contour, contours
from sc_lab.reference.tables import citation
from sc_lab.units import FloatArray, value_in

__all__ = ["VIZIER", "LocalPopulation", "VizierTable", "fetch", "populations"]

#: Longest wait for an answer of VizieR [s].
_TIMEOUT = 60


@dataclass(frozen=True, kw_only=True)
class VizierTable:
    """Where VizieR keeps a table, and which of its columns the plane needs.

    Attributes
    ----------
    catalogue : str
        VizieR identifier.
    citation : str
        The paper.
    radius : tuple of str
        Names under which the projected half-light radius [pc] is looked for.
    mass : tuple of str
        Names under which the mass [Msun] is looked for.
    """

    catalogue: str
    citation: str
    radius: tuple[str, ...]
    mass: tuple[str, ...]


#: VizieR names a catalogue after the journal, volume and page of its paper.
VIZIER: dict[str, VizierTable] = {
    "ysc": VizierTable(
        catalogue="J/MNRAS/508/5935",
        citation="Brown & Gnedin 2021, MNRAS 508, 5935",
        radius=("Reff", "reff", "r_eff_pc"),
        mass=("Mass", "mass_msun"),
    ),
    "gc_mw": VizierTable(
        catalogue="J/MNRAS/478/1520/table2",
        citation="Baumgardt & Hilker 2018, MNRAS 478, 1520",
        radius=("rmlp", "rhlp"),
        mass=("Mass",),
    ),
    "nsc": VizierTable(
        catalogue="J/MNRAS/457/2122",
        citation="Georgiev et al. 2016, MNRAS 457, 2122",
        radius=("reffNSC", "reff", "Reff"),
        mass=("MNSC", "Mass"),
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalPopulation:
    """A local population in the density-size plane.

    Attributes
    ----------
    name : str
        A key of `~sc_lab.reference.CONTOURS`.
    label : str
        What a legend calls it.
    citation : str
        The papers.
    contours : tuple of Contour
        The packaged lines; always there.
    log_r_eff, log_sigma : ndarray or None
        The objects themselves, decimal logarithms in pc and Msun/pc2; None without the full table.
    """

    name: str
    label: str
    citation: str
    contours: tuple[Contour, ...]
    log_r_eff: FloatArray | None = None
    log_sigma: FloatArray | None = None


def fetch(
    name: str,
    *,
    folder: Path | None = None,
    fetcher: Callable[[str], Table] | None = None,
) -> Table | None:
    """Return the full table of a local population from VizieR, or from the cache.

    Parameters
    ----------
    name : str
        A key of `VIZIER`.
    folder : Path, optional
        Where tables are cached. None = the cache folder of the platform.
    fetcher : callable, optional
        Returns the table of a VizieR identifier. None = astroquery.

    Returns
    -------
    Table or None
        The columns as VizieR names them; None, with a warning in words, when the table
        cannot be had.

    Raises
    ------
    InputError
        If there is no such table.
    """
    if name not in VIZIER:
        msg = f"there is no table named {name!r} to fetch; the tables are {', '.join(VIZIER)}"
        raise InputError(msg)
    entry = VIZIER[name]
    cache = (Path(get_cache_dir("sc_lab")) if folder is None else Path(folder)) / f"{name}.ecsv"
    if cache.is_file():
        try:
            return Table.read(cache, format="ascii.ecsv")
        # A damaged cache is no reason to stop: the table is fetched again.
        except Exception:  # noqa: BLE001
            cache.unlink(missing_ok=True)
    try:
        table = (fetcher or _from_vizier)(entry.catalogue)
    # Without a network astroquery raises errors of many libraries; all mean the same to the user.
    except Exception as error:  # noqa: BLE001
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        warnings.warn(
            f"the table of {entry.citation} (VizieR {entry.catalogue}) could not be fetched: {reason}. "
            "The packaged contours are used instead; try again with a network and with astroquery installed "
            "(pip install 'sc-lab[vizier]')",
            ScLabWarning,
            stacklevel=2,
        )
        return None
    _store(table, cache)
    return table


def _store(table: Table, cache: Path) -> None:
    """Write a table into the cache, whole or not at all; a read-only cache only costs time."""
    temporary = cache.with_name(f".{cache.name}.{secrets.token_hex(4)}.tmp")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        table.write(temporary, format="ascii.ecsv")
        temporary.replace(cache)
    except OSError:
        temporary.unlink(missing_ok=True)


def _from_vizier(catalogue: str) -> Table:
    """Return the largest table of a VizieR catalogue, all rows and columns."""
    from astroquery.vizier import Vizier

    service = Vizier(columns=["**"], row_limit=-1)
    service.TIMEOUT = _TIMEOUT
    found = service.get_catalogs(catalogue)
    if not len(found):
        msg = f"VizieR has no table {catalogue}"
        raise LookupError(msg)
    largest: Table = max(found, key=len)
    return largest


def populations(
    name: str,
    *,
    full: bool = False,
    folder: Path | None = None,
    fetcher: Callable[[str], Table] | None = None,
) -> LocalPopulation:
    """Return a local population: its contours, and on request its objects.

    Parameters
    ----------
    name : str
        A key of `~sc_lab.reference.CONTOURS`.
    full : bool
        Whether to fetch the full table too.
    folder, fetcher : optional
        As in `fetch`.

    Returns
    -------
    LocalPopulation
        Without objects, and with a warning in words, when the table cannot be had.

    Raises
    ------
    InputError
        If there is no such population.
    """
    lines = tuple(contours(name))
    bare = LocalPopulation(name=name, label=CONTOURS[name], citation=citation(name), contours=lines)
    table = fetch(name, folder=folder, fetcher=fetcher) if full else None
    if table is None:
        return bare
    entry = VIZIER[name]
    radius, mass = (_first(table, names) for names in (entry.radius, entry.mass))
    if radius is None or mass is None:
        warnings.warn(
            f"the table of {entry.citation} has none of the columns {', '.join(entry.radius + entry.mass)}; "
            f"it has {', '.join(table.colnames)}. The packaged contours are used instead",
            ScLabWarning,
            stacklevel=2,
        )
        return bare
    radius_pc = value_in(table[radius], u.pc, radius)
    mass_msun = value_in(table[mass], u.Msun, mass)
    good = (radius_pc > 0) & (mass_msun > 0)
    x = np.log10(radius_pc[good])
    y = np.log10(mass_msun[good]) - 2 * x - math.log10(2 * math.pi)
    return LocalPopulation(
        name=name, label=bare.label, citation=entry.citation, contours=lines, log_r_eff=x, log_sigma=y
    )


def _first(table: Table, names: tuple[str, ...]) -> str | None:
    """Return the first of some names that a table has as a column."""
    return next((name for name in names if name in table.colnames), None)
