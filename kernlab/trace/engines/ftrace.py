"""Engine ``ftrace``: kprobe events of the kernel's own, which do not stop the guest.

An instance of tracefs of ours has one event for each probe and a stack trace after each. The
guest program ships the ring buffer's pages as they are; here they are put in the order of
time, decoded as memory (``kernlab.trace.tracefs.fetch``) and made the events that every engine
gives. Linux: Documentation/trace/kprobetrace.rst, ftrace.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kernlab.decode.arch import ARCH
from kernlab.decode.hit import add_error, decode_hit
from kernlab.decode.layout import Layout
from kernlab.decode.place import position
from kernlab.errors import KernlabError
from kernlab.kernel.model import Kernel
from kernlab.progress import Reporter
from kernlab.record.event import begin
from kernlab.record.rundir import RunDir
from kernlab.symbols.kernel import KernelSymbols
from kernlab.trace.engine import Counted, Kind
from kernlab.trace.pace import Pace
from kernlab.trace.plan import Plan
from kernlab.trace.request import TraceRequest
from kernlab.trace.streaming import Expressions, Streaming, answerable, no_expressions
from kernlab.trace.tracefs import formats, guest, limits, returns, ring, stacks
from kernlab.trace.tracefs.fetch import GROUP, Fetch
from kernlab.trace.tracefs.guest import ROUND, Clock, Piece, Tracefs
from kernlab.trace.tracefs.lower import Lowering
from kernlab.trace.tracefs.order import Hit, Order
from kernlab.trace.tracefs.returns import SLOT, Returns
from kernlab.trace.tracefs.sources import Sources
from kernlab.vm.machine import Machine

_INSTANCE = "instances/kernlab"
_EVENTS = f"{_INSTANCE}/events/{GROUP}"
_OPTIMIZE = "/proc/sys/debug/kprobes-optimization"
_STACK = "events/ftrace/kernel_stack/format"
_BUFFER = 8192  # KiB for each vCPU
# A read through NULL is one of user space (kernel/trace/trace_kprobe.c, probe_mem_read()):
# copy_user faults at its string instruction, and at the rest byte by byte.
_FAULTS = 2


class FtraceEngine(Streaming[Tracefs]):
    """One plan on one machine. Use as a context manager."""

    name = "ftrace"
    exact = True

    def __init__(self, plan: Plan, symbols: KernelSymbols) -> None:
        request = plan.request
        plan, left_out = limits.allowed(plan, symbols)
        self._layout = Layout(symbols.layout())
        self._fetches = [
            Fetch(f"k{number}", probe, self._layout) for number, probe in enumerate(plan.probes)
        ]
        self._filters: dict[str, str] = {}
        for fetch in self._fetches:
            lowering = Lowering(Sources(fetch, self._layout))
            text = lowering.filter(plan.where)
            if text:
                self._filters[fetch.name] = text
                fetch.extra.update({name: text for text, name in lowering.fetches.items()})
        self._expressions = Expressions(plan)
        self._returning = [f for f in self._fetches if request.returns and f.what["returns"]]
        for fetch in self._returning:
            fetch.extra[SLOT] = "%sp:x64"
        self._returns = Returns()
        self._with_stacks = request.stack > 1
        symbolizer = symbols.symbolizer()
        known = symbols.map.all
        ends = {known[name] for name in ARCH.return_trampolines if name in known}
        self._stacks = stacks.Stacks(symbolizer, symbols.orc(), request.stack, ends)
        self._by_number: dict[int, Fetch] = {}
        self._order = Order()
        self._clock = Clock()
        self._faults = 0
        self._pace = Pace(1)
        super().__init__(plan, Tracefs(self._script(request.buffer or _BUFFER)), symbolizer)
        self._counted.notes += left_out

    # -- before and after -----------------------------------------------------

    def prepare(self) -> None:
        """addr2line reads the kernel's debug info while the guest boots."""
        for fetch in self._fetches:
            self._symbolizer.frames(fetch.what["address"], True)

    def _script(self, buffer: int) -> list[str]:
        names = [fetch.name for fetch in self._fetches]
        names += [returns.event(fetch) for fetch in self._returning]
        return [
            # An optimised kprobe's registers are not those of the place.
            f"keep {_OPTIMIZE}",
            f"try {_OPTIMIZE} 0",
            f"mkdir {_INSTANCE}",
            f"write {_INSTANCE}/buffer_size_kb {buffer}",
            f"write {_INSTANCE}/trace_clock {ARCH.trace_clock}",
            # What does not fit any more is dropped and counted; the other way whole pages of
            # events and stacks are overwritten, and nobody knows how many were events.
            f"write {_INSTANCE}/options/overwrite 0",
            f"try {_INSTANCE}/buffer_percent 0",
            f"write {_INSTANCE}/options/stacktrace {int(self._with_stacks)}",
            *(f"add kprobe_events {returns.definition(fetch)}" for fetch in self._returning),
            *(f"add kprobe_events {fetch.definition()}" for fetch in self._fetches),
            f"file {_STACK}",
            *(f"file {_EVENTS}/{name}/format" for name in names),
            # What the kernel does not take, the host filters.
            *(f"try {_EVENTS}/{name}/filter {text}" for name, text in self._filters.items()),
            f"patch {_EVENTS}/enable 1",
            f"run {_INSTANCE}",
            f"write {_INSTANCE}/tracing_on 0",
            "file kprobe_profile",
            "drain",
            *ring.statistics(_INSTANCE),
            "wait",
            f"patch {_EVENTS}/enable 0",
            f"rmdir {_INSTANCE}",
            *(f"add kprobe_events -:{GROUP}/{name}" for name in names),
        ]

    def heed(self, counter: int) -> None:
        """Nothing: its events have exact times, and the words too."""

    def arm(self, machine: Machine) -> None:
        """Define the events and enable them."""
        self._pace = Pace(machine.spec.cpus)
        try:
            self._guest.start(machine)
        except guest.Refused as error:
            raise self._refused(error) from error
        contents = self._guest.contents
        self._stack = formats.parse(contents[_STACK])
        for fetch in self._fetches:
            fetch.bind(formats.parse(contents[f"{_EVENTS}/{fetch.name}/format"]))
            self._by_number[fetch.number] = fetch
        for fetch in self._returning:
            name = returns.event(fetch)
            self._returns.bind(fetch, formats.parse(contents[f"{_EVENTS}/{name}/format"]))

    def _refused(self, error: guest.Refused) -> KernlabError:
        """The kernel's refusal in terms of the function."""
        match = re.search(rf"\b{GROUP}/(?:r_)?(k\d+)\b", error.line)
        for fetch in self._fetches:
            if match and fetch.name == match[1]:
                error.what = f"the kernel allows no kprobe at {fetch.what['probe']}"
        return error

    def finish(self) -> Counted:
        """Stop recording; what was counted, complete when ``drain`` has ended."""
        self._guest.pause()
        if not all(fetch.what["entry"] for fetch in self._fetches):
            self._counted.notes.append(
                "the engine ftrace cannot read variables inside a function; --engine gdb can"
            )
        return self._counted

    # -- while it runs --------------------------------------------------------

    def events(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The events that come within the next ``seconds``, in the order of guest time."""
        pace, guest = self._pace, self._guest
        for piece in pace.pieces(seconds, guest.take, lambda: guest.waiting):
            yield from self._take(piece)

    def drain(self) -> Iterator[dict[str, Any]]:
        """All that came before the probes were removed; then the counts are complete."""
        while (piece := self._guest.take(0)) is not None:
            yield from self._take(piece)
        yield from self._give(self._order.rest())
        for event in self._returns.rest():
            yield from self._filter.passed(event)
        self._count()

    def _take(self, piece: Piece) -> Iterator[dict[str, Any]]:
        if piece.kind == ROUND:
            yield from self._give(self._order.before(self._clock.round(piece), piece.at))
            return
        page, by_number, stack = piece.data, self._by_number, self._stack.number
        for at, start, length in ring.entries(page):
            number = page[start] | page[start + 1] << 8
            if number == stack:
                self._order.stack(piece.cpu, self._callers(page, start, length))
                continue
            fetch = by_number.get(number) or self._returns.fetch(number)
            if fetch is not None:
                ends = number not in by_number
                hit = Hit(at, piece.at, piece.cpu, fetch, page, start, ends)
                self._order.hit(hit, self._with_stacks)

    def _callers(self, page: bytes, start: int, length: int) -> bytes:
        """The program counters of a kernel_stack record."""
        caller, size = self._stack.fields["caller"], self._stack.fields["size"]
        count = int.from_bytes(page[start + size.offset :][: size.size], "little")
        return page[start + caller.offset : start + min(length, caller.offset + 8 * count)]

    def _give(self, hits: list[tuple[Hit, bytes | None]]) -> Iterator[dict[str, Any]]:
        for hit, callers in hits:
            if hit.returns:
                ended = self._returns.leave(hit.page, hit.start)
                if ended is not None:
                    yield from self._filter.passed(ended)
                continue
            event = self._event(hit, callers)
            slot = hit.fetch.number_of(SLOT, hit.page, hit.start)
            if slot is None:
                yield from self._filter.passed(event)
                continue
            if "stack" in event:
                whole = self._returns.whole(event["stack"], event["task"]["pid"], slot)
                event["stack"] = whole[: self._plan.request.stack]
            self._returns.enter(hit.fetch, slot, event)

    def _event(self, hit: Hit, callers: bytes | None) -> dict[str, Any]:
        fetch, page, start = hit.fetch, hit.page, hit.start
        what = fetch.what
        task, ns = fetch.task(page, start), self._clock.ns(hit.at)
        event = begin(self.name, what["probe"], hit.cpu, position(what), hit.came, task, ns)
        skb, sock, memory = fetch.objects(page, start)
        self._faults += memory.faults
        decode_hit(memory, self._layout, what["site"], skb, sock).put(event)
        args = fetch.arguments(page, start)
        if args:
            event["args"] = args
        add_error(event, what["site"])
        self._expressions.put(event)
        entry = what["entry"]
        if callers is not None:
            event["stack"] = self._stacks.of(what["address"], entry, callers)
        elif self._plan.request.stack == 1:
            event["stack"] = self._stacks.of(what["address"], entry, b"")
        return event

    # -- what was lost --------------------------------------------------------

    def _count(self) -> None:
        """By the ring buffer's own counters, and the kprobes'."""
        contents, counted, order = self._guest.contents, self._counted, self._order
        dropped = 0
        for name, text in contents.items():
            if name.endswith("/stats"):
                said = dict(re.findall(r"^([a-z ]+): (\d+)$", text, re.MULTILINE))
                dropped += sum(
                    int(said.get(key, 0)) for key in ("dropped events", "overrun", "commit overrun")
                )
        refused = {path for path, _ in self._guest.refused}
        filters = [name for name in self._filters if f"{_EVENTS}/{name}/filter" not in refused]
        rows = self._profile(contents.get("kprobe_profile", ""))
        lost = {}
        if filters:
            # An event that passed the filter and found no room still tries to put its stack.
            lost["events and stacks lost because the ring buffer was full"] = dropped
            counted.hits = max(sum(row[0] for row in rows), order.hits)
            counted.filtered += max(counted.hits - order.hits - dropped, 0)
        else:
            events = max(dropped - order.without, 0)
            lost["events lost because the ring buffer was full"] = events
            counted.hits = order.hits + events
        lost["stacks that did not arrive"] = order.without
        missed, which = sum(row[1] for row in rows), "hits that the kernel missed"
        if self._layout.field("kprobe", "fault_handler") is not None and self._faults:
            # Until ec6aba3d2be1 (v5.14) each fault in a handler counted as a miss, too.
            missed -= self._faults * _FAULTS
            if filters or dropped:  # of these nobody knows whether they read through NULL
                which += ", at most"
        lost[which] = missed
        counted.lost = {where: count for where, count in lost.items() if count > 0}

    def _profile(self, text: str) -> list[tuple[int, int]]:
        """Of each of our probes: its hits, and those while another probe was at work on the
        same vCPU (kernel/trace/trace_kprobe.c, probes_profile_seq_show())."""
        names = {fetch.name for fetch in self._fetches}
        rows = (line.split() for line in text.splitlines())
        return [(int(row[1]), int(row[2])) for row in rows if len(row) == 3 and row[0] in names]


def _check(request: TraceRequest) -> None:
    """What ftrace cannot do on any kernel."""
    no_expressions(request, "ftrace", "a kprobe fetches")


def _bring(
    plan: Plan, kernel: Kernel, symbols: KernelSymbols, share: Path, report: Reporter
) -> None:
    limits.check(plan, symbols)
    answerable(plan, "ftrace")
    symbols.orc()
    guest.place(share, report)


def _open(plan: Plan, symbols: KernelSymbols, machine: Machine, run: RunDir) -> FtraceEngine:
    return FtraceEngine(plan, symbols)


KIND = Kind(
    "ftrace",
    "the kernel's kprobe events: does not stop the guest, no --show",
    _check,
    _bring,
    _open,
    limits.PROBES,
)
