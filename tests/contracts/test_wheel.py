"""The wheel that the sdist gives holds the two packages and nothing else, and imports from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from the sdist; no isolation, so that no package index is needed."""
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(root)],
        capture_output=True, text=True, timeout=180, cwd=out,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_contents_are_the_two_packages(wheel: Path, root: Path) -> None:
    command = [sys.executable, "-m", "check_wheel_contents", "--config", str(root / "pyproject.toml"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=wheel.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"sc_lab", "sc_lab_widgets"}


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path, root: Path) -> None:
    """Data and style sheets too."""
    tracked = subprocess.run(
        ["git", "ls-files", "sc_lab", "widgets/sc_lab_widgets"], cwd=root, capture_output=True, text=True
    ).stdout.split()
    assert len(tracked) > 20
    expected = {name.removeprefix("widgets/") for name in tracked if (root / name).exists()}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


def test_the_installed_wheel_imports_from_another_folder(wheel: Path, tmp_path: Path, root: Path) -> None:
    """Installed without its dependencies; those come from this environment, through its site folder."""
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = (
        "import sc_lab, sc_lab.population, sc_lab.session, sc_lab.export, sc_lab_widgets\n"
        "from sc_lab_widgets import Workbench\n"
        "print(sc_lab.__file__); print(sc_lab_widgets.__file__)"
    )
    env = {**os.environ, "PYTHONPATH": str(target), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=env
    )
    assert done.returncode == 0, done.stderr
    files = [Path(line).resolve() for line in done.stdout.split()]
    assert all(path.is_relative_to(target.resolve()) for path in files)
    assert not any(path.is_relative_to(root) for path in files)
