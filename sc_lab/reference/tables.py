"""Small published samples and tables that come with the package, each with its citation."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

from astropy.table import QTable, Table

from sc_lab.catalog import read_catalog
from sc_lab.errors import InputError

__all__ = ["SAMPLES", "citation", "glimpse_table1", "glimpse_table2", "packaged_table", "sample"]

#: Published samples of lensed star clusters, and the arcs that hold them.
SAMPLES: dict[str, str] = {
    "cosmic_gems": "Cosmic Gems arc (SPT0615-JD1), z = 9.625",
    "firefly_sparkle": "Firefly Sparkle (MACS J1423), z = 8.296",
}
_TABLES = ("glimpse_table1", "glimpse_table2")


@lru_cache
def _read(name: str) -> Table:
    """Return a packaged ECSV file."""
    with as_file(files("sc_lab.reference") / "data" / f"{name}.ecsv") as path:
        return Table.read(path, format="ascii.ecsv")


def packaged_table(name: str) -> Table:
    """Return a table that comes with the package, as it is in its file.

    Parameters
    ----------
    name : str
        File name without the suffix.

    Returns
    -------
    Table
        A copy that the caller may change.
    """
    return _read(name).copy()


def sample(name: str) -> QTable:
    """Return a published sample of lensed star clusters as a catalogue.

    Parameters
    ----------
    name : {"cosmic_gems", "firefly_sparkle"}
        A key of `SAMPLES`.

    Returns
    -------
    QTable
        Canonical columns; the citation is in ``meta``.

    Raises
    ------
    InputError
        If there is no such sample.

    Examples
    --------
    >>> len(sample("firefly_sparkle"))
    10
    """
    if name not in SAMPLES:
        msg = f"there is no sample named {name!r}; the samples are {', '.join(SAMPLES)}"
        raise InputError(msg)
    with as_file(files("sc_lab.reference") / "data" / f"{name}.ecsv") as path:
        return read_catalog(path)


def glimpse_table1() -> QTable:
    """Return the samples of Claeyssens et al. 2026, table 1: fields, counts, redshifts, filters.

    Returns
    -------
    QTable
        One row a field, as printed.
    """
    return QTable(packaged_table("glimpse_table1"))


def glimpse_table2() -> QTable:
    """Return the mass-function fits of Claeyssens et al. 2026, table 2.

    Returns
    -------
    QTable
        One row a lens model: mode, median and 68% errors of the power-law slope, and of the
        slope and log10 truncation mass [Msun] of the Schechter function.
    """
    return QTable(packaged_table("glimpse_table2"))


def citation(name: str) -> str:
    """Return the papers to cite for a sample, a table or the contours of a population.

    Parameters
    ----------
    name : str
        A key of `SAMPLES` or of `~sc_lab.reference.CONTOURS`, ``"glimpse_table1"`` or ``"glimpse_table2"``.

    Returns
    -------
    str
        The citation.

    Raises
    ------
    InputError
        If there is nothing of that name.

    Examples
    --------
    >>> citation("ysc")
    'Brown & Gnedin 2021, MNRAS 508, 5935 (LEGUS)'
    """
    if name in SAMPLES or name in _TABLES:
        return str(_read(name).meta["citation"])
    populations = _read("local_contours").meta["populations"]
    if name in populations:
        return str(populations[name]["citation"])
    known = ", ".join([*SAMPLES, *_TABLES, *populations])
    msg = f"there is nothing to cite under {name!r}; the names are {known}"
    raise InputError(msg)
