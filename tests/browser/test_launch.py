"""`make lab` shows a filled workbench without a click, and nothing else ever runs by being opened."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Browser
from workbench_page import FIGURES as POPULATION

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.browser

#: The clump picker, and the population plots below it.
FIGURES = ("cutout", "data", "model", "residual", "fluxes", *POPULATION)
ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "notebooks" / "00_tour.ipynb"
# Long enough for a kernel that has started to run a cell, had it been told to; the launch itself needs a second or two.
PATIENCE = 4.0

_COUNTS = """() => window.jupyterapp.shell.currentWidget.content.widgets.filter((cell) => cell.model.type === 'code')
.map((cell) => cell.model.executionCount)"""


def counts(page: Browser) -> list[int | None]:
    """Return the execution counts that the code cells of the notebook in front show."""
    return list(page.js(_COUNTS))


def make_lab() -> list[str]:
    """Return module and arguments that `make lab` starts, from make itself."""
    # -o: the environment counts as built.
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/.sc-lab-installed", "lab"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    python, option, *start = shlex.split(done.stdout.strip().splitlines()[-1])
    assert (python, option) == (".venv/bin/python", "-m")
    return start


@pytest.fixture(scope="module")
def launched(chromium: str) -> Iterator[Browser]:
    """Return what `make lab` starts, in a copy, with its own address opened."""
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'widgets'}"}
    files = {"notebooks/00_tour.ipynb": TOUR, "notebooks/foreign.ipynb": TOUR}
    with Browser("lab", env=env, files=files, start=make_lab(), size=(1600, 1000)) as page:
        address = re.search(r"http://127\.0\.0\.1:\d+(/lab\S*)", page.server_log.read_text())
        assert address, page.server_log.read_text()
        begin = time.monotonic()
        page.page.goto(page.url + address[1].replace("...", page.token), wait_until="domcontentloaded", timeout=90_000)
        page.await_figures(len(FIGURES))
        print(f"\nfrom opening the address, kernel cold, to every figure painted: {time.monotonic() - begin:.1f} s")
        yield page


def test_make_lab_opens_the_tour_with_its_workbench_filled_and_no_click(launched: Browser, tmp_path: Path) -> None:
    launched.wait_idle()
    path = launched.js("() => window.jupyterapp.shell.currentWidget.context.path")
    assert path == "notebooks/00_tour.ipynb"
    assert sorted(launched.figures()) == sorted(FIGURES)
    first, *later = counts(launched)
    assert first == 1
    assert set(later) == {None}
    assert launched.kernel_eval("wb.population.n == len(wb.editor.clumps)")
    assert launched.kernel_eval("wb.population.counts['candidates']") > 20
    assert [text for text in launched.errors() if "SC Lab" in text or "sc-lab" in text] == []
    launched.screenshot(tmp_path / "make_lab.png")
    print(tmp_path / "make_lab.png")


def test_a_second_notebook_in_the_same_lab_does_not_run(launched: Browser) -> None:
    """Not even one with the same marked cell: it is not what the server was started on."""
    launched.command("docmanager:open", path="notebooks/foreign.ipynb")
    launched.wait_for(
        "() => window.jupyterapp.shell.currentWidget?.context?.path === 'notebooks/foreign.ipynb'",
    )
    launched._await_notebook()
    launched.pause(PATIENCE)
    assert set(counts(launched)) == {None}


def test_a_reload_does_not_run_the_tour_again(launched: Browser) -> None:
    launched.open("notebooks/00_tour.ipynb")
    launched.kernel_exec("wb.controls.size_threshold.value = 33")
    launched.reload()
    launched.pause(PATIENCE)
    assert launched.kernel_eval("wb.controls.size_threshold.value") == 33


def test_a_changed_cell_waits_for_the_user(launched: Browser) -> None:
    """The server told the page which text may run; mark and text are needed, both."""
    notebook = json.loads(TOUR.read_text())
    marked = [cell for cell in notebook["cells"] if "sc_lab" in cell["metadata"]]
    unmarked = {**marked[0], "id": "unmarked", "metadata": {}}
    marked[0]["source"] = ["print('not asked for')"]
    notebook["cells"].append(unmarked)
    launched.page.goto("about:blank")
    sessions = f"{launched.url}/api/sessions"
    token = {"Authorization": f"token {launched.token}"}
    for session in json.load(urllib.request.urlopen(urllib.request.Request(sessions, headers=token))):
        urllib.request.urlopen(urllib.request.Request(f"{sessions}/{session['id']}", headers=token, method="DELETE"))
    (launched.folder / "notebooks" / "00_tour.ipynb").write_text(json.dumps(notebook))
    launched.log.clear()
    launched.open("notebooks/00_tour.ipynb")
    launched.pause(PATIENCE)
    assert set(counts(launched)) == {None}
    assert any("no marked cell is as it was" in text for _, text in launched.log)


def test_an_ordinary_lab_does_not_run_the_tour(lab: Browser) -> None:
    (lab.folder / "00_tour.ipynb").write_text(TOUR.read_text())
    lab.open("00_tour.ipynb")
    lab.pause(PATIENCE)
    assert set(counts(lab)) == {None}
    assert not lab.js("() => 'sc-lab-launch' in window._JUPYTERLAB")
