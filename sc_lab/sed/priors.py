"""Priors of the parameters that an SED fit leaves free."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW
from scipy import special

from sc_lab.cosmology import clock
from sc_lab.errors import InputError
from sc_lab.units import FloatArray, value_in

__all__ = ["Fixed", "Gaussian", "LogUniform", "Prior", "Priors", "Uniform", "prior_from_record"]

_SQRT_2PI = math.sqrt(2.0 * math.pi)
#: Limits of log10 of a mass in solar masses; what lies beyond is a mass and not its logarithm.
_LOG_MASSES = (-30.0, 30.0)


class _Density(ABC):
    """What every prior can be asked; each says how in the methods that begin with an underscore."""

    def cdf(self, x: npt.ArrayLike) -> FloatArray:
        """Return the probability below ``x``.

        Parameters
        ----------
        x : array_like
            Values in the unit of the parameter.

        Returns
        -------
        ndarray
            Probabilities from 0 to 1, same shape.
        """
        return self._cdf(np.asarray(x, dtype=np.float64))

    def ppf(self, q: npt.ArrayLike) -> FloatArray:
        """Return the value below which the probability is ``q``.

        Parameters
        ----------
        q : array_like
            Probabilities from 0 to 1.

        Returns
        -------
        ndarray
            Values in the unit of the parameter, same shape.
        """
        return self._ppf(np.asarray(q, dtype=np.float64))

    def log_density(self, x: npt.ArrayLike) -> FloatArray:
        """Return the natural logarithm of the density at ``x``, minus infinity outside.

        Parameters
        ----------
        x : array_like
            Values in the unit of the parameter.

        Returns
        -------
        ndarray
            Natural logarithms, same shape; where the prior is one value, those of its probability.
        """
        return self._log_density(np.asarray(x, dtype=np.float64))

    def record(self) -> dict[str, Any]:
        """Return the prior as JSON values.

        Returns
        -------
        dict
            What `prior_from_record` or `Priors.from_record` reads.
        """
        kind = next(name for name, each in _KINDS.items() if each is type(self))
        numbers = {name: float(value) for name, value in vars(self).items()}
        return {"kind": kind, **{name: None if math.isinf(value) else value for name, value in numbers.items()}}

    @abstractmethod
    def _cdf(self, x: FloatArray) -> FloatArray:
        """Return probabilities."""

    @abstractmethod
    def _ppf(self, q: FloatArray) -> FloatArray:
        """Return values."""

    @abstractmethod
    def _log_density(self, x: FloatArray) -> FloatArray:
        """Return natural logarithms."""

    @abstractmethod
    def _problem(self) -> str:
        """Return what is wrong with the numbers, in words; nothing where nothing is."""


@dataclass(frozen=True)
class Uniform(_Density):
    """A flat density between two limits.

    Parameters
    ----------
    low, high : float or `~astropy.units.Quantity`
        The limits; ``high=inf`` is allowed for the age alone and means the age of the Universe.
    """

    low: float
    high: float

    def _cdf(self, x: FloatArray) -> FloatArray:
        return np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)

    def _ppf(self, q: FloatArray) -> FloatArray:
        return self.low + q * (self.high - self.low)

    def _log_density(self, x: FloatArray) -> FloatArray:
        return np.where((x >= self.low) & (x <= self.high), -math.log(self.high - self.low), -np.inf)

    def _problem(self) -> str:
        if not (math.isfinite(self.low) and self.high > self.low):
            return f"has the limits {self.low!r} and {self.high!r}; give two finite numbers, the lower one first"
        return ""


@dataclass(frozen=True)
class LogUniform(_Density):
    """A density flat in the logarithm between two positive limits.

    Parameters
    ----------
    low, high : float or `~astropy.units.Quantity`
        The limits, above zero.
    """

    low: float
    high: float

    def _cdf(self, x: FloatArray) -> FloatArray:
        ratio = np.maximum(x, self.low) / self.low
        return np.clip(np.log(ratio) / math.log(self.high / self.low), 0.0, 1.0)

    def _ppf(self, q: FloatArray) -> FloatArray:
        return self.low * np.exp(q * math.log(self.high / self.low))

    def _log_density(self, x: FloatArray) -> FloatArray:
        inside = (x >= self.low) & (x <= self.high)
        safe = np.where(inside, x, self.low)
        return np.where(inside, -np.log(safe) - math.log(math.log(self.high / self.low)), -np.inf)

    def _problem(self) -> str:
        if not (math.isfinite(self.low) and self.low > 0 and self.high > self.low):
            return (
                f"has the limits {self.low!r} and {self.high!r}; give two finite numbers above 0, the lower one first"
            )
        return ""


@dataclass(frozen=True)
class Gaussian(_Density):
    """A normal density, cut at limits.

    Parameters
    ----------
    mean, sigma : float or `~astropy.units.Quantity`
        Mean and standard deviation before the cut.
    low, high : float or `~astropy.units.Quantity`, optional
        Limits outside which the density is zero; none by default.
    """

    mean: float
    sigma: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def _edges(self) -> tuple[float, float]:
        return (
            float(special.ndtr((self.low - self.mean) / self.sigma)),
            float(special.ndtr((self.high - self.mean) / self.sigma)),
        )

    @property
    def log_norm(self) -> float:
        """Natural logarithm of the probability between the limits before the cut."""
        low, high = (self.low - self.mean) / self.sigma, (self.high - self.mean) / self.sigma
        # The upper tail is as exact as the lower one when it is mirrored.
        low, high = (-high, -low) if low > 0 else (low, high)
        upper, lower = float(special.log_ndtr(high)), float(special.log_ndtr(low))
        return upper + math.log1p(-math.exp(lower - upper)) if math.isfinite(lower) else upper

    def _cdf(self, x: FloatArray) -> FloatArray:
        low, high = self._edges
        value = special.ndtr((np.clip(x, self.low, self.high) - self.mean) / self.sigma)
        return np.clip((np.asarray(value, dtype=np.float64) - low) / (high - low), 0.0, 1.0)

    def _ppf(self, q: FloatArray) -> FloatArray:
        low, high = self._edges
        if low > 0.5:  # the lower tail is as exact as the upper one is not
            return -replace(self, mean=-self.mean, low=-self.high, high=-self.low).ppf(1.0 - q)
        value = self.mean + self.sigma * special.ndtri(low + q * (high - low))
        return np.asarray(np.clip(value, self.low, self.high), dtype=np.float64)

    def _log_density(self, x: FloatArray) -> FloatArray:
        value = -0.5 * ((x - self.mean) / self.sigma) ** 2 - math.log(self.sigma * _SQRT_2PI) - self.log_norm
        return np.where((x >= self.low) & (x <= self.high), value, -np.inf)

    def _problem(self) -> str:
        if not (math.isfinite(self.mean) and math.isfinite(self.sigma) and self.sigma > 0):
            return f"has mean {self.mean!r} and sigma {self.sigma!r}; give finite numbers, sigma above 0"
        if not self.high > self.low:
            return f"is cut at {self.low!r} and {self.high!r}; give the lower limit first"
        low, high = self._edges
        if not high - low > 1e-12:
            return f"has no probability between its limits {self.low!r} and {self.high!r}; move the mean or the limits"
        return ""


@dataclass(frozen=True)
class Fixed(_Density):
    """One value, not fitted.

    Parameters
    ----------
    value : float or `~astropy.units.Quantity`
        The value.
    """

    value: float

    @property
    def low(self) -> float:
        """The value, as the lower limit of the support."""
        return self.value

    @property
    def high(self) -> float:
        """The value, as the upper limit of the support."""
        return self.value

    def _cdf(self, x: FloatArray) -> FloatArray:
        return (x >= self.value).astype(np.float64)

    def _ppf(self, q: FloatArray) -> FloatArray:
        return np.full(q.shape, self.value, dtype=np.float64)

    def _log_density(self, x: FloatArray) -> FloatArray:
        return np.where(x == self.value, 0.0, -np.inf)

    def _problem(self) -> str:
        return "" if math.isfinite(self.value) else f"is fixed at {self.value!r}; give a finite number"


Prior = Uniform | LogUniform | Gaussian | Fixed

_KINDS: dict[str, type[Any]] = {"uniform": Uniform, "log_uniform": LogUniform, "gaussian": Gaussian, "fixed": Fixed}
_UNITS: dict[str, u.UnitBase] = {
    "age": u.Myr,
    "log_mass_formed": u.one,
    "metallicity": u.one,
    "a_v": u.mag,
    "log_u": u.one,
}


def prior_from_record(record: Mapping[str, Any]) -> Prior:
    """Return the prior that `record` wrote.

    Parameters
    ----------
    record : mapping
        ``kind`` and the numbers of one prior; None stands for an infinite limit.

    Returns
    -------
    Uniform, LogUniform, Gaussian or Fixed
        The prior.

    Raises
    ------
    InputError
        If the record names no known kind or lacks a number.
    """
    kind = record.get("kind")
    if kind not in _KINDS:
        msg = f"a prior of the kind {kind!r} is not known; choose one of {', '.join(_KINDS)}"
        raise InputError(msg)
    numbers = {name: value for name, value in record.items() if name != "kind"}
    for name, infinite in (("low", -math.inf), ("high", math.inf)):
        if name in numbers and numbers[name] is None:
            numbers[name] = infinite
    try:
        prior: Prior = _KINDS[kind](**{name: float(value) for name, value in numbers.items()})
    except (TypeError, ValueError) as err:
        wanted = ", ".join(field.name for field in fields(_KINDS[kind]))
        msg = f"the {kind} prior has the entries {sorted(numbers)}; it needs numbers named {wanted}"
        raise InputError(msg) from err
    return prior


@dataclass(frozen=True, kw_only=True)
class Priors:
    """The priors of one fit; a bare number fixes a parameter, a pair of numbers is a uniform prior.

    A Gaussian of age, metallicity or A_V is cut at zero.

    Parameters
    ----------
    age : prior, optional
        Time since star formation began [Myr]; the upper limit is cut at the age of the Universe
        at the source's redshift. Ages of 1 Myr and less have no light in the stellar grids.
    log_mass_formed : prior, optional
        log10 of the mass ever formed [solar masses], not of the living mass.
    metallicity : prior, optional
        In units of the Sun's, Z = 0.02.
    a_v : prior, optional
        Attenuation in the V band [mag].
    log_u : prior, optional
        log10 of the ionisation parameter.

    Raises
    ------
    InputError
        If a prior has no extent, is upside down or is not finite; the message names it.

    Examples
    --------
    >>> from sc_lab.sed import Priors, Uniform
    >>> Priors(a_v=Uniform(0, 3), metallicity=0.4).metallicity
    Fixed(value=0.4)
    """

    age: Prior = Uniform(1.0, math.inf)
    log_mass_formed: Prior = Uniform(3.0, 15.0)
    metallicity: Prior = LogUniform(1e-3, 1.5)
    a_v: Prior = Uniform(0.0, 1.0)
    log_u: Prior = Uniform(-3.0, -1.0)

    def __post_init__(self) -> None:
        for name, unit in _UNITS.items():
            prior = _plain(getattr(self, name), name, unit)
            problem = prior._problem()  # noqa: SLF001 - priors of this module
            if problem:
                msg = f"the prior of {name} {problem}"
                raise InputError(msg)
            object.__setattr__(self, name, prior)
        for name, floor in (("age", 0.0), ("metallicity", 0.0)):
            prior = getattr(self, name)
            if prior.high <= floor:
                msg = f"the prior of {name} ends at {prior.high:g}; it must reach above {floor:g}"
                raise InputError(msg)
        for name in ("age", "metallicity", "a_v"):
            prior = getattr(self, name)
            if isinstance(prior, Gaussian) and prior.low < 0.0 < prior.high:
                # There is nothing below zero, and the density above must add up to one for evidences to be right.
                prior = replace(prior, low=0.0)
                if problem := prior._problem():  # noqa: SLF001 - priors of this module
                    msg = f"the prior of {name} {problem}"
                    raise InputError(msg)
                object.__setattr__(self, name, prior)
        mass = self.log_mass_formed
        wrong = [
            end for end in (mass.low, mass.high) if math.isfinite(end) and not _LOG_MASSES[0] <= end <= _LOG_MASSES[1]
        ]
        if isinstance(mass, Gaussian) and not _LOG_MASSES[0] <= mass.mean <= _LOG_MASSES[1]:
            wrong = [mass.mean]
        if wrong:
            msg = (
                f"the prior of log_mass_formed has {wrong[-1]:g}, but it is log10 of solar masses; give numbers from "
                f"{_LOG_MASSES[0]:g} to {_LOG_MASSES[1]:g}"
            )
            raise InputError(msg)
        if self.a_v.low < 0 and not isinstance(self.a_v, Gaussian):
            msg = f"the prior of a_v begins at {self.a_v.low:g} mag; dust does not brighten: begin at 0 or above"
            raise InputError(msg)
        for name in _UNITS:
            if name != "age" and math.isinf(getattr(self, name).high) and not isinstance(getattr(self, name), Gaussian):
                msg = f"the prior of {name} has no upper limit; give a finite one"
                raise InputError(msg)

    def at(self, z: float, *, cosmology: FLRW | None = None) -> tuple[Priors, tuple[str, ...]]:
        """Return the priors as they hold at a redshift, with what was changed in words.

        Parameters
        ----------
        z : float
            Redshift of the source.
        cosmology : `~astropy.cosmology.FLRW`, optional
            The cosmology; None means the house default.

        Returns
        -------
        priors : Priors
            With the age cut at the age of the Universe.
        cautions : tuple of str
            A sentence where the cut took part of a prior that had a limit of its own.

        Raises
        ------
        InputError
            If no part of the age prior lies within the age of the Universe.
        """
        oldest = float(clock(cosmology).age_myr(np.array(z, dtype=np.float64)))
        prior = self.age
        if prior.low > oldest or (prior.low == oldest and not isinstance(prior, Fixed)):
            msg = f"the prior of age begins at {prior.low:g} Myr, but the Universe at z = {z:g} is {oldest:.0f} Myr old"
            raise InputError(msg)
        if isinstance(prior, Fixed) or prior.high <= oldest:
            return self, ()
        said = (
            ()
            if math.isinf(prior.high)
            else (f"the prior of age was cut at the age of the Universe, {oldest:.0f} Myr",)
        )
        return replace(self, age=replace(prior, high=oldest)), said

    def record(self) -> dict[str, Any]:
        """Return the priors as JSON values.

        Returns
        -------
        dict
            What `prior_from_record` or `Priors.from_record` reads.
        """
        return {name: getattr(self, name).record() for name in _UNITS}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Priors:
        """Return the priors that `record` wrote.

        Parameters
        ----------
        record : mapping
            One entry per parameter; those missing take their default.

        Returns
        -------
        Priors
            The priors.

        Raises
        ------
        InputError
            If a parameter is not known or its record is not one of a prior.
        """
        unknown = sorted(set(record) - set(_UNITS))
        if unknown:
            msg = f"priors of {', '.join(unknown)} are not known; the parameters are {', '.join(_UNITS)}"
            raise InputError(msg)
        return cls(**{name: prior_from_record(value) for name, value in record.items()})


def _plain(prior: Any, name: str, unit: u.UnitBase) -> Prior:
    """Return a prior with float numbers in the house unit, from a prior, a pair or a number."""
    if isinstance(prior, (tuple, list)) and len(prior) == 2:
        prior = Uniform(prior[0], prior[1])
    elif not isinstance(prior, (Uniform, LogUniform, Gaussian, Fixed)):
        if isinstance(prior, (str, bool)) or prior is None:
            msg = f"the prior of {name} is {prior!r}; give Uniform, LogUniform, Gaussian or Fixed, a pair or a number"
            raise InputError(msg)
        prior = Fixed(prior)
    numbers = {}
    for field in fields(prior):
        number = value_in(getattr(prior, field.name), unit, f"{field.name} of the prior of {name}")
        if number.ndim:
            msg = f"{field.name} of the prior of {name} has the shape {number.shape}; give one number"
            raise InputError(msg)
        numbers[field.name] = float(number)
    plain: Prior = replace(prior, **numbers)
    return plain
