"""The clump picker without a browser: every click is one call and one step, and what is refused is said in place."""

import gc
import itertools
import weakref

import ipywidgets
import numpy as np
import pytest
from astropy.wcs import WCS
from bokeh.events import DoubleTap, SelectionGeometry, Tap
from sc_lab_widgets import ClumpPicker, Workbench
from sc_lab_widgets._keys import KeyBoard
from sc_lab_widgets._pane import Key
from sc_lab_widgets.panels.picker_images import Box, box_around, covering, place_of, shrunk, thinned
from sc_lab_widgets.panels.picker_markers import with_error

from sc_lab.errors import InputError
from sc_lab.images import Field, Psf
from sc_lab.images.galaxy import Galaxy
from sc_lab.lensing import DPIE, ParametricLens

#: Places of the clumps [px of F150W] and their fluxes [nJy]; the noise is 0.05 nJy a pixel.
PLACES = ((60.0, 70.0, 40.0), (80.3, 62.6, 30.0), (95.0, 90.2, 50.0), (70.7, 95.0, 25.0), (84.4, 80.1, 60.0))
SHAPE = (150, 160)
SIGMA = 1.25
Z = 2.0


def gaussian(shape, x, y, sigma):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def tangent(scale, x, y):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [64.0, -24.0]
    wcs.wcs.crpix = [x + 1, y + 1]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs


