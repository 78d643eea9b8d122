"""Injection and recovery in a field: the plan, its batches on any executor, and what they make together."""

from __future__ import annotations

import hashlib
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any

import astropy.units as u
import numpy as np

from sc_lab.completeness.checkpoint import Checkpoint
from sc_lab.completeness.records import RECORD, Records, ab_magnitudes, in_pixels
from sc_lab.completeness.recovery import Detector, Recipe, estimate_gain, run_batch
from sc_lab.completeness.result import Completeness
from sc_lab.completeness.tiles import Tile, Window, read_tile, region_windows
from sc_lab.errors import InputError, ScLabError
from sc_lab.inference.mcmc import whole_number
from sc_lab.units import FloatArray, value_in

__all__ = ["inject_recover"]

#: Clumps in a batch, roughly: half a second of work, so that progress moves and cancelling is prompt.
_PER_BATCH = 500
_MOST_ROUNDS = 16
_KEPT_TILES = 8
#: Largest std_maj [px]; the fit allows 5.
_WIDEST = 8.0


def inject_recover(
    field: Any,
    *,
    band: str | None = None,
    region: Any = None,
    magnitudes: Any = None,
    sizes: Any = (0.0, 0.5, 1.0, 2.0),
    axis_ratios: Any = (1.0, 0.6),
    n: int = 10_000,
    spacing: float = 30.0,
    match_radius: float = 2.0,
    gain: float | None = None,
    detection: Mapping[str, Any] | None = None,
    detector: Detector | None = None,
    fit: bool = True,
    mode: str = "paper",
    box: int = 9,
    rng: np.random.Generator | int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
) -> Completeness:
    """Inject clumps into the pixels of a field and see what detection and photometry make of them.

    Parameters
    ----------
    field : Field
        The images; the band needs a PSF.
    band : str, optional
        Where to inject; None takes the field's reference band.
    region : Galaxy, sequence of Galaxy, array_like (n, 2), 'all' or None
        Where: inside contours, inside a polygon of (ra, dec) [deg], or everywhere. None means inside the field's
        galaxies, or everywhere where the field has none.
    magnitudes : array_like, optional
        AB magnitudes to inject; None takes twelve, half a magnitude apart, from S/N 280 of a point source to 1.8.
    sizes : `~astropy.units.Quantity` or array_like
        Sizes to inject: standard deviation sqrt(std_maj std_min) of the clump before the PSF, in pixels of the band
        or as an angle; the half-light radius is 1.177 times that.
    axis_ratios : array_like
        std_min / std_maj to inject, above 0 and up to 1.
    n : int
        Clumps to inject, spread evenly over the grid magnitude x size x axis ratio. At least 50 for each cell of the
        grid that is used leave a binomial error of 7 %.
    spacing : float
        Least distance of clumps injected at once [px]; many times as many are injected one round after another.
    match_radius : float
        Largest distance of a detection from the clump's place [px].
    gain : float, optional
        Electrons per nJy, for the clumps' photon noise; infinite adds none. None works it out from how the error
        map grows with brightness, and `Completeness.cautions` says so where it does not.
    detection : mapping, optional
        Options of `sc_lab.detection.detect_clumps`: those of the catalogue that the completeness is for.
    detector : callable, optional
        Another detector: ``detector(data, error, psf=, pixel_scale=)`` returns a table with columns x and y [px],
        and snr and flux where it knows them.
    fit : bool
        Whether recovered clumps are fitted, which tells biases, classes and pulls.
    mode : {"paper", "full"}
        As in `sc_lab.photometry.fit_clumps`.
    box : int
        Side of the fitted box, odd [px].
    rng : int or `~numpy.random.Generator`, optional
        Seed or source of chance; None takes that of the checkpoint, or chance.
    progress : callable, optional
        Called as ``progress(done, n)`` with injected clumps after each batch.
    cancel : object with ``is_set()``, optional
        When set, the run stops after the batch at hand with an error; what is done stays in the checkpoint.
    checkpoint : path-like, optional
        File in which every finished batch is kept. Where it exists, the run goes on from it, and ends with exactly
        the result of a run that was never broken off. A larger ``n`` than before goes on from it, too.
    executor : `concurrent.futures.Executor`, optional
        Where batches are worked out: threads, processes, or Dask's; None works in this thread. The result does not
        depend on it.

    Returns
    -------
    Completeness
        The chance to be detected against magnitude, size, axis ratio and local background, biases and scatter of
        flux and size, confusion of size classes, and widths of the pulls.

    Raises
    ------
    InputError
        If the region, the grid or an option cannot be used.
    ScLabError
        If the run was cancelled.

    Notes
    -----
    Clumps are drawn as in the fit, exactly through the PSF, and added with their photon noise to the real image, on
    a jittered grid. A clump is recovered where the detection finds a peak within ``match_radius`` that was not there
    before: not where a source was known within that radius that is at least half as bright as the peak.

    Examples
    --------
    >>> import numpy as np
    >>> from sc_lab.images import Field
    >>> y, x = np.mgrid[-8:9, -8:9]
    >>> field = Field.from_arrays(
    ...     {"F150W": np.random.default_rng(1).normal(size=(200, 200))},
    ...     errors={"F150W": 1.0},
    ...     psfs={"F150W": np.exp(-0.3 * (x**2 + y**2))},
    ...     psf_scales=0.02,
    ...     pixel_scales=0.02,
    ... )
    >>> result = inject_recover(field, magnitudes=[26, 30], sizes=[0.5], n=100, fit=False, rng=1)
    >>> [bool(p > 0.9) for p in result.probability([26.0, 30.0], 0.5)]
    [True, False]
    """
    image = field[field.reference if band is None else band]
    if image.psf is None:
        msg = (
            f"band {image.name} has no PSF, through which clumps have to be drawn; give psfs= when the field is "
            "opened, or build one with psf_from_stars"
        )
        raise InputError(msg)
    whole_number("n", n, 1, "so many clumps are injected")
    whole_number("box", box, 5, "nine parameters are fitted in it")
    total = int(n)
    windows = region_windows(field, image, region)
    if mode not in {"full", "paper"}:
        msg = f"mode is {mode!r}; choose 'full' or 'paper'"
        raise InputError(msg)
    if box % 2 == 0:
        msg = f"box is {box}; give an odd number of pixels, such as 9"
        raise InputError(msg)
    electrons, cautions = _gain(image, windows, gain)
    if magnitudes is None:
        magnitudes = _usual_magnitudes(image, windows)
    options = _detection(detection, detector)
    shared = image.noise_correlation if detector is None and options.get("correlated", True) else None
    recipe = Recipe(
        magnitudes=_numbers(ab_magnitudes(magnitudes, "magnitudes"), "magnitudes", "finite AB magnitudes", -10.0, 60.0),
        sizes=_sizes(sizes, image.pixel_scale),
        axis_ratios=_numbers(axis_ratios, "axis_ratios", "numbers above 0 and up to 1", 0.01, 1.0),
        spacing=_number(spacing, "spacing", 10.0, 1000.0, "pixels"),
        match_radius=_number(match_radius, "match_radius", 0.1, 10.0, "pixels"),
        gain=electrons,
        detection=options,
        detector=detector,
        fit=bool(fit),
        mode=mode,
        box=int(box),
        fit_correlation=image.noise_correlation if fit and mode == "full" else None,
        detection_correlation=shared,
    )
    widest = max(recipe.sizes) / math.sqrt(min(recipe.axis_ratios))
    if widest > min(_WIDEST, recipe.spacing / 5):
        msg = (
            f"the largest clumps have std_maj = {widest:.3g} px; up to {min(_WIDEST, recipe.spacing / 5):.3g} px they fit "
            f"between their neighbours, {recipe.spacing:g} px away: inject smaller or rounder ones, or raise spacing"
        )
        raise InputError(msg)
    plan = _Plan(image, windows, recipe, total)
    entropy = None if rng is None else int(np.random.default_rng(rng).integers(2**63))
    store = Checkpoint(checkpoint, {"entropy": entropy, **plan.identity()})
    records = _work(plan, store, total, progress, cancel, executor)
    settings = {**plan.identity(), "n": total, "entropy": store.entropy, "field": str(getattr(field, "name", ""))}
    return Completeness.from_records(records, settings=settings, cautions=tuple(cautions))


