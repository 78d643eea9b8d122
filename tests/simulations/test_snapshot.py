"""Snapshots: units, several parts, masses from the table, and files that are none, in words."""

import astropy.units as u
import h5py
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.simulations import Snapshot, read_snapshot, with_header

HEADER = {
    "BoxSize": 100.0,
    "Time": 0.1,
    "Redshift": 9.0,
    "HubbleParam": 0.7,
    "Omega0": 0.3,
    "OmegaLambda": 0.7,
    "OmegaBaryon": 0.05,
    "UnitLength_in_cm": 3.085678e21,
    "UnitMass_in_g": 1.989e43,
    "UnitVelocity_in_cm_per_s": 1e5,
}


def write(path, particles, *, files=1, total=None, **changes):
    """Write a file as AREPO does: no group for a type without particles."""
    numbers = [len(particles.get(kind, {}).get("Coordinates", ())) for kind in range(6)]
    with h5py.File(path, "w") as file:
        head = file.create_group("Header").attrs
        for key, value in (HEADER | changes).items():
            if value is not None:
                head[key] = value
        head["NumFilesPerSnapshot"] = np.int32(files)
        head["NumPart_ThisFile"] = np.array(numbers, dtype=np.int32)
        head["NumPart_Total"] = np.array(numbers if total is None else total, dtype=np.uint32)
        head["NumPart_Total_HighWord"] = np.zeros(6, dtype=np.uint32)
        if "MassTable" not in head:
            head["MassTable"] = np.zeros(6)
        for kind, fields in particles.items():
            for name, values in fields.items():
                file[f"PartType{kind}/{name}"] = values
    return path


def some(n, seed):
    rng = np.random.default_rng(seed)
    return {
        "Coordinates": rng.uniform(0, 100, (n, 3)),
        "Velocities": rng.standard_normal((n, 3)).astype(np.float32),
        "Masses": rng.uniform(1e-5, 2e-5, n).astype(np.float32),
    }


def test_physical_units_take_h_and_the_scale_factor_out(tmp_path):
    """Coordinates x a / h, masses x 1e10 / h, peculiar velocities x sqrt(a): tolerances of single precision."""
    stars = some(50, 1)
    with read_snapshot(write(tmp_path / "snap_000.hdf5", {4: stars})) as snapshot:
        np.testing.assert_allclose(
            snapshot.stars["Coordinates"].to_value("kpc"), stars["Coordinates"] * 0.1 / 0.7, rtol=1e-6
        )
        # 1.989e43 g are 1e10 solar masses to 3e-4 with today's constant.
        np.testing.assert_allclose(
            snapshot.stars["Masses"].to_value("solMass"), stars["Masses"] * 1e10 / 0.7, rtol=5e-4
        )
        np.testing.assert_allclose(
            snapshot.stars["Velocities"].to_value("km/s"), stars["Velocities"] * np.sqrt(0.1), rtol=1e-6
        )
        assert snapshot.stars["Masses"].unit.is_equivalent("kg")


def test_units_written_beside_a_field_go_before_the_table(tmp_path):
    path = write(tmp_path / "snap_000.hdf5", {4: some(5, 2)})
    with h5py.File(path, "r+") as file:
        attributes = file["PartType4/Velocities"].attrs
        for key, value in {"a_scaling": 0, "h_scaling": 0, "length_scaling": 0, "mass_scaling": 0}.items():
            attributes[key] = float(value)
        attributes["velocity_scaling"], attributes["to_cgs"] = 1.0, 1e5
    with read_snapshot(path) as snapshot:
        np.testing.assert_allclose(snapshot.stars["Velocities"].to_value("km/s"), snapshot.stars.code("Velocities"))


