"""The choices that decide model fluxes: star-formation history, library, dust, gas, and how finely all is sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from sc_lab.errors import InputError
from sc_lab.sed.libraries import SHIPPED, Library, load_library
from sc_lab.units import AGE, value_in

__all__ = ["ATTENUATIONS", "LEJA_EDGES", "MODES", "SFHS", "SedModel"]

Sfh = Literal["exponential", "constant", "burst", "continuity"]
Mode = Literal["compat", "fine"]
Attenuation = Literal["calzetti", "cardelli", "smc", "charlot_fall", "salim"]

SFHS: tuple[str, ...] = get_args(Sfh)
MODES: tuple[str, ...] = get_args(Mode)
ATTENUATIONS: tuple[str, ...] = get_args(Attenuation)

#: Edges of the bins of a continuity history [Myr of look-back time], after Leja et al. (2019); the last are cut at the
#: age of the Universe.
LEJA_EDGES = (
    0.0, 10.0, 30.0, 50.0, 100.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1500.0, 2000.0, 3000.0, 5000.0, 7000.0, 8000.0,
    10500.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SedModel:
    """What decides the fluxes of a stellar population apart from its redshift and the sampled parameters.

    Hashable, so that tables can be kept by it.

    Attributes
    ----------
    sfh : {"exponential", "constant", "burst", "continuity"}
        Star-formation history. ``exponential`` declines since the onset; ``constant`` goes on from the onset until
        now or for ``duration``; ``burst`` forms all stars at once; ``continuity`` has constant rates in bins.
    tau : float or `~astropy.units.Quantity`
        e-folding time of the exponential history [Myr].
    duration : float or `~astropy.units.Quantity`, optional
        How long the constant history lasts [Myr]; None is until now.
    bin_edges : tuple of float, optional
        Edges of the continuity bins [Myr of look-back time], rising; None takes `LEJA_EDGES`. Edges beyond the age
        of the Universe are cut off.
    mode : {"fine", "compat"}
        ``compat`` reproduces bagpipes 1.3.6 to rounding: 0.1-dex ages, a resolving power of 100, and its staircase
        in age. ``fine`` takes the library's own ages, straight lines between them, exact integrals over the history,
        pixels of lambda / 1500 or the library's, and lines where they are.
    library : str or Library
        Stellar library, by a name for `load_library` or loaded.
    attenuation : {"calzetti", "cardelli", "smc", "charlot_fall", "salim"}
        Law of dust attenuation.
    slope : float
        Exponent n of ``charlot_fall``, A ~ (lambda / 5500 A)^-n, or delta of ``salim``.
    bump : float
        Strength B of the 2175 A bump of ``salim``.
    eta : float
        Attenuation of stars in birth clouds over that of the others; 1 is the same.
    nebular : bool
        Whether the gas shines: lines and continuum powered by stars younger than ``t_birth_cloud``, whose light
        below 912 A it takes up.
    dust_emission : bool
        Whether dust radiates what it absorbs.
    escape_fraction : float
        Fraction of the light of birth clouds that escapes without meeting gas or dust, 0 to 1; with ``nebular`` only. In
        ``compat`` more ionising light does, f (2 - f), as in bagpipes.
    t_birth_cloud : float or `~astropy.units.Quantity`
        Age up to which stars are in birth clouds [Myr].

    Raises
    ------
    InputError
        If a choice is unknown or a number out of its range.
    """

    sfh: Sfh = "exponential"
    tau: float = 1.0
    duration: float | None = None
    bin_edges: tuple[float, ...] | None = None
    mode: Mode = "fine"
    library: str | Library = "bc03"
    attenuation: Attenuation = "calzetti"
    slope: float = 0.7
    bump: float = 0.0
    eta: float = 1.0
    nebular: bool = True
    dust_emission: bool = True
    escape_fraction: float = 0.0
    t_birth_cloud: float = 10.0

    def __post_init__(self) -> None:
        """Check every choice; times may come as Quantities."""
        for name, allowed in (("sfh", SFHS), ("mode", MODES), ("attenuation", ATTENUATIONS)):
            given = getattr(self, name)
            if given not in allowed:
                msg = f"{name} is {given!r}; choose one of {', '.join(allowed)}"
                raise InputError(msg)
        self._set("tau", _time(self.tau, "tau"))
        if self.duration is not None:
            self._set("duration", _time(self.duration, "duration"))
            if self.sfh != "constant":
                msg = f"duration belongs to sfh='constant', not to {self.sfh!r}; leave it out"
                raise InputError(msg)
        if self.bin_edges is not None:
            self._set("bin_edges", _edges(self.bin_edges))
        self._set("t_birth_cloud", _time(self.t_birth_cloud, "t_birth_cloud"))
        if not 1.0 < self.t_birth_cloud < 100.0:
            msg = f"t_birth_cloud is {self.t_birth_cloud:g} Myr; give between 1 and 100 Myr (bagpipes takes 10)"
            raise InputError(msg)
        for name, low, high in (("slope", -3.0, 3.0), ("bump", 0.0, 10.0), ("eta", 0.0, 20.0)):
            _check_range(name, getattr(self, name), low, high)
            self._set(name, float(getattr(self, name)))
        _check_range("escape_fraction", self.escape_fraction, 0.0, 1.0)
        if not isinstance(self.library, Library | str):
            msg = f"library is a {type(self.library).__name__}; give a name such as 'bc03', or a Library"
            raise InputError(msg)

    def _set(self, name: str, value: Any) -> None:
        """Write a field once, while the instance is made."""
        object.__setattr__(self, name, value)

    @property
    def loaded_library(self) -> Library:
        """The library itself, loaded when it is first needed."""
        if isinstance(self.library, Library):
            return self.library
        if self.library.lower() in SHIPPED:
            return load_library(self.library)
        path = Path(self.library).expanduser()
        try:
            stat = path.stat()
        except OSError:  # load_library says it better
            return load_library(self.library)
        return _loaded(str(path), stat.st_size, stat.st_mtime_ns)

    @property
    def title(self) -> str:
        """The model in words, as plots and exports name it."""
        history = {
            "exponential": f"exponential SFH, tau = {self.tau:g} Myr",
            "constant": "constant SFH" + ("" if self.duration is None else f" of {self.duration:g} Myr"),
            "burst": "single burst",
            "continuity": "continuity SFH",
        }[self.sfh]
        law = {
            "charlot_fall": f"Charlot & Fall n = {self.slope:g}",
            "salim": f"Salim delta = {self.slope:g}, B = {self.bump:g}",
            "smc": "SMC",
        }.get(self.attenuation, self.attenuation.capitalize())
        gas = "nebular" if self.nebular else "no nebular"
        return f"{history}; {self.loaded_library.title}; {law}; {gas}; {self.mode}"

    def record(self) -> dict[str, Any]:
        """Return all choices as JSON values, the library by name, title, digest and, where it has one, path.

        Returns
        -------
        dict
            One entry for each field.
        """
        entries = {field.name: getattr(self, field.name) for field in fields(self)}
        library = self.loaded_library
        entries["library"] = {"name": library.name, "title": library.title, "digest": library.digest}
        if isinstance(self.library, str) and self.library.lower() not in SHIPPED:
            entries["library"]["path"] = self.library
        if self.bin_edges is not None:
            entries["bin_edges"] = list(self.bin_edges)
        return entries

    @property
    def spectral_key(self) -> tuple[Any, ...]:
        """What decides the tables: everything but the history."""
        law = (self.attenuation, self.slope, self.bump, self.eta) if self._shaped else (self.attenuation, self.eta)
        gas = (self.nebular, self.escape_fraction, self.t_birth_cloud, self.dust_emission)
        return (self.mode, self.loaded_library.digest, *law, *gas)

    @property
    def _shaped(self) -> bool:
        """Whether the attenuation law has a free shape."""
        return self.attenuation in {"charlot_fall", "salim"}


@lru_cache(maxsize=4)
def _loaded(path: str, _size: int, _time_ns: int) -> Library:
    """Return the library of a file, read once while the file stays the same."""
    return load_library(path)


def _time(value: Any, name: str) -> float:
    """Return one time in Myr, above zero."""
    time = value_in(value, AGE, name)
    if time.ndim or not (math.isfinite(float(time)) and float(time) > 0):
        msg = f"{name} is {value!r}; give one time above zero, as a Quantity or in Myr"
        raise InputError(msg)
    return float(time)


def _edges(value: Any) -> tuple[float, ...]:
    """Return bin edges in Myr, at least two, rising from zero or above."""
    edges = value_in(value, AGE, "bin_edges")
    rising = edges.ndim == 1 and edges.size >= 3 and bool((edges[1:] > edges[:-1]).all()) and edges[0] >= 0
    if not rising or not math.isfinite(float(edges[-1])):
        msg = f"bin_edges is {value!r}; give at least three rising look-back times in Myr, the first 0"
        raise InputError(msg)
    return tuple(float(edge) for edge in edges)


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuse a number outside its range."""
    if not isinstance(value, int | float) or not low <= value <= high:
        msg = f"{name} is {value!r}; give a number from {low:g} to {high:g}"
        raise InputError(msg)
