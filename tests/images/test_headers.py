"""Units and sky coordinates are read from headers with their traps, and each trap is said."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from sc_lab.errors import InputError
from sc_lab.images.headers import assumed_wcs, read_wcs, unit_to_njy, wcs_pixel_scale


def _sky(**more):
    return fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CUNIT1": "deg",
            "CUNIT2": "deg",
            "CRVAL1": 15.7,
            "CRVAL2": -49.2,
            "CRPIX1": 50.0,
            "CRPIX2": 50.0,
        }
        | more,
    )


def test_a_left_over_cd_matrix_gives_way_to_pc_and_is_said():
    header = _sky(CDELT1=-0.04 / 3600, CDELT2=0.04 / 3600, PC1_1=1.0, PC2_2=1.0)
    header.update({"CD1_1": -0.02 / 3600, "CD2_2": 0.02 / 3600, "CD1_2": 0.0, "CD2_1": 0.0})
    wcs, remarks = read_wcs(header, "F150W")
    assert wcs_pixel_scale(wcs) == pytest.approx(0.04, rel=1e-9)
    assert "CD matrix" in remarks[0]
    assert '0.02"' in remarks[0]


def test_a_left_over_cd_matrix_beside_cdelt_alone_gives_way_too():
    """PC is left out by astropy when it is the unit matrix."""
    header = _sky(CDELT1=-0.04 / 3600, CDELT2=0.04 / 3600)
    header.update({"CD1_1": -0.02 / 3600, "CD2_2": 0.02 / 3600})
    wcs, remarks = read_wcs(header, "F150W")
    assert wcs_pixel_scale(wcs) == pytest.approx(0.04, rel=1e-9)
    assert remarks


def test_a_lone_cd_matrix_and_an_agreeing_pair_are_no_trap():
    alone = _sky(CD1_1=-0.02 / 3600, CD2_2=0.02 / 3600)
    both = _sky(CDELT1=-0.02 / 3600, CDELT2=0.02 / 3600, CD1_1=-0.02 / 3600, CD2_2=0.02 / 3600)
    for header in (alone, both):
        wcs, remarks = read_wcs(header, "F150W")
        assert wcs_pixel_scale(wcs) == pytest.approx(0.02, rel=1e-9)
        assert remarks == []


@pytest.mark.parametrize(
    "header",
    [fits.Header(), fits.Header({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}), _sky(CDELT1=0.0, CDELT2=0.0)],
)
def test_headers_without_usable_coordinates_give_none(header):
    assert read_wcs(header, "F150W")[0] is None


def test_assumed_coordinates_are_centred_whatever_the_size():
    """Two bands of one patch of sky agree at their centres."""
    for shape, scale in (((419, 419), 0.03), ((209, 209), 0.06)):
        wcs = assumed_wcs(shape, scale)
        assert wcs.all_pix2world([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]], 0)[0] == pytest.approx([0, 0], abs=1e-12)
        assert wcs_pixel_scale(wcs) == pytest.approx(scale)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("nJy", 1.0),
        ("10 nJy", 10.0),
        ("10.0*nanoJansky", 10.0),
        ("uJy", 1000.0),
        ("µJy", 1000.0),
        ("microJy", 1000.0),
        ("Jy/pixel", 1e9),
        ("nJy / pix", 1.0),
        # 1e15 nJy per steradian, of which a square of 0.03" has 2.1154e-14.
        ("MJy/sr", 1e15 * (0.03 * np.pi / 648000) ** 2),
        (u.MJy / u.sr, 1e15 * (0.03 * np.pi / 648000) ** 2),
        (10 * u.nJy, 10.0),
        # 31.4 mag is one nJy to 6e-5 mag.
        ("AB 28.9", 10.0),
        (28.9 * u.ABmag, 10.0),
    ],
)
def test_flux_units_become_nanojansky_per_pixel(unit, factor):
    assert unit_to_njy(unit, None, 0.03, "F150W")[0] == pytest.approx(factor, rel=1e-4)


def test_the_paper_number_for_surface_brightness():
    """1 MJy/sr is 21.15 nJy in a pixel of 0.03 arcsec."""
    assert unit_to_njy("MJy/sr", None, 0.03, "F115W")[0] == pytest.approx(21.15, abs=0.005)


@pytest.mark.parametrize("unit", ["electron / s", "ELECTRONS/S", "e-/s", "counts/s", "cps", "DN/s", "ct s-1"])
def test_count_rates_use_the_photometric_keywords(unit):
    """WFC3/IR F105W has the AB zero point 26.27, so that one electron per second is 112.8 nJy."""
    header = fits.Header({"PHOTFLAM": 3.0386573999e-20, "PHOTPLAM": 10551.047})
    factor, _, _ = unit_to_njy(unit, header, 0.06, "F105W")
    assert 31.4 - 2.5 * np.log10(factor) == pytest.approx(26.27, abs=0.005)


def test_counts_are_divided_by_the_exposure_time():
    header = fits.Header({"PHOTFLAM": 3.0386573999e-20, "PHOTPLAM": 10551.047, "EXPTIME": 1000.0})
    rate = unit_to_njy("electron/s", header, 0.06, "F105W")[0]
    assert unit_to_njy("electrons", header, 0.06, "F105W")[0] == pytest.approx(rate / 1000)


def test_a_zero_point_in_the_header_serves_count_rates():
    assert unit_to_njy("electron/s", fits.Header({"ABZP": 28.9}), 0.06, "F105W")[0] == pytest.approx(10, rel=1e-4)


def test_no_unit_is_refused_and_the_argument_named():
    with pytest.raises(InputError, match=r'no BUNIT.*units=\{"F150W": "MJy/sr"\}'):
        unit_to_njy(None, fits.Header(), 0.03, "F150W")


def test_photometric_keywords_without_a_unit_are_read_aloud():
    header = fits.Header({"PHOTFLAM": 3.0386573999e-20, "PHOTPLAM": 10551.047})
    _, unit, remarks = unit_to_njy(None, header, 0.06, "F105W")
    assert unit == "electron/s"
    assert "units= overrides" in remarks[0]


def test_disagreeing_photometric_keywords_are_said():
    header = fits.Header({"PHOTFLAM": 3.0386573999e-20, "PHOTPLAM": 10551.047, "PHOTFNU": 1e-8, "BUNIT": "electron/s"})
    assert "PHOTFNU" in unit_to_njy(None, header, 0.06, "F105W")[2][0]


@pytest.mark.parametrize(
    ("unit", "words"), [("electron/s", "zero point"), ("furlong", "no flux density"), ("K", "no flux")]
)
def test_units_that_are_no_flux_are_refused(unit, words):
    with pytest.raises(InputError, match=words):
        unit_to_njy(unit, fits.Header(), 0.03, "F150W")


def test_a_pixel_area_that_is_not_the_mosaic_s_is_said_and_not_used():
    header = fits.Header({"BUNIT": "MJy/sr", "PIXAR_SR": 9.31e-14})
    factor, _, remarks = unit_to_njy(None, header, 0.03, "F444W")
    assert factor == pytest.approx(21.15, abs=0.005)
    assert "PIXAR_SR" in remarks[0]
