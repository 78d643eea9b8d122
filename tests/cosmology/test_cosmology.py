"""Cosmologies: made, described, compared, and the age of the Universe both ways."""

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, LambdaCDM, Planck18, w0waCDM

from sc_lab.cosmology import age_of_universe, check_same, clock, default_cosmology, describe, make_cosmology
from sc_lab.errors import CosmologyMismatchError, InputError, UnitMismatchError

COSMOLOGIES = [
    default_cosmology(),
    LambdaCDM(70, 0.3, 0.7, Tcmb0=0),
    LambdaCDM(70, 0.3, 0.5),
    LambdaCDM(67, 0.35, 0.9, Tcmb0=2.725),
    FlatLambdaCDM(71, 1.0, Tcmb0=0),
    Planck18,
    w0waCDM(70, 0.3, 0.7, w0=-0.9, wa=0.2),
]


@pytest.mark.parametrize("cosmology", COSMOLOGIES, ids=lambda c: c.name or type(c).__name__)
def test_age_of_the_universe_is_that_of_astropy(cosmology):
    z = np.array([0.0, 0.1, 0.5, 1, 2, 3, 6, 9.6, 20, 1000])
    # astropy's quadrature stops at 1.5e-8 of a Hubble time, which is 2e-4 Myr.
    np.testing.assert_allclose(
        age_of_universe(z, cosmology=cosmology).value, cosmology.age(z).to_value(u.Myr), rtol=1e-8, atol=2e-4
    )


@pytest.mark.parametrize("cosmology", COSMOLOGIES, ids=lambda c: c.name or type(c).__name__)
def test_the_clock_inverts_itself(cosmology):
    z = np.geomspace(1e-6, 2000, 400)
    ticks = clock(cosmology)
    # Straight interpolation between 65 536 nodes is good to about 3e-8 of 1 + z.
    np.testing.assert_allclose(ticks.redshift(ticks.age_myr(z)), z, rtol=3e-7, atol=3e-7)


def test_the_default_is_flat_without_radiation():
    cosmology = default_cosmology()
    assert (cosmology.H0.value, cosmology.Om0, cosmology.Tcmb0.value) == (70.0, 0.3, 0.0)
    assert default_cosmology() is cosmology


def test_densities_that_add_to_one_make_a_flat_model():
    assert isinstance(make_cosmology(70, 0.3, 0.7), FlatLambdaCDM)
    curved = make_cosmology(70 * u.km / u.s / u.Mpc, 0.3, 0.6)
    assert type(curved) is LambdaCDM
    assert curved.Ok0 == pytest.approx(0.1)


@pytest.mark.parametrize("arguments", [(0, 0.3, 0.7), (70, 0, 1), (70, np.nan, 1), (70, 0.3, np.inf), (-70, 0.3, 0.7)])
def test_impossible_parameters_are_refused(arguments):
    with pytest.raises(InputError, match="give a finite"):
        make_cosmology(*arguments)


def test_a_hubble_constant_in_a_wrong_unit_is_refused():
    with pytest.raises(UnitMismatchError, match="hubble"):
        make_cosmology(70 * u.Myr, 0.3, 0.7)


def test_a_universe_without_a_big_bang_is_refused():
    with pytest.raises(InputError, match="no Big Bang"):
        clock(LambdaCDM(70, 0.3, 3.0, Tcmb0=0))
    with pytest.raises(InputError, match="no beginning"):
        clock(LambdaCDM(70, 0.0, 1.0, Tcmb0=0))


def test_what_is_no_cosmology_is_refused():
    with pytest.raises(InputError, match="give an astropy cosmology"):
        clock("Planck18")


def test_negative_redshifts_are_refused():
    with pytest.raises(InputError, match="1 negative"):
        age_of_universe([1.0, -0.5])


def test_equal_cosmologies_share_a_clock():
    assert clock(None) is clock(FlatLambdaCDM(70, 0.3, Tcmb0=0))
    assert clock(None) is not clock(FlatLambdaCDM(70, 0.31, Tcmb0=0))


@pytest.mark.parametrize("cosmology", COSMOLOGIES, ids=lambda c: c.name or type(c).__name__)
def test_a_description_survives_json_and_agrees_with_itself(cosmology):
    words = describe(cosmology)
    assert json.loads(json.dumps(words)) == words
    check_same(words, json.loads(json.dumps(words)))


def test_one_physics_under_two_classes_agrees():
    check_same(describe(default_cosmology()), describe(LambdaCDM(70, 0.3, 0.7, Tcmb0=0)))


def test_nothing_recorded_agrees_with_all():
    check_same({}, describe(Planck18))
    check_same(describe(Planck18), {})


def test_different_cosmologies_are_an_error_that_names_both():
    with pytest.raises(CosmologyMismatchError, match=r"one\.ecsv.*H0=70.*two\.ecsv.*Planck18.*differ in H0"):
        check_same(describe(default_cosmology()), describe(Planck18), name_a="one.ecsv", name_b="two.ecsv")
    with pytest.raises(CosmologyMismatchError, match="Ode0"):
        check_same(describe(default_cosmology()), describe(make_cosmology(70, 0.3, 0.6)))


@pytest.mark.parametrize("arguments", [("a", 0.3, 0.7), (70, "a", 0.7), (70, 0.3, None), ([70, 71], 0.3, 0.7)])
def test_what_is_not_one_number_is_refused_in_words(arguments):
    with pytest.raises(InputError, match=r"is not numeric|give one number"):
        make_cosmology(*arguments)
