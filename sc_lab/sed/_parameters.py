"""Parameters of models, checked and parted by redshift and into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.cosmology import FLRW

from sc_lab.errors import InputError
from sc_lab.sed._frame import Frame, age_of_universe_yr, frame_at, frames_at
from sc_lab.sed.model import SedModel
from sc_lab.sed.sfh import continuity_weights, state_weights
from sc_lab.units import AGE, FloatArray, value_in

__all__ = ["Sources", "batches", "by_redshift", "checked_sources", "joined"]

#: Sources in one product, so that their spectra take some ten megabytes.
_BATCH = 128


@dataclass(frozen=True, eq=False)
class Sources:
    """Parameters of n sources, checked.

    Attributes
    ----------
    mass : ndarray, shape (n,)
        Mass formed [Msun].
    weights : ndarray, shape (n, n_bin)
        Fraction of it at each age of the tables.
    metallicity, log_u, a_v : ndarray, shape (n,)
        In units of 0.02; log10; mag.
    """

    mass: FloatArray
    weights: FloatArray
    metallicity: FloatArray
    log_u: FloatArray
    a_v: FloatArray

    def __len__(self) -> int:
        """Return how many sources there are."""
        return self.mass.size

    def part(self, rows: slice | Any) -> Sources:
        """Return some of the sources.

        Parameters
        ----------
        rows : slice or ndarray of int
            Which.

        Returns
        -------
        Sources
            Those.
        """
        return Sources(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def batches(self) -> Iterator[Sources]:
        """Yield the sources, a few at a time.

        Yields
        ------
        Sources
            At most 128.
        """
        for start in range(0, len(self), _BATCH):
            yield self.part(slice(start, start + _BATCH))


def joined(parts: Sequence[Sources]) -> Sources:
    """Return several lists of sources as one; histories may reach over different numbers of bins of age.

    Parameters
    ----------
    parts : sequence of Sources
        The lists.

    Returns
    -------
    Sources
        All of them.
    """
    if len(parts) == 1:
        return parts[0]
    n_bin = max(each.weights.shape[1] for each in parts)
    weights = [np.pad(each.weights, ((0, 0), (0, n_bin - each.weights.shape[1]))) for each in parts]
    rest = [name for name in Sources.__dataclass_fields__ if name != "weights"]
    columns = {name: np.concatenate([getattr(each, name) for each in parts]) for name in rest}
    return Sources(weights=np.concatenate(weights), **columns)


def batches(groups: Iterator[tuple[Any, Frame, Sources]]) -> Iterator[list[tuple[Any, Frame, Sources]]]:
    """Collect the sources of several redshifts until a batch is full; cut those of one redshift that overfill it.

    Parameters
    ----------
    groups : iterator
        Rows, frame and sources of each redshift, from `by_redshift`.

    Yields
    ------
    list
        Some groups or parts of groups, at most 128 sources.
    """
    batch: list[tuple[Any, Frame, Sources]] = []
    held = 0
    for rows, frame, sources in groups:
        for start in range(0, len(sources), _BATCH):
            part = rows[start : start + _BATCH], frame, sources.part(slice(start, start + _BATCH))
            if held + len(part[2]) > _BATCH:
                yield batch
                batch, held = [], 0
            batch.append(part)
            held += len(part[2])
    if batch:
        yield batch


def by_redshift(
    model: SedModel, z: Any, parameters: Mapping[str, Any], distance: Any, cosmology: FLRW | None
) -> Iterator[tuple[Any, Frame, Sources]]:
    """Yield the sources of each redshift that occurs.

    Parameters
    ----------
    model : SedModel
        The model.
    z : float or array_like, shape (n,)
        Redshift, of all or of each source.
    parameters : mapping
        As for `~sc_lab.sed.model_fluxes`.
    distance : float or `~astropy.units.Quantity`, optional
        Luminosity distance [Mpc] for a single redshift.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Yields
    ------
    tuple
        Rows of the sources, frame, and the sources.
    """
    shifts = value_in(z, u.dimensionless_unscaled, "z")
    if shifts.ndim == 0:
        frame = frame_at(model.mode, shifts, distance=distance, cosmology=cosmology)
        sources = checked_sources(model, parameters, frame.z, None, cosmology)
        yield np.arange(len(sources)), frame, sources
        return
    if shifts.ndim != 1:
        msg = f"z has the shape {shifts.shape}; give one redshift, or one for each source"
        raise InputError(msg)
    if distance is not None:
        msg = "distance belongs to a single redshift; give z as one number, or leave distance out"
        raise InputError(msg)
    if not shifts.size:
        return
    if not np.isfinite(shifts).all() or (shifts <= 0).any():
        msg = "redshifts of many sources must be finite and above 0"
        raise InputError(msg)
    distances, ages = frames_at(model.mode, shifts, cosmology)
    if model.sfh == "continuity":
        for one in np.unique(shifts):  # its bins depend on the redshift
            rows = np.flatnonzero(shifts == one)
            here = {key: _rows_of(value, rows, shifts.size) for key, value in parameters.items()}
            frame = Frame(float(one), float(distances[rows[0]]), float(ages[rows[0]]))
            yield rows, frame, checked_sources(model, here, float(one), ages[rows], cosmology)
        return
    sources = checked_sources(model, parameters, float(shifts.max()), ages, cosmology)
    values, first, back = np.unique(shifts, return_index=True, return_inverse=True)
    members = np.split(np.argsort(back, kind="stable"), np.cumsum(np.bincount(back))[:-1])
    for one, at, rows in zip(values, first, members, strict=True):
        yield rows, Frame(float(one), float(distances[at]), float(ages[at])), sources.part(rows)


def _rows_of(value: Any, rows: Any, n: int) -> Any:
    """Return some rows of a parameter that may be one for all."""
    return value[rows] if np.shape(value) == (n,) else value


def checked_sources(
    model: SedModel,
    parameters: Mapping[str, Any],
    z: float,
    ages_of_universe: FloatArray | None,
    cosmology: FLRW | None,
) -> Sources:
    """Return parameters as arrays of one length, inside their ranges.

    Parameters
    ----------
    model : SedModel
        The model decides which parameters there are.
    parameters : mapping
        As for `~sc_lab.sed.model_fluxes`.
    z : float
        Redshift of all.
    ages_of_universe : ndarray, shape (n,), optional
        Age of the Universe at each source [yr]; None takes that of ``z`` and any number of sources.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None is flat, 70, 0.3.

    Returns
    -------
    Sources
        The sources.
    """
    library = model.loaded_library
    dsfrs: list[str] = []
    if model.sfh == "continuity":
        history = continuity_weights(model, z, cosmology)
        dsfrs = [f"dsfr{i}" for i in range(1, history.n_sfh)]
    names = ["log_mass_formed", "metallicity", "a_v", *(["log_u"] if model.nebular else []), *(dsfrs or ["age"])]
    missing = [name for name in names if name not in parameters]
    if missing:
        msg = f"parameters lack {', '.join(missing)}; this model needs {', '.join(names)}"
        raise InputError(msg)
    units = {"age": AGE, "a_v": u.mag if hasattr(parameters["a_v"], "unit") else u.dimensionless_unscaled}
    given = {name: value_in(parameters[name], units.get(name, u.dimensionless_unscaled), name) for name in names}
    if any(each.ndim > 1 for each in given.values()):
        msg = "each parameter is one number or a list of them"
        raise InputError(msg)
    lengths = {each.size for each in given.values() if each.ndim} or {1}
    if ages_of_universe is not None:
        lengths.add(ages_of_universe.size)
        lengths -= {1} if ages_of_universe.size != 1 else set()
    if len(lengths - {1}) > 1:
        told = ", ".join(f"{name} {each.size}" for name, each in given.items())
        msg = f"parameters have different lengths ({told}); give one number or as many as there are sources"
        raise InputError(msg)
    n = max(lengths) if 0 not in lengths else 0
    full = {name: np.broadcast_to(np.atleast_1d(each), (n,)) for name, each in given.items()}
    for name, each in full.items():
        if not np.isfinite(each).all():
            msg = f"{name} is not finite in {np.count_nonzero(~np.isfinite(each))} source(s)"
            raise InputError(msg)
    _check_above(full["a_v"], 0.0, "a_v")
    log_u = full.get("log_u", np.zeros(n))
    if model.nebular:
        if not library.has_nebular:
            msg = f"the library {library.title} has no nebular grids; use SedModel(nebular=False)"
            raise InputError(msg)
        if ((log_u < library.log_u[0]) | (log_u > library.log_u[-1])).any():
            msg = f"log_u leaves the grid of the library, {library.log_u[0]:g} to {library.log_u[-1]:g}"
            raise InputError(msg)
    if model.sfh == "continuity":
        weights = history.fractions(np.stack([full[name] for name in dsfrs], axis=1)) @ history.weights
    else:
        weights = state_weights(model, _checked_age(model, full["age"], z, ages_of_universe, cosmology))
    return Sources(10 ** full["log_mass_formed"], weights, full["metallicity"], log_u, full["a_v"])


def _check_above(values: FloatArray, low: float, name: str) -> None:
    """Refuse values below a limit."""
    if (values < low).any():
        msg = f"{name} is {values.min():g} at the lowest; it cannot be below {low:g}"
        raise InputError(msg)


def _checked_age(
    model: SedModel, age_myr: FloatArray, z: float, ages_of_universe: FloatArray | None, cosmology: FLRW | None
) -> FloatArray:
    """Return ages in years, refusing those that no history has."""
    oldest = age_of_universe_yr(model.mode, z, cosmology) if ages_of_universe is None else ages_of_universe
    # bagpipes' own arithmetic, Gyr to yr: its staircase has its steps where this rounds.
    age = age_myr * 1e-3 * 10**9
    if (age > oldest * (1.0 + 1e-9)).any():
        worst = int(np.argmax(age - oldest))
        at = float(np.broadcast_to(oldest, age.shape)[worst])
        msg = f"age is {age[worst] / 1e6:.6g} Myr, but the Universe was {at / 1e6:.6g} Myr old at the source's redshift"
        raise InputError(msg)
    if (age <= 0).any():
        msg = f"age is {age_myr.min():g} Myr at the lowest; it must be above 0"
        raise InputError(msg)
    if model.mode == "compat" and model.sfh != "burst" and (age <= 1e6).any():
        msg = f"age is {age_myr.min():g} Myr at the lowest, but bagpipes has no stars of 1 Myr or less; use mode='fine'"
        raise InputError(msg)
    return age
