"""A PSF is centred, knows its energy, and keeps its width when its pixels change."""

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images import Psf
from sc_lab.images.psf import core_centroid, shifted


def gaussian(n, sigma, x=None, y=None):
    middle = (n - 1) / 2
    rows, columns = np.indices((n, n))
    r2 = (columns - (middle if x is None else x)) ** 2 + (rows - (middle if y is None else y)) ** 2
    return np.exp(-0.5 * r2 / sigma**2) / (2 * np.pi * sigma**2)


def variance(psf):
    """Second moment of the stamp per axis [px2]; the stamps here have no wings that would dominate it."""
    rows, columns = np.indices(psf.stamp.shape) - psf.size // 2
    return [float((psf.stamp * axis**2).sum() / psf.stamp.sum()) for axis in (columns, rows)]


def test_the_width_is_that_of_the_gaussian():
    psf = Psf(gaussian(41, 2.0), 0.02)
    # The contour is followed on an 11 times finer grid.
    assert psf.fwhm == pytest.approx(2.3548 * 2.0 * 0.02, rel=2e-3)


@pytest.mark.parametrize(("shape", "peak"), [((200, 200), (100, 100)), ((50, 50), (24, 24)), ((41, 51), (20, 24))])
def test_even_and_oblong_stamps_are_cut_to_odd_squares_around_the_peak(shape, peak):
    rows, columns = np.indices(shape)
    data = np.exp(-0.5 * ((rows - peak[0]) ** 2 + (columns - peak[1]) ** 2) / 2.0**2) / (8 * np.pi)
    psf = Psf.from_array(data, 0.02)
    assert psf.size % 2 == 1
    assert np.unravel_index(np.argmax(psf.stamp), psf.stamp.shape) == (psf.size // 2, psf.size // 2)
    assert any("is cut to" in said for said in psf.cautions)


@pytest.mark.parametrize("offset", [(0.35, -0.2), (-0.49, 0.49), (0.02, 0.0)])
def test_off_centre_stamps_are_moved_without_a_change_of_width(offset):
    psf = Psf.from_array(gaussian(41, 1.5, 20 + offset[0], 20 + offset[1]), 0.02)
    at = core_centroid(psf.stamp, (psf.size // 2, psf.size // 2))
    # The promise is 0.01 px.
    assert at == (pytest.approx(psf.size // 2, abs=0.01), pytest.approx(psf.size // 2, abs=0.01))
    # sigma 1.5 px is critically sampled to 1e-5; linear interpolation would add up to 0.25 px2.
    assert variance(psf) == pytest.approx([2.25, 2.25], abs=1e-3)


@pytest.mark.parametrize(
    ("total", "energy", "words"),
    [(0.945, 0.945, "taken as the energy"), (1.0, 1.0, ""), (1.09, 1.0, "renormalised"), (2534.0, 1.0, "renormalised")],
)
def test_the_sum_of_a_stamp_is_its_energy_only_when_it_can_be(total, energy, words):
    psf = Psf.from_array(gaussian(41, 2.0) * total, 0.02)
    assert psf.energy_fraction == pytest.approx(energy, rel=1e-6)
    assert psf.stamp.sum() == pytest.approx(energy, rel=1e-6)
    assert any(words in said for said in psf.cautions) if words else psf.cautions == ()
    told = Psf.from_array(gaussian(41, 2.0) * total, 0.02, energy_fraction=0.97)
    assert told.stamp.sum() == pytest.approx(0.97)


def test_a_trimmed_stamp_counts_the_energy_it_gives_up():
    """Cutting and renormalising to one would bias every flux."""
    psf = Psf(gaussian(61, 5.0), 0.02)
    small = psf.trimmed(21)
    assert small.energy_fraction == pytest.approx(psf.stamp[20:41, 20:41].sum())
    assert small.energy_fraction < 0.95
    assert psf.trimmed(99) is psf


@pytest.mark.parametrize("scale", [0.0113, 0.015, 0.02, 0.027, 0.04])
def test_resampling_keeps_width_and_energy(scale):
    """Sigma is 0.03 arcsec whatever the pixel; the promised variance error is 1e-3 px2."""
    psf = Psf(gaussian(81, 1.5), 0.02)
    other = psf.resampled(scale)
    assert other.pixel_scale == scale
    assert np.array(variance(other)) * (scale / 0.02) ** 2 == pytest.approx(
        [2.25, 2.25], abs=1e-3 * max(1, (scale / 0.02) ** 2)
    )
    assert other.stamp.sum() == pytest.approx(1.0, abs=1e-4)
    assert other.resampled(0.04, size=5).size == 5


def test_resampling_a_cut_stamp_does_not_ring_at_its_edge():
    """A stamp that is cut where it still has light jumps at the edge; plain Fourier interpolation rings there."""
    rows, columns = np.indices((31, 31)) - 15
    wings = (1 + (rows**2 + columns**2) / 4.0) ** -1.5
    fine = Psf.from_array(wings, 0.02, energy_fraction=0.9).resampled(0.01)
    at = (np.arange(fine.size) - fine.size // 2) * 0.5
    truth = (1 + (at[:, None] ** 2 + at[None, :] ** 2) / 4.0) ** -1.5
    off = np.abs(fine.stamp / fine.stamp.max() - truth)
    # What is left in the middle is the aliasing of this cusp itself.
    assert off.max() < 6e-3
    assert off[:8, :8].max() < 1e-4


def test_an_image_is_moved_by_exactly_what_is_asked():
    moved = shifted(gaussian(41, 1.8), 0.37, -0.61)
    assert np.abs(moved - gaussian(41, 1.8, 20.37, 19.39)).max() < 1e-6 * moved.max()


def test_missing_pixels_are_filled_aloud():
    data = gaussian(41, 2.0)
    data[0, 0] = np.nan
    assert "1 pixels without a value" in Psf.from_array(data, 0.02).cautions[0]


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        (np.zeros((21, 21)), "positive sum"),
        (-gaussian(21, 2.0), "positive sum"),
        (gaussian(21, 2.0, 1, 1), "middle half"),
        (np.ones(5), "two-dimensional"),
    ],
)
def test_stamps_that_are_no_psf_are_refused(stamp, words):
    with pytest.raises(InputError, match=words):
        Psf.from_array(stamp, 0.02)


def test_a_bare_psf_must_be_square_odd_and_finite():
    for stamp, words in ((np.ones((4, 4)), "odd side"), (np.full((5, 5), np.nan), "without a value")):
        with pytest.raises(InputError, match=words):
            Psf(stamp, 0.02)
    with pytest.raises(InputError, match="pixel scale"):
        Psf(gaussian(9, 1.0), 0.0)
    with pytest.raises(InputError, match="energy_fraction"):
        Psf(gaussian(9, 1.0), 0.02, energy_fraction=1.5)


def test_a_stamp_cannot_be_changed_by_accident():
    given = gaussian(21, 2.0)
    psf = Psf(given, 0.02)
    given[:] = 0
    assert psf.stamp.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="read-only"):
        psf.stamp[0, 0] = 1
