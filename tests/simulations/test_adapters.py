"""Data sets of yt and pynbody become the snapshots that their files are; stand-ins speak the few words that are asked of them."""

import shutil

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.mock import make_snapshot
from sc_lab.simulations import MODES, Snapshot, find_groups, measure_clusters, read_snapshot, star_ages


class Array:
    """An array with a unit, as unyt has them."""

    def __init__(self, quantity):
        self.quantity = quantity

    @property
    def units(self):
        return self.quantity.unit

    @property
    def value(self):
        return self.quantity.value

    def to(self, unit):
        return Array(self.quantity.to(unit))

    def __float__(self):
        return float(self.quantity.value)


class DataSet:
    """What is asked of a data set of yt; in cgs, with everything physical."""

    cosmological_simulation = 1
    periodicity = (True, True, True)
    basename = "stand-in"

    def __init__(self, snapshot, names, *, corner=0.0, without=(), birth=False, extra=()):
        header = snapshot.header
        self.current_redshift, self.hubble_constant = header.redshift, header.h
        self.omega_matter, self.omega_lambda = header.omega_matter, header.omega_lambda
        self.parameters = {"OmegaBaryon": header.omega_baryon}
        self.current_time = Array(header.cosmology.age(header.redshift).to(u.s))
        scale = header.a / header.h * header.length_cm * u.cm
        self.domain_left_edge = Array((np.full(3, corner) * scale).to(u.cm))
        self.domain_width = Array((np.full(3, header.box_size) * scale).to(u.cm))
        self.fields = dict(extra)
        for kind, name in names.items():
            particles = getattr(snapshot, kind)
            self.fields |= {
                (name, "particle_position"): (particles["Coordinates"] + corner * scale).to(u.cm),
                (name, "particle_velocity"): particles["Velocities"].to(u.cm / u.s),
                (name, "particle_mass"): particles["Masses"].to(u.g),
                # yt gives them as floats.
                (name, "particle_index"): particles.code("ParticleIDs").astype(float) * u.one,
            }
            if kind == "gas":
                self.fields[name, "density"] = particles["Density"].to(u.g / u.cm**3)
                self.fields[name, "specific_thermal_energy"] = particles["InternalEnergy"].to(u.erg / u.g)
            if kind == "stars" and birth:
                born = self.current_time.quantity - star_ages(snapshot) * u.Myr
                self.fields[name, "creation_time"] = born.to(u.s)
        self.fields = {key: value for key, value in self.fields.items() if key[1] not in without}
        self.field_list = sorted(self.fields)

    def all_data(self):
        return {key: Array(value) for key, value in self.fields.items()}


@pytest.fixture(scope="module")
def box():
    return make_snapshot(4, n_side=24, n_clusters=8, n_haloes=3)


NAMES = {"gas": "PartType0", "dm": "PartType1", "stars": "PartType4"}


def test_a_data_set_becomes_the_snapshot_it_is_of(box):
    found = Snapshot.from_yt(DataSet(box, NAMES))
    assert found.header.numbers == box.header.numbers
    for name in ("box_size", "time", "redshift", "h", "omega_matter", "omega_lambda", "omega_baryon"):
        # The kpc of the header and that of astropy differ by 1.4e-7.
        assert getattr(found.header, name) == pytest.approx(getattr(box.header, name), rel=2e-7)
    for kind in NAMES:
        mine, theirs = getattr(box, kind), getattr(found, kind)
        assert np.array_equal(mine.code("ParticleIDs"), theirs.code("ParticleIDs"))
        for name in ("Coordinates", "Velocities", "Masses"):
            assert theirs[name].value == pytest.approx(mine[name].value, rel=1e-9, abs=1e-9)
    assert found.gas["Density"].value == pytest.approx(box.gas["Density"].value, rel=1e-9)
    assert found.gas["InternalEnergy"].value == pytest.approx(box.gas["InternalEnergy"].value, rel=1e-9)
    one, two = find_groups(box, "SGP"), find_groups(found, "SGP")
    assert np.array_equal(one.labels[4], two.labels[4])
    assert measure_clusters(found, two)["virial_ratio"] == pytest.approx(measure_clusters(box, one)["virial_ratio"])


def test_times_of_birth_on_the_clock_of_the_data_set_become_ages(box):
    found = star_ages(Snapshot.from_yt(DataSet(box, NAMES, birth=True)))
    # Steps of the table of times; single precision of the box's own formation times.
    assert found == pytest.approx(star_ages(box), abs=0.02)


def test_a_domain_that_does_not_begin_at_zero_is_moved_there(box):
    found = Snapshot.from_yt(DataSet(box, NAMES, corner=-0.5 * box.header.box_size))
    assert found.dm["Coordinates"].value == pytest.approx(box.dm["Coordinates"].value, abs=1e-9)


def test_types_and_fields_may_have_other_names(box):
    made = DataSet(box, {"stars": "young", "dm": "heavy"})
    with pytest.raises(InputError, match="say types= with those of: heavy, young"):
        Snapshot.from_yt(made)
    found = Snapshot.from_yt(
        made, types={"stars": "young"}, fields={"ParticleIDs": "particle_index"}, omega_baryon=0.05
    )
    assert found.header.numbers[4] == len(box.stars)
    assert found.header.numbers[1] == 0
    assert found.header.omega_baryon == 0.05


