"""Runs that are broken off and go on, runs on executors, and what a run refuses."""

from __future__ import annotations

import json
import threading
import tracemalloc
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import astropy.units as u
import numpy as np
import pytest

from sc_lab.completeness import inject_recover
from sc_lab.completeness.tiles import read_tile, region_windows
from sc_lab.errors import InputError, ScLabError
from sc_lab.images.galaxy import Galaxy

OPTIONS = {"magnitudes": [27.0, 28.0, 29.0], "sizes": [0.0, 1.0], "n": 700, "rng": 1, "gain": 5.0}


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Batches of about a hundred clumps, so that a short run has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sc_lab.completeness.run._PER_BATCH", 100)
        yield


def same(one, other):
    """Every injected clump the same to the last bit, unmeasured values included."""
    tables = [result.injections for result in (one, other)]
    return len(one) == len(other) and all(
        np.asarray(tables[0][name]).tobytes() == np.asarray(tables[1][name]).tobytes() for name in tables[0].colnames
    )


@pytest.fixture(scope="module")
def unbroken(host_field):
    return inject_recover(host_field, **OPTIONS)


def stop_after(batches):
    """Return a progress callback and an event that it sets after so many batches."""
    event, calls = threading.Event(), []

    def progress(done, total):
        calls.append((done, total))
        if len(calls) == batches:
            event.set()

    return progress, event, calls


def test_exactly_n_clumps_are_injected_evenly_and_progress_ends_at_n(host_field):
    seen = []
    result = inject_recover(host_field, **OPTIONS, progress=lambda done, total: seen.append((done, total)))
    assert len(result) == 700
    assert seen == sorted(seen)
    assert seen[-1] == (700, 700)
    assert len(seen) > 3
    # Each batch deals its cells evenly, but for the last turn of each.
    assert np.ptp(result.completeness().injected) < 0.1 * 700 / 6
    table = result.injections
    assert np.isfinite(table["background"].value).all()
    assert result.cells.injected.sum() == 700


def test_same_seed_same_result_other_seed_another(host_field, unbroken):
    assert same(inject_recover(host_field, **OPTIONS), unbroken)
    assert not same(inject_recover(host_field, **{**OPTIONS, "rng": 2}), unbroken)
    generator = np.random.default_rng(1)
    assert same(inject_recover(host_field, **{**OPTIONS, "rng": generator}), unbroken)


@pytest.mark.parametrize("batches", [1, 3])
def test_cancelled_and_resumed_run_is_the_unbroken_one(host_field, unbroken, tmp_path, batches):
    path = tmp_path / "run.jsonl"
    progress, event, _ = stop_after(batches)
    with pytest.raises(ScLabError, match=r"cancelled after \d+ of 700 .* call again to go on"):
        inject_recover(host_field, **OPTIONS, checkpoint=path, progress=progress, cancel=event)
    result = inject_recover(host_field, **OPTIONS, checkpoint=path)
    assert same(result, unbroken)
    assert result.settings == unbroken.settings
    # A third call has nothing left to do.
    lines = path.read_text()
    assert same(inject_recover(host_field, **OPTIONS, checkpoint=path), unbroken)
    assert path.read_text() == lines


def test_checkpoint_cut_off_in_the_middle_of_a_line_is_taken_up_before_it(host_field, unbroken, tmp_path):
    path = tmp_path / "run.jsonl"
    inject_recover(host_field, **OPTIONS, checkpoint=path)
    whole = path.read_bytes()
    for keep in (0.3, 0.71):
        path.write_bytes(whole[: int(keep * len(whole))])
        assert same(inject_recover(host_field, **OPTIONS, checkpoint=path), unbroken)
        assert path.read_bytes() == whole


def test_without_a_seed_a_resumed_run_takes_that_of_the_checkpoint(host_field, tmp_path):
    path = tmp_path / "run.jsonl"
    options = {**OPTIONS, "rng": None}
    progress, event, _ = stop_after(2)
    with pytest.raises(ScLabError, match="cancelled"):
        inject_recover(host_field, **options, checkpoint=path, progress=progress, cancel=event)
    resumed = inject_recover(host_field, **options, checkpoint=path)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert same(inject_recover(host_field, **options, checkpoint=path), resumed)


def test_finished_run_goes_on_to_a_larger_number(host_field, unbroken, tmp_path):
    path = tmp_path / "run.jsonl"
    inject_recover(host_field, **{**OPTIONS, "n": 400}, checkpoint=path)
    longer = inject_recover(host_field, **OPTIONS, checkpoint=path)
    assert same(longer, unbroken)
    assert longer.settings == unbroken.settings


class Backwards(Executor):
    """An executor that does not say how many workers it has and finishes the last task first."""

    def __init__(self):
        self.waiting = []
        self.timer = None

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        self.waiting.append((future, function, args, kwargs))
        if len(self.waiting) == 1:
            threading.Timer(0.05, self.work).start()
        return future

    def work(self):
        tasks, self.waiting = self.waiting, []
        for future, function, args, kwargs in reversed(tasks):
            if future.set_running_or_notify_cancel():
                future.set_result(function(*args, **kwargs))


