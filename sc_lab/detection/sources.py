"""Peaks in one image: the source extractor after host removal, or a zero-mean matched template."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import Table
from scipy import ndimage

from sc_lab.detection.flags import DetectionFlag
from sc_lab.detection.host import subtract_host
from sc_lab.detection.template import matched_snr, peak_template, template_snr
from sc_lab.errors import InputError
from sc_lab.images.correlation import noise_factor
from sc_lab.units import FloatArray

__all__ = ["DEFAULT_THRESHOLDS", "DETECTION_METHODS", "find_peaks", "measured_noise"]

#: What ``method=`` may be.
DETECTION_METHODS = ("segments", "template")

#: Threshold where none is given: sigma per pixel of the smoothed image, and sigma of the matched template.
DEFAULT_THRESHOLDS = {"segments": 1.5, "template": 5.0}

#: Smooths the image before it is cut at the threshold.
_KERNEL = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])

_MASK_REACH = 3
_EDGE_REACH = 5

#: Median absolute deviation to standard deviation of a normal distribution.
_MAD_TO_STD = 1.482602218505602


def find_peaks(
    data: Any,
    error: Any = None,
    *,
    psf: Any = None,
    pixel_scale: float | None = None,
    mask: Any = None,
    method: str = "segments",
    threshold: float | None = None,
    host: str = "median",
    host_size: int = 21,
    noise: str = "map",
    correlation: Any = None,
    min_area: int = 5,
    deblend_levels: int = 64,
    deblend_contrast: float = 0.005,
    template_std: float = 0.0,
    min_separation: float = 2.0,
) -> Table:
    """Return the compact peaks of one image.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Image [nJy per pixel], host included; NaN where there is no value.
    error : array_like, shape (ny, nx), optional
        One standard deviation per pixel; not finite or not positive where a pixel cannot be used.
        None, or an image without any usable value, measures it from the image.
    psf : Psf or array_like, optional
        For the S/N and the template; None uses a Gaussian of 2.9 pixels.
    pixel_scale : float, optional
        Arcsec per pixel of the image, to which a Psf is resampled.
    mask : array_like of bool, shape (ny, nx), optional
        True where a pixel must not be used.
    method : {'segments', 'template'}
        Source extraction on the host-subtracted image, or peaks of a zero-mean template on the image itself.
    threshold : float, optional
        In standard deviations; None is 1.5 (per pixel) for segments and 5 (of the template) for template.
    host : {'median', 'mesh', 'none'}
        How segments remove the host; the template needs no removal.
    host_size : int
        Window of the median or cell of the mesh [px].
    noise : {'map', 'measured'}
        The error as given, or scaled so that it agrees with the scatter of the image's empty pixels.
    correlation : array_like, shape (2 k + 1, 2 k + 1), optional
        Autocorrelation of the noise, 1 in the middle, as `Band.noise_correlation`. Where neighbouring pixels share
        their noise, smoothing does not lower it as much: the threshold rises and the S/N falls accordingly. None
        means independent pixels.
    min_area : int
        Fewest connected pixels of a segment.
    deblend_levels : int
        Levels at which a segment is looked at for several peaks.
    deblend_contrast : float
        Fraction of a segment's flux that a peak must hold to count as one of several.
    template_std : float
        Width of the clump that the template looks for, before the PSF [px].
    min_separation : float
        Template peaks closer than this to a higher one are dropped [px].

    Returns
    -------
    Table
        One row a peak, by decreasing S/N: x, y (pixels, refined by a parabola through the
        smoothed peak), snr (matched filter on the PSF), flux (of a point source there),
        peak (host-subtracted), n_pixels (0 for template), flags (`DetectionFlag`).

    Raises
    ------
    InputError
        If an option is unknown or a shape does not fit.

    Notes
    -----
    The place is that of the highest smoothed pixel, not the isophotal barycentre, which leftovers of the
    host drag along. ``meta["noise_ratio"]`` is the scatter of empty pixels over the error map: far
    from 1, the map is not the noise of the pixels.
    """
    if method not in DETECTION_METHODS:
        msg = f"method is {method!r}; choose one of {', '.join(DETECTION_METHODS)}"
        raise InputError(msg)
    if noise not in {"map", "measured"}:
        msg = f"noise is {noise!r}; choose 'map' or 'measured'"
        raise InputError(msg)
    limit = DEFAULT_THRESHOLDS[method] if threshold is None else _number(threshold, "threshold")
    for name, value, least, most in (
        ("min_area", min_area, 1, math.inf),
        ("deblend_levels", deblend_levels, 1, math.inf),
        ("deblend_contrast", deblend_contrast, 0, 1),
        ("template_std", template_std, 0, math.inf),
        ("host_size", host_size, 1, math.inf),
    ):
        if not least <= _number(value, name) <= most:
            msg = f"{name} is {value}; give a number of at least {least}" + (
                f" and at most {most}" if most == 1 else ""
            )
            raise InputError(msg)
    if not (limit > 0 and math.isfinite(limit)):
        msg = f"threshold is {threshold}; give a number of standard deviations greater than zero"
        raise InputError(msg)
    image = np.array(data, dtype=np.float64, order="C")
    if image.ndim != 2:
        msg = f"data has {image.ndim} dimensions; give an image (ny, nx)"
        raise InputError(msg)
    bad = ~np.isfinite(image)
    for name, other in (("error", error), ("mask", mask)):
        if other is not None and np.shape(other) != image.shape:
            msg = f"{name} has the shape {np.shape(other)}, the image {image.shape}; they must agree"
            raise InputError(msg)
    if mask is not None:
        bad |= np.asarray(mask, dtype=bool)
    sigma = None
    if error is not None:
        sigma = np.array(error, dtype=np.float64, order="C")
        usable = np.isfinite(sigma) & (sigma > 0)
        if usable.any():
            bad |= ~usable
        else:
            sigma = None
    if bad.all():
        return _empty()
    image[bad] = np.nan
    flat = subtract_host(image, method=host, size=host_size)
    bad |= ~np.isfinite(flat)
    if bad.all():
        return _empty()
    scatter = measured_noise(flat[~bad], None if sigma is None else sigma[~bad])
    if sigma is None:
        sigma = np.full(image.shape, scatter if scatter > 0 else np.inf)
        bad |= ~np.isfinite(sigma)
        ratio = math.nan
    else:
        ratio = scatter
        if noise == "measured" and ratio > 0:
            sigma = sigma * ratio
    with np.errstate(divide="ignore"):
        weight = np.where(bad, 0.0, 1.0 / sigma**2)
    template = peak_template(psf, pixel_scale=pixel_scale)
    if method == "segments":
        raised = limit * noise_factor(_KERNEL, correlation)
        found, smooth = _segments(flat, sigma, bad, raised, min_area, deblend_levels, deblend_contrast)
    else:
        shape = peak_template(psf, pixel_scale=pixel_scale, std=template_std) if template_std > 0 else template
        raised = limit * noise_factor(shape - shape.mean(), correlation)
        found, smooth = _template_peaks(image, weight, shape, raised, min_separation)
    x, y, n_pixels, bits = found
    snr, flux = matched_snr(flat, weight, template, x, y)
    snr = snr / noise_factor(template, correlation)
    reach = ndimage.maximum_filter(bad, size=2 * _MASK_REACH + 1, mode="constant", cval=False)
    bits = bits | np.where(reach[y, x], int(DetectionFlag.NEAR_MASKED), 0)
    ny, nx = image.shape
    rim = np.minimum.reduce([x, y, nx - 1 - x, ny - 1 - y]) < _EDGE_REACH
    bits = bits | np.where(rim, int(DetectionFlag.NEAR_EDGE), 0)
    dx, dy = _refined(smooth, x, y)
    table = Table(
        {
            "x": x + dx,
            "y": y + dy,
            "snr": snr,
            "flux": flux,
            "peak": flat[y, x],
            "n_pixels": n_pixels.astype(np.int64),
            "flags": bits.astype(np.int64),
        }
    )
    table = table[np.argsort(-snr, kind="stable")]
    table.meta["noise_ratio"] = ratio
    return table


def _number(value: Any, name: str) -> float:
    """Return an option as a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        msg = f"{name} is {value!r}; give a number"
        raise InputError(msg) from None


