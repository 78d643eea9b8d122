"""Detection of clumps in the galaxies of a field: positions on the sky with lasting names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table, vstack

from sc_lab.detection.flags import DetectionFlag
from sc_lab.detection.matching import match_positions
from sc_lab.detection.sources import DEFAULT_THRESHOLDS, find_peaks
from sc_lab.errors import InputError, ScLabError
from sc_lab.images.footprint import contour_box
from sc_lab.images.galaxy import Galaxy, galaxy_at

__all__ = ["detect_clumps"]

#: Pixels beyond a contour that are looked at, so that a clump on its rim is whole and its host is known.
_MARGIN = 12

#: Side of the pieces in which a whole mosaic is searched, and what they share with their neighbours [px].
_TILE = 1024
_OVERLAP = 48

#: Id of a polygon that is no galaxy.
_POLYGON = "(region)"

_CONTOUR_REACH = 2.0
_SAME_PIXELS = 1.0


def detect_clumps(
    field: Any,
    band: str | None = None,
    region: Any = None,
    *,
    method: str = "segments",
    threshold: float | None = None,
    host: str = "median",
    host_size: int = 21,
    noise: str = "map",
    correlated: bool = True,
    min_area: int = 5,
    deblend_levels: int = 64,
    deblend_contrast: float = 0.005,
    template_std: float = 0.0,
    min_snr: float = 0.0,
    margin: int = _MARGIN,
    previous: Table | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Any = None,
) -> QTable:
    """Detect compact clumps in galaxies, in a polygon or in a whole band.

    Parameters
    ----------
    field : Field
        The images.
    band : str, optional
        Band to detect in; None takes the field's reference band.
    region : Galaxy, sequence of Galaxy, array_like (n, 2), 'all' or None
        Where to look: inside contours, inside a polygon of (ra, dec) [deg], or everywhere. None looks in the
        field's galaxies, or everywhere where the field has none.
    method : {'segments', 'template'}
        Source extraction after host removal, or peaks of a zero-mean template.
    threshold : float, optional
        In standard deviations; None is 1.5 (per pixel) for segments, 5 (of the template) for template.
    host : {'median', 'mesh', 'none'}
        How the light of the host is removed for segments.
    host_size : int
        Window of the median, or cell of the mesh [px].
    noise : {'map', 'measured'}
        Error map as it is, or scaled to the scatter of empty pixels of the cut-out.
    correlated : bool
        Whether thresholds and S/N allow for the noise that neighbouring pixels share, as measured on the band's blank
        sky. False takes pixels for independent: in drizzled or convolved images noise peaks then pass for clumps.
    min_area : int
        Fewest connected pixels of a segment.
    deblend_levels : int
        Levels at which a segment is looked at for several peaks.
    deblend_contrast : float
        Fraction of a segment's flux that a peak must hold to count.
    template_std : float
        Width of the clump that the template looks for, before the PSF [px].
    min_snr : float
        Detections with a lower matched-filter S/N are dropped.
    margin : int
        Pixels beyond a contour that are looked at; detections there are not returned.
    previous : Table, optional
        An earlier result: a detection within 2 pixels of one of its rows, in the same galaxy, keeps that row's id,
        and no id of it is given to another clump.
    progress : callable, optional
        Called with the number of regions (or pieces of a mosaic) done and their total.
    cancel : object with ``is_set()``, optional
        When set, the search stops.

    Returns
    -------
    QTable
        One row a clump, by galaxy and decreasing S/N: id, galaxy, ra, dec [deg], x, y [px of the band], snr
        (matched filter on the PSF), flux [nJy] (a first value, for a point source), peak [nJy per pixel, host
        removed], n_pixels, flags (`DetectionFlag`), origin ("auto"). Options and the ratio of measured to mapped
        noise are in ``meta["detection"]``.

    Raises
    ------
    InputError
        If a band, galaxy or option cannot be used.
    ScLabError
        If the search was cancelled.

    Notes
    -----
    The defaults (21-pixel median, 1.5 sigma, 5 pixels, 3 x 3 kernel, 64 levels at contrast 0.005) find half of the
    clumps at S/N 5 to 8 and nearly all above, S/N being that of the fit in the noise as it is; pairs closer than 3
    pixels are not told apart by any detector, see the second component that is fitted afterwards. In a crowded galaxy
    a contrast of 0.001 tells more of the neighbours at 4 to 8 pixels apart. The place of a clump is its highest smoothed
    pixel, refined by a parabola.
    An id is the galaxy's name, a point and a number that rises as the S/N falls, so a lower threshold only adds.
    """
    if not hasattr(field, "reference"):
        msg = f"field is {type(field).__name__}; give a Field, such as Field.from_arrays makes of images"
        raise InputError(msg)
    name = field.reference if band is None else str(band)
    image = field[name]
    jobs = list(_jobs(field, image, region, margin))
    psf = getattr(image, "psf", None)
    correlation = image.noise_correlation if correlated else None
    found: list[Table] = []
    ratios: list[float] = []
    for done, (galaxy, box, core) in enumerate(jobs):
        if cancel is not None and cancel.is_set():
            msg = f"the search was cancelled after {done} of {len(jobs)} regions; nothing of it is kept"
            raise ScLabError(msg)
        if box[2] > 0 and box[3] > 0:
            data, error = image.cutout(*box)
            peaks = find_peaks(
                data,
                error,
                psf=psf,
                pixel_scale=image.pixel_scale,
                method=method,
                threshold=threshold,
                host=host,
                host_size=host_size,
                noise=noise,
                correlation=correlation,
                min_area=min_area,
                deblend_levels=deblend_levels,
                deblend_contrast=deblend_contrast,
                template_std=template_std,
            )
            ratios.append(float(peaks.meta["noise_ratio"]))
            found.append(_placed(field, image, galaxy, box, core, peaks[peaks["snr"] >= min_snr]))
        if progress is not None:
            progress(done + 1, len(jobs))
    table = _merged(found)
    _name(table, previous, image.pixel_scale)
    finite = [ratio for ratio in ratios if np.isfinite(ratio)]
    table.meta["detection"] = {
        "band": name,
        "method": method,
        "threshold": DEFAULT_THRESHOLDS[method] if threshold is None else float(threshold),
        "host": host,
        "host_size": int(host_size),
        "noise": noise,
        "correlated": bool(correlated and correlation is not None),
        "min_area": int(min_area),
        "deblend_levels": int(deblend_levels),
        "deblend_contrast": float(deblend_contrast),
        "template_std": float(template_std),
        "min_snr": float(min_snr),
        "psf": psf is not None,
        "noise_ratio": round(float(np.median(finite)), 4) if finite else None,
    }
    return table


_Box = tuple[int, int, int, int]


def _jobs(field: Any, image: Any, region: Any, margin: int) -> Iterator[tuple[Galaxy | None, _Box, _Box]]:
    """Yield (galaxy or polygon, box to read, box in which a peak counts)."""
    ny, nx = image.shape
    if region is None:
        region = tuple(field.galaxies) or "all"
    if isinstance(region, str):
        if region != "all":
            msg = f"region is {region!r}; give a galaxy, a polygon of (ra, dec), 'all', or None"
            raise InputError(msg)
        for y0 in range(0, ny, _TILE):
            for x0 in range(0, nx, _TILE):
                core = (x0, y0, min(_TILE, nx - x0), min(_TILE, ny - y0))
                xa, ya = max(x0 - _OVERLAP, 0), max(y0 - _OVERLAP, 0)
                xb, yb = min(x0 + core[2] + _OVERLAP, nx), min(y0 + core[3] + _OVERLAP, ny)
                yield None, (xa, ya, xb - xa, yb - ya), core
        return
    if isinstance(region, Galaxy):
        region = (region,)
    elif not (isinstance(region, Sequence) and all(isinstance(each, Galaxy) for each in region)):
        region = (Galaxy(id=_POLYGON, contour=region),)
    ids = [each.id for each in region]
    if len(set(ids)) < len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        msg = f"two galaxies are named {twice}; give each image of a galaxy a name of its own"
        raise InputError(msg)
    for galaxy in region:
        box = contour_box(image, galaxy, margin=margin)
        yield galaxy, box, box


def _placed(field: Any, image: Any, galaxy: Galaxy | None, box: _Box, core: _Box, peaks: Table) -> Table:
    """Return the peaks that count, with their place in the mosaic and on the sky."""
    x, y = np.asarray(peaks["x"]) + box[0], np.asarray(peaks["y"]) + box[1]
    flags = np.asarray(peaks["flags"])
    ny, nx = image.shape
    # The rim of a cut-out is the rim of the image only where they coincide.
    rim = np.minimum.reduce([x, y, nx - 1 - x, ny - 1 - y]) < 5
    flags = np.where(rim, flags | int(DetectionFlag.NEAR_EDGE), flags & ~int(DetectionFlag.NEAR_EDGE))
    keep = (x >= core[0] - 0.5) & (x < core[0] + core[2] - 0.5) & (y >= core[1] - 0.5) & (y < core[1] + core[3] - 0.5)
    ra, dec = image.to_sky(x, y)
    names = np.full(len(x), "", dtype=object)
    if galaxy is not None and len(x):
        keep &= galaxy.contains(ra, dec)
        near = galaxy.rim_distance(ra, dec) < _CONTOUR_REACH * image.pixel_scale
        flags = np.where(near, flags | int(DetectionFlag.NEAR_CONTOUR), flags)
    if galaxy is not None and galaxy.id != _POLYGON:
        names[:] = galaxy.id
    elif len(field.galaxies):
        for row in np.flatnonzero(keep).tolist():
            owner = galaxy_at(field.galaxies, float(ra[row]), float(dec[row]))
            names[row] = "" if owner is None else owner.id
    size = float(galaxy.polygon.area) if galaxy is not None else 0.0
    return Table(
        {
            "galaxy": names[keep].astype(str),
            "ra": ra[keep],
            "dec": dec[keep],
            "x": x[keep],
            "y": y[keep],
            **{key: np.asarray(peaks[key])[keep] for key in ("snr", "flux", "peak", "n_pixels")},
            "flags": flags[keep],
            "size": np.full(int(keep.sum()), size),
        }
    )


def _merged(found: list[Table]) -> QTable:
    """Return all peaks as one table; one that two contours hold belongs to the smaller galaxy."""
    columns = ("ra", "dec", "x", "y", "snr", "flux", "peak", "n_pixels", "flags", "size")
    filled = [each for each in found if len(each)]
    if filled:
        merged = vstack(filled, metadata_conflicts="silent")
    else:
        kinds = {"n_pixels": np.int64, "flags": np.int64}
        merged = Table(
            {"galaxy": np.empty(0, dtype=str), **{c: np.empty(0, dtype=kinds.get(c, np.float64)) for c in columns}}
        )
    if len(filled) > 1:
        from scipy.spatial import cKDTree

        size, keep = np.asarray(merged["size"]), np.ones(len(merged), dtype=bool)
        pairs = cKDTree(np.stack([merged["x"], merged["y"]], axis=1)).query_pairs(_SAME_PIXELS, output_type="ndarray")
        for a, b in pairs.tolist():
            if merged["galaxy"][a] != merged["galaxy"][b]:
                keep[b if size[a] <= size[b] else a] = False
        merged = merged[keep]
    order = np.argsort(-np.asarray(merged["snr"]), kind="stable")
    ranks = {name: k for k, name in enumerate(dict.fromkeys(map(str, np.asarray(merged["galaxy"]))))}
    galaxy_rank = np.array([ranks[str(name)] for name in merged["galaxy"]], dtype=np.int64)
    order = order[np.argsort(galaxy_rank[order], kind="stable")]
    merged = merged[order]
    out = QTable()
    out["id"] = np.full(len(merged), "", dtype=object)
    out["galaxy"] = merged["galaxy"]
    for key in ("ra", "dec"):
        out[key] = np.asarray(merged[key]) * u.deg
    for key in ("x", "y"):
        out[key] = np.asarray(merged[key])
    out["snr"] = np.asarray(merged["snr"])
    out["flux"] = np.asarray(merged["flux"]) * u.nJy
    out["peak"] = np.asarray(merged["peak"]) * u.nJy
    out["n_pixels"] = np.asarray(merged["n_pixels"])
    out["flags"] = np.asarray(merged["flags"])
    out["origin"] = np.full(len(merged), "auto", dtype="U8")
    return out


def _name(table: QTable, previous: Table | None, pixel_scale: float) -> None:
    """Give each clump its id: the old one where it is known, else the next free number of its galaxy."""
    ids = np.full(len(table), "", dtype=object)
    galaxies = np.asarray(table["galaxy"]).astype(str)
    taken: set[str] = set()
    if previous is not None and len(previous):
        missing = [key for key in ("id", "ra", "dec") if key not in previous.colnames]
        if missing:
            msg = f"previous has no column {', '.join(missing)}; give a table that detect_clumps or the picker made"
            raise InputError(msg)
        old = np.asarray(previous["id"]).astype(str)
        taken.update(old.tolist())
        homes = np.asarray(previous["galaxy"]).astype(str) if "galaxy" in previous.colnames else None
        for home in dict.fromkeys(galaxies.tolist()):
            mine = np.flatnonzero(galaxies == home)
            theirs = np.arange(len(old)) if homes is None else np.flatnonzero(homes == home)
            match = match_positions(
                table["ra"][mine],
                table["dec"][mine],
                previous["ra"][theirs],
                previous["dec"][theirs],
                radius=2.0 * pixel_scale * u.arcsec,
            )
            free = [k for k in range(len(match.first)) if not ids[mine[match.first[k]]]]
            for k in free:
                ids[mine[match.first[k]]] = old[theirs[match.second[k]]]
    last: dict[str, int] = {}
    for name in taken:
        stem, _, number = name.rpartition(".")
        if re.fullmatch(r"[0-9]{1,9}", number):
            last[stem] = max(last.get(stem, 0), int(number))
    for row, home in enumerate(galaxies.tolist()):
        if not ids[row]:
            stem = home or "clump"
            last[stem] = last.get(stem, 0) + 1
            ids[row] = f"{stem}.{last[stem]}"
    table["id"] = ids.astype(str) if len(ids) else np.empty(0, dtype="U1")
