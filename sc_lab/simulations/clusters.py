"""The catalogue of simulated clusters: energies, sizes, densities and ages of every group, in the columns of observed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import MaskedColumn, QTable

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.binding import VIRIAL_RANGE, Binding, Bodies, bind, unwrap
from sc_lab.simulations.groups import Groups
from sc_lab.simulations.potential import CROSSOVER
from sc_lab.simulations.profiles import half_mass_radius, motions, projected_half_mass_radius
from sc_lab.simulations.snapshot import TYPES, Snapshot
from sc_lab.simulations.stars import given_ages, star_ages, wind_cells
from sc_lab.units import FloatArray, value_in

__all__ = ["CENTRES", "measure_clusters", "virial_fraction"]

CENTRES = ("stars", "group", "most_bound")
_STARS, _DM, _GAS = 4, 1, 0


@check.checked(
    snapshot=check.snapshot,
    groups=check.groups,
    min_stars=check.count(),
    min_dm=check.count(),
    centre=check.choice(*CENTRES),
    size=check.choice("space", "projected"),
    virial_range=check.array(
        words="two numbers above 0 in rising order, such as (1.5, 2.5)", low=0.0, closed=False, shape=(2,)
    ),
    hubble_flow=check.flag,
    method=check.choice("auto", "direct", "tree", "reference"),
    wind=check.flag,
)
def measure_clusters(
    snapshot: Snapshot,
    groups: Groups,
    *,
    min_stars: int = 100,
    min_dm: int = 300,
    centre: str = "stars",
    size: str = "space",
    virial_range: tuple[float, float] = VIRIAL_RANGE,
    hubble_flow: bool = False,
    softening: float = 0.0,
    method: str = "auto",
    ages: Any = None,
    wind: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> QTable:
    """Return the catalogue of the star clusters of a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
        The particles.
    groups : Groups
        Its groups, from `sc_lab.simulations.find_groups`.
    min_stars : int
        Groups whose stars were linked need more stars than this.
    min_dm : int
        Groups that were linked by dark matter alone need more dark-matter particles than this, and a star.
    centre : {"stars", "group", "most_bound"}
        Mass-weighted mean of the stars, of all members, or the star with the least potential in the file.
    size : {"space", "projected"}
        Whether ``r_eff`` is the half-mass radius in space, as in the paper, or its median in projection, as observed.
    virial_range : (float, float)
        Limits of |U|/K for a virialised cluster.
    hubble_flow : bool
        Whether the expansion is added to velocities; not in the paper.
    softening : float or `~astropy.units.Quantity`
        Plummer softening length [kpc]; none in the paper.
    method : {"auto", "direct", "tree", "reference"}
        How potential energies are summed, see `sc_lab.simulations.potential.potential_energy`.
    ages : array_like or `~astropy.units.Quantity`, shape (number of stars,), optional
        Ages of all stars [Myr], or one for all; by default from the file, where it has formation times.
    wind : bool
        Whether wind cells, which some models keep among the stars, count as stars, as in AREPO's own lengths and masses of
        groups. By default they were linked and nothing else: they have no part in numbers, masses, energies and radii.
    progress : callable, optional
        Called with (done, total).
    cancel : object with ``is_set()``, optional
        Stops with what has been measured.

    Returns
    -------
    QTable
        A row for each cluster, the largest first, groups whose stars have no mass left out: ``id``, ``z``, ``mass``
        [Msun], ``r_eff`` [pc], ``sigma_mass`` [Msun/pc2], ``age_onset`` and ``age_mw`` [Myr] where known (of the oldest
        star, and mass-weighted) as in catalogues of observed clusters; ``r_half``, ``r_projected``, ``r_max``,
        ``r_vir``, ``radius`` [pc]; kinetic and potential energies; ``virial_ratio``, ``bound``, ``used_dm``,
        ``virialised``; numbers and masses of dark matter and gas; mean 3-D densities; velocities; ``t_dyn`` [Myr];
        position [kpc, physical].

    Raises
    ------
    InputError
        If a choice is not known, the groups do not fit the snapshot, ages are no ages in Myr, or stars have masses or
        velocities that are none.

    Notes
    -----
    Williams et al. 2025, sections 2 and 3. Half of the mass lies inside ``r_half``, so the surface density is
    M / (2 pi r_half^2), as for observed clusters. The radius of a virialised cluster is G M^2 / |U|, else the distance
    of its farthest star. Energies are exact sums; the authors' public code visits pairs within a chunk twice, so their
    flags differ for some clusters.
    """
    number = snapshot.particles[_STARS].number
    if len(groups.labels.get(_STARS, ())) not in (0, number):
        msg = f"the groups have {len(groups.labels[_STARS])} stars, the snapshot {number}; find the groups in it anew"
        raise InputError(msg)
    by_dm = groups.primary == (_DM,)
    blown = np.zeros(number, dtype=bool) if wind else wind_cells(snapshot)
    labels = groups.labels.get(_STARS, np.full(number, -1, dtype=np.int64))
    n_wind = np.bincount(labels[blown & (labels >= 0)], minlength=len(groups))
    n_star = groups.lengths[:, _STARS] - n_wind
    enough = groups.lengths[:, _DM] > min_dm if by_dm else n_star > min_stars
    surroundings = _Surroundings(snapshot)
    shining = ~blown & (labels >= 0)
    held = np.bincount(labels[shining], surroundings.all(_STARS).mass[shining], minlength=len(groups))
    chosen = np.flatnonzero(enough & (held > 0))
    known = star_ages(snapshot) if ages is None else given_ages(snapshot, ages)
    softening = _softening(softening)
    header = snapshot.header
    hubble = float(header.cosmology.H(header.redshift).to_value(u.km / u.s / u.kpc)) if hubble_flow else 0.0
    rows: list[dict[str, Any]] = []
    for done, group in enumerate(chosen.tolist()):
        if cancel is not None and cancel.is_set():
            break
        rows_of = {kind: groups.members(group, kind) for kind in (_GAS, _DM, _STARS)}
        rows_of[_STARS] = rows_of[_STARS][~blown[rows_of[_STARS]]]
        members = {kind: surroundings.bodies(kind, each) for kind, each in rows_of.items()}
        # One image of the group around its first star.
        around = members[_STARS].position[0]
        members = {kind: surroundings.near(each, around) for kind, each in members.items()}
        stars = members[_STARS]
        middle = _centre(centre, members, snapshot, rows_of[_STARS])
        mean = np.average(stars.velocity, axis=0, weights=stars.mass)
        reach = float(np.sqrt(((stars.position - middle) ** 2).sum(axis=1).max()))
        dark = members[_DM] if by_dm else surroundings.within(_DM, middle, reach)
        options: dict[str, Any] = {"softening": softening, "method": method}
        binding = bind(
            stars,
            dark,
            centre=middle,
            velocity=mean,
            within_group=by_dm,
            virial_range=virial_range,
            hubble=hubble,
            **options,
        )
        row = _row(stars, binding, middle, mean, size)
        row |= _around(surroundings, binding, middle, members)
        row |= _age(known, rows_of[_STARS], stars)
        row |= {"id": f"{groups.mode}-{group}", "group": group, "z": header.redshift, "field": snapshot.name}
        row |= {"n_gas_group": len(members[_GAS]), "n_dm_group": len(members[_DM]), "n_wind": int(n_wind[group])}
        rows.append(row)
        if progress is not None:
            progress(done + 1, len(chosen))
    return _table(
        rows, snapshot, groups, {"centre": centre, "size": size, "virial_range": list(virial_range), "wind": wind}
    )


@check.checked(clusters=check.table("bound", "virialised"))
def virial_fraction(clusters: QTable) -> float:
    """Return the share of virialised clusters among those that are bound.

    Parameters
    ----------
    clusters : QTable
        From `measure_clusters`.

    Returns
    -------
    float
        N(virialised) / N(bound) (Williams et al. 2025, equation 3); NaN without bound clusters.
    """
    bound = np.asarray(clusters["bound"], dtype=bool)
    if not bound.any():
        return float("nan")
    return float(np.asarray(clusters["virialised"], dtype=bool)[bound].mean())


def _softening(value: Any) -> float:
    """Return the softening length [kpc]."""
    length = value_in(value, u.kpc, "softening")
    if length.ndim or not (np.isfinite(length) and length >= 0):
        msg = f"softening is {value!r}; give one length of 0 or more, as a Quantity or in kpc"
        raise InputError(msg)
    return float(length)


# ---------------------------------------------------------------------- particles


class _Surroundings:
    """Particles of a snapshot in physical units, and those near a point."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        header = snapshot.header
        self.length = header.a / header.h * header.length_cm / 3.0856775814913673e21  # kpc for a unit of the code
        self.box = header.box_size * self.length
        self._kept: dict[int, Bodies] = {}
        self._trees: dict[int, Any] = {}

    def all(self, kind: int) -> Bodies:
        """Return every particle of a type."""
        if kind not in self._kept:
            particles = self.snapshot.particles[kind]
            if not len(particles):
                self._kept[kind] = Bodies(np.empty((0, 3)), np.empty((0, 3)), np.empty(0))
            else:
                bodies = Bodies(
                    particles["Coordinates"].to_value(u.kpc),
                    particles["Velocities"].to_value(u.km / u.s),
                    particles["Masses"].to_value(u.Msun),
                )
                _check(bodies, TYPES[kind], self.snapshot.name)
                self._kept[kind] = bodies
        return self._kept[kind]

    def bodies(self, kind: int, rows: Any) -> Bodies:
        """Return some particles of a type."""
        return self.all(kind).chosen(rows)

    def near(self, bodies: Bodies, around: FloatArray) -> Bodies:
        """Return particles as the images nearest to a point."""
        return Bodies(unwrap(bodies.position, around, self.box), bodies.velocity, bodies.mass)

    def within(self, kind: int, centre: FloatArray, radius: float) -> Bodies:
        """Return the particles of a type within a radius of a point, as the images nearest to it."""
        from scipy.spatial import cKDTree

        bodies = self.all(kind)
        if not len(bodies):
            return bodies
        if kind not in self._trees:
            points = bodies.position
            if self.box > 0:
                points = points % self.box
                points[points >= self.box] = 0.0  # SciPy wants positions strictly inside the box
            self._trees[kind] = cKDTree(points, boxsize=self.box or None)
        tree = self._trees[kind]
        point = centre % self.box if self.box > 0 else centre
        # A hair more than asked for, as the caller measures distances from unwrapped positions.
        rows = np.sort(np.asarray(tree.query_ball_point(point, radius * (1 + 1e-9)), dtype=np.int64))
        return self.near(bodies.chosen(rows), centre)


