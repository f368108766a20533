"""Captures as a stream of frames: pcap, its kinds with ns and of Kuznetzov, and pcapng, each
also compressed with gzip.

draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. No more than one frame is in memory, so a
file of any size and a pipe are read alike. A file that ends in the middle of a frame (its
writer was killed) gives the frames before and says where it was cut; a frame that cannot
be is damage, an error with its offset (in the uncompressed capture).
"""

from __future__ import annotations

import io
import shlex
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from kernlab.errors import BadInput, KernlabError
from kernlab.record.foreign import FORMATS, Converted

# Link types, tcpdump.org/linktypes.html
ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276
MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x34\xcd\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xcd\x34": (">", 1000),
}
_LONGER = {b"\x34\xcd\xb2\xa1", b"\xa1\xb2\xcd\x34"}  # Kuznetzov's: 8 bytes more in a frame's head
_GZIP = b"\x1f\x8b"
SHB, IDB, PB, SPB, ISB, EPB = 0x0A0D0D0A, 1, 2, 3, 5, 6
_LEAST = {SHB: 28, IDB: 20, PB: 32, SPB: 16, ISB: 24, EPB: 32}  # bytes of a whole block
# Options: of any block, of a section, of an interface's description
_END, _IF_NAME, _IF_TSRESOL, _IF_TSOFFSET = 0, 2, 9, 14
_FRAME = 262144  # bytes of a frame at most: libpcap's MAXIMUM_SNAPLEN, Wireshark's limit too
_CHUNK = 1 << 16  # bytes read of a compressed file at a time
_BLOCK = 1 << 24  # bytes of a pcapng block at most, as Wireshark has it
_INTERFACES = 65536  # of a section
_HEADER = 24  # bytes of a classic pcap's header


class Captured(NamedTuple):
    """A frame: ``at`` in ns since 1970, ``length`` on the wire, ``data`` as captured,
    ``interface`` the device's name, empty where it is not known."""

    at: int
    linktype: int
    length: int
    data: bytes
    interface: str = ""


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


class Damaged(BadInput):
    """A capture that is wrong in the middle; ``offset`` in bytes from its begin."""

    def __init__(self, name: str, offset: int, why: str) -> None:
        super().__init__(
            f"{name} is damaged at offset {offset}",
            why,
            f"hexdump -C -s {max(0, offset - 32)} -n 128 {shlex.quote(name)}",
        )
        self.offset = offset


class _Cut(Exception):
    """The input ended where more bytes had to come."""


