"""A field: mosaics of several bands with their errors, PSFs and places on the sky."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from sc_lab.errors import InputError
from sc_lab.images.band import Band
from sc_lab.images.fitsfiles import UNPACK_LIMIT, ArrayPixels, PixelSource, hdu_headers, open_image
from sc_lab.images.headers import assumed_wcs, header_pixel_scale, read_wcs, unit_to_njy, wcs_pixel_scale
from sc_lab.images.psf import Psf, as_psf
from sc_lab.units import value_in

__all__ = ["REFERENCE_ORDER", "Field"]

#: Where clumps are measured when nothing else is said: the first of these that a field has (Claeyssens et al. 2026
#: use F150W), else its finest pixels.
REFERENCE_ORDER = ("F150W", "F115W", "F200W", "F090W", "F814W", "F606W", "F277W", "F105W", "F125W", "F160W")

_WRONG_NOISE = 1.15
#: Offset of bands that is worth saying [reference px]; colour gradients alone make half of it.
_WRONG_PLACE = 0.6
#: Point-source depths that imaging can have [AB mag].
_DEPTHS = (19.0, 34.0)
NoiseScale = float | Literal["measure"] | None


class Field:
    """Mosaics of one patch of sky in any number of bands.

    Parameters
    ----------
    bands : iterable of Band
        At least one, with different names.
    reference : str, optional
        Band whose pixels are the field's pixels; None takes the first of `REFERENCE_ORDER`.
    name : str, optional
        What to call the field.
    galaxies, lenses : tuple, optional
        Galaxies (contours) and lens models that belong to the field.
    cautions : tuple of str, optional
        Sentences about the field as a whole, put before those of its bands.

    Notes
    -----
    A field never changes; `replace` returns a changed copy that shares the pixels.

    Examples
    --------
    >>> import numpy as np
    >>> field = Field.from_arrays({"F150W": np.ones((50, 50))}, errors={"F150W": 0.5}, pixel_scales=0.02)
    >>> data, error = field["F150W"].cutout(10, 10, 9, 9)
    >>> data.shape, float(error[4, 4])
    ((9, 9), 0.5)
    >>> field.cautions[0]
    'F150W: no sky coordinates; a tangent projection of 0.02"/px ... is assumed'
    """

    def __init__(
        self,
        bands: Iterable[Band],
        *,
        reference: str | None = None,
        name: str = "",
        galaxies: tuple[Any, ...] = (),
        lenses: tuple[Any, ...] = (),
        cautions: tuple[str, ...] = (),
    ) -> None:
        given = tuple(bands)
        if not given:
            msg = 'a field needs at least one band; give images such as {"F150W": "f150w_sci.fits"}'
            raise InputError(msg)
        table = {band.name: band for band in given}
        if len(table) < len(given):
            msg = f"two bands have the same name: {', '.join(band.name for band in given)}; names differ"
            raise InputError(msg)
        self.bands: Mapping[str, Band] = MappingProxyType(table)
        self.name = name
        self.galaxies = tuple(galaxies)
        self.lenses = tuple(lenses)
        self._own_cautions = tuple(cautions)
        if reference is None:
            reference = next((known for known in REFERENCE_ORDER if known in table), None)
            reference = reference or min(given, key=lambda band: band.pixel_scale).name
        self.reference = self[reference].name

    # ---- reading -------------------------------------------------------------------------

    @classmethod
    def from_files(
        cls,
        images: Mapping[str, Any],
        *,
        errors: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        psfs: Mapping[str, Any] | None = None,
        units: Mapping[str, Any] | str | None = None,
        wcs: Mapping[str, Any] | None = None,
        pixel_scales: Mapping[str, float] | float | None = None,
        psf_scales: Mapping[str, float] | float | None = None,
        energy_fractions: Mapping[str, float] | None = None,
        masks: Mapping[str, Any] | None = None,
        skies: Mapping[str, Any] | None = None,
        hdus: Mapping[str, int | str] | int | str | None = None,
        noise_scale: Mapping[str, NoiseScale] | NoiseScale = None,
        gains: Mapping[str, float] | None = None,
        reference: str | None = None,
        name: str = "",
        galaxies: tuple[Any, ...] = (),
        lenses: tuple[Any, ...] = (),
        unpack_limit: int = UNPACK_LIMIT,
    ) -> Field:
        """Open mosaics without reading their pixels.

        Parameters
        ----------
        images : mapping of str to path
            FITS files by band name: plain, gzip, bzip2, xz or tile-compressed. Plain files are memory-mapped.
        errors : mapping, optional
            Standard deviations by band, in the image's unit: a path, ``(path, extension)``, an array or one number.
            None looks for an extension ``ERR`` or ``WHT`` beside the image, else the scatter of the sky is measured.
        weights : mapping, optional
            Inverse variances by band, given like ``errors``.
        psfs : mapping, optional
            `Psf` objects, paths or arrays by band.
        units : mapping or str, optional
            Image units where the header has none or a wrong one: ``"MJy/sr"``, ``"nJy"``, ``"10 nJy"``,
            ``"electron/s"``, or a zero point ``"AB 28.9"``.
        wcs : mapping, optional
            Sky coordinates by band: a `~astropy.wcs.WCS`, a header, a path, or the name of another band on the
            same grid.
        pixel_scales : mapping, float or `~astropy.units.Quantity`, optional
            Arcsec per pixel of images without sky coordinates; a tangent projection is then assumed, centred on the
            image at RA = Dec = 0.
        psf_scales : mapping or float, optional
            Arcsec per PSF pixel where the PSF file does not say.
        energy_fractions : mapping, optional
            Share of the whole flux inside each PSF stamp.
        masks : mapping, optional
            Not zero = excluded.
        skies : mapping, optional
            Blank sky with the same processing, where the noise is measured.
        hdus : mapping, int or str, optional
            Extensions of the images.
        noise_scale : float, ``"measure"`` or mapping of these, optional
            Factor on the error maps; ``"measure"`` makes them agree with the scatter of the sky. None leaves them,
            and `cautions` tells of a disagreement of more than 15 %.
        gains : mapping of str to float, optional
            Electrons per nJy, for bands whose errors hold the noise of the sky alone: the counting noise of the
            sources is added.
        reference : str, optional
            Reference band.
        name : str, optional
            What to call the field.
        galaxies, lenses : tuple, optional
            What belongs to it.
        unpack_limit : int, optional
            Bytes that one compressed file may unpack to.

        Returns
        -------
        Field
            Its ``cautions`` say what was odd in the files and how it was read.

        Raises
        ------
        InputError
            If a file cannot be used; the sentence says how to mend it.
        """
        images = _by_band(images, "images")
        loose: dict[str, dict[str, Any]] = {}
        for band, path in images.items():
            if not isinstance(path, (str, os.PathLike)):
                msg = f"images[{band!r}] is {type(path).__name__}; give a path, or use Field.from_arrays for arrays"
                raise InputError(msg)
            hdu = _pick(hdus, band, images, "hdus")
            pixels, header, remarks = open_image(path, hdu=hdu, unpack_limit=unpack_limit)
            loose[band] = {"pixels": pixels, "header": header, "remarks": remarks, "source": os.fspath(path)}
        return cls._assemble(
            loose,
            errors=errors,
            weights=weights,
            psfs=psfs,
            units=units,
            wcs=wcs,
            pixel_scales=pixel_scales,
            psf_scales=psf_scales,
            energy_fractions=energy_fractions,
            masks=masks,
            skies=skies,
            noise_scale=noise_scale,
            unpack_limit=unpack_limit,
            field={"reference": reference, "name": name, "galaxies": galaxies, "lenses": lenses},
        ).replace(gains=gains)

    @classmethod
    def from_arrays(
        cls,
        images: Mapping[str, Any],
        *,
        errors: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        psfs: Mapping[str, Any] | None = None,
        wcs: Mapping[str, Any] | WCS | None = None,
        pixel_scales: Mapping[str, float] | float | None = None,
        psf_scales: Mapping[str, float] | float | None = None,
        energy_fractions: Mapping[str, float] | None = None,
        units: Mapping[str, Any] | str = "nJy",
        masks: Mapping[str, Any] | None = None,
        skies: Mapping[str, Any] | None = None,
        noise_scale: Mapping[str, NoiseScale] | NoiseScale = None,
        gains: Mapping[str, float] | None = None,
        reference: str | None = None,
        name: str = "",
        galaxies: tuple[Any, ...] = (),
        lenses: tuple[Any, ...] = (),
    ) -> Field:
        """Make a field of arrays.

        Parameters
        ----------
        images : mapping of str to ndarray or `~astropy.units.Quantity`, shape (ny, nx)
            Pixels by band; not copied. The unit of a Quantity is that of the band.
        errors, weights, psfs, pixel_scales, psf_scales, energy_fractions, masks, skies, noise_scale, gains : optional
            As in `from_files`, arrays instead of paths. Errors with a unit are converted to the image's.
        wcs : mapping or `~astropy.wcs.WCS`, optional
            Sky coordinates by band, or one for all.
        units : mapping or str, optional
            Unit of the pixels that have none of their own.
        reference, name, galaxies, lenses : optional
            As in `from_files`.

        Returns
        -------
        Field
            The field.

        Raises
        ------
        InputError
            If an array cannot be used, or ``units`` says another unit than the array's own.
        """
        images = _by_band(images, "images")
        units = {band: _own_unit(data, _pick(units, band, images, "units"), band) for band, data in images.items()}
        loose: dict[str, dict[str, Any]] = {
            band: {"pixels": _array(data, f"images[{band!r}]"), "header": None, "remarks": [], "source": "array"}
            for band, data in images.items()
        }
        return cls._assemble(
            loose,
            errors=errors,
            weights=weights,
            psfs=psfs,
            units=units,
            wcs=dict.fromkeys(images, wcs) if isinstance(wcs, WCS) else wcs,
            pixel_scales=pixel_scales,
            psf_scales=psf_scales,
            energy_fractions=energy_fractions,
            masks=masks,
            skies=skies,
            noise_scale=noise_scale,
            unpack_limit=UNPACK_LIMIT,
            field={"reference": reference, "name": name, "galaxies": galaxies, "lenses": lenses},
        ).replace(gains=gains)

    @classmethod
    def _assemble(
        cls,
        loose: dict[str, dict[str, Any]],
        *,
        errors: Mapping[str, Any] | None,
        weights: Mapping[str, Any] | None,
        psfs: Mapping[str, Any] | None,
        units: Mapping[str, Any] | str | None,
        wcs: Mapping[str, Any] | None,
        pixel_scales: Mapping[str, float] | float | None,
        psf_scales: Mapping[str, float] | float | None,
        energy_fractions: Mapping[str, float] | None,
        masks: Mapping[str, Any] | None,
        skies: Mapping[str, Any] | None,
        noise_scale: Mapping[str, NoiseScale] | NoiseScale,
        unpack_limit: int,
        field: dict[str, Any],
    ) -> Field:
        """Put the bands together from what was opened and what was said about them."""
        coordinates = _coordinates(loose, wcs, pixel_scales, unpack_limit)
        maps = {"error": _known(errors, loose, "errors"), "weight": _known(weights, loose, "weights")}
        maps |= {"mask": _known(masks, loose, "masks"), "sky": _known(skies, loose, "skies")}
        stamps = _known(psfs, loose, "psfs")
        energies = _known(energy_fractions, loose, "energy_fractions")
        bands = []
        for name, item in loose.items():
            celestial, remarks = coordinates[name]
            cautions = [*item["remarks"], *remarks]
            scale = wcs_pixel_scale(celestial)
            factor, unit, said = unit_to_njy(_pick(units, name, loose, "units"), item["header"], scale, name)
            cautions += said
            layers: dict[str, Any] = {}
            for kind, given in maps.items():
                if name in given:
                    value = _in_image_unit(given[name], kind, factor, scale, name)
                    layers[kind], said = _layer(value, name, kind, unpack_limit, item["header"])
                    cautions += said
            if "error" not in layers and "weight" not in layers:
                kind, pixels, said = _beside(item["source"], item["pixels"], name, unpack_limit)
                if pixels is not None:
                    layers[kind] = pixels
                cautions += said
            psf = None
            if name in stamps:
                psf_scale = _pick(psf_scales, name, loose, "psf_scales")
                psf, said = _fitted_psf(stamps[name], scale, psf_scale, energies.get(name), name)
                cautions += said
            band = Band(
                name,
                item["pixels"],
                celestial,
                to_njy=factor,
                unit=unit,
                psf=psf,
                source=item["source"],
                **layers,
            )
            bands.append(_with_noise(band, _pick(noise_scale, name, loose, "noise_scale"), cautions))
        out = cls(bands, **field)
        assumed = [name for name in loose if any("is assumed" in said for said in coordinates[name][1])]
        return _questioned(out, assumed)

    # ---- looking -------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Band:
        found = self.bands.get(str(name).upper())
        if found is None:
            msg = f"the field has no band {name!r}; its bands are {', '.join(self.bands)}"
            raise InputError(msg)
        return found

    def __contains__(self, name: object) -> bool:
        return str(name).upper() in self.bands

    def __iter__(self) -> Iterator[str]:
        return iter(self.bands)

    def __len__(self) -> int:
        return len(self.bands)

    @property
    def names(self) -> tuple[str, ...]:
        """Band names in the order given."""
        return tuple(self.bands)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences about what was odd in the files and how it was read."""
        own = [*self._own_cautions]
        for band in self.bands.values():
            own += band.cautions
        return tuple(dict.fromkeys(own))

    @property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of each image file (of the pixels for arrays), computed when first asked for."""
        return _Hashes(self.bands)

    def replace(self, **changes: Any) -> Field:
        """Return a copy with some things changed; pixels are shared.

        Parameters
        ----------
        **changes
            ``galaxies``, ``lenses``, ``name``, ``reference``, ``cautions``, ``bands`` (iterable of `Band`), or
            ``psfs`` / ``noise_scale`` / ``gains`` (mappings by band).

        Returns
        -------
        Field
            The changed copy.
        """
        now: dict[str, Any] = {
            "bands": tuple(self.bands.values()),
            "reference": self.reference,
            "name": self.name,
            "galaxies": self.galaxies,
            "lenses": self.lenses,
            "cautions": self._own_cautions,
        }
        psfs = _by_band(changes.pop("psfs", None) or {}, "psfs")
        gains = _by_band(changes.pop("gains", None) or {}, "gains")
        scales = changes.pop("noise_scale", None)
        unknown = sorted(set(changes) - set(now))
        if unknown:
            msg = f"a field has no {', '.join(unknown)}; it has {', '.join(now)}, psfs, noise_scale, gains"
            raise InputError(msg)
        now |= changes
        bands = {band.name: band for band in now.pop("bands")}
        for name, psf in psfs.items():
            band = self[name] if name not in bands else bands[name]
            stamp, said = _fitted_psf(psf, band.pixel_scale, None, None, band.name)
            bands[band.name] = band.with_changes(psf=stamp, cautions=(*band.cautions, *said))
        for name, gain in gains.items():
            band = self[name] if name not in bands else bands[name]
            bands[band.name] = band.with_changes(gain=gain)
        if scales is not None:
            for name, band in bands.items():
                wanted = _pick(scales, name, bands, "noise_scale")
                if wanted is not None:
                    bands[name] = _with_noise(band.with_changes(cautions=()), wanted, list(band.cautions))
        if "reference" not in changes and now["reference"] not in bands:
            now["reference"] = None
        return type(self)(bands.values(), **now)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: plain files are opened there again, not copied."""
        return self.__dict__ | {"bands": dict(self.bands)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"bands": MappingProxyType(state["bands"])})

    def __repr__(self) -> str:
        called = f"{self.name!r}, " if self.name else ""
        said = f", {len(self.cautions)} cautions" if self.cautions else ""
        return f"Field({called}{', '.join(self.names)}; reference {self.reference}{said})"


