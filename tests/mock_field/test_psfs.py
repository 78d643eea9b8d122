"""Synthetic PSFs are centred, normalised and as wide as those of real mosaics."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images import Psf
from sc_lab.mock.psfs import BOX, FILTERS, half_maximum_width, segmented_pupil, synthesise_psf

#: Measured on the 20 mas drizzled NIRCam models of a public library [arcsec].
_REAL = {"F090W": 0.050, "F115W": 0.055, "F150W": 0.060, "F200W": 0.068, "F277W": 0.108, "F356W": 0.134, "F444W": 0.151}


@pytest.mark.parametrize("band", FILTERS)
def test_sums_to_one_and_is_centred(band: str) -> None:
    stamp = synthesise_psf(band).sampled(FILTERS[band].pixel_scale)
    middle = stamp.shape[0] // 2
    assert stamp.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.unravel_index(stamp.argmax(), stamp.shape) == (middle, middle)
    # Symmetric under a half turn to rounding, so the centroid of every box is its middle.
    core = stamp[middle - 20 : middle + 21, middle - 20 : middle + 21]
    assert np.abs(core - core[::-1, ::-1]).max() < 1e-14
    # A band-limited PSF may ring below zero, but not by more than folding and the cut of the box leave.
    assert stamp.min() > -1e-6 * stamp.max()


@pytest.mark.parametrize(("band", "width"), _REAL.items())
def test_is_as_wide_as_real_mosaics(band: str, width: float) -> None:
    """Within 8 mas: the aberrations that are left out, and the smaller drop of real short-wave drizzles."""
    assert half_maximum_width(synthesise_psf(band).sampled(0.005), 0.005) == pytest.approx(width, abs=0.008)


def test_f150w_has_the_width_that_sizes_are_quoted_against() -> None:
    """0.06 arcsec, 3 pixels of 20 mas; a mas is the step of the fine grid over which the area is counted."""
    assert half_maximum_width(synthesise_psf("F150W").sampled(0.005), 0.005) == pytest.approx(0.060, abs=0.001)


def test_samples_of_any_density_show_one_function() -> None:
    psf = synthesise_psf("F277W")
    coarse, fine = psf.sampled(0.04), psf.sampled(0.02)
    middle, fine_middle = coarse.shape[0] // 2, fine.shape[0] // 2
    part = fine[fine_middle - 40 : fine_middle + 41 : 2, fine_middle - 40 : fine_middle + 41 : 2]
    # Point samples per pixel area: the same to rounding, four times the flux in four times the area.
    assert np.allclose(4.0 * part, coarse[middle - 20 : middle + 21, middle - 20 : middle + 21], rtol=0, atol=1e-15)


def test_pupil_is_the_segmented_mirror() -> None:
    """18 hexagons of 1.32 m across the flats, less three legs of 0.1 m along about 2.5 m of mirror each."""
    area = segmented_pupil().mean() * 6.72**2
    segments = 18 * np.sqrt(3) / 2 * 1.32**2
    assert segments - 3 * 0.1 * 3.0 < area < segments - 3 * 0.1 * 2.0


def test_the_field_holds_the_middle_and_counts_the_rest(field) -> None:
    for name in field.names:
        psf = field[name].psf
        assert isinstance(psf, Psf)
        assert psf.stamp.sum() == pytest.approx(psf.energy_fraction, abs=1e-12)
        whole = synthesise_psf(name).sampled(field[name].pixel_scale)
        assert psf.stamp.max() == pytest.approx(whole.max(), rel=1e-12)


def test_refuses_in_words() -> None:
    with pytest.raises(InputError, match="F999W"):
        synthesise_psf("F999W")
    with pytest.raises(InputError, match=f"{BOX:g} arcsec divided"):
        synthesise_psf("F150W").sampled(0.017)
