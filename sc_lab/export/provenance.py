"""The provenance of an export: everything that is needed to make it again, and nothing that changes by itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import astropy
import numpy as np
import scipy

from sc_lab._version import __version__
from sc_lab.catalog.formats import META_KEY
from sc_lab.cosmology import describe, make_cosmology

if TYPE_CHECKING:
    from sc_lab.population import Population

__all__ = ["provenance", "record_json"]


def provenance(population: Population) -> dict[str, Any]:
    """Return the provenance of a population as JSON values.

    Parameters
    ----------
    population : Population
        The analysed catalogue.

    Returns
    -------
    dict
        Software versions, input file and hash, cosmology, lens model, every setting, the
        manual edits and the seed; for a list measured on images also their hashes, the reference
        band, the mode, the lens models and the settings of the SED fits (engine, stellar library with its title and
        digest, model, priors); for SEDs fitted anew in a session, their settings under ``sed``. There is no time in
        it: the same analysis gives the same bytes on any day.
    """
    settings = population.settings
    origin = population.catalog.meta.get(META_KEY, {})
    return {
        "software": {
            "sc_lab": __version__,
            "numpy": np.__version__,
            "astropy": astropy.__version__,
            "scipy": scipy.__version__,
        },
        "source": origin.get("source", ""),
        "sha256": origin.get("sha256", ""),
        "column_map": origin.get("column_map"),
        "citation": origin.get("citation", ""),
        "input_notes": list(origin.get("notes", [])),
        "input_cosmology": dict(origin.get("cosmology") or {}),
        "cosmology": describe(make_cosmology(settings.hubble, settings.omega_m, settings.omega_de)),
        "lens_model": settings.lens_model or origin.get("lens_model", "") or "reference",
        "settings": settings.to_dict(),
        "seed": settings.seed,
        "edits": {
            "excluded": _pairs(population.excluded),
            "kept": sorted(str(each) for each in population.kept),
            "notes": _pairs(population.notes),
            **_clump_edits(origin),
        },
        **{name: origin[name] for name in ("observation", "sed") if isinstance(origin.get(name), Mapping)},
    }


def _clump_edits(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was edited in the clump list, where there is one."""
    edits = origin.get("clump_edits")
    return {"clumps": dict(edits)} if isinstance(edits, Mapping) else {}


def _pairs(edits: Mapping[str, str] | Iterable[Any]) -> list[list[str]]:
    """Return (id, text) edits sorted by id, so that the order of clicks does not change the bytes."""
    items = edits.items() if isinstance(edits, Mapping) else [(e, "") if isinstance(e, str) else e for e in edits]
    return sorted([str(name), str(text)] for name, text in items)


def record_json(meta: Mapping[str, Any]) -> str:
    """Return the provenance of a table as one line of ASCII JSON.

    Parameters
    ----------
    meta : mapping
        Metadata of a table.

    Returns
    -------
    str
        A JSON object, ``{}`` when there is no provenance.
    """
    return json.dumps(meta.get(META_KEY, {}), ensure_ascii=True, default=str)
