"""The catalogue of simulated clusters: a made-up snapshot with known answers, and a real one beside a second code."""

import csv

import astropy.units as u
import numpy as np
import pytest

from sc_lab.density_size import surface_density
from sc_lab.errors import InputError
from sc_lab.simulations import Snapshot, find_groups, measure_clusters, read_snapshot, virial_fraction
from sc_lab.simulations.potential import G

BOX, A, H = 1000.0, 0.1, 0.7


def snapshot_of(spheres, *, at=(0.3, 500.0, 999.8), speed=1.0, order=None, n=2000):
    """Return a virialised Plummer sphere of 1e6 Msun with a scale radius of 10 pc, across an edge of the box."""
    mass, a = 1e6, 0.01
    points = spheres["plummer"](n, a=a)
    points = points[np.linalg.norm(points, axis=1) < 0.2]
    velocity = speed * spheres["speeds"](points, mass, a=a)
    position = (points * H / A + np.array(at)) % BOX
    order = np.arange(len(points)) if order is None else order(len(points))
    stars = {
        "Coordinates": position[order],
        "Velocities": (velocity / np.sqrt(A))[order],
        "Masses": np.full(len(points), mass / n * H / 1e10),
    }
    dark = {"Coordinates": np.random.default_rng(3).uniform(0, BOX, (1000, 3)), "Velocities": np.zeros((1000, 3))}
    dark["Masses"] = np.full(1000, 1e-6)
    header = {"redshift": 1 / A - 1, "h": H, "omega_matter": 0.3, "omega_lambda": 0.7, "omega_baryon": 0.05}
    return Snapshot.from_arrays({"stars": stars, "dm": dark}, box_size=BOX, **header)


def measured(snapshot, **options):
    return measure_clusters(snapshot, find_groups(snapshot, "SP", length=0.5, min_length=32), **options)


def test_a_plummer_sphere_across_the_edge_of_the_box_is_measured_as_it_is(spheres):
    table = measured(snapshot_of(spheres))
    assert len(table) == 1
    row = table[0]
    assert row["bound"]
    assert row["virialised"]
    # 0.4 % of the mass lies beyond 20 scale radii, some more out of reach; 2000 sampled velocities scatter the ratio by 3 %.
    assert row["mass"].value == pytest.approx(1e6, rel=0.01)
    assert row["r_half"].value == pytest.approx(13.05, rel=0.02)
    assert row["r_projected"].value == pytest.approx(10.0, rel=0.05)
    assert row["virial_ratio"] == pytest.approx(2.0, rel=0.08)
    # The furthest particles carry little energy: 3.39531 a to the scatter of U.
    assert row["r_vir"].value == pytest.approx(33.95, rel=0.02)
    assert row["sigma_mass"] == surface_density(row["mass"], row["r_eff"])
    assert row["z"] == pytest.approx(9.0)
    assert virial_fraction(table) == 1.0


def test_size_may_be_projected_as_observers_see_it(spheres):
    snapshot = snapshot_of(spheres)
    assert measured(snapshot, size="projected")["r_eff"][0] == measured(snapshot)["r_projected"][0]


def test_place_order_and_boost_change_nothing(spheres):
    base = measured(snapshot_of(spheres))
    other = measured(snapshot_of(spheres, at=(500.0, 0.01, 250.0), order=np.random.default_rng(1).permutation))
    for name in ("mass", "r_half", "kinetic", "potential", "r_max", "r_vir"):
        # Positions of 1000 with differences of 0.1: rounding is magnified by 1e4.
        assert other[name][0].value == pytest.approx(base[name][0].value, rel=1e-8)


def test_unbound_groups_are_kept_and_flagged(spheres):
    table = measured(snapshot_of(spheres, speed=1.6))
    assert not table["bound"][0]
    assert table["radius"][0] == table["r_max"][0]
    assert np.isnan(virial_fraction(table))


def test_cancelling_returns_what_was_measured_and_progress_counts(spheres):
    snapshot = snapshot_of(spheres)
    seen = []
    measured(snapshot, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]

    class Stop:
        def is_set(self):
            return True

    table = measured(snapshot, cancel=Stop())
    assert len(table) == 0
    assert table["mass"].unit == "solMass"


