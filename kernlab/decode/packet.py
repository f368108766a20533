"""Bytes of a packet → what is in it. Malformed parts are absent; nothing here raises.

RFC 791 (IPv4), RFC 8200 (IPv6); what is above them, ``kernlab.decode.protocols`` knows. All
multi-byte fields on the wire are big-endian.
"""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache
from typing import Any, Dict, Optional, Tuple

from kernlab.decode import protocols

_EXTENSIONS = {0, 43, 60, 135, 139, 140}  # hop-by-hop, routing, destination, mobility, HIP, shim6
_FRAGMENT = 44
_QUOTED = 8  # bytes behind the IP header that every ICMP error quotes


@lru_cache(maxsize=4096)
def address_text(raw: bytes) -> str:
    """4 or 16 bytes in network order as text. RFC 5952 for IPv6."""
    return str(ipaddress.ip_address(raw))


@lru_cache(maxsize=4096)
def socket_address(raw: bytes) -> str:
    """A socket's address: an IPv4 peer of an IPv6 socket (::ffff:10.0.2.2, RFC 4291 section
    2.5.5.2) is told as the IPv4 address that its packets have."""
    mapped = len(raw) == 16 and raw[:12] == b"\0" * 10 + b"\xff\xff"
    return address_text(raw[12:] if mapped else raw)


def packet(
    raw: bytes, start: str = "ip", transport: Optional[int] = None, actual: Optional[int] = None
) -> Optional[Dict[str, Any]]:
    """Decode ``raw`` from its IP header on; None when there is none.

    ``transport``: offset of the header above IP in ``raw`` where the kernel says it;
    otherwise it is computed from the headers. ``actual``: bytes of the packet from its
    IP header on, for packets larger than their length field can say (GSO, RFC 2675).
    """
    found = _network(raw, start, actual)
    if found is None:
        return None
    fields, number, offset, total, first = found
    if first:
        offset = transport if transport is not None else offset
        row = protocols.BY_NUMBER.get(number)
        if row is not None:
            fields.update(row.decode(raw[offset:], total - offset, quoted))
    return fields


def quoted(raw: bytes) -> Optional[Dict[str, Any]]:
    """The packet that an ICMP error quotes: its IP header and at least 8 bytes behind it (RFC
    792). Of a header that is cut there, what lies at a fixed place; None without an IP header.
    """
    found = _network(raw, "ip", None)
    if found is None:
        return None
    fields, number, offset, total, first = found
    row = protocols.BY_NUMBER.get(number)
    header = raw[offset:]
    if first and row is not None:
        cut = row.fixed(header) if len(header) >= _QUOTED else {}
        fields.update(row.decode(header, total - offset, None) or cut)
    return fields


def _network(raw: bytes, start: str, actual: Optional[int]) -> "_Found":
    """The IP header's fields; the protocol's number, the offset of its header, the packet's
    length, and whether it is no later fragment."""
    version = raw[0] >> 4 if raw else 0
    found = None
    if version == 4 and start in ("ip", "ipv4"):
        found = _ipv4(raw, actual)
    elif version == 6 and start in ("ip", "ipv6"):
        found = _ipv6(raw, actual)
    if found is not None:
        found[0]["proto"] = protocols.name_of(found[1])
    return found


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
