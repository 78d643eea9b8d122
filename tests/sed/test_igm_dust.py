"""The intergalactic medium and dust take what their papers say, and dust gives it back."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.sed import SedModel
from sc_lab.sed.dust import attenuation_curve, dust_spectrum
from sc_lab.sed.igm import _lyman_series, igm_transmission, igm_transmission_compat


def _reference_depth(rest: float, z: float) -> float:
    """Return the optical depth at one wavelength, written out equation by equation; z above 4.7."""
    observed, z1 = rest * (1 + z), 1 + z
    depth = 0.0
    for _, line, a1, a2, a3, d1, d2 in _lyman_series():
        if line < observed < line * z1:
            x = observed / line
            depth += a1 * x**1.2 if x < 2.2 else a2 * x**3.7 if x < 5.7 else a3 * x**5.5  # eq. 21
            depth += d1 * x**2.0 if x < 3.0 else d2 * x**3.0  # eq. 22
    y = observed / 911.8
    if 1 < y < z1:
        if y < 2.2:  # eq. 27
            depth += 5.22e-4 * z1**3.4 * y**2.1 + 0.325 * y**1.2 - 3.14e-2 * y**2.1
        elif y < 5.7:
            depth += 5.22e-4 * z1**3.4 * y**2.1 + 0.218 * y**2.1 - 2.55e-2 * y**3.7
        else:
            depth += 5.22e-4 * (z1**3.4 * y**2.1 - y**5.5)
        if y < 3.0:  # eq. 29
            depth += 0.634 + 4.7e-2 * z1**3 - 1.78e-2 * z1**3.3 * y**-0.3 - 0.135 * y**2 - 0.291 * y**-0.3
        else:
            depth += 4.7e-2 * z1**3 - 1.78e-2 * z1**3.3 * y**-0.3 - 2.92e-2 * y**3
    return depth


def test_the_medium_absorbs_as_the_equations_say():
    waves = np.array([150.3, 250.0, 500.0, 880.0, 905.0, 950.0, 1000.0, 1100.0, 1215.0, 1216.0, 3000.0])
    expected = [np.exp(-_reference_depth(wave, 5.3)) for wave in waves]
    np.testing.assert_allclose(igm_transmission(waves, 5.3), expected, rtol=1e-12)


def test_order_of_wavelengths_does_not_matter():
    waves = np.linspace(600, 1300, 97)
    np.testing.assert_array_equal(igm_transmission(waves[::-1], 3.1), igm_transmission(waves, 3.1)[::-1])


def test_the_forest_is_as_deep_as_measured():
    """Faucher-Giguere et al. (2008): effective depth 0.0018 (1 + z)^3.92 of Lyman alpha at z = 2 to 4.2."""
    for z in (2.5, 3.0, 4.0):
        waves = np.linspace(1050, 1170, 400)
        depth = 0.0018 * (waves * (1 + z) / 1215.67) ** 3.92
        # Two fits to different data, which scatter by as much.
        assert igm_transmission(waves, z).mean() == pytest.approx(np.exp(-depth).mean(), abs=0.03)
    assert igm_transmission(waves, 7.0).max() < 0.03
    np.testing.assert_array_equal(igm_transmission(np.array([1216.0, 5000.0]), 7.0), 1.0)
    np.testing.assert_array_equal(igm_transmission(waves, 0.0), 1.0)


def test_between_the_rows_of_bagpipes_table_the_medium_is_a_line():
    waves = np.geomspace(100, 5000, 800)
    rows = [igm_transmission_compat(waves, z) for z in (2.01, 2.0137, 2.02)]
    np.testing.assert_allclose(rows[1], 0.63 * rows[0] + 0.37 * rows[2], atol=1e-9)
    # Away from the steps at the lines of the series, a grid of 1 A and 0.01 in z is good to 0.2 %.
    smooth = (waves > 1050) & (waves < 1200)
    np.testing.assert_allclose(rows[1][smooth], igm_transmission(waves[smooth], 2.0137), rtol=2e-3)


@pytest.mark.parametrize("law", ["calzetti", "cardelli", "smc", "charlot_fall", "salim"])
def test_attenuation_is_one_in_v_and_rises_to_the_blue(law):
    waves = np.array([5500.0, 4400.0, 3000.0, 1500.0])
    curve = attenuation_curve(SedModel(attenuation=law, slope=-0.2 if law == "salim" else 0.7), waves)
    # Curves are normalised at slightly different wavelengths near 5500 A.
    assert curve[0] == pytest.approx(1.0, abs=0.02)
    assert (np.diff(curve) > 0).all()


def test_attenuation_has_the_published_values():
    """Calzetti: k(1500) = 10.33, k(4400) = 5.06, R_V = 4.05. CCM: A(1500)/A_V = 2.6; bump at 2175. SMC: E(B-V)/A_V = 0.374."""
    calzetti = attenuation_curve(SedModel(), np.array([1500.0, 4400.0, 32000.0]))
    np.testing.assert_allclose(calzetti * 4.05, [10.33, 5.06, 0.0], atol=0.01)
    cardelli = attenuation_curve(SedModel(attenuation="cardelli"), np.array([1500.0, 2175.0, 2600.0]))
    np.testing.assert_allclose(cardelli[0], 2.65, atol=0.03)
    assert cardelli[1] > cardelli[0] > cardelli[2]
    # By hand at 1 / lambda = 2.32 / micron, where y of equations 3a and 3b is a half.
    a = 1 + 0.17699 / 2 - 0.50447 / 4 - 0.02427 / 8 + 0.72085 / 16 + 0.01979 / 32 - 0.77530 / 64 + 0.32999 / 128
    b = 1.41338 / 2 + 2.28305 / 4 + 1.07233 / 8 - 5.38434 / 16 - 0.62251 / 32 + 5.30260 / 64 - 2.09002 / 128
    blue = attenuation_curve(SedModel(attenuation="cardelli"), np.array([1e4 / 2.32]))
    np.testing.assert_allclose(blue, a + b / 3.1, rtol=1e-12)  # rounding of a polynomial
    assert attenuation_curve(SedModel(attenuation="smc"), np.array([4400.0]))[0] == pytest.approx(1.374)
    power = attenuation_curve(SedModel(attenuation="charlot_fall", slope=1.3), np.array([2750.0]))
    assert power[0] == pytest.approx(2**1.3)
    waves = np.geomspace(1000, 3e4, 60)
    plain = attenuation_curve(SedModel(attenuation="salim", slope=0.0), waves)
    np.testing.assert_allclose(plain, attenuation_curve(SedModel(), waves), rtol=1e-14)


def test_dust_radiates_all_it_takes():
    waves = np.geomspace(1.0, 1e8, 5000)
    spectrum = dust_spectrum(waves)
    assert np.trapezoid(spectrum, waves) == pytest.approx(1.0, rel=1e-12)
    assert 5e5 < waves[np.argmax(spectrum * waves)] < 2e6  # 50 to 200 micron
    assert (spectrum[waves < 9000] == 0).all()


def test_an_unknown_law_is_refused_in_words():
    model = SedModel()
    object.__setattr__(model, "attenuation", "grey")
    with pytest.raises(InputError, match="choose one of calzetti, cardelli, smc"):
        attenuation_curve(model, np.array([5500.0]))
