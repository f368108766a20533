"""The protocols' seam: ICMP, ICMPv6, SCTP and MPTCP's option read by their rows, and a protocol
that is added by a module and a line of the table alone."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernlab.decode import expr, fields, protocols
from kernlab.decode.hit import add_error
from kernlab.decode.packet import packet, quoted
from kernlab.decode.place import UNLISTED
from kernlab.decode.protocols import icmp, icmpv6
from kernlab.decode.protocols.tcp import tcp_options
from kernlab.record.event import validate

ROOT = Path(__file__).resolve().parents[2]
A, B = "10.0.0.1", "10.0.0.2"


def ipv4(
    protocol: int, payload: bytes, src: str = A, dst: str = B, total: int | None = None
) -> bytes:
    size = 20 + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH", 0x45, 0, size, 7, 0, 64, protocol, 0)
    return head + ip_address(src).packed + ip_address(dst).packed + payload


def ipv6(protocol: int, payload: bytes, src: str = "fe80::1", dst: str = "fe80::2") -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
    return head + ip_address(src).packed + ip_address(dst).packed + payload


def read(raw: bytes) -> dict[str, Any]:
    found = packet(raw)
    assert found is not None
    return found


UDP = struct.pack(">HHHH", 5000, 53, 12, 0)


def test_an_unreachable_port_and_the_datagram_it_quotes() -> None:
    found = read(ipv4(1, bytes([3, 3]) + bytes(6) + ipv4(17, UDP, B, A, 32), A, B))
    assert (found["icmp_type"], found["icmp_code"]) == (3, 3)
    assert (found["icmp_name"], found["icmp_code_name"]) == ("DEST_UNREACH", "PORT_UNREACH")
    about = found["quoted"]
    assert (about["proto"], about["src"], about["dst"]) == ("udp", B, A)
    assert (about["sport"], about["dport"], about["len"]) == (5000, 53, 4)
    assert protocols.line(found) == (
        "DEST_UNREACH PORT_UNREACH about UDP 10.0.0.2:5000 > 10.0.0.1:53"
    )


def test_of_a_segment_8_bytes_are_quoted() -> None:
    head = struct.pack(">HHI", 4321, 80, 77)
    found = read(ipv4(1, bytes([11, 0]) + bytes(6) + ipv4(6, head, B, A, 40)))
    assert found["icmp_code_name"] == "EXC_TTL"
    about = found["quoted"]
    assert (about["sport"], about["dport"], about["seq"]) == (4321, 80, 77)
    assert "flags" not in about
    cut = read(ipv4(1, bytes([11, 0]) + bytes(6) + ipv4(6, head[:7], B, A, 40)))
    assert "sport" not in cut["quoted"]


def test_an_error_about_an_echo_says_which_and_quotes_no_further() -> None:
    echo = bytes([8, 0, 0, 0]) + struct.pack(">HH", 61, 2)
    found = read(ipv4(1, bytes([3, 1]) + bytes(6) + ipv4(1, echo, B, A)))
    assert (found["quoted"]["icmp_id"], found["quoted"]["icmp_seq"]) == (61, 2)
    assert protocols.line(found).endswith("about ICMP 10.0.0.2 > 10.0.0.1 ECHO id 61 seq 2")
    inner = ipv4(1, bytes([3, 3]) + bytes(6) + ipv4(17, UDP))
    assert "quoted" not in read(ipv4(1, bytes([3, 1]) + bytes(6) + inner))["quoted"]


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (bytes([8, 0, 0, 0]) + struct.pack(">HH", 61, 1), "ECHO id 61 seq 1"),
        (bytes([0, 0, 0, 0]) + struct.pack(">HH", 61, 1), "ECHOREPLY id 61 seq 1"),
        (bytes([3, 4, 0, 0, 0, 0]) + struct.pack(">H", 1400), "DEST_UNREACH FRAG_NEEDED mtu 1400"),
        (
            bytes([5, 1, 0, 0, 10, 0, 0, 9]) + ipv4(17, UDP),
            "REDIRECT REDIR_HOST gateway 10.0.0.9 about UDP 10.0.0.1:5000 > 10.0.0.2:53",
        ),
        (bytes([3, 77]) + bytes(6), "DEST_UNREACH code 77"),
        (bytes([200, 0]) + bytes(6), "type 200"),
    ],
)
def test_icmp_is_told_on_one_line(raw: bytes, line: str) -> None:
    assert protocols.line(read(ipv4(1, raw))) == line


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (bytes([128, 0, 0, 0]) + struct.pack(">HH", 61, 1), "ECHO_REQUEST id 61 seq 1"),
        (
            bytes([1, 4]) + bytes(6) + ipv6(17, UDP),
            "DEST_UNREACH PORT_UNREACH about UDP fe80::1:5000 > fe80::2:53",
        ),
        (
            bytes([2, 0, 0, 0]) + struct.pack(">I", 1280) + ipv6(17, UDP),
            "PKT_TOOBIG mtu 1280 about UDP fe80::1:5000 > fe80::2:53",
        ),
        (
            bytes([135, 0]) + bytes(6) + ip_address("fe80::9").packed,
            "NEIGHBOUR_SOLICITATION target fe80::9",
        ),
    ],
)
def test_icmpv6_is_told_on_one_line(raw: bytes, line: str) -> None:
    assert protocols.line(read(ipv6(58, raw))) == line


def test_sctp_and_mptcp_are_named() -> None:
    found = read(ipv4(132, struct.pack(">HHII", 5000, 36412, 0, 0) + bytes([1, 0, 0, 4])))
    assert (found["proto"], found["sport"], found["dport"]) == ("sctp", 5000, 36412)
    assert found["chunk"] == protocols.line(found) == "INIT"
    options = bytes([30, 4, 0x01, 0x81, 30, 4, 0x2F, 0, 30, 3, 0xF0])
    assert tcp_options(options) == {"mptcp": ["MP_CAPABLE", "DSS", "subtype 15"]}


@given(st.binary(max_size=160), st.sampled_from(sorted(protocols.BY_NUMBER)))
def test_no_bytes_of_any_protocol_raise(raw: bytes, number: int) -> None:
    for whole in (ipv4(number & 255, raw), ipv6(number & 255, raw)):
        found = read(whole)
        protocols.line(found)
        protocols.ends(found)
        event = {"v": 1, "seq": 1, "engine": "gdb", "probe": "f", "cpu": 0, "host_ns": 1}
        validate({**event, "site": {"func": "f"}, "packet": found})


@given(st.binary(max_size=80))
def test_no_quotation_raises(raw: bytes) -> None:
    quoted(raw)


def test_the_error_that_is_about_to_be_sent_is_an_arguments_matter() -> None:
    event: dict[str, Any] = {
        "args": {"type": 3, "code": 3},
        "packet": {"proto": "icmp", "icmp_type": 8},
    }
    add_error(event, {**UNLISTED, "sends": "icmp"})
    assert event["error"]["icmp_code_name"] == "PORT_UNREACH"
    assert protocols.sends(event) == "sends ICMP DEST_UNREACH PORT_UNREACH"
    assert expr.parse("icmp.type == DEST_UNREACH").evaluate(event) is True
    assert expr.parse("icmp.type == ECHO").evaluate(event) is False
    untouched = {"args": {"type": 3, "code": 3}}
    add_error(untouched, UNLISTED)
    assert "error" not in untouched


def test_names_are_those_of_the_kernels_headers() -> None:
    """The headers of whatever kernel this host has."""
    for file, prefix, module in (("icmp.h", "ICMP", icmp), ("icmpv6.h", "ICMPV6", icmpv6)):
        path = Path("/usr/include/linux", file)
        if not path.exists():
            pytest.skip("no kernel headers on this host")
        known = dict(re.findall(rf"#define {prefix}_(\w+)\s+(\d+)\b", path.read_text()))
        for number, name in module.TYPES.items():
            assert known.get(name, str(number)) == str(number), name
        ours = {name for of in module.CODES.values() for name in of.values()}
        for of in module.CODES.values():
            for number, name in of.items():
                assert known[name] == str(number), name
        errors = {name for name in known if name.endswith(("_UNREACH", "_FAILED"))}
        assert errors - {"NR_UNREACH"} <= ours | set(module.TYPES.values())


def test_the_table_has_each_number_and_name_once_and_fields_agree() -> None:
    numbers = [number for row in protocols.TABLE for number in row.numbers]
    assert len(numbers) == len(set(numbers))
    assert len(protocols.BY_NAME) == len(protocols.TABLE)
    kinds: dict[str, set[str]] = {}
    for _, field in protocols.fields():
        kinds.setdefault(field.name, set()).add(field.kind)
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}
    assert all(field.named in kinds for _, field in protocols.fields() if field.named)


# A capture's readers look for segments, and TCP's states are TCP's own.
_MAY = {
    "record/dissect.py",
    "record/scapied.py",
    "record/tshark.py",
    "reasons/history.py",
    "sinks/report/drawings.js",
    "sinks/report/data.js",
}
_LADDER = re.compile(r"""(?:proto|protocol)\b.{0,20}[!=]==?\s*["'](?:tcp|udp|icmp)""")


