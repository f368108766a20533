"""A stop in words: the frame that stands for it, its place, its packet and its socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernlab.decode import protocols
from kernlab.record.segments import text as segment_text


def frames(
    stack: Sequence[Mapping[str, Any]], entry: bool, waits: bool
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The frame that stands for the stop and the one that called it. Of what is inlined the
    real function is meant; of who waits, who wants the lock."""
    if not stack:
        return {}, {}
    if entry:
        return stack[0], stack[1]
    rest = list(stack[1:] if waits and len(stack) > 1 else stack)
    real = next((one for one in rest if not one.get("inlined")), rest[0])
    return real, {}


def func_of(frame: Mapping[str, Any]) -> str:
    return f"{frame['func']}()" if frame.get("func") else ""


def place(frame: Mapping[str, Any]) -> str:
    """``file:line`` of a frame; empty where it has none."""
    return f"{frame['file']}:{frame['line']}" if frame.get("file") and frame.get("line") else ""


def packet_of(packet: Mapping[str, Any]) -> str:
    """A packet that the capture does not have."""
    if "flags" in packet and "win" in packet:
        return segment_text({"packet": dict(packet)})
    ends, said = protocols.ends(packet), protocols.line(packet)
    return f"{protocols.title(packet)} {ends} {said}".rstrip()


def socket_of(sock: Mapping[str, Any]) -> str:
    state = str(sock.get("state", "?"))
    if "substate" in sock:
        state += f" ({sock['substate']})"
    if not sock.get("sport"):
        return state
    if not sock.get("dport"):
        return f"{state}  port {sock['sport']}"
    return f"{state}  {sock['sport']} ⇄ {sock['dport']}"
