"""Writes newc cpio archives: what Linux unpacks as an initramfs.

Documentation/driver-api/early-userspace/buffer-format.rst. Owners, times and inode
numbers are fixed and entries sorted, so the same entries give the same bytes; device
nodes are only names and numbers here, so no right is needed.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kernlab.errors import BadInput

_MAX = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One file. ``path`` has no leading slash; ``mode`` with the type bits of stat(2).

    ``data`` is a regular file's content or a symlink's target.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def regular(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | mode, data)


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | mode)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape"))


def character_device(path: str, major: int, minor: int, mode: int = 0o600) -> Entry:
    return Entry(path, stat.S_IFCHR | mode, b"", (major, minor))


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """The entries with every missing parent directory, sorted so that parents come first.

    Raises ``BadInput`` when two different entries claim one path.
    """
    by_path: dict[str, Entry] = {}
    for entry in entries:
        known = by_path.get(entry.path)
        if known is not None and known != entry:
            raise BadInput(
                f"two different files are to become /{entry.path} in the image",
                "their contents or modes differ",
                "give one of them another path in the guest, as in --add PATH:/other",
            )
        by_path[entry.path] = entry
    for path in list(by_path):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            by_path.setdefault(parent, directory(parent))
    return [by_path[path] for path in sorted(by_path)]


def write(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The archive's bytes, in pieces. Raises ``BadInput`` for what newc cannot hold."""
    number = 0
    for number, entry in enumerate(entries, 1):
        yield from _member(number, entry)
    yield from _member(number + 1, Entry("TRAILER!!!", 0))


def _member(number: int, entry: Entry) -> Iterator[bytes]:
    name = entry.path.encode("utf-8", "surrogateescape") + b"\0"
    if len(name) > 4096 or len(entry.data) > _MAX or b"\0" in name[:-1]:
        raise BadInput(
            f"/{entry.path[:80]} cannot be put into an initramfs",
            "names are limited to 4095 bytes without NUL, files to 4 GiB",
            "without --add",
        )
    trailer = entry.mode == 0
    fields = (
        0 if trailer else number,  # ino
        entry.mode,
        0,  # uid
        0,  # gid
        2 if stat.S_ISDIR(entry.mode) else 1,  # nlink
        0,  # mtime
        len(entry.data),
        0,
        0,  # the device it is on
        *entry.device,
        len(name),
        0,  # check
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    yield header + name + b"\0" * (-(len(header) + len(name)) % 4)
    yield entry.data + b"\0" * (-len(entry.data) % 4)
