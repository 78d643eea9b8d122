"""The notebook user interface of SC Lab: the workbench and its panels, imported when first used."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sc_lab.errors import OptionalDependencyError

if TYPE_CHECKING:
    from sc_lab_widgets.panels.density_size import DensitySizePanel
    from sc_lab_widgets.panels.formation import FormationPanel
    from sc_lab_widgets.panels.gc_colours import GCColourPanel
    from sc_lab_widgets.panels.histograms import HistogramPanel
    from sc_lab_widgets.panels.hosts import HostPanel
    from sc_lab_widgets.panels.mass_function import MassFunctionPanel
    from sc_lab_widgets.panels.picker import ClumpPicker
    from sc_lab_widgets.panels.psf_stars import PsfStars
    from sc_lab_widgets.panels.sed import SedPanel
    from sc_lab_widgets.panels.simulation import SimulationPanel
    from sc_lab_widgets.panels.size_magnitude import SizeMagnitudePanel
    from sc_lab_widgets.panels.table import TablePanel
    from sc_lab_widgets.workbench import Workbench

__all__ = [
    "ClumpPicker",
    "DensitySizePanel",
    "FormationPanel",
    "GCColourPanel",
    "HistogramPanel",
    "HostPanel",
    "MassFunctionPanel",
    "PsfStars",
    "SedPanel",
    "SimulationPanel",
    "SizeMagnitudePanel",
    "TablePanel",
    "Workbench",
]

_NEEDED = ("ipywidgets", "bokeh", "anywidget")


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


_missing = [name for name in _NEEDED if not _is_there(name)]
if _missing:
    _msg = f"sc_lab_widgets needs the notebook extras: pip install 'sc-lab[widgets]' (missing: {', '.join(_missing)})"
    raise OptionalDependencyError(_msg)

#: Where each public name lives.
_HOME = {
    "ClumpPicker": "sc_lab_widgets.panels.picker",
    "DensitySizePanel": "sc_lab_widgets.panels.density_size",
    "FormationPanel": "sc_lab_widgets.panels.formation",
    "GCColourPanel": "sc_lab_widgets.panels.gc_colours",
    "HistogramPanel": "sc_lab_widgets.panels.histograms",
    "HostPanel": "sc_lab_widgets.panels.hosts",
    "MassFunctionPanel": "sc_lab_widgets.panels.mass_function",
    "PsfStars": "sc_lab_widgets.panels.psf_stars",
    "SedPanel": "sc_lab_widgets.panels.sed",
    "SimulationPanel": "sc_lab_widgets.panels.simulation",
    "SizeMagnitudePanel": "sc_lab_widgets.panels.size_magnitude",
    "TablePanel": "sc_lab_widgets.panels.table",
    "Workbench": "sc_lab_widgets.workbench",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        msg = f"module 'sc_lab_widgets' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}"
        raise AttributeError(msg)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *_HOME})
