"""A small field whose clumps are known: rendered by oversampling in real space, apart from the library's code."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.wcs import WCS

FWHM = 2.92
_STD = FWHM / 2.3548


def make_wcs(nx, ny, scale=0.02, ra=342.18, dec=-44.53):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [nx / 2 + 0.5, ny / 2 + 0.5]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs


def gaussian(shape, x, y, flux, cov):
    """A Gaussian, sampled at pixel centres; its width is that of PSF and clump together, never below 1.2 px."""
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    inverse = np.linalg.inv(cov)
    dx, dy = xx - x, yy - y
    chi2 = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
    return flux * np.exp(-0.5 * chi2) / (2 * np.pi * np.sqrt(np.linalg.det(cov)))


def unit_snr(cov):
    """S/N of unit flux on noise of unit scatter: sqrt(sum p^2) of a Gaussian."""
    return 1 / np.sqrt(4 * np.pi * np.sqrt(np.linalg.det(cov)))


def make_image(seed=1, size=600, spacing=36, hosts="smooth", noise=1.0):
    """Image, error and truth: clumps of S/N 5 to 100 on a jittered grid, on Gaussian hosts or thin arcs."""
    rng = np.random.default_rng(seed)
    shape = (size, size)
    light = np.zeros(shape)
    rows = []
    for gy in np.arange(spacing, size - spacing + 1, spacing):
        for gx in np.arange(spacing, size - spacing + 1, spacing):
            x, y = (np.array([gx, gy]) + rng.uniform(-6, 6, 2)).tolist()
            std, q, angle = rng.uniform(0, 2.0), rng.uniform(0.3, 1), rng.uniform(0, np.pi)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            cov = turn @ np.diag([std**2, (q * std) ** 2]) @ turn.T + _STD**2 * np.eye(2)
            snr = 10 ** rng.uniform(np.log10(5), 2)
            flux = snr * noise / unit_snr(cov)
            half = 14
            x0, y0 = round(x) - half, round(y) - half
            stamp = gaussian((2 * half + 1, 2 * half + 1), x - x0, y - y0, flux, cov)
            light[y0 : y0 + 2 * half + 1, x0 : x0 + 2 * half + 1] += stamp
            rows.append((x, y, flux, snr, std))
    if hosts == "smooth":
        for _ in range(12):
            x, y = rng.uniform(0, size, 2)
            width = rng.uniform(25, 60)
            light += gaussian(shape, x, y, 1, np.diag([width**2, width**2])) * 2 * np.pi * width**2 * rng.uniform(2, 8)
    data = light + rng.normal(size=shape) * noise
    truth = dict(zip(("x", "y", "flux", "snr", "std"), map(np.array, zip(*rows, strict=True)), strict=True))
    return data, np.full(shape, noise), truth


class FakeBand:
    """What detection asks of a band, and no more."""

    def __init__(self, data, error, wcs, scale=0.02, psf=None, name="F150W"):
        self.data, self.error, self.wcs, self.pixel_scale, self.psf, self.name = data, error, wcs, scale, psf, name
        self.shape = data.shape
        self.read = []

    noise_correlation = None

    def cutout(self, x0, y0, nx, ny):
        self.read.append((x0, y0, nx, ny))
        big = np.full((ny, nx), np.nan), np.full((ny, nx), np.nan)
        ya, xa = max(y0, 0), max(x0, 0)
        yb, xb = min(y0 + ny, self.shape[0]), min(x0 + nx, self.shape[1])
        for out, source in zip(big, (self.data, self.error), strict=True):
            out[ya - y0 : yb - y0, xa - x0 : xb - x0] = source[ya:yb, xa:xb]
        return big

    def to_pixel(self, ra, dec):
        return self.wcs.all_world2pix(ra, dec, 0)

    def to_sky(self, x, y):
        return self.wcs.all_pix2world(x, y, 0)


class FakeField(dict):
    reference = "F150W"
    galaxies = ()


def polygon_sky(band, points):
    points = np.asarray(points, dtype=float)
    return np.stack(band.to_sky(points[:, 0], points[:, 1]), axis=1)


@pytest.fixture(scope="session")
def mock():
    """A field of one band, with the truth."""
    data, error, truth = make_image()
    band = FakeBand(data, error, make_wcs(*data.shape[::-1]))
    return SimpleNamespace(field=FakeField(F150W=band), band=band, truth=truth, data=data, error=error)


@pytest.fixture(scope="session")
def make():
    """The makers of images, bands and polygons, for tests that need one of their own."""
    return SimpleNamespace(
        image=make_image,
        wcs=make_wcs,
        band=FakeBand,
        field=FakeField,
        polygon=polygon_sky,
        gaussian=gaussian,
        unit_snr=unit_snr,
        std=_STD,
    )
