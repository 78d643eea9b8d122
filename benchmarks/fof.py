"""Friends-of-friends: ours beside yt's RunFOF, kdcount and SciPy on the same clustered particles, in one run."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sc_lab.simulations import friends_of_friends

TARGETS = (
    "targets: 3 times faster than the fastest peer; 48 bytes of working memory for each particle; N log N or better"
)


def particles(n, seed=1):
    """Return positions in a unit box: half uniform, half in r^-2 clumps of a thousand, in random order."""
    rng = np.random.default_rng(seed)
    half = n // 2
    centre = rng.uniform(0, 1, (max(1, n // 2000), 3))[rng.integers(0, max(1, n // 2000), half)]
    direction = rng.standard_normal((half, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    clumps = (centre + rng.uniform(0, 0.02, half)[:, None] * direction) % 1.0
    return rng.permutation(np.concatenate([rng.uniform(0, 1, (n - half, 3)), clumps]))


def best(call, times):
    """Return the shortest of several times, and the last answer."""
    took, answer = [], None
    for _ in range(times):
        start = time.perf_counter()
        answer = call()
        took.append(time.perf_counter() - start)
    return min(took), answer


def groups_of(labels, least=20):
    """Return the sizes of groups with at least so many members, falling."""
    labels = np.asarray(labels)
    size = np.bincount(labels[labels >= 0])
    return np.sort(size[size >= least])[::-1]


def peers(points, length):
    """Return what else finds the groups here, by name; missing packages are said."""
    found = {}
    try:
        import kdcount.cluster
        import kdcount.models

        def kd():
            data = kdcount.models.dataset(points, boxsize=1.0)
            return kdcount.cluster.fof(data, linking_length=length, np=0).labels

        found["kdcount"] = kd
    except ImportError:
        print("kdcount is not installed: pip install kdcount")
    try:
        from yt_astro_analysis.halo_analysis.halo_finding.fof.EnzoFOF import RunFOF

        # It keeps positions in single precision: of ten million particles a few groups differ.
        found["yt RunFOF"] = lambda: RunFOF(*np.ascontiguousarray(points.T), length)
    except ImportError:
        print("yt_astro_analysis is not installed: pip install yt yt_astro_analysis")
    if len(points) <= 1_000_000:
        found["SciPy tree"] = lambda: friends_of_friends(points, length, 1.0, method="tree")
    return found


def held(points, length):
    """Return by how many bytes for each particle a process grows at most while it finds groups, labels included.

    A process of its own, which has done nothing else: what the compiled loops hold counts too.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/points.npy", points)
        done = subprocess.run(
            [sys.executable, __file__, "--grown", f"{folder}/points.npy", str(length)],
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout) / len(points)


def grown(path, length):
    """Print by how many bytes this process grows at most (Linux)."""
    points = np.load(path)
    friends_of_friends(points[:1000], 0.02, 1.0)
    before = resident("VmRSS")
    # Sets the highest mark back to what is held now.
    Path("/proc/self/clear_refs").write_text("5")
    friends_of_friends(points, length, 1.0)
    print(resident("VmHWM") - before)


def resident(name):
    """Return a count of bytes that the kernel keeps of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def main():
    """Print times, ratios and memory for 10^5, 10^6 and 10^7 particles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1e5,1e6,1e7")
    parser.add_argument("--grown", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grown:
        grown(options.grown[0], float(options.grown[1]))
        return
    print(TARGETS)
    for text in options.sizes.split(","):
        n = int(float(text))
        points, length = particles(n), 0.2 * n ** (-1 / 3)
        friends_of_friends(points[:1000], 0.02, 1.0)
        times = 3 if n < 5e6 else 1
        one, labels = best(lambda: friends_of_friends(points, length, 1.0, threads=1), times)  # noqa: B023 - run at once
        both, _ = best(lambda: friends_of_friends(points, length, 1.0), times)  # noqa: B023 - run at once
        print(f"{n:.0e} particles: ours {both:.3f} s, one thread {one:.3f} s ({n / one / 1e6:.2f} million a second)")
        for name, call in peers(points, length).items():
            theirs, other = best(call, 1 if n > 5e5 else 3)
            mine = groups_of(labels)
            same = np.array_equal(groups_of(other), mine)
            print(
                f"  {name:10s} {theirs:8.3f} s, ratio {theirs / both:5.1f} ({theirs / one:.1f} one thread); same groups: {same}"
            )
        print(f"  memory: {held(points, length):.0f} bytes for each particle, labels (8) included")


if __name__ == "__main__":
    main()
