"""Spectra of a library on the wavelengths of a model: bagpipes' grid, or pixels that keep the light of finer ones."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sc_lab.errors import InputError
from sc_lab.sed._ages import AgeBins
from sc_lab.sed._frame import COMPAT_MAX_REDSHIFT
from sc_lab.sed._store import cache_folder, code_version, load_array, prune, save_array
from sc_lab.sed.libraries import Library
from sc_lab.units import FloatArray

__all__ = ["Basis", "compat_basis", "compat_wavelengths", "fine_basis", "plot_basis"]

#: bagpipes' resolving powers outside and inside the filters; its pixels are half a resolution element.
_R_OTHER, _R_PHOT = 20.0, 100.0
#: Pixels of the fine mode: lambda / step between the Lyman limit and the near infrared, and outside.
_FINE_STEP, _FINE_STEP_IONISING = 1500.0, 100.0
#: The same for the curves of plots.
_PLOT_STEP = 250.0
_FINE_FROM = 880.0
#: Libraries on the wavelengths of a filter set that stay in memory: 10 MB each in compat.
_KEPT = 6


@dataclass(frozen=True, eq=False)
class Basis:
    """Spectra of stars and gas on one wavelength grid.

    Attributes
    ----------
    wavelength : ndarray, shape (n_pix,)
        Rest wavelength [Angstrom].
    width : ndarray, shape (n_pix,)
        What a sum over pixels multiplies with to make an integral over a filter [Angstrom].
    energy_width : ndarray, shape (n_pix,)
        The same for the energy that dust absorbs.
    stellar : ndarray, shape (n_metal, n_row, n_pix)
        Luminosity [Lsun/Angstrom] for 1 Msun formed; rows are bins of age (compat) or ages of the library (fine).
    means : ndarray, shape (n_bin, n_row)
        Weights of the rows in each bin of age.
    nebular : ndarray, shape (n_metal, n_u, n_na, n_pix)
        Gas: continuum, and in compat lines.
    line_wavelength : ndarray, shape (n_line,)
        Lines that are not in pixels [Angstrom].
    lines : ndarray, shape (n_metal, n_u, n_na, n_line)
        Their luminosities [Lsun].
    """

    wavelength: FloatArray
    width: FloatArray
    energy_width: FloatArray
    stellar: FloatArray
    means: FloatArray
    nebular: FloatArray
    line_wavelength: FloatArray
    lines: FloatArray


_LOCK = threading.RLock()
_COMPAT: OrderedDict[tuple[Any, ...], Basis] = OrderedDict()
_FINE: OrderedDict[tuple[Any, ...], Basis] = OrderedDict()


def compat_wavelengths(filters: Sequence[Any]) -> FloatArray:
    """Return bagpipes' wavelengths for a set of filters.

    Parameters
    ----------
    filters : sequence
        Objects with ``wavelength`` and ``throughput``.

    Returns
    -------
    ndarray
        Wavelengths [Angstrom] from 1 to 1e8, at a resolving power of 100 where filters may be in the rest frame of
        any redshift up to 10, and of 20 outside.
    """
    low, high = 9.9 * 10**99, 0.0
    for each in filters:
        wave, _ = _without_zeros(each)
        low = min(low, float(wave[0] - 2 * (wave[1] - wave[0])))
        high = max(high, float(wave[-1] + 2 * (wave[-1] - wave[-2])))
    points = [1.0]
    first = low / (1.0 + COMPAT_MAX_REDSHIFT)
    while points[-1] * (1.0 + 0.5 / _R_OTHER) < first:
        points.append(points[-1] * (1.0 + 0.5 / _R_OTHER))
    for limit, power in ((1.01 * high, _R_PHOT), (10**8, _R_OTHER)):
        while points[-1] < limit:
            points.append(points[-1] * (1.0 + 0.5 / power))
    return np.array(points)


def _without_zeros(each: Any) -> tuple[FloatArray, FloatArray]:
    """Return a curve without exact zeros at its ends, which is all that bagpipes cuts."""
    wave, throughput = np.asarray(each.wavelength), np.asarray(each.throughput)
    seen = np.flatnonzero(throughput != 0.0)
    kept = slice(int(seen[0]), int(seen[-1]) + 1)
    return wave[kept], throughput[kept]


def compat_basis(library: Library, bins: AgeBins, wavelength: FloatArray) -> Basis:
    """Return the spectra as bagpipes samples them: straight lines between the library's wavelengths, lines in pixels.

    Parameters
    ----------
    library : Library
        The library.
    bins : AgeBins
        bagpipes' bins of age.
    wavelength : ndarray, shape (n_pix,)
        Wavelengths of `compat_wavelengths`.

    Returns
    -------
    Basis
        The spectra by bin of age.
    """
    key = _key("compat", library, wavelength)
    with _LOCK:
        if key not in _COMPAT:
            sampler = _Sampler(library.wavelength, wavelength)
            stellar = _stored(key, "stellar", lambda: np.stack([bins.stellar @ sampler(s) for s in library.spectra]))
            nebular = _stored(key, "nebular", lambda: _nebular_pixels(library, wavelength))
            # The last pixel is as wide as the one before; ends of integrals carry no light.
            width = np.empty_like(wavelength)
            edges = np.concatenate(
                [[wavelength[0] - (wavelength[1] - wavelength[0]) / 2], (wavelength[1:] + wavelength[:-1]) / 2]
            )
            width[:-1], width[-1] = np.diff(edges), wavelength[-1] - wavelength[-2]
            none = np.zeros((*nebular.shape[:3], 0))
            _COMPAT[key] = Basis(
                wavelength, width, _trapezoid(wavelength), stellar, np.eye(bins.n_bin), nebular, np.empty(0), none
            )
            _drop_oldest(_COMPAT)
        _COMPAT.move_to_end(key)
        return _COMPAT[key]


class _Sampler:
    """Straight lines from the samples of many spectra to new wavelengths, zero outside."""

    def __init__(self, old: FloatArray, new: FloatArray) -> None:
        """Find the neighbours of each new wavelength once."""
        right = np.clip(np.searchsorted(old, new, side="right"), 1, old.size - 1)
        self.columns, back = np.unique(np.concatenate([right - 1, right]), return_inverse=True)
        self.left, self.right = back[: new.size], back[new.size :]
        self.step, self.offset = old[right] - old[right - 1], new - old[right - 1]
        self.outside = (new < old[0]) | (new > old[-1])

    def __call__(self, spectra: FloatArray) -> FloatArray:
        """Return the spectra (n, n_old) at the new wavelengths."""
        wanted = np.asarray(spectra)[:, self.columns].astype(np.float64)
        low = wanted[:, self.left]
        sampled = (wanted[:, self.right] - low) / self.step * self.offset + low
        sampled[:, self.outside] = 0.0
        return np.asarray(sampled)


def _nebular_pixels(library: Library, wavelength: FloatArray) -> FloatArray:
    """Return the nebular spectra (n_metal, n_u, n_na, n_pix), each line in the pixel nearest to it."""
    n_z, n_u = library.metallicity.size, library.log_u.size
    result = np.zeros((n_z, n_u, library.nebular_age.size, wavelength.size))
    if not library.has_nebular:
        return result
    sampler = _Sampler(library.nebular_wavelength, wavelength)
    nearest = np.array([int(np.abs(wavelength - line).argmin()) for line in library.line_wavelength])
    kept = np.flatnonzero((nearest > 0) & (nearest < wavelength.size - 1))
    at = nearest[kept]
    width = (wavelength[at + 1] - wavelength[at - 1]) / 2
    for i_z in range(n_z):
        for i_u in range(n_u):
            spectrum = sampler(library.nebular_continuum(i_z, i_u))
            lines = library.nebular_lines(i_z, i_u)[:, kept].astype(np.float64) / width
            np.add.at(spectrum.T, at, lines.T)
            result[i_z, i_u] = spectrum
    return result


def fine_basis(library: Library, bins: AgeBins, *, step: float = _FINE_STEP) -> Basis:
    """Return the spectra of all ages of a library in pixels of lambda / ``step``, lines apart.

    Parameters
    ----------
    library : Library
        The library.
    bins : AgeBins
        Bins of the fine mode.
    step : float, optional
        Pixels are not wider than lambda / ``step`` where the library is finer.

    Returns
    -------
    Basis
        The spectra by age of the library.

    Notes
    -----
    A pixel takes the light of the samples around it, shared between neighbours in proportion to the distance. So any
    weight that is a straight line from pixel to pixel (a filter, an attenuation) gives the integral that the
    library's own samples give.
    """
    key = _key("fine", library, np.array([step]))
    with _LOCK:
        if key not in _FINE:
            wavelength = _thinned(library.wavelength, step)
            shares, width = _shares(library.wavelength, wavelength)
            stellar = _stored(key, "stellar", lambda: np.stack([_shared(s, shares, width) for s in library.spectra]))
            n_z, n_u = library.metallicity.size, library.log_u.size
            grids = [(i, j) for i in range(n_z) for j in range(n_u)]
            n_na = library.nebular_age.size
            shape = (n_z, n_u, n_na)
            if library.has_nebular:
                gas = shares
                if not np.array_equal(library.nebular_wavelength, library.wavelength):
                    gas, _ = _shares(library.nebular_wavelength, wavelength)
                nebular = _stored(
                    key, "nebular",
                    lambda: np.stack([_shared(library.nebular_continuum(*g), gas, width) for g in grids]),
                ).reshape(*shape, wavelength.size)  # fmt: skip
                lines = np.stack([library.nebular_lines(*g).astype(np.float64) for g in grids]).reshape(*shape, -1)
            else:
                nebular, lines = np.zeros((*shape, wavelength.size)), np.zeros((*shape, 0))
            _FINE[key] = Basis(wavelength, width, width, stellar, bins.stellar, nebular, library.line_wavelength, lines)
            _drop_oldest(_FINE)
        _FINE.move_to_end(key)
        basis = _FINE[key]
    if basis.means is not bins.stellar:  # another age of birth clouds shares the spectra, not the bins
        return Basis(**{**basis.__dict__, "means": bins.stellar})
    return basis


def plot_basis(library: Library, bins: AgeBins) -> Basis:
    """Return the spectra in the coarser pixels that curves in plots have.

    Parameters
    ----------
    library : Library
        The library.
    bins : AgeBins
        Bins of age.

    Returns
    -------
    Basis
        As `fine_basis`, four times smaller.
    """
    return fine_basis(library, bins, step=_PLOT_STEP)


def _thinned(wavelength: FloatArray, step: float) -> FloatArray:
    """Return as few samples of a library as leave no gap wider than a pixel where it has none itself."""
    kept = [float(wavelength[0])]
    for wave, following in itertools.pairwise(wavelength[1:]):
        limit = _FINE_STEP_IONISING if wave < _FINE_FROM else step
        if following > kept[-1] * (1.0 + 1.0 / limit):
            kept.append(float(wave))
    kept.append(float(wavelength[-1]))
    return np.array(kept)


def _shares(old: FloatArray, new: FloatArray) -> tuple[Any, FloatArray]:
    """Return the sparse matrix (n_old, n_new) that shares light between pixels, and the widths of the pixels."""
    from scipy.sparse import csr_array

    weight = _trapezoid(old)
    inside = np.flatnonzero((old >= new[0]) & (old <= new[-1]))
    at = old[inside]
    right = np.clip(np.searchsorted(new, at, side="right"), 1, new.size - 1)
    part = (at - new[right - 1]) / (new[right] - new[right - 1])
    values = np.concatenate([weight[inside] * (1.0 - part), weight[inside] * part])
    rows, columns = np.concatenate([inside, inside]), np.concatenate([right - 1, right])
    shares = csr_array((values, (rows, columns)), shape=(old.size, new.size))
    return shares, np.asarray(shares.sum(axis=0)).ravel()


def _shared(spectra: FloatArray, shares: Any, width: FloatArray) -> FloatArray:
    """Return spectra (n, n_old) as mean luminosity per Angstrom in pixels (n, n_new)."""
    native = np.asarray(spectra).astype(np.float64)
    summed = (shares.T @ native.T).T
    return np.asarray(np.divide(summed, width, out=np.zeros_like(summed), where=width > 0))


def _trapezoid(points: FloatArray) -> FloatArray:
    """Return the weights of the trapezoidal rule."""
    steps = np.diff(points)
    weight = np.zeros_like(points)
    weight[:-1] += 0.5 * steps
    weight[1:] += 0.5 * steps
    return weight


def _key(kind: str, library: Library, decisive: FloatArray) -> tuple[str, str, str]:
    """Return what spectra on a grid are kept by."""
    return kind, library.digest, hashlib.sha256(decisive.tobytes()).hexdigest()[:32]


def _drop_oldest(kept: OrderedDict[tuple[Any, ...], Basis]) -> None:
    """Forget what was not used for the longest time."""
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _stored(key: tuple[str, str, str], part: str, make: Any) -> FloatArray:
    """Return an array from disk, mapped, or make and store it."""
    name = hashlib.sha256("|".join((*key, part, code_version())).encode()).hexdigest()[:40]
    path = cache_folder() / "spectra" / f"{name}.npy"
    found = load_array(path)
    if found is not None and found.dtype == np.float64 and found.flags.c_contiguous:
        return found
    made: FloatArray = np.ascontiguousarray(make())
    if not np.isfinite(made).all():
        msg = (
            f"the {part} spectra of the library hold {np.count_nonzero(~np.isfinite(made))} values that are not finite; "
            "the file may be damaged: sc-lab library check says where"
        )
        raise InputError(msg)
    if save_array(path, made):
        prune(path.parent)
    return made
