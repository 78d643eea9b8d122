"""The demonstration: the default field holds what the picture promises."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.mock import MockField, make_field
from sc_lab.mock.psfs import FILTERS


@pytest.fixture(scope="module")
def demonstration() -> MockField:
    """Return the field that `make lab` opens."""
    return make_field(seed=1)


def test_has_nine_bands_of_thirty_arcsec(demonstration: MockField) -> None:
    assert demonstration.names == tuple(FILTERS)
    assert len(demonstration.names) == 9
    for name in demonstration:
        band = demonstration[name]
        assert band.shape == (round(30 / band.pixel_scale),) * 2
        assert band.psf is not None
        data, error = band.cutout(0, 0, *band.shape)
        assert np.isfinite(data).all()
        assert (error > 0).all()
    assert demonstration.reference == "F150W"
    assert demonstration.cautions == ()


def test_has_systems_of_multiple_images_with_clumps_to_find(demonstration: MockField) -> None:
    systems = [galaxy.system for galaxy in demonstration.galaxies]
    assert sum(systems.count(each) > 1 for each in set(systems)) >= 5
    truth = demonstration.truth
    clumps = truth[(truth["kind"] == "clump") & (truth["snr"] > 5)]
    assert len(clumps) > 200
    sources, images = np.unique(clumps["source"], return_counts=True)
    assert (images > 1).sum() > 30
    assert (truth["kind"] == "gc").sum() > 50
    assert (truth["kind"] == "star").sum() >= 6
    assert len(np.unique(truth["id"])) == len(truth)
    del sources


def test_truth_of_the_masses_is_the_stated_mass_function(demonstration: MockField) -> None:
    """Sources up to the size of a cluster follow the Schechter function of table 2 of the paper, above the lowest mass."""
    from scipy.stats import kstest

    masses = []
    for seed in range(1, 9):
        field = make_field(seed=seed, size=14.0, bands=["F150W"], galaxies=8)
        truth = field.truth
        own = truth[(truth["kind"] == "clump") & (truth["r_eff"].value <= 25.0)]
        masses += own["mass"].value[np.unique(own["source"], return_index=True)[1]].tolist()
    said = demonstration.truth.meta["mass_function"]
    grid = np.geomspace(said["above"], 1e10, 4001)
    density = grid ** said["beta"] * np.exp(-grid / 10 ** said["log_mc"])
    steps = np.diff(grid) * 0.5 * (density[1:] + density[:-1])
    cumulative = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
    assert len(masses) > 300  # success trivial otherwise
    # The chance of a smaller p is 1e-3 for a right sample; a slope off by 0.2 would give 1e-4 with 300 masses.
    assert kstest(masses, lambda m: np.interp(m, grid, cumulative)).pvalue > 1e-3
