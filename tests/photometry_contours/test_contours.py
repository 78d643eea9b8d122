"""Light in contours: exact sums, honest errors with shared noise, bands on one PSF, masks and refusals."""

from __future__ import annotations

import threading

import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from scipy import ndimage

from sc_lab.errors import InputError, ScLabError
from sc_lab.images import Field, Psf
from sc_lab.images.correlation import noise_factor
from sc_lab.images.galaxy import Galaxy
from sc_lab.photometry.contours import ContourFlag, contour_photometry, empty_apertures


def make_wcs(shape, scale=0.02, ra=342.18, dec=-44.53):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [shape[1] / 2 + 0.5, shape[0] / 2 + 0.5]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs


def contour(wcs, points, name="G"):
    points = np.asarray(points, dtype=float)
    return Galaxy(id=name, contour=np.stack(wcs.all_pix2world(points[:, 0], points[:, 1], 0), axis=1))


def square(wcs, x, y, side=20, name="G"):
    """Pixels x to x + side - 1: the rim runs between pixels."""
    a, b = x - 0.5, y - 0.5
    return contour(wcs, [(a, b), (a + side, b), (a + side, b + side), (a, b + side)], name)


def one_band(data, error=None, scale=0.02, psf=None, galaxies=(), **more):
    wcs = make_wcs(data.shape, scale, **more)
    errors = None if error is None else {"F150W": error}
    psfs = None if psf is None else {"F150W": psf}
    return Field.from_arrays({"F150W": data}, errors=errors, psfs=psfs, wcs=wcs, galaxies=galaxies), wcs


def value(table, name, row=0):
    return float(u.Quantity(table[name][row]).value)


def test_a_flat_galaxy_on_a_flat_sky_is_exact():
    """400 pixels of 3 nJy on a sky of 7; the contour runs between pixels."""
    data = np.full((120, 120), 7.0)
    data[50:70, 40:60] += 3.0
    field, wcs = one_band(data, np.ones_like(data))
    table = contour_photometry(field, square(wcs, 40, 50))
    assert value(table, "flux_f150w") == pytest.approx(1200, rel=1e-6)  # the projection bends sides by 1e-8
    assert table["flux_f150w"].unit == u.nJy
    assert value(table, "background_f150w") == 7.0
    assert value(table, "flux_f150w_err_white") == pytest.approx(20, rel=1e-6)
    assert value(table, "covered_f150w") == pytest.approx(1)
    assert table["flags_f150w"][0] == 0
    raw = contour_photometry(field, square(wcs, 40, 50), background="none")
    assert value(raw, "flux_f150w") == pytest.approx(4000, rel=1e-6)


def test_rim_pixels_count_by_their_share():
    field, wcs = one_band(np.ones((80, 80)), np.ones((80, 80)))
    triangle = contour(wcs, [(20.3, 20.2), (55.1, 22.7), (30.4, 60.9)])
    table = contour_photometry(field, triangle, background="none")
    area = triangle.area.to_value(u.arcsec**2) / 0.02**2
    # 5 x 5 points a pixel along 120 pixels of rim.
    assert value(table, "flux_f150w") == pytest.approx(area, abs=1.0)
    assert table["area"][0].to_value(u.arcsec**2) == pytest.approx(area * 0.02**2)


@pytest.fixture(scope="module")
def noisy():
    """A grid of 144 contours on blank noise: independent, and shared by neighbours."""
    rng = np.random.default_rng(11)
    shape = (1300, 1300)
    white = rng.normal(size=shape)
    shared = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    shared /= shared.std()
    wcs = make_wcs(shape)
    galaxies = tuple(square(wcs, x, y, name=f"G{x}-{y}") for y in range(60, 1220, 100) for x in range(60, 1220, 100))
    return {"white": white, "shared": shared, "galaxies": galaxies, "wcs": wcs}


