"""FITS files are read a cut-out at a time, and a broken or hostile one is refused in a sentence."""

import bz2
import gzip
import lzma
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from sc_lab.errors import InputError
from sc_lab.images.fitsfiles import hdu_headers, open_image


@pytest.fixture
def data():
    return np.arange(30 * 40, dtype=np.float32).reshape(30, 40)


@pytest.fixture
def plain(tmp_path, data):
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(data).writeto(path)
    return path


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed_files_read_as_the_plain_one(plain, data, suffix, pack):
    packed = plain.with_suffix(".fits" + suffix)
    packed.write_bytes(pack(plain.read_bytes()))
    pixels, _, _ = open_image(packed)
    np.testing.assert_array_equal(pixels.read(3, 9, 5, 11), data[3:9, 5:11])


def test_a_plain_file_is_mapped_not_read(plain):
    assert isinstance(open_image(plain)[0].data, np.memmap)


def test_a_large_compressed_file_is_unpacked_to_a_map(plain, data, monkeypatch):
    monkeypatch.setattr("sc_lab.images.fitsfiles._IN_MEMORY", 100)
    packed = plain.with_suffix(".fits.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    pixels, _, _ = open_image(packed)
    assert isinstance(pixels.data, np.memmap)
    np.testing.assert_array_equal(pixels.read(0, 30, 0, 40), data)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "u2"])
def test_every_pixel_type_is_read(tmp_path, dtype):
    """``u2`` is stored as int16 with BZERO, which a memory map alone does not undo."""
    data = np.array([[1, 2, 200], [3, 4, 250]], dtype=dtype)
    path = tmp_path / "typed.fits"
    fits.PrimaryHDU(data).writeto(path)
    np.testing.assert_array_equal(open_image(path)[0].read(0, 2, 0, 3), data.astype(float))


def test_scale_and_blank_are_applied(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[1, -32768, 3]], dtype=np.int16))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 10.0, -32768
    path = tmp_path / "scaled.fits"
    # Written by hand: astropy would apply the scale on writing.
    raw = hdu.header.tostring(padding=True).encode() + hdu.data.astype(">i2").tobytes()
    path.write_bytes(raw + b"\0" * (-len(raw) % 2880))
    np.testing.assert_array_equal(open_image(path)[0].read(0, 1, 0, 3), [[10.5, np.nan, 11.5]])


def test_tile_compressed_images_are_read(tmp_path, data):
    path = tmp_path / "tiles.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data.astype(np.int32), compression_type="RICE_1")]).writeto(path)
    np.testing.assert_array_equal(open_image(path)[0].read(4, 20, 1, 30), data[4:20, 1:30])


