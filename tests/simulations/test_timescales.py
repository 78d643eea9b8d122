"""Time-scale curves at points worked out by hand, halo numbers and radii, and the criteria on a made-up population."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.simulations import halos, timescales

G, K, MH, SUN, MYR = 6.6743e-8, 1.380649e-16, 1.6735e-24, 1.98840987e33, 3.15576e13


@pytest.mark.parametrize(
    ("temperature", "density", "expected"),
    [(500.0, 1.0, 6.046e-26), (500.0, 100.0, 5.591e-26), (500.0, 1e4, 6.558e-27)],
)
def test_cooling_by_h2_at_three_densities(temperature, density, expected):
    """Four digits, by hand from the polynomial of Galli & Palla 1998 and the levels in equilibrium."""
    assert timescales.cooling_function(temperature, density) == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize(("temperature", "expected"), [(1000.0, 5.765e-25), (500.0, 6.051e-26), (100.0, 8.488e-29)])
def test_cooling_in_the_low_density_limit(temperature, expected):
    assert timescales.cooling_function(temperature, 1e-9) == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize(("mass", "density", "expected"), [(1e5, 100.0, 655.0), (1e5, 1.0, 141.0), (1e8, 1.0, 1.41e4)])
def test_jeans_temperature_by_hand(mass, density, expected):
    """T_J goes as M^(2/3) n^(1/3): from 1e5 to 1e8 by a factor of 100. Three digits."""
    assert timescales.jeans_temperature(mass, density) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(("density", "expected"), [(1.0, 40.4), (100.0, 4.04), (10_000.0, 0.404)])
def test_dynamical_time_of_a_uniform_cloud_is_sqrt_3_over_4_pi_g_rho(density, expected):
    for mass in (1e3, 1e7):
        assert timescales.dynamical_time(mass, density) == pytest.approx(expected, rel=2e-3)
    assert timescales.dynamical_time(1e5, 1.0, total=4e5) == pytest.approx(expected * density**0.5 / 2, rel=2e-3)


@pytest.mark.parametrize(("mass", "density"), [(1e5, 100.0), (1e6, 100.0), (1e7, 0.5)])
def test_cooling_time_is_that_at_the_jeans_temperature_where_it_is_the_higher(mass, density):
    """T_J of these clouds exceeds 500 K, so nothing precedes: k T / ((gamma - 1) f n Lambda), by hand."""
    t = timescales.jeans_temperature(mass, density)
    assert t > 500
    by_hand = K * t / ((2.0 / 3.0) * 5e-4 * density * timescales.cooling_function(t, density)) / MYR
    assert timescales.cooling_time(mass, density) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(("mass", "density"), [(1e3, 1.0), (1e4, 0.5), (1e4, 100.0)])
def test_cooling_time_adds_the_way_down_where_gas_starts_warmer(mass, density):
    """Against a trapezium of 200 000 steps."""
    t_j = float(timescales.jeans_temperature(mass, density))
    assert t_j < 500
    t = np.geomspace(t_j, 500.0, 200_001)
    down = np.trapezoid(K / ((2.0 / 3.0) * 5e-4 * density * timescales.cooling_function(t, density)), t)
    last = K * t_j / ((2.0 / 3.0) * 5e-4 * density * timescales.cooling_function(t_j, density))
    assert timescales.cooling_time(mass, density) == pytest.approx((down + last) / MYR, rel=1e-6)
    total = timescales.cooling_time(mass, density) + timescales.dynamical_time(mass, density)
    assert timescales.virialisation_time(mass, density) == pytest.approx(total)


def test_halo_numbers_of_the_boosted_box_agree_with_the_published_table():
    """Haloes per cMpc^3 at z = 12.5 and sigma_8 = 1.7; transfer functions differ by 1 to 2 %."""
    found = halos.HaloModel().number_above([1e4, 1e6, 1e8, 1e9], 12.5)
    np.testing.assert_allclose(found, [6.27e4, 750.0, 7.5, 0.62], rtol=0.03)


def test_all_matter_is_in_haloes():
    """The integral of f(nu) over ln nu is 1, to the digits of A = 0.3222."""
    nu = np.geomspace(1e-9, 50.0, 400_000)
    assert np.trapezoid(halos.HaloModel.multiplicity(nu), np.log(nu)) == pytest.approx(1.0, abs=5e-4)


def test_sigma_8_is_what_it_is_called():
    model = halos.HaloModel(sigma_8=0.8)
    mass = 4.0 / 3.0 * np.pi * (8.0 / model.h) ** 3 * model.matter_density
    assert model.sigma(mass) == pytest.approx(0.8, rel=1e-12)
    # Without dark energy growth goes as the scale factor.
    flat = halos.HaloModel(omega_matter=1.0, omega_lambda=0.0)
    assert flat.growth(9.0) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize(("mass", "z", "expected"), [(1e8, 12.0, 1.172), (1e5, 12.0, 0.1172), (1e11, 12.0, 11.72)])
def test_virial_radius_by_hand(mass, z, expected):
    """784 pc (M h / 1e8)^(1/3) x 10 / 13 / 0.71 at a redshift at which all is matter; four digits."""
    assert halos.virial_radius(mass, z) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("mass", [1e5, 1e6, 1e7])
def test_interaction_time_by_hand(mass):
    """1 / (n sigma v) with every factor written out."""
    z, radius = 12.0, 0.05
    model = halos.HaloModel()
    share = (model.number_above(mass, z) - model.number_above(10 * mass, z)) / model.number_above(1e4, z)
    away = 10.0 / 0.71 / 13.0
    n = share * 6.0 / (4.0 / 3.0 * np.pi * away**3)
    cross = np.pi * (halos.virial_radius(mass, z) + radius) ** 2
    by_hand = 1.0 / (n * cross * 16.6 / 977.792)  # 977.792 Myr km/s is a kpc
    assert timescales.interaction_time(mass, radius, z) == pytest.approx(by_hand, rel=1e-4)


def test_neighbours_are_counted_with_the_hubble_constant_of_the_model():
    """10 ckpc/h in a model with h = 0.5 are 20 ckpc, whether h is said again or not."""
    model = halos.HaloModel(h=0.5)
    said = timescales.interaction_time(1e7, 0.02, 12.0, h=0.5, model=model)
    distance = 20.0 / 13.0
    assert timescales.interaction_time(1e7, 0.02, 12.0, model=model) == said
    assert timescales.interaction_time(1e7, 0.02, 12.0, distance=distance, model=model) == pytest.approx(
        said, rel=1e-12
    )


def test_criteria_classify_a_population_as_the_text_says():
    """Dense, massive clouds virialise; thin ones have no time; crowded ones are disturbed before."""
    mass = np.array([1e6, 1e3, 1e6])
    density = np.array([100.0, 0.5, 100.0])
    t_vir = timescales.virialisation_time(mass, density)
    age, interaction = np.array([150.0, 150.0, 150.0]), np.array([1e3, 1e3, 1.0])
    assert timescales.can_virialise(t_vir, age, interaction).tolist() == [True, False, False]


def test_relations_recover_a_line_and_their_errors_cover_it():
    """68 % of the slopes within one standard error, to the scatter of 400 trials (2.3 %)."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        x = 10 ** rng.uniform(3, 7, 30)
        y = 10 ** (1.2 + 0.8 * np.log10(x) + 0.2 * rng.standard_normal(30))
        found = timescales.fit_relation(x, y)
        inside += abs(found.slope - 0.8) < found.slope_err
    assert inside / 400 == pytest.approx(0.67, abs=0.07)  # Student's t with 28 degrees: 67.4 %
    assert found(1e5) == pytest.approx(10 ** (found.intercept + 5 * found.slope))
    assert 0.8 < found.r_squared < 1


