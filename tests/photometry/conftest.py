"""Lets the tests of this folder share the scenes of known truth."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from photometry_scenes import make_boxes, make_small_field

from sc_lab.photometry import prepare


@pytest.fixture(scope="session")
def compiled():
    """The compiled engine, compiled here if this machine has not done so yet."""
    prepare()
    return "compiled"


@pytest.fixture(scope="session")
def mixed_boxes():
    """300 clumps of all sizes and strengths, five noise realisations each."""
    return make_boxes(300, seed=11, realisations=5)


@pytest.fixture(scope="session")
def small_field():
    """60 clumps, six of them in pairs, in six bands of two pixel scales."""
    return make_small_field(60, pairs=3, snr=(15, 100))