def test_a_full_disk_is_said(plain, monkeypatch):
    monkeypatch.setattr("sc_lab.images.fitsfiles._IN_MEMORY", 100)
    monkeypatch.setattr("sc_lab.images.fitsfiles._CHUNK", 1000)
    packed = plain.with_suffix(".fits.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sc_lab.images.fitsfiles.tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(InputError, match=r"no room.*No space left"):
        open_image(packed)


def test_the_science_extension_is_taken_and_the_primary_keywords_with_it(tmp_path, data):
    primary = fits.PrimaryHDU()
    primary.header["PHOTFLAM"] = 1e-20
    path = tmp_path / "many.fits"
    fits.HDUList([primary, fits.ImageHDU(data * 0, name="WHT"), fits.ImageHDU(data, name="SCI")]).writeto(path)
    pixels, header, _ = open_image(path)
    assert pixels.read(0, 1, 1, 2) == 1
    assert header["PHOTFLAM"] == 1e-20
    assert set(hdu_headers(path)) == {"WHT", "SCI"}
    assert open_image(path, hdu="wht")[0].read(0, 1, 1, 2) == 0
    assert open_image(path, hdu=2)[0].read(0, 1, 1, 2) == 1


def test_several_nameless_images_are_pointed_out(tmp_path, data):
    path = tmp_path / "two.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="A"), fits.ImageHDU(data, name="B")]).writeto(path)
    assert "choose by hdus=" in open_image(path)[2][0]


def test_leading_axes_of_one_are_dropped_and_cubes_refused(tmp_path, data):
    flat, cube = tmp_path / "flat.fits", tmp_path / "cube.fits"
    fits.PrimaryHDU(data[None]).writeto(flat)
    fits.PrimaryHDU(np.stack([data, data])).writeto(cube)
    assert open_image(flat)[0].shape == (30, 40)
    with pytest.raises(InputError, match="2 x 30 x 40"):
        open_image(cube)


def test_a_truncated_file_says_so_when_it_is_opened(plain):
    plain.write_bytes(plain.read_bytes()[:5000])
    with pytest.raises(InputError, match="cut short"):
        open_image(plain)


def test_a_truncated_header_says_so(plain):
    plain.write_bytes(plain.read_bytes()[:200])
    with pytest.raises(InputError, match="cut short inside a header"):
        open_image(plain)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_damaged_compression_says_so(plain, suffix, pack):
    packed = plain.with_suffix(".fits" + suffix)
    whole = pack(plain.read_bytes())
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"damaged or cut short|cut short"):
        open_image(packed)
    packed.write_bytes(whole[:60] + b"\xff" * 80 + whole[140:])
    with pytest.raises(InputError, match=r"damaged|cut short|END|header"):
        open_image(packed)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"RA,DEC\n1,2\n", "no FITS file"),
        (b"PK\x03\x04zip", "ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "no FITS file"),
        (gzip.compress(b"hello" * 1000), "does not begin with a FITS header"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path, content, words):
    path = tmp_path / "other.fits"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_image(path)


def test_a_missing_file_and_a_table_are_refused_in_words(tmp_path):
    with pytest.raises(InputError, match="cannot be opened"):
        open_image(tmp_path / "absent.fits")
    path = tmp_path / "table.fits"
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(3))]).writeto(path)
    with pytest.raises(InputError, match="holds no image"):
        open_image(path)


def _header(nx, ny, **more):
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", nx), ("NAXIS2", ny)])
    header.update(more)
    return header.tostring(padding=True).encode()


def _peak_memory(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_a_file_that_unpacks_to_100_gigabytes_is_refused_before_it_fills_memory(tmp_path, suffix, pack):
    path = tmp_path / f"bomb.fits{suffix}"
    path.write_bytes(pack(_header(160_000, 160_000) + b"\0" * 2_000_000))

    def opened():
        with pytest.raises(InputError, match=r"unpacks to at least 102 GB.*unpack_limit="):
            open_image(path)

    # xz needs its own dictionary (8 MB); nothing may grow with the file.
    assert _peak_memory(opened) < 30e6


def test_a_bomb_behind_the_image_is_never_unpacked(tmp_path):
    """The header says 4 pixels; 300 MB of zeros follow, which gzip packs a thousandfold."""
    path = tmp_path / "tail.fits.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(_header(2, 2) + b"\0" * 2880)
        for _ in range(75):
            stream.write(b"\0" * 4_000_000)
    assert _peak_memory(lambda: open_image(path)[0].read(0, 2, 0, 2)) < 20e6


def test_a_header_without_end_is_not_read_for_ever(tmp_path):
    path = tmp_path / "endless.fits.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(_header(2, 2)[:400])
        stream.write(b" " * 20_000_000)

    def opened():
        with pytest.raises(InputError, match="without END"):
            open_image(path)

    # The bound is 1.6 MB of header, held twice.
    assert _peak_memory(opened) < 20e6


@pytest.mark.parametrize("axes", [(-5, 10), (10**12, 10**12)])
def test_senseless_axes_are_refused(tmp_path, axes):
    path = tmp_path / "axes.fits"
    path.write_bytes(_header(*axes))
    with pytest.raises(InputError, match=r"make no sense|cut short"):
        open_image(path)