class Capture:
    """A capture that is open, a context manager. Iterating gives its frames, once.

    ``cut`` is the offset of the frame or block in whose middle the input ended, known when
    all was read. Raises ``BadInput`` for what is no capture, ``Damaged`` (after the frames
    before) for one that is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.cut: int | None = None
        self._offset = 0
        self._stack = ExitStack()
        try:
            self._file: _Source = self._stack.enter_context(path.open("rb"))
            self._first = self._bytes(4)
            if self._first[:2] == _GZIP:
                self._file = io.BufferedReader(_Gunzip(self._first, self._file))
                self._offset = 0
                self._first = self._bytes(4)
            if self._first in FORMATS:
                converted = Converted(path, FORMATS[self._first], self._stack)
                self._file = io.BufferedReader(_Unbuffered(converted))
                self._offset = 0
                self._first = self._bytes(4)
        except KernlabError:
            self._stack.close()
            raise
        except (OSError, zlib.error) as error:
            self._stack.close()
            why = error.strerror if isinstance(error, OSError) else f"gzip: {error}"
            raise BadInput(f"cannot read {path}", str(why or error), f"ls -l {path}") from error
        if self._first not in MAGIC and self._first != struct.pack("<I", SHB):
            self._stack.close()
            if not self._first:
                why = "it is empty"
            else:
                why = "its first bytes are those of neither pcap nor pcapng" + (
                    f" ({self._first.hex(' ')})" if len(self._first) == 4 else ""
                )
            raise BadInput(f"{path} is not a capture", why, f"file {shlex.quote(self.name)}")

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Captured]:
        try:
            yield from self._classic() if self._first in MAGIC else self._pcapng()
        except _Cut as cut:
            self.cut = cut.args[0]
        except zlib.error as error:
            raise Damaged(self.name, self._offset, f"its compressed data: {error}") from error
        except OSError as error:
            raise BadInput(
                f"cannot read {self.name}",
                str(error.strerror or error),
                f"cp {shlex.quote(self.name)} /tmp",
            ) from error

    # -- bytes

    def _bytes(self, size: int) -> bytes:
        """As many bytes as are there, at most ``size``."""
        found = b""
        while len(found) < size:
            part = self._file.read(size - len(found))
            if not part:
                break
            found += part
        self._offset += len(found)
        return found

    def _take(self, size: int, begin: int) -> bytes:
        found = self._bytes(size)
        if len(found) < size:
            raise _Cut(begin)
        return found

    # -- classic pcap

    def _classic(self) -> Iterator[Captured]:
        order, unit = MAGIC[self._first]
        rest = self._take(_HEADER - 4, 0)
        linktype = struct.unpack_from(order + "I", rest, 16)[0] & 0xFFFF
        more = 8 if self._first in _LONGER else 0
        while True:
            begin = self._offset
            head = self._bytes(16)
            if not head:
                return
            if len(head) < 16:
                raise _Cut(begin)
            seconds, fraction, kept, length = struct.unpack(order + "IIII", head)
            if kept > _FRAME:
                raise Damaged(
                    self.name, begin, f"a frame of {kept} bytes; {_FRAME} are the most there can be"
                )
            if more:
                self._take(more, begin)
            data = self._take(kept, begin)
            yield Captured(seconds * 10**9 + fraction * unit, linktype, length, data)

    # -- pcapng

    def _pcapng(self) -> Iterator[Captured]:
        interfaces: list[Interface] = []
        for begin, kind, order, body in self._blocks():
            if kind == SHB:
                interfaces = []
            elif kind == IDB:
                if len(interfaces) >= _INTERFACES:
                    raise Damaged(self.name, begin, f"more than {_INTERFACES} interfaces")
                interfaces.append(Interface.read(order, body))
            elif kind in (EPB, PB, SPB):
                yield self._packet(kind, order, body, interfaces, begin)

    def _packet(
        self, kind: int, order: str, body: bytes, interfaces: list[Interface], begin: int
    ) -> Captured:
        """A frame of one of the three blocks that hold one."""
        index, high, low = 0, 0, 0
        if kind == EPB:
            index, high, low, kept, length = struct.unpack_from(order + "IIIII", body)
        elif kind == PB:
            index, _, high, low, kept, length = struct.unpack_from(order + "HHIIII", body)
        else:
            (length,) = struct.unpack_from(order + "I", body)
            kept = length
        if index >= len(interfaces):
            raise Damaged(
                self.name,
                begin,
                f"a frame of interface {index}; the section describes "
                f"{len(interfaces)} interfaces before it (they count from 0)",
            )
        interface = interfaces[index]
        if kind == SPB and interface.snaplen:
            kept = min(kept, interface.snaplen)
        place = 4 if kind == SPB else 20
        if kept > len(body) - place or kept > _FRAME:
            raise Damaged(
                self.name,
                begin,
                f"a frame of {kept} bytes in a block that has room for "
                f"{min(len(body) - place, _FRAME)}",
            )
        at = interface.time(high << 32 | low) if kind != SPB else 0
        data = body[place : place + kept]
        return Captured(at, interface.linktype, length, data, interface.name)

    def _blocks(self) -> Iterator[tuple[int, int, str, bytes]]:
        """Offset, kind, byte order and body of each block."""
        order, begin, head = "<", 0, self._first + self._bytes(4)
        while head:
            if len(head) < 8:
                raise _Cut(begin)
            magic = b""
            if head[:4] == struct.pack("<I", SHB):
                magic = self._take(4, begin)
                order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic, "")
                if not order:
                    raise Damaged(self.name, begin, "the byte-order magic of a section is wrong")
            kind, size = struct.unpack(order + "II", head)
            if size < _LEAST.get(kind, 12):
                raise Damaged(
                    self.name,
                    begin,
                    f"a block of type {kind} and {size} bytes; "
                    f"{_LEAST.get(kind, 12)} are the least",
                )
            if size > _BLOCK:
                raise Damaged(self.name, begin, f"a block of {size} bytes; {_BLOCK} are the most")
            # Some writers leave the padding out of the size, Wireshark says.
            body = magic + self._take(size + -size % 4 - 12 - len(magic), begin)
            if struct.unpack(order + "I", self._take(4, begin))[0] != size:
                raise Damaged(
                    self.name,
                    begin,
                    f"a block of type {kind} says {size} bytes at its begin, "
                    "another number at its end",
                )
            yield begin, kind, order, body
            begin = self._offset
            head = self._bytes(8)


class Interface(NamedTuple):
    """An interface's description: ticks of its clock in a second, and what to add in s."""

    linktype: int
    snaplen: int
    name: str
    unit: int
    offset: int

    @classmethod
    def read(cls, order: str, body: bytes) -> Interface:
        """From an interface description block's body, 8 bytes or more."""
        linktype, _, snaplen = struct.unpack_from(order + "HHI", body)
        told = options(order, body[8:])
        name = told.get(_IF_NAME, b"")[:256].rstrip(b"\0").decode("utf-8", "replace")
        shift = told.get(_IF_TSOFFSET, b"")
        offset = struct.unpack(order + "q", shift)[0] if len(shift) == 8 else 0
        return cls(linktype, snaplen, name, _unit(told.get(_IF_TSRESOL, b"")), offset)

    def time(self, ticks: int) -> int:
        """ns since 1970."""
        return ticks * 10**9 // self.unit + self.offset * 10**9


