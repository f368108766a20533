"""kl-route: the route of a packet, a socket or an address, and the routing tables."""

from __future__ import annotations

import ipaddress
from typing import Any, Dict, List, Optional, Tuple

import gdb

from gdb_scripts.commands import Command, function_at, lab
from gdb_scripts.here import SOCKS, find, own_sock, pointer, site_of
from kernlab.decode.layout import read_struct
from kernlab.decode.route import Fib, decode_dst, dst_of_skb, dst_of_sock
from kernlab.decode.skb import decode_skb, skb_device

_ROUTES = ("dst_entry", "rtable", "rt6_info")


class KlRoute(Command):
    """A route: kl-route [EXPR|ADDRESS|all]

    Without a word: the route that the skb at hand has been given (or its socket sends by), and
    where it has none yet, what the tables say for the packet's destination.
    EXPR: an skb, a socket, a dst_entry, rtable or rt6_info.
    ADDRESS: what the IPv4 tables (local, main, default) say for this address.
    all: all IPv4 routes of all tables, in the words of "ip route show table all".
    Rules other than the kernel's first three (ip rule) are not looked at."""

    NAME = "kl-route"

    def run(self, text: str) -> List[str]:
        if text == "all":
            return _table()
        if text:
            try:
                address = str(ipaddress.IPv4Address(text))
            except ValueError:
                return _of_expression(text)
            return _of_address(address, _net_at_hand())
        return _at_hand()


def _at_hand() -> List[str]:
    told = lab()
    memory, layout = told.kernel.memory, told.kernel.layout
    target: Optional[str] = None
    skb = find(("sk_buff",), "skb")
    if skb is not None and skb.address:
        lines = _dst(dst_of_skb(memory, layout, skb.address), skb.where)
        if lines:
            return lines
        _, packet = decode_skb(memory, layout, skb.address, site_of(told, skb.address))
        target = packet.get("dst") if packet else None
    sock = own_sock(told)
    if sock is not None:
        lines = _dst(dst_of_sock(memory, layout, sock[0].address), sock[0].where)
        if lines:
            return lines
    if target is None or ":" in target:
        raise gdb.error("nothing here has a route yet; kl-route ADDRESS looks in the tables")
    head = "the packet has no route yet; the tables say for its destination %s:" % target
    return [head, *_of_address(target, _net_at_hand())]


def _of_expression(text: str) -> List[str]:
    memory, layout = lab().kernel.memory, lab().kernel.layout
    kind = gdb.parse_and_eval(text).type.strip_typedefs()
    if kind.code == gdb.TYPE_CODE_PTR:
        kind = kind.target().strip_typedefs()
    address: Optional[int]
    if kind.tag == "sk_buff":
        address = dst_of_skb(memory, layout, pointer(text, ("sk_buff",), "an skb").address)
    elif kind.tag in SOCKS or kind.tag == "socket":
        address = dst_of_sock(memory, layout, pointer(text, SOCKS, "a socket").address)
    else:
        address = pointer(text, _ROUTES, "a route").address
    lines = _dst(address, text)
    if not lines:
        raise gdb.error("%s has no route" % text)
    return lines


def _dst(address: Optional[int], where: str) -> List[str]:
    """A dst_entry in words; nothing when there is none."""
    found = decode_dst(lab().kernel.memory, lab().kernel.layout, address) if address else None
    if found is None:
        return []
    lines = ["route %s  (%s)" % (found["addr"], where)]
    words = [found["family"], found.get("type", "")]
    for name, word in (("to", "to"), ("gateway", "via"), ("dev", "dev"), ("error", "error")):
        if name in found:
            words.append("%s %s" % (word, found[name]))
    lines.append("  " + " ".join(word for word in words if word))
    for name in ("input", "output"):
        if name in found:
            lines.append("  %-7s%s" % (name, function_at(found[name])))
    return lines


def _nets() -> List[Tuple[int, str]]:
    told = lab()
    nets = told.kernel.tables.namespaces()
    return [(net, "" if index == 0 else " netns 0x%x" % net) for index, net in enumerate(nets)]


def _net_at_hand() -> int:
    """The namespace of the packet or the socket at hand, else the first one."""
    told = lab()
    memory, layout = told.kernel.memory, told.kernel.layout
    skb = find(("sk_buff",), "skb")
    if skb is not None and skb.address and site_of(told, skb.address)["direction"] == "in":
        device = skb_device(memory, layout, skb.address)
        net = told.kernel.tables.net_of(device) if device else None
        if net:
            return net
    sock = own_sock(told)
    if sock is not None:
        member = "__sk_common.skc_net.net"
        view = read_struct(memory, layout, "sock", sock[0].address, (member,))
        net = view.get(member) if view is not None else None
        if net:
            return net
    nets = _nets()
    if not nets:
        raise gdb.error("this kernel's namespaces were not found")
    return nets[0][0]


def _of_address(address: str, net: int) -> List[str]:
    found = Fib(lab().kernel.memory, lab().kernel.layout, net).find(address)
    if found is None:
        return ["no route to %s" % address]
    return [words(found)]


def _table() -> List[str]:
    lines = []
    for net, name in _nets():
        for route in Fib(lab().kernel.memory, lab().kernel.layout, net).routes():
            lines.append(words(route) + name)
    return lines or ["no IPv4 route"]


def words(route: Dict[str, Any]) -> str:
    """A table's route in the words of iproute2."""
    target = str(route["to"])
    target = "default" if target == "0.0.0.0/0" else target
    target = target[:-3] if target.endswith("/32") else target
    kind = route.get("type", "unicast")
    said = [target] if kind == "unicast" else [kind, target]
    for name in ("via", "dev", "table", "scope", "src", "metric"):
        if name in route and not (name == "scope" and route[name] == "global"):
            said.append("%s %s" % (name, route[name]))
    if "hops" in route:
        said.append("(the first of %d hops)" % route["hops"])
    return " ".join(said)
