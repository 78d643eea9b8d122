"""DS9 region files: points and contours in, contours out; lines that are not understood become sentences."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.catalog.validation import clean_text
from sc_lab.errors import InputError
from sc_lab.images.galaxy import Galaxy

__all__ = ["RegionFile", "contour_text", "parse_regions", "read_regions"]

_SKY_FRAMES = {
    "fk5": "fk5",
    "j2000": "fk5",
    "icrs": "icrs",
    "fk4": "fk4",
    "b1950": "fk4",
    "galactic": "galactic",
    "ecliptic": "ecliptic",
}
_PIXEL_FRAMES = ("image", "physical")
_OTHER_FRAMES = re.compile(r"(linear|amplifier|detector|wcs[a-z]?|tile|mosaic)", re.IGNORECASE)

#: Shapes that mark a place, and shapes that enclose one.
_POINTS = ("point", "circle")
_OUTLINES = ("polygon", "ellipse", "box", "rotbox")

#: More bytes than any file of regions drawn by hand.
_MOST_BYTES = 20_000_000

#: A label or set of tags longer than this was not typed by anyone.
_MOST_PROPERTIES = 2000

_OUTLINE_VERTICES = 36


@dataclass(frozen=True, eq=False)
class RegionFile:
    """What a DS9 region file holds.

    Attributes
    ----------
    points : QTable
        Points and circles: label, ra, dec [deg, ICRS], radius [arcsec; NaN for points], shape, colour, line.
    contours : tuple of Galaxy
        Polygons, ellipses and boxes; named by their labels, else ``contour 1``, ``contour 2`` ...
    sentences : tuple of str
        What was left out or read in a way worth knowing, with the number of its line.
    """

    points: QTable
    contours: tuple[Galaxy, ...]
    sentences: tuple[str, ...]


def read_regions(path: str | os.PathLike[str], *, band: Any = None) -> RegionFile:
    """Read a DS9 region file.

    Parameters
    ----------
    path : path-like
        The file.
    band : Band, optional
        The image whose pixels ``image`` and ``physical`` coordinates count.

    Returns
    -------
    RegionFile
        Points, contours, and sentences about the rest.

    Raises
    ------
    InputError
        If the file cannot be read or is no text.
    """
    place = Path(path)
    try:
        if place.stat().st_size > _MOST_BYTES:
            msg = f"{place} has {place.stat().st_size} bytes, more than the {_MOST_BYTES} that a region file may have"
            raise InputError(msg)
        raw = place.read_bytes()
    except OSError as problem:
        msg = f"{place} cannot be read ({problem.strerror or problem}); give the path of a DS9 region file"
        raise InputError(msg) from problem
    if b"\0" in raw:
        msg = f"{place} is not text; save the regions in DS9 format, as text"
        raise InputError(msg)
    return parse_regions(raw.decode("utf-8-sig", errors="replace"), band=band)


def parse_regions(text: str, *, band: Any = None) -> RegionFile:
    """Read the text of a DS9 region file.

    Parameters
    ----------
    text : str
        The text; nothing in it is executed.
    band : Band, optional
        The image whose pixels ``image`` and ``physical`` coordinates count.

    Returns
    -------
    RegionFile
        Points, contours, and sentences about the rest.

    Notes
    -----
    Frames: icrs, fk5 (J2000), fk4 (B1950), galactic, ecliptic; image (the first pixel is 1), and physical, which is
    read as image. A pixel's coordinates become ICRS degrees through the band. Labels are cleaned of control
    characters; HTML in them is text.
    """
    rows: list[dict[str, Any]] = []
    contours: list[Galaxy] = []
    sentences: list[str] = []
    said_physical = False
    frame: str | None = None
    for number, item, comment in _items(text):
        head = item.lower()
        if head in _SKY_FRAMES or head in _PIXEL_FRAMES:
            frame = _SKY_FRAMES.get(head, head)
            continue
        if _OTHER_FRAMES.fullmatch(head):
            frame = None
            sentences.append(f"line {number}: coordinates in {head!r} are not read; save the regions in icrs or fk5")
            continue
        if head.startswith("global"):
            continue
        shape = re.match(r"[+-]?\s*([a-z]+)", head)
        name = shape[1] if shape else ""
        if head.startswith("-"):
            sentences.append(f"line {number}: an excluded region ({_short(item)}) is left out")
            continue
        if name not in (*_POINTS, *_OUTLINES):
            sentences.append(f"line {number}: {_short(item)!r} is not a point, circle, polygon, ellipse or box")
            continue
        if frame is None:
            sentences.append(f"line {number}: {_short(item)!r} has no known coordinates; write icrs or fk5 before it")
            continue
        if frame in _PIXEL_FRAMES and band is None:
            sentences.append(f"line {number}: {frame} coordinates need an image; give band=")
            continue
        if frame == "physical" and not said_physical:
            said_physical = True
            sentences.append(f"line {number}: physical coordinates are read as image pixels")
        properties = comment
        if len(comment) > _MOST_PROPERTIES:
            properties = ""
            sentences.append(f"line {number}: properties of {len(comment)} characters are left out")
        try:
            region = _parsed(item, properties, frame)
            label, colour, tags = _properties(region, properties)
            if name in _POINTS:
                rows.append(_point(region, name, label, colour, number, band))
            else:
                contours.append(_contour(region, label or f"contour {len(contours) + 1}", tags, band))
        except InputError as problem:
            sentences.append(f"line {number}: {_short(item)!r} cannot be used: {problem}")
    return RegionFile(_table(rows), _unique(contours, sentences), tuple(sentences))


def contour_text(galaxies: Sequence[Galaxy]) -> str:
    """Return contours as a DS9 region file.

    Parameters
    ----------
    galaxies : sequence of Galaxy
        What to write.

    Returns
    -------
    str
        Polygons in ICRS degrees, labelled by id; redshift, system and image are tags, which `parse_regions` reads
        back. DS9 knows no escape in a label, so braces become parentheses and semicolons commas.
    """
    lines = [
        "# Region file format: DS9 version 4.1",
        "global color=cyan width=1 select=1 edit=1 move=1 delete=1 include=1",
        "icrs",
    ]
    for galaxy in galaxies:
        vertices = ",".join(f"{ra:.9f},{dec:.9f}" for ra, dec in galaxy.contour.tolist())
        tags = [f"{key}={value}" for key, value in (("system", galaxy.system), ("image", galaxy.image)) if value]
        tags += [f"{key}={value!r}" for key, value in (("z", galaxy.z), ("dz", galaxy.dz)) if math.isfinite(value)]
        tags += [key for key, value in (("z_spec", galaxy.z_spec), ("reference", galaxy.is_reference)) if value]
        words = " ".join([f"text={{{_safe(galaxy.id)}}}", *(f"tag={{{_safe(tag)}}}" for tag in tags)])
        lines.append(f"polygon({vertices}) # {words}")
    return "\n".join(lines) + "\n"


# ---- inside -------------------------------------------------------------------------------


def _items(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, shape or frame, properties) of each part between semicolons."""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), start=1):
        if line.lstrip().startswith("#"):
            continue
        for part in _split(line, ";"):
            body, *rest = _split(part, "#")
            item, comment = body.strip(), "#".join(rest).strip()
            # Composite regions are joined by two bars; each part stands for itself here.
            item = re.sub(r"\|\|\s*$", "", item).strip()
            for single in _split(item, "|") if "||" in item else [item]:
                if single.strip():
                    yield number, single.strip(), comment


