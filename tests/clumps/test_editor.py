"""Every click is one step that undoes, replays without pixels and exports to the same bytes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table

from sc_lab.cli import main
from sc_lab.errors import InputError
from sc_lab.export import catalog_table, write_table
from sc_lab.images.galaxy import Galaxy
from sc_lab.population import analyse
from sc_lab.session import Session, population_of
from sc_lab.session.clump_editor import ClumpEditor
from sc_lab.session.clump_rows import rows_from_table


@pytest.fixture
def editor(observation, positions, measure, tmp_path):
    with ClumpEditor.start(observation, positions, project=tmp_path / "x.sclab", measure=measure).session as session:
        made = ClumpEditor(session, observation, measure=measure)
        measure.calls.clear()
        yield made


def rows(table):
    """Return a catalogue as plain values, None where there is none, without its metadata."""
    given = rows_from_table(table)
    return {name: [row[place] for row in given["data"]] for place, name in enumerate(given["columns"])}


def some_edits(editor):
    first = editor.add(10.0003, 0.0002)
    editor.add(10.00003, 0.0005)  # beside c0005 and c0006
    editor.move(first, 10.0004, 0.0002)
    editor.session.do("exclude", ids=["c0002"], reason="a star")
    editor.remove(["c0002", "c0009"])
    editor.split("c0001")
    editor.session.undo()
    editor.session.undo()
    editor.session.redo()
    editor.split("c0003", [(9.9996, 0.0003), (9.99961, 0.0003)])
    editor.merge(["c0005", "c0006"])
    editor.edit_contour("g2", [(10.005, -0.001), (10.007, -0.001), (10.007, 0.002), (10.005, 0.002)])
    editor.session.do("set", size_threshold=31, n_populations=40)


def test_a_click_adds_a_clump_that_undo_takes_away(editor):
    before = editor.session.current_catalog
    name = editor.add(10.0003, 0.0002)
    assert name == "c0013"
    after = editor.session.current_catalog
    assert after["id"].tolist() == [*before["id"].tolist(), name]
    row = after[-1]
    assert (row["provenance"], row["galaxy"], row["z"]) == ("added", "g1", 2.0)
    assert (row["ra_start"].value, row["dec_start"].value) == (10.0003, 0.0002)
    assert editor.session.undo_label == "add c0013"
    editor.session.undo()
    assert editor.session.current_catalog is before
    editor.session.redo()
    assert editor.session.current_catalog is after, "going back and forth makes nothing anew"


def test_the_opened_catalogue_is_never_changed(editor):
    before = rows(editor.session.catalog)
    some_edits(editor)
    assert rows(editor.session.catalog) == before


def test_positions_belong_to_the_smallest_galaxy_around_them_or_the_nearest(observation, measure):
    inner = Galaxy(id="inner", contour=[(10.0, 0.0), (10.0002, 0.0), (10.0002, 0.0002), (10.0, 0.0002)], z=3.0)
    nested = dataclasses.replace(observation, galaxies=[inner, *observation.galaxy_list])
    near = 0.001 + 0.5 / 3600  # half an arcsec outside the first box
    places = Table({"ra": [10.0001, 9.9995, 10.0, 10.006], "dec": [0.0001, 0.0, near, 0.0]})
    editor = ClumpEditor.start(nested, places, measure=measure)
    assert editor.clumps["galaxy"].tolist() == ["inner", "g1", "g1", "g2"]
    assert editor.galaxy_at(10.0001, 0.0001).id == "inner"
    assert editor.galaxy_at(10.0, near).id == "g1"
    assert editor.galaxy_at(10.0, 0.0015) is None


def test_an_edit_keeps_the_rows_that_it_touched_and_no_others(editor):
    editor.add(10.0003, 0.0002)
    assert editor._measure.calls[-1] == ("c0013",)
    assert [row[0] for row in editor.session.log[-1]["arguments"]["rows"]["data"]] == ["c0013"]
    editor.remove("c0005")
    (step,) = editor.session.log[-1:]
    assert [row[0] for row in step["arguments"]["rows"]["data"]] == ["c0006"], "its neighbour stands alone now"


def test_the_list_is_that_of_a_measurement_of_everything_from_scratch(editor, measure, observation):
    some_edits(editor)
    fresh = measure(observation, editor.clumps)
    found = editor.session.current_catalog
    assert rows(found) == rows(fresh.catalog)


def test_names_are_never_given_twice(editor):
    names = [editor.add(10.0003, 0.0002)]
    editor.session.undo()
    names.append(editor.add(10.0003, 0.0002))
    names += editor.split(names[-1])
    editor.session.undo()
    names.append(editor.merge(["c0001", "c0002"]))
    assert names == ["c0013", "c0014", "c0015", "c0016", "c0017"]
    with pytest.raises(InputError, match="'c0013' belongs"):
        editor.session.do("add_clump", ids="c0013", rows=editor.session.log[0]["arguments"]["rows"])
    path = editor.session.path
    editor.close()
    with Session.open(path) as session:
        assert session.new_ids(1) == ["c0018"]


def test_a_project_replays_without_pixels_to_the_same_bytes(editor, tmp_path):
    some_edits(editor)
    session = editor.session
    write_table(catalog_table(population_of(session)), tmp_path / "live.ecsv")
    live = (tmp_path / "live.ecsv").read_bytes()
    fresh = Session(session.catalog)
    for step in session.log:
        fresh.undo() if step["name"] == "undo" else fresh.redo() if step["name"] == "redo" else fresh.do(
            step["name"], **step["arguments"]
        )
    assert fresh.document == session.document
    write_table(catalog_table(population_of(fresh)), tmp_path / "fresh.ecsv")
    assert (tmp_path / "fresh.ecsv").read_bytes() == live
    done = subprocess.run(
        [sys.executable, "-m", "sc_lab", "export", str(session.path), str(tmp_path / "cli.ecsv")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cli.ecsv").read_bytes() == live
    record = Table.read(tmp_path / "cli.ecsv").meta["sc_lab"]
    assert record["observation"]["sha256"] == {"F150W": "ab" * 32}
    assert record["observation"]["reference"] == "F150W"
    assert record["edits"]["clumps"]["removed"] == ["c0002", "c0003", "c0005", "c0006", "c0009"]


def test_the_command_line_says_what_was_measured_and_edited(editor, capsys):
    some_edits(editor)
    path = editor.session.path
    editor.close()
    assert main(["info", str(path)]) == 0
    said = capsys.readouterr().out
    assert "measured on: fake, F150W" in said
    assert "sizes from: F150W, mode paper, background host" in said
    assert "clumps since the list was opened: 5 added, 5 removed, 0 measured anew; 1 contours redrawn" in said


def test_what_cannot_be_done_leaves_no_trace(editor):
    log = editor.session.log
    with pytest.raises(InputError, match="in no galaxy"):
        editor.add(10.1, 0.0)
    with pytest.raises(InputError, match="not on the sky"):
        editor.add(np.nan, 0.0)
    for wrong in ("nobody", [], ["c0001", "c0001"]):
        with pytest.raises(InputError, match="different ids"):
            editor.remove(wrong)
    with pytest.raises(InputError, match="two or more"):
        editor.merge(["c0001"])
    with pytest.raises(InputError, match="no galaxy 'g9'"):
        editor.edit_contour("g9", None)
    with pytest.raises(InputError, match="not a polygon"):
        editor.edit_contour("g1", [(1, 2)])
    assert editor.session.log == log


def test_subscribers_hear_of_the_list_and_copies_keep_it(editor, tmp_path):
    heard = []
    editor.session.subscribe(lambda _, changed: heard.append(changed))
    name = editor.add(10.0003, 0.0002)
    editor.edit_contour("g2", None)  # as it is: nothing to say
    editor.edit_contour("g2", [(10.005, -0.001), (10.007, -0.001), (10.007, 0.002)])
    editor.session.undo()
    assert heard == [{"clumps", "history"}, {"contours", "history"}, {"contours", "history"}]
    before = rows(editor.session.current_catalog)
    editor.session.save_as(tmp_path / "copy.sclab")
    editor.close()
    with Session.open(tmp_path / "copy.sclab") as session:
        assert rows(session.current_catalog) == before
        assert session.clump_ids[-1] == name
        assert session.redo_label == "redraw the contour of g2"


def test_the_contour_that_was_redrawn_decides_where_a_click_belongs(editor):
    with pytest.raises(InputError, match="in no galaxy"):
        editor.add(10.0, 0.0015)
    editor.edit_contour("g1", [(9.999, -0.001), (10.001, -0.001), (10.001, 0.002), (9.999, 0.002)])
    name = editor.add(10.0, 0.0015)
    assert editor.session.current_catalog[-1]["galaxy"] == "g1"
    editor.session.undo()
    editor.session.undo()
    assert editor.galaxy_at(10.0, 0.0015) is None
    assert name not in editor.session.clump_ids
    with pytest.raises(InputError, match="cross"):
        editor.edit_contour("g1", [(9.999, 0), (10.001, 0.001), (10.001, 0), (9.999, 0.001)])


def test_the_documents_json_holds_the_list(editor):
    some_edits(editor)
    from sc_lab.session import Document

    document = editor.session.document
    assert Document.from_json(document.to_json()) == document


def test_a_population_follows_the_list(editor):
    some_edits(editor)
    session = editor.session
    one, two = population_of(session), analyse(session.current_catalog, **session.settings.to_dict())
    assert one.ids == two.ids == session.clump_ids
    np.testing.assert_array_equal(one.errors("mass"), two.errors("mass"))


def test_a_list_may_begin_empty(observation, measure, tmp_path):
    editor = ClumpEditor.start(observation, measure=measure, project=tmp_path / "e.sclab")
    assert len(editor.session.current_catalog) == 0
    empty = population_of(editor.session)
    assert empty.n == 0
    assert empty.counts["clumps"] == 0
    assert editor.add(10.0, 0.0) == "c0001"
    assert population_of(editor.session, previous=empty).ids == ["c0001"]
    assert population_of(editor.session).n == 1
    editor.remove("c0001")
    assert len(editor.session.current_catalog) == 0
    assert population_of(editor.session).n == 0
    editor.close()
    with Session.open(tmp_path / "e.sclab") as session:
        session.undo()
        assert session.clump_ids == ["c0001"]


def test_rows_of_strangers_are_refused(editor):
    rows = {"columns": ["id", "z"], "units": ["", ""], "data": [["nobody", 2.0]]}
    with pytest.raises(InputError, match="not on the list"):
        editor.session.do("measure_clumps", rows=rows)
