"""The star panel as a user meets it: stars clicked in and out, added, stepped through, in both themes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from browser import Browser

START = [
    (
        "from sc_lab.mock import make_field\n"
        "from sc_lab_widgets import PsfStars\n"
        "field = make_field(seed=1, bands=('F150W', 'F277W'))"
    ),
    "p = PsfStars(field)\np",
]
FIGURES = 4

_COLUMN = """([figure, source, column]) => {
  const found = __probe.plot(figure)?.model.renderers.find((r) => r.data_source?.name === source);
  const data = found.data_source.data, values = data.get?.(column) ?? data[column] ?? [];
  return [...values]; }"""


def until_shown(page: Browser, column: str, expected: list[str], source: str = "stars") -> None:
    """Wait until the browser holds exactly these values."""
    page.wait_for(
        f"([f, s, c, want]) => JSON.stringify(({_COLUMN})([f, s, c])) === JSON.stringify(want)",
        ["mosaic", source, column, expected],
        15,
    )


def test_stars_are_clicked_added_and_taken_back_in_both_themes(lab: Browser) -> None:
    """One test, as every step of the user follows from the one before."""
    page = lab.run(START, figures=FIGURES)
    names = page.kernel_eval("[star.id for star in p.choice.stars]")
    assert len(names) >= 5
    stacked = ["in the stack"] * len(names)
    until_shown(page, "state", stacked)
    expect(page.page.get_by_role("table", name="numbers of the PSF")).to_contain_text("as wide as the stars")
    expect(page.page.get_by_label("band", exact=True)).to_be_visible()
    expect(page.page.get_by_label("stamp [px]")).to_have_value("81")
    x, y = page.kernel_eval("[p.choice.stars[2].x, p.choice.stars[2].y]")
    fwhm = page.kernel_eval("p.psf.fwhm")

    # a click takes the star out
    page.tap("mosaic", x, y)
    until_shown(page, "state", [*stacked[:2], "left out", *stacked[3:]])
    until_shown(page, "id", ["3"], source="current star")
    page.wait_for_kernel(f"p.psf.fwhm != {fwhm}")
    # U takes that back, and the picture of the mosaic is not sent again: it alone has 2 MB
    page.arm(["mosaic"])
    page.press("u")
    assert sum(size for _, size in page.result()["arrivals"]) < 300_000
    until_shown(page, "state", stacked)

    # Delete takes it off the list; a double-click beside its place puts it back at its centre
    page.press("Delete")
    until_shown(page, "id", [*names[:2], *names[3:]])
    page.tap("mosaic", x + 2, y + 1, double=True)
    until_shown(page, "state", stacked)
    assert page.kernel_eval("[p.choice.stars[2].x, p.choice.stars[2].y]") == [x, y]
    page.press("u")
    until_shown(page, "id", [*names[:2], *names[3:]])
    page.press("Shift+U")
    until_shown(page, "id", names)

    # keys step through the stars; x would cut the cell of the notebook
    page.press("]")
    until_shown(page, "id", [names[3]], source="current star")
    page.press("[")
    page.press("x")
    until_shown(page, "id", [names[2]], source="current star")
    page.press("?")
    expect(page.page.get_by_role("status").filter(has_text="double-click: add the star there")).to_be_visible()

    # what is no star is refused in place
    page.tap("mosaic", 100.0, 1450.0, double=True)
    expect(page.page.get_by_role("alert").filter(has_text="no star can be used")).to_be_visible()
    assert page.kernel_eval("len(p.choice.stars)") == len(names)

    folder = os.environ.get("SC_LAB_SHOTS")
    for dark in (True, False):
        page.theme(dark=dark)
        page.await_figures(FIGURES)
        until_shown(page, "id", names)
        if folder:
            page.screenshot(Path(folder) / f"psf_stars_{'dark' if dark else 'light'}.png")
    assert page.errors() == []
    assert page.kernel_eval("p.pane.error") == ""
