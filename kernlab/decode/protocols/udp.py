"""UDP (RFC 768) and UDP-Lite (RFC 3828), whose third field is not the length."""

from __future__ import annotations

import struct
from typing import Any, Dict, Optional

from kernlab.decode.protocols.model import Field, Packet, Protocol, Quoted

_UDP = struct.Struct(">HHH")


def _udp(raw: bytes, length: int, quoted: Optional[Quoted]) -> Dict[str, Any]:
    if len(raw) < 8:
        return {}
    sport, dport, size = _UDP.unpack_from(raw)
    return _ports(sport, dport, (size or length) - 8)


def _lite(raw: bytes, length: int, quoted: Optional[Quoted]) -> Dict[str, Any]:
    if len(raw) < 8:
        return {}
    sport, dport, _ = _UDP.unpack_from(raw)
    return _ports(sport, dport, length - 8)


def _ports(sport: int, dport: int, payload: int) -> Dict[str, Any]:
    fields: Dict[str, Any] = {"sport": sport, "dport": dport}
    if payload >= 0:
        fields["len"] = payload
    return fields


def _line(packet: Packet) -> str:
    return "len %s" % packet["len"] if "len" in packet else ""


_FIELDS = (
    Field("sport", bits=16, at=0, member="source"),
    Field("dport", bits=16, at=2, member="dest"),
)
_KINDS = ("udp_sock", "udp6_sock")

UDP = Protocol(
    "udp",
    (17,),
    "UDP",
    _udp,
    _FIELDS,
    _line,
    header="udphdr",
    accessor="udp_hdr",
    cast={"udp_sk": "udp_sock"},
    ports=True,
    kinds=_KINDS,
    lane="UDP",
    files="udp",
)
UDPLITE = Protocol(
    "udplite",
    (136,),
    "UDP-Lite",
    _lite,
    _FIELDS,
    _line,
    ports=True,
    kinds=_KINDS,
    lane="UDP",
    files="udplite",
)
