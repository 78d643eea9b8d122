"""Completeness by injection and recovery in real images, and the selection function that it makes."""

from __future__ import annotations

from sc_lab.completeness.records import Outcome
from sc_lab.completeness.result import CLASSES, Completeness
from sc_lab.completeness.run import inject_recover
from sc_lab.completeness.statistics import Bias, Cells, Pull

__all__ = ["CLASSES", "Bias", "Cells", "Completeness", "Outcome", "Pull", "inject_recover"]
