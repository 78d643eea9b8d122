"""Injection, detection, match and fit against what is known in closed form."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from scipy.stats import norm

from sc_lab.completeness import inject_recover
from sc_lab.completeness.measuring import _apart, cut_boxes, fit_recovered
from sc_lab.completeness.records import RECORD, Outcome
from sc_lab.completeness.recovery import Recipe, _drawn, _inject, _kernel, _match, estimate_gain, run_batch
from sc_lab.completeness.tiles import read_tile, region_windows
from sc_lab.images.galaxy import Galaxy
from sc_lab.photometry.rendering import make_kernel

PSF_STD = 1.24
LIMIT = 5.0


def above_threshold(data, error, *, psf, pixel_scale):
    """The simplest detector: every pixel above five standard deviations."""
    y, x = np.nonzero(data > LIMIT * error)
    return Table({"x": x.astype(float), "y": y.astype(float), "flux": data[y, x]})


def gaussian_clump(dx, dy, flux, size, ratio, theta):
    """Point samples of a Gaussian clump behind a Gaussian PSF: another Gaussian, its covariance the sum."""
    c, s = np.cos(theta), np.sin(theta)
    rotation = np.array([[c, -s], [s, c]])
    cov = rotation @ np.diag([size**2 / ratio, size**2 * ratio]) @ rotation.T + PSF_STD**2 * np.eye(2)
    offset = np.stack([dx, dy])
    chi2 = (offset * (np.linalg.inv(cov) @ offset)).sum(axis=0)
    return flux * np.exp(-0.5 * chi2) / (2 * np.pi * np.sqrt(np.linalg.det(cov)))


def chance_above(x, y, flux, size, ratio, theta, radius):
    """Chance that a pixel within the radius exceeds the threshold, in independent noise of one."""
    j, i = np.mgrid[np.floor(y) - 4 : np.floor(y) + 6, np.floor(x) - 4 : np.floor(x) + 6]
    near = np.hypot(i - x, j - y) <= radius
    light = gaussian_clump(i[near] - x, j[near] - y, flux, size, ratio, theta)
    return 1.0 - np.prod(norm.cdf(LIMIT - light))


def test_completeness_of_a_pixel_threshold_on_white_noise_is_that_of_its_formula(noise_field):
    """1 - product over the pixels within two of the place of the chance to stay below: no simulation in it."""
    result = inject_recover(
        noise_field,
        magnitudes=31.4 - 2.5 * np.log10([20.0, 40.0, 60.0, 80.0]),
        sizes=[0.0, 0.8, 1.6],
        n=4000,
        detector=above_threshold,
        gain=np.inf,
        fit=False,
        rng=3,
    )
    table = result.injections
    flux = 10 ** ((31.4 - table["mag"].value) / 2.5)
    columns = (table[name].value for name in ("x", "y"))
    rows = zip(*columns, flux, table["size"].value, table["axis_ratio"], table["theta"].value, strict=True)
    chance = np.array([chance_above(*row, 2.0) for row in rows])
    found = np.asarray(table["outcome"]) == Outcome.RECOVERED
    assert 0.2 < chance.mean() < 0.8  # the interesting part of the curve
    chi2 = n_cells = 0
    for mag in result.magnitudes:
        for size in result.sizes:
            cell = (table["mag"].value == mag) & (table["size"].value == size)
            expected, variance = chance[cell].sum(), (chance[cell] * (1 - chance[cell])).sum()
            chi2 += (found[cell].sum() - expected) ** 2 / max(variance, 1.0)
            n_cells += 1
            fraction = result.completeness().fraction[
                np.searchsorted(result.magnitudes, mag), np.searchsorted(result.sizes, size)
            ]
            assert fraction == pytest.approx(found[cell].mean())  # the table says what the clumps do
    # chi^2 of twelve cells; noise pixels are shared by rounds, which correlates them a little: 30 is 0.3 %.
    assert chi2 < 30
    # A pixel of noise above 5 sigma, one in 3.5 million, is all that could be found by accident.
    assert (np.asarray(table["outcome"]) == Outcome.PREEXISTING).sum() < 5


def test_half_of_the_point_sources_at_the_template_threshold_are_found(noise_field):
    """S/N of a matched template with a free constant: F sqrt(sum (p - mean p)^2) in a 9 x 9 box."""
    y, x = np.mgrid[-4:5, -4:5]
    p = np.exp(-0.5 * (x**2 + y**2) / PSF_STD**2) / (2 * np.pi * PSF_STD**2)
    at_limit = 31.4 - 2.5 * np.log10(6.0 / np.sqrt(((p - p.mean()) ** 2).sum()))
    result = inject_recover(
        noise_field,
        magnitudes=at_limit + np.array([-0.6, -0.3, 0.0, 0.3, 0.6]),
        sizes=[0.0],
        axis_ratios=[1.0],
        n=2000,
        detection={"method": "template", "threshold": 6.0},
        gain=np.inf,
        fit=False,
        rng=4,
    )
    fraction = result.completeness().fraction[:, 0]
    assert (np.diff(fraction) < 0).all()
    # The peak is the highest of several pixels, which favours detection by up to half a sigma: 0.09 mag; as much for
    # places between pixels, the other way; 0.05 for the binomial error of 400 clumps.
    assert result.limit(0.5, 0.0) == pytest.approx(at_limit, abs=0.15)
    # Two sigma above the limit nearly all, two below nearly none: 0.31 mag up is S/N 8, 0.6 down is S/N 3.5.
    assert fraction[0] > 0.98
    assert fraction[-1] < 0.05


def test_recovered_clumps_have_the_fluxes_and_sizes_they_were_given(host_field):
    """Bright clumps: S/N above 60, so that the fit's own bias is below a percent."""
    result = inject_recover(host_field, magnitudes=[24.9, 25.4], sizes=[0.0, 1.0, 2.0], n=1500, gain=np.inf, rng=5)
    crowded = np.asarray(result.injections["crowded"])
    assert 0 < crowded.sum() < 0.2 * len(crowded)
    assert result.completeness().fraction.min() > 0.9  # the rest lies on clumps of the host
    # A tilted plane under a 9 x 9 box, all but flat here: 2 % (a compact clump) to 4 % (one that fills the box).
    np.testing.assert_allclose(result.flux_bias().median, 0.0, atol=0.04)
    # Two axis ratios: at 1.0 px all are resolved, so the size is sqrt(std_maj std_min).
    np.testing.assert_allclose(result.size_bias().median[:, 1:], 0.0, atol=0.05)
    pulls = result.pulls()
    for name, pull in pulls.items():
        assert pull.width == pytest.approx(1.0, abs=0.15), name  # error of a width from 1400: 0.03; neighbours widen
    confusion = result.confusion()
    assert confusion[2, 2] > 0.95 * confusion[2].sum()
    assert confusion.sum() == (np.asarray(result.injections["outcome"]) == Outcome.RECOVERED).sum()


