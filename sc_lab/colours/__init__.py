"""Colours: the globular-cluster box, the probability of lying in it, and the tracks of stellar populations."""

from sc_lab.colours.gc_box import GC_BOX, GCMembership, gc_membership, simple_polygon
from sc_lab.colours.tracks import TRACK_AGES, TRACK_BANDS, gc_tracks

__all__ = ["GC_BOX", "TRACK_AGES", "TRACK_BANDS", "GCMembership", "gc_membership", "gc_tracks", "simple_polygon"]
