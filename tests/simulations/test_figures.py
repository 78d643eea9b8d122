"""What stands behind the figures: counts of a picture, violins that are probabilities, lines from the user's own fits."""

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.mock import make_snapshot
from sc_lab.simulations import (
    as_catalog,
    bimodality,
    box_volume,
    cumulative_mass_function,
    find_groups,
    gas_phases,
    halo_gas,
    measure_clusters,
    particle_map,
    timescale_lines,
    violins,
)
from sc_lab.simulations.maps import AXES, count_in_cells
from sc_lab.simulations.timescales import cooling_time, dynamical_time


@pytest.fixture(scope="module")
def box():
    """Return a small box of clusters."""
    return make_snapshot(4, n_side=32, n_clusters=14, n_haloes=6)


@pytest.fixture(scope="module")
def clusters(box):
    """Return its clusters."""
    return measure_clusters(box, find_groups(box, "SGP"))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_compiled_picture_is_that_of_a_histogram(axis, weighted):
    rng = np.random.default_rng(2)
    points = rng.uniform(-0.2, 1.2, (5000, 3)).astype(np.float32)
    weights = rng.uniform(1, 2, 5000) if weighted else None
    first, second = AXES[axis]
    # float64 edges, as the cells are found in float64
    plain = np.histogram2d(
        points[:, second].astype(float), points[:, first].astype(float), (30, 40), ((0, 1), (0, 1)), weights=weights
    )[0]
    for method in ("compiled", "numpy"):
        found = count_in_cells(points, (0, 1, 0, 1), (30, 40), axis=axis, weights=weights, method=method)
        assert found == pytest.approx(plain)


def test_datashader_counts_the_same():
    pytest.importorskip("datashader")
    points = np.random.default_rng(3).uniform(size=(20000, 3))
    ours = count_in_cells(points, (0.1, 0.9, 0.2, 1.0), (50, 60))
    theirs = count_in_cells(points, (0.1, 0.9, 0.2, 1.0), (50, 60), method="datashader")
    # datashader counts what lies on the right and upper edge, of which there is nothing here
    assert np.array_equal(ours, theirs)


def test_every_particle_of_the_box_and_its_mass_is_in_the_picture(box):
    assert particle_map(box, "dm").image.sum() == len(box.dm)
    whole = particle_map(box, "gas", mass=True, shape=(32, 48))
    assert whole.image.shape == (32, 48)
    assert whole.image.sum() == pytest.approx(box.gas["Masses"].sum().to_value(u.Msun))
    assert whole.labels == ("x", "y")
    x0, x1, y0, y1 = whole.extent
    cell = (x1 - x0) / 48 * (y1 - y0) / 32
    assert whole.surface_density.sum() * cell == pytest.approx(whole.image.sum())


def test_clusters_are_in_the_picture_where_the_truth_has_them(box):
    found = particle_map(box, "stars", axis="x", shape=(200, 200))
    step = found.extent[1] / 200
    for true in box.truth[1:]:
        row, column = (int(true[name].value / step) for name in ("z_position", "y"))
        # A cell is 40 pc wide, so the nine around the centre, and around the box, hold all but the outskirts.
        around = np.roll(found.image, (1 - row, 1 - column), axis=(0, 1))[:3, :3]
        assert around.sum() > 0.9 * true["n_star"]


@pytest.mark.parametrize("axis", AXES)
def test_a_picture_across_an_edge_of_the_box_goes_on_at_the_other_side(box, axis):
    """The first cluster straddles a corner: all of it is around the corner, wherever the corner is looked at."""
    side = particle_map(box, "stars").extent[1]
    around = [
        particle_map(box, "stars", axis=axis, extent=(x - 0.2, x + 0.2, y - 0.2, y + 0.2), shape=(8, 8)).image
        for x, y in ((0.0, 0.0), (side, 0.0), (0.0, side), (side, side))
    ]
    # The nearest quarter of the cells about the corner are those of one scale after the other: it is in their middle.
    assert around[0][2:6, 2:6].sum() > 0.9 * box.truth["n_star"][0]
    for other in around[1:]:
        # Cells of 50 pc; places in the box differ by a rounding where it is added.
        assert np.abs(other - around[0]).sum() <= 2
    # Nothing is drawn twice where the picture is larger than the box.
    wide = particle_map(box, "stars", axis=axis, extent=(-0.5 * side, 1.5 * side, -0.1, side + 0.1))
    assert wide.image.sum() == len(box.stars)