@pytest.fixture(scope="module")
def field():
    """Three bands, the reddest with pixels twice as large; a galaxy with five clumps, and one without any."""
    rng = np.random.default_rng(2)
    images, errors, psfs, wcs = {}, {}, {}, {}
    for band, scale, colour in (("F115W", 1, 0.7), ("F150W", 1, 1.0), ("F277W", 2, 1.5)):
        shape = (SHAPE[0] // scale, SHAPE[1] // scale)
        sigma = SIGMA if scale == 1 else 0.9
        image = rng.normal(0, 0.05, shape)
        for x, y, flux in PLACES:
            at = [(value + 0.5) / scale - 0.5 for value in (x, y)]
            image += colour * flux * gaussian(shape, *at, np.hypot(sigma, 0.8 / scale))
        images[band], errors[band] = image, np.full(shape, 0.05)
        psfs[band] = Psf(gaussian((25, 25), 12, 12, sigma), 0.02 * scale, 1.0)
        wcs[band] = tangent(0.02 * scale, *((value + 0.5) / scale - 0.5 for value in (80.0, 75.0)))
    made = Field.from_arrays(images, errors=errors, psfs=psfs, wcs=wcs, name="test field")
    band = made["F150W"]

    def galaxy(name, x, y):
        return Galaxy(id=name, contour=np.column_stack(band.to_sky(np.array(x, float), np.array(y, float))), z=Z)

    galaxies = (galaxy("1.1", [45, 110, 110, 45], [50, 50, 105, 105]), galaxy("1.2", [120, 150, 135], [110, 110, 140]))
    return made.replace(galaxies=galaxies)


@pytest.fixture(scope="module")
def lens():
    potential = DPIE(4.0, 0.0, 390.0, core=0.05, cut=200.0)
    return ParametricLens([potential], z_lens=0.4, ra=64.0, dec=-24.0, name="test lens")


@pytest.fixture
def picker(field):
    picker = ClumpPicker(field)
    yield picker
    picker.close()
    picker.session.close()


@pytest.fixture
def filled(picker):
    """Return a picker with the five clumps on its list."""
    picker.proposals.detect()
    picker.proposals.accept()
    assert len(picker.markers.ids) == len(PLACES)
    return picker


def tap(picker, x, y, *, shift=False, kind=Tap, figure="cutout"):
    plot = picker.figures[figure]
    event = kind(plot, x=x, y=y, sx=0, sy=0, modifiers={"shift": shift, "ctrl": False, "alt": False})
    plot._trigger_event(event)


def double_tap(picker, x, y, **options):
    tap(picker, x, y, **options)
    tap(picker, x, y, kind=DoubleTap, **options)


def drag(source, number, *, x=None, y=None):
    """Move one point, as the browser does at the end of a drag."""
    data = {name: np.array(source.data[name]) for name in source.data}
    for axis, value in (("x", x), ("y", y)):
        if value is not None:
            data[axis][number] = value
    source.data = data


def press(picker, name, *, shift=False, figure="cutout"):
    KeyBoard(picker.host, picker.message).press(Key(name, shift=shift, figure=figure))


def nearest(picker, x, y):
    return picker.markers.ids[int(np.argmin(np.hypot(picker.markers.x - x, picker.markers.y - y)))]


def steps(picker):
    return len([step for step in picker.session.log if step["name"] not in ("undo", "redo")])


def test_detection_proposes_and_acceptance_is_one_step(picker):
    picker.proposals.detect()
    found = sorted((round(item.x), round(item.y)) for item in picker.proposals.items)
    assert found == sorted((round(x), round(y)) for x, y, _ in PLACES)
    assert len(picker.markers.ids) == 0
    before = steps(picker)
    names = picker.proposals.accept()
    assert steps(picker) == before + 1
    assert len(names) == len(PLACES)
    assert picker.proposals.items == []
    assert set(picker.markers.states) <= {"detected", "size limit"}
    picker.proposals.detect()
    assert picker.proposals.items == []
    assert "0 new of 5" in picker.message.text


def test_fluxes_of_clicked_clumps_are_the_true_ones(filled):
    fits = filled.bench.fits
    for x, y, flux in PLACES:
        row = list(fits["id"]).index(nearest(filled, x, y))
        # sixty times the statistical error would be 5 %: what is checked is that the right thing was fitted
        assert float(fits["flux_f150w"][row].value) == pytest.approx(flux, rel=0.05)
        assert float(fits["flux_f277w"][row].value) == pytest.approx(1.5 * flux, rel=0.08)


def test_result_is_that_of_the_printed_call(filled, field):
    double_tap(filled, 50.0, 60.0)
    scope = {"field": field}
    exec(filled.code(), scope)
    mine, plain = filled.result, scope["result"]
    assert list(mine["id"]) == list(plain["id"])
    # the edited list is fitted piece by piece, the plain call all at once: the same numbers but for rounding
    for name in ("ra", "dec", "r_eff", "mag_f150w"):
        a, b = (np.asarray(getattr(t[name], "unmasked", t[name]).value, float) for t in (mine, plain))
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_double_click_on_empty_sky_adds_one_fitted_clump_and_selects_it(picker):
    before = steps(picker)
    double_tap(picker, 84.9, 79.7)
    assert steps(picker) == before + 1
    assert picker.markers.states == ("added",)
    assert picker.selected == list(picker.markers.ids)
    # the fit finds the peak to a tenth of a pixel
    assert picker.markers.x[0] == pytest.approx(84.4, abs=0.1)
    assert list(picker.view.picked.data["id"]) == picker.selected
    picker.undo()
    assert picker.markers.ids == ()
    assert picker.host.population.n == 0
    picker.redo()
    assert picker.markers.ids == ("c0001",)


def test_a_double_click_on_a_clump_adds_nothing(filled):
    before = steps(filled)
    double_tap(filled, 84.4, 80.1)
    assert steps(filled) == before
    assert filled.selected == [nearest(filled, 84.4, 80.1)]


def test_two_quick_clicks_on_different_places_are_two_clicks(filled):
    before = steps(filled)
    tap(filled, 60.0, 70.0)
    tap(filled, 120.0, 120.0, kind=DoubleTap)
    assert steps(filled) == before
    assert filled.selected == []


@pytest.mark.parametrize("figure", ["cutout", "data", "residual"])
def test_clicks_select_and_shift_adds_in_every_cutout(filled, figure):
    tap(filled, 60.0, 70.0, figure=figure)
    first = nearest(filled, 60, 70)
    assert filled.selected == [first]
    tap(filled, 95.0, 90.0, shift=True, figure=figure)
    assert set(filled.selected) == {first, nearest(filled, 95, 90)}
    assert first in filled.host.selected_ids
    tap(filled, 130.0, 130.0, figure=figure)
    assert filled.selected == []


def test_a_box_selects_what_it_holds(filled):
    plot = filled.figures["cutout"]
    geometry = {"type": "rect", "x0": 100.0, "y0": 98.0, "x1": 77.0, "y1": 55.0}
    plot._trigger_event(SelectionGeometry(plot, geometry=geometry, final=True))
    inside = {nearest(filled, x, y) for x, y, _ in PLACES if 77 < x < 100 and 55 < y < 98}
    assert set(filled.selected) == inside
    assert len(inside) == 3


def test_a_dragged_ring_moves_its_clump_in_one_step(filled):
    name = nearest(filled, 60, 70)
    filled.select([name])
    before = steps(filled)
    drag(filled.view.picked, 0, x=61.5, y=70.5)
    assert steps(filled) == before + 1
    assert filled.bench.origin(name) == "moved"
    at = filled.markers.ids.index(name)
    assert filled.markers.states[at] == "moved"
    # the fit returns to the peak, and the ring with it
    assert filled.markers.x[at] == pytest.approx(60.0, abs=0.1)
    assert filled.view.picked.data["x"][0] == filled.markers.x[at]
    filled.undo()
    assert filled.markers.states[filled.markers.ids.index(name)] != "moved"


def test_a_ring_dragged_off_the_image_returns(filled):
    name = nearest(filled, 60, 70)
    filled.select([name])
    before, x = steps(filled), filled.view.picked.data["x"][0]
    drag(filled.view.picked, 0, x=-40.0)
    assert steps(filled) == before
    assert "outside the mosaic" in filled.message.text
    assert filled.view.picked.data["x"][0] == x


def test_m_moves_to_the_next_click(filled):
    name = nearest(filled, 60, 70)
    press(filled, "m")
    assert "click the one to move" in filled.message.text
    filled.select([name])
    press(filled, "m")
    tap(filled, 61.0, 69.0)
    assert filled.bench.origin(name) == "moved"
    before = steps(filled)
    press(filled, "m")
    press(filled, "Escape")
    tap(filled, 100.0, 60.0)
    assert steps(filled) == before


def test_split_and_merge_by_key(filled):
    filled.select([nearest(filled, 84, 80)])
    press(filled, "s")
    parts = filled.selected
    assert len(parts) == 2
    assert filled.bench.origin(parts[0]) == "split"
    press(filled, "g")
    assert len(filled.selected) == 1
    assert filled.bench.origin(filled.selected[0]) == "merged"
    assert len(filled.markers.ids) == len(PLACES)


def test_delete_removes_and_u_brings_back(filled):
    name = nearest(filled, 60, 70)
    press(filled, "Delete")
    assert "nothing is selected" in filled.message.text
    filled.select([name])
    press(filled, "Delete")
    assert name not in filled.markers.ids
    press(filled, "u")
    assert name in filled.markers.ids
    press(filled, "u", shift=True)
    assert name not in filled.markers.ids


def test_every_edit_can_be_taken_back_to_the_empty_list(filled):
    filled.select([nearest(filled, 84, 80)])
    filled.split()
    filled.merge()
    double_tap(filled, 50.0, 60.0)
    filled.remove()
    filled.set_contour([45, 112, 110, 45], [50, 50, 105, 105])
    while filled.session.can_undo:
        filled.undo()
    assert filled.markers.ids == ()
    assert not filled.view.images.data["model"][0].max() > filled.view.images.data["data"][0].max()
    while filled.session.can_redo:
        filled.redo()
    assert len(filled.markers.ids) == len(PLACES)


def test_images_are_not_sent_again_by_clicks_but_model_and_residual_follow(filled):
    colour, data = filled.view.colour.data["image"][0], filled.view.images.data["data"][0]
    model, residual = (filled.view.images.data[name][0] for name in ("model", "residual"))
    tap(filled, 60.0, 70.0)
    assert filled.view.images.data["model"][0] is model
    name = nearest(filled, 60, 70)
    filled.remove()
    assert filled.view.colour.data["image"][0] is colour
    assert filled.view.images.data["data"][0] is data
    after = filled.view.images.data["model"][0]
    y, x = 70 - filled.box.y0, 60 - filled.box.x0
    assert after[y, x] < model[y, x]
    assert filled.view.images.data["residual"][0][y, x] > residual[y, x]
    assert name not in filled.view.markers.data["id"]


def test_residual_of_the_right_model_is_noise(filled):
    # 128 is zero; the palette spans 8 sigma on each side at least, so one sigma is 16 steps at most
    shown = filled.view.images.data["residual"][0].astype(float)
    assert abs(np.median(shown) - 128) < 8
    assert np.abs(shown - np.median(shown)).max() < 128 - 20


def test_another_band_lies_on_the_same_sky(filled, field):
    filled.controls.band.value = "F277W"
    place = filled.place
    data = filled.view.images.data
    image = data["data"][0]
    assert image.shape == (place.box.ny, place.box.nx)
    y, x = np.unravel_index(np.argmax(image.astype(float)), image.shape)
    at = (
        data["x"][0] + (x + 0.5) * data["dw"][0] / image.shape[1],
        data["y"][0] + (y + 0.5) * data["dh"][0] / image.shape[0],
    )
    # the brightest clump, to half a pixel of the coarser band
    assert np.hypot(at[0] - 84.4, at[1] - 80.1) < 1.5


def test_a_place_covers_its_box(field):
    box = Box(31, 40, 57, 63)
    place = place_of(field, "F277W", box)
    assert place.x <= box.x0 - 0.5 + 1e-6
    assert place.y <= box.y0 - 0.5 + 1e-6
    assert place.x + place.dw >= box.x0 + box.nx - 0.5 - 1e-6
    assert place.y + place.dh >= box.y0 + box.ny - 0.5 - 1e-6
    # a pixel of this band is two of the reference
    assert place.dw == pytest.approx(2 * place.box.nx, rel=1e-6)


def test_boxes_stay_inside_the_mosaic():
    for x, y in itertools.product((0.0, 80.0, 159.0), (0.0, 149.0)):
        box = box_around([x - 10, x + 10], [y - 10, y + 10], SHAPE)
        assert box.x0 >= 0
        assert box.x0 + box.nx <= SHAPE[1]
        assert box.y0 >= 0
        assert box.y0 + box.ny <= SHAPE[0]
    with pytest.raises(InputError, match="no vertex inside"):
        box_around([np.nan], [1.0], SHAPE)


def test_brackets_step_through_the_galaxies(picker):
    assert picker.galaxy.id == "1.1"
    press(picker, "]")
    assert picker.galaxy.id == "1.2"
    press(picker, "]")
    assert picker.galaxy is None
    assert (picker.box.nx, picker.box.ny) == SHAPE[::-1]
    press(picker, "]")
    press(picker, "[")
    assert picker.galaxy is None


def test_b_goes_through_the_bands(picker, field):
    shown = [picker.controls.image.value]
    images = [picker.view.colour.data["image"][0]]
    for _ in field.names:
        press(picker, "b")
        shown.append(picker.controls.image.value)
        images.append(picker.view.colour.data["image"][0])
    assert shown == ["colour", *field.names]
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(images))
    press(picker, "B", shift=True)
    assert picker.controls.image.value == "colour"


