"""Users' throughput curves: formats, units, energy against photons, and what is said about odd ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sc_lab.errors import InputError, ScLabWarning
from sc_lab.sed import get_filter, read_filter

LAM = np.linspace(13000.0, 17000.0, 81)
THR = np.exp(-0.5 * ((LAM - 15000.0) / 500.0) ** 4) * 0.4

VOTABLE = """<?xml version="1.0"?>
<VOTABLE version="1.1" xmlns="http://www.ivoa.net/xml/VOTable/v1.1">
 <RESOURCE type="results"><TABLE utype="photDM:PhotometryFilter.transmissionCurve.spectrum">
  <PARAM name="WavelengthUnit" value="{unit}" datatype="char" arraysize="*"/>
  <PARAM name="DetectorType" value="{detector}" datatype="char" arraysize="*"/>
  <FIELD name="Wavelength" datatype="double" unit="{unit}"/><FIELD name="Transmission" datatype="double"/>
  <DATA><TABLEDATA>{rows}</TABLEDATA></DATA>
 </TABLE></RESOURCE></VOTABLE>
"""


def write(path: Path, lam=LAM, thr=THR, head: str = "", separator: str = " ") -> Path:
    path.write_text(head + "".join(f"{x:.6f}{separator}{y:.8f}\n" for x, y in zip(lam, thr, strict=True)))
    return path


def votable(path: Path, *, unit: str = "Angstrom", detector: str = "1", lam=LAM) -> Path:
    rows = "".join(f"<TR><TD>{x}</TD><TD>{y}</TD></TR>" for x, y in zip(lam, THR, strict=True))
    path.write_text(VOTABLE.format(unit=unit, detector=detector, rows=rows))
    return path


@pytest.fixture
def plain(tmp_path: Path):
    """The curve as two plain columns."""
    return read_filter(write(tmp_path / "mine.dat"))


def test_two_columns_are_read_as_they_are(plain) -> None:
    assert plain.name == "mine"
    inside = (plain.low < LAM) & (plain.high > LAM)
    # Eight decimals in the file.
    assert np.interp(LAM[inside], plain.wavelength, plain.throughput) == pytest.approx(THR[inside], abs=1e-8)


@pytest.mark.parametrize(
    ("factor", "options", "head"),
    [
        (1e-4, {"unit": "um"}, ""),
        (0.1, {"unit": "nm"}, ""),
        (1e-4, {}, "# wavelength [micron], throughput\n"),
        (0.1, {}, "lambda(nm) T\n"),
        (1.0, {}, "! Angstroms\n"),
    ],
)
def test_units_are_the_callers_or_what_a_comment_says(tmp_path: Path, plain, factor, options, head) -> None:
    read = read_filter(write(tmp_path / "other.dat", LAM * factor, head=head), **options)
    # Six decimals of a micron in the file are 1e-6 / 1.5.
    assert read.pivot == pytest.approx(plain.pivot, rel=1e-6)


@pytest.mark.parametrize("separator", [",", "\t", ", ", ";"])
def test_separators_do_not_matter(tmp_path: Path, plain, separator: str) -> None:
    read = read_filter(write(tmp_path / "other.csv", separator=separator, head="wavelength,throughput\n\n"))
    assert read.pivot == pytest.approx(plain.pivot, rel=1e-15)


def test_a_curve_by_frequency_is_turned_round(tmp_path: Path, plain) -> None:
    assert read_filter(write(tmp_path / "down.dat", LAM[::-1], THR[::-1])).digest == plain.digest


def test_a_curve_per_energy_is_divided_by_the_wavelength(tmp_path: Path) -> None:
    """The same detector written either way gives the same fluxes."""
    photon = read_filter(write(tmp_path / "photon.dat"))
    energy = read_filter(write(tmp_path / "energy.dat", thr=THR * LAM / 15000.0), kind="energy")
    # Eight decimals, and ends cut at a thousandth of slightly different peaks.
    assert energy.pivot == pytest.approx(photon.pivot, rel=1e-6)
    wrong = read_filter(write(tmp_path / "wrong.dat", thr=THR * LAM / 15000.0), kind="photon")
    assert abs(wrong.pivot / photon.pivot - 1) > 1e-4  # success trivial otherwise


def test_a_file_that_says_it_is_per_energy_is_believed_and_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "e.dat", thr=THR * LAM / 15000.0, head="# response per unit energy\n")
    with pytest.warns(ScLabWarning, match="per energy by its own account"):
        read = read_filter(path)
    assert read.pivot == pytest.approx(read_filter(write(tmp_path / "photon.dat")).pivot, rel=1e-6)


def test_votables_say_their_unit_and_their_detector(tmp_path: Path, plain) -> None:
    # Six decimals in the text file.
    assert read_filter(votable(tmp_path / "a.xml")).pivot == pytest.approx(plain.pivot, rel=1e-6)
    nm = votable(tmp_path / "b.xml", unit="nm", lam=LAM / 10)
    assert read_filter(nm).pivot == pytest.approx(plain.pivot, rel=1e-6)
    with pytest.warns(ScLabWarning, match="per energy"):
        energy = read_filter(votable(tmp_path / "c.xml", detector="0"))
    assert energy.pivot < plain.pivot - 5.0
    with pytest.warns(ScLabWarning, match="per energy by its own account, and is taken per photon as asked"):
        read_filter(votable(tmp_path / "d.xml", detector="0"), kind="photon")


def test_a_path_is_a_band(tmp_path: Path, plain) -> None:
    path = write(tmp_path / "mine.dat")
    assert get_filter(str(path)).digest == plain.digest
    assert get_filter(path).source == str(path)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.dat")
    first = get_filter(path)
    write(path, LAM + 100.0)
    assert get_filter(path).pivot > first.pivot + 50.0


def test_a_curve_that_is_cut_off_is_said(tmp_path: Path) -> None:
    with pytest.warns(ScLabWarning, match=r"starts at 4\d% of its peak"):
        read_filter(write(tmp_path / "cut.dat", np.linspace(1e4, 2e4, 3), [0.4, 0.9, 0.0]))


def test_a_top_hat_is_no_cut_curve(tmp_path: Path) -> None:
    assert read_filter(write(tmp_path / "hat.dat", [1e4, 2e4], [1.0, 1.0])).width == pytest.approx(1e4)


def test_noise_below_zero_is_set_to_zero_and_said(tmp_path: Path) -> None:
    with pytest.warns(ScLabWarning, match="1 throughput.s. just below zero"):
        read = read_filter(write(tmp_path / "noisy.dat", [1e4, 1.2e4, 1.3e4, 2e4], [1.0, -1e-4, 0.5, 1.0]))
    assert read.throughput.min() == 0.0


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("1.3 0.1\n1.5 0.2\n", {}, r"unit='um'"),
        ("13000 0.1\n15000 0.2\n14000 0.1\n", {}, r"not in order \(data row 3\)"),
        ("13000 0.1\n13000 0.2\n14000 0.1\n", {}, r"not in order \(data row 2\)"),
        ("13000 0.1\n14000 -0.2\n", {}, "negative"),
        ("13000 0.1\n14000 nan\n", {}, "not finite"),
        ("13000 0.1\nhello world\n", {}, r"line 2 .*'hello world'"),
        ("13000\n14000\n", {}, r"holds 0 row\(s\) of two numbers"),
        ("", {}, r"holds 0 row\(s\)"),
        ("# in nm\n1300 1\n1400 1\n", {"unit": "AA"}, "says that its wavelengths are in 'nm'"),
        ("13000 1\n14000 1\n", {"unit": "furlong"}, "unit is 'furlong'"),
        ("13000 1\n14000 1\n", {"kind": "quantum"}, "kind is 'quantum'"),
        ("<VOTABLE><broken", {}, "cannot be read as a VOTable"),
        ("SIMPLE  =                    T", {}, "is not text"),
    ],
)
def test_odd_files_are_refused_in_words(tmp_path: Path, text: str, options: dict, words: str) -> None:
    path = tmp_path / "odd.dat"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_filter(path, **options)


def test_wavelengths_far_from_the_band_that_the_file_is_named_after_are_refused(tmp_path: Path) -> None:
    """1300 to 1700 could be Angstrom, but not for F150W."""
    with pytest.raises(InputError, match=r"F150W is at 15009; say their unit"):
        read_filter(write(tmp_path / "F150W.dat", LAM / 10))
    assert read_filter(write(tmp_path / "F150W.dat", LAM / 10), unit="nm").pivot > 14000.0


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_filter(tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        read_filter(tmp_path / "none.dat")


def test_text_in_a_file_is_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.dat"
    path.write_text("13000 0.1\n__import__('os').system('true') 1\n")
    with pytest.raises(InputError, match="not a wavelength"):
        read_filter(path)
