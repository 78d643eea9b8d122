"""A field gives cut-outs in nJy with usable errors, knows its sky, and says what was odd in its files."""

import tracemalloc

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from sc_lab.errors import InputError
from sc_lab.images import Field, Psf
from sc_lab.images.headers import assumed_wcs


def _gaussian(n=31, sigma=2.0):
    y, x = np.indices((n, n)) - n // 2
    return np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2)


def _noise(shape, sigma=1.0, seed=1):
    return np.random.default_rng(seed).normal(0, sigma, shape)


def _write(path, data, **header):
    fits.PrimaryHDU(data, fits.Header(header)).writeto(path, overwrite=True)
    return path


def _sky_header(scale, n, *, rotation=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [342.18, -44.53]
    wcs.wcs.crpix = [(n + 1) / 2, (n + 1) / 2]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    c, s = np.cos(np.deg2rad(rotation)), np.sin(np.deg2rad(rotation))
    wcs.wcs.pc = [[c, -s], [s, c]]
    wcs.wcs.radesys = "ICRS"
    return wcs.to_header()


# ---- pixels ------------------------------------------------------------------------------


def test_cutouts_are_in_nanojansky_with_their_errors():
    image = np.arange(20.0).reshape(4, 5)
    field = Field.from_arrays({"f150w": image}, errors={"F150W": 2.0}, units="10 nJy", pixel_scales=0.02)
    data, error = field["F150W"].cutout(1, 2, 3, 2)
    np.testing.assert_allclose(data, image[2:4, 1:4] * 10)
    np.testing.assert_allclose(error, 20.0)


def test_outside_the_mosaic_there_are_nans():
    field = Field.from_arrays({"F150W": np.ones((4, 5))}, errors={"F150W": 1.0}, pixel_scales=0.02)
    data, error = field["F150W"].cutout(-1, -2, 4, 4)
    assert np.isnan(data[:2]).all()
    assert np.isnan(data[:, 0]).all()
    assert (data[2:, 1:] == 1).all()
    assert np.isnan(error[np.isnan(data)]).all()
    far, _ = field["F150W"].cutout(100, 100, 3, 3)
    assert np.isnan(far).all()


def test_unusable_errors_and_masked_pixels_are_nan_and_the_data_stay():
    image, error, mask = np.ones((4, 4)), np.full((4, 4), 0.5), np.zeros((4, 4))
    image[0, 0] = np.nan
    error[1, :3] = 0, -1, np.inf
    mask[2, 2] = 1
    field = Field.from_arrays({"F150W": image}, errors={"F150W": error}, masks={"F150W": mask}, pixel_scales=0.02)
    data, sigma = field["F150W"].cutout(0, 0, 4, 4)
    bad = np.zeros((4, 4), dtype=bool)
    bad[0, 0] = bad[1, 0] = bad[1, 1] = bad[1, 2] = bad[2, 2] = True
    np.testing.assert_array_equal(np.isnan(sigma), bad)
    assert data[2, 2] == 1
    assert error[1, 0] == 0, "the caller's array is not touched"


def test_weights_are_inverse_variances():
    weight = np.array([[4.0, 0.0], [-1.0, 25.0]])
    field = Field.from_arrays({"F150W": np.ones((2, 2))}, weights={"F150W": weight}, pixel_scales=0.02)
    _, error = field["F150W"].cutout(0, 0, 2, 2)
    np.testing.assert_allclose(error, [[0.5, np.nan], [np.nan, 0.2]])


def test_without_an_error_map_the_sky_is_measured_and_said():
    field = Field.from_arrays({"F150W": _noise((300, 300), 3.0)}, pixel_scales=0.02)
    _, error = field["F150W"].cutout(0, 0, 5, 5)
    # 9e4 pixels give the scatter to 0.3 %; the background mesh takes up to 1 %.
    assert error[0, 0] == pytest.approx(3.0, rel=0.02)
    assert "no error map" in field.cautions[1]


@pytest.mark.parametrize("box", [(0.5, 0, 3, 3), (0, 0, 0, 3), (np.nan, 0, 3, 3)])
def test_senseless_cutouts_are_refused(box):
    field = Field.from_arrays({"F150W": np.ones((4, 5))}, errors={"F150W": 1.0}, pixel_scales=0.02)
    with pytest.raises(InputError, match=r"whole pixel|has no pixel"):
        field["F150W"].cutout(*box)


# ---- noise maps --------------------------------------------------------------------------


def test_a_floored_noise_map_is_measured_said_and_mendable():
    """The COSMOS-Web Ring's maps are floored at up to three times the true scatter."""
    image, error = {"F277W": _noise((256, 256), 0.01)}, {"F277W": np.full((256, 256), 0.03)}
    field = Field.from_arrays(image, errors=error, pixel_scales=0.06)
    assert any("3.0" in said and 'noise_scale="measure"' in said for said in field.cautions)
    for mended in (
        Field.from_arrays(image, errors=error, pixel_scales=0.06, noise_scale="measure"),
        field.replace(noise_scale="measure"),
    ):
        # As above: 1 % from the background mesh.
        assert mended["F277W"].cutout(0, 0, 2, 2)[1] == pytest.approx(0.01, rel=0.03)
    by_hand = Field.from_arrays(image, errors=error, pixel_scales=0.06, noise_scale={"F277W": 0.5})
    assert by_hand["F277W"].cutout(0, 0, 2, 2)[1] == pytest.approx(0.015)


def test_an_honest_noise_map_is_not_accused():
    rng = np.random.default_rng(3)
    image = rng.normal(0, 1, (256, 256))
    image[100:140, 100:140] += 500 * _gaussian(40, 6)
    field = Field.from_arrays({"F150W": image}, errors={"F150W": np.ones((256, 256))}, pixel_scales=0.02)
    assert not any("error map is" in said for said in field.cautions)


def test_bad_errors_are_counted_aloud():
    error = np.ones((256, 256))
    error[:, :40] = 0
    error[:, 40:60] = -1
    field = Field.from_arrays({"F150W": _noise((256, 256))}, errors={"F150W": error}, pixel_scales=0.02)
    assert any("23.4 % of the sampled pixels have no usable error" in said for said in field.cautions)


@pytest.mark.parametrize("scale", ["measured", 0.0, -1.0, np.nan])
def test_a_senseless_noise_scale_is_refused(scale):
    with pytest.raises(InputError, match="noise_scale"):
        Field.from_arrays({"F150W": np.ones((9, 9))}, errors={"F150W": 1.0}, pixel_scales=0.02, noise_scale=scale)


# ---- sky ---------------------------------------------------------------------------------


def test_positions_go_to_the_sky_and_back():
    field = Field.from_arrays(
        {"F150W": np.zeros((200, 200))}, wcs=WCS(_sky_header(0.02, 200, rotation=33)), errors={"F150W": 1}
    )
    x, y = np.array([[0.0, 10.5], [150.0, -30.0]]), np.array([[0.0, 99.5], [20.0, 250.0]])
    back = field["F150W"].to_pixel(*field["F150W"].to_sky(x, y))
    # A degree has 15 significant digits: 1e-13 deg is 2e-8 px of 0.02".
    np.testing.assert_allclose(back, (x, y), atol=1e-6)


def test_bands_of_other_scales_share_the_half_pixel():
    """x2 = (x1 + 0.5) s1 / s2 - 0.5 for aligned grids with a common corner; without it centres move by 0.25 px."""
    fine, coarse = assumed_wcs((200, 200), 0.02), assumed_wcs((100, 100), 0.04)
    field = Field.from_arrays(
        {"F150W": np.zeros((200, 200)), "F277W": np.zeros((100, 100))},
        wcs={"F150W": fine, "F277W": coarse},
        errors={"F150W": 1, "F277W": 1},
    )
    x, y = field["F277W"].to_pixel(*field["F150W"].to_sky(120.0, 31.0))
    # The tangent planes are the same one, so only round-off is left.
    assert (x, y) == (pytest.approx(120.5 / 2 - 0.5, abs=1e-6), pytest.approx(31.5 / 2 - 0.5, abs=1e-6))
    np.testing.assert_allclose(field["F150W"].jacobian_to(field["F277W"], 120.0, 31.0), np.eye(2) / 2, atol=1e-6)


def test_the_jacobian_carries_offsets_between_rotated_bands():
    field = Field.from_arrays(
        {"F150W": np.zeros((200, 200)), "F277W": np.zeros((100, 100))},
        wcs={"F150W": WCS(_sky_header(0.02, 200)), "F277W": WCS(_sky_header(0.04, 100, rotation=30))},
        errors={"F150W": 1, "F277W": 1},
    )
    one, two = field["F150W"], field["F277W"]
    at = np.array([50.0, 90.0]), np.array([80.0, 10.0])
    jacobian = one.jacobian_to(two, *at)
    assert jacobian.shape == (2, 2, 2)
    step = np.array([0.3, -0.2])
    moved = np.array(two.to_pixel(*one.to_sky(at[0] + step[0], at[1] + step[1])))
    start = np.array(two.to_pixel(*one.to_sky(*at)))
    # The projection bends by 1e-9 px over a pixel.
    np.testing.assert_allclose((jacobian @ step).T, moved - start, atol=1e-6)
    np.testing.assert_allclose(np.abs(np.linalg.det(jacobian)), 0.25, rtol=1e-6)


def test_other_frames_are_brought_to_icrs():
    header = _sky_header(0.06, 100)
    header["RADESYS"], header["EQUINOX"] = "FK5", 2000.0
    field = Field.from_arrays({"F105W": np.zeros((100, 100))}, wcs=WCS(header), errors={"F105W": 1})
    ra, dec = field["F105W"].to_sky(49.5, 49.5)
    assert SkyCoord(ra, dec, unit="deg").separation(SkyCoord(342.18, -44.53, unit="deg", frame="fk5")).arcsec < 1e-6
    assert field["F105W"].to_pixel(ra, dec) == (pytest.approx(49.5, abs=1e-6), pytest.approx(49.5, abs=1e-6))


def test_positions_that_the_projection_does_not_reach_are_nan():
    field = Field.from_arrays({"F150W": np.zeros((20, 20))}, errors={"F150W": 1}, pixel_scales=0.02)
    x, _ = field["F150W"].to_pixel([0.0, 180.0, np.nan], [0.0, 0.0, 0.0])
    assert np.isfinite(x).tolist() == [True, False, False]


# ---- files and their traps ---------------------------------------------------------------


def test_files_open_with_their_headers(tmp_path):
    data = _noise((100, 100)).astype("f4")
    path = _write(tmp_path / "f150w.fits", data, **_sky_header(0.02, 100), BUNIT="nJy")
    error = _write(tmp_path / "f150w_err.fits", np.ones((100, 100), "f4"))
    field = Field.from_files(
        {"F150W": path}, errors={"F150W": error}, psfs={"F150W": Psf(_gaussian(), 0.02)}, name="AS1063"
    )
    assert field.cautions == ()
    assert field.reference == "F150W"
    np.testing.assert_allclose(field["f150w"].cutout(3, 4, 5, 6)[0], data[4:10, 3:8])
    assert "AS1063" in repr(field)


def test_errors_and_weights_beside_the_image_are_found(tmp_path):
    for extension, value in (("ERR", 0.5), ("WHT", 4.0)):
        path = tmp_path / f"{extension}.fits"
        header = _sky_header(0.02, 50)
        header["BUNIT"] = "nJy"
        fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.ImageHDU(_noise((50, 50), 0.5), header, name="SCI"),
                fits.ImageHDU(np.full((50, 50), value), name=extension),
            ],
        ).writeto(path)
        field = Field.from_files({"F150W": path})
        assert (field["F150W"].cutout(0, 0, 2, 2)[1] == 0.5).all()
        assert extension in field.cautions[0]
    field = Field.from_files({"F150W": path}, errors={"F150W": (path, "WHT")})
    assert (field["F150W"].cutout(0, 0, 2, 2)[1] == 4).all()


