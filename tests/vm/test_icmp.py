"""ICMP and ICMPv6 as packets of their own, by every engine; tshark reads the same."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """ping -c 2 127.0.0.1
ping -c 1 ::1
echo hello > /dev/udp/127.0.0.1/9
echo hello > /dev/udp/::1/9
true
"""
FIELDS = (
    "frame.comment",
    "ip.src",
    "ipv6.src",
    "icmp.type",
    "icmp.code",
    "icmp.ident",
    "icmp.seq",
    "icmpv6.type",
    "icmpv6.code",
    "icmpv6.echo.identifier",
    "icmpv6.echo.sequence_number",
    "udp.srcport",
    "udp.dstport",
)
Traced = Callable[..., tuple[list[dict[str, Any]], Path]]


def by_tshark(capture: Path) -> dict[int, tuple[Any, ...]]:
    """The number of the event in a frame's comment → type, code, id, seq, and the addresses and
    ports that an error quotes."""
    argv = ["tshark", "-r", str(capture), "-Y", "icmp or icmpv6", "-T", "fields"]
    argv += ["-E", "occurrence=a", "-E", "aggregator=;"]
    for name in FIELDS:
        argv += ["-e", name]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = {}
    for line in said.splitlines():
        row = dict(zip(FIELDS, line.split("\t"), strict=True))
        if not row["frame.comment"].startswith("#"):
            continue

        def number(*names: str, row: dict[str, str] = row) -> int | None:
            text = next((row[name] for name in names if row[name]), "")
            return int(text.split(";")[0], 0) if text else None

        sources = (row["ip.src"] or row["ipv6.src"]).split(";")
        ports = [number("udp.srcport"), number("udp.dstport")] if len(sources) > 1 else [None, None]
        found[int(row["frame.comment"][1:].split()[0])] = (
            sources[0],
            number("icmp.type", "icmpv6.type"),
            number("icmp.code", "icmpv6.code"),
            number("icmp.ident", "icmpv6.echo.identifier"),
            number("icmp.seq", "icmpv6.echo.sequence_number"),
            sources[1] if len(sources) > 1 else None,
            *ports,
        )
    return found


def by_us(event: dict[str, Any]) -> tuple[Any, ...]:
    packet = event["packet"]
    about = packet.get("quoted", {})
    names = ("src", "icmp_type", "icmp_code", "icmp_id", "icmp_seq")
    return (
        *(packet.get(name) for name in names),
        *(about.get(name) for name in ("src", "sport", "dport")),
    )


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("icmp") / "icmp.sh"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("engine", ["gdb", "ftrace", "bpf"])
def test_what_comes_in_is_what_tshark_reads(traced: Traced, script: Path, engine: str) -> None:
    words = ["icmp_rcv", "icmpv6_rcv", "__icmp_send", "icmp6_send"]
    words += ["--engine", engine, "--stack", "2", "--share", str(script)]
    events, out = traced(*words, "--workload", "bash /mnt/share/icmp.sh")
    here = [event for event in events if event.get("packet", {}).get("src") in ("127.0.0.1", "::1")]
    by: dict[str, list[dict[str, Any]]] = {}
    for event in here:
        by.setdefault(event["probe"], []).append(event)
    wire = by_tshark(out / "capture.pcapng")
    for event in [*by["icmp_rcv"], *by["icmpv6_rcv"]]:
        assert by_us(event) == wire[event["seq"]], event
    names = Counter(event["packet"]["icmp_name"] for event in by["icmp_rcv"])
    assert names == {"ECHO": 2, "ECHOREPLY": 2, "DEST_UNREACH": 1}
    names = Counter(event["packet"]["icmp_name"] for event in by["icmpv6_rcv"])
    assert names == {"ECHO_REQUEST": 1, "ECHO_REPLY": 1, "DEST_UNREACH": 1}
    for name, proto in (("__icmp_send", "icmp"), ("icmp6_send", "icmpv6")):
        (sent,) = by[name]
        assert sent["error"]["proto"] == proto
        assert sent["error"]["icmp_code_name"] == "PORT_UNREACH"
        receiver = by["icmp_rcv" if proto == "icmp" else "icmpv6_rcv"]
        (got,) = [one for one in receiver if "quoted" in one["packet"]]
        for key in ("src", "sport", "dst", "dport", "proto", "len"):
            assert got["packet"]["quoted"][key] == sent["packet"][key]
        assert got["packet"]["id"] != sent["packet"]["id"]


WHERE = (
    "(icmp.type == DEST_UNREACH and family == ipv4)"
    " or (icmp.code == PORT_UNREACH and quoted.port == 9)"
    " or icmp.type in (8, ECHO_REQUEST)"
)


@pytest.mark.parametrize("engine", ["gdb", "ftrace", "bpf"])
def test_a_filter_says_the_same_in_every_engine(traced: Traced, script: Path, engine: str) -> None:
    words = ["icmp_rcv", "icmpv6_rcv", "__icmp_send", "icmp6_send", "--engine", engine]
    words += ["--stack", "0", "--where", WHERE, "--share", str(script)]
    events, _ = traced(*words, "--workload", "bash /mnt/share/icmp.sh")
    counts = Counter(event["probe"] for event in events)
    # Of the datagram over IPv6 nothing is quoted where the error is about to be sent.
    assert counts == {"icmp_rcv": 3, "icmpv6_rcv": 2, "__icmp_send": 1}
