"""Bytes into packets: hand-made headers, and any bytes at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.decode.names import flags_text, flags_value
from kernlab.decode.packet import packet, socket_address
from kernlab.decode.protocols.tcp import tcp_options


def ipv4(
    payload: bytes,
    protocol: int = 6,
    total: int | None = None,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    words = 5 + len(options) // 4
    length = words * 4 + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, length, 7, fragment, 64, protocol, 0)
    return head + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + options + payload


def tcp(flags: int, options: bytes = b"", data: bytes = b"") -> bytes:
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    return struct.pack(">HHIIBBHHH", 1234, 80, 100, 200, offset, flags, 512, 0, 0) + options + data


def test_a_syn_with_options() -> None:
    options = bytes([2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7])
    found = packet(ipv4(tcp(2, options)))
    assert found is not None
    assert (found["src"], found["sport"], found["dst"], found["dport"]) == (
        "10.0.0.1",
        1234,
        "10.0.0.2",
        80,
    )
    assert (found["flags"], found["seq"], found["ack"], found["win"], found["len"]) == (
        "S",
        100,
        200,
        512,
        0,
    )
    assert found["options"] == {"mss": 1460, "sack_ok": True, "ts": [1, 2], "wscale": 7}


def test_payload_length_comes_from_the_ip_header() -> None:
    found = packet(ipv4(tcp(0x18, data=b"x" * 33)) + b"padding")
    assert found is not None
    assert found["len"] == 33


def test_a_segment_larger_than_64k_takes_its_length_from_the_skb() -> None:
    found = packet(ipv4(tcp(0x10), total=0), actual=70_040)
    assert found is not None
    assert found["len"] == 70_000


def test_ip_options_move_the_tcp_header() -> None:
    found = packet(ipv4(tcp(0x12), options=b"\x94\x04\0\0"))
    assert found is not None
    assert (found["flags"], found["len"]) == ("SA", 0)


def test_a_later_fragment_has_no_ports() -> None:
    found = packet(ipv4(b"x" * 16, fragment=185))
    assert found is not None
    assert "sport" not in found
    assert found["fragment"] == 1480


def test_ipv6_extension_headers_are_walked() -> None:
    hop = bytes([6, 0, 1, 4, 0, 0, 0, 0])
    body = hop + tcp(4)
    raw = (
        struct.pack(">IHBB", 6 << 28, len(body), 0, 64)
        + b"\0" * 15
        + b"\1"
        + b"\0" * 15
        + b"\2"
        + body
    )
    found = packet(raw)
    assert found is not None
    assert (found["src"], found["dst"], found["flags"], found["len"]) == ("::1", "::2", "R", 0)


def test_udp_and_icmp() -> None:
    found = packet(ipv4(struct.pack(">HHHH", 53, 5353, 12, 0) + b"abcd", 17))
    assert found is not None
    assert (found["proto"], found["sport"], found["len"]) == ("udp", 53, 4)
    found = packet(ipv4(b"\x03\x03\0\0\0\0\0\0", 1))
    assert found is not None
    assert (found["icmp_type"], found["icmp_code"]) == (3, 3)


def test_sack_blocks_and_unknown_options() -> None:
    blocks = bytes([5, 10]) + struct.pack(">II", 1, 2) + bytes([99, 3, 0xAB])
    assert tcp_options(blocks) == {"sack": [[1, 2]], "kind-99": "ab"}


@given(st.binary(max_size=200), st.sampled_from(["ip", "ipv4", "ipv6"]))
def test_no_bytes_raise(raw: bytes, start: str) -> None:
    found = packet(raw, start)
    assert found is None or found.get("len", 0) >= 0


@given(st.binary(max_size=60))
def test_no_options_raise(raw: bytes) -> None:
    tcp_options(raw)


@given(st.integers(0, 255))
def test_flags_round_trip(value: int) -> None:
    assert flags_value(flags_text(value)) == value


@pytest.mark.parametrize(
    ("value", "text"), [(2, "S"), (0x12, "SA"), (0x11, "FA"), (0x14, "RA"), (0x18, "PA"), (4, "R")]
)
def test_flags_are_written_as_people_say_them(value: int, text: str) -> None:
    assert flags_text(value) == text


def test_a_mapped_address_of_a_socket_is_told_as_ipv4() -> None:
    mapped = bytes(10) + b"\xff\xff\x0a\x00\x02\x02"
    assert socket_address(mapped) == "10.0.2.2"
    assert socket_address(bytes(15) + b"\x01") == "::1"
    assert socket_address(mapped[12:]) == "10.0.2.2"
