"""The command channel's wire format; the guest's side is rootfs/guest/wire.h.

    u32 length of the payload | u8 kind | u8[3] zero | u32 id | payload

All numbers little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from kernlab.errors import WeFailed

PROTOCOL = 1
MAX_PAYLOAD = 256 * 1024
CHUNK = 32 * 1024  # what goes into one frame of INPUT; a virtio port's own limit per write
_HEADER = struct.Struct("<IB3xI")


class Kind(IntEnum):
    """What a frame is; below 64 from the host, above from the guest."""

    PING = 1
    START = 2
    INPUT = 3
    INPUT_END = 4
    SIGNAL = 5
    READ = 6
    WRITE = 7
    POWEROFF = 8
    HANG_UP = 9
    HELLO = 64
    OUT = 65
    ERR = 66
    EXIT = 67
    CREDIT = 68
    DATA = 69
    DONE = 70
    FAILED = 71


class Frame(NamedTuple):
    kind: int
    id: int
    payload: bytes


def encode(kind: Kind, id: int, payload: bytes = b"") -> bytes:
    """One frame. Raises ``ValueError`` when the payload is longer than ``MAX_PAYLOAD``."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"{len(payload)} bytes do not fit into a frame")
    return _HEADER.pack(len(payload), kind, id) + payload


def start_payload(argv: Sequence[str], env: Mapping[str, str], cwd: str, stdin: bool) -> bytes:
    """START's payload. Raises ``ValueError`` on a NUL byte, which no argv can hold."""
    pairs = [f"{key}={value}" for key, value in env.items()]
    words = [cwd, *argv, *pairs]
    if any("\0" in word for word in words):
        raise ValueError("a NUL byte in a command's argument")
    packed = struct.pack("<BII", stdin, len(argv), len(pairs))
    return packed + b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


class Decoder:
    """Bytes as they come → whole frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take more bytes, give the frames they complete. Raises ``WeFailed`` on garbage."""
        self._pending += data
        at = 0
        while len(self._pending) - at >= _HEADER.size:
            length, kind, id = _HEADER.unpack_from(self._pending, at)
            if length > MAX_PAYLOAD:
                raise WeFailed(
                    "the guest's agent speaks another protocol",
                    f"a frame of {length} bytes",
                    "kernlab clean images",
                )
            if len(self._pending) - at < _HEADER.size + length:
                break
            at += _HEADER.size
            yield Frame(kind, id, bytes(self._pending[at : at + length]))
            at += length
        del self._pending[:at]
