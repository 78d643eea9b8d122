"""The controls beside the plots of a workbench: buttons, settings, texts and the export form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as ui

from sc_lab.errors import ScLabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sc_lab_widgets._message import Message
    from sc_lab_widgets._panel import Controls

__all__ = ["Sidebar"]

_GROUPS = {
    "Sample": ("size_threshold", "lens_model", "within"),
    "Mass function": ("age_max", "mass_min", "mass_max", "drop_most_massive"),
    "Globular clusters": ("gc_cut", "gc_box"),
    "Cosmology and draws": ("hubble", "omega_m", "omega_de", "n_populations", "seed"),
}
_FOLDED = ("Cosmology and draws", "Export")
_AUTO = {"width": "auto"}


class Sidebar:
    """Everything beside the plots.

    Parameters
    ----------
    controls : Controls
        The controls of the workbench.
    plot_controls : iterable of str
        Names of those that belong to plots.
    actions : dict
        The buttons, in order: name to (label, hint, what is done).
    exports : dict
        The buttons of the export form: name to (label, hint, what is done).
    pictures : iterable of str
        Names of the figures that can be saved.
    message : Message
        Where refusals are shown.

    Attributes
    ----------
    widget : Widget
        The whole.
    buttons : dict of str to Button
        The buttons of `actions`.
    reason, note, file, project, picture, kind, details
        The fields that a user fills in, and the text about what is selected.
    """

    def __init__(
        self,
        controls: Controls,
        plot_controls: Iterable[str],
        *,
        actions: dict[str, tuple[str, str, Callable[[], Any]]],
        exports: dict[str, tuple[str, str, Callable[[], Any]]],
        pictures: Iterable[str],
        message: Message,
    ) -> None:
        self._message = message
        self.buttons = {name: self._button(*action) for name, action in actions.items()}
        self.reason = _text("reason", "", placeholder="reason, for the record")
        self.note = _text("note", "", placeholder="note on the selected clump")
        self.file = _text("file", "star_clusters.ecsv", tooltip=".ecsv .fits .vot .csv .parquet .reg .tex")
        self.project = _text("project", "star_clusters.sclab", tooltip="a file that keeps every step from now on")
        self.picture = ui.Dropdown(options=sorted(pictures), description="plot", layout=dict(_AUTO))
        self.kind = ui.Dropdown(options=["png", "svg", "ecsv"], description="as", layout=dict(_AUTO))
        self.details = ui.HTML()
        keep = {name: self._button(*action) for name, action in exports.items()}
        export = ui.VBox(
            [self.file, keep["catalogue"], self.project, keep["project"], self.picture, self.kind, keep["plot"]]
        )
        groups = {title: ui.VBox([getattr(controls, name) for name in names]) for title, names in _GROUPS.items()}
        groups["Plot options"] = ui.VBox([getattr(controls, name) for name in plot_controls])
        groups["Export"] = export
        sections: list[ui.Widget] = []
        for title, group in groups.items():
            if title in _FOLDED:
                sections.append(ui.Accordion(children=[group], titles=(title,), selected_index=None))
            else:
                sections += [ui.HTML(f"<b>{title}</b>"), group]
        edit = ui.Box(list(self.buttons.values()), layout=ui.Layout(flex_flow="row wrap"))
        self.widget = ui.VBox(
            [edit, self.reason, self.note, *sections, self.details],
            layout=ui.Layout(width="300px", flex="0 0 300px", overflow="visible", padding="0 10px 0 0"),
        )

    def _button(self, label: str, tip: str, action: Callable[[], Any]) -> ui.Button:
        button = ui.Button(description=label, tooltip=tip, layout=dict(_AUTO))

        def pressed(_button: Any) -> None:
            try:
                action()
            except ScLabError as error:
                self._message.report(error)
            except OSError as error:
                self._message.show(f"the file could not be written: {error.strerror or error}", error=True)

        button.on_click(pressed)
        return button


def _text(label: str, value: str, **options: Any) -> ui.Text:
    return ui.Text(value=value, description=label, layout=dict(_AUTO), continuous_update=False, **options)
