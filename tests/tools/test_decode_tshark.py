"""Our packet decoder against tshark, on frames made here."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from pathlib import Path
from typing import Any

from kernlab.decode.names import flags_text
from kernlab.decode.packet import packet
from kernlab.record.pcapng import RAW, Captured, write

OPTIONS = [
    b"\x02\x04\x05\xb4",
    b"\x04\x02",
    b"\x03\x03\x07",
    b"\x08\x0a" + struct.pack(">II", 11, 22),
    b"\x05\x0a" + struct.pack(">II", 100, 200),
    b"\x01",
    b"\x22\x06\x01\x02\x03\x04",
]


FIELDS = {
    "sport": "srcport",
    "dport": "dstport",
    "seq": "seq",
    "ack": "ack",
    "win": "window_size_value",
    "len": "len",
}


def tcp(dice: random.Random) -> bytes:
    options = b"".join(dice.sample(OPTIONS, dice.randint(0, 4)))
    options += b"\x01" * (-len(options) % 4)
    data = dice.randbytes(dice.choice([0, 0, 1, 100]))
    head = struct.pack(
        ">HHIIBBHHH",
        dice.randint(1024, 65535),
        dice.randint(1024, 65535),
        dice.getrandbits(32),
        dice.getrandbits(32),
        (20 + len(options)) // 4 << 4,
        dice.randint(0, 255),
        dice.getrandbits(16),
        0,
        0,
    )
    return head + options + data


def ipv4(dice: random.Random, payload: bytes) -> bytes:
    options = b"\x94\x04\x00\x00" * dice.randint(0, 2)
    words = 5 + len(options) // 4
    head = struct.pack(
        ">BBHHHBBH",
        0x40 | words,
        0,
        words * 4 + len(payload),
        dice.getrandbits(16),
        0x4000,
        64,
        6,
        0,
    )
    return head + dice.randbytes(8) + options + payload


def ipv6(dice: random.Random, payload: bytes) -> bytes:
    extension, following = b"", 6
    if dice.random() < 0.5:
        extension, following = bytes([6, 0, 1, 4, 0, 0, 0, 0]), 60
    head = struct.pack(">IHBB", 6 << 28, len(extension) + len(payload), following, 64)
    return head + dice.randbytes(32) + extension + payload


def dissected(path: Path) -> list[dict[str, Any]]:
    argv = [
        "tshark",
        "-r",
        str(path),
        "-T",
        "json",
        "-o",
        "tcp.relative_sequence_numbers:FALSE",
        "-o",
        "tcp.analyze_sequence_numbers:FALSE",
    ]
    return [item["_source"]["layers"] for item in json.loads(subprocess.check_output(argv))]


def deep(tree: Any, name: str) -> str | None:
    """The first value of a field anywhere in tshark's tree."""
    if isinstance(tree, dict):
        if name in tree:
            return str(tree[name])
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            found = deep(item, name)
            if found is not None:
                return found
    return None


def test_tcp_as_tshark_sees_it(tmp_path: Path) -> None:
    dice = random.Random(7)
    raws = [dice.choice([ipv4, ipv6])(dice, tcp(dice)) for _ in range(300)]
    path = tmp_path / "made.pcapng"
    write(path, [Captured(n, RAW, len(raw), raw) for n, raw in enumerate(raws)])
    layers = dissected(path)
    assert len(layers) == len(raws)
    for raw, theirs in zip(raws, layers, strict=True):
        ours = packet(raw)
        assert ours is not None
        segment = theirs["tcp"]
        network = theirs.get("ip") or theirs["ipv6"]
        assert [ours["src"], ours["dst"]] == [
            network.get("ip.src") or network["ipv6.src"],
            network.get("ip.dst") or network["ipv6.dst"],
        ]
        for key, field in FIELDS.items():
            assert ours[key] == int(segment[f"tcp.{field}"]), (key, raw.hex())
        assert ours["flags"] == flags_text(int(segment["tcp.flags"], 16) & 0xFF)
        options = ours.get("options", {})
        pairs = {
            "tcp.options.mss_val": options.get("mss"),
            "tcp.options.wscale.shift": options.get("wscale"),
            "tcp.options.timestamp.tsval": options.get("ts", [None, None])[0],
            "tcp.options.timestamp.tsecr": options.get("ts", [None, None])[1],
            "tcp.options.sack_le": options.get("sack", [[None, None]])[0][0],
            "tcp.options.sack_re": options.get("sack", [[None, None]])[0][1],
        }
        for field, value in pairs.items():
            said = deep(segment, field)
            assert (None if said is None else int(said)) == value, (field, raw.hex())
        assert ("sack_ok" in options) == (deep(segment, "tcp.options.sack_perm") is not None)


def test_a_capture_we_write_opens_clean(tmp_path: Path) -> None:
    dice = random.Random(8)
    path = tmp_path / "made.pcapng"
    raws = [ipv4(dice, tcp(dice)) for _ in range(5)]
    write(path, [Captured(n, RAW, len(raw), raw) for n, raw in enumerate(raws)])
    said = subprocess.run(["tshark", "-r", str(path)], capture_output=True, text=True)
    assert said.returncode == 0
    assert len(said.stdout.splitlines()) == 5
    assert "malformed" not in said.stdout.lower()
    assert "kernlab" in subprocess.check_output(["capinfos", str(path)], text=True)
