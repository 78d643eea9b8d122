"""Second components: which fitted clumps are better described by two."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from sc_lab.errors import InputError
from sc_lab.photometry._pixels import BoxReader
from sc_lab.photometry._sizeband import box_corner
from sc_lab.photometry.boxes import FREE_FLOOR, PAPER_FLOOR, BoxFits, fit_boxes
from sc_lab.photometry.grouping import neighbours_in_box
from sc_lab.photometry.rendering import PsfKernel, make_kernel, render_batch
from sc_lab.photometry.residuals import model_places
from sc_lab.units import FloatArray

__all__ = ["propose_splits"]

#: The box of a pair: 13 px beside 9 for one clump (Claeyssens et al. 2026, section 3.1.2).
_BOX = 13

#: Parameters that a second component adds.
_MORE = 6

#: Components closer than this, in px, are one; a second one farther off is another clump.
_CLOSEST, _FARTHEST = 1.0, 5.0


def propose_splits(
    field: Any, table: Table, *, band: str | None = None, min_dbic: float = 10.0, engine: str = "auto"
) -> QTable:
    """Look for clumps that are two.

    Parameters
    ----------
    field : `~sc_lab.images.Field`
        Images with PSFs.
    table : Table
        Result of `fit_clumps`.
    band : str, optional
        Band to look in; None is the reference of the table.
    min_dbic : float, optional
        Least gain in the Bayesian information criterion.
    engine : str, optional
        See `choose_engine`.

    Returns
    -------
    QTable
        Best first: id of the clump, ra, dec and ra_2, dec_2 of the two components [deg], flux and flux_2
        [nJy], separation [mas], dbic. Nothing is changed: these are proposals.

    Raises
    ------
    InputError
        If the band has no PSF or no fluxes in the table, or the table is no result of `fit_clumps`.

    Notes
    -----
    No detector tells pairs at the width of the PSF apart, but the residual of a fit with one component
    does. In a box of 13 px, with the models of the other clumps taken off, one component is compared
    with two, the second begun at the highest point of the residual seen through the PSF, or both
    along the major axis. dBIC = gain in chi^2 - 6 ln(pixels); the gain is divided by the
    inflation of variances where the noise is correlated. Only clumps that were fitted alone are tried.
    """
    if "photometry" not in table.meta:
        msg = "the table is no result of fit_clumps (its metadata have no 'photometry'); fit the clumps first"
        raise InputError(msg)
    settings = table.meta["photometry"]["settings"]
    name = settings["reference"] if band is None else str(band).upper()
    image = field[name]
    if image.psf is None:
        msg = f"{name} has no PSF, so no clump can be fitted in it; give one with psfs="
        raise InputError(msg)
    flux, x, y, shape = model_places(field, table, name)
    group = np.asarray(table["group"])
    alone = np.bincount(group, minlength=group.max(initial=0) + 1)[group] == 1
    index = np.nonzero(np.isfinite(flux) & (flux > 0) & alone)[0]
    kernel = make_kernel(image.psf, (_BOX, _BOX), pixel_scale=image.pixel_scale)
    corner = box_corner(x[index], y[index], _BOX)
    data, error = BoxReader(image, corner[:, 0], corner[:, 1], _BOX).read(corner[:, 0], corner[:, 1], _BOX)
    _take_off_others(data, index, corner, kernel, flux, x, y, shape)
    place = np.stack([x[index] - corner[:, 0], y[index] - corner[:, 1]], axis=-1)
    floor = PAPER_FLOOR if settings["mode"] == "paper" else FREE_FLOOR
    rho = image.noise_correlation if settings["correlated_noise"] else None
    options: dict[str, Any] = {"floor": floor, "engine": engine, "max_shift": 3.0}
    single = fit_boxes(data, error, kernel, x=place[:, 0], y=place[:, 1], noise_correlation=rho, **options)
    calm = _calm(single, data, error, kernel, place, rho, options)
    starts = [_from_residual(single, data, error, kernel), _along_axis(single)]
    cost = np.full(index.size, np.inf)
    result = np.full((index.size, 2, 3), np.nan)
    for start in starts:
        two = fit_boxes(data, error, kernel, x=start[..., 0], y=start[..., 1], **options)
        apart = np.hypot(two.x[:, 0] - two.x[:, 1], two.y[:, 0] - two.y[:, 1])
        with np.errstate(invalid="ignore"):
            fine = (apart >= _CLOSEST) & (apart <= _FARTHEST) & (two.flux > 0).all(1) & (two.snr > 3).all(1)
            better = fine & (two.chi2 < cost)
        cost[better] = two.chi2[better]
        result[better] = np.stack([two.flux, two.x, two.y], axis=-1)[better]
    with np.errstate(invalid="ignore"):
        dbic = (single.chi2 - cost) * calm - _MORE * np.log(np.maximum(single.dof + 9, 1))
        order = np.argsort(-dbic, kind="stable")
        order = order[dbic[order] > min_dbic]
    return _proposals(table, image, index[order], corner[order], result[order], dbic[order])


def _take_off_others(
    data: FloatArray,
    index: Any,
    corner: Any,
    kernel: PsfKernel,
    flux: FloatArray,
    x: FloatArray,
    y: FloatArray,
    shape: FloatArray,
) -> None:
    """Subtract the models of all other clumps from each box."""
    centre = (corner + _BOX // 2).astype(np.float64)
    near = neighbours_in_box(np.column_stack([x, y]), centre, _BOX / 2 + 4.0, np.isfinite(flux))
    pairs = [(row, j) for row, (i, js) in enumerate(zip(index, near, strict=True)) for j in js.tolist() if j != i]
    if pairs:
        row, other = np.array(pairs).T
        local = x[other] - corner[row, 0], y[other] - corner[row, 1]
        images = render_batch(kernel, *local, shape[other], 1)[:, 0] * flux[other, None]
        np.subtract.at(data, row, images.reshape(-1, _BOX, _BOX))


def _calm(
    single: BoxFits, data: FloatArray, error: FloatArray, kernel: PsfKernel, place: FloatArray, rho: Any, options: Any
) -> FloatArray:
    """Return what chi^2 differences are to be multiplied with because neighbouring pixels share noise."""
    if rho is None:
        return np.ones(len(single))
    plain = fit_boxes(data, error, kernel, x=place[:, 0], y=place[:, 1], **options)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nan_to_num(np.minimum((plain.flux_err / single.flux_err)[:, 0] ** 2, 1.0), nan=1.0))


def _from_residual(single: BoxFits, data: FloatArray, error: FloatArray, kernel: PsfKernel) -> FloatArray:
    """Return starts (n, 2, 2): the fitted centre, and the peak of the residual seen through the PSF."""
    n = len(single)
    where = np.stack([single.x[:, 0], single.y[:, 0]], axis=-1)
    safe = np.where(np.isfinite(where), where, _BOX // 2)
    shape = np.where(np.isfinite(single.shape[:, 0]), single.shape[:, 0], 0.0)
    model = render_batch(kernel, safe[:, 0], safe[:, 1], shape, 1)[:, 0] * np.nan_to_num(single.flux)
    row, column = np.divmod(np.arange(_BOX**2), _BOX)
    plane = np.nan_to_num(single.plane)
    middle = 0.5 * (_BOX - 1)
    model += plane[:, :1] + plane[:, 1:2] * (column - middle) + plane[:, 2:] * (row - middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        good = np.isfinite(data) & np.isfinite(error) & (error > 0)
        weight = np.where(good, 1 / error**2, 0.0).reshape(n, _BOX**2)
    residual = np.where(weight > 0, np.nan_to_num(data.reshape(n, _BOX**2)) - model, 0.0)
    inner = np.nonzero((np.abs(row - middle) <= 4) & (np.abs(column - middle) <= 4))[0]
    points = render_batch(kernel, column[inner].astype(float), row[inner].astype(float), np.zeros((inner.size, 3)), 1)
    points = points[:, 0]
    strength = ((weight * residual) @ points.T) / np.sqrt(np.maximum(weight @ (points**2).T, 1e-300))
    peak = inner[np.argmax(strength, axis=1)]
    second = np.stack([column[peak], row[peak]], axis=-1).astype(np.float64)
    # The fit with one component lies between the two: begin the first on the other side.
    return np.stack([safe - 0.5 * np.clip(second - safe, -2, 2), second], axis=1)


def _along_axis(single: BoxFits) -> FloatArray:
    """Return starts (n, 2, 2) on both sides of the fitted centre, along the major axis."""
    xx, yy, xy = np.moveaxis(np.nan_to_num(single.shape[:, 0]), -1, 0)
    theta = 0.5 * np.arctan2(2 * xy, xx - yy)
    length = np.clip(np.sqrt(np.maximum(0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy), 0)), 1.0, 2.5)
    offset = length[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=-1)
    middle = np.stack([single.x[:, 0], single.y[:, 0]], axis=-1)
    middle = np.where(np.isfinite(middle), middle, _BOX // 2)
    return np.stack([middle - offset, middle + offset], axis=1)


def _proposals(table: Table, image: Any, index: Any, corner: Any, result: FloatArray, dbic: FloatArray) -> QTable:
    """Return the table of proposals, the brighter component first."""
    brighter = np.argsort(-result[..., 0], axis=1)
    result = np.take_along_axis(result, brighter[..., None], axis=1)
    out = QTable()
    out["id"] = np.asarray(table["id"])[index]
    for s, tail in enumerate(("", "_2")):
        ra, dec = image.to_sky(result[:, s, 1] + corner[:, 0], result[:, s, 2] + corner[:, 1])
        out[f"ra{tail}"], out[f"dec{tail}"] = np.asarray(ra) * u.deg, np.asarray(dec) * u.deg
    out["flux"], out["flux_2"] = result[:, 0, 0] * u.nJy, result[:, 1, 0] * u.nJy
    apart = np.hypot(result[:, 0, 1] - result[:, 1, 1], result[:, 0, 2] - result[:, 1, 2])
    out["separation"] = apart * image.pixel_scale * 1e3 * u.mas
    out["dbic"] = dbic
    return out
