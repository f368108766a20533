"""Writes captures as pcapng, and reads what others lack: one that grows, what one lost.

draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. ``container`` reads them.
"""

from __future__ import annotations

import heapq
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kernlab.config.files import open_regular
from kernlab.config.paths import arriving_file
from kernlab.record import container
from kernlab.record.container import (
    ETHERNET,
    MAGIC,
    RAW,
    SLL,
    SLL2,
    Captured,
    inner,
    options,
    read,
)

__all__ = [
    "ETHERNET",
    "RAW",
    "SLL",
    "SLL2",
    "Captured",
    "Growing",
    "Lost",
    "convert",
    "inner",
    "losses",
    "read",
    "write",
]

_SHB, _IDB, _ISB, _EPB = container.SHB, container.IDB, container.ISB, container.EPB
# Options: of any block, of an interface's description, of its statistics
_END, _COMMENT = 0, 1
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_IFDROP, _FILTERACCEPT, _OSDROP = 5, 6, 7


class Lost(NamedTuple):
    """What a capture counted of itself: packets that passed its filter, and of these those
    that it has not got (``by_device``: that the device dropped before)."""

    accepted: int = 0
    by_kernel: int = 0
    by_device: int = 0

    @property
    def any(self) -> bool:
        return bool(self.by_kernel or self.by_device)

    @property
    def packets(self) -> int:
        """The packets that it has not got."""
        return self.by_kernel + self.by_device


_SIZE = 24  # of a classic pcap's header


class _Header(NamedTuple):
    """What a classic pcap's header says of the rest."""

    order: str
    unit: int
    linktype: int


def _header(data: bytes) -> _Header | None:
    """The header of a file that begins with a magic number; None while it is not whole."""
    if len(data) < _SIZE:
        return None
    order, unit = MAGIC[data[:4]]
    return _Header(order, unit, struct.unpack_from(order + "I", data, 20)[0] & 0x0FFFFFFF)


def _frames(header: _Header, data: bytes, at: int) -> Iterator[tuple[Captured, int]]:
    """The whole frames from offset ``at`` on, each with the offset of what follows it."""
    while at + 16 <= len(data):
        seconds, fraction, kept, length = struct.unpack_from(header.order + "IIII", data, at)
        at += 16 + kept
        if at > len(data):
            return
        time = seconds * 10**9 + fraction * header.unit
        yield Captured(time, header.linktype, length, data[at - kept : at]), at


_GROWN = 32 << 20  # bytes that are read at a time