def test_nothing_asks_for_a_protocol_by_its_name() -> None:
    files = [*(ROOT / "kernlab").rglob("*.py"), *(ROOT / "kernlab").rglob("*.js")]
    files += (ROOT / "gdb_scripts").rglob("*.py")
    found = {
        str(path.relative_to(ROOT)).removeprefix("kernlab/")
        for path in files
        if _LADDER.search(path.read_text())
    }
    assert found <= _MAY


TOY = '''
"""A protocol for experiments (RFC 3692): colour, sequence number, ports."""

from kernlab.decode.protocols.model import NAMED, TEXT, Field, Protocol

_COLOURS = {1: "RED", 2: "GREEN"}


def _decode(raw, length, quoted):
    fields = TOY.fixed(raw)
    if "toy_colour" in fields:
        fields["toy_name"] = _COLOURS.get(fields["toy_colour"], "?")
    return fields


TOY = Protocol(
    "toy",
    (253,),
    "Toy",
    _decode,
    (
        Field("sport", bits=16, at=0),
        Field("dport", bits=16, at=2),
        Field(
            "toy_colour", NAMED, 8, at=4, member="colour", short="toy.colour", named="toy_name",
            words={"RED": 1, "GREEN": 2}, stable=True,
        ),
        Field("toy_name", TEXT),
    ),
    lambda packet: packet.get("toy_name", ""),
    header="toyhdr",
    accessor="toy_hdr",
    ports=True,
    lane="Toy",
    files="/toy",
)
'''
ASKS = """
import io, json, struct, sys
from rich.console import Console
from kernlab.decode import expr
from kernlab.decode.layout import Layout
from kernlab.decode.macros import ACCESSORS
from kernlab.decode.place import UNLISTED
from kernlab.decode.packet import packet
from kernlab.record.event import json_schema
from kernlab.record.identity import Identity
from kernlab.sinks.lanes import lane_of
from kernlab.sinks.report.page import _meta
from kernlab.sinks.terminal import TraceView
from kernlab.symbols.sites import SiteRow

raw = bytes.fromhex("450000190007000040fd00000a0000010a000002")
found = packet(raw + struct.pack(">HHB", 7, 9, 1))
event = {"seq": 1, "probe": "toy_rcv", "cpu": 0,
         "site": {"func": "toy_rcv", "file": "net/toy/in.c"},
         "skb": {"addr": "0x1", "head": "0x2"}, "packet": found}
text = io.StringIO()
TraceView(Console(file=text, width=100)).event(event)
identity = Identity(frees=True)
copies = [identity.take({**event, "skb": {"addr": "0x" + skb, "head": "0x" + head}})
          for skb, head in (("1", "2"), ("3", "4"))]
SiteRow(header="toy", data="toy", why="net/toy/in.c")
print(json.dumps({
    "packet": found,
    "passes": [expr.parse(one).evaluate(event) for one in (
        "toy.colour == RED", "toy.colour == 1", "toy.colour == GREEN", "port == 9",
        "proto == toy")],
    "schema": json_schema()["$defs"]["Packet"]["properties"]["toy_colour"]["anyOf"][0],
    "terminal": text.getvalue(),
    "copies": copies,
    "accessor": ACCESSORS["toy_hdr"].proto,
    "lane": lane_of(event),
    "page": _meta()["fields"]["words"]["toy_colour"],
}))
"""