def test_zoom_and_reset(picker):
    start = (picker.view.x_range.start, picker.view.x_range.end)
    press(picker, "+")
    assert picker.view.x_range.end - picker.view.x_range.start == pytest.approx((start[1] - start[0]) / 1.5)
    press(picker, "r")
    assert (picker.view.x_range.start, picker.view.x_range.end) == start


def test_stretch_and_channels_change_the_picture(picker):
    for name, value in (("stretch", 40.0), ("q", 1.0), ("red_gain", 3.0), ("blue_black", 3.0), ("red", "F150W")):
        before = picker.view.colour.data["image"][0]
        getattr(picker.controls, name).value = value
        assert not np.array_equal(before, picker.view.colour.data["image"][0]), name


def test_a_dragged_vertex_changes_the_contour_in_one_step(picker):
    press(picker, "e")
    before = steps(picker)
    drag(picker.view.contour, 0, x=40.0)
    assert steps(picker) == before + 1
    x, _ = picker.bench.reference.to_pixel(*picker.galaxy.contour[0])
    assert float(x) == pytest.approx(40.0, abs=1e-6)
    picker.undo()
    assert float(picker.view.contour.data["x"][0]) == pytest.approx(45.0, abs=1e-6)


def test_sides_that_cross_are_refused_and_return(picker):
    press(picker, "e")
    before = steps(picker)
    drag(picker.view.contour, 0, x=200.0, y=80.0)
    assert steps(picker) == before
    assert "sides may not cross" in picker.message.text
    assert float(picker.view.contour.data["x"][0]) == pytest.approx(45.0, abs=1e-6)


