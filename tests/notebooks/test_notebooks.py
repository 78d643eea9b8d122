"""Every notebook runs from its first to its last cell without a warning, as it is committed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

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


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_without_a_warning(name: str, tmp_path: Path) -> None:
    notebook = execute(name, tmp_path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code if cell.source.strip())
    said = [output.text for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert said == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_short_and_begins_with_words(name: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) < MANY_CELLS
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


def test_the_tour_is_there() -> None:
    assert "00_tour.ipynb" in NOTEBOOKS
