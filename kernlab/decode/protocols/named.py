"""Protocols that are known by their number alone: include/uapi/linux/in.h."""

from __future__ import annotations

from kernlab.decode.protocols.model import Protocol

IGMP = Protocol("igmp", (2,), "IGMP")
DCCP = Protocol("dccp", (33,), "DCCP", ports=True)
GRE = Protocol("gre", (47,), "GRE")
ESP = Protocol("esp", (50,), "ESP")
RAW = Protocol("raw", (255,), "raw")
# No header of its own: an option of TCP's (kind 30). Its socket is in front of TCP's.
MPTCP = Protocol(
    "mptcp",
    (262,),
    "MPTCP",
    ports=True,
    stream=True,
    states=True,
    kinds=("inet_connection_sock", "mptcp_sock"),
    lane="TCP",
    files="/mptcp/",
)
