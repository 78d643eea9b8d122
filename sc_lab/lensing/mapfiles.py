"""Reading maps of lens models from FITS files, with their normalisation, unit and sign."""

from __future__ import annotations

import gzip
import math
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from astropy.cosmology import FLRW
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from sc_lab.errors import InputError
from sc_lab.lensing.maps import KINDS, Grid, MapLens, check_planes, make_grid
from sc_lab.lensing.selftest import check_maps

__all__ = ["read_maps"]

#: File-name endings of the Hubble Frontier Fields models, and extension names, with what they hold.
_NAMES = (
    (re.compile(r"(?:^|[_-])kappa(?:$|[_.-])", re.IGNORECASE), "kappa", ""),
    (re.compile(r"(?:^|[_-])gamma_?1(?:$|[_.-])", re.IGNORECASE), "gamma1", ""),
    (re.compile(r"(?:^|[_-])gamma_?2(?:$|[_.-])", re.IGNORECASE), "gamma2", ""),
    (re.compile(r"(?:^|[_-])x-arcsec-deflect(?:$|[_.-])", re.IGNORECASE), "alpha_x", "arcsec"),
    (re.compile(r"(?:^|[_-])y-arcsec-deflect(?:$|[_.-])", re.IGNORECASE), "alpha_y", "arcsec"),
    (re.compile(r"(?:^|[_-])x-pixels-deflect(?:$|[_.-])", re.IGNORECASE), "alpha_x", "pixel"),
    (re.compile(r"(?:^|[_-])y-pixels-deflect(?:$|[_.-])", re.IGNORECASE), "alpha_y", "pixel"),
    (re.compile(r"(?:^|[_-])alpha_?x(?:$|[_.-])", re.IGNORECASE), "alpha_x", ""),
    (re.compile(r"(?:^|[_-])alpha_?y(?:$|[_.-])", re.IGNORECASE), "alpha_y", ""),
)
_FIXED_Z = re.compile(r"z\d\d-magnif|magnif", re.IGNORECASE)
_REALISATION = re.compile(r"map(\d{3,})", re.IGNORECASE)
#: Largest size that a compressed file may unpack to.
_MAX_BYTES = 8_000_000_000
#: Largest map [pixels] that is opened: a header may promise anything.
_MAX_PIXELS = 400_000_000