def test_result_does_not_depend_on_the_executor(host_field, unbroken, tmp_path):
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as executor:
            assert same(inject_recover(host_field, **OPTIONS, executor=executor), unbroken)
    assert same(inject_recover(host_field, **OPTIONS, executor=Backwards()), unbroken)
    # Broken off among threads, resumed without.
    path = tmp_path / "run.jsonl"
    progress, event, _ = stop_after(2)
    with ThreadPoolExecutor(2) as executor, pytest.raises(ScLabError, match="cancelled"):
        inject_recover(host_field, **OPTIONS, executor=executor, checkpoint=path, progress=progress, cancel=event)
    assert same(inject_recover(host_field, **OPTIONS, checkpoint=path), unbroken)


def test_other_processes_make_the_same_result(host_field, unbroken):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert same(inject_recover(host_field, **OPTIONS, executor=executor), unbroken)


class Dying(Executor):
    """An executor whose workers are killed after the first batch."""

    def __init__(self):
        self.tasks = 0

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        self.tasks += 1
        if self.tasks == 1:
            future.set_result(function(*args, **kwargs))
        else:
            future.set_exception(BrokenExecutor("terminated abruptly"))
        return future


def test_dead_workers_are_told_in_words_and_what_was_done_is_kept(host_field, unbroken, tmp_path):
    path = tmp_path / "run.jsonl"
    with pytest.raises(ScLabError, match=r"worker .* died .* what is done is in the checkpoint"):
        inject_recover(host_field, **OPTIONS, executor=Dying(), checkpoint=path)
    assert same(inject_recover(host_field, **OPTIONS, checkpoint=path), unbroken)


def test_detector_that_returns_no_places_is_refused_in_words(host_field):
    for wrong in (
        lambda *_, **__: {"ra": [1.0]},
        lambda *_, **__: None,
        lambda *_, **__: {"x": [1.0, 2.0], "y": [1.0]},
    ):
        with pytest.raises(InputError, match=r"detector returned .* columns x and y"):
            inject_recover(host_field, **OPTIONS, detector=wrong)


