"""The base of every panel: fixed controls, errors shown in place, the same call as plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as ui
from bokeh.models import LayoutDOM

from sc_lab.errors import ScLabError
from sc_lab_widgets._binding import SETTING_CONTROLS, bind
from sc_lab_widgets._cells import close_tree, replace_earlier
from sc_lab_widgets._host import Host, as_session
from sc_lab_widgets._keys import KeyBoard
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._shown import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from sc_lab.session import Session
    from sc_lab_widgets._pane import Key

__all__ = ["Controls", "Panel"]


class Controls:
    """A fixed set of named controls; change one through its ``value``.

    Parameters
    ----------
    **controls : Widget
        The controls, by the name of the keyword that they stand for.
    """

    def __init__(self, **controls: Any) -> None:
        self.__dict__.update(controls)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to replace a control: the assignment would silently change nothing on the screen."""
        if name in self.__dict__:
            msg = f"controls.{name} is a control; set controls.{name}.value = {value!r} instead"
        else:
            msg = f"there is no control named {name!r}; the controls are {', '.join(self.__dict__)}"
        raise AttributeError(msg)

    def __getattr__(self, name: str) -> Any:
        """Name the controls that there are."""
        msg = f"there is no control named {name!r}; the controls are {', '.join(self.__dict__)}"
        raise AttributeError(msg)

    def __iter__(self) -> Any:
        """Go through the names."""
        return iter(self.__dict__)

    def __dir__(self) -> list[str]:
        """Return the names, for completion."""
        return list(self.__dict__)


class Panel(Shown):
    """One plot or table of a population, with its controls.

    A panel stands alone in a cell, or shares a `Host` with others in a workbench.

    Parameters
    ----------
    source : Session, catalogue, path or None
        As for `Workbench`.
    host : Host, optional
        The host of a workbench; None makes one.
    **start : Any
        Start values of controls, by name.

    Attributes
    ----------
    controls : Controls
        The controls; those named like a setting change the session.
    figures : dict of str to figure
        The bokeh figures by name.
    message : Message
        Where errors are shown.
    """

    #: Settings that the panel offers controls for when it stands alone.
    settings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, source: Any = None, *, host: Host | None = None, **start: Any) -> None:
        super().__init__()
        self._own_host = host is None
        self.host = Host(as_session(source)) if host is None else host
        self.session: Session = self.host.session
        self.visible = True
        self._undo: list[Callable[[], None]] = []
        self.view_controls = self._make_view_controls()
        bound = {}
        if self._own_host:
            for name in self.settings:
                control = SETTING_CONTROLS[name](self.host)
                self._undo.append(bind(self.session, control, name, self._report))
                bound[name] = control
        self.controls = Controls(**bound, **self.view_controls)
        self.root: LayoutDOM = self._build()
        for control in self.view_controls.values():
            control.observe(self._view_changed, "value")
        self._framed = self.host.population.n
        self.host.add(self)
        for name, value in start.items():
            getattr(self.controls, name).value = value
        self._guarded_refresh()
        self.refine()

    # ---- for subclasses ------------------------------------------------------------------
    def _make_view_controls(self) -> dict[str, Any]:
        """Return controls of the view alone, which are neither logged nor undone."""
        return {}

    def _build(self) -> LayoutDOM:
        """Make the figures and return their layout."""
        raise NotImplementedError  # pragma: no cover

    def _update(self) -> None:
        """Bring the figures up to date with ``self.host.population``."""

    def _refine(self) -> None:
        """Bring up to date what is too slow for every step of a drag; called when the changes pause."""

    @property
    def result(self) -> Any:
        """What the call that `code` prints gives."""
        raise NotImplementedError  # pragma: no cover

    def _call(self) -> str:
        """Return the expression that gives `result` from a variable ``population``."""
        raise NotImplementedError  # pragma: no cover

    def _frame(self) -> None:
        """Set the limits of the axes; called again each time the list of clumps has doubled.

        The axes of a finished catalogue stand still; a list that is being made from images
        begins with nothing to frame.
        """

    # ---- the same for every panel ----------------------------------------------------------
    def refresh(self) -> None:
        """Bring the panel up to date; an error is shown in place and stops no other panel."""
        self._guarded_refresh()

    def refine(self) -> None:
        """Bring the slower part of the panel up to date."""
        try:
            self._refine()
        except ScLabError as error:
            self.message.report(error)

    def _guarded_refresh(self) -> None:
        try:
            if self.host.population.n > 2 * self._framed:
                self._framed = self.host.population.n
                self._frame()
            self._update()
        except ScLabError as error:
            self.message.report(error)
        else:
            if self.message.text:
                self.message.show("")

    def _view_changed(self, _change: Any) -> None:
        pane = self.host.pane
        if pane is None:
            self._guarded_refresh()
            self.refine()
            return
        with pane.hold():
            self._guarded_refresh()
            self.refine()
        pane.flush()

    def _report(self, error: BaseException) -> None:
        self.message.report(error)

    def code(self) -> str:
        """Return the plain-Python call that gives `result` without any widget.

        Returns
        -------
        str
            Runnable text; its last line assigns ``result``.
        """
        from sc_lab_widgets._code import population_code

        return f"{population_code(self.host)}\nresult = {self._call()}\n"

    def press(self, key: Key) -> bool:  # noqa: ARG002 - for panels with keys of their own
        """Do what a key means to this panel alone; returns whether it took the key."""
        return False

    def release(self) -> None:
        """Commit what a drag inside the plot previewed; called when a gesture ends."""

    def cancel(self) -> None:
        """Forget what a drag inside the plot previewed."""

    @property
    def pane(self) -> BokehPane | None:
        """The pane of the host; None before it is on a page."""
        return self.host.pane

    @property
    def widget(self) -> ui.Widget:
        """The panel as an ipywidget, for a panel that stands alone."""
        if self._widget is None:
            if list(self.figures.values()) == [self.root]:
                # Alone on a wide page a plot would become a strip.
                self.root.update(height=420, max_width=680)
            pane = BokehPane(self.root, label=self.title)
            self.host.pane = pane
            pane.on_gesture_end(lambda gesture: self.release() if gesture.kind == "pointer" else None)
            pane.on_key(KeyBoard(self.host, self.message).press)
            replace_earlier(self)
            controls = [getattr(self.controls, name) for name in self.controls]
            self._widget = ui.VBox([ui.Box(controls, layout=ui.Layout(flex_flow="row wrap")), pane, self.message])
            self._widget.add_class("sclab-panel")
        return self._widget

    def close(self) -> None:
        """Free the widgets, the subscriptions and, for a panel that stands alone, the host."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        if self in self.host.panels:
            self.host.panels.remove(self)
        if self._own_host:
            self.host.close()
            if self.host.pane is not None:
                self.host.pane.close()
                self.host.pane = None
        for name in self.controls:
            close_tree(getattr(self.controls, name))
        close_tree(self.message)
        if self._widget is not None:
            close_tree(self._widget)
            self._widget = None