def test_vertices_are_inserted_and_deleted(picker):
    press(picker, "e")
    double_tap(picker, 80.0, 49.0)
    assert len(picker.galaxy.contour) == 5
    tap(picker, 80.0, 49.0)
    assert picker.gestures.vertex == 1
    press(picker, "Delete")
    assert len(picker.galaxy.contour) == 4
    tap(picker, 45.0, 50.0)
    press(picker, "Delete")
    tap(picker, 110.0, 50.0)
    press(picker, "Delete")
    assert "needs three vertices" in picker.message.text
    press(picker, "e")
    assert not any(handle.visible for handle in picker.view.handles)


def test_a_contour_of_many_vertices_is_thinned_to_what_a_hand_can_edit():
    angle = np.linspace(0, 2 * np.pi, 400)[:-1]
    outline = np.column_stack([50 * np.cos(angle), 30 * np.sin(angle)])
    few = thinned(outline)
    assert 8 <= len(few) <= 24
    x, y = few.T
    # within a pixel and a half of the ellipse it stands for
    assert np.all(np.abs(np.hypot(x / 50, y / 30) - 1) < 0.05)


def test_proposals_are_picked_accepted_and_rejected_one_by_one(picker):
    picker.proposals.detect()
    at = next(i for i, item in enumerate(picker.proposals.items) if round(item.x) == 60)
    tap(picker, 60.0, 70.0)
    assert picker.proposals.picked == {at}
    press(picker, "a")
    assert len(picker.markers.ids) == 1
    assert len(picker.proposals.items) == len(PLACES) - 1
    tap(picker, 95.0, 90.0)
    press(picker, "Delete")
    assert len(picker.proposals.items) == len(PLACES) - 2
    assert len(picker.markers.ids) == 1
    picker.guarded(picker.proposals.reject)
    assert picker.proposals.items == []
    picker.guarded(picker.proposals.accept)
    assert "no proposals" in picker.message.text


