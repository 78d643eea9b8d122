"""Run the compiled grid engine: compile once, keep grids, fit sources side by side."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sc_lab.errors import OptionalDependencyError
from sc_lab.sed import _kernels
from sc_lab.sed._posterior_grid import Grid, Ranges, Rows, covered_ranges, make_grid, make_rows, mass_prior
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.model import SedModel
    from sc_lab.sed.priors import Priors

__all__ = ["Draws", "compiled", "grid_for", "mass_tables", "prepare", "run_source"]

#: Importance draws of a source in its first round, and the effective number that ends the rounds.
N_IMPORTANCE = 6000
WANTED_ESS = 1000.0
#: Memory that grids may keep [bytes].
_KEEP_BYTES = 120_000_000
#: Priors of one redshift whose grids are kept: a user goes back and forth between a few.
_KEEP_PRIORS = 4

_lock = threading.Lock()
#: Loops that have been called, and the lock of those that are being compiled.
_ready: set[str] = set()
_compiling = threading.RLock()


@functools.cache
def compiled() -> dict[str, Any]:
    """Return the loops under numba, kept on disk between sessions where a cache can be written.

    Returns
    -------
    dict
        The functions by name.

    Raises
    ------
    OptionalDependencyError
        If numba is not installed.
    """
    try:
        import numba
    except ImportError as err:
        msg = "engine='grid' needs numba, which is not installed; install it or use engine='bagpipes'"
        raise OptionalDependencyError(msg) from err
    from numba.extending import register_jitable

    # Sums may be reordered and fused, which vectorises them; NaN and infinity keep their meaning.
    options: dict[str, Any] = {"fastmath": {"contract", "reassoc", "nsz", "arcp"}, "nogil": True}
    for helper in _kernels.HELPERS:
        register_jitable(fastmath=options["fastmath"])(helper)
    out = {}
    for name in ("fit_source", "coarse_fluxes"):
        function = getattr(_kernels, name)
        try:
            out[name] = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder that a cache could be written to
            out[name] = numba.njit(**options)(function)
    return out


@contextlib.contextmanager
def _first_use(name: str) -> Iterator[None]:
    """Compile quietly, and one thread at a time; afterwards do nothing.

    What is said of warnings holds for the whole process: threads that each set and restore it around their fits would
    leave behind what others had set.
    """
    if name in _ready:
        yield
        return
    with _compiling, warnings.catch_warnings():
        # A home that cannot be written to only means that the next session compiles again.
        warnings.filterwarnings("ignore", message=".*[Cc]annot cache.*")
        yield
    _ready.add(name)


@functools.cache
def mass_tables() -> tuple[FloatArray, FloatArray]:
    """Return the table of the regularised mass integral and the nodes of its panels.

    Returns
    -------
    tail : ndarray, shape (3, n)
        The integral over x from 0 of (exp(s x - x^2 / 2) - [x < 1]) / x on a uniform grid of s, its slope
        sqrt(2 pi) exp(s^2 / 2) Phi(s), and in the last row the negative of the first s, and the step.
    nodes : ndarray, shape (2, 24)
        Gauss-Legendre nodes and weights on (-1, 1).
    """
    from scipy import special

    end, step = 20.0, 1.0 / 64
    s = np.arange(-end, 8.0 + step, step)
    # Its slope in closed form, integrated from the value far below, where -Euler - ln|s| - ... holds.
    slope = np.sqrt(2.0 * np.pi) * np.exp(0.5 * s * s + special.log_ndtr(s))
    r = 1.0 / end**2
    first = -float(np.euler_gamma) - math.log(end) - 0.5 * r + 0.75 * r**2 - 2.5 * r**3
    x, w = np.polynomial.legendre.leggauss(12)
    inside = s[:-1, None] + 0.5 * step * (1.0 + x)
    pieces = 0.5 * step * (np.sqrt(2.0 * np.pi) * np.exp(0.5 * inside**2 + special.log_ndtr(inside))) @ w
    value = first + np.concatenate([[0.0], np.cumsum(pieces)])
    tail = np.zeros((3, s.size))
    tail[0], tail[1], tail[2, :2] = value, slope, (end, step)
    return tail, np.stack(np.polynomial.legendre.leggauss(24))


@dataclass(frozen=True, eq=False)
class Draws:
    """What the loops return for one source."""

    points: FloatArray
    flux: npt.NDArray[np.float32]
    log_evidence: float
    ess: float
    rounds: int
    n_cell: int
    n_importance: int
    best: FloatArray


def grid_for(
    model: SedModel,
    filters: tuple[Any, ...],
    z: float,
    priors: Priors,
    *,
    distance: float | None = None,
    cosmology: FLRW | None = None,
) -> Grid:
    """Return the grid of one redshift, made or kept from before.

    Parameters
    ----------
    model : SedModel
        History, library, dust.
    filters : tuple of Filter
        The bands.
    z : float
        Redshift.
    priors : Priors
        As they hold at the redshift; the one of the mass does not matter.
    distance : float, optional
        Luminosity distance [Mpc] when it is not the redshift's.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means the house default.

    Returns
    -------
    Grid
        Rows, states and cells.
    """
    record = tuple(repr(getattr(priors, name)) for name in ("age", "metallicity", "a_v", "log_u"))
    library = model.loaded_library
    ranges = covered_ranges(priors, library.metallicity, library.log_u if model.nebular else library.log_u[:0])
    digests = tuple(f.digest for f in filters)
    key = (model, digests, z, ranges, distance, _cosmology_key(cosmology))
    with _lock:
        kept = _kept.setdefault(key, _Kept())
        _kept.move_to_end(key)
        if record in kept.grids:
            kept.grids.move_to_end(record)
            return kept.grids[record]
    with kept.making:  # one thread makes what others may be waiting for
        with _lock:
            if record in kept.grids:
                return kept.grids[record]
        try:
            if kept.rows is None:
                kept.rows = _rows_for(model, filters, z, ranges, distance, cosmology)
            with _first_use("coarse_fluxes"):
                grid = make_grid(kept.rows, priors, compiled())
        finally:
            with _lock:
                if kept.rows is None:
                    _kept.pop(key, None)
        with _lock:
            kept.grids[record] = grid
            while len(kept.grids) > _KEEP_PRIORS:
                kept.grids.popitem(last=False)
            _kept.setdefault(key, kept)  # it may have been dropped meanwhile
            _trim()
    return grid


@dataclass(eq=False)
class _Kept:
    """The rows of a redshift and the grids of some priors on them."""

    rows: Rows | None = None
    grids: OrderedDict[tuple[str, ...], Grid] = field(default_factory=OrderedDict)
    making: threading.Lock = field(default_factory=threading.Lock)

    @property
    def nbytes(self) -> int:
        """Memory of all of it [bytes]."""
        return (self.rows.nbytes if self.rows else 0) + sum(grid.nbytes for grid in self.grids.values())


_kept: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()


def _trim() -> None:
    """Drop what was not used for the longest time, but for the last."""
    total = sum(kept.nbytes for kept in _kept.values())
    while total > _KEEP_BYTES and len(_kept) > 1:
        total -= _kept.popitem(last=False)[1].nbytes


def _rows_for(
    model: SedModel,
    filters: tuple[Any, ...],
    z: float,
    ranges: Ranges,
    distance: float | None,
    cosmology: FLRW | None,
) -> Rows:
    """Return the rows of a redshift."""
    from sc_lab.sed.sfh import sfh_states
    from sc_lab.sed.tables import make_tables

    # The tables reach from no dust to whole magnitudes, so that one set serves many priors.
    a_v_range = (0.0, ranges[1][1])
    tables = make_tables(model, filters, z, a_v_range=a_v_range, distance=distance, cosmology=cosmology)
    return make_rows(tables, sfh_states(model, z, cosmology), ranges)


def _cosmology_key(cosmology: FLRW | None) -> str:
    """Return what tells cosmologies apart."""
    from sc_lab.cosmology import default_cosmology, describe

    return repr(describe(default_cosmology() if cosmology is None else cosmology))


def run_source(
    grid: Grid,
    flux: FloatArray,
    sigma: FloatArray,
    shape_err: FloatArray,
    priors: Priors,
    *,
    n_draws: int,
    stream: int,
) -> Draws:
    """Fit one source.

    Parameters
    ----------
    grid : Grid
        Of its redshift.
    flux, sigma, shape_err : ndarray, shape (n_band,)
        Fluxes and independent errors [nJy], infinite where there is no measurement; fraction of the common error.
    priors : Priors
        For the prior of the mass.
    n_draws : int
        Draws to return, of equal weight.
    stream : int
        Seed of this source's random numbers, 64 bits.

    Returns
    -------
    Draws
        The posterior.
    """
    points = np.empty((n_draws, 5))
    fluxes = np.empty((n_draws, grid.n_band + 1), dtype=np.float32)
    report, best = np.empty(5), np.empty(6 + grid.coarse.shape[0])
    with _first_use("fit_source"):
        compiled()["fit_source"](
            points, fluxes, report, best, np.where(np.isfinite(sigma), flux, 0.0), sigma, shape_err,
            max(N_IMPORTANCE, 2 * n_draws), WANTED_ESS, np.array([stream], dtype=np.uint64), grid.coarse, grid.coarse_low,
            grid.coarse_high, grid.coarse_volume, grid.layout, grid.arrays,
            (*mass_prior(priors.log_mass_formed), *mass_tables()),
        )  # fmt: skip
    return Draws(
        points=points, flux=fluxes, log_evidence=float(report[0]), ess=float(report[1]), rounds=int(report[2]),
        n_cell=int(report[3]), n_importance=int(report[4]), best=best,
    )  # fmt: skip


def prepare() -> None:
    """Compile the loops and keep them on disk, so that the first fit of later sessions does not wait ten seconds."""
    from sc_lab.sed.fitting import fit_photometry

    fit_photometry([1.0, 2.0], [1.0, 1.0], ["F150W", "F200W"], 2.0, n_draws=10, rng=1)
