"""Affine-invariant ensembles for galaxy fits: compiled runs from separate starts, how far they agree, and the evidence."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sc_lab.errors import OptionalDependencyError, ScLabError
from sc_lab.sed import _ensemble_loops as loops
from sc_lab.sed._posterior import compiled as compiled_grid
from sc_lab.units import FloatArray

__all__ = [
    "EnsembleRun",
    "compiled",
    "draw_log_masses",
    "log_posteriors",
    "run_emcee_reference",
    "run_ensembles",
    "start_walkers",
]

_lock = threading.Lock()

#: Independent ensembles; two would show that starts differ, four also tell which one is off.
_N_ENSEMBLES = 4

#: Steps between two looks at progress and cancellation.
_BLOCK = 200

#: Steps after which the posterior's place is known, and first steps that are kept.
_FIRST, _SECOND = 600, 1000

#: States are kept this many steps apart: neighbours say the same.
_THIN = 10

#: Effective draws after which a run ends.
_ENOUGH = 800.0

#: Autocorrelation times that a run must span; more than a hundred walkers go along it.
_LENGTHS = 6.0

#: Largest scale reduction (Gelman & Rubin 1992, of split chains) that counts as agreement.
_RHAT = 1.02


@dataclass(frozen=True, eq=False)
class EnsembleRun:
    """Draws of a finished run in normal coordinates, and how far they can be trusted.

    Attributes
    ----------
    points : ndarray, shape (n_draws, n_dim)
        Kept states of all walkers, in coordinates that are standard normal under the prior.
    log_posterior : ndarray, shape (n_draws,)
        Of each, with the likelihood up to the constant of the errors.
    ess : float
        Independent draws that the kept ones are worth in the worst coordinate.
    r_hat : float
        Split scale reduction factor of the worst coordinate; 1 where the ensembles agree.
    autocorrelation_time : float
        Of the worst coordinate, in steps.
    acceptance : float
        Accepted fraction of the proposals.
    n_steps : int
        Steps of each walker after the discarded ones.
    log_evidence, log_evidence_err : float
        By bridge sampling; NaN where it cannot be had.
    cautions : tuple of str
        Plain sentences on what limits the result.
    """

    points: FloatArray
    log_posterior: FloatArray
    ess: float
    r_hat: float
    autocorrelation_time: float
    acceptance: float
    n_steps: int
    log_evidence: float
    log_evidence_err: float
    cautions: tuple[str, ...]


def compiled() -> dict[str, Any]:
    """Return the loops under numba; each is compiled, or read from its cache, when first called.

    Returns
    -------
    dict
        ``draw_masses``, ``log_posterior_many`` and ``move_ensemble``.

    Raises
    ------
    OptionalDependencyError
        If numba is missing.
    """
    # Galaxies are fitted side by side: the first ones must not register the loops twice.
    with _lock:
        return _compiled()


@functools.cache
def _compiled() -> dict[str, Any]:
    try:
        import numba
    except ImportError as err:
        msg = "sampler='ensemble' needs numba, which is not installed; install it or use sampler='emcee'"
        raise OptionalDependencyError(msg) from err
    from numba.extending import register_jitable

    # Sums may be reordered and fused, which vectorises them; NaN and infinity keep their meaning.
    fastmath = {"contract", "reassoc", "nsz", "arcp"}
    # The integral over the mass is that of the grid engine, which registers it.
    compiled_grid()
    for helper in loops.HELPERS:
        register_jitable(fastmath=fastmath)(helper)
    options: dict[str, Any] = {"fastmath": fastmath, "nogil": True}
    names = ("draw_masses", "log_posterior_many", "move_ensemble")
    functions = {name: getattr(loops, name) for name in names}
    try:
        return {name: numba.njit(cache=True, **options)(each) for name, each in functions.items()}
    except RuntimeError:  # no folder that a cache could be written to
        return {name: numba.njit(**options)(each) for name, each in functions.items()}


def log_posteriors(points: FloatArray, problem: tuple[Any, ...], *, engine: str = "compiled") -> FloatArray:
    """Return the log posterior of points in normal coordinates.

    Parameters
    ----------
    points : ndarray, shape (n, n_dim)
        Where.
    problem : tuple
        What `sc_lab.sed.continuity` packs.
    engine : {"compiled", "python"}
        Compiled loops, or the same as plain Python.

    Returns
    -------
    ndarray, shape (n,)
        Prior (not normalised: -x^2/2) times likelihood (without the constant of the errors); -inf where excluded.
    """
    out = np.empty(len(points))
    function = compiled()["log_posterior_many"] if engine == "compiled" else loops.log_posterior_many
    function(np.ascontiguousarray(points, dtype=np.float64), problem, _work(problem), out)
    return out


def draw_log_masses(
    a: FloatArray, b: FloatArray, kind: int, numbers: FloatArray, nodes: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Draw log10 of the mass from its density given each model.

    Parameters
    ----------
    a, b : ndarray, shape (n,)
        Sums of F^2 / sigma^2 and F f / sigma^2 for models F of one solar mass and data f.
    kind : int
        Kind of the prior of the mass, from `sc_lab.sed._posterior_grid.mass_prior`.
    numbers : ndarray, shape (5,)
        Its numbers, from there.
    nodes : ndarray, shape (2, n_nodes)
        Nodes and weights of quadrature, from `sc_lab.sed._posterior.mass_tables`.
    rng : `~numpy.random.Generator`
        Source of chance.

    Returns
    -------
    ndarray, shape (n,)
        One draw for each model.
    """
    out = np.empty(len(a))
    stream = rng.integers(2**63, size=1, dtype=np.uint64)
    work = np.empty((3, 40 * nodes.shape[1]))
    compiled()["draw_masses"](np.ascontiguousarray(a), np.ascontiguousarray(b), kind, numbers, nodes, work, stream, out)
    return out / math.log(10.0)


