"""The workbench in its view of SEDs: the selected clump's SED above three planes of the population."""

# %%
from sc_lab_widgets import Workbench

from sc_lab.mock import make_population

# COUNT, set by the cell before, is the seed.
population = make_population(rng=COUNT)  # noqa: F821 - set by the cell before
# %%
wb = Workbench(population.catalog, view="SED")
wb
