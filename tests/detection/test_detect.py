"""Clumps in a known field are found where they are, with lasting names; bad pixels do no harm."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from scipy import ndimage

from sc_lab.detection import DetectionFlag, completeness_table, detect_clumps, find_peaks, match_pixels
from sc_lab.errors import InputError, ScLabError
from sc_lab.images.galaxy import Galaxy


@pytest.fixture(scope="module")
def galaxy(mock, make):
    return Galaxy(id="A1", contour=make.polygon(mock.band, [(150, 150), (420, 160), (400, 420), (160, 400)]))


@pytest.mark.parametrize(("method", "most_false"), [("segments", 4), ("template", 8)])
def test_completeness_and_false_detections_are_those_of_the_method(make, method, most_false):
    """Half at S/N 5 to 8, nearly all at 8 to 12, all above; a handful of false ones in 1.1 Mpx."""
    snr, found, false = [], [], 0
    for seed in (1, 2, 3):
        data, error, truth = make.image(seed=seed)
        peaks = find_peaks(data, error, method=method)
        match = match_pixels(peaks["x"], peaks["y"], truth["x"], truth["y"], radius=2)
        snr.append(truth["snr"])
        found.append(match.second_matched)
        false += int((~match.first_matched).sum())
        # Half of the clumps have S/N > 20, whose peak the parabola places well within the pixel.
        assert np.median(match.separation) < 0.3
    table = completeness_table(np.concatenate(snr), np.concatenate(found))
    # About 110 clumps a bin: a binomial error of 0.05 at one half, 0.02 at 0.95.
    assert 0.35 < table["completeness"][0] < 0.75
    assert table["completeness"][1] > 0.9
    assert (table["completeness"][2:] > 0.985).all()
    assert false <= most_false


def test_snr_is_that_of_a_matched_filter(make):
    """A point source of S/N 50 on noise alone; the host's median takes a few percent of it."""
    rng = np.random.default_rng(5)
    cov = make.std**2 * np.eye(2)
    data = make.gaussian((61, 61), 30.2, 29.7, 50 / make.unit_snr(cov), cov) + rng.normal(size=(61, 61))
    peaks = find_peaks(data, np.ones((61, 61)))
    assert peaks["snr"][0] == pytest.approx(50, abs=4)  # one standard deviation, the subtraction and pixel phase
    assert peaks["x"][0] == pytest.approx(30.2, abs=0.15)
    assert peaks["y"][0] == pytest.approx(29.7, abs=0.15)
    assert peaks["flux"][0] == pytest.approx(50 / make.unit_snr(cov), rel=0.08)


def test_only_what_lies_in_the_contour_is_returned(mock, galaxy):
    table = detect_clumps(mock.field, region=galaxy)
    assert len(table) > 20
    assert galaxy.contains(table["ra"], table["dec"]).all()
    everywhere = detect_clumps(mock.field, region="all")
    inside = galaxy.contains(everywhere["ra"], everywhere["dec"])
    match = match_pixels(everywhere["x"][inside], everywhere["y"][inside], table["x"], table["y"], radius=0.5)
    # What is near the rim may be split differently where the cut-out ends.
    assert match.second_matched.mean() > 0.95


def test_a_cut_out_costs_only_its_pixels(mock, galaxy):
    mock.band.read.clear()
    detect_clumps(mock.field, region=galaxy)
    assert len(mock.band.read) == 1
    x0, y0, nx, ny = mock.band.read[0]
    assert x0 > 120
    assert y0 > 120
    assert max(nx, ny) < 320


def test_ids_are_unique_and_a_lower_threshold_only_adds(mock, galaxy):
    table = detect_clumps(mock.field, region=galaxy)
    assert table["id"][0] == "A1.1"
    assert len(set(table["id"])) == len(table)
    deeper = detect_clumps(mock.field, region=galaxy, threshold=1.2, previous=table)
    assert len(set(deeper["id"])) == len(deeper) > len(table)
    where = {name: (x, y) for name, x, y in zip(deeper["id"], deeper["x"], deeper["y"], strict=True)}
    kept = [name for name in table["id"] if name in where]
    assert len(kept) >= len(table) - 1  # a pair may be split otherwise
    for row in table:
        if row["id"] in where:
            assert np.hypot(where[row["id"]][0] - row["x"], where[row["id"]][1] - row["y"]) < 2.0


