"""Findings while a trace runs: each RST with what the capture and the counters say of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from kernlab.decode import expr
from kernlab.errors import MachineFailed
from kernlab.reasons.match import Finding, Matcher
from kernlab.reasons.model import Reasons
from kernlab.reasons.report import Wire, complete
from kernlab.record.counters import Counters, moved, named, parse
from kernlab.record.pcapng import Growing
from kernlab.record.segments import Segments
from kernlab.vm.machine import Machine

_PATIENCE = 2.0  # seconds to wait for a RST to show in the capture
_LOOK = 0.02  # seconds between two looks at it
_FILES = ("/proc/net/snmp", "/proc/net/netstat")
_ALWAYS = ("OutRsts",)


class Detective:
    """Turns a trace's events into RSTs with their causes (``kernlab.trace.run.Refine``)."""

    def __init__(self, reasons: Reasons, source: Path, where: expr.Expr | None = None,
                 count: int | None = None) -> None:  # fmt: skip
        self.count = count
        self._matcher = Matcher(reasons)
        self._source = source
        self._where = where
        self._names = sorted({name for one in reasons.values() for name in one.counters})
        self._pending: list[tuple[Finding, float]] = []
        self._later: list[dict[str, Any]] = []
        self._wire = Wire()
        self._machine: Machine | None = None
        self._capture: Growing | None = None
        self._segments = Segments()
        self._counters: Counters = {}
        self.seen = 0
        self.filtered = 0

    def begin(self, machine: Machine, capture: Path) -> None:
        """The probes are about to be armed; ``capture``: what tcpdump is writing."""
        self._machine = machine
        self._capture = Growing(capture)
        self._counters = self._read_counters()

    def take(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """An event of the trace; the RSTs of which everything is known by now."""
        self._later.append(event)
        finding = self._matcher.take(event)
        if finding is not None:
            self.seen += 1
            self._pending.append((finding, time.monotonic()))
        return iter(())

    def idle(self, last: bool = False) -> Iterator[dict[str, Any]]:
        """Nothing came for a moment, or the trace is over: the RSTs that can be told now."""
        if not self._pending:
            self._later.clear()
            return
        ready = self._ready()
        while last and self._pending:
            threading.Event().wait(_LOOK)
            ready += self._ready()
        if not ready:
            return
        now = self._read_counters()
        rose = self._moved(now)
        self._counters = now or self._counters
        for finding, segment in ready:
            event = complete(finding, segment, self._after(finding), rose, self._source)
            if len(ready) > 1:
                event["rst"]["moved_by"] = len(ready)
            if not expr.passes(self._where, event):
                self.filtered += 1
                continue
            yield event

    def _ready(self) -> list[tuple[Finding, dict[str, Any] | None]]:
        """Pending RSTs that the capture has, or will not have; in their order."""
        assert self._capture is not None
        taken = map(self._segments.take, self._capture.frames())
        self._wire.add(one for one in taken if one is not None)
        ready = []
        for item in list(self._pending):
            segment = self._wire.claim(item[0].event)
            if segment is None and time.monotonic() - item[1] < _PATIENCE:
                break
            self._pending.remove(item)
            ready.append((item[0], segment))
        return ready

    def _after(self, finding: Finding) -> list[dict[str, Any]]:
        for number, event in enumerate(self._later):
            if event is finding.event:
                return self._later[number + 1 :]
        return []

    def _read_counters(self) -> Counters:
        """Now; empty when the guest no longer answers."""
        if self._machine is None:
            return {}
        with suppress(MachineFailed, OSError):
            read = self._machine.channel.read_file
            return parse("\n".join(read(path).decode("ascii", "replace") for path in _FILES))
        return {}

    def _moved(self, now: Counters) -> Counters | None:
        if not now:
            return None
        rose = moved(self._counters, now)
        found = {name: named(rose, name) for name in (*_ALWAYS, *self._names)}
        return {name: value for name, value in found.items() if value}
