"""A hit of a probe: which sock, skb and packet it is about."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from kernlab.decode import protocols
from kernlab.decode.layout import Layout, read_struct
from kernlab.decode.memory import Memory
from kernlab.decode.place import SiteSpec, TypeSpec
from kernlab.decode.skb import decode_skb, skb_device
from kernlab.decode.sock import decode_sock

Decoded = Dict[str, Any]


class Hit(NamedTuple):
    """What could be read."""

    sock: Optional[Decoded] = None
    skb: Optional[Decoded] = None
    packet: Optional[Decoded] = None
    netns: Optional[int] = None

    def put(self, event: Decoded) -> None:
        """Into an event, what there is."""
        for name, value in (
            ("packet", self.packet),
            ("skb", self.skb),
            ("sock", self.sock),
            ("netns", self.netns),
        ):
            if value is not None:
                event[name] = value


def decode_hit(
    memory: Memory,
    layout: Layout,
    site: SiteSpec,
    skb: Optional[int],
    own: Optional[int],
    look_up: Optional[Callable[[int, Decoded], Optional[int]]] = None,
) -> Hit:
    """``skb`` and ``own`` are the addresses that the probed function has as arguments, None
    where it has no such argument. The sock is the function's own, or what the skb belongs
    to, or what the kernel is about to find for it (``look_up``, where ``site`` says so).

    On its way in a packet may still hold its sender's socket: a veth hands the skb over as it
    is, and ip_rcv_core() lets go of it. That socket is not the receiver's, and left out."""
    sock, found, packet = _objects(memory, layout, site, skb, own, look_up)
    return Hit(sock, found, packet, _netns(memory, layout, sock, found, skb))


def _objects(
    memory: Memory,
    layout: Layout,
    site: SiteSpec,
    skb: Optional[int],
    own: Optional[int],
    look_up: Optional[Callable[[int, Decoded], Optional[int]]],
) -> Tuple[Optional[Decoded], Optional[Decoded], Optional[Decoded]]:
    sock = None
    if own is not None:
        sock = _from("argument", decode_sock(memory, layout, own))
    if skb is None:
        return sock, None, None
    found, packet = decode_skb(memory, layout, skb, site, sock)
    if found is None or own is not None:
        return sock, found, packet  # a sock argument that is NULL says that there is none
    sent = found.get("owner") == "sender"
    if "sk" in found and not (sent and site["direction"] == "in"):
        # What early demux or the sender attached.
        via = "sender" if sent and site["direction"] != "out" else "skb"
        sock = _from(via, decode_sock(memory, layout, int(found["sk"], 16)))
    elif look_up is not None and site["lookup"] and packet is not None:
        address = look_up(skb, packet)
        sock = _from("lookup", decode_sock(memory, layout, address)) if address else None
    return sock, found, packet


def add_error(event: Decoded, site: SiteSpec) -> None:
    """Of a function that sends an ICMP error: which one, as its arguments say it. The packet of
    such an event is the one that the error is about, and will be quoted."""
    row = protocols.BY_NAME.get(site["sends"] or "")
    given = event.get("args") or event.get("locals") or {}
    kind, code = given.get("type"), given.get("code")
    if row is not None and isinstance(kind, int) and isinstance(code, int):
        found = row.decode(bytes((kind & 255, code & 255)), 2, None)
        if found:
            event["error"] = {"proto": row.name, **found}


def _netns(
    memory: Memory,
    layout: Layout,
    sock: Optional[Decoded],
    found: Optional[Decoded],
    skb: Optional[int],
) -> Optional[int]:
    """The inode number of the network namespace that the sock is in, or else the device."""
    net = None
    if sock is not None:
        member = "__sk_common.skc_net.net"
        view = read_struct(memory, layout, "sock", int(sock["addr"], 16), (member,))
        net = None if view is None else view.get(member)
    elif skb is not None and found is not None and "dev" in found:
        device = skb_device(memory, layout, skb)
        view = read_struct(memory, layout, "net_device", device or 0, ("nd_net.net",))
        net = None if view is None else view.get("nd_net.net")
    view = read_struct(memory, layout, "net", net or 0, ("ns.inum",))
    return None if view is None else view.get("ns.inum")


def _from(via: str, sock: Optional[Decoded]) -> Optional[Decoded]:
    if sock is not None:
        sock["via"] = via
    return sock


def as_type(value: int, kind: TypeSpec) -> Any:
    """A register's content as its type has it: addresses as "0x…", numbers cut to width."""
    if kind["kind"] == "pointer":
        return "0x%x" % value
    bits = 8 * kind["size"]
    value &= (1 << bits) - 1
    if kind["kind"] == "signed" and value >> (bits - 1):
        value -= 1 << bits
    return value
