"""Measure a click to the SED panel: from the input to the paint of photometry, residuals, history and posterior."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack, closing

import numpy as np
from _stopwatch import median, quantile
from live import Series, Tool, peer_python

#: What has to be drawn anew: the four figures of the SED.
FIGURES = ["sed", "sed_residuals", "sed_sfh", "sed_corner"]
#: Those, and the three planes below them that show which clump is selected.
ALL = 7
#: Redshifts whose clumps are clicked; their tables are warm.
REDSHIFTS = 6
TARGET = 2.0
#: What the floor of stock parts needs.
PEERS = "jupyterlab bokeh==3.9.* jupyter_bokeh"

# Candidates of the redshifts that have most of them, where they are in the plane, warm; neighbours would be hit instead.
_CLUMPS = """(lambda pop, panel: [
    (int(i), float(pop.values('r_eff')[i]), float(pop.values('sigma_mass')[i]))
    for i in np.flatnonzero(pop.candidate & panel.lights.has_light(pop))
    if pop.values('z')[i] in
    (lambda zs, n: zs[np.argsort(-n)][:%d])(*np.unique(pop.values('z')[pop.candidate], return_counts=True))
])(wb.population, wb.panels['SED'])"""


def clickable(tool: Tool) -> list[tuple[int, float, float]]:
    """Return clumps of a few redshifts, each alone where it is drawn: row and place in the density-size plane."""
    found = tool.browser.kernel_eval(_CLUMPS % REDSHIFTS)
    at = np.array([tool.browser.js("([f, x, y]) => __probe.at(f, x, y)", ["density_size", x, y]) for _, x, y in found])
    apart = np.hypot(at[:, None, 0] - at[None, :, 0], at[:, None, 1] - at[None, :, 1])
    np.fill_diagonal(apart, np.inf)
    return [clump for clump, nearest in zip(found, apart.min(axis=1), strict=True) if nearest > 4]


class Clicks:
    """The workbench in its view of SEDs, and what a user does in it."""

    def __init__(self, tool: Tool) -> None:
        self.tool, self.page = tool, tool.browser
        self.clicks, self.rested, self.priors, self.bands = (
            Series("SED", words)
            for words in ("click on a clump", "click where the pointer was", "step of a prior", "band in or out")
        )
        self._turn = 0
        self.page.kernel_exec("import numpy as np")
        clumps = clickable(tool)
        # From one redshift and one end of the plane to another, as a user who looks around.
        self._clumps = [clumps[i] for i in np.random.default_rng(1).permutation(len(clumps))]
        # The first fits compile and make the tables, beside the clicks.
        for row, _x, _y in self._clumps:
            self.page.kernel_exec(f"wb.host.select([{row}])")
            self.page.wait_for_kernel("not wb.panels['SED'].engine.busy", 60)
        self.page.kernel_exec("wb.host.select([])")
        self.page.pause(2)

    def forget(self) -> None:
        """Forget the fits themselves: each click waits for its own."""
        self.page.kernel_exec("wb.panels['SED'].engine._fits.clear()")

    def click(self, n: int) -> None:
        """Click clumps of the density-size plane at the moment when the pointer reaches them."""
        self._click(self.clicks, n, 0.0)

    def rest_and_click(self, n: int) -> None:
        """Click clumps on which the pointer has been for a moment, as that of a hand has."""
        self._click(self.rested, n, 0.25)

    def _click(self, series: Series, n: int, rest: float) -> None:
        mouse = self.page.page.mouse
        for _ in range(n):
            _row, x, y = self._clumps[self._turn % len(self._clumps)]
            self._turn += 1
            at = self.page.pixel("density_size", x, y)
            mouse.move(*at)
            if rest:
                self.page.pause(rest)
            seen = self.page.watch(lambda at=at: mouse.click(*at), event="pointerup", newest=True, plots=FIGURES)
            series.add_step(seen)
            self.page.pause(0.4)

    def step_prior(self, n: int) -> None:
        """Take steps of the upper limit of A_V."""
        self.tool.focus("A_V to")
        for _ in range(n):
            self.priors.add_step(self.page.watch(lambda: self.page.press("ArrowRight"), plots=FIGURES))
            self.page.pause(0.4)

    def toggle_band(self, n: int) -> None:
        """Leave a band out and take it in again."""
        self.page.page.get_by_label("F200W", exact=True).focus()
        for _ in range(n):
            self.bands.add_step(self.page.watch(lambda: self.page.press("Space"), plots=FIGURES))
            self.page.pause(0.4)

    @property
    def series(self) -> tuple[Series, ...]:
        """What was measured."""
        return self.clicks, self.rested, self.priors, self.bands


def report(floors: list[Series], clicks: Clicks) -> str:
    """Return the table, and the ratios to either floor."""
    lines = [f"{'ms from the input to the paint of the whole panel':<56}{'median':>9}{'p95':>9}{'n':>5}{'missed':>8}"]
    lines += [
        f"{series.name:<56}{median(series.paint):>9.0f}{quantile(series.paint, 0.95):>9.0f}"
        f"{len(series.paint):>5}{series.missed:>8}"
        for series in (*floors, *clicks.series)
        if series.paint
    ]
    for floor in floors:
        # Whoever builds this of stock parts starts from their floor; beside our own one sees what is left to win.
        judged = floor.tool == "stock floor"
        for series in clicks.series:
            if series.paint and floor.paint:
                ratio = quantile(series.paint, 0.95) / quantile(floor.paint, 0.95)
                verdict = f"   target ≤ {TARGET:g}   {'met' if ratio <= TARGET else 'MISSED'}" if judged else ""
                lines.append(f"{f'{series.name}, p95 to that of the {floor.tool}':<56}{ratio:>9.2f}{verdict}")
    return "\n".join(lines)


def measure(rounds: int, clicks: int, steps: int, peers: str | None) -> str:
    """Take turns, floors and panel in every round so that each meets the same load; return the report."""
    with ExitStack() as open_tools:
        floors = [(Tool("own floor", "floor", ALL, ALL), Series("own floor", f"step, {ALL} plots"))]
        if peers is not None:
            stock = Tool("stock floor", "stock_floor", ALL, ALL, peers)
            floors.insert(0, (stock, Series("stock floor", f"step, {ALL} plots")))
        for tool, _ in floors:
            open_tools.enter_context(closing(tool))
        panel = Clicks(open_tools.enter_context(closing(Tool("SED", "sed", 1, ALL))))
        load = []
        for turn in range(rounds):
            load.append(os.getloadavg()[0])
            key = ("ArrowRight", "ArrowLeft")[turn % 2]
            panel.forget()
            gestures = ((panel.click, clicks), (panel.rest_and_click, steps))
            for gesture, n in (*gestures, (panel.step_prior, steps), (panel.toggle_band, steps)):
                # Before each gesture, so that a burst of load from elsewhere does not fall on one of them alone.
                for tool, series in floors:
                    tool.steps(series, "echo", 3, key, warm_up=1)
                gesture(n)
    said = f"load of the machine ({os.cpu_count()} cores): {min(load):.1f} to {max(load):.1f}\n\n"
    if peers is None:
        said += "no stock floor: give an interpreter that has jupyter_bokeh with --peers, or --install-peers\n\n"
    return said + report([series for _, series in floors], panel)


def main() -> None:
    """Click, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("SC_LAB_PEERS"), help="interpreter that has jupyter_bokeh")
    parser.add_argument("--install-peers", action="store_true", help="install jupyter_bokeh for this run only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clicks", type=int, default=10, help="clumps clicked per round")
    parser.add_argument("--steps", type=int, default=6, help="steps of a slider or a box per round")
    options = parser.parse_args()
    for python in peer_python(options.peers, install=options.install_peers, packages=PEERS):
        print(measure(options.rounds, options.clicks, options.steps, python))


if __name__ == "__main__":
    main()
