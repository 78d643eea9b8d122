"""The emcee adapter: a seeded, interruptible run that reports how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError, ScLabError
from sc_lab.inference.summary import weighted_quantile
from sc_lab.units import FloatArray

__all__ = ["Chain", "run_emcee", "whole_number"]


@dataclass(frozen=True, eq=False)
class Chain:
    """Draws of a finished run.

    Attributes
    ----------
    draws : ndarray
        Shape (n_draws, n_parameters), the steps of all walkers after the discarded ones.
    log_density : ndarray
        Shape (n_draws,).
    acceptance : float
        Mean accepted fraction of the proposals.
    autocorrelation_time : ndarray
        Integrated autocorrelation time of each parameter, in steps; NaN where it cannot be estimated.
    n_steps, n_discard, n_walkers : int
        What was run.
    warnings : tuple of str
        Plain sentences on what limits the result.
    """

    draws: FloatArray
    log_density: FloatArray
    acceptance: float
    autocorrelation_time: FloatArray
    n_steps: int
    n_discard: int
    n_walkers: int
    warnings: tuple[str, ...]

    @property
    def log_evidence(self) -> float:
        """NaN: a chain does not give the evidence."""
        return float("nan")

    def quantile(self, axis: int, q: npt.ArrayLike) -> FloatArray:
        """Return quantiles of one parameter.

        Parameters
        ----------
        axis : int
            Which parameter.
        q : array_like
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray
            Shape of ``q``.
        """
        return weighted_quantile(self.draws[:, axis], q)

    def curve(self, axis: int, *, points: int = 64) -> tuple[FloatArray, FloatArray]:
        """Return the histogram of one parameter as a density.

        Parameters
        ----------
        axis : int
            Which parameter.
        points : int
            Number of bins.

        Returns
        -------
        x, density : ndarray
            Bin centres and density, shape (points,).
        """
        density, edges = np.histogram(self.draws[:, axis], bins=points, density=True)
        return (edges[1:] + edges[:-1]) / 2, np.asarray(density, dtype=np.float64)

    def joint(self, points: int = 40) -> tuple[tuple[FloatArray, ...], FloatArray]:
        """Return the histogram of all parameters as a density.

        Parameters
        ----------
        points : int
            Bins per parameter.

        Returns
        -------
        axes : tuple of ndarray
            Bin centres of each parameter.
        density : ndarray
            Shape (points,) or (points, points).
        """
        density, edges = np.histogramdd(self.draws, bins=points, density=True)
        return tuple((edge[1:] + edge[:-1]) / 2 for edge in edges), np.asarray(density, dtype=np.float64)

    def draw(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Pick draws of the chain at random.

        Parameters
        ----------
        n : int
            Number of draws.
        rng : `~numpy.random.Generator`
            Source of chance.

        Returns
        -------
        ndarray
            Shape (n, n_parameters); without repetition while n is not larger than the chain.
        """
        return self.draws[rng.choice(len(self.draws), n, replace=n > len(self.draws))]


def run_emcee(
    log_density: Callable[[FloatArray], FloatArray],
    start: FloatArray,
    *,
    names: Sequence[str],
    n_steps: int = 600,
    n_discard: int = 100,
    rng: np.random.Generator | int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Chain:
    """Run the affine-invariant sampler of emcee (Foreman-Mackey et al. 2013).

    Parameters
    ----------
    log_density : callable
        Logarithm of the unnormalised posterior of points of shape (m, n_parameters), as shape (m,).
    start : ndarray
        Starting points, shape (n_walkers, n_parameters), all with a finite density.
    names : sequence of str
        Names of the parameters, for the warnings.
    n_steps, n_discard : int
        Steps run, and how many of the first of them are left out.
    rng : int or `~numpy.random.Generator`, optional
        Seed; None draws one from the operating system.
    progress : callable, optional
        Called as ``progress(done, n_steps)`` after each step.
    cancel : callable, optional
        Asked after each step; the run stops with an error once it answers True.

    Returns
    -------
    Chain
        The draws, with acceptance, autocorrelation times and warnings.

    Raises
    ------
    InputError
        If the options do not make a run.
    ScLabError
        If the run was cancelled.
    """
    start = np.asarray(start, dtype=np.float64)
    n_walkers, n_parameters = start.shape
    whole_number("n_walkers", n_walkers, 2 * n_parameters, "emcee moves each half of the walkers by the other")
    whole_number("n_steps", n_steps, 1, "each walker takes that many steps")
    whole_number("n_discard", n_discard, 0, "so many first steps are left out")
    if n_discard >= n_steps:
        msg = f"n_discard is {n_discard} of {n_steps} steps, which leaves none; give an n_discard below n_steps"
        raise InputError(msg)
    from emcee import EnsembleSampler

    sampler = EnsembleSampler(n_walkers, n_parameters, log_density, vectorize=True)
    # emcee keeps a legacy generator; its bit generator is seeded from ours.
    seed = int(np.random.default_rng(rng).integers(2**63))
    sampler.random_state = np.random.MT19937(seed).state
    for done, _ in enumerate(sampler.sample(start, iterations=n_steps, skip_initial_state_check=True), start=1):
        if progress is not None:
            progress(done, n_steps)
        if cancel is not None and cancel():
            msg = f"the run was cancelled after {done} of {n_steps} steps; nothing of it is kept"
            raise ScLabError(msg)
    acceptance = float(np.mean(sampler.acceptance_fraction))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = np.asarray(sampler.get_autocorr_time(discard=n_discard, tol=0), dtype=np.float64)
    warnings = []
    for name, time in zip(names, tau, strict=True):
        kept = n_steps - n_discard
        if not np.isfinite(time):
            warnings.append(f"the autocorrelation time of {name} cannot be estimated from {kept} steps")
        elif kept < 50 * time:
            warnings.append(
                f"the chain keeps {kept} steps, only {kept / time:.0f} autocorrelation times of {name} "
                f"({time:.0f} steps); 50 are advised: set n_steps to at least {int(50 * time) + n_discard}"
            )
    if not 0.1 <= acceptance <= 0.95:
        warnings.append(f"{acceptance:.0%} of the proposals were accepted; between 20 and 80 % is usual")
    return Chain(
        draws=np.asarray(sampler.get_chain(discard=n_discard, flat=True), dtype=np.float64),
        log_density=np.asarray(sampler.get_log_prob(discard=n_discard, flat=True), dtype=np.float64),
        acceptance=acceptance,
        autocorrelation_time=tau,
        n_steps=n_steps,
        n_discard=n_discard,
        n_walkers=n_walkers,
        warnings=tuple(warnings),
    )


def whole_number(name: str, value: object, low: int, why: str) -> None:
    """Refuse, in words, what is not a whole number of at least ``low``.

    Parameters
    ----------
    name : str
        Name of the option.
    value : object
        What was given.
    low : int
        Smallest value allowed.
    why : str
        What the number is for.

    Raises
    ------
    InputError
        If it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        msg = f"{name} is {value!r}; give a whole number of at least {low}: {why}"
        raise InputError(msg)