def test_choices_that_do_not_exist_are_refused_in_words(spheres):
    snapshot = snapshot_of(spheres)
    with pytest.raises(InputError, match="give 'stars', 'group', 'most_bound'"):
        measured(snapshot, centre="middle")
    with pytest.raises(InputError, match="needs the field Potential"):
        measured(snapshot, centre="most_bound")
    with pytest.raises(InputError, match="give 'space' or 'projected'"):
        measured(snapshot, size="big")
    with pytest.raises(InputError, match="one age for each"):
        measured(snapshot, ages=[1.0])


def test_ages_come_from_formation_times(spheres):
    snapshot = snapshot_of(spheres)
    n = len(snapshot.stars)
    formed = np.full(n, 0.09)
    formed[: n // 2] = 0.095
    snapshot.stars.parts[0]["GFM_StellarFormationTime"] = formed
    table = measured(snapshot)
    cosmology = snapshot.header.cosmology
    oldest = (cosmology.age(9.0) - cosmology.age(1 / 0.09 - 1)).to_value("Myr")
    assert table["age_onset"][0].to_value("Myr") == pytest.approx(oldest, rel=1e-4)  # steps of the table of times
    assert table["age_mw"][0] < table["age_onset"][0]


@pytest.mark.real_data
@pytest.mark.parametrize("mode", ["SGP", "SP"])
@pytest.mark.parametrize("number", ["004", "008"])
def test_energies_flags_and_radii_agree_with_a_second_code_on_a_real_snapshot(real_data, mode, number):
    """That one took 1e10 Msun/h for the unit of mass; the file says 1.989e43 g, 3.0e-4 more."""
    folder = real_data / "simulation"
    with (folder / "prototype_clusters.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["mode"] == mode and int(row["snap"]) == int(number)]
    with read_snapshot(folder / "arepo_mini" / mode / f"snap-groupordered_{number}.hdf5") as snapshot:
        table = measure_clusters(snapshot, find_groups(snapshot, mode), min_stars=30)
    assert len(table) == len(rows)
    by_stars = {int(row["n_star"]): row for row in rows}
    unit = snapshot.header.mass_g / 1.98840987e43
    for found in table:
        row = by_stars[int(found["n_star"])]
        single = 2e-5  # both read velocities in single precision; the other rounded radii to six digits
        assert found["mass"].value == pytest.approx(float(row["m_star_msun"]) * unit, rel=single)
        assert found["r_max"].value == pytest.approx(float(row["r_max_pc"]), rel=single)
        assert found["r_half"].value == pytest.approx(float(row["r_half_pc"]), rel=single)
        assert found["kinetic_stars"].value == pytest.approx(float(row["k_star"]) * unit, rel=single)
        assert found["potential_stars"].value == pytest.approx(float(row["u_star"]) * unit**2, rel=single)
        assert found["kinetic"].value == pytest.approx(float(row["k_star_dm"]) * unit, rel=single)
        assert found["potential"].value == pytest.approx(float(row["u_star_dm"]) * unit**2, rel=single)
        assert found["n_dm_r_max"] == int(row["n_dm_in_rmax"])
        assert (found["bound"], found["used_dm"], found["virialised"]) == tuple(
            bool(int(row[name])) for name in ("bound", "used_dm", "virialised")
        )
        assert found["radius"].value == pytest.approx(float(row["radius_pc"]), rel=3e-5)
    assert pytest.approx(4.30091e-6, rel=2e-6) == G


@pytest.mark.real_data
def test_a_fraction_of_the_groups_of_a_real_snapshot_is_virialised(real_data):
    """In SGP at z = 8 one of the four groups with more than 100 stars is, with its dark matter."""
    with read_snapshot(real_data / "simulation/arepo_mini/SGP/snap-groupordered_008.hdf5") as snapshot:
        table = measure_clusters(snapshot, find_groups(snapshot, "SGP"))
    assert len(table) == 4
    assert np.asarray(table["virialised"]).sum() == 1
    assert virial_fraction(table) == pytest.approx(0.25)


def test_ages_are_read_in_their_unit_and_refused_where_they_are_none(spheres):
    snapshot = snapshot_of(spheres)
    number = len(snapshot.stars)
    assert measured(snapshot, ages=0.01 * u.Gyr)["age_mw"][0].to_value("Myr") == pytest.approx(10.0, rel=1e-12)
    for ages, said in (
        (np.full(number, 5.0) * u.kpc, "does not convert"),
        (-5.0, "ages from 0"),
        (1e7, "ages from 0"),  # years
        ([1.0, 2.0], f"2 values and the snapshot {number} stars"),
    ):
        with pytest.raises(InputError, match=said):
            measured(snapshot, ages=ages)


def test_a_softening_length_may_have_a_unit_and_is_not_negative(spheres):
    snapshot = snapshot_of(spheres)
    given = [measured(snapshot, softening=each)["potential"][0] for each in (0.003, 3 * u.pc)]
    assert given[0].value == pytest.approx(given[1].value, rel=1e-12)
    with pytest.raises(InputError, match="one length of 0 or more"):
        measured(snapshot, softening=-1.0)


@pytest.mark.parametrize(("name", "value"), [("Masses", -1.0), ("Masses", np.nan), ("Velocities", np.nan)])
def test_particles_without_energies_are_said(spheres, name, value):
    snapshot = snapshot_of(spheres)
    stars = {each: np.array(snapshot.stars.code(each)) for each in ("Coordinates", "Velocities", "Masses")}
    stars[name][5] = value
    broken = Snapshot.from_arrays({"stars": stars}, box_size=BOX, redshift=9.0, h=H)
    with pytest.raises(InputError, match=f"{name} of stars"):
        measured(broken)


def test_a_catalogue_without_clusters_has_the_columns_of_one_with(spheres):
    snapshot = snapshot_of(spheres)
    full, empty = measured(snapshot), measured(snapshot, min_stars=10**9)
    assert len(empty) == 0
    assert set(empty.colnames) == set(full.colnames)
    for name in full.colnames:
        assert empty[name].unit == full[name].unit
        assert empty[name].dtype.kind == full[name].dtype.kind
    assert np.isnan(virial_fraction(empty))


def with_wind(spheres, n_wind=150):
    """Return the Plummer sphere with heavy wind cells among its stars: formation times of minus one."""
    snapshot = snapshot_of(spheres)
    stars = {name: np.array(snapshot.stars.code(name)) for name in ("Coordinates", "Velocities", "Masses")}
    n = len(snapshot.stars)
    formed = np.full(n + n_wind, 0.09)
    formed[n:] = -1.0
    stars = {
        name: np.concatenate([values, 3.0 * values[:n_wind] if name == "Masses" else values[:n_wind]])
        for name, values in stars.items()
    }
    rng = np.random.default_rng(1)
    # Beside stars, not upon them.
    stars["Coordinates"][n:] += 0.01 * rng.standard_normal((n_wind, 3))
    stars |= {"GFM_StellarFormationTime": formed, "ParticleIDs": np.arange(n + n_wind)}
    header = {"redshift": 1 / A - 1, "h": H, "omega_matter": 0.3, "omega_lambda": 0.7, "omega_baryon": 0.05}
    return snapshot, Snapshot.from_arrays({"stars": stars}, box_size=BOX, **header)


def test_wind_cells_among_the_stars_are_linked_but_are_no_stars(spheres):
    plain, blown = with_wind(spheres)
    without, row = measured(plain)[0], measured(blown)[0]
    assert row["n_wind"] == 150
    for name in ("n_star", "mass", "r_half", "kinetic_stars", "potential_stars", "r_max"):
        assert getattr(row[name], "value", row[name]) == pytest.approx(
            getattr(without[name], "value", without[name]), rel=1e-9
        )
    whole = measured(blown, wind=True)[0]
    assert whole["n_star"] == row["n_star"] + 150
    assert whole["n_wind"] == 0
    assert whole["mass"].value == pytest.approx(row["mass"].value * (1 + 3 * 150 / row["n_star"]), rel=1e-9)
    assert len(measured(blown, min_stars=int(row["n_star"]))) == 0
    assert len(measured(blown, min_stars=int(row["n_star"]), wind=True)) == 1


def test_wind_cells_are_neither_new_stars_nor_counted_in_the_linking_length_test(spheres):
    from sc_lab.simulations import linking_length_test, new_stars

    plain, blown = with_wind(spheres)
    assert new_stars(blown, since=1e4).sum() == len(plain.stars)
    options = {"b": (0.2,), "rule": "number", "min_stars": 50}
    assert linking_length_test(blown, "SP", **options)["mass_total"][0].value <= plain.stars["Masses"].sum().value * (
        1 + 1e-9
    )
