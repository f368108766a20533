"""ICMPv6: RFC 4443, and neighbour discovery, RFC 4861; types and codes as
include/uapi/linux/icmpv6.h and include/net/ndisc.h name them, without ICMPV6_ and NDISC_."""

from __future__ import annotations

import ipaddress
from typing import Any, Dict, Optional

from kernlab.decode.protocols.icmp import Codes, echo, line, named, quote, shared
from kernlab.decode.protocols.model import ADDRESS, Field, Protocol, Quoted

TYPES = {
    1: "DEST_UNREACH",
    2: "PKT_TOOBIG",
    3: "TIME_EXCEED",
    4: "PARAMPROB",
    128: "ECHO_REQUEST",
    129: "ECHO_REPLY",
    130: "MGM_QUERY",
    131: "MGM_REPORT",
    132: "MGM_REDUCTION",
    133: "ROUTER_SOLICITATION",
    134: "ROUTER_ADVERTISEMENT",
    135: "NEIGHBOUR_SOLICITATION",
    136: "NEIGHBOUR_ADVERTISEMENT",
    137: "REDIRECT",
    139: "NI_QUERY",
    140: "NI_REPLY",
    143: "MLD2_REPORT",
    144: "DHAAD_REQUEST",
    145: "DHAAD_REPLY",
    146: "MOBILE_PREFIX_SOL",
    147: "MOBILE_PREFIX_ADV",
    151: "MRDISC_ADV",
}
_UNREACH = (
    "NOROUTE",
    "ADM_PROHIBITED",
    "NOT_NEIGHBOUR",
    "ADDR_UNREACH",
    "PORT_UNREACH",
    "POLICY_FAIL",
    "REJECT_ROUTE",
)
CODES: Codes = {
    1: dict(enumerate(_UNREACH)),
    3: {0: "EXC_HOPLIMIT", 1: "EXC_FRAGTIME"},
    4: dict(enumerate(("HDR_FIELD", "UNK_NEXTHDR", "UNK_OPTION", "HDR_INCOMP"))),
}
UNREACHABLE, _TOO_BIG = 1, 2
_ECHOES = (128, 129)
_TARGETED = (135, 136, 137)
_LAST_ERROR = 127  # ICMPV6_ERRMSG_MAX


def _decode(raw: bytes, length: int, quoted: Optional[Quoted]) -> Dict[str, Any]:
    if len(raw) < 2:
        return {}
    kind = raw[0]
    fields = named(TYPES, CODES, kind, raw[1])
    if kind in _ECHOES:
        fields.update(echo(raw))
    elif kind in _TARGETED and len(raw) >= 24:
        fields["icmp_target"] = str(ipaddress.ip_address(bytes(raw[8:24])))
    elif kind <= _LAST_ERROR:
        if kind == _TOO_BIG and len(raw) >= 8:
            fields["icmp_mtu"] = int.from_bytes(raw[4:8], "big")
        fields.update(quote(raw, quoted))
    return fields


ICMPV6 = Protocol(
    "icmpv6",
    (58,),
    "ICMPv6",
    _decode,
    (
        *shared(
            TYPES,
            CODES,
            ("icmp6_type", "icmp6_code", "icmp6_identifier", "icmp6_sequence"),
        ),
        Field("icmp_target", ADDRESS, short="icmp.target"),
    ),
    line,
    header="icmp6hdr",
    accessor="icmp6_hdr",
    lane="ICMP",
    files="ndisc|mcast",
    colour="yellow",
)
