"""Which events are of one packet: ``packet.id``.

A packet has no name in the kernel. It is told by what holds it: a struct sk_buff
(``skb.addr``), and a buffer (``skb.head``) that clones share (net/core/skbuff.c,
__skb_clone()). pskb_expand_head() gives a known skb another buffer; a copy has both new and
the same headers. Addresses are used again soon after a free, often in the same order. So an
address alone is believed only as long as

- no free of it was seen (__kfree_skb() and its like; with ``users`` > 1 it is only a
  reference that goes), and
- nothing that both headers say contradicts: sequence number, flags, IP identification,
  length, timestamps. Addresses and ports may change under NAT, the window may not.

Where the trace has no probe at a free and an event has no header, nothing tells a used
address from a used-again one: such an event gets no id.

A segment that is sent again is another packet on the wire, although the retransmit queue's
skb is the same: __tcp_transmit_skb() begins a packet each time it is entered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from kernlab.decode import protocols

# Functions that end the skb they are called for.
FREES = frozenset(
    (
        "__kfree_skb",
        "kfree_skbmem",
        "kfree_skb",
        "kfree_skb_reason",
        "sk_skb_reason_drop",
        "consume_skb",
        "__consume_stateless_skb",
        "kfree_skb_partial",
        "napi_skb_free_stolen_head",
    )
)
_BEGINS = frozenset(("__tcp_transmit_skb",))
# Called through another of FREES for the same skb: the end was seen already.
_AGAIN = frozenset(("__kfree_skb", "kfree_skbmem"))
_STABLE = ("proto", "ip_id", *protocols.stable())
_ENDS = ("src", "sport", "dst", "dport")
_SIDES = (("src", "sport"), ("dst", "dport"))
_KEPT = 65536  # packets remembered; the oldest is forgotten


class _Packet:
    """A packet on its way: what is known of it, and what holds it."""

    __slots__ = ("facts", "id", "live", "probes")

    def __init__(self, name: str) -> None:
        self.id = name
        self.facts: dict[str, Any] = {}
        self.live: dict[str, str | None] = {}  # skb → its buffer
        self.probes: set[str] = set()


class Identity:
    """Gives events their ``packet.id``, one after the other in the order they happened.

    ``frees``: whether the trace has a probe at a free; if None, from the first that comes.
    """

    def __init__(self, frees: bool | None = None) -> None:
        self._frees = bool(frees)
        self._skbs: dict[str, _Packet] = {}
        self._heads: dict[str, _Packet] = {}
        self._ended: OrderedDict[str, _Packet] = OrderedDict()  # skb → the packet it ended with
        self._recent: OrderedDict[str, _Packet] = OrderedDict()
        self._copies: dict[tuple[Any, ...], _Packet] = {}
        self._count = 0

    def take(self, event: dict[str, Any]) -> str | None:
        """The event's packet, also noted in it as ``packet.id``; None where it is not known."""
        skb = event.get("skb")
        if not isinstance(skb, Mapping) or "addr" not in skb:
            return None
        probe = str((event.get("site") or {}).get("func") or event.get("probe", ""))
        freed = probe in FREES
        self._frees = self._frees or freed
        packet = event.get("packet")
        facts = _facts(packet) if isinstance(packet, Mapping) else {}
        found = self._find(skb["addr"], skb.get("head"), facts, probe)
        if found is None:
            return None
        found.probes.add(probe)
        for name, value in facts.items():
            if name in _ENDS:
                found.facts[name] = value  # NAT's last word
            else:
                found.facts.setdefault(name, value)
        self._note(found, skb["addr"], skb.get("head"))
        if freed and skb.get("users", 1) <= 1:
            self._free(found, skb["addr"])
        event["packet"] = {"id": found.id, **(packet or {})}
        return found.id

    def _find(
        self, addr: str, head: str | None, facts: Mapping[str, Any], probe: str
    ) -> _Packet | None:
        if probe in _AGAIN and addr in self._ended and addr not in self._skbs:
            was = self._ended[addr]
            if _agree(was.facts, facts):
                return was
        known = self._skbs.get(addr)
        if probe in _BEGINS and known is not None and probe in known.probes:
            self._forget(known)
            return self._new()
        if known is not None and (
            self._same(known, head, facts) or _translated(known, addr, head, facts, probe)
        ):
            return known
        if known is not None:  # used again
            known.live.pop(addr, None)
        known = self._heads.get(head) if head else None
        if known is not None and self._same(known, head, facts):
            return known
        if not facts and not self._frees:
            return None
        copy = self._copies.get(_print(facts)) if _whole(facts) else None
        if copy is not None and copy.live and head is not None:
            return copy
        return self._new()

    def _same(self, known: _Packet, head: str | None, facts: Mapping[str, Any]) -> bool:
        if not _agree(known.facts, facts):
            return False
        if self._frees:
            return True
        # Only the headers speak: they have to.
        told = [name for name in _STABLE if name in facts and name in known.facts]
        heads = set(known.live.values())
        return bool(told) and (head is None or head in heads or len(told) > 2)

    def _new(self) -> _Packet:
        self._count += 1
        made = _Packet(f"p{self._count}")
        self._recent[made.id] = made
        while len(self._recent) > _KEPT:
            self._forget(next(iter(self._recent.values())))
        return made

    def _note(self, packet: _Packet, addr: str, head: str | None) -> None:
        self._ended.pop(addr, None)
        self._skbs[addr] = packet
        was = packet.live.get(addr)
        packet.live[addr] = head or was
        if head is not None:
            self._heads[head] = packet
        if was is not None and head not in (None, was):
            self._leave(packet, was)
        if _whole(packet.facts):
            self._copies[_print(packet.facts)] = packet

    def _free(self, packet: _Packet, addr: str) -> None:
        head = packet.live.pop(addr, None)
        self._skbs.pop(addr, None)
        if head is not None:
            self._leave(packet, head)
        self._ended[addr] = packet
        while len(self._ended) > 1024:
            self._ended.popitem(last=False)
        if not packet.live:
            self._forget(packet)

    def _leave(self, packet: _Packet, head: str) -> None:
        """One skb of the packet no longer has this buffer."""
        if head not in packet.live.values() and self._heads.get(head) is packet:
            del self._heads[head]

    def _forget(self, packet: _Packet) -> None:
        """Nothing that comes later is of it."""
        self._recent.pop(packet.id, None)
        for addr in [a for a in packet.live if self._skbs.get(a) is packet]:
            del self._skbs[addr]
        for head in {h for h in packet.live.values() if h is not None}:
            if self._heads.get(head) is packet:
                del self._heads[head]
        key = _print(packet.facts)
        if self._copies.get(key) is packet:
            del self._copies[key]
        packet.live.clear()