def test_a_violin_is_a_probability_and_holds_its_median(clusters):
    (one,) = violins({"SGP": clusters})
    assert one.n == len(clusters)
    assert one.z == 12
    # two widths beyond the ends 2.3 % of the outermost values' share is cut off
    assert np.trapezoid(one.density, one.grid) == pytest.approx(1, abs=0.01)
    assert one.low < one.median < one.high
    assert one.median == pytest.approx(np.median(clusters["sigma_mass"].value))


def test_violins_part_redshifts_and_take_observed_catalogues(clusters):
    later = clusters.copy()
    later["z"] = 8.0
    from astropy.table import vstack

    both = vstack([clusters, later], metadata_conflicts="silent")
    assert [each.z for each in violins({"all": both})] == [12.0, 8.0]
    assert len(violins({"all": both}, split=False)) == 1
    assert violins({"one": as_catalog(clusters)[:1]}, "mass")[0].grid.size == 0
    with pytest.raises(InputError, match="no column sigma"):
        violins({"all": both}, "sigma")


def test_the_lines_are_those_of_the_time_scales_at_the_fitted_masses(clusters):
    lines = timescale_lines(clusters, mass=[1e5], densities=(1.0, 50.0))
    gas, dark = float(lines.gas(1e5)), float(lines.dark(1e5))
    assert lines.t_cool[:, 0] == pytest.approx(cooling_time(gas, np.array([1.0, 50.0])))
    assert lines.t_dyn[:, 0] == pytest.approx(dynamical_time(gas, np.array([1.0, 50.0]), total=1e5 + gas + dark))
    assert lines.t_vir == pytest.approx(lines.t_cool + lines.t_dyn)
    assert lines.virialises(1e9).shape == (2, 1)
    assert not any("placeholder" in words for words in lines.cautions)
    assert any("placeholder" in words for words in timescale_lines(clusters).cautions)


def test_the_cumulative_mass_function_is_for_the_comoving_box(box, clusters):
    volume = box_volume(box)
    assert volume.to_value(u.Mpc**3) == pytest.approx((32 * 1776 / 768 / 0.71 / 1000) ** 3, rel=1e-6)
    assert cumulative_mass_function(clusters, volume)["density"][0] == len(clusters) / volume


def test_gas_of_the_box_has_the_mean_density_of_the_header_and_two_phases_in_haloes(box):
    image, density, temperature = gas_phases(box)
    assert image.sum() == pytest.approx(box.gas["Masses"].sum().to_value(u.Msun))
    # Mean density of hydrogen: 0.044 of the critical one today times 0.76 and (1 + z)^3, in protons.
    mean = 0.76 * 0.044 * 9.47e-30 * 13**3 / 1.6726e-24
    row = image.sum(axis=0).argmax()
    assert density[row] == pytest.approx(np.log10(mean), abs=0.01)
    assert temperature[0] < np.log10(8.0) < temperature[-1]
    table = halo_gas(box, find_groups(box, "DMP-GS"))
    assert (table["n_h"] > 10 * mean * u.cm**-3).all()
    assert (table["n_gas"] >= 20).all()


def test_haloes_with_and_without_cooled_gas_are_told_apart():
    box = make_snapshot(1)
    table = halo_gas(box, find_groups(box, "DMP-GS"), min_gas=200)
    found = bimodality(np.log10(table["n_h"].value))
    assert found.delta_bic > 10
    assert found.means[1] - found.means[0] > 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [({"axis": "w"}, "give 'x', 'y', 'z'"), ({"shape": (0, 5)}, "one cell"), ({"method": "gpu"}, "'numpy'")],
)
def test_pictures_that_cannot_be_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        count_in_cells(np.zeros((3, 3)), (0, 1, 0, 1), **({"shape": (4, 4)} | options))


def test_particles_that_are_not_there_are_named(box):
    with pytest.raises(InputError, match="gas, dm, stars"):
        particle_map(box, "black_holes")
