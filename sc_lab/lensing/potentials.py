"""Analytic lens potentials: deflection and second derivatives of the dPIE and of external shear."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["DPIE", "ExternalShear", "Potential", "isothermal_deflection", "isothermal_hessian", "scaled_members"]

_C_KMS = 299792.458
_ARCSEC_PER_RADIAN = 180.0 * 3600.0 / math.pi
#: Below this the ellipse is a circle to round-off; the elliptical formulae stay regular down to it.
_EPS_FLOOR = 1e-14
#: A vanishing core is given this radius [arcsec], so that the centre of a singular member has a number.
_CORE_FLOOR = 1e-9


@dataclass(frozen=True)
class DPIE:
    """A dual pseudo-isothermal elliptical mass distribution (Lenstool profile 81).

    Parameters
    ----------
    x, y : float
        Centre [arcsec], West and North of the model's reference position.
    sigma : float
        Lenstool's fiducial velocity dispersion ``v_disp`` [km/s].
    core, cut : float
        Core and cut radius [arcsec]; the core may be zero.
    ellipticity : float
        Ellipticity of the mass, (a² - b²)/(a² + b²), from 0 up to but not including 1.
    angle : float
        Position angle of the major axis [deg], anticlockwise from +x.
    name : str
        What the file calls it.
    mag : float
        Magnitude of the galaxy, NaN where it has none.

    Raises
    ------
    InputError
        If a number is not finite, a radius is negative, cut and core are equal or the ellipticity is out of range.

    Notes
    -----
    Kassiola & Kovner 1993, section 4; Eliasdottir et al. 2007, appendix A. The deflection for D_LS/D_S = 1 is
    E0 cut/(cut - core) [I(core) - I(cut)] with E0 = 6 pi (sigma/c)² and I that of `isothermal_deflection`,
    for the ellipticity of the potential eps = (1 - sqrt(1 - e²))/e.

    Examples
    --------
    >>> DPIE(0.0, 0.0, 1000.0, core=10.0, cut=200.0, ellipticity=0.3, angle=45.0).strength
    43.2...
    """

    x: float
    y: float
    sigma: float
    core: float = 0.0
    cut: float = 1000.0
    ellipticity: float = 0.0
    angle: float = 0.0
    name: str = ""
    mag: float = math.nan

    def __post_init__(self) -> None:
        label = f"dPIE {self.name!r}" if self.name else "dPIE"
        for field in ("x", "y", "sigma", "core", "cut", "ellipticity", "angle"):
            _finite(getattr(self, field), field, label)
        if self.sigma < 0:
            msg = f"{label}: sigma is {self.sigma:g}; give a velocity dispersion of at least 0 km/s"
            raise InputError(msg)
        if self.core < 0 or self.cut <= 0 or self.core == self.cut:
            msg = (
                f"{label}: core is {self.core:g} and cut {self.cut:g} arcsec; "
                "give a core of at least 0 and a cut above 0 that differs from it"
            )
            raise InputError(msg)
        if not 0 <= self.ellipticity < 1:
            msg = f"{label}: ellipticity is {self.ellipticity:g}; give (a² - b²)/(a² + b²), at least 0 and below 1"
            raise InputError(msg)

    @property
    def strength(self) -> float:
        """Return E0 = 6 pi (sigma/c)² in arcsec."""
        return float(strength_of(self.sigma))


@dataclass(frozen=True)
class ExternalShear:
    """A constant shear, with a constant convergence where there is one (Lenstool profile 14).

    Parameters
    ----------
    gamma : float
        Shear for D_LS/D_S = 1.
    angle : float
        Direction of the shear [deg], anticlockwise from +x.
    kappa : float
        Convergence of the sheet for D_LS/D_S = 1.
    x, y : float
        Position [arcsec] where its deflection vanishes.
    name : str
        What the file calls it.

    Raises
    ------
    InputError
        If a number is not finite.
    """

    gamma: float
    angle: float = 0.0
    kappa: float = 0.0
    x: float = 0.0
    y: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        for field in ("gamma", "angle", "kappa", "x", "y"):
            _finite(getattr(self, field), field, f"external shear {self.name!r}")


Potential = DPIE | ExternalShear


def _finite(value: Any, field: str, label: str) -> None:
    if not isinstance(value, int | float | np.floating | np.integer) or not math.isfinite(value):
        msg = f"{label}: {field} is {value!r}; give a finite number"
        raise InputError(msg)


def strength_of(sigma: Any) -> FloatArray:
    """Return E0 = 6 pi (sigma/c)².

    Parameters
    ----------
    sigma : array_like
        Velocity dispersions [km/s].

    Returns
    -------
    ndarray
        In arcsec.
    """
    return np.asarray(6.0 * math.pi * _ARCSEC_PER_RADIAN * (np.asarray(sigma, dtype=float) / _C_KMS) ** 2)


def potential_ellipticity(ellipticity: Any) -> FloatArray:
    """Return the ellipticity eps of the potential that belongs to an ellipticity of the mass.

    Parameters
    ----------
    ellipticity : array_like
        (a² - b²)/(a² + b²) of the mass.

    Returns
    -------
    ndarray
        (1 - sqrt(1 - e²))/e, in a form without cancellation; never below 1e-14.
    """
    e = np.asarray(ellipticity, dtype=float)
    return np.asarray(np.maximum(e / (1.0 + np.sqrt(np.maximum(1.0 - e * e, 0.0))), _EPS_FLOOR))


def _shared(a: FloatArray, b: FloatArray, eps: FloatArray, core: FloatArray) -> tuple[FloatArray, ...]:
    """Return what deflection and second derivatives share: W, G, the real parts of D and N, |N|²."""
    root = np.sqrt(eps)
    q = (1.0 - eps) / (1.0 + eps)
    core = np.maximum(core, _CORE_FLOOR)
    rem2 = (a / (1.0 + eps)) ** 2
    rem2 += (b / (1.0 - eps)) ** 2
    w = np.sqrt(rem2 + core * core)
    # W - q core, without cancellation at small radii.
    rem2 += core * core * (4.0 * eps / (1.0 + eps) ** 2)
    rem2 /= w + q * core
    rem2 += b * (2.0 * root / (1.0 - eps * eps))
    d = b + 2.0 * root * core
    n = b / q + 2.0 * root * w
    n2 = n * n
    n2 += (q * a) ** 2
    return w, rem2, d, n, n2


def isothermal_deflection(x: Any, y: Any, eps: Any, core: Any) -> tuple[FloatArray, FloatArray]:
    """Return the deflection of the cored isothermal ellipse of unit strength, major axis along x.

    Parameters
    ----------
    x, y : array_like
        Position in the frame of the ellipse; all four arguments broadcast.
    eps : array_like
        Ellipticity of the potential, from 1e-14 up to below 1.
    core : array_like
        Core radius, in the unit of the position.

    Returns
    -------
    tuple of ndarray
        The two components. Their divergence is 1/sqrt(core² + x²/(1+eps)² + y²/(1-eps)²).

    Notes
    -----
    The complex function I'_{1/2} of Kassiola & Kovner 1993 (equation 4.1.2),
    -i (1 - eps²)/(2 sqrt eps) ln[(q x + 2i sqrt(eps) W - i y/q)/(x + 2i sqrt(eps) core - i y)], q = (1-eps)/(1+eps).
    Numerator and denominator vanish together on the minor axis. Both satisfy N N' = D D', where N' and D' have
    the sign of the core's term turned; in the quadrant x, y >= 0 the fraction D'/N' is regular everywhere, and its
    logarithm is written with the factor sqrt(eps) taken out, so that the circle is no special case.
    """
    x, y, eps, core = (np.asarray(each, dtype=float) for each in (x, y, eps, core))
    a, b = np.abs(x), np.abs(y)
    root = np.sqrt(eps)
    q = (1.0 - eps) / (1.0 + eps)
    _, g, d, n, n2 = _shared(a, b, eps, core)
    scale = (1.0 - eps * eps) / (2.0 * root)
    first = scale * np.arctan2(2.0 * root * a * g, d * n + q * a * a)
    second = (-0.5 * scale) * np.log1p((-4.0 * root / q) * b * g / n2)
    return np.copysign(first, x), np.copysign(second, y)


def isothermal_hessian(x: Any, y: Any, eps: Any, core: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the convergence and shear of the cored isothermal ellipse of unit strength.

    Parameters
    ----------
    x, y : array_like
        Position in the frame of the ellipse; all four arguments broadcast.
    eps : array_like
        Ellipticity of the potential, from 1e-14 up to below 1.
    core : array_like
        Core radius, in the unit of the position.

    Returns
    -------
    tuple of ndarray
        Convergence and the two components of the shear in the frame of the ellipse.

    Notes
    -----
    The derivative of `isothermal_deflection` along x is (1 - eps²)[G/(D' N') + i (dW/dx)/N'] with
    G = W - q core + 2 sqrt(eps) y/(1 - eps²); the one along y follows from the divergence, 1/W.
    """
    x, y, eps, core = (np.asarray(each, dtype=float) for each in (x, y, eps, core))
    a, b = np.abs(x), np.abs(y)
    q = (1.0 - eps) / (1.0 + eps)
    w, g, d, n, n2 = _shared(a, b, eps, core)
    kappa = 0.5 / w
    slope = a * kappa
    slope *= 2.0 / (1.0 + eps) ** 2
    ni = q * a
    g /= d * d + a * a
    n2 = (1.0 - eps * eps) / n2
    gamma1 = (g * (d * n - a * ni) + slope * ni) * n2 - kappa
    gamma2 = (slope * n - g * (d * ni + a * n)) * n2
    return kappa, gamma1, np.copysign(1.0, x) * np.copysign(1.0, y) * gamma2


