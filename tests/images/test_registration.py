"""Offsets between bands are measured on their pictures, said where coordinates were assumed, and mended."""

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images import Field, align, band_offset


def _scene(n, scale, offset=(0.0, 0.0), seed=1, noise=0.02):
    """Twelve sources around the middle of the sky, seen with a wider PSF in larger pixels."""
    rng = np.random.default_rng(5)
    rows, columns = np.indices((n, n))
    image = np.random.default_rng(seed).normal(0, noise, (n, n))
    for _ in range(12):
        x, y = rng.uniform(-1.6, 1.6, 2)
        flux = rng.uniform(20, 200)
        width = 1.7
        at = (n - 1) / 2 + np.array([x + offset[0], y + offset[1]]) / scale
        image += (
            flux * np.exp(-0.5 * ((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / width**2) / (2 * np.pi * width**2)
        )
    return image


def _field(offset):
    images = {"F150W": _scene(240, 0.03), "F277W": _scene(120, 0.06, offset, seed=2)}
    return Field.from_arrays(images, errors={"F150W": 0.02, "F277W": 0.02}, pixel_scales={"F150W": 0.03, "F277W": 0.06})


@pytest.mark.parametrize("offset", [(0.0, 0.0), (-0.045, 0.005), (0.13, -0.21)])
def test_an_offset_is_measured_to_a_tenth_of_a_pixel(offset):
    dx, dy, likeness = band_offset(_field(offset), "F277W")
    # A tenth of the reference pixel; linear interpolation of the larger pixels costs some of it.
    assert (dx, dy) == (pytest.approx(offset[0], abs=0.004), pytest.approx(offset[1], abs=0.004))
    assert likeness > 0.7


def test_a_misplaced_band_is_said_and_aligned():
    field = _field((-0.045, 0.005))
    assert any("align() moves it" in said for said in field.cautions)
    mended = align(field)
    dx, dy, _ = band_offset(mended, "F277W")
    assert np.hypot(dx, dy) < 0.004
    assert any("moved by (+0.04" in said for said in mended.cautions)
    assert not any("align()" in said for said in mended.cautions)
    assert mended["F150W"].wcs is field["F150W"].wcs


def test_bands_in_place_are_not_accused():
    assert not any("align()" in said for said in _field((0.0, 0.0)).cautions)


def test_empty_bands_are_neither_accused_nor_aligned():
    rng = np.random.default_rng(3)
    images = {band: rng.normal(size=(150, 150)) for band in ("F150W", "F200W")}
    field = Field.from_arrays(images, errors=dict.fromkeys(images, 1.0), pixel_scales=0.02)
    assert not any("align()" in said for said in field.cautions)
    with pytest.raises(InputError, match="too unlike"):
        align(field)
