"""Fluxes and spectra of given parameters: shapes, refusals, and what the fine mode changes."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.sed import SedModel, get_filters, model_fluxes, model_spectra
from sc_lab.sed.sfh import continuity_edges

BANDS = ("F435W", "F606W", "F814W", "F115W", "F150W", "F200W", "F277W", "F356W", "F444W")
ONE = {"age": 20.0, "log_mass_formed": 6.0, "metallicity": 0.4, "a_v": 0.3, "log_u": -2.0}


def random_parameters(rng, n, oldest=800.0):
    return {
        "age": 10 ** rng.uniform(0.02, np.log10(oldest), n),
        "log_mass_formed": rng.uniform(5, 8, n),
        "metallicity": 10 ** rng.uniform(-3, 0.17, n),
        "a_v": rng.uniform(0, 1, n),
        "log_u": rng.uniform(-3, -1, n),
    }


@pytest.mark.parametrize("mode", ["compat", "fine"])
def test_many_redshifts_at_once_are_the_same_as_one_by_one(mode):
    rng = np.random.default_rng(5)
    model, z = SedModel(mode=mode), np.array([1.0, 4.2, 1.0, 2.5, 4.2, 0.4, 6.0])
    p = random_parameters(rng, z.size)
    together = model_fluxes(model, BANDS, z, p, with_v=True)
    for i in range(z.size):
        alone = model_fluxes(model, BANDS, z[i], {key: value[i] for key, value in p.items()}, with_v=True)
        # Sums of matrix products come in another order; bands without light have no scale of their own.
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-12, atol=1e-13 * alone.max())


def test_many_sources_are_the_same_as_one_by_one():
    """More than one batch."""
    p = random_parameters(np.random.default_rng(6), 300)
    together = model_fluxes(SedModel(), BANDS, 1.3, p)
    for i in (0, 127, 128, 299):
        alone = model_fluxes(SedModel(), BANDS, 1.3, {key: value[i] for key, value in p.items()})[0]
        np.testing.assert_allclose(together[i], alone, rtol=1e-12)


def test_continuity_takes_its_ratios_and_redshifts():
    model = SedModel(sfh="continuity", mode="compat")
    n = continuity_edges(model, 1.0).size - 2
    p = {**ONE, **{f"dsfr{i}": 0.1 * i for i in range(1, n + 1)}}
    single = model_fluxes(model, BANDS, 1.0, p)
    np.testing.assert_allclose(model_fluxes(model, BANDS, [1.0, 1.0], p), np.repeat(single, 2, axis=0), rtol=1e-12)
    with pytest.raises(InputError, match=f"lack dsfr{n}"):
        model_fluxes(model, BANDS, 1.0, {key: value for key, value in p.items() if key != f"dsfr{n}"})


def test_a_history_that_begins_now_is_a_burst():
    """In the limit of short tau, and of a short duration, all histories are the burst; of long tau the constant rate."""
    burst = model_fluxes(SedModel(sfh="burst"), BANDS, 1.0, ONE)
    np.testing.assert_allclose(model_fluxes(SedModel(tau=1e-3), BANDS, 1.0, ONE), burst, rtol=2e-3)
    np.testing.assert_allclose(model_fluxes(SedModel(sfh="constant", duration=1e-3), BANDS, 1.0, ONE), burst, rtol=2e-3)
    steady = model_fluxes(SedModel(sfh="constant"), BANDS, 1.0, ONE)
    np.testing.assert_allclose(model_fluxes(SedModel(tau=1e7), BANDS, 1.0, ONE), steady, rtol=1e-5)
    whole = model_fluxes(SedModel(sfh="constant", duration=500.0), BANDS, 1.0, ONE)
    np.testing.assert_allclose(whole, steady, rtol=1e-12)


def test_units_are_taken_at_the_edge():
    with_units = {**ONE, "age": 0.02 * u.Gyr, "a_v": 0.3 * u.mag}
    np.testing.assert_allclose(
        model_fluxes(SedModel(), BANDS, 1.0, with_units), model_fluxes(SedModel(), BANDS, 1.0, ONE)
    )
    with pytest.raises(InputError, match="age"):
        model_fluxes(SedModel(), BANDS, 1.0, {**ONE, "age": 3 * u.kpc})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"age": 20_000.0}, "the Universe was 5.*old"),
        ({"age": -1.0}, "above 0"),
        ({"age": np.nan}, "not finite in 1"),
        ({"a_v": -0.1}, "cannot be below 0"),
        ({"log_u": -5.0}, "leaves the grid of the library, -4 to 0"),
        ({"age": [1.0, 2.0], "a_v": [0.1, 0.2, 0.3]}, "different lengths"),
        ({"age": np.ones((2, 2))}, "one number or a list"),
    ],
)
def test_impossible_parameters_are_refused_in_words(change, told):
    with pytest.raises(InputError, match=told):
        model_fluxes(SedModel(), BANDS, 1.0, {**ONE, **change})


def test_what_is_missing_or_beyond_is_named():
    with pytest.raises(InputError, match="lack metallicity, log_u"):
        model_fluxes(SedModel(), BANDS, 1.0, {"age": 5.0, "log_mass_formed": 5.0, "a_v": 0.0})
    with pytest.raises(InputError, match="no stars of 1 Myr or less"):
        model_fluxes(SedModel(mode="compat"), BANDS, 1.0, {**ONE, "age": 1.0})
    assert (model_fluxes(SedModel(), BANDS, 1.0, {**ONE, "age": 1.0}) > 0).all()
    for z, told in (
        (11.0, "beyond bagpipes' limit"),
        (-1.0, "in the future"),
        ([1.0, np.nan], "finite"),
        ([[1.0]], "one for each"),
    ):
        with pytest.raises(InputError, match=told):
            model_fluxes(SedModel(mode="compat"), BANDS, z, ONE)
    with pytest.raises(InputError, match="single redshift"):
        model_fluxes(SedModel(), BANDS, [1.0, 2.0], ONE, distance=10.0)
    with pytest.raises(InputError, match="no bands"):
        model_fluxes(SedModel(), [], 1.0, ONE)
    assert model_fluxes(SedModel(), BANDS, [], {key: [] for key in ONE}).shape == (0, 9)


def test_the_spectrum_of_a_plot_has_the_fluxes_of_the_model():
    """Through each filter, pixels of lambda / 250 give what the fine pixels give, but for lines at edges of filters."""
    for p, close in (({**ONE, "age": 300.0}, 0.004), ({**ONE, "age": 3.0}, 0.03)):
        wave, spectrum = model_spectra(SedModel(), 2.0, p)
        expected = model_fluxes(SedModel(), BANDS, 2.0, p)[0]
        for each, flux in zip(get_filters(BANDS), expected, strict=True):
            x = np.unique(np.concatenate([wave * 1e4, each.wavelength]))
            x = x[(x >= each.low) & (x <= each.high)]
            weight = np.interp(x, each.wavelength, each.throughput) / x
            mean = np.trapezoid(np.interp(x, wave * 1e4, spectrum[0]) * weight, x) / np.trapezoid(weight, x)
            assert mean == pytest.approx(flux, rel=close), (each.name, p["age"])


def test_spectra_at_given_wavelengths():
    wave, spectrum = model_spectra(SedModel(), 2.0, ONE)
    asked = np.array([0.5, 1.0, 2.0]) * u.micron
    found_wave, found = model_spectra(SedModel(), 2.0, ONE, wavelength=asked)
    np.testing.assert_allclose(found_wave, [0.5, 1.0, 2.0])
    np.testing.assert_allclose(found[0], np.interp([0.5, 1.0, 2.0], wave, spectrum[0]), rtol=1e-9)
    with pytest.raises(InputError, match="rising list"):
        model_spectra(SedModel(), 2.0, ONE, wavelength=[2.0, 1.0])


def test_the_fine_mode_differs_from_bagpipes_by_what_bagpipes_rounds():
    """Bagpipes' staircase in age: for tau = 1 Myr some 0.03 mag in the median and 0.2 and more beside library jumps."""
    rng = np.random.default_rng(8)
    p = random_parameters(rng, 400)
    fine, compat = (model_fluxes(SedModel(mode=mode), BANDS, 1.4, p) for mode in ("fine", "compat"))
    difference = np.abs(2.5 * np.log10(compat / fine))
    assert 0.01 < np.median(difference) < 0.04
    assert 0.1 < difference.max() < 0.5
    # Young models differ by what pixels of R = 100 do to lines at the edges of filters.
    p = {**random_parameters(rng, 400), "age": rng.uniform(1.1, 10, 400)}
    longer = [model_fluxes(SedModel(mode=mode, tau=10.0), BANDS, 1.4, p) for mode in ("fine", "compat")]
    difference = np.abs(2.5 * np.log10(longer[1] / longer[0]))
    assert np.median(difference) < 0.01
    assert 0.02 < np.percentile(difference, 99) < 0.12


def test_the_fine_mode_has_converged(monkeypatch):
    """Four times finer pixels and ages change nothing that photometry could see."""
    import functools

    from sc_lab.sed import _ages, _table_build

    p = random_parameters(np.random.default_rng(9), 300)
    model = SedModel()
    plain = model_fluxes(model, BANDS, 1.4, p)
    finer = functools.partial(_table_build.fine_basis, step=6000.0)
    monkeypatch.setattr(_table_build, "fine_basis", finer)
    pixels = np.abs(2.5 * np.log10(model_fluxes(model, BANDS, 1.4, p) / plain))
    assert 0 < pixels.max() < 2e-4
    monkeypatch.undo()
    monkeypatch.setattr(_ages, "_FINE_STEP", 0.005)
    _ages._BINS.clear()
    ages = np.abs(2.5 * np.log10(model_fluxes(model, BANDS, 1.4, p) / plain))
    _ages._BINS.clear()
    # The library has ages closer than 0.02 dex at 18 to 30 Myr and at 1 Gyr only.
    assert np.median(ages) < 1e-5
    assert ages.max() < 0.02
