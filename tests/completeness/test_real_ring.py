"""Injection and recovery in real pixels: the COSMOS-Web Ring in F150W, whose error map is floored."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.completeness import inject_recover
from sc_lab.images import Field

pytestmark = pytest.mark.real_data

#: Depth of empty apertures of 0.15 arcsec radius at 5 sigma, measured on this image.
APERTURE_DEPTH = 27.62


def test_ring_is_as_deep_as_its_empty_apertures_and_pulls_tell_of_its_error_map(real_data):
    folder = real_data / "imaging" / "cosmos_web_ring"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: the images of the COSMOS-Web Ring")
    paths = {kind: {"F150W": folder / f"F150W_{kind}.fits.gz"} for kind in ("data", "noise_map", "psf")}
    options = {"errors": paths["noise_map"], "psfs": paths["psf"], "units": "MJy/sr", "pixel_scales": 0.03}
    fields = {
        "map": Field.from_files(paths["data"], psf_scales=0.03, **options),
        "measured": Field.from_files(paths["data"], psf_scales=0.03, noise_scale="measure", **options),
    }
    widths = {}
    for name, field in fields.items():
        result = inject_recover(field, region="all", sizes=[0.0, 1.0], axis_ratios=[1.0], mode="full", n=2000, rng=1)
        bright = result.magnitudes[4]
        widths[name] = {key: pull.width for key, pull in result.pulls(brighter=bright).items()}
        limit = float(result.limit(0.5, 0.0))
        print(name, limit, widths[name], result.confusion(brighter=bright).tolist())
        # Half of the points are found near 5 sigma of an optimal aperture, which beats one of 0.15 arcsec by 0.3 to
        # 0.9 mag for a PSF of 0.06 arcsec, less what the map's floor takes away.
        assert APERTURE_DEPTH - 0.3 < limit < APERTURE_DEPTH + 1.0
        assert np.abs(result.flux_bias().median[:5, 0]).max() < 0.03  # bright points: S/N above 40
    # The map is 1.5 times the scatter of the pixels; scaled to it the pulls come back to one.
    assert widths["map"]["flux"] < 0.85
    for key, width in widths["measured"].items():
        assert width == pytest.approx(1.0, abs=0.2), key  # neighbours and the floor's unevenness
