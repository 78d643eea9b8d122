"""The layers of pyproject.toml hold, cover every module, and notice a violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def run_linter(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages below ``folder``, not on the installed ones."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "widgets")]), "NO_COLOR": "1"}
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the two packages that a test may spoil."""
    skip = shutil.ignore_patterns("__pycache__", "*.ecsv")
    shutil.copytree(root / "sc_lab", tmp_path / "sc_lab", ignore=skip)
    shutil.copytree(root / "widgets", tmp_path / "widgets", ignore=skip)
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_are_kept(copy: Path) -> None:
    result = run_linter(copy)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("sc_lab/cosmology", "import ipywidgets"),
        ("sc_lab/units.py", "import sc_lab.session"),
        ("sc_lab/cmf", "import sc_lab.formation"),
    ],
    ids=["library imports a toolkit", "upwards", "sideways"],
)
def test_a_planted_violation_is_found(copy: Path, module: str, line: str) -> None:
    path = copy / module
    path = path / "__init__.py" if path.is_dir() else path if path.suffix else path.with_suffix(".py")
    path.write_text(path.read_text(encoding="utf-8") + f"\n\ndef planted():\n    {line}\n", encoding="utf-8")
    result = run_linter(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def test_every_module_has_a_layer(root: Path) -> None:
    """A new stage must say where it stands."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    placed = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    found = {
        f"sc_lab.{path.stem}"
        for path in (root / "sc_lab").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or (path.suffix == ".py" and path.stem != "__init__")
    }
    assert found <= placed