@pytest.mark.parametrize("kind", ["white", "shared"])
def test_errors_are_those_of_repeated_measurement(noisy, kind):
    """Pulls of empty contours have width 1; the quadrature sum alone does not know that neighbours share noise."""
    galaxies = noisy["galaxies"]
    field = Field.from_arrays(
        {"F150W": noisy[kind]}, errors={"F150W": np.ones_like(noisy[kind])}, wcs=noisy["wcs"], galaxies=galaxies
    )
    table = contour_photometry(field, galaxies)
    flux = table["flux_f150w"].value
    pull = flux / table["flux_f150w_err"].value
    # 144 contours: the width is known to 6 percent, the mean to 0.08.
    assert np.std(pull) == pytest.approx(1.0, abs=0.2)
    assert abs(pull.mean()) < 0.3
    white = np.std(flux / table["flux_f150w_err_white"].value)
    assert white > 3 if kind == "shared" else white < 1.4
    if kind == "white":
        assert table["noise_factor_f150w"].mean() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("kind", ["white", "shared"])
def test_empty_places_give_the_same_error(noisy, kind):
    field = Field.from_arrays({"F150W": noisy[kind]}, errors={"F150W": np.ones_like(noisy[kind])}, wcs=noisy["wcs"])
    table = contour_photometry(field, noisy["galaxies"][0], n_empty=300, rng=1)
    # 300 places in an image with room for a few hundred independent ones.
    assert value(table, "flux_f150w_err_empty") == pytest.approx(value(table, "flux_f150w_err"), rel=0.25)
    again = contour_photometry(field, noisy["galaxies"][0], n_empty=300, rng=1)
    assert value(again, "flux_f150w_err_empty") == value(table, "flux_f150w_err_empty")


def test_noise_factor_of_a_known_kernel():
    """A wide contour on noise smoothed by k has the variance of the noise before: factor 1 / sqrt(sum k^2)."""
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    rho = ndimage.convolve(np.pad(kernel, 2), kernel, mode="constant")
    rho /= rho.max()
    wide = np.zeros((240, 240))
    wide[10:-10, 10:-10] = 1.0
    # The rim, 4 x 220 pixels of 48400, has fewer neighbours.
    assert noise_factor(wide, rho) == pytest.approx(1 / np.sqrt((kernel**2).sum()), rel=0.01)
    assert noise_factor(wide, None) == 1.0
    # Two neighbouring pixels alone: 2 + 2 rho over 2; the array is smaller than the correlation.
    assert noise_factor(np.ones((1, 2)), rho) == pytest.approx(np.sqrt(1 + rho[3, 4]))
    assert noise_factor(np.zeros((5, 5)), rho) == 1.0


def test_neighbours_known_and_unknown_do_not_reach_the_background():
    rng = np.random.default_rng(3)
    data = rng.normal(size=(200, 200)) + 5.0
    data[90:110, 90:110] += 10.0
    known, unknown = np.s_[90:110, 114:134], np.s_[116:124, 90:100]
    data[known] += 200.0
    data[unknown] += 40.0
    clean = data.copy()
    clean[known] -= 200.0
    clean[unknown] -= 40.0
    wcs = make_wcs(data.shape)
    galaxies = (square(wcs, 90, 90), square(wcs, 114, 90, name="N"))
    error = np.ones_like(data)
    field = Field.from_arrays({"F150W": data}, errors={"F150W": error}, wcs=wcs, galaxies=galaxies)
    bare = Field.from_arrays({"F150W": clean}, errors={"F150W": error}, wcs=wcs)
    table, truth = contour_photometry(field, galaxies[0]), contour_photometry(bare, galaxies[0])
    # The masks take a quarter of the annulus: its median moves by less than its own error of about 0.03.
    assert value(table, "background_f150w") == pytest.approx(value(truth, "background_f150w"), abs=0.08)
    assert value(table, "flux_f150w") == pytest.approx(value(truth, "flux_f150w"), rel=0.01)


