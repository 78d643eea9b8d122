"""The project file: the catalogue and every step, in SQLite, one commit a step."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import filelock
from astropy.table import QTable

from sc_lab._version import __version__
from sc_lab.errors import InputError, ProjectError, ReadOnlyError, ScLabError
from sc_lab.session.codec import StoredColumn, decode_meta, decode_table, encode_meta, fingerprint
from sc_lab.session.document import Document, canonical_json, parse_json

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "Project", "Step"]

Step: TypeAlias = dict[str, Any]

#: Marks an SQLite file as ours ("SCLb"), in its header at byte 68.
APPLICATION_ID = 0x53434C62
#: Version of the tables, in the header at byte 60.
SCHEMA_VERSION = 1

_SQLITE_MAGIC = b"SQLite format 3\x00"
_HEADER_SIZE = 100
#: Seconds to wait for a reader that is just reading.
_BUSY_TIMEOUT = 10.0

_TABLES = {
    "catalog": (
        "CREATE TABLE catalog (n INTEGER PRIMARY KEY, name TEXT NOT NULL, format TEXT NOT NULL, "
        "bytes BLOB NOT NULL, mask BLOB, sha256 TEXT NOT NULL)"
    ),
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "steps": "CREATE TABLE steps (n INTEGER PRIMARY KEY, json TEXT NOT NULL, chain TEXT NOT NULL)",
}
_META_KEYS = {"catalog_sha256", "document", "table_meta", "table_meta_sha256", "written_by"}


class Project:
    """An open project file.

    The file is an SQLite database with three tables: ``meta`` (names and values), ``catalog``
    (one row a column: raw bytes, their description as JSON, their SHA-256) and ``steps`` (one
    row a step: JSON, and a hash chained from the fingerprint of the catalogue through every step
    before). Nothing in it is ever executed.

    Notes
    -----
    Each step is one transaction with ``journal_mode=PERSIST`` and ``synchronous=FULL``: when
    `append` returns, the step has been synchronised to the disk. A kill at any moment loses at most
    the step being written; so does a power cut, provided that the disk does not lie about having
    written its cache (one that lies can lose more, and damage what it holds).

    Measured on ext4 in a two-core virtual machine, idle and with six busy processes: this takes
    0.12 and 9 ms a step, deleting or truncating the journal 1.1 and 12 to 20 ms (they change the
    directory), write-ahead logging without synchronising 0.01 ms. The last loses steps with the
    power, needs shared memory that network file systems do not offer, and keeps the latest steps
    in a second file that a user would not copy. The journal beside an open project holds only
    what a broken-off step has to be rolled back with, and is removed when the project is closed.

    One process at a time writes. It holds an advisory lock on ``.<name>.lock`` beside the project,
    which the operating system releases when the process ends, however it ends. Everybody else
    reads, and `read_only_reason` says why.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: filelock.BaseFileLock | None, reason: str
    ) -> None:
        self.path = path
        self.read_only_reason = reason
        self.empty = Document()
        self._connection: sqlite3.Connection | None = connection
        self._lock = lock
        self._pid = os.getpid()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._chain = ""
        self._count = 0
        found = path.stat()
        self._identity = (found.st_dev, found.st_ino)

    # ------------------------------------------------------------------ making and opening

    @classmethod
    def create(
        cls,
        path: Path,
        columns: Sequence[StoredColumn],
        meta: Mapping[str, Any],
        empty: Document,
        steps: Sequence[Step],
    ) -> Project:
        """Write a new project file and open it.

        Parameters
        ----------
        path : Path
            Where; there must be no file yet.
        columns : sequence of StoredColumn
            The catalogue.
        meta : mapping
            Its metadata.
        empty : Document
            The document before the first step.
        steps : sequence of dict
            Steps taken so far.

        Returns
        -------
        Project
            Open for writing.

        Raises
        ------
        ProjectError
            If the file exists, another process is making it, or the disk refuses.
        """
        if path.exists():
            msg = f"{path} exists already; choose another name, or open it with Session.open"
            raise ProjectError(msg)
        if not path.parent.is_dir():
            msg = f"there is no directory {path.parent}; make it first, or choose another place for the project"
            raise ProjectError(msg)
        lock, reason = _acquire(path)
        if lock is None:
            msg = f"{path} cannot be made: {reason}"
            raise ProjectError(msg)
        # The file appears under its name only when it is complete: a kill in between leaves no half project.
        new = path.with_name(f".{path.name}.new")
        try:
            with _in_words(path, "cannot be written"):
                new.unlink(missing_ok=True)
                connection = sqlite3.connect(new, isolation_level=None)
                try:
                    _fill(connection, columns, meta, empty, steps)
                finally:
                    connection.close()
                os.rename(new, path)  # noqa: PTH104
                _sync_directory(path.parent)
            return cls._open_locked(path, lock, "")
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            _release(path, lock)
            raise

    @classmethod
    def open(cls, path: Path) -> Project:
        """Open a project file, for writing if this process may.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        Project
            Its `read_only_reason` is empty when it can be written.

        Raises
        ------
        ProjectError
            If the file is not ours, is damaged, or comes from a newer version. It is not touched.
        """
        _check_header(path)
        reason = _not_writable(path)
        lock = None
        if not reason:
            lock, reason = _acquire(path)
        try:
            return cls._open_locked(path, lock, reason)
        except BaseException:
            if lock is not None:
                _release(path, lock)
            raise

    @classmethod
    def _open_locked(cls, path: Path, lock: filelock.BaseFileLock | None, reason: str) -> Project:
        copy = None
        where = path
        if lock is None and path.with_name(path.name + "-journal").exists() and _not_writable(path):
            # A journal left by a kill can only be rolled back where we may write: do it on a copy.
            copy = tempfile.TemporaryDirectory(prefix="sc-lab-")
            where = Path(copy.name) / path.name
            shutil.copyfile(path.with_name(path.name + "-journal"), where.with_name(where.name + "-journal"))
            shutil.copyfile(path, where)
        mode = "rw" if lock is not None or copy is not None else "ro"
        connection = None
        try:
            with _in_words(path, "cannot be read"):
                connection = sqlite3.connect(
                    f"{where.absolute().as_uri()}?mode={mode}",
                    uri=True,
                    isolation_level=None,
                    check_same_thread=False,
                    timeout=_BUSY_TIMEOUT,
                )
                project = cls(path, connection, lock, reason)
                project._copy = copy
                project._verify(writable=lock is not None)
        except BaseException:
            if connection is not None:
                connection.close()
            if copy is not None:
                copy.cleanup()
            raise
        return project

    def _verify(self, *, writable: bool) -> None:
        """Refuse what is not exactly a project of ours, before anything is written."""
        connection = self._sqlite()
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            msg = f"{self.path} is damaged ({found}); go back to a copy of it. It has not been changed"
            raise ProjectError(msg)
        schema = dict(connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
        if schema != _TABLES:
            msg = f"{self.path} has not exactly the tables of an SC Lab project; it has not been changed"
            raise ProjectError(msg)
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        if set(meta) != _META_KEYS or not all(isinstance(value, str) for value in meta.values()):
            msg = f"{self.path} lacks some of its description, or has more than it should; it has not been changed"
            raise ProjectError(msg)
        try:
            self.empty = Document.from_json(meta["document"])
        except InputError as error:
            msg = f"{self.path} describes its document wrongly: {error}"
            raise ProjectError(msg) from error
        if self.empty.catalog_sha256 != meta["catalog_sha256"]:
            msg = f"{self.path} names two different catalogues; it has not been changed"
            raise ProjectError(msg)
        self._chain = meta["catalog_sha256"]
        if writable:
            connection.execute("PRAGMA journal_mode=PERSIST")
            connection.execute("PRAGMA synchronous=FULL")

    # ------------------------------------------------------------------ reading

    def table(self) -> QTable:
        """Return the catalogue stored inside.

        Returns
        -------
        `~astropy.table.QTable`
            With read-only arrays.

        Raises
        ------
        ProjectError
            If its bytes are not those that were stored.
        """
        connection = self._sqlite()
        with _in_words(self.path, "cannot be read"):
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            columns = []
            for n, (number, name, info, data, mask, sha256) in enumerate(
                connection.execute("SELECT n, name, format, bytes, mask, sha256 FROM catalog ORDER BY n")
            ):
                sound = isinstance(name, str) and isinstance(info, str) and isinstance(data, bytes)
                column = StoredColumn(name, info, data, mask)
                if not sound or not isinstance(mask, (bytes, type(None))) or number != n or column.sha256 != sha256:
                    msg = f"column {n} of the catalogue in {self.path} does not match its checksum; the file is damaged"
                    raise ProjectError(msg)
                columns.append(column)
        if fingerprint(columns) != meta["catalog_sha256"]:
            msg = f"the catalogue in {self.path} does not match its checksum; the file is damaged"
            raise ProjectError(msg)
        if _sha256(meta["table_meta"]) != meta["table_meta_sha256"]:
            msg = f"the metadata of the catalogue in {self.path} do not match their checksum; the file is damaged"
            raise ProjectError(msg)
        try:
            return decode_table(columns, decode_meta(meta["table_meta"]))
        except ScLabError as error:
            msg = f"the catalogue in {self.path} cannot be used: {error}"
            raise ProjectError(msg) from error

    def new_steps(self) -> list[Step]:
        """Return the steps that have been written since the last call.

        Returns
        -------
        list of dict
            Each with ``name`` and ``arguments``.

        Raises
        ------
        ProjectError
            If a step is missing, is not a step, or does not match its checksum.
        """
        with _in_words(self.path, "cannot be read"):
            rows = (
                self._sqlite()
                .execute("SELECT n, json, chain FROM steps WHERE n > ? ORDER BY n", (self._count,))
                .fetchall()
            )
        out = []
        chain = self._chain
        for expected, (n, text, said) in enumerate(rows, start=self._count + 1):
            if n != expected or not isinstance(text, str) or said != _sha256(chain + text):
                msg = (
                    f"step {expected} in {self.path} does not match its checksum; "
                    "the file is damaged or was changed by hand"
                )
                raise ProjectError(msg)
            try:
                step = parse_json(text, f"step {n}")
            except InputError as error:
                msg = f"{self.path} cannot be used: {error}"
                raise ProjectError(msg) from error
            if (
                not isinstance(step, dict)
                or set(step) != {"name", "arguments"}
                or not isinstance(step["name"], str)
                or not isinstance(step["arguments"], dict)
            ):
                msg = f"step {n} in {self.path} is not a step; a step has a name and arguments"
                raise ProjectError(msg)
            chain = said
            out.append(step)
        self._chain = chain
        self._count += len(out)
        return out

    def all_steps(self) -> list[Step]:
        """Return every step in the file, from the first.

        Returns
        -------
        list of dict
            Each with ``name`` and ``arguments``.
        """
        self._count, self._chain = 0, self.empty.catalog_sha256
        return self.new_steps()

    def same_file(self) -> bool:
        """Return whether the path still leads to the file that is open.

        Returns
        -------
        bool
            False after somebody has deleted, moved or replaced it.
        """
        with contextlib.suppress(OSError):
            now = self.path.stat()
            return (now.st_dev, now.st_ino) == self._identity
        return False

    # ------------------------------------------------------------------ writing

    def append(self, step: Step) -> None:
        """Write one step; it is on the disk when this returns.

        Parameters
        ----------
        step : dict
            ``name`` and ``arguments``, plain JSON values.

        Raises
        ------
        ReadOnlyError
            If this process may not write the project.
        ProjectError
            If the disk refuses; the project is then as it was before.
        """
        self.check_writable()
        connection = self._sqlite()
        text = canonical_json(step)
        chain = _sha256(self._chain + text)
        with _in_words(self.path, "cannot be written; the edit has not been made"):
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("INSERT INTO steps VALUES (?, ?, ?)", (self._count + 1, text, chain))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._count += 1
        self._chain = chain

    def check_writable(self) -> None:
        """Refuse in words when this process may not write.

        Raises
        ------
        ReadOnlyError
            If the project is read-only here.
        """
        if self.read_only_reason:
            msg = (
                f"{self.path} is open read-only: {self.read_only_reason}. "
                "Use save_as to go on in a copy, or refresh() once it is free"
            )
            raise ReadOnlyError(msg)
        if self._pid != os.getpid():
            msg = f"{self.path} was opened by process {self._pid}, and this one was forked from it; edit it there"
            raise ReadOnlyError(msg)

    def try_to_write(self) -> bool:
        """Take over a project whose holder has gone.

        Returns
        -------
        bool
            Whether the project has just become writable.
        """
        if not self.read_only_reason or self._copy is not None:
            return False
        reason = _not_writable(self.path)
        if reason:
            self.read_only_reason = reason
            return False
        lock, reason = _acquire(self.path)
        if lock is None:
            self.read_only_reason = reason
            return False
        try:
            fresh = Project._open_locked(self.path, lock, "")
        except BaseException:
            _release(self.path, lock)
            raise
        old = self._sqlite()
        self._connection, self._lock, self.read_only_reason = fresh._sqlite(), lock, ""  # noqa: SLF001
        old.close()
        return True

    def close(self) -> None:
        """Let the file go; may be called again."""
        connection, self._connection = self._connection, None
        lock, self._lock = self._lock, None
        if self._pid != os.getpid():
            return  # after a fork all of this belongs to the parent
        if connection is not None:
            if lock is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA journal_mode=DELETE")  # takes the journal away
            connection.close()
        if lock is not None:
            _release(self.path, lock)
        if self._copy is not None:
            self._copy.cleanup()

    def _sqlite(self) -> sqlite3.Connection:
        """Return the connection, or say that the project is closed."""
        if self._connection is None:
            msg = f"{self.path} has been closed; open it again with Session.open"
            raise ProjectError(msg)
        return self._connection


# ---------------------------------------------------------------------- helpers


def _fill(
    connection: sqlite3.Connection,
    columns: Sequence[StoredColumn],
    meta: Mapping[str, Any],
    empty: Document,
    steps: Sequence[Step],
) -> None:
    """Write a whole project into an empty database."""
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("PRAGMA synchronous=EXTRA")
    connection.execute("BEGIN IMMEDIATE")
    for sql in _TABLES.values():
        connection.execute(sql)
    table_meta = encode_meta(meta)
    values = {
        "catalog_sha256": empty.catalog_sha256,
        "document": empty.to_json(),
        "table_meta": table_meta,
        "table_meta_sha256": _sha256(table_meta),
        "written_by": f"SC Lab {__version__}",
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
    connection.executemany(
        "INSERT INTO catalog VALUES (?, ?, ?, ?, ?, ?)",
        ((n, c.name, c.info, c.values, c.mask, c.sha256) for n, c in enumerate(columns)),
    )
    chain = empty.catalog_sha256
    for n, step in enumerate(steps, start=1):
        text = canonical_json(step)
        chain = _sha256(chain + text)
        connection.execute("INSERT INTO steps VALUES (?, ?, ?)", (n, text, chain))
    connection.execute("COMMIT")


def _check_header(path: Path) -> None:
    """Refuse a file that is not ours by its first bytes, without opening it as a database."""
    with _in_words(path, "cannot be read"):
        if path.is_dir():
            msg = f"{path} is a directory; a project is one file"
            raise ProjectError(msg)
        with path.open("rb") as file:
            header = file.read(_HEADER_SIZE)
    if len(header) < _HEADER_SIZE or not header.startswith(_SQLITE_MAGIC):
        msg = f"{path} is not an SC Lab project (it is not an SQLite file, or it has been cut short)"
        raise ProjectError(msg)
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        msg = f"{path} is an SQLite file of another program, not an SC Lab project"
        raise ProjectError(msg)
    version = int.from_bytes(header[60:64], "big")
    if version != SCHEMA_VERSION:
        msg = (
            f"{path} has project version {version} and this SC Lab {__version__} reads {SCHEMA_VERSION}; update SC Lab"
        )
        raise ProjectError(msg)


def _not_writable(path: Path) -> str:
    """Return why the file cannot be written, or the empty string."""
    # The permission bits are asked as well because access() tells root that everything is allowed.
    for what, place in (("the file", path), ("its directory", path.resolve().parent)):
        try:
            bits = place.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
        except OSError:
            bits = 0
        if not bits or not os.access(place, os.W_OK):
            return f"{what} is write-protected ({place})"
    return ""


def _acquire(path: Path) -> tuple[filelock.BaseFileLock | None, str]:
    """Return the lock of a project, or None and a sentence naming who has it."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return None, _holder(path)
    except (OSError, NotImplementedError) as error:
        return None, f"its lock cannot be taken ({error})"
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "user": _user(),
        "since": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    # Only for the sentence; a project without it is locked as well.
    with contextlib.suppress(OSError):
        new = _owner_path(path).with_name(f".{path.name}.owner.{os.getpid()}")
        new.write_text(canonical_json(owner), encoding="ascii")
        new.replace(_owner_path(path))
    return lock, ""


def _release(path: Path, lock: filelock.BaseFileLock) -> None:
    """Let the lock go, taking our name off first."""
    with contextlib.suppress(OSError):
        _owner_path(path).unlink(missing_ok=True)
    lock.release()


def _owner_path(path: Path) -> Path:
    """Return the file that says who holds the lock."""
    return path.with_name(f".{path.name}.owner")


def _holder(path: Path) -> str:
    """Return a sentence about the holder of a lock that somebody holds."""
    for wait in (0.0, 0.05, 0.1, 0.2):  # it may have taken the lock this very moment
        time.sleep(wait)
        try:
            owner = json.loads(_owner_path(path).read_text(encoding="ascii"))
            pid, host = int(owner["pid"]), str(owner["host"])
            since, user = str(owner["since"]), str(owner["user"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if host == socket.gethostname() and not _alive(pid):
            continue  # left behind by a killed process: not the one that has the lock now
        return f"process {pid} of {user} on {host} has had it open since {since}"
    return "another process has it open"


def _alive(pid: int) -> bool:
    """Return whether a process of this host exists."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _user() -> str:
    """Return the name of the user, which a container may not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "an unknown user"


def _sha256(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sync_directory(path: Path) -> None:
    """Make a new name in a directory durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _in_words(path: Path, what: str) -> Iterator[None]:
    """Turn the errors of the system and of SQLite into ours."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"there is no project {path}; make one with Session(catalog, project=...)"
        raise ProjectError(msg) from error
    except (sqlite3.Error, sqlite3.Warning, OSError, OverflowError, UnicodeError, MemoryError) as error:
        msg = f"{path} {what} ({error})"
        raise ProjectError(msg) from error
