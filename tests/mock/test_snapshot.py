"""The synthetic snapshot holds what its truth says, and the finders find it."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.mock import make_snapshot
from sc_lab.simulations import find_groups, halo_table, linking_length, measure_clusters, star_ages


@pytest.fixture(scope="module")
def box():
    """Return a small box: 60 clusters are more than it needs."""
    return make_snapshot(3, n_side=36, n_clusters=16, n_haloes=8)


@pytest.fixture(scope="module")
def clusters(box):
    """Return its measured clusters."""
    return measure_clusters(box, find_groups(box, "SP"))


def _truth_of(box, groups, row):
    """Return the row of the truth that most of a group's stars come from."""
    return np.bincount(box.star_cluster[groups.members(row, 4)] + 1).argmax() - 1


def test_the_same_seed_gives_the_same_box_and_another_one_another():
    one, two, other = (make_snapshot(seed, n_side=24, n_clusters=4, n_haloes=3) for seed in (5, 5, 6))
    assert np.array_equal(one.stars.code("Coordinates"), two.stars.code("Coordinates"))
    assert np.array_equal(
        make_snapshot(n_side=24, n_clusters=4, n_haloes=3).dm.code("Coordinates"),
        make_snapshot(1, n_side=24, n_clusters=4, n_haloes=3).dm.code("Coordinates"),
    )
    assert not np.array_equal(one.dm.code("Coordinates"), other.dm.code("Coordinates"))


def test_baryons_and_dark_matter_fill_the_box_at_the_densities_of_the_header(box):
    header = box.header
    for kind, share in (("dm", header.omega_matter - header.omega_baryon), ("baryons", header.omega_baryon)):
        kinds = [box.dm] if kind == "dm" else [box.gas, box.stars]
        held = sum(each["Masses"].sum() for each in kinds) / (header.box_size * header.a / header.h * u.kpc) ** 3
        critical = header.cosmology.critical_density(0).to(u.Msun / u.kpc**3)
        # The code's units and astropy's constants differ by 3e-4.
        assert float(held / critical) * header.a**3 == pytest.approx(share, rel=5e-4)
    # As in the box of Williams et al. 2025, whose linking length the paper's code gives as 0.4625 ckpc/h.
    assert linking_length(box, (1,)) == pytest.approx(0.4625, rel=1e-3)


def test_every_particle_lies_in_the_box_and_one_cluster_across_its_corner(box):
    for kind in (box.gas, box.dm, box.stars):
        at = kind.code("Coordinates")
        assert at.min() >= 0
        assert at.max() < box.header.box_size
    first = box.stars.code("Coordinates")[box.star_cluster == 0]
    assert np.ptp(first, axis=0).min() > 0.99 * box.header.box_size


def test_every_cluster_is_found_with_its_mass_size_state_and_age(box, clusters):
    groups = find_groups(box, "SP")
    assert len(clusters) == len(box.truth)
    seen = set()
    for row in clusters:
        true = box.truth[_truth_of(box, groups, row["group"])]
        seen.add(true["id"])
        assert float(row["mass"] / true["mass"]) == pytest.approx(1, abs=0.1)  # the outermost stars are not linked
        assert float(row["r_half"] / true["r_half"]) == pytest.approx(1, abs=0.35)  # 120 stars or more, and that cut
        # |U|/K of some hundred stars without softening scatters by a tenth; the outskirts lower it.
        assert row["virial_ratio_stars"] / true["virial_ratio"] == pytest.approx(1, abs=0.3)
        if true["halo"] < 0:
            assert float(row["age_onset"] / true["age_onset"]) == pytest.approx(1, abs=0.01)
            assert bool(row["virialised"]) == (true["kind"] == "virialised")
            assert bool(row["bound"]) == (true["kind"] != "unbound")
    assert len(seen) == len(box.truth)


def test_haloes_are_found_with_their_mass(box):
    found = halo_table(box, find_groups(box, "DMP-GS"), min_dm=200)
    assert len(found) == len(box.haloes)
    mass = np.sort(found["mass_dm"].to_value(u.Msun))[::-1]
    assert mass == pytest.approx(np.sort(box.haloes["mass_dm"].to_value(u.Msun))[::-1], rel=0.2)


