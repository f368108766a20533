"""Which frame an event is about: the same segment twice, beyond NAT, and a RST that came in."""

from __future__ import annotations

from typing import Any

import pytest

from kernlab.record import links as links_module
from kernlab.record.comments import comments
from kernlab.record.identity import Identity
from kernlab.record.links import Links

MS = 1_000_000
EPOCH = 1_795_698_000_000 * MS  # the guest's clock when its monotonic clock was 0


def segment(**more: Any) -> dict[str, Any]:
    return {
        "proto": "tcp",
        "src": "a",
        "sport": 1,
        "dst": "b",
        "dport": 2,
        "flags": "PA",
        "seq": 7,
        "ack": 3,
        "win": 9,
        "len": 5,
        **more,
    }


def frame(number: int, at: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "at": EPOCH + at * MS, "packet": segment(**more)}


def event(at: int, name: str | None = None, probe: str = "ip_rcv", **more: Any) -> dict[str, Any]:
    packet = segment(**more) if more or name else None
    if packet and name:
        packet["id"] = name
    return {"probe": probe, "guest_ns": at * MS, **({"packet": packet} if packet else {})}


def test_of_a_segment_sent_again_the_queue_s_skb_is_the_one_of_that_time() -> None:
    """tcp_retransmit_skb() has no header yet, and one skb for all: no IP identification."""
    wire = [
        frame(1, 0, flags="S", seq=6, len=0),
        *(frame(n, at, ip_id=n) for n, at in ((2, 10), (3, 220), (4, 640))),
    ]
    links = Links(wire)
    assert links.take(event(2, "p1", flags="S", seq=6, len=0)) == 1  # the clocks are known
    again = {"flags": "PA", "seq": 7}
    taken = [links.take(event(at, "p2", "tcp_retransmit_skb", **again)) for at in (216, 636)]
    assert taken == [3, 4]
    assert links.take(event(10, "p9", ip_id=2)) == 2


def test_beyond_nat_an_event_is_of_the_frame_with_its_numbers() -> None:
    links = Links([frame(1, 0, dport=1111), frame(2, 1, dport=1111, seq=8)])
    assert links.take(event(0, dport=8080)) == 1
    assert links.take(event(0, dport=8080, seq=9)) is None
    assert links.take(event(0, dport=8080, sport=5)) is None, "neither end is the same"


def test_beyond_nat_a_segment_without_an_acknowledgement_is_not_guessed() -> None:
    links = Links([frame(1, 0, flags="S", ack=0, dport=1111)])
    assert links.take(event(0, flags="S", ack=0, dport=8080)) is None


def test_two_frames_that_might_be_it_beyond_nat_are_none() -> None:
    links = Links([frame(1, 0, dport=1111), frame(2, 1, dport=2222)])
    assert links.take(event(0, dport=8080)) is None


def test_a_reset_that_a_socket_gets_is_of_the_rst_that_came() -> None:
    reset = {"flags": "R", "len": 0}
    back = {"src": "b", "sport": 2, "dst": "a", "dport": 1}
    links = Links([frame(1, 0), frame(2, 5, **reset), frame(3, 6, **back, **reset)])
    got = {**event(5, None, "tcp_reset"), "sock": back}
    assert links.take(got) == 2
    assert links.take({**got, "probe": "tcp_done"}) is None


def test_a_rst_s_event_is_of_both_the_rst_and_what_it_answers() -> None:
    back = {"src": "b", "sport": 2, "dst": "a", "dport": 1, "flags": "R", "len": 0}
    wire = [frame(1, 0), frame(2, 1, **back)]
    links = Links(wire)
    sent = {**event(0, "p1"), "seq": 4, "rst": {"cause": "P1", "frame": 2}}
    assert (links.take(sent), links.refused(sent)) == (2, 1)
    own = {"probe": "tcp_send_active_reset", "rst": {"cause": "A1", "frame": 2}}
    assert (links.take(own), links.refused(own)) == (2, None)
    assert links.refused(event(0, "p1")) is None
    found = comments([sent], wire)
    assert found[1] == ["#4 ip_rcv: the RST in frame 2"]
    assert found[2][0].startswith("RST: P1")


