"""Whatever is given to a function of the simulation side: an answer, or a sentence; never an error of Python's own."""

import inspect

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from sc_lab import simulations
from sc_lab.errors import InputError, ScLabError
from sc_lab.mock import make_snapshot
from sc_lab.simulations import HaloModel, Snapshot, as_catalog, find_groups, halo_table, measure_clusters, timescales
from sc_lab.simulations.maps import count_in_cells
from sc_lab.simulations.profiles import half_mass_radius, motions, projected_half_mass_radius

WRONG = {
    "text": "text",
    "number as text": "0.2",
    "None": None,
    "NaN": float("nan"),
    "negative": -1.5,
    "zero": 0,
    "infinite": float("inf"),
    "square": np.ones((2, 2)),
    "lengths": np.ones(3) * u.kpc,
    "time": 3 * u.s,
    "empty": [],
    "mixed": [1, "a"],
    "mapping": {},
    "number": 3,
    "table": QTable(),
    "object": object(),
}


@pytest.fixture(scope="module")
def given():
    """Return arguments with which every function works, by function."""
    box = make_snapshot(4, n_side=20, n_clusters=4, n_haloes=2)
    groups, haloes = find_groups(box, "SGP"), find_groups(box, "DMP-GS")
    clusters = measure_clusters(box, groups, min_stars=50)
    model = HaloModel()
    three, ones = np.eye(3), np.ones(3)
    return {
        simulations.find_groups: {"snapshot": box, "mode": "SP", "primary": None, "secondary": None, "b": 0.2, "rule": "arepo",
                                  "length": None, "min_length": 32, "reach": 6.4, "critical": None},
        simulations.linking_length: {"snapshot": box, "primary": (4,), "b": 0.2, "rule": "arepo", "critical": None},
        simulations.measure_clusters: {"snapshot": box, "groups": groups, "min_stars": 10**6, "min_dm": 300, "centre": "stars",
                                       "size": "space", "virial_range": (1.5, 2.5), "hubble_flow": False, "softening": 0.0,
                                       "method": "auto", "ages": None, "wind": False},
        simulations.star_ages: {"snapshot": box},
        simulations.virial_fraction: {"clusters": clusters},
        simulations.new_stars: {"snapshot": box, "since": 10.0, "previous": None, "ages": None},
        simulations.add_new_stars: {"clusters": clusters, "groups": groups, "snapshot": box, "since": 10.0},
        simulations.number_counts: {"catalogues": {"a": clusters}, "edges": None, "column": "mass", "reference": "a"},
        simulations.number_ratio: {"catalogues": {"a": clusters}, "reference": "a", "edges": [1e4, 1e5], "column": "mass"},
        simulations.cumulative_mass_function: {"clusters": clusters, "volume": 1.0, "column": "mass"},
        simulations.virial_fractions: {"catalogues": [clusters]},
        simulations.virial_ks: {"clusters": clusters, "column": "mass"},
        simulations.bimodality: {"values": np.arange(20.0) ** 2, "iterations": 5},
        simulations.violins: {"samples": {"a": clusters}, "column": "sigma_mass", "split": True, "points": 50},
        simulations.timescale_lines: {"clusters": clusters, "z": 12.0, "mass": None, "densities": (0.5, 100.0), "f_h2": 5e-4,
                                      "model": None},
        simulations.gas_phases: {"snapshot": box, "groups": groups, "bins": 10},
        simulations.halo_gas: {"snapshot": box, "groups": haloes, "min_gas": 20},
        simulations.box_volume: {"snapshot": box},
        simulations.halo_table: {"snapshot": box, "groups": haloes, "min_dm": 32},
        simulations.add_environment: {"clusters": clusters, "haloes": halo_table(box, haloes), "snapshot": box,
                                      "radii": (5.0, 10.0)},
        simulations.particle_map: {"snapshot": box, "kind": "stars", "axis": "z", "extent": None, "shape": (20, 20),
                                   "mass": False, "method": "auto"},
        count_in_cells: {"position": three, "extent": (0, 2, 0, 2), "shape": (4, 4), "axis": "z", "weights": None,
                         "box_size": 2.0, "method": "numpy"},
        simulations.read_snapshot: {"source": "no file"},
        simulations.read_groups: {"source": "no file", "header": box.header},
        simulations.compare_groups: {"groups": groups, "catalogue": None},
        simulations.as_catalog: {"clusters": clusters, "field": None, "size": "given"},
        simulations.cluster_states: {"clusters": clusters},
        simulations.stack_catalogs: {"catalogs": [as_catalog(clusters)]},
        simulations.linking_length_test: {"snapshot": box, "mode": "SP", "b": (0.2,), "of": "stars", "min_stars": 50,
                                          "min_dm": 100, "reference": 0.2, "edges": None, "rule": "arepo"},
        simulations.with_header: {"snapshot": box, "h": 0.7, "redshift": 12.0},
        Snapshot.from_arrays: {"particles": {"stars": {"Coordinates": three}}, "box_size": 3.0, "redshift": 3.0, "h": 0.7},
        Snapshot.from_yt: {"ds": None}, Snapshot.from_pynbody: {"sim": None},
        simulations.virial_radius: {"mass": 1e8, "z": 12.0, "model": None},
        HaloModel: {"omega_matter": 0.3, "omega_lambda": 0.7, "omega_baryon": 0.04, "h": 0.7, "sigma_8": 0.8, "n_s": 0.96},
        model.number_above: {"mass": [1e8, 1e9], "z": 12.0, "top": 1e14},
        model.number_per_log_mass: {"mass": [1e8, 1e9], "z": 12.0},
        model.sigma: {"mass": 1e8, "z": 12.0}, model.growth: {"z": 12.0}, model.transfer: {"k": 1.0},
        timescales.cooling_function: {"temperature": 500.0, "density": 1.0},
        timescales.jeans_temperature: {"mass": 1e5, "density": 1.0},
        timescales.cooling_time: {"mass": 1e5, "density": 1.0, "f_h2": 5e-4, "start": 500.0},
        timescales.dynamical_time: {"mass": 1e5, "density": 1.0, "total": None},
        timescales.virialisation_time: {"mass": 1e5, "density": 1.0, "total": None, "f_h2": 5e-4, "start": 500.0},
        timescales.interaction_time: {"halo_mass": 1e6, "radius": 0.01, "z": 12.0, "neighbours": 6.0, "distance": None,
                                      "h": 0.71, "speed": 16.6, "model": None},
        timescales.can_virialise: {"virialisation": 1.0, "age": 2.0, "interaction": 3.0},
        timescales.fit_relation: {"x": [1e4, 1e5, 1e6], "y": [1e4, 2e5, 1e6]},
        half_mass_radius: {"position": three, "mass": ones, "centre": ones},
        projected_half_mass_radius: {"position": three, "mass": ones, "centre": ones, "directions": 4, "rng": 0},
        motions: {"position": three, "velocity": three, "mass": ones, "centre": ones, "mean": ones},
        make_snapshot: {"seed": 1, "n_side": 12, "n_clusters": 1, "n_haloes": 0, "in_halo": 0.0, "kinds": (0.5, 0.25, 0.25),
                        "redshift": 12.0, "name": "a"},
    }  # fmt: skip


