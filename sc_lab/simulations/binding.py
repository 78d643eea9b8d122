"""Whether a group of stars is bound and virialised: its energies, alone and with the dark matter around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.simulations.potential import G, potential_energy
from sc_lab.units import FloatArray

__all__ = ["VIRIAL_RANGE", "Binding", "Bodies", "bind", "unwrap"]

#: Limits of |U|/K between which a group counts as virialised (Williams et al. 2025, section 2).
VIRIAL_RANGE = (1.5, 2.5)


@dataclass(frozen=True, eq=False)
class Bodies:
    """Particles of one kind in physical units.

    Attributes
    ----------
    position : ndarray, shape (n, 3)
        Positions [kpc], unwrapped.
    velocity : ndarray, shape (n, 3)
        Peculiar velocities [km/s].
    mass : ndarray, shape (n,)
        Masses [Msun].
    """

    position: FloatArray
    velocity: FloatArray
    mass: FloatArray

    def __len__(self) -> int:
        return len(self.mass)

    @property
    def total(self) -> float:
        """Their mass [Msun]."""
        return float(self.mass.sum())

    def chosen(self, rows: Any) -> Bodies:
        """Return some of them.

        Parameters
        ----------
        rows : array_like
            Row numbers, or True for each to keep.

        Returns
        -------
        Bodies
            Those particles.
        """
        return Bodies(self.position[rows], self.velocity[rows], self.mass[rows])


@dataclass(frozen=True)
class Binding:
    """Energies and radii of one group.

    Attributes
    ----------
    kinetic_stars, potential_stars : float
        Of the stars alone [Msun km^2 s^-2].
    kinetic, potential : float
        Of what the decision stands on: the stars, or stars and dark matter.
    n_dm, mass_dm : int, float
        Dark matter that was added, 0 where the stars alone decided; [Msun].
    used_dm : bool
        Whether dark matter was added.
    bound, virialised : bool
        The decisions.
    r_max : float
        Distance of the farthest star from the centre [kpc].
    r_vir : float
        G M^2 / |U| with the mass and potential energy of the decision [kpc].
    """

    kinetic_stars: float
    potential_stars: float
    kinetic: float
    potential: float
    n_dm: int
    mass_dm: float
    used_dm: bool
    bound: bool
    virialised: bool
    r_max: float
    r_vir: float

    @property
    def virial_ratio_stars(self) -> float:
        """|U|/K of the stars alone; 2 in equilibrium."""
        return _ratio(self.potential_stars, self.kinetic_stars)

    @property
    def virial_ratio(self) -> float:
        """|U|/K of what the decision stands on."""
        return _ratio(self.potential, self.kinetic)

    @property
    def radius(self) -> float:
        """The virial radius of a virialised group, else the distance of the farthest star [kpc]."""
        return self.r_vir if self.virialised else self.r_max


def unwrap(position: FloatArray, around: FloatArray, box: float) -> FloatArray:
    """Return positions as the images nearest to a point.

    Parameters
    ----------
    position : ndarray, shape (n, 3)
        Positions in a periodic box.
    around : ndarray, shape (3,)
        The point, same unit.
    box : float
        Period; 0 for none.

    Returns
    -------
    ndarray, shape (n, 3)
        Positions within half a box of the point along each axis.
    """
    if not box > 0:
        return position
    offset = position - around
    return np.asarray(around + offset - box * np.round(offset / box))


def bind(
    stars: Bodies,
    dark: Bodies | None = None,
    *,
    centre: FloatArray,
    velocity: FloatArray,
    within_group: bool = False,
    virial_range: tuple[float, float] = VIRIAL_RANGE,
    hubble: float = 0.0,
    softening: float = 0.0,
    method: str = "auto",
) -> Binding:
    """Return whether a group is bound and virialised.

    Parameters
    ----------
    stars : Bodies
        The stars of the group.
    dark : Bodies, optional
        Dark matter that may be added: around the group, or that of the group itself.
    centre : ndarray, shape (3,)
        Centre [kpc].
    velocity : ndarray, shape (3,)
        Velocity [km/s] to which the others are relative, of dark matter too.
    within_group : bool
        False: dark matter within the farthest star is added where the stars alone are not bound. True, for groups that
        were found by their dark matter: all of ``dark`` is added where the stars alone are not virialised.
    virial_range : (float, float)
        Limits of |U|/K for a virialised group.
    hubble : float
        Expansion rate [km/s/kpc] to add to the velocities, 0 for none as in the paper.
    softening : float
        Plummer softening length [kpc], 0 for none as in the paper.
    method : str
        As in `sc_lab.simulations.potential.potential_energy`.

    Returns
    -------
    Binding
        Energies, decisions and radii.

    Raises
    ------
    InputError
        If there are no stars or the limits are not in order.

    Notes
    -----
    Williams et al. 2025, equations (1) and (2) and their flow chart: K = sum m v^2 / 2, U = -sum G m m / r over pairs;
    bound if K + U < 0; virialised if in addition |U|/K lies in the range, which implies the former. Gas is left out.
    """
    if not len(stars):
        msg = "the group has no stars; its energies are not defined"
        raise InputError(msg)
    low, high = virial_range
    if not 0 < low < high:
        msg = f"virial_range is {virial_range}; give two numbers above 0 in rising order, such as (1.5, 2.5)"
        raise InputError(msg)

    def kinetic(bodies: Bodies) -> float:
        relative = bodies.velocity - velocity + hubble * (bodies.position - centre)
        return float(0.5 * np.sum(bodies.mass[:, None] * relative**2))

    options: dict[str, Any] = {"softening": softening, "method": method}
    k_stars = kinetic(stars)
    u_stars = potential_energy(stars.position, stars.mass, **options)
    r_max = float(np.sqrt(((stars.position - centre) ** 2).sum(axis=1).max()))
    k_all, u_all, mass, added = k_stars, u_stars, stars.total, None
    alone = k_stars + u_stars < 0
    enough = (alone and _between(u_stars, k_stars, low, high)) if within_group else alone
    if not enough and dark is not None and len(dark):
        near = ((dark.position - centre) ** 2).sum(axis=1) <= r_max**2
        added = dark if within_group else dark.chosen(near)
        k_all = k_stars + kinetic(added)
        u_all = (
            u_stars
            + potential_energy(added.position, added.mass, **options)
            + potential_energy(stars.position, stars.mass, (added.position, added.mass), **options)
        )
        mass += added.total
    bound = k_all + u_all < 0
    return Binding(
        kinetic_stars=k_stars,
        potential_stars=u_stars,
        kinetic=k_all,
        potential=u_all,
        n_dm=0 if added is None else len(added),
        mass_dm=0.0 if added is None else added.total,
        used_dm=added is not None,
        bound=bool(bound or (within_group and alone)),
        virialised=bool(bound and _between(u_all, k_all, low, high)),
        r_max=r_max,
        r_vir=float(G * mass**2 / abs(u_all)) if u_all < 0 else np.nan,
    )


def _ratio(potential: float, kinetic: float) -> float:
    """Return |U|/K, infinite for particles at rest."""
    return abs(potential) / kinetic if kinetic > 0 else np.inf


def _between(potential: float, kinetic: float, low: float, high: float) -> bool:
    """Return whether |U|/K lies strictly between two limits."""
    return bool(low < _ratio(potential, kinetic) < high)