def test_an_rms_map_without_coordinates_is_no_trouble(tmp_path):
    path = _write(tmp_path / "sci.fits", _noise((40, 40)), **_sky_header(0.06, 40), BUNIT="nJy")
    rms = _write(tmp_path / "rms.fits", np.ones((40, 40)))
    assert (Field.from_files({"F105W": path}, errors={"F105W": rms})["F105W"].cutout(0, 0, 2, 2)[1] == 1).all()


def test_no_unit_and_no_coordinates_are_refused_with_the_argument_that_mends_them(tmp_path):
    path = _write(tmp_path / "bare.fits", _noise((40, 40)))
    with pytest.raises(InputError, match=r'pixel_scales=\{"F115W": 0.03\}'):
        Field.from_files({"F115W": path})
    with pytest.raises(InputError, match=r'units=\{"F115W": "MJy/sr"\}'):
        Field.from_files({"F115W": path}, pixel_scales={"F115W": 0.03})
    field = Field.from_files({"F115W": path}, pixel_scales=0.03, units={"F115W": "MJy/sr"})
    assert "RA = Dec = 0" in field.cautions[0]
    assert field["F115W"].to_njy == pytest.approx(21.15, abs=0.005)


def test_a_band_without_coordinates_takes_those_of_one_of_its_shape(tmp_path):
    one = _write(tmp_path / "one.fits", _noise((40, 40)), **_sky_header(0.02, 40), BUNIT="nJy")
    two = _write(tmp_path / "two.fits", _noise((40, 40)), BUNIT="nJy")
    three = _write(tmp_path / "three.fits", _noise((20, 20)), BUNIT="nJy")
    field = Field.from_files({"F150W": one, "F200W": two})
    assert any("those of F150W" in said for said in field.cautions)
    with pytest.raises(InputError, match=r"would not match|pixel scale"):
        Field.from_files({"F150W": one, "F277W": three}, pixel_scales={"F277W": 0.04})
    named = Field.from_files({"F150W": one, "F200W": two}, wcs={"F200W": "F150W"})
    assert not any("those of" in said for said in named.cautions)


