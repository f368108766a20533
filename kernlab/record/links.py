"""Which frame of the capture an event is about.

By headers, which both have: addresses, sequence number, flags, length; among frames that
agree in these (a segment sent again) by IP identification and timestamps. Once one event of
a packet is placed, all of that packet are (``packet.id``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_KEY = ("src", "sport", "dst", "dport", "seq", "flags", "len")


class Links:
    """Events of one run against the segments of its capture (``kernlab.record.segments``)."""

    def __init__(self, segments: Iterable[Mapping[str, Any]]) -> None:
        self._by_key: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        self._of: dict[str, int] = {}
        self._taken: dict[int, str] = {}  # frame → packet
        for one in segments:
            self._by_key.setdefault(_key(one["packet"]), []).append(one)

    def take(self, event: Mapping[str, Any]) -> int | None:
        """The number of the event's frame; None where there is none, or it is not told."""
        frame = (event.get("rst") or {}).get("frame")
        if isinstance(frame, int):
            return frame
        packet = event.get("packet") or {}
        name = packet.get("id")
        if name in self._of:
            return self._of[name]
        number = self._pick(packet, name)
        if number is not None and name is not None:
            self._of[name] = number
            self._taken.setdefault(number, name)
        return number

    def _pick(self, packet: Mapping[str, Any], name: str | None) -> int | None:
        if "seq" not in packet or "src" not in packet:
            return None
        fits = [one for one in self._by_key.get(_key(packet), ()) if _fits(packet, one["packet"])]
        free = [one for one in fits if self._taken.get(one["number"], name) == name]
        best = (free or fits)[:1]  # one packet may have got two ids, where nothing told
        return int(best[0]["number"]) if best else None


def _key(packet: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(packet.get(name) for name in _KEY)


def _fits(packet: Mapping[str, Any], wire: Mapping[str, Any]) -> bool:
    for name in ("ip_id", "win"):
        if name in packet and name in wire and packet[name] != wire[name]:
            return False
    mine, theirs = (list((one.get("options") or {}).get("ts") or ()) for one in (packet, wire))
    return not (mine and theirs) or mine == theirs
