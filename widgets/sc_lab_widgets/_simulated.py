"""The layer of simulated clusters in a plane of size and density: a symbol for each state, drawn once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import astropy.units as u
import numpy as np
from astropy.table import Table
from bokeh.models import ColumnDataSource, HoverTool

from sc_lab.density_size import surface_density
from sc_lab.errors import InputError
from sc_lab.simulations import STATES, Groups, Snapshot, as_catalog, measure_clusters, stack_catalogs
from sc_lab.units import value_in
from sc_lab_widgets._style import GREY, SKY, VERMILION

if TYPE_CHECKING:
    from bokeh.models import GlyphRenderer
    from bokeh.plotting import figure

__all__ = ["LOOKS", "SimulatedLayer", "simulated_catalog"]

#: Marker, colour, whether it is filled, and size [px] of each state of a simulated cluster.
LOOKS: Final[dict[str, tuple[str, str, bool, int]]] = {
    "virialised": ("diamond", VERMILION, True, 9),
    "bound": ("inverted_triangle", SKY, False, 8),
    "unbound": ("cross", GREY, False, 9),
}
_COLUMNS = ("r_eff", "sigma_mass", "id", "field", "virial_ratio", "row")


def simulated_catalog(given: Any) -> Any:
    """Return simulated clusters as one catalogue, or None for none.

    Parameters
    ----------
    given : Table, (Snapshot, Groups), sequence or mapping of these, or None
        From `sc_lab.simulations.measure_clusters` or `sc_lab.simulations.as_catalog`; or a snapshot with its groups, whose
        clusters are measured here; the keys of a mapping are names.

    Returns
    -------
    QTable or None
        A checked catalogue with a column ``state``.
    """
    if given is None:
        return None
    tables = {str(name): _measured(each) for name, each in given.items()} if isinstance(given, Mapping) else None
    if tables is not None:
        return stack_catalogs([as_catalog(table, field=name) for name, table in tables.items() if len(table)])
    table = _measured(given)
    if isinstance(table, Table):
        return table if "state" in table.colnames else as_catalog(table)
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        each = [_measured(one) for one in given]
        return stack_catalogs([simulated_catalog(one) for one in each if not isinstance(one, Table) or len(one)])
    msg = (
        f"simulated is a {type(given).__name__}; give the table of measure_clusters or as_catalog, a snapshot with its "
        "groups as a pair, or several of them"
    )
    raise InputError(msg)


def _measured(given: Any) -> Any:
    """Return the clusters of a snapshot and its groups; anything else as it is."""
    if isinstance(given, Snapshot):
        msg = "simulated is a Snapshot without groups; give the pair of it and of what find_groups found in it"
        raise InputError(msg)
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Snapshot) and isinstance(given[1], Groups):
        return measure_clusters(*given)
    return given


class SimulatedLayer:
    """Simulated clusters in a plane, by state.

    Attributes
    ----------
    sources : dict of str to ColumnDataSource
        What is drawn, by state.
    r_eff, mass : ndarray
        Of all clusters [pc, Msun].
    """

    def __init__(self, catalog: Any = None) -> None:
        self.sources = {
            state: ColumnDataSource({name: [] for name in _COLUMNS}, name=f"simulated, {state}") for state in STATES
        }
        self.renderers: list[GlyphRenderer] = []
        self.take(catalog)

    def take(self, catalog: Any) -> None:
        """Take other clusters; `fill` shows them.

        Parameters
        ----------
        catalog : QTable or None
            With ``r_eff``, ``mass`` and ``state``.
        """
        if catalog is None or not len(catalog):
            self.r_eff = self.mass = np.empty(0)
            self.state = self.ids = self.fields = np.empty(0, dtype=str)
            self.ratio = np.empty(0)
            return
        self.r_eff, self.mass = (np.asarray(catalog[name].value, dtype=float) for name in ("r_eff", "mass"))
        self.state, self.ids, self.fields = (np.asarray(catalog[name], dtype=str) for name in ("state", "id", "field"))
        # A plain array: columns of tables arrive in the browser garbled.
        self.ratio = value_in(catalog["virial_ratio"], u.one, "virial_ratio")

    def sigma(self, within: str = "half") -> np.ndarray:
        """Return the surface density of every cluster.

        Parameters
        ----------
        within : {"half", "total"}
            Convention of the surface density.

        Returns
        -------
        ndarray
            In Msun/pc2.
        """
        if not len(self.mass):
            return np.empty(0)
        return np.asarray(surface_density(self.mass, self.r_eff, within=within).value)

    def draw(self, plot: figure, *, legend: str = "simulated, ") -> None:
        """Draw the layer; it lies with the data that sliders do not change.

        Parameters
        ----------
        plot : figure
            The plane, effective radius along, surface density up.
        legend : str
            What stands before the state in the legend.
        """
        for state, (marker, colour, filled, size) in LOOKS.items():
            drawn = plot.scatter(
                "r_eff", "sigma_mass", source=self.sources[state], marker=marker, size=size, line_width=1.4,
                line_color=colour, fill_color=colour if filled else None, fill_alpha=0.85, line_alpha=0.95,
                legend_label=f"{legend}{state}",
            )  # fmt: skip
            self.renderers.append(drawn)
        tips = [("simulated", "@id"), ("field", "@field"), ("|U|/K", "@virial_ratio{0.00}")]
        tips += [("R [pc]", "@r_eff{0.0}"), ("Σ [M☉ pc⁻²]", "@sigma_mass{0.}")]
        plot.add_tools(HoverTool(renderers=self.renderers[-len(LOOKS) :], tooltips=tips, limit=1))

    def fill(self, within: str = "half") -> None:
        """Show the clusters.

        Parameters
        ----------
        within : {"half", "total"}
            Convention of the surface density.
        """
        sigma = self.sigma(within)
        for state, source in self.sources.items():
            rows = np.flatnonzero(self.state == state)
            source.data = {
                "r_eff": self.r_eff[rows],
                "sigma_mass": sigma[rows],
                "id": self.ids[rows].tolist(),
                "field": self.fields[rows].tolist(),
                "virial_ratio": self.ratio[rows],
                "row": rows,
            }
