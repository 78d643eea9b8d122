"""Reading Lenstool's parameter files as they are: potentials, members, cosmology and posterior samples."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.cosmology import FLRW

from sc_lab.cosmology import make_cosmology
from sc_lab.errors import InputError
from sc_lab.lensing.parametric import ParametricLens, Posterior
from sc_lab.lensing.potentials import DPIE, ExternalShear, Potential, scaled_members
from sc_lab.units import FloatArray

__all__ = ["read_lenstool"]

_MAX_BYTES = 200_000_000
_DPIE_PROFILE = 81
_SHEAR_PROFILE = 14
#: Lenstool writes French, its later versions English.
_ENGLISH = {
    "finish": "fini",
    "grid": "grille",
    "nlens": "nlentille",
    "potential": "potentiel",
    "cosmology": "cosmologie",
    "ellipticity": "ellipticite",
    "x_center": "x_centre",
    "y_center": "y_centre",
    "profile": "profil",
    "omegam": "omega",
    "omegax": "lambda",
}
#: Labels of the chain and the fields they stand for.
_CHAIN_FIELDS = {
    "x": "x",
    "y": "y",
    "emass": "ellipticity",
    "theta": "angle",
    "rc": "core",
    "rcut": "cut",
    "sigma": "sigma",
    "gamma": "gamma",
    "kappa": "kappa",
}
_LABEL = re.compile(r"(?P<name>\S+)\s*:\s*(?P<key>\w+)(?:\s*\(.*\))?$")
_POT_LABEL = re.compile(r"Pot(?P<number>\d+)\s+(?P<key>\w+)(?:\s*\(.*\))?$")
_SYSTEM = re.compile(r"#\s*(?P<id>\S+)\s+z:\s*(?P<z>[-+.\deE]+)")


@dataclass
class _Block:
    """One section of a file: keyword, its name, and the words behind each key."""

    kind: str
    name: str
    line: int
    keys: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _ParFile:
    """A parsed file."""

    path: Path
    blocks: list[_Block]
    redshifts: dict[str, float]
    #: Whether it closes with 'fini'.
    ended: bool

    def of(self, kind: str) -> list[_Block]:
        """Return the sections of a kind."""
        return [block for block in self.blocks if block.kind == kind]


def read_lenstool(path: Any, *, posterior: Any = None, name: str = "", frame: str = "lenstool") -> ParametricLens:
    """Read a Lenstool model.

    Parameters
    ----------
    path : path-like
        ``best.par`` (every galaxy written out), ``bestopt.par`` (members through a ``potfile`` whose catalogue
        stands beside it), or the folder that holds them.
    posterior : path-like or False, optional
        The chain, ``bayes.dat``. None looks for it beside ``best.par``; False reads none.
    name : str
        Short name of the model; empty takes the name of the folder.
    frame : {"lenstool", "tangent"}
        How sky positions become offsets: as Lenstool did when it fitted the model, or through a tangent plane, as
        the headers of its maps say.

    Returns
    -------
    ParametricLens
        With the file's own cosmology, its frame, the redshifts it fitted, and the samples of its chain.

    Raises
    ------
    InputError
        If a file is missing, is not one of Lenstool's, or holds a profile that is not known here; the message
        names the line.

    Notes
    -----
    Frame and angles as Lenstool has them: x to the West and y to the North of ``reference``, angles anticlockwise
    from +x (`LensModel.to_frame`). Profiles 81 (dPIE) and 14 (external shear).
    """
    if not isinstance(path, (str, os.PathLike)):
        msg = f"path is {path!r}; give the folder of a Lenstool run, or its best.par"
        raise InputError(msg)
    path = _find(Path(path))
    par = _parse(path)
    _check_result(par)
    cosmology = _cosmology(par)
    ra, dec = _reference(par)
    z_lens = _lens_redshift(par)
    scale = _arcsec_per_kpc(cosmology, z_lens)
    cautions: list[str] = []
    potentials = [_potential(block, scale, path) for block in par.of("potentiel")]
    for block in _potfiles(par):
        potentials += _members(block, path, ra=ra, dec=dec, scale=scale, cautions=cautions)
    _check_number(par, potentials, cautions)
    if not potentials:
        msg = f"{path.name} has no 'potentiel' section; give best.par or bestopt.par of a Lenstool run"
        raise InputError(msg)
    chain = _find_chain(path, posterior)
    samples = None if chain is None else _read_chain(chain, path, potentials)
    return ParametricLens(
        potentials,
        z_lens=z_lens,
        ra=ra,
        dec=dec,
        cosmology=cosmology,
        name=name or path.resolve().parent.name,
        posterior=samples,
        redshifts=par.redshifts,
        cautions=tuple(cautions),
        frame=frame,
    )


def _check_result(par: _ParFile) -> None:
    """Refuse the input of a run: its potentials hold starting values, not the fit."""
    for block in par.of("limit"):
        for key, words in block.keys.items():
            if words and words[0] == "1":
                msg = (
                    f"{par.path.name}, line {block.line}: {key} of potential {block.name} is free in the interval "
                    f"{' to '.join(words[1:3])}; this is the input of a run, not its result: read best.par or bestopt.par"
                )
                raise InputError(msg)


def _check_number(par: _ParFile, potentials: list[Potential], cautions: list[str]) -> None:
    """Leave out members beyond the announced number, and tell a file that is cut off from one that is whole."""
    announced = [int(_value(block, "nlentille", par.path, 0.0)) for block in par.of("grille")]
    limit = announced[0] if announced else 0
    if 0 < limit < len(potentials):
        # Lenstool stops reading members when it has this many lenses in all.
        cautions.append(f"nlentille allows {limit} lenses; the last {len(potentials) - limit} members were left out")
        del potentials[limit:]
    elif limit > len(potentials) and par.ended and not _potfiles(par):
        cautions.append(f"nlentille announces {limit} lenses; the file holds {len(potentials)}")
    if par.ended:
        return
    if limit != len(potentials):
        msg = (
            f"{par.path.name} ends without 'fini' and holds {len(potentials)} potentials, where nlentille announces "
            f"{limit or 'nothing'}: it is cut off; fetch it again"
        )
        raise InputError(msg)
    cautions.append(f"{par.path.name} ends without 'fini', but holds all of its {limit} lenses")


# ---- files ------------------------------------------------------------------------------
def _find(path: Path) -> Path:
    if path.is_dir():
        for candidate in ("best.par", "bestopt.par"):
            if (path / candidate).is_file():
                return path / candidate
        there = ", ".join(sorted(each.name for each in path.glob("*.par"))) or "no .par file"
        msg = f"the folder {path.name} has neither best.par nor bestopt.par, but {there}; name the file of the model"
        raise InputError(msg)
    if not path.is_file():
        msg = f"there is no file {path}; give best.par or bestopt.par of a Lenstool run, or their folder"
        raise InputError(msg)
    return path


def read_text(path: Path) -> str:
    """Return a text file, refusing what cannot be one.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    InputError
        If it cannot be opened, is very large or holds zero bytes.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            msg = f"{path.name} has {size / 1e6:.0f} MB; a Lenstool text file has fewer than {_MAX_BYTES / 1e6:.0f} MB"
            raise InputError(msg)
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path.name} cannot be read: {error.strerror}; check its name and rights"
        raise InputError(msg) from None
    if b"\0" in data:
        msg = f"{path.name} is not a text file; give a Lenstool .par, .cat or bayes.dat file"
        raise InputError(msg)
    return data.decode("utf-8", errors="replace")


