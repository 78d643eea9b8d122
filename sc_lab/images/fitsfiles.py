"""Reading pixels from FITS files: memory-mapped, a cut-out at a time, compressed files with a size limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import mmap
import os
import tempfile
import threading
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from sc_lab.errors import InputError
from sc_lab.units import FloatArray

__all__ = ["UNPACK_LIMIT", "ArrayPixels", "PixelSource", "forget_pages", "hdu_headers", "open_image"]

#: Bytes that a compressed file may unpack to before it is refused.
UNPACK_LIMIT = 8 * 1024**3
#: Unpacked data below this stay in memory; larger ones go to an unnamed file, which the system removes by itself.
_IN_MEMORY = 64 * 1024**2
#: Bytes around each row that the system maps along, and how much of all files may stay mapped.
_AROUND = 65536
_KEPT_PAGES = 512 * 1024**2
_SEARCHED = 16 * 1024**2
_BLOCK = 2880
#: A header of 20 000 cards; without a bound a broken file would be read to its end in search of END.
_HEADER_BLOCKS = 556
_CHUNK = 4 * 1024**2
_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_REFUSED = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x9d": "a Unix compress (.Z) file"}


class PixelSource(Protocol):
    """Something that gives a rectangle of pixels and knows its whole shape."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def read(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        """Return the pixels ``[y0:y1, x0:x1]`` as float64.

        Parameters
        ----------
        y0, y1, x0, x1 : int
            The rectangle, inside the image.

        Returns
        -------
        ndarray
            Float64, with NaN where the file is blank.
        """
        ...


@dataclass(frozen=True, eq=False)
class ArrayPixels:
    """Pixels of an array in memory or of a memory map.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The pixels as stored.
    scale, zero : float
        Physical value = ``zero + scale * stored``.
    blank : int, optional
        The stored integer that means "no value".
    origin : (str, int), optional
        File and offset of a memory map, so that another process maps it again instead of getting a copy.
    """

    data: npt.NDArray[Any]
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None
    origin: tuple[str, int] | None = None

    def __reduce__(self) -> Any:
        if self.origin is None:
            return ArrayPixels, (np.asarray(self.data), self.scale, self.zero, self.blank)
        how = (*self.origin, self.data.dtype.str, self.data.shape)
        return _reopened, (how, self.scale, self.zero, self.blank)

    def __post_init__(self) -> None:
        if getattr(self.data, "_mmap", None) is not None:
            _MAPPED.add(self)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.data.shape[0]), int(self.data.shape[1])

    def read(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        """Return the pixels ``[y0:y1, x0:x1]`` as float64.

        Parameters
        ----------
        y0, y1, x0, x1 : int
            The rectangle, inside the image.

        Returns
        -------
        ndarray
            Float64, with NaN where the file is blank.
        """
        stored = self.data[y0:y1, x0:x1]
        out = np.array(stored, dtype=np.float64)
        if self.scale != 1 or self.zero != 0:
            out *= self.scale
            out += self.zero
        if self.blank is not None:
            out[np.asarray(stored == self.blank)] = np.nan
        _count_pages((y1 - y0) * ((x1 - x0) * self.data.itemsize + _AROUND))
        return out

    def forget(self) -> None:
        """Give the pages of a memory map back; the system keeps the file cached but no longer counts it as ours."""
        pages = getattr(self.data, "_mmap", None)
        if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def _reopened(
    how: tuple[str, int, str, tuple[int, int]],
    scale: float,
    zero: float,
    blank: int | None,
) -> ArrayPixels:
    """Map a file again, in another process."""
    path, offset, dtype, shape = how
    data = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
    return ArrayPixels(data, scale, zero, blank, (path, offset))


_MAPPED: WeakSet[ArrayPixels] = WeakSet()
_mapped_bytes = [0]


def _count_pages(n_bytes: int) -> None:
    """Keep what all maps together hold in memory below a bound."""
    _mapped_bytes[0] += n_bytes
    if _mapped_bytes[0] > _KEPT_PAGES:
        forget_pages()


def forget_pages() -> None:
    """Give the pages of all memory maps back."""
    _mapped_bytes[0] = 0
    for pixels in list(_MAPPED):
        pixels.forget()


class _TilePixels:
    """Pixels of a tile-compressed image; only the tiles under the rectangle are unpacked."""

    def __init__(self, path: Path, index: int, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._how = (path.absolute(), index, shape)
        self._file = fits.open(path, memmap=True)
        self._hdu = self._file[index]
        # The decompressor keeps its place in the file.
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return _TilePixels, self._how

    def read(self, y0: int, y1: int, x0: int, x1: int) -> FloatArray:
        with self._lock:
            return np.array(self._hdu.section[y0:y1, x0:x1], dtype=np.float64)


@dataclass(frozen=True)
class _Hdu:
    """Where one header-data unit lies in an unpacked stream."""

    index: int
    name: str
    header: fits.Header
    data_start: int
    data_bytes: int

    @property
    def is_tiled(self) -> bool:
        return bool(self.header.get("ZIMAGE", False))

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Axes of the image, slowest first; None when this unit holds none."""
        prefix = "Z" if self.is_tiled else ""
        if not prefix and str(self.header.get("XTENSION", "IMAGE")).strip() != "IMAGE":
            return None
        n_axes = int(self.header.get(f"{prefix}NAXIS", 0))
        if not n_axes:
            return None
        return tuple(int(self.header[f"{prefix}NAXIS{i}"]) for i in range(n_axes, 0, -1))


