"""Lens models: how long clumps, posterior samples, a click and counter-images take, beside the plain complex formula."""

import argparse
import os
import time
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.table import QTable

from sc_lab.lensing import DPIE, ExternalShear, ParametricLens, Posterior, delens, read_lenstool, scaled_members
from sc_lab.lensing.potentials import potential_ellipticity


def _best(call, times=3):
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took)


def made(n_members=260, n_samples=200, *, free_cut=False):
    """Return a cluster of the size of AS1063's published model, with a posterior made up around it."""
    rng = np.random.default_rng(1)
    x, y, e, t = *rng.normal(0, 45, (2, n_members)), rng.uniform(0, 0.5, n_members), rng.uniform(0, 180, n_members)
    mag = 18 + 5 * rng.power(2, n_members)
    members = scaled_members(x, y, mag, mag0=19.7, sigma0=100, cut0=9, core0=0.03, ellipticity=e, angle=t)
    main = [
        DPIE(0, 0, 1224, core=20.1, cut=203, ellipticity=0.517, angle=-36),
        ExternalShear(0.104, 50.8),
        DPIE(0, 0, 291, core=0.1, cut=34.5, ellipticity=0.271, angle=-35),
        DPIE(-20.2, 29.3, 203, core=10, cut=102),
    ]
    values = {
        (0, "sigma"): rng.normal(1224, 10, n_samples),
        (0, "core"): rng.normal(20, 0.5, n_samples),
        (0, "ellipticity"): rng.normal(0.517, 0.01, n_samples),
        (1, "gamma"): rng.normal(0.104, 0.01, n_samples),
        (2, "sigma"): rng.normal(291, 10, n_samples),
        (3, "x"): rng.normal(-20.2, 3, n_samples),
    }
    scale, cut = rng.normal(1, 0.05, n_samples), rng.normal(1, 0.1, n_samples)
    for i, member in enumerate(members, start=4):
        values[i, "sigma"] = member.sigma * scale
        if free_cut:
            values[i, "cut"] = member.cut * cut
    posterior = Posterior(n=n_samples, values=values)
    return ParametricLens([*main, *members], z_lens=0.3475, ra=342.183, dec=-44.531, name="made", posterior=posterior)


def plain(lens, x, y):
    """Return convergence and shear, potential after potential, by differences of the printed complex function."""

    def bend(x, y, eps, core):
        q, root = (1 - eps) / (1 + eps), np.sqrt(eps)
        w = np.sqrt(core**2 + (x / (1 + eps)) ** 2 + (y / (1 - eps)) ** 2)
        above, below = q * x + 1j * (2 * root * w - y / q), x + 1j * (2 * root * core - y)
        return -1j * (1 - eps**2) / (2 * root) * np.log(above / below)

    h = 1e-4
    out = np.zeros((3, x.size))
    for each in lens.potentials:
        if isinstance(each, ExternalShear):
            continue
        eps = max(float(potential_ellipticity(each.ellipticity)), 1e-4)
        c, s = np.cos(np.radians(each.angle)), np.sin(np.radians(each.angle))
        a, b = c * (x - each.x) + s * (y - each.y), c * (y - each.y) - s * (x - each.x)

        def both(a, b, eps=eps, each=each):
            return bend(a, b, eps, each.core) - bend(a, b, eps, each.cut)

        factor = each.strength * each.cut / (each.cut - each.core) / (2 * h)
        along = factor * (both(a + h, b) - both(a - h, b))
        across = factor * (both(a, b + h) - both(a, b - h))
        g1, g2 = (along.real - across.imag) / 2, along.imag
        out += (
            (along.real + across.imag) / 2,
            (c * c - s * s) * g1 - 2 * s * c * g2,
            2 * s * c * g1 + (c * c - s * s) * g2,
        )
    return out


def measure(lens, n=700, n_draws=100):
    """Print the times of one model."""
    rng = np.random.default_rng(2)
    ra, dec = lens.to_sky(*rng.uniform(-30, 30, (2, n)))
    z = rng.uniform(1, 8, n)
    lens.efficiency(z)
    table = QTable({"id": [f"c{i}" for i in range(n)], "ra": ra * u.deg, "dec": dec * u.deg, "z": z})
    for name, value in (("cov_xx", 1.0), ("cov_yy", 0.7), ("cov_xy", 0.1)):
        table[name] = np.full(n, value)
    table["r_eff_obs"], table["r_eff_obs_err"] = np.full(n, 25.0) * u.mas, np.full(n, 2.0) * u.mas
    table["size_class"] = "resolved"
    print(f"{lens!r}")
    x, y = lens.to_frame(ra, dec)
    ours, theirs = _best(lambda: lens.unit_jacobian(x, y)), _best(lambda: plain(lens, x, y), 1)
    print(f"  {n} clumps, best model          {ours * 1e3:8.1f} ms; plain complex formula {theirs * 1e3:.0f} ms")
    if lens.n_realisations:
        ours = _best(lambda: lens.magnification_draws(ra, dec, z, n_draws=n_draws))
        print(
            f"  {n} clumps x {n_draws} samples      {ours:8.2f} s  (target: seconds); plain, sample after sample "
            f"{theirs * n_draws:.0f} s, ratio {theirs * n_draws / ours:.0f}"
        )
        one = _best(lambda: lens.magnification_draws(ra[:1], dec[:1], z[:1], n_draws=n_draws), 10)
        print(f"  one clump x {n_draws} samples       {one * 1e3:8.2f} ms (target: a few ms)")
    one, whole = (
        _best(lambda: delens(table[:1], lens, pixel_scale=0.02), 10),
        _best(lambda: delens(table, lens, pixel_scale=0.02)),
    )
    print(f"  de-lensing: one row {one * 1e3:.1f} ms (target: a few ms), {n} rows {whole:.2f} s")
    start = time.perf_counter()
    lens.counter_images(ra[0], dec[0], 3.0)
    first = time.perf_counter() - start
    again = _best(lambda: lens.counter_images(ra[1], dec[1], 4.0))
    print(f"  counter-images: first {first:.2f} s, then {again * 1e3:.0f} ms")
    start = time.perf_counter()
    lens.critical_curves(3.0)
    first = time.perf_counter() - start
    print(
        f"  critical curve: first {first:.2f} s, another redshift {_best(lambda: lens.critical_curves(5.0)) * 1e3:.0f} ms"
    )


def main():
    """Print the times of a made-up model, and of the published ones where SC_LAB_REAL_DATA names them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    measure(made())
    measure(made(free_cut=True))
    folder = Path(os.environ.get("SC_LAB_REAL_DATA", "")) / "lensing"
    for name in ("as1063_cats_silver", "smacs0723_mahler22_iclv1"):
        if (folder / name).is_dir():
            measure(read_lenstool(folder / name))


if __name__ == "__main__":
    main()
