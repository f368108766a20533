"""One trace from end to end: machine, capture, engine, workload, events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kernlab.decode import protocols
from kernlab.errors import BadInput, MachineFailed, ReaderGone, WeFailed
from kernlab.pipeline import Setting, booted, symbols_for
from kernlab.progress import Finished, Said, Started
from kernlab.record import counters
from kernlab.record.pcapng import losses, read
from kernlab.record.store import EventWriter
from kernlab.trace import never, workloads
from kernlab.trace import words as words_in_guest
from kernlab.trace.capture import capturing
from kernlab.trace.engine import Cost, Counted, Engine, Kind
from kernlab.trace.plan import Plan, make
from kernlab.trace.request import TraceRequest
from kernlab.trace.words import OnWords, Story, Words
from kernlab.vm.machine import Machine

_TURN = 0.1  # seconds to wait for events before looking at the rest of the world
_ANSWER = 20.0
# Source files whose functions are called for packets.
_NETWORK = ("net/", "drivers/net/", "include/net/")
_TCP = re.compile(protocols.TCP.files)

OnEvent = Callable[[dict[str, Any]], None]


class Refine(Protocol):
    """Makes of the engine's events what is recorded and shown, possibly later. ``count``:
    after how many of these the trace ends."""

    count: int | None

    @property
    def waiting(self) -> bool:
        """Whether events are held back: what came after them has to wait too."""

    def begin(self, machine: Machine, capture: Path, plan: Plan) -> None:
        """Called before the probes are armed; ``capture`` is tcpdump's growing file."""

    def armed(self) -> None:
        """The probes are armed, the workload is about to start."""

    def take(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """An event of the engine; the events that are ready."""

    def idle(self, last: bool = False) -> Iterator[dict[str, Any]]:
        """Nothing came for a moment, or the trace is over; the events that are ready."""

    def held(self) -> int:
        """How many more count as given, although they are kept to the end."""

    def stopping(self) -> None:
        """The workload has not ended by itself and is about to be stopped."""

    def finishing(self) -> None:
        """The engine is about to stop recording."""

    def ended(self) -> None:
        """All events of the engine were given; the machine still answers."""

    def end(self, capture: Path, whole: bool) -> Iterator[dict[str, Any]]:
        """The capture is complete; the events that are left. ``whole``: whether events were
        taken up to the end, and none was lost."""


@dataclass
class Outcome:
    """How a trace ended. ``reason``: count, workload, timeout, interrupted, unread (nobody
    takes the events any more). ``never_ran``: what is to be said of a program that did not;
    ``uncaptured``: packets that tcpdump counted and has not got."""

    reason: str
    events: int = 0
    hits: int = 0
    filtered: int = 0
    seconds: float = 0.0
    segments_in: int | None = None
    captured: int = 0
    uncaptured: int = 0
    workload_status: int | None = None
    workload_said: str = ""
    never_ran: BadInput | None = None
    lost: dict[str, int] = field(default_factory=dict)
    cost: dict[str, Cost] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def frames(self, path: str) -> str:
        """What the capture in the run directory ``path`` has, and has not."""
        lost = f"; tcpdump lost {self.uncaptured} packets" if self.uncaptured else ""
        return f"{self.captured} frames in {path}/capture.pcapng{lost}"

    def why_nothing(self, plan: Plan) -> str:
        """Why there is no event, in words; empty when there are some."""
        if self.events:
            return ""
        names = plan.names
        if self.hits or self.filtered:
            return (
                f"{names} was reached {max(self.hits, self.filtered)} times, but no hit passed "
                f"--where {plan.request.where.text!r}; try without it"
            )
        if self.workload_status not in (None, 0):
            return (
                f"the workload failed with status {self.workload_status}: "
                f"{self.workload_said.strip()[-300:] or 'it printed nothing'}"
            )
        if plan.request.workload.name == "none":
            return f"nothing reached {names}: --workload none sends nothing; try --workload http"
        if not all(probe.place.file.startswith(_NETWORK) for probe in plan.probes):
            return (
                f"{names} was never called: workload {plan.request.workload.name!r} does not take "
                "that path; --workload takes any command of the guest, like 'cat /etc/hosts'"
            )
        if self.segments_in == 0 and all(_TCP.search(p.place.file) for p in plan.probes):
            return f"nothing reached {names}: the workload moved no TCP segment"
        seen = f"{self.segments_in} TCP segments" if self.segments_in is not None else "packets"
        return (
            f"{names} was never called while {seen} arrived: this workload does not take that "
            "path; try another --workload, or a caller nearer to the wire (ip_rcv)"
        )


def trace(
    request: TraceRequest,
    kind: Kind,
    setting: Setting,
    on_event: OnEvent,
    refine: Refine | None = None,
    on_words: OnWords = lambda piece: None,
) -> tuple[Plan, Outcome]:
    """Trace; events go to ``on_event`` and events.jsonl as they come, through ``refine``
    where it is given; then ``count`` counts what it gives. What the workload prints goes to
    ``on_words`` and output.jsonl, in its order among the events. ``kind``: an engine that does
    not refuse the request.

    Raises ``BadInput`` before anything boots, ``MachineFailed`` when the guest breaks. An
    interrupt (Ctrl-C) ends the trace in order: what was gathered is kept.
    """
    run, report = setting.run, setting.report
    row = request.workload
    symbols = symbols_for(setting.kernel)
    report(Started("read the kernel's debug info"))
    plan = make(request, symbols)
    workloads.place(row, run.share, report)
    count = request.count if refine is None else refine.count
    argv = workloads.argv_of(row, count is not None)
    if argv:
        words_in_guest.place(run.share, report)
    kind.bring(plan, setting.kernel, symbols, run.share, report)
    report(Finished("read the kernel's debug info"))
    for note in plan.notes:
        report(Said(note))
    run.resolved(
        engine=kind.name,
        probes=[
            {
                "name": p.name,
                "function": p.place.func,
                "symbol": p.place.symbol,
                "address": f"0x{p.place.address:x}",
            }
            for p in plan.probes
        ],
    )
    outcome = Outcome("workload")
    engines: list[Engine] = []

    def beside(machine: Machine, with_it: ExitStack) -> None:
        engines[:] = [with_it.enter_context(kind.open(plan, symbols, machine, run))]
        engines[0].prepare()

    with ExitStack() as stack:
        machine = stack.enter_context(booted(setting, kind.needs, beside, refine is not None))
        (engine,) = engines
        writer = stack.enter_context(EventWriter(run.events, plan.reasons))
        words = Words(argv, machine) if argv else None
        with capturing(machine, run.share, run.capture, report) as raw:
            before = _segments(machine)
            if refine is not None:
                refine.begin(machine, raw, plan)
            counter = symbols.map.all.get(words_in_guest.COUNTER)
            if words is not None and words.ready() and counter is not None:
                engine.heed(counter)
            engine.arm(machine)
            started = time.monotonic()
            story = Story(words, run.output, on_words)
            session = _Session(request, machine, engine, writer, on_event, refine, story)
            if refine is not None:
                refine.armed()
            with workloads.running(row, machine, count is not None, words) as work:
                outcome.reason = session.go(work)
                outcome.seconds = time.monotonic() - started
                if outcome.reason in ("timeout", "interrupted"):
                    session.stop(work)
                counted = session.finish()
                # The last of them may have come after the time was over, or the workload.
                if session.full() and outcome.reason in ("timeout", "workload"):
                    outcome.reason = "count"
                outcome.workload_status = work.status()
            story.rest(writer.count)
            outcome.workload_said = story.said.text
            if words is not None and words.failed is not None:
                outcome.never_ran = never.never_ran(
                    argv[0], words.failed, setting.image.kind, run.share
                )
            elif outcome.workload_status in never.SHELL and not writer.count:
                outcome.never_ran = never.by_shell(story.said.text, setting.image.kind, run.share)
            engine.remove()
            if refine is not None:
                refine.ended()
            after = _segments(machine)
            if before is not None and after is not None:
                outcome.segments_in = after - before
        session.end(run.capture, outcome.reason != "count" and not any(counted.lost.values()))
    outcome.events = writer.count
    outcome.hits, outcome.filtered = counted.hits, counted.filtered
    outcome.lost, outcome.cost = counted.lost, counted.cost
    outcome.notes += counted.notes
    if run.capture.exists():
        outcome.captured = sum(1 for _ in read(run.capture))
        outcome.uncaptured = losses(run.capture).packets
    return plan, outcome


class _Session:
    def __init__(
        self,
        request: TraceRequest,
        machine: Machine,
        engine: Engine,
        writer: EventWriter,
        on_event: OnEvent,
        refine: Refine | None,
        story: Story,
    ) -> None:
        self._story = story
        self._settled = 0  # words that had come by the last quiet turn
        self._words: dict[int, int] = {}  # an event's host_ns → the words before it
        self._request = request
        self._machine = machine
        self._engine = engine
        self._writer = writer
        self._on_event = on_event
        self._refine = refine

    def go(self, work: workloads.Running) -> str:
        """Take events until there is a reason to stop; the reason."""
        deadline = time.monotonic() + self._request.timeout
        try:
            while True:
                self._take(_TURN)
                if self._enough():
                    return "count"
                if self._ended():
                    self._take(_TURN)
                    if not self._enough():
                        self._check_machine()
                    return "count"
                if self._machine.child.poll() is not None:
                    raise self._machine.lost()
                if work.done():
                    # The guest has answered after the workload's end: every probe it hit
                    # has been sent, what is left is in our own socket.
                    self._machine.channel.ping(_ANSWER)
                    self._take(_TURN)
                    return "workload"
                if time.monotonic() > deadline:
                    return "timeout"
        except ReaderGone:
            return "unread"
        except KeyboardInterrupt:
            return "interrupted"

    def _check_machine(self) -> None:
        """Raise ``MachineFailed`` when the engine saw its end before we did: QEMU closes
        the stub a moment before it is gone."""
        with suppress(WeFailed):
            self._machine.child.wait(3.0)
        if self._machine.child.poll() is not None:
            raise self._machine.lost()

    def _ended(self) -> bool:
        """Whether the engine says that it is over; a machine that went away explains its errors."""
        try:
            return self._engine.ended()
        except WeFailed:
            self._check_machine()
            # An engine that broke may leave the guest standing at a hit: nothing in it would
            # answer.
            self._machine.child.close()
            raise

    def _enough(self) -> bool:
        """Whether as many events came as are wanted, those included that are kept back."""
        count = self._request.count if self._refine is None else self._refine.count
        held = 0 if self._refine is None else self._refine.held()
        return count is not None and self._writer.count + held >= count

    def full(self) -> bool:
        count = self._request.count if self._refine is None else self._refine.count
        return count is not None and self._writer.count >= count

    def _take(self, seconds: float, last: bool = False) -> None:
        if self.full():
            return
        came = False
        arrived = self._story.arrived
        for event in self._engine.drain() if last else self._engine.events(seconds):
            came = True
            if (count := event.pop("words", None)) is not None:
                self._words[event["host_ns"]] = count
            self._keep([event] if self._refine is None else self._refine.take(event))
            if self.full():
                return
        if self._refine is not None and (last or not came):
            self._keep(self._refine.idle(last))
        if came or (self._refine is not None and self._refine.waiting):
            return
        # Of words that were here two quiet turns ago each event that came before them is in our
        # hands: the guest did not go on before it was sent.
        self._words.clear()
        self._story.arrived_until(self._settled, self._writer.count)
        self._settled = arrived

    def _keep(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            if self.full():
                return
            self._words_before(event)
            self._writer.write(event)
            self._on_event(event)

    def _words_before(self, event: dict[str, Any]) -> None:
        count = self._words.get(event["host_ns"])
        if count is not None:
            self._story.count(count, self._writer.count)
        elif self._engine.exact and "guest_ns" in event:
            self._story.until(event["guest_ns"], self._writer.count)

    def stop(self, work: workloads.Running) -> None:
        """Stop a workload that would run on, where what it does then is of interest."""
        if self._refine is None:
            return
        self._take(_TURN)
        with suppress(MachineFailed, TimeoutError):
            self._machine.channel.ping(_ANSWER)  # every hit up to here is in our socket
            self._take(_TURN)
        self._refine.stopping()
        work.stop()
        with suppress(MachineFailed, TimeoutError):
            self._machine.channel.ping(_ANSWER)
        self._take(_TURN)

    def end(self, capture: Path, whole: bool) -> None:
        """Give what the complete capture shows, and it alone."""
        if self._refine is not None and capture.exists():
            self._keep(self._refine.end(capture, whole))

    def finish(self) -> Counted:
        if self._refine is not None:
            self._refine.finishing()
        counted = self._engine.finish()
        self._take(_ANSWER, last=True)
        return counted


def _segments(machine: Machine) -> int | None:
    """Tcp InSegs of /proc/net/snmp."""
    with suppress(OSError, MachineFailed):
        text = machine.channel.read_file("/proc/net/snmp").decode()
        return counters.parse(text)["Tcp.InSegs"]
    return None
