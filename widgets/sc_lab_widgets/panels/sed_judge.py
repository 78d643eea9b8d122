"""The check with bagpipes: a button, a bar, a way to stop, and a table of what differs."""

from __future__ import annotations

import asyncio
import html
import time
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ui
import numpy as np

from sc_lab.errors import ScLabError
from sc_lab_widgets._cells import close_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Judge", "differences"]

#: Seconds between two looks at how far bagpipes is.
#: Live points of the nested sampler; about a minute.
_LIVE = 400
_PERIOD: Final = 0.3
_CELL: Final = "padding: 0 6px 0 0; text-align: right; line-height: 1.35; white-space: nowrap; font-size: 11px"
#: What is compared, with how it is written.
_COMPARED: Final = {
    "log_mass": "log μM",
    "age": "age [Myr]",
    "a_v": "A_V [mag]",
    "metallicity": "Z [Z☉]",
    "log_u": "log U",
}


class Judge:
    """Runs bagpipes beside everything else and hands over what it finds.

    Parameters
    ----------
    ask : callable
        Called when the button is pressed; returns what identifies the fit and the fit itself, or None.
    answer : callable
        Called with the identity and the fit of bagpipes when it is there.
    report : callable
        Called with errors.

    Attributes
    ----------
    button, stop : Button
        Begin, and give up.
    bar : FloatProgress
        How far bagpipes is.
    words : HTML
        The same in words.
    widget, status : Widget
        The button, and what is said of its work.
    """

    def __init__(
        self,
        ask: Callable[[], tuple[Hashable, Any] | None],
        answer: Callable[[Hashable, Any], None],
        report: Callable[[BaseException], None],
    ) -> None:
        self._ask, self._answer, self._report = ask, answer, report
        #: Called when bagpipes begins: what others said of their work is old news then.
        self.begun: Callable[[], None] = lambda: None
        self._run: Any = None
        self._key: Hashable = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._closed = False
        auto = {"width": "auto", "padding": "0 8px"}
        self.button = ui.Button(
            description="Check with bagpipes", layout=dict(auto),
            tooltip="fit the same light with bagpipes in a process of its own; it takes minutes, and you can go on",
        )  # fmt: skip
        self.stop = ui.Button(description="Cancel", tooltip="stop bagpipes", layout=dict(auto))
        self.bar = ui.FloatProgress(value=0.0, min=0.0, max=1.0, layout={"width": "120px"})
        self.words = ui.HTML()
        self.button.on_click(lambda _button: self.begin())
        self.stop.on_click(lambda _button: self.cancel())
        self.widget: ui.Widget = self.button
        self.status: ui.Widget = ui.HBox([self.bar, self.stop, self.words])
        self._show(running=False)

    @property
    def running(self) -> bool:
        """Whether bagpipes is at work."""
        return self._run is not None

    def begin(self) -> None:
        """Start bagpipes on the fit that is shown."""
        if self.running:
            return
        try:
            asked = self._ask()
            if asked is None:
                return
            from sc_lab.sed import judging

            self._key, fit = asked
            # With ages in their logarithm a fifth of the live points finds what a flat prior hides from 2000.
            self._run = judging.open_judge(fit, n_live=_LIVE, log_age=True)
        except ScLabError as error:
            self._report(error)
            return
        self._began = time.monotonic()
        self.begun()
        self.bar.value = 0.0
        self._show(running=True)
        self._say("bagpipes starts")
        self._schedule()

    def _schedule(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # A script polls by itself.
            return
        self._timer = loop.call_later(_PERIOD, self.poll)

    def poll(self) -> None:
        """Look how far bagpipes is; called again and again by the event loop while it runs."""
        self._timer = None
        run = self._run
        if run is None or self._closed:
            return
        if not run.done():
            part, words = run.progress
            self.bar.value = min(max(float(part), 0.0), 1.0)
            self._say(f"{words}, {time.monotonic() - self._began:.0f} s")
            self._schedule()
            return
        seconds = time.monotonic() - self._began
        try:
            found = run.result()
        except Exception as error:  # noqa: BLE001 - whatever a worker raised has to be seen
            self._end("")
            self._report(error)
            return
        self._end(f"bagpipes took {seconds:.0f} s")
        self._answer(self._key, found)

    def cancel(self) -> None:
        """Stop bagpipes."""
        if self._run is None:
            return
        self._run.cancel()
        self._end("bagpipes was stopped")

    def _end(self, text: str) -> None:
        self._run = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._show(running=False)
        self._say(text)

    def _show(self, *, running: bool) -> None:
        self.button.disabled = running
        for part in (self.bar, self.stop):
            part.layout.display = None if running else "none"

    def forget(self) -> None:
        """Say nothing more of work that is done."""
        if not self.running:
            self._say("")

    def _say(self, text: str) -> None:
        value = f'<span role="status" style="line-height: 1.3">{html.escape(text)}</span>' if text else ""
        if self.words.value != value:
            self.words.value = value

    def close(self) -> None:
        """Stop bagpipes and free the widgets."""
        self._closed = True
        if self._run is not None:
            self._run.cancel()
            self._run = None
        if self._timer is not None:
            self._timer.cancel()
        for part in (self.widget, self.status):
            close_tree(part)


def differences(fit: Any, judged: Any) -> str:
    """Return the table of what two fits find, as HTML.

    Parameters
    ----------
    fit, judged : SedFit
        Ours, and that of bagpipes.

    Returns
    -------
    str
        Medians and half the 68 % intervals, and the difference in units of their mean.
    """
    from sc_lab.sed.judging import compare

    table = compare(fit, judged)
    rows = [
        (
            _COMPARED[str(row["name"])],
            _pair(row["median"], row["width"]),
            _pair(row["judge_median"], row["judge_width"]),
            f"{row['in_sigma']:+.2f} σ",
        )
        for row in table
        if str(row["name"]) in _COMPARED
    ]
    ours, theirs = table.meta["best_chi2"]
    rows.append(("best χ²", f"{ours:.2f}", f"{theirs:.2f}", f"{ours - theirs:+.2f}"))
    ours, theirs = table.meta["log_evidence"]
    rows.append(("ln Z", f"{ours:.2f}", f"{theirs:.2f}", f"{ours - theirs:+.2f}"))
    head = "".join(f'<th scope="col" style="{_CELL}">{word}</th>' for word in ("", "here", "bagpipes", "apart"))
    body = "".join(
        f'<tr><th scope="row" style="{_CELL}; text-align: left">{html.escape(row[0])}</th>'
        + "".join(f'<td style="{_CELL}">{html.escape(cell.replace("-", "−"))}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    said = "".join(f'<div role="status">{html.escape(str(words))}</div>' for words in table.meta["cautions"])
    return f'<table class="sclab-numbers" aria-label="check with bagpipes"><tr>{head}</tr>{body}</table>{said}'


def _pair(middle: float, width: float) -> str:
    """Return a number with its error, to two digits of that."""
    if not (width > 0 and np.isfinite(width)) or width < 1e-3:
        return f"{middle:.2g} ± {width:.1g}"
    digits = max(0, 1 - int(np.floor(np.log10(width))))
    return f"{middle:.{digits}f} ± {width:.{digits}f}"