def read_maps(
    paths: Any,
    *,
    z_lens: float,
    normalisation: float | Literal["z"],
    unit: Literal["arcsec", "pixel"] | None,
    sign: Literal["pixel", "east", "pixel-reversed"] = "pixel",
    gamma2_sign: Literal[1, -1] = 1,
    z_maps: float | None = None,
    wcs: WCS | None = None,
    cosmology: FLRW | None = None,
    name: str = "",
    rms: float | None = None,
    realisations: Any = None,
    check: bool = True,
) -> MapLens:
    """Read maps of convergence, shear and deflection.

    Parameters
    ----------
    paths : path-like, sequence or mapping
        A folder of files named as those of the Hubble Frontier Fields (``..._kappa.fits``, ``..._gamma1.fits``,
        ``..._x-arcsec-deflect.fits``, ...), a sequence of such files, one file with an extension for each
        (KAPPA, GAMMA1, GAMMA2, ALPHA_X, ALPHA_Y), or a mapping from kappa, gamma1, gamma2, alpha_x, alpha_y to files.
    z_lens : float
        Redshift of the lens.
    normalisation : float or "z"
        D_LS/D_S that the maps were made for: 1 for most; ``"z"`` for maps made for a source at ``z_maps``.
    unit : {"arcsec", "pixel"} or None
        Unit of the deflection maps; None only where there are none.
    sign : {"pixel", "east", "pixel-reversed"}
        The deflection along x is positive towards +x pixels, towards East, or both components are reversed.
    gamma2_sign : {1, -1}
        -1 where gamma2 counts its angle from the x axis of a mirrored sky, so that its sign is reversed.
    z_maps : float, optional
        Redshift of the source that the maps were made for, with ``normalisation="z"``.
    wcs : `~astropy.wcs.WCS`, optional
        Coordinates, where the files have none.
    cosmology : `~astropy.cosmology.FLRW`, optional
        None means `sc_lab.cosmology.default_cosmology`.
    name : str
        Short name; empty takes that of the folder or file.
    rms : float, optional
        Scatter [arcsec] of the model's own images.
    realisations : path-like or False, optional
        Folder of realisations, ``*map###*.fits``. None looks for ``range`` inside the folder; False reads none.
    check : bool
        Whether to run `check_maps` and refuse what contradicts itself.

    Returns
    -------
    MapLens
        The model.

    Raises
    ------
    InputError
        If something is missing, or the maps contradict the unit or the sign; the message says which would agree.

    Notes
    -----
    Normalisation, unit and sign differ between teams, so they have no default: a wrong one gives plausible numbers.
    Files of magnifications at a fixed redshift cannot be scaled to another one and are left aside.
    """
    cautions: list[str] = []
    files = _locate(paths, cautions)
    planes, found_wcs, pixel_alpha = _read_planes(files, wcs)
    has_alpha = "alpha_x" in planes or "alpha_y" in planes
    if has_alpha and unit not in ("arcsec", "pixel"):
        msg = f"unit is {unit!r}, but there are deflection maps; say 'arcsec' or 'pixel'"
        raise InputError(msg)
    if has_alpha and pixel_alpha and pixel_alpha != unit:
        msg = (
            f"unit is {unit!r}, but the names of the deflection maps say {pixel_alpha!r}; give the right one of the two"
        )
        raise InputError(msg)
    if sign not in ("pixel", "east", "pixel-reversed"):
        msg = f"sign is {sign!r}; choose 'pixel', 'east' or 'pixel-reversed'"
        raise InputError(msg)
    ratio = _normalisation(normalisation, z_maps, z_lens, cosmology, name)
    shape = check_planes(planes, "the maps")
    grid = make_grid(found_wcs, shape)
    if gamma2_sign not in (1, -1):
        msg = f"gamma2_sign is {gamma2_sign!r}; choose 1 or -1"
        raise InputError(msg)
    factors = {**_factors(grid, unit, sign), "gamma2": float(gamma2_sign)}
    label = name or _label(paths)
    model = MapLens(
        _scaled(planes, factors),
        wcs=found_wcs,
        z_lens=z_lens,
        normalisation=ratio,
        cosmology=cosmology,
        name=label,
        rms=rms,
        cautions=tuple(cautions),
    )
    if check:
        report = check_maps(model)
        if not report.ok:
            msg = f"the maps of {label!r} contradict themselves: {report.text}"
            raise InputError(msg)
    draws = _find_realisations(paths, realisations, factors)
    if not draws:
        return model
    return MapLens(
        model.planes,
        wcs=found_wcs,
        z_lens=z_lens,
        normalisation=ratio,
        cosmology=cosmology,
        name=label,
        rms=rms,
        realisations=draws,
        cautions=tuple(cautions),
    )


def _normalisation(normalisation: Any, z_maps: float | None, z_lens: float, cosmology: FLRW | None, name: str) -> float:
    if normalisation == "z":
        if z_maps is None or not z_maps > z_lens:
            msg = f"normalisation='z' needs z_maps=, the source redshift of the maps, above z_lens = {z_lens}; got {z_maps}"
            raise InputError(msg)
        from sc_lab.lensing.parametric import ParametricLens
        from sc_lab.lensing.potentials import ExternalShear

        ruler = ParametricLens([ExternalShear(0.0)], z_lens=z_lens, ra=0.0, dec=0.0, cosmology=cosmology, name=name)
        return float(ruler.efficiency(z_maps))
    if isinstance(normalisation, str) or z_maps is not None:
        msg = f"normalisation is {normalisation!r} and z_maps {z_maps!r}; give a number alone, or 'z' and z_maps"
        raise InputError(msg)
    return float(normalisation)


def _label(paths: Any) -> str:
    if isinstance(paths, str | Path):
        return Path(paths).name.split(".")[0]
    return "maps"


def _locate(paths: Any, cautions: list[str]) -> dict[str, Path]:
    """Return the files by kind; a single multi-extension file under the kind ''."""
    if isinstance(paths, Mapping):
        unknown = [key for key in paths if key not in KINDS]
        if unknown:
            msg = f"paths names {', '.join(map(repr, unknown))}; the kinds are {', '.join(KINDS)}"
            raise InputError(msg)
        return {key: Path(value) for key, value in paths.items()}
    if isinstance(paths, str | Path):
        path = Path(paths)
        if not path.exists():
            msg = f"there is no file or folder {path}; give the FITS maps of a lens model"
            raise InputError(msg)
        if path.is_file():
            return {"": path}
        listed = sorted(
            each for each in path.iterdir() if each.name.lower().endswith((".fits", ".fits.gz", ".fits.fz"))
        )
    else:
        listed = [Path(each) for each in paths]
    return _by_name(listed, cautions)


def _kind_of(name: str) -> tuple[str, str] | None:
    for pattern, kind, unit in _NAMES:
        if pattern.search(name):
            return kind, unit
    return None


