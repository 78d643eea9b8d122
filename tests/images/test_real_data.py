"""Archive files open with their quirks said: JWST and HST cut-outs and published PSF sets."""

import numpy as np
import pytest
from astropy.io import fits

from sc_lab.errors import InputError
from sc_lab.images import Field, Psf, align, band_offset, kernel_residual, match_psf, matching_kernel, rgb
from sc_lab.images.psf import core_centroid, core_sigma

pytestmark = pytest.mark.real_data

RING = {"F115W": 0.03, "F150W": 0.03, "F277W": 0.06, "F444W": 0.06}
GORDO = ["F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W"]


def _ring(real_data, **more):
    folder = real_data / "imaging" / "cosmos_web_ring"
    names = {
        kind: {band: folder / f"{band}_{kind}.fits.gz" for band in RING}
        for kind in ("data", "noise_map", "psf", "mask_extra_galaxies")
    }
    options = {
        "errors": names["noise_map"],
        "psfs": names["psf"],
        "masks": names["mask_extra_galaxies"],
        "units": "MJy/sr",
        "pixel_scales": RING,
    }
    return Field.from_files(names["data"], **(options | more))


def test_the_ring_says_what_its_headers_lack(real_data):
    with pytest.raises(InputError, match="units="):
        _ring(real_data, units=None)
    with pytest.raises(InputError, match="pixel_scales="):
        _ring(real_data, pixel_scales=None)
    said = " ".join(_ring(real_data).cautions)
    assert said.count("a tangent projection of 0.03") == 2
    assert said.count("a tangent projection of 0.06") == 2
    assert said.count("taken as the energy inside it") == 4


def test_the_ring_s_floored_noise_maps_are_found_and_mended(real_data):
    """Median map over measured scatter is 1.35, 1.35, 2.99, 2.48 when faint sources count as noise; less noise without them."""
    field = _ring(real_data)
    assert sum('noise_scale="measure"' in said for said in field.cautions) == 4
    ratios = [field[band].noise.ratio for band in RING]
    assert np.all(np.array(ratios) / [1.35, 1.35, 2.99, 2.48] > 1.0)
    assert np.all(np.array(ratios) / [1.35, 1.35, 2.99, 2.48] < 1.25)
    mended = _ring(real_data, noise_scale="measure")
    for band in RING:
        assert mended[band].noise_scale == pytest.approx(1 / field[band].noise.ratio)


def test_the_ring_s_bands_share_their_centre(real_data):
    field = _ring(real_data)
    # The assumed projections share RA = Dec = 0; a degree holds 1e-13, which is 1e-8 px.
    assert field["F277W"].to_pixel(*field["F150W"].to_sky(209, 209)) == (pytest.approx(104, abs=1e-6),) * 2
    assert field["F150W"].to_njy == pytest.approx(21.15, abs=0.005)
    assert field["F277W"].to_njy == pytest.approx(84.6, abs=0.05)
    assert field["F150W"].psf.energy_fraction == pytest.approx(0.945, abs=1e-3)


def test_the_ring_s_depth_is_the_survey_s(real_data):
    """Five sigma in apertures of 0.15 arcsec: 27.40, 27.62, 28.18, 28.03 AB, near the published depths."""
    field = _ring(real_data)
    rng = np.random.default_rng(1)
    for band, depth in {"F115W": 27.40, "F150W": 27.62, "F277W": 28.18, "F444W": 28.03}.items():
        image = field[band]
        data, error = image.cutout(0, 0, image.shape[1], image.shape[0])
        r = 0.15 / image.pixel_scale
        half = int(np.ceil(r))
        rows, columns = np.indices((2 * half + 1, 2 * half + 1)) - half
        disc = np.hypot(rows, columns) <= r
        sums = []
        while len(sums) < 1500:
            x, y = rng.integers(half, image.shape[1] - half, 2)
            box = np.s_[y - half : y + half + 1, x - half : x + half + 1]
            if (
                np.hypot(x - image.shape[1] / 2, y - image.shape[0] / 2) * image.pixel_scale > 3.5
                and np.isfinite(error[box]).all()
            ):
                sums.append(data[box][disc].sum())
        sums = np.array(sums)
        spread = 1.4826 * np.median(np.abs(sums - np.median(sums)))
        # The number of pixels in a disc of 2.5 px is not its area, and faint sources count: 0.25 mag.
        assert 31.4 - 2.5 * np.log10(5 * spread) == pytest.approx(depth, abs=0.25)


