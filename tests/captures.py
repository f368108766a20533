"""Captures made byte by byte: one refused SYN in every link type, tunnel and file format.

Addresses of RFC 5737 and RFC 3849. tcpdump.org/linktypes.html; draft-ietf-opsawg-pcap(ng).
"""

from __future__ import annotations

import gzip
import socket
import struct
from typing import Any

CLIENT, SERVER = "192.0.2.10", "198.51.100.20"
CLIENT6, SERVER6 = "2001:db8::10", "2001:db8::20"
WEST, EAST = "203.0.113.1", "203.0.113.2"
SYN = {
    "sport": 40000,
    "dport": 9,
    "seq": 1000,
    "flags": 2,
    "win": 64240,
    "options": b"\x02\x04\x05\xb4",
}
RST = {"sport": 9, "dport": 40000, "ack": 1001, "flags": 0x14}
START = 1_600_000_000


def tcp(
    sport: int,
    dport: int,
    flags: int,
    seq: int = 0,
    ack: int = 0,
    win: int = 0,
    options: bytes = b"",
    data: int | bytes = b"",
) -> bytes:
    size = (20 + len(options)) // 4 << 4
    head = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, size, flags, win, 0, 0)
    return head + options + (data if isinstance(data, bytes) else b"x" * data)


def ipv4(
    src: str,
    dst: str,
    payload: bytes,
    protocol: int = 6,
    ttl: int = 64,
    ip_id: int = 1,
    options: bytes = b"",
    total: int | None = None,
    fragment: int = 0,
) -> bytes:
    size = 20 + len(options)
    total = size + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH", 0x40 | size // 4, 0, total, ip_id, fragment, ttl, protocol, 0)
    head += socket.inet_aton(src) + socket.inet_aton(dst) + options
    words = struct.unpack(f">{size // 2}H", head)
    check = sum(words)
    check = ~((check & 0xFFFF) + (check >> 16)) & 0xFFFF
    return head[:10] + struct.pack(">H", check) + head[12:] + payload


def ipv6(src: str, dst: str, payload: bytes, following: int = 6) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(payload), following, 64)
    return head + socket.inet_pton(10, src) + socket.inet_pton(10, dst) + payload


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", 50000, port, 8 + len(payload), 0) + payload


def eth(kind: int, payload: bytes) -> bytes:
    return b"\2\0\0\0\0\1\2\0\0\0\0\2" + struct.pack(">H", kind) + payload


def outer(payload: bytes, protocol: int) -> bytes:
    return eth(0x800, ipv4(WEST, EAST, payload, protocol))


def pcap(
    link: int,
    frames: list[bytes],
    order: str = "<",
    magic: int = 0xA1B2C3D4,
    snaplen: int | None = None,
    extra: bytes = b"",
    step: int = 1000,
) -> bytes:
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)
    for number, frame in enumerate(frames):
        kept = frame[:snaplen]
        out += struct.pack(order + "IIII", START, number * step, len(kept), len(frame))
        out += extra + kept
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def shb(order: str = "<", options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def idb(link: int = 1, order: str = "<", options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, 262144) + options, order)


