"""Dark-matter haloes: their number by Sheth and Tormen, their virial radii, and the variance of the density field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.errors import InputError
from sc_lab.simulations import _checks as check
from sc_lab.units import FloatArray, value_in

__all__ = ["HaloModel", "virial_radius"]

#: Critical density today over h^2 [Msun / Mpc^3].
_CRITICAL = 2.7753663e11
_COLLAPSE = 1.686
#: Sheth & Tormen 1999.
_A, _SMALL_A, _P = 0.3222, 0.707, 0.3
_MASS = check.array(u.Msun, words="masses above 0", low=0.0, closed=False)
_REDSHIFT = check.scalar(-1.0, "one redshift above -1", closed=False)


@dataclass(frozen=True, kw_only=True)
class HaloModel:
    """Numbers of dark-matter haloes in a cosmology.

    Attributes
    ----------
    omega_matter, omega_lambda, omega_baryon, h : float
        Cosmology; that of Williams et al. 2025 by default.
    sigma_8 : float
        Standard deviation in spheres of 8 Mpc/h today; 1.7 in their box, on purpose.
    n_s : float
        Slope of the primordial power.

    Notes
    -----
    Transfer function of Eisenstein & Hu 1998 without wiggles; top-hat variance; dn/dlnM of Sheth & Tormen 1999;
    growth of Carroll, Press & Turner 1992.
    """

    omega_matter: float = 0.27
    omega_lambda: float = 0.73
    omega_baryon: float = 0.044
    h: float = 0.71
    sigma_8: float = 1.7
    n_s: float = 0.96

    def __post_init__(self) -> None:
        for name in ("omega_matter", "omega_baryon", "h", "sigma_8"):
            check.number(getattr(self, name), name, "a number above 0")
        for name in ("omega_lambda", "n_s"):
            check.number(getattr(self, name), name, "a number", low=-np.inf)

    @property
    def matter_density(self) -> float:
        """Mean comoving matter density [Msun / Mpc^3]."""
        return _CRITICAL * self.h**2 * self.omega_matter

    @check.checked(k=check.array(1 / u.Mpc, words="wave numbers above 0", low=0.0, closed=False))
    def transfer(self, k: Any) -> FloatArray:
        """Return the transfer function.

        Parameters
        ----------
        k : array_like
            Wave number [1 / Mpc], comoving.

        Returns
        -------
        ndarray
            T(k), 1 on large scales (Eisenstein & Hu 1998, equations 26 to 31).
        """
        wave = value_in(k, 1 / u.Mpc, "k")
        matter, baryon = self.omega_matter * self.h**2, self.omega_baryon * self.h**2
        share = baryon / matter
        theta = 2.7255 / 2.7
        sound = 44.5 * np.log(9.83 / matter) / np.sqrt(1.0 + 10.0 * baryon**0.75)
        damping = 1.0 - 0.328 * np.log(431.0 * matter) * share + 0.38 * np.log(22.3 * matter) * share**2
        shape = self.omega_matter * self.h * (damping + (1.0 - damping) / (1.0 + (0.43 * wave * sound) ** 4))
        q = wave / self.h * theta**2 / shape
        log = np.log(2.0 * np.e + 1.8 * q)
        return np.asarray(log / (log + (14.2 + 731.0 / (1.0 + 62.5 * q)) * q**2))

    @check.checked(z=check.array(words="redshifts above -1", low=-1.0, closed=False))
    def growth(self, z: Any) -> FloatArray:
        """Return the linear growth of fluctuations, 1 today.

        Parameters
        ----------
        z : array_like
            Redshift.

        Returns
        -------
        ndarray
            D(z) / D(0).
        """

        def factor(at: FloatArray) -> FloatArray:
            square = self.omega_matter * (1 + at) ** 3 + self.omega_lambda
            square = square + (1 - self.omega_matter - self.omega_lambda) * (1 + at) ** 2
            matter, dark = self.omega_matter * (1 + at) ** 3 / square, self.omega_lambda / square
            fit = 2.5 * matter / (matter ** (4 / 7) - dark + (1 + matter / 2) * (1 + dark / 70))
            return np.asarray(fit / (1 + at))

        return factor(value_in(z, u.one, "z")) / factor(np.asarray(0.0))

    @check.checked(mass=_MASS, z=_REDSHIFT)
    def sigma(self, mass: Any, *, z: float = 0.0) -> FloatArray:
        """Return the standard deviation of the linear density in spheres that hold a mass.

        Parameters
        ----------
        mass : array_like
            Mass [Msun].
        z : float
            Redshift.

        Returns
        -------
        ndarray
            sigma(M, z).
        """
        radius = np.asarray((3.0 * value_in(mass, u.Msun, "mass") / (4.0 * np.pi * self.matter_density)) ** (1.0 / 3.0))
        norm = self.sigma_8 / np.sqrt(self._variance(np.array([8.0 / self.h]))[0])
        return np.asarray(norm * np.sqrt(self._variance(radius.ravel())).reshape(radius.shape) * self.growth(z))

    def _variance(self, radius: FloatArray) -> FloatArray:
        """Return the variance in spheres without its normalisation."""
        # Beyond x = 300 the window leaves less than 1e-6 of the variance; steps resolve its oscillation.
        k = np.geomspace(1e-5, 300.0 / radius.min(), 20_000)
        power = k**self.n_s * self.transfer(k) ** 2
        out = np.empty(len(radius))
        for row, each in enumerate(radius.tolist()):
            x = k * each
            series = 1.0 - x**2 / 10.0
            with np.errstate(invalid="ignore", divide="ignore"):
                window = np.where(x < 0.01, series, 3.0 * (np.sin(x) - x * np.cos(x)) / x**3)
            out[row] = np.trapezoid(power * window**2 * k**3, np.log(k))
        return out

    @check.checked(mass=_MASS, z=_REDSHIFT)
    def number_per_log_mass(self, mass: Any, z: float) -> FloatArray:
        """Return dn / dlnM.

        Parameters
        ----------
        mass : array_like, shape (n,)
            Masses [Msun], n >= 2, rising.
        z : float
            Redshift.

        Returns
        -------
        ndarray, shape (n,)
            Haloes per comoving Mpc^3 and e-fold of mass.
        """
        masses = value_in(mass, u.Msun, "mass")
        if masses.ndim != 1 or len(masses) < 2 or np.any(np.diff(masses) <= 0) or masses[0] <= 0:
            msg = "mass must hold at least two rising masses above 0, as the slope of sigma is taken along them"
            raise InputError(msg)
        sigma = self.sigma(masses, z=z)
        nu = _COLLAPSE / sigma
        slope = np.abs(np.gradient(np.log(sigma), np.log(masses)))
        return np.asarray(self.matter_density / masses * slope * self.multiplicity(nu))

    @staticmethod
    def multiplicity(nu: Any) -> FloatArray:
        """Return Sheth and Tormen's f(nu) = nu times the distribution of nu.

        Parameters
        ----------
        nu : array_like
            1.686 / sigma.

        Returns
        -------
        ndarray
            f, whose integral over ln nu is 1.
        """
        square = _SMALL_A * np.asarray(nu, dtype=float) ** 2
        return np.asarray(_A * np.sqrt(2.0 * square / np.pi) * (1.0 + square**-_P) * np.exp(-square / 2.0))

    @check.checked(mass=_MASS, z=_REDSHIFT, top=check.positive(u.Msun))
    def number_above(self, mass: Any, z: float, *, top: float = 1e14) -> FloatArray:
        """Return the number of haloes above a mass.

        Parameters
        ----------
        mass : array_like
            Masses [Msun].
        z : float
            Redshift.
        top : float
            Mass at which the sum ends [Msun].

        Returns
        -------
        ndarray
            Haloes per comoving Mpc^3.
        """
        least, top = value_in(mass, u.Msun, "mass"), float(value_in(top, u.Msun, "top"))
        grid = np.geomspace(least.min(), max(top, 10.0 * least.max()), 600)
        counts = self.number_per_log_mass(grid, z)
        pieces = 0.5 * (counts[1:] + counts[:-1]) * np.diff(np.log(grid))
        above = np.concatenate([np.cumsum(pieces[::-1])[::-1], [0.0]])
        with np.errstate(divide="ignore"):
            log = np.log(np.maximum(above, 1e-300))
        return np.asarray(np.exp(np.interp(np.log(least), np.log(grid), log)))


@check.checked(model=check.optional(check.halo_model))
def virial_radius(mass: Any, z: Any, *, model: HaloModel | None = None) -> FloatArray:
    """Return the virial radius of a halo.

    Parameters
    ----------
    mass : array_like
        Mass [Msun].
    z : array_like
        Redshift.
    model : HaloModel, optional
        The cosmology.

    Returns
    -------
    ndarray
        Physical radius [kpc].

    Raises
    ------
    InputError
        If a mass is negative or a redshift lies at or below -1.

    Notes
    -----
    Barkana & Loeb 2001, equation 24, with the collapse overdensity of Bryan & Norman 1998:
    0.784 (M / 1e8 Msun/h)^(1/3) [Om Dc / (Om(z) 18 pi^2)]^(-1/3) (10 / (1+z)) kpc/h.
    """
    made = model or HaloModel()
    at, mass = value_in(z, u.one, "z"), value_in(mass, u.Msun, "mass")
    if not (np.all(at > -1) and np.all(mass >= 0)):
        msg = f"mass is {mass.min():g} Msun and z {at.min():g} at the lowest; give masses from 0 and redshifts above -1"
        raise InputError(msg)
    matter = made.omega_matter * (1 + at) ** 3
    matter_z = matter / (matter + made.omega_lambda + (1 - made.omega_matter - made.omega_lambda) * (1 + at) ** 2)
    d = matter_z - 1.0
    overdensity = 18.0 * np.pi**2 + 82.0 * d - 39.0 * d**2
    density = made.omega_matter / matter_z * overdensity / (18.0 * np.pi**2)
    size = 0.784 * (mass * made.h / 1e8) ** (1 / 3) * density ** (-1 / 3) * 10.0 / (1 + at)
    return np.asarray(size / made.h)
