"""One small mock field for all tests of the folder."""

from __future__ import annotations

import pytest

from sc_lab.mock import MockField, make_field


@pytest.fixture(scope="session")
def field() -> MockField:
    """Return a field of 12 arcsec in three bands."""
    return make_field(seed=3, size=12.0, bands=["F115W", "F150W", "F277W"], galaxies=5)


@pytest.fixture(scope="session")
def clean() -> MockField:
    """Return the same field without noise."""
    return make_field(seed=3, size=12.0, bands=["F115W", "F150W", "F277W"], galaxies=5, noise=False)
