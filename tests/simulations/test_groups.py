"""Groups of snapshots: the four modes, secondaries, and the simulation code's own catalogues."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.simulations import (
    MODES,
    Snapshot,
    compare_groups,
    find_groups,
    linking_length,
    read_groups,
    read_snapshot,
    with_header,
)


def two_groups():
    """Return 40 and 30 dark-matter particles in two places, 5 stars at the second, 3 stars far away."""
    rng = np.random.default_rng(1)
    dark = np.concatenate([rng.normal(20, 0.05, (40, 3)), rng.normal(60, 0.05, (30, 3))])
    stars = np.concatenate([rng.normal(60, 0.05, (5, 3)), np.full((3, 3), 90.0)])
    return Snapshot.from_arrays(
        {"dm": {"Coordinates": dark, "Masses": np.ones(70)}, "stars": {"Coordinates": stars, "Masses": np.ones(8)}},
        box_size=100.0,
        omega_matter=0.27,
        omega_baryon=0.044,
    )


def test_secondaries_join_the_group_of_their_nearest_primary_within_reach():
    groups = find_groups(two_groups(), "DMP-GS", length=1.0, min_length=32)
    assert groups.lengths[:, [1, 4]].tolist() == [[40, 0], [30, 5]]
    assert groups.members(1, 4).tolist() == [0, 1, 2, 3, 4]
    assert groups.labels[4].tolist() == [1] * 5 + [-1] * 3


def test_groups_below_the_least_number_of_all_particles_are_dropped():
    assert len(find_groups(two_groups(), length=1.0, min_length=36)) == 1
    assert len(find_groups(two_groups(), "SP", length=1.0, min_length=5)) == 1


def test_the_linking_length_is_that_of_particles_making_up_the_dark_matter():
    """768^3 particles of 1092 Msun in 1.776 cMpc/h have a linking length of 0.4625 ckpc/h (Williams et al. 2025)."""
    box, n = 1776.0, 1000
    mass = 0.27 * 0.8370 * 27.7536627e-9 * box**3 / 768**3  # (Omega_m - Omega_b) / Omega_m = 0.837; code units
    snapshot = Snapshot.from_arrays(
        {"dm": {"Coordinates": np.random.default_rng(1).uniform(0, box, (n, 3)), "Masses": np.full(n, mass)}},
        box_size=box,
        omega_matter=0.27,
        omega_baryon=0.044,
    )
    # The published figure has four digits.
    assert linking_length(snapshot, (1,)) == pytest.approx(0.4625, abs=5e-5)
    assert linking_length(snapshot, (1,), rule="number") == pytest.approx(0.2 * box / 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "GS"}, "give 'DMP-GS'"),
        ({"mode": None, "primary": (1, 1, 9)}, "types from 0 to 5"),
        ({"mode": None, "primary": (1,), "secondary": (1,)}, "each in one of them"),
        ({"mode": None, "primary": (0,)}, "has no particles of gas"),
        ({"b": -1.0}, "a number above 0"),
        ({"rule": "x"}, "give 'arepo' or 'number'"),
    ],
)
def test_bad_choices_are_refused_in_words(arguments, said):
    with pytest.raises(InputError, match=said):
        find_groups(two_groups(), **arguments)


@pytest.mark.real_data
@pytest.mark.parametrize("number", ["004", "008"])
@pytest.mark.parametrize("mode", MODES)
def test_every_group_of_arepos_own_finder_is_reproduced(real_data, mode, number):
    """Member for member, secondaries too."""
    folder = real_data / "simulation" / "arepo_mini" / mode
    with read_snapshot(folder / f"snap-groupordered_{number}.hdf5") as snapshot:
        groups = find_groups(snapshot, mode)
        catalogue = read_groups(folder / f"fof_subhalo_tab_{number}.hdf5", snapshot.header)
    assert (catalogue.primary, catalogue.secondary) == MODES[mode]
    found = compare_groups(groups, catalogue)
    assert found == {"groups": len(catalogue), "catalogue": len(catalogue), "mismatched": 0, "secondaries": 0}
    assert sorted(groups.lengths.tolist()) == sorted(catalogue.lengths.tolist())


@pytest.mark.real_data
def test_the_split_files_give_the_same_groups(real_data):
    folder = real_data / "simulation" / "arepo_mini" / "DMP-GS-2files"
    with read_snapshot(folder / "snapdir_004") as snapshot:
        catalogue = read_groups(folder / "groups_004", snapshot.header)
        found = compare_groups(find_groups(snapshot), catalogue)
    assert (found["groups"], found["mismatched"], found["secondaries"]) == (44, 0, 0)


def test_a_wrong_group_is_noticed():
    """Moving one particle to another group is one mismatch in each."""
    from sc_lab.simulations.catalogues import GroupCatalogue

    snapshot = two_groups()
    groups = find_groups(snapshot, length=1.0)
    right = GroupCatalogue(groups.lengths, {}, (1,), (0, 4), snapshot.header)
    assert compare_groups(groups, right)["mismatched"] == 0
    lengths = groups.lengths.copy()
    lengths[:, 1] = [39, 31]
    assert compare_groups(groups, GroupCatalogue(lengths, {}, (1,), (0, 4), snapshot.header))["mismatched"] == 2


def test_lengths_that_are_none_are_refused():
    snapshot = two_groups()
    with pytest.raises(InputError, match="in code units"):
        find_groups(snapshot, "SP", length=1 * u.kpc)
    with pytest.raises(InputError, match="linking lengths above 0"):
        find_groups(snapshot, "DMP-GS", reach=-1.0)


def test_a_search_counts_its_particles_and_can_be_cancelled_between_its_steps():
    snapshot = two_groups()
    seen = []
    plain = find_groups(snapshot, length=1.0)
    found = find_groups(snapshot, length=1.0, progress=lambda done, total: seen.append((done, total)))
    assert np.array_equal(found.labels[4], plain.labels[4])
    # 70 read, 70 linked, 8 attached
    assert seen == [(70, 148), (140, 148), (148, 148)]

    class Stop:
        def __init__(self, after):
            self.left = after

        def is_set(self):
            self.left -= 1
            return self.left < 0

    for after in range(4):
        with pytest.raises(InputError, match="was cancelled"):
            find_groups(snapshot, length=1.0, cancel=Stop(after))
    assert len(find_groups(snapshot, length=1.0, cancel=Stop(9))) == len(plain)


def test_groups_of_types_chosen_by_hand_are_named_by_them():
    assert find_groups(two_groups(), primary=(4,), length=1.0, min_length=5).mode == "(4,)"
    assert find_groups(two_groups(), primary=4, length=1.0, min_length=5).primary == (4,)


def test_a_plain_gadget_header_is_told_what_it_lacks_and_the_ways_out_work():
    """Such headers say Omega0 and nothing of baryons; each remedy that the sentence names must be one."""
    rng = np.random.default_rng(1)
    # Of these masses the length is 1.1, well under half the box.
    dark = {"Coordinates": rng.normal(20, 0.05, (40, 3)), "Masses": np.full(40, 1e-6)}
    snapshot = Snapshot.from_arrays({"dm": dark}, box_size=100.0, omega_matter=0.27)
    with pytest.raises(
        InputError, match=r"does not say omega_baryon; .*with_header\(snapshot, omega_baryon="
    ) as refusal:
        find_groups(snapshot, "DMP-GS")
    assert "rule='number' or length=" in str(refusal.value)
    for mended, options in (
        (with_header(snapshot, omega_baryon=0.044), {}),
        (snapshot, {"rule": "number"}),
        (snapshot, {"length": 1.0}),
    ):
        assert find_groups(mended, "DMP-GS", min_length=1, **options).lengths[:, 1].sum() == 40


@pytest.mark.parametrize("wrong", [np.nan, -1.0, 0.0])
def test_masses_that_give_no_mean_separation_are_named(wrong):
    rng = np.random.default_rng(1)
    dark = {"Coordinates": rng.normal(20, 0.05, (40, 3)), "Masses": np.full(40, wrong)}
    snapshot = Snapshot.from_arrays({"dm": dark}, box_size=100.0, omega_matter=0.27, omega_baryon=0.044)
    with pytest.raises(InputError, match="the masses of dm add up to"):
        find_groups(snapshot, "DMP-GS")
