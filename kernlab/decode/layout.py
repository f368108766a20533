"""Where members are in this kernel's structures, and blocks of memory read by it.

Offsets come from the kernel's own debug info (``kernlab.symbols``). A member that this
kernel does not have is absent from what is decoded, never guessed: names are tried in
the order given where a member was renamed or moved.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from kernlab.decode import protocols
from kernlab.decode.memory import Memory, Unreadable

# Structure → members that decoding wants; dotted names go through nested structures.
WANTED: Mapping[str, Sequence[str]] = {
    "sk_buff": (
        "sk",
        "dev",
        "len",
        "data_len",
        "protocol",
        "cb",
        "transport_header",
        "network_header",
        "mac_header",
        "end",
        "head",
        "data",
        "mark",
        "_skb_refdst",
        "users.refs.counter",
        "destructor",
    ),
    "socket": ("sk",),
    "net_device": ("name", "ifindex", "nd_net.net"),
    "net": (
        "hash_mix",
        "ipv4.tcp_death_row.hashinfo",
        "list.next",
        "ns.inum",
        "ipv4.fib_table_hash",
        "ipv4.fib_main",
    ),
    "inet_hashinfo": ("ehash", "ehash_mask", "lhash2", "lhash2_mask"),
    "inet_ehash_bucket": ("chain.first",),
    "inet_listen_hashbucket": ("head.first", "nulls_head.first"),
    "tcp_skb_cb": ("seq", "end_seq", "tcp_flags", "ack_seq"),
    "sock": (
        "__sk_common.skc_daddr",
        "__sk_common.skc_rcv_saddr",
        "__sk_common.skc_dport",
        "__sk_common.skc_num",
        "__sk_common.skc_family",
        "__sk_common.skc_state",
        "__sk_common.skc_v6_daddr",
        "__sk_common.skc_v6_rcv_saddr",
        "__sk_common.skc_net.net",
        "__sk_common.skc_nulls_node",
        "__sk_common.skc_ipv6only",
        "sk_protocol",
        "sk_type",
        "sk_err",
        "sk_err_soft",
        "sk_shutdown",
        "sk_rcvbuf",
        "sk_sndbuf",
        "sk_wmem_queued",
        "sk_receive_queue.qlen",
        "sk_lingertime",
        "sk_ack_backlog",
        "sk_max_ack_backlog",
        "__sk_common.skc_flags",
        "sk_backlog.len",
        "sk_dst_cache",
    ),
    "inet_sock": ("inet_sport",),
    **protocols.structs(),
    "inet_connection_sock": (
        *protocols.structs()["inet_connection_sock"],
        "icsk_listen_portaddr_node",
    ),
    "inet_timewait_sock": ("tw_substate",),
    "tcp_timewait_sock": (
        "tw_sk.__tw_common.skc_tw_rcv_nxt",
        "tw_sk.__tw_common.skc_tw_snd_nxt",
        "tw_rcv_wnd",
    ),
    "tcp_request_sock": ("rcv_isn", "snt_isn", "rcv_nxt"),
    "dst_entry": ("dev", "ops", "input", "output", "error"),
    "dst_ops": ("family",),
    "rtable": ("rt_type", "rt_iif", "rt_gw_family", "rt_gw4", "rt_gw6"),
    "rt6_info": ("rt6i_gateway", "rt6i_dst.addr", "rt6i_dst.plen"),
    "fib_table": ("tb_hlist.next", "tb_id", "tb_data"),
    "key_vector": ("key", "bits", "leaf.first", "tnode"),
    "fib_alias": ("fa_list.next", "fa_info", "fa_type", "fa_slen", "tb_id"),
    "fib_info": ("fib_scope", "fib_prefsrc", "fib_priority", "fib_nhs", "nh", "fib_nh"),
    "fib_nh": ("nh_common.nhc_dev", "nh_common.nhc_gw_family", "nh_common.nhc_gw.ipv4"),
    "task_struct": ("pid", "comm"),
    "tk_read_base": ("shift", "xtime_nsec", "base"),
}

Place = Tuple[int, ...]  # offset, size in bytes; for bit-fields also first bit and bits


class Layout:
    """Offsets of one kernel. Made from ``{"structs": {name: {"size", "members"}}}``."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._structs: Dict[str, Dict[str, Place]] = {
            name: {member: tuple(place) for member, place in struct["members"].items()}
            for name, struct in data.get("structs", {}).items()
        }
        self.sizes: Dict[str, int] = {
            name: int(struct["size"]) for name, struct in data.get("structs", {}).items()
        }
        self.constants: Dict[str, int] = dict(data.get("constants", {}))
        # The skb destructors that say: skb->sk is the socket that sends the packet.
        self.senders = frozenset(data.get("senders", ()))
        self._spans: Dict[Tuple[str, Tuple[str, ...]], Optional[Tuple[int, int]]] = {}

    def field(self, struct: str, member: str) -> Optional[Place]:
        """Offset and size in bytes of a member, or None where this kernel has none."""
        return self._structs.get(struct, {}).get(member)

    def members(self, struct: str) -> Dict[str, Place]:
        return self._structs.get(struct, {})

    def span(
        self, struct: str, members: Optional[Sequence[str]] = None
    ) -> Optional[Tuple[int, int]]:
        """First and last+1 byte that holds the members (all known ones by default)."""
        key = (struct, tuple(members or ()))
        if key not in self._spans:
            known = self._structs.get(struct, {})
            places = [known[name] for name in (members or known) if name in known]
            self._spans[key] = (
                (min(p[0] for p in places), max(p[0] + p[1] for p in places)) if places else None
            )
        return self._spans[key]


