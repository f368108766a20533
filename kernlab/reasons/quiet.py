"""No RST is an answer too: what did happen to each connection of a capture, in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernlab.decode import protocols
from kernlab.decode.packet import address_text
from kernlab.decode.packet import packet as decode
from kernlab.reasons.pairs import Way, way
from kernlab.record.pcapng import inner, read
from kernlab.record.segments import Segments

_MOST = 10  # connections that are told one by one
_ARP = 0x0806  # ethertype
_UNREACHABLE = "DEST_UNREACH"
# What a code of an "unreachable" says, of ICMP and of ICMPv6.
_CODES = {
    "NET_UNREACH": "network unreachable",
    "HOST_UNREACH": "host unreachable",
    "PROT_UNREACH": "protocol unreachable",
    "PORT_UNREACH": "port unreachable",
    "FRAG_NEEDED": "fragmentation needed",
    "NET_ANO": "network prohibited",
    "HOST_ANO": "host prohibited",
    "PKT_FILTERED": "prohibited by a filter",
    "NOROUTE": "no route",
    "ADM_PROHIBITED": "prohibited by a filter",
    "ADDR_UNREACH": "address unreachable",
    "POLICY_FAIL": "prohibited by policy",
    "REJECT_ROUTE": "route rejected",
}


@dataclass
class _Connection:
    """What one connection showed; sides by their address and port."""

    opener: Way
    syn: int = 0
    answered: bool = False
    established: bool = False
    fin: set[tuple[str, int]] = field(default_factory=set)
    acked: dict[tuple[str, int], int] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    again: dict[tuple[str, int], int] = field(default_factory=dict)
    reset: bool = False
    icmp: list[str] = field(default_factory=list)


def story(capture: Path, errors: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """What happened to each connection of a capture without a RST, a line each. ``errors``:
    events of sock_def_error_report(), sockets that were told of a failure. Raises
    ``BadInput`` for no capture."""
    found, other = _connections(capture)
    told = [_said(one, errors) for one in found if not one.reset] + other
    if not found:
        told = ["no TCP segment was captured", *told]
    more = [f"and {len(told) - _MOST} more"] if len(told) > _MOST else []
    return told[:_MOST] + more


def _connections(capture: Path) -> tuple[list[_Connection], list[str]]:
    """The connections; and in words what the capture has of those without a segment, and of UDP:
    ICMP errors, and neighbours (ARP) that never answered."""
    taker = Segments()
    found: dict[int, _Connection] = {}
    other: dict[str, None] = {}
    asked: dict[str, int] = {}
    for frame in read(capture):
        segment = taker.take(frame)
        if segment is not None:
            one = found.setdefault(segment["flow"], _Connection(way(segment["packet"])))
            _learn(one, segment["packet"])
            continue
        _arp(frame, asked)
        told = _icmp(frame)
        if told is None:
            continue
        protocol, about, words = told
        for one in reversed(found.values()):
            if protocol == "TCP" and about in (one.opener, (*one.opener[2:], *one.opener[:2])):
                if words not in one.icmp:
                    one.icmp.append(words)
                break
        else:
            other[f"{protocol} {_end(about[:2])} → {_end(about[2:])}: {words}"] = None
    silent = [f"{host}: no answer to ARP, asked {_times(count)}" for host, count in asked.items()]
    return list(found.values()), [*other, *silent]


def _arp(frame: Any, asked: dict[str, int]) -> None:
    """Count who is asked for (RFC 826, Ethernet and IPv4), until there is an answer."""
    inside = inner(frame)
    if inside is None or inside.ethertype != _ARP or len(inside.data) < 28:
        return
    data = inside.data
    if data[:6] != b"\0\x01\x08\0\x06\x04":
        return
    operation = data[7]
    if operation == 1 and data[14:18] not in (data[24:28], bytes(4)):  # not a probe of its own
        target = address_text(data[24:28])
        asked[target] = asked.get(target, 0) + 1
    elif operation == 2:
        asked.pop(address_text(data[14:18]), None)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _learn(one: _Connection, packet: Mapping[str, Any]) -> None:
    flags, going = str(packet["flags"]), way(packet)
    side, other = going[:2], going[2:]
    one.reset = one.reset or "R" in flags
    if "S" in flags:
        if "A" in flags:
            one.answered = True
        else:
            one.syn += 1
    elif "A" in flags and one.answered:
        one.established = True
    if "F" in flags:
        one.fin.add(side)
    length = packet.get("len", 0) + ("F" in flags)
    if length and "S" not in flags:
        end = (packet["seq"] + length) & 0xFFFFFFFF
        known = one.ends.get(side)
        if known is not None and not 0 < (end - known) & 0xFFFFFFFF < 1 << 31:
            one.again[side] = one.again.get(side, 0) + 1
        else:
            one.ends[side] = end
    if "A" in flags and "S" not in flags:
        one.acked[other] = packet["ack"]


def _said(one: _Connection, errors: Sequence[Mapping[str, Any]]) -> str:
    going = one.opener
    head = f"{_end(going[:2])} → {_end(going[2:])}: "
    words = list(_words(one))
    for event in errors:
        sock = event.get("sock") or {}
        pair = {(sock.get("src"), sock.get("sport")), (sock.get("dst"), sock.get("dport"))}
        if pair == {going[:2], going[2:]} and sock.get("err"):
            name = errno.errorcode.get(sock["err"], str(sock["err"]))
            words.append(f"the socket at {_end((sock['src'], sock['sport']))} got {name}")
    return head + "; ".join(words)


def _words(one: _Connection) -> Iterator[str]:
    if one.syn and not one.answered:
        times = f"SYN sent {one.syn} times" if one.syn > 1 else "a SYN"
        yield f"{times}, no answer" if not one.icmp else f"{times}, refused by ICMP"
    elif one.answered and not one.established:
        yield "a SYN-ACK came, but the handshake was not completed"
    elif len(one.fin) == 2:
        yield "closed in order, with a FIN from each side"
    elif one.fin:
        yield f"{_end(next(iter(one.fin)))} has sent a FIN, the other side has not"
    else:
        yield "still open at the end of the capture"
    for side, count in one.again.items():
        open_end = one.ends[side] != one.acked.get(side)
        yield (
            f"{_end(side)} sent data or FIN again {count} times"
            + (", and it was never acknowledged" if open_end else "")
        )
    yield from one.icmp


def _end(side: tuple[Any, Any]) -> str:
    host, port = side
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _icmp(frame: Any) -> tuple[str, Way, str] | None:
    """The protocol and the ends that an ICMP "unreachable" is about, and what it says."""
    inside = inner(frame)
    packet = decode(inside.data) if inside is not None else None
    if packet is None or packet.get("icmp_name") != _UNREACHABLE:
        return None
    about = packet.get("quoted") or {}
    if "sport" not in about:
        return None
    code = packet.get("icmp_code_name", "")
    said = _CODES.get(code, f"code {packet['icmp_code']}")
    return protocols.title(about), way(about), f"ICMP from {packet['src']}: {said}"