def test_masses_come_from_the_table_where_particles_have_none(tmp_path):
    dark = some(7, 3)
    del dark["Masses"]
    table = np.array([0.0, 2e-5, 0.0, 0.0, 0.0, 0.0])
    with read_snapshot(write(tmp_path / "snap_000.hdf5", {1: dark}, MassTable=table)) as snapshot:
        assert "Masses" in snapshot.dm.fields
        assert snapshot.dm.code("Masses").tolist() == [2e-5] * 7
        assert len(snapshot.stars) == 0


def test_parts_of_a_snapshot_read_as_one(tmp_path):
    whole = some(30, 4)
    first, second = ({name: values[part] for name, values in whole.items()} for part in (slice(12), slice(12, None)))
    for number, piece in enumerate((first, second)):
        write(tmp_path / f"snap_003.{number}.hdf5", {4: piece}, files=2, total=[0, 0, 0, 0, 30, 0])
    for source in (tmp_path, tmp_path / "snap_003.1.hdf5"):
        with read_snapshot(source) as snapshot:
            assert np.array_equal(snapshot.stars.code("Coordinates"), whole["Coordinates"])
            assert np.array_equal(snapshot.stars.code("Masses", slice(10, 15)), whole["Masses"][10:15])
            pieces = np.concatenate([values for _, values in snapshot.stars.chunks("Masses", size=7)])
            assert np.array_equal(pieces, whole["Masses"])
    (tmp_path / "snap_003.1.hdf5").unlink()
    with pytest.raises(InputError, match="one of 2 parts, but 1 were found"):
        read_snapshot(tmp_path / "snap_003.0.hdf5")


def test_more_particles_than_32_bits_hold_are_counted_with_the_high_word(tmp_path):
    path = write(tmp_path / "snap.hdf5", {4: some(3, 5)}, files=1)
    with h5py.File(path, "r+") as file:
        file["Header"].attrs["NumPart_Total_HighWord"] = np.array([0, 1, 0, 0, 0, 0], dtype=np.uint32)
        file["Header"].attrs["NumFilesPerSnapshot"] = 2
    with pytest.raises(InputError, match="one of 2 parts"):
        read_snapshot(path)


@pytest.mark.parametrize("missing", ["BoxSize", "Time"])
def test_a_header_without_box_or_time_is_refused(tmp_path, missing):
    with pytest.raises(InputError, match=f"has no {missing}"):
        read_snapshot(write(tmp_path / "snap.hdf5", {4: some(3, 6)}, **{missing: None}))


def test_units_that_a_file_leaves_out_are_those_of_the_code_and_said(tmp_path):
    path = write(tmp_path / "snap.hdf5", {4: some(3, 7)}, UnitLength_in_cm=None, HubbleParam=None)
    with read_snapshot(path) as snapshot:
        assert snapshot.header.length_cm == 3.085678e21
        assert any("UnitLength_in_cm" in each for each in snapshot.cautions)
        assert any("HubbleParam" in each for each in snapshot.cautions)


def test_what_is_no_snapshot_is_refused_in_words(tmp_path):
    (tmp_path / "text.hdf5").write_text("no")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        read_snapshot(tmp_path / "text.hdf5")
    with pytest.raises(InputError, match="there is no file"):
        read_snapshot(tmp_path / "none.hdf5")
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["Coordinates"] = np.zeros((3, 3))
    with pytest.raises(InputError, match="no group Header"):
        read_snapshot(tmp_path / "bare.h5")
    with pytest.raises(InputError, match="several snapshots"):
        read_snapshot(tmp_path)
    with read_snapshot(write(tmp_path / "ok.hdf5", {4: some(3, 8)})) as snapshot:
        with pytest.raises(InputError, match="no field 'Age' for stars"):
            snapshot.stars.code("Age")
        with pytest.raises(InputError, match="none, as there are no such particles"):
            snapshot.gas.code("Density")


