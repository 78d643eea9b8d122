"""Every number of the catalogue of clusters beside plain sums over the particles that were put in."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.simulations import Snapshot, add_environment, find_groups, measure_clusters, new_stars
from sc_lab.simulations.stars import wind_cells

A, H, BOX = 1.0 / 13.0, 0.71, 60.0
KPC = A / H  # physical kpc for a unit of length of the code
#: CODATA 2018 and the IAU's solar mass: kpc km^2 / s^2 / Msun.
GRAVITY = 6.67430e-11 * 1.988409871e30 / 3.0856775814913673e19 / 1e6
#: The code's unit of mass is 1.989e43 g.
UNIT = 1.989e43 / 1.988409871e43
#: CODATA's G has five digits beyond which packages differ.
DIGITS = 3e-5


def system(speed, *, moving=6.0):
    """Return a snapshot with one group across a corner of the box, and its particles in physical units."""
    rng = np.random.default_rng(7)
    drift = np.array([25.0, -8.0, 3.0])
    parts = {}
    for kind, n, mass, size, fast in (
        ("stars", 300, 220.0, 0.004, speed),
        ("dm", 500, 1100.0, 0.006, moving),
        ("gas", 200, 210.0, 0.008, 3.0),
    ):
        position = size * rng.standard_normal((n, 3))
        velocity = drift + (1.5 if kind == "dm" else 0.0) + fast * rng.standard_normal((n, 3))
        parts[kind] = position, velocity, mass * rng.uniform(0.5, 1.5, n)
    fields = {
        kind: {
            "Coordinates": (position / KPC) % BOX,
            "Velocities": velocity / np.sqrt(A),
            "Masses": mass / UNIT * H / 1e10,
        }
        for kind, (position, velocity, mass) in parts.items()
    }
    header = {"redshift": 12.0, "h": H, "omega_matter": 0.27, "omega_lambda": 0.73, "omega_baryon": 0.044}
    return Snapshot.from_arrays(fields, box_size=BOX, **header), parts


def pairs(position, mass):
    """Return -sum G m m / r over pairs."""
    i, j = np.triu_indices(len(mass), 1)
    return -GRAVITY * np.sum(mass[i] * mass[j] / np.linalg.norm(position[i] - position[j], axis=1))


def by_hand(parts, *, all_dark):
    """Return what the paper's flow chart says, in plain NumPy."""
    (x, v, m), (xd, vd, md) = parts["stars"], parts["dm"]
    centre, mean = np.average(x, axis=0, weights=m), np.average(v, axis=0, weights=m)
    away = np.linalg.norm(x - centre, axis=1)
    kinetic, potential = 0.5 * np.sum(m * ((v - mean) ** 2).sum(axis=1)), pairs(x, m)
    out = {"kinetic_stars": kinetic, "potential_stars": potential, "r_max": 1e3 * away.max(), "mass": m.sum()}
    ratio = -potential / kinetic
    out["used_dm"] = not 1.5 < ratio < 2.5 if all_dark else ratio < 1
    total = m.sum()
    if out["used_dm"]:
        near = np.full(len(md), fill_value=True) if all_dark else np.linalg.norm(xd - centre, axis=1) <= away.max()
        out["n_dm_r_max"] = near.sum()
        kinetic += 0.5 * np.sum(md[near] * ((vd[near] - mean) ** 2).sum(axis=1))
        potential = pairs(np.concatenate([x, xd[near]]), np.concatenate([m, md[near]]))
        total += md[near].sum()
    out |= {"kinetic": kinetic, "potential": potential, "virial_ratio": -potential / kinetic}
    out["virialised"] = 1.5 < out["virial_ratio"] < 2.5
    out["bound"] = out["virial_ratio"] > 1 or (all_dark and ratio > 1)
    out["r_vir"] = 1e3 * GRAVITY * total**2 / -potential
    out["radius"] = out["r_vir"] if out["virialised"] else out["r_max"]
    order = np.argsort(away)
    out["r_half"] = 1e3 * away[order][np.flatnonzero(np.cumsum(m[order]) >= m.sum() / 2)[0]]
    out["sigma_mass"] = m.sum() / 2 / (np.pi * out["r_half"] ** 2)  # half of the mass on the circle
    out["density"] = m.sum() / (4 / 3 * np.pi * out["radius"] ** 3)
    out["v_rms"] = np.sqrt(np.average(((v - mean) ** 2).sum(axis=1), weights=m))
    out["t_dyn"] = out["radius"] * 3.0856775814913673e13 / out["v_rms"] / 3.15576e13
    out["mass_dm"] = md[np.linalg.norm(xd - centre, axis=1) <= 1e-3 * out["radius"]].sum()
    xg, _, mg = parts["gas"]
    out["mass_gas"] = mg[np.linalg.norm(xg - centre, axis=1) <= away.max()].sum()
    out["density_gas"] = out["mass_gas"] / (4 / 3 * np.pi * out["r_max"] ** 3)
    return out


