"""The structures that begin with struct sock_common (include/net/sock.h): what a pointer to a
sock may lead to. Which one it is, its state, family and protocol say."""

from __future__ import annotations

from kernlab.decode import protocols

FULL = ("sock", "inet_sock")
TIME_WAIT = ("inet_timewait_sock", "tcp_timewait_sock")
REQUEST = ("request_sock", "inet_request_sock", "tcp_request_sock")
# By the number of a family (include/linux/socket.h), beside struct sock. What a protocol's sockets
# are, its row says (kernlab.decode.protocols).
FAMILIES = {1: ("unix_sock",), 16: ("netlink_sock",), 17: ("packet_sock",)}
RAW = ("raw_sock", "raw6_sock")
SOCKS = frozenset(
    (
        *FULL,
        *TIME_WAIT,
        *REQUEST,
        *RAW,
        *(name for names in FAMILIES.values() for name in names),
        *(name for row in protocols.TABLE for name in row.kinds),
    )
)
