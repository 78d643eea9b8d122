"""Quality bits of a detection."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["DetectionFlag"]


class DetectionFlag(IntFlag):
    """What should be known about a detection; the sum of these numbers is in the column ``flags``."""

    #: Nothing to say.
    NONE = 0
    #: Separated from a neighbour that shares its pixels above the threshold.
    BLENDED = 1
    #: A pixel without a value, or without a usable error, lies within 3 pixels of the peak.
    NEAR_MASKED = 2
    #: The peak lies within 5 pixels of the rim of the image.
    NEAR_EDGE = 4
    #: The peak lies within 2 pixels of the rim of the galaxy's contour.
    NEAR_CONTOUR = 8
    #: The peak is broader than the source extractor could hold in memory, or its shape is suspect.
    UNSURE_SHAPE = 16
