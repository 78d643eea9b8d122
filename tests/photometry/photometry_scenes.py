"""Clumps of known truth for the tests and the benchmark of the photometry: boxes, small fields, an independent renderer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from astropy.wcs import WCS

from sc_lab.images import Field, Psf
from sc_lab.mock.psfs import FILTERS, synthesise_psf
from sc_lab.photometry import make_kernel, render

SCALES = {"F115W": 0.02, "F150W": 0.02, "F200W": 0.02, "F277W": 0.04, "F356W": 0.04, "F444W": 0.04}


def psf_of(band="F150W", size=101, scale=None) -> Psf:
    """Return the PSF of a segmented aperture, cut to a stamp that knows its energy."""
    scale = FILTERS[band].pixel_scale if scale is None else scale
    whole = synthesise_psf(band).sampled(scale)
    middle, half = whole.shape[0] // 2, size // 2
    stamp = whole[middle - half : middle + half + 1, middle - half : middle + half + 1]
    return Psf(stamp, scale, energy_fraction=float(stamp.sum()), band=band)


def covariance(std_maj, ratio, theta) -> np.ndarray:
    """Return (n, 3) Cxx, Cyy, Cxy."""
    large, small = np.square(std_maj), np.square(np.multiply(ratio, std_maj))
    c, s = np.cos(theta), np.sin(theta)
    return np.stack([c**2 * large + s**2 * small, s**2 * large + c**2 * small, c * s * (large - small)], axis=-1)


def dense_render(band: str, flux, x, y, shape, size, fine=8, scale=0.02) -> np.ndarray:
    """Draw one clump by summing shifted copies of the exact PSF over a dense grid: no Fourier transform of the clump.

    The PSF is known as a closed-form spectrum, so it is sampled anew at every needed offset; the clump is a
    Gaussian quadrature of points along its axes.
    """
    spectrum = synthesise_psf(band).spectrum
    half = spectrum.shape[0] // 2
    k = np.arange(-half, half + 1) / 6.0 * scale  # cycles per pixel; the box of the spectrum is 6 arcsec
    matrix = np.array([[shape[0], shape[2]], [shape[2], shape[1]]])
    values, axes = np.linalg.eigh(matrix)
    nodes, weights = np.polynomial.hermite_e.hermegauss(fine)
    weights = weights / weights.sum()
    a, b = (each.ravel() for each in np.meshgrid(nodes, nodes))
    weight = np.outer(weights, weights).ravel()
    dx, dy = axes @ (np.sqrt(np.maximum(values, 0))[:, None] * [a, b])
    at = np.arange(size)
    ex = np.exp(2j * np.pi * (at - x - dx[:, None])[..., None] * k)  # (nodes, pixels, frequencies)
    ey = np.exp(2j * np.pi * (at - y - dy[:, None])[..., None] * k) * weight[:, None, None]
    rows = (ey.reshape(-1, k.size) @ spectrum).reshape(ey.shape)
    image = rows.swapaxes(0, 1).reshape(size, -1) @ ex.swapaxes(0, 1).reshape(size, -1).T
    return flux * image.real * (scale / 6.0) ** 2


@dataclass
class Boxes:
    """A stack of boxes and their truth; ``place`` is (n, clumps, 5): x, y, Cxx, Cyy, Cxy."""

    data: np.ndarray
    sigma: np.ndarray
    kernel: Any
    place: np.ndarray
    flux: np.ndarray
    snr: np.ndarray
    std_maj: np.ndarray
    std_min: np.ndarray
    start: np.ndarray


def make_boxes(
    n,
    *,
    seed=1,
    box=9,
    snr=(5, 100),
    std=(0.0, 2.5),
    gain=80.0,
    apart=None,
    correlated=None,
    realisations=1,
    band="F150W",
) -> Boxes:
    """Draw clumps on tilted planes, with sky noise of 1 and the Poisson noise of the clump.

    ``gain``: photons in one sky rms; 40 hours of F150W have about 80 in a 20 mas pixel.
    ``apart`` = (least, most) separation makes pairs; ``correlated`` is a kernel that the noise is convolved with.
    """
    rng = np.random.default_rng(seed)
    n_sources = 1 if apart is None else 2
    kernel = make_kernel(psf_of(band), (box, box))
    middle = 0.5 * (box - 1)
    place, flux = np.empty((n, n_sources, 5)), np.empty((n, n_sources))
    strength, major, minor = (np.empty((n, n_sources)) for _ in range(3))
    model = np.zeros((n, box, box))
    for s in range(n_sources):
        std_maj, ratio = rng.uniform(*std, n), rng.uniform(0.3, 1, n)
        place[:, s, :2] = middle + rng.uniform(-0.5, 0.5, (n, 2))
        place[:, s, 2:] = covariance(std_maj, ratio, rng.uniform(0, np.pi, n))
        major[:, s], minor[:, s] = std_maj, std_maj * ratio
        strength[:, s] = np.exp(rng.uniform(*np.log(snr), n))
    if apart is not None:
        distance, angle = rng.uniform(*apart, n), rng.uniform(0, 2 * np.pi, n)
        offset = 0.5 * distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        place[:, 0, :2] = middle + 0.5 * (place[:, 0, :2] - middle) - offset
        place[:, 1, :2] = place[:, 0, :2] + 2 * offset
    for s in range(n_sources):
        unit = render(kernel, 1.0, place[:, s, 0], place[:, s, 1], place[:, s, 2:], size=(box, box))
        flux[:, s] = strength[:, s] / np.sqrt((unit**2).sum((1, 2)))
        model += unit * flux[:, s, None, None]
    row, column = np.indices((box, box)) - middle
    slopes = rng.normal(0, [[3.0, 0.3, 0.3]], (n, 3))
    plane = slopes[:, 0, None, None] + slopes[:, 1, None, None] * column + slopes[:, 2, None, None] * row

    def repeated(a):
        return np.repeat(a, realisations, axis=0)

    sigma = np.sqrt(1 + np.maximum(repeated(model), 0) / gain)
    data = repeated(model + plane) + sigma * _noise(rng, (n * realisations, box, box), correlated)
    start = repeated(place)[..., :2] + rng.uniform(-0.4, 0.4, (n * realisations, n_sources, 2))
    return Boxes(
        data,
        sigma,
        kernel,
        repeated(place),
        repeated(flux),
        repeated(strength),
        repeated(major),
        repeated(minor),
        start,
    )


def _noise(rng, shape, correlated):
    """Return unit noise, white or convolved with a small kernel."""
    if correlated is None:
        return rng.normal(size=shape)
    kernel = np.asarray(correlated, dtype=float)
    kernel = kernel / np.sqrt((kernel**2).sum())
    half = kernel.shape[0] // 2
    white = rng.normal(size=(shape[0], shape[1] + 2 * half, shape[2] + 2 * half))
    out = np.zeros(shape)
    for (j, i), value in np.ndenumerate(kernel):
        out += value * white[:, j : j + shape[1], i : i + shape[2]]
    return out


def autocorrelation(kernel) -> np.ndarray:
    """Return the correlation of white noise convolved with a kernel."""
    kernel = np.asarray(kernel, dtype=float)
    n = 2 * kernel.shape[0] - 1
    spectrum = np.abs(np.fft.fft2(kernel, (n, n))) ** 2
    rho = np.fft.fftshift(np.fft.ifft2(spectrum).real)
    return rho / rho.max()


def tangent_wcs(scale, size) -> WCS:
    """Return a plain WCS whose middle is the middle of the image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [342.18, -44.53]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    wcs.wcs.crpix = [size / 2 + 0.5] * 2
    return wcs


