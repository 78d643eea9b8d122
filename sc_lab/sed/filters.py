"""Throughput curves of filters: what a curve is, and those of the telescopes by the names of their bands."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sc_lab.errors import InputError, OptionalDependencyError
from sc_lab.units import FloatArray

__all__ = ["TRIM", "Filter", "available_filters", "get_filter", "get_filters"]

#: A curve is cut where it falls below this fraction of its peak: far wings carry noise of the calibration, no light.
TRIM = 1e-3

#: Instruments by the name that stands before the slash, and the beginning of their files in astro-sedpy.
#: A band without an instrument is looked for in this order, as far as ``_BARE`` goes.
_INSTRUMENTS = {
    "nircam": "jwst_",
    "acs_wfc": "acs_wfc_",
    "wfc3_ir": "wfc3_ir_",
    "wfc3_uvis": "wfc3_uvis_",
    "miri": "jwst_",
    "nircam_a": "jwst_moda_",
    "nircam_b": "jwst_modb_",
    "niriss": "jwst_niriss_",
}
_BARE = ("nircam", "acs_wfc", "wfc3_ir", "wfc3_uvis", "miri")
_SHOWN = {
    "nircam": "NIRCam",
    "nircam_a": "NIRCam module A",
    "nircam_b": "NIRCam module B",
    "niriss": "NIRISS",
    "miri": "MIRI",
    "acs_wfc": "ACS/WFC",
    "wfc3_ir": "WFC3/IR",
    "wfc3_uvis": "WFC3/UVIS",
}
#: Webb's filters below and above 5 micron share a prefix; the number tells the instrument.
_FIRST_MIRI = 560
_WEBB = re.compile(r"f(\d{3,4})[a-z]\w*")


@dataclass(frozen=True, eq=False)
class Filter:
    """A throughput curve.

    Build one with `Filter.from_curve`, which checks and trims it, or find one with `get_filter`.

    Attributes
    ----------
    name : str
        Name of the band.
    wavelength : ndarray, shape (n,)
        Vacuum wavelength [Angstrom], increasing.
    throughput : ndarray, shape (n,)
        Electrons per photon; only its shape matters for fluxes.
    source : str
        Where the curve is from.

    Notes
    -----
    Integrals take the curve as straight lines between its samples and are exact for those.
    """

    name: str
    wavelength: FloatArray
    throughput: FloatArray
    source: str = ""

    @classmethod
    def from_curve(
        cls, name: str, wavelength: Any, throughput: Any, *, source: str = "", trim: float | None = TRIM
    ) -> Filter:
        """Check a curve, cut its far wings, and return it as a filter.

        Parameters
        ----------
        name : str
            Name of the band.
        wavelength : array_like, shape (n,)
            Wavelength [Angstrom], increasing, at least two samples.
        throughput : array_like, shape (n,)
            Electrons per photon, not negative.
        source : str, optional
            Where the curve is from.
        trim : float or None, optional
            Fraction of the peak below which the ends are cut, at the point where the line between two samples
            crosses it; None keeps them.

        Returns
        -------
        Filter
            The filter; its arrays are read-only copies.

        Raises
        ------
        InputError
            If the samples are too few, not finite, not increasing, negative, or zero throughout.
        """
        lam, thr = np.array(wavelength, dtype=np.float64), np.array(throughput, dtype=np.float64)
        _check_curve(name, lam, thr)
        if trim is not None:
            lam, thr = _trimmed(lam, thr, trim * float(thr.max()))
        lam.flags.writeable = thr.flags.writeable = False
        return cls(name=name, wavelength=lam, throughput=thr, source=source)

    @cached_property
    def pivot(self) -> float:
        """Pivot wavelength [Angstrom]: the one at which band averages of f_lambda and f_nu belong together."""
        return math.sqrt(self._integral_photon / self._integral_log)

    @cached_property
    def width(self) -> float:
        """Equivalent width [Angstrom]: the integral of the throughput over its peak."""
        area = 0.5 * np.sum((self.throughput[1:] + self.throughput[:-1]) * np.diff(self.wavelength))
        return float(area / self.throughput.max())

    @cached_property
    def edges(self) -> tuple[float, float]:
        """Outermost wavelengths [Angstrom] at which the throughput is half its peak."""
        lam, _ = _trimmed(self.wavelength, self.throughput, 0.5 * float(self.throughput.max()))
        return float(lam[0]), float(lam[-1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the curve, which decides the fluxes; the name does not."""
        samples = np.stack([self.wavelength, self.throughput]).astype("<f8")
        return hashlib.sha256(samples.tobytes()).hexdigest()

    @property
    def low(self) -> float:
        """First wavelength [Angstrom]."""
        return float(self.wavelength[0])

    @property
    def high(self) -> float:
        """Last wavelength [Angstrom]."""
        return float(self.wavelength[-1])

    def covers(self, low: float, high: float) -> bool:
        """Return whether the whole curve lies between two wavelengths.

        Parameters
        ----------
        low, high : float
            Ends of a spectrum [Angstrom], in the observed frame.

        Returns
        -------
        bool
            True if the spectrum reaches over both ends of the curve.
        """
        return low <= self.low and self.high <= high

    @cached_property
    def _integral_photon(self) -> float:
        """Return the integral of T lambda over wavelength [Angstrom^2]."""
        lam, thr = self.wavelength, self.throughput
        # A product of two lines is a parabola: Simpson's rule is exact.
        middle = (thr[1:] + thr[:-1]) * (lam[1:] + lam[:-1])
        ends = thr[1:] * lam[1:] + thr[:-1] * lam[:-1]
        return float(np.sum((ends + middle) * np.diff(lam)) / 6.0)

    @cached_property
    def _integral_log(self) -> float:
        """Return the integral of T / lambda over wavelength."""
        lam, thr = self.wavelength, self.throughput
        slope = np.diff(thr) / np.diff(lam)
        step = np.log1p(np.diff(lam) / lam[:-1])
        return float(np.sum(thr[:-1] * step + slope * (np.diff(lam) - lam[:-1] * step)))


