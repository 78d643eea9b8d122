"""Synthetic clusters behind any lens: apart, within their limits, and refused in words where that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images import Psf
from sc_lab.mock import make_clusters
from sc_lab.mock.lens import make_lens
from sc_lab.mock.psfs import FILTERS, SyntheticPsf, synthesise_psf


def _psf(band: str, scale: float = 0.02) -> Psf:
    stamp = synthesise_psf(band).sampled(scale)
    middle = stamp.shape[0] // 2
    cut = stamp[middle - 60 : middle + 61, middle - 60 : middle + 61]
    return Psf(stamp=cut, pixel_scale=scale, energy_fraction=float(cut.sum()), band=band)


@pytest.fixture(scope="module")
def lens() -> object:
    """Return the mock lens without members."""
    return make_lens(np.empty(0), np.empty(0), np.empty(0))


def test_images_are_apart_and_within_their_limits(lens) -> None:
    field = make_clusters(lens, {"F150W": _psf("F150W")}, size=16.0, offset=(8.0, 8.0), n=60, separation=20.0)
    truth = field.truth
    assert len(truth) > 40
    distance = np.hypot(truth["x"][:, None] - truth["x"][None, :], truth["y"][:, None] - truth["y"][None, :])
    assert distance[~np.eye(len(truth), dtype=bool)].min() > 20.0
    covariance = np.stack([truth["cov_xx"], truth["cov_xy"], truth["cov_xy"], truth["cov_yy"]], -1).reshape(-1, 2, 2)
    # 2.5 px is the largest standard deviation that boxes of 9 px can tell from the plane below them.
    assert np.sqrt(np.linalg.eigvalsh(covariance).max()) < 2.5 * (1 + 1e-9)
    first = np.unique(truth["source"], return_index=True)[1]
    assert truth["snr"][first].min() >= 5 * (1 - 1e-9)
    assert truth["snr"][first].max() <= 100 * (1 + 1e-9)


def test_a_stamp_is_taken_over_exactly() -> None:
    stamp = _psf("F150W").stamp
    taken = SyntheticPsf.from_stamp(stamp, 0.02, energy=0.9)
    again = taken.sampled(0.02)
    middle = again.shape[0] // 2
    found = again[middle - 60 : middle + 61, middle - 60 : middle + 61]
    # The Nyquist frequency of an even box is left out: 1e-6 of the peak of a critically sampled PSF.
    assert np.abs(found / 0.9 * stamp.sum() - stamp).max() < 2e-6 * stamp.max()
    assert again.sum() == pytest.approx(0.9, abs=1e-12)


def test_refuses_in_words(lens) -> None:
    with pytest.raises(InputError, match="the reference is F150W"):
        make_clusters(lens, {"F200W": _psf("F200W")})
    with pytest.raises(InputError, match="one pixel scale"):
        make_clusters(lens, {"F150W": _psf("F150W"), "F277W": _psf("F277W", 0.04)})
    with pytest.raises(InputError, match="found a place"):
        make_clusters(lens, {"F150W": _psf("F150W")}, size=4.0, offset=(300.0, 300.0), n=5)
    with pytest.raises(InputError, match="odd square"):
        SyntheticPsf.from_stamp(np.ones((10, 10)), 0.02)
    assert "F150W" in FILTERS
