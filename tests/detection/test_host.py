"""The running median is exact, and the host goes away while clumps stay."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sc_lab.detection import host, host_subtracted, running_median, subtract_host
from sc_lab.errors import InputError


@pytest.mark.parametrize("size", [1, 3, 21, 51])
@pytest.mark.parametrize("shape", [(37, 61), (5, 90), (1, 1), (60, 190)])
def test_fast_median_equals_sorting_every_window(size, shape):
    """Bit by bit: the same two middle values are averaged."""
    rng = np.random.default_rng(3)
    image = rng.normal(size=shape)
    image[rng.random(shape) < 0.1] = np.nan
    image[:, : shape[1] // 3][rng.random((shape[0], shape[1] // 3)) < 0.9] = np.nan
    assert np.array_equal(running_median(image, size=size), host._plain_median(image, size // 2), equal_nan=True)


def test_without_a_compiler_the_answer_is_the_same(monkeypatch):
    image = np.random.default_rng(1).normal(size=(30, 40))
    fast = running_median(image, size=5)
    monkeypatch.setattr(host, "_compiled_median", lambda: None)
    assert np.array_equal(running_median(image, size=5), fast)


def test_median_agrees_with_scipy_where_the_window_is_whole():
    image = np.random.default_rng(1).normal(size=(220, 230)) ** 3
    inner = np.s_[10:-10, 10:-10]
    assert np.array_equal(running_median(image)[inner], ndimage.median_filter(image, 21)[inner])


def test_equal_values_and_infinities_do_no_harm():
    image = np.full((30, 30), 4.0)
    image[3, 3], image[4, 4] = np.inf, -np.inf
    assert (running_median(image) == 4.0).all()


def test_masked_pixels_do_not_enter():
    image = np.ones((30, 30))
    image[:, 15:] = 100.0
    mask = np.zeros(image.shape, dtype=bool)
    mask[:, 15:] = True
    median = running_median(image, mask=mask)
    assert np.nanmax(median) == 1.0
    assert np.isnan(median[:, -1]).all()


@pytest.mark.parametrize("method", ["median", "mesh"])
def test_a_smooth_host_vanishes_and_a_clump_stays(make, method):
    host = make.gaussian((141, 141), 70, 70, 3e5, 900 * np.eye(2))
    clump = make.gaussian((141, 141), 80.3, 62.1, 100, make.std**2 * np.eye(2))
    left = subtract_host(host + clump, method=method)
    # What the host bends over a window stays behind; the mesh smooths over three cells, so more of it.
    assert abs(left[70, 70]) < {"median": 0.05, "mesh": 0.35}[method] * host.max()
    assert left[62, 80] > 0.8 * clump.max()


def test_none_leaves_the_image():
    image = np.random.default_rng(1).normal(size=(20, 20))
    assert np.array_equal(subtract_host(image, method="none"), image)


def test_a_cut_out_does_not_feel_its_rim(mock):
    small = host_subtracted(mock.field, "F150W", 200, 210, 40, 50)
    large = host_subtracted(mock.field, "F150W", 150, 150, 150, 160)
    assert small.data.shape == (50, 40)
    assert np.array_equal(small.data, large.data[60:110, 50:90])
    assert np.allclose(small.data + small.host, mock.data[210:260, 200:240], rtol=1e-14)  # one rounding


@pytest.mark.parametrize("size", [0, 4, 2.5])
def test_windows_without_a_middle_are_refused(size):
    with pytest.raises(InputError, match="odd number of pixels, such as 21"):
        running_median(np.ones((9, 9)), size=size)