def test_a_bulk_run_s_acks_are_not_looked_through_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They agree in all but what they acknowledge: the work grows with them, not their square."""
    looked = []
    compare = links_module._stamped
    monkeypatch.setattr(links_module, "_stamped", lambda *two: looked.append(1) or compare(*two))
    acks = [{"flags": "A", "len": 0, "ack": n, "ip_id": 1 + n % 65535} for n in range(3000)]
    links = Links([frame(n, n, **ack) for n, ack in enumerate(acks)])
    assert [links.take(event(n, f"p{n}", **ack)) for n, ack in enumerate(acks)] == [*range(3000)]
    bare = [{key: ack[key] for key in ("flags", "len", "ack")} for ack in acks]
    assert [links.take(event(n, None, **ack)) for n, ack in enumerate(bare)] == [*range(3000)]
    assert len(looked) <= 4 * len(acks)


def hit(probe: str, **more: Any) -> dict[str, Any]:
    return {
        "probe": probe,
        "site": {"func": probe},
        "skb": {"addr": "0xa", "head": "0xh"},
        "packet": segment(ip_id=0, **more),
    }


def test_dnat_of_a_packet_without_an_ip_id_is_still_one_packet() -> None:
    identity = Identity()
    seen = [
        identity.take(hit("nf_conntrack_tcp_packet", dport=1111)),
        identity.take(hit("tcp_v4_rcv", dport=8080)),
        identity.take(hit("nf_conntrack_tcp_packet", dport=1111, seq=12)),
        identity.take(hit("tcp_v4_rcv", dport=8080, seq=12)),
    ]
    assert seen == ["p1", "p1", "p2", "p2"]


def test_a_scanner_s_next_packet_at_the_same_address_is_another() -> None:
    """The same numbers to another port: it comes to a probe where the one before has been."""
    identity = Identity()
    ports = [80, 81, 82]
    assert [identity.take(hit("tcp_v4_rcv", dport=one)) for one in ports] == ["p1", "p2", "p3"]
    both = [identity.take(hit("tcp_v4_rcv", sport=5, dport=99)), identity.take(hit("ip_rcv"))]
    assert len(set(both)) == 2, "both ends are others"


def test_a_packet_without_sequence_numbers_has_its_frame_too() -> None:
    def echo(seq: int, ip_id: int = 0) -> dict[str, Any]:
        packet = {"proto": "icmpv6", "src": "a", "dst": "b", "icmp_type": 128, "icmp_code": 0}
        return {**packet, "icmp_id": 61, "icmp_seq": seq, **({"ip_id": ip_id} if ip_id else {})}

    def seen(number: int, **packet: Any) -> dict[str, Any]:
        event = {"probe": "icmpv6_rcv", "seq": number, "skb": {"dev": "lo"}, "guest_ns": number}
        return {**event, "packet": packet}

    wire = [frame(1, 0), *({"number": n, "at": EPOCH, "packet": echo(n)} for n in (2, 3))]
    links = Links(wire)
    assert links.take(seen(1, **echo(3), id="p1")) == 3
    assert links.take(seen(2, **echo(2), id="p2")) == 2
    assert links.take(seen(3, **echo(4), id="p3")) is None
    # Two that agree in all are two packets; without an id nothing tells them apart.
    twice = [{"number": n, "at": EPOCH, "packet": echo(1)} for n in (1, 2)]
    links = Links(twice)
    taken = [links.take(seen(1, **echo(1), id=name)) for name in ("p1", "p2", "p1")]
    assert taken == [1, 2, 1]
    assert links.take(seen(1, **echo(1))) is None
    sends = {**seen(4, **echo(2), id="p2"), "error": {"proto": "icmpv6", "icmp_type": 1}}
    assert comments([sends], wire) == {2: ["#4 icmpv6_rcv on lo sends ICMPv6 type 1"]}
