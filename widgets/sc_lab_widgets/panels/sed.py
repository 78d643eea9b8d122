"""The SED panel: click a clump and see its photometry, model, star-formation history and posterior."""

from __future__ import annotations

import weakref
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ui
import numpy as np
from bokeh.layouts import column, row
from bokeh.models import LayoutDOM

from sc_lab.errors import InputError, ScLabError
from sc_lab.sed.results import SedFit
from sc_lab.session.refitting import standing_settings
from sc_lab_widgets._calm import calm
from sc_lab_widgets._cells import close_tree, replace_earlier
from sc_lab_widgets._keys import KeyBoard
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._panel import Panel
from sc_lab_widgets._threads import one_thread
from sc_lab_widgets.panels.picker_controls import make_button
from sc_lab_widgets.panels.sed_apply import Apply
from sc_lab_widgets.panels.sed_call import fit_code
from sc_lab_widgets.panels.sed_choice import choice_from, settings_of
from sc_lab_widgets.panels.sed_controls import BAND, choice_of, make_controls, make_sidebar, set_controls
from sc_lab_widgets.panels.sed_corner import CornerView
from sc_lab_widgets.panels.sed_curves import curves_of
from sc_lab_widgets.panels.sed_engine import AHEAD, Engine, one_of_each
from sc_lab_widgets.panels.sed_given import settings_of_fit, table_of
from sc_lab_widgets.panels.sed_judge import Judge, differences
from sc_lab_widgets.panels.sed_light import Light, Lights
from sc_lab_widgets.panels.sed_view import UNTITLED, SedView, plain
from sc_lab_widgets.panels.sed_words import as_html, sentences, title_of, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sc_lab.clumps import SedSettings
    from sc_lab_widgets._host import Host
    from sc_lab_widgets._pane import Rest
    from sc_lab_widgets.panels.sed_choice import Choice

__all__ = ["SedPanel"]

#: Clumps that a list of names offers; with more the name is typed.
_LISTED: Final = 5000
_NOTHING: Final = "click a clump in any plot, or press [ and ]"


