"""The engine bpf, held against the gdb engine, tcpdump and the kernel's own counters."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from vm.test_engines import settled
from vm.test_trace import as_tshark, normal, received

from kernlab import pipeline
from kernlab.config.paths import shipped
from kernlab.decode import expr
from kernlab.guest.bpf import BpfSource, build
from kernlab.kernel.model import Kernel
from kernlab.progress import quiet
from kernlab.record.event import number, validate
from kernlab.record.expression import parse_where
from kernlab.record.rundir import RunDir
from kernlab.trace import workloads
from kernlab.trace.bpf import guest
from kernlab.trace.bpf.filter import lower
from kernlab.trace.capture import capturing
from kernlab.trace.engine import Counted
from kernlab.trace.engines.bpf import KIND, BpfEngine
from kernlab.trace.engines.gdb import GdbEngine
from kernlab.trace.plan import make
from kernlab.trace.request import TraceRequest
from kernlab.vm.machine import Machine

Traced = Callable[..., tuple[list[dict[str, Any]], Path]]
Booted = Callable[..., AbstractContextManager[Machine]]


# The same function by its later names: 497a38a48c6a (v5.17), ba8de796baf4 (v6.10).
FREEING = ("kfree_skb", "kfree_skb_reason", "sk_skb_reason_drop")


def without(event: dict[str, Any], *more: str) -> dict[str, Any]:
    """What both engines must agree on."""
    own = ("engine", "seq", "guest_ns", "host_ns", "cpu", *more)
    return {key: value for key, value in event.items() if key not in own}


def test_gdb_bpf_and_tcpdump_see_the_same_of_the_same_hits(
    kernel: Kernel, booted: Booted, tmp_path: Path
) -> None:
    """Both engines at once on one guest: the kprobe is there first, so that GDB's probe is a
    breakpoint in front of it, and every hit is seen by both; one vCPU, so that no socket
    changes in between."""
    symbols = pipeline.symbols_for(kernel)
    freeing = next(name for name in FREEING if name in symbols.map.text)
    names = ("tcp_v4_rcv", "tcp_rcv_state_process", freeing)
    plan = make(TraceRequest(names), symbols)
    run = RunDir.create({}, tmp_path / "trace")
    run.share = tmp_path / "run" / "share"
    rows = [workloads.find(name) for name in ("http", "connect-closed")]
    work_command = "/mnt/share/httpwl -n 1; /mnt/share/connclosed -n 1"
    with (
        booted(cpus=1) as machine,
        BpfEngine(plan, symbols, 1) as bpf,
        GdbEngine(plan, symbols, tmp_path / "gdb.log", tmp_path) as gdb,
    ):
        KIND.bring(plan, kernel, symbols, run.share, quiet)
        for row in rows:
            workloads.place(row, run.share, quiet)
        gdb.prepare()
        bpf.arm(machine)
        with capturing(machine, run.share, tmp_path / "capture.pcapng"):
            gdb.arm(machine)
            work = machine.channel.start(["sh", "-c", work_command])
            theirs: list[dict[str, Any]] = []
            while not work.done():
                theirs += gdb.events(0.1)
            settled(machine)
            theirs += gdb.events(0.1)
            gdb.finish()
            counted = bpf.finish()
        theirs += gdb.drain()
        ours = list(bpf.drain())
    assert counted.lost == {}
    for seq, event in enumerate(ours, 1):
        number(event, seq)  # as a record does
        validate(event)
    assert len(ours) == counted.hits
    by = {name: [one for one in ours if one["probe"] == name] for name in names}
    assert normal(received(tmp_path / "capture.pcapng")) == Counter(
        as_tshark(event) for event in by["tcp_v4_rcv"]
    )
    for name in names:
        mine = sorted(json.dumps(without(event), sort_keys=True) for event in by[name])
        gdbs = sorted(
            json.dumps(without(event), sort_keys=True) for event in theirs if event["probe"] == name
        )
        if name == freeing:  # bpf also saw what happened before GDB was there
            assert Counter(gdbs) <= Counter(mine)
        else:
            assert mine == gdbs, name
        assert len(gdbs) >= 2


def counted_and_events(machine: Machine, engine: BpfEngine) -> tuple[Counted, list[dict[str, Any]]]:
    """An engine's whole life beside two connections that are refused."""
    with engine:
        engine.prepare()
        engine.arm(machine)
        assert machine.channel.run(60, ["/mnt/share/connclosed", "-n", "2"]).returncode == 0
        counted = engine.finish()
        events = list(engine.drain())
        engine.remove()
    return counted, events


def what(event: dict[str, Any]) -> tuple[Any, ...]:
    """An event without what differs from run to run."""
    return (
        event["probe"],
        event.get("packet", {}).get("flags"),
        event.get("sock", {}).get("state"),
    )


FILTERS = [
    "port == 9",
    "sport == 9 and flags has R",
    "flags == S",
    "not flags has S",
    "dst in 127.0.0.0/8 and dport != 9",
    "state == SYN_SENT",
    "src == 10.0.0.1",
    "state != SYN_SENT or len > 0",
    "port in (7, 9) and state in (SYN_SENT, CLOSE)",
]


