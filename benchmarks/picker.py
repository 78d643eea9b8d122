"""Measure a click in the clump picker: from the click to the paint of cut-outs, residual and every population plot."""

from __future__ import annotations

import argparse
import os
from functools import partial

import numpy as np
from _stopwatch import median, quantile
from live import Series, Tool

#: Drawn anew by each edit of the list; the mass function only when the clump is in its sample.
PLOTS = [
    "cutout",
    "data",
    "model",
    "residual",
    "gc_colours",
    "size_magnitude",
    "histogram",
    "density_size",
    "formation",
]
#: Cut-out, data, model, residual, fluxes and seven population plots.
ALL = 12
#: Pixels between a place that is clicked and the next clump: far enough that the click selects none.
CLEAR = 13.0


def free_places(tool: Tool, galaxy: str, n: int) -> list[tuple[float, float]]:
    """Return places of the cut-out inside the contour, away from its clumps."""
    text = (
        "(lambda g, b, f: (np.column_stack(b.to_pixel(g.contour[:, 0], g.contour[:, 1])).tolist(), "
        "np.column_stack([np.asarray(f['x']), np.asarray(f['y'])]).tolist()))("
        f"next(g for g in wb.editor.galaxies if g.id == {galaxy!r}), field[field.reference], wb.editor.fits)"
    )
    outline, clumps = tool.browser.kernel_eval(text)
    outline, clumps = np.array(outline), np.array(clumps)
    low, high = outline.min(axis=0), outline.max(axis=0)
    places: list[tuple[float, float]] = []
    for y in np.arange(low[1] + 4, high[1] - 3, 6):
        for x in np.arange(low[0] + 4, high[0] - 3, 6):
            taken = np.vstack([clumps, np.array(places).reshape(-1, 2)])
            if _inside(outline, x, y) and np.hypot(*(taken - (x, y)).T).min() > CLEAR:
                places.append((float(x), float(y)))
    return places[:n]


def _inside(outline: np.ndarray, x: float, y: float) -> bool:
    """Whether a polygon holds a point, by crossings of a ray."""
    (x0, y0), (x1, y1) = outline.T, np.roll(outline, -1, axis=0).T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return bool((crosses & (x < at)).sum() % 2)


def main() -> None:
    """Click, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clicks", type=int, default=6, help="clumps added and removed per round")
    options = parser.parse_args()
    floor = Tool("floor", "floor", ALL, ALL)
    tool = Tool("picker", "picker", 1, ALL)
    tool.browser.kernel_exec("import numpy as np")
    echo, added, removed = (Series(*names) for names in (("floor", "step"), ("picker", "add"), ("picker", "remove")))
    before = tool.browser.kernel_eval("len(wb.editor.clumps)")
    galaxies = tool.browser.kernel_eval("[g.id for g in wb.editor.galaxies]")
    sizes = {galaxy: free_places(tool, galaxy, 40) for galaxy in galaxies}
    galaxy = max(sizes, key=lambda name: len(sizes[name]))
    tool.browser.kernel_exec(f"wb.controls.galaxy.value = {galaxy!r}")
    tool.browser.pause(2)
    places, load, mouse = sizes[galaxy], [], tool.browser.page.mouse
    for turn in range(options.rounds):
        load.append(os.getloadavg()[0])
        floor.steps(echo, "echo", 8, ("ArrowRight", "ArrowLeft")[turn % 2])
        for i in range(options.clicks):
            x, y = places[(turn * options.clicks + i) % len(places)]
            at = tool.browser.pixel("cutout", x, y)
            mouse.move(*at)
            click = partial(mouse.dblclick, *at)
            added.add_step(tool.browser.watch(click, event="pointerup", newest=True, plots=PLOTS, limit=4))
            tool.browser.pause(0.8)
            removed.add_step(tool.browser.watch(lambda: tool.browser.press("Delete"), plots=PLOTS, limit=4))
            tool.browser.pause(0.8)
    after = tool.browser.kernel_eval("len(wb.editor.clumps)")
    for each in (floor, tool):
        each.close()
    print(f"load of the machine ({os.cpu_count()} cores): {min(load):.1f} to {max(load):.1f}")
    print(f"{before} clumps, of 30 galaxies; after as many removals as additions: {after}\n")
    print(f"{'ms from the input to the paint of all that follows':<56}{'median':>9}{'p95':>9}{'n':>5}{'missed':>8}")
    for series in (echo, added, removed):
        if series.paint:
            print(
                f"{series.name:<56}{median(series.paint):>9.0f}{quantile(series.paint, 0.95):>9.0f}"
                f"{len(series.paint):>5}{series.missed:>8}"
            )
    for series in (added, removed):
        if series.paint:
            ratio = quantile(series.paint, 0.95) / quantile(echo.paint, 0.95)
            print(f"{series.name}, p95 to the floor's{ratio:>10.2f}   target ≤ 3   {'met' if ratio <= 3 else 'MISSED'}")


if __name__ == "__main__":
    main()
