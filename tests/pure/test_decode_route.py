"""Routes, built here in memory as the kernel lays them out."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from kernlab.decode.layout import Layout
from kernlab.decode.memory import BytesMemory
from kernlab.decode.route import Fib, decode_dst, dst_of_skb

LAYOUT = Layout(
    {
        "structs": {
            "sk_buff": {"size": 16, "members": {"_skb_refdst": [8, 8]}},
            "net": {"size": 8, "members": {"ipv4.fib_table_hash": [0, 8]}},
            "net_device": {"size": 16, "members": {"name": [0, 16]}},
            "dst_entry": {
                "size": 40,
                "members": {
                    "dev": [0, 8],
                    "ops": [8, 8],
                    "input": [16, 8],
                    "output": [24, 8],
                    "error": [32, 2],
                },
            },
            "dst_ops": {"size": 2, "members": {"family": [0, 2]}},
            "rtable": {
                "size": 60,
                "members": {
                    "rt_type": [40, 2],
                    "rt_iif": [44, 4],
                    "rt_gw_family": [48, 1],
                    "rt_gw4": [52, 4],
                },
            },
            "fib_table": {
                "size": 32,
                "members": {"tb_hlist.next": [0, 8], "tb_id": [16, 4], "tb_data": [24, 8]},
            },
            "key_vector": {
                "size": 16,
                "members": {
                    "key": [0, 4],
                    "pos": [4, 1],
                    "bits": [5, 1],
                    "leaf.first": [8, 8],
                    "tnode": [8, 0],
                },
            },
            "fib_alias": {
                "size": 32,
                "members": {
                    "fa_list.next": [0, 8],
                    "fa_info": [8, 8],
                    "fa_type": [16, 1],
                    "fa_slen": [17, 1],
                    "tb_id": [20, 4],
                },
            },
            "fib_info": {
                "size": 24,
                "members": {
                    "fib_scope": [0, 1],
                    "fib_prefsrc": [4, 4],
                    "fib_priority": [8, 4],
                    "fib_nhs": [12, 4],
                    "nh": [16, 8],
                    "fib_nh": [24, 0],
                },
            },
            "fib_nh": {
                "size": 24,
                "members": {
                    "nh_common.nhc_dev": [0, 8],
                    "nh_common.nhc_gw_family": [8, 1],
                    "nh_common.nhc_gw.ipv4": [12, 4],
                },
            },
        }
    }
)
NET, HASH, ETH0 = 0x1000, 0x2000, 0x3000


def ip(text: str) -> bytes:
    return ipaddress.IPv4Address(text).packed


class Tables:
    """Lays out one trie that the local and the main table share, a leaf a route."""

    def __init__(self) -> None:
        self.blocks = {
            NET: struct.pack("<Q", HASH),
            ETH0: b"eth0".ljust(16, b"\0"),
        }
        self.free = 0x100000

    def put(self, data: bytes) -> int:
        self.free += 0x1000
        self.blocks[self.free] = data
        return self.free

    def leaf(self, to: str, aliases: list[tuple[int, int, int]]) -> int:
        """``aliases``: bits of the prefix, table, fib_info."""
        following = 0
        for bits, table, info in reversed(aliases):
            kind = 2 if table == 255 else 1
            following = self.put(
                struct.pack("<QQBBxxIQ", following, info, kind, 32 - bits, table, 0)
            )
        return self.put(struct.pack("<IBBxxQ", int(ipaddress.IPv4Address(to)), 0, 0, following))

    def info(self, via: str = "", src: str = "0.0.0.0", metric: int = 0, scope: int = 0) -> int:
        head = struct.pack("<Bxxx4sIIQ", scope, ip(src), metric, 1, 0)
        hop = struct.pack("<QBxxx4s8x", ETH0, 2 if via else 0, ip(via or "0.0.0.0"))
        return self.put(head + hop)

    def finish(self, leaves: list[int]) -> Fib:
        bits = max(1, (len(leaves) - 1).bit_length())
        children = leaves + [0] * ((1 << bits) - len(leaves))
        root = self.put(
            struct.pack("<IBBxx", 0, 24, bits)
            + b"".join(struct.pack("<Q", child) for child in children)
        )
        trie = self.put(struct.pack("<IBBxxQ", 0, 32, 0, root))
        local = self.put(struct.pack("<QQIIQ", 0, 0, 255, 0, trie))
        main = self.put(struct.pack("<QQIIQ", 0, 0, 254, 0, trie))
        self.blocks[HASH] = struct.pack("<QQ", main, local)
        return Fib(BytesMemory(self.blocks), LAYOUT, NET)


@pytest.fixture
def fib() -> Fib:
    tables = Tables()
    gateway, link = tables.info("10.0.2.2"), tables.info(src="10.0.2.15", scope=253)
    own = tables.info(src="10.0.2.15", scope=254)
    return tables.finish(
        [
            tables.leaf("0.0.0.0", [(0, 254, gateway)]),
            # One leaf for two prefixes of the same key, the longer first, as the kernel sorts them.
            tables.leaf("10.0.2.0", [(24, 254, link), (23, 254, gateway)]),
            tables.leaf("10.0.2.15", [(32, 255, own)]),
        ]
    )


def test_each_table_shows_its_own_routes_of_a_shared_trie(fib: Fib) -> None:
    assert {(route["table"], route["to"]) for route in fib.routes()} == {
        ("local", "10.0.2.15/32"),
        ("main", "0.0.0.0/0"),
        ("main", "10.0.2.0/24"),
        ("main", "10.0.2.0/23"),
    }
    assert len(fib.routes()) == 4


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "8.8.8.8",
            {
                "table": "main",
                "to": "0.0.0.0/0",
                "type": "unicast",
                "via": "10.0.2.2",
                "dev": "eth0",
                "scope": "global",
            },
        ),
        (
            "10.0.2.77",
            {
                "table": "main",
                "to": "10.0.2.0/24",
                "type": "unicast",
                "dev": "eth0",
                "src": "10.0.2.15",
                "scope": "link",
            },
        ),
        (
            "10.0.2.15",
            {
                "table": "local",
                "to": "10.0.2.15/32",
                "type": "local",
                "dev": "eth0",
                "src": "10.0.2.15",
                "scope": "host",
            },
        ),
    ],
)
def test_an_address_takes_the_longest_prefix_of_the_first_table(
    fib: Fib, address: str, expected: dict[str, str]
) -> None:
    assert fib.find(address) == expected


def test_no_route_is_none() -> None:
    tables = Tables()
    fib = tables.finish([tables.leaf("10.0.0.0", [(8, 254, tables.info())])])
    assert fib.find("192.168.1.1") is None


def test_a_list_that_bites_its_tail_ends() -> None:
    tables = Tables()
    fib = tables.finish([tables.leaf("10.0.0.0", [(8, 254, tables.info())])])
    main = next(
        at
        for at, data in tables.blocks.items()
        if len(data) == 32 and data[16:20] == struct.pack("<I", 254)
    )
    tables.blocks[main] = struct.pack("<Q", main) + tables.blocks[main][8:]
    assert len(fib.routes()) <= 4096


def dst(family: int, error: int = 0) -> BytesMemory:
    rtable = struct.pack(
        "<QQQQhxxxxxxHxxIBxxx4s4x", ETH0, 0x4000, 0x11, 0x22, error, 1, 3, 2, ip("10.0.2.2")
    )
    return BytesMemory(
        {
            0x5000: rtable,
            0x4000: struct.pack("<H", family),
            ETH0: b"eth0".ljust(16, b"\0"),
            0x6000: struct.pack("<QQ", 0, 0x5000 | 1),
            0x7000: bytes(16),
        }
    )


def test_the_route_an_skb_has_been_given() -> None:
    memory = dst(2, error=-113)
    address = dst_of_skb(memory, LAYOUT, 0x6000)
    assert address == 0x5000  # SKB_DST_NOREF is not part of it
    assert decode_dst(memory, LAYOUT, address) == {
        "addr": "0x5000",
        "family": "ipv4",
        "dev": "eth0",
        "input": 0x11,
        "output": 0x22,
        "error": -113,
        "type": "unicast",
        "iif": 3,
        "gateway": "10.0.2.2",
    }


def test_what_has_no_family_is_no_route() -> None:
    assert dst_of_skb(dst(2), LAYOUT, 0x7000) is None
    assert decode_dst(dst(0x40), LAYOUT, 0x5000) is None
    assert decode_dst(dst(2), LAYOUT, 0x9999) is None