def open_image(
    path: str | os.PathLike[str],
    *,
    hdu: int | str | None = None,
    unpack_limit: int = UNPACK_LIMIT,
) -> tuple[PixelSource, fits.Header, list[str]]:
    """Open the image in a FITS file without reading its pixels.

    Parameters
    ----------
    path : path-like
        A FITS file, plain, gzip, bzip2 or xz; tile-compressed (``fpack``) images are read too.
    hdu : int or str, optional
        Number or name of the extension; None takes ``SCI``, else the first image.
    unpack_limit : int, optional
        Bytes that a compressed file may unpack to.

    Returns
    -------
    pixels : PixelSource
        The image, read as rectangles.
    header : `~astropy.io.fits.Header`
        Header of that extension, completed with the primary header's keywords.
    remarks : list of str
        What was odd.

    Raises
    ------
    InputError
        If the file is missing, no FITS, cut short, too large when unpacked, or holds no image in two dimensions.
    """
    name = Path(path).name
    with _opened(path) as (stream, packing):
        units = _scan(stream, name, packing, unpack_limit, hdu)
        unit, remarks = _choose(units, hdu, name)
        shape = _plane(unit, name)
        header = _completed(unit.header, units[0].header)
        if unit.is_tiled:
            if packing:
                msg = (
                    f"{name}: extension {unit.index} is tile-compressed inside a {packing} file; unpack the {packing} "
                    "file first, its tiles are then read one at a time"
                )
                raise InputError(msg)
            return _open_tiles(Path(path), unit, shape, unpack_limit), header, remarks
        stored = _map(path, stream, unit, shape, name, packing)
    scale, zero = float(unit.header.get("BSCALE", 1)), float(unit.header.get("BZERO", 0))
    blank = unit.header.get("BLANK") if int(unit.header["BITPIX"]) > 0 else None
    origin = None if packing else (str(Path(path).absolute()), unit.data_start)
    return ArrayPixels(stored, scale, zero, None if blank is None else int(blank), origin), header, remarks


def hdu_headers(path: str | os.PathLike[str], *, unpack_limit: int = UNPACK_LIMIT) -> Mapping[str, fits.Header]:
    """Return the headers of the images in a file by extension name (or number as text when it has none).

    Parameters
    ----------
    path : path-like
        A FITS file.
    unpack_limit : int, optional
        Bytes that a compressed file may unpack to.

    Returns
    -------
    dict
        Headers of the image extensions; empty for a large compressed file, which would have to be unpacked whole.
    """
    name = Path(path).name
    with _opened(path) as (stream, packing):
        if packing and Path(path).stat().st_size > _SEARCHED:
            return {}
        units = _scan(stream, name, packing, unpack_limit, None, whole=True)
    return {unit.name or str(unit.index): unit.header for unit in units if unit.image_shape is not None}