class _Hashes(Mapping[str, str]):
    """Hashes by band, each computed once, when it is asked for."""

    def __init__(self, bands: Mapping[str, Band]) -> None:
        self._bands = bands

    def __getitem__(self, name: str) -> str:
        return self._bands[name].sha256

    def __iter__(self) -> Iterator[str]:
        return iter(self._bands)

    def __len__(self) -> int:
        return len(self._bands)


# ---- arguments by band -------------------------------------------------------------------


def _by_band(given: Any, name: str) -> dict[str, Any]:
    """Return a mapping with upper-case band names."""
    if not isinstance(given, Mapping):
        msg = f'{name} is {type(given).__name__}; give a dictionary by band, such as {{"F150W": ...}}'
        raise InputError(msg)
    out = {str(band).upper(): value for band, value in given.items()}
    if len(out) < len(given):
        msg = f"{name} names a band twice: {', '.join(map(str, given))}"
        raise InputError(msg)
    return out


def _known(given: Mapping[str, Any] | None, bands: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping whose bands all have an image."""
    out = {band: value for band, value in _by_band(given or {}, name).items() if value is not None}
    unknown = sorted(set(out) - set(bands))
    if unknown:
        msg = f"{name} are given for {', '.join(unknown)}, but images only for {', '.join(bands)}; add the images or drop them"
        raise InputError(msg)
    return out


def _pick(given: Any, band: str, bands: Mapping[str, Any], name: str) -> Any:
    """Return one band's value of an argument that may be one value for all."""
    if isinstance(given, Mapping):
        return _known(given, bands, name).get(band)
    return given


def _own_unit(data: Any, said: Any, band: str) -> Any:
    """Return the unit of an array: its own, else what is said about it."""
    own = getattr(data, "unit", None)
    if own is None:
        return said
    if said is not None and str(said) not in ("nJy", str(own)):
        msg = (
            f"images[{band!r}] is in {str(own)!r}, but units says {str(said)!r}; leave units= out, or give bare numbers"
        )
        raise InputError(msg)
    return own


def _in_image_unit(value: Any, kind: str, factor: float, scale: float, band: str) -> Any:
    """Return a layer without its unit, as numbers in the image's."""
    own = getattr(value, "unit", None)
    if own is None or kind == "mask":
        return value
    if kind == "weight":
        msg = f"the weights of {band} have the unit {str(own)!r}; give bare numbers, the image's unit to the power -2"
        raise InputError(msg)
    numbers = getattr(value, "value", value)
    if str(own) == "":
        return numbers
    return numbers * (unit_to_njy(own, None, scale, f"{kind} of {band}")[0] / factor)


def _array(value: Any, name: str) -> ArrayPixels:
    """Return an array as a source of pixels."""
    data = np.asanyarray(getattr(value, "value", value))
    if isinstance(data, np.ma.MaskedArray):
        data = np.ma.filled(data.astype(np.float64), np.nan)
    if data.ndim != 2 or 0 in data.shape or data.dtype.kind not in "fiub":
        msg = f"{name} has the shape {data.shape} and the type {data.dtype}; an image is a two-dimensional array of numbers"
        raise InputError(msg)
    return ArrayPixels(data)


# ---- pieces of a band --------------------------------------------------------------------


def _coordinates(
    loose: dict[str, dict[str, Any]],
    wcs: Mapping[str, Any] | None,
    pixel_scales: Mapping[str, float] | float | None,
    unpack_limit: int,
) -> dict[str, tuple[WCS, list[str]]]:
    """Return sky coordinates by band; bands without any take those of a band of the same shape, or assumed ones."""
    given = _known(wcs, loose, "wcs")
    out: dict[str, tuple[WCS, list[str]]] = {}
    waiting: dict[str, list[str]] = {}
    for name, item in loose.items():
        value = given.get(name)
        if isinstance(value, str) and value.upper() in loose:
            continue
        if value is not None:
            found, remarks = _given_wcs(value, name, unpack_limit)
        elif item["header"] is not None:
            found, remarks = read_wcs(item["header"], name)
        else:
            found, remarks = None, []
        if found is None:
            waiting[name] = remarks
        else:
            out[name] = found, remarks
    for name, value in given.items():
        if isinstance(value, str) and value.upper() in loose:
            other = value.upper()
            if other not in out or loose[other]["pixels"].shape != loose[name]["pixels"].shape:
                msg = (
                    f"wcs[{name!r}] is {value!r}, which has no sky coordinates or another shape; give a header or a WCS"
                )
                raise InputError(msg)
            out[name] = out[other][0], []
    for name, remarks in waiting.items():
        shape = loose[name]["pixels"].shape
        scale = _pick(pixel_scales, name, loose, "pixel_scales")
        twin = next((o for o in out if o not in waiting and loose[o]["pixels"].shape == shape), None)
        where = ""
        if scale is None and twin is not None:
            out[name] = (
                out[twin][0],
                [
                    *remarks,
                    f"{name}: no sky coordinates; those of {twin}, which has the same shape, are used; wcs= overrides",
                ],
            )
            continue
        if scale is None and loose[name]["header"] is not None:
            scale, where = header_pixel_scale(loose[name]["header"])
        if scale is None:
            msg = (
                f"{name}: the image has no sky coordinates; give its pixel scale in arcsec, "
                f'pixel_scales={{"{name}": 0.03}}, or coordinates by wcs='
            )
            raise InputError(msg)
        size = value_in(scale, u.arcsec, f"pixel_scales of {name}")
        if size.ndim or not (np.isfinite(size) and size > 0):
            msg = f"pixel_scales[{name!r}] is {scale}; give arcsec per pixel, above 0"
            raise InputError(msg)
        others = [o for o in out if o not in waiting]
        if others:
            msg = (
                f"{name}: the image has no sky coordinates while {', '.join(others)} has; assumed ones would not match: "
                f'give wcs={{"{name}": ...}}'
            )
            raise InputError(msg)
        origin = f"its keyword {where}" if where else "pixel_scales"
        said = [
            *remarks,
            (
                f'{name}: no sky coordinates; a tangent projection of {float(size):g}"/px ({origin}) centred on the image at '
                "RA = Dec = 0, north up, is assumed"
            ),
        ]
        out[name] = assumed_wcs(shape, float(size)), said
    return out


def _given_wcs(value: Any, name: str, unpack_limit: int) -> tuple[WCS | None, list[str]]:
    """Return sky coordinates that the caller gives."""
    if isinstance(value, WCS):
        celestial = value.celestial
        if celestial.naxis == 2:
            return celestial, []
    elif isinstance(value, fits.Header):
        found, remarks = read_wcs(value, name)
        if found is not None:
            return found, remarks
    elif isinstance(value, (str, os.PathLike)):
        found, remarks = read_wcs(open_image(value, unpack_limit=unpack_limit)[1], name)
        if found is not None:
            return found, remarks
    msg = f"wcs[{name!r}] has no celestial coordinates; give a WCS, a header, a FITS file or the name of another band"
    raise InputError(msg)


def _layer(
    value: Any,
    band: str,
    kind: str,
    unpack_limit: int,
    image_header: fits.Header | None,
) -> tuple[PixelSource | float, list[str]]:
    """Return an error map, weight map, mask or sky frame that the caller gives."""
    if isinstance(value, (int, float, np.number)) and kind == "error":
        if not (np.isfinite(value) and value > 0):
            msg = f"errors[{band!r}] is {value}; give a standard deviation above 0, in the image's unit"
            raise InputError(msg)
        return float(value), []
    hdu: int | str | None = None
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, os.PathLike)):
        value, hdu = value
    if isinstance(value, (str, os.PathLike)):
        pixels, header, remarks = open_image(value, hdu=hdu, unpack_limit=unpack_limit)
        unit = str(header.get("BUNIT", "")).strip()
        image_unit = str((image_header if image_header is not None else {}).get("BUNIT", "")).strip()
        if kind == "error" and unit and image_unit and unit.lower() != image_unit.lower():
            remarks = [
                *remarks,
                f"{band}: the error map's unit is {unit!r}, the image's {image_unit!r}; the latter is used for both",
            ]
        return pixels, remarks
    return _array(value, f"{kind} of {band}"), []


