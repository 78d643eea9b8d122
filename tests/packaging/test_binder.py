"""What stands in binder/ is enough to run the tour."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOUR = Path("notebooks/00_tour.ipynb")
#: What pip says when it reached no index at all; any other failure is ours.
UNREACHABLE = re.compile(
    r"NewConnectionError|Failed to establish a new connection|Temporary failure in name resolution"
)


def test_runtime_is_a_python_that_the_project_supports(root: Path) -> None:
    found = re.fullmatch(r"python-3\.(\d+)\s*", (root / "binder" / "runtime.txt").read_text())
    assert found
    assert int(found[1]) >= 11


def test_requirements_name_the_checkout_with_its_widgets(root: Path) -> None:
    """Binder does not install the root project by itself once binder/ exists."""
    assert ".[widgets]" in (root / "binder" / "requirements.txt").read_text().split()
    assert {path.name for path in (root / "binder").iterdir()} <= {"requirements.txt", "runtime.txt", "postBuild"}


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tracked files, as Binder clones them."""
    folder = tmp_path_factory.mktemp("binder") / "repo"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    return folder


def test_the_tour_runs_in_an_environment_from_binder_alone(checkout: Path) -> None:
    assert (checkout / TOUR).is_file(), f"{TOUR} is not there; it is what Binder launches"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "SC_LAB"))}
    env |= {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(checkout.parent / "ipython")}
    python = checkout.parent / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(checkout.parent / "env")], check=True, timeout=120)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    done = subprocess.run(
        [*install, "-r", "binder/requirements.txt"],
        cwd=checkout, env=env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip("NO PACKAGE INDEX REACHABLE: the environment of binder/ was not built")
    assert done.returncode == 0, done.stderr
    execute = ["-m", "nbconvert", "--to", "notebook", "--execute", "--ExecutePreprocessor.timeout=300"]
    done = subprocess.run(
        [str(python), *execute, "--output-dir", str(checkout.parent / "out"), str(TOUR)],
        cwd=checkout, env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert (checkout.parent / "out" / TOUR.name).is_file()
