"""Outlines follow segments, segments merge into arcs, and selection says why."""

from __future__ import annotations

import math

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table

from sc_lab.detection import Segments, make_segments, merge_segments, segment_galaxies, select_galaxies
from sc_lab.errors import InputError
from sc_lab.images.footprint import contour_box, contour_coverage, polygon_coverage
from sc_lab.images.galaxy import Galaxy
from sc_lab.images.systems import assign_system, choose_references, group_systems, reference_ids, unique_clumps


@pytest.fixture(scope="module")
def band(make):
    rng = np.random.default_rng(1)
    data = rng.normal(size=(200, 220))
    for x, y in ((50, 60), (150, 140)):
        data += make.gaussian(data.shape, x, y, 6e3, np.array([[120.0, 40.0], [40.0, 60.0]]))
    return make.band(data, np.ones_like(data), make.wcs(220, 200))


# ---- polygons on pixels --------------------------------------------------------------------


def test_coverage_sums_to_the_area():
    triangle = np.array([(3.2, 4.1), (33.7, 9.9), (12.4, 41.3)])
    x, y = triangle.T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    # Sampling 8 x 8 points a pixel along a rim of 120 pixels: errors of a few hundredths of a pixel each, random.
    assert polygon_coverage(triangle, 0, 0, 50, 50, subpixels=8).sum() == pytest.approx(area, abs=0.5)


def test_a_square_on_pixel_edges_is_exact_wherever_the_grid_begins():
    square = np.array([(4.5, 2.5), (9.5, 2.5), (9.5, 6.5), (4.5, 6.5)])
    inside = polygon_coverage(square, 3, 1, 12, 9)
    assert inside.sum() == 20
    assert inside[2:6, 2:7].all()
    assert np.array_equal(inside, polygon_coverage(square, 3, 1, 12, 9, subpixels=4))
    assert polygon_coverage(square[::-1], 3, 1, 12, 9).sum() == 20


def test_pixels_agree_with_the_sky(band, make):
    galaxy = Galaxy(id="G", contour=make.polygon(band, [(20.3, 30.2), (90.1, 40.4), (60.7, 110.9), (25.2, 80.6)]))
    x0, y0, nx, ny = contour_box(band, galaxy, margin=3)
    inside = contour_coverage(band, galaxy, x0, y0, nx, ny) > 0.5
    yy, xx = np.mgrid[y0 : y0 + ny, x0 : x0 + nx]
    assert np.array_equal(inside, galaxy.contains(*band.to_sky(xx, yy)))
    assert (x0, y0) == (17, 27)


def test_a_contour_beyond_the_mosaic_has_an_empty_box(band):
    far = Galaxy(id="far", contour=[(10, 10), (10.001, 10), (10, 10.001)])
    assert 0 in contour_box(band, far, margin=5)[2:]


# ---- segments ------------------------------------------------------------------------------


def test_segments_are_found_and_outlined(band, make):
    segments = make_segments(make.field(F150W=band))
    assert len(segments.ids) == 2
    label = segments.label_at(*band.to_sky(50, 60))
    (galaxy,) = segment_galaxies(segments, [label], prefix="S")
    assert galaxy.id == f"S{label}"
    assert bool(galaxy.contains(*band.to_sky(50, 60)))
    area_px = float(galaxy.area.value) / 0.02**2
    # Vertices may be dropped as long as the line moves by less than half a pixel: a few percent of 700 pixels.
    assert area_px == pytest.approx((segments.labels == label).sum(), rel=0.06)
    assert len(galaxy.contour) < 60
    assert segments.label_at(*band.to_sky(5, 190)) == 0


def test_segments_of_a_region_lie_where_those_of_the_mosaic_do(band, make):
    field = make.field(F150W=band)
    region = make.polygon(band, [(110, 100), (200, 100), (200, 190), (110, 190)])
    segments = make_segments(field, region=region)
    assert len(segments.ids) == 1
    (galaxy,) = segment_galaxies(segments)
    assert bool(galaxy.contains(*band.to_sky(150, 140)))


