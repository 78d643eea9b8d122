"""Counts by mass and by new stars: numbers known beforehand, intervals that cover, and a real pair of snapshots."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.mock import make_snapshot
from sc_lab.simulations import (
    MODES,
    Snapshot,
    add_new_stars,
    find_groups,
    measure_clusters,
    new_stars,
    number_counts,
    number_ratio,
    read_snapshot,
    star_ages,
)


@pytest.fixture(scope="module")
def box():
    """Return a small box whose stars know when they formed, with its groups and clusters."""
    snapshot = make_snapshot(4, n_side=32, n_clusters=14, n_haloes=6)
    groups = find_groups(snapshot, "SP")
    return snapshot, groups, measure_clusters(snapshot, groups)


def table(masses):
    return QTable({"mass": np.asarray(masses, float) * u.Msun})


def test_young_stars_are_new_and_their_mass_is_that_of_each_cluster(box):
    snapshot, groups, clusters = box
    ages, mass = star_ages(snapshot), snapshot.stars["Masses"].to_value(u.Msun)
    found = add_new_stars(clusters, groups, snapshot, since=0.03 * u.Gyr)
    for row in found:
        members = groups.members(row["group"], 4)
        young = members[ages[members] <= 30]
        assert row["n_new"] == len(young)
        assert row["mass_new"].value == pytest.approx(mass[young].sum(), rel=1e-12)
    assert 0 < found["n_new"].sum() < found["n_star"].sum()
    assert "n_new" not in clusters.colnames
    whole = add_new_stars(clusters, groups, snapshot, since=5000.0)
    assert whole["mass_new"].value == pytest.approx(clusters["mass"].value)


def test_a_rate_of_one_solar_mass_a_year_has_the_published_magnitude(box):
    """L = 1 / 1.15e-28 = 8.696e27 erg/s/Hz, log10 27.9393; 51.6 - 2.5 log10 L = -18.248."""
    snapshot, groups, clusters = box
    found = add_new_stars(clusters, groups, snapshot, since=100.0)
    some = found["n_new"] > 0
    rate = found["sfr_new"].value[some]
    assert rate == pytest.approx(found["mass_new"].value[some] / 1e8, rel=1e-12)
    assert (found["m_uv"].value[some] + 2.5 * np.log10(rate)) == pytest.approx(-18.248, abs=1e-3)
    none = add_new_stars(clusters, groups, snapshot, since=1e-6)
    assert np.isnan(none["m_uv"].value[none["n_new"] == 0]).all()


def pair(*, earlier=(1, 2, 3), later=(3, 1, 7, 2, 9), a=(0.08, 0.1)):
    """Return two snapshots with stars of these identifiers."""
    made = []
    for ids, time in zip((earlier, later), a, strict=True):
        stars = {
            "Coordinates": np.ones((len(ids), 3)),
            "Masses": np.ones(len(ids)),
            "Velocities": np.zeros((len(ids), 3)),
        }
        stars["ParticleIDs"] = np.array(ids, dtype=np.uint64)
        header = {"h": 0.7, "omega_matter": 0.3, "omega_lambda": 0.7, "omega_baryon": 0.05}
        made.append(Snapshot.from_arrays({"stars": stars} if ids else {}, box_size=100.0, time=time, **header))
    return made


def test_stars_that_an_earlier_snapshot_does_not_have_are_new():
    before, now = pair()
    assert new_stars(now, previous=before).tolist() == [False, False, True, False, True]
    first, now = pair(earlier=())
    assert new_stars(now, previous=first).all()


def test_what_new_stars_need_is_said(box):
    snapshot, groups, clusters = box
    before, now = pair()
    for call, said in (
        (lambda: new_stars(now), "give one of since="),
        (lambda: new_stars(now, since=3.0, previous=before), "give one of since="),
        (lambda: new_stars(now, since=3.0), "does not say when its stars formed; give previous="),
        (lambda: new_stars(snapshot, since=-1.0), "above 0"),
        (lambda: new_stars(snapshot, since=np.nan), "above 0"),
        (lambda: new_stars(snapshot, since="ten"), "since is not numeric"),
        (lambda: new_stars(snapshot, since=1 * u.kpc), "does not convert"),
        (lambda: new_stars(before, previous=now), "not before"),
        (lambda: new_stars(now, previous="snap_003"), "give an earlier snapshot"),
        (lambda: add_new_stars(clusters, groups, now, previous=before), "give the groups"),
        (lambda: add_new_stars(QTable(), groups, snapshot, since=1.0), "no column group"),
    ):
        with pytest.raises(InputError, match=said):
            call()


def test_counts_are_those_of_a_histogram_and_ratios_those_of_the_counts():
    both = {"DMP-GS": table([2e4, 3e4, 2e5, 4e5]), "SP": table([2e4, 2.5e4, 3e5])}
    found = number_counts(both, [1e4, 1e5, 1e6])
    mine = found[found["mode"] == "SP"]
    assert mine["n"].tolist() == [2, 1]
    assert mine["ratio"].tolist() == [1.0, 0.5]
    old = number_ratio(both, "DMP-GS", [1e4, 1e5, 1e6])
    assert mine["ratio"].tolist() == old["SP"][1].tolist()
    alone = found[found["mode"] == "DMP-GS"]
    assert alone["ratio"].tolist() == [1.0, 1.0]
    assert alone["ratio_err_hi"].tolist() == [0.0, 0.0]
    assert found["low"].unit == u.Msun
    # Default bins hold every cluster.
    assert number_counts(both)["n"].sum() == 7
    assert np.isnan(number_counts(both, reference=None)["ratio"]).all()


def test_intervals_hold_68_percent_of_means_and_ratios():
    """Over means drawn from the flat prior, as Bayesian intervals do; 2000 trials scatter by 1 %, the number itself widens."""
    rng = np.random.default_rng(5)
    hits = {"n": 0, "ratio": 0}
    mean = rng.uniform(3, 40, (2000, 2))
    drawn = rng.poisson(mean)
    for (one, two), (n, base) in zip(mean.tolist(), drawn.tolist(), strict=True):
        if not base:
            continue
        both = number_counts({"a": table(np.full(base, 2.0)), "b": table(np.full(n, 2.0))}, [1, 3], reference="a")
        row = both[both["mode"] == "b"][0]
        hits["n"] += row["n"] - row["n_err_lo"] <= one <= row["n"] + row["n_err_hi"]
        hits["ratio"] += row["ratio"] - row["ratio_err_lo"] <= one / two <= row["ratio"] + row["ratio_err_hi"]
    assert 0.64 < hits["n"] / 2000 < 0.74
    assert 0.64 < hits["ratio"] / 2000 < 0.74


def test_counts_that_cannot_be_are_said():
    both = {"DMP-GS": table([2e4]), "SP": table([2e4])}
    for arguments, said in (
        ({"catalogues": {}}, "at least one mode"),
        ({"catalogues": [table([1])]}, "give a mapping"),
        ({"reference": "x"}, "give one of 'DMP-GS', 'SP', or None"),
        ({"column": "mass_new"}, "add_new_stars makes it"),
        ({"edges": [3, 2, 1]}, "rising"),
        ({"edges": 5.0}, "rising"),
        ({"edges": [1, np.nan]}, "rising"),
        ({"edges": [1, 2] * u.kpc}, "does not convert"),
        ({"edges": "wide"}, "not numeric"),
    ):
        with pytest.raises(InputError, match=said):
            number_counts(**({"catalogues": both} | arguments))


@pytest.mark.real_data
def test_new_stars_of_a_real_pair_are_those_whose_identifiers_are_new(real_data):
    """545 stars at z = 12 are among the 2407 at z = 8, so 1862 are new in whatever mode; they lie in clusters."""
    folder = real_data / "simulation" / "arepo_mini"
    found = {}
    for mode in MODES:
        with (
            read_snapshot(folder / mode / "snap-groupordered_004.hdf5") as before,
            read_snapshot(folder / mode / "snap-groupordered_008.hdf5") as now,
        ):
            new = new_stars(now, previous=before)
            groups = find_groups(now, mode)
            clusters = measure_clusters(now, groups, min_stars=30, min_dm=300)
            found[mode] = add_new_stars(clusters, groups, now, previous=before)
        assert new.sum() == 2407 - 545
        assert (found[mode]["mass_new"] <= found[mode]["mass"] * (1 + 1e-12)).all()
        # 654 Myr less 378 Myr.
        assert found[mode].meta["new_stars"]["interval_myr"] == pytest.approx(276, abs=2)
    counts = number_counts(found, column="mass_new")
    for mode in MODES:
        assert counts["n"][counts["mode"] == mode].sum() == np.count_nonzero(found[mode]["n_new"])
