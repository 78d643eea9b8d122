"""Tracks in the globular-cluster plane: where they run, what moves them, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest

from sc_lab.colours import GC_BOX, TRACK_AGES, gc_membership, gc_tracks
from sc_lab.cosmology import default_cosmology
from sc_lab.errors import InputError

#: What the colours of a prototype at z = 0.35 are quoted to, twice: it samples ages coarser and spectra at R = 100.
CLOSE = 0.02


def track(table, history: str, metallicity: float):
    return table[(table["history"] == history) & (table["metallicity"] == metallicity)]


def inside(row) -> bool:
    """Whether a row lies in the default box."""
    x, y = float(row["x"].value), float(row["y"].value)
    return bool(gc_membership(y, 0.0, -x, vertices=GC_BOX).inside)


@pytest.fixture(scope="module")
def tracks():
    return gc_tracks(0.351)


def test_old_bursts_of_two_fifths_solar_fall_in_the_box(tracks) -> None:
    """2 to 7 Gyr: F150W-F200W 0.12 to 0.14, F200W-F356W -0.54 to -0.56 (measured apart, with bagpipes' sampling)."""
    old = track(tracks, "burst", 0.4)
    old = old[old["age"] >= 2000.0 * u.Myr]
    assert len(old) > 10
    assert all(inside(row) for row in old)
    assert np.all((old["y"].value > 0.12 - CLOSE) & (old["y"].value < 0.14 + CLOSE))
    assert np.all((old["x"].value > -0.56 - CLOSE) & (old["x"].value < -0.54 + CLOSE))


def test_old_metal_poor_bursts_straddle_the_lower_edge(tracks) -> None:
    """2 to 7 Gyr at 0.02 solar: -0.01 to 0.00 and -0.63 to -0.69."""
    old = track(tracks, "burst", 0.02)
    old = old[old["age"] >= 2000.0 * u.Myr]
    assert np.all((old["y"].value > -0.01 - CLOSE) & (old["y"].value < 0.00 + CLOSE))
    assert np.all((old["x"].value > -0.69 - CLOSE) & (old["x"].value < -0.63 + CLOSE))


def test_a_burst_of_twenty_million_years_falls_in_too(tracks) -> None:
    """Young interlopers are why membership is a probability and not a proof."""
    young = gc_tracks(0.351, metallicities=[0.4], ages=[20.0], histories=["burst"])
    assert inside(young[0])


def test_a_short_constant_history_becomes_a_burst_with_age(tracks) -> None:
    """Seen from gigayears away 10 Myr of star formation are an instant; 5 Myr into it they are not."""
    burst, constant = (track(tracks, each, 0.4) for each in ("burst", "constant10"))
    far = burst["age"] > 1500.0 * u.Myr
    # Colours drift by 0.1 mag in a factor of ten of age, that is by 1e-3 in 5 Myr; the grid's own steps are larger.
    assert constant["x"].value[far] == pytest.approx(burst["x"].value[far], abs=0.01)
    near = np.argmin(np.abs(burst["age"].value - 20.0))
    assert abs(constant["y"].value[near] - burst["y"].value[near]) > 0.02


def test_gas_matters_while_there_are_young_stars_and_not_later() -> None:
    with_gas, without = (gc_tracks(0.351, ages=[3.0, 500.0], covering=c, histories=["burst"]) for c in (0.5, 0.0))
    change = np.abs(with_gas["x"].value - without["x"].value).reshape(2, 2)
    # The continuum of hot gas is flat in f_nu where that of hot stars falls as the square of the wavelength.
    assert np.all(change[:, 0] > 0.5)
    assert np.all(change[:, 1] == 0.0)


def test_half_covering_is_the_mean_of_none_and_full_in_flux() -> None:
    """Half the stars as they are and half behind their gas: fluxes add, so the ratio of bands lies between."""
    x = {c: gc_tracks(0.351, metallicities=[0.4], ages=[3.0], covering=c)["x"].value for c in (0.0, 0.5, 1.0)}
    assert np.all((x[0.5] - x[0.0]) * (x[1.0] - x[0.5]) > 0)


def test_colours_are_those_of_bagpipes_sampling_within_what_it_smears() -> None:
    """The same track from the tables that reproduce bagpipes, built by hand; 0.1-dex ages and R = 100 smear 0.02."""
    from sc_lab.sed.model import SedModel
    from sc_lab.sed.sfh import state_weights
    from sc_lab.sed.tables import make_tables

    model = SedModel(sfh="burst", mode="compat", escape_fraction=0.5, dust_emission=False)
    tables = make_tables(model, ("F150W", "F200W", "F356W"), 0.351, a_v_range=(0.0, 0.0), log_u_range=(-2.0, -2.0))
    ages = np.array([100.0, 2000.0, 5000.0])
    weights = state_weights(model, ages * 1e6, n_bin=tables.n_bin)
    flux = weights @ tables.stellar[:, list(tables.metallicity).index(0.4), 0, :3]
    ours = gc_tracks(0.351, metallicities=[0.4], ages=ages, histories=["burst"])
    assert ours["y"].value == pytest.approx(-2.5 * np.log10(flux[:, 0] / flux[:, 1]), abs=0.02)
    assert ours["x"].value == pytest.approx(-2.5 * np.log10(flux[:, 1] / flux[:, 2]), abs=0.02)


def test_the_table_says_what_it_is(tracks) -> None:
    assert len(tracks) == 4 * len(TRACK_AGES)
    assert tracks["age"].min() == 1.0 * u.Myr
    assert tracks["age"].max() == 7.0 * u.Gyr
    assert {10.0, 100.0, 1000.0} < set(TRACK_AGES)
    assert "BC03-MILES" in tracks.meta["library"]
    assert tracks.meta["z_lens"] == 0.351
    assert np.isfinite(tracks["x"].value).all()
    assert np.isfinite(tracks["y"].value).all()


def test_no_track_is_older_than_the_universe() -> None:
    late = gc_tracks(1.0, metallicities=[0.4], histories=["burst"])
    assert late["age"].max() < default_cosmology().age(1.0)
    assert late["age"].max() > 0.9 * default_cosmology().age(1.0)
    with pytest.raises(InputError, match="all ages are above that of the Universe at z = 1"):
        gc_tracks(1.0, ages=[6500.0])


def test_ages_may_have_units_and_come_in_any_order() -> None:
    a = gc_tracks(0.5, ages=[2.0, 0.01] * u.Gyr)
    b = gc_tracks(0.5, ages=[10.0, 2000.0])
    assert np.array_equal(a["x"], b["x"])


def test_a_caller_cannot_change_what_is_kept() -> None:
    first = gc_tracks(0.351)
    first["x"][:] = 99.0 * u.mag
    assert gc_tracks(0.351)["x"].max() < 5.0 * u.mag


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"z_lens": 0.0}, "above zero"),
        ({"z_lens": -1.0}, "from 0 to 30"),
        ({"z_lens": np.nan}, "from 0 to 30"),
        ({"z_lens": [0.3, 0.4]}, "one number"),
        ({"metallicities": [0.0]}, "a metallicity is 0.0"),
        ({"metallicities": 0.4}, "are lists"),
        ({"metallicities": []}, "no metallicity"),
        ({"histories": ["linear"]}, "no history 'linear'"),
        ({"histories": "burst"}, "are lists"),
        ({"ages": [0.0]}, "not above zero"),
        ({"ages": [np.nan]}, "not finite"),
        ({"covering": 1.5}, "covering is 1.5"),
        ({"library": "magic"}, "no stellar library 'magic'"),
    ],
)
def test_odd_choices_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        gc_tracks(**{"z_lens": 0.351, **options})


def test_importing_the_colours_imports_no_engine() -> None:
    code = "import sys, sc_lab.colours; print(sorted({'sc_lab.sed.tables', 'bagpipes', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
