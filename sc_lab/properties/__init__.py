"""Physical properties of clumps: joint draws, their summaries, and the choice of star-cluster candidates."""

from sc_lab.properties.candidates import DEFAULT_SIZE_THRESHOLD, select_candidates
from sc_lab.properties.draws import Draws, joint_draws
from sc_lab.properties.models import LensScaling, ReferenceValues, lens_models, lens_scaling, reference_values
from sc_lab.properties.summary import summarise

__all__ = [
    "DEFAULT_SIZE_THRESHOLD",
    "Draws",
    "LensScaling",
    "ReferenceValues",
    "joint_draws",
    "lens_models",
    "lens_scaling",
    "reference_values",
    "select_candidates",
    "summarise",
]
