"""Say a model and its priors in bagpipes' terms: component names, units of Gyr, and names of prior functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.sed._continuity import StudentT
from sc_lab.sed.libraries import Library
from sc_lab.sed.model import SedModel
from sc_lab.sed.priors import Fixed, Gaussian, LogUniform, Prior, Uniform
from sc_lab.sed.sfh import continuity_edges
from sc_lab.units import FloatArray

__all__ = ["YOUNGEST", "library_arrays", "model_terms", "our_names", "prior_terms", "step_terms"]

#: bagpipes' history has its first sample at 1 Myr: nothing has formed yet in a model of that age or younger, and it
#: gives zero flux without a word. Its models begin just above.
YOUNGEST = 1.0 + 1e-9
_LAWS = {"calzetti": "Calzetti", "cardelli": "Cardelli", "smc": "SMC", "charlot_fall": "CF00", "salim": "Salim"}
#: The error function of bagpipes' Gaussian prior is one to the last digit this many sigmas out. An infinite limit
#: could not be read back from the text in which bagpipes stores its instructions.
_FAR = 12.0
_MYR_PER_GYR = 1000.0


def model_terms(model: SedModel, z: float) -> dict[str, Any]:
    """Return the fixed part of bagpipes' model components.

    Parameters
    ----------
    model : SedModel
        The model, in mode "compat".
    z : float
        Redshift; zero becomes a billionth, below which bagpipes has no distances.

    Returns
    -------
    dict
        JSON values; parameters are still to be put in.

    Raises
    ------
    InputError
        If bagpipes cannot compute this model.
    """
    if not model.dust_emission:
        msg = "bagpipes always lets dust radiate what it absorbs; engine='bagpipes' needs dust_emission=True"
        raise InputError(msg)
    if model.nebular and not model.loaded_library.has_nebular:
        msg = f"the library {model.loaded_library.title} has no nebular grids; give nebular=False, or the grids"
        raise InputError(msg)
    history: dict[str, Any] = {
        "exponential": {"tau": model.tau / _MYR_PER_GYR},
        "constant": {"age_min": 0.0},
        "burst": {},
        "continuity": {"bin_edges": continuity_edges(model, z).tolist()} if model.sfh == "continuity" else {},
    }[model.sfh]
    dust: dict[str, Any] = {"type": _LAWS[model.attenuation], "eta": model.eta}
    if model.attenuation == "charlot_fall":
        dust["n"] = model.slope
    elif model.attenuation == "salim":
        dust |= {"delta": model.slope, "B": model.bump}
    terms: dict[str, Any] = {
        "redshift": max(float(z), 1e-9),
        "t_bc": model.t_birth_cloud / _MYR_PER_GYR,
        model.sfh: history,
        "dust": dust,
    }
    if model.nebular:
        terms["nebular"] = {"fesc": model.escape_fraction} if model.escape_fraction else {}
    return terms


def our_names(model: SedModel, n_step: int) -> dict[str, tuple[str, float]]:
    """Return for each of our parameters bagpipes' name and the factor from our unit to its own.

    Parameters
    ----------
    model : SedModel
        Decides the component, what the age is called, and whether there is gas.
    n_step : int
        Steps between the bins of a continuity history.

    Returns
    -------
    dict of str to (str, float)
        Our name to "component:key" and factor.
    """
    history = model.sfh
    if history == "continuity":
        names = {f"dsfr{k}": (f"continuity:dsfr{k}", 1.0) for k in range(1, n_step + 1)}
    else:
        names = {"age": (f"{history}:{'age_max' if history == 'constant' else 'age'}", 1.0 / _MYR_PER_GYR)}
    names |= {
        "log_mass_formed": (f"{history}:massformed", 1.0),
        "metallicity": (f"{history}:metallicity", 1.0),
        "a_v": ("dust:Av", 1.0),
    }
    return {**names, "log_u": ("nebular:logU", 1.0)} if model.nebular else names


def step_terms(prior: StudentT) -> dict[str, Any]:
    """Return the prior of the steps between the bins of a continuity history.

    Parameters
    ----------
    prior : StudentT
        The prior.

    Returns
    -------
    dict
        As `prior_terms` returns.
    """
    return {"prior": "student_t", "limits": [-prior.limit, prior.limit], "df": 2.0, "loc": 0.0, "scale": prior.scale}


def prior_terms(name: str, prior: Prior, *, factor: float = 1.0) -> tuple[dict[str, Any] | float, str]:
    """Return a prior in bagpipes' terms.

    Parameters
    ----------
    name : str
        Our name of the parameter; ages below the youngest model are cut off.
    prior : Uniform, LogUniform, Gaussian or Fixed
        The prior, in our unit.
    factor : float, optional
        From our unit to bagpipes'.

    Returns
    -------
    terms : dict or float
        ``prior``, ``limits`` and what else the prior needs; a number for a fixed value.
    caution : str
        What had to be changed; empty if nothing.

    Raises
    ------
    InputError
        If bagpipes has no such prior, or nothing of it is left above the youngest model.
    """
    if isinstance(prior, Fixed):
        value = float(prior.value)
        if name == "age" and value < YOUNGEST:
            msg = f"the age is fixed to {value:g} Myr; bagpipes has no model of 1 Myr or younger: fix it above 1 Myr"
            raise InputError(msg)
        return value * factor, ""
    low, high = float(prior.low), float(prior.high)
    caution = ""
    if name == "age" and low < YOUNGEST:
        if high <= YOUNGEST:
            msg = f"the prior of the age ends at {high:g} Myr; bagpipes has no model of 1 Myr or younger"
            raise InputError(msg)
        if low < 1.0:
            caution = f"ages below 1 Myr have no model in bagpipes: its prior begins there, not at {low:g} Myr"
        low = YOUNGEST
    if isinstance(prior, Uniform):
        return {"prior": "uniform", "limits": [low * factor, high * factor]}, caution
    if isinstance(prior, LogUniform):
        return {"prior": "log_10", "limits": [low * factor, high * factor]}, caution
    if isinstance(prior, Gaussian):
        mean, sigma = float(prior.mean), float(prior.sigma)
        limits = [max(low, mean - _FAR * sigma) * factor, min(high, mean + _FAR * sigma) * factor]
        return {"prior": "Gaussian", "limits": limits, "mu": mean * factor, "sigma": sigma * factor}, caution
    msg = f"bagpipes has no prior like {type(prior).__name__} for {name}; give Uniform, LogUniform, Gaussian or Fixed"
    raise InputError(msg)


def library_arrays(library: Library) -> dict[str, FloatArray] | None:
    """Return the grids of a library as the worker reads them; None for those that bagpipes ships.

    Parameters
    ----------
    library : Library
        The library.

    Returns
    -------
    dict of str to ndarray, or None
        Spectra stacked (n_z, n_age, n_wav), their axes, and the nebular grids where there are any.
    """
    if library.name == "bc03":
        return None
    arrays = {
        "wavelength": library.wavelength,
        "age": library.age,
        "metallicity": library.metallicity,
        "live_fraction": library.live_fraction,
        "spectra": np.stack([np.asarray(each, dtype=np.float64) for each in library.spectra]),
    }
    if library.has_nebular:
        arrays |= {
            "log_u": library.log_u,
            "nebular_age": library.nebular_age,
            "nebular_wavelength": library.nebular_wavelength,
            "line_wavelength": library.line_wavelength,
            "continuum": np.stack([np.asarray(each, dtype=np.float64) for each in library.continuum]),
            "lines": np.stack([np.asarray(each, dtype=np.float64) for each in library.lines]),
        }
    return arrays
