"""Counting noise of sources: added where the error map holds the sky's alone."""

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images import Field
from sc_lab.images.headers import assumed_wcs


def field_of(data: np.ndarray, **options) -> Field:
    return Field.from_arrays({"F150W": data}, errors={"F150W": 0.5}, wcs=assumed_wcs(data.shape, 0.02), **options)


def test_the_error_of_a_pixel_is_that_of_the_sky_and_of_its_electrons():
    data = np.array([[0.0, 4.0, -3.0, 100.0]])
    error = field_of(data, gains={"F150W": 16.0})["F150W"].cutout(0, 0, 4, 1)[1]
    assert error == pytest.approx(np.sqrt(0.25 + np.array([[0.0, 4.0, 0.0, 100.0]]) / 16.0), rel=1e-12)
    assert (field_of(data)["F150W"].cutout(0, 0, 4, 1)[1] == 0.5).all()


def test_the_errors_have_the_width_of_the_scatter():
    rng = np.random.default_rng(1)
    gain, signal = 20.0, 6.0
    data = rng.poisson(signal * gain, (300, 300)) / gain + rng.normal(0.0, 0.5, (300, 300))
    error = field_of(data, gains={"F150W": gain})["F150W"].cutout(0, 0, 300, 300)[1]
    # 90 000 pixels tell a width to 0.25 %; the pull is a little skew, as each error comes from its own pixel.
    assert np.std((data - signal) / error) == pytest.approx(1.0, abs=0.02)


def test_a_field_takes_gains_later_and_refuses_impossible_ones():
    field = field_of(np.ones((3, 3)))
    assert field.replace(gains={"F150W": 4.0})["F150W"].gain == 4.0
    assert field["F150W"].gain is None
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="electrons per nJy"):
            field.replace(gains={"F150W": wrong})
