"""Sizes and motions of a group of stars: half-mass radii in space and in projection, rotation and turbulence."""

from __future__ import annotations

from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.units import FloatArray

__all__ = ["half_mass_radius", "motions", "projected_half_mass_radius"]


_SPHERE = {
    "position": check.array(words="finite positions in rows of three", shape=(None, 3)),
    "mass": check.array(words="masses of 0 or more, one for each", low=0.0, shape=(None,)),
    "centre": check.array(words="three numbers", shape=(3,)),
}


@check.checked(**_SPHERE)
def half_mass_radius(position: Any, mass: Any, centre: Any) -> float:
    """Return the distance of the star at which half of the mass is reached.

    Parameters
    ----------
    position : array_like, shape (n, 3)
        Positions, any unit of length.
    mass : array_like, shape (n,)
        Masses.
    centre : array_like, shape (3,)
        The centre.

    Returns
    -------
    float
        Radius in the unit of the positions: that of the first star, sorted by distance, at which the sum reaches one
        half; nothing is interpolated (Williams et al. 2025, section 2).
    """
    return _half(np.asarray(position, float) - np.asarray(centre, float), np.asarray(mass, float))


@check.checked(**_SPHERE, directions=check.count(low=1), rng=check.seed)
def projected_half_mass_radius(
    position: Any, mass: Any, centre: Any, *, directions: int = 32, rng: Any = 0
) -> tuple[float, float, float]:
    """Return the radius of the circle around half of the mass, as seen from many sides.

    Parameters
    ----------
    position : array_like, shape (n, 3)
        Positions, any unit of length.
    mass : array_like, shape (n,)
        Masses.
    centre : array_like, shape (3,)
        The centre.
    directions : int
        Random lines of sight.
    rng : seed or Generator
        Source of the directions.

    Returns
    -------
    (float, float, float)
        16 %, 50 % and 84 % over the lines of sight.

    Notes
    -----
    What an observer measures: for a Plummer sphere 0.766 of the radius in space.
    """
    offset = np.asarray(position, float) - np.asarray(centre, float)
    weight = np.asarray(mass, float)
    normal = np.random.default_rng(rng).standard_normal((directions, 3))
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    radii = [_half(offset - np.outer(offset @ each, each), weight) for each in normal]
    low, middle, high = np.quantile(radii, [0.16, 0.5, 0.84])
    return float(low), float(middle), float(high)


def _half(offset: FloatArray, mass: FloatArray) -> float:
    """Return the distance at which the sorted cumulative mass first reaches one half."""
    if len(offset) != len(mass):
        msg = f"there are {len(offset)} positions and {len(mass)} masses; give one for each"
        raise InputError(msg)
    square = (offset**2).sum(axis=1)
    order = np.argsort(square, kind="stable")
    inside = np.cumsum(mass[order])
    # The sum of the sorted masses itself, so that rounding cannot leave one half out of reach.
    return float(np.sqrt(square[order[np.searchsorted(inside, 0.5 * inside[-1])]]))


@check.checked(
    **_SPHERE,
    velocity=check.array(words="finite velocities in rows of three", shape=(None, 3)),
    mean=check.array(words="three numbers", shape=(3,)),
)
def motions(position: Any, velocity: Any, mass: Any, centre: Any, mean: Any) -> dict[str, float]:
    """Return mean squares of velocity, split into radial motion, solid rotation and the rest.

    Parameters
    ----------
    position, velocity : array_like, shape (n, 3)
        Positions [kpc] and velocities [km/s].
    mass : array_like, shape (n,)
        Masses.
    centre, mean : array_like, shape (3,)
        Centre and mean velocity.

    Returns
    -------
    dict of str to float
        ``v_rms``, ``v_radial``, ``v_rotation``, ``v_turbulent`` [km/s], each a mass-weighted root mean square.

    Notes
    -----
    Rotation is omega x r with omega = L / I about the axis of the angular momentum L; what remains after radial motion
    and rotation is called turbulent (Williams et al. 2025, section 2).
    """
    if not len(position) == len(velocity) == len(mass):
        msg = f"there are {len(position)} positions, {len(velocity)} velocities and {len(mass)} masses; give as many"
        raise InputError(msg)
    r = np.asarray(position, float) - np.asarray(centre, float)
    v = np.asarray(velocity, float) - np.asarray(mean, float)
    m = np.asarray(mass, float)
    distance = np.sqrt((r**2).sum(axis=1))
    outward = np.divide(r, distance[:, None], out=np.zeros_like(r), where=distance[:, None] > 0)
    radial = (v * outward).sum(axis=1)[:, None] * outward
    momentum = (m[:, None] * np.cross(r, v)).sum(axis=0)
    size = float(np.linalg.norm(momentum))
    rotation = np.zeros_like(v)
    if size > 0:
        axis = momentum / size
        inertia = float(np.sum(m * ((r**2).sum(axis=1) - (r @ axis) ** 2)))
        if inertia > 0:
            rotation = np.cross(size / inertia * axis, r)

    def rms(velocities: FloatArray) -> float:
        return float(np.sqrt(np.sum(m * (velocities**2).sum(axis=1)) / m.sum()))

    return {
        "v_rms": rms(v),
        "v_radial": rms(radial),
        "v_rotation": rms(rotation),
        "v_turbulent": rms(v - radial - rotation),
    }
