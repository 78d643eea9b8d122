"""What everything shown in a cell has: figures by name, controls, a line for messages, and their export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sc_lab.errors import InputError
from sc_lab_widgets._message import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import ipywidgets as ui
    from bokeh.plotting import figure

    from sc_lab_widgets._pane import BokehPane

__all__ = ["Shown"]


class Shown:
    """Figures in a pane, whatever they are made from: a population, or images alone.

    Attributes
    ----------
    figures : dict of str to figure
        The bokeh figures by name.
    message : Message
        Where errors are shown.
    """

    #: Title of the panel.
    title: ClassVar[str] = ""

    def __init__(self) -> None:
        self.figures: dict[str, figure] = {}
        self.message = Message()
        self._widget: ui.Widget | None = None

    @property
    def pane(self) -> BokehPane | None:
        """The pane that shows the figures; None before they are on a page."""
        raise NotImplementedError  # pragma: no cover

    @property
    def widget(self) -> ui.Widget:
        """The panel as an ipywidget, for a panel that stands alone."""
        raise NotImplementedError  # pragma: no cover

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Show the panel in a notebook cell."""
        return self.widget._repr_mimebundle_(include=include, exclude=exclude)

    def save(
        self,
        path: Any,
        figure: str | None = None,
        *,
        overwrite: bool = False,
        done: Callable[[Path], None] | None = None,
    ) -> None:
        """Save a figure as PNG or SVG, or the panel's data, by the suffix of the path.

        Parameters
        ----------
        path : path-like
            ``.png`` and ``.svg`` are drawn by the browser that shows the panel, and written
            when it answers; ``.ecsv`` and ``.csv`` are written at once.
        figure : str, optional
            Name in ``figures``; the first by default.
        overwrite : bool
            Replace a file that exists.
        done : callable, optional
            Called with the path when the file is written.

        Raises
        ------
        InputError
            If the suffix or the figure is unknown, the file exists, or no browser shows the panel.
        """
        from sc_lab_widgets._saving import save_figure

        save_figure(self, path, figure, overwrite=overwrite, done=done)

    def to_holoviews(self, figure: str | None = None) -> Any:
        """Return a figure as a HoloViews overlay, to be composed with plots of one's own.

        Parameters
        ----------
        figure : str, optional
            Name in ``figures``; the first by default.

        Returns
        -------
        holoviews.Overlay
            The layers, with their data.

        Raises
        ------
        InputError
            If there is no such figure.
        """
        from sc_lab_widgets._holoviews import to_holoviews

        name = next(iter(self.figures), "") if figure is None else figure
        if name not in self.figures:
            msg = f"there is no figure {name!r} in {self.title}; it has {', '.join(self.figures) or 'none'}"
            raise InputError(msg)
        return to_holoviews(self.figures[name])
