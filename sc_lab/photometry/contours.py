"""Fluxes of whole galaxies: the light in a contour on PSF-matched bands, minus the local background."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable
from scipy import ndimage, signal

from sc_lab.errors import InputError, ScLabError
from sc_lab.images.correlation import noise_factor
from sc_lab.images.footprint import contour_box, polygon_coverage
from sc_lab.images.galaxy import Galaxy
from sc_lab.units import FloatArray, value_in

__all__ = ["ContourFlag", "contour_photometry", "empty_apertures"]

#: Fewest pixels of an annulus that make a background.
_FEWEST_PIXELS = 30

#: Points per side of a pixel at which a contour is sampled.
_SUBPIXELS = 5

#: Error of a median over that of a mean, for normal noise.
_MEDIAN_ERROR = 1.2533

_MAD_TO_STD = 1.482602218505602

#: Side of the part of a mosaic that is searched for empty places [px].
_SKY_BOX = 1200


class ContourFlag(IntFlag):
    """What should be known about the flux of a galaxy; the sum of these numbers is in ``flags_<band>``."""

    #: Nothing to say.
    NONE = 0
    #: Part of the contour has no usable pixel; its light is missing from the sum.
    INCOMPLETE = 1
    #: The annulus has too few free pixels; no background was subtracted.
    NO_BACKGROUND = 2
    #: The band was not brought to a common PSF.
    NOT_MATCHED = 4
    #: The error comes from the scatter in the annulus, because the band has no error map.
    NO_ERROR_MAP = 8
    #: The contour lies outside the band.
    OUTSIDE = 16


def contour_photometry(
    field: Any,
    galaxy: Galaxy | Sequence[Galaxy],
    *,
    bands: Sequence[str] | None = None,
    matched_to: Any = None,
    gap: u.Quantity = 0.1 * u.arcsec,
    width: u.Quantity = 0.5 * u.arcsec,
    background: str = "median",
    n_empty: int = 0,
    rng: np.random.Generator | int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> QTable:
    """Measure the flux of galaxies inside their contours.

    Parameters
    ----------
    field : Field
        The images; contours of its other galaxies are left out of the background.
    galaxy : Galaxy or sequence of Galaxy
        What to measure.
    bands : sequence of str, optional
        Bands; None takes all.
    matched_to : str, Psf, 'none' or None
        Band or PSF that all bands are brought to by convolution before the sum. None takes the broadest PSF where
        every band has one, and the images as they are (already matched, it is hoped) where not.
    gap : `~astropy.units.Quantity`
        Distance of the background annulus from the contour.
    width : `~astropy.units.Quantity`
        Width of the annulus.
    background : {'median', 'none'}
        Median of the annulus after masking sources, or nothing.
    n_empty : int
        Number of empty places at which the same contour is measured to learn the noise of the sum; 0 leaves that out.
    rng : numpy.random.Generator or int, optional
        Random numbers for the empty places.
    progress : callable, optional
        Called with the number of galaxies done and their total.
    cancel : object with ``is_set()``, optional
        When set, the run stops.

    Returns
    -------
    QTable
        One row a galaxy: id, system, image, z, ra, dec, area, and for each band in lower case: flux_<band> [nJy],
        flux_<band>_err (correlated noise and background included), flux_<band>_err_white (the error map in quadrature
        alone), flux_<band>_err_empty (scatter at empty places, NaN where not measured), background_<band> [nJy per
        pixel], noise_factor_<band>, covered_<band> (fraction of the contour with pixels), flags_<band>.

    Raises
    ------
    InputError
        If a band, contour or option cannot be used.
    ScLabError
        If the run was cancelled.

    Notes
    -----
    Claeyssens et al. 2026, section 3.1.1: sum in the contour minus an annulus with other sources masked, error the
    quadrature sum of the error array. In drizzled or convolved images neighbouring pixels share their noise, and that
    sum is too small by ``noise_factor``: sqrt(sum_ij s_i s_j rho_ij / sum_i s_i^2), from the autocorrelation of blank
    sky. A convolution adds its own correlation; errors are then those whose squares still add up over a contour, and
    the autocorrelation is that of the image before. Pixels on the rim count by the fraction that the contour covers.
    """
    galaxies = (galaxy,) if isinstance(galaxy, Galaxy) else tuple(galaxy)
    names = tuple(field.names) if bands is None else tuple(str(each).upper() for each in bands)
    if background not in {"median", "none"}:
        msg = f"background is {background!r}; choose 'median' or 'none'"
        raise InputError(msg)
    inner, outer = float(value_in(gap, u.arcsec, "gap")), float(value_in(width, u.arcsec, "width"))
    if not (inner >= 0 and outer > 0):
        msg = f"gap is {gap} and width {width}; give angles of at least zero, the width greater than zero"
        raise InputError(msg)
    if n_empty < 0:
        msg = f"n_empty is {n_empty}; give a number of places of at least 0"
        raise InputError(msg)
    generator = np.random.default_rng(rng)
    matched, target = _matched(field, names, matched_to)
    columns: dict[str, list[float]] = {}
    for done, each in enumerate(galaxies):
        if cancel is not None and cancel.is_set():
            msg = f"the photometry was cancelled after {done} of {len(galaxies)} galaxies; nothing of it is kept"
            raise ScLabError(msg)
        others = [other for other in field.galaxies if other.id != each.id]
        shapes = _Shapes.of(each, others, inner, outer)
        for name in names:
            measured = _measure(matched[name], shapes, field[name].noise_correlation, background, n_empty, generator)
            flags = int(measured.flags)
            if target is None and len(names) > 1:
                flags |= int(ContourFlag.NOT_MATCHED)
            for key, value in (
                ("flux_{}", measured.flux),
                ("flux_{}_err", measured.error),
                ("flux_{}_err_white", measured.white),
                ("flux_{}_err_empty", measured.empty),
                ("background_{}", measured.level),
                ("noise_factor_{}", measured.factor),
                ("covered_{}", measured.covered),
                ("flags_{}", flags),
            ):
                columns.setdefault(key.format(name.lower()), []).append(value)
        if progress is not None:
            progress(done + 1, len(galaxies))
    table = QTable()
    table["id"] = np.array([each.id for each in galaxies], dtype=str)
    table["system"] = np.array([each.system for each in galaxies], dtype=str)
    table["image"] = np.array([each.image for each in galaxies], dtype=str)
    table["z"] = np.array([each.z for each in galaxies], dtype=np.float64)
    centres = np.array([each.centre for each in galaxies], dtype=np.float64).reshape(-1, 2)
    table["ra"], table["dec"] = centres[:, 0] * u.deg, centres[:, 1] * u.deg
    table["area"] = np.array([each.area.to_value(u.arcsec**2) for each in galaxies], dtype=np.float64) * u.arcsec**2
    for key, values in columns.items():
        if key.startswith("flags_"):
            table[key] = np.array(values, dtype=np.int64)
        elif key.startswith(("flux_", "background_")):
            table[key] = np.array(values, dtype=np.float64) * u.nJy
        else:
            table[key] = np.array(values, dtype=np.float64)
    table.meta["contour_photometry"] = {
        "bands": list(names),
        "matched_to": target,
        "gap_arcsec": inner,
        "width_arcsec": outer,
        "background": background,
        "n_empty": int(n_empty),
    }
    return table


def empty_apertures(
    data: Any,
    footprint: Any,
    *,
    annulus: Any = None,
    mask: Any = None,
    n: int = 200,
    min_free: float = 0.9,
    rng: np.random.Generator | int | None = None,
) -> FloatArray:
    """Return the sums of a footprint at random empty places of an image.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Image; NaN where there is no value.
    footprint : array_like, shape (h, w)
        Weight of each pixel in the sum.
    annulus : array_like of bool, shape (h, w), optional
        Pixels around it whose median is the local background.
    mask : array_like of bool, shape (ny, nx), optional
        True where a source is.
    n : int
        Number of places.
    min_free : float
        Least fraction of the footprint that must be free of sources; sums are scaled to the whole footprint.
    rng : numpy.random.Generator or int, optional
        Random numbers.

    Returns
    -------
    ndarray, shape (m,)
        At most ``n`` sums; empty where no place is free.

    Raises
    ------
    InputError
        If the footprint has no weight.
    """
    generator = np.random.default_rng(rng)
    image = np.asarray(data, dtype=np.float64)
    weight = np.asarray(footprint, dtype=np.float64)
    if not weight.sum() > 0:
        msg = "the footprint has no weight; give a contour that covers at least part of a pixel"
        raise InputError(msg)
    free = np.isfinite(image)
    if mask is not None:
        free &= ~np.asarray(mask, dtype=bool)
    h, w = weight.shape
    if image.shape[0] < h or image.shape[1] < w:
        return np.empty(0)
    # Share of the footprint that is free, for every place at once.
    share = signal.oaconvolve(free.astype(np.float64), weight[::-1, ::-1], mode="valid") / weight.sum()
    rows, columns = np.nonzero(share >= min_free - 1e-9)
    if not len(rows):
        return np.empty(0)
    ring = None if annulus is None else np.asarray(annulus, dtype=bool)
    chosen = generator.choice(len(rows), size=min(n, len(rows)), replace=False)
    sums = []
    for k in chosen.tolist():
        place = np.s_[rows[k] : rows[k] + h, columns[k] : columns[k] + w]
        good = free[place]
        values = np.where(good, image[place], 0.0)
        level = 0.0
        if ring is not None:
            around = values[ring & good]
            if len(around) < _FEWEST_PIXELS:
                continue
            level = float(np.median(around))
        used = weight * good
        sums.append((float((used * values).sum()) - level * float(used.sum())) * float(weight.sum() / used.sum()))
    return np.array(sums)


# ---- inside -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shapes:
    """A contour, the rims of its annulus and what must be left out, as polygons on the sky."""

    contour: FloatArray
    inner: tuple[FloatArray, ...]
    outer: tuple[FloatArray, ...]
    others: tuple[FloatArray, ...]
    known: dict[bytes, tuple[FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = dataclasses.field(
        default_factory=dict
    )

    def on_pixels(
        self, band: Any, x0: int, y0: int, nx: int, ny: int
    ) -> tuple[FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return the weight of the contour, the annulus, and what other galaxies take, on a cut-out's pixels."""
        everything = np.vstack([self.contour, *self.inner, *self.outer, *self.others])
        pixels = np.stack(band.to_pixel(everything[:, 0], everything[:, 1]), axis=1)
        # Bands on one grid share what was worked out for the first of them.
        key = np.round(pixels, 6).tobytes() + bytes(f"{x0} {y0} {nx} {ny}", "ascii")
        if key not in self.known:
            sizes = [len(each) for each in (self.contour, *self.inner, *self.outer, *self.others)]
            parts = iter(np.split(pixels, np.cumsum(sizes)[:-1]))

            def covered(n: int, subpixels: int = 1) -> FloatArray:
                # Outlines of one shape: an even number of them around a pixel means a hole.
                total = np.zeros((ny, nx))
                for _ in range(n):
                    total = np.abs(total - polygon_coverage(next(parts), x0, y0, nx, ny, subpixels=subpixels))
                return total

            weight = covered(1, _SUBPIXELS)
            ring = covered(len(self.inner)) < 0.5
            ring &= covered(len(self.outer)) > 0.5
            taken = np.zeros((ny, nx), dtype=bool)
            for _ in self.others:
                taken |= covered(1) > 0.5
            self.known[key] = (weight, ring, taken)
        return self.known[key]

    @classmethod
    def of(cls, galaxy: Galaxy, others: Sequence[Galaxy], gap: float, width: float) -> _Shapes:
        origin = galaxy.contour[0]
        near = galaxy.polygon.buffer(gap, quad_segs=4)
        far = near.buffer(width, quad_segs=4)
        reach = math.hypot(far.bounds[2] - far.bounds[0], far.bounds[3] - far.bounds[1])
        close = tuple(other.contour for other in others if _apart(other.contour[0], origin) < reach + _radius(other))
        return cls(galaxy.contour, _rings(near, origin), _rings(far, origin), close)


