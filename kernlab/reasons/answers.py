"""Which segment a RST answers.

RFC 9293, 3.10.7.1: its sequence number is the ACK number of the segment that it refuses; that
one without ACK, the RST has none and acknowledges what the segment took. Several segments may
have the same ACK number: each is refused in its turn, so the oldest that had no answer yet
is meant. A pure ACK wants none. It is meant where nothing else is there, or where it is the
one that ends the handshake and its receiver has not spoken since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernlab.record.dissected import Dissected

_MOST = 256  # segments of a side that are remembered without an answer
_SETTLED = 4  # segments that were acknowledged, and are remembered all the same
_SOON = 10**9  # ns: the copy of a segment on another device comes within, and so does a RST


@dataclass
class Waiting:
    """A segment that may be refused. ``places``: where it was captured; ``settled``: the other
    side has spoken since in a way that shows it took the segment."""

    segment: dict[str, Any]
    places: set[tuple[Any, ...]]
    handshake: bool = False
    settled: bool = False

    @property
    def packet(self) -> dict[str, Any]:
        return self.segment["packet"]  # type: ignore[no-any-return]

    @property
    def pure(self) -> bool:
        """Whether it takes no sequence number: a pure ACK."""
        return taken(self.packet) == 0


@dataclass
class Side:
    """The segments of one side that had no answer yet. ``lost``: some are not remembered,
    ``overflowed``: some of these had no answer."""

    waiting: list[Waiting] = field(default_factory=list)
    lost: bool = False
    overflowed: bool = False
    _spoken: bool = False

    def add(self, segment: dict[str, Any], frame: Dissected) -> bool:
        """A segment that this side sent, never a RST; whether it is news: the same on another
        device is a copy."""
        place = seen_at(segment, frame)
        for old in reversed(self.waiting):
            if segment["at"] - old.segment["at"] > _SOON:
                break
            if place not in old.places and same(old.packet, segment["packet"]):
                old.places.add(place)
                return False
        flags = segment["packet"]["flags"]
        one = Waiting(segment, {place}, "S" not in flags and not self._spoken)
        self._spoken = self._spoken or "S" not in flags
        self.waiting.append(one)
        if len(self.waiting) > _MOST:
            del self.waiting[0]
            self.lost = self.overflowed = True
        return True

    def settle(self, packet: Mapping[str, Any]) -> None:
        """The other side sent this from a socket: what it acknowledges has had its answer."""
        if "A" not in packet["flags"]:
            return
        for one in self.waiting:
            behind = (packet["ack"] - one.packet["seq"] - taken(one.packet)) & 0xFFFFFFFF
            one.settled = one.settled or behind < 1 << 31
        old = [one for one in self.waiting if one.settled][:-_SETTLED]
        if old:
            self.lost = True
            self.waiting = [one for one in self.waiting if all(one is not gone for gone in old)]

    def refused(self, rst: Mapping[str, Any]) -> Waiting | None:
        """The segment that the other side's RST answers, which is then forgotten."""
        fits = [one for one in self.waiting if answers(rst, one.packet)]
        found = _meant([one for one in fits if not one.settled]) or (fits[-1] if fits else None)
        if found is not None:
            later = False
            for one in self.waiting:
                later = later or one is found
                one.settled = one.settled or (one.pure and not later)
            self.waiting = [one for one in self.waiting if one is not found]
        return found


def _meant(fits: list[Waiting]) -> Waiting | None:
    if not fits or fits[0].handshake or not fits[0].pure:
        return fits[0] if fits else None
    wanting = [one for one in fits if not one.pure]
    if wanting:
        return wanting[0]
    # Pure ACKs of long ago were taken in silence: a keepalive's probe is the last of them.
    last = fits[-1].segment["at"]
    return next(one for one in fits if last - one.segment["at"] <= _SOON)


def answers(rst: Mapping[str, Any], packet: Mapping[str, Any]) -> bool:
    """Whether a RST's numbers are those that refuse this segment."""
    if "A" in packet["flags"]:
        return "A" not in rst["flags"] and bool(rst["seq"] == packet["ack"])
    end = (packet["seq"] + taken(packet)) & 0xFFFFFFFF
    return "A" in rst["flags"] and bool(rst["ack"] == end)


def taken(packet: Mapping[str, Any]) -> int:
    """How many sequence numbers a segment takes."""
    flags = packet["flags"]
    return int(packet.get("len", 0)) + ("S" in flags) + ("F" in flags)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two frames hold one packet, as far as their headers tell."""
    keys = ("src", "sport", "dst", "dport", "seq", "ack", "flags", "win", "len", "ip_id", "options")
    return all(one.get(key) == other.get(key) for key in keys)


def seen_at(segment: Mapping[str, Any], frame: Dissected) -> tuple[Any, ...]:
    """Where a segment was captured; behind a router it has another TTL."""
    return (*frame.place, segment["packet"].get("ttl"))
