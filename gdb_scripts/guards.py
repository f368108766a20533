"""Whether the object that an expression reads a member of has that member.

A pointer's type says little in the network stack: a struct sock may be a TIME_WAIT or a
request socket, which are shorter, and a cast to tcp_sock is only right for TCP. What lies
behind the end of the object is another's, so that an expression which would read it has no
value. The same for an skb's header that has not been set, or is of another protocol.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import gdb

from gdb_scripts.macros import expanded
from kernlab.decode import protocols, socks
from kernlab.decode.chains import Chain, chains, closed
from kernlab.decode.macros import ACCESSORS
from kernlab.decode.names import AF_INET, AF_INET6, NEW_SYN_RECV, SOCK_RAW, SOCK_STREAM, TIME_WAIT
from kernlab.decode.place import SiteSpec

_MASK = (1 << 64) - 1
_UNSET = 0xFFFF
_VIEWS = re.compile(r"\b(%s)\(" % "|".join(name for name, one in ACCESSORS.items() if one.header))


class _Step(NamedTuple):
    """One "->" of an expression: the pointer before it, and what is read there."""

    pointer: str
    read: str


class Guard:
    """One expression's. ``text`` as it was written, its names already made GDB's."""

    def __init__(self, text: str) -> None:
        self._steps: List[_Step] = []
        plain = expanded(text)
        for one in chains(plain):
            self._steps += _steps(plain, one)
        self._views = [
            (match.group(1), text[match.end() : closed(text, match.end() - 1) - 1])
            for match in _VIEWS.finditer(text)
            if closed(text, match.end() - 1) > 0
        ]

    def holds(self, site: SiteSpec, packet: Optional[Mapping[str, Any]]) -> bool:
        """Whether all that the expression reads is there. Raises ``gdb.error`` where memory
        cannot be read."""
        return all(_view(name, of, site, packet) for name, of in self._views) and all(
            _has(step) for step in self._steps
        )


_guards: Dict[str, Guard] = {}


def holds(text: str, site: SiteSpec, packet: Optional[Mapping[str, Any]]) -> bool:
    """The same for a text; what was found out of it is remembered."""
    guard = _guards.get(text)
    if guard is None:
        guard = _guards[text] = Guard(text)
    return guard.holds(site, packet)


def _steps(text: str, one: Chain) -> List[_Step]:
    ends = [*one.arrows[1:], one.end]
    return [
        _Step(text[one.start : arrow].strip(), text[one.start : ends[number]].strip())
        for number, arrow in enumerate(one.arrows)
    ]


def _has(step: _Step) -> bool:
    value = gdb.parse_and_eval(step.pointer)
    kind = value.type.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_PTR:
        return True
    target = kind.target().strip_typedefs().unqualified()
    if target.code != gdb.TYPE_CODE_STRUCT or target.tag not in socks.SOCKS:
        return True
    address = int(value) & _MASK
    if not address:
        return True  # &((struct sock *)0)->member: an offset, and nothing is read
    allowed = _what(address)
    if allowed is None or target.tag in allowed:
        return True
    # Of any socket the part that all have in common is there.
    end = _end(step.read, address)
    return end is not None and end <= gdb.lookup_type("struct sock_common").sizeof


def _end(text: str, base: int) -> Optional[int]:
    """Where a member ends, in bytes from its object's begin; None where that is not told."""
    try:
        value = gdb.parse_and_eval(text)
        return (int(value.address) & _MASK) - base + int(value.type.sizeof)
    except (gdb.error, TypeError):
        return None


def _what(address: int) -> Optional[Tuple[str, ...]]:
    """The structures that a socket is, by what it says of itself; None where no family of
    ours says so."""
    common = gdb.Value(address).cast(gdb.lookup_type("struct sock").pointer())["__sk_common"]
    family, state = int(common["skc_family"]), int(common["skc_state"])
    if family not in (AF_INET, AF_INET6):
        return ("sock", *socks.FAMILIES[family]) if family in socks.FAMILIES else None
    if state == TIME_WAIT:
        return socks.TIME_WAIT
    if state == NEW_SYN_RECV:
        return socks.REQUEST
    sock = gdb.Value(address).cast(gdb.lookup_type("struct sock").pointer())
    kind, protocol = int(sock["sk_type"]), int(sock["sk_protocol"])
    if kind == SOCK_RAW:
        return (*socks.FULL, *socks.RAW)
    row = protocols.BY_NUMBER.get(protocol)
    if row is None or (row.stream and kind != SOCK_STREAM):
        return socks.FULL
    return (*socks.FULL, *row.kinds)


def _view(name: str, of: str, site: SiteSpec, packet: Optional[Mapping[str, Any]]) -> bool:
    """Whether a header is there to be viewed: by the table of sites where the function is
    listed, by the skb itself, and by what the packet was found to be."""
    accessor = ACCESSORS[name]
    valid, listed = site["header"], site["listed"]
    if accessor.header == "cb":
        return site["tcp_cb"] or not listed
    if listed and valid in ("none", "cb"):
        return False
    skb = gdb.parse_and_eval(expanded(of))
    if accessor.header == "mac":
        return int(skb["mac_header"]) != _UNSET
    own = valid in protocols.BY_NAME  # that header alone is built
    if accessor.header == "network" and ((listed and own) or not skb["network_header"]):
        return False
    if accessor.header == "transport":
        place = int(skb["transport_header"])
        if (listed and valid == "network") or place == _UNSET or place <= skb["network_header"]:
            return own and place != _UNSET
    known = packet or {}
    said = known.get("family" if accessor.header == "network" else "proto")
    return not accessor.proto or said is None or said == accessor.proto
