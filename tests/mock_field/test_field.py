"""A mock field is what it says: grids, depth, noise, and a truth that agrees with its own lens and pixels."""

from __future__ import annotations

import os
import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest

from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError
from sc_lab.images import Field
from sc_lab.mock import MockField, make_field
from sc_lab.mock.noise import drizzle_kernel, sky_noise
from sc_lab.mock.psfs import FILTERS, synthesise_psf
from sc_lab.mock.rendering import Canvas, Gaussians

_ARCSEC = 180 / np.pi * 3600


def _whole(field: Field, band: str) -> tuple[np.ndarray, np.ndarray]:
    ny, nx = field[band].shape
    return field[band].cutout(0, 0, nx, ny)


def test_grids_are_aligned_with_a_common_corner(field: MockField) -> None:
    short, long = field["F150W"], field["F277W"]
    assert (short.pixel_scale, long.pixel_scale) == (pytest.approx(0.02), pytest.approx(0.04))
    assert short.shape == (600, 600)
    assert long.shape == (300, 300)
    x, y = long.to_pixel(*short.to_sky(np.array([0.0, 100.0, 599.0]), np.array([0.0, 250.0, 599.0])))
    # x2 = (x1 + 0.5) s1 / s2 - 0.5, the half pixel being the common corner; exact at the middle of the projection.
    assert x == pytest.approx([-0.25, 49.75, 299.25], abs=1e-6)
    assert y == pytest.approx([-0.25, 124.75, 299.25], abs=1e-6)


def test_same_seed_same_field_whatever_the_bands(field: MockField) -> None:
    again = make_field(seed=3, size=12.0 * u.arcsec, bands=["f150w"], galaxies=5)
    assert np.array_equal(_whole(again, "F150W")[0], _whole(field, "F150W")[0])
    assert np.array_equal(again.truth["id"], field.truth["id"])
    assert np.array_equal(again.truth["mass"], field.truth["mass"], equal_nan=True)
    assert "flux_f277w" not in again.truth.colnames
    other = make_field(seed=4, size=12.0, bands=["F150W"], galaxies=5)
    assert not np.array_equal(_whole(other, "F150W")[0], _whole(field, "F150W")[0])


@pytest.mark.parametrize("band", ["F115W", "F277W"])
def test_noise_is_as_large_as_the_error_map_says(field: MockField, clean: MockField, band: str) -> None:
    data, error = _whole(field, band)
    pull = (data - _whole(clean, band)[0]) / error
    # n independent normal deviates: mean within 5 / sqrt(n), width within 5 / sqrt(2 n).
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    assert abs(pull.std() - 1) < 5 / np.sqrt(2 * pull.size)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("band", ["F150W", "F444W"])
def test_empty_apertures_have_the_stated_depth(band: str, correlated: bool) -> None:
    """5 sigma of a point source in 0.2 arcsec apertures, whether neighbouring pixels are correlated or not."""
    each = FILTERS[band]
    sky, _ = sky_noise(each, synthesise_psf(band), correlated=correlated)
    rng = np.random.default_rng(1)
    unit = rng.standard_normal((600, 600))
    if correlated:
        from scipy.ndimage import correlate1d

        for axis in (0, 1):
            unit = correlate1d(unit, drizzle_kernel(), axis=axis, mode="wrap")
    radius = 0.1 / each.pixel_scale
    axis = np.arange(-15, 16)
    aperture = (np.hypot(axis[:, None], axis[None, :]) <= radius).astype(float)
    boxes = (sky * unit)[:589, :589].reshape(19, 31, 19, 31).transpose(0, 2, 1, 3).reshape(-1, 31, 31)
    scatter = (boxes * aperture).sum(axis=(1, 2)).std()
    stamp = synthesise_psf(band).sampled(each.pixel_scale)
    middle = stamp.shape[0] // 2
    energy = (stamp[middle - 15 : middle + 16, middle - 15 : middle + 16] * aperture).sum()
    depth = 31.4 - 2.5 * np.log10(5 * scatter / energy)
    # 361 apertures: 4 % of scatter, 0.04 mag; a discrete circle of few pixels differs from pi r2 by some per cent; and
    # correlated noise approaches its large-scale level only in apertures much wider than the kernel.
    assert depth == pytest.approx(each.depth, abs=0.3 if correlated else 0.12)


