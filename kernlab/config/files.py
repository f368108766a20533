"""Opening what others made: files of a guest's share, of a record, of an archive.

Who made them may have put a link, a pipe or a device where a file is expected, or a file without
end. Here nothing but a regular file is opened, no link is followed where the caller says from
which directory on, and no more is read than was allowed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from kernlab.errors import BadInput

JSON_LIMIT = 8 << 20  # bytes of a JSON file that is read whole: at worst 200 MB of objects
_PIECE = 1 << 20

# openat2(2) of Linux 5.6, the same number on every architecture.
_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08  # include/uapi/linux/openat2.h
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class NotAFile(OSError):
    """Something else lies where a regular file is expected."""


def open_regular(path: Path, below: Path | None = None) -> BinaryIO:
    """Open a regular file to read. With ``below``, a directory that is ours, no link is followed
    on the way from it to ``path``; without, ``path`` is one that the user named.

    Raises ``NotAFile`` for a link, a pipe, a socket, a device, a directory, and ``OSError``.
    """
    # O_PATH opens nothing yet: to open a pipe may wait, to open a device may do something.
    found = os.open(path, os.O_PATH | os.O_CLOEXEC) if below is None else _beneath(below, path)
    try:
        mode = os.fstat(found).st_mode
        if not stat.S_ISREG(mode):
            raise NotAFile(errno.EINVAL, f"it is {_kind(mode)}, and no regular file", str(path))
        try:
            return open(f"/proc/self/fd/{found}", "rb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(found)


def _beneath(below: Path, path: Path) -> int:
    """An O_PATH descriptor of ``path``, reached from ``below`` without a link."""
    parts = path.relative_to(below).parts
    if not parts or ".." in parts:
        raise NotAFile(errno.EINVAL, f"it is not inside {below}", str(path))
    top = os.open(below, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = _openat2(top, "/".join(parts))
        return _walk(top, parts) if found is None else found
    except OSError as error:
        # A link on the way: ELOOP, or ENOTDIR where O_NOFOLLOW meets O_DIRECTORY.
        if error.errno in (errno.ELOOP, errno.EXDEV, errno.ENOTDIR):
            raise NotAFile(
                errno.ELOOP, "a link, or no directory, is on the way", str(path)
            ) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(top)


def _openat2(top: int, path: str) -> int | None:
    """openat2(2); None where the kernel has none, or a container's filter hides it."""
    how = _OpenHow(
        os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _NO_SYMLINKS | _NO_MAGICLINKS | _BENEATH
    )
    found: int = _libc.syscall(
        ctypes.c_long(_OPENAT2),
        ctypes.c_int(top),
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if found >= 0:
        return found
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG):
        return None
    raise OSError(number, os.strerror(number), path)


def _walk(top: int, parts: tuple[str, ...]) -> int:
    """The same, one name after the other."""
    at = os.dup(top)
    try:
        for name in parts[:-1]:
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(name, flags, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(parts[-1], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _kind(mode: int) -> str:
    return next((name for matches, name in _KINDS if matches(mode)), "something else")


def is_regular(path: Path, below: Path | None = None) -> bool:
    """Whether ``open_regular`` would find a file there. One that exists and may not be read
    is one: whoever opens it then says why it cannot."""
    try:
        open_regular(path, below).close()
    except NotAFile:
        return False
    except OSError as error:
        return error.errno == errno.EACCES
    return True


def read_regular(path: Path, limit: int, below: Path | None = None) -> bytes:
    """A file's bytes. Raises ``OSError``, with EFBIG for one that holds more than ``limit``."""
    with open_regular(path, below) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return data


def copy_limited(source: BinaryIO, out: BinaryIO, limit: int) -> bool:
    """Copy at most ``limit`` bytes; False when there were more."""
    left = limit
    while left and (piece := source.read(min(_PIECE, left))):
        out.write(piece)
        left -= len(piece)
    return bool(left) or not source.read(1)


def read_json(path: Path, below: Path | None = None, limit: int = JSON_LIMIT) -> Any:
    """What a JSON file holds; None when it is not there.

    Raises ``BadInput`` that names the file and says what is wrong with it.
    """
    try:
        return parse_json(read_regular(path, limit, below))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(
            f"cannot read {path}", error.strerror or str(error), f"ls -l {path}"
        ) from error
    except ValueError as error:
        raise BadInput(f"{path}: damaged", str(error), f"rm {path}") from error


def parse_json(text: bytes | str) -> Any:
    """JSON as RFC 8259 has it. Raises ``ValueError``, for NaN, numbers that no float holds, and
    values that lie too deep in each other too."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_number)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]}: the number is too large")
    return value
