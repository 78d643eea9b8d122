"""Check fluxes, errors, bands and redshifts before a fit, and say in words what cannot be used."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError, ScLabWarning
from sc_lab.units import FloatArray, value_in

__all__ = ["Photometry", "check_photometry"]

_FLUX = u.nJy
#: Numbers that would all be sensible AB magnitudes of faint sources, with errors below this.
_MAGNITUDES = (15.0, 33.0)
_MAGNITUDE_ERROR = 1.0


@dataclass(frozen=True, eq=False)
class Photometry:
    """Checked data of one or more sources; fluxes in nJy, infinite errors where a band is not used."""

    flux: FloatArray
    flux_err: FloatArray
    used: npt.NDArray[np.bool_]
    shape_err: FloatArray
    z: FloatArray
    bands: tuple[str, ...]
    filters: tuple[Any, ...]
    many: bool
    error_floor: float
    distance: float | None
    cautions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.flux)

    def source(self, i: int) -> Photometry:
        """Return one source alone.

        Parameters
        ----------
        i : int
            Its row.

        Returns
        -------
        Photometry
            Of one source.
        """
        one = slice(i, i + 1)
        return replace(
            self, flux=self.flux[one], flux_err=self.flux_err[one], used=self.used[one],
            shape_err=self.shape_err[one], z=self.z[one],
        )  # fmt: skip

    def shaped(self, values: FloatArray) -> FloatArray:
        """Return an array of all sources in the shape that the data came in.

        Parameters
        ----------
        values : ndarray, shape (n, ...)
            Something of every source.

        Returns
        -------
        ndarray
            The same, or its only row where one source was given by itself.
        """
        return values if self.many else values[0]


def check_photometry(
    flux: Any,
    flux_err: Any,
    bands: Sequence[Any],
    z: Any,
    *,
    shape_err: Any = None,
    error_floor: float = 0.03,
    distance: Any = None,
) -> Photometry:
    """Return data that a fit can use.

    Parameters
    ----------
    flux, flux_err : array_like or Quantity, shape (n_band,) or (n_source, n_band)
        Flux densities and errors [nJy].
    bands : sequence
        Filters or their names.
    z : float or array_like, shape (n_source,)
        Redshifts.
    shape_err : array_like, optional
        Fractions of the common error.
    error_floor : float
        Fraction of the flux added in quadrature.
    distance : float or Quantity, optional
        Luminosity distance [Mpc].

    Returns
    -------
    Photometry
        The data, as tables of one row or more.

    Raises
    ------
    InputError
        If something cannot be used; the message says what and how to mend it.
    """
    from sc_lab.sed.filters import get_filters

    if isinstance(bands, (str, Path)) or not isinstance(bands, Sequence | np.ndarray):
        msg = f"bands is {bands!r}; give a list of filters, one for each column of flux"
        raise InputError(msg)
    filters = tuple(get_filters(bands))
    names = tuple(str(each.name) for each in filters)
    if not names:
        msg = "bands is empty; name at least one filter, such as 'F150W', with a flux and an error for each"
        raise InputError(msg)
    values, errors = _njy(flux, "flux"), _njy(flux_err, "flux_err")
    if values.ndim not in (1, 2) or values.shape[-1] != len(names):
        msg = (
            f"flux has the shape {values.shape} for {len(names)} bands; give ({len(names)},) for one source or "
            f"(n_source, {len(names)}) for many"
        )
        raise InputError(msg)
    try:
        errors = np.array(np.broadcast_to(errors, values.shape))
    except ValueError:
        msg = f"flux_err has the shape {errors.shape}, flux {values.shape}; give one error for each flux"
        raise InputError(msg) from None
    many = values.ndim == 2
    values, errors = np.atleast_2d(values), np.atleast_2d(errors)
    if np.isinf(values).any():
        msg = f"flux is infinite in {_where(np.isinf(values), names, many)}; give NaN where nothing was observed"
        raise InputError(msg)
    wrong = np.isfinite(values) & ~(errors > 0)
    if wrong.any():
        kind = "NaN" if np.isnan(errors[wrong]).all() else "zero, negative or NaN"
        msg = (
            f"flux_err is {kind} in {_where(wrong, names, many)}; give errors above 0 (infinity leaves a band out), and "
            "NaN as flux where nothing was observed"
        )
        raise InputError(msg)
    used = np.isfinite(values) & np.isfinite(errors)
    empty = ~used.any(axis=1)
    if empty.any():
        which = f"source {int(np.flatnonzero(empty)[0])}" if many else "the source"
        msg = f"{which} has no band with a flux and a finite error; leave it out, or unmask a band"
        raise InputError(msg)
    redshift = _redshifts(z, len(values), many)
    floor = value_in(error_floor, u.one, "error_floor")
    if floor.ndim or not 0.0 <= float(floor) < 1.0:
        msg = f"error_floor is {error_floor!r}; give a fraction of the flux from 0 to below 1, such as 0.03"
        raise InputError(msg)
    return Photometry(
        flux=values, flux_err=errors, used=used, shape_err=_shape_errors(shape_err, values.shape), z=redshift,
        bands=names, filters=filters, many=many, error_floor=float(floor), distance=_distance(distance),
        # A unit says that they are none.
        cautions=(_looks_like_magnitudes(values, errors, used) if _unit(flux) is None else ()) + _repeated(names),
    )  # fmt: skip


def _njy(value: Any, name: str) -> FloatArray:
    """Return fluxes in nJy; magnitudes are refused."""
    unit = _unit(value)
    logarithmic = unit is not None and (unit == u.mag or hasattr(unit, "physical_unit"))
    if logarithmic:
        msg = (
            f"{name} is in {unit}, which is a magnitude; give flux densities: flux_from_magnitude turns AB magnitudes "
            "into nJy, and vega_to_ab gives the offset of Vega magnitudes"
        )
        raise InputError(msg)
    return value_in(value, _FLUX, name)


def _unit(value: Any) -> Any:
    """Return the unit of a value, None for bare numbers."""
    return getattr(getattr(value, "unmasked", value), "unit", None)


def _where(wrong: npt.NDArray[np.bool_], names: tuple[str, ...], many: bool) -> str:
    """Return the first wrong entry, and how many there are."""
    row, column = (int(x) for x in np.argwhere(wrong)[0])
    text = f"{names[column]} of source {row}" if many else names[column]
    count = int(wrong.sum())
    return text if count == 1 else f"{text} and {count - 1} more"


def _redshifts(z: Any, n: int, many: bool) -> FloatArray:
    """Return a redshift for each source."""
    values = value_in(z, u.one, "z")
    if values.ndim > 1 or (values.ndim == 1 and (values.size != n or not many)):
        msg = f"z has the shape {values.shape}; give one number" + (f", or {n}, one for each source" if many else "")
        raise InputError(msg)
    redshift = np.array(np.broadcast_to(values, (n,)))
    bad = ~(np.isfinite(redshift) & (redshift >= 0))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        which = f" of source {i}" if many else ""
        msg = f"z{which} is {redshift[i]:g}; a fit needs a redshift of at least 0: leave the source out, or give p(z)"
        raise InputError(msg)
    return redshift


def _shape_errors(value: Any, shape: tuple[int, ...]) -> FloatArray:
    """Return the fraction of the common error for each flux."""
    if value is None:
        return np.zeros(shape)
    fractions = value_in(value, u.one, "shape_err")
    try:
        fractions = np.array(np.broadcast_to(fractions, shape))
    except ValueError:
        msg = f"shape_err has the shape {fractions.shape}; give one fraction, {shape[1]} of them, or a table {shape}"
        raise InputError(msg) from None
    fractions = np.nan_to_num(fractions, nan=0.0, posinf=np.inf)
    if not ((fractions >= 0) & (fractions < 2)).all():
        msg = f"shape_err holds {fractions.max():g}; it is a fraction of the flux: give numbers from 0 to 2"
        raise InputError(msg)
    return fractions


def _distance(value: Any) -> float | None:
    """Return a luminosity distance in Mpc."""
    if value is None:
        return None
    number = value_in(value, u.Mpc, "distance")
    if number.ndim or not (math.isfinite(float(number)) and float(number) > 0):
        msg = f"distance is {value!r}; give one luminosity distance above 0, as a Quantity or in Mpc"
        raise InputError(msg)
    return float(number)


def _repeated(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return that a band is there more than once: two exposures may be meant, one datum given twice may not."""
    again = sorted({name for name in names if names.count(name) > 1})
    if not again:
        return ()
    return (f"{', '.join(again)} stands more than once in bands: each flux counts as a measurement of its own",)


def _looks_like_magnitudes(flux: FloatArray, error: FloatArray, used: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    """Return, and warn of, the suspicion that bare numbers are magnitudes."""
    value, sigma = flux[used], error[used]
    low, high = _MAGNITUDES
    if value.size < 2 or not ((value > low) & (value < high) & (sigma < _MAGNITUDE_ERROR)).all():
        return ()
    said = (
        f"all fluxes lie between {value.min():.4g} and {value.max():.4g} nJy with errors below {_MAGNITUDE_ERROR:g}: if "
        "these are magnitudes, turn them into fluxes with flux_from_magnitude first"
    )
    warnings.warn(said, ScLabWarning, stacklevel=4)
    return (said,)