def get_filter(band: str | Path | Filter) -> Filter:
    """Return the filter of a band.

    Parameters
    ----------
    band : str, Path or Filter
        Name as in a field (``"F150W"``, any case), which is looked for in NIRCam, ACS/WFC, WFC3/IR, WFC3/UVIS and
        MIRI in this order; with its instrument (``"acs_wfc/F606W"``, ``"wfc3_uvis/F606W"``, ``"nircam_a/F150W"``,
        ``"niriss/F150W"``); a curve of astro-sedpy by its own name (``"bessell_V"``); or the path of a file, read
        by `~sc_lab.sed.filter_files.read_filter` with its defaults. A filter is returned as it is.

    Returns
    -------
    Filter
        The filter, trimmed at 1e-3 of its peak. The same name gives the same object.

    Raises
    ------
    InputError
        If there is no such band; the message names the nearest ones.

    Notes
    -----
    The curves are those of astro-sedpy, read from its folder without importing it. Two packages ship curves of both
    telescopes, and work offline. astro-sedpy has them one by one as plain two-column text, all in electrons per
    photon, NIRCam as measured after the flight (May 2024, both modules and their mean), and needs no more than numpy
    and astropy. pyphot keeps hundreds in one HDF5 library, where each is marked as per photon or per energy and has
    to be asked, and reading it takes an HDF5 package. NIRCam's two modules have pivots that differ by up to 1 %
    (F444W): where that matters, name the module. MIRI's curves are from before the flight and leave out the
    telescope, which is nearly the same in all of them.

    Examples
    --------
    >>> from sc_lab.sed import get_filter
    >>> band = get_filter("F150W")
    >>> band.name, round(band.pivot, -1)
    ('F150W', 15010.0)
    """
    if isinstance(band, Filter):
        return band
    if isinstance(band, str):
        found = _stem(band)
        if found is not None:
            return _shipped(*found)
    elif not isinstance(band, Path):
        msg = f"a band is given by name, by path or as a Filter, not as {type(band).__name__}"
        raise InputError(msg)
    path = Path(band).expanduser()
    if isinstance(band, Path) or path.is_file():
        from sc_lab.sed.filter_files import read_filter

        return read_filter(path)
    raise InputError(_unknown(band))


