"""The batches of an injection run on disk, so that a run that ended early goes on where it stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sc_lab.completeness.records import Records, from_columns, to_columns
from sc_lab.errors import InputError

__all__ = ["Checkpoint"]

_FORMAT = "sc-lab injection checkpoint"
_VERSION = 1


class Checkpoint:
    """A text file: one line about the run, then one line for each batch, in the order in which they were done.

    Parameters
    ----------
    path : path-like or None
        The file; None keeps nothing.
    run : dict
        What the batches depend on, as JSON values; ``entropy`` None takes that of the file, or chance.

    Raises
    ------
    InputError
        If the file belongs to another run, or is no checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str] | None, run: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.done: dict[int, Records] = {}
        fresh = int(np.random.SeedSequence().entropy or 0)  # type: ignore[arg-type]  # an int where none was given
        if self.path is None or not self.path.exists() or (self.path.is_file() and not self.path.stat().st_size):
            self.entropy = fresh if run["entropy"] is None else int(run["entropy"])
            if self.path is not None:
                self._begin({**run, "entropy": self.entropy})
            return
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as problem:
            msg = f"the checkpoint {self.path} cannot be read ({problem.strerror}); give the name of a file"
            raise InputError(msg) from problem
        known = _header(lines[0], self.path)
        self.entropy = int(known["entropy"]) if run["entropy"] is None else int(run["entropy"])
        wanted = json.loads(json.dumps({**run, "entropy": self.entropy}))
        differ = sorted(key for key in wanted.keys() | known.keys() if wanted.get(key) != known.get(key))
        if differ:
            key = differ[0]
            msg = (
                f"the checkpoint {self.path} is of a run with another {', '.join(differ)} (for instance {key} = "
                f"{_short(known.get(key))} instead of {_short(wanted.get(key))}); repeat that run's settings to go on "
                "with it, or give another file"
            )
            raise InputError(msg)
        good = len(lines[0]) + 1
        for line in lines[1:]:
            # The last line may have been cut off by whatever ended the run: from there on it is done again.
            try:
                batch = json.loads(line)
                records = from_columns(batch["records"])
                self.done[int(batch["batch"])] = records
            except (ValueError, KeyError, TypeError, InputError):
                break
            good += len(line) + 1
        with self.path.open("r+b") as file:
            file.truncate(good)

    def _begin(self, run: dict[str, Any]) -> None:
        path = self.path
        if path is None:  # pragma: no cover - only called with a path
            return
        try:
            path.write_text(json.dumps({"format": _FORMAT, "version": _VERSION, "run": run}) + "\n")
        except OSError as problem:
            msg = f"the checkpoint {path} cannot be written ({problem.strerror}); give a file in a folder that exists"
            raise InputError(msg) from problem

    def add(self, batch: int, records: Records) -> None:
        """Keep a batch.

        Parameters
        ----------
        batch : int
            Its number.
        records : ndarray of `RECORD`
            Its clumps.
        """
        self.done[batch] = records
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"batch": batch, "records": to_columns(records)}) + "\n")


def _header(line: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(line)
        if header["format"] == _FORMAT and header["version"] == _VERSION:
            return dict(header["run"])
    except (ValueError, KeyError, TypeError):
        pass
    msg = f"{path} exists and is no checkpoint of an injection run; give another file, or remove it"
    raise InputError(msg)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
