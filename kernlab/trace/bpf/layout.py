"""The plan of rootfs/guest/probe/probe.h as bytes: the same members in the same order, aligned
as C aligns them."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kernlab.decode import protocols
from kernlab.decode.arch import ARCH
from kernlab.decode.layout import Layout
from kernlab.decode.skb import members
from kernlab.decode.sock import FULL, MEMBERS
from kernlab.symbols.probes import Probe

MAX_CHUNKS, MAX_TESTS = 32, 16
DEEPEST = 127  # frames; kernel/events/callchain.c, sysctl_perf_event_max_stack
FUNC_ROOM = 64  # bytes of a name, with its NUL
_NONE = 0xFF
_NO_HOP = 0xFFFF_FFFF
_SKB_ROOM, _CHUNK_ROOM, _SOCK_ROOM = 256, 255, 1024
_GAP = 16  # bytes between members below which they are read as one piece
_HEADERS = {"none": 0, "network": 1, "transport": 2, "protocol": 3, "cb": 5}
_OWN = 4  # of one protocol, with no IP header before it
# What a sock may be by its state: the members read of a full one, in TIME_WAIT, of a request.
_CLASSES = (
    FULL,
    ("sock", "inet_timewait_sock", "tcp_timewait_sock"),
    ("sock", "tcp_request_sock"),
)

_u8, _u16, _u32, _u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64


class _Chunk(ctypes.LittleEndianStructure):
    _fields_ = [("offset", _u16), ("size", _u16)]


class Test(ctypes.LittleEndianStructure):
    """One test of the filter (``kernlab.trace.bpf.filter``)."""

    _fields_ = [
        ("on", _u8),
        ("clause", _u8),
        ("negated", _u8),
        ("pad", _u8),
        ("mask", _u32),
        ("value", _u32),
    ]


class _Place(ctypes.LittleEndianStructure):
    _fields_ = [
        ("address", _u64),
        ("number", _u32),
        ("skb", _u8),
        ("sock", _u8),
        ("header", _u8),
        ("lookup", _u8),
        ("skb_hop", _u32),
        ("sock_hop", _u32),
        ("func", ctypes.c_char * FUNC_ROOM),
    ]


_SK = "__sk_common.skc_"
# Name in the plan → structure and member, where the kernel has it.
_OFFSETS = {
    "skb_sk": ("sk_buff", "sk"),
    "skb_dev": ("sk_buff", "dev"),
    "skb_len": ("sk_buff", "len"),
    "skb_data_len": ("sk_buff", "data_len"),
    "skb_head": ("sk_buff", "head"),
    "skb_data": ("sk_buff", "data"),
    "skb_network": ("sk_buff", "network_header"),
    "skb_transport": ("sk_buff", "transport_header"),
    "skb_protocol": ("sk_buff", "protocol"),
    "dev_name": ("net_device", "name"),
    "family": ("sock", _SK + "family"),
    "state": ("sock", _SK + "state"),
    "ns_sock": ("sock", _SK + "net.net"),
    "ns_dev": ("net_device", "nd_net.net"),
    "ns_number": ("net", "ns.inum"),
}
_LOOKUP = {
    "dev_net": ("net_device", "nd_net.net"),
    "net_mix": ("net", "hash_mix"),
    "ehash": ("inet_hashinfo", "ehash"),
    "ehash_mask": ("inet_hashinfo", "ehash_mask"),
    "ehash_first": ("inet_ehash_bucket", "chain.first"),
    "lhash2": ("inet_hashinfo", "lhash2"),
    "lhash2_mask": ("inet_hashinfo", "lhash2_mask"),
    "node": ("sock", _SK + "nulls_node"),
    "sk_net": ("sock", _SK + "net.net"),
    "sk_num": ("sock", _SK + "num"),
    "sk_dport": ("sock", _SK + "dport"),
    "sk_saddr": ("sock", _SK + "rcv_saddr"),
    "sk_daddr": ("sock", _SK + "daddr"),
}


class PlanBytes(ctypes.LittleEndianStructure):
    """struct kl_plan."""

    _fields_ = [
        *((name, _u64) for name in ("ring", "hashinfo", "secret4", "secret6", "hash6")),
        *(
            (name, _u32)
            for name in (
                "size",
                "depth",
                "returns",
                "limit",
                "perf",
                "skb_offset",
                "skb_size",
                "skb_sk",
                "skb_dev",
                "skb_len",
                "skb_data_len",
                "skb_head",
                "skb_data",
                "skb_network",
                "skb_transport",
                "skb_protocol",
                "dev_name",
                "family",
                "state",
                "protocol",
                "protocol_shift",
                "protocol_mask",
                "has_ns",
                "ns_sock",
                "ns_dev",
                "ns_number",
                "can_look_up",
                "dev_net",
                "net_mix",
                "net_hashinfo",
                "ehash",
                "ehash_mask",
                "ehash_bucket",
                "ehash_first",
                "lhash2",
                "lhash2_mask",
                "lhash2_bucket",
                "lhash2_first",
                "node",
                "listen_node",
                "sk_net",
                "sk_num",
                "sk_dport",
                "sk_saddr",
                "sk_daddr",
                "sk_saddr6",
                "sk_daddr6",
                "v6only",
                "v6only_mask",
            )
        ),
        ("chunks", _u32 * 3),
        ("chunk", _Chunk * MAX_CHUNKS * 3),
        ("tests", _u32),
        ("test", Test * MAX_TESTS),
    ]


class Chunk(NamedTuple):
    """A piece of a structure: bytes from ``offset`` on."""

    offset: int
    size: int


def chunks(layout: Layout, structs: Sequence[str], full: bool) -> list[Chunk]:
    """The pieces that cover what ``decode_sock`` reads of these structures. Of a struct sock
    that is not ``full`` only the part that all share is there."""
    places = sorted(
        place[:2]
        for struct_name in structs
        for member in MEMBERS[struct_name]
        if (place := layout.field(struct_name, member)) is not None
        and (full or struct_name != "sock" or member.startswith("__sk_common."))
    )
    found: list[Chunk] = []
    for offset, size in places:
        last = found[-1] if found else None
        end = offset + size
        if (
            last is not None
            and offset - (last.offset + last.size) <= _GAP
            and (end - last.offset <= _CHUNK_ROOM)
        ):
            found[-1] = Chunk(last.offset, max(last.size, end - last.offset))
        else:
            found.append(Chunk(offset, size))
    return found


class Shapes:
    """How one kernel's structures are cut into pieces, and put together again."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        headers = (*_HEADERS, protocols.TCP.name)
        every = {name for header in headers for name in members(header, True)}
        self.skb = layout.span("sk_buff", sorted(every)) or (0, 0)
        self.socks = [chunks(layout, names, names is _CLASSES[0]) for names in _CLASSES]
        ends = [layout.span(name) for names in _CLASSES[:1] for name in names]
        self._end = max(end[1] for end in ends if end is not None)

    def fits(self) -> bool:
        """Whether the guest's program has room for this kernel's structures."""
        return self.skb[1] - self.skb[0] <= _SKB_ROOM and all(
            len(pieces) <= MAX_CHUNKS and sum(piece.size for piece in pieces) <= _SOCK_ROOM
            for pieces in self.socks
        )

    def sock(self, number: int, data: bytes) -> bytes:
        """A sock from its begin, put together; it ends where reading failed. Between the
        pieces lies nothing that is decoded."""
        block = bytearray(self._end)
        at = 0
        for offset, size in self.socks[number]:
            if at + size > len(data):
                return bytes(block[:offset])
            block[offset : offset + size] = data[at : at + size]
            at += size
        return bytes(block)