def measured_noise(data: FloatArray, error: FloatArray | None = None) -> float:
    """Return the scatter of an image's empty pixels.

    Parameters
    ----------
    data : ndarray
        Pixels without their host; all of them finite.
    error : ndarray, optional
        Their errors; the scatter is then that of ``data / error``.

    Returns
    -------
    float
        Standard deviation from the median absolute deviation of the pixels below the median, which
        sources hardly reach; NaN without pixels.
    """
    values = data if error is None else data / error
    if not values.size:
        return math.nan
    middle = float(np.median(values))
    below = values[values <= middle]
    return float(_MAD_TO_STD * np.median(middle - below))


def _empty() -> Table:
    table = Table(
        {
            **{name: np.empty(0) for name in ("x", "y", "snr", "flux", "peak")},
            **{name: np.empty(0, dtype=np.int64) for name in ("n_pixels", "flags")},
        }
    )
    table.meta["noise_ratio"] = math.nan
    return table


_Found = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _segments(
    flat: FloatArray,
    sigma: FloatArray,
    bad: npt.NDArray[np.bool_],
    limit: float,
    min_area: int,
    levels: int,
    contrast: float,
) -> tuple[_Found, FloatArray]:
    """Return the peaks of the segments above the threshold, and the smoothed image."""
    import sep

    image = np.where(bad, 0.0, flat)
    # Room for an image that lies above the threshold as a whole; the extractor's own limits suit survey fields.
    sep.set_extract_pixstack(max(sep.get_extract_pixstack(), 3 * image.size))
    sep.set_sub_object_limit(max(sep.get_sub_object_limit(), 8192))
    try:
        found = sep.extract(
            image,
            limit,
            err=np.where(bad, 1.0, sigma),
            mask=bad,
            minarea=min_area,
            filter_kernel=_KERNEL,
            filter_type="conv",
            deblend_nthresh=levels,
            deblend_cont=contrast,
        )
    except Exception as problem:
        # The extractor knows one exception; its buffers overflow where most of the image is above the threshold.
        msg = f"the source extractor gave up ({problem}); raise the threshold or choose a smaller region"
        raise InputError(msg) from problem
    x, y = found["xcpeak"].astype(np.intp), found["ycpeak"].astype(np.intp)
    bits = np.where(found["flag"] & sep.OBJ_MERGED, int(DetectionFlag.BLENDED), 0)
    bits |= np.where(found["flag"] & (sep.OBJ_DOVERFLOW | sep.OBJ_SINGU), int(DetectionFlag.UNSURE_SHAPE), 0)
    smooth = ndimage.correlate(image, _KERNEL / _KERNEL.sum(), mode="constant")
    good = ~bad[y, x]
    return (x[good], y[good], found["npix"][good].astype(np.int64), bits[good].astype(np.int64)), smooth


