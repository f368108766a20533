"""RSTs of a capture that no TCP of the guest sent, as far as the probes tell: where they came
from, who may have sent them, and what their shape says."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kernlab.reasons.origin import Traits, doubts
from kernlab.reasons.pairs import Reset, ends, way
from kernlab.reasons.report import on_wire
from kernlab.reasons.wire import shape
from kernlab.record.event import begin

FOREIGN = "foreign"
_SHAPES = {
    "active": "ACK set and a window: a socket on the sending side ended the connection, or a "
    "program that writes such a header",
    "passive": "no ACK, window 0: the answer to a segment with ACK, or a header made by hand",
    "passive-syn": "ACK set, sequence number 0, window 0: the answer to a SYN that nobody takes "
    "(a closed port, or a firewall that rejects with a RST)",
    "other": "no shape of Linux's TCP: another stack, a device in between, or a header made by "
    "hand",
}


def rows(
    left: Sequence[Reset],
    segments: Sequence[Mapping[str, Any]],
    injectors: Sequence[str] = (),
    errors: Sequence[Mapping[str, Any]] = (),
) -> Iterator[dict[str, Any]]:
    """An event for each RST that no sender's call has claimed. ``segments``: the whole
    capture's; ``injectors``: the tasks that sent headers of their own; ``errors``: events of
    sock_def_error_report(), sockets that were told of a failure."""
    flows: dict[int, list[Mapping[str, Any]]] = {}
    for segment in segments:
        flows.setdefault(segment["flow"], []).append(segment)
    for one in left:
        yield _row(one, flows.get(one.segment["flow"], []), injectors, errors)


def _row(
    one: Reset,
    segments: Sequence[Mapping[str, Any]],
    injectors: Sequence[str],
    errors: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    segment = one.segment
    packet = segment["packet"]
    outside = came_in(segment)
    kind = shape(packet)
    answered = _answered(segment, segments)
    says = _SHAPES[kind]
    refuses = answered is not None and answered["packet"]["flags"] in ("S", "SEC")
    if answered is not None and refuses:
        kind = "passive-syn"  # whatever its window is: other stacks than Linux give one
        says = (
            f"it answers the SYN of frame {answered['number']}: nobody takes it there (a closed "
            "port), or a firewall rejects it"
        )
    doubtful = _doubts(segment, kind, segments)
    if doubtful and kind == "active":
        kind = "other"
        says = "its header looks like a socket's own RST, but the sender's socket did not send it"
    evidence = list(_hurt(packet, errors))
    if doubtful is None:
        evidence.insert(0, "there is no earlier packet of this sender to compare it with")
    elif not doubtful:
        evidence.insert(0, "its TTL and IP id are like those of the sender's other packets")
    said: dict[str, Any] = {
        "cause": FOREIGN,
        "kind": FOREIGN,
        "probe": "capture",
        "name": "came from outside" if outside else "no TCP of this guest sent it",
        "says": _outside(segment, bool(doubtful)) if outside else _inside(segment, injectors),
        "from": "outside" if outside else "inside",
        "shape": kind,
        "condition": "; ".join([says, *evidence]),
        "counters": [],
        "errno": {"peer": _errno(refuses)},
        "remedy": _remedy(outside, bool(injectors)),
        "labs": [],
        **on_wire(segment),
    }
    if answered is not None:
        said["answers_frame"] = answered["number"]
    if doubtful:
        said["doubts"] = doubtful
    shown = {key: value for key, value in packet.items() if key not in ("rseq", "rack")}
    event = begin("capture", "capture", 0, {"func": ""}, segment["at"])
    return {**event, "packet": shown, "rst": said}


def came_in(segment: Mapping[str, Any]) -> bool:
    """Whether a frame was first seen coming in at a device that is not the loopback's."""
    packet = segment["packet"]
    loopback = segment.get("interface") == "lo" or segment.get("ifindex") == 1
    local = packet["src"] == packet["dst"] or str(packet["src"]).startswith("127.")
    return segment.get("outgoing") is False and not loopback and not local