def get_filters(bands: Sequence[str | Path | Filter]) -> tuple[Filter, ...]:
    """Return the filters of several bands.

    Parameters
    ----------
    bands : sequence of str, Path or Filter
        Bands as for `get_filter`.

    Returns
    -------
    tuple of Filter
        In the order of ``bands``. Different curves of one name (F814W of ACS and of UVIS) get the names of their
        sources.

    Raises
    ------
    InputError
        If one is unknown, or a single name was given in place of a sequence.
    """
    if isinstance(bands, str | Path | Filter):
        msg = f"bands is one band, {getattr(bands, 'name', bands)}; give a list, such as ['F150W', 'F200W']"
        raise InputError(msg)
    found = tuple(get_filter(band) for band in bands)
    curves: dict[str, set[str]] = {}
    for each in found:
        curves.setdefault(each.name, set()).add(each.digest)
    return tuple(
        each
        if len(curves[each.name]) == 1
        else replace(each, name=each.source.removeprefix("astro-sedpy ") or each.name)
        for each in found
    )


def available_filters() -> tuple[str, ...]:
    """Return the names of all bands of the instruments.

    Returns
    -------
    tuple of str
        Such as ``"nircam/F150W"``, instrument by instrument; each is a name for `get_filter`.
    """
    names: list[str] = []
    stems = sorted(_stems().values())
    for instrument, prefix in _INSTRUMENTS.items():
        names += [f"{instrument}/{band}" for band in (_band_in(stem, instrument, prefix) for stem in stems) if band]
    return tuple(names)


def _check_curve(name: str, lam: FloatArray, thr: FloatArray) -> None:
    """Refuse in words what is no throughput curve."""
    if lam.ndim != 1 or lam.shape != thr.shape or lam.size < 2:
        msg = (
            f"the curve of {name} has wavelengths of shape {lam.shape} and throughputs of shape {thr.shape}; "
            "give two columns of the same length with at least two rows"
        )
        raise InputError(msg)
    bad = ~(np.isfinite(lam) & np.isfinite(thr))
    if bad.any():
        msg = f"the curve of {name} has {np.count_nonzero(bad)} row(s) that are not finite, first row {_first(bad)}"
        raise InputError(msg)
    if lam[0] <= 0 or np.any(np.diff(lam) <= 0):
        wrong = np.concatenate([[lam[0] <= 0], np.diff(lam) <= 0])
        msg = (
            f"the wavelengths of {name} do not increase from row to row above zero (row {_first(wrong)}); "
            "sort them and leave each in only once"
        )
        raise InputError(msg)
    if np.any(thr < 0):
        msg = (
            f"the curve of {name} has {np.count_nonzero(thr < 0)} negative throughput(s), first in row "
            f"{_first(thr < 0)}; set them to zero if they are noise"
        )
        raise InputError(msg)
    if not thr.any():
        msg = f"the curve of {name} is zero throughout; give a column of throughputs"
        raise InputError(msg)


def _first(flags: Any) -> int:
    """Return the number of the first row that is True, counted from 1."""
    return int(np.argmax(flags)) + 1


