"""Throughput curves from a user's files: two columns, or what the SVO filter service gives out."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from sc_lab.errors import InputError, ScLabWarning
from sc_lab.sed.filters import TRIM, Filter, get_filter
from sc_lab.units import FloatArray

__all__ = ["read_filter"]

_IN_ANGSTROM = {"AA": 1.0, "nm": 10.0, "um": 1e4}
_UNIT_NAMES = {
    "aa": "AA",
    "a": "AA",
    "å": "AA",
    "angstrom": "AA",
    "angstroms": "AA",
    "nm": "nm",
    "nanometer": "nm",
    "nanometers": "nm",
    "nanometre": "nm",
    "um": "um",
    "µm": "um",
    "μm": "um",
    "micron": "um",
    "microns": "um",
    "micrometer": "um",
}
#: From the far ultraviolet to a millimetre: outside it, numbers are most likely in another unit.
_PLAUSIBLE = (100.0, 1e7)
#: A curve that starts or ends above this fraction of its peak was cut, unless it is a top hat.
_CUT_OFF = 0.05
_COMMENTS = ("#", "!", ";", "%", "//")
_UNIT_HINT = re.compile(r"(?<![a-zµμ])(angstroms?|nanomet(?:er|re)s?|nm|microns?|micromet(?:er|re)s?|[uµμ]m)(?![a-z])")
_ENERGY_HINT = re.compile(r"\bper (?:unit )?energy\b|\benergy[ -](?:counter|counting|response|weighted)\b")


def read_filter(
    path: str | Path,
    *,
    kind: Literal["photon", "energy"] | None = None,
    unit: Literal["AA", "nm", "um"] | None = None,
    name: str | None = None,
) -> Filter:
    """Read a throughput curve from a file.

    Parameters
    ----------
    path : str or Path
        Text of two columns, wavelength and throughput (commas or blanks between them, comments after ``#``; further
        columns are left out), or a VOTable of the SVO filter service.
    kind : {"photon", "energy"} or None, optional
        What the second column is: electrons per photon, or response per unit of energy, which is turned into the
        former by dividing by the wavelength. None takes what a VOTable or a comment says, else "photon".
    unit : {"AA", "nm", "um"} or None, optional
        Unit of the wavelengths; None takes what the file says, else Angstrom.
    name : str or None, optional
        Name of the band; None takes the file's name without its ending.

    Returns
    -------
    Filter
        The curve in Angstrom and electrons per photon, trimmed at 1e-3 of its peak.

    Raises
    ------
    InputError
        If the file cannot be read as a curve, an option is unknown, or the wavelengths cannot be in this unit.

    Warns
    -----
    ScLabWarning
        If a curve is per energy by what the file says, if it is cut off at an end, or if it dips below zero by a
        little.

    Notes
    -----
    Response per photon T and per energy S belong together by T ∝ S / lambda, because a photon carries h c / lambda
    (Bessell & Murphy 2012, PASP 124, 140, section 2). Taking one for the other moves the pivot of F150W by
    0.4 %.
    """
    file = Path(path).expanduser()
    for option, value, allowed in (("kind", kind, ("photon", "energy")), ("unit", unit, tuple(_IN_ANGSTROM))):
        if value is not None and value not in allowed:
            msg = f"{option} is {value!r}; give one of {', '.join(map(repr, allowed))}, or None to take what the file says"
            raise InputError(msg)
    label = file.stem if name is None else name
    text = _text(file)
    if text.lstrip().startswith("<"):
        lam, thr, said_unit, said_kind = _votable(file)
    else:
        lam, thr, said_unit, said_kind = _columns(file, text)
    lam = lam * _IN_ANGSTROM[_agreed_unit(file, unit, said_unit)]
    lam, thr = _in_order(file, lam, thr)
    _check_wavelengths(file, lam, label)
    if _agreed_kind(file, kind, said_kind) == "energy":
        thr = thr / lam
    return _built(file, label, lam, thr)


def _text(file: Path) -> str:
    """Return the text of a file."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        msg = f"there is no file '{file}'; give the path of a throughput curve"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"'{file}' cannot be read ({error.strerror or error}); give the path of a throughput curve"
        raise InputError(msg) from None
    if b"\0" in raw or raw.startswith(b"SIMPLE  ="):
        msg = f"'{file}' is not text; give two columns of text, or a VOTable of the SVO filter service"
        raise InputError(msg)
    return raw.decode("utf-8", errors="replace").lstrip("\ufeff")


def _columns(file: Path, text: str) -> tuple[FloatArray, FloatArray, str | None, str | None]:
    """Return wavelengths, throughputs, and what the comments say of unit and kind."""
    rows: list[tuple[float, float]] = []
    comments: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith(_COMMENTS):
            comments.append(stripped.lower())
            continue
        cells = stripped.replace(",", " ").replace(";", " ").split()
        try:
            rows.append((float(cells[0]), float(cells[1])))
        except (ValueError, IndexError):
            if not rows:  # a line of column names
                comments.append(stripped.lower())
                continue
            msg = (
                f"line {number} of '{file}' is {stripped[:60]!r}, not a wavelength and a throughput; "
                "give two columns of numbers, and # before a comment"
            )
            raise InputError(msg) from None
    if len(rows) < 2:
        msg = f"'{file}' holds {len(rows)} row(s) of two numbers; give two columns, wavelength and throughput"
        raise InputError(msg)
    said = " ".join(comments)
    units = {_UNIT_NAMES[found] for found in _UNIT_HINT.findall(said) if found in _UNIT_NAMES}
    unit = units.pop() if len(units) == 1 else None  # a comment that names two says nothing
    table = np.array(rows, dtype=np.float64)
    return table[:, 0], table[:, 1], unit, "energy" if _ENERGY_HINT.search(said) else None


