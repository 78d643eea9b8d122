"""Start the worker process of bagpipes in a private folder, follow it, end it at once, and read its answers."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sc_lab.errors import InputError, OptionalDependencyError, ScLabError
from sc_lab.sed import _bagpipes_worker
from sc_lab.units import FloatArray

__all__ = ["CANCELLED", "Report", "run_job"]

CANCELLED = "the bagpipes fit was cancelled; nothing of it is kept"
#: How often a cancel is looked for [s]: nobody notices a tenth.
_POLL = 0.1
_LOG_LINES = 6


@dataclass(frozen=True)
class Report:
    """How far a fit is.

    Attributes
    ----------
    source : int
        Which source of the job.
    fraction : float
        Of that source, 0 to 1, never falling; an estimate, since a sampler cannot know its end.
    calls : int
        Models computed so far.
    """

    source: int
    fraction: float
    calls: int


def run_job(
    job: Mapping[str, Any],
    filters: Mapping[str, tuple[FloatArray, FloatArray]],
    *,
    library: Mapping[str, FloatArray] | None = None,
    report: Callable[[Report], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[dict[str, Any]]:
    """Run one job in a worker process of its own.

    Parameters
    ----------
    job : mapping
        JSON values, as `sc_lab.sed._bagpipes_worker` describes them, without the entries that are the process's own.
    filters : mapping of str to (wavelength, throughput)
        By file name, Angstrom and electrons per photon.
    library : mapping of str to ndarray, optional
        Grids to use instead of those that bagpipes ships.
    report : callable, optional
        Called with a `Report` now and then.
    cancelled : callable, optional
        Asked ten times a second; once true the process is killed.

    Returns
    -------
    list of dict of str to ndarray
        Per source, in order.

    Raises
    ------
    ScLabError
        If cancelled, or if the worker ends without an answer; its last lines are quoted.
    OptionalDependencyError
        If bagpipes, or the sampler asked for, is not installed.
    """
    if importlib.util.find_spec("bagpipes") is None:
        msg = "engine='bagpipes' needs bagpipes; install it: pip install bagpipes, or use engine='grid'"
        raise OptionalDependencyError(msg)
    folder = Path(tempfile.mkdtemp(prefix="sc_lab_bagpipes_"))
    try:
        _write(folder, job, filters, library or {})
        return _follow(folder, len(job["sources"]), report or _ignore, cancelled or _never)
    finally:
        _remove(folder)


def _ignore(_: Report) -> None:
    """Report to nobody."""


def _never() -> bool:
    """Never cancel."""
    return False


def _write(
    folder: Path,
    job: Mapping[str, Any],
    filters: Mapping[str, tuple[FloatArray, FloatArray]],
    library: Mapping[str, FloatArray],
) -> None:
    """Write what the worker reads: the job, filter curves to the last digit, and grids as plain arrays."""
    full = {**job, "protocol": _bagpipes_worker.PROTOCOL, "sys_path": _import_path()}
    (folder / "job.json").write_text(json.dumps(full), encoding="utf-8")
    (folder / "filters").mkdir()
    for name, (wavelength, throughput) in filters.items():
        lines = (f"{wave!r} {value!r}\n" for wave, value in zip(wavelength.tolist(), throughput.tolist(), strict=True))
        (folder / "filters" / name).write_text("".join(lines), encoding="ascii")
    if library:
        (folder / "library").mkdir()
        for name, array in library.items():
            np.save(folder / "library" / f"{name}.npy", array, allow_pickle=False)


def _import_path() -> list[str]:
    """Return where this process finds packages, so that the worker finds the same; never the working folder."""
    return [entry for entry in sys.path if entry and Path(entry).is_absolute() and Path(entry) != Path.cwd()]


def _start(folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the worker: isolated from the user's variables and folder, one thread, leading a group of its own."""
    if not sys.executable:
        msg = "this Python does not know its own program (sys.executable is empty), so no process can be started"
        raise ScLabError(msg)
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
        **dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(folder)),
        "MPLBACKEND": "Agg",
    }
    # -I: no PYTHON* variables, no script folder, no user site other than what the job names; -u: no line waits.
    command = [sys.executable, "-I", "-u", "-B", str(Path(_bagpipes_worker.__file__)), str(folder)]
    return subprocess.Popen(  # noqa: S603 - our own program, no shell
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=os.name == "posix",
    )


def _follow(
    folder: Path, n_source: int, report: Callable[[Report], None], cancelled: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Follow the worker to its end; return its answers."""
    answers: dict[int, dict[str, Any]] = {}
    last = [0.0] * n_source
    with (folder / "log.txt").open("wb") as log:
        process = _start(folder, log)
        try:
            for event in _events(process, cancelled):
                kind = event.get("event")
                if kind == "refused":
                    raise OptionalDependencyError(str(event["message"]))
                if kind == "progress":
                    k = int(event["source"])
                    last[k] = max(last[k], float(event["fraction"]))
                    report(Report(k, last[k], int(event["calls"])))
                elif kind == "result":
                    k = int(event["source"])
                    with np.load(folder / str(event["file"]), allow_pickle=False) as arrays:
                        answers[k] = dict(arrays)
                    report(Report(k, 1.0, int(event["calls"])))
        finally:
            kill(process)
    if len(answers) != n_source:
        raise ScLabError(_last_words(process.returncode, folder / "log.txt"))
    return [answers[k] for k in range(n_source)]


def _events(process: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> Any:
    """Yield what the worker sends, looking for a cancel meanwhile."""
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stream = process.stdout
    if stream is None:  # pragma: no cover - it was asked for
        return

    def read() -> None:
        # A killed worker closes the pipe under our hands.
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True, name="sc-lab-bagpipes").start()
    while True:
        if cancelled():
            raise ScLabError(CANCELLED)
        try:
            line = lines.get(timeout=_POLL)
        except queue.Empty:
            continue
        if line is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10.0)
            return
        with contextlib.suppress(json.JSONDecodeError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a worker and all that it started, at once, and close its pipes.

    Parameters
    ----------
    process : `subprocess.Popen`
        It may have ended already.
    """
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _remove(folder: Path) -> None:
    """Remove the private folder; a second try for systems where a dying process still holds a file."""
    for pause in (0.0, 0.2, 1.0):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _last_words(code: int | None, log: Path) -> str:
    """Say how a worker ended that gave no answer."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if code is not None and code < 0:
        how = f"was ended by signal {-code}" + (", perhaps for want of memory" if -code == 9 else "")
    else:
        how = f"ended with code {code}"
    said = " | ".join(lines[-_LOG_LINES:]) or "nothing"
    return f"the bagpipes worker {how} without an answer; its last lines: {said}"


def check_sampler(sampler: str, n_live: int) -> None:
    """Refuse a sampler or a number of live points that cannot be meant.

    Parameters
    ----------
    sampler : str
        "nautilus" or "multinest".
    n_live : int
        Live points.

    Raises
    ------
    InputError
        If the sampler is unknown, or there are fewer than 50 live points.
    """
    names: Sequence[str] = ("nautilus", "multinest")
    if sampler not in names:
        msg = f"sampler is {sampler!r}; give one of {', '.join(map(repr, names))}"
        raise InputError(msg)
    if isinstance(n_live, bool) or not isinstance(n_live, int | np.integer) or n_live < 50:
        msg = f"n_live is {n_live!r}; give a whole number of live points, 50 or more (2000 is the default)"
        raise InputError(msg)
