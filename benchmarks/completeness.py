"""Injection and recovery: seconds for 1e5 clumps on two cores beside the target, and beside the usual tools in one run."""

from __future__ import annotations

import argparse
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from sc_lab.completeness import inject_recover
from sc_lab.images import Field

TARGET = 180.0
FULL = 100_000
PSF_STD = 1.24
SCALE = 0.02


def make_field(size=1320, seed=1):
    """White noise, smooth hosts and clumps of their own, photon noise in the error map."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    light = np.zeros((size, size))
    for cx, cy in rng.uniform(100, size - 100, (12, 2)):
        light += 2.0 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 40**2)
    for cx, cy, flux in zip(*rng.uniform(40, size - 40, (2, 300)), 10 ** rng.uniform(0.5, 2, 300), strict=True):
        box = np.s_[int(cy) - 9 : int(cy) + 10, int(cx) - 9 : int(cx) + 10]
        chi2 = ((x[box] - cx) ** 2 + (y[box] - cy) ** 2) / PSF_STD**2
        light[box] += flux / (2 * np.pi * PSF_STD**2) * np.exp(-0.5 * chi2)
    error = np.sqrt(0.2**2 + light / 50.0)
    j, i = np.mgrid[-15:16, -15:16]
    psf = np.exp(-0.5 * (i**2 + j**2) / PSF_STD**2)
    return Field.from_arrays(
        {"F150W": light + error * rng.normal(size=light.shape)},
        errors={"F150W": error},
        psfs={"F150W": psf / psf.sum()},
        psf_scales=SCALE,
        pixel_scales=SCALE,
    )


def usual_tools(field, n=40):
    """Return seconds of CPU per clump: astropy model convolved on the grid, photutils without deblending, LevMar fit."""
    from astropy.convolution import convolve_fft
    from astropy.modeling import custom_model
    from astropy.modeling.fitting import LevMarLSQFitter
    from astropy.modeling.models import Gaussian2D
    from photutils.background import Background2D
    from photutils.segmentation import SourceFinder

    band = field["F150W"]
    data, error = band.cutout(300, 300, 300, 300)
    psf = np.asarray(band.psf.stamp)
    y, x = np.mgrid[:300, :300]
    rng = np.random.default_rng(2)
    places = np.stack(np.meshgrid(np.arange(20, 290, 32), np.arange(20, 290, 32)), axis=-1).reshape(-1, 2)
    places = places + rng.uniform(-1, 1, places.shape)
    box_y, box_x = np.mgrid[:9, :9]

    @custom_model
    def clump(px, py, flux=30.0, x0=4.0, y0=4.0, sx=1.0, sy=1.0, theta=0.0, b0=0.0, bx=0.0, by=0.0):
        image = Gaussian2D(flux / (2 * np.pi * abs(sx * sy) + 1e-9), x0, y0, sx, sy, theta)(px, py)
        return convolve_fft(image, psf[11:20, 11:20], boundary="fill") + b0 + bx * (px - 4) + by * (py - 4)

    start = time.process_time()
    image = data.copy()
    for cx, cy in places:
        stamp = np.s_[max(int(cy) - 20, 0) : int(cy) + 21, max(int(cx) - 20, 0) : int(cx) + 21]
        image[stamp] += convolve_fft(Gaussian2D(5.0, cx, cy, 1.0, 1.0)(x[stamp], y[stamp]), psf)
    drawn = (time.process_time() - start) / len(places)
    start = time.process_time()
    flat = image - Background2D(image, (21, 21)).background
    SourceFinder(n_pixels=5, deblend=False, progress_bar=False)(flat, 1.5 * error)
    found = (time.process_time() - start) / len(places)
    start = time.process_time()
    for cx, cy in places[:n]:
        corner = np.rint([cx, cy]).astype(int) - 4
        piece = np.s_[corner[1] : corner[1] + 9, corner[0] : corner[0] + 9]
        LevMarLSQFitter()(clump(), box_x, box_y, image[piece], weights=1 / error[piece], maxiter=100)
    fitted = (time.process_time() - start) / n
    return drawn, found, fitted


def main():
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="clumps to inject; 100000 is the target's number")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true")
    n, workers = (options := parser.parse_args()).n, options.workers
    field = make_field()
    inject_recover(field, n=200, rng=1)  # compiles once
    few = min(n, 5_000)
    wall, cpu = time.perf_counter(), time.process_time()
    alone = inject_recover(field, n=few, rng=1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(
        f"one process:   {few} clumps in {wall:.1f} s ({cpu:.1f} s of CPU): {wall / few * FULL:.0f} s "
        f"({cpu / few * FULL:.0f} s of CPU) per 1e5"
    )
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        # The same run first: it starts the workers, and has to end with the same clumps.
        shared = inject_recover(field, n=few, rng=1, executor=executor)
        wall = time.perf_counter()
        result = inject_recover(field, n=n, rng=2, executor=executor)
        wall = time.perf_counter() - wall
    print(f"{workers} processes:   {n} clumps in {wall:.1f} s: {wall / n * FULL:.0f} s per 1e5, target {TARGET:.0f} s")
    same = all(
        np.asarray(alone.injections[name]).tobytes() == np.asarray(shared.injections[name]).tobytes()
        for name in alone.injections.colnames
    )
    print(f"results with and without workers: {'the same to the last bit' if same else 'DIFFERENT'}; {result!r}")
    print(
        f"half of the point sources found at {float(result.limit(0.5, 0.0)):.2f}, of 2 px at {float(result.limit(0.5, 2.0)):.2f}"
    )
    if not options.no_peers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = usual_tools(field)
        print(
            f"astropy + photutils: {sum(parts) * 1e3:.1f} ms of CPU per clump (draw {parts[0] * 1e3:.1f}, detect "
            f"{parts[1] * 1e3:.1f}, fit {parts[2] * 1e3:.1f}); ours {cpu / few * 1e3:.2f} ms: "
            f"ratio {sum(parts) / (cpu / few):.0f}"
        )


if __name__ == "__main__":
    main()
