"""The chance to be detected inside the normalisation: closed forms, known truths, calibration, and refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit

from sc_lab.cmf import (
    MassFunctionGrid,
    Selection,
    bootstrap_mass_function,
    draw_masses,
    fit_mass_function,
    mass_function,
    posterior_predictive,
)
from sc_lab.cmf.selection import with_selection
from sc_lab.errors import InputError

M_MIN = 2e6
Q = [0.16, 0.5, 0.84]
PARAMETERS = {"power_law": {"beta": -1.89}, "schechter": {"beta": -1.7, "log_mc": 8.14}}


def rising(mass):
    """Half of the objects of 5e6 Msun are found, nearly none at m_min, nearly all at 2e7."""
    return expit((np.log10(mass) - 6.7) / 0.1)


def detected(n, model, selection, rng, m_max=None, **parameters):
    """Draw detected masses: parents kept with their chance, until there are n."""
    out = np.empty(0)
    while len(out) < n:
        mass = draw_masses(4 * n, mass_function(model, M_MIN, m_max), rng=rng, **parameters)
        out = np.append(out, mass[rng.random(len(mass)) < selection(mass)])
    return out[:n]


def sums(mass):
    return len(mass), np.log(mass).sum(), mass.sum()


def test_chances_are_linear_in_ln_mass_and_stay_beyond_the_table():
    table = Selection([1e6, 1e7, 1e8], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(table([1e6, 10**6.5, 1e7, 10**7.25, 1e12]), [0.1, 0.3, 0.5, 0.6, 0.9], rtol=1e-12)
    each = Selection([1e6, 1e8], [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(each([10**6.5, 10**6.5]), [0.25, 0.75], rtol=1e-12)  # rounding
    assert table.n_objects is None
    assert each.n_objects == 2
    assert each.rows([1]).n_objects == 1
    assert table.rows([1]) is table


def test_table_made_from_a_function_follows_it_even_over_a_step():
    table = Selection.from_function(rising, M_MIN)
    mass = np.geomspace(M_MIN, 1e12, 5000)
    # Twice the tolerance that is asked for: the mesh tests the middle of a step, not its worst place.
    np.testing.assert_allclose(table(mass), rising(mass), atol=2e-4, rtol=0)
    step = Selection.from_function(lambda mass: mass > 3e6, M_MIN)
    # The flank is as wide as the last halving leaves it, 2.5e-5 in ln M.
    assert step([3e6 * (1 - 3e-5), 3e6 * (1 + 3e-5)]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("m_max", [math.inf, 3e8])
@pytest.mark.parametrize("model", sorted(PARAMETERS))
def test_normalisation_and_survival_are_the_integrals_of_model_times_chance(model, m_max):
    table = Selection([1e6, 3e6, 4e6, 2e7, 5e7, 2e8], [0.0, 0.1, 0.15, 0.9, 0.6, 0.8])
    function = with_selection(mass_function(model, M_MIN, None if math.isinf(m_max) else m_max), table)
    for beta, *log_mc in [(-2.9, 6.4), (-1.89, 8.1), (-1.3, 8.9)]:
        parameters = (beta, *log_mc[: model == "schechter"])
        t = 10 ** (math.log10(M_MIN) - parameters[1]) if model == "schechter" else 0.0

        def integrand(y, beta=beta, t=t):
            return table(M_MIN * math.exp(y)) * math.exp((beta + 1) * y - t * math.exp(y))

        def integral(low, f=integrand, t=t):
            # Ends at the bends of the table and well beyond any tail: exp(-0.3 * 60) = 1e-8.
            top = min(math.log(m_max / M_MIN), 9.0 if t else 120.0)
            ends = np.unique(np.clip([low, *np.log(table.mass / M_MIN), 3.0, 6.0, 20.0, top], low, top))
            return sum(integrate.quad(f, a, b, epsabs=0, epsrel=1e-12)[0] for a, b in pairwise(ends))

        whole = integral(0.0)
        # The panels are good to 1e-13; quad to 1e-12 and, for beta = -1.3, its end at exp(-36).
        assert float(function.log_norm(*parameters)) == pytest.approx(math.log(whole), abs=1e-10)
        if model == "schechter":
            table_value = function.log_norm_table(np.array([beta]), np.array([parameters[1]]))[0, 0]
            assert table_value - t == pytest.approx(math.log(whole), abs=1e-10)  # the same
        points = np.array([1e6, M_MIN, 3.3e6, 2e7, 2.5e8, 1e9])
        survival = function.survival(points, *(np.array([p]) for p in parameters))[0]
        for mass, got in zip(points, survival, strict=True):
            y = math.log(max(mass, M_MIN) / M_MIN)
            expected = integral(y) / whole if y < math.log(m_max / M_MIN) else 0.0
            assert got == pytest.approx(expected, rel=1e-9, abs=1e-14)  # as above, twice


@pytest.mark.parametrize("model", sorted(PARAMETERS))
def test_detecting_everything_changes_nothing(model):
    mass = draw_masses(60, mass_function(model, M_MIN), rng=1, **PARAMETERS[model])
    plain = fit_mass_function(mass, model=model)
    for chance in (1.0, 0.3):  # a constant chance cancels
        fit = fit_mass_function(mass, model=model, selection=lambda m, c=chance: np.full(m.shape, c))
        for name in fit.parameters:
            # The normalisations are good to 1e-9, times 60 objects.
            np.testing.assert_allclose(fit.quantile(name, Q), plain.quantile(name, Q), atol=1e-6)
        # A constant chance is in the density of the detected above and below: the evidence is that of the plain fit.
        assert fit.log_evidence == pytest.approx(plain.log_evidence, abs=1e-6)


def test_detecting_nothing_below_a_mass_is_the_same_as_fitting_above_it():
    """For a power law, whose shape above the step does not know of m_min."""
    edge = 5e6
    mass = draw_masses(60, mass_function("power_law", edge), rng=2, beta=-1.89)
    above = fit_mass_function(mass, model="power_law", m_min=edge)
    step = fit_mass_function(mass, model="power_law", selection=Selection([1e6, edge, edge * (1 + 1e-9)], [0, 0, 1]))
    np.testing.assert_allclose(step.quantile("beta", Q), above.quantile("beta", Q), atol=1e-6)  # the flank of 1e-9
    assert step.log_evidence == pytest.approx(above.log_evidence, abs=1e-6)  # the same


@pytest.mark.parametrize("model", sorted(PARAMETERS))
def test_chance_that_is_a_power_of_mass_shifts_the_slope_by_that_power(model):
    """M^beta times (M / m_max)^a is M^(beta + a): the fit without a selection, with its prior shifted, is the truth."""
    power, m_max = 0.4, 1e9
    mass = draw_masses(60, mass_function(model, M_MIN, m_max), rng=3, **PARAMETERS[model])
    options = {"model": model, "m_max": m_max}
    fit = fit_mass_function(mass, selection=lambda m: (m / m_max) ** power, **options)
    shifted = fit_mass_function(mass, beta_prior=(-3 + power, -1 + power), **options)
    # The table's tolerance of 1e-4 against chances of 0.08 and more.
    np.testing.assert_allclose(fit.quantile("beta", Q), shifted.quantile("beta", Q) - power, atol=1e-3)
    if model == "schechter":
        np.testing.assert_allclose(fit.quantile("log_mc", Q), shifted.quantile("log_mc", Q), atol=1e-3)  # the same


def test_fast_surface_agrees_with_the_integrals_for_every_shape_of_selection():
    beta, log_mc = np.linspace(-3, -1, 9), np.linspace(math.log10(M_MIN), 9, 11)
    heaps = Selection([1e6, 3e6, 3.1e6, 5e7, 5.1e7, 9e7], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    for selection in (rising, lambda m: m > 6e6, heaps):
        for m_max in (None, 3e8):
            grid = MassFunctionGrid("schechter", M_MIN, m_max, selection=selection)
            exact = grid.function.log_norm(beta[:, None], log_mc) + grid.function.ratio(log_mc)
            surface = grid._surface(beta[None], log_mc[None])[0]
            # 1e-7 times 100 objects is a chi^2 of 1e-5. The two heaps have the zeros that come nearest.
            np.testing.assert_allclose(surface, exact, atol=1e-7)


@pytest.mark.parametrize("model", sorted(PARAMETERS))
def test_emcee_and_grid_agree_with_a_selection(model):
    mass = detected(60, model, rising, np.random.default_rng(4), **PARAMETERS[model])
    exact = fit_mass_function(mass, model=model, selection=rising)
    chain = fit_mass_function(mass, model=model, selection=rising, method="emcee", rng=3)
    # The Monte-Carlo error of a run of 50 000 draws with a memory of 25 steps: 0.006; three of it.
    np.testing.assert_allclose(chain.quantile("beta", Q), exact.quantile("beta", Q), atol=0.02)


@pytest.mark.parametrize("model", sorted(PARAMETERS))
def test_known_selection_recovers_the_slope_and_leaving_it_out_does_not(model):
    """300 samples of 100 detected objects: the mean of the posterior medians, and how far each lies off in sigma."""
    rng = np.random.default_rng(5)
    truth = PARAMETERS[model]
    samples = [detected(100, model, rising, rng, **truth) for _ in range(300)]
    n, logs, masses = np.array([sums(mass) for mass in samples]).T
    off = {}
    for name, selection in (("with", rising), ("without", None)):
        low, mid, high = MassFunctionGrid(model, M_MIN, selection=selection).quantiles(n, logs, masses, Q)["beta"].T
        off[name] = np.mean(mid) - truth["beta"], np.mean((mid - truth["beta"]) / ((high - low) / 2))
    print(model, off)
    # The median of a skew posterior lies off by less than half a sigma of one sample; a lost faint end by several.
    assert abs(off["with"][1]) < 0.5
    assert off["without"][1] > 2
    if model == "power_law":
        assert off["with"][0] == pytest.approx(0, abs=0.03)  # error of the mean of 300: 0.01


@pytest.mark.parametrize("model", sorted(PARAMETERS))
def test_ranks_of_truths_from_the_prior_are_uniform_with_a_selection(model):
    """Simulation-based calibration, as without a selection: see test_calibration.py; 400 samples of 30 to 90."""
    rng = np.random.default_rng(6)
    m_max = 2e12 if model == "power_law" else None
    grid = MassFunctionGrid(model, M_MIN, m_max, selection=rising)
    truth = {name: rng.uniform(*edges, 400) for name, edges in grid.prior.items()}
    if model == "schechter":
        # Below 10^6.5 Msun next to nothing is detected and the draws take for ever: a narrower prior.
        grid = MassFunctionGrid(model, M_MIN, selection=rising, log_mc_prior=(7.0, 9.0))
        truth["log_mc"] = rng.uniform(7.0, 9.0, 400)
    samples = [
        detected(int(rng.integers(30, 91)), model, rising, rng, m_max, **{p: float(truth[p][k]) for p in truth})
        for k in range(400)
    ]
    n, logs, masses = np.array([sums(mass) for mass in samples]).T
    quantiles = grid.quantiles(n, logs, masses, np.arange(1, 100) / 100)
    for name, values in quantiles.items():
        rank = (values < truth[name][:, None]).sum(axis=1)
        assert stats.kstest((rank + 0.5) / 100, "uniform").pvalue > 0.01, name  # a fixed seed: no flicker
        inside = np.mean((rank >= 16) & (rank < 84))
        assert inside == pytest.approx(0.68, abs=0.07), name  # three binomial errors of 400


def of_each(log_half):
    """One row for each object: half are found at 10^log_half."""
    mass = np.geomspace(M_MIN, 1e9, 60)
    return Selection(mass, expit((np.log10(mass) - np.asarray(log_half)[:, None]) / 0.1))


def test_objects_with_their_own_chance_are_calibrated_and_need_no_distribution_of_magnifications():
    """Each object sees its own limit, as behind a lens; truths from the prior rank evenly."""
    rng = np.random.default_rng(7)
    m_max = 1e10
    ranks = []
    for _ in range(200):
        beta = rng.uniform(-3, -1)
        log_half = rng.uniform(6.0, 8.0, 4000)
        mass = draw_masses(4000, mass_function("power_law", M_MIN, m_max), rng=rng, beta=beta)
        found = np.flatnonzero(rng.random(4000) < expit((np.log10(mass) - log_half) / 0.1))[:40]
        fit = fit_mass_function(mass[found], model="power_law", m_max=m_max, selection=of_each(log_half[found]))
        ranks.append((fit.quantile("beta", np.arange(1, 100) / 100) < beta).sum())
    rank = np.array(ranks)
    assert stats.kstest((rank + 0.5) / 100, "uniform").pvalue > 0.01  # a fixed seed
    assert np.mean((rank >= 16) & (rank < 84)) == pytest.approx(0.68, abs=0.1)  # three binomial errors of 200


def test_equal_rows_are_the_same_as_one_curve():
    mass = detected(40, "schechter", rising, np.random.default_rng(8), **PARAMETERS["schechter"])
    mass = np.concatenate([[1e6], mass, [1.5e6]])  # outside: their rows go with them
    rows = of_each(np.full(42, 6.7))
    each = fit_mass_function(mass, selection=rows, rng=1)
    one = fit_mass_function(mass, selection=Selection(rows.mass, rows.probability[0]), rng=1)
    assert each.n_outside == one.n_outside == 2
    for name in each.parameters:
        np.testing.assert_allclose(each.quantile(name, Q), one.quantile(name, Q), atol=1e-8)  # rounding
    points = [M_MIN, 5e6, 3e7]
    np.testing.assert_allclose(each.cumulative(points, n_draws=5), one.cumulative(points, n_draws=5), rtol=1e-6)
    assert each.log_evidence == pytest.approx(one.log_evidence, abs=1e-6)  # rounding
    checks = [posterior_predictive(mass, fit, n_draws=50, rng=1) for fit in (each, one)]
    assert checks[0] == checks[1]


def test_predictive_check_compares_with_detected_masses():
    mass = detected(300, "power_law", rising, np.random.default_rng(9), **PARAMETERS["power_law"])
    right = posterior_predictive(mass, fit_mass_function(mass, model="power_law", selection=rising, rng=1), rng=1)
    wrong = posterior_predictive(mass, fit_mass_function(mass, model="power_law", rng=1), rng=1)
    assert right.ks > 0.05
    assert wrong.ks < 0.01


def test_bootstrap_takes_the_selection_and_the_fit_tells_of_it():
    mass = detected(60, "power_law", rising, np.random.default_rng(10), **PARAMETERS["power_law"])
    fit = fit_mass_function(mass, model="power_law", selection=rising)
    populations = np.tile(mass, (3, 1))
    result = bootstrap_mass_function(populations, np.ones((3, 60), dtype=bool), model="power_law", selection=rising)
    # The bootstrap integrates on fewer nodes.
    np.testing.assert_allclose(result.medians["beta"], float(fit.quantile("beta", 0.5)), atol=1e-4)
    table = fit.to_table().meta["selection"]
    assert Selection(table["mass"], table["probability"]).same_as(fit.selection)
    assert "selection" not in fit_mass_function(mass, model="power_law").to_table().meta


def test_evidence_ratio_needs_the_same_selection():
    mass = detected(60, "power_law", rising, np.random.default_rng(11), **PARAMETERS["power_law"])
    fits = [fit_mass_function(mass, model=model, selection=rising) for model in ("power_law", "schechter")]
    assert np.isfinite(fits[0].log_bayes_factor(fits[1]))
    plain = fit_mass_function(mass, model="schechter")
    for one, other in ((fits[0], plain), (plain, fits[0])):
        with pytest.raises(InputError, match="different selections"):
            one.log_bayes_factor(other)


@pytest.mark.parametrize(
    ("mass", "chance", "words"),
    [
        ([1e6], [1.0], "k >= 2"),
        ([1e6, 1e7], [1.0, 1.0, 1.0], "as many chances"),
        ([1e7, 1e6], [0.1, 0.2], "sort them"),
        ([1e6, np.nan], [0.1, 0.2], "finite"),
        ([0.0, 1e6], [0.1, 0.2], "greater than 0"),
        ([1e6, 1e7], [10.0, 95.0], "fractions, not percent"),
        ([1e6, 1e7], [0.1, np.nan], "not finite"),
        ([1e6, 1e7], ["a", "b"], "not numeric"),
    ],
)
def test_impossible_tables_are_refused_in_words(mass, chance, words):
    with pytest.raises(InputError, match=words):
        Selection(mass, chance)


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (0.5, "give a Selection, a function of mass"),
        (lambda m: 0.5, "one chance between 0 and 1 for each mass"),
        (lambda m: 100 * np.ones_like(m), "fractions, not percent"),
        (np.zeros_like, "no chance of detection anywhere"),
        (Selection([3e6, 1e9], [0.5, 1.0]), "extend its table down to m_min"),
        (Selection([1e3, 1e4], [1.0, 0.0]), "no chance of detection anywhere"),
        (Selection([1e6, 1e9], np.ones((3, 2))), "a row for each of 3 objects, mass has 5"),
        (lambda m: m > 3e6, "no chance of detection .2.5e"),
    ],
)
@pytest.mark.parametrize("method", ["grid", "emcee"])
def test_impossible_selections_are_refused_in_words(selection, words, method):
    with pytest.raises(InputError, match=words):
        fit_mass_function([2.5e6, 4e6, 6e6, 9e6, 2e7], model="power_law", selection=selection, method=method)


def test_sums_over_samples_cannot_have_rows_for_objects():
    grid = MassFunctionGrid("power_law", M_MIN, selection=Selection([1e6, 1e9], np.ones((3, 2))))
    with pytest.raises(InputError, match="use fit"):
        grid.medians([3], [np.log(1e7) * 3], [3e7])
    with pytest.raises(InputError, match="as many masses as rows"):
        grid.selection([1e6, 1e7])
