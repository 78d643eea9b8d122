"""What a project file costs: making and opening it, and committing one step."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from sc_lab.mock import make_population
from sc_lab.session import Session

STEPS = 200


def main() -> None:
    start = time.perf_counter()
    catalog = make_population(rng=1).catalog
    print(f"make_population, {len(catalog)} clumps with draws: {time.perf_counter() - start:.2f} s (target 5 s)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sclab"
        start = time.perf_counter()
        session = Session(catalog, project=path)
        print(f"project made ({path.stat().st_size / 1e6:.1f} MB): {time.perf_counter() - start:.3f} s")
        session.close()
        start = time.perf_counter()
        session = Session.open(path)
        print(f"project opened: {time.perf_counter() - start:.3f} s")
        times = []
        for i in range(STEPS):
            start = time.perf_counter()
            session.do("set", size_threshold=21.0 + i)
            times.append((time.perf_counter() - start) * 1e3)
        session.close()
    print(
        f"one committed step: median {statistics.median(times):.2f} ms, p95 {sorted(times)[int(0.95 * STEPS)]:.2f} ms"
    )


if __name__ == "__main__":
    main()
