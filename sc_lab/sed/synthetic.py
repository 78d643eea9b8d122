"""Synthetic photometry: spectra through filters, and magnitudes of the AB and Vega systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError, OptionalDependencyError, UnitMismatchError
from sc_lab.sed.filters import Filter, get_filter
from sc_lab.units import FloatArray, value_in

__all__ = [
    "AB_ZERO",
    "VEGA",
    "ab_magnitude",
    "band_flux",
    "band_weights",
    "check_coverage",
    "flux_from_magnitude",
    "vega_to_ab",
]

#: Magnitude of 1 nJy: -2.5 log10 of 1e-9 Jy over the 10^(-48.6/2.5) erg/s/cm2/Hz of Oke & Gunn 1983 (ApJ 266, 713).
AB_ZERO = 2.5 * (32.0 - 48.6 / 2.5)

#: Speed of light [Angstrom/s], exact.
_C = 2.99792458e18
#: nJy in one erg/s/cm2/Hz.
_NJY = 1e32
_F_LAMBDA = u.erg / u.s / u.cm**2 / u.AA
#: Three Gauss-Legendre points are exact for what is at most of fifth degree between two samples.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
#: Vega in CALSPEC's release of 2022.
VEGA = "alpha_lyr_stis_011"


def band_flux(wavelength: Any, flux: Any, band: str | Path | Filter) -> u.Quantity:
    """Return the flux density of spectra in a band, as a photon-counting detector averages it.

    Parameters
    ----------
    wavelength : `~astropy.units.Quantity` or array_like, shape (n_wav,)
        Observed wavelength, increasing; bare numbers are Angstrom.
    flux : `~astropy.units.Quantity` or array_like, shape (..., n_wav)
        Flux density per frequency or per wavelength by its unit; bare numbers are f_nu in nJy.
    band : str, Path or Filter
        Band as for `~sc_lab.sed.get_filter`.

    Returns
    -------
    `~astropy.units.Quantity`
        Flux density in nJy, shape (...).

    Raises
    ------
    InputError
        If the spectrum does not reach over the whole curve, or is not sampled in increasing order.
    UnitMismatchError
        If a unit is of another kind, such as magnitudes.

    Notes
    -----
    f_nu = ∫ f_nu T dlnλ / ∫ T dlnλ, T in electrons per photon (Bessell & Murphy 2012, PASP 124, 140, eq. A12).
    Spectrum and curve are straight lines between their samples, the spectrum in the unit it is given in, and the
    integral of their product is exact for f_lambda and good to rounding for f_nu.

    Examples
    --------
    >>> from sc_lab.sed import band_flux
    >>> band_flux([5000.0, 50000.0], [3.0, 3.0], "F200W")
    <Quantity 3. nJy>
    """
    curve = get_filter(band)
    lam = value_in(wavelength, u.AA, "wavelength")
    values, per = _flux_density(flux)
    if values.shape[-1:] != lam.shape:
        msg = f"flux has the shape {values.shape} and wavelength {lam.shape}; the last axis of flux is wavelength"
        raise InputError(msg)
    weights = band_weights(lam, curve, per=per)
    mean = values @ weights
    # The weights of a constant spectrum sum to one but for rounding, which one correction takes away.
    if per == "frequency":
        mean = mean + (values - mean[..., None]) @ weights
    return mean * u.nJy


def band_weights(
    wavelength: FloatArray, band: str | Path | Filter, *, per: Literal["frequency", "wavelength"] = "frequency"
) -> FloatArray:
    """Return the weights with which the samples of a spectrum enter its flux density in a band.

    Parameters
    ----------
    wavelength : ndarray, shape (n_wav,)
        Observed wavelength [Angstrom], increasing.
    band : str, Path or Filter
        Band as for `~sc_lab.sed.get_filter`.
    per : {"frequency", "wavelength"}, optional
        Whether the spectrum is f_nu [nJy] or f_lambda [erg/s/cm2/Angstrom].

    Returns
    -------
    ndarray, shape (n_wav,)
        Weights w such that ``spectrum @ w`` is the flux density in nJy.

    Raises
    ------
    InputError
        If the samples do not increase or do not reach over the whole curve.
    """
    curve = get_filter(band)
    lam = np.asarray(wavelength, dtype=np.float64)
    if lam.ndim != 1 or lam.size < 2 or not np.all(np.diff(lam) > 0):
        msg = f"wavelength has the shape {lam.shape} or does not increase; give the increasing samples of a spectrum"
        raise InputError(msg)
    check_coverage([curve], float(lam[0]), float(lam[-1]))
    # All samples of both within the band: between two of them spectrum and curve are straight.
    inner = lam[(lam > curve.low) & (lam < curve.high)]
    # Steps of a percent at most, over which 1/lambda is a polynomial to rounding.
    steps = np.geomspace(curve.low, curve.high, 2 + int(100 * np.log(curve.high / curve.low)))[1:-1]
    knots = np.unique(np.concatenate([curve.wavelength, inner, steps]))
    half = 0.5 * np.diff(knots)[:, None]
    points = 0.5 * (knots[1:] + knots[:-1])[:, None] + half * _NODES
    throughput = np.interp(points, curve.wavelength, curve.throughput)
    norm = float(np.sum(half * _WEIGHTS * throughput / points))
    power = -1 if per == "frequency" else 1
    parts = (half * _WEIGHTS * throughput * points**power).ravel() / norm
    if per == "wavelength":
        parts *= _NJY / _C
    left = np.clip(np.searchsorted(lam, points.ravel(), side="right") - 1, 0, lam.size - 2)
    share = (points.ravel() - lam[left]) / (lam[left + 1] - lam[left])
    out = np.bincount(left, parts * (1.0 - share), lam.size) + np.bincount(left + 1, parts * share, lam.size)
    return np.asarray(out, dtype=np.float64)


def check_coverage(
    bands: Sequence[str | Path | Filter], low: float, high: float, *, what: str = "the spectrum"
) -> None:
    """Refuse bands whose curves reach beyond a spectrum.

    Parameters
    ----------
    bands : sequence of str, Path or Filter
        Bands as for `~sc_lab.sed.get_filter`.
    low, high : float
        Ends of the spectrum [Angstrom], in the observed frame.
    what : str, optional
        What the spectrum is, for the message.

    Raises
    ------
    InputError
        If a curve is not covered; the message names all of them.
    """
    curves = [get_filter(band) for band in bands]
    out = [f"{each.name} ({_micron(each.low, each.high)})" for each in curves if not each.covers(low, high)]
    if out:
        msg = (
            f"{what} reaches {_micron(low, high)}, which does not cover {', '.join(out)}; "
            "leave the band(s) out, or take a spectrum that reaches further"
        )
        raise InputError(msg)


def _micron(low: float, high: float) -> str:
    return f"from {low / 1e4:.4g} to {high / 1e4:.4g} micron"


def _flux_density(flux: Any) -> tuple[FloatArray, Literal["frequency", "wavelength"]]:
    """Return a spectrum in nJy or in erg/s/cm2/Angstrom, and which of the two."""
    unit = getattr(flux, "unit", None)
    if unit is not None and unit.is_equivalent(_F_LAMBDA):
        return value_in(flux, _F_LAMBDA, "flux"), "wavelength"
    _refuse_magnitudes(unit)
    return value_in(flux, u.nJy, "flux"), "frequency"


def _refuse_magnitudes(unit: Any) -> None:
    # A logarithmic unit would be made linear, which is right for AB and silently wrong for the rest.
    if isinstance(unit, u.LogUnit) or unit == u.mag:
        msg = f"flux is in magnitudes ('{unit}'); give flux densities, from flux_from_magnitude if need be"
        raise UnitMismatchError(msg)


def ab_magnitude(flux: Any) -> FloatArray:
    """Return the AB magnitude of flux densities.

    Parameters
    ----------
    flux : `~astropy.units.Quantity` or array_like
        Flux density per frequency, any shape; bare numbers are nJy.

    Returns
    -------
    ndarray
        AB magnitude, same shape; infinite for zero, NaN for negative flux.

    Raises
    ------
    UnitMismatchError
        If the unit is no flux density per frequency.
    """
    _refuse_magnitudes(getattr(flux, "unit", None))
    values = value_in(flux, u.nJy, "flux")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(AB_ZERO - 2.5 * np.log10(values), dtype=np.float64)


def vega_to_ab(band: str | Path | Filter, *, vega: str = VEGA) -> float:
    """Return what to add to a Vega magnitude to have the AB magnitude.

    Parameters
    ----------
    band : str, Path or Filter
        Band as for `~sc_lab.sed.get_filter`.
    vega : str, optional
        The spectrum of Vega, of those that astro-sedpy ships: ``"alpha_lyr_stis_011"`` (2022), or
        ``"alpha_lyr_stis_005"`` (2010), which zero points of that decade rest on; in the optical they differ by
        0.01 to 0.02 mag.

    Returns
    -------
    float
        m(AB) - m(Vega), the AB magnitude of Vega [mag].

    Raises
    ------
    InputError
        If Vega's spectrum does not reach over the curve, or there is no such spectrum.
    OptionalDependencyError
        If astro-sedpy, which ships Vega's spectrum, is not there.

    Notes
    -----
    The spectra are CALSPEC's: STIS, the newer one on the flux scale of Bohlin, Hubeny & Rauch 2020 (AJ 160, 21), and
    a model beyond it (Bohlin 2007, ASPC 364, 315; Bohlin 2014, AJ 147, 127). Vega's magnitude is taken as 0 in every
    band, as the Space Telescope Science Institute does; in a system in which its V is 0.03, subtract that.

    Examples
    --------
    >>> from sc_lab.sed import vega_to_ab
    >>> round(vega_to_ab("acs_wfc/F814W"), 2), round(vega_to_ab("wfc3_uvis/F275W"), 1)
    (0.43, 1.5)
    """
    lam, flux = _vega(vega)
    return float(ab_magnitude(band_flux(lam, flux * _F_LAMBDA, band)))


def flux_from_magnitude(
    magnitude: Any,
    magnitude_err: Any = None,
    *,
    system: str = "AB",
    bands: Sequence[str | Path | Filter] | None = None,
    vega: str = VEGA,
) -> tuple[u.Quantity, u.Quantity]:
    """Return flux densities and their errors from magnitudes.

    Parameters
    ----------
    magnitude : `~astropy.units.Quantity` or array_like, shape (..., n_band)
        Magnitudes; NaN or masked where not measured.
    magnitude_err : `~astropy.units.Quantity` or array_like, optional
        Their errors [mag], a scalar or of the same shape; None makes those of the fluxes NaN.
    system : {"AB", "Vega"}, optional
        The system of the magnitudes, in any case of letters. Nothing in a number tells one from the other.
    bands : sequence of str, Path or Filter, optional
        The bands of the last axis; needed for Vega magnitudes.
    vega : str, optional
        The spectrum of Vega, as for `vega_to_ab`.

    Returns
    -------
    flux : `~astropy.units.Quantity`
        Flux density [nJy].
    flux_err : `~astropy.units.Quantity`
        Its error [nJy], to first order: 0.921 flux times the magnitude's.

    Raises
    ------
    InputError
        If the system is unknown, Vega magnitudes come without bands, or shapes do not agree.
    UnitMismatchError
        If an input has a unit other than magnitudes, or AB magnitudes are said to be Vega's.

    Examples
    --------
    >>> from sc_lab.sed import flux_from_magnitude
    >>> flux, error = flux_from_magnitude(23.9, 0.1)
    >>> flux.round(1), error.round(1)
    (<Quantity 1000. nJy>, <Quantity 92.1 nJy>)
    """
    known = {"ab": "AB", "vega": "Vega"}.get(str(system).lower())
    if known is None:
        msg = f"system is {system!r}; give 'AB' or 'Vega'"
        raise InputError(msg)
    system = known
    mag = _magnitudes(magnitude, "magnitude", system)
    if magnitude_err is None:
        err = np.full(mag.shape, np.nan)
    else:
        err = _magnitudes(magnitude_err, "magnitude_err", system)
        if err.shape not in ((), mag.shape):
            msg = f"magnitude_err has the shape {err.shape} and magnitude {mag.shape}; give one error, or one for each"
            raise InputError(msg)
        if np.any(err < 0):
            msg = f"magnitude_err has {np.count_nonzero(err < 0)} negative value(s); give NaN where an error is unknown"
            raise InputError(msg)
    if system == "Vega":
        if bands is None or mag.shape[-1:] != (len(bands),):
            given = "no bands" if bands is None else f"{len(bands)} bands"
            msg = (
                f"Vega magnitudes of shape {mag.shape} come with {given}; give one band for each entry of the last axis"
            )
            raise InputError(msg)
        mag = mag + np.array([vega_to_ab(band, vega=vega) for band in bands])
    flux = 10.0 ** (0.4 * (AB_ZERO - mag))
    return flux * u.nJy, flux * err * (0.4 * math.log(10.0)) * u.nJy


def _magnitudes(value: Any, name: str, system: str) -> FloatArray:
    """Return magnitudes as bare numbers."""
    unit = getattr(value, "unit", None)
    if unit == u.ABmag and (system == "AB" or name.endswith("_err")):
        return np.array(value.value, dtype=np.float64)
    if isinstance(unit, u.LogUnit) and unit != u.mag:
        msg = f"{name} is in '{unit}' and the system is {system}; give plain magnitudes, and the system they are in"
        raise UnitMismatchError(msg)
    return value_in(value, u.mag, name)


@cache
def _vega(name: str) -> tuple[FloatArray, FloatArray]:
    """Return wavelength [Angstrom] and f_lambda [erg/s/cm2/Angstrom] of Vega."""
    from astropy.io import fits

    spec = find_spec("sedpy")
    for location in (spec.submodule_search_locations if spec is not None else None) or []:
        shipped = {file.stem: file for file in (Path(location) / "data").glob("alpha_lyr_*.fits")}
        if shipped and name not in shipped:
            msg = f"there is no spectrum of Vega named {name!r}; astro-sedpy ships {', '.join(sorted(shipped))}"
            raise InputError(msg)
        if name in shipped:
            with fits.open(shipped[name], memmap=False) as hdus:
                table = hdus[1].data
                lam = np.asarray(table["WAVELENGTH"], dtype=np.float64)
                flux = np.asarray(table["FLUX"], dtype=np.float64)
            lam, first = np.unique(lam, return_index=True)
            return lam, flux[first]
    msg = "Vega's spectrum comes with astro-sedpy: pip install 'astro-sedpy>=0.4.1'"
    raise OptionalDependencyError(msg)
