"""Kernels turn one PSF into another, and matched bands keep fluxes and honest errors."""

import numpy as np
import pytest
from scipy import signal

from sc_lab.errors import InputError
from sc_lab.images import Field, Psf, kernel_residual, match_psf, matching_kernel


def gaussian(n, sigma):
    rows, columns = np.indices((n, n)) - n // 2
    return np.exp(-0.5 * (rows**2 + columns**2) / sigma**2) / (2 * np.pi * sigma**2)


SHARP, BROAD = Psf(gaussian(61, 1.5), 0.02, band="F150W"), Psf(gaussian(61, 3.5), 0.02, band="F444W")


def test_the_kernel_of_two_gaussians_makes_one_into_the_other():
    kernel = matching_kernel(SHARP, BROAD)
    assert kernel.sum() == pytest.approx(1)
    got = signal.fftconvolve(SHARP.stamp, kernel, mode="same")
    # The penalty of 1e-5 leaves this much of the peak.
    assert np.abs(got - BROAD.stamp).max() < 0.01 * BROAD.stamp.max()
    assert kernel_residual(SHARP, BROAD, kernel) < 2e-3


def test_the_kernel_has_the_pixels_of_the_sharper_psf():
    coarse = Psf(gaussian(31, 1.75), 0.04)
    np.testing.assert_allclose(matching_kernel(SHARP, coarse), matching_kernel(SHARP, BROAD), atol=2e-4)


def test_the_kernel_is_that_of_photutils():
    psf_matching = pytest.importorskip("photutils.psf_matching")
    if not hasattr(psf_matching, "make_wiener_kernel"):
        pytest.skip("this photutils has no Wiener kernel")
    theirs = psf_matching.make_wiener_kernel(SHARP.stamp, BROAD.stamp, regularization=1e-5, penalty="laplacian")
    # Ours tapers the stamps towards their edge, where these hold 1e-9.
    np.testing.assert_allclose(matching_kernel(SHARP, BROAD), theirs, atol=1e-4 * theirs.max())


def test_a_sharper_target_and_odd_options_are_refused():
    with pytest.raises(InputError, match="can only broaden"):
        matching_kernel(BROAD, SHARP)
    with pytest.raises(InputError, match="odd side"):
        matching_kernel(SHARP, BROAD, size=10)
    with pytest.raises(InputError, match="regularization"):
        matching_kernel(SHARP, BROAD, regularization=0)


def _field(noise=0.0, **more):
    rng = np.random.default_rng(4)
    images = {}
    for psf in (SHARP, BROAD):
        image = np.zeros((240, 240)) + rng.normal(0, noise or 1e-12, (240, 240))
        image[90:151, 90:151] += 1000 * psf.stamp
        images[psf.band] = image
    options = {"errors": dict.fromkeys(images, noise or 1.0), "psfs": {"F150W": SHARP, "F444W": BROAD}} | more
    return Field.from_arrays(images, pixel_scales=0.02, **options)


def test_matched_bands_look_alike_and_keep_their_flux():
    matched = match_psf(_field())
    one, two = (matched[band].cutout(80, 80, 81, 81)[0] for band in ("F150W", "F444W"))
    assert np.abs(one - two).max() < 0.01 * two.max()
    assert one.sum() == pytest.approx(two.sum(), rel=1e-3)
    assert matched["F150W"].psf.fwhm == pytest.approx(BROAD.fwhm)


def test_a_cutout_of_a_matched_band_does_not_depend_on_where_it_is_cut():
    matched = match_psf(_field(noise=1.0))
    large, _ = matched["F150W"].cutout(0, 0, 240, 240)
    small, _ = matched["F150W"].cutout(100, 60, 30, 50)
    # Away from the mosaic's edge the margin holds all that the kernel reaches; FFTs differ by round-off.
    np.testing.assert_allclose(small, large[60:110, 100:130], atol=1e-9)


def test_errors_for_apertures_add_up_to_the_scatter_of_the_sum():
    field = _field(noise=1.0, errors={"F150W": np.ones((240, 240)), "F444W": 1.0})
    aperture, pixel = match_psf(field), match_psf(field, errors="pixel")
    sums = [
        aperture["F150W"].cutout(x, y, 20, 20)[0].sum()
        for x in range(0, 220, 20)
        for y in range(0, 220, 20)
        if not (70 < x < 160 and 70 < y < 160)
    ]
    error = aperture["F150W"].cutout(40, 180, 20, 20)[1]
    # About 90 sums give their scatter to 8 %; convolution moves noise over the border of the aperture too, which
    # lowers the scatter of a 20 px sum by some 20 %.
    assert np.std(sums) == pytest.approx(np.sqrt((error**2).sum()), rel=0.35)
    data = aperture["F150W"].cutout(0, 170, 240, 60)[0]
    # Noise smoothed over 3 px has some 100 independent patches here.
    assert np.std(data) == pytest.approx(np.median(pixel["F150W"].cutout(20, 170, 60, 60)[1]), rel=0.2)
    assert np.median(error) == pytest.approx(1.0, rel=1e-6)


def test_holes_stay_holes_and_do_not_spread():
    field = _field()
    image = field["F150W"].cutout(0, 0, 240, 240)[0]
    image[50:53, 50:53] = np.nan
    holed = Field.from_arrays({"F150W": image}, errors={"F150W": 1.0}, psfs={"F150W": SHARP}, pixel_scales=0.02)
    data, error = match_psf(holed, BROAD)["F150W"].cutout(0, 0, 240, 240)
    assert np.isnan(data).sum() == 9
    assert np.isnan(error).sum() == 9


def test_missing_psfs_and_odd_options_are_refused():
    field = Field.from_arrays({"F150W": np.ones((20, 20))}, errors={"F150W": 1}, pixel_scales=0.02)
    with pytest.raises(InputError, match="no PSF for F150W"):
        match_psf(field)
    with pytest.raises(InputError, match="errors is 'sum'"):
        match_psf(_field(), errors="sum")
