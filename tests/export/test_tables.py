"""Exports: what is written can be read again, is complete, and is the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sc_lab.catalog import content_sha256, flags, read_catalog, texts, validate, values
from sc_lab.errors import InputError
from sc_lab.export import catalog_table, write_table
from sc_lab.population.settings import Settings

SUFFIXES = (".ecsv", ".fits", ".vot", ".csv", ".parquet")
SCRIPT = "<script>alert(1)</script> & \"β\" 'x' , ; # $\\{π}"


def catalogue():
    """Return a small catalogue with everything that is hard to carry."""
    return validate(
        Table(
            {
                "id": [SCRIPT, "S1.10", "007"],
                "z": [1.0, 2.0, np.nan],
                "field": ["", "naïve ☉", "=cmd()"],
                "ra": [10.0, 359.99999999, 0.0] * u.deg,
                "dec": [-73.0, 0.1, 89.0] * u.deg,
                "r_eff": [12.0, np.nan, 0.1 + 0.2] * u.pc,
                "r_eff_is_limit": [True, True, False],
                "mass": [1e6, 2e7, np.nan] * u.Msun,
                "mass_err_lo": [1e5, np.nan, np.nan] * u.Msun,
                "mag_f150w": [25.1, 26.0, np.nan] * u.mag,
                "mass_draws": np.array([[1e6, 2e6], [np.nan, 3e6], [np.nan, np.nan]]) * u.Msun,
                "foreign": [1.5, 2.5, np.nan],
            }
        ),
        source="hard.fits",
    )


def population(catalog=None, **changes):
    """Return what the export needs of a population."""
    table = catalogue() if catalog is None else catalog
    n = len(table)

    def columns():
        return {
            "sigma_mass": np.array([1.0, np.nan, 3.0][:n]) * u.Msun / u.pc**2,
            "sigma_mass_is_limit": np.array([True, False, False][:n]),
            "dynamical_age": np.array([1.0, np.nan, 3.0][:n]),
            "candidate": np.array([True, True, False][:n]),
            "exclusion_reason": np.array(["", "line\nbreak \x00 <b>", ""][:n]),
        }

    values = {
        "catalog": table,
        "settings": Settings(seed=7),
        "excluded": {"S1.10": "blend"},
        "kept": ("007",),
        "notes": {"007": SCRIPT},
        "columns": columns,
    }
    return SimpleNamespace(**(values | changes))


def assert_same(a, b):
    """Two catalogues hold the same columns, values, masks, units and texts."""
    assert a.colnames == b.colnames
    for name in a.colnames:
        first, second = a[name], b[name]
        assert str(first.unit or "") == str(second.unit or ""), name
        assert first.shape == second.shape, name
        for x, y in zip(np.ravel(_plain(first)).tolist(), np.ravel(_plain(second)).tolist(), strict=True):
            assert repr(x) == repr(y), name
    assert content_sha256(a) == content_sha256(b)


def _plain(column):
    bare = getattr(column, "unmasked", column)
    data = np.array(np.ma.getdata(getattr(bare, "value", bare)))
    mask = np.broadcast_to(np.asarray(getattr(column, "mask", False)), data.shape)
    return np.where(mask, np.nan, data) if data.dtype.kind == "f" else data


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_again(tmp_path, suffix):
    table = catalogue()
    again = read_catalog(write_table(table, tmp_path / f"t{suffix}"))
    assert_same(table, again)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_export_is_read_again_with_its_provenance(tmp_path, suffix):
    table = catalog_table(population(), draws=True)
    again = read_catalog(write_table(table, tmp_path / f"t{suffix}"))
    assert texts(again, "id")[0] == SCRIPT
    assert texts(again, "exclusion_reason")[1] == "line break   <b>"
    np.testing.assert_array_equal(values(again, "sigma_mass"), [1, np.nan, 3])
    np.testing.assert_array_equal(values(again, "mass_draws"), values(table, "mass_draws"))
    assert flags(again, "sigma_mass_is_limit").tolist() == [True, False, False]
    assert again.meta["sc_lab"]["cosmology"]["H0"] == 70.0
    assert again.meta["sc_lab"]["lens_model"] == "reference"


text = st.text(min_size=0, max_size=12)
number = st.floats(min_value=1e-300, max_value=1e300) | st.just(float("nan"))


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_any_catalogue_survives_a_round_trip(suffix, data):
    n = data.draw(st.integers(1, 5))
    names = data.draw(st.lists(text, min_size=n, max_size=n))

    def column(strategy):
        return data.draw(st.lists(strategy, min_size=n, max_size=n))

    table = validate(
        Table(
            {
                "id": np.array([f"{i}{name}" for i, name in enumerate(names)], dtype=np.str_),
                "z": column(st.floats(0, 20) | st.just(float("nan"))),
                "field": np.array(column(text), dtype=np.str_),
                "mass": np.array(column(number)) * u.Msun,
                "r_eff": np.array(column(number)) * u.pc,
                "r_eff_is_limit": column(st.booleans()),
                "r_eff_draws": np.array([column(number), column(number)]).T.copy() * u.pc,
            }
        )
    )
    if suffix == ".csv" and np.isnan(values(table, "r_eff_draws")).all():
        table.remove_column("r_eff_draws")
    with tempfile.TemporaryDirectory() as folder:
        again = read_catalog(write_table(table, Path(folder) / f"t{suffix}"))
    assert_same(table, again)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tex", ".reg"])
def test_an_export_gives_the_same_bytes_here_and_in_another_process(tmp_path, suffix):
    first = write_table(catalog_table(population()), tmp_path / f"a{suffix}").read_bytes()
    second = write_table(catalog_table(population()), tmp_path / f"b{suffix}").read_bytes()
    assert first == second
    code = (
        "import hashlib, importlib.util, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('shared', {str(Path(__file__))!r})\n"
        "shared = importlib.util.module_from_spec(spec); spec.loader.exec_module(shared)\n"
        f"path = shared.write_table(shared.catalog_table(shared.population()), {str(tmp_path / f'c{suffix}')!r})\n"
        "print(hashlib.sha256(path.read_bytes()).hexdigest())\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "17", "TZ": "Asia/Tokyo"},
    )
    assert out.stdout.strip() == hashlib.sha256(first).hexdigest()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_identifier_that_looks_like_a_comment_keeps_its_row(tmp_path, suffix):
    """Readers of ECSV and of CSV with comments drop a line that begins with "#"."""
    names = ["#1", "# two, and", 'x "#3"', "4"]
    table = validate(Table({"id": names, "z": [1.0, 2.0, 3.0, 4.0], "field": ["a#b", "#", "", "c"]}))
    path = write_table(table, tmp_path / f"t{suffix}")
    again = read_catalog(path)
    assert texts(again, "id") == names
    assert texts(again, "field") == ["a#b", "#", "", "c"]
    if suffix in (".ecsv", ".csv"):
        options = {"format": "ascii.csv", "comment": "#"} if suffix == ".csv" else {"format": "ascii.ecsv"}
        assert Table.read(path, **options)["id"].tolist() == names


def test_a_table_of_one_column_of_empty_texts_keeps_its_rows(tmp_path):
    path = write_table(Table({"txt": ["", "a", ""]}), tmp_path / "t.csv")
    assert len(Table.read(path, format="ascii.csv", comment="#")) == 3


def test_astropy_names_the_columns_of_a_votable_as_they_are(tmp_path):
    """By default it takes the XML identifiers of the columns for their names."""
    table = Table({"id": ["a"], "z": [1.0], "column_0": [1.0], "<b> ü": [2.0]})
    found = Table.read(write_table(table, tmp_path / "t.vot")).colnames
    assert found == ["id", "z", "column_0", "column_1"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_that_people_bring_along_survive_in_every_format(tmp_path, suffix):
    """Odd names become legal and distinct, large integers keep their digits, arrays of text become JSON."""
    big = np.array([2**63 + 5, 1], dtype=np.uint64)
    table = Table({"id": ["a", "b"], "z": [1.0, 2.0]})
    table["Z"] = [3.0, 4.0]
    table["größe ☉"] = [5.0, 6.0]
    table["two\nlines"] = [7.0, 8.0]
    table["long" * 30] = [9.0, 10.0]
    table["hash"] = big
    table["gaps"] = np.ma.array([2**60 + 1, 1], mask=[False, True])
    table["pairs"] = np.array([["a", "é"], ["c", "d"]])
    table["sure"] = np.array([[True, False], [False, True]])
    table["flux"] = [1.0, 2.0] * u.Unit("erg / (s cm2)")
    again = read_catalog(write_table(validate(table), tmp_path / f"t{suffix}"))
    assert len(again.colnames) == len(table.colnames)
    found = dict(zip(table.colnames, again.colnames, strict=True))
    for name in ("Z", "größe ☉", "two\nlines", "long" * 30):
        assert again[found[name]].tolist() == table[name].tolist()
    assert str(again["hash"][0]) == str(2**63 + 5)
    assert str(again["gaps"][0]) == str(2**60 + 1)
    assert str(again["pairs"][0]) == '["a", "é"]'


def test_an_export_leaves_no_row_out_and_orders_its_columns():
    table = catalog_table(population())
    assert len(table) == 3
    assert table.colnames[:3] == ["id", "field", "ra"]
    assert table.colnames.index("mag_f150w") < table.colnames.index("sigma_mass") < table.colnames.index("foreign")
    assert "mass_draws" not in table.colnames
    for name in set(table.colnames) - {"foreign"}:
        assert table[name].info.description, name
        assert table[name].info.meta["ucd"], name


def test_the_provenance_names_versions_input_settings_and_edits():
    record = catalog_table(population()).meta["sc_lab"]
    assert set(record["software"]) == {"sc_lab", "numpy", "astropy", "scipy"}
    assert (record["source"], record["seed"]) == ("hard.fits", 7)
    assert len(record["sha256"]) == 64
    assert record["settings"] == Settings(seed=7).to_dict()
    assert record["edits"] == {"excluded": [["S1.10", "blend"]], "kept": ["007"], "notes": [["007", SCRIPT]]}
    assert record == json.loads(json.dumps(record))


def test_a_long_provenance_survives_fits(tmp_path):
    notes = {"007": "a b  c " * 3000 + " " * 2500 + "end"}
    path = write_table(catalog_table(population(notes=notes)), tmp_path / "t.fits")
    from astropy.io import fits

    with fits.open(path) as hdus:
        rows = hdus["SC_LAB"].data
        joined = "".join(row["value"] for row in rows if row["key"] == "edits")
    assert json.loads(joined)["notes"] == [["007", notes["007"]]]


def test_a_recomputed_quantity_drops_the_errors_of_the_reference_model():
    columns = {"mass": np.array([5.0, 6.0, np.nan]) * u.Msun}
    table = catalog_table(population(columns=lambda: columns))
    np.testing.assert_array_equal(values(table, "mass"), [5, 6, np.nan])
    assert "mass_err_lo" not in table.colnames


def test_an_existing_file_is_left_alone_unless_told_otherwise(tmp_path):
    path = tmp_path / "t.ecsv"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists and is left as it is; give overwrite=True"):
        write_table(catalogue(), path)
    assert path.read_text() == "mine"
    write_table(catalogue(), path, overwrite=True)
    assert len(read_catalog(path)) == 3


def test_a_failed_export_leaves_nothing_behind(tmp_path):
    table = Table({"id": ["a"], "thing": np.array([object()], dtype=object)})
    with pytest.raises(InputError, match="column 'thing' holds object values"):
        write_table(table, tmp_path / "t.fits")
    assert list(tmp_path.iterdir()) == []


def test_a_name_may_be_as_long_as_names_can_be_and_no_longer(tmp_path):
    table = Table({"id": ["a"], "z": [1.0]})
    assert write_table(table, tmp_path / ("a" * 250 + ".csv")).exists()  # 255 bytes are what file systems hold
    with pytest.raises(InputError, match=r"no name for a file|could not be written"):
        write_table(table, tmp_path / ("a" * 300 + ".csv"))
    assert len(list(tmp_path.iterdir())) == 1


def test_unknown_formats_and_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot be told from 't\.doc'"):
        write_table(catalogue(), tmp_path / "t.doc")
    with pytest.raises(InputError, match="the export format 'excel' is unknown"):
        write_table(catalogue(), tmp_path / "t.doc", format="excel")
    with pytest.raises(InputError, match="does not exist; make it first"):
        write_table(catalogue(), tmp_path / "none" / "t.ecsv")


def test_other_tools_find_units_and_ucds(tmp_path):
    from astropy.io import fits
    from astropy.io.votable import parse

    table = catalog_table(population())
    with fits.open(write_table(table, tmp_path / "t.fits")) as hdus:
        header = hdus[1].header
        number = next(i for i in range(1, 99) if header[f"TTYPE{i}"] == "mass")
        assert header[f"TUNIT{number}"] == "solMass"
        assert header[f"TUCD{number}"] == "phys.mass"
        assert "intrinsic" in header[f"TCOMM{number}"]
    fields = parse(write_table(table, tmp_path / "t.vot")).get_first_table().fields
    mass = next(each for each in fields if each.name == "mass")
    assert (str(mass.unit), mass.ucd) == ("solMass", "phys.mass")


@pytest.mark.real_data
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_smacs0723_clumps_survive_every_format(tmp_path, suffix):
    root = os.environ.get("SC_LAB_REAL_DATA")
    if not root:
        pytest.skip("SC_LAB_REAL_DATA is not set: the published tables are not here")
    table = read_catalog(Path(root) / "reference/highz/clumps_smacs0723_claeyssens_2023.ecsv")
    foreign = ["ebv_fixed", "log_sigma", "sc_candidate_lt20pc"]
    again = read_catalog(write_table(table, tmp_path / f"t{suffix}"))
    assert len(again) == 223
    table.remove_columns(foreign)
    again.remove_columns(foreign)
    assert_same(table, again)


def test_no_export_leans_on_the_crashing_c_writer_of_votables():
    """Astropy's write_tabledata corrupts memory (astropy issue 20419): many exports must leave None alone."""
    table = catalog_table(population())
    with tempfile.TemporaryDirectory() as folder:
        write_table(table, Path(folder) / "t.vot")
        before = sys.getrefcount(None)
        for _ in range(30):
            write_table(table, Path(folder) / "t.vot", overwrite=True)
        # The C writer loses a reference for each masked value or so; ordinary caches only gain.
        assert sys.getrefcount(None) > before - 5 or sys.version_info >= (3, 12)


def demonstration():
    """Return the export of a small real analysis with edits."""
    from sc_lab.mock import make_population
    from sc_lab.population import analyse

    catalog = validate(make_population(n=60, rng=3).catalog)
    ids = texts(catalog, "id")
    found = analyse(catalog, excluded={ids[3]: "blend <b>"}, notes={ids[5]: SCRIPT}, n_populations=20)
    return catalog_table(found)


def test_a_real_analysis_exports_the_same_bytes_in_another_process(tmp_path):
    first = write_table(demonstration(), tmp_path / "a.ecsv").read_bytes()
    code = (
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('shared', {str(Path(__file__))!r})\n"
        "shared = importlib.util.module_from_spec(spec); spec.loader.exec_module(shared)\n"
        f"shared.write_table(shared.demonstration(), {str(tmp_path / 'b.ecsv')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONHASHSEED": "5"})
    assert first == (tmp_path / "b.ecsv").read_bytes()
    again = read_catalog(tmp_path / "b.ecsv")
    assert len(again) == 60
    assert flags(again, "excluded").sum() == 1
    assert again.meta["sc_lab"]["notes"] is not None
    assert not any("no unit" in note for note in again.meta["sc_lab"]["notes"])
