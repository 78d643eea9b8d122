"""Sizes and fluxes of a list of clumps over a whole field, and what a change of the list makes necessary."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.table import QTable, Table

from sc_lab.errors import InputError, ScLabError, ScLabWarning
from sc_lab.photometry._engine import choose_engine
from sc_lab.photometry._forced import OUTSIDE_REACH, ForcedFluxes, carry_covariance, carry_shape, forced_fluxes
from sc_lab.photometry._sizeband import (
    BOX_MARGIN,
    MAX_SHIFT,
    OUTSIDE_MARGIN,
    PASSES,
    ShapeFits,
    fit_shapes,
    groups_near,
)
from sc_lab.photometry._template import HostTemplates
from sc_lab.photometry.flags import PhotometryFlag, describe_flags
from sc_lab.photometry.grouping import Groups, group_positions
from sc_lab.photometry.sizes import HALF_LIGHT, STD_LIMIT, clip_shape, measure_sizes, size_classes
from sc_lab.units import FloatArray, value_in

__all__ = ["EXTENDED", "PAIR_DISTANCE", "fit_clumps"]

#: What the light under clumps may be.
BACKGROUNDS = ("plane", "host")

#: Clumps closer than this share a fit [px of the reference band] (Claeyssens et al. 2026, section 3.1.2).
PAIR_DISTANCE = 4.0

#: A clump is extended when a point costs more chi^2 than this: 8 % of true points do.
EXTENDED = 6.0

#: A clump has dropped out of the reference below the first S/N, or below the second when its centre or size ran
#: into a bound: pure noise, fitted with centre and shape free, reaches more than that in 8 % of boxes.
_DROPPED, _DROPPED_AT_BOUND = 3.0, 8.0

#: The S/N that another band must offer to give the size, away from the bounds.
_FOUND = 5.0

_AT_BOUND = int(PhotometryFlag.CENTRE_BOUND | PhotometryFlag.SIZE_BOUND)

BoolArray = npt.NDArray[np.bool_]


def _dropped(snr: FloatArray, flags: npt.NDArray[np.int64]) -> BoolArray:
    """Return which clumps are not seen in the band that was to give their sizes."""
    with np.errstate(invalid="ignore"):
        return np.asarray(~(snr >= np.where(flags & _AT_BOUND > 0, _DROPPED_AT_BOUND, _DROPPED)))


@dataclass(frozen=True)
class _Settings:
    """Options that decide the numbers; two tables with equal ones may share rows."""

    reference: str
    mode: str
    background: str
    bands: tuple[str, ...]
    fallback: tuple[str, ...]
    box: int
    centre: str
    pair_distance: float
    correlated_noise: bool


class _Progress:
    """Counts clumps times bands; stops when asked to."""

    def __init__(self, total: int, progress: Callable[[int, int], object] | None, cancel: Any) -> None:
        self.done, self.total, self.progress, self.cancel = 0, max(total, 1), progress, cancel

    def __call__(self, n: int) -> None:
        """Count ``n`` more."""
        if self.cancel is not None and self.cancel.is_set():
            msg = "the photometry was cancelled; nothing of it is kept"
            raise ScLabError(msg)
        self.done = min(self.done + n, self.total)
        if self.progress is not None:
            self.progress(self.done, self.total)


def fit_clumps(
    field: Any,
    clumps: Table,
    *,
    reference: str | None = None,
    mode: str = "paper",
    background: str = "host",
    bands: Sequence[str] | None = None,
    box: int = 9,
    centre: str = "prior",
    pair_distance: float = PAIR_DISTANCE,
    fallback: Sequence[str] | None = None,
    correlated_noise: bool | None = None,
    previous: Table | None = None,
    progress: Callable[[int, int], object] | None = None,
    cancel: Any = None,
    engine: str = "auto",
) -> QTable:
    """Measure sizes in one band and fluxes in all of them.

    Parameters
    ----------
    field : `~sc_lab.images.Field`
        Images with PSFs.
    clumps : Table
        Columns id, ra, dec [deg, ICRS] and optionally galaxy, which is passed on.
    reference : str, optional
        Band that gives positions and sizes; None takes the field's own.
    mode : str, optional
        "paper": the method of Claeyssens et al. 2026: no negative variances, one 0.4 px
        rule for all. "full": variances linear through zero, a clump counts as extended when
        a point is a worse fit by more than 6 in chi^2, two-sigma limits, light of clumps
        outside the box taken off, errors for correlated noise.
    background : str, optional
        What the light under a clump is taken for. "plane": a tilted plane, as in the paper. "host": curvature as
        strong as the pixels ask for, and in all bands but the reference the shape that the host has in the
        reference as well; light of clumps outside the box taken off; errors that allow for both, and for what the
        model leaves in the pixels. Both together, ``mode="paper", background="plane"``, are the method of the paper.
    bands : sequence of str, optional
        Bands to measure fluxes in; None is all of the field. The reference is always among them.
    box : int, optional
        Side of the box of a single clump in px of each band: 9, 13 or 17. Pairs take 4 px more.
    centre : str, optional
        Centre in the other bands: "prior" (0.15 px around the reference's, within 1 px),
        "free" (within 1 px) or "fixed".
    pair_distance : float, optional
        Clumps closer than this are fitted together [px of the reference].
    fallback : sequence of str, optional
        Bands that give the size of a clump that drops out of the reference, in order; None
        takes the others of ``bands`` by the width of their PSFs, the most similar first.
    correlated_noise : bool, optional
        Whether errors allow for the correlation of the sky's noise; None does in full mode.
    previous : Table, optional
        An earlier result: where options and images are the same, only what the change of the
        list touches is fitted again, with the same numbers as from scratch; else everything is.
    progress : callable, optional
        Called as ``progress(done, total)``, in clumps times bands.
    cancel : object, optional
        With ``is_set()``, such as `threading.Event`.
    engine : str, optional
        "auto", "compiled" or "numpy".

    Returns
    -------
    QTable
        One row per clump, in the order given: id, [galaxy], ra, dec [deg], x, y, x_err,
        y_err [px of the reference], flux_<band> and flux_<band>_err [nJy, total flux, negative allowed], snr
        (matched filter, in size_band), cov_xx, cov_yy, cov_xy [px^2], std_maj, std_min, std_up
        [px], theta [deg from +x towards +y], r_cir and r_cir_err [px], r_eff_obs, r_eff_obs_err,
        r_eff_obs_limit [mas], size_class, extended, dchi2_point, chi2, dof, group, flags
        (`PhotometryFlag`), status, flux_shape_err (relative, in the reference), size_band,
        shape_err_<band> [nJy, the part of flux_<band>_err common to all bands],
        shift_x_<band>, shift_y_<band> [px of the band], cov_covariance [px^4], size_flags
        (bits of the size fit alone), ra_start, dec_start [deg, as given].

    Raises
    ------
    InputError
        If a band, option or column is missing or not known.
    ScLabError
        If it was cancelled.

    Notes
    -----
    The model is Claeyssens et al. 2026, section 3.1.2. A clump that cannot be measured keeps its
    row, with NaN, flags and a sentence in ``status``. r_eff_obs is NaN for an unresolved clump,
    whose upper limit is r_eff_obs_limit. Fluxes are never clipped at zero; the three-sigma limit
    of a non-detection is three times its error.
    """
    if not hasattr(field, "reference"):
        msg = f"field is {type(field).__name__}; give a Field, such as Field.from_files makes of mosaics"
        raise InputError(msg)
    settings, cautions = _settings(
        field, reference, mode, background, bands, fallback, box, centre, pair_distance, correlated_noise
    )
    engine = choose_engine(engine)
    if not isinstance(clumps, Table):
        msg = f"clumps is {type(clumps).__name__}; give a table with the columns id, ra and dec [deg]"
        raise InputError(msg)
    if previous is not None and not isinstance(previous, Table):
        msg = f"previous is {type(previous).__name__}; give an earlier result of fit_clumps, or None"
        raise InputError(msg)
    missing = [name for name in ("id", "ra", "dec") if name not in clumps.colnames]
    if missing:
        msg = f"the clump table lacks {', '.join(missing)}; it needs id, ra and dec [deg]"
        raise InputError(msg)
    ids = np.array([str(each) for each in clumps["id"]])
    if len(set(ids.tolist())) < len(ids):
        values, counts = np.unique(ids, return_counts=True)
        twice, times = str(values[counts > 1][0]), counts[counts > 1][0]
        msg = f"id {twice!r} stands in {times} rows; ids tell clumps apart, give each its own"
        raise InputError(msg)
    ra, dec = value_in(clumps["ra"], u.deg, "ra"), value_in(clumps["dec"], u.deg, "dec")
    band = field[settings.reference]
    x, y = (np.asarray(v, dtype=np.float64).reshape(-1) for v in band.to_pixel(ra, dec))
    groups = group_positions(x, y, settings.pair_distance)
    old = _reusable(previous, settings, ids, _fingerprints(field, settings))
    coarseness = max(1.0, *(field[name].pixel_scale / band.pixel_scale for name in settings.bands))
    redo = _touched_shapes(old, ids, (ra, dec), x, y, groups, band, settings, coarseness)
    again = _touched_fluxes(old, x, y, redo, field, settings)
    count = _Progress(int(redo.sum()) + int(again.sum()) * len(settings.bands), progress, cancel)
    shapes = _Shapes(len(ids), field, settings)
    shapes.measure(ra, dec, x, y, groups, redo, engine, count)
    shapes.recall(old, ~redo)
    fluxes = {name: shapes.force(name, again, engine, count) for name in settings.bands}
    table = shapes.table(clumps, ra, dec, groups, fluxes, cautions)
    _copy_rows(table, old, ~again)
    table.meta["photometry"]["refitted"] = [int(redo.sum()), int(again.sum())]
    count(count.total)
    return table


def _settings(
    field: Any,
    reference: str | None,
    mode: str,
    background: str,
    bands: Sequence[str] | None,
    fallback: Sequence[str] | None,
    box: int,
    centre: str,
    pair_distance: float,
    correlated_noise: bool | None,
) -> tuple[_Settings, list[str]]:
    """Return checked options and what had to be said about the bands."""
    if mode not in ("paper", "full"):
        msg = f"mode={mode!r} is not known; choose 'paper' or 'full'"
        raise InputError(msg)
    if background not in BACKGROUNDS:
        msg = f"background={background!r} is not known; choose from {', '.join(map(repr, BACKGROUNDS))}"
        raise InputError(msg)
    if centre not in ("prior", "free", "fixed"):
        msg = f"centre={centre!r} is not known; choose 'prior', 'free' or 'fixed'"
        raise InputError(msg)
    if not isinstance(box, (int, float, np.number)) or box % 2 != 1 or not 5 <= box <= 31:
        msg = f"box={box!r} is not usable; give an odd side from 5 to 31 px (9 in the paper)"
        raise InputError(msg)
    if not isinstance(pair_distance, (int, float, np.number)) or not 0 <= pair_distance <= 20:
        msg = f"pair_distance={pair_distance!r} is not usable; give 0 to 20 px (4 in the paper)"
        raise InputError(msg)
    cautions: list[str] = []
    bands, fallback = ([each] if isinstance(each, str) else each for each in (bands, fallback))
    names = tuple(dict.fromkeys(str(name).upper() for name in (field.names if bands is None else bands)))
    for name in names:
        field[name]  # a band that is not there is an error here, before any work
    with_psf = [name for name in names if field[name].psf is not None]
    without = [name for name in names if name not in with_psf]
    if without:
        cautions.append(f"{', '.join(without)}: no PSF, so no fluxes; give one with psfs=")
    wanted = field.reference if reference is None else str(reference).upper()
    if wanted not in field:
        choice = [str(name).upper() for name in fallback or () if str(name).upper() in field]
        instead = choice[0] if choice else field.reference
        cautions.append(f"the field has no {wanted}; sizes come from {instead}")
        wanted = instead
    if field[wanted].psf is None:
        if not with_psf:
            msg = (
                f"{wanted} has no PSF, and no other band has one; give psfs={{{wanted!r}: ...}} when opening the field"
            )
            raise InputError(msg)
        instead = min(with_psf, key=lambda name: float(field[name].psf.fwhm))
        cautions.append(f"{wanted} has no PSF; sizes come from {instead}")
        wanted = instead
    for sentence in cautions:
        warnings.warn(sentence, ScLabWarning, stacklevel=3)
    width = float(field[wanted].psf.fwhm)
    if fallback is None:
        order = sorted(with_psf, key=lambda name: abs(float(field[name].psf.fwhm) - width))
    else:
        order = [str(name).upper() for name in fallback]
        for name in order:
            field[name]
    settings = _Settings(
        reference=wanted,
        mode=mode,
        background=background,
        bands=tuple(dict.fromkeys((*names, wanted))),
        fallback=tuple(name for name in order if name != wanted and field[name].psf is not None),
        box=int(box),
        centre=centre,
        pair_distance=float(pair_distance),
        correlated_noise=mode == "full" if correlated_noise is None else bool(correlated_noise),
    )
    return settings, cautions


def _takes_off(settings: _Settings) -> bool:
    """Return whether the light of clumps outside a box is taken off."""
    return settings.mode == "full" or settings.background == "host"


def _correlation(band: Any, settings: _Settings) -> Any:
    """Return the noise correlation of a band if errors are to allow for it."""
    return band.noise_correlation if settings.correlated_noise else None


class _Shapes:
    """Positions and shapes in pixels of the reference, whichever band gave them."""

    def __init__(self, n: int, field: Any, settings: _Settings) -> None:
        self.field, self.settings, self.n = field, settings, n
        self.band = field[settings.reference]
        self.fits = ShapeFits(n)
        self.ra, self.dec = np.full(n, np.nan), np.full(n, np.nan)
        self.size_band = np.full(n, settings.reference, dtype="U32")
        self._templates: HostTemplates | None = None

    @property
    def std_limit(self) -> FloatArray:
        """Smallest resolved standard deviation in px of the reference; scaled to the PSF of another band."""
        width = {name: float(self.field[name].psf.fwhm) for name in np.unique(self.size_band).tolist()}
        scale = np.array([width[name] for name in self.size_band.tolist()], dtype=np.float64)
        return np.asarray(STD_LIMIT * scale / float(self.band.psf.fwhm))

    def measure(
        self,
        ra: FloatArray,
        dec: FloatArray,
        x: FloatArray,
        y: FloatArray,
        groups: Groups,
        redo: BoolArray,
        engine: str,
        count: _Progress,
    ) -> None:
        """Fit the reference band, then other bands for what drops out of it."""
        settings, fits = self.settings, self.fits
        options: dict[str, Any] = {
            "mode": settings.mode,
            "curved": settings.background == "host",
            "box": settings.box,
            "engine": engine,
            "step": count,
        }
        correlation = _correlation(self.band, settings)
        found = fit_shapes(self.band, x, y, groups, redo, noise_correlation=correlation, **options)
        for name in vars(fits):
            if name != "n":
                getattr(fits, name)[redo] = getattr(found, name)[redo]
        position = np.isfinite(fits.x)
        self.ra[position], self.dec[position] = self.band.to_sky(fits.x[position], fits.y[position])
        fits.flags[redo & ~(np.isfinite(x) & np.isfinite(y))] |= int(PhotometryFlag.NO_DATA)
        merged = (fits.flags & PhotometryFlag.MERGED > 0) & ~position
        lost = redo & ~merged & np.isfinite(x) & _dropped(fits.snr, fits.flags)
        for name in settings.fallback:
            if not lost.any():
                break
            lost &= ~self._fall_back(name, ra, dec, lost, options)

    def _fall_back(
        self, name: str, ra: FloatArray, dec: FloatArray, lost: BoolArray, options: dict[str, Any]
    ) -> BoolArray:
        """Take sizes from another band for clumps that dropped out; return for which this worked."""
        settings, fits, band = self.settings, self.fits, self.field[name]
        index = np.nonzero(lost)[0]
        x, y = (np.asarray(v, dtype=np.float64) for v in band.to_pixel(ra[index], dec[index]))
        groups = group_positions(x, y, settings.pair_distance)
        correlation = _correlation(band, settings)
        wanted = np.ones(index.size, dtype=bool)
        new = fit_shapes(band, x, y, groups, wanted, noise_correlation=correlation, **options)
        good = (new.snr >= _FOUND) & (new.flags & _AT_BOUND == 0) & np.isfinite(new.shape).all(1)
        worked = np.zeros(self.n, dtype=bool)
        if not good.any():
            return worked
        at = index[good]
        worked[at] = True
        self.ra[at], self.dec[at] = band.to_sky(new.x[good], new.y[good])
        back = band.jacobian_to(self.band, new.x[good], new.y[good])
        fits.x[at], fits.y[at] = self.band.to_pixel(self.ra[at], self.dec[at])
        fits.x_err[at], fits.y_err[at] = _carried_errors(new, good, back)
        fits.shape[at] = carry_shape(new.shape[good], back)
        fits.covariance[at] = carry_covariance(new.covariance[good], back)
        for each in ("snr", "dchi2_point", "chi2", "dof"):
            getattr(fits, each)[at] = getattr(new, each)[good]
        # The flux of the reference is measured again, with the shape found here.
        fits.flux[at], fits.flux_err[at], fits.shape_err_flux[at] = np.nan, np.nan, np.nan
        kept = fits.flags[at] & int(PhotometryFlag.CHAIN_CUT)
        fits.flags[at] = new.flags[good] | kept | int(PhotometryFlag.FALLBACK_BAND)
        self.size_band[at] = name
        return worked

    def recall(self, old: _Old | None, which: BoolArray) -> None:
        """Take positions, shapes and reference fluxes of untouched clumps from the earlier table."""
        if old is None or not which.any():
            return
        row, table, fits = old.row[which], old.table, self.fits
        flux = f"flux_{self.settings.reference.lower()}"
        columns = {name: name for name in ("x", "y", "x_err", "y_err", "snr", "dchi2_point", "chi2", "dof")}
        columns |= {"flux": flux, "flux_err": f"{flux}_err", "flags": "size_flags"}
        columns |= {"shape_err_flux": f"shape_err_{self.settings.reference.lower()}", "covariance": "cov_covariance"}
        for name, column in columns.items():
            getattr(fits, name)[which] = np.asarray(table[column])[row]
        for i, column in enumerate(("cov_xx", "cov_yy", "cov_xy")):
            fits.shape[which, i] = np.asarray(table[column])[row]
        measured = which.copy()
        measured[which] = np.isfinite(fits.x[which])
        for name in ("ra", "dec"):
            getattr(self, name)[measured] = np.asarray(table[name].to_value(u.deg))[old.row[measured]]
        self.size_band[which] = np.asarray(table["size_band"]).astype(str)[row]

    def force(self, name: str, wanted: BoolArray, engine: str, count: _Progress) -> ForcedFluxes | None:
        """Return fluxes in a band with fixed shapes, or None for a band without a PSF."""
        band, fits, settings = self.field[name], self.fits, self.settings
        if band.psf is None:
            return None
        usable = np.isfinite(fits.x) & np.isfinite(self.ra)
        x, y = np.full(self.n, np.nan), np.full(self.n, np.nan)
        shape, covariance = fits.shape.copy(), fits.covariance.copy()
        if usable.any():
            x[usable], y[usable] = band.to_pixel(self.ra[usable], self.dec[usable])
            jacobian = self.band.jacobian_to(band, fits.x[usable], fits.y[usable])
            shape[usable] = carry_shape(clip_shape(fits.shape[usable]), jacobian)
            covariance[usable] = carry_covariance(fits.covariance[usable], jacobian)
        elsewhere = wanted & ~((self.size_band == name) & (name == settings.reference))
        return forced_fluxes(
            band,
            x,
            y,
            shape,
            covariance,
            elsewhere,
            box=settings.box,
            centre=settings.centre,
            # What shines into a box from outside is part of the template.
            take_off=settings.mode == "full" and settings.background == "plane",
            curved=settings.background == "host",
            templates=self.templates(name),
            engine=engine,
            noise_correlation=_correlation(band, settings),
            step=count,
        )

    def templates(self, name: str) -> HostTemplates | None:
        """Return what the host of the clumps looks like, for any band but that of the sizes."""
        if self.settings.background != "host" or name == self.settings.reference:
            return None
        if self._templates is None:
            own = np.isfinite(self.fits.x) & (self.size_band == self.settings.reference)
            self._templates = HostTemplates(self.band, self.fits, own)
        return self._templates

    def table(
        self,
        clumps: Table,
        ra: FloatArray,
        dec: FloatArray,
        groups: Groups,
        fluxes: dict[str, ForcedFluxes | None],
        cautions: list[str],
    ) -> QTable:
        """Return the columns of the result."""
        fits, settings, scale = self.fits, self.settings, self.band.pixel_scale
        flags = fits.flags.copy()
        sizes = measure_sizes(fits.shape, fits.covariance)
        extended = fits.dchi2_point > EXTENDED
        limit = self.std_limit
        kind = size_classes(sizes.std_maj, sizes.std_min, std_limit=limit)
        if settings.mode == "full":
            kind = np.where((kind != "") & ~extended, "unresolved", kind)
            limit = np.fmax(limit, sizes.std_up)
        to_mas = HALF_LIGHT * scale * 1e3
        radius = np.where(kind == "resolved", sizes.r_cir, np.where(kind == "one_axis", sizes.std_maj, np.nan))
        radius_err = np.where(
            kind == "resolved", sizes.r_cir_err, np.where(kind == "one_axis", sizes.std_maj_err, np.nan)
        )
        out = QTable()
        out["id"] = np.asarray(clumps["id"])
        if "galaxy" in clumps.colnames:
            out["galaxy"] = clumps["galaxy"]
        measured = np.isfinite(self.ra)
        out["ra"], out["dec"] = np.where(measured, self.ra, ra) * u.deg, np.where(measured, self.dec, dec) * u.deg
        out["x"], out["y"] = fits.x, fits.y
        out["x_err"], out["y_err"] = fits.x_err, fits.y_err
        for name in settings.bands:
            low, forced = name.lower(), fluxes[name]
            own = (self.size_band == name) & (name == settings.reference)
            flux, error = np.where(own, fits.flux, np.nan), np.where(own, fits.flux_err, np.nan)
            part = np.where(own, fits.shape_err_flux, np.nan)
            shift_x, shift_y = (np.where(own & np.isfinite(fits.x), 0.0, np.nan) for _ in range(2))
            if forced is not None:
                flux, error = np.where(own, flux, forced.flux), np.where(own, error, forced.flux_err)
                part = np.where(own, part, forced.shape_err)
                shift_x, shift_y = np.where(own, shift_x, forced.shift_x), np.where(own, shift_y, forced.shift_y)
                flags |= forced.flags
            flags[~np.isfinite(flux)] |= int(PhotometryFlag.BAND_MISSING)
            out[f"flux_{low}"], out[f"flux_{low}_err"] = flux * u.nJy, error * u.nJy
            out[f"shape_err_{low}"] = part * u.nJy
            out[f"shift_x_{low}"], out[f"shift_y_{low}"] = shift_x, shift_y
        out["snr"] = fits.snr
        for i, name in enumerate(("cov_xx", "cov_yy", "cov_xy")):
            out[name] = fits.shape[:, i]
        out["cov_covariance"] = fits.covariance
        out["std_maj"], out["std_min"], out["std_up"] = sizes.std_maj, sizes.std_min, sizes.std_up
        out["theta"] = np.degrees(sizes.theta) * u.deg
        out["r_cir"], out["r_cir_err"] = sizes.r_cir, sizes.r_cir_err
        out["r_eff_obs"], out["r_eff_obs_err"] = radius * to_mas * u.mas, radius_err * to_mas * u.mas
        out["r_eff_obs_limit"] = np.where(kind == "unresolved", limit * to_mas, np.nan) * u.mas
        out["size_class"], out["extended"], out["dchi2_point"] = kind.astype("U10"), extended, fits.dchi2_point
        out["chi2"], out["dof"] = fits.chi2, fits.dof
        out["group"], out["flags"] = groups.label, flags
        out["size_flags"] = fits.flags
        out["status"] = np.array([describe_flags(int(bits)) or "ok" for bits in flags], dtype="U400")
        reference = out[f"flux_{settings.reference.lower()}"].value
        with np.errstate(divide="ignore", invalid="ignore"):
            out["flux_shape_err"] = out[f"shape_err_{settings.reference.lower()}"].value / np.abs(reference)
        out["size_band"] = self.size_band
        out["ra_start"], out["dec_start"] = ra * u.deg, dec * u.deg
        out.meta["photometry"] = {
            "settings": _as_meta(settings),
            "pixel_scale": float(scale),
            "pixel_to_sky": _pixel_to_sky(self.band),
            "images": _fingerprints(self.field, settings),
            "std_limit": STD_LIMIT,
            "extended_above": EXTENDED,
            "psf_fwhm": {n: float(self.field[n].psf.fwhm) for n in settings.bands if self.field[n].psf is not None},
            "cautions": list(cautions),
        }
        return out


def _carried_errors(found: ShapeFits, which: BoolArray, jacobian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the errors of positions in the pixels of another band."""
    covariance = np.empty((int(which.sum()), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = found.x_err[which] ** 2, found.y_err[which] ** 2
    covariance[:, 0, 1] = covariance[:, 1, 0] = found.xy_covariance[which]
    variance = np.einsum("nij,njk,nik->ni", jacobian, covariance, jacobian)
    return np.sqrt(np.maximum(variance[:, 0], 0.0)), np.sqrt(np.maximum(variance[:, 1], 0.0))


def _as_meta(settings: _Settings) -> dict[str, Any]:
    """Return the options as plain values, which any table format keeps."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(settings).items()}


def _pixel_to_sky(band: Any) -> list[list[float]]:
    """Return the matrix from pixel offsets to offsets West and North [arcsec] in the middle of a band."""
    x, y = (band.shape[1] - 1) / 2, (band.shape[0] - 1) / 2
    ra, dec = (np.asarray(each) for each in band.to_sky(np.array([x, x + 1, x]), np.array([y, y, y + 1])))
    west = -((ra - ra[0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec[0])) * 3600.0
    north = (dec - dec[0]) * 3600.0
    return [[float(west[1]), float(west[2])], [float(north[1]), float(north[2])]]


@dataclass(frozen=True, eq=False)
class _Old:
    """An earlier table: rows by clump of the new list (-1: new), and where clumps were that are gone."""

    table: Table
    row: npt.NDArray[np.int64]
    gone: npt.NDArray[np.int64]


def _fingerprints(field: Any, settings: _Settings) -> dict[str, str]:
    """Return what tells the pixels, PSFs and coordinates of the bands from those of another field."""
    return {name: str(field[name].fingerprint) for name in dict.fromkeys((*settings.bands, *settings.fallback))}


def _reusable(
    previous: Table | None, settings: _Settings, ids: npt.NDArray[np.str_], fingerprints: dict[str, str]
) -> _Old | None:
    """Return the earlier table if it was made with the same options on the same images."""
    if previous is None or len(previous) == 0:
        return None
    about = previous.meta.get("photometry", {})
    if about.get("settings") != _as_meta(settings) or about.get("images") != fingerprints:
        return None
    if not {"x_err", "y_err"} <= set(previous.colnames):  # made before positions had errors
        return None
    row_of = {str(each): i for i, each in enumerate(previous["id"])}
    row = np.array([row_of.get(each, -1) for each in ids.tolist()], dtype=np.int64)
    gone = np.setdiff1d(np.arange(len(previous)), row)
    return _Old(previous, row, gone)


def _start(old: _Old, rows: npt.NDArray[np.int64], band: Any) -> tuple[FloatArray, FloatArray]:
    """Return where clumps of the earlier list stood, in px of a band."""
    ra, dec = (np.asarray(old.table[name].to_value(u.deg))[rows] for name in ("ra_start", "dec_start"))
    x, y = band.to_pixel(ra, dec)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def _near(x: FloatArray, y: FloatArray, old: _Old, redo: BoolArray, band: Any, reach: float) -> BoolArray:
    """Return the clumps within ``reach`` of one that is refitted, or of where one stood that moved or is gone."""
    then_x, then_y = _start(old, np.concatenate([old.gone, old.row[redo & (old.row >= 0)]]), band)
    near = np.zeros(len(x), dtype=bool)
    with np.errstate(invalid="ignore"):
        for a, b in zip(np.append(x[redo], then_x).tolist(), np.append(y[redo], then_y).tolist(), strict=True):
            near |= (np.abs(x - a) <= reach) & (np.abs(y - b) <= reach)
    return near


def _touched_shapes(
    old: _Old | None,
    ids: npt.NDArray[np.str_],
    sky: tuple[FloatArray, FloatArray],
    x: FloatArray,
    y: FloatArray,
    groups: Groups,
    band: Any,
    settings: _Settings,
    coarseness: float,
) -> BoolArray:
    """Return the clumps whose positions and shapes must be fitted.

    ``coarseness`` is the size of the largest pixel among the bands, in pixels of the reference.
    """
    if old is None:
        return np.ones(len(ids), dtype=bool)
    known = old.row >= 0
    row = np.maximum(old.row, 0)
    redo = ~known
    for name, value in zip(("ra_start", "dec_start"), sky, strict=True):
        then = np.asarray(old.table[name].to_value(u.deg))[row]
        redo |= ~((then == value) | (np.isnan(then) & np.isnan(value)))
    group_then = np.asarray(old.table["group"])
    ids_then = np.array([str(each) for each in old.table["id"]])
    sets = {frozenset(ids_then[group_then == each].tolist()) for each in np.unique(group_then)}
    redo |= np.array([frozenset(ids[list(groups.members[g])].tolist()) not in sets for g in groups.label], dtype=bool)
    redo = _whole_groups(redo, groups)
    reach = settings.box + 3 * settings.pair_distance + 2 * OUTSIDE_MARGIN
    if _takes_off(settings) and (redo.any() or old.gone.size):
        # Light of neighbours is taken off a box, and theirs off that of their neighbours: once per pass.
        for _ in range(PASSES - 1):
            before = np.column_stack(_start(old, np.concatenate([old.gone, old.row[redo & known]]), band))
            points = np.concatenate([np.column_stack([x[redo], y[redo]]), before])
            redo = _whole_groups(redo | groups_near(points, x, y, groups, settings.box), groups)
    # What fell out of the reference was grouped among itself in another band: anew wherever a change is near.
    flags = np.asarray(old.table["size_flags"])[row]
    fell = (flags & int(PhotometryFlag.FALLBACK_BAND) > 0) | _dropped(np.asarray(old.table["snr"])[row], flags)
    if fell.any() and (redo.any() or old.gone.size):
        more = known & fell & ~redo & _near(x, y, old, redo, band, PASSES * reach * coarseness)
        while more.any():
            redo |= more
            more = known & fell & ~redo & _near(x, y, old, redo, band, PASSES * reach * coarseness)
    return _whole_groups(redo, groups)


def _whole_groups(redo: BoolArray, groups: Groups) -> BoolArray:
    """Return ``redo`` extended to all members of a joint fit, and of a chain that is cut."""
    out = np.isin(groups.label, groups.label[redo])
    return np.asarray(out | (groups.cut & np.isin(groups.chain, groups.chain[out & groups.cut])))


def _touched_fluxes(
    old: _Old | None, x: FloatArray, y: FloatArray, redo: BoolArray, field: Any, settings: _Settings
) -> BoolArray:
    """Return the clumps whose forced fluxes must be fitted: those refitted and all with one of them in a box."""
    if old is None:
        return np.ones(len(x), dtype=bool)
    band = field[settings.reference]
    reach = 0.0
    for name in settings.bands:
        # A square in px of the band, seen in px of the reference: larger where the grids are turned.
        ny, nx = field[name].shape
        wide = float(np.abs(field[name].jacobian_to(band, 0.5 * nx, 0.5 * ny)).sum(axis=-1).max())
        # Half a box, its rounding, and the shifts of two clumps in the fits of their shapes, perhaps in that band.
        steps = [0.5 * settings.box + BOX_MARGIN + 0.5 + 2 * MAX_SHIFT]
        if settings.mode == "full" and settings.background == "plane":
            steps.append(steps[0] + OUTSIDE_REACH)
        reach = max(reach, sum(max(wide, 1.0) * each for each in steps))
    return redo | _near(x, y, old, redo, band, reach)


def _copy_rows(table: QTable, old: _Old | None, which: BoolArray) -> None:
    """Put the earlier values of untouched clumps into the new table."""
    if old is None or not which.any():
        return
    rows = old.row[which]
    for name in table.colnames:
        if name not in ("id", "galaxy", "group"):
            table[name][which] = old.table[name][rows]
