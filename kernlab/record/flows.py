"""Connections in a stream of events: who is who, and sequence numbers from 0."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernlab.decode import protocols

Endpoint = tuple[str, int]


@dataclass
class Flow:
    """One connection. ``client`` sent the first SYN, as far as the first segment seen tells;
    ``network``: the networks that it was seen in ("vlan 5"); ``shifts``: the window scale that
    each SYN offered, None for one that offered none."""

    number: int
    client: Endpoint
    server: Endpoint
    base: dict[Endpoint, int] = field(default_factory=dict)
    segments: dict[Endpoint, int] = field(default_factory=dict)
    reset: bool = False
    closing: int = 0
    network: frozenset[str] = frozenset()
    shifts: dict[Endpoint, int | None] = field(default_factory=dict)

    def window(self, sender: Endpoint, packet: Mapping[str, Any]) -> int | None:
        """A segment's window in bytes where it is scaled: both SYNs were seen and offered it
        (RFC 7323, 2.2); the window of a SYN itself never is."""
        offered = [self.shifts.get(end) for end in (self.client, self.server)]
        shift = self.shifts.get(sender)
        if shift is None or None in offered or "S" in packet.get("flags", ""):
            return None
        return int(packet["win"]) << min(shift, 14) if "win" in packet else None

    def relative(self, sender: Endpoint, value: int) -> int | None:
        """A sequence number of ``sender``'s side counted from its first one, modulo 2^32."""
        base = self.base.get(sender)
        return None if base is None else (value - base) & 0xFFFFFFFF


_NETWORKS = 64  # that are kept apart at a time for one pair of addresses and ports


class Flows:
    """All connections seen so far, or the last ``most``: of a capture that may have any
    number of them. ``all`` is kept where there is no limit. ``guess``: of a connection that is
    seen from its middle on, count from the first number seen, as tshark does; otherwise a SYN
    alone says where each side began."""

    def __init__(self, most: int | None = None, guess: bool = True) -> None:
        self._guess = guess
        self.all: list[Flow] = []
        self._most = most
        self._count = 0
        self._open: OrderedDict[frozenset[Endpoint], list[Flow]] = OrderedDict()

    def take(
        self, packet: Mapping[str, Any], within: tuple[str, ...] = ()
    ) -> tuple[Flow, bool] | None:
        """The packet's connection, and whether its sender is the client; None without ports.

        ``within``: the networks around the packet ("vlan 5"). In two of them the same
        addresses and ports are two connections; a packet that was captured outside of any
        (behind the device that takes the tag off) belongs to either.
        """
        try:
            sender = (str(packet["src"]), int(packet["sport"]))
            receiver = (str(packet["dst"]), int(packet["dport"]))
        except KeyError:
            return None
        key = frozenset((sender, receiver))
        flags = str(packet.get("flags", ""))
        known = self._open.setdefault(key, [])
        self._open.move_to_end(key)
        network = frozenset(within)
        flow = _of(known, network)
        opening = "S" in flags and "A" not in flags
        if flow is None or (opening and self._is_new(flow, sender, packet)):
            back = _answers(flags, packet, sender[1], receiver[1])
            client, server = (receiver, sender) if back else (sender, receiver)
            if flow is not None:
                known.remove(flow)
            flow = self._new(client, server)
            known.append(flow)
            del known[:-_NETWORKS]
        flow.network |= network
        self._learn(flow, sender, receiver, flags, packet)
        return flow, sender == flow.client

    def known(self, one: Endpoint, other: Endpoint) -> Flow | None:
        """The latest connection between two ends, as far as it was seen."""
        return next(reversed(self._open.get(frozenset((one, other)), [])), None)

    def _new(self, client: Endpoint, server: Endpoint) -> Flow:
        self._count += 1
        flow = Flow(self._count, client, server)
        if self._most is None:
            self.all.append(flow)
        elif len(self._open) > self._most:
            self._open.popitem(last=False)
        return flow

    @staticmethod
    def _is_new(flow: Flow, sender: Endpoint, packet: Mapping[str, Any]) -> bool:
        """A SYN with another sequence number on a known tuple is another connection."""
        return flow.base.get(sender) not in (None, packet.get("seq"))

    def _learn(
        self,
        flow: Flow,
        sender: Endpoint,
        receiver: Endpoint,
        flags: str,
        packet: Mapping[str, Any],
    ) -> None:
        flow.segments[sender] = flow.segments.get(sender, 0) + 1
        flow.reset = flow.reset or "R" in flags
        seq, ack = packet.get("seq"), packet.get("ack")
        if isinstance(seq, int) and "R" not in flags:
            if "S" in flags:
                flow.base[sender] = seq  # a SYN says it; what came before was taken for granted
                if "win" in packet:  # its header was read, and with it the options
                    flow.shifts[sender] = (packet.get("options") or {}).get("wscale")
            elif self._guess:
                flow.base.setdefault(sender, (seq - 1) & 0xFFFFFFFF)
        if isinstance(ack, int) and "A" in flags and (self._guess or "S" in flags):
            flow.base.setdefault(receiver, (ack - 1) & 0xFFFFFFFF)


def _of(known: list[Flow], network: frozenset[str]) -> Flow | None:
    """The connection in this network: the last one of which not both were seen in a network that
    the other was not in. So a packet is found again behind a device that takes its tag off."""
    exact = (flow for flow in reversed(known) if flow.network == network)
    near = (flow for flow in reversed(known) if flow.network <= network or network <= flow.network)
    return next(exact, None) or next(near, None)


def _answers(flags: str, packet: Mapping[str, Any], sport: int, dport: int) -> bool:
    """Whether a connection's first segment seen comes from its server.

    A SYN says who opens, a SYN ACK and a RST ACK with sequence number 0 answer a SYN (RFC
    9293, 3.10.7.1 and 3.10.7.3). In the middle of a connection the smaller port is taken
    for the server's, as tools do that have no more to go by.
    """
    if not protocols.numbered(packet):
        return False
    if "S" in flags:
        return "A" in flags
    if "R" in flags and "A" in flags and packet.get("seq") == 0:
        return True
    return sport < dport
