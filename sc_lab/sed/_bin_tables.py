"""Tables of band fluxes for the bins of a continuity history: one row each, made from those of all ages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.model import SedModel
    from sc_lab.sed.sfh import ContinuityWeights

__all__ = ["BinTables", "hat_weights", "make_bin_tables"]


@dataclass(frozen=True, eq=False)
class BinTables:
    """Mean fluxes of the bins of a continuity history.

    Attributes
    ----------
    history : ContinuityWeights
        The bins, the youngest first.
    metallicity, log_u, a_v : ndarray
        Nodes; linear interpolation between those of metallicity and log U.
    stellar : ndarray, shape (n_sfh, n_metal, n_av, n_band + 1)
        Flux of the stars for one solar mass formed evenly over the bin [nJy]; the last column is the redshifted V band.
    nebular : ndarray, shape (n_neb, n_metal, n_u, n_av, n_band + 1)
        The same of the gas that the ``n_neb`` youngest bins power.
    av_weights : callable
        Weights of the A_V nodes at given values, shape (n,) to (n, n_av).
    """

    history: ContinuityWeights
    metallicity: FloatArray
    log_u: FloatArray
    a_v: FloatArray
    stellar: FloatArray
    nebular: FloatArray
    av_weights: Callable[[FloatArray], FloatArray]

    @property
    def n_sfh(self) -> int:
        """Number of bins of the history."""
        return self.history.n_sfh

    def fluxes(self, shares: FloatArray, metal: FloatArray, log_u: FloatArray, a_v: FloatArray) -> FloatArray:
        """Return fluxes for one solar mass formed, in plain NumPy from the nodes themselves.

        Parameters
        ----------
        shares : ndarray, shape (n, n_sfh)
            Share of the mass that formed in each bin.
        metal, log_u, a_v : ndarray, shape (n,)
            Metallicity [Z/0.02], log U, A_V [mag].

        Returns
        -------
        ndarray, shape (n, n_band + 1)
            In nJy, the redshifted V band last.
        """
        wz, wu, wa = hat_weights(self.metallicity, metal), hat_weights(self.log_u, log_u), self.av_weights(a_v)
        out = np.einsum("nk,nz,na,kzab->nb", shares, wz, wa, self.stellar, optimize=True)
        if len(self.nebular):
            young = shares[:, : len(self.nebular)]
            out = out + np.einsum("nk,nz,nu,na,kzuab->nb", young, wz, wu, wa, self.nebular, optimize=True)
        return np.asarray(out)


def make_bin_tables(
    model: SedModel,
    filters: tuple[Any, ...],
    z: float,
    *,
    a_v_range: tuple[float, float],
    distance: float | None = None,
    cosmology: FLRW | None = None,
) -> BinTables:
    """Sum the tables of all ages over the bins of a history.

    Parameters
    ----------
    model : SedModel
        With ``sfh="continuity"``.
    filters : tuple of Filter
        The bands.
    z : float
        Redshift.
    a_v_range : (float, float)
        Attenuations that the tables must span [mag].
    distance : float, optional
        Luminosity distance [Mpc] when it is not the redshift's.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means the house default.

    Returns
    -------
    BinTables
        One row for each bin.
    """
    from sc_lab.sed.sfh import continuity_weights
    from sc_lab.sed.tables import make_tables

    tables = make_tables(model, filters, z, a_v_range=a_v_range, distance=distance, cosmology=cosmology)
    history = continuity_weights(model, z, cosmology)
    stellar = np.einsum("sk,kzab->szab", history.weights, tables.stellar[: history.weights.shape[1]], optimize=True)
    young = history.weights[:, : len(tables.nebular)]
    n_neb = int(np.flatnonzero(young.any(axis=1)).max(initial=-1)) + 1
    nebular = np.einsum("sk,kzuab->szuab", young[:n_neb], tables.nebular, optimize=True)
    return BinTables(
        history=history,
        metallicity=np.asarray(tables.metallicity),
        log_u=np.asarray(tables.log_u),
        a_v=np.asarray(tables.a_v),
        stellar=stellar,
        nebular=nebular,
        av_weights=lambda values: barycentric_weights(np.asarray(tables.a_v), values),
    )


def barycentric_weights(nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Return the weights of polynomial interpolation through all nodes.

    Parameters
    ----------
    nodes : ndarray, shape (n_nodes,)
        Where the table is known.
    values : ndarray, shape (n,)
        Where it is wanted.

    Returns
    -------
    ndarray, shape (n, n_nodes)
        Adds to one.

    Notes
    -----
    Berrut & Trefethen 2004, equation 4.2.
    """
    if len(nodes) == 1:
        return np.ones((len(values), 1))
    spread = (nodes[:, None] - nodes[None, :]) / (nodes.max() - nodes.min()) * 4.0
    np.fill_diagonal(spread, 1.0)
    weights = 1.0 / spread.prod(axis=1)
    apart = np.asarray(values)[:, None] - nodes
    exact = np.abs(apart) < 1e-14
    terms = weights / np.where(exact, 1.0, apart)
    out = terms / terms.sum(axis=1, keepdims=True)
    hit = exact.any(axis=1)
    out[hit] = exact[hit]
    return np.asarray(out)


def hat_weights(nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Return the weights of linear interpolation between nodes.

    Parameters
    ----------
    nodes : ndarray, shape (n_nodes,)
        Rising.
    values : ndarray, shape (n,)
        Where it is wanted; beyond the nodes the end values hold.

    Returns
    -------
    ndarray, shape (n, n_nodes)
        Adds to one.
    """
    if len(nodes) == 1:
        return np.ones((len(values), 1))
    at = np.interp(values, nodes, np.arange(len(nodes)))
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(len(nodes)))))
