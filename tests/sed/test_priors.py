"""Priors of SED fits."""

from __future__ import annotations

import json
import math

import astropy.units as u
import numpy as np
import pytest
from scipy import integrate

from sc_lab.errors import InputError
from sc_lab.sed import Fixed, Gaussian, LogUniform, Priors, Uniform
from sc_lab.sed.priors import prior_from_record

ALL = (
    Uniform(0.5, 3.0),
    LogUniform(0.5, 3.0),
    Gaussian(1.0, 0.7, low=0.5, high=3.0),
    Gaussian(0.0, 0.3, low=0.5, high=3.0),
)


@pytest.mark.parametrize("prior", ALL)
def test_density_integrates_to_the_cumulative_probability(prior):
    for end in (0.9, 1.7, 3.0):
        area = integrate.quad(lambda x: math.exp(float(prior.log_density(x))), 0.5, end, epsabs=1e-12)[0]
        assert area == pytest.approx(float(prior.cdf(end)), abs=1e-9)  # quadrature of a smooth function


@pytest.mark.parametrize("prior", ALL)
def test_quantiles_invert_the_cumulative_probability(prior):
    q = np.linspace(0.001, 0.999, 50)
    np.testing.assert_allclose(prior.cdf(prior.ppf(q)), q, rtol=1e-9)


@pytest.mark.parametrize("prior", ALL)
def test_there_is_no_density_outside_the_limits(prior):
    assert np.all(np.isneginf(prior.log_density([0.4999, 3.0001])))


def test_gaussian_far_from_its_limits_keeps_its_tail():
    """Six sigma out, the tail is nearly exponential with scale 1 / 6."""
    prior = Gaussian(0.0, 1.0, low=6.0, high=9.0)
    assert float(prior.ppf(0.5)) == pytest.approx(6.0 + math.log(2) / 6, abs=0.01)  # next order 1 / 6^3


def test_gaussians_of_what_cannot_be_negative_are_cut_at_zero_and_add_up_to_one():
    priors = Priors(age=Gaussian(50.0, 100.0), metallicity=Gaussian(0.2, 0.4), a_v=Gaussian(0.1, 0.3))
    for name in ("age", "metallicity", "a_v"):
        prior = getattr(priors, name)
        assert prior.low == 0.0
        x = np.linspace(0.0, prior.mean + 10.0 * prior.sigma, 20001)
        # The trapezoidal rule with steps of a thousandth of sigma.
        assert np.trapezoid(np.exp(prior.log_density(x)), x) == pytest.approx(1.0, abs=1e-6)
    # A limit above zero is the user's own.
    assert Priors(a_v=Gaussian(0.1, 0.3, low=0.2)).a_v.low == 0.2
    with pytest.raises(InputError, match="no probability"):
        Priors(a_v=Gaussian(-10.0, 0.1))


def test_priors_survive_json():
    priors = Priors(age=Gaussian(100.0, 20.0, low=1.0), a_v=Uniform(0, 3), metallicity=Fixed(0.4), log_u=-2.0)
    assert Priors.from_record(json.loads(json.dumps(priors.record()))) == priors


def test_a_number_fixes_a_pair_is_uniform_and_units_convert():
    priors = Priors(age=(1 * u.Myr, 1 * u.Gyr), metallicity=0.4, a_v=Uniform(0 * u.mag, 2 * u.mag))
    assert priors.age == Uniform(1.0, 1000.0)
    assert priors.metallicity == Fixed(0.4)
    assert priors.a_v == Uniform(0.0, 2.0)


def test_age_ends_with_the_universe_and_a_cut_is_said():
    default, silent = Priors().at(6.0)
    assert default.age.high == pytest.approx(917.0, abs=0.1)  # Myr, flat 70 / 0.3
    assert silent == ()
    cut, said = Priors(age=Uniform(1, 5000)).at(6.0)
    assert cut.age == default.age
    assert "917" in said[0]
    assert Priors(age=Uniform(1, 500)).at(6.0) == (Priors(age=Uniform(1, 500)), ())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Priors(a_v=Uniform(1, 0)), "a_v has the limits 1.0 and 0.0"),
        (lambda: Priors(a_v=Uniform(-1, 1)), "dust does not brighten"),
        (lambda: Priors(metallicity=LogUniform(0, 1)), "above 0"),
        (lambda: Priors(log_u=Uniform(-3, math.inf)), "no upper limit"),
        (lambda: Priors(age=Gaussian(1, 0)), "sigma above 0"),
        (lambda: Priors(age=Gaussian(0, 1, low=50)), "no probability"),
        (lambda: Priors(age=Fixed(math.nan)), "finite"),
        (lambda: Priors(age=-5.0), "must reach above 0"),
        (lambda: Priors(age="old"), "Uniform, LogUniform"),
        (lambda: Priors(age=Uniform([1, 2], 3)), "one number"),
        (lambda: Priors(age=Uniform(1 * u.kg, 3)), "kg"),
        (lambda: Priors(age=Uniform(2000, 3000)).at(6.0), "917 Myr old"),
        (lambda: Priors.from_record({"agee": {}}), "agee"),
        (lambda: prior_from_record({"kind": "flat"}), "uniform"),
        (lambda: prior_from_record({"kind": "uniform", "low": 1}), "high"),
    ],
)
def test_priors_that_are_none_are_refused_in_words(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize("prior", [Uniform(1e3, 1e9), Fixed(1e6), Gaussian(1e6, 1e5)])
def test_a_mass_in_place_of_its_logarithm_is_refused(prior):
    with pytest.raises(InputError, match="log10 of solar masses"):
        Priors(log_mass_formed=prior)
