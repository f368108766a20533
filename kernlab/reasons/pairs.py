"""Which RST of a capture a sender's call made, and which frames are copies of one RST.

A RST that answers a segment has numbers which that segment decides (RFC 9293, 3.10.7.1), and
comes after it. The same packet at a second device (a veth's other end, a bridge, a router's
way out) is a copy: it is counted once, at the device where it was first seen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kernlab.reasons.match import Event

_NUMBERS = 0xFFFFFFFF
_NEAR = 50_000_000  # ns: a translated copy is not farther from its original
_SAME = ("src", "sport", "dst", "dport", "seq", "ack", "flags", "len", "ip_id")
_KEPT = ("seq", "ack", "flags", "win")  # by NAT
Way = tuple[str, int, str, int]


@dataclass
class Reset:
    """A RST of the capture: where it was seen first, and its copies."""

    segment: dict[str, Any]
    copies: list[dict[str, Any]] = field(default_factory=list)


def way(packet: Mapping[str, Any]) -> Way:
    """From where to where a segment goes."""
    return packet["src"], packet["sport"], packet["dst"], packet["dport"]


def ends(event: Mapping[str, Any]) -> Way | None:
    """From where to where the RST goes: the sock's way, or back where the segment came from."""
    packet, sock = event.get("packet"), event.get("sock") or {}
    try:
        if packet is not None:  # the segment that is refused; a socket's own RST has none
            return packet["dst"], packet["dport"], packet["src"], packet["sport"]
        return _plain(sock["src"]), sock["sport"], _plain(sock["dst"]), sock["dport"]
    except (KeyError, ValueError):  # not read, or no address
        return None


def _plain(address: str) -> str:
    """An IPv6 socket may carry IPv4 (RFC 4291, 2.5.5.2): the wire has the IPv4 address."""
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def numbers(event: Mapping[str, Any]) -> dict[str, int] | None:
    """The numbers that the RST must have; None where the event does not tell."""
    packet = event.get("packet")
    try:
        if packet is None:
            return {"ack": event["sock"]["rcv_nxt"]}
        flags = str(packet["flags"])
        if "A" in flags:
            return {"seq": packet["ack"]}
        length = packet.get("len", 0) + ("S" in flags) + ("F" in flags)
        return {"seq": 0, "ack": (packet["seq"] + length) & _NUMBERS}
    except KeyError:
        return None


class Wire:
    """The RSTs of a capture, each claimed once by the call that sent it."""

    def __init__(self) -> None:
        self._free: list[Reset] = []
        self._resets: dict[int, Reset] = {}
        self._copies = _Copies()
        self._others: dict[Any, list[int]] = {}
        self._used: set[int] = set()
        self._provoked: dict[int, int] = {}  # by the event's identity

    def add(self, segments: Iterable[dict[str, Any]]) -> None:
        """Segments in the order of the capture."""
        for segment in segments:
            original = self._copies.take(segment)
            if "R" not in segment["packet"]["flags"]:
                if original is None:
                    key = _identity(segment["packet"])
                    self._others.setdefault(key, []).append(segment["number"])
                continue
            if original is None:
                original = self._translated(segment)
            if original is None:
                self._resets[segment["number"]] = Reset(segment)
                self._free.append(self._resets[segment["number"]])
            elif original in self._resets:
                self._resets[original].copies.append(segment)

    def _translated(self, segment: dict[str, Any]) -> int | None:
        """The RST that this one is with one end translated (NAT), seen on another device."""
        packet = segment["packet"]
        for one in reversed(self._resets.values()):
            first = one.segment
            if abs(segment.get("at", 0) - first.get("at", 0)) > _NEAR:
                return None
            if _place(first) == _place(segment) or not _one_end(way(first["packet"]), way(packet)):
                continue
            if all(first["packet"].get(key) == packet.get(key) for key in _KEPT):
                number: int = first["number"]
                return number
        return None

    def claim(self, event: Event) -> dict[str, Any] | None:
        """The RST that the call of this event sent; None when it is not there."""
        after = self.provoked(event)
        going, wanted = ends(event), numbers(event)
        if going is None:
            return None
        free = [
            one
            for one in self._free
            if one.segment["number"] > (after or 0) and _shaped(one.segment["packet"], event)
        ]
        for one in _best(free, going, wanted, event.get("packet") is not None):
            self._free.remove(one)
            return one.segment
        return None

    def provoked(self, event: Event) -> int | None:
        """The frame of the segment that the call refuses; each frame is given once."""
        packet = event.get("packet")
        if packet is None:
            return None
        if id(event) not in self._provoked:
            frames = self._others.get(_identity(packet), [])
            found = next((number for number in frames if number not in self._used), None)
            if found is None:
                return None
            self._used.add(found)
            self._provoked[id(event)] = found
        return self._provoked[id(event)]

    def left(self) -> list[Reset]:
        """The RSTs that no call has claimed."""
        return list(self._free)


def _best(
    free: list[Reset], going: Way, wanted: Mapping[str, int] | None, answers: bool
) -> Iterator[Reset]:
    """Those that can be it, the best first: way and numbers; for a socket's own the way alone
    (its numbers may be of a moment before); numbers and one end, where NAT changed the other."""

    def right(one: Reset) -> bool:
        packet = one.segment["packet"]
        return wanted is None or all(packet.get(key) == value for key, value in wanted.items())

    same = [one for one in free if way(one.segment["packet"]) == going]
    yield from (one for one in same if right(one))
    if not answers:
        yield from same
    if wanted is not None and answers:
        yield from (
            one for one in free if right(one) and _one_end(way(one.segment["packet"]), going)
        )


def _one_end(first: Way, second: Way) -> bool:
    return (first[:2] == second[:2]) != (first[2:] == second[2:])


def _shaped(packet: Mapping[str, Any], event: Event) -> bool:
    """A RST that answers a segment has ACK exactly when that segment has none."""
    segment = event.get("packet") or {}
    return "flags" not in segment or ("A" in packet["flags"]) != ("A" in segment["flags"])


class _Copies:
    """Tells a packet that is seen again at another device from one that is sent again: the
    n-th time that a device sees it is a copy of the n-th time that another one did."""

    def __init__(self) -> None:
        self._seen: dict[Any, list[int]] = {}
        self._places: dict[Any, int] = {}

    def take(self, segment: dict[str, Any]) -> int | None:
        """The frame that this one is a copy of; None for the first."""
        key = _identity(segment["packet"])
        place = (key, _place(segment))
        count = self._places[place] = self._places.get(place, 0) + 1
        known = self._seen.setdefault(key, [])
        if count <= len(known):
            return known[count - 1]
        known.append(segment["number"])
        return None


def _place(segment: Mapping[str, Any]) -> Any:
    return segment.get("interface", segment.get("ifindex")), segment.get("outgoing")


def _identity(packet: Mapping[str, Any]) -> Any:
    options = packet.get("options") or {}
    return (*(packet.get(key) for key in _SAME), repr(sorted(options.items())))
