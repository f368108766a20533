"""RSTs in a capture: what their shape tells, and which causes fit it.

The shapes (RFC 9293 3.10.7; net/ipv4/tcp_ipv4.c tcp_v4_send_reset(), net/ipv4/tcp_output.c
tcp_send_active_reset()):

    active       ACK set, a window: sent through a socket, which knows what it received
    passive      no ACK, sequence number = the ACK number of the segment it answers, window 0,
                 no options
    passive-syn  ACK set, sequence number 0, window 0: it answers a segment without ACK

A RST that fits none (middleboxes and other stacks send such) is said to fit none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kernlab.config.text import Language, say
from kernlab.config.yaml import listed
from kernlab.decode import expr
from kernlab.reasons import model
from kernlab.reasons.model import Reason, Reasons
from kernlab.record.segments import segments

Shape = model.Shape | Literal["other"]


@dataclass
class _Seen:
    """What a connection has shown so far, each side's part under its address and port."""

    syn: set[Any] = field(default_factory=set)
    fin: set[Any] = field(default_factory=set)
    data: set[Any] = field(default_factory=set)
    reset: set[Any] = field(default_factory=set)
    last: dict[Any, dict[str, Any]] = field(default_factory=dict)
    established: bool = False


def shape(packet: Mapping[str, Any]) -> Shape:
    """A RST's shape by its own header."""
    flags = str(packet["flags"])
    if "A" not in flags:
        return "passive" if not packet["win"] and not packet.get("options") else "other"
    if not packet["seq"] and not packet["win"]:
        return "passive-syn"
    return "active" if packet["win"] else "other"


def explained(path: Path, reasons: Reasons, language: Language = "en") -> Iterator[dict[str, Any]]:
    """Each RST of a capture: ``packet``, ``before.provoked`` (the segment it may answer),
    ``connection`` (what had been seen of it) and ``rst`` with ``shape``, ``causes`` that fit,
    ``labs``, and in words what cannot be told. Raises ``BadInput`` for no capture."""
    known: dict[int, _Seen] = {}
    for segment in segments(path):
        seen = known.setdefault(segment["flow"], _Seen())
        packet = segment["packet"]
        if "R" in packet["flags"]:
            yield _row(segment, seen, reasons, language)
        _learn(seen, packet)


def _learn(seen: _Seen, packet: dict[str, Any]) -> None:
    flags, sender = packet["flags"], (packet["src"], packet["sport"])
    if "S" in flags:
        seen.syn.add(sender)
    if "F" in flags:
        seen.fin.add(sender)
    if packet.get("len"):
        seen.data.add(sender)
    if "R" in flags:
        seen.reset.add(sender)
    if len(seen.syn) == 2 and "A" in flags and "S" not in flags:
        seen.established = True
    seen.last[sender] = packet


def _row(segment: dict[str, Any], seen: _Seen, reasons: Reasons,
         language: Language) -> dict[str, Any]:  # fmt: skip
    packet = segment["packet"]
    sender, receiver = (packet["src"], packet["sport"]), (packet["dst"], packet["dport"])
    kind = shape(packet)
    provoked = seen.last.get(receiver) if kind != "active" else None
    row: dict[str, Any] = {
        "number": segment["number"],
        "at": segment["at"],
        "flow": segment["flow"],
        "packet": packet,
        "connection": {
            "established": seen.established,
            "sender_fin": sender in seen.fin,
            "receiver_fin": receiver in seen.fin,
            "sender_syn": sender in seen.syn,
            "sender_data": sender in seen.data,
            "receiver_data": receiver in seen.data,
            "receiver_reset": receiver in seen.reset,
        },
    }
    if provoked is not None:
        row["before"] = {"provoked": {"packet": provoked}}
    causes = [key for key, reason in reasons.items() if _fits(reason, kind, row)]
    row["rst"] = {
        "shape": kind,
        "causes": [{"id": key, "name": say(reasons[key].name, language)} for key in causes],
        "labs": sorted({lab for key in causes for lab in reasons[key].labs}),
        "answers": bool(provoked is not None and _answers(packet, provoked)),
    }
    return row


def _fits(reason: Reason, kind: Shape, row: Mapping[str, Any]) -> bool:
    wire = reason.wire
    if wire is None:
        return False
    shapes: list[model.Shape] = listed(wire.shape)
    if kind not in shapes:
        return False
    # A field that the capture does not have (it began too late) rules nothing out.
    return wire.when is None or expr.parse(wire.when).evaluate(row) is not False


def _answers(packet: Mapping[str, Any], provoked: Mapping[str, Any]) -> bool:
    """Whether the RST's numbers are those that answer this segment (RFC 9293 3.10.7.1)."""
    if "A" in provoked["flags"]:
        return bool(packet["seq"] == provoked["ack"])
    length = provoked.get("len", 0) + ("S" in provoked["flags"]) + ("F" in provoked["flags"])
    return bool(packet["ack"] == (provoked["seq"] + length) & 0xFFFFFFFF)
