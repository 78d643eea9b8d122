"""Host galaxies: light in their contours, fitted with continuity histories, divided by the median magnification."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.cosmology import default_cosmology, describe
from sc_lab.errors import InputError, ScLabError
from sc_lab.inference.summary import weighted_quantile
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.cosmology import FLRW

    from sc_lab.sed import Priors, SedFit

__all__ = ["fit_hosts"]

#: Median and 68 per cent interval.
_Q = (0.16, 0.5, 0.84)

#: Largest A_V of a host by default [mag]; that of star clusters, 1 mag, is too low for whole galaxies.
_MOST_DUST = 3.0

#: Realisations of the lens model for the error of the median magnification, at so many places of the contour.
_LENS_DRAWS, _LENS_PLACES = 200, 60

#: Columns of the table with errors either side, their units, and whether a magnification divides them.
_FITTED: dict[str, tuple[u.UnitBase, bool]] = {
    "mass": (u.Msun, True),
    "mass_formed": (u.Msun, True),
    "sfr10": (u.Msun / u.yr, True),
    "sfr100": (u.Msun / u.yr, True),
    "ssfr": (1 / u.yr, False),
    "a_v": (u.mag, False),
    "age_mw": (u.Myr, False),
    "metallicity": (u.dimensionless_unscaled, False),
}


def fit_hosts(
    field: Any,
    galaxies: Sequence[Any] | None = None,
    *,
    lenses: Any = None,
    redshifts: Mapping[str, Any] | None = None,
    bands: Sequence[str] | None = None,
    matched_to: Any = None,
    n_empty: int = 0,
    priors: Priors | None = None,
    reference_only: bool = False,
    fits: dict[str, SedFit] | None = None,
    rng: np.random.Generator | int | None = 1,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
    cosmology: FLRW | None = None,
    **options: Any,
) -> QTable:
    """Fit the photometry of host galaxies, and divide by their magnifications.

    Parameters
    ----------
    field : Field
        The images.
    galaxies : sequence of Galaxy, optional
        Which; None takes those of the field.
    lenses : LensModel, mapping or sequence of them, optional
        The first is used; None takes those of the field. Without any, nothing is divided and a note says so.
    redshifts : mapping of str to float or RedshiftGrid, optional
        Redshifts by id that go before those of the galaxies; `sc_lab.sed.RedshiftGrid` for an uncertain one. A
        galaxy whose own redshift is photometric with an uncertainty gets a Gaussian of it.
    bands : sequence of str, optional
        Bands; None takes all.
    matched_to : str, Psf, 'none' or None
        As in `sc_lab.photometry.contours.contour_photometry`.
    n_empty : int
        Empty places that the noise is measured at; where it is larger than that of the error map, it is taken.
    priors : Priors, optional
        None takes the default ones with A_V up to 3 mag.
    reference_only : bool
        Leave out the images of a system that are not its reference.
    fits : dict, optional
        Filled with the fit of each galaxy, by id.
    rng : numpy.random.Generator or int, optional
        Random numbers; with the same seed, the row of a galaxy does not depend on which others are fitted.
    progress : callable, optional
        Called with the number of galaxies done and their total.
    cancel : object with ``is_set()``, optional
        When set, the run stops.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means the house default.
    **options : Any
        Passed to `sc_lab.sed.fit_photometry`, such as ``mode``, ``library``, ``attenuation`` or ``error_floor``.

    Returns
    -------
    QTable
        One row a galaxy: id, system, image, z, mu_median and mu_median_err (of the absolute magnification over the
        contour), mass (living), mass_formed, sfr10, sfr100 (divided by the median magnification), ssfr = sfr10 / mass,
        a_v, age_mw and metallicity [Z/0.02], each with ``_err_lo`` and ``_err_hi`` (68 %, that of the
        magnification included), chi2, n_bands, library, and note (why there is no fit, and what to beware of; what
        holds for all of several galaxies is in ``meta["hosts"]["cautions"]``).

    Raises
    ------
    InputError
        If an option cannot be used.
    ScLabError
        If the run was cancelled.

    Notes
    -----
    Claeyssens et al. 2026, sections 3.1.1 and 3.4: contour photometry on PSF-matched images, continuity history
    (Leja et al. 2019), one magnification for a galaxy, the median over its contour.
    """
    from sc_lab.detection import select_galaxies
    from sc_lab.photometry.contours import contour_photometry
    from sc_lab.sed import Priors, Uniform

    chosen = tuple((getattr(field, "galaxies", ()) or ()) if galaxies is None else galaxies)
    if reference_only:
        chosen = tuple(each for each in chosen if not each.system or each.is_reference)
    lens, lens_name = _first_lens(getattr(field, "lenses", ()) if lenses is None else lenses)
    cosmology = default_cosmology() if cosmology is None else cosmology
    priors = Priors(a_v=Uniform(0.0, _MOST_DUST)) if priors is None else priors
    names = tuple(field.names) if bands is None else tuple(str(each).upper() for each in bands)
    known = dict(redshifts or {})
    if unknown := sorted(set(known) - {each.id for each in chosen}):
        there = ", ".join(each.id for each in chosen) or "none"
        msg = f"redshifts names galaxies that are not fitted: {', '.join(unknown)}; there are {there}"
        raise InputError(msg)
    seed = int(np.random.default_rng(rng).integers(2**31))
    light = contour_photometry(
        field, chosen, bands=names, matched_to=matched_to, n_empty=n_empty, rng=seed, cancel=cancel
    )
    rows: list[_Row] = []
    for k, galaxy in enumerate(chosen):
        if cancel is not None and cancel.is_set():
            msg = f"the fit of the hosts was cancelled after {k} of {len(chosen)} galaxies; nothing of it is kept"
            raise ScLabError(msg)
        z = known.get(galaxy.id, _redshift(galaxy))
        typical = float(z.quantile(0.5)) if hasattr(z, "quantile") else float(z)
        row = _Row(z=typical)
        rows.append(row)
        flux, error = _photometry(light[k], names)
        row.n_bands = int((np.isfinite(flux) & np.isfinite(error)).sum())
        # Apart, so that a lens model changes no draw of the fit.
        lens_rng, fit_rng = (np.random.default_rng([seed, part, *galaxy.id.encode()]) for part in (1, 2))
        if lens is None:
            row.notes.append("no lens model: masses and rates are not divided by a magnification")
        elif math.isfinite(typical):
            row.mu = float(select_galaxies((replace(galaxy, z=typical),), lens).table["mu_median"][0])
            row.ln_mu = _magnification_scatter(lens, galaxy, typical, lens_rng)
            if not row.mu > 0:
                row.notes.append("outside the lens model: masses and rates are not divided by a magnification")
        _fit(row, galaxy.id, flux, error, names, z, priors, fit_rng, cosmology, cancel, fits, options)
        if progress is not None:
            progress(k + 1, len(chosen))
    fitted = [row.cautions for row in rows if row.values]
    # What holds for every galaxy, such as where the library ends, is said once.
    shared = [each for each in fitted[0] if all(each in other for other in fitted)] if len(fitted) > 1 else []
    for row in rows:
        row.notes.extend(each for each in row.cautions if each not in shared)
    table = _table(light, rows)
    table.meta["hosts"] = {
        "bands": list(names),
        "lens_model": lens_name,
        "priors": priors.record(),
        "options": {name: _words(value) for name, value in options.items()},
        "cosmology": describe(cosmology),
        "seed": seed,
        "cautions": shared,
        "contour_photometry": light.meta["contour_photometry"],
    }
    return table


# ---- inside ------------------------------------------------------------------------------------


class _Row:
    """What is known of one galaxy, as it becomes known."""

    def __init__(self, z: float) -> None:
        self.z = z
        self.mu = math.nan
        self.ln_mu: FloatArray = np.zeros(1)
        self.n_bands = 0
        self.chi2 = math.nan
        self.library = ""
        self.values: dict[str, FloatArray] = {}
        self.notes: list[str] = []
        self.cautions: tuple[str, ...] = ()


def _first_lens(lenses: Any) -> tuple[Any, str]:
    if lenses is None:
        return None, ""
    if hasattr(lenses, "magnification"):
        return lenses, str(getattr(lenses, "name", ""))
    if isinstance(lenses, Mapping):
        name = next(iter(lenses), "")
        return (lenses[name], str(name)) if lenses else (None, "")
    first = next(iter(lenses), None)
    return first, str(getattr(first, "name", "")) if first is not None else ""


def _redshift(galaxy: Any) -> Any:
    """Return the redshift of a galaxy: a density where it is photometric with a known uncertainty."""
    if galaxy.z_spec or not math.isfinite(galaxy.z) or not (math.isfinite(galaxy.dz) and galaxy.dz > 0):
        return float(galaxy.z)
    from sc_lab.sed import RedshiftGrid

    return RedshiftGrid.gaussian(galaxy.z, galaxy.dz)


def _photometry(row: Any, names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Return fluxes and errors [nJy], NaN where the contour is not covered."""
    flux, error = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for k, name in enumerate(names):
        key = name.lower()
        value, sigma = float(row[f"flux_{key}"].to_value(u.nJy)), float(row[f"flux_{key}_err"].to_value(u.nJy))
        empty = float(row[f"flux_{key}_err_empty"].to_value(u.nJy))
        if math.isfinite(empty):
            sigma = max(sigma, empty)
        # A part of the contour without pixels would make the band too faint against the others.
        if math.isfinite(value) and sigma > 0 and float(row[f"covered_{key}"]) > 0.95:
            flux[k], error[k] = value, sigma
    return flux, error


