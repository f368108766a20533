"""What an artifact's files were when it was made, so that damage is found and not believed.

A directory keeps a record of each of its files: content's sum, size, time of change, inode.
A look compares what stat(2) tells, and reads a file again only where that differs: vmlinux is
150 MB, and every command asks. ``thorough`` reads all of them, for a change that kept size
and time. A single file that is made later and often (a cache) carries its sum in its last
line instead, so that both appear at once.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kernlab.progress import Reporter, Said

RECORD = ".sums.json"
UNKNOWN = "it has no list of its files"
_VERSION = 1
_SMALL = 1 << 16  # bytes up to which a file is always read
_MANY = 1000  # files from which on small ones are not: a source tree has 70,000
_CHUNK = 1 << 20
_MARK = b"\n// blake2b "  # a comment in C, so that vmlinux.h can be included as it is
_DIGEST = 32


def of_file(path: Path) -> str:
    """The sum of a regular file's content, or of where a symbolic link leads."""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    if path.is_symlink():
        digest.update(os.fsencode(os.readlink(path)))
        return digest.hexdigest()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def record(directory: Path, only: Iterable[str] = ()) -> None:
    """Write down what the files in ``directory`` are now, and have all of it on the disk.
    ``only``: names in it; the rest is somebody else's."""
    files = {}
    wanted = set(only)
    for place, inside, names in os.walk(directory):
        if wanted and Path(place) == directory:
            inside[:] = [name for name in inside if name in wanted]
            names = [name for name in names if name in wanted]
        for name in sorted(names):
            path = Path(place, name)
            if path == directory / RECORD:
                continue
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                files[str(path.relative_to(directory))] = _entry(status, of_file(path))
    _flush(directory, files)
    _write(directory, files)
    _sync(directory)


def whole(directory: Path, what: str, report: Reporter) -> bool:
    """Whether an artifact is there as it was made; one that is damaged is told to be made
    anew, by whoever asked. ``what`` names it."""
    if not os.path.lexists(directory):
        return False
    said = problem(directory)
    if said and said != UNKNOWN:
        report(Said(f"{what} is damaged ({said}): it is made again"))
    return not said


def problem(directory: Path, *, thorough: bool = False) -> str:
    """What is wrong with an artifact; "" for nothing, ``UNKNOWN`` where its record is missing or
    damaged. A file that was only copied or touched is read once and its record renewed."""
    files = _read(directory)
    if files is None:
        return UNKNOWN
    renewed = False
    every = thorough or len(files) < _MANY
    for name, entry in files.items():
        path = directory / name
        try:
            status = path.lstat()
            if (said := _shape(status, entry)) == "":
                same = _entry(status, entry[0]) == entry
                if not same or thorough or (every and status.st_size <= _SMALL):
                    said = (
                        ""
                        if of_file(path) == entry[0]
                        else "has other content than when it was made"
                    )
                    if not same and not said:
                        files[name] = _entry(status, entry[0])
                        renewed = True
        except FileNotFoundError:
            said = "is gone"
        except OSError as error:
            said = f"cannot be read: {error.strerror}"
        if said:
            return f"{name} {said}"
    if renewed:
        with suppress(OSError):  # a home that is not ours to write
            _write(directory, files)
    return ""


def _shape(status: os.stat_result, entry: list[Any]) -> str:
    if stat.S_ISLNK(status.st_mode) != (entry[1] < 0):
        return "is another kind of file"
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
        return "is not a file"
    if entry[1] >= 0 and status.st_size != entry[1]:
        return f"has {status.st_size} bytes, and {entry[1]} were made"
    return ""


def _entry(status: os.stat_result, content: str) -> list[Any]:
    """A file's line of the record; a symbolic link's size is -1."""
    size = -1 if stat.S_ISLNK(status.st_mode) else status.st_size
    return [content, size, status.st_mtime_ns, status.st_ino]


def _read(directory: Path) -> dict[str, list[Any]] | None:
    try:
        data = unsealed((directory / RECORD).read_bytes())
        known = json.loads(data) if data is not None else {}
    except (OSError, ValueError):
        return None
    return known["files"] if known.get("version") == _VERSION else None


def _write(directory: Path, files: dict[str, list[Any]]) -> None:
    data = json.dumps({"version": _VERSION, "files": files}).encode()
    handle, name = tempfile.mkstemp(prefix=RECORD, dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(sealed(data))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(directory / RECORD)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _flush(directory: Path, files: dict[str, list[Any]]) -> None:
    """Have the content of all files on the disk: one by one, or by its whole file system."""
    if len(files) >= _MANY:
        handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            ctypes.CDLL(None).syncfs(handle)
        finally:
            os.close(handle)
        return
    for name, entry in files.items():
        if entry[1] >= 0:
            _sync(directory / name)


def _sync(path: Path) -> None:
    """Have a file's content, or a directory's names, on the disk (fsync(2))."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- single files -----------------------------------------------------------------------


def sealed(data: bytes) -> bytes:
    """``data`` with its sum in a last line."""
    return data + _MARK + _of(data).encode() + b"\n"


def unsealed(data: bytes) -> bytes | None:
    """What was sealed; None where the sum is not there or another."""
    content, mark, said = data.rpartition(_MARK)
    return content if mark and said == _of(content).encode() + b"\n" else None


def _of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_DIGEST).hexdigest()