def test_truth_agrees_with_the_lens_of_the_field(field: MockField) -> None:
    clumps = field.truth[field.truth["kind"] == "clump"]
    (lens,) = field.lenses
    mu, mu_t, mu_r = lens.magnification(clumps["ra"], clumps["dec"], clumps["z"])
    # From degrees back to arcsec costs 1e-10 arcsec, times the slope of ln mu near critical curves.
    assert mu == pytest.approx(np.asarray(clumps["mu"]), rel=1e-5)
    assert mu_t == pytest.approx(np.asarray(clumps["mu_t"]), rel=1e-5)
    assert mu_r == pytest.approx(np.asarray(clumps["mu_r"]), rel=1e-5)


def test_images_of_one_clump_come_from_one_place_with_one_luminosity(field: MockField) -> None:
    clumps = field.truth[field.truth["kind"] == "clump"]
    (lens,) = field.lenses
    ra, dec = lens.source(clumps["ra"], clumps["dec"], clumps["z"])
    several = 0
    for source in np.unique(clumps["source"]):
        own = np.flatnonzero(clumps["source"] == source)
        several += len(own) > 1
        assert np.ptp(ra[own]) * 3600 < 1e-6
        assert np.ptp(dec[own]) * 3600 < 1e-6
        intrinsic = (clumps["flux_f150w"][own] / np.abs(clumps["mu"][own])).to_value(u.nJy)
        assert intrinsic == pytest.approx(intrinsic[0], rel=1e-9)
    assert several > 3  # success trivial otherwise


def test_shapes_are_circles_seen_through_the_jacobian(field: MockField) -> None:
    clumps = field.truth[field.truth["kind"] == "clump"]
    (lens,) = field.lenses
    kappa, g1, g2 = lens.jacobian(clumps["ra"], clumps["dec"], clumps["z"])
    a = np.stack([np.stack([1 - kappa - g1, -g2], -1), np.stack([-g2, 1 - kappa + g1], -1)], -2)
    image = np.stack(
        [np.stack([clumps["cov_xx"], clumps["cov_xy"]], -1), np.stack([clumps["cov_xy"], clumps["cov_yy"]], -1)], -2
    )
    source = np.einsum("nij,njk,nlk->nil", a, image, a)
    size = default_cosmology().angular_diameter_distance(clumps["z"]).to_value(u.pc) * 0.02 / _ARCSEC
    r_eff = size * np.sqrt(2 * np.log(2)) * np.linalg.det(source) ** 0.25
    # Nearly singular matrices: relative rounding grows with mu squared.
    assert r_eff == pytest.approx(clumps["r_eff"].to_value(u.pc), rel=1e-4)
    assert np.abs(source[:, 0, 1] / source[:, 0, 0]).max() < 1e-3


def test_fluxes_are_those_of_stellar_population_models_for_the_true_stars(field: MockField) -> None:
    from sc_lab.mock.light import SOLAR, light

    clumps = field.truth[field.truth["kind"] == "clump"]
    stars = (np.asarray(u.Quantity(clumps[name]).value) for name in ("z", "age_onset", "a_v", "metallicity", "log_u"))
    z, age, a_v, metallicity, log_u = stars
    wanted = light(z, age, a_v, metallicity / SOLAR, log_u, bands=("f115w", "f277w"))
    mass = clumps["mass"].value
    # Rounding of double precision.
    assert clumps["abs_mag_v"].value == pytest.approx(wanted.abs_mag_v - 2.5 * np.log10(mass), abs=1e-9)
    for name, flux in zip(("flux_f115w", "flux_f277w"), wanted.flux.T, strict=True):
        assert clumps[name].to_value(u.nJy) == pytest.approx(flux * mass * np.abs(clumps["mu"]), rel=1e-9)


