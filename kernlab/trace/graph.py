"""``function_graph`` of single calls: what a function called, and how long each took.

The kernel's tracer writes an event at each function's entry and return while the function asked
for runs (kernel/trace/trace_functions_graph.c). Durations are differences of the events' times
by the TSC; the times that the events hold are sched_clock()'s, which on a busy host counts ticks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from kernlab.decode.arch import ARCH
from kernlab.errors import BadInput
from kernlab.pipeline import Setting, machine_for, symbols_for, wait_ready
from kernlab.progress import Finished, Said, Started
from kernlab.record.calls import Call, Graph
from kernlab.symbols import places
from kernlab.symbols.frames import Symbolizer
from kernlab.symbols.system_map import SystemMap
from kernlab.trace import workloads
from kernlab.trace.tracefs import formats, guest, limits, ring
from kernlab.trace.tracefs.formats import Format
from kernlab.trace.tracefs.guest import ROUND, Clock, Refused, Tracefs
from kernlab.trace.workloads import Workload
from kernlab.vm.machine import Machine

_NEEDS = {"CONFIG_FUNCTION_GRAPH_TRACER": "calls and durations as a tree"}
_TURN = 0.2
_BUFFER = 16384  # KiB for each vCPU
_INSTANCE = "instances/kernlab-graph"
_FORMATS = ("funcgraph_entry", "funcgraph_exit")
_HARDIRQ = 0x08  # TRACE_FLAG_HARDIRQ, include/linux/trace_events.h
_ENTERS = ("irq_enter_rcu", "irq_enter")  # called before the kernel counts itself in an interrupt


@dataclass(frozen=True)
class GraphRequest:
    """``depth``: levels below the function, 0 for all; ``count`` calls after ``skip`` of
    them; ``timeout`` in seconds. Raises ``BadInput`` for what no kernel would answer."""

    function: str
    depth: int = 0
    count: int = 1
    skip: int = 0
    workload: Workload = workloads.NOTHING
    timeout: float = 60.0

    def __post_init__(self) -> None:
        _check(self)


@dataclass
class GraphOutcome:
    """What came. ``reason``: count, workload, timeout, interrupted; ``lost`` events."""

    graphs: list[Graph] = field(default_factory=list)
    reason: str = "workload"
    seen: int = 0
    lost: int = 0


class _Event(NamedTuple):
    """An entry (``enters``) or a return."""

    at: int
    cpu: int
    pid: int
    func: int
    depth: int
    enters: bool
    hardirq: bool


class Builder:
    """Events of function_graph, in their order, → whole calls of the outermost function.

    A task's events have a depth of their own; an interrupt's stand inside the task's. ``entries``:
    the addresses of the functions that an interrupt enters first, before the kernel counts
    itself in one (__irq_entry, where kernel/trace/trace_functions_graph.c looks as well).
    """

    def __init__(self, entries: range = range(0)) -> None:
        self._entries = entries
        self._open: dict[int, list[tuple[Call, int, int, bool]]] = {}

    def take(self, event: _Event) -> Graph | None:
        """The call that this event ends, its ``func`` still an address in hex."""
        # Every vCPU has an idle task of its own, all with number 0.
        stack = self._open.setdefault(event.pid or -1 - event.cpu, [])
        if event.enters:
            while len(stack) > event.depth:
                stack.pop()  # its return was not seen
            if len(stack) < event.depth:
                return None  # nor was its caller
            call = Call(f"0x{event.func:x}", event.at)
            within = bool(stack) and stack[-1][3]
            hardirq = within or event.hardirq or event.func in self._entries
            call.interrupt = hardirq and bool(stack) and not within
            if stack:
                stack[-1][0].calls.append(call)
            stack.append((call, event.func, event.cpu, hardirq))
            return None
        while len(stack) > event.depth + 1:
            stack.pop()
        if len(stack) != event.depth + 1 or stack[-1][1] != event.func:
            return None
        call, _, cpu, _ = stack.pop()
        call.ns = event.at - call.start
        return Graph(call, cpu, event.pid) if not stack else None


def _check(request: GraphRequest) -> None:
    asked = places.parse(request.function, "kernlab graph")
    if asked.kind != "function":
        raise BadInput(
            f"'{request.function}': graph needs the name of one function",
            "it takes no glob and no line",
            "kernlab graph tcp_v4_rcv",
        )
    for name, value, least in (
        ("--depth", request.depth, 0),
        ("--count", request.count, 1),
        ("--skip", request.skip, 0),
    ):
        if value < least:
            raise BadInput(f"{name} {value}: at least {least}", "", f"{name} {least}")
    if request.timeout <= 0:
        raise BadInput(
            f"--timeout {request.timeout:g}: it must be more than 0 seconds", "", "--timeout 60"
        )


def graph(request: GraphRequest, setting: Setting) -> GraphOutcome:
    """Record calls of a function while a workload runs.

    Raises ``BadInput`` before anything boots, ``MachineFailed`` when the guest breaks.
    """
    row = request.workload
    run, report = setting.run, setting.report
    symbols = symbols_for(setting.kernel)
    limits.require(symbols.files.config, _NEEDS, "kernlab graph")
    entries = symbols.map.entries(request.function)
    if symbols.map.only_init(request.function):
        raise places.init_only(request.function)
    if not entries:
        raise places.unknown(request.function, symbols, "kernlab graph")
    guest.place(run.share, report)
    workloads.place(row, run.share, report)
    run.resolved(function=request.function, symbols=[symbol for symbol, _ in entries])
    outcome = GraphOutcome()
    with ExitStack() as stack:
        machine = stack.enter_context(machine_for(setting))
        wait_ready(machine, report)
        report(Started("set the tracer"))
        tracer = _start(request, [symbol for symbol, _ in entries], machine)
        report(Finished("set the tracer"))
        with workloads.running(row, machine, request.count + request.skip > 1) as work:
            _record(request, machine, _Stream(tracer, _irq_text(symbols.map)), work, outcome)
        tracer.stop()
        outcome.lost = _lost(tracer)
        symbolizer = stack.enter_context(symbols.symbolizer())
        for one in outcome.graphs:
            _name(one.call, symbolizer)
    if outcome.lost:
        report(Said(f"{outcome.lost} events were lost because the ring buffer was full"))
    return outcome


def _start(request: GraphRequest, names: Sequence[str], machine: Machine) -> Tracefs:
    where = _INSTANCE if _instances(machine) else "."
    settings = {
        f"{where}/current_tracer": "",
        "set_graph_function": names[0],
        "max_graph_depth": str(request.depth + 1 if request.depth else 0),
        f"{where}/trace_clock": ARCH.trace_clock,
        f"{where}/buffer_size_kb": str(_BUFFER),
        f"{where}/options/overwrite": "0",
        f"{where}/tracing_on": "1",
    }
    script = [f"mkdir {where}"] if where == _INSTANCE else []
    script += [f"keep {path}" for path in settings]
    script += [f"write {path} {text}" for path, text in settings.items() if text]
    script += [f"add set_graph_function {name}" for name in names[1:]]
    script += [
        f"try {where}/buffer_percent 0",
        f"write {where}/trace ",
        *(f"file events/ftrace/{name}/format" for name in _FORMATS),
        f"patch {where}/current_tracer function_graph",
        f"run {where}",
        f"write {where}/tracing_on 0",
        f"patch {where}/current_tracer nop",
        "drain",
        *ring.statistics(where),
        *([f"rmdir {where}"] if where == _INSTANCE else []),
    ]
    tracer = Tracefs(script)
    try:
        tracer.start(machine)
    except Refused as error:
        if error.line.startswith("write set_graph_function"):
            raise BadInput(
                f"the kernel cannot graph {request.function}",
                "its entry has no NOP for the tracer (see available_filter_functions)",
                "kernlab graph tcp_v4_rcv",
            ) from error
        raise
    return tracer


def _instances(machine: Machine) -> bool:
    """Whether an instance of tracefs can have this tracer, as in 6.12; in 5.10 and 6.1 only
    the top directory has it."""
    path = f"/sys/kernel/tracing/{_INSTANCE}"
    if machine.channel.run(20, ["mkdir", path]).returncode != 0:
        return False
    said = machine.channel.read_file(f"{path}/available_tracers").decode()
    machine.channel.run(20, ["rmdir", path])
    return "function_graph" in said.split()


def _irq_text(symbols: SystemMap) -> range:
    """Where the functions that an interrupt enters are (include/asm-generic/sections.h)."""
    first, end = (symbols.all.get(f"__irqentry_text_{name}", 0) for name in ("start", "end"))
    return range(first, end)


def _record(
    request: GraphRequest,
    machine: Machine,
    stream: _Stream,
    work: workloads.Running,
    outcome: GraphOutcome,
) -> None:
    deadline = time.monotonic() + request.timeout
    ended = False
    try:
        while True:
            for found in stream.graphs(_TURN):
                outcome.seen += 1
                if outcome.seen > request.skip:
                    outcome.graphs.append(found)
                if len(outcome.graphs) == request.count:
                    outcome.reason = "count"
                    return
            if ended:
                return
            if machine.child.poll() is not None:
                raise machine.lost()
            stream.check()
            ended = work.done()  # and once more what came until then
            if time.monotonic() > deadline:
                outcome.reason = "timeout"
                return
    except KeyboardInterrupt:
        outcome.reason = "interrupted"


class _Stream:
    """Calls out of what the guest sends."""

    def __init__(self, tracer: Tracefs, irq_text: range) -> None:
        self._tracer = tracer
        said = tracer.contents
        forms = [formats.parse(said[f"events/ftrace/{name}/format"]) for name in _FORMATS]
        self._forms: dict[int, tuple[Format, bool]] = {
            form.number: (form, form.name == "funcgraph_entry") for form in forms
        }
        self._clock = Clock()
        self._builder = Builder(irq_text)
        self._pending: list[_Event] = []

    def graphs(self, seconds: float) -> Iterator[Graph]:
        """Those that come within ``seconds``."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            piece = self._tracer.take(left)
            if piece is None:
                return
            if piece.kind != ROUND:
                self._pending += self._events(piece.data, piece.cpu)
                continue
            until = self._clock.round(piece)
            self._pending.sort(key=lambda event: event.at)
            ready = [event for event in self._pending if event.at < until]
            self._pending = self._pending[len(ready) :]
            for event in ready:
                found = self._builder.take(event._replace(at=self._clock.ns(event.at)))
                if found is not None:
                    yield found

    def check(self) -> None:
        """Raises what went wrong in the guest."""
        self._tracer.check()

    def _events(self, page: bytes, cpu: int) -> Iterator[_Event]:
        for at, start, _ in ring.entries(page):
            known = self._forms.get(page[start] | page[start + 1] << 8)
            if known is None:
                continue
            form, enters = known

            def value(name: str, form: Format = form, start: int = start) -> int:
                place = form.fields[name]
                first = start + place.offset
                return int.from_bytes(page[first : first + place.size], "little")

            yield _Event(
                at,
                cpu,
                value("common_pid"),
                value("func"),
                value("depth"),
                enters,
                bool(value("common_flags") & _HARDIRQ),
            )


def _lost(tracer: Tracefs) -> int:
    found = 0
    for name, text in tracer.contents.items():
        if name.endswith("/stats"):
            for line in text.splitlines():
                key, _, value = line.partition(": ")
                if key in ("dropped events", "overrun", "commit overrun"):
                    found += int(value)
    return found


def _name(call: Call, symbolizer: Symbolizer) -> None:
    """Names for addresses, all the way down."""
    for one in call.walk():
        frame = symbolizer.frames(int(one.func, 16), True)[-1]
        one.func = frame["func"]
        one.file, one.line = frame.get("file"), frame.get("line")
    for one in call.walk():
        for first, second in zip(one.calls, one.calls[1:], strict=False):
            if first.func in _ENTERS and second.interrupt:
                first.interrupt = True