def _parse(path: Path) -> _ParFile:
    blocks: list[_Block] = []
    redshifts: dict[str, float] = {}
    current: _Block | None = None
    ended = False
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.strip()
        if text.startswith("#"):
            found = _SYSTEM.match(text)
            if found:
                redshifts[system_of(found["id"])] = _number(found["z"], "z", path, number)
            continue
        words = text.split()
        if not words:
            continue
        word = _ENGLISH.get(words[0].lower(), words[0].lower())
        if word == "fini":
            ended = True
            break
        if word == "end":
            current = None
        elif current is None:
            current = _Block(kind=word, name=words[1] if len(words) > 1 else "", line=number)
            blocks.append(current)
        elif word == "potentiel" or word.startswith("potfile"):
            msg = f"{path.name}, line {number}: '{word}' begins before the section of line {current.line} ended; add 'end'"
            raise InputError(msg)
        else:
            current.keys[word] = words[1:]
    if not any(block.kind in ("runmode", "potentiel") for block in blocks):
        msg = f"{path.name} is not a Lenstool parameter file: it has neither 'runmode' nor 'potentiel'; give best.par"
        raise InputError(msg)
    return _ParFile(path, blocks, redshifts, ended)


def system_of(identifier: str) -> str:
    """Return the system of an image: ``"4"`` of ``"4.0"`` and of ``"4.2"``.

    Parameters
    ----------
    identifier : str
        Identifier of the image.

    Returns
    -------
    str
        What stands before the last point.
    """
    return identifier.rsplit(".", 1)[0]


