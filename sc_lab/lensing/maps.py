"""Lens models given as maps of convergence, shear and deflection, interpolated between their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW
from astropy.wcs import WCS

from sc_lab.errors import InputError
from sc_lab.lensing.grids import derivative, interpolate
from sc_lab.lensing.model import LensModel
from sc_lab.units import FloatArray, value_in

__all__ = ["MapLens"]

KINDS = ("kappa", "gamma1", "gamma2", "alpha_x", "alpha_y")


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a map are."""

    wcs: WCS
    shape: tuple[int, int]
    ra: float
    dec: float
    #: From pixel steps (x, y) to steps West and North [arcsec], at the reference position.
    matrix: FloatArray

    @property
    def pixel_scale(self) -> float:
        """Return the side of a pixel [arcsec]."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


class MapLens(LensModel):
    """A lens known on a grid of pixels.

    Parameters
    ----------
    planes : mapping of str to ndarray
        Any of kappa, gamma1, gamma2, and alpha_x, alpha_y [arcsec, along the pixel axes], each (ny, nx).
    wcs : `~astropy.wcs.WCS`
        Celestial coordinates of the pixels.
    z_lens : float
        Redshift of the lens.
    normalisation : float
        D_LS/D_S that the maps were made for.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means `sc_lab.cosmology.default_cosmology`.
    name : str
        Short name.
    rms : float, optional
        Scatter [arcsec] of the model's own images.
    realisations : sequence of mapping, optional
        Further planes of the same kinds and shape, one mapping per realisation.
    cautions : tuple of str
        What was odd in the files, in sentences.

    Raises
    ------
    InputError
        If neither the deflection nor convergence and shear are there, or shapes differ.

    Notes
    -----
    Convergence and shear are interpolated (six points along each axis), never the magnification. Where only the
    deflection is given, they are its derivative, of the same order.
    """

    def __init__(
        self,
        planes: Mapping[str, Any],
        *,
        wcs: WCS,
        z_lens: float,
        normalisation: float = 1.0,
        cosmology: FLRW | None = None,
        name: str = "",
        rms: float | None = None,
        realisations: Sequence[Mapping[str, Any]] = (),
        cautions: tuple[str, ...] = (),
    ) -> None:
        shape = check_planes(planes, "the maps")
        self.grid = make_grid(wcs, shape)
        super().__init__(
            z_lens=z_lens,
            ra=self.grid.ra,
            dec=self.grid.dec,
            cosmology=cosmology,
            name=name,
            rms=rms,
            cautions=cautions,
        )
        if not (np.isfinite(normalisation) and normalisation > 0):
            msg = f"normalisation is {normalisation!r}; give the D_LS/D_S of the maps, above 0 (1 for most)"
            raise InputError(msg)
        self.normalisation = float(normalisation)
        self.planes = dict(planes)
        self._realisations = tuple(realisations)

    def __repr__(self) -> str:
        ny, nx = self.grid.shape
        return (
            f"<MapLens {self.name!r}: z = {self.z_lens:g}, {nx} x {ny} pixels of {self.grid.pixel_scale:.3g} arcsec, "
            f"{', '.join(k for k in KINDS if k in self.planes)}, {self.n_realisations} realisations>"
        )

    def _fingerprint(self) -> bytes:
        digest = hashlib.sha256(repr((self.grid.matrix.tolist(), self.grid.shape, self.normalisation)).encode())
        for planes in (self.planes, *self._realisations):
            for key in sorted(planes):
                digest.update(key.encode())
                digest.update(np.ascontiguousarray(planes[key], dtype="<f8").data)
        return digest.digest()

    @property
    def n_realisations(self) -> int:
        """Number of realisations; 0 where there are none."""
        return len(self._realisations)

    @property
    def has_deflection(self) -> bool:
        """Whether images can be carried to the source plane."""
        return "alpha_x" in self.planes

    def realisation(self, index: int) -> MapLens:
        """Return the model of one realisation.

        Parameters
        ----------
        index : int
            Which.

        Returns
        -------
        MapLens
            Without realisations of its own.
        """
        if not -self.n_realisations <= index < self.n_realisations:
            msg = f"index is {index}; the lens model {self.name!r} has {self.n_realisations} realisations"
            raise InputError(msg)
        return MapLens(
            dict(self._realisations[index]),
            wcs=self.grid.wcs,
            z_lens=self.z_lens,
            normalisation=self.normalisation,
            cosmology=self.cosmology,
            name=f"{self.name}[{index}]",
            rms=self.rms,
            cautions=self.cautions,
        )

    def default_bounds(self) -> tuple[float, float, float, float]:
        """Return the part of the image plane that the maps cover.

        Returns
        -------
        tuple of float
            x from, x to, y from, y to [arcsec].
        """
        ny, nx = self.grid.shape
        corners = np.array([[-nx, nx, -nx, nx], [-ny, -ny, ny, ny]]) / 2.0
        x, y = self.grid.matrix @ corners
        return (float(x.min()), float(x.max()), float(y.min()), float(y.max()))

    def to_frame(self, ra: Any, dec: Any) -> tuple[FloatArray, FloatArray]:
        """Return positions in the tangent plane of the maps.

        Parameters
        ----------
        ra, dec : array_like
            Sky positions [deg].

        Returns
        -------
        tuple of ndarray
            Offsets [arcsec] West and North of the middle of the maps.
        """
        ra, dec = value_in(ra, u.deg, "ra"), value_in(dec, u.deg, "dec")
        ra, dec = np.broadcast_arrays(ra, dec)
        px, py = self.grid.wcs.all_world2pix(ra.ravel(), dec.ravel(), 0)
        m = self.grid.matrix
        dx, dy = np.asarray(px) - self._middle[0], np.asarray(py) - self._middle[1]
        x, y = m[0, 0] * dx + m[0, 1] * dy, m[1, 0] * dx + m[1, 1] * dy
        return x.reshape(ra.shape), y.reshape(ra.shape)

    def to_sky(self, x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
        """Return the sky positions of offsets in the tangent plane of the maps.

        Parameters
        ----------
        x, y : array_like
            Offsets [arcsec] West and North of the middle of the maps.

        Returns
        -------
        tuple of ndarray
            Right ascension and declination [deg].
        """
        x, y = value_in(x, u.arcsec, "x"), value_in(y, u.arcsec, "y")
        x, y = np.broadcast_arrays(x, y)
        px, py = self._pixels(x.ravel(), y.ravel())
        ra, dec = self.grid.wcs.all_pix2world(px, py, 0)
        return np.asarray(ra).reshape(x.shape), np.asarray(dec).reshape(x.shape)

    @property
    def _middle(self) -> tuple[float, float]:
        ny, nx = self.grid.shape
        return (nx - 1) / 2.0, (ny - 1) / 2.0

    def _pixels(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        inverse = np.linalg.inv(self.grid.matrix)
        return (
            inverse[0, 0] * x + inverse[0, 1] * y + self._middle[0],
            inverse[1, 0] * x + inverse[1, 1] * y + self._middle[1],
        )

    def unit_deflection(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the deflection for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the middle of the maps, shape (n,).

        Returns
        -------
        tuple of ndarray
            Deflection [arcsec] West and North; NaN outside the maps.

        Raises
        ------
        InputError
            If the model has no maps of the deflection.
        """
        if not self.has_deflection:
            msg = f"the lens model {self.name!r} has no deflection maps; read them along with kappa and gamma"
            raise InputError(msg)
        px, py = self._pixels(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        ax, ay = (interpolate(self.planes[key], px, py) / self.normalisation for key in ("alpha_x", "alpha_y"))
        turn = self._turn
        return turn[0, 0] * ax + turn[0, 1] * ay, turn[1, 0] * ax + turn[1, 1] * ay

    @property
    def _turn(self) -> FloatArray:
        """Rotation (and reflection) from the pixel axes to West and North."""
        return np.asarray(self.grid.matrix / self.grid.pixel_scale)

    def unit_jacobian(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return convergence and shear for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the middle of the maps, shape (n,).

        Returns
        -------
        tuple of ndarray
            Convergence and the two components of the shear; NaN outside the maps.
        """
        return self._jacobian_of(self.planes, np.asarray(x, dtype=float), np.asarray(y, dtype=float))

    def unit_jacobian_draws(
        self, x: FloatArray, y: FloatArray, index: npt.NDArray[np.intp]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return convergence and shear of chosen realisations for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the middle of the maps, shape (n,).
        index : ndarray of int
            Which realisations, shape (m,).

        Returns
        -------
        tuple of ndarray
            Convergence and shear, each of shape (m, n).
        """
        if not self._realisations:
            return super().unit_jacobian_draws(x, y, index)
        x, y, index = np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(index)
        each, back = np.unique(index, return_inverse=True)
        parts = []
        for k in each:
            planes = {key: self._realisations[k][key] for key in self._need(self._realisations[k])}
            if check_planes(planes, f"realisation {k}") != self.grid.shape:
                msg = f"realisation {k} has another shape than the best model, {self.grid.shape}; give maps of one grid"
                raise InputError(msg)
            parts.append(self._jacobian_of(planes, x, y))
        kappa, g1, g2 = (np.array([part[i] for part in parts]).reshape(len(each), x.size)[back] for i in range(3))
        return kappa, g1, g2

    @staticmethod
    def _need(planes: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the kinds of planes that convergence and shear are taken from."""
        light = ("kappa", "gamma1", "gamma2")
        return light if all(key in planes for key in light) else ("alpha_x", "alpha_y")

    def _jacobian_of(
        self, planes: Mapping[str, Any], x: FloatArray, y: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        px, py = self._pixels(x, y)
        if "kappa" in self._need(planes):
            kappa, g1, g2 = (interpolate(planes[key], px, py) for key in ("kappa", "gamma1", "gamma2"))
        else:
            scale = self.grid.pixel_scale
            axx, axy = (part / scale for part in derivative(planes["alpha_x"], px, py))
            ayx, ayy = (part / scale for part in derivative(planes["alpha_y"], px, py))
            kappa, g1, g2 = (axx + ayy) / 2, (axx - ayy) / 2, (axy + ayx) / 2
        # The shear is a tensor: it turns by R G R^T, which also undoes a mirrored pixel frame.
        r = self._turn
        turned = r @ np.array([[g1, g2], [g2, -g1]]).transpose(2, 0, 1) @ r.T
        n = self.normalisation
        return kappa / n, turned[:, 0, 0] / n, turned[:, 0, 1] / n


def check_planes(planes: Mapping[str, Any], label: str) -> tuple[int, int]:
    """Return the common shape of planes, refusing sets that make no lens.

    Parameters
    ----------
    planes : mapping of str to ndarray
        The maps.
    label : str
        What they are, for the message.

    Returns
    -------
    tuple of int
        (ny, nx).

    Raises
    ------
    InputError
        If the set is incomplete, of an unknown kind or of several shapes.
    """
    unknown = [key for key in planes if key not in KINDS]
    if unknown:
        msg = f"{label} hold {', '.join(map(repr, unknown))}; the kinds are {', '.join(KINDS)}"
        raise InputError(msg)
    light = all(key in planes for key in ("kappa", "gamma1", "gamma2"))
    bent = "alpha_x" in planes and "alpha_y" in planes
    if not (light or bent):
        have = ", ".join(planes) or "nothing"
        msg = (
            f"{label} hold {have}; give kappa, gamma1 and gamma2, or alpha_x and alpha_y, or all of them "
            "(the modulus of the shear alone cannot be interpolated through zero)"
        )
        raise InputError(msg)
    shapes = {key: np.shape(plane) for key, plane in planes.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 2 or min(next(iter(shapes.values()))) < 6:
        msg = f"{label} have the shapes {shapes}; give two-dimensional maps of one shape, at least 6 pixels a side"
        raise InputError(msg)
    ny, nx = next(iter(shapes.values()))
    return int(ny), int(nx)


def make_grid(wcs: WCS, shape: tuple[int, int]) -> Grid:
    """Return where the pixels of a map are.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial coordinates.
    shape : tuple of int
        (ny, nx).

    Returns
    -------
    Grid
        Middle of the map, and the matrix from pixel steps to West and North there.

    Raises
    ------
    InputError
        If the coordinates are not celestial, or the pixels are not square.
    """
    if not wcs.has_celestial:
        msg = "the maps have no celestial coordinates; give wcs=, an astropy WCS with right ascension and declination"
        raise InputError(msg)
    celestial = wcs.celestial
    ny, nx = shape
    px, py = (nx - 1) / 2.0, (ny - 1) / 2.0
    ra, dec = (float(each) for each in celestial.all_pix2world(px, py, 0))
    if not (np.isfinite(ra) and np.isfinite(dec)):
        msg = "the coordinates of the maps do not reach their middle; check CRPIX, CRVAL and CTYPE, or give wcs="
        raise InputError(msg)
    # The slope of the sky over one pixel in the middle; the tangent plane of a map is linear in its pixels.
    east = np.empty((2, 2))
    for k, (dx, dy) in enumerate(((0.5, 0.0), (0.0, 0.5))):
        high = celestial.all_pix2world(px + dx, py + dy, 0)
        low = celestial.all_pix2world(px - dx, py - dy, 0)
        turn = (float(high[0]) - float(low[0]) + 180.0) % 360.0 - 180.0
        east[0, k] = -turn * np.cos(np.radians(dec)) * 3600.0
        east[1, k] = (float(high[1]) - float(low[1])) * 3600.0
    sides = np.hypot(east[0], east[1])
    if (
        not (sides > 0).all()
        or abs(sides[0] / sides[1] - 1) > 1e-3
        or abs(np.sum(east[0] * east[1])) > 1e-3 * sides[0] ** 2
    ):
        msg = f"the pixels of the maps are {sides[0]:.4g} by {sides[1]:.4g} arcsec or skewed; give maps with square pixels"
        raise InputError(msg)
    return Grid(celestial, shape, ra, dec, east)
