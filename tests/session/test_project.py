"""The project file: exact, refused in words when it is not sound, never executing anything."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.time import Time

from sc_lab.errors import InputError, ProjectError, ReadOnlyError, ScLabWarning
from sc_lab.session import Session
from sc_lab.session.codec import encode_table

WORKER = Path(__file__).with_name("worker.py")


def start_holder(path):
    """Open a project in another process and return it with what it said."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER), "hold", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, json.loads(process.stdout.readline())


def tell(process, name, **arguments):
    process.stdin.write(json.dumps({"name": name, "arguments": arguments}) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def kill(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


@pytest.fixture
def project(catalog, tmp_path):
    """A closed project with three steps."""
    path = tmp_path / "x.sclab"
    with Session(catalog, project=path) as session:
        session.do("exclude", ids=["c01", "c02"], reason="blend")
        session.do("set", size_threshold=30)
        session.undo()
    return path


# ---------------------------------------------------------------- keeping


def test_the_catalogue_comes_back_exactly(rich, tmp_path):
    path = tmp_path / "rich.sclab"
    Session(rich, project=path).close()
    with Session.open(path) as session:
        back = session.catalog
    assert back.colnames == rich.colnames
    assert back.meta == rich.meta
    for name in rich.colnames:
        old, new = rich[name], back[name]
        assert type(new) is type(old), name
        assert new.dtype == old.dtype, name
        assert new.dtype.byteorder == old.dtype.byteorder, name
        assert getattr(new, "unit", None) == getattr(old, "unit", None), name
        for part in ("description", "format", "meta"):
            assert (getattr(new.info, part) or None) == (getattr(old.info, part) or None), name
    first, second = encode_table(rich), encode_table(back)
    assert [c.sha256 for c in first] == [c.sha256 for c in second]
    np.testing.assert_array_equal(back["r_eff"].mask, rich["r_eff"].mask)
    assert np.signbit(back["mass"][2].value), "even the sign of zero"


def test_steps_redo_stack_and_labels_survive_closing(catalog, project):
    with Session.open(project) as session:
        assert dict(session.document.excluded) == {"c01": "blend", "c02": "blend"}
        assert [step["name"] for step in session.log] == ["exclude", "set", "undo"]
        assert (session.undo_label, session.redo_label) == ("exclude 2 clumps", "set size_threshold = 30")
        assert session.redo()
    with Session(catalog, project=project) as session:
        assert session.document.settings.size_threshold == 30
        assert session.path == project


def test_the_project_is_one_file_and_its_helpers_are_hidden(project):
    assert sorted(p.name for p in project.parent.iterdir() if not p.name.startswith(".")) == ["x.sclab"]


def test_another_catalogue_is_refused_naming_both(catalog, project):
    other = catalog[:5]
    other.meta = {"sc_lab": {"source": "other.fits"}}
    before = project.read_bytes()
    with pytest.raises(ProjectError, match=r"'twelve\.ecsv' \(12 clumps.*'other\.fits' \(5 clumps"):
        Session(other, project=project)
    assert project.read_bytes() == before
    renamed = catalog.copy()
    renamed.meta["sc_lab"]["source"] = "renamed.ecsv"
    Session(renamed, project=project).close()  # the same contents under another name are the same catalogue


def test_objects_are_never_stored(catalog, tmp_path):
    catalog["what"] = [object()] * len(catalog)
    with pytest.raises(InputError, match="'what' has the type object"):
        Session(catalog, project=tmp_path / "x.sclab")
    catalog["what"] = Time(np.full(len(catalog), 2026.0), format="jyear")
    with pytest.raises(InputError, match="'what' is a Time"):
        Session(catalog, project=tmp_path / "x.sclab")
    del catalog["what"]
    catalog.meta["made"] = Time(2026.0, format="jyear")
    with pytest.warns(ScLabWarning, match="'made'"):
        Session(catalog, project=tmp_path / "y.sclab").close()
    assert not (tmp_path / "x.sclab").exists()


def test_save_as_goes_on_in_the_new_file(catalog, tmp_path):
    session = Session(catalog)
    session.do("exclude", ids="c03")
    session.undo()
    session.save_as(tmp_path / "a.sclab")
    session.redo()
    session.save_as(tmp_path / "b.sclab")
    session.do("keep", ids="c04")
    with pytest.raises(ProjectError, match="exists already"):
        session.save_as(tmp_path / "a.sclab")
    with pytest.raises(ProjectError, match="no directory"):
        session.save_as(tmp_path / "none" / "a.sclab")
    assert session.path == tmp_path / "b.sclab"
    session.close()
    with Session.open(tmp_path / "a.sclab") as a, Session.open(tmp_path / "b.sclab") as b:
        assert len(a.log) == 3
        assert len(b.log) == 4
        assert b.document == session.document


def test_an_unwritable_disk_leaves_the_edit_undone(project, monkeypatch):
    with Session.open(project) as session:
        before, log = session.document, session.log

        class Full:
            in_transaction = False

            def execute(self, *_):
                msg = "database or disk is full"
                raise sqlite3.OperationalError(msg)

        real = session._core.project._connection
        monkeypatch.setattr(session._core.project, "_connection", Full())
        seen = []
        session.subscribe(lambda *_: seen.append(1))
        with pytest.raises(ProjectError, match="disk is full"):
            session.do("reset") or session.do("exclude", ids="c05")
        assert (session.document, session.log, seen) == (before, log, [])
        monkeypatch.setattr(session._core.project, "_connection", real)
        assert session.do("exclude", ids="c05")


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_around_the_commit_does_not_part_file_and_memory(project, monkeypatch, when):
    with Session.open(project) as session:
        append = session._core.project.append

        def interrupted(step):
            if when == "after":
                append(step)
            raise KeyboardInterrupt

        monkeypatch.setattr(session._core.project, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.do("exclude", ids="c05")
        monkeypatch.setattr(session._core.project, "append", append)
        assert session.do("exclude", ids="c06")
        assert ("c05" in dict(session.document.excluded)) == (when == "after")
    with Session.open(project) as again:
        assert again.document == session.document
        assert again.log == session.log


# ---------------------------------------------------------------- refusing


def refused(path, word):
    """Assert that a file is refused in words and not touched."""
    before = path.read_bytes()
    with pytest.raises(ProjectError, match=word):
        Session.open(path)
    assert path.read_bytes() == before


def test_what_is_not_a_project_is_refused_in_words(tmp_path):
    with pytest.raises(ProjectError, match="there is no project"):
        Session.open(tmp_path / "none.sclab")
    with pytest.raises(ProjectError, match="directory"):
        Session.open(tmp_path)
    for contents in (b"", b"hello", b"\x80\x04" * 200, b"SQLite format 3\x00"):
        (tmp_path / "x").write_bytes(contents)
        refused(tmp_path / "x", "not an SC Lab project")
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE steps (n)")
    connection.commit()
    connection.close()
    refused(other, "another program")


def change(path, *commands):
    connection = sqlite3.connect(path)
    for command in commands:
        connection.execute(*command) if isinstance(command, tuple) else connection.execute(command)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("PRAGMA user_version=2", "version 2"),
        ("PRAGMA application_id=5", "another program"),
        ("DROP TABLE meta", "exactly the tables"),
        ("CREATE TABLE more (n)", "exactly the tables"),
        ("CREATE TRIGGER t AFTER INSERT ON steps BEGIN DELETE FROM steps; END", "exactly the tables"),
        ("CREATE VIEW v AS SELECT load_extension('x')", "exactly the tables"),
        ("DELETE FROM meta WHERE key='document'", "description"),
        ("INSERT INTO meta VALUES ('more', 'x')", "description"),
        ("UPDATE meta SET value=x'00' WHERE key='document'", "description"),
        ("UPDATE meta SET value='{}' WHERE key='document'", "document"),
        ("UPDATE meta SET value='00' WHERE key='catalog_sha256'", "two different catalogues"),
        ("UPDATE meta SET value='{\"a\":1}' WHERE key='table_meta'", "checksum"),
        ("UPDATE catalog SET bytes=zeroblob(length(bytes)) WHERE n=1", "checksum"),
        ("UPDATE catalog SET name='ID' WHERE n=0", "checksum"),
        ("UPDATE catalog SET bytes='text' WHERE n=1", "checksum"),
        ("DELETE FROM catalog WHERE n=3", "checksum"),
        ("UPDATE catalog SET n=9 WHERE n=1", "checksum"),
        ("UPDATE steps SET json=replace(json, 'c01', 'c05')", "step 1"),
        ("DELETE FROM steps WHERE n=1", "step 1"),
        ("DELETE FROM steps WHERE n=2", "step 2"),
        ("UPDATE steps SET json=x'ff' WHERE n=2", "step 2"),
    ],
)
def test_a_changed_file_is_refused_in_words(project, command, word):
    change(project, command)
    refused(project, word)


def test_a_truncated_or_overwritten_file_is_refused(project):
    sound = project.read_bytes()
    rng = np.random.default_rng(5)
    outcomes = {"refused": 0, "same": 0}
    with Session.open(project) as session:
        document = session.document
    for trial in range(60):
        broken = bytearray(sound)
        if trial % 2:
            del broken[rng.integers(len(sound)) :]
        else:
            start = rng.integers(len(sound))
            broken[start : start + 40] = rng.bytes(len(broken[start : start + 40]))
        project.write_bytes(broken)
        try:
            with Session.open(project) as session:
                # Free space and SQLite's own counters may differ without harm; the contents may not.
                assert session.document == document
                outcomes["same"] += 1
                assert not trial % 2, "cut short, and not noticed"
        except ProjectError:
            assert project.read_bytes() == broken
            outcomes["refused"] += 1
    assert outcomes["refused"] >= 30


def forge(path, *steps):
    """Replace the steps by others with right checksums, as an attacker would."""
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM steps")
    chain = connection.execute("SELECT value FROM meta WHERE key='catalog_sha256'").fetchone()[0]
    for n, text in enumerate(steps, start=1):
        chain = hashlib.sha256((chain + text).encode()).hexdigest()
        connection.execute("INSERT INTO steps VALUES (?, ?, ?)", (n, text, chain))
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "text",
    [
        '{"name":"__import__","arguments":{}}',
        '{"name":"os.system","arguments":{"command":"touch pwned"}}',
        '{"name":"exclude","arguments":{"ids":["nobody"]}}',
        '{"name":"exclude","arguments":{"ids":"c01","reason":{"a":1}}}',
        '{"name":"set","arguments":{"__class__":1}}',
        '{"name":"set","arguments":{"doc":1}}',
        '{"name":"set","arguments":{"seed":"__import__(\'os\')"}}',
        '{"name":"set","arguments":{"size_threshold":NaN}}',
        '{"name":"set","arguments":{"size_threshold":1e999}}',
        '{"name":"set","arguments":{"lens_model":"../../etc"}}',
        '{"name":"undo","arguments":{}}',
        '{"name":"redo","arguments":{}}',
        '{"name":["set"],"arguments":{}}',
        '{"name":"set","arguments":[]}',
        '{"name":"reset"}',
        '{"name":"reset","arguments":{},"more":1}',
        '"reset"',
        "[" * 60_000,
        "9" * 6_000,
        "cos\nsystem\n(S'touch pwned'\ntR.",
        "",
    ],
)
def test_a_hostile_step_with_right_checksums_is_refused_and_nothing_runs(project, monkeypatch, text):
    monkeypatch.chdir(project.parent)
    forge(project, text)
    refused(project, "step 1")
    assert not (project.parent / "pwned").exists()


