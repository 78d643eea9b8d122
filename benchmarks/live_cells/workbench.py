"""The workbench on a mock population: seven linked plots, mass-function posterior and bootstrap included."""

# %%
from sc_lab_widgets import Workbench

from sc_lab.mock import make_population

# COUNT is set by the cell before.
catalog = make_population(n=COUNT, rng=1, **({"draws": 0} if COUNT > 10_000 else {})).catalog  # noqa: F821
# %%
wb = Workbench(catalog)
wb
