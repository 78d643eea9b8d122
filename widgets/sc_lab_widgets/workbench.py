"""The workbench: the clump picker and every population panel around one session, in one pane."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as ui
from bokeh.layouts import column, row
from bokeh.models import Column, LayoutDOM

from sc_lab.catalog import flags
from sc_lab.clumps import Observation
from sc_lab.errors import InputError, ScLabError
from sc_lab.images import Field
from sc_lab.session.clump_editor import ClumpEditor
from sc_lab_widgets._binding import SETTING_CONTROLS, bind
from sc_lab_widgets._cells import close_tree, replace_earlier
from sc_lab_widgets._figures import side_by_side
from sc_lab_widgets._host import Host, as_session
from sc_lab_widgets._keys import HELP, KeyBoard
from sc_lab_widgets._message import Message
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets._panel import Controls, Panel
from sc_lab_widgets._sidebar import Sidebar
from sc_lab_widgets._simulated import simulated_catalog
from sc_lab_widgets.panels.density_size import DensitySizePanel
from sc_lab_widgets.panels.formation import FormationPanel
from sc_lab_widgets.panels.gc_colours import GCColourPanel
from sc_lab_widgets.panels.histograms import HistogramPanel
from sc_lab_widgets.panels.mass_function import MassFunctionPanel
from sc_lab_widgets.panels.picker import ClumpPicker
from sc_lab_widgets.panels.sed import SedPanel
from sc_lab_widgets.panels.size_magnitude import SizeMagnitudePanel
from sc_lab_widgets.panels.table import TablePanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from sc_lab.population import Population
    from sc_lab.session import Session

__all__ = ["Workbench"]

#: Views, in the order of their buttons; the first where there are images only.
VIEWS = ("images", "overview", "SED", "histograms", "density–size", "mass function")


#: Plots of the population below the SED.
SED_PLANES = ("size_magnitude", "density_size", "formation")


class Workbench:
    """Every plot of the population analysis, linked, with its controls.

    Parameters
    ----------
    source : table, str, path, Session, Field, Observation, ClumpEditor or None
        A catalogue (table, or file of any format that `sc_lab.catalog.read_catalog` reads), a
        project file (``.sclab``), a session, images with what is measured on them, or None for the
        embedded demonstration.
    project : str or path, optional
        Project file that keeps every step from now on. One that exists already, for the same
        catalogue, is continued. With images it brings its list of clumps along: ``clumps=`` may be
        left out then.
    clumps : table, optional
        Where the source is a field or an observation: positions to begin with (``ra``, ``dec`` and
        optionally ``id`` and ``galaxy``), as `sc_lab.detection.detect_clumps` gives them. They are
        measured first. The list begins empty without them.
    view : str, optional
        View shown first: "images" (the first choice where there are some), "overview",
        "SED", "histograms", "density–size" or "mass function".
    simulated : table, (Snapshot, Groups), or several of them, optional
        Simulated clusters to lay over the observed ones in the planes of density and size, from
        `sc_lab.simulations.measure_clusters` or `sc_lab.simulations.as_catalog`; in a mapping with their names. They
        are not part of the population: no slider moves them.

    Attributes
    ----------
    session : Session
        Document, undo and redo, project file.
    controls : Controls
        Every control by name: ``wb.controls.size_threshold.value = 30``.
    panels : dict of str to Panel
        The panels made so far, by name.
    editor : ClumpEditor or None
        The clump list over the images, where there are some.
    simulated : QTable or None
        The simulated clusters as one catalogue.

    Raises
    ------
    InputError
        If the source is of a kind that a workbench cannot be made from.
    """

    def __init__(
        self,
        source: Any = None,
        *,
        project: str | PathLike[str] | None = None,
        clumps: Any = None,
        view: str | None = None,
        simulated: Any = None,
    ) -> None:
        # Before anything is made: it may be refused.
        self.simulated = simulated_catalog(simulated)
        self.editor = _editor_of(source, clumps, None if project is None else Path(project))
        self.session: Session = as_session(source) if self.editor is None else self.editor.session
        if project is not None and self.editor is None:
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
            "density_size": DensitySizePanel(host=self.host, simulated=self.simulated),
            "formation": FormationPanel(host=self.host),
            "mass_function": MassFunctionPanel(host=self.host, parts=("cumulative_schechter", "corner")),
            "table": TablePanel(host=self.host),
        }
        plot_controls = {name: c for panel in self.panels.values() for name, c in panel.view_controls.items()}
        self.picker = None if self.editor is None else ClumpPicker(self.editor, host=self.host)
        views = VIEWS if self.picker else VIEWS[1:]
        if view is not None and view not in views:
            msg = f"there is no view {view!r} here; there are {', '.join(views)}"
            raise InputError(msg)
        chooser = ui.ToggleButtons(options=views, value=views[0], style={"button_width": "auto"})
        if self.picker is not None:
            # First in line: a click on an image is answered there before it is in the population plots.
            self.panels = {"images": self.picker, **self.panels}
        of_images = {} if self.picker is None else {**self.picker.view_controls, "with_sed": _with_sed()}
        self.controls = Controls(**settings, **plot_controls, **of_images, view=chooser)
        chooser.observe(lambda change: self._show(change["new"]), "value")
        if self.picker is not None:
            self.controls.with_sed.observe(lambda _change: self._show(chooser.value), "value")

        self._plots = self._overview()
        self._views["overview"] = self._plots
        if self.picker is not None:
            self._views["images"] = column(self.picker.root, self._plots, sizing_mode="stretch_width")
        self._root = Column(children=[self._views[views[0]]], sizing_mode="stretch_width")
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
        if view is not None:
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
            "SED": lambda: SedPanel(host=self.host),
            "histograms": lambda: HistogramPanel.all(host=self.host),
            "density–size": lambda: DensitySizePanel.all(host=self.host, simulated=self.simulated),
            "mass function": lambda: MassFunctionPanel(host=self.host),
        }
        panel = self.panels[view] = made[view]()
        if isinstance(panel, SedPanel):
            self._sed_above.children, self._sed_beside.children = (panel.toolbar,), (panel.sidebar,)
            # The planes below are there to click a clump in.
            planes = [self.panels[name].root for name in SED_PLANES]
            return column(panel.root, side_by_side(planes), sizing_mode="stretch_width")
        return panel.root

    def _lay_out_images(self) -> None:
        """Put the SED of the selected clump between its images and the plots of the population, where it is wanted."""
        if self.picker is None:
            return
        parts = [self.picker.root, self._plots]
        if self.controls.with_sed.value:
            if "SED" not in self._views:
                self._views["SED"] = self._make_view("SED")
            figures = self.panels["SED"].figures
            parts.insert(1, row(figures["sed"], figures["sed_corner"], sizing_mode="stretch_width"))
        if len(parts) != len(self._views["images"].children):
            self._views["images"].children = parts

    def _show(self, view: str) -> None:
        with self.pane.hold():
            if view == "images":
                self._lay_out_images()
            if view not in self._views:
                self._views[view] = self._make_view(view)
                self._sidebar.picture.options = sorted(self._pictures())
            # Only what is shown is in the document: hidden figures would be laid out anew at every change of a title.
            self._root.children = [self._views[view]]
            for name, panel in self.panels.items():
                below = view == "SED" and name in SED_PLANES
                below = below or (name == "SED" and view == "images" and self.controls.with_sed.value)
                panel.visible = below or (name == view if name in VIEWS else view in ("images", "overview"))
            for widget in (self._sed_above, self._sed_beside):
                widget.layout.display = None if view == "SED" else "none"
            if self.picker is not None:
                self._share_room(view)
            self.host.refresh()
        self.pane.flush()

    def _share_room(self, view: str) -> None:
        """Show what belongs to the images with them alone, and nothing twice."""
        over_images = view == "images"
        of_images = () if self.picker is None else (self.picker.toolbar, self.picker.sidebar, self.controls.with_sed)
        for widget in of_images:
            widget.layout.display = None if over_images else "none"
        for widget in (*(self.buttons[name] for name in ("undo", "redo", "help")), self._sidebar.details):
            widget.layout.display = "none" if over_images else None

    def _layout(self, plot_controls: list[str]) -> ui.Widget:
        self._status = ui.HTML()
        self._sidebar = Sidebar(
            self.controls,
            plot_controls,
            actions={
                "undo": ("Undo", "take the last step back (U in the plots)", self._keys.undo),
                "redo": ("Redo", "do it again (Shift-U)", self._keys.redo),
                "exclude": (
                    "Exclude / restore",
                    "leave the selected clumps out, or take them back (Delete)",
                    lambda: self._keys.exclude(self._sidebar.reason.value),
                ),
                "keep": ("Keep", "keep the selected although they lie in the colour box (K)", self._keys.keep),
                "help": ("Keys", "what clicks and keys do (?)", self._show_help),
            },
            exports={
                "catalogue": (
                    "Export catalogue",
                    "write the table, with everything needed to make it again",
                    lambda: self.export(self._sidebar.file.value),
                ),
                "project": (
                    "Keep in project",
                    "write every step, done and to come, into a project file",
                    lambda: self.save_as(self._sidebar.project.value),
                ),
                "plot": ("Save plot", "write the plot beside the notebook", self._save_chosen_plot),
            },
            pictures=self._pictures(),
            message=self.message,
        )
        self.buttons = self._sidebar.buttons
        self._sidebar.note.observe(self._take_note, "value")
        # Filled when the view is first shown.
        self._sed_above, self._sed_beside = ui.VBox(), ui.VBox()
        plots: list[ui.Widget] = [self.controls.view, self._sed_above, self.pane]
        beside: list[ui.Widget] = [self._sed_beside, self._sidebar.widget]
        if self.picker is not None:
            # What belongs to the images is shown with them alone.
            plots[1:1] = [self.controls.with_sed, self.picker.toolbar]
            beside.insert(0, self.picker.sidebar)
            self._share_room("images")
        body = ui.VBox(plots, layout=ui.Layout(flex="1 1 0", min_width="0", overflow="auto"))
        left = ui.VBox(beside, layout=ui.Layout(flex="0 0 auto"))
        whole = ui.VBox([ui.VBox([self._status, self.message]), ui.HBox([left, body])])
        whole.add_class("sclab-workbench")
        return whole

    def _save_chosen_plot(self) -> None:
        chosen = self._sidebar.picture.value
        self.save_plot(f"{chosen}.{self._sidebar.kind.value}", chosen)

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
        provisional = int(flags(self.population.catalog, "mass_is_provisional").sum())
        if provisional:
            parts.append(f"{provisional} {'mass' if provisional == 1 else 'masses'} provisional, for an assumed age")
        where = "not saved: open with project=…" if session.path is None else str(session.path)
        if session.read_only:
            where += " (read-only)"
        said = f'<span role="status">{" · ".join(parts)}</span> <small>— {html.escape(where)}</small>'
        status = f'<div style="line-height: 1.35">{said}</div>'
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
        if self._sidebar.details.value != text:
            self._sidebar.details.value = text

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
        self._sidebar.note.value = ""

    def _show_help(self) -> None:
        self.message.show_list(HELP)

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


def _with_sed() -> ui.Checkbox:
    return ui.Checkbox(
        value=False,
        description="SED of the selected clump",
        tooltip="its photometry, model and posterior below the images; everything else about it in the view SED",
        indent=False,
    )


def _editor_of(source: Any, clumps: Any, project: Path | None) -> ClumpEditor | None:
    """Return the editor behind images, kept in a project where one is named; None for a source without images."""
    if isinstance(source, ClumpEditor) and clumps is None:
        return source if project is None else _editor_kept_in(source, project)
    if isinstance(source, Field):
        source = Observation(field=source)
    if isinstance(source, Observation):
        if project is not None and project.exists() and clumps is None:
            from sc_lab.session import Session as SessionClass

            return ClumpEditor(SessionClass.open(project), source)
        return ClumpEditor.start(source, clumps, project=project)
    if clumps is not None:
        msg = f"clumps= goes with a Field or an Observation; the source is a {type(source).__name__}"
        raise InputError(msg)
    return None


def _editor_kept_in(editor: ClumpEditor, project: Path) -> ClumpEditor:
    """Return the editor whose session keeps its steps in a project file."""
    session = _kept_in(editor.session, project)
    return editor if session is editor.session else ClumpEditor(session, editor.observation)


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
