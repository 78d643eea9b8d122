"""Reading catalogues: the published tables, column maps, limits and refusals."""

from __future__ import annotations

import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from sc_lab.catalog import BUILTIN_MAPS, COLUMNS, ColumnMap, Source, flags, read_catalog, texts, validate, values
from sc_lab.errors import CatalogError, InputError


def small(**columns):
    """Return a minimal valid table with extra columns."""
    return Table({"id": ["a", "b", "c"], "z": [1.0, 2.0, 3.0], **columns})


@pytest.fixture
def highz():
    root = os.environ.get("SC_LAB_REAL_DATA")
    if not root:
        pytest.skip("SC_LAB_REAL_DATA is not set: the published tables are not here")
    folder = Path(root) / "reference" / "highz"
    if not folder.is_dir():
        pytest.skip(f"SC_LAB_REAL_DATA is {root}, which has no reference/highz")
    return folder


# ---- the published tables ----------------------------------------------------------------


@pytest.mark.real_data
def test_smacs0723_opens_through_its_map(highz):
    table = read_catalog(highz / "clumps_smacs0723_claeyssens_2023.ecsv")
    assert len(table) == 223
    assert table.meta["sc_lab"]["column_map"] == "claeyssens2023"
    radius, limit = values(table, "r_eff"), flags(table, "r_eff_is_limit")
    unmeasured = np.isnan(radius)
    assert texts(table, "id")[int(np.flatnonzero(unmeasured)[0])] == "S5.2 C1.1"
    assert unmeasured.sum() == 1
    assert limit[unmeasured].all()
    # The 34 published candidates are the 33 radii below 20 pc and the limit without a number.
    assert ((radius < 20) | (limit & unmeasured)).sum() == 34
    np.testing.assert_array_equal((radius < 20) | (limit & unmeasured), np.asarray(table["sc_candidate_lt20pc"]))


@pytest.mark.real_data
def test_smacs0723_values_are_those_of_the_file(highz):
    path = highz / "clumps_smacs0723_claeyssens_2023.ecsv"
    raw, table = Table.read(path, format="ascii.ecsv"), read_catalog(path)

    def of(name):
        return np.ma.filled(np.ma.asarray(raw[name], dtype=float), np.nan)

    # 1e-12: one power of ten and its logarithm in float64; 1e-9 after a difference of two of them.
    np.testing.assert_allclose(np.log10(values(table, "mass")), of("log_mass"), atol=1e-12)
    low = np.log10(values(table, "mass") - values(table, "mass_err_lo"))
    np.testing.assert_allclose(low, of("log_mass") - of("log_mass_err_lo"), atol=1e-9)
    high = np.log10(values(table, "mass") + values(table, "mass_err_hi"))
    np.testing.assert_allclose(high, of("log_mass") + of("log_mass_err_hi"), atol=1e-9)
    np.testing.assert_allclose(values(table, "a_v"), 4.05 * of("ebv"))
    systems = texts(table, "system")
    ids = texts(table, "id")
    assert {i for i, s in zip(ids, systems, strict=True) if s == "S1 C1"} == {"S1.1 C1.1", "S1.2 C1.1", "S1.3 C1.1"}
    # The density in the file is M / (2 pi R^2), rounded to 0.001.
    sigma = np.log10(values(table, "mass") / (2 * np.pi * values(table, "r_eff") ** 2))
    good = np.isfinite(sigma)
    np.testing.assert_allclose(sigma[good], of("log_sigma")[good], atol=6e-4)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "name", "rows", "limits"),
    [
        ("star_clusters_cosmic_gems_adamo_2024.ecsv", "adamo2024", 8, 2),
        ("star_clusters_firefly_sparkle_mowla_2024.ecsv", "mowla2024", 10, 10),
        ("sparkler_positions_canucs_2022.ecsv", "canucs2022", 32, 0),
    ],
)
def test_every_published_object_table_opens_without_a_word(highz, file, name, rows, limits):
    table = read_catalog(highz / file)
    assert (len(table), table.meta["sc_lab"]["column_map"]) == (rows, name)
    assert flags(table, "r_eff_is_limit").sum() == limits
    assert len(set(texts(table, "id"))) == rows


# ---- column maps -------------------------------------------------------------------------


