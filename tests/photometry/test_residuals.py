"""Model images explain the pixels, and what they leave shows second components."""

import numpy as np
import pytest
from photometry_scenes import make_small_field

from sc_lab.errors import InputError
from sc_lab.photometry import fit_clumps, propose_splits, render_clumps


@pytest.mark.parametrize("band", ["F150W", "F115W", "F444W"])
def test_data_less_model_is_noise(small_field, band):
    field, table, _ = small_field
    fits = fit_clumps(field, table, mode="full")
    ny, nx = field[band].shape
    data, error = field[band].cutout(0, 0, nx, ny)
    before = (data / error).std()
    after = ((data - render_clumps(field, fits, band, 0, 0, nx, ny)) / error).std()
    assert before > 1.2  # trivial otherwise
    assert after == pytest.approx(1.0, abs=0.02)  # 160 000 (40 000) pixels, and some of the noise was fitted away


def test_a_part_of_the_model_is_that_part_of_the_whole(small_field):
    field, table, _ = small_field
    fits = fit_clumps(field, table)
    whole = render_clumps(field, fits, "F200W", 0, 0, 400, 400)
    part = render_clumps(field, fits, "F200W", 50, 120, 90, 70)
    assert np.allclose(part, whole[120:190, 50:140], rtol=0, atol=1e-12 * whole.max())
    assert not render_clumps(field, fits, "F200W", -5000, 0, 20, 20).any()


def test_a_hidden_second_component_is_proposed_and_a_single_clump_is_not():
    field, table, _ = make_small_field(60, seed=3, pairs=12, snr=(30, 100))
    keep = np.ones(60, dtype=bool)
    keep[1:24:2] = False  # the list knows one of each pair
    fits = fit_clumps(field, table[keep], mode="full")
    found = propose_splits(field, fits)
    doubles = {f"c{i}" for i in range(0, 24, 2)}
    assert len(doubles & set(found["id"])) >= 10
    assert len(set(found["id"]) - doubles) <= 1  # dBIC > 10 is 150 to 1 per clump at best; 36 were tried
    assert (np.diff(found["dbic"]) <= 0).all()
    first = found[0]
    row = list(table["id"]).index(first["id"])
    apart = [
        np.hypot(
            (first[f"ra{t}"] - table["ra"][i]).value * np.cos(np.radians(44.53)),
            (first[f"dec{t}"] - table["dec"][i]).value,
        )
        for t in ("", "_2")
        for i in (row, row + 1)
    ]
    assert sorted(apart)[1] * 3.6e6 < 20  # both components within one pixel of the truth [mas]


def test_a_list_without_clumps_has_no_second_components(small_field):
    field, table, _ = small_field
    assert len(propose_splits(field, fit_clumps(field, table[:0]))) == 0


def test_bands_without_fluxes_are_refused(small_field):
    field, table, _ = small_field
    fits = fit_clumps(field, table[:3], bands=["F150W"])
    with pytest.raises(InputError, match="no fluxes of F444W"):
        render_clumps(field, fits, "F444W", 0, 0, 10, 10)
