"""The engines held against each other, and each against tcpdump: the very same hits."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from vm.test_trace import as_tshark, normal, received

from kernlab import pipeline
from kernlab.kernel.model import Kernel
from kernlab.progress import quiet
from kernlab.record.event import number, validate
from kernlab.record.expression import parse_where
from kernlab.record.rundir import RunDir
from kernlab.trace import workloads
from kernlab.trace.capture import capturing
from kernlab.trace.choice import ENGINES
from kernlab.trace.engine import Counted, Engine
from kernlab.trace.plan import make
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine

Booted = Callable[..., AbstractContextManager[Machine]]
Traced = Callable[..., tuple[list[dict[str, Any]], Path]]
Kernlab = Callable[..., "subprocess.CompletedProcess[bytes]"]

TRACING = "/sys/kernel/tracing"
# gdb last: it is armed last and finished first, so that it is alone when it stops the guest.
NAMES = [*(name for name in ENGINES if name != "gdb"), "gdb"]
# Which engine, when, and how it numbers: no two engines have these in common.
OWN = ("engine", "seq", "host_ns", "guest_ns")


class Lab:
    """One machine on which engines can be put side by side."""

    def __init__(self, kernel: Kernel, machine: Machine, path: Path) -> None:
        self.kernel = kernel
        self.machine = machine
        self.run = RunDir(path)
        self.symbols = pipeline.symbols_for(kernel)

    def engine(self, stack: ExitStack, name: str, *functions: str, **wish: Any) -> Engine:
        """An engine, armed."""
        kind = ENGINES[name]
        plan = make(TraceRequest(functions, **wish), self.symbols)
        kind.bring(plan, self.kernel, self.symbols, self.run.share, quiet)
        engine = stack.enter_context(kind.open(plan, self.symbols, self.machine, self.run))
        engine.prepare()
        engine.arm(self.machine)
        return engine

    def workload(self, name: str, *args: str) -> None:
        """A guest program, to its end."""
        workloads.place(workloads.find(name), self.run.share, quiet)
        self.start(name, *args).wait(200)
        settled(self.machine)

    def start(self, name: str, *args: str) -> Any:
        row = workloads.find(name)
        workloads.place(row, self.run.share, quiet)
        return self.machine.channel.start([f"/mnt/share/{row.program}", *args])


def settled(machine: Machine) -> None:
    """Wait for the last segments of connections whose program has ended: a socket without an
    owner is there until its FIN is acknowledged."""
    deadline = time.monotonic() + 30
    while b"TCP: inuse 0 orphan 0 " not in machine.channel.read_file("/proc/net/sockstat"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(engine: Engine) -> tuple[Counted, list[dict[str, Any]]]:
    counted = engine.finish()
    events = list(engine.drain())
    engine.remove()
    return counted, events


@pytest.fixture
def lab(kernel: Kernel, booted: Booted, tmp_path: Path) -> Any:
    with booted() as machine:
        yield Lab(kernel, machine, tmp_path / "run")


@pytest.fixture
def alone(kernel: Kernel, booted: Booted, tmp_path: Path) -> Any:
    """One vCPU: nothing changes a socket between two engines' looks at the same hit."""
    with booted(cpus=1) as machine:
        yield Lab(kernel, machine, tmp_path / "run")


def alike(event: dict[str, Any], looked_up: bool) -> dict[str, Any]:
    """What does not depend on the engine. Nobody has the lock of a sock that is only looked up,
    and others may drop their reference to an skb: the other vCPU may change either between
    two engines' reads of one hit."""
    rest = {key: value for key, value in event.items() if key not in OWN}
    sock = rest.get("sock", {})
    if sock.get("via") == "lookup":
        rest.pop("sock")
        if looked_up:
            rest["sock"] = {"addr": sock["addr"]}
    if "skb" in rest:
        rest["skb"] = {key: value for key, value in rest["skb"].items() if key != "users"}
    return rest


