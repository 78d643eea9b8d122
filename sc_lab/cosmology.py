"""Cosmologies: the house default, their description in files, and the age of the Universe both ways."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

import astropy.units as u
import numpy as np
from astropy.cosmology import FLRW, FlatLambdaCDM, LambdaCDM
from scipy.interpolate import CubicHermiteSpline

from sc_lab.errors import CosmologyMismatchError, InputError
from sc_lab.units import AGE, FloatArray, value_in

__all__ = ["CosmicClock", "age_of_universe", "check_same", "clock", "default_cosmology", "describe", "make_cosmology"]

_DEFAULT = FlatLambdaCDM(H0=70.0, Om0=0.3, Tcmb0=0.0)
#: Densities that add to one within this are taken as flat: what round-off leaves of 0.3 + 0.7.
_FLAT_TOLERANCE = 1e-9
#: Relative difference below which two recorded parameters are the same number.
_SAME_TOLERANCE = 1e-6
_HUBBLE_UNIT = u.km / u.s / u.Mpc
_MYR_TIMES_HUBBLE_UNIT = float((1.0 * u.Myr * _HUBBLE_UNIT).to_value(u.one))


def default_cosmology() -> FlatLambdaCDM:
    """Return the default cosmology: flat, H0 = 70 km/s/Mpc, Om0 = 0.3, no radiation.

    Returns
    -------
    `~astropy.cosmology.FlatLambdaCDM`
        Always the same object.

    Notes
    -----
    It is the cosmology that bagpipes hard-codes (Carnall et al. 2018), so that ages and SED fits agree.
    """
    return _DEFAULT


def make_cosmology(hubble: Any, omega_m: float, omega_de: float) -> FLRW:
    """Return a cosmology of matter, cosmological constant and curvature, without radiation.

    Parameters
    ----------
    hubble : float or `~astropy.units.Quantity`
        Hubble constant [km/s/Mpc], above zero.
    omega_m : float
        Matter density today, above zero.
    omega_de : float
        Dark-energy density today; curvature takes the rest.

    Returns
    -------
    `~astropy.cosmology.FLRW`
        A ``FlatLambdaCDM`` when the densities add to one, else a ``LambdaCDM``.

    Raises
    ------
    InputError
        If a parameter is not finite, or the Hubble constant or the matter density is not above zero.
    """
    h0 = _one("hubble", hubble, _HUBBLE_UNIT)
    omega_m, omega_de = _one("omega_m", omega_m, u.one), _one("omega_de", omega_de, u.one)
    if not (math.isfinite(h0) and h0 > 0):
        msg = f"hubble is {h0!r}; give a finite number greater than 0 in km/s/Mpc"
        raise InputError(msg)
    if not (math.isfinite(omega_m) and omega_m > 0):
        msg = f"omega_m is {omega_m!r}; give a finite matter density greater than 0"
        raise InputError(msg)
    if not math.isfinite(omega_de):
        msg = f"omega_de is {omega_de!r}; give a finite dark-energy density"
        raise InputError(msg)
    return _made(h0, omega_m, omega_de)


@lru_cache(maxsize=64)
def _made(h0: float, omega_m: float, omega_de: float) -> FLRW:
    """Return a cosmology, the same object for the same numbers: making one takes 20 ms."""
    if abs(omega_m + omega_de - 1.0) <= _FLAT_TOLERANCE:
        return FlatLambdaCDM(H0=h0, Om0=omega_m, Tcmb0=0.0)
    return LambdaCDM(H0=h0, Om0=omega_m, Ode0=omega_de, Tcmb0=0.0)


def _one(name: str, value: Any, unit: u.UnitBase) -> float:
    """Return one number, or refuse it in words."""
    number = value_in(value, unit, name)
    if number.ndim:
        msg = f"{name} has the shape {number.shape}; give one number"
        raise InputError(msg)
    return float(number)


def describe(cosmology: FLRW) -> dict[str, Any]:
    """Return a cosmology as plain JSON values, as catalogues and exports record it.

    Parameters
    ----------
    cosmology : `~astropy.cosmology.FLRW`
        The cosmology.

    Returns
    -------
    dict
        ``class``, ``name`` where it has one, and every parameter: H0 in km/s/Mpc, Tcmb0 in K,
        neutrino masses in eV. ``Ode0`` is always there, so that a flat model and a curved one
        with zero curvature read alike.
    """
    out: dict[str, Any] = {"class": type(cosmology).__name__}
    if cosmology.name:
        out["name"] = str(cosmology.name)
    units = {"H0": _HUBBLE_UNIT, "Tcmb0": u.K, "m_nu": u.eV}
    for name, value in cosmology.parameters.items():
        if value is None:
            continue
        bare = value.to_value(units[name]) if name in units and isinstance(value, u.Quantity) else value
        array = np.asarray(bare, dtype=float)
        out[name] = array.tolist() if array.ndim else float(array)
    out["Ode0"] = float(cosmology.Ode0)
    return out


def check_same(
    a: Mapping[str, Any], b: Mapping[str, Any], *, name_a: str = "the first", name_b: str = "the second"
) -> None:
    """Refuse two recorded cosmologies that differ.

    Parameters
    ----------
    a, b : mapping
        Descriptions made by `describe`. An empty one records nothing and agrees with all.
    name_a, name_b : str
        What carries them, for the error message.

    Raises
    ------
    CosmologyMismatchError
        If a parameter that both record differs; the message names both cosmologies.

    Notes
    -----
    Class and name are labels, not physics: a ``LambdaCDM`` with no curvature is the same
    cosmology as the ``FlatLambdaCDM`` with its parameters.
    """
    if not a or not b:
        return
    shared = [key for key in a if key in b and key not in ("class", "name")]
    different = [key for key in shared if not _same(a[key], b[key])]
    # The temperature of the microwave background switches what neutrinos do; without it they do nothing.
    if not (_number(a.get("Tcmb0", 0.0)) or _number(b.get("Tcmb0", 0.0))):
        different = [key for key in different if key not in ("Neff", "m_nu")]
    if different:
        msg = (
            f"{name_a} was computed with the cosmology {_words(a)}, {name_b} with {_words(b)}; "
            f"they differ in {', '.join(different)}: recompute one of them with the cosmology of the other"
        )
        raise CosmologyMismatchError(msg)


def age_of_universe(z: Any, *, cosmology: FLRW | None = None) -> u.Quantity:
    """Return the age of the Universe at a redshift.

    Parameters
    ----------
    z : array_like
        Redshift, any shape, zero or above; NaN passes through.
    cosmology : `~astropy.cosmology.FLRW`, optional
        The cosmology; None means `default_cosmology`.

    Returns
    -------
    `~astropy.units.Quantity`
        In Myr, shape of ``z``.

    Raises
    ------
    InputError
        If a redshift is negative.

    Examples
    --------
    >>> from sc_lab.cosmology import age_of_universe
    >>> round(float(age_of_universe(6.0).to_value("Myr")), 1)
    917.0
    """
    redshift = value_in(z, u.one, "z")
    if np.any(redshift < 0):
        msg = f"z has {np.count_nonzero(redshift < 0)} negative value(s), down to {np.nanmin(redshift):g}; give z >= 0"
        raise InputError(msg)
    return clock(cosmology).age_myr(redshift) * AGE


class CosmicClock:
    """The age of the Universe as a function of redshift and its inverse, fast for arrays.

    Parameters
    ----------
    cosmology : `~astropy.cosmology.FLRW`
        The cosmology.

    Raises
    ------
    InputError
        If the cosmology has no Big Bang, so that ages have no beginning to count from.

    Notes
    -----
    Flat models of matter and cosmological constant have the closed form
    ``t = 2 / (3 H0 sqrt(Ode)) asinh(sqrt(Ode / Om) (1 + z)^-1.5)``. All others are integrated by
    Gauss-Legendre in ln(1 + z) and inverted on a table uniform in ln(t), where an index is
    arithmetic and the curve is nearly straight; beyond its ends (z > 1e9) it goes on as a power law.
    """

    #: Width in ln(1 + z) of one integration interval, and the redshift factor where the tail begins.
    _STEP = 0.02
    _LN_TOP = math.log(1e9)
    #: Nodes of the inverse table: 33 e-folds of time in steps of 5e-4, so that straight
    #: interpolation is good to step^2 / 8 = 3e-8 of 1 + z.
    _NODES = 1 << 16

    def __init__(self, cosmology: FLRW) -> None:
        self.cosmology = cosmology
        self.closed_form = _is_closed_form(cosmology)
        self._rate_per_myr = float(cosmology.H0.to_value(_HUBBLE_UNIT)) * _MYR_TIMES_HUBBLE_UNIT
        if self.closed_form:
            self._root = math.sqrt(float(cosmology.Ode0) / float(cosmology.Om0))
            self._gamma = 1.5 * self._rate_per_myr * math.sqrt(float(cosmology.Ode0))
        else:
            self._ln_age = self._integrate()

    def age_myr(self, z: FloatArray) -> FloatArray:
        """Return the age of the Universe.

        Parameters
        ----------
        z : ndarray
            Redshift, any shape.

        Returns
        -------
        ndarray
            Age [Myr], same shape; NaN where ``z`` is.
        """
        z = np.asarray(z, dtype=float)
        if self.closed_form:
            stretch = 1.0 + z
            out: FloatArray = np.arcsinh(self._root / (stretch * np.sqrt(stretch))) / self._gamma
            return out
        return np.asarray(np.exp(self._ln_age(np.log1p(z))), dtype=float)

    def redshift(self, age_myr: FloatArray) -> FloatArray:
        """Return the redshift at which the Universe had an age.

        Parameters
        ----------
        age_myr : ndarray
            Age of the Universe [Myr], any shape.

        Returns
        -------
        ndarray
            Redshift, same shape; NaN where the age is not above zero.
        """
        time = np.array(age_myr, dtype=float)
        shape = time.shape
        time = time.reshape(-1)
        # Blocks stay in the cache of the processor, which halves the time of a million values.
        for start in range(0, time.size, 16384):
            self._invert(time[start : start + 16384])
        return time.reshape(shape)

    def _invert(self, time: FloatArray) -> None:
        """Replace times by redshifts in place; NaN where they are not above zero."""
        with np.errstate(invalid="ignore", over="ignore"):
            np.copyto(time, np.nan, where=time <= 0)
            if self.closed_form:
                time *= self._gamma
                np.sinh(time, out=time)
                np.divide(self._root, time, out=time)
                np.cbrt(time, out=time)
                np.multiply(time, time, out=time)
                time -= 1.0
                return
            start, step, nodes, slopes = self._table
            np.log(time, out=time)
            time -= start
            time *= 1.0 / step
            index = np.clip(np.nan_to_num(time, nan=0.0), 0, len(slopes) - 1).astype(np.int32)
            time -= index
            time *= slopes[index]
            time += nodes[index]
            np.expm1(time, out=time)

    def _integrate(self) -> CubicHermiteSpline:
        """Return ln(age / Myr) as a spline of ln(1 + z), with its exact derivative at the nodes."""
        edges = np.arange(0.0, self._LN_TOP + self._STEP, self._STEP)
        points, weights = np.polynomial.legendre.leggauss(6)
        middle, half = 0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges)
        x = middle[:, None] + half[:, None] * points
        with np.errstate(all="ignore"):
            inside = np.asarray(self.cosmology.inv_efunc(np.expm1(x).ravel()), dtype=float).reshape(x.shape)
            at_edges = np.asarray(self.cosmology.inv_efunc(np.expm1(edges)), dtype=float)
        if not (np.all(np.isfinite(inside)) and np.all(np.isfinite(at_edges))) or np.any(inside <= 0):
            msg = f"the cosmology {_words(describe(self.cosmology))} has no Big Bang; choose densities that have one"
            raise InputError(msg)
        pieces = half * (inside @ weights)
        # Far back E grows as a power of 1 + z, so that the rest of the integral is E^-1 over that power.
        power = math.log(at_edges[-2] / at_edges[-1]) / self._STEP
        if power <= 0:
            msg = f"the cosmology {_words(describe(self.cosmology))} has no beginning; choose one with matter"
            raise InputError(msg)
        age = np.append(np.cumsum(pieces[::-1])[::-1], 0.0) + at_edges[-1] / power
        return CubicHermiteSpline(edges, np.log(age / self._rate_per_myr), -at_edges / age, extrapolate=True)

    @cached_property
    def _table(self) -> tuple[float, float, FloatArray, FloatArray]:
        edges = self._ln_age.x
        ln_age = self._ln_age(edges)
        inverse = CubicHermiteSpline(ln_age[::-1], edges[::-1], 1.0 / self._ln_age(edges, 1)[::-1])
        grid = np.linspace(ln_age[-1], ln_age[0], self._NODES)
        step = float(grid[1] - grid[0])
        nodes = np.asarray(inverse(grid), dtype=float)
        return float(grid[0]), step, nodes, np.diff(nodes)


_CLOCKS: dict[str, CosmicClock] = {}
_LOCK = threading.Lock()


def clock(cosmology: FLRW | None = None) -> CosmicClock:
    """Return the clock of a cosmology, made once for each.

    Parameters
    ----------
    cosmology : `~astropy.cosmology.FLRW`, optional
        The cosmology; None means `default_cosmology`.

    Returns
    -------
    CosmicClock
        Its clock.

    Raises
    ------
    InputError
        If it is not an astropy cosmology, or has no Big Bang.
    """
    if cosmology is None:
        cosmology = _DEFAULT
    if not isinstance(cosmology, FLRW):
        msg = (
            f"cosmology is {cosmology!r}; give an astropy cosmology such as "
            "astropy.cosmology.FlatLambdaCDM(H0=70, Om0=0.3), or None for the default"
        )
        raise InputError(msg)
    # A user's own subclass may carry physics beyond its parameters, so only astropy's are shared by value.
    owner = "" if type(cosmology).__module__.startswith("astropy.") else f"{id(type(cosmology))} "
    key = owner + json.dumps(describe(cosmology), sort_keys=True)
    with _LOCK:
        if key not in _CLOCKS:
            if len(_CLOCKS) > 32:
                _CLOCKS.clear()
            _CLOCKS[key] = CosmicClock(cosmology)
        return _CLOCKS[key]


def _is_closed_form(cosmology: FLRW) -> bool:
    """Return whether a cosmology is flat matter plus cosmological constant and nothing else."""
    if type(cosmology) not in (FlatLambdaCDM, LambdaCDM):
        return False
    radiation = float(cosmology.Ogamma0) + float(cosmology.Onu0)
    return (
        abs(float(cosmology.Ok0)) <= _FLAT_TOLERANCE
        and radiation == 0.0
        and float(cosmology.Ode0) > 0.0
        and float(cosmology.Om0) > 0.0
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _same(a: Any, b: Any) -> bool:
    """Return whether two recorded parameters agree, lists element by element."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    x, y = _number(a), _number(b)
    if math.isnan(x) or math.isnan(y):
        return bool(a == b)
    return math.isclose(x, y, rel_tol=_SAME_TOLERANCE, abs_tol=_SAME_TOLERANCE)


def _words(description: Mapping[str, Any]) -> str:
    """Return a description in one line: class and parameters."""
    name = description.get("name") or description.get("class") or "cosmology"
    rest = ", ".join(f"{key}={value}" for key, value in description.items() if key not in ("class", "name"))
    return f"{name}({rest})"