def test_maps_of_another_shape_and_unknown_bands_are_refused():
    with pytest.raises(InputError, match="error map has 3 x 2 pixels"):
        Field.from_arrays({"F150W": np.ones((4, 5))}, errors={"F150W": np.ones((2, 3))}, pixel_scales=0.02)
    with pytest.raises(InputError, match="errors are given for F200W"):
        Field.from_arrays({"F150W": np.ones((4, 5))}, errors={"F200W": 1.0}, pixel_scales=0.02)
    field = Field.from_arrays({"F150W": np.ones((4, 5))}, errors={"F150W": 1.0}, pixel_scales=0.02)
    with pytest.raises(InputError, match="no band 'F444W'; its bands are F150W"):
        field["F444W"]
    with pytest.raises(InputError, match="at least one band"):
        Field.from_arrays({})
    with pytest.raises(InputError, match="two-dimensional"):
        Field.from_arrays({"F150W": np.ones(5)}, pixel_scales=0.02)
    with pytest.raises(InputError, match="give a path"):
        Field.from_files({"F150W": np.ones((5, 5))})


# ---- PSFs of bands -----------------------------------------------------------------------


def test_psfs_are_brought_to_the_grid_of_their_band():
    images = {"F150W": np.zeros((60, 60))}
    kept = Field.from_arrays(images, errors={"F150W": 1}, pixel_scales=0.02, psfs={"F150W": Psf(_gaussian(), 0.01)})
    assert (kept["F150W"].psf.oversampling, kept["F150W"].psf.pixel_scale) == (2, pytest.approx(0.01))
    moved = Field.from_arrays(images, errors={"F150W": 1}, pixel_scales=0.02, psfs={"F150W": Psf(_gaussian(), 0.015)})
    assert moved["F150W"].psf.pixel_scale == pytest.approx(0.02)
    assert any("resampled" in said for said in moved.cautions)


