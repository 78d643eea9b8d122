"""Colours: the globular-cluster box and the probability of lying in it."""

from sc_lab.colours.gc_box import GC_BOX, GCMembership, gc_membership, simple_polygon

__all__ = ["GC_BOX", "GCMembership", "gc_membership", "simple_polygon"]