class _Plan:
    """Which tile each batch works on; batch after batch the region is covered evenly."""

    def __init__(self, image: Any, windows: tuple[Window, ...], recipe: Recipe, n: int) -> None:
        self.image, self.windows, self.recipe = image, windows, recipe
        area = float(sum(window.inside().sum() for window in windows))
        per_round = max(area / recipe.pitch**2, 1e-3)
        per_tile = per_round / len(windows)
        # Few rounds in each tile where there are more tiles than the clumps need: they are to see all of the field.
        self.rounds = int(np.clip(round(min(n / per_round, _PER_BATCH / max(per_tile, 1.0))), 1, _MOST_ROUNDS))
        self.expected = self.rounds * per_tile
        self._tiles: OrderedDict[int, Tile] = OrderedDict()
        self._orders: dict[int, list[int]] = {}

    def window(self, batch: int, entropy: int) -> int:
        """Return the number of the window of a batch: all of them in an order of chance, then again."""
        turn, place = divmod(batch, len(self.windows))
        if turn not in self._orders:
            seed = np.random.SeedSequence(entropy, spawn_key=(0, turn, 1))
            self._orders = {turn: np.random.default_rng(seed).permutation(len(self.windows)).tolist()}
        return self._orders[turn][place]

    def tile(self, number: int) -> Tile:
        """Return the pixels of a window; the last few are kept."""
        if number in self._tiles:
            self._tiles.move_to_end(number)
        else:
            self._tiles[number] = read_tile(self.image, self.windows[number])
            while len(self._tiles) > _KEPT_TILES:
                self._tiles.popitem(last=False)
        return self._tiles[number]

    def identity(self) -> dict[str, Any]:
        """Return all that the batches depend on but the seed, as JSON values."""
        recipe, image = self.recipe, self.image
        pixels = hashlib.sha256()
        first = self.tile(0)
        for array in (first.data, first.error, first.stamp):
            pixels.update(np.ascontiguousarray(array).tobytes())
        region = hashlib.sha256()
        for window in self.windows:
            region.update(repr((window.x0, window.y0, window.nx, window.ny, window.margin)).encode())
            region.update(b"" if window.vertices is None else np.ascontiguousarray(window.vertices).tobytes())
        return {
            "band": image.name,
            "pixel_scale": float(image.pixel_scale),
            "psf_fwhm": float(image.psf.fwhm),
            "shape": [int(side) for side in image.shape],
            "pixels": pixels.hexdigest(),
            "region": region.hexdigest(),
            "rounds": self.rounds,
            "magnitudes": list(recipe.magnitudes),
            "sizes": list(recipe.sizes),
            "axis_ratios": list(recipe.axis_ratios),
            "spacing": recipe.spacing,
            "match_radius": recipe.match_radius,
            "gain": None if math.isinf(recipe.gain) else recipe.gain,
            "detection": dict(recipe.detection),
            "detector": "" if recipe.detector is None else _name(recipe.detector),
            "fit": recipe.fit,
            "mode": recipe.mode,
            "box": recipe.box,
        }


