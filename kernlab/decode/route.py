"""Routes: the one a packet has been given (a dst_entry), and the IPv4 tables themselves.

A table is a trie of key vectors (net/ipv4/fib_trie.c): a node with ``bits`` has 2^bits
children, one without is a leaf whose aliases are the routes to its key. The local and the
main table share one trie as long as nobody has added a rule, so an alias says which table
it belongs to.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Dict, Iterator, List, Mapping, Optional

from kernlab.decode.layout import Layout, View, read_struct
from kernlab.decode.memory import Memory
from kernlab.decode.names import AF_INET, AF_INET6, FAMILIES
from kernlab.decode.packet import address_text
from kernlab.decode.skb import device_name

# include/uapi/linux/rtnetlink.h: RTN_*, RT_TABLE_*, RT_SCOPE_*
TYPES: Mapping[int, str] = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
    10: "nat",
}
TABLES: Mapping[int, str] = {253: "default", 254: "main", 255: "local"}
SCOPES: Mapping[int, str] = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
# The order in which the rules that a kernel begins with ask the tables (net/ipv4/fib_rules.c).
ORDER = (255, 254, 253)

_DEEPEST = 33  # nodes from the root to a leaf: each consumes at least one of 32 bits
_LONGEST = 4096  # entries followed in one list
_NOREF = 1  # SKB_DST_NOREF, include/linux/skbuff.h


def dst_of_skb(memory: Memory, layout: Layout, skb: int) -> Optional[int]:
    """The dst_entry an skb has been given; None without one."""
    view = read_struct(memory, layout, "sk_buff", skb, ("_skb_refdst",))
    value = view.get("_skb_refdst") if view is not None else None
    return value & ~_NOREF if value else None


def dst_of_sock(memory: Memory, layout: Layout, sock: int) -> Optional[int]:
    """The dst_entry a connected sock sends by; None without one."""
    view = read_struct(memory, layout, "sock", sock, ("sk_dst_cache",))
    return (view.get("sk_dst_cache") or None) if view is not None else None


def decode_dst(memory: Memory, layout: Layout, address: int) -> Optional[Dict[str, Any]]:
    """The route at ``address``; None when there is none.

    ``input`` and ``output`` are addresses of functions. An skb in a socket's write queue
    keeps list links where others keep their route (struct sk_buff, tcp_tsorted_anchor):
    what has no address family is no route.
    """
    view = read_struct(memory, layout, "dst_entry", address)
    operations = view.get("ops") if view is not None else None
    if view is None or not operations:
        return None
    family_view = read_struct(memory, layout, "dst_ops", operations, ("family",))
    family = family_view.get("family") if family_view is not None else None
    if family not in FAMILIES:
        return None
    found: Dict[str, Any] = {"addr": "0x%x" % address, "family": FAMILIES[family]}
    device = device_name(memory, layout, view.get("dev"))
    if device is not None:
        found["dev"] = device
    for name in ("input", "output"):
        value = view.get(name)
        if value:
            found[name] = value
    error = view.get("error")
    if error:
        found["error"] = error - (1 << 16) if error >> 15 else error
    found.update(
        _ipv4(memory, layout, address) if family == AF_INET else _ipv6(memory, layout, address)
    )
    return found


def _ipv4(memory: Memory, layout: Layout, address: int) -> Dict[str, Any]:
    view = read_struct(memory, layout, "rtable", address)
    found: Dict[str, Any] = {}
    if view is None:
        return found
    kind, iif = view.get("rt_type"), view.get("rt_iif")
    if kind:
        found["type"] = TYPES.get(kind, str(kind))
    if iif:
        found["iif"] = iif
    gateway = {AF_INET: "rt_gw4", AF_INET6: "rt_gw6"}.get(view.get("rt_gw_family") or 0)
    raw = view.bytes(gateway) if gateway else None
    if raw:
        found["gateway"] = address_text(raw)
    return found


def _ipv6(memory: Memory, layout: Layout, address: int) -> Dict[str, Any]:
    view = read_struct(memory, layout, "rt6_info", address)
    found: Dict[str, Any] = {}
    if view is None:
        return found
    raw, bits = view.bytes("rt6i_dst.addr"), view.get("rt6i_dst.plen")
    if raw is not None and bits is not None and bits <= 128:
        found["to"] = "%s/%d" % (address_text(raw), bits)
    raw = view.bytes("rt6i_gateway")
    if raw is not None and any(raw):
        found["gateway"] = address_text(raw)
    return found


class Fib:
    """The IPv4 routing tables of one namespace."""

    def __init__(self, memory: Memory, layout: Layout, net: int) -> None:
        self._memory = memory
        self._layout = layout
        self._net = net

    def routes(self) -> List[Dict[str, Any]]:
        """All routes: ``table``, ``to`` (a prefix), ``type``, ``dev``, ``via``, ``src``,
        ``scope`` and ``metric``, those that there are. Raises ``Unreadable``."""
        found = []
        for table in self._tables():
            number, data = table.get("tb_id"), table.get("tb_data")
            if number is None or not data:
                continue
            found += [route for route in self._trie(data) if route.pop("id", number) == number]
        return found

    def find(self, address: str) -> Optional[Dict[str, Any]]:
        """The route for ``address`` as the first rules of a kernel find it: local, main and
        default, in each the longest prefix, of these the smallest metric.

        Other rules (``ip rule``) and type of service are not looked at.
        """
        target = ipaddress.IPv4Address(address)
        known = [(ipaddress.IPv4Network(r["to"], strict=False), r) for r in self.routes()]
        for number in ORDER:
            fitting = [
                (-prefix.prefixlen, route.get("metric", 0), route)
                for prefix, route in known
                if route["table"] == TABLES[number] and target in prefix
            ]
            best = min(fitting, key=lambda item: item[:2], default=None)
            if best is not None and best[2].get("type") != "throw":
                return best[2]
        return None

    def _tables(self) -> Iterator[View]:
        view = read_struct(self._memory, self._layout, "net", self._net, ("ipv4.fib_table_hash",))
        hashed = view.get("ipv4.fib_table_hash") if view is not None else None
        link = self._layout.field("fib_table", "tb_hlist.next")
        if not hashed or link is None:
            return
        # FIB_TABLE_HASHSZ: 256 with CONFIG_IP_MULTIPLE_TABLES, which alone has fib_main.
        size = 256 if self._layout.field("net", "ipv4.fib_main") else 2
        heads = self._memory.read(hashed, 8 * size)
        for at in range(0, 8 * size, 8):
            for node in self._list(int.from_bytes(heads[at : at + 8], "little")):
                table = read_struct(self._memory, self._layout, "fib_table", node - link[0])
                if table is not None:
                    yield table

    def _list(self, first: int) -> Iterator[int]:
        """The nodes of an hlist; ``next`` is a node's first word."""
        at = first
        for _ in range(_LONGEST):
            if not at:
                return
            yield at
            at = self._word(at)

    def _word(self, address: int) -> int:
        return int.from_bytes(self._memory.read(address, 8), "little")

    def _trie(self, data: int) -> Iterator[Dict[str, Any]]:
        children = self._layout.field("key_vector", "tnode")
        if children is None:
            return
        # The root is a vector with one child (struct trie).
        pending = [(self._word(data + children[0]), _DEEPEST)]
        while pending:
            address, left = pending.pop()
            node = read_struct(self._memory, self._layout, "key_vector", address)
            bits = node.get("bits") if node is not None else None
            if node is None or bits is None or bits > 32:
                continue
            if not bits:
                yield from self._leaf(node)
            elif left:
                block = self._memory.read(address + children[0], 8 << bits)
                words = [
                    int.from_bytes(block[i : i + 8], "little") for i in range(0, len(block), 8)
                ]
                pending += [(word, left - 1) for word in reversed(words) if word]

    def _leaf(self, node: View) -> Iterator[Dict[str, Any]]:
        key, first = node.get("key"), node.get("leaf.first")
        link = self._layout.field("fib_alias", "fa_list.next")
        if key is None or not first or link is None:
            return
        for entry in self._list(first):
            alias = read_struct(self._memory, self._layout, "fib_alias", entry - link[0])
            if alias is None:
                continue
            suffix, number = alias.get("fa_slen"), alias.get("tb_id")
            if suffix is None or suffix > 32:
                continue
            route: Dict[str, Any] = {}
            if number is not None:
                route["id"] = number
                route["table"] = TABLES.get(number, str(number))
            route["to"] = "%s/%d" % (ipaddress.IPv4Address(key), 32 - suffix)
            kind = alias.get("fa_type")
            if kind is not None:
                route["type"] = TYPES.get(kind, str(kind))
            route.update(self._info(alias.get("fa_info")))
            yield route

    def _info(self, address: Optional[int]) -> Dict[str, Any]:
        view = read_struct(self._memory, self._layout, "fib_info", address or 0)
        found: Dict[str, Any] = {}
        if view is None or not address:
            return found
        source, metric, scope = (
            view.bytes("fib_prefsrc"),
            view.get("fib_priority"),
            view.get("fib_scope"),
        )
        hops = self._layout.field("fib_info", "fib_nh")
        if view.get("nh"):
            found["via"] = "a nexthop object"  # since 4c7e8084fd46 (v5.3)
        elif hops is not None and view.get("fib_nhs"):
            found.update(self._hop(address + hops[0]))
            if (view.get("fib_nhs") or 0) > 1:
                found["hops"] = view.get("fib_nhs")
        if source is not None and any(source):
            found["src"] = address_text(source)
        if metric:
            found["metric"] = metric
        if scope is not None:
            found["scope"] = SCOPES.get(scope, str(scope))
        return found

    def _hop(self, address: int) -> Dict[str, Any]:
        view = read_struct(self._memory, self._layout, "fib_nh", address)
        found: Dict[str, Any] = {}
        if view is None:
            return found
        raw = view.bytes("nh_common.nhc_gw.ipv4")
        if raw is not None and view.get("nh_common.nhc_gw_family") == AF_INET:
            found["via"] = address_text(raw)
        device = device_name(self._memory, self._layout, view.get("nh_common.nhc_dev"))
        if device is not None:
            found["dev"] = device
        return found
