"""What the SED panel says of a fit: library, priors, goodness, evidence and cautions, in sentences."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sc_lab_widgets.panels.sed_choice import ATTENUATIONS, LIMITS, OLDEST, Choice
from sc_lab_widgets.panels.sed_light import LEAST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sc_lab_widgets.panels.sed_light import Light

__all__ = ["as_html", "number", "sentences", "title_of", "waiting"]

#: Letters of a clump's name in a title: with more, redshift and magnification leave a figure of usual width.
_LONGEST: Final = 30
_PRIORS: Final = {
    "age": ("age uniform", " Myr"),
    "a_v": ("A_V uniform", " mag"),
    "metallicity": ("log Z uniform", " Z☉"),
    "log_u": ("log U uniform", ""),
}


def number(value: float, form: str = "g") -> str:
    """Return a number with the minus sign of print.

    Parameters
    ----------
    value : float
        The number.
    form : str
        As for `format`.
    """
    return format(value, form).replace("-", "−")


def _short(name: str) -> str:
    """Return a name that leaves a title room for the rest; its two ends are kept, which tell clumps apart."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 11]}…{name[-10:]}"


def title_of(light: Light, choice: Choice, n_selected: int) -> str:
    """Return the title of the figure: which clump, its name cut when it is long, and where it is.

    Parameters
    ----------
    light : Light
        The clump.
    choice : Choice
        How it is fitted.
    n_selected : int
        How many clumps are selected.
    """
    z = choice.redshift(light)
    own = " (yours)" if choice.z is not None else ""
    parts = [
        _short(light.id),
        f"z = {z:.4g}{own}" if np.isfinite(z) else "no redshift",
        f"μ = {light.mu:.3g}" if np.isfinite(light.mu) else "no magnification",
    ]
    if n_selected > 1:
        parts.append(f"the last of {n_selected} selected")
    return " · ".join(parts)


def waiting(light: Light, choice: Choice) -> str:
    """Return what is said while a fit is made.

    Parameters
    ----------
    light : Light
        The clump.
    choice : Choice
        How it is fitted.
    """
    if choice.sfh == "continuity":
        return f"fitting {light.id}: a history in bins is sampled, which takes seconds"
    return f"fitting {light.id}: the tables of z = {choice.redshift(light):g} are being made"


def _priors(choice: Choice) -> str:
    out = []
    if choice.sfh == "continuity":
        out.append("steps of log SFR between bins Student-t with ν = 2, scale 0.3")
    unused = {"age": choice.sfh == "continuity", "log_u": not choice.nebular}
    for name, (words, unit) in _PRIORS.items():
        if unused.get(name):
            continue
        low, high = choice.reach(name)
        top = "the age of the Universe" if name == "age" and high >= OLDEST else f"{number(high)}{unit}"
        own = "" if (low, high) == LIMITS[name] else " (yours)"
        out.append(f"{words} {number(low)} to {top}{own}")
    return "; ".join(out)


def _history(choice: Choice) -> str:
    """Return the star-formation history with its time."""
    if choice.sfh == "exponential":
        return f"exponential, τ = {choice.tau:g} Myr"
    if choice.sfh == "constant":
        return "constant until now" if choice.duration is None else f"constant for {choice.duration:.4g} Myr"
    return "continuity, in bins" if choice.sfh == "continuity" else choice.sfh


def _law(choice: Choice) -> str:
    """Return the attenuation law with its shape."""
    name = ATTENUATIONS[choice.attenuation]
    if choice.attenuation == "charlot_fall":
        return f"{name}, n = {number(choice.slope or 0.0)}"
    if choice.attenuation == "salim":
        return f"{name}, δ = {number(choice.slope or 0.0)}, B = {number(choice.bump or 0.0)}"
    return name


def sentences(light: Light, choice: Choice, fit: Any) -> list[str]:
    """Return what is said of a fit, a line each.

    Parameters
    ----------
    light : Light
        The clump.
    choice : Choice
        How it was fitted.
    fit : SedFit
        The fit.
    """
    gas = "" if choice.nebular else "no ionised gas"
    model = (fit.model.loaded_library.title, _history(choice), _law(choice), gas, f"{choice.mode} mode")
    numbers = (
        f"{int(choice.used(light).sum())} bands",
        f"χ² = {fit.best_chi2:.2f} (best model, errors with a floor of {100 * choice.error_floor:.3g} %)",
        f"ln Z = {number(fit.log_evidence, '.2f')}",
        f"ESS = {fit.ess:.0f}",
        f"mass and rates divided by μ = {light.mu:.4g}"
        if np.isfinite(light.mu)
        else "mass and rates as observed: no magnification is known",
    )
    out = [" · ".join(part for part in model if part), " · ".join(numbers), f"priors: {_priors(choice)}"]
    if _short(light.id) != light.id:
        out.insert(0, f"clump {light.id}")  # whole, since the title cuts it
    n_seen = int((choice.used(light) & light.detected).sum())
    if n_seen < LEAST:
        out.append(
            f"{n_seen} of the bands fitted {'is a detection' if n_seen == 1 else 'are detections'}: the posterior is "
            "mostly the prior, and fits of the whole list leave this clump out"
        )
    if "age" not in fit.samples:
        out.append("a history in bins has no onset: the age shown is that of the mean star, by mass")
    if light.unknown:
        out.append(f"no filter curve, so left out: {', '.join(light.unknown)}")
    return [*out, *(str(words) for words in fit.cautions)]


def as_html(lines: Sequence[str]) -> str:
    """Return lines of plain text as HTML that is read out when it changes.

    Parameters
    ----------
    lines : sequence of str
        Plain text.
    """
    if not lines:
        return ""
    said = "".join(f"<div>{html.escape(words)}</div>" for words in lines)
    return f'<div role="status" style="line-height: 1.35; font-size: 12px">{said}</div>'
