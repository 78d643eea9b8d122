"""Energies, virial ratios and radii against closed forms."""

import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.simulations.binding import Bodies, bind, unwrap
from sc_lab.simulations.potential import G, potential_energy
from sc_lab.simulations.profiles import half_mass_radius, motions, projected_half_mass_radius

M = 1e6


def test_potential_of_a_plummer_sphere_is_the_closed_form(spheres):
    """U = -3 pi G M^2 / (32 a); stratified radii leave directions as the only scatter, 0.3 % at 10^4 particles."""
    points = spheres["plummer"](10_000)
    found = potential_energy(points, np.full(len(points), M / len(points)))
    assert found == pytest.approx(-3 * np.pi * G * M**2 / 32, rel=0.01)


def test_potential_of_a_uniform_sphere_is_the_closed_form(spheres):
    points = spheres["ball"](10_000)
    found = potential_energy(points, np.full(len(points), M / len(points)))
    # -3 G M^2 / 5 R less the 1/N of a discrete sum; scatter of the directions about 0.1 %.
    assert found == pytest.approx(-0.6 * G * M**2, rel=3e-3)


@pytest.mark.parametrize("method", ["direct", pytest.param("tree", marks=pytest.mark.slow)])  # it compiles for 20 s
def test_fast_sums_equal_the_readable_one(spheres, method):
    """Direct to rounding; the tree within the 1e-4 that is asked of it."""
    rng = np.random.default_rng(4)
    points, mass = spheres["plummer"](1500), rng.uniform(0.5, 1.5, 1500)
    others = (spheres["ball"](1000, seed=5) + 0.3, rng.uniform(0.5, 1.5, 1000))
    rel = 1e-12 if method == "direct" else 1e-4
    for softening in (0.0, 0.05):
        if method == "tree" and softening:
            continue  # pytreegrav softens with a spline, not as Plummer does
        for other in (None, others):
            slow = potential_energy(points, mass, other, method="reference", softening=softening)
            fast = potential_energy(points, mass, other, method=method, softening=softening)
            assert fast == pytest.approx(slow, rel=rel)


def test_the_direct_sum_does_not_depend_on_threads(spheres):
    points = spheres["plummer"](9000)
    mass = np.ones(9000)
    one, three = (potential_energy(points, mass, method="direct", threads=n) for n in (1, 3))
    assert one == pytest.approx(three, rel=1e-13)  # another order of the same sum


def test_particles_in_one_place_do_not_make_it_infinite():
    points = np.array([[0.0, 0, 0], [0, 0, 0], [1.0, 0, 0]])
    assert potential_energy(points, np.ones(3)) == pytest.approx(-2 * G)


def test_two_bodies_on_a_circular_orbit_have_a_ratio_of_exactly_two():
    speed = np.sqrt(G * M / 0.01)  # relative speed of two bodies of M / 2 at 0.01 kpc
    stars = Bodies(
        np.array([[0.005, 0, 0], [-0.005, 0, 0]]), np.array([[0, speed / 2, 0], [0, -speed / 2, 0]]), np.full(2, M / 2)
    )
    found = bind(stars, centre=np.zeros(3), velocity=np.zeros(3))
    assert found.virial_ratio == pytest.approx(2.0, rel=1e-12)
    assert found.bound
    assert found.virialised


@pytest.mark.parametrize("scale", [0.88, 0.90, 1.0, 1.14, 1.17, 1.40, 1.43])
def test_a_plummer_sphere_changes_its_flags_where_its_velocities_say(spheres, scale):
    """|U|/K = 2 / s^2: virialised for 0.8944 < s < 1.1547, bound for s < 1.4142."""
    points = spheres["plummer"](4000)
    mass = np.full(4000, M / 4000)
    velocity = spheres["speeds"](points, M)
    velocity *= np.sqrt(-potential_energy(points, mass) / np.sum(mass * (velocity**2).sum(axis=1)))  # exactly virial
    found = bind(Bodies(points, scale * velocity, mass), centre=np.zeros(3), velocity=np.zeros(3))
    assert found.virial_ratio == pytest.approx(2 / scale**2, rel=1e-10)
    assert found.bound == (scale < np.sqrt(2))
    assert found.virialised == (np.sqrt(0.8) < scale < np.sqrt(4 / 3))
    expected = 3.39531 if found.virialised else found.r_max
    # G M^2 / |U| = 3.39531 a: the scatter of the potential energy, below 1 %.
    assert found.radius == pytest.approx(expected, rel=0.01)


def test_a_sampled_plummer_sphere_is_virialised_and_its_scatter_is_that_of_n(spheres):
    points = spheres["plummer"](20_000)
    mass = np.full(len(points), M / len(points))
    found = bind(Bodies(points, spheres["speeds"](points, M), mass), centre=np.zeros(3), velocity=np.zeros(3))
    # Kinetic energy scatters by about sqrt(2/3 N) x the spread of v^2, 1 %.
    assert found.virial_ratio == pytest.approx(2.0, rel=0.03)