def test_the_ring_makes_a_picture(real_data):
    picture = rgb(_ring(real_data), ("F444W", "F277W", "F150W"), 149, 149, 120, 120)
    assert picture.shape == (120, 120, 4)
    assert (picture[..., 3] == 255).all()
    # The red lens in the middle outshines everything.
    assert picture[55:65, 55:65, 0].mean() > 3 * picture[:20, :20, 0].mean()


def _gordo(real_data):
    folder = real_data / "imaging" / "elgordo_a0102_id224"
    images = {band: folder / f"{band}_matched_sci.fits.gz" for band in GORDO}
    return (
        folder,
        images,
        Field.from_files(images, skies={band: folder / f"{band}_matched_sky.fits.gz" for band in GORDO}),
    )


def test_el_gordo_opens_in_its_own_unit_and_the_sky_frame_gives_the_noise(real_data):
    _, _, field = _gordo(real_data)
    assert {field[band].to_njy for band in GORDO} == {10.0}
    assert field["F150W"].pixel_scale == pytest.approx(0.04, rel=1e-6)
    neighbours = [field[band].noise_correlation[5, 6] for band in GORDO]
    # Neighbouring pixels correlate by 0.75 to 0.86 in the convolved bands and 0.49 in F444W; the background mesh
    # takes some of the long-range part off.
    assert all(0.68 < rho < 0.90 for rho in neighbours[:-1])
    assert 0.3 < neighbours[-1] < 0.55
    assert sum("no error map" in said for said in field.cautions) == len(GORDO)


def test_el_gordo_with_the_archive_s_stale_cd_matrix_is_read_at_the_right_scale(real_data, tmp_path):
    _, images, field = _gordo(real_data)
    with fits.open(images["F150W"]) as opened:
        header, data = opened[0].header, opened[0].data
        header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -0.02 / 3600, 0.0, 0.0, 0.02 / 3600
        fits.PrimaryHDU(data, header).writeto(tmp_path / "stale.fits")
    stale = Field.from_files({"F150W": tmp_path / "stale.fits"})
    assert "CD matrix" in stale.cautions[0]
    assert stale["F150W"].to_sky(10, 20) == pytest.approx(field["F150W"].to_sky(10, 20), abs=1e-12)


def test_abell_2744_in_electrons_per_second(real_data):
    folder = real_data / "imaging" / "abell2744_hst_f105w"
    dwarf = folder / "abell_2744_dwarf_galaxy_f105w.fits.gz"
    rms = folder / "abell_2744_dwarf_galaxy_f105w_rms.fits.gz"
    field = Field.from_files({"F105W": dwarf}, errors={"F105W": rms})
    # The instrument handbook's AB zero point is 26.27.
    assert 31.4 - 2.5 * np.log10(field["F105W"].to_njy) == pytest.approx(26.27, abs=0.005)
    assert field["F105W"].pixel_scale == pytest.approx(0.06, rel=1e-4)
    assert np.isfinite(field["F105W"].cutout(50, 50, 20, 20)[1]).all()
    spiral = {"F105W": folder / "abell_2744_spiral_galaxy_f105w.fits.gz"}
    with pytest.raises(InputError, match="PHOTFLAM"):
        Field.from_files(spiral)
    mended = Field.from_files(spiral, units={"F105W": "AB 26.27"})
    assert mended["F105W"].to_njy == pytest.approx(field["F105W"].to_njy, rel=0.005)


def test_a_star_cut_from_abell_2744_becomes_a_psf(real_data):
    path = real_data / "imaging" / "abell2744_hst_f105w" / "f105w_psf.fits.gz"
    psf = Psf.from_file(path, band="F105W")
    assert psf.size == 49
    assert "renormalised" in " ".join(psf.cautions)
    assert psf.fwhm == pytest.approx(0.16, abs=0.02)