def test_an_id_is_never_given_again(mock, galaxy):
    table = detect_clumps(mock.field, region=galaxy)
    # As if the first clump had been removed by hand and another added far away.
    rest = table[1:]
    rest["ra"][-1] += 1 * rest["ra"].unit
    again = detect_clumps(mock.field, region=galaxy, previous=rest)
    numbers = [int(name.rpartition(".")[2]) for name in again["id"]]
    assert len(set(numbers)) == len(numbers)
    fresh = set(again["id"]) - set(rest["id"])
    assert len(fresh) == 2
    assert all(int(name.rpartition(".")[2]) > len(table) for name in fresh)


def test_two_galaxies_number_their_clumps_apart_and_share_none(mock, make):
    wide = Galaxy(id="wide", contour=make.polygon(mock.band, [(100, 100), (400, 100), (400, 400), (100, 400)]))
    inner = Galaxy(id="inner", contour=make.polygon(mock.band, [(200, 200), (300, 200), (300, 300), (200, 300)]))
    table = detect_clumps(mock.field, region=(wide, inner))
    assert set(table["galaxy"]) == {"wide", "inner"}
    assert inner.contains(table["ra"], table["dec"]).sum() == (table["galaxy"] == "inner").sum()
    match = match_pixels(table["x"], table["y"], mock.truth["x"], mock.truth["y"], radius=1.5)
    assert len(set(match.second.tolist())) == len(match.second)
    with pytest.raises(InputError, match="two galaxies are named wide"):
        detect_clumps(mock.field, region=(wide, wide))


def test_a_plain_polygon_needs_no_galaxy(mock, make, galaxy):
    table = detect_clumps(mock.field, region=galaxy.contour)
    assert set(table["galaxy"]) == {""}
    assert table["id"][0] == "clump.1"
    assert len(table) == len(detect_clumps(mock.field, region=galaxy))


def test_pieces_of_a_mosaic_give_what_the_whole_gives(mock, monkeypatch):
    whole = detect_clumps(mock.field, region="all")
    monkeypatch.setattr("sc_lab.detection.clumps._TILE", 256)
    pieces = detect_clumps(mock.field, region="all")
    match = match_pixels(pieces["x"], pieces["y"], whole["x"], whole["y"], radius=0.5)
    # Deblending looks at a whole segment, so a few faint neighbours may differ.
    assert match.second_matched.mean() > 0.99
    assert match.first_matched.mean() > 0.99


def test_pixels_without_a_value_or_error_are_left_out_and_said(make):
    data, error, truth = make.image(seed=4, size=300)
    x, y = truth["x"][10], truth["y"][10]
    column, row = round(x), round(y)
    data[row - 2 : row + 3, column - 2 : column + 3] = 1e4
    error[row - 2 : row + 3, column - 2 : column + 3] = np.nan
    data[40:60, 40:60] = np.nan
    error[200:202, 100:105] = 0.0
    error[100, 100] = np.inf
    error[120, 120] = -1.0
    peaks = find_peaks(data, error)
    match = match_pixels(peaks["x"], peaks["y"], truth["x"], truth["y"], radius=2)
    clear = np.ones(len(truth["x"]), dtype=bool)
    clear[10] = False
    clear &= ~((abs(truth["x"] - 50) < 16) & (abs(truth["y"] - 50) < 16))
    clear &= truth["snr"] > 15
    assert match.second_matched[clear].all()
    assert np.isfinite(peaks["snr"]).all()
    assert peaks["snr"].max() < 150
    near = np.hypot(peaks["x"] - 50, peaks["y"] - 50) < 10
    assert not near.any()
    template = find_peaks(data, error, method="template")
    assert np.isfinite(template["snr"]).all()
    assert template["snr"].max() < 150


def test_a_clump_beside_a_hole_and_one_at_the_rim_are_flagged(make):
    cov = make.std**2 * np.eye(2)
    data = np.random.default_rng(2).normal(size=(120, 120)) * 0.1
    for x, y in ((60, 60), (2, 30), (30, 90)):
        data += make.gaussian(data.shape, x, y, 60, cov)
    data[60, 63] = np.nan
    flags = {}
    for row in find_peaks(data, np.full(data.shape, 0.1)):
        flags[round(float(row["x"])), round(float(row["y"]))] = DetectionFlag(int(row["flags"]))
    assert DetectionFlag.NEAR_MASKED in flags[60, 60]
    assert DetectionFlag.NEAR_EDGE in flags[2, 30]
    assert not flags[30, 90] & (DetectionFlag.NEAR_MASKED | DetectionFlag.NEAR_EDGE)


