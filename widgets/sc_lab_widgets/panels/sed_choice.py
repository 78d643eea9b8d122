"""What the SED panel fits with: the choices of its controls as one value, and as settings of a whole list."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sc_lab.errors import InputError
from sc_lab.sed.libraries import SHIPPED
from sc_lab.sed.model import SedModel
from sc_lab_widgets.panels.sed_light import LEAST

if TYPE_CHECKING:
    from sc_lab.clumps import SedSettings
    from sc_lab_widgets.panels.sed_light import Light

__all__ = [
    "ATTENUATIONS",
    "LIMITS",
    "MODES",
    "OLDEST",
    "SFHS",
    "SLOPES",
    "TAUS",
    "Choice",
    "choice_from",
    "list_problem",
    "make_model",
    "make_priors",
    "other_tau",
    "priors_of",
    "settings_of",
]

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
#: Times [Myr] of the two histories of figure 5 of Claeyssens et al. (2026), solid and dashed.
TAUS: Final = (1.0, 10.0)
#: Laws with a shape of their own: name of the control of their slope, and where it begins. With a slope of 0 the law
#: of Salim et al. is Calzetti's.
SLOPES: Final = {"charlot_fall": ("slope", 0.7), "salim": ("delta", 0.0)}
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


@dataclass(frozen=True)
class Choice:
    """How a clump is fitted; equal choices give equal fits.

    Attributes
    ----------
    sfh, mode, attenuation : str
        As for `sc_lab.sed.fit_photometry`.
    library : str or Library
        Stellar library, by name, path or loaded.
    tau : float
        E-folding time of exponential histories [Myr].
    duration : float or None
        How long constant histories last [Myr]; None is until now.
    slope, bump : float or None
        Shape of the attenuation laws of `SLOPES`; None of the others, and no bump of those that have none.
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
    library: Any = "bc03"
    duration: float | None = None
    slope: float | None = None
    bump: float | None = None
    nebular: bool = True
    error_floor: float = 0.03
    limits: tuple[tuple[str, tuple[float, float]], ...] = ()
    z: float | None = None
    left_out: frozenset[str] = field(default_factory=frozenset)

    def model_key(self, light: Light) -> tuple[Any, ...]:
        """Return what decides the tables that a fit needs."""
        history = (self.sfh, self.tau if self.sfh == "exponential" else 0.0, self.duration)
        model = (*history, self.mode, self.attenuation, self.slope, self.bump, self.library)
        # Tables reach to whole magnitudes.
        dust = max(1, math.ceil(self.reach("a_v")[1]))
        return (*model, self.nebular, dust, light.bands, self.redshift(light))

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
        if isinstance(self.library, str) and self.library.lower() not in SHIPPED:
            path = Path(self.library).expanduser()
            if not path.is_file():
                return (
                    f"there is no stellar library {self.library!r}: give bc03, or the path of a grid in bagpipes' format "
                    f"(relative ones begin in {Path.cwd()})"
                )
        n, there = int(self.used(light).sum()), int(light.observed.sum())
        if n >= LEAST:
            return ""
        few = f"is observed in {there} band{'' if there == 1 else 's'}"
        words = few if there < LEAST else f"has {n} of its {there} bands left"
        curve = f" ({', '.join(light.unknown)} without a filter curve)" if light.unknown else ""
        return f"{light.id} {words}{curve}, and an SED needs at least {LEAST}"

    def spare(self) -> Choice:
        """Return the choice without what belongs to one clump alone."""
        return replace(self, z=None, left_out=frozenset())


def make_model(choice: Choice) -> SedModel:
    """Return the model that a choice stands for.

    Parameters
    ----------
    choice : Choice
        The choice.

    Returns
    -------
    SedModel
        The model. What decides nothing is as by default, so that equal models are equal.
    """
    options: dict[str, Any] = {
        "sfh": choice.sfh,
        "mode": choice.mode,
        "library": choice.library,
        "attenuation": choice.attenuation,
        "nebular": choice.nebular,
        "tau": choice.tau if choice.sfh == "exponential" else None,
        "duration": choice.duration if choice.sfh == "constant" else None,
        "slope": choice.slope,
        "bump": choice.bump,
    }
    return SedModel(**{name: value for name, value in options.items() if value is not None})


def list_problem(choice: Choice) -> str:
    """Return why a choice cannot be that of a list of clumps, in words; nothing where it can.

    Parameters
    ----------
    choice : Choice
        The choice.
    """
    if choice.sfh == "continuity":
        return (
            "a history in bins has no age of onset, which the list needs for every clump: it is shown for the clump at "
            "hand alone; choose exponential, constant or burst for the list"
        )
    return ""


def other_tau(tau: float) -> float:
    """Return the time of the second history that goes with one [Myr]: of 1 and 10 Myr the other.

    Parameters
    ----------
    tau : float
        Time of the reference [Myr].
    """
    return TAUS[0] if tau == TAUS[1] else TAUS[1]


def settings_of(choice: Choice, before: SedSettings) -> SedSettings:
    """Return the settings of a clump list that a choice stands for.

    Parameters
    ----------
    choice : Choice
        The choice.
    before : SedSettings
        What stands: number of draws, seed and second history stay.

    Returns
    -------
    SedSettings
        The settings.

    Raises
    ------
    InputError
        If the choice is of one clump alone, by a redshift of its own or a history in bins.
    """
    if choice.z is not None:
        msg = "the list has the redshifts of its catalogue; take this one back first (Reset), or mend the catalogue"
        raise InputError(msg)
    problem = list_problem(choice)
    if problem:
        raise InputError(problem)
    priors = priors_of(choice)
    model = make_model(choice)
    second = before.second_tau if choice.sfh == "exponential" and before.second_tau != model.tau else None
    return dataclasses.replace(
        before,
        model=model,
        priors=make_priors(priors) if priors else None,
        error_floor=choice.error_floor,
        excluded=tuple(sorted(choice.left_out)),
        second_tau=second,
    )


def choice_from(settings: SedSettings) -> Choice:
    """Return the choice that settings of a clump list stand for, as far as the panel has controls for them.

    Parameters
    ----------
    settings : SedSettings
        The settings.
    """
    model, limits = settings.model, []
    for name, usual in LIMITS.items() if settings.priors is not None else ():
        prior = getattr(settings.priors, name)
        if type(prior).__name__ == ("LogUniform" if name in _LOG else "Uniform"):
            reach = (float(prior.low), OLDEST if name == "age" and math.isinf(prior.high) else float(prior.high))
            if reach != usual:
                limits.append((name, reach))
    return Choice(
        sfh=model.sfh,
        tau=float(model.tau),
        mode=model.mode,
        attenuation=model.attenuation,
        library=model.library,
        duration=model.duration,
        slope=model.slope if model.attenuation in SLOPES else None,
        bump=model.bump if model.attenuation == "salim" else None,
        nebular=model.nebular,
        error_floor=settings.error_floor,
        limits=tuple(limits),
        left_out=frozenset(settings.excluded),
    )


def make_priors(priors: dict[str, tuple[str, float, float]]) -> Any:
    """Return the priors that `priors_of` tells of.

    Parameters
    ----------
    priors : dict
        Kind and limits by parameter.
    """
    from sc_lab import sed

    return sed.Priors(**{name: getattr(sed, kind)(low, high) for name, (kind, low, high) in priors.items()})


def priors_of(choice: Choice) -> dict[str, tuple[str, float, float]]:
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
