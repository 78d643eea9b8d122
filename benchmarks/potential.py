"""Potential energy: direct and tree, seconds and error from 10^3 to 10^5 particles, beside SciPy and pytreegrav."""

import argparse
import time

import numpy as np
from scipy.spatial.distance import cdist

from sc_lab.simulations.potential import CROSSOVER, G, potential_energy

TARGETS = "targets: tree within 1e-4 of the direct sum; 'auto' takes the faster of the two"
#: Pairs that plain Python libraries are asked for; beyond they take minutes.
MOST_PAIRS = 4e8
#: Rows of a block of distances.
BLOCK = 500


def clustered(n, seed=1):
    """Return positions and masses of a star cluster with r^-2 clumps in it: half of each [kpc, Msun]."""
    rng = np.random.default_rng(seed)
    radius = 0.01 / np.sqrt(rng.uniform(0.01, 0.99, n) ** (-2 / 3) - 1)
    direction = rng.standard_normal((n, 3))
    points = radius[:, None] * direction / np.linalg.norm(direction, axis=1)[:, None]
    half = n // 2
    centre = points[rng.integers(half, n, max(1, n // 200))]
    inner = rng.standard_normal((half, 3))
    inner *= (rng.uniform(0, 1e-3, half) / np.linalg.norm(inner, axis=1))[:, None]
    points[:half] = centre[rng.integers(0, len(centre), half)] + inner
    return points, rng.uniform(0.5, 1.5, n) * 1e3


def best(call, times):
    """Return the shortest of several times, and the last answer."""
    took, answer = [], None
    for _ in range(times):
        start = time.perf_counter()
        answer = call()
        took.append(time.perf_counter() - start)
    return min(took), answer


def by_cdist(points, masses):
    """Return the energy from SciPy's distances, block by block."""
    total = 0.0
    for low in range(0, len(points), BLOCK):
        rows = slice(low, low + BLOCK)
        distance = cdist(points[rows], points)
        with np.errstate(divide="ignore"):
            inverse = np.where(distance > 0, 1 / distance, 0.0)
        total += masses[rows] @ inverse @ masses
    return -0.5 * G * total


def by_pytreegrav(points, masses):
    """Return the energy from pytreegrav as its manual shows it: monopoles, its own opening angle."""
    import pytreegrav

    return 0.5 * np.sum(masses * pytreegrav.Potential(points, masses, np.zeros(len(masses)), G=G, method="tree"))


def crossing(sizes, direct, tree):
    """Return the number of particles at which the tree becomes faster, None if it does not."""
    ratio = np.log(np.array(direct) / np.array(tree))
    for k in np.flatnonzero((ratio[:-1] < 0) & (ratio[1:] >= 0)):
        part = -ratio[k] / (ratio[k + 1] - ratio[k])
        return float(np.exp(np.log(sizes[k]) + part * np.log(sizes[k + 1] / sizes[k])))
    return None


def main():
    """Print a line for each size, then the crossover and the largest error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1e3,3e3,1e4,3e4,6e4,1e5")
    sizes = [int(float(text)) for text in parser.parse_args().sizes.split(",")]
    print(TARGETS)
    for call in (potential_energy, by_pytreegrav):
        call(*clustered(3000))
    for method in ("direct", "tree"):
        potential_energy(*clustered(3000), method=method)
    print(
        " particles  direct [s]  one thread   tree [s]  error     pytreegrav's default  error     cdist [s]  plain NumPy [s]"
    )
    direct, tree, worst = [], [], 0.0
    for n in sizes:
        sample = clustered(n)
        times = 5 if n <= 10_000 else 1
        both, exact = best(lambda: potential_energy(*sample, method="direct"), times)  # noqa: B023 - run at once
        one, _ = best(lambda: potential_energy(*sample, method="direct", threads=1), times)  # noqa: B023 - run at once
        ours, found = best(lambda: potential_energy(*sample, method="tree"), times)  # noqa: B023 - run at once
        plain, rough = best(lambda: by_pytreegrav(*sample), times)  # noqa: B023 - run at once
        error, rough_error = abs(found / exact - 1), abs(rough / exact - 1)
        line = f"{n:10d} {both:11.4f} {one:11.4f} {ours:10.4f}  {error:.1e} {plain:17.4f}       {rough_error:.1e}"
        if n * n <= MOST_PAIRS:
            distances, check = best(lambda: by_cdist(*sample), 1)  # noqa: B023 - run at once
            rows, _ = best(lambda: potential_energy(*sample, method="reference"), 1)  # noqa: B023 - run at once
            line += f" {distances:11.3f} {rows:11.3f}   (direct and cdist differ by {abs(check / exact - 1):.0e})"
        print(line)
        direct.append(both)
        tree.append(ours)
        worst = max(worst, error)
    found = crossing(sizes, direct, tree)
    said = "not within these sizes" if found is None else f"at {found:.0f} particles"
    print(f"the tree becomes faster {said}; 'auto' changes at {CROSSOVER}. Largest error of the tree: {worst:.1e}")


if __name__ == "__main__":
    main()
