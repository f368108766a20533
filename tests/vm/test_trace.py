"""The trace, held against programs we did not write: tcpdump, tshark, the kernel's kprobes."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kernlab import pipeline
from kernlab.decode.names import flags_text
from kernlab.kernel.model import Kernel
from kernlab.progress import quiet
from kernlab.record.event import validate
from kernlab.record.store import read_events
from kernlab.symbols.system_map import SystemMap, base_name
from kernlab.trace import workloads
from kernlab.trace.engines.gdb import GdbEngine
from kernlab.trace.plan import make
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine

Traced = Callable[..., tuple[list[dict[str, Any]], Path]]
Booted = Callable[..., AbstractContextManager[Machine]]
Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]

FIELDS = [
    "sll.pkttype",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.window_size_value",
    "tcp.len",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
    "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
    "tcp.options.sack_perm",
]


def received(capture: Path) -> Counter[tuple[Any, ...]]:
    """What tshark says tcpdump saw arrive (a cooked capture has each frame's direction)."""
    argv = ["tshark", "-r", str(capture), "-Y", "tcp", "-T", "fields"]
    for name in FIELDS:
        argv += ["-e", name]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    found: Counter[tuple[Any, ...]] = Counter()
    for line in lines:
        kind, *rest = line.split("\t")
        sport, dport, flags, seq, ack, win, length, *options = rest
        if kind != "4":  # 4: sent by us, packet(7) PACKET_OUTGOING
            numbers = [int(sport), int(dport), int(seq), int(ack), int(win), int(length)]
            found[(flags_text(int(flags, 16)), *numbers, *options)] += 1
    return found


def as_tshark(event: dict[str, Any]) -> tuple[Any, ...]:
    packet = event["packet"]
    options = packet.get("options", {})
    stamps = [str(value) for value in options.get("ts", ["", ""])]
    sack = options.get("sack_ok")
    numbers = [packet[key] for key in ("sport", "dport", "seq", "ack", "win", "len")]
    shown = [str(options.get("mss", "")), str(options.get("wscale", "")), *stamps]
    return (packet["flags"], *numbers, *shown, "1" if sack else "")


def normal(found: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """tshark prints the SACK-permitted option as its bytes or as a flag, by version."""
    return Counter({(*key[:-1], "1" if key[-1] else ""): n for key, n in found.items()})


@pytest.mark.parametrize("workload", ["http", "http-in", "connect-closed"])
def test_every_segment_that_tcpdump_saw_arrive_is_one_event(traced: Traced, workload: str) -> None:
    events, out = traced("tcp_v4_rcv", "--workload", workload)
    seen = normal(received(out / "capture.pcapng"))
    assert sum(seen.values()) >= 6
    assert Counter(as_tshark(event) for event in events) == seen


def test_events_are_what_the_schema_says_and_what_the_file_holds(
    traced: Traced, kernel: Kernel
) -> None:
    events, out = traced("tcp_v4_rcv", "--count", "7")
    assert [event["seq"] for event in events] == list(range(1, 8))
    assert list(read_events(out / "events.jsonl")) == events
    for event in events:
        validate(event)
        assert event["packet"]["direction"] == "in"
        assert event["skb"]["dev"] == "lo"
    facts = json.loads((out / "run.json").read_text())
    assert facts["result"]["events"] == 7
    assert facts["resolved"]["release"] == kernel.release


def kernel_stacks(text: str) -> Counter[tuple[str, ...]]:
    """The stacks in a tracefs trace file, innermost first."""
    found: Counter[tuple[str, ...]] = Counter()
    for block in text.split("<stack trace>")[1:]:
        names = []
        for line in block.splitlines()[1:]:
            match = re.match(r"^ => (\S+)", line)
            if match is None:
                break
            names.append(base_name(match[1].split("+")[0]))
        # Before the probed function stand the kernel's own tracing functions.
        found[tuple(names[names.index("tcp_v4_rcv") :])] += 1
    return found


def our_stack(event: dict[str, Any]) -> tuple[str, ...]:
    return tuple(frame["func"] for frame in event["stack"] if not frame["inlined"])


def by_address(kernel: Kernel, stacks: Counter[tuple[str, ...]]) -> Counter[tuple[int | str, ...]]:
    """Stacks with addresses for names: assembler has two labels at one place."""
    known = SystemMap(kernel.system_map).all
    return Counter({tuple(known.get(f, f) for f in key): n for key, n in stacks.items()})


def seen_twice(events: list[dict[str, Any]]) -> int:
    """How often an event is its neighbour over again: a breakpoint that GDB steps over may stop
    a second time at the same instruction."""
    own = ("seq", "guest_ns", "host_ns")
    rows = [{key: value for key, value in event.items() if key not in own} for event in events]
    return sum(one == other for one, other in pairwise(rows))


@pytest.mark.parametrize("where", ["tcp_v4_rcv+5", "tcp_v4_rcv"])
def test_a_thousand_events_without_a_loss_and_with_the_kernels_own_stacks(
    kernel: Kernel, booted: Booted, tmp_path: Path, where: str
) -> None:
    """A kprobe with stack trace counts and unwinds the same hits. At the entry itself it uses
    ftrace's NOP, so the engine's probe must be a breakpoint there; five bytes on, both can be."""
    symbols = pipeline.symbols_for(kernel)
    plan = make(TraceRequest(("tcp_v4_rcv",)), symbols)
    row = workloads.find("bulk")
    tracing = "/sys/kernel/tracing"
    with booted() as machine, GdbEngine(plan, symbols, tmp_path / "gdb.log", tmp_path) as engine:
        channel = machine.channel
        channel.write_file(f"{tracing}/buffer_size_kb", b"16384")
        channel.write_file(f"{tracing}/kprobe_events", f"p:kl {where}".encode())
        # An optimised kprobe runs on generated code, where the kernel's unwinder ends.
        channel.write_file("/proc/sys/debug/kprobes-optimization", b"0")
        channel.write_file(f"{tracing}/events/kprobes/kl/trigger", b"stacktrace")
        channel.write_file(f"{tracing}/events/kprobes/kl/enable", b"1")
        workloads.place(row, tmp_path / "run" / "share", quiet)
        engine.prepare()
        engine.arm(machine)
        events: list[dict[str, Any]] = []
        count = "60000000" if "+" in where else "4000000"
        work = channel.start(["/mnt/share/bulk", "-n", count])
        deadline = time.monotonic() + 200
        while not work.done() and time.monotonic() < deadline:
            events += engine.events(0.2)
        channel.ping(20)
        counted = engine.finish()
        events += engine.events(20)
        channel.write_file(f"{tracing}/events/kprobes/kl/enable", b"0")
        profile = channel.read_file(f"{tracing}/kprobe_profile").decode().split()
        theirs = kernel_stacks(channel.read_file(f"{tracing}/trace", timeout=60).decode())
    assert work.returncode == 0
    assert len(counted.notes) == (0 if "+" in where else 1)
    # Hits and misses: a kprobe that comes while another one is handled is counted as missed.
    twice = len(events) - int(profile[1]) - int(profile[2])
    assert len(events) == counted.hits
    assert 0 <= twice <= (0 if "+" in where else seen_twice(events))
    assert len(events) >= (1000 if "+" in where else 100)
    ours = Counter(our_stack(event) for event in events)
    mine, kernels = by_address(kernel, ours), by_address(kernel, theirs)
    assert not kernels - mine
    assert sum((mine - kernels).values()) == int(profile[2]) + twice


def test_ipv6_and_udp(traced: Traced) -> None:
    script = "busybox httpd -p [::1]:80 -h /etc; wget -q -O /dev/null http://[::1]/hosts"
    events, _ = traced("tcp_v6_rcv", "--workload", script)
    first = events[0]["packet"]
    assert (first["family"], first["dst"], first["dport"], first["flags"]) == (
        "ipv6",
        "::1",
        80,
        "S",
    )
    events, _ = traced("udp_rcv", "--workload", "bash -c 'echo -n hello > /dev/udp/127.0.0.1/4711'")
    packet = events[0]["packet"]
    assert (packet["proto"], packet["dport"], packet["len"]) == ("udp", 4711, 5)


@pytest.mark.parametrize(
    ("version", "workload"),
    [
        ("v4", "http"),
        ("v6", "busybox httpd -p [::1]:80 -h /etc; wget -q -O /dev/null http://[::1]/hosts"),
        (
            "v4",
            "ip netns add other; ip -n other link set lo up; "
            "ip netns exec other busybox httpd -p 127.0.0.1:80 -h /etc; "
            "ip netns exec other wget -q -O /dev/null http://127.0.0.1/hosts",
        ),
    ],
)
def test_the_socket_looked_up_is_the_one_the_kernel_finds(
    traced: Traced, version: str, workload: str
) -> None:
    """tcp_v4_do_rcv's argument is what tcp_v4_rcv's own lookup found, on the same vCPU."""
    names = (f"tcp_{version}_rcv", f"tcp_{version}_do_rcv")
    events, _ = traced(*names, "--workload", workload, "--stack", "0")
    compared: Counter[str] = Counter()
    waiting: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["probe"] == names[0]:
            waiting[event["cpu"]] = event
            continue
        asked = waiting.get(event["cpu"])
        if asked is None or asked["skb"]["addr"] != event["skb"]["addr"]:
            continue  # a backlog's segment, or one whose socket was a request
        if asked["sock"]["via"] == "lookup" and asked["sock"]["state"] != "NEW_SYN_RECV":
            assert asked["sock"]["addr"] == event["sock"]["addr"]
            compared[asked["sock"]["state"]] += 1
    assert compared["LISTEN"] >= 1
    assert sum(compared.values()) >= 3


def test_sockets_clones_and_functions_without_an_skb(traced: Traced) -> None:
    names = ("tcp_rcv_state_process", "ip_rcv_finish_core", "tcp_close", "__tcp_transmit_skb")
    events, _ = traced(*names, "--stack", "8")
    by = {name: [e for e in events if e["probe"] == name] for name in names}
    assert all(by.values())
    states = {event["sock"]["state"] for event in by["tcp_rcv_state_process"]}
    assert {"LISTEN", "SYN_SENT"} <= states
    assert all("packet" not in event for event in by["tcp_close"])
    assert all(event["sock"]["protocol"] == "tcp" for event in by["tcp_close"])
    syn = by["__tcp_transmit_skb"][0]
    assert syn["packet"]["flags"] == "S"
    assert syn["packet"]["dport"] == 8080
    assert "raw" not in syn["packet"]  # no header has been built yet
    assert all(len(event["stack"]) <= 8 for event in events)
    established = [
        e["sock"] for e in by["__tcp_transmit_skb"] if e["sock"]["state"] == "ESTABLISHED"
    ]
    assert all(sock["snd_cwnd"] >= 1 and sock["rto_ms"] >= 200 for sock in established)


@pytest.mark.parametrize("where", ["flags == S", "flags == S and stack has net_rx_action"])
def test_only_what_the_filter_lets_pass_is_counted(traced: Traced, where: str) -> None:
    events, out = traced("tcp_v4_rcv", "--where", where, "--count", "3")
    assert [event["packet"]["flags"] for event in events] == ["S", "S", "S"]
    assert json.loads((out / "run.json").read_text())["result"]["filtered"] > 0


def test_no_event_is_explained(kernlab: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    said = kernlab("trace", "tcp_v4_rcv", "--where", "port == 7")
    assert said.returncode == 0
    assert b"no hit passed --where" in said.stdout
    said = kernlab("trace", "tcp_v6_rcv", "--workload", "connect-closed")
    assert b"was never called while" in said.stdout


def test_the_timeout_ends_a_trace_in_order(traced: Traced) -> None:
    events, out = traced("tcp_v4_rcv", "--workload", "none", "--timeout", "1")
    assert events == []
    assert json.loads((out / "run.json").read_text())["result"]["reason"] == "timeout"


def test_what_a_call_returns_is_what_its_caller_was_told(traced: Traced) -> None:
    """connect() to a closed port fails with ECONNREFUSED (111); the calls lie inside each
    other and sleep meanwhile, so each return must find its own call."""
    names = ("__sys_connect", "inet_stream_connect", "__inet_stream_connect")
    events, _ = traced(*names, "--return", "--workload", "connect-closed")
    found = Counter((event["probe"], event["ret"]) for event in events)
    assert found == Counter({(name, -111): 3 for name in names})
    inner = [event for event in events if event["probe"] == names[2]]
    # The walk saw the callers through the replaced return addresses.
    assert all(
        [frame["func"] for frame in event["stack"] if not frame["inlined"]][:3]
        == ["__inet_stream_connect", "inet_stream_connect", "__sys_connect"]
        for event in inner
    )


def test_a_filter_on_what_is_returned_waits_for_it(traced: Traced) -> None:
    events, out = traced(
        "tcp_v4_do_rcv",
        "inet_stream_connect",
        "--return",
        "--where",
        "ret < 0",
        "--workload",
        "connect-closed",
    )
    assert {event["probe"] for event in events} == {"inet_stream_connect"}
    assert json.loads((out / "run.json").read_text())["result"]["filtered"] >= 3


def test_a_function_that_has_not_returned_is_an_event_without_a_result(traced: Traced) -> None:
    events, _ = traced(
        "inet_csk_accept",
        "--return",
        "--count",
        "50",
        "--timeout",
        "2",
        "--workload",
        "busybox nc -l -p 99 -e true",
    )
    assert len(events) == 1
    assert "ret" not in events[0]


def test_expressions_have_their_values_or_are_absent(traced: Traced) -> None:
    """tcp_v4_rcv sets skb->dev to NULL on its way to tcp_v4_do_rcv."""
    shows = ("skb->len", "sk->__sk_common.skc_num", "skb->dev->name")
    words = [word for text in shows for word in ("--show", text)]
    events, _ = traced("tcp_v4_rcv", "tcp_v4_do_rcv", *words, "--count", "12")
    assert len({event["probe"] for event in events}) == 2
    for event in events:
        shown, inside = event["show"], event["probe"] == "tcp_v4_do_rcv"
        assert shown["skb->len"] == event["skb"]["len"]
        assert shown.get("skb->dev->name") == (None if inside else "lo")
        assert shown.get("sk->__sk_common.skc_num") == (event["sock"]["sport"] if inside else None)


def test_a_line_inside_a_function_stops_there(traced: Traced, kernel: Kernel) -> None:
    text = (kernel.source / "net/ipv4/tcp_ipv4.c").read_text().splitlines()
    start = next(n for n, line in enumerate(text) if line.startswith("int tcp_v4_rcv("))
    line = next(n for n in range(start, len(text)) if "__inet_lookup_skb" in text[n])
    events, _ = traced(f"tcp_ipv4.c:{line + 1}", "--count", "4", "--show", "th->dest")
    for event in events:
        assert event["site"]["func"] == "tcp_v4_rcv"
        assert abs(event["site"]["line"] - line - 1) <= 3
        assert event["locals"]["skb"] == event["skb"]["addr"]
        port = event["packet"]["dport"]
        assert event["show"]["th->dest"] == (port & 0xFF) << 8 | port >> 8


def header(packet: dict[str, Any]) -> int:
    """Bytes of a segment's TCP header, by its data offset (RFC 9293, 3.1)."""
    raw = base64.b64decode(packet["raw"])
    tcp = raw[4 * (raw[0] & 15) :] if raw[0] >> 4 == 4 else raw[40:]
    return 4 * (tcp[12] >> 4)


def test_a_control_block_is_shown_from_where_tcp_filled_it(traced: Traced) -> None:
    events, _ = traced("tcp_v4_rcv", "tcp_v4_do_rcv", "--stack", "0")
    before = [event for event in events if event["probe"] == "tcp_v4_rcv"]
    after = [event for event in events if event["probe"] == "tcp_v4_do_rcv"]
    assert before
    assert after
    assert all("cb" not in event["skb"] for event in before)
    for event in after:
        packet, cb = event["packet"], event["skb"]["cb"]
        taken = packet["len"] + sum(letter in packet["flags"] for letter in "SF")
        assert cb["seq"] == packet["seq"]
        more = (cb["end_seq"] - cb["seq"]) % (1 << 32) - taken
        if more and event["skb"]["len"] == more + packet["len"] + header(packet):
            continue  # merged with the next one in the backlog (tcp_ipv4.c, tcp_add_backlog())
        assert more == 0
        assert cb["flags"] == packet["flags"]


def test_presets_find_functions_that_this_kernel_has(traced: Traced) -> None:
    events, _ = traced("--preset", "rst")
    probes = {event["probe"] for event in events}
    assert probes == {"tcp_v4_send_reset", "tcp_reset"}
    events, _ = traced("--preset", "transmit", "--count", "12", "--stack", "1")
    tcp_only = [event for event in events if event["probe"] == "__ip_queue_xmit"]
    assert tcp_only
    assert all("raw" not in event["packet"] for event in tcp_only)  # no IP header yet


def test_a_glob_is_counted_and_limited(traced: Traced, kernlab: Kernlab) -> None:
    said = kernlab("trace", "tcp_*")
    assert said.returncode == 2
    count = re.search(rb"matches (\d+) functions, more than --max-probes 64", said.stderr)
    assert count is not None
    assert int(count[1]) > 200
    events, _ = traced("tcp_v4_*rcv", "--count", "6", "--stack", "0")
    assert {event["probe"] for event in events} == {"tcp_v4_rcv", "tcp_v4_do_rcv"}
