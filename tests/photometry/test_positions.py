"""Errors of positions: as large as the offsets they describe, also with shared noise, neighbours and another band."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from photometry_scenes import make_small_field, tangent_wcs

from sc_lab.images import Field
from sc_lab.images.noise import SkyNoise
from sc_lab.photometry import PhotometryFlag, fit_clumps


def width(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


@pytest.mark.parametrize("mode", ["paper", "full"])
def test_offsets_are_as_large_as_their_errors(mode):
    field, table, truth = make_small_field(180, size=700, seed=4, snr=(20, 100), std=(0.6, 2.0), bands={"F150W": 0.02})
    fits = fit_clumps(field, table, mode=mode)
    for name in ("x", "y"):
        pulls = (np.asarray(fits[name]) - truth[name]) / np.asarray(fits[f"{name}_err"])
        # Targets 0.9 to 1.1 and 0.1; of n values a width is known to 1.17 / sqrt(n), a median to 1.25 / sqrt(n).
        assert 0.9 - 3 * 1.17 / np.sqrt(180) < width(pulls) < 1.1 + 3 * 1.17 / np.sqrt(180)
        assert abs(np.median(pulls)) < 0.1 + 3 * 1.25 / np.sqrt(180)


def test_noise_shared_by_neighbouring_pixels_raises_them(small_field):
    field, table, _ = small_field
    some = table[:8]
    alone = fit_clumps(field, some, bands=["F150W"], correlated_noise=False)
    kernel = np.exp(-0.5 * (np.add.outer(np.arange(-5, 6) ** 2, np.arange(-5, 6) ** 2)) / 1.5**2)
    shared = Field.from_arrays(
        {"F150W": field["F150W"].cutout(0, 0, 400, 400)[0]},
        errors={"F150W": 1.0},
        psfs={"F150W": field["F150W"].psf},
        wcs={"F150W": field["F150W"].wcs},
        units="nJy",
    )
    shared["F150W"].__dict__["noise"] = SkyNoise(1.0, 1.0, kernel, 1000, 0.0)
    together = fit_clumps(shared, some, correlated_noise=True)
    for name in ("x_err", "y_err"):
        assert (np.asarray(together[name]) > np.asarray(alone[name])).all()


def test_another_band_on_a_turned_grid_gives_its_errors_in_pixels_of_the_reference():
    """A mirrored grid that is turned by 90 degrees and half as fine: x and y change places, px count twice."""
    field, table, _ = make_small_field(9, size=300, seed=8, snr=(80, 100), std=(1.0, 1.5), bands={"F150W": 0.02})
    image, error = field["F150W"].cutout(0, 0, 300, 300)
    # With planes: how curved a background is depends on noise in the last digits of where a fit stops.
    plain = fit_clumps(field, table, background="plane")
    fine = tangent_wcs(0.01, 600)
    noise = np.random.default_rng(1).normal(size=(600, 600))
    swapped = field["F150W"].wcs.deepcopy()
    step = 0.02 / 3600
    swapped.wcs.cdelt, swapped.wcs.pc = [1.0, 1.0], [[0.0, -step], [step, 0.0]]
    psf = field["F150W"].psf
    both = Field.from_arrays(
        {"F090W": noise, "F150W": image.T},
        errors={"F090W": np.ones_like(noise), "F150W": error.T},
        psfs={"F090W": psf, "F150W": psf},
        wcs={"F090W": fine, "F150W": swapped},
        units="nJy",
    )
    fits = fit_clumps(both, table, reference="F090W", fallback=["F150W"], background="plane")
    there = np.asarray(fits["flags"] & PhotometryFlag.FALLBACK_BAND > 0)
    assert there.sum() >= 5  # noise may pass for a clump in the others
    # The same pixels were fitted with x and y exchanged, to the tolerance of the fit.
    np.testing.assert_allclose(np.asarray(fits["x_err"])[there], 2 * np.asarray(plain["x_err"])[there], rtol=0.02)
    np.testing.assert_allclose(np.asarray(fits["y_err"])[there], 2 * np.asarray(plain["y_err"])[there], rtol=0.02)


def test_clumps_without_a_fit_have_no_error(small_field):
    field, _, _ = small_field
    far = QTable({"id": ["far"], "ra": [10.0] * u.deg, "dec": [10.0] * u.deg})
    fits = fit_clumps(field, far)
    assert np.isnan(fits["x_err"][0])
    assert np.isnan(fits["y_err"][0])


def test_a_table_made_before_positions_had_errors_is_measured_again(small_field):
    field, table, _ = small_field
    some = table[:4]
    earlier = fit_clumps(field, some, bands=["F150W"])
    whole = earlier.copy()
    earlier.remove_columns(["x_err", "y_err"])
    again = fit_clumps(field, some, bands=["F150W"], previous=earlier)
    assert again.meta["photometry"]["refitted"] == [4, 4]
    np.testing.assert_array_equal(again["x_err"], whole["x_err"])