def pack_plan(shapes: Shapes, values: Mapping[str, int], **settings: int) -> PlanBytes:
    """The plan but for its tests. ``values``: addresses of symbols; ``settings``: ring,
    depth, returns, limit, perf."""
    layout = shapes.layout
    plan = PlanBytes(size=ctypes.sizeof(PlanBytes), **settings)
    plan.skb_offset, plan.skb_size = shapes.skb[0], shapes.skb[1] - shapes.skb[0]
    for name, place in _OFFSETS.items():
        setattr(plan, name, _offset(layout, *place) or 0)
    plan.has_ns = int(bool(plan.ns_sock and plan.ns_dev and plan.ns_number))
    protocol = layout.field("sock", "sk_protocol")
    if protocol is not None:
        plan.protocol = protocol[0]
        plan.protocol_shift = protocol[2] if len(protocol) == 4 else 0
        plan.protocol_mask = (1 << (protocol[3] if len(protocol) == 4 else 8 * protocol[1])) - 1
    for number, pieces in enumerate(shapes.socks):
        plan.chunks[number] = len(pieces)
        for at, piece in enumerate(pieces):
            plan.chunk[number][at] = _Chunk(piece.offset, piece.size)
    _pack_lookup(plan, layout, values)
    return plan


def _offset(layout: Layout, struct_name: str, member: str) -> int | None:
    place = layout.field(struct_name, member)
    return None if place is None else place[0]


