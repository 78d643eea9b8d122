"""Haloes around clusters, counts, virial fractions and bimodality on populations with known answers."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.simulations import Snapshot, environment, find_groups, measure_clusters, populations, read_snapshot


def two_haloes():
    """Return a box with haloes at its edge (40 particles) and middle (36)."""
    rng = np.random.default_rng(1)
    dark = np.concatenate([rng.normal(0, 0.05, (40, 3)), rng.normal(50, 0.05, (36, 3))]) % 100.0
    return Snapshot.from_arrays(
        {"dm": {"Coordinates": dark, "Masses": np.full(76, 1e-4)}},
        box_size=100.0,
        redshift=9.0,
        h=0.7,
        omega_matter=0.3,
        omega_lambda=0.7,
        omega_baryon=0.05,
    )


def clusters_at(*places):
    table = QTable({name: [p[k] for p in places] * u.kpc for k, name in enumerate(("x", "y", "z_position"))})
    table["n_dm"] = np.arange(len(places))
    return table


def test_haloes_have_their_mass_place_and_radius_across_the_edge():
    snapshot = two_haloes()
    haloes = environment.halo_table(snapshot, find_groups(snapshot, length=1.0))
    scale = 0.1 / 0.7
    np.testing.assert_allclose(haloes["mass_dm"].to_value("solMass"), np.array([40, 36]) * 1e6 / 0.7, rtol=5e-4)
    place = np.stack([haloes[name].value for name in ("x", "y", "z_position")], axis=1)
    # Centres of 40 points with a scatter of 0.05: 0.008, in a box of 100.
    away = (place[0] + 50 * scale) % (100 * scale) - 50 * scale
    assert np.abs(away).max() < 0.05 * scale
    assert np.abs(place[1] - 50 * scale).max() < 0.05 * scale
    density = haloes["mass_dm"] / (4 / 3 * np.pi * haloes["r_200"] ** 3)
    critical = snapshot.header.cosmology.critical_density(9.0).to("solMass / kpc3")
    np.testing.assert_allclose((density / critical).to_value(""), 200.0, rtol=1e-6)


def test_the_nearest_halo_is_found_around_the_box_and_neighbours_are_counted():
    snapshot = two_haloes()
    haloes = environment.halo_table(snapshot, find_groups(snapshot, length=1.0))
    box = 100 * 0.1 / 0.7
    table = environment.add_environment(
        clusters_at((box - 0.05,) * 3, (box / 2 + 0.2,) * 3, (3.0, 3.0, 3.0)), haloes, snapshot
    )
    assert table["halo_group"].tolist() == [0, 1, 0]
    assert table["halo_distance"][1].value == pytest.approx(0.2 * np.sqrt(3), abs=0.01)
    assert table["in_halo"].tolist() == [True, True, False]
    assert table["has_halo_dm"].tolist() == [False, True, True]
    assert table["n_haloes_10"].tolist() == [1, 1, 0]
    assert table["n_clusters_10"].tolist() == [0, 0, 0]


def test_dark_matter_must_have_been_linked():
    snapshot = two_haloes()
    groups = find_groups(snapshot, length=1.0)
    from dataclasses import replace

    with pytest.raises(InputError, match="not among the linked types"):
        environment.halo_table(snapshot, replace(groups, primary=(4,)))


def catalogue(mode, z, bound, virialised, mass=None):
    table = QTable({"bound": np.asarray(bound, bool), "virialised": np.asarray(virialised, bool)})
    table["mass"] = (np.arange(1, len(bound) + 1) if mass is None else mass) * 1e4 * u.Msun
    table.meta["simulation"] = {"mode": mode, "redshift": z}
    return table


def test_virial_fractions_by_mode_and_redshift():
    table = populations.virial_fractions(
        [catalogue("SGP", 12.0, [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]), catalogue("SP", 13.0, [0, 0], [0, 0])]
    )
    assert table["fraction"][0] == 0.25
    assert table["n_bound"].tolist() == [4, 0]
    assert np.isnan(table["fraction"][1])
    # Posterior Beta(2, 4), whose distribution function is 1 - (1 - x)^4 (1 + 4 x).
    low = 0.25 - table["fraction_err_lo"][0]
    high = 0.25 + table["fraction_err_hi"][0]
    for x, level in ((low, 0.16), (high, 0.84)):
        assert 1 - (1 - x) ** 4 * (1 + 4 * x) == pytest.approx(level, rel=1e-9)


def test_binomial_intervals_cover_68_percent_of_shares():
    """Averaged over shares drawn from the flat prior, as Bayesian intervals do; 3000 trials scatter by 0.9 %."""
    rng = np.random.default_rng(2)
    truth = rng.uniform(0, 1, 3000)
    inside = 0
    for share in truth.tolist():
        settled = rng.random(25) < share
        row = populations.virial_fractions([catalogue("x", 1.0, np.ones(25), settled)])[0]
        low, high = row["fraction"] - row["fraction_err_lo"], row["fraction"] + row["fraction_err_hi"]
        inside += low <= share <= high
    # The share itself may widen the interval at its ends, never narrow it.
    assert 0.66 < inside / 3000 < 0.74


def test_mass_function_and_ratios_count():
    table = catalogue("SGP", 12.0, [1] * 4, [0] * 4)
    found = populations.cumulative_mass_function(table, 2.0 * u.Mpc**3)
    assert found["n_above"].tolist() == [4, 3, 2, 1]
    assert found["density"][0].to_value("Mpc-3") == 2.0
    both = {"SGP": table, "SP": table[:2]}
    ratios = populations.number_ratio(both, "SGP", [0, 2.5e4, 1e5])
    assert ratios["SP"][1].tolist() == [1.0, 0.0]
    with pytest.raises(InputError, match="give one of 'SGP', 'SP'"):
        populations.number_ratio(both, "DMP", [0, 1])
    with pytest.raises(InputError, match="above 0 Mpc"):
        populations.cumulative_mass_function(table, 0.0)


def test_virialised_clusters_that_are_all_massive_are_no_random_choice():
    mass = np.arange(1, 201)
    assert populations.virial_ks(catalogue("x", 1.0, np.ones(200), mass > 150, mass))[1] < 1e-6
    assert populations.virial_ks(catalogue("x", 1.0, np.ones(200), mass % 2 == 0, mass))[1] > 0.5
    assert np.isnan(populations.virial_ks(catalogue("x", 1.0, np.ones(3), np.zeros(3)))[0])


def test_two_peaks_are_seen_and_one_is_not():
    rng = np.random.default_rng(3)
    two = populations.bimodality(np.concatenate([rng.normal(-0.3, 0.3, 300), rng.normal(2.0, 0.3, 200)]))
    assert two.bimodal
    # Standard errors of means of 200 values with a width of 0.3: 0.02.
    np.testing.assert_allclose(two.means, (-0.3, 2.0), atol=0.07)
    np.testing.assert_allclose(two.shares, (0.6, 0.4), atol=0.03)
    false = sum(populations.bimodality(rng.standard_normal(100)).bimodal for _ in range(40))
    assert false == 0  # BIC differences above 10 by chance are rarer than 1 in 1000
    with pytest.raises(InputError, match="at least ten"):
        populations.bimodality([1.0, 2.0])


@pytest.mark.real_data
def test_environment_of_a_real_snapshot(real_data):
    folder = real_data / "simulation" / "arepo_mini"
    with read_snapshot(folder / "DMP-GS/snap-groupordered_008.hdf5") as snapshot:
        groups = find_groups(snapshot)
        haloes = environment.halo_table(snapshot, groups)
        clusters = measure_clusters(snapshot, find_groups(snapshot, "SGP"))
        table = environment.add_environment(clusters, haloes, snapshot)
    assert len(haloes) == np.count_nonzero(groups.lengths[:, 1] > 32)
    assert table["in_halo"].all()
    assert (table["halo_mass"] > 5 * table["mass"]).all()