# ---- streams -----------------------------------------------------------------------------


class _opened:  # noqa: N801 - reads as a verb in "with _opened(path)"
    """Open a plain or compressed file for reading, with errors in words."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> tuple[IO[bytes], str]:
        try:
            self.raw = self.path.open("rb")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            msg = f"the image file {str(self.path)!r} cannot be opened ({reason}); check the path"
            raise InputError(msg) from None
        start = self.raw.read(8)
        self.raw.seek(0)
        for magic, kind in _REFUSED.items():
            if start.startswith(magic):
                self.raw.close()
                msg = f"{self.path.name} is {kind}, which is not read; unpack it, or pack it with gzip"
                raise InputError(msg)
        packing = next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), "")
        if not packing and not start.startswith(b"SIMPLE"):
            self.raw.close()
            what = "is empty" if not start else "does not begin with SIMPLE, so it is no FITS file"
            msg = f"{self.path.name} {what}; give a FITS image (plain, .gz, .bz2, .xz or fpack)"
            raise InputError(msg)
        stream: Any = self.raw
        if packing == "gzip":
            stream = gzip.GzipFile(fileobj=self.raw, mode="rb")
        elif packing == "bzip2":
            stream = bz2.BZ2File(self.raw)
        elif packing == "xz":
            stream = _XzStream(self.raw)
        self.stream = stream
        return cast("IO[bytes]", stream), packing

    def __exit__(self, *exc: object) -> None:
        if self.stream is not self.raw:
            self.stream.close()
        self.raw.close()


class _XzStream:
    """An xz stream whose dictionary may not ask for more memory than an honest one (64 MB at the highest setting)."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=192 * 1024**2)

    def read(self, n_bytes: int) -> bytes:
        """Return up to ``n_bytes`` unpacked bytes; fewer at the end."""
        pieces: list[bytes] = []
        while n_bytes > 0 and not self._decoder.eof:
            packed = self._raw.read(65536) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not packed:
                msg = "it ends too early"
                raise EOFError(msg)
            pieces.append(self._decoder.decompress(packed, max_length=n_bytes))
            n_bytes -= len(pieces[-1])
        return b"".join(pieces)

    def close(self) -> None:
        """Do nothing: the file is closed by its owner."""


def _read(stream: IO[bytes], n_bytes: int, name: str) -> bytes:
    """Read at most ``n_bytes``, naming the file when its compression is broken."""
    try:
        return stream.read(n_bytes)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        msg = f"{name}: the compressed data are damaged or cut short ({error}); fetch or pack the file again"
        raise InputError(msg) from None