def _beside(
    source: str,
    image: PixelSource,
    band: str,
    unpack_limit: int,
) -> tuple[str, PixelSource | None, list[str]]:
    """Look for errors in the image's own file."""
    if Path(source).is_file():
        there = hdu_headers(source, unpack_limit=unpack_limit)
        for extension, kind in (("ERR", "error"), ("RMS", "error"), ("WHT", "weight"), ("IVAR", "weight")):
            if extension in there:
                pixels, _, _ = open_image(source, hdu=extension, unpack_limit=unpack_limit)
                if pixels.shape == image.shape:
                    return kind, pixels, [f"{band}: {kind}s are read from the extension {extension} beside the image"]
    return "", None, [f"{band}: no error map; the scatter of its sky pixels is measured and used for all of them"]


def _fitted_psf(
    value: Any,
    band_scale: float,
    psf_scale: float | None,
    energy: float | None,
    band: str,
) -> tuple[Psf, list[str]]:
    """Return a PSF on the band's grid, or oversampled by a whole number."""
    psf = as_psf(value, pixel_scale=psf_scale, fallback_scale=band_scale, energy_fraction=energy, band=band)
    remarks = list(psf.cautions)
    ratio = band_scale / psf.pixel_scale
    whole = max(round(ratio), 1)
    if abs(ratio / whole - 1) < 0.01:
        psf = replace(psf, oversampling=whole, pixel_scale=band_scale / whole)
    else:
        # The finest grid that divides the band's pixel and is not finer than the PSF was sampled.
        over = max(int(np.floor(ratio + 0.01)), 1)
        remarks.append(
            f'{band}: the PSF has {psf.pixel_scale:.4g}" pixels, the band {band_scale:.4g}"; '
            f'it is resampled to {band_scale / over:.4g}"',
        )
        psf = replace(psf.resampled(band_scale / over), oversampling=over)
    return psf, remarks


