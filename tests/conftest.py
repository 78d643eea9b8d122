"""What every test shares: where the real data and the browser are, and saying loudly what did not run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_NO_BROWSER = "no Chromium: none on PATH and SC_LAB_CHROMIUM does not name one"


def find_chromium() -> str | None:
    """Return the browser to test with: SC_LAB_CHROMIUM, else the first on PATH."""
    named = os.environ.get("SC_LAB_CHROMIUM")
    if named:
        return shutil.which(named)
    return next((path for path in map(shutil.which, _BROWSERS) if path), None)


def find_real_data() -> Path | None:
    """Return the folder of published catalogues that SC_LAB_REAL_DATA names, if it is there."""
    named = os.environ.get("SC_LAB_REAL_DATA")
    folder = Path(named).expanduser() if named else None
    return folder if folder is not None and folder.is_dir() else None


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of published catalogues; such tests carry the marker ``real_data``."""
    folder = find_real_data()
    if folder is None:
        pytest.skip("SC_LAB_REAL_DATA does not name a folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the browser; such tests carry the marker ``browser``."""
    path = find_chromium()
    if path is None:
        pytest.skip(_NO_BROWSER)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine has no browser or no data for."""
    no_browser = pytest.mark.skip(reason=_NO_BROWSER)
    no_data = pytest.mark.skip(reason="SC_LAB_REAL_DATA does not name a folder of published catalogues")
    browser, data = find_chromium(), find_real_data()
    for item in items:
        if browser is None and item.get_closest_marker("browser"):
            item.add_marker(no_browser)
        if data is None and item.get_closest_marker("real_data"):
            item.add_marker(no_data)


def pytest_report_header() -> str:
    """Say in the first lines what the marked tests will use."""
    return f"browser: {find_chromium() or 'NONE'}; real data: {find_real_data() or 'NONE'}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in capitals how many browser and real-data tests did not run; a green run must not hide it."""
    skipped = terminalreporter.stats.get("skipped", [])
    for marker, reason in (
        ("browser", f"{_NO_BROWSER}; install chromium to run them"),
        ("real_data", "SC_LAB_REAL_DATA does not name a folder of published catalogues"),
        ("packaging", "no package index could be reached"),
    ):
        count = sum(marker in getattr(report, "keywords", {}) for report in skipped)
        if count:
            terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
            terminalreporter.line(f"{count} {marker.upper()} TESTS DID NOT RUN: {reason}", red=True, bold=True)