def _split(text: str, mark: str) -> list[str]:
    """Split at a mark that stands outside braces and quotation marks."""
    if mark not in text:
        return [text]
    parts, start, closing = [], 0, ""
    for place, character in enumerate(text):
        if closing:
            if character == closing:
                closing = ""
        elif character == "{":
            closing = "}"
        elif character in "\"'" and text[:place].rstrip().endswith("="):
            # A label begins after an equals sign; elsewhere these marks are arc seconds and minutes.
            closing = character
        elif character == mark:
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    return parts


def _parsed(item: str, comment: str, frame: str) -> Any:
    """Return one region; the package's complaints become an error."""
    from regions import Regions

    line = f"{'image' if frame == 'physical' else frame}\n{item}" + (f" # {comment}" if comment else "")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = list(Regions.parse(line, format="ds9"))
            if not found and comment:
                # A property it does not know must not cost the region.
                found = list(Regions.parse(line.split(" # ", maxsplit=1)[0], format="ds9"))
        except Exception as problem:
            # The parser trips over broken numbers in many ways, all of which mean the same here.
            msg = f"it is not understood ({type(problem).__name__})"
            raise InputError(msg) from problem
    if len(found) != 1:
        why = str(said[0].message).rstrip(".") if said else "it is not understood"
        msg = clean_text(why)[:120]
        raise InputError(msg)
    return found[0]


def _properties(region: Any, comment: str) -> tuple[str, str, list[str]]:
    """Return label, colour and tags of a region."""
    label = clean_text(str(region.meta.get("text", "")))
    colour = re.search(r"\bcolou?r\s*=\s*([#\w]+)", comment)
    tags = [clean_text(each) for each in re.findall(r"\btag\s*=\s*\{([^}]*)\}", comment)]
    return label, colour[1] if colour else "", tags