def test_pixels_without_value_or_error_are_left_out_and_said():
    data = np.full((120, 120), 2.0)
    error = np.ones_like(data)
    data[50:60, 40:60] = np.nan
    error[60:62, 40:60] = 0.0
    error[62:64, 40:60] = np.inf
    field, wcs = one_band(data, error)
    table = contour_photometry(field, square(wcs, 40, 50), background="none")
    assert value(table, "covered_f150w") == pytest.approx(0.3, abs=1e-6)
    assert value(table, "flux_f150w") == pytest.approx(2 * 120, rel=1e-6)
    assert ContourFlag(int(table["flags_f150w"][0])) == ContourFlag.INCOMPLETE


def test_a_contour_over_the_rim_and_one_beyond_it():
    field, wcs = one_band(np.ones((100, 100)), np.ones((100, 100)))
    over, beyond = square(wcs, 90, 40, name="over"), square(wcs, 300, 40, name="beyond")
    table = contour_photometry(field, (over, beyond))
    assert value(table, "covered_f150w", 0) == pytest.approx(0.5, abs=0.01)
    assert ContourFlag.INCOMPLETE in ContourFlag(int(table["flags_f150w"][0]))
    assert np.isnan(value(table, "flux_f150w", 1))
    assert table["flags_f150w"][1] == ContourFlag.OUTSIDE


def test_right_ascension_zero_is_a_place_like_any_other():
    data = np.zeros((120, 120))
    data[50:70, 50:70] = 1.0
    field, wcs = one_band(data, np.ones_like(data), ra=0.0)
    assert value(contour_photometry(field, square(wcs, 50, 50)), "flux_f150w") == pytest.approx(400, rel=1e-6)


def test_pixels_of_another_size_give_the_same_flux():
    """A disk of constant surface brightness on pixels of 0.02 and 0.04 arcsec."""
    fine = np.zeros((300, 300))
    yy, xx = np.mgrid[:300, :300]
    fine[np.hypot(xx - 149.5, yy - 149.5) < 50] = 1.0
    coarse = fine.reshape(150, 2, 150, 2).sum(axis=(1, 3))
    wcs = {"F150W": make_wcs(fine.shape), "F444W": make_wcs(coarse.shape, 0.04)}
    field = Field.from_arrays(
        {"F150W": fine, "F444W": coarse},
        errors={"F150W": np.ones_like(fine), "F444W": np.ones_like(coarse)},
        wcs=wcs,
    )
    circle = [(149.5 + 60 * np.cos(t), 149.5 + 60 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 40)]
    table = contour_photometry(field, contour(wcs["F150W"], circle))
    assert value(table, "flux_f150w") == pytest.approx(fine.sum(), rel=1e-6)
    assert value(table, "flux_f444w") == pytest.approx(fine.sum(), rel=1e-6)
    assert ContourFlag(int(table["flags_f150w"][0])) == ContourFlag.NOT_MATCHED


def test_bands_of_different_sharpness_agree_once_they_are_matched():
    """A point source of one flux in two bands; the contour is as small as the broader PSF."""
    yy, xx = np.mgrid[:161, :161] - 80.0
    images, psfs = {}, {}
    for name, std in (("F150W", 1.3), ("F444W", 3.2)):
        images[name] = 1000 * np.exp(-(xx**2 + yy**2) / (2 * std**2)) / (2 * np.pi * std**2)
        psfs[name] = Psf.from_array(images[name][50:111, 50:111], 0.02, energy_fraction=1.0, band=name)
    wcs = make_wcs((161, 161))
    errors = {name: np.ones((161, 161)) for name in images}
    field = Field.from_arrays(images, errors=errors, psfs=psfs, wcs=wcs)
    galaxy = square(wcs, 76, 76, side=9)
    raw, matched = contour_photometry(field, galaxy, matched_to="none"), contour_photometry(field, galaxy)
    assert value(raw, "flux_f150w") / value(raw, "flux_f444w") > 1.2
    # The kernel is regularised: it misses the broad PSF by a percent or so.
    assert value(matched, "flux_f150w") / value(matched, "flux_f444w") == pytest.approx(1, abs=0.02)
    assert matched.meta["contour_photometry"]["matched_to"] == "F444W"
    assert matched["flags_f150w"][0] == 0


