"""Stars are told from galaxies and saturated ones, and stack into the true PSF."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from sc_lab.errors import InputError
from sc_lab.images import Field, Psf, propose_stars, psf_from_stars
from sc_lab.images.psf import shifted

N, SIGMA = 900, 0.3


def _truth():
    """A PSF with a core, an elliptical shoulder and wings, about as sampled as F150W in 20 mas pixels."""
    rows, columns = np.indices((101, 101)) - 50
    core = np.exp(-0.5 * (rows**2 + columns**2) / 1.2**2) / (2 * np.pi * 1.2**2)
    shoulder = np.exp(-0.5 * ((rows / 3) ** 2 + (columns / 4) ** 2)) / (2 * np.pi * 12)
    wings = (1 + (rows**2 + columns**2) / 40) ** -2.0
    return Psf.from_array(
        0.75 * core + 0.2 * shoulder + 0.05 * wings / wings.sum(), 0.02, energy_fraction=0.98, band="F150W"
    )


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(11)
    psf, image, stars = _truth(), np.zeros((N, N)), []
    while len(stars) < 9:
        x, y = rng.uniform(80, N - 80, 2)
        if all(np.hypot(x - a, y - b) > 120 for a, b, _ in stars):
            stars.append((x, y, float(rng.uniform(900, 3000))))
    for x, y, flux in stars:
        i, j = round(y), round(x)
        image[i - 50 : i + 51, j - 50 : j + 51] += flux * shifted(psf.stamp, x - j, y - i)
    rows, columns = np.indices((61, 61)) - 30
    for _ in range(30):
        i, j = rng.integers(40, N - 40, 2)
        if min(np.hypot(j - x, i - y) for x, y, _ in stars) > 70:
            width = rng.uniform(3, 8)
            image[i - 30 : i + 31, j - 30 : j + 31] += (
                rng.uniform(500, 3000)
                * np.exp(
                    -0.5 * (rows**2 + columns**2) / width**2,
                )
                / (2 * np.pi * width**2)
            )
    image += rng.normal(0, SIGMA, image.shape) + 0.7
    field = Field.from_arrays({"F150W": image}, errors={"F150W": SIGMA}, pixel_scales=0.02)
    return field, psf, np.array(stars)


def test_proposed_stars_are_stars(scene):
    field, _, stars = scene
    found = propose_stars(field, "F150W")
    away = [
        np.hypot(stars[:, 0] - x, stars[:, 1] - y).min()
        for x, y in zip(found["x"].value, found["y"].value, strict=True)
    ]
    assert max(away) < 1
    assert len(found) >= 6, "a star whose moments look oblong or that has a neighbour may be left out"
    assert (np.diff(found["snr"]) <= 0).all()


def test_a_known_psf_tells_stars_apart_too(scene):
    field, psf, stars = scene
    found = propose_stars(field.replace(psfs={"F150W": psf}), "F150W", n=4)
    assert len(found) == 4
    for x, y in zip(found["x"].value, found["y"].value, strict=True):
        assert np.hypot(stars[:, 0] - x, stars[:, 1] - y).min() < 1


def test_stacked_stars_give_the_true_psf(scene):
    """Its variance is right to 0.02 px2, the error that five stars of S/N 150 are allowed (linear shifts: 0.12)."""
    field, truth, stars = scene
    image = field["F150W"]
    ra, dec = image.to_sky(stars[:, 0] + 0.4, stars[:, 1] - 0.6)
    psf = psf_from_stars(field, "F150W", np.column_stack([ra, dec]), size=61, model=truth)
    true = truth.trimmed(61)
    assert psf.energy_fraction == pytest.approx(true.energy_fraction, abs=1e-3)
    # Stars of S/N 100 to 200 leave 1 % of the peak.
    assert np.abs(psf.stamp - true.stamp).max() < 0.02 * true.stamp.max()
    assert np.abs(_extra_variance(psf.stamp, true.stamp)).max() < 0.02
    assert psf.cautions == ()


def _extra_variance(stamp, true):
    """Return how much Gaussian smearing [px2 per axis] turns ``true`` into ``stamp``: what a clump's size would lose."""
    n = len(stamp)
    k = np.fft.fftfreq(n)
    kx, ky = np.meshgrid(k, k)
    spectrum = np.fft.fft2(np.fft.ifftshift(true))
    terms = [
        np.fft.fftshift(np.fft.ifft2(spectrum * w).real)
        for w in (kx * 0 + 1, -2 * np.pi**2 * kx**2, -2 * np.pi**2 * ky**2)
    ]
    rows, columns = np.indices(stamp.shape) - n // 2
    near = np.hypot(rows, columns) < 5
    scale, *extra = np.linalg.lstsq(np.stack([t[near] for t in terms], 1), stamp[near], rcond=None)[0]
    return np.array(extra) / scale


