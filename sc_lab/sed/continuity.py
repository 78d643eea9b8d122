"""Galaxies: photometry fitted with constant star-formation rates in bins of look-back time under a continuity prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from sc_lab.errors import InputError
from sc_lab.sed._bin_tables import make_bin_tables
from sc_lab.sed._continuity import (
    Problem,
    StudentT,
    log_posterior_reference,
    make_problem,
    parameters_of,
)
from sc_lab.sed._ensemble import (
    EnsembleRun,
    draw_log_masses,
    log_posteriors,
    run_emcee_reference,
    run_ensembles,
    start_walkers,
)
from sc_lab.sed._library_limits import unchanging_metallicities
from sc_lab.sed.priors import Gaussian, LogUniform, Priors, Uniform
from sc_lab.sed.results import SedFit
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.model import SedModel

__all__ = ["SAMPLERS", "StudentT", "fit_continuity"]

SAMPLERS = ("ensemble", "emcee")

#: Steps of each emcee walker; a longer chain is a second call away, and this is the slow path.
_EMCEE_STEPS = 6000

#: A prior edge holds so much of the posterior within a twentieth of the range that it deserves a word.
_AT_EDGE = 0.25

#: A best model whose chi-squared is larger with this probability by chance is none.
_POOR_FIT = 1e-4

#: Turns of the search for the best model, which ends this many sigma of the prior from its middle. A Gaussian of A_V
#: without a limit ends there as well: beyond it lie 3e-7.
_POLISH, _FAR = 80, 5.0


def fit_continuity(
    flux: FloatArray,
    flux_err: FloatArray,
    bands: tuple[str, ...],
    z: float,
    *,
    model: SedModel,
    filters: tuple[Any, ...],
    priors: Priors | None = None,
    continuity: StudentT | None = None,
    shape_err: FloatArray | None = None,
    error_floor: float = 0.03,
    distance: float | None = None,
    sampler: str = "ensemble",
    marginalise_mass: bool = True,
    max_steps: int | None = None,
    n_draws: int = 1000,
    rng: np.random.Generator | int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
    cosmology: FLRW | None = None,
) -> SedFit:
    """Fit one galaxy with a continuity history.

    Parameters
    ----------
    flux, flux_err : ndarray, shape (n_band,)
        Data and errors [nJy]; NaN where there are none.
    bands : tuple of str
        Names of the bands.
    z : float
        Redshift.
    model : SedModel
        With ``sfh="continuity"``; its edges decide the bins.
    filters : tuple of Filter
        The bands' throughputs.
    priors : Priors, optional
        Of mass formed, metallicity, A_V and log U; that of the age has no meaning here.
    continuity : StudentT, optional
        Prior of the steps between bins: two degrees of freedom, scale 0.3 dex.
    shape_err : ndarray, shape (n_band,), optional
        Fractional error common to all bands: one standard normal number scales it and multiplies the model.
    error_floor : float
        Fraction of the flux added in quadrature to its error.
    distance : float, optional
        Luminosity distance [Mpc] when it is not the redshift's.
    sampler : {"ensemble", "emcee"}
        Compiled ensembles, or emcee with the likelihood in plain NumPy: the slow reference.
    marginalise_mass : bool
        Integrate the mass out, and draw it afterwards; else it is sampled like the rest.
    max_steps : int, optional
        Most steps of each walker.
    n_draws : int
        Draws in the result; all have the same weight.
    rng : Generator, int, optional
        Source of randomness or its seed.
    progress : callable, optional
        Called with steps done and their largest number.
    cancel : object with ``is_set()``, optional
        When set, the fit stops.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means the house default.

    Returns
    -------
    SedFit
        With ``dsfr1`` ... (log SFR of the younger bin minus that of the older, the oldest pair first, as bagpipes
        numbers them), ``log_mass_formed``, ``log_mass``, ``metallicity``, ``a_v``, ``log_u``, ``sfr10``, ``sfr100``,
        ``age_mw``, ``mag_v_obs`` and ``abs_mag_v``. There is no ``age``: stars form in every bin. The evidence comes
        from bridge sampling.

    Raises
    ------
    InputError
        If an option is none, or no band has data.
    ScLabError
        If it was cancelled.

    Notes
    -----
    Leja et al. 2019 (ApJ 876, 3): the rate is constant in each bin, and the logarithm of the ratio of neighbouring
    rates has a Student t prior of two degrees of freedom. For given ratios the history is one weight for each bin, so
    flux = M sum_i w_i T_i(metallicity, A_V, log U) with a table T_i for each. Bins end below the age of the Universe.
    """
    if sampler not in SAMPLERS:
        msg = f"sampler is {sampler!r}; choose one of {', '.join(SAMPLERS)}"
        raise InputError(msg)
    generator = np.random.default_rng(rng)
    priors = Priors() if priors is None else priors
    if isinstance(priors.a_v, Gaussian) and math.isinf(priors.a_v.high):  # tables need a limit
        priors = replace(priors, a_v=replace(priors.a_v, high=priors.a_v.mean + _FAR * priors.a_v.sigma))
    continuity = StudentT() if continuity is None else continuity
    flux, flux_err = np.asarray(flux, dtype=np.float64), np.asarray(flux_err, dtype=np.float64)
    sigma = np.hypot(flux_err, error_floor * np.abs(flux))
    tables = make_bin_tables(
        model, filters, z, a_v_range=(priors.a_v.low, priors.a_v.high), distance=distance, cosmology=cosmology
    )
    problem = make_problem(
        flux, sigma, tables, priors, continuity=continuity, shape_err=shape_err, marginalise_mass=marginalise_mass
    )
    if not len(problem.data):
        msg = "no band has a flux with an error; give at least one finite flux and error"
        raise InputError(msg)

    def log_density(points: FloatArray) -> FloatArray:
        if sampler == "ensemble":
            return log_posteriors(points, problem.packed)
        return log_posterior_reference(points, problem)

    if sampler == "ensemble":
        run = run_ensembles(
            problem.packed,
            problem.n_dim,
            rng=generator,
            max_steps=16_000 if max_steps is None else max_steps,
            progress=progress,
            cancel=cancel,
        )
    else:
        n_walkers = 2 * (problem.n_dim + 10)
        run = run_emcee_reference(
            log_density,
            start_walkers(log_density, problem.n_dim, n_walkers, generator),
            n_steps=_EMCEE_STEPS if max_steps is None else max_steps,
            rng=generator,
            progress=progress,
            cancel=cancel,
        )
    values, draw_flux = _draws(run, problem, n_draws, generator)
    samples = _derived(values, draw_flux, problem)
    best, best_flux, best_chi2 = _best(run, problem, log_density)
    sentences = (*run.cautions, *_cautions(samples, problem, priors, best_chi2))
    return SedFit(
        samples=samples,
        weights=np.ones(n_draws),
        bands=tuple(bands),
        flux=flux,
        flux_err=flux_err,
        z=float(z),
        model=model,
        priors=priors,
        log_evidence=run.log_evidence + problem.log_constant,
        ess=min(run.ess, float(n_draws)),
        best=best,
        best_chi2=best_chi2,
        best_flux=best_flux,
        draw_flux=draw_flux[:, :-1],
        filters=tuple(filters),
        engine="grid",
        cautions=sentences,
        distance=distance,
        cosmology=cosmology,
        error_floor=error_floor,
        shape_err=shape_err,
        meta={
            "sampler": sampler,
            "continuity_prior": continuity.record(),
            "bin_edges_myr": [float(edge) / 1e6 for edge in tables.history.edges],
            "r_hat": run.r_hat,
            "autocorrelation_time": run.autocorrelation_time,
            "acceptance": run.acceptance,
            "n_steps": run.n_steps,
            "chain_ess": run.ess,
            "log_evidence_err": None if math.isnan(run.log_evidence_err) else run.log_evidence_err,
        },
    )


# ---- inside ------------------------------------------------------------------------------------


def _draws(
    run: EnsembleRun, problem: Problem, n: int, rng: np.random.Generator
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Return draws of all parameters with their masses, and their fluxes in the bands and the V band [nJy]."""
    pick = rng.choice(len(run.points), n, replace=n > len(run.points))
    points = run.points[pick]
    values = parameters_of(points, problem)
    unit, scaled = _unit_fluxes(values, problem)
    if problem.marginal:
        aa, ab = (scaled**2).sum(axis=1), (scaled * problem.data / problem.sigma).sum(axis=1)
        kind, numbers, _, nodes = problem.packed[13:]
        values["log_mass_formed"] = draw_log_masses(aa, ab, kind, numbers, nodes, rng)
    return values, unit * 10.0 ** values["log_mass_formed"][:, None]


