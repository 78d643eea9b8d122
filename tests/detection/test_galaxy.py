"""Contours of galaxies: geometry on the sky, pure edits, refusals in words."""

from __future__ import annotations

import json
import math

import astropy.units as u
import numpy as np
import pytest

from sc_lab.errors import InputError
from sc_lab.images.galaxy import (
    Galaxy,
    delete_vertex,
    galaxy_at,
    insert_vertex,
    move_contour,
    move_vertex,
    split_galaxy,
    subtract_contour,
    union_galaxies,
)

RA, DEC = 342.18, -44.53


def box(x, y, w, h, name="G1", ra=RA, dec=DEC, **more):
    """A rectangle of arcsec east and north of a place."""
    points = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], dtype=float)
    sky = np.stack([ra + points[:, 0] / 3600 / np.cos(np.radians(dec)), dec + points[:, 1] / 3600], axis=1)
    return Galaxy(id=name, contour=sky, **more)


def at(x, y, ra=RA, dec=DEC):
    return ra + x / 3600 / np.cos(np.radians(dec)), dec + y / 3600


def test_area_is_that_on_the_sky():
    """2 by 3 arcsec; the cosine of the declination changes by 1e-5 over the contour."""
    assert box(0, 0, 2, 3).area.to_value(u.arcsec**2) == pytest.approx(6, rel=1e-4)


@pytest.mark.parametrize("ra", [0.0, 359.9999, 180.0])
def test_contains_knows_that_right_ascension_wraps(ra):
    galaxy = box(-1, -1, 2, 2, ra=ra)
    assert bool(galaxy.contains(*at(0.5, 0.5, ra=ra)))
    assert not bool(galaxy.contains(*at(1.5, 0.5, ra=ra)))
    assert not bool(galaxy.contains(ra + 180, -DEC))


def test_contains_keeps_the_shape_and_says_no_to_nan():
    ra, dec = at(np.array([[0.5, 5.0], [math.nan, 0.5]]), np.array([[0.5, 0.5], [0.5, math.nan]]))
    assert box(0, 0, 1, 1).contains(ra, dec).tolist() == [[True, False], [False, False]]


def test_a_repeated_last_vertex_is_dropped_and_numbers_stay():
    galaxy = box(0, 0, 1, 1)
    again = Galaxy(id="G1", contour=galaxy.closed)
    assert np.array_equal(again.contour, galaxy.contour)
    assert again == galaxy
    assert hash(again) == hash(galaxy)


def test_contour_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="read-only"):
        box(0, 0, 1, 1).contour[0, 0] = 1.0


def test_centre_of_an_arc_lies_inside_it():
    ring = [(np.cos(t) * 3, np.sin(t) * 3) for t in np.linspace(0, np.pi, 20)]
    ring += [(np.cos(t) * 2.5, np.sin(t) * 2.5) for t in np.linspace(np.pi, 0, 20)]
    arc = Galaxy(id="arc", contour=np.array([at(*p) for p in ring]))
    assert bool(arc.contains(*arc.centre))


def test_rim_distance_is_in_arcsec_on_both_sides():
    galaxy = box(0, 0, 4, 4)
    distance = galaxy.rim_distance(*at(np.array([1.0, -1.0, 2.0]), np.array([2.0, 2.0, 2.0])))
    assert distance == pytest.approx([1, 1, 2], rel=1e-4)  # the plane's cosine, as above


def test_moving_one_vertex_leaves_the_others_and_the_original():
    galaxy = box(0, 0, 1, 1)
    moved = move_vertex(galaxy, 2, *at(2, 2))
    assert np.array_equal(moved.contour[[0, 1, 3]], galaxy.contour[[0, 1, 3]])
    assert moved.contour[2] == pytest.approx(at(2, 2))
    assert galaxy == box(0, 0, 1, 1)


def test_a_new_vertex_goes_to_the_nearest_side():
    galaxy = insert_vertex(box(0, 0, 1, 1), *at(1.2, 0.5))
    assert len(galaxy.contour) == 5
    assert galaxy.contour[2] == pytest.approx(at(1.2, 0.5))
    closing = insert_vertex(box(0, 0, 1, 1), *at(-0.2, 0.5))
    assert closing.contour[4] == pytest.approx(at(-0.2, 0.5))


def test_insert_then_delete_is_nothing():
    galaxy = box(0, 0, 1, 1)
    assert delete_vertex(insert_vertex(galaxy, *at(1.2, 0.5)), 2) == galaxy


def test_moving_a_contour_keeps_its_area():
    galaxy = box(0, 0, 1, 2)
    moved = move_contour(galaxy, 3.0, -4.0)
    assert moved.contour[0] == pytest.approx(at(3, -4), abs=1e-12)
    # The cosine of the declination differs by 2e-5 at 4 arcsec.
    assert moved.area.value == pytest.approx(galaxy.area.value, rel=1e-4)


