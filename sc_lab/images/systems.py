"""Systems: the images of one source, and which of them stands for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from astropy.table import Table

from sc_lab.errors import InputError
from sc_lab.images.galaxy import Galaxy

__all__ = ["assign_system", "choose_references", "group_systems", "reference_ids", "unique_clumps"]

#: Images of one source have one redshift; a photometric one may differ by this share of 1 + z.
_SAME_Z = 0.1


def group_systems(galaxies: Iterable[Galaxy]) -> dict[str, tuple[Galaxy, ...]]:
    """Return the images of each source.

    Parameters
    ----------
    galaxies : iterable of Galaxy
        Images; those without a system are sources of their own.

    Returns
    -------
    dict
        System (or the galaxy's id where it has none) to images, in the order given.
    """
    groups: dict[str, list[Galaxy]] = {}
    for each in galaxies:
        groups.setdefault(each.system or each.id, []).append(each)
    return {name: tuple(images) for name, images in groups.items()}


def assign_system(
    galaxies: Sequence[Galaxy], ids: Sequence[str], system: str, *, reference: str | None = None
) -> tuple[Galaxy, ...]:
    """Return the galaxies with some of them made images of one source.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        All galaxies.
    ids : sequence of str
        The images.
    system : str
        Name of the source; empty takes the images out of their system.
    reference : str, optional
        Id of the image that stands for the source; None leaves that to `choose_references`.

    Returns
    -------
    tuple of Galaxy
        All galaxies, in the same order; the images are named ``system.1``, ``system.2`` ... where they have no name.

    Raises
    ------
    InputError
        If an id is not among the galaxies, or their redshifts contradict each other.
    """
    known = {each.id: each for each in galaxies}
    if unknown := [name for name in [*ids, *([reference] if reference else [])] if name not in known]:
        msg = f"there is no galaxy {', '.join(unknown)}; there are {', '.join(known)}"
        raise InputError(msg)
    if reference is not None and reference not in ids:
        msg = f"the reference {reference} is not among the images {', '.join(ids)}; name one of them"
        raise InputError(msg)
    redshifts = [known[name].z for name in ids if math.isfinite(known[name].z)]
    if system and redshifts and max(redshifts) - min(redshifts) > _SAME_Z * (1 + min(redshifts)):
        values = ", ".join(f"{name} (z = {known[name].z:g})" for name in ids)
        msg = f"images of one source have one redshift, but {values} differ; mend the redshifts or leave one out"
        raise InputError(msg)
    number = 0
    out: list[Galaxy] = []
    for each in galaxies:
        if each.id not in ids:
            out.append(each)
            continue
        number += 1
        image = (each.image or f"{system}.{number}") if system else ""
        out.append(replace(each, system=system, image=image, is_reference=bool(system) and each.id == reference))
    return tuple(out)


def choose_references(galaxies: Sequence[Galaxy]) -> tuple[Galaxy, ...]:
    """Return the galaxies with exactly one reference image per system.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        All galaxies.

    Returns
    -------
    tuple of Galaxy
        In the same order. A reference that was chosen stays; elsewhere it is the image of the largest area, which
        shows its clumps best.

    Raises
    ------
    InputError
        If a system has two references.
    """
    chosen: set[str] = set()
    for name, images in group_systems(galaxies).items():
        marked = [each.id for each in images if each.is_reference]
        if len(marked) > 1:
            msg = f"system {name} has the references {', '.join(marked)}; keep one of them"
            raise InputError(msg)
        chosen.add(marked[0] if marked else max(images, key=lambda each: float(each.polygon.area)).id)
    return tuple(
        each if each.is_reference == (each.id in chosen) else replace(each, is_reference=each.id in chosen)
        for each in galaxies
    )


def reference_ids(galaxies: Sequence[Galaxy]) -> frozenset[str]:
    """Return the ids of the images that stand for their source.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        All galaxies.

    Returns
    -------
    frozenset of str
        One id per system.
    """
    return frozenset(each.id for each in choose_references(galaxies) if each.is_reference)


def unique_clumps(clumps: Table, galaxies: Sequence[Galaxy]) -> npt.NDArray[np.bool_]:
    """Return which clumps are counted once a source: those in reference images.

    Parameters
    ----------
    clumps : Table
        With the column ``galaxy``.
    galaxies : sequence of Galaxy
        All galaxies.

    Returns
    -------
    ndarray of bool, shape (n,)
        True in a reference image, and where the galaxy is unknown. Its sum is the number of unique clumps; its length
        that of detections.

    Notes
    -----
    Claeyssens et al. 2026 quote 489 clumps and 693 detections: unique ones and images apart.
    """
    known = {each.id for each in galaxies}
    kept = reference_ids(galaxies)
    names = np.asarray(clumps["galaxy"]).astype(str).tolist()
    return np.array([name in kept or name not in known for name in names], dtype=bool)
