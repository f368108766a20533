"""A sock → tuple, state and counters.

``struct sock_common`` is shared by full sockets, request sockets and TIME_WAIT's
mini-sockets (include/net/sock.h, include/net/inet_timewait_sock.h,
include/net/request_sock.h). Family, state, type and protocol are looked at before anything is
taken for a tcp_sock: a TIME_WAIT sock is too short to be one, and a raw socket for IPPROTO_TCP,
a packet or a netlink socket is another structure behind its struct sock.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from kernlab.decode import protocols
from kernlab.decode.layout import Layout, View, cover, read_struct
from kernlab.decode.memory import Memory, Unreadable
from kernlab.decode.names import (
    AF_INET,
    AF_INET6,
    FAMILIES,
    LISTEN,
    NEW_SYN_RECV,
    OTHER_FAMILIES,
    SOCK_STREAM,
    TCP_STATES,
    TIME_WAIT,
)
from kernlab.decode.packet import socket_address
from kernlab.decode.protocols import tcp

_COMMON = tuple(
    "__sk_common." + name
    for name in (
        "skc_daddr",
        "skc_rcv_saddr",
        "skc_dport",
        "skc_num",
        "skc_family",
        "skc_state",
        "skc_v6_daddr",
        "skc_v6_rcv_saddr",
        "skc_flags",
        "skc_net.net",
    )
)
_BLOCK = 2048  # bytes QEMU's gdbstub serves in one packet (half of its PacketSize, in hex)

_PLAIN = (
    ("sk_err", "err"),
    ("sk_err_soft", "err_soft"),
    ("sk_shutdown", "shutdown"),
    ("sk_rcvbuf", "rcvbuf"),
    ("sk_sndbuf", "sndbuf"),
    ("sk_wmem_queued", "wmem_queued"),
    ("sk_receive_queue.qlen", "receive_queue"),
    ("sk_backlog.len", "backlog_len"),
)
_LISTENER = (("sk_ack_backlog", "ack_backlog"), ("sk_max_ack_backlog", "max_ack_backlog"))
# tw_rcv_nxt and tw_snd_nxt are macros (include/linux/tcp.h): DWARF has not these names.
_TIMEWAIT = (
    ("tw_sk.__tw_common.skc_tw_rcv_nxt", "rcv_nxt"),
    ("tw_sk.__tw_common.skc_tw_snd_nxt", "snd_nxt"),
    ("tw_rcv_wnd", "rcv_wnd"),
)
_REQUEST = (("rcv_isn", "rcv_isn"), ("snt_isn", "snt_isn"), ("rcv_nxt", "rcv_nxt"))

# Members and the fields of an event that hold their values as they are.
NAMES = (
    _PLAIN,
    _LISTENER,
    tcp.SOCK_PAIRS,
    tcp.CONNECTION_PAIRS,
)

# Members of tcp_sock alone.
OF_TCP = frozenset(tcp.SOCK_FIELDS)

# Structures that share a full sock's address.
FULL: Sequence[str] = ("sock", "inet_sock", *protocols.structs())

# What ``decode_sock`` reads of what a sock may be, all at one address: for those who fetch
# one in pieces.
MEMBERS: Mapping[str, Sequence[str]] = {
    "sock": (
        *_COMMON,
        "sk_protocol",
        "sk_type",
        *(name for name, _ in _PLAIN),
        *(name for name, _ in _LISTENER),
        "sk_lingertime",
    ),
    "inet_sock": ("inet_sport",),
    **protocols.structs(),
    "inet_timewait_sock": ("tw_substate",),
    "tcp_timewait_sock": tuple(name for name, _ in _TIMEWAIT),
    "tcp_request_sock": tuple(name for name, _ in _REQUEST),
}


def decode_sock(memory: Memory, layout: Layout, address: int) -> Optional[Dict[str, Any]]:
    """The socket at ``address``; None when it is no readable socket. One that is not of INET
    (AF_PACKET, AF_NETLINK, AF_UNIX, ...) has its address and family alone.

    Ports are in host order; src is the local side. ``srtt_us`` in µs (the kernel keeps it
    times eight), ``rto_ms`` in ms, windows in bytes, ``snd_cwnd`` in segments.
    """
    common = read_struct(memory, layout, "sock", address, _COMMON)
    if common is None:
        return None
    family, state = common.get("__sk_common.skc_family"), common.get("__sk_common.skc_state")
    if family not in FAMILIES or state is None:
        other = OTHER_FAMILIES.get(family or 0)
        return {"addr": "0x%x" % address, "family": other} if other else None
    found: Dict[str, Any] = {"addr": "0x%x" % address, "family": FAMILIES[family]}
    found.update(_tuple(common, family))
    if state in (TIME_WAIT, NEW_SYN_RECV):
        found["protocol"] = protocols.TCP.name  # only TCP (and DCCP) have these mini-sockets
        found["state"] = TCP_STATES[state]
        found.update(_mini(memory, layout, address, state))
        return found
    protocol, stream = _protocol(memory, layout, address)
    if protocol is not None:
        found["protocol"] = protocols.name_of(protocol)
    row = protocols.BY_NUMBER.get(protocol or 0)
    if row is not None and row.stream and not stream:
        row = None  # a raw socket, which is no more than an inet_sock
    if row is None or not row.ports:
        found.pop("sport", None)
        found.pop("dport", None)
    if row is not None and row.states:
        found["state"] = TCP_STATES.get(state, str(state))
    whole = row is not None and (row.states or row.socket is not None)
    low, high = cover(layout, list(FULL) if whole else ["sock"])
    try:
        block = b"".join(
            memory.read(address + at, min(_BLOCK, high - at)) for at in range(low, high, _BLOCK)
        )
    except Unreadable:
        return found
    found.update(_full(View(layout, "sock", block, low), state))
    if not found.get("sport", 1):
        # A port that was not bound by hand is given back on the way to CLOSE (net/ipv4/tcp.c,
        # tcp_set_state()): skc_num is 0 then, what goes out still says inet_sport.
        sport = View(layout, "inet_sock", block, low).network("inet_sport")
        if sport:
            found["sport"] = sport
    if row is not None and row.socket is not None:
        views = lambda struct: View(layout, struct, block, low)  # noqa: E731
        found.update(row.socket(views, layout.constants, state))
    return found


def _tuple(common: View, family: int) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    v6 = family == AF_INET6
    names = (
        ("src", "skc_v6_rcv_saddr" if v6 else "skc_rcv_saddr"),
        ("dst", "skc_v6_daddr" if v6 else "skc_daddr"),
    )
    for key, member in names:
        raw = common.bytes("__sk_common." + member)
        if raw is not None:
            found[key] = socket_address(raw)
    num, dport = common.get("__sk_common.skc_num"), common.network("__sk_common.skc_dport")
    if num is not None:
        found["sport"] = num  # host order, unlike skc_dport
    if dport is not None:
        found["dport"] = dport
    return found


def _protocol(memory: Memory, layout: Layout, address: int) -> Tuple[Optional[int], bool]:
    """A full sock's protocol, and whether it is a stream: of TCP that alone is a tcp_sock."""
    view = read_struct(memory, layout, "sock", address, ("sk_protocol", "sk_type"))
    if view is None:
        return None, False
    return view.get("sk_protocol"), view.get("sk_type") in (None, SOCK_STREAM)


