"""The public edge: whatever an astronomer holds numbers in becomes float64 in the house unit, or is refused in words."""

import astropy.units as u
import numpy as np
import pytest
from astropy.utils.masked import Masked

from sc_lab.errors import UnitMismatchError
from sc_lab.units import value_in


@pytest.mark.parametrize(
    "value",
    [
        [1e6, 2e6],
        (1e6, 2e6),
        np.array([1_000_000, 2_000_000]),
        np.array([1e6, 2e6], dtype=">f4"),
        np.array([1e6, 2e6], dtype=object),
        [1e6, 2e6] * u.Msun,
        u.Quantity([1e6, 2e6], u.Msun).to(u.kg),
        np.log10([1e6, 2e6]) * u.dex(u.Msun),
    ],
)
def test_numbers_of_any_kind_are_the_same_masses(value):
    # Single precision holds 7 digits, and these two masses exactly; dex and kg round at 1e-15.
    np.testing.assert_allclose(value_in(value, u.Msun, "mass"), [1e6, 2e6], rtol=1e-12)


@pytest.mark.parametrize(
    "value",
    [
        np.ma.array([1.0, 2.0], mask=[False, True]),
        Masked([1.0, 2.0] * u.pc, mask=[False, True]),
        [1.0, None],
        [1.0, np.nan],
    ],
)
def test_what_is_masked_or_missing_is_nan(value):
    assert np.array_equal(value_in(value, u.pc, "r_eff"), [1.0, np.nan], equal_nan=True)


def test_a_pandas_series_is_an_array_with_its_missing_values():
    pandas = pytest.importorskip("pandas")
    for series in (pandas.Series([1.0, None]), pandas.Series([1, None], dtype="Int64")):
        assert np.array_equal(value_in(series, u.pc, "r_eff"), [1.0, np.nan], equal_nan=True)
    with pytest.raises(UnitMismatchError, match="r_eff is not numeric"):
        value_in(pandas.Series(["a", "b"]), u.pc, "r_eff")


def test_the_input_is_never_changed_through_the_output():
    for value in (np.array([1.0, 2.0]), [1.0, 2.0] * u.pc):
        value_in(value, u.pc, "r_eff")[:] = 7.0
        assert np.asarray(value).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1.0 * u.pc, u.Msun, "has the unit 'pc', which does not convert to 'solMass'; give x as a Quantity in"),
        (1.0 * u.pc, u.one, "does not convert to a pure number; give x as pure numbers"),
        ("heavy", u.Msun, "x is not numeric .got str.; give numbers in 'solMass'"),
        (None, u.one, "x is not numeric .got NoneType.; give pure numbers"),
    ],
)
def test_the_wrong_kind_is_refused_with_the_mend(value, unit, words):
    with pytest.raises(UnitMismatchError, match=words):
        value_in(value, unit, "x")