def test_hostile_text_is_only_text(catalog, tmp_path):
    nasty = "<img src=x onerror=alert(1)>'); DROP TABLE steps;--\x00{__import__('os')}"
    catalog["id"] = [nasty, *catalog["id"][1:].tolist()]
    path = tmp_path / "x.sclab"
    with Session(catalog, project=path) as session:
        session.do("note", id=catalog["id"][0], text=nasty)
        session.do("exclude", ids=catalog["id"][0], reason=nasty)
    with Session.open(path) as session:
        assert session.document.notes[0][1] == nasty
        assert session.document == Session.open(path).document


@pytest.mark.parametrize(
    ("key", "value"),
    [("dtype", "|O"), ("dtype", "O"), ("dtype", "V8"), ("kind", "object"), ("shape", [-1]), ("shape", [10**12]),
     ("shape", "x"), ("unit", "evil()"), ("unit", 3), ("dtype", "<f8,<f8")],
)  # fmt: skip
def test_a_hostile_column_with_right_checksums_is_refused(catalog, tmp_path, key, value, monkeypatch):
    columns = encode_table(catalog)
    info = json.loads(columns[1].info)
    info[key] = value
    object.__setattr__(columns[1], "info", json.dumps(info))
    monkeypatch.setattr("sc_lab.session.session.encode_table", lambda _: columns)
    path = tmp_path / "x.sclab"
    Session(catalog, project=path).close()
    refused(path, "column 'z'")


