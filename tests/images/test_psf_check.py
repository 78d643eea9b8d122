"""The width by which a PSF misses the stars is found: the general law of size errors."""

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images import Psf, compare_psfs


def _gaussian(xx, yy, xy=0.0, n=61):
    rows, columns = np.indices((n, n)) - n // 2
    inverse = np.linalg.inv([[xx, xy], [xy, yy]])
    power = inverse[0, 0] * columns**2 + inverse[1, 1] * rows**2 + 2 * inverse[0, 1] * columns * rows
    stamp = np.exp(-0.5 * power)
    return Psf(stamp / stamp.sum(), 0.02)


@pytest.mark.parametrize("extra", [(0.0, 0.0, 0.0), (0.53, 0.53, 0.0), (-0.3, -0.2, 0.0), (0.4, 0.1, 0.15)])
def test_the_extra_covariance_is_found_whatever_its_sign(extra):
    """0.53 px2 is what an optical PSF without pixel and drizzle response misses."""
    found = compare_psfs(_gaussian(2.25, 2.25), _gaussian(2.25 + extra[0], 2.25 + extra[1], extra[2]))
    # Stamps of Gaussians of 1.5 px alias by 1e-5.
    assert (found.extra_xx, found.extra_yy, found.extra_xy) == pytest.approx(extra, abs=2e-3)
    assert found.energy_ratio == pytest.approx(1, abs=1e-3)
    assert found.residual < 1e-3
    assert found.is_harmless == (extra == (0.0, 0.0, 0.0))


def test_the_sentence_says_which_way_sizes_go():
    assert "as wide as the stars" in str(compare_psfs(_gaussian(2, 2), _gaussian(2, 2)))
    assert "too large" in str(compare_psfs(_gaussian(2, 2), _gaussian(2.5, 2.5)))
    assert "too small" in str(compare_psfs(_gaussian(2.5, 2.5), _gaussian(2, 2)))


def test_other_pixels_and_small_stamps():
    fine = _gaussian(9.0, 9.0, n=121)
    half = Psf(fine.stamp, 0.01)
    assert compare_psfs(half, _gaussian(2.25, 2.25)).is_harmless
    with pytest.raises(InputError, match="smaller radius="):
        compare_psfs(_gaussian(2, 2).trimmed(9), _gaussian(2, 2))
