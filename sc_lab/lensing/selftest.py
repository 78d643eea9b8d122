"""Whether the maps of a lens agree among themselves, and which mistake of sign or unit they show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sc_lab.lensing.maps import MapLens
from sc_lab.units import FloatArray

__all__ = ["MapCheck", "check_maps"]

#: Tolerance of a slope; kappa maps and deflections of one model agree far better where the maps resolve the lens.
_TOLERANCE = 0.02
#: Largest part of the maps that is looked at, in pixels a side.
_WINDOW = 800


@dataclass(frozen=True)
class MapCheck:
    """What the comparison of deflection, convergence and shear gave.

    Attributes
    ----------
    ok : bool
        Whether nothing contradicts.
    text : str
        The finding in a sentence, with the mending argument where there is one.
    slope_x, slope_y : float
        Of kappa on half the derivative of the deflection along each axis: 1 where all is well; NaN without both.
    slope_g1, slope_g2 : float
        Of the shear maps on the shear of the deflection; NaN without both.
    curl : float
        Scatter of the curl of the deflection over that of its shear: 0 where all is well; NaN without it.
    """

    ok: bool
    text: str
    slope_x: float = math.nan
    slope_y: float = math.nan
    slope_g1: float = math.nan
    slope_g2: float = math.nan
    curl: float = math.nan


def check_maps(lens: MapLens) -> MapCheck:
    """Compare the maps of a lens with each other.

    Parameters
    ----------
    lens : MapLens
        The model.

    Returns
    -------
    MapCheck
        The finding.

    Notes
    -----
    Half the divergence of the deflection is the convergence. A slope of -1 on one axis is a flipped axis, of -1 on
    both a reversed deflection, of the pixel scale a deflection in pixels instead of arcsec, of its inverse the
    reverse; any other common slope is another normalisation. The curl must vanish. Pixels where the maps are too
    coarse for the lens (cores of galaxies) are left out.
    """
    planes = {key: _window(plane) for key, plane in lens.planes.items()}
    if "alpha_x" not in planes or "alpha_y" not in planes:
        negative = float(np.nanmedian(planes["kappa"])) < 0
        text = (
            "the convergence is negative in most pixels; it cannot be that of a cluster"
            if negative
            else ("there is no deflection, so that neither sign nor unit can be tested")
        )
        return MapCheck(ok=not negative, text=text)
    step = lens.grid.pixel_scale
    axx, axy = _slopes(planes["alpha_x"], step)
    ayx, ayy = _slopes(planes["alpha_y"], step)
    smooth = _smooth(axx + ayy)
    curl = _scatter((axy - ayx)[smooth]) / max(
        _scatter(np.concatenate([(axx - ayy)[smooth], (axy + ayx)[smooth]])), 1e-300
    )
    slopes = {"slope_x": math.nan, "slope_y": math.nan, "slope_g1": math.nan, "slope_g2": math.nan}
    if "kappa" in planes:
        inner = planes["kappa"][1:-1, 1:-1]
        good = smooth & np.isfinite(inner)
        # Near the middle both derivatives are alike; the two slopes separate where the shear is strong.
        columns = np.stack([axx[good] / 2, ayy[good] / 2], axis=1)
        slopes["slope_x"], slopes["slope_y"] = (float(v) for v in np.linalg.lstsq(columns, inner[good], rcond=None)[0])
    for key, shear, plane in (("slope_g1", (axx - ayy) / 2, "gamma1"), ("slope_g2", (axy + ayx) / 2, "gamma2")):
        if plane in planes:
            given = planes[plane][1:-1, 1:-1]
            good = smooth & np.isfinite(given)
            slopes[key] = float(np.sum(given[good] * shear[good]) / max(np.sum(shear[good] ** 2), 1e-300))
    text = _verdict(slopes, curl, step, float(np.median((axx + ayy)[smooth])))
    return MapCheck(ok=not text, text=text or "deflection, convergence and shear agree", curl=curl, **slopes)


def _verdict(slopes: dict[str, float], curl: float, step: float, divergence: float) -> str:
    """Return what is wrong, empty where nothing is."""
    sx, sy = slopes["slope_x"], slopes["slope_y"]
    if math.isnan(sx):
        if divergence < 0:
            return "the deflection diverges the wrong way; change sign= from 'pixel' to 'pixel-reversed', or back"
        if curl > _TOLERANCE * 5:
            return _FLIPPED
        return ""
    found = f"(slope of kappa on the derivative of the deflection: {sx:.4g} along x, {sy:.4g} along y)"
    if _near(sx, -sy) and not _near(sx, sy):
        return f"{_FLIPPED} {found}"
    if not _near(sx, sy):
        return f"the two axes of the deflection do not belong to the same lens as kappa {found}; check the files"
    slope = 0.5 * (sx + sy)
    if slope < 0:
        return f"the deflection is reversed {found}; change sign= from 'pixel' to 'pixel-reversed', or back"
    if not _near(slope, 1.0):
        if _near(slope, step):
            return f"the deflection is in pixels, not in arcsec {found}; read with unit='pixel'"
        if _near(slope, 1.0 / step):
            return f"the deflection is in arcsec, not in pixels {found}; read with unit='arcsec'"
        return f"kappa and deflection have different normalisations {found}; give maps of one normalisation"
    if curl > _TOLERANCE * 5:
        return f"the deflection has a curl, {curl:.2g} of its shear; check that alpha_x and alpha_y are not swapped"
    if not math.isnan(slopes["slope_g2"]) and _near(slopes["slope_g2"], -1.0):
        return "gamma2 has the opposite sign of that of the deflection; change gamma2_sign= from 1 to -1, or back"
    for key, name in (("slope_g1", "gamma1"), ("slope_g2", "gamma2")):
        if not math.isnan(slopes[key]) and abs(slopes[key] - 1.0) > 5 * _TOLERANCE:
            return f"{name} does not agree with the deflection (slope {slopes[key]:.4g}); check its sign and file"
    return ""


_FLIPPED = (
    "one axis of the deflection is flipped: East and the pixels' x are confused; change sign= from 'pixel' to 'east', "
    "or back"
)


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= _TOLERANCE * max(abs(a), abs(b))


def _window(plane: Any) -> FloatArray:
    """Return the middle of a map."""
    ny, nx = plane.shape
    j, i = max((ny - _WINDOW) // 2, 0), max((nx - _WINDOW) // 2, 0)
    return np.asarray(plane[j : j + _WINDOW, i : i + _WINDOW], dtype=np.float64)


def _slopes(plane: FloatArray, step: float) -> tuple[FloatArray, FloatArray]:
    """Return central differences along x and y, without the outermost pixels."""
    return (plane[1:-1, 2:] - plane[1:-1, :-2]) / (2 * step), (plane[2:, 1:-1] - plane[:-2, 1:-1]) / (2 * step)


def _smooth(divergence: FloatArray) -> Any:
    """Return the pixels where a map changes little from one to the next: the smoother two thirds."""
    rough = np.full(divergence.shape, np.inf)
    around = divergence[:-2, 1:-1] + divergence[2:, 1:-1] + divergence[1:-1, :-2] + divergence[1:-1, 2:]
    rough[1:-1, 1:-1] = np.abs(divergence[1:-1, 1:-1] - around / 4)
    rough[~np.isfinite(rough)] = np.inf
    known = np.isfinite(rough)
    return known & (rough <= np.quantile(rough[known], 0.67)) if known.any() else known


def _scatter(values: FloatArray) -> float:
    """Return a standard deviation that a few wild pixels do not move."""
    return float(1.4826 * np.median(np.abs(values))) if values.size else math.nan
