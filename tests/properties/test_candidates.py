"""Star-cluster candidates: strictly below the threshold, limits included, nothing guessed."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.catalog import flags, read_catalog, values
from sc_lab.errors import InputError, UnitMismatchError
from sc_lab.properties import DEFAULT_SIZE_THRESHOLD, select_candidates


def test_candidates_are_strictly_below_the_threshold():
    assert select_candidates([19.999, 20.0, 20.001]).tolist() == [True, False, False]
    assert u.Quantity(20, u.pc) == DEFAULT_SIZE_THRESHOLD


def test_a_limit_counts_like_a_size_and_one_without_a_number_counts_always():
    r_eff = [8.0, 25.0, np.nan, np.nan]
    assert select_candidates(r_eff, is_limit=[True, True, True, False]).tolist() == [True, False, True, False]
    assert select_candidates(r_eff).tolist() == [True, False, False, False]


def test_masked_radii_are_not_measured():
    masked = np.ma.masked_array([8.0, 8.0], mask=[True, False])
    assert select_candidates(masked).tolist() == [False, True]
    assert select_candidates(masked, is_limit=[True, False]).tolist() == [True, True]


def test_units_are_converted_and_wrong_ones_refused():
    assert select_candidates([0.008, 0.03] * u.kpc, threshold=0.02 * u.kpc).tolist() == [True, False]
    with pytest.raises(UnitMismatchError, match="threshold"):
        select_candidates([1.0], threshold=1 * u.Myr)


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.nan, [1.0, 2.0]])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(InputError, match="one finite size greater than 0"):
        select_candidates([1.0], threshold=threshold)


def test_one_flag_for_each_radius():
    with pytest.raises(InputError, match="one flag for each radius"):
        select_candidates([1.0, 2.0], is_limit=[True])


@pytest.mark.real_data
def test_the_published_clumps_of_smacs0723_give_34_candidates(real_data):
    """33 numbers strictly below 20 pc and one limit without a number (Claeyssens et al. 2023, table A2)."""
    table = read_catalog(real_data / "reference" / "highz" / "clumps_smacs0723_claeyssens_2023.ecsv")
    r_eff, limit = values(table, "r_eff"), flags(table, "r_eff_is_limit")
    found = select_candidates(r_eff, threshold=20 * u.pc, is_limit=limit)
    assert len(table) == 223
    assert found.sum() == 34
    assert np.count_nonzero(r_eff < 20) == 33
    assert np.count_nonzero(r_eff == 20) == 2
    assert found[np.isnan(r_eff)].tolist() == [True]


def test_flags_are_true_or_false_and_a_masked_one_is_no_limit():
    nan = float("nan")
    masked = np.ma.array([True, True], mask=[False, True])
    assert select_candidates([nan, nan], is_limit=masked).tolist() == [True, False]
    assert select_candidates([nan, nan], is_limit=[1, 0]).tolist() == [True, False]
    for wrong in (["no"], [nan]):
        with pytest.raises(InputError, match="is_limit has values such as"):
            select_candidates([nan], is_limit=wrong)
