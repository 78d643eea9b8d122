"""The normalisations, survival functions and draws against independent mathematics."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

from sc_lab.cmf import PowerLaw, Schechter, draw_masses, mass_function
from sc_lab.cmf.models import LogNormSurface
from sc_lab.errors import InputError

M_MIN = 2e6
BETAS = (-3.0, -2.999999, -2.5, -2.0 - 1e-9, -2.0, -2.0 + 1e-7, -1.89, -1.5, -1.0 - 1e-8, -1.0)
RATIOS = (1e-3, 3e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def reference_norm(beta, log_mc, x_max=math.inf):
    """The slow, obvious normalisation: the incomplete gamma function at 40 digits."""
    with mpmath.workdps(40):
        g = mpmath.mpf(beta) + 1
        t = mpmath.mpf(M_MIN) / mpmath.mpf(10) ** mpmath.mpf(float(log_mc))
        high = mpmath.inf if math.isinf(x_max) else t * mpmath.mpf(x_max)
        return mpmath.gammainc(g, t, high) * t**-g


@pytest.mark.parametrize("x_max", [math.inf, 1.5, 50.0, 1e4])
def test_schechter_normalisation_equals_mpmath(x_max):
    function = Schechter(M_MIN, M_MIN * x_max)
    for beta in BETAS:
        for ratio in RATIOS:
            log_mc = math.log10(M_MIN / ratio)
            truth = reference_norm(beta, log_mc, function.m_max / M_MIN)
            ours = mpmath.exp(mpmath.mpf(float(function.log_norm(beta, log_mc))))
            # Required: 1e-10. Reached: 1e-14, the rounding of ln Z itself.
            assert abs(ours / truth - 1) < 1e-12, (beta, ratio)


@pytest.mark.parametrize("x_max", [math.inf, 1.0001, 50.0, 1e4])
def test_table_by_matrix_product_equals_single_integrals(x_max):
    function = Schechter(M_MIN, M_MIN * x_max)
    beta = np.linspace(-3, -1, 31)
    log_mc = np.log10(M_MIN / np.geomspace(1e-3, 30, 40))
    table = function.log_norm_table(beta, log_mc) - function.ratio(log_mc)
    # Two sets of nodes for the same integral: both at rounding.
    np.testing.assert_allclose(table, function.log_norm(beta[:, None], log_mc), atol=1e-12, rtol=0)


@pytest.mark.parametrize("m_max", [math.inf, 1e8, 2.5e6])
@pytest.mark.parametrize("top", [9.0, 12.0])
def test_the_polynomial_of_the_live_engine_equals_the_integrals(m_max, top):
    function = Schechter(M_MIN, m_max)
    ranges = ((-3.0, -1.0), (math.log10(M_MIN), top))
    surface = LogNormSurface(function, *ranges)
    beta, log_mc = (np.linspace(*edges, 37) for edges in ranges)
    ours = surface(beta[None], log_mc[None])[0] - function.ratio(log_mc)
    # 1e-9 times the 1e5 objects of the largest sample moves ln L by 1e-4.
    np.testing.assert_allclose(ours, function.log_norm(beta[:, None], log_mc), atol=1e-9, rtol=0)


def test_power_law_normalisation_has_no_seam_at_minus_one():
    function = PowerLaw(M_MIN, 1e3 * M_MIN)
    span = math.log(1e3)
    for g in (-2.0, -1e-3, -1e-9, -1e-15, 0.0, 1e-15, 1e-6, 0.5):
        with mpmath.workdps(40):
            held = mpmath.mpf(-1.0 + g) + 1  # beta + 1 as the computer holds it
            exact = mpmath.mpf(span) if held == 0 else mpmath.expm1(held * span) / held
        # Rounding of a logarithm of order 1 to 7.
        assert abs(float(function.log_norm(-1.0 + g)) - float(mpmath.log(exact))) < 4e-15


def test_power_law_without_limit_is_the_closed_form_and_diverges_where_it_must():
    function = PowerLaw(M_MIN)
    assert float(function.log_norm(-1.89)) == pytest.approx(-math.log(0.89), abs=1e-14)  # rounding
    assert np.isposinf(function.log_norm([-1.0, -0.5])).all()


@pytest.mark.parametrize("m_max", [None, 5e7])
@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("power_law", (-1.6,)),
        ("power_law", (-1.89,)),
        ("power_law", (-3.0,)),
        ("schechter", (-1.0, 8.9)),
        ("schechter", (-2.0, 7.0)),
        ("schechter", (-3.0, 6.31)),
        ("schechter", (-1.5, 5.0)),
    ],
)
def test_each_model_integrates_to_one(model, parameters, m_max):
    function = mass_function(model, M_MIN, m_max)
    end = min(function.log_range, 60.0)

    def density(y):
        mass = M_MIN * np.exp(y)
        return float(np.exp(function.log_pdf(mass, *parameters)) * mass)

    breaks = [y for y in (0.01, 0.1, 0.5, 1, 2, 3, 5, 8, 15) if y < end]
    total, _ = integrate.quad(density, 0, end * (1 - 1e-15), points=breaks, limit=400, epsabs=1e-12)
    # quad's own error; the cut at exp(60) loses less.
    assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("m_max", [None, 5e7])
def test_survival_equals_the_integral_above_a_mass(model, m_max):
    function = mass_function(model, M_MIN, m_max)
    parameters = {"power_law": [[-1.5, -2.7]], "schechter": [[-1.0, -2.7, -1.7], [8.8, 6.4, 7.5]]}[model]
    mass = np.array([1e6, 2e6, 2.1e6, 5e6, 4.9e7, 5e7, 1e9])
    ours = function.survival(mass, *map(np.array, parameters))
    for k, values in enumerate(zip(*parameters, strict=True)):
        for m, value in zip(mass, ours[k], strict=True):
            if m <= M_MIN:
                assert value == 1.0
            elif m >= function.m_max:
                assert value == 0.0
            else:
                tail = type(function)(m, function.m_max)
                scale = (values[0] + 1) * math.log(m / M_MIN)
                exact = math.exp(float(tail.log_norm(*values) - function.log_norm(*values)) + scale)
                # Eight nodes a panel; curves on a screen need 1e-3.
                assert value == pytest.approx(exact, rel=1e-8, abs=1e-15)


@pytest.mark.parametrize("m_max", [None, 5e7])
def test_draws_follow_the_model(model, m_max):
    function = mass_function(model, M_MIN, m_max)
    values = {"beta": -1.6} | ({"log_mc": 7.3} if model == "schechter" else {})
    drawn = draw_masses(20_000, function, rng=11, **values)
    assert drawn.min() >= M_MIN
    assert drawn.max() < function.m_max
    columns = [np.array([values[name]]) for name in function.parameters]
    # A fixed seed; a wrong inverse gives 1e-10 at this size.
    assert stats.kstest(1 - function.survival(drawn, *columns)[0], "uniform").pvalue > 0.01


def test_draws_through_a_slope_of_minus_one_are_uniform_in_the_logarithm():
    function = mass_function("power_law", M_MIN, 1e3 * M_MIN)
    for beta in (-1.0, -1.0 + 1e-14, -1.0 - 1e-9):
        y = np.log(draw_masses(20_000, function, rng=3, beta=beta) / M_MIN) / math.log(1e3)
        assert stats.kstest(y, "uniform").pvalue > 0.01  # fixed seed


def test_impossible_draws_are_refused():
    with pytest.raises(InputError, match="below -1"):
        draw_masses(5, mass_function("power_law", M_MIN), beta=-1.0)
    with pytest.raises(InputError, match="give an m_max"):
        draw_masses(500, mass_function("power_law", M_MIN), beta=-1.0001, rng=1)
    with pytest.raises(InputError, match="has the parameters beta, log_mc"):
        draw_masses(5, mass_function("schechter", M_MIN), beta=-1.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gauss", 2e6), "'power_law' and 'schechter'"),
        ((None, 2e6), "the models are"),
        (("schechter", 0.0), "greater than 0"),
        (("schechter", -1.0), "greater than 0"),
        (("schechter", math.nan), "greater than 0"),
        (("schechter", math.inf), "greater than 0"),
        (("schechter", 2e6, 2e6), "above m_min"),
        (("schechter", 2e6, 1e5), "above m_min"),
        (("schechter", 2e6, math.nan), "above m_min"),
        (("schechter", [2e6, 3e6]), "has 2 values"),
        (("schechter", "heavy"), "not numeric"),
    ],
)
def test_impossible_limits_are_refused_in_words(arguments, words):
    with pytest.raises(InputError, match=words):
        mass_function(*arguments)
