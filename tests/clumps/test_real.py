"""Clumps of a real lensed galaxy from pixels to an export, and real lens models side by side in one list."""

from __future__ import annotations

import numpy as np
import pytest

from sc_lab.cli import main
from sc_lab.clumps import Observation
from sc_lab.export import catalog_table, write_table
from sc_lab.images import Field
from sc_lab.images.galaxy import Galaxy
from sc_lab.lensing import read_lenstool
from sc_lab.mock import make_field
from sc_lab.session import population_of
from sc_lab.session.clump_editor import ClumpEditor

pytestmark = pytest.mark.real_data
SCALES = {"F115W": 0.03, "F150W": 0.03, "F277W": 0.06, "F444W": 0.06}


@pytest.fixture(scope="module")
def ring(real_data):
    """The COSMOS-Web Ring in four bands; sky coordinates assumed, noise maps floored, source at z = 5.1."""
    folder = real_data / "imaging" / "cosmos_web_ring"
    if not folder.is_dir():
        pytest.skip("the folder of real data has no imaging/cosmos_web_ring")
    parts = {
        name: {band: folder / f"{band}_{part}.fits.gz" for band in SCALES}
        for name, part in (("images", "data"), ("errors", "noise_map"), ("psfs", "psf"))
    }
    field = Field.from_files(
        parts.pop("images"),
        **parts,
        units="MJy/sr",
        pixel_scales=SCALES,
        psf_scales=SCALES,
        noise_scale="measure",
        name="COSMOS-Web Ring",
    )
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x, y = 209 + 1.3 / 0.03 * np.cos(turn), 209 + 1.3 / 0.03 * np.sin(turn)
    contour = np.stack(field["F150W"].to_sky(x, y), axis=1)
    return Observation(field=field, galaxies=[Galaxy(id="ring", contour=contour, z=5.1043, z_spec=True)], mode="full")


def test_the_ring_goes_from_detection_through_clicks_to_an_export_that_needs_no_pixels(ring, tmp_path):
    path = tmp_path / "ring.sclab"
    editor = ClumpEditor.start(ring, project=path)
    found = editor.detect()
    assert len(found) >= 8  # nine peaks stand out beside the lens
    catalog = editor.session.current_catalog
    assert (np.asarray(catalog["z"]) == 5.1043).all()
    bright = catalog[np.argmax(np.asarray(catalog["snr"]))]
    # The lens itself is the brightest there: a clump that is removed.
    editor.remove(str(bright["id"]))
    band = ring.field["F150W"]
    name = editor.add(*band.to_sky(209 + 0.8 / 0.03, 209.0))
    editor.move(name, *band.to_sky(209 + 0.8 / 0.03, 210.0))
    editor.session.do("exclude", ids=name, reason="only a try")
    population = population_of(editor.session)
    assert population.n == len(found)
    write_table(catalog_table(population), tmp_path / "live.ecsv")
    record = catalog_table(population).meta["sc_lab"]
    assert set(record["observation"]["sha256"]) == set(SCALES)
    assert any("F277W" in sentence for sentence in record["observation"]["cautions"]), "odd files are recorded"
    editor.close()
    assert main(["export", str(path), str(tmp_path / "again.ecsv")]) == 0
    assert (tmp_path / "again.ecsv").read_bytes() == (tmp_path / "live.ecsv").read_bytes()


def test_real_models_of_as1063_stand_side_by_side_and_the_analysis_switches_between_them(real_data, tmp_path):
    folder = real_data / "lensing"
    if not (folder / "as1063_cats_gold").is_dir():
        pytest.skip("the folder of real data has no lensing/as1063_cats_gold")
    field = make_field(seed=3, size=10, bands=["F150W", "F200W"])
    lenses = {
        "gold": read_lenstool(folder / "as1063_cats_gold" / "best.par"),
        "silver": read_lenstool(folder / "as1063_cats_silver" / "best.par"),
    }
    truth = field.truth[(field.truth["kind"] == "clump") & (field.truth["snr"] > 15) & (field.truth["galaxy"] != "")]
    observation = Observation(field=field, lenses=lenses, n_draws=20)
    editor = ClumpEditor.start(observation, truth["id", "ra", "dec", "galaxy"], project=tmp_path / "x.sclab")
    ra, dec, z = (np.asarray(editor.measured.columns[name]) for name in ("ra", "dec", "z"))
    for name, column in (("gold", "mu"), ("silver", "mu_silver")):
        direct = np.abs(lenses[name].magnification(ra, dec, z).mu)
        # Where there are posterior samples their median stands in the list, which is near the best model.
        ratio = editor.measured.columns[column] / direct
        assert np.isfinite(ratio).sum() > 10, name  # success trivial otherwise
        assert np.nanmedian(ratio) == pytest.approx(1.0, abs=0.15), name
    assert editor.session.lens_models == ("", "silver")
    editor.session.do("set", lens_model="silver")
    brightest = int(np.nanargmax(editor.measured.columns["snr"]))
    place = editor.clumps["id", "ra", "dec", "galaxy"][brightest]
    editor.remove(str(place["id"]))
    name = editor.add(place["ra"], place["dec"], galaxy=str(place["galaxy"]))
    population = population_of(editor.session)
    row = population.index[name]
    assert population.values("mu")[row] == pytest.approx(float(editor.session.current_catalog["mu_silver"][row]))