def _unit_fluxes(values: dict[str, FloatArray], problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Return fluxes of one solar mass in all bands and V, and in the used bands in units of the errors."""
    shares = problem.tables.history.fractions(problem.steps(values))
    unit = problem.tables.fluxes(shares, values["metallicity"], values["log_u"], values["a_v"])
    used = unit[:, np.append(problem.used, False)]
    return unit, used / problem.sigma * (1.0 + values["shape"][:, None] * problem.shape)


def _derived(
    values: dict[str, FloatArray],
    draw_flux: FloatArray,
    problem: Problem,
) -> dict[str, FloatArray]:
    """Return the samples: parameters and what follows from them."""
    tables = problem.tables
    history = tables.history
    shares = history.fractions(problem.steps(values))
    mass = 10.0 ** values["log_mass_formed"]
    live = np.einsum("nk,nz,kz->n", shares, tables.tables.metallicity_weights(values["metallicity"]), history.live)
    samples = {name: value for name, value in values.items() if name != "shape" or (problem.shape > 0).any()}
    samples["log_mass"] = values["log_mass_formed"] + np.log10(live)
    samples["age_mw"] = shares @ history.age_mw / 1e6
    samples["sfr10"] = mass * (shares @ history.sfr10)
    samples["sfr100"] = mass * (shares @ history.sfr100)
    with np.errstate(divide="ignore"):
        samples["mag_v_obs"] = 31.4 - 2.5 * np.log10(draw_flux[:, -1])
    samples["abs_mag_v"] = samples["mag_v_obs"] + tables.tables.magnitude_offset
    return samples


def _best(
    run: EnsembleRun, problem: Problem, log_density: Callable[[FloatArray], FloatArray]
) -> tuple[dict[str, float], FloatArray, float]:
    """Return the model of highest likelihood near the best draw, with the mass that fits it, its fluxes, chi-squared."""

    def likelihood(points: FloatArray) -> FloatArray:
        inside = np.abs(points).max(axis=1) < _FAR
        return np.where(inside, log_density(points) + 0.5 * (points**2).sum(axis=1), -np.inf)

    log_like = run.log_posterior + 0.5 * (run.points**2).sum(axis=1)
    point, highest = run.points[int(np.argmax(log_like))], float(log_like.max())
    # Steps along the axes that shrink where none helps: a chain's best state is a few units of chi-squared off.
    size = np.full(problem.n_dim, 0.3)
    for _ in range(_POLISH):
        trial = point + np.concatenate([np.diag(size), -np.diag(size)])
        found = likelihood(trial)
        at = int(np.argmax(found))
        if found[at] > highest:
            point, highest = trial[at], float(found[at])
            size[at % problem.n_dim] *= 1.5
        else:
            size *= 0.5
    values = parameters_of(point[None], problem)
    unit, scaled = _unit_fluxes(values, problem)
    data = problem.data / problem.sigma
    if problem.marginal:
        low, high = problem.mass.low, problem.mass.high
        mass = float((scaled[0] @ data) / (scaled[0] @ scaled[0]))
        values["log_mass_formed"] = np.array([np.clip(math.log10(max(mass, 1e-300)), low, high)])
    mass = 10.0 ** float(values["log_mass_formed"][0])
    chi2 = float(((data - mass * scaled[0]) ** 2).sum())
    best = {name: float(value[0]) for name, value in values.items() if name != "shape" or (problem.shape > 0).any()}
    return best, mass * unit[0, :-1], chi2


def _cautions(samples: dict[str, FloatArray], problem: Problem, priors: Priors, best_chi2: float) -> tuple[str, ...]:
    """Return what should be known of the result, a sentence each."""
    out = []
    n_used = len(problem.data)
    if float(special.gammaincc(0.5 * n_used, 0.5 * best_chi2)) < _POOR_FIT:
        out.append(f"no model fits: the best one has chi2 = {best_chi2:.1f} in {n_used} bands")
    if not (problem.data > 3.0 * problem.sigma).any():
        out.append("no band is detected at 3 sigma: the mass is an upper limit that its prior shapes")
    for name, unit in (("a_v", " mag"), ("log_mass_formed", "")):
        prior = getattr(priors, name)
        if not isinstance(prior, Uniform | LogUniform):
            continue
        at = prior.cdf(samples[name])
        if float(np.mean(at > 0.95)) > _AT_EDGE:
            out.append(f"the posterior of {name} leans on the upper limit of its prior, {prior.high:g}{unit}: raise it")
    out += unchanging_metallicities(priors.metallicity, problem.tables.tables.metallicity)
    return tuple(out)
