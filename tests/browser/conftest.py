"""Browsers that the tests of a module share: starting a server costs more than most tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from browser import Browser  # noqa: E402 - a module of the tests, not of a package


def _start(app: str) -> Iterator[Browser]:
    # The checkout is what is tested, installed or not.
    with Browser(app, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'widgets'}"}) as browser:
        yield browser


@pytest.fixture(scope="module")
def lab(chromium: str) -> Iterator[Browser]:
    """Return a running JupyterLab."""
    yield from _start("lab")


@pytest.fixture(scope="module", params=["notebook", "voila"])
def other_app(chromium: str, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Return a running Notebook 7, then a running Voilà."""
    yield from _start(request.param)
