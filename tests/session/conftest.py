"""Small catalogues for the session tests."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable
from astropy.utils.masked import Masked


@pytest.fixture
def quick_path(tmp_path):
    """A directory in memory where there is one: thousands of steps should not wait for a busy disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sc-lab-test-") as directory:
        yield Path(directory)


@pytest.fixture
def catalog():
    """Twelve clumps: the least that a session needs."""
    return QTable(
        {
            "id": [f"c{i:02d}" for i in range(12)],
            "z": np.full(12, 6.1),
            "mu": np.full(12, 9.0),
            "mu_m2": np.full(12, 8.0),
        },
        meta={"sc_lab": {"source": "twelve.ecsv", "sha256": "00"}},
    )


@pytest.fixture
def rich():
    """Every kind of column that a catalogue may have."""
    rng = np.random.default_rng(3)
    n = 7
    hidden = rng.random(n) < 0.4
    table = QTable({"id": [f"<b>{i}</b>" for i in range(n)]})
    table["z"] = rng.random(n) + 6
    table["field"] = MaskedColumn(["A", "é", "<script>", "", "x", "y", "z"], mask=hidden)
    table["r_eff"] = Masked(rng.random(n) * u.pc, mask=hidden)
    table["r_eff_is_limit"] = rng.random(n) < 0.5
    table["rank"] = np.arange(n, dtype=">i2")
    table["mass"] = np.array([np.nan, np.inf, -0.0, 1e-300, 1e6, 2e6, 3e6]) * u.Msun
    table["log_mass"] = u.Dex(rng.random(n), u.dex(u.Msun))
    table["mag_f150w"] = (rng.random(n) + 27) * u.ABmag
    table["mass_draws"] = (rng.random((n, 5)) * 1e6 * u.Msun).astype(">f4")
    table["age_onset_draws"] = Masked(rng.random((n, 5)) * u.Myr, mask=rng.random((n, 5)) < 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy says that it keeps a masked logarithmic unit as a column
        table["log_sigma"] = MaskedColumn(rng.random(n), mask=hidden, unit=u.dex(u.Msun / u.pc**2))
    table["raw"] = np.array([b"a\x00b"] * n)
    table["r_eff"].info.description = "radius <img src=x onerror=alert(1)>"
    table["z"].info.format = ".3f"
    table["z"].info.meta = {"ucd": "src.redshift"}
    table.meta = {"sc_lab": {"source": "rich.ecsv", "sha256": "ff", "notes": ["a"]}, "inf": [np.inf, None, 1.5]}
    return table