class SedPanel(Panel):
    """The SED of the selected clump, fitted as you look.

    Parameters
    ----------
    source : Session, catalogue, path, SedFit or None
        A fit is shown as it is. Else as for `Workbench`: rows with ``flux_<band>`` and ``flux_<band>_err``, or ``mag_<band>`` and
        ``mag_<band>_err``, and a redshift.
    host : Host, optional
        The host of a workbench; None makes one.
    **start : Any
        Start values of controls, by name.

    Attributes
    ----------
    controls : Controls
        What is fitted with: ``sfh``, ``tau``, ``mode``, ``attenuation``, ``nebular``, ``redshift``,
        ``error_floor``, the limits of the priors (``age_min``, ``age_max`` and so on), and one
        ``use_<band>`` for every band. A panel that stands alone has ``clump`` too.
    figures : dict of str to figure
        ``sed``, ``sed_residuals``, ``sed_sfh`` and ``sed_corner``.
    judge : Judge
        The check with bagpipes.
    apply : Apply
        The step from this clump to the list.
    sidebar, toolbar : Widget
        The column of controls, and the row of buttons with the numbers, for a workbench to place.

    Notes
    -----
    Several clumps may be selected: the last of them is shown. Redshift and bands that are changed
    belong to the clump they are changed for; everything else to the panel. Masses and rates are
    divided by the magnification of the clump.
    """

    title = "SED"

    def __init__(self, source: Any = None, *, host: Host | None = None, **start: Any) -> None:
        self._pivots: tuple[tuple[str, ...], np.ndarray] = ((), np.zeros(0))
        self.lights = Lights()
        self.engine = Engine(self._failed)
        self._id = ""
        self._selected: list[str] = []
        self._left_out: dict[str, frozenset[str]] = {}
        self._own_z: dict[str, float] = {}
        self._following = False
        self._light: Light | None = None
        self._drawn: tuple[Any, ...] | None = None
        self._lines: list[str] = []
        self._behind: tuple[Light, Choice] | None = None
        self._judged: dict[Any, Any] = {}
        self._given = source if isinstance(source, SedFit) else None
        if self._given is not None:
            source = table_of(self._given)
        self._fitted_with = None if self._given is None else settings_of_fit(self._given)
        self._prepared: Any = None
        self._watched: BokehPane | None = None
        super().__init__(source, host=host, **start)

    def _make_view_controls(self) -> dict[str, Any]:
        population = self.host.population
        has = self.lights.has_light(population)
        ids = [population.ids[i] for i in np.flatnonzero(has)] if population.n <= _LISTED else []
        self._usual = choice_from(self._standing)
        return make_controls(self.lights.bands, ids, self._usual, alone=self._own_host)

    def _build(self) -> LayoutDOM:
        self.view, self.corner = SedView(self._click_band), CornerView()
        self.figures.update(self.view.figures)
        self.figures["sed_corner"] = self.corner.figure
        self.judge = Judge(self._shown_fit, self._take_judged, self._report)
        self.apply = Apply(self.session, self._settings, self._report)
        self.apply.begun, self.judge.begun = self.judge.forget, self.apply.forget
        self._words, self._table = ui.HTML(), ui.HTML()
        buttons = {
            "previous": ("◀", "previous candidate ([)", lambda: self._step(-1)),
            "next": ("▶", "next candidate (])", lambda: self._step(1)),
            "reset": ("Reset", "usual priors, every band, the redshift of the catalogue", self.reset),
        }
        self.buttons = {name: make_button(*parts, self._guarded) for name, parts in buttons.items()}
        self.sidebar = make_sidebar(self.view_controls, [self._table])
        # Room for the texts is kept free: a line that comes between two clicks must not move the figures under them.
        self.toolbar: ui.Widget = ui.VBox(
            [
                ui.Box(
                    [*self.buttons.values(), self.apply.widget, self.judge.widget],
                    layout=ui.Layout(flex_flow="row wrap"),
                ),
                ui.Box([self._words], layout=ui.Layout(min_height="58px")),
                ui.Box(
                    [self.message, self.apply.status, self.judge.status],
                    layout=ui.Layout(min_height="34px", flex_flow="row wrap", align_items="center"),
                ),
            ]
        )
        plots = self.figures
        left = column(plots["sed"], plots["sed_residuals"], sizing_mode="stretch_width", min_width=300)
        right = column(plots["sed_corner"], plots["sed_sfh"], sizing_mode="stretch_width", min_width=300)
        return row(left, right, sizing_mode="stretch_width")

    # ---- which clump -----------------------------------------------------------------------
    def _choose(self) -> None:
        """Follow the selection: of several clumps the last one selected is shown."""
        population = self.host.population
        ids = self.host.selected_ids
        new = [name for name in ids if name not in self._selected]
        if new:
            self._id = new[-1]
        elif ids and self._id not in ids:
            self._id = ids[-1]
        self._selected = ids
        if self._id not in population.index:
            self._id = ""
        if not self._id and self._own_host:
            # Alone, there is no plot to click in: the panel begins with the first clump that it can show.
            rows = np.flatnonzero(self.lights.has_light(population))
            wanted = rows[population.candidate[rows]] if len(rows) else rows
            first = wanted if len(wanted) else rows
            self._id = population.ids[int(first[0])] if len(first) else ""

    @property
    def light(self) -> Light | None:
        """The photometry that is shown; None where no clump is."""
        self._choose()
        if not self._id:
            return None
        return self.lights.of(self.host.population, self.host.population.index[self._id])

    def show(self, name: str) -> None:
        """Select a clump and show it.

        Parameters
        ----------
        name : str
            Its identifier.

        Raises
        ------
        InputError
            If the catalogue has no such clump.
        """
        index = self.host.population.index
        if name not in index:
            msg = f"the catalogue has no clump named {name!r}; see panel.host.population.ids"
            raise InputError(msg)
        self.host.select([index[name]])

    def _step(self, direction: int) -> None:
        KeyBoard(self.host, self.message).step(direction)

    # ---- what is fitted ----------------------------------------------------------------------
    @property
    def choice(self) -> Choice:
        """What the controls say for the clump that is shown."""
        return choice_of(
            self.view_controls,
            library=self._usual.library,
            z=self._own_z.get(self._id),
            left_out=self._out(),
        )

    def _out(self) -> frozenset[str]:
        """Return the bands that are left out of this clump."""
        return self._left_out.get(self._id, self._usual.left_out)

    def toggle(self, band: str) -> None:
        """Leave a band of this clump out of the fit, or take it back in.

        Parameters
        ----------
        band : str
            The band.

        Raises
        ------
        InputError
            If the clump has no light in it.
        """
        light = self.light
        bands = () if light is None else tuple(b for b, seen in zip(light.bands, light.observed, strict=True) if seen)
        if band not in bands:
            msg = f"{self._id or 'nothing'} has no light in {band!r}; it has {', '.join(bands) or 'none'}"
            raise InputError(msg)
        self._left_out[self._id] = self._out() ^ {band}
        self._paint(self._guarded_refresh)

    def reset(self) -> None:
        """Take every control back to the settings of the list, and this clump's bands and redshift too."""
        self._usual = choice_from(self._standing)
        self._left_out.pop(self._id, None)
        self._own_z.pop(self._id, None)
        with self._followed():
            set_controls(self.view_controls, self._usual)
        self._paint(self._guarded_refresh)

    @contextmanager
    def _followed(self) -> Iterator[None]:
        """Change controls without taking it for a wish of the user."""
        before, self._following = self._following, True
        try:
            yield
        finally:
            self._following = before

    def _view_changed(self, change: Any) -> None:
        if self._following:
            return
        name = next(key for key, control in self.view_controls.items() if control is change["owner"])
        self._choose()
        if name == "clump":
            if change["new"] and change["new"] != self._id:
                self._guarded(lambda: self.show(change["new"]))
            return
        if name == "redshift" and self._id:
            self._own_z[self._id] = float(change["new"])
        elif name.startswith(BAND) and self._id:
            self._guarded(lambda: self.toggle(change["owner"].description))
            return
        self._paint(self._guarded_refresh)
        self.refine()

    @property
    def _standing(self) -> SedSettings:
        """What the SEDs of the list are fitted with."""
        if self._fitted_with is not None:
            return self._fitted_with
        return standing_settings(self.session.document, self.session.current_catalog)

    def _settings(self, every: bool) -> tuple[SedSettings, list[str] | None]:
        if not every:
            self._fittable()
        return settings_of(self.choice, self._standing), None if every else [self._id]

    def _click_band(self, band: str) -> None:
        self._guarded(lambda: self.toggle(band))

    def _guarded(self, action: Any) -> None:
        try:
            action()
        except ScLabError as error:
            self.message.report(error)

    def _paint(self, change: Callable[[], Any]) -> None:
        """Change what is shown, as one message."""
        pane = self.host.pane
        with calm(), one_thread(), nullcontext() if pane is None else pane.hold():
            change()
        if pane is not None:
            pane.flush()
        self._catch_up()

    # ---- updates -----------------------------------------------------------------------------
    def _pivots_of(self, light: Light) -> np.ndarray:
        """Return where the bands lie [micron]."""
        from sc_lab.sed.filters import get_filter

        if self._pivots[0] != light.bands:
            self._pivots = (light.bands, np.array([get_filter(band).pivot for band in light.bands]) / 1e4)
        return self._pivots[1]

    def _keep_given(self) -> None:
        """Let a fit that was handed over be the one shown until a control changes."""
        if self._given is not None and self.light is not None:
            self.engine.keep(self.light, self.choice, self._given)

    def _update(self) -> None:
        self.engine.note_gesture()
        self._keep_given()
        self._given = None
        light = self.light
        if light is None:
            self._show_nothing()
            return
        choice = self.choice
        self._behind = (light, choice)
        state = (light.key, light.mu, choice)
        if self._drawn == state:
            return
        same_clump = self._light is not None and self._light.key == light.key
        self._light = light
        self.view.fill_light(light, choice, self._pivots_of(light))
        self._set_title(plain(title_of(light, choice, len(self._selected))))
        self._drawn = None
        why = choice.why_not(light)
        if why:
            self._clear_fit()
            self._say([why])
            self.engine.forget()
            self._drawn = state
            return
        fit = self.engine.kept(light, choice)
        if fit is None and self.engine.is_warm(light, choice):
            fit = self._fit_or_clear(light, choice)
        if fit is not None:
            self._show_fit(light, choice, fit)
            return
        if not same_clump:
            self._clear_fit()
        self._say([waiting(light, choice)])
        self.engine.fit_later(light, choice, partial(self._arrived, light, choice))

    def _fit_or_clear(self, light: Light, choice: Choice) -> Any:
        try:
            return self.engine.fit(light, choice)
        except ScLabError:
            self._clear_fit()
            self._say([])
            raise

    def _arrived(self, light: Light, choice: Choice, fit: Any) -> None:
        """Show a fit that was made beside the gestures, unless something else is shown by now."""
        if self._light is None or self._light.key != light.key or self.choice != choice:
            return
        self._paint(lambda: self._show_fit(light, choice, fit))

    def _failed(self, error: BaseException) -> None:
        """Show why a fit beside the gestures came to nothing."""
        # In a script it is not beside them, and the end of the gesture clears messages.
        self._say([str(error)] if isinstance(error, ScLabError) and not self.engine.has_loop else [])
        self._paint(self._clear_fit)
        self.message.report(error)

    def _show_fit(self, light: Light, choice: Choice, fit: Any) -> None:
        pivots = self._pivots_of(light)
        curves = self.engine.curves(light, choice, fit, self.view.span(pivots))
        self.view.name_library(fit.model.loaded_library.title)
        self.view.fill_fit(light, choice, pivots, curves)
        self.corner.fill(curves.corner, curves.numbers, mean_age="age" not in fit.samples)
        judged = self._judged.get((light.key, choice))
        if judged is None:
            self._clear_judged()
        else:
            self._overlay(light, choice, fit, judged)
        self._say(sentences(light, choice, fit))
        self._drawn = (light.key, light.mu, choice)

    def _show_nothing(self) -> None:
        self._light, self._drawn = None, None
        self.view.clear()
        self.corner.clear()
        self._clear_judged()
        self._set_title(UNTITLED)
        self._say([_NOTHING])

    def _clear_fit(self) -> None:
        self.view.clear_fit()
        self.corner.clear()
        self._clear_judged()

    def _clear_judged(self) -> None:
        self.view.clear_judge()
        self.corner.clear_judge()
        if self._table.value:
            self._table.value = ""

    def _follow(self, light: Light, choice: Choice) -> None:
        """Let the controls that belong to one clump say what holds for this one."""
        controls = self.view_controls
        seen = {band for band, there in zip(light.bands, light.observed, strict=True) if there}
        with self._followed():
            slider, z = controls["redshift"], choice.redshift(light)
            if not slider.dragging and slider.min <= z <= slider.max and slider.value != z:
                slider.value = z
            for band in self.lights.bands:
                box = controls[f"{BAND}{band.lower()}"]
                if box.disabled == (band in seen):
                    box.disabled = band not in seen
                if box.value != (band in seen and band not in choice.left_out):
                    box.value = not box.value
            if controls["tau"].disabled == (choice.sfh == "exponential"):
                controls["tau"].disabled = choice.sfh != "exponential"
            if "clump" in controls and controls["clump"].value != light.id:
                controls["clump"].value = light.id

    def _set_title(self, text: str) -> None:
        title = self.view.figures["sed"].title
        if title.text != text:
            title.text = text

    def _say(self, lines: list[str]) -> None:
        self._lines = lines

    def _catch_up(self) -> None:
        """Bring texts and controls up to date: each is a message of its own, so they go behind that of the figures."""
        if self._behind is not None:
            (light, choice), self._behind = self._behind, None
            self._follow(light, choice)
        self.apply.follow(self.choice, self.host.population.histories[1:2])
        value = as_html(self._lines)
        if self._words.value != value:
            self._words.value = value

    def _refine(self) -> None:
        """Write the texts, and have the tables of the other clumps made while nothing else happens."""
        self._catch_up()
        self._watch_pointer()
        population, choice = self.host.population, self.choice.spare()
        wanted = (population.catalog, choice)
        if self._prepared is not None and self._prepared[0] is wanted[0] and self._prepared[1] == choice:
            return
        self._prepared = wanted
        self.engine.prepare(self._one_of_each_redshift, choice)

    def _watch_pointer(self) -> None:
        """Fit the clump under a pointer that rests: a click on it is then answered at once."""
        pane = self.host.pane
        if pane is not None and pane is not self._watched:
            self._watched = pane
            # The pane must not keep the panel alive.
            seen = weakref.WeakMethod(self._foresee)
            pane.on_rest(lambda rest: foresee(rest) if (foresee := seen()) is not None else None)

    def _foresee(self, rest: Rest) -> None:
        plane = self.host.planes.get(rest.figure)
        row = plane.row_at(rest.x, rest.y) if plane is not None and self.visible else None
        if row is None or row in self.host.selection:
            return
        light = self.lights.of(self.host.population, row)
        out = self._left_out.get(light.id, self._usual.left_out)
        choice = replace(self.choice, z=self._own_z.get(light.id), left_out=out)
        if not choice.why_not(light):
            self.engine.foresee(light, choice, self.view.span(self._pivots_of(light)))

    def _one_of_each_redshift(self) -> list[Light]:
        """Return clumps whose tables are worth having, candidates first."""
        population = self.host.population
        has = self.lights.has_light(population)
        first, rest = np.flatnonzero(has & population.candidate), np.flatnonzero(has & ~population.candidate)
        rows = one_of_each(self.lights.redshifts(population), np.concatenate([first, rest]))
        return [self.lights.of(population, row) for row in rows[:AHEAD]]

    # ---- the check with bagpipes ---------------------------------------------------------------
    def _shown_fit(self) -> tuple[Any, Any] | None:
        light = self.light
        if light is None:
            self.message.show(_NOTHING)
            return None
        return (light.key, self.choice), self.result

    def _take_judged(self, key: Any, judged: Any) -> None:
        self._judged[key] = judged
        light, choice = self.light, self.choice
        if light is None or (light.key, choice) != key:
            # Another clump is shown by now: the answer waits until this one is shown again.
            return
        self._paint(lambda: self._overlay(light, choice, self.result, judged))

    def _overlay(self, light: Light, choice: Choice, fit: Any, judged: Any) -> None:
        pivots = self._pivots_of(light)
        low, high = self.view.span(pivots)
        curves = curves_of(judged, light, choice, low=low, high=high)
        self.view.fill_judge(pivots, curves)
        self.corner.fill_judge(curves.corner)
        self._table.value = differences(fit, judged)

    # ---- the same in plain Python ---------------------------------------------------------------
    @property
    def result(self) -> Any:
        """The fit of the clump that is shown.

        Raises
        ------
        InputError
            If no clump is shown, or it cannot be fitted.
        """
        light = self._fittable()
        return self.engine.fit(light, self.choice)

    def _fittable(self) -> Light:
        light = self.light
        why = _NOTHING if light is None else self.choice.why_not(light)
        if light is None or why:
            raise InputError(why)
        return light

    def code(self) -> str:
        """Return the call that makes `result` without any widget, with its numbers.

        Returns
        -------
        str
            Runnable text; its last statement assigns ``result``.

        Raises
        ------
        InputError
            If no clump is shown, or it cannot be fitted.
        """
        return fit_code(self._fittable(), self.choice)

    # ---- as a widget -----------------------------------------------------------------------------
    @property
    def widget(self) -> ui.Widget:
        """The panel as an ipywidget, where it stands alone."""
        if self._widget is None:
            pane = BokehPane(self.root, label="SC Lab SED: photometry, residuals, star formation and posterior")
            self.host.pane = pane
            pane.on_key(KeyBoard(self.host, self.message).press)
            replace_earlier(self)
            layout = ui.Layout(flex="1 1 0", min_width="0", overflow="auto")
            self._widget = ui.HBox([self.sidebar, ui.VBox([self.toolbar, pane], layout=layout)])
            self._widget.add_class("sclab-panel")
        return self._widget

    def close(self) -> None:
        """Free the widgets, the worker, bagpipes and the subscriptions."""
        self.engine.close()
        self.judge.close()
        self.apply.close()
        super().close()
        for part in (self.toolbar, self.sidebar):
            close_tree(part)
