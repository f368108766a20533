"""Breakpoints that read and go on: the gdb engine's inner side.

The work of a stop is done in ``Probe.stop``, inside GDB: read, filter, send one JSON
line to the host, return False. Nothing goes through MI while the guest runs.

Why a stop is cheap. Stepping over a breakpoint costs GDB a second stop of the guest,
and QEMU drops its whole translation cache at each stop. A function traced by ftrace
begins with a five-byte NOP; executing it can be done by adding five to rip, so GDB
finds no breakpoint to step over and resumes at once. The bytes are checked at every
stop: while ftrace uses the function, the NOP is a call and is executed for real.
"""

from __future__ import annotations

import json
import socket
from typing import Any, Dict, List, Optional

import gdb

from gdb_scripts.inferior import Kernel, Registers
from kernlab.decode import expr
from kernlab.decode.memory import Unreadable
from kernlab.decode.orc import OrcTable, walk
from kernlab.decode.skb import decode_skb
from kernlab.decode.sock import decode_sock

# arch/x86/include/asm/nops.h: the five-byte NOPs that ftrace leaves at a function's entry.
NOPS = frozenset((b"\x0f\x1f\x44\x00\x00", b"\x66\x66\x66\x66\x90"))


class Tracer:
    """What all probes of a plan share: kernel, filter, count, and the way out."""

    def __init__(self, plan: Dict[str, Any]) -> None:
        self.kernel = Kernel(plan["layout"])
        self.orc = OrcTable(plan["orc"]) if plan.get("orc") else None
        self.depth = int(plan["stack"])
        self.where = expr.parse(plan["where"]) if plan.get("where") else None
        self.count: Optional[int] = plan.get("count")
        self.sent = 0
        self.skipped = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(plan["events"])

    def wants(self, event: Dict[str, Any]) -> bool:
        """Whether the filter is true; absent counts as no."""
        if self.where is None or self.where.evaluate(event) is True:
            return True
        self.skipped += 1
        return False

    def send(self, event: Dict[str, Any]) -> bool:
        """Send an event; True when it was the last one asked for.

        A host that is gone is told from a slow one: the socket blocks while the host
        reads slowly, and breaks when it went away; then the trace is over.
        """
        try:
            self._socket.sendall(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        except OSError:
            return True
        self.sent += 1
        return self.count is not None and self.sent >= self.count


class Probe(gdb.Breakpoint):  # type: ignore[misc]
    """A breakpoint at one entry of one function."""

    def __init__(self, tracer: Tracer, what: Dict[str, Any]) -> None:
        super().__init__("*0x%x" % what["address"], gdb.BP_BREAKPOINT, internal=True)
        self.silent = True
        self._tracer = tracer
        self._what = what
        self._address: int = what["address"]
        self._site: Dict[str, Any] = what["site"]
        self._skb: Optional[str] = what.get("skb")
        self._sock: Optional[str] = what.get("sock")
        self._arguments: List[Dict[str, str]] = what["args"]

    def stop(self) -> bool:
        """Called by GDB with the guest stopped; False lets it run on."""
        over = self._record()
        self._step_over_nop()
        return over

    def _record(self) -> bool:
        tracer = self._tracer
        registers = Registers(gdb.selected_frame(), self._address)
        event = self._event(registers)
        if not tracer.wants(event):
            return False
        if tracer.depth and tracer.orc is not None:
            frames = walk(tracer.orc, tracer.kernel.memory, registers, tracer.depth)
            event["pcs"] = [[frame.pc, frame.exact] for frame in frames]
        else:
            event["pcs"] = [[self._address, True]]
        return tracer.send(event)

    def _event(self, registers: Registers) -> Dict[str, Any]:
        """Everything but the stack; what cannot be read is absent."""
        kernel = self._tracer.kernel
        cpu = int(gdb.selected_thread().ptid[1]) - 1  # QEMU's thread id is cpu_index + 1
        event: Dict[str, Any] = {"probe": self._what["probe"], "cpu": cpu}
        task = kernel.task(cpu)
        if task is not None:
            event["task"] = task
        now = kernel.guest_ns()
        if now is not None:
            event["guest_ns"] = now
        event["site"] = {key: self._what[key] for key in ("func", "file", "line")}
        sock = None
        if self._sock is not None:
            sock = decode_sock(kernel.memory, kernel.layout, registers[self._sock])
        if self._skb is not None:
            skb, packet = decode_skb(
                kernel.memory, kernel.layout, registers[self._skb], self._site, sock
            )
            if packet is not None:
                event["packet"] = packet
            if skb is not None:
                event["skb"] = skb
        if sock is not None:
            event["sock"] = sock
        arguments = {
            item["name"]: _shown(registers[item["register"]], item) for item in self._arguments
        }
        if arguments:
            event["args"] = arguments
        return event

    def _step_over_nop(self) -> None:
        try:
            code = self._tracer.kernel.memory.read(self._address, 5)
        except Unreadable:
            return
        if code in NOPS:
            gdb.execute("set var $pc = 0x%x" % (self._address + 5), to_string=True)


def _shown(value: int, argument: Dict[str, str]) -> Any:
    """An argument's value: addresses as "0x…", numbers cut to their type's width."""
    kind = argument["kind"]
    if kind == "pointer":
        return "0x%x" % value
    bits = 8 * int(argument["size"])
    value &= (1 << bits) - 1
    if kind == "signed" and value >> (bits - 1):
        value -= 1 << bits
    return value


def arm(path: str) -> None:
    """Set the breakpoints of the plan in the file ``path``; the guest must be stopped."""
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    # A removed and reinserted breakpoint costs two round trips at every stop.
    gdb.execute("set breakpoint always-inserted on")
    tracer = Tracer(plan)
    for what in plan["probes"]:
        Probe(tracer, what)
