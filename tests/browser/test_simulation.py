"""The simulation panel as a user meets it: groups clicked on the map and in the plane, sliders, keys, both themes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from browser import Browser

START = [
    (
        "from sc_lab.mock import make_population, make_snapshot\n"
        "from sc_lab_widgets import SimulationPanel\n"
        "box = make_snapshot(2, n_side=36, n_clusters=20, n_haloes=8, name='<b>box</b>')"
    ),
    "p = SimulationPanel(box, observed=make_population(n=150, rng=1).catalog)\np",
]
FIGURES = 2


def test_groups_are_clicked_linked_anew_and_looked_at_in_both_themes(lab: Browser) -> None:
    """One test, as every step of the user follows from the one before."""
    page = lab.run(START, figures=FIGURES)
    shots = Path(os.environ["SC_LAB_SCREENSHOTS"]) if "SC_LAB_SCREENSHOTS" in os.environ else None
    assert page.kernel_eval("len(p.result)") == 20
    expect(page.page.get_by_text("20 with enough members")).to_be_visible()

    # a click on the map says the numbers of the group, and rings it in the plane
    x, y = page.kernel_eval("list(p._places()[3])")
    page.tap("map", x, y)
    page.wait_for_kernel("p.current is not None and p.current['id'] == p.result['id'][3]")
    table = page.page.get_by_role("table", name="numbers of the group", exact=True)
    expect(table).to_contain_text("stellar mass")
    assert page.kernel_eval("list(p.view.current_plane.data['id'])") == [page.kernel_eval("str(p.result['id'][3])")]

    # a click in the plane brings the group into view
    page.press("g")
    page.wait_for_kernel("p.view.extent[1] - p.view.extent[0] < 2")
    r, sigma = page.kernel_eval("[float(p.result[n][0].value) for n in ('r_eff', 'sigma_mass')]")
    page.tap("density_size", r, sigma)
    page.wait_for_kernel("p.current['id'] == p.result['id'][0]")
    if shots:
        page.screenshot(shots / "simulation-zoomed.png")
    page.tap("map", *page.kernel_eval("list(p._places()[0])"))
    page.press("r")
    page.wait_for_kernel("p.view.extent == p.view.whole")

    # keys step, change the line of sight and the type, and say what they do
    page.press("]")
    page.wait_for_kernel("p.current['id'] == p.result['id'][1]")
    page.press("a")
    page.press("t")
    page.wait_for_kernel("(p.controls.axis.value, p.controls.shown.value) == ('x', 'gas')")
    page.press("?")
    expect(page.page.get_by_text("next line of sight")).to_be_visible()

    # a slider links anew beside the notebook, and the current group stays
    name = page.kernel_eval("p.current['n_star'].item()")
    page.slider("linking b").focus()
    page.press("ArrowRight", times=4)
    page.wait_for_kernel("p.groups.linking_length > 0.3 and not p._runner.running")
    assert abs(page.kernel_eval("p.current['n_star'].item()") - name) < 0.2 * name
    # the wheel zooms about the pointer, and the picture is counted anew
    before = page.kernel_eval("p.view.image.data['dw'][0]")
    page.page.mouse.move(*page.pixel("map", x, y))
    page.page.mouse.wheel(0, -400)
    page.wait_for_kernel(f"p.view.image.data['dw'][0] < {before}")

    # names from files stay text
    assert page.js("() => __probe.plot('map').model.title.text").startswith("<b>box</b>")
    for dark in (False, True):
        page.theme(dark=dark)
        page.await_figures(FIGURES)
        page.pause(0.5)
        if shots:
            page.screenshot(shots / f"simulation-{'dark' if dark else 'light'}.png")
    assert page.errors() == []
