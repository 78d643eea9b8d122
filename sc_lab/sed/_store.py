"""Arrays kept on disk between sessions: found by what decides them, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sc_lab._version import __version__

__all__ = [
    "cache_folder",
    "code_version",
    "load_array",
    "load_arrays",
    "prune",
    "save_array",
    "save_arrays",
    "write_atomically",
]

#: What a folder of tables may hold before the oldest are dropped [bytes].
_FOLDER_LIMIT = 1_000_000_000


#: The modules whose code decides what is stored.
_DECISIVE = (
    "_ages", "_basis", "_frame", "_functionals", "_nodes", "_table_build", "dust", "igm", "libraries", "tables",
)  # fmt: skip


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return a digest of the code that decides the numbers, so that older ones are never taken from disk.

    Returns
    -------
    str
        SHA-256, or the version of the package where its source is not on disk.
    """
    folder = Path(__file__).parent
    try:
        texts = [path.read_bytes() for name in _DECISIVE if (path := folder / f"{name}.py").is_file()]
    except OSError:
        texts = []
    return hashlib.sha256(b"".join(texts) or __version__.encode()).hexdigest()


def cache_folder() -> Path:
    """Return the folder for what can be worked out again; it need not exist yet.

    Returns
    -------
    Path
        ``sc_lab/sed`` in the cache folder of astropy, which honours XDG_CACHE_HOME.
    """
    from astropy.config import get_cache_dir

    try:
        return Path(get_cache_dir("sc_lab")) / "sed"
    except (OSError, RuntimeError):  # no home folder, or one that cannot be written to
        return Path(os.devnull) / "sed"  # where nothing can be: a cache is a convenience


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> bool:
    """Write a file so that other processes see all of it or nothing.

    Parameters
    ----------
    path : Path
        Where it goes; folders are made.
    write : callable
        Given the open file.

    Returns
    -------
    bool
        False if the place cannot be written to, which is no error: a cache is a convenience.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(temporary).replace(path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        return False
    return True


def save_array(path: Path, array: np.ndarray[Any, Any]) -> bool:
    """Write one array.

    Parameters
    ----------
    path : Path
        A ``.npy`` file.
    array : ndarray
        What it holds.

    Returns
    -------
    bool
        Whether it could be written.
    """
    return write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))


def load_array(path: Path) -> np.ndarray[Any, Any] | None:
    """Return an array on disk as a read-only map, or None if it is missing or damaged.

    Parameters
    ----------
    path : Path
        A ``.npy`` file.

    Returns
    -------
    ndarray or None
        The array.
    """
    try:
        mapped: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if not isinstance(mapped, np.ndarray):  # readable, but as something else
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # so that what is in use is the last to go
    return mapped


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    """Write several arrays to one file.

    Parameters
    ----------
    path : Path
        A ``.npz`` file.
    arrays : mapping
        Arrays by name.

    Returns
    -------
    bool
        Whether they could be written.
    """
    return write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]] | None:
    """Return the arrays of a file, or None if it is missing or damaged.

    Parameters
    ----------
    path : Path
        A ``.npz`` file.

    Returns
    -------
    dict or None
        Arrays by name.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        with contextlib.suppress(OSError):
            os.utime(path)  # so that what is in use is the last to go
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return arrays


def prune(folder: Path, *, limit: int = _FOLDER_LIMIT) -> None:
    """Drop the files that were not used for the longest time until a folder is below a limit.

    Parameters
    ----------
    folder : Path
        Folder of cache files.
    limit : int, optional
        Bytes that may stay.
    """
    try:
        found = [(entry.stat(), entry) for entry in folder.iterdir() if entry.suffix in {".npy", ".npz"}]
    except OSError:
        return
    total = sum(stat.st_size for stat, _ in found)
    for stat, entry in sorted(found, key=lambda pair: pair[0].st_mtime):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            entry.unlink()
        total -= stat.st_size
