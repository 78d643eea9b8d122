"""The command line answers, or refuses in one sentence with exit code 2."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import astropy.units as u
import nbformat
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab import __version__
from sc_lab.cli import main, write_notebook


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Return a small catalogue file; two clumps are candidates at 20 pc."""
    n = 5
    table = QTable(
        {
            "id": [f"c{i}" for i in range(n)],
            "z": np.full(n, 6.0),
            "r_eff": [5.0, 10.0, 30.0, 60.0, 90.0] * u.pc,
            "mass": [4e6, 3e6, 8e6, 2e7, 5e6] * u.Msun,
            "age_onset": [5.0, 20.0, 50.0, 150.0, 10.0] * u.Myr,
            "mu": np.full(n, 10.0),
        }
    )
    path = tmp_path / "clumps.ecsv"
    table.write(path)
    return path


@pytest.fixture
def project(catalogue: Path) -> Path:
    """Return a project of that catalogue with three edits, one undone."""
    from sc_lab.catalog import read_catalog
    from sc_lab.session import Session

    path = catalogue.with_name("clumps.sclab")
    with Session(read_catalog(catalogue), project=path) as session:
        session.do("set", size_threshold=35.0)
        session.do("exclude", ids="c0", reason="<b>blend</b>")
        session.do("set", size_threshold=50.0)
        session.undo()
    return path


def test_info_counts_the_clumps_of_a_catalogue(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(catalogue)]) == 0
    out = capsys.readouterr().out
    assert "catalogue: clumps.ecsv\n" in out
    assert "clumps: 5\n" in out
    assert "candidates: 2\n" in out
    assert "settings: all at their defaults\n" in out


def test_info_tells_the_edits_of_a_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(project)]) == 0
    out = capsys.readouterr().out
    assert "settings: size_threshold = 35.0\n" in out
    assert "excluded c0: <b>blend</b>\n" in out
    assert "candidates: 2\n" in out  # three below 35 pc, less the excluded one


def test_a_renamed_project_is_still_a_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    renamed = project.rename(project.with_name("renamed.dat"))
    assert main(["info", str(renamed)]) == 0
    assert "size_threshold = 35.0" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "vot", "csv", "parquet"])
