"""The kernel's macros and small inline functions, which debug info does not have.

Kernel C as everybody writes it (``tcp_sk(sk)->snd_cwnd``, ``sk->sk_state``) means little to
GDB: the accessors are inlined everywhere and the members are ``#define``s. Here each is once,
for every place that takes a C expression. GDB expands them with its own macro table.

Sources: include/net/{sock,inet_sock,request_sock,inet_timewait_sock,tcp,flow}.h,
include/linux/{tcp,udp,ip,ipv6,skbuff,icmp}.h. x86-64 keeps an skb's header places as offsets
(NET_SKBUFF_DATA_USES_OFFSET).
"""

from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Tuple

from kernlab.decode import protocols


class Accessor(NamedTuple):
    """``parameters`` and what a call becomes. ``header``: of which of an skb's headers it is a
    view (network | transport | cb), "" for none; ``proto``: what that must be, in an event's
    words."""

    parameters: Tuple[str, ...]
    text: str
    header: str = ""
    proto: str = ""


def _cast(struct: str) -> Accessor:
    return Accessor(("p",), "((struct %s *)(p))" % struct)


def _header(struct: str, member: str, header: str = "transport", proto: str = "") -> Accessor:
    text = "((struct %s *)((skb)->head + (skb)->%s))" % (struct, member)
    return Accessor(("skb",), text, header, proto)


ACCESSORS: Mapping[str, Accessor] = {
    **{name: _cast(struct) for row in protocols.TABLE for name, struct in row.cast.items()},
    "inet_csk": _cast("inet_connection_sock"),
    "inet_sk": _cast("inet_sock"),
    "raw_sk": _cast("raw_sock"),
    "inet_twsk": _cast("inet_timewait_sock"),
    "inet_reqsk": _cast("request_sock"),
    "inet_rsk": _cast("inet_request_sock"),
    "req_to_sk": _cast("sock"),
    "unix_sk": _cast("unix_sock"),
    "nlk_sk": _cast("netlink_sock"),
    "pkt_sk": _cast("packet_sock"),
    **{
        row.accessor: _header(row.header, "transport_header", proto=row.name)
        for row in protocols.TABLE
        if row.accessor
    },
    "ip_hdr": _header("iphdr", "network_header", "network", "ipv4"),
    "ipv6_hdr": _header("ipv6hdr", "network_header", "network", "ipv6"),
    "arp_hdr": _header("arphdr", "network_header", "network"),
    "eth_hdr": _header("ethhdr", "mac_header", "mac"),
    "skb_shinfo": _header("skb_shared_info", "end", ""),
    "TCP_SKB_CB": Accessor(("skb",), "((struct tcp_skb_cb *)&((skb)->cb[0]))", "cb"),
    "IPCB": Accessor(("skb",), "((struct inet_skb_parm *)((skb)->cb))"),
    "IP6CB": Accessor(("skb",), "((struct inet6_skb_parm *)((skb)->cb))"),
    "skb_headlen": Accessor(("skb",), "((skb)->len - (skb)->data_len)"),
    "skb_is_nonlinear": Accessor(("skb",), "((skb)->data_len)"),
    "skb_dst": Accessor(("skb",), "((struct dst_entry *)((skb)->_skb_refdst & ~1UL))"),
    "sock_net": Accessor(("p",), "((p)->__sk_common.skc_net.net)"),
    "dev_net": Accessor(("p",), "((p)->nd_net.net)"),
    "READ_ONCE": Accessor(("x",), "(x)"),
    "rcu_dereference": Accessor(("x",), "(x)"),
    "atomic_read": Accessor(("x",), "((x)->counter)"),
    "refcount_read": Accessor(("x",), "((x)->refs.counter)"),
    "skb_queue_len": Accessor(("x",), "((x)->qlen)"),
    "skb_queue_empty": Accessor(("x",), "((x)->next == (struct sk_buff *)(x))"),
    "before": Accessor(("a", "b"), "((int)((a) - (b)) < 0)"),
    "after": Accessor(("a", "b"), "((int)((b) - (a)) < 0)"),
    "htons": Accessor(("x",), "((unsigned short)((((x) & 255) << 8) | (((x) >> 8) & 255)))"),
    "ntohs": Accessor(("x",), "((unsigned short)((((x) & 255) << 8) | (((x) >> 8) & 255)))"),
    "htonl": Accessor(
        ("x",),
        "((unsigned int)((((x) & 255) << 24) | (((x) & 0xff00) << 8) | "
        "(((x) >> 8) & 0xff00) | (((x) >> 24) & 255)))",
    ),
    "ntohl": Accessor(
        ("x",),
        "((unsigned int)((((x) & 255) << 24) | (((x) & 0xff00) << 8) | "
        "(((x) >> 8) & 0xff00) | (((x) >> 24) & 255)))",
    ),
}