def make_small_field(
    n=60, *, size=400, seed=1, snr=(10, 100), std=(0.0, 2.0), pairs=0, bands=SCALES, registration=0.0, noise=1.0
):
    """Return a field of clumps of equal flux in every band, its list of positions and its truth.

    The first ``2 * pairs`` clumps are pairs 3.5 px apart; ``registration`` shifts each other band by a normal
    deviate in its pixels.
    """
    rng = np.random.default_rng(seed)
    shape = covariance(rng.uniform(*std, n), rng.uniform(0.3, 1, n), rng.uniform(0, np.pi, n))
    side = int(np.ceil(np.sqrt(n)))
    cell = (size - 30) / side
    spot = rng.permutation(side * side)[:n]
    x = 15 + (spot % side + rng.uniform(0.4, 0.6, n)) * cell
    y = 15 + (spot // side + rng.uniform(0.4, 0.6, n)) * cell
    for i in range(pairs):
        angle = rng.uniform(0, 2 * np.pi)
        x[2 * i + 1], y[2 * i + 1] = x[2 * i] + 3.5 * np.cos(angle), y[2 * i] + 3.5 * np.sin(angle)
    ra, dec = tangent_wcs(0.02, size).all_pix2world(np.column_stack([x, y]), 0).T
    psfs = {band: psf_of(band) for band in bands}
    unit = render(psfs["F150W"], 1.0, 15.0, 15.0, shape, size=(31, 31))
    flux = np.exp(rng.uniform(*np.log(snr), n)) * noise / np.sqrt((unit**2).sum((1, 2)))
    images, errors, wcs = {}, {}, {}
    for band, scale in bands.items():
        pixels = round(size * 0.02 / scale)
        wcs[band] = tangent_wcs(scale, pixels)
        image = rng.normal(0, noise, (pixels, pixels))
        bx, by = wcs[band].all_world2pix(np.column_stack([ra, dec]), 0).T
        if band != "F150W":
            bx, by = bx + registration * rng.normal(), by + registration * rng.normal()
        ix, iy = np.rint(bx).astype(int), np.rint(by).astype(int)
        stamps = render(psfs[band], flux, bx - ix + 20, by - iy + 20, shape * (0.02 / scale) ** 2, size=(41, 41))
        padded = np.pad(image, 40)
        for stamp, i, j in zip(stamps, ix, iy, strict=True):
            padded[j + 20 : j + 61, i + 20 : i + 61] += stamp
        images[band], errors[band] = padded[40:-40, 40:-40], np.full(image.shape, noise)
    field = Field.from_arrays(images, errors=errors, psfs=psfs, wcs=wcs, units="nJy")
    table = QTable({"id": [f"c{i}" for i in range(n)], "ra": ra * u.deg, "dec": dec * u.deg})
    return field, table, {"x": x, "y": y, "shape": shape, "flux": flux}
