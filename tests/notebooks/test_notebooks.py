"""Every notebook runs from its first to its last cell without a warning, as it is committed."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from astropy.table import Table
from bokeh.embed import json_item
from bokeh.plotting import figure

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
MANY_CELLS = 15  # a notebook longer than this is two notebooks


def execute(name: str, out: Path) -> nbformat.NotebookNode:
    """Run a notebook in its folder with the kernel of this environment."""
    env = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(out / "ipython")}
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"]
    done = subprocess.run(
        [*command, "--ExecutePreprocessor.timeout=240", "--output-dir", str(out), str(ROOT / "notebooks" / name)],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return nbformat.read(out / name, as_version=4)


def arrays(value: Any) -> Iterator[dict[str, Any]]:
    """Find the arrays that a document of bokeh carries."""
    if isinstance(value, dict):
        if value.get("type") == "ndarray":
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from arrays(part)


def length(data: str) -> int:
    """Return how many bytes the browser makes room for: of a packed array what its last four say."""
    raw = base64.b64decode(data)
    return int.from_bytes(raw[-4:], "little") if raw.startswith(b"\x1f\x8b") else len(raw)


def garbled(document: Any) -> list[dict[str, Any]]:
    """Find the arrays whose bytes are not those of their shape and type: the browser draws nothing of their figure."""
    return [
        each
        for each in arrays(document)
        if isinstance(each["array"], dict)
        and length(each["array"]["data"]) != math.prod(each["shape"]) * np.dtype(each["dtype"]).itemsize
    ]


def documents(notebook: nbformat.NotebookNode) -> Iterator[Any]:
    """Find the documents of bokeh among the outputs of a notebook."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for text in re.findall(
                r"docs_json = (\{.*?\});\n", output.get("data", {}).get("application/javascript", "")
            ):
                yield json.loads(text)


def test_a_column_of_a_table_in_a_figure_is_seen_to_be_garbled() -> None:
    plot = figure()
    plot.scatter(np.arange(3.0), np.arange(3.0))
    document = json.loads(json.dumps(json_item(plot)))
    assert len(list(arrays(document))) == 2
    assert garbled(document) == []
    plot.scatter(Table({"x": np.arange(3.0)})["x"], np.arange(3.0))
    assert len(garbled(json.loads(json.dumps(json_item(plot))))) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_without_a_warning(name: str, tmp_path: Path) -> None:
    notebook = execute(name, tmp_path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source.strip())
    said = [output.text for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert said == []
    drawn = list(documents(notebook))
    scripts = [output.get("data", {}).get("application/javascript", "") for cell in code for output in cell.outputs]
    assert len(drawn) == sum("docs_json = {" in script for script in scripts)
    assert [garbled(each) for each in drawn] == [[]] * len(drawn)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_short_and_begins_with_words(name: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) < MANY_CELLS
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_figures_of_a_notebook_need_no_network(name: str) -> None:
    """Unless told otherwise, bokeh has the page fetch its scripts, and without a network figures stay blank."""
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert re.findall(r"output_notebook\((?!INLINE)", code) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_figures_of_a_notebook_name_what_they_show(name: str) -> None:
    """Solar masses have one sign in all labels, and an image has a colour bar."""
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert [text for cell in cells for text in re.findall(r'"[^"\n]*\[[^]"\n]*Msun[^"\n]*"', cell)] == []
    assert [cell for cell in cells if re.search(r"\.image\(", cell) and "color_bar(" not in cell] == []


def test_the_tour_is_there() -> None:
    assert "00_tour.ipynb" in NOTEBOOKS