def test_checkpoint_of_another_run_is_refused_in_words_and_left_alone(host_field, noise_field, tmp_path):
    path = tmp_path / "run.jsonl"
    progress, event, _ = stop_after(1)
    with pytest.raises(ScLabError, match="cancelled"):
        inject_recover(host_field, **OPTIONS, checkpoint=path, progress=progress, cancel=event)
    kept = path.read_bytes()
    for changed, words in (
        ({"rng": 2}, "another entropy"),
        ({"magnitudes": [27.0, 28.0]}, "another magnitudes"),
        ({"detection": {"threshold": 2.0}}, "another detection"),
    ):
        with pytest.raises(InputError, match=words):
            inject_recover(host_field, **{**OPTIONS, **changed}, checkpoint=path)
    with pytest.raises(InputError, match="pixels"):
        inject_recover(noise_field, **OPTIONS, checkpoint=path)
    assert path.read_bytes() == kept
    for text in ("not a checkpoint\n", json.dumps({"format": "something else"}) + "\n", "[1, 2]\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="no checkpoint of an injection run"):
            inject_recover(host_field, **OPTIONS, checkpoint=path)
        assert path.read_text() == text
    with pytest.raises(InputError, match="cannot be written"):
        inject_recover(host_field, **OPTIONS, checkpoint=tmp_path / "nowhere" / "run.jsonl")
    with pytest.raises(InputError, match=r"is a folder|cannot be read"):
        inject_recover(host_field, **OPTIONS, checkpoint=tmp_path)


def test_windows_cover_a_mosaic_once_and_a_large_polygon_in_pieces(make_field):
    image = make_field(np.zeros((1700, 2300)))["F150W"]
    cover = np.zeros((1700, 2300), dtype=int)
    windows = region_windows(None, image, "all")
    for window in windows:
        cover[window.y0 : window.y0 + window.ny, window.x0 : window.x0 + window.nx] += 1
        assert max(window.nx, window.ny) < 800
    assert (cover == 1).all()
    corners = np.array([(20.0, 30.0), (2000.0, 30.0), (2000.0, 1500.0)])
    galaxy = Galaxy(id="arc", contour=np.stack(image.to_sky(*corners.T), axis=-1))
    pieces = region_windows(None, image, galaxy)
    assert len(pieces) > 4
    # Half of 1980 x 1470, to the pixels on its rim.
    assert sum(piece.inside().sum() for piece in pieces) == pytest.approx(1980 * 1470 / 2, rel=0.003)
    assert not any(read_tile(image, piece).allowed[:40].any() for piece in pieces if piece.y0 > 100)


def test_large_mosaic_on_disk_costs_the_memory_of_its_pieces(make_field, tmp_path):
    """7000 x 7000 pixels: 196 MB in the file, 392 MB as float64; a piece with its margins: 3 MB."""
    rng = np.random.default_rng(3)
    mosaic = np.memmap(tmp_path / "mosaic.dat", dtype=np.float32, mode="w+", shape=(7000, 7000))
    # The pieces that will be read must hold noise; the rest of the sparse file stays empty.
    patch = rng.normal(size=(700, 700)).astype(np.float32)
    for k in range(10):
        mosaic[700 * k : 700 * k + 700, :700] = patch
    from sc_lab.images import Field

    field = Field.from_arrays(
        {"F150W": mosaic},
        errors={"F150W": 1.0},
        psfs={"F150W": make_field(np.zeros((9, 9)))["F150W"].psf},
        pixel_scales=0.02,
    )
    corners = np.array([(10.0, 10.0), (600.0, 10.0), (600.0, 6900.0), (10.0, 6900.0)])
    strip = Galaxy(id="strip", contour=np.stack(field["F150W"].to_sky(*corners.T), axis=-1))
    tracemalloc.start()
    try:
        result = inject_recover(field, region=strip, magnitudes=[28.0], n=600, fit=False, gain=np.inf, rng=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(result) == 600
    # A dozen pieces of 600 x 700 with their images, host and ranks at a time.
    assert peak < 120e6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 10.5}, "n is 10.5"),
        ({"sizes": [-1.0]}, "sizes is .* 0 to 12 pixels"),
        ({"sizes": []}, "at least one"),
        ({"sizes": [np.nan]}, "sizes"),
        ({"axis_ratios": [0.0]}, "axis_ratios is .* above 0 and up to 1"),
        ({"axis_ratios": [1.5]}, "axis_ratios"),
        ({"magnitudes": [np.inf]}, "finite AB magnitudes"),
        ({"spacing": 3.0}, "spacing is 3.0"),
        ({"match_radius": -1}, "match_radius is -1"),
        ({"sizes": [12.0], "axis_ratios": [0.1]}, "std_maj = 37.9 px; up to 6 px .* raise spacing"),
        ({"magnitudes": [27.0] * u.s}, "magnitudes has the unit 's'"),
        ({"sizes": [27.0] * u.pc}, "sizes has the unit 'pc'; give pixels, or an angle"),
        ({"magnitudes": ["bright"]}, "magnitudes is not numeric"),
        ({"spacing": None}, "spacing is None"),
        ({"gain": "much"}, "gain is 'much'"),
        ({"detection": 3}, "detection is a int; give options by name"),
        ({"gain": -1.0}, "gain is -1.0; give electrons per nJy"),
        ({"mode": "best"}, "choose 'full' or 'paper'"),
        ({"box": 8}, "odd number of pixels"),
        ({"box": 3}, "box is 3"),
        ({"detection": {"treshold": 3}}, "unknown option.* treshold; known are .*threshold"),
        ({"detection": {"method": "magic"}}, "method is 'magic'"),
        ({"detection": {"threshold": 2}, "detector": len}, "both given"),
        ({"region": "everything"}, "region is 'everything'"),
        ({"region": [[10.0, 40.0], [10.1, 40.0], [10.0, 40.1]]}, "no pixel of band F150W lies inside"),
        ({"band": "F999W"}, "F999W"),
    ],
)
def test_impossible_options_are_refused_in_words(noise_field, options, words):
    with pytest.raises(InputError, match=words):
        inject_recover(noise_field, **{"magnitudes": [28.0], "n": 10, "rng": 1, **options})


def test_band_without_psf_or_without_a_usable_pixel_is_refused_in_words(make_field):
    from sc_lab.images import Field

    image = np.zeros((64, 64))
    field = Field.from_arrays({"F150W": image}, errors={"F150W": np.ones_like(image)}, pixel_scales=0.02)
    with pytest.raises(InputError, match="F150W has no PSF"):
        inject_recover(field, magnitudes=[28.0], n=10)
    blind = make_field(image, np.nan)
    with pytest.raises(InputError, match="no pixel of the region has a usable error"):
        inject_recover(blind, n=10, gain=np.inf, fit=False)
    with pytest.raises(InputError, match="no clump could be placed"):
        inject_recover(blind, magnitudes=[28.0], n=10, gain=np.inf, fit=False)


def test_contour_of_a_few_pixels_is_filled_round_by_round(noise_field):
    """Four by four pixels hold a clump in one of sixty rounds: patience, no error."""
    image = noise_field["F150W"]
    corners = np.array([(99.6, 99.6), (103.4, 99.6), (103.4, 103.4), (99.6, 103.4)])
    contour = np.stack(image.to_sky(*corners.T), axis=-1)
    result = inject_recover(noise_field, region=contour, magnitudes=[25.0], sizes=[0.5], n=20, rng=1, gain=np.inf)
    x, y = (np.rint(result.injections[name].value) for name in ("x", "y"))
    assert len(result) == 20
    assert ((x >= 100) & (x <= 103) & (y >= 100) & (y <= 103)).all()
    assert result.completeness().fraction[0, 0] == 1


def test_usual_magnitudes_span_the_fall_of_the_completeness(noise_field):
    result = inject_recover(noise_field, sizes=[0.0], axis_ratios=[1.0], n=900, rng=1, fit=False)
    fraction = result.completeness().fraction[:, 0]
    assert fraction[0] > 0.99
    assert fraction[-1] < 0.1
    assert any("too few bright pixels" in line for line in result.cautions)
