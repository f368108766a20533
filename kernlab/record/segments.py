"""A capture's TCP segments as an expression sees them: like events, with a packet alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernlab.decode import protocols
from kernlab.record.container import Capture, Captured, read
from kernlab.record.dissect import best, dissected, own, packet_of
from kernlab.record.dissected import Dissected, Tally
from kernlab.record.flows import Flows


class Segments:
    """Frames one after the other; knows the connections seen so far, or the last ``most``."""

    def __init__(self, most: int | None = None) -> None:
        self._flows = Flows(most)
        self._number = 0

    def take(self, frame: Captured) -> dict[str, Any] | None:
        """The frame's segment, as ``segments`` gives it; None when it holds none."""
        self._number += 1
        return self.place(own(self._number, frame))

    def place(self, frame: Dissected) -> dict[str, Any] | None:
        """The same of a frame that was dissected."""
        fields = frame.fields
        taken = None if fields is None else self._flows.take(fields, frame.within)
        if fields is None or taken is None:
            return None
        flow, client = taken
        _relate(fields, flow.relative)
        window = flow.window((fields["src"], fields["sport"]), fields)
        if window is not None:
            fields["wnd"] = window
        found = {
            "number": frame.number,
            "at": frame.at,
            "flow": flow.number,
            "client": client,
            "packet": fields,
        }
        if frame.interface:
            found["interface"] = frame.interface
        if frame.outgoing is not None:
            found["outgoing"] = frame.outgoing
        if frame.ifindex is not None:
            found["ifindex"] = frame.ifindex
        if frame.within:
            found["within"] = list(frame.within)
        return found


def segments(path: Path) -> list[dict[str, Any]]:
    """The TCP segments of a capture of ours in its order, each as ``{"number", "at", "flow",
    "client", "packet"}``.

    ``number`` is the frame's in the file, from 1; ``at`` in ns since 1970; ``flow`` counts
    connections from 1; ``client``: whether the connection's opener sent it; ``interface``
    the device's name, ``ifindex`` its number, ``outgoing`` whether it went out there (of a
    loopback's frames the capture has the incoming alone), ``within`` the networks around it
    ("vlan 5"), where the capture has them. The packet has, beside the fields of an event's,
    ``rseq`` and ``rack``: sequence numbers counted from each side's initial one, and ``wnd``:
    the window in bytes where it is scaled, as far as the SYNs were seen.
    Raises ``BadInput`` for a file that is not a capture.
    """
    taker = Segments()
    return [one for one in map(taker.take, read(path)) if one is not None]


def others(path: Path) -> list[dict[str, Any]]:
    """The packets of a capture of ours that are no TCP segment, each as ``{"number", "at",
    "packet"}``, by our own decoder. Raises ``BadInput`` for a file that is no capture."""
    found = []
    for number, frame in enumerate(read(path), 1):
        fields = packet_of(frame)
        if fields is not None and "flags" not in fields:
            found.append({"number": number, "at": frame.at, "packet": fields})
    return found


class Stream:
    """The segments of any capture, one at a time: iterating gives each with the frame it came
    in. ``tally`` counts frames, ``cut`` is where the file was cut, ``reader`` who dissects.

    No more than ``most`` connections are known at a time. ``reader``: other than the best that
    this host has. Raises ``BadInput`` for no
    capture and for one that is damaged, ``WeFailed`` where the dissector does not answer.
    """

    def __init__(self, path: Path, most: int, reader: str | None = None) -> None:
        self._path, self._most = path, most
        self.tally = Tally()
        self.cut: int | None = None
        self.reader = reader or best()

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Dissected]]:
        taker = Segments(self._most)
        with Capture(self._path) as capture:
            for frame in dissected(self.reader, capture):
                self.tally.take(frame)
                segment = taker.place(frame)
                if segment is not None:
                    yield segment, frame
            self.cut = capture.cut


def _relate(fields: dict[str, Any], relative: Any) -> None:
    seq = relative((fields["src"], fields["sport"]), fields["seq"])
    if seq is not None:
        fields["rseq"] = seq
    if "A" in fields["flags"]:
        ack = relative((fields["dst"], fields["dport"]), fields["ack"])
        if ack is not None:
            fields["rack"] = ack


def text(segment: dict[str, Any]) -> str:
    """A segment on one line, as tcpdump writes it: flags, numbers, window, length."""
    packet = segment["packet"]
    ends = f"{packet.get('sport', '?')} > {packet.get('dport', '?')}"
    return f"{ends} {protocols.TCP.line(packet)}"
