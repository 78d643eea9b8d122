"""Region files as DS9 writes them; whatever else stands in a file is told, and does no harm."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from sc_lab.errors import InputError
from sc_lab.export.regions import region_text
from sc_lab.images.galaxy import Galaxy
from sc_lab.images.regions import contour_text, parse_regions, read_regions

DS9 = """# Region file format: DS9 version 4.1
global color=green dashlist=8 3 width=1 font="helvetica 10 normal roman" select=1 highlite=1 dash=0 fixed=0 edit=1
fk5
circle(110.8406210,-73.4510850,0.100") # color=red text={knot; 1 # a}
point(7:23:21.7,-73:27:04.1) # point=x color=cyan
polygon(110.84,-73.451,110.841,-73.451,110.841,-73.4505) # text={arc}
galactic;point(285.0,-23.7)
image
point(100,200) # point=circle 12
# a remark; circle(1,2,3)
"""


def test_a_file_as_ds9_writes_it(mock):
    found = parse_regions(DS9, band=mock.band)
    assert found.sentences == ()
    assert found.points["label"].tolist() == ["knot; 1 # a", "", "", ""]
    assert found.points["shape"].tolist() == ["circle", "point", "point", "point"]
    assert found.points["colour"].tolist() == ["red", "cyan", "", ""]
    assert found.points["radius"][0].to_value(u.arcsec) == pytest.approx(0.1)
    assert np.isnan(found.points["radius"][1])
    assert found.points["line"].tolist() == [4, 5, 7, 9]
    assert [each.id for each in found.contours] == ["arc"]
    # FK5 and ICRS differ by up to 0.023 arcsec; sexagesimal hours are hours.
    sky = SkyCoord("7h23m21.7s", "-73d27m04.1s", frame="fk5").icrs
    assert found.points["ra"][1].value == pytest.approx(sky.ra.deg, abs=1e-9)
    galactic = SkyCoord(285.0, -23.7, unit="deg", frame="galactic").icrs
    assert found.points["dec"][2].value == pytest.approx(galactic.dec.deg, abs=1e-9)
    # DS9 counts pixels from 1.
    assert np.allclose(
        [found.points["ra"][3].value, found.points["dec"][3].value], mock.band.to_sky(99, 199), rtol=0, atol=1e-9
    )


def test_forms_that_ds9_also_takes(mock):
    text = "\ufeffICRS; circle 10 20 3\"\r\nicrs;circle( 10.5 , 20 , 3' )\rimage;circle(5,6,4)\nj2000; point 10 20"
    found = parse_regions(text, band=mock.band)
    assert found.sentences == ()
    assert found.points["radius"].to_value(u.arcsec)[:3] == pytest.approx([3, 180, 4 * 0.02])


def test_ellipses_and_boxes_become_contours(mock):
    text = 'icrs\nellipse(342.18,-44.53,3",1",0)\nbox(342.18,-44.53,4",2",90)\nimage;box(100,100,10,20,0)'
    ellipse, box, pixels = parse_regions(text, band=mock.band).contours
    # 36 vertices on an ellipse enclose 0.5 percent less.
    assert ellipse.area.value == pytest.approx(np.pi * 3, rel=0.01)
    assert bool(ellipse.contains(342.18 + 2.8 / 3600 / np.cos(np.radians(44.53)), -44.53))
    assert not bool(ellipse.contains(342.18, -44.53 + 1.5 / 3600))
    assert box.area.value == pytest.approx(8, rel=1e-4)
    assert bool(box.contains(342.18, -44.53 + 1.9 / 3600))
    assert pixels.area.value == pytest.approx(200 * 0.02**2, rel=1e-4)
    assert [ellipse.id, box.id, pixels.id] == ["contour 1", "contour 2", "contour 3"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("icrs\nvector(1,2,3,4)", "line 2: 'vector(1,2,3,4)' is not a point, circle"),
        ("circle(1,2,3)", "has no known coordinates; write icrs or fk5 before it"),
        ("linear;circle(1,2,3)", "line 1: coordinates in 'linear' are not read"),
        ("image;circle(1,2,3)", "image coordinates need an image; give band="),
        ("icrs;-circle(1,2,3)", "an excluded region"),
        ("icrs;circle(nan,2,3)", "not finite"),
        ("icrs;circle(a,b,c)", "cannot be used"),
        ("icrs;circle(10,20)", "cannot be used"),
        ("icrs;polygon(1,2,1.001,2,1.001,2.001,1)", "cannot be used"),
        ("icrs;polygon(1,2,1,2,1,2)", "at least three"),
        ("icrs;polygon(0,0,0.001,0.001,0.001,0,0,0.001)", "sides may not cross"),
        ("icrs;annulus(1,2,3,4)", "is not a point"),
        ("icrs;point(10,95)", "cannot be used"),
        ("lorem ipsum", "is not a point"),
        ("icrs;__import__('os').system('true')", "is not a point"),
    ],
)
def test_what_is_not_understood_becomes_a_sentence(text, words):
    found = parse_regions(text)
    assert len(found.points) == 0
    assert found.contours == ()
    assert any(words in sentence for sentence in found.sentences), found.sentences


def test_a_bad_line_costs_only_itself():
    found = parse_regions('icrs\ncircle(1,2,x)\ncircle(1,2,3")\n!!!\npoint(4,5)')
    assert found.points["ra"].value.tolist() == [1, 4]
    assert len(found.sentences) == 2


def test_physical_is_read_as_image_and_said(mock):
    found = parse_regions("physical\npoint(10,20)\npoint(11,20)", band=mock.band)
    assert len(found.points) == 2
    assert found.sentences == ("line 2: physical coordinates are read as image pixels",)


def test_composite_regions_are_read_one_by_one():
    found = parse_regions('fk5;circle(10,20,3") || # text={x}\nfk5;circle(11,20,3") || circle(12,20,3")')
    assert len(found.points) == 3


def test_contours_come_back_as_they_were_written():
    galaxies = (
        Galaxy(
            id="A {1}; b",
            contour=[(342.18, -44.53), (342.181, -44.53), (342.1805, -44.529)],
            z=1.378,
            z_spec=True,
            system="2",
            image="2.2",
            is_reference=True,
        ),
        Galaxy(id="plain", contour=[(0.0001, 1), (359.9999, 1), (0, 1.001)], dz=0.2),
    )
    found = parse_regions(contour_text(galaxies))
    assert found.sentences == ()
    first, second = found.contours
    assert first.id == "A (1), b"
    assert (first.z, first.z_spec, first.system, first.image, first.is_reference) == (1.378, True, "2", "2.2", True)
    assert second.dz == 0.2
    for got, gave in zip(found.contours, galaxies, strict=True):
        assert np.allclose(got.contour, gave.contour, rtol=0, atol=1e-9)  # nine decimals of a degree are written


def test_regions_of_a_catalogue_come_back():
    from astropy.table import QTable

    table = QTable({"id": ["a", "b"], "ra": [1.0, 2.0] * u.deg, "dec": [3.0, 4.0] * u.deg})
    found = parse_regions(region_text(table))
    assert found.points["label"].tolist() == ["a", "b"]
    assert found.points["dec"].value.tolist() == [3, 4]
    assert found.sentences == ()


def test_equal_labels_are_told_apart():
    text = "icrs\n" + "polygon(1,2,1.001,2,1,2.001) # text={a}\n" * 3
    found = parse_regions(text)
    assert [each.id for each in found.contours] == ["a", "a (2)", "a (3)"]
    assert len(found.sentences) == 2


def test_labels_are_cleaned_but_not_interpreted():
    found = parse_regions("icrs;point(1,2) # text={<script>alert(1)</script>\u2028}")
    assert found.points["label"][0] == "<script>alert(1)</script>"


def test_endless_properties_cost_nothing_but_themselves():
    found = parse_regions("icrs\npoint(1,2) # " + "text={" * 50000 + "\npoint(3,4)")
    assert found.points["ra"].value.tolist() == [1, 3]
    assert "properties of 300000 characters are left out" in found.sentences[0]


def test_files_that_are_no_region_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_regions(tmp_path / "none.reg")
    with pytest.raises(InputError, match="cannot be read"):
        read_regions(tmp_path)
    (tmp_path / "image.fits").write_bytes(b"SIMPLE\0\0")
    with pytest.raises(InputError, match="is not text"):
        read_regions(tmp_path / "image.fits")
    (tmp_path / "empty.reg").write_text("")
    assert len(read_regions(tmp_path / "empty.reg").points) == 0


@pytest.mark.real_data
def test_published_knots_as_regions(real_data):
    """The 32 knots of the Sparkler: sexagesimal fk5 positions, written as regions and read back."""
    lines = (real_data / "imaging" / "sparkler" / "sparkles_positions.txt").read_text().splitlines()
    positions = [line.split()[:2] for line in lines if line.split()[2:3] == ["fk5"]]
    assert len(positions) == 32
    found = parse_regions("fk5\n" + "\n".join(f"point({ra},{dec})" for ra, dec in positions))
    assert len(found.points) == 32
    assert found.sentences == ()
    sky = SkyCoord([f"{ra} {dec}" for ra, dec in positions], unit=("hourangle", "deg"), frame="fk5").icrs
    assert np.allclose(found.points["ra"].value, sky.ra.deg, rtol=0, atol=1e-9)