def test_cells_of_a_grid_without_expansion_are_gas():
    axes = {("gas", axis): np.arange(3.0) * u.Mpc for axis in "xyz"}
    speeds = {("gas", f"velocity_{axis}"): np.ones(3) * u.km / u.s for axis in "xyz"}
    made = DataSet.__new__(DataSet)
    made.cosmological_simulation, made.current_time = 0, Array(2.0 * u.s)
    made.domain_width, made.periodicity = Array(np.ones(3) * u.Mpc), (True, False, True)
    made.fields = axes | speeds | {("gas", "cell_mass"): np.full(3, 2.0) * u.Msun}
    made.field_list = sorted(made.fields)
    found = Snapshot.from_yt(made)
    assert found.gas["Coordinates"].to_value(u.kpc)[2].tolist() == [2000.0] * 3
    assert found.gas["Masses"].to_value(u.Msun).tolist() == pytest.approx([2.0] * 3)
    assert not found.header.comoving
    assert found.header.box_size == 0
    assert "not a periodic cube" in found.cautions[0]


def test_what_is_missing_or_of_the_wrong_kind_is_said(box):
    for call, said in (
        (lambda: Snapshot.from_yt("snap_008.hdf5"), "give a data set of yt"),
        (lambda: Snapshot.from_yt(DataSet(box, NAMES, without=("particle_velocity",))), "has no Velocities"),
        (lambda: Snapshot.from_yt(DataSet(box, NAMES), types={"star": "PartType4"}), "one or more of gas, dm, stars"),
        (lambda: Snapshot.from_yt(DataSet(box, NAMES), types=["PartType4"]), "one or more of gas, dm, stars"),
        (lambda: Snapshot.from_yt(DataSet(box, NAMES), types={"stars": "io"}), "no type 'io' for stars"),
        (lambda: Snapshot.from_yt(DataSet(box, NAMES), fields={"Mass": "x"}), "give names for Coordinates"),
        (lambda: Snapshot.from_yt(DataSet(box, NAMES), fields="Masses"), "give a mapping of names"),
        (lambda: Snapshot.from_yt(DataSet(box, NAMES), omega_b=0.05), "a header has no omega_b"),
        (lambda: Snapshot.from_pynbody(3), "give a snapshot of pynbody"),
    ):
        with pytest.raises(InputError, match=said):
            call()
    wrong = DataSet(box, NAMES, extra={("PartType4", "weight"): np.ones(len(box.stars)) * u.s})
    with pytest.raises(InputError, match="is in s, which does not convert to Msun"):
        Snapshot.from_yt(wrong, fields={"Masses": "weight"}, types={"stars": "PartType4"}).stars.code("Masses")
    short = DataSet(box, NAMES)
    short.fields["PartType4", "particle_mass"] = np.ones(3) * u.g
    with pytest.raises(InputError, match="3 rows for"):
        Snapshot.from_yt(short).stars.code("Masses")


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # those of yt are not ours
@pytest.mark.parametrize("mode", MODES)
def test_yt_itself_gives_the_groups_of_the_file(real_data, tmp_path, mode):
    """Member for member; yt writes files of its own beside the data, so it reads a copy."""
    yt = pytest.importorskip("yt")
    yt.set_log_level("error")
    path = shutil.copy(real_data / "simulation" / "arepo_mini" / mode / "snap-groupordered_008.hdf5", tmp_path)
    with read_snapshot(path) as mine:
        theirs = Snapshot.from_yt(yt.load(path))
        one, two = find_groups(mine, mode), find_groups(theirs, mode)
        for kind in one.labels:
            order, other = (np.argsort(each.particles[kind].code("ParticleIDs")) for each in (mine, theirs))
            assert np.array_equal(one.labels[kind][order], two.labels[kind][other])
            for name, rel in (("Coordinates", 2e-7), ("Velocities", 1e-12), ("Masses", 3.1e-4)):
                # The kpc and the solar mass of the header against those of yt.
                values = (each.particles[kind][name].value for each in (mine, theirs))
                np.testing.assert_allclose(next(values)[order], next(values)[other], rtol=rel, atol=1e-9)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # those of pynbody are not ours
def test_pynbody_gives_the_groups_of_the_file(real_data):
    pynbody = pytest.importorskip("pynbody")
    path = real_data / "simulation" / "arepo_mini" / "SGP" / "snap-groupordered_008.hdf5"
    with read_snapshot(path) as mine:
        theirs = Snapshot.from_pynbody(pynbody.load(str(path)), omega_baryon=0.044)
        assert np.array_equal(find_groups(mine, "SGP").labels[4], find_groups(theirs, "SGP").labels[4])
        # Single precision of the file's attributes for units.
        np.testing.assert_allclose(theirs.gas["InternalEnergy"].value, mine.gas["InternalEnergy"].value, rtol=1e-5)
