"""Model fluxes and spectra of given parameters, evaluated pixel by pixel: the reference for tables, and the curves of plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.cosmology import FLRW

from sc_lab.errors import InputError
from sc_lab.sed._basis import Basis, plot_basis
from sc_lab.sed._frame import Frame, frame_at
from sc_lab.sed._functionals import LSUN, Functionals, functionals_at
from sc_lab.sed._nodes import linear_weights
from sc_lab.sed._parameters import Sources, batches, by_redshift, checked_sources, joined
from sc_lab.sed._table_build import IONISING, basis_of, ionising_left, v_filter
from sc_lab.sed._threads import one_blas_thread
from sc_lab.sed.dust import attenuation_curve, dust_spectrum
from sc_lab.sed.filters import Filter, get_filters
from sc_lab.sed.igm import igm_transmission
from sc_lab.sed.model import SedModel
from sc_lab.sed.sfh import AgeBins, age_bins
from sc_lab.units import FloatArray, value_in

__all__ = ["model_fluxes", "model_spectra"]

#: Observed wavelengths that a plot shows unless it asks for others [Angstrom].
_SHOWN = (1500.0, 100_000.0)
_NJY = 1e-32
_LIGHT = 2.99792458e18


def model_fluxes(
    model: SedModel,
    filters: Sequence[str | Path | Filter],
    z: Any,
    parameters: Mapping[str, Any],
    *,
    distance: Any = None,
    cosmology: FLRW | None = None,
    with_v: bool = False,
) -> FloatArray:
    """Return the band fluxes of models, exactly as the model defines them.

    Parameters
    ----------
    model : SedModel
        The model.
    filters : sequence of str, Path or Filter
        Bands, as `~sc_lab.sed.get_filters` takes them.
    z : float or array_like, shape (n,)
        Redshift, of all or of each source.
    parameters : mapping
        One number or n of them for each of ``age`` (Quantity or Myr since the onset; not for continuity),
        ``log_mass_formed`` (log10 of Msun), ``metallicity`` (units of 0.02), ``a_v`` (mag), ``log_u`` (with nebular
        emission), and ``dsfr1``, ``dsfr2``, ... for continuity. More entries are ignored.
    distance : float or `~astropy.units.Quantity`, optional
        Luminosity distance [Mpc] for a single redshift; None takes that of the redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3; ``compat`` knows no other.
    with_v : bool, optional
        Whether to add a last column, the V band redshifted to the source.

    Returns
    -------
    ndarray, shape (n, n_band)
        Flux densities [nJy].

    Raises
    ------
    InputError
        If a parameter is missing or out of range, or as `make_tables`.

    Notes
    -----
    In ``compat`` this is the photometry of bagpipes 1.3.6 to rounding.

    Examples
    --------
    >>> from sc_lab.sed import SedModel, model_fluxes
    >>> young = {"age": 5.0, "log_mass_formed": 6.0, "metallicity": 0.2, "a_v": 0.1, "log_u": -2.0}
    >>> model_fluxes(SedModel(mode="compat"), ["F150W"], 2.0, young).shape
    (1, 1)
    """
    curves = get_filters(filters)
    if not curves:
        msg = "there are no bands; give at least one"
        raise InputError(msg)
    basis, bins = basis_of(model, curves), age_bins(model)
    order: list[Any] = []
    blocks: list[FloatArray] = []
    weights: tuple[Frame, Functionals] | None = None
    for batch in batches(by_redshift(model, z, parameters, distance, cosmology)):
        # Light leaves a source whatever its redshift: one product for the batch, then the filters of each redshift.
        with one_blas_thread():
            emerging = _emerging(model, basis, bins, joined([sources for _, _, sources in batch]))
        start = 0
        for rows, frame, sources in batch:
            if weights is None or weights[0] is not frame:
                weights = frame, functionals_at(model, basis, curves, v_filter(), frame)
            light, lines, absorbed = (part[start : start + len(sources)] for part in emerging)
            seen = weights[1]
            blocks.append(light @ seen.flux + lines @ seen.lines + absorbed[:, None] * seen.dust)
            order.append(rows)
            start += len(sources)
    if not blocks:
        return np.zeros((0, len(curves) + with_v))
    stacked = np.concatenate(blocks)
    result = np.empty_like(stacked)
    result[np.concatenate(order)] = stacked
    return result if with_v else result[:, :-1]


def model_spectra(
    model: SedModel,
    z: float,
    parameters: Mapping[str, Any],
    *,
    wavelength: Any = None,
    distance: Any = None,
    cosmology: FLRW | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the spectra of models as plots show them.

    Parameters
    ----------
    model : SedModel
        The model.
    z : float
        Redshift.
    parameters : mapping
        As for `model_fluxes`.
    wavelength : Quantity or array_like, shape (n_w,), optional
        Observed wavelengths [micron], rising; None takes the pixels of the models from 0.15 to 10 micron.
    distance : float or `~astropy.units.Quantity`, optional
        Luminosity distance [Mpc]; None takes that of the redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    wavelength : ndarray, shape (n_w,)
        Observed wavelength [micron].
    flux : ndarray, shape (n, n_w)
        Flux density [nJy], pixels of lambda / 250, emission lines in the pixel where they fall.

    Raises
    ------
    InputError
        As `model_fluxes`.

    Examples
    --------
    >>> from sc_lab.sed import SedModel, model_spectra
    >>> old = {"age": 500.0, "log_mass_formed": 6.0, "metallicity": 0.2, "a_v": 0.1, "log_u": -2.0}
    >>> micron, flux = model_spectra(SedModel(), 2.0, old)
    >>> flux.shape == (1, micron.size)
    True
    """
    frame = frame_at(model.mode, z, distance=distance, cosmology=cosmology)
    sources = checked_sources(model, parameters, frame.z, None, cosmology)
    bins = age_bins(model)
    basis = plot_basis(model.loaded_library, bins)
    seen = basis.wavelength * (1.0 + frame.z)
    wanted = None if wavelength is None else value_in(wavelength, u.micron, "wavelength") * 1e4
    if wanted is not None and (
        wanted.ndim != 1 or not wanted.size or not (np.diff(wanted) > 0).all() or wanted[0] <= 0
    ):
        msg = "wavelength must be a rising list of observed wavelengths in micron"
        raise InputError(msg)
    low, high = _SHOWN if wanted is None else (wanted[0], wanted[-1])
    first = max(int(np.searchsorted(seen, low)) - 1, 0)
    span = slice(first, min(int(np.searchsorted(seen, high)) + 1, seen.size))
    scale = LSUN / frame.dimming * seen[span] ** 2 / _LIGHT / _NJY * igm_transmission(basis.wavelength[span], frame.z)
    with one_blas_thread():
        blocks = [_spectra(model, basis, bins, part)[:, span] * scale for part in sources.batches()]
    flux = np.concatenate(blocks) if blocks else np.zeros((0, seen[span].size))
    if wanted is None:
        return seen[span] * 1e-4, flux
    right = np.clip(np.searchsorted(seen[span], wanted), 1, seen[span].size - 1)
    part = np.clip((wanted - seen[span][right - 1]) / (seen[span][right] - seen[span][right - 1]), 0.0, 1.0)
    return wanted * 1e-4, flux[:, right - 1] * (1.0 - part) + flux[:, right] * part


