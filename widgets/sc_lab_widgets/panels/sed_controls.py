"""The controls of the SED panel: what is fitted with, limits of priors, bands, and how they are laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ui

from sc_lab_widgets._controls import LiveSlider
from sc_lab_widgets.panels.sed_choice import ATTENUATIONS, LIMITS, MODES, OLDEST, SFHS, TAUS, Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BAND", "choice_of", "make_controls", "make_sidebar", "set_controls"]

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


def _choice(label: str, options: dict[str, str], value: str, tip: str) -> ui.Dropdown:
    pairs = [(words, name) for name, words in options.items()]
    return ui.Dropdown(options=pairs, value=value, description=label, tooltip=tip, style=_STYLE, layout=_LAYOUT)


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
    if alone:
        out["clump"] = ui.Combobox(
            options=list(ids), value="", description="clump", placeholder="name", tooltip="the clump that is shown",
            style=_STYLE, layout=_LAYOUT, continuous_update=False,
        )  # fmt: skip
    out |= {
        "sfh": _choice("history", SFHS, usual.sfh, "star-formation history"),
        "tau": ui.Dropdown(
            options=[(f"{tau:g} Myr", tau) for tau in sorted({*TAUS, usual.tau})], value=usual.tau, description="τ", style=_STYLE,
            tooltip="e-folding time of an exponential history", layout=_LAYOUT,
        ),
        "mode": _choice("mode", MODES, usual.mode, "fine steps in age and wavelength, or the steps of bagpipes"),
        "attenuation": _choice("attenuation", ATTENUATIONS, usual.attenuation, "attenuation law of the dust"),
        "nebular": ui.Checkbox(
            value=usual.nebular, description="ionised gas", indent=False, tooltip="lines and continuum of gas"),
        "redshift": LiveSlider(
            1.0, _NEAREST, _FARTHEST, 0.01, label="redshift", format=".2f",
            hint="of this clump: the catalogue's until it is moved",
        ),
        "error_floor": LiveSlider(
            usual.error_floor, 0.0, 0.3, 0.01, label="error floor", format=".2f",
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
    return out


def choice_of(controls: dict[str, Any], *, library: str, z: float | None, left_out: frozenset[str]) -> Choice:
    """Return what the controls say.

    Parameters
    ----------
    controls : dict of str to Widget
        As `make_controls` gives them.
    library : str
        Stellar library.
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
    return Choice(
        sfh=controls["sfh"].value,
        tau=float(controls["tau"].value),
        mode=controls["mode"].value,
        attenuation=controls["attenuation"].value,
        library=library,
        nebular=bool(controls["nebular"].value),
        error_floor=round(float(controls["error_floor"].value), 6),
        limits=tuple(limits),  # type: ignore[arg-type]  # two ends each
        z=z,
        left_out=left_out,
    )


def set_controls(controls: dict[str, Any], choice: Choice) -> None:
    """Put the controls that no clump owns where a choice has them."""
    for name in ("sfh", "tau", "mode", "attenuation", "nebular", "error_floor"):
        controls[name].value = getattr(choice, name)
    for name in LIMITS:
        for end, value in zip(("min", "max"), choice.reach(name), strict=True):
            controls[f"{name}_{end}"].value = value


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
