"""The numbers of a table: every stellar population through birth clouds, dust, intergalactic medium and filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sc_lab.sed._ages import AgeBins, age_bins
from sc_lab.sed._basis import Basis, compat_basis, compat_wavelengths, fine_basis
from sc_lab.sed._frame import Frame
from sc_lab.sed._functionals import Functionals, functionals_at
from sc_lab.sed.dust import attenuation_curve
from sc_lab.sed.filters import Filter, get_filter
from sc_lab.sed.model import SedModel
from sc_lab.units import FloatArray

__all__ = ["IONISING", "basis_of", "build", "ionising_left", "v_filter"]

#: Wavelength below which birth clouds take up starlight [Angstrom].
IONISING = 912.0


def ionising_left(model: SedModel) -> float:
    """Return the part of ionising starlight that gets through the gas of birth clouds where it meets it.

    Parameters
    ----------
    model : SedModel
        The model.

    Returns
    -------
    float
        None with gas, all without. In compat the escape fraction: bagpipes applies it to the covered part once more,
        so that f (2 - f) of the ionising light escapes.
    """
    if not model.nebular:
        return 1.0
    return model.escape_fraction if model.mode == "compat" else 0.0


def v_filter() -> Filter:
    """Return the V band of absolute magnitudes, that of Johnson as Bessell (1990) gives it.

    Returns
    -------
    Filter
        The curve of astro-sedpy.
    """
    return get_filter("bessell_V")


def basis_of(model: SedModel, filters: Sequence[Filter]) -> Basis:
    """Return the spectra of a model on its wavelengths.

    Parameters
    ----------
    model : SedModel
        The model.
    filters : sequence of Filter
        They decide the wavelengths in compat.

    Returns
    -------
    Basis
        The spectra.
    """
    library, bins = model.loaded_library, age_bins(model)
    if model.mode == "compat":
        return compat_basis(library, bins, compat_wavelengths(filters))
    return fine_basis(library, bins)


def build(
    model: SedModel, curves: tuple[Filter, ...], frame: Frame, nodes: FloatArray, kept_u: Any, bins: AgeBins, n_bin: int
) -> dict[str, FloatArray]:
    """Work out the tables.

    Parameters
    ----------
    model : SedModel
        The model.
    curves : tuple of Filter
        Bands.
    frame : Frame
        Redshift and distance.
    nodes : ndarray, shape (n_av,)
        Nodes of A_V [mag].
    kept_u : ndarray of int, shape (n_u,)
        Nodes of log U that are needed.
    bins : AgeBins
        Bins of age.
    n_bin : int
        How many of them.

    Returns
    -------
    dict
        ``stellar``, ``nebular`` and ``pivot`` of `~sc_lab.sed.tables.BandTables`.
    """
    basis = basis_of(model, curves)
    weights = functionals_at(model, basis, curves, v_filter(), frame)
    curve = attenuation_curve(model, basis.wavelength)
    dusty = 10 ** (-0.4 * nodes[:, None] * curve)
    clouds = dusty if model.eta == 1.0 else 10 ** (-0.4 * nodes[:, None] * (model.eta * curve))
    escape = model.escape_fraction if model.nebular else 0.0
    swallowed = np.where(basis.wavelength < IONISING, ionising_left(model), 1.0)
    means, young = basis.means[:n_bin], bins.young[:n_bin]
    n_metal, n_band = basis.stellar.shape[0], len(curves) + 1
    stellar = np.zeros((n_bin, n_metal, nodes.size, n_band))
    bare = np.ones((1, basis.wavelength.size))
    # Stars outside birth clouds, those inside, and the part of the latter's light that escapes.
    parts = ((1.0 - young, dusty, None), (young * (1.0 - escape), clouds, swallowed), (young * escape, bare, None))
    for fraction, transmission, kept in parts:
        used = np.flatnonzero(fraction > 0)
        if not used.size:
            continue
        scaled = fraction[used, None] * means[used]
        first, last = _extent(scaled)
        light = _Light(weights, transmission, kept)
        for i in range(n_metal):
            fluxes = light.fluxes(basis.stellar[i, first:last])
            shape = (last - first, fluxes.shape[1] * n_band)
            part = (scaled[:, first:last] @ fluxes.reshape(shape)).reshape(used.size, -1, n_band)
            stellar[used, i] += part
    nebular = np.zeros((bins.n_young, n_metal, len(kept_u), nodes.size, n_band))
    if model.nebular:
        _add_nebular(nebular, model, basis, weights, nodes, clouds, kept_u, bins)
        nebular *= (1.0 - escape) * young[: bins.n_young, None, None, None, None]
    return {"stellar": stellar, "nebular": nebular, "pivot": weights.pivot}


def _add_nebular(
    nebular: FloatArray,
    model: SedModel,
    basis: Basis,
    weights: Functionals,
    nodes: FloatArray,
    clouds: FloatArray,
    kept_u: Any,
    bins: AgeBins,
) -> None:
    """Fill the table of gas: continuum and lines through the dust of birth clouds."""
    n_row = int(np.flatnonzero(bins.nebular.any(axis=0))[-1]) + 1
    line_dust = 10 ** (-0.4 * nodes[:, None] * (model.eta * attenuation_curve(model, basis.line_wavelength)))
    shape = (nebular.shape[2], n_row, nodes.size, nebular.shape[4])
    light = _Light(weights, clouds)
    for i in range(nebular.shape[1]):
        rows = basis.nebular[i, kept_u, :n_row].reshape(-1, basis.wavelength.size)
        fluxes = light.fluxes(rows)
        if basis.line_wavelength.size:
            lines = basis.lines[i, kept_u, :n_row].reshape(-1, basis.line_wavelength.size)
            fluxes = fluxes + _project_lines(lines, weights, line_dust)
        by_bin = bins.nebular[:, :n_row] @ fluxes.reshape(shape[0], n_row, -1)
        nebular[:, i] = by_bin.reshape(shape[0], -1, *shape[2:]).swapaxes(0, 1)


def _extent(rows: FloatArray) -> tuple[int, int]:
    """Return the first and one past the last column that is used."""
    used = np.flatnonzero(rows.any(axis=0))
    return int(used[0]), int(used[-1]) + 1


class _Light:
    """What dust (n_av, n_pix), bands and the dust's own radiation make of spectra, prepared for many of them.

    ``kept`` is the fraction of each pixel that leaves the birth clouds, before dust.
    """

    def __init__(self, weights: Functionals, transmission: FloatArray, kept: FloatArray | None = None) -> None:
        self.spans, self.dust = weights.spans, weights.dust
        self.n_av = transmission.shape[0]
        self.columns = []
        for b, (start, stop) in enumerate(weights.spans):
            span = slice(start, stop)
            column = weights.flux[span, b] if kept is None else weights.flux[span, b] * kept[span]
            self.columns.append((transmission[:, span] * column).T)
        self.absorbed: FloatArray | None = None
        if weights.dust.any():
            width = weights.energy_width if kept is None else weights.energy_width * kept
            self.absorbed = ((1.0 - transmission) * width).T

    def fluxes(self, rows: FloatArray) -> FloatArray:
        """Return the fluxes (n, n_av, n_band) of spectra (n, n_pix)."""
        fluxes = np.empty((rows.shape[0], self.n_av, len(self.spans)))
        for b, (start, stop) in enumerate(self.spans):
            fluxes[:, :, b] = rows[:, start:stop] @ self.columns[b]
        if self.absorbed is not None:
            fluxes += (rows @ self.absorbed)[:, :, None] * self.dust
        return fluxes


def _project_lines(lines: FloatArray, weights: Functionals, transmission: FloatArray) -> FloatArray:
    """Return fluxes (n, n_av, n_band) of lines (n, n_line) through dust (n_av, n_line)."""
    absorbed = lines @ (1.0 - transmission).T
    both = transmission.T[:, :, None] * weights.lines[:, None, :]
    through = (lines @ both.reshape(lines.shape[1], -1)).reshape(lines.shape[0], *both.shape[1:])
    return np.asarray(through + absorbed[:, :, None] * weights.dust)