def test_a_dict_renames_and_keeps_the_rest(tmp_path):
    (tmp_path / "c.csv").write_text("NAME,zspec,mass,colour\n1.10,2.5,1e6,red\n1.1,3,,blue\n")
    table = read_catalog(tmp_path / "c.csv", columns={"id": "NAME", "z": "zspec"})
    assert texts(table, "id") == ["1.10", "1.1"]
    np.testing.assert_array_equal(values(table, "mass"), [1e6, np.nan])
    assert list(table["colour"]) == ["red", "blue"]
    assert any("solMass" in note for note in table.meta["sc_lab"]["notes"])


def test_units_logarithms_and_errors_in_dex_become_linear_house_units():
    raw = Table({"n": ["a"], "zz": [1.0], "lm": [3.0], "el": [0.5], "eh": [0.25], "r": [0.01], "t": [2e6]})
    table = validate(
        raw,
        columns={
            "id": "n",
            "z": "zz",
            "mass": Source(column="lm", log=True, unit="kg"),
            "mass_err_lo": "el",
            "mass_err_hi": "eh",
            "r_eff": Source(column="r", unit="kpc"),
            "age_onset": Source(column="t", unit="yr"),
        },
    )
    kg = (1 * u.kg).to_value(u.Msun)
    # 1e-12: float64 arithmetic.
    np.testing.assert_allclose(values(table, "mass"), 1000 * kg, rtol=1e-12)
    np.testing.assert_allclose(values(table, "mass_err_lo"), (1000 - 10**2.5) * kg, rtol=1e-12)
    np.testing.assert_allclose(values(table, "mass_err_hi"), (10**3.25 - 1000) * kg, rtol=1e-12)
    np.testing.assert_allclose(values(table, "r_eff"), 10.0)
    np.testing.assert_allclose(values(table, "age_onset"), 2.0)


def test_a_unit_in_the_file_wins_over_the_one_in_the_map():
    raw = small(r=[1.0, 2.0, 3.0])
    raw["r"].unit = "kpc"
    table = validate(raw, columns={"id": "id", "z": "z", "r_eff": Source(column="r", unit="pc")})
    np.testing.assert_allclose(values(table, "r_eff"), [1000, 2000, 3000])


def test_limits_from_text_from_sentinels_and_from_negative_errors():
    raw = small(r=["<12", "30", "<0"], m=[-99.0, 1e6, 99.0], s=[1.0, 2.0, 3.0], e=[-1.0, 0.5, 0.2])
    table = validate(
        raw,
        columns={
            "id": "id",
            "z": "z",
            "r_eff": "r",
            "mass": Source(column="m", missing=(-99.0, 99.0)),
            "mag_f150w": "s",
            "mag_f150w_err": Source(column="e", negative="missing"),
            "mag_f150w_is_limit": Source(column="e", negative="limit"),
        },
    )
    np.testing.assert_array_equal(values(table, "r_eff"), [12, 30, np.nan])
    assert flags(table, "r_eff_is_limit").tolist() == [True, False, True]
    np.testing.assert_array_equal(values(table, "mass"), [np.nan, 1e6, np.nan])
    np.testing.assert_array_equal(values(table, "mag_f150w_err"), [np.nan, 0.5, 0.2])
    assert flags(table, "mag_f150w_is_limit").tolist() == [True, False, False]


def test_composed_ids_never_interpret_their_templates():
    raw = Table({"n": ["{z}", "{n.__class__}"], "z": [1.0, 2.0]})
    table = validate(raw, columns={"id": Source(compose="{n} of {n:before z}"), "z": "z"})
    assert texts(table, "id") == ["{z} of {", "{n.__class__} of {n.__class__}"]


def test_a_map_for_another_table_is_refused_with_both_names():
    with pytest.raises(CatalogError, match=r"'claeyssens2023' takes it from 'image_id', which is not in the table"):
        validate(small(), columns="claeyssens2023")
    with pytest.raises(InputError, match=r"no built-in column map named 'x'; the built-in maps are claeyssens2023"):
        validate(small(), columns="x")
    with pytest.raises(InputError, match="unknown canonical names 'radius'"):
        ColumnMap(columns={"radius": "r"})


def test_built_in_maps_are_named_by_their_keys_and_cited():
    for name, each in BUILTIN_MAPS.items():
        assert each.name == name
        assert each.citation
        assert each.signature


def test_a_foreign_column_that_collides_is_kept_under_another_name():
    raw = small(radius=[1.0, 2.0, 3.0], r_eff=["x", "y", "z"])
    table = validate(raw, columns={"id": "id", "z": "z", "r_eff": "radius"})
    np.testing.assert_array_equal(values(table, "r_eff"), [1, 2, 3])
    assert list(table["r_eff_original"]) == ["x", "y", "z"]


