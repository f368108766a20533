"""Frames → what they hold: by tshark, else by scapy, else by our own decoder.

A capture from outside may have any link type and any tunnel; dissectors that many people
keep read them all. Our own decoder knows what kernlab's captures hold (IP right inside a
cooked, an Ethernet or a raw frame) and needs nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kernlab.decode.packet import packet as decode
from kernlab.process import which
from kernlab.record.container import ETHERNET, SLL, SLL2, Captured, Inner, inner

CUT = "a TCP header that is cut short"
# Types of Ethernet frames that hold no TCP: ARP, RARP, LLDP, EAPOL, slow protocols, PTP, loopback
_OTHER = {0x0806, 0x8035, 0x88CC, 0x888E, 0x8809, 0x88F7, 0x9000}
_CARRIERS = {
    "4": "IP in IP",
    "41": "IPv6 in IP",
    "gre": "GRE",
    "esp": "ESP",
    "51": "AH",
    "115": "L2TP",
    "137": "MPLS in IP",
}
# UDP ports of tunnels (IANA; 8472: Linux' own default of VXLAN)
_TUNNELS = {
    4789: "VXLAN",
    8472: "VXLAN",
    4790: "VXLAN-GPE",
    6081: "GENEVE",
    2152: "GTP-U",
    4500: "ESP in UDP",
    1701: "L2TP",
    3544: "Teredo",
    6635: "MPLS in UDP",
    51820: "WireGuard",
}
_MOST = 32  # kinds that are told apart


class Dissected(NamedTuple):
    """A frame: ``number`` from 1 in the file, ``at`` in ns since 1970, ``place`` where it was
    seen (its interface, as far as the capture tells). ``fields`` are those of
    ``decode.packet`` for a TCP segment, the innermost; None where it holds none. ``within``:
    the networks around it by their ids ("vlan 5"). ``unknown`` says what it is for a frame
    that was not understood."""

    number: int
    at: int
    interface: str
    outgoing: bool | None
    ifindex: int | None
    place: tuple[Any, ...]
    fields: dict[str, Any] | None = None
    within: tuple[str, ...] = ()
    unknown: str = ""


class Tally:
    """Counts frames, and those that were not understood by what they are."""

    def __init__(self) -> None:
        self.frames = 0
        self.unknown: dict[str, int] = {}

    @property
    def lost(self) -> int:
        return sum(self.unknown.values())

    def take(self, frame: Dissected) -> None:
        self.frames += 1
        if frame.unknown:
            known = frame.unknown in self.unknown or len(self.unknown) < _MOST
            key = frame.unknown if known else "others"
            self.unknown[key] = self.unknown.get(key, 0) + 1


def start(number: int, frame: Captured) -> Dissected:
    """What a frame's own record and its cooked header tell."""
    inside = inner(frame) if frame.linktype in (SLL, SLL2) else None
    outgoing = None if inside is None else inside.outgoing
    index = None if inside is None else inside.ifindex
    place = (frame.interface, index, outgoing)
    return Dissected(number, frame.at, frame.interface, outgoing, index, place)


def best() -> str:
    """The dissector that this host has: ``tshark``, ``scapy`` or ``kernlab``."""
    if which("tshark") is not None:
        return "tshark"
    return "scapy" if importlib.util.find_spec("scapy") is not None else "kernlab"


def dissected(name: str, frames: Iterable[Captured]) -> Iterator[Dissected]:
    """Each frame, by one of the readers that ``best`` gives. Raises ``WeFailed`` where tshark
    ends too soon or does not answer."""
    if name == "tshark":
        from kernlab.record import tshark

        return tshark.dissected(frames)
    if name == "scapy":
        from kernlab.record import scapied

        return scapied.dissected(frames)
    return (own(number, frame) for number, frame in enumerate(frames, 1))


def own(number: int, frame: Captured) -> Dissected:
    """By our own decoder."""
    began = start(number, frame)
    inside = inner(frame)
    if inside is None:
        return began._replace(unknown=f"link type {frame.linktype}")
    if inside.ethertype not in (0x0800, 0x86DD):
        return began._replace(unknown=_unknown_type(frame, inside))
    actual = frame.length - (len(frame.data) - len(inside.data))
    fields = decode(inside.data, actual=actual if actual > 0 else None)
    if fields is None:
        return began._replace(unknown="no IP header where one has to be")
    if fields["proto"] == "tcp":
        if "flags" not in fields and not fields.get("fragment"):
            return began._replace(unknown=CUT)
        return began._replace(fields=fields) if "flags" in fields else began
    return began._replace(unknown=_carrier(fields))


def _unknown_type(frame: Captured, inside: Inner) -> str:
    if inside.ethertype in _OTHER or (frame.linktype in (SLL, SLL2) and inside.ethertype < 5):
        return ""
    if inside.ethertype < 0x600 and frame.linktype == ETHERNET:
        return "IEEE 802.3 with LLC"
    return f"EtherType 0x{inside.ethertype:04x}"


def _carrier(fields: dict[str, Any]) -> str:
    """What a packet that is no TCP may carry TCP in; nothing for one that does not."""
    if fields["proto"] == "udp":
        ports = (_TUNNELS.get(fields.get(key, 0), "") for key in ("dport", "sport"))
        return next(filter(None, ports), "")
    return _CARRIERS.get(fields["proto"], "")