class Growing:
    """A classic pcap that is still being written, in a guest's share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._known: _Header | None = None

    def frames(self) -> Iterator[Captured]:
        """The frames that came to it since the last call; none while it is not there."""
        try:
            with open_regular(self._path, self._path.parent) as file:
                file.seek(self._at)
                data = file.read(_GROWN)
        except OSError:
            return
        first, begin = self._at, 0
        if self._known is None:
            self._known = _header(data) if data[:4] in MAGIC else None
            if self._known is None:
                return
            self._at = begin = _SIZE
        for frame, end in _frames(self._known, data, begin):
            self._at = first + end
            yield frame


_MOST = 1 << 20  # bytes of a block of statistics; more is no such block


def _statistics_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """The byte order and body of each block of statistics; all others are passed over."""
    order = "<"
    with path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            if head[:4] == struct.pack("<I", _SHB):
                order = "<" if head[8:] == b"\x4d\x3c\x2b\x1a" else ">"
            kind, size = struct.unpack_from(order + "II", head)
            if size < 12 or (kind == _ISB and size > _MOST):
                return
            if kind != _ISB:
                file.seek(size - 12, os.SEEK_CUR)
                continue
            rest = file.read(size - 12)
            if len(rest) < size - 12:
                return
            yield order, (head[8:] + rest)[:-4]


def losses(path: Path) -> Lost:
    """What a pcapng says of the packets that it has not got, all interfaces together. Its frames
    are not read."""
    found = Lost()
    for order, body in _statistics_of(path):
        told = options(order, body[12:])
        counts = (
            int.from_bytes(told.get(code, b""), "little" if order == "<" else "big")
            for code in (_FILTERACCEPT, _OSDROP, _IFDROP)
        )
        found = Lost(*(one + more for one, more in zip(found, counts, strict=True)))
    return found


def _block(kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def _described(linktype: int, name: str, ifindex: int | None) -> bytes:
    """An interface description block. Without a name, its index says which it is."""
    options = b""
    if name:
        options = _option(_IF_NAME, name.encode("utf-8", "replace"))
    elif ifindex is not None:
        options = _option(_IF_DESCRIPTION, f"index {ifindex} in the guest".encode())
    options += _option(_IF_TSRESOL, b"\x09") + _option(_END, b"")
    return _block(_IDB, struct.pack("<HHI", linktype, 0, 0) + options)


def write(
    path: Path,
    frames: Iterable[Captured],
    comments: Mapping[int, str] | None = None,
    lost: Lost | None = None,
) -> int:
    """Write a pcapng with times in ns and one interface for each device and link type; how
    many frames. ``comments``: by a frame's number, from 1 (opt_comment, 65535 bytes at
    most). ``lost``: written where there is a loss, as the statistics of an interface ``any``."""
    told = comments or {}
    count, last = 0, 0
    known: dict[tuple[int, str, int | None], int] = {}
    with arriving_file(path) as temporary, temporary.open("wb") as out:
        options = _option(4, b"kernlab") + _option(_END, b"")
        out.write(_block(_SHB, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options))
        for frame in frames:
            key = _interface(frame)
            if key not in known:
                known[key] = len(known)
                out.write(_described(*key))
            head = struct.pack(
                "<IIIII",
                known[key],
                frame.at >> 32,
                frame.at & 0xFFFFFFFF,
                len(frame.data),
                frame.length,
            )
            count, last = count + 1, frame.at
            body = frame.data + b"\0" * (-len(frame.data) % 4)
            if count in told:
                text = told[count].encode("utf-8", "replace")[:60000].decode("utf-8", "ignore")
                body += _option(_COMMENT, text.encode()) + _option(_END, b"")
            out.write(_block(_EPB, head + body))
        if lost is not None and lost.any:
            out.write(_described(SLL2, "any", None))
            out.write(_block(_ISB, _statistics(len(known), last, lost)))
    return count


def _interface(frame: Captured) -> tuple[int, str, int | None]:
    """By what a frame's interface is told from others; its index where it has no name."""
    if frame.interface:
        return frame.linktype, frame.interface, None
    inside = inner(frame) if frame.linktype == SLL2 else None
    return frame.linktype, "", None if inside is None else inside.ifindex


def _statistics(number: int, at: int, lost: Lost) -> bytes:
    """An interface statistics block's body; ``at`` in ns, as the interface's times."""
    told = ((_IFDROP, lost.by_device), (_FILTERACCEPT, lost.accepted), (_OSDROP, lost.by_kernel))
    options = b"".join(_option(code, struct.pack("<Q", value)) for code, value in told)
    note = _option(_COMMENT, b"counted by tcpdump -i any, all interfaces together")
    head = struct.pack("<III", number, at >> 32, at & 0xFFFFFFFF)
    return head + note + options + _option(_END, b"")


def convert(
    source: Path,
    out: Path,
    without: bytes = b"",
    names: Mapping[int, str] | None = None,
    lost: Lost | None = None,
    more: Iterable[Captured] = (),
) -> int:
    """A capture as pcapng; frames that end with ``without`` are left out. ``names``: of the
    guest's devices, by the index that a cooked frame has. ``more``: frames of another one, in
    the order of time, put in between. Of one that is damaged, what comes
    before the damage: a guest wrote it."""
    frames = (f for f in _sound(source) if not (without and f.data.endswith(without)))
    named = (_named(frame, names or {}) for frame in frames)
    return write(out, heapq.merge(named, more, key=lambda frame: frame.at), lost=lost)


def _sound(source: Path) -> Iterator[Captured]:
    with suppress(container.Damaged):
        yield from read(source)


def _named(frame: Captured, names: Mapping[int, str]) -> Captured:
    inside = inner(frame)
    name = None if inside is None or inside.ifindex is None else names.get(inside.ifindex)
    return frame if name is None else frame._replace(interface=name)
