"""The linking-length test: how many groups, and how heavy, for longer and shorter linking lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.groups import MODES, find_groups
from sc_lab.simulations.snapshot import Snapshot
from sc_lab.simulations.stars import wind_cells
from sc_lab.units import FloatArray, value_in

__all__ = ["linking_length_test"]

#: 0.2 is AREPO's own; a tenth to either side, half and twice of it.
_B = (0.1, 0.18, 0.2, 0.22, 0.4)
_DM, _STARS = 1, 4


@check.checked(
    snapshot=check.snapshot,
    mode=check.choice(*MODES),
    of=check.choice("stars", "dm"),
    min_stars=check.count(),
    min_dm=check.count(),
    reference=check.positive(),
    edges=check.optional(check.array(u.Msun, words="masses, rising", shape=(None,))),
)
def linking_length_test(
    snapshot: Snapshot,
    mode: str = "SGP",
    b: Sequence[float] = _B,
    *,
    of: str = "stars",
    min_stars: int = 100,
    min_dm: int = 300,
    reference: float = 0.2,
    edges: Any = None,
    rule: str = "arepo",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> QTable:
    """Return number and masses of groups for several linking lengths.

    Parameters
    ----------
    snapshot : Snapshot
        The particles.
    mode : str
        As in `sc_lab.simulations.find_groups`.
    b : sequence of float
        Linking lengths over the mean separation.
    of : {"stars", "dm"}
        The mass that is counted.
    min_stars, min_dm : int
        Groups whose stars were linked need more stars than ``min_stars``; those linked by dark matter alone more
        dark-matter particles than ``min_dm``. A group without the kind of particles that is counted does not count.
    reference : float
        The b whose numbers others are compared with.
    edges : array_like, optional
        Edges of mass bins [Msun]; by default four a decade around all masses.
    rule : {"arepo", "number"}
        What the mean separation is.
    threads : int, optional
        As in `sc_lab.simulations.friends_of_friends`.
    progress : callable, optional
        Called with (done, total).
    cancel : object with ``is_set()``, optional
        Stops with the linking lengths that are done.

    Returns
    -------
    QTable
        A row for each b: ``linking_length`` [kpc, comoving], ``n_groups`` (of all sizes), ``n`` that count, ``ratio`` to
        the number at ``reference`` (NaN if that is not among them), ``mass_median``, ``mass_largest`` and
        ``mass_total`` [Msun], and with the shape (bins,) ``counts`` in each mass bin and ``n_above`` its lower edge.
        The edges are in ``meta["edges"]`` [Msun].

    Raises
    ------
    InputError
        If the mode or a choice is not known or no b is given.

    Notes
    -----
    Williams et al. 2025, appendix A and figure 11. Wind cells among the stars are linked, not counted. No energies are
    needed, so the test is fast.
    """
    values = np.atleast_1d(value_in(b, u.one, "b")).tolist()
    if not values or np.ndim(values) > 1:
        msg = "b is empty or no list; give at least one linking length, such as (0.1, 0.2, 0.4)"
        raise InputError(msg)
    kind = _STARS if of == "stars" else _DM
    particles = snapshot.particles[kind]
    if not len(particles):
        msg = f"{snapshot.name} has no particles of {of}; count the others"
        raise InputError(msg)
    each = particles["Masses"].to_value(u.Msun)
    blown = wind_cells(snapshot)
    by_dm = MODES[mode][0] == (_DM,)
    comoving = snapshot.header.length_cm / 3.0856775814913673e21 / snapshot.header.h
    masses: list[FloatArray] = []
    rows: list[tuple[float, float, int]] = []
    for done, value in enumerate(values):
        if cancel is not None and cancel.is_set():
            break
        groups = find_groups(snapshot, mode, b=value, rule=rule, threads=threads)
        lengths = groups.lengths.copy()
        held = groups.labels.get(_STARS, np.full(len(blown), -1))
        lengths[:, _STARS] -= np.bincount(held[blown & (held >= 0)], minlength=len(groups))
        enough = lengths[:, _DM] > min_dm if by_dm else lengths[:, _STARS] > min_stars
        enough &= lengths[:, kind] > 0
        labels = groups.labels.get(kind, np.full(len(each), -1))
        inside = (labels >= 0) & ~blown if kind == _STARS else labels >= 0
        total = np.bincount(labels[inside], weights=each[inside], minlength=len(groups))
        masses.append(np.sort(total[enough]))
        rows.append((value, groups.linking_length * comoving, len(groups)))
        if progress is not None:
            progress(done + 1, len(values))
    return _table(rows, masses, mode, of, reference, edges)


def _table(
    rows: list[tuple[float, float, int]], masses: list[FloatArray], mode: str, of: str, reference: float, edges: Any
) -> QTable:
    """Return counts, ratios and mass functions."""
    bins = (
        _edges(np.concatenate(masses) if masses else np.empty(0)) if edges is None else value_in(edges, u.Msun, "edges")
    )
    n = np.array([len(mass) for mass in masses], dtype=int)
    at = [row for row, (value, *_) in enumerate(rows) if np.isclose(value, reference)]
    base = float(n[at[0]]) if at and n[at[0]] else np.nan

    def described(what: Callable[[FloatArray], float]) -> u.Quantity:
        return u.Quantity([what(mass) if len(mass) else np.nan for mass in masses], u.Msun)

    table = QTable()
    table["b"] = np.array([value for value, *_ in rows])
    table["linking_length"] = np.array([length for _, length, _ in rows]) * u.kpc
    table["n_groups"] = np.array([found for *_, found in rows], dtype=int)
    table["n"] = n
    table["ratio"] = n / base
    table["mass_median"] = described(lambda mass: float(np.median(mass)))
    table["mass_largest"] = described(lambda mass: float(mass.max()))
    table["mass_total"] = u.Quantity([float(mass.sum()) for mass in masses], u.Msun)
    counts = [np.histogram(mass, bins)[0] for mass in masses]
    table["counts"] = np.array(counts, dtype=int).reshape(len(rows), len(bins) - 1)
    above = [len(mass) - np.searchsorted(mass, bins[:-1]) for mass in masses]
    table["n_above"] = np.array(above, dtype=int).reshape(len(rows), len(bins) - 1)
    table.meta |= {"edges": bins.tolist(), "mode": mode, "of": of, "reference": reference}
    return table


def _edges(mass: FloatArray) -> FloatArray:
    """Return edges of bins, four a decade, around all masses."""
    if not len(mass):
        return np.array([1e4, 1e5])
    low, high = np.floor(4 * np.log10(mass.min())) / 4, np.ceil(4 * np.log10(mass.max()) + 1e-9) / 4
    return np.asarray(10.0 ** np.linspace(low, max(high, low + 0.25), round(4 * (max(high, low + 0.25) - low)) + 1))
