"""The registry of columns: valid units and UCDs, patterns that resolve, names that do not."""

from __future__ import annotations

import astropy.units as u
import pytest
from astropy.io.votable.ucd import check_ucd

from sc_lab.catalog import BUILTIN_MAPS, COLUMNS, PATTERNS, ColumnMap, Source, column, find_column
from sc_lab.catalog.columns import error_centre
from sc_lab.errors import InputError

EXAMPLES = (
    "mag_f150w",
    "mag_f150w_err",
    "mag_f150w_is_limit",
    "abs_mag_f150w",
    "abs_mag_f150w_err",
    "mu_m2",
    "mu_m2_err_lo",
    "mu_t_m2",
    "mu_t_m2_err_hi",
    "mass_tau10",
    "mass_tau10_err_lo",
    "age_onset_tau2p5_err_hi",
    "abs_mag_v_tau10",
    "abs_mag_v_tau10_err",
    "sed_chi2_tau10",
)


@pytest.mark.parametrize("name", [*COLUMNS, *EXAMPLES])
def test_every_column_has_a_valid_unit_ucd_and_description(name):
    entry = column(name)
    assert entry.name == name
    assert entry.description
    assert check_ucd(entry.ucd, check_controlled_vocabulary=True)
    assert u.Unit(entry.unit) == entry.astropy_unit
    assert entry.low < entry.high
    if entry.unit:
        assert u.Unit(entry.astropy_unit.to_string("fits")) == entry.astropy_unit
        assert u.Unit(entry.astropy_unit.to_string("vounit"), format="vounit") == entry.astropy_unit


@pytest.mark.parametrize(
    "name",
    [
        "radius",
        "mag_F150W",
        "mag_",
        "mu_t_t",
        "mu_err",
        "mu_t_err",
        "abs_mag_f150w_is_limit",
        "mag_f150w_draws",
        "",
        "z_tau10",
        "abs_mag_v_tau10_err_lo",
    ],
)
def test_other_names_are_foreign(name):
    assert find_column(name) is None
    with pytest.raises(InputError, match="there is no catalogue column named"):
        column(name)


def test_names_of_errors_lead_to_what_they_belong_to():
    assert error_centre("mass_err_lo") == ("mass", "lo")
    assert error_centre("mag_f150w_err") == ("mag_f150w", "")
    assert error_centre("mu_t_m2_err_hi") == ("mu_t_m2", "hi")
    assert error_centre("mass") is None


def test_only_identifier_and_redshift_are_required():
    assert [name for name, each in COLUMNS.items() if each.required] == ["id", "z"]


def test_signatures_of_built_in_maps_tell_the_tables_apart():
    for each in BUILTIN_MAPS.values():
        others = [other for other in BUILTIN_MAPS.values() if other is not each]
        assert not any(other.signature <= each.signature for other in others)


def test_a_source_has_exactly_one_origin():
    with pytest.raises(InputError, match="exactly one of column, compose and constant"):
        Source()
    with pytest.raises(InputError, match="exactly one of column, compose and constant"):
        Source(column="a", compose="{b}")
    with pytest.raises(InputError, match="the conventions are 'missing', 'limit'"):
        Source(column="a", negative="ignore")
    with pytest.raises(InputError, match=r"the unit 'furlongs' of a column source is not one of astropy's"):
        Source(column="a", unit="furlongs")
    with pytest.raises(InputError, match="mass is a number, so its source cannot be text"):
        ColumnMap(columns={"mass": Source(compose="{z}")})
    with pytest.raises(InputError, match="neither text nor Source"):
        ColumnMap(columns={"id": 3})


def test_the_patterns_are_documented():
    assert all(words for words in PATTERNS.values())