def _votable(file: Path) -> tuple[FloatArray, FloatArray, str | None, str | None]:
    """Return wavelengths, throughputs, and what a VOTable says of unit and kind."""
    from astropy.io.votable import parse_single_table

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SVO's files deviate from the standard in ways that do not matter here
            table = parse_single_table(file, verify="ignore")
            fields = [field for field in table.fields if field.datatype in ("double", "float")]
            lam, thr = (np.asarray(table.array[field.name].filled(np.nan), dtype=np.float64) for field in fields[:2])
    except Exception as error:  # noqa: BLE001 - a broken XML file raises whatever it meets first
        msg = f"'{file}' cannot be read as a VOTable ({type(error).__name__}: {error}); download it anew"
        raise InputError(msg) from None
    params = {param.name: param.value for param in table.params}
    detector = params.get("DetectorType")  # 0: energy counter, 1: photon counter (SVO Filter Profile Service)
    kind = None if detector is None else "photon" if str(detector).strip() == "1" else "energy"
    said = str(fields[0].unit or params.get("WavelengthUnit") or "").strip().lower()
    return lam, thr, _UNIT_NAMES.get(said), kind


def _agreed_unit(file: Path, unit: str | None, said: str | None) -> str:
    """Return the unit of the wavelengths from the caller and the file."""
    if unit is not None and said is not None and unit != said:
        msg = f"'{file}' says that its wavelengths are in {said!r}, and unit is {unit!r}; leave unit out, or mend the file"
        raise InputError(msg)
    return unit or said or "AA"


def _agreed_kind(file: Path, kind: str | None, said: str | None) -> str:
    """Return the kind of the throughputs from the caller and the file; say it where the file decides."""
    if said == "energy" and kind is None:
        msg = f"'{file}' is per energy by its own account: taken so, and divided by the wavelength to be per photon"
        warnings.warn(msg, ScLabWarning, stacklevel=3)
    if kind is not None and said is not None and kind != said:
        msg = (
            f"'{file}' is per {said} by its own account, and is taken per {kind} as asked; leave kind out to follow it"
        )
        warnings.warn(msg, ScLabWarning, stacklevel=3)
    return kind or said or "photon"


def _in_order(file: Path, lam: FloatArray, thr: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the curve by increasing wavelength; a curve by frequency is turned round, a mixed one refused."""
    steps = np.diff(lam)
    if np.all(steps < 0):
        return lam[::-1], thr[::-1]
    if np.any(steps <= 0):
        at = int(np.argmax(steps <= 0)) + 2
        msg = f"the wavelengths in '{file}' are not in order (data row {at}); sort them and leave each in only once"
        raise InputError(msg)
    return lam, thr


def _check_wavelengths(file: Path, lam: FloatArray, label: str) -> None:
    """Refuse wavelengths that are most likely in another unit."""
    low, high = float(np.min(lam)), float(np.max(lam))
    if np.isfinite([low, high]).all() and not (_PLAUSIBLE[0] <= low and high <= _PLAUSIBLE[1]):
        msg = (
            f"the wavelengths of '{file}' would reach from {low:g} to {high:g} Angstrom, which no filter here does; "
            "say their unit: unit='um' for micron, unit='nm', or unit='AA'"
        )
        raise InputError(msg)
    try:
        known = get_filter(label) if re.fullmatch(r"[fF]\d{3,4}[a-zA-Z]\w*", label) else None
    except InputError:
        known = None
    if known is not None and not (low < 1.5 * known.pivot and high > known.pivot / 1.5):
        msg = (
            f"the wavelengths of '{file}' reach from {low:g} to {high:g} Angstrom, but {known.name} is at "
            f"{known.pivot:.0f}; say their unit (unit='um', 'nm' or 'AA'), or give the band another name"
        )
        raise InputError(msg)


def _built(file: Path, label: str, lam: FloatArray, thr: FloatArray) -> Filter:
    """Return the filter; say where the curve dips below zero or is cut off."""
    peak = float(np.nanmax(thr)) if np.isfinite(thr).any() else 0.0
    noise = (thr < 0) & (thr > -TRIM * peak)
    if noise.any():
        msg = f"'{file}' has {np.count_nonzero(noise)} throughput(s) just below zero, which are set to zero"
        warnings.warn(msg, ScLabWarning, stacklevel=3)
        thr = np.where(noise, 0.0, thr)
    built = Filter.from_curve(label, lam, thr, source=str(file))
    ends = [(side, float(thr[at] / peak)) for side, at in (("starts", 0), ("ends", -1))]
    for side, fraction in ends:
        if _CUT_OFF < fraction < 1.0:
            msg = (
                f"the curve in '{file}' {side} at {fraction:.0%} of its peak: light beyond it is taken as not detected"
            )
            warnings.warn(msg, ScLabWarning, stacklevel=3)
    return built
