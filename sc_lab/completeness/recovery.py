"""One batch of an injection run: clumps into the pixels of a tile, and what detection and fit make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from sc_lab.completeness.measuring import FitBox, cut_boxes, fit_recovered
from sc_lab.completeness.records import RECORD, Outcome, Records, true_flux, true_shape
from sc_lab.completeness.tiles import Tile
from sc_lab.detection.host import running_median
from sc_lab.detection.sources import find_peaks
from sc_lab.errors import InputError
from sc_lab.photometry.boxes import FREE_FLOOR, PAPER_FLOOR
from sc_lab.photometry.rendering import PsfKernel, make_kernel, render
from sc_lab.units import FloatArray

__all__ = ["Detector", "Recipe", "estimate_gain", "run_batch"]

#: ``detector(data, error, *, psf, pixel_scale)`` returns a table with x and y [px], and optionally snr and flux.
Detector: TypeAlias = Callable[..., Any]

#: Pixels by which a place leaves its node of the grid at most.
_JITTER = 1.0
_BACKGROUND_SIZE = 21


@dataclass(frozen=True, eq=False, kw_only=True)
class Recipe:
    """What is injected and how it is looked for; the same for all batches of a run.

    Attributes
    ----------
    magnitudes, sizes, axis_ratios : tuple of float
        Nodes of the grid: AB magnitude, standard deviation sqrt(std_maj std_min) before the PSF [px], std_min / std_maj.
    spacing : float
        Least distance of two clumps injected at once [px].
    match_radius : float
        Largest distance of a detection from the clump's place [px].
    gain : float
        Electrons per nJy; infinite where clumps bring no noise of their own.
    detection : mapping
        Options of `sc_lab.detection.detect_clumps`.
    detector : callable, optional
        Used instead of it.
    fit : bool
        Whether recovered clumps are fitted.
    mode : {"paper", "full"}
        Whether the fit keeps variances above zero, as the paper, or lets them through it.
    box : int
        Side of the fitted box [px].
    fit_correlation : ndarray, optional
        Autocorrelation of the noise, for the errors of the fit.
    detection_correlation : ndarray, optional
        The same, for the threshold of the detection.
    """

    magnitudes: tuple[float, ...]
    sizes: tuple[float, ...]
    axis_ratios: tuple[float, ...]
    spacing: float = 30.0
    match_radius: float = 2.0
    gain: float = np.inf
    detection: Mapping[str, Any] = field(default_factory=dict)
    detector: Detector | None = None
    fit: bool = True
    mode: str = "paper"
    box: int = 9
    fit_correlation: FloatArray | None = None
    detection_correlation: FloatArray | None = None

    @property
    def pitch(self) -> float:
        """Step of the grid of places [px]."""
        return self.spacing + 2 * _JITTER

    @property
    def half(self) -> int:
        """Half side of the box in which a clump is drawn [px]."""
        widest = max(self.sizes) / np.sqrt(min(self.axis_ratios))
        return int(np.clip(np.ceil(4 * widest) + 10, 16, max(16, self.spacing)))


def run_batch(tile: Tile, recipe: Recipe, seed: tuple[int, int], n_rounds: int) -> Records:
    """Inject clumps into a tile several times and recover them.

    Parameters
    ----------
    tile : Tile
        The pixels; not changed.
    recipe : Recipe
        What to inject and how to look for it.
    seed : tuple of int
        Entropy of the run and number of the batch, from which all its chances come.
    n_rounds : int
        How often the grid of clumps is injected, each time into the image as it was.

    Returns
    -------
    ndarray of `RECORD`
        One row for each clump.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed[0], spawn_key=(seed[1],)))
    places = [_places(tile.allowed, recipe, rng) for _ in range(n_rounds)]
    total = sum(len(each) for each in places)
    out = np.zeros(total, dtype=RECORD)
    for name in RECORD.names or ():
        if RECORD[name].kind == "f":
            out[name] = np.nan
    out["fit_status"] = -1
    if not total:
        return out
    psf = tile.psf
    kernel = _kernel(tile, 2 * recipe.half + 1)
    before = _detected(tile.data, tile.error, psf, tile.pixel_scale, recipe)
    usable = np.isfinite(tile.error) & (tile.error > 0)
    host = running_median(tile.data, size=_BACKGROUND_SIZE, mask=~usable)
    _draw_truth(out, recipe, rng)
    out["x"], out["y"] = np.concatenate(places).T
    out["background"] = host[tuple(np.rint([out["y"], out["x"]]).astype(int))]
    # All clumps of the batch are drawn in one go, and fitted in one go: that is many times faster than round by round.
    images = _drawn(out, kernel, recipe.half)
    boxes: list[FitBox] = []
    start = 0
    for place in places:
        part = slice(start, start + len(place))
        start += len(place)
        data, error = _inject(tile, out[part], images[part], recipe, rng)
        found = _detected(data, error, psf, tile.pixel_scale, recipe)
        _match(out[part], found, before, recipe.match_radius)
        if recipe.fit:
            boxes += cut_boxes(out[part], part.start, data, error, found[:, :2], tile.allowed, recipe.box)
    fit_recovered(
        out,
        boxes,
        lambda side: _kernel(tile, side),
        floor=FREE_FLOOR if recipe.mode == "full" else PAPER_FLOOR,
        noise_correlation=recipe.fit_correlation,
    )
    for name, offset in (("x", tile.x0), ("y", tile.y0)):
        for column in (name, f"{name}_found", f"{name}_fit"):
            out[column] += offset
    return out


