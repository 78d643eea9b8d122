"""Lens models made of analytic potentials, and their posterior samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW

from sc_lab.errors import InputError
from sc_lab.lensing.model import LensModel
from sc_lab.lensing.potentials import (
    DPIE,
    ExternalShear,
    Potential,
    isothermal_deflection,
    isothermal_hessian,
    potential_ellipticity,
    strength_of,
)
from sc_lab.units import FloatArray

__all__ = ["ParametricLens", "Posterior"]

_DPIE_FIELDS = ("x", "y", "sigma", "core", "cut", "ellipticity", "angle")
_SHEAR_FIELDS = ("gamma", "angle", "kappa", "x", "y")
#: The fields of a dPIE that change its shape; the rest only scales it.
_GEOMETRY = ("x", "y", "core", "cut", "ellipticity", "angle")
#: Elements per block: a dozen temporaries of this length stay in the cache of one core.
_BLOCK = 16384


@dataclass(frozen=True, eq=False)
class Posterior:
    """Samples of the free parameters of a parametric model.

    Attributes
    ----------
    n : int
        Number of samples.
    values : mapping of (int, str) to ndarray
        Samples, shape (n,), of a field of a potential: ``(index of the potential, "sigma")``. What is not
        named is fixed.
    redshifts : mapping of str to ndarray
        Samples of the redshifts fitted with the model, by system of images.
    log_likelihood : ndarray
        Of each sample, shape (n,); empty where unknown.
    """

    n: int
    values: Mapping[tuple[int, str], FloatArray]
    redshifts: Mapping[str, FloatArray] = field(default_factory=lambda: MappingProxyType({}))
    log_likelihood: FloatArray = field(default_factory=lambda: np.empty(0))


class ParametricLens(LensModel):
    """A lens of analytic potentials, evaluated directly.

    Parameters
    ----------
    potentials : iterable of DPIE or ExternalShear
        In the frame x West, y North of the reference position [arcsec].
    z_lens : float
        Redshift of the lens.
    ra, dec : float
        Reference position [deg].
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means `sc_lab.cosmology.default_cosmology`.
    name : str
        Short name.
    rms : float, optional
        Scatter [arcsec] of the model's own images.
    posterior : Posterior, optional
        Samples of the free parameters.
    redshifts : mapping of str to float, optional
        Redshifts fitted with the model, by system of images.
    cautions : tuple of str
        What was odd in the files, in sentences.
    frame : {"lenstool", "tangent"}
        How positions become offsets; see `to_frame`.

    Raises
    ------
    InputError
        If there is no potential, or the posterior does not fit the potentials.

    Examples
    --------
    >>> from sc_lab.lensing import DPIE, ParametricLens
    >>> lens = ParametricLens([DPIE(0, 0, 1000, core=10, cut=200)], z_lens=0.35, ra=342.18, dec=-44.53)
    >>> mu, mu_t, mu_r = lens.magnification(342.19, -44.53, 2.0)
    """

    def __init__(
        self,
        potentials: Iterable[Potential],
        *,
        z_lens: float,
        ra: float,
        dec: float,
        cosmology: FLRW | None = None,
        name: str = "",
        rms: float | None = None,
        posterior: Posterior | None = None,
        redshifts: Mapping[str, float] | None = None,
        cautions: tuple[str, ...] = (),
        frame: str = "lenstool",
    ) -> None:
        super().__init__(
            frame=frame, z_lens=z_lens, ra=ra, dec=dec, cosmology=cosmology, name=name, rms=rms, cautions=cautions
        )
        self.potentials: tuple[Potential, ...] = tuple(potentials)
        if not self.potentials:
            msg = "there is no potential; give at least one DPIE or ExternalShear"
            raise InputError(msg)
        for each in self.potentials:
            if not isinstance(each, DPIE | ExternalShear):
                msg = f"potentials holds a {type(each).__name__}; give DPIE and ExternalShear objects"
                raise InputError(msg)
        self.posterior = posterior
        self.redshifts: Mapping[str, float] = MappingProxyType(dict(redshifts or {}))
        self._dpie_rows = [i for i, each in enumerate(self.potentials) if isinstance(each, DPIE)]
        self._shear_rows = [i for i, each in enumerate(self.potentials) if isinstance(each, ExternalShear)]
        self._dpie = {
            key: np.array([getattr(self.potentials[i], key) for i in self._dpie_rows], dtype=float)
            for key in _DPIE_FIELDS
        }
        self._shear = {
            key: np.array([getattr(self.potentials[i], key) for i in self._shear_rows], dtype=float)
            for key in _SHEAR_FIELDS
        }
        self._check_posterior()

    def __repr__(self) -> str:
        return (
            f"<ParametricLens {self.name!r}: z = {self.z_lens:g}, {len(self.potentials)} potentials, "
            f"{self.n_realisations} posterior samples>"
        )

    def _check_posterior(self) -> None:
        if self.posterior is None:
            return
        for (row, key), samples in self.posterior.values.items():
            known = (
                ()
                if not 0 <= row < len(self.potentials)
                else (_DPIE_FIELDS if isinstance(self.potentials[row], DPIE) else _SHEAR_FIELDS)
            )
            if key not in known or np.shape(samples) != (self.posterior.n,):
                msg = (
                    f"the posterior holds {key!r} of potential {row} with the shape {np.shape(samples)}; there are "
                    f"{len(self.potentials)} potentials, its fields are {known}, and each needs ({self.posterior.n},)"
                )
                raise InputError(msg)

    def _fingerprint(self) -> bytes:
        parts = [repr(self.potentials).encode()]
        if self.posterior is not None:
            for key in sorted(self.posterior.values):
                parts += [repr(key).encode(), np.ascontiguousarray(self.posterior.values[key], dtype="<f8").tobytes()]
        return b"".join(parts)

    @property
    def n_realisations(self) -> int:
        """Number of posterior samples; 0 where there are none."""
        return 0 if self.posterior is None else self.posterior.n

    def default_bounds(self) -> tuple[float, float, float, float]:
        """Return the part of the image plane that is searched when none is named.

        Returns
        -------
        tuple of float
            Around the strongest potential and those of a quarter of its strength within 60 arcsec, at least 10 arcsec.
        """
        strength = strength_of(self._dpie["sigma"])
        if not strength.size:
            return super().default_bounds()
        x, y = self._dpie["x"], self._dpie["y"]
        main = int(np.argmax(strength))
        strong = (strength > 0.25 * strength[main]) & (np.hypot(x - x[main], y - y[main]) < 60.0)
        half = 1.8 * strength
        # The main halo is given room for what all of them deflect together.
        half[main] = np.clip(1.6 * np.sqrt(np.sum(strength[strong] ** 2)), 10.0, 80.0)
        low_x, high_x = np.min((x - half)[strong]), np.max((x + half)[strong])
        low_y, high_y = np.min((y - half)[strong]), np.max((y + half)[strong])
        return (float(np.floor(low_x)), float(np.ceil(high_x)), float(np.floor(low_y)), float(np.ceil(high_y)))

    def hot_spots(self, ratio: float) -> FloatArray:
        """Return the galaxies that are strong enough for a critical curve of their own.

        Parameters
        ----------
        ratio : float
            D_LS/D_S of the source.

        Returns
        -------
        ndarray
            x, y and radius [arcsec], shape (n, 3).
        """
        radius = ratio * strength_of(self._dpie["sigma"])
        # Below 0.2 arcsec a critical curve is smaller than any cell; above 3 arcsec no grid misses it.
        strong = (radius > 0.2) & (radius < 3.0)
        return np.stack([self._dpie["x"], self._dpie["y"], radius + 0.5], axis=-1)[strong]

    def realisation(self, index: int) -> ParametricLens:
        """Return the model of one posterior sample.

        Parameters
        ----------
        index : int
            Which sample.

        Returns
        -------
        ParametricLens
            Without a posterior of its own.
        """
        if self.posterior is None or not -self.n_realisations <= index < self.n_realisations:
            msg = f"index is {index}; the lens model {self.name!r} has {self.n_realisations} realisations"
            raise InputError(msg)
        changes: dict[int, dict[str, Any]] = {}
        for (row, key), samples in self.posterior.values.items():
            changes.setdefault(row, {})[key] = float(samples[index])
        return ParametricLens(
            [replace(each, **changes.get(i, {})) for i, each in enumerate(self.potentials)],
            z_lens=self.z_lens,
            ra=self.ra,
            dec=self.dec,
            cosmology=self.cosmology,
            name=f"{self.name}[{index}]",
            rms=self.rms,
            redshifts={**self.redshifts, **{key: float(v[index]) for key, v in self.posterior.redshifts.items()}},
            cautions=self.cautions,
            frame=self.frame,
        )

    def unit_deflection(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the deflection for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the reference position, shape (n,).

        Returns
        -------
        tuple of ndarray
            Deflection [arcsec] West and North.
        """
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        out = np.zeros((2, x.size))
        if self._dpie_rows:
            eps = potential_ellipticity(self._dpie["ellipticity"])[:, None]
            amplitude = _amplitude(self._dpie)
            cos, sin = _direction(self._dpie["angle"])
            weight_c, weight_s = (amplitude * cos)[:, None], (amplitude * sin)[:, None]
            for part in _slices(x.size, len(self._dpie_rows)):
                u, v = _into_frame(x[part], y[part], self._dpie, cos, sin)
                au, av = isothermal_deflection(u, v, eps, self._dpie["core"][:, None])
                bu, bv = isothermal_deflection(u, v, eps, self._dpie["cut"][:, None])
                au -= bu
                av -= bv
                out[0, part] = _total(weight_c * au - weight_s * av, axis=0)
                out[1, part] = _total(weight_s * au + weight_c * av, axis=0)
        for row in range(len(self._shear_rows)):
            gamma, angle, kappa, x0, y0 = (self._shear[key][row] for key in _SHEAR_FIELDS)
            g1, g2 = gamma * np.cos(2 * np.radians(angle)), gamma * np.sin(2 * np.radians(angle))
            out[0] += (kappa + g1) * (x - x0) + g2 * (y - y0)
            out[1] += g2 * (x - x0) + (kappa - g1) * (y - y0)
        return out[0], out[1]

    def unit_jacobian(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return convergence and shear for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the reference position, shape (n,).

        Returns
        -------
        tuple of ndarray
            Convergence and the two components of the shear.
        """
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        out = np.zeros((3, x.size))
        if self._dpie_rows:
            amplitude = _amplitude(self._dpie)[:, None]
            for part in _slices(x.size, len(self._dpie_rows)):
                for k, response in enumerate(_responses(x[part], y[part], self._dpie)):
                    out[k, part] = _total(amplitude * response, axis=0)
        out += _shear_part({key: value[None, :] for key, value in self._shear.items()})[:, 0]
        return out[0], out[1], out[2]

    def unit_jacobian_draws(
        self, x: FloatArray, y: FloatArray, index: npt.NDArray[np.intp]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return convergence and shear of chosen posterior samples for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the reference position, shape (n,).
        index : ndarray of int
            Which samples, shape (m,).

        Returns
        -------
        tuple of ndarray
            Convergence and shear, each of shape (m, n).

        Notes
        -----
        A potential whose samples change only its strength (members with a fixed cut radius) is evaluated once and
        weighed by its samples; only those whose shape changes are evaluated sample by sample.
        """
        if self.posterior is None:
            return super().unit_jacobian_draws(x, y, index)
        x, y, index = np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(index)
        dpie = self._sampled(self._dpie, self._dpie_rows, index)
        out = np.zeros((3, index.size, x.size))
        rows = range(len(self._dpie_rows))
        moving = {
            row for row, i in enumerate(self._dpie_rows) for key in _GEOMETRY if (i, key) in self.posterior.values
        }
        still = [row for row in rows if row not in moving]
        if still:
            fixed = {key: value[still] for key, value in self._dpie.items()}
            weights = _amplitude({key: value[:, still] for key, value in dpie.items()})
            for part in _slices(x.size, len(still)):
                responses = np.stack(_responses(x[part], y[part], fixed))
                # One potential after the other, not a matrix product: the sum over potentials must not depend on
                # how many points stand beside, so that an object measured alone has the numbers of the whole table.
                for row in range(len(still)):
                    out[:, :, part] += weights[:, row, None] * responses[:, row, None, :]
        if moving:
            some = {key: value[:, sorted(moving)] for key, value in dpie.items()}
            step = max(1, _BLOCK // (len(moving) * max(min(x.size, _BLOCK), 1)))
            for start in range(0, index.size, step):
                here = {key: value[start : start + step] for key, value in some.items()}
                shape = here["x"].shape
                flat = {key: value.ravel() for key, value in here.items()}
                amplitude = _amplitude(flat)[:, None]
                for part in _slices(x.size, flat["x"].size):
                    for k, response in enumerate(_responses(x[part], y[part], flat)):
                        response *= amplitude  # noqa: PLW2901 - in place, the array is ours
                        out[k, start : start + step, part] += _total(response.reshape(*shape, -1), axis=1)
        out += _shear_part(self._sampled(self._shear, self._shear_rows, index))
        return out[0], out[1], out[2]

    def _sampled(
        self, columns: dict[str, FloatArray], rows: list[int], index: npt.NDArray[np.intp]
    ) -> dict[str, FloatArray]:
        """Return the fields of potentials for chosen samples, each of shape (samples, potentials)."""
        out = {key: np.repeat(value[None, :], index.size, axis=0) for key, value in columns.items()}
        places = {i: row for row, i in enumerate(rows)}
        for (i, key), samples in self.posterior.values.items() if self.posterior is not None else ():
            if i in places:
                out[key][:, places[i]] = samples[index]
        return out


def _amplitude(dpie: Mapping[str, FloatArray]) -> FloatArray:
    """Return E0 cut/(cut - core), the factor before the difference of the two isothermal terms."""
    gap = dpie["cut"] - dpie["core"]
    # A sample may hit equality by chance; the limit there is finite, and this nudge is far below its width.
    gap = np.where(gap == 0.0, 1e-9 * dpie["cut"], gap)
    return np.asarray(strength_of(dpie["sigma"]) * dpie["cut"] / gap)


def _direction(angle: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.cos(np.radians(angle)), np.sin(np.radians(angle))


def _into_frame(
    x: FloatArray, y: FloatArray, dpie: Mapping[str, FloatArray], cos: FloatArray, sin: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return positions in the frame of each ellipse, shape (potentials, points)."""
    dx, dy = x[None, :] - dpie["x"][:, None], y[None, :] - dpie["y"][:, None]
    return cos[:, None] * dx + sin[:, None] * dy, cos[:, None] * dy - sin[:, None] * dx


def _responses(x: FloatArray, y: FloatArray, dpie: Mapping[str, FloatArray]) -> tuple[FloatArray, ...]:
    """Return convergence and shear of each dPIE for unit amplitude, on the sky, shape (potentials, points)."""
    eps = potential_ellipticity(dpie["ellipticity"])[:, None]
    cos, sin = _direction(dpie["angle"])
    u, v = _into_frame(x, y, dpie, cos, sin)
    kappa, s1, s2 = isothermal_hessian(u, v, eps, dpie["core"][:, None])
    kappa_cut, s1_cut, s2_cut = isothermal_hessian(u, v, eps, dpie["cut"][:, None])
    kappa -= kappa_cut
    s1 -= s1_cut
    s2 -= s2_cut
    cos2, sin2 = (cos * cos - sin * sin)[:, None], (2.0 * sin * cos)[:, None]
    return kappa, cos2 * s1 - sin2 * s2, sin2 * s1 + cos2 * s2


def _total(terms: FloatArray, *, axis: int) -> FloatArray:
    """Return a sum over potentials, term after term however many points there are.

    NumPy adds a single column pairwise and several columns row by row; two columns of it make both alike.
    """
    if terms.shape[-1] == 1:
        return np.asarray(np.repeat(terms, 2, axis=-1).sum(axis=axis)[..., :1])
    return np.asarray(terms.sum(axis=axis))


def _shear_part(shear: Mapping[str, FloatArray]) -> FloatArray:
    """Return convergence and shear of the sheets, shape (3, samples, 1)."""
    double = 2.0 * np.radians(shear["angle"])
    parts = (shear["kappa"], shear["gamma"] * np.cos(double), shear["gamma"] * np.sin(double))
    return np.stack([each.sum(axis=1) for each in parts])[:, :, None]


def _slices(points: int, rows: int) -> Iterable[slice]:
    """Yield pieces of the points whose product with the rows fits one block."""
    step = max(1, _BLOCK // max(rows, 1))
    return (slice(start, min(start + step, points)) for start in range(0, points, step))
