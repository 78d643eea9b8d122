"""Measure what importing costs: the median of fresh interpreters, beside an empty one."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

STATEMENTS = (
    "pass",
    "import sc_lab",
    "import numpy",
    "import astropy.table",
    "import sc_lab.catalog",
    "import sc_lab.population",
    "import sc_lab.session",
    "import sc_lab_widgets",
    "from sc_lab_widgets import Workbench",
)


def seconds(statement: str, repeats: int) -> float:
    """Return the median wall-clock time of an interpreter that runs ``statement``."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True, cwd=folder, env=dict(os.environ))
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first fills the file cache


def main() -> None:
    """Print one line a statement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    empty = 0.0
    print(f"{'statement':<40}{'total/s':>10}{'above empty/s':>16}")
    for statement in STATEMENTS:
        total = seconds(statement, repeats)
        empty = empty or total
        print(f"{statement:<40}{total:>10.3f}{total - empty:>16.3f}")


if __name__ == "__main__":
    main()