def test_critical_curves_and_counter_images_need_a_lens(filled):
    filled.controls.critical.value = True
    assert "no lens model" in filled.message.text
    assert list(filled.view.critical.data["xs"]) == []


def test_a_lens_shows_critical_curves_and_where_a_clump_is_seen_again(field, lens):
    picker = ClumpPicker(field, lens=lens, galaxy="whole field")
    picker.controls.critical.value = True
    assert "redshift is not known" in picker.message.text
    picker.controls.galaxy.value = "1.1"
    assert len(picker.view.critical.data["xs"]) >= 1
    double_tap(picker, 84.4, 80.1)
    picker.controls.counter.value = True
    shown = picker.view.counter.data
    assert "predicts" in picker.message.text
    # one of the images predicted is the clump itself
    assert np.hypot(np.array(shown["x"]) - 84.4, np.array(shown["y"]) - 80.1).min() < 2
    tap(picker, 130.0, 130.0)
    assert list(picker.view.counter.data["x"]) == []
    picker.close()


def test_numbers_of_the_selected_clump_are_text_not_html(field):
    wild = field.replace(galaxies=(Galaxy(id="<img src=x>", contour=field.galaxies[0].contour, z=Z),))
    picker = ClumpPicker(wild)
    double_tap(picker, 84.4, 80.1)
    text = picker._numbers.value
    assert "F150W" in text
    assert " nJy (" in text
    assert "<img" not in text
    picker.close()


def test_regions_go_out_and_come_in(filled, tmp_path):
    path = tmp_path / "clumps.reg"
    filled.write_regions(path)
    places = sorted(zip(filled.markers.x, filled.markers.y, strict=True))
    while filled.session.can_undo:
        filled.undo()
    filled.read_regions(path)
    found = sorted((item.x, item.y) for item in filled.proposals.items)
    # region files keep eight digits of a degree, 0.002 px
    np.testing.assert_allclose(found, places, atol=5e-3)
    filled.proposals.accept()
    assert set(filled.markers.states) == {"added"}


def test_pixels_of_a_region_file_count_from_one(picker, tmp_path):
    path = tmp_path / "pixels.reg"
    path.write_text("# Region file format: DS9\nimage\ncircle(85.4,81.1,3) # text={one}\npoint(61,71)\nline(1,1,2,2)\n")
    picker.read_regions(path)
    assert [(item.x, item.y, item.note) for item in picker.proposals.items] == [
        (pytest.approx(84.4, abs=1e-6), pytest.approx(80.1, abs=1e-6), "one"),
        (pytest.approx(60.0, abs=1e-6), pytest.approx(70.0, abs=1e-6), "region"),
    ]


