"""Mosaics of 15000 x 15000 pixels in nine bands: opening time, memory, cut-outs beside astropy's Cutout2D."""

import argparse
import mmap
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from sc_lab.images import Field, match_psf, matching_kernel, propose_stars, psf_from_stars, rgb
from sc_lab.images.fitsfiles import forget_pages
from sc_lab.images.psf import Psf

BANDS = ("F090W", "F115W", "F150W", "F200W", "F277W", "F356W", "F410M", "F444W", "F480M")


def _header(n, scale=0.02):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [342.18, -44.53]
    wcs.wcs.crpix, wcs.wcs.cdelt = [(n + 1) / 2] * 2, [-scale / 3600, scale / 3600]
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", n), ("NAXIS2", n)])
    header.extend(wcs.to_header(), strip=True)
    header["BUNIT"] = "nJy"
    return header


def make_files(folder, n):
    """Write sparse mosaics: bands of noise every 1000 rows, holes between them, so that 16 GB take 0.3."""
    rng = np.random.default_rng(1)
    raw = _header(n).tostring(padding=True).encode()
    rows = rng.normal(size=(16, n)).astype(">f4")
    for band in BANDS:
        for kind in ("sci", "err"):
            with (folder / f"{band}_{kind}.fits").open("wb") as stream:
                stream.write(raw)
                for y in range(0, n - 16, 1000):
                    stream.seek(len(raw) + y * n * 4)
                    stream.write((rows if kind == "sci" else np.ones_like(rows)).tobytes())
                stream.truncate(len(raw) + -(-n * n * 4 // 2880) * 2880)


def open_field(folder):
    """Open all bands with their errors."""
    return Field.from_files(
        {band: folder / f"{band}_sci.fits" for band in BANDS},
        errors={band: folder / f"{band}_err.fits" for band in BANDS},
    )


def _best(call, times=5):
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took)


def _mean(call, places, forget, rounds=7):
    """Return the least mean time over places; ``forget`` gives mapped pages back before each call."""
    best = np.inf
    for _ in range(rounds):
        took = 0.0
        for place in places:
            if forget is not None:
                forget()
            start = time.perf_counter()
            call(*place)
            took += time.perf_counter() - start
        best = min(best, took / len(places))
    return best


def _map_of(array):
    """Return the memory map under an array."""
    while not isinstance(array, mmap.mmap):
        array = array.obj if isinstance(array, memoryview) else array.base
    return array


def opening(folder):
    """Print time and memory of opening in this (fresh) process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    field = open_field(Path(folder))
    took = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for band in BANDS:
        field[band].cutout(7000, 7000, 200, 200)
    cut = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"opening      {took:.2f} s (target 2 s); resident memory {before:.0f} -> {after:.0f} MB, {cut:.0f} MB after nine "
        f"cut-outs of 200 px (16 GB of pixels on disk)"
    )


def cutouts(folder, n):
    """Print the time of cut-outs beside astropy."""
    field = open_field(folder)
    band = field["F150W"]
    rng = np.random.default_rng(2)
    with fits.open(folder / "F150W_sci.fits", memmap=True) as sci, fits.open(folder / "F150W_err.fits") as err:
        wcs = WCS(sci[0].header)
        maps = [_map_of(hdu[0].data) for hdu in (sci, err)]

        def forget_theirs():
            for pages in maps:
                pages.madvise(mmap.MADV_DONTNEED)

        for side in (9, 200, 1000):
            places = [(int(x), int(y)) for x, y in rng.integers(0, n - side, (10, 2))]

            def ours(x, y, side=side):
                band.cutout(x, y, side, side)

            def theirs(x, y, side=side):
                for hdu in (sci[0], err[0]):
                    cut = Cutout2D(hdu.data, (x + side / 2, y + side / 2), side, wcs=wcs).data
                    np.array(cut, dtype=float)

            for what, forget in (("first look", True), ("again", False)):
                a = _mean(ours, places, forget_pages if forget else None)
                b = _mean(theirs, places, forget_theirs if forget else None)
                print(
                    f"cut-out {side:4d} px, {what:10s}  data and error in nJy {a * 1e3:7.3f} ms; Cutout2D of both, "
                    f"without units or checks, {b * 1e3:7.3f} ms; ratio {b / a:.1f}"
                )
    at = rng.uniform(0, n, (2, 693))
    other = field["F444W"]
    ra, dec = band.to_sky(*at)
    print(f"coordinates  693 clumps to pixels {_best(lambda: other.to_pixel(ra, dec)) * 1e3:.2f} ms")
    picture = _best(lambda: rgb(field, ("F444W", "F277W", "F150W"), 7000, 7000, 150, 150))
    print(f"colour       150 x 150 px, three bands {picture * 1e3:.1f} ms")


def psfs():
    """Print the time of stacking stars and matching PSFs."""
    rows, columns = np.indices((61, 61)) - 30
    stamp = np.exp(-0.5 * (rows**2 + columns**2) / 1.3**2)
    sharp = Psf(stamp, 0.02, band="F150W")
    broad = Psf(np.exp(-0.5 * (rows**2 + columns**2) / 3.2**2), 0.02, band="F444W")
    rng = np.random.default_rng(3)
    image = rng.normal(0, 0.3, (1500, 1500))
    at = rng.integers(60, 1440, (15, 2))
    for x, y in at:
        image[y - 30 : y + 31, x - 30 : x + 31] += 2000 * sharp.stamp
    field = Field.from_arrays({"F150W": image}, errors={"F150W": 0.3}, psfs={"F150W": sharp}, pixel_scales=0.02)
    start = time.perf_counter()
    stars = propose_stars(field, "F150W")
    proposed = time.perf_counter() - start
    stacked = _best(lambda: psf_from_stars(field, "F150W", stars), 2)
    kernel = _best(lambda: matching_kernel(sharp, broad))
    matched = match_psf(field, broad)["F150W"]
    cut = _best(lambda: matched.cutout(500, 500, 150, 150))
    print(
        f"PSFs         {len(stars)} stars proposed in 1500 x 1500 px {proposed:.2f} s, stacked {stacked:.2f} s; kernel "
        f"{kernel * 1e3:.0f} ms; matched cut-out of 150 px {cut * 1e3:.0f} ms"
    )


def main():
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=15_000)
    parser.add_argument("--open", help="only measure opening this folder")
    options = parser.parse_args()
    if options.open:
        opening(options.open)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), options.side)
        # In a process of its own: its memory is its own too.
        subprocess.run([sys.executable, __file__, "--open", folder], check=True)
        cutouts(Path(folder), options.side)
    psfs()


if __name__ == "__main__":
    main()
