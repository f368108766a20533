"""A frame and what it holds, whoever dissected it."""

from __future__ import annotations

from typing import Any, NamedTuple

from kernlab.record.container import SLL, SLL2, Captured, inner

CUT = "a truncated TCP header"
_MOST = 32  # kinds that are told apart


class Dissected(NamedTuple):
    """A frame: ``number`` from 1 in the file, ``at`` in ns since 1970, ``place`` where it was
    seen (its interface, as far as the capture tells). ``fields`` are those of
    ``decode.packet`` for a TCP segment, the innermost; None where it holds none. ``within``:
    the networks around it by their ids ("vlan 5"). ``unknown`` says what it is for a frame
    that was not understood."""

    number: int
    at: int
    interface: str
    outgoing: bool | None
    ifindex: int | None
    place: tuple[Any, ...]
    fields: dict[str, Any] | None = None
    within: tuple[str, ...] = ()
    unknown: str = ""


class Tally:
    """Counts frames, and those that were not understood by what they are."""

    def __init__(self) -> None:
        self.frames = 0
        self.unknown: dict[str, int] = {}

    @property
    def lost(self) -> int:
        return sum(self.unknown.values())

    def take(self, frame: Dissected) -> None:
        self.frames += 1
        if frame.unknown:
            known = frame.unknown in self.unknown or len(self.unknown) < _MOST
            key = frame.unknown if known else "others"
            self.unknown[key] = self.unknown.get(key, 0) + 1


def start(number: int, frame: Captured) -> Dissected:
    """What a frame's own record and its cooked header tell."""
    inside = inner(frame) if frame.linktype in (SLL, SLL2) else None
    outgoing = None if inside is None else inside.outgoing
    index = None if inside is None else inside.ifindex
    place = (frame.interface, index, outgoing)
    return Dissected(number, frame.at, frame.interface, outgoing, index, place)
