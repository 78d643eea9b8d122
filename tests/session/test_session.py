"""The live session: undo, preview, subscribers, threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from astropy.table import QTable

from sc_lab.errors import InputError, ProjectError
from sc_lab.population.settings import Settings
from sc_lab.session import Session


def random_action(session, rng):
    """Do one random thing, some of it wrong; return nothing."""
    ids = [f"c{i:02d}" for i in rng.choice(14, size=rng.integers(1, 4), replace=False)]  # c12, c13 do not exist
    what = rng.integers(10)
    try:
        if what < 2:
            session.do("set", size_threshold=float(rng.integers(0, 40)), lens_model=str(rng.choice(["", "m2", "zz"])))
        elif what == 2:
            session.do("exclude", ids=ids, reason=str(rng.choice(["", "blend", "<b>"])))
        elif what == 3:
            session.do(str(rng.choice(["restore", "keep", "unkeep"])), ids=ids)
        elif what == 4:
            session.do("note", id=ids[0], text=str(rng.choice(["", "arc", "é'\""])))
        elif what == 5:
            if rng.random() < 0.2:
                session.do("reset")
            for _ in range(rng.integers(1, 4)):
                session.preview(age_max=float(rng.integers(1, 200)))
            session.end_preview(bool(rng.random() < 0.7))
        elif what < 8:
            session.undo()
        else:
            session.redo()
    except InputError:
        pass


def replayed(catalog, log):
    """A fresh session that has done what a log says."""
    fresh = Session(catalog)
    for step in log:
        assert fresh.do(step["name"], **step["arguments"])
    return fresh


@pytest.mark.parametrize("seed", [1, 2])
def test_replaying_3000_random_actions_gives_the_live_document(catalog, quick_path, seed):
    rng = np.random.default_rng(seed)
    project = quick_path / "x.sclab" if seed == 1 else None
    session = Session(catalog, project=project)
    for _ in range(3000):
        before = (session.document, len(session.log))
        random_action(session, rng)
        if len(session.log) == before[1]:
            assert session.document == before[0], "no step, no change"
    assert len(session.log) > 1000  # success trivial otherwise
    fresh = replayed(catalog, session.log)
    assert fresh.document == session.document
    assert (fresh.can_undo, fresh.can_redo) == (session.can_undo, session.can_redo)
    if project:
        session.close()
        again = Session.open(project)
        assert (again.document, again.log) == (fresh.document, fresh.log)
        session = again
    redo = 0
    while session.redo():
        redo += 1
        assert fresh.redo()
        assert fresh.document == session.document
    while session.undo():
        pass
    assert session.document.settings == Settings()
    assert (session.document.excluded, session.document.kept, session.document.notes) == ((), (), ())
    session.close()


def test_an_edit_that_changes_nothing_is_not_a_step(catalog):
    session = Session(catalog)
    assert not session.do("set", size_threshold=20)
    assert not session.do("restore", ids="c01")
    assert not session.undo()
    assert not session.redo()
    assert session.log == []
    assert (session.can_undo, session.undo_label) == (False, "")


def test_undo_and_redo_say_what_they_would_do(catalog):
    session = Session(catalog)
    session.do("exclude", ids=["c01", "c02", "c03"])
    session.do("note", id="c01", text="x")
    assert session.undo_label == "note on c01"
    session.undo()
    assert (session.undo_label, session.redo_label) == ("exclude 3 clumps", "note on c01")
    session.do("reset") or session.do("set", gc_cut=False)
    assert not session.can_redo, "a new step forgets what had been undone"
    assert [step["name"] for step in session.log] == ["exclude", "note", "undo", "set"]


def test_a_drag_is_one_step(catalog):
    session = Session(catalog)
    seen = []
    session.subscribe(lambda s, changed: seen.append((s.settings.size_threshold, changed)))
    for value in (21, 25, 30):
        session.preview(size_threshold=value)
    assert session.settings.size_threshold == 30
    assert session.document.settings.size_threshold == 20
    assert session.log == []
    assert session.end_preview()
    assert session.log == [{"name": "set", "arguments": {"size_threshold": 30.0}}]
    assert [value for value, _ in seen] == [21, 25, 30, 30]
    assert seen[1][1] == {"size_threshold"}
    assert seen[3][1] == {"history", "preview"}
    session.preview(size_threshold=50)
    assert not session.end_preview(commit=False)
    assert session.settings.size_threshold == 30
    session.preview(size_threshold=50)
    session.preview(size_threshold=30)
    assert not session.end_preview(), "a drag back to where it began is no step"
    assert not session.previewing
    with pytest.raises(InputError, match="size_threshold"):
        session.preview(size_threshold=-1)
    assert session.settings.size_threshold == 30


def test_an_explicit_set_wins_over_a_running_preview(catalog):
    session = Session(catalog)
    session.preview(size_threshold=50, age_max=10)
    session.do("set", size_threshold=40)
    assert (session.settings.size_threshold, session.settings.age_max) == (40, 10)
    session.end_preview()
    assert (session.document.settings.size_threshold, session.document.settings.age_max) == (40, 10)


def test_a_lens_model_that_the_catalogue_lacks_is_refused(catalog):
    session = Session(catalog)
    assert session.lens_models == ("", "m2")
    assert session.do("set", lens_model="m2")
    for call in (session.do, lambda _, **k: session.preview(**k)):
        with pytest.raises(InputError, match="'m2'"):
            call("set", lens_model="m3")


def test_a_subscriber_that_raises_stops_neither_the_edit_nor_the_others(catalog):
    session = Session(catalog)
    seen = []

    def broken(session, changed):
        msg = "panel broke"
        raise RuntimeError(msg)

    session.subscribe(broken)
    off = session.subscribe(lambda s, changed: seen.append(changed))
    with pytest.raises(RuntimeError, match="panel broke"):
        session.do("set", size_threshold=30)
    assert session.document.settings.size_threshold == 30
    assert seen == [{"size_threshold", "history"}]
    assert len(session.subscriber_errors) == 1
    session.subscribe(broken)
    with pytest.raises(ExceptionGroup) as caught:
        session.undo()
    assert len(caught.value.exceptions) == 2
    off()
    off()
    with pytest.raises(ExceptionGroup):
        session.redo()
    assert len(seen) == 2


def test_two_sessions_are_independent(catalog):
    one, two = Session(catalog), Session(catalog)
    one.do("exclude", ids="c01")
    assert two.document.excluded == ()


def test_edits_from_many_threads_all_arrive_once(catalog, tmp_path):
    session = Session(catalog, project=tmp_path / "x.sclab")
    told = []
    session.subscribe(lambda s, changed: told.append(len(s.log)))

    def work(number):
        for i in range(20):
            session.do("note", id=f"c{number:02d}", text=f"{i}")
            session.preview(age_max=10.0 + number)
            if i % 5 == 4:
                session.end_preview(commit=False)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.end_preview(commit=False)
    assert len(session.log) == 120
    assert told == sorted(told)
    assert dict(session.document.notes) == {f"c{n:02d}": "19" for n in range(6)}
    session.close()
    with Session.open(tmp_path / "x.sclab") as again:
        assert again.document == session.document


def test_reading_does_not_wait_for_a_subscriber(catalog):
    """A panel that holds its own lock may read while a subscriber waits for that lock: no deadlock."""
    session = Session(catalog)
    panel, inside, seen = threading.Lock(), threading.Event(), []

    def follow(session, changed):
        inside.set()
        assert panel.acquire(timeout=10)
        panel.release()

    session.subscribe(follow)
    with panel:
        editor = threading.Thread(target=session.do, args=("exclude",), kwargs={"ids": "c01"})
        editor.start()
        assert inside.wait(10)
        reader = threading.Thread(
            target=lambda: seen.extend(
                [
                    session.undo_label,
                    session.redo_label,
                    session.log,
                    session.document,
                    session.settings,
                    session.can_undo,
                ]
            )
        )
        reader.start()
        reader.join(5)
        assert not reader.is_alive()
    editor.join(10)
    assert seen[0] == "exclude c01"


def test_a_closed_session_says_so(catalog):
    session = Session(catalog)
    session.close()
    session.close()
    for call in (lambda: session.do("reset"), session.undo, lambda: session.preview(gc_cut=False)):
        with pytest.raises(ProjectError, match="closed"):
            call()


@pytest.mark.parametrize("ids", [["a", "a"], ["a", ""], [1, 2]])
def test_a_catalogue_without_usable_ids_is_refused(ids):
    with pytest.raises(InputError, match="id"):
        Session(QTable({"id": ids}))
    with pytest.raises(InputError, match="no column 'id'"):
        Session(QTable({"name": ids}))


def test_changing_ones_own_table_later_does_not_reach_the_session(catalog):
    session = Session(catalog)
    catalog["z"][0] = 99.0
    assert session.catalog["z"][0] == 6.1


@pytest.mark.parametrize("wrong", ["clumps.ecsv", None, {"id": ["a"], "z": [1.0]}])
def test_what_is_no_table_is_refused_with_the_way_to_make_one(wrong):
    with pytest.raises(InputError, match="read_catalog"):
        Session(wrong)
