"""Fits of recovered clumps, as the photometry makes them: those that stand close to another detection together with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from sc_lab.completeness.records import Outcome, Records
from sc_lab.photometry.boxes import BoxFits, fit_boxes
from sc_lab.photometry.clumps import PAIR_DISTANCE
from sc_lab.photometry.grouping import group_positions
from sc_lab.photometry.rendering import PsfKernel
from sc_lab.photometry.sizes import measure_sizes
from sc_lab.units import FloatArray

__all__ = ["FitBox", "cut_boxes", "fit_recovered"]

#: Two components closer than this have become one [px].
_MERGED = 1.0


@dataclass(frozen=True, eq=False)
class FitBox:
    """A box of pixels about a recovered clump.

    Attributes
    ----------
    row : int
        The clump's row among all of its batch.
    places : ndarray, shape (s, 2)
        Where the fit begins, (x, y) [px of the tile]: the clump first, then what is fitted with it.
    corner : tuple of int
        Lower left pixel of the box.
    data, error : ndarray, shape (side, side)
        Image and error; NaN beyond the tile.
    """

    row: int
    places: FloatArray
    corner: tuple[int, int]
    data: FloatArray
    error: FloatArray


def cut_boxes(
    rows: Records,
    start: int,
    data: FloatArray,
    error: FloatArray,
    found: FloatArray,
    allowed: npt.NDArray[np.bool_],
    box: int,
) -> list[FitBox]:
    """Return the boxes of the recovered clumps of one round.

    Parameters
    ----------
    rows : ndarray of `~sc_lab.completeness.records.RECORD`
        Clumps of the round, matched.
    start : int
        Row of the first of them in the batch.
    data, error : ndarray, shape (ny, nx)
        Image with the clumps, and its error.
    found : ndarray, shape (m, 2)
        All that was detected, (x, y).
    allowed : ndarray of bool, shape (ny, nx)
        Where detections count: others are not in a catalogue, so nothing is fitted together with them.
    box : int
        Side of the box of a single clump, odd [px].

    Returns
    -------
    list of FitBox
        One for each recovered clump, and before it one of its whole group where it has one.
    """
    hit = np.flatnonzero(rows["outcome"] == Outcome.RECOVERED)
    if not len(hit):
        return []
    own = cKDTree(found).query(np.stack([rows["x_found"][hit], rows["y_found"][hit]], axis=1))[1]
    ny, nx = data.shape
    pixel = np.clip(np.rint(found).astype(int), 0, [nx - 1, ny - 1])
    counts = allowed[pixel[:, 1], pixel[:, 0]]
    counts[own] = True
    # A detection that does not count stays alone: its place is no number.
    x, y = np.where(counts[:, None], found, np.nan).T
    groups = group_positions(x, y, PAIR_DISTANCE)
    margin = 2 * box + 16
    padded = [np.pad(image, margin, constant_values=np.nan) for image in (data, error)]
    out = []
    for row, mine in zip(hit + start, own, strict=True):
        together = groups.members[groups.label[mine]]
        others = [i for i in together if i != mine]
        for members in ([mine, *others], [mine]) if others else ([mine],):
            places = found[members]
            side = _side(places, box)
            # A peak in the last row may be refined to a place half a pixel beyond it.
            middle = np.clip(np.floor((places.min(axis=0) + places.max(axis=0)) / 2 + 0.5), 0, [nx - 1, ny - 1])
            corner = middle.astype(int) - side // 2
            piece = np.s_[
                corner[1] + margin : corner[1] + margin + side, corner[0] + margin : corner[0] + margin + side
            ]
            out.append(FitBox(int(row), places, (int(corner[0]), int(corner[1])), padded[0][piece], padded[1][piece]))
    return out


def fit_recovered(
    out: Records, boxes: list[FitBox], kernel: Callable[[int], PsfKernel], *, floor: float, noise_correlation: Any
) -> None:
    """Write the fits of recovered clumps into their rows.

    Parameters
    ----------
    out : ndarray of `~sc_lab.completeness.records.RECORD`
        All clumps of a batch.
    boxes : list of FitBox
        Of all its rounds.
    kernel : callable
        Returns the PSF for boxes of a side.
    floor : float
        Lowest eigenvalue of a fitted covariance [px^2].
    noise_correlation : ndarray or None
        Autocorrelation of the noise.

    Notes
    -----
    A group whose components merge or change places in the fit is given up, and the clump fitted alone.
    """
    done: set[int] = set()
    kinds: dict[tuple[int, int], list[FitBox]] = {}
    for each in boxes:
        kinds.setdefault((-len(each.places), len(each.data)), []).append(each)
    # Groups come first, so that a clump alone knows whether it still has to be fitted.
    for (_, side), same in sorted(kinds.items()):
        left = [each for each in same if each.row not in done]
        if not left:
            continue
        corner = np.array([each.corner for each in left], dtype=np.float64)
        local = np.array([each.places for each in left]) - corner[:, None]
        fits = fit_boxes(
            np.array([each.data for each in left]),
            np.array([each.error for each in left]),
            kernel(side),
            x=local[..., 0],
            y=local[..., 1],
            floor=floor,
            noise_correlation=noise_correlation,
            test_point=True,
            # One engine throughout: a resumed run must not differ in the last digit.
            engine="compiled",
        )
        good = _apart(fits, local)
        rows = np.array([each.row for each in left])[good]
        _write(out, rows, fits, good, corner)
        done.update(rows.tolist())


def _side(places: FloatArray, box: int) -> int:
    """Return the side of a box: ``box`` alone, ``box + 4`` for two, 4 px around more."""
    if len(places) == 1:
        return box
    pair = box + 4
    if len(places) == 2:
        return pair
    side = max(pair, int(np.ceil(np.ptp(places, axis=0).max())) + 9)
    return side + 1 - side % 2


def _apart(fits: BoxFits, local: FloatArray) -> npt.NDArray[np.bool_]:
    """Return where the clump neither merged with a companion nor changed places with it."""
    offset = np.stack([fits.x[:, 1:] - fits.x[:, :1], fits.y[:, 1:] - fits.y[:, :1]], axis=-1)
    before = local[:, 1:] - local[:, :1]
    with np.errstate(invalid="ignore"):
        fine = (np.hypot(offset[..., 0], offset[..., 1]) >= _MERGED) & ((offset * before).sum(axis=-1) >= 0)
    return np.asarray(fine.all(axis=1))


def _write(
    out: Records, rows: npt.NDArray[np.int_], fits: BoxFits, good: npt.NDArray[np.bool_], corner: FloatArray
) -> None:
    """Write the first component of some boxes."""
    shape, covariance = fits.shape[good, 0], fits.shape_covariance[good, 0]
    sizes = measure_sizes(shape, covariance)
    values = {
        "fit_status": fits.status[good],
        "flux": fits.flux[good, 0],
        "flux_err": fits.flux_err[good, 0],
        "x_fit": fits.x[good, 0] + corner[good, 0],
        "x_err": fits.x_err[good, 0],
        "y_fit": fits.y[good, 0] + corner[good, 1],
        "y_err": fits.y_err[good, 0],
        "cxx": shape[:, 0],
        "cyy": shape[:, 1],
        "cxy": shape[:, 2],
        "c_err": 0.5 * np.sqrt(np.maximum(covariance[:, :2, :2].sum(axis=(1, 2)), 0.0)),
        "std_maj": sizes.std_maj,
        "std_min": sizes.std_min,
        "dchi2_point": fits.dchi2_point[good, 0],
    }
    for name, value in values.items():
        out[name][rows] = value