def rows_at(places):
    rows = np.zeros(len(places), dtype=RECORD)
    rows["x"], rows["y"] = np.transpose(places)
    return rows


def test_peak_that_was_there_before_does_not_count_unless_the_clump_outshines_it():
    before = np.array([[50.0, 50.0, 10.0, 8.0], [80.0, 50.0, 10.0, 8.0], [110.0, 50.0, 10.0, 8.0]])
    found = np.array([[50.5, 50.0, 12.0, 9.0], [80.5, 50.0, 40.0, 40.0], [20.0, 50.0, 9.0, 7.0], [142.5, 50, 9, 7]])
    # beside an old clump; on top of one, but five times as bright; alone; nearest peak 2.5 px away; nothing near
    rows = rows_at([(51.0, 50.0), (80.0, 50.0), (20.0, 51.0), (140.0, 50.0), (110.0, 90.0)])
    _match(rows, found, before, 2.0)
    assert rows["outcome"].tolist() == [
        Outcome.PREEXISTING,
        Outcome.RECOVERED,
        Outcome.RECOVERED,
        Outcome.MISSED,
        Outcome.MISSED,
    ]
    assert rows["crowded"].tolist() == [1, 1, 0, 0, 0]
    assert rows["x_found"][:3].tolist() == [50.5, 80.5, 20.0]


