"""From the covariance of a Gaussian to axes, radii, their errors, classes and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.units import FloatArray

__all__ = ["HALF_LIGHT", "STD_LIMIT", "Sizes", "clip_shape", "measure_sizes", "size_classes"]

#: Half-light radius of a round Gaussian over its standard deviation, sqrt(2 ln 2).
HALF_LIGHT = float(np.sqrt(2 * np.log(2)))

#: Smallest standard deviation told from a point, in pixels of F150W at 0.02" (Claeyssens et al. 2026, section 3.1.2).
STD_LIMIT = 0.4


@dataclass(frozen=True, eq=False)
class Sizes:
    """Axes and radii of Gaussians, in the pixels of their covariance."""

    std_maj: FloatArray
    std_min: FloatArray
    theta: FloatArray
    std_maj_err: FloatArray
    std_min_err: FloatArray
    r_cir: FloatArray
    r_cir_err: FloatArray
    std_up: FloatArray


def _eigen(shape: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the eigenvalues, larger first, and the angle of the larger from +x towards +y."""
    xx, yy, xy = np.moveaxis(np.asarray(shape, dtype=np.float64), -1, 0)
    middle, half_gap = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    return middle + half_gap, middle - half_gap, 0.5 * np.arctan2(2 * xy, xx - yy)


def clip_shape(shape: Any) -> FloatArray:
    """Return covariances with their negative eigenvalues set to zero.

    Parameters
    ----------
    shape : array_like
        (..., 3) Cxx, Cyy, Cxy in px^2.

    Returns
    -------
    ndarray
        The nearest shapes that a clump can have.
    """
    large, small, theta = _eigen(shape)
    large, small = np.maximum(large, 0.0), np.maximum(small, 0.0)
    c, s = np.cos(theta), np.sin(theta)
    return np.stack([c**2 * large + s**2 * small, s**2 * large + c**2 * small, c * s * (large - small)], axis=-1)


def measure_sizes(shape: Any, covariance: Any) -> Sizes:
    """Return axes, radii and their first-order errors.

    Parameters
    ----------
    shape : array_like
        (..., 3) fitted Cxx, Cyy, Cxy in px^2; eigenvalues may be negative.
    covariance : array_like
        (..., 3, 3) covariance of the fitted shape in px^4.

    Returns
    -------
    Sizes
        In px; the angle in radians from +x towards +y. An error is NaN where first-order
        propagation does not hold (an eigenvalue below twice its error, or an unresolved axis).

    Notes
    -----
    R_cir = sqrt(std_x std_y) = (det C)^(1/4) (Claeyssens et al. 2026, section 3.1.2).
    ``std_up`` = sqrt(max(l1, 0) + 2 err(l1)) is the two-sigma upper limit of the larger axis.
    """
    shape, covariance = np.asarray(shape, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    large, small, theta = _eigen(shape)
    c, s = np.cos(theta), np.sin(theta)
    along = np.stack([c**2, s**2, 2 * s * c], axis=-1)
    across = np.stack([s**2, c**2, -2 * s * c], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        large_err = np.sqrt(np.einsum("...i,...ij,...j", along, covariance, along))
        small_err = np.sqrt(np.einsum("...i,...ij,...j", across, covariance, across))
        std_maj, std_min = np.sqrt(np.maximum(large, 0)), np.sqrt(np.maximum(small, 0))
        maj_err = np.where(large > 2 * large_err, large_err / (2 * std_maj), np.nan)
        min_err = np.where(small > 2 * small_err, small_err / (2 * std_min), np.nan)
        r_cir = np.sqrt(std_maj * std_min)
        det = large * small
        slope = np.stack([shape[..., 1], shape[..., 0], -2 * shape[..., 2]], axis=-1) / det[..., None]
        relative = 0.25 * np.sqrt(np.einsum("...i,...ij,...j", slope, covariance, slope))
        r_cir_err = np.where((small > 0) & np.isfinite(relative), r_cir * relative, np.nan)
        std_up = np.sqrt(np.maximum(large, 0) + 2 * large_err)
    return Sizes(std_maj, std_min, theta, maj_err, min_err, r_cir, r_cir_err, std_up)


def size_classes(std_maj: Any, std_min: Any, *, std_limit: Any = STD_LIMIT) -> npt.NDArray[np.str_]:
    """Return "resolved", "one_axis" or "unresolved" by the fixed limit of the paper.

    Parameters
    ----------
    std_maj, std_min : array_like
        Standard deviations of the axes in px.
    std_limit : array_like, optional
        Smallest standard deviation that counts as resolved, px of the same band.

    Returns
    -------
    ndarray
        Of str; "" where a size is NaN.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.2: both axes above 0.4 px are resolved; with one above,
    the clump is taken to be round in the source and resolved along the shear only.
    """
    std_maj, std_min = np.asarray(std_maj, dtype=np.float64), np.asarray(std_min, dtype=np.float64)
    out = np.where(std_min >= std_limit, "resolved", np.where(std_maj >= std_limit, "one_axis", "unresolved"))
    return np.where(np.isfinite(std_maj), out, "").astype("U10")
