"""TCP's socket tables, built here in memory as the kernel lays them out."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kernlab.decode.layout import Layout
from kernlab.decode.lookup import SocketTables, jhash
from kernlab.decode.memory import BytesMemory

NET, OTHER_NET, HASHINFO, EHASH, LHASH = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
SECRET, MIX = 0x11223344, 0x55667788
LAYOUT = Layout(
    {
        "structs": {
            "net": {"size": 64, "members": {"hash_mix": [0, 4]}},
            "inet_hashinfo": {
                "size": 40,
                "members": {
                    "ehash": [0, 8],
                    "ehash_mask": [8, 4],
                    "lhash2": [16, 8],
                    "lhash2_mask": [24, 4],
                },
            },
            "inet_ehash_bucket": {"size": 8, "members": {"chain.first": [0, 8]}},
            "inet_listen_hashbucket": {"size": 16, "members": {"head.first": [8, 8]}},
            "inet_connection_sock": {
                "size": 200,
                "members": {"icsk_listen_portaddr_node": [120, 8]},
            },
            "sock": {
                "size": 200,
                "members": {
                    "__sk_common.skc_daddr": [0, 4],
                    "__sk_common.skc_rcv_saddr": [4, 4],
                    "__sk_common.skc_dport": [12, 2],
                    "__sk_common.skc_num": [14, 2],
                    "__sk_common.skc_family": [16, 2],
                    "__sk_common.skc_state": [18, 1],
                    "__sk_common.skc_ipv6only": [19, 1, 5, 1],
                    "__sk_common.skc_net.net": [24, 8],
                    "__sk_common.skc_nulls_node": [40, 8],
                },
            },
        }
    }
)


# From the kernel's own jhash.h, compiled and run: jhash_1word, jhash_3words, jhash2 of 4.
@pytest.mark.parametrize(
    ("words", "initval", "value"),
    [
        ([0x0100007F], 0x12345678, 0x5EC61144),
        ([1, 2, 3], 0xDEADBEEF, 0x27983D68),
        ([0, 0, 0, 0x01000000], 7, 0x2D7F24E4),
    ],
)
def test_jhash_is_the_kernels(words: list[int], initval: int, value: int) -> None:
    assert jhash(words, initval) == value


def sock(
    saddr: str,
    sport: int,
    daddr: str,
    dport: int,
    net: int = NET,
    state: int = 1,
    following: int = 1,
) -> bytes:
    """``saddr``:``sport`` is the peer, as a received segment names it."""
    data = bytearray(200)
    data[0:4] = bytes(map(int, saddr.split(".")))
    data[4:8] = bytes(map(int, daddr.split(".")))
    data[12:14] = struct.pack(">H", sport)
    data[14:16] = struct.pack("<H", dport)
    data[16:19] = struct.pack("<HB", 2, state)
    data[24:32] = struct.pack("<Q", net)
    data[40:48] = struct.pack("<Q", following)
    data[120:128] = struct.pack("<Q", following if following != 1 else 0)
    return bytes(data)


def tables(socks: dict[int, bytes], listeners: dict[int, bytes], without: str = "") -> SocketTables:
    """One bucket of each kind: every hash ends there. ``without``: a symbol not to know."""
    ehash = struct.pack("<Q", next(iter(socks), -40 + 1) + 40)
    lhash = struct.pack("<QQ", 0, next(iter(listeners), -120) + 120)
    info = struct.pack("<QIIQI", EHASH, 0, 0, LHASH, 0) + bytes(12)
    memory = BytesMemory(
        {
            NET: struct.pack("<I", MIX),
            OTHER_NET: struct.pack("<I", MIX),
            HASHINFO: info,
            EHASH: ehash,
            LHASH: lhash,
            0x100: struct.pack("<I", SECRET),
            **socks,
            **listeners,
        }
    )
    values = {"tcp_hashinfo": HASHINFO, "inet_ehash_secret": 0x100}
    return SocketTables(memory, LAYOUT, {k: v for k, v in values.items() if k not in without})


SEGMENT = {"src": "10.0.0.1", "sport": 40000, "dst": "10.0.0.2", "dport": 80}
LISTENS = sock("0.0.0.0", 0, "10.0.0.2", 80, state=10)
ANYWHERE = sock("0.0.0.0", 0, "0.0.0.0", 80, state=10)


def test_the_established_sock_is_found_behind_others() -> None:
    first = sock("10.0.0.1", 40001, "10.0.0.2", 80, following=0x7000 + 40)
    second = sock("10.0.0.1", 40000, "10.0.0.2", 80)
    found = tables({0x6000: first, 0x7000: second}, {0x8000: LISTENS})
    assert found.find(SEGMENT, NET) == 0x7000


@pytest.mark.parametrize(
    "stranger",
    [
        sock("10.0.0.1", 40000, "10.0.0.2", 80, net=OTHER_NET),
        sock("10.0.0.1", 40000, "10.0.0.3", 80),
        sock("10.0.0.9", 40000, "10.0.0.2", 80),
        sock("10.0.0.1", 40000, "10.0.0.2", 81),
    ],
)
def test_another_tuple_or_namespace_is_not_taken(stranger: bytes) -> None:
    assert tables({0x6000: stranger}, {}).find(SEGMENT, NET) is None
    assert tables({0x6000: stranger}, {0x8000: LISTENS}).find(SEGMENT, NET) == 0x8000


def test_a_listener_at_the_address_or_at_any() -> None:
    assert tables({}, {0x8000: LISTENS}).find(SEGMENT, NET) == 0x8000
    assert tables({}, {0x8000: ANYWHERE}).find(SEGMENT, NET) == 0x8000
    assert tables({}, {0x8000: ANYWHERE}).find({**SEGMENT, "dport": 81}, NET) is None
    assert tables({}, {0x8000: ANYWHERE}).find(SEGMENT, OTHER_NET) is None


def test_a_connection_that_cannot_be_looked_for_is_no_listeners() -> None:
    """Without the hash's secret the established table says nothing, so nothing is said."""
    there = sock("10.0.0.1", 40000, "10.0.0.2", 80)
    known = tables({0x6000: there}, {0x8000: LISTENS}, without="inet_ehash_secret")
    assert known.find(SEGMENT, NET) is None


