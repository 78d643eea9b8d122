"""The workbench on images: cut-outs of a mock field, model and residual, and the population plots below."""

# %%
from sc_lab_widgets import Workbench

from sc_lab.detection import detect_clumps
from sc_lab.mock import make_field

# COUNT, set by the cell before, is the seed.
field = make_field(seed=COUNT)  # noqa: F821 - set by the cell before
clumps = detect_clumps(field)
# %%
wb = Workbench(field, clumps=clumps)
wb
