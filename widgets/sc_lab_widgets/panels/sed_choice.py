"""What the SED panel fits with: the choices of its controls as one value, as a call and as text of that call."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError

if TYPE_CHECKING:
    from sc_lab_widgets.panels.sed_light import Light

__all__ = ["ATTENUATIONS", "LIMITS", "MODES", "OLDEST", "SFHS", "TAUS", "Choice", "fit_code", "fit_light"]

#: Star-formation histories, by the name that `sc_lab.sed.fit_photometry` knows, with how they are shown.
SFHS: Final = {"exponential": "exponential", "constant": "constant", "burst": "burst", "continuity": "continuity"}
ATTENUATIONS: Final = {
    "calzetti": "Calzetti",
    "smc": "SMC",
    "cardelli": "Milky Way (Cardelli)",
    "charlot_fall": "Charlot & Fall",
    "salim": "Salim",
}
MODES: Final = {"fine": "fine", "compat": "as bagpipes"}
TAUS: Final = (1.0, 10.0)
#: An age limit at the end of its slider means: up to the age of the Universe [Myr].
OLDEST: Final = 13_000.0
#: Usual limits of the priors: (low, high) by parameter; ages in Myr, metallicities in solar units.
LIMITS: Final[dict[str, tuple[float, float]]] = {
    "age": (1.0, OLDEST),
    "a_v": (0.0, 1.0),
    "metallicity": (1e-3, 1.5),
    "log_u": (-3.0, -1.0),
}
#: Priors that are uniform in the logarithm.
_LOG: Final = frozenset({"metallicity"})
_SEED: Final = 1


@dataclass(frozen=True)
class Choice:
    """How a clump is fitted; equal choices give equal fits.

    Attributes
    ----------
    sfh, mode, attenuation, library : str
        As for `sc_lab.sed.fit_photometry`.
    tau : float
        E-folding time of exponential histories [Myr].
    nebular : bool
        Whether ionised gas shines.
    error_floor : float
        Fraction of every flux added to its error.
    limits : tuple of (str, (float, float))
        Limits of priors that are not the usual ones.
    z : float or None
        A redshift in place of the catalogue's.
    left_out : frozenset of str
        Bands left out by hand.
    """

    sfh: str = "exponential"
    tau: float = 1.0
    mode: str = "fine"
    attenuation: str = "calzetti"
    library: str = "bc03"
    nebular: bool = True
    error_floor: float = 0.03
    limits: tuple[tuple[str, tuple[float, float]], ...] = ()
    z: float | None = None
    left_out: frozenset[str] = field(default_factory=frozenset)

    def model_key(self, light: Light) -> tuple[Any, ...]:
        """Return what decides the tables that a fit needs."""
        model = (self.sfh, self.tau if self.sfh == "exponential" else 0.0, self.mode, self.attenuation, self.library)
        return (*model, self.nebular, self.reach("a_v")[1], light.bands, self.redshift(light))

    def reach(self, name: str) -> tuple[float, float]:
        """Return the limits of a prior."""
        return dict(self.limits).get(name, LIMITS[name])

    def redshift(self, light: Light) -> float:
        """Return the redshift that is fitted at."""
        return light.z if self.z is None else self.z

    def used(self, light: Light) -> np.ndarray:
        """Return which bands are fitted, shape (n_band,)."""
        return light.observed & np.array([band not in self.left_out for band in light.bands], dtype=bool)

    def why_not(self, light: Light) -> str:
        """Return why no fit can be made, in words; nothing where one can."""
        z = self.redshift(light)
        if not (np.isfinite(z) and z > 0):
            return f"{light.id} has no redshift, so no SED can be fitted: give one with the redshift slider"
        n, there = int(self.used(light).sum()), int(light.observed.sum())
        if n >= 2:
            return ""
        few = f"is observed in {there} band{'' if there == 1 else 's'}"
        words = few if there < 2 else f"has {n} of its {there} bands left"
        curve = f" ({', '.join(light.unknown)} without a filter curve)" if light.unknown else ""
        return f"{light.id} {words}{curve}, and an SED needs at least 2"

    def spare(self) -> Choice:
        """Return the choice without what belongs to one clump alone."""
        return replace(self, z=None, left_out=frozenset())


def _fluxes(light: Light, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
    """Return fluxes and errors with NaN for what is left out: the bands stay, and with them the tables."""
    used = choice.used(light)
    return np.where(used, light.flux, np.nan), np.where(used, light.flux_err, np.nan)


def _priors(choice: Choice) -> dict[str, tuple[str, float, float]]:
    """Return the priors that differ from the usual ones: kind and limits by parameter."""
    out = {}
    for name, (low, end) in choice.limits:
        # The library closes an open end at the age of the Universe.
        high = math.inf if name == "age" and end >= OLDEST else end
        if not low < high:
            msg = f"the prior of {name} runs from {low:g} to {high:g}; its lower limit must lie below its upper one"
            raise InputError(msg)
        out[name] = ("LogUniform" if name in _LOG else "Uniform", low, high)
    return out


def _words(choice: Choice) -> dict[str, Any]:
    """Return the keywords of the call that need no import."""
    words: dict[str, Any] = {"sfh": choice.sfh}
    if choice.sfh == "exponential":
        words["tau"] = choice.tau
    words |= {
        "mode": choice.mode,
        "library": choice.library,
        "attenuation": choice.attenuation,
        "nebular": choice.nebular,
        "error_floor": choice.error_floor,
    }
    return words


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

    words = _words(choice)
    if "tau" in words:
        words["tau"] = words["tau"] * u.Myr
    priors = _priors(choice)
    if priors:
        words["priors"] = sed.Priors(
            **{name: getattr(sed, kind)(low, high) for name, (kind, low, high) in priors.items()}
        )
    if light.shape_err > 0:
        words["shape_err"] = light.shape_err
    flux, error = _fluxes(light, choice)
    words |= {"rng": _SEED, **options}
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
    priors = _priors(choice)
    names = sorted({kind for kind, _, _ in priors.values()} | ({"Priors"} if priors else set()))
    imported = ", ".join([*names, "fit_photometry"])
    flux, error = _fluxes(light, choice)
    words = {name: repr(value) for name, value in _words(choice).items()}
    if "tau" in words:
        words["tau"] += " * u.Myr"
    if priors:
        inside = ", ".join(f"{name}={kind}({low!r}, {_end(high)})" for name, (kind, low, high) in priors.items())
        words["priors"] = f"Priors({inside})"
    if light.shape_err > 0:
        words["shape_err"] = repr(light.shape_err)
    words["rng"] = repr(_SEED)
    body = "".join(f"    {name}={value},\n" for name, value in words.items())
    left = [band for band in light.bands if band in choice.left_out]
    note = f"  # nan: not observed{', or left out by hand (' + ', '.join(left) + ')' if left else ''}"
    holes = bool(np.isnan(flux).any())
    return (
        "import astropy.units as u\n"
        "import numpy as np\n\n"
        f"from sc_lab.sed import {imported}\n\n"
        f"# {_comment(light.id)}; masses are those of the observed light: divide by the magnification, {light.mu:.6g}\n"
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