class _Source(Protocol):
    """What frames are read from; fewer bytes than asked for may come."""

    def read(self, size: int, /) -> bytes: ...


class _Unbuffered(io.RawIOBase):
    """A source as what BufferedReader reads from."""

    def __init__(self, file: _Source) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


class _Gunzip(io.RawIOBase):
    """gzip's members one after the other (RFC 1952), in bounded memory. One whose end is
    missing gives all that is there."""

    def __init__(self, first: bytes, file: _Source) -> None:
        self._raw = first
        self._file: _Source | None = file
        self._member = zlib.decompressobj(31)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            found = self._member.decompress(self._raw, len(buffer))
            self._raw = self._member.unconsumed_tail
            if self._member.eof:
                self._raw = self._member.unused_data or self._more()
                self._member = zlib.decompressobj(31)
                if self._raw[:1] != _GZIP[:1]:  # nothing, or padding, as tar writes it
                    self._raw, self._file = b"", None
            if found:
                buffer[: len(found)] = found
                return len(found)
            self._raw = self._raw or self._more()
            if not self._raw:
                return 0

    def _more(self) -> bytes:
        return self._file.read(_CHUNK) if self._file is not None else b""


def options(order: str, data: bytes) -> dict[int, bytes]:
    """A block's options by their code, of each code the last."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from(order + "HH", data, at)
        if code == _END:
            break
        found[code] = data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return found


def _unit(resolution: bytes) -> int:
    """Ticks a second, by if_tsresol; microseconds without one."""
    if len(resolution) != 1:
        return 10**6
    value = resolution[0]
    return 1 << (value & 127) if value & 128 else int(10 ** (value & 127))


def read(path: Path) -> Iterator[Captured]:
    """The frames of a capture, cut or not. Raises as ``Capture`` does."""
    with Capture(path) as capture:
        yield from capture
