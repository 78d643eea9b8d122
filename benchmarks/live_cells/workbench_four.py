"""The workbench with as many plots as the other tools show: its view of four density–size planes."""

# %%
from sc_lab_widgets import Workbench

from sc_lab.mock import make_population

# COUNT is set by the cell before.
catalog = make_population(n=COUNT, rng=1).catalog  # noqa: F821 - set by the cell before
# %%
wb = Workbench(catalog, view="density–size")
wb
