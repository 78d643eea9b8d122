"""The rendered clump is the exact convolution, and its derivatives are those of the image."""

import numpy as np
import pytest
from photometry_scenes import covariance, dense_render, psf_of

from sc_lab.errors import InputError
from sc_lab.images import Psf
from sc_lab.photometry import make_kernel, render, render_batch

CASES = [(0.0, 1.0), (0.2, 0.5), (0.5, 1.0), (1.0, 0.6), (2.0, 0.4), (2.5, 1.0)]


@pytest.mark.parametrize(("std", "ratio"), CASES)
def test_it_agrees_with_a_sum_of_shifted_psfs(std, ratio):
    rng = np.random.default_rng(int(10 * std))
    kernel, psf_band = make_kernel(psf_of(), (9, 9)), "F150W"
    shape = covariance(std, ratio, rng.uniform(0, np.pi))
    x, y = 4 + rng.uniform(-1, 1, 2)
    ours = render(kernel, 3.0, x, y, shape, size=(9, 9))[0]
    truth = dense_render(psf_band, 3.0, x, y, shape, 9, fine=20)
    # 5e-5 of the peak: the stamp in use ends 15 px from the centre, the truth does not.
    assert np.abs(ours - truth).max() < 5e-5 * truth.max()


def test_an_oversampled_psf_gives_the_same_image():
    native, fine = make_kernel(psf_of(), (9, 9)), psf_of(scale=0.01, size=201)
    fine = Psf(fine.stamp, 0.01, energy_fraction=fine.energy_fraction, oversampling=2)
    shape = [0.6, 0.3, 0.1]
    a = render(native, 1.0, 4.2, 3.7, shape, size=(9, 9))
    b = render(fine, 1.0, 4.2, 3.7, shape, size=(9, 9), pixel_scale=0.02)
    # F150W at 0.02 arcsec is critically sampled up to what lies beyond the dropped Nyquist row.
    assert np.abs(a - b).max() < 5e-5 * a.max()


def test_derivatives_are_those_of_the_image():
    kernel = make_kernel(psf_of(), (9, 11))
    place = np.array([5.3, 3.6, 0.9, 0.5, 0.2])
    images = render_batch(kernel, place[:1], place[1:2], place[None, 2:], 3)[0]
    step = 1e-3
    for p in range(5):
        values = []
        for shift in (-2, -1, 1, 2):
            at = place.copy()
            at[p] += shift * step
            values.append(render_batch(kernel, at[:1], at[1:2], at[None, 2:], 1)[0, 0])
        numeric = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        # Fourth-order differences: truncation 1e-12 times a fifth derivative, rounding 1e-13.
        assert np.abs(numeric - images[1 + p]).max() < 1e-8 * np.abs(images[1 + p]).max()


def test_the_whole_flux_is_in_the_pixels_up_to_the_energy_of_the_stamp():
    psf = psf_of(size=31)
    image = render(psf, 10.0, 30.0, 30.0, [4.0, 1.0, 0.5], size=(61, 61))
    assert image.sum() == pytest.approx(10.0 * psf.energy_fraction, rel=1e-6)  # nothing of it leaves the box


def test_the_middle_of_the_first_pixel_is_zero():
    image = render(psf_of(), 1.0, [0.0, 8.0], [0.0, 2.0], [0, 0, 0], size=(9, 9))
    assert np.unravel_index(image[0].argmax(), (9, 9)) == (0, 0)
    assert np.unravel_index(image[1].argmax(), (9, 9)) == (2, 8)


def test_no_pixel_size_is_added_to_a_clump():
    """The second moment of the image is that of PSF plus clump: no extra 1/12 px^2."""
    rows = np.arange(81) - 40.0
    psf = np.exp(-0.5 * (rows[10:-10, None] ** 2 + rows[10:-10] ** 2) / 1.5**2)
    image = render(psf / psf.sum(), 1.0, 40.0, 40.0, [2.0, 2.0, 0.0], size=(81, 81))[0]
    moment = (image.sum(0) * rows**2).sum() / image.sum()
    assert moment == pytest.approx(1.5**2 + 2.0, abs=1e-6)  # sums of sampled Gaussians are exact to better than this


@pytest.mark.parametrize(
    "stamp", [np.ones((4, 4)), np.ones((5, 7)), np.full((5, 5), np.nan), -np.ones((5, 5)), np.ones(5)]
)
def test_a_stamp_that_cannot_be_a_psf_is_refused(stamp):
    with pytest.raises(InputError, match="PSF stamp"):
        make_kernel(stamp, (9, 9))


def test_arrays_that_do_not_fit_together_are_refused():
    with pytest.raises(InputError, match="give \\(n,\\)"):
        render(psf_of(), np.ones(3), np.ones(2), 4.0, [0, 0, 0], size=(9, 9))
