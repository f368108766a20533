"""What goes to tracefs and what comes from it: filters, formats, pages, records as memory."""

from __future__ import annotations

import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from kernlab.decode import expr, fields, protocols
from kernlab.decode.hit import decode_hit
from kernlab.decode.layout import WANTED, Layout
from kernlab.decode.memory import BytesMemory
from kernlab.decode.names import flags_value
from kernlab.symbols.dwarf import Argument, Function
from kernlab.symbols.probes import Probe
from kernlab.symbols.sites import SiteRow
from kernlab.trace.tracefs import formats, ring
from kernlab.trace.tracefs.fetch import Fetch
from kernlab.trace.tracefs.guest import ROUND, Clock, Piece
from kernlab.trace.tracefs.lower import STATES, Constant, Lowering, Number, Source, Text
from kernlab.trace.tracefs.sources import Sources

TABLE = json.loads((Path(__file__).parents[1] / "data" / "expressions.json").read_text())


ICMP_TYPES = protocols.BY_NAME["icmp"].fields[0].words


class Record:
    """An event's fields as a kprobe event would have fetched them."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.event = event
        self.raw: dict[str, int] = {}

    def source(self, path: str) -> Source:
        found = fields.values(self.event, path)
        if not found:
            raise KeyError(path)
        value, kind = found[0], fields.type_of(path)
        if path == "task.comm":
            return Text()
        if kind == fields.TEXT:
            return Constant(value)
        if kind == fields.NUMBER and isinstance(value, int) and value >= 0:
            if path.endswith("port"):
                swapped = int.from_bytes(value.to_bytes(2, "big"), "little")
                return self._number(path, 16, swapped, swapped=True)
            return self._number(path, 32, value)
        if kind == fields.FLAGS:
            return self._number(path, 8, flags_value(value))
        if kind == fields.STATE:
            return self._number(path, 8, STATES[value], names=STATES)
        if kind == fields.NAMED:
            of_its_own = path.endswith("type")  # a code's name is one type's
            return self._number(path, 8, value, names=ICMP_TYPES if of_its_own else {})
        if kind == fields.ADDRESS and "." in value:
            raw = int.from_bytes(bytes(map(int, value.split("."))), "little")
            return self._number(path, 32, raw, swapped=True)
        return None

    def _number(self, path: str, bits: int, raw: int, **more: Any) -> Number:
        self.raw[f"{path}:u{bits}"] = raw
        return Number(f"{path}:u{bits}", **more)

    def passes(self, where: expr.Expr) -> bool:
        """What the kernel would make of the filter: Documentation/trace/events.rst."""
        lowering = Lowering(self.source)
        text = lowering.filter(where)
        if not text:
            return True
        python = text.replace("&&", " and ").replace("||", " or ")
        python = re.sub(r"!(?=\()", " not ", python)
        names = {name: self.raw[fetch] for fetch, name in lowering.fetches.items()}
        names |= {"COMM": self.event.get("task", {}).get("comm"), "common_type": 99}
        return bool(eval(python, {}, names))


@pytest.mark.parametrize(
    ("text", "event", "wanted"), [row for row in TABLE["rows"] if row[2] != "absent"]
)
def test_the_kernel_lets_pass_whatever_the_filter_does(text: str, event: str, wanted: str) -> None:
    record = Record(TABLE["events"][event])
    where = expr.parse(text)
    assert record.passes(where if wanted == "true" else expr.Not(where))


def test_most_of_what_can_be_said_in_the_kernel_is() -> None:
    """Of the rows that are false because a number differs, the kernel drops nearly all. The
    event "shown" has what --show read, which only GDB does (docs/engines.md)."""
    rows = [row for row in TABLE["rows"] if row[2] == "false" and row[1] != "shown"]
    dropped = []
    for row in rows:
        if not Record(TABLE["events"][row[1]]).passes(expr.parse(row[0])):
            dropped.append(row)
    assert len(dropped) > len(rows) / 2
    assert ["flags has SA", "syn", "false"] in dropped
    assert ["pid > 100", "syn", "false"] in dropped
    assert ["state == LISTEN and port == 81", "syn", "false"] in dropped


FORMAT = """name: k0
ID: 1355
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:unsigned long __probe_ip;	offset:8;	size:8;	signed:0;
	field:__data_loc char[] comm;	offset:16;	size:4;	signed:1;
	field:u64 b0[2];	offset:20;	size:16;	signed:0;