def scaled_members(
    x: Any,
    y: Any,
    mag: Any,
    *,
    mag0: float,
    sigma0: float,
    cut0: float,
    core0: float = 0.0,
    slope: float = 4.0,
    vd_slope: float = 4.0,
    ellipticity: Any = 0.0,
    angle: Any = 0.0,
    names: Any = None,
) -> tuple[DPIE, ...]:
    """Return cluster members whose dispersion and radii scale with their luminosity.

    Parameters
    ----------
    x, y : array_like
        Centres [arcsec], West and North of the model's reference position, shape (n,).
    mag : array_like
        Magnitudes, shape (n,).
    mag0 : float
        Magnitude of the reference galaxy.
    sigma0 : float
        Its velocity dispersion [km/s].
    cut0, core0 : float
        Its cut and core radius [arcsec].
    slope : float
        The cut radius goes as luminosity to the power 2/slope.
    vd_slope : float
        The dispersion goes as luminosity to the power 1/vd_slope.
    ellipticity, angle : array_like
        Ellipticity of the mass and position angle [deg] of each, or one for all.
    names : sequence of str, optional
        Names; None numbers them.

    Returns
    -------
    tuple of DPIE
        One each.

    Notes
    -----
    sigma = sigma0 (L/L0)^(1/vd_slope), cut = cut0 (L/L0)^(2/slope), core = core0 (L/L0)^(1/2), as Lenstool's
    ``potfile`` has them (Limousin et al. 2005, equation 6).
    """
    mag = np.atleast_1d(np.asarray(mag, dtype=float))
    columns = [np.broadcast_to(np.asarray(each, dtype=float), mag.shape) for each in (x, y, ellipticity, angle)]
    light = 10.0 ** (0.4 * (mag0 - mag))
    labels = [str(i + 1) for i in range(mag.size)] if names is None else [str(name) for name in names]
    if len(labels) != mag.size:
        msg = f"names has {len(labels)} entries for {mag.size} members; give one each"
        raise InputError(msg)
    return tuple(
        DPIE(
            x=float(columns[0][i]),
            y=float(columns[1][i]),
            sigma=float(sigma0 * light[i] ** (1.0 / vd_slope)),
            core=float(core0 * math.sqrt(light[i])),
            cut=float(cut0 * light[i] ** (2.0 / slope)),
            ellipticity=float(columns[2][i]),
            angle=float(columns[3][i]),
            name=labels[i],
            mag=float(mag[i]),
        )
        for i in range(mag.size)
    )
