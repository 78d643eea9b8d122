"""Files that other programs wrote: read with their units and gaps, refused when they carry more than data."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sc_lab.catalog import flags, read_catalog, texts, validate, values
from sc_lab.errors import CatalogError


def quantities():
    """Return a table as a user of astropy would make it."""
    return QTable(
        {
            "id": ["a", "b", "c"],
            "z": MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False]),
            "r_eff": Masked([0.01, 0.02, 0.03] * u.kpc, mask=[True, False, False]),
            "mass": [1e6, 2e6, 3e6] * u.Msun,
        }
    )


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        ("t.ecsv", "ascii.ecsv"),
        ("t.fits", "fits"),
        ("t.vot", "votable"),
        ("t.parquet", "parquet"),
        ("t.csv", "ascii.csv"),
    ],
)
def test_tables_written_by_astropy_are_read(tmp_path, name, writer):
    table = quantities()
    if writer == "ascii.csv":
        table["r_eff"] = table["r_eff"].to(u.pc)  # a CSV file has no units
    if writer in ("ascii.csv", "fits", "votable"):
        masked = {each: getattr(table[each], "mask", False) for each in table.colnames}
        table = Table(
            {
                each: MaskedColumn(
                    np.asarray(getattr(table[each], "unmasked", table[each])), mask=mask, unit=table[each].unit
                )
                for each, mask in masked.items()
            }
        )
    if writer == "votable":
        from astropy.io.votable import from_table

        # Not the C writer of TABLEDATA: it corrupts memory (astropy issue 20419).
        with (tmp_path / name).open("wb") as stream:
            from_table(table).to_xml(stream, _debug_python_based_parser=True)
    else:
        table.write(tmp_path / name, format=writer)
    again = read_catalog(tmp_path / name)
    assert texts(again, "id") == ["a", "b", "c"]
    np.testing.assert_allclose(values(again, "z"), [1, np.nan, 3])
    np.testing.assert_allclose(values(again, "r_eff"), [np.nan, 20, 30])
    np.testing.assert_allclose(values(again, "mass"), [1e6, 2e6, 3e6])


def test_files_written_by_pandas_are_read(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "z": [1.0, np.nan], "r_eff_is_limit": [True, False], "n": [1, 2]})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "t.csv"):
        table = read_catalog(tmp_path / name)
        np.testing.assert_array_equal(values(table, "z"), [1, np.nan])
        assert flags(table, "r_eff_is_limit").tolist() == [True, False]
        assert list(table["n"]) == [1, 2]


def test_ab_magnitudes_and_dex_quantities_are_understood():
    table = QTable({"id": ["a"], "z": [1.0], "mag_f150w": [25.0] * u.ABmag, "mass": u.Dex([6.0], u.dex(u.Msun))})
    table = validate(table)
    assert values(table, "mag_f150w")[0] == 25.0
    # 1e-12: one power of ten in float64.
    np.testing.assert_allclose(values(table, "mass"), 1e6, rtol=1e-12)
    with pytest.raises(CatalogError, match="give AB magnitudes"):
        validate(QTable({"id": ["a"], "z": [1.0], "mag_f150w": [25.0] * u.STmag}))


def test_a_suffix_that_lies_is_refused_and_a_missing_one_is_guessed(tmp_path):
    quantities().write(tmp_path / "t.ecsv")
    (tmp_path / "t.ecsv").rename(tmp_path / "t.dat")
    assert len(read_catalog(tmp_path / "t.dat")) == 3
    (tmp_path / "t.dat").rename(tmp_path / "t.fits")
    with pytest.raises(CatalogError, match=r"t\.fits could not be read as fits"):
        read_catalog(tmp_path / "t.fits")


def test_arrays_of_unequal_length_are_refused_in_fits(tmp_path):
    from astropy.io import fits

    ragged = np.array([np.array([1.0]), np.array([1.0, 2.0])], dtype=object)
    hdu = fits.BinTableHDU.from_columns(
        [
            fits.Column(name="id", format="1A", array=np.array(["a", "b"])),
            fits.Column(name="z", format="D", array=[1.0, 2.0]),
            fits.Column(name="ragged", format="PD()", array=ragged),
        ]
    )
    hdu.writeto(tmp_path / "t.fits")
    with pytest.raises(
        CatalogError, match="column 'ragged' holds object values; only numbers, flags and text are read"
    ):
        read_catalog(tmp_path / "t.fits")


def test_images_are_refused(tmp_path):
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "t.fits")
    with pytest.raises(CatalogError, match="no table extension, only images"):
        read_catalog(tmp_path / "t.fits")


def test_binary_and_nested_values_are_refused_in_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    base = {"id": ["a", "b"], "z": [1.0, 2.0]}
    for name, array in {
        "binary": pa.array([b"\x80\x04.", b"x"], type=pa.binary()),
        "struct": pa.array([{"a": 1}, {"a": 2}]),
        "lists": pa.array([[1.0], [1.0, 2.0]]),
    }.items():
        pq.write_table(pa.table({**base, name: array}), tmp_path / f"{name}.parquet")
        with pytest.raises(CatalogError, match=f"column '{name}' holds"):
            read_catalog(tmp_path / f"{name}.parquet")


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">
<!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;"><!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;">
<!ENTITY x SYSTEM "file:///etc/passwd">]>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="id" datatype="char" arraysize="*"/><FIELD name="z" datatype="double"/>
<DATA><TABLEDATA><TR><TD>{}</TD><TD>1</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("entity", ["&g;", "&x;"])
def test_entities_neither_explode_nor_read_other_files(tmp_path, entity, encoding):
    (tmp_path / "t.vot").write_text(BOMB.replace("{}", f"name{entity}"), encoding=encoding)
    with pytest.raises(CatalogError, match="declares XML entities, which are not read"):
        read_catalog(tmp_path / "t.vot")


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".vot", ".csv", ".parquet"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_flipped_byte_gives_a_table_or_a_catalog_error_and_nothing_else(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.mktemp("flip")
    path = folder / f"t{suffix}"
    source = _written(suffix, folder)
    content = bytearray(source)
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(content)))
    path.write_bytes(bytes(content[:cut]) if data.draw(st.booleans()) else bytes(content))
    try:
        table = read_catalog(path)
    except CatalogError as error:
        assert "t" + suffix in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert len(table) > 0


_CACHE: dict[str, bytes] = {}


def _written(suffix, folder):
    """Return the bytes of a small file of a format, made once."""
    if suffix not in _CACHE:
        table = validate(
            Table({"id": ["a", "b"], "z": [1.0, 2.0], "mass": [1e6, np.nan], "r_eff_is_limit": [True, False]})
        )
        path = folder / f"source{suffix}"
        if suffix == ".vot":
            head, body = BOMB.split("<!DOCTYPE", maxsplit=1)
            path.write_text(head + "<VOTABLE" + body.split("<VOTABLE")[1].format("a"))
        elif suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"id": ["a", "b"], "z": [1.0, 2.0]}), path)
        elif suffix == ".csv":
            path.write_text("id,z,mass\na,1,1e6\nb,2,\n")
        else:
            Table({name: np.asarray(getattr(table[name], "unmasked", table[name])) for name in ("id", "z")}).write(path)
        _CACHE[suffix] = path.read_bytes()
        path.unlink()
    return _CACHE[suffix]


def test_fifty_thousand_rows_are_read_whole(tmp_path):
    n = 50_000
    rng = np.random.default_rng(1)
    raw = Table({"id": [f"c{i}" for i in range(n)], "z": rng.uniform(0, 9, n), "r_eff": rng.lognormal(3, 1, n)})
    raw.write(tmp_path / "t.csv", format="ascii.fast_csv")
    table = read_catalog(tmp_path / "t.csv")
    np.testing.assert_array_equal(values(table, "r_eff"), np.asarray(raw["r_eff"]))