def test_two_listeners_on_one_port_are_not_chosen_between() -> None:
    first = sock("0.0.0.0", 0, "0.0.0.0", 80, state=10, following=0x9000 + 120)
    assert tables({}, {0x8000: first, 0x9000: ANYWHERE}).find(SEGMENT, NET) is None


def test_a_list_that_never_ends_ends() -> None:
    ring = sock("10.0.0.9", 1, "10.0.0.2", 80, following=0x6000 + 40)
    assert tables({0x6000: ring}, {}).find(SEGMENT, NET) is None


@pytest.mark.parametrize("packet", [{}, {"src": "x"}, {**SEGMENT, "sport": None}])
def test_a_packet_without_a_tuple_has_no_sock(packet: dict[str, Any]) -> None:
    assert tables({}, {0x8000: ANYWHERE}).find({**packet}, 0) is None


def test_every_socket_is_listed_once_and_whatever_its_hash() -> None:
    first, second = (
        sock("1.2.3.4", 1, "10.0.0.1", 80, following=0x20000 + 40),
        sock("1.2.3.4", 2, "10.0.0.1", 80, net=OTHER_NET),
    )
    listening = sock("0.0.0.0", 0, "0.0.0.0", 80, state=10)
    known = tables({0x10000: first, 0x20000: second}, {0x30000: listening})
    assert list(known.established()) == [0x10000, 0x20000]
    assert list(known.listeners()) == [0x30000]


def test_empty_buckets_have_no_sockets() -> None:
    assert list(tables({}, {}).established()) == []
    assert list(tables({}, {}).listeners()) == []


def test_a_bucket_torn_by_a_race_ends() -> None:
    turning = sock("1.2.3.4", 1, "10.0.0.1", 80, following=0x10000 + 40)
    assert set(tables({0x10000: turning}, {}).established()) == {0x10000}


def test_namespaces_are_followed_from_the_first() -> None:
    layout = Layout({"structs": {"net": {"size": 64, "members": {"list.next": [8, 8]}}}})
    memory = BytesMemory(
        {
            0x100: struct.pack("<QQ", NET + 8, OTHER_NET + 8),
            NET: struct.pack("<QQ", 0, OTHER_NET + 8),
            OTHER_NET: struct.pack("<QQ", 0, 0x100),
        }
    )
    found = SocketTables(memory, layout, {"net_namespace_list": 0x100})
    assert found.namespaces() == [NET, OTHER_NET]
    assert SocketTables(memory, layout, {"init_net": NET}).namespaces() == [NET]
