"""Raw BPASS files into a grid, and what the check of a library finds; files of the right shape made here."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from sc_lab.errors import InputError
from sc_lab.sed.bpass import convert_bpass, find_bpass, write_grid
from sc_lab.sed.checking import check_library
from sc_lab.sed.libraries import grid_folder, load_library

LOG_AGE = 6.0 + 0.1 * np.arange(51)
#: Fewer wavelengths than the 100 000 of the real files: the text is what takes the time.
LAM = np.unique(np.round(np.geomspace(91.0, 1e5, 1500)))
ZSUN = {"zem5": 0.0005, "z004": 0.2, "z020": 1.0}


def bc03_light(zsun: float) -> np.ndarray:
    """Spectra of BC03 at BPASS's ages [Lsun/Angstrom per Msun], shape (51, n_wav): light of the right size."""
    library = load_library("bc03")
    which = int(np.argmin(np.abs(np.log(library.metallicity / zsun))))
    rows = [int(np.argmin(np.abs(library.age - 10**a))) for a in LOG_AGE]
    return np.array([np.interp(LAM, library.wavelength, library.spectra[which][row]) for row in rows])


def living(zsun: float) -> tuple[np.ndarray, np.ndarray]:
    """Masses of stars and of remnants [Msun] of 1e6 formed."""
    stars = 1e6 * (1.0 - (0.12 + 0.005 * zsun) * (LOG_AGE - 6.0))
    return stars, 3e4 * (LOG_AGE - 6.0)


def write_raw(folder: Path, kind: str = "bin-imf135_300", codes=tuple(ZSUN), light=bc03_light) -> Path:
    folder.mkdir(exist_ok=True)
    for code in codes:
        spectra = np.column_stack([LAM, 1e6 * light(ZSUN[code]).T])
        np.savetxt(folder / f"spectra-{kind}.{code}.dat", spectra, fmt="%16.7E")
        masses = np.column_stack([LOG_AGE, *living(ZSUN[code])])
        np.savetxt(folder / f"starmass-{kind}.{code}.dat", masses, fmt="%16.7E")
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "bpass")