def test_noise_is_measured_where_the_map_is_wrong_or_missing(make):
    data, error, _ = make.image(seed=6, size=300)
    right = find_peaks(data, error)
    floored = find_peaks(data, 3 * error)
    assert floored.meta["noise_ratio"] == pytest.approx(1 / 3, rel=0.05)  # 9e4 pixels, clumps in a tenth of them
    assert len(floored) < len(right)
    mended = find_peaks(data, 3 * error, noise="measured")
    assert abs(len(mended) - len(right)) <= 3
    for none in (None, np.full_like(error, np.nan), np.zeros_like(error)):
        assert abs(len(find_peaks(data, none)) - len(right)) <= 3


@pytest.mark.parametrize("method", ["segments", "template"])
def test_noise_that_neighbours_share_does_not_pass_for_clumps(make, method):
    """Blank noise smoothed by 1.2 pixels: hundreds of false peaks where pixels are taken for independent."""
    rng = np.random.default_rng(8)
    data = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 1.2)
    data /= data.std()
    lags = np.arange(-5, 6)
    # Noise smoothed by s has a Gaussian autocorrelation of width sqrt(2) s.
    line = np.exp(-(lags**2) / (4 * 1.2**2))
    rho = np.outer(line, line)
    error = np.ones_like(data)
    naive, honest = (find_peaks(data, error, method=method, correlation=each) for each in (None, rho))
    assert len(naive) > 100
    # Noise as smooth as the PSF makes peaks that look like clumps; the same rate per resolution element stays small.
    assert len(honest) < 10
    cov = make.std**2 * np.eye(2)
    data += make.gaussian(data.shape, 200, 200, 80 / make.unit_snr(cov), cov)
    bright = {
        name: find_peaks(data, error, method=method, correlation=each)[0] for name, each in (("no", None), ("yes", rho))
    }
    assert bright["yes"]["snr"] < 0.5 * bright["no"]["snr"]
    assert bright["yes"]["flux"] == bright["no"]["flux"]


def test_an_image_that_is_all_above_the_threshold_is_no_error():
    data = 100 + np.random.default_rng(1).normal(size=(700, 700))
    assert len(find_peaks(data, np.ones_like(data), host="none")) >= 1


@pytest.mark.parametrize("method", ["segments", "template"])
def test_an_image_without_pixels_or_light_gives_an_empty_table(mock, make, method):
    for data in (np.full((40, 40), np.nan), np.zeros((40, 40)), np.full((40, 40), 7.0)):
        assert len(find_peaks(data, np.ones((40, 40)), method=method)) == 0
        assert len(find_peaks(data, None, method=method)) == 0
    outside = Galaxy(id="far", contour=[(10, 10), (10.001, 10), (10, 10.001)])
    table = detect_clumps(mock.field, region=outside, method=method)
    assert len(table) == 0
    assert table["ra"].unit == "deg"
    assert table["id"].dtype.kind == "U"


def test_the_search_tells_how_far_it_is_and_can_be_stopped(mock, monkeypatch):
    monkeypatch.setattr("sc_lab.detection.clumps._TILE", 256)
    seen, stop = [], threading.Event()

    def progress(done, total):
        seen.append((done, total))
        if done == 2:
            stop.set()

    with pytest.raises(ScLabError, match="cancelled after 2 of 9 regions"):
        detect_clumps(mock.field, region="all", progress=progress, cancel=stop)
    assert seen == [(1, 9), (2, 9)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "method is 'magic'; choose one of segments, template"),
        ({"threshold": 0}, "threshold is 0; give a number of standard deviations greater than zero"),
        ({"threshold": np.nan}, "threshold is nan"),
        ({"host": "fit"}, "choose one of median, mesh, none"),
        ({"host_size": 20}, "size is 20; a running median needs an odd number"),
        ({"noise": "guess"}, "choose 'map' or 'measured'"),
        ({"threshold": "high"}, "threshold is 'high'; give a number"),
        ({"host_size": "wide"}, "host_size is 'wide'; give a number"),
        ({"min_area": -1}, "min_area is -1; give a number of at least 1"),
        ({"deblend_levels": 0}, "deblend_levels is 0"),
        ({"deblend_contrast": 7}, "at most 1"),
        ({"mask": np.zeros((3, 3), dtype=bool)}, r"mask has the shape \(3, 3\), the image \(40, 40\)"),
    ],
)
def test_options_that_do_not_exist_are_refused_in_words(options, words):
    with pytest.raises(InputError, match=words):
        find_peaks(np.ones((40, 40)), np.ones((40, 40)), **options)


