"""Sequence numbers counted from a connection's SYN, or told as they are."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kernlab.record.isn import Isns, near
from kernlab.record.numbers import Numbers
from kernlab.record.pcapng import Captured, write
from kernlab.record.segments import text
from kernlab.sinks.terminal import TraceView

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 80)
RAW = 101  # LINKTYPE_RAW


def frame(flags: int, seq: int, ack: int, back: bool = False) -> Captured:
    (src, sport), (dst, dport) = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    octets = [bytes(map(int, address.split("."))) for address in (src, dst)]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, *octets)
    tcp = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 512, 0, 0)
    return Captured(5, RAW, 40, ip + tcp, "lo")


SYN, SYN_ACK = frame(2, 0xFFFFFFF0, 0), frame(0x12, 5000, 0xFFFFFFF1, back=True)


def fin(seq: int = 18, ack: int = 5105) -> dict[str, Any]:
    return {
        "v": 1,
        "seq": 1,
        "probe": "tcp_v4_rcv",
        "cpu": 0,
        "packet": {
            "family": "ipv4",
            "proto": "tcp",
            "src": CLIENT[0],
            "sport": CLIENT[1],
            "dst": SERVER[0],
            "dport": SERVER[1],
            "flags": "FA",
            "seq": seq,
            "ack": ack,
        },
    }


def drawn(isns: Isns | None, *events: dict[str, Any]) -> str:
    file = io.StringIO()
    view = TraceView(Console(file=file, width=100, highlight=False))
    if isns is not None:
        view.count_from(isns)
    for event in events:
        view.event(event)
    return file.getvalue()


def kept(tmp_path: Path, *frames: Captured) -> Isns:
    write(tmp_path / "capture.pcapng", frames)
    return Isns.kept(tmp_path / "capture.pcapng")


@pytest.mark.parametrize("frames", [(SYN, SYN_ACK), (SYN_ACK,)])
def test_a_filtered_trace_counts_from_the_captures_syn(
    tmp_path: Path, frames: tuple[Captured, ...]
) -> None:
    """The FIN is the first event: across the wrap it is 34 and 105, as in tshark."""
    assert "seq 34" in drawn(kept(tmp_path, *frames), fin())
    assert "ack 105" in drawn(kept(tmp_path, *frames), fin())


def test_without_a_syn_numbers_are_marked_as_absolute(tmp_path: Path) -> None:
    for isns in (None, kept(tmp_path, frame(0x10, 17, 5001)), Isns.kept(tmp_path / "none")):
        text = drawn(isns, fin(), fin(seq=19))
        assert "seq 18 abs" in text
        assert "ack 5105 abs" in text
        assert "seq 19 abs" in text


def test_a_ports_next_connection_counts_from_its_own_syn(tmp_path: Path) -> None:
    isns = kept(tmp_path, SYN, SYN_ACK, frame(2, 0x70000000, 0))
    assert isns.of(CLIENT, SERVER) == 0x70000000
    assert "seq 16 " in drawn(isns, fin(seq=0x70000010))
    assert "seq 16 abs" in drawn(isns, fin(seq=16))


def test_what_comes_to_a_growing_capture_later_is_seen() -> None:
    come: list[list[Captured]] = [[], [], [SYN], []]
    isns = Isns(lambda: come.pop(0) if come else [], patient=True)
    assert isns.of(CLIENT, SERVER) == 0xFFFFFFF0
    assert isns.of(SERVER, CLIENT) is None


def test_more_than_half_the_space_away_is_another_connections() -> None:
    assert near(None, 5) is None
    assert near(0xFFFFFFF0, 18) == 34
    assert near(100, 90) is None


def opened(flags: str, seq: int, ack: int, options: dict[str, Any], win: int) -> dict[str, Any]:
    ends = (CLIENT, SERVER) if flags == "S" else (SERVER, CLIENT)
    return {
        "proto": "tcp",
        "src": ends[0][0],
        "sport": ends[0][1],
        "dst": ends[1][0],
        "dport": ends[1][1],
        "flags": flags,
        "seq": seq,
        "ack": ack,
        "win": win,
        "options": options,
    }


@pytest.mark.parametrize(
    ("client", "server", "wanted"),
    [
        ({"wscale": 7}, {"wscale": 2}, 512 << 7),
        ({"wscale": 7}, {}, None),  # RFC 7323, 2.2: both have to offer it
        ({}, {"wscale": 2}, None),
        ({"wscale": 15}, {"wscale": 0}, 512 << 14),
    ],
)
def test_a_window_is_scaled_as_the_syns_agreed(
    client: dict[str, Any], server: dict[str, Any], wanted: int | None
) -> None:
    numbers = Numbers()
    syn = numbers.of(opened("S", 1000, 0, client, 64240))
    answer = numbers.of(opened("SA", 5000, 1001, server, 65160))
    assert (syn["rseq"], answer["rseq"], answer["rack"]) == (0, 0, 1)
    assert "wnd" not in syn
    assert "wnd" not in answer
    data = {**opened("S", 1034, 5105, {}, 512), "flags": "PA"}
    found = numbers.of(data)
    assert (found["rseq"], found["rack"], found.get("wnd")) == (34, 105, wanted)
    shown = text({"packet": found})
    assert ("wnd 65536" in shown) if wanted == 512 << 7 else ("win 512" in shown or wanted)


def test_without_the_syns_a_window_is_as_on_the_wire() -> None:
    found = Numbers().of({**opened("S", 34, 105, {}, 512), "flags": "A"})
    assert "wnd" not in found
    assert "rseq" not in found


def test_a_socket_counts_as_its_segments_do() -> None:
    numbers = Numbers()
    numbers.of(opened("S", 1000, 0, {}, 64240))
    numbers.of(opened("SA", 5000, 1001, {}, 65160))
    sock = {"src": SERVER[0], "sport": SERVER[1], "dst": CLIENT[0], "dport": CLIENT[1]}
    assert numbers.bases(sock) == (5000, 1000)
    assert numbers.bases({"src": "x"}) == (None, None)
