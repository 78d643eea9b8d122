"""DS9 region files: one circle an object, labelled by its identifier, coloured by what it is."""

from __future__ import annotations

import os
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import Table

from sc_lab.catalog.access import flags, texts, values
from sc_lab.catalog.validation import clean_text
from sc_lab.errors import InputError
from sc_lab.export.provenance import record_json
from sc_lab.units import value_in

__all__ = ["REGION_COLOURS", "region_text", "write_regions"]

#: DS9 colour of each kind of object; a later kind wins.
REGION_COLOURS: dict[str, str] = {
    "other": "green",
    "candidate": "cyan",
    "gc_contaminant": "yellow",
    "excluded": "red",
}


def region_text(table: Table, *, radius: u.Quantity = 0.1 * u.arcsec) -> str:
    """Return a DS9 region file as text.

    Parameters
    ----------
    table : Table
        A catalogue with positions; rows without one are counted in a comment.
    radius : `~astropy.units.Quantity`
        Radius of the circles.

    Returns
    -------
    str
        DS9 version 4.1 regions in ICRS degrees.

    Raises
    ------
    InputError
        If no row has a position.

    Notes
    -----
    DS9 knows no escape inside a label: a label is quoted by braces, or by quotation marks
    where it holds braces; semicolons, which end a region, become commas.
    """
    arcsec = float(value_in(radius, u.arcsec, "radius"))
    if not arcsec > 0:
        msg = f"radius is {radius}; give an angle greater than zero"
        raise InputError(msg)
    ra, dec = values(table, "ra"), values(table, "dec")
    placed = np.isfinite(ra) & np.isfinite(dec)
    if not placed.any():
        msg = "the catalogue has no positions, so no regions can be drawn; add the columns ra and dec [deg]"
        raise InputError(msg)
    colours = np.full(len(table), REGION_COLOURS["other"], dtype="U16")
    for kind in ("candidate", "gc_contaminant", "excluded"):
        colours[flags(table, kind)] = REGION_COLOURS[kind]
    lines = ["# Region file format: DS9 version 4.1", f"# sc_lab: {record_json(table.meta)}"]
    lines += [f"# {kind}: {colour}" for kind, colour in REGION_COLOURS.items()]
    if not placed.all():
        lines.append(f"# without a position and not drawn: {int((~placed).sum())} of {len(table)}")
    lines += ["global color=green width=1 select=1 edit=1 move=1 delete=1 include=1", "icrs"]
    names = texts(table, "id")
    for row in np.flatnonzero(placed).tolist():
        label = _quoted(names[row])
        lines.append(f'circle({ra[row]:.8f},{dec[row]:.8f},{arcsec:g}") # color={colours[row]} text={label}')
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    """Return a label in delimiters that it does not contain."""
    text = clean_text(name).replace(";", ",")
    if not set(text) & set("{}"):
        return f"{{{text}}}"
    for mark in ('"', "'"):
        if mark not in text:
            return f"{mark}{text}{mark}"
    return "{" + text.replace("{", "(").replace("}", ")") + "}"


def write_regions(
    table: Table,
    path: str | os.PathLike[str],
    *,
    radius: u.Quantity = 0.1 * u.arcsec,
    overwrite: bool = False,
) -> Path:
    """Write a DS9 region file.

    Parameters
    ----------
    table : Table
        A catalogue with positions.
    path : path-like
        The file to write.
    radius : `~astropy.units.Quantity`
        Radius of the circles.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If no row has a position, or the file exists and may not be replaced.
    """
    from sc_lab.export.tables import write_atomically

    return write_atomically(Path(path), lambda: region_text(table, radius=radius).encode(), overwrite=overwrite)
