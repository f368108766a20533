"""The engine bpf's plan, filter and records, without a guest."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from kernlab.decode import expr
from kernlab.decode.layout import Layout
from kernlab.decode.memory import Unreadable
from kernlab.trace.bpf import layout as packed
from kernlab.trace.bpf import records
from kernlab.trace.bpf.filter import lower
from kernlab.trace.bpf.stacks import StackIds

ROOT = Path(__file__).resolve().parents[2]


def rows(text: str) -> list[tuple[int, int, int, int, int]]:
    tests = lower(expr.parse(text))
    return [(one.on, one.clause, one.negated, one.mask, one.value) for one in tests]


ALL = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("port == 80", [(0, 0, 0, ALL, 80)]),
        ("sport != 80 and dport == 443", [(1, 0, 1, ALL, 80), (2, 1, 0, ALL, 443)]),
        ("port in (80, 443)", [(0, 0, 0, ALL, 80), (0, 0, 0, ALL, 443)]),
        ("port == 80 or flags has SA", [(0, 0, 0, ALL, 80), (3, 0, 0, 0x12, 0x12)]),
        ("flags == R", [(3, 0, 0, 0xFF, 4)]),
        ("not flags has R", [(3, 0, 1, 4, 4)]),
        ("src in 10.0.0.0/8", [(4, 0, 0, 0xFF000000, 0x0A000000)]),
        ("state == ESTABLISHED and len > 0", [(7, 0, 0, ALL, 1)]),
        ("pid == 7", [(8, 0, 0, ALL, 7)]),
        # What cannot be judged for certain is left to the host.
        ("len > 0", []),
        ("addr == ::1", []),
        ("port == 80 or len > 0", []),
        ("port", []),
        ("port < 80", []),
        ("not (port == 80 and flags has S)", []),
        ("stack has tcp_close and port == 80", [(0, 0, 0, ALL, 80)]),
    ],
)
def test_what_the_guest_judges(text: str, found: list[tuple[int, int, int, int, int]]) -> None:
    assert rows(text) == found


def test_no_more_tests_than_there_is_room_for() -> None:
    many = " and ".join(f"port != {port}" for port in range(1, 40))
    assert len(lower(expr.parse(many))) == packed.MAX_TESTS
    wide = f"port in ({', '.join(map(str, range(1, 40)))}) and flags == S"
    assert [row[0] for row in rows(wide)] == [3]


def test_numbers_that_both_sides_have() -> None:
    text = (ROOT / "rootfs" / "guest" / "probe" / "probe.h").read_text()
    said = {name: int(value) for name, value in re.findall(r"#define (\w+) +(\d+)", text)}
    assert said["MAX_CHUNKS"] == packed.MAX_CHUNKS
    assert said["MAX_TESTS"] == packed.MAX_TESTS
    assert said["SKB_ROOM"] == packed._SKB_ROOM
    assert said["CHUNK_ROOM"] == packed._CHUNK_ROOM + 1
    assert said["SOCK_ROOM"] == packed._SOCK_ROOM


def test_a_sock_in_pieces_is_put_together_and_ends_where_reading_failed() -> None:
    members = {
        "__sk_common.skc_family": [16, 2],
        "__sk_common.skc_state": [18, 1],
        "sk_protocol": [500, 2],
        "sk_err": [514, 4],
    }
    shapes = packed.Shapes(Layout({"structs": {"sock": {"size": 736, "members": members}}}))
    assert shapes.socks[0] == [(16, 3), (500, 18)]
    assert shapes.socks[1] == [(16, 3)]  # what all socks share
    whole = shapes.sock(0, b"\x02\x00\x0a" + bytes(range(18)))
    assert whole[16:19] == b"\x02\x00\x0a"
    assert whole[500:518] == bytes(range(18))
    assert whole[19:500] == bytes(481)
    assert len(shapes.sock(0, b"\x02\x00\x0a")) == 500  # nothing is guessed behind that


def test_a_record_is_memory() -> None:
    members = {"len": [112, 4], "head": [192, 8]}
    shapes = packed.Shapes(
        Layout(
            {
                "structs": {
                    "sk_buff": {"size": 232, "members": members},
                    "net_device": {
                        "size": 500,
                        "members": {"name": [0, 16], "nd_net.net": [32, 8]},
                    },
                    "net": {"size": 500, "members": {"ns.inum": [8, 4]}},
                    "sock": {
                        "size": 736,
                        "members": {
                            "__sk_common.skc_family": [16, 2],
                            "__sk_common.skc_net.net": [48, 8],
                        },
                    },
                }
            }
        )
    )
    skb, name, header, stack = bytes(88), b"lo".ljust(16, b"\0"), b"E" * 40, b"\x01" * 16
    head = records._RECORD.pack(
        records.SIZE + 88 + 16 + 40 + 16,
        records.HIT,
        1,
        5,
        6,
        7,
        2,
        b"wget\0".ljust(16, b"\0"),
        1,
        2,
        3,
        4,
        5,
        6,
        0x10,
        0x1000,
        0,
        0x3000,
        0x2000,
        0x4000,
        9,
        0,
        88,
        16,
        40,
        0,
        16,
        0,
        0,
        0,
    )
    record = records.unpack(b"junk" + head + skb + name + header + stack, 4)
    assert (record.kind, record.cpu, record.number, record.registers) == (
        1,
        1,
        2,
        (1, 2, 3, 4, 5, 6),
    )
    assert records.task_of(record) == {"pid": 7, "comm": "wget"}
    assert record.stack == stack
    memory = record.memory(shapes)
    assert memory.read(0x2000, 40) == header
    assert memory.read(0x3000, 16) == name
    assert memory.read(0x1000 + 192, 8) == bytes(8)
    assert memory.read(0x3000 + 32, 8) == (0x4000).to_bytes(8, "little")
    assert memory.read(0x4008, 4) == (9).to_bytes(4, "little")
    with pytest.raises(Unreadable):
        memory.read(0x1000, 8)  # before the part that was copied


def record(
    number: int, stack_id: int | None, stack: bytes = b"", kind: int = records.HIT
) -> records.Record:
    """A record of which only its stack matters."""
    size = records.SIZE + len(stack)
    head = records._RECORD.pack(
        size,
        kind,
        0,
        0,
        0,
        0,
        number,
        b"",
        *[0] * 14,
        0,
        0,
        0,
        0,
        len(stack),
        0,
        0,
        0 if stack_id is None else stack_id + 1,
    )
    return records.unpack(head + stack, 0)


def pcs(*addresses: int) -> bytes:
    return struct.pack(f"<{len(addresses)}Q", *addresses)


def test_a_stack_is_told_once_and_begins_at_the_function() -> None:
    ids = StackIds()
    above = pcs(0xFFFFFFFFC0000010, 0xFFFFFFFFC0001020)
    by_fentry, callers = pcs(0x1005), pcs(0x2222, 0x3333)
    ids.learn(record(7, None, above + by_fentry + callers, records.STACK))
    for _ in range(2):
        assert ids.of(record(0, 7), 0x1000) == by_fentry + callers
    # The same id, asked for by a function that does not lie in it: another's stack.
    assert ids.of(record(0, 7), 0x5000) == b""
    assert ids.of(record(0, 8), 0x1000) == b""
    # Whole in the record, as where another stack has the id; a kprobe says the place itself.
    assert ids.of(record(0, None, pcs(0x1000) + callers), 0x1000) == pcs(0x1000) + callers
    assert ids.of(record(0, None), 0x1000) == b""
