"""The command `sc-lab`: open the workbench, export the analysed table, say what a file holds, make stellar libraries."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sc_lab._version import __version__
from sc_lab.errors import InputError, OptionalDependencyError, ScLabError

if TYPE_CHECKING:
    from sc_lab.session import Session

__all__ = ["main", "write_notebook"]

_REFUSED = 2
_SQLITE = b"SQLite format 3\x00"

_DEMONSTRATION_CELL = """\
from sc_lab_widgets import Workbench

wb = Workbench()
wb"""
_PROJECT_CELL = """\
from sc_lab.session import Session
from sc_lab_widgets import Workbench

wb = Workbench(Session.open({project}))
wb"""
_CATALOG_CELL = """\
from sc_lab.catalog import read_catalog
from sc_lab.session import Session
from sc_lab_widgets import Workbench

# Every edit is kept in the project file; delete it to start afresh.
wb = Workbench(Session(read_catalog({catalog}), project={project}))
wb"""


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
    arguments = list(sys.argv[1:] if argv is None else argv)
    passed_on: list[str] = []
    if arguments[:1] == ["open"] and "--" in arguments:
        cut = arguments.index("--")
        arguments, passed_on = arguments[:cut], arguments[cut + 1 :]
    options = _parser().parse_args(arguments)
    options.passed_on = passed_on
    with warnings.catch_warnings():
        warnings.showwarning = _tell
        try:
            return int(options.run(options))
        except ScLabError as error:
            return _refuse(str(error))
        except OSError as error:
            named = f"{error.filename}: " if error.filename else ""
            return _refuse(f"{named}{error.strerror or error}")


def _say(line: str) -> None:
    print(_shown(line))


def _shown(text: str) -> str:
    """Return the text on one line, without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def _refuse(sentence: str) -> int:
    print(f"sc-lab: {_shown(sentence)}", file=sys.stderr)
    return _REFUSED


def _tell(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sc-lab: note: {_shown(str(message))}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sc-lab",
        description="Star clusters and clumps in lensed galaxies.",
        epilog="A catalogue is an ECSV, FITS, VOTable, CSV or Parquet table; a project is the .sclab file beside it.",
    )
    parser.add_argument("--version", action="version", version=f"sc-lab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    opening = commands.add_parser(
        "open", help="open the workbench in JupyterLab", epilog="What follows -- is passed on to JupyterLab."
    )
    opening.add_argument("path", nargs="?", type=Path, help="catalogue, project or notebook; else the demonstration")
    opening.add_argument(
        "--run", dest="marked", action="store_true", help="a notebook: run the cells that it marks for opening"
    )
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

    preparing = commands.add_parser(
        "prepare", help="compile what is compiled at first use, so that no first click waits; once after installing"
    )
    preparing.set_defaults(run=_prepare)

    library = commands.add_parser("library", help="check a stellar library, or make one of raw BPASS files")
    ways = library.add_subparsers(required=True, metavar="what")
    checking = ways.add_parser("check", help="say what a grid holds, and whether it can be trusted")
    checking.add_argument("grid", help="'bc03', or a stellar grid in bagpipes' format")
    checking.add_argument("--continuum", type=Path, help="its grid of nebular continua")
    checking.add_argument("--lines", type=Path, help="its grid of nebular lines")
    checking.add_argument(
        "--metallicities", type=_numbers, help="in units of 0.02, with commas; needed where the file does not say them"
    )
    checking.set_defaults(run=_check_library)
    converting = ways.add_parser("convert", help="make a stellar grid of raw BPASS v2 text files")
    converting.add_argument("folder", type=Path, help="folder of unpacked files spectra-*.dat and starmass-*.dat")
    converting.add_argument("output", type=Path, help="FITS file to write")
    converting.add_argument("--kind", help="which population, such as bin-imf135_300; else the only one")
    converting.add_argument("--remnants", action="store_true", help="count remnants in the living mass")
    converting.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    converting.set_defaults(run=_convert_library)
    return parser


