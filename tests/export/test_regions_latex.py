"""Region files and LaTeX tables: other programs read them, and no text in them is a command."""

from __future__ import annotations

import re

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_lab.catalog import validate
from sc_lab.errors import InputError
from sc_lab.export import latex_escape, latex_table, write_regions, write_table


def catalogue(names=("a", "b", "c"), **columns):
    n = len(names)
    return validate(
        Table(
            {
                "id": np.array(names, dtype=np.str_),
                "z": np.ones(n),
                "ra": np.linspace(10, 20, n) * u.deg,
                "dec": np.linspace(-70, 70, n) * u.deg,
                **columns,
            }
        )
    )


def test_regions_are_read_back_where_they_were(tmp_path):
    regions = pytest.importorskip("regions")
    table = catalogue(candidate=[True, False, False], excluded=[False, False, True])
    path = write_regions(table, tmp_path / "t.reg", radius=0.2 * u.arcsec)
    found = regions.Regions.read(path, format="ds9")
    assert len(found) == 3
    # 1e-8 deg is what the file states: 0.04 mas.
    np.testing.assert_allclose([each.center.ra.deg for each in found], table["ra"].value, atol=1e-8)
    np.testing.assert_allclose([each.center.dec.deg for each in found], table["dec"].value, atol=1e-8)
    assert [each.radius.to_value(u.arcsec) for each in found] == pytest.approx([0.2] * 3)
    assert [each.meta["text"] for each in found] == ["a", "b", "c"]
    assert "color=cyan text={a}" in path.read_text()
    assert "color=red text={c}" in path.read_text()


NAMES = ["x} # color=red", '{both"}', "{all\"'}", "a;circle(1,2,3)", "line\nbreak", "<script>", "plain"]


def test_labels_cannot_break_out_of_a_region(tmp_path):
    regions = pytest.importorskip("regions")
    path = write_table(catalogue(NAMES), tmp_path / "t.reg")
    found = regions.Regions.read(path, format="ds9")
    assert len(found) == len(NAMES)
    lines = [line for line in path.read_text().splitlines() if line.startswith("circle")]
    assert len(lines) == len(NAMES)
    assert all(";" not in line for line in lines)
    assert all("color=green" in line for line in lines)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(name=st.text(min_size=1, max_size=20))
def test_every_label_is_closed_by_the_mark_that_opens_it(name):
    from sc_lab.export.regions import _quoted

    label = _quoted(name)
    body, marks = label[1:-1], label[0] + label[-1]
    assert marks in ("{}", '""', "''")
    assert not set(body) & set(marks)
    assert ";" not in label
    assert "\n" not in label


def test_regions_need_positions():
    bare = validate(Table({"id": ["a"], "z": [1.0]}))
    with pytest.raises(InputError, match="no positions, so no regions can be drawn; add the columns ra and dec"):
        write_regions(bare, "nowhere.reg")


def test_rows_without_a_position_are_counted_not_lost(tmp_path):
    table = catalogue(dec=[1.0, np.nan, 2.0] * u.deg)
    text = write_regions(table, tmp_path / "t.reg").read_text()
    assert text.count("circle(") == 2
    assert "not drawn: 1 of 3" in text


def test_latex_shows_asymmetric_errors_limits_and_gaps():
    table = catalogue(
        r_eff=[12.0, 3.14159, np.nan] * u.pc,
        r_eff_err_lo=[np.nan, 0.12, np.nan] * u.pc,
        r_eff_err_hi=[np.nan, 0.34, np.nan] * u.pc,
        r_eff_is_limit=[True, False, True],
        mass=[2.45e6, 1e3, np.nan] * u.Msun,
        mass_err_lo=[1.56e6, 200.0, np.nan] * u.Msun,
        mass_err_hi=[5.2e6, 300.0, np.nan] * u.Msun,
        sigma_mass=[1500.0, 20.0, np.nan] * (u.Msun / u.pc**2),
        sigma_mass_is_limit=[True, False, True],
    )
    text = latex_table(table)
    assert "$<12.0$" in text
    assert "$>1500$" in text
    assert "$3.14^{+0.34}_{-0.12}$" in text
    assert r"$2.5^{+5.2}_{-1.6}\times10^{6}$" in text
    assert "$1000^{+300}_{-200}$" in text
    assert r"\nodata" in text
    assert r"\begin{deluxetable*}" in text
    assert r"$\cdots$" in latex_table(table, style="tabular")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(name=st.text(max_size=30))
def test_escaped_text_holds_no_command(name):
    escaped = latex_escape(name)
    known = (
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textquotedbl)\{\}|\\[&%$#_{}]"
    )
    rest = re.sub(known, "", escaped)
    assert not set(rest) & set('\\&%$#_{}~^<>|"')


def test_names_in_a_latex_table_are_escaped(tmp_path):
    table = catalogue([r"\input{/etc/passwd}", "50% & $x_1$", "#^~"])
    text = write_table(table, tmp_path / "t.tex").read_text()
    body = text.split(r"\startdata")[1]
    assert r"\input" not in body
    assert r"\textbackslash{}input\{/etc/passwd\}" in body
    assert r"50\% \& \$x\_1\$" in body


def test_latex_refuses_unknown_columns_and_styles():
    with pytest.raises(InputError, match="column 'nope' cannot be set in LaTeX; the catalogue has id"):
        latex_table(catalogue(), ["nope"])
    with pytest.raises(InputError, match="the styles are 'deluxetable' and 'tabular'"):
        latex_table(catalogue(), style="fancy")


def test_a_lone_column_is_one_column():
    table = Table({"id": ["a"], "z": [1.0]})
    assert latex_table(table, columns="z") == latex_table(table, columns=["z"])


def test_the_dynamical_age_of_a_size_limit_is_set_as_a_lower_limit():
    table = Table({"id": ["a", "b"], "dynamical_age": [3.0, 4.0], "r_eff_is_limit": [True, False]})
    text = latex_table(table, columns=["id", "dynamical_age"])
    assert "$>3.00$" in text
    assert "$4.00$" in text
