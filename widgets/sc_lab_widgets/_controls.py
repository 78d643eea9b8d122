"""Controls that follow the hand: a slider whose every step reaches Python as fast as Python can take it."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets

from sc_lab.errors import InputError
from sc_lab_widgets._report import Reporting, close_dress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LiveSlider"]

# The formats that the browser can write too: the text must not wait for Python.
_FORMAT: Final = re.compile(r"\.\d{1,2}[fge]|d")


class LiveSlider(Reporting, anywidget.AnyWidget):
    """A slider with a number box; Python sees the drag while it lasts and its end.

    Parameters
    ----------
    value, min, max : float
        Start value and the two ends. A value outside is refused in words, never moved to the end.
    step : float, optional
        What one arrow key changes; with ``log=True`` in dex. Default: a hundredth of the range.
    label : str, optional
        Name shown and read out.
    unit : str, optional
        Unit shown behind the number.
    log : bool, optional
        Whether equal ways of the handle are equal factors; then `min` must be positive.
    format : str, optional
        How the number is written: ".2f", ".3g", ".1e" or "d".

    Notes
    -----
    `value` may be observed like that of any ipywidgets slider; `on_change` also tells whether a change is final.
    While one step is being worked on, only the newest position waits in the browser.
    """

    # As text: anywidget watches the file of a path and then keeps every widget of the class alive.
    _esm = Path(__file__).with_name("_controls.js").read_text(encoding="utf-8")
    _css = Path(__file__).with_name("_controls.css").read_text(encoding="utf-8")

    value = traitlets.Float().tag(sync=True)
    min = traitlets.Float().tag(sync=True)
    max = traitlets.Float().tag(sync=True)
    step = traitlets.Float().tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    unit = traitlets.Unicode("").tag(sync=True)
    log = traitlets.Bool(default_value=False).tag(sync=True)
    format = traitlets.Unicode(".3g").tag(sync=True)
    hint = traitlets.Unicode("", help="tool-tip").tag(sync=True)
    disabled = traitlets.Bool(default_value=False).tag(sync=True)
    dragging = traitlets.Bool(default_value=False, help="whether the pointer holds the handle")

    def __init__(
        self,
        value: float,
        min: float,  # noqa: A002 - the names of every ipywidgets slider
        max: float,  # noqa: A002
        step: float | None = None,
        label: str = "",
        unit: str = "",
        *,
        log: bool = False,
        format: str = ".3g",  # noqa: A002
        **kwargs: Any,
    ) -> None:
        self._callbacks: list[Callable[[float, bool], Any]] = []
        self._from_browser = False
        self._said: tuple[float, bool] | None = None
        if step is None:
            step = (math.log10(max / min) if log and min > 0 else max - min) / 100
        super().__init__(
            value=value, min=min, max=max, step=step, label=label, unit=unit, log=log, format=format, **kwargs
        )
        self.observe(self._set_from_python, "value")

    # ---- refusals ----------------------------------------------------------------------------------------------
    def _refuse_outside(self, value: float, low: float, high: float) -> None:
        if not (math.isfinite(value) and low <= value <= high):
            unit = f" {self.unit}" if self.unit else ""
            name = self.label or "The slider"
            msg = f"{name} is {value:g}{unit}; it can be {low:g} to {high:g}{unit}: give a value between."
            raise InputError(msg)

    @traitlets.validate("value")
    def _check_value(self, proposal: dict[str, Any]) -> float:
        value = float(proposal["value"])
        self._refuse_outside(value, self.min, self.max)
        return value

    @traitlets.validate("min", "max", "log")
    def _check_ends(self, proposal: dict[str, Any]) -> Any:
        ends = {"min": self.min, "max": self.max, "log": self.log, proposal["trait"].name: proposal["value"]}
        if not ends["min"] < ends["max"] or (ends["log"] and ends["min"] <= 0):
            msg = (
                f"A slider from {ends['min']:g} to {ends['max']:g} (log={ends['log']}) cannot be: the first end must "
                "lie below the second, and above 0 on a logarithmic scale."
            )
            raise InputError(msg)
        return proposal["value"]

    @traitlets.validate("step")
    def _check_step(self, proposal: dict[str, Any]) -> float:
        if not (math.isfinite(proposal["value"]) and proposal["value"] > 0):
            msg = f"step is {proposal['value']:g}; it must be above 0."
            raise InputError(msg)
        return float(proposal["value"])

    @traitlets.validate("format")
    def _check_format(self, proposal: dict[str, Any]) -> str:
        if not _FORMAT.fullmatch(proposal["value"]):
            msg = f"format is {proposal['value']!r}; it can be like '.2f', '.3g', '.1e' or 'd'."
            raise InputError(msg)
        return str(proposal["value"])

    def set_range(self, low: float, high: float, value: float | None = None) -> None:
        """Move both ends, and the value with them where given; a value left outside is refused."""
        value = self.value if value is None else value
        self._refuse_outside(value, low, high)
        with self.hold_trait_notifications():
            self.min, self.max, self.value = low, high, value

    # ---- changes -----------------------------------------------------------------------------------------------
    def on_change(self, callback: Callable[[float, bool], Any]) -> Callable[[], None]:
        """Call ``callback(value, final)`` at every change; `final` is False only while the pointer drags.

        Returns a function that ends the subscription.
        """
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    def _tell(self, *, final: bool) -> None:
        # An old message is over, and the same one must be able to appear again.
        self.clear_error()
        for callback in tuple(self._callbacks):
            with self.reporting():
                callback(self.value, final)

    def _set_from_python(self, _change: object) -> None:
        if not self._from_browser:
            self._tell(final=True)

    @contextlib.contextmanager
    def _without_echo(self, **values: Any) -> Iterator[None]:
        """Set traits that the browser shows already without sending them back."""
        self._from_browser = True
        try:
            with self._lock_property(**values):
                yield
        finally:
            self._from_browser = False

    def _handle_custom_msg(self, content: dict[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        """Handle one step from a view (called by ipywidgets)."""
        if content.get("type") != "step":
            return
        try:
            with self.reporting():
                self.clear_error()
                value, final = float(content["value"]), bool(content["final"])
                with self._without_echo(value=value):
                    self.dragging = not final
                    self.value = value
                self._tell(final=final)
        finally:
            # Other views of this slider learn the value from the acknowledgement.
            self.send({"type": "ack", "view": content["view"], "seq": content["seq"], "value": self.value})

    def close(self) -> None:
        """Free the callbacks and the browser's part."""
        self._callbacks.clear()
        close_dress(self)
        super().close()
