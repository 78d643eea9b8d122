"""Colour pictures: the stretch is Lupton's, bands are brought to one grid, channels have their own limits."""

import astropy.units as u
import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb

from sc_lab.errors import InputError
from sc_lab.images import Field, lupton, on_reference_grid, rgb
from sc_lab.images.headers import assumed_wcs
from sc_lab.mock import make_field


def test_the_stretch_is_that_of_astropy():
    rng = np.random.default_rng(1)
    red, green, blue = rng.gamma(1.0, 2.0, (3, 40, 50))
    ours = lupton([red, green, blue], stretch=5.0, q=8.0, minimum=0.0)
    theirs = make_lupton_rgb(red, green, blue, minimum=0.0, stretch=5.0, Q=8.0)
    # Theirs truncates to whole numbers, ours rounds.
    assert np.abs(ours[..., :3].astype(int) - theirs.astype(int)).max() <= 1
    assert (ours[..., 3] == 255).all()


def test_bright_pixels_keep_their_hue():
    picture = lupton(np.array([2e6, 1e6, 5e5])[:, None, None] * np.ones((3, 2, 2)), stretch=1.0, minimum=0.0)
    assert picture[0, 0, 0] == 255
    assert picture[0, 0, 1] == pytest.approx(127.5, abs=1)
    assert picture[0, 0, 2] == pytest.approx(63.75, abs=1)


def test_the_maximum_sets_the_balance_of_the_channels():
    """A source of colour (4, 2, 1) is white where the maxima are (4, 2, 1)."""
    channels = np.array([4.0, 2.0, 1.0])[:, None, None] * np.linspace(0, 1, 16).reshape(4, 4)
    balanced = lupton(channels, stretch=1.0, minimum=0.0, maximum=(4.0, 2.0, 1.0))
    np.testing.assert_array_equal(balanced[..., 0], balanced[..., 2])


def test_pixels_without_a_value_are_transparent():
    channels = np.ones((3, 3, 3))
    channels[:, 0, 0] = np.nan
    channels[0, 1, 1] = np.nan
    alpha = lupton(channels, stretch=1.0, minimum=0.0)[..., 3]
    assert alpha[0, 0] == 0
    assert alpha[1, 1] == 255


def _field():
    """A source at one place of the sky in two bands of other pixels."""
    images = {}
    for band, n, sigma in (("F150W", 200, 4.0), ("F277W", 100, 2.0)):
        rows, columns = np.indices((n, n))
        at = (120.5 * n / 200 - 0.5, 80.5 * n / 200 - 0.5)
        images[band] = (
            1000 * np.exp(-0.5 * ((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
        )
    wcs = {"F150W": assumed_wcs((200, 200), 0.02), "F277W": assumed_wcs((100, 100), 0.04)}
    return Field.from_arrays(images, errors={"F150W": 1, "F277W": 1}, wcs=wcs)


def test_bands_lie_on_top_of_each_other():
    field = _field()
    one, two = (on_reference_grid(field, band, 90, 50, 60, 60) for band in ("F150W", "F277W"))
    # Linear interpolation of pixels of half a sigma takes 6 % of the peak; fluxes per reference pixel agree.
    assert np.abs(one - two).max() < 0.08 * one.max()
    assert two.sum() == pytest.approx(one.sum(), rel=0.01)
    assert np.unravel_index(np.argmax(two), two.shape) in {(30, 30), (30, 31), (31, 30), (31, 31), (29, 30), (30, 29)}


def test_a_picture_may_reach_over_the_edge_and_bands_are_checked():
    field = _field()
    picture = rgb(field, ("F277W", "F150W", "f150w"), -10, -10, 50, 40)
    assert picture.shape == (40, 50, 4)
    assert picture.dtype == np.uint8
    assert (picture[:9, :, 3] == 0).all()
    with pytest.raises(InputError, match="takes three"):
        rgb(field, ("F150W", "F277W"), 0, 0, 5, 5)
    with pytest.raises(InputError, match="no band"):
        rgb(field, ("F150W", "F277W", "F444W"), 0, 0, 5, 5)
    with pytest.raises(InputError, match="above 0"):
        rgb(field, ("F150W",) * 3, 0, 0, 5, 5, stretch=-1.0)
    with pytest.raises(InputError, match="maximum"):
        rgb(field, ("F150W",) * 3, 0, 0, 5, 5, minimum=1.0, maximum=0.5)
    with pytest.raises(InputError, match="one number, or three"):
        rgb(field, ("F150W",) * 3, 0, 0, 5, 5, minimum=(1.0, 2.0))


def test_bands_on_one_grid_keep_their_outermost_pixels():
    """Rounding in the projection must not put the rim of an aligned band outside the mosaic."""
    field = make_field(seed=1, size=6 * u.arcsec, bands=("F115W", "F150W", "F200W"))
    ny, nx = field["F150W"].shape
    for band in ("F115W", "F200W"):
        assert np.array_equal(on_reference_grid(field, band, 0, 0, nx, ny), field[band].cutout(0, 0, nx, ny)[0])


@pytest.mark.parametrize("option", [{"stretch": "a"}, {"stretch": 0.0}, {"q": -1.0}])
def test_a_stretch_that_is_no_number_is_refused_in_words(option):
    field = Field.from_arrays({"F150W": np.ones((4, 4))}, wcs=assumed_wcs((4, 4), 0.02))
    with pytest.raises(InputError, match="give a number above 0"):
        rgb(field, ("F150W",) * 3, 0, 0, 4, 4, **option)
