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
from gdb_scripts.returns import Call
from gdb_scripts.scopes import arguments, check, evaluate, visible
from gdb_scripts.trampoline import Trampoline, plant
from gdb_scripts.values import EntryValues, LineValues, Values, show
from kernlab.decode import expr
from kernlab.decode.arch import ARCH
from kernlab.decode.arch.orc import OrcTable, walk
from kernlab.decode.hit import as_type, decode_hit
from kernlab.decode.memory import Memory, Unreadable
from kernlab.decode.skb import skb_device

Decoded = Dict[str, Any]


class Tracer:
    """What all probes of a plan share: kernel, filter, count, and the way out."""

    def __init__(self, plan: Dict[str, Any]) -> None:
        self.kernel = Kernel(plan["layout"])
        self.orc = OrcTable(plan["orc"]) if plan.get("orc") else None
        self.depth = int(plan["stack"])
        self.where = expr.parse(plan["where"]) if plan.get("where") else None
        # A filter on what is returned has to wait for the return.
        self._late = self.where is not None and "ret" in self.where.fields()
        self.count: Optional[int] = plan.get("count")
        self.with_returns = bool(plan.get("returns"))
        self.sent = 0
        self.hits = 0
        self.filtered = 0
        self.cost: Dict[str, List[float]] = {}  # probe → stops, seconds the guest stood
        self.breakpoints: List[gdb.Breakpoint] = []
        self.trampoline: Optional[Trampoline] = None
        self.counter: Optional[int] = None  # where the workload's words are counted
        self._symbols: Dict[int, Dict[str, Any]] = {}
        self._socket = socket.socket(socket.AF_UNIX)
        if plan.get("events"):
            self._socket.connect(plan["events"])

    # -- what probes report -------------------------------------------------

    def entered(self, what: Dict[str, Any], registers: Registers) -> bool:
        """A function's first instruction; True when the trace is over."""
        return self.hit(what, registers, EntryValues(what, registers, self.symbols(what)))

    def hit(self, what: Dict[str, Any], registers: Registers, values: Values) -> bool:
        """Record one hit; True when it was the last one asked for."""
        if self._full():
            return True
        started = time.perf_counter()
        try:
            return self._hit(what, registers, values)
        finally:
            self._spent(what, started)

    def _hit(self, what: Dict[str, Any], registers: Registers, values: Values) -> bool:
        self.hits += 1
        event = self.read(what, registers, values)
        if not self._late and not self._passes(event):
            return False
        event["pcs"] = self.stack(registers)
        if self.with_returns and what.get("returns") and self.trampoline is not None:
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
            event["ret"] = as_type(registers[ARCH.result], what["returns"])
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

    def _spent(self, what: Dict[str, Any], started: float) -> None:
        row = self.cost.setdefault(what["probe"], [0, 0.0])
        row[0] += 1
        row[1] += time.perf_counter() - started

    def _passes(self, event: Decoded) -> bool:
        if expr.passes(self.where, event):
            return True
        self.filtered += 1
        return False

    def stack(self, registers: Registers) -> List[List[Any]]:
        """Program counters from here outwards, each with whether it is one that runs or a
        return address."""
        if self.depth <= 1 or self.orc is None:
            return [[registers[ARCH.pc], True]]
        memory: Memory = self.kernel.memory
        if self.with_returns and self.trampoline is not None:
            memory = self.trampoline.returns
        frames = walk(self.orc, memory, registers, self.depth)
        return [[frame.pc, frame.exact] for frame in frames]

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

    def symbols(self, what: Dict[str, Any]) -> Dict[str, Any]:
        """GDB's symbols for a place's names; only where an expression or a line needs them."""
        line = bool(what.get("line_probe"))
        if not line and not what.get("show"):
            return {}
        known = self._symbols.get(what["address"])
        if known is None:
            at = what["address"]
            known = visible(at, what["func"]) if line else arguments(at)
            self._symbols[at] = known
        return known

    def read(self, what: Dict[str, Any], registers: Registers, values: Values) -> Decoded:
        """Everything but the stack; what cannot be read is absent."""
        kernel = self.kernel
        cpu = int(gdb.selected_thread().ptid[1]) - 1  # QEMU's thread id is cpu_index + 1
        event: Dict[str, Any] = {"probe": what["probe"], "cpu": cpu}
        task = kernel.task(cpu)
        if task is not None:
            event["task"] = task
        now = kernel.guest_ns()
        if now is not None:
            event["guest_ns"] = now
        words = self._words()
        if words is not None:
            event["words"] = words
        event["site"] = {key: what[key] for key in ("func", "file", "line")}
        skb, sock = self._object(what, values, "skb"), self._object(what, values, "sock")
        hit = decode_hit(kernel.memory, kernel.layout, what["site"], skb, sock, self._look_up)
        hit.put(event)
        named = values.shown()
        if named:
            event[values.key] = named
        texts = values.texts(kernel.memory)
        if texts:
            event["texts"] = texts
        if what.get("show"):
            shown = show(
                what["show"], values, self.symbols(what), what["site"], event.get("packet")
            )
            if shown:
                event["show"] = shown
        return event

    def _object(self, what: Dict[str, Any], values: Values, key: str) -> Optional[int]:
        """The address of the place's skb or sock; None where it has none."""
        address = values.number(what[key]) if what.get(key) else None
        hop = what.get(key + "_hop")
        if hop is None or not address:
            return address
        try:
            return int.from_bytes(self.kernel.memory.read(address + hop, 8), "little")
        except Unreadable:
            return None

    def _words(self) -> Optional[int]:
        """How many pieces of the workload's words were counted by now."""
        if self.counter is None:
            return None
        try:
            return int.from_bytes(self.kernel.memory.read(self.counter, 4), "little")
        except Unreadable:
            return None

    def _look_up(self, skb: int, packet: Decoded) -> Optional[int]:
        device = skb_device(self.kernel.memory, self.kernel.layout, skb)
        net = self.kernel.tables.net_of(device) if device else None
        return self.kernel.tables.find(packet, net) if net else None


