"""Findings while a trace runs: each RST with what the capture and the counters say of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernlab.config.text import say
from kernlab.decode import expr
from kernlab.errors import BadInput, MachineFailed
from kernlab.reasons import foreign, quiet, watch
from kernlab.reasons.history import History
from kernlab.reasons.match import Finding, Matcher
from kernlab.reasons.model import Reasons
from kernlab.reasons.pairs import Wire
from kernlab.reasons.report import complete, on_wire
from kernlab.record.counters import Counters
from kernlab.record.pcapng import Growing
from kernlab.record.segments import Segments, segments
from kernlab.rst.tally import Tally
from kernlab.trace.plan import Plan
from kernlab.vm.machine import Machine

_PATIENCE = 2.0  # seconds after which a RST that the capture has not shown counts as sent
_ANSWER = 10.0
_ALWAYS = ("OutRsts", "TCPAbortFailed")
_AFTER = ("ListenOverflows",)
# What moved where no RST was seen.
_ENDS = (
    "TCPAbortOnTimeout",
    "TCPTimeouts",
    "TCPSynRetrans",
    "RetransSegs",
    "AttemptFails",
    "EstabResets",
    "ListenOverflows",
    "ListenDrops",
    "InCsumErrors",
    "InErrs",
    "TCPAbortFailed",
    "TCPMD5NotFound",
    "TCPMD5Unexpected",
    "TCPMD5Failure",
)


@dataclass
class _Call:
    """A call of a sender that has not been told yet."""

    finding: Finding
    at: float
    stopped: bool
    moved: Counters | None = None
    shared: int = 1
    read: bool = False


@dataclass(frozen=True)
class Unsent:
    """A call of a sender that sent nothing."""

    finding: Finding
    why: str


class Detective:
    """Turns a trace's events into RSTs with their causes (``kernlab.trace.run.Refine``).

    ``silent``: calls that sent nothing; ``unseen``: RSTs that did not leave the guest;
    ``uncaptured``: those of connections of which the capture has nothing; ``foreign``: RSTs
    of the capture that no call sent; ``quiet``: with no RST at all, what happened to each
    connection; ``timed_out``: connections that a timer ended."""

    def __init__(
        self,
        reasons: Reasons,
        source: Path,
        where: expr.Expr | None = None,
        count: int | None = None,
    ) -> None:
        self.count = count
        self._rules = watch.table()
        self._matcher = Matcher(reasons, self._rules)
        self._source = source
        self._where = where
        circumstances = {name for one in self._rules.circumstances for name in one.counters}
        named = {name for one in reasons.values() for name in one.counters}
        self._names = {*_ALWAYS, *named, *circumstances}
        self._calls: list[_Call] = []
        self._later: list[dict[str, Any]] = []
        self._wire = Wire()
        self._history = History()
        self._armed: frozenset[str] = frozenset()
        self._machine: Machine | None = None
        self._capture: Growing | None = None
        self._segments = Segments()
        self._tally: Tally | None = None
        self._from = 0
        self._until: int | None = None
        self._stopped = False
        self._alone = True
        self._findings: list[tuple[Finding, dict[str, Any]]] = []
        self.corrected = False
        self.seen = self.filtered = self.by_stopping = 0
        self.silent: list[Unsent] = []
        self.unseen: list[Finding] = []
        self.uncaptured: list[Finding] = []
        self.foreign: list[dict[str, Any]] = []
        self.quiet: list[str] = []
        self.timed_out: list[str] = []
        self.counters: Counters = {}

    @property
    def waiting(self) -> bool:
        """Whether a RST may still be told in its place among what comes meanwhile."""
        past = time.monotonic() - _PATIENCE
        return any(one.at >= past and not self._is_silent(one) for one in self._calls)

    @property
    def told(self) -> list[dict[str, Any]]:
        """The events of the calls that were told, in the order of the telling."""
        return [event for _, event in self._findings]

    def begin(self, machine: Machine, capture: Path, plan: Plan) -> None:
        """The probes are about to be armed; ``capture``: what tcpdump is writing."""
        self._machine = machine
        self._capture = Growing(capture)
        self._armed = frozenset(probe.name for probe in plan.probes)
        self._history = History(self._rules, self._armed)
        self._tally = Tally(machine, self._names)

    def armed(self) -> None:
        """From now on each call of a sender is an event."""
        self._from = self._now() or 0

    def stopping(self) -> None:
        """The program is about to be ended by us."""
        self._stopped = True

    def finishing(self) -> None:
        """From now on a call of a sender may be no event any more."""
        self._until = self._now()

    def _now(self) -> int | None:
        """The guest's wall clock in ns, by which its capture counts."""
        if self._machine is None:
            return None
        with suppress(MachineFailed, TimeoutError, OSError, ValueError):
            said = self._machine.channel.run(_ANSWER, ["bash", "-c", "echo $EPOCHREALTIME"])
            return int(float(said.stdout) * 1e6) * 1000
        return None

    def take(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """An event of the trace; the RSTs of which everything is known by now."""
        self._later.append(event)
        self._history.event(event)
        if self._tally is not None and event.get("netns", self._tally.root) != self._tally.root:
            self._alone = False
        finding = self._matcher.take(event)
        if finding is not None:
            self._calls.append(_Call(finding, time.monotonic(), self._stopped))
        return iter(())

    def held(self) -> int:
        """RSTs that the capture should have shown by now, and that are kept to the end."""
        past = time.monotonic() - _PATIENCE
        return sum(one.at < past and not self._is_silent(one) for one in self._calls)

    def idle(self, last: bool = False) -> Iterator[dict[str, Any]]:
        """Nothing came for a moment, or the trace is over: the RSTs that the capture has."""
        if not self._calls:
            self._later.clear()
            return
        assert self._capture is not None
        for frame in self._capture.frames():
            segment = self._segments.take(frame)
            if segment is not None:
                self._wire.add([segment])
                self._history.segment(segment)
        if self._numbers_stay():
            yield from self._claimed()
        if any(not one.read and not self._is_silent(one) for one in self._calls):
            self._read()  # soon: a namespace may go with its last process

    def _numbers_stay(self) -> bool:
        """Whether a frame has the number that it will have in the complete capture: packets of
        other namespaces come into it at the end. With such, all is told at the end."""
        waits = any(not self._is_silent(one) for one in self._calls)
        if waits and self._alone and self._tally is not None:
            self._alone = self._tally.alone()
        return self._alone

    def _claimed(self, unlikely: bool = False) -> Iterator[dict[str, Any]]:
        """The calls whose RST the capture has. ``unlikely``: those too which were not seen to
        get past their checks (the compiler may have put that function into its caller)."""
        for call in list(self._calls):
            if self._is_silent(call) and not (unlikely and call.finding.silence is None):
                continue
            segment = self._wire.claim(call.finding.event)
            if segment is not None:
                yield from self._tell(call, segment)

    def _is_silent(self, call: _Call) -> bool:
        """Whether the call returned without a RST, as far as is known by now."""
        finding = call.finding
        if finding.silence is not None:
            return True
        checks = finding.sender.passes if finding.sender is not None else None
        return checks in self._armed and finding.passed is not True

    def _likely_silent(self, finding: Finding) -> bool:
        """Whether a call whose RST is nowhere had a reason to send none. Asked where nothing
        shows if the sender got past its checks."""
        sender = finding.sender
        if sender is None or finding.passed is not None or sender.passes in self._armed:
            return False
        return sender.silence(finding.event, certain=False) is not None

    def _why_silent(self, finding: Finding) -> str:
        silence = finding.silence
        if silence is None and finding.sender is not None:
            silence = finding.sender.silence(finding.event, certain=False)
        if silence is not None:
            return say(silence.says)
        return "it returned before it built one; which check ended it was not read"

    def _tell(self, call: _Call, segment: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """The call's event, completed, where it passes --where."""
        finding = call.finding
        self._settle(call)
        self._read()
        self._calls.remove(call)
        provoked = self._wire.provoked(finding.event)
        event = complete(
            finding,
            segment,
            self._after(finding),
            call.moved,
            self._source,
            history=self._history.of(finding, segment, provoked),
            stopped=call.stopped,
            sent=True if segment else False if self._history.covered(finding) else None,
            rules=self._rules,
        )
        rst = event["rst"]
        if provoked is not None:
            rst["answers_frame"] = provoked
        if call.shared > 1:
            rst["moved_by"] = call.shared
        self.seen += segment is not None
        self.by_stopping += call.stopped
        self._findings.append((finding, event))
        if not expr.passes(self._where, event):
            self.filtered += 1
            return
        yield event
        if segment is not None and "seq" in event:
            self._history.told(segment["number"], event["seq"])

    def _settle(self, call: _Call) -> None:
        """Calls before this one that sent nothing are history of their connections."""
        for other in self._calls:
            if other is call:
                return
            if self._is_silent(other):
                self._history.silent(other.finding, self._why_silent(other.finding))

    def _read(self) -> None:
        """Counters for the calls since the last reading, those of each namespace together."""
        fresh = [one for one in self._calls if not one.read and not self._is_silent(one)]
        if self._tally is None:
            return
        for netns in {one.finding.netns for one in fresh}:
            there = [one for one in fresh if one.finding.netns == netns]
            rose = self._tally.rose(netns)
            shared = _shared(rose, len(there))
            for one in there:
                one.moved, one.shared, one.read = rose, shared, True
        if fresh:
            self._history.overflows = self._tally.since_begin(_AFTER).get(_AFTER[0], 0)

    def _after(self, finding: Finding) -> list[dict[str, Any]]:
        for number, event in enumerate(self._later):
            if event is finding.event:
                return self._later[number + 1 :]
        return []

    def ended(self) -> None:
        """The engine has given all its events; the guest still answers."""
        self._read()
        if self._tally is not None:
            self.counters = self._tally.since_begin(_ENDS)

    def end(self, capture: Path, whole: bool) -> Iterator[dict[str, Any]]:
        """The capture is complete: what is left is looked for once more, then RSTs that no
        call sent. ``whole``: whether each call up to the end was an event."""
        try:
            told = segments(capture)
        except BadInput:
            told = []
        self._again(told)
        yield from self._claimed()
        yield from self._claimed(unlikely=True)
        for call in list(self._calls):
            if self._is_silent(call) or self._likely_silent(call.finding):
                self._calls.remove(call)
                why = self._why_silent(call.finding)
                self.silent.append(Unsent(call.finding, why))
            else:
                covered = self._history.covered(call.finding)
                (self.unseen if covered else self.uncaptured).append(call.finding)
                yield from self._tell(call, None)
        yield from self._foreign(told, whole)
        self.timed_out = self._history.timed_out()
        if not (self.seen or self.foreign or self.unseen or self.uncaptured):
            with suppress(BadInput):
                self.quiet = quiet.story(capture, self._history.errors)

    def _again(self, told: list[dict[str, Any]]) -> None:
        """Pair anew with the whole capture. What was told before takes its RST first; where
        its frame has another number now, that is corrected."""
        self._wire = Wire()
        self._wire.add(told)
        self._history.anew()
        for segment in told:
            self._history.segment(segment)
        for finding, event in self._findings:
            sent = self._wire.claim(finding.event)
            if sent is None:
                continue
            if "seq" in event:
                self._history.told(sent["number"], event["seq"])
            if event["rst"].get("frame") != sent["number"]:
                event["rst"] |= on_wire(sent)
                self.corrected = True

    def _foreign(self, told: list[dict[str, Any]], whole: bool) -> Iterator[dict[str, Any]]:
        until = self._until
        if not whole:
            frames = [
                event["rst"]["frame"] for _, event in self._findings if "frame" in event["rst"]
            ]
            until = max((one["at"] for one in told if one["number"] in frames), default=0)
        left = [
            one
            for one in self._wire.left()
            if self._from <= one.segment["at"] and (until is None or one.segment["at"] <= until)
        ]
        for event in foreign.rows(left, told, self._history.injectors, self._history.errors):
            self.foreign.append(event)
            if expr.passes(self._where, event):
                yield event
            else:
                self.filtered += 1


def _shared(rose: Counters | None, calls: int) -> int:
    """How many RSTs a reading is of: OutRsts tells of those whose event is still to come,
    and of those that an earlier reading had counted."""
    sent = calls if rose is None else rose.get("OutRsts", 0)
    return max(calls, sent) if sent >= calls else calls + 1
