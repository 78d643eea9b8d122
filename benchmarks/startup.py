"""Measure how long a user waits: for the import, for the demonstration data, and for the workbench on the screen."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

from _stopwatch import ROOT, Stopwatch

#: What `import sc_lab` must not bring with it.
HEAVY = (
    "bagpipes",
    "matplotlib",
    "bokeh",
    "ipywidgets",
    "holoviews",
    "panel",
    "anywidget",
    "IPython",
    "emcee",
    "pyarrow",
)
MAKE = """
import time
from sc_lab.mock import make_population
start = time.perf_counter()
make_population()
print(time.perf_counter() - start)
"""


def seconds(statement: str, repeats: int) -> tuple[float, float]:
    """Return the median seconds of fresh interpreters that run a statement, and of empty ones, in turns."""
    times: dict[str, list[float]] = {statement: [], "pass": []}
    for turn in range(repeats + 1):
        for text, found in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", text], check=True)
            if turn:  # the first fills the file cache
                found.append(time.perf_counter() - start)
    return statistics.median(times[statement]), statistics.median(times["pass"])


def dragged_in(statement: str) -> list[str]:
    """Return the heavy packages that a statement imports."""
    code = f"{statement}; import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return _printed(code).split()


def _printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def on_screen(repeats: int) -> list[float]:
    """Return the seconds from running the workbench's cell until all its plots are painted, kernel warm."""
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'widgets'}"}
    found = []
    for _ in range(repeats):
        with Stopwatch("lab", size=(1800, 1300), env=environment) as browser:
            browser.open(browser.write(["from sc_lab_widgets import Workbench", "Workbench()"]))
            browser.kernel_exec("import sc_lab_widgets")
            browser.pause(1)
            browser.js("() => { window.__begin = performance.now(); }")
            browser.command("notebook:run-all-cells")
            browser.wait_for(
                """() => { const plots = [...(window.__scLab?.panes ?? [])].flatMap((p) => p.plots());
                return plots.length >= 7 && plots.every((p) => p._render_count > 0); }"""
            )
            found.append(browser.js("() => performance.now() - window.__begin") / 1000)
    return found


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--screens", type=int, default=3, help="how often the workbench is opened in a browser")
    options = parser.parse_args()

    def line(text: str, value: float, limit: float) -> None:
        print(f"{text:<64}{value:>8.3f} s   target < {limit:g} s   {'met' if value < limit else 'MISSED'}")

    total, empty = seconds("import sc_lab", options.repeats)
    line(f"import sc_lab (an empty interpreter takes {empty:.3f} s of it)", total, 0.3)
    print(f"  brings with it: {', '.join(dragged_in('import sc_lab')) or 'none of ' + ', '.join(HEAVY)}")
    made = [float(_printed(MAKE)) for _ in range(3)]
    line("make_population(), 2540 clumps", statistics.median(made), 5)
    if options.screens:
        shown = on_screen(options.screens)
        line(f"workbench painted, from running its cell ({len(shown)} times, the median)", statistics.median(shown), 5)
        line("  the slowest of them", max(shown), 5)
    print(f"load of the machine ({os.cpu_count()} cores): {os.getloadavg()[0]:.1f}; python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
