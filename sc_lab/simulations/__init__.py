"""Star clusters in cosmological simulations."""

from sc_lab.simulations.catalogues import GroupCatalogue, compare_groups, read_groups
from sc_lab.simulations.clusters import measure_clusters, virial_fraction
from sc_lab.simulations.convergence import linking_length_test
from sc_lab.simulations.counts import add_new_stars, number_counts
from sc_lab.simulations.environment import add_environment, halo_table
from sc_lab.simulations.figures import (
    TimescaleLines,
    Violin,
    box_volume,
    gas_phases,
    halo_gas,
    timescale_lines,
    violins,
)
from sc_lab.simulations.fof import friends_of_friends
from sc_lab.simulations.groups import MODES, Groups, find_groups, linking_length
from sc_lab.simulations.halos import HaloModel, virial_radius
from sc_lab.simulations.header import Header
from sc_lab.simulations.maps import ParticleMap, particle_map
from sc_lab.simulations.overlay import STATES, as_catalog, cluster_states, stack_catalogs
from sc_lab.simulations.populations import (
    bimodality,
    cumulative_mass_function,
    number_ratio,
    virial_fractions,
    virial_ks,
)
from sc_lab.simulations.slabs import friends_of_friends_in_slabs
from sc_lab.simulations.snapshot import TYPES, Particles, Snapshot, read_snapshot, with_header
from sc_lab.simulations.stars import new_stars, star_ages

__all__ = [
    "MODES",
    "STATES",
    "TYPES",
    "GroupCatalogue",
    "Groups",
    "HaloModel",
    "Header",
    "ParticleMap",
    "Particles",
    "Snapshot",
    "TimescaleLines",
    "Violin",
    "add_environment",
    "add_new_stars",
    "as_catalog",
    "bimodality",
    "box_volume",
    "cluster_states",
    "compare_groups",
    "cumulative_mass_function",
    "find_groups",
    "friends_of_friends",
    "friends_of_friends_in_slabs",
    "gas_phases",
    "halo_gas",
    "halo_table",
    "linking_length",
    "linking_length_test",
    "measure_clusters",
    "new_stars",
    "number_counts",
    "number_ratio",
    "particle_map",
    "read_groups",
    "read_snapshot",
    "stack_catalogs",
    "star_ages",
    "timescale_lines",
    "violins",
    "virial_fraction",
    "virial_fractions",
    "virial_ks",
    "virial_radius",
    "with_header",
]
