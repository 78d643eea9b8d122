"""Time-scales of gas clouds that may become star clusters: cooling by H2, collapse, virialisation and encounters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.simulations.halos import HaloModel, virial_radius
from sc_lab.units import FloatArray, value_in

__all__ = [
    "Relation",
    "can_virialise",
    "cooling_function",
    "cooling_time",
    "dynamical_time",
    "fit_relation",
    "interaction_time",
    "jeans_temperature",
    "virialisation_time",
]

# cgs throughout; masses in solar masses and times in Myr at the edge, where quantities are taken in any unit.
_PER_CM3 = u.cm**-3
_G, _K, _MH = 6.6743e-8, 1.380649e-16, 1.6735e-24
_SUN, _KPC, _MYR = 1.98840987e33, 3.0856775814913673e21, 3.15576e13
_HYDROGEN = 0.76
_MU = 1.22
_GAMMA = 5.0 / 3.0
#: Temperature [K] down to which gas cools at constant density before it collapses (Williams et al. 2025, section 4.3).
_START = 500.0
#: Fraction of molecular hydrogen; the paper's number did not survive, so it is a parameter everywhere.
_F_H2 = 5e-4
#: Velocity [km/s] of groups with respect to each other: the scatter in table 3 of the paper.
_SPEED = 16.6


def cooling_function(temperature: Any, density: Any) -> FloatArray:
    """Return the cooling rate of molecular hydrogen.

    Parameters
    ----------
    temperature : array_like
        Temperature [K], from 10 to 10^4.
    density : array_like
        Number density of hydrogen [cm^-3].

    Returns
    -------
    ndarray
        Lambda [erg cm^3 / s], to be multiplied with n_H and n_H2.

    Raises
    ------
    InputError
        If a temperature or density is not above 0.

    Notes
    -----
    Galli & Palla 1998: the low-density limit as a polynomial in log T, joined to local thermal equilibrium, for which
    they take the rotational and vibrational terms of Hollenbach & McKee 1979.
    """
    t, n = _positive(temperature, "temperature", u.K), _positive(density, "density", _PER_CM3)
    x = np.log10(t)
    low = 10.0 ** (-103.0 + 97.59 * x - 48.05 * x**2 + 10.80 * x**3 - 0.9032 * x**4)
    k = t / 1000.0
    rotation = 9.5e-22 * k**3.76 / (1.0 + 0.12 * k**2.1) * np.exp(-((0.13 / k) ** 3)) + 3e-24 * np.exp(-0.51 / k)
    vibration = 6.7e-19 * np.exp(-5.86 / k) + 1.6e-18 * np.exp(-11.7 / k)
    equilibrium = (rotation + vibration) / n
    # Where equilibrium loses nothing any more, neither does the gas.
    return np.asarray(equilibrium * low / np.maximum(equilibrium + low, 1e-300))


def jeans_temperature(mass: Any, density: Any) -> FloatArray:
    """Return the temperature at which a cloud is as heavy as its Jeans mass.

    Parameters
    ----------
    mass : array_like
        Gas mass [Msun].
    density : array_like
        Number density of hydrogen [cm^-3].

    Returns
    -------
    ndarray
        Temperature [K].

    Notes
    -----
    M_J = (5 k T / (G mu m_H))^(3/2) (3 / (4 pi rho))^(1/2) with mu = 1.22 and rho = n_H m_H / 0.76 (Williams et al.
    2025, equation 6, whose form is the usual one).
    """
    m, rho = _positive(mass, "mass", u.Msun) * _SUN, _mass_density(density)
    return np.asarray(_G * _MU * _MH / (5.0 * _K) * m ** (2 / 3) * (4.0 * np.pi * rho / 3.0) ** (1 / 3))


@check.checked(f_h2=check.positive(), start=check.positive(u.K))
def cooling_time(mass: Any, density: Any, *, f_h2: float = _F_H2, start: float = _START) -> FloatArray:
    """Return how long molecular hydrogen needs to cool a cloud until it collapses.

    Parameters
    ----------
    mass : array_like
        Gas mass [Msun].
    density : array_like
        Number density of hydrogen [cm^-3].
    f_h2 : float
        Fraction of molecular hydrogen.
    start : float
        Temperature from which the gas cools [K].

    Returns
    -------
    ndarray
        Time [Myr].

    Notes
    -----
    Williams et al. 2025, equations (4) and (7): the time from ``start`` down to the Jeans temperature at constant
    density, none where that is higher, and one cooling time k T / ((gamma - 1) f_H2 n_H Lambda) there.
    """
    start = float(value_in(start, u.K, "start"))
    m, n = np.broadcast_arrays(_positive(mass, "mass", u.Msun), _positive(density, "density", _PER_CM3))
    jeans = jeans_temperature(m, n)

    def rate(t: FloatArray, at: FloatArray) -> FloatArray:
        return np.asarray((_GAMMA - 1.0) * f_h2 * at * cooling_function(t, at) / _K)

    low = np.minimum(jeans, start)
    # Gauss-Legendre in ln T: the integrand is smooth there.
    nodes, weights = np.polynomial.legendre.leggauss(96)
    half = 0.5 * np.log(start / low)
    t = np.exp(np.log(low)[..., None] + half[..., None] * (nodes + 1.0))
    isochoric = np.sum(weights * half[..., None] * t / rate(t, n[..., None]), axis=-1)
    return np.asarray((isochoric + jeans / rate(jeans, n)) / _MYR)


def dynamical_time(mass: Any, density: Any, *, total: Any = None) -> FloatArray:
    """Return the orbital time of a cloud.

    Parameters
    ----------
    mass : array_like
        Gas mass [Msun], which with the density decides the radius.
    density : array_like
        Number density of hydrogen [cm^-3].
    total : array_like, optional
        Mass of stars, gas and dark matter together [Msun]; the gas alone by default.

    Returns
    -------
    ndarray
        R / v_c [Myr], R = (3 M / (4 pi rho))^(1/3), v_c = sqrt(G M_total / R) (Williams et al. 2025, equation 9).
    """
    m, rho = _positive(mass, "mass", u.Msun) * _SUN, _mass_density(density)
    everything = m if total is None else _positive(total, "total", u.Msun) * _SUN
    radius = (3.0 * m / (4.0 * np.pi * rho)) ** (1 / 3)
    return np.asarray(np.sqrt(radius**3 / (_G * everything)) / _MYR)


@check.checked(f_h2=check.positive(), start=check.positive(u.K))
def virialisation_time(
    mass: Any, density: Any, *, total: Any = None, f_h2: float = _F_H2, start: float = _START
) -> FloatArray:
    """Return the time to cool and to settle.

    Parameters
    ----------
    mass : array_like
        Gas mass [Msun].
    density : array_like
        Number density of hydrogen [cm^-3].
    total : array_like, optional
        Mass of stars, gas and dark matter together [Msun]; the gas alone by default.
    f_h2 : float
        Fraction of molecular hydrogen.
    start : float
        Temperature from which the gas cools [K].

    Returns
    -------
    ndarray
        t_cool + t_dyn [Myr] (Williams et al. 2025, equation 8).
    """
    return cooling_time(mass, density, f_h2=f_h2, start=start) + dynamical_time(mass, density, total=total)


@check.checked(
    radius=check.array(u.kpc, words="radii of 0 or more", low=0.0),
    z=check.scalar(-1.0, "one redshift above -1", closed=False),
    neighbours=check.positive(),
    distance=check.optional(check.positive(u.kpc)),
    h=check.optional(check.positive()),
    speed=check.positive(u.km / u.s),
    model=check.optional(check.halo_model),
)
def interaction_time(
    halo_mass: Any,
    radius: Any,
    z: float,
    *,
    neighbours: float = 6.0,
    distance: Any = None,
    h: float | None = None,
    speed: float = _SPEED,
    model: HaloModel | None = None,
) -> FloatArray:
    """Return the time until a cluster meets a halo like its own.

    Parameters
    ----------
    halo_mass : array_like
        Mass of its halo [Msun].
    radius : array_like
        Its own radius [kpc, physical].
    z : float
        Redshift.
    neighbours : float
        Haloes above 10^4 Msun within ``distance``: 6 in 10 ckpc/h around clusters, 1 in 1.5 ckpc/h for the nearest one.
    distance : float, optional
        Physical radius in which they were counted [kpc]; 10 ckpc/h by default.
    h : float, optional
        Hubble constant over 100 km/s/Mpc, for that default and for the default model; that of ``model``, else 0.71.
    speed : float
        Relative velocity [km/s].
    model : HaloModel, optional
        Gives the share of haloes from this mass up to ten times of it.

    Returns
    -------
    ndarray
        1 / (n sigma v) [Myr].

    Notes
    -----
    Williams et al. 2025, equations (10) to (13): sigma = pi (r_vir + radius)^2, n = f N / (4/3 pi d^3) and
    f = [N(>M) - N(>10 M)] / N(>10^4 Msun) by Sheth & Tormen.
    """
    made = model or (HaloModel() if h is None else HaloModel(h=h))
    h = made.h if h is None else h
    mass, own = _positive(halo_mass, "halo_mass", u.Msun), value_in(radius, u.kpc, "radius")
    away = 10.0 / h / (1.0 + z) if distance is None else float(_positive(distance, "distance", u.kpc))
    flat = mass.ravel()
    share = (made.number_above(flat, z) - made.number_above(10.0 * flat, z)) / made.number_above(np.array([1e4]), z)[0]
    density = share.reshape(mass.shape) * neighbours / (4.0 / 3.0 * np.pi * away**3)  # kpc^-3
    speed = float(value_in(speed, u.km / u.s, "speed"))
    cross = np.pi * (virial_radius(mass, z, model=made) + own) ** 2  # kpc^2
    per_second = density * cross * speed * 1e5 / _KPC
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / per_second / _MYR)


def can_virialise(virialisation: Any, age: Any, interaction: Any) -> npt.NDArray[np.bool_]:
    """Return which objects have had the time to virialise and are left alone to do so.

    Parameters
    ----------
    virialisation : array_like
        Virialisation time [Myr].
    age : array_like
        Time since the object formed [Myr].
    interaction : array_like
        Time between encounters [Myr].

    Returns
    -------
    ndarray of bool
        t_vir < age and t_vir < t_int (Williams et al. 2025, section 4.3).
    """
    time = value_in(virialisation, u.Myr, "virialisation")
    return np.asarray((time < value_in(age, u.Myr, "age")) & (time < value_in(interaction, u.Myr, "interaction")))


@dataclass(frozen=True)
class Relation:
    """A line in log-log, fitted to a catalogue.

    Attributes
    ----------
    slope, intercept : float
        log10 y = intercept + slope log10 x.
    slope_err, intercept_err : float
        Standard errors.
    r_squared : float
        Share of the variance of log10 y that the line explains.
    n : int
        Objects.
    """

    slope: float
    intercept: float
    slope_err: float
    intercept_err: float
    r_squared: float
    n: int

    def __call__(self, x: Any) -> FloatArray:
        """Return y at x."""
        return np.asarray(10.0 ** (self.intercept + self.slope * np.log10(np.asarray(x, dtype=float))))


def fit_relation(x: Any, y: Any) -> Relation:
    """Return the line through two positive quantities in log-log.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Such as stellar mass and dark-matter or gas mass; what is not above 0 in both is left out.

    Returns
    -------
    Relation
        Least squares in log10 y.

    Raises
    ------
    InputError
        If fewer than three objects are left, or all have the same x.

    Notes
    -----
    Relations C1 (dark matter from stars) and C2 (gas from stars) of Williams et al. 2025, whose coefficients are to be
    taken from the user's own catalogue.
    """
    a, b = (value_in(getattr(each, "value", each), u.one, name).ravel() for each, name in ((x, "x"), (y, "y")))
    if len(a) != len(b):
        msg = f"x has {len(a)} values and y {len(b)}; give as many"
        raise InputError(msg)
    keep = np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)
    n = int(keep.sum())
    if n < 3 or np.ptp(a[keep]) == 0:
        msg = f"{n} objects have both quantities above 0; give at least three with different x"
        raise InputError(msg)
    log_x, log_y = np.log10(a[keep]), np.log10(b[keep])
    centre = log_x.mean()
    spread = float(np.sum((log_x - centre) ** 2))
    slope = float(np.sum((log_x - centre) * (log_y - log_y.mean())) / spread)
    intercept = float(log_y.mean() - slope * centre)
    rest = log_y - intercept - slope * log_x
    total = float(np.sum((log_y - log_y.mean()) ** 2))
    scatter = float(np.sum(rest**2)) / (n - 2)
    return Relation(
        slope=slope,
        intercept=intercept,
        slope_err=float(np.sqrt(scatter / spread)),
        intercept_err=float(np.sqrt(scatter * (1.0 / n + centre**2 / spread))),
        r_squared=1.0 - float(np.sum(rest**2)) / total if total > 0 else 1.0,
        n=n,
    )


def _mass_density(density: Any) -> FloatArray:
    """Return the mass density [g/cm^3] of gas with a number density of hydrogen."""
    return np.asarray(_positive(density, "density", _PER_CM3) * _MH / _HYDROGEN)


def _positive(value: Any, name: str, unit: u.UnitBase) -> FloatArray:
    """Return numbers above zero in a unit, or say which are not."""
    out = value_in(value, unit, name)
    if not np.all(out > 0):
        msg = f"{name} has values such as {out[~(out > 0)].ravel()[0]!r}; give numbers above 0"
        raise InputError(msg)
    return out