def _numbers(text: str) -> list[float]:
    """Return numbers written with commas between them."""
    return [float(each) for each in text.split(",")]


# ---- open ------------------------------------------------------------------------------
def _open(options: argparse.Namespace) -> int:
    from importlib.util import find_spec

    if find_spec("jupyterlab") is None or find_spec("ipywidgets") is None:
        msg = "the workbench needs the notebook extras: pip install 'sc-lab[widgets]'"
        raise OptionalDependencyError(msg)
    path = None if options.path is None else _existing(options.path)
    if path is not None and path.suffix == ".ipynb":
        notebook, cells = path.resolve(), _marked_cells(path) if options.marked else []
        # The folder of the user, so that JupyterLab can show more than the notebook's own.
        root = next((folder for folder in [Path.cwd().resolve()] if notebook.is_relative_to(folder)), notebook.parent)
    else:
        notebook, cells = write_notebook(path), [_notebook_for(path)[1]]
        root = notebook.parent
    command = [sys.executable, "-m", "jupyterlab", str(notebook), f"--ServerApp.root_dir={root}"]
    inside = notebook.relative_to(root).as_posix()
    # Without it the printed address leads to an empty JupyterLab.
    command.append(f"--LabApp.default_url=/lab/tree/{quote(inside)}")
    command += _run_on_open(inside, cells)
    if options.no_browser:
        command.append("--no-browser")
    if options.port is not None:
        command.append(f"--port={options.port}")
    if hasattr(os, "getuid") and os.getuid() == 0:
        command.append("--allow-root")
    return _become([*command, *options.passed_on], {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"})


def _become(command: list[str], environment: dict[str, str]) -> int:
    """Run the notebook server in place of this process, so that Ctrl-C and signals are its own."""
    if os.name == "posix":
        sys.stdout.flush()
        os.execve(command[0], command, environment)  # noqa: S606 - a list, never a shell
    with subprocess.Popen(command, env=environment) as server:  # noqa: S603 - a list, never a shell
        while True:
            try:
                return server.wait()
            except KeyboardInterrupt:  # the server got it too, and asks whether to stop
                continue


def _run_on_open(path: str, cells: list[str]) -> list[str]:
    """Return the options with which JupyterLab runs these cells when it opens the notebook.

    They alone load the extension that does it, and tell it path and text of the cells. So no other JupyterLab
    runs anything by itself, and a notebook that came with a catalogue runs no more than we would have written.
    """
    from importlib.util import find_spec

    widgets = find_spec("sc_lab_widgets")
    if not cells or widgets is None or widgets.origin is None:
        return []
    extensions = Path(widgets.origin).parent / "launch" / "labextensions"
    page = {"scLabLaunch": json.dumps({"path": path, "cells": cells})}
    return [
        f"--LabApp.extra_labextensions_path={extensions}",
        f"--ServerApp.tornado_settings={ {'page_config_data': page}!r}",
    ]


def _marked_cells(notebook: Path) -> list[str]:
    """Return the sources of the cells that a notebook marks as to be run when it is opened."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        marked = [cell for cell in cells if cell["metadata"].get("sc_lab", {}).get("run_on_open") is True]
        return ["".join(cell["source"]) for cell in marked]
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = f"'{notebook}' is not a notebook; give a .ipynb file that JupyterLab can open"
        raise InputError(msg) from None


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
    notebook, source = _notebook_for(path)
    if not notebook.exists():
        code: dict[str, object] = {
            "cell_type": "code",
            "execution_count": None,
            "id": "workbench",
            "metadata": {"sc_lab": {"run_on_open": True}},
            "outputs": [],
            "source": source,
        }
        content = {
            "cells": [code],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        notebook.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return notebook


def _notebook_for(path: Path | None) -> tuple[Path, str]:
    """Return where the notebook that opens ``path`` belongs, and the source of its one cell."""
    if path is None:
        return Path.cwd() / "sc_lab_demonstration.ipynb", _DEMONSTRATION_CELL
    project = path.name if _is_project(path) else f"{path.stem}.sclab"
    cell = _PROJECT_CELL if _is_project(path) else _CATALOG_CELL
    notebook = path.resolve().with_name(f"{path.name}.workbench.ipynb")
    return notebook, cell.format(catalog=ascii(path.name), project=ascii(project))


# ---- export, info ----------------------------------------------------------------------
def _export(options: argparse.Namespace) -> int:
    from sc_lab.export import catalog_table, write_table
    from sc_lab.session import population_of

    source = _existing(options.project)
    if options.output.exists():
        if options.output.samefile(source):
            msg = f"'{options.output}' is the input itself, which an export must not replace; give another name"
            raise InputError(msg)
        if not options.overwrite:
            msg = f"'{options.output}' exists and is left as it is; add --overwrite to replace it, or give another name"
            raise InputError(msg)
    with _session(source) as session:
        table = catalog_table(population_of(session))
    write_table(table, options.output, overwrite=options.overwrite)
    _say(f"wrote {options.output}: {len(table)} clumps")
    return 0


def _info(options: argparse.Namespace) -> int:
    with _session(options.path) as session:
        for line in _describe(session):
            _say(line)
    return 0


def _describe(session: Session) -> Iterator[str]:
    from sc_lab.population import Settings
    from sc_lab.session import population_of

    population = population_of(session)
    document, defaults = session.document, Settings().to_dict()
    record = session.catalog.meta.get("sc_lab", {})
    yield f"catalogue: {document.catalog_name or 'unnamed'}"
    if record.get("sha256"):
        yield f"sha256: {record['sha256']}"
    if record.get("column_map"):
        yield f"column map: {record['column_map']}"
    yield f"columns: {', '.join(session.current_catalog.colnames)}"
    yield from (f"about the catalogue: {each}" for each in record.get("notes", []))
    yield f"lens models: {', '.join(name or 'reference' for name in session.lens_models)}"
    if session.path is not None:
        yield f"project: {session.path} ({len(session.log)} steps{', read-only' if session.read_only else ''})"
    changed = {key: value for key, value in document.settings.to_dict().items() if value != defaults[key]}
    yield from _about_clumps(session)
    yield "settings: " + (", ".join(f"{key} = {value}" for key, value in changed.items()) or "all at their defaults")
    for name, number in population.counts.items():
        yield f"{name.replace('_', ' ')}: {number}"
    for clump, reason in document.excluded:
        yield f"excluded {clump}: {reason or 'no reason given'}"


def _about_seds(record: dict[str, Any], seen: Any) -> Iterator[str]:
    """Say with what the SEDs of the list were fitted."""
    again = record.get("sed")
    settings = again.get("settings") if isinstance(again, dict) else None
    if not isinstance(settings, dict):
        settings = seen.get("sed") if isinstance(seen, dict) else None
    if isinstance(settings, dict) and isinstance(settings.get("model"), dict):
        model = settings["model"]
        library = model.get("library")
        title = library.get("title", "") if isinstance(library, dict) else library
        taus = [model.get("tau"), settings.get("second_tau")] if model.get("sfh") == "exponential" else []
        times = " and ".join(f"{tau:g}" for tau in taus if isinstance(tau, (int, float)))
        history = f"{model.get('sfh')}{f', tau = {times} Myr' if times else ''}"
        yield f"SEDs fitted with: {title}; {history}; {model.get('attenuation')}; {settings.get('n_draws')} draws kept"
    own = again.get("settings_by_clump") if isinstance(again, dict) else None
    if own:
        yield f"SEDs with settings of their own: {', '.join(map(str, own))}"


def _about_clumps(session: Session) -> Iterator[str]:
    """Say what the list of clumps was measured on, and how it was edited since it was opened."""
    record = session.current_catalog.meta.get("sc_lab", {})
    seen = record.get("observation")
    if isinstance(seen, dict):
        models = ", ".join(map(str, seen.get("lens_models", []))) or "none"
        yield f"measured on: {seen.get('field') or 'an unnamed field'}, {', '.join(map(str, seen.get('bands', [])))}"
        background = seen.get("background", "plane")  # what older files do not say was a plane
        sizes = f"{seen.get('reference', '')}, mode {seen.get('mode', '')}, background {background}"
        yield f"sizes from: {sizes}; lens models: {models}"
    yield from _about_seds(record, seen)
    document, opened = session.document, set(session.catalog["id"].tolist())
    if document.clumps or document.removed or document.contours:
        added = sum(row.id not in opened for row in document.clumps)
        yield (
            f"clumps since the list was opened: {added} added, {len(document.removed)} removed, "
            f"{len(document.clumps) - added} measured anew; {len(document.contours)} contours redrawn"
        )


# ---- library ---------------------------------------------------------------------------
def _prepare(_: argparse.Namespace) -> int:
    """Compile every loop into the caches of this machine."""
    import time

    import numpy as np

    from sc_lab import photometry
    from sc_lab.mock import make_population
    from sc_lab.sed import fit_photometry
    from sc_lab.simulations import friends_of_friends

    def galaxy() -> None:
        fit_photometry(flux, 0.1 * flux, bands, 2.0, sfh="continuity", max_steps=50, rng=1)

    flux, bands = np.array([1.0, 2.0, 3.0]), ("F115W", "F200W", "F444W")
    for name, compile_it in (
        ("size and flux fits", photometry.prepare),
        ("SED fits of clusters", lambda: fit_photometry(flux, 0.1 * flux, bands, 2.0, rng=1)),
        ("SED fits of galaxies", galaxy),
        ("friends-of-friends", lambda: friends_of_friends(np.eye(3), 1.0)),
        ("light of the demonstration", make_population),
    ):
        start = time.perf_counter()
        compile_it()
        _say(f"{name}: ready after {time.perf_counter() - start:.1f} s")
    return 0


def _check_library(options: argparse.Namespace) -> int:
    from sc_lab.sed.checking import check_library

    report = check_library(
        options.grid,
        metallicities=options.metallicities,
        nebular_continuum=options.continuum,
        nebular_lines=options.lines,
    )
    _say(f"library: {report.title}")
    for line in report.facts:
        _say(line)
    for name, ratio in report.ratios.items():
        _say(f"light over BC03's, {name}: {ratio:.3g}")
    for line in report.notes:
        _say(f"note: {line}")
    for line in report.problems:
        _say(f"PROBLEM: {line}")
    _say("no problem found" if report.ok else f"{len(report.problems)} problem(s) found")
    return 0 if report.ok else _REFUSED


def _convert_library(options: argparse.Namespace) -> int:
    from sc_lab.sed.bpass import convert_bpass

    tell = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        if tell:
            print(f"\rsc-lab: file {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    made = convert_bpass(
        options.folder,
        options.output,
        kind=options.kind,
        remnants=options.remnants,
        overwrite=options.overwrite,
        progress=progress,
    )
    _say(f"wrote {options.output}: BPASS {made.kind}, {len(made.metallicity)} metallicities, stars only")
    _say(f"check it with: sc-lab library check {options.output}")
    return 0


def _session(path: Path) -> Session:
    from sc_lab.catalog import read_catalog
    from sc_lab.session import Session

    file = _existing(path)
    return Session.open(file) if _is_project(file) else Session(read_catalog(file))


def _is_project(path: Path) -> bool:
    """Tell a project by its ending or, renamed, by its first bytes."""
    if path.suffix == ".sclab":
        return True
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _existing(path: Path) -> Path:
    if not path.is_file():
        msg = f"there is no file '{path}'; give the path of a catalogue or of a .sclab project"
        raise InputError(msg)
    return path
