"""ICMP: RFC 792; types and codes as include/uapi/linux/icmp.h names them, without ICMP_."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from kernlab.decode.protocols.model import (
    ADDRESS,
    NAMED,
    OPEN,
    TEXT,
    Field,
    Packet,
    Protocol,
    Quoted,
)

Codes = Mapping[int, Mapping[int, str]]  # type → code → name

TYPES = {
    0: "ECHOREPLY",
    3: "DEST_UNREACH",
    4: "SOURCE_QUENCH",
    5: "REDIRECT",
    8: "ECHO",
    9: "ROUTER_ADVERTISEMENT",  # RFC 1256: the kernel has no name for these two
    10: "ROUTER_SOLICITATION",
    11: "TIME_EXCEEDED",
    12: "PARAMETERPROB",
    13: "TIMESTAMP",
    14: "TIMESTAMPREPLY",
    15: "INFO_REQUEST",
    16: "INFO_REPLY",
    17: "ADDRESS",
    18: "ADDRESSREPLY",
}
_UNREACH = (
    "NET_UNREACH",
    "HOST_UNREACH",
    "PROT_UNREACH",
    "PORT_UNREACH",
    "FRAG_NEEDED",
    "SR_FAILED",
    "NET_UNKNOWN",
    "HOST_UNKNOWN",
    "HOST_ISOLATED",
    "NET_ANO",
    "HOST_ANO",
    "NET_UNR_TOS",
    "HOST_UNR_TOS",
    "PKT_FILTERED",
    "PREC_VIOLATION",
    "PREC_CUTOFF",
)
CODES: Codes = {
    3: dict(enumerate(_UNREACH)),
    5: dict(enumerate(("REDIR_NET", "REDIR_HOST", "REDIR_NETTOS", "REDIR_HOSTTOS"))),
    11: {0: "EXC_TTL", 1: "EXC_FRAGTIME"},
}
UNREACHABLE, _REDIRECT, _FRAG_NEEDED = 3, 5, 4
_ECHOES = (0, 8, 13, 14)  # those with an identifier and a sequence number
_QUOTING = (UNREACHABLE, 4, _REDIRECT, 11, 12)


def named(types: Mapping[int, str], codes: Codes, kind: int, code: int) -> Dict[str, Any]:
    """Type and code of a message, with their names where they have one."""
    fields: Dict[str, Any] = {"icmp_type": kind, "icmp_code": code}
    if kind in types:
        fields["icmp_name"] = types[kind]
    name = codes.get(kind, {}).get(code)
    if name is not None:
        fields["icmp_code_name"] = name
    return fields


def echo(raw: bytes) -> Dict[str, Any]:
    """Identifier and sequence number of an echo."""
    if len(raw) < 8:
        return {}
    return {
        "icmp_id": int.from_bytes(raw[4:6], "big"),
        "icmp_seq": int.from_bytes(raw[6:8], "big"),
    }


def quote(raw: bytes, quoted: Optional[Quoted]) -> Dict[str, Any]:
    """The packet behind an error's header, as far as it is there."""
    found = quoted(raw[8:]) if quoted is not None else None
    return {} if found is None else {"quoted": found}


def _decode(raw: bytes, length: int, quoted: Optional[Quoted]) -> Dict[str, Any]:
    if len(raw) < 2:
        return {}
    fields = named(TYPES, CODES, raw[0], raw[1])
    if raw[0] in _ECHOES:
        fields.update(echo(raw))
    if raw[0] in _QUOTING:
        if raw[0] == _REDIRECT and len(raw) >= 8:
            fields["icmp_gateway"] = ".".join(map(str, raw[4:8]))
        elif fields["icmp_type"] == UNREACHABLE and raw[1] == _FRAG_NEEDED and len(raw) >= 8:
            fields["icmp_mtu"] = int.from_bytes(raw[6:8], "big")
        fields.update(quote(raw, quoted))
    return fields


def line(packet: Packet) -> str:
    """A message: its type and code by name, what it carries, and whom it is about."""
    parts = [str(packet.get("icmp_name", "type %s" % packet.get("icmp_type", "?")))]
    code = packet.get("icmp_code_name")
    if code is not None:
        parts.append(str(code))
    elif packet.get("icmp_code"):
        parts.append("code %s" % packet["icmp_code"])
    for name in ("id", "seq", "mtu", "gateway", "target"):
        if "icmp_" + name in packet:
            parts.append("%s %s" % (name, packet["icmp_" + name]))
    about = packet.get("quoted")
    if isinstance(about, Mapping):
        parts.append("about " + _quotation(about))
    return " ".join(parts)


def _quotation(packet: Packet) -> str:
    """A quoted packet: its protocol, addresses and ports."""
    ends = [
        "%s:%s" % (packet.get(side), packet[port]) if port in packet else str(packet.get(side))
        for side, port in (("src", "sport"), ("dst", "dport"))
    ]
    said = "%s %s > %s" % (str(packet.get("proto", "?")).upper(), *ends)
    return said + (" " + line(packet) if "icmp_type" in packet else "")


def _words(names: Mapping[int, str]) -> Dict[str, int]:
    return {name: number for number, name in names.items()}


def shared(types: Mapping[int, str], codes: Codes, members: Sequence[str]) -> Tuple[Field, ...]:
    """The rows that ICMP and ICMPv6 share. ``members``: of type, code, id and seq."""
    kind, code, ident, seq = members
    named_codes = {name: number for of in codes.values() for number, name in of.items()}
    return (
        Field("icmp_type", NAMED, 8, 0, kind, "icmp.type", "icmp_name", _words(types), True),
        Field("icmp_code", NAMED, 8, 1, code, "icmp.code", "icmp_code_name", named_codes, True),
        Field("icmp_name", TEXT),
        Field("icmp_code_name", TEXT),
        Field("icmp_id", bits=16, member=ident, short="icmp.id"),
        Field("icmp_seq", bits=16, member=seq, short="icmp.seq", stable=True),
        Field("icmp_mtu", short="icmp.mtu"),
        Field("quoted", OPEN),
    )


ICMP = Protocol(
    "icmp",
    (1,),
    "ICMP",
    _decode,
    (
        *shared(TYPES, CODES, ("type", "code", "un.echo.id", "un.echo.sequence")),
        Field("icmp_gateway", ADDRESS, short="icmp.gateway"),
    ),
    line,
    header="icmphdr",
    accessor="icmp_hdr",
    lane="ICMP",
    files="icmp|/ping",
    colour="yellow",
)
