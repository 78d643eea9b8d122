"""What each kind of clump, each model and each population looks like, in every plot alike."""

from __future__ import annotations

from typing import Final

from bokeh.palettes import Cividis256, Viridis256

from sc_lab_widgets._style import BLUE, GREEN, GREY, ORANGE, PALETTE, PURPLE, SKY, VERMILION

__all__ = [
    "BOOTSTRAP",
    "CANDIDATE",
    "CLUMP",
    "EXCLUDED",
    "FIELDS",
    "GLOBULAR",
    "LOCAL",
    "MODEL",
    "OBSERVED",
    "POSTERIOR",
    "SELECTED",
    "SEQUENTIAL",
]

CLUMP: Final = GREY
CANDIDATE: Final = BLUE
GLOBULAR: Final = VERMILION
EXCLUDED: Final = PURPLE
SELECTED: Final = ORANGE
OBSERVED: Final = GREEN
MODEL: Final = {"power_law": BLUE, "schechter": VERMILION}
POSTERIOR: Final = SKY
BOOTSTRAP: Final = GREY
#: Local comparison populations, by their name in `sc_lab.reference`; others take `GREY`.
LOCAL: Final = {"ysc": GREEN, "gc_mw": PURPLE, "nsc": ORANGE}
#: Fields, in the order in which they are met; then round again.
FIELDS: Final = PALETTE
#: Without the ends that vanish on a black or a white page.
SEQUENTIAL: Final = {"default": list(Viridis256[50:240]), "age": list(Cividis256[45:235])}
