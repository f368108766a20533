"""The structures that begin with struct sock_common (include/net/sock.h): what a pointer to a
sock may lead to. Which one it is, its state, family and protocol say."""

from __future__ import annotations

FULL = ("sock", "inet_sock")
TCP = (*FULL, "inet_connection_sock", "tcp_sock", "tcp6_sock")
TIME_WAIT = ("inet_timewait_sock", "tcp_timewait_sock")
REQUEST = ("request_sock", "inet_request_sock", "tcp_request_sock")
# By the number of a family (include/linux/socket.h) and of a protocol (include/uapi/linux/in.h),
# beside struct sock.
FAMILIES = {1: ("unix_sock",), 16: ("netlink_sock",), 17: ("packet_sock",)}
PROTOCOLS = {
    17: ("udp_sock", "udp6_sock"),
    136: ("udp_sock", "udp6_sock"),
    262: ("inet_connection_sock", "mptcp_sock"),
}
_RAW = ("raw_sock", "raw6_sock")
_BY_NUMBER = (name for table in (FAMILIES, PROTOCOLS) for names in table.values() for name in names)
SOCKS = frozenset((*TCP, *TIME_WAIT, *REQUEST, *_RAW, *_BY_NUMBER))
