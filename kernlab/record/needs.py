"""What reading captures is better with."""

from __future__ import annotations

from kernlab.config.needs import Need

TSHARK = Need(
    "tshark",
    "reads captures of any link type and tunnel for kernlab rst explain",
    program="tshark",
    without="kernlab reads its own captures, and plain Ethernet, without it; the Python package "
    "scapy reads more",
)
NEEDS = (TSHARK,)
