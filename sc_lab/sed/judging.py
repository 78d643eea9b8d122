"""Have bagpipes judge a fit of the live engine: the same data and priors, side by side, in the background if wanted."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.table import Table

from sc_lab.errors import InputError
from sc_lab.sed._bagpipes_process import Report
from sc_lab.sed._continuity import StudentT
from sc_lab.sed.bagpipes_engine import fit_with_bagpipes
from sc_lab.sed.priors import LogUniform, Priors, Uniform
from sc_lab.sed.results import SedFit, SedFits

__all__ = ["Judging", "compare", "judge", "open_judge"]

_BAND = (0.16, 0.5, 0.84)
#: Chi-squared by which a best model must be worse to say that the better solution was missed, not just not hit.
_MISSED = 9.0


def judge(
    fit: SedFit | SedFits,
    *,
    n_live: int = 2000,
    sampler: str = "nautilus",
    n_eff: int = 0,
    n_draws: int = 1000,
    log_age: bool = False,
    rng: np.random.Generator | int | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[Report], None] | None = None,
    cancel: Any = None,
    executor: Executor | None = None,
) -> Any:
    """Fit the data of a fit anew with bagpipes and a nested sampler.

    Parameters
    ----------
    fit : SedFit or SedFits
        What is to be judged. Data, priors, error floor and model are taken from it; bagpipes computes what
        ``mode="compat"`` reproduces, so that fits in that mode are comparable to the last digit.
    n_live : int, optional
        Live points; few miss young solutions (`fit_with_bagpipes` says why), and `compare` says when it sees that.
    sampler : {"nautilus", "multinest"}, optional
        The nested sampler.
    n_eff : int, optional
        Effective draws that nautilus goes on for after it has explored.
    n_draws : int, optional
        Draws that are returned.
    log_age : bool, optional
        Whether bagpipes samples ages evenly in their logarithm where the prior is flat in age, and the draws are
        given weights afterwards that restore the prior. It finds young solutions that no number of live points
        in reach finds otherwise; it is no longer the run that a paper with the flat prior quotes.
    rng : Generator or int, optional
        Source of randomness or its seed.
    progress : callable, optional
        Called with thousandths done and 1000.
    report : callable, optional
        Called with a report of model calls and fraction of one source.
    cancel : object with ``is_set()``, optional
        Once set, the worker is killed.
    executor : `concurrent.futures.Executor`, optional
        Judges many fits side by side.

    Returns
    -------
    SedFit or SedFits
        As bagpipes finds it; nothing of the fit that is judged enters.

    Raises
    ------
    InputError
        If the fits are of several models or sets of bands, or bagpipes cannot compute the model.
    ScLabError
        If cancelled, or if the worker ends without an answer.
    """
    many = list(fit) if isinstance(fit, SedFits) else [fit]
    if not many:
        return SedFits([])
    first = many[0]
    if "z" in first.samples:
        msg = "the redshift was fitted too, which bagpipes is not asked to do here; judge a fit at one redshift"
        raise InputError(msg)
    alike = ("bands", "model", "distance", "error_floor")
    for other in many[1:]:
        differs = [name for name in alike if getattr(other, name) != getattr(first, name)]
        if differs:
            msg = f"the fits differ in {', '.join(differs)}; judge those that agree together, or one by one"
            raise InputError(msg)
    shapes = [other.shape_err for other in many]
    some = any(shape is not None for shape in shapes)
    blank = np.zeros(len(first.bands))
    steps = first.meta.get("continuity_prior")
    found = fit_with_bagpipes(
        np.stack([other.flux for other in many]),
        np.stack([other.flux_err for other in many]),
        first.bands,
        np.array([other.z for other in many]),
        model=first.model,
        priors=[_in_log_age(other.priors) if log_age else other.priors for other in many],
        continuity=None if steps is None else StudentT(scale=steps["scale"], limit=steps["high"]),
        sampler=sampler,
        n_live=n_live,
        n_eff=n_eff,
        n_draws=n_draws,
        shape_err=np.stack([blank if shape is None else shape for shape in shapes]) if some else None,
        error_floor=first.error_floor,
        filters=first.filters,
        distance=first.distance,
        cosmology=first.cosmology,
        rng=rng,
        progress=progress,
        report=report,
        cancel=cancel,
        executor=executor,
    )
    if log_age and isinstance(found, SedFits):
        found = SedFits([_restored(each, other.priors) for each, other in zip(found, many, strict=True)])
    return next(iter(found)) if isinstance(fit, SedFit) and isinstance(found, SedFits) else found


def _in_log_age(priors: Priors) -> Priors:
    """Return priors that are even in the logarithm of the age instead of in the age."""
    age = priors.age
    return replace(priors, age=LogUniform(max(age.low, 1.0), age.high)) if isinstance(age, Uniform) else priors


def _restored(judged: SedFit, priors: Priors) -> SedFit:
    """Return a fit with a prior even in the logarithm of the age as one with the prior that was meant."""
    sampled = judged.priors.age
    if sampled == priors.age or "age" not in judged.samples:
        return judged
    ages = judged.samples["age"]
    log_weight = priors.age.log_density(ages) - sampled.log_density(ages)
    top = float(log_weight.max())
    weight = np.exp(log_weight - top)
    share = float(weight.sum() ** 2 / (weight.size * (weight**2).sum()))
    return replace(
        judged,
        weights=weight,
        priors=priors,
        # The evidence of the one prior over that of the other is the mean of their ratio over the draws.
        log_evidence=judged.log_evidence + top + math.log(float(weight.mean())),
        ess=judged.ess * share,
        meta={**judged.meta, "ages_sampled": "evenly in the logarithm, weighted back"},
    )


def compare(fit: SedFit, judged: SedFit) -> Table:
    """Return medians and widths of two fits side by side.

    Parameters
    ----------
    fit, judged : SedFit
        The fit and its judge's, or any two of the same data.

    Returns
    -------
    `~astropy.table.Table`
        One row for each quantity that both have and either left free: ``median`` and ``width`` (half of the 68 %
        interval) of both, ``difference`` (fit minus judged), the same ``in_sigma`` (over the mean of the two widths),
        ``width_ratio``. ``meta`` holds ``log_evidence`` and ``best_chi2`` of both, ``log_evidence_difference`` and its
        ``log_evidence_err`` as far as the samplers state it (None if they do not), ``engines`` and ``cautions``.
    """
    rows = []
    for name in fit.names:
        if name not in judged.names:
            continue
        a, b = fit.quantile(name, _BAND), judged.quantile(name, _BAND)
        widths = 0.5 * (a[2] - a[0]), 0.5 * (b[2] - b[0])
        difference, mean = a[1] - b[1], 0.5 * (widths[0] + widths[1])
        if mean > 0:
            ratio = widths[0] / widths[1] if widths[1] > 0 else math.inf
            rows.append((name, a[1], widths[0], b[1], widths[1], difference, difference / mean, ratio))
    names = ("name", "median", "width", "judge_median", "judge_width", "difference", "in_sigma", "width_ratio")
    table = Table(rows=rows, names=names) if rows else Table(names=names, dtype=["U16", *["f8"] * 7])
    errors = [each.meta.get("log_evidence_err") for each in (fit, judged)]
    known = [float(error) for error in errors if error is not None]
    table.meta.update(
        engines=(fit.engine, judged.engine),
        log_evidence=(float(fit.log_evidence), float(judged.log_evidence)),
        log_evidence_difference=float(fit.log_evidence - judged.log_evidence),
        log_evidence_err=math.hypot(*known) if known else None,
        best_chi2=(float(fit.best_chi2), float(judged.best_chi2)),
        cautions=(*_said(fit, judged), *judged.cautions),
    )
    return table


def _said(fit: SedFit, judged: SedFit) -> tuple[str, ...]:
    """Return in words what makes two fits hard to compare."""
    said = []
    if fit.model.mode != judged.model.mode:
        said.append(
            f"the fit is in mode {fit.model.mode!r}, the judge in {judged.model.mode!r}: ages and lines are sampled "
            "differently, so that medians may differ by more than the samplers' noise"
        )
    if judged.best_chi2 > fit.best_chi2 + _MISSED:
        said.append(
            f"the judge's best model has chi2 = {judged.best_chi2:.1f}, the fit's {fit.best_chi2:.1f}: the sampler "
            "missed the better solution; give log_age=True, or more live points"
        )
    return tuple(said)


class Judging:
    """A judge at work in the background; `open_judge` starts one.

    It answers like a `concurrent.futures.Future`. When the program ends, so does the worker.
    """

    def __init__(self, fit: SedFit, options: dict[str, Any]) -> None:
        self._future: Future[SedFit] = Future()
        self._stop = threading.Event()
        self._state = (0.0, "starting bagpipes")
        self._future.set_running_or_notify_cancel()
        # A daemon: the program may end at once, and its end is the worker's too.
        threading.Thread(target=self._work, args=(fit, options), daemon=True, name="sc-lab-judge").start()

    def _work(self, fit: SedFit, options: dict[str, Any]) -> None:
        try:
            judged = judge(fit, report=self._note, cancel=self._stop, **options)
        except BaseException as problem:  # noqa: BLE001 - it is raised again where the result is asked for
            self._state = (self._state[0], "cancelled" if self._stop.is_set() else "failed")
            self._future.set_exception(problem)
        else:
            self._state = (1.0, f"done after {judged.meta['n_calls']:,} models")
            self._future.set_result(judged)

    def _note(self, report: Report) -> None:
        calls = f"{report.calls:,} models computed" if report.calls else "bagpipes is starting"
        self._state = (max(self._state[0], report.fraction), f"{calls}, about {100 * report.fraction:.0f} %")

    @property
    def progress(self) -> tuple[float, str]:
        """Fraction done, never falling, and the same in words."""
        return self._state

    def cancel(self) -> None:
        """Kill the worker at once; `result` then raises, as it does after any failure."""
        self._stop.set()

    @property
    def was_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stop.is_set()

    def done(self) -> bool:
        """Return whether the judge has come to an end, by an answer or otherwise.

        Returns
        -------
        bool
            True once `result` does not wait.
        """
        return self._future.done()

    def result(self, timeout: float | None = None) -> SedFit:
        """Return what bagpipes finds, waiting for it.

        Parameters
        ----------
        timeout : float, optional
            Most seconds to wait; None waits.

        Returns
        -------
        SedFit
            The judge's fit.

        Raises
        ------
        TimeoutError
            If it is not there in time.
        ScLabError
            If it was cancelled or the worker failed.
        """
        return self._future.result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what went wrong, waiting for the end.

        Parameters
        ----------
        timeout : float, optional
            Most seconds to wait; None waits.

        Returns
        -------
        BaseException or None
            None when all went well.
        """
        return self._future.exception(timeout)

    def add_done_callback(self, callback: Callable[[Judging], Any]) -> None:
        """Call a function with this object at the end; it runs in the judge's thread, or at once if the end is past.

        Parameters
        ----------
        callback : callable
            Its return value is ignored.
        """
        self._future.add_done_callback(lambda _: callback(self))


def open_judge(
    fit: SedFit,
    *,
    n_live: int = 2000,
    sampler: str = "nautilus",
    n_eff: int = 0,
    n_draws: int = 1000,
    log_age: bool = False,
    rng: np.random.Generator | int | None = None,
) -> Judging:
    """Start judging a fit in the background.

    Parameters
    ----------
    fit : SedFit
        What is to be judged.
    n_live : int
        Live points.
    sampler : {"nautilus", "multinest"}
        The nested sampler.
    n_eff : int
        Effective draws that nautilus goes on for after it has explored.
    n_draws : int
        Draws that are returned.
    log_age : bool
        Whether ages are sampled evenly in their logarithm and weighted back, as in `judge`.
    rng : Generator or int, optional
        Source of randomness or its seed.

    Returns
    -------
    Judging
        With ``progress``, ``cancel()``, ``done()``, ``result(timeout)`` and ``add_done_callback``.
    """
    options = {"n_live": n_live, "sampler": sampler, "n_eff": n_eff, "n_draws": n_draws, "log_age": log_age, "rng": rng}
    return Judging(fit, options)
