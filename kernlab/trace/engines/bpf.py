"""Engine ``bpf``: a libbpf program of our own, on fentry where the kernel offers it and on
kprobes elsewhere, neither of which stops the guest.

The program in the guest copies what the gdb engine would read (rootfs/guest/probe), and the
same code decodes it here, so that both engines give the same fields. What it throws away by
``--where``, misses and has no room for is counted, by itself and by the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernlab.config.needs import require
from kernlab.decode.arch import ARCH
from kernlab.decode.hit import add_error, as_type, decode_hit
from kernlab.decode.layout import Layout
from kernlab.decode.place import PointerSpec, ProbeSpec, position
from kernlab.errors import BadInput
from kernlab.guest.needs import BPF
from kernlab.kernel.model import Kernel
from kernlab.progress import Reporter
from kernlab.record.event import begin
from kernlab.record.rundir import RunDir
from kernlab.symbols.dwarf import Function
from kernlab.symbols.kernel import KernelSymbols
from kernlab.symbols.probes import Probe
from kernlab.trace.bpf import guest
from kernlab.trace.bpf.filter import lower
from kernlab.trace.bpf.layout import DEEPEST, Shapes, pack_plan, pack_probe
from kernlab.trace.bpf.records import RETURN, ROUND, STACK, Record, task_of, unpack
from kernlab.trace.bpf.stacks import ABOVE, StackIds
from kernlab.trace.engine import Counted, Kind
from kernlab.trace.pace import Pace
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest
from kernlab.trace.streaming import Expressions, Streaming, answerable, no_expressions
from kernlab.trace.tracefs import limits
from kernlab.trace.tracefs.stacks import Stacks
from kernlab.vm.machine import Machine

_OPTIONS = {
    "CONFIG_BPF_SYSCALL": "BPF programs",
    "CONFIG_BPF_EVENTS": "BPF programs on kprobes",
    "CONFIG_DEBUG_INFO_BTF": "the kernel's types for them",
}
_BUFFER = 8192  # KiB for each vCPU
_PAGE = 4096

Event = dict[str, Any]


class BpfEngine(Streaming[guest.Loader]):
    """One plan on one machine. Use as a context manager."""

    name = "bpf"
    exact = True

    def __init__(
        self, plan: Plan, symbols: KernelSymbols, cpus: int, perf: bool = False, fentry: bool = True
    ) -> None:
        """``perf``: by a perf buffer, as on a kernel before 5.8, also where there is a ring
        buffer. ``fentry``: false for kprobes alone. Where a return is waited for both ends of
        a call are kprobes: a kretprobe changes the return address before fentry sees it."""
        plan, left_out = limits.allowed(plan, symbols)
        request = plan.request
        fentry = fentry and not request.returns and not _preemptible(symbols)
        layout = symbols.layout()
        values = layout.get("expressions", {})
        assert isinstance(values, dict)
        self._expressions = Expressions(plan)
        self._whats = [probe.spec for probe in plan.probes]
        self._layout = Layout(layout)
        self._shapes = Shapes(self._layout)
        symbolizer = symbols.symbolizer()
        self._stacks = Stacks(symbolizer, symbols.orc(), request.stack)
        self._stack_ids = StackIds()
        self._returns = _Returns(symbols) if request.returns else None
        self._held: list[tuple[Record, int]] = []
        self._edges = (0, 0)
        self._pace = Pace(cpus)
        packed = pack_plan(
            self._shapes,
            values,
            ring=_ring(request.buffer or _BUFFER, cpus),
            depth=min(request.stack + ABOVE, DEEPEST) if request.stack > 1 else 0,
            returns=int(request.returns),
            perf=int(perf),
            limit=(request.count or 0) if plan.where is None and not request.returns else 0,
        )
        # A call is judged when it has returned, so none is thrown away before.
        tests = [] if request.returns else lower(plan.where)
        packed.tests = len(tests)
        for number, test in enumerate(tests):
            packed.test[number] = test
        probes = [
            pack_probe(number, probe, _by_fentry(probe, symbols) if fentry else "")
            for number, probe in enumerate(plan.probes)
        ]
        super().__init__(plan, guest.Loader(bytes(packed), probes), symbolizer)
        self._counted.notes += left_out

    def prepare(self) -> None:
        """Have addr2line read vmlinux while the guest boots: its first answer takes longest."""
        if self._plan.request.stack:
            self._symbolizer.frames(self._whats[0]["address"], True)

    def heed(self, counter: int) -> None:
        """Nothing: its events have exact times, and the words too."""

    def arm(self, machine: Machine) -> None:
        """Load the program and attach it to each probe."""
        try:
            self._guest.start(machine)
        except guest.Refused as error:
            error.what = f"the kernel allows no kprobe at {self._whats[error.number]['probe']}"
            raise

    def finish(self) -> Counted:
        """Stop recording; what was counted, complete when ``drain`` has ended."""
        self._guest.pause()
        return self._counted

    # -- while it runs --------------------------------------------------------

    def events(self, seconds: float) -> Iterator[Event]:
        """The events that come within the next ``seconds``."""
        loader = self._guest
        for batch in self._pace.pieces(seconds, loader.take, lambda: loader.waiting):
            yield from self._batch(batch)

    def drain(self) -> Iterator[Event]:
        """All that came before the probes were removed; then the counts are complete."""
        while (batch := self._guest.take(0)) is not None:
            yield from self._batch(batch)
        self._held.sort(key=_when)
        yield from self._give(self._held)
        self._held = []
        if self._returns is not None:
            for event in self._returns.unfinished():
                yield from self._filter.passed(event)
        self._count()

    def _batch(self, batch: guest.Batch) -> Iterator[Event]:
        at, data = 0, batch.data
        records: list[tuple[Record, int]] = []
        while at < len(data):
            record = unpack(data, at)
            at += int.from_bytes(data[at : at + 4], "little")
            if record.kind == STACK:
                self._stack_ids.learn(record)
            elif record.kind == ROUND:
                self._held += records
                records = []
                yield from self._give(self._before(record.ns))
            else:
                records.append((record, batch.at))
        self._held += records

    def _before(self, ns: int) -> list[tuple[Record, int]]:
        """The records that nothing can come before any more, in the order of time: a program
        takes its time first and a place in the buffer last, and the host may make a vCPU wait
        in between for longer than a round."""
        self._held.sort(key=_when)
        edge, *later = self._edges
        self._edges = (later[0], ns)
        count = sum(record.ns < edge for record, _ in self._held)
        ready, self._held = self._held[:count], self._held[count:]
        return ready

    def _give(self, records: list[tuple[Record, int]]) -> Iterator[Event]:
        for record, came in records:
            if record.kind == RETURN:
                if self._returns is not None:
                    for event in self._returns.leave(record, self._whats):
                        yield from self._filter.passed(event)
                continue
            stack = self._stack(record)
            event = self._event(record, came, stack)
            if self._returns is not None and self._whats[record.number]["returns"]:
                self._returns.enter(record, event, stack)
            else:
                yield from self._filter.passed(event)

    def _event(self, record: Record, came: int, stack: bytes) -> Event:
        what = self._whats[record.number]
        event = begin(
            self.name, what["probe"], record.cpu, position(what), came, task_of(record), record.ns
        )
        registers = dict(zip(ARCH.arguments, record.registers, strict=True))
        args = {item["name"]: item for item in what["args"]}

        def value(pointer: PointerSpec | None, found: int) -> int | None:
            """The object's address: the register's, or where it led the program."""
            item = None if pointer is None else args.get(pointer["name"])
            if pointer is None or item is None or pointer["hop"] is None:
                return None if item is None else registers.get(item["register"])
            return found

        found = record.sock if record.looked_up else None
        decode_hit(
            record.memory(self._shapes),
            self._layout,
            what["site"],
            value(what["skb"], record.skb),
            value(what["sock"], record.sock),
            lambda skb, packet: found,
        ).put(event)
        shown = {
            name: as_type(registers[item["register"]], item)
            for name, item in args.items()
            if item["register"] in registers
        }
        if shown:
            event["args"] = shown
        add_error(event, what["site"])
        self._expressions.put(event)
        if self._plan.request.stack:
            entry = what["entry"]
            event["stack"] = self._stacks.of(what["address"], entry, stack)
        return event

    def _stack(self, record: Record) -> bytes:
        stack = self._stack_ids.of(record, self._whats[record.number]["address"])
        return stack if self._returns is None else self._returns.true(record, stack)

    # -- what was lost --------------------------------------------------------

    def _count(self) -> None:
        said, counted = self._guest.counts, self._counted
        if not said:
            return
        # The kernel misses a hit while another probe, or a program of ours, is at work on the
        # same vCPU (kernel/kprobes.c, trace_call_bpf()).
        missed = said["missed"] + said["skipped"]
        counted.hits = said["seen"] + missed
        counted.filtered += said["filtered"]
        lost = {
            "events lost because the buffer was full": said["full"],
            "hits that the kernel missed": missed,
            "returns that were missed": said["returns_missed"],
        }
        counted.lost = {where: count for where, count in lost.items() if count > 0}


class _Returns:
    """Calls that have not returned, by where their return address lies: no two calls that
    are running share that place."""

    def __init__(self, symbols: KernelSymbols) -> None:
        known = symbols.map.all
        self._trampolines = {known[name] for name in ARCH.return_trampolines if name in known}
        self._open: dict[int, list[tuple[Record, Event]]] = {}
        self._of_task: dict[int, list[tuple[Record, bytes]]] = {}

    def enter(self, record: Record, event: Event, stack: bytes) -> None:
        self._open.setdefault(record.slot, []).append((record, event))
        self._of_task.setdefault(record.task, []).append((record, stack))

    def leave(self, record: Record, asked: list[ProbeSpec]) -> Iterator[Event]:
        """The calls that end with this return, the innermost first."""
        for entered, event in reversed(self._open.pop(record.slot, [])):
            calls = self._of_task.get(entered.task, [])
            self._of_task[entered.task] = [one for one in calls if one[0] is not entered]
            result = asked[entered.number]["returns"]
            assert result is not None  # a function without one is not waited for
            event["ret"] = as_type(record.registers[0], result)
            yield event

    def unfinished(self) -> Iterator[Event]:
        """Calls that had not returned when the trace ended: events without a result."""
        for calls in self._open.values():
            for _, event in calls:
                yield event

    def true(self, record: Record, stack: bytes) -> bytes:
        """The stack as it would be without us. Up to 5.15 the kernel's unwinder ends where a
        return was led to us; from there on the stack is that of the call which will return
        there, the innermost of the task's that are open."""
        pcs = struct.unpack(f"<{len(stack) // 8}Q", stack)
        calls = self._of_task.get(record.task)
        for at, pc in enumerate(pcs):
            if pc in self._trampolines and calls:
                return stack[: 8 * at] + calls[-1][1][8:]
        return stack


