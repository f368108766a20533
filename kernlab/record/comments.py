"""What the kernel did with each frame, as a comment that Wireshark shows beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernlab.decode import protocols
from kernlab.record import drops
from kernlab.record.links import Links
from kernlab.record.pcapng import losses, read, write
from kernlab.record.segments import others, segments

_HOPS = 24  # lines of a comment
_FRAMES = 4  # of a stack


def comments(
    events: Iterable[Mapping[str, Any]], wire: Sequence[Mapping[str, Any]]
) -> dict[int, list[str]]:
    """A frame's number → lines, one for each event that is about it, in their order."""
    links = Links(wire)
    found: dict[int, list[str]] = {}
    for event in events:
        frame = links.take(event)
        if frame is None:
            continue
        lines = found.setdefault(frame, [])
        if "rst" in event:
            lines[:0] = _verdict(event["rst"])
        if len(lines) < _HOPS:
            lines.append(_line(event))
        refused = links.refused(event)
        if refused is not None:
            found.setdefault(refused, []).append(f"{_line(event)}: the RST in frame {frame}")
    return found


def _verdict(rst: Mapping[str, Any]) -> list[str]:
    lines = [f"RST: {rst.get('cause')} {rst.get('name', 'no rule matches')}"]
    told = (
        ("why", "says"),
        ("because", "condition"),
        ("race", "race"),
        ("kernels", "kernels"),
        ("remedy", "remedy"),
    )
    return lines + [f"{key}: {rst[name]}" for key, name in told if rst.get(name)]


def _line(event: Mapping[str, Any]) -> str:
    sock, stack = event.get("sock") or {}, event.get("stack") or []
    parts = [f"#{event.get('seq')} {event.get('probe')}"]
    drop = drops.said(event)
    if drop:
        parts.append(drop.replace("dropped", "DROPPED", 1))
    device = (event.get("skb") or {}).get("dev")
    if device is not None:
        parts.append(f"on {device}")
    if "state" in sock:
        parts.append(str(sock["state"]))
    sends = protocols.sends(event)
    if sends:
        parts.append(sends)
    if "ret" in event:
        parts.append(f"= {event['ret']}")
    callers = [str(frame.get("func")) for frame in stack[1 : 1 + _FRAMES]]
    if callers:
        parts.append("< " + " < ".join(callers))
    return " ".join(parts)


def annotate(capture: Path, events: Iterable[Mapping[str, Any]]) -> int:
    """Write the comments into a capture; how many frames have one. Nothing is changed where
    there is none. Raises ``BadInput`` for a file that is no capture."""
    told = comments(events, [*segments(capture), *others(capture)])
    if told:
        text = {n: "\n".join(rows) for n, rows in told.items()}
        write(capture, read(capture), comments=text, lost=losses(capture))
    return len(told)