def test_match_without_fluxes_gives_old_peaks_their_place_and_no_peaks_match_nothing():
    before = np.array([[50.0, 50.0, np.nan, np.nan]])
    rows = rows_at([(51.0, 50.0)])
    _match(rows, np.array([[50.5, 50.0, np.nan, np.nan]]), before, 2.0)
    assert rows["outcome"].tolist() == [Outcome.PREEXISTING]
    _match(rows, np.empty((0, 4)), np.empty((0, 4)), 2.0)
    assert rows["outcome"].tolist() == [Outcome.MISSED]


def one_tile(field, region=None):
    image = field[field.reference]
    return read_tile(image, region_windows(field, image, region)[0])


def test_injected_light_brings_photon_noise_and_the_error_map_grows_with_it(noise_field):
    tile = one_tile(noise_field)
    recipe = Recipe(magnitudes=(24.0,), sizes=(1.5,), axis_ratios=(1.0,), gain=4.0)
    rng = np.random.default_rng(6)
    rows = rows_at([(100.3 + 31 * i, 100.7 + 31 * j) for i in range(5) for j in range(5)])
    rows["mag"], rows["size"], rows["axis_ratio"] = 24.0, 1.5, 1.0
    kernel = make_kernel(tile.psf, (2 * recipe.half + 1,) * 2, pixel_scale=tile.pixel_scale)
    plain = Recipe(magnitudes=(24.0,), sizes=(1.5,), axis_ratios=(1.0,))
    images = _drawn(rows, kernel, recipe.half)
    light = _inject(tile, rows, images, plain, rng)[0] - tile.data
    noisy, error = _inject(tile, rows, images, recipe, rng)
    bright = light > 1.0
    np.testing.assert_allclose(error[bright] ** 2, 1 + light[bright] / 4.0)  # the definition
    pull = (noisy - tile.data - light)[bright] / np.sqrt(light[bright] / 4.0)
    # Poisson numbers of mean 4 and more; errors of mean and width of some thousand pixels: 0.02.
    assert pull.mean() == pytest.approx(0, abs=0.06)
    assert pull.std() == pytest.approx(1, abs=0.06)
    flux = 10 ** ((31.4 - 24) / 2.5)
    # All light is drawn but the wings beyond the box: Gaussians reach 1e-6 there.
    assert light.sum() == pytest.approx(25 * flux, rel=1e-4)
    np.testing.assert_array_equal(error[~(light > (0.01) ** 2 * 4)], 1.0)


def test_gain_is_read_off_an_error_map_that_grows_with_brightness(host_field, noise_field, make_field):
    image = host_field["F150W"]
    data, _ = image.cutout(0, 0, 300, 300)
    grows = make_field(data, np.sqrt(1 + np.maximum(data, 0) / 5.0))
    # Noise in the brightness itself, 1 in 10 and more, biases the ratio by a percent or so.
    assert estimate_gain(one_tile(grows)) == pytest.approx(5.0, rel=0.1)
    assert np.isinf(estimate_gain(one_tile(host_field)))
    assert np.isnan(estimate_gain(one_tile(noise_field)))  # no bright pixel


def test_clumps_of_one_round_are_far_apart_and_inside_the_contour(host_field):
    image = host_field["F150W"]
    corners = np.array([(60, 60), (240, 60), (240, 150), (60, 240)], dtype=float)
    galaxy = Galaxy(id="A", contour=np.stack(image.to_sky(*corners.T), axis=-1))
    tile = one_tile(host_field, galaxy)
    recipe = Recipe(magnitudes=(27.0,), sizes=(0.5,), axis_ratios=(1.0,), fit=False)
    for batch in range(5):
        rows = run_batch(tile, recipe, (7, batch), 1)
        places = np.stack([rows["x"], rows["y"]], axis=1)
        distance = np.hypot(*(places[:, None] - places[None]).T)
        assert len(rows) >= 8  # 24 300 square pixels inside, 32 x 32 for each
        assert distance[~np.eye(len(rows), dtype=bool)].min() >= 30
        assert galaxy.contains(*image.to_sky(rows["x"], rows["y"])).mean() > 0.9  # by their pixel's centre
        on_pixel = image.to_sky(np.rint(rows["x"]), np.rint(rows["y"]))
        assert galaxy.contains(*on_pixel).all()


