"""Frames → what they hold: by tshark, else by scapy, else by our own decoder.

A capture from outside may have any link type and any tunnel; dissectors that many people
keep read them all. Our own decoder knows what kernlab's captures hold (IP right inside a
cooked, an Ethernet or a raw frame) and needs nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import Any

from kernlab.decode.packet import packet as decode
from kernlab.process import which
from kernlab.record import scapied, tshark
from kernlab.record.container import ETHERNET, SLL, SLL2, Captured, Inner, inner
from kernlab.record.dissected import CUT, Dissected, start

_IP = (0x0800, 0x86DD)  # EtherTypes
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


def best() -> str:
    """The dissector that this host has: ``tshark``, ``scapy`` or ``kernlab``."""
    if which("tshark") is not None:
        return "tshark"
    return "scapy" if importlib.util.find_spec("scapy") is not None else "kernlab"


def dissected(name: str, frames: Iterable[Captured]) -> Iterator[Dissected]:
    """Each frame, by one of the readers that ``best`` gives. Raises ``WeFailed`` where tshark
    ends too soon or does not answer."""
    if name == "tshark":
        return tshark.dissected(frames)
    if name == "scapy":
        return scapied.dissected(frames)
    return (own(number, frame) for number, frame in enumerate(frames, 1))


def own(number: int, frame: Captured) -> Dissected:
    """By our own decoder."""
    began = start(number, frame)
    inside = inner(frame)
    if inside is None:
        return began._replace(unknown=f"link type {frame.linktype}")
    if inside.ethertype not in _IP:
        return began._replace(unknown=_unknown_type(frame, inside))
    fields = _decoded(frame, inside)
    if fields is None:
        return began._replace(unknown="no IP header where one must be")
    if fields["proto"] == "tcp":
        if "flags" not in fields and not fields.get("fragment"):
            return began._replace(unknown=CUT)
        return began._replace(fields=fields) if "flags" in fields else began
    return began._replace(unknown=_carrier(fields))


def packet_of(frame: Captured) -> dict[str, Any] | None:
    """The packet in a frame of a capture of ours, whatever its protocol; None without one."""
    inside = inner(frame)
    if inside is None or inside.ethertype not in _IP:
        return None
    return _decoded(frame, inside)


def _decoded(frame: Captured, inside: Inner) -> dict[str, Any] | None:
    actual = frame.length - (len(frame.data) - len(inside.data))
    return decode(inside.data, actual=actual if actual > 0 else None)


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