def _apart(a: FloatArray, b: FloatArray) -> float:
    """Return the distance of two places [arcsec]."""
    east = ((a[0] - b[0] + 180.0) % 360.0 - 180.0) * math.cos(math.radians(b[1]))
    return math.hypot(east, a[1] - b[1]) * 3600.0


def _radius(galaxy: Galaxy) -> float:
    """Return a length that no vertex is farther from the first one [arcsec]."""
    west, south, east, north = galaxy.polygon.bounds
    return math.hypot(east - west, north - south)


def _rings(shape: Any, origin: FloatArray) -> tuple[FloatArray, ...]:
    """Return outlines of a shape in arcsec as (ra, dec)."""
    out = []
    for part in getattr(shape, "geoms", [shape]):
        for ring in (part.exterior, *part.interiors):
            xy = np.asarray(ring.coords)[:-1]
            ra = origin[0] + xy[:, 0] / (3600.0 * math.cos(math.radians(origin[1])))
            out.append(np.stack([ra % 360.0, origin[1] + xy[:, 1] / 3600.0], axis=1))
    return tuple(out)


@dataclass(frozen=True)
class _Measured:
    """The flux of one galaxy in one band."""

    flux: float = math.nan
    error: float = math.nan
    white: float = math.nan
    empty: float = math.nan
    level: float = math.nan
    factor: float = math.nan
    covered: float = 0.0
    flags: ContourFlag = ContourFlag.NONE


