"""Group catalogues that the simulation code wrote itself, for comparison with groups found here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.groups import Groups
from sc_lab.simulations.header import N_TYPES, Header
from sc_lab.simulations.scaling import to_physical
from sc_lab.simulations.snapshot import open_hdf5, part_paths

__all__ = ["GroupCatalogue", "compare_groups", "read_groups"]


@dataclass(frozen=True, eq=False)
class GroupCatalogue:
    """Groups as AREPO wrote them.

    Attributes
    ----------
    lengths : ndarray of int, shape (n, 6)
        Particles of each type in each group; in a file sorted by group the first rows belong to the first group.
    fields : mapping of str to ndarray
        Other fields in code units.
    primary, secondary : tuple of int
        Types that were linked and attached, as the configuration of the run says.
    header : Header
        That of the snapshot it belongs to, for units.
    """

    lengths: npt.NDArray[np.int64]
    fields: Mapping[str, npt.NDArray[Any]] = field(repr=False)
    primary: tuple[int, ...]
    secondary: tuple[int, ...]
    header: Header

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, name: str) -> u.Quantity:
        """Return a field in physical units: kpc, km/s, solar masses."""
        if name not in self.fields:
            msg = f"the catalogue has no field {name!r}; it has: {', '.join(self.fields)}"
            raise InputError(msg)
        values = np.asarray(self.fields[name], dtype=np.float64)
        scale = to_physical(name, self.header)
        return values * u.dimensionless_unscaled if scale is None else u.Quantity(values * scale[0], scale[1])

    def labels(self, kind: int, number: int) -> npt.NDArray[np.int64]:
        """Return the group of each particle of a file sorted by group.

        Parameters
        ----------
        kind : int
            Particle type.
        number : int
            Particles of the type in the snapshot.

        Returns
        -------
        ndarray of int64, shape (number,)
            Group, -1 for none.
        """
        lengths = self.lengths[:, kind]
        if lengths.sum() > number:
            msg = f"the groups hold {lengths.sum()} particles of type {kind}, the snapshot {number}; they do not belong together"
            raise InputError(msg)
        out = np.full(number, -1, dtype=np.int64)
        out[: lengths.sum()] = np.repeat(np.arange(len(lengths)), lengths)
        return out


def read_groups(source: Any, header: Header) -> GroupCatalogue:
    """Read a catalogue of groups.

    Parameters
    ----------
    source : path or sequence of paths
        ``fof_subhalo_tab_NNN.hdf5``, one of its parts, their folder, or all parts.
    header : Header
        That of the snapshot: catalogues do not have units of their own.

    Returns
    -------
    GroupCatalogue
        The groups, all parts together.

    Raises
    ------
    InputError
        If a part is missing or the file is no catalogue.
    """
    paths = part_paths(source)
    columns: dict[str, list[npt.NDArray[Any]]] = {}
    masks: tuple[int, ...] = (0, 0)
    wanted, files = None, 1
    for path in paths:
        with open_hdf5(path) as file:
            if "Header" not in file or "Ngroups_Total" not in file["Header"].attrs:
                msg = f"{path.name} is no catalogue of groups (its header has no Ngroups_Total)"
                raise InputError(msg)
            attributes = file["Header"].attrs
            wanted = int(attributes["Ngroups_Total"])
            files = int(attributes.get("NumFiles", 1))
            config = file["Config"].attrs if "Config" in file else {}
            masks = tuple(int(float(config.get(f"FOF_{kind}_LINK_TYPES", 0))) for kind in ("PRIMARY", "SECONDARY"))
            for name, data in file["Group"].items() if "Group" in file else ():
                columns.setdefault(name, []).append(np.asarray(data))
    if len(paths) != files:
        msg = f"{paths[0].name} is one of {files} parts, but {len(paths)} were found; put the others beside it"
        raise InputError(msg)
    fields = {name: np.concatenate(parts) for name, parts in columns.items()}
    lengths = np.asarray(fields.get("GroupLenType", np.zeros((0, N_TYPES))), dtype=np.int64)
    if wanted is not None and len(lengths) != wanted:
        msg = f"{Path(paths[0]).name} holds {len(lengths)} of {wanted} groups; a part is missing"
        raise InputError(msg)
    primary, secondary = (tuple(kind for kind in range(N_TYPES) if mask >> kind & 1) for mask in masks)
    return GroupCatalogue(lengths, fields, primary, secondary, header)


def _catalogue(value: Any, name: str) -> None:
    """Refuse what is no catalogue."""
    check.instance(value, GroupCatalogue, name, "from read_groups")


@check.checked(groups=check.groups, catalogue=_catalogue)
def compare_groups(groups: Groups, catalogue: GroupCatalogue) -> dict[str, int]:
    """Return how groups found here differ from those of a file sorted by group.

    Parameters
    ----------
    groups : Groups
        Found in the snapshot that is sorted by the catalogue's groups.
    catalogue : GroupCatalogue
        The code's own.

    Returns
    -------
    dict of str to int
        ``groups`` and ``catalogue``: their numbers; ``mismatched``: catalogue groups whose primary members are not
        exactly those of one group found here; ``secondaries``: secondaries in another group.
    """
    n = len(catalogue)
    match = np.full(n, -1, dtype=np.int64)
    wrong = np.zeros(n, dtype=bool)
    theirs = {kind: catalogue.labels(kind, len(values)) for kind, values in groups.labels.items()}
    for kind in groups.primary:
        if kind not in groups.labels:
            continue
        mine, given = groups.labels[kind], theirs[kind]
        inside = given >= 0
        # The group here that holds a catalogue group's first member must hold all of them, and nothing else.
        order = np.flatnonzero(inside)
        first = np.full(n, -1, dtype=np.int64)
        first[given[order[::-1]]] = mine[order[::-1]]
        known = (match >= 0) & (first >= 0)
        wrong |= known & (match != first)
        match = np.where(match < 0, first, match)
        wrong[np.unique(given[inside][mine[inside] != match[given[inside]]])] = True
    there = match >= 0
    primaries = list(groups.primary)
    mine_length = np.zeros(n, dtype=np.int64)
    mine_length[there] = groups.lengths[match[there]][:, primaries].sum(axis=1)
    wrong |= mine_length != catalogue.lengths[:, primaries].sum(axis=1)
    back = np.full(len(groups) + 1, -1, dtype=np.int64)  # the last entry stands for the label -1
    back[match[there]] = np.flatnonzero(there)
    lost = sum(
        int(np.count_nonzero(back[groups.labels[kind]] != theirs[kind]))
        for kind in groups.secondary
        if kind in groups.labels
    )
    return {"groups": len(groups), "catalogue": n, "mismatched": int(wrong.sum()), "secondaries": lost}
