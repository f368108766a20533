"""Pretty-printers: addresses and ports as people write them.

``__be32`` and ``__be16`` hold network byte order, so GDB on a little-endian host shows
127.0.0.1 as 16777343 and port 80 as 20480. A __be32 is not always an address and a __be16
not always a port, so both show the number too. ``p/x`` and ``p/r`` pass these by.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Iterator, Optional, Tuple

import gdb

from kernlab.decode.names import flags_text


def _bytes(value: Any, size: int) -> bytes:
    """A scalar's bytes as they lie in the (little-endian) guest's memory."""
    return (int(value) & ((1 << 8 * size) - 1)).to_bytes(size, "little")


class Be32:
    """127.0.0.1 (0x7f000001)"""

    def __init__(self, value: Any) -> None:
        self._raw = _bytes(value, 4)

    def to_string(self) -> str:
        number = int.from_bytes(self._raw, "big")
        return "%s (0x%08x)" % (ipaddress.IPv4Address(number), number)


class Be16:
    """80 (0x0050)"""

    def __init__(self, value: Any) -> None:
        self._raw = _bytes(value, 2)

    def to_string(self) -> str:
        number = int.from_bytes(self._raw, "big")
        return "%d (0x%04x)" % (number, number)


class Sum16(Be16):
    """0x5e0a"""

    def to_string(self) -> str:
        return "0x" + self._raw.hex()


class In6:
    """::1"""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        octets = self._value["in6_u"]["u6_addr8"]
        return str(ipaddress.IPv6Address(bytes(int(octets[at]) for at in range(16))))


class TcpHeader:
    """struct tcphdr: its 32-bit fields are sequence numbers, not addresses."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def _network(self, name: str, size: int) -> int:
        return int.from_bytes(_bytes(self._value[name], size), "big")

    def to_string(self) -> str:
        return "tcphdr"

    def children(self) -> Iterator[Tuple[str, Any]]:
        flags = 0
        for bit, name in enumerate(("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")):
            flags |= int(self._value[name]) << bit
        for name, size in (("source", 2), ("dest", 2), ("seq", 4), ("ack_seq", 4)):
            yield name, self._network(name, size)
        yield "doff", int(self._value["doff"])
        yield "flags", flags_text(flags)
        for name in ("window", "check", "urg_ptr"):
            number = self._network(name, 2)
            yield name, "0x%04x" % number if name == "check" else number


_BY_NAME = {"__be32": Be32, "__be16": Be16, "__sum16": Sum16}
_BY_TAG = {"in6_addr": In6, "tcphdr": TcpHeader}


class Printers:
    """GDB's lookup: by the typedef's name (GDB's own collection strips it), or the struct's."""

    name = "kernlab"
    enabled = True

    def __call__(self, value: Any) -> Optional[Any]:
        kind = value.type.unqualified()
        if kind.code == gdb.TYPE_CODE_TYPEDEF:
            made = _BY_NAME.get(kind.name)
            if made is not None:
                return made(value)
            kind = kind.strip_typedefs().unqualified()
        if kind.code == gdb.TYPE_CODE_STRUCT and kind.tag in _BY_TAG:
            return _BY_TAG[kind.tag](value)
        return None


def register() -> None:
    """For the program that is loaded, before printers of others."""
    here = gdb.current_progspace().pretty_printers
    if not any(isinstance(printer, Printers) for printer in here):
        here.insert(0, Printers())