def test_bad_input_is_refused_in_words():
    with pytest.raises(InputError, match="temperature has values such as"):
        timescales.cooling_function(-5.0, 1.0)
    with pytest.raises(InputError, match="at least three"):
        timescales.fit_relation([1, 2], [1, 2])
    with pytest.raises(InputError, match="two rising masses"):
        halos.HaloModel().number_per_log_mass([1e5], 10.0)
    with pytest.raises(InputError, match="sigma_8"):
        halos.HaloModel(sigma_8=0.0)


def test_quantities_are_taken_in_any_unit_and_refused_in_a_wrong_one():
    """A radius in parsec, as catalogues of clusters hold it, is not one in kiloparsec."""
    plain = timescales.interaction_time(1e7, 0.02, 12.0)
    assert timescales.interaction_time(1e7 * u.Msun, 20.0 * u.pc, 12.0) == pytest.approx(plain, rel=1e-12)
    assert timescales.can_virialise(10.0, 0.1 * u.Gyr, 0.05 * u.Gyr)
    assert timescales.dynamical_time(1e5 * u.Msun, 1e8 / u.m**3) == pytest.approx(
        timescales.dynamical_time(1e5, 100.0), rel=1e-12
    )
    assert halos.virial_radius(1e8 * u.Msun, 12.0) == pytest.approx(1.172, rel=1e-3)
    with pytest.raises(InputError, match="does not convert"):
        timescales.dynamical_time(1e5, 1.0 * u.Msun / u.kpc**3)
    with pytest.raises(InputError, match="redshifts above -1"):
        halos.virial_radius(1e8, -2.0)