def test_export_is_the_table_of_the_population_byte_for_byte(project: Path, suffix: str, tmp_path: Path) -> None:
    """Run twice in other processes, and once from Python: the same bytes."""
    from sc_lab.export import catalog_table, write_table
    from sc_lab.session import Session, population_of

    command = [sys.executable, "-m", "sc_lab", "export", str(project)]
    shell, python = tmp_path / f"shell.{suffix}", tmp_path / f"python.{suffix}"
    done = subprocess.run([*command, str(shell)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Session.open(project) as session:
        write_table(catalog_table(population_of(session)), python)
    assert shell.read_bytes() == python.read_bytes()


def test_export_replaces_a_file_only_when_told(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.ecsv"
    out.write_text("precious")
    assert main(["export", str(project), str(out)]) == 2
    assert out.read_text() == "precious"
    assert "overwrite" in capsys.readouterr().err
    assert main(["export", str(project), str(out), "--overwrite"]) == 0
    assert out.read_text().startswith("# %ECSV")


def test_export_never_replaces_its_own_input(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = catalogue.read_bytes()
    assert main(["export", str(catalogue), str(catalogue), "--overwrite"]) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert catalogue.read_bytes() == before


def test_export_leaves_the_project_as_it_was(project: Path, tmp_path: Path) -> None:
    before = project.read_bytes()
    assert main(["export", str(project), str(tmp_path / "out.ecsv")]) == 0
    assert project.read_bytes() == before


@pytest.mark.parametrize("command", ["open", "info", "export"])
def test_a_missing_file_is_one_sentence(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.ecsv"
    extra = [str(tmp_path / "out.ecsv")] if command == "export" else []
    assert main([command, str(missing), *extra]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "there is no file" in captured.err
    assert "missing.ecsv" in captured.err


@pytest.mark.parametrize(
    "content", [b"", b"garbage\x00\xff" * 50, b"SQLite format 3\x00" + b"\x00" * 200, b"id,z\na,b\n"]
)
@pytest.mark.parametrize("name", ["bad.sclab", "bad.ecsv", "bad.fits", "bad.csv"])
def test_a_damaged_file_is_one_sentence_without_traceback(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["info", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sc-lab: ")
    assert error.count("\n") == 1


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    catalogue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An escape sequence in an identifier could otherwise repaint the window."""
    from sc_lab.catalog import read_catalog
    from sc_lab.session import Session

    path = catalogue.with_name("evil.sclab")
    with Session(read_catalog(catalogue), project=path) as session:
        session.do("exclude", ids="c0", reason="\x1b]0;owned\x07 \x1b[2J")
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "owned" in out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_no_command_and_a_wrong_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["nonsense"]):
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        assert leaving.value.code == 2
        assert "Traceback" not in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"sc-lab {__version__}\n"


@pytest.mark.parametrize(
    "name", ["plain.ecsv", 'it\'s a "name" {0} \\n.ecsv', "'); import os; os.abort() #.ecsv", "β σ.ecsv"]
)
def test_a_file_name_is_data_in_the_notebook(name: str, tmp_path: Path) -> None:
    """Whatever the name holds, the notebook is valid and its string literals are the names."""
    path = tmp_path / name
    path.write_text("id,z\n")
    notebook = nbformat.read(write_notebook(path), as_version=4)
    nbformat.validate(notebook)
    tree = ast.parse(notebook.cells[0].source)
    literals = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert literals == [name, f"{path.stem}.sclab"]
    assert {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} == {
        "read_catalog", "Session", "Workbench",
    }  # fmt: skip
    assert not any(isinstance(node, ast.Import) for node in ast.walk(tree))


def test_a_notebook_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "clumps.ecsv"
    path.write_text("id,z\n")
    notebook = write_notebook(path)
    notebook.write_text("mine")
    assert write_notebook(path) == notebook
    assert notebook.read_text() == "mine"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands that would have taken the place of this process."""
    commands: list[list[str]] = []

    def become(command: list[str], environment: dict[str, str]) -> int:
        assert environment["JUPYTER_PREFER_ENV_PATH"] == "1"
        commands.append(command)
        return 0

    monkeypatch.setattr("sc_lab.cli._become", become)
    return commands


def told(command: list[str]) -> dict[str, object] | None:
    """Return what the page of JupyterLab is told to run."""
    start = "--ServerApp.tornado_settings="
    settings = [ast.literal_eval(word.removeprefix(start)) for word in command if word.startswith(start)]
    return json.loads(settings[0]["page_config_data"]["scLabLaunch"]) if settings else None


def test_open_starts_jupyterlab_on_the_notebook(project: Path, started: list[list[str]]) -> None:
    assert main(["open", str(project), "--no-browser", "--port", "8899"]) == 0
    notebook = project.with_name("clumps.sclab.workbench.ipynb")
    assert started[0][:4] == [sys.executable, "-m", "jupyterlab", str(notebook)]
    assert {"--no-browser", "--port=8899"} <= set(started[0])
    cell = json.loads(notebook.read_text())["cells"][0]
    assert "Session.open('clumps.sclab')" in cell["source"]
    assert cell["metadata"] == {"sc_lab": {"run_on_open": True}}
    assert told(started[0]) == {"path": notebook.name, "cells": [cell["source"]]}


def test_a_notebook_that_came_with_the_project_is_not_told_to_run(project: Path, started: list[list[str]]) -> None:
    """Only what we would have written may run by itself; the page compares the text."""
    notebook = project.with_name("clumps.sclab.workbench.ipynb")
    foreign = write_notebook(project).read_text().replace('wb"', 'evil()"')
    notebook.write_text(foreign)
    assert "evil()" in foreign
    assert main(["open", str(project)]) == 0
    assert "evil" not in str(started[0])


def test_open_runs_the_marked_cells_of_a_notebook_only_when_asked(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = tmp_path / "below" / "tour.ipynb"
    notebook.parent.mkdir()
    marked = {"cell_type": "code", "metadata": {"sc_lab": {"run_on_open": True}}, "source": ["1\n", "2"]}
    notebook.write_text(json.dumps({"cells": [marked, {**marked, "metadata": {}, "source": "3"}]}))
    monkeypatch.chdir(tmp_path)
    assert main(["open", "below/tour.ipynb"]) == 0
    assert told(started[-1]) is None
    assert "extra_labextensions_path" not in str(started[-1])
    assert main(["open", "below/tour.ipynb", "--run", "--", "--ServerApp.answer_yes=True", "--no-browser"]) == 0
    assert told(started[-1]) == {"path": "below/tour.ipynb", "cells": ["1\n2"]}
    assert started[-1][-2:] == ["--ServerApp.answer_yes=True", "--no-browser"]
    assert f"--ServerApp.root_dir={tmp_path}" in started[-1]


def test_open_refuses_what_is_no_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = tmp_path / "tour.ipynb"
    notebook.write_text("[]")
    assert main(["open", str(notebook), "--run"]) == 2
    assert "is not a notebook" in capsys.readouterr().err


def test_open_without_the_extras_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["open"]) == 2
    assert "pip install 'sc-lab[widgets]'" in capsys.readouterr().err


def test_library_check_says_what_the_shipped_library_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library", "check", "bc03"]) == 0
    out = capsys.readouterr().out
    assert "metallicities [0.02]: 0.005, 0.02, 0.2, 0.4, 1, 2.5, 5\n" in out
    assert out.endswith("no problem found\n")


def test_library_convert_and_check_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A population a thousand times too bright is converted, and the check then says so with exit code 2."""
    log_age, lam = 6.0 + 0.1 * np.arange(51), np.geomspace(91.0, 1e5, 200)
    for code in ("z010", "z020"):
        light = np.full((lam.size, 51), 1e6)
        np.savetxt(tmp_path / f"spectra-bin-imf135_300.{code}.dat", np.column_stack([lam, light]))
        masses = np.column_stack([log_age, 1e6 * (1 - 0.1 * (log_age - 6)), 0 * log_age])
        np.savetxt(tmp_path / f"starmass-bin-imf135_300.{code}.dat", masses)
    grid = str(tmp_path / "grid.fits")
    assert main(["library", "convert", str(tmp_path), grid]) == 0
    assert "BPASS bin-imf135_300, 2 metallicities, stars only\n" in capsys.readouterr().out
    assert main(["library", "convert", str(tmp_path), grid]) == 2
    assert "exists and is left as it is" in capsys.readouterr().err
    assert main(["library", "check", grid]) == 2
    assert "PROBLEM: at the same age it is" in capsys.readouterr().out


def test_library_check_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.fits"
    path.write_text("dear diary")
    assert main(["library", "check", str(path)]) == 2
    answer = capsys.readouterr()
    assert not answer.out
    assert answer.err.startswith("sc-lab: notes.fits cannot be read as a FITS grid")
    assert answer.err.count("\n") == 1


def test_prepare_compiles_every_stage_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [
        "size and flux fits",
        "SED fits of clusters",
        "SED fits of galaxies",
        "friends-of-friends",
        "light of the demonstration",
    ]
