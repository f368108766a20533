"""RSTs in a capture: what their shape tells, and which causes fit it.

The shapes (RFC 9293 3.10.7; net/ipv4/tcp_ipv4.c tcp_v4_send_reset(), net/ipv4/tcp_output.c
tcp_send_active_reset(), net/ipv4/netfilter/nf_reject_ipv4.c nf_send_reset()):

    active       ACK set: sent through a socket, which knows what it received. Its window is
                 the socket's, 0 where the receive buffer is full
    passive      no ACK, sequence number = the ACK number of the segment it answers, window 0,
                 no options but those that sign (TCP-MD5, TCP-AO) and MPTCP's
    passive-syn  ACK set, sequence number 0, window 0: it answers a segment without ACK

A RST that fits none (middleboxes and other stacks send such) is said to fit none, and so is
an active one that the sender's socket cannot have sent (``origin``).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from kernlab.config.text import Language, say
from kernlab.config.yaml import listed
from kernlab.decode import expr
from kernlab.errors import KernlabError
from kernlab.reasons import model
from kernlab.reasons.answers import Side, same, seen_at
from kernlab.reasons.model import Reason, Reasons
from kernlab.reasons.origin import Traits, doubts
from kernlab.record.dissected import Dissected
from kernlab.record.segments import Stream

Shape = model.Shape | Literal["other"]
MOST = 20_000  # connections that are known at a time
_KEPT = 100_000  # segments of all of them that wait for an answer
_COPY = 10**9  # ns: the copy of a RST on another device comes within
_ROWS = 256  # RSTs that wait for their copies
_SIGNED = {"md5", "kind-29", "mptcp"}  # what tcp_v4_send_reset() adds: TCP-AO, MPTCP


@dataclass
class _Seen:
    """What a connection has shown so far, each side's part under its address and port."""

    syn: set[Any] = field(default_factory=set)
    fin: dict[Any, int] = field(default_factory=dict)  # what acknowledges it
    data: set[Any] = field(default_factory=set)
    reset: set[Any] = field(default_factory=set)
    sides: dict[Any, Side] = field(default_factory=dict)
    traits: dict[Any, Traits] = field(default_factory=dict)
    established: bool = False

    def side(self, end: Any) -> Side:
        return self.sides.setdefault(end, Side())

    def trait(self, end: Any) -> Traits:
        return self.traits.setdefault(end, Traits())

    @property
    def ended(self) -> bool:
        return bool(self.reset) or len(self.fin) > 1

    @property
    def kept(self) -> int:
        return sum(len(side.waiting) for side in self.sides.values())


def shape(packet: Mapping[str, Any]) -> Shape:
    """A RST's shape by its own header."""
    flags = set(str(packet["flags"]))
    if packet.get("len") or flags - set("RAE"):
        return "other"  # Linux' RSTs have no data and no other flag; ECE is a congested socket's
    if "A" not in flags:
        signed = set(packet.get("options", {})) <= _SIGNED
        return "passive" if not packet["win"] and signed and flags == {"R"} else "other"
    return "passive-syn" if not packet["seq"] and not packet["win"] else "active"


class Explained:
    """Each RST of a capture, iterated once: ``packet``, ``before.provoked`` (the segment that it
    answers), ``connection`` (what had been seen of it) and ``rst`` with ``shape``, ``causes``
    that fit, ``labs``, ``answers`` and, where the sender is in doubt, ``doubts``;
    ``older_forgotten``: it may also answer a segment that is not remembered. ``frames`` are
    those that hold it, where several devices captured one RST.

    ``stream`` says what was not understood and where the file was cut; ``forgotten`` counts
    connections that were still open, but not known any more when more came than are known
    at a time. Raises as ``Stream`` does.
    """

    def __init__(
        self, path: Path, reasons: Reasons, language: Language = "en", reader: str | None = None
    ) -> None:
        self.stream = Stream(path, MOST, reader)
        self.forgotten = 0
        self._reasons = reasons
        self._language: Language = language
        self._known: OrderedDict[int, _Seen] = OrderedDict()
        self._kept = 0
        self._rows: deque[tuple[dict[str, Any], set[tuple[Any, ...]]]] = deque()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            for segment, frame in self.stream:
                yield from self._ripe(segment["at"])
                self._take(segment, frame)
        except KernlabError:  # what was read until then is to be seen
            yield from (row for row, _ in self._rows)
            raise
        yield from (row for row, _ in self._rows)

    def _take(self, segment: dict[str, Any], frame: Dissected) -> None:
        seen = self._known.setdefault(segment["flow"], _Seen())
        self._known.move_to_end(segment["flow"])
        before = seen.kept
        packet = segment["packet"]
        if "R" not in packet["flags"]:
            _learn(seen, segment, frame)
        elif not self._copy(segment, frame):
            row = _row(segment, seen, self._reasons, self._language)
            self._rows.append((row, {seen_at(segment, frame)}))
            seen.reset.add((packet["src"], packet["sport"]))
            if row["rst"]["shape"] == "active":
                seen.side((packet["dst"], packet["dport"])).settle(packet)
        self._kept += seen.kept - before
        while len(self._known) > MOST or (self._kept > _KEPT and len(self._known) > 1):
            _, old = self._known.popitem(last=False)
            self._kept -= old.kept
            self.forgotten += not old.ended

    def _copy(self, segment: dict[str, Any], frame: Dissected) -> bool:
        """Whether this RST was told already: one packet, seen on another device."""
        place = seen_at(segment, frame)
        for row, places in self._rows:
            known = row["flow"] == segment["flow"] and segment["at"] - row["at"] <= _COPY
            if known and place not in places and same(row["packet"], segment["packet"]):
                places.add(place)
                row.setdefault("frames", [row["number"]]).append(segment["number"])
                return True
        return False

    def _ripe(self, now: int) -> Iterator[dict[str, Any]]:
        """The rows for which no copy can come any more."""
        while self._rows and (now - self._rows[0][0]["at"] > _COPY or len(self._rows) > _ROWS):
            yield self._rows.popleft()[0]