def _mini(memory: Memory, layout: Layout, address: int, state: int) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    if state == TIME_WAIT:
        view = read_struct(memory, layout, "inet_timewait_sock", address)
        substate = view.get("tw_substate") if view is not None else None
        if substate is not None:
            found["substate"] = TCP_STATES.get(substate, str(substate))
        view = read_struct(memory, layout, "tcp_timewait_sock", address)
        pairs: Sequence[Tuple[str, str]] = _TIMEWAIT
    else:
        view = read_struct(memory, layout, "tcp_request_sock", address)
        pairs = _REQUEST
    if view is not None:
        found.update(view.values(pairs))
    return found


def _full(view: View, state: int) -> Dict[str, Any]:
    found: Dict[str, Any] = {**view.values(_PLAIN)}
    if state == LISTEN:
        found.update(view.values(_LISTENER))
    flags = view.get("__sk_common.skc_flags")
    if flags is not None:
        # enum sock_flags, include/net/sock.h: SOCK_DEAD 0, SOCK_DONE 1, SOCK_LINGER 4
        names = ((0, "DEAD"), (1, "DONE"), (4, "LINGER"))
        found["sock_flags"] = [name for bit, name in names if flags >> bit & 1]
        if flags >> 4 & 1:
            linger = view.get("sk_lingertime")
            if linger is not None:
                found["lingertime"] = linger
    return found


__all__ = ["AF_INET", "decode_sock"]
