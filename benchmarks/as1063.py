"""AS1063 end to end: synthetic clusters through the real lens model and real PSFs, found, fitted, de-lensed, compared.

Needs SC_LAB_REAL_DATA (see tests/conftest.py). Prints the table of biases beside the targets;
about ten seconds a field and table.
"""

import argparse
import os
import time
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import QTable, vstack

from sc_lab.detection import detect_clumps
from sc_lab.images import Psf
from sc_lab.lensing import delens, read_lenstool
from sc_lab.mock import make_clusters
from sc_lab.mock.recovery import match_truth, recovery_pulls
from sc_lab.photometry import fit_clumps, prepare

BANDS = ("F115W", "F150W", "F200W", "F277W", "F356W", "F444W")
BINS = ((5, 10), (10, 15), (15, 20), (20, 30), (30, 50), (50, 100))
#: Largest median bias of flux and of R_cir [px] in each bin; none is asked for below S/N 15 and 20.
FLUX = (None, None, 0.025, 0.015, 0.01, 0.01)
SIZE = (None, None, None, 0.07, 0.04, 0.01)


def width(values):
    """Return the scaled median absolute deviation of the finite values."""
    values = np.asarray(values)[np.isfinite(values)]
    return 1.4826 * np.median(np.abs(values - np.median(values))) if len(values) else np.nan


def median(values):
    """Return the median of the finite values and its standard error."""
    values = np.asarray(values)[np.isfinite(values)]
    return (np.median(values), 1.25 * width(values) / np.sqrt(len(values))) if len(values) else (np.nan, np.nan)


def run(lens, psfs, seed, mode, box, correlated, host):
    """Return matched truth, fits and intrinsic values of one field, what was found by S/N, and seconds."""
    field = make_clusters(lens, psfs, seed=seed, size=45, offset=(4, 4), n=400, host=host, correlated=correlated)
    start = time.process_time()
    found = detect_clumps(field, region="all")
    detected = time.process_time()
    i, j = match_truth(field.truth, found)
    fits = fit_clumps(field, found[j], mode=mode, box=box)
    fitted = time.process_time()
    truth = field.truth[i]
    intrinsic = delens(fits, lens, truth["z"])
    seconds = (detected - start, fitted - detected, time.process_time() - fitted)
    seen = QTable({"snr": np.asarray(field.truth["snr"]), "found": np.isin(np.arange(len(field.truth)), i)})
    return truth, fits, intrinsic, seen, len(found) - len(j), seconds


def report(title, parts):
    """Print one table of biases."""
    truth, fits, intrinsic, seen = (vstack([part[k] for part in parts], metadata_conflicts="silent") for k in range(4))
    pulls = recovery_pulls(truth, fits)
    snr = np.asarray(truth["snr"])
    detect, fit, delensed = np.sum([part[5] for part in parts], axis=0)
    print(f"\n== {title}: {len(seen)} images, {len(truth)} measured, {sum(part[4] for part in parts)} false detections")
    print(
        f"   CPU: detection {detect:.1f} s, fits {1e3 * fit / len(truth):.2f} ms a clump in {len(BANDS)} bands, "
        f"de-lensing {1e3 * delensed / len(truth):.2f} ms a clump"
    )
    print(
        "   S/N      n found |  flux bias % (target) scatter% | R_cir bias px (target) scatter |"
        " pull widths F150W F277W  Cxx  Cyy  Cxy    x    y"
    )
    offset = {name: np.asarray(fits[name]) - np.asarray(truth[name]) for name in ("x", "y")}
    for (low, high), flux_target, size_target in zip(BINS, FLUX, SIZE, strict=True):
        own = (snr >= low) & (snr < high)
        share = np.mean(np.asarray(seen["found"])[(seen["snr"] >= low) & (seen["snr"] < high)])
        bias, error = median(pulls["flux_f150w"][own])
        size, size_error = median(pulls["r_cir"][own])
        names = ("flux_f150w_pull", "flux_f277w_pull", "cov_xx_pull", "cov_yy_pull", "cov_xy_pull")
        widths = " ".join(f"{width(pulls[name][own]):5.2f}" for name in names)
        # The fit's position error is that of a Gaussian of its width and S/N; kept here as scatter in px.
        places = " ".join(f"{width(offset[name][own]):5.3f}" for name in ("x", "y"))
        print(
            f"  {low:3d}-{high:3d} {own.sum():4d}  {share:4.2f} | {100 * bias:+6.2f} +- {100 * error:4.2f} "
            f"({'-' if flux_target is None else f'{100 * flux_target:.1f}':>3s})  {100 * width(pulls['flux_f150w'][own]):5.1f}  "
            f"| {size:+.3f} +- {size_error:.3f} ({'-' if size_target is None else f'{size_target:.2f}':>4s})  "
            f"{width(pulls['r_cir'][own]):.3f}  | {widths} {places}"
        )
    bright = snr >= 15
    print("   pulls at S/N >= 15, target width 0.9-1.1, median at most 0.1 at S/N >= 20:")
    for name in pulls.colnames:
        if name.endswith("_pull"):
            centre, error = median(pulls[name][snr >= 20])
            print(f"     {name:18s} width {width(pulls[name][bright]):.3f}  median {centre:+.3f} +- {error:.3f}")
    classes(truth, fits, intrinsic, snr)
    lensing(truth, fits, intrinsic, snr)