def test_a_psf_without_a_scale_is_taken_at_the_band_s_aloud():
    field = Field.from_arrays(
        {"F150W": np.zeros((60, 60))}, errors={"F150W": 1}, pixel_scales=0.02, psfs={"F150W": _gaussian(sigma=1.3)}
    )
    assert any("psf_scales= overrides" in said for said in field.cautions)
    told = Field.from_arrays(
        {"F150W": np.zeros((60, 60))},
        errors={"F150W": 1},
        pixel_scales=0.02,
        psfs={"F150W": _gaussian(sigma=1.3)},
        psf_scales=0.02,
    )
    assert not any("psf_scales= overrides" in said for said in told.cautions)


def test_a_psf_far_from_the_optics_is_questioned():
    """A stamp of 0.015" pixels that is taken for 0.03" looks twice as wide as NIRCam can be."""
    field = Field.from_arrays(
        {"F150W": np.zeros((60, 60))}, errors={"F150W": 1}, pixel_scales=0.03, psfs={"F150W": _gaussian()}
    )
    assert any("the optics give" in said for said in field.cautions)


# ---- the object --------------------------------------------------------------------------


def test_replace_shares_pixels_and_leaves_the_first_alone():
    field = Field.from_arrays(
        {"F150W": np.ones((9, 9)), "F200W": np.ones((9, 9))}, errors={"F150W": 1, "F200W": 1}, pixel_scales=0.02
    )
    changed = field.replace(
        galaxies=("g",), lenses=("l",), name="n", reference="f200w", psfs={"F150W": Psf(_gaussian(), 0.02)}
    )
    assert (changed.galaxies, changed.lenses, changed.name, changed.reference) == (("g",), ("l",), "n", "F200W")
    assert changed["F150W"].psf is not None
    assert field["F150W"].psf is None
    assert field.galaxies == ()
    assert changed["F200W"] is field["F200W"]
    with pytest.raises(InputError, match="has no pixels"):
        field.replace(pixels=1)


