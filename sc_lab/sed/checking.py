"""Checks of a stellar library before it is trusted: axes, units, holes, and light beside BC03's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sc_lab.errors import ScLabError
from sc_lab.sed.libraries import Library, load_library
from sc_lab.units import FloatArray

__all__ = ["LibraryCheck", "check_library"]

#: Windows of the comparison [Angstrom] and their names.
_WINDOWS = {"1500 A": (1450.0, 1550.0), "5500 A": (5400.0, 5600.0), "9000 A": (8900.0, 9100.0)}
_AGES = (1e7, 1e8, 1e9, 1e10)
#: Ultraviolet light of older stars is from rare ones (binaries, after the giant branch), on which models disagree.
_BLUE, _UV_BRIGHT = 3000.0, 3e8
#: Stellar models differ by factors of two to three in the near infrared at some ages; a wrong unit by more.
_ALIKE = 5.0
_UNIVERSE = 13.47e9
_YOUNGEST = 1e6
_LYMAN = 912.0
_REACH = (_LYMAN, 50000.0)


@dataclass(frozen=True)
class LibraryCheck:
    """What was found about a library.

    Attributes
    ----------
    title : str
        Full name of the library.
    facts : tuple of str
        What it holds, a line each.
    notes : tuple of str
        What limits its use, a sentence each.
    problems : tuple of str
        What makes it wrong, a sentence each; empty for a library that can be used.
    ratios : dict
        Light over that of BC03 at the same age and nearest metallicity, by "age, window"; empty if not compared.
    """

    title: str
    facts: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    ratios: dict[str, float]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems


def check_library(
    source: str | Path | Library = "bc03",
    *,
    metallicities: Sequence[float] | None = None,
    nebular_continuum: str | Path | None = None,
    nebular_lines: str | Path | None = None,
) -> LibraryCheck:
    """Check a stellar library.

    Parameters
    ----------
    source : str, Path or Library, optional
        A library, or what `~sc_lab.sed.load_library` reads.
    metallicities : sequence of float, optional
        As for `~sc_lab.sed.load_library`.
    nebular_continuum, nebular_lines : str or Path, optional
        As for `~sc_lab.sed.load_library`.

    Returns
    -------
    LibraryCheck
        Facts, limits and problems in words.

    Raises
    ------
    InputError
        If the files cannot be read as a library at all; the message says why.

    Notes
    -----
    The light is compared with BC03's of the same age and nearest metallicity, in 100-A means: stellar models agree
    within a factor of about two, whereas a grid per 1e6 Msun, per Hz or in erg/s is off by orders of magnitude.
    """
    if isinstance(source, Library):
        library = source
    else:
        library = load_library(
            source,
            metallicities=metallicities,
            nebular_continuum=nebular_continuum,
            nebular_lines=nebular_lines,
        )
    problems: list[str] = []
    notes: list[str] = []
    for number, image in enumerate(library.spectra):
        _check_spectra(library, number, np.asarray(image), problems)
    _check_live(library, problems)
    if library.has_nebular:
        _check_gas(library, problems, notes)
    _check_reach(library, notes)
    ratios = {} if library.name == "bc03" else _compared(library, problems, notes)
    return LibraryCheck(library.title, tuple(_facts(library)), tuple(notes), tuple(problems), ratios)


def _facts(library: Library) -> list[str]:
    age, lam, zsun = library.age, library.wavelength, library.metallicity
    gas = "none: stars only"
    if library.has_nebular:
        gas = f"log U {library.log_u[0]:g} to {library.log_u[-1]:g} ({library.log_u.size}), {library.line_wavelength.size} lines"
    live = library.live_fraction
    return [
        f"ages: {age.size}, from {age[0]:.4g} to {age[-1]:.4g} yr",
        f"wavelengths: {lam.size}, from {lam[0]:.5g} to {lam[-1]:.6g} Angstrom",
        f"metallicities [0.02]: {', '.join(f'{each:.4g}' for each in zsun)}",
        f"living mass over mass formed: {live[0].min():.3f} at the first age, {live[-1].min():.3f} or more at the last",
        f"gas: {gas}",
        f"sha256 of what decides its numbers: {library.digest}",
    ]


def _check_spectra(library: Library, number: int, image: FloatArray, problems: list[str]) -> None:
    """Look for holes and negative light in the spectra of one metallicity."""
    label = f"the spectra of metallicity {library.metallicity[number]:.4g}"
    bad = ~np.isfinite(image)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        problems.append(
            f"{label} have {np.count_nonzero(bad)} numbers that are not finite, first at {library.age[row]:.4g} yr; "
            "convert or get the grid anew"
        )
        return
    if (image < 0).any():
        problems.append(
            f"{label} have {np.count_nonzero(image < 0)} negative luminosities; convert or get the grid anew"
        )
    dark = (library.age > 0) & ~(image > 0).any(axis=1)
    if dark.any():
        at = f"{library.age[int(np.argmax(dark))]:.4g}"
        problems.append(f"{label} are zero throughout at {np.count_nonzero(dark)} ages, first at {at} yr")


def _check_live(library: Library, problems: list[str]) -> None:
    """Living mass starts near what was formed and falls."""
    live, age = library.live_fraction, library.age
    young = live[np.flatnonzero(age <= 2 * max(age[0], _YOUNGEST))[-1:]]
    if age[0] <= 1e7 and (young < 0.8).any():
        problems.append(
            f"the living mass is {young.min():.3g} of what was formed at the youngest ages, where hardly a star has died; "
            "it may be in other units or in another order"
        )
    rises = np.diff(live, axis=0) > 0.02
    if rises.any():
        problems.append("the living mass rises with age by more than 2 %; its axes may be exchanged")


def _check_gas(library: Library, problems: list[str], notes: list[str]) -> None:
    """Look for holes in the nebular grids, and whether they shine as the stars' ionising light allows."""
    for what, ask in (("continua", library.nebular_continuum), ("lines", library.nebular_lines)):
        for i_z, zsun in enumerate(library.metallicity):
            images = [np.asarray(ask(i_z, i_u)) for i_u in range(library.log_u.size)]
            bad = sum(int(np.count_nonzero(~np.isfinite(image))) for image in images)
            below = sum(int(np.count_nonzero(image < 0)) for image in images)
            if bad or below:
                problems.append(
                    f"the nebular {what} of metallicity {zsun:.4g} have {bad} numbers that are not finite and {below} "
                    "below zero; get or make the grid anew"
                )
    steps = np.log10(library.nebular_age) - (6.0 + 0.1 * np.arange(library.nebular_age.size))
    if np.abs(steps).max() > 0.01:
        notes.append("the nebular ages are not 10^6.0, 10^6.1, ... yr: bagpipes itself would take them for those")
    solar = int(np.argmin(np.abs(np.log(library.metallicity))))
    ionising = library.wavelength < _LYMAN
    row = int(np.argmin(np.abs(library.age - library.nebular_age[0])))
    power = float(np.trapezoid(np.asarray(library.spectra[solar][row])[ionising], library.wavelength[ionising]))
    lines = max(float(np.sum(library.nebular_lines(solar, i_u)[0])) for i_u in range(library.log_u.size))
    # Lines are powered by what the gas takes up: nearly all of it when it is young, and never more.
    if not 0.05 * power < lines < 1.5 * power:
        problems.append(
            f"the lines of {library.nebular_age[0]:.3g} yr shine with {lines:.3g} Lsun for 1 Msun, but the ionising "
            f"light that powers them has {power:.3g}; lines and stars may be in different units"
        )