def test_arrays_make_a_snapshot_and_are_checked():
    snapshot = Snapshot.from_arrays({"stars": some(9, 9)}, box_size=100.0, redshift=9.0, h=0.7)
    assert snapshot.header.a == pytest.approx(0.1)
    assert len(snapshot.stars) == 9
    first, other = (each.stars["Coordinates"][0, 0].value for each in (snapshot, with_header(snapshot, h=1.0)))
    assert other == pytest.approx(0.7 * first, rel=1e-14)  # one rounding of the product
    with pytest.raises(InputError, match="differ in length"):
        Snapshot.from_arrays({"stars": {"Coordinates": np.zeros((3, 3)), "Masses": np.zeros(2)}})
    with pytest.raises(InputError, match="'star' are not known"):
        Snapshot.from_arrays({"star": {}})


@pytest.mark.parametrize("time", [0.0, 0.5, 3.0])
def test_a_time_that_is_no_scale_factor_is_not_taken_for_one(tmp_path, time):
    """Codes write a cosmology also where nothing expands; with Time = 0.5 and Redshift = 0 lengths are not halved."""
    stars = some(5, 1)
    changes = {"Time": time, "Redshift": 0.0}
    with read_snapshot(write(tmp_path / "snap_000.hdf5", {4: stars}, **changes)) as snapshot:
        assert not snapshot.header.comoving
        np.testing.assert_allclose(  # single precision
            snapshot.stars["Coordinates"].to_value("kpc"), stars["Coordinates"] / 0.7, rtol=1e-6
        )
        assert any("no scale factor" in each for each in snapshot.cautions)
    with h5py.File(tmp_path / "snap_000.hdf5", "a") as file:
        file.create_group("Parameters").attrs["ComovingIntegrationOn"] = 1
    if time > 0:  # who says that it expands is believed
        with read_snapshot(tmp_path / "snap_000.hdf5") as snapshot:
            assert snapshot.header.a == time
    else:
        with pytest.raises(InputError, match="scale factor, above 0"):
            read_snapshot(tmp_path / "snap_000.hdf5")


@pytest.mark.real_data
def test_public_files_of_every_header_open_or_say_why_not(real_data):
    folder = real_data / "simulation" / "public"
    with read_snapshot(folder / "reduced_snap_247.hdf5") as snapshot:
        assert len(snapshot.gas) == 12515
        assert snapshot.header.h == pytest.approx(0.6732117)
    with read_snapshot(folder / "small_non_comoving_007.hdf5") as snapshot:
        assert not snapshot.header.comoving
        assert snapshot.header.a == 1.0
        assert any("not cosmological" in each for each in snapshot.cautions)
    with pytest.raises(InputError, match="no group Header"):
        read_snapshot(folder / "dm_halo.h5")


@pytest.mark.parametrize(
    ("changes", "header", "said"),
    [
        ({}, {"hubble": 0.7}, "a header has no hubble"),
        ({}, {"h": 71.0}, "Hubble constant over 100"),
        ({}, {"redshift": -1.0}, "scale factor 1 / "),
        ({}, {"redshift": 9.0, "time": 1.0}, "scale factor 1 / "),
        ({}, {"box_size": -1.0}, "side of the periodic box"),
        ({"Coordinates": np.zeros((3, 3)) * u.kpc}, {}, "carries the unit kpc"),
        ({"Masses": np.zeros((3, 3))}, {}, r"give \(n\)"),
        ({"Masses": 1.0}, {}, "one row for each particle"),
    ],
)
def test_arrays_and_headers_that_cannot_be_are_said(changes, header, said):
    stars = {"Coordinates": np.zeros((3, 3)), "Masses": np.ones(3)} | changes
    with pytest.raises(InputError, match=said):
        Snapshot.from_arrays({"stars": stars}, **({"box_size": 10.0} | header))


def test_redshift_and_scale_factor_follow_from_each_other():
    by_time, by_redshift = (Snapshot.from_arrays({}, **one).header for one in ({"time": 0.1}, {"redshift": 9.0}))
    assert by_time.redshift == pytest.approx(9.0, rel=1e-14)
    assert by_redshift.time == 0.1
    with pytest.raises(InputError, match="empty list"):
        read_snapshot([])