def test_the_reference_is_the_paper_s_band_else_the_finest():
    sizes = {"F444W": (20, 20), "F150W": (40, 40), "F090W": (40, 40)}
    scales = {"F444W": 0.04, "F150W": 0.02, "F090W": 0.02}
    images = {band: np.zeros(shape) for band, shape in sizes.items()}
    errors = dict.fromkeys(sizes, 1)
    assert Field.from_arrays(images, errors=errors, pixel_scales=scales).reference == "F150W"
    odd = {"X1": np.zeros((20, 20)), "X2": np.zeros((40, 40))}
    assert Field.from_arrays(odd, errors={"X1": 1, "X2": 1}, pixel_scales={"X1": 0.04, "X2": 0.02}).reference == "X2"
    with pytest.raises(InputError, match="no band"):
        Field.from_arrays(odd, errors={"X1": 1, "X2": 1}, pixel_scales=0.1, reference="F150W")


def test_hashes_are_those_of_the_files_and_of_the_pixels(tmp_path):
    import hashlib

    path = _write(tmp_path / "one.fits", _noise((40, 40)), **_sky_header(0.02, 40), BUNIT="nJy")
    field = Field.from_files({"F150W": path})
    assert field.hashes["F150W"] == hashlib.sha256(path.read_bytes()).hexdigest()
    a, b = (
        Field.from_arrays({"F150W": np.full((9, 9), v)}, errors={"F150W": 1}, pixel_scales=0.02) for v in (1.0, 2.0)
    )
    assert a.hashes["F150W"] != b.hashes["F150W"]
    assert len(a.hashes) == 1


def test_a_field_reaches_another_process_without_its_pixels(tmp_path):
    """Work that is spread over processes maps plain files again; what travels is small."""
    from multiprocessing.reduction import ForkingPickler

    path = _write(tmp_path / "one.fits", _noise((400, 400)), **_sky_header(0.02, 400), BUNIT="nJy")
    field = Field.from_files({"F150W": path}, errors={"F150W": 1.0})
    sent = bytes(ForkingPickler.dumps(field))
    # The pixels alone are 1.28 MB.
    assert len(sent) < 50_000
    there = ForkingPickler.loads(sent)
    np.testing.assert_array_equal(there["F150W"].cutout(5, 6, 7, 8)[0], field["F150W"].cutout(5, 6, 7, 8)[0])