@pytest.mark.parametrize("content", ["", "no regions at all {", "image\nline(1,1,2,2)\n"])
def test_region_files_without_positions_are_refused_in_words(picker, tmp_path, content):
    path = tmp_path / "odd.reg"
    path.write_text(content)
    picker.guarded(lambda: picker.read_regions(path))
    assert "odd.reg" in picker.message.text
    picker.guarded(lambda: picker.read_regions(tmp_path / "none.reg"))
    assert "there is no region file" in picker.message.text


def test_what_cannot_be_measured_leaves_no_trace(field):
    bare = Field([band.with_changes(psf=None) for band in field.bands.values()], galaxies=field.galaxies)
    picker = ClumpPicker(bare)
    double_tap(picker, 84.4, 80.1)
    assert "PSF" in picker.message.text or "psf" in picker.message.text
    assert picker.markers.ids == ()
    assert not picker.session.can_undo
    picker.close()


def test_clicks_outside_the_mosaic_are_refused_in_words(picker):
    double_tap(picker, -30.0, 60.0)
    assert "outside the mosaic" in picker.message.text
    press(picker, "s")
    assert "click the one to split" in picker.message.text
    press(picker, "g")
    assert "Shift-click" in picker.message.text


def test_other_sources_are_refused_in_words(field):
    with pytest.raises(InputError, match="cannot make a clump picker from dict"):
        ClumpPicker({})
    picker = ClumpPicker(field)
    with pytest.raises(InputError, match="lens= and galaxies= go with a field"):
        ClumpPicker(picker.editor, lens=3)
    with pytest.raises(AttributeError, match="there is no control named 'bandd'"):
        picker.controls.bandd = 3
    picker.close()


def test_help_lists_every_key_that_does_something(picker):
    press(picker, "?")
    for key in ("M", "S", "G", "A", "B", "E", "R", "Delete", "[ and ]", "Escape"):
        assert f"{key}: " in picker.message.text


def test_keys_of_other_figures_are_left_to_them(filled):
    filled.select([filled.markers.ids[0]])
    press(filled, "Delete", figure="histogram")
    # elsewhere Delete means: leave it out of the sample
    assert filled.markers.states[0] == "excluded"
    assert len(filled.markers.ids) == len(PLACES)


def test_two_pickers_of_one_field_are_independent(field):
    one, two = ClumpPicker(field), ClumpPicker(field)
    double_tap(one, 84.4, 80.1)
    assert len(one.markers.ids) == 1
    assert len(two.markers.ids) == 0
    one.close()
    two.close()


def test_two_pickers_of_one_editor_follow_one_another(filled):
    other = ClumpPicker(filled.editor)
    assert other.markers.ids == filled.markers.ids
    double_tap(other, 50.0, 60.0)
    assert len(filled.markers.ids) == len(PLACES) + 1
    other.close()
    double_tap(filled, 50.0, 100.0)


def test_plots_made_for_an_empty_list_frame_what_is_added(picker):
    from sc_lab_widgets import FormationPanel, SizeMagnitudePanel

    sizes, formation = SizeMagnitudePanel(host=picker.host), FormationPanel(host=picker.host)
    assert "no magnitude" in sizes.figures["size_magnitude"].xaxis[0].axis_label
    picker.proposals.detect()
    picker.proposals.accept()
    plot = sizes.figures["size_magnitude"]
    assert plot.xaxis[0].axis_label == "absolute V [AB mag]"
    radius = picker.host.sources.planes["r_eff"]
    assert plot.y_range.start < np.nanmin(radius)
    assert np.nanmax(radius) < plot.y_range.end
    # and stand still when one clump more comes
    frame = (plot.y_range.start, plot.y_range.end)
    double_tap(picker, 50.0, 60.0)
    assert (plot.y_range.start, plot.y_range.end) == frame
    for panel in (sizes, formation):
        panel.close()


def test_close_frees_the_picker(field):
    first = ClumpPicker(field)
    editor = first.editor
    listeners = len(editor.session._core.subscribers) - 1
    first.close()
    widgets = len(ipywidgets.widgets.widget._instances)
    picker = ClumpPicker(editor)
    assert picker.widget is not None
    gone = weakref.ref(picker)
    picker.close()
    assert len(editor.session._core.subscribers) == listeners
    assert len(ipywidgets.widgets.widget._instances) == widgets
    del picker
    gc.collect()
    assert gone() is None


