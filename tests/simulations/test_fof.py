"""Friends-of-friends against chains, lattices and the pairs of SciPy's tree."""

import astropy.units as u
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from sc_lab.errors import InputError
from sc_lab.simulations import friends_of_friends


def clumpy(n, seed):
    """Return positions in a unit box: half of them uniform, half in r^-2 clumps, in random order."""
    rng = np.random.default_rng(seed)
    half = n // 2
    uniform = rng.uniform(0, 1, (n - half, 3))
    centre = rng.uniform(0, 1, (max(1, n // 2000), 3))[rng.integers(0, max(1, n // 2000), half)]
    direction = rng.standard_normal((half, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    clumps = (centre + rng.uniform(0, 0.02, half)[:, None] * direction) % 1.0
    return rng.permutation(np.concatenate([uniform, clumps]))


def same_partition(a, b):
    """Return whether two labellings put the same particles together."""
    pairs = np.unique(np.stack([a, b]), axis=1).shape[1]
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("box", [None, 1.0, (1.0, 0.0, 1.0)])
def test_labels_equal_scipys_components_on_100000_clustered_particles(box, threads):
    """Even the numbers of the groups are the same, as both are ranked by size and first particle."""
    points = clumpy(100_000, 1)
    length = 0.2 * len(points) ** (-1 / 3)
    fast = friends_of_friends(points, length, box, threads=threads, min_members=2)
    assert np.array_equal(fast, friends_of_friends(points, length, box, method="tree", min_members=2))
    assert fast.max() > 100


@pytest.mark.parametrize("seed", range(20))
def test_small_boxes_of_every_shape_and_linking_length_agree_with_scipy(seed):
    rng = np.random.default_rng(seed)
    box = rng.uniform(0.5, 2.0, 3) * (rng.random(3) < 0.7)
    points = rng.uniform(0, 1, (rng.integers(2, 3000), 3)) * np.where(box > 0, box, 1.0)
    length = float(rng.uniform(0.01, 0.24))
    fast = friends_of_friends(points, length, box)
    assert np.array_equal(fast, friends_of_friends(points, length, box, method="tree"))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("start", [0.0, 9.3])
def test_a_chain_is_one_group_just_below_the_linking_length_and_none_just_above(axis, start):
    """Also where it runs around the edge of the box."""
    for spacing, groups in ((0.999, 1), (1.001, 9)):
        points = np.full((9, 3), 5.0)
        points[:, axis] = (start + spacing * np.arange(9)) % 10.0
        assert friends_of_friends(points, 1.0, 10.0).max() + 1 == groups


def test_a_chain_through_the_corner_of_the_box_is_one_group():
    step = 0.999 / np.sqrt(3.0)
    points = (np.arange(12)[:, None] * step + np.array([7.0, 7.0, 7.0])) % 10.0
    assert friends_of_friends(points, 1.0, 10.0).max() == 0
    assert friends_of_friends(points, 1.0).max() > 0


def test_a_lattice_links_when_its_spacing_is_reached():
    """Spacings are powers of two, so that no rounding decides."""
    points = np.stack(np.meshgrid(*[np.arange(8) * 0.25] * 3), axis=-1).reshape(-1, 3)
    assert friends_of_friends(points, 0.25, 2.0).max() == 0
    assert friends_of_friends(points, 0.2499, 2.0).max() == len(points) - 1


def test_two_spheres_linked_by_one_particle_are_one_group():
    rng = np.random.default_rng(3)
    ball = rng.standard_normal((4000, 3))
    ball = ball[np.linalg.norm(ball, axis=1) < 1.0]
    bridge = np.array([[1.75, 0.0, 0.0]])
    apart = np.concatenate([ball, ball + np.array([3.5, 0.0, 0.0]), [[1.0, 0, 0], [2.5, 0, 0]]])
    assert friends_of_friends(apart, 0.76, min_members=100).max() == 1
    assert friends_of_friends(np.concatenate([apart, bridge]), 0.76, min_members=100).max() == 0


def test_shifting_and_permuting_change_no_group():
    points = clumpy(20_000, 4)
    length = 0.3 * len(points) ** (-1 / 3)
    labels = friends_of_friends(points, length, 1.0)
    rng = np.random.default_rng(5)
    order = rng.permutation(len(points))
    assert same_partition(labels[order], friends_of_friends(points[order], length, 1.0))
    # A shift rounds positions at 1e-16 of the box; no pair of this sample lies that close to the linking length.
    assert same_partition(labels, friends_of_friends(points + np.array([0.37, -2.2, 5.1]), length, 1.0))


def test_groups_of_a_shorter_linking_length_lie_within_those_of_a_longer_one():
    points = clumpy(20_000, 6)
    short, long = (friends_of_friends(points, b * len(points) ** (-1 / 3), 1.0) for b in (0.1, 0.2))
    for group in range(50):
        assert len(np.unique(long[short == group])) == 1


def test_small_groups_get_minus_one_and_labels_fall_in_size():
    points = clumpy(20_000, 7)
    labels = friends_of_friends(points, 0.2 * len(points) ** (-1 / 3), 1.0, min_members=20)
    size = np.bincount(labels[labels >= 0])
    assert size.min() >= 20
    assert (np.diff(size) <= 0).all()
    assert (labels == -1).any()


def test_single_precision_gives_the_groups_of_the_same_numbers_in_double():
    points = clumpy(20_000, 8).astype(np.float32)
    length = 0.2 * len(points) ** (-1 / 3)
    double = friends_of_friends(points.astype(np.float64), length, 1.0)
    assert same_partition(friends_of_friends(points, length, 1.0), double)


def test_one_dense_lump_costs_no_pairs():
    """Ten thousand particles in one place are one cell, not 5e7 pairs; a second lump out of reach is another group."""
    points = np.zeros((20_000, 3))
    points[10_000:, 0] = 1.01
    labels = friends_of_friends(points, 1.0)
    assert np.bincount(labels).tolist() == [10_000, 10_000]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("cells", [3, 4, 5, 7, 9])
def test_crowded_cells_of_every_size_agree_with_scipy(cells, kind):
    """Around a box cells are up to a third wider than the linking length, and are cut into smaller parts then."""
    rng = np.random.default_rng(cells)
    length = 0.9999 / cells
    lumps = rng.random((40, 3))[rng.integers(0, 40, 4000)] + rng.normal(0, 0.2 * length, (4000, 3))
    points = np.concatenate([lumps % 1.0, rng.random((30, 3))]).astype(kind)
    for box in (1.0, (1.0, 0.0, 1.0), None):
        fast = friends_of_friends(points, length / 3, box)
        assert np.array_equal(fast, friends_of_friends(points, length / 3, box, method="tree"))
        assert np.array_equal(
            friends_of_friends(points[::20], length, box), friends_of_friends(points[::20], length, box, method="tree")
        )


@pytest.mark.parametrize("gap", [0.9999, 1.0001])
def test_two_crowds_join_exactly_when_their_nearest_members_are_friends(gap):
    """Crowds are joined by their parts; the one pair that decides is found among 16 million."""
    rng = np.random.default_rng(2)
    crowd = rng.random((4000, 3)) * [0.4, 0.4, 0.4]
    left = np.concatenate([crowd, [[0.4, 0.2, 0.2]]])
    right = np.concatenate([crowd + np.array([0.4 + gap, 0.0, 0.0]), [[0.4 + gap, 0.2, 0.2]]])
    right = right[(right[:, 0] > 0.4 + gap + 0.05) | (np.arange(len(right)) == len(right) - 1)]
    left = left[(left[:, 0] < 0.35) | (np.arange(len(left)) == len(left) - 1)]
    for shift in rng.uniform(-3, 3, (5, 3)):
        labels = friends_of_friends(np.concatenate([left, right]) + shift, 1.0)
        assert labels.max() + 1 == (1 if gap < 1 else 2)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_pairs_at_the_linking_length_itself_are_decided_by_their_distance_in_double_precision(kind):
    """On a lattice of tenths rounding decides which neighbours are a tenth apart: all pairs written out agree."""
    rng = np.random.default_rng(3)
    points = (rng.integers(0, 12, (400, 3)) * 0.1).astype(kind)
    double = points.astype(np.float64)
    square = ((double[:, None] - double) ** 2).sum(axis=2)
    _, wanted = connected_components(square <= 0.1 * 0.1, directed=False)
    assert 0 < ((square > 0.0099) & (square <= 0.1 * 0.1)).sum() < ((square > 0.0099) & (square < 0.0101)).sum()
    assert same_partition(friends_of_friends(points, 0.1), wanted)


def test_a_small_crowd_in_a_wide_space_agrees_with_scipy():
    """Most planes of cells are empty then, and keys of cells take more bits than one round of sorting sees."""
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.normal(0, 20, (3000, 3)), rng.uniform(-1e5, 1e5, (500, 3))])
    fast = friends_of_friends(points, 3.0)
    assert np.array_equal(fast, friends_of_friends(points, 3.0, method="tree"))
    assert 1 < fast.max() + 1 < 3500


def test_the_number_of_threads_changes_no_label():
    points = clumpy(60_000, 9)
    labels = [friends_of_friends(points, 0.006, 1.0, threads=threads) for threads in (1, 2, 3)]
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], labels[2])


def test_lengths_with_a_unit_are_converted_to_that_of_the_positions():
    points = clumpy(2000, 10)
    plain = friends_of_friends(points, 0.02, 1.0)
    kpc = points * u.kpc
    assert np.array_equal(friends_of_friends(kpc, 20 * u.pc, [1e3, 1e3, 1e3] * u.pc), plain)
    assert np.array_equal(friends_of_friends(kpc, 0.02, 1.0), plain)
    assert np.array_equal(
        friends_of_friends(points, 0.02, [1.0, 1.0, None]), friends_of_friends(points, 0.02, (1, 1, 0))
    )


@pytest.mark.parametrize(
    ("positions", "length", "box", "said"),
    [
        (np.zeros((3, 2)), 1.0, None, r"\(3, 2\); give \(n, 3\)"),
        ([[0.0, np.nan, 0.0]], 1.0, None, "not finite, the first in row 0"),
        ([[0.0, 0.0, 0.0], [0.0, np.inf, 0.0]], 1.0, None, "not finite, the first in row 1"),
        ([["a", "b", "c"]], 1.0, None, "positions is list of <U1; give numbers"),
        ([[True, False, True]], 1.0, None, "positions is list of bool; give numbers"),
        ([[1.0, 2.0, 3.0], [1.0]], 1.0, None, "positions is list of object; give numbers"),
        ([[1j, 0, 0]], 1.0, None, "positions is list of complex128; give numbers"),
        (np.ma.masked_less([[0.0, 1.0, -1.0]], 0.0), 1.0, None, "masked; leave them out"),
        (np.zeros((3, 3)), 0.0, None, "give a length above 0"),
        (np.zeros((3, 3)), "1.0", None, "linking_length is '1.0'; give a length above 0"),
        (np.zeros((3, 3)), [1.0, 2.0], None, "give a length above 0"),
        (np.zeros((3, 3)), 1.0 * u.kpc, None, "the positions have no unit"),
        (np.zeros((3, 3)), 1.0, 10.0 * u.kpc, "box_size is 10.0 kpc but the positions have no unit"),
        (np.zeros((3, 3)) * u.kpc, 1.0 * u.s, None, "linking_length has the unit 's', which does not convert to 'kpc'"),
        (np.zeros((3, 3)) * u.kpc, 1.0, 9.0 * u.s, "box_size has the unit 's', which does not convert to 'kpc'"),
        (np.zeros((3, 3)), 1.0, -1.0, "0 for an axis that is not periodic"),
        (np.zeros((3, 3)), 1.0, [10.0, 10.0], "give one length or three"),
        (np.zeros((3, 3)), 1.0, "10", "box_size is str of <U2; give one length or three"),
        (np.zeros((3, 3)), 1.0, True, "box_size is bool of bool; give one length or three"),
        (np.zeros((3, 3)), 1.0, 1.5, "more than half of the box"),
    ],
)
def test_bad_input_is_refused_in_words(positions, length, box, said):
    for method in ("cells", "tree"):
        with pytest.raises(InputError, match=said):
            friends_of_friends(positions, length, box, method=method)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_members": 0}, "min_members is 0; give a number of 1 or more"),
        ({"min_members": 2.5}, "min_members is 2.5"),
        ({"min_members": "20"}, "min_members is '20'"),
        ({"threads": 0}, "threads is 0; give a number of 1 or more, or None"),
        ({"method": "grid"}, "give 'cells' or 'tree'"),
    ],
)
def test_bad_options_are_refused_in_words(options, said):
    with pytest.raises(InputError, match=said):
        friends_of_friends(np.zeros((3, 3)), 1.0, **options)


def test_no_particles_are_no_groups():
    assert friends_of_friends(np.empty((0, 3)), 1.0).size == 0