def test_a_protocol_is_added_by_a_module_and_a_line(tmp_path: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(ROOT / "kernlab", tmp_path / "kernlab", ignore=skip)
    folder = tmp_path / "kernlab" / "decode" / "protocols"
    (folder / "toy.py").write_text(TOY)
    table = (folder / "__init__.py").read_text()
    table = table.replace("    UDPLITE,\n", "    UDPLITE,\n    TOY,\n", 1)
    table = table.replace("\nTABLE:", "\nfrom kernlab.decode.protocols.toy import TOY\n\nTABLE:", 1)
    (folder / "__init__.py").write_text(table)
    said = subprocess.run(
        [sys.executable, "-c", ASKS], capture_output=True, text=True, cwd=tmp_path
    )
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["packet"]["proto"] == "toy"
    assert (told["packet"]["dport"], told["packet"]["toy_name"]) == (9, "RED")
    assert told["passes"] == [True, True, False, True, True]
    assert told["schema"] == {"maximum": 255, "minimum": 0, "type": "integer"}
    assert "Toy     RED" in told["terminal"]
    assert told["copies"] == ["p1", "p1"]  # a copy has the same headers
    assert told["accessor"] == "toy"
    assert told["lane"] == "Toy"
    assert told["page"] == ["GREEN", "RED"]


def test_every_field_of_a_protocol_can_be_asked_for() -> None:
    for row, field in protocols.fields():
        assert fields.type_of("packet." + field.name) == field.kind, row.name
        if field.short:
            assert fields.type_of(field.short) == field.kind
