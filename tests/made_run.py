"""Runs made by hand, for tests of what reads runs: a capture and the events that go with it."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernlab.record.pcapng import SLL2, Captured, write

BASE = 1_795_683_699_000_000_000
STACK = [
    {"func": "tcp_v4_rcv", "file": "net/ipv4/tcp_ipv4.c", "line": 12, "inlined": False},
    {"func": "ip_local_deliver_finish", "file": "net/ipv4/ip_input.c", "line": 7, "inlined": False},
]
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}


def segment(n: int, client: bool, seq: int, ack: int, flags: str, length: int = 0) -> Captured:
    """A cooked frame of one segment between ports 40000 and 80."""
    ports = (40000, 80) if client else (80, 40000)
    bits = sum(FLAGS[letter] for letter in flags)
    tcp = struct.pack(">HHIIBBHHH", *ports, seq, ack, 5 << 4, bits, 1000 + n % 7, 0, 0)
    total = 40 + length
    ip = struct.pack(">BBHHHBBH", 0x45, 0, total, n % 65535 + 1, 0, 64, 6, 0)
    ip += bytes([127, 0, 0, 1] * 2)
    cooked = struct.pack(">HHIHBB8s", 0x0800, 0, 1, 772, 0, 6, b"\0" * 8)
    data = cooked + ip + tcp + b"x" * length
    return Captured(BASE + n * 1_000_000, SLL2, len(data), data)


def frames(count: int) -> Iterator[tuple[Captured, bool, dict[str, Any]]]:
    """A handshake, data with its ACKs, and a RST: ``count`` segments."""
    una, fin = 1001, 5001
    for n in range(count):
        if n < 3:
            client, seq, ack, flags, length = [
                (True, 1000, 0, "S", 0),
                (False, 5000, 1001, "SA", 0),
                (True, 1001, 5001, "A", 0),
            ][n]
        elif n == count - 1:
            client, seq, ack, flags, length = False, fin, una, "RA", 0
        elif n % 2:
            client, seq, ack, flags, length = True, una, fin, "PA", 100
            una += 100
        else:
            client, seq, ack, flags, length = False, fin, una, "A", 0
        frame = segment(n, client, seq, ack, flags, length)
        ports = (40000, 80) if client else (80, 40000)
        packet = {
            "family": "ipv4",
            "src": "127.0.0.1",
            "dst": "127.0.0.1",
            "sport": ports[0],
            "dport": ports[1],
            "proto": "tcp",
            "flags": "".join(x for x in "FSRPA" if x in flags),
            "seq": seq,
            "ack": ack,
            "win": 1000 + n % 7,
            "len": length,
            "ip_id": n % 65535 + 1,
        }
        yield frame, client, packet


def make(path: Path, count: int, events: int | None = None, comm: str = "wget") -> Path:
    """A run directory with ``count`` segments and ``events`` events (one each if None)."""
    path.mkdir(parents=True)
    told = {
        "asked": {"argv": ["kernlab", "trace", "tcp_v4_rcv"]},
        "resolved": {"release": "5.10.262-test", "kernel": "5.10.262-0123"},
        "result": {"hits": events or count, "reason": "workload"},
    }
    (path / "run.json").write_text(json.dumps(told))
    rows = list(frames(count))
    write(path / "capture.pcapng", (frame for frame, _, _ in rows))
    with (path / "events.jsonl").open("w", encoding="utf-8") as out:
        for number in range(events if events is not None else count):
            frame, client, packet = rows[number % count]
            state = "ESTABLISHED" if number % count > 1 else "LISTEN"
            event = {
                "v": 1,
                "seq": number + 1,
                "engine": "gdb",
                "probe": ("tcp_v4_rcv", "tcp_v4_do_rcv", "tcp_ack")[number // count % 3],
                "cpu": number % 2,
                "task": {"pid": 61, "comm": comm},
                "guest_ns": 5_000_000 + number * 1000,
                "host_ns": BASE + number * 12345,
                "site": {"func": "tcp_v4_rcv", "file": "net/ipv4/tcp_ipv4.c", "line": 1965},
                "packet": {
                    **packet,
                    "direction": "in",
                    "raw": base64.b64encode(frame.data[20:80]).decode(),
                },
                "skb": {
                    "addr": hex(0xFFFF888000000000 + number % count * 256),
                    "len": 40 + packet["len"],
                    "dev": comm[:12] if "<" in comm else "lo",
                },
                "sock": {
                    "addr": "0xffff888000001000" if client else "0xffff888000002000",
                    "state": state,
                    "src": "127.0.0.1",
                    "sport": packet["dport"],
                    "dst": "127.0.0.1",
                    "dport": packet["sport"],
                    "snd_cwnd": 10 + number % 9,
                    "snd_una": packet["seq"],
                    "snd_nxt": packet["seq"] + packet["len"],
                },
                "args": {"skb": "0xffff888000000000", "big": 2**64 - 1, "text": "</script><!--"},
                "stack": [*STACK, {"func": f"caller_{number % 5}", "inlined": True}],
            }
            out.write(json.dumps(event, separators=(",", ":")) + "\n")
    return path
