"""The layer of the stack that a function is of: one table for all that draw a packet's way.

The page goes by the same rows (``kernlab.sinks.report.page``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kernlab.decode import protocols

# Columns from below; what a protocol is drawn in is ``TRANSPORT``, under its own name.
DEVICE, IP, NETFILTER, TRANSPORT, SOCKET = COLUMNS = (
    "device",
    "IP",
    "netfilter",
    "transport",
    "socket",
)
# What a file's name has in it, the lane, its column; the first that fits.
ROWS: tuple[tuple[str, str, str], ...] = (
    ("netfilter", NETFILTER, NETFILTER),
    (r"net/core/skbuff\.c", "buffer", SOCKET),
    (
        r"net/core/(?:sock|stream)|net/socket\.c|net/ipv6/af_inet6"
        r"|net/ipv4/(?:tcp|af_inet|inet_connection_sock)\.c",
        SOCKET,
        SOCKET,
    ),
    *((row.files, row.lane, TRANSPORT) for row in protocols.TABLE if row.files),
    (r"net/ipv[46]/|net/core/(?:dst|neighbour)", IP, IP),
    (r"net/core|drivers/|net/sched", DEVICE, DEVICE),
)
_ROWS = [(re.compile(pattern), lane) for pattern, lane, _ in ROWS]


def lane_of(event: Mapping[str, Any]) -> str:
    """The lane of an event's place; empty where no row fits."""
    file = str((event.get("site") or {}).get("file", ""))
    return next((lane for pattern, lane in _ROWS if pattern.search(file)), "")
