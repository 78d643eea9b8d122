"""Point values of a catalogue under one of its lens models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sc_lab import catalog as catalogs
from sc_lab.errors import InputError
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["LensScaling", "ReferenceValues", "lens_models", "lens_scaling", "reference_values"]

_MODEL = re.compile(r"mu_(?!t$|err$)([a-z0-9]+)")


@dataclass(frozen=True)
class ReferenceValues:
    """What the catalogue says of each clump under one lens model.

    Attributes
    ----------
    mass : ndarray
        Intrinsic mass [Msun], shape (n,); NaN where not measured, and outside the map of the model.
    age : ndarray
        Age since the onset of star formation [Myr], shape (n,).
    r_eff : ndarray
        Intrinsic effective radius, or its upper limit [pc], shape (n,).
    r_eff_is_limit : ndarray of bool
        Where ``r_eff`` is an upper limit, shape (n,); False outside the map of the model.
    mu : ndarray
        Absolute magnification, shape (n,).
    mu_t : ndarray
        Absolute tangential magnification, shape (n,).
    sfr : ndarray
        Intrinsic star-formation rate [Msun/yr], shape (n,).
    """

    mass: FloatArray
    age: FloatArray
    r_eff: FloatArray
    r_eff_is_limit: npt.NDArray[np.bool_]
    mu: FloatArray
    mu_t: FloatArray
    sfr: FloatArray


@dataclass(frozen=True)
class LensScaling:
    """How the columns of the reference lens model become those of another.

    Attributes
    ----------
    mu, mu_t : ndarray
        Magnifications of the model, shape (n,).
    flux, size : ndarray
        Factors on masses and rates, and on effective radii, shape (n,); 1 for the reference model,
        NaN where either model has no magnification.
    tangential : ndarray of bool
        Where the size goes with the tangential magnification (upper limits that have one).
    """

    mu: FloatArray
    mu_t: FloatArray
    flux: FloatArray
    size: FloatArray
    tangential: npt.NDArray[np.bool_]


def lens_models(table: Table) -> tuple[str, ...]:
    """Return the names of the lens models of a catalogue.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A catalogue.

    Returns
    -------
    tuple of str
        The reference model, named by the empty string, then the others in order.
    """
    found = (_MODEL.fullmatch(name) for name in table.colnames)
    return ("", *sorted({match[1] for match in found if match}))


def lens_scaling(table: Table, lens_model: str = "") -> LensScaling:
    """Return the magnifications of a lens model and what they do to masses and sizes.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A catalogue.
    lens_model : str
        Name of the model; empty for the reference model.

    Returns
    -------
    LensScaling
        Magnifications and factors.

    Raises
    ------
    InputError
        If the catalogue has no such model.
    """
    known = lens_models(table)
    if lens_model not in known:
        names = ", ".join(map(repr, known))
        msg = f"the catalogue has no lens model {lens_model!r}; it has {names} ('' is the reference model)"
        raise InputError(msg)
    limit = catalogs.flags(table, "r_eff_is_limit")
    mu_ref, mu_t_ref = catalogs.values(table, "mu"), catalogs.values(table, "mu_t")
    if not lens_model:
        ones = np.ones(len(table))
        return LensScaling(mu_ref, mu_t_ref, ones, ones.copy(), limit & np.isfinite(mu_t_ref))
    mu, mu_t = catalogs.values(table, f"mu_{lens_model}"), catalogs.values(table, f"mu_t_{lens_model}")
    flux = mu_ref / mu
    along = mu_t_ref / mu_t
    tangential = limit & np.isfinite(along)
    return LensScaling(mu, mu_t, flux, np.where(tangential, along, np.sqrt(flux)), tangential)


def reference_values(table: Table, lens_model: str = "") -> ReferenceValues:
    """Return the point values of a catalogue under a lens model.

    Parameters
    ----------
    table : `~astropy.table.Table`
        A catalogue whose masses, rates and radii are intrinsic for its reference model.
    lens_model : str
        Name of the lens model, e.g. ``"m2"`` for the columns ``mu_m2`` and ``mu_t_m2``; empty for the reference.

    Returns
    -------
    ReferenceValues
        Arrays of shape (n,), NaN where not measured. Masses and rates go as 1/mu; radii as
        1/sqrt(mu), upper limits as 1/mu_t where both models have it. A clump without a magnification
        in the model lies outside its map: mass, radius, rate and magnification are NaN there.

    Raises
    ------
    InputError
        If the catalogue has no such model.

    Notes
    -----
    Claeyssens et al. 2026, sections 3.4 and 4.1.
    """
    scaling = lens_scaling(table, lens_model)
    limit = catalogs.flags(table, "r_eff_is_limit")
    if lens_model:
        # Outside the map nothing is known: a limit whose number is lost there is not a limit without a number.
        limit &= np.isfinite(scaling.flux)
    return ReferenceValues(
        mass=catalogs.values(table, "mass") * scaling.flux,
        age=catalogs.values(table, "age_onset"),
        r_eff=catalogs.values(table, "r_eff") * scaling.size,
        r_eff_is_limit=limit,
        mu=scaling.mu,
        mu_t=scaling.mu_t,
        sfr=catalogs.values(table, "sfr") * scaling.flux,
    )
