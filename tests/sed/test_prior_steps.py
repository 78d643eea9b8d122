"""What is kept between fits at one redshift: rows of fluxes serve all priors, and never those of other models."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numba
import numpy as np
import pytest

from sc_lab.sed import (
    Fixed,
    Gaussian,
    LogUniform,
    Priors,
    SedModel,
    Uniform,
    _kernels,
    _posterior,
    fit_photometry,
    get_filters,
    make_tables,
    model_fluxes,
    sfh_states,
)
from sc_lab.sed._posterior import compiled, grid_for
from sc_lab.sed._posterior_grid import make_grid, make_rows
from sc_lab.sed.fitting import _order

BANDS = ["F115W", "F150W", "F200W", "F277W", "F356W", "F444W"]
Z = 2.0
MODEL = SedModel(tau=5.0)
TRUTH = {"age": 30.0, "log_mass_formed": 6.5, "metallicity": 0.3, "a_v": 0.3, "log_u": -2.0}

STEPS = {
    "A_V": (Priors(a_v=Uniform(0, 0.63)), ((0.005, 2.5), (0.0, 0.63), (-3.0, -1.0))),
    "age": (Priors(age=Uniform(3.0, 321.0)), ((0.005, 2.5), (0.0, 1.0), (-3.0, -1.0))),
    "metallicity": (Priors(metallicity=LogUniform(0.03, 0.9)), ((0.03, 0.9), (0.0, 1.0), (-3.0, -1.0))),
    "log U": (Priors(log_u=Uniform(-2.3, -1.6)), ((0.005, 2.5), (0.0, 1.0), (-2.3, -1.6))),
    "Gaussians": (
        Priors(a_v=Gaussian(0.3, 0.1), metallicity=Gaussian(0.3, 0.1, low=0.01, high=1.0)),
        ((0.01, 1.0), (0.0, 0.8), (-3.0, -1.0)),
    ),
    "fixed": (
        Priors(age=Fixed(29.0), a_v=Fixed(0.31), metallicity=Fixed(0.4), log_u=Fixed(-2.0)),
        ((0.4, 0.4), (0.31, 0.31), (-2.0, -2.0)),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_priors_share_rows_and_have_the_grid_that_is_made_for_them_alone(name):
    stepped, ranges = STEPS[name]
    filters = get_filters(BANDS)
    usual, _ = Priors().at(Z)
    before = grid_for(MODEL, filters, Z, usual)
    priors, _ = stepped.at(Z)
    grid = grid_for(MODEL, filters, Z, priors)
    assert grid.table is before.table
    rows = make_rows(make_tables(MODEL, filters, Z), sfh_states(MODEL, Z), ranges)
    assert rows.table.size <= grid.table.size
    alone = make_grid(rows, priors, compiled())
    for each in ("age_low", "age_high", "age_mw", "sfr10", "live", "mix", "cumulative", "coarse_volume", "axes"):
        np.testing.assert_array_equal(getattr(grid, each), getattr(alone, each))
    # Four-point interpolation in A_V on other nodes.
    np.testing.assert_allclose(grid.coarse[: len(BANDS) + 1], alone.coarse[: len(BANDS) + 1], rtol=1e-5)


@pytest.mark.parametrize("name", STEPS)
def test_a_fit_after_a_step_is_the_fit_of_a_fresh_session(name):
    flux = model_fluxes(MODEL, BANDS, Z, TRUTH)[0]
    given = {"model": MODEL, "priors": STEPS[name][0], "rng": 1, "n_draws": 300}
    fit_photometry(flux, 0.1 * flux, BANDS, Z, model=MODEL, rng=1, n_draws=10)
    after = fit_photometry(flux, 0.1 * flux, BANDS, Z, **given)
    _posterior._kept.clear()
    fresh = fit_photometry(flux, 0.1 * flux, BANDS, Z, **given)
    assert after.log_evidence == fresh.log_evidence
    for key, values in fresh.samples.items():
        np.testing.assert_array_equal(after.samples[key], values)


def test_wider_priors_have_rows_of_their_own():
    filters = get_filters(BANDS)
    usual, _ = Priors().at(Z)
    grid = grid_for(MODEL, filters, Z, usual)
    for wide in (Priors(a_v=Uniform(0, 2)), Priors(metallicity=LogUniform(1e-3, 5)), Priors(log_u=Uniform(-4, -1))):
        other = grid_for(MODEL, filters, Z, wide.at(Z)[0])
        assert other.table.size > grid.table.size
    assert grid_for(replace(MODEL, tau=6.0), filters, Z, usual).table is not grid.table
    assert grid_for(MODEL, filters, Z, usual) is grid
    assert grid_for(MODEL, filters, Z, usual, distance=1000.0).table is not grid.table


def test_threads_that_want_the_same_rows_make_them_once():
    filters, (priors, _) = get_filters(BANDS), Priors().at(1.234)
    start = threading.Barrier(4)

    def want(_):
        start.wait()
        return grid_for(MODEL, filters, 1.234, priors)

    with ThreadPoolExecutor(4) as pool:
        grids = list(pool.map(want, range(4)))
    assert all(grid is grids[0] for grid in grids)


@pytest.mark.parametrize(
    "model", [MODEL, SedModel(mode="compat"), SedModel(nebular=False)], ids=["fine", "compat", "no gas"]
)
@pytest.mark.parametrize(
    "priors", [Priors(), Priors(metallicity=LogUniform(0.05, 0.1), a_v=Gaussian(0.5, 0.1))], ids=str
)
def test_coarse_cells_have_the_fluxes_of_their_middles(model, priors):
    """The compiled loop goes axis by axis; `model_at` at a single point is the simple way."""
    grid = grid_for(model, get_filters(BANDS), Z, priors.at(Z)[0])
    compiled()
    model_at = numba.njit(_kernels.model_at)
    out = np.empty(grid.coarse.shape[0])
    rng = np.random.default_rng(4)
    for i in rng.integers(grid.coarse.shape[1], size=500):
        model_at(out, 0.5 * (grid.coarse_low[i] + grid.coarse_high[i]), grid.arrays)
        np.testing.assert_allclose(grid.coarse[:, i], out, rtol=1e-6)  # single precision


def test_states_of_all_redshifts_are_those_worked_out_alone():
    """What redshifts share is taken from the history today; the oldest ages are each one's own."""
    from sc_lab.sed.sfh import _derived, state_weights

    for model in (MODEL, SedModel(sfh="constant", duration=10.0), SedModel(sfh="burst")):
        for z in (0.4, 3.0, 9.5):
            states = sfh_states(model, z)
            n_bin = states.base.shape[1]
            # Sums over more ages that add nothing differ in their last digit.
            np.testing.assert_allclose(states.base, state_weights(model, states.line_ages, n_bin=n_bin), atol=1e-14)
            alone = _derived(model, states.bins, 0.5 * (states.age_low + states.age_high), n_bin)
            for name, values in states.derived_at_middles.items():
                np.testing.assert_allclose(values, alone[name], rtol=1e-12)


def test_sources_of_one_redshift_follow_each_other_and_processors_take_turns():
    z = np.array([2.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0])
    assert sorted(_order(z, 2)) == list(range(7))
    assert _order(z, 1) == [1, 4, 0, 2, 5, 3, 6]
    assert list(z[_order(z, 2)][:4]) == [1.0, 2.0, 1.0, 2.0]
    assert math.isclose(z[_order(z, 3)][2], 3.0)
