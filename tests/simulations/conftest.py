"""Spheres of particles whose energies and radii are known in closed form."""

import numpy as np
import pytest


def directions(rng, n):
    """Return random unit vectors."""
    out = rng.standard_normal((n, 3))
    return out / np.linalg.norm(out, axis=1)[:, None]


def plummer(n, seed=1, a=1.0):
    """Return positions of a Plummer sphere of scale radius ``a``, one at each step of its cumulative mass."""
    rng = np.random.default_rng(seed)
    share = (np.arange(n) + 0.5) / n  # stratified: less scatter than plain draws
    return (a / np.sqrt(share ** (-2.0 / 3.0) - 1.0))[:, None] * directions(rng, n)


def ball(n, seed=1, radius=1.0):
    """Return positions of a uniform sphere."""
    rng = np.random.default_rng(seed)
    return (radius * ((np.arange(n) + 0.5) / n) ** (1.0 / 3.0))[:, None] * directions(rng, n)


def plummer_speeds(position, mass, seed=2, a=1.0):
    """Return isotropic velocities of a Plummer sphere in equilibrium (Aarseth, Henon & Wielen 1974), G in kpc km2/s2/Msun."""
    from sc_lab.simulations.potential import G

    rng = np.random.default_rng(seed)
    q = np.empty(len(position))
    todo = np.arange(len(position))
    while len(todo):
        x, y = rng.uniform(0, 1, len(todo)), rng.uniform(0, 0.1, len(todo))
        good = y < x**2 * (1 - x**2) ** 3.5
        q[todo[good]] = x[good]
        todo = todo[~good]
    r2 = (position**2).sum(axis=1)
    escape = np.sqrt(2.0 * G * mass) * (r2 + a**2) ** -0.25
    return (q * escape)[:, None] * directions(rng, len(position))


@pytest.fixture(scope="session")
def spheres():
    """Return the makers of spheres."""
    return {"plummer": plummer, "ball": ball, "speeds": plummer_speeds}