class View:
    """One structure's members in a block that was read at once."""

    def __init__(self, layout: Layout, struct: str, block: bytes, start: int) -> None:
        self._members = layout.members(struct)
        self._block = block
        self._start = start
        self._size = len(block)

    def bytes(self, member: str) -> Optional[bytes]:
        place = self._members.get(member)
        if place is None:
            return None
        low = place[0] - self._start
        data = self._block[low : low + place[1]]
        return data if low >= 0 and len(data) == place[1] else None

    def get(self, member: str) -> Optional[int]:
        """A little-endian unsigned value; bit-fields are cut out."""
        place = self._members.get(member)
        if place is None:
            return None
        low = place[0] - self._start
        high = low + place[1]
        if low < 0 or high > self._size:
            return None
        value = int.from_bytes(self._block[low:high], "little")
        return value if len(place) == 2 else value >> place[2] & ((1 << place[3]) - 1)

    def values(self, pairs: Sequence[Tuple[str, str]]) -> Dict[str, int]:
        """The same of many members, each under the name that it is paired with; what is not
        there is left out."""
        get = self.get
        return {key: value for member, key in pairs if (value := get(member)) is not None}

    def signed(self, member: str) -> Optional[int]:
        data = self.bytes(member)
        return None if data is None else int.from_bytes(data, "little", signed=True)

    def network(self, member: str) -> Optional[int]:
        """A big-endian (network byte order) value."""
        data = self.bytes(member)
        return None if data is None else int.from_bytes(data, "big")


def read_struct(
    memory: Memory,
    layout: Layout,
    struct: str,
    address: int,
    members: Optional[Sequence[str]] = None,
) -> Optional[View]:
    """Read the members' whole span as one block; None when there is nothing to read there."""
    span = layout.span(struct, members)
    if span is None or not address:
        return None
    try:
        block = memory.read(address + span[0], span[1] - span[0])
    except Unreadable:
        return None
    return View(layout, struct, block, span[0])


def cover(layout: Layout, structs: List[str]) -> Tuple[int, int]:
    """First and last+1 byte over all known members of structures that share an address."""
    spans = [span for span in (layout.span(name) for name in structs) if span is not None]
    return (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else (0, 0)
