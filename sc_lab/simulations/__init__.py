"""Star clusters in cosmological simulations."""

from sc_lab.simulations.catalogues import GroupCatalogue, compare_groups, read_groups
from sc_lab.simulations.clusters import measure_clusters, star_ages, virial_fraction
from sc_lab.simulations.fof import friends_of_friends
from sc_lab.simulations.groups import MODES, Groups, find_groups, linking_length
from sc_lab.simulations.header import Header
from sc_lab.simulations.snapshot import TYPES, Particles, Snapshot, read_snapshot, with_header

__all__ = [
    "MODES",
    "TYPES",
    "GroupCatalogue",
    "Groups",
    "Header",
    "Particles",
    "Snapshot",
    "compare_groups",
    "find_groups",
    "friends_of_friends",
    "linking_length",
    "measure_clusters",
    "read_groups",
    "read_snapshot",
    "star_ages",
    "virial_fraction",
    "with_header",
]
