"""Tables of band fluxes for the bins of a continuity history: one row each, made from those of all ages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed.model import SedModel
    from sc_lab.sed.sfh import ContinuityWeights
    from sc_lab.sed.tables import BandTables

__all__ = ["BinTables", "make_bin_tables"]

#: Models worked out at once.
_CHUNK = 2000


@dataclass(frozen=True, eq=False)
class BinTables:
    """Mean fluxes of the bins of a continuity history.

    Attributes
    ----------
    tables : BandTables
        The tables of all ages: nodes, and how they are interpolated.
    history : ContinuityWeights
        The bins, the youngest first.
    stellar : ndarray, shape (n_sfh, n_metal, n_av, n_band + 1)
        Flux of the stars for one solar mass formed evenly over the bin [nJy]; the last column is the redshifted V band.
    nebular : ndarray, shape (n_neb, n_metal, n_u, n_av, n_band + 1)
        The same of the gas that the ``n_neb`` youngest bins power; none without nebular emission.
    """

    tables: BandTables
    history: ContinuityWeights
    stellar: FloatArray
    nebular: FloatArray

    @property
    def n_sfh(self) -> int:
        """Number of bins of the history."""
        return self.history.n_sfh

    def fluxes(self, shares: FloatArray, metallicity: FloatArray, log_u: FloatArray, a_v: FloatArray) -> FloatArray:
        """Return fluxes for one solar mass formed, in plain NumPy from the nodes themselves.

        Parameters
        ----------
        shares : ndarray, shape (n, n_sfh)
            Share of the mass that formed in each bin.
        metallicity, log_u, a_v : ndarray, shape (n,)
            Metallicity [Z/0.02], log U, A_V [mag].

        Returns
        -------
        ndarray, shape (n, n_band + 1)
            In nJy, the redshifted V band last.
        """
        n_band = self.stellar.shape[-1]
        out = np.empty((len(shares), n_band))
        # A few thousand at a time: the products of all weights take a kilobyte or more each.
        for start in range(0, len(shares), _CHUNK):
            part = slice(start, start + _CHUNK)
            wz, wa = self.tables.metallicity_weights(metallicity[part]), self.tables.a_v_weights(a_v[part])
            out[part] = _outer(shares[part], wz, wa) @ self.stellar.reshape(-1, n_band)
            if len(self.nebular):
                young, wu = shares[part, : len(self.nebular)], self.tables.log_u_weights(log_u[part])
                out[part] += _outer(young, wz, wu, wa) @ self.nebular.reshape(-1, n_band)
        return out


def _outer(*weights: FloatArray) -> FloatArray:
    """Return the products of weights, shapes (n, a), (n, b) ... to (n, a b ...)."""
    out = weights[0]
    for each in weights[1:]:
        out = (out[:, :, None] * each[:, None, :]).reshape(len(out), -1)
    return out


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
    young = history.weights[:, : tables.n_young] if tables.nebular.size else np.zeros((history.n_sfh, 0))
    n_neb = int(np.flatnonzero(young.any(axis=1)).max(initial=-1)) + 1
    nebular = np.einsum("sk,kzuab->szuab", young[:n_neb], tables.nebular[: young.shape[1]], optimize=True)
    return BinTables(tables=tables, history=history, stellar=stellar, nebular=nebular)
