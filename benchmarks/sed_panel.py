"""Measure a click to the SED panel: from the input to the paint of photometry, residuals, history and posterior."""

from __future__ import annotations

import argparse
import os

import numpy as np
from _stopwatch import median, quantile
from live import Series, Tool

#: What has to be drawn anew: the four figures of the SED.
FIGURES = ["sed", "sed_residuals", "sed_sfh", "sed_corner"]
#: Those, and the three planes below them that show which clump is selected.
ALL = 7
#: Redshifts whose clumps are clicked; their tables are warm.
REDSHIFTS = 6
TARGET = 2.0

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


def main() -> None:
    """Click, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clicks", type=int, default=10, help="clumps clicked per round")
    parser.add_argument("--steps", type=int, default=8, help="steps of a slider per round")
    options = parser.parse_args()
    floor, tool = Tool("floor", "floor", ALL, ALL), Tool("SED", "sed", 1, ALL)
    page = tool.browser
    page.kernel_exec("import numpy as np")
    echo = Series("floor", f"step, {ALL} plots")
    clicks, priors, bands = (
        Series("SED", words) for words in ("click on a clump", "step of a prior", "band in or out")
    )
    clumps = clickable(tool)
    # The first fits compile and make the tables, beside the clicks.
    for row, _x, _y in clumps:
        page.kernel_exec(f"wb.host.select([{row}])")
        page.wait_for_kernel("not wb.panels['SED'].engine.busy", 60)
    page.kernel_exec("wb.panels['SED'].engine._fits.clear(); wb.host.select([])")
    page.pause(2)
    load, turn_of_clump = [], 0
    for turn in range(options.rounds):
        load.append(os.getloadavg()[0])
        floor.steps(echo, "echo", options.steps, ("ArrowRight", "ArrowLeft")[turn % 2])
        for _ in range(options.clicks):
            _row, x, y = clumps[(turn_of_clump * 7) % len(clumps)]
            turn_of_clump += 1
            at = page.pixel("density_size", x, y)
            page.page.mouse.move(*at)
            seen = page.watch(lambda at=at: page.page.mouse.click(*at), event="pointerup", newest=True, plots=FIGURES)
            clicks.add_step(seen)
            page.pause(0.4)
        tool.focus("A_V to")
        for _ in range(options.steps):
            priors.add_step(page.watch(lambda: page.press("ArrowRight"), plots=FIGURES))
            page.pause(0.4)
        page.page.get_by_label("F200W", exact=True).focus()
        for _ in range(options.steps):
            bands.add_step(page.watch(lambda: page.press("Space"), plots=FIGURES))
            page.pause(0.4)
    for each in (floor, tool):
        each.close()
    print(f"load of the machine ({os.cpu_count()} cores): {min(load):.1f} to {max(load):.1f}\n")
    print(f"{'ms from the input to the paint of the whole panel':<56}{'median':>9}{'p95':>9}{'n':>5}{'missed':>8}")
    for series in (echo, clicks, priors, bands):
        if series.paint:
            print(
                f"{series.name:<56}{median(series.paint):>9.0f}{quantile(series.paint, 0.95):>9.0f}"
                f"{len(series.paint):>5}{series.missed:>8}"
            )
    for series in (clicks, priors, bands):
        if series.paint:
            ratio = quantile(series.paint, 0.95) / quantile(echo.paint, 0.95)
            verdict = "met" if ratio <= TARGET else "MISSED"
            print(f"{series.name}, p95 to the floor's{ratio:>10.2f}   target ≤ {TARGET:g}   {verdict}")


if __name__ == "__main__":
    main()
