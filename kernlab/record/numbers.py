"""Sequence numbers and windows of events as people read them: counted from each side's SYN, and
scaled. One way for every view, so that a stop and a segment of the capture say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernlab.record.flows import Endpoint, Flow, Flows
from kernlab.record.isn import Isns, near


def counted(packet: Mapping[str, Any], relative: str, absolute: str) -> str:
    """A sequence number as it is counted; one that is not is marked."""
    number = packet.get(absolute)
    if packet.get(relative, 1 << 31) < 1 << 31:
        return str(packet[relative])
    return f"{number} abs" if number else str(number or 0)


class Numbers:
    """Fed with packets in their order. What the packets themselves do not tell (a filter lets
    only a part of a connection pass) a capture beside them may: ``count_from``."""

    def __init__(self) -> None:
        self.flows = Flows(guess=False)
        self._isns: Isns | None = None

    def count_from(self, isns: Isns) -> None:
        """Where connections began, as far as the events themselves do not tell."""
        self._isns = isns

    def of(self, packet: Mapping[str, Any]) -> dict[str, Any]:
        """The packet with ``rseq``, ``rack`` and ``wnd`` where they are known."""
        taken = self.flows.take(packet) if packet else None
        return dict(packet) if taken is None else self.in_flow(packet, *taken)

    def in_flow(self, packet: Mapping[str, Any], flow: Flow, from_client: bool) -> dict[str, Any]:
        """The same of a packet that ``flows`` has taken."""
        found = dict(packet)
        if "flags" not in packet:
            return found
        ends = (flow.client, flow.server) if from_client else (flow.server, flow.client)
        for name, number, (side, other) in (
            ("rseq", packet.get("seq"), ends),
            ("rack", packet.get("ack") if "A" in packet["flags"] else None, ends[::-1]),
        ):
            relative = self.relative(flow, side, other, number) if number else None
            if relative is not None:
                found[name] = relative
            elif number == 0:
                found[name] = 0
        window = self.window(flow, *ends, packet)
        if window is not None:
            found["wnd"] = window
        return found

    def bases(self, sock: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """The initial sequence numbers of a socket's own side and of the other, where known."""
        try:
            mine = (str(sock["src"]), int(sock["sport"]))
            theirs = (str(sock["dst"]), int(sock["dport"]))
        except KeyError:
            return None, None
        flow = self.flows.known(mine, theirs)
        found: list[int | None] = []
        for side, other in ((mine, theirs), (theirs, mine)):
            base = None if flow is None else flow.base.get(side)
            if base is None and self._isns is not None:
                base = self._isns.of(side, other)
            found.append(base)
        return found[0], found[1]

    def relative(self, flow: Flow, sender: Endpoint, receiver: Endpoint, number: int) -> int | None:
        """A sequence number of ``sender``'s counted from its SYN; None where that is not known,
        or is another connection's."""
        known = flow.relative(sender, number)
        if known is None and self._isns is not None and number:
            isn = self._isns.of(sender, receiver)
            known = near(isn, number)
            if known is not None and isn is not None:
                flow.base[sender] = isn
        return known if known is not None and known < 1 << 31 else None

    def window(
        self, flow: Flow, sender: Endpoint, receiver: Endpoint, packet: Mapping[str, Any]
    ) -> int | None:
        """The packet's window in bytes, scaled; None where it is not, or the shift is not
        known."""
        if self._isns is not None and not flow.shifts:
            flow.shifts.update(self._isns.shifts(sender, receiver))
        return flow.window(sender, packet)