def _number(word: str, key: str, path: Path, line: int) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"{path.name}, section at line {line}: {key} is {word!r}; give a finite number"
        raise InputError(msg)
    return value


def _value(block: _Block, key: str, path: Path, default: float | None = None, *, place: int = 0) -> float:
    words = block.keys.get(key)
    if words is None or len(words) <= place:
        if default is None:
            msg = f"{path.name}, section {block.kind} {block.name} at line {block.line}: there is no {key}; add it"
            raise InputError(msg)
        return default
    return _number(words[place], key, path, block.line)


# ---- parts of the file ------------------------------------------------------------------
def _reference(par: _ParFile) -> tuple[float, float]:
    for block in par.of("runmode"):
        if len(block.keys.get("reference", ())) >= 3:
            return (_value(block, "reference", par.path, place=1), _value(block, "reference", par.path, place=2))
    msg = f"{par.path.name} has no 'reference 3 RA Dec' in its runmode section; add it"
    raise InputError(msg)


def _cosmology(par: _ParFile) -> FLRW:
    for block in par.of("cosmologie"):
        if abs(_value(block, "wx", par.path, -1.0) + 1.0) > 1e-9 or abs(_value(block, "wa", par.path, 0.0)) > 1e-9:
            msg = f"{par.path.name}: its dark energy is not a cosmological constant (wX, wa); only wX = -1, wa = 0 is read"
            raise InputError(msg)
        omega = _value(block, "omega", par.path, 0.3)
        return make_cosmology(_value(block, "h0", par.path, 70.0), omega, _value(block, "lambda", par.path, 1 - omega))
    return make_cosmology(70.0, 0.3, 0.7)


def _lens_redshift(par: _ParFile) -> float:
    found = {_value(block, "z_lens", par.path) for block in par.of("potentiel") if "z_lens" in block.keys}
    found |= {_value(block, "zlens", par.path) for block in _potfiles(par) if "zlens" in block.keys}
    if len(found) != 1:
        which = ", ".join(f"{z:g}" for z in sorted(found)) or "none"
        msg = f"{par.path.name}: the potentials have the lens redshifts {which}; only lenses in one plane are read"
        raise InputError(msg)
    return found.pop()


def _potfiles(par: _ParFile) -> list[_Block]:
    return [block for block in par.blocks if re.fullmatch(r"potfile\d*", block.kind)]


def _arcsec_per_kpc(cosmology: FLRW, z_lens: float) -> float:
    return float(math.degrees(1.0) * 3600.0 / (1000.0 * cosmology.angular_diameter_distance(z_lens).to_value("Mpc")))