def test_the_discs_of_galaxies_are_told(field: MockField) -> None:
    hosts = field.hosts
    assert set(hosts["system"]) >= {galaxy.system for galaxy in field.galaxies}
    # Absolute magnitudes about -17.5 of populations of some hundred million years.
    assert (np.abs(np.log10(hosts["mass"].value) - 8.0) < 1.5).all()
    assert (hosts["sfr"] > 0).all()
    assert hosts["flux_f150w"].unit == u.nJy
    assert field.replace(name="other").hosts is hosts


def test_snr_is_that_of_a_matched_filter(field: MockField) -> None:
    row = field.truth[np.flatnonzero(field.truth["kind"] == "clump")[2]]
    cov = np.array([[row["cov_xx"], row["cov_xy"]], [row["cov_xy"], row["cov_yy"]]]) * 0.02**2
    one = Gaussians(np.array([2.0]), np.array([2.0]), cov[None])
    p = Canvas((200, 200), 0.02, one).paint(np.ones(1), synthesise_psf("F150W"))
    sky, _ = sky_noise(FILTERS["F150W"], synthesise_psf("F150W"))
    # A third of the frequencies, and 4 arcsec instead of the whole plane.
    assert row["snr"] == pytest.approx(row["flux_f150w"].value / sky * np.sqrt((p**2).sum()), rel=2e-3)


def test_globulars_lie_in_the_colour_box() -> None:
    """Intra-cluster globulars: -1 < F200W - F356W < -0.5, 0 < F150W - F200W < 0.3 (Claeyssens et al. 2026, 3.1.3)."""
    from sc_lab.mock.lens import Z_LENS
    from sc_lab.mock.scene import Window, globulars

    found = globulars(Window(8.5, 8.5, (30.0, 30.0)), [], list(FILTERS), 2, np.random.default_rng(1))
    mag = -2.5 * np.log10(found.flux)
    index = {name: i for i, name in enumerate(FILTERS)}
    x = mag[:, index["F200W"]] - mag[:, index["F356W"]]
    y = mag[:, index["F150W"]] - mag[:, index["F200W"]]
    inside = (x > -1) & (x < -0.5) & (y > 0) & (y < 0.3)
    assert len(x) > 30
    # Bursts of 4 to 9 Gyr with 0.08 to 0.4 of solar metals; the box was drawn around such models.
    assert inside.all()
    assert (found.truth["z"] == Z_LENS).all()


def test_stars_are_bright_and_apart(field: MockField) -> None:
    truth = field.truth
    stars = truth[truth["kind"] == "star"]
    assert len(stars) >= 6
    assert stars["flux_f150w"].to_value(u.ABmag).max() < 24.1
    for row in stars:
        away = np.hypot(truth["x"] - row["x"], truth["y"] - row["y"])
        others = (truth["id"] != row["id"]) & (truth["flux_f150w"] > 5 * u.nJy)
        assert away[others].min() * 0.02 > 0.8 if others.any() else True


def test_galaxies_hold_their_clumps(field: MockField) -> None:
    assert len(field.galaxies) >= 3
    clumps = field.truth[field.truth["kind"] == "clump"]
    by_id = {galaxy.id: galaxy for galaxy in field.galaxies}
    held = 0
    for row in clumps[clumps["galaxy"] != ""]:
        galaxy = by_id[row["galaxy"]]
        assert galaxy.system == row["system"]
        assert galaxy.z == row["z"]
        held += bool(galaxy.contains(row["ra"], row["dec"]))
    # The rest lie within an arcsec of their galaxy's isophote.
    assert held > 0.6 * len(clumps)
    assert len([galaxy for galaxy in field.galaxies if galaxy.is_reference]) == len({g.system for g in field.galaxies})