@pytest.fixture(scope="module")
def grid(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grid") / "bpass.fits"
    convert_bpass(raw, path)
    return path


def test_a_converted_grid_is_the_raw_files_per_solar_mass(grid: Path) -> None:
    """Units, axes and order: ages in years, Lsun/Angstrom for 1 Msun, metallicities by the sun's 0.02."""
    library = load_library(grid)
    assert library.metallicity == pytest.approx(list(ZSUN.values()), rel=1e-12)
    assert library.age == pytest.approx(10**LOG_AGE, rel=1e-12)
    assert library.wavelength == pytest.approx(LAM)
    assert not library.has_nebular
    for number, zsun in enumerate(ZSUN.values()):
        # float32, and eight digits in the text.
        assert np.asarray(library.spectra[number]) == pytest.approx(bc03_light(zsun), rel=2e-7, abs=1e-30)
        assert library.live_fraction[:, number] == pytest.approx(living(zsun)[0] / 1e6, rel=1e-6)


def test_remnants_count_when_they_are_asked_for(raw: Path, tmp_path: Path) -> None:
    convert_bpass(raw, tmp_path / "with.fits", remnants=True)
    stars, remnants = living(1.0)
    found = load_library(tmp_path / "with.fits").live_fraction[:, 2]
    assert found == pytest.approx((stars + remnants) / 1e6, rel=1e-6)


def test_the_layout_is_the_one_that_bagpipes_reads_by_position(grid: Path) -> None:
    with fits.open(grid) as hdus:
        assert hdus[0].data is None
        assert len(hdus) == 1 + len(ZSUN) + 3
        assert hdus[-3].data.shape == (51, len(ZSUN))
        assert hdus[-2].data[0] == pytest.approx(1e6)
        assert hdus[-1].data.shape == LAM.shape
        assert hdus[0].header["ABOUT"].startswith("BPASS v2 bin-imf135_300")


def test_a_good_grid_passes_the_check_and_is_as_bright_as_bc03(grid: Path) -> None:
    """It is made of BC03's light, so the ratios are one but for sampling 1500 wavelengths; 3 % at steps of 0.5 %."""
    report = check_library(grid)
    assert report.ok, report.problems
    assert len(report.ratios) >= 8
    assert list(report.ratios.values()) == pytest.approx(np.ones(len(report.ratios)), rel=0.03)
    assert any("no nebular grids" in note for note in report.notes)
    assert any("51, from 1e+06 to 1e+11 yr" in fact for fact in report.facts)


def test_the_shipped_library_passes_the_check() -> None:
    report = check_library("bc03")
    assert report.ok, report.problems
    assert "BC03-MILES" in report.title
    assert not report.notes


def test_progress_counts_files_and_cancelling_leaves_nothing(raw: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 4:
            stop.set()

    with pytest.raises(InputError, match="was cancelled; nothing was written"):
        convert_bpass(raw, tmp_path / "part.fits", progress=progress, cancel=stop)
    assert seen == [(1, 6), (2, 6), (3, 6), (4, 6)]
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_left_alone_unless_asked(raw: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine.fits"
    target.write_text("precious")
    with pytest.raises(InputError, match="exists and is left as it is"):
        convert_bpass(raw, target)
    assert target.read_text() == "precious"
    convert_bpass(raw, target, overwrite=True)
    assert load_library(target).metallicity.size == 3


def test_one_population_is_chosen_of_several(tmp_path: Path) -> None:
    flat = lambda zsun: np.full((51, LAM.size), 1e-3 + 0 * zsun)  # noqa: E731 - one expression
    folder = write_raw(tmp_path / "two", "bin-imf135_300", ("z004", "z020"), flat)
    write_raw(folder, "sin-imf_chab100", ("z004", "z020"), flat)
    with pytest.raises(InputError, match=r"choose one as kind: bin-imf135_300, sin-imf_chab100"):
        find_bpass(folder)
    assert find_bpass(folder, kind="sin-imf_chab100").metallicity == (0.004, 0.02)
    with pytest.raises(InputError, match="no population 'top'"):
        find_bpass(folder, kind="top")


def damage(folder: Path, name: str, change) -> None:
    path = folder / name
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("spectra-bin-imf135_300.z020.dat", lambda t: t[: len(t) // 2 - 30], "z020.dat' is no table of numbers"),
        ("spectra-bin-imf135_300.z020.dat", lambda t: "".join(t.splitlines(keepends=True)[:700]), "700 wavelengths"),
        ("spectra-bin-imf135_300.z020.dat", lambda t: t.replace("E", "x", 1), "is no table of numbers"),
        ("spectra-bin-imf135_300.z020.dat", lambda t: "", "is empty"),
        (
            "spectra-bin-imf135_300.zem5.dat",
            lambda t: t.replace(t[17:33], "     nan        ", 1),
            "not finite in row 1",
        ),
        ("spectra-bin-imf135_300.zem5.dat", lambda t: t.replace(t[17:33], " -1.0           ", 1), "negative .* row 1"),
        (
            "spectra-bin-imf135_300.zem5.dat",
            lambda t: "\n".join(" ".join(line.split()[:30]) for line in t.splitlines()),
            "has 30 columns, and its starmass file 51 ages",
        ),
        (
            "spectra-bin-imf135_300.zem5.dat",
            lambda t: "".join(t.splitlines(keepends=True)[::-1]),
            "do not increase from row to row",
        ),
        ("starmass-bin-imf135_300.z004.dat", lambda t: "".join(t.splitlines(keepends=True)[:20]), "20 rows"),
        ("starmass-bin-imf135_300.z004.dat", lambda t: t.replace("E+06", "E+04"), "living masses from"),
        ("starmass-bin-imf135_300.z004.dat", lambda t: t.replace("6.0000000E+00", "6.0000000E+06", 1), "log10"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence_and_nothing_is_written(
    raw: Path, tmp_path: Path, name: str, change, words: str
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in raw.iterdir():
        (folder / path.name).write_text(path.read_text())
    damage(folder, name, change)
    with pytest.raises(InputError, match=words):
        convert_bpass(folder, tmp_path / "out.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        find_bpass(tmp_path / "none")
    with pytest.raises(InputError, match="holds no BPASS spectra"):
        find_bpass(tmp_path)
    for code in ("z004", "z020"):
        (tmp_path / f"spectra-bin-imf135_300.{code}.dat").write_text("")
    with pytest.raises(InputError, match=r"lacks starmass-bin-imf135_300.z004.dat"):
        find_bpass(tmp_path)
    (tmp_path / "spectra-bin-imf135_300.z020.dat").unlink()
    with pytest.raises(InputError, match="holds one metallicity"):
        find_bpass(tmp_path)


def small_grid(path: Path, *, scale: float = 1.0, ages=10**LOG_AGE, live=None, change=None) -> Path:
    light = np.array([bc03_light(z) for z in ZSUN.values()]) * scale
    if change is not None:
        change(light)
    default = np.stack([living(z)[0] / 1e6 for z in ZSUN.values()], axis=1)
    write_grid(
        path,
        light,
        metallicity=list(ZSUN.values()),
        age=ages,
        wavelength=LAM,
        live_fraction=default if live is None else live,
    )
    return path


def hole(light: np.ndarray) -> None:
    light[1, 3, 5] = np.nan


def below(light: np.ndarray) -> None:
    light[1, 3, 5] = -1.0


def dark(light: np.ndarray) -> None:
    light[1, 3] = 0.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": 1e6}, "per 1e6 Msun: divide it by 1e6"),
        ({"scale": 3.8e33}, "not in Lsun/Angstrom for 1 Msun"),
        ({"change": hole}, "metallicity 0.2 have 1 numbers that are not finite, first at 1.995e.06 yr"),
        ({"change": below}, "1 negative luminosities"),
        ({"change": dark}, "zero throughout at 1 ages"),
        ({"live": np.full((51, 3), 0.3)}, "living mass is 0.3"),
        ({"live": np.linspace(0.8, 1.0, 51)[:, None] ** [1, 2, 9]}, "living mass rises"),
    ],
)
def test_what_is_wrong_with_a_grid_is_said(tmp_path: Path, options: dict, words: str) -> None:
    report = check_library(small_grid(tmp_path / "grid.fits", **options))
    assert not report.ok
    import re

    assert any(re.search(words, each) for each in report.problems), report.problems


def test_ages_that_are_not_years_are_refused(tmp_path: Path) -> None:
    for ages in (LOG_AGE, 10 ** (LOG_AGE - 6), 10 ** (LOG_AGE - 9)):
        with pytest.raises(InputError, match="ages are in years"):
            check_library(small_grid(tmp_path / "grid.fits", ages=ages))


@pytest.mark.parametrize("kept", [0, 2000, 30_000, 0.5, 0.999, 2880 * 100, 2880])
def test_truncated_grids_are_refused_in_a_sentence(grid: Path, tmp_path: Path, kept: float) -> None:
    whole = grid.read_bytes()
    path = tmp_path / "cut.fits"
    path.write_bytes(whole[: int(kept * len(whole)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(InputError, match=r"cut\.fits"):
        load_library(path)


def test_text_is_no_grid(tmp_path: Path) -> None:
    path = tmp_path / "notes.fits"
    path.write_text("dear diary")
    with pytest.raises(InputError, match="cannot be read as a FITS grid"):
        check_library(path)


@pytest.mark.real_data
def test_real_bpass_spectra_have_the_units_that_are_taken_for_granted(real_data: Path, tmp_path: Path) -> None:
    """The stored part of v2.2.1 (24 ages from 63 Myr, three metallicities, 3601 to 10399 A), written as raw files.

    Its ages fill their columns; the younger take the first and the older the last. Beside BC03 it is brighter by 1.0
    to 2.3, as measured by those who stored it; within a factor of 5 the check accepts it.
    """
    with fits.open(real_data / "sed" / "bpass221_imf135_300_bin_optical_subset.fits") as hdus:
        light, zmet = np.asarray(hdus[1].data, dtype=np.float64), np.asarray(hdus[2].data)
        log_age, lam = np.asarray(hdus[3].data) + 9.0, np.asarray(hdus[4].data, dtype=np.float64)
    step = slice(None, None, 10)
    column = np.clip(np.searchsorted(log_age, LOG_AGE - 0.05), 0, log_age.size - 1)
    folder = tmp_path / "raw"
    folder.mkdir()
    for spectra, z in zip(light, zmet, strict=True):
        table = np.column_stack([lam[step], spectra[column][:, step].T])
        np.savetxt(folder / f"spectra-bin-imf135_300.z{round(1000 * z):03d}.dat", table, fmt="%16.7E")
        masses = np.column_stack([LOG_AGE, *living(1.0)])
        np.savetxt(folder / f"starmass-bin-imf135_300.z{round(1000 * z):03d}.dat", masses, fmt="%16.7E")
    made = convert_bpass(folder, tmp_path / "real.fits")
    assert made.metallicity == pytest.approx(zmet)
    library = load_library(tmp_path / "real.fits")
    at = int(np.argmin(np.abs(LOG_AGE - 8.9)))
    assert np.asarray(library.spectra[1][at]) * 1e6 == pytest.approx(light[1][column[at]][step], rel=2e-7)
    report = check_library(library)
    assert report.ratios
    assert all(0.5 < ratio < 3.0 for name, ratio in report.ratios.items() if not name.startswith("1e+07")), (
        report.ratios
    )
    assert any("no light below 3601" in note for note in report.notes)


def changed_lines(path: Path, change) -> Path:
    """Write the shipped nebular lines, changed."""
    with fits.open(grid_folder() / "bc03_miles_nebular_line_grids_extended_logU_nograins_cloudy25.fits") as hdus:
        images = [np.array(hdu.data, dtype=np.float64) for hdu in hdus[1:]]
    for image in images:
        change(image)
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(image) for image in images)]).writeto(path)
    return path


def bright(image: np.ndarray) -> None:
    image[1:, 1:] *= 1e6


def holed(image: np.ndarray) -> None:
    image[3, 4] = np.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [(bright, "may be in different units"), (holed, "nebular lines of metallicity 0.4 have 9 numbers")],
)
def test_gas_that_does_not_fit_its_stars_is_said(tmp_path: Path, change, words: str) -> None:
    """Lines are powered by ionising light: in the shipped grids they carry 0.55 to 0.75 of it at 1 Myr."""
    report = check_library(
        grid_folder() / "bc03_miles_stellar_grids.fits",
        nebular_continuum=grid_folder() / "bc03_miles_nebular_cont_grids_extended_logU_nograins_cloudy25.fits",
        nebular_lines=changed_lines(tmp_path / "lines.fits", change),
    )
    assert any(words in each for each in report.problems), report.problems
