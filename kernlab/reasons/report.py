"""A RST's event with all that is known of it, for the record and for every view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernlab.config.text import Language
from kernlab.decode.names import TCP_STATES
from kernlab.reasons import watch
from kernlab.reasons.history import History
from kernlab.reasons.match import Finding
from kernlab.reasons.pairs import Wire
from kernlab.reasons.watch import RstTable
from kernlab.record.source import excerpt

_AROUND = 1  # source lines shown before and after the deciding one
_PARTS = (
    "seq",
    "ack",
    "win",
    "flags",
    "rseq",
    "rack",
    "ttl",
    "ip_id",
    "options",
    "src",
    "sport",
    "dst",
    "dport",
    "family",
)


def complete(
    finding: Finding,
    wire: Mapping[str, Any] | None = None,
    after: Iterable[Mapping[str, Any]] = (),
    counters: Mapping[str, int] | None = None,
    source: Path | None = None,
    language: Language = "en",
    history: Mapping[str, Any] | None = None,
    stopped: bool = False,
    sent: bool | None = None,
    rules: RstTable | None = None,
) -> dict[str, Any]:
    """The sender's event with ``rst`` (the finding) and ``before`` (what led to it) added.

    ``wire``: the RST as captured; ``after``: later events, among which the socket's new
    state is looked for; ``counters``: what moved; ``source``: the kernel's tree; ``history``:
    what the connection had seen (``kernlab.reasons.history``); ``stopped``: whether the
    program was being ended when it was sent; ``sent``: whether it was seen to leave, None
    where nobody looked.
    """
    said = finding.as_data(language)
    if stopped:
        said["stopped"] = 1
    if sent is not None:
        said["sent"] = sent
    if finding.passed is not None:
        said["built"] = finding.passed
    if wire is not None:
        said |= on_wire(wire)
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
    event: dict[str, Any] = {**finding.event, **({"before": before} if before else {})}
    if history:
        event["history"] = dict(history)
    event["rst"] = said
    watch.apply(said, event, watch.table() if rules is None else rules, language)
    return event


def on_wire(segment: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a RST's own segment: its fields, the frame and the device."""
    packet = segment["packet"]
    said = {
        "segment": {key: packet[key] for key in _PARTS if key in packet},
        "frame": segment["number"],
    }
    if "interface" in segment:
        said["device"] = segment["interface"]
    return said


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


def source_lines(tree: Path, frame: Mapping[str, Any]) -> list[list[Any]]:
    """The line of a frame and its neighbours, as [number, text]; empty when there is none."""
    return excerpt(tree, frame.get("file"), frame.get("line"), _AROUND)


def completed(
    found: Sequence[Finding],
    events: Sequence[Mapping[str, Any]],
    segments: Iterable[dict[str, Any]],
    source: Path | None = None,
) -> list[dict[str, Any]]:
    """Every finding of a run that is over, with its RST from the capture."""
    wire, history = Wire(), History()
    rules = watch.table()
    told = list(segments)
    wire.add(told)
    for segment in told:
        history.segment(segment)
    order = {id(event): number for number, event in enumerate(events)}
    rows = []
    for finding in found:
        later = events[order[id(finding.event)] + 1 :]
        sent, provoked = wire.claim(finding.event), wire.provoked(finding.event)
        rows.append(
            complete(
                finding,
                sent,
                later,
                source=source,
                rules=rules,
                history=history.of(finding, sent, provoked),
            )
        )
    return rows
