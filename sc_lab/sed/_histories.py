"""Star-formation histories of posterior draws, averaged over bins of look-back time for plots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.model import SedModel

__all__ = ["default_edges", "mean_rates"]


def default_edges(
    model: SedModel, parameters: Mapping[str, FloatArray], z: float, cosmology: FLRW | None = None
) -> FloatArray:
    """Return edges of look-back time that show the histories of all draws.

    Parameters
    ----------
    model : SedModel
        The history's kind.
    parameters : mapping of str to ndarray, shape (n,)
        Draws.
    z : float
        Redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means the house default.

    Returns
    -------
    ndarray, shape (n_bin + 1,)
        Myr, the first one 0.
    """
    if model.sfh == "continuity":
        from sc_lab.sed.sfh import continuity_edges

        return continuity_edges(model, z, cosmology)
    age = parameters["age"]
    low = min(0.3, float(age.min()) / 10)
    return np.concatenate([[0.0], np.geomspace(low, float(age.max()) * 1.02, 100)])


def mean_rates(
    model: SedModel,
    parameters: Mapping[str, FloatArray],
    edges: FloatArray,
    z: float,
    cosmology: FLRW | None = None,
) -> FloatArray:
    """Return star-formation rates averaged over bins.

    Parameters
    ----------
    model : SedModel
        The history's kind and time scales.
    parameters : mapping of str to ndarray, shape (n,)
        Draws: ``log_mass_formed`` with ``age`` [Myr], or with ``dsfr1`` ... of a continuity history.
    edges : ndarray, shape (n_bin + 1,)
        Edges of the bins [Myr of look-back time], rising.
    z : float
        Redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means the house default.

    Returns
    -------
    ndarray, shape (n, n_bin)
        Solar masses per year.

    Raises
    ------
    InputError
        If the edges do not rise.
    """
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        msg = f"lookback has the shape {edges.shape} or does not rise; give the edges of bins in Myr, rising from 0"
        raise InputError(msg)
    if model.sfh == "continuity":
        younger = _younger_in_bins(model, parameters, edges, z, cosmology)
    else:
        younger = _younger(model, parameters["age"][:, None], edges[None, :])
    mass = 10.0 ** parameters["log_mass_formed"][:, None]
    return np.asarray(mass * np.diff(younger, axis=1) / (np.diff(edges) * 1e6), dtype=np.float64)


def _younger(model: SedModel, age: FloatArray, time: FloatArray) -> FloatArray:
    """Return the fraction of the mass that formed more recently than a look-back time."""
    if model.sfh == "burst":
        return (time >= age).astype(np.float64)
    if model.sfh == "constant":
        duration = np.inf if model.duration is None else model.duration
        lasted = np.minimum(age, duration)
        return np.asarray(np.clip((time - (age - lasted)) / lasted, 0.0, 1.0), dtype=np.float64)
    # exp(-(age - t) / tau) integrated, written so that nothing overflows for age >> tau.
    since = np.exp(-np.clip(age - time, 0.0, None) / model.tau)
    start = np.exp(-age / model.tau)
    return np.asarray((since - start) / (1.0 - start), dtype=np.float64)


def _younger_in_bins(
    model: SedModel, parameters: Mapping[str, FloatArray], time: FloatArray, z: float, cosmology: FLRW | None
) -> FloatArray:
    """Return the fraction of the mass formed more recently than look-back times, for rates constant in bins."""
    from sc_lab.sed.sfh import continuity_weights

    history = continuity_weights(model, z, cosmology)
    steps = np.stack([parameters[f"dsfr{i + 1}"] for i in range(history.n_sfh - 1)], axis=1)
    formed = np.cumsum(history.fractions(steps), axis=1)
    formed = np.concatenate([np.zeros((len(formed), 1)), formed], axis=1)
    return np.stack([np.interp(time, history.edges / 1e6, row) for row in formed])