def _mixed(
    model: SedModel, basis: Basis, bins: AgeBins, sources: Sources
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the light of stars outside and inside birth clouds, of gas, and of lines that are not in pixels."""
    library = model.loaded_library
    n_bin = sources.weights.shape[1]
    by_mass = sources.weights * sources.mass[:, None]
    outside = (by_mass * (1.0 - bins.young[:n_bin])) @ basis.means[:n_bin]
    inside = (by_mass * bins.young[:n_bin]) @ basis.means[:n_bin]
    gas_rows = (by_mass * bins.young[:n_bin])[:, : bins.n_young] @ bins.nebular
    by_metal = linear_weights(library.metallicity, sources.metallicity)
    by_u = linear_weights(library.log_u, sources.log_u)
    n, n_pix = len(sources), basis.wavelength.size
    old, young, gas = np.zeros((n, n_pix)), np.zeros((n, n_pix)), np.zeros((n, n_pix))
    lines = np.zeros((n, basis.line_wavelength.size))
    for i in range(library.metallicity.size):
        here = np.flatnonzero(by_metal[:, i])
        share = by_metal[here, i, None]
        for rows, light in ((outside, old), (inside, young)):
            used = np.flatnonzero(rows[here].any(axis=0))
            if used.size:
                span = slice(int(used[0]), int(used[-1]) + 1)
                light[here] += (share * rows[here, span]) @ basis.stellar[i, span]
        for j in range(library.log_u.size if model.nebular else 0):
            both = here[by_u[here, j] > 0]
            if both.size:
                rows = by_metal[both, i, None] * by_u[both, j, None] * gas_rows[both]
                gas[both] += rows @ basis.nebular[i, j]
                lines[both] += rows @ basis.lines[i, j]
    return old, young, gas, lines


def _emerging(
    model: SedModel, basis: Basis, bins: AgeBins, sources: Sources
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the light that leaves the source, the lines that do, and the energy that dust took."""
    old, young, gas, lines = _mixed(model, basis, bins, sources)
    curve = attenuation_curve(model, basis.wavelength)
    dusty = 10 ** (-0.4 * sources.a_v[:, None] * curve)
    clouds = dusty if model.eta == 1.0 else 10 ** (-0.4 * (model.eta * sources.a_v)[:, None] * curve)
    escape = model.escape_fraction if model.nebular else 0.0
    swallowed = np.where(basis.wavelength < IONISING, ionising_left(model), 1.0)
    inside = (1.0 - escape) * (young * swallowed + gas)
    light = old * dusty + inside * clouds + escape * young
    absorbed = (old * (1.0 - dusty) + inside * (1.0 - clouds)) @ basis.energy_width
    if basis.line_wavelength.size:
        lines = (1.0 - escape) * lines
        line_curve = attenuation_curve(model, basis.line_wavelength)
        through = lines * 10 ** (-0.4 * (model.eta * sources.a_v)[:, None] * line_curve)
        absorbed = absorbed + (lines - through).sum(axis=1)
        lines = through
    return light, lines, absorbed


def _spectra(model: SedModel, basis: Basis, bins: AgeBins, sources: Sources) -> FloatArray:
    """Return luminosities per Angstrom with lines in pixels and the radiation of dust."""
    light, lines, absorbed = _emerging(model, basis, bins, sources)
    if lines.shape[1]:
        nearest = np.searchsorted(0.5 * (basis.wavelength[1:] + basis.wavelength[:-1]), basis.line_wavelength)
        at, back = np.unique(nearest, return_inverse=True)
        summed = np.zeros((lines.shape[0], at.size))
        np.add.at(summed.T, back, lines.T)
        light[:, at] += summed / basis.width[at]
    if model.dust_emission:
        light += absorbed[:, None] * dust_spectrum(basis.wavelength)
    return light
