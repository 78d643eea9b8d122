"""Make the pictures of the README anew, in a real browser: ``make screenshots``."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from browser import Browser  # noqa: E402 - the harness of the browser tests, which is not installed

OUT = ROOT / "docs" / "images"
OVERVIEW = (
    "gc_colours",
    "size_magnitude",
    "histogram",
    "density_size",
    "formation",
    "cumulative_schechter",
    "corner",
)
CELL = """from sc_lab_widgets import Workbench

wb = Workbench()
wb"""
IMAGES = """from sc_lab.detection import detect_clumps
from sc_lab.mock import make_field
from sc_lab_widgets import Workbench

field = make_field(seed=1)
wb = Workbench(field, clumps=detect_clumps(field))
wb"""


#: What of an output lies inside the frame that the notebook scrolls in: below it a picture shows the bars of JupyterLab.
SEEN = """element => {
    const box = element.getBoundingClientRect()
    const frame = element.closest(".jp-WindowedPanel-outer").getBoundingClientRect()
    const [top, bottom] = [Math.max(box.top, frame.top), Math.min(box.bottom, frame.bottom)]
    return {x: box.left, y: top, width: box.width, height: bottom - top}
}"""


def shoot(browser: Browser, name: str) -> None:
    """Photograph what is seen of the output of the notebook's only cell."""
    browser.pause(1.5)
    path = OUT / f"{name}.png"
    output = browser.page.locator(".jp-OutputArea-output").first
    output.scroll_into_view_if_needed()
    browser.page.screenshot(path=str(path), clip=output.evaluate(SEEN))
    # A palette is enough for a plot, and a third of the size.
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Open the demonstrations and photograph each view."""
    OUT.mkdir(parents=True, exist_ok=True)
    with Browser(size=(1560, 1900)) as browser:
        browser.run([IMAGES], figures=len(OVERVIEW) + 4)
        # The galaxy with the most clumps.
        browser.kernel_exec("names = [str(name) for name in wb.editor.clumps['galaxy']]")
        browser.kernel_exec("wb.controls.galaxy.value = max(set(names), key=names.count)")
        browser.kernel_exec("wb.controls.critical.value = True")
        browser.pause(4)
        shoot(browser, "images")
    with Browser(size=(1560, 1250)) as browser:
        browser.run([CELL], figures=len(OVERVIEW))
        browser.kernel_exec("row = int(wb.population.candidate.nonzero()[0][40]); wb.host.select([row])")
        shoot(browser, "overview")
        for view, name in (
            ("histograms", "histograms"),
            ("density–size", "density_size"),
            ("mass function", "mass_function"),
        ):
            browser.kernel_exec(f"wb.controls.view.value = {view!r}")
            shoot(browser, name)
        browser.kernel_exec("wb.controls.view.value = 'overview'")
        browser.theme(dark=True)
        browser.pause(2)
        shoot(browser, "overview_dark")
    with Browser(size=(1560, 1900)) as browser:
        browser.run([CELL], figures=len(OVERVIEW))
        # A young cluster with a bright spectrum.
        browser.kernel_exec(
            "p = wb.population; ages = p.catalog['age_onset'].value; mag = p.catalog['mag_f200w'].value"
        )
        browser.kernel_exec("row = int((mag + 99 * ~(p.candidate & (ages < 30))).argmin()); wb.host.select([row])")
        browser.kernel_exec("wb.controls.view.value = 'SED'")
        browser.pause(4)
        shoot(browser, "sed")


if __name__ == "__main__":
    main()