def test_pieces_of_an_arc_become_one_contour(band):
    labels = np.zeros((200, 220), dtype=int)
    labels[50:60, 20:60] = 3
    labels[50:60, 65:100] = 7
    labels[150:160, 150:160] = 9
    segments = Segments(labels, band)
    galaxy = merge_segments(segments, [3, 7], z=2.0, system="2", max_gap=0.2 * u.arcsec)
    assert (galaxy.id, galaxy.z, galaxy.system) == ("3+7", 2.0, "2")
    # 750 pixels and a bridge of 12; dropping vertices cuts corners by up to half a pixel along 150 pixels of rim.
    assert float(galaxy.area.value) / 0.02**2 == pytest.approx(762, abs=45)
    with pytest.raises(InputError, match=r"more than 0.2 arcsec apart"):
        merge_segments(segments, [3, 9], max_gap=0.2 * u.arcsec)
    with pytest.raises(InputError, match="no segment 4"):
        merge_segments(segments, [3, 4])


def test_a_diagonal_string_of_pixels_is_one_contour(band):
    labels = np.zeros((40, 40), dtype=int)
    labels[np.arange(5, 30), np.arange(5, 30)] = 1
    galaxy = merge_segments(Segments(labels, band), [1])
    assert float(galaxy.area.value) > 0


def test_a_map_of_broken_numbers_is_refused(band):
    with pytest.raises(InputError, match="whole numbers, 0 for sky"):
        Segments(np.full((4, 4), 0.5), band)


def test_a_region_beyond_the_mosaic_is_refused(band, make):
    with pytest.raises(InputError, match="lies outside band F150W"):
        make_segments(make.field(F150W=band), region=[(10, 10), (10.001, 10), (10, 10.001)])


# ---- selection and systems -------------------------------------------------------------------


class Lens:
    """Magnification that grows towards the east; nothing is known west of a line."""

    def magnification(self, ra, dec, z):
        east = (np.asarray(ra) - 342.18) * 3600 * math.cos(math.radians(44.53))
        mu = np.where(east < -10, np.nan, -(4 + east) * z / 2)
        return mu, mu, np.ones_like(mu)


def square(name, x, size=1.0, **more):
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size + (x, 0)
    sky = np.stack([342.18 + corners[:, 0] / 3600 / math.cos(math.radians(44.53)), -44.53 + corners[:, 1] / 3600], 1)
    return Galaxy(id=name, contour=sky, **more)


def test_selection_keeps_what_the_rule_keeps_and_says_why_not():
    galaxies = [
        square("spec", 3, z=2.0, z_spec=True),
        square("photo", 3, z=2.0, dz=0.4),
        square("vague", 3, z=2.0, dz=0.5),
        square("unknown dz", 3, z=2.0),
        square("faint", 0 - 0.5, z=2.0, z_spec=True),
        square("outside", -30, z=2.0, z_spec=True),
        square("no z", 3),
    ]
    result = select_galaxies(galaxies, Lens())
    assert [each.id for each in result.kept] == ["spec", "photo"]
    reasons = dict(zip(result.table["id"], result.table["reason"], strict=True))
    assert reasons["spec"] == ""
    assert "0.50, not below 0.5" in reasons["vague"]
    assert "unknown, not below" in reasons["unknown dz"]
    assert reasons["faint"].startswith("largest magnification 4.5")
    assert reasons["outside"] == "outside the lens model"
    assert reasons["no z"] == "no redshift"


def test_the_largest_magnification_is_that_of_the_rim_too():
    """It grows to the eastern side: 4 + 4 = 8 at the vertices."""
    table = select_galaxies([square("G", 3, z=2.0, z_spec=True)], Lens()).table
    assert table["mu_max"][0] == pytest.approx(8, rel=1e-4)
    assert table["mu_median"][0] == pytest.approx(7.5, rel=0.02)
    assert table["covered"][0] == 1.0


