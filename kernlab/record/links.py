"""Which frame of the capture an event is about.

By headers, which both have: addresses, sequence number, flags, length; among frames that
agree in these (a segment sent again) by IP identification and timestamps, and where the event
has none (the skb of the retransmit queue) by time. Once one event of a packet is placed, all of
that packet are (``packet.id``). A packet without sequence numbers is known by what its protocol
says is the same in every copy. Beyond NAT one end differs, and sequence and acknowledgement
number say that it is the same segment. ``tcp_reset()`` runs for a RST alone.

Times of both are the guest's: a frame's of its wall clock, an event's of its monotonic clock at
the last tick. What lies between is learnt from the events that only one frame fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kernlab.decode import protocols

_KEY = ("src", "sport", "dst", "dport", "seq", "flags", "len")
_MORE = ("ack", "win", "ip_id")  # what an event may have, and a frame has
_OTHERS = ("proto", "src", "sport", "dst", "dport", "len", "ip_id", *protocols.stable())
_NUMBERS = ("seq", "ack", "flags", "len", "win")
_RESET = "tcp_reset"


class Links:
    """Events of one run against the segments of its capture (``kernlab.record.segments``)."""

    def __init__(self, segments: Iterable[Mapping[str, Any]]) -> None:
        self._segments = list(segments)
        self._indices: dict[tuple[str, ...], dict[tuple[Any, ...], list[Mapping[str, Any]]]] = {}
        self._by_end: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        self._resets: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        self._of: dict[str, int] = {}
        self._taken: dict[int, str] = {}  # frame → packet
        self._epoch: int | None = None  # of the guest's monotonic clock, ns since 1970
        for one in self._segments:
            packet = one["packet"]
            for key in _end_keys(packet):
                self._by_end.setdefault(key, []).append(one)
            if "R" in packet.get("flags", ""):
                self._resets.setdefault(_way(packet), []).append(one)

    def take(self, event: Mapping[str, Any]) -> int | None:
        """The number of the event's frame; None where there is none, or it is not told."""
        frame = (event.get("rst") or {}).get("frame")
        if isinstance(frame, int):
            return frame
        packet = event.get("packet") or {}
        name = packet.get("id")
        number = self._pick(packet, name, event.get("guest_ns"))
        if number is None and name in self._of:
            return self._of[name]
        if number is None and "src" not in packet and event.get("probe") == _RESET:
            number = self._reset(event)
        if number is not None and name is not None:
            self._of[name] = number
            self._taken.setdefault(number, name)
        return number

    def refused(self, event: Mapping[str, Any]) -> int | None:
        """Of an event that is about its RST's frame: the number of the segment's that the RST
        answers; None where it answers none."""
        packet = event.get("packet") or {}
        if "frame" not in (event.get("rst") or {}) or "R" in str(packet.get("flags", "R")):
            return None
        number = self._pick(packet, packet.get("id"), event.get("guest_ns"))
        return self._of.get(packet.get("id", "")) if number is None else number

    def _pick(self, packet: Mapping[str, Any], name: str | None, at: int | None) -> int | None:
        if "src" not in packet:
            return None
        if "seq" not in packet:
            return self._without_numbers(packet, name)
        all_fit = self._alike(packet)
        if not all_fit:
            return self._of.get(name) if name in self._of else self._translated(packet)
        if len(all_fit) == 1:
            if at is not None:
                self._epoch = all_fit[0]["at"] - at
            return int(all_fit[0]["number"])
        if "ip_id" not in packet and at is not None and self._epoch is not None:
            return self._nearest(all_fit, at)
        if name in self._of and any(one["number"] == self._of[name] for one in all_fit):
            return self._of[name]
        free = [one for one in all_fit if self._taken.get(one["number"], name) == name]
        return int((free or all_fit)[0]["number"])  # one packet may have got two ids

    def _without_numbers(self, packet: Mapping[str, Any], name: str | None) -> int | None:
        """The frame of a packet that is no segment: the only one that agrees, or the first of
        several that no other packet was."""
        if name in self._of or "proto" not in packet:
            return self._of.get(name or "")
        names = tuple(one for one in _OTHERS if one in packet)
        index = self._indices.get(names)
        if index is None:
            index = self._indices[names] = {}
            for one in self._segments:
                if "seq" not in one["packet"]:
                    index.setdefault(_values(one["packet"], names), []).append(one)
        rows = index.get(_values(packet, names), ())
        free = [one for one in rows if self._taken.get(one["number"], name) == name]
        return int(free[0]["number"]) if free and (len(rows) == 1 or name is not None) else None

    def _alike(self, packet: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The frames that agree with all that the event has. An acknowledgement number may
        have moved on since."""
        more = tuple(name for name in _MORE if name in packet)
        for names in (more, more[1:]) if more[:1] == ("ack",) else (more,):
            names = (*_KEY, *names)
            index = self._indices.get(names)
            if index is None:  # a bulk run has thousands of ACKs that agree in all but one
                index = self._indices[names] = {}
                for one in self._segments:
                    index.setdefault(_values(one["packet"], names), []).append(one)
            rows = index.get(_values(packet, names), ())
            found = [one for one in rows if _stamped(packet, one["packet"])]
            if found:
                return found
        return []

    def _nearest(self, rows: Iterable[Mapping[str, Any]], at: int) -> int:
        then = at + (self._epoch or 0)
        return int(min(rows, key=lambda one: abs(one["at"] - then))["number"])

    def _translated(self, packet: Mapping[str, Any]) -> int | None:
        """The only frame with the same numbers and one of the same ends."""
        rows = [one for key in _end_keys(packet) for one in self._by_end.get(key, ())]
        rows = [one for one in rows if _stamped(packet, one["packet"])]
        return int(rows[0]["number"]) if len(rows) == 1 else None

    def _reset(self, event: Mapping[str, Any]) -> int | None:
        """The RST that a socket got."""
        sock = event.get("sock") or {}
        rows = self._resets.get(
            _way(
                {
                    "src": sock.get("dst"),
                    "sport": sock.get("dport"),
                    "dst": sock.get("src"),
                    "dport": sock.get("sport"),
                }
            ),
            [],
        )
        at = event.get("guest_ns")
        if len(rows) > 1 and at is not None and self._epoch is not None:
            return self._nearest(rows, at)
        return int(rows[0]["number"]) if len(rows) == 1 else None


def _values(packet: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(packet.get(name) for name in names)


def _way(packet: Mapping[str, Any]) -> tuple[Any, ...]:
    return _values(packet, _KEY[:4])


def _end_keys(packet: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """By its numbers and one end: of a segment whose acknowledgement says which it answers."""
    if not packet.get("ack") or "A" not in str(packet.get("flags", "")):
        return []
    return [
        (side, *_values(packet, (*side, *_NUMBERS)))
        for side in (("src", "sport"), ("dst", "dport"))
    ]


def _stamped(packet: Mapping[str, Any], wire: Mapping[str, Any]) -> bool:
    """Whether the timestamps agree, where both have them."""
    mine, theirs = (list((one.get("options") or {}).get("ts") or ()) for one in (packet, wire))
    return not (mine and theirs) or mine == theirs
