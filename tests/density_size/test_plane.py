"""Surface densities, dynamical ages and guiding lines against closed forms."""

import astropy.constants as const
import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from sc_lab.density_size import (
    GRAVITY,
    IMBH_DENSITIES,
    constant_mass_line,
    crossing_time,
    dynamical_age,
    is_bound,
    limit_arrow,
    surface_density,
)
from sc_lab.errors import InputError, UnitMismatchError

SCALE = st.floats(1e-3, 1e3)
ULP = 1e-12  # a handful of float64 operations


def test_surface_density_of_both_conventions():
    assert surface_density(2 * np.pi * 1e6, 10.0).value == pytest.approx(1e4, rel=ULP)
    assert surface_density(np.pi * 1e6, 10.0, within="total").value == pytest.approx(1e4, rel=ULP)
    assert surface_density(1.0, 1.0).unit == u.Msun / u.pc**2


def test_half_the_mass_of_a_plummer_sphere_lies_inside_its_effective_radius():
    mass, radius = 3e5, 2.5
    profile = lambda r: mass / (np.pi * radius**2) * (1 + (r / radius) ** 2) ** -2  # noqa: E731
    inside, _ = quad(lambda r: 2 * np.pi * r * profile(r), 0, radius)
    mean = inside / (np.pi * radius**2)
    # quad is good to 1e-10 on so smooth a profile
    assert surface_density(mass, radius).value == pytest.approx(mean, rel=1e-9)


def test_crossing_time_of_a_plummer_sphere_is_of_the_order_of_the_virial_one():
    mass, radius = 1e5, 3.0
    virial = 16 / (3 * np.pi) * radius
    exact = 2 * np.sqrt(2) * np.sqrt(virial**3 / (GRAVITY.value * mass))
    # Gieles & Portegies Zwart round the factor up for what other profiles add: 10 against 6.3.
    assert 1.0 < crossing_time(mass, radius).value / exact < 2.0


def test_the_gravitational_constant_is_nature_s():
    # The house value is given to five digits; astropy's is CODATA.
    assert GRAVITY.to_value(const.G.unit) == pytest.approx(const.G.value, rel=1e-4)


def test_bound_means_older_than_a_crossing_time():
    crossing = crossing_time(1e6, 4.0).value
    assert crossing == pytest.approx(10 * np.sqrt(64 / (0.0044985 * 1e6)), rel=ULP)
    ages = np.array([0.999, 1.001, np.nan]) * crossing
    assert is_bound(1e6, 4.0, ages).tolist() == [False, True, False]
    np.testing.assert_allclose(dynamical_age(1e6, 4.0, ages)[:2], [0.999, 1.001], rtol=ULP)


@given(mu=st.floats(1, 1e3), mass=st.floats(1e3, 1e9), radius=st.floats(0.1, 1e3))
def test_surface_density_of_a_resolved_clump_does_not_depend_on_magnification(mu, mass, radius):
    intrinsic = surface_density(mass / mu, radius / np.sqrt(mu))
    assert intrinsic.value == pytest.approx(surface_density(mass, radius).value, rel=ULP)


@given(scale=SCALE)
def test_dynamical_age_scales_as_the_formula(scale):
    base = dynamical_age(1e6, 5.0, 30.0)
    assert dynamical_age(1e6 * scale, 5.0, 30.0) == pytest.approx(base * scale**0.5, rel=ULP)
    assert dynamical_age(1e6, 5.0 * scale, 30.0) == pytest.approx(base * scale**-1.5, rel=ULP)
    assert dynamical_age(1e6, 5.0, 30.0 * scale) == pytest.approx(base * scale, rel=ULP)


def test_lines_of_constant_mass_fall_with_the_square_of_the_radius():
    radii = np.geomspace(0.3, 300, 20)
    line = constant_mass_line(1e6, radii)
    np.testing.assert_allclose(np.diff(np.log10(line.value)) / np.diff(np.log10(radii)), -2.0, rtol=1e-9)
    several = constant_mass_line([1e5, 1e6], radii * u.pc, within="total")
    assert several.shape == (2, 20)
    np.testing.assert_allclose(several[1], 2 * line, rtol=ULP)


@given(radius=st.floats(0.1, 1e3), mass=st.floats(1e3, 1e9), factor=st.floats(1.01, 10))
def test_the_arrow_of_a_limit_keeps_the_mass(radius, mass, factor):
    head_r, head_sigma = limit_arrow(radius, surface_density(mass, radius), factor=factor)
    assert head_r.value < radius
    assert surface_density(mass, head_r).value == pytest.approx(head_sigma.value, rel=ULP)


def test_quantities_in_other_units_give_the_same():
    assert surface_density(1e36 * u.kg, 1e17 * u.m).value == pytest.approx(
        surface_density((1e36 * u.kg).to(u.Msun), (1e17 * u.m).to(u.pc)).value, rel=ULP
    )
    assert dynamical_age(1e6 * u.Msun, 5 * u.pc, 0.03 * u.Gyr) == pytest.approx(dynamical_age(1e6, 5, 30), rel=ULP)
    assert surface_density(u.Dex(6, u.dex(u.Msun)), 10).value == pytest.approx(surface_density(1e6, 10).value, rel=ULP)


def test_wrong_units_are_refused_by_name():
    with pytest.raises(UnitMismatchError, match="mass"):
        surface_density(1 * u.pc, 1 * u.pc)
    with pytest.raises(UnitMismatchError, match="r_eff"):
        crossing_time(1, 1 * u.Myr)
    with pytest.raises(UnitMismatchError, match="age"):
        dynamical_age(1, 1, 1 * u.pc)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: surface_density(1.0, [1.0, 0.0]), r"r_eff has 1 impossible.*\(1,\)"),
        (lambda: surface_density(-1.0, 1.0), "mass has 1 impossible"),
        (lambda: surface_density(1.0, 1.0, within="all"), "half"),
        (lambda: dynamical_age(1.0, 1.0, -1.0), "age has 1 impossible"),
        (lambda: limit_arrow(1.0, 1.0, factor=0.5), "greater than 1"),
        (lambda: limit_arrow(1.0, -1.0), "sigma has 1 impossible"),
    ],
)
def test_impossible_values_are_refused_in_words(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_not_measured_stays_not_measured():
    assert np.isnan(surface_density([np.nan, 1.0], [1.0, np.nan]).value).all()
    assert np.isnan(dynamical_age(1.0, np.ma.masked_array([1.0], mask=[True]), 1.0)).all()


def test_critical_densities_are_cited_and_a_factor_ten_apart():
    monolithic, hierarchical = IMBH_DENSITIES
    assert (monolithic.density.to_value(u.Msun / u.pc**2), monolithic.name) == (2e5, "monolithic")
    assert (hierarchical.density.to_value(u.Msun / u.pc**2), hierarchical.name) == (2e4, "hierarchical")
    assert "Rantala" in monolithic.citation
    assert "Rantala" in hierarchical.citation


def test_shapes_that_do_not_fit_are_refused_with_their_names():
    with pytest.raises(InputError, match=r"mass has the shape \(3,\), r_eff has the shape \(2,\)"):
        surface_density([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(InputError, match=r"age has the shape \(3,\)"):
        dynamical_age([1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="factor is '2'"):
        limit_arrow(10.0, 100.0, factor="2")
