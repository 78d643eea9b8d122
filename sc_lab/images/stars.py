"""Stars in a mosaic: proposing isolated, unsaturated ones, and stacking them into its PSF."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from scipy import ndimage

from sc_lab.errors import InputError
from sc_lab.images.psf import Psf, core_centroid, core_sigma, shifted
from sc_lab.units import FloatArray, value_in

if TYPE_CHECKING:
    from sc_lab.images.band import Band
    from sc_lab.images.field import Field

__all__ = ["propose_stars", "psf_from_stars"]

_BLOCK = 1536
_OVERLAP = 48
#: Fewer stars than this make a PSF whose error shows in the sizes of clumps.
_ENOUGH = 5
_CORE_SNR = 30.0
_LOCUS_WIDTH = 1.08


class _Event(Protocol):
    def is_set(self) -> bool: ...


def propose_stars(
    field: Field,
    band: str,
    *,
    n: int = 30,
    min_snr: float = 50.0,
    isolation: float = 1.0,
    max_ellipticity: float = 0.3,
    progress: Callable[[int, int], None] | None = None,
    cancel: _Event | None = None,
) -> QTable:
    """Propose stars for a PSF: bright, round, unsaturated, alone, and as small as the band's point sources.

    Parameters
    ----------
    field : Field
        The field.
    band : str
        Where to look.
    n : int, optional
        Most stars returned, the brightest first.
    min_snr : float, optional
        Least signal-to-noise ratio of the flux.
    isolation : float, optional
        No neighbour with more than 5 % of the star's flux within this distance [arcsec].
    max_ellipticity : float, optional
        Largest 1 - b/a.
    progress : callable, optional
        Called with (done, total) blocks.
    cancel : object with ``is_set``, optional
        Stops the search; what was found so far is returned.

    Returns
    -------
    QTable
        ra, dec [deg], x, y [px], flux [nJy], snr, r50 (half-light radius), ellipticity, neighbour (distance to the
        nearest one that counts), one row per star.

    Notes
    -----
    Point sources share one half-light radius whatever their flux, and nothing is smaller: the smallest radius at
    which bright sources crowd is taken for it, unless the band has a PSF, whose radius is then used.
    """
    image = field[band]
    found = _detected(image, progress, cancel)
    if not len(found["x"]):
        return _star_table(image, found, np.zeros(0, dtype=int), np.zeros(0))
    bright = found["usable"] & (found["snr"] >= min_snr) & (found["ellipticity"] <= max_ellipticity)
    bright &= found["r50"] > 0.4
    radius = _psf_r50(image) if image.psf is not None else _locus(found["r50"][bright])
    if radius is not None:
        bright &= np.abs(found["r50"] / radius - 1) < 0.12
    reach = isolation / image.pixel_scale
    chosen, distances = [], []
    for i in np.flatnonzero(bright):
        away = np.hypot(found["x"] - found["x"][i], found["y"] - found["y"][i])
        rivals = (away > 0.5) & (found["flux"] > 0.05 * found["flux"][i])
        nearest = float(away[rivals].min()) if rivals.any() else np.inf
        if nearest > reach:
            chosen.append(i)
            distances.append(nearest * image.pixel_scale)
    order = np.argsort(-found["snr"][chosen])[:n] if chosen else np.zeros(0, dtype=int)
    return _star_table(image, found, np.array(chosen, dtype=int)[order], np.array(distances)[order])


def psf_from_stars(
    field: Field,
    band: str,
    positions: Any,
    *,
    size: int | None = None,
    energy_fraction: float | None = None,
    model: Psf | None = None,
    clip: float = 3.0,
) -> Psf:
    """Stack stars of a mosaic into its effective PSF.

    Parameters
    ----------
    field : Field
        The field.
    band : str
        Band to use.
    positions : SkyCoord, table with ``ra`` and ``dec``, or array_like, shape (n, 2)
        Stars, ICRS [deg]; `propose_stars` proposes some. Five or more make a good PSF.
    size : int, optional
        Side of the stamp, odd [px]; None takes 1.6 arcsec.
    energy_fraction : float, optional
        Share of a star's whole flux inside the stamp. None takes it from ``model``, else 1, and says so.
    model : Psf, optional
        An optical model with a larger stamp, only for its energy inside the new one.
    clip : float, optional
        Pixels of a star further from the mean than this many standard deviations are left out.

    Returns
    -------
    Psf
        Its ``cautions`` name the stars left out and why.

    Raises
    ------
    InputError
        If no star can be used; the sentence says why.

    Notes
    -----
    Each star is freed of its local background, centred by fitting the stack of the others' mean and its gradient,
    moved by cosine interpolation (linear interpolation would widen the PSF by 0.12 px2) and normalised by that
    fit; the clipped mean is weighted by signal-to-noise squared, up to 300 (Claeyssens et al. 2026, section 3.1.2,
    use at least five bright, unsaturated, isolated stars).
    """
    image = field[band]
    ra, dec = _sky_positions(positions)
    side = size if size is not None else 2 * round(0.8 / image.pixel_scale) + 1
    if side % 2 == 0 or side < 9:
        msg = f"size is {side}; a stamp has an odd side of at least 9 pixels"
        raise InputError(msg)
    stars, dropped = [], []
    for i, (a, d) in enumerate(zip(ra, dec, strict=True)):
        star, reason = _star(image, float(a), float(d), side)
        if star is None:
            dropped.append(f"star {i} ({a:.5f}, {d:+.5f}) is left out: {reason}")
        else:
            stars.append(star)
    if not stars:
        msg = f"{image.name}: no star can be used for the PSF; {'; '.join(dropped) or 'none was given'}"
        raise InputError(msg)
    stamp = _stack(stars, clip)
    cautions = [f"{image.name} PSF: {words}" for words in dropped]
    if len(stars) < _ENOUGH:
        cautions.append(f"{image.name} PSF: made of {len(stars)} stars; {_ENOUGH} or more are better")
    fraction = energy_fraction
    if fraction is None and model is not None:
        at_scale = model.resampled(image.pixel_scale)
        fraction = at_scale.trimmed(side).energy_fraction if at_scale.size > side else at_scale.energy_fraction
    elif fraction is None:
        fraction = 1.0
        cautions.append(
            f"{image.name} PSF: all energy is taken to lie inside the stamp; energy_fraction= or model= tell better",
        )
    out = Psf.from_array(
        stamp,
        image.pixel_scale,
        energy_fraction=fraction,
        band=image.name,
        source=f"{len(stars)} stars",
    )
    return Psf(
        out.stamp,
        out.pixel_scale,
        out.energy_fraction,
        1,
        out.band,
        out.source,
        (*cautions, *out.cautions),
    )


# ---- finding -----------------------------------------------------------------------------


def _detected(
    image: Band,
    progress: Callable[[int, int], None] | None,
    cancel: _Event | None,
) -> dict[str, npt.NDArray[Any]]:
    """Detect compact sources block by block, so that memory does not grow with the mosaic."""
    import sep

    ny, nx = image.shape
    corners = [(x, y) for y in range(0, ny, _BLOCK) for x in range(0, nx, _BLOCK)]
    aperture = _aperture(image)
    rows: dict[str, list[Any]] = {key: [] for key in ("x", "y", "flux", "snr", "r50", "ellipticity", "usable")}
    for done, (x0, y0) in enumerate(corners):
        if cancel is not None and cancel.is_set():
            break
        data, error = image.cutout(x0 - _OVERLAP, y0 - _OVERLAP, _BLOCK + 2 * _OVERLAP, _BLOCK + 2 * _OVERLAP)
        inside = np.isfinite(data)
        bad = ~np.isfinite(error)
        if (~bad).sum() >= 100:
            # Smaller meshes would follow the stars themselves.
            filled = np.where(bad, 0.0, data)
            mesh = min(64, data.shape[0], data.shape[1])
            sky = sep.Background(filled, mask=bad, bw=mesh, bh=mesh)
            filled = np.ascontiguousarray(np.where(bad, 0.0, filled - sky.back()))
            sigma = np.where(bad, np.nanmedian(error[~bad]), error)
            objects = sep.extract(filled, 5.0, err=sigma, mask=bad, minarea=5)
            mine = (objects["xcpeak"] >= _OVERLAP) & (objects["xcpeak"] < _OVERLAP + _BLOCK)
            mine &= (objects["ycpeak"] >= _OVERLAP) & (objects["ycpeak"] < _OVERLAP + _BLOCK)
            objects = objects[mine]
            if len(objects):
                x, y = objects["x"], objects["y"]
                flux, flux_error, _ = sep.sum_circle(filled, x, y, aperture, err=sigma, mask=bad)
                r50, _ = sep.flux_radius(filled, x, y, np.full(len(x), aperture), 0.5, normflux=flux, subpix=10)
                rows["x"].append(x + x0 - _OVERLAP)
                rows["y"].append(y + y0 - _OVERLAP)
                rows["flux"].append(flux)
                rows["snr"].append(flux / flux_error)
                rows["r50"].append(r50)
                rows["ellipticity"].append(1 - objects["b"] / objects["a"])
                rows["usable"].append(_unsaturated(data, bad | ~inside, objects))
        if progress is not None:
            progress(done + 1, len(corners))
    return {key: np.concatenate(value) if value else np.zeros(0) for key, value in rows.items()}


def _unsaturated(data: FloatArray, bad: npt.NDArray[np.bool_], objects: Any) -> npt.NDArray[np.bool_]:
    """Tell which sources have a whole core with one summit: saturated ones have holes or a flat top."""
    out = np.ones(len(objects), dtype=bool)
    for i, (x, y) in enumerate(zip(objects["xcpeak"], objects["ycpeak"], strict=True)):
        core = np.s_[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
        values = data[core]
        out[i] = not bad[core].any() and np.count_nonzero(values >= 0.98 * values.max()) <= 4
    return out


def _locus(r50: FloatArray) -> float | None:
    """Return the half-light radius at which bright sources crowd."""
    if r50.size < 3:
        return None
    ordered = np.sort(r50)
    counts = np.searchsorted(ordered, ordered * _LOCUS_WIDTH) - np.arange(ordered.size)
    # Nothing real is smaller than a star: the first crowd counts, even beside a larger one of galaxies.
    start = int(np.argmax(counts >= max(3, 0.35 * counts.max())))
    if counts[start] < 3:
        return None
    return float(np.median(ordered[start : start + counts[start]]))


def _psf_r50(image: Band) -> float | None:
    """Return the half-light radius of the band's PSF in the same aperture [px]."""
    if image.psf is None:
        return None
    import sep

    psf = image.psf.resampled(image.pixel_scale) if image.psf.oversampling > 1 else image.psf
    aperture = _aperture(image)
    stamp = np.array(psf.stamp)  # the C code insists on one that it could write to
    at = np.array([float(psf.size // 2)])
    reach = np.array([min(aperture, psf.size / 2)])
    flux, _, _ = sep.sum_circle(stamp, at, at, reach)
    return float(sep.flux_radius(stamp, at, at, reach, 0.5, normflux=flux, subpix=10)[0][0])


def _aperture(image: Band) -> float:
    """Return the radius within which fluxes of stars are compared [px]."""
    return max(0.4 / image.pixel_scale, 5.0)


def _star_table(
    image: Band,
    found: dict[str, npt.NDArray[Any]],
    rows: npt.NDArray[np.int_],
    distances: FloatArray,
) -> QTable:
    """Return the proposed stars as a table."""
    x, y = found["x"][rows].astype(float), found["y"][rows].astype(float)
    ra, dec = image.to_sky(x, y)
    table = QTable()
    table["ra"], table["dec"] = np.atleast_1d(ra) * u.deg, np.atleast_1d(dec) * u.deg
    table["x"], table["y"] = x * u.pix, y * u.pix
    table["flux"] = found["flux"][rows].astype(float) * u.nJy
    table["snr"] = found["snr"][rows].astype(float)
    table["r50"] = found["r50"][rows].astype(float) * image.pixel_scale * u.arcsec
    table["ellipticity"] = found["ellipticity"][rows].astype(float)
    table["neighbour"] = distances * u.arcsec
    table.meta["band"] = image.name
    return table


# ---- stacking ----------------------------------------------------------------------------


def _sky_positions(positions: Any) -> tuple[FloatArray, FloatArray]:
    """Return ICRS degrees of stars given in any of the usual ways."""
    if isinstance(positions, SkyCoord):
        icrs = positions.icrs
        return np.atleast_1d(icrs.ra.deg), np.atleast_1d(icrs.dec.deg)
    names = getattr(positions, "colnames", None)
    if names is not None:
        if "ra" not in names or "dec" not in names:
            msg = f"the table of stars has the columns {', '.join(names)}; it needs ra and dec (ICRS degrees)"
            raise InputError(msg)
        columns = [value_in(positions[key], u.deg, key) for key in ("ra", "dec")]
        return np.atleast_1d(columns[0]), np.atleast_1d(columns[1])
    array = np.asarray(positions, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        msg = f"positions have the shape {array.shape}; give n pairs of right ascension and declination (ICRS degrees)"
        raise InputError(msg)
    return array[:, 0], array[:, 1]


class _Star:
    """One star without its background, and where it is in its stamp."""

    def __init__(self, data: FloatArray, good: npt.NDArray[np.bool_], x: float, y: float, snr: float) -> None:
        self.data, self.good, self.x, self.y, self.snr = data, good, x, y, snr
        self.flux = float(data[good].sum())


def _star(image: Band, ra: float, dec: float, side: int) -> tuple[_Star | None, str]:
    """Cut out one star, or say why not."""
    x, y = (float(v) for v in image.to_pixel(ra, dec))
    if not (np.isfinite(x) and np.isfinite(y) and -0.5 <= x < image.shape[1] and -0.5 <= y < image.shape[0]):
        return None, "it lies outside the mosaic"
    wide = side + 12
    for _ in range(2):
        x0, y0 = round(x) - wide // 2, round(y) - wide // 2
        data, error = image.cutout(x0, y0, wide, wide)
        good = np.isfinite(data) & np.isfinite(error)
        middle = wide // 2
        near = np.s_[middle - 5 : middle + 6, middle - 5 : middle + 6]
        if not good[near].all():
            return None, "pixels of its core have no usable value (saturated, masked or at the edge)"
        peak = np.unravel_index(int(np.argmax(data[near])), data[near].shape)
        x, y = x0 + middle - 5 + float(peak[1]), y0 + middle - 5 + float(peak[0])
    if good.mean() < 0.9:
        return None, "more than a tenth of its stamp has no usable value"
    x0, y0 = round(x) - wide // 2, round(y) - wide // 2
    data, error = image.cutout(x0, y0, wide, wide)
    good = np.isfinite(data) & np.isfinite(error)
    rows, columns = np.indices(data.shape) - middle
    radius = np.hypot(rows, columns)
    ring = data[good & (radius > side / 2 - 2)]
    for _ in range(5):
        level, spread = np.median(ring), 1.4826 * np.median(np.abs(ring - np.median(ring)))
        kept = ring[np.abs(ring - level) <= 2.5 * spread]
        if kept.size == ring.size or kept.size < 20:
            break
        ring = kept
    data = np.where(good, data - float(np.median(ring)), 0.0)
    core = data[middle - 3 : middle + 4, middle - 3 : middle + 4]
    if np.count_nonzero(core >= 0.98 * core.max()) > 4:
        return None, "its core is flat (saturated)"
    sigma = core_sigma(core)
    inner = radius <= 3 * sigma
    snr = float(data[inner].sum() / np.sqrt((error[inner & good] ** 2).sum()))
    if not snr > _CORE_SNR:
        return None, f"its core has a signal-to-noise ratio of {snr:.0f}, below {_CORE_SNR:.0f}"
    cx, cy = core_centroid(data, (middle, middle), sigma=sigma)
    if np.hypot(cx - middle, cy - middle) > 2:
        return None, "its centre cannot be found"
    return _Star(data, good, cx, cy, snr), ""


def _stack(stars: list[_Star], clip: float) -> FloatArray:
    """Return the clipped, weighted mean of centred stars; they are centred again on the mean twice."""
    wide = stars[0].data.shape[0]
    middle = wide // 2
    rows, columns = np.indices((wide, wide)) - middle
    weights = np.array([min(star.snr, 300.0) ** 2 for star in stars])
    mean = np.zeros((wide, wide))
    for step in range(4):
        centred = np.stack([shifted(star.data, middle - star.x, middle - star.y) / star.flux for star in stars])
        known = np.stack([_good_after_shift(star, middle) for star in stars])
        mean = _clipped_mean(centred, known, weights, clip)
        if step == 3:
            break
        near = np.hypot(rows, columns) <= 3.5 * core_sigma(mean)
        # Central differences of the interpolated mean: exact to second order, enough for a step that is repeated.
        gx = (shifted(mean, 0.05, 0) - shifted(mean, -0.05, 0)) / 0.1
        gy = (shifted(mean, 0, 0.05) - shifted(mean, 0, -0.05)) / 0.1
        design = np.stack([mean[near], gx[near], gy[near], np.ones(int(near.sum()))], axis=1)
        solver = np.linalg.pinv(design)
        for star in stars:
            _refine(star, solver, near)
    # A border was kept for the shifts; the stamp is what lies inside it.
    return np.asarray(mean[6:-6, 6:-6])


def _clipped_mean(
    centred: FloatArray,
    known: npt.NDArray[np.bool_],
    weights: FloatArray,
    clip: float,
) -> FloatArray:
    """Return the weighted mean over stars without the pixels far from the median, which neighbours and hits make."""
    weight = known * weights[:, None, None]
    if len(centred) >= 3:
        hidden = np.where(known, centred, np.nan)
        hidden[:, ~known.any(axis=0)] = 0.0
        middle = np.nanmedian(hidden, axis=0)
        off = np.abs(centred - middle)
        # The noise of a star's pixel, from its own outskirts, and a share of the light for what centring leaves.
        spread = np.array([1.4826 * np.median(o[k]) if k.any() else np.inf for o, k in zip(off, known, strict=True)])
        weight = weight * (off <= clip * (spread[:, None, None] + 0.05 * np.abs(middle)))
    total = weight.sum(axis=0)
    return np.asarray(np.where(total > 0, (weight * centred).sum(axis=0) / np.where(total > 0, total, 1.0), 0.0))


def _good_after_shift(star: _Star, middle: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of a moved star come from usable ones only (within a pixel)."""
    if star.good.all():
        return star.good
    bad = ndimage.binary_dilation(~star.good)
    whole = (round(middle - star.y), round(middle - star.x))
    return np.asarray(~np.roll(bad, whole, axis=(0, 1)))


def _refine(star: _Star, solver: FloatArray, near: npt.NDArray[np.bool_]) -> None:
    """Fit a star's flux, position and background with the mean of all stars."""
    middle = star.data.shape[0] // 2
    for _ in range(3):
        moved = shifted(star.data, middle - star.x, middle - star.y)
        flux, fx, fy, _ = (solver * moved[near]).sum(axis=1)
        if not flux > 0:
            return
        dx, dy = float(np.clip(fx / flux, -0.5, 0.5)), float(np.clip(fy / flux, -0.5, 0.5))
        star.x, star.y, star.flux = star.x + dx, star.y + dy, float(flux)
        if np.hypot(dx, dy) < 1e-4:
            break