def _facts(packet: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: packet[name] for name in (*_STABLE, *_ENDS) if packet.get(name) is not None}
    stamps = (packet.get("options") or {}).get("ts")
    if stamps is not None:
        found["ts"] = tuple(stamps) if isinstance(stamps, list) else stamps
    return found


def _agree(known: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether nothing that both say contradicts. Other addresses need proof of NAT: the same
    IP identification, which is not 0 (RFC 6864 lets atomic datagrams have any)."""
    for name in (*_STABLE, "ts"):
        if name in known and name in facts and known[name] != facts[name]:
            return False
    moved = any(name in known and name in facts and known[name] != facts[name] for name in _ENDS)
    if not moved:
        return True
    return bool(facts.get("ip_id")) and known.get("ip_id") == facts.get("ip_id")


def _translated(
    known: _Packet, addr: str, head: str | None, facts: Mapping[str, Any], probe: str
) -> bool:
    """Whether NAT rewrote a packet without an IP identification: the same skb and buffer, one
    end that is as it was, everything else too, at a probe that it had not come to yet. The
    next packet at the address comes to the first probe again."""
    was = known.facts
    if head is None or known.live.get(addr) != head or probe in known.probes:
        return False
    if facts.get("ip_id") or any(was.get(name) != facts.get(name) for name in (*_STABLE, "ts")):
        return False
    kept = [all(was.get(name) == facts.get(name) for name in end) for end in _SIDES]
    return any(kept) and "seq" in facts


def _whole(facts: Mapping[str, Any]) -> bool:
    """Whether the headers alone name a packet."""
    return bool(facts.get("ip_id")) and all(name in facts for name in ("src", "dst", "proto"))


def _print(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(facts.get(name) for name in (*_ENDS, *_STABLE, "ts"))
