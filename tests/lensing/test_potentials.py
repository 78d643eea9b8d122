"""Potentials: closed forms, limits, derivatives and symmetries of the dPIE and of external shear."""

import math

import mpmath
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.lensing import DPIE, ExternalShear, ParametricLens, scaled_members
from sc_lab.lensing.potentials import isothermal_deflection, isothermal_hessian, potential_ellipticity

LENSES = [
    DPIE(0.3, -0.2, 900.0, core=4.0, cut=150.0),
    DPIE(0.3, -0.2, 900.0, core=4.0, cut=150.0, ellipticity=0.01, angle=20.0),
    DPIE(0.3, -0.2, 900.0, core=4.0, cut=150.0, ellipticity=0.5, angle=-36.0),
    DPIE(0.3, -0.2, 900.0, core=0.8, cut=30.0, ellipticity=0.85, angle=130.0),
    ExternalShear(0.1, 50.8, kappa=0.03),
]
POINTS = np.random.default_rng(5).uniform(-25, 25, (2, 200))


def _lens(*potentials):
    return ParametricLens(potentials, z_lens=0.35, ra=0.0, dec=0.0)


def _gradient(function, x, y, h=2e-3):
    """Return sixth-order central differences along x and y."""

    def along(dx, dy):
        return (
            sum(
                c * (function(x + k * dx, y + k * dy) - function(x - k * dx, y - k * dy))
                for k, c in ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
            )
            / h
        )

    return along(h, 0.0), along(0.0, h)


def _kassiola_kovner(x, y, eps, core):
    """Return equation 4.1.2 of Kassiola & Kovner 1993 as printed, in 40 digits."""
    with mpmath.workdps(40):
        x, y, eps, core = (mpmath.mpf(float(v)) for v in (x, y, eps, core))
        q = (1 - eps) / (1 + eps)
        rem2 = (x / (1 + eps)) ** 2 + (y / (1 - eps)) ** 2
        root = mpmath.sqrt(eps)
        above = q * x + 1j * (2 * root * mpmath.sqrt(core**2 + rem2) - y / q)
        below = x + 1j * (2 * root * core - y)
        value = -1j * (1 - eps**2) / (2 * root) * mpmath.log(above / below)
        return float(value.real), float(value.imag)


@pytest.mark.parametrize("eps", [1e-6, 0.01, 0.2, 0.6])
@pytest.mark.parametrize("core", [0.05, 3.0])
def test_deflection_is_the_printed_complex_function(eps, core):
    x, y = POINTS[:, :25]
    ours = isothermal_deflection(x, y, eps, core)
    truth = np.array([_kassiola_kovner(a, b, eps, core) for a, b in zip(x, y, strict=True)]).T
    # Round-off of a few dozen operations on numbers of order one.
    np.testing.assert_allclose(ours, truth, rtol=0, atol=2e-14)


@pytest.mark.parametrize("potential", LENSES, ids=lambda p: f"{type(p).__name__} {getattr(p, 'ellipticity', '')}")
def test_second_derivatives_are_those_of_the_deflection(potential):
    x, y = POINTS
    lens = _lens(potential)
    (axx, ayx), (axy, ayy) = _gradient(lambda a, b: np.array(lens.unit_deflection(a, b)), x, y)
    kappa, g1, g2 = lens.unit_jacobian(x, y)
    # Round-off of a deflection of 40 arcsec over a step of 2e-3, times a few.
    for ours, numerical in ((kappa, (axx + ayy) / 2), (g1, (axx - ayy) / 2), (g2, axy), (g2, ayx)):
        np.testing.assert_allclose(ours, numerical, rtol=0, atol=1e-8)


def test_circular_dpie_has_the_deflection_of_its_closed_form():
    core, cut, sigma = 2.0, 60.0, 700.0
    lens = _lens(DPIE(1.0, 2.0, sigma, core=core, cut=cut))
    x, y = POINTS
    r = np.hypot(x - 1, y - 2)
    e0 = 6 * math.pi * (sigma / 299792.458) ** 2 * 180 * 3600 / math.pi
    alpha = e0 * cut / (cut - core) * (np.sqrt(r**2 + core**2) - core - np.sqrt(r**2 + cut**2) + cut) / r
    ax, ay = lens.unit_deflection(x, y)
    # The ellipse that stands for the circle has a potential of ellipticity 1e-14.
    np.testing.assert_allclose(ax, alpha * (x - 1) / r, rtol=0, atol=1e-11)
    np.testing.assert_allclose(ay, alpha * (y - 2) / r, rtol=0, atol=1e-11)


def test_a_tiny_ellipticity_joins_the_circle():
    round_, nearly = (_lens(DPIE(0, 0, 900.0, core=4.0, cut=150.0, ellipticity=e)) for e in (0.0, 1e-9))
    for a, b in zip(round_.unit_jacobian(*POINTS), nearly.unit_jacobian(*POINTS), strict=True):
        # First order in the ellipticity, 1e-9.
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-9)


def test_singular_and_endless_it_is_the_isothermal_sphere():
    lens = _lens(DPIE(0, 0, 600.0, core=0.0, cut=1e9))
    ratio, e0 = float(lens.efficiency(2.0)), LENSES[0].strength * (600 / 900) ** 2
    radius = np.array([0.5, 0.9, 1.3, 2.0, 5.0]) * e0 * ratio
    ra, dec = lens.to_sky(radius * np.cos(1.0), radius * np.sin(1.0))
    mu, mu_t, mu_r = lens.magnification(ra, dec, 2.0)
    # The cut radius leaves R/cut = 1e-8 of the deflection; the frame's degrees cost 1e-10.
    np.testing.assert_allclose(mu_t, 1 / (1 - e0 * ratio / radius), rtol=1e-6)
    np.testing.assert_allclose(mu_r, 1.0, rtol=1e-6)
    np.testing.assert_allclose(mu, mu_t, rtol=1e-6)


