"""Numbers of the wire and of the kernel, and their names."""

from __future__ import annotations

import re
from typing import Dict

# RFC 9293 section 3.1 and RFC 3168 section 6.1: bit 0 (FIN) first. The letters are
# tshark's and tcpdump's but ACK, which tcpdump writes as a dot.
FLAG_LETTERS = "FSRPAUEC"
FLAG_NAMES = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_BETWEEN = re.compile(r"[-+,| ]")

# Written as people say them: SYN-ACK is SA, FIN-ACK is FA, RST-ACK is RA, PSH-ACK is PA.
_ORDER = (1, 2, 0, 3, 4, 5, 6, 7)


def flags_text(flags: int) -> str:
    """The flag byte (TCP header byte 13) as letters: 0x12 is "SA"; "" when none is set."""
    return "".join(FLAG_LETTERS[bit] for bit in _ORDER if flags >> bit & 1)


def flags_words(letters: str) -> str:
    """Flags as an expression also takes them: "SA" is "SYN-ACK"; "" when none is set."""
    names = {FLAG_LETTERS[bit]: name for bit, name in enumerate(FLAG_NAMES)}
    return "-".join(names.get(letter, "?") for letter in letters)


def flags_value(text: str) -> int:
    """The flag byte of letters in any order ("SA"), or of names with one of ``- + , |`` or a
    blank between them ("SYN-ACK"). Raises ``ValueError`` for others."""
    value = 0
    for word in _BETWEEN.split(text.upper()):
        for flag in [word] if word in FLAG_NAMES else word:
            bits = FLAG_NAMES if len(flag) > 1 else FLAG_LETTERS
            if flag not in bits:
                raise ValueError("'%s' is not a TCP flag" % flag)
            value |= 1 << bits.index(flag)
    return value


# include/net/tcp_states.h
TCP_STATES: Dict[int, str] = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "NEW_SYN_RECV",
}
STATE_NUMBERS: Dict[str, int] = {name: number for number, name in TCP_STATES.items()}
LISTEN, TIME_WAIT, NEW_SYN_RECV = 10, 6, 12

# enum tcp_ca_state, include/uapi/linux/tcp.h
CA_STATES: Dict[int, str] = {0: "Open", 1: "Disorder", 2: "CWR", 3: "Recovery", 4: "Loss"}

# enum sock_type, include/linux/net.h
SOCK_STREAM, SOCK_RAW = 1, 3

AF_INET, AF_INET6 = 2, 10
FAMILIES: Dict[int, str] = {AF_INET: "ipv4", AF_INET6: "ipv6"}
# Sockets that begin with struct sock but are no inet_sock; include/linux/socket.h
OTHER_FAMILIES: Dict[int, str] = {
    1: "unix",
    15: "key",
    16: "netlink",
    17: "packet",
    29: "can",
    31: "bluetooth",
    38: "alg",
    40: "vsock",
    43: "smc",
    44: "xdp",
}
