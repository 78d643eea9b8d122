"""Fits of the SED panel: kept, made at once where the tables are warm, and beside the gestures where they are not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sc_lab_widgets._threads import one_thread
from sc_lab_widgets.panels.picker_background import Background
from sc_lab_widgets.panels.sed_call import fit_light
from sc_lab_widgets.panels.sed_curves import curves_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sc_lab_widgets.panels.sed_choice import Choice
    from sc_lab_widgets.panels.sed_curves import Curves
    from sc_lab_widgets.panels.sed_light import Light

__all__ = ["AHEAD", "Engine", "one_of_each"]

#: Fits that are kept: going back and forth between clumps and settings costs nothing.
_KEPT: Final = 200
#: Redshifts whose tables are made ahead of the first click.
AHEAD: Final = 60
#: Seconds of rest after a gesture before tables are made ahead.
_REST: Final = 1.0
#: Seconds that a fit may take which nobody has asked for yet.
_QUICK: Final = 0.1


class Engine:
    """Makes and keeps fits.

    Parameters
    ----------
    report : callable
        Called with errors of fits made beside the gestures.
    """

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self._background = Background(report)
        self._fits: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._curves: OrderedDict[tuple[Any, ...], tuple[Any, Curves]] = OrderedDict()
        # Filled by the worker too: single steps on dictionaries and sets need no lock.
        self._warm: set[tuple[Any, ...]] = set()
        self._find: tuple[Callable[[], Sequence[Light]], Choice] | None = None
        self._ahead: list[tuple[Light, Choice]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last_gesture = 0.0
        self._seconds: dict[str, float] = {}
        self._closed = False

    # ---- fits ------------------------------------------------------------------------------
    def kept(self, light: Light, choice: Choice) -> Any:
        """Return a fit made before, or None."""
        key = (light.key, choice)
        if key in self._fits:
            self._fits.move_to_end(key)
            return self._fits[key]
        return None

    def is_warm(self, light: Light, choice: Choice) -> bool:
        """Return whether a fit would be made in milliseconds."""
        # A history in bins is sampled: that takes a second whatever is warm.
        return choice.sfh != "continuity" and choice.model_key(light) in self._warm

    def fit(self, light: Light, choice: Choice) -> Any:
        """Return the fit, made now where it is not kept."""
        found = self.kept(light, choice)
        if found is None:
            warm, start = self.is_warm(light, choice), time.monotonic()
            with one_thread():
                found = fit_light(light, choice)
            self._warm.add(choice.model_key(light))
            if warm:
                self._seconds[choice.sfh] = time.monotonic() - start
            self.keep(light, choice, found)
        return found

    def foresee(self, light: Light, choice: Choice, span: tuple[float, float]) -> None:
        """Make a fit, and what is drawn of it, that may be wanted in a moment.

        A click on that clump would make it all the same, so none is held up by it. Nothing happens where the tables
        are not there or fits of this kind are slow.

        Parameters
        ----------
        light : Light
            The clump.
        choice : Choice
            How it would be fitted.
        span : (float, float)
            Wavelengths that the figures would reach [micron].
        """
        if self._closed or self.busy or not self.is_warm(light, choice):
            return
        if self._seconds.get(choice.sfh, _QUICK) < _QUICK:
            # The click on that clump will say in words what is wrong.
            with contextlib.suppress(Exception):
                self.curves(light, choice, self.fit(light, choice), span)

    def curves(self, light: Light, choice: Choice, fit: Any, span: tuple[float, float]) -> Curves:
        """Return what is drawn of a fit, made now where it is not kept.

        Parameters
        ----------
        light : Light
            The clump.
        choice : Choice
            How it was fitted.
        fit : SedFit
            The fit.
        span : (float, float)
            Wavelengths that the figures reach [micron].

        Returns
        -------
        Curves
            The arrays.
        """
        key = (light.key, light.mu, choice, span)
        kept, curves = self._curves.get(key, (None, None))
        if kept is not fit or curves is None:
            with one_thread():
                curves = curves_of(fit, light, choice, low=span[0], high=span[1])
            self._curves[key] = (fit, curves)
            while len(self._curves) > _KEPT:
                self._curves.popitem(last=False)
        return curves

    def keep(self, light: Light, choice: Choice, fit: Any) -> None:
        """Keep a fit: it is not made again."""
        self._fits[(light.key, choice)] = fit
        while len(self._fits) > _KEPT:
            self._fits.popitem(last=False)

    def fit_later(self, light: Light, choice: Choice, answer: Callable[[Any], None]) -> None:
        """Make a fit beside the gestures; only the newest is answered."""
        self._background.ask("fit", lambda: self.fit(light, choice), answer)

    def forget(self) -> None:
        """Drop a fit under way."""
        self._background.forget("fit")

    @property
    def has_loop(self) -> bool:
        """Whether there is an event loop, without which every fit is made at once."""
        return _running_loop() is not None

    @property
    def busy(self) -> bool:
        """Whether a fit is on its way."""
        return self._background.busy("fit")

    # ---- ahead of the clicks -----------------------------------------------------------------
    def note_gesture(self) -> None:
        """Remember that the user is at work: what is made ahead waits."""
        self._last_gesture = time.monotonic()

    def prepare(self, find: Callable[[], Sequence[Light]], choice: Choice) -> None:
        """Make the tables of clumps one redshift after the other, whenever nothing else happens.

        Parameters
        ----------
        find : callable
            Returns one clump of every redshift, the most wanted first; called when the user rests.
        choice : Choice
            How they will be fitted.
        """
        loop = _running_loop()
        if loop is None or self._closed or choice.sfh == "continuity":
            return
        self._find, self._ahead = (find, choice), []
        self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wanted = (self._ahead or self._find is not None) and not self._closed
        self._timer = loop.call_later(_REST / 4, self._next, loop) if wanted else None

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._closed:
            return
        if self.busy or time.monotonic() - self._last_gesture < _REST:
            self._schedule(loop)
            return
        if self._find is not None:
            (find, choice), self._find = self._find, None
            self._ahead = [(light, choice) for light in find()[:AHEAD] if choice.model_key(light) not in self._warm]
        if not self._ahead:
            return
        light, choice = self._ahead.pop(0)
        # The fit is kept, and compiles what the first click would wait for.
        self._background.ask("ahead", lambda: self._quietly(light, choice), lambda _nothing: self._schedule(loop))

    def _quietly(self, light: Light, choice: Choice) -> None:
        """Make a fit that nobody has asked for: an error of it would come out of the blue."""
        # The click on that clump will say it in words.
        with contextlib.suppress(Exception):
            self.fit(light, choice)

    def close(self) -> None:
        """Stop; what is under way ends unheard."""
        self._closed = True
        self._ahead.clear()
        self._find = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._background.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def one_of_each(redshifts: np.ndarray, rows: np.ndarray) -> list[int]:
    """Return one row of every redshift, in the order of the rows.

    Parameters
    ----------
    redshifts : ndarray, shape (n,)
        Redshifts of all rows.
    rows : ndarray of int
        Rows to choose from.
    """
    _, first = np.unique(redshifts[rows], return_index=True)
    return [int(rows[i]) for i in np.sort(first)]
