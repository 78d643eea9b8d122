"""Raw BPASS v2 text files into a grid of bagpipes' format, which every engine here reads."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["BpassFiles", "convert_bpass", "find_bpass", "write_grid"]

#: A raw file is for this much mass formed [Msun] (BPASS v2.2.1 manual).
_FORMED = 1e6
_SOLAR = 0.02
#: v2.3 writes its abundance pattern, "a+00", before the metallicity.
_NAME = re.compile(r"spectra-((?:bin|sin)-[\w-]+?)(\.a[+-]\d\d)?\.z(em\d|\d{3})\.dat")
#: Columns of a file and its ages: the wavelength, then log10(age/yr) from 6 on by 0.1; v2.1 ended at 10.
_AGES = {52: 51, 42: 41}
#: Living mass at 1 Myr may exceed what was formed by the rounding of the file.
_ROUNDING = 1.01


class Cancelled(Protocol):
    """What `threading.Event` is here: whether to stop."""

    def is_set(self) -> bool:
        """Return whether to stop."""


@dataclass(frozen=True)
class BpassFiles:
    """The raw files of one population.

    Attributes
    ----------
    kind : str
        Stars and initial mass function, such as ``"bin-imf135_300"``.
    metallicity : tuple of float
        Mass fractions of metals, increasing.
    spectra : tuple of Path
        Files of spectra, one for each metallicity.
    masses : tuple of Path
        Files of living masses, one for each metallicity.
    """

    kind: str
    metallicity: tuple[float, ...]
    spectra: tuple[Path, ...]
    masses: tuple[Path, ...]


def find_bpass(folder: str | Path, *, kind: str | None = None) -> BpassFiles:
    """Find the raw files of a population in a folder.

    Parameters
    ----------
    folder : str or Path
        Folder with files such as ``spectra-bin-imf135_300.z020.dat`` and ``starmass-bin-imf135_300.z020.dat``.
    kind : str or None, optional
        Which population, such as ``"bin-imf135_300"``; None takes the only one.

    Returns
    -------
    BpassFiles
        The files, by increasing metallicity.

    Raises
    ------
    InputError
        If there are none, too few, those of several populations, or no masses beside the spectra.
    """
    where = Path(folder).expanduser()
    if not where.is_dir():
        msg = f"there is no folder '{where}'; give the one with the unpacked files spectra-*.dat and starmass-*.dat"
        raise InputError(msg)
    found: dict[str, dict[float, Path]] = {}
    for path in sorted(where.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match:
            code = match[3]
            metals = 10.0 ** -int(code[2:]) if code.startswith("em") else int(code) / 1000.0
            found.setdefault(match[1] + (match[2] or ""), {})[metals] = path
    if not found:
        msg = f"'{where}' holds no BPASS spectra; files are named such as spectra-bin-imf135_300.z020.dat, unpacked"
        raise InputError(msg)
    if kind is None and len(found) > 1:
        msg = f"'{where}' holds several populations; choose one as kind: {', '.join(sorted(found))}"
        raise InputError(msg)
    name = next(iter(found)) if kind is None else kind
    if name not in found:
        msg = f"'{where}' holds no population {name!r}, but {', '.join(sorted(found))}"
        raise InputError(msg)
    files = found[name]
    if len(files) < 2:
        msg = f"'{where}' holds one metallicity of {name}; at least two are needed to interpolate between"
        raise InputError(msg)
    ordered = tuple(sorted(files))
    spectra = tuple(files[each] for each in ordered)
    masses = tuple(path.with_name(path.name.replace("spectra-", "starmass-", 1)) for path in spectra)
    missing = [path.name for path in masses if not path.is_file()]
    if missing:
        msg = f"living masses are read from starmass files, and '{where}' lacks {', '.join(missing)}; unpack them too"
        raise InputError(msg)
    return BpassFiles(name, ordered, spectra, masses)


def convert_bpass(
    folder: str | Path,
    output: str | Path,
    *,
    kind: str | None = None,
    remnants: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
    cancel: Cancelled | None = None,
) -> BpassFiles:
    """Convert raw BPASS files to a stellar grid in bagpipes' format.

    Parameters
    ----------
    folder : str or Path
        Folder of the unpacked text files.
    output : str or Path
        FITS file to write. It appears only when it is complete.
    kind : str or None, optional
        Which population, such as ``"bin-imf135_300"``; None takes the only one.
    remnants : bool, optional
        Whether the living mass counts white dwarfs, neutron stars and black holes too.
    overwrite : bool, optional
        Whether an existing file is replaced.
    progress : callable, optional
        Called with the number of files read and their total.
    cancel : `threading.Event`, optional
        Set it to stop between two files.

    Returns
    -------
    BpassFiles
        What was converted.

    Raises
    ------
    InputError
        If files are missing, damaged or not of the format of v2, the output exists, or ``cancel`` was set.

    Notes
    -----
    BPASS v2 (Eldridge et al. 2017, PASA 34, e058; Stanway & Eldridge 2018, MNRAS 479, 75): a file of spectra has the
    wavelength [Angstrom] and 51 columns of luminosity [Lsun/Angstrom] for 1e6 Msun formed, at log10(age/yr) = 6.0 to
    11.0 by 0.1; a file of masses has log10(age/yr), the mass of living stars and that of remnants [Msun]. Luminosities
    are divided by 1e6 and stored as float32. There is no nebular emission in these files.
    """
    files = find_bpass(folder, kind=kind)
    target = Path(output).expanduser()
    if target.exists() and not overwrite:
        msg = f"'{target}' exists and is left as it is; ask to overwrite it, or give another name"
        raise InputError(msg)
    total = 2 * len(files.spectra)
    live: list[FloatArray] = []
    for done, path in enumerate(files.masses):
        live.append(_read_masses(path, remnants=remnants))
        if progress is not None:
            progress(done + 1, total)
    n_age = {each.size for each in live}
    if len(n_age) > 1:
        msg = f"the starmass files in '{folder}' have {', '.join(map(str, sorted(n_age)))} ages; unpack them anew"
        raise InputError(msg)
    first, columns = _read_spectra(files.spectra[0], live[0].size)

    def images() -> Iterator[npt.NDArray[np.float32]]:
        for number, path in enumerate(files.spectra):
            if cancel is not None and cancel.is_set():
                msg = f"the conversion of '{folder}' was cancelled; nothing was written"
                raise InputError(msg)
            lam, values = (first, columns) if number == 0 else _read_spectra(path, live[0].size)
            if not np.array_equal(lam, first):
                msg = (
                    f"'{path.name}' has {lam.size} wavelengths that differ from the {first.size} of "
                    f"'{files.spectra[0].name}'; it may be truncated: unpack it anew"
                )
                raise InputError(msg)
            yield values
            if progress is not None:
                progress(len(files.masses) + number + 1, total)

    write_grid(
        target,
        images(),
        metallicity=[each / _SOLAR for each in files.metallicity],
        age=10.0 ** (6.0 + 0.1 * np.arange(live[0].size)),
        wavelength=first,
        live_fraction=np.stack(live, axis=1),
        about=f"BPASS v2 {files.kind}, living mass {'with' if remnants else 'without'} remnants",
    )
    return files


def write_grid(
    path: str | Path,
    spectra: Iterable[Any],
    *,
    metallicity: Sequence[float],
    age: Any,
    wavelength: Any,
    live_fraction: Any,
    about: str = "",
) -> None:
    """Write a stellar grid in bagpipes' format; an existing file is replaced once the new one is complete.

    Parameters
    ----------
    path : str or Path
        FITS file to write.
    spectra : iterable of array_like, shape (n_age, n_wav)
        Luminosity [Lsun/Angstrom] for 1 Msun formed, one for each metallicity; may be made one after the other.
    metallicity : sequence of float
        In units of the Sun's 0.02; kept in the names of the images.
    age : array_like, shape (n_age,)
        Ages [yr].
    wavelength : array_like, shape (n_wav,)
        Vacuum wavelengths [Angstrom].
    live_fraction : array_like, shape (n_age, n_z)
        Living mass over mass formed.
    about : str, optional
        What it is, for the header.

    Raises
    ------
    InputError
        If shapes do not agree.
    OSError
        If the folder cannot be written to.
    """
    from astropy.io import fits

    ages, lam = np.asarray(age, dtype=np.float64), np.asarray(wavelength, dtype=np.float64)
    live = np.asarray(live_fraction, dtype=np.float64)
    if live.shape != (ages.size, len(metallicity)):
        msg = f"live_fraction has the shape {live.shape}; (ages, metallicities) is {(ages.size, len(metallicity))}"
        raise InputError(msg)
    target = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    try:
        header = fits.Header()
        if about:
            header["ABOUT"] = about
        fits.PrimaryHDU(header=header).writeto(temporary, overwrite=True)
        for each, spectrum in zip(metallicity, spectra, strict=True):
            image = _shaped(spectrum, (ages.size, lam.size))
            # One image in memory at a time: a grid has hundreds of megabytes.
            _append(temporary, image, f"ZMET_{each:.6g}ZSOL", "Lsun/Angstrom for 1 Msun formed")
        _append(temporary, live, "LIV_MSTAR_FRAC", "living mass over mass formed")
        _append(temporary, ages, "STELLAR_AGE_YR", "yr")
        _append(temporary, lam, "WAVELENGTHS_AA", "Angstrom, vacuum")
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # a temporary file is for its owner alone
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _shaped(spectrum: Any, shape: tuple[int, int]) -> Any:
    """Return a spectrum image as an array of this shape."""
    image = np.asarray(spectrum)
    if image.shape != shape:
        msg = f"a spectrum image has the shape {image.shape}; (ages, wavelengths) is {shape}"
        raise InputError(msg)
    return image


def _append(path: str, data: Any, name: str, what: str) -> None:
    """Append an image to a FITS file."""
    from astropy.io import fits

    header = fits.Header()
    header["EXTNAME"] = name
    header["CONTENT"] = what
    fits.append(path, data, header, verify=False)


def _table(path: Path) -> FloatArray:
    """Return the numbers of a text file."""
    try:
        # Of an empty file numpy would warn.
        table = np.loadtxt(path, dtype=np.float64, ndmin=2) if path.stat().st_size else np.empty((0, 0))
    except (ValueError, OSError, UnicodeDecodeError) as error:
        msg = f"'{path.name}' is no table of numbers ({error}); it may be truncated: unpack it anew"
        raise InputError(msg) from None
    if not table.size:
        msg = f"'{path.name}' is empty; unpack it anew"
        raise InputError(msg)
    if not np.isfinite(table).all():
        row = int(np.argmin(np.isfinite(table).all(axis=1))) + 1
        msg = f"'{path.name}' has a number that is not finite in row {row}; unpack it anew"
        raise InputError(msg)
    return table


def _read_spectra(path: Path, n_age: int) -> tuple[FloatArray, npt.NDArray[np.float32]]:
    """Return wavelengths, and luminosities for 1 Msun formed, shape (n_age, n_wav)."""
    table = _table(path)
    if _AGES.get(table.shape[1]) != n_age:
        msg = (
            f"'{path.name}' has {table.shape[1]} columns, and its starmass file {n_age} ages; a file of BPASS v2.2 has "
            "the wavelength and 51 ages"
        )
        raise InputError(msg)
    lam = table[:, 0].copy()
    if lam.size < 2 or not np.all(np.diff(lam) > 0) or lam[0] <= 0:
        msg = f"the wavelengths in '{path.name}' do not increase from row to row; unpack it anew"
        raise InputError(msg)
    if np.any(table < 0):
        row = int(np.argmax((table < 0).any(axis=1))) + 1
        msg = f"'{path.name}' has a negative luminosity in row {row}; unpack it anew"
        raise InputError(msg)
    table[:, 1:] /= _FORMED
    return lam, np.ascontiguousarray(table[:, 1:].T, dtype=np.float32)


def _read_masses(path: Path, *, remnants: bool) -> FloatArray:
    """Return the living mass over the mass formed, by age."""
    table = _table(path)
    if table.shape[1] < 3 or table.shape[0] not in _AGES.values():
        msg = (
            f"'{path.name}' has {table.shape[0]} rows of {table.shape[1]} columns; a starmass file of BPASS v2.2 has 51 "
            "rows of log10(age/yr), mass of stars and mass of remnants"
        )
        raise InputError(msg)
    if not np.allclose(table[:, 0], 6.0 + 0.1 * np.arange(len(table)), atol=0.01):
        msg = f"the ages in '{path.name}' are not log10(age/yr) = 6.0, 6.1, ...; give files of BPASS v2"
        raise InputError(msg)
    live = (table[:, 1] + (table[:, 2] if remnants else 0.0)) / _FORMED
    if np.any(live < 0) or np.any(live > _ROUNDING) or live[0] < 0.5:
        msg = (
            f"'{path.name}' has living masses from {live.min() * _FORMED:.3g} to {live.max() * _FORMED:.3g} Msun of the "
            "1e6 Msun formed; give files of BPASS v2"
        )
        raise InputError(msg)
    return np.minimum(live, 1.0)