def test_the_guest_throws_nothing_away_that_the_host_wants(
    kernel: Kernel, booted: Booted, tmp_path: Path
) -> None:
    """Each filter lets pass in the guest what it lets pass of all events on the host."""
    functions = ("tcp_v4_rcv", "tcp_rcv_state_process", "__tcp_transmit_skb", "tcp_v4_connect")
    symbols = pipeline.symbols_for(kernel)
    with booted() as machine:
        share = tmp_path / "run" / "share"
        plan = make(TraceRequest(functions), symbols)
        KIND.bring(plan, kernel, symbols, share, quiet)
        workloads.place(workloads.find("connect-closed"), share, quiet)
        _, every = counted_and_events(machine, BpfEngine(plan, symbols, 2))
        assert len(every) == 2 * 5
        in_guest = 0
        for text in FILTERS:
            plan = make(TraceRequest(functions, parse_where(text), stack=0), symbols)
            counted, events = counted_and_events(machine, BpfEngine(plan, symbols, 2))
            wanted = Counter(what(one) for one in every if expr.passes(plan.where, one))
            assert Counter(map(what, events)) == wanted, text
            assert counted.filtered == len(every) - len(events), text
            assert counted.hits == len(every), text
            in_guest += bool(lower(plan.where))
        assert in_guest == len(FILTERS) - 1


def test_without_a_ring_buffer_a_perf_buffer_does(
    kernel: Kernel, booted: Booted, tmp_path: Path
) -> None:
    symbols = pipeline.symbols_for(kernel)
    plan = make(TraceRequest(("tcp_v4_rcv", "__sys_connect"), returns=True), symbols)
    with booted() as machine:
        share = tmp_path / "run" / "share"
        KIND.bring(plan, kernel, symbols, share, quiet)
        workloads.place(workloads.find("connect-closed"), share, quiet)
        engine = BpfEngine(plan, symbols, 2, perf=True)
        counted, events = counted_and_events(machine, engine)
        assert "ready perf buffer" in engine._guest.said
    assert counted.lost == {}
    assert counted.hits == len(events) == 6
    assert Counter((event["probe"], event["ret"]) for event in events) == {
        ("tcp_v4_rcv", 0): 4,
        ("__sys_connect", -111): 2,
    }
    assert [e["packet"]["flags"] for e in events if "packet" in e] == ["S", "RA", "S", "RA"]


def test_fentry_and_kprobes_see_the_same(
    kernel: Kernel, booted: Booted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both at once on one vCPU, the second with room for two stack ids, so that most of its
    stacks come whole."""
    names = (
        "tcp_v4_rcv",
        "tcp_v4_do_rcv",
        "tcp_rcv_state_process",
        "tcp_v4_connect",
        "tcp_v4_send_reset",
        "__tcp_transmit_skb",
        "inet_release",
        "__ip_queue_xmit",
    )
    symbols = pipeline.symbols_for(kernel)
    plan = make(TraceRequest(names), symbols)
    share = tmp_path / "run" / "share"
    with (
        booted(cpus=1) as machine,
        BpfEngine(plan, symbols, 1) as direct,
        BpfEngine(plan, symbols, 1, fentry=False) as kprobes,
    ):
        KIND.bring(plan, kernel, symbols, share, quiet)
        workloads.place(workloads.find("connect-closed"), share, quiet)
        direct.arm(machine)
        assert "8 of 8 by fentry" in direct._guest.said
        shutil.copy2(with_two_ids(kernel, tmp_path), share / "probe2")
        monkeypatch.setattr(guest, "NAME", "probe2")
        kprobes.arm(machine)
        assert "0 of 8 by fentry" in kprobes._guest.said
        assert machine.channel.run(60, ["/mnt/share/connclosed", "-n", "3"]).returncode == 0
        settled(machine)
        counts = [engine.finish() for engine in (direct, kprobes)]
        ours, theirs = (list(engine.drain()) for engine in (direct, kprobes))
    assert [one.lost for one in counts] == [{}, {}]
    assert len(ours) == counts[0].hits >= 3 * len(names)
    assert {event["probe"] for event in ours} == set(names)
    assert [without(one) for one in ours] == [without(one) for one in theirs]
    assert len({str(event["stack"]) for event in ours}) > 4  # more than there was room for


def with_two_ids(kernel: Kernel, tmp_path: Path) -> Path:
    """The guest's program, built with room for two stack ids."""
    source = tmp_path / "guest" / guest.NAME
    shutil.copytree(shipped("rootfs", "guest", guest.NAME), source)
    shutil.copy2(shipped("rootfs", "guest", "still.h"), source.parent)
    header = source / "probe.h"
    text, changed = re.subn(r"(#define STACKS)\s+\d+", r"\1 2", header.read_text())
    assert changed == 1
    header.write_text(text)
    return build(BpfSource(guest.NAME, source), kernel, quiet).program


def test_what_fentry_cannot_enter_is_a_kprobe(
    kernel: Kernel, booted: Booted, tmp_path: Path
) -> None:
    """A function with variable arguments, and what is beyond the number of programs."""
    symbols = pipeline.symbols_for(kernel)
    more = (
        "ip_rcv",
        "ip_local_deliver",
        "__sys_connect",
        "inet_stream_connect",
        "tcp_connect",
        "tcp_reset",
        "tcp_done",
        "tcp_v4_destroy_sock",
        "inet_csk_destroy_sock",
    )
    plan = make(
        TraceRequest(
            ("_printk" if "_printk" in symbols.map.text else "printk", "tcp_v4_rcv", *more)
        ),
        symbols,
    )
    share = tmp_path / "run" / "share"
    with booted() as machine:
        KIND.bring(plan, kernel, symbols, share, quiet)
        workloads.place(workloads.find("connect-closed"), share, quiet)
        engine = BpfEngine(plan, symbols, 2)
        counted, events = counted_and_events(machine, engine)
        assert "ready ring buffer, 8 of 11 by fentry" in engine._guest.said
    assert counted.lost == {}
    assert len(events) == counted.hits
    seen = Counter(event["probe"] for event in events)
    assert (seen["tcp_v4_rcv"], seen["__sys_connect"]) == (4, 2)  # by fentry
    assert (seen["tcp_v4_destroy_sock"], seen["tcp_done"]) == (2, 2)