def test_pixels_that_cannot_be_used_hold_no_clump(make_field):
    rng = np.random.default_rng(8)
    image, error = rng.normal(size=(200, 200)), np.ones((200, 200))
    image[:, :60], error[150:], error[120:130, 100:] = np.nan, 0.0, np.nan
    tile = one_tile(make_field(image, error))
    rows = run_batch(tile, Recipe(magnitudes=(25.0,), sizes=(0.5,), axis_ratios=(1.0,), fit=False), (9, 0), 20)
    x, y = np.rint(rows["x"]).astype(int), np.rint(rows["y"]).astype(int)
    assert len(rows) > 100
    assert (x >= 60).all()
    assert (y < 150).all()
    assert not ((y >= 120) & (y < 130) & (x >= 100)).any()


def test_errors_that_allow_for_shared_noise_have_pulls_of_width_one_and_others_do_not(make_field):
    """Noise of neighbouring pixels mixed by a 3 x 3 kernel, as drizzling does; the error map is that of a pixel."""
    kernel = np.array([1.0, 2.0, 1.0]) / 4
    noise = np.random.default_rng(13).normal(size=(400, 400))
    for axis in (0, 1):
        noise = np.apply_along_axis(np.convolve, axis, noise, kernel, mode="same")
    field = make_field(noise, noise.std())
    options = {"magnitudes": [27.0], "sizes": [0.8], "axis_ratios": [1.0], "n": 1200, "gain": np.inf, "rng": 14}
    width = {mode: inject_recover(field, mode=mode, **options).pulls()["flux"].width for mode in ("full", "paper")}
    print(width)
    # Errors of a width from 1200: 0.03. Noise pixels are used a few times over, which doubles that.
    assert width["full"] == pytest.approx(1.0, abs=0.15)
    assert width["paper"] > 1.3


def test_clump_beside_another_detection_is_fitted_together_with_it(noise_field):
    """Two clumps 3.5 px apart in faint noise: the flux of one, by itself and with its companion."""
    tile = one_tile(noise_field)
    y, x = np.mgrid[:60, :60]
    light = sum(gaussian_clump(x.ravel() - cx, y.ravel() - 30.2, 100.0, 0.9, 0.999, 0.0) for cx in (28.3, 31.8))
    image = light.reshape(60, 60) + 0.02 * np.random.default_rng(15).normal(size=(60, 60))
    error = np.full_like(image, 0.02)
    found = np.array([[31.7, 30.1], [28.4, 30.2], [50.0, 50.0]])
    results = {}
    for name, counts in (("together", True), ("alone", False)):
        rows = rows_at([(28.3, 30.2)])
        rows["outcome"], rows["x_found"], rows["y_found"] = Outcome.RECOVERED, 28.4, 30.2
        allowed = np.full(image.shape, counts)
        boxes = cut_boxes(rows, 0, image, error, found, allowed, 9)
        assert [len(box.places) for box in boxes] == ([2, 1] if counts else [1])
        fit_recovered(rows, boxes, lambda side: _kernel(tile, side), floor=-0.3, noise_correlation=None)
        results[name] = rows[0]
    # S/N 800 alone, a third of that beside a companion.
    assert results["together"]["flux"] == pytest.approx(100.0, rel=0.015)
    assert results["together"]["x_fit"] == pytest.approx(28.3, abs=0.01)
    assert results["together"]["cxx"] == pytest.approx(0.81, abs=0.02)
    assert abs(results["alone"]["flux"] / 100.0 - 1) > 0.05


def test_group_whose_components_merge_or_change_places_is_given_up():
    local = np.array([[[4.0, 4.0], [7.0, 4.0]]] * 4)  # a companion three pixels to the right
    x = np.array([[4.1, 6.9], [5.0, 5.5], [6.0, 4.0], [np.nan, np.nan]])
    fits = SimpleNamespace(x=x, y=np.full_like(x, 4.0))
    assert _apart(fits, local).tolist() == [True, False, False, False]
    alone = SimpleNamespace(x=x[:, :1], y=x[:, :1])
    assert _apart(alone, local[:, :1]).all()
