"""Pairs are one-to-one, nearest first, on the sky and on pixels alike."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from sc_lab.detection import completeness_table, match_pixels, match_positions
from sc_lab.errors import InputError


def test_the_nearest_pair_wins_and_the_loser_takes_the_next():
    match = match_pixels([0.0, 1.0], [0, 0], [0.9, 2.5], [0, 0], radius=3)
    pairs = dict(zip(match.first.tolist(), match.second.tolist(), strict=True))
    assert pairs == {1: 0, 0: 1}
    assert match.separation == pytest.approx([0.1, 2.5])


def test_partners_and_flags_agree():
    match = match_pixels([0, 10, np.nan], [0, 0, 0], [10.5, 50], [0, 0])
    assert match.first_matched.tolist() == [False, True, False]
    assert match.second_partner.tolist() == [1, -1]


def test_sky_separations_are_true_across_the_wrap_of_right_ascension():
    match = match_positions([0.00001], [60.0], [359.99999], [60.0], radius=1 * u.arcsec)
    # 2e-5 deg of right ascension at declination 60: 0.036 arcsec; double precision of unit vectors is 1e-10 arcsec.
    assert match.separation == pytest.approx([0.036], rel=1e-6)


def test_empty_lists_have_no_pairs():
    assert len(match_pixels([], [], [1.0], [1.0]).first) == 0
    assert len(match_positions([], [], [], [], radius=1 * u.arcsec).first) == 0


def test_many_random_points_find_themselves_again():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 1000, (2, 500))
    order = rng.permutation(500)
    match = match_pixels(x, y, x[order] + 1e-3, y[order], radius=0.5)
    assert np.array_equal(order[match.second], match.first)
    assert len(match.first) == 500


def test_completeness_counts_what_was_found():
    table = completeness_table([6, 7, 9, 30, 30], [True, False, True, True, True])
    assert table["completeness"][:2].tolist() == [0.5, 1.0]
    assert np.isnan(table["completeness"][2])
    assert table["n"].tolist() == [2, 1, 0, 2, 0]


@pytest.mark.parametrize("radius", [0, -1, np.nan])
def test_radius_must_be_positive(radius):
    with pytest.raises(InputError, match="radius is"):
        match_pixels([1], [1], [1], [1], radius=radius)
    with pytest.raises(InputError, match="radius is"):
        match_positions([1], [1], [1], [1], radius=radius * u.arcsec)


def test_radius_without_a_unit_means_arcsec_and_bins_must_rise():
    assert len(match_positions([1], [1], [1], [1.0001], radius=1.0).first) == 1
    with pytest.raises(InputError, match="rising numbers"):
        completeness_table([1], [True], edges=[3, 2])
