"""Surface brightness in the size-magnitude plane."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.density_size import constant_brightness_line, surface_brightness
from sc_lab.errors import InputError


def test_a_source_at_ten_parsec_shines_as_its_flux_over_its_area():
    """At 10 pc absolute magnitudes are apparent ones: the half inside a circle of R is spread over pi R^2."""
    r_eff, magnitude = 2e-4 * u.pc, -1.0
    radius = (r_eff / (10 * u.pc)).to_value(u.arcsec, equivalencies=u.dimensionless_angles())
    expected = magnitude + 2.5 * np.log10(2) + 2.5 * np.log10(np.pi * radius**2)
    found = surface_brightness(magnitude, r_eff)
    assert found.unit == u.mag / u.arcsec**2
    np.testing.assert_allclose(found.value, expected, rtol=1e-12)  # rounding


def test_along_a_line_the_brightness_is_the_same():
    radius = np.geomspace(0.1, 1000, 7)
    line = constant_brightness_line(14.0, radius)
    np.testing.assert_allclose(surface_brightness(line, radius).value, 14.0, rtol=1e-12)  # rounding
    assert np.diff(line.value).max() < 0, "larger is brighter at the same brightness of the surface"


def test_radii_of_nothing_are_refused_and_unknown_ones_stay_unknown():
    assert np.isnan(surface_brightness(-10.0, [np.nan, 3.0]).value).tolist() == [True, False]
    for call in (surface_brightness, constant_brightness_line):
        with pytest.raises(InputError, match="radii are above 0"):
            call(10.0, [1.0, 0.0])
