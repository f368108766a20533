"""A capture's TCP segments as an expression sees them: like events, with a packet alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kernlab.decode.packet import packet as decode
from kernlab.record.flows import Flows
from kernlab.record.pcapng import Captured, inner, read

_ETHERTYPES = (0x0800, 0x86DD)


class Segments:
    """Frames one after the other; knows the connections seen so far."""

    def __init__(self) -> None:
        self._flows = Flows()
        self._number = 0

    def take(self, frame: Captured) -> dict[str, Any] | None:
        """The frame's segment, as ``segments`` gives it; None when it holds none."""
        self._number += 1
        inside = inner(frame)
        if inside is None or inside.ethertype not in _ETHERTYPES:
            return None
        fields = decode(inside.data)
        if fields is None or fields.get("proto") != "tcp" or "flags" not in fields:
            return None
        taken = self._flows.take(fields)
        if taken is None:
            return None
        flow, client = taken
        _relate(fields, flow.relative)
        found = {"number": self._number, "at": frame.at, "flow": flow.number, "client": client,
                 "packet": fields}  # fmt: skip
        if frame.interface:
            found["interface"] = frame.interface
        if inside.outgoing is not None:
            found["outgoing"] = inside.outgoing
        if inside.ifindex is not None:
            found["ifindex"] = inside.ifindex
        return found


def segments(path: Path) -> list[dict[str, Any]]:
    """The TCP segments of a capture in its order, each as ``{"number", "at", "flow",
    "client", "packet"}``.

    ``number`` is the frame's in the file, from 1; ``at`` in ns since 1970; ``flow`` counts
    connections from 1; ``client``: whether the connection's opener sent it; ``interface``
    the device's name, ``ifindex`` its number, ``outgoing`` whether it went out there (of a
    loopback's frames the capture has the incoming alone), where the capture has them. The
    packet has, beside the fields of an event's, ``rseq`` and ``rack``: sequence numbers
    counted from each side's initial one, as far as it was seen. Raises ``BadInput`` for
    a file that is no capture.
    """
    taker = Segments()
    return [one for one in map(taker.take, read(path)) if one is not None]


def _relate(fields: dict[str, Any], relative: Any) -> None:
    seq = relative((fields["src"], fields["sport"]), fields["seq"])
    if seq is not None:
        fields["rseq"] = seq
    if "A" in fields["flags"]:
        ack = relative((fields["dst"], fields["dport"]), fields["ack"])
        if ack is not None:
            fields["rack"] = ack


def text(segment: dict[str, Any]) -> str:
    """A segment on one line, as tcpdump writes it: flags, numbers, window, length. One that
    has no header yet (an skb of the retransmit queue) has no window."""
    packet = segment["packet"]
    flags = str(packet["flags"])
    shown = "".join(letter for letter in "SFRPUEC" if letter in flags)
    shown += "." if "A" in flags else ""
    parts = [f"{packet['sport']} > {packet['dport']} [{shown}]"]
    length = packet.get("len", 0)
    seq = packet.get("rseq", packet["seq"])
    if "S" in flags or length or "F" in flags or "R" in flags:
        parts.append(f"seq {seq}:{seq + length}" if length else f"seq {seq}")
    if "A" in flags:
        parts.append(f"ack {packet.get('rack', packet.get('ack', '?'))}")
    if "win" in packet:
        parts.append(f"win {packet['win']}")
    if length:
        parts.append(f"len {length}")
    return " ".join(parts)
