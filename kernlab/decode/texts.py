"""What an argument points at, as text: a C string, a socket address.

The pointer may be one of user space: with the guest stopped in the call, its page tables are
those of the caller. What is not mapped is absent. Linux: include/linux/socket.h,
include/uapi/linux/{in,in6,un}.h; fs/namei.c, getname() has struct filename, whose first member
is the name.
"""

from __future__ import annotations

import ipaddress
from typing import Optional

from kernlab.decode.memory import Memory, Unreadable, read_to_page_end
from kernlab.decode.names import AF_INET, AF_INET6, OTHER_FAMILIES
from kernlab.decode.place import TextSpec

LONGEST = 128  # bytes of a string that are kept
_UNSPEC, _UNIX = 0, 1


def text_of(
    memory: Memory, address: int, what: TextSpec, length: Optional[int] = None
) -> Optional[str]:
    """The text at ``address``; None where there is none. ``what`` is an argument as a probe
    describes it; its ``text`` says what it points at: string, filename or sockaddr. ``length``:
    the bytes that are there, where another argument says so: they need no NUL."""
    if not address:
        return None
    try:
        if what["text"] == "sockaddr":
            return sockaddr(memory, address)
        if what["text"] == "filename":
            address = int.from_bytes(memory.read(address, 8), "little")
        return string(memory, address, length)
    except Unreadable:
        return None


def string(memory: Memory, address: int, length: Optional[int] = None) -> str:
    """A C string, what no terminal shows escaped; cut after ``LONGEST`` bytes. Raises
    ``Unreadable``."""
    wanted = LONGEST + 1 if length is None else min(length, LONGEST + 1)
    if wanted <= 0:
        return ""
    raw = read_to_page_end(memory, address, wanted).split(b"\0")[0]
    text = raw[:LONGEST].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() and c != "\\" else _escaped(c) for c in text)
    return shown + ("…" if len(raw) > LONGEST else "")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def sockaddr(memory: Memory, address: int) -> Optional[str]:
    """A socket address: 127.0.0.1:80, [::1]:80, a path, or the family's name alone; an
    IPv4-mapped one as IPv4. None for a family that does not exist. Raises ``Unreadable``."""
    family = int.from_bytes(memory.read(address, 2), "little")
    if family == AF_INET:
        raw = memory.read(address, 8)
        return "%s:%d" % (ipaddress.IPv4Address(raw[4:8]), int.from_bytes(raw[2:4], "big"))
    if family == AF_INET6:
        raw = memory.read(address, 24)
        host = ipaddress.IPv6Address(raw[8:24])
        shown = str(host.ipv4_mapped or "[%s]" % host)
        return "%s:%d" % (shown, int.from_bytes(raw[2:4], "big"))
    if family == _UNIX:
        if memory.read(address + 2, 1) == b"\0":
            return "unix @" + string(memory, address + 3, 107)
        return "unix " + string(memory, address + 2, 108)
    if family == _UNSPEC:
        return "AF_UNSPEC"
    return OTHER_FAMILIES.get(family)