def classes(truth, fits, intrinsic, snr):
    """Print how many are called resolved and unresolved, and how often limits cover the truth."""
    trace, cross = np.asarray(truth["cov_xx"] + truth["cov_yy"]), np.asarray(truth["cov_xy"])
    root = np.hypot(np.asarray(truth["cov_xx"] - truth["cov_yy"]) / 2, cross)
    small, large = (np.sqrt(np.maximum(trace / 2 + sign * root, 0)) for sign in (-1, 1))
    called = np.asarray(fits["size_class"]).astype(str)
    own = (snr >= 30) & (small >= 0.4)
    print(
        f"   both axes resolved, S/N > 30: {np.mean(called[own] == 'resolved'):.3f} called so (target 0.94), n = {own.sum()}"
    )
    own = (snr >= 30) & (large < 0.4)
    points = (snr >= 30) & (large < 0.2)
    print(
        f"   unresolved, S/N > 30: {np.mean(called[own] == 'unresolved'):.3f} called so by the 0.4 px rule (target 0.60), "
        f"n = {own.sum()}; points (both widths below 0.2 px) by dchi2 < 6: "
        f"{1 - np.mean(np.asarray(fits['extended'])[points]):.3f} (target 0.84), n = {points.sum()}"
    )
    limit = np.asarray(intrinsic["r_eff_is_limit"])
    for low, high in ((5, 15), (15, 30), (30, 100)):
        own = limit & (snr >= low) & (snr < high)
        covered = np.mean((intrinsic["r_eff"] >= truth["r_eff"])[own])
        print(f"   intrinsic size limits at S/N {low}-{high} lie above the truth in {covered:.3f}, n = {own.sum()}")


def lensing(truth, fits, intrinsic, snr):
    """Print how magnifications, luminosities and intrinsic sizes compare."""
    good = snr >= 30
    ratio = np.asarray(intrinsic["best_mu"] / truth["mu"]) - 1
    print(
        f"   mu at the fitted position / true mu - 1, S/N > 30: median {np.median(ratio[good]):+.1e}, "
        f"68 % within {np.percentile(np.abs(ratio[good]), 68):.1e}"
    )
    light = (fits["flux_f150w"] / np.abs(intrinsic["best_mu"])) / (truth["flux_f150w"] / np.abs(truth["mu"]))
    bias, error = median(u.Quantity(light).value[good] - 1)
    print(f"   de-lensed flux (mass at fixed age), S/N > 30: bias {100 * bias:+.2f} +- {100 * error:.2f} %")
    called = np.asarray(fits["size_class"]).astype(str)
    size = u.Quantity(intrinsic["r_eff"] / truth["r_eff"]).to_value(u.one)
    for name in ("resolved", "one_axis"):
        own = good & (called == name)
        bias, error = median(size[own] - 1)
        print(
            f"   R_eff [pc] of {name} ones, S/N > 30: bias {100 * bias:+.1f} +- {100 * error:.1f} %, "
            f"scatter {100 * width(size[own]):.0f} %, n = {own.sum()}"
        )


def main():
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=9, help="fields of about 800 images for each table")
    parser.add_argument("--quick", action="store_true", help="the first table only")
    options = parser.parse_args()
    folder = Path(os.environ["SC_LAB_REAL_DATA"])
    lens = read_lenstool(folder / "lensing" / "as1063_cats_gold" / "best.par", name="CATS gold")
    place = folder / "imaging" / "psf" / "smacs0723_20mas"
    psfs = {band: Psf.from_file(place / f"{band}.fits.gz", pixel_scale=0.02, band=band) for band in BANDS}
    print(lens)
    prepare()
    variants = [
        ("full mode, 9 px boxes, hosts up to 1 sigma", "full", 9, False, 1.0),
        ("full mode, 9 px boxes, no hosts", "full", 9, False, 0.0),
        ("full mode, 9 px boxes, hosts up to 4 sigma of the sky in a pixel", "full", 9, False, 4.0),
        ("full mode, correlated noise", "full", 9, True, 1.0),
        ("paper mode", "paper", 9, False, 1.0),
    ]
    for title, mode, box, correlated, host in variants[: 1 if options.quick else None]:
        report(title, [run(lens, psfs, seed, mode, box, correlated, host) for seed in range(1, options.fields + 1)])


if __name__ == "__main__":
    main()
