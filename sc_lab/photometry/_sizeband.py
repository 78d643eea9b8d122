"""Positions and shapes of clumps in the band that gives the sizes: joint fits, merged pairs, neighbours outside a group."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sc_lab.photometry._pixels import BoxReader
from sc_lab.photometry.boxes import FREE_FLOOR, PAPER_FLOOR, BoxFits, fit_boxes
from sc_lab.photometry.flags import FitStatus, PhotometryFlag
from sc_lab.photometry.grouping import Groups, neighbours_in_box
from sc_lab.photometry.rendering import PsfKernel, kept_kernel, render_batch
from sc_lab.units import FloatArray

__all__ = [
    "BOX_MARGIN",
    "MAX_SHIFT",
    "OUTSIDE_MARGIN",
    "PASSES",
    "ShapeFits",
    "box_corner",
    "fit_shapes",
    "groups_near",
]

#: A clump up to this far outside a box still sends light into it [px].
BOX_MARGIN = 2.0

#: Models of clumps up to this far outside a box are taken off it [px]: it costs no parameter.
OUTSIDE_MARGIN = 4.0

#: Times that a box is fitted when clumps outside its group shine into it: each time with their last models.
PASSES = 3

#: Two components closer than this have become one [px].
_MERGED = 1.0

#: Largest shift of a centre from where it was put [px] (Claeyssens et al. 2026, section 3.1.2).
MAX_SHIFT = 2.0

#: Standard deviations of chi^2 above its expectation that are no longer noise.
_POOR = 5.0

#: What a clump has one number of.
_SCALARS = (
    *("x", "y", "x_err", "y_err", "xy_covariance", "flux", "flux_err"),
    *("snr", "dchi2_point", "chi2", "dof", "shape_err_flux"),
)

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@dataclass(eq=False)
class ShapeFits:
    """One value per clump, in pixels of the band; NaN where there is no fit."""

    n: int
    x: FloatArray = field(init=False)
    y: FloatArray = field(init=False)
    x_err: FloatArray = field(init=False)
    y_err: FloatArray = field(init=False)
    xy_covariance: FloatArray = field(init=False)
    flux: FloatArray = field(init=False)
    flux_err: FloatArray = field(init=False)
    snr: FloatArray = field(init=False)
    shape: FloatArray = field(init=False)
    covariance: FloatArray = field(init=False)
    shape_err_flux: FloatArray = field(init=False)
    dchi2_point: FloatArray = field(init=False)
    chi2: FloatArray = field(init=False)
    dof: FloatArray = field(init=False)
    flags: IntArray = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing measured."""
        for name in _SCALARS:
            setattr(self, name, np.full(self.n, np.nan))
        self.shape = np.full((self.n, 3), np.nan)
        self.covariance = np.full((self.n, 3, 3), np.nan)
        self.flags = np.zeros(self.n, dtype=np.int64)

    def take(self, index: IntArray, s: int, fits: BoxFits, rows: IntArray, corner: IntArray) -> None:
        """Store one component of some boxes.

        Parameters
        ----------
        index : ndarray
            Clumps to store it under.
        s : int
            Component.
        fits : BoxFits
            Fitted boxes.
        rows : ndarray
            Boxes to take, one per clump.
        corner : ndarray
            (n, 2) lower left pixels of those boxes.
        """
        self.x[index] = fits.x[rows, s] + corner[:, 0]
        self.y[index] = fits.y[rows, s] + corner[:, 1]
        self.flux[index], self.flux_err[index] = fits.flux[rows, s], fits.flux_err[rows, s]
        self.snr[index], self.dchi2_point[index] = fits.snr[rows, s], fits.dchi2_point[rows, s]
        self.shape[index], self.covariance[index] = fits.shape[rows, s], fits.shape_covariance[rows, s]
        self.chi2[index], self.dof[index] = fits.chi2[rows], fits.dof[rows]
        flux_with_shape = fits.covariance[rows, s]
        place = fits.flux.shape[1] + 3 + 5 * s
        self.x_err[index], self.y_err[index] = fits.x_err[rows, s], fits.y_err[rows, s]
        self.xy_covariance[index] = fits.covariance[rows, place, place + 1]
        at = place + 2
        coupling = flux_with_shape[:, at : at + 3]  # covariance of F with C
        with np.errstate(invalid="ignore"):
            inverse = np.linalg.pinv(np.nan_to_num(fits.shape_covariance[rows, s]), hermitian=True)
            part = np.einsum("ni,nij,nj->n", coupling, inverse, coupling)
            self.shape_err_flux[index] = np.sqrt(np.maximum(part, 0.0))


