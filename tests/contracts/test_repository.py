"""The tracked files: notebooks without outputs, nothing large, nothing of one person's machine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

LARGEST = 1_000_000  # bytes; data of that size is fetched, not committed


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := root / name).is_file()]


def test_no_tracked_file_is_large(tracked: list[Path]) -> None:
    assert tracked
    assert [path.name for path in tracked if path.stat().st_size > LARGEST] == []


def test_notebooks_are_committed_without_outputs(tracked: list[Path]) -> None:
    for path in tracked:
        if path.suffix == ".ipynb":
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            code = [cell for cell in cells if cell["cell_type"] == "code"]
            assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code), path.name


def test_no_tracked_file_names_a_home_folder(tracked: list[Path]) -> None:
    """A path of one machine is a promise that holds on no other."""
    home = re.compile(rb"(?<![\w.])/(?:home|root|Users|tmp)/[A-Za-z]")
    texts = [path for path in tracked if path.suffix in {".py", ".md", ".toml", ".ipynb", ".cff", ".txt", ""}]
    assert len(texts) > 10
    here = Path(__file__).name
    assert [path.name for path in texts if path.name != here and home.search(path.read_bytes())] == []


def test_the_version_is_the_same_everywhere(root: Path) -> None:
    from sc_lab import __version__

    assert f"\nversion: {__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## {__version__} " in (root / "CHANGELOG.md").read_text()


def test_constraints_pin_exact_versions_of_direct_requirements(root: Path) -> None:
    pin = re.compile(r"^[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*$")
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert lines
    assert [line for line in lines if not pin.match(line)] == []
