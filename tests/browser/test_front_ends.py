"""The workbench beside other cells, in other front ends, after reloads, kills and re-runs, and in two kernels at once."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
from typing import TYPE_CHECKING

import pytest
from browser import Browser
from conftest import ROOT
from workbench_page import FIGURES, START, columns, kernel_rows, until_same

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

#: A small catalogue: what is tested here does not depend on its size.
SMALL = [
    "from sc_lab.mock import make_population; from sc_lab_widgets import Workbench; table = make_population(n=300).catalog",
    "wb = Workbench(table)\nwb",
]


def _step(page: Browser, value: int) -> None:
    """Move the threshold by one key and wait for the kernel."""
    page.slider("size threshold").focus()
    page.press("ArrowRight")
    page.wait_for_kernel(f"wb.session.settings.size_threshold == {value}", 20)


def test_panel_in_another_cell_follows_the_shared_session(lab: Browser) -> None:
    """A panel of `wb.session` in its own cell follows the workbench, and the workbench follows it."""
    panel = "from sc_lab_widgets import SizeMagnitudePanel\nalone = SizeMagnitudePanel(wb.session)\nalone"
    lab.log.clear()
    lab.run([*SMALL, panel], figures=len(FIGURES) + 1)
    _step(lab, 21)
    both = """() => __probe.plots().filter((p) => p.model.name === 'size_magnitude')
        .map((p) => p.model.center.find((m) => m.type === 'Span').location).join()"""
    lab.wait_for(f"() => ({both})() === '21,21'")
    until_same(lab, "size_magnitude", "candidates", kernel_rows(lab, "candidate"))
    sliders = lab.page.get_by_role("slider", name="size threshold", exact=True)
    assert sliders.count() == 2
    sliders.nth(1).focus()
    lab.press("ArrowRight")
    lab.wait_for_kernel("wb.session.settings.size_threshold == 22")
    lab.wait_for(f"() => ({both})() === '22,22'")
    rows = kernel_rows(lab, "candidate")
    until_same(lab, "density_size", "candidates", rows)
    assert lab.errors() == []


def test_two_displays_of_one_workbench_both_live(lab: Browser) -> None:
    """The same object shown in two cells: a step from either reaches both."""
    lab.log.clear()
    lab.run([*SMALL, "wb"], figures=2 * len(FIGURES))
    spans = """() => __probe.plots().filter((p) => p.model.name === 'size_magnitude')
        .map((p) => p.model.center.find((m) => m.type === 'Span').location).join()"""
    sliders = lab.page.get_by_role("slider", name="size threshold", exact=True)
    for i in (0, 1):
        sliders.nth(i).focus()
        lab.press("ArrowRight")
        lab.wait_for(f"() => ({spans})() === '{21 + i},{21 + i}'")
        assert sliders.nth(1 - i).get_attribute("aria-valuetext") == f"{21 + i} pc"
    assert lab.errors() == []


def test_reload_shows_today_and_stays_alive(lab: Browser) -> None:
    """After a reload the plots stand where the session stands, and the next key still answers."""
    lab.log.clear()
    lab.run(SMALL, figures=len(FIGURES))
    lab.kernel_exec("wb.controls.size_threshold.value = 33; wb.select([wb.population.ids[7]])")
    lab.command("docmanager:save")
    lab.pause(1)
    lab.reload().await_figures(len(FIGURES))
    assert lab.slider("size threshold").get_attribute("aria-valuetext") == "33 pc"
    until_same(lab, "density_size", "candidates", kernel_rows(lab, "candidate"))
    assert columns(lab, "density_size", "selected", "row") == [7]
    _step(lab, 34)
    until_same(lab, "density_size", "candidates", kernel_rows(lab, "candidate"))


def test_running_the_cell_again_leaves_one_of_everything(lab: Browser) -> None:
    """Three more runs leave one bokeh document in the page, one follower of the session, no more widgets."""
    lab.log.clear()
    cells = [SMALL[0] + "\nfrom sc_lab.session import Session\nsession = Session(table)", "wb = Workbench(session)\nwb"]
    lab.run(cells, figures=len(FIGURES))
    again = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1"
    counts = (
        "(__import__('gc').collect(), len(session._core.subscribers if hasattr(session._core, 'subscribers') else []), "
        "len(__import__('ipywidgets').widgets.widget._instances))[1:]"
    )
    before = lab.kernel_eval(counts)
    for _ in range(3):
        lab.js(again)
        lab.command("notebook:run-cell")
        lab.wait_idle()
        lab.await_figures(len(FIGURES))
    lab.pause(0.5)
    assert lab.js("() => [__scLab.panes.size, [...__scLab.panes][0].Bokeh.documents.length]") == [1, 1]
    assert lab.kernel_eval(counts) == before
    _step(lab, 21)
    until_same(lab, "density_size", "candidates", kernel_rows(lab, "candidate"))
    assert lab.errors() == []


def test_killed_kernel_loses_no_step(lab: Browser) -> None:
    """SIGKILL after an edit: the project opened by the next kernel holds it, on the screen too."""
    lab.log.clear()
    cells = [SMALL[0], "wb = Workbench(table, project='kept.sclab')\nwb"]
    lab.run(cells, figures=len(FIGURES))
    _step(lab, 21)
    lab.tap("size_magnitude", *_alone(lab))
    lab.wait_for_kernel("len(wb.selected) == 1")
    lab.press("Delete")
    lab.wait_for_kernel("len(wb.population.excluded) == 1")
    gone = lab.kernel_eval("list(wb.population.excluded)")
    os.kill(lab.kernel_eval("__import__('os').getpid()"), signal.SIGKILL)
    # The server notices the death and starts another; the page says so in a dialog.
    lab.page.locator(".jp-Dialog button").first.click(timeout=60_000)
    lab.run(
        ["from sc_lab_widgets import Workbench", "wb = Workbench('kept.sclab')\nwb"],
        name="after.ipynb",
        figures=len(FIGURES),
    )
    assert lab.kernel_eval("[wb.session.settings.size_threshold, list(wb.population.excluded)]") == [21, gone]
    assert lab.slider("size threshold").get_attribute("aria-valuetext") == "21 pc"
    until_same(lab, "density_size", "candidates", kernel_rows(lab, "candidate"))
    assert len(columns(lab, "density_size", "excluded", "row")) == 1
    lab.page.get_by_role("button", name="Undo", exact=True).click()
    lab.wait_for_kernel("not wb.population.excluded")


def test_second_kernel_reads_only_and_refuses_in_words(lab: Browser) -> None:
    """The second workbench on a project says that it only reads; an edit is refused there in words, and not made."""
    lab.log.clear()
    lab.run([SMALL[0], "wb = Workbench(table, project='shared.sclab')\nwb"], name="first.ipynb", figures=len(FIGURES))
    _step(lab, 21)
    lab.run(
        ["from sc_lab_widgets import Workbench", "wb = Workbench('shared.sclab')\nwb"],
        name="second.ipynb",
        figures=len(FIGURES),
    )
    shown = lab.page.locator(".sclab-workbench:visible")
    shown.get_by_text("(read-only)").wait_for()
    assert lab.kernel_eval("wb.session.read_only") is True
    sentence = shown.get_by_role("alert").filter(has_text="read-only")
    sentence.wait_for()
    slider = shown.get_by_role("slider", name="size threshold", exact=True)
    slider.focus()
    lab.press("ArrowRight")
    lab.pause(1)
    assert lab.kernel_eval("wb.session.settings.size_threshold") == 21
    assert sentence.is_visible()
    assert slider.get_attribute("aria-valuetext") == "21 pc", "the slider goes back to what is true"
    lab.kernel_exec("wb.select(wb.population.ids[:1])")
    lab.js("() => [...document.querySelectorAll('.sc-lab-pane')].find((e) => e.offsetWidth).focus()")
    lab.press("Delete")
    lab.pause(0.7)
    assert lab.kernel_eval("list(wb.population.excluded)") == []
    assert sentence.is_visible()
    assert lab.errors() == []


def _alone(page: Browser) -> list[float]:
    """Return the place in the size-magnitude plane of a candidate well inside the frame."""
    return list(
        page.kernel_eval(
            "(lambda p, r, fx, fy: [[float(p['magnitude'][i]), float(p['r_eff'][i])] for i in r"
            " if 0.2 < fx[i] < 0.8 and 0.2 < fy[i] < 0.8][0])(wb.host.sources.planes,"
            " wb.population.candidate.nonzero()[0], *wb.panels['size_magnitude'].plane._coordinates())"
        )
    )


@pytest.mark.parametrize("app", ["voila", "notebook"])
def test_other_front_ends_paint_and_answer(chromium: str, app: str, tmp_path: Path) -> None:
    """The same notebook in Voilà and in Notebook 7: all figures paint, the slider redraws them, a click selects."""
    if importlib.util.find_spec(app) is None:
        pytest.skip(f"{app} is not installed")
    with Browser(app, size=(1600, 1300), env={"PYTHONPATH": f"{ROOT}:{ROOT / 'widgets'}"}) as page:
        page.run(START, figures=len(FIGURES))
        assert set(page.figures()) == set(FIGURES)
        before = columns(page, "density_size", "candidates", "row")
        page.slider("size threshold").focus()
        page.arm(FIGURES)
        page.press("ArrowRight")
        assert page.result()["complete"]
        after = columns(page, "density_size", "candidates", "row")
        assert set(before) < set(after)
        x, y = (columns(page, "size_magnitude", "candidates", name) for name in ("magnitude", "r_eff"))
        seen = [i for i in range(len(x)) if math.isfinite(x[i]) and math.isfinite(y[i])]  # some have no magnitude
        middle = sorted(seen, key=lambda i: x[i])[len(seen) // 2]
        page.tap("size_magnitude", x[middle], y[middle])
        page.wait_for(
            "() => { const r = __probe.plot('formation').model.renderers.find((q) => q.data_source?.name === 'selected');"
            " const d = r.data_source.data; return (d.get?.('row') ?? d.row).length === 1; }"
        )
        page.screenshot(tmp_path / f"{app}.png")
        # Voilà's own page asks a CDN for parts that nothing here needs; what the panes say is ours.
        assert [text for text in page.errors() if "sc-lab" in text.lower() or "bokeh" in text.lower()] == []
        assert not page.page.locator(".sc-lab-error").first.is_visible()
