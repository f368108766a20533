"""RSTs of a capture: whose they are, which are copies, who wrote the rest, and what happened
where there is none."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Any

import pytest

from kernlab.reasons import foreign, quiet, watch
from kernlab.reasons.history import History
from kernlab.reasons.match import findings
from kernlab.reasons.model import table
from kernlab.reasons.pairs import Wire
from kernlab.record import pcapng
from kernlab.record.event import validate

C, S = ("10.0.0.2", 9000), ("10.0.0.1", 80)
Segment = dict[str, Any]


def seg(
    number: int,
    flags: str,
    a: tuple[str, int] = C,
    b: tuple[str, int] = S,
    seq: int = 100,
    ack: int = 500,
    flow: int = 1,
    at: int | None = None,
    place: tuple[str, bool] | None = None,
    **more: Any,
) -> Segment:
    packet: dict[str, Any] = {
        "src": a[0],
        "sport": a[1],
        "dst": b[0],
        "dport": b[1],
        "flags": flags,
        "seq": seq,
        "ack": ack,
        "win": 0,
        "len": 0,
        "ip_id": 0,
        "ttl": 64,
        "family": "ipv4",
        **more,
    }
    found = {
        "number": number,
        "at": at if at is not None else number * 10**6,
        "flow": flow,
        "packet": packet,
    }
    if place is not None:
        found |= {"interface": place[0], "outgoing": place[1]}
    return found


def call(segment: Segment) -> dict[str, Any]:
    """tcp_v4_send_reset() for a captured segment."""
    stack = [{"func": "tcp_v4_send_reset"}, {"func": "tcp_v4_rcv"}]
    return {
        "probe": "tcp_v4_send_reset",
        "packet": dict(segment["packet"]),
        "cpu": 0,
        "args": {"sk": "0x0"},
        "stack": stack,
    }


def wire(*segments: Segment) -> Wire:
    found = Wire()
    found.add(segments)
    return found


def claimed(one: Wire, event: dict[str, Any]) -> int | None:
    found = one.claim(event)
    return None if found is None else int(found["number"])


def test_a_rst_is_paired_with_the_segment_whose_number_it_takes_up() -> None:
    """Two segments of one connection are refused; their RSTs come in another order."""
    first, second = seg(1, "PA", ack=500, ip_id=1), seg(2, "FA", ack=700, ip_id=2)
    one = wire(first, second, seg(3, "R", S, C, seq=700), seg(4, "R", S, C, seq=500))
    assert claimed(one, call(first)) == 4
    assert claimed(one, call(second)) == 3
    assert not one.left()


def test_a_rst_never_answers_a_segment_that_comes_after_it() -> None:
    early, late = seg(2, "PA", ip_id=1), seg(9, "PA", ip_id=2)
    one = wire(early, seg(3, "R", S, C, seq=500), late)
    assert claimed(one, call(late)) is None
    assert claimed(one, call(early)) == 3


def test_a_retransmission_that_looks_the_same_is_another_segment() -> None:
    """IPv6 without timestamps: each call gets a frame of its own, in their order."""
    first, second = seg(1, "PA"), seg(2, "PA")
    del first["packet"]["ip_id"], second["packet"]["ip_id"]
    one = wire(first, second)
    calls = [call(first), call(second)]
    assert [one.provoked(event) for event in calls] == [1, 2]
    assert one.provoked(calls[1]) == 2


@pytest.mark.parametrize(
    ("packet", "rst"),
    [
        ({"flags": "S", "seq": 7}, {"flags": "RA", "seq": 0, "ack": 8}),
        ({"flags": "SF", "seq": 7, "len": 3}, {"flags": "RA", "seq": 0, "ack": 12}),
        ({"flags": "SA", "seq": 7, "ack": 9}, {"flags": "R", "seq": 9}),
    ],
)
def test_the_segment_decides_the_numbers(packet: Segment, rst: Segment) -> None:
    asked = seg(1, **packet)
    other = {**rst, "seq": 1, "ack": 1}
    one = wire(asked, seg(2, a=S, b=C, **other), seg(3, a=S, b=C, **rst))
    assert claimed(one, call(asked)) == 3


def test_a_socket_s_own_rst_has_the_way_of_the_socket() -> None:
    sock = {"src": S[0], "sport": S[1], "dst": C[0], "dport": C[1], "rcv_nxt": 106}
    event = {"probe": "tcp_send_active_reset", "sock": sock}
    one = wire(seg(1, "R", S, C, seq=500), seg(2, "RA", S, C, seq=500, ack=106))
    assert claimed(one, event) == 2


def test_copies_at_other_devices_are_one_rst_at_the_sender_s() -> None:
    """A veth pair and a bridge: out there, in here, out again."""
    asked = seg(1, "PA", place=("veth1", False))
    one = wire(
        asked,
        seg(2, "R", S, C, seq=500, place=("veth0", True)),
        seg(3, "R", S, C, seq=500, place=("veth1", False)),
        seg(4, "R", S, C, seq=500, ttl=63, place=("br0", True)),
        seg(5, "R", S, C, seq=500, place=("veth0", True)),
    )
    assert [one.segment["number"] for one in one.left()] == [2, 5]  # 5 was sent again
    assert claimed(one, call(asked)) == 2


def test_a_translated_rst_is_a_copy_and_is_found_by_its_numbers() -> None:
    """NAT: the kernel refused 10.0.0.1:80, the wire has 192.0.2.1:8080."""
    public = ("192.0.2.1", 8080)
    asked = seg(1, "PA", ack=4242)
    one = wire(seg(2, "R", public, C, seq=4242, place=("eth0", True)))
    assert claimed(one, call(asked)) == 2
    both = wire(
        seg(2, "R", S, C, seq=4242, place=("lo", False)),
        seg(3, "R", public, C, seq=4242, at=2_100_000, place=("eth0", True)),
    )
    assert [one.segment["number"] for one in both.left()] == [2]


# -- history -----------------------------------------------------------------------------


def history(*segments: Segment, armed: tuple[str, ...] = ()) -> History:
    found = History(watch.table(), frozenset(armed))
    for segment in segments:
        found.segment(segment)
    return found


def finding(segment: Segment) -> Any:
    (found,) = findings([call(segment)], table())
    return found


def failed(err: int, *stack: str, back: bool = False, **sock: Any) -> dict[str, Any]:
    a, b = (S, C) if back else (C, S)
    return {
        "probe": "sock_def_error_report",
        "stack": [{"func": name} for name in stack],
        "show": {"user_timeout": 400},
        "sock": {
            "src": a[0],
            "sport": a[1],
            "dst": b[0],
            "dport": b[1],
            "err": err,
            "protocol": "tcp",
            "state": "ESTABLISHED",
            **sock,
        },
    }


TIMER = ("tcp_write_timer_handler", "tcp_write_timer")


def test_an_earlier_rst_of_the_connection_is_named() -> None:
    asked = seg(3, "PA", S, C, flow=2)
    before = history(seg(1, "R", flow=1), seg(2, "RA", flow=2), asked, seg(4, "R", flow=2))
    before.told(2, 7)
    found = before.of(finding(asked), seg(4, "R", flow=2))
    assert found["reset"] == 2
    assert found["reset_text"].startswith("RST 7, frame 2")
    assert "reset" not in history(seg(1, "R", flow=1), asked).of(finding(asked), None, 3)


@pytest.mark.parametrize(
    ("event", "gave_up"),
    [
        (failed(110, *TIMER, snd_una=10, snd_nxt=14), 1),
        (failed(110, *TIMER, snd_una=14, snd_nxt=14), 2),
        (failed(110, "tcp_keepalive_timer", snd_una=4, snd_nxt=4), 2),
        (failed(110, *TIMER, snd_una=4, snd_nxt=5, state="FIN_WAIT1"), 2),  # the FIN's number
        (failed(104, "tcp_reset", snd_una=10, snd_nxt=14), None),  # a RST ended it
        (failed(110, *TIMER, back=True), None),  # the other side's socket
    ],
)
def test_a_time_out_without_a_rst_is_remembered(event: dict[str, Any], gave_up: int | None) -> None:
    asked = seg(9, "PA", S, C)
    before = history(asked)
    before.event(event)
    before.event(failed(104, "tcp_reset", back=True))  # the RST's receiver, afterwards
    found = before.of(finding(asked), None)
    assert found.get("gave_up") == gave_up
    if gave_up:
        assert found["error"] == "ETIMEDOUT"
        assert found["user_timeout"] == 400
        (line,) = before.timed_out()
        assert line.startswith("10.0.0.2 port 9000 → 10.0.0.1 port 80: ETIMEDOUT")
    else:
        assert not before.timed_out() or event["sock"]["src"] == S[0]


def test_whose_the_syn_was() -> None:
    asked = seg(2, "SA", S, C)
    connect = {
        "probe": "tcp_connect",
        "task": {"pid": 7, "comm": "wget"},
        "sock": {"src": C[0], "sport": C[1], "dst": S[0], "dport": S[1]},
    }
    raw = {"probe": "raw_sendmsg", "task": {"pid": 9, "comm": "scapy"}}
    blind = history(seg(1, "S"), asked).of(finding(asked), None)
    assert blind["syn"] == 1
    assert "connected" not in blind  # nobody watched
    watched = history(seg(1, "S"), asked, armed=("tcp_connect",))
    watched.event(raw)
    watched.event(raw)
    found = watched.of(finding(asked), None)
    assert found["connected"] == 0
    assert found["injected_text"] == ": scapy[9] sent packets of its own making"
    assert "--sport 9000" in found["drop_rule"]
    watched.event(connect)
    assert watched.of(finding(asked), None)["connected_by"] == "wget[7]"


# -- RSTs that no call sent --------------------------------------------------------------


def strange(*segments: Segment, **more: Any) -> dict[str, Any]:
    (event,) = foreign.rows(wire(*segments).left(), segments, **more)
    validate({"seq": 1, **event})
    return event["rst"]  # type: ignore[no-any-return]


def test_a_refusal_from_outside_is_told_by_the_syn_that_it_answers() -> None:
    rst = strange(
        seg(1, "S", seq=7, place=("eth0", True)),
        seg(2, "RA", S, C, seq=0, ack=8, win=65535, place=("eth0", False)),
    )
    assert (rst["from"], rst["frame"], rst["answers_frame"]) == ("outside", 2, 1)
    assert "10.0.0.1 port 80" in rst["says"]
    assert "answers the SYN of frame 1" in rst["condition"]
    assert rst["errno"]["peer"] == "connect(): ECONNREFUSED"


def test_an_injected_rst_is_told_by_ttl_and_ip_id() -> None:
    place = ("eth0", False)
    rst = strange(
        seg(1, "SA", S, C, ip_id=30, ttl=52, place=place),
        seg(2, "A", S, C, ip_id=31, ttl=52, place=place),
        seg(3, "PA", S, C, ip_id=32, ttl=52, place=place),
        seg(4, "RA", S, C, win=500, ip_id=9999, ttl=200, place=place),
    )
    assert {"kind": "ttl", "here": 200, "others": [52]} in rst["doubts"]
    assert {"kind": "ip_id", "here": 9999, "last": 32} in rst["doubts"]
    assert rst["from"] == "outside"


def test_a_rst_before_any_syn_ack_is_no_socket_s_decision() -> None:
    rst = strange(
        seg(1, "S", seq=7, place=("eth0", True)),
        seg(2, "RA", S, C, seq=9, ack=70, win=500, place=("eth0", False)),
    )
    assert [one["kind"] for one in rst["doubts"]] == ["early"]
    assert rst["shape"] == "other"
    assert "a device on the way" in rst["says"]
    assert "the sender's socket did not send it" in rst["condition"]


def test_two_rsts_by_hand_which_of_them_hurt() -> None:
    segments = [
        seg(1, "R", S, C, seq=900, place=("lo", False)),
        seg(2, "R", S, C, seq=501, place=("lo", False)),
    ]
    error = failed(104, "tcp_reset", rcv_nxt=501)
    rows = list(foreign.rows(wire(*segments).left(), segments, ["tcpkill[3]"], [error]))
    assert [row["rst"]["from"] for row in rows] == ["inside", "inside"]
    assert "not this one ended it" in rows[0]["rst"]["condition"]
    assert "took it and got ECONNRESET" in rows[1]["rst"]["condition"]
    assert "tcpkill[3]" in rows[0]["rst"]["says"]


# -- no RST ------------------------------------------------------------------------------


def raw(flags: int, seq: int, ack: int, data: int = 0, back: bool = False) -> bytes:
    (src, sport), (dst, dport) = (S, C) if back else (C, S)
    tcp = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 1000, 0, 0) + bytes(data)
    return ip(6, src, dst, tcp)


def ip(protocol: int, src: str, dst: str, body: bytes) -> bytes:
    ends = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + ends + body


def told(tmp_path: Path, *packets: bytes, errors: tuple[dict[str, Any], ...] = ()) -> list[str]:
    path = tmp_path / "a.pcapng"
    pcapng.write(path, (pcapng.Captured(n, pcapng.RAW, len(p), p) for n, p in enumerate(packets)))
    return quiet.story(path, errors)


OPEN = (raw(2, 100, 0), raw(0x12, 500, 101, back=True), raw(0x10, 101, 501))


def test_what_happened_without_a_rst(tmp_path: Path) -> None:
    assert told(tmp_path) == ["no TCP segment was captured"]
    (line,) = told(tmp_path, raw(2, 1, 0), raw(2, 1, 0))
    assert line == "10.0.0.2:9000 → 10.0.0.1:80: SYN sent 2 times, no answer"
    icmp = ip(1, "10.0.0.9", C[0], bytes([3, 13, 0, 0, 0, 0, 0, 0]) + raw(2, 1, 0)[:28])
    (line,) = told(tmp_path, raw(2, 1, 0), icmp)
    assert line.endswith("a SYN, refused by ICMP; ICMP from 10.0.0.9: prohibited by a filter")
    (line,) = told(tmp_path, *OPEN, raw(0x11, 101, 501), raw(0x11, 501, 102, back=True))
    assert line.endswith("closed in order, with a FIN from each side")
    (line,) = told(tmp_path, *OPEN)
    assert line.endswith("still open at the end of the capture")
    lost = raw(0x18, 101, 501, 5)
    gave_up = failed(110, *TIMER)
    (line,) = told(tmp_path, *OPEN, lost, lost, lost, errors=(gave_up,))
    assert "sent data or FIN again 2 times, and it was never acknowledged" in line
    assert line.endswith("the socket at 10.0.0.2:9000 got ETIMEDOUT")


def test_without_a_segment_icmp_and_arp_are_told(tmp_path: Path) -> None:
    refused = ip(1, "10.0.0.2", "10.0.0.2", bytes([3, 1]) + bytes(6) + raw(2, 1, 0)[:28])
    assert told(tmp_path, refused) == [
        "no TCP segment was captured",
        "TCP 10.0.0.2:9000 → 10.0.0.1:80: ICMP from 10.0.0.2: host unreachable",
    ]
    datagram = ip(17, C[0], S[0], struct.pack(">HHHH", 5000, 53, 8, 0))
    closed = ip(1, S[0], C[0], bytes([3, 3]) + bytes(6) + datagram)
    assert told(tmp_path, datagram, closed, closed) == [
        "no TCP segment was captured",
        "UDP 10.0.0.2:5000 → 10.0.0.1:53: ICMP from 10.0.0.1: port unreachable",
    ]


def arp(operation: int, sender: str, target: str) -> bytes:
    ends = [ipaddress.ip_address(one).packed for one in (sender, target)]
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + bytes(6) + ends[0]
    return bytes(12) + struct.pack(">H", 0x0806) + body + bytes(6) + ends[1]


def test_a_neighbour_that_never_answered_is_told(tmp_path: Path) -> None:
    def after(*frames: bytes) -> list[str]:
        path = tmp_path / "a.pcapng"
        rows = (pcapng.Captured(n, pcapng.ETHERNET, len(f), f) for n, f in enumerate(frames))
        pcapng.write(path, rows)
        return quiet.story(path)

    ask = arp(1, "10.0.2.15", "10.0.2.99")
    nothing = "no TCP segment was captured"
    assert after(ask, ask) == [nothing, "10.0.2.99: no answer to ARP, asked 2 times"]
    assert after(ask, arp(2, "10.0.2.99", "10.0.2.15")) == [nothing]
    assert after(arp(1, "10.0.2.15", "10.0.2.15"), arp(1, "0.0.0.0", "10.0.2.15")) == [nothing]
    for size in range(14, len(ask)):
        assert after(ask[:size]) == [nothing]


@pytest.mark.parametrize("cut", range(0, 48, 5))
def test_a_quotation_that_is_cut_is_none(tmp_path: Path, cut: int) -> None:
    icmp = ip(1, "10.0.0.9", C[0], (bytes([3, 1]) + bytes(6) + raw(2, 1, 0))[:cut])
    (line,) = told(tmp_path, raw(2, 1, 0), icmp)
    assert ("host unreachable" in line) == (cut >= 36)