def _by_fentry(probe: Probe, symbols: KernelSymbols) -> str:
    """The name by which fentry finds this function, empty where it would not, or another:
    only at a function's begin, and only where its symbol is the one of that name."""
    place = probe.place
    alone = symbols.map.text.get(place.symbol) == [place.address]
    return place.symbol if alone and isinstance(place, Function) else ""


def _preemptible(symbols: KernelSymbols) -> bool:
    """Whether a task may take the vCPU from a program: its buffers are handed out by level."""
    return limits.has(symbols.files.config, "CONFIG_PREEMPTION")


def _when(one: tuple[Record, int]) -> int:
    return one[0].ns


def _ring(kib: int, cpus: int) -> int:
    """One buffer for all vCPUs: bytes, a power of two of pages as the kernel wants it."""
    size = _PAGE
    while size < kib * 1024 * cpus:
        size *= 2
    return size


def _check(request: TraceRequest) -> None:
    """What the engine cannot do on any kernel, or on this host."""
    no_expressions(request, "bpf", "its program copies")
    require(BPF)


def _bring(
    plan: Plan, kernel: Kernel, symbols: KernelSymbols, share: Path, report: Reporter
) -> None:
    limits.require(symbols.files.config, _OPTIONS, "--engine bpf")
    limits.check(plan, symbols, "bpf")
    if not Shapes(Layout(symbols.layout())).fits():
        raise BadInput(
            "--engine bpf: this kernel's structures are too large for its program",
            "see rootfs/guest/probe/probe.h",
            "--engine ftrace",
        )
    answerable(plan, "bpf")
    symbols.orc()
    guest.place(kernel, share, report)


def _open(plan: Plan, symbols: KernelSymbols, machine: Machine, run: RunDir) -> BpfEngine:
    return BpfEngine(plan, symbols, machine.spec.cpus)


KIND = Kind(
    "bpf",
    "a BPF program: fastest, does not stop the guest, no --show",
    _check,
    _bring,
    _open,
    {**limits.PROBES, **_OPTIONS},
)
