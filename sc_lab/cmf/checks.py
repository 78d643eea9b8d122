"""Posterior-predictive checks: whether the fitted mass function describes the sample at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sc_lab.cmf.fit import MassFunctionFit
from sc_lab.cmf.models import mass_function
from sc_lab.cmf.selection import with_selection
from sc_lab.errors import InputError
from sc_lab.inference.mcmc import whole_number
from sc_lab.units import MASS, FloatArray, value_in

__all__ = ["PredictiveCheck", "posterior_predictive"]


@dataclass(frozen=True, kw_only=True)
class PredictiveCheck:
    """Chances that data drawn from the fit lie as far from it as the sample does.

    Attributes
    ----------
    ks : float
        By the Kolmogorov-Smirnov distance.
    anderson_darling : float
        By the Anderson-Darling distance, which weighs the tails more.
    n_draws : int
        Posterior draws used; the chances come in steps of one over this.
    """

    ks: float
    anderson_darling: float
    n_draws: int


def posterior_predictive(
    mass: Any, fit: MassFunctionFit, *, n_draws: int = 1000, rng: np.random.Generator | int | None = None
) -> PredictiveCheck:
    """Compare a sample with data drawn from its fit.

    Parameters
    ----------
    mass : `~astropy.units.Quantity` or array_like
        The masses that were fitted [Msun]; those outside the fit's limits are left out.
    fit : MassFunctionFit
        The fit.
    n_draws : int
        Number of posterior draws.
    rng : int or `~numpy.random.Generator`, optional
        Seed or source of chance.

    Returns
    -------
    PredictiveCheck
        Small values say that the model does not describe the sample.

    Raises
    ------
    InputError
        If the masses are not those of the fit, or the number of draws is impossible.

    Notes
    -----
    For each posterior draw the distance of the sample from that model is compared with the distance of
    a mock sample drawn from it (Gelman, Meng & Stern 1996). The cumulative probabilities of a mock
    sample are uniform numbers, so none needs to be inverted. With a selection the sample is compared with detected
    masses; where each object has its own chance to be detected, with its own distribution.
    """
    values = value_in(mass, MASS, "mass")
    values = values[(values >= fit.m_min) & (values < fit.m_max)]
    if len(values) != fit.n:
        msg = (
            f"{len(values)} masses lie inside the limits of the fit, which was made from {fit.n}; give the same masses"
        )
        raise InputError(msg)
    whole_number("n_draws", n_draws, 1, "so many posterior draws are compared")
    generator = np.random.default_rng(rng)
    draws = fit.draw(int(n_draws), rng=generator)
    above = _above(values, fit, draws)
    mock = np.sort(generator.random(above.shape), axis=1)
    chances = [
        float(np.mean(distance(mock) >= distance(1.0 - above))) for distance in (_kolmogorov_smirnov, _anderson_darling)
    ]
    return PredictiveCheck(ks=chances[0], anderson_darling=chances[1], n_draws=int(n_draws))


def _above(values: FloatArray, fit: MassFunctionFit, draws: FloatArray) -> FloatArray:
    """Return the chance of each object to exceed its mass for every draw, shape (draws, n), falling along a row."""
    if fit.selection is None or fit.selection.n_objects is None:
        above = fit.cumulative(values, parameters={name: draws[:, i] for i, name in enumerate(fit.parameters)}) / fit.n
    else:
        plain = mass_function(fit.model, fit.m_min, None if math.isinf(fit.m_max) else fit.m_max)
        above = np.empty((len(draws), len(values)))
        for k in range(len(values)):
            own = with_selection(plain, fit.selection.rows([k]))
            above[:, k] = own.survival(values[k : k + 1], *draws.T)[:, 0]
    return np.asarray(-np.sort(-above, axis=1), dtype=np.float64)


def _kolmogorov_smirnov(uniform: FloatArray) -> FloatArray:
    """Return the largest distance of sorted probabilities, shape (k, n), from a uniform distribution."""
    n = uniform.shape[1]
    rank = np.arange(1, n + 1) / n
    return np.asarray(np.maximum((rank - uniform).max(axis=1), (uniform - rank + 1 / n).max(axis=1)))


def _anderson_darling(uniform: FloatArray) -> FloatArray:
    """Return the Anderson-Darling distance of sorted probabilities, shape (k, n), from a uniform distribution."""
    n = uniform.shape[1]
    # A mass equal to m_min has the probability 0, whose logarithm is kept finite.
    u = np.clip(uniform, 1e-12, 1.0 - 1e-12)
    odd = 2 * np.arange(1, n + 1) - 1
    return np.asarray(-n - ((np.log(u) + np.log1p(-u[:, ::-1])) @ odd) / n)