# ---------------------------------------------------------------- two processes, two cells


def test_a_second_process_opens_read_only_and_says_who_has_it(catalog, project):
    process, said = start_holder(project)
    try:
        assert said == {"read_only": False, "reason": "", "steps": 3}
        with Session.open(project) as session:
            assert session.read_only
            assert str(process.pid) in session.read_only_reason
            before = session.log
            for edit in (
                lambda: session.do("reset"),
                session.undo,
                session.redo,
                lambda: session.do("keep", ids="c01"),
            ):
                with pytest.raises(ReadOnlyError, match=f"process {process.pid} .* since"):
                    edit()
            session.preview(age_max=50)
            with pytest.raises(ReadOnlyError):
                session.end_preview()
            assert session.settings == session.document.settings
            assert session.log == before
            assert not session.refresh()

            told = []
            session.subscribe(lambda s, changed: told.append(changed))
            tell(process, "keep", ids=["c07"])
            tell(process, "undo")
            tell(process, "redo")
            assert session.refresh()
            assert session.document.kept == ("c07",)
            assert told == [{"kept", "history"}]
            assert len(session.log) == 6

            shutil.move(project, project.with_name("y.sclab"))
            with pytest.raises(ProjectError, match=f"process {process.pid}"):
                Session(catalog, project=project)
            shutil.move(project.with_name("y.sclab"), project)
    finally:
        kill(process)
    with Session.open(project) as session:
        assert not session.read_only, "the system has let the lock of the killed process go"
        assert session.document.kept == ("c07",)


