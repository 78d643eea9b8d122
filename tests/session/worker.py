"""Run by the tests in a process of its own: hold a project, edit it, or be killed while editing it."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from astropy.table import QTable

from sc_lab.errors import InputError
from sc_lab.session import Session

IDS = [f"c{i:02d}" for i in range(8)]


def random_edits(session, rng, pipe):
    """Edit for ever; acknowledge each step after the call that made it has returned."""
    while True:
        before = len(session._core.history.log)
        try:
            what = rng.randrange(10)
            if what < 3:
                session.do("set", size_threshold=rng.uniform(1, 40), age_max=rng.uniform(1, 200))
            elif what == 3:
                session.do("exclude", ids=rng.sample(IDS, 3), reason="x" * rng.choice([1, 10, 3000]))
            elif what == 4:
                session.do("restore", ids=rng.sample(IDS, 2))
            elif what == 5:
                session.preview(mass_min=rng.uniform(1e5, 1e7))
                session.end_preview()
            elif what == 6:
                session.undo()
            elif what == 7:
                (name,) = session.new_ids(1)
                data = [[name, rng.uniform(1, 9)], [rng.choice(session.clump_ids), rng.uniform(1, 9)]]
                session.do("add_clump", ids=name, rows={"columns": ["id", "z"], "units": ["", ""], "data": data})
            elif what == 8:
                session.do("remove_clump", ids=rng.choice(session.clump_ids))
            else:
                session.redo()
        except InputError:
            pass
        for step in session._core.history.log[before:]:
            os.write(pipe, json.dumps(step).encode() + b"\n")


def kill_rounds(directory, rounds, seed):
    """Fork a child that edits, kill it at a random moment, compare the file with what it acknowledged."""
    rng = random.Random(seed)
    catalog = QTable({"id": IDS, "z": np.full(len(IDS), 6.0)})
    counts = {
        "rounds": 0,
        "killed_before_opening": 0,
        "killed_while_editing": 0,
        "in_flight": 0,
        "journals": 0,
        "steps": 0,
    }
    acknowledged = []
    path = directory / "nowhere"
    for number in range(rounds):
        if number % 10 == 0:
            path, acknowledged = directory / f"{number}.sclab", []
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            session = Session(catalog, project=path)
            os.write(write, b"open\n")
            random_edits(session, random.Random(rng.random() + number), write)
        os.close(write)
        heard = b""
        if rng.random() < 0.75:
            # Kill after a random number of steps and a random moment, however slow the disk is just now.
            wanted = rng.randrange(1, 16)
            while heard.count(b"\n") < wanted and (more := os.read(read, 1 << 16)):
                heard += more
        time.sleep(rng.uniform(0.0, 0.004) if heard else rng.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(read, "rb") as pipe:
            # What follows the last line end was being said when the kill came: not an acknowledgement.
            lines = (heard + pipe.read()).decode().split("\n")[:-1]
        counts["rounds"] += 1
        journal = path.with_name(path.name + "-journal")
        counts["journals"] += journal.exists() and journal.read_bytes()[:1] not in {b"", b"\0"}  # one to roll back
        if not lines:
            counts["killed_before_opening"] += 1
        elif len(lines) > 1:
            counts["killed_while_editing"] += 1
        acknowledged += [json.loads(line) for line in lines[1:]]
        if not path.exists():
            assert not lines, "acknowledged, yet there is no file"
            continue
        with Session.open(path) as session:
            assert not session.read_only, session.read_only_reason
            log = session.log
            assert log[: len(acknowledged)] == acknowledged, f"round {number}: an acknowledged step is lost"
            assert len(log) - len(acknowledged) <= 1, f"round {number}: more than the step in flight"
            counts["in_flight"] += len(log) - len(acknowledged)
            fresh = Session(catalog)
            for step in log:
                fresh.do(step["name"], **step["arguments"])
            assert fresh.document == session.document
            acknowledged = log
        if number % 10 == 9:
            counts["steps"] += len(acknowledged)
    return counts


def main():
    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "kills":
        print(json.dumps(kill_rounds(path, int(sys.argv[3]), int(sys.argv[4]))))
        return
    session = Session.open(path)
    print(
        json.dumps({"read_only": session.read_only, "reason": session.read_only_reason, "steps": len(session.log)}),
        flush=True,
    )
    for line in sys.stdin:
        step = json.loads(line)
        session.do(step["name"], **step["arguments"])
        print(json.dumps({"steps": len(session.log)}), flush=True)


if __name__ == "__main__":
    main()
