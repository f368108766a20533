"""What a reader sees: lines that fit, numbers from 0, nothing a terminal acts on."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kernlab.errors import BadInput
from kernlab.record import pcapng
from kernlab.record.flows import Flows
from kernlab.sinks.fold import fold
from kernlab.sinks.groups import Groups
from kernlab.sinks.terminal import TraceView, safe

STACK = [
    {"func": "tcp_v4_rcv", "file": "net/ipv4/tcp_ipv4.c", "line": 1965, "inlined": False},
    {"func": "ip_local_deliver_finish", "inlined": False},
    {"func": "napi_poll", "inlined": True},
    {"func": "net_rx_action", "inlined": False},
    {"func": "__do_softirq", "inlined": False},
    {"func": "asm_call_on_stack", "inlined": False},
    {"func": "do_softirq", "inlined": False},
    {"func": "__ip_queue_xmit", "inlined": False},
    {"func": "tcp_sendmsg", "inlined": False},
    {"func": "__sys_sendto", "inlined": False},
    {"func": "do_syscall_64", "inlined": False},
    {"func": "entry_SYSCALL_64_after_hwframe", "inlined": False},
]


def segment(
    seq: int, flags: str, number: int, ack: int, back: bool = False, length: int = 0
) -> dict[str, Any]:
    a, b = ("127.0.0.1", 40312), ("127.0.0.1", 80)
    source, target = (b, a) if back else (a, b)
    return {
        "v": 1,
        "seq": seq,
        "engine": "gdb",
        "probe": "tcp_v4_rcv",
        "cpu": 0,
        "task": {"pid": 61, "comm": "wget"},
        "guest_ns": 1_000_000 * seq,
        "host_ns": 0,
        "site": {"func": "tcp_v4_rcv"},
        "stack": STACK,
        "packet": {
            "family": "ipv4",
            "proto": "tcp",
            "src": source[0],
            "sport": source[1],
            "dst": target[0],
            "dport": target[1],
            "flags": flags,
            "seq": number,
            "ack": ack,
            "win": 65495,
            "len": length,
            "options": {"mss": 1460},
        },
    }


EVENTS = [
    segment(1, "S", 4294967290, 0),
    segment(2, "SA", 7000, 4294967291, back=True),
    segment(3, "PA", 4294967291, 7001, length=33),
    segment(4, "RA", 7001, 28, back=True),
]


def drawn(
    width: int, stack: str = "fold", encoding: str = "utf-8", events: list[dict[str, Any]] = EVENTS
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    view = TraceView(Console(file=file, width=width, highlight=False), stack)  # type: ignore[arg-type]
    for event in events:
        view.event(event)
    view.summary({"events": str(len(events))})
    file.flush()
    return raw.getvalue().decode(encoding)


def test_many_flags_do_not_run_into_the_number() -> None:
    events = [EVENTS[0], segment(2, "FPA", 4294967291, 7001, length=33)]
    assert "FIN-PSH-ACK seq " in drawn(100, events=events)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("stack", ["fold", "full", "none"])
def test_no_line_is_wider_than_the_terminal(width: int, stack: str) -> None:
    assert max(len(line) for line in drawn(width, stack).splitlines()) <= width


def test_numbers_are_relative_across_the_wrap() -> None:
    lines = [line for line in drawn(100).splitlines() if " 1→ " in line or " 1← " in line]
    assert "SYN     seq 0 " in lines[0]
    assert "SYN-ACK seq 0 " in lines[1]
    assert "ack 1 " in lines[1]
    assert "PSH-ACK seq 1       len 33    ack 1 " in lines[2]
    assert "RST-ACK seq 1 " in lines[3]
    assert "ack 34" in lines[3]


def test_a_call_that_began_before_what_it_led_to_has_a_time_before_it() -> None:
    """A call with --return is an event when it returns, with the time at which it began."""
    times = [
        re.search(r"([+-]+\d+) ms", line)
        for line in drawn(100, events=[segment(40, "S", 1, 0), segment(4, "PA", 2, 1)]).splitlines()
    ]
    assert [match[1] for match in times if match] == ["+0", "-36"]


def test_the_summary_counts_each_way_and_marks_the_reset() -> None:
    row = next(line for line in drawn(100).splitlines() if line.startswith("1  "))
    assert row.split() == ["1", "127.0.0.1:40312", "127.0.0.1:80", "2", "2", "RST"]


def test_a_stack_like_the_one_before_is_not_drawn_again() -> None:
    text = drawn(160)
    assert text.count("__sys_sendto") == 1
    assert text.count("the same way") == 3
    other = {**segment(5, "A", 1, 1), "stack": STACK[:2]}
    assert drawn(160, events=[*EVENTS, other]).count("the same way") == 3


def test_a_plain_terminal_gets_plain_characters() -> None:
    assert drawn(80, encoding="ascii").isascii()


def test_without_colour_there_is_no_escape() -> None:
    assert "\x1b" not in drawn(80)


def test_what_the_guest_says_cannot_act_on_the_terminal() -> None:
    event = segment(1, "S", 1, 0)
    event["task"]["comm"] = "\x1b[31mevil\r\u202e"
    event["packet"]["proto"] = "tcp"
    assert "\x1b" not in drawn(160, events=[event])
    assert safe("a\x1b]0;x\x07b\n") == "a?]0;x?b?"


def test_events_without_packet_or_stack_are_drawn() -> None:
    bare = {
        "v": 1,
        "seq": 1,
        "engine": "gdb",
        "probe": "tcp_close",
        "cpu": 0,
        "host_ns": 0,
        "site": {"func": "tcp_close"},
        "args": {"timeout": 0},
    }
    udp = segment(2, "", 0, 0)
    udp["packet"] = {"proto": "udp", "src": "::1", "sport": 1, "dst": "::1", "dport": 2, "len": 9}
    icmp = {**bare, "packet": {"proto": "icmp", "src": "10.0.0.1", "dst": "10.0.0.2"}}
    text = drawn(80, events=[bare, udp, icmp])
    assert "tcp_close" in text
    assert "UDP" in text
    assert "ICMP" in text


def test_the_fold_keeps_the_probe_and_marks_contexts() -> None:
    parts = [(part.kind, part.text) for part in fold(STACK)]
    assert parts[0] == ("func", "tcp_v4_rcv")
    assert ("mark", "softirq") in parts
    assert parts[-1] == ("func", "__sys_sendto")  # nothing follows the system call's mark
    assert ("func", "asm_call_on_stack") not in parts
    assert all(text != "napi_poll" for _, text in parts)


FRAMES = [
    pcapng.Captured(1_700_000_000_123_456_789, pcapng.RAW, 60, b"E" + bytes(39)),
    pcapng.Captured(1_700_000_001_000_000_001, pcapng.ETHERNET, 20, bytes(range(20))),
]


def test_pcapng_comes_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    assert pcapng.write(path, FRAMES) == 2
    assert list(pcapng.read(path)) == FRAMES


def test_a_cut_capture_gives_its_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    pcapng.write(path, FRAMES)
    path.write_bytes(path.read_bytes()[:-7])
    assert list(pcapng.read(path)) == FRAMES[:1]


def test_classic_pcap_is_read_and_marked_frames_are_left_out(tmp_path: Path) -> None:
    source, out = tmp_path / "x.pcap", tmp_path / "x.pcapng"
    body = b"".join(
        struct.pack("<IIII", 5, 7, len(d), len(d)) + d for d in (b"one", b"two", b"the END")
    )
    source.write_bytes(b"\xd4\xc3\xb2\xa1" + struct.pack("<HHiIII", 2, 4, 0, 0, 65535, 101) + body)
    assert pcapng.convert(source, out, without=b"END") == 2
    assert [(f.at, f.data) for f in pcapng.read(out)] == [
        (5_000_007_000, b"one"),
        (5_000_007_000, b"two"),
    ]


def test_a_growing_capture_gives_each_frame_once(tmp_path: Path) -> None:
    """However the writer's bytes come: cut at every place."""
    path = tmp_path / "x.pcap"
    whole = b"\xd4\xc3\xb2\xa1" + struct.pack("<HHiIII", 2, 4, 0, 0, 65535, 101)
    whole += b"".join(struct.pack("<IIII", 5, 7, len(d), len(d)) + d for d in (b"one", b"three"))
    for cut in range(len(whole) + 1):
        path.unlink(missing_ok=True)
        growing = pcapng.Growing(path)
        seen = [frame.data for frame in growing.frames()]
        for part in (whole[:cut], whole):
            path.write_bytes(part)
            seen += [frame.data for frame in growing.frames()]
        assert seen == [b"one", b"three"], cut