def _by_name(listed: Sequence[Path], cautions: list[str]) -> dict[str, Path]:
    out: dict[str, Path] = {}
    units: dict[str, str] = {}
    for path in listed:
        stem = re.sub(r"\.fits(\.gz|\.fz)?$", "", path.name, flags=re.IGNORECASE)
        found = _kind_of(stem)
        if found is None:
            if _FIXED_Z.search(stem):
                cautions.append(
                    f"{path.name} was left aside: a magnification at one redshift cannot be scaled to another"
                )
            continue
        kind, unit = found
        if kind in out:
            # Teams write the deflection twice; arcseconds need no pixel scale.
            if units[kind] == "arcsec" and unit == "pixel":
                continue
            if units[kind] == unit:
                msg = f"{out[kind].name} and {path.name} both hold {kind}; give a mapping from kind to file"
                raise InputError(msg)
        out[kind], units[kind] = path, unit
    if len(listed) == 1 and not out:
        return {"": listed[0]}
    if not out:
        names = ", ".join(path.name for path in listed[:5]) or "no FITS file"
        msg = f"no file is named as a map of a lens model (found {names}); give a mapping from {', '.join(KINDS)} to files"
        raise InputError(msg)
    return out


def _check_whole(path: Path) -> None:
    """Refuse a compressed file that is cut off or unpacks to more than any map: the FITS reader stops at its end."""
    try:
        with path.open("rb") as raw:
            if raw.read(2) != b"\x1f\x8b":
                return
        size = 0
        with gzip.open(path) as stream:
            while chunk := stream.read(1 << 22):
                size += len(chunk)
                if size > _MAX_BYTES:
                    msg = f"{path.name} unpacks to more than {_MAX_BYTES / 1e9:.0f} GB; a lens model has less: cut it"
                    raise InputError(msg)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path.name} cannot be unpacked ({error}); it is cut off or damaged: fetch it again"
        raise InputError(msg) from None


def _walk(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield number and HDU of every image of a FITS file, refusing a broken or a monstrous one in words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=True) as hdus:
                number = 0
                while True:
                    try:
                        hdu = hdus[number]
                    except IndexError:
                        return
                    sides = [int(hdu.header.get(f"NAXIS{i + 1}", 0)) for i in range(int(hdu.header.get("NAXIS", 0)))]
                    if math.prod(sides) > _MAX_PIXELS:
                        msg = f"{path.name} promises {math.prod(sides):.3g} pixels; up to {_MAX_PIXELS:.3g} are read: cut it"
                        raise InputError(msg)
                    if len(sides) >= 2 and isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
                        yield number, hdu
                    number += 1
    except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path.name} cannot be read as FITS ({error}); it may be cut off: fetch it again"
        raise InputError(msg) from None


def open_plane(path: Path, extension: int | None = None) -> tuple[npt.NDArray[Any], fits.Header]:
    """Return a map and its header; uncompressed files stay on disk.

    Parameters
    ----------
    path : Path
        FITS file.
    extension : int, optional
        Which; None takes the first with an image.

    Returns
    -------
    tuple of ndarray and `~astropy.io.fits.Header`
        The map, shape (ny, nx), and its header.

    Raises
    ------
    InputError
        If the file cannot be read as FITS or holds no image.
    """
    for number, hdu in _walk(path):
        if extension in (None, number):
            try:
                data = np.squeeze(hdu.data)
            except (OSError, ValueError, TypeError, EOFError) as error:
                msg = f"{path.name} cannot be read as FITS ({error}); it may be cut off: fetch it again"
                raise InputError(msg) from None
            if data.ndim == 2:
                return data, hdu.header.copy()
    msg = f"{path.name} holds no two-dimensional image; give a map of a lens model"
    raise InputError(msg)


def _wcs_of(header: fits.Header) -> WCS | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            found = WCS(header, naxis=2)
        except Exception:  # noqa: BLE001 - the FITS library has its own tree of errors; no coordinates is an answer
            return None
    return found if found.has_celestial else None