def _magnification_scatter(lens: Any, galaxy: Any, z: float, rng: np.random.Generator) -> FloatArray:
    """Return draws of ln of the median magnification about its best value."""
    if not hasattr(lens, "magnification_draws"):
        return np.zeros(1)
    west, south, east, north = galaxy.polygon.bounds
    x, y = rng.uniform(west, east, 20 * _LENS_PLACES), rng.uniform(south, north, 20 * _LENS_PLACES)
    ra = galaxy.contour[0, 0] + x / 3600.0 / math.cos(math.radians(galaxy.contour[0, 1]))
    dec = galaxy.contour[0, 1] + y / 3600.0
    inside = np.flatnonzero(galaxy.contains(ra, dec))[:_LENS_PLACES]
    if not len(inside):
        return np.zeros(1)
    mu, _ = lens.magnification_draws(ra[inside], dec[inside], z, n_draws=_LENS_DRAWS, rng=rng)
    with np.errstate(invalid="ignore", divide="ignore"):
        medians = np.nanmedian(np.where(np.isfinite(mu), np.abs(mu), np.nan), axis=1) if np.isfinite(mu).any() else None
    if medians is None or not np.isfinite(medians).all() or not (medians > 0).all():
        return np.zeros(1)
    return np.asarray(np.log(medians / np.median(medians)))