def _dark(box, row):
    """Return places and velocities of the dark matter of a halo, and what the truth says of it."""
    true = box.haloes[row]
    centre = np.array([true[name].to_value(u.kpc) for name in ("x", "y", "z_position")])
    # Haloes come first, the heaviest before the others.
    rows = slice(int(box.haloes["n_dm"][:row].sum()), int(box.haloes["n_dm"][: row + 1].sum()))
    side = box.header.box_size * box.header.a / box.header.h * box.header.length_cm * u.cm.to(u.kpc)
    offset = box.dm["Coordinates"][rows].to_value(u.kpc) - centre
    return offset - side * np.round(offset / side), box.dm["Velocities"][rows].to_value(u.km / u.s), true


def test_haloes_follow_navarro_frenk_and_white_and_end_at_their_radius():
    """200 times the critical density inside; M(<r) goes as ln(1 + x) - x / (1 + x)."""
    box = make_snapshot(7, n_side=36, n_clusters=2, n_haloes=3, concentration=6.0)
    offset, _, true = _dark(box, 0)
    radius = np.linalg.norm(offset, axis=1)
    end = true["r_200"].value
    # The centre of mass of some thousand particles is no more than a hundredth of their radius away.
    assert radius.max() < 1.05 * end
    critical = box.header.cosmology.critical_density(box.header.redshift).to_value(u.Msun / u.kpc**3)
    # The unit of mass in the header and the rounded constants of the code: 5e-4.
    assert true["mass_dm"].value / (4 / 3 * np.pi * end**3) == pytest.approx(200 * critical, rel=1e-3)

    def within(x):
        return np.log1p(x) - x / (1 + x)

    for share in (0.1, 0.3, 0.5, 0.8):
        # Drawn in even steps of mass, the centre being that of mass: 2 %.
        assert (radius < share * end).mean() == pytest.approx(within(6 * share) / within(6.0), abs=0.02)
    assert np.median(radius) == pytest.approx(true["r_half"].value, rel=0.03)


def test_haloes_are_in_equilibrium_and_hold_their_particles():
    from sc_lab.simulations.potential import G, potential_energy

    box = make_snapshot(7, n_side=36, n_clusters=2, n_haloes=3)
    for row in range(3):
        offset, velocity, true = _dark(box, row)
        mass = np.full(len(offset), true["mass_dm"].value / len(offset))
        own = velocity - velocity.mean(axis=0)
        kinetic = 0.5 * (mass[:, None] * own**2).sum()
        potential = potential_energy(offset, mass)
        # A sum over some hundred points scatters by some per cent about the smooth halo.
        assert -potential / kinetic == pytest.approx(true["virial_ratio"], rel=0.06)
        assert true["virial_ratio"] == pytest.approx(2.0, rel=0.1)
        away = np.linalg.norm(offset[:, None] - offset[None], axis=2)
        np.fill_diagonal(away, np.inf)
        bound = 0.5 * (own**2).sum(axis=1) < G * (mass / away).sum(axis=1)
        # Held to 95 % of the escape speed of the smooth halo; the sum over points differs a little at the edge.
        assert bound.mean() > 0.995


def test_ages_of_stars_are_read_back_from_the_scale_factors(box):
    ages = star_ages(box)
    for row, true in enumerate(box.truth):
        mine = ages[box.star_cluster == row]
        assert mine.max() == pytest.approx(true["age_onset"].value, rel=0.003)  # single precision of the field


def test_gas_is_denser_and_has_temperatures(box):
    assert box.gas["Density"].max() > 1e3 * box.gas["Density"].min()
    per_mass = box.gas["InternalEnergy"]
    assert (per_mass > 0).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_clusters": 0}, "a whole number from 1 on"),
        ({"n_clusters": 10, "n_haloes": 1, "in_halo": 0.5}, "a halo for each"),
        ({"kinds": (0.5, 0.5, 0.5)}, "add up to 1"),
        ({"n_side": 12}, "larger n_side"),
        ({"n_side": 32.5}, "a whole number"),
        ({"redshift": -1.0}, "a redshift from 0 to 1000"),
        ({"redshift": float("nan")}, "a redshift from 0 to 1000"),
        ({"concentration": 0.0}, "a number above 0"),
        ({"seed": -1}, "a whole number from 0 on"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(options, said):
    with pytest.raises(InputError, match=said):
        make_snapshot(**({"seed": 1} | options))
