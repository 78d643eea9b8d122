"""The call behind the SED panel, made and printed: one `fit_photometry` with everything that decides it."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any, Final

import astropy.units as u
import numpy as np

from sc_lab.clumps import SedSettings
from sc_lab.cosmology import make_cosmology
from sc_lab_widgets.panels.sed_choice import make_model, make_priors, priors_of

if TYPE_CHECKING:
    from sc_lab_widgets.panels.sed_choice import Choice
    from sc_lab_widgets.panels.sed_light import Light

__all__ = ["fit_code", "fit_light", "stream_of"]

_SEED: Final = SedSettings().seed
_TIMES: Final = ("tau", "duration")
#: What the call takes in a model alone.
_SHAPE: Final = ("slope", "bump")


def stream_of(name: str) -> int:
    """Return the number of a clump's own random numbers, as fits of whole lists have it: both give the same draws.

    Parameters
    ----------
    name : str
        The clump.
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "little")


def _fluxes(light: Light, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
    """Return fluxes and errors with NaN for what is left out: the bands stay, and with them the tables."""
    used = choice.used(light)
    return np.where(used, light.flux, np.nan), np.where(used, light.flux_err, np.nan)


def _words(choice: Choice) -> dict[str, Any]:
    """Return the keywords that say the model, those of times without their unit."""
    words: dict[str, Any] = {"sfh": choice.sfh}
    if choice.sfh == "exponential":
        words["tau"] = choice.tau
    if choice.sfh == "constant" and choice.duration is not None:
        words["duration"] = choice.duration
    words |= {"mode": choice.mode, "library": choice.library, "attenuation": choice.attenuation}
    words |= {name: value for name in _SHAPE if (value := getattr(choice, name)) is not None}
    return words | {"nebular": choice.nebular}


def fit_light(light: Light, choice: Choice, **options: Any) -> Any:
    """Fit a clump: the call that `fit_code` prints.

    Parameters
    ----------
    light : Light
        The clump.
    choice : Choice
        How.
    **options : Any
        More keywords of `sc_lab.sed.fit_photometry`.

    Returns
    -------
    SedFit
        The fit; its masses are those of the observed, magnified light.
    """
    from sc_lab import sed

    words = {name: value * u.Myr if name in _TIMES else value for name, value in _words(choice).items()}
    if any(name in words for name in _SHAPE):
        words = {"model": make_model(choice)}
    words["error_floor"] = choice.error_floor
    priors = priors_of(choice)
    if priors:
        words["priors"] = make_priors(priors)
    if light.shape_err > 0:
        words["shape_err"] = light.shape_err
    flux, error = _fluxes(light, choice)
    if light.cosmology is not None:
        words["cosmology"] = make_cosmology(*light.cosmology)
    words |= {"rng": _SEED, "streams": [stream_of(light.id)], **options}
    return sed.fit_photometry(flux * u.nJy, error * u.nJy, list(light.bands), choice.redshift(light), **words)


def fit_code(light: Light, choice: Choice) -> str:
    """Return the call that makes the fit, as runnable text.

    Parameters
    ----------
    light : Light
        The clump.
    choice : Choice
        How.

    Returns
    -------
    str
        Imports and the call; its last statement assigns ``result``.
    """
    priors = priors_of(choice)
    names = sorted({kind for kind, _, _ in priors.values()} | ({"Priors"} if priors else set()))
    flux, error = _fluxes(light, choice)
    words = {name: repr(value) + (" * u.Myr" if name in _TIMES else "") for name, value in _words(choice).items()}
    note_library = ""
    if not isinstance(choice.library, str):
        words["library"] = "library"
        note_library = f"# library: the Library {_comment(choice.library.name)} that was handed to the panel\n"
    if any(name in words for name in _SHAPE):
        words = {"model": f"SedModel({', '.join(f'{name}={value}' for name, value in words.items())})"}
        names.append("SedModel")
    imported = ", ".join([*sorted(names), "fit_photometry"])
    words["error_floor"] = repr(choice.error_floor)
    if priors:
        inside = ", ".join(f"{name}={kind}({low!r}, {_end(high)})" for name, (kind, low, high) in priors.items())
        words["priors"] = f"Priors({inside})"
    if light.shape_err > 0:
        words["shape_err"] = repr(light.shape_err)
    if light.cosmology is not None:
        words["cosmology"] = f"make_cosmology({', '.join(map(repr, light.cosmology))})"
    words |= {"rng": repr(_SEED), "streams": repr([stream_of(light.id)])}
    body = "".join(f"    {name}={value},\n" for name, value in words.items())
    left = [band for band in light.bands if band in choice.left_out]
    note = f"  # nan: not observed{', or left out by hand (' + ', '.join(left) + ')' if left else ''}"
    holes = bool(np.isnan(flux).any())
    return (
        "import astropy.units as u\n"
        "import numpy as np\n\n"
        f"{'from sc_lab.cosmology import make_cosmology' + chr(10) if light.cosmology is not None else ''}"
        f"from sc_lab.sed import {imported}\n\n"
        f"# {_comment(light.id)}; masses are those of the observed light: divide by the magnification, {light.mu:.6g}\n"
        f"{note_library}"
        f"bands = {list(light.bands)!r}\n"
        f"flux = {_array(flux)} * u.nJy{note if holes else ''}\n"
        f"flux_err = {_array(error)} * u.nJy\n"
        f"result = fit_photometry(\n    flux,\n    flux_err,\n    bands,\n    {choice.redshift(light)!r},\n{body})\n"
    )


def _array(values: np.ndarray) -> str:
    return f"np.array([{', '.join('np.nan' if np.isnan(value) else repr(float(value)) for value in values)}])"


def _comment(text: str) -> str:
    """Return a name as it may stand in a comment: a line break in it would begin a line of code."""
    return ascii(text)


def _end(value: float) -> str:
    return "np.inf" if math.isinf(value) else repr(value)
