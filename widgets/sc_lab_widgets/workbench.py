"""The workbench: every population panel around one session, in one pane."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ui
from bokeh.layouts import column, row
from bokeh.models import Column, LayoutDOM

from sc_lab.errors import InputError, ScLabError
from sc_lab_widgets._binding import SETTING_CONTROLS, bind
from sc_lab_widgets._cells import close_tree, replace_earlier
from sc_lab_widgets._figures import side_by_side
from sc_lab_widgets._host import Host, as_session
from sc_lab_widgets._keys import HELP, KeyBoard
from sc_lab_widgets._message import Message
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._panel import Controls, Panel
from sc_lab_widgets.panels.density_size import DensitySizePanel
from sc_lab_widgets.panels.formation import FormationPanel
from sc_lab_widgets.panels.gc_colours import GCColourPanel
from sc_lab_widgets.panels.histograms import HistogramPanel
from sc_lab_widgets.panels.mass_function import MassFunctionPanel
from sc_lab_widgets.panels.size_magnitude import SizeMagnitudePanel
from sc_lab_widgets.panels.table import TablePanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from sc_lab.population import Population
    from sc_lab.session import Session

__all__ = ["Workbench"]

#: Views, in the order of their buttons.
VIEWS = ("overview", "histograms", "density–size", "mass function")
_GROUPS = {
    "Sample": ("size_threshold", "lens_model", "within"),
    "Mass function": ("age_max", "mass_min", "mass_max", "drop_most_massive"),
    "Globular clusters": ("gc_cut", "gc_box"),
    "Cosmology and draws": ("hubble", "omega_m", "omega_de", "n_populations", "seed"),
}


class Workbench:
    """Every plot of the population analysis, linked, with its controls.

    Parameters
    ----------
    source : table, str, path, Session or None
        A catalogue (table, or file of any format that `sc_lab.catalog.read_catalog` reads), a
        project file (``.sclab``), a session, or None for the embedded demonstration.
    project : str or path, optional
        Project file that keeps every step from now on. One that exists already, for the same
        catalogue, is continued.
    view : str
        View shown first: "overview", "histograms", "density–size" or "mass function".

    Attributes
    ----------
    session : Session
        Document, undo and redo, project file.
    controls : Controls
        Every control by name: ``wb.controls.size_threshold.value = 30``.
    panels : dict of str to Panel
        The panels made so far, by name.

    Raises
    ------
    InputError
        If the source is of a kind that a workbench cannot be made from.
    """

    def __init__(
        self, source: Any = None, *, project: str | PathLike[str] | None = None, view: str = "overview"
    ) -> None:
        self.session: Session = as_session(source)
        if project is not None:
            self.session = _kept_in(self.session, Path(project))
        self.host = Host(self.session)
        self.message = Message()
        self._keys = KeyBoard(self.host, self.message)
        self._undo: list[Callable[[], None]] = []
        self.panels: dict[str, Panel] = {}
        self._views: dict[str, LayoutDOM] = {}
        self._closed = False

        settings = {name: factory(self.host) for name, factory in SETTING_CONTROLS.items()}
        self._undo += [bind(self.session, control, name, self.message.report) for name, control in settings.items()]
        self.panels |= {
            "gc_colours": GCColourPanel(host=self.host),
            "size_magnitude": SizeMagnitudePanel(host=self.host),
            "histogram": HistogramPanel(host=self.host),
            "density_size": DensitySizePanel(host=self.host),
            "formation": FormationPanel(host=self.host),
            "mass_function": MassFunctionPanel(host=self.host, parts=("cumulative_schechter", "corner")),
            "table": TablePanel(host=self.host),
        }
        plot_controls = {name: c for panel in self.panels.values() for name, c in panel.view_controls.items()}
        chooser = ui.ToggleButtons(options=VIEWS, value="overview", style={"button_width": "auto"})
        self.controls = Controls(**settings, **plot_controls, view=chooser)
        chooser.observe(lambda change: self._show(change["new"]), "value")

        self._root = Column(children=[self._overview()], sizing_mode="stretch_width")
        self._views["overview"] = self._root.children[0]
        self.pane = BokehPane(self._root, label="SC Lab workbench: linked plots")
        self.host.pane = self.pane
        self.pane.on_gesture_end(lambda gesture: self._release() if gesture.kind == "pointer" else None)
        self.pane.on_key(self._keys.press)
        self.widget: ui.Widget = self._layout(list(plot_controls))
        self.host.on_update(self._update_texts)
        self._update_texts()
        if self.population.cautions:
            self.message.show("; ".join(self.population.cautions))
        if self.session.read_only:
            why = f"this project is open read-only, so edits are refused: {self.session.read_only_reason}"
            self.message.show(why, error=True)
        replace_earlier(self)
        if view != "overview":
            self.controls.view.value = view

    # ---- layout ------------------------------------------------------------------------------
    def _overview(self) -> LayoutDOM:
        figures = {name: panel.root for name, panel in self.panels.items()}
        cumulative, corner = (self.panels["mass_function"].figures[n] for n in ("cumulative_schechter", "corner"))
        plots = [figures[n] for n in ("gc_colours", "size_magnitude", "histogram", "density_size", "formation")]
        corner.sizing_mode, corner.width = "fixed", 330
        below = row(corner, figures["table"], sizing_mode="stretch_width")
        return column(side_by_side([*plots, cumulative]), below, sizing_mode="stretch_width")

    def _make_view(self, view: str) -> LayoutDOM:
        made: dict[str, Callable[[], Panel]] = {
            "histograms": lambda: HistogramPanel.all(host=self.host),
            "density–size": lambda: DensitySizePanel.all(host=self.host),
            "mass function": lambda: MassFunctionPanel(host=self.host),
        }
        panel = self.panels[view] = made[view]()
        return panel.root

    def _show(self, view: str) -> None:
        with self.pane.hold():
            if view not in self._views:
                self._views[view] = self._make_view(view)
            # Only what is shown is in the document: hidden figures would be laid out anew at every change of a title.
            self._root.children = [self._views[view]]
            for name, panel in self.panels.items():
                panel.visible = name == view if name in VIEWS else view == "overview"
            self.host.refresh()
        self.pane.flush()

    def _layout(self, plot_controls: list[str]) -> ui.Widget:
        self._status = ui.HTML()
        self._details = ui.HTML()
        buttons = {
            "undo": ("Undo", "take the last step back (U in the plots)", self._keys.undo),
            "redo": ("Redo", "do it again (Shift-U)", self._keys.redo),
            "exclude": (
                "Exclude / restore",
                "leave the selected clumps out, or take them back (Delete)",
                self._exclude,
            ),
            "keep": ("Keep", "keep the selected although they lie in the colour box (K)", self._keys.keep),
            "help": ("Keys", "what clicks and keys do (?)", self._show_help),
        }
        self.buttons = {name: self._button(label, tip, action) for name, (label, tip, action) in buttons.items()}
        self._reason = ui.Text(
            placeholder="reason, for the record",
            description="reason",
            layout={"width": "auto"},
            continuous_update=False,
        )
        self._note = ui.Text(
            placeholder="note on the selected clump",
            description="note",
            layout={"width": "auto"},
            continuous_update=False,
        )
        self._note.observe(self._take_note, "value")
        self._file = ui.Text(
            value="star_clusters.ecsv",
            description="file",
            layout={"width": "auto"},
            continuous_update=False,
            tooltip=".ecsv .fits .vot .csv .parquet .reg .tex",
        )
        self._project = ui.Text(
            value="star_clusters.sclab",
            description="project",
            layout={"width": "auto"},
            continuous_update=False,
            tooltip="a file that keeps every step from now on",
        )
        self._picture = ui.Dropdown(options=sorted(self._pictures()), description="plot", layout={"width": "auto"})
        self._kind = ui.Dropdown(options=["png", "svg", "ecsv"], description="as", layout={"width": "auto"})
        export = ui.VBox(
            [
                self._file,
                self._button(
                    "Export catalogue",
                    "write the table, with everything needed to make it again",
                    lambda: self.export(self._file.value),
                ),
                self._project,
                self._button(
                    "Keep in project",
                    "write every step, done and to come, into a project file",
                    lambda: self.save_as(self._project.value),
                ),
                self._picture,
                self._kind,
                self._button(
                    "Save plot",
                    "write the plot beside the notebook",
                    lambda: self.save_plot(f"{self._picture.value}.{self._kind.value}", self._picture.value),
                ),
            ]
        )
        groups = [ui.VBox([getattr(self.controls, name) for name in names]) for names in _GROUPS.values()]
        groups.append(ui.VBox([getattr(self.controls, name) for name in plot_controls]))
        groups.append(export)
        titles = [*_GROUPS, "Plot options", "Export"]
        sections: list[ui.Widget] = []
        for title, group in zip(titles, groups, strict=True):
            if title in ("Cosmology and draws", "Export"):
                sections.append(ui.Accordion(children=[group], titles=(title,), selected_index=None))
            else:
                sections += [ui.HTML(f"<b>{title}</b>"), group]
        edit = ui.Box(
            [self.buttons[name] for name in ("undo", "redo", "exclude", "keep", "help")],
            layout=ui.Layout(flex_flow="row wrap"),
        )
        sidebar = ui.VBox(
            [edit, self._reason, self._note, *sections, self._details],
            layout=ui.Layout(width="330px", flex="0 0 330px", overflow="visible", padding="0 10px 0 0"),
        )
        body = ui.VBox([self.controls.view, self.pane], layout=ui.Layout(flex="1 1 0", min_width="0", overflow="auto"))
        top = ui.VBox([self._status, self.message])
        whole = ui.VBox([top, ui.HBox([sidebar, body])])
        whole.add_class("sclab-workbench")
        return whole

    def _button(self, label: str, tip: str, action: Callable[[], Any]) -> ui.Button:
        button = ui.Button(description=label, tooltip=tip, layout={"width": "auto"})

        def pressed(_button: Any) -> None:
            try:
                action()
            except ScLabError as error:
                self.message.report(error)
            except OSError as error:
                self.message.show(f"the file could not be written: {error.strerror or error}", error=True)

        button.on_click(pressed)
        return button

    # ---- what follows the session ------------------------------------------------------------
    def _update_texts(self) -> None:
        counts, session = self.population.counts, self.session
        threshold = self.population.settings.size_threshold
        parts = [
            f"<b>{counts['clumps']}</b> clumps",
            f"<b>{counts['candidates']}</b> candidates below {threshold:g} pc ({counts['candidate_limits']} limits)",
            f"<b>{counts['mass_function']}</b> in the mass function",
            f"<b>{counts['globular_clusters']}</b> in the colour box",
            f"<b>{counts['excluded']}</b> excluded",
        ]
        for name, words in (
            ("without_radius", "without radius"),
            ("without_mass", "without mass"),
            ("outside_lens_model", "outside the lens model"),
            ("undefined_z_form", "older than the Universe"),
        ):
            if counts[name]:
                parts.append(f"{counts[name]} {words}")
        where = "not saved: open with project=…" if session.path is None else str(session.path)
        if session.read_only:
            where += " (read-only)"
        status = f'<span role="status">{" · ".join(parts)}</span> <small>— {html.escape(where)}</small>'
        if self._status.value != status:
            self._status.value = status
        for name, possible in (("undo", session.can_undo), ("redo", session.can_redo)):
            if self.buttons[name].disabled == possible:
                self.buttons[name].disabled = not possible
        self._update_details()

    def _update_details(self) -> None:
        selection = self.host.selection
        text = ""
        if len(selection) == 1:
            cells = self.population.describe(int(selection[0])).items()
            rows = "".join(
                f"<tr><th scope='row' style='text-align:left;padding-right:8px'>{html.escape(label)}</th>"
                f"<td>{html.escape(value)}</td></tr>"
                for label, value in cells
            )
            text = f"<table style='font-size:12px;line-height:1.35'>{rows}</table>"
        elif len(selection):
            names = ", ".join(html.escape(name) for name in self.host.selected_ids[:12])
            text = f"{len(selection)} selected: {names}{' …' if len(selection) > 12 else ''}"
        if self._details.value != text:
            self._details.value = text

    def _release(self) -> None:
        for panel in self.panels.values():
            panel.release()

    # ---- actions, each with its call -----------------------------------------------------------
    @property
    def population(self) -> Population:
        """The population under the settings of this moment."""
        return self.host.population

    @property
    def selected(self) -> list[str]:
        """Identifiers of the selected clumps."""
        return self.host.selected_ids

    def select(self, ids: Iterable[str], *, add: bool = False) -> None:
        """Select clumps in every panel.

        Parameters
        ----------
        ids : iterable of str
            Identifiers.
        add : bool
            Add to the selection instead of replacing it.

        Raises
        ------
        InputError
            If the catalogue does not have an identifier.
        """
        index, ids = self.population.index, [ids] if isinstance(ids, str) else list(ids)
        unknown = [name for name in ids if name not in index]
        if unknown:
            msg = f"the catalogue has no clump named {', '.join(map(repr, unknown[:5]))}; see wb.population.ids"
            raise InputError(msg)
        self.host.select([index[name] for name in ids], add=add)

    def _exclude(self) -> None:
        self._keys.exclude(self._reason.value)

    def _take_note(self, change: Any) -> None:
        if not change["new"]:
            return
        if len(self.selected) != 1:
            self.message.show("a note belongs to one clump: select it first")
            return
        try:
            self.session.do("note", id=self.selected[0], text=change["new"])
        except ScLabError as error:
            self.message.report(error)
        self._note.value = ""

    def _show_help(self) -> None:
        self.message.show("; ".join(f"{keys}: {text}" for keys, text in HELP))

    def _pictures(self) -> dict[str, Panel]:
        # Of two figures of one name the one on the screen is meant.
        return {
            name: panel
            for panel in sorted(self.panels.values(), key=lambda panel: panel.visible)
            for name in panel.figures
        }

    def save_as(self, path: str | PathLike[str]) -> None:
        """Keep every step of the session, done and to come, in a project file.

        Parameters
        ----------
        path : path-like
            A new file; by custom it ends in ``.sclab``.

        Raises
        ------
        ProjectError
            If the file exists or cannot be written.
        """
        self.session.save_as(path)
        self._update_texts()
        self.message.show(f"every step is kept in {self.session.path}")

    def save_plot(self, path: str | PathLike[str], figure: str, *, overwrite: bool = False) -> None:
        """Save a plot as PNG, SVG or data, by the suffix of the path.

        Parameters
        ----------
        path : path-like
            ``.png`` and ``.svg`` are drawn by the browser; ``.ecsv`` and ``.csv`` are the numbers.
        figure : str
            Name of the figure.
        overwrite : bool
            Replace a file that exists.

        Raises
        ------
        InputError
            If the suffix or the figure is unknown, the file exists, or no browser shows the workbench.
        """
        pictures = self._pictures()
        if figure not in pictures:
            msg = f"there is no figure {figure!r}; there are {', '.join(sorted(pictures))}"
            raise InputError(msg)
        if not pictures[figure].visible:
            # What is not on the screen has not followed either.
            views = [view for view, panel in self.panels.items() if panel is pictures[figure] and view in VIEWS]
            self.controls.view.value = views[0] if views else "overview"
        pictures[figure].save(
            path, figure, overwrite=overwrite, done=lambda written: self.message.show(f"wrote {written}")
        )

    def export(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the catalogue with its computed columns and its provenance.

        Parameters
        ----------
        path : path-like
            ``.ecsv``, ``.fits``, ``.vot``, ``.csv``, ``.parquet``; DS9 regions as ``.reg``; LaTeX as ``.tex``.
        overwrite : bool
            Replace a file that exists.

        Raises
        ------
        InputError
            If the suffix is unknown, or the file exists.
        """
        from sc_lab.export import catalog_table, write_table

        write_table(catalog_table(self.population), path, overwrite=overwrite)
        self.message.show(f"wrote {path}")

    def code(self) -> str:
        """Return the plain-Python text that makes this population without any widget.

        Returns
        -------
        str
            Runnable text ending with ``population``.
        """
        from sc_lab_widgets._code import population_code

        return population_code(self.host) + "\n"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Show the workbench in a notebook cell."""
        return self.widget._repr_mimebundle_(include=include, exclude=exclude)

    def close(self) -> None:
        """Free every widget, subscription and plot; the session stays open for other panels."""
        if self._closed:
            return
        self._closed = True
        for undo in self._undo:
            undo()
        for panel in self.panels.values():
            panel.close()
        self.host.close()
        self.pane.close()
        close_tree(self.widget)


def _kept_in(session: Session, project: Path) -> Session:
    """Return the session that keeps its steps in a project file: this one where the file is new."""
    if session.path is not None:
        msg = f"the source is the project {session.path} already; leave project= out"
        raise InputError(msg)
    if project.exists():
        from sc_lab.session import Session as SessionClass

        return SessionClass(session.catalog, project=project)
    session.save_as(project)
    return session