@pytest.mark.parametrize("mode", ["SP", "DMP-GS"])
@pytest.mark.parametrize(
    ("speed", "state"), [(1.0, (True, False)), (2.9, (True, True)), (5.0, (True, None)), (30.0, (False, False))]
)
def test_energies_radii_densities_and_flags_are_the_sums_over_the_particles(mode, speed, state):
    """From cold to far too fast; dark matter moves on its own, and its velocities count from the mean of the stars."""
    snapshot, parts = system(speed)
    table = measure_clusters(snapshot, find_groups(snapshot, mode, length=0.5))
    assert len(table) == 1
    assert table["n_star"][0] == 300
    for name, wanted in by_hand(parts, all_dark=mode == "DMP-GS").items():
        found = getattr(table[name][0], "value", table[name][0])
        assert found == (wanted if isinstance(wanted, (bool, np.bool_)) else pytest.approx(wanted, rel=DIGITS)), name
    if mode == "SP":
        assert table["bound"][0] == state[0]
        assert state[1] is None or table["virialised"][0] == state[1]


def test_the_choices_of_speeds_meet_every_branch():
    """Stars alone that are virialised, stars that only dark matter binds, and what nothing binds."""
    used = [by_hand(system(speed)[1], all_dark=False)["used_dm"] for speed in (1.0, 2.9, 5.0, 30.0)]
    bound = [by_hand(system(speed)[1], all_dark=False)["bound"] for speed in (1.0, 2.9, 5.0, 30.0)]
    assert used == [False, False, True, True]
    assert bound == [True, True, True, False]


def test_ages_are_weighed_by_mass():
    snapshot, parts = system(2.9)
    ages = np.linspace(3.0, 40.0, 300)
    row = measure_clusters(snapshot, find_groups(snapshot, "SP", length=0.5), ages=ages)[0]
    # The unit of mass drops out.
    assert row["age_mw"].to_value(u.Myr) == pytest.approx(np.sum(ages * parts["stars"][2]) / parts["stars"][2].sum())
    assert row["age_onset"].to_value(u.Myr) == 40.0


def test_stars_without_mass_are_counted_and_weigh_nothing():
    """A group of nothing else is no cluster; some of them among others change no radius and no energy."""
    snapshot, parts = system(2.9)
    mass = snapshot.stars.parts[0]["Masses"]
    whole = mass.copy()
    mass[:] = 0.0
    assert len(measure_clusters(snapshot, find_groups(snapshot, "SP", length=0.5))) == 0
    mass[::3] = whole[::3]
    row = measure_clusters(snapshot, find_groups(snapshot, "SP", length=0.5), ages=np.r_[np.nan, np.full(299, 7.0)])[0]
    some = {**parts, "stars": tuple(each[::3] for each in parts["stars"])}
    wanted = by_hand(some, all_dark=False)
    assert row["n_star"] == 300
    assert row["age_mw"].to_value(u.Myr) == pytest.approx(7.0, rel=1e-12)
    for name in ("mass", "kinetic_stars", "potential_stars", "r_half"):
        assert row[name].value == pytest.approx(wanted[name], rel=DIGITS), name