def _check(bodies: Bodies, kind: str, name: str) -> None:
    """Refuse particles whose energies would be none."""
    for field, good in (
        ("Velocities", np.isfinite(bodies.velocity)),
        ("Masses", np.isfinite(bodies.mass) & (bodies.mass >= 0)),
    ):
        if not good.all():
            msg = f"{field} of {kind} in {name} hold {int((~good).sum())} numbers that are none; leave out those particles"
            raise InputError(msg)


def _centre(kind: str, members: Mapping[int, Bodies], snapshot: Snapshot, rows: Any) -> FloatArray:
    """Return the centre of a group [kpc]."""
    stars = members[_STARS]
    if kind == "group":
        everything = [each for each in members.values() if len(each)]
        position = np.concatenate([each.position for each in everything])
        weights = np.concatenate([each.mass for each in everything])
        return np.asarray(np.average(position, axis=0, weights=weights))
    if kind == "most_bound":
        if "Potential" not in snapshot.stars.fields:
            msg = f"centre='most_bound' needs the field Potential, which {snapshot.name} does not have; use 'stars'"
            raise InputError(msg)
        return np.asarray(stars.position[int(np.argmin(snapshot.stars.code("Potential")[rows]))])
    return np.asarray(np.average(stars.position, axis=0, weights=stars.mass))