def _radius(block: _Block, key: str, scale: float, path: Path, default: float | None = None) -> float:
    if key in block.keys:
        return _value(block, key, path)
    if f"{key}_kpc" in block.keys:
        return _value(block, f"{key}_kpc", path) * scale
    return _value(block, key, path, default)


def _potential(block: _Block, scale: float, path: Path) -> Potential:
    profile = int(_value(block, "profil", path))
    if profile == _SHEAR_PROFILE:
        return ExternalShear(
            gamma=_value(block, "gamma", path, 0.0),
            angle=_value(block, "angle_pos", path, 0.0),
            kappa=_value(block, "kappa", path, 0.0),
            x=_value(block, "x_centre", path, 0.0),
            y=_value(block, "y_centre", path, 0.0),
            name=block.name,
        )
    if profile == _DPIE_PROFILE:
        return DPIE(
            x=_value(block, "x_centre", path),
            y=_value(block, "y_centre", path),
            sigma=_value(block, "v_disp", path),
            core=_radius(block, "core_radius", scale, path, 0.0),
            cut=_radius(block, "cut_radius", scale, path),
            ellipticity=_value(block, "ellipticite", path, 0.0),
            angle=_value(block, "angle_pos", path, 0.0),
            name=block.name,
            mag=_value(block, "mag", path, 0.0) if "mag" in block.keys else math.nan,
        )
    msg = (
        f"{path.name}, line {block.line}: potential {block.name} has profile {profile}; profiles "
        f"{_DPIE_PROFILE} (dPIE) and {_SHEAR_PROFILE} (external shear) are read: export kappa and gamma maps for others"
    )
    raise InputError(msg)


def _settled(block: _Block, key: str, path: Path) -> float:
    """Return a parameter of a potfile that may be fixed (0 v), Gaussian (3 mean error) or an interval (1 low high)."""
    words = block.keys.get(key)
    if words is None:
        return _value(block, key, path)
    if len(words) == 1:
        return _value(block, key, path)
    mode = _value(block, key, path)
    if mode == 1:
        msg = (
            f"{path.name}, line {block.line}: {key} of {block.kind} is the interval {' to '.join(words[1:3])}; "
            "this is the input of a run, not its result: read best.par or bestopt.par"
        )
        raise InputError(msg)
    return _value(block, key, path, place=1)


def _scaled_radius(block: _Block, key: str, scale: float, path: Path) -> float:
    if f"{key}kpc" in block.keys:
        return _settled(block, f"{key}kpc", path) * scale
    return _settled(block, key, path) if key in block.keys else 0.0


def _members(
    block: _Block, path: Path, *, ra: float, dec: float, scale: float, cautions: list[str]
) -> tuple[DPIE, ...]:
    words = block.keys.get("filein", [])
    if not words:
        msg = f"{path.name}, line {block.line}: {block.kind} names no catalogue (filein); add it"
        raise InputError(msg)
    # Only a name beside the file is opened: a path in someone's file leads to someone's disk.
    catalogue = path.parent / Path(words[-1]).name
    if not catalogue.is_file():
        msg = f"{path.name} takes its members from {words[-1]}, which is not beside it; put it there or read best.par"
        raise InputError(msg)
    names, columns = read_catalogue(catalogue, minimum=6, ra=ra, dec=dec)
    x, y, a, b, angle, mag = columns[:6]
    with np.errstate(invalid="ignore", divide="ignore"):
        ellipticity = np.where(a > 0, (a * a - b * b) / (a * a + b * b), 0.0)
    cautions.append(f"the {len(names)} members of {block.kind} were scaled from the catalogue {catalogue.name}")
    return scaled_members(
        x,
        y,
        mag,
        mag0=_value(block, "mag0", path),
        sigma0=_settled(block, "sigma", path),
        cut0=_scaled_radius(block, "cut", scale, path),
        core0=_scaled_radius(block, "core", scale, path),
        slope=_settled(block, "slope", path) if "slope" in block.keys else 4.0,
        vd_slope=_settled(block, "vdslope", path) if "vdslope" in block.keys else 4.0,
        ellipticity=np.clip(ellipticity, 0.0, 0.999),
        angle=angle,
        names=names,
    )


