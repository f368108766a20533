"""An skb's packet, from hand-made memory: each header only where it is valid."""

from __future__ import annotations

import struct
from typing import Any

from kernlab.decode.layout import WANTED, Layout
from kernlab.decode.memory import BytesMemory
from kernlab.decode.place import UNLISTED
from kernlab.decode.skb import decode_skb

SKB, HEAD = 0x1000, 0x8000
MEMBERS = {name: [8 * n, 8] for n, name in enumerate(WANTED["sk_buff"])}
# The control block needs room of its own, behind the others.
MEMBERS["cb"] = [8 * len(MEMBERS), 48]
SIZE = 8 * len(MEMBERS) + 48
CB = {"seq": [0, 4], "end_seq": [4, 4], "tcp_flags": [13, 1], "ack_seq": [16, 4]}
LAYOUT = Layout(
    {
        "structs": {
            "sk_buff": {"size": SIZE, "members": MEMBERS},
            "tcp_skb_cb": {"size": 48, "members": CB},
        },
        "expressions": {},
        "constants": {},
    }
)
IP = struct.pack(">BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
TCP = struct.pack(">HHIIBBHHH", 1234, 80, 100, 200, 5 << 4, 0x10, 512, 0, 0)
SOCK = {"family": "ipv4", "src": "10.0.0.9", "sport": 1, "dst": "10.0.0.8", "dport": 2}


def decoded(header: str, tcp_cb: bool = False, **fields: int) -> tuple[Any, Any]:
    values = {
        "head": HEAD,
        "data": HEAD + 64,
        "len": 40,
        "network_header": 64,
        "transport_header": 84,
        "protocol": 0x0008,
        **fields,
    }
    raw = bytearray(SIZE)
    for name, value in values.items():
        struct.pack_into("<Q", raw, MEMBERS[name][0], value)
    cb = struct.pack("<II5xB2xI", 100, 105, 0x18, 200)
    raw[MEMBERS["cb"][0] : MEMBERS["cb"][0] + len(cb)] = cb
    memory = BytesMemory({SKB: bytes(raw), HEAD: (b"\xff" * 64 + IP + TCP).ljust(4096, b"\xee")})
    site: Any = {**UNLISTED, "header": header, "tcp_cb": tcp_cb, "direction": "in"}
    return decode_skb(memory, LAYOUT, SKB, site, SOCK)


def test_no_header_is_read_where_the_table_says_none() -> None:
    skb, packet = decoded("none")
    assert packet is None
    assert skb["len"] == 40


def test_the_network_header_gives_the_tcp_header_whatever_transport_header_says() -> None:
    """ip_rcv: transport_header is still the network header's place."""
    for transport in (64, 0xFFFF, 84):
        _, packet = decoded("network", transport_header=transport)
        assert (packet["sport"], packet["dport"], packet["seq"]) == (1234, 80, 100)


def test_a_function_of_every_layer_shows_a_packet_only_where_the_skb_has_one() -> None:
    assert decoded("protocol")[1]["dst"] == "10.0.0.2"
    assert decoded("protocol", protocol=0x0608)[1] is None  # ARP
    assert decoded("protocol", network_header=0)[1] is None  # not built yet
    assert decoded("protocol", protocol=0)[1] is None


def test_a_tcp_header_without_an_ip_header_takes_addresses_from_the_sock() -> None:
    _, packet = decoded("tcp", data=HEAD + 84, len=20, network_header=0)
    assert (packet["src"], packet["sport"], packet["flags"], packet["len"]) == (
        "10.0.0.9",
        1234,
        "A",
        0,
    )
    assert "raw" not in packet
    assert decoded("tcp", transport_header=0xFFFF)[1] is None


def test_tcps_control_block_is_shown_only_where_it_is_valid() -> None:
    assert "cb" not in decoded("transport")[0]
    skb, _ = decoded("transport", tcp_cb=True)
    assert skb["cb"] == {"seq": 100, "end_seq": 105, "ack_seq": 200, "flags": "PA"}
