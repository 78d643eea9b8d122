"""The SED panel as a user meets it: clumps clicked, bands taken out, priors moved, bagpipes watched and stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from browser import Browser

pytestmark = pytest.mark.browser

START = ["import numpy as np\nfrom sc_lab_widgets import Workbench", "wb = Workbench(view='SED')\nwb"]
#: Four figures of the SED, and three planes below them.
FIGURES = 7
PANEL = "wb.panels['SED']"

_COLUMN = """([figure, source, column]) => {
  const found = __probe.plot(figure)?.model.renderers.find((r) => r.data_source?.name === source);
  const data = found?.data_source.data, values = data?.get?.(column) ?? data?.[column] ?? [];
  return [...values]; }"""

#: A judge that does what the test says: bagpipes itself takes minutes.
STUB = """
from dataclasses import replace
from sc_lab.sed import judging
class Stub:
    progress, ended, cancelled = (0.25, "5,200 models computed, about 25 %"), False, False
    def __init__(self, fit):
        self.fit = fit
        Stub.last = self
    def done(self): return self.ended
    def cancel(self): self.cancelled = True
    def result(self, timeout=None): return replace(self.fit, engine="bagpipes", cautions=("<b>few</b> live points",))
judging.open_judge = lambda fit, **options: Stub(fit)
"""


def shown(page: Browser, figure: str, source: str, column: str) -> list[Any]:
    """Return a column that the browser draws."""
    return list(page.js(_COLUMN, [figure, source, column]))


def until(page: Browser, figure: str, source: str, column: str, test: str, limit: float = 60) -> None:
    """Wait until a column that the browser draws passes a test in JavaScript."""
    page.wait_for(f"(asked) => (({test}))(({_COLUMN})(asked))", [figure, source, column], limit)


def title(page: Browser) -> str:
    """Return the title of the SED that the browser draws."""
    return str(page.js("() => __probe.plot('sed').model.title.text"))


def alone(page: Browser) -> list[tuple[str, float, float]]:
    """Return candidates, with their place in the density-size plane, that no other candidate is near."""
    found = page.kernel_eval(
        "[(wb.population.ids[i], float(wb.population.values('r_eff')[i]), float(wb.population.values('sigma_mass')[i]))"
        " for i in np.flatnonzero(wb.population.candidate & np.isfinite(wb.population.values('sigma_mass')) & "
        f"{PANEL}.lights.has_light(wb.population))]"
    )
    at = [page.js("([f, x, y]) => __probe.at(f, x, y)", ["density_size", x, y]) for _, x, y in found]
    box = page.js(
        "() => { const r = __probe.plot('density_size').el.getBoundingClientRect(); return [r.left, r.right]; }"
    )
    return [
        clump
        for clump, (x, y) in zip(found, at, strict=True)
        if box[0] + 60 < x < box[1] - 150 and sum(abs(x - p) + abs(y - q) < 7 for p, q in at) == 1
    ]


def test_clumps_bands_priors_and_bagpipes_in_both_themes(lab: Browser) -> None:
    """One test, as every step of the user follows from the one before."""
    lab.page.set_viewport_size({"width": 1600, "height": 1500})
    page = lab.run(START, figures=FIGURES)
    expect(page.page.get_by_text("click a clump in any plot")).to_be_visible()

    # a click on a clump shows its fit; a click on another that one's
    first, second = alone(page)[:2]
    for name, x, y in (first, second):
        page.tap("density_size", x, y)
        page.wait_for("(name) => __probe.plot('sed').model.title.text.startsWith(name)", name, 20)
        until(page, "sed", "model spectrum", "y", "(y) => y.length > 100 && y.every(Number.isFinite)")
        assert page.kernel_eval(f"{PANEL}.light.id") == name
        # Below the frame nothing is told apart: behind the Lyman break a model has no light at all.
        drawn = shown(page, "sed", "model in the bands", "flux")
        assert max(drawn) == pytest.approx(page.kernel_eval(f"float({PANEL}.result.model_flux([0.5])[0].max())"))
    expect(page.page.get_by_text("fine mode")).to_contain_text("BC03-MILES (bagpipes 1.3.6)")
    expect(page.page.get_by_text("ESS =")).to_be_visible()

    # a click on a photometric point leaves its band out, and takes it in again; so do the keyboard and its box
    bands = shown(page, "sed", "photometry", "band")
    x, y = (shown(page, "sed", "photometry", column)[-1] for column in ("x", "flux"))
    page.tap("sed", x, y)
    until(page, "sed", "photometry", "fill", "(f) => f.at(-1) === 0 && f.at(0) === 1")
    box = page.page.get_by_label(bands[-1], exact=True)
    expect(box).not_to_be_checked()
    assert page.kernel_eval(f"sorted({PANEL}.choice.left_out)") == [bands[-1]]
    box.focus()
    page.press("Space")
    until(page, "sed", "photometry", "fill", "(f) => f.every((v) => v === 1)")
    page.press("Space")
    until(page, "sed", "photometry", "fill", "(f) => f.at(-1) === 0")
    n = page.kernel_eval(f"int(np.isfinite({PANEL}.result.flux).sum())")
    assert n == len(bands) - 1
    expect(page.page.get_by_text(f"{n} bands")).to_be_visible()

    # a prior follows its slider, from the keyboard
    page.slider("A_V to").focus()
    page.press("ArrowLeft", 4)
    page.wait_for_kernel(f"{PANEL}.choice.reach('a_v') == (0.0, 0.8) and not {PANEL}.engine.busy", 30)
    expect(page.page.get_by_text("A_V uniform 0 to 0.8 mag (yours)")).to_be_visible()
    assert page.kernel_eval(f"float({PANEL}.result.samples['a_v'].max())") <= 0.8

    # what is printed gives what is shown
    page.kernel_exec(
        f"exec({PANEL}.code(), scope := {{}})\nsame = scope['result'].samples['age'] == {PANEL}.result.samples['age']"
    )
    assert page.kernel_eval("bool(same.all())")

    # bagpipes: how far it is, an end by hand, an end with an answer
    page.kernel_exec(STUB)
    check, stop = (page.page.get_by_role("button", name=name, exact=True) for name in ("Check with bagpipes", "Cancel"))
    check.click()
    expect(page.page.get_by_text("5,200 models computed, about 25 %")).to_be_visible()
    expect(check).to_be_disabled()
    stop.click()
    expect(page.page.get_by_text("bagpipes was stopped")).to_be_visible()
    assert page.kernel_eval("Stub.last.cancelled")
    check.click()
    expect(stop).to_be_enabled()
    page.kernel_exec("Stub.last.ended = True")
    until(page, "sed", "spectrum of bagpipes", "y", "(y) => y.length > 100")
    until(page, "sed_corner", "68 and 95 % of bagpipes", "x", "(x) => x.length > 100")
    table = page.page.get_by_role("table", name="check with bagpipes")
    expect(table).to_contain_text("A_V [mag]")
    expect(page.page.get_by_text("<b>few</b> live points")).to_be_visible()

    folder = os.environ.get("SC_LAB_SHOTS")
    for dark in (True, False):
        page.theme(dark=dark)
        page.await_figures(FIGURES)
        until(page, "sed", "model spectrum", "y", "(y) => y.length > 100")
        assert title(page).startswith(second[0])
        if folder:
            page.pause(1.0)
            page.screenshot(Path(folder) / f"sed_{'dark' if dark else 'light'}.png")
    assert page.errors() == []
    assert page.kernel_eval("wb.pane.error") == ""
    assert page.kernel_eval(f"{PANEL}.message.text") == ""


HOSTILE = """
import astropy.units as u
import numpy as np
from astropy.table import QTable
from sc_lab_widgets import SedPanel
names = ['<img src=x onerror="window.hacked=1">', "$$\\\\href{javascript:window.hacked=1}{x}$$", "c\\nimport os"]
table = QTable({"id": names, "field": names, "ra": [1, 2, 3] * u.deg, "dec": [1, 2, 3] * u.deg})
table["z"], table["mu"] = [2.0, 2.0, np.nan], [10.0, 5.0, 3.0]
for i, band in enumerate(("f115w", "f150w", "f200w", "scriptalert1", "x")):
    table[f"flux_{band}"] = np.array([900.0, 400.0, 90.0]) * (1 + i / 10) * u.nJy
    table[f"flux_{band}_err"] = np.array([20.0, 20.0, 20.0]) * u.nJy
