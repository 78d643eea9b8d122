"""What every lens model offers: frame, scaling with redshift, magnification, deflection and their realisations."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW
from astropy.table import QTable

from sc_lab.cosmology import default_cosmology
from sc_lab.cosmology import describe as describe_cosmology
from sc_lab.errors import InputError
from sc_lab.units import FloatArray, value_in

__all__ = ["Deflection", "Jacobian", "LensModel", "Magnification", "magnification_of"]

#: The largest scatter of ln mu that the gradient estimate may give; beyond it the estimate has no meaning.
MAX_LN_SCATTER = 1.0
#: Cells of the largest grid that is kept.
_MAX_CELLS = 4_000_000
#: Position error [arcsec] of a model that does not state one: the models of C26 have 0.5 to 0.8 arcsec.
DEFAULT_RMS = 0.6


class Magnification(NamedTuple):
    """Signed magnifications: total, tangential and radial."""

    mu: FloatArray
    mu_t: FloatArray
    mu_r: FloatArray


class Jacobian(NamedTuple):
    """Convergence and shear at the source's redshift, in the frame x West, y North."""

    kappa: FloatArray
    g1: FloatArray
    g2: FloatArray


class Deflection(NamedTuple):
    """Reduced deflection [arcsec] towards West and North; source = image - deflection."""

    west: FloatArray
    north: FloatArray


def magnification_of(kappa: Any, g1: Any, g2: Any) -> Magnification:
    """Return the magnifications of a convergence and shear.

    Parameters
    ----------
    kappa, g1, g2 : array_like
        Convergence and shear at the source's redshift.

    Returns
    -------
    Magnification
        mu_t = 1/(1 - kappa - g), mu_r = 1/(1 - kappa + g), mu = mu_t mu_r; infinite on a critical curve.
    """
    g = np.hypot(g1, g2)
    with np.errstate(divide="ignore"):
        tangential = np.divide(1.0, 1.0 - kappa - g)
        radial = np.divide(1.0, 1.0 - kappa + g)
        total = np.divide(1.0, (1.0 - kappa - g) * (1.0 - kappa + g))
    return Magnification(total, tangential, radial)


