"""Star clusters in cosmological simulations."""

from sc_lab.simulations.fof import friends_of_friends

__all__ = ["friends_of_friends"]
