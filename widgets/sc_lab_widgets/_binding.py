"""Controls of settings: how each looks, and how it and the session follow one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as ui

from sc_lab.errors import InputError, ScLabError
from sc_lab.population import Settings
from sc_lab_widgets._controls import LiveSlider

if TYPE_CHECKING:
    from sc_lab.session import Session
    from sc_lab_widgets._host import Host

__all__ = ["SETTING_CONTROLS", "bind", "box_text", "parse_box"]

_WIDE = {"description_width": "7.5em"}
_LAYOUT = {"width": "auto"}


def box_text(vertices: Any) -> str:
    """Return polygon vertices as a user types them.

    Parameters
    ----------
    vertices : iterable of (float, float)
        The vertices.

    Returns
    -------
    str
        For instance ``-1 0; -0.5 0; -0.5 0.3; -1 0.3``.
    """
    return "; ".join(f"{x:g} {y:g}" for x, y in vertices)


def parse_box(text: str) -> list[list[float]]:
    """Return the vertices that a user typed.

    Parameters
    ----------
    text : str
        ``x y`` pairs with semicolons between them.

    Returns
    -------
    list of [float, float]
        The vertices.

    Raises
    ------
    InputError
        If the text has another form.
    """
    try:
        return [[float(part) for part in pair.replace(",", " ").split()] for pair in text.split(";") if pair.strip()]
    except ValueError:
        example = box_text(Settings().gc_box)
        msg = f"the box reads {text!r}; give x y pairs with semicolons between them, such as {example!r}"
        raise InputError(msg) from None


def _mass_max_text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _parse_mass_max(text: str) -> float | None:
    if not text.strip() or text.strip().lower() in ("none", "inf", "infinity"):
        return None
    try:
        return float(text)
    except ValueError:
        msg = f"the upper mass limit reads {text!r}; give a number in solar masses, or nothing for no limit"
        raise InputError(msg) from None


def _slider(name: str, label: str, unit: str, low: float, high: float, step: float, *, log: bool) -> Callable[..., Any]:
    def make(host: Host) -> LiveSlider:
        value = getattr(host.session.settings, name)
        # A project may hold a value beyond the usual range: the slider reaches as far as its value.
        return LiveSlider(
            value=value, min=min(low, value), max=max(high, value), step=step, label=label, unit=unit, log=log
        )

    return make


def _number(name: str, label: str, tip: str) -> Callable[..., Any]:
    def make(host: Host) -> ui.FloatText:
        return ui.FloatText(
            value=getattr(host.session.settings, name),
            description=label,
            tooltip=tip,
            style=_WIDE,
            layout=_LAYOUT,
            continuous_update=False,
        )

    return make


def _whole(name: str, label: str, tip: str) -> Callable[..., Any]:
    def make(host: Host) -> ui.IntText:
        return ui.IntText(
            value=getattr(host.session.settings, name),
            description=label,
            tooltip=tip,
            style=_WIDE,
            layout=_LAYOUT,
            continuous_update=False,
        )

    return make


def _check(name: str, label: str, tip: str) -> Callable[..., Any]:
    def make(host: Host) -> ui.Checkbox:
        return ui.Checkbox(value=getattr(host.session.settings, name), description=label, tooltip=tip, indent=False)

    return make


def _lens_model(host: Host) -> ui.Dropdown:
    names = host.population.lens_models
    return ui.Dropdown(
        options=[(name.upper() or "reference", name) for name in names],
        value=host.session.settings.lens_model,
        description="lens model",
        style=_WIDE,
        layout=_LAYOUT,
        disabled=len(names) == 1,
        tooltip="magnifications of which lens model; the reference is the catalogue's own",
    )


def _within(host: Host) -> ui.Dropdown:
    return ui.Dropdown(
        options=[("half: M / 2πR²", "half"), ("total: M / πR²", "total")],
        value=host.session.settings.within,
        description="density",
        style=_WIDE,
        layout=_LAYOUT,
        tooltip="convention of the surface density",
    )


def _gc_box(host: Host) -> ui.Text:
    return ui.Text(
        value=box_text(host.session.settings.gc_box),
        description="colour box",
        style=_WIDE,
        layout=_LAYOUT,
        continuous_update=False,
        tooltip="vertices x y; x y; … with x = F200W−F356W and y = F150W−F200W (AB)",
    )


def _mass_max(host: Host) -> ui.Text:
    return ui.Text(
        value=_mass_max_text(host.session.settings.mass_max),
        description="highest mass",
        style=_WIDE,
        layout=_LAYOUT,
        continuous_update=False,
        placeholder="no limit",
        tooltip="upper limit of the mass-function sample and of its normalisation; empty for none",
    )


#: How to make the control of each setting.
SETTING_CONTROLS: dict[str, Callable[..., Any]] = {
    "size_threshold": _slider("size_threshold", "size threshold", "pc", 1.0, 200.0, 1.0, log=False),
    "age_max": _slider("age_max", "oldest age", "Myr", 1.0, 14_000.0, 0.02, log=True),
    "mass_min": _slider("mass_min", "lowest mass", "M☉", 1e4, 1e8, 0.02, log=True),
    "mass_max": _mass_max,
    "drop_most_massive": _check("drop_most_massive", "leave the most massive out", "as the paper does"),
    "gc_cut": _check("gc_cut", "remove globular clusters", "leave members of the colour box out of the sample"),
    "gc_box": _gc_box,
    "lens_model": _lens_model,
    "within": _within,
    "hubble": _number("hubble", "H₀ [km/s/Mpc]", "Hubble constant"),
    "omega_m": _number("omega_m", "Ωm", "matter density today"),
    "omega_de": _number("omega_de", "ΩΛ", "dark-energy density today; curvature takes the rest"),
    "n_populations": _whole("n_populations", "populations", "populations drawn for error bars and the bootstrap"),
    "seed": _whole("seed", "seed", "seed of every random step"),
}

_TO_TEXT: dict[str, Callable[[Any], Any]] = {"gc_box": box_text, "mass_max": _mass_max_text}
_FROM_TEXT: dict[str, Callable[[Any], Any]] = {"gc_box": parse_box, "mass_max": _parse_mass_max}


def bind(session: Session, control: Any, name: str, report: Callable[[BaseException], None]) -> Callable[[], None]:
    """Let a control change a setting, and follow it.

    Parameters
    ----------
    session : Session
        The session.
    control : Widget
        A control as `SETTING_CONTROLS` makes it.
    name : str
        The setting.
    report : callable
        Called with the error when the session refuses a value; the control then returns to
        the session's.

    Returns
    -------
    callable
        Call it to unbind.
    """
    shows = _TO_TEXT.get(name, lambda value: value)
    reads = _FROM_TEXT.get(name, lambda value: value)
    following = False

    def follow(_session: Any = None, _changed: Any = None) -> None:
        nonlocal following
        value = shows(getattr(session.settings, name))
        if control.value == value or getattr(control, "dragging", False):
            return
        following = True
        try:
            if isinstance(control, LiveSlider):
                control.min, control.max = min(control.min, value), max(control.max, value)
            control.value = value
        finally:
            following = False

    def changed(value: Any, final: bool) -> None:
        if following:
            return
        try:
            setting = reads(value)
            if not final:
                session.preview(**{name: setting})
            elif session.previewing:
                session.preview(**{name: setting})
                session.end_preview()
            else:
                session.do("set", **{name: setting})
        except ScLabError as error:
            report(error)
            follow()

    if isinstance(control, LiveSlider):
        undo = control.on_change(changed)
    else:

        def observed(change: Any) -> None:
            changed(change["new"], True)

        control.observe(observed, "value")

        def undo() -> None:
            control.unobserve(observed, "value")

    unsubscribe = session.subscribe(follow)

    def unbind() -> None:
        undo()
        unsubscribe()

    return unbind