def once(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without hits that gdb saw twice: where another engine has taken ftrace's NOP its probe is a
    breakpoint, and one that is stepped over may stop again at the same instruction."""
    return [
        event
        for before, event in zip([{}, *events], events, strict=False)
        if alike(before, True) != alike(event, True)
    ]


def test_all_engines_and_tcpdump_see_the_same_segments_with_the_same_stacks(
    alone: Lab, tmp_path: Path
) -> None:
    """All at once on one guest, so that they see the same hits: every field that an engine
    has is what gdb read there, and every segment is one that tcpdump saw."""
    functions = ("tcp_v4_rcv", "tcp_v4_do_rcv", "__tcp_transmit_skb")
    capture = tmp_path / "capture.pcapng"
    events: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack, capturing(alone.machine, alone.run.share, capture):
        engines = {name: alone.engine(stack, name, *functions) for name in NAMES}
        alone.workload("http", "-n", "3")
        for name in reversed(NAMES):
            counted, events[name] = end(engines[name])
            assert counted.lost == {}
            assert counted.hits == len(events[name])
    events["gdb"] = once(events["gdb"])
    seen = normal(received(capture))
    assert sum(seen.values()) >= 30
    for name, found in events.items():
        for seq, event in enumerate(found, 1):
            number(event, seq)  # as a record does
            validate(event)
        segments = Counter(as_tshark(e) for e in found if e["probe"] == "tcp_v4_rcv")
        assert segments == seen, name
    # Which of two vCPUs was first, each engine may see otherwise. Which socket a segment is
    # for, gdb looks up in the guest's tables; who does not leaves it out.
    for name in NAMES[:-1]:
        looked_up = any(e.get("sock", {}).get("via") == "lookup" for e in events[name])
        left, right = (
            sorted(json.dumps(alike(event, looked_up), sort_keys=True) for event in events[one])
            for one in (name, "gdb")
        )
        apart = [(one, other) for one, other in zip(left, right, strict=False) if one != other]
        assert left == right, (name, apart[:1], len(left), len(right))


def in_segs(machine: Machine) -> int:
    """Tcp InSegs of /proc/net/snmp: counted by tcp_v4_rcv() itself."""
    lines = machine.channel.read_file("/proc/net/snmp").decode().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("InSegs")])


@pytest.mark.parametrize("buffer", [None, 8], ids=["usual buffer", "8 KiB"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "gdb"])
def test_each_hit_is_an_event_or_counted_as_lost(lab: Lab, name: str, buffer: int | None) -> None:
    """Against the kernel's own counter of segments."""
    with ExitStack() as stack:
        engine = lab.engine(stack, name, "tcp_v4_rcv", buffer=buffer)
        before = in_segs(lab.machine)
        work = lab.start("bulk", "-n", "60000000")
        count = 0
        deadline = time.monotonic() + 200
        while not work.done() and time.monotonic() < deadline:
            count += sum(1 for _ in engine.events(0.2))
        after = in_segs(lab.machine)
        counted, rest = end(engine)
    count += len(rest)
    lost = sum(number for where, number in counted.lost.items() if "stacks" not in where)
    assert count + lost == counted.hits == after - before
    assert count >= 50
    if buffer is None:
        assert counted.lost == {}
    else:
        assert lost > 50


@pytest.mark.parametrize("name", NAMES)
def test_a_filter_lets_pass_the_same_wherever_it_is_evaluated(lab: Lab, name: str) -> None:
    where = "flags has S and port == 8080 and stack has tcp_v4_rcv and not comm == nobody"
    with ExitStack() as stack:
        engine = lab.engine(stack, name, "tcp_v4_rcv", where=parse_where(where))
        if name == "ftrace":
            path = f"{TRACING}/instances/kernlab/events/kernlab/k0/filter"
            said = lab.machine.channel.read_file(path).decode()
            assert re.search(r"f0 & 2 && \(f1 == 36895 .* && COMM != \"nobody\"", said), said
        before = in_segs(lab.machine)
        lab.workload("http", "-n", "2")
        hits = in_segs(lab.machine) - before
        counted, events = end(engine)
    assert Counter(event["packet"]["flags"] for event in events) == {"S": 2, "SA": 2}
    assert (counted.hits, counted.filtered) == (hits, hits - 4)
    assert counted.lost == {}


@pytest.mark.parametrize("name", NAMES)
def test_what_calls_inside_each_other_return_and_who_called_them(lab: Lab, name: str) -> None:
    functions = ("__sys_connect", "inet_stream_connect", "__inet_stream_connect")
    with ExitStack() as stack:
        engine = lab.engine(stack, name, *functions, "inet_csk_accept", returns=True)
        lab.workload("connect-closed", "-n", "3")
        lab.machine.channel.start(["busybox", "nc", "-l", "-p", "99", "-e", "true"])
        events = list(engine.events(3))
        events += end(engine)[1]
    inner = [event for event in events if event["probe"] in functions]
    assert Counter((event["probe"], event["ret"]) for event in inner) == {
        (function, -111): 3 for function in functions
    }
    for event in inner:
        real = [frame["func"] for frame in event["stack"] if not frame["inlined"]]
        at = functions.index(event["probe"])
        assert real[: at + 1] == list(reversed(functions[: at + 1]))
        assert real[-1].startswith("entry_SYSCALL_64")
    (waits,) = [event for event in events if event["probe"] == "inet_csk_accept"]
    assert "ret" not in waits  # it had not returned when the trace ended


def kept(machine: Machine) -> dict[str, str]:
    """What tracing leaves traces in."""
    paths = (
        f"{TRACING}/kprobe_events",
        f"{TRACING}/enabled_functions",
        f"{TRACING}/set_event",
        "/proc/sys/debug/kprobes-optimization",
    )
    found = {path: machine.channel.read_file(path).decode() for path in paths}
    listed = machine.channel.run(20, ["sh", "-c", f"ls {TRACING}/instances; mount; ls /run"])
    return {**found, "listed": listed.text}


@pytest.mark.parametrize("name", NAMES)
def test_the_guest_is_left_as_it_was(lab: Lab, name: str) -> None:
    machine = lab.machine
    machine.channel.write_file(f"{TRACING}/kprobe_events", b"p:mine/own tcp_v4_rcv\n")
    before = kept(machine)
    with ExitStack() as stack:
        engine = lab.engine(stack, name, "tcp_v4_rcv", "tcp_close")
        if name != "gdb":
            assert kept(machine) != before
        lab.workload("http", "-n", "1")
        _, events = end(engine)
    assert events
    assert kept(machine) == before


@pytest.mark.parametrize("name", ["ftrace", "bpf"])
def test_of_a_glob_what_can_have_no_kprobe_is_left_out_and_told(lab: Lab, name: str) -> None:
    """The kernel takes all others: it would refuse the whole for one."""
    with ExitStack() as stack:
        engine = lab.engine(stack, name, "tcp_*init*", "do_sys*")
        lab.workload("http", "-n", "1")
        counted, events = end(engine)
    assert counted.notes[0] == "left out, because no kprobe is possible there: do_syscall_64"
    plan = make(TraceRequest(("tcp_*init*",)), lab.symbols)
    gone = next(
        note
        for note in plan.notes
        if note.startswith("left out, because they run only during boot")
    )
    assert {"tcp_init", "tcp_v4_init"} <= set(gone.split(": ")[1].split(", "))
    assert {"tcp_init_sock", "tcp_init_transfer"} <= {event["probe"] for event in events}


def test_what_an_engine_cannot_do_is_refused_before_the_boot(
    kernlab: Kernlab, tmp_path: Path
) -> None:
    def refused(*words: str) -> str:
        out = tmp_path / "refused"
        said = kernlab("trace", *words, "--out", str(out))
        assert said.returncode == 2, said.stderr.decode()
        assert not out.exists()
        return said.stderr.decode()

    assert "there is no such engine" in refused("tcp_v4_rcv", "--engine", "ftrac")
    assert "evaluates no C expression" in refused(
        "tcp_v4_rcv", "--engine", "ftrace", "--show", "skb->len"
    )
    assert "allows no kprobe at do_syscall_64" in refused("do_syscall_64", "--engine", "ftrace")
    assert "allows no kprobe at kprobe_dispatcher" in refused(
        "kprobe_dispatcher", "--engine", "ftrace"
    )
    assert "--buffer" in refused("tcp_v4_rcv", "--buffer", "16")


@pytest.mark.parametrize("engine", ["gdb", "ftrace", "bpf"])
def test_the_last_call_of_a_workload_meets_the_count(traced: Traced, engine: str) -> None:
    """The event may come when the workload has ended already: it was counted, not timed out."""
    client = ("sh", "-c", "wget -q -O /dev/null http://127.0.0.1:9/; true")
    events, out = traced(
        "tcp_v4_connect", "--engine", engine, "--count", "1", "--workload", shlex.join(client)
    )
    assert len(events) == 1
    assert json.loads((out / "run.json").read_text())["result"]["reason"] == "count"


def test_a_trace_by_another_engine_ends_and_is_kept_as_by_gdb(traced: Traced) -> None:
    events, out = traced("tcp_v4_rcv", "--engine", "ftrace", "--count", "7", "--stack", "3")
    assert [event["seq"] for event in events] == list(range(1, 8))
    assert all(event["engine"] == "ftrace" and len(event["stack"]) == 3 for event in events)
    facts = json.loads((out / "run.json").read_text())
    assert facts["result"]["reason"] == "count"
    assert facts["result"]["lost"] == {}
    assert facts["resolved"]["engine"] == "ftrace"
    times = [event["guest_ns"] for event in events]
    assert times == sorted(times)