class LensModel(ABC):
    """A lens at one redshift, known for D_LS/D_S = 1.

    Parameters
    ----------
    z_lens : float
        Redshift of the lens.
    ra, dec : float
        Reference position of the frame [deg].
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means `sc_lab.cosmology.default_cosmology`.
    name : str
        Short name, e.g. ``"M1"``.
    rms : float, optional
        Scatter [arcsec] of the model's own images; used for errors when there are no realisations.
    cautions : tuple of str
        What was odd in the files, in sentences.
    frame : {"lenstool", "tangent"}
        How positions become offsets: Lenstool's flat frame, or the tangent plane.

    Raises
    ------
    InputError
        If the redshift or the position is out of range.
    """

    def __init__(
        self,
        *,
        z_lens: float,
        ra: float,
        dec: float,
        cosmology: FLRW | None = None,
        name: str = "",
        rms: float | None = None,
        cautions: tuple[str, ...] = (),
        frame: str = "lenstool",
    ) -> None:
        if frame not in ("lenstool", "tangent"):
            msg = f"frame is {frame!r}; choose 'lenstool' or 'tangent'"
            raise InputError(msg)
        self.frame = frame
        self.z_lens = float(value_in(z_lens, u.one, "z_lens"))
        self.ra = float(value_in(ra, u.deg, "ra"))
        self.dec = float(value_in(dec, u.deg, "dec"))
        if not (math.isfinite(self.z_lens) and self.z_lens > 0):
            msg = f"z_lens is {z_lens!r}; give the redshift of the lens, greater than 0"
            raise InputError(msg)
        if not (math.isfinite(self.ra) and math.isfinite(self.dec) and abs(self.dec) < 90):
            msg = f"the reference position is ({ra!r}, {dec!r}); give right ascension and declination in degrees"
            raise InputError(msg)
        self.cosmology = default_cosmology() if cosmology is None else cosmology
        self.name = str(name)
        self.rms = DEFAULT_RMS if rms is None else float(value_in(rms, u.arcsec, "rms"))
        self.cautions = tuple(cautions)
        self._efficiency: dict[float, float] = {}
        self._grids: dict[tuple[Any, ...], tuple[FloatArray, ...]] = {}

    # ---- what a kind of model supplies ---------------------------------------------------
    @abstractmethod
    def unit_deflection(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the deflection for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the reference position, shape (n,).

        Returns
        -------
        tuple of ndarray
            Deflection [arcsec] West and North; NaN outside the model.
        """

    @abstractmethod
    def unit_jacobian(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return convergence and shear for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the reference position, shape (n,).

        Returns
        -------
        tuple of ndarray
            Convergence and the two components of the shear; NaN outside the model.
        """

    @property
    def n_realisations(self) -> int:
        """Number of realisations of the model: samples of its posterior; 0 where it has none."""
        return 0

    def realisation(self, index: int) -> LensModel:
        """Return the model of one realisation.

        Parameters
        ----------
        index : int
            Which.

        Returns
        -------
        LensModel
            Without realisations of its own.

        Raises
        ------
        InputError
            If there is no such realisation.
        """
        msg = f"index is {index}; the lens model {self.name!r} has {self.n_realisations} realisations to evaluate alone"
        raise InputError(msg)

    def unit_jacobian_draws(
        self, x: FloatArray, y: FloatArray, index: npt.NDArray[np.intp]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return convergence and shear of chosen realisations for D_LS/D_S = 1.

        Parameters
        ----------
        x, y : ndarray
            Positions [arcsec] West and North of the reference position, shape (n,).
        index : ndarray of int
            Which realisations, shape (m,), each below `n_realisations`.

        Returns
        -------
        tuple of ndarray
            Convergence and shear, each of shape (m, n).

        Raises
        ------
        InputError
            If the model has no realisations.
        """
        del x, y, index
        msg = f"the lens model {self.name!r} has no realisations; give posterior= or realisation maps when reading it"
        raise InputError(msg)

    @abstractmethod
    def _fingerprint(self) -> bytes:
        """Return bytes that differ when the model differs."""

    def describe(self) -> dict[str, Any]:
        """Return the model as plain JSON values, as catalogues and exports record it.

        Returns
        -------
        dict
            name, kind, z_lens, ra, dec [deg], frame, rms [arcsec], n_realisations, cosmology, cautions and sha256 of
            what the model is made of: two models with the same one give the same numbers.
        """
        described = describe_cosmology(self.cosmology)
        digest = hashlib.sha256(self._fingerprint())
        digest.update(repr((self.z_lens, self.ra, self.dec, self.frame, self.rms, sorted(described.items()))).encode())
        return {
            "name": self.name,
            "kind": type(self).__name__,
            "z_lens": self.z_lens,
            "ra": self.ra,
            "dec": self.dec,
            "frame": self.frame,
            "rms": self.rms,
            "n_realisations": self.n_realisations,
            "cosmology": described,
            "cautions": list(self.cautions),
            "sha256": digest.hexdigest(),
        }

    # ---- frame and redshift --------------------------------------------------------------
    def to_frame(self, ra: Any, dec: Any) -> tuple[FloatArray, FloatArray]:
        """Return positions in the frame of the model.

        Parameters
        ----------
        ra, dec : array_like
            Sky positions [deg].

        Returns
        -------
        tuple of ndarray
            Offsets [arcsec] West and North of the reference position.

        Notes
        -----
        Lenstool's frame: x = -(RA - RA0) cos(Dec0) 3600, y = (Dec - Dec0) 3600. A tangent plane differs from it by
        some 0.01 arcsec at 50 arcsec and high declination. A model made by Lenstool is right in Lenstool's frame,
        where its galaxies and images were placed; the header of a map of it says tangent plane all the same.
        """
        ra, dec = value_in(ra, u.deg, "ra"), value_in(dec, u.deg, "dec")
        turn = (ra - self.ra + 180.0) % 360.0 - 180.0
        if self.frame == "tangent":
            a, d, d0 = np.radians(turn), np.radians(dec), math.radians(self.dec)
            depth = math.sin(d0) * np.sin(d) + math.cos(d0) * np.cos(d) * np.cos(a)
            west = -np.cos(d) * np.sin(a) / depth
            north = (math.cos(d0) * np.sin(d) - math.sin(d0) * np.cos(d) * np.cos(a)) / depth
            return np.asarray(np.degrees(west) * 3600.0), np.asarray(np.degrees(north) * 3600.0)
        return -turn * (3600.0 * math.cos(math.radians(self.dec))), (dec - self.dec) * 3600.0

    def to_sky(self, x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
        """Return the sky positions of offsets in the frame of the model.

        Parameters
        ----------
        x, y : array_like
            Offsets [arcsec] West and North of the reference position.

        Returns
        -------
        tuple of ndarray
            Right ascension and declination [deg].
        """
        x, y = value_in(x, u.arcsec, "x"), value_in(y, u.arcsec, "y")
        if self.frame == "tangent":
            west, north, d0 = np.radians(x / 3600.0), np.radians(y / 3600.0), math.radians(self.dec)
            depth = math.cos(d0) - north * math.sin(d0)
            turn = np.degrees(np.arctan2(-west, depth))
            dec = np.degrees(np.arctan2(math.sin(d0) + north * math.cos(d0), np.hypot(west, depth)))
            return (self.ra + turn) % 360.0, np.asarray(dec)
        ra = self.ra - x / (3600.0 * math.cos(math.radians(self.dec)))
        return ra % 360.0, self.dec + y / 3600.0

    def efficiency(self, z: Any) -> FloatArray:
        """Return D_LS/D_S.

        Parameters
        ----------
        z : array_like
            Redshift of the source, any shape.

        Returns
        -------
        ndarray
            Shape of ``z``; 0 at or in front of the lens, NaN where the redshift is not finite or below 0, which in
            catalogues (-1, -99) means that there is none.
        """
        z = value_in(z, u.one, "z")
        z = np.where(z < 0, np.nan, z)
        known = self._efficiency
        for each in set(np.unique(z[np.isfinite(z)]).tolist()) - known.keys():
            known[each] = 0.0
            if each > self.z_lens:
                known[each] = _distance_ratio(self.cosmology, self.z_lens, each)
        return np.array([known.get(each, math.nan) for each in z.ravel().tolist()], dtype=float).reshape(z.shape)

    # ---- public answers ------------------------------------------------------------------
    def _points(self, ra: Any, dec: Any, z: Any) -> tuple[tuple[int, ...], FloatArray, FloatArray, FloatArray]:
        """Return the common shape, and flat positions and efficiencies."""
        x, y = self.to_frame(ra, dec)
        ratio = self.efficiency(z)
        try:
            x, y, ratio = np.broadcast_arrays(x, y, ratio)
        except ValueError:
            msg = (
                f"ra, dec and z have the shapes {np.shape(ra)}, {np.shape(dec)} and {np.shape(z)}; "
                "give arrays of one length, or one number for all"
            )
            raise InputError(msg) from None
        return x.shape, x.ravel(), y.ravel(), ratio.ravel()

    def jacobian(self, ra: Any, dec: Any, z: Any) -> Jacobian:
        """Return convergence and shear at the redshift of a source.

        Parameters
        ----------
        ra, dec : array_like
            Positions of the images [deg].
        z : array_like
            Redshift of the source; broadcasts with the positions.

        Returns
        -------
        Jacobian
            kappa, g1, g2 in the frame x West, y North: A = [[1-kappa-g1, -g2], [-g2, 1-kappa+g1]].
        """
        shape, x, y, ratio = self._points(ra, dec, z)
        kappa, g1, g2 = self.unit_jacobian(x, y)
        return Jacobian(*(_scaled(part, ratio).reshape(shape) for part in (kappa, g1, g2)))

    def magnification(self, ra: Any, dec: Any, z: Any) -> Magnification:
        """Return signed magnifications of point images.

        Parameters
        ----------
        ra, dec : array_like
            Positions of the images [deg].
        z : array_like
            Redshift of the source; broadcasts with the positions.

        Returns
        -------
        Magnification
            mu, mu_t, mu_r: negative mu_t inside the tangential critical curve, 1 in front of the lens,
            NaN outside the model.

        Notes
        -----
        mu_t = 1/(1 - kappa - g), mu_r = 1/(1 - kappa + g), mu = mu_t mu_r.
        """
        return magnification_of(*self.jacobian(ra, dec, z))

    def deflection(self, ra: Any, dec: Any, z: Any) -> Deflection:
        """Return the reduced deflection of images.

        Parameters
        ----------
        ra, dec : array_like
            Positions of the images [deg].
        z : array_like
            Redshift of the source; broadcasts with the positions.

        Returns
        -------
        Deflection
            Towards West and North [arcsec]; the source lies at image - deflection.
        """
        shape, x, y, ratio = self._points(ra, dec, z)
        ax, ay = self.unit_deflection(x, y)
        return Deflection(_scaled(ax, ratio).reshape(shape), _scaled(ay, ratio).reshape(shape))

    def source(self, ra: Any, dec: Any, z: Any) -> tuple[FloatArray, FloatArray]:
        """Return where the source of an image would be seen without the lens.

        Parameters
        ----------
        ra, dec : array_like
            Positions of the images [deg].
        z : array_like
            Redshift of the source; broadcasts with the positions.

        Returns
        -------
        tuple of ndarray
            Right ascension and declination [deg].
        """
        shape, x, y, ratio = self._points(ra, dec, z)
        ax, ay = self.unit_deflection(x, y)
        ra, dec = self.to_sky(x - _scaled(ax, ratio), y - _scaled(ay, ratio))
        return ra.reshape(shape), dec.reshape(shape)

    # ---- images and critical curves ------------------------------------------------------
    def default_bounds(self) -> tuple[float, float, float, float]:
        """Return the part of the image plane that is searched when none is named.

        Returns
        -------
        tuple of float
            x from, x to, y from, y to [arcsec] in the frame of the model.
        """
        return (-60.0, 60.0, -60.0, 60.0)

    def hot_spots(self, ratio: float) -> FloatArray:
        """Return where small critical curves may hide between the points of a coarse grid.

        Parameters
        ----------
        ratio : float
            D_LS/D_S of the source.

        Returns
        -------
        ndarray
            x, y and radius [arcsec], shape (n, 3).
        """
        del ratio
        return np.empty((0, 3))

    def _grid_axes(self, bounds: tuple[float, float, float, float], step: float) -> tuple[FloatArray, FloatArray]:
        if len(bounds) != 4 or not (bounds[0] < bounds[1] and bounds[2] < bounds[3]) or not step > 0:
            msg = (
                f"bounds are {bounds!r} and step {step!r}; give x from, x to, y from, y to in arcsec and a step above 0"
            )
            raise InputError(msg)
        if (bounds[1] - bounds[0]) * (bounds[3] - bounds[2]) / step**2 > _MAX_CELLS:
            msg = f"bounds {bounds!r} in steps of {step!r} arcsec are over {_MAX_CELLS} cells; give a larger step"
            raise InputError(msg)
        nx, ny = (max(2, math.ceil((bounds[k + 1] - bounds[k]) / step)) for k in (0, 2))
        return np.asarray(bounds[0] + step * np.arange(nx + 1)), np.asarray(bounds[2] + step * np.arange(ny + 1))

    def deflection_grid(self, bounds: tuple[float, float, float, float], step: float) -> tuple[FloatArray, ...]:
        """Return the deflection for D_LS/D_S = 1 on a grid, evaluated once.

        Parameters
        ----------
        bounds : tuple of float
            x from, x to, y from, y to [arcsec].
        step : float
            Side of a cell [arcsec].

        Returns
        -------
        tuple of ndarray
            x (nx,), y (ny,), and the deflection West and North, each (ny, nx).
        """
        return self._cached("deflection", bounds, step)

    def jacobian_grid(self, bounds: tuple[float, float, float, float], step: float) -> tuple[FloatArray, ...]:
        """Return convergence and shear for D_LS/D_S = 1 on a grid, evaluated once.

        Parameters
        ----------
        bounds : tuple of float
            x from, x to, y from, y to [arcsec].
        step : float
            Side of a cell [arcsec].

        Returns
        -------
        tuple of ndarray
            x (nx,), y (ny,), convergence and the two components of the shear, each (ny, nx).
        """
        return self._cached("jacobian", bounds, step)

    def _cached(self, what: str, bounds: tuple[float, float, float, float], step: float) -> tuple[FloatArray, ...]:
        key = (what, tuple(bounds), step)
        if key not in self._grids:
            gx, gy = self._grid_axes(bounds, step)
            x, y = (each.ravel() for each in np.meshgrid(gx, gy))
            parts = self.unit_deflection(x, y) if what == "deflection" else self.unit_jacobian(x, y)
            if len(self._grids) >= 8:
                self._grids.pop(next(iter(self._grids)))
            self._grids[key] = (gx, gy, *(part.reshape(gy.size, gx.size) for part in parts))
        return self._grids[key]

    def counter_images(
        self,
        ra: Any,
        dec: Any,
        z: float,
        *,
        bounds: tuple[float, float, float, float] | None = None,
        step: float = 1.0,
        min_mu: float = 0.05,
        n_draws: int = 0,
        rng: Any = 0,
    ) -> QTable:
        """Return where the source of an image is seen: the image itself and its counter-images.

        Parameters
        ----------
        ra, dec : float or array_like
            Position of the image [deg]. Several positions are images of one source: it is put at the mean of their
            source positions, weighed by magnification.
        z : float
            Redshift of the source.
        bounds : tuple of float, optional
            Part of the image plane that is searched [arcsec West and North]: x from, x to, y from, y to. None takes
            `default_bounds`.
        step : float
            Side of the cells that the search starts from [arcsec].
        min_mu : float
            Images with a smaller |mu| are left out: galaxies hide a faint image in each of their centres.
        n_draws : int
            Realisations of the model that tell how well each place is known; 0 asks none.
        rng : int or `~numpy.random.Generator`
            Seed of their choice.

        Returns
        -------
        `~astropy.table.QTable`
            In order of arrival: ra, dec, mu, mu_t, mu_r (signed), kind ("minimum", "saddle" or "maximum" of the
            arrival time), order, delay [day] after the first and offset [arcsec] from the nearest given position.
            With ``n_draws`` also scatter [arcsec]: how far the image moves among realisations while the given ones
            stay; NaN where none has it.

        Raises
        ------
        InputError
            If the source is not behind the lens or the image lies outside the model.
        """
        from sc_lab.lensing.solver import counter_images

        return counter_images(self, ra, dec, z, bounds=bounds, step=step, min_mu=min_mu, n_draws=n_draws, rng=rng)

    def critical_curves(
        self,
        z: float,
        *,
        kind: str = "tangential",
        bounds: tuple[float, float, float, float] | None = None,
        step: float = 0.25,
    ) -> list[FloatArray]:
        """Return the lines in the image plane on which the magnification diverges.

        Parameters
        ----------
        z : float
            Redshift of the source.
        kind : {"tangential", "radial"}
            Which magnification.
        bounds : tuple of float, optional
            Part of the image plane [arcsec West and North]: x from, x to, y from, y to. None takes `default_bounds`.
        step : float
            Distance of the points that the lines are drawn through [arcsec], rounded to 1, 1/2, 1/4, ...

        Returns
        -------
        list of ndarray
            Lines of right ascension and declination [deg], each of shape (n, 2).

        Raises
        ------
        InputError
            If the source is not behind the lens, the kind is unknown, or bounds and step make no grid or one too large.
        """
        from sc_lab.lensing.curves import trace

        if kind not in ("tangential", "radial"):
            msg = f"kind is {kind!r}; choose 'tangential' or 'radial'"
            raise InputError(msg)
        ratio = float(self.efficiency(z))
        if not ratio > 0:
            msg = f"the source has z = {z}, the lens z = {self.z_lens:g}; give one redshift behind the lens"
            raise InputError(msg)
        lines = trace(self, ratio, kind, self.default_bounds() if bounds is None else bounds, step)
        return [np.stack(self.to_sky(line[:, 0], line[:, 1]), axis=-1) for line in lines]

    def caustics(
        self,
        z: float,
        *,
        kind: str = "tangential",
        bounds: tuple[float, float, float, float] | None = None,
        step: float = 0.25,
    ) -> list[FloatArray]:
        """Return the critical curves carried to the source plane.

        Parameters
        ----------
        z : float
            Redshift of the source.
        kind : {"tangential", "radial"}
            Which magnification.
        bounds : tuple of float, optional
            Part of the image plane [arcsec West and North]; None takes `default_bounds`.
        step : float
            Distance of the points that the critical curves are drawn through [arcsec].

        Returns
        -------
        list of ndarray
            Lines of right ascension and declination [deg], each of shape (n, 2).
        """
        curves = self.critical_curves(z, kind=kind, bounds=bounds, step=step)
        return [np.stack(self.source(curve[:, 0], curve[:, 1], z), axis=-1) for curve in curves]

    # ---- uncertainty ---------------------------------------------------------------------
    def realisation_index(self, n_draws: int, *, rng: Any = 0) -> npt.NDArray[np.intp]:
        """Return which realisations a number of draws uses.

        Parameters
        ----------
        n_draws : int
            Number of draws.
        rng : int or `~numpy.random.Generator`
            Seed; the same seed gives the same realisations, so that objects added later stay joint with the rest.

        Returns
        -------
        ndarray of int
            Shape (n_draws,); no realisation twice while there are enough.
        """
        if n_draws < 1:
            msg = f"n_draws is {n_draws}; give at least 1"
            raise InputError(msg)
        if not self.n_realisations:
            msg = (
                f"the lens model {self.name!r} has no realisations; give posterior= or realisation maps when reading it"
            )
            raise InputError(msg)
        generator = np.random.default_rng(rng)
        return generator.choice(self.n_realisations, size=n_draws, replace=n_draws > self.n_realisations)

    def magnification_draws(
        self, ra: Any, dec: Any, z: Any, *, n_draws: int = 100, rng: Any = 0
    ) -> tuple[FloatArray, FloatArray]:
        """Return joint draws of the magnifications at fixed image positions.

        Parameters
        ----------
        ra, dec : array_like
            Positions of the images [deg].
        z : array_like
            Redshift of the source; broadcasts with the positions to shape (n,).
        n_draws : int
            Number of draws.
        rng : int or `~numpy.random.Generator`
            Seed of the choice of realisations.

        Returns
        -------
        tuple of ndarray
            mu and mu_t, signed, each of shape (n_draws, n): row j is one realisation of the lens for all images.

        Notes
        -----
        Where `n_realisations` is 0 there is nothing to draw from. Then ln|mu| is drawn with the scatter of
        `gradient_scatter`, mu_t with the same deviate (in one row for all images), and signs are kept.
        """
        _, x, y, ratio = self._points(ra, dec, z)
        if self.n_realisations:
            index = self.realisation_index(n_draws, rng=rng)
            parts = self.unit_jacobian_draws(x, y, index)
            mu, mu_t, _ = magnification_of(*(_scaled(part, ratio) for part in parts))
            return mu, mu_t
        generator = np.random.default_rng(rng)
        best = magnification_of(*(_scaled(part, ratio) for part in self.unit_jacobian(x, y)))
        scatter, scatter_t = self._gradient_scatter(x, y, ratio)
        deviate = generator.standard_normal(n_draws)[:, None]
        return best.mu * np.exp(deviate * scatter), best.mu_t * np.exp(deviate * scatter_t)

    def gradient_scatter(self, ra: Any, dec: Any, z: Any) -> FloatArray:
        """Return the scatter of ln|mu| that the model's position error amounts to.

        Parameters
        ----------
        ra, dec : array_like
            Positions of the images [deg].
        z : array_like
            Redshift of the source; broadcasts with the positions.

        Returns
        -------
        ndarray
            |grad ln mu| times ``rms``, never above 1.
        """
        shape, x, y, ratio = self._points(ra, dec, z)
        return self._gradient_scatter(x, y, ratio)[0].reshape(shape)

    def _gradient_scatter(self, x: FloatArray, y: FloatArray, ratio: FloatArray) -> tuple[FloatArray, FloatArray]:
        # The inverse magnifications are smooth and pass through zero on a critical curve; their logarithms do not.
        step = 0.05
        here, *ends = (
            self._inverse_magnifications(x + dx, y + dy, ratio)
            for dx, dy in ((0.0, 0.0), (step, 0.0), (-step, 0.0), (0.0, step), (0.0, -step))
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.hypot(ends[0] - ends[1], ends[2] - ends[3]) / (2 * step * np.abs(here))
            scatter = np.minimum(slope * self.rms, MAX_LN_SCATTER)
        return scatter[0], scatter[1]

    def _inverse_magnifications(self, x: FloatArray, y: FloatArray, ratio: FloatArray) -> FloatArray:
        """Return 1/mu and 1/mu_t, stacked."""
        k, g1, g2 = (_scaled(part, ratio) for part in self.unit_jacobian(x, y))
        g = np.hypot(g1, g2)
        return np.stack([(1 - k - g) * (1 - k + g), 1 - k - g])


def _distance_ratio(cosmology: FLRW, z_lens: float, z_source: float) -> float:
    """Return D_LS/D_S."""
    try:
        between = cosmology.angular_diameter_distance(z_lens, z_source)
    except TypeError:  # astropy before 8 has a function of its own for two redshifts
        between = cosmology.angular_diameter_distance_z1z2(z_lens, z_source)
    return float(between / cosmology.angular_diameter_distance(z_source))


def _scaled(part: FloatArray, ratio: FloatArray) -> FloatArray:
    """Return a part scaled to the source's redshift; in front of the lens it is 0, also outside the model."""
    return np.where(ratio == 0.0, 0.0, part * ratio)