def test_a_formation_time_of_zero_is_wind_where_the_box_expands_and_the_start_where_it_does_not():
    stars = {"Coordinates": np.ones((3, 3)), "Velocities": np.zeros((3, 3)), "Masses": np.ones(3)}
    stars["GFM_StellarFormationTime"] = np.array([0.0, -1.0, 0.09])
    header = {"h": H, "omega_matter": 0.27, "omega_lambda": 0.73}
    box = Snapshot.from_arrays({"stars": stars}, box_size=BOX, time=0.1, **header)
    assert wind_cells(box).tolist() == [True, True, False]
    # Whatever ages are given.
    assert new_stars(box, since=10.0, ages=5.0).tolist() == [False, False, True]
    galaxy = Snapshot.from_arrays({"stars": stars}, comoving=False, time=0.1)
    assert not wind_cells(galaxy).any()


def test_neighbours_are_counted_across_the_edge_and_without_oneself():
    """Three clusters in a row, 3 ckpc/h apart, the first beyond the edge from the second."""
    from astropy.table import QTable

    snapshot, _ = system(1.0)
    x = np.array([-2.0, 1.0, 4.0]) % BOX * KPC
    clusters = QTable({"x": x * u.kpc, "y": np.zeros(3) * u.kpc, "z_position": np.zeros(3) * u.kpc, "n_dm": [0, 0, 0]})
    haloes = QTable(
        {"group": [5], "x": [5.5] * u.kpc * KPC, "y": [0.0] * u.kpc, "z_position": [0.0] * u.kpc}
        | {"mass_dm": [1e6] * u.Msun, "r_200": [0.3] * u.kpc}
    )
    found = add_environment(clusters, haloes, snapshot)
    assert found["n_clusters_5"].tolist() == [1, 2, 1]
    assert found["n_clusters_10"].tolist() == [2, 2, 2]
    assert found["n_haloes_5"].tolist() == [0, 1, 1]
    # The code's kpc is 1.4e-7 longer, and the box 60 of them.
    assert found["halo_distance"].value == pytest.approx(np.array([7.5, 4.5, 1.5]) * KPC, abs=60 * 1.4e-7 * KPC)
    assert found["in_halo"].tolist() == [False, False, True]


def test_encounters_of_the_lines_are_those_of_six_haloes_in_ten_and_of_one_in_one_and_a_half():
    """t_int goes as d^3 / N: with 1 in 1.5 ckpc/h it is 1.5^3 / (10^3 / 6) of that with 6 in 10."""
    from astropy.table import QTable

    from sc_lab.simulations import timescale_lines

    mass = np.array([1e4, 1e5, 1e6])
    clusters = QTable({"mass": mass * u.Msun, "mass_dm": 30 * mass * u.Msun, "mass_gas": 5 * mass * u.Msun})
    clusters["mass_dm_group"] = clusters["mass_dm"]
    clusters["z"], clusters["r_max"] = 12.0, [20.0, 30.0, 40.0] * u.pc
    lines = timescale_lines(clusters)
    np.testing.assert_allclose(lines.t_int_nearest / lines.t_int_local, 1.5**3 / (1000 / 6), rtol=1e-12)  # rounding
    np.testing.assert_allclose(lines.gas(mass), 5 * mass, rtol=1e-9)  # three points on a line
    np.testing.assert_allclose(lines.dark(mass), 30 * mass, rtol=1e-9)
    # R / v_c = sqrt(R^3 / (G M)) with R^3 = 3 m_gas / (4 pi rho): (M / m_gas)^-1/2 of 40.39 Myr at n_H = 1.
    np.testing.assert_allclose(
        timescale_lines(clusters, densities=(1.0,)).t_dyn, 40.39 * np.sqrt(5 / 36), rtol=2e-3
    )  # fmt: skip