def read_catalogue(path: Path, *, minimum: int, ra: float, dec: float) -> tuple[list[str], list[FloatArray]]:
    """Read one of Lenstool's catalogues: an identifier, a position and further numbers per line.

    Parameters
    ----------
    path : Path
        The file.
    minimum : int
        Numbers that a line needs behind its identifier.
    ra, dec : float
        Reference position of the model [deg].

    Returns
    -------
    tuple of list of str and list of ndarray
        Identifiers, and the columns; the first two are offsets [arcsec] West and North of the reference position.

    Raises
    ------
    InputError
        If a line is too short or holds something else than numbers.

    Notes
    -----
    ``#REFERENCE 0`` or none: right ascension and declination [deg]; ``#REFERENCE 3 RA Dec``: offsets West and North
    [arcsec] of that position.
    """
    names: list[str] = []
    rows: list[list[float]] = []
    centre: tuple[float, float] | None = None
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if words[0].startswith("#"):
            if words[0].upper() == "#REFERENCE" and len(words) >= 4 and words[1] == "3":
                centre = (_number(words[2], "RA", path, number), _number(words[3], "Dec", path, number))
            continue
        if len(words) <= minimum:
            msg = f"{path.name}, line {number}: {len(words)} words; give an identifier and {minimum} numbers"
            raise InputError(msg)
        names.append(words[0])
        rows.append([_number(word, f"column {k + 2}", path, number) for k, word in enumerate(words[1 : minimum + 1])])
    if not rows:
        msg = f"{path.name} holds no line of data; give a catalogue with one object per line"
        raise InputError(msg)
    columns = [np.array(column, dtype=float) for column in zip(*rows, strict=True)]
    cos = math.cos(math.radians(dec))
    if centre is None:
        columns[0], columns[1] = (
            -((columns[0] - ra + 180.0) % 360.0 - 180.0) * 3600.0 * cos,
            (columns[1] - dec) * 3600.0,
        )
    else:
        columns[0] = columns[0] - ((centre[0] - ra + 180.0) % 360.0 - 180.0) * 3600.0 * cos
        columns[1] = columns[1] + (centre[1] - dec) * 3600.0
    return names, columns


# ---- the chain --------------------------------------------------------------------------
def _find_chain(path: Path, posterior: Any) -> Path | None:
    if posterior is False:
        return None
    if posterior is None:
        beside = path.parent / "bayes.dat"
        return beside if beside.is_file() else None
    chain = Path(posterior)
    if not chain.is_file():
        msg = f"there is no file {chain}; give bayes.dat of the Lenstool run as posterior=, or posterior=False"
        raise InputError(msg)
    return chain


def _read_chain(chain: Path, path: Path, potentials: list[Potential]) -> Posterior:
    labels: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(chain).splitlines(), start=1):
        text = line.strip()
        if text.startswith("#"):
            labels.append(text[1:].strip())
        elif text:
            words = text.split()
            if len(words) != len(labels):
                msg = (
                    f"{chain.name}, line {number}: {len(words)} numbers for {len(labels)} labels; "
                    "the chain is cut off or its header is not its own: give a whole bayes.dat"
                )
                raise InputError(msg)
            rows.append([_number(word, label, chain, number) for word, label in zip(words, labels, strict=True)])
    if not rows:
        msg = f"{chain.name} holds no sample; give bayes.dat of the Lenstool run, or posterior=False"
        raise InputError(msg)
    table = np.array(rows, dtype=float)
    values: dict[tuple[int, str], FloatArray] = {}
    redshifts: dict[str, FloatArray] = {}
    likelihood = np.empty(0)
    families: list[list[int]] | None = None
    places: dict[str, int] = {}
    for i, each in enumerate(potentials):
        places.setdefault(each.name, i)
    for column, label in zip(table.T, labels, strict=True):
        pot = _POT_LABEL.match(label)
        found = _LABEL.match(label)
        if label == "ln(Lhood)":
            likelihood = column
        elif label.startswith("Redshift of"):
            redshifts[system_of(label.split()[-1])] = column
        elif pot is not None and pot["key"] in ("sigma", "rcut", "rc"):
            if families is None:
                families = _families(path, potentials)
            _scale_family(values, potentials, families, int(pot["number"]), pot["key"], column, chain, path)
        elif found is not None and found["name"] in places and found["key"] in _CHAIN_FIELDS:
            key = _CHAIN_FIELDS[found["key"]]
            samples = np.clip(column, 0.0, 0.999) if key == "ellipticity" else column
            values[places[found["name"]], key] = np.ascontiguousarray(samples)
        elif label not in ("Nsample", "Chi2", "Evidence", "ln(Evidence)"):
            msg = (
                f"{chain.name} samples {label!r}, which belongs to no potential of {path.name}; known are "
                f"{', '.join(_CHAIN_FIELDS)} of a named potential, and sigma, rc and rcut of a potfile"
            )
            raise InputError(msg)
    return Posterior(n=len(rows), values=values, redshifts=redshifts, log_likelihood=likelihood)


