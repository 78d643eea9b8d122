"""Published photometry runs through the plain calls: clusters of NGC 628, compact lensed sources, El Gordo's arc."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from sc_lab.images import Field
from sc_lab.photometry.contours import contour_photometry
from sc_lab.sed import Fixed, LogUniform, Priors, SedModel, Uniform, fit_photometry, flux_from_magnitude

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

_LEGUS = ("wfc3_uvis/F275W", "wfc3_uvis/F336W", "acs_wfc/F435W", "acs_wfc/F555W", "acs_wfc/F814W")
#: Yggdrasil as LEGUS used it: a burst of solar metals under starburst attenuation, half of whose ionising light meets
#: gas; the best of a grid in log age. Both have a Kroupa IMF, so that masses are the same in both.
_BURST = SedModel(sfh="burst", escape_fraction=0.5)
_LIKE_LEGUS = Priors(age=LogUniform(1, 1.3e4), metallicity=Fixed(1.0), a_v=Uniform(0, 6.1), log_u=Fixed(-2.0))


def _filled(table: Table, names: list[str]) -> np.ndarray:
    return np.stack([np.ma.filled(table[name].astype(float), np.nan) for name in names], axis=1)


@cache
def _ngc628(folder: Path) -> tuple[Table, object]:
    clusters = Table.read(folder / "reference" / "photometry" / "legus_ngc628_clusters_5band.ecsv", format="ascii.ecsv")
    magnitude, error = (
        _filled(clusters, [f"{kind}_{band}" for band in ("f275w", "f336w", "f435w", "f555w", "f814w")])
        for kind in ("m", "e")
    )
    flux, flux_err = flux_from_magnitude(magnitude, error, bands=_LEGUS, system="vega")
    fits = fit_photometry(flux, flux_err, _LEGUS, 0.0022, model=_BURST, distance=9.9 * u.Mpc, priors=_LIKE_LEGUS, rng=1)
    return clusters, fits


def test_all_clusters_of_ngc_628_are_fitted(real_data: Path) -> None:
    clusters, fits = _ngc628(real_data)
    assert len(fits) == len(clusters) > 600  # every second one of the 1276 with four bands or more
    assert all(np.isfinite(fit.log_evidence) for fit in fits)


def test_masses_of_ngc_628_are_the_published_ones_where_ages_agree(real_data: Path) -> None:
    """Other models and a grid there: distributions and medians are compared, and no single cluster."""
    clusters, fits = _ngc628(real_data)
    age, mass = (np.array([fit.best[name] for fit in fits]) for name in ("age", "log_mass_formed"))
    same = np.abs(np.log10(age) + 6 - np.log10(np.ma.filled(clusters["age_best"], np.nan))) < 0.3
    assert same.mean() > 0.4  # more than by chance: ages span three decades
    difference = (mass - np.log10(np.ma.filled(clusters["mass_best"], np.nan)))[same]
    assert abs(np.nanmedian(difference)) < 0.15


def test_compact_sources_behind_rxcj2211_run_through(real_data: Path) -> None:
    """Nineteen bands of two telescopes, some missing, some negative; one star cluster rarely fits them, and says so."""
    table = Table.read(real_data / "imaging" / "catalogues" / "rxcj2211_compact_sources.csv")
    nircam = [name[2:] for name in table.colnames if name.startswith("f_")]
    hubble = [name.removesuffix("_fluxnJy") for name in table.colnames if name.endswith("_fluxnJy")]
    bands = [*nircam, *(name.upper() for name in hubble)]
    assert (len(nircam), len(hubble)) == (12, 7)
    flux = _filled(table, [*(f"f_{name}" for name in nircam), *(f"{name}_fluxnJy" for name in hubble)])
    error = _filled(table, [*(f"e_{name}" for name in nircam), *(f"{name}_fluxnJyerr" for name in hubble)])
    assert np.isnan(flux).any()
    # The catalogue gives no redshifts; one stands for all.
    fits = fit_photometry(flux * u.nJy, error * u.nJy, bands, 4.3, rng=1)
    assert len(fits) == 16
    for fit in fits:
        low, middle, high = fit.quantile("log_mass", [0.16, 0.5, 0.84])
        assert 3 < low < middle < high < 15
        assert np.isfinite(fit.best_chi2)


def test_the_arc_behind_el_gordo_is_fitted_as_a_galaxy(real_data: Path) -> None:
    """From matched images to a binned history, without a step in between."""
    from sc_lab.detection import make_segments, segment_galaxies

    folder = real_data / "imaging" / "elgordo_a0102_id224"
    bands = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W")
    field = Field.from_files(
        {band: folder / f"{band}_matched_sci.fits.gz" for band in bands},
        skies={band: folder / f"{band}_matched_sky.fits.gz" for band in bands},
    )
    galaxies = segment_galaxies(make_segments(field, "F200W"))
    arc = max(galaxies, key=lambda each: float(each.area.value))
    table = contour_photometry(field.replace(galaxies=galaxies), arc, n_empty=150, rng=1)
    flux, error = (u.Quantity([table[f"flux_{band.lower()}{end}"][0] for band in bands]) for end in ("", "_err"))
    fit = fit_photometry(flux, error, bands, 4.3275, sfh="continuity", priors=Priors(a_v=Uniform(0, 3)), rng=1)
    low, middle, high = fit.quantile("log_mass", [0.16, 0.5, 0.84])
    # Not divided by its magnification: a bright dusty galaxy.
    assert 9.0 < low < middle < high < 12.5
    assert fit.ess > 400