# ---- refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"z": [1.0, -2.0, 3.0]}, r"column 'z': impossible value -2 in row 2 \(b\); z must be at least 0"),
        ({"mu": [0.0, 1.0, -1.0]}, r"rows 1 \(a\), 3 \(c\); mu must be greater than 0"),
        ({"mass": [1e6, 0.0, 1e6]}, r"mass must be greater than 0 solMass"),
        ({"mass_err_lo": [1.0, 1.0, -1.0]}, r"'mass_err_lo': impossible value -1 in row 3 \(c\)"),
        ({"r_eff": [-99.0, 1.0, 1.0]}, r"missing=\(-99,\)"),
        ({"mag_f150w": [99.0, 25.0, 25.0]}, r"mag_f150w must be at least -60 mag and at most 60 mag"),
        ({"age_onset": [np.inf, 1.0, 1.0]}, r"infinite value in row 1 \(a\)"),
        ({"mass": ["1e6", "lots", "2"]}, r"text such as 'lots' where numbers belong, in row 2 \(b\)"),
        ({"mass": ["<12", "1", "2"]}, r"text such as '<12'"),
        ({"mass": [[1.0, 2.0]] * 3}, r"has the shape \(3, 2\); give one number a row"),
        ({"candidate": ["yes", "maybe", "no"]}, r"neither true nor false in row 2 \(b\)"),
        ({"mass": np.ones(3) * u.pc}, r"the unit is 'pc', which does not convert to 'solMass'"),
        ({"mag_f150w": np.ones(3) * u.nJy}, r"give AB magnitudes"),
        ({"z": np.ones(3) * u.m}, r"does not convert to a pure number"),
        ({"mass_draws": np.ones((3, 4)), "r_eff_draws": np.ones((3, 5))}, r"mass_draws has 4, r_eff_draws has 5"),
    ],
)
def test_impossible_values_are_refused_by_column_row_and_mend(columns, words):
    with pytest.raises(CatalogError, match=words):
        validate(Table({**dict(small().items()), **columns}), source="my.fits")


def test_all_problems_are_told_at_once_and_the_file_is_named():
    with pytest.raises(CatalogError) as caught:
        validate(small(mass=[-1.0, 1.0, 1.0], mu=[0.0, 1.0, 1.0]), source="my.fits")
    assert str(caught.value).startswith("my.fits has 2 problems:")


def test_duplicate_and_empty_identifiers_are_refused():
    with pytest.raises(CatalogError, match=r"unique, but 'a' in rows 1, 3; rename"):
        validate(Table({"id": ["a", "b", "a"], "z": [1.0, 2.0, 3.0]}))
    with pytest.raises(CatalogError, match=r"row 2 without an identifier"):
        validate(Table({"id": ["a", " "], "z": [1.0, 2.0]}))


def test_missing_columns_are_named_with_those_that_are_there():
    with pytest.raises(CatalogError, match=r"required column 'z' is missing; the table has id, mass.*columns=\{'z'"):
        validate(Table({"id": ["a"], "mass": [1.0]}))


def test_a_table_without_rows_is_refused():
    with pytest.raises(CatalogError, match="holds no rows"):
        validate(small()[:0])


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".vot", ".csv", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01garbage\xff\xfe" * 50, b"SIMPLE  =  T"])
def test_damaged_files_are_refused_in_words(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"bad\.") as caught:
        read_catalog(path)
    assert len(str(caught.value)) < 1500


def test_missing_files_folders_and_unknown_formats_are_refused(tmp_path):
    with pytest.raises(CatalogError, match="there is no file"):
        read_catalog(tmp_path / "none.fits")
    with pytest.raises(CatalogError, match="is a folder"):
        read_catalog(tmp_path)
    (tmp_path / "table.doc").write_text("x")
    with pytest.raises(CatalogError, match=r"cannot be told from its name; rename it to one of \.ecsv"):
        read_catalog(tmp_path / "table.doc")
    with pytest.raises(CatalogError, match=r"the format 'excel' of table\.doc is unknown"):
        read_catalog(tmp_path / "table.doc", format="excel")


def test_a_ragged_csv_names_the_row(tmp_path):
    (tmp_path / "c.csv").write_text("id,z\na,1\nb,2,3\n")
    with pytest.raises(CatalogError, match="data row 2 has 3 values but the header names 2"):
        read_catalog(tmp_path / "c.csv")


