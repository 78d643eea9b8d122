"""Fits on published mosaics: errors on real correlated noise, and a lensed ring from end to end."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from photometry_scenes import covariance

from sc_lab.images import Field
from sc_lab.photometry import fit_boxes, fit_clumps, make_kernel, render, render_clumps

pytestmark = pytest.mark.real_data


def width(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


@pytest.mark.filterwarnings("ignore::sc_lab.errors.ScLabWarning")
@pytest.mark.parametrize("band", ["F150W", "F444W"])
def test_pulls_have_width_one_in_the_sky_of_el_gordo(real_data, band):
    """Neighbouring pixels of these mosaics share 40 to 85 % of their noise; clumps are added to blank sky."""
    sky = real_data / "imaging" / "elgordo_a0102_id224" / f"{band}_matched_sky.fits.gz"
    psf = real_data / "imaging" / "psf" / "smacs0723_40mas" / "F444W.fits.gz"
    if not sky.exists() or not psf.exists():
        pytest.skip("the folder of real data has no imaging/elgordo_a0102_id224")
    image = Field.from_files({band: sky}, psfs={band: psf}, psf_scales={band: 0.04})[band]
    rng = np.random.default_rng(1)
    corners = rng.integers(0, np.array(image.shape[::-1]) - 9, (3000, 2))
    boxes = np.array([image.cutout(*corner, 9, 9) for corner in corners])
    blank = np.isfinite(boxes).all((1, 2, 3)) & (np.abs(boxes[:, 0]).max((1, 2)) < 6 * image.sky_scatter)
    data, error = boxes[blank, 0], boxes[blank, 1]
    n = len(data)
    assert n > 1500
    kernel = make_kernel(image.psf, (9, 9), pixel_scale=image.pixel_scale)
    shape = covariance(rng.uniform(0.7, 1.5, n), rng.uniform(0.6, 1, n), rng.uniform(0, np.pi, n))
    x, y = 4 + rng.uniform(-0.4, 0.4, (2, n))
    unit = render(kernel, 1.0, x, y, shape, size=(9, 9))
    flux = rng.uniform(60, 150, n) * image.sky_scatter / np.sqrt((unit**2).sum((1, 2)))
    widths = {}
    for name, rho in (("plain", None), ("aware", image.noise_correlation)):
        fits = fit_boxes(data + unit * flux[:, None, None], error, kernel, x=x, y=y, noise_correlation=rho)
        error_c = np.sqrt(np.einsum("nii->ni", fits.shape_covariance[:, 0]))
        widths[name] = [
            width((fits.flux[:, 0] - flux) / fits.flux_err[:, 0]),
            width((fits.x[:, 0] - x) / fits.x_err[:, 0]),
            *(width(p) for p in ((fits.shape[:, 0] - shape) / error_c).T),
        ]
    assert min(widths["plain"]) > 1.3
    # The boxes overlap and the sky's scatter varies by 10 % over the field: 0.97 to 1.09 was seen in three bands.
    assert min(widths["aware"]) > 0.88
    assert max(widths["aware"]) < 1.15


@pytest.mark.filterwarnings("ignore::sc_lab.errors.ScLabWarning")
def test_knots_of_the_cosmos_web_ring_are_measured_in_four_bands(real_data):
    folder = real_data / "imaging" / "cosmos_web_ring"
    if not folder.exists():
        pytest.skip("the folder of real data has no imaging/cosmos_web_ring")
    scale = {"F115W": 0.03, "F150W": 0.03, "F277W": 0.06, "F444W": 0.06}
    paths = {kind: {band: folder / f"{band}_{kind}.fits.gz" for band in scale} for kind in ("data", "noise_map", "psf")}
    field = Field.from_files(
        paths["data"], errors=paths["noise_map"], psfs=paths["psf"], units=dict.fromkeys(scale, "MJy/sr"),
        pixel_scales=scale, psf_scales=scale,
    )  # fmt: skip
    x, y = np.array([225.5, 231.2, 212.0, 235.1, 182.1, 182.9]), np.array([169.9, 222.1, 239.0, 214.5, 207.6, 215.4])
    ra, dec = field["F150W"].to_sky(x, y)
    knots = QTable({"id": list("abcdef"), "ra": ra * u.deg, "dec": dec * u.deg})
    for mode in ("paper", "full"):
        fits = fit_clumps(field, knots, reference="F150W", mode=mode)
        assert (fits["snr"] > 8).all()  # seen by eye; the peaks stand 6 to 16 sigma above their surroundings
        for band in scale:
            assert np.isfinite(fits[f"flux_{band.lower()}"].value).all()
            assert (fits[f"flux_{band.lower()}_err"] > 0).all()
    data, error = field["F150W"].cutout(160, 160, 100, 100)
    model = render_clumps(field, fits, "F150W", 160, 160, 100, 100)
    near = model > 0.2 * model.max()
    assert np.abs((data - model) / error)[near].mean() < np.abs(data / error)[near].mean()
