"""The gdb engine's inner side: read at every hit, and go on.

The work of a stop is done here, inside GDB: read, filter, send one JSON line to the
host. Nothing goes through MI while the guest runs. Where a function's entry can be led
through the trampoline (gdb_scripts.trampoline) that is how it is stopped; elsewhere it
is an ordinary breakpoint.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Dict, List, Optional

import gdb

from gdb_scripts import macros
from gdb_scripts.inferior import Kernel, Registers
from gdb_scripts.reader import Decoded, Reader, names_at
from gdb_scripts.returns import Call
from gdb_scripts.scopes import check, evaluate
from gdb_scripts.trampoline import Trampoline, plant
from gdb_scripts.values import EntryValues, LineValues, Values
from kernlab.decode import expr
from kernlab.decode.arch import ARCH
from kernlab.decode.arch.orc import OrcTable
from kernlab.decode.hit import as_type
from kernlab.decode.place import ProbeSpec
from kernlab.decode.plans import TracePlan


class Tracer:
    """What all probes of a plan share: reader, filter, count, and the way out."""

    def __init__(self, plan: TracePlan) -> None:
        self.reader = Reader(Kernel(plan["layout"]), OrcTable(plan["orc"]), plan["stack"])
        self.where = expr.parse(plan["where"]) if plan["where"] else None
        # A filter on what is returned has to wait for the return.
        self._late = self.where is not None and "ret" in self.where.fields()
        self.count = plan["count"]
        self.with_returns = plan["returns"]
        self.sent = 0
        self.hits = 0
        self.filtered = 0
        self.cost: Dict[str, List[float]] = {}  # probe → stops, seconds the guest stood
        self.breakpoints: List[gdb.Breakpoint] = []
        self.trampoline: Optional[Trampoline] = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(plan["events"])

    # -- what probes report -------------------------------------------------

    def entered(self, what: ProbeSpec, registers: Registers) -> bool:
        """A function's first instruction; True when the trace is over."""
        values = EntryValues(what, registers, self.reader.symbols(what))
        return self.hit(what, registers, values)

    def hit(self, what: ProbeSpec, registers: Registers, values: Values) -> bool:
        """Record one hit; True when it was the last one asked for."""
        if self._full():
            return True
        started = time.perf_counter()
        try:
            return self._hit(what, registers, values)
        finally:
            self._spent(what, started)

    def _hit(self, what: ProbeSpec, registers: Registers, values: Values) -> bool:
        self.hits += 1
        event = self.reader.read(what, values)
        if not self._late and not self._passes(event):
            return False
        event["pcs"] = self._stack(registers)
        if self.with_returns and what["returns"] and self.trampoline is not None:
            self.trampoline.returns.enter(registers[ARCH.sp], (what, event))
            return False
        return self._send(event)

    def returned(self, calls: List[Call], registers: Registers) -> bool:
        """Calls that end with one return, the outer first; True when the trace is over."""
        over = self._full()
        for what, event in reversed(calls):
            if over:
                break
            started = time.perf_counter()
            result = what["returns"]
            assert result is not None  # a function without one is not waited for
            event["ret"] = as_type(registers[ARCH.result], result)
            if self._passes(event):
                over = self._send(event)
            self._spent(what, started)
        return over

    def unfinished(self, calls: List[Call]) -> None:
        """Calls that had not returned when the trace ended: events without a result."""
        for _, event in calls:
            if not self._full() and self._passes(event):
                self._send(event)

    # -- the way of one hit -------------------------------------------------

    def _full(self) -> bool:
        return self.count is not None and self.sent >= self.count

    def _spent(self, what: ProbeSpec, started: float) -> None:
        row = self.cost.setdefault(what["probe"], [0, 0.0])
        row[0] += 1
        row[1] += time.perf_counter() - started

    def _passes(self, event: Decoded) -> bool:
        if expr.passes(self.where, event):
            return True
        self.filtered += 1
        return False

    def _stack(self, registers: Registers) -> List[List[Any]]:
        if self.with_returns and self.trampoline is not None:
            return self.reader.stack(registers, self.trampoline.returns)
        return self.reader.stack(registers)

    def _send(self, event: Decoded) -> bool:
        """Send a line. The socket blocks while the host reads slowly; when it breaks, the
        host is gone and the trace is over."""
        # The guest stands still: what it says next is later, whoever on the host reads it first.
        event["host_ns"] = time.time_ns()
        try:
            self._socket.sendall(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        except OSError:
            return True
        self.sent += 1
        return self._full()

    def close(self) -> None:
        self._socket.close()


class EntryProbe(gdb.Breakpoint):  # type: ignore[misc]
    """A breakpoint at one entry of one function, where the trampoline cannot be used."""

    def __init__(self, tracer: Tracer, what: ProbeSpec) -> None:
        super().__init__("*0x%x" % what["address"], gdb.BP_BREAKPOINT, internal=True)
        self.silent = True
        self._tracer = tracer
        self._what = what

    def stop(self) -> bool:
        """Called by GDB with the guest stopped; False lets it run on."""
        return self._tracer.entered(self._what, Registers(gdb.newest_frame()))


class LineProbe(EntryProbe):
    """A breakpoint at a line inside a function; its variables are where GDB says."""

    def stop(self) -> bool:
        frame = gdb.newest_frame()
        values = LineValues(self._tracer.reader.symbols(self._what), frame)
        return self._tracer.hit(self._what, Registers(frame), values)


_armed: List[Tracer] = []


def learn(path: str) -> None:
    """Have GDB read the debug info of what the plan shows, which takes seconds; needs no guest."""
    with open(path, encoding="utf-8") as file:
        plan: TracePlan = json.load(file)
    macros.define()
    for what in plan["probes"]:
        if what["show"]:
            names = names_at(what)
            for _, text in what["show"]:
                if "error" not in check(names, text):
                    evaluate(text, names)


def arm(path: str) -> None:
    """Set the probes of the plan in the file ``path``; the guest must be stopped."""
    with open(path, encoding="utf-8") as file:
        plan: TracePlan = json.load(file)
    # A removed and reinserted breakpoint costs two round trips at every stop.
    gdb.execute("set breakpoint always-inserted on")
    tracer = Tracer(plan)
    tracer.trampoline, left = plant(
        tracer.reader.kernel.memory,
        plan["trampoline"],
        [what for what in plan["probes"] if what["entry"]],
        tracer,
    )
    tracer.breakpoints = [EntryProbe(tracer, what) for what in left]
    tracer.breakpoints += [LineProbe(tracer, what) for what in plan["probes"] if not what["entry"]]
    _armed.append(tracer)


def heed(address: int) -> None:
    """Read the count of the workload's words, four bytes at ``address``, at each hit."""
    for tracer in _armed:
        tracer.reader.counter = address


def sent() -> int:
    """Events sent so far."""
    return sum(tracer.sent for tracer in _armed)


def disarm(path: str) -> None:
    """Remove all probes and write what was counted to the file ``path``; guest stopped."""
    said: Dict[str, Any] = {"hits": 0, "filtered": 0, "sent": 0, "breakpoints": 0, "cost": {}}
    for tracer in _armed:
        if tracer.trampoline is not None:
            tracer.unfinished(tracer.trampoline.remove())
        said["breakpoints"] += len(tracer.breakpoints)
        for probe in tracer.breakpoints:
            probe.delete()
        tracer.close()
        for key in ("hits", "filtered", "sent"):
            said[key] += getattr(tracer, key)
        said["cost"].update(tracer.cost)
    _armed.clear()
    with open(path, "w", encoding="utf-8") as file:
        json.dump(said, file)
