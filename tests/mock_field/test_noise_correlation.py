"""The correlation of noise is measured between crowded, curved hosts as well as on blank sky."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.images import Field
from sc_lab.images.noise import measure_noise
from sc_lab.mock import make_field
from sc_lab.mock.noise import drizzle_kernel


@pytest.mark.parametrize("correlated", [True, False])
def test_hosts_do_not_pass_for_correlated_noise(correlated):
    field = make_field(seed=1, size=16 * u.arcsec, correlated=correlated, bands=["F150W", "F356W"])
    kernel = drizzle_kernel()
    full = np.correlate(kernel, kernel, "full") / (kernel**2).sum()
    middle = len(full) // 2
    expected = np.zeros(6)
    expected[: middle + 1] = full[middle:][:6]
    if not correlated:
        expected = (np.arange(6) == 0).astype(float)
    # Without the local background 0.2 and 0.6 (correlated), 0.07 and 0.3 (not) remain at the largest lags.
    for band, tolerance in (("F150W", 0.05), ("F356W", 0.12)):
        rho = field[band].noise_correlation
        assert abs(np.concatenate([rho[0], rho[-1], rho[:, 0], rho[:, -1]]).mean()) < 0.05
        np.testing.assert_allclose(rho[5, 5:], expected, atol=tolerance)


def test_values_too_large_for_a_product_are_measured_too():
    noise = np.random.default_rng(1).normal(size=(300, 300))
    plain, large = measure_noise(_Pixels(noise)), measure_noise(_Pixels(noise * 1e200))
    np.testing.assert_allclose(large.correlation, plain.correlation, atol=1e-9)
    assert large.scatter == pytest.approx(1e200 * plain.scatter)


class _Pixels:
    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def read(self, y0, y1, x0, x1):
        return self.values[y0:y1, x0:x1].copy()


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::sc_lab.errors.ScLabWarning")
@pytest.mark.parametrize("band", ["F150W", "F444W"])
def test_the_sky_of_el_gordo_has_no_plateau(real_data, band):
    sky = real_data / "imaging" / "elgordo_a0102_id224" / f"{band}_matched_sky.fits.gz"
    if not sky.exists():
        pytest.skip("the folder of real data has no imaging/elgordo_a0102_id224")
    rho = Field.from_files({band: sky})[band].noise_correlation
    assert 0.3 < rho[5, 6] < 0.9  # neighbouring pixels of these mosaics share 40 to 85 %
    assert abs(np.concatenate([rho[0], rho[-1], rho[:, 0], rho[:, -1]]).mean()) < 0.05
