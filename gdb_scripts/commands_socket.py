"""kl-sock, kl-tcp and kl-sockets."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional

import gdb

from gdb_scripts.commands import Command, lab
from gdb_scripts.here import the_sock
from kernlab.decode import expr, protocols
from kernlab.decode.layout import read_struct
from kernlab.decode.sock import decode_sock

_U32 = 0xFFFFFFFF

# What kl-tcp shows, a line each: title, then field names of decode_sock.
_TCP_LINES = (
    ("send", ("snd_una", "snd_nxt", "write_seq", "snd_wnd")),
    ("receive", ("rcv_nxt", "copied_seq", "rcv_wnd")),
    ("congestion", ("ca_state", "snd_cwnd", "snd_ssthresh", "mss_cache")),
    ("segments", ("packets_out", "sacked_out", "lost_out", "retrans_out", "total_retrans")),
    ("timers", ("rto_ms", "srtt_us", "retransmits", "backoff")),
    ("handshake", ("rcv_isn", "snt_isn")),
    ("closing", ("substate", "linger2", "lingertime")),
)
_SOCK_LINES = (
    ("queues", ("receive_queue", "backlog_len", "wmem_queued", "rcvbuf", "sndbuf")),
    ("accept", ("ack_backlog", "max_ack_backlog")),
    ("errors", ("err", "err_soft", "shutdown")),
)


def end(sock: Dict[str, Any], side: str) -> str:
    """One end of a socket as address:port."""
    address = sock.get({"sport": "src", "dport": "dst"}[side], "?")
    port = sock.get(side) or "*"
    return "[%s]:%s" % (address, port) if ":" in address else "%s:%s" % (address, port)


def _lines(sock: Dict[str, Any], rows: Any) -> List[str]:
    lines = []
    for title, names in rows:
        known = ["%s %s" % (name, sock[name]) for name in names if name in sock]
        if known:
            lines.append("  %-11s%s" % (title, "  ".join(known)))
    return lines


def _head(sock: Dict[str, Any], where: str) -> List[str]:
    return [
        "sock %s  (%s)" % (sock["addr"], where),
        "  %s %s  %s -> %s  %s"
        % (
            sock["family"],
            sock.get("protocol", "?"),
            end(sock, "sport"),
            end(sock, "dport"),
            sock.get("state", ""),
        ),
    ]


class KlSock(Command):
    """A socket: kl-sock [EXPR]

    Addresses (the local end first), state, queues and errors. EXPR: a struct sock, or one that
    begins with it (tcp_sock, request_sock, inet_timewait_sock ...), or a struct socket.
    Without EXPR: the socket of the selected frame or of the nearest one above it; else the one
    its skb belongs to; else, where the kernel is about to look it up, the one it will find."""

    NAME = "kl-sock"

    def run(self, text: str) -> List[str]:
        found, sock = the_sock(lab(), text)
        lines = _head(sock, found.where) + _lines(sock, _SOCK_LINES)
        if sock.get("sock_flags"):
            lines.append("  %-11s%s" % ("flags", " ".join(sock["sock_flags"])))
        name = _namespace(found.address)
        return lines + (["  %-11s%s" % ("netns", name)] if name else [])


class KlTcp(Command):
    """A TCP socket's protocol state: kl-tcp [EXPR]

    Sequence numbers, windows (bytes), congestion control (snd_cwnd in segments), timers
    (rto in ms, srtt in us). "flight" is what is sent and not acknowledged, "unsent" what waits
    in the write queue, "unread" what the program has not read yet, all in bytes.
    EXPR as for kl-sock. A TIME_WAIT or request socket shows the few fields that it has."""

    NAME = "kl-tcp"

    def run(self, text: str) -> List[str]:
        found, sock = the_sock(lab(), text)
        row = protocols.BY_NAME.get(str(sock.get("protocol")))
        if row is None or not row.states:
            raise gdb.error("0x%x is a %s socket" % (found.address, sock.get("protocol", "?")))
        lines = _head(sock, found.where) + _lines(sock, _TCP_LINES)
        derived = []
        for name, high, low in (
            ("flight", "snd_nxt", "snd_una"),
            ("unsent", "write_seq", "snd_nxt"),
            ("unread", "rcv_nxt", "copied_seq"),
        ):
            # Before the handshake these count from numbers that are not set yet.
            if high in sock and low in sock and sock[low]:
                derived.append("%s %d" % (name, sock[high] - sock[low] & _U32))
        return lines + (["  %-11s%s" % ("bytes", "  ".join(derived))] if derived else [])


class KlSockets(Command):
    """Every TCP socket of the guest: kl-sockets [FILTER]

    Walks the listening and the established table of all network namespaces; TIME_WAIT and
    half-open (NEW_SYN_RECV) sockets are in the latter. The columns are those of "ss -tan":
    for a listener, Recv-Q is how many connections wait to be accepted, Send-Q how many may.
    FILTER is an expression as kernlab trace --where takes it:
      kl-sockets port == 80 and state != LISTEN"""

    NAME = "kl-sockets"
    COMPLETE = gdb.COMPLETE_NONE

    def run(self, text: str) -> List[str]:
        wanted = None
        if text:
            try:
                wanted = expr.parse(text)
            except expr.ExprError as error:
                marker = " " * (error.column - 1) + "^"
                raise gdb.error("%s\n  %s\n  %s" % (error.message, text, marker)) from None
        rows = []
        for address in _addresses():
            sock = decode_sock(lab().kernel.memory, lab().kernel.layout, address)
            if sock is None or not expr.passes(wanted, {"sock": sock}):
                continue
            rows.append((sock, _namespace(address)))
        rows.sort(
            key=lambda row: (
                row[0].get("state") != "LISTEN",
                row[0].get("sport", 0),
                row[0].get("dport", 0),
            )
        )
        several = len({name for _, name in rows}) > 1
        lines = [_row("State", "Recv-Q", "Send-Q", "Local", "Peer", "Address", several, "Netns")]
        for sock, name in rows:
            received, sent = queues(sock)
            lines.append(
                _row(
                    sock.get("state", "?"),
                    received,
                    sent,
                    end(sock, "sport"),
                    end(sock, "dport"),
                    sock["addr"],
                    several,
                    name or "?",
                )
            )
        return lines if rows else ["no socket" + (" passes the filter" if text else "")]


def _row(
    state: str,
    received: object,
    sent: object,
    local: str,
    peer: str,
    address: str,
    several: bool,
    name: str,
) -> str:
    line = "%-12s %6s %6s  %-22s %-22s %-18s" % (state, received, sent, local, peer, address)
    return (line + (" " + name if several else "")).rstrip()


def _addresses() -> Iterator[int]:
    tables = lab().kernel.tables
    yield from dict.fromkeys([*tables.listeners(), *tables.established()])


def queues(sock: Dict[str, Any]) -> "tuple[int, int]":
    """Recv-Q and Send-Q as tcp_get_info's callers count them (net/ipv4/tcp_diag.c,
    tcp_diag_get_info()): bytes not read, and bytes not acknowledged."""
    if sock.get("state") == "LISTEN":
        return sock.get("ack_backlog", 0), sock.get("max_ack_backlog", 0)
    if "write_seq" not in sock:
        return 0, 0
    received = sock.get("rcv_nxt", 0) - sock.get("copied_seq", 0) & _U32
    # A FIN counts as a byte of sequence space but not as one to read.
    received = 0 if received > 1 << 31 else received
    return received, sock["write_seq"] - sock.get("snd_una", 0) & _U32


def _namespace(address: int) -> Optional[str]:
    """The network namespace a sock is in: "init", or the number that lsns shows."""
    memory, layout = lab().kernel.memory, lab().kernel.layout
    view = read_struct(memory, layout, "sock", address, ("__sk_common.skc_net.net",))
    net = view.get("__sk_common.skc_net.net") if view is not None else None
    if not net:
        return None
    if net == lab().settings["layout"].get("expressions", {}).get("init_net"):
        return "init"
    view = read_struct(memory, layout, "net", net, ("ns.inum",))
    number = view.get("ns.inum") if view is not None else None
    return str(number) if number else "0x%x" % net
