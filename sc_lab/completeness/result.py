"""What an injection run says: the chance to be detected, biases, confusion of classes, pulls, and a selection."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from sc_lab.cmf.selection import Selection
from sc_lab.completeness.files import read_file, to_qtable, write_file
from sc_lab.completeness.records import Outcome, Records, ab_magnitudes, in_pixels, true_flux, true_shape
from sc_lab.completeness.statistics import Bias, Cells, Pull, middle_and_scatter
from sc_lab.errors import InputError, ScLabWarning
from sc_lab.photometry.sizes import HALF_LIGHT, STD_LIMIT, size_classes
from sc_lab.units import MASS, FloatArray, value_in

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["CLASSES", "Completeness"]

#: Size classes in the order of the confusion matrix.
CLASSES = ("unresolved", "one_axis", "resolved")

_BACKGROUND_BINS = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Completeness:
    """The result of `inject_recover`.

    Attributes
    ----------
    magnitudes : ndarray
        AB magnitudes injected, rising.
    sizes : ndarray
        Sizes injected: sqrt(std_maj std_min) before the PSF [px of the band], rising.
    axis_ratios : ndarray
        std_min / std_maj injected, rising.
    background_edges : ndarray, shape (4,)
        Ends of the three bins of local background [nJy per pixel], which hold equally many clumps.
    pixel_scale : float
        Arcsec per pixel of the band.
    settings : mapping
        All that the run depended on, as JSON values.
    cautions : tuple of str
        What was assumed.
    """

    magnitudes: FloatArray
    sizes: FloatArray
    axis_ratios: FloatArray
    background_edges: FloatArray
    pixel_scale: float
    settings: Mapping[str, Any] = field(repr=False)
    cautions: tuple[str, ...]
    _records: Records = field(repr=False)

    @classmethod
    def from_records(
        cls, records: Records, *, settings: Mapping[str, Any], cautions: tuple[str, ...] = ()
    ) -> Completeness:
        """Return the result of injected clumps.

        Parameters
        ----------
        records : ndarray of `sc_lab.completeness.recovery.RECORD`
            Injected clumps.
        settings : mapping
            With the nodes ``magnitudes``, ``sizes`` and ``axis_ratios``, and ``pixel_scale``.
        cautions : tuple of str
            What was assumed.

        Returns
        -------
        Completeness
            The result.

        Raises
        ------
        InputError
            If a setting is missing, or a clump is on no node.
        """
        try:
            axes = [np.array(settings[name], dtype=np.float64) for name in ("magnitudes", "sizes", "axis_ratios")]
            scale = float(settings["pixel_scale"])
        except (KeyError, TypeError, ValueError) as problem:
            msg = f"the settings of the injection run lack {problem}; give a file that Completeness.to_file wrote"
            raise InputError(msg) from None
        for axis, name in zip(axes, ("mag", "size", "axis_ratio"), strict=True):
            if not np.isin(records[name], axis).all() or not len(axis) or not (np.diff(axis) > 0).all():
                msg = f"the injected clumps have values of {name} that are no node of the run; the file is damaged"
                raise InputError(msg)
        if not len(records):
            msg = "the injection run holds no clump; inject at least one"
            raise InputError(msg)
        known = records["background"][np.isfinite(records["background"])]
        edges = np.quantile(known, np.linspace(0, 1, _BACKGROUND_BINS + 1)) if len(known) else np.zeros(4)
        return cls(
            magnitudes=axes[0],
            sizes=axes[1],
            axis_ratios=axes[2],
            background_edges=np.asarray(edges, dtype=np.float64),
            pixel_scale=scale,
            settings=dict(settings),
            cautions=tuple(cautions),
            _records=records,
        )

    def __len__(self) -> int:
        """Return the number of injected clumps."""
        return len(self._records)

    # ---- the chance to be detected --------------------------------------------------------

    @cached_property
    def _index(self) -> tuple[npt.NDArray[np.intp], ...]:
        r = self._records
        inner = self.background_edges[1:-1]
        return (
            np.searchsorted(self.magnitudes, r["mag"]),
            np.searchsorted(self.sizes, r["size"]),
            np.searchsorted(self.axis_ratios, r["axis_ratio"]),
            np.searchsorted(inner, r["background"], side="right"),
        )

    @cached_property
    def cells(self) -> Cells:
        """Counts by magnitude, size, axis ratio and bin of background."""
        shape = (len(self.magnitudes), len(self.sizes), len(self.axis_ratios), _BACKGROUND_BINS)
        flat = np.ravel_multi_index(self._index, shape)
        size = int(np.prod(shape))
        found = self._records["outcome"] == Outcome.RECOVERED
        injected, recovered = (np.bincount(which, minlength=size).reshape(shape) for which in (flat, flat[found]))
        return Cells(injected.astype(np.int64), recovered.astype(np.int64))

    def completeness(self, *, axis_ratio: float | None = None, background: int | None = None) -> Cells:
        """Return counts and chance by magnitude and size.

        Parameters
        ----------
        axis_ratio : float, optional
            One of `axis_ratios`; None takes all together.
        background : int, optional
            Bin of local background, 0 (faintest) to 2; None takes all together.

        Returns
        -------
        Cells
            Shape (n_magnitudes, n_sizes).

        Raises
        ------
        InputError
            If there is no such axis ratio or bin.
        """
        cells = [self.cells.injected, self.cells.recovered]
        if axis_ratio is not None and not (np.abs(self.axis_ratios - axis_ratio) < 1e-9).any():
            msg = f"axis_ratio is {axis_ratio}; injected were {', '.join(f'{q:g}' for q in self.axis_ratios)}"
            raise InputError(msg)
        if background is not None and background not in range(_BACKGROUND_BINS):
            msg = f"background is {background!r}; the bins are 0 (faintest), 1 and 2, see background_edges"
            raise InputError(msg)
        ratio = slice(None) if axis_ratio is None else np.abs(self.axis_ratios - axis_ratio) < 1e-9
        level = slice(None) if background is None else slice(background, background + 1)
        injected, recovered = (each[:, :, ratio][:, :, :, level].sum(axis=(2, 3)) for each in cells)
        return Cells(injected, recovered)

    def probability(
        self, magnitude: Any, size: Any, *, axis_ratio: float | None = None, background: int | None = None
    ) -> FloatArray:
        """Return the chance of a clump to be detected.

        Parameters
        ----------
        magnitude : array_like
            Observed AB magnitude in the band of the run, magnified as it is.
        size : `~astropy.units.Quantity` or array_like
            Observed sqrt(std_maj std_min) before the PSF, in pixels of the band or as an angle; the half-light radius
            is 1.177 times that. Broadcast against ``magnitude``.
        axis_ratio : float, optional
            One of `axis_ratios`; None takes all together.
        background : int, optional
            Bin of local background, 0 (faintest) to 2; None takes all together.

        Returns
        -------
        ndarray
            Between 0 and 1; NaN where magnitude or size is.

        Raises
        ------
        InputError
            If an argument is not of the right kind.

        Notes
        -----
        Between the nodes of the grid the log odds of (k + 1/2) / (n + 1) are linear in magnitude and size: completeness
        falls much like a logistic function, and straight lines between half-magnitude nodes would bias the slope of a
        mass function by half its error. Beyond the grid the value at its rim holds; a
        warning tells where that is not near 0 at the faint end or not near its plateau at the bright one.
        """
        mag, radius = np.broadcast_arrays(
            ab_magnitudes(magnitude, "magnitude"), in_pixels(size, self.pixel_scale, "size")
        )
        table = self._table(axis_ratio, background)
        self._warn_beyond(mag, table)
        i, f = _place(mag, self.magnitudes)
        j, g = _place(radius, self.sizes)
        odds = logit(table)
        bright = (1 - g) * odds[i[0], j[0]] + g * odds[i[0], j[1]]
        faint = (1 - g) * odds[i[1], j[0]] + g * odds[i[1], j[1]]
        return np.asarray(expit((1 - f) * bright + f * faint), dtype=np.float64)

    def limit(
        self, chance: float, size: Any, *, axis_ratio: float | None = None, background: int | None = None
    ) -> FloatArray:
        """Return the magnitude down to which clumps are detected with a given chance.

        Parameters
        ----------
        chance : float
            Between 0 and 1, such as 0.5 or 0.8.
        size : `~astropy.units.Quantity` or array_like
            As for `probability`.
        axis_ratio : float, optional
            As for `probability`.
        background : int, optional
            As for `probability`.

        Returns
        -------
        ndarray
            The faintest AB magnitude with that chance, shape of ``size``; NaN where the grid does not reach it.

        Raises
        ------
        InputError
            If the chance is not between 0 and 1.
        """
        if not 0 < chance < 1:
            msg = f"chance is {chance}; give a number between 0 and 1, such as 0.5"
            raise InputError(msg)
        radius = in_pixels(size, self.pixel_scale, "size")
        table = self._table(axis_ratio, background)
        j, g = _place(radius.ravel(), self.sizes)
        curves = (1 - g) * logit(table)[:, j[0]] + g * logit(table)[:, j[1]]
        level = float(logit(chance))
        out = np.full(curves.shape[1], np.nan)
        for k, curve in enumerate(curves.T):
            crossing = np.flatnonzero((curve[:-1] >= level) & (curve[1:] < level))
            if len(crossing):
                i = crossing[-1]
                share = (curve[i] - level) / (curve[i] - curve[i + 1])
                out[k] = self.magnitudes[i] + share * (self.magnitudes[i + 1] - self.magnitudes[i])
        return out.reshape(radius.shape)

    def selection(
        self,
        mass: Any,
        magnitude: Any,
        size: Any,
        *,
        m_min: Any = 1e4,
        m_max: Any = 1e10,
        background: Any = None,
    ) -> Selection:
        """Return the chance of each object of a sample to be detected, had it another mass.

        Parameters
        ----------
        mass : `~astropy.units.Quantity` or array_like
            De-lensed masses [Msun], shape (n,).
        magnitude : array_like
            Observed AB magnitudes in the band of the run, not de-lensed, shape (n,).
        size : `~astropy.units.Quantity` or array_like
            Observed sqrt(std_maj std_min) before the PSF [px of the band, or an angle], shape (n,); an upper limit
            where there is no more.
        m_min, m_max : `~astropy.units.Quantity` or float
            Ends of the table [Msun].
        background : array_like of int, optional
            Bin of local background of each object, see `probability`; None takes all together.

        Returns
        -------
        Selection
            One row for each object: the ``selection=`` of `sc_lab.cmf.fit_mass_function`.

        Raises
        ------
        InputError
            If the lengths differ, or a value is missing or impossible.

        Notes
        -----
        An object of mass M at the same place, with the same age, extinction, redshift and magnification, is M / M_i
        times as bright: m(M) = m_i - 2.5 log10(M / M_i). Its observed size is kept. So magnification and redshift
        enter through the observed magnitude, and p(detect | M, R, mu, z) is that of the object's own place.
        """
        masses = np.atleast_1d(value_in(mass, MASS, "mass"))
        mags = np.atleast_1d(ab_magnitudes(magnitude, "magnitude"))
        radii = np.atleast_1d(in_pixels(size, self.pixel_scale, "size"))
        if not (masses.ndim == 1 and masses.shape == mags.shape == radii.shape):
            msg = (
                f"mass, magnitude and size have the shapes {masses.shape}, {mags.shape} and {radii.shape}; give one of "
                "each for each object"
            )
            raise InputError(msg)
        bad = np.flatnonzero(~(np.isfinite(masses + mags + radii) & (masses > 0)))
        if len(bad):
            msg = (
                f"{len(bad)} object(s) (rows {', '.join(map(str, bad[:10]))}) have no mass above 0, magnitude or size; "
                "leave them out of the sample, or measure them"
            )
            raise InputError(msg)
        bins = [None] * len(masses) if background is None else np.broadcast_to(background, masses.shape).tolist()
        low, high = (float(value_in(m, MASS, name)) for m, name in ((m_min, "m_min"), (m_max, "m_max")))
        if not 0 < low < high < math.inf:
            msg = f"m_min is {low:g}, m_max {high:g} Msun; give two masses above 0, the lower first"
            raise InputError(msg)
        # Bends lie where an object's magnitude is a node; a step of 0.02 dex is a twentieth of the usual one.
        table = np.geomspace(low, high, math.ceil(math.log10(high / low) / 0.02) + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScLabWarning)
            rows = [
                self.probability(m - 2.5 * np.log10(table / one), r, background=level)
                for one, m, r, level in zip(masses, mags, radii, bins, strict=True)
            ]
        self._warn_beyond(mags, self._table(None, None))
        return Selection(table, np.array(rows))

    def selection_of(self, catalog: Any, *, m_min: Any = 1e4, m_max: Any = 1e10) -> Selection:
        """Return the selection of the clumps of a catalogue.

        Parameters
        ----------
        catalog : `~astropy.table.Table`
            With the columns mass [Msun], flux_<band> or mag_<band> of the band of the run, and r_eff_obs [mas]; one
            row for each mass that will be fitted, in the same order.
        m_min, m_max : `~astropy.units.Quantity` or float
            Ends of the table [Msun].

        Returns
        -------
        Selection
            As `selection` makes it.

        Raises
        ------
        InputError
            If a column is missing, or a value.
        """
        band = str(self.settings.get("band", "")).lower()
        names = list(getattr(catalog, "colnames", catalog))
        flux, mag = f"flux_{band}", f"mag_{band}"
        missing = [name for name in ("mass", "r_eff_obs") if name not in names]
        if flux not in names and mag not in names:
            missing.append(f"{flux} or {mag}")
        if missing:
            msg = f"the catalogue has no column {', '.join(missing)}, which tells how bright and large each clump is"
            raise InputError(msg)
        if flux in names:
            with np.errstate(divide="ignore", invalid="ignore"):
                magnitude = 31.4 - 2.5 * np.log10(value_in(catalog[flux], u.nJy, flux))
        else:
            magnitude = ab_magnitudes(catalog[mag], mag)
        radius = value_in(catalog["r_eff_obs"], u.mas, "r_eff_obs") / (HALF_LIGHT * 1000 * self.pixel_scale)
        return self.selection(catalog["mass"], magnitude, radius, m_min=m_min, m_max=m_max)

    # ---- what the photometry makes of them ------------------------------------------------

    def flux_bias(self) -> Bias:
        """Return median and scatter of measured over true flux, less one, of recovered clumps.

        Returns
        -------
        Bias
            By magnitude and size.
        """
        r = self._records
        return self._bias(r["flux"] / true_flux(r) - 1.0)

    def size_bias(self) -> Bias:
        """Return median and scatter of measured less true size [px], of recovered clumps that are not limits.

        Returns
        -------
        Bias
            By magnitude and size.

        Notes
        -----
        The measured size follows the class, as in a catalogue: sqrt(std_maj std_min) of resolved clumps, std_maj of
        those resolved along one axis; unresolved clumps have a limit only and are left out. The true one is
        sqrt(std_maj std_min) always.
        """
        r = self._records
        major, minor = r["std_maj"], r["std_min"]
        with np.errstate(invalid="ignore"):
            measured = np.where(minor >= STD_LIMIT, np.sqrt(major * minor), np.where(major >= STD_LIMIT, major, np.nan))
        return self._bias(measured - r["size"])

    def confusion(
        self, *, brighter: float | None = None, fainter: float | None = None, std_limit: float = STD_LIMIT
    ) -> npt.NDArray[np.int64]:
        """Return how many recovered clumps of each true size class were put into each class.

        Parameters
        ----------
        brighter : float, optional
            Count clumps of this AB magnitude and brighter only.
        fainter : float, optional
            Count clumps of this AB magnitude and fainter only.
        std_limit : float
            Smallest standard deviation that counts as resolved [px].

        Returns
        -------
        ndarray of int, shape (3, 3)
            True class by measured class, both in the order of `CLASSES`.
        """
        r = self._records
        used = np.isfinite(r["std_maj"])
        if brighter is not None:
            used &= r["mag"] <= brighter
        if fainter is not None:
            used &= r["mag"] >= fainter
        r = r[used]
        major, minor = r["size"] / np.sqrt(r["axis_ratio"]), r["size"] * np.sqrt(r["axis_ratio"])
        pairs = (
            (size_classes(major, minor, std_limit=std_limit)),
            size_classes(r["std_maj"], r["std_min"], std_limit=std_limit),
        )
        true, measured = (np.array([CLASSES.index(name) for name in names], dtype=np.intp) for names in pairs)
        return np.bincount(3 * true + measured, minlength=9).reshape(3, 3).astype(np.int64)

    def pulls(self, *, brighter: float | None = None, fainter: float | None = None) -> dict[str, Pull]:
        """Return the distributions of (measured - true) / error of recovered clumps.

        Parameters
        ----------
        brighter : float, optional
            Use clumps of this AB magnitude and brighter only.
        fainter : float, optional
            Use clumps of this AB magnitude and fainter only.

        Returns
        -------
        dict of Pull
            ``flux``, ``x``, ``y``, and ``variance`` for the mean variance (Cxx + Cyy) / 2.
        """
        r = self._records
        used = np.isfinite(r["flux_err"])
        if brighter is not None:
            used &= r["mag"] <= brighter
        if fainter is not None:
            used &= r["mag"] >= fainter
        r = r[used]
        shape = true_shape(r)
        values = {
            "flux": (r["flux"] - true_flux(r), r["flux_err"]),
            "x": (r["x_fit"] - r["x"], r["x_err"]),
            "y": (r["y_fit"] - r["y"], r["y_err"]),
            "variance": ((r["cxx"] + r["cyy"] - shape[:, 0] - shape[:, 1]) / 2, r["c_err"]),
        }
        out = {}
        for name, (offset, error) in values.items():
            good = np.isfinite(offset) & (error > 0)
            pull = offset[good] / error[good]
            out[name] = Pull(*middle_and_scatter(pull), len(pull))
        return out

    # ---- tables and files -----------------------------------------------------------------

    @property
    def injections(self) -> QTable:
        """Injected clumps as a table: place and truth, outcome (`Outcome`), detection, fit."""
        return to_qtable(self._records)

    def to_table(self) -> QTable:
        """Return completeness, biases and scatter as a table.

        Returns
        -------
        QTable
            One row for each magnitude and size: injected, recovered, completeness with the ends of its 68 % interval,
            flux_bias and flux_scatter (relative), size_bias and size_scatter [px].
        """
        from astropy.table import QTable

        mag, size = np.meshgrid(self.magnitudes, self.sizes, indexing="ij")
        cells, flux, radius = self.completeness(), self.flux_bias(), self.size_bias()
        low, high = cells.interval
        return QTable(
            {
                "mag": mag.ravel() * u.ABmag,
                "size": size.ravel() * u.pix,
                "size_mas": (size.ravel() * self.pixel_scale * 1000) * u.mas,
                "injected": cells.injected.ravel(),
                "recovered": cells.recovered.ravel(),
                "completeness": cells.fraction.ravel(),
                "completeness_lo": low.ravel(),
                "completeness_hi": high.ravel(),
                "flux_bias": flux.median.ravel(),
                "flux_scatter": flux.scatter.ravel(),
                "size_bias": radius.median.ravel() * u.pix,
                "size_scatter": radius.scatter.ravel() * u.pix,
            },
            meta={"settings": dict(self.settings), "cautions": list(self.cautions)},
        )

    def to_file(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write everything to a file.

        Parameters
        ----------
        path : path-like
            Ending in ``.json`` or ``.ecsv``.
        overwrite : bool
            Whether a file that exists may be replaced.

        Raises
        ------
        InputError
            If the ending is another, the file exists, or cannot be written.
        """
        write_file(path, self._records, settings=self.settings, cautions=self.cautions, overwrite=overwrite)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Completeness:
        """Read what `to_file` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Completeness
            The same result, to the last digit.

        Raises
        ------
        InputError
            If the file is missing, or is something else.
        """
        records, settings, cautions = read_file(path)
        return cls.from_records(records, settings=settings, cautions=cautions)

    def __repr__(self) -> str:
        share = float(np.mean(self._records["outcome"] == Outcome.RECOVERED))
        return (
            f"Completeness({self.settings.get('band', '')}, {len(self)} clumps injected, {share:.0%} recovered, "
            f"{len(self.magnitudes)} magnitudes x {len(self.sizes)} sizes x {len(self.axis_ratios)} axis ratios)"
        )

    # ---- inside -----------------------------------------------------------------------------

    def _table(self, axis_ratio: float | None, background: int | None) -> FloatArray:
        """Return the expected chance by magnitude and size, nodes without clumps filled from the nearest magnitude."""
        cells = self.completeness(axis_ratio=axis_ratio, background=background)
        table = cells.expected
        for j in range(table.shape[1]):
            seen = np.flatnonzero(cells.injected[:, j])
            if len(seen):
                table[:, j] = np.interp(self.magnitudes, self.magnitudes[seen], table[seen, j])
        return table

    def _warn_beyond(self, mag: FloatArray, table: FloatArray) -> None:
        """Tell of magnitudes beyond the grid where it has not come to its ends."""
        with np.errstate(invalid="ignore"):
            faint = int((mag > self.magnitudes[-1] + 1e-9).sum())
            bright = int((mag < self.magnitudes[0] - 1e-9).sum())
        top = float(table[-1].max())
        if faint and top > 0.1:
            message = (
                f"{faint} magnitude(s) are fainter than {self.magnitudes[-1]:g}, where up to {top:.0%} are still "
                "detected; inject fainter clumps"
            )
            warnings.warn(message, ScLabWarning, stacklevel=3)
        if bright and len(self.magnitudes) > 1 and float((table[0] - table[1]).max()) > 0.1:
            message = (
                f"{bright} magnitude(s) are brighter than {self.magnitudes[0]:g}, where the chance to be detected "
                "still rises; inject brighter clumps"
            )
            warnings.warn(message, ScLabWarning, stacklevel=3)

    def _bias(self, offset: FloatArray) -> Bias:
        i, j = self._index[:2]
        shape = (len(self.magnitudes), len(self.sizes))
        median, scatter = np.full(shape, np.nan), np.full(shape, np.nan)
        n = np.zeros(shape, dtype=np.int64)
        good = np.isfinite(offset)
        for cell in np.ndindex(shape):
            values = offset[good & (i == cell[0]) & (j == cell[1])]
            n[cell] = len(values)
            median[cell], scatter[cell] = middle_and_scatter(values, least=5)
        return Bias(median, scatter, n)


def _place(
    values: FloatArray, nodes: FloatArray
) -> tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], FloatArray]:
    """Return the nodes about each value and how far it is from the first to the second; the rim holds beyond."""
    if len(nodes) == 1:
        zero = np.zeros(values.shape, dtype=np.intp)
        return (zero, zero), np.where(np.isnan(values), np.nan, 0.0)
    first = np.clip(np.searchsorted(nodes, values, side="right") - 1, 0, len(nodes) - 2)
    share = np.clip((values - nodes[first]) / (nodes[first + 1] - nodes[first]), 0.0, 1.0)
    return (first, first + 1), share
