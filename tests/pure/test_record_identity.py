"""A packet's id, against a kernel in small whose truth is known: addresses are used again at
once, clones share buffers, heads are reallocated, copies have neither."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kernlab.record.identity import Identity
from kernlab.record.links import Links

Truth = list[tuple[dict[str, Any], int]]


class SmallKernel:
    """Makes events of packets; the addresses of what was freed last are used first."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.free = {"skb": [f"0xs{n}" for n in range(6)], "head": [f"0xh{n}" for n in range(6)]}
        self.holds: dict[str, int] = {}  # buffer → skbs that share it
        self.packets: dict[int, dict[str, Any]] = {}  # packet → facts
        self.skbs: list[tuple[int, str, str]] = []  # packet, skb, buffer
        self.made = 0
        self.told: Truth = []

    def event(
        self, packet: int, skb: str, head: str, probe: str, header: bool = True, users: int = 1
    ) -> None:
        event: dict[str, Any] = {
            "probe": probe,
            "site": {"func": probe},
            "skb": {"addr": skb, "head": head, "users": users},
        }
        if header:
            event["packet"] = dict(self.packets[packet])
        self.told.append((event, packet))

    def head(self) -> str:
        head = self.free["head"].pop()
        self.holds[head] = 1
        return head

    def step(self) -> None:
        kinds = (
            ["new"]
            if not self.skbs
            else [
                "new",
                "hop",
                "hop",
                "hop",
                "clone",
                "copy",
                "grow",
                "drop reference",
                "free",
                "free",
            ]
        )
        kind = self.chance.choice(kinds)
        room = bool(self.free["skb"]) and bool(self.free["head"])
        if kind == "new" and room:
            self.made += 1
            # The same sequence number again and again: a header alone proves nothing.
            self.packets[self.made] = {
                "proto": "tcp",
                "src": "10.0.0.1",
                "dst": "10.0.0.2",
                "sport": 1,
                "dport": 2,
                "seq": self.chance.choice((1, 100)),
                "flags": "A",
                "win": 5,
                "ip_id": self.made,
            }
            one = (self.made, self.free["skb"].pop(), self.head())
            self.skbs.append(one)
            self.event(*one, "ip_rcv")
            return
        if not self.skbs:
            return
        at = self.chance.randrange(len(self.skbs))
        packet, skb, head = self.skbs[at]
        if kind == "hop":
            self.event(packet, skb, head, "ip_output", header=self.chance.random() < 0.6)
        elif kind == "clone" and self.free["skb"]:
            self.holds[head] += 1
            clone = (packet, self.free["skb"].pop(), head)
            self.skbs.append(clone)
            self.event(*clone, "dev_hard_start_xmit", header=self.chance.random() < 0.6)
        elif kind == "copy" and room:
            copy = (packet, self.free["skb"].pop(), self.head())
            self.skbs.append(copy)
            self.event(*copy, "tcp_v4_rcv")
        elif kind == "grow" and self.free["head"]:
            grown = self.head()
            self._put(head)
            self.skbs[at] = (packet, skb, grown)
            self.event(packet, skb, grown, "ip_output", header=self.chance.random() < 0.6)
        elif kind == "drop reference":
            self.event(packet, skb, head, "kfree_skb", users=2)
        elif kind == "free":
            self.event(packet, skb, head, "__kfree_skb", header=False)
            del self.skbs[at]
            self.free["skb"].append(skb)
            self._put(head)

    def _put(self, head: str) -> None:
        self.holds[head] -= 1
        if not self.holds[head]:
            self.free["head"].append(head)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_each_packet_has_one_id_and_each_id_one_packet(seed: int, steps: int) -> None:
    kernel = SmallKernel(seed)
    for _ in range(steps):
        kernel.step()
    identity = Identity(frees=True)
    of: dict[str, int] = {}
    ids: dict[int, str] = {}
    for event, packet in kernel.told:
        name = identity.take(event)
        assert name is not None
        assert event["packet"]["id"] == name
        assert of.setdefault(name, packet) == packet, "two packets, one id"
        assert ids.setdefault(packet, name) == name, "one packet, two ids"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_without_a_probe_at_a_free_two_packets_never_share_an_id(seed: int) -> None:
    kernel = SmallKernel(seed)
    for _ in range(120):
        kernel.step()
    identity = Identity()
    of: dict[str, int] = {}
    for event, packet in kernel.told:
        if event["probe"] in ("__kfree_skb", "kfree_skb"):
            continue
        name = identity.take(event)
        if name is not None:
            assert of.setdefault(name, packet) == packet
    assert of, "no packet was named at all"


def hit(probe: str, skb: str, **packet: Any) -> dict[str, Any]:
    return {
        "probe": probe,
        "site": {"func": probe},
        "skb": {"addr": skb, "head": "0xh"},
        "packet": {
            "proto": "tcp",
            "src": "a",
            "dst": "b",
            "sport": 1,
            "dport": 2,
            "flags": "PA",
            "len": 5,
            **packet,
        },
    }


def test_a_segment_that_is_sent_again_is_another_packet() -> None:
    identity = Identity(frees=True)
    first = [
        identity.take(hit("__tcp_transmit_skb", "0xa", seq=7)),
        identity.take(hit("ip_output", "0xb", seq=7, ip_id=5)),
    ]
    again = [
        identity.take(hit("__tcp_transmit_skb", "0xa", seq=7)),
        identity.take(hit("ip_output", "0xc", seq=7, ip_id=6)),
    ]
    assert first == ["p1", "p1"]
    assert again == ["p2", "p2"]


def test_nat_changes_the_address_and_not_the_packet() -> None:
    identity = Identity(frees=True)
    assert identity.take(hit("ip_rcv", "0xa", seq=7, ip_id=5)) == "p1"
    assert identity.take(hit("ip_local_deliver", "0xa", seq=7, ip_id=5, dst="c")) == "p1"
    assert identity.take(hit("ip_local_deliver", "0xa", seq=7, ip_id=6, dst="c")) == "p2"


def test_the_same_segment_twice_on_the_wire_is_told_apart_by_its_ip_id() -> None:
    wire = [{"number": n, "packet": hit("", "", seq=7, ip_id=n)["packet"]} for n in (3, 4)]
    links = Links(wire)
    assert links.take(hit("ip_rcv", "0xa", seq=7, ip_id=4)) == 4
    assert links.take(hit("ip_rcv", "0xa", seq=7, ip_id=3)) == 3
    assert links.take(hit("ip_rcv", "0xa", seq=8, ip_id=3)) is None


def test_a_copy_of_an_icmp_message_is_the_same_packet_and_the_next_echo_is_not() -> None:
    def echo(skb: str, head: str, seq: int, ip_id: int) -> dict[str, Any]:
        packet = {"proto": "icmp", "src": "a", "dst": "b", "ip_id": ip_id, "icmp_type": 8}
        return {
            "probe": "icmp_rcv",
            "site": {"func": "icmp_rcv"},
            "skb": {"addr": skb, "head": head},
            "packet": {**packet, "icmp_code": 0, "icmp_id": 61, "icmp_seq": seq},
        }

    identity = Identity(frees=True)
    assert identity.take(echo("0xa", "0xh", 1, 5)) == "p1"
    assert identity.take(echo("0xb", "0xi", 1, 5)) == "p1"
    assert identity.take(echo("0xa", "0xh", 2, 5)) == "p2"  # the IP identification came round