# An absurd number may overflow; what matters is that it is said or answered.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("what", WRONG)
def test_every_argument_of_every_function_is_answered_or_refused_in_words(given, what):
    raised, said = [], []
    for function, arguments in given.items():
        for name in arguments:
            try:
                function(**(arguments | {name: WRONG[what]}))
            except ScLabError as error:
                said.append(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
                raised.append(f"{function.__qualname__}({name}={what}): {type(error).__name__}: {error}")
    assert not raised, "\n".join(raised)
    assert min(map(len, said)) > 15


def test_the_sweep_holds_every_public_function(given):
    swept = {function.__name__ for function in given}
    public = {name for name in simulations.__all__ if inspect.isfunction(getattr(simulations, name))}
    # Friends-of-friends itself has tests of its own for what it is given.
    assert public - swept <= {"friends_of_friends", "friends_of_friends_in_slabs"}


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("find_groups", {"b": "0.2"}, "b is '0.2'; give a number above 0"),
        ("find_groups", {"b": np.nan}, "b is nan; give a number above 0"),
        ("find_groups", {"mode": None, "primary": "stars"}, "give types from 0 to 5: 0 gas"),
        ("find_groups", {"length": -1.0}, "a linking length above 0"),
        ("find_groups", {"snapshot": "snap.hdf5"}, "snapshot is a str; give a Snapshot, from read_snapshot"),
        ("measure_clusters", {"virial_range": 3}, "virial_range is 3; give two numbers above 0"),
        ("measure_clusters", {"virial_range": (2.5, 1.5)}, "rising order"),
        ("measure_clusters", {"groups": None}, "groups is a NoneType; give a Groups, from find_groups"),
        ("measure_clusters", {"min_stars": -1}, "a whole number from 0 on"),
        ("particle_map", {"shape": 600}, "rows and columns"),
        ("halo_table", {"min_dm": "many"}, "a whole number from 0 on"),
        ("virial_fraction", {"clusters": QTable()}, "no column bound, virialised; give a table, from measure_clusters"),
    ],
)
def test_a_sentence_says_what_was_given_and_what_to_give(given, name, arguments, said):
    function = getattr(simulations, name)
    with pytest.raises(InputError, match=said):
        function(**(given[function] | ({"min_stars": 1} if name == "measure_clusters" else {}) | arguments))
