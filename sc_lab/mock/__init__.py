"""A mock population of clumps shaped like the published one, with its truth."""

from sc_lab.mock.population import MockPopulation, make_population

__all__ = ["MockPopulation", "make_population"]