def _outside(segment: Mapping[str, Any], doubtful: bool) -> str:
    packet = segment["packet"]
    device = segment.get("interface", "a device")
    if doubtful:
        return (
            f"It came in at {device} in the name of {packet['src']} port {packet['sport']}, but is "
            "not like what that host sends: a device on the way (a firewall, a proxy), or another "
            "host, wrote it."
        )
    return (
        f"It came in at {device} from {packet['src']} port {packet['sport']}: that host sent it, "
        "or a device on the way in its name."
    )


def _inside(segment: Mapping[str, Any], injectors: Sequence[str]) -> str:
    packet = segment["packet"]
    device = segment.get("interface", "this guest")
    text = (
        f"It was seen at {device} in the name of {packet['src']} port {packet['sport']}, but none "
        "of the functions that send a RST was called for it: it was written by hand (a raw or "
        "packet socket, NFQUEUE, a BPF program)."
    )
    if injectors:
        text += f" Such packets were sent by {', '.join(injectors)}."
    return text


def _doubts(
    segment: Mapping[str, Any], kind: str, segments: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]] | None:
    """What speaks against the sender that the RST names, as ``kernlab.reasons.origin`` gives
    it; None where there is nothing of the sender to compare with."""
    packet = segment["packet"]
    sides: dict[Any, Traits] = {}
    for one in segments:
        if one["number"] >= segment["number"]:
            break
        if "R" not in one["packet"]["flags"]:
            sides.setdefault(way(one["packet"])[:2], Traits()).learn(one["packet"])
    sender = sides.get(way(packet)[:2], Traits())
    receiver = sides.get(way(packet)[2:], Traits())
    found = doubts(packet, kind == "active", sender, receiver)
    return found if found or sender.sent else None


def _hurt(packet: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the socket at the other end made of it: it ends for the number that it expects
    (RFC 5961, 3.2), or in SYN_SENT for its own number acknowledged."""
    for event in errors:
        sock = event["sock"]
        if ends({"sock": sock}) != (packet["dst"], packet["dport"], packet["src"], packet["sport"]):
            continue
        name = errno.errorcode.get(sock.get("err"), "an error")
        who = f"the socket at {packet['dst']} port {packet['dport']}"
        if sock.get("state") == "SYN_SENT":
            fits = packet.get("ack") == sock.get("snd_nxt")
        else:
            fits = packet["seq"] == sock.get("rcv_nxt")
        if fits:
            yield f"{who} took it and got {name}"
        else:
            yield f"{who} expected another number, {sock.get('rcv_nxt')}: not this one ended it"


def _answered(
    segment: Mapping[str, Any], segments: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """The last segment of the other side whose numbers the RST takes up."""
    packet = segment["packet"]
    going = way(packet)
    found = None
    for one in segments:
        if one["number"] >= segment["number"]:
            break
        other = one["packet"]
        if way(other) != (*going[2:], *going[:2]) or "R" in other["flags"]:
            continue
        if "A" not in packet["flags"]:
            fits = "A" in other["flags"] and other.get("ack") == packet["seq"]
        else:
            length = other.get("len", 0) + ("S" in other["flags"]) + ("F" in other["flags"])
            fits = (other["seq"] + length) & 0xFFFFFFFF == packet.get("ack")
        found = one if fits else found
    return found


def _errno(refuses: bool) -> str:
    if refuses:
        return "connect(): ECONNREFUSED"
    return "recv(): ECONNRESET once, then 0; send(): EPIPE, if the numbers fit"


def _remedy(outside: bool, known: bool) -> str:
    if outside:
        return (
            "Ask at the other host: does the server run and listen, does a firewall reject? A TTL "
            "or IP id beside its others points to a device in between (traceroute to it)."
        )
    if known:
        return "Find out why the task that is named here writes RSTs."
    return "Look for programs with raw or packet sockets (ss -0 -wp), for NFQUEUE rules and BPF."