def _scan(
    stream: IO[bytes],
    name: str,
    packing: str,
    limit: int,
    wanted: int | str | None,
    *,
    whole: bool = False,
) -> list[_Hdu]:
    """Walk through the header-data units up to the wanted one; the stream is left behind the last header read.

    Headers say how long the data are, so that a file that would unpack to too much is refused before it is unpacked.
    """
    units: list[_Hdu] = []
    position = 0
    size = os.fstat(stream.fileno()).st_size if not packing else None
    while True:
        header, used = _read_header(stream, name, first=not units)
        if header is None:
            break
        position += used
        n_bytes = _data_bytes(header, name)
        padded = -(-n_bytes // _BLOCK) * _BLOCK
        extname = str(header.get("EXTNAME", "")).strip().upper()
        unit = _Hdu(len(units), extname, header, position, n_bytes)
        if packing and position + n_bytes > limit:
            msg = (
                f"{name} unpacks to at least {_size(position + n_bytes)} (its header says "
                f"{' x '.join(str(header.get(f'NAXIS{i + 1}')) for i in range(int(header.get('NAXIS', 0))))} values), "
                f"more than the limit of {_size(limit)}; unpack it on disk, where it is then read piece by piece, or "
                "raise unpack_limit="
            )
            raise InputError(msg)
        if size is not None and position + n_bytes > size:
            msg = (
                f"{name} is cut short: extension {unit.index} needs {_size(n_bytes)} of data after byte {position} but "
                f"the file ends at byte {size}; fetch it again"
            )
            raise InputError(msg)
        units.append(unit)
        if not whole and _is_wanted(unit, wanted):
            break
        if packing:
            _skip(stream, padded, name)
        else:
            stream.seek(position + padded)
        position += padded
    if not units:
        msg = f"{name} holds no readable FITS header; fetch it again"
        raise InputError(msg)
    return units


def _is_wanted(unit: _Hdu, wanted: int | str | None) -> bool:
    """Tell whether the walk may stop here."""
    if isinstance(wanted, str):
        return unit.name == wanted.upper()
    if wanted is not None:
        return unit.index == wanted
    return unit.image_shape is not None and unit.name in {"", "SCI", "PRIMARY"}


def _read_header(stream: IO[bytes], name: str, *, first: bool) -> tuple[fits.Header | None, int]:
    """Read one header; None at the end of the file."""
    blocks: list[bytes] = []
    for _ in range(_HEADER_BLOCKS):
        block = _read(stream, _BLOCK, name)
        if not blocks and (not block or not block[:8].startswith((b"SIMPLE", b"XTENSION"))):
            # Bytes behind the last unit that are no header are allowed by the standard and mean nothing.
            if first:
                msg = f"{name} does not begin with a FITS header; give a FITS image"
                raise InputError(msg)
            return None, 0
        blocks.append(block)
        if any(block[i : i + 8] == b"END     " for i in range(0, len(block), 80)):
            break
        if len(block) < _BLOCK:
            msg = f"{name} is cut short inside a header; fetch it again"
            raise InputError(msg)
    else:
        msg = f"{name} has a header without END in its first {_HEADER_BLOCKS * 36} cards; it is damaged, fetch it again"
        raise InputError(msg)
    raw = b"".join(blocks)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fits.verify.VerifyWarning)
            header = fits.Header.fromstring(raw.decode("latin-1"))
            header["NAXIS"]
    except (ValueError, KeyError, fits.VerifyError) as error:
        msg = f"{name} has a header that is no FITS header ({error}); fetch it again"
        raise InputError(msg) from None
    return header, len(raw)


def _data_bytes(header: fits.Header, name: str) -> int:
    """Return the length of the data behind a header, from its own words."""
    try:
        n_axes = int(header["NAXIS"])
        if n_axes == 0:
            return 0
        axes = [int(header[f"NAXIS{i}"]) for i in range(1, n_axes + 1)]
        bits = {8: 8, 16: 16, 32: 32, 64: 64, -32: 32, -64: 64}[int(header["BITPIX"])]
        if header.get("GROUPS") and axes[0] == 0:
            axes = axes[1:]
        n_bytes = bits // 8 * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + math.prod(axes))
    except (KeyError, TypeError, ValueError):
        axes, n_bytes = [], -1
    if n_bytes < 0 or min(axes, default=0) < 0:
        msg = f"{name} has a header whose BITPIX or NAXIS keywords make no sense; fetch the file again"
        raise InputError(msg)
    return n_bytes


def _skip(stream: IO[bytes], n_bytes: int, name: str) -> None:
    """Unpack and forget ``n_bytes``."""
    while n_bytes > 0:
        got = len(_read(stream, min(_CHUNK, n_bytes), name))
        if not got:
            return
        n_bytes -= got


# ---- choosing and mapping ----------------------------------------------------------------


def _choose(units: list[_Hdu], hdu: int | str | None, name: str) -> tuple[_Hdu, list[str]]:
    """Return the unit that holds the image."""
    images = [unit for unit in units if unit.image_shape is not None]
    listing = ", ".join(f"{unit.index} ({unit.name or 'no name'})" for unit in images) or "none"
    if hdu is not None:
        wanted = hdu.upper() if isinstance(hdu, str) else hdu
        for unit in images:
            if wanted == (unit.name if isinstance(wanted, str) else unit.index):
                return unit, []
        msg = f"{name} has no image in extension {hdu!r}; its images are: {listing}"
        raise InputError(msg)
    if not images:
        msg = f"{name} holds no image, only tables or empty extensions; give a file with a two-dimensional image"
        raise InputError(msg)
    for unit in images:
        if unit.name == "SCI":
            return unit, []
    first = images[0]
    remarks = []
    if len(images) > 1:
        remarks.append(f"{name} has several images ({listing}); extension {first.index} is read; choose by hdus=")
    return first, remarks