def _families(path: Path, potentials: list[Potential]) -> list[list[int]]:
    """Return the members of each potfile: the potentials that the file of free parameters does not write out."""
    beside = path if path.name == "bestopt.par" else path.parent / "bestopt.par"
    if not beside.is_file():
        msg = (
            f"the chain samples the scaling of the members, but bestopt.par, which says who they are, is not beside "
            f"{path.name}; put it there or read with posterior=False"
        )
        raise InputError(msg)
    optimised = _parse(beside)
    first = len(optimised.of("potentiel"))
    files = _potfiles(optimised)
    # Within one potfile the dispersion falls with magnitude by one law, so that this number is the same for all.
    groups: list[list[int]] = []
    level = math.nan
    slopes = [_settled(block, "vdslope", beside) if "vdslope" in block.keys else 4.0 for block in files]
    for i in range(first, len(potentials)):
        each = potentials[i]
        if not isinstance(each, DPIE) or not math.isfinite(each.mag) or not each.sigma > 0:
            continue
        slope = slopes[min(max(len(groups) - 1, 0), len(slopes) - 1)] if slopes else 4.0
        here = math.log10(each.sigma) + 0.4 * each.mag / slope
        if not abs(here - level) < 1e-3:
            groups.append([])
            level = here
        groups[-1].append(i)
    if len(groups) != len(files):
        msg = (
            f"{beside.name} has {len(files)} potfile(s), but the members of {path.name} follow {len(groups)} scaling "
            "law(s); the chain cannot be assigned: read with posterior=False"
        )
        raise InputError(msg)
    return groups


def _scale_family(
    values: dict[tuple[int, str], FloatArray],
    potentials: list[Potential],
    families: list[list[int]],
    number: int,
    key: str,
    column: FloatArray,
    chain: Path,
    path: Path,
) -> None:
    """Set the samples of one parameter of the scaling for all members of a potfile."""
    if number >= len(families):
        msg = f"{chain.name} samples Pot{number}, but {path.name} has {len(families)} potfile(s); is it its chain?"
        raise InputError(msg)
    beside = path if path.name == "bestopt.par" else path.parent / "bestopt.par"
    block = _potfiles(_parse(beside))[number]
    mag0 = _value(block, "mag0", beside)
    name = _CHAIN_FIELDS[key]
    powers = {
        "sigma": 1.0 / (_settled(block, "vdslope", beside) if "vdslope" in block.keys else 4.0),
        "cut": 2.0 / (_settled(block, "slope", beside) if "slope" in block.keys else 4.0),
        "core": 0.5,
    }
    for i in families[number]:
        member = potentials[i]
        if isinstance(member, DPIE):
            values[i, name] = column * 10.0 ** (0.4 * (mag0 - member.mag) * powers[name])