def test_union_of_touching_segments_is_their_sum():
    merged = union_galaxies([box(0, 0, 1, 1, z=2.0, system="2"), box(1, 0, 1, 1, name="G2")])
    assert merged.area.value == pytest.approx(2, rel=1e-4)  # the plane's cosine
    assert (merged.id, merged.z, merged.system) == ("G1", 2.0, "2")


def test_union_bridges_a_gap_but_not_a_wide_one():
    far = box(1.5, 0, 1, 1, name="G2")
    merged = union_galaxies([box(0, 0, 1, 1), far], max_gap=0.6 * u.arcsec)
    # The bridge is 0.05 arcsec wide and 0.5 long.
    assert merged.area.value == pytest.approx(2.025, abs=0.01)
    with pytest.raises(InputError, match=r"G1, G2 are more than 0.3 arcsec apart; raise max_gap"):
        union_galaxies([box(0, 0, 1, 1), far], max_gap=0.3 * u.arcsec)


def test_subtracting_takes_away_the_overlap():
    assert subtract_contour(box(0, 0, 2, 2), box(1, -1, 2, 4)).area.value == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ((-1, -1, 4, 4), "would leave nothing; cut less"),
        ((0.5, -1, 1, 4), "would leave 2 pieces; use split_galaxy"),
        ((0.5, 0.5, 1, 1), "would leave a hole; let it reach over the rim"),
    ],
)
def test_a_cut_that_leaves_no_simple_contour_is_refused(cut, words):
    with pytest.raises(InputError, match=words):
        subtract_contour(box(0, 0, 2, 2), box(*cut))


def test_split_parts_make_up_the_whole():
    parts = split_galaxy(box(0, 0, 4, 1, z=1.5), [at(1, -1), at(1, 2)])
    assert [part.id for part in parts] == ["G1a", "G1b"]
    assert [part.area.value for part in parts] == pytest.approx([3, 1], rel=1e-4)
    assert {part.z for part in parts} == {1.5}


def test_split_refuses_a_line_that_ends_inside():
    with pytest.raises(InputError, match="does not divide galaxy G1; let it begin and end outside"):
        split_galaxy(box(0, 0, 4, 1), [at(1, -1), at(1, 0.5)])
    with pytest.raises(InputError, match="makes 2 parts of galaxy G1, but 1 ids"):
        split_galaxy(box(0, 0, 4, 1), [at(1, -1), at(1, 2)], ids=["a"])


def test_json_gives_the_galaxy_back():
    galaxy = box(0, 0, 1, 1, z=1.378, system="2", image="2.2", z_spec=True, is_reference=True)
    assert Galaxy.from_dict(json.loads(json.dumps(galaxy.to_dict()))) == galaxy
    assert Galaxy.from_dict(json.loads(json.dumps(box(0, 0, 1, 1).to_dict()))) == box(0, 0, 1, 1)


def test_galaxy_at_prefers_the_smaller():
    big, small = box(0, 0, 4, 4, name="big"), box(1, 1, 1, 1, name="small")
    assert galaxy_at([big, small], *at(1.5, 1.5)).id == "small"
    assert galaxy_at([big, small], *at(3, 3)).id == "big"
    assert galaxy_at([big, small], *at(9, 9)) is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Galaxy(id="", contour=[(0, 0), (1, 0), (0, 1)]), "empty id"),
        (lambda: Galaxy(id="G", contour=[(0, 0), (1, 0)]), "2 different vertices; a contour needs at least three"),
        (lambda: Galaxy(id="G", contour=[1, 2, 3]), r"shape \(3,\); give vertices"),
        (lambda: Galaxy(id="G", contour=[(0, 0), (1, math.nan), (0, 1)]), "not finite at vertex 1"),
        (lambda: Galaxy(id="G", contour=[(-44, 342), (-45, 342), (-44, 343)]), "declination beyond 90"),
        (lambda: Galaxy(id="G", contour=[(0, 0), (1e-3, 1e-3), (1e-3, 0), (0, 1e-3)]), "sides may not cross"),
        (lambda: Galaxy(id="G", contour=[(0, 0), (1e-3, 0), (2e-3, 0)]), "contour of galaxy G"),
        (lambda: box(0, 0, 1, 1, z=-1), "redshift -1; give a number >= 0"),
        (lambda: move_vertex(box(0, 0, 1, 1), 4, RA, DEC), "vertices 0 to 3; there is no vertex 4"),
        (lambda: move_vertex(box(0, 0, 1, 1), 0, *at(2, 0.5)), "sides may not cross"),
        (lambda: delete_vertex(delete_vertex(box(0, 0, 1, 1), 0), 0), "only 3 vertices"),
        (lambda: union_galaxies([]), "no galaxies to merge"),
        (lambda: Galaxy.from_dict({"id": "G"}), "missing: contour"),
        (lambda: Galaxy.from_dict({"id": "G", "contour": [], "colour": 1}), "unknown keys colour"),
    ],
)
def test_what_cannot_be_a_galaxy_is_refused_in_words(make, words):
    with pytest.raises(InputError, match=words):
        make()