def test_a_unit_that_means_an_absurd_depth_is_questioned():
    field = Field.from_arrays({"F150W": _noise((256, 256))}, errors={"F150W": 1.0}, pixel_scales=0.02, units="Jy")
    assert any("is the unit right?" in said for said in field.cautions)


# ---- size --------------------------------------------------------------------------------


def test_a_nine_band_field_of_15000_squared_opens_with_flat_memory(tmp_path):
    """The files are sparse: a header, then a hole of 900 MB; nothing of it is read but a few tiles."""
    n = 15_000
    header = _sky_header(0.02, n)
    header["BUNIT"] = "nJy"
    bands = ["F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W", "F480M"]
    raw = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", n), ("NAXIS2", n)])
    raw.extend(header, strip=True)
    text = raw.tostring(padding=True).encode()
    images, errors = {}, {}
    for band in bands:
        for kind, table in (("sci", images), ("err", errors)):
            path = tmp_path / f"{band}_{kind}.fits"
            with path.open("wb") as stream:
                stream.write(text)
                stream.seek(len(text) + (7000 * n + 8000) * 4)
                stream.write(np.full(50, 3.0, ">f4").tobytes())
                stream.truncate(len(text) + -(-n * n * 4 // 2880) * 2880)
            table[band] = path
    tracemalloc.start()
    try:
        field = Field.from_files(images, errors=errors)
        data, error = field["F444W"].cutout(7990, 6990, 100, 100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (data[10, 10:60] == 3).all()
    assert (error[10, 10:60] == 3).all()
    # One band alone holds 900 MB; what is allowed here are headers, tiles of 128^2 and the cut-out.
    assert peak < 20e6


def test_arrays_with_units_mean_their_units():
    """A microjansky is a thousand nanojansky, whichever way it is said."""
    noise = np.random.default_rng(1).normal(0, 1, (40, 40))
    field = Field.from_arrays({"F150W": noise * u.uJy}, errors={"F150W": 2000 * u.nJy}, pixel_scales=20 * u.mas)
    data, error = field["F150W"].cutout(0, 0, 40, 40)
    np.testing.assert_allclose(data, 1000 * noise)
    np.testing.assert_allclose(error, 2000.0)
    assert field["F150W"].pixel_scale == pytest.approx(0.02)
    maps = Field.from_arrays(
        {"F150W": noise * u.uJy}, errors={"F150W": np.full((40, 40), 3.0) * u.nJy}, pixel_scales=0.02
    )
    np.testing.assert_allclose(maps["F150W"].cutout(0, 0, 2, 2)[1], 3.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": {"F150W": np.ones((20, 20)) * u.uJy}, "units": "10 nJy"}, "leave units= out"),
        ({"images": {"F150W": np.ones((20, 20)) * u.m}}, "'m' is no flux"),
        ({"errors": {"F150W": 1 * u.m}}, "'m' is no flux"),
        ({"weights": {"F150W": np.ones((20, 20)) / u.nJy**2}}, "bare numbers"),
        ({"pixel_scales": "fine"}, "not numeric"),
        ({"pixel_scales": 2 * u.s}, "does not convert"),
    ],
)
def test_units_that_contradict_are_refused_in_words(options, words):
    given = {"images": {"F150W": np.ones((20, 20))}, "pixel_scales": 0.02} | options
    with pytest.raises(InputError, match=words):
        Field.from_arrays(given.pop("images"), **given)


@pytest.mark.parametrize(
    ("box", "words"), [(("a", 0, 3, 3), "whole pixel"), ((0, 0, 10**6, 10**6), "does not fit into memory")]
)
def test_a_cutout_that_cannot_be_is_refused_in_words(box, words):
    band = Field.from_arrays({"F150W": np.ones((20, 20))}, errors={"F150W": 1.0}, pixel_scales=0.02)["F150W"]
    with pytest.raises(InputError, match=words):
        band.cutout(*box)
