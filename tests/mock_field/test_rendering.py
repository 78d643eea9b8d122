"""The painter agrees with the Fourier series of the PSF summed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.mock.psfs import BOX, FILTERS, synthesise_psf
from sc_lab.mock.rendering import Canvas, Gaussians

_N = 120


def _exact(band: str, x: float, y: float, cov: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a unit source by the sum of its Fourier series at every pixel centre."""
    psf, scale = synthesise_psf(band), FILTERS[band].pixel_scale
    half = psf.spectrum.shape[0] // 2
    k = np.arange(-half, half + 1) / BOX
    spread = cov[0, 0] * k[None, :] ** 2 + cov[1, 1] * k[:, None] ** 2 + 2 * cov[0, 1] * k[None, :] * k[:, None]
    spectrum = psf.spectrum * np.exp(-2 * np.pi**2 * spread)
    down = np.exp(2j * np.pi * np.outer((np.arange(shape[0]) + 0.5) * scale - y, k))
    right = np.exp(2j * np.pi * np.outer(k, (np.arange(shape[1]) + 0.5) * scale - x))
    return (down @ spectrum @ right).real * (scale / BOX) ** 2


@pytest.mark.parametrize(
    ("band", "limit"),
    [
        # Four fine pixels for three coarse ones hold frequencies up to 2/3 cycle per pixel; the shortest band has some
        # beyond, where its transfer function is below 1e-3. The long bands' wings are cut at the box, the series' are not.
        ("F090W", 1e-4),
        ("F115W", 1e-5),
        ("F150W", 1e-8),
        ("F200W", 1e-8),
        ("F277W", 5e-7),
        ("F444W", 5e-7),
    ],
)
@pytest.mark.parametrize("shape", [(0.0, 0.0, 0.0), (0.03, 0.02, 0.5), (0.08, 0.03, -0.7)])
def test_agrees_with_the_exact_series(band: str, limit: float, shape: tuple[float, float, float]) -> None:
    scale = FILTERS[band].pixel_scale
    x, y = 0.51237 * _N * scale, 0.48712 * _N * scale
    sx, sy, rho = shape
    cov = np.array([[sx**2, rho * sx * sy], [rho * sx * sy, sy**2]])
    canvas = Canvas((_N, _N + 6), scale, Gaussians(np.array([x]), np.array([y]), cov[None]))
    found = canvas.paint(np.array([2.0]), synthesise_psf(band))
    wanted = 2.0 * _exact(band, x, y, cov, (_N, _N + 6))
    middle = slice(_N // 2 - 15, _N // 2 + 16)
    # Broad shapes in the long channel reach the cut of the PSF's box, which the series does not have.
    spare = 3e-5 if sx > 0 and scale > 0.03 else 0.0
    assert np.abs(found - wanted)[middle, middle].max() < (limit + spare) * wanted.max()


def test_a_source_beyond_the_edge_only_sends_its_wings() -> None:
    canvas = Canvas((100, 100), 0.02, Gaussians(np.array([-0.4]), np.array([1.0]), np.zeros((1, 2, 2))))
    picture = canvas.paint(np.array([1.0]), synthesise_psf("F150W"))
    # Nothing comes back at the far side but what the wings at 2.4 arcsec hold.
    assert picture[:, :20].sum() > 20 * picture[:, -20:].sum()
    assert abs(picture[:, -20:]).max() < 1e-5


def test_flat_light_stays_flat_to_its_edges() -> None:
    canvas = Canvas((90, 120), 0.02, Gaussians(np.empty(0), np.empty(0), np.empty((0, 2, 2))))
    picture = canvas.paint(np.empty(0), synthesise_psf("F150W"), smooth=np.full((90, 120), 3.0))
    assert np.allclose(picture, 3.0, rtol=1e-12)


def test_an_edge_sees_its_own_neighbours() -> None:
    """Light continues beyond each edge as it is there, not as at the far side."""
    canvas = Canvas((90, 90), 0.02, Gaussians(np.empty(0), np.empty(0), np.empty((0, 2, 2))))
    ramp = np.linspace(0.0, 100.0, 90)[None, :] * np.ones((90, 1))
    picture = canvas.paint(np.empty(0), synthesise_psf("F150W"), smooth=ramp)
    # The PSF's wings average a ramp that bends at the edge: a few per cent of its range, no jump to the other end.
    assert np.abs(picture - ramp).max() < 8.0