def _trimmed(lam: FloatArray, thr: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """Return the curve between the outermost points at which it reaches ``level``, ends interpolated."""
    above = np.flatnonzero(thr >= level)
    first, last = int(above[0]), int(above[-1])
    ends: list[tuple[float, float] | None] = [None, None]
    for side, inside, outside in ((0, first, first - 1), (1, last, last + 1)):
        if 0 <= outside < lam.size and thr[inside] > level:
            part = (level - thr[outside]) / (thr[inside] - thr[outside])
            at = float(lam[outside] + part * (lam[inside] - lam[outside]))
            if at != lam[inside]:  # not where rounding would repeat the sample
                ends[side] = (at, level)
    start, stop = ([] if end is None else [end] for end in ends)
    kept = slice(first, last + 1)
    if last == first and not (start or stop):  # a single sample is no curve
        kept = slice(max(first - 1, 0), last + 2)
    wave = np.concatenate([[at for at, _ in start], lam[kept], [at for at, _ in stop]])
    return wave, np.concatenate([[value for _, value in start], thr[kept], [value for _, value in stop]])


# ---- the curves of astro-sedpy -----------------------------------------------------------
@cache
def _folder() -> Path:
    """Return the folder of curves; the package itself is not imported."""
    spec = find_spec("sedpy")
    for location in (spec.submodule_search_locations if spec is not None else None) or []:
        folder = Path(location) / "data" / "filters"
        if folder.is_dir():
            return folder
    msg = "the throughput curves of the telescopes come with astro-sedpy: pip install astro-sedpy, or give files"
    raise OptionalDependencyError(msg)


def _band_in(stem: str, instrument: str, prefix: str) -> str | None:
    """Return the band that a file holds if it is of this instrument."""
    if not stem.startswith(prefix):
        return None
    rest = stem.removeprefix(prefix)
    found = _WEBB.fullmatch(rest)
    if found is None:
        return None
    if prefix == "jwst_" and (int(found[1]) >= _FIRST_MIRI) != (instrument == "miri"):
        return None
    return rest.upper()


def _stem(band: str) -> tuple[str, str] | None:
    """Return the name to show and the file's stem of a band, or None."""
    name = band.strip()
    instrument, slash, rest = name.lower().replace("-", "_").partition("/")
    wanted = {instrument: rest} if slash else dict.fromkeys(_BARE, name.lower())
    for each, short in wanted.items():
        prefix = _INSTRUMENTS.get(each)
        if prefix is None or _band_in(prefix + short, each, prefix) is None:
            continue
        if prefix + short in _stems():
            return short.upper(), _stems()[prefix + short]
    # Any other curve there goes by its own name; a name with a slash or dots would leave the folder.
    stem = _stems().get(name.lower()) if re.fullmatch(r"\w+", name) else None
    return None if stem is None else (stem, stem)


@cache
def _stems() -> dict[str, str]:
    """Return the names of all curves by what they are without regard to case."""
    return {path.stem.lower(): path.stem for path in sorted(_folder().glob("*.par"))}


@cache
def _shipped(name: str, stem: str) -> Filter:
    """Read a curve: lines of wavelength [Angstrom] and throughput between comments and blank lines."""
    path = _folder() / f"{stem}.par"
    rows = [line.split()[:2] for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    table = np.array([[float(x), float(y)] for x, y in (r for r in rows if len(r) == 2 and not r[0].startswith("#"))])
    # Differences of calibration curves dip below zero by rounding, far from the band.
    lam, thr = table[:, 0], np.clip(table[:, 1], 0.0, None)
    order = np.argsort(lam, kind="stable")
    lam, first = np.unique(lam[order], return_index=True)
    return Filter.from_curve(name, lam, thr[order][first], source=f"astro-sedpy {stem}")


def _unknown(band: str) -> str:
    """Return the sentence on a name that is no band."""
    names = available_filters()
    bare = {name.partition("/")[2].lower(): name.partition("/")[2] for name in names}
    qualified = {name.lower(): name for name in names}
    pool = qualified if "/" in band else bare
    near = [pool[each] for each in difflib.get_close_matches(band.strip().lower(), list(pool), n=4, cutoff=0.5)]
    ask = f"; near to it are {', '.join(near)}" if near else ""
    instruments = ", ".join(f"{each} ({_SHOWN[each]})" for each in _INSTRUMENTS)
    return (
        f"there is no band or file {band!r}{ask}. Give a band such as F150W, one with its instrument such as "
        f"acs_wfc/F606W (instruments: {instruments}), or the path of a throughput curve"
    )
