"""Simulated clusters lie in the same plots as observed ones, and longer linking lengths hold shorter ones' groups."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.mock import make_population, make_snapshot
from sc_lab.population import analyse
from sc_lab.simulations import (
    as_catalog,
    cluster_states,
    find_groups,
    linking_length_test,
    measure_clusters,
    read_snapshot,
    stack_catalogs,
)


@pytest.fixture(scope="module")
def box():
    """Return a small box of clusters."""
    return make_snapshot(4, n_side=32, n_clusters=14, n_haloes=6)


@pytest.fixture(scope="module")
def clusters(box):
    """Return its clusters, in two modes."""
    return [measure_clusters(box, find_groups(box, mode)) for mode in ("SGP", "SP")]


def test_a_simulated_cluster_has_the_numbers_that_it_was_measured_with(clusters):
    catalog = as_catalog(clusters[0])
    population = analyse(catalog)
    assert catalog["mass"].value == pytest.approx(clusters[0]["mass"].value)
    # The population works the surface density out anew, from the same M / (2 pi r^2).
    assert population.values("sigma_mass") == pytest.approx(clusters[0]["sigma_mass"].value)
    assert population.values("mu").tolist() == [1.0] * len(catalog)
    assert not population.r_eff_is_limit.any()
    assert list(catalog["state"]) == list(cluster_states(clusters[0]))


def test_the_projected_radius_comes_with_its_scatter(clusters):
    catalog = as_catalog(clusters[0], size="projected")
    assert catalog["r_eff"].value == pytest.approx(clusters[0]["r_projected"].value)
    assert (catalog["r_eff_err_lo"] > 0).all()
    ratio = catalog["r_eff"].value / as_catalog(clusters[0], size="space")["r_eff"].value
    assert np.median(ratio) == pytest.approx(0.766, abs=0.08)  # Plummer spheres of some hundred stars each


def test_observed_and_simulated_clusters_are_one_population(clusters):
    observed = make_population(n=60, rng=2).catalog
    both = stack_catalogs([observed, as_catalog(clusters)])
    assert len(both) == len(observed) + sum(map(len, clusters))
    population = analyse(both)
    assert set(population.fields) >= {"SGP z=12", "SP z=12", *np.unique(observed["field"])}
    simulated = np.asarray(both["simulated"], dtype=bool)
    assert simulated.sum() == sum(map(len, clusters))
    alone = analyse(observed)
    assert population.values("sigma_mass")[~simulated] == pytest.approx(alone.values("sigma_mass"), nan_ok=True)
    assert set(both["state"][~simulated]) == {"observed"}


def test_clusters_without_ages_have_none_in_the_catalogue(box, clusters):
    table = clusters[0].copy()
    table["age_onset"] = np.nan * u.Myr
    catalog = as_catalog(table)
    assert catalog["age_onset"].mask.all()
    assert analyse(catalog).counts["without_age"] == len(table)


def test_no_clusters_are_no_catalogue_and_do_not_hinder_others(box, clusters):
    none = measure_clusters(box, find_groups(box, "SP"), min_stars=10**6)
    with pytest.raises(InputError, match="no clusters"):
        as_catalog(none)
    assert len(as_catalog([none, clusters[1]])) == len(clusters[1])


def test_the_same_catalogue_twice_is_refused(clusters):
    one = as_catalog(clusters[0])
    with pytest.raises(InputError, match="more than one catalogue"):
        stack_catalogs([one, one])
    with pytest.raises(InputError, match="no catalogues"):
        stack_catalogs([])
    with pytest.raises(InputError, match="'projected'"):
        as_catalog(clusters[0], size="3d")
    with pytest.raises(InputError, match="no column"):
        cluster_states(one["id", "z"])


def test_mass_in_groups_grows_with_the_linking_length(box):
    table = linking_length_test(box, "SP", (0.05, 0.1, 0.2, 0.4), min_stars=50)
    assert (np.diff(table["mass_total"]) >= 0).all()
    assert (np.diff(table["linking_length"]) > 0).all()
    assert table["ratio"][2] == 1
    for row in table:
        assert row["counts"].sum() == row["n"] == row["n_above"][0]


def test_the_test_counts_what_measuring_would(box, clusters):
    table = linking_length_test(box, "SGP", (0.2,))
    assert table["n"][0] == len(clusters[0])
    assert table["mass_total"][0].value == pytest.approx(clusters[0]["mass"].sum().value)
    dark = linking_length_test(box, "DMP-GS", (0.2,), of="dm")
    haloes = find_groups(box, "DMP-GS").lengths[:, 1]
    assert dark["n"][0] == (haloes > 300).sum()


def test_a_linking_length_test_can_be_stopped(box):
    class Stop:
        def __init__(self):
            self.asked = 0

        def is_set(self):
            self.asked += 1
            return self.asked > 1

    seen = []
    table = linking_length_test(box, "SP", (0.1, 0.2), cancel=Stop(), progress=lambda *done: seen.append(done))
    assert len(table) == 1
    assert seen == [(1, 2)]
    with pytest.raises(InputError, match="'SGP'"):
        linking_length_test(box, "stars")
    with pytest.raises(InputError, match="b is empty"):
        linking_length_test(box, "SP", ())


@pytest.mark.real_data
def test_clusters_of_a_real_box_are_a_catalogue_and_hold_over_a_tenth_of_the_linking_length(real_data):
    with read_snapshot(real_data / "simulation/arepo_mini/SGP/snap-groupordered_008.hdf5") as snapshot:
        table = linking_length_test(snapshot, "SGP", min_stars=30)
        assert table["n"][1:4].tolist() == [5, 5, 5]
        assert table["n"][4] < 5  # twice the length joins neighbours
        clusters = measure_clusters(snapshot, find_groups(snapshot, "SGP"), min_stars=30)
    catalog = as_catalog(clusters, size="projected")
    assert catalog["age_onset"].mask.all()  # the file has no formation times, so nothing is known
    assert analyse(catalog).values("sigma_mass") == pytest.approx(
        catalog["mass"].value / (2 * np.pi * catalog["r_eff"].value ** 2)
    )
