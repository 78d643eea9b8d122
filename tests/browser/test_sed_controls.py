"""The controls of the SED panel as a user meets them: a second history, histories, dust, libraries, wrong values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from browser import Browser

pytestmark = pytest.mark.browser

START = [
    "from sc_lab.mock import make_population\nfrom sc_lab_widgets import Workbench",
    # Few clumps: each of their redshifts has tables of its own.
    """wb = Workbench(make_population(n=30).catalog, view='SED')
wb.host.select([int(wb.panels['SED'].lights.has_light(wb.population).nonzero()[0][0])])
wb""",
]
FIGURES = 7
PANEL = "wb.panels['SED']"
HISTORIES = "list(wb.population.histories)"


def test_every_control_does_what_it_says_and_refuses_in_words(lab: Browser) -> None:
    """One test, as every step of the user follows from the one before."""
    lab.page.set_viewport_size({"width": 1600, "height": 1500})
    page = lab.run(START, figures=FIGURES)
    expect(page.page.get_by_text("fine mode")).to_be_visible(timeout=60_000)

    # the second history comes with a click as one step, can be taken back, and goes with another click
    compare = page.page.get_by_role("button", name="Compare with τ = 10 Myr")
    compare.click()
    page.wait_for_kernel(f"{HISTORIES} == ['', 'tau10']", 120)
    drop = page.page.get_by_role("button", name="Drop τ = 10 Myr")
    expect(drop).to_be_visible()
    expect(page.page.get_by_text("SEDs fitted; U takes it back")).to_be_visible()
    page.kernel_exec("wb.controls.view.value = 'histograms'")
    page.wait_for(
        "() => __probe.plot('histogram_mass')?.model.below.find((m) => m.items)?.items.filter((i) => i.visible).length === 4",
        None,
        20,
    )
    page.kernel_exec("wb.controls.view.value = 'SED'")
    drop.click()
    page.wait_for_kernel(f"{HISTORIES} == ['']", 20)
    page.kernel_exec("wb.session.undo()")
    page.wait_for_kernel(f"{HISTORIES} == ['', 'tau10']", 20)
    page.kernel_exec("wb.session.undo()")
    expect(compare).to_be_visible()

    # what does not apply is not there
    slope = page.slider("slope n")
    expect(slope).to_be_hidden()
    page.page.get_by_label("attenuation", exact=True).select_option("Charlot & Fall")
    expect(slope).to_be_visible()
    slope.focus()
    page.press("ArrowRight", 2)
    expect(page.page.get_by_text("Charlot & Fall, n = 0.8")).to_be_visible(timeout=30_000)
    history = page.page.get_by_label("history", exact=True)
    history.select_option("constant")
    expect(page.page.get_by_label("τ", exact=True)).to_be_hidden()
    expect(page.slider("duration")).to_be_visible()
    page.slider("duration").focus()
    page.press("PageDown", 8)
    expect(page.page.get_by_text("constant for ")).to_be_visible(timeout=30_000)
    assert "slope=0.8" in page.kernel_eval(f"{PANEL}.code()")

    # a history in bins is for the eye alone, and the buttons say why
    history.select_option("continuity")
    for name in ("Apply to this clump", "Apply to all clumps"):
        button = page.page.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        assert "no age of onset" in str(button.get_attribute("title"))
    expect(page.page.get_by_text("the age shown is that of the mean star")).to_be_visible(timeout=60_000)
    expect(page.slider("age from")).to_be_hidden()
    history.select_option("exponential")

    # wrong values: a sentence each, and what was set before is still set
    library = page.page.get_by_label("library", exact=True)
    library.fill("nowhere.fits")
    page.press("Enter")
    expect(page.page.get_by_text("there is no stellar library 'nowhere.fits'")).to_be_visible()
    assert page.kernel_eval(f"{PANEL}.choice.slope") == 0.8
    library.fill("bc03")
    page.press("Enter")
    expect(page.page.get_by_text("fine mode")).to_be_visible(timeout=30_000)
    number = page.page.get_by_label("redshift", exact=True).last
    number.fill("-2")
    page.press("Enter")
    expect(page.page.get_by_text("“-2” does not fit: give a number from 0.01 to 15")).to_be_visible()
    page.kernel_exec(f"{PANEL}.controls.a_v_min.value = 1.5")
    expect(page.page.get_by_text("the prior of a_v runs from 1.5 to 1")).to_be_visible()
    page.kernel_exec(f"{PANEL}.controls.a_v_min.value = 0.0")
    expect(page.page.get_by_text("the prior of a_v runs")).to_be_hidden()
    expect(page.page.get_by_text("fine mode")).to_be_visible(timeout=30_000)
    assert not page.errors()
