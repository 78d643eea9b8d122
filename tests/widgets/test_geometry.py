"""Hand-drawn outlines."""

import numpy as np
from sc_lab_widgets._geometry import enclosed


def test_a_circle_encloses_the_points_nearer_than_its_radius():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-2, 2, (2, 5000))
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    inside = enclosed(x, y, np.column_stack([np.cos(angle), np.sin(angle)]))
    radius = np.hypot(x, y)
    # A polygon of 400 corners keeps within 1 - cos(pi / 400) = 3e-5 of the circle.
    clear = np.abs(radius - 1) > 1e-4
    assert np.array_equal(inside[clear], radius[clear] < 1)


def test_an_outline_that_crosses_itself_and_missing_points_are_taken():
    bow_tie = [(0, 0), (2, 2), (2, 0), (0, 2)]
    assert enclosed([0.2, 1.8, 1.0, np.nan], [1.0, 1.0, 1.8, 1.0], bow_tie).tolist() == [True, True, False, False]