def explained(
    path: Path, reasons: Reasons, language: Language = "en", reader: str | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of ``Explained``."""
    return iter(Explained(path, reasons, language, reader))


def _learn(seen: _Seen, segment: dict[str, Any], frame: Dissected) -> None:
    packet = segment["packet"]
    flags, sender = packet["flags"], (packet["src"], packet["sport"])
    seen.side((packet["dst"], packet["dport"])).settle(packet)
    seen.trait(sender).learn(packet)
    if not seen.side(sender).add(segment, frame):
        return
    if "S" in flags:
        seen.syn.add(sender)
    if "F" in flags:
        seen.fin[sender] = (packet["seq"] + packet.get("len", 0) + 1) & 0xFFFFFFFF
    if packet.get("len"):
        seen.data.add(sender)
    if len(seen.syn) == 2 and "A" in flags and "S" not in flags:
        seen.established = True


def _row(
    segment: dict[str, Any], seen: _Seen, reasons: Reasons, language: Language
) -> dict[str, Any]:
    packet = segment["packet"]
    sender, receiver = (packet["src"], packet["sport"]), (packet["dst"], packet["dport"])
    kind = shape(packet)
    doubtful = doubts(packet, kind == "active", seen.trait(sender), seen.trait(receiver))
    if doubtful and kind == "active":
        kind = "other"
    refusing = kind in model.PASSIVE
    provoked = seen.side(receiver).refused(packet) if refusing else None
    if provoked is None:
        doubtful += _number(kind, seen.trait(receiver), seen.side(receiver))
    row: dict[str, Any] = {
        "number": segment["number"],
        "at": segment["at"],
        "flow": segment["flow"],
        "packet": packet,
        **({"within": segment["within"]} if "within" in segment else {}),
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
    if sender in seen.syn:
        row["connection"]["mptcp"] = seen.trait(sender).mptcp
    acked = seen.trait(receiver).ack
    if sender in seen.fin and acked is not None:
        row["connection"]["fin_acked"] = (acked - seen.fin[sender]) & 0xFFFFFFFF < 1 << 31
    elif sender not in seen.fin and seen.syn & {sender, receiver}:  # it began with the capture
        row["connection"]["fin_acked"] = False
    if provoked is not None:
        row["before"] = {
            "provoked": {"number": provoked.segment["number"], "packet": provoked.packet}
        }
    causes = [key for key, reason in reasons.items() if _fits(reason, kind, row, doubtful)]
    row["rst"] = {
        "shape": kind,
        "causes": [{"id": key, "name": say(reasons[key].name, language)} for key in causes],
        "labs": sorted({lab for key in causes for lab in reasons[key].labs}),
        "answers": provoked is not None,
    }
    if doubtful:
        row["rst"]["doubts"] = doubtful
    if refusing and seen.side(receiver).overflowed:
        row["rst"]["older_forgotten"] = True
    return row


def _number(kind: Shape, receiver: Traits, side: Side) -> list[dict[str, Any]]:
    """The doubt that a RST answers nothing, though all that its receiver sent is known."""
    if kind in model.PASSIVE and receiver.syn and not side.lost:
        return [{"kind": "number"}]
    return []


def _fits(reason: Reason, kind: Shape, row: Mapping[str, Any], doubtful: list[Any]) -> bool:
    wire = reason.wire
    if wire is None or (doubtful and not wire.elsewhere):
        return False
    shapes: list[model.Shape] = listed(wire.shape)
    if kind not in shapes:
        return False
    # A field that the capture does not have (it began too late) rules nothing out.
    return wire.when is None or _parsed(wire.when).evaluate(row) is not False


@lru_cache(maxsize=256)
def _parsed(text: str) -> expr.Expr:
    return expr.parse(text)
