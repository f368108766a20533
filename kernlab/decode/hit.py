"""A hit of a probe: which sock, skb and packet it is about."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from kernlab.decode.layout import Layout
from kernlab.decode.memory import Memory
from kernlab.decode.skb import decode_skb
from kernlab.decode.sock import decode_sock

Decoded = Dict[str, Any]


class Hit(NamedTuple):
    """What could be read."""

    sock: Optional[Decoded] = None
    skb: Optional[Decoded] = None
    packet: Optional[Decoded] = None

    def put(self, event: Decoded) -> None:
        """Into an event, what there is."""
        for name, value in (("packet", self.packet), ("skb", self.skb), ("sock", self.sock)):
            if value is not None:
                event[name] = value


def decode_hit(
    memory: Memory,
    layout: Layout,
    site: Mapping[str, Any],
    skb: Optional[int],
    own: Optional[int],
    look_up: Optional[Callable[[int, Decoded], Optional[int]]] = None,
) -> Hit:
    """``skb`` and ``own`` are the addresses that the probed function has as arguments, None
    where it has no such argument. The sock is the function's own, or what the skb belongs
    to, or what the kernel is about to find for it (``look_up``, where ``site`` says so)."""
    sock = None
    if own is not None:
        sock = _from("argument", decode_sock(memory, layout, own))
    if skb is None:
        return Hit(sock)
    found, packet = decode_skb(memory, layout, skb, site, sock)
    if found is None or own is not None:
        return Hit(sock, found, packet)  # a sock argument that is NULL says that there is none
    if "sk" in found:  # what early demux or the sender attached
        sock = _from("skb", decode_sock(memory, layout, int(found["sk"], 16)))
    elif look_up is not None and site.get("lookup") and packet is not None:
        address = look_up(skb, packet)
        sock = _from("lookup", decode_sock(memory, layout, address)) if address else None
    return Hit(sock, found, packet)


def _from(via: str, sock: Optional[Decoded]) -> Optional[Decoded]:
    if sock is not None:
        sock["via"] = via
    return sock


def as_type(value: int, kind: Mapping[str, Any]) -> Any:
    """A register's content as its type has it: addresses as "0x…", numbers cut to width."""
    if kind["kind"] == "pointer":
        return "0x%x" % value
    bits = 8 * int(kind["size"])
    value &= (1 << bits) - 1
    if kind["kind"] == "signed" and value >> (bits - 1):
        value -= 1 << bits
    return value