def _read_planes(files: Mapping[str, Path], wcs: WCS | None) -> tuple[dict[str, Any], WCS, str]:
    """Return the planes, their coordinates, and the unit that the names of the deflection maps state."""
    planes: dict[str, Any] = {}
    found: WCS | None = wcs
    stated = ""
    for kind, path in files.items():
        if not path.is_file():
            msg = f"there is no file {path}; give the FITS map of {kind or 'the model'}"
            raise InputError(msg)
        _check_whole(path)
        if kind:
            planes[kind], header = open_plane(path)
            named = _kind_of(re.sub(r"\.fits(\.gz|\.fz)?$", "", path.name, flags=re.IGNORECASE))
            if kind.startswith("alpha") and named is not None and named[1]:
                stated = named[1]
            found = found or _wcs_of(header)
            continue
        for number, extension in _extensions(path):
            if extension in planes:
                msg = f"{path.name} holds {extension} twice; give a mapping from kind to file"
                raise InputError(msg)
            planes[extension], header = open_plane(path, number)
            bunit = str(header.get("BUNIT", "")).strip().lower()
            if extension.startswith("alpha") and bunit in ("arcsec", "pixel", "pix", "pixels"):
                stated = "arcsec" if bunit == "arcsec" else "pixel"
            found = found or _wcs_of(header)
    if found is None:
        msg = "the maps have no celestial coordinates; give wcs=, an astropy WCS with right ascension and declination"
        raise InputError(msg)
    return planes, found, stated


def _extensions(path: Path) -> list[tuple[int, str]]:
    """Return number and kind of the extensions of one file that hold maps."""
    named = [(number, _kind_of(str(hdu.name))) for number, hdu in _walk(path)]
    out = [(number, found[0]) for number, found in named if found is not None]
    if not out:
        msg = f"{path.name} has no extension named KAPPA, GAMMA1, GAMMA2, ALPHA_X or ALPHA_Y; give a mapping of files"
        raise InputError(msg)
    return out


def _factors(grid: Grid, unit: str | None, sign: str) -> dict[str, float]:
    """Return what the deflection planes are multiplied by: arcsec along the pixel axes."""
    size = grid.pixel_scale if unit == "pixel" else 1.0
    along_x = along_y = size
    if sign == "pixel-reversed":
        along_x, along_y = -size, -size
    elif sign == "east":
        if abs(grid.matrix[0, 1]) > 1e-3 * grid.pixel_scale:
            msg = "sign is 'east', but the maps are rotated on the sky; give deflections along the pixel axes"
            raise InputError(msg)
        # East is -x where the pixel axis runs West, as on most maps.
        along_x = -size if grid.matrix[0, 0] > 0 else size
    return {"alpha_x": along_x, "alpha_y": along_y}


def _scaled(planes: Mapping[str, Any], factors: Mapping[str, float]) -> dict[str, Any]:
    return {key: plane if factors.get(key, 1.0) == 1.0 else plane * factors[key] for key, plane in planes.items()}


class _Realisation(Mapping[str, Any]):
    """The planes of one realisation, read from their files when asked for and not kept."""

    def __init__(self, files: Mapping[str, Path], factors: Mapping[str, float]) -> None:
        self._factors = dict(factors)
        self._places: dict[str, tuple[Path, int | None]] = {}
        for kind, path in files.items():
            if kind:
                self._places[kind] = (path, None)
            else:
                self._places.update({each: (path, number) for number, each in _extensions(path)})

    def __getitem__(self, key: str) -> Any:
        plane = open_plane(*self._places[key])[0]
        factor = self._factors.get(key, 1.0)
        return plane if factor == 1.0 else plane * factor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _find_realisations(paths: Any, realisations: Any, factors: Mapping[str, float]) -> list[Mapping[str, Any]]:
    if realisations is False:
        return []
    folder = Path(realisations) if realisations is not None else None
    if folder is None:
        if not isinstance(paths, str | Path) or not (Path(paths) / "range").is_dir():
            return []
        folder = Path(paths) / "range"
    if not folder.is_dir():
        msg = f"there is no folder {folder}; give the folder of the *map###* files as realisations="
        raise InputError(msg)
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        found = _REALISATION.search(path.name)
        if found and path.name.lower().endswith((".fits", ".fits.gz", ".fits.fz")):
            groups.setdefault(found[1], []).append(path)
    out: list[Mapping[str, Any]] = []
    need = {"kappa", "gamma1", "gamma2"}
    for number, files in groups.items():
        located = _by_name([Path(re.sub(_REALISATION, "map", str(f.name))) for f in files], [])
        by_clean = {re.sub(_REALISATION, "map", f.name): f for f in files}
        real = {kind: by_clean[path.name] for kind, path in located.items()}
        usable = {"": next(iter(real.values()))} if "" in real else real
        if "" not in real and not need <= set(real) and not {"alpha_x", "alpha_y"} <= set(real):
            msg = (
                f"realisation {number} in {folder.name} has {', '.join(sorted(real))}; each needs kappa, gamma1 and "
                "gamma2, or the two deflections"
            )
            raise InputError(msg)
        out.append(_Realisation(usable, factors))
    if not out:
        msg = f"{folder.name} holds no file named *map###*.fits; give the folder of the realisations, or False"
        raise InputError(msg)
    return out
