"""A panel's figure as a HoloViews overlay, for composing it with plots of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sc_lab.errors import InputError, OptionalDependencyError
from sc_lab_widgets._saving import figure_data

if TYPE_CHECKING:
    from bokeh.plotting import figure

__all__ = ["to_holoviews"]


def to_holoviews(plot: figure) -> Any:
    """Return the layers of a figure as HoloViews elements over their data.

    Parameters
    ----------
    plot : figure
        A figure of a panel.

    Returns
    -------
    holoviews.Overlay
        One `Points`, `Curve` or `Rectangles` element a layer, labelled by the layer.

    Raises
    ------
    OptionalDependencyError
        If HoloViews is not installed.
    InputError
        If the figure shows nothing yet.
    """
    try:
        import holoviews as hv
    except ImportError:
        msg = "to_holoviews needs HoloViews: pip install 'sc-lab[widgets]'"
        raise OptionalDependencyError(msg) from None
    elements = []
    for renderer in plot.renderers:
        glyph, source = getattr(renderer, "glyph", None), getattr(renderer, "data_source", None)
        if glyph is None or source is None:
            continue
        kind = type(glyph).__name__
        x, y = getattr(glyph, "x", None), getattr(glyph, "y", None)
        label = source.name or ""
        if kind == "Quad":
            data = {name: np.asarray(source.data[getattr(glyph, name)]) for name in ("left", "right", "top")}
            bars = (data["left"], np.zeros_like(data["left"]), data["right"], data["top"])
            elements.append(hv.Rectangles(bars, label=label))
        elif kind in ("Scatter", "Line") and isinstance(x, str) and isinstance(y, str) and len(source.data.get(x, ())):
            values = tuple(np.asarray(source.data[column]) for column in (x, y))
            elements.append((hv.Points if kind == "Scatter" else hv.Curve)(values, label=label))
    if not elements:
        msg = (
            f"{plot.name} shows nothing that HoloViews could take over; there are {len(figure_data(plot))} points in it"
        )
        raise InputError(msg)
    return hv.Overlay(elements).relabel(plot.title.text)
