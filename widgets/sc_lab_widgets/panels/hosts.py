"""Histograms of the host galaxies: stellar mass, star-formation rate over 10 Myr, median magnification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as ui
import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, LayoutDOM, Span

from sc_lab.errors import InputError, ScLabError
from sc_lab.population.hosts import HOST_QUANTITIES, HostHistogram, host_histograms
from sc_lab_widgets._alone import Alone
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets._figures import LIVE, new_figure, side_by_side, up_to_step
from sc_lab_widgets._panel import Controls
from sc_lab_widgets._style import ORANGE
from sc_lab_widgets._symbols import CANDIDATE

if TYPE_CHECKING:
    from bokeh.plotting import figure

    from sc_lab_widgets._pane import BokehPane, Key

__all__ = ["HostPanel"]

#: Figure 4 of Claeyssens et al. 2026.
_SHOWN = ("mass", "sfr10", "mu_median")

_HELP = (
    ("[ and ]", "fewer and more bins"),
    ("R", "show all bins"),
    ("?", "this list"),
)


class HostPanel(Alone):
    """Figure 4 of the paper from a table of hosts; it stands alone in a cell.

    Parameters
    ----------
    table : QTable or path
        What `sc_lab.clumps.hosts.fit_hosts` returns, or a file that it was written to.
    quantities : tuple of str
        Keys of `sc_lab.population.hosts.HOST_QUANTITIES`, one figure each.
    bins : int
        Bins to begin with.

    Attributes
    ----------
    controls : Controls
        ``bins``.
    figures : dict of str to figure
        ``host_<quantity>``.

    Raises
    ------
    InputError
        If the table has not the columns, or a quantity is not known.
    """

    title = "Host galaxies"
    label = "SC Lab host galaxies: histograms"

    def __init__(self, table: Any, *, quantities: tuple[str, ...] = _SHOWN, bins: int = 12) -> None:
        super().__init__()
        self._path = str(table) if not hasattr(table, "colnames") else None
        self.table = _read(table)
        self.quantities = (quantities,) if isinstance(quantities, str) else tuple(quantities)
        if not self.quantities:
            msg = f"quantities is empty; choose from {', '.join(HOST_QUANTITIES)}"
            raise InputError(msg)
        # Refused before anything is drawn.
        host_histograms(self.table, quantities=self.quantities, bins=bins)
        self.sources: dict[str, ColumnDataSource] = {}
        self._medians: dict[str, Span] = {}
        self._ranges: dict[str, tuple[float, float, float]] = {}
        for name in self.quantities:
            self.figures[f"host_{name}"] = self._figure(name)
        self.controls = Controls(
            bins=LiveSlider(
                float(bins), 2.0, 40.0, 1.0, label="bins", format=".0f", hint="number of equal bins of each histogram",
                layout={"width": "330px"},
            )
        )  # fmt: skip
        self.controls.bins.on_change(lambda _value, _final: self._refresh())
        plots = list(self.figures.values())
        self.root = side_by_side(plots) if len(plots) > 1 else plots[0]
        self._refresh()

    def _figure(self, name: str) -> figure:
        entry = HOST_QUANTITIES[name]
        label = f"log₁₀ {entry.title}" if entry.log else entry.title
        plot = new_figure(
            f"host_{name}", self.title, label, "hosts", height=280, live_title=True, x_range=(0, 1), y_range=(0, 1)
        )
        source = ColumnDataSource({"left": [], "right": [], "count": []})
        plot.quad(
            left="left", right="right", bottom=0, top="count", source=source, fill_color=CANDIDATE, fill_alpha=0.75,
            line_color=CANDIDATE, **LIVE,
        )  # fmt: skip
        # The median differs from the bars in place and dash, not in colour alone.
        median = Span(dimension="height", line_color=ORANGE, line_width=2.5, line_dash="dashed", **LIVE)
        plot.add_layout(median)
        plot.add_tools(HoverTool(tooltips=[("from", "@left{0.[00]}"), ("to", "@right{0.[00]}"), ("hosts", "@count")]))
        self.sources[name], self._medians[name] = source, median
        return plot

    # ---- what it gives -----------------------------------------------------------------------
    @property
    def result(self) -> dict[str, HostHistogram]:
        """What the call that `code` prints gives."""
        return host_histograms(self.table, quantities=self.quantities, bins=self._bins)

    @property
    def _bins(self) -> int:
        return round(float(self.controls.bins.value))

    def code(self) -> str:
        """Return the plain-Python text that counts the hosts without any widget.

        Returns
        -------
        str
            Runnable text; it needs the variable ``hosts`` where the panel was given a table. Its last line assigns
            ``result``.
        """
        imports, source = (
            "from sc_lab.population.hosts import host_histograms\n\n",
            "# hosts: the table that was handed to the panel\n",
        )
        if self._path is not None:
            imports = f"from astropy.table import QTable\n{imports}"
            source = f"hosts = QTable.read({self._path!r})\n"
        call = f"result = host_histograms(hosts, quantities={self.quantities!r}, bins={self._bins})\n"
        return imports + source + call

    # ---- bringing up to date -------------------------------------------------------------------
    def _refresh(self) -> None:
        try:
            found = self.result
        except ScLabError as error:
            self.message.report(error)
            return
        for name, histogram in found.items():
            plot = self.figures[f"host_{name}"]
            self.sources[name].data = {
                "left": histogram.edges[:-1],
                "right": histogram.edges[1:],
                "count": histogram.counts.astype(np.float32),
            }
            known = int(histogram.counts.sum())
            self._medians[name].update(location=histogram.median if known else 0.0, visible=known > 0)
            low, high = float(histogram.edges[0]), float(histogram.edges[-1])
            margin = 0.05 * (high - low)
            frame = (low - margin, high + margin, up_to_step(max(1.0, 1.05 * float(histogram.counts.max())), steps=10))
            if self._ranges.get(name) != frame:
                self._ranges[name] = frame
                plot.x_range.update(start=frame[0], end=frame[1])
                plot.y_range.update(start=0, end=frame[2])
            title = f"{known} hosts"
            if known:
                title += f", median {histogram.median:.2f}"
            if histogram.n_missing:
                title += f", {histogram.n_missing} without a value"
            if plot.title.text != title:
                plot.title.text = title

    def press(self, key: Key) -> bool:
        """Do what a key means.

        Parameters
        ----------
        key : Key
            The key.

        Returns
        -------
        bool
            Whether the key was taken.
        """
        name = key.name.lower()
        if name in {"[", "]"}:
            self.controls.bins.value = float(np.clip(self._bins + (1 if name == "]" else -1), 2, 40))
            self._refresh()
        elif name == "r":
            self._ranges.clear()
            self._refresh()
        elif name == "?":
            self.message.show_list(_HELP)
        else:
            return False
        return True

    # ---- as a widget ---------------------------------------------------------------------------
    def _plots(self) -> LayoutDOM:
        return self.root

    def _parts(self, pane: BokehPane) -> list[ui.Widget]:
        return [self.controls.bins, pane, self.message]


def _read(table: Any) -> Any:
    """Return a table, read where it is a path."""
    if hasattr(table, "colnames"):
        return table
    from os import PathLike

    if not isinstance(table, (str, PathLike)):
        msg = (
            f"the panel of hosts shows a table, not a {type(table).__name__}; give what fit_hosts returns, or its file"
        )
        raise InputError(msg)
    from astropy.table import QTable

    try:
        return QTable.read(str(table))
    except (OSError, ValueError) as error:
        msg = f"{table} cannot be read as a table ({error}); give what fit_hosts returns, written as .ecsv"
        raise InputError(msg) from error