def _with_noise(band: Band, wanted: NoiseScale, cautions: list[str]) -> Band:
    """Compare the error map with the scatter of the sky, say what differs, and scale it where that is wanted."""
    if isinstance(wanted, str) and wanted != "measure":
        msg = f'noise_scale of {band.name} is {wanted!r}; give a number above 0, "measure" or None'
        raise InputError(msg)
    if isinstance(wanted, (int, float)) and not (np.isfinite(wanted) and wanted > 0):
        msg = f'noise_scale of {band.name} is {wanted}; give a number above 0, "measure" or None'
        raise InputError(msg)
    scale = 1.0
    if band.has_errors:
        noise = band.noise
        cautions += _odd_depth(band)
        off = np.isfinite(noise.ratio) and not 1 / _WRONG_NOISE < noise.ratio < _WRONG_NOISE
        if noise.unusable_fraction > 0.001:
            cautions.append(
                f"{band.name}: {100 * noise.unusable_fraction:.1f} % of the sampled pixels have no usable error (zero, "
                "negative or not finite); they are left out",
            )
        if wanted == "measure" and np.isfinite(noise.ratio):
            scale = 1 / noise.ratio
            cautions.append(f"{band.name}: errors multiplied by {scale:.3f} to agree with the scatter of the sky")
        elif isinstance(wanted, (int, float)):
            scale = float(wanted)
            cautions.append(f"{band.name}: errors multiplied by {scale:g}, as asked")
        elif off:
            cautions.append(
                f"{band.name}: the error map is {noise.ratio:.2f} times the scatter of the sky pixels; "
                'noise_scale="measure" makes them agree',
            )
    elif isinstance(wanted, (int, float)):
        scale = float(wanted)
    return band.with_changes(noise_scale=scale, cautions=tuple(cautions))


