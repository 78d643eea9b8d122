"""An independent posterior: draws from the prior weighed by their likelihood, from dense tables and NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sc_lab.cosmology import clock
from sc_lab.sed import make_tables, model_fluxes
from sc_lab.sed.sfh import state_weights

#: Default priors of `sc_lab.sed.fit_photometry`; ages begin at 1 Myr.
LOG_Z, A_V, LOG_U, LOG_MASS = (-3.0, np.log10(1.5)), (0.0, 1.0), (-3.0, -1.0), (3.0, 15.0)
NAMES = ("log_age", "log_metallicity", "a_v", "log_u")
#: Points of the prior whose weight is this much below the largest, in ln, still lie in the box that is drawn finer.
_DEPTH = 10.0
#: Distinct ages of one set of draws, evenly spread in log age with a random place in each interval.
_N_AGE = 1500
_CHUNK = 8000


@dataclass(frozen=True, eq=False)
class Draws:
    """Points of the unit cube and their fluxes for one solar mass formed."""

    unit: np.ndarray
    flux: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def volume(self) -> float:
        """Share of the unit cube that was drawn from."""
        return float(np.prod(self.high - self.low))


class PriorMonteCarlo:
    """Posteriors at one redshift, by draws that are uniform in log age and re-weighted to the prior in age."""

    def __init__(self, model: Any, bands: Any, z: float, *, n: int, rng: Any) -> None:
        self.model, self.bands, self.z, self.n = model, bands, z, n
        self.rng = np.random.default_rng(rng)
        self.oldest = float(clock().age_myr(np.array(z)))
        self.tables = make_tables(model, bands, z)
        self.wide = self.draw(np.zeros(4), np.ones(4))

    def parameters(self, unit: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values of points of the unit cube; ages are uniform in their logarithm."""
        ends = ((0.0, np.log10(self.oldest)), LOG_Z, A_V, LOG_U)
        return {
            name: low + (high - low) * unit[:, k] for k, (name, (low, high)) in enumerate(zip(NAMES, ends, strict=True))
        }

    def exact(self, unit: np.ndarray) -> np.ndarray:
        """Return the fluxes of points by the reference path, pixel by pixel."""
        values = self.parameters(unit)
        given = {name: values[name] for name in ("a_v", "log_u")}
        given |= {"age": 10 ** values["log_age"], "metallicity": 10 ** values["log_metallicity"]}
        return np.asarray(
            model_fluxes(self.model, self.bands, self.z, given | {"log_mass_formed": np.zeros(len(unit))})
        )

    def draw(self, low: np.ndarray, high: np.ndarray) -> Draws:
        """Draw points from a box in the unit cube."""
        strata = (np.arange(_N_AGE) + self.rng.random(_N_AGE)) / _N_AGE
        pick = np.repeat(np.arange(_N_AGE), self.n // _N_AGE)
        unit = np.concatenate([strata[pick, None], self.rng.random((len(pick), 3))], axis=1)
        unit = low + (high - low) * unit
        tables, values = self.tables, self.parameters(unit)
        ages = 10 ** self.parameters(low + (high - low) * np.repeat(strata[:, None], 4, axis=1))["log_age"]
        weights = state_weights(self.model, ages * 1e6)
        n_bin, n_young = min(weights.shape[1], tables.n_bin), tables.n_young
        stars = np.tensordot(weights[:, :n_bin], tables.stellar[:n_bin, ..., :-1], 1)
        gas = np.tensordot(weights[:, :n_young], tables.nebular[..., :-1], 1)
        flux = np.empty((len(pick), len(self.bands)))
        for start in range(0, len(pick), _CHUNK):
            part = slice(start, start + _CHUNK)
            dust = tables.a_v_weights(values["a_v"][part])
            metal, metal_share = _bracket(tables.metallicity, 10 ** values["log_metallicity"][part])
            ions, ions_share = _bracket(tables.log_u, values["log_u"][part])
            total = np.zeros((len(dust), len(self.bands)))
            for side in (0, 1):
                row = stars[pick[part], metal + side]
                for other in (0, 1):
                    row = row + ions_share[:, other, None, None] * gas[pick[part], metal + side, ions + other]
                total += metal_share[:, side, None] * np.einsum("na,nab->nb", dust, row)
            flux[part] = total
        return Draws(unit, flux, low, high)

    def weigh(self, draws: Draws, flux: np.ndarray, err: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ln of the weight of each draw with a mass drawn for it, and log10 of that mass."""
        seen = np.isfinite(flux)
        f, sigma, model = flux[seen], err[seen], draws.flux[:, seen]
        a, b = (model**2 / sigma**2).sum(axis=1), (model * f / sigma**2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            best = b / a
            mass = best + self.rng.standard_normal(len(a)) / np.sqrt(a)
            chi2 = (((f - best[:, None] * model) / sigma) ** 2).sum(axis=1)
            # Density of the data at the mass, times the prior of the mass, over the density it was drawn from.
            log_weight = -0.5 * chi2 - 0.5 * np.log(a) - np.log(mass) - np.log((LOG_MASS[1] - LOG_MASS[0]) * np.log(10))
            log_mass = np.log10(mass)
        log_weight += 0.5 * np.log(2 * np.pi) - np.log(sigma * np.sqrt(2 * np.pi)).sum()
        age = 10 ** self.parameters(draws.unit)["log_age"]
        log_weight += np.log(age * np.log(self.oldest) / (self.oldest - 1.0))
        ok = (a > 0) & (mass > 0) & (log_mass > LOG_MASS[0]) & (log_mass < LOG_MASS[1]) & np.isfinite(log_weight)
        return np.where(ok, log_weight, -np.inf), np.where(ok, log_mass, 0.0)

    def posterior(self, flux: np.ndarray, err: np.ndarray, *, rounds: int = 3) -> dict[str, Any]:
        """Return draws, weights, ln evidence and effective number of draws.

        The box that holds everything probable is drawn anew, finer each round; what lies outside comes from the
        draws of the whole prior, so that the sum stays unbiased.
        """
        coarse = self.wide
        log_wide, mass_wide = self.weigh(coarse, flux, err)
        log_weight, fine, mass = log_wide, coarse, mass_wide
        low, high = np.zeros(4), np.ones(4)
        for _ in range(rounds):
            near = fine.unit[log_weight > log_weight.max() - _DEPTH]
            margin = 0.15 * np.ptp(near, axis=0) + 0.5 * (fine.high - fine.low) / max(len(near), 4)
            low, high = np.maximum(near.min(axis=0) - margin, 0.0), np.minimum(near.max(axis=0) + margin, 1.0)
            fine = self.draw(low, high)
            log_weight, mass = self.weigh(fine, flux, err)
        outside = ~((coarse.unit >= low) & (coarse.unit <= high)).all(axis=1)
        share = np.log(fine.volume / len(fine.unit)), -np.log(len(coarse.unit))
        log_all = np.concatenate([log_weight + share[0], log_wide[outside] + share[1]])
        weights = np.exp(log_all - log_all.max())
        values = self.parameters(np.concatenate([fine.unit, coarse.unit[outside]]))
        values["log_mass_formed"] = np.concatenate([mass, mass_wide[outside]])
        return {
            "samples": values,
            "weights": weights / weights.sum(),
            "log_evidence": float(np.log(weights.sum()) + log_all.max()),
            "ess": float(weights.sum() ** 2 / (weights**2).sum()),
            "outside": float(weights[len(log_weight) :].sum() / weights.sum()),
        }


def _bracket(nodes: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the node below each value and the shares of it and the next; constant outside."""
    below = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
    part = np.clip((at - nodes[below]) / (nodes[below + 1] - nodes[below]), 0.0, 1.0)
    return below, np.stack([1.0 - part, part], axis=1)
