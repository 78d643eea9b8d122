"""A green run says in capitals what it did not test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.browser
def test_one(): raise AssertionError

@pytest.mark.browser
def test_two(chromium): raise AssertionError

@pytest.mark.real_data
def test_three(): raise AssertionError

def test_four(): pass
"""


def test_skipped_browser_and_data_tests_are_announced_with_their_number(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_marked.py").write_text(TESTS)
    shutil.copy(root / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy(root / "pyproject.toml", tmp_path)
    env = {**os.environ, "SC_LAB_CHROMIUM": str(tmp_path / "no-such-browser")}
    env.pop("SC_LAB_REAL_DATA", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT TESTED" in done.stdout
    assert "2 BROWSER TESTS DID NOT RUN" in done.stdout
    assert "1 REAL_DATA TESTS DID NOT RUN" in done.stdout
    assert "1 passed, 3 skipped" in done.stdout
