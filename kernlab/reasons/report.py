"""A RST's event with all that is known of it, for the record and for every view."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernlab.config.text import Language
from kernlab.decode.names import TCP_STATES
from kernlab.reasons.match import Finding

_AROUND = 1  # source lines shown before and after the deciding one
_PARTS = ("seq", "ack", "win", "flags", "rseq", "rack", "ttl", "ip_id", "options",
          "src", "sport", "dst", "dport", "family")  # fmt: skip


def complete(finding: Finding, wire: Mapping[str, Any] | None = None,
             after: Iterable[Mapping[str, Any]] = (), counters: Mapping[str, int] | None = None,
             source: Path | None = None, language: Language = "en") -> dict[str, Any]:  # fmt: skip
    """The sender's event with ``rst`` (the finding) and ``before`` (what led to it) added.

    ``wire``: the RST as captured; ``after``: later events, among which the socket's new
    state is looked for; ``counters``: what moved; ``source``: the kernel's tree.
    """
    said = finding.as_data(language)
    if wire is not None:
        packet = wire["packet"]
        said["segment"] = {key: packet[key] for key in _PARTS if key in packet}
        said["frame"] = wire["number"]
    state = state_after(finding, after)
    if state is not None:
        said["state_after"] = state
    if counters is not None:
        said["moved"] = dict(counters)
    if source is not None and finding.decides is not None:
        lines = source_lines(source, finding.event["stack"][finding.decides])
        if lines:
            said["source"] = lines
    before = {
        probe: {k: v for k, v in event.items() if k not in ("stack", "v", "engine")}
        for probe, event in finding.before.items()
    }
    return {**finding.event, **({"before": before} if before else {}), "rst": said}


def state_after(finding: Finding, later: Iterable[Mapping[str, Any]]) -> str | None:
    """The socket's state after the RST: its own at the send, or what it is set to next."""
    sock = finding.event.get("sock") or {}
    state = sock.get("state")
    if state == "CLOSE" or "addr" not in sock:
        return state
    for event in later:
        own = event.get("sock") or {}
        if event.get("probe") == "tcp_set_state" and own.get("addr") == sock["addr"]:
            number = (event.get("args") or {}).get("state")
            return TCP_STATES.get(number, state) if isinstance(number, int) else state
    return state


def ends(event: Mapping[str, Any]) -> tuple[str, int, str, int] | None:
    """From where to where the RST goes: the sock's way, or back where the segment came from."""
    packet, sock = event.get("packet"), event.get("sock") or {}
    try:
        if packet is not None:  # the segment that is refused; a socket's own RST has none
            return packet["dst"], packet["dport"], packet["src"], packet["sport"]
        return _plain(sock["src"]), sock["sport"], _plain(sock["dst"]), sock["dport"]
    except KeyError:
        return None


def _plain(address: str) -> str:
    """An IPv6 socket may carry IPv4 (RFC 4291, 2.5.5.2): the wire has the IPv4 address."""
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


class Wire:
    """The RSTs of a capture, each claimed once by the event that sent it."""

    def __init__(self) -> None:
        self._resets: list[dict[str, Any]] = []

    def add(self, segments: Iterable[dict[str, Any]]) -> None:
        """Segments in the order of the capture."""
        self._resets += [one for one in segments if "R" in one["packet"]["flags"]]

    def claim(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """The first unclaimed RST that goes this event's way."""
        way = ends(event)
        for number, one in enumerate(self._resets):
            packet = one["packet"]
            if way == (packet["src"], packet["sport"], packet["dst"], packet["dport"]):
                return self._resets.pop(number)
        return None


def source_lines(tree: Path, frame: Mapping[str, Any]) -> list[list[Any]]:
    """The line of a frame and its neighbours, as [number, text]; empty when there is none."""
    file, line = frame.get("file"), frame.get("line")
    if not file or not line:
        return []
    try:
        text = (tree / file).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    first = max(1, line - _AROUND)
    rows = text[first - 1 : line + _AROUND]
    return [[first + n, row.expandtabs(8).rstrip()] for n, row in enumerate(rows)]


def completed(
    found: Sequence[Finding],
    events: Sequence[Mapping[str, Any]],
    segments: Iterable[dict[str, Any]],
    source: Path | None = None,
) -> list[dict[str, Any]]:
    """Every finding of a run that is over, with its RST from the capture."""
    wire = Wire()
    wire.add(segments)
    order = {id(event): number for number, event in enumerate(events)}
    rows = []
    for finding in found:
        later = events[order[id(finding.event)] + 1 :]
        rows.append(complete(finding, wire.claim(finding.event), later, source=source))
    return rows