def test_a_truncated_king_like_sphere_is_bound_and_virialised(spheres):
    """A Plummer sphere cut at three scale radii and left with its velocities: K falls less than U, still within range."""
    points = spheres["plummer"](8000)
    velocity = spheres["speeds"](points, M)
    inside = np.linalg.norm(points, axis=1) < 3.0
    mass = np.full(inside.sum(), M / 8000)
    found = bind(Bodies(points[inside], velocity[inside], mass), centre=np.zeros(3), velocity=np.zeros(3))
    assert found.bound
    assert found.virialised


def test_dark_matter_binds_stars_that_alone_are_not(spheres):
    """Stars with twice the escape speed of their own, in a halo a hundred times their mass."""
    stars = Bodies(spheres["plummer"](500, a=0.1), np.zeros((500, 3)), np.full(500, 1e3))
    halo = Bodies(spheres["ball"](5000, seed=7, radius=3.0), np.zeros((5000, 3)), np.full(5000, 1e4))
    rng = np.random.default_rng(8)
    moving = Bodies(stars.position, 30.0 * rng.standard_normal((500, 3)), stars.mass)
    alone = bind(moving, centre=np.zeros(3), velocity=np.zeros(3))
    together = bind(moving, halo, centre=np.zeros(3), velocity=np.zeros(3))
    assert not alone.bound
    assert together.used_dm
    assert together.kinetic_stars == alone.kinetic_stars
    inside = np.linalg.norm(halo.position, axis=1) <= together.r_max
    assert together.n_dm == inside.sum()
    everything = np.concatenate([stars.position, halo.position[inside]])
    mass = np.concatenate([stars.mass, halo.mass[inside]])
    assert together.potential == pytest.approx(potential_energy(everything, mass), rel=1e-12)


def test_shift_boost_and_permutation_change_nothing(spheres):
    points = spheres["plummer"](1000)
    velocity, mass = spheres["speeds"](points, M), np.full(1000, M / 1000)
    base = bind(Bodies(points, velocity, mass), centre=np.zeros(3), velocity=np.zeros(3))
    order = np.random.default_rng(9).permutation(1000)
    shift, boost = np.array([5.0, -3.0, 8.0]), np.array([100.0, 0.0, -50.0])
    moved = Bodies((points + shift)[order], (velocity + boost)[order], mass[order])
    found = bind(moved, centre=shift, velocity=boost)
    # Rounding of positions ten times as large as their differences.
    assert found.potential == pytest.approx(base.potential, rel=1e-11)
    assert found.kinetic == pytest.approx(base.kinetic, rel=1e-11)
    assert found.r_vir == pytest.approx(base.r_vir, rel=1e-11)


def test_unwrapping_joins_what_the_edge_of_the_box_cuts():
    points = np.array([[0.1, 5.0, 5.0], [9.9, 5.0, 5.0]])
    assert unwrap(points, points[0], 10.0)[1] == pytest.approx([-0.1, 5.0, 5.0])
    assert unwrap(points, points[0], 0.0) is points


def test_half_mass_radii_of_a_plummer_sphere_in_space_and_projection(spheres):
    """1.30477 a and a: ratio 0.766."""
    points, mass = spheres["plummer"](20_000), np.ones(20_000)
    # Stratified radii: the step between two stars.
    assert half_mass_radius(points, mass, np.zeros(3)) == pytest.approx(1.30477, rel=2e-3)
    low, middle, high = projected_half_mass_radius(points, mass, np.zeros(3))
    assert middle == pytest.approx(1.0, rel=0.02)  # 20 000 directions of stars
    assert low <= middle <= high


def test_solid_rotation_is_rotation_and_nothing_else():
    rng = np.random.default_rng(10)
    r = rng.standard_normal((2000, 3))
    r = np.concatenate([r, -r * [1, 1, -1]])  # inertia symmetric about z, so that L lies along it
    v = np.cross([0.0, 0.0, 3.0], r)
    found = motions(r, v, np.ones(len(r)), np.zeros(3), np.zeros(3))
    assert found["v_rotation"] == pytest.approx(found["v_rms"], rel=1e-3)  # the sampled inertia is not quite axial
    assert found["v_radial"] < 1e-12
    assert found["v_turbulent"] < 0.05 * found["v_rms"]


def test_pure_expansion_is_radial():
    r = np.random.default_rng(11).standard_normal((500, 3))
    found = motions(r, 4.0 * r, np.ones(500), np.zeros(3), np.zeros(3))
    assert found["v_radial"] == pytest.approx(found["v_rms"])
    assert found["v_turbulent"] == pytest.approx(0.0, abs=1e-12)


def test_bad_input_is_refused_in_words():
    nobody = Bodies(np.empty((0, 3)), np.empty((0, 3)), np.empty(0))
    with pytest.raises(InputError, match="no stars"):
        bind(nobody, centre=np.zeros(3), velocity=np.zeros(3))
    with pytest.raises(InputError, match="rising order"):
        bind(
            Bodies(np.zeros((1, 3)), np.zeros((1, 3)), np.ones(1)),
            centre=np.zeros(3),
            velocity=np.zeros(3),
            virial_range=(2.0, 1.0),
        )
    with pytest.raises(InputError, match="give 'auto'"):
        potential_energy(np.zeros((2, 3)), np.ones(2), method="fast")
    with pytest.raises(InputError, match=r"\(n, 3\) and \(n,\)"):
        potential_energy(np.zeros((2, 3)), np.ones(3))