def estimate_gain(tile: Tile, *, least: int = 50) -> float:
    """Return electrons per nJy from how the error map grows with brightness.

    Parameters
    ----------
    tile : Tile
        Pixels and errors.
    least : int
        Bright pixels that are needed.

    Returns
    -------
    float
        NaN where there are fewer; infinite where the errors do not grow.

    Notes
    -----
    error^2 = sky^2 + brightness / gain, by the median over pixels ten times brighter than the sky's error.
    """
    good = np.isfinite(tile.data) & np.isfinite(tile.error) & (tile.error > 0)
    if not good.any():
        return np.nan
    data, variance = tile.data[good], tile.error[good] ** 2
    level, sky = np.median(data), np.median(variance)
    bright = data - level > 10 * np.sqrt(sky)
    if bright.sum() < least:
        return np.nan
    slope = float(np.median((variance[bright] - sky) / (data[bright] - level)))
    # A share of the noise below a percent at ten times the sky's error is that of the map's own unevenness.
    return 1.0 / slope if slope > 1e-3 * np.sqrt(sky) else np.inf


def _kernel(tile: Tile, side: int) -> PsfKernel:
    """Return the PSF's Fourier modes for square boxes."""
    stamp = np.ascontiguousarray(tile.stamp)
    described = (tile.stamp_scale, tile.energy_fraction, tile.oversampling, tile.pixel_scale)
    return _known_kernel(stamp.tobytes(), stamp.shape[0], described, side)


@lru_cache(maxsize=4)
def _known_kernel(stamp: bytes, width: int, described: tuple[float, float, int, float], side: int) -> PsfKernel:
    """Return a kernel by the bytes of its stamp, which every tile brings along."""
    from sc_lab.images.psf import Psf

    scale, energy, oversampling, pixel_scale = described
    psf = Psf(np.frombuffer(stamp).reshape(width, width), scale, energy, oversampling)
    return make_kernel(psf, (side, side), pixel_scale=pixel_scale)


def _places(allowed: npt.NDArray[np.bool_], recipe: Recipe, rng: np.random.Generator) -> FloatArray:
    """Return places (x, y) in the tile: a grid with a random origin, each node moved a little."""
    ny, nx = allowed.shape
    origin = rng.uniform(0, recipe.pitch, 2)
    x, y = (np.arange(start, size - 0.5, recipe.pitch) for start, size in zip(origin, (nx, ny), strict=True))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    grid += rng.uniform(-_JITTER, _JITTER, grid.shape)
    pixel = np.rint(grid).astype(int)
    inside = (pixel >= 0).all(axis=1) & (pixel < [nx, ny]).all(axis=1)
    inside[inside] = allowed[pixel[inside, 1], pixel[inside, 0]]
    return np.asarray(grid[inside])


