"""Error bars hold what they promise, and the bootstrap is what a plain reading of the paper gives."""

import numpy as np
import pytest

from sc_lab.catalog import values
from sc_lab.cmf import fit_mass_function
from sc_lab.density_size import dynamical_age, surface_density
from sc_lab.formation import formation_redshift
from sc_lab.mock import make_population
from sc_lab.population import analyse

#: What the quantiles 0.16 and 0.84 hold between them.
PROMISED = 0.68


@pytest.fixture(scope="module")
def mocks():
    return [make_population(n=2540, rng=seed) for seed in (11, 12)]


def truth_of(truth, name):
    """Return the true values of a quantity, from the formulas where the mock does not keep them."""
    mass, r_eff, age = (np.asarray(truth[column].value) for column in ("mass", "r_eff", "age_onset"))
    if name == "sigma_mass":
        return surface_density(mass, r_eff).value
    if name == "dynamical_age":
        return dynamical_age(mass, r_eff, age)
    if name == "z_form":
        return formation_redshift(np.asarray(truth["z"]), age)
    return np.asarray(getattr(truth[name], "value", truth[name]))


@pytest.mark.parametrize("name", ["mass", "r_eff", "mu", "age_onset", "sfr", "sigma_mass", "dynamical_age", "z_form"])
def test_68_percent_intervals_hold_68_percent_of_the_truths(mocks, name):
    inside = below = above = 0
    for mock in mocks:
        population = analyse(mock.catalog)
        true, found = truth_of(mock.truth, name), population.values(name)
        low, high = population.errors(name)
        # A limit of a radius bounds what follows from it on one side; its bar is no interval.
        limited = population.r_eff_is_limit & (name in ("r_eff", "sigma_mass", "dynamical_age"))
        known = np.isfinite(true + found + low + high) & ~limited
        inside += np.count_nonzero((true >= found - low) & (true <= found + high) & known)
        below += np.count_nonzero((true < found - low) & known)
        above += np.count_nonzero((true > found + high) & known)
    n = inside + below + above
    # Of 5080; two fifths have formed no star in the last 10 Myr that could be seen, for a rate that falls with 1 Myr.
    assert n > 2500
    # Binomial noise is 0.7 %; quantiles of 500 draws (or of the posterior's few) narrow the bars by 1 % more.
    assert inside / n == pytest.approx(PROMISED, abs=0.025)
    assert below / n == pytest.approx(above / n, abs=0.04)


def test_limits_of_radii_bound_the_truth_on_their_side(mocks):
    population, truth = analyse(mocks[0].catalog), mocks[0].truth
    limit = population.r_eff_is_limit & ~np.asarray(truth["is_gc"], dtype=bool)
    # At the true magnification, and but for rounding, no limit lies below the truth.
    bound = population.values("r_eff") * values(population.catalog, "mu_t") / np.asarray(truth["mu_t"])
    assert limit.sum() > 50
    assert np.all(truth_of(truth, "r_eff")[limit] < bound[limit] * (1 + 1e-12))
    # Masses and magnifications scatter by tenths of a dex besides.
    assert (truth_of(truth, "sigma_mass")[limit] > population.values("sigma_mass")[limit]).mean() > 0.7


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lens_model": "m3", "mass_max": 5e7, "drop_most_massive": False},
        {"gc_cut": False, "size_threshold": 60.0, "age_max": 30.0},
    ],
)
def test_the_bootstrap_equals_a_plain_loop_that_selects_afresh(mocks, settings):
    population = analyse(mocks[0].catalog[:1200], n_populations=12, seed=7, **settings)
    inside = [population.ids[row] for row in np.flatnonzero(population.gc.inside)]
    population = population.replace(excluded=population.ids[::17], kept=inside[:5])
    chosen, draws = population.settings, population.draws
    top = np.inf if chosen.mass_max is None else chosen.mass_max
    out = {name: population.bootstrap(name) for name in ("power_law", "schechter")}
    for j in (0, 5, 11):
        masses = []
        for row, name in enumerate(population.ids):
            contaminant = chosen.gc_cut and population.gc.inside[row] and name not in population.kept
            if name in population.excluded or contaminant:
                continue
            point_source = population.r_eff_is_limit[row] and np.isnan(population.values("r_eff")[row])
            mass = draws.mass[j, row]
            if not (draws.r_eff[j, row] < chosen.size_threshold or point_source):
                continue
            if draws.age[j, row] < chosen.age_max and chosen.mass_min < mass < top:
                masses.append(mass)
        masses = sorted(masses)[: -1 if chosen.drop_most_massive else None]
        for model, found in out.items():
            assert found["n"][j] == len(masses)
            fit = fit_mass_function(masses, model=model, m_min=chosen.mass_min, m_max=chosen.mass_max)
            for parameter in fit.parameters:
                # The live engine interpolates medians on a coarser grid than a fit; errors are 0.1 and more.
                assert found[parameter][j] == pytest.approx(fit.quantile(parameter, 0.5), abs=2e-3)