p = SedPanel(table)
"""


def test_hostile_names_are_text_and_clumps_without_redshift_a_sentence(lab: Browser) -> None:
    """A panel alone in a cell: the names of clumps and bands come from a file."""
    page = lab.run([HOSTILE, "p"], figures=4)
    until(page, "sed", "model spectrum", "y", "(y) => y.length > 100")
    expect(page.page.get_by_text("no filter curve, so left out: SCRIPTALERT1, X")).to_be_visible()
    for row, words in ((1, "5 bands"[2:]), (2, "has no redshift, so no SED can be fitted"), (0, "ESS =")):
        page.kernel_exec(f"p.host.select([{row}])")
        expect(page.page.get_by_text(words).first).to_be_visible()
        page.pause(0.3)
        assert page.js("() => window.hacked ?? null") is None
        assert page.js("() => document.querySelectorAll('img[src=x], a[href^=javascript]').length") == 0
    chosen = page.page.get_by_role("combobox", name="clump")
    expect(chosen).to_have_value('<img src=x onerror="window.hacked=1">')
    # a name typed from the keyboard
    chosen.fill("nobody")
    chosen.press("Enter")
    expect(page.page.get_by_role("alert").filter(has_text="no clump named 'nobody'")).to_be_visible()
    assert page.errors() == []
    assert page.kernel_eval("p.pane.error") == ""
