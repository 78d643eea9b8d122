"""Saving what a panel shows: pictures drawn by the browser, data written by Python."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from astropy.table import Table, vstack
from bokeh.models import ColumnDataSource, GlyphRenderer

from sc_lab.errors import InputError
from sc_lab.export import write_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.plotting import figure

    from sc_lab_widgets._shown import Shown

__all__ = ["figure_data", "save_figure", "write_bytes"]

_PICTURES = (".png", ".svg")
_DATA = (".ecsv", ".csv")


def figure_data(plot: figure) -> Table:
    """Return the numbers that a figure shows.

    Parameters
    ----------
    plot : figure
        The figure.

    Returns
    -------
    Table
        One row a point; ``layer`` names the layer, and columns that a layer lacks are masked.
    """
    parts, seen = [], []
    for number, renderer in enumerate(plot.renderers):
        source = getattr(renderer, "data_source", None)
        if not isinstance(renderer, GlyphRenderer) or not isinstance(source, ColumnDataSource) or source in seen:
            continue
        seen.append(source)
        columns = {name: np.asarray(values) for name, values in source.data.items() if not _ragged(values)}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) == 1 and lengths != {0}:
            part = Table(
                {name: values.astype(str) if values.dtype == object else values for name, values in columns.items()}
            )
            part.add_column([source.name or f"layer {number}"] * len(part), name="layer", index=0)
            parts.append(part)
    if not parts:
        return Table({"layer": np.array([], dtype=str)})
    return vstack(parts, join_type="outer", metadata_conflicts="silent")


def _ragged(values: Any) -> bool:
    return len(values) > 0 and np.ndim(values[0]) > 0


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    content : bytes
        What to write.
    path : Path
        Where.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".sc-lab-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_figure(
    panel: Shown,
    path: Any,
    figure: str | None = None,
    *,
    overwrite: bool = False,
    done: Callable[[Path], None] | None = None,
) -> None:
    """Save one figure of a panel; see `Panel.save`.

    Parameters
    ----------
    panel : Shown
        The panel.
    path : path-like
        Where; the suffix tells what.
    figure : str, optional
        Which figure; the first by default.
    overwrite : bool
        Replace a file that exists.
    done : callable, optional
        Called with the path when the file is written: at once for data, for a picture when the
        browser has drawn it.

    Raises
    ------
    InputError
        If the suffix or the figure is unknown, the file exists, or no browser shows the panel.
    """
    path = Path(path)
    if not panel.figures:
        msg = f"{panel.title} has no figure; export the catalogue instead"
        raise InputError(msg)
    name = next(iter(panel.figures)) if figure is None else figure
    if name not in panel.figures:
        msg = f"there is no figure {name!r} in {panel.title}; it has {', '.join(panel.figures)}"
        raise InputError(msg)
    if not path.parent.is_dir():
        msg = f"the folder {str(path.parent)!r} does not exist; make it first, or choose another"
        raise InputError(msg)
    if path.exists() and not overwrite:
        msg = f"{path} exists already; choose another name, or say overwrite=True"
        raise InputError(msg)
    told = done or (lambda _path: None)
    plot = panel.figures[name]
    suffix = path.suffix.lower()
    if suffix in _DATA:
        write_table(figure_data(plot), path, overwrite=overwrite)
        told(path)
    elif suffix in _PICTURES:
        pane = panel.pane
        if pane is None:
            msg = f"{panel.title} is not on the screen; show it in a cell, as the browser draws the picture"
            raise InputError(msg)
        kind: Literal["png", "svg"] = "png" if suffix == ".png" else "svg"

        def take(content: bytes) -> None:
            write_bytes(content, path)
            told(path)

        pane.request_image(plot, kind, take)
    else:
        msg = f"a plot cannot be saved as {path.suffix or 'a file without suffix'}; use {', '.join(_PICTURES + _DATA)}"
        raise InputError(msg)