def test_refresh_takes_over_when_the_holder_has_been_killed(project):
    process, _ = start_holder(project)
    with Session.open(project) as session:
        tell(process, "keep", ids=["c07"])
        kill(process)
        assert session.read_only
        assert session.refresh()
        assert not session.read_only
        assert session.do("keep", ids="c08")
        assert session.document.kept == ("c07", "c08")


def test_a_read_only_session_can_go_on_in_a_copy(project):
    process, _ = start_holder(project)
    try:
        with Session.open(project) as session:
            session.save_as(project.with_name("copy.sclab"))
            assert session.do("keep", ids="c08")
    finally:
        kill(process)


def test_the_other_process_is_told_that_we_have_it(project):
    with Session.open(project):
        process, said = start_holder(project)
        kill(process)
        assert said["read_only"]
        assert f"process {os.getpid()} of " in said["reason"]


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_write_protected_project_opens_read_only_and_says_so(project, what):
    target = project if what == "file" else project.parent
    mode = stat.S_IMODE(target.stat().st_mode)
    target.chmod(mode & ~0o222)
    try:
        with Session.open(project) as session:
            assert "write-protected" in session.read_only_reason
            with pytest.raises(ReadOnlyError, match="write-protected"):
                session.undo()
            assert len(session.log) == 3
            assert not session.refresh()
    finally:
        target.chmod(mode)
    with Session.open(project) as session:
        assert session.undo()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a kill that leaves a journal is made with POSIX signals")
