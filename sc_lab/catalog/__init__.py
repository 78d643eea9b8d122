"""Clump catalogues: one registry of columns, five file formats, column maps for published tables."""

from __future__ import annotations

from sc_lab.catalog.access import flags, texts, values
from sc_lab.catalog.columns import COLUMNS, PATTERNS, Column, column, find_column
from sc_lab.catalog.maps import BUILTIN_MAPS, ColumnMap, Source
from sc_lab.catalog.packing import pack_draws, unpack_draws
from sc_lab.catalog.reading import read_catalog, validate
from sc_lab.catalog.validation import content_sha256

__all__ = [
    "BUILTIN_MAPS",
    "COLUMNS",
    "PATTERNS",
    "Column",
    "ColumnMap",
    "Source",
    "column",
    "content_sha256",
    "find_column",
    "flags",
    "pack_draws",
    "read_catalog",
    "texts",
    "unpack_draws",
    "validate",
    "values",
]