def test_saturated_stars_are_neither_proposed_nor_stacked(scene):
    field, _, stars = scene
    data, _ = field["F150W"].cutout(0, 0, N, N)
    x, y = (round(v) for v in stars[0, :2])
    holed, flat = data.copy(), data.copy()
    holed[y, x] = np.nan
    flat = np.minimum(flat, 0.5 * flat[y - 2 : y + 3, x - 2 : x + 3].max())
    for image, words in ((holed, "no usable value"), (flat, "flat")):
        other = Field.from_arrays({"F150W": image}, errors={"F150W": SIGMA}, pixel_scales=0.02)
        found = propose_stars(other, "F150W")
        assert np.hypot(found["x"].value - x, found["y"].value - y).min(initial=99) > 5
        with pytest.raises(InputError, match=words):
            psf_from_stars(other, "F150W", [other["F150W"].to_sky(x, y)])


def test_a_passing_hit_does_not_stay_in_the_stack(scene):
    field, truth, stars = scene
    data, _ = field["F150W"].cutout(0, 0, N, N)
    x, y = (round(v) for v in stars[1, :2])
    data[y + 8, x - 9] += 40
    other = Field.from_arrays({"F150W": data}, errors={"F150W": SIGMA}, pixel_scales=0.02)
    ra, dec = other["F150W"].to_sky(stars[:, 0], stars[:, 1])
    psf = psf_from_stars(other, "F150W", np.column_stack([ra, dec]), size=41, model=truth)
    assert np.abs(psf.stamp - truth.trimmed(41).stamp).max() < 0.02 * truth.stamp.max()


def test_few_stars_and_unknown_energy_are_said(scene):
    field, _, stars = scene
    psf = psf_from_stars(field, "F150W", [field["F150W"].to_sky(*stars[2, :2]), (10.0, 10.0)], size=41)
    words = " ".join(psf.cautions)
    assert "outside the mosaic" in words
    assert "made of 1 stars" in words
    assert "energy_fraction=" in words


def test_positions_come_as_tables_or_coordinates(scene):
    field, _, stars = scene
    ra, dec = field["F150W"].to_sky(stars[:3, 0], stars[:3, 1])
    given = [
        np.column_stack([ra, dec]),
        SkyCoord(ra, dec, unit="deg"),
        Table({"ra": ra, "dec": dec}),
        QTable({"ra": ra * u.deg, "dec": dec * u.deg}),
    ]
    stamps = [psf_from_stars(field, "F150W", positions, size=31).stamp for positions in given]
    for stamp in stamps[1:]:
        # Wrapping right ascension costs its last digit.
        np.testing.assert_allclose(stamp, stamps[0], atol=1e-9)


def test_odd_positions_and_sizes_are_refused(scene):
    field = scene[0]
    with pytest.raises(InputError, match="n pairs"):
        psf_from_stars(field, "F150W", [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="odd side"):
        psf_from_stars(field, "F150W", [(0.0, 0.0)], size=40)
    with pytest.raises(InputError, match="none was given"):
        psf_from_stars(field, "F150W", np.zeros((0, 2)))


def test_an_empty_sky_has_no_stars_and_the_search_can_be_stopped(scene):
    empty = Field.from_arrays(
        {"F150W": np.random.default_rng(0).normal(size=(200, 200))}, errors={"F150W": 1.0}, pixel_scales=0.02
    )
    assert len(propose_stars(empty, "F150W")) == 0

    class Stop:
        def is_set(self):
            return True

    assert len(propose_stars(scene[0], "F150W", cancel=Stop())) == 0
    seen = []
    propose_stars(empty, "F150W", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]