def test_slacs_opens_with_what_is_said_for_it(real_data):
    folder = real_data / "imaging" / "slacs0946_hst_f814w"
    field = Field.from_files(
        {"F814W": folder / "data.fits.gz"},
        errors={"F814W": folder / "noise_map.fits.gz"},
        psfs={"F814W": folder / "psf.fits.gz"},
        masks={"F814W": folder / "mask_extra_galaxies.fits.gz"},
        units={"F814W": "AB 25.94"},
        pixel_scales=0.05,
    )
    assert field["F814W"].shape == (281, 281)
    assert any("psf_scales= overrides" in said for said in field.cautions)
    _, error = field["F814W"].cutout(0, 0, 281, 281)
    assert np.isnan(error).sum() == 10230


@pytest.mark.parametrize(
    ("folder", "scale", "widths"),
    [
        (
            "smacs0723_20mas",
            None,
            {
                "F090W": 0.050,
                "F115W": 0.055,
                "F150W": 0.060,
                "F200W": 0.068,
                "F277W": 0.108,
                "F356W": 0.134,
                "F410M": 0.151,
                "F444W": 0.151,
            },
        ),
        ("smacs0723_40mas", None, {}),
        ("ceers_empirical_15mas", 0.015, {}),
    ],
)
def test_published_psfs_are_centred_normalised_and_of_the_right_width(real_data, folder, scale, widths):
    for path in sorted((real_data / "imaging" / "psf" / folder).glob("*.fits.gz")):
        psf = Psf.from_file(path, pixel_scale=scale)
        middle = psf.size // 2
        at = core_centroid(psf.stamp, (middle, middle), sigma=core_sigma(psf.stamp))
        assert np.hypot(at[0] - middle, at[1] - middle) < 0.01
        assert 0.9 < psf.energy_fraction <= 1
        assert psf.stamp.sum() == pytest.approx(psf.energy_fraction)
        band = path.name[:5]
        if band in widths:
            # The stated widths count whole pixels of 0.02"; these are those of the smooth PSF.
            assert psf.fwhm == pytest.approx(widths[band], abs=0.009)


def test_real_psfs_match_to_the_broadest(real_data):
    """Enclosed energy agrees to 0.3 % from half a FWHM outwards."""
    folder = real_data / "imaging" / "psf" / "smacs0723_40mas"
    target = Psf.from_file(folder / "F444W.fits.gz")
    for band in ("F115W", "F150W", "F277W", "F356W"):
        psf = Psf.from_file(folder / f"{band}.fits.gz")
        assert kernel_residual(psf, target, matching_kernel(psf, target)) < 0.003


def test_the_ring_s_bands_match_to_the_broadest(real_data):
    field = _ring(real_data)
    matched = match_psf(field)
    assert [round(matched[band].psf.fwhm, 3) for band in RING] == [pytest.approx(field["F444W"].psf.fwhm, rel=0.05)] * 4
    before, after = (f["F150W"].cutout(149, 149, 120, 120)[0].sum() for f in (field, matched))
    # The ring's light leaves and enters the box alike.
    assert after == pytest.approx(before, rel=0.05)


def test_the_ring_s_bands_do_not_lie_on_each_other_and_are_aligned(real_data):
    """The cut-outs are centred to whole pixels only: the lens in F277W lies 0.045 arcsec left of that in F150W."""
    field = _ring(real_data)
    assert any(said.startswith("F277W: its sources lie (-0.0") for said in field.cautions)
    # The whole picture counts, lens and ring of different colours: they agree to half a pixel of F150W.
    assert band_offset(field, "F277W")[:2] == (pytest.approx(-0.045, abs=0.015), pytest.approx(0.0, abs=0.015))
    mended = align(field)
    for band in RING:
        dx, dy, _ = band_offset(mended, band)
        # A fifth of the finest pixel.
        assert np.hypot(dx, dy) < 0.006