def epb(frame: bytes, index: int = 0, order: str = "<", at: int = START * 10**6) -> bytes:
    head = struct.pack(order + "IIIII", index, at >> 32, at & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def spb(frame: bytes) -> bytes:
    return block(3, struct.pack("<I", len(frame)) + frame)


def pb(frame: bytes) -> bytes:
    at = START * 10**6
    head = struct.pack("<HHIIII", 0, 0xFFFF, at >> 32, at & 0xFFFFFFFF, len(frame), len(frame))
    return block(2, head + frame)


FOUR = [ipv4(CLIENT, SERVER, tcp(**SYN)), ipv4(SERVER, CLIENT, tcp(**RST))]
SIX = [ipv6(CLIENT6, SERVER6, tcp(**SYN)), ipv6(SERVER6, CLIENT6, tcp(**RST))]
FRAMES = [eth(0x800, packet) for packet in FOUR]


def _before(*parts: bytes, packets: list[bytes] = FOUR) -> list[bytes]:
    return [b"".join(parts) + packet for packet in packets]


def _made() -> dict[str, bytes]:
    """Name → file; each holds one RST that tshark dissects."""
    llc = b"\xaa\xaa\3\0\0\0\x08\0"
    sll = struct.pack(">HHH8s", 0, 1, 6, b"\2\0\0\0\0\1\0\0")
    sll2 = struct.pack(">HIHBB8s", 0, 2, 1, 0, 6, b"\2\0\0\0\0\1\0\0")
    vlan = struct.pack(">HH", 5, 0x800)
    wlan = b"\x08\1\0\0" + b"\2\0\0\0\0\1" * 3 + b"\0\0"
    tunnel = b"\2\0\0\0\0\1\2\0\0\0\0\2"
    router = b"\x94\4\0\0"

    def extension(following: int, payload: bytes) -> bytes:
        return bytes([following, 0, 1, 4, 0, 0, 0, 0]) + payload

    def six(following: int, around: Any) -> list[bytes]:
        ways = ((CLIENT6, SERVER6, SYN), (SERVER6, CLIENT6, RST))
        return [eth(0x86DD, ipv6(a, b, around(tcp(**t)), following)) for a, b, t in ways]

    linked = {
        "eth": (1, FRAMES),
        "vlan": (1, [eth(0x8100, vlan + p) for p in FOUR]),
        "priority-tag-ipv6": (
            1,
            [eth(0x8100, struct.pack(">HH", 0xA000, 0x86DD) + p) for p in SIX],
        ),
        "qinq": (
            1,
            [
                eth(0x88A8, struct.pack(">HH", 5, 0x8100) + struct.pack(">HH", 6, 0x800) + p)
                for p in FOUR
            ],
        ),
        "pppoe": (
            1,
            [eth(0x8864, struct.pack(">BBHHH", 17, 0, 1, len(p) + 2, 0x21) + p) for p in FOUR],
        ),
        "mpls": (1, [eth(0x8847, struct.pack(">I", 16 << 12 | 0x140) + p) for p in FOUR]),
        "snap": (1, [tunnel + struct.pack(">H", 8 + len(p)) + llc + p for p in FOUR]),
        "null-le": (0, _before(struct.pack("<I", 2))),
        "null-be": (0, _before(struct.pack(">I", 2))),
        "null-ipv6": (0, _before(struct.pack("<I", 30), packets=SIX)),
        "loop": (108, _before(struct.pack(">I", 2))),
        "raw": (101, FOUR),
        "raw-12": (12, FOUR),
        "ipv4": (228, FOUR),
        "ipv6": (229, SIX),
        "raw-ipv6": (101, SIX),
        "ppp": (9, _before(b"\xff\3\0\x21")),
        "sll": (113, _before(sll, b"\x08\0")),
        "sll-vlan": (113, _before(sll, b"\x81\0", vlan)),
        "sll2": (276, _before(b"\x08\0", sll2)),
        "sll2-vlan": (276, _before(b"\x81\0", sll2, vlan)),
        "radiotap": (127, _before(b"\0\0\x08\0\0\0\0\0", wlan, llc)),
        "802.11": (105, _before(wlan, llc)),
        "nflog": (
            239,
            [struct.pack(">BBH", 2, 0, 0) + struct.pack("<HH", 4 + len(p), 9) + p for p in FOUR],
        ),
        "pflog": (117, _before(struct.pack(">BBBB", 61, 2, 0, 0), b"\0" * 60)),
        "enc": (109, _before(struct.pack("<III", 2, 0, 0))),
        "fcs": (1 | 0x04000000 | 2 << 28, [f + b"\0\0\0\0" for f in FRAMES]),
        "padded": (1, [f + b"\0" * 6 for f in FRAMES]),
        "ip-options": (
            1,
            [
                eth(0x800, ipv4(CLIENT, SERVER, tcp(**SYN), options=router)),
                eth(0x800, ipv4(SERVER, CLIENT, tcp(**RST), options=router)),
            ],
        ),
        "ipv6-extensions": (1, six(0, lambda t: extension(60, extension(6, t)))),
        "ipv6-atomic-fragment": (1, six(44, lambda t: struct.pack(">BBHI", 6, 0, 0, 7) + t)),
        "gre": (1, [outer(struct.pack(">HH", 0, 0x800) + p, 47) for p in FOUR]),
        "ipip": (1, [outer(p, 4) for p in FOUR]),
        "6in4": (1, [outer(p, 41) for p in SIX]),
        "vxlan": (
            1,
            [outer(udp(4789, struct.pack(">II", 8 << 24, 42 << 8) + f), 17) for f in FRAMES],
        ),
        "geneve": (
            1,
            [outer(udp(6081, struct.pack(">HHI", 0, 0x6558, 42 << 8) + f), 17) for f in FRAMES],
        ),
        "vxlan-vlan-gre": (
            1,
            [
                eth(
                    0x8100,
                    vlan
                    + ipv4(
                        WEST,
                        EAST,
                        udp(
                            4789,
                            struct.pack(">II", 8 << 24, 7 << 8)
                            + outer(struct.pack(">HH", 0, 0x800) + p, 47),
                        ),
                        17,
                    ),
                )
                for p in FOUR
            ],
        ),
        "tso": (
            1,
            [
                eth(0x800, ipv4(CLIENT, SERVER, tcp(**SYN), total=0)),
                eth(0x800, ipv4(SERVER, CLIENT, tcp(**RST), total=0)),
            ],
        ),
    }
    made = {f"{name}.pcap": pcap(link, frames) for name, (link, frames) in linked.items()}
    return made | {
        "ns.pcap": pcap(1, FRAMES, magic=0xA1B23C4D),
        "be.pcap": pcap(1, FRAMES, ">"),
        "modified.pcap": pcap(1, FRAMES, magic=0xA1B2CD34, extra=bytes(8)),
        "snaplen54.pcap": pcap(1, FRAMES, snaplen=54),
        "eth.pcap.gz": gzip.compress(made["eth.pcap"]),
        "members.pcap.gz": gzip.compress(made["eth.pcap"][:50])
        + gzip.compress(made["eth.pcap"][50:]),
        "epb.pcapng": shb() + idb() + epb(FRAMES[0]) + epb(FRAMES[1]),
        "epb-be.pcapng": shb(">") + idb(1, ">") + epb(FRAMES[0], 0, ">") + epb(FRAMES[1], 0, ">"),
        "spb.pcapng": shb() + idb() + spb(FRAMES[0]) + spb(FRAMES[1]),
        "pb.pcapng": shb() + idb() + pb(FRAMES[0]) + pb(FRAMES[1]),
        "sections.pcapng": shb()
        + idb()
        + epb(FRAMES[0])
        + shb(">")
        + idb(1, ">")
        + epb(FRAMES[1], 0, ">"),
        "ticks.pcapng": shb()
        + idb(options=struct.pack("<HHB3x", 9, 1, 0x7F))
        + epb(FRAMES[0])
        + epb(FRAMES[1]),
    }


WHOLE = _made()
_TWO = shb() + idb() + epb(FRAMES[0])
# Name → file, where it is damaged, and how many frames come before.
DAMAGED = {
    "interface.pcapng": (_TWO + epb(FRAMES[1], 3), len(_TWO), 1),
    "no-interface.pcapng": (shb() + epb(FRAMES[0]), 28, 0),
    "short-interface.pcapng": (shb() + block(1, b"") + epb(FRAMES[0]), 28, 0),
    "short-packet.pcapng": (_TWO + block(6, b"\0" * 8) + epb(FRAMES[1]), len(_TWO), 1),
    "short-block.pcapng": (_TWO + struct.pack("<III", 99, 8, 8), len(_TWO), 1),
    "two-sizes.pcapng": (_TWO + epb(FRAMES[1])[:-4] + b"\7\0\0\0", len(_TWO), 1),
    "big-frame.pcap": (WHOLE["eth.pcap"] + struct.pack("<IIII", 1, 1, 0xFFFFFFF0, 99), 168, 2),
}
# Name → file, where it is cut, and how many whole frames come before.
CUT = {
    "cut.pcapng": ((_TWO + epb(FRAMES[1]))[:-10], len(_TWO), 1),
    "cut-head.pcapng": (_TWO + b"\6\0", len(_TWO), 1),
    "cut.pcap": (WHOLE["eth.pcap"][:-20], 98, 1),
    "cut-head.pcap": (WHOLE["eth.pcap"] + b"\0" * 7, 168, 2),
    "magic.pcap": (WHOLE["eth.pcap"][:6], 0, 0),
    "cut.pcap.gz": (gzip.compress(WHOLE["eth.pcap"], 0)[: 10 + 5 + 120], 98, 1),
}
