"""Whether the machine that a RST names as its sender can have sent it.

A middlebox that injects a RST forges addresses and numbers. What it does not forge: the hops
that are left (RFC 791 TTL), the sender's count of packets (IP id: a socket of Linux counts its
own packets, net/ipv4/ip_output.c ip_select_ident_segs()), timestamps, once both sides agreed on
them (RFC 7323 3.2; net/ipv4/tcp_output.c tcp_established_options()), and the moment: a socket
resets a connection only after its SYN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TTLS = 8  # different ones that are remembered of a side
_AHEAD, _BEHIND = 2048, 64  # packets that may lie between two of a side in the capture


@dataclass
class Traits:
    """What the segments of one side had in common; a RST is not one of them."""

    ttls: list[int] = field(default_factory=list)
    sent: int = 0
    syn: bool = False
    timestamps: bool = False
    mptcp: bool = False
    ip_id: int | None = None
    counted: int = 0
    ack: int | None = None  # the highest

    def learn(self, packet: Mapping[str, Any]) -> None:
        self.sent += 1
        if "A" in packet["flags"]:
            newer = self.ack is None or (packet["ack"] - self.ack) & 0xFFFFFFFF < 1 << 31
            self.ack = packet["ack"] if newer else self.ack
        if "ttl" in packet and packet["ttl"] not in self.ttls and len(self.ttls) < _TTLS:
            self.ttls.append(packet["ttl"])
        if "S" in packet["flags"]:
            options = packet.get("options", {})
            self.syn = True
            self.timestamps, self.mptcp = "ts" in options, "mptcp" in options
        elif packet.get("ip_id"):  # a SYN-ACK is sent by no socket yet, and has 0
            self.counted = self.counted + 1 if self._follows(packet["ip_id"]) else 1
            self.ip_id = packet["ip_id"]

    def _follows(self, ip_id: int) -> bool:
        if self.ip_id is None:
            return False
        ahead = (ip_id - self.ip_id) & 0xFFFF
        return ahead <= _AHEAD or ahead >= 0x10000 - _BEHIND


def doubts(
    rst: Mapping[str, Any], active: bool, sender: Traits, receiver: Traits
) -> list[dict[str, Any]]:
    """What speaks against the sender: each with ``kind`` and the values that do not agree.

    ``ttl``: of none of its segments; and for a RST that a socket would send (``active``)
    ``early``: the sender has sent no SYN; ``ip_id``: it does not follow the sender's count;
    ``timestamps``: they are missing.
    """
    found: list[dict[str, Any]] = []
    if "ttl" in rst and sender.ttls and rst["ttl"] not in sender.ttls:
        found.append({"kind": "ttl", "here": rst["ttl"], "others": sorted(sender.ttls)})
    if not active:
        return found
    if receiver.syn and not sender.sent:
        found.append({"kind": "early"})
    here = rst.get("ip_id")
    if here is not None and sender.counted > 1 and not sender._follows(here):
        found.append({"kind": "ip_id", "here": here, "last": sender.ip_id})
    agreed = sender.timestamps and receiver.timestamps
    if agreed and "ts" not in rst.get("options", {}) and not rst.get("options_cut"):
        found.append({"kind": "timestamps"})
    return found