def _measure(
    band: Any,
    shapes: _Shapes,
    correlation: FloatArray | None,
    background: str,
    n_empty: int,
    rng: np.random.Generator,
) -> _Measured:
    """Measure one galaxy in one band, whose noise is correlated as the band's own before any convolution."""
    x0, y0, nx, ny = contour_box(band, shapes.outer[0], margin=2)
    if nx == 0 or ny == 0:
        return _Measured(flags=ContourFlag.OUTSIDE)
    flags = ContourFlag.NONE
    data, error = band.cutout(x0, y0, nx, ny)

    weight, ring, taken = shapes.on_pixels(band, x0, y0, nx, ny)
    wanted = float(weight.sum())
    if wanted <= 0:
        return _Measured(flags=ContourFlag.OUTSIDE)
    has_errors = bool((np.isfinite(error) & (error > 0)).any())
    usable = np.isfinite(data)
    if has_errors:
        usable &= np.isfinite(error) & (error > 0)
    # The contour's area on the sky, also where it leaves the mosaic.
    full = _polygon_area(np.stack(band.to_pixel(shapes.contour[:, 0], shapes.contour[:, 1]), axis=1))
    share = float((weight * usable).sum()) / max(wanted, full)
    if share < 1 - 2e-2 or not usable[weight > 0.5].all():
        flags |= ContourFlag.INCOMPLETE
    if share <= 0:
        return _Measured(flags=flags)
    free = _free_of_sources(data, ring & usable & ~taken)
    n_ring = int(free.sum())
    scatter = _MAD_TO_STD * float(np.median(np.abs(data[free] - np.median(data[free])))) if n_ring else math.nan
    sigma = np.where(usable, error, 0.0) if has_errors else np.where(usable, scatter, 0.0)
    if not has_errors:
        flags |= ContourFlag.NO_ERROR_MAP
    level, level_error = 0.0, 0.0
    if background == "median":
        if n_ring < _FEWEST_PIXELS:
            flags |= ContourFlag.NO_BACKGROUND
        else:
            level = float(np.median(data[free]))
            level_error = _MEDIAN_ERROR * scatter * math.sqrt(n_ring) * noise_factor(free.astype(float), correlation)
            level_error /= n_ring
    used = weight * usable
    flux = float((used * np.where(usable, data, 0.0)).sum()) - level * float(used.sum())
    white = math.sqrt(float(((used * sigma) ** 2).sum()))
    factor = noise_factor(used * sigma, correlation)
    total = math.hypot(white * factor, level_error * float(used.sum()))
    empty = math.nan
    if n_empty:
        empty = _empty_scatter(band, weight, ring if background == "median" else None, n_empty, rng, x0, y0)
    return _Measured(flux, total, white, empty, level, factor, share, flags)