def _pack_lookup(plan: PlanBytes, layout: Layout, values: Mapping[str, int]) -> None:
    """What ``kernlab.decode.lookup`` uses; without one of it nothing is looked up."""
    found = {name: _offset(layout, *place) for name, place in _LOOKUP.items()}
    bucket = layout.sizes.get("inet_ehash_bucket")
    listeners = layout.sizes.get("inet_listen_hashbucket")
    # Linked by icsk_listen_portaddr_node until cae3873c5b3a (v5.19), by skc_nulls_node since.
    node = _offset(layout, "inet_connection_sock", "icsk_listen_portaddr_node")
    first = _offset(layout, "inet_listen_hashbucket", "head.first")
    if node is None or first is None:
        node, first = 0, _offset(layout, "inet_listen_hashbucket", "nulls_head.first")
    secret = values.get("inet_ehash_secret")
    symbol, member = protocols.TCP.tables
    if None in found.values() or None in (bucket, listeners, first, secret):
        return
    for name, value in found.items():
        setattr(plan, name, value)
    plan.can_look_up = 1
    plan.ehash_bucket, plan.lhash2_bucket = bucket, listeners
    plan.listen_node, plan.lhash2_first = node, first
    plan.hashinfo, plan.secret4 = values.get(symbol, 0), secret
    plan.net_hashinfo = _offset(layout, "net", member) or 0
    only = layout.field("sock", _SK + "ipv6only")
    if only is not None and len(only) == 4:
        plan.v6only, plan.v6only_mask = only[0], ((1 << only[3]) - 1) << only[2]
    plan.sk_saddr6 = _offset(layout, "sock", _SK + "v6_rcv_saddr") or 0
    plan.sk_daddr6 = _offset(layout, "sock", _SK + "v6_daddr") or 0
    if plan.sk_saddr6 and plan.sk_daddr6:
        plan.secret6 = values.get("inet6_ehash_secret", 0)
        plan.hash6 = values.get("ipv6_hash_secret", 0)


def pack_probe(number: int, probe: Probe, func: str = "") -> bytes:
    """struct kl_place. ``func``: the name by which fentry finds the function; none where
    only a kprobe will do."""
    registers = {
        argument.name: ARCH.arguments.index(argument.register)
        for argument in probe.place.args
        if argument.register in ARCH.arguments
    }
    site = probe.site
    return bytes(
        _Place(
            probe.place.address,
            number,
            registers.get(probe.skb or "", _NONE),
            registers.get(probe.sock or "", _NONE),
            _HEADERS.get(site.header, _OWN),
            site.lookup,
            _hop(probe.skb_hop),
            _hop(probe.sock_hop),
            func.encode() if len(func) < FUNC_ROOM else b"",
        )
    )


def _hop(hop: int | None) -> int:
    return _NO_HOP if hop is None else hop
