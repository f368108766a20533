"""A sock, from hand-made memory: a field is read only where the object has it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kernlab.decode.hit import decode_hit
from kernlab.decode.layout import Layout
from kernlab.decode.memory import BytesMemory
from kernlab.decode.place import UNLISTED
from kernlab.decode.sock import decode_sock

SOCK, NET, DEV, DEV_NET, SKB = 0x10000, 0x20000, 0x30000, 0x40000, 0x50000
WRITE, READ = 0x7001, 0x7002  # destructors: of who sends, of who receives
_C = "__sk_common.skc_"
STRUCTS = {
    "sock": {
        _C + "daddr": [0, 4],
        _C + "rcv_saddr": [4, 4],
        _C + "dport": [12, 2],
        _C + "num": [14, 2],
        _C + "family": [16, 2],
        _C + "state": [18, 1],
        _C + "net.net": [24, 8],
        _C + "flags": [32, 8],
        "sk_protocol": [200, 2],
        "sk_type": [202, 2],
        "sk_err": [204, 4],
    },
    "inet_sock": {"inet_sport": [300, 2]},
    "inet_connection_sock": {"icsk_retransmits": [320, 1]},
    "tcp_sock": {"linger2": [400, 4], "snd_una": [404, 4]},
    "inet_timewait_sock": {"tw_substate": [140, 1]},
    "tcp_timewait_sock": {"tw_sk.__tw_common.skc_tw_rcv_nxt": [120, 4]},
    "net": {"ns.inum": [64, 4]},
    "net_device": {"name": [0, 16], "nd_net.net": [32, 8]},
    "sk_buff": {
        "sk": [0, 8],
        "dev": [8, 8],
        "destructor": [16, 8],
        "len": [24, 4],
        "head": [32, 8],
    },
}
LAYOUT = Layout(
    {
        "structs": {name: {"size": 512, "members": rows} for name, rows in STRUCTS.items()},
        "senders": [WRITE],
    }
)
ESTABLISHED, TIME_WAIT, CLOSE = 1, 6, 7
STREAM, DGRAM, RAW = 1, 2, 3


def memory(
    family: int = 2,
    state: int = ESTABLISHED,
    type: int = STREAM,
    protocol: int = 6,
    num: int = 80,
    destructor: int = READ,
) -> BytesMemory:
    """A socket that is 0xcc wherever nothing was written, as SLUB's red zone is."""
    sock = bytearray(b"\xcc" * 512)
    struct.pack_into(
        "<4s4s4xHHHB",
        sock,
        0,
        bytes([10, 0, 0, 2]),
        bytes([10, 0, 0, 1]),
        0x901F,
        num,
        family,
        state,
    )
    struct.pack_into("<Q", sock, 24, NET)
    struct.pack_into("<HHI", sock, 200, protocol, type, 0)
    net, dev_net, dev = bytearray(128), bytearray(128), bytearray(64)
    struct.pack_into("<I", net, 64, 4026531992)
    struct.pack_into("<I", dev_net, 64, 4026532555)
    dev[:2] = b"lo"
    struct.pack_into("<Q", dev, 32, DEV_NET)
    skb = struct.pack("<QQQIIQ", SOCK, DEV, destructor, 40, 0, 0)
    return BytesMemory(
        {SOCK: bytes(sock), NET: bytes(net), DEV: bytes(dev), DEV_NET: bytes(dev_net), SKB: skb}
    )


def decoded(**what: int) -> dict[str, Any]:
    sock = decode_sock(memory(**what), LAYOUT, SOCK)
    assert sock is not None
    return sock


def test_a_tcp_socket_has_it_all() -> None:
    sock = decoded()
    assert (sock["state"], sock["sport"], sock["dport"]) == ("ESTABLISHED", 80, 8080)
    assert sock["snd_una"] == 0xCCCCCCCC
    assert sock["retransmits"] == 0xCC


def test_a_time_wait_socket_is_no_tcp_sock() -> None:
    sock = decoded(state=TIME_WAIT)
    assert sock["state"] == "TIME_WAIT"
    assert sock.keys().isdisjoint({"linger2", "snd_una", "retransmits", "err"})


@pytest.mark.parametrize("protocol", [1, 6, 17, 255])
def test_a_raw_socket_has_no_port_and_is_no_tcp_sock(protocol: int) -> None:
    """inet_num is its protocol number; one for IPPROTO_TCP is still a raw_sock."""
    sock = decoded(type=RAW, protocol=protocol, num=protocol, state=CLOSE)
    if protocol != 17:
        assert sock.keys().isdisjoint({"sport", "dport"})
    assert sock.keys().isdisjoint({"state", "linger2", "snd_una", "retransmits"})
    assert (sock["src"], sock["dst"], sock["err"]) == ("10.0.0.1", "10.0.0.2", 0)


def test_a_udp_socket_has_ports_and_no_state() -> None:
    sock = decoded(type=DGRAM, protocol=17, state=CLOSE)
    assert (sock["sport"], sock["dport"]) == (80, 8080)
    assert sock.keys().isdisjoint({"state", "linger2", "snd_una"})


@pytest.mark.parametrize(("family", "name"), [(17, "packet"), (16, "netlink"), (1, "unix")])
def test_a_socket_of_another_family_has_the_family_alone(family: int, name: str) -> None:
    assert decoded(family=family) == {"addr": "0x10000", "family": name}


def test_what_is_no_socket_is_none() -> None:
    assert decode_sock(memory(family=0xCCCC), LAYOUT, SOCK) is None


def hit(direction: str, destructor: int) -> dict[str, Any]:
    site: Any = {**UNLISTED, "direction": direction}
    event: dict[str, Any] = {}
    decode_hit(memory(destructor=destructor), LAYOUT, site, SKB, None).put(event)
    return event


def test_the_senders_socket_is_not_shown_as_the_receivers() -> None:
    """ip_rcv() behind a veth: skb->sk is still the sender's, in another namespace."""
    event = hit("in", WRITE)
    assert "sock" not in event
    assert (event["skb"]["sk"], event["skb"]["owner"]) == ("0x10000", "sender")
    assert event["netns"] == 4026532555  # the device's
    event = hit("in", READ)
    assert (event["sock"]["via"], event["netns"]) == ("skb", 4026531992)
    assert hit("out", WRITE)["sock"]["via"] == "skb"
    assert hit("none", WRITE)["sock"]["via"] == "sender"


def test_the_namespace_is_the_socks_own() -> None:
    event: dict[str, Any] = {}
    decode_hit(memory(), LAYOUT, UNLISTED, None, SOCK).put(event)
    assert event["netns"] == 4026531992
    decode_hit(memory(family=17), LAYOUT, UNLISTED, None, SOCK).put(event)
    assert (event["sock"]["family"], event["netns"]) == ("packet", 4026531992)
