"""The protocols that are known: ``TABLE``, one module each.

Everything that differs from one to the other is said there: numbers, header, fields, sockets,
lane, how it is shown. Nothing elsewhere asks whether a packet is TCP or UDP where a row can
say it. To add one, see CONTRIBUTING.md. The standard library only, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from kernlab.decode.protocols import named
from kernlab.decode.protocols.icmp import ICMP
from kernlab.decode.protocols.icmpv6 import ICMPV6
from kernlab.decode.protocols.model import Field, Protocol
from kernlab.decode.protocols.sctp import SCTP
from kernlab.decode.protocols.tcp import TCP as TCP
from kernlab.decode.protocols.udp import UDP, UDPLITE

TABLE: Tuple[Protocol, ...] = (
    TCP,
    UDP,
    UDPLITE,
    ICMP,
    ICMPV6,
    SCTP,
    named.MPTCP,
    named.DCCP,
    named.IGMP,
    named.GRE,
    named.ESP,
    named.RAW,
)

BY_NAME: Mapping[str, Protocol] = {row.name: row for row in TABLE}
BY_NUMBER: Mapping[int, Protocol] = {number: row for row in TABLE for number in row.numbers}


def name_of(number: int) -> str:
    """A protocol's name; its number as text where there is none."""
    row = BY_NUMBER.get(number)
    return str(number) if row is None else row.name


def of(packet: Mapping[str, Any]) -> Optional[Protocol]:
    """The protocol of an event's packet."""
    return BY_NAME.get(str(packet.get("proto", "")))


def title(packet: Mapping[str, Any]) -> str:
    """The name of a packet's protocol as people write it; "?" where it has none."""
    row = of(packet)
    return row.title if row is not None else str(packet.get("proto", "?")).upper()


def line(packet: Mapping[str, Any]) -> str:
    """What is in a packet, on one line, without its ends; empty where there is nothing to say."""
    row = of(packet)
    return "" if row is None else row.line(packet)


def ends(packet: Mapping[str, Any]) -> str:
    """From where to where a packet goes: addresses, and ports where it has some."""
    said = [
        "%s:%s" % (packet.get(side, "?"), packet[port])
        if port in packet
        else str(packet.get(side, "?"))
        for side, port in (("src", "sport"), ("dst", "dport"))
    ]
    return " > ".join(said)


def numbered(packet: Mapping[str, Any]) -> bool:
    """Whether its protocol counts bytes by sequence numbers, as TCP does."""
    row = of(packet)
    return row is not None and row.of("seq") is not None


def sends(event: Mapping[str, Any]) -> str:
    """The error that an event's function is about to send; empty where it sends none."""
    error = event.get("error")
    if not isinstance(error, Mapping):
        return ""
    return ("sends %s %s" % (title(error), line(error))).rstrip()


def fields() -> Iterator[Tuple[Protocol, Field]]:
    """The fields of all, in the order of the table."""
    return ((row, field) for row in TABLE for field in row.fields)


def stable() -> Tuple[str, ...]:
    """The fields that are the same in every copy of a packet."""
    return tuple(dict.fromkeys(field.name for _, field in fields() if field.stable))


def structs() -> Dict[str, Tuple[str, ...]]:
    """The structures behind struct sock and what is read of them."""
    return {name: tuple(members) for row in TABLE for name, members in row.structs.items()}