@pytest.mark.parametrize("field", [None, np.ones((40, 40))])
def test_something_else_than_a_field_is_refused_in_words(field):
    with pytest.raises(InputError, match="give a Field"):
        detect_clumps(field)


def test_region_in_words_is_refused(mock):
    with pytest.raises(InputError, match="give a galaxy, a polygon"):
        detect_clumps(mock.field, region="everything")


def test_the_image_is_not_changed(make):
    data, error, _ = make.image(seed=7, size=120)
    before = data.copy(), error.copy()
    find_peaks(data, error, mask=np.zeros(data.shape, dtype=bool))
    assert np.array_equal(data, before[0])
    assert np.array_equal(error, before[1])


@pytest.fixture(scope="module")
def ring_field(real_data):
    """Four native bands of the COSMOS-Web Ring; no sky coordinates, units inferred, noise maps floored."""
    from sc_lab.images import Field

    folder = real_data / "imaging" / "cosmos_web_ring"
    scales = {"F115W": 0.03, "F150W": 0.03, "F277W": 0.06, "F444W": 0.06}

    def files(part):
        return {band: folder / f"{band}_{part}.fits.gz" for band in scales}

    return Field.from_files(
        files("data"),
        errors=files("noise_map"),
        psfs=files("psf"),
        units="MJy/sr",
        pixel_scales=scales,
        psf_scales=scales,
        noise_scale="measure",
    )


@pytest.fixture(scope="module")
def ring(ring_field):
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x, y = 209 + 1.3 / 0.03 * np.cos(turn), 209 + 1.3 / 0.03 * np.sin(turn)
    return Galaxy(id="ring", contour=np.stack(ring_field["F150W"].to_sky(x, y), axis=1), z=5.1043, z_spec=True)


@pytest.mark.real_data
def test_clumps_of_the_cosmos_web_ring(ring_field, ring):
    """About nine peaks beside the lens between 0.35 and 1.3 arcsec of its centre, most of them on the ring.

    Nine stand above 3.5 sigma in the image smoothed by 1.2 pixels once an azimuthal profile of the lens is taken off; a
    median takes off a little less of the ring itself.
    """
    table = detect_clumps(ring_field, "F150W", ring)
    radius = 0.03 * np.hypot(table["x"] - 209, table["y"] - 209)
    clumps = table[radius > 0.35]
    assert 8 <= len(clumps) <= 11
    assert clumps["snr"].min() > 5
    assert ((radius > 0.6) & (radius < 1.0)).sum() >= 7
    deeper = detect_clumps(ring_field, "F150W", ring, threshold=1.2, previous=table)
    assert len(deeper) > len(table)
    assert set(table["id"]) <= set(deeper["id"])
    template = detect_clumps(ring_field, "F150W", ring, method="template")
    both = match_pixels(template["x"], template["y"], table["x"], table["y"])
    assert both.second_matched.mean() > 0.7


@pytest.mark.real_data
def test_the_ring_in_its_contour_is_red_once_bands_are_matched(ring_field, ring):
    from sc_lab.photometry.contours import contour_photometry

    table = contour_photometry(ring_field, ring)
    flux = np.array([table[f"flux_{band}"][0].value for band in ("f115w", "f150w", "f277w", "f444w")])
    error = np.array([table[f"flux_{band}_err"][0].value for band in ("f115w", "f150w", "f277w", "f444w")])
    assert (np.diff(flux) > 0).all()
    assert (flux / error > 20).all()
    assert table.meta["contour_photometry"]["matched_to"] == "F444W"
