"""Noise is measured on blank sky: its scatter, the map's honesty, and how pixels share it."""

import numpy as np
import pytest
from scipy import ndimage

from sc_lab.images import Field


def _correlated(shape, width, seed=5):
    noise = np.random.default_rng(seed).normal(size=shape)
    if width:
        noise = ndimage.gaussian_filter(noise, width)
    return noise / noise.std()


@pytest.mark.parametrize("width", [0.0, 0.7, 1.0])
def test_scatter_and_autocorrelation_are_those_put_in(width):
    band = Field.from_arrays({"F150W": _correlated((512, 512), width)}, pixel_scales=0.02)["F150W"]
    # The background mesh takes up to 1 % of correlated noise, the pixels give it to 0.2 %.
    assert band.sky_scatter == pytest.approx(1.0, rel=0.02)
    rho = band.noise_correlation
    lags = np.arange(6)
    # White noise smoothed by a Gaussian has the autocorrelation exp(-lag^2 / 4 width^2).
    expected = np.exp(-(lags**2) / (4 * width**2)) if width else (lags == 0).astype(float)
    np.testing.assert_allclose(rho[5, 5:], expected, atol=0.04)
    np.testing.assert_allclose(rho, rho[::-1, ::-1])
    assert rho[5, 5] == 1


def test_sources_do_not_pass_for_noise():
    rng = np.random.default_rng(8)
    image = rng.normal(size=(512, 512))
    rows, columns = np.indices((31, 31)) - 15
    for _ in range(60):
        i, j = rng.integers(16, 490, 2)
        image[i - 15 : i + 16, j - 15 : j + 16] += rng.uniform(20, 400) * np.exp(-0.5 * (rows**2 + columns**2) / 9)
    band = Field.from_arrays({"F150W": image}, pixel_scales=0.02)["F150W"]
    # Wings below the mask's threshold remain.
    assert band.sky_scatter == pytest.approx(1.0, rel=0.05)


def test_a_gradient_of_the_sky_does_not_pass_for_noise():
    rows, columns = np.indices((512, 512))
    image = np.random.default_rng(8).normal(size=(512, 512)) + rows * 0.02 + columns * 0.01
    band = Field.from_arrays({"F150W": image}, pixel_scales=0.02)["F150W"]
    assert band.sky_scatter == pytest.approx(1.0, rel=0.02)


def test_a_sky_frame_stands_in_for_a_crowded_image():
    """A cut-out full of galaxy has no blank sky of its own."""
    rows, columns = np.indices((80, 80)) - 40
    crowded = 1000 * np.exp(-np.hypot(rows, columns) / 15)
    sky = 0.2 * _correlated((400, 400), 1.0)
    sky[100:140, 100:140] = np.nan
    band = Field.from_arrays({"F150W": crowded}, skies={"F150W": sky}, pixel_scales=0.04)["F150W"]
    # Nine tiles of correlated noise give it to 1 %, the background mesh takes another.
    assert band.sky_scatter == pytest.approx(0.2, rel=0.04)
    assert band.noise_correlation[5, 6] == pytest.approx(0.78, abs=0.03)


def test_too_little_sky_gives_nan_and_no_correlation():
    band = Field.from_arrays({"F150W": np.ones((8, 8))}, pixel_scales=0.04)["F150W"]
    assert np.isnan(band.sky_scatter)
    assert band.noise_correlation is None
    assert np.isnan(band.cutout(0, 0, 8, 8)[1]).all()


def test_a_mosaic_that_is_mostly_empty_is_still_measured():
    """Mosaics are filled with zeros or NaNs beyond the exposures."""
    for nothing in (0.0, np.nan):
        image = np.full((3000, 3000), nothing, dtype=np.float32)
        image[700:1000, 1800:2200] = np.random.default_rng(1).normal(size=(300, 400))
        band = Field.from_arrays({"F150W": image}, pixel_scales=0.02)["F150W"]
        # 30 000 pixels give 0.5 %, the edge of the exposure a little more.
        assert band.sky_scatter == pytest.approx(1.0, rel=0.03)


def test_rows_without_a_value_are_left_out():
    image = np.random.default_rng(1).normal(size=(400, 400))
    image[50:60] = np.nan
    image[:, 200:203] = np.inf
    band = Field.from_arrays({"F150W": image}, errors={"F150W": 1.0}, pixel_scales=0.02)["F150W"]
    assert band.sky_scatter == pytest.approx(1.0, rel=0.02)
    _, error = band.cutout(150, 40, 100, 30)
    assert np.isnan(error[10:20]).all()
    assert np.isnan(error[:, 50:53]).all()
    assert np.isfinite(error).sum() == 97 * 20
