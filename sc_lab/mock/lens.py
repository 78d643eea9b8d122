"""The lens of the mock field: AS1063's published main parameters and synthetic members, and its multiple images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sc_lab.units import FloatArray

if TYPE_CHECKING:
    from sc_lab.lensing import LensModel, Potential

__all__ = ["CENTRE", "Z_LENS", "Images", "Lattice", "make_lens"]

#: Reference position [deg] and redshift of the CATS model of AS1063 (Frontier Fields, Richard et al. 2014).
CENTRE = (342.183220, -44.530889)
Z_LENS = 0.3475
#: Members go by the scaling relations of that model: an L0 galaxy has this magnitude, dispersion [km/s], cut and
#: core radius [kpc].
_MAG0, _SIGMA0, _CUT0, _CORE0 = 19.6875, 100.110634, 45.0, 0.15
_ARCSEC_PER_RADIAN = 180.0 / np.pi * 3600.0
_ITERATIONS = 25


def make_lens(x: FloatArray, y: FloatArray, mag: FloatArray, *, name: str = "mock AS1063") -> LensModel:
    """Return the lens with members of our own.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Places of the members [arcsec], West and North of the brightest cluster galaxy.
    mag : ndarray, shape (n,)
        Their magnitudes, on the scale of the model's reference magnitude 19.6875.
    name : str
        Name of the model.

    Returns
    -------
    LensModel
        The lens.

    Notes
    -----
    Cluster halo, external shear, brightest galaxy and second halo have the best-fitting parameters of the CATS
    model of AS1063 ("gold" constraints, Lenstool; method of Richard et al. 2014, MNRAS 444, 268), rounded as
    published; radii in kpc for H0 = 70, Om = 0.3.
    """
    from sc_lab.cosmology import default_cosmology
    from sc_lab.lensing import DPIE, ExternalShear, ParametricLens, scaled_members

    cosmology = default_cosmology()
    kpc = _ARCSEC_PER_RADIAN / float(cosmology.angular_diameter_distance(Z_LENS).to_value("kpc"))
    potentials: list[Potential] = [
        DPIE(
            0.0, 0.0, 1223.74, core=98.99 * kpc, cut=1000.0 * kpc, ellipticity=0.517298, angle=-36.014434, name="halo"
        ),
        ExternalShear(0.1039, angle=50.8049, name="shear"),
        DPIE(0.006, 0.037, 290.77, core=0.508 * kpc, cut=169.485 * kpc, ellipticity=0.271, angle=-35.0, name="BCG"),
        DPIE(-20.163718, 29.326486, 203.19, core=49.168 * kpc, cut=500.0 * kpc, name="second halo"),
        *scaled_members(x, y, mag, mag0=_MAG0, sigma0=_SIGMA0, cut0=_CUT0 * kpc, core0=_CORE0 * kpc),
    ]
    # The scatter of the model about its own 50 images, in the lens plane, is 0.5 arcsec.
    return ParametricLens(
        potentials, z_lens=Z_LENS, ra=CENTRE[0], dec=CENTRE[1], cosmology=cosmology, name=name, rms=0.5
    )


@dataclass(frozen=True, eq=False)
class Images:
    """Images of point sources.

    Attributes
    ----------
    source : ndarray of int, shape (n,)
        Which source.
    x, y : ndarray, shape (n,)
        Places in the frame of the lens [arcsec].
    matrix : ndarray, shape (n, 2, 2)
        d source / d image there.
    """

    source: npt.NDArray[np.intp]
    x: FloatArray
    y: FloatArray
    matrix: FloatArray

    @property
    def mu(self) -> FloatArray:
        """Signed magnification."""
        return np.asarray(1.0 / np.linalg.det(self.matrix))


@dataclass(frozen=True, eq=False)
class Lattice:
    """The deflection of a lens on a regular grid of pixels, and the images that it gives.

    Attributes
    ----------
    lens : LensModel
        The lens.
    x, y : ndarray, shape (ny, nx)
        Places of the nodes in the frame of the lens [arcsec].
    alpha_x, alpha_y : ndarray, shape (ny, nx)
        Their deflection for D_LS/D_S = 1 [arcsec].
    """

    lens: LensModel
    x: FloatArray
    y: FloatArray
    alpha_x: FloatArray
    alpha_y: FloatArray

    @classmethod
    def make(cls, lens: LensModel, x: FloatArray, y: FloatArray) -> Lattice:
        """Evaluate a lens on its nodes.

        Parameters
        ----------
        lens : LensModel
            The lens.
        x, y : ndarray, shape (ny, nx)
            Nodes in the frame of the lens [arcsec].

        Returns
        -------
        Lattice
            The grid.
        """
        alpha_x, alpha_y = (part.reshape(x.shape) for part in lens.unit_deflection(x.ravel(), y.ravel()))
        return cls(lens, x, y, alpha_x, alpha_y)

    def images(self, bx: FloatArray, by: FloatArray, z: float) -> Images:
        """Return all images of sources at one redshift that lie on the grid.

        Parameters
        ----------
        bx, by : ndarray, shape (n,)
            Places in the source plane, frame of the lens [arcsec].
        z : float
            Redshift.

        Returns
        -------
        Images
            The images; those of a pair that is closer than a cell may be missing.

        Notes
        -----
        Each cell is cut into two triangles; a source inside the image of a triangle in the source plane has an
        image in the triangle, which Newton's method refines with the exact deflection.
        """
        efficiency = float(self.lens.efficiency(z))
        nodes = np.stack([self.x - efficiency * self.alpha_x, self.y - efficiency * self.alpha_y], axis=-1)
        corners = (nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, :-1], nodes[1:, 1:])
        low = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3]))
        high = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
        source, x, y = [], [], []
        # Only cells whose image in the source plane touches the sources at all.
        near = ((low[..., 0] <= bx.max()) & (high[..., 0] >= bx.min())) & (
            (low[..., 1] <= by.max()) & (high[..., 1] >= by.min())
        )
        rows, columns = np.nonzero(near)
        low, high = low[near], high[near]
        for k in range(len(bx)):
            touched = np.flatnonzero(
                (low[:, 0] <= bx[k]) & (high[:, 0] >= bx[k]) & (low[:, 1] <= by[k]) & (high[:, 1] >= by[k])
            )
            r, c = rows[touched], columns[touched]
            a, b, d, e = nodes[r, c], nodes[r, c + 1], nodes[r + 1, c], nodes[r + 1, c + 1]
            point = np.array([bx[k], by[k]])
            for first, second, third, dr, dc in ((a, b, d, 0.3, 0.3), (e, d, b, 0.7, 0.7)):
                hit = _inside(point, first, second, third)
                for i in np.flatnonzero(hit):
                    source.append(k)
                    x.append(_between(self.x, r[i], c[i], dr, dc))
                    y.append(_between(self.y, r[i], c[i], dr, dc))
        index = np.array(source, dtype=np.intp)
        return self._refined(index, np.array(x), np.array(y), bx, by, efficiency)

    def _refined(
        self,
        source: npt.NDArray[np.intp],
        x: FloatArray,
        y: FloatArray,
        bx: FloatArray,
        by: FloatArray,
        efficiency: float,
    ) -> Images:
        """Solve the lens equation exactly from near solutions; drop what does not converge, and doubles."""
        if not len(source):
            return Images(source, x, y, np.zeros((0, 2, 2)))
        cell = abs(float(self.x[0, 1] - self.x[0, 0]))
        wanted = np.stack([bx[source], by[source]], axis=-1)
        for _ in range(_ITERATIONS):
            alpha_x, alpha_y = self.lens.unit_deflection(x, y)
            residual = wanted - np.stack([x - efficiency * alpha_x, y - efficiency * alpha_y], axis=-1)
            matrix = self.matrix(x, y, efficiency)
            step = np.linalg.solve(matrix, residual[..., None])[..., 0]
            # Near a critical curve the full step may leave the cell by far.
            step *= np.minimum(1.0, cell / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-30))[:, None]
            x, y = x + step[:, 0], y + step[:, 1]
            if np.abs(step).max() < 1e-12:
                break
        kept: list[int] = []
        for i in np.flatnonzero(np.abs(residual).max(axis=1) < 1e-9):
            if all(source[j] != source[i] or np.hypot(x[j] - x[i], y[j] - y[i]) > 1e-4 for j in kept):
                kept.append(int(i))
        chosen = np.array(kept, dtype=np.intp)
        return Images(source[chosen], x[chosen], y[chosen], self.matrix(x[chosen], y[chosen], efficiency))

    def matrix(self, x: FloatArray, y: FloatArray, efficiency: float) -> FloatArray:
        """Return the exact Jacobian d source / d image.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
            Places in the frame of the lens [arcsec].
        efficiency : float
            D_LS/D_S of the source.

        Returns
        -------
        ndarray, shape (n, 2, 2)
            The matrix.
        """
        kappa, g1, g2 = (efficiency * part for part in self.lens.unit_jacobian(x, y))
        return np.stack([np.stack([1 - kappa - g1, -g2], -1), np.stack([-g2, 1 - kappa + g1], -1)], -2)


def _inside(point: FloatArray, a: FloatArray, b: FloatArray, c: FloatArray) -> npt.NDArray[np.bool_]:
    """Return in which triangles a point lies; their orientation does not matter."""

    def side(p: FloatArray, q: FloatArray) -> FloatArray:
        return np.asarray((q[:, 0] - p[:, 0]) * (point[1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (point[0] - p[:, 0]))

    one, two, three = side(a, b), side(b, c), side(c, a)
    return np.asarray(((one >= 0) & (two >= 0) & (three >= 0)) | ((one <= 0) & (two <= 0) & (three <= 0)))


def _between(nodes: FloatArray, row: int, column: int, down: float, right: float) -> float:
    """Return a place inside a cell."""
    corner = nodes[row, column]
    return float(corner + right * (nodes[row, column + 1] - corner) + down * (nodes[row + 1, column] - corner))