def test_objects_are_refused(tmp_path):
    table = small()
    table["thing"] = np.array([{"a": 1}, [2], "x"], dtype=object)
    table.write(tmp_path / "o.ecsv")
    with pytest.raises(CatalogError, match=r"o\.ecsv: column 'thing' holds object values"):
        read_catalog(tmp_path / "o.ecsv")
    with pytest.raises(CatalogError, match="column 'thing'"):
        validate(table)


# ---- what survives -----------------------------------------------------------------------


def test_nan_is_masked_and_rows_are_never_dropped():
    table = validate(small(mass=[np.nan, 1e6, np.nan]))
    assert len(table) == 3
    assert table["mass"].mask.tolist() == [True, False, True]
    assert table["mass"].unit == u.Msun


def test_assumed_units_are_written_down():
    notes = validate(small(r_eff=[1.0, 2.0, 3.0])).meta["sc_lab"]["notes"]
    assert "r_eff has no unit in the file: taken to be in pc" in notes


def test_validate_leaves_its_input_alone_and_is_idempotent():
    raw = small(r_eff=[1.0, np.nan, 3.0])
    before = raw.copy()
    once = validate(raw)
    twice = validate(once)
    assert raw.colnames == before.colnames
    assert list(raw["id"]) == list(before["id"])
    np.testing.assert_array_equal(raw["r_eff"], before["r_eff"])
    assert once.meta == twice.meta
    once["r_eff"][0] = 5 * u.pc
    assert validate(once).meta["sc_lab"]["sha256"] != twice.meta["sc_lab"]["sha256"]


def test_a_data_frame_is_a_catalogue():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "z": [1.0, 2.0], "r_eff": [None, 3.0], "field": ["x", None]})
    table = validate(frame)
    np.testing.assert_array_equal(values(table, "r_eff"), [np.nan, 3.0])
    assert texts(table, "field") == ["x", ""]


def test_accessors_answer_for_absent_columns_and_refuse_unknown_ones():
    table = validate(small())
    assert np.isnan(values(table, "mass")).all()
    assert not flags(table, "r_eff_is_limit").any()
    assert texts(table, "field") == ["", "", ""]
    with pytest.raises(InputError, match="there is no catalogue column named 'radius'"):
        values(table, "radius")


def test_registry_keys_are_the_names():
    assert all(name == each.name for name, each in COLUMNS.items())


def test_bytes_that_are_not_utf8_are_latin1_as_old_fits_tables_have_it(tmp_path):
    table = Table({"id": np.array([b"\xe9toile", b"b"]), "z": [1.0, 2.0]})
    assert validate(table)["id"].tolist() == ["étoile", "b"]
    table.write(tmp_path / "old.fits")
    assert read_catalog(tmp_path / "old.fits")["id"].tolist() == ["étoile", "b"]


def test_a_foreign_column_of_arrays_of_text_is_kept():
    table = Table({"id": ["a", "b"], "z": [1.0, 2.0], "pairs": np.array([["a", "b"], ["c", "d"]])})
    assert validate(table)["pairs"].tolist() == [["a", "b"], ["c", "d"]]


def test_identifiers_of_other_catalogues_keep_their_digits_in_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,z,gaia,code,flux\na,1,4295806720038528001,007,1.5\nb,2,4295806720038528002,012,2e3\n")
    table = read_catalog(path)
    assert table["gaia"].tolist() == ["4295806720038528001", "4295806720038528002"]
    assert table["code"].tolist() == ["007", "012"]
    assert table["flux"].tolist() == [1.5, 2000.0]


def test_manual_edits_of_an_earlier_export_are_named_because_they_are_not_applied():
    table = Table({"id": ["a", "b"], "z": [1.0, 2.0], "excluded": [True, False], "note": ["", "see b"]})
    assert "1 exclusions and 1 notes of an earlier export are not applied" in " ".join(
        validate(table).meta["sc_lab"]["notes"]
    )
    assert not validate(table[["id", "z"]]).meta["sc_lab"]["notes"]


def test_masses_that_look_like_logarithms_are_pointed_out():
    table = Table({"id": ["a", "b"], "z": [1.0, 2.0], "mass": [6.5, np.nan]})
    assert "if these are logarithms" in " ".join(validate(table).meta["sc_lab"]["notes"])
    table["mass"] = [6.5, 3e6]
    assert "logarithms" not in " ".join(validate(table).meta["sc_lab"]["notes"])