# ---------------------------------------------------------------------- one row


def _row(stars: Bodies, binding: Binding, centre: FloatArray, mean: FloatArray, size: str) -> dict[str, Any]:
    """Return energies, sizes, densities and motions of one cluster."""
    half = 1e3 * half_mass_radius(stars.position, stars.mass, centre)
    seen = [1e3 * each for each in projected_half_mass_radius(stars.position, stars.mass, centre)]
    radius = half if size == "space" else seen[1]
    speeds = motions(stars.position, stars.velocity, stars.mass, centre, mean)
    extent = 1e3 * binding.radius
    mass = stars.total
    return {
        "n_star": len(stars),
        "mass": mass,
        "r_eff": radius,
        "sigma_mass": mass / (2.0 * np.pi * radius**2) if radius > 0 else np.nan,
        "r_half": half,
        "r_projected": seen[1],
        "r_projected_lo": seen[0],
        "r_projected_hi": seen[2],
        "r_max": 1e3 * binding.r_max,
        "r_vir": 1e3 * binding.r_vir,
        "radius": extent,
        "density": mass / (4.0 / 3.0 * np.pi * extent**3) if extent > 0 else np.nan,
        "kinetic_stars": binding.kinetic_stars,
        "potential_stars": binding.potential_stars,
        "kinetic": binding.kinetic,
        "potential": binding.potential,
        "virial_ratio_stars": binding.virial_ratio_stars,
        "virial_ratio": binding.virial_ratio,
        "used_dm": binding.used_dm,
        "bound": binding.bound,
        "virialised": binding.virialised,
        "v_rms": speeds["v_rms"],
        "v_radial": speeds["v_radial"],
        "v_rotation": speeds["v_rotation"],
        "v_turbulent": speeds["v_turbulent"],
        # 1 pc / (km/s) is 0.9778 Myr.
        "t_dyn": (extent * u.pc / (speeds["v_rms"] * u.km / u.s)).to_value(u.Myr) if speeds["v_rms"] > 0 else np.nan,
        "x": centre[0],
        "y": centre[1],
        "z_position": centre[2],
    }