def test_a_commit_broken_off_is_rolled_back_even_where_nothing_can_be_written(project):
    """The journal of a killed commit cannot be rolled back in place; a copy can."""
    with Session.open(project) as session:
        document, log = session.document, session.log
    code = (
        "import os, signal, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size=1'); c.execute('BEGIN IMMEDIATE')\n"
        "c.executemany('INSERT INTO steps VALUES (?, ?, ?)', ((n, 'x' * 5000, '') for n in range(4, 90)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(project)], check=False)
    assert project.with_name("x.sclab-journal").stat().st_size > 0  # success trivial otherwise
    broken = project.read_bytes()
    mode = stat.S_IMODE(project.parent.stat().st_mode)
    project.parent.chmod(mode & ~0o222)
    try:
        with Session.open(project) as session:
            assert session.read_only
            assert (session.document, session.log) == (document, log)
        assert project.read_bytes() == broken
    finally:
        project.parent.chmod(mode)
    with Session.open(project) as session:
        assert (session.document, session.log) == (document, log)


def test_running_a_cell_again_shares_the_session(catalog, project):
    one = Session(catalog, project=project)
    two = Session.open(project)
    three = Session(catalog, project=os.path.relpath(project))
    told = []
    one.subscribe(lambda s, changed: told.append("one"))
    three.subscribe(lambda s, changed: told.append("three"))
    assert not two.read_only
    two.do("keep", ids="c01")
    assert one.document == two.document == three.document
    assert told == ["one", "three"]
    three.close()
    two.do("keep", ids="c02")
    assert told == ["one", "three", "one"]
    one.close()
    del two  # a session that is forgotten lets go as well
    process, said = start_holder(project)
    kill(process)
    assert not said["read_only"]
    assert said["steps"] == 5


def test_sessions_that_open_and_end_in_many_threads_let_the_file_go(project):
    failures = []

    def work():
        try:
            for i in range(15):
                session = Session.open(project)
                session.subscribe(lambda s, changed: Session.open(project).document)
                session.do("note", id="c01", text=f"{threading.get_ident()} {i}")
                if i % 2:
                    session.close()
        except Exception as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "deadlock"
    assert not failures
    gc.collect()
    with Session.open(project) as session:
        assert len(session.log) == 63
        session._core.subscribers.clear()  # a subscription keeps its session; these were never ended
    gc.collect()
    process, said = start_holder(project)
    kill(process)
    assert not said["read_only"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_can_neither_edit_nor_let_the_file_go(project):
    with Session.open(project) as session:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                session.do("keep", ids="c01")
            except ReadOnlyError:
                session.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        process, said = start_holder(project)
        kill(process)
        assert said["read_only"]
        assert session.do("keep", ids="c01")


# ---------------------------------------------------------------- kills and speed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_200_kills_lose_nothing_that_was_acknowledged(quick_path):
    done = subprocess.run(
        [sys.executable, str(WORKER), "kills", str(quick_path), "200", "7"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["rounds"] == 200
    # success trivial otherwise: most kills must fall while edits are being made, some inside a commit
    assert counts["killed_while_editing"] > 100, counts
    assert counts["journals"] + counts["in_flight"] > 0, counts
    print(counts)
