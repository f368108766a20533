"""Captures: reads classic pcap and pcapng, writes pcapng.

draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. A file cut in the middle (its
writer was killed) gives the frames that are whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kernlab.config.paths import arriving_file
from kernlab.errors import BadInput

# Link types, tcpdump.org/linktypes.html
ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1),
}  # fmt: skip
_SHB, _IDB, _EPB = 0x0A0D0D0A, 1, 6


class Captured(NamedTuple):
    """A frame: ``at`` in ns since 1970, ``length`` on the wire, ``data`` as captured."""

    at: int
    linktype: int
    length: int
    data: bytes


class Inner(NamedTuple):
    """What is inside a frame. ``outgoing`` is known for cooked captures (-i any) only."""

    ethertype: int
    data: bytes
    outgoing: bool | None
    ifindex: int | None


def inner(frame: Captured) -> Inner | None:
    """Strip the link layer; None for one that is not known here."""
    data = frame.data
    if frame.linktype == SLL2 and len(data) >= 20:
        protocol, _, ifindex, _, kind = struct.unpack_from(">HHIHB", data)
        return Inner(protocol, data[20:], kind == 4, ifindex)
    if frame.linktype == SLL and len(data) >= 16:
        kind, protocol = struct.unpack_from(">H", data)[0], struct.unpack_from(">H", data, 14)[0]
        return Inner(protocol, data[16:], kind == 4, None)
    if frame.linktype == ETHERNET and len(data) >= 14:
        return Inner(struct.unpack_from(">H", data, 12)[0], data[14:], None, None)
    if frame.linktype == RAW and data:
        return Inner(0x86DD if data[0] >> 4 == 6 else 0x0800, data, None, None)
    return None


def read(path: Path) -> Iterator[Captured]:
    """The frames of a pcap or pcapng file. Raises ``BadInput`` when it is neither."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}", str(error.strerror), "check the path") from error
    if data[:4] in _MAGIC:
        yield from _pcap(data)
    elif data[:4] == struct.pack("<I", _SHB):
        yield from _pcapng(data)
    else:
        raise BadInput(
            f"{path} is no capture", "neither pcap nor pcapng by its first bytes", f"file {path}"
        )


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
    order, unit = _MAGIC[data[:4]]
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


def _pcap(data: bytes) -> Iterator[Captured]:
    header = _header(data)
    if header is not None:
        yield from (frame for frame, _ in _frames(header, data, _SIZE))


class Growing:
    """A classic pcap that is still being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._known: _Header | None = None

    def frames(self) -> Iterator[Captured]:
        """The frames that came to it since the last call; none while it is not there."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except OSError:
            return
        first, begin = self._at, 0
        if self._known is None:
            self._known = _header(data)
            if self._known is None:
                return
            self._at = begin = _SIZE
        for frame, end in _frames(self._known, data, begin):
            self._at = first + end
            yield frame


def _pcapng(data: bytes) -> Iterator[Captured]:
    at, order = 0, "<"
    interfaces: list[tuple[int, int]] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == struct.pack("<I", _SHB):
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 12 or at + size > len(data):
            return
        body = data[at + 8 : at + size - 4]
        if kind == _IDB:
            interfaces.append((struct.unpack_from(order + "H", body)[0], _unit(order, body[8:])))
        elif kind == _EPB:
            index, high, low, kept, length = struct.unpack_from(order + "IIIII", body)
            linktype, unit = interfaces[index]
            ticks = high << 32 | low
            yield Captured(ticks * 10**9 // unit, linktype, length, body[20 : 20 + kept])
        at += size


def _unit(order: str, options: bytes) -> int:
    """Ticks a second: option 9, if_tsresol; microseconds by default."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from(order + "HH", options, at)
        if code == 9 and size == 1:
            value = options[at + 4]
            return 1 << (value & 127) if value & 128 else int(10 ** (value & 127))
        at += 4 + size + -size % 4
    return 10**6


def _block(kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def write(path: Path, frames: Iterable[Captured], interface: str = "any",
          comments: Mapping[int, str] | None = None) -> int:  # fmt: skip
    """Write a pcapng with times in ns, one interface for each link type; how many frames.
    ``comments``: by a frame's number, from 1 (opt_comment, 65535 bytes at most)."""
    told = comments or {}
    count = 0
    known: dict[int, int] = {}
    with arriving_file(path) as temporary, temporary.open("wb") as out:
        options = _option(4, b"kernlab") + _option(0, b"")
        out.write(_block(_SHB, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options))
        for frame in frames:
            if frame.linktype not in known:
                known[frame.linktype] = len(known)
                options = _option(2, interface.encode()) + _option(9, b"\x09") + _option(0, b"")
                out.write(_block(_IDB, struct.pack("<HHI", frame.linktype, 0, 0) + options))
            head = struct.pack("<IIIII", known[frame.linktype], frame.at >> 32,
                               frame.at & 0xFFFFFFFF, len(frame.data), frame.length)  # fmt: skip
            count += 1
            body = frame.data + b"\0" * (-len(frame.data) % 4)
            if count in told:
                text = told[count].encode("utf-8", "replace")[:60000].decode("utf-8", "ignore")
                body += _option(1, text.encode()) + _option(0, b"")
            out.write(_block(_EPB, head + body))
    return count


def convert(source: Path, out: Path, without: bytes = b"") -> int:
    """A capture as pcapng; frames that end with ``without`` are left out."""
    frames = (f for f in read(source) if not (without and f.data.endswith(without)))
    return write(out, frames)