def test_a_band_without_errors_uses_the_scatter_of_its_sky():
    data = np.random.default_rng(1).normal(size=(200, 200)) * 3
    field, wcs = one_band(data)
    # The contour holds 400 pixels of scatter 3.
    assert value(contour_photometry(field, square(wcs, 90, 90)), "flux_f150w_err_white") == pytest.approx(60, rel=0.1)


def test_places_with_a_source_are_not_empty():
    data = np.zeros((60, 60))
    data[:, 30:] = 100.0
    mask = data > 0
    sums = empty_apertures(data, np.ones((5, 5)), mask=mask, n=50, rng=1, min_free=1.0)
    assert len(sums) == 50
    assert (sums == 0).all()
    assert len(empty_apertures(data, np.ones((5, 5)), mask=np.ones_like(mask))) == 0
    assert len(empty_apertures(data, np.ones((70, 70)))) == 0
    with pytest.raises(InputError, match="no weight"):
        empty_apertures(data, np.zeros((5, 5)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"background": "plane"}, "background is 'plane'; choose 'median' or 'none'"),
        ({"width": 0 * u.arcsec}, "width greater than zero"),
        ({"gap": -1 * u.arcsec}, "angles of at least zero"),
        ({"n_empty": -1}, "number of places"),
        ({"bands": ["F999W"]}, "F999W"),
        ({"matched_to": "F150W"}, "PSF"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(options, words):
    field, wcs = one_band(np.ones((80, 80)), np.ones((80, 80)))
    with pytest.raises(InputError, match=words):
        contour_photometry(field, square(wcs, 30, 30), **options)


def test_no_galaxies_make_an_empty_table_and_a_run_can_be_stopped():
    field, wcs = one_band(np.ones((80, 80)), np.ones((80, 80)))
    assert len(contour_photometry(field, ())) == 0
    stop = threading.Event()
    stop.set()
    with pytest.raises(ScLabError, match="cancelled after 0 of 1 galaxies"):
        contour_photometry(field, square(wcs, 30, 30), cancel=stop)


@pytest.mark.real_data
def test_the_arc_behind_el_gordo_in_eight_matched_bands(real_data):
    """Red, bright, and with errors several times what independent pixels would give."""
    from sc_lab.detection import make_segments, segment_galaxies

    folder = real_data / "imaging" / "elgordo_a0102_id224"
    bands = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W")
    field = Field.from_files(
        {band: folder / f"{band}_matched_sci.fits.gz" for band in bands},
        skies={band: folder / f"{band}_matched_sky.fits.gz" for band in bands},
    )
    galaxies = segment_galaxies(make_segments(field, "F200W"))
    arc = max(galaxies, key=lambda each: float(each.area.value))
    table = contour_photometry(field.replace(galaxies=galaxies), arc, n_empty=150, rng=1)
    flux = np.array([value(table, f"flux_{band.lower()}") for band in bands])
    error = np.array([value(table, f"flux_{band.lower()}_err") for band in bands])
    white = np.array([value(table, f"flux_{band.lower()}_err_white") for band in bands])
    empty = np.array([value(table, f"flux_{band.lower()}_err_empty") for band in bands])
    assert (np.diff(flux) > 0).all()
    assert (flux / error > 20).all()
    # Neighbours share 0.75 to 0.86 of their noise in the convolved bands, 0.49 in F444W.
    factor = np.array([value(table, f"noise_factor_{band.lower()}") for band in bands])
    assert (factor[:-1] > 2.5).all()
    assert factor[-1] == factor.min()
    # Empty places also hold faint galaxies; still the same to a factor of three, and far from independent pixels.
    assert ((empty / error > 0.4) & (empty / error < 3)).all()
    assert (empty > 2 * white).all()
