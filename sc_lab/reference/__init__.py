"""Published comparison data: contours of local populations, small samples, the tables of the paper."""

from __future__ import annotations

from sc_lab.reference.contours import CONTOURS, Contour, contour_info, contours
from sc_lab.reference.fetch import VIZIER, LocalPopulation, fetch, populations
from sc_lab.reference.magnitudes import (
    MAGNITUDE_CONTOURS,
    MagnitudeContour,
    magnitude_contour_info,
    magnitude_contours,
)
from sc_lab.reference.tables import SAMPLES, citation, glimpse_table1, glimpse_table2, sample

__all__ = [
    "CONTOURS",
    "MAGNITUDE_CONTOURS",
    "SAMPLES",
    "VIZIER",
    "Contour",
    "LocalPopulation",
    "MagnitudeContour",
    "citation",
    "contour_info",
    "contours",
    "fetch",
    "glimpse_table1",
    "glimpse_table2",
    "magnitude_contour_info",
    "magnitude_contours",
    "populations",
    "sample",
]
