"""Which version of the fitting engine runs: compiled when its cache is there, NumPy until a background process filled it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from sc_lab.errors import InputError, OptionalDependencyError
from sc_lab.photometry import _batched, _loops
from sc_lab.photometry._batched import Problem, Solution, empty_solution

__all__ = ["ENGINES", "choose_engine", "compiled_is_ready", "prepare", "solve"]

ENGINES = ("auto", "compiled", "numpy")

#: Boxes per turn of the NumPy engine, so that one turn's design matrices stay small.
_BATCH_PIXELS = 20_000

_started: list[subprocess.Popen[bytes]] = []


@functools.cache
def _functions() -> dict[str, Any]:
    """Return the loops under numba, nothing compiled yet."""
    try:
        import numba
    except ImportError as err:
        msg = "engine='compiled' needs numba, which is not installed; install it or use engine='numpy'"
        raise OptionalDependencyError(msg) from err
    from numba.extending import register_jitable

    # Sums may be reordered and fused, which vectorises them; NaN and infinity keep their meaning.
    fastmath = {"contract", "reassoc", "nsz", "arcp"}
    for helper in (_loops.render_source, _loops.scaled_solve, _loops.evaluate):
        register_jitable(fastmath=fastmath)(helper)
    options: dict[str, Any] = {"fastmath": fastmath, "nogil": True}
    try:
        return {"fit_many": numba.njit(cache=True, **options)(_loops.fit_many)}
    except RuntimeError:  # no folder that a cache could be written to
        return {"fit_many": numba.njit(**options)(_loops.fit_many)}


@functools.cache
def _marker() -> Path | None:
    """Return the file that says that this machine's compiled cache is complete, beside that cache; None without one."""
    import numba

    folder = _functions()["fit_many"].stats.cache_path
    if folder is None:
        return None

    source = Path(_loops.__file__).read_bytes()
    machine = f"{numba.__version__} {np.__version__} {sys.version} {platform.machine()} {_processor()}"
    key = hashlib.sha256(source + machine.encode()).hexdigest()[:16]
    return Path(folder) / f"sc_lab_photometry_{key}.ready"


def _processor() -> str:
    """Return the processor as the compiler names it: code cached for another one is of no use."""
    from numba.core.registry import cpu_target

    return str(cpu_target.target_context.codegen().magic_tuple())


def compiled_is_ready() -> bool:
    """Return whether the compiled engine can answer without compiling first.

    Returns
    -------
    bool
        True once `prepare`, or its background process, has run on this machine with these
        versions. False too when numba is not installed.
    """
    if importlib.util.find_spec("numba") is None:
        return False
    if _functions()["fit_many"].signatures:
        return True
    marker = _marker()
    return marker is not None and marker.exists()


def prepare(*, background: bool = False) -> None:
    """Compile the engine and keep it on disk, so that later sessions start at once.

    Parameters
    ----------
    background : bool
        Do it in another process at low priority and return immediately; fits use NumPy until it is done.

    Raises
    ------
    OptionalDependencyError
        If numba is not installed.
    """
    if background:
        if not _started and _marker() is not None:
            _start_background()
        return
    _solve_compiled(_tiny_problem(), keep_design=False)
    marker = _marker()
    if marker is not None:
        with contextlib.suppress(OSError):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()


def _start_background() -> None:
    """Start the process that compiles; whatever goes wrong there leaves NumPy in charge."""
    nice = "import os; os.nice(15) if hasattr(os, 'nice') else None; "
    call = "from sc_lab.photometry import _engine; _engine.prepare()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter with a constant program
            [sys.executable, "-c", nice + call],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return
    _started.append(process)


def _tiny_problem() -> Problem:
    """Return a fit that touches every line of the compiled code."""
    from sc_lab.photometry.rendering import make_kernel

    stamp = np.zeros((5, 5))
    stamp[2, 2] = 1.0
    kernel = make_kernel(stamp, (9, 9))
    rng = np.random.default_rng(1)
    start = np.array([[[4.0, 4.0, 0.5, 0.5, 0.0]]])
    one = np.ones((1, 1), dtype=np.int64)
    return Problem(
        kernel=kernel,
        data=rng.normal(size=(1, 81)),
        weight=np.ones((1, 81)),
        start=start,
        anchor=start[..., :2].copy(),
        centre_mode=one,
        shape_mode=one,
        floor=-0.3,
        max_shift=np.full(1, 2.0),
        prior_sigma=0.15,
        max_variance=25.0,
        max_iterations=2,
        tolerance=1e-3,
        n_plane=3,
        extra=np.zeros((1, 0, 81)),
        precision=np.zeros((1, 0)),
    )


def choose_engine(engine: str) -> str:
    """Return "compiled" or "numpy" for a wish that may be "auto".

    Parameters
    ----------
    engine : str
        "auto": compiled when it can answer at once, else NumPy while a background process
        compiles; "compiled": wait for the compiler if need be; "numpy".

    Returns
    -------
    str
        "compiled" or "numpy".

    Raises
    ------
    InputError
        If ``engine`` is none of the three.
    """
    if engine not in ENGINES:
        msg = f"engine={engine!r} is not known; choose one of {', '.join(ENGINES)}"
        raise InputError(msg)
    if engine != "auto":
        return engine
    if compiled_is_ready():
        return "compiled"
    if importlib.util.find_spec("numba") is not None and not os.environ.get("SC_LAB_NO_COMPILE"):
        prepare(background=True)
    return "numpy"


def solve(problem: Problem, *, engine: str = "auto", keep_design: bool = False) -> Solution:
    """Fit boxes with the engine asked for.

    Parameters
    ----------
    problem : Problem
        Boxes and starts.
    engine : str
        See `choose_engine`.
    keep_design : bool
        Return design matrices.

    Returns
    -------
    Solution
        The same within rounding for both engines.
    """
    if choose_engine(engine) == "compiled":
        return _solve_compiled(problem, keep_design=keep_design)
    n = problem.data.shape[0]
    turn = max(1, _BATCH_PIXELS // problem.data.shape[1])
    parts = [_batched.fit_many(problem.part(slice(i, i + turn)), keep_design=keep_design) for i in range(0, n, turn)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty_solution(problem, keep_design=keep_design)
    names = Solution.__dataclass_fields__
    return Solution(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _solve_compiled(problem: Problem, *, keep_design: bool) -> Solution:
    """Hand the arrays to the compiled loops."""
    out = empty_solution(problem, keep_design=keep_design)
    kernel = problem.kernel
    modes, x_table, y_table = kernel.folded
    with warnings.catch_warnings():
        # A home that cannot be written to only means that the next session compiles again.
        warnings.filterwarnings("ignore", message=".*[Cc]annot cache.*")
        _functions()["fit_many"](
            modes,
            kernel.frequency,
            x_table,
            y_table,
            kernel.width,
            kernel.height,
            np.ascontiguousarray(problem.data),
            np.ascontiguousarray(problem.weight),
            np.ascontiguousarray(problem.start),
            np.ascontiguousarray(problem.anchor),
            np.ascontiguousarray(problem.centre_mode),
            np.ascontiguousarray(problem.shape_mode),
            problem.floor,
            np.ascontiguousarray(problem.max_shift),
            problem.prior_sigma,
            problem.max_variance,
            problem.max_iterations,
            problem.tolerance,
            problem.n_plane,
            np.ascontiguousarray(problem.extra),
            np.ascontiguousarray(problem.precision),
            keep_design,
            out.place,
            out.linear,
            out.chi2,
            out.hessian,
            out.design,
            out.iterations,
            out.status,
            out.bound,
        )
    return out
