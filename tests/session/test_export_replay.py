"""A reopened project describes the same population, to the last byte of its export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from sc_lab.catalog import read_catalog
from sc_lab.errors import InputError
from sc_lab.export import catalog_table, write_table
from sc_lab.session import Session, population_of


@pytest.fixture
def measured(tmp_path):
    """Forty clumps read from a file, with limits, gaps, colours and two lens models."""
    rng = np.random.default_rng(11)
    n = 40
    table = Table({"id": [f"c{i:02d}" for i in range(n)], "z": rng.uniform(6, 8, n)})
    table["mu"], table["mu_m2"] = rng.uniform(3, 30, n), rng.uniform(3, 30, n)
    table["r_eff"] = rng.uniform(2, 40, n)
    table["r_eff_err_lo"] = table["r_eff_err_hi"] = 1.0
    table["r_eff_is_limit"] = rng.random(n) < 0.3
    table["mass"] = 10 ** rng.uniform(5.5, 8, n)
    table["mass_err_lo"] = table["mass_err_hi"] = 0.2 * table["mass"]
    table["age_mw"] = rng.uniform(2, 200, n)
    table["age_mw_err_lo"] = table["age_mw_err_hi"] = 0.1 * table["age_mw"]
    for name in ("f150w", "f200w", "f356w"):
        table[f"mag_{name}"] = rng.uniform(27, 28, n)
        table[f"mag_{name}_err"] = 0.05
    path = tmp_path / "clumps.ecsv"
    table.write(path)
    return read_catalog(path)


def edit(session):
    """Make a handful of edits of every sort."""
    session.do("exclude", ids=["c03", "c04"], reason="blend & <b>")
    session.do("keep", ids=["c05"])
    session.do("note", id="c06", text="“arc”, see text")
    session.do("set", size_threshold=25, n_populations=60, seed=4)
    session.preview(age_max=70)
    session.preview(age_max=80)
    session.end_preview()
    session.do("set", lens_model="m2")
    session.undo()


def exported(population, path):
    """Return the bytes of the exported table."""
    write_table(catalog_table(population), path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".ecsv", ".fits"])
def test_a_reopened_project_exports_the_same_bytes(measured, tmp_path, suffix):
    memory = Session(measured)
    edit(memory)
    project = tmp_path / "clumps.sclab"
    with Session(measured, project=project) as session:
        edit(session)
        live = exported(population_of(session), tmp_path / f"live{suffix}")
    with Session.open(project) as session:
        again = exported(population_of(session), tmp_path / f"again{suffix}")
    assert live == again
    assert exported(population_of(memory), tmp_path / f"memory{suffix}") == live
    assert exported(population_of(memory.document, measured), tmp_path / f"document{suffix}") == live
    memory.undo()
    assert exported(population_of(memory), tmp_path / f"other{suffix}") != live  # success trivial otherwise


def test_the_command_line_exports_the_same_bytes_in_a_process_of_its_own(measured, tmp_path):
    project = tmp_path / "clumps.sclab"
    with Session(measured, project=project) as session:
        edit(session)
        live = exported(population_of(session), tmp_path / "live.ecsv")
        # The project is still open here: exporting only needs to read.
        done = subprocess.run(
            [sys.executable, "-m", "sc_lab", "export", str(project), str(tmp_path / "cli.ecsv")],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path / "cli.ecsv").read_bytes() == live


def test_a_document_without_its_catalogue_is_no_population(measured):
    with pytest.raises(InputError, match="second argument"):
        population_of(Session(measured).document)
