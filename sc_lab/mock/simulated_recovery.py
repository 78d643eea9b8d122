"""Masses, sizes and densities of simulated clusters as measured by the pipeline, beside what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.mock.recovery import match_truth
from sc_lab.simulations import _checks as check
from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.mock.field import MockField

__all__ = ["compare_simulated", "measure_simulated"]

_PAIRS = (("log_mass", "mass"), ("log_r_eff", "r_eff"), ("log_sigma", "sigma_mass"))


@check.checked(radius=check.positive(words="a number of pixels above 0"))
def measure_simulated(
    field: MockField,
    *,
    mode: str = "full",
    background: str = "host",
    sed: Any = None,
    radius: float = 2.0,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
) -> QTable:
    """Return what the pipeline finds of simulated clusters: detected, fitted, de-lensed, and their SEDs fitted.

    Parameters
    ----------
    field : MockField
        From `sc_lab.mock.observe_simulated`.
    mode, background : str
        How clumps are fitted, see `sc_lab.photometry.fit_clumps`. Simulated clusters are mostly smaller than the PSF: "paper",
        whose one rule of 0.4 px holds for bright clumps, takes most of the faint ones for resolved.
    sed : SedSettings, optional
        Settings of the SED fits; those of `sc_lab.clumps.SedSettings` by default.
    radius : float
        Largest distance of a detection from the true place [px].
    progress : callable, optional
        Called with (done, total).
    cancel : object with ``is_set()``, optional
        Stops the fits.

    Returns
    -------
    QTable
        A row for each image, see `compare_simulated`.

    Raises
    ------
    InputError
        If the field has no truth.
    """
    from sc_lab.clumps import Observation, measure
    from sc_lab.detection import detect_clumps

    if "cluster" not in getattr(getattr(field, "truth", None), "colnames", ()):
        msg = f"the field {getattr(field, 'name', field)!r} has no truth of simulated clusters; make it with observe_simulated"
        raise InputError(msg)
    options = {"mode": mode, "background": background} | ({} if sed is None else {"sed": sed})
    clumps = detect_clumps(field)
    measured = measure(Observation(field=field, **options), clumps, progress=progress, cancel=cancel)
    truth, found = match_truth(field.truth, measured.fits, radius=radius)
    return compare_simulated(field.truth, measured.catalog, truth, found)


def compare_simulated(truth: QTable, catalog: Any, rows: Any, found: Any) -> QTable:
    """Return measured over true mass, radius and surface density of matched images, in dex.

    Parameters
    ----------
    truth : QTable
        That of the field.
    catalog : Table
        The measured catalogue.
    rows, found : array_like of int
        Rows of ``truth`` and of ``catalog`` that are the same image.

    Returns
    -------
    QTable
        One row for each row of the truth: ``id``, ``cluster``, ``snr``, ``mu``, ``detected``; true ``mass``, ``r_eff``,
        ``sigma_mass``; ``log_mass``, ``log_r_eff``, ``log_sigma``: log10 of measured over true, NaN where nothing was
        measured or only a limit; ``mass_pull``: that over the 68 % error of the mass; ``is_limit``: the size is an upper
        limit, ``r_eff_limit`` [pc], ``limit_holds``: which is no smaller than the true one.
    """
    n = len(truth)
    out = truth["id", "cluster", "snr", "mu", "mass", "r_eff", "sigma_mass"].copy()
    rows, found = np.asarray(rows, dtype=int), np.asarray(found, dtype=int)
    detected = np.zeros(n, dtype=bool)
    detected[rows] = True
    out["detected"] = detected
    limit, holds = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    limit[rows] = np.asarray(catalog["r_eff_is_limit"], dtype=bool)[found]
    size = _plain(catalog["r_eff"])[found]
    true_size = truth["r_eff"].value[rows]
    with np.errstate(invalid="ignore"):
        holds[rows] = limit[rows] & (size >= true_size)
    fitted = ~np.asarray(catalog["mass_is_provisional"], dtype=bool)[found]
    mass = np.where(fitted, _plain(catalog["mass"])[found], np.nan)
    resolved = np.where(limit[rows], np.nan, size)
    values = {"mass": mass, "r_eff": resolved, "sigma_mass": mass / (2.0 * np.pi * resolved**2)}
    for name, column in _PAIRS:
        ratio = np.full(n, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio[rows] = np.log10(values[column] / truth[column].value[rows])
        out[name] = ratio
    pull = np.full(n, np.nan)
    true_mass = truth["mass"].value[rows]
    low, high = (_plain(catalog[f"mass_err_{side}"])[found] for side in ("lo", "hi"))
    with np.errstate(invalid="ignore", divide="ignore"):
        # The side of the error that looks at the truth.
        pull[rows] = (mass - true_mass) / np.where(mass > true_mass, low, high)
    out["mass_pull"] = pull
    out["is_limit"], out["limit_holds"] = limit, holds
    bound = np.full(n, np.nan)
    bound[rows] = np.where(limit[rows], size, np.nan)
    out["r_eff_limit"] = bound * truth["r_eff"].unit
    return out


def _plain(column: Any) -> FloatArray:
    """Return a column as numbers, NaN where masked."""
    bare = getattr(column, "unmasked", column)
    values = np.array(np.ma.getdata(getattr(bare, "value", bare)), dtype=float)
    mask = getattr(column, "mask", None)
    if mask is not None:
        values[np.broadcast_to(np.asarray(mask, dtype=bool), values.shape)] = np.nan
    return values