def _check_reach(library: Library, notes: list[str]) -> None:
    age, lam = library.age, library.wavelength
    if age[0] > _YOUNGEST * 1.001:
        notes.append(f"the youngest spectrum has {age[0]:.3g} yr: younger stars take its light")
    if age[-1] < _UNIVERSE * 0.9:
        notes.append(f"the oldest spectrum has {age[-1]:.3g} yr: older stars take its light")
    if lam[0] > _REACH[0]:
        notes.append(f"no light below {lam[0]:.5g} Angstrom: neither rest-frame ultraviolet nor ionising photons")
    if lam[-1] < _REACH[1]:
        notes.append(f"no light above {lam[-1]:.5g} Angstrom: red bands of nearby sources are not covered")
    if not library.has_nebular:
        notes.append("no nebular grids: models of it need nebular=False, or grids made with Cloudy from the same stars")


def _compared(library: Library, problems: list[str], notes: list[str]) -> dict[str, float]:
    """Return the light over BC03's; say where it is of another order of magnitude."""
    try:
        reference = load_library("bc03")
    except ScLabError as error:
        notes.append(f"not compared with BC03, which is not at hand ({error})")
        return {}
    ratios: dict[str, float] = {}
    # Solar, where libraries differ least; the nearest that both have.
    ours = int(np.argmin(np.abs(np.log(library.metallicity))))
    theirs = int(np.argmin(np.abs(np.log(reference.metallicity / library.metallicity[ours]))))
    for age in _AGES:
        row, other = (int(np.argmin(np.abs(lib.age - age))) for lib in (library, reference))
        if not 0.7 < library.age[row] / age < 1.4:
            continue
        for window, (low, high) in _WINDOWS.items():
            if high < _BLUE and age > _UV_BRIGHT:
                continue
            light = _mean(library.wavelength, np.asarray(library.spectra[ours][row]), low, high)
            known = _mean(reference.wavelength, np.asarray(reference.spectra[theirs][other]), low, high)
            if math.isfinite(light) and known > 0:
                ratios[f"{age:.0e} yr, {window}"] = light / known
    positive = np.array([value for value in ratios.values() if value > 0])
    if not positive.size:
        notes.append("not compared with BC03: no age or wavelength in common")
        return ratios
    middle = float(np.median(positive))
    if not 1 / _ALIKE < middle < _ALIKE:
        orders = math.log10(middle)
        hint = "the grid may be per 1e6 Msun: divide it by 1e6" if abs(orders - 6) < 0.7 else "check its unit"
        problems.append(
            f"at the same age it is {middle:.3g} times as bright as BC03, so it is not in Lsun/Angstrom for 1 Msun "
            f"formed; {hint}"
        )
    elif positive.size >= 4 and (positive.max() / positive.min()) > _ALIKE**2 * 4:
        problems.append(
            f"beside BC03 its light goes from {positive.min():.2g} to {positive.max():.2g} between ages and wavelengths; "
            "its ages may be in another unit, or its axes exchanged"
        )
    return ratios


def _mean(lam: FloatArray, spectrum: FloatArray, low: float, high: float) -> float:
    inside = (lam >= low) & (lam <= high)
    return float(np.mean(spectrum[inside])) if inside.any() else math.nan
