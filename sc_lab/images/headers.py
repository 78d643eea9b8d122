"""What a FITS header says about the sky and the flux unit, and the traps in it."""

from __future__ import annotations

import re
import warnings
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales

from sc_lab.errors import InputError

__all__ = ["assumed_wcs", "header_pixel_scale", "read_wcs", "unit_to_njy", "wcs_pixel_scale"]

_ARCSEC2_PER_SR = (180 * 3600 / np.pi) ** 2
_COUNTS = {"electron", "electrons", "e-", "e", "count", "counts", "ct", "cts", "adu", "dn"}
_SCALE_KEYS = ("PIXSCALE", "PIXSCL", "PIXELSCL", "PIXELSCALE", "SCALE", "D001SCAL")
_ZERO_POINT_KEYS = ("ABMAGZP", "ABZP", "ABZERO", "MAGZERO", "MAGZPT", "ZEROPNT", "ZEROPOINT", "ZP")


def read_wcs(header: fits.Header, band: str) -> tuple[WCS | None, list[str]]:
    """Read the celestial coordinates of a header.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The image's header.
    band : str
        Name for the remarks.

    Returns
    -------
    wcs : `~astropy.wcs.WCS` or None
        None when the header has no celestial coordinates.
    remarks : list of str
        What was odd and how it was read.

    Notes
    -----
    A header may hold a CD matrix beside PC and CDELT, which the FITS standard forbids: programs that
    resample an image rewrite one and forget the other. Where the two differ, PC and CDELT are used,
    because astropy writes those and leaves an old CD in place.
    """
    remarks: list[str] = []
    types = [str(header.get(f"CTYPE{i}", "")) for i in (1, 2)]
    if not all(types):
        return None, remarks
    header = header.copy()
    has_cd = any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2))
    has_pc = any(f"PC{i}_{j}" in header for i in (1, 2) for j in (1, 2))
    steps = [_number(header.get(f"CDELT{i}")) for i in (1, 2)]
    real_steps = all(step is not None and step not in {0.0, 1.0} for step in steps)
    if has_cd and (has_pc or real_steps):
        cd = np.array([[_number(header.get(f"CD{i}_{j}")) or 0.0 for j in (1, 2)] for i in (1, 2)])
        pc = np.array([[_number(header.get(f"PC{i}_{j}", float(i == j))) or 0.0 for j in (1, 2)] for i in (1, 2)])
        pc = np.array([step if step is not None else 1.0 for step in steps])[:, None] * pc
        scale_cd, scale_pc = (np.sqrt(abs(np.linalg.det(m))) * 3600 for m in (cd, pc))
        differ = not np.allclose(cd, pc, rtol=0, atol=0.01 * max(np.abs(pc).max(), 1e-12))
        if differ:
            remarks.append(
                f'{band}: the header holds a CD matrix ({scale_cd:.4g}"/px) beside PC and CDELT ({scale_pc:.4g}"/px); '
                "PC and CDELT are used, the CD matrix is taken as left over; wcs= overrides",
            )
        for i in (1, 2):
            for j in (1, 2):
                header.remove(f"CD{i}_{j}", ignore_missing=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs = WCS(header).celestial
            if wcs.naxis != 2:
                return None, remarks
            wcs.wcs.set()
            scale = wcs_pixel_scale(wcs)
    except Exception as error:  # noqa: BLE001 - wcslib raises many kinds; each means "no usable coordinates"
        remarks.append(f"{band}: the header's sky coordinates cannot be read ({str(error).splitlines()[0]})")
        return None, remarks
    if not np.isfinite(scale) or scale <= 0:
        remarks.append(f"{band}: the header's sky coordinates have no pixel scale and are ignored")
        return None, remarks
    return wcs, remarks


def wcs_pixel_scale(wcs: WCS) -> float:
    """Return the side of a square of one pixel's area.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`
        Celestial coordinates.

    Returns
    -------
    float
        Arcsec per pixel.
    """
    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600


def header_pixel_scale(header: fits.Header) -> tuple[float | None, str]:
    """Return the pixel scale that a keyword of the header states.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        A header without sky coordinates.

    Returns
    -------
    scale : float or None
        Arcsec per pixel.
    keyword : str
        Where it stood.
    """
    for key in _SCALE_KEYS:
        value = _number(header.get(key))
        if value is not None and 1e-4 < value < 60:
            return value, key
    return None, ""


def assumed_wcs(shape: tuple[int, int], pixel_scale: float) -> WCS:
    """Return a tangent projection centred on the image at RA = Dec = 0, north up and east left.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_scale : float
        Arcsec per pixel.

    Returns
    -------
    `~astropy.wcs.WCS`
        Bands that share their centre agree with each other on the sky.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def unit_to_njy(
    unit: Any,
    header: fits.Header | None,
    pixel_scale: float,
    band: str,
) -> tuple[float, str, list[str]]:
    """Return the factor from an image's unit to nJy per pixel.

    Parameters
    ----------
    unit : str, Unit, Quantity or None
        What the caller says; None reads the header. A string may also be a zero point, ``"AB 28.9"``.
    header : `~astropy.io.fits.Header` or None
        Header of the image.
    pixel_scale : float
        Arcsec per pixel, for surface brightness.
    band : str
        Name for the messages.

    Returns
    -------
    factor : float
        nJy per pixel for one image unit.
    text : str
        The unit as it was read.
    remarks : list of str
        What was odd and how it was read.

    Raises
    ------
    InputError
        If the header has no unit and none is given, or if the unit is no flux.

    Notes
    -----
    Count rates: f_nu = PHOTFLAM * PHOTPLAM^2 / c, or m_AB = zero point - 2.5 log10(rate), with 3631 Jy at
    m_AB = 0 (Oke & Gunn 1983). 1 MJy/sr is 23.504 nJy per square arcsec x 1000.
    """
    header = fits.Header() if header is None else header
    remarks: list[str] = []
    if unit is None:
        text = str(header.get("BUNIT", "")).strip()
        if not text:
            implied = _count_factor(header, rate=True)
            if implied is None:
                msg = (
                    f"{band}: the header has no BUNIT, so the unit of its pixels is unknown; give it, for example "
                    f'units={{"{band}": "MJy/sr"}} (also "nJy", "10 nJy", "electron/s" with PHOTFLAM and PHOTPLAM in '
                    'the header, or a zero point "AB 28.9")'
                )
                raise InputError(msg)
            text = "electron/s"
            remarks.append(f"{band}: no BUNIT but {implied[1]}: read as a count rate; units= overrides")
    elif isinstance(unit, u.Quantity) and unit.unit in {u.ABmag, u.mag}:
        text = f"AB {unit.value}"
    else:
        text = unit.strip() if isinstance(unit, str) else str(unit)
    zero_point = re.fullmatch(r"(?:AB|ZP|zp|zero ?point)\s*=?\s*([-+0-9.eE]+)", text)
    if zero_point:
        return _from_zero_point(float(zero_point.group(1))), text, remarks
    per_pixel = re.sub(r"\s*(/|per|\*)?\s*pix(el)?(\*\*-1|-1|\^-1)?$", "", text, flags=re.IGNORECASE).strip() or text
    bare = per_pixel.lower().replace(" ", "")
    counts = re.fullmatch(r"([a-z-]+?)s?(/s(ec)?(ond)?|s-1|s\*\*-1|s\^-1|\.s-1|/sec)?", bare)
    if bare == "cps" or (counts and counts.group(1).rstrip("s") in {c.rstrip("s") for c in _COUNTS}):
        rate = bare == "cps" or bool(counts and counts.group(2))
        found = _count_factor(header, rate=rate)
        if found is None:
            msg = (
                f"{band}: the unit is {text!r} but the header has neither PHOTFLAM and PHOTPLAM nor an AB zero point"
                f'{"" if rate else ", or no EXPTIME"}; give the zero point, for example units={{"{band}": "AB 26.27"}}'
            )
            raise InputError(msg)
        factor, source = found
        other = _number(header.get("PHOTFNU"))
        if rate and other and abs(other * 1e9 / factor - 1) > 0.03:
            remarks.append(
                f"{band}: {source} gives {factor:.4g} nJy per {text} but PHOTFNU says {other * 1e9:.4g}; the former is used",
            )
        return factor, text, remarks
    try:
        parsed = u.Unit(_tidied(per_pixel))
        if parsed.is_equivalent(u.Jy):
            return float(parsed.to(u.nJy)), text, remarks
        if parsed.is_equivalent(u.Jy / u.sr):
            area_sr = pixel_scale**2 / _ARCSEC2_PER_SR
            stated = _number(header.get("PIXAR_SR"))
            if stated and abs(stated / area_sr - 1) > 0.02:
                remarks.append(
                    f"{band}: PIXAR_SR says {stated:.4g} sr per pixel, the sky coordinates {area_sr:.4g}; the latter is "
                    "used (PIXAR_SR is often that of the detector)",
                )
            return float(parsed.to(u.nJy / u.sr)) * area_sr, text, remarks
    except (ValueError, TypeError):
        pass
    msg = (
        f"{band}: the unit {text!r} is no flux density, surface brightness or count rate; give one by units=, such as "
        '"MJy/sr", "nJy", "uJy", "10 nJy", "electron/s" or a zero point "AB 28.9"'
    )
    raise InputError(msg)


def _count_factor(header: fits.Header, *, rate: bool) -> tuple[float, str] | None:
    """Return nJy for one count per second (or for one count) and where it came from."""
    per_second = 1.0
    if not rate:
        seconds = _number(header.get("EXPTIME")) or _number(header.get("TEXPTIME"))
        if not seconds or seconds <= 0:
            return None
        per_second = 1 / seconds
    flam, pivot = _number(header.get("PHOTFLAM")), _number(header.get("PHOTPLAM"))
    if flam and pivot and flam > 0 and pivot > 0:
        return flam * pivot**2 / 2.99792458e18 * 1e23 * 1e9 * per_second, "PHOTFLAM and PHOTPLAM"
    for key in _ZERO_POINT_KEYS:
        value = _number(header.get(key))
        if value is not None and 10 < value < 40:
            return _from_zero_point(value) * per_second, key
    return None


def _from_zero_point(zero_point: float) -> float:
    """Return nJy for one image unit of an AB zero point (31.4 mag is 1 nJy)."""
    return float(3631e9 * 10 ** (-0.4 * zero_point))


def _tidied(text: str) -> str:
    """Write a unit the way astropy reads it: micro signs, stray brackets."""
    text = text.replace("µ", "u").replace("μ", "u").strip("[] ")
    return re.sub(r"\bmicroJy\b|\bujy\b", "uJy", text)


def _number(value: object) -> float | None:
    """Return a header value as a finite number, or None."""
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises here and is caught
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
