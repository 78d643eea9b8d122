"""Groups of a snapshot in the four modes of baryons and dark matter: primaries linked, secondaries attached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.constants as const
import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations._checks import checked, choice, count, instance, number, optional, particle_types, whole
from sc_lab.simulations.fof import friends_of_friends
from sc_lab.simulations.header import N_TYPES
from sc_lab.simulations.snapshot import TYPES, Snapshot
from sc_lab.units import FloatArray

__all__ = ["MODES", "Groups", "find_groups", "linking_length"]

#: Primary and secondary types by mode (Williams et al. 2025, section 2).
MODES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "DMP-GS": ((1,), (0, 4)),
    "SGDMP": ((0, 1, 4), ()),
    "SGP": ((0, 4), ()),
    "SP": ((4,), ()),
}
#: Linking lengths out to which a secondary looks for its nearest primary.
_REACH = 6.4
_FEWEST = 32
#: Secondaries whose nearest primaries are looked for at a time.
_PIECE = 250_000


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of particles, the largest first.

    Attributes
    ----------
    labels : mapping of int to ndarray
        Group of each particle by type, -1 for none.
    lengths : ndarray of int, shape (n, 6)
        Particles of each type in each group.
    mode : str
        The mode, or the types that were linked.
    linking_length : float
        In code units.
    primary, secondary : tuple of int
        Types that were linked, and attached.
    """

    labels: Mapping[int, npt.NDArray[np.int64]]
    lengths: npt.NDArray[np.int64]
    mode: str
    linking_length: float
    primary: tuple[int, ...]
    secondary: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lengths)

    def members(self, group: int, kind: int) -> npt.NDArray[np.int64]:
        """Return the rows of a group's particles of one type, in rising order.

        Parameters
        ----------
        group : int
            Number of the group.
        kind : int
            Particle type.

        Returns
        -------
        ndarray of int64
            Rows.
        """
        order, starts = self._sorted(kind)
        return np.asarray(order[starts[group] : starts[group + 1]])

    def _sorted(self, kind: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return rows sorted by group and where each group starts, worked out once for each type."""
        kept: dict[int, Any] = self.__dict__.setdefault("_rows", {})
        if kind not in kept:
            labels = self.labels.get(kind, np.empty(0, dtype=np.int64))
            order = np.argsort(labels, kind="stable")
            kept[kind] = order, np.searchsorted(labels[order], np.arange(len(self) + 1))
        out: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] = kept[kind]
        return out


@checked(rule=choice("arepo", "number"))
def linking_length(
    snapshot: Snapshot, primary: Sequence[int], *, b: float = 0.2, rule: str = "arepo", critical: float | None = None
) -> float:
    """Return the linking length of friends-of-friends.

    Parameters
    ----------
    snapshot : Snapshot
        Masses, box and cosmology.
    primary : sequence of int
        Types that are linked.
    b : float
        Linking length over the mean separation.
    rule : {"arepo", "number"}
        What the mean separation is: ``"arepo"`` that of particles with the mean mass of the primaries if they made up the
        dark matter, ``"number"`` box / N^(1/3) of the primaries themselves.
    critical : float, optional
        Critical density today in code units, with the unit of mass over h and of length over h; by default from the
        constants of astropy. AREPO's own differs by 2e-4.

    Returns
    -------
    float
        Linking length in code units (comoving).

    Raises
    ------
    InputError
        If there are no primaries, or the header does not have what the rule needs.

    Notes
    -----
    AREPO: b (mean mass / rho)^(1/3) with rho = (Omega_m - Omega_b) rho_crit, for every choice of types.
    """
    instance(snapshot, Snapshot, "snapshot", "from read_snapshot")
    primary = particle_types(primary, "primary")
    b = number(b, "b", "a number above 0, such as 0.2")
    header = snapshot.header
    numbers = [snapshot.particles[kind].number for kind in primary]
    if not sum(numbers):
        names = ", ".join(TYPES[kind] for kind in primary)
        msg = f"{snapshot.name} has no particles of {names}; choose other types to link"
        raise InputError(msg)
    if rule == "number":
        if not header.box_size > 0:
            msg = "rule='number' needs the size of the box, which the header does not have; give length= itself"
            raise InputError(msg)
        return float(b * header.box_size / sum(numbers) ** (1.0 / 3.0))
    if rule != "arepo":
        msg = f"rule is {rule!r}; give 'arepo' or 'number', or length= itself"
        raise InputError(msg)
    density = header.omega_matter - header.omega_baryon
    if not density > 0:
        # Plain GADGET headers say Omega0 and nothing of baryons.
        given = {"omega_matter": header.omega_matter, "omega_baryon": header.omega_baryon}
        missing = [name for name, value in given.items() if not np.isfinite(value)]
        what = f"the header does not say {' and '.join(missing)}" if missing else f"no dark matter is left of {given}"
        wanted = ", ".join(f"{name}=..." for name in missing or given)
        msg = f"{what}; give with_header(snapshot, {wanted}), or use rule='number' or length="
        raise InputError(msg)
    if critical is None:
        critical = _critical_density(snapshot)
    critical = number(critical, "critical", "the critical density today in code units, above 0")
    mass = sum(_total_mass(snapshot, kind) for kind in primary)
    if not (np.isfinite(mass) and mass > 0):
        names = ", ".join(TYPES[kind] for kind in primary)
        msg = (
            f"the masses of {names} add up to {mass:g} in code units, of which no mean separation can be made; mend "
            "Masses, or use rule='number' or length="
        )
        raise InputError(msg)
    return float(b * (mass / sum(numbers) / (density * critical)) ** (1.0 / 3.0))


def _critical_density(snapshot: Snapshot) -> float:
    """Return 3 H0^2 / (8 pi G) in code units, in which h drops out."""
    header = snapshot.header
    hubble = (100.0 * u.km / u.s / u.Mpc).to_value(1 / u.s)
    cgs = 3.0 * hubble**2 / (8.0 * np.pi * const.G.cgs.value)
    return float(cgs * header.length_cm**3 / header.mass_g)


def _total_mass(snapshot: Snapshot, kind: int) -> float:
    """Return the mass of all particles of a type in code units, read piece by piece."""
    particles = snapshot.particles[kind]
    if snapshot.header.mass_table[kind] > 0 and "Masses" not in (particles.parts[0] if particles.parts else ()):
        return float(snapshot.header.mass_table[kind] * particles.number)
    return float(sum(values.sum(dtype=np.float64) for _, values in particles.chunks("Masses")))


@checked(rule=choice("arepo", "number"), threads=optional(count(low=1)))
def find_groups(
    snapshot: Snapshot,
    mode: str | None = "DMP-GS",
    *,
    primary: Sequence[int] | None = None,
    secondary: Sequence[int] | None = None,
    b: float = 0.2,
    rule: str = "arepo",
    length: float | None = None,
    min_length: int = _FEWEST,
    reach: float = _REACH,
    critical: float | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> Groups:
    """Return the groups of a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
        The particles.
    mode : {"DMP-GS", "SGDMP", "SGP", "SP"} or None
        Primaries and secondaries: dark matter with gas and stars attached; all three linked; stars and gas; stars.
        None when ``primary`` says it.
    primary, secondary : sequence of int, optional
        Types to link and to attach, instead of a mode.
    b : float
        Linking length over the mean separation.
    rule : {"arepo", "number"}
        What the mean separation is, see `linking_length`.
    length : float, optional
        The linking length itself, in code units.
    min_length : int
        Groups with fewer particles, of all types together, are dropped.
    reach : float
        How far a secondary looks for its nearest primary, in linking lengths.
    critical : float, optional
        Critical density today in code units, see `linking_length`.
    threads : int, optional
        As in `friends_of_friends`.
    progress : callable, optional
        Called with (done, total): particles that were read, linked and attached.
    cancel : object with ``is_set()``, optional
        Stops before the next step; the linking itself is one.

    Returns
    -------
    Groups
        The groups, by falling number of particles.

    Raises
    ------
    InputError
        If the mode or a type is not known, a type is both primary and secondary, there are no primaries, lengths are not
        above 0 or carry a unit, or the search was cancelled.

    Notes
    -----
    Primaries within the linking length are friends; every secondary joins the group of its nearest primary
    (Springel 2010 and the public AREPO; Williams et al. 2025, section 2). The cap of 6.4 linking lengths is the one
    that gives AREPO's own catalogues back.
    """
    instance(snapshot, Snapshot, "snapshot", "from read_snapshot")
    if primary is None:
        if not isinstance(mode, str) or mode not in MODES:
            msg = f"mode is {mode!r}; give {', '.join(map(repr, MODES))}, or primary= and secondary="
            raise InputError(msg)
        name, (primary, secondary) = mode, MODES[mode]
    else:
        name = str(particle_types(primary, "primary"))
    primary = particle_types(primary, "primary")
    secondary = particle_types(() if secondary is None else secondary, "secondary")
    if not primary or len(set(primary + secondary)) < len(primary + secondary):
        msg = f"primary is {primary} and secondary {secondary}; give types from 0 to 5, each in one of them"
        raise InputError(msg)
    if hasattr(length, "unit"):
        msg = f"length is {length}; give the linking length as a number in code units, comoving and with h"
        raise InputError(msg)
    reach = number(reach, "reach", f"a number of linking lengths above 0, such as {_REACH}")
    min_length = whole(min_length, "min_length", "a number of particles from 1 on", low=1)
    # Checked also where the length itself is given.
    number(b, "b", "a number above 0, such as 0.2")
    if length is None:
        size = linking_length(snapshot, primary, b=b, rule=rule, critical=critical)
    else:
        size = number(length, "length", "a linking length above 0, in code units")
    there = {kind: snapshot.particles[kind].number for kind in primary if snapshot.particles[kind].number}
    steps = _Steps(
        2 * sum(there.values()) + sum(snapshot.particles[kind].number for kind in secondary), progress, cancel
    )
    box = snapshot.header.box_size or None
    linked = np.empty((sum(there.values()), 3))
    at = 0
    for kind in there:
        for _, values in snapshot.particles[kind].chunks("Coordinates"):
            linked[at : at + len(values)] = values
            at += len(values)
            steps.take(len(values))
    found = friends_of_friends(linked, size, box, threads=threads)
    steps.take(len(linked))
    labels: dict[int, npt.NDArray[np.int64]] = {}
    at = 0
    for kind, held in there.items():
        labels[kind] = found[at : at + held]
        at += held
    for kind in secondary:
        if len(snapshot.particles[kind]):
            labels[kind] = _attached(snapshot, kind, linked, found, reach * size, box, steps)
    number_found = int(found.max()) + 1 if len(found) else 0
    return _ordered(labels, number_found, min_length, name, size, primary, secondary)


class _Steps:
    """How far a search is, and whether it is still wanted."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None, cancel: Any) -> None:
        self._done, self._total, self._progress, self._cancel = 0, total, progress, cancel
        self.take(0)

    def take(self, done: int) -> None:
        """Say that some particles are done; raise where the search is no longer wanted."""
        self._done += done
        if self._cancel is not None and self._cancel.is_set():
            msg = "the search for groups was cancelled; nothing of it is kept"
            raise InputError(msg)
        if self._progress is not None and done:
            self._progress(self._done, self._total)


def _attached(
    snapshot: Snapshot,
    kind: int,
    linked: FloatArray,
    found: npt.NDArray[np.int64],
    distance: float,
    box: float | None,
    steps: _Steps,
) -> npt.NDArray[np.int64]:
    """Return the group of the nearest primary of every secondary, -1 where none is near."""
    from scipy.spatial import cKDTree

    def inside(points: Any) -> FloatArray:
        values = np.asarray(points, dtype=np.float64)
        # SciPy wants positions strictly inside the box.
        return values if box is None else np.where((wrapped := values % box) >= box, 0.0, wrapped)

    tree = cKDTree(inside(linked), boxsize=box)
    out = np.full(snapshot.particles[kind].number, -1, dtype=np.int64)
    for rows, points in snapshot.particles[kind].chunks("Coordinates", size=_PIECE):
        away, nearest = tree.query(inside(points), distance_upper_bound=distance, workers=-1)
        near = np.isfinite(away)
        out[rows][near] = found[nearest[near]]
        steps.take(len(points))
    return out


def _ordered(
    labels: dict[int, npt.NDArray[np.int64]],
    n: int,
    min_length: int,
    mode: str,
    size: float,
    primary: tuple[int, ...],
    secondary: tuple[int, ...],
) -> Groups:
    """Return groups with enough members, the largest first; of equal ones the one found first."""
    lengths = np.zeros((n, N_TYPES), dtype=np.int64)
    for kind, values in labels.items():
        lengths[:, kind] = np.bincount(values[values >= 0], minlength=n)
    total = lengths.sum(axis=1)
    order = np.argsort(-total, kind="stable")
    order = order[total[order] >= min_length]
    rank = np.full(n + 1, -1, dtype=np.int64)  # the last entry stands for the label -1
    rank[order] = np.arange(len(order))
    return Groups(
        {kind: rank[values] for kind, values in labels.items()}, lengths[order], mode, size, primary, secondary
    )