def _fit(
    row: _Row,
    name: str,
    flux: FloatArray,
    error: FloatArray,
    bands: Sequence[str],
    z: Any,
    priors: Priors,
    rng: np.random.Generator,
    cosmology: FLRW,
    cancel: Any,
    fits: dict[str, SedFit] | None,
    options: Mapping[str, Any],
) -> None:
    """Fit one galaxy; what stands against it becomes a note in its row."""
    from sc_lab.sed import fit_photometry

    if not math.isfinite(row.z):
        row.notes.append("no redshift: not fitted")
        return
    if row.n_bands < 2:
        row.notes.append(f"{row.n_bands} band with a flux and an error: not fitted")
        return
    try:
        found = fit_photometry(
            flux * u.nJy,
            error * u.nJy,
            tuple(bands),
            z,
            **{"sfh": "continuity", "rng": rng, "cancel": cancel, "cosmology": cosmology, "priors": priors, **options},
        )
    except InputError as refusal:
        row.notes.append(str(refusal))
        return
    fit = cast("SedFit", found)
    if fits is not None:
        fits[name] = fit
    samples = fit.samples
    mu = row.mu if row.mu > 0 else 1.0
    scatter = np.exp(row.ln_mu[rng.integers(len(row.ln_mu), size=len(fit.weights))])
    draws = {
        "mass": 10.0 ** samples["log_mass"],
        "mass_formed": 10.0 ** samples["log_mass_formed"],
        "ssfr": samples["sfr10"] / 10.0 ** samples["log_mass"],
        **{each: samples[each] for each in ("sfr10", "sfr100", "a_v", "age_mw", "metallicity")},
    }
    for each, (_, lensed) in _FITTED.items():
        values = draws[each] / (mu * scatter) if lensed else draws[each]
        row.values[each] = weighted_quantile(values, _Q, weights=fit.weights)
    row.chi2 = float(fit.best_chi2)
    row.library = str(fit.model.loaded_library.title)
    row.cautions = tuple(fit.cautions)


def _table(light: QTable, rows: Sequence[_Row]) -> QTable:
    table = QTable()
    for name in ("id", "system", "image"):
        table[name] = light[name]
    table["z"] = np.array([row.z for row in rows], dtype=np.float64)
    table["mu_median"] = np.array([row.mu for row in rows], dtype=np.float64)
    spread = [row.mu * float(np.std(row.ln_mu)) if len(row.ln_mu) > 1 else math.nan for row in rows]
    table["mu_median_err"] = np.array(spread, dtype=np.float64)
    nothing = np.full(3, np.nan)
    for name, (unit, _) in _FITTED.items():
        values = np.array([row.values.get(name, nothing) for row in rows], dtype=np.float64).reshape(-1, 3)
        for key, column in (
            (name, values[:, 1]),
            (f"{name}_err_lo", values[:, 1] - values[:, 0]),
            (f"{name}_err_hi", values[:, 2] - values[:, 1]),
        ):
            table[key] = column if unit == u.dimensionless_unscaled else column * unit
    table["chi2"] = np.array([row.chi2 for row in rows], dtype=np.float64)
    table["n_bands"] = np.array([row.n_bands for row in rows], dtype=np.int64)
    table["library"] = np.array([row.library for row in rows], dtype=str)
    table["note"] = np.array(["; ".join(row.notes) for row in rows], dtype=str)
    for name in light.colnames:
        if name.startswith("flux_") and not name.endswith(("_white", "_empty")):
            table[name] = light[name]
    return table


def _words(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