def _work(
    plan: _Plan,
    store: Checkpoint,
    n: int,
    progress: Callable[[int, int], None] | None,
    cancel: Any,
    executor: Executor | None,
) -> Records:
    """Work batch after batch until n clumps are injected; return exactly n, in the order of the batches."""
    source = _serial(plan, store) if executor is None else _parallel(plan, store, executor, n)
    parts: dict[int, Records] = {}
    contiguous = done = in_hand = 0
    empty = 0
    try:
        while done < n:
            if cancel is not None and cancel.is_set():
                kept = "kept in the checkpoint: call again to go on" if store.path else "not kept: give checkpoint="
                msg = f"the run was cancelled after {min(in_hand, n)} of {n} injected clumps; they are {kept}"
                raise ScLabError(msg)
            batch, records = next(source)
            if batch < 0:
                continue
            parts[batch] = records
            in_hand += len(records)
            while contiguous in parts:
                size = len(parts[contiguous])
                done += size
                empty = 0 if size else empty + 1
                contiguous += 1
            # So many empty batches are chance once in e^30 runs.
            if empty >= max(8, 2 * len(plan.windows), 30 / plan.expected):
                msg = (
                    f"no clump could be placed in {plan.image.name}: the region has no pixel with a value and a usable "
                    "error, or is narrower than a pixel; check its errors and mask, or choose another region"
                )
                raise InputError(msg)
            if progress is not None:
                progress(min(in_hand, n), n)
    finally:
        source.close()
    return np.concatenate([parts[k] for k in range(contiguous)])[:n]


def _serial(plan: _Plan, store: Checkpoint) -> Generator[tuple[int, Records]]:
    """Yield batches in order."""
    batch = 0
    while True:
        if batch not in store.done:
            tile = plan.tile(plan.window(batch, store.entropy))
            store.add(batch, run_batch(tile, plan.recipe, (store.entropy, batch), plan.rounds))
        yield batch, store.done[batch]
        batch += 1


