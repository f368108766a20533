"""SCTP, by its ports and its first chunk: RFC 9260; include/linux/sctp.h, enum sctp_cid."""

from __future__ import annotations

from typing import Any, Dict, Optional

from kernlab.decode.protocols.model import TEXT, Field, Packet, Protocol, Quoted

_CHUNKS = {
    0: "DATA",
    1: "INIT",
    2: "INIT_ACK",
    3: "SACK",
    4: "HEARTBEAT",
    5: "HEARTBEAT_ACK",
    6: "ABORT",
    7: "SHUTDOWN",
    8: "SHUTDOWN_ACK",
    9: "ERROR",
    10: "COOKIE_ECHO",
    11: "COOKIE_ACK",
    12: "ECN_ECNE",
    13: "ECN_CWR",
    14: "SHUTDOWN_COMPLETE",
    15: "AUTH",
    64: "I_DATA",
    128: "ASCONF_ACK",
    130: "RECONF",
    192: "FWD_TSN",
    193: "ASCONF",
    194: "I_FWD_TSN",
}
_HEADER = 12  # bytes; a chunk begins behind it


def _decode(raw: bytes, length: int, quoted: Optional[Quoted]) -> Dict[str, Any]:
    fields: Dict[str, Any] = SCTP.fixed(raw)
    if len(raw) > _HEADER:
        fields["chunk"] = _CHUNKS.get(raw[_HEADER], str(raw[_HEADER]))
    return fields


def _line(packet: Packet) -> str:
    return str(packet.get("chunk", ""))


SCTP = Protocol(
    "sctp",
    (132,),
    "SCTP",
    _decode,
    (
        Field("sport", bits=16, at=0, member="source"),
        Field("dport", bits=16, at=2, member="dest"),
        Field("vtag", at=4, member="vtag", short="sctp.vtag", stable=True),
        Field("chunk", TEXT, short="sctp.chunk", stable=True),
    ),
    _line,
    header="sctphdr",
    accessor="sctp_hdr",
    ports=True,
    lane="SCTP",
    files="/sctp/",
)