def test_a_changed_copy_keeps_the_truth(field: MockField) -> None:
    other = field.replace(name="other")
    assert other.name == "other"
    assert other.truth is field.truth
    assert other.members is field.members


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "whole number"),
        ({"seed": 1.5}, "whole number"),
        ({"size": 1.0}, "4 to 60"),
        ({"size": 1.0 * u.kpc}, "kpc"),
        ({"bands": ["F999W"]}, "F999W"),
        ({"bands": []}, "empty"),
        ({"bands": ["F150W", "f150w"]}, "twice"),
    ],
)
def test_refuses_in_words(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_field(**options)


_HASH = """
import hashlib
from sc_lab.mock import make_field
field = make_field(seed=2, size=5.0, bands=["F200W", "F480M"], galaxies=2)
print(hashlib.sha256(b"".join(field[b].cutout(0, 0, *field[b].shape)[0].tobytes() for b in field)).hexdigest())
"""


def test_number_of_threads_changes_nothing() -> None:
    """Bit for bit, in processes of their own."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    seen = set()
    for threads in ("1", "2"):
        environment = {**os.environ, **dict.fromkeys(variables, threads)}
        run = subprocess.run([sys.executable, "-c", _HASH], env=environment, capture_output=True, text=True, check=True)
        seen.add(run.stdout.strip())
    assert len(seen) == 1
    assert len(seen.pop()) == 64  # success trivial otherwise


def test_globulars_are_measured_in_the_colour_box() -> None:
    """Found again by their colours through the PSFs of three bands, under the light of the cluster."""
    from sc_lab.photometry import fit_clumps

    field = make_field(seed=1, size=24.0, bands=["F150W", "F200W", "F356W"], galaxies=2)
    truth = field.truth
    away = np.array([np.partition(np.hypot(truth["x"] - row["x"], truth["y"] - row["y"]), 1)[1] for row in truth])
    inner = (np.abs(truth["x"] - 600) < 580) & (np.abs(truth["y"] - 600) < 580)
    chosen = truth[(truth["kind"] == "gc") & (truth["snr"] > 40) & (away > 15) & inner]
    assert len(chosen) > 8  # success trivial otherwise
    fits = fit_clumps(field, chosen["id", "ra", "dec"])
    mag = {band: -2.5 * np.log10(fits[f"flux_{band}"].to_value(u.nJy)) for band in ("f150w", "f200w", "f356w")}
    x, y = mag["f200w"] - mag["f356w"], mag["f150w"] - mag["f200w"]
    # Colours lie 0.02 to 0.15 mag inside the box, 0.5 by 0.3 mag wide, and scatter by about 0.05 by noise.
    assert np.mean((x > -1) & (x < -0.5) & (y > 0) & (y < 0.3)) > 0.6


def test_stars_of_the_field_give_its_psf() -> None:
    """Eight stars stacked agree with the PSF that painted them."""
    from sc_lab.images.stars import psf_from_stars

    field = make_field(seed=5, size=16.0, bands=["F150W"], galaxies=2)
    stars = field.truth[field.truth["kind"] == "star"]
    stacked, true = psf_from_stars(field, "F150W", stars), field["F150W"].psf
    true = true.trimmed(stacked.size)
    # Per cent of the peak: faint neighbours and the sloping light of the cluster under six stars.
    difference = stacked.stamp / stacked.stamp.sum() - true.stamp / true.stamp.sum()
    assert np.abs(difference).max() < 0.03 * true.stamp.max()
    assert stacked.fwhm == pytest.approx(true.fwhm, rel=0.02)


def test_snr_under_correlated_noise_is_that_of_the_same_filter() -> None:
    """The filtered flux scatters by the root of the sum of squares of the filter smoothed by the noise's kernel."""
    from scipy.ndimage import correlate1d

    from sc_lab.mock.noise import sharpness

    cov = np.array([[[0.02**2, 0.0], [0.0, 0.01**2]]])
    one = Gaussians(np.array([2.0]), np.array([2.0]), cov)
    p = Canvas((200, 200), 0.02, one).paint(np.ones(1), synthesise_psf("F150W"))
    smoothed = correlate1d(correlate1d(p, drizzle_kernel(), axis=0), drizzle_kernel(), axis=1)
    wanted = (p**2).sum() / np.sqrt((smoothed**2).sum())
    found = sharpness(cov, synthesise_psf("F150W"), 0.02, correlated=True)[0]
    # A third of the frequencies, and 4 arcsec instead of the whole plane.
    assert found == pytest.approx(wanted, rel=2e-3)
    assert found < 0.7 * sharpness(cov, synthesise_psf("F150W"), 0.02)[0]