def _parallel(plan: _Plan, store: Checkpoint, executor: Executor, n: int) -> Generator[tuple[int, Records]]:
    """Yield batches as they come; -1 now and then while none does, so that cancelling is noticed."""
    workers = getattr(executor, "_max_workers", None) or os.cpu_count() or 2
    pending: dict[Future[Records], int] = {}
    batch = 0
    sure = 0.0
    try:
        while True:
            # Two batches for each worker at once; near the end none that the plan does not need.
            while len(pending) < 2 * workers and (sure < n or not pending):
                if batch in store.done:
                    sure += len(store.done[batch])
                    yield batch, store.done[batch]
                else:
                    tile = plan.tile(plan.window(batch, store.entropy))
                    task = executor.submit(run_batch, tile, plan.recipe, (store.entropy, batch), plan.rounds)
                    pending[task] = batch
                    sure += plan.expected
                batch += 1
            ready, _ = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            if not ready:
                yield -1, np.empty(0, dtype=RECORD)
            for task in ready:
                number = pending.pop(task)
                try:
                    records = task.result()
                except BrokenExecutor as problem:
                    kept = (
                        "what is done is in the checkpoint" if store.path else "give checkpoint= to keep what is done"
                    )
                    msg = f"a worker of the executor died ({problem}), perhaps for want of memory; {kept}; use fewer workers"
                    raise ScLabError(msg) from problem
                sure += len(records) - plan.expected
                store.add(number, records)
                yield number, records
    finally:
        for task in pending:
            task.cancel()


def _gain(image: Any, windows: Sequence[Window], gain: float | None) -> tuple[float, list[str]]:
    """Return electrons per nJy and what is to be said about it."""
    if gain is not None:
        try:
            value = float(gain)
        except (TypeError, ValueError):
            value = math.nan
        if not value > 0:
            msg = f"gain is {gain!r}; give electrons per nJy, above 0, or infinity for no photon noise"
            raise InputError(msg)
        return value, []
    for window in windows[:16]:
        value = estimate_gain(read_tile(image, window))
        if math.isinf(value):
            said = (
                f"the error map of {image.name} does not grow with brightness: injected clumps bring no photon noise "
                "of their own; give gain= (electrons per nJy) to add it"
            )
            return value, [said]
        if not math.isnan(value):
            return value, [
                f"photon noise by the error map of {image.name}: {value:.4g} electrons per nJy; gain= overrides"
            ]
    said = f"{image.name} has too few bright pixels to tell its gain: injected clumps bring no photon noise; give gain="
    return math.inf, [said]


def _usual_magnitudes(image: Any, windows: Sequence[Window]) -> FloatArray:
    """Return twelve magnitudes about the one at which a point source has S/N 7, most of them brighter."""
    for window in windows:
        tile = read_tile(image, window)
        sigma = tile.error[tile.allowed]
        if len(sigma):
            # A point source's S/N is F sqrt(sum p^2) / sigma.
            sharp = float(np.sqrt((tile.stamp**2).sum())) * tile.pixel_scale / tile.stamp_scale
            middle = 31.4 - 2.5 * math.log10(7 * float(np.median(sigma)) / max(sharp, 1e-6))
            return np.asarray(round(middle * 2) / 2 + np.arange(-8, 4) * 0.5)
    msg = f"no pixel of the region has a usable error in {image.name}; choose another region, or check the error map"
    raise InputError(msg)


def _detection(options: Mapping[str, Any] | None, detector: Detector | None) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        msg = f'detection is a {type(options).__name__}; give options by name, such as {{"threshold": 1.5}}'
        raise InputError(msg)
    if detector is not None:
        msg = "detection and detector are both given; the options are for the usual detector: leave one of them out"
        raise InputError(msg)
    import inspect

    from sc_lab.detection.clumps import detect_clumps
    from sc_lab.detection.sources import find_peaks

    keywords = [
        {name for name, kind in inspect.signature(function).parameters.items() if kind.kind is kind.KEYWORD_ONLY}
        for function in (detect_clumps, find_peaks)
    ]
    known = sorted((keywords[0] & keywords[1]) | {"correlated", "min_snr"})
    unknown = [name for name in options if name not in known]
    if unknown:
        msg = f"detection has the unknown option(s) {', '.join(map(str, unknown))}; known are {', '.join(known)}"
        raise InputError(msg)
    return dict(options)


def _sizes(sizes: Any, pixel_scale: float) -> tuple[float, ...]:
    sizes = in_pixels(sizes, pixel_scale, "sizes")
    return _numbers(sizes, "sizes", "standard deviations of 0 to 12 pixels, or angles", 0.0, 12.0)


def _numbers(values: Any, name: str, wanted: str, low: float, high: float) -> tuple[float, ...]:
    """Return the nodes of one axis of the grid, sorted and each once."""
    array = np.unique(np.atleast_1d(value_in(values, u.dimensionless_unscaled, name)))
    if array.ndim != 1 or not len(array) or not (np.isfinite(array).all() and array[0] >= low and array[-1] <= high):
        msg = f"{name} is {np.array2string(np.asarray(values), threshold=6)}; give {wanted}, at least one"
        raise InputError(msg)
    return tuple(float(v) for v in array)


def _number(value: Any, name: str, low: float, high: float, unit: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        msg = f"{name} is {value}; give a number from {low:g} to {high:g} {unit}"
        raise InputError(msg)
    return number


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
