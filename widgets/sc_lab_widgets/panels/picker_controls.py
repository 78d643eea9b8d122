"""The controls of the clump picker: choices, stretch, buttons, and how they are laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ui

from sc_lab_widgets._controls import LiveSlider

if TYPE_CHECKING:
    from collections.abc import Callable

    from sc_lab_widgets.panels.picker import ClumpPicker
    from sc_lab_widgets.panels.picker_source import Bench

__all__ = ["CHANNELS", "COLOUR", "STRETCH", "WHOLE", "make_button", "make_controls", "make_sidebar", "make_toolbar"]

#: The choice of the large image that is not a band.
COLOUR: Final = "colour"
#: The choice of the cut-out that is not a galaxy.
WHOLE: Final = "whole field"
CHANNELS: Final = ("red", "green", "blue")
#: Controls on which the large image depends.
STRETCH: Final = (*CHANNELS, "stretch", "q", *(f"{name}_{what}" for name in CHANNELS for what in ("gain", "black")))
_FIRST = ("galaxy", "image", "band", "show_markers", "subtract_host", "edit_contour", "critical", "counter")
_STYLE = {"description_width": "6.5em"}


def _three(bands: list[str]) -> tuple[str, str, str]:
    """Return the bands shown as red, green and blue: the reddest, the middle and the bluest."""
    return bands[-1], bands[len(bands) // 2], bands[0]


def make_controls(bench: Bench) -> dict[str, Any]:
    """Return the controls of the view, by name.

    Parameters
    ----------
    bench : Bench
        What is looked at.

    Returns
    -------
    dict of str to Widget
        In the order of the sidebar.
    """
    bands = list(bench.field.names)
    red, green, blue = _three(bands)
    galaxies = [galaxy.id for galaxy in bench.galaxies]

    def choice(label: str, options: list[str], value: str, tip: str) -> ui.Dropdown:
        layout = {"width": "auto"}
        return ui.Dropdown(options=options, value=value, description=label, tooltip=tip, style=_STYLE, layout=layout)

    def slider(label: str, value: float, low: float, high: float, tip: str) -> LiveSlider:
        return LiveSlider(value, low, high, 0.05, label=label, log=True, hint=tip)

    def black(name: str) -> LiveSlider:
        tip = f"black level of the {name} channel, from the sky"
        return LiveSlider(0.0, -5.0, 20.0, 0.25, label=f"{name} black", unit="σ", hint=tip)

    def check(label: str, tip: str, *, value: bool) -> ui.Checkbox:
        return ui.Checkbox(value=value, description=label, tooltip=tip, indent=False)

    return {
        "galaxy": choice("galaxy", [*galaxies, WHOLE], (galaxies or [WHOLE])[0], "which cut-out ([ and ])"),
        "image": choice("image", [COLOUR, *bands], COLOUR, "the large image: colour, or one band (B)"),
        "band": choice("residual of", bands, bench.field.reference, "band of data, model and residual"),
        "show_markers": check("markers", "show the clumps", value=True),
        "subtract_host": check(
            "residual without host", "take off the light of the galaxy, a running median", value=True
        ),
        "edit_contour": check("edit contour", "drag vertices, double-click inserts, Delete removes (E)", value=False),
        "critical": check("critical curves", "at the redshift of the galaxy", value=False),
        "counter": check("counter-images", "where the lens model expects the selected clump again", value=False),
        "red": choice("red", bands, red, "band shown as red"),
        "green": choice("green", bands, green, "band shown as green"),
        "blue": choice("blue", bands, blue, "band shown as blue"),
        "stretch": slider("stretch", 8.0, 0.5, 200.0, "turns from linear to logarithmic at this many σ"),
        "q": slider("Q", 8.0, 0.5, 100.0, "larger shows brighter structure"),
        **{f"{name}_gain": slider(f"{name} gain", 1.0, 0.1, 10.0, f"brightness of {name}") for name in CHANNELS},
        **{f"{name}_black": black(name) for name in CHANNELS},
    }


def make_button(
    label: str, tip: str, action: Callable[[], Any], guard: Callable[[Callable[[], Any]], Any]
) -> ui.Button:
    """Return a button.

    Parameters
    ----------
    label, tip : str
        Text and tool-tip.
    action : callable
        What it does.
    guard : callable
        Called with the action; shows its errors in place.

    Returns
    -------
    Button
        The button.
    """
    button = ui.Button(description=label, tooltip=tip, layout={"width": "auto", "padding": "0 8px"})
    button.on_click(lambda _button: guard(action))
    return button


def make_toolbar(picker: ClumpPicker) -> tuple[ui.Widget, dict[str, ui.Button]]:
    """Return the row of buttons, with the line for messages below.

    Parameters
    ----------
    picker : ClumpPicker
        The picker.

    Returns
    -------
    VBox
        Buttons and messages.
    dict of str to Button
        The buttons by name.
    """
    proposals = picker.proposals
    actions: dict[str, tuple[str, str, Callable[[], Any]]] = {
        "previous": ("◀", "previous galaxy ([)", lambda: picker.step(-1)),
        "next": ("▶", "next galaxy (])", lambda: picker.step(1)),
        "blink": ("Blink", "next band (B)", picker.blink),
        "reset": ("Reset", "show the whole cut-out (R)", picker.reset_view),
        "move": ("Move", "then click the new place (M); or drag the ring", picker.gestures.begin_move),
        "remove": ("Remove", "take the selected clumps off the list (Delete)", picker.gestures.delete),
        "split": ("Split", "fit the selected clump as two (S)", picker.split),
        "merge": ("Merge", "fit the selected clumps as one (G)", picker.merge),
        "detect": ("Detect", "propose clumps inside the contour", lambda: proposals.detect(wait=False)),
        "splits": (
            "Propose splits",
            "look for second components in the residual",
            lambda: proposals.find_splits(wait=False),
        ),
        "accept": ("Accept", "take the selected proposals, or all (A)", proposals.accept),
        "reject": ("Reject", "drop the selected proposals, or all", proposals.reject),
        "undo": ("Undo", "take the last step back (U)", picker.undo),
        "redo": ("Redo", "do it again (Shift-U)", picker.redo),
        "help": ("Keys", "what clicks and keys do (?)", picker.show_help),
    }
    buttons = {name: make_button(*parts, picker.guarded) for name, parts in actions.items()}
    row = ui.Box(list(buttons.values()), layout=ui.Layout(flex_flow="row wrap"))
    # Room for the message is kept free: a text that comes between two clicks must not move the images under them.
    return ui.VBox([row, ui.Box([picker.message], layout=ui.Layout(min_height="38px"))]), buttons


def make_sidebar(picker: ClumpPicker, numbers: ui.Widget) -> tuple[ui.Widget, ui.Text]:
    """Return the column beside the figures.

    Parameters
    ----------
    picker : ClumpPicker
        The picker.
    numbers : Widget
        Where the numbers of the selected clump are shown.

    Returns
    -------
    VBox
        The column.
    Text
        The name of the region file in it.
    """
    controls = picker.view_controls
    path = ui.Text(
        value="clumps.reg",
        description="regions",
        style=_STYLE,
        layout={"width": "auto"},
        continuous_update=False,
        tooltip="a DS9 region file",
    )
    read = make_button(
        "Read regions", "propose the positions of a DS9 file", lambda: picker.read_regions(path.value), picker.guarded
    )
    write = make_button(
        "Write regions", "write the clumps as a DS9 file", lambda: picker.write_regions(path.value), picker.guarded
    )
    folded = ui.Accordion(
        children=[
            ui.VBox([control for name, control in controls.items() if name not in _FIRST]),
            ui.VBox([path, read, write]),
        ],
        titles=("Stretch and channels", "Region files"),
        selected_index=None,
    )
    layout = ui.Layout(width="300px", flex="0 0 300px", overflow="visible", padding="0 10px 0 0")
    # The numbers come last: what grows at a click must not move what is clicked next.
    return ui.VBox([*(controls[name] for name in _FIRST), folded, numbers], layout=layout), path
