"""TCP: RFC 9293, RFC 7323 (window scale, timestamps), RFC 2018 (SACK), RFC 8684 (MPTCP)."""

from __future__ import annotations

import struct
from typing import Any, Dict, List, Mapping, Optional

from kernlab.decode.names import CA_STATES, LISTEN, flags_text, flags_words
from kernlab.decode.protocols.model import (
    FLAGS,
    OPEN,
    Bit,
    Field,
    Packet,
    Protocol,
    Quoted,
    Views,
)

_TCP = struct.Struct(">HHIIBBHHH")

# Option kind 30: net/mptcp/protocol.h, MPTCPOPT_*; RFC 8684 section 3
MPTCP_SUBTYPES = {
    0: "MP_CAPABLE",
    1: "MP_JOIN",
    2: "DSS",
    3: "ADD_ADDR",
    4: "RM_ADDR",
    5: "MP_PRIO",
    6: "MP_FAIL",
    7: "MP_FASTCLOSE",
    8: "MP_TCPRST",
}


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
    """Options by name; kinds without a name as ``kind-N`` with their bytes in hex. ``mptcp``
    has the names of the subtypes of each, in their order."""
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
        elif kind == 30 and body:
            subtype = body[0] >> 4
            known: List[str] = found.setdefault("mptcp", [])
            known.append(MPTCP_SUBTYPES.get(subtype, "subtype %d" % subtype))
        elif kind == 34:
            found["tfo"] = body.hex()
        else:
            found["kind-%d" % kind] = body.hex()
        at += size
    return found


def _decode(raw: bytes, length: int, quoted: Optional[Quoted]) -> Dict[str, Any]:
    return tcp_header(raw, length)


def line(packet: Packet) -> str:
    """Nearly as tcpdump writes it: flags, numbers, window (``wnd``: scaled, ``win``: as on the
    wire), length. One that has no header yet (an skb of the retransmit queue) has no window; a
    quoted one may have no flags."""
    flags = str(packet.get("flags", ""))
    parts = ["[%s]" % flags_words(flags)]
    length = packet.get("len", 0)
    seq = packet.get("rseq", packet.get("seq"))
    if seq is not None and ("S" in flags or length or "F" in flags or "R" in flags):
        parts.append("seq %s:%s" % (seq, seq + length) if length else "seq %s" % seq)
    if "A" in flags:
        parts.append("ack %s" % packet.get("rack", packet.get("ack", "?")))
    window = "wnd" if "wnd" in packet else "win"
    if window in packet:
        parts.append("%s %s" % (window, packet[window]))
    if length:
        parts.append("len %s" % length)
    return " ".join(parts)


_BITS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")  # struct tcphdr
SOCK_FIELDS = (
    "snd_una",
    "snd_nxt",
    "snd_wnd",
    "rcv_nxt",
    "rcv_wnd",
    "copied_seq",
    "write_seq",
    "snd_cwnd",
    "snd_ssthresh",
    "packets_out",
    "retrans_out",
    "lost_out",
    "sacked_out",
    "total_retrans",
    "mss_cache",
)

# Members and the fields of a socket that hold their values as they are.
SOCK_PAIRS = tuple((name, name) for name in SOCK_FIELDS)
CONNECTION_PAIRS = (("icsk_retransmits", "retransmits"), ("icsk_backoff", "backoff"))


def _socket(view: Views, constants: Mapping[str, int], state: int) -> Dict[str, Any]:
    """``srtt_us`` in µs (the kernel keeps it times eight), ``rto_ms`` in ms. A listener has
    nothing of a tcp_sock to say."""
    icsk = view("inet_connection_sock")
    found: Dict[str, Any] = {**icsk.values(CONNECTION_PAIRS)}
    congestion = icsk.get("icsk_ca_state")
    if congestion is not None:
        found["ca_state"] = CA_STATES.get(congestion, str(congestion))
    rto, hz = icsk.get("icsk_rto"), constants.get("HZ")
    if rto is not None and hz:
        found["rto_ms"] = rto * 1000 // hz
    if state == LISTEN:
        return found
    tp = view("tcp_sock")
    found.update(tp.values(SOCK_PAIRS))
    srtt = tp.get("srtt_us")
    if srtt is not None:
        found["srtt_us"] = srtt >> 3
    linger2 = tp.signed("linger2")
    if linger2:
        found["linger2"] = linger2
    return found


TCP = Protocol(
    "tcp",
    (6,),
    "TCP",
    _decode,
    (
        Field("sport", bits=16, at=0, member="source"),
        Field("dport", bits=16, at=2, member="dest"),
        Field("seq", at=4, member="seq", short="seq", stable=True),
        Field("ack", at=8, member="ack_seq", short="ack"),
        Field("flags", FLAGS, 8, at=13, short="flags", stable=True),
        Field("win", bits=16, at=14, member="window", short="win", stable=True),
        Field("urg", bits=16),
        Field("options", OPEN),
    ),
    line,
    header="tcphdr",
    accessor="tcp_hdr",
    bits={name: Bit("flags", 1 << number) for number, name in enumerate(_BITS)},
    cast={
        "tcp_sk": "tcp_sock",
        "tcp_twsk": "tcp_timewait_sock",
        "tcp_rsk": "tcp_request_sock",
    },
    ports=True,
    stream=True,
    states=True,
    kinds=("inet_connection_sock", "tcp_sock", "tcp6_sock"),
    structs={
        "inet_connection_sock": ("icsk_retransmits", "icsk_backoff", "icsk_ca_state", "icsk_rto"),
        "tcp_sock": (*SOCK_FIELDS, "srtt_us", "linger2"),
    },
    socket=_socket,
    tables=("tcp_hashinfo", "ipv4.tcp_death_row.hashinfo"),
    lane="TCP",
    files="(?:^|/)tcp|inet6?_(?:timewait|hash|connection)",
)