def test_a_project_keeps_the_edits_without_the_images(filled, tmp_path):
    from sc_lab.session import Session, population_of

    filled.session.save_as(tmp_path / "ring.sclab")
    double_tap(filled, 50.0, 60.0)
    ids = list(filled.result["id"])
    with Session.open(tmp_path / "ring.sclab") as again:
        assert list(again.current_catalog["id"]) == ids
        assert population_of(again).n == len(ids)


def test_a_clump_selected_elsewhere_is_gone_to(filled):
    """A click in a plot of the population shows the galaxy of the clump; what is in sight moves nothing."""
    name = nearest(filled, 84.4, 80.1)
    filled.controls.galaxy.value = "1.2"
    assert list(filled.view.picked.data["id"]) == []
    filled.host.select([filled.host.population.index[name]])
    assert filled.controls.galaxy.value == "1.1"
    assert list(filled.view.picked.data["id"]) == [name]
    # looking elsewhere with a clump selected is no reason to go back
    filled.controls.galaxy.value = "1.2"
    assert filled.controls.galaxy.value == "1.2"
    filled.controls.galaxy.value = "whole field"
    filled.host.select([])
    filled.host.select([filled.host.population.index[name]])
    assert filled.controls.galaxy.value == "whole field"


def test_the_whole_field_is_the_whole_field():
    """A field wider than a picture may be is shown to its edges, shrunk; the title says what is seen."""
    shape = (1000, 1300)
    image = np.zeros(shape)
    image[-2:, -2:] = 100.0
    wide = Field.from_arrays({"F150W": image}, errors={"F150W": np.ones(shape)}, wcs={"F150W": tangent(0.02, 0, 0)})
    picker = ClumpPicker(wide)
    shown = picker.view.images.data
    assert (picker.box.nx, picker.box.ny) == (1300, 1000)
    assert shown["data"][0].shape == (500, 650)
    assert (shown["dw"][0], shown["dh"][0]) == (1300, 1000)
    assert shown["data"][0][-1, -1] == 255
    assert picker.view.colour.data["image"][0].shape == (500, 650)
    assert picker.figures["cutout"].title.text.startswith("whole field · ")
    picker.close()


def test_blocks_keep_the_light_and_the_place():
    image = np.arange(7.0 * 5).reshape(7, 5)
    small, n = shrunk(image, most=4)
    assert (small.shape, n) == ((4, 3), 2)
    assert small[0, 0] == image[:2, :2].mean()
    same, one = shrunk(image, most=7)
    assert same is image
    assert one == 1
    band = Field.from_arrays({"F150W": image}, errors={"F150W": image + 1}, wcs={"F150W": tangent(0.02, 0, 0)})
    place = covering(place_of(band, "F150W", Box(0, 0, 5, 7)), 2)
    # 3 x 4 blocks of 2 px from the same corner
    assert (place.x, place.y, place.dw, place.dh) == (-0.5, -0.5, 6, 8)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [(1470.26, 1.12, "1470.3 ± 1.1"), (0.0213, 0.0045, "0.0213 ± 0.0045"), (36.0, 12.0, "36 ± 12"),
     (5.0, np.nan, "5"), (np.nan, 1.0, "not measured"), (1.5e9, 2.2e7, "1.5e+09 ± 2.2e+07")],
)  # fmt: skip
def test_numbers_are_written_to_two_figures_of_their_error(value, error, words):
    assert with_error(value, error) == words


def test_a_workbench_goes_on_with_a_project_of_images(field, tmp_path):
    """Opened again with the images, a project brings its list along; without them it still shows its numbers."""
    path = tmp_path / "clumps.sclab"
    first = Workbench(field, project=path)
    first.picker.proposals.detect()
    first.picker.proposals.accept()
    ids = list(first.picker.result["id"])
    first.close()
    first.session.close()
    again = Workbench(field, project=path)
    assert list(again.picker.result["id"]) == ids
    again.picker.add(50.0, 60.0)
    more = list(again.picker.result["id"])
    again.close()
    again.session.close()
    without = Workbench(path)
    assert without.picker is None
    assert list(without.population.ids) == more
    without.close()
    without.session.close()


def test_nothing_is_offered_twice_in_a_workbench(field):
    bench = Workbench(field)
    for name in ("undo", "redo", "help"):
        assert bench.buttons[name].layout.display == "none"
        bench.controls.view.value = "overview"
        assert bench.buttons[name].layout.display is None
        assert bench.picker.toolbar.layout.display == "none"
        bench.controls.view.value = "images"
    bench.close()
    bench.session.close()