print fmt: "(%lx) comm=\\"%s\\"", REC->__probe_ip, __get_str(comm)
"""


def test_a_format_tells_where_fields_lie() -> None:
    form = formats.parse(FORMAT)
    assert (form.name, form.number) == ("k0", 1355)
    assert form.fields["common_pid"] == (4, 4, True)
    assert form.fields["comm"] == (16, 4, True)
    assert form.fields["b0"] == (20, 16, False)
    with pytest.raises(ValueError, match="format"):
        formats.parse("no")


def page(*events: bytes, at: int = 1000) -> bytes:
    body = b"".join(events)
    return struct.pack("<QQ", at, len(body)) + body + bytes(64)


def word(kind: int, delta: int) -> bytes:
    return struct.pack("<I", delta << 5 | kind)


def test_a_pages_records_have_their_times() -> None:
    long = bytes(range(120))
    data = page(
        word(2, 5) + b"12345678",
        word(0, 7) + struct.pack("<I", len(long) + 4) + long,
        word(30, 3) + struct.pack("<I", 1),  # TIME_EXTEND: 1 << 27
        word(29, 9) + struct.pack("<I", 8) + b"gone",  # a discarded record
        word(1, 1) + b"abcd",
        word(31, 77) + struct.pack("<I", 2),  # TIME_STAMP: absolute
        word(1, 0) + b"efgh",
        word(29, 0),  # nothing more
        word(1, 0) + b"....",
    )
    found = [(one.at, data[one.start : one.start + one.length]) for one in ring.entries(data)]
    late = 1000 + 12 + (1 << 27) + 3
    assert found == [
        (1005, b"12345678"),
        (1012, long),
        (late + 1, b"abcd"),
        ((2 << 27) + 77, b"efgh"),
    ]


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_torn_page_gives_its_whole_records(cut: int) -> None:
    data = page(*(word(4, 1) + bytes([n] * 16) for n in range(3)))[:cut]
    assert len(ring.entries(data)) == max(0, (cut - 16) // 20)


def test_random_bytes_are_no_trouble() -> None:
    source = random.Random(6)
    for _ in range(300):
        data = page(source.randbytes(200))
        for entry in ring.entries(data):
            assert entry.length > 0
            assert entry.start + entry.length <= len(data)


def test_times_between_rounds_lie_on_a_line() -> None:
    clock = Clock()
    for tsc, ns in ((1000, 500), (3000, 1500)):
        assert clock.round(Piece(0, ROUND, 0, struct.pack("<QQ", tsc, ns))) == tsc
    assert [clock.ns(tsc) for tsc in (1000, 2000, 3000)] == [500, 1000, 1500]


# -- a record is the memory that it was fetched from --------------------------------------

SKB, SOCK, DEV, HEAD, NET = (0xFFFF888000000000 + (number << 24) for number in range(1, 6))


def a_layout() -> Layout:
    """Every wanted member somewhere, in its own place."""
    sizes = {
        "dev": 8,
        "sk": 8,
        "head": 8,
        "data": 8,
        "cb": 48,
        "name": 16,
        "nd_net.net": 8,
        "__sk_common.skc_net.net": 8,
        "destructor": 8,
    }
    two = ("network_header", "transport_header", "protocol", "mac_header", "sk_protocol")
    structs = {}
    for struct_name, members in WANTED.items():
        at, places = 0, {}
        for member in members:
            last = member.split(".")[-1]
            size = sizes.get(member, 16 if "v6_" in last else 2 if last in two else 4)
            size = {"skc_state": 1, "skc_family": 2, "skc_dport": 2, "skc_num": 2}.get(last, size)
            at += -at % min(size, 8)
            places[member] = [at, size]
            at += size + (24 if len(places) % 5 == 0 else 0)  # members that nobody asked for
        structs[struct_name] = {"size": at, "members": places}
    return Layout({"structs": structs, "constants": {"HZ": 250}})


def guest(layout: Layout, source: random.Random) -> dict[int, bytes]:
    """Memory full of noise with a sensible skb and sock in it."""
    blocks = {at: bytearray(source.randbytes(4096)) for at in (SKB, SOCK, DEV, HEAD, NET)}

    def put(at: int, struct_name: str, member: str, value: int) -> None:
        place = layout.field(struct_name, member)
        assert place is not None
        blocks[at][place[0] : place[0] + place[1]] = value.to_bytes(place[1], "little")

    for member, value in (
        ("head", HEAD),
        ("data", HEAD + 256 + source.choice([0, 20, 52])),
        ("dev", DEV),
        ("sk", SOCK),
        ("len", 300),
        ("data_len", 0),
        ("network_header", 256),
        ("transport_header", 276),
        ("protocol", 8),
    ):
        put(SKB, "sk_buff", member, value)
    put(SOCK, "sock", "__sk_common.skc_family", source.choice([2, 10]))
    put(SOCK, "sock", "__sk_common.skc_state", source.choice([1, 2, 6, 10, 12]))
    put(SOCK, "sock", "sk_type", 1)
    put(SOCK, "sock", "__sk_common.skc_net.net", NET)
    put(DEV, "net_device", "nd_net.net", NET)
    put(SOCK, "sock", "sk_protocol", source.choice([6, 17]))
    blocks[DEV][:16] = b"eth0".ljust(16, b"\0")
    blocks[HEAD][256:276] = bytes.fromhex("4500012c00004000400600000102030405060708")
    blocks[HEAD][276:296] = bytes.fromhex("1f90005000000001000000028018010000000000")
    return {at: bytes(data) for at, data in blocks.items()}


def record(fetch: Fetch, memory: BytesMemory, registers: dict[str, int]) -> bytes:
    """The record that the kernel would write, at the start of a page; binds the fetch."""
    known = {"%di": registers["rdi"], "%si": registers["rsi"]}
    fields_, body = {}, bytearray(24)
    for name in ("common_pid", "__probe_ip", "comm"):
        fields_[name] = formats.Field(0, 4, False)

    def value(text: str) -> int:
        match = re.fullmatch(r"([+-]\d+)\((.*)\)", text)
        if match is None:
            return known[text]
        return int.from_bytes(memory.read(value(match[2]) + int(match[1]), 8), "little")

    for token in fetch.definition().split()[3:]:
        name, _, rest = token.partition("=")
        text, _, kind = rest.partition(":")
        count = int((re.search(r"\[(\d+)\]", kind) or [0, 1])[1])
        match = re.fullmatch(r"([+-]\d+)\((.*)\)", text)
        fields_[name] = formats.Field(len(body), 8 * count, False)
        if match is None:
            body += known[text].to_bytes(8, "little")
        else:
            body += memory.read(value(match[2]) + int(match[1]), 8 * count)
    fetch.bind(formats.Format("k0", 1, fields_))
    return bytes(body)


@pytest.mark.parametrize("own", [True, False], ids=["sock argument", "the skb's sock"])
@pytest.mark.parametrize("tcp_cb", [True, False])
@pytest.mark.parametrize("header", ["network", "transport", "protocol", "tcp", "cb", "none"])
def test_a_record_decodes_as_the_memory_it_was_fetched_from(
    header: Any, tcp_cb: bool, own: bool
) -> None:
    layout = a_layout()
    args = [Argument("skb", "struct sk_buff *", "pointer", 8, "rdi")]
    if own:
        args.append(Argument("sk", "struct sock *", "pointer", 8, "rsi"))
    site = SiteRow(header=header, tcp_cb=tcp_cb, direction="out", why="")
    place = Function("f", "f", 0xFFFFFFFF81000000, "f.c", 1, tuple(args), b"")
    probe = Probe("f", place, site, "skb", "sk" if own else None)
    for seed in range(40):
        blocks = guest(layout, random.Random(seed))
        memory = BytesMemory(blocks)
        fetch = Fetch("k0", probe, layout)
        data = record(fetch, memory, {"rdi": SKB, "rsi": SOCK})
        skb, sock, fetched = fetch.objects(data, 0)
        assert (skb, sock) == (SKB, SOCK if own else None)
        ours = decode_hit(fetched, layout, fetch.what["site"], skb, sock)
        theirs = decode_hit(memory, layout, fetch.what["site"], skb, sock)
        if header in ("tcp", "cb") or tcp_cb:
            assert theirs.skb is not None
            theirs.skb.pop("dev", None)  # TCP's own skbs have no device
        assert ours == theirs
        assert ours.sock is not None
        assert ours.netns is not None
        assert fetched.faults == 0


def test_what_lies_behind_no_pointer_is_absent() -> None:
    layout = a_layout()
    args = (
        Argument("skb", "struct sk_buff *", "pointer", 8, "rdi"),
        Argument("sk", "struct sock *", "pointer", 8, "rsi"),
    )
    site = SiteRow(header="transport", why="")
    place = Function("f", "f", 0xFFFFFFFF81000000, "f.c", 1, args, b"")
    fetch = Fetch("k0", Probe("f", place, site, "skb", "sk"), layout)
    blocks = guest(layout, random.Random(1))
    data = record(fetch, BytesMemory(blocks), {"rdi": SKB, "rsi": SOCK})
    sock = fetch._at["rsi"]
    stale = data[:sock] + bytes(8) + data[sock + 8 :]  # the words were left as they were
    skb, null, memory = fetch.objects(stale, 0)
    hit = decode_hit(memory, layout, fetch.what["site"], skb, null)
    assert null == 0
    assert hit.sock is None
    assert hit.packet is not None
    assert memory.faults > 10


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("icmp.type == DEST_UNREACH", "f0 == 3"),
        ("icmp.type != ECHO", "f0 != 8"),
        ("icmp.type in (ECHO, 3)", "(f0 == 8 || f0 == 3)"),
        ("icmp.type == NEIGHBOUR_SOLICITATION", "common_type == 0"),  # ICMPv6's: of no hit here
        ("icmp.code == 3", "f0 == 3"),
        ("icmp.code == PORT_UNREACH", ""),  # the same number is another code's of another type
        ("quoted.dport == 53", ""),
        ("sport == 53", ""),
    ],
)
def test_a_header_behind_skb_data_can_be_asked_in_the_kernel(where: str, said: str) -> None:
    layout = a_layout()
    args = (Argument("skb", "struct sk_buff *", "pointer", 8, "rdi"),)
    site = SiteRow(header="transport", data="icmp", direction="in", why="")
    place = Function("icmp_rcv", "icmp_rcv", 0xFFFFFFFF81000000, "f.c", 1, args, b"")
    fetch = Fetch("k0", Probe("icmp_rcv", place, site, "skb", None), layout)
    lowering = Lowering(Sources(fetch, layout))
    assert lowering.filter(expr.parse(where)) == said
    if said.startswith("f0"):
        data = layout.field("sk_buff", "data")
        assert data is not None
        offset = "+1" if "code" in where else "+0"
        assert list(lowering.fetches) == [f"{offset}(+{data[0]}(%di)):u8"]


def test_of_an_error_that_is_about_to_be_sent_the_arguments_are_asked() -> None:
    layout = a_layout()
    args = (
        Argument("skb_in", "struct sk_buff *", "pointer", 8, "rdi"),
        Argument("type", "int", "signed", 4, "rsi"),
        Argument("code", "int", "signed", 4, "rdx"),
    )
    site = SiteRow(header="network", sends="icmp", why="")
    place = Function("__icmp_send", "__icmp_send", 0xFFFFFFFF81000000, "f.c", 1, args, b"")
    fetch = Fetch("k0", Probe("__icmp_send", place, site, "skb_in", None), layout)
    lowering = Lowering(Sources(fetch, layout))
    # The packet that the error is about may be of ICMP too, and its header has no fixed place.
    assert lowering.filter(expr.parse("error.icmp_type == DEST_UNREACH")) == "f0 == 3"
    assert list(lowering.fetches) == ["%si:s32"]