def test_half_a_galaxy_outside_the_model_is_counted_as_such():
    table = select_galaxies([square("G", -12, size=4, z=2.0, z_spec=True)], Lens()).table
    assert table["covered"][0] == pytest.approx(0.5, abs=0.05)


def test_no_galaxies_make_an_empty_selection():
    result = select_galaxies([], Lens())
    assert result.kept == ()
    assert len(result.table) == 0
    with pytest.raises(InputError, match="min_magnification is 0"):
        select_galaxies([], Lens(), min_magnification=0)


def test_systems_have_one_reference_each():
    galaxies = (square("a", 0, z=1.4), square("b", 3, size=2, z=1.4), square("c", 8, z=3.0))
    joined = assign_system(galaxies, ["a", "b"], "2")
    assert [each.image for each in joined] == ["2.1", "2.2", ""]
    assert {name: len(images) for name, images in group_systems(joined).items()} == {"2": 2, "c": 1}
    assert reference_ids(joined) == {"b", "c"}
    assert reference_ids(assign_system(galaxies, ["a", "b"], "2", reference="a")) == {"a", "c"}
    freed = assign_system(joined, ["a", "b"], "")
    assert reference_ids(freed) == {"a", "b", "c"}


def test_clumps_of_multiple_images_are_counted_once():
    galaxies = assign_system((square("a", 0), square("b", 3, size=2), square("c", 8)), ["a", "b"], "2")
    clumps = Table({"galaxy": ["a", "b", "b", "c", ""]})
    assert unique_clumps(clumps, galaxies).tolist() == [False, True, True, True, True]


def test_contradictions_in_a_system_are_refused():
    galaxies = (square("a", 0, z=1.4), square("b", 3, z=3.4))
    with pytest.raises(InputError, match=r"a \(z = 1.4\), b \(z = 3.4\) differ"):
        assign_system(galaxies, ["a", "b"], "2")
    with pytest.raises(InputError, match="no galaxy x; there are a, b"):
        assign_system(galaxies, ["x"], "2")
    with pytest.raises(InputError, match="reference b is not among"):
        assign_system(galaxies, ["a"], "2", reference="b")
    both = tuple(square(name, k, system="2", is_reference=True) for k, name in enumerate("ab"))
    with pytest.raises(InputError, match="system 2 has the references a, b"):
        choose_references(both)


@pytest.mark.real_data
def test_the_sparkler_is_selected_and_its_counter_images_are_not(real_data):
    """Magnifications 5.3, 12.3 and 4.9 in the final model of Mahler et al. 2022: above 8 only the middle one."""
    from sc_lab.lensing import read_lenstool

    lens = read_lenstool(real_data / "lensing" / "smacs0723_mahler22_iclv2", posterior=False)
    places = {"2.1": (110.8387288, -73.4510508), "2.2": (110.8407771, -73.4552122), "2.3": (110.8364983, -73.4588136)}
    galaxies = []
    for name, (ra, dec) in places.items():
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        east, north = 0.3 * np.cos(turn) / 3600 / np.cos(np.radians(dec)), 0.3 * np.sin(turn) / 3600
        contour = np.stack([ra + east, dec + north], axis=1)
        galaxies.append(Galaxy(id=name, contour=contour, z=1.3779, z_spec=True, system="2", image=name))
    table = select_galaxies(galaxies, lens).table
    # The median over 0.3 arcsec about the published place.
    assert table["mu_median"] == pytest.approx([5.3, 12.3, 4.9], rel=0.1)
    assert table["kept"].tolist() == [True, True, True] or table["kept"].tolist() == [True, True, False]
    assert [each.id for each in select_galaxies(galaxies, lens, min_magnification=8).kept] == ["2.2"]
