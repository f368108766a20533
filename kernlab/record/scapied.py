"""Frames dissected by scapy, where tshark is not there: slower, and it knows fewer protocols.

Scapy finds the innermost TCP header and the IP header around it; our decoder reads them.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from kernlab.decode.packet import packet as decode
from kernlab.record.container import Captured
from kernlab.record.dissected import CUT, Dissected, start

_HEAD = 2048  # bytes of a frame that are dissected: more than the headers of many tunnels
_LAYERS = ("scapy.layers.all", "scapy.contrib.mpls", "scapy.contrib.geneve", "scapy.contrib.gtp")
_WITHIN = {
    "Dot1Q": ("vlan", "vlan"),
    "Dot1AD": ("vlan", "vlan"),
    "VXLAN": ("vxlan", "vni"),
    "GENEVE": ("geneve", "vni"),
    "GRE": ("gre", "key"),
}
_OPAQUE = {"Raw", "Padding", "NoPayload"}
_ENDS = {"UDP", "SCTP", "ICMP", "ARP", "LLC", "STP"}


def dissected(frames: Iterable[Captured]) -> Iterator[Dissected]:
    """Each frame by scapy; one that it stumbles over was not understood."""
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    scapy: Any = importlib.import_module("scapy.all")
    for name in _LAYERS:
        with suppress(ImportError):
            importlib.import_module(name)
    links = scapy.conf.l2types.num2layer
    for number, frame in enumerate(frames, 1):
        began = start(number, frame)
        link = links.get(frame.linktype)
        if link is None:
            yield began._replace(unknown=f"link type {frame.linktype}")
            continue
        try:
            found = _read(began, frame, link(frame.data[:_HEAD]))
        except Exception as error:  # whatever a dissector of some protocol may raise
            found = began._replace(unknown=f"scapy: {type(error).__name__}")
        yield found


def _read(began: Dissected, frame: Captured, whole: Any) -> Dissected:
    layers = list(_layers(whole))
    names = [type(one).__name__ for one in layers]
    network = segment = None
    for layer, name in zip(layers, names, strict=True):
        if name in ("IPerror", "IPerror6", "TCPerror"):
            return began  # an ICMP error quotes what was sent elsewhere
        if name in ("IP", "IPv6"):
            network = layer
        if name == "TCP":
            segment = network
    if segment is None:
        return began._replace(unknown=_opaque(names))
    raw = bytes(segment.original)
    before = min(len(frame.data), _HEAD) - len(raw)
    fields = decode(raw, actual=frame.length - before)
    if fields is None or "flags" not in fields:
        return began._replace(unknown=CUT)
    within = tuple(_within(layers, names))
    return began._replace(
        fields=fields, within=within, place=(*began.place, ":".join(names)[:500], *within)
    )


def _layers(packet: Any) -> Iterator[Any]:
    for _ in range(100):
        yield packet
        packet = packet.payload
        if type(packet).__name__ == "NoPayload":
            return


def _opaque(names: list[str]) -> str:
    if names[-1] not in _OPAQUE or _ENDS & set(names):
        return ""
    return ":".join(names)[:80]


def _within(layers: list[Any], names: list[str]) -> Iterator[str]:
    for layer, name in zip(layers, names, strict=True):
        kind, field = _WITHIN.get(name, ("", ""))
        value = getattr(layer, field, None) if kind else None
        if value is not None and (value or kind != "vlan"):
            yield f"{kind} {int(value)}"
