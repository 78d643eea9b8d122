"""The star panel without a browser: clicks choose the stars, and the stack is that of the printed call."""

import gc
import weakref

import ipywidgets
import numpy as np
import pytest
from bokeh.events import DoubleTap, Tap
from sc_lab_widgets import PsfStars
from sc_lab_widgets._pane import Key
from sc_lab_widgets.panels.psf_stars_profiles import overview, profile

from sc_lab.errors import InputError
from sc_lab.images import Field, Psf, compare_psfs, psf_from_stars

#: Places of the stars [px], the brightest first; the last is too faint to be proposed at the default S/N.
PLACES = ((60.2, 70.4), (180.3, 62.6), (95.1, 190.2), (210.7, 195.0), (130.0, 130.7), (40.6, 150.1))
FAINT = (228.4, 122.3)
SIGMA, SHAPE, NOISE = 1.25, (250, 270), 0.05


def gaussian(shape, x, y, sigma):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@pytest.fixture(scope="module")
def field():
    """Two bands with the same seven stars; the first has a PSF that is 0.2 px2 too narrow, the second has none."""
    rng = np.random.default_rng(3)
    images, errors = {}, {}
    for band in ("F150W", "F200W"):
        image = rng.normal(0, NOISE, SHAPE)
        for number, (x, y) in enumerate(PLACES):
            image += (600 - 60 * number) * gaussian(SHAPE, x, y, SIGMA)
        images[band], errors[band] = image + 25 * gaussian(SHAPE, *FAINT, SIGMA), np.full(SHAPE, NOISE)
    narrow = Psf(gaussian((61, 61), 30, 30, np.sqrt(SIGMA**2 - 0.2)), 0.03, 1.0)
    return Field.from_arrays(
        images, errors=errors, psfs={"F150W": narrow}, pixel_scales=dict.fromkeys(images, 0.03), name="<b>stars</b>"
    )


@pytest.fixture
def panel(field):
    panel = PsfStars(field)
    yield panel
    panel.close()


def tap(panel, x, y, *, shift=False, kind=Tap):
    plot = panel.figures["mosaic"]
    plot._trigger_event(kind(plot, x=x, y=y, sx=0, sy=0, modifiers={"shift": shift, "ctrl": False, "alt": False}))


def double_tap(panel, x, y):
    tap(panel, x, y)
    tap(panel, x, y, kind=DoubleTap)


def used(panel):
    return [star.id for star in panel.choice.used]


def test_bright_stars_are_proposed_and_stacked(panel, field):
    found = sorted((round(star.x), round(star.y)) for star in panel.choice.stars)
    assert found == sorted((round(x), round(y)) for x, y in PLACES)
    # the noise moves the width of the stack by 0.3 %
    assert panel.psf.fwhm == pytest.approx(2.3548 * SIGMA * 0.03, rel=0.02)
    assert list(panel.view.stars.data["state"]) == ["in the stack"] * len(PLACES)


def test_result_is_that_of_the_printed_call(panel, field):
    panel.toggle("2")
    double_tap(panel, *FAINT)
    panel.controls.size.value = 41
    scope = {"field": field}
    exec(panel.code(), scope)
    assert np.array_equal(scope["result"].stamp, panel.result.stamp)
    assert scope["result"].size == 41
    assert np.array_equal(scope["field_with_psf"]["F150W"].psf.stamp, panel.field["F150W"].psf.stamp)


def test_the_panel_gives_what_the_plain_call_gives(panel, field):
    places = np.column_stack([panel.stars["ra"].value, panel.stars["dec"].value])
    plain = psf_from_stars(field, "F150W", places, model=field["F150W"].psf)
    assert np.array_equal(panel.psf.stamp, plain.stamp)
    assert panel.comparison == compare_psfs(field["F150W"].psf, plain)
    assert panel.field["F200W"].psf is None


def test_a_click_takes_a_star_out_and_another_takes_it_in(panel):
    before = panel.psf
    tap(panel, *PLACES[1])
    assert used(panel) == ["1", "3", "4", "5", "6"]
    assert panel.current.id == "2"
    assert list(panel.view.stars.data["marker"])[1] == "x"
    assert "2" not in {name.split()[-1] for name in panel.view.curves["profiles of the stars"].data["star"]}
    tap(panel, *PLACES[1])
    assert np.array_equal(panel.psf.stamp, before.stamp)
    tap(panel, *PLACES[2], shift=True)
    assert panel.current.id == "3"
    assert len(used(panel)) == len(PLACES)


def test_a_double_click_adds_the_star_under_it_at_its_centre(panel):
    double_tap(panel, FAINT[0] + 2.4, FAINT[1] - 1.8)
    star = panel.choice.stars[-1]
    assert star.id == "added 1"
    # a faint star of S/N about 100 is centred to sigma / 100
    assert (star.x, star.y) == pytest.approx(FAINT, abs=0.05)
    assert list(panel.view.stars.data["state"])[-1] == "added"


def test_adding_a_star_twice_takes_it_in_once(panel):
    panel.toggle("1")
    assert panel.add(*PLACES[0]) == "1"
    assert len(panel.choice.stars) == len(PLACES)
    assert "1" in used(panel)


