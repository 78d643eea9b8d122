"""Maps: interpolation that keeps the magnification, mistakes of sign and unit found, files as teams write them."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from sc_lab.errors import InputError
from sc_lab.lensing import MapLens, check_maps, magnification_of, read_maps

SIZE, STEP = 601, 0.1


def _wcs(step=STEP, size=SIZE, ra=342.18, dec=-44.53, angle=0.0, mirrored=False):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = (size + 1) / 2, (size + 1) / 2
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[-c if not mirrored else c, s], [s if not mirrored else -s, c]]) * step / 3600
    return wcs


def _planes(lens, wcs, size=SIZE, ratio=1.0):
    """Return the maps of an analytic lens on the pixels of a grid, in the directions of its pixel axes."""
    m = np.linalg.inv(np.array([[-1.0, 0.0], [0.0, 1.0]])) @ wcs.wcs.cd * 3600
    unit = m / np.sqrt(abs(np.linalg.det(m)))
    px, py = np.meshgrid(np.arange(size) - (size - 1) / 2, np.arange(size) - (size - 1) / 2)
    x, y = m[0, 0] * px + m[0, 1] * py, m[1, 0] * px + m[1, 1] * py
    ax, ay = lens.unit_deflection(x.ravel(), y.ravel())
    kappa, g1, g2 = lens.unit_jacobian(x.ravel(), y.ravel())
    alpha = unit.T @ np.array([ax, ay])
    shear = unit.T @ np.array([[g1, g2], [g2, -g1]]).transpose(2, 0, 1) @ unit
    planes = {
        "kappa": kappa, "gamma1": shear[:, 0, 0], "gamma2": shear[:, 0, 1], "alpha_x": alpha[0], "alpha_y": alpha[1],
    }  # fmt: skip
    return {key: ratio * plane.reshape(size, size) for key, plane in planes.items()}


@pytest.fixture(scope="module")
def planes(smooth):
    return _planes(smooth, _wcs())


@pytest.fixture(scope="module")
def lens(planes):
    return MapLens(planes, wcs=_wcs(), z_lens=0.35, name="maps")


def _both(lens, smooth, n=3000, half=28.0, seed=4):
    """Return magnifications from the maps and from the formula at the same places of the tangent plane."""
    x, y = np.random.default_rng(seed).uniform(-half, half, (2, n))
    ratio = float(smooth.efficiency(2.0))
    return (magnification_of(*(ratio * p for p in each.unit_jacobian(x, y))) for each in (lens, smooth))


def test_magnifications_from_maps_of_a_tenth_of_an_arcsecond_are_those_of_the_lens(lens, smooth):
    maps, truth = _both(lens, smooth)
    here = np.abs(truth.mu) <= 100
    assert np.abs(truth.mu[here]).max() > 50  # success trivial otherwise
    # The acceptance target of the method; the interpolation itself is a thousand times better.
    np.testing.assert_allclose(maps.mu[here], truth.mu[here], rtol=1e-6)
    np.testing.assert_allclose(maps.mu_t[here], truth.mu_t[here], rtol=1e-6)
    np.testing.assert_allclose(maps.mu_r[here], truth.mu_r[here], rtol=1e-6)


def test_the_deflection_alone_is_as_good(planes, smooth):
    lens = MapLens({key: planes[key] for key in ("alpha_x", "alpha_y")}, wcs=_wcs(), z_lens=0.35)
    maps, truth = _both(lens, smooth)
    here = np.abs(truth.mu) <= 100
    # A derivative of the same stencil is one order lower: (0.1/5)^5 times a hundred.
    np.testing.assert_allclose(maps.mu[here], truth.mu[here], rtol=1e-6)


@pytest.mark.parametrize(("angle", "mirrored"), [(35.0, False), (0.0, True), (-110.0, True)])
def test_turned_and_mirrored_maps_are_the_same_lens(smooth, angle, mirrored):
    wcs = _wcs(angle=angle, mirrored=mirrored)
    lens = MapLens(_planes(smooth, wcs), wcs=wcs, z_lens=0.35)
    x, y = np.random.default_rng(1).uniform(-18, 18, (2, 200))
    # The step from pixels to arcsec is taken from the coordinates, to 1e-9 of 18 arcsec.
    np.testing.assert_allclose(lens.unit_jacobian(x, y), smooth.unit_jacobian(x, y), rtol=0, atol=1e-7)
    np.testing.assert_allclose(lens.unit_deflection(x, y), smooth.unit_deflection(x, y), rtol=0, atol=1e-6)
    assert check_maps(lens).ok


def test_positions_on_the_sky_go_to_the_pixels_of_the_header(lens):
    ra, dec = _wcs().all_pix2world([120.25], [430.75], 0)
    x, y = lens.to_frame(ra, dec)
    np.testing.assert_allclose([x[0], y[0]], [(120.25 - 300) * STEP, (430.75 - 300) * STEP], atol=1e-8)
    back = lens.to_sky(x, y)
    np.testing.assert_allclose([back[0], back[1]], [ra, dec], atol=1e-11)


def test_outside_and_holes_are_nan_and_nothing_else(planes, smooth):
    holed = {key: plane.copy() for key, plane in planes.items()}
    holed["kappa"][400:403, 300] = np.nan
    lens = MapLens(holed, wcs=_wcs(), z_lens=0.35)
    kappa, _, _ = lens.unit_jacobian(np.array([0.0, 0.0, 31.0, 0.0]), np.array([10.05, 11.0, 0.0, -30.0]))
    assert np.isnan(kappa[[0, 2]]).all()
    # The last pixel of the map counts; the stencil there is one-sided, which costs some digits.
    np.testing.assert_allclose(kappa[[1, 3]], smooth.unit_jacobian(np.zeros(2), np.array([11.0, -30.0]))[0], rtol=1e-6)
    ra, dec = lens.to_sky(0.0, 10.0)
    assert np.isnan(lens.magnification(ra, dec, 2.0).mu)
    assert lens.magnification(ra, dec, 0.2).mu == 1.0


def test_a_description_follows_the_pixels(planes, lens):
    changed = {key: plane.copy() for key, plane in planes.items()}
    changed["kappa"][3, 3] += 1e-6
    other = MapLens(changed, wcs=_wcs(), z_lens=0.35, name="maps")
    assert lens.describe()["sha256"] == MapLens(planes, wcs=_wcs(), z_lens=0.35).describe()["sha256"]
    assert lens.describe()["sha256"] != other.describe()["sha256"]


def test_maps_made_for_a_finite_redshift_are_scaled(smooth, planes):
    ratio = float(smooth.efficiency(9.0))
    lens = MapLens({k: ratio * p for k, p in planes.items()}, wcs=_wcs(), z_lens=0.35, normalisation=ratio)
    maps, truth = _both(lens, smooth, n=50)
    np.testing.assert_allclose(1 / maps.mu, 1 / truth.mu, rtol=0, atol=1e-7)


# ---- mistakes ---------------------------------------------------------------------------
def _changed(planes, **factors):
    return MapLens({k: factors.get(k, 1.0) * p for k, p in planes.items()}, wcs=_wcs(), z_lens=0.35)


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({}, "agree"),
        ({"alpha_x": -1.0}, "one axis of the deflection is flipped"),
        ({"alpha_x": -1.0, "alpha_y": -1.0}, "'pixel-reversed'"),
        ({"alpha_x": 10.0, "alpha_y": 10.0}, "in pixels, not in arcsec.*unit='pixel'"),
        ({"alpha_x": 0.1, "alpha_y": 0.1}, "in arcsec, not in pixels.*unit='arcsec'"),
        ({"alpha_x": 0.8, "alpha_y": 0.8}, "different normalisations"),
        ({"gamma2": -1.0}, "gamma2_sign"),
        ({"gamma1": -1.0}, "gamma1 does not agree"),
        ({"alpha_x": 1.5}, "do not belong to the same lens"),
    ],
)
def test_the_self_test_names_the_mistake(planes, factors, words):
    import re

    report = check_maps(_changed(planes, **factors))
    assert report.ok is (not factors)
    assert re.search(words, report.text)


def test_swapped_components_show_as_a_curl(planes):
    swapped = {"alpha_x": planes["alpha_y"], "alpha_y": planes["alpha_x"]}
    report = check_maps(MapLens(swapped, wcs=_wcs(), z_lens=0.35))
    assert not report.ok
    assert report.curl > 0.1


def test_without_a_deflection_the_self_test_says_that_it_cannot_tell(planes):
    light = {key: planes[key] for key in ("kappa", "gamma1", "gamma2")}
    report = check_maps(MapLens(light, wcs=_wcs(), z_lens=0.35))
    assert report.ok
    assert "neither sign nor unit can be tested" in report.text
    lens = MapLens(light, wcs=_wcs(), z_lens=0.35, name="light")
    with pytest.raises(InputError, match="'light' has no deflection maps"):
        lens.source(342.18, -44.53, 2.0)


# ---- files ------------------------------------------------------------------------------
SMALL = 81


@pytest.fixture
def frontier(tmp_path, smooth):
    """Return a folder named as the Hubble Frontier Fields name theirs."""
    wcs = _wcs(0.2, SMALL)
    small = _planes(smooth, wcs, SMALL)
    names = {
        "kappa": "kappa", "gamma1": "gamma1", "gamma2": "gamma2", "alpha_x": "x-arcsec-deflect", "alpha_y": "y-arcsec-deflect",
    }  # fmt: skip
    header = wcs.to_header()

    def write(path, data):
        fits.PrimaryHDU(data.astype(">f4"), header).writeto(path)

    stem = "hlsp_frontier_model_abells1063_us_v1"
    for kind, name in names.items():
        write(tmp_path / f"{stem}_{name}.fits", small[kind])
    write(tmp_path / f"{stem}_x-pixels-deflect.fits", small["alpha_x"] / 0.2)
    write(tmp_path / f"{stem}_y-pixels-deflect.fits", small["alpha_y"] / 0.2)
    write(tmp_path / f"{stem}_z02-magnif.fits", small["kappa"])
    (tmp_path / "range").mkdir()
    for number in range(3):
        for kind in ("kappa", "gamma1", "gamma2"):
            scaled = (1 + 0.01 * number) * small[kind]
            write(tmp_path / "range" / f"{stem}-map{number:03d}_{names[kind]}.fits", scaled)
    return tmp_path


def test_a_frontier_fields_folder_is_read_with_its_realisations(frontier, smooth):
    lens = read_maps(frontier, z_lens=0.35, normalisation=1.0, unit="arcsec")
    assert lens.n_realisations == 3
    assert lens.has_deflection
    assert "z02-magnif.fits was left aside" in lens.cautions[0]
    x, y = np.random.default_rng(3).uniform(-7, 7, (2, 20))
    # Maps of 32-bit numbers: 6e-8 of a deflection of 40 arcsec, 1e-7 of a convergence of one.
    np.testing.assert_allclose(lens.unit_deflection(x, y), smooth.unit_deflection(x, y), rtol=0, atol=1e-5)
    draws = lens.unit_jacobian_draws(x, y, np.array([0, 2, 2]))
    np.testing.assert_allclose(draws[0][0], lens.unit_jacobian(x, y)[0], rtol=1e-6)
    np.testing.assert_allclose(draws[0][1], 1.02 * lens.unit_jacobian(x, y)[0], rtol=1e-6)
    np.testing.assert_array_equal(draws[0][1], draws[0][2])
    mu, _ = lens.magnification_draws(*lens.to_sky(x, y), 2.0, n_draws=5)
    assert mu.shape == (5, 20)


def test_pixels_and_arcsec_are_the_same_deflection(frontier):
    stem = frontier / "hlsp_frontier_model_abells1063_us_v1"
    files = {
        "kappa": "kappa",
        "gamma1": "gamma1",
        "gamma2": "gamma2",
        "alpha_x": "x-pixels-deflect",
        "alpha_y": "y-pixels-deflect",
    }
    files = {kind: f"{stem}_{name}.fits" for kind, name in files.items()}
    lens = read_maps(files, z_lens=0.35, normalisation=1.0, unit="pixel")
    other = read_maps(frontier, z_lens=0.35, normalisation=1.0, unit="arcsec", realisations=False)
    assert other.n_realisations == 0
    np.testing.assert_allclose(lens.planes["alpha_x"], other.planes["alpha_x"], rtol=1e-6)
    with pytest.raises(InputError, match="unit is 'arcsec', but the names of the deflection maps say 'pixel'"):
        read_maps(files, z_lens=0.35, normalisation=1.0, unit="arcsec")


@pytest.fixture
def one_file(tmp_path, smooth):
    wcs = _wcs(0.2, SMALL)
    small = _planes(smooth, wcs, SMALL)
    hdus = [fits.PrimaryHDU()]
    hdus += [fits.ImageHDU(small[k].astype(np.float32), wcs.to_header(), name=k.upper()) for k in small]
    fits.HDUList(hdus).writeto(tmp_path / "lens.fits.gz")
    return tmp_path / "lens.fits.gz"


def test_one_compressed_file_with_an_extension_for_each_map(one_file, smooth):
    lens = read_maps(one_file, z_lens=0.35, normalisation="z", z_maps=4.0, unit="arcsec", name="M2")
    assert lens.name == "M2"
    assert lens.normalisation == pytest.approx(float(smooth.efficiency(4.0)))


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"alpha_x": -1.0}, {"sign": "east"}),
        ({"alpha_x": -1.0, "alpha_y": -1.0}, {"sign": "pixel-reversed"}),
        ({"alpha_x": 5.0, "alpha_y": 5.0}, {"unit": "pixel"}),
        ({"gamma2": -1.0}, {"gamma2_sign": -1}),
    ],
)
def test_every_convention_is_read_as_the_same_lens(tmp_path, smooth, changes, options):
    wcs = _wcs(0.2, SMALL)
    small = _planes(smooth, wcs, SMALL)
    files = {}
    for key, plane in small.items():
        files[key] = tmp_path / f"{key}.fits"
        fits.PrimaryHDU(changes.get(key, 1.0) * plane, wcs.to_header()).writeto(files[key])
    lens = read_maps(files, **{"z_lens": 0.35, "normalisation": 1.0, "unit": "arcsec"} | options)
    x, y = np.random.default_rng(3).uniform(-7, 7, (2, 20))
    # Double precision; what is left is the interpolation over 0.2 arcsec.
    np.testing.assert_allclose(lens.unit_deflection(x, y), smooth.unit_deflection(x, y), rtol=0, atol=1e-6)
    np.testing.assert_allclose(lens.unit_jacobian(x, y), smooth.unit_jacobian(x, y), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="contradict themselves"):
        read_maps(files, z_lens=0.35, normalisation=1.0, unit="arcsec")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unit": None}, "say 'arcsec' or 'pixel'"),
        ({"unit": "pixel"}, r"contradict themselves.*in arcsec, not in pixels"),
        ({"sign": "east"}, "contradict themselves.*flipped"),
        ({"sign": "up"}, "choose 'pixel', 'east'"),
        ({"normalisation": 0.0}, "normalisation is 0.0"),
        ({"normalisation": "z"}, "needs z_maps="),
        ({"normalisation": "one"}, "give a number alone"),
        ({"gamma2_sign": 2}, "choose 1 or -1"),
    ],
)
def test_missing_and_contradictory_options_are_refused_in_sentences(one_file, options, words):
    with pytest.raises(InputError, match=words):
        read_maps(one_file, **{"z_lens": 0.35, "normalisation": 1.0, "unit": "arcsec"} | options)


def test_normalisation_and_unit_have_no_default():
    with pytest.raises(TypeError, match="normalisation"):
        read_maps("x.fits", z_lens=0.3)


def test_broken_and_monstrous_files_are_refused_in_sentences(tmp_path, one_file):
    options = {"z_lens": 0.35, "normalisation": 1.0, "unit": "arcsec"}
    with pytest.raises(InputError, match="there is no file or folder"):
        read_maps(tmp_path / "none.fits", **options)
    (tmp_path / "text.fits").write_text("not FITS at all")
    with pytest.raises(InputError, match="cannot be read as FITS"):
        read_maps(tmp_path / "text.fits", **options)
    whole = gzip.decompress(one_file.read_bytes())
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="it may be cut off"):
        read_maps(tmp_path / "cut.fits", **options)
    packed = one_file.read_bytes()
    for part in (0.3, 0.6, 0.99):
        (tmp_path / "cut.fits.gz").write_bytes(packed[: int(part * len(packed))])
        with pytest.raises(InputError, match=r"cut\.fits\.gz cannot be unpacked.*fetch it again"):
            read_maps(tmp_path / "cut.fits.gz", **options)
    huge = fits.Header([("SIMPLE", True), ("BITPIX", -64), ("NAXIS", 2), ("NAXIS1", 200000), ("NAXIS2", 200000)])
    with gzip.open(tmp_path / "kappa.fits.gz", "wb") as out:
        out.write(huge.tostring(padding=True).encode() + bytes(28800))
    with pytest.raises(InputError, match="promises 4e\\+10 pixels"):
        read_maps([tmp_path / "kappa.fits.gz"], **options)
    fits.PrimaryHDU(np.ones((9, 9))).writeto(tmp_path / "bare_kappa.fits")
    with pytest.raises(InputError, match="no celestial coordinates"):
        read_maps([tmp_path / "bare_kappa.fits"], **options)
    fits.PrimaryHDU(np.ones((9, 9)), _wcs(0.2, 9).to_header()).writeto(tmp_path / "a_kappa.fits")
    with pytest.raises(InputError, match="the maps hold kappa; give"):
        read_maps([tmp_path / "a_kappa.fits"], **options)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no file is named as a map"):
        read_maps(tmp_path / "nothing", **options)
    with pytest.raises(InputError, match="paths names 'mu'"):
        read_maps({"mu": "x.fits"}, **options)


def test_planes_that_make_no_lens_are_refused(planes):
    with pytest.raises(InputError, match="one shape"):
        MapLens({**planes, "kappa": np.ones((7, 7))}, wcs=_wcs(), z_lens=0.35)
    with pytest.raises(InputError, match="'mu'"):
        MapLens({**planes, "mu": planes["kappa"]}, wcs=_wcs(), z_lens=0.35)
    skewed = _wcs()
    skewed.wcs.cd = np.array([[-1.0, 0.3], [0.0, 1.0]]) * STEP / 3600
    with pytest.raises(InputError, match="skewed"):
        MapLens(planes, wcs=skewed, z_lens=0.35)
    with pytest.raises(InputError, match="realisation 0 has another shape"):
        MapLens(
            planes, wcs=_wcs(), z_lens=0.35, realisations=[{k: p[:50, :50] for k, p in planes.items()}]
        ).magnification_draws(342.18, -44.53, 2.0)


def test_maps_find_the_images_and_curves_of_the_lens(lens, smooth):
    ra, dec = lens.to_sky(9.0, -4.0)
    found = lens.counter_images(ra, dec, 3.0)
    # The formula in the same tangent plane.
    x, y = lens.to_frame(found["ra"], found["dec"])
    again = smooth.counter_images(*smooth.to_sky(9.0, -4.0), 3.0, bounds=lens.default_bounds())
    tx, ty = smooth.to_frame(again["ra"], again["dec"])
    assert len(found) == len(again) > 1
    # Deflections interpolated over 0.1 arcsec, 1e-8 arcsec, magnified.
    np.testing.assert_allclose([x, y], [tx, ty], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["delay"].to_value("day"), again["delay"].to_value("day"), rtol=1e-4)
    line = max(lens.critical_curves(3.0), key=len)
    assert np.median(np.abs(1 / lens.magnification(line[:, 0], line[:, 1], 3.0).mu_t)) < 1e-3


def test_one_realisation_of_maps_is_a_lens_of_its_own(planes, lens):
    other = MapLens(planes, wcs=_wcs(), z_lens=0.35, realisations=[{k: 1.1 * p for k, p in planes.items()}])
    kappa = other.realisation(0).unit_jacobian(np.zeros(1), np.ones(1))[0]
    np.testing.assert_allclose(kappa, 1.1 * lens.unit_jacobian(np.zeros(1), np.ones(1))[0], rtol=1e-12)
    with pytest.raises(InputError, match=r"index is 1; .* has 1 realisations"):
        other.realisation(1)
