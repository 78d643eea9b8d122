"""A fit that was made elsewhere, as a list of one clump that the SED panel can show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.clumps import SedSettings
from sc_lab.errors import InputError

if TYPE_CHECKING:
    from sc_lab.sed.results import SedFit

__all__ = ["settings_of_fit", "table_of"]


def table_of(fit: SedFit) -> QTable:
    """Return the light of a fit as a catalogue of one row.

    Parameters
    ----------
    fit : SedFit
        The fit.

    Returns
    -------
    QTable
        Redshift, fluxes and errors; no magnification, as a fit knows of none.

    Raises
    ------
    InputError
        If a band has a name that no column can have.
    """
    bad = [band for band in fit.bands if not re.fullmatch(r"[A-Za-z0-9]+", band)]
    if bad:
        msg = f"bands named {', '.join(map(repr, bad[:5]))} cannot be columns of a catalogue; name bands as 'F150W'"
        raise InputError(msg)
    out = QTable({"id": ["the fit"], "z": [float(fit.z)]})
    for band, flux, error in zip(fit.bands, np.asarray(fit.flux), np.asarray(fit.flux_err), strict=True):
        out[f"flux_{band.lower()}"], out[f"flux_{band.lower()}_err"] = [flux] * u.nJy, [error] * u.nJy
    if fit.shape_err is not None and np.ptp(fit.shape_err) == 0 and fit.shape_err[0] > 0:
        out["flux_shape_err"] = [float(fit.shape_err[0])]
    return out


def settings_of_fit(fit: SedFit) -> SedSettings:
    """Return what a fit was made with, as settings of a list.

    Parameters
    ----------
    fit : SedFit
        The fit.
    """
    return SedSettings(model=fit.model, priors=fit.priors, error_floor=float(fit.error_floor))
