"""Mock populations, fields of images and snapshots, each with its truth; names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sc_lab.mock.clusters import make_clusters
    from sc_lab.mock.field import MockField, make_field
    from sc_lab.mock.population import MockPopulation, make_population
    from sc_lab.mock.simulated import observe_simulated
    from sc_lab.mock.simulated_recovery import measure_simulated
    from sc_lab.mock.snapshot import MockSnapshot, make_snapshot

__all__ = [
    "MockField",
    "MockPopulation",
    "MockSnapshot",
    "make_clusters",
    "make_field",
    "make_population",
    "make_snapshot",
    "measure_simulated",
    "observe_simulated",
]

#: The field needs the image stages, which the population does without.
_HOME = {
    "make_clusters": "sc_lab.mock.clusters",
    "MockField": "sc_lab.mock.field",
    "make_field": "sc_lab.mock.field",
    "MockPopulation": "sc_lab.mock.population",
    "make_population": "sc_lab.mock.population",
    "MockSnapshot": "sc_lab.mock.snapshot",
    "make_snapshot": "sc_lab.mock.snapshot",
    "measure_simulated": "sc_lab.mock.simulated_recovery",
    "observe_simulated": "sc_lab.mock.simulated",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        msg = f"module 'sc_lab.mock' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}"
        raise AttributeError(msg)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