def _around(
    surroundings: _Surroundings, binding: Binding, centre: FloatArray, members: Mapping[int, Bodies]
) -> dict[str, Any]:
    """Return dark matter inside the radius, and gas inside the farthest star."""
    dark = surroundings.within(_DM, centre, binding.radius)
    gas = surroundings.within(_GAS, centre, binding.r_max)
    volume = 4.0 / 3.0 * np.pi * (1e3 * binding.r_max) ** 3
    return {
        "n_dm": len(dark),
        "mass_dm": dark.total,
        "n_dm_r_max": binding.n_dm,
        "mass_gas": gas.total,
        "mass_gas_group": members[_GAS].total,
        "mass_dm_group": members[_DM].total,
        "density_gas": gas.total / volume if volume > 0 else np.nan,
    }


def _age(known: FloatArray | None, rows: Any, stars: Bodies) -> dict[str, Any]:
    """Return the age of the oldest star and the mass-weighted one, NaN where unknown."""
    if known is None:
        return {"age_onset": np.nan, "age_mw": np.nan}
    ages = known[rows]
    there = np.isfinite(ages)
    if not stars.mass[there].sum() > 0:
        return {"age_onset": np.nan, "age_mw": np.nan}
    return {
        "age_onset": float(ages[there].max()),
        "age_mw": float(np.average(ages[there], weights=stars.mass[there])),
    }


_ENERGY = u.Msun * (u.km / u.s) ** 2
_UNITS: dict[str, Any] = (
    dict.fromkeys(("mass", "mass_dm", "mass_gas", "mass_gas_group", "mass_dm_group"), u.Msun)
    | dict.fromkeys(
        ("r_eff", "r_half", "r_projected", "r_projected_lo", "r_projected_hi", "r_max", "r_vir", "radius"), u.pc
    )
    | {"sigma_mass": u.Msun / u.pc**2, "density": u.Msun / u.pc**3, "density_gas": u.Msun / u.pc**3, "t_dyn": u.Myr}
    | dict.fromkeys(("kinetic_stars", "potential_stars", "kinetic", "potential"), _ENERGY)
    | dict.fromkeys(("v_rms", "v_radial", "v_rotation", "v_turbulent"), u.km / u.s)
    | dict.fromkeys(("x", "y", "z_position"), u.kpc)
    | dict.fromkeys(("age_onset", "age_mw"), u.Myr)
)
_FIRST = ("id", "field", "group", "z", "mass", "r_eff", "sigma_mass", "age_onset", "age_mw", "n_star")
_NUMBERS = ("n_dm", "n_dm_r_max", "n_gas_group", "n_dm_group", "n_wind")
_RATIOS = ("virial_ratio_stars", "virial_ratio", "used_dm", "bound", "virialised")
#: Values of the columns that are not plain numbers, for the types of a catalogue without rows.
_EMPTY: dict[str, Any] = (
    {"id": "", "field": ""} | dict.fromkeys(("group", "n_star", *_NUMBERS), 0)
    | dict.fromkeys(("used_dm", "bound", "virialised"), False)
)  # fmt: skip


def _table(rows: list[dict[str, Any]], snapshot: Snapshot, groups: Groups, choices: Mapping[str, Any]) -> QTable:
    """Return rows as a table with units and what it was made from."""
    names = list(dict.fromkeys([*_FIRST, *(rows[0] if rows else (*_UNITS, *_RATIOS, *_NUMBERS))]))
    table = QTable()
    for name in names:
        values = np.array([row[name] for row in rows]) if rows else np.array([], dtype=type(_EMPTY.get(name, 0.0)))
        unit = _UNITS.get(name)
        if name.startswith("age_") and not np.isfinite(values).any():
            table[name] = MaskedColumn(values, mask=np.ones(len(values), dtype=bool), unit=u.Myr)
        else:
            table[name] = values if unit is None else u.Quantity(values, unit)
    header = snapshot.header
    table.meta["simulation"] = {
        "snapshot": snapshot.name,
        "redshift": header.redshift,
        "mode": groups.mode,
        "linking_length": groups.linking_length,
        "primary": list(groups.primary),
        "secondary": list(groups.secondary),
        "tree_above": CROSSOVER,
        "cautions": list(snapshot.cautions),
        **choices,
    }
    return table
