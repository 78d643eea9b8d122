"""Measure the workbench live in a real browser, beside the kernel-echo floor and other tools, in one run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _stopwatch import ROOT, Stopwatch, median, quantile, rate

CELLS = Path(__file__).with_name("live_cells")
PEERS = "jupyterlab glue-jupyter panel holoviews bokeh==3.9.* jupyter_bokeh"
SIZE = (1800, 1300)
#: Milliseconds a frame of 60 a second lasts; the pace of a hand that drags.
FRAME = 1 / 60


@dataclass
class Series:
    """What was measured of one gesture in one tool."""

    tool: str
    gesture: str
    plots: int = 0
    paint: list[float] = field(default_factory=list)
    missed: int = 0
    rates: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)

    def add_step(self, seen: dict[str, Any]) -> None:
        self.plots = len(seen["plots"])
        if seen["paint"] is None:
            self.missed += 1
        else:
            self.paint.append(seen["paint"])

    @property
    def name(self) -> str:
        return f"{self.tool}: {self.gesture}"


class Tool:
    """One tool in a browser of its own; its notebook is read from `live_cells`."""

    def __init__(self, name: str, notebook: str, count: int, plots: int, python: str = sys.executable) -> None:
        self.name, self.plots = name, plots
        environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'widgets'}"} if python == sys.executable else {}
        self.browser = Stopwatch("lab", size=SIZE, env=environment, python=python)
        self.browser.__enter__()
        try:
            _write_columns(self.browser.folder, 2540 if count < 10_000 else count)
            source = (CELLS / f"{notebook}.py").read_text()
            self.browser.run([f"COUNT = {count}", *source.split("# %%\n")[1:]])
            self.browser.await_plots(plots)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.browser.__exit__(None, None, None)

    # ---- gestures ------------------------------------------------------------------------------------------------
    def focus(self, label: str) -> None:
        """Put the focus on a slider: ours is a range input, those of ipywidgets and bokeh a noUiSlider handle."""
        found = self.browser.js(
            """(label) => {
            const all = (root) => [...root.querySelectorAll("*")].flatMap((e) => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]);
            const page = all(document);
            const ours = page.find((e) => e.matches("input[type=range]") &&
              e.getRootNode().querySelector(`label[for="${e.id}"]`)?.textContent === label);
            const titles = page.filter((e) => e.matches(".widget-label, .bk-slider-title"));
            const named = titles.find((e) => e.textContent.trim().startsWith(label));
            let around = named;
            while (around && !around.querySelector?.(".noUi-handle")) around = around.parentNode ?? around.host;
            const handle = ours ?? around?.querySelector(".noUi-handle");
            handle?.focus({preventScroll: true});
            return Boolean(handle); }""",
            label,
        )
        if not found:
            msg = f"{self.name} shows no slider {label!r}"
            raise LookupError(msg)

    def steps(self, series: Series, label: str, n: int, key: str, warm_up: int = 2) -> None:
        """Take steps with an arrow key."""
        self.focus(label)
        for i in range(n + warm_up):
            seen = self.browser.watch(lambda: self.browser.press(key))
            if i >= warm_up:
                series.add_step(seen)

    def box_steps(self, series: Series, n: int, warm_up: int = 2) -> None:
        """Take single moves of the pointer that holds the colour box."""
        mouse, at, size = self._hold_box()
        for i in range(n + warm_up):
            # There and back in small steps, never the same place twice in a row.
            shift = (1 + i % 8) * size / 40
            seen = self.browser.watch(
                lambda shift=shift: mouse.move(at[0] + 12 + shift, at[1] + shift / 2), event="pointermove"
            )
            if i >= warm_up:
                series.add_step(seen)
        mouse.up()
        self.browser.pause(0.5)

    def _hold_box(self) -> tuple[Any, tuple[float, float], float]:
        (x0, y0), (x1, y1) = self.browser.kernel_eval("[wb.session.settings.gc_box[0], wb.session.settings.gc_box[2]]")
        at = self.browser.pixel("gc_colours", (x0 + x1) / 2, (y0 + y1) / 2)
        edge = self.browser.pixel("gc_colours", x1, y1)
        mouse = self.browser.page.mouse
        mouse.move(*at)
        mouse.down()
        # Far enough at once that bokeh takes it for a drag, not for a long press.
        mouse.move(at[0] + 6, at[1])
        mouse.move(at[0] + 12, at[1])
        self.browser.pause(0.5)
        return mouse, at, abs(edge[0] - at[0])

    def drag_box(self, series: Series, seconds: float = 2.0) -> None:
        """Drag the colour box to and fro without a pause."""
        mouse, at, size = self._hold_box()
        self._drag(series, seconds, lambda part: mouse.move(at[0] + 12 + part * size, at[1] + part * size / 4))
        mouse.up()
        self.browser.pause(0.5)

    def drag_slider(self, series: Series, label: str, low: float, high: float, seconds: float = 2.0) -> None:
        """Drag the handle of one of our sliders to and fro between two parts of its track, without a pause."""
        box = self.browser.slider(label).bounding_box()
        x, y = box["x"] + 8, box["y"] + box["height"] / 2
        width = box["width"] - 16
        mouse = self.browser.page.mouse
        mouse.move(x + low * width, y)
        mouse.down()
        self.browser.pause(0.5)
        self._drag(series, seconds, lambda part: mouse.move(x + (low + part * (high - low)) * width, y))
        mouse.up()
        self.browser.pause(0.5)

    def _drag(self, series: Series, seconds: float, move: Callable[[float], None]) -> None:
        import time

        def moves() -> None:
            start = time.perf_counter()
            while (now := time.perf_counter() - start) < seconds:
                # A triangle wave: there and back once.
                move(1 - abs(1 - 2 * now / seconds))
                time.sleep(max(0.0, FRAME - (time.perf_counter() - start - now)))

        seen = self.browser.watch(moves, event="pointermove", newest=True, quiet=0.5)
        series.plots = len(seen["plots"])
        series.rates.append(rate(seen["paints"], seen["plots"], -seen["length"], 0.0))
        if seen["settled"] is not None:
            series.settled.append(seen["settled"])


def _write_columns(folder: Path, count: int) -> None:
    """Give the peers the same clumps as plain columns."""
    from sc_lab.mock import make_population
    from sc_lab.population import analyse

    extra = {"draws": 0} if count > 10_000 else {}
    population = analyse(make_population(n=count, rng=1, **extra).catalog)
    gc = population.gc
    columns = {
        "log_r": population.scaled("r_eff"),
        "log_m": population.scaled("mass"),
        "log_s": population.scaled("sigma_mass"),
        "z_form": population.values("z_form"),
        "x": gc.x,
        "y": gc.y,
    }
    # Not every tool can draw gaps: the same few clumps are left out for all of them.
    known = np.isfinite(np.column_stack(list(columns.values()))).all(axis=1)
    filled = {name: np.where(np.isfinite(values), values, np.median(values[known])) for name, values in columns.items()}
    np.savez(folder / "columns.npz", **filled)


def peer_python(asked: str | None, *, install: bool, packages: str = PEERS) -> Iterator[str | None]:
    """Yield the interpreter of the other tools: the one asked for, one made for this run, or None."""
    if asked or not install:
        yield asked
        return
    with tempfile.TemporaryDirectory(prefix="sc-lab-peers-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "-q", *packages.split()], check=True)
        yield python


def versions(python: str | None) -> str:
    """Return the versions of what is compared."""
    text = (
        "from importlib.metadata import version, PackageNotFoundError\n"
        "def v(n):\n"
        "    try: return version(n)\n"
        "    except PackageNotFoundError: return None\n"
        "names = 'jupyterlab ipykernel ipywidgets bokeh anywidget glue-jupyter holoviews panel jupyter_bokeh'.split()\n"
        "print(', '.join(f'{n} {v(n)}' for n in names if v(n)))"
    )
    out = [f"python {sys.version.split()[0]}"]
    for name, interpreter in (("ours", sys.executable), ("peers", python)):
        if interpreter:
            run = subprocess.run([interpreter, "-c", text], check=True, capture_output=True, text=True)
            out.append(f"{name}: {run.stdout.strip()}")
    return "\n".join(out)


class Run:
    """All tools side by side, rounds interleaved so that each meets the same load."""

    def __init__(self, rounds: int, steps: int) -> None:
        self.rounds, self.per_round = rounds, steps
        self.series: dict[str, Series] = {}
        self.skipped: list[str] = []
        self.load: list[float] = []

    def of(self, tool: str, gesture: str) -> Series:
        key = f"{tool}: {gesture}"
        return self.series.setdefault(key, Series(tool, gesture))

    def start(self, *args: Any, **kwargs: Any) -> Tool | None:
        """Start a tool, or note in a sentence why not."""
        try:
            return Tool(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever keeps a peer from running is only reported
            self.skipped.append(f"{args[0]} was left out: {str(error).strip().splitlines()[-1]}")
            return None

    def peers(self, python: str | None, wanted: dict[str, tuple[str, str, int, int]]) -> dict[str, tuple[Tool, str]]:
        if python is None:
            names = ", ".join(wanted)
            self.skipped.append(
                f"{names}: not compared; give an interpreter that has them with --peers, or --install-peers"
            )
            return {}
        tools = {}
        for name, (notebook, label, count, plots) in wanted.items():
            tool = self.start(name, notebook, count, plots, python)
            if tool is not None:
                tools[name] = (tool, label)
        return tools

    def small(self, python: str | None) -> None:
        """Measure 2540 clumps."""
        workbench = Tool("workbench", "workbench", 2540, 7)
        floor = Tool("floor", "floor", 7, 7)
        four = Tool("workbench, 4 plots", "workbench_four", 2540, 4)
        peers = self.peers(
            python,
            {
                "stock floor": ("stock_floor", "echo", 7, 7),
                "glue-jupyter": ("glue", "threshold", 2540, 4),
                "link_selections": ("link_selections", "threshold", 2540, 4),
            },
        )
        for turn in range(self.rounds):
            key = ("ArrowRight", "ArrowLeft")[turn % 2]
            self.load.append(os.getloadavg()[0])
            n = self.per_round
            stock = peers.get("stock floor")
            echo = self.of("floor", "step, 7 figures")
            # The floor before each gesture, so that a burst of load from elsewhere does not fall on one of them alone.
            for label in ("size threshold", "oldest age"):
                floor.steps(echo, "echo", n, key)
                if stock:
                    stock[0].steps(self.of("stock floor", "step, 7 figures"), stock[1], n, key)
                workbench.steps(self.of("workbench", f"step of {label}"), label, n, key)
            floor.steps(echo, "echo", n, key)
            workbench.box_steps(self.of("workbench", "move of the colour box"), n)
            floor.drag_slider(self.of("floor", "drag, 7 figures"), "echo", 0.05, 0.25)
            workbench.drag_slider(self.of("workbench", "drag of size threshold"), "size threshold", 0.05, 0.25)
            workbench.drag_box(self.of("workbench", "drag of the colour box"))
            workbench.browser.kernel_exec(
                "wb.session.do('set', size_threshold=20, gc_box=[[-1, 0], [-.5, 0], [-.5, .3], [-1, .3]])"
            )
            workbench.browser.pause(1)
            four.steps(self.of(four.name, "step of size threshold"), "size threshold", n, key)
            for name, (tool, label) in peers.items():
                if name == "stock floor":
                    continue
                # The slow ones get fewer steps; a step of theirs takes seconds.
                fewer = n if name.startswith("glue") else max(2, n // 4)
                tool.steps(self.of(name, "step of the threshold"), label, fewer, key, warm_up=1)
        for tool in [floor, four, workbench, *(tool for tool, _ in peers.values())]:
            tool.close()

    def large(self, python: str | None) -> None:
        """Measure 50 000 clumps."""
        workbench = Tool("workbench, 50 000", "workbench", 50_000, 7)
        peers = self.peers(python, {"plain bokeh, 50 000": ("plain_bokeh", "threshold", 50_000, 4)})
        for turn in range(self.rounds):
            key = ("ArrowRight", "ArrowLeft")[turn % 2]
            self.load.append(os.getloadavg()[0])
            workbench.steps(
                self.of("workbench, 50 000", "step of size threshold"), "size threshold", self.per_round, key
            )
            for name, (tool, label) in peers.items():
                tool.steps(self.of(name, "step of the threshold"), label, max(2, self.per_round // 2), key, warm_up=1)
        for tool in [workbench, *(tool for tool, _ in peers.values())]:
            tool.close()

    # ---- the report ----------------------------------------------------------------------------------------------
    def report(self) -> str:
        lines = [
            f"{'ms from the input to the paint of all plots':<56}{'plots':>6}{'median':>9}{'p95':>9}{'n':>5}{'missed':>8}"
        ]
        for series in self.series.values():
            if series.paint:
                p95 = quantile(series.paint, 0.95)
                lines.append(
                    f"{series.name:<56}{series.plots:>6}{median(series.paint):>9.0f}{p95:>9.0f}"
                    f"{len(series.paint):>5}{series.missed:>8}"
                )
            elif series.missed:
                lines.append(f"{series.name:<56}{series.plots:>6}   never redrawn in full, {series.missed} tries")
        drags = [series for series in self.series.values() if series.rates]
        if drags:
            lines.append(
                f"\n{'dragging without a pause for 2 s':<56}{'plots':>6}{'repaints/s':>12}{'settled after/ms':>18}"
            )
            lines += [f"{s.name:<56}{s.plots:>6}{median(s.rates):>12.1f}{median(s.settled):>18.0f}" for s in drags]
        lines += ["", *self._verdicts(), *self.skipped]
        return "\n".join(lines)

    def _verdicts(self) -> list[str]:
        out = []

        def ratio(text: str, a: float, b: float, limit: float, *, at_least: bool = False) -> None:
            value = a / b
            good = value >= limit if at_least else value <= limit
            sign = "≥" if at_least else "≤"
            out.append(f"{text:<72}{value:>8.2f}   target {sign} {limit:g}   {'met' if good else 'MISSED'}")

        ours = [s for s in self.series.values() if s.tool == "workbench" and s.paint]
        for name in ("floor", "stock floor"):
            floor = self.series.get(f"{name}: step, 7 figures")
            for series in ours if floor and floor.paint else ():
                ratio(f"{series.name}: median to the {name}'s", median(series.paint), median(floor.paint), 1.5)
                ratio(
                    f"{series.name}: p95 to the {name}'s", quantile(series.paint, 0.95), quantile(floor.paint, 0.95), 2
                )
        for name, limit in (("glue-jupyter", 2), ("link_selections", 10)):
            peer = self.series.get(f"{name}: step of the threshold")
            for tool in ("workbench", "workbench, 4 plots"):
                threshold = self.series.get(f"{tool}: step of size threshold")
                if peer and peer.paint and threshold and threshold.paint:
                    text = f"{name} to the {tool}, medians"
                    ratio(text, median(peer.paint), median(threshold.paint), limit, at_least=True)
        large, plain = (
            self.series.get(k)
            for k in ("workbench, 50 000: step of size threshold", "plain bokeh, 50 000: step of the threshold")
        )
        if large and plain and large.paint and plain.paint:
            ratio("50 000 clumps: workbench to plain bokeh, medians", median(large.paint), median(plain.paint), 0.5)
        for series in self.series.values():
            if series.rates and series.tool == "workbench":
                ratio(f"{series.name}: repaints per second", median(series.rates), 1, 8, at_least=True)
                ratio(f"{series.name}: settled after [ms]", median(series.settled), 1, 300)
        return out


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("SC_LAB_PEERS"), help="interpreter of the other tools")
    parser.add_argument("--install-peers", action="store_true", help="install the other tools for this run only")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8, help="steps per round and gesture")
    parser.add_argument("--only", choices=["small", "large"], help="2540 or 50 000 clumps alone")
    options = parser.parse_args()
    run = Run(options.rounds, options.steps)
    for python in peer_python(options.peers, install=options.install_peers):
        print(versions(python), flush=True)
        if options.only != "large":
            run.small(python)
        if options.only != "small":
            run.large(python)
    print(f"load of the machine ({os.cpu_count()} cores): {min(run.load):.1f} to {max(run.load):.1f}\n")
    print(run.report())


if __name__ == "__main__":
    main()