def test_delete_removes_and_the_way_back_is_whole(panel):
    start = panel.choice.stars
    panel.press(Key("]"))
    panel.press(Key("]"))
    assert panel.current.id == "2"
    panel.press(Key("Delete"))
    double_tap(panel, *FAINT)
    panel.press(Key("t"))
    end = panel.choice.stars
    assert [star.id for star in end] == ["1", "3", "4", "5", "6", "added 1"]
    assert not end[-1].used
    for _ in range(3):
        assert not panel.buttons["undo"].disabled
        panel.press(Key("u"))
    assert panel.choice.stars == start
    assert panel.buttons["undo"].disabled
    for _ in range(3):
        panel.press(Key("U", shift=True))
    assert panel.choice.stars == end


def test_what_was_clicked_outlives_new_proposals_and_other_bands(panel):
    panel.toggle("2")
    double_tap(panel, *FAINT)
    panel.controls.band.value = "F200W"
    assert len(used(panel)) == len(PLACES)
    assert panel.comparison is None
    assert "none yet" in panel._numbers.value
    panel.controls.band.value = "F150W"
    panel.controls.min_snr.value = 60.0
    assert "2" not in used(panel)
    assert "added 1" in used(panel)


def test_refusals_are_said_in_place_and_change_nothing(panel):
    before = panel.choice.stars
    double_tap(panel, 110.0, 60.0)
    assert "signal-to-noise" in panel.message.text
    assert panel.choice.stars == before
    panel.press(Key("Delete"))
    assert "no current star" in panel.message.text
    panel.controls.size.value = 40
    assert "odd side" in panel.message.text
    assert len(panel.view.stamps["psf"].data["image"]) == 0
    with pytest.raises(InputError, match="odd side"):
        _ = panel.psf
    panel.controls.size.value = 41
    assert panel.message.text == ""
    assert panel.psf.size == 41
    with pytest.raises(InputError, match="outside the mosaic"):
        panel.add(-40.0, 20.0)


def test_fewer_than_five_stars_are_warned_about_and_none_is_refused(panel):
    assert "5 or more" not in panel._numbers.value
    for name in "12":
        panel.toggle(name)
    assert "4 stars are in the stack, and 5 or more" in panel._numbers.value
    for name in "3456":
        panel.toggle(name)
    assert "no star is in the stack" in panel.message.text
    with pytest.raises(InputError, match="no star is in the stack"):
        _ = panel.result


def test_the_difference_to_the_present_psf_is_said_with_what_it_does(panel):
    # made 0.2 px2 too narrow; the stack knows its width to 0.01 px2
    assert (panel.comparison.extra_xx + panel.comparison.extra_yy) / 2 == pytest.approx(0.2, abs=0.01)
    assert "too large" in panel._numbers.value
    # a clump of 1 px comes out as sqrt(1.2)
    assert "+9.5 %" in panel._numbers.value or "+9.6 %" in panel._numbers.value or "+9.4 %" in panel._numbers.value


def test_names_from_files_stay_text(panel):
    assert panel.figures["mosaic"].title.text == "<b>stars</b> · F150W"
    assert "<b>" not in panel._numbers.value


def test_profile_of_a_gaussian_is_a_gaussian():
    psf = Psf(gaussian((61, 61), 30, 30, 3.0), 0.02, 1.0)
    radius, brightness = profile(psf, 1.0)
    truth = np.exp(-(radius**2) / (2 * 0.06**2)) / (2 * np.pi * 0.06**2)
    # a ring of one pixel spans a third of the width, and the slope grows with the radius
    assert brightness[:12] == pytest.approx(truth[:12], rel=0.06)


def test_a_large_mosaic_is_sent_small_and_in_place(field):
    image, place = overview(field["F150W"], most=100)
    assert max(image.shape) <= 100
    data = field["F150W"].cutout(0, 0, 3, 3)[0]
    assert image[0, 0] == pytest.approx(data.mean())
    assert (place.x, place.y) == (-0.5, -0.5)
    assert place.dw == 3 * image.shape[1]


def test_sources_and_bands_that_are_none_are_refused(field):
    with pytest.raises(InputError, match="Field"):
        PsfStars("mosaic.fits")
    with pytest.raises(InputError, match="F999W"):
        PsfStars(field, band="F999W")


def test_data_are_exported_and_pictures_need_a_page(panel, tmp_path):
    panel.save(tmp_path / "profiles.ecsv", "profiles")
    text = (tmp_path / "profiles.ecsv").read_text(encoding="utf-8")
    assert "present PSF" in text
    assert "star 6" in text
    panel.save(tmp_path / "stars.csv")
    assert "in the stack" in (tmp_path / "stars.csv").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="not on the screen"):
        panel.save(tmp_path / "psf.png", "psf")


def test_two_panels_do_not_see_each_other(field):
    one, two = PsfStars(field), PsfStars(field)
    one.toggle("1")
    assert len(used(two)) == len(PLACES)
    one.close()
    two.toggle("2")
    assert used(two) == ["1", "3", "4", "5", "6"]
    two.close()


def test_close_frees_everything(field):
    before = len(ipywidgets.widgets.widget._instances)
    panel = PsfStars(field)
    assert panel.widget is not None
    gone = weakref.ref(panel)
    panel.close()
    assert len(ipywidgets.widgets.widget._instances) == before
    del panel
    gc.collect()
    assert gone() is None
