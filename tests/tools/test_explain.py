"""`rst explain` of captures from anywhere, read by tshark, and tshark as the oracle."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import captures
import pytest

from kernlab.errors import WeFailed
from kernlab.reasons.model import table
from kernlab.reasons.wire import Explained, explained
from kernlab.record import tshark
from kernlab.record.container import ETHERNET, SLL2, Captured
from kernlab.record.dissect import dissected
from kernlab.record.pcapng import write


def oracle(path: Path) -> list[int] | None:
    """The frames that hold a RST, as tshark reads the file with its own defaults; None where this
    tshark does not read such a file at all."""
    argv = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-Y",
        "tcp.flags.reset == 1 && !icmp && !icmpv6",
        "-T",
        "fields",
        "-e",
        "frame.number",
    ]
    said = subprocess.run(argv, capture_output=True, text=True)
    if said.returncode and "TShark doesn't support" in said.stderr:
        return None
    return [int(line) for line in said.stdout.split()]


@pytest.mark.parametrize("name", sorted(captures.WHOLE))
def test_each_link_type_tunnel_and_format_gives_its_rst(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(captures.WHOLE[name])
    reading = Explained(path, table())
    rows = list(reading)
    assert reading.stream.reader == "tshark"
    assert [row["number"] for row in rows] == [2]
    assert oracle(path) in ([2], None)
    assert reading.stream.tally.lost == 0
    (row,) = rows
    assert (row["rst"]["shape"], row["rst"]["answers"]) == ("passive-syn", True)
    six = row["packet"]["family"] == "ipv6"
    assert row["packet"]["src"] == (captures.SERVER6 if six else captures.SERVER)


def test_networks_around_a_segment_are_told(tmp_path: Path) -> None:
    wanted = {
        "qinq": ["vlan 5", "vlan 6"],
        "vxlan": ["vxlan 42"],
        "geneve": ["geneve 42"],
        "vxlan-vlan-gre": ["vlan 5", "vxlan 7"],
        "sll2-vlan": ["vlan 5"],
        "priority-tag-ipv6": None,
        "eth": None,
    }
    for name, within in wanted.items():
        (tmp_path / name).write_bytes(captures.WHOLE[f"{name}.pcap"])
        (row,) = explained(tmp_path / name, table())
        assert row.get("within") == within, name


def test_hops_are_those_of_the_header_that_holds_the_segment() -> None:
    inner = captures.ipv4(
        captures.SERVER, captures.CLIENT, captures.tcp(**captures.RST), ttl=7, ip_id=99
    )
    frame = captures.eth(0x800, captures.ipv4(captures.WEST, captures.EAST, inner, 4, ttl=200))
    (found,) = dissected("tshark", [Captured(0, ETHERNET, len(frame), frame)])
    assert found.fields is not None
    assert (found.fields["ttl"], found.fields["ip_id"]) == (7, 99)


def test_what_is_not_understood_is_counted_by_its_kind(tmp_path: Path) -> None:
    odd = [
        captures.eth(0x9999, bytes(60)),
        captures.eth(0x800, captures.FOUR[0][:26]),
        captures.eth(0x806, b"\0\1\x08\0\6\4\0\1" + bytes(20)),
        captures.FRAMES[1],
    ]
    (tmp_path / "x").write_bytes(captures.pcap(1, odd))
    reading = Explained(tmp_path / "x", table())
    assert len(list(reading)) == 1
    assert (reading.stream.tally.frames, reading.stream.tally.lost) == (4, 2)


def test_every_reader_gives_the_same_of_plain_segments() -> None:
    """Those that our captures have: our own decoder against tshark, and scapy if it is there."""
    dice = random.Random(3)
    frames = []
    for number in range(300):
        options = dice.choice([b"", b"\1\1\x08\x0a" + bytes(8), b"\2\4\5\xb4\4\2\1\1"])
        segment = captures.tcp(
            dice.randint(1, 65535),
            dice.randint(1, 65535),
            dice.randint(0, 255) & ~32,
            dice.getrandbits(32),
            dice.getrandbits(32),
            dice.getrandbits(16),
            options,
            dice.choice([0, 0, 7, 1400]),
        )
        if dice.random() < 0.5:
            packet, kind = captures.ipv6(captures.CLIENT6, captures.SERVER6, segment), 0x86DD
        else:
            packet, kind = (
                captures.ipv4(captures.CLIENT, captures.SERVER, segment, ttl=dice.randint(1, 255)),
                0x800,
            )
        cooked = kind.to_bytes(2, "big") + b"\0\0\0\0\0\3\3\4\4\6" + bytes(8) + packet
        frames.append(Captured(number, SLL2, len(cooked), cooked, "eth0"))

    def fields(reader: str) -> list[Any]:
        rows = list(dissected(reader, frames))
        return [(row.number, row.at, row.outgoing, row.ifindex, row.fields) for row in rows]

    ours = fields("kernlab")
    assert all(row[4] for row in ours)
    assert fields("tshark") == ours
    pytest.importorskip("scapy")
    assert fields("scapy") == ours


def test_tshark_gets_frames_that_were_bent_and_answers_each() -> None:
    """No frame makes it stop, or its answers one that we do not take."""
    dice = random.Random(5)
    sound = [
        frame
        for name, data in captures.WHOLE.items()
        if name.endswith(".pcap")
        for frame in _frames(data)
    ]
    count = int(os.environ.get("KERNLAB_FUZZ", "1000"))

    def bent() -> Any:
        for number in range(count):
            frame = dice.choice(sound)
            data = bytearray(frame.data)
            for _ in range(dice.randint(1, 6)):
                data[dice.randrange(len(data))] = dice.getrandbits(8)
            kept = bytes(data[: dice.choice([len(data), dice.randint(0, len(data))])])
            yield frame._replace(at=number, data=kept)

    found = list(dissected("tshark", bent()))
    assert [one.at for one in found] == list(range(count))
    for one in found:
        if one.fields is not None:
            assert one.fields["family"] in ("ipv4", "ipv6")
            assert 0 <= one.fields["sport"] < 1 << 16


def _frames(data: bytes) -> list[Captured]:
    link = int.from_bytes(data[20:22], "little")
    found, at = [], 24
    while at + 16 <= len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        body = data[at + 16 : at + 16 + size]
        found.append(Captured(0, link, size, body))
        at += 16 + size
    return found


def test_tshark_that_ends_too_soon_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    fake = tmp_path / "tshark"
    fake.write_text("#!/bin/sh\nhead -c 200 >/dev/null\necho broken >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    frame = captures.FRAMES[0]
    with pytest.raises(WeFailed, match="frame 1") as caught:
        list(tshark.dissected([Captured(0, ETHERNET, len(frame), frame)] * 50))
    assert "broken" in caught.value.why


def run(path: Path, *words: str, env: dict[str, str] | None = None) -> Any:
    argv = [sys.executable, "-m", "kernlab", "rst", "explain", str(path), *words]
    return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300)


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """An environment in which tshark is not found."""
    empty = tmp_path / "no-programs"
    empty.mkdir()
    return {**os.environ, "PATH": str(empty)}


def test_our_own_captures_need_no_tshark(tmp_path: Path, without: dict[str, str]) -> None:
    path = tmp_path / "made.pcapng"
    frames = [Captured(n, ETHERNET, len(f), f) for n, f in enumerate(captures.FRAMES)]
    write(path, frames)
    said = run(path, env={**without, "PYTHONPATH": str(_no_scapy(tmp_path))})
    assert said.returncode == 0, said.stderr
    assert "1 RST in" in said.stdout
    assert "not understood" not in said.stdout


@pytest.mark.skipif(shutil.which("tshark") is None, reason="compares with tshark")
def test_without_a_dissector_the_gap_is_told(tmp_path: Path, without: dict[str, str]) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(captures.WHOLE["vxlan.pcap"])
    said = run(path, env={**without, "PYTHONPATH": str(_no_scapy(tmp_path))})
    assert said.returncode == 3
    assert "2 of 2 frames not understood" in said.stdout
    assert "pip install scapy" in said.stderr
    path.write_bytes(captures.pcap(1, [*captures.FRAMES, captures.eth(0x8100, bytes(60))]))
    said = run(path, env={**without, "PYTHONPATH": str(_no_scapy(tmp_path))})
    assert said.returncode == 0
    assert "1 RST in" in said.stdout
    assert "1 of 3 frames not understood by kernlab's own decoder: 1 EtherType" in said.stdout
    assert "pip install scapy" in said.stdout


def _no_scapy(tmp_path: Path) -> Path:
    """A folder that hides scapy, where this environment has it."""
    place = tmp_path / "hidden"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(
        "import importlib.util as u\nreal = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'scapy' else real(n, *a)\n"
    )
    return place


@pytest.mark.parametrize("kind", ["snoop", "netmon2", "ngsniffer"])
def test_other_tools_formats_are_read_through_tshark(
    kind: str, tmp_path: Path, without: dict[str, str]
) -> None:
    (tmp_path / "x.pcap").write_bytes(captures.WHOLE["eth.pcap"])
    path = tmp_path / f"x.{kind}"
    subprocess.run(["editcap", "-F", kind, tmp_path / "x.pcap", path], check=True)
    assert [row["number"] for row in explained(path, table())] == oracle(path) == [2]
    said = run(path, env=without)
    assert said.returncode == 3
    assert "tshark is not installed" in said.stderr
    path.write_bytes(path.read_bytes()[:-9])
    said = run(path)
    assert (said.returncode, "tshark cannot read all" in said.stderr) == (2, True)


@pytest.mark.parametrize("name", sorted([*captures.DAMAGED, *captures.CUT]))
def test_wrong_files_end_with_words_and_a_status(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    damaged = name in captures.DAMAGED
    data, offset, _ = (captures.DAMAGED if damaged else captures.CUT)[name]
    path.write_bytes(data)
    said = run(path)
    assert said.returncode == (2 if damaged else 0)
    assert f"offset {offset}" in (said.stderr if damaged else said.stdout)
    assert "Traceback" not in said.stderr
    if name not in ("big-frame.pcap", "cut-head.pcap", "magic.pcap", "cut.pcap.gz"):
        theirs = subprocess.run(["tshark", "-r", str(path)], capture_output=True, text=True)
        assert ("damaged" if damaged else "cut short") in theirs.stderr