def test_a_text_file_is_no_capture(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("hello there")
    with pytest.raises(BadInput, match="not a capture"):
        list(pcapng.read(path))


def groups(key: str, *events: dict[str, Any]) -> tuple[Groups, str]:
    found = Groups(key)
    for event in events:
        found.event(event)
    raw = io.StringIO()
    found.draw(Console(file=raw, width=80))
    return found, raw.getvalue()


def test_hits_are_counted_by_stack_whatever_the_frames_lines() -> None:
    other = {**EVENTS[0], "stack": STACK[:1] + STACK[9:]}
    moved = {**EVENTS[0], "stack": [{**STACK[0], "line": 7}, *STACK[1:]]}
    found, text = groups("stack", EVENTS[0], other, EVENTS[1], moved)
    assert [count for count, _, _ in found.rows()] == [3, 1]
    assert "    3  75 %" in text
    assert "tcp_v4_rcv ← ip_local_deliver_finish" in text


def test_hits_are_counted_by_a_field() -> None:
    found, text = groups("packet.flags", *EVENTS, segment(5, "S", 1, 0))
    assert [(count, value) for count, value, _ in found.rows()] == [
        (2, "S"),
        (1, "SA"),
        (1, "PA"),
        (1, "RA"),
    ]
    assert "    2  40 %" in text
    assert groups("sock.state", EVENTS[0])[1].rstrip().endswith("(absent)")


def test_what_was_returned_shown_and_found_at_a_line_is_drawn() -> None:
    event = {**EVENTS[0], "ret": -111, "show": {"sk->sk_err": 104}, "locals": {"th": "0xff"}}
    text = drawn(100, events=[event])
    assert "= -111" in text
    assert "sk->sk_err = 104" in text
    assert "th=0xff" in text


@pytest.mark.parametrize(
    ("flags", "number", "back", "client"),
    [
        ("S", 7, True, ("127.0.0.1", 80)),  # whoever sends the SYN, whatever the port
        ("SA", 7, True, ("127.0.0.1", 40312)),
        ("RA", 0, True, ("127.0.0.1", 40312)),  # a closed port's answer
        ("PA", 9, True, ("127.0.0.1", 40312)),  # the smaller port is the server's
        ("PA", 9, False, ("127.0.0.1", 40312)),
    ],
)
def test_the_first_segment_seen_tells_who_the_client_is(
    flags: str, number: int, back: bool, client: tuple[str, int]
) -> None:
    taken = Flows().take(segment(1, flags, number, 5, back=back)["packet"])
    assert taken is not None
    assert taken[0].client == client


def test_a_syn_ack_s_number_counts_from_then_on() -> None:
    """A challenge ACK of the connection before came first (RFC 5961, 4.2; the SYN is taken
    again after its RST): what it made of the other side's first number is not true any more."""
    flows = Flows()
    server = ("10.0.0.2", 80)
    for flags, number, back in (("S", 100, False), ("A", 7001, True), ("SA", 9000, True)):
        taken = flows.take(packet(flags, number, back))
        assert taken is not None
    assert taken[0].relative(server, 9001) == 1


def packet(flags: str, number: int, back: bool) -> dict[str, Any]:
    ends = [("10.0.0.1", 40000), ("10.0.0.2", 80)]
    (src, sport), (dst, dport) = reversed(ends) if back else ends
    return {
        "proto": "tcp",
        "src": src,
        "sport": sport,
        "dst": dst,
        "dport": dport,
        "flags": flags,
        "seq": number,
        "ack": 101 if "A" in flags else 0,
    }


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_full_stack_breaks_no_line(width: int) -> None:
    long = [
        {
            "func": "run_on_irqstack_cond",
            "inlined": True,
            "line": 77,
            "file": "arch/x86/include/asm/irq_stack.h",
        }
    ]
    text = drawn(width, "full", events=[{**EVENTS[0], "stack": [*STACK, *long]}])
    assert all(len(line) <= width for line in text.split("\n\n")[0].splitlines())
    assert re.search(r"run_on_irqstack_cond \(inlined\)\s+arch/x86/\S+:77", text)


def _hop(seq: int, probe: str, file: str, **more: Any) -> dict[str, Any]:
    packet = {
        "id": "p1",
        "src": "127.0.0.1",
        "sport": 1,
        "dst": "127.0.0.1",
        "dport": 2,
        "flags": "S",
        "seq": 9,
        "win": 8,
        "len": 0,
    }
    return {
        "seq": seq,
        "probe": probe,
        "host_ns": seq * 1_000_000,
        "site": {"file": file},
        "packet": packet,
        "skb": {"addr": "0xa", "len": 40 + seq},
        **more,
    }


def test_a_followed_packet_is_drawn_when_it_is_freed() -> None:
    from kernlab.sinks.follow import FollowView

    out = io.StringIO()
    view = FollowView(Console(file=out, width=100))
    view.event(_hop(1, "ip_rcv", "net/ipv4/ip_input.c"))
    view.event(_hop(2, "tcp_v4_rcv", "net/ipv4/tcp_ipv4.c", sock={"state": "LISTEN"}))
    assert out.getvalue() == ""
    view.event(_hop(3, "__kfree_skb", "net/core/skbuff.c"))
    text = out.getvalue()
    assert "p1  1 > 2 [SYN] seq 0 win 8" in text
    assert "1.0 ms  TCP       tcp_v4_rcv  len 41 → 42  state LISTEN" in text.replace(
        "state LISTEN  len 41 → 42", "len 41 → 42  state LISTEN"
    )
    view.summary({})
    assert "packets   1" in out.getvalue()


def test_the_moving_picture_has_connections_states_and_rates() -> None:
    from kernlab.sinks.live import LiveView

    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    with LiveView(console) as view:
        sock = {"state": "SYN_SENT", "src": "127.0.0.1", "sport": 1, "dport": 2}
        view.event(_hop(1, "tcp_v4_rcv", "net/ipv4/tcp_ipv4.c", sock=sock))
    text = out.getvalue()
    for part in ("1 events", "1 connections", "SYN_SENT", "tcp_v4_rcv 1"):
        assert part in text
