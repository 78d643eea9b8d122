"""Injected clumps against clumps that were in the images all along, drawn by another renderer: the mock field."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from scipy.spatial import cKDTree

from sc_lab.completeness import inject_recover
from sc_lab.detection import detect_clumps
from sc_lab.images.galaxy import galaxy_at
from sc_lab.mock import make_field


@pytest.mark.slow
def _foretold(seed):
    """Return magnitude, chance by injections and whether it was found, for each lonely clump of a mock field."""
    field = make_field(seed=seed, size=20 * u.arcsec, bands=("F150W",))
    result = inject_recover(field, sizes=[0.0, 0.5, 1.0, 2.0, 4.0], n=2000, fit=False, rng=1)
    truth, found = field.truth, detect_clumps(field)
    x, y = (np.asarray(truth[name], dtype=float) for name in ("x", "y"))
    ra, dec = (u.Quantity(truth[name]).value for name in ("ra", "dec"))
    xx, yy, xy = (np.asarray(truth[f"cov_{name}"], dtype=float) for name in ("xx", "yy", "xy"))
    size = np.maximum(xx * yy - xy**2, 0.0) ** 0.25
    with np.errstate(divide="ignore", invalid="ignore"):
        mag = 31.4 - 2.5 * np.log10(u.Quantity(truth["flux_f150w"]).to_value(u.nJy))
    alone = cKDTree(np.stack([x, y], axis=1)).query(np.stack([x, y], axis=1), k=2)[0][:, 1] > 6
    inside = np.array([galaxy_at(field.galaxies, *place) is not None for place in zip(ra, dec, strict=True)])
    # Where the chance falls: neither all nor none are found there. Pairs are another matter: they merge.
    used = alone & inside & (size < 4) & (mag > result.magnitudes[0]) & (mag < result.magnitudes[-1])
    used &= np.asarray(truth["kind"]) == "clump"
    seen = cKDTree(np.stack([found["x"], found["y"]], axis=1)).query(np.stack([x, y], axis=1)[used])[0] <= 2
    return mag[used], result.probability(mag[used], size[used]), seen


def test_completeness_foretells_how_many_of_the_mocks_own_clumps_are_detected():
    """Each clump of the truth is found with the chance that injections of its magnitude and size were.

    Two fields together: the clumps of one galaxy share its brightness, so that one field of some dozen galaxies is off
    by up to three and a half binomial deviations, to either side.
    """
    fields = [_foretold(seed) for seed in (3, 5)]
    mag, chance, seen = (np.concatenate(parts) for parts in zip(*fields, strict=True))
    assert len(mag) > 100
    sigma = np.sqrt((chance * (1 - chance)).sum())
    # Clumps that stand alone are less crowded than places of chance: a few more are found than foretold.
    assert -3 * sigma < seen.sum() - chance.sum() < 4 * sigma
    # Bright and faint halves apart, so that one does not make up for the other.
    middle = np.median(mag)
    for half in (mag < middle, mag >= middle):
        error = np.sqrt((chance[half] * (1 - chance[half])).sum())
        assert abs(seen[half].sum() - chance[half].sum()) < 4 * max(error, 1.0)
