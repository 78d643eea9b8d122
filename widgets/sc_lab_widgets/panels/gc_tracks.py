"""Tracks of stellar populations in the globular-cluster colour plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool

from sc_lab_widgets._style import GREEN, SKY

if TYPE_CHECKING:
    from astropy.table import QTable
    from bokeh.plotting import figure

__all__ = ["TrackLayer"]

#: Metallicities [0.02] by colour and symbol, histories by dashes: told apart without colour too.
_METALS = {0.02: (SKY, "diamond"), 0.4: (GREEN, "circle")}
#: Where an age is written beside its mark: to either side of the two tracks, which cross. Alignment, x, y [px].
_BESIDE = {0.02: ("right", -5, 14), 0.4: ("left", 5, -2)}
_HISTORIES = {"burst": ("burst", "solid"), "constant10": ("10 Myr", "dashed")}
#: Ages with a mark [Myr], and what is written beside it.
_MARKS = {1.0: "1 Myr", 10.0: "10", 100.0: "100", 1000.0: "1 Gyr", 7000.0: "7"}
_COLUMNS = 3
_MARK_COLUMNS = ("x", "y", "age", "track", "colour", "symbol", "text", "align", "right", "down")


class TrackLayer:
    """The tracks of one figure, which come, change with the lens and go.

    Nothing of it lies on the overlay canvas, so a drag does not draw it anew.

    Parameters
    ----------
    plot : figure
        The figure; it has a legend already.
    """

    def __init__(self, plot: figure) -> None:
        self._plot = plot
        self.lines: dict[tuple[str, float], ColumnDataSource] = {}
        self._renderers: list[Any] = []
        known = len(plot.legend[0].items)
        for history, (word, dash) in _HISTORIES.items():
            for metal, (colour, _symbol) in _METALS.items():
                label = f"{word}, {metal:g} Z☉"
                source = ColumnDataSource({"x": [], "y": [], "age": []}, name=f"track: {label}")
                self.lines[history, metal] = source
                line = plot.line(
                    "x", "y", source=source, line_color=colour, line_width=2, line_dash=dash, legend_label=label
                )
                self._renderers.append(line)
        self.marks = ColumnDataSource({name: [] for name in _MARK_COLUMNS}, name="ages of tracks")
        marks = plot.scatter(
            "x", "y", source=self.marks, marker="symbol", size=6, fill_color="colour", line_color="colour"
        )
        words = plot.text(
            "x",
            "y",
            text="text",
            source=self.marks,
            text_color="colour",
            text_font_size="10px",
            text_align={"field": "align"},
            x_offset="right",
            y_offset="down",
        )
        self._renderers += [marks, words]
        self._items = plot.legend[0].items[known:]
        plot.legend[0].ncols = _COLUMNS
        plot.add_tools(
            HoverTool(renderers=[marks], tooltips=[("track", "@track"), ("age", "@age{0,0} Myr")], visible=False)
        )
        # The legend keeps room for what is on its way: the plot must not jump when the tracks arrive.

    def _see(self, *, visible: bool) -> None:
        for each in (*self._renderers, *self._items):
            if each.visible != visible:
                each.visible = visible

    def hide(self) -> None:
        """Take the tracks out of the plot and of its legend."""
        self._see(visible=False)

    def show(self, tracks: QTable) -> None:
        """Draw tracks.

        Parameters
        ----------
        tracks : QTable
            What `sc_lab.colours.gc_tracks` gives.
        """
        marked: dict[str, list[Any]] = {name: [] for name in self.marks.data}
        for (history, metal), source in self.lines.items():
            part = tracks[(tracks["history"] == history) & (tracks["metallicity"] == metal)]
            x, y, age = (np.asarray(part[name].value, dtype=np.float64) for name in ("x", "y", "age"))
            source.data = {"x": x.astype(np.float32), "y": y.astype(np.float32), "age": age}
            colour, symbol = _METALS[metal]
            for at in np.flatnonzero(np.isin(age, list(_MARKS))):
                marked["x"].append(float(x[at]))
                marked["y"].append(float(y[at]))
                marked["age"].append(float(age[at]))
                marked["track"].append(f"{_HISTORIES[history][0]}, {metal:g} Z☉")
                marked["colour"].append(colour)
                marked["symbol"].append(symbol)
                for name, value in zip(("align", "right", "down"), _BESIDE[metal], strict=True):
                    marked[name].append(value)
                # Once is enough where two histories have become one.
                marked["text"].append(_MARKS[float(age[at])] if history == "burst" else "")
        self.marks.data = marked
        self._see(visible=True)
