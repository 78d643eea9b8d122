"""The frame of panels that stand alone in a cell: a pane of their own, controls and texts around it, and their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import ipywidgets as ui

from sc_lab_widgets._cells import close_tree, replace_earlier
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._shown import Shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bokeh.models import LayoutDOM

    from sc_lab_widgets._pane import Key
    from sc_lab_widgets._panel import Controls

__all__ = ["Alone"]


class Alone(Shown):
    """A panel on a pane of its own.

    Attributes
    ----------
    controls : Controls
        The controls, by name.
    """

    #: What a screen reader calls the pane.
    label: ClassVar[str] = ""
    controls: Controls

    def __init__(self) -> None:
        super().__init__()
        self._pane: BokehPane | None = None

    # ---- for subclasses ------------------------------------------------------------------
    def _plots(self) -> LayoutDOM:
        """Return the layout of the figures."""
        raise NotImplementedError  # pragma: no cover

    def _parts(self, pane: BokehPane) -> list[ui.Widget]:
        """Return what is shown, from top to bottom."""
        raise NotImplementedError  # pragma: no cover

    def _loose(self) -> Iterable[ui.Widget]:
        """Return what has to be closed besides the controls, shown or not."""
        return [self.message]

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
        raise NotImplementedError  # pragma: no cover

    # ---- the same for every one --------------------------------------------------------------
    @property
    def pane(self) -> BokehPane | None:
        """The pane that shows the figures; None before they are on a page."""
        return self._pane

    @property
    def widget(self) -> ui.Widget:
        """The panel as an ipywidget."""
        if self._widget is None:
            self._pane = BokehPane(self._plots(), label=self.label)
            self._pane.on_key(self.press)
            replace_earlier(self)
            self._widget = ui.VBox(self._parts(self._pane))
            self._widget.add_class("sclab-panel")
        return self._widget

    def _wrapped(self, parts: Iterable[ui.Widget]) -> ui.Widget:
        """Return widgets in a row that goes on below where it is too long."""
        return ui.Box(list(parts), layout=ui.Layout(flex_flow="row wrap"))

    def _every_control(self) -> list[ui.Widget]:
        return [getattr(self.controls, name) for name in self.controls]

    def close(self) -> None:
        """Free the widgets and the document."""
        if self._pane is not None:
            self._pane.close()
            self._pane = None
        for part in (*self._every_control(), *self._loose()):
            close_tree(part)
        if self._widget is not None:
            close_tree(self._widget)
            self._widget = None
