"""Axes, radii, their errors and classes follow from the covariance of the Gaussian."""

import numpy as np
import pytest

from sc_lab.photometry import HALF_LIGHT, PhotometryFlag, clip_shape, describe_flags, measure_sizes, size_classes
from sc_lab.photometry._forced import carry_covariance, carry_shape
from sc_lab.photometry.grouping import group_positions

SMALL = 1e-4 * np.eye(3)


def test_half_of_the_light_of_a_gaussian_lies_within_its_half_light_radius():
    radius = np.random.default_rng(1).normal(size=(2, 400_000))
    inside = (np.hypot(*radius) < HALF_LIGHT).mean()
    assert inside == pytest.approx(0.5, abs=0.003)  # 400 000 deviates: 0.0008


def test_axes_and_angle_are_recovered():
    theta = np.radians([0.0, 30.0, 89.0, -45.0])
    large, small = 4.0, 1.0
    c, s = np.cos(theta), np.sin(theta)
    shape = np.stack([c**2 * large + s**2 * small, s**2 * large + c**2 * small, c * s * (large - small)], axis=-1)
    sizes = measure_sizes(shape, np.broadcast_to(SMALL, (4, 3, 3)))
    assert sizes.std_maj == pytest.approx(2.0)
    assert sizes.std_min == pytest.approx(1.0)
    assert sizes.theta == pytest.approx(theta)
    assert sizes.r_cir == pytest.approx(np.sqrt(2.0))


def test_first_order_errors_are_those_of_the_scatter():
    rng = np.random.default_rng(2)
    covariance = np.array([[0.010, 0.003, 0.001], [0.003, 0.008, 0.000], [0.001, 0.000, 0.004]])
    truth = np.array([2.0, 1.0, 0.3])
    draws = measure_sizes(rng.multivariate_normal(truth, covariance, 20_000), covariance)
    stated = measure_sizes(truth, covariance)
    # First order against 20 000 draws: 0.5 % of noise and a percent or two of curvature at errors of 5 %.
    assert stated.r_cir_err == pytest.approx(draws.r_cir.std(), rel=0.03)
    assert stated.std_maj_err == pytest.approx(draws.std_maj.std(), rel=0.03)
    assert stated.std_min_err == pytest.approx(draws.std_min.std(), rel=0.03)


def test_an_unresolved_axis_has_no_error_but_a_limit():
    sizes = measure_sizes([0.02, -0.1, 0.0], 0.01 * np.eye(3))
    assert sizes.std_min == 0
    assert np.isnan(sizes.std_maj_err)
    assert np.isnan(sizes.r_cir_err)
    assert sizes.std_up == pytest.approx(np.sqrt(0.02 + 2 * 0.1))


def test_negative_eigenvalues_are_clipped_and_nothing_else_moves():
    assert clip_shape([2.0, 1.0, 0.5]) == pytest.approx([2.0, 1.0, 0.5])
    assert clip_shape([1.0, -0.2, 0.0]) == pytest.approx([1.0, 0.0, 0.0])
    assert clip_shape([-0.1, -0.2, 0.05]) == pytest.approx([0.0, 0.0, 0.0])


def test_classes_are_those_of_the_paper():
    got = size_classes([1.0, 1.0, 0.3, np.nan], [0.5, 0.3, 0.1, np.nan])
    assert list(got) == ["resolved", "one_axis", "unresolved", ""]


def test_a_shape_goes_to_another_grid_with_its_jacobian():
    turn = np.radians(20.0)
    jacobian = 0.5 * np.array([[[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]])
    matrix = np.array([[2.0, 0.4], [0.4, 1.0]])
    expected = jacobian[0] @ matrix @ jacobian[0].T
    got = carry_shape(np.array([[2.0, 1.0, 0.4]]), jacobian)[0]
    assert got == pytest.approx([expected[0, 0], expected[1, 1], expected[0, 1]])
    rng = np.random.default_rng(3)
    draws = rng.multivariate_normal([2.0, 1.0, 0.4], 0.01 * np.eye(3), 20_000)
    moved = carry_shape(draws, np.broadcast_to(jacobian, (20_000, 2, 2)))
    assert carry_covariance(0.01 * np.eye(3)[None], jacobian)[0] == pytest.approx(np.cov(moved.T), abs=2e-4)


def test_groups_are_chains_of_close_clumps():
    x, y = np.array([0.0, 3.9, 7.0, 50.0, 54.0, np.nan]), np.zeros(6)
    groups = group_positions(x, y, 4.0)
    assert groups.members == ((0, 1, 2), (3,), (4,), (5,))  # 4 px apart is not closer than 4 px
    assert not groups.cut.any()


def test_a_long_chain_is_cut_at_its_longest_links():
    x = np.array([0.0, 2.0, 4.0, 7.5, 9.5, 11.5])
    groups = group_positions(x, np.zeros(6), 4.0)
    assert groups.members == ((0, 1, 2), (3, 4, 5))
    assert groups.cut.all()
    assert len(set(groups.chain)) == 1


def test_clumps_in_one_place_are_a_chain_too():
    groups = group_positions(np.zeros(9), np.zeros(9), 4.0)
    assert max(map(len, groups.members)) == 4
    assert len(groups.members) == 3


def test_every_flag_has_a_sentence():
    for flag in PhotometryFlag:
        if flag:
            assert describe_flags(int(flag))
    assert describe_flags(0) == ""
    assert ";" in describe_flags(PhotometryFlag.EDGE | PhotometryFlag.MERGED)
