"""Bytes of a packet → what is in it. Malformed parts are absent; nothing here raises.

RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 7323 (window scale, timestamps),
RFC 2018 (SACK), RFC 768 (UDP). All multi-byte fields on the wire are big-endian.
"""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache
from typing import Any, Dict, Optional, Tuple

from kernlab.decode.names import PROTOCOLS, flags_text

_TCP = struct.Struct(">HHIIBBHHH")
_EXTENSIONS = {0, 43, 60, 135, 139, 140}  # hop-by-hop, routing, destination, mobility, HIP, shim6
_FRAGMENT = 44


@lru_cache(maxsize=4096)
def address_text(raw: bytes) -> str:
    """4 or 16 bytes in network order as text. RFC 5952 for IPv6."""
    return str(ipaddress.ip_address(raw))


def packet(
    raw: bytes, start: str = "ip", transport: Optional[int] = None, actual: Optional[int] = None
) -> Optional[Dict[str, Any]]:
    """Decode ``raw`` from its IP header on; None when there is none.

    ``transport``: offset of the TCP/UDP header in ``raw`` where the kernel says it;
    otherwise it is computed from the headers. ``actual``: bytes of the packet from its
    IP header on, for packets larger than their length field can say (GSO, RFC 2675).
    """
    if not raw:
        return None
    version = raw[0] >> 4
    if version == 4 and start in ("ip", "ipv4"):
        found = _ipv4(raw, actual)
    elif version == 6 and start in ("ip", "ipv6"):
        found = _ipv6(raw, actual)
    else:
        return None
    if found is None:
        return None
    fields, protocol, offset, total, first = found
    if protocol in PROTOCOLS:
        fields["proto"] = PROTOCOLS[protocol]
    else:
        fields["proto"] = str(protocol)
    if not first:
        return fields
    offset = transport if transport is not None else offset
    fields.update(_transport(protocol, raw[offset:], total - offset))
    return fields


_Found = Optional[Tuple[Dict[str, Any], int, int, int, bool]]


def _ipv4(raw: bytes, actual: Optional[int]) -> _Found:
    header = (raw[0] & 15) * 4
    if header < 20 or len(raw) < 20:
        return None
    tos, total, ident, fragment, ttl, protocol = struct.unpack_from(">xBHHHBB", raw)
    if total == 0 or (actual is not None and actual > 65535):
        total = actual if actual is not None else total
    fields: Dict[str, Any] = {
        "family": "ipv4",
        "src": address_text(bytes(raw[12:16])),
        "dst": address_text(bytes(raw[16:20])),
        "ttl": ttl,
        "ip_id": ident,
        "tos": tos,
    }
    if fragment & 0x3FFF:
        fields["fragment"] = (fragment & 0x1FFF) * 8
    return fields, protocol, header, total, not fragment & 0x1FFF


def _ipv6(raw: bytes, actual: Optional[int]) -> _Found:
    if len(raw) < 40:
        return None
    word, length, protocol, hops = struct.unpack_from(">IHBB", raw)
    total = 40 + length
    if length == 0 and actual is not None:
        total = actual
    fields: Dict[str, Any] = {
        "family": "ipv6",
        "src": address_text(bytes(raw[8:24])),
        "dst": address_text(bytes(raw[24:40])),
        "ttl": hops,
        "tos": word >> 20 & 0xFF,
    }
    offset, first = 40, True
    while protocol in _EXTENSIONS or protocol == _FRAGMENT or protocol == 51:
        if len(raw) < offset + 8:
            return fields, protocol, offset, total, False
        following = raw[offset]
        if protocol == _FRAGMENT:
            place = struct.unpack_from(">H", raw, offset + 2)[0]
            fields["fragment"] = place & 0xFFF8
            first = not place & 0xFFF8
            offset += 8
        elif protocol == 51:  # authentication header counts in 4-byte units, RFC 4302
            offset += (raw[offset + 1] + 2) * 4
        else:
            offset += (raw[offset + 1] + 1) * 8
        protocol = following
    return fields, protocol, offset, total, first


def _transport(protocol: int, raw: bytes, length: int) -> Dict[str, Any]:
    if protocol == 6:
        return tcp_header(raw, length)
    if protocol in (17, 136) and len(raw) >= 8:
        sport, dport, size = struct.unpack_from(">HHH", raw)
        payload = (size or length) - 8
        fields: Dict[str, Any] = {"sport": sport, "dport": dport}
        if payload >= 0:
            fields["len"] = payload
        return fields
    if protocol in (1, 58) and len(raw) >= 2:
        return {"icmp_type": raw[0], "icmp_code": raw[1]}
    return {}


def tcp_header(raw: bytes, length: int) -> Dict[str, Any]:
    """A TCP header. ``length``: bytes of the whole segment, header included.

    ``win`` is the 16-bit field as sent, unscaled; ``len`` is the payload's length;
    ``options_cut``: not all of its options are in ``raw``.
    """
    if len(raw) < 20:
        return {}
    sport, dport, seq, ack, offset, flags, window, _, urgent = _TCP.unpack_from(raw)
    header = (offset >> 4) * 4
    fields: Dict[str, Any] = {
        "sport": sport,
        "dport": dport,
        "flags": flags_text(flags),
        "seq": seq,
        "ack": ack,
        "win": window,
    }
    if header < 20:
        return fields
    if length >= header:
        fields["len"] = length - header
    if flags & 0x20:
        fields["urg"] = urgent
    if header > 20:
        options = tcp_options(raw[20:header])
        if options:
            fields["options"] = options
        if len(raw) < header:
            fields["options_cut"] = True
    return fields


def tcp_options(raw: bytes) -> Dict[str, Any]:
    """Options by name; kinds without a name as ``kind-N`` with their bytes in hex."""
    found: Dict[str, Any] = {}
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if at + 1 >= len(raw):
            break
        size = raw[at + 1]
        body = raw[at + 2 : at + size]
        if size < 2 or at + size > len(raw):
            break
        if kind == 2 and size == 4:
            found["mss"] = int.from_bytes(body, "big")
        elif kind == 3 and size == 3:
            found["wscale"] = body[0]
        elif kind == 4 and size == 2:
            found["sack_ok"] = True
        elif kind == 5 and size >= 10 and size % 8 == 2:
            edges = struct.unpack(">%dI" % (len(body) // 4), body)
            found["sack"] = [[edges[i], edges[i + 1]] for i in range(0, len(edges), 2)]
        elif kind == 8 and size == 10:
            found["ts"] = list(struct.unpack(">II", body))
        elif kind == 19:
            found["md5"] = body.hex()
        elif kind == 34:
            found["tfo"] = body.hex()
        else:
            found["kind-%d" % kind] = body.hex()
        at += size
    return found
