"""Samples with known truth, shared by the mass-function tests."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.cmf import draw_masses, mass_function

M_MIN = 2e6
TRUTH = {"power_law": {"beta": -1.89}, "schechter": {"beta": -1.7, "log_mc": 8.14}}


@pytest.fixture(params=sorted(TRUTH))
def model(request):
    return request.param


@pytest.fixture
def masses(model):
    """60 objects, as many as the paper has, drawn from its best solution of the model."""
    return draw_masses(60, mass_function(model, M_MIN), rng=7, **TRUTH[model])


@pytest.fixture
def sixty():
    """The fixed Schechter sample on which the samplers are compared."""
    return draw_masses(60, mass_function("schechter", M_MIN), rng=2026, **TRUTH["schechter"])


def sums(masses):
    return len(masses), np.log(masses).sum(), masses.sum()
