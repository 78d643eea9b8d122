"""The command `sc-lab`: open the workbench, export the analysed table, say what a file holds."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sc_lab._version import __version__
from sc_lab.errors import InputError, OptionalDependencyError, ScLabError

if TYPE_CHECKING:
    from sc_lab.population import Population
    from sc_lab.session import Session

__all__ = ["main"]

_REFUSED = 2
_NOTEBOOK_CELL = (
    "from pathlib import Path\n\n"
    "from sc_lab_widgets import Workbench\n\n"
    "wb = Workbench(Path({name}))  # edits are kept in the project file beside it\n"
    "wb"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0, or 2 after one sentence on the standard error stream.
    """
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except ScLabError as error:
        return _refuse(str(error))
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{named}{error.strerror or error}")


def _refuse(sentence: str) -> int:
    print(f"sc-lab: {' '.join(sentence.split())}", file=sys.stderr)
    return _REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sc-lab",
        description="Star clusters and clumps in lensed galaxies.",
        epilog="A catalogue is an ECSV, FITS, VOTable, CSV or Parquet table; a project is the .sclab file beside it.",
    )
    parser.add_argument("--version", action="version", version=f"sc-lab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    opening = commands.add_parser("open", help="open the workbench in JupyterLab")
    opening.add_argument("path", nargs="?", type=Path, help="catalogue or project; without it, the demonstration")
    opening.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    opening.add_argument("--port", type=int, help="port of the notebook server")
    opening.set_defaults(run=_open)

    exporting = commands.add_parser("export", help="write the analysed table, with its provenance")
    exporting.add_argument("project", type=Path, help="project or catalogue")
    exporting.add_argument("output", type=Path, help="file to write; its ending chooses the format")
    exporting.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    exporting.set_defaults(run=_export)

    telling = commands.add_parser("info", help="say what a catalogue or project holds")
    telling.add_argument("path", type=Path, help="project or catalogue")
    telling.set_defaults(run=_info)
    return parser


# ---- open ------------------------------------------------------------------------------
def _open(options: argparse.Namespace) -> int:
    from importlib.util import find_spec

    if find_spec("jupyterlab") is None or find_spec("ipywidgets") is None:
        msg = "the workbench needs the notebook extras: pip install 'sc-lab[widgets]'"
        raise OptionalDependencyError(msg)
    notebook = write_notebook(None if options.path is None else _existing(options.path))
    command = [sys.executable, "-m", "jupyterlab", str(notebook)]
    if options.no_browser:
        command.append("--no-browser")
    if options.port is not None:
        command.append(f"--port={options.port}")
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"}
    try:
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - a list, never a shell
    except KeyboardInterrupt:  # the way to stop a notebook server
        return 0


def write_notebook(path: Path | None) -> Path:
    """Write the notebook that opens ``path``, beside it, unless it is there already.

    Parameters
    ----------
    path : Path or None
        Catalogue or project; None is the demonstration, in the current folder.

    Returns
    -------
    Path
        The notebook. It holds the file's name as a quoted string, whatever the name contains.
    """
    if path is None:
        notebook = Path.cwd() / "sc_lab_demonstration.ipynb"
        source = "from sc_lab_widgets import Workbench\n\nwb = Workbench()\nwb"
    else:
        notebook = path.resolve().with_name(f"{path.stem}.workbench.ipynb")
        source = _NOTEBOOK_CELL.format(name=ascii(path.name))
    if not notebook.exists():
        content = {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": "workbench",
                    "metadata": {},
                    "outputs": [],
                    "source": source,
                },
            ],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        notebook.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return notebook


# ---- export, info ----------------------------------------------------------------------
def _export(options: argparse.Namespace) -> int:
    from sc_lab.export import catalog_table, write_table

    with _session(options.project) as session:
        write_table(catalog_table(_population(session)), options.output, overwrite=options.overwrite)
    print(f"wrote {options.output}")
    return 0


def _info(options: argparse.Namespace) -> int:
    with _session(options.path) as session:
        for line in _describe(session):
            print(line)
    return 0


def _describe(session: Session) -> list[str]:
    raise NotImplementedError


def _session(path: Path) -> Any:
    from sc_lab.session import Session

    return Session.open(_existing(path))


def _population(session: Session) -> Population:
    raise NotImplementedError


def _existing(path: Path) -> Path:
    if not path.is_file():
        msg = f"there is no file '{path}'; give the path of a catalogue or of a .sclab project"
        raise InputError(msg)
    return path