def test_from_afar_it_is_a_point_mass():
    lens = _lens(DPIE(0, 0, 300.0, core=0.01, cut=0.02, ellipticity=0.3, angle=10.0))
    x, y = 30 * np.cos(np.arange(7.0)), 30 * np.sin(np.arange(7.0))
    ax, ay = lens.unit_deflection(x, y)
    # Density falls on ellipses with the semi-axes (1 + eps) and (1 - eps): the area is that of the circle less eps².
    mass = lens.potentials[0].strength * 0.02 * (1 - float(potential_ellipticity(0.3)) ** 2)
    # Next order: (core + cut)/2R = 5e-4 of the deflection.
    np.testing.assert_allclose([ax, ay], mass * np.array([x, y]) / 30**2, rtol=0, atol=6e-4 * mass / 30)
    kappa = lens.unit_jacobian(x, y)[0]
    assert np.all(np.abs(kappa) < 1e-3 * mass / 30**2)


@pytest.mark.parametrize("eps", [1e-14, 0.1, 0.5])
def test_the_divergence_is_constant_on_ellipses(eps):
    angle = np.linspace(0.1, 6.2, 30)
    kappa, _, _ = isothermal_hessian(7 * (1 + eps) * np.cos(angle), 7 * (1 - eps) * np.sin(angle), eps, 2.0)
    np.testing.assert_allclose(kappa, 0.5 / math.hypot(7, 2), rtol=1e-14)


@pytest.mark.parametrize("potential", LENSES[:4])
def test_there_is_a_number_everywhere_also_at_the_centre_and_on_the_axes(potential):
    lens = _lens(potential, DPIE(1.0, 1.0, 100.0, core=0.0, cut=5.0, ellipticity=0.3))
    root = math.sqrt(float(potential_ellipticity(potential.ellipticity)))
    angle = math.radians(potential.angle)
    # The last point is where numerator and denominator of the printed form vanish together.
    along = 2 * root * potential.core
    x = np.array([potential.x, 1.0, potential.x - along * math.sin(angle)])
    y = np.array([potential.y, 1.0, potential.y + along * math.cos(angle)])
    assert np.isfinite(lens.unit_jacobian(x, y)).all()
    assert np.isfinite(lens.unit_deflection(x, y)).all()
    near = lens.unit_jacobian(x[2:] + 1e-7, y[2:])
    # Over 1e-7 arcsec nothing changes by more than the gradient over a core of an arcsecond allows.
    np.testing.assert_allclose(np.array(lens.unit_jacobian(x, y))[:, 2:], near, rtol=0, atol=1e-5)


def test_the_angle_turns_the_ellipse():
    still = _lens(DPIE(0, 0, 900.0, core=4.0, cut=150.0, ellipticity=0.5))
    turned = _lens(DPIE(0, 0, 900.0, core=4.0, cut=150.0, ellipticity=0.5, angle=90.0))
    x, y = POINTS
    ax, ay = still.unit_deflection(x, y)
    bx, by = turned.unit_deflection(-y, x)
    np.testing.assert_allclose([bx, by], [-ay, ax], rtol=0, atol=1e-12)
    # Along the major axis matter is nearer, so that the convergence is higher there.
    assert (
        still.unit_jacobian(np.array([10.0]), np.array([0.0]))[0]
        > still.unit_jacobian(np.zeros(1), np.array([10.0]))[0]
    )


def test_external_shear_stretches_along_its_angle():
    lens = _lens(ExternalShear(0.2, 30.0))
    c, s = np.cos(np.radians(30.0)), np.sin(np.radians(30.0))
    ax, ay = lens.unit_deflection(np.array([c]), np.array([s]))
    np.testing.assert_allclose([ax[0], ay[0]], [0.2 * c, 0.2 * s], atol=1e-15)


def test_members_follow_their_light():
    bright, faint = scaled_members(
        [0, 1], [0, 2], [18.0, 20.5], mag0=18.0, sigma0=200.0, cut0=10.0, core0=0.1, names=["a", "b"]
    )
    assert (bright.sigma, bright.cut, bright.core) == (200.0, 10.0, 0.1)
    # 2.5 magnitudes are a factor of ten in light: 10^(1/4), 10^(1/2), 10^(1/2).
    assert faint.sigma == pytest.approx(200 * 0.1**0.25)
    assert faint.cut == pytest.approx(10 * 0.1**0.5)
    assert faint.core == pytest.approx(0.1 * 0.1**0.5)
    assert faint.name == "b"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sigma": -1.0}, "at least 0 km/s"),
        ({"core": -0.1}, "core of at least 0"),
        ({"core": 5.0, "cut": 5.0}, "differs from it"),
        ({"ellipticity": 1.0}, "below 1"),
        ({"x": math.nan}, "x is nan"),
        ({"angle": "30"}, "angle is '30'"),
    ],
)
def test_impossible_potentials_are_refused_in_words(arguments, words):
    with pytest.raises(InputError, match=words):
        DPIE(**{"x": 0.0, "y": 0.0, "sigma": 100.0, "core": 1.0, "cut": 10.0, "name": "O1"} | arguments)


def test_names_must_match_the_members():
    with pytest.raises(InputError, match="names has 1 entries for 2 members"):
        scaled_members([0, 1], [0, 1], [18, 19], mag0=18, sigma0=100, cut0=5, names=["a"])
