"""Export: catalogues in five formats, DS9 regions and LaTeX, with their provenance inside."""

from __future__ import annotations

from sc_lab.export.latex import latex_escape, latex_table
from sc_lab.export.provenance import provenance
from sc_lab.export.regions import write_regions
from sc_lab.export.tables import EXPORT_FORMATS, catalog_table, write_table

__all__ = [
    "EXPORT_FORMATS",
    "catalog_table",
    "latex_escape",
    "latex_table",
    "provenance",
    "write_regions",
    "write_table",
]
