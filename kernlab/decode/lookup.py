"""The socket a TCP segment is for, found as the kernel is about to find it.

At tcp_v4_rcv's first instruction the kernel does not know the socket yet (over loopback
there is no early demux either). This looks it up in the guest's memory by the same steps:
the established table, which also holds request sockets and TIME_WAIT, then the listeners
at the segment's address, then those at any address (net/ipv4/inet_hashtables.c,
__inet_lookup_established() and __inet_lookup_listener(); net/ipv6/inet6_hashtables.c).

A bucket is chosen by hash, but a socket is taken for its tuple alone: where a kernel
hashes otherwise than here, nothing is found, never the wrong one. Where several listeners
share a port (SO_REUSEPORT) the kernel's choice is not known, and nothing is said.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Any, Iterator, List, Mapping, Optional, Sequence

from kernlab.decode import protocols
from kernlab.decode.layout import Layout, View, read_struct
from kernlab.decode.memory import Memory, Unreadable
from kernlab.decode.names import AF_INET6, LISTEN

_U32 = 0xFFFFFFFF
_JHASH_INITVAL = 0xDEADBEEF
_MOST = 4096  # namespaces followed
_BLOCK = 2048  # bytes QEMU's gdbstub serves in one packet (half of its PacketSize, in hex)
_LONGEST = 256  # sockets looked at in one bucket: a list torn by a race must not run for ever
_COMMON = tuple(
    "__sk_common." + name
    for name in (
        "skc_daddr",
        "skc_rcv_saddr",
        "skc_dport",
        "skc_num",
        "skc_family",
        "skc_state",
        "skc_v6_daddr",
        "skc_v6_rcv_saddr",
        "skc_net.net",
        "skc_nulls_node",
        "skc_ipv6only",
    )
)


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _U32


def jhash(words: Sequence[int], initval: int) -> int:
    """jhash2() of include/linux/jhash.h; jhash_1word() and jhash_3words() are the same."""
    a = b = c = (_JHASH_INITVAL + (len(words) << 2) + initval) & _U32
    rest = list(words)
    while len(rest) > 3:
        a, b, c = (a + rest[0]) & _U32, (b + rest[1]) & _U32, (c + rest[2]) & _U32
        for bits_a, bits_b, bits_c in ((4, 6, 8), (16, 19, 4)):
            a, c = (a - c ^ _rotated(c, bits_a)) & _U32, (c + b) & _U32
            b, a = (b - a ^ _rotated(a, bits_b)) & _U32, (a + c) & _U32
            c, b = (c - b ^ _rotated(b, bits_c)) & _U32, (b + a) & _U32
        del rest[:3]
    if not rest:
        return c
    rest += [0, 0]
    a, b, c = (a + rest[0]) & _U32, (b + rest[1]) & _U32, (c + rest[2]) & _U32
    c = ((c ^ b) - _rotated(b, 14)) & _U32
    a = ((a ^ c) - _rotated(c, 11)) & _U32
    b = ((b ^ a) - _rotated(a, 25)) & _U32
    c = ((c ^ b) - _rotated(b, 16)) & _U32
    a = ((a ^ c) - _rotated(c, 4)) & _U32
    b = ((b ^ a) - _rotated(a, 14)) & _U32
    return ((c ^ b) - _rotated(b, 24)) & _U32


def words_of(address: bytes) -> List[int]:
    """An address in network order as the guest's CPU reads it, 32 bits at a time."""
    return list(struct.unpack("<%dI" % (len(address) // 4), address))


class SocketTables:
    """The socket tables of one kernel. ``values`` has the addresses of its symbols."""

    def __init__(self, memory: Memory, layout: Layout, values: Mapping[str, int]) -> None:
        self._memory = memory
        self._layout = layout
        self._values = values

    def find(self, packet: Mapping[str, Any], net: int) -> Optional[int]:
        """The address of the sock that a received segment is for in the namespace ``net``
        (a struct net's address); None when there is none or it cannot be told."""
        try:
            source = ipaddress.ip_address(packet["src"]).packed
            target = ipaddress.ip_address(packet["dst"]).packed
            sport, dport = int(packet["sport"]), int(packet["dport"])
            row = protocols.of(packet) if "proto" in packet else protocols.TCP
            if row is None or not any(row.tables):
                return None
            hashinfo, mix = self._namespace(net, row.tables)
            if hashinfo is None or mix is None:
                return None
            return self._established(hashinfo, net, mix, source, sport, target, dport) or (
                self._listener(hashinfo, net, mix, target, dport)
            )
        except (KeyError, TypeError, ValueError, Unreadable):
            return None

    def net_of(self, device: int) -> Optional[int]:
        """The network namespace of a struct net_device."""
        view = read_struct(self._memory, self._layout, "net_device", device, ("nd_net.net",))
        return None if view is None else view.get("nd_net.net")

    def namespaces(self) -> List[int]:
        """Every network namespace, the first one (init_net) first."""
        head = self._values.get("net_namespace_list")
        link = self._layout.field("net", "list.next")
        if head is None or link is None:
            return [self._values["init_net"]] if "init_net" in self._values else []
        found: List[int] = []
        at = self._word(head)
        while at != head and at and len(found) < _MOST:
            found.append(at - link[0])
            at = self._word(at)
        return found

    def listeners(self) -> Iterator[int]:
        """The socks of all listening tables."""
        size = self._layout.sizes.get("inet_listen_hashbucket")
        for hashinfo in self._hashinfos():
            table, mask = hashinfo.get("lhash2"), hashinfo.get("lhash2_mask")
            if table and mask is not None and size is not None:
                for bucket in range(table, table + (mask + 1) * size, size):
                    yield from self._listening(bucket)

    def established(self) -> Iterator[int]:
        """The socks of all established tables: TIME_WAIT and request sockets are there too."""
        size = self._layout.sizes.get("inet_ehash_bucket")
        first = self._layout.field("inet_ehash_bucket", "chain.first")
        for hashinfo in self._hashinfos():
            table, mask = hashinfo.get("ehash"), hashinfo.get("ehash_mask")
            if not table or mask is None or size is None or first is None:
                continue
            # Thousands of buckets, nearly all empty: many are read at once.
            step = _BLOCK // size
            for start in range(0, mask + 1, step):
                count = min(step, mask + 1 - start)
                block = self._memory.read(table + start * size, count * size)
                for index in range(count):
                    if not block[index * size + first[0]] & 1:
                        yield from self._nulls(table + (start + index) * size)

    def _hashinfos(self) -> Iterator[View]:
        """The tables of all namespaces, each once."""
        tables = [row.tables for row in protocols.TABLE if any(row.tables)]
        places = [self._values.get(symbol) for symbol, _ in tables]
        places += [self._tables_of(net, of)[0] for net in self.namespaces() for of in tables]
        for table in dict.fromkeys(places):
            if table is not None:
                hashinfo = read_struct(self._memory, self._layout, "inet_hashinfo", table)
                if hashinfo is not None:
                    yield hashinfo

    def _tables_of(
        self, net: int, tables: "tuple[str, str]"
    ) -> "tuple[Optional[int], Optional[View]]":
        symbol, member = tables
        view = read_struct(self._memory, self._layout, "net", net, ("hash_mix", member))
        if view is None:
            return None, None
        # A namespace may have tables of its own since d1e5e6408b30 (v6.1).
        return view.get(member) or self._values.get(symbol), view

    def _namespace(
        self, net: int, tables: "tuple[str, str]"
    ) -> "tuple[Optional[View], Optional[int]]":
        table, view = self._tables_of(net, tables)
        if table is None or view is None:
            return None, None
        return read_struct(self._memory, self._layout, "inet_hashinfo", table), view.get("hash_mix")

    def _secret(self, name: str) -> int:
        """A hash's secret. Without it no bucket can be found, and no answer be given: a
        connection that is not looked for must not pass for one that is not there."""
        address = self._values.get(name)
        if address is None:
            raise Unreadable(name)
        return int.from_bytes(self._memory.read(address, 4), "little")

    def _established(
        self,
        hashinfo: View,
        net: int,
        mix: int,
        source: bytes,
        sport: int,
        target: bytes,
        dport: int,
    ) -> Optional[int]:
        ports = dport << 16 | int.from_bytes(struct.pack(">H", sport), "little")
        six = len(source) == 16
        secret = self._secret("inet6_ehash_secret" if six else "inet_ehash_secret")
        remote = words_of(source)
        if six:
            remote = [jhash(remote, self._secret("ipv6_hash_secret"))]
        hashed = jhash([words_of(target)[-1], remote[0], ports], (secret + mix) & _U32)
        table, mask = hashinfo.get("ehash"), hashinfo.get("ehash_mask")
        size = self._layout.sizes.get("inet_ehash_bucket")
        if not table or mask is None or size is None:
            return None
        for address in self._nulls(table + (hashed & mask) * size):
            view = self._common(address)
            if (
                view is not None
                and view.get("__sk_common.skc_net.net") == net
                and view.get("__sk_common.skc_num") == dport
                and view.network("__sk_common.skc_dport") == sport
                and _address(view, "rcv_saddr", six) == target
                and _address(view, "daddr", six) == source
            ):
                return address
        return None

    def _listener(
        self, hashinfo: View, net: int, mix: int, target: bytes, dport: int
    ) -> Optional[int]:
        table, mask = hashinfo.get("lhash2"), hashinfo.get("lhash2_mask")
        size = self._layout.sizes.get("inet_listen_hashbucket")
        if not table or mask is None or size is None:
            return None
        six = len(target) == 16
        # All addresses hash alike when they are "any": IPv4's, IPv6's, and both at once.
        for words, wanted in ((words_of(target), target), ([0], bytes(len(target)))):
            bucket = table + ((jhash(words, mix) ^ dport) & mask) * size
            found = [
                address
                for address in self._listening(bucket)
                if self._listens(address, net, dport, wanted, six)
            ]
            if found:
                return found[0] if len(found) == 1 else None
        return None

    def _listens(self, address: int, net: int, dport: int, wanted: bytes, six: bool) -> bool:
        view = self._common(address)
        if (
            view is None
            or view.get("__sk_common.skc_state") != LISTEN
            or view.get("__sk_common.skc_net.net") != net
            or view.get("__sk_common.skc_num") != dport
        ):
            return False
        if six and view.get("__sk_common.skc_family") != AF_INET6:
            return False
        if not six and view.get("__sk_common.skc_ipv6only"):
            return False
        return _address(view, "rcv_saddr", six) == wanted

    def _common(self, address: int) -> Optional[View]:
        return read_struct(self._memory, self._layout, "sock", address, _COMMON)

    def _word(self, address: int) -> int:
        return int.from_bytes(self._memory.read(address, 8), "little")

    def _nulls(self, bucket: int, member: str = "chain.first") -> Iterator[int]:
        """The socks of a list that ends with an odd pointer (include/linux/list_nulls.h)."""
        struct_name = "inet_ehash_bucket" if member == "chain.first" else "inet_listen_hashbucket"
        first = self._layout.field(struct_name, member)
        node = self._layout.field("sock", "__sk_common.skc_nulls_node")
        if first is None or node is None:
            return
        at = self._word(bucket + first[0])
        for _ in range(_LONGEST):
            if at & 1 or not at:
                return
            yield at - node[0]
            at = self._word(at)

    def _listening(self, bucket: int) -> Iterator[int]:
        """The listeners of a bucket: linked by icsk_listen_portaddr_node until cae3873c5b3a
        (v5.19), by skc_nulls_node since."""
        node = self._layout.field("inet_connection_sock", "icsk_listen_portaddr_node")
        first = self._layout.field("inet_listen_hashbucket", "head.first")
        if node is None or first is None:
            yield from self._nulls(bucket, "nulls_head.first")
            return
        at = self._word(bucket + first[0])
        for _ in range(_LONGEST):
            if not at:
                return
            yield at - node[0]
            at = self._word(at)


def _address(view: View, which: str, six: bool) -> Optional[bytes]:
    return view.bytes("__sk_common.skc_" + ("v6_" if six else "") + which)
