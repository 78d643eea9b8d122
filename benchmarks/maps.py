"""Particle maps: our loop, NumPy and, where it is installed, datashader, side by side on the same particles (CPU seconds)."""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np

from sc_lab.simulations.maps import count_in_cells

NUMBERS = (100_000, 1_000_000, 10_000_000)
REPEATS = 5


def spent(points: np.ndarray, method: str) -> tuple[float, float, np.ndarray]:
    """Return CPU seconds of the first call and the least of the next ones, and the picture."""
    times = []
    for _ in range(REPEATS + 1):
        begun = time.process_time()
        image = count_in_cells(points, (0, 1, 0, 1), (600, 600), method=method)
        times.append(time.process_time() - begun)
    return times[0], min(times[1:]), image


def main() -> None:
    """Print one row for each number of particles and method."""
    rng = np.random.default_rng(1)
    methods = ("compiled", "numpy", *(("datashader",) if find_spec("datashader") else ()))
    print(f"{'particles':>10} {'method':>11} {'first':>8} {'later':>8}  same counts")
    for number in NUMBERS:
        halves = (rng.normal(0.5, 0.1, (number // 2, 3)), rng.uniform(0, 1, (number - number // 2, 3)))
        points = np.concatenate(halves).astype(np.float32)
        images = {}
        for method in methods:
            first, later, images[method] = spent(points, method)
            same = np.array_equal(images[method], images["compiled"])
            print(f"{number:>10} {method:>11} {first:>8.4f} {later:>8.4f}  {same}")


if __name__ == "__main__":
    main()