def _common(prefix: str, at: str, names: str) -> Dict[str, str]:
    return {prefix + name: "%s.skc_%s" % (at, name) for name in names.split()}


_TUPLE = "daddr rcv_saddr dport num family state reuse reuseport ipv6only bound_dev_if bind_node"

# Structure → member that is a #define there → what it stands for.
MEMBERS: Mapping[str, Mapping[str, str]] = {
    "sock": {
        **_common(
            "sk_",
            "__sk_common",
            _TUPLE + " node nulls_node refcnt tx_queue_mapping rx_queue_mapping hash portpair "
            "addrpair net_refcnt prot net v6_daddr v6_rcv_saddr cookie incoming_cpu flags rxhash",
        ),
        "sk_rmem_alloc": "sk_backlog.rmem_alloc",
    },
    "inet_timewait_sock": {
        **_common(
            "tw_", "__tw_common", _TUPLE + " refcnt hash prot net v6_daddr v6_rcv_saddr cookie"
        ),
        "tw_node": "__tw_common.skc_nulls_node",
        "tw_dr": "__tw_common.skc_tw_dr",
    },
    "tcp_timewait_sock": {
        "tw_rcv_nxt": "tw_sk.__tw_common.skc_tw_rcv_nxt",
        "tw_snd_nxt": "tw_sk.__tw_common.skc_tw_snd_nxt",
    },
    "request_sock": _common("rsk_", "__req_common", "refcnt hash listener window_clamp rcv_wnd"),
    "inet_request_sock": {
        "ir_loc_addr": "req.__req_common.skc_rcv_saddr",
        "ir_num": "req.__req_common.skc_num",
        "ir_rmt_addr": "req.__req_common.skc_daddr",
        "ir_rmt_port": "req.__req_common.skc_dport",
        "ir_v6_rmt_addr": "req.__req_common.skc_v6_daddr",
        "ir_v6_loc_addr": "req.__req_common.skc_v6_rcv_saddr",
        "ir_iif": "req.__req_common.skc_bound_dev_if",
        "ir_cookie": "req.__req_common.skc_cookie",
        "ireq_net": "req.__req_common.skc_net",
        "ireq_state": "req.__req_common.skc_state",
        "ireq_refcnt": "req.__req_common.skc_refcnt",
        "ireq_family": "req.__req_common.skc_family",
    },
    "inet_sock": {
        "inet_" + name: "sk.__sk_common.skc_" + name
        for name in ("daddr", "rcv_saddr", "dport", "num")
    },
    "flowi4": {
        **{
            "flowi4_" + name: "__fl_common.flowic_" + name
            for name in ("oif", "iif", "mark", "tos", "scope", "proto", "flags", "uid")
        },
        "fl4_sport": "uli.ports.sport",
        "fl4_dport": "uli.ports.dport",
    },
    "flowi6": {
        **{
            "flowi6_" + name: "__fl_common.flowic_" + name
            for name in ("oif", "iif", "mark", "scope", "proto", "flags", "uid")
        },
        "fl6_sport": "uli.ports.sport",
        "fl6_dport": "uli.ports.dport",
    },
    "in6_addr": {
        "s6_addr": "in6_u.u6_addr8",
        "s6_addr16": "in6_u.u6_addr16",
        "s6_addr32": "in6_u.u6_addr32",
    },
}

# #define'd numbers: include/net/tcp.h.
NUMBERS: Mapping[str, int] = {
    "TCPHDR_FIN": 1,
    "TCPHDR_SYN": 2,
    "TCPHDR_RST": 4,
    "TCPHDR_PSH": 8,
    "TCPHDR_ACK": 16,
    "TCPHDR_URG": 32,
    "TCPHDR_ECE": 64,
    "TCPHDR_CWR": 128,
}