def _template_peaks(
    image: FloatArray, weight: FloatArray, template: FloatArray, limit: float, min_separation: float
) -> tuple[_Found, FloatArray]:
    """Return the peaks of the template's S/N image above the threshold, and that image."""
    snr, _ = template_snr(image, weight, template)
    filled = np.where(np.isfinite(snr), snr, -np.inf)
    highest = ndimage.maximum_filter(filled, size=3, mode="constant", cval=-np.inf)
    y, x = np.nonzero((filled >= highest) & (filled > limit))
    order = np.argsort(-filled[y, x], kind="stable")
    x, y = x[order], y[order]
    if len(x) > 1 and min_separation > 0:
        from scipy.spatial import cKDTree

        keep = np.ones(len(x), dtype=bool)
        for a, b in cKDTree(np.stack([x, y], axis=1)).query_pairs(min_separation, output_type="ndarray").tolist():
            # Sorted by S/N, so the later one of a pair is the lower one.
            if keep[min(a, b)]:
                keep[max(a, b)] = False
        x, y = x[keep], y[keep]
    none = np.zeros(len(x), dtype=np.int64)
    return (x, y, none, none.copy()), np.where(np.isfinite(snr), snr, 0.0)


def _refined(smooth: FloatArray, x: npt.NDArray[np.intp], y: npt.NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Return the offset of the parabola's top from the highest pixel, within half a pixel."""
    ny, nx = smooth.shape
    offsets = []
    for step in ((0, 1), (1, 0)):
        before = smooth[np.maximum(y - step[0], 0), np.maximum(x - step[1], 0)]
        after = smooth[np.minimum(y + step[0], ny - 1), np.minimum(x + step[1], nx - 1)]
        bend = before + after - 2.0 * smooth[y, x]
        with np.errstate(divide="ignore", invalid="ignore"):
            top = 0.5 * (before - after) / bend
        offsets.append(np.where(bend < 0, np.clip(np.nan_to_num(top), -0.5, 0.5), 0.0))
    return offsets[0], offsets[1]
