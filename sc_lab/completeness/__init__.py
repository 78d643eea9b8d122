"""Completeness by injection and recovery in real images, and the selection function that it makes."""

from __future__ import annotations

from sc_lab.completeness.result import CLASSES, Bias, Cells, Completeness, Pull
from sc_lab.completeness.run import inject_recover

__all__ = ["CLASSES", "Bias", "Cells", "Completeness", "Pull", "inject_recover"]