def _draw_truth(out: Records, recipe: Recipe, rng: np.random.Generator) -> None:
    """Give each clump a cell of the grid, all cells as evenly as possible, and an angle."""
    shape = (len(recipe.magnitudes), len(recipe.sizes), len(recipe.axis_ratios))
    n_cells = int(np.prod(shape))
    turns = [rng.permutation(n_cells) for _ in range(-(-len(out) // n_cells))]
    mag, size, ratio = np.unravel_index(np.concatenate(turns)[: len(out)], shape)
    out["mag"] = np.array(recipe.magnitudes)[mag]
    out["size"] = np.array(recipe.sizes)[size]
    out["axis_ratio"] = np.array(recipe.axis_ratios)[ratio]
    out["theta"] = rng.uniform(0, np.pi, len(out))


def _drawn(rows: Records, kernel: PsfKernel, half: int) -> FloatArray:
    """Return images of the clumps, each in a box about the pixel that holds its centre."""
    return render(
        kernel,
        true_flux(rows),
        rows["x"] - np.rint(rows["x"]) + half,
        rows["y"] - np.rint(rows["y"]) + half,
        true_shape(rows),
        size=(kernel.height, kernel.width),
    )


def _inject(
    tile: Tile, rows: Records, images: FloatArray, recipe: Recipe, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return image and error with clumps and their photon noise added."""
    half = recipe.half
    ny, nx = tile.data.shape
    added = np.zeros((ny + 2 * half, nx + 2 * half))
    corners = np.rint(np.stack([rows["x"], rows["y"]], axis=1)).astype(int)
    for image, (i, j) in zip(images, corners, strict=True):
        added[j : j + 2 * half + 1, i : i + 2 * half + 1] += image
    added = added[half : half + ny, half : half + nx]
    data, error = tile.data + added, tile.error
    if np.isfinite(recipe.gain):
        light = np.maximum(added, 0.0)
        # Photon noise of less than a percent of the pixel's error is not drawn.
        shot = light > (0.01 * error) ** 2 * recipe.gain
        noise = rng.poisson(light[shot] * recipe.gain) / recipe.gain - light[shot]
        data[shot] += noise
        error = error.copy()
        error[shot] = np.sqrt(error[shot] ** 2 + light[shot] / recipe.gain)
    return data, error


def _detected(data: FloatArray, error: FloatArray, psf: Any, pixel_scale: float, recipe: Recipe) -> FloatArray:
    """Return x, y, S/N and flux of what is detected, shape (n, 4)."""
    if recipe.detector is None:
        options = {name: value for name, value in recipe.detection.items() if name != "correlated"}
        least = float(options.pop("min_snr", 0.0))
        options["correlation"] = recipe.detection_correlation
        table = find_peaks(data, error, psf=psf, pixel_scale=pixel_scale, **options)
        table = table[np.asarray(table["snr"]) >= least]
    else:
        table = recipe.detector(data, error, psf=psf, pixel_scale=pixel_scale)
    try:
        names = list(getattr(table, "colnames", table))
        x = np.asarray(table["x"], dtype=np.float64)
        missing = np.full(x.shape, np.nan)
        more = [np.asarray(table[name], dtype=np.float64) if name in names else missing for name in ("snr", "flux")]
        out = np.stack([x, np.asarray(table["y"], dtype=np.float64), *more], axis=1).reshape(-1, 4)
    except (KeyError, TypeError, ValueError) as problem:
        msg = (
            f"the detector returned {type(table).__name__} ({problem}); give a table with the columns x and y [px], "
            "one row for each detection, and snr and flux where they are known"
        )
        raise InputError(msg) from problem
    return np.asarray(out[np.isfinite(out[:, :2]).all(axis=1)])


def _match(rows: Records, found: FloatArray, before: FloatArray, radius: float) -> None:
    """Write outcome, detection and crowding."""
    rows["outcome"], rows["crowded"] = Outcome.MISSED, 0
    place = np.stack([rows["x"], rows["y"]], axis=1)
    if len(before):
        rows["crowded"] = cKDTree(before[:, :2]).query(place)[0] <= 4.0
    if not len(found):
        return
    distance, at = cKDTree(found[:, :2]).query(place)
    hit = np.flatnonzero(distance <= radius)
    peak = found[at[hit]]
    rows["outcome"][hit] = Outcome.RECOVERED
    for column, name in enumerate(("x_found", "y_found", "snr")):
        rows[name][hit] = peak[:, column]
    if len(before) and len(hit):
        distance, old = cKDTree(before[:, :2]).query(peak[:, :2])
        # Without fluxes any older peak claims the place.
        share = np.nan_to_num(before[old, 3] / peak[:, 3], nan=1.0)
        rows["outcome"][hit[(distance <= radius) & (share >= 0.5)]] = Outcome.PREEXISTING
