"""Priors that reach beyond a library: the same cut and the same words for every engine."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.sed import Fixed, Gaussian, LogUniform, Priors, SedModel, Uniform
from sc_lab.sed._continuity import StudentT
from sc_lab.sed._library_limits import inside_library, unchanging_metallicities
from sc_lab.sed.bagpipes_engine import _source


def test_log_u_is_cut_where_the_library_ends():
    cut, said = inside_library(Priors(log_u=Uniform(-9, 3)), SedModel())
    assert (cut.log_u.low, cut.log_u.high) == (-4.0, 0.0)
    assert said == ("the prior of log_u was cut at the ends of the library, -4 to 0",)
    assert inside_library(Priors(log_u=Gaussian(-2, 0.3)), SedModel())[1] == ()  # next to nothing is lost
    assert inside_library(Priors(), SedModel()) == (Priors(), ())
    with pytest.raises(InputError, match="log U from -4 to 0"):
        inside_library(Priors(log_u=Fixed(1.0)), SedModel())
    assert inside_library(Priors(log_u=Fixed(1.0)), SedModel(nebular=False))[1] == ()


def test_bagpipes_is_asked_for_no_log_u_outside_its_grid():
    one, used = np.ones(3), np.ones(3, dtype=bool)

    def source(prior):
        return _source(one, one, used, 2.0, SedModel(), Priors(log_u=prior), StudentT(), None, None, 1)

    assert list(source(Uniform(-9, 3)).job["parameters"]["nebular:logU"]["limits"]) == [-4.0, 0.0]
    assert any("log_u was cut" in each for each in source(Uniform(-9, 3)).cautions)
    with pytest.raises(InputError, match="log U from -4 to 0"):
        source(Fixed(2.0))


def test_metallicities_without_models_of_their_own_are_named_at_both_ends():
    nodes = np.array([0.1, 1.0])
    both = unchanging_metallicities(LogUniform(0.01, 10), nodes)
    assert [each.split(" %")[0] for each in both] == ["33", "33"]  # a third of the three decades on each side
    assert "below the library's lowest, 0.1 solar" in both[0]
    assert "above its highest, 1 solar" in both[1]
    assert unchanging_metallicities(Uniform(0.1, 1.0), nodes) == []
    assert unchanging_metallicities(Fixed(5.0), nodes) == []
