"""The catalogue columns of an SED fit: their names, and what a magnification does to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.units import FloatArray

__all__ = ["DRAWN", "PROPERTIES", "TEXTS", "is_second_history", "is_sed_column", "magnified", "tau_suffix"]

#: What the posterior of an SED says of a clump, each with errors of the 16 and 84 %.
PROPERTIES = ("mass", "age_onset", "age_mw", "sfr", "a_v", "metallicity", "abs_mag_v")
#: What has joint draws.
DRAWN = ("mass", "age_onset", "sfr", "a_v")
#: Texts of a fit.
TEXTS = ("sed_library", "sed_settings", "sed_flags")
_NUMBERS = ("sed_chi2", "sed_n_bands", "sed_ess")
#: What goes as the light.
_LIGHT = re.compile(r"(mass|sfr)(_tau[0-9p]+)?(_err_lo|_err_hi|_draws)?")
_MAGNITUDE = re.compile(r"abs_mag_v(_tau[0-9p]+)?")
_ANY = re.compile(rf"({'|'.join((*PROPERTIES, 'sed_chi2'))})(_tau\d+(p\d+)?)?(_err|_err_lo|_err_hi|_draws)?")


def tau_suffix(tau: float) -> str:
    """Return how the columns of a second star-formation history end.

    Parameters
    ----------
    tau : float
        Its e-folding time [Myr].

    Returns
    -------
    str
        For instance ``"_tau10"``, or ``"_tau2p5"``.

    Examples
    --------
    >>> tau_suffix(10.0), tau_suffix(2.5)
    ('_tau10', '_tau2p5')
    """
    return "_tau" + f"{tau:.4f}".rstrip("0").rstrip(".").replace(".", "p")


def is_sed_column(name: str) -> bool:
    """Return whether a column is one that SED fits give.

    Parameters
    ----------
    name : str
        Name of the column.

    Returns
    -------
    bool
        Also True for errors, draws, and the columns of a second history.
    """
    return name in _NUMBERS or name in TEXTS or name == "mass_is_provisional" or bool(_ANY.fullmatch(name))


def is_second_history(name: str) -> bool:
    """Return whether a column is one that fits with a second star-formation history give.

    Parameters
    ----------
    name : str
        Name of the column.

    Returns
    -------
    bool
        For instance of ``mass_tau10``.
    """
    found = _ANY.fullmatch(name)
    return found is not None and found[2] is not None


def magnified(columns: Mapping[str, npt.NDArray[Any]], mu: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of fits of magnified light as those of the clumps themselves.

    Parameters
    ----------
    columns : mapping of str to ndarray
        What `sc_lab.clumps.sed_fits.fit_seds` gives, shape (n,) each, draws (n, k).
    mu : ndarray
        Absolute magnification, shape (n,).

    Returns
    -------
    dict
        Masses and rates divided by ``mu``, with errors and draws; magnitudes fainter by 2.5 log10 mu
        (Claeyssens et al. 2026, section 3.4). All are those at fixed magnification: the scatter of ``mu`` comes on
        top where populations are drawn, once for mass, rate and size together. Draws are rounded to float32, as
        projects keep them.
    """
    mu = np.where(np.asarray(mu, dtype=float) > 0, mu, np.nan)
    out = dict(columns)
    for name, values in columns.items():
        if _LIGHT.fullmatch(name):
            out[name] = values / (mu[:, None] if values.ndim == 2 else mu)
        elif _MAGNITUDE.fullmatch(name):
            out[name] = values + 2.5 * np.log10(mu)
        if name.endswith("_draws"):
            out[name] = out[name].astype(np.float32).astype(np.float64)
    return out
