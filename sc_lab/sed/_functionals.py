"""What filters, distance and intergalactic medium make of a spectrum: weights whose sum with it is a flux."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sc_lab.errors import InputError
from sc_lab.sed._basis import Basis
from sc_lab.sed._frame import Frame
from sc_lab.sed.dust import dust_spectrum
from sc_lab.sed.filters import Filter
from sc_lab.sed.igm import igm_transmission, igm_transmission_compat
from sc_lab.sed.model import SedModel
from sc_lab.units import FloatArray

__all__ = ["LSUN", "Functionals", "functionals_at"]

#: Solar luminosity of the library [erg/s].
LSUN = 3.826 * 10**33
#: Speed of light [Angstrom/s] in bagpipes, and exactly.
_LIGHT = {"compat": 2.9979 * 10**18, "fine": 2.99792458e18}


@dataclass(frozen=True, eq=False)
class Functionals:
    """Weights of pixels.

    Attributes
    ----------
    flux : ndarray, shape (n_pix, n_band)
        Flux density [nJy] for 1 Lsun/Angstrom in a pixel; the last band is V at rest.
    spans : tuple of pairs of int
        First and one past the last pixel in which each band is not zero.
    lines : ndarray, shape (n_line, n_band)
        Flux density for 1 Lsun in a line.
    dust : ndarray, shape (n_band,)
        Flux density of dust that radiates 1 Lsun; zero if dust does not radiate.
    energy_width : ndarray, shape (n_pix,)
        Weights of the energy that dust absorbs [Angstrom].
    pivot : ndarray, shape (n_band,)
        Pivot wavelength in the observed frame [Angstrom].
    """

    flux: FloatArray
    spans: tuple[tuple[int, int], ...]
    lines: FloatArray
    dust: FloatArray
    energy_width: FloatArray
    pivot: FloatArray


def functionals_at(
    model: SedModel, basis: Basis, filters: Sequence[Filter], v_band: Filter, frame: Frame
) -> Functionals:
    """Return the weights of pixels for a redshift.

    Parameters
    ----------
    model : SedModel
        Its mode and dust decide.
    basis : Basis
        The spectra.
    filters : sequence of Filter
        Bands in the observed frame.
    v_band : Filter
        Band in the rest frame.
    frame : Frame
        Redshift and distance.

    Returns
    -------
    Functionals
        The weights.

    Raises
    ------
    InputError
        If the library does not reach over a band.
    """
    for each in filters:
        low, high = basis.wavelength[[0, -1]] * (1.0 + frame.z)
        if not low <= each.wavelength[0] <= each.wavelength[-1] <= high:
            msg = (
                f"at z = {frame.z:g} the library covers {low:.4g} to {high:.4g} A, but {each.name} runs from "
                f"{each.wavelength[0]:.4g} to {each.wavelength[-1]:.4g} A; leave the band out or use a wider library"
            )
            raise InputError(msg)
    make = _compat if model.mode == "compat" else _fine
    flux, lines, pivot = make(basis, filters, v_band, frame)
    light = _LIGHT[model.mode]
    # From erg/s/cm2/Angstrom to nJy at the pivot wavelength, where both averages of a band belong together.
    scale = LSUN / frame.dimming / (10**-29 * light / pivot**2) * 1000.0
    flux, lines = flux * scale, lines * scale
    spans = tuple(_span(column) for column in flux.T)
    dust = np.zeros(flux.shape[1])
    if model.dust_emission:
        dust = dust_spectrum(basis.wavelength) @ flux
    return Functionals(flux, spans, lines, dust, basis.energy_width, pivot)


def _span(column: FloatArray) -> tuple[int, int]:
    """Return where a column is not zero."""
    used = np.flatnonzero(column)
    return (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)


def _compat(
    basis: Basis, filters: Sequence[Filter], v_band: Filter, frame: Frame
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the weights as bagpipes has them: filters sampled on the wavelengths, then again at the redshift."""
    wave = basis.wavelength
    shifted = wave * (1.0 + frame.z)
    curves = [_sampled(each, wave) for each in filters]
    curves = [np.interp(shifted, wave, curve, left=0.0, right=0.0) for curve in curves]
    columns = [*curves, _sampled(v_band, wave)]
    flux = np.stack([curve * basis.width * wave for curve in columns], axis=1)
    norm = flux.sum(axis=0)
    if (norm <= 0).any():
        msg = f"at z = {frame.z:g} no pixel of bagpipes' grid lies in one of the bands; use mode='fine'"
        raise InputError(msg)
    flux[:, :-1] *= igm_transmission_compat(wave, frame.z)[:, None]
    pivot = np.array([_compat_pivot(each) for each in filters] + [_compat_pivot(v_band) * (1.0 + frame.z)])
    return flux / norm, np.zeros((0, len(columns))), pivot