def _odd_depth(band: Band) -> list[str]:
    """Question the unit when the noise means a depth that no survey has."""
    # Five sigma in a disc of 0.1 arcsec, without the correlation of pixels.
    flux = 5 * band.noise.scatter * band.to_njy * np.sqrt(np.pi * 0.1**2 / band.pixel_scale**2)
    if not (np.isfinite(flux) and flux > 0):
        return []
    depth = 31.4 - 2.5 * np.log10(flux)
    if _DEPTHS[0] < depth < _DEPTHS[1]:
        return []
    said = f"{band.name}: in the unit {band.unit!r} the noise means a depth of {depth:.1f} AB mag; is the unit right?"
    return [f"{said} units= overrides"]


def _questioned(field: Field, assumed: Sequence[str]) -> Field:
    """Say which bands with assumed coordinates do not lie on the reference band."""
    if len(assumed) < 2:
        return field
    from sc_lab.images.registration import band_offset

    said = []
    for name in assumed:
        dx, dy, _ = band_offset(field, name)
        if np.hypot(dx, dy) > _WRONG_PLACE * field[field.reference].pixel_scale:
            said.append(
                f'{name}: its sources lie ({dx:+.3f}", {dy:+.3f}") from those of {field.reference}; align() moves it',
            )
    if not said:
        return field
    bands = [
        band.with_changes(cautions=(*band.cautions, *(words for words in said if words.startswith(f"{band.name}:"))))
        for band in field.bands.values()
    ]
    return field.replace(bands=bands)