class EntryProbe(gdb.Breakpoint):  # type: ignore[misc]
    """A breakpoint at one entry of one function, where the trampoline cannot be used."""

    def __init__(self, tracer: Tracer, what: Dict[str, Any]) -> None:
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
        values = LineValues(self._tracer.symbols(self._what), frame)
        return self._tracer.hit(self._what, Registers(frame), values)


_armed: List[Tracer] = []


def learn(path: str) -> None:
    """Have GDB read the debug info of what the plan shows, which takes seconds; needs no guest."""
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    macros.define()
    for what in plan["probes"]:
        if what.get("show"):
            line = bool(what.get("line_probe"))
            names = visible(what["address"], what["func"]) if line else arguments(what["address"])
            for _, text in what["show"]:
                if "error" not in check(names, text):
                    evaluate(text, names)


def arm(path: str) -> None:
    """Set the probes of the plan in the file ``path``; the guest must be stopped."""
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    # A removed and reinserted breakpoint costs two round trips at every stop.
    gdb.execute("set breakpoint always-inserted on")
    tracer = Tracer(plan)
    tracer.trampoline, left = plant(
        tracer.kernel.memory,
        plan.get("trampoline"),
        [what for what in plan["probes"] if not what.get("line_probe")],
        tracer,
    )
    tracer.breakpoints = [EntryProbe(tracer, what) for what in left]
    tracer.breakpoints += [
        LineProbe(tracer, what) for what in plan["probes"] if what.get("line_probe")
    ]
    _armed.append(tracer)


def heed(address: int) -> None:
    """Read the count of the workload's words, four bytes at ``address``, at each hit."""
    for tracer in _armed:
        tracer.counter = address


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
