"""Histories with constant rates in bins of look-back time, after Leja et al. (2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.cosmology import FLRW

from sc_lab.errors import InputError
from sc_lab.sed._ages import AgeBins, age_bins
from sc_lab.sed._frame import age_of_universe_yr
from sc_lab.sed._line_history import line_weights
from sc_lab.sed._sampled_history import RATE_SPANS, bin_of, sampled_ages
from sc_lab.sed.model import LEJA_EDGES, SedModel
from sc_lab.units import FloatArray

__all__ = ["ContinuityWeights", "continuity_edges", "continuity_weights"]

#: A last bin thinner than this fraction of the age of the Universe joins the one before it.
_THINNEST_LAST_BIN = 0.02


@dataclass(frozen=True, eq=False)
class ContinuityWeights:
    """The bins of a continuity history, the youngest first.

    Attributes
    ----------
    edges : ndarray, shape (n_sfh + 1,)
        Edges [yr of look-back time].
    widths : ndarray, shape (n_sfh,)
        Time that each rate holds for [yr].
    weights : ndarray, shape (n_sfh, n_bin)
        Weights of the bins of age for 1 Msun formed in each.
    sfr10, sfr100, age_mw : ndarray, shape (n_sfh,)
        Rates [1/yr] and mean age [yr] for 1 Msun formed in each.
    live : ndarray, shape (n_sfh, n_metal)
        Living over formed mass.
    bins : AgeBins
        The bins of age.
    """

    edges: FloatArray
    widths: FloatArray
    weights: FloatArray
    sfr10: FloatArray
    sfr100: FloatArray
    age_mw: FloatArray
    live: FloatArray
    bins: AgeBins

    @property
    def n_sfh(self) -> int:
        """Number of bins of the history; it has one dsfr less."""
        return self.widths.size

    def fractions(self, dsfr: FloatArray) -> FloatArray:
        """Return the fraction of mass formed in each bin.

        Parameters
        ----------
        dsfr : ndarray, shape (n, n_sfh - 1)
            log10 of the rate of a bin over that of the next older one, as in bagpipes: the first is that of the
            second-oldest bin.

        Returns
        -------
        ndarray, shape (n, n_sfh)
            Fractions, the youngest bin first.
        """
        dsfr = np.atleast_2d(np.asarray(dsfr, dtype=np.float64))
        if dsfr.shape[1] != self.n_sfh - 1:
            msg = f"the history has {self.n_sfh} bins and {self.n_sfh - 1} ratios dsfr; {dsfr.shape[1]} were given"
            raise InputError(msg)
        steps = np.concatenate([np.zeros((dsfr.shape[0], 1)), np.cumsum(dsfr, axis=1)], axis=1)[:, ::-1]
        mass = 10 ** (steps - steps.max(axis=1, keepdims=True)) * self.widths
        return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def continuity_edges(model: SedModel, z: float, cosmology: FLRW | None = None) -> FloatArray:
    """Return the edges of a continuity history, cut at the age of the Universe.

    Parameters
    ----------
    model : SedModel
        Its ``bin_edges``, or those of Leja et al. (2019).
    z : float
        Redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    ndarray
        Edges [Myr of look-back time], rising. If the given ones reach beyond the age of the Universe, the last is
        a millionth below it, and joins the one before when the last bin would be thinner than 2 per cent of it.
    """
    given = np.array(LEJA_EDGES if model.bin_edges is None else model.bin_edges)
    age_max = age_of_universe_yr(model.mode, z, cosmology) / 1e6
    if given[-1] < age_max:
        return given
    inside = given[given < (1.0 - _THINNEST_LAST_BIN) * age_max]
    if inside.size < 2:
        msg = f"at z = {z:g} the Universe is {age_max:.0f} Myr old: only one of the bins fits; give finer bin_edges"
        raise InputError(msg)
    return np.append(inside, age_max * (1.0 - 1e-6))


def continuity_weights(model: SedModel, z: float, cosmology: FLRW | None = None) -> ContinuityWeights:
    """Return the weights of the bins of a continuity history.

    Parameters
    ----------
    model : SedModel
        With ``sfh="continuity"``.
    z : float
        Redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    ContinuityWeights
        The bins of the history.
    """
    edges = continuity_edges(model, z, cosmology) * 10**6
    bins = age_bins(model)
    n_bin = bins.upto(age_of_universe_yr(model.mode, z, cosmology))
    low, high = edges[:-1], edges[1:]
    if model.mode == "compat":
        ages, times = sampled_ages()
        member = (ages > low[:, None]) & (ages < high[:, None])
        mass = member * times
        widths = mass.sum(axis=1)
        if (widths == 0).any():
            msg = "bin_edges are finer than bagpipes' sampling of ages, 0.0025 dex; widen them or use mode='fine'"
            raise InputError(msg)
        inside = bin_of(ages, bins)
        weights = (
            np.stack([np.bincount(inside, row, minlength=bins.n_bin + 1)[:n_bin] for row in mass]) / widths[:, None]
        )
        rates = [mass[:, ages < span].sum(axis=1) / widths / times[ages < span].sum() for span in RATE_SPANS]
        age_mw = mass @ ages / widths
    else:
        widths = high - low
        weights = line_weights(bins.ages[:n_bin], low, high)
        rates = [np.clip(span - low, 0.0, widths) / widths / span for span in RATE_SPANS]
        age_mw = 0.5 * (low + high)
    return ContinuityWeights(
        edges=edges, widths=widths, weights=weights, sfr10=rates[0], sfr100=rates[1], age_mw=age_mw,
        live=weights @ bins.live[:n_bin], bins=bins,
    )  # fmt: skip
