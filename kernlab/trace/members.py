"""C expressions that an event answers by itself: those of a member that is decoded anyway.

An engine that does not stop the guest evaluates no C, but what it decodes is the kernel's
members under other names: tcp_sk(sk)->snd_cwnd is sock.snd_cwnd. So these can stand in a
filter, with the values that GDB would read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kernlab.decode import protocols
from kernlab.decode import sock as socks
from kernlab.decode.kinds import NAMED, NUMBER
from kernlab.decode.names import STATE_NUMBERS, flags_value
from kernlab.decode.protocols.model import Protocol
from kernlab.symbols.probes import Probe

_CHAIN = re.compile(
    r"(?:(?P<call>\w+)\((?P<of>\w+)\)|(?P<name>\w+)"
    r"|\(\(struct (?P<cast>\w+) \*\)\s*(?P<what>\w+)\))"
    r"->(?P<member>\w+(?:->name)?)(?P<mask>\s*&\s*\w+)?"
)
Event = Mapping[str, Any]
Reader = Callable[[Event], Any]
# Accessors and casts that lead from a sock to the same sock.
_SAME = {
    None,
    "tcp_sk",
    "inet_sk",
    "inet_csk",
    "tcp_sock",
    "inet_sock",
    "inet_connection_sock",
    "sock",
}
_SOCK = {member: name for pairs in socks.NAMES for member, name in pairs if "." not in member}
_OF_TCP = {"tcp_sk", "tcp_sock", "inet_csk", "inet_connection_sock"}
_HEADERS = {row.accessor: row for row in protocols.TABLE if row.accessor}


def reader(text: str, probe: Probe) -> Reader | None:
    """What finds the expression's value in an event of this probe, None where it is not there;
    None for an expression that no event answers."""
    match = _CHAIN.fullmatch(text)
    if match is None or match["mask"]:
        return None
    by = match["call"] or match["cast"]
    name, member = match["of"] or match["what"] or match["name"], match["member"]
    if name == probe.sock and probe.sock_hop is None and by in _SAME:
        return _of_sock(member, by)
    if name == probe.skb and probe.skb_hop is None:
        return _of_skb(member, by, probe)
    return None


def _of_sock(member: str, by: str | None) -> Reader | None:
    if member == "sk_state":
        return lambda event: STATE_NUMBERS.get(_own(event).get("state", ""))
    if member in ("sk_daddr", "inet_daddr"):
        return lambda event: _ipv4(event, "dst")
    if member in ("sk_rcv_saddr", "inet_rcv_saddr"):
        return lambda event: _ipv4(event, "src")
    of_tcp = member.startswith("icsk_") or member in socks.OF_TCP
    if member in _SOCK and (by in _OF_TCP) == of_tcp:
        return lambda event: _own(event).get(_SOCK[member])
    return None


def _of_skb(member: str, by: str | None, probe: Probe) -> Reader | None:
    if by is None and member in ("len", "data_len"):
        return lambda event: (event.get("skb") or {}).get(member)
    if by == "TCP_SKB_CB" and member in ("seq", "end_seq", "ack_seq", "tcp_flags"):
        if member == "tcp_flags":
            return lambda event: _flags((event.get("skb") or {}).get("cb") or {})
        return lambda event: ((event.get("skb") or {}).get("cb") or {}).get(member)
    row = _HEADERS.get(by or "")
    if row is not None and probe.site.header in ("transport", row.name):
        return _of_header(member, row)
    return None


def _of_header(member: str, row: Protocol) -> Reader | None:
    if member in row.bits:
        name, mask = row.bits[member]
        return lambda event: (
            None if (f := _flags(_of(event, row), name)) is None else int(f & mask != 0)
        )
    for field in row.fields:
        if field.member == member and field.at is not None:
            name, size = field.name, field.bits // 8
            if field.kind == NAMED or size == 1:
                return lambda event: _of(event, row).get(name)
            if field.kind == NUMBER:
                return lambda event: _raw(_of(event, row).get(name), size)
    return None


def _own(event: Event) -> Event:
    sock = event.get("sock") or {}
    return sock if sock.get("via") == "argument" else {}


def _ipv4(event: Event, side: str) -> Any:
    sock = _own(event)
    return sock.get(side) if sock.get("family") == "ipv4" else None


def _of(event: Event, row: Protocol) -> Event:
    packet = event.get("packet") or {}
    return packet if packet.get("proto") == row.name else {}


def _flags(of: Event, name: str = "flags") -> int | None:
    return flags_value(of[name]) if name in of else None


def _raw(number: int | None, size: int) -> int | None:
    """A number of the wire as it lies in memory, in network order."""
    return None if number is None else int.from_bytes(number.to_bytes(size, "big"), "little")
