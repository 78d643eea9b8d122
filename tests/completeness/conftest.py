"""A small field whose noise, PSF and host are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.completeness import Completeness
from sc_lab.completeness.records import RECORD, Outcome
from sc_lab.images import Field

#: Standard deviation of the Gaussian PSF [px]: full width at half maximum 2.9 px, as F150W at 0.02 arcsec.
PSF_STD = 1.24
SCALE = 0.02


def gaussian_psf(half=15):
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    stamp = np.exp(-0.5 * (x**2 + y**2) / PSF_STD**2)
    return stamp / stamp.sum()


def field_of(image, error=1.0, **options):
    return Field.from_arrays(
        {"F150W": image},
        errors={"F150W": np.broadcast_to(np.asarray(error, dtype=np.float64), image.shape).copy()},
        psfs={"F150W": gaussian_psf()},
        psf_scales=SCALE,
        pixel_scales=SCALE,
        **options,
    )


@pytest.fixture(scope="session")
def make_field():
    """``make_field(image, error=1)``: one band, F150W, of 0.02 arcsec, with a Gaussian PSF."""
    return field_of


@pytest.fixture(scope="session")
def noise_field():
    """White noise of 1 nJy per pixel, nothing else: 384 x 384 pixels."""
    return field_of(np.random.default_rng(11).normal(size=(384, 384)))


@pytest.fixture(scope="session")
def host_field():
    """White noise on a round host, with ten clumps of its own; 300 x 300 pixels."""
    rng = np.random.default_rng(12)
    y, x = np.mgrid[:300, :300]
    image = 30 * np.exp(-0.5 * ((x - 150) ** 2 + (y - 150) ** 2) / 50**2)
    for cx, cy in rng.uniform(60, 240, (10, 2)):
        image += 60 / (2 * np.pi * PSF_STD**2) * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / PSF_STD**2)
    return field_of(image + rng.normal(size=image.shape))


def records_of(magnitudes, sizes, chance, *, per_cell=200, axis_ratios=(1.0,), rng=1):
    """Records whose outcomes follow a given chance, unfitted."""
    rng = np.random.default_rng(rng)
    grid = np.stack(np.meshgrid(magnitudes, sizes, axis_ratios, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = np.repeat(grid, per_cell, axis=0)
    out = np.zeros(len(grid), dtype=RECORD)
    for name in RECORD.names:
        if RECORD[name].kind == "f":
            out[name] = np.nan
    out["mag"], out["size"], out["axis_ratio"] = grid.T
    out["theta"] = rng.uniform(0, np.pi, len(out))
    out["background"] = rng.uniform(0, 3, len(out))
    out["x"], out["y"] = rng.uniform(0, 300, (2, len(out)))
    out["fit_status"] = -1
    out["outcome"] = np.where(rng.random(len(out)) < chance(out["mag"], out["size"]), Outcome.RECOVERED, Outcome.MISSED)
    return out


def _settings_of(magnitudes, sizes, axis_ratios=(1.0,)):
    return {
        "band": "F150W",
        "pixel_scale": SCALE,
        "magnitudes": list(magnitudes),
        "sizes": list(sizes),
        "axis_ratios": list(axis_ratios),
    }


@pytest.fixture(scope="session")
def make_result():
    """``make_result(magnitudes, sizes, chance(mag, size))``: a result whose outcomes follow a given chance."""

    def make(magnitudes, sizes, chance, **options):
        axis_ratios = options.get("axis_ratios", (1.0,))
        return Completeness.from_records(
            records_of(magnitudes, sizes, chance, **options), settings=_settings_of(magnitudes, sizes, axis_ratios)
        )

    return make
