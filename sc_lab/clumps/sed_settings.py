"""The settings of the SED fits of a clump list, and their JSON form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sc_lab.errors import InputError
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import Priors

__all__ = ["SedSettings"]

_KEY_LENGTH = 8
_MOST_DRAWS = 5000


@dataclass(frozen=True, kw_only=True)
class SedSettings:
    """Every choice that decides the ages and masses of a clump list.

    Attributes
    ----------
    model : SedModel
        Star-formation history, library, attenuation and the rest.
    priors : Priors or None
        Priors of the free parameters; those of `sc_lab.sed.Priors` when None.
    error_floor : float
        Fraction of every flux that is added to its error in quadrature.
    excluded : tuple of str
        Bands that are left out of the fits, such as ``("F090W",)``.
    n_draws : int
        Joint posterior draws kept of each clump.
    second_tau : float or None
        e-folding time [Myr] of a second star-formation history that is fitted beside the first one, whose medians
        go into columns such as ``mass_tau10`` (dashed in figure 5 of Claeyssens et al. 2026, where it is 10 Myr).
    seed : int
        Seed of the fits; each clump draws from a stream of its own, keyed by seed and id.

    Raises
    ------
    InputError
        If a value is impossible.

    Examples
    --------
    >>> settings = SedSettings(excluded=("F090W",), second_tau=10)
    >>> SedSettings.from_record(settings.record()) == settings
    True
    """

    model: SedModel = field(default_factory=SedModel)
    priors: Priors | None = None
    error_floor: float = 0.03
    excluded: tuple[str, ...] = ()
    n_draws: int = 128
    second_tau: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        """Check every value, so that no settings object with an impossible one exists."""
        if not isinstance(self.model, SedModel):
            msg = f"model is {self.model!r}; give a SedModel, such as SedModel(tau=10)"
            raise InputError(msg)
        if not isinstance(self.priors, Priors | None):
            msg = f"priors is {self.priors!r}; give Priors(...), such as Priors(a_v=Uniform(0, 2)), or None"
            raise InputError(msg)
        if not _is_number(self.error_floor) or not 0 <= self.error_floor < 1:
            msg = f"error_floor is {self.error_floor!r}; give a fraction of the flux, from 0 to 1, such as 0.03"
            raise InputError(msg)
        listed = isinstance(self.excluded, Iterable) and not isinstance(self.excluded, str)
        if not listed or not all(isinstance(band, str) for band in self.excluded):
            msg = f"excluded is {self.excluded!r}; give names of bands, such as ('F090W',)"
            raise InputError(msg)
        object.__setattr__(self, "excluded", tuple(sorted({band.upper() for band in self.excluded})))
        for name, low, high in (("n_draws", 1, _MOST_DRAWS), ("seed", 0, 2**63)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                msg = f"{name} is {value!r}; give a whole number from {low} to {high}"
                raise InputError(msg)
        if self.second_tau is not None:
            if self.model.sfh != "exponential":
                msg = f"second_tau goes with an exponential history, and sfh is {self.model.sfh!r}; leave it out"
                raise InputError(msg)
            other = dataclasses.replace(self.model, tau=self.second_tau)  # refuses what is no time
            if other.tau == self.model.tau:
                msg = f"second_tau is {self.second_tau!r} Myr, which is tau itself; give another, or leave it out"
                raise InputError(msg)
            object.__setattr__(self, "second_tau", other.tau)
        object.__setattr__(self, "error_floor", float(self.error_floor))

    def replace(self, **changes: Any) -> SedSettings:
        """Return a copy with some settings changed.

        Parameters
        ----------
        **changes : Any
            Settings by name; those of the model, such as ``tau``, too.

        Returns
        -------
        SedSettings
            The new settings.

        Raises
        ------
        InputError
            If a name is unknown or a value impossible.
        """
        mine = {each.name for each in dataclasses.fields(self)}
        theirs = {each.name for each in dataclasses.fields(self.model)}
        unknown = sorted(set(changes) - mine - theirs)
        if unknown:
            msg = f"there is no setting named {', '.join(unknown)}; the settings are {', '.join(sorted(mine | theirs))}"
            raise InputError(msg)
        of_model = {name: value for name, value in changes.items() if name not in mine}
        rest = {name: value for name, value in changes.items() if name in mine}
        if of_model:
            rest["model"] = dataclasses.replace(rest.get("model", self.model), **of_model)
        return dataclasses.replace(self, **rest)

    @property
    def models(self) -> dict[str, SedModel]:
        """The models that are fitted, by how their columns end: the reference first, under the empty text."""
        from sc_lab.clumps.sed_columns import tau_suffix

        out = {"": self.model}
        if self.second_tau is not None:
            out[tau_suffix(self.second_tau)] = dataclasses.replace(self.model, tau=self.second_tau)
        return out

    def record(self) -> dict[str, Any]:
        """Return the settings as JSON values, with what a reader must know to fit again.

        Returns
        -------
        dict
            One entry a setting; in ``model`` the library by name, title and digest; ``engine``.
        """
        record: dict[str, Any] = json.loads(self._text)
        return record

    @cached_property
    def _text(self) -> str:
        values = {
            "engine": "grid",
            "model": self.model.record(),
            "priors": None if self.priors is None else self.priors.record(),
            "error_floor": self.error_floor,
            "excluded": list(self.excluded),
            "n_draws": self.n_draws,
            "second_tau": self.second_tau,
            "seed": self.seed,
        }
        return json.dumps(values, sort_keys=True)

    @cached_property
    def key(self) -> str:
        """Short name of these very settings, the same in every session."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:_KEY_LENGTH]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SedSettings:
        """Make settings from their JSON values; the inverse of `record`.

        Parameters
        ----------
        record : mapping
            What `record` gave.

        Returns
        -------
        SedSettings
            The settings, with the library of that name as it is installed, or of that path as it is now.

        Raises
        ------
        InputError
            If it is no such record, or a value is impossible.
        """
        try:
            values = dict(record)
            engine = values.pop("engine", "grid")
            model = dict(values.pop("model", {}))
            library = model.get("library")
            if isinstance(library, Mapping):
                model["library"] = library.get("path", library["name"])
            if model.get("bin_edges") is not None:
                model["bin_edges"] = tuple(model["bin_edges"])
            priors = values.pop("priors", None)
            if priors is not None:
                priors = Priors.from_record(priors)
            values["excluded"] = tuple(values.get("excluded", ()))
            out = cls(model=SedModel(**model), priors=priors, **values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            msg = f"these are no settings of SED fits ({error}); give what SedSettings.record() returned"
            raise InputError(msg) from error
        if engine != "grid":
            msg = f"the engine of the SED fits is {engine!r}; clump lists are fitted with the 'grid' engine"
            raise InputError(msg)
        return out


def _is_number(value: Any) -> bool:
    """Return whether a value is a plain number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