def _polygon_area(points: FloatArray) -> float:
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def _free_of_sources(data: FloatArray, candidates: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the candidates that no source touches: what stands out after smoothing, and its rim, is left out."""
    free = candidates.copy()
    if int(free.sum()) < _FEWEST_PIXELS:
        return free
    values = np.where(candidates, data, 0.0)
    reach = ndimage.uniform_filter(candidates.astype(np.float64), 3, mode="constant")
    reach[~candidates] = 1.0
    for _ in range(5):
        # The smoothed image of blank sky scatters symmetrically; sources only raise it. So its lower half is the noise.
        level = np.where(candidates, values - float(np.median(values[free])), 0.0)
        smooth = np.where(candidates, ndimage.uniform_filter(level, 3, mode="constant") / reach, 0.0)
        below = smooth[free & (smooth < 0)]
        if len(below) < 5:
            break
        spread = _MAD_TO_STD * float(np.median(-below))
        keep = candidates & ~ndimage.binary_dilation(np.abs(smooth) > 3.0 * spread, iterations=1)
        if int(keep.sum()) < _FEWEST_PIXELS or np.array_equal(keep, free):
            break
        free = keep
    return free


def _empty_scatter(
    band: Any,
    weight: FloatArray,
    ring: npt.NDArray[np.bool_] | None,
    n: int,
    rng: np.random.Generator,
    x0: int,
    y0: int,
) -> float:
    """Return the scatter of the contour's sum at empty places: of the band's sky frame, else around the galaxy."""
    data = _sky_frame(band)
    if data is None:
        ny, nx = band.shape
        xa, ya = max(0, min(x0 - _SKY_BOX // 2, nx - _SKY_BOX)), max(0, min(y0 - _SKY_BOX // 2, ny - _SKY_BOX))
        data, error = band.cutout(xa, ya, min(_SKY_BOX, nx - xa), min(_SKY_BOX, ny - ya))
        usable = np.isfinite(error) & (error > 0)
        if usable.any():
            data = np.where(usable, data, np.nan)
    if not np.isfinite(data).any():
        return math.nan
    mask = _sources(data)
    sums = empty_apertures(data, weight, annulus=ring, mask=mask, n=n, rng=rng)
    if len(sums) < 10:
        return math.nan
    return float(_MAD_TO_STD * np.median(np.abs(sums - np.median(sums))))


def _sky_frame(band: Any) -> FloatArray | None:
    """Return the blank sky that belongs to a band [nJy per pixel], where the field was given one."""
    sources = getattr(band, "sources", None)
    if sources is None:
        return None
    sky = sources[3]
    if sky is None:
        return None
    ny, nx = sky.shape
    return np.asarray(sky.read(0, min(ny, _SKY_BOX), 0, min(nx, _SKY_BOX)), dtype=np.float64) * float(band.to_njy)


def _sources(data: FloatArray) -> npt.NDArray[np.bool_]:
    """Return where sources are, with a rim of three pixels."""
    good = np.isfinite(data)
    values = np.where(good, data, 0.0)
    smooth = ndimage.gaussian_filter(values, 1.5)
    middle = float(np.median(smooth[good]))
    below = smooth[good & (smooth < middle)]
    if not len(below):
        return np.zeros(data.shape, dtype=bool)
    spread = _MAD_TO_STD * float(np.median(middle - below))
    return np.asarray(ndimage.binary_dilation(good & (smooth > middle + 4 * spread), iterations=3))


def _matched(field: Any, names: Sequence[str], matched_to: Any) -> tuple[Any, str | None]:
    """Return the field with its bands at one PSF, and what they are matched to; the field itself where nothing is."""
    if isinstance(matched_to, str) and matched_to.lower() == "none":
        return field, None
    if matched_to is None:
        if len(names) < 2 or any(field[name].psf is None for name in names):
            return field, None
        matched_to = max(names, key=lambda name: float(field[name].psf.fwhm))
    from sc_lab.images import match_psf

    target = str(matched_to).upper() if isinstance(matched_to, str) else (matched_to.band or "PSF")
    return match_psf(field, matched_to, bands=names, errors="aperture"), target
