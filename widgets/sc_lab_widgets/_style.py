"""Colours shared by every plot: the colour-blind-safe palette of Okabe and Ito and the greys of both themes."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "YELLOW",
]

# Okabe & Ito 2008, "Color Universal Design": distinguishable with every common colour vision.
BLACK: Final = "#000000"
ORANGE: Final = "#e69f00"
SKY: Final = "#56b4e9"
GREEN: Final = "#009e73"
YELLOW: Final = "#f0e442"
BLUE: Final = "#0072b2"
VERMILION: Final = "#d55e00"
PURPLE: Final = "#cc79a7"

# Middle grey: the one neutral that keeps contrast on white and on near-black alike.
GREY: Final = "#8c8c8c"

# In the order of use; black is left out because it disappears in the dark theme, yellow comes last (weak on white).
PALETTE: Final = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW)
