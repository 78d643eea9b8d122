"""Turn the draws of the grid engine into a result: derived quantities, best model, cautions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from sc_lab.sed._library_limits import unchanging_metallicities
from sc_lab.sed.priors import Fixed, Gaussian, LogUniform, Priors
from sc_lab.sed.results import SedFit
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed._photometry import Photometry
    from sc_lab.sed._posterior import Draws
    from sc_lab.sed._posterior_grid import Grid
    from sc_lab.sed.model import SedModel

__all__ = ["FEW_DRAWS", "summarise"]

#: Effective draws below which medians and widths are uncertain.
FEW_DRAWS = 400
#: Share of the posterior in the outer fiftieth of a prior's range that deserves a word.
_AT_EDGE = 0.25
#: A worse chi-squared comes by chance once in ten thousand times.
_POOR_FIT = 1e-4
#: AB magnitude of 1 nJy.
_AB_NJY = 31.4
_LN10 = float(np.log(10.0))


def summarise(
    data: Photometry,
    model: SedModel,
    priors: Priors,
    grid: Grid,
    draws: Draws,
    cosmology: FLRW | None,
    said: tuple[str, ...],
    seed: list[int],
) -> SedFit:
    """Return the result of one source.

    Parameters
    ----------
    data : Photometry
        The source.
    model : SedModel
        The model.
    priors : Priors
        As they hold at its redshift.
    grid : Grid
        Of its redshift.
    draws : Draws
        From the compiled loops.
    cosmology : FLRW, optional
        The cosmology.
    said : tuple of str
        Cautions known before the fit.
    seed : list of int
        The seed of the call and the source, for the record.

    Returns
    -------
    SedFit
        The result.
    """
    samples = _quantities(grid, draws.points, draws.flux[:, -1].astype(np.float64))
    best_flux = draws.best[6 : 6 + grid.n_band + 1]
    best_values = _quantities(grid, draws.best[None, :5], best_flux[-1:])
    best = {name: float(values[0]) for name, values in best_values.items()}
    used = data.used[0]
    sentences = (*said, *_cautions(data, priors, grid, draws, samples))
    return SedFit(
        samples=samples,
        weights=np.ones(len(draws.points)),
        bands=data.bands,
        flux=np.where(used, data.flux[0], np.nan),
        flux_err=np.where(used, data.flux_err[0], np.nan),
        z=float(data.z[0]),
        model=model,
        priors=priors,
        log_evidence=draws.log_evidence,
        ess=draws.ess,
        best=best,
        best_chi2=max(float(draws.best[5]), 0.0),  # a sum of squares, but for rounding
        best_flux=best_flux[:-1].copy(),
        draw_flux=draws.flux[:, :-1],
        filters=data.filters,
        engine="grid",
        cautions=sentences,
        distance=data.distance,
        cosmology=cosmology,
        error_floor=data.error_floor,
        shape_err=data.shape_err[0] if data.shape_err.any() else None,
        meta={"seed": seed, "rounds": draws.rounds, "n_cell": draws.n_cell, "n_importance": draws.n_importance},
    )


def _quantities(grid: Grid, points: FloatArray, flux_v: FloatArray) -> dict[str, FloatArray]:
    """Return parameters and what follows from them."""
    state = np.clip(np.searchsorted(grid.cumulative, points[:, 3], side="right") - 1, 0, grid.age_low.size - 1)
    inside = (points[:, 3] - grid.cumulative[state]) / (grid.cumulative[state + 1] - grid.cumulative[state])
    age = grid.age_low[state] + inside * (grid.age_high[state] - grid.age_low[state])
    metallicity, a_v, log_u = (np.exp(points[:, d]) if grid.axes[d, 2] else points[:, d].copy() for d in range(3))
    log_formed = points[:, 4] / _LN10
    formed = 10.0**log_formed
    mag_v = _AB_NJY - 2.5 * np.log10(np.maximum(flux_v, 1e-300))
    middle = 0.5 * (grid.age_low[state] + grid.age_high[state])
    return {
        "age": age,
        # A state stands for ages of 0.0025 dex around its own.
        "age_mw": grid.age_mw[state] * age / middle,
        "log_mass": log_formed + np.log10(_living(grid, state, metallicity)),
        "log_mass_formed": log_formed,
        "metallicity": metallicity,
        "a_v": a_v,
        "log_u": log_u,
        "sfr10": formed * grid.sfr10[state],
        "sfr100": formed * grid.sfr100[state],
        "mag_v_obs": mag_v,
        "abs_mag_v": mag_v + grid.magnitude_offset,
    }


def _living(grid: Grid, state: Any, metallicity: FloatArray) -> FloatArray:
    """Return living over formed mass, linear in metallicity between the library's."""
    nodes = grid.live_nodes
    if nodes.size == 1:
        return np.asarray(grid.live[state, 0])
    upper = np.clip(np.searchsorted(nodes, metallicity), 1, nodes.size - 1)
    part = np.clip((metallicity - nodes[upper - 1]) / (nodes[upper] - nodes[upper - 1]), 0.0, 1.0)
    live = grid.live
    return np.asarray((1.0 - part) * live[state, upper - 1] + part * live[state, upper])


def _cautions(
    data: Photometry, priors: Priors, grid: Grid, draws: Draws, samples: dict[str, FloatArray]
) -> tuple[str, ...]:
    """Return what the user should know, a sentence each."""
    said = []
    used = data.used[0]
    n_used = int(used.sum())
    if draws.ess < FEW_DRAWS:
        said.append(f"only {draws.ess:.0f} effective draws: medians and widths are uncertain")
    if n_used < 2:
        said.append("one band has no colour: age, dust and metallicity follow their priors")
    signal = data.flux[0][used] / data.flux_err[0][used]
    if not (signal > 3.0).any():
        said.append("no band is detected at 3 sigma: the mass is an upper limit that its prior shapes")
    probability = float(special.gammaincc(0.5 * n_used, 0.5 * max(draws.best[5], 0.0)))
    if probability < _POOR_FIT:
        said.append(f"no model fits: the best one has chi2 = {draws.best[5]:.1f} in {n_used} bands")
    said += unchanging_metallicities(priors.metallicity, grid.live_nodes)
    if not grid.has_gas and not isinstance(priors.log_u, Fixed):
        said.append("the model has no gas: log U follows its prior")
    for name in ("age", "log_mass_formed", "metallicity", "a_v"):
        said += _edges(name, getattr(priors, name), samples[name])
    return tuple(said)


def _edges(name: str, prior: Any, values: FloatArray) -> list[str]:
    """Return a sentence for each end of a prior at which the posterior piles up."""
    if isinstance(prior, (Fixed, Gaussian)):
        return []
    log = isinstance(prior, LogUniform) or name == "age"
    low, high = (np.log(max(prior.low, 1e-3)), np.log(prior.high)) if log else (prior.low, prior.high)
    x = np.log(np.maximum(values, 1e-3)) if log else values
    step = (high - low) / 50
    said = []
    for end, share in ((prior.low, np.mean(x < low + step)), (prior.high, np.mean(x > high - step))):
        # Dust ends at zero and stars at the age of the Universe whatever the prior.
        natural = (name == "a_v" and end == 0.0) or (name == "age" and end == prior.high)
        if share > _AT_EDGE and not natural:
            said.append(f"{name} piles up at the end of its prior, {end:g}: widen the prior or doubt the fit")
    return said
