"""Friends-of-friends in slabs gives the labels of one piece, number for number, on every executor."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from threading import Event

import astropy.units as u
import h5py
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.simulations import friends_of_friends, friends_of_friends_in_slabs


@pytest.fixture(scope="module")
def points():
    """Return clumps and a uniform background in a unit box, some across its edges."""
    rng = np.random.default_rng(1)
    clumps = rng.uniform(0, 1, (40, 1, 3)) + rng.normal(0, 0.01, (40, 200, 3))
    return rng.permutation(np.concatenate([clumps.reshape(-1, 3) % 1.0, rng.uniform(0, 1, (8000, 3))]))


LENGTH = 0.2 * 16_000 ** (-1 / 3)


@pytest.mark.parametrize("n_slabs", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("box", [None, 1.0, (0.0, 1.0, 1.0), (1.0, 0.0, 0.0)])
@pytest.mark.parametrize("length", [LENGTH, 3 * LENGTH])
def test_slabs_give_the_labels_of_one_piece(points, n_slabs, box, length):
    whole = friends_of_friends(points, length, box, min_members=5)
    assert np.array_equal(friends_of_friends_in_slabs(points, length, box, n_slabs=n_slabs, min_members=5), whole)


def test_a_chain_through_every_slab_is_one_group():
    chain = np.zeros((1000, 3))
    chain[:, 0] = np.arange(1000) * 0.999
    assert friends_of_friends_in_slabs(chain, 1.0, n_slabs=9).max() == 0
    assert friends_of_friends_in_slabs(chain, 0.998, n_slabs=9).max() == 999


def test_files_and_functions_are_read_piece_by_piece(points, tmp_path):
    whole = friends_of_friends(points, LENGTH, 1.0)
    with h5py.File(tmp_path / "points.h5", "w") as file:
        file["x"] = points
        assert np.array_equal(friends_of_friends_in_slabs(file["x"], LENGTH, 1.0, n_slabs=3), whole)

    def read():
        yield from np.array_split(points, 11)

    assert np.array_equal(friends_of_friends_in_slabs(read, LENGTH, 1.0, n_slabs=3), whole)


def test_labels_stay_in_a_folder_that_was_given_and_nothing_else(points, tmp_path):
    labels = friends_of_friends_in_slabs(points, LENGTH, 1.0, n_slabs=3, folder=tmp_path / "fof")
    assert isinstance(labels, np.memmap)
    assert [each.name for each in (tmp_path / "fof").iterdir()] == ["labels.npy"]
    assert np.array_equal(labels, friends_of_friends(points, LENGTH, 1.0))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_gives_the_same_labels_and_progress(points, kind):
    seen = []
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with pool:
        labels = friends_of_friends_in_slabs(
            points, LENGTH, 1.0, n_slabs=4, executor=pool, progress=lambda done, total: seen.append((done, total))
        )
    assert np.array_equal(labels, friends_of_friends(points, LENGTH, 1.0))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_dask_gives_the_same_labels(points):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        labels = friends_of_friends_in_slabs(points, LENGTH, 1.0, n_slabs=4, executor=client.get_executor())
    assert np.array_equal(labels, friends_of_friends(points, LENGTH, 1.0))


def test_units_are_those_of_the_positions_or_of_all_that_a_function_returns(points):
    whole = friends_of_friends(points, LENGTH, 1.0)
    parsec = LENGTH * 1000 * u.pc
    assert np.array_equal(friends_of_friends_in_slabs(points * u.kpc, parsec, 1 * u.kpc, n_slabs=3), whole)

    def read():
        yield from np.array_split(points * u.kpc, 3)

    assert np.array_equal(friends_of_friends_in_slabs(read, parsec, 1 * u.kpc, n_slabs=3), whole)
    with pytest.raises(InputError, match="positions come in 'kpc' but the linking length has no unit"):
        friends_of_friends_in_slabs(read, LENGTH, 1.0, n_slabs=3)
    with pytest.raises(InputError, match="positions come without a unit"):
        friends_of_friends_in_slabs(lambda: iter([points]), parsec, 1 * u.kpc, n_slabs=3)


@pytest.mark.parametrize(
    ("positions", "length", "options", "said"),
    [
        ([["a", "b", "c"]], 1.0, {}, "give numbers in the shape"),
        (np.zeros((3, 2)), 1.0, {}, r"\(3, 2\); give \(n, 3\)"),
        (np.zeros((3, 3)), "0.2", {}, "linking_length is '0.2'"),
        (np.zeros((3, 3)), 1.0, {"box_size": [9.0, 9.0]}, "give one length or three"),
        (np.zeros((3, 3)), 1.0, {"box_size": 1.5}, "more than half of the box"),
        (np.zeros((3, 3)), 1.0, {"min_members": 0}, "min_members is 0"),
        (np.zeros((3, 3)), 1.0, {"n_slabs": "2"}, "n_slabs is '2'"),
    ],
)
def test_bad_input_is_refused_in_words(positions, length, options, said):
    with pytest.raises(InputError, match=said):
        friends_of_friends_in_slabs(positions, length, **{"n_slabs": 2, **options})


def test_bad_input_and_cancelling_are_said(points):
    with pytest.raises(InputError, match="n_slabs is 0"):
        friends_of_friends_in_slabs(points, LENGTH, n_slabs=0)
    with pytest.raises(InputError, match="row 3"):
        friends_of_friends_in_slabs(np.where(np.arange(5)[:, None] == 3, np.nan, np.zeros((5, 3))), 1.0, n_slabs=2)
    stop = Event()
    stop.set()
    with pytest.raises(InputError, match="was cancelled"):
        friends_of_friends_in_slabs(points, LENGTH, n_slabs=2, cancel=stop)


def test_no_particles_are_no_labels():
    assert friends_of_friends_in_slabs(np.empty((0, 3)), 1.0, n_slabs=3).size == 0