def _to_icrs(x: Any, band: Any) -> tuple[Any, Any]:
    """Return ICRS degrees of a SkyCoord or PixCoord."""
    if hasattr(x, "icrs"):
        ra, dec = np.asarray(x.icrs.ra.deg, dtype=np.float64), np.asarray(x.icrs.dec.deg, dtype=np.float64)
    else:
        ra, dec = (np.asarray(each, dtype=np.float64) for each in band.to_sky(x.x, x.y))
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        msg = "its coordinates are not finite"
        raise InputError(msg)
    return ra, dec


def _point(region: Any, shape: str, label: str, colour: str, line: int, band: Any) -> dict[str, Any]:
    ra, dec = _to_icrs(region.center, band)
    radius = getattr(region, "radius", None)
    if radius is None:
        arcsec = math.nan
    elif hasattr(radius, "to_value"):
        arcsec = float(radius.to_value(u.arcsec))
    else:
        arcsec = float(radius) * float(band.pixel_scale)
    return {
        "label": label,
        "ra": float(ra),
        "dec": float(dec),
        "radius": arcsec,
        "shape": shape,
        "colour": colour,
        "line": line,
    }


def _contour(region: Any, name: str, tags: Sequence[str], band: Any) -> Galaxy:
    """Return a polygon, ellipse or box as a contour."""
    known: dict[str, Any] = {}
    for tag in tags:
        key, _, value = tag.partition("=")
        if key in ("z", "dz"):
            try:
                known[key] = float(value)
            except ValueError:
                continue
        elif key in ("system", "image") and value:
            known[key] = value
        elif tag == "z_spec":
            known["z_spec"] = True
        elif tag == "reference":
            known["is_reference"] = True
    if hasattr(region, "vertices"):
        ra, dec = _to_icrs(region.vertices, band)
    else:
        ra, dec = _outline(region, band)
    return Galaxy(id=name, contour=np.stack([ra, dec], axis=1), **known)


def _outline(region: Any, band: Any) -> tuple[Any, Any]:
    """Return vertices of an ellipse or box."""
    angle = float(region.angle.to_value(u.rad))
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    if "Ellipse" in type(region).__name__:
        turn = np.linspace(0, 2 * np.pi, _OUTLINE_VERTICES, endpoint=False)
        corners = 0.5 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    sky = hasattr(region.width, "to_value")
    width = float(region.width.to_value(u.arcsec)) if sky else float(region.width)
    height = float(region.height.to_value(u.arcsec)) if sky else float(region.height)
    x, y = corners[:, 0] * width, corners[:, 1] * height
    x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    if not sky:
        from regions import PixCoord

        return _to_icrs(PixCoord(region.center.x + x, region.center.y + y), band)
    # On the sky an angle of 0 points along rising longitude's opposite in DS9's picture: the first axis is west,
    # and angles run from there towards the north.
    centre = region.center
    moved = centre.spherical_offsets_by(-x * u.arcsec, y * u.arcsec)
    return _to_icrs(moved, band)


def _table(rows: list[dict[str, Any]]) -> QTable:
    table = QTable()
    table["label"] = np.array([row["label"] for row in rows], dtype=str)
    for key, unit in (("ra", u.deg), ("dec", u.deg), ("radius", u.arcsec)):
        table[key] = np.array([row[key] for row in rows], dtype=np.float64) * unit
    table["shape"] = np.array([row["shape"] for row in rows], dtype=str)
    table["colour"] = np.array([row["colour"] for row in rows], dtype=str)
    table["line"] = np.array([row["line"] for row in rows], dtype=np.int64)
    return table


def _unique(contours: list[Galaxy], sentences: list[str]) -> tuple[Galaxy, ...]:
    """Return contours whose names differ; a repeated name gets a number."""
    from dataclasses import replace

    taken: set[str] = set()
    out = []
    for each in contours:
        name, k = each.id, 2
        while name in taken:
            name = f"{each.id} ({k})"
            k += 1
        if name != each.id:
            sentences.append(f"two contours are labelled {each.id!r}; the later one is called {name!r}")
            each = replace(each, id=name)  # noqa: PLW2901 - the same contour under its new name
        taken.add(name)
        out.append(each)
    return tuple(out)


def _short(item: str) -> str:
    text = clean_text(item)
    return text if len(text) <= 60 else text[:57] + "..."


def _safe(text: str) -> str:
    return clean_text(text).replace("{", "(").replace("}", ")").replace(";", ",")