def _sampled(each: Filter, wave: FloatArray) -> FloatArray:
    """Return a throughput curve on new wavelengths."""
    return np.interp(wave, each.wavelength, each.throughput, left=0.0, right=0.0)


def _compat_pivot(each: Filter) -> float:
    """Return the pivot wavelength as bagpipes sums it: without exact zeros at the ends, with its own bins."""
    seen = np.flatnonzero(each.throughput)
    kept = slice(int(seen[0]), int(seen[-1]) + 1)
    wave, throughput = each.wavelength[kept], each.throughput[kept]
    left = np.concatenate([[wave[0] - (wave[1] - wave[0]) / 2], (wave[1:] + wave[:-1]) / 2])
    weight = np.append(np.diff(left), wave[-1] - wave[-2]) * throughput
    return float(np.sqrt((weight * wave).sum() / (weight / wave).sum()))


def _fine(
    basis: Basis, filters: Sequence[Filter], v_band: Filter, frame: Frame
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the weights by integrating over filters, pixels taken as straight lines between their centres."""
    n_band = len(filters) + 1
    flux, lines = np.zeros((basis.wavelength.size, n_band)), np.zeros((basis.line_wavelength.size, n_band))
    pivot = np.array([each.pivot for each in filters] + [v_band.pivot * (1.0 + frame.z)])
    for b, each in enumerate([*filters, v_band]):
        rest = each.wavelength / (1.0 + frame.z) if b < len(filters) else each.wavelength
        z_igm = frame.z if b < len(filters) else 0.0
        first = max(int(np.searchsorted(basis.wavelength, rest[0], side="right")) - 1, 0)
        last = min(int(np.searchsorted(basis.wavelength, rest[-1])) + 1, basis.wavelength.size)
        nodes = basis.wavelength[first:last]
        points = np.union1d(nodes[(nodes > rest[0]) & (nodes < rest[-1])], rest)
        steps = np.diff(points)
        weight = np.zeros_like(points)
        weight[:-1] += 0.5 * steps
        weight[1:] += 0.5 * steps
        photons = np.interp(points, rest, each.throughput) * points
        norm = weight @ photons
        values = weight * photons * igm_transmission(points, z_igm) / norm
        right = np.clip(np.searchsorted(nodes, points, side="right"), 1, nodes.size - 1)
        part = (points - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
        flux[first:last, b] = np.bincount(right - 1, values * (1.0 - part), nodes.size)
        flux[first:last, b] += np.bincount(right, values * part, nodes.size)
        seen = (basis.line_wavelength >= rest[0]) & (basis.line_wavelength <= rest[-1])
        if seen.any():
            at = basis.line_wavelength[seen]
            # A line of the Lyman series falls a hair to the blue of its own edge, where its own atoms absorb.
            lines[seen, b] = np.interp(at, rest, each.throughput) * at / norm
            lines[seen, b] *= igm_transmission(at * (1.0 - 1e-6), z_igm)
    return flux, lines, pivot