def run_ensembles(
    problem: tuple[Any, ...],
    n_dim: int,
    *,
    rng: np.random.Generator,
    max_steps: int = 16_000,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
    evidence: bool = True,
) -> EnsembleRun:
    """Sample a posterior with four ensembles from separate starts.

    Parameters
    ----------
    problem : tuple
        What `sc_lab.sed.continuity` packs.
    n_dim : int
        Number of free coordinates.
    rng : `~numpy.random.Generator`
        Source of chance.
    max_steps : int
        Most steps of each walker; a run ends before when its draws are worth enough.
    progress : callable, optional
        Called with steps done and their largest number.
    cancel : object with ``is_set()``, optional
        When set, the run stops.
    evidence : bool
        Whether to work out the evidence.

    Returns
    -------
    EnsembleRun
        Draws and diagnostics.

    Raises
    ------
    ScLabError
        If it was cancelled, or no point of the prior has a likelihood.

    Notes
    -----
    Walkers start at prior draws picked by a flattened likelihood, different ones for each ensemble. After a first walk,
    which is discarded, its mean and covariance guide part of the moves and stay as they are; a fifth of what follows is
    discarded too. Runs are lengthened until the draws are worth enough and the ensembles agree.
    """
    move = compiled()["move_ensemble"]
    n_walkers = max(24, 2 * n_dim + 2)
    n_walkers += n_walkers % 2
    work = _work(problem)

    def density(points: FloatArray) -> FloatArray:
        return log_posteriors(points, problem)

    starts = [start_walkers(density, n_dim, n_walkers, rng) for _ in range(_N_ENSEMBLES)]
    values = [density(each) for each in starts]
    guess = (np.empty(0), np.empty((0, 0)), np.empty((0, 0)))
    chains: list[list[FloatArray]] = [[] for _ in range(_N_ENSEMBLES)]
    traces: list[list[FloatArray]] = [[] for _ in range(_N_ENSEMBLES)]
    taken = done = accepted = 0
    target = min(max_steps, _FIRST)
    while True:
        while taken < target:
            n = min(_BLOCK, target - taken)
            for k in range(_N_ENSEMBLES):
                if cancel is not None and cancel.is_set():
                    msg = f"the fit was cancelled after {taken} of at most {max_steps} steps; nothing of it is kept"
                    raise ScLabError(msg)
                chain, trace = np.empty((n // _THIN, n_walkers, n_dim)), np.empty((n // _THIN, n_walkers))
                accepted += move(starts[k], values[k], n, _THIN, rng, problem, work, guess, chain, trace)
                chains[k].append(chain)
                traces[k].append(trace)
            taken, done = taken + n, done + n
            if progress is not None:
                progress(taken, max_steps)
        if not len(guess[0]) and taken < max_steps:
            # What was walked so far only tells where the posterior is.
            recent = np.concatenate([np.concatenate(each)[len(each) * _BLOCK // _THIN // 2 :] for each in chains])
            guess = _gaussian(recent.reshape(-1, n_dim))
            chains, traces = [[] for _ in range(_N_ENSEMBLES)], [[] for _ in range(_N_ENSEMBLES)]
            done = accepted = 0
            target = min(max_steps, taken + _SECOND)
            continue
        discard = done // _THIN // 5
        # (ensemble, state, walker, coordinate)
        chain = np.stack([np.concatenate(each)[discard:] for each in chains])
        trace = np.stack([np.concatenate(each)[discard:] for each in traces])
        tau = autocorrelation_times(chain) * _THIN
        r_hat = float(split_r_hat(chain).max())
        kept = chain.shape[1] * _THIN
        ess = float(_N_ENSEMBLES * n_walkers * kept / tau.max())
        if (ess >= _ENOUGH and r_hat <= _RHAT and kept >= _LENGTHS * tau.max()) or taken >= max_steps:
            break
        target = min(max_steps, taken + _BLOCK * max(1, done // (3 * _BLOCK)))
    acceptance = accepted / (_N_ENSEMBLES * n_walkers * done)
    points, log_post = chain.reshape(-1, n_dim), trace.reshape(-1)
    log_z, log_z_err = math.nan, math.nan
    if evidence:
        log_z, log_z_err = bridge_evidence(points, log_post, ess, lambda x: log_posteriors(x, problem), rng)
    return EnsembleRun(
        points=points,
        log_posterior=log_post,
        ess=ess,
        r_hat=r_hat,
        autocorrelation_time=float(tau.max()),
        acceptance=acceptance,
        n_steps=kept,
        log_evidence=log_z,
        log_evidence_err=log_z_err,
        cautions=_cautions(ess, r_hat, kept, float(tau.max()), acceptance),
    )


def run_emcee_reference(
    log_density: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    *,
    n_steps: int = 6000,
    rng: np.random.Generator,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> EnsembleRun:
    """Sample with emcee (Foreman-Mackey et al. 2013) and the same mixture of moves: slower, and no code of ours.

    Parameters
    ----------
    log_density : callable
        Log posterior of points, shape (m, n_dim) to (m,).
    start : ndarray, shape (n_walkers, n_dim)
        First walkers.
    n_steps : int
        Steps of each walker; the first third is discarded.
    rng : `~numpy.random.Generator`
        Source of chance.
    progress : callable, optional
        Called with steps done and their number.
    cancel : object with ``is_set()``, optional
        When set, the run stops.

    Returns
    -------
    EnsembleRun
        Draws and diagnostics.

    Raises
    ------
    ScLabError
        If it was cancelled.
    """
    from emcee import EnsembleSampler
    from emcee.moves import DEMove, StretchMove

    n_walkers, n_dim = start.shape
    moves = [(DEMove(), 0.72), (DEMove(gamma0=1.0), 0.08), (StretchMove(), 0.2)]
    sampler = EnsembleSampler(n_walkers, n_dim, log_density, moves=moves, vectorize=True)
    # emcee keeps a legacy generator; its bit generator is seeded from ours.
    sampler.random_state = np.random.MT19937(int(rng.integers(2**63))).state
    for done, _ in enumerate(
        sampler.sample(start, iterations=n_steps, thin_by=1, skip_initial_state_check=True), start=1
    ):
        if progress is not None:
            progress(done, n_steps)
        if cancel is not None and cancel.is_set():
            msg = f"the fit was cancelled after {done} of {n_steps} steps; nothing of it is kept"
            raise ScLabError(msg)
    discard = n_steps // 3
    chain = np.asarray(sampler.get_chain(discard=discard, thin=_THIN))[None]
    trace = np.asarray(sampler.get_log_prob(discard=discard, thin=_THIN))
    tau = autocorrelation_times(chain) * _THIN
    kept = chain.shape[1] * _THIN
    ess = float(n_walkers * kept / tau.max())
    r_hat = float(split_r_hat(chain).max())
    acceptance = float(np.mean(sampler.acceptance_fraction))
    points, log_post = chain.reshape(-1, n_dim), trace.reshape(-1)
    log_z, log_z_err = bridge_evidence(points, log_post, ess, log_density, rng)
    return EnsembleRun(
        points=points,
        log_posterior=log_post,
        ess=ess,
        r_hat=r_hat,
        autocorrelation_time=float(tau.max()),
        acceptance=acceptance,
        n_steps=kept,
        log_evidence=log_z,
        log_evidence_err=log_z_err,
        cautions=_cautions(ess, r_hat, kept, float(tau.max()), acceptance),
    )


# ---- how far a run can be trusted --------------------------------------------------------------


def autocorrelation_times(chain: FloatArray) -> FloatArray:
    """Return the integrated autocorrelation time of each coordinate.

    Parameters
    ----------
    chain : ndarray, shape (n_ensembles, n_states, n_walkers, n_dim)
        Kept states.

    Returns
    -------
    ndarray, shape (n_dim,)
        In kept states, at least 1.

    Notes
    -----
    Autocovariances of the walkers are averaged about the mean of all, so that walkers which stay apart count as
    correlated; the sum ends at the window of Sokal (1997) with c = 5.
    """
    _, n, _, n_dim = chain.shape
    size = 1 << (2 * n - 1).bit_length()
    out = np.ones(n_dim)
    for d in range(n_dim):
        x = chain[..., d] - chain[..., d].mean()
        power = np.abs(np.fft.rfft(x, size, axis=1)) ** 2
        covariance = np.fft.irfft(power.mean(axis=(0, 2)), size)[:n]
        if not covariance[0] > 0:
            continue
        sums = 2.0 * np.cumsum(covariance / covariance[0]) - 1.0
        inside = np.arange(n) < 5.0 * sums
        window = int(np.argmin(inside)) if not inside.all() else n - 1
        out[d] = max(sums[window], 1.0)
    return out


def split_r_hat(chain: FloatArray) -> FloatArray:
    """Return the split scale reduction factor of each coordinate, between halves of ensembles.

    Parameters
    ----------
    chain : ndarray, shape (n_ensembles, n_states, n_walkers, n_dim)
        Kept states.

    Returns
    -------
    ndarray, shape (n_dim,)
        sqrt(total variance / mean variance within) over the two halves of every ensemble; 1 where all agree.
    """
    half = chain.shape[1] // 2
    parts = np.concatenate([chain[:, :half], chain[:, half : 2 * half]])
    flat = parts.reshape(len(parts), -1, chain.shape[-1])
    within = flat.var(axis=1).mean(axis=0)
    between = flat.mean(axis=1).var(axis=0, ddof=1)
    return np.asarray(np.sqrt(1.0 + between / np.maximum(within, 1e-300)))


def bridge_evidence(
    points: FloatArray,
    log_post: FloatArray,
    ess: float,
    log_density: Callable[[FloatArray], FloatArray],
    rng: np.random.Generator,
    *,
    n: int = 6000,
) -> tuple[float, float]:
    """Return the log evidence and its error from draws of the posterior by bridge sampling.

    Parameters
    ----------
    points : ndarray, shape (n_draws, n_dim)
        Draws, in coordinates that are standard normal under the prior.
    log_post : ndarray, shape (n_draws,)
        Log of prior exp(-x^2 / 2), not normalised, times likelihood at the draws.
    ess : float
        Independent draws that they are worth.
    log_density : callable
        The same function for new points.
    rng : `~numpy.random.Generator`
        Source of chance.
    n : int
        Draws of the proposal.

    Returns
    -------
    log_evidence, error : float
        Natural logarithms.

    Notes
    -----
    The optimal bridge of Meng & Wong (1996) between the posterior and a multivariate Student t of five degrees of
    freedom with the mean and covariance of half of the draws; the other half enters the estimate, so that no draw
    judges itself. The error follows Fruehwirth-Schnatter (2004).
    """
    n_dim = points.shape[1]
    even, odd = points[::2], points[1::2]
    post = log_post[1::2]
    if len(odd) > n:
        pick = np.linspace(0, len(odd) - 1, n).astype(int)
        odd, post = odd[pick], post[pick]
    mean, covariance = even.mean(axis=0), np.atleast_2d(np.cov(even.T))
    try:
        root = np.linalg.cholesky(covariance + 1e-12 * np.eye(n_dim))
    except np.linalg.LinAlgError:
        return math.nan, math.nan
    dof = 5.0
    shape = root * math.sqrt((dof - 2.0) / dof)
    log_det = float(np.log(np.diag(shape)).sum())
    norm = math.lgamma((dof + n_dim) / 2) - math.lgamma(dof / 2) - 0.5 * n_dim * math.log(dof * math.pi) - log_det

    def log_t(x: FloatArray) -> FloatArray:
        y = np.linalg.solve(shape, (x - mean).T)
        return np.asarray(norm - 0.5 * (dof + n_dim) * np.log1p((y**2).sum(axis=0) / dof))

    normal = rng.standard_normal((n, n_dim)) * np.sqrt(dof / rng.chisquare(dof, (n, 1)))
    proposed = mean + normal @ shape.T
    prior_norm = -0.5 * n_dim * math.log(2.0 * math.pi)
    with np.errstate(over="ignore"):
        at_proposed = log_density(proposed) + prior_norm - log_t(proposed)
        at_draws = post + prior_norm - log_t(odd)
    anchor = float(np.median(at_draws))
    l1, l2 = np.exp(at_draws - anchor), np.exp(at_proposed - anchor)
    n1, n2 = max(min(ess / 2.0, float(len(odd))), 1.0), float(n)
    s1, s2 = n1 / (n1 + n2), n2 / (n1 + n2)
    ratio = 1.0
    for _ in range(500):
        upper = float(np.mean(l2 / (s1 * l2 + s2 * ratio)))
        lower = float(np.mean(1.0 / (s1 * l1 + s2 * ratio)))
        if not (upper > 0 and lower > 0):
            return math.nan, math.nan
        new = upper / lower
        if abs(math.log(new / ratio)) < 1e-8:
            ratio = new
            break
        ratio = new
    f1 = 1.0 / (s1 * l1 / ratio + s2)
    f2 = (l2 / ratio) / (s1 * l2 / ratio + s2)
    error = math.sqrt(float(f1.var() / f1.mean() ** 2) / n1 + float(f2.var() / f2.mean() ** 2) / n2)
    return anchor + math.log(ratio), error


# ---- inside ------------------------------------------------------------------------------------


def _work(problem: tuple[Any, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    stellar, nodes = problem[8], problem[16]
    return np.empty(stellar.shape[2]), np.empty(stellar.shape[3]), np.empty((3, 40 * nodes.shape[1]))


def start_walkers(
    log_density: Callable[[FloatArray], FloatArray], n_dim: int, n_walkers: int, rng: np.random.Generator
) -> FloatArray:
    """Return walkers: prior draws, resampled by their likelihood to a power at which a good part of them counts.

    Parameters
    ----------
    log_density : callable
        Log posterior of points, shape (m, n_dim) to (m,).
    n_dim, n_walkers : int
        Shape of the result.
    rng : `~numpy.random.Generator`
        Source of chance.

    Returns
    -------
    ndarray, shape (n_walkers, n_dim)
        Different rows, all of finite density.

    Raises
    ------
    ScLabError
        If no point of the prior has a likelihood.
    """
    points = rng.standard_normal((3000, n_dim))
    log_like = log_density(points) + 0.5 * (points**2).sum(axis=1)
    good = np.isfinite(log_like)
    if not good.any():
        msg = "no draw of the prior has a finite likelihood; check the errors and the limits of the priors"
        raise ScLabError(msg)
    points, log_like = points[good], log_like[good] - log_like[good].max()
    power = 1.0
    for _ in range(60):
        weight = np.exp(power * log_like)
        if weight.sum() ** 2 / (weight**2).sum() >= min(2.0 * n_walkers, 0.5 * len(points)):
            break
        power *= 0.7
    out: FloatArray = np.empty((0, n_dim))
    while len(out) < n_walkers:
        # Equal walkers would span no direction.
        chosen = rng.choice(len(points), n_walkers, p=weight / weight.sum())
        moved = points[chosen] + 0.05 * rng.standard_normal((n_walkers, n_dim))
        out = np.concatenate([out, moved[np.isfinite(log_density(moved))]])
    return np.ascontiguousarray(out[:n_walkers])


def _gaussian(points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, Cholesky factor of a slightly wider covariance, and its inverse."""
    covariance = 1.1 * np.atleast_2d(np.cov(points.T)) + 1e-9 * np.eye(points.shape[1])
    root = np.linalg.cholesky(covariance)
    return points.mean(axis=0), np.ascontiguousarray(root), np.ascontiguousarray(np.linalg.inv(root))


def _cautions(ess: float, r_hat: float, kept: int, tau: float, acceptance: float) -> tuple[str, ...]:
    out = []
    if ess < 400:
        out.append(f"the draws are worth only {ess:.0f} independent ones; quantiles are noisy: allow more steps")
    if r_hat > 1.05:
        out.append(
            f"ensembles from separate starts do not agree (R-hat {r_hat:.2f}, 1 is agreement): the posterior may have "
            "several modes; allow more steps and look at it with another seed"
        )
    if kept < _LENGTHS * tau:
        out.append(f"the chain keeps {kept} steps, only {kept / tau:.0f} autocorrelation times: allow more steps")
    if not 0.05 <= acceptance <= 0.95:
        out.append(f"{acceptance:.0%} of the proposals were accepted; between 10 and 60 % is usual")
    return tuple(out)