@dataclass(frozen=True, eq=False)
class _Job:
    """A joint fit: which clumps, in which box."""

    members: tuple[int, ...]
    corner: tuple[int, int]
    size: int


def box_corner(x: FloatArray, y: FloatArray, size: int) -> IntArray:
    """Return the lower left pixels of boxes centred on the pixel nearest to each position.

    Parameters
    ----------
    x, y : ndarray
        (n,) positions in px.
    size : int
        Odd side of the boxes.

    Returns
    -------
    ndarray
        (n, 2) of int.
    """
    return np.stack([np.floor(np.clip(v, -1e8, 1e8) + 0.5) for v in (x, y)], axis=-1).astype(np.int64) - size // 2


def _job(members: tuple[int, ...], x: FloatArray, y: FloatArray, box: int) -> _Job:
    """Return the box of a group: ``box`` alone, ``box + 4`` in pairs, 4 px around longer chains."""
    columns, rows = [float(x[i]) for i in members], [float(y[i]) for i in members]
    low, high = (min(columns), min(rows)), (max(columns), max(rows))
    if len(members) == 1:
        size = box
    elif len(members) == 2:
        size = box + 4
    else:
        size = max(box + 4, math.ceil(max(high[0] - low[0], high[1] - low[1])) + 9)
        size += 1 - size % 2
    # As `box_corner`, without arrays: every clump of a list passes here at every edit.
    middle = [min(max(0.5 * (a + b), -1e8), 1e8) for a, b in zip(low, high, strict=True)]
    corner = (math.floor(middle[0] + 0.5) - size // 2, math.floor(middle[1] + 0.5) - size // 2)
    return _Job(members, corner, size)


def groups_near(points: FloatArray, x: FloatArray, y: FloatArray, groups: Groups, box: int) -> BoolArray:
    """Return the clumps in whose joint fits the light of clumps at some places is taken off.

    Parameters
    ----------
    points : ndarray
        (m, 2) places in px of the band.
    x, y : ndarray
        (n,) starting positions.
    groups : Groups
        Joint fits.
    box : int
        Side of the box of a single clump.

    Returns
    -------
    ndarray of bool
        (n,) whether one of the places is within reach of the clump's box.
    """
    out = np.zeros(len(x), dtype=bool)
    usable = np.asarray(np.isfinite(points).all(axis=1), dtype=bool)
    if not usable.any():
        return out
    jobs = [_job(m, x, y, box) for m in groups.members if np.isfinite(x[m[0]]) and np.isfinite(y[m[0]])]
    centres, reach = _squares(jobs)
    for job, near in zip(jobs, neighbours_in_box(points, centres, reach, usable), strict=True):
        out[list(job.members)] = near.size > 0
    return out


def _squares(jobs: list[_Job]) -> tuple[FloatArray, FloatArray]:
    """Return the middles of boxes and how far from them clumps shine into them."""
    centres = np.array([[c + job.size // 2 for c in job.corner] for job in jobs], dtype=np.float64).reshape(-1, 2)
    return centres, np.array([job.size / 2 + OUTSIDE_MARGIN for job in jobs])


def fit_shapes(
    band: Any,
    x: FloatArray,
    y: FloatArray,
    groups: Groups,
    wanted: BoolArray,
    *,
    mode: str,
    curved: bool,
    box: int,
    engine: str,
    noise_correlation: Any,
    step: Callable[[int], None],
) -> ShapeFits:
    """Fit positions and shapes in one band.

    Parameters
    ----------
    band : Band
        Image with a PSF.
    x, y : ndarray
        (n,) starting positions in px of the band.
    groups : Groups
        Joint fits.
    wanted : ndarray
        (n,) clumps whose results are needed; others serve as neighbours where they matter.
    mode : str
        "paper" or "full".
    curved : bool
        Allow for curvature of the background, and take the light of other groups off in any mode.
    box : int
        Side of the box of a single clump.
    engine : str
        See `choose_engine`.
    noise_correlation : ndarray or None
        Autocorrelation of the noise.
    step : callable
        Called with the number of clumps done.

    Returns
    -------
    ShapeFits
        Filled where ``wanted``.

    Notes
    -----
    In full mode, and between the parts of a cut chain, the light of clumps of other groups
    within the box and 4 px around it is taken off, with their models of the pass before.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    # Sorted by position: the numbers must not depend on the order of the list, not even in the last digit.
    chains = [tuple(sorted(m, key=lambda i: (x[i], y[i]))) for m in groups.members if finite[m[0]]]
    jobs = [_job(m, x, y, box) for m in chains]
    job_of = {i: j for j, job in enumerate(jobs) for i in job.members}
    near = _outsiders(jobs, x, y, groups, finite, every=curved or mode == "full")
    # What each pass must fit: the wanted boxes last, before that also the ones whose light is taken off them.
    needed = [{job_of[i] for i in np.nonzero(wanted & finite)[0].tolist()}]
    for _ in range(PASSES - 1):
        needed.insert(0, needed[0] | {job_of[i] for j in needed[0] for i in near[j].tolist()})
    first = sorted(needed[0])
    kernels: dict[int, PsfKernel] = {}
    corners = np.array([jobs[j].corner for j in first], dtype=np.int64).reshape(-1, 2)
    reader = BoxReader(band, corners[:, 0], corners[:, 1], max((jobs[j].size for j in first), default=box))
    options = {
        "curved": curved,
        "floor": PAPER_FLOOR if mode == "paper" else FREE_FLOOR,
        "engine": engine,
        "noise_correlation": noise_correlation,
    }
    out = ShapeFits(len(x))
    _run([jobs[j] for j in first], band, x, y, reader, kernels, out, None, options, step)
    models: ShapeFits | None = None
    for those in needed[1:]:
        again = [j for j in sorted(those) if near[j].size]
        if not again:
            break
        # Parts of a cut chain, which each took the others' light, overshoot in turn: a mean settles sooner.
        models = _blend(models, out, groups.cut)
        for j in again:
            out.flags[list(jobs[j].members)] = int(PhotometryFlag.NEIGHBOUR)
        light = {jobs[j].members: near[j] for j in again}
        _run([jobs[j] for j in again], band, x, y, reader, kernels, out, (light, models), options, step)
    out.flags[groups.cut] |= int(PhotometryFlag.CHAIN_CUT)
    return out


def _blend(before: ShapeFits | None, now: ShapeFits, overlapping: BoolArray) -> ShapeFits:
    """Return the models found last; for overlapping clumps halfway between those and the ones used last."""
    out = ShapeFits(now.n)
    for name in ("x", "y", "flux", "shape"):
        value = getattr(now, name).copy()
        if before is not None:
            found = np.isfinite(value) & np.isfinite(getattr(before, name))
            both = found & (overlapping if value.ndim == 1 else overlapping[:, None])
            value[both] = 0.5 * (value[both] + getattr(before, name)[both])
        setattr(out, name, value)
    return out


def _outsiders(
    jobs: list[_Job], x: FloatArray, y: FloatArray, groups: Groups, finite: BoolArray, *, every: bool
) -> list[IntArray]:
    """Return the clumps of other groups whose light reaches each box."""
    if not every and not groups.cut.any():
        return [np.empty(0, dtype=np.int64)] * len(jobs)
    points = np.column_stack([x, y])
    centres, reach = _squares(jobs)
    found = []
    for job, near in zip(jobs, neighbours_in_box(points, centres, reach, finite), strict=True):
        outside = ~np.isin(near, job.members)
        if not every:
            outside &= groups.chain[near] == groups.chain[job.members[0]]
        found.append(near[outside])
    return found


def _run(
    jobs: list[_Job],
    band: Any,
    x: FloatArray,
    y: FloatArray,
    reader: BoxReader,
    kernels: dict[int, PsfKernel],
    out: ShapeFits,
    neighbours: tuple[dict[tuple[int, ...], IntArray], ShapeFits] | None,
    options: dict[str, Any],
    step: Callable[[int], None],
) -> None:
    """Fit jobs, those of one size and number of clumps together; fit again without clumps that merged."""
    kinds: dict[tuple[int, int], list[_Job]] = {}
    for job in jobs:
        kinds.setdefault((len(job.members), job.size), []).append(job)
    for (n_members, size), same in sorted(kinds.items()):
        if size not in kernels:
            kernels[size] = kept_kernel(band.psf, size, band.pixel_scale)
        corner = np.array([job.corner for job in same], dtype=np.int64)
        members = np.array([job.members for job in same], dtype=np.int64)
        data, error = reader.read(corner[:, 0], corner[:, 1], size)
        if neighbours is not None:
            _take_off(data, same, corner, kernels[size], neighbours)
        active = [tuple(range(n_members))] * len(same)
        todo = np.arange(len(same))
        while todo.size:
            todo = _fit_some(todo, active, members, corner, data, error, x, y, kernels[size], out, options)
        _box_flags(out, members, corner, data, error, band, kernels[size])
        step(members.size)


def _take_off(
    data: FloatArray,
    jobs: list[_Job],
    corner: IntArray,
    kernel: PsfKernel,
    neighbours: tuple[dict[tuple[int, ...], IntArray], ShapeFits],
) -> None:
    """Subtract the models of clumps outside a group from its box."""
    near, models = neighbours
    pairs = [(row, i) for row, job in enumerate(jobs) for i in near[job.members].tolist()]
    pairs = [(row, i) for row, i in pairs if np.isfinite(models.flux[i])]
    if not pairs:
        return
    row, index = np.array(pairs).T
    images = render_batch(
        kernel, models.x[index] - corner[row, 0], models.y[index] - corner[row, 1], models.shape[index], 1
    )[:, 0]
    np.subtract.at(data, row, (images * models.flux[index, None]).reshape(-1, *data.shape[1:]))


def _fit_some(
    todo: IntArray,
    active: list[tuple[int, ...]],
    members: IntArray,
    corner: IntArray,
    data: FloatArray,
    error: FloatArray,
    x: FloatArray,
    y: FloatArray,
    kernel: PsfKernel,
    out: ShapeFits,
    options: dict[str, Any],
) -> IntArray:
    """Fit the boxes ``todo`` with their active members; return those that lost one and need another turn."""
    again: list[int] = []
    for alive in sorted({active[j] for j in todo.tolist()}):
        rows = np.array([j for j in todo.tolist() if active[j] == alive], dtype=np.int64)
        index = members[rows][:, list(alive)]
        local_x, local_y = x[index] - corner[rows, 0, None], y[index] - corner[rows, 1, None]
        fits = fit_boxes(
            data[rows], error[rows], kernel, x=local_x, y=local_y, test_point=True, max_shift=MAX_SHIFT, **options
        )
        lost = _lost_member(fits, local_x, local_y)
        everything = np.arange(len(rows))
        for s in range(len(alive)):
            out.take(index[:, s], s, fits, everything, corner[rows])
            _fit_flags(out, index[:, s], fits, s)
        for row, (which, bit) in lost.items():
            gone = members[rows[row], alive[which]]
            for name in _SCALARS:
                getattr(out, name)[gone] = np.nan
            out.shape[gone], out.covariance[gone] = np.nan, np.nan
            out.flags[members[rows[row], list(alive)]] |= bit
            out.flags[gone] |= int(PhotometryFlag.MERGED)
            active[int(rows[row])] = tuple(a for s, a in enumerate(alive) if s != which)
            again.append(int(rows[row]))
    return np.array(sorted(again), dtype=np.int64)


def _lost_member(fits: BoxFits, x: FloatArray, y: FloatArray) -> dict[int, tuple[int, int]]:
    """Return, per box in which two clumps merged or swapped, the fainter one and the flag."""
    lost: dict[int, tuple[int, int]] = {}
    n_sources = x.shape[1]
    for a in range(n_sources):
        for b in range(a + 1, n_sources):
            apart = np.stack([fits.x[:, b] - fits.x[:, a], fits.y[:, b] - fits.y[:, a]], axis=-1)
            before = np.stack([x[:, b] - x[:, a], y[:, b] - y[:, a]], axis=-1)
            merged = np.hypot(*apart.T) < _MERGED
            swapped = (apart * before).sum(1) < 0
            for row in np.nonzero(merged | swapped)[0].tolist():
                faint = a if fits.flux[row, a] < fits.flux[row, b] else b
                bit = PhotometryFlag.MERGED if merged[row] else PhotometryFlag.SWAPPED
                lost.setdefault(row, (faint, int(bit)))
    return lost


def _fit_flags(out: ShapeFits, index: IntArray, fits: BoxFits, s: int) -> None:
    """Add the flags that the fit itself reports."""
    few = fits.status == FitStatus.TOO_FEW_PIXELS
    bits = np.zeros(len(index), dtype=np.int64)
    bits[few] |= int(PhotometryFlag.NO_DATA)
    bits[~few & (fits.status != FitStatus.CONVERGED)] |= int(PhotometryFlag.NOT_CONVERGED)
    bits[fits.at_bound[:, s] & 1 > 0] |= int(PhotometryFlag.CENTRE_BOUND)
    bits[fits.at_bound[:, s] & 2 > 0] |= int(PhotometryFlag.SIZE_BOUND)
    bits[~few & ~(fits.flux[:, s] > 0)] |= int(PhotometryFlag.NOT_POSITIVE)
    with np.errstate(invalid="ignore"):
        bits[fits.chi2 > fits.dof + _POOR * np.sqrt(2.0 * np.maximum(fits.dof, 1))] |= int(PhotometryFlag.POOR_FIT)
    bits[~few & ~np.isfinite(fits.flux_err[:, s])] |= int(PhotometryFlag.NO_ERRORS)
    out.flags[index] |= bits


def _box_flags(
    out: ShapeFits,
    members: IntArray,
    corner: IntArray,
    data: FloatArray,
    error: FloatArray,
    band: Any,
    kernel: PsfKernel,
) -> None:
    """Add the flags that the pixels of the boxes report."""
    size = data.shape[1]
    ny, nx = band.shape
    good = np.isfinite(data) & np.isfinite(error) & (error > 0)
    over = (corner < 0).any(1) | (corner[:, 0] + size > nx) | (corner[:, 1] + size > ny)
    row, column = np.indices((size, size))
    inside = (row[None] + corner[:, 1, None, None] >= 0) & (row[None] + corner[:, 1, None, None] < ny)
    inside &= (column[None] + corner[:, 0, None, None] >= 0) & (column[None] + corner[:, 0, None, None] < nx)
    bad = (~good & inside).any((1, 2))
    small = kernel.psf_half_size < size // 2
    for s in range(members.shape[1]):
        index = members[:, s]
        bits = np.zeros(len(index), dtype=np.int64)
        bits[over] |= int(PhotometryFlag.EDGE)
        bits[bad] |= int(PhotometryFlag.BAD_PIXELS)
        x = np.where(np.isfinite(out.x[index]), out.x[index] - corner[:, 0], size // 2)
        y = np.where(np.isfinite(out.y[index]), out.y[index] - corner[:, 1], size // 2)
        core = np.maximum(np.abs(row - y[:, None, None]), np.abs(column - x[:, None, None])) < 1.5
        bits[(core & inside & ~good).any((1, 2))] |= int(PhotometryFlag.BAD_CORE)
        if small:
            bits |= int(PhotometryFlag.PSF_SMALL)
        out.flags[index] |= bits