def _plane(unit: _Hdu, name: str) -> tuple[int, int]:
    """Return rows and columns; leading axes of length one are dropped."""
    axes = unit.image_shape
    shape = cast("tuple[int, ...]", axes)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2 or 0 in shape:
        words = " x ".join(map(str, axes or ()))
        msg = f"{name}: extension {unit.index} has the shape {words}; an image has two axes: cut the plane out first"
        raise InputError(msg)
    return shape[0], shape[1]


def _completed(header: fits.Header, primary: fits.Header) -> fits.Header:
    """Add the keywords that only the primary header has (photometry and exposure time often stand there)."""
    out = header.copy()
    if header is not primary:
        skip = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "COMMENT", "HISTORY", "", "NEXTEND", "CHECKSUM", "DATASUM"}
        for card in primary.cards:
            if card.keyword not in out and card.keyword not in skip and not card.keyword.startswith("NAXIS"):
                out.append(card, end=True)
    return out


def _map(
    path: str | os.PathLike[str],
    stream: IO[bytes],
    unit: _Hdu,
    shape: tuple[int, int],
    name: str,
    packing: str,
) -> npt.NDArray[Any]:
    """Return the stored pixels: a memory map of the file, or of the unpacked data."""
    dtype = np.dtype(_DTYPES[int(unit.header["BITPIX"])])
    n_bytes = math.prod(shape) * dtype.itemsize
    if not packing:
        return np.memmap(Path(path), dtype=dtype, mode="r", offset=unit.data_start, shape=shape)
    if n_bytes <= _IN_MEMORY:
        raw = b"".join(_chunks(stream, n_bytes, name))
        return np.frombuffer(raw, dtype=dtype).reshape(shape)
    with tempfile.TemporaryFile(prefix="sc_lab_") as unpacked:
        try:
            for chunk in _chunks(stream, n_bytes, name):
                unpacked.write(chunk)
            unpacked.flush()
        except OSError as error:
            msg = (
                f"{name} unpacks to {_size(n_bytes)}, for which there is no room in {tempfile.gettempdir()} "
                f"({error.strerror}); make room there, or unpack the file yourself and give the plain one"
            )
            raise InputError(msg) from None
        # The map keeps the unnamed file alive; the system frees it with the last reference.
        return np.memmap(unpacked, dtype=dtype, mode="r", shape=shape)


def _chunks(stream: IO[bytes], n_bytes: int, name: str) -> Any:
    """Yield exactly ``n_bytes`` in pieces; what lies behind them is never unpacked."""
    left = n_bytes
    while left:
        chunk = _read(stream, min(_CHUNK, left), name)
        if not chunk:
            msg = f"{name} is cut short: {_size(left)} of its pixels are missing; fetch it again"
            raise InputError(msg)
        left -= len(chunk)
        yield chunk


def _open_tiles(path: Path, unit: _Hdu, shape: tuple[int, int], limit: int) -> PixelSource:
    """Open a tile-compressed image; a tile is unpacked whole, so its size is checked."""
    tile = [int(unit.header.get(f"ZTILE{i}", 1)) for i in (1, 2)]
    bits = abs(int(unit.header.get("ZBITPIX", 32)))
    if math.prod(tile) * bits // 8 > min(limit, 1024**3):
        msg = (
            f"{path.name}: a tile of {tile[0]} x {tile[1]} pixels unpacks to {_size(math.prod(tile) * bits // 8)}; "
            "unpack the file with funpack"
        )
        raise InputError(msg)
    return _TilePixels(path, unit.index, shape)


def _size(n_bytes: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000 or unit == "TB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.3g} {unit}"
