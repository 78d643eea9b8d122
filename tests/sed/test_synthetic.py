"""Spectra through bands against closed forms, and magnitudes of both systems against cited zero points."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError, UnitMismatchError
from sc_lab.sed import Filter, ab_magnitude, band_flux, flux_from_magnitude, get_filter, vega_to_ab
from sc_lab.sed.synthetic import AB_ZERO, band_weights, check_coverage

C = 2.99792458e18
A, B = 12000.0, 17000.0
BOX = Filter.from_curve("box", [A, B], [0.3, 0.3])
F_LAMBDA = u.erg / u.s / u.cm**2 / u.AA


def power_mean(alpha: float) -> float:
    """Mean of f_nu = (lambda / A)^alpha over the box: ∫ λ^(α-1) dλ / ∫ dλ/λ."""
    log = np.log(B / A)
    return 1.0 if alpha == 0 else ((B / A) ** alpha - 1) / alpha / log


@pytest.mark.parametrize("band", ["F090W", "F444W", "acs_wfc/F606W", "wfc3_ir/F160W", "F1000W"])
def test_a_flat_spectrum_has_its_own_flux_exactly(band: str) -> None:
    """Flat f_nu has the colour 0.0, not 1e-16, whatever its sampling."""
    lam = np.geomspace(3000.0, 2e5, 777)
    assert band_flux(lam, np.full(lam.size, 0.3), band).value == 0.3
    assert ab_magnitude(band_flux(lam, np.full(lam.size, 0.3), band)) == ab_magnitude(0.3)


@pytest.mark.parametrize("alpha", [-3.0, -2.0, -1.0, 0.5, 1.0, 2.0, 4.0])
def test_power_laws_have_the_means_of_the_closed_form(alpha: float) -> None:
    """Straight lines between samples 2e-4 apart in ln λ err by alpha^2 (2e-4)^2 / 12, below 1e-7."""
    lam = np.geomspace(1e4, 2e4, 3466)
    assert band_flux(lam, (lam / A) ** alpha, BOX).value == pytest.approx(power_mean(alpha), rel=1e-7)


def test_f_lambda_constant_is_exact_with_two_samples() -> None:
    """f_lambda of 1 is f_nu of λ_pivot^2 / c, by the meaning of the pivot."""
    for band in ("F150W", "acs_wfc/F814W", BOX):
        pivot = get_filter(band).pivot
        mean = band_flux([3000.0, 1e5] * u.AA, [1.0, 1.0] * F_LAMBDA, band)
        assert mean.to_value(u.nJy) == pytest.approx(pivot**2 / C * 1e32, rel=1e-12)


def test_units_of_wavelength_and_flux_are_converted() -> None:
    lam, flux = np.linspace(1.0, 2.0, 101), np.linspace(1.0, 3.0, 101)
    bare = band_flux(lam * 1e4, flux, BOX)
    assert bare.unit == u.nJy
    assert band_flux(lam * u.um, flux * 1e-3 * u.uJy, BOX).value == pytest.approx(bare.value, rel=1e-14)
    per_lambda = flux * u.nJy * (C * u.AA / u.s) / (lam * 1e4 * u.AA) ** 2
    # The same spectrum drawn by straight lines in f_lambda instead: the sampling of 1 % makes 1e-4.
    assert band_flux(lam * u.um, per_lambda, BOX).value == pytest.approx(bare.value, rel=1e-4)


def test_many_spectra_at_once_are_one_by_one() -> None:
    rng = np.random.default_rng(1)
    lam = np.sort(rng.uniform(5000.0, 60000.0, 500))
    lam[0], lam[-1] = 5000.0, 60000.0
    flux = rng.lognormal(size=(3, 4, 500))
    many = band_flux(lam, flux, "F200W")
    assert many.shape == (3, 4)
    # Sums in another order.
    assert many[1, 2].value == pytest.approx(band_flux(lam, flux[1, 2], "F200W").value, rel=1e-14)


def test_an_emission_line_counts_by_its_photons() -> None:
    """A narrow line at λ of integrated f_lambda L gives f_nu = L λ T / (c ∫ T dλ/λ)."""
    at, width, curve = 15000.0, 0.5, get_filter("F150W")
    lam = np.sort(np.concatenate([np.linspace(1e4, 2e4, 50), at + width * np.array([-1.0, 0.0, 1.0])]))
    line = np.where(lam == at, 1.0 / width, 0.0) * F_LAMBDA  # a triangle of area 1
    throughput = np.interp(at, curve.wavelength, curve.throughput)
    norm = np.trapezoid(curve.throughput / curve.wavelength, curve.wavelength)
    # The throughput bends within the triangle, and the trapezoid errs by 1e-6.
    assert band_flux(lam, line, curve).value == pytest.approx(at * throughput / norm / C * 1e32, rel=1e-4)


def test_weights_are_the_mean_and_do_not_depend_on_the_scale_of_the_curve() -> None:
    lam = np.linspace(1e4, 2e4, 333)
    flux = 1.0 + np.sin(lam / 500.0)
    ten = Filter.from_curve("box", [A, B], [3.0, 3.0])
    assert band_weights(lam, BOX) == pytest.approx(band_weights(lam, ten), rel=1e-14)
    assert flux @ band_weights(lam, BOX) == pytest.approx(band_flux(lam, flux, BOX).value, rel=1e-14)


def test_a_spectrum_that_does_not_cover_the_band_is_said() -> None:
    with pytest.raises(InputError, match=r"from 0.5 to 1.6 micron, which does not cover F150W"):
        band_flux([5000.0, 16000.0], [1.0, 1.0], "F150W")
    with pytest.raises(InputError, match=r"the model reaches .* does not cover F090W .*, F1000W"):
        check_coverage(["F090W", "F150W", "F1000W"], 9000.0, 5e4, what="the model")
    check_coverage(["F090W", "F1000W"], 5000.0, 2e5)


@pytest.mark.parametrize(
    ("lam", "flux", "error", "words"),
    [
        ([1e4, 2e4], [25.0, 25.0] * u.mag, UnitMismatchError, "in magnitudes"),
        ([1e4, 2e4], [25.0, 25.0] * u.ABmag, UnitMismatchError, "in magnitudes"),
        ([1e4, 2e4], [25.0, 25.0] * u.Msun, UnitMismatchError, "does not convert"),
        ([1e4, 2e4] * u.s, [1.0, 1.0], UnitMismatchError, "does not convert"),
        ([2e4, 1e4], [1.0, 1.0], InputError, "does not increase"),
        ([1e4, 2e4], [1.0, 1.0, 1.0], InputError, "last axis of flux is wavelength"),
    ],
)
def test_odd_spectra_are_refused_in_words(lam, flux, error, words: str) -> None:
    with pytest.raises(error, match=words):
        band_flux(lam, flux, BOX)


def test_one_nanojansky_is_31_4() -> None:
    """AB = 0 is 3631 Jy to the digits of 48.6: 31.4 to 1e-12."""
    assert ab_magnitude(1.0) == pytest.approx(31.4, abs=1e-12)
    assert ab_magnitude(3631.0 * u.Jy) == pytest.approx(0.0, abs=1e-4)
    assert ab_magnitude(10**-19.44 * u.erg / u.s / u.cm**2 / u.Hz) == pytest.approx(0.0, abs=1e-12)
    assert pytest.approx(31.4, abs=1e-12) == AB_ZERO
    assert np.isposinf(ab_magnitude(0.0))
    assert np.isnan(ab_magnitude(-1.0))


def test_magnitudes_and_fluxes_are_inverse() -> None:
    mag = np.array([[20.0, 25.0], [np.nan, 31.4]])
    flux, error = flux_from_magnitude(mag * u.ABmag, 0.1)
    assert ab_magnitude(flux) == pytest.approx(mag, rel=1e-14, nan_ok=True)
    assert error.value == pytest.approx(flux.value * 0.1 * np.log(10) / 2.5, rel=1e-14, nan_ok=True)
    assert np.isnan(flux_from_magnitude(25.0)[1])


#: AB minus Vega from published zero points: ACS of Sirianni et al. 2005 (PASP 117, 1049, table 10); WFC3 of Kalirai
#: et al. 2009 (WFC3 ISR 2009-30 and -31); NIRCam of the SVO Filter Profile Service (Rodrigo & Solano 2020).
OFFSETS = {
    "acs_wfc/F435W": -0.106,
    "acs_wfc/F606W": 0.088,
    "acs_wfc/F814W": 0.436,
    "wfc3_uvis/F275W": 1.49,
    "wfc3_uvis/F336W": 1.18,
    "wfc3_uvis/F555W": -0.03,
    "wfc3_ir/F160W": 1.25,
    "nircam/F150W": 1.23,
    "nircam/F200W": 1.70,
    "nircam/F444W": 3.24,
}


@pytest.mark.parametrize("vega", ["alpha_lyr_stis_011", "alpha_lyr_stis_005"])
@pytest.mark.parametrize(("band", "offset"), OFFSETS.items())
def test_offsets_of_vega_are_those_of_the_observatories(band: str, offset: float, vega: str) -> None:
    """0.04 mag: the two spectra of Vega differ by 0.023 at 1.5 micron, and the zero points rest on yet others."""
    assert vega_to_ab(band, vega=vega) == pytest.approx(offset, abs=0.04)


def test_vega_magnitudes_need_their_bands_and_become_ab() -> None:
    flux, _ = flux_from_magnitude([[20.0, 20.0]], system="Vega", bands=["acs_wfc/F555W", "acs_wfc/F814W"])
    assert ab_magnitude(flux)[0, 1] - 20.0 == pytest.approx(vega_to_ab("acs_wfc/F814W"), abs=1e-13)
    assert (
        flux_from_magnitude([[20.0]], system="vega", bands=["F150W"])[0] < flux_from_magnitude([[20.0]], system="ab")[0]
    )
    with pytest.raises(InputError, match="come with no bands"):
        flux_from_magnitude([20.0, 20.0], system="Vega")
    with pytest.raises(InputError, match="come with 1 bands"):
        flux_from_magnitude([20.0, 20.0], system="Vega", bands=["F150W"])


@pytest.mark.parametrize(
    ("mag", "err", "options", "words"),
    [
        ([20.0], None, {"system": "ST"}, "give 'AB' or 'Vega'"),
        ([20.0] * u.STmag, None, {}, "the system is AB"),
        ([20.0] * u.ABmag, None, {"system": "Vega", "bands": ["F150W"]}, "the system is Vega"),
        ([20.0] * u.nJy, None, {}, "does not convert"),
        ([20.0], [-0.1], {}, "negative"),
        ([20.0], [0.1, 0.1], {}, "give one error, or one for each"),
    ],
)
def test_odd_magnitudes_are_refused_in_words(mag, err, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        flux_from_magnitude(mag, err, **options)


def test_an_unknown_vega_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"ships alpha_lyr_stis_005, alpha_lyr_stis_011"):
        vega_to_ab("F150W", vega="sirius")
